// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The IOTLB: what each function promises. test_mem_iotlb_model.c tries them at random. */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "mem_iotlb_internal.h"

#define LIST_MAX 8
#define RW CVMM_ACCESS_READ_WRITE
#define RO CVMM_ACCESS_READ

/* A look-up and the room for its results. */
struct result {
	struct cvmm_iotlb_lookup lookup;
	struct cvmm_iotlb_piece pieces[LIST_MAX];
	struct cvmm_iotlb_range misses[LIST_MAX], fails[LIST_MAX];
};

static int look_up(struct cvmm_iotlb *tlb, uint64_t iova, uint64_t len, enum cvmm_access access,
		   struct result *r)
{
	r->lookup = (struct cvmm_iotlb_lookup){
		.pieces = r->pieces,
		.piece_max = LIST_MAX,
		.misses = r->misses,
		.miss_max = LIST_MAX,
		.fails = r->fails,
		.fail_max = LIST_MAX,
	};
	return cvmm_iotlb_lookup(tlb, iova, len, access, &r->lookup);
}

/* [iova, iova + len) stands for @addr, in one piece. */
static void expect_piece(struct cvmm_iotlb *tlb, uint64_t iova, uint64_t len, uint64_t addr)
{
	struct result r;

	assert_int_equal(look_up(tlb, iova, len, RO, &r), 0);
	assert_int_equal(r.lookup.piece_count, 1);
	assert_int_equal(r.pieces[0].iova, iova);
	assert_int_equal(r.pieces[0].addr, addr);
	assert_int_equal(r.pieces[0].len_bytes, len);
}

static void expect_miss(struct cvmm_iotlb *tlb, uint64_t iova, uint64_t len)
{
	struct result r;

	assert_int_equal(look_up(tlb, iova, len, RO, &r), -EAGAIN);
	assert_int_equal(r.lookup.piece_count, 0);
	assert_int_equal(r.lookup.miss_count, 1);
	assert_int_equal(r.misses[0].iova, iova);
	assert_int_equal(r.misses[0].len_bytes, len);
}

static struct cvmm_iotlb *must_create(size_t capacity)
{
	struct cvmm_iotlb *tlb = NULL;
	struct cvmm_error err;

	assert_int_equal(cvmm_iotlb_create(capacity, &tlb, &err), 0);
	return tlb;
}

static int setup(void **state)
{
	*state = must_create(16);
	return 0;
}

static int teardown(void **state)
{
	cvmm_iotlb_destroy(*state);
	return 0;
}

static void capacities_have_limits(void **state)
{
	struct cvmm_iotlb *tlb = NULL;
	struct cvmm_error err;

	(void)state;
	assert_int_equal(cvmm_iotlb_create(0, &tlb, &err), -EINVAL);
	assert_int_equal(cvmm_iotlb_create(CVMM_IOTLB_CAPACITY_MAX + 1, &tlb, &err), -EINVAL);
	assert_null(tlb);
	cvmm_iotlb_destroy(NULL);
	tlb = must_create(CVMM_IOTLB_CAPACITY_MAX);
	assert_int_equal(cvmm_iotlb_capacity(tlb), CVMM_IOTLB_CAPACITY_MAX);
	cvmm_iotlb_destroy(tlb);
}

static void ranges_of_any_address_and_length_are_translated(void **state)
{
	struct cvmm_iotlb *tlb = *state;

	assert_int_equal(cvmm_iotlb_set(tlb, 0x1001, 3, 0x777, RW), 0);
	expect_piece(tlb, 0x1001, 3, 0x777);
	expect_piece(tlb, 0x1003, 1, 0x779);
	expect_miss(tlb, 0x1000, 1);
	expect_miss(tlb, 0x1004, 100);
}

static void neighbours_that_stand_for_neighbours_are_one_piece(void **state)
{
	struct cvmm_iotlb *tlb = *state;
	struct result r;

	assert_int_equal(cvmm_iotlb_set(tlb, 0x1000, 0x1000, 0x5000, RW), 0);
	assert_int_equal(cvmm_iotlb_set(tlb, 0x2000, 0x1000, 0x6000, RO), 0);
	assert_int_equal(cvmm_iotlb_set(tlb, 0x3000, 0x1000, 0x9000, RO), 0);
	expect_piece(tlb, 0x1800, 0x1000, 0x5800);
	assert_int_equal(look_up(tlb, 0x1000, 0x3000, RO, &r), 0);
	assert_int_equal(r.lookup.piece_count, 2);
	assert_int_equal(r.pieces[1].iova, 0x3000);
}

/* rust-vmm adds a guest's length to its address unchecked. */
static void ranges_up_to_the_end_of_the_address_space_are_fine(void **state)
{
	struct cvmm_iotlb *tlb = *state;
	struct result r;

	assert_int_equal(cvmm_iotlb_set(tlb, UINT64_MAX - 0xfff, 0x1000, UINT64_MAX - 0xfff, RW),
			 0);
	expect_piece(tlb, UINT64_MAX - 0xfff, 0x1000, UINT64_MAX - 0xfff);
	expect_piece(tlb, UINT64_MAX, 1, UINT64_MAX);
	assert_int_equal(look_up(tlb, UINT64_MAX, 2, RO, &r), -EFAULT);
	assert_int_equal(look_up(tlb, 1, UINT64_MAX, RO, &r), -EAGAIN);
	assert_int_equal(r.misses[0].len_bytes, UINT64_MAX - 0x1000);
	assert_int_equal(cvmm_iotlb_set(tlb, UINT64_MAX, 2, 0, RW), -EINVAL);
	assert_int_equal(cvmm_iotlb_set(tlb, 0, 2, UINT64_MAX, RW), -EINVAL);
	assert_int_equal(cvmm_iotlb_invalidate(tlb, 2, UINT64_MAX), -EINVAL);
	assert_int_equal(cvmm_iotlb_invalidate(tlb, UINT64_MAX, 1), 0);
	expect_miss(tlb, UINT64_MAX, 1);
	expect_piece(tlb, UINT64_MAX - 1, 1, UINT64_MAX - 1);
}

static void empty_ranges_have_no_pieces_and_cannot_be_set(void **state)
{
	struct cvmm_iotlb *tlb = *state;
	struct result r;

	assert_int_equal(cvmm_iotlb_set(tlb, 0x1000, 0, 0, RW), -EINVAL);
	assert_int_equal(cvmm_iotlb_invalidate(tlb, 0x1000, 0), -EINVAL);
	assert_int_equal(look_up(tlb, 0x1000, 0, RO, &r), 0);
	assert_int_equal(r.lookup.piece_count, 0);
}

static void unknown_rights_are_refused(void **state)
{
	struct cvmm_iotlb *tlb = *state;

	assert_int_equal(cvmm_iotlb_set(tlb, 0, 1, 0, 4), -EINVAL);
	assert_int_equal(cvmm_iotlb_count(tlb), 0);
}

static void a_mapping_replaces_and_splits_what_it_overlaps(void **state)
{
	struct cvmm_iotlb *tlb = *state;

	assert_int_equal(cvmm_iotlb_set(tlb, 0x1000, 0x3000, 0x10000, RW), 0);
	assert_int_equal(cvmm_iotlb_set(tlb, 0x2000, 0x800, 0x90000, RW), 0);
	assert_int_equal(cvmm_iotlb_count(tlb), 3);
	expect_piece(tlb, 0x1000, 0x1000, 0x10000);
	expect_piece(tlb, 0x2000, 0x800, 0x90000);
	expect_piece(tlb, 0x2800, 0x1800, 0x11800);
	assert_int_equal(cvmm_iotlb_set(tlb, 0, 0x10000, 0x40000, RW), 0);
	assert_int_equal(cvmm_iotlb_count(tlb), 1);
}

static void an_invalidation_splits_what_reaches_out_of_it(void **state)
{
	struct cvmm_iotlb *tlb = *state;

	assert_int_equal(cvmm_iotlb_set(tlb, 0x1000, 0x3000, 0x10000, RW), 0);
	assert_int_equal(cvmm_iotlb_invalidate(tlb, 0x2000, 0x1000), 0);
	expect_piece(tlb, 0x1000, 0x1000, 0x10000);
	expect_miss(tlb, 0x2000, 0x1000);
	expect_piece(tlb, 0x3000, 0x1000, 0x12000);
	cvmm_iotlb_invalidate_all(tlb);
	assert_int_equal(cvmm_iotlb_count(tlb), 0);
}

static void misses_and_fails_are_told_apart(void **state)
{
	struct cvmm_iotlb *tlb = *state;
	struct result r;

	assert_int_equal(cvmm_iotlb_set(tlb, 0x1000, 0x1000, 0, RW), 0);
	assert_int_equal(cvmm_iotlb_set(tlb, 0x3000, 0x1000, 0, RO), 0);
	assert_int_equal(cvmm_iotlb_set(tlb, 0x4000, 0x1000, 0, CVMM_IOTLB_NO_ACCESS), 0);
	assert_int_equal(look_up(tlb, 0, 0x6000, CVMM_ACCESS_WRITE, &r), -EACCES);
	assert_int_equal(r.lookup.piece_count, 1);
	assert_int_equal(r.lookup.miss_count, 3);
	assert_int_equal(r.misses[1].iova, 0x2000);
	assert_int_equal(r.misses[2].iova, 0x5000);
	assert_int_equal(r.lookup.fail_count, 1); /* two neighbours */
	assert_int_equal(r.fails[0].iova, 0x3000);
	assert_int_equal(r.fails[0].len_bytes, 0x2000);
}

static void lists_without_room_are_counted(void **state)
{
	struct cvmm_iotlb *tlb = *state;
	struct cvmm_iotlb_lookup none = { 0 };

	assert_int_equal(cvmm_iotlb_set(tlb, 0x1000, 1, 0, RW), 0);
	assert_int_equal(cvmm_iotlb_set(tlb, 0x1001, 1, 77, RW), 0);
	assert_int_equal(cvmm_iotlb_lookup(tlb, 0x1000, 4, RW, &none), -ENOBUFS);
	assert_int_equal(none.piece_count, 2);
	assert_int_equal(none.miss_count, 1);
}

/* rust-vmm's IOTLB has neither a bound nor an eviction. */
static void a_full_cache_drops_what_nobody_used(void **state)
{
	struct cvmm_iotlb *tlb = must_create(4);
	struct cvmm_iotlb_stats stats;

	(void)state;
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(cvmm_iotlb_set(tlb, i * 0x1000, 0x1000, i * 0x10000, RW), 0);
	/* All are new, that is used: the next one makes them equal, and drops the first. */
	assert_int_equal(cvmm_iotlb_set(tlb, 0x10000, 0x1000, 0, RW), 0);
	assert_int_equal(cvmm_iotlb_count(tlb), 4);
	expect_miss(tlb, 0, 1);
	/* 0x1000 is used again, so 0x2000 has to go. */
	expect_piece(tlb, 0x1000, 1, 0x10000);
	assert_int_equal(cvmm_iotlb_set(tlb, 0x20000, 0x1000, 0, RW), 0);
	expect_piece(tlb, 0x1000, 1, 0x10000);
	expect_miss(tlb, 0x2000, 1);
	expect_piece(tlb, 0x20000, 1, 0);
	cvmm_iotlb_stats(tlb, &stats);
	assert_int_equal(stats.evictions, 2);
	cvmm_iotlb_destroy(tlb);
}

static void a_cache_of_one_holds_the_newest(void **state)
{
	struct cvmm_iotlb *tlb = must_create(1);

	(void)state;
	assert_int_equal(cvmm_iotlb_set(tlb, 0x1000, 0x3000, 0x10000, RW), 0);
	assert_int_equal(cvmm_iotlb_set(tlb, 0x2000, 0x1000, 0x90000, RW), 0);
	assert_int_equal(cvmm_iotlb_count(tlb), 1);
	expect_piece(tlb, 0x2000, 0x1000, 0x90000);
	/* What remains of it is two ranges; one of them can stay. */
	assert_int_equal(cvmm_iotlb_invalidate(tlb, 0x2800, 1), 0);
	assert_int_equal(cvmm_iotlb_count(tlb), 1);
	cvmm_iotlb_destroy(tlb);
}

static void a_batch_is_done_as_a_whole_or_not_at_all(void **state)
{
	struct cvmm_iotlb *tlb = *state;
	struct cvmm_iotlb_op ops[3] = {
		{ CVMM_IOTLB_UPDATE, 0x1000, 0x1fff, 0x5000, RW },
		{ CVMM_IOTLB_INVALIDATE, 0x1800, 0x18ff, 0, 0 },
		{ CVMM_IOTLB_MISS, 0, 1, 0, RW },
	};
	struct cvmm_error err;

	assert_int_equal(cvmm_iotlb_apply(tlb, ops, 3, &err), -EINVAL);
	assert_int_equal(cvmm_iotlb_count(tlb), 0);
	assert_int_equal(cvmm_iotlb_apply(tlb, ops, 2, &err), 0);
	assert_int_equal(cvmm_iotlb_count(tlb), 2);
	assert_int_equal(cvmm_iotlb_apply(tlb, NULL, 0, &err), 0);
}

static void the_generation_tells_of_lost_translations_only(void **state)
{
	struct cvmm_iotlb *tlb = *state;
	uint64_t first = cvmm_iotlb_generation(tlb), then;

	assert_int_equal(cvmm_iotlb_set(tlb, 0x1000, 0x1000, 0, RW), 0);
	assert_int_equal(cvmm_iotlb_generation(tlb), first);
	assert_int_equal(cvmm_iotlb_set(tlb, 0x1000, 0x1000, 0x5000, RW), 0);
	then = cvmm_iotlb_generation(tlb);
	assert_int_not_equal(then, first);
	assert_int_equal(cvmm_iotlb_invalidate(tlb, 0x9000, 1), 0);
	assert_int_not_equal(cvmm_iotlb_generation(tlb), then);
}

/* Who kept the translation that was dropped must hear of the new one. */
static void the_generation_tells_of_what_comes_back_as_another(void **state)
{
	struct cvmm_iotlb *tlb = must_create(1);
	uint64_t then;

	(void)state;
	assert_int_equal(cvmm_iotlb_set(tlb, 0, 0x1000, 0x5000, RW), 0);
	assert_int_equal(cvmm_iotlb_set(tlb, 0x9000, 0x1000, 0, RW), 0);
	then = cvmm_iotlb_generation(tlb);
	assert_int_equal(cvmm_iotlb_set(tlb, 0, 0x1000, 0x7000, RO), 0);
	assert_int_not_equal(cvmm_iotlb_generation(tlb), then);
	cvmm_iotlb_destroy(tlb);
}

static void one_piece_after_the_other_can_be_had(void **state)
{
	struct cvmm_iotlb *tlb = *state;
	struct cvmm_iotlb_piece piece;

	assert_int_equal(cvmm_iotlb_set(tlb, 0x1000, 0x1000, 0x5000, RW), 0);
	assert_int_equal(cvmm_iotlb_set(tlb, 0x2000, 0x1000, 0x6000, RO), 0);
	cvmm_iotlb_read_lock(tlb);
	cvmm_iotlb_read_lock(tlb);
	assert_int_equal(cvmm_mem_iotlb_next(tlb, 0x1800, 0x2fff, RO, &piece), 0);
	assert_int_equal(piece.addr, 0x5800);
	assert_int_equal(piece.len_bytes, 0x800);
	assert_int_equal(cvmm_mem_iotlb_next(tlb, 0x1800, 0x18ff, RO, &piece), 0);
	assert_int_equal(piece.len_bytes, 0x100);
	assert_int_equal(cvmm_mem_iotlb_next(tlb, 0x2000, 0x2fff, RW, &piece), -EACCES);
	assert_int_equal(cvmm_mem_iotlb_next(tlb, 0x3000, 0x3000, RO, &piece), -EAGAIN);
	assert_int_equal(cvmm_mem_iotlb_next(tlb, 0xfff, 0x1fff, RO, &piece), -EAGAIN);
	cvmm_iotlb_read_unlock(tlb);
	cvmm_iotlb_read_unlock(tlb);
}

static void what_happened_is_counted(void **state)
{
	struct cvmm_iotlb *tlb = *state;
	struct cvmm_iotlb_stats stats;
	struct result r;

	assert_int_equal(cvmm_iotlb_set(tlb, 0x1000, 0x1000, 0, RO), 0);
	look_up(tlb, 0x1000, 1, RO, &r);
	look_up(tlb, 0x1000, 1, RW, &r);
	look_up(tlb, 0x9000, 1, RO, &r);
	cvmm_iotlb_invalidate_all(tlb);
	cvmm_iotlb_stats(tlb, &stats);
	assert_int_equal(stats.hits, 1);
	assert_int_equal(stats.access_fails, 1);
	assert_int_equal(stats.misses, 1);
	assert_int_equal(stats.updates, 1);
	assert_int_equal(stats.invalidations, 1);
}

#define tlb_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(capacities_have_limits),
		tlb_test(ranges_of_any_address_and_length_are_translated),
		tlb_test(neighbours_that_stand_for_neighbours_are_one_piece),
		tlb_test(ranges_up_to_the_end_of_the_address_space_are_fine),
		tlb_test(empty_ranges_have_no_pieces_and_cannot_be_set),
		tlb_test(unknown_rights_are_refused),
		tlb_test(a_mapping_replaces_and_splits_what_it_overlaps),
		tlb_test(an_invalidation_splits_what_reaches_out_of_it),
		tlb_test(misses_and_fails_are_told_apart),
		tlb_test(lists_without_room_are_counted),
		cmocka_unit_test(a_full_cache_drops_what_nobody_used),
		cmocka_unit_test(a_cache_of_one_holds_the_newest),
		tlb_test(a_batch_is_done_as_a_whole_or_not_at_all),
		tlb_test(the_generation_tells_of_lost_translations_only),
		cmocka_unit_test(the_generation_tells_of_what_comes_back_as_another),
		tlb_test(one_piece_after_the_other_can_be_had),
		tlb_test(what_happened_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
