// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Maps with a dirty bitmap: every way to write marks, no way to read does. */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "../../tests/support/descriptors.h"
#include "test_mem_util.h"

#define BASE 0x100000u
#define PAGES 16u

/* Two regions that touch, a hole, and a third; and a bitmap for all of them. */
struct fixture {
	struct cvmm_dirty *dirty;
	struct cvmm_mem *mem;
	int fd;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct cvmm_mem_config configs[3];
	struct cvmm_mem *plain;

	assert_non_null(f);
	for (unsigned int i = 0; i < 3; i++)
		configs[i] = ram_config(BASE + i * PAGES * page_size() + (i == 2) * page_size(),
					PAGES * page_size());
	plain = must_create(configs, 3);
	assert_int_equal(cvmm_dirty_create(0, UINT64_C(1) << 30, 12, &f->dirty, NULL), 0);
	assert_int_equal(cvmm_mem_with_dirty(plain, f->dirty, &f->mem, NULL), 0);
	cvmm_mem_unref(plain);
	f->fd = test_file();
	assert_int_equal(ftruncate(f->fd, 1 << 20), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	cvmm_mem_unref(f->mem);
	cvmm_dirty_unref(f->dirty);
	close(f->fd);
	free(f);
	return 0;
}

/* The pages of [gpa, gpa + len) are dirty, no others are; cleans them. */
static void expect_only(struct fixture *f, uint64_t gpa, uint64_t len)
{
	uint64_t first = gpa / page_size(),
		 pages = len ? (gpa + len - 1) / page_size() - first + 1 : 0;

	assert_int_equal(cvmm_dirty_count(f->dirty), pages);
	for (uint64_t i = 0; i < pages; i++)
		assert_true(cvmm_dirty_test(f->dirty, (first + i) * page_size()));
	assert_int_equal(cvmm_dirty_clear(f->dirty, 0, UINT64_C(1) << 30), 0);
}

static void objects_mark_their_page(void **state)
{
	struct fixture *f = *state;
	uint8_t u8 = 1;
	uint16_t u16 = 1;
	uint32_t u32 = 1;
	uint64_t u64 = 1;
	uint8_t big[64] = { 1 };

	assert_int_equal(cvmm_mem_write(f->mem, G(BASE + 5), &u8, sizeof(u8)), 0);
	expect_only(f, BASE + 5, 1);
	assert_int_equal(cvmm_mem_write(f->mem, G(BASE + 6), &u16, sizeof(u16)), 0);
	expect_only(f, BASE + 6, 2);
	assert_int_equal(cvmm_mem_write(f->mem, G(BASE + page_size()), &u32, sizeof(u32)), 0);
	expect_only(f, BASE + page_size(), 4);
	assert_int_equal(cvmm_mem_write(f->mem, G(BASE + 40 * page_size()), &u64, sizeof(u64)), 0);
	expect_only(f, BASE + 40 * page_size(), 8);
	/* Across a border of pages, and of regions. */
	assert_int_equal(cvmm_mem_write(f->mem, G(BASE + page_size() - 3), &u64, sizeof(u64)), 0);
	expect_only(f, BASE + page_size() - 3, 8);
	assert_int_equal(cvmm_mem_write(f->mem, G(BASE + PAGES * page_size() - 9), big, 64), 0);
	expect_only(f, BASE + PAGES * page_size() - 9, 64);
}

static void atomic_stores_mark(void **state)
{
	struct fixture *f = *state;
	volatile int order = __ATOMIC_SEQ_CST; /* out of line */

	assert_int_equal(cvmm_mem_store_u32(f->mem, G(BASE), __ATOMIC_RELEASE, 1), 0);
	expect_only(f, BASE, 4);
	assert_int_equal(cvmm_mem_store_u64(f->mem, G(BASE + page_size()), order, 1), 0);
	expect_only(f, BASE + page_size(), 8);
}

static void bulk_writes_mark_all_their_pages(void **state)
{
	struct fixture *f = *state;
	uint64_t gpa = BASE + 14 * page_size() + 100, len = 5 * page_size();
	uint8_t *data = calloc(1, len);

	assert_non_null(data);
	assert_int_equal(cvmm_mem_write(f->mem, G(gpa), data, len), 0);
	expect_only(f, gpa, len);
	assert_int_equal(cvmm_mem_fill(f->mem, G(gpa), 7, len), 0);
	expect_only(f, gpa, len);
	assert_int_equal(cvmm_mem_copy(f->mem, G(gpa), f->mem, G(BASE), 3 * page_size()), 0);
	expect_only(f, gpa, 3 * page_size());
	free(data);
}

static void reads_from_files_mark_what_they_wrote(void **state)
{
	struct fixture *f = *state;
	uint64_t gpa = BASE + 14 * page_size() + 100;
	int fds[2];

	assert_int_equal(cvmm_mem_pread(f->mem, G(gpa), f->fd, 0, 3 * page_size()), 0);
	expect_only(f, gpa, 3 * page_size());
	/* As many bytes as came, not as there was room for. */
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "abc", 3), 3);
	assert_int_equal(cvmm_mem_read_from_fd(f->mem, G(gpa), fds[0], 3 * page_size()), 3);
	expect_only(f, gpa, 3);
	close(fds[0]);
	close(fds[1]);
}

static void what_is_discarded_is_marked(void **state)
{
	struct fixture *f = *state;
	int ret = cvmm_mem_discard(f->mem, G(BASE), page_size());

	if (ret == -ENOTSUP) {
		print_message("SKIP: this system cannot free pages of a mapping\n");
		skip();
	}
	assert_int_equal(ret, 0);
	expect_only(f, BASE, page_size());
}

static void a_file_that_ends_too_early_marks_the_range(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ftruncate(f->fd, 10), 0);
	assert_int_equal(cvmm_mem_pread(f->mem, G(BASE), f->fd, 0, 2 * page_size()), -ENODATA);
	expect_only(f, BASE, 2 * page_size());
}

static void what_fails_or_only_reads_marks_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t hole = BASE + 2 * PAGES * page_size(), v = 0;
	struct iovec iov[4];
	size_t count;

	assert_int_equal(cvmm_mem_write(f->mem, G(hole), &v, sizeof(v)), -EFAULT);
	assert_int_equal(cvmm_mem_fill(f->mem, G(hole - 4), 0, 8), -EFAULT);
	assert_int_equal(cvmm_mem_copy(f->mem, G(hole - 8), f->mem, G(hole), 8), -EFAULT);
	assert_int_equal(cvmm_mem_read_from_fd(f->mem, G(hole), f->fd, 8), -EFAULT);
	assert_int_equal(cvmm_mem_pread(f->mem, G(hole), f->fd, 0, 8), -EFAULT);
	assert_int_equal(cvmm_mem_store_u64(f->mem, G(hole), __ATOMIC_RELEASE, 1), -EFAULT);
	assert_int_equal(cvmm_mem_read(f->mem, G(BASE), &v, sizeof(v)), 0);
	assert_int_equal(cvmm_mem_load_u64(f->mem, G(BASE), __ATOMIC_ACQUIRE, &v), 0);
	assert_int_equal(cvmm_mem_write_to_fd(f->mem, G(BASE), f->fd, 100), 100);
	assert_int_equal(cvmm_mem_span(f->mem, G(BASE), 8, CVMM_ACCESS_READ_WRITE, iov, 4, &count),
			 0);
	assert_non_null(cvmm_mem_ptr(f->mem, G(BASE), 8, CVMM_ACCESS_READ_WRITE));
	expect_only(f, 0, 0);
}

static void the_end_of_a_pin_marks_if_it_was_for_writing(void **state)
{
	struct fixture *f = *state;
	struct cvmm_mem_pin pin;
	struct iovec iov[4];

	assert_int_equal(cvmm_mem_pin(f->mem, G(BASE + 4090), 10, CVMM_ACCESS_WRITE, iov, 4, &pin),
			 0);
	assert_int_equal(cvmm_dirty_count(f->dirty), 0);
	cvmm_mem_unpin(&pin);
	expect_only(f, BASE + 4090, 10);
	assert_int_equal(cvmm_mem_pin(f->mem, G(BASE), 10, CVMM_ACCESS_READ, iov, 4, &pin), 0);
	cvmm_mem_unpin(&pin);
	expect_only(f, 0, 0);
	cvmm_mem_mark_dirty(f->mem, G(BASE), 1);
	expect_only(f, BASE, 1);
}

static void changed_maps_mark_in_the_same_bitmap(void **state)
{
	struct fixture *f = *state;
	struct cvmm_mem_config config = ram_config(64 * BASE, page_size());
	struct cvmm_mem *more = NULL, *less = NULL, *none = NULL;
	uint32_t v = 1;

	assert_int_equal(cvmm_mem_insert(f->mem, &config, &more, NULL), 0);
	assert_int_equal(cvmm_mem_write(more, G(64 * BASE), &v, sizeof(v)), 0);
	expect_only(f, 64 * BASE, 4);
	assert_int_equal(cvmm_mem_remove(more, G(BASE), PAGES * page_size(), &less, NULL), 0);
	assert_int_equal(cvmm_mem_write(less, G(64 * BASE), &v, sizeof(v)), 0);
	expect_only(f, 64 * BASE, 4);
	assert_int_equal(cvmm_mem_with_dirty(less, NULL, &none, NULL), 0);
	assert_int_equal(cvmm_mem_write(none, G(64 * BASE), &v, sizeof(v)), 0);
	expect_only(f, 0, 0);
	cvmm_mem_unref(more);
	cvmm_mem_unref(less);
	cvmm_mem_unref(none);
}

static void a_disabled_bitmap_is_left_alone(void **state)
{
	struct fixture *f = *state;
	uint32_t v = 1;

	assert_int_equal(cvmm_dirty_set_enabled(f->dirty, false), 0);
	assert_int_equal(cvmm_mem_write(f->mem, G(BASE), &v, sizeof(v)), 0);
	expect_only(f, 0, 0);
	assert_int_equal(cvmm_dirty_set_enabled(f->dirty, true), 0);
	assert_int_equal(cvmm_mem_write(f->mem, G(BASE), &v, sizeof(v)), 0);
	expect_only(f, BASE, 4);
}

#define marks_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		marks_test(objects_mark_their_page),
		marks_test(atomic_stores_mark),
		marks_test(bulk_writes_mark_all_their_pages),
		marks_test(reads_from_files_mark_what_they_wrote),
		marks_test(what_is_discarded_is_marked),
		marks_test(a_file_that_ends_too_early_marks_the_range),
		marks_test(what_fails_or_only_reads_marks_nothing),
		marks_test(the_end_of_a_pin_marks_if_it_was_for_writing),
		marks_test(changed_maps_mark_in_the_same_bitmap),
		marks_test(a_disabled_bitmap_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
