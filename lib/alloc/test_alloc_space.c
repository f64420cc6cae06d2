// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "alloc_check.h"

#define DEPTH_MAX 40

/* ---- helpers --------------------------------------------------------------------------------- */

static struct cvmm_alloc_range range(uint64_t first, uint64_t last)
{
	return (struct cvmm_alloc_range){ first, last };
}

static struct cvmm_alloc_space *new_space(uint64_t first, uint64_t last)
{
	struct cvmm_alloc_space *space;

	assert_int_equal(cvmm_alloc_space_create("test", range(first, last), &space, NULL), 0);
	return space;
}

static void destroy(struct cvmm_alloc_space *space)
{
	assert_true(check_space(space, DEPTH_MAX));
	cvmm_alloc_space_destroy(space);
}

static int take(struct cvmm_alloc_space *space, uint64_t len, uint64_t align,
		enum cvmm_alloc_policy policy, uint64_t exact, uint64_t *ret_first)
{
	struct cvmm_alloc_request request = { len, align, policy, exact };
	struct cvmm_alloc_range got = { 7, 7 };
	struct cvmm_error err = { 0 };
	int r = cvmm_alloc_space_take(space, &request, &got, &err);

	assert_true(check_space(space, DEPTH_MAX));
	assert_int_equal(err.code, r);
	if (r < 0) {
		assert_true(err.message[0]);
		assert_true(got.first == 7 && got.last == 7);
		return r;
	}
	assert_true(got.last - got.first == len - 1);
	*ret_first = got.first;
	return 0;
}

static void assert_taken_at(struct cvmm_alloc_space *space, uint64_t len, uint64_t align,
			    enum cvmm_alloc_policy policy, uint64_t expected)
{
	uint64_t first;

	assert_int_equal(take(space, len, align, policy, 0, &first), 0);
	assert_true(first == expected);
}

static void assert_take_fails(struct cvmm_alloc_space *space, uint64_t len, uint64_t align,
			      enum cvmm_alloc_policy policy, int code)
{
	uint64_t first;

	assert_int_equal(take(space, len, align, policy, 0, &first), code);
}

static int reserve(struct cvmm_alloc_space *space, uint64_t first, uint64_t last)
{
	int r = cvmm_alloc_space_reserve(space, range(first, last), NULL);

	assert_true(check_space(space, DEPTH_MAX));
	return r;
}

static int give_back(struct cvmm_alloc_space *space, uint64_t first, uint64_t last)
{
	int r = cvmm_alloc_space_free(space, range(first, last), NULL);

	assert_true(check_space(space, DEPTH_MAX));
	return r;
}

/* ---- policies -------------------------------------------------------------------------------- */

static void first_match_takes_the_lowest_aligned_place(void **state)
{
	struct cvmm_alloc_space *space = new_space(0x1001, 0x9fff);

	(void)state;
	assert_taken_at(space, 0x100, 1, CVMM_ALLOC_FIRST_MATCH, 0x1001);
	assert_taken_at(space, 0x1000, 0x1000, CVMM_ALLOC_FIRST_MATCH, 0x2000);
	/* The gap before the aligned range is still there. */
	assert_taken_at(space, 0x10, 0x10, CVMM_ALLOC_FIRST_MATCH, 0x1110);
	destroy(space);
}

static void last_match_takes_the_highest_aligned_place(void **state)
{
	struct cvmm_alloc_space *space = new_space(0x1000, 0x9ffe);

	(void)state;
	assert_taken_at(space, 0x100, 1, CVMM_ALLOC_LAST_MATCH, 0x9eff);
	assert_taken_at(space, 0x1000, 0x1000, CVMM_ALLOC_LAST_MATCH, 0x8000);
	assert_taken_at(space, 0x10, 0x10, CVMM_ALLOC_LAST_MATCH, 0x9ee0);
	destroy(space);
}

static void exact_match_takes_the_given_place(void **state)
{
	struct cvmm_alloc_space *space = new_space(0x1000, 0x9fff);
	uint64_t first;

	(void)state;
	assert_int_equal(take(space, 0x800, 0x1000, CVMM_ALLOC_EXACT_MATCH, 0x3000, &first), 0);
	assert_true(first == 0x3000);
	assert_int_equal(take(space, 1, 1, CVMM_ALLOC_EXACT_MATCH, 0x37ff, &first), -EBUSY);
	assert_int_equal(take(space, 1, 1, CVMM_ALLOC_EXACT_MATCH, 0x3800, &first), 0);
	destroy(space);
}

static void exact_match_must_be_aligned_inside_and_below_2_64(void **state)
{
	struct cvmm_alloc_space *space = new_space(0x1000, UINT64_MAX);
	uint64_t first;

	(void)state;
	assert_int_equal(take(space, 0x10, 0x10, CVMM_ALLOC_EXACT_MATCH, 0x3008, &first), -EINVAL);
	assert_int_equal(take(space, 0x10, 1, CVMM_ALLOC_EXACT_MATCH, 0xff8, &first), -ERANGE);
	assert_int_equal(take(space, 0x10, 1, CVMM_ALLOC_EXACT_MATCH, UINT64_MAX - 8, &first),
			 -EINVAL);
	assert_int_equal(take(space, 9, 1, CVMM_ALLOC_EXACT_MATCH, UINT64_MAX - 8, &first), 0);
	destroy(space);
}

static void senseless_requests_are_refused(void **state)
{
	struct cvmm_alloc_space *space = new_space(0, 0xfff);

	(void)state;
	assert_take_fails(space, 0, 1, CVMM_ALLOC_FIRST_MATCH, -EINVAL);
	assert_take_fails(space, 1, 0, CVMM_ALLOC_FIRST_MATCH, -EINVAL);
	assert_take_fails(space, 1, 3, CVMM_ALLOC_LAST_MATCH, -EINVAL);
	assert_take_fails(space, 1, 1, (enum cvmm_alloc_policy)3, -EINVAL);
	assert_int_equal(reserve(space, 5, 4), -EINVAL);
	assert_int_equal(give_back(space, 5, 4), -EINVAL);
	destroy(space);
}

static void an_alignment_beyond_the_space_finds_no_gap(void **state)
{
	struct cvmm_alloc_space *space = new_space(1, UINT64_MAX);

	(void)state;
	assert_taken_at(space, 1, UINT64_C(1) << 63, CVMM_ALLOC_FIRST_MATCH, UINT64_C(1) << 63);
	assert_take_fails(space, 1, UINT64_C(1) << 63, CVMM_ALLOC_FIRST_MATCH, -ENOSPC);
	assert_take_fails(space, 1, UINT64_C(1) << 63, CVMM_ALLOC_LAST_MATCH, -ENOSPC);
	destroy(space);
}

static void a_long_but_misaligned_gap_is_passed_over(void **state)
{
	struct cvmm_alloc_space *space = new_space(0, 0xffff);

	(void)state;
	/* Six gaps of 0x1ffe bytes with the aligned address in their middle, then a longer one. */
	assert_int_equal(reserve(space, 0, 0), 0);
	for (uint64_t at = 0x1fff; at < 0xdfff; at += 0x2000)
		assert_int_equal(reserve(space, at, at + 1), 0);
	assert_taken_at(space, 0x1800, 0x1000, CVMM_ALLOC_FIRST_MATCH, 0xd000);
	destroy(space);
}

/* ---- freeing --------------------------------------------------------------------------------- */

static void free_wants_exactly_what_was_allocated(void **state)
{
	struct cvmm_alloc_space *space = new_space(0, 0xfff);

	(void)state;
	assert_int_equal(reserve(space, 0x100, 0x1ff), 0);
	assert_int_equal(reserve(space, 0x200, 0x2ff), 0);
	assert_int_equal(give_back(space, 0x100, 0x1fe), -ENOENT);
	assert_int_equal(give_back(space, 0x101, 0x1ff), -ENOENT);
	assert_int_equal(give_back(space, 0x100, 0x200), -ENOENT);
	assert_int_equal(give_back(space, 0x100, 0x2ff), -ENOENT);
	assert_int_equal(give_back(space, 0xff, 0x1ff), -ENOENT);
	assert_int_equal(give_back(space, 0x5000, 0x5fff), -ENOENT);
	assert_true(cvmm_alloc_space_available(space) == 0xe00);
	assert_int_equal(give_back(space, 0x100, 0x1ff), 0);
	assert_int_equal(give_back(space, 0x100, 0x1ff), -ENOENT);
	assert_int_equal(give_back(space, 0x200, 0x2ff), 0);
	assert_true(cvmm_alloc_space_available(space) == 0x1000);
	destroy(space);
}

static void freed_neighbours_become_one_gap(void **state)
{
	struct cvmm_alloc_space *space = new_space(0x1000, 0x3fff);
	struct cvmm_alloc_extent extent;

	(void)state;
	assert_int_equal(reserve(space, 0x1000, 0x1fff), 0);
	assert_int_equal(reserve(space, 0x2000, 0x2fff), 0);
	assert_int_equal(reserve(space, 0x3000, 0x3fff), 0);
	assert_int_equal(give_back(space, 0x1000, 0x1fff), 0);
	assert_int_equal(give_back(space, 0x3000, 0x3fff), 0);
	assert_int_equal(give_back(space, 0x2000, 0x2fff), 0);
	assert_true(cvmm_alloc_space_extent_at(space, 0x2800, &extent));
	assert_true(extent.range.first == 0x1000 && extent.range.last == 0x3fff);
	assert_false(extent.allocated);
	destroy(space);
}

/* ---- the whole of 2^64 ----------------------------------------------------------------------- */

static void the_whole_64_bit_space_can_be_one_allocation(void **state)
{
	struct cvmm_alloc_space *space = new_space(0, UINT64_MAX);
	struct cvmm_alloc_range gap;

	(void)state;
	assert_true(cvmm_alloc_space_available(space) == UINT64_MAX);
	assert_int_equal(reserve(space, 0, UINT64_MAX), 0);
	assert_true(cvmm_alloc_space_available(space) == 0);
	assert_false(cvmm_alloc_space_largest_gap(space, &gap));
	assert_take_fails(space, 1, 1, CVMM_ALLOC_FIRST_MATCH, -ENOSPC);
	assert_int_equal(give_back(space, 0, UINT64_MAX), 0);
	assert_true(cvmm_alloc_space_largest_gap(space, &gap));
	assert_true(gap.first == 0 && gap.last == UINT64_MAX);
	destroy(space);
}

static void the_longest_request_fits_the_whole_space(void **state)
{
	struct cvmm_alloc_space *space = new_space(0, UINT64_MAX);

	(void)state;
	assert_taken_at(space, UINT64_MAX, 1, CVMM_ALLOC_LAST_MATCH, 1);
	assert_taken_at(space, 1, 1, CVMM_ALLOC_FIRST_MATCH, 0);
	assert_true(cvmm_alloc_space_available(space) == 0);
	destroy(space);
}

static void the_first_and_last_byte_of_2_64_come_and_go(void **state)
{
	struct cvmm_alloc_space *space = new_space(0, UINT64_MAX);

	(void)state;
	assert_int_equal(reserve(space, 0, 0), 0);
	assert_int_equal(reserve(space, UINT64_MAX, UINT64_MAX), 0);
	assert_true(cvmm_alloc_space_is_allocated(space, 0));
	assert_true(cvmm_alloc_space_is_allocated(space, UINT64_MAX));
	assert_true(cvmm_alloc_space_available(space) == UINT64_MAX - 1);
	assert_int_equal(give_back(space, UINT64_MAX, UINT64_MAX), 0);
	assert_int_equal(give_back(space, 0, 0), 0);
	assert_true(cvmm_alloc_space_available(space) == UINT64_MAX);
	destroy(space);
}

static void a_space_of_one_byte_works_at_both_ends_of_2_64(void **state)
{
	const uint64_t addrs[] = { 0, 1, UINT64_MAX - 1, UINT64_MAX };

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(addrs); i++) {
		struct cvmm_alloc_space *space = new_space(addrs[i], addrs[i]);

		assert_taken_at(space, 1, 1, CVMM_ALLOC_LAST_MATCH, addrs[i]);
		assert_take_fails(space, 1, 1, CVMM_ALLOC_FIRST_MATCH, -ENOSPC);
		assert_int_equal(give_back(space, addrs[i], addrs[i]), 0);
		assert_taken_at(space, 1, 1, CVMM_ALLOC_FIRST_MATCH, addrs[i]);
		destroy(space);
	}
}

/* ---- questions and messages ------------------------------------------------------------------ */

static void extents_walk_the_space_without_a_hole(void **state)
{
	struct cvmm_alloc_space *space = new_space(0x1000, 0x4fff);
	const struct cvmm_alloc_extent expected[] = {
		{ { 0x1000, 0x1fff }, false }, { { 0x2000, 0x20ff }, true },
		{ { 0x2100, 0x2fff }, true },  { { 0x3000, 0x4ffe }, false },
		{ { 0x4fff, 0x4fff }, true },
	};
	struct cvmm_alloc_extent extent;
	uint64_t addr = 0x1000;

	(void)state;
	assert_int_equal(reserve(space, 0x4fff, 0x4fff), 0);
	assert_int_equal(reserve(space, 0x2100, 0x2fff), 0);
	assert_int_equal(reserve(space, 0x2000, 0x20ff), 0);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(expected); i++) {
		assert_true(cvmm_alloc_space_extent_at(space, addr, &extent));
		assert_true(extent.range.first == expected[i].range.first);
		assert_true(extent.range.last == expected[i].range.last);
		assert_true(extent.allocated == expected[i].allocated);
		addr = extent.range.last + 1;
	}
	assert_false(cvmm_alloc_space_extent_at(space, addr, &extent));
	assert_false(cvmm_alloc_space_extent_at(space, 0xfff, &extent));
	assert_int_equal(cvmm_alloc_space_count(space), 3);
	destroy(space);
}

static void the_largest_gap_is_the_lowest_of_equals(void **state)
{
	struct cvmm_alloc_space *space = new_space(0, 0x2fff);
	struct cvmm_alloc_range gap;

	(void)state;
	assert_int_equal(reserve(space, 0x400, 0x7ff), 0);
	assert_int_equal(reserve(space, 0x1800, 0x1fff), 0);
	assert_true(cvmm_alloc_space_largest_gap(space, &gap));
	assert_true(gap.first == 0x800 && gap.last == 0x17ff);
	destroy(space);
}

static void available_tells_the_free_bytes(void **state)
{
	struct cvmm_alloc_space *space = new_space(0x1000, 0x1fff);

	(void)state;
	assert_true(cvmm_alloc_space_available(space) == 0x1000);
	assert_int_equal(reserve(space, 0x1100, 0x11ff), 0);
	assert_true(cvmm_alloc_space_available(space) == 0xf00);
	destroy(space);
}

static void a_refusal_tells_the_largest_gap(void **state)
{
	struct cvmm_alloc_request request = { 0x2000, 0x1000, CVMM_ALLOC_FIRST_MATCH, 0 };
	struct cvmm_alloc_space *space = new_space(0xd0000000, 0xd0002fff);
	struct cvmm_alloc_range got;
	struct cvmm_error err;

	(void)state;
	assert_int_equal(reserve(space, 0xd0001000, 0xd0001fff), 0);
	assert_int_equal(cvmm_alloc_space_take(space, &request, &got, &err), -ENOSPC);
	assert_string_equal(
		err.message,
		"test: no gap of 0x2000 bytes aligned to 0x1000 in [0xd0000000, 0xd0002fff]; "
		"the largest is 0x1000 bytes at 0xd0000000");
	destroy(space);
}

static void a_conflict_tells_what_is_in_the_way(void **state)
{
	struct cvmm_alloc_space *space = new_space(0, 0xffff);
	struct cvmm_error err;

	(void)state;
	assert_int_equal(reserve(space, 0x60, 0x64), 0);
	assert_int_equal(cvmm_alloc_space_reserve(space, range(0x40, 0x7f), &err), -EBUSY);
	assert_string_equal(err.message,
			    "test: [0x40, 0x7f] is not free: [0x60, 0x64] is allocated");
	assert_int_equal(cvmm_alloc_space_free(space, range(0x60, 0x63), &err), -ENOENT);
	assert_string_equal(err.message,
			    "test: [0x60, 0x63] is not what was allocated: [0x60, 0x64]");
	destroy(space);
}

static void a_backward_space_is_refused(void **state)
{
	struct cvmm_alloc_space *space = (void *)1;
	struct cvmm_error err;

	(void)state;
	assert_int_equal(cvmm_alloc_space_create("x", range(1, 0), &space, &err), -EINVAL);
	assert_ptr_equal(space, (void *)1);
	cvmm_alloc_space_destroy(NULL);
}

static void thousands_of_ranges_keep_the_tree_low(void **state)
{
	struct cvmm_alloc_space *space = new_space(0, UINT64_MAX);
	const uint64_t count = 5000;

	(void)state;
	for (uint64_t i = 0; i < count; i++)
		assert_int_equal(
			cvmm_alloc_space_reserve(space, range(i << 20, (i << 20) + 0xfff), NULL),
			0);
	/* 10000 extents: an AVL tree of 18 levels has at least 10945. */
	assert_true(check_space(space, 17));
	for (uint64_t i = 0; i < count; i += 2)
		assert_int_equal(
			cvmm_alloc_space_free(space, range(i << 20, (i << 20) + 0xfff), NULL), 0);
	assert_true(check_space(space, 16));
	for (uint64_t i = 1; i < count; i += 2)
		assert_int_equal(
			cvmm_alloc_space_free(space, range(i << 20, (i << 20) + 0xfff), NULL), 0);
	assert_true(check_space(space, 1));
	destroy(space);
}

/* ---- known defects of vm-allocator 0.1.4, reproduced there ----------------------------------- */

static void defect_1_exact_match_inside_an_allocated_range_is_busy(void **state)
{
	struct cvmm_alloc_space *space = new_space(0x1000, 0xffff);
	uint64_t first;

	(void)state;
	assert_int_equal(take(space, 0x800, 1, CVMM_ALLOC_EXACT_MATCH, 0x2000, &first), 0);
	assert_int_equal(take(space, 0x100, 1, CVMM_ALLOC_EXACT_MATCH, 0x2100, &first), -EBUSY);
	assert_int_equal(give_back(space, 0x2000, 0x27ff), 0);
	destroy(space);
}

static void defect_2_freeing_next_to_either_end_of_2_64_leaks_nothing(void **state)
{
	struct cvmm_alloc_space *space = new_space(0, 0xfff);

	(void)state;
	assert_int_equal(reserve(space, 1, 0xff), 0);
	assert_int_equal(give_back(space, 1, 0xff), 0);
	assert_true(cvmm_alloc_space_available(space) == 0x1000);
	assert_int_equal(reserve(space, 0, 0xfff), 0);
	destroy(space);

	space = new_space(UINT64_MAX - 0xfff, UINT64_MAX);
	assert_int_equal(reserve(space, UINT64_MAX - 0xff, UINT64_MAX - 1), 0);
	assert_int_equal(give_back(space, UINT64_MAX - 0xff, UINT64_MAX - 1), 0);
	assert_true(cvmm_alloc_space_available(space) == 0x1000);
	assert_int_equal(reserve(space, UINT64_MAX - 0xfff, UINT64_MAX), 0);
	destroy(space);
}

static void defect_3_freed_neighbours_of_one_byte_merge(void **state)
{
	struct cvmm_alloc_space *space = new_space(0x10, 0x13);

	(void)state;
	for (uint64_t at = 0x10; at <= 0x13; at++)
		assert_taken_at(space, 1, 1, CVMM_ALLOC_FIRST_MATCH, at);
	for (uint64_t at = 0x10; at <= 0x13; at++)
		assert_int_equal(give_back(space, at, at), 0);
	assert_taken_at(space, 4, 1, CVMM_ALLOC_FIRST_MATCH, 0x10);
	destroy(space);
}

static void defect_4_last_match_takes_the_whole_space_from_0(void **state)
{
	struct cvmm_alloc_space *space = new_space(0, 0xfff);

	(void)state;
	assert_taken_at(space, 0x1000, 1, CVMM_ALLOC_LAST_MATCH, 0);
	destroy(space);
	space = new_space(0x1000, 0x1fff);
	assert_taken_at(space, 0x1000, 0x1000, CVMM_ALLOC_LAST_MATCH, 0x1000);
	destroy(space);
}

static void defect_5_exact_match_takes_the_last_byte(void **state)
{
	struct cvmm_alloc_space *space = new_space(0x1000, 0x1fff);
	uint64_t first;

	(void)state;
	assert_int_equal(take(space, 1, 1, CVMM_ALLOC_EXACT_MATCH, 0x1fff, &first), 0);
	assert_true(first == 0x1fff);
	destroy(space);
}

static void defect_6_freeing_a_gap_is_refused(void **state)
{
	struct cvmm_alloc_space *space = new_space(0x1000, 0x1fff);

	(void)state;
	assert_int_equal(give_back(space, 0x1000, 0x1fff), -ENOENT);
	assert_int_equal(reserve(space, 0x1400, 0x17ff), 0);
	assert_int_equal(give_back(space, 0x1000, 0x13ff), -ENOENT);
	assert_int_equal(give_back(space, 0x1800, 0x1fff), -ENOENT);
	assert_true(cvmm_alloc_space_available(space) == 0xc00);
	destroy(space);
}

/* The search enters no subtree without a gap that fits: see how few nodes lie on the way. */
static void defect_also_a_search_does_not_walk_the_allocated_ranges(void **state)
{
	struct cvmm_alloc_space *space = new_space(0, (UINT64_C(1) << 40) - 1);
	const struct alloc_node *nodes;
	const uint64_t count = 4096;
	uint32_t n, steps = 0;

	(void)state;
	for (uint64_t i = 0; i < count; i++)
		assert_int_equal(cvmm_alloc_space_reserve(
					 space, range(i * 0x2000, i * 0x2000 + 0xfff), NULL),
				 0);
	/* Only the last gap holds 0x2000 bytes: wherever it is, the way to it is marked. */
	nodes = space->tree.nodes;
	for (n = space->tree.root; n; steps++) {
		uint32_t left = nodes[n].left;

		assert_true(nodes[n].max_span >= 0x2000 - 1);
		assert_true(!left || nodes[left].max_span < 0x2000 - 1);
		if (!nodes[n].allocated && nodes[n].last - nodes[n].first >= 0x2000 - 1)
			break;
		n = nodes[n].right;
	}
	assert_true(n && steps <= 17);
	assert_taken_at(space, 0x2000, 0x2000, CVMM_ALLOC_FIRST_MATCH, count * 0x2000);
	destroy(space);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_match_takes_the_lowest_aligned_place),
		cmocka_unit_test(last_match_takes_the_highest_aligned_place),
		cmocka_unit_test(exact_match_takes_the_given_place),
		cmocka_unit_test(exact_match_must_be_aligned_inside_and_below_2_64),
		cmocka_unit_test(senseless_requests_are_refused),
		cmocka_unit_test(an_alignment_beyond_the_space_finds_no_gap),
		cmocka_unit_test(a_long_but_misaligned_gap_is_passed_over),
		cmocka_unit_test(free_wants_exactly_what_was_allocated),
		cmocka_unit_test(freed_neighbours_become_one_gap),
		cmocka_unit_test(the_whole_64_bit_space_can_be_one_allocation),
		cmocka_unit_test(the_longest_request_fits_the_whole_space),
		cmocka_unit_test(the_first_and_last_byte_of_2_64_come_and_go),
		cmocka_unit_test(a_space_of_one_byte_works_at_both_ends_of_2_64),
		cmocka_unit_test(extents_walk_the_space_without_a_hole),
		cmocka_unit_test(the_largest_gap_is_the_lowest_of_equals),
		cmocka_unit_test(available_tells_the_free_bytes),
		cmocka_unit_test(a_refusal_tells_the_largest_gap),
		cmocka_unit_test(a_conflict_tells_what_is_in_the_way),
		cmocka_unit_test(a_backward_space_is_refused),
		cmocka_unit_test(thousands_of_ranges_keep_the_tree_low),
		cmocka_unit_test(defect_1_exact_match_inside_an_allocated_range_is_busy),
		cmocka_unit_test(defect_2_freeing_next_to_either_end_of_2_64_leaks_nothing),
		cmocka_unit_test(defect_3_freed_neighbours_of_one_byte_merge),
		cmocka_unit_test(defect_4_last_match_takes_the_whole_space_from_0),
		cmocka_unit_test(defect_5_exact_match_takes_the_last_byte),
		cmocka_unit_test(defect_6_freeing_a_gap_is_refused),
		cmocka_unit_test(defect_also_a_search_does_not_walk_the_allocated_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
