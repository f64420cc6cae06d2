// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The vhost log: its format byte by byte, hostile offers, and its replacement. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include <cvmm/mem_dirty.h>

#include "../../tests/support/descriptors.h"

#define PAGE UINT64_C(4096)
#define ROOM (UINT64_C(1) << 20)

static uint64_t host_page(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

/* An unnamed file of @size zero bytes. */
static int must_file(uint64_t size)
{
	FILE *file = tmpfile();
	int fd;

	assert_non_null(file);
	fd = fcntl(fileno(file), F_DUPFD_CLOEXEC, 3);
	assert_true(fd >= 0);
	fclose(file);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static uint8_t byte_at(int fd, uint64_t offset)
{
	uint8_t byte = 0;

	assert_int_equal(cvmm_pread_full(fd, &byte, 1, offset), 1);
	return byte;
}

static struct cvmm_dirty *must_create_log(void)
{
	struct cvmm_error err = { 0 };
	struct cvmm_dirty *dirty = NULL;

	if (cvmm_dirty_create_log(ROOM, &dirty, &err))
		fail_msg("%s", err.message);
	assert_int_equal(cvmm_dirty_set_enabled(dirty, true), 0);
	return dirty;
}

static void must_set(struct cvmm_dirty *dirty, int fd, uint64_t offset, uint64_t size)
{
	struct cvmm_error err = { 0 };

	if (cvmm_dirty_log_set(dirty, fd, offset, size, &err))
		fail_msg("%s", err.message);
}

/* ---- format -------------------------------------------------------------------------------- */

static void the_log_has_the_bytes_that_vhost_user_asks_for(void **state)
{
	static const uint8_t expected[16] = {
		0x01, 0x80, 0x00, 0x18, 0, 0, 0, 0x80, /* pages 0, 15, 27, 28, 63 */
		0x01, 0xff, 0x07, 0x00, 0, 0, 0, 0x40, /* pages 64, 72 to 82, 126 */
	};
	struct cvmm_dirty *dirty = must_create_log();
	int fd = must_file(sizeof(expected));

	(void)state;
	must_set(dirty, fd, 0, sizeof(expected));
	cvmm_dirty_mark(dirty, 0x0000, 8);
	cvmm_dirty_mark(dirty, 0xffff, 1);
	cvmm_dirty_mark(dirty, 0x1bfff, 2);
	cvmm_dirty_mark(dirty, 0x3f000, 1);
	cvmm_dirty_mark(dirty, 0x40000, 4096);
	cvmm_dirty_mark(dirty, 0x48fff, 0xa000);
	cvmm_dirty_mark(dirty, 0x7e123, 4);
	for (uint64_t i = 0; i < sizeof(expected); i++)
		assert_int_equal(byte_at(fd, i), expected[i]);
	close(fd);
	cvmm_dirty_unref(dirty);
}

static void the_log_starts_at_the_offset_and_ends_with_the_size(void **state)
{
	struct cvmm_dirty *dirty = must_create_log();
	uint64_t start = host_page();
	int fd = must_file(3 * start);

	(void)state;
	must_set(dirty, fd, start, 5);
	assert_int_equal(cvmm_dirty_pages(dirty), 40);
	cvmm_dirty_mark(dirty, 0, UINT64_MAX);
	cvmm_dirty_mark(dirty, 40 * PAGE, 1);
	cvmm_dirty_mark(dirty, 63 * PAGE, 1);
	assert_int_equal(cvmm_dirty_dropped(dirty), 3);
	assert_int_equal(byte_at(fd, start - 1), 0);
	for (uint64_t i = 0; i < 5; i++)
		assert_int_equal(byte_at(fd, start + i), 0xff);
	assert_int_equal(byte_at(fd, start + 5), 0);
	close(fd);
	cvmm_dirty_unref(dirty);
}

static void bits_that_the_peer_has_set_or_cleared_are_respected(void **state)
{
	struct cvmm_dirty *dirty = must_create_log();
	uint8_t byte = 0x10;
	int fd = must_file(8);

	(void)state;
	assert_int_equal(cvmm_pwrite_full(fd, &byte, 1, 0), 0);
	must_set(dirty, fd, 0, 8);
	cvmm_dirty_mark(dirty, PAGE, 1);
	assert_int_equal(byte_at(fd, 0), 0x12);
	assert_int_equal(cvmm_dirty_count(dirty), 2);
	byte = 0;
	assert_int_equal(cvmm_pwrite_full(fd, &byte, 1, 0), 0);
	cvmm_dirty_mark(dirty, PAGE, 1);
	assert_int_equal(byte_at(fd, 0), 0x02);
	close(fd);
	cvmm_dirty_unref(dirty);
}

/* ---- hostile offers ------------------------------------------------------------------------ */

static void assert_refused(struct cvmm_dirty *dirty, int fd, uint64_t offset, uint64_t size,
			   int code)
{
	struct cvmm_error err = { 0 };

	assert_int_equal(cvmm_dirty_log_set(dirty, fd, offset, size, &err), code);
	assert_int_equal(err.code, code);
	assert_int_not_equal(err.message[0], 0);
}

static void hostile_sizes_and_offsets_are_refused(void **state)
{
	struct cvmm_dirty *dirty = must_create_log();
	uint64_t page = host_page();
	int fd = must_file(2 * page);

	(void)state;
	assert_refused(dirty, fd, 0, 0, -EINVAL);
	assert_refused(dirty, fd, 8, 8, -EINVAL);
	assert_refused(dirty, fd, 0, ROOM + 1, -E2BIG);
	assert_refused(dirty, fd, 0, UINT64_MAX, -E2BIG);
	assert_refused(dirty, fd, UINT64_MAX - page + 1, page, -EINVAL);
	assert_refused(dirty, fd, UINT64_MAX - page + 1, 2 * page, -EINVAL);
	assert_int_equal(cvmm_dirty_pages(dirty), 0);
	close(fd);
	cvmm_dirty_unref(dirty);
}

static void a_file_that_is_too_short_for_its_log_is_refused(void **state)
{
	struct cvmm_dirty *dirty = must_create_log();
	uint64_t page = host_page();
	int fd = must_file(2 * page - 1);

	(void)state;
	assert_refused(dirty, fd, 0, 2 * page, -EINVAL);
	assert_refused(dirty, fd, page, page, -EINVAL);
	assert_refused(dirty, fd, 2 * page, 1, -EINVAL);
	must_set(dirty, fd, page, page - 1);
	close(fd);
	cvmm_dirty_unref(dirty);
}

static void what_is_no_writable_file_is_refused(void **state)
{
	struct cvmm_dirty *dirty = must_create_log();
	char name[] = "/tmp/cvmm-test-log-XXXXXX";
	int fd = mkstemp(name), pair[2];

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	close(fd);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	unlink(name);
	assert_refused(dirty, fd, 0, 8, -EACCES);
	close(fd);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_refused(dirty, pair[0], 0, 8, -EINVAL);
	close(pair[0]);
	close(pair[1]);
	fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	assert_refused(dirty, fd, 0, 8, -EINVAL);
	close(fd);
	assert_refused(dirty, -1, 0, 8, -EBADF);
	cvmm_dirty_unref(dirty);
}

static void a_refused_log_leaves_the_current_one(void **state)
{
	struct cvmm_dirty *dirty = must_create_log();
	int fd = must_file(8);

	(void)state;
	must_set(dirty, fd, 0, 8);
	assert_refused(dirty, fd, 0, 9, -EINVAL);
	cvmm_dirty_mark(dirty, 0, 1);
	assert_int_equal(byte_at(fd, 0), 1);
	close(fd);
	cvmm_dirty_unref(dirty);
}

static void a_log_of_huge_pages_is_refused(void **state)
{
#ifdef MFD_HUGETLB
	struct cvmm_dirty *dirty = must_create_log();
	int fd = memfd_create("huge log", MFD_CLOEXEC | MFD_HUGETLB);

	(void)state;
	if (fd < 0) {
		print_message("skipped: this kernel has no huge pages\n");
		cvmm_dirty_unref(dirty);
		skip();
	}
	assert_int_equal(ftruncate(fd, 1 << 30), 0);
	assert_refused(dirty, fd, 0, 8, -EINVAL);
	close(fd);
	cvmm_dirty_unref(dirty);
#else
	(void)state;
	print_message("SKIP: this system has no memory files of huge pages\n");
	skip();
#endif
}

static void a_log_can_be_sealed_neither_before_nor_after(void **state)
{
#ifdef F_ADD_SEALS
	struct cvmm_dirty *dirty = must_create_log();
	int fd = must_file(8), sealed = test_file();

	(void)state;
	assert_true(sealed >= 0);
	assert_int_equal(ftruncate(sealed, 8), 0);
	assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), 0);
	must_set(dirty, fd, 0, 8);
	assert_refused(dirty, sealed, 0, 8, -EPERM);
	cvmm_dirty_mark(dirty, 0, 1);
	assert_int_equal(byte_at(fd, 0), 1);
	close(sealed);
	sealed = test_file();
	assert_int_equal(ftruncate(sealed, 8), 0);
	must_set(dirty, sealed, 0, 8);
	assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), -1);
	cvmm_dirty_mark(dirty, 0, 1);
	assert_int_equal(byte_at(sealed, 0), 1);
	close(sealed);
	close(fd);
	cvmm_dirty_unref(dirty);
#else
	(void)state;
	print_message("SKIP: this system has no seals\n");
	skip();
#endif
}

static void only_log_bitmaps_take_logs(void **state)
{
	struct cvmm_dirty *dirty = NULL, *none = NULL;
	int fd = must_file(8);

	(void)state;
	assert_int_equal(cvmm_dirty_create(0, PAGE, 12, &dirty, NULL), 0);
	assert_refused(dirty, fd, 0, 8, -EINVAL);
	assert_int_equal(cvmm_dirty_log_unset(dirty, NULL), -EINVAL);
	assert_int_equal(cvmm_dirty_create_log(0, &none, NULL), -EINVAL);
	assert_int_equal(cvmm_dirty_create_log(UINT64_MAX, &none, NULL), -EINVAL);
	assert_null(none);
	close(fd);
	cvmm_dirty_unref(dirty);
}

/* ---- coming and going ---------------------------------------------------------------------- */

static void a_log_bitmap_without_a_log_drops_and_counts(void **state)
{
	struct cvmm_dirty *dirty = must_create_log(), *clone = NULL;

	(void)state;
	cvmm_dirty_mark(dirty, 0, 1);
	cvmm_dirty_mark(dirty, 0, 1 << 20);
	assert_int_equal(cvmm_dirty_dropped(dirty), 2);
	assert_false(cvmm_dirty_test(dirty, 0));
	assert_int_equal(cvmm_dirty_clone(dirty, &clone, NULL), -EINVAL);
	assert_int_equal(cvmm_dirty_get_and_reset(dirty, 0, NULL, 0), 0);
	cvmm_dirty_unref(dirty);
}

static void clearing_log_all_stops_logging_and_setting_it_again_resumes(void **state)
{
	struct cvmm_dirty *dirty = must_create_log();
	int fd = must_file(8);

	(void)state;
	must_set(dirty, fd, 0, 8);
	assert_int_equal(cvmm_dirty_set_enabled(dirty, false), 0);
	cvmm_dirty_mark(dirty, 0, 1);
	assert_int_equal(byte_at(fd, 0), 0);
	assert_int_equal(cvmm_dirty_set_enabled(dirty, true), 0);
	cvmm_dirty_mark(dirty, PAGE, 1);
	assert_int_equal(byte_at(fd, 0), 2);
	close(fd);
	cvmm_dirty_unref(dirty);
}

static void a_replaced_log_is_left_alone(void **state)
{
	struct cvmm_dirty *dirty = must_create_log();
	uint64_t page = host_page();
	int small = must_file(8), large = must_file(4 * page);

	(void)state;
	must_set(dirty, small, 0, 8);
	cvmm_dirty_mark(dirty, 0, 1);
	must_set(dirty, large, 0, 4 * page);
	assert_false(cvmm_dirty_test(dirty, 0));
	cvmm_dirty_mark(dirty, PAGE, 1);
	cvmm_dirty_mark(dirty, (32 * page - 1) * PAGE, 1);
	assert_int_equal(byte_at(small, 0), 1);
	assert_int_equal(byte_at(large, 0), 2);
	assert_int_equal(byte_at(large, 4 * page - 1), 0x80);
	must_set(dirty, small, 0, 8);
	cvmm_dirty_mark(dirty, (32 * page - 1) * PAGE, 1);
	cvmm_dirty_mark(dirty, 2 * PAGE, 1);
	assert_int_equal(cvmm_dirty_dropped(dirty), 1);
	assert_int_equal(byte_at(small, 0), 5);
	assert_int_equal(cvmm_dirty_log_unset(dirty, NULL), 0);
	cvmm_dirty_mark(dirty, 3 * PAGE, 1);
	assert_int_equal(byte_at(small, 0), 5);
	close(small);
	close(large);
	cvmm_dirty_unref(dirty);
}

static void marks_can_still_be_set_when_their_log_is_long_gone(void **state)
{
	struct cvmm_dirty *dirty = must_create_log();
	uint64_t page = host_page(), last = (16 * page - 1) * PAGE;
	int small = must_file(8), large = must_file(2 * page);
	struct cvmm_dirty late;

	(void)state;
	must_set(dirty, large, 0, 2 * page);
	/* A thread that has read the state and sleeps before it sets its bit. */
	late = *dirty;
	must_set(dirty, small, 0, 8);
	cvmm_dirty_mark(&late, last, 1);
	cvmm_dirty_mark(&late, 0, 1);
	assert_int_equal(byte_at(large, 2 * page - 1), 0);
	assert_int_equal(byte_at(large, 0), 0);
	assert_int_equal(byte_at(small, 0), 1);
	assert_int_equal(cvmm_dirty_log_unset(dirty, NULL), 0);
	cvmm_dirty_mark(&late, last, 1);
	cvmm_dirty_mark(&late, PAGE, 1);
	assert_int_equal(byte_at(small, 0), 1);
	close(small);
	close(large);
	cvmm_dirty_unref(dirty);
}

static void late_marks_cannot_fall_behind_a_shorter_log(void **state)
{
	struct cvmm_dirty *dirty = must_create_log();
	uint64_t page = host_page();
	int fd = must_file(2 * page);

	(void)state;
	must_set(dirty, fd, 0, 8);
	must_set(dirty, fd, 0, 16);
	assert_refused(dirty, fd, 0, 8, -EINVAL);
	assert_int_equal(cvmm_dirty_pages(dirty), 128);
	must_set(dirty, fd, 0, 2 * page);
	must_set(dirty, fd, 0, page);
	close(fd);
	cvmm_dirty_unref(dirty);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_log_has_the_bytes_that_vhost_user_asks_for),
		cmocka_unit_test(the_log_starts_at_the_offset_and_ends_with_the_size),
		cmocka_unit_test(bits_that_the_peer_has_set_or_cleared_are_respected),
		cmocka_unit_test(hostile_sizes_and_offsets_are_refused),
		cmocka_unit_test(a_file_that_is_too_short_for_its_log_is_refused),
		cmocka_unit_test(what_is_no_writable_file_is_refused),
		cmocka_unit_test(a_refused_log_leaves_the_current_one),
		cmocka_unit_test(a_log_of_huge_pages_is_refused),
		cmocka_unit_test(a_log_can_be_sealed_neither_before_nor_after),
		cmocka_unit_test(only_log_bitmaps_take_logs),
		cmocka_unit_test(a_log_bitmap_without_a_log_drops_and_counts),
		cmocka_unit_test(clearing_log_all_stops_logging_and_setting_it_again_resumes),
		cmocka_unit_test(a_replaced_log_is_left_alone),
		cmocka_unit_test(marks_can_still_be_set_when_their_log_is_long_gone),
		cmocka_unit_test(late_marks_cannot_fall_behind_a_shorter_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
