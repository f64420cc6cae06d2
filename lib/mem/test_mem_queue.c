// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* What virtqueues ask of a map besides accesses: quick pointers, marks by host address, what it has. */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "test_mem_util.h"

#include <cvmm/mem_iommu.h>

#define PAGE UINT64_C(0x1000) /* of the bitmap */
#define LEN UINT64_C(0x10000)
#define LOW UINT64_C(0x100000) /* two regions that touch in the guest, and not in the host */
#define HIGH (LOW + LEN)
#define ROM UINT64_C(0x200000)
#define LAST (UINT64_MAX - LEN + 1) /* ends where addresses do */
#define REGIONS 4
#define BITMAP_BYTES (UINT64_C(1) << 30)

/**
 * struct fixture - a map, the same with a bitmap, and the same with a bitmap behind an IOMMU
 * @host: of the regions, in the order of their addresses
 */
struct fixture {
	uint8_t *host[REGIONS];
	struct cvmm_dirty *dirty;
	struct cvmm_iotlb *tlb;
	struct cvmm_mem *plain, *marked, *behind, *marked_behind;
};

static struct cvmm_mem *must_put_behind(struct fixture *f, struct cvmm_mem *backing)
{
	const struct cvmm_mem_iommu_config config = { .backing = backing, .iotlb = f->tlb };
	struct cvmm_mem *mem = NULL;

	assert_int_equal(cvmm_mem_create_iommu(&config, &mem, NULL), 0);
	return mem;
}

static int setup(void **state)
{
	static const uint64_t gpa[REGIONS] = { LOW, HIGH, ROM, LAST };
	struct fixture *f = calloc(1, sizeof(*f));
	struct cvmm_mem_config configs[REGIONS];

	assert_non_null(f);
	for (unsigned int i = 0; i < REGIONS; i++) {
		/* Twice as much, so that behind a region there is no other. */
		f->host[i] = aligned_alloc(LEN, 2 * LEN);
		assert_non_null(f->host[i]);
		configs[i] = ram_config(gpa[i], LEN);
		configs[i].kind = CVMM_MEM_EXTERNAL;
		configs[i].host = f->host[i];
	}
	configs[2].access = CVMM_ACCESS_READ;
	f->plain = must_create(configs, REGIONS);
	assert_int_equal(cvmm_dirty_create(0, BITMAP_BYTES, 12, &f->dirty, NULL), 0);
	assert_int_equal(cvmm_mem_with_dirty(f->plain, f->dirty, &f->marked, NULL), 0);
	assert_int_equal(cvmm_iotlb_create(8, &f->tlb, NULL), 0);
	assert_int_equal(cvmm_iotlb_set(f->tlb, 0, UINT64_MAX, 0, CVMM_ACCESS_READ_WRITE), 0);
	f->behind = must_put_behind(f, f->plain);
	f->marked_behind = must_put_behind(f, f->marked);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	cvmm_mem_unref(f->marked_behind);
	cvmm_mem_unref(f->behind);
	cvmm_mem_unref(f->marked);
	cvmm_mem_unref(f->plain);
	cvmm_iotlb_destroy(f->tlb);
	cvmm_dirty_unref(f->dirty);
	for (unsigned int i = 0; i < REGIONS; i++)
		free(f->host[i]);
	free(f);
	return 0;
}

/* ---- quick pointers -------------------------------------------------------------------------- */

static void *quick(const struct cvmm_mem *mem, uint64_t gpa, uint64_t len, bool is_write)
{
	return cvmm_mem_ptr_quick(mem, G(gpa), len, is_write);
}

static void a_range_inside_a_region_has_its_host_address(void **state)
{
	struct fixture *f = *state;

	for (int is_write = 0; is_write < 2; is_write++) {
		assert_ptr_equal(quick(f->plain, LOW, 1, is_write), f->host[0]);
		assert_ptr_equal(quick(f->plain, LOW, LEN, is_write), f->host[0]);
		assert_ptr_equal(quick(f->plain, LOW + LEN - 1, 1, is_write), f->host[0] + LEN - 1);
		assert_ptr_equal(quick(f->plain, LOW + 5, 7, is_write), f->host[0] + 5);
		assert_ptr_equal(quick(f->marked, LOW + 5, 7, is_write), f->host[0] + 5);
	}
}

/* NULL may be said of any range; what is said of others must be what is so. */
static void quick_pointers_are_never_others_than_the_slow_ones(void **state)
{
	static const uint64_t at[] = { 0,    LOW - 1,	 LOW,	     LOW + 1,	HIGH - 1,
				       HIGH, HIGH + LEN, ROM,	     ROM + LEN, LAST - 1,
				       LAST, LAST + 8,	 UINT64_MAX, LOW << 1,	LOW << 20 };
	static const uint64_t len[] = { 1, 2, 8, PAGE, LEN - 1, LEN, LEN + 1, 2 * LEN, UINT64_MAX };
	struct fixture *f = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(at); i++) {
		for (size_t k = 0; k < 2 * CVMM_ARRAY_SIZE(len); k++) {
			bool is_write = k & 1;
			void *p = quick(f->plain, at[i], len[k / 2], is_write);
			void *slow = cvmm_mem_ptr(f->plain, G(at[i]), len[k / 2],
						  is_write ? CVMM_ACCESS_WRITE : CVMM_ACCESS_READ);

			assert_true(!p || p == slow);
		}
	}
}

static void a_range_that_crosses_regions_has_no_quick_pointer(void **state)
{
	struct fixture *f = *state;

	assert_null(quick(f->plain, HIGH - 1, 2, false));
	assert_null(quick(f->plain, HIGH - 1, 2, true));
	assert_null(quick(f->plain, LOW, LEN + 1, false));
	assert_int_equal(cvmm_mem_check(f->plain, G(HIGH - 1), 2, CVMM_ACCESS_WRITE), 0);
}

static void memory_that_is_only_read_has_no_quick_pointer_to_write(void **state)
{
	struct fixture *f = *state;
	void *p = quick(f->plain, ROM, LEN, false);

	assert_true(!p || p == f->host[2]);
	assert_null(quick(f->plain, ROM, 1, true));
	assert_null(quick(f->plain, ROM + LEN - 1, 1, true));
}

static void past_the_end_there_is_no_quick_pointer(void **state)
{
	struct fixture *f = *state;

	assert_null(quick(f->plain, HIGH + LEN, 1, false));
	assert_null(quick(f->plain, HIGH + LEN - 1, 2, false));
	assert_null(quick(f->plain, LOW - 1, 1, false));
	assert_null(quick(f->plain, LOW - 1, 2, false));
	assert_null(quick(f->plain, 0, 1, false));
	assert_null(quick(f->plain, LOW, UINT64_MAX, false));
}

static void a_range_that_wraps_has_no_quick_pointer(void **state)
{
	struct fixture *f = *state;

	assert_null(quick(f->plain, UINT64_MAX, 2, false));
	assert_null(quick(f->plain, LAST, LEN + 1, false));
	assert_null(quick(f->plain, LAST, UINT64_MAX, true));
	assert_null(quick(f->plain, LOW + 1, UINT64_MAX, true));
	assert_null(quick(f->plain, LOW + 8, -LOW, false));
}

/* @len must not be 0; if it is, nothing is said of other addresses than regions have. */
static void a_range_of_no_bytes_points_nowhere_else(void **state)
{
	struct fixture *f = *state;
	void *p = quick(f->plain, LOW, 0, true);

	assert_true(!p || p == f->host[0]);
	assert_null(quick(f->plain, HIGH + LEN, 0, false));
	assert_null(quick(f->plain, ROM, 0, true));
	assert_null(quick(f->plain, 0, 0, false));
}

static void behind_an_iommu_there_is_no_quick_pointer(void **state)
{
	struct fixture *f = *state;

	assert_null(quick(f->behind, LOW, 1, false));
	assert_null(quick(f->behind, LOW, 1, true));
	assert_null(quick(f->marked_behind, LOW, 8, false));
	assert_non_null(cvmm_mem_ptr(f->behind, G(LOW), 1, CVMM_ACCESS_READ));
}

/* ---- marks of pieces ------------------------------------------------------------------------- */

/* Exactly these pages of a region are dirty; cleans them. */
static void expect_pages(struct fixture *f, uint64_t gpa, uint64_t first, uint64_t count)
{
	assert_int_equal(cvmm_dirty_count(f->dirty), count);
	for (uint64_t i = 0; i < count; i++)
		assert_true(cvmm_dirty_test(f->dirty, gpa + (first + i) * PAGE));
	assert_int_equal(cvmm_dirty_clear(f->dirty, 0, BITMAP_BYTES), 0);
}

static void mark(const struct cvmm_mem *mem, uint8_t *host, size_t len, uint64_t written)
{
	const struct iovec iov = { host, len };

	cvmm_mem_mark_written(mem, &iov, 1, written);
}

static void the_pages_of_a_piece_are_marked_and_no_others(void **state)
{
	struct fixture *f = *state;
	uint8_t *p = f->host[0];

	mark(f->marked, p, 1, 1);
	expect_pages(f, LOW, 0, 1);
	mark(f->marked, p + PAGE - 1, 1, 1);
	expect_pages(f, LOW, 0, 1);
	mark(f->marked, p + PAGE, 1, 1);
	expect_pages(f, LOW, 1, 1);
	mark(f->marked, p + PAGE - 1, 2, 2);
	expect_pages(f, LOW, 0, 2);
	mark(f->marked, p + PAGE, PAGE, PAGE);
	expect_pages(f, LOW, 1, 1);
	mark(f->marked, p + PAGE, PAGE + 1, PAGE + 1);
	expect_pages(f, LOW, 1, 2);
	mark(f->marked, p, LEN, LEN);
	expect_pages(f, LOW, 0, LEN / PAGE);
	mark(f->marked, f->host[1] + LEN - 1, 1, 1);
	expect_pages(f, HIGH, LEN / PAGE - 1, 1);
}

static void only_the_bytes_that_were_written_are_marked(void **state)
{
	struct fixture *f = *state;
	uint8_t *p = f->host[0];

	mark(f->marked, p, LEN, 0);
	expect_pages(f, LOW, 0, 0);
	mark(f->marked, p, LEN, PAGE);
	expect_pages(f, LOW, 0, 1);
	mark(f->marked, p, LEN, PAGE + 1);
	expect_pages(f, LOW, 0, 2);
	mark(f->marked, p + PAGE, PAGE, LEN); /* more than there are */
	expect_pages(f, LOW, 1, 1);
}

static void several_pieces_are_written_from_their_start(void **state)
{
	struct fixture *f = *state;
	const struct iovec iov[] = {
		{ f->host[0] + PAGE - 4, 4 },
		{ f->host[0], 0 },
		{ f->host[0] + 2 * PAGE - 2, 4 },
		{ f->host[1], PAGE },
	};

	cvmm_mem_mark_written(f->marked, iov, 4, 4);
	expect_pages(f, LOW, 0, 1);
	cvmm_mem_mark_written(f->marked, iov, 4, 6);
	expect_pages(f, LOW, 0, 2);
	cvmm_mem_mark_written(f->marked, iov, 4, 7);
	expect_pages(f, LOW, 0, 3);
	cvmm_mem_mark_written(f->marked, iov, 2, UINT64_MAX);
	expect_pages(f, LOW, 0, 1);
	cvmm_mem_mark_written(f->marked, iov, 0, 8);
	expect_pages(f, LOW, 0, 0);
	cvmm_mem_mark_written(f->marked, iov + 2, 2, 5);
	assert_true(cvmm_dirty_test(f->dirty, HIGH));
	assert_int_equal(cvmm_dirty_clear(f->dirty, HIGH, PAGE), 0);
	expect_pages(f, LOW, 1, 2);
}

static void memory_that_is_in_the_guest_twice_is_marked_twice(void **state)
{
	struct fixture *f = *state;
	struct cvmm_mem_config config = ram_config(2 * ROM, LEN);
	struct cvmm_mem *twice = NULL;

	config.kind = CVMM_MEM_EXTERNAL;
	config.host = f->host[0];
	assert_int_equal(cvmm_mem_insert(f->marked, &config, &twice, NULL), 0);
	mark(twice, f->host[0] + PAGE, 1, 1);
	assert_true(cvmm_dirty_test(f->dirty, 2 * ROM + PAGE));
	assert_int_equal(cvmm_dirty_clear(f->dirty, 2 * ROM, LEN), 0);
	expect_pages(f, LOW, 1, 1);
	cvmm_mem_unref(twice);
}

static void what_is_not_of_the_map_marks_nothing(void **state)
{
	struct fixture *f = *state;
	uint8_t other[8];

	mark(f->marked, other, sizeof(other), sizeof(other));
	expect_pages(f, LOW, 0, 0);
	mark(f->marked, f->host[0] + LEN, 8, 8);
	expect_pages(f, LOW, 0, 0);
	mark(f->plain, f->host[0], 8, 8);
	mark(f->behind, f->host[0], 8, 8);
	expect_pages(f, LOW, 0, 0);
}

static void behind_an_iommu_the_memory_behind_it_is_marked(void **state)
{
	struct fixture *f = *state;

	mark(f->marked_behind, f->host[1] + PAGE - 1, 2, 2);
	expect_pages(f, HIGH, 0, 2);
}

/* ---- what a map has -------------------------------------------------------------------------- */

static void a_map_says_whether_it_has_a_bitmap(void **state)
{
	struct fixture *f = *state;

	assert_false(cvmm_mem_has_dirty(f->plain));
	assert_true(cvmm_mem_has_dirty(f->marked));
	assert_false(cvmm_mem_has_dirty(f->behind));
	assert_true(cvmm_mem_has_dirty(f->marked_behind));
	assert_int_equal(cvmm_dirty_set_enabled(f->dirty, false), 0);
	assert_true(cvmm_mem_has_dirty(f->marked));
}

static void a_map_says_whether_it_is_behind_an_iommu(void **state)
{
	struct fixture *f = *state;

	assert_false(cvmm_mem_has_iommu(f->plain));
	assert_false(cvmm_mem_has_iommu(f->marked));
	assert_true(cvmm_mem_has_iommu(f->behind));
	assert_true(cvmm_mem_has_iommu(f->marked_behind));
}

#define queue_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		queue_test(a_range_inside_a_region_has_its_host_address),
		queue_test(quick_pointers_are_never_others_than_the_slow_ones),
		queue_test(a_range_that_crosses_regions_has_no_quick_pointer),
		queue_test(memory_that_is_only_read_has_no_quick_pointer_to_write),
		queue_test(past_the_end_there_is_no_quick_pointer),
		queue_test(a_range_that_wraps_has_no_quick_pointer),
		queue_test(a_range_of_no_bytes_points_nowhere_else),
		queue_test(behind_an_iommu_there_is_no_quick_pointer),
		queue_test(the_pages_of_a_piece_are_marked_and_no_others),
		queue_test(only_the_bytes_that_were_written_are_marked),
		queue_test(several_pieces_are_written_from_their_start),
		queue_test(memory_that_is_in_the_guest_twice_is_marked_twice),
		queue_test(what_is_not_of_the_map_marks_nothing),
		queue_test(behind_an_iommu_the_memory_behind_it_is_marked),
		queue_test(a_map_says_whether_it_has_a_bitmap),
		queue_test(a_map_says_whether_it_is_behind_an_iommu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
