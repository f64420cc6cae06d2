// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Streams into and out of guest memory, and copies within it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "../../tests/support/descriptors.h"
#include "test_mem_util.h"

/* Two neighbours [p, 3p), a hole, and [4p, 5p); [5p, 6p) may only be read. */
static int set_up(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config configs[] = {
		ram_config(page, page),
		ram_config(2 * page, page),
		ram_config(4 * page, page),
		ram_config(5 * page, page),
	};

	configs[3].access = CVMM_ACCESS_READ;
	*state = must_create(configs, CVMM_ARRAY_SIZE(configs));
	return 0;
}

static int tear_down(void **state)
{
	*state = cvmm_mem_unref(*state);
	return 0;
}

static void a_stream_may_give_less_than_was_asked_for(void **state)
{
	char text[8] = "";
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "abc", 3), 3);
	assert_int_equal(cvmm_mem_read_from_fd(*state, G(page_size()), fds[0], 100), 3);
	assert_int_equal(cvmm_mem_read(*state, G(page_size()), text, 3), 0);
	assert_string_equal(text, "abc");
	close(fds[1]);
	assert_int_equal(cvmm_mem_read_from_fd(*state, G(page_size()), fds[0], 100), 0);
	assert_int_equal(cvmm_mem_read_full_from_fd(*state, G(page_size()), fds[0], 1), -ENODATA);
	close(fds[0]);
}

static void a_stream_crosses_regions_in_both_directions(void **state)
{
	uint64_t page = page_size();
	uint64_t len = 2 * page - 20;
	FILE *file = tmpfile();
	char text[8] = "";
	int fd = fileno(file);

	assert_int_equal(cvmm_mem_fill(*state, G(page + 10), 'x', len), 0);
	assert_int_equal(cvmm_mem_write(*state, G(2 * page - 3), "border", 6), 0);
	assert_int_equal(cvmm_mem_write_full_to_fd(*state, G(page + 10), fd, len), 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), len);
	assert_int_equal(cvmm_mem_fill(*state, G(page), 0, 2 * page), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(cvmm_mem_read_full_from_fd(*state, G(page + 10), fd, len), 0);
	assert_int_equal(cvmm_mem_read(*state, G(2 * page - 3), text, 6), 0);
	assert_string_equal(text, "border");
	fclose(file);
}

static void a_fault_moves_nothing(void **state)
{
	uint64_t page = page_size();
	int fds[2];
	char c;

	assert_int_equal(test_pipe(fds, true), 0);
	assert_int_equal(write(fds[1], "a", 1), 1);
	/* Into the hole, into what may only be read, and around the end of the address space. */
	assert_int_equal(cvmm_mem_read_from_fd(*state, G(3 * page - 1), fds[0], 2), -EFAULT);
	assert_int_equal(cvmm_mem_read_from_fd(*state, G(5 * page), fds[0], 1), -EFAULT);
	assert_int_equal(cvmm_mem_read_full_from_fd(*state, G(page), fds[0], UINT64_MAX), -EFAULT);
	assert_int_equal(read(fds[0], &c, 1), 1);
	assert_int_equal(cvmm_mem_write_to_fd(*state, G(3 * page - 1), fds[1], 2), -EFAULT);
	assert_int_equal(read(fds[0], &c, 1), -1);
	assert_int_equal(cvmm_mem_write_to_fd(*state, G(5 * page), fds[1], 1), 1);
	close(fds[0]);
	close(fds[1]);
}

static void an_empty_range_is_fine_anywhere_and_touches_no_stream(void **state)
{
	assert_int_equal(cvmm_mem_read_from_fd(*state, G(0), -1, 0), 0);
	assert_int_equal(cvmm_mem_write_to_fd(*state, G(UINT64_MAX), -1, 0), 0);
	assert_int_equal(cvmm_mem_read_full_from_fd(*state, G(0), -1, 0), 0);
	assert_int_equal(cvmm_mem_pwrite(*state, G(0), -1, 0, 0), 0);
}

static void errors_of_the_stream_are_told(void **state)
{
	int fds[2];

	assert_int_equal(cvmm_mem_read_from_fd(*state, G(page_size()), -1, 1), -EBADF);
	assert_int_equal(cvmm_mem_write_to_fd(*state, G(page_size()), -1, 1), -EBADF);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(cvmm_mem_read_from_fd(*state, G(page_size()), fds[0], 1), -EAGAIN);
	close(fds[0]);
	close(fds[1]);
}

static void pwrite_writes_at_an_offset_and_leaves_the_position(void **state)
{
	uint64_t page = page_size();
	FILE *file = tmpfile();
	char text[8] = "";

	assert_int_equal(cvmm_mem_write(*state, G(2 * page - 2), "word", 4), 0);
	assert_int_equal(cvmm_mem_pwrite(*state, G(2 * page - 2), fileno(file), 7, 4), 0);
	assert_int_equal(lseek(fileno(file), 0, SEEK_CUR), 0);
	assert_int_equal(pread(fileno(file), text, 4, 7), 4);
	assert_string_equal(text, "word");
	assert_int_equal(cvmm_mem_pwrite(*state, G(page), fileno(file), INT64_MAX, 1), -EFBIG);
	assert_int_equal(cvmm_mem_pwrite(*state, G(3 * page), fileno(file), 0, 1), -EFAULT);
	fclose(file);
}

static void a_copy_goes_from_region_to_region(void **state)
{
	uint64_t page = page_size();
	char text[16] = "";

	assert_int_equal(cvmm_mem_write(*state, G(2 * page - 4), "neighbour", 9), 0);
	assert_int_equal(cvmm_mem_copy(*state, G(4 * page + 1), *state, G(2 * page - 4), 9), 0);
	assert_int_equal(cvmm_mem_read(*state, G(4 * page + 1), text, 9), 0);
	assert_string_equal(text, "neighbour");
	/* Overlapping, as memmove(). */
	assert_int_equal(cvmm_mem_copy(*state, G(2 * page - 2), *state, G(2 * page - 4), 9), 0);
	assert_int_equal(cvmm_mem_read(*state, G(2 * page - 2), text, 9), 0);
	assert_string_equal(text, "neighbour");
}

static void a_copy_needs_all_of_both_ranges(void **state)
{
	uint64_t page = page_size();
	uint8_t byte = 1;

	assert_int_equal(cvmm_mem_copy(*state, G(3 * page - 1), *state, G(page), 2), -EFAULT);
	assert_int_equal(cvmm_mem_copy(*state, G(page), *state, G(3 * page - 1), 2), -EFAULT);
	assert_int_equal(cvmm_mem_copy(*state, G(5 * page), *state, G(page), 1), -EFAULT);
	assert_int_equal(cvmm_mem_copy(*state, G(page), *state, G(5 * page), 1), 0);
	assert_int_equal(cvmm_mem_copy(*state, G(0), *state, G(UINT64_MAX), 0), 0);
	assert_int_equal(cvmm_mem_load_u8(*state, G(3 * page - 1), __ATOMIC_ACQUIRE, &byte), 0);
	assert_int_equal(byte, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stream_may_give_less_than_was_asked_for),
		cmocka_unit_test(a_stream_crosses_regions_in_both_directions),
		cmocka_unit_test(a_fault_moves_nothing),
		cmocka_unit_test(an_empty_range_is_fine_anywhere_and_touches_no_stream),
		cmocka_unit_test(errors_of_the_stream_are_told),
		cmocka_unit_test(pwrite_writes_at_an_offset_and_leaves_the_position),
		cmocka_unit_test(a_copy_goes_from_region_to_region),
		cmocka_unit_test(a_copy_needs_all_of_both_ranges),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
