// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include <cvmm/mem_dirty.h>

#define PAGE UINT64_C(4096)
#define LOG2 12U
#define RUNS_MAX 16U

static struct cvmm_dirty *must_create(uint64_t base, uint64_t len, unsigned int page_log2)
{
	struct cvmm_error err = { 0 };
	struct cvmm_dirty *dirty = NULL;

	if (cvmm_dirty_create(base, len, page_log2, &dirty, &err))
		fail_msg("%s", err.message);
	return dirty;
}

/* ---- making them --------------------------------------------------------------------------- */

static void a_new_bitmap_is_clean_and_knows_its_size(void **state)
{
	struct cvmm_dirty *dirty = must_create(16 * PAGE, 100 * PAGE + 1, LOG2);

	(void)state;
	assert_int_equal(cvmm_dirty_pages(dirty), 101);
	assert_int_equal(cvmm_dirty_word_count(dirty), 2);
	assert_int_equal(cvmm_dirty_base(dirty), 16 * PAGE);
	assert_int_equal(cvmm_dirty_page_log2(dirty), LOG2);
	assert_int_equal(cvmm_dirty_count(dirty), 0);
	assert_false(cvmm_dirty_any(dirty, 0, UINT64_MAX));
	cvmm_dirty_unref(dirty);
	assert_null(cvmm_dirty_unref(NULL));
}

static void assert_refused(uint64_t base, uint64_t len, unsigned int page_log2)
{
	struct cvmm_error err = { 0 };
	struct cvmm_dirty *dirty = NULL;

	assert_int_equal(cvmm_dirty_create(base, len, page_log2, &dirty, &err), -EINVAL);
	assert_null(dirty);
	assert_int_not_equal(err.message[0], 0);
}

static void bad_ranges_and_page_sizes_are_refused(void **state)
{
	(void)state;
	assert_refused(0, 0, LOG2);
	assert_refused(0, PAGE, LOG2 - 1);
	assert_refused(0, PAGE, 64);
	assert_refused(1, PAGE, LOG2);
	assert_refused(PAGE, UINT64_MAX - PAGE + 2, LOG2);
	assert_refused(UINT64_MAX - PAGE + 1, PAGE + 1, LOG2);
}

static void a_bitmap_outlives_all_but_its_last_reference(void **state)
{
	struct cvmm_dirty *dirty = must_create(0, PAGE, LOG2);

	(void)state;
	assert_ptr_equal(cvmm_dirty_ref(dirty), dirty);
	assert_null(cvmm_dirty_unref(dirty));
	cvmm_dirty_mark(dirty, 0, 1);
	assert_true(cvmm_dirty_test(dirty, 0));
	cvmm_dirty_unref(dirty);
}

/* ---- marking ------------------------------------------------------------------------------- */

static void a_mark_dirties_exactly_the_pages_it_touches(void **state)
{
	struct cvmm_dirty *dirty = must_create(0, 256 * PAGE, LOG2);

	(void)state;
	cvmm_dirty_mark(dirty, 3 * PAGE + 4095, 1);
	assert_int_equal(cvmm_dirty_count(dirty), 1);
	assert_true(cvmm_dirty_test(dirty, 3 * PAGE));
	cvmm_dirty_mark(dirty, 5 * PAGE + 4095, 2);
	assert_int_equal(cvmm_dirty_count(dirty), 3);
	assert_true(cvmm_dirty_test(dirty, 5 * PAGE));
	assert_true(cvmm_dirty_test(dirty, 6 * PAGE));
	cvmm_dirty_mark(dirty, 60 * PAGE, 140 * PAGE);
	assert_int_equal(cvmm_dirty_count(dirty), 143);
	assert_false(cvmm_dirty_test(dirty, 59 * PAGE));
	assert_true(cvmm_dirty_test(dirty, 60 * PAGE));
	assert_true(cvmm_dirty_test(dirty, 199 * PAGE));
	assert_false(cvmm_dirty_test(dirty, 200 * PAGE));
	assert_int_equal(cvmm_dirty_dropped(dirty), 0);
	cvmm_dirty_unref(dirty);
}

static void an_empty_range_marks_nothing_anywhere(void **state)
{
	struct cvmm_dirty *dirty = must_create(0, PAGE, 63);

	(void)state;
	cvmm_dirty_mark(dirty, 0, 0);
	cvmm_dirty_mark(dirty, 1, 0);
	cvmm_dirty_mark(dirty, PAGE, 0);
	cvmm_dirty_mark(dirty, UINT64_MAX, 0);
	assert_int_equal(cvmm_dirty_count(dirty), 0);
	assert_int_equal(cvmm_dirty_dropped(dirty), 0);
	assert_false(cvmm_dirty_any(dirty, 0, 0));
	cvmm_dirty_unref(dirty);
}

static void no_bitmap_can_be_marked_too(void **state)
{
	(void)state;
	cvmm_dirty_mark(NULL, 0, 8);
}

static void marks_outside_are_dropped_and_counted(void **state)
{
	struct cvmm_dirty *dirty = must_create(16 * PAGE, 4 * PAGE, LOG2);

	(void)state;
	cvmm_dirty_mark(dirty, 16 * PAGE - 1, 1);
	cvmm_dirty_mark(dirty, 0, 1);
	cvmm_dirty_mark(dirty, 20 * PAGE, 8);
	cvmm_dirty_mark(dirty, UINT64_MAX, 1);
	assert_int_equal(cvmm_dirty_count(dirty), 0);
	assert_int_equal(cvmm_dirty_dropped(dirty), 4);
	cvmm_dirty_mark(dirty, 15 * PAGE, PAGE + 1);
	assert_int_equal(cvmm_dirty_count(dirty), 1);
	assert_true(cvmm_dirty_test(dirty, 16 * PAGE));
	cvmm_dirty_mark(dirty, 20 * PAGE - 1, 2);
	assert_int_equal(cvmm_dirty_count(dirty), 2);
	assert_int_equal(cvmm_dirty_dropped(dirty), 6);
	cvmm_dirty_unref(dirty);
}

static void a_range_that_passes_the_end_of_the_address_space_ends_there(void **state)
{
	uint64_t base = UINT64_MAX - 8 * PAGE + 1;
	struct cvmm_dirty *dirty = must_create(base, 8 * PAGE, LOG2);

	(void)state;
	assert_int_equal(cvmm_dirty_pages(dirty), 8);
	cvmm_dirty_mark(dirty, UINT64_MAX, 8);
	assert_int_equal(cvmm_dirty_count(dirty), 1);
	assert_true(cvmm_dirty_test(dirty, UINT64_MAX));
	cvmm_dirty_mark(dirty, base + 5 * PAGE, UINT64_MAX);
	assert_int_equal(cvmm_dirty_count(dirty), 3);
	assert_int_equal(cvmm_dirty_dropped(dirty), 0);
	assert_false(cvmm_dirty_test(dirty, 0));
	cvmm_dirty_unref(dirty);
}

static void one_bitmap_can_cover_all_addresses(void **state)
{
	struct cvmm_dirty *dirty = must_create(0, UINT64_MAX, 52);

	(void)state;
	assert_int_equal(cvmm_dirty_pages(dirty), 4096);
	cvmm_dirty_mark(dirty, 0, 1);
	cvmm_dirty_mark(dirty, UINT64_MAX, 1);
	assert_int_equal(cvmm_dirty_count(dirty), 2);
	cvmm_dirty_mark(dirty, 0, UINT64_MAX);
	assert_int_equal(cvmm_dirty_count(dirty), 4096);
	assert_int_equal(cvmm_dirty_dropped(dirty), 0);
	cvmm_dirty_unref(dirty);
}

static void large_pages_are_marked_by_small_accesses(void **state)
{
	struct cvmm_dirty *dirty = must_create(0, UINT64_C(8) << 30, 30);

	(void)state;
	cvmm_dirty_mark(dirty, (UINT64_C(3) << 30) - 4, 8);
	assert_int_equal(cvmm_dirty_count(dirty), 2);
	assert_true(cvmm_dirty_test(dirty, UINT64_C(2) << 30));
	assert_true(cvmm_dirty_test(dirty, UINT64_C(3) << 30));
	cvmm_dirty_unref(dirty);
}

static void a_disabled_bitmap_takes_no_marks_and_keeps_those_it_has(void **state)
{
	struct cvmm_dirty *dirty = must_create(0, 4 * PAGE, LOG2);

	(void)state;
	cvmm_dirty_mark(dirty, 0, 1);
	assert_int_equal(cvmm_dirty_set_enabled(dirty, false), 0);
	cvmm_dirty_mark(dirty, PAGE, 1);
	cvmm_dirty_mark(dirty, PAGE, 2 * PAGE);
	cvmm_dirty_mark(dirty, 99 * PAGE, 1);
	assert_int_equal(cvmm_dirty_count(dirty), 1);
	assert_int_equal(cvmm_dirty_dropped(dirty), 0);
	assert_int_equal(cvmm_dirty_set_enabled(dirty, true), 0);
	cvmm_dirty_mark(dirty, PAGE, 1);
	assert_int_equal(cvmm_dirty_count(dirty), 2);
	cvmm_dirty_unref(dirty);
}

/* ---- harvesting ---------------------------------------------------------------------------- */

static void words_are_taken_once(void **state)
{
	struct cvmm_dirty *dirty = must_create(0, 130 * PAGE, LOG2);
	uint64_t words[3] = { 0 };

	(void)state;
	cvmm_dirty_mark(dirty, 0, 1);
	cvmm_dirty_mark(dirty, 63 * PAGE, 2 * PAGE);
	cvmm_dirty_mark(dirty, 129 * PAGE, 1);
	assert_int_equal(cvmm_dirty_get_and_reset(dirty, 0, words, 3), 0);
	assert_true(words[0] == (UINT64_C(1) | UINT64_C(1) << 63));
	assert_true(words[1] == 1);
	assert_true(words[2] == 2);
	assert_int_equal(cvmm_dirty_count(dirty), 0);
	assert_int_equal(cvmm_dirty_get_and_reset(dirty, 0, words, 3), 0);
	assert_true(!words[0] && !words[1] && !words[2]);
	cvmm_dirty_unref(dirty);
}

static void words_that_do_not_exist_cannot_be_taken(void **state)
{
	struct cvmm_dirty *dirty = must_create(0, 128 * PAGE, LOG2);
	uint64_t words[3] = { 0 };

	(void)state;
	cvmm_dirty_mark(dirty, 0, 128 * PAGE);
	assert_int_equal(cvmm_dirty_get_and_reset(dirty, 0, words, 3), -ERANGE);
	assert_int_equal(cvmm_dirty_get_and_reset(dirty, 2, words, 1), -ERANGE);
	assert_int_equal(cvmm_dirty_get_and_reset(dirty, UINT64_MAX, words, 2), -ERANGE);
	assert_int_equal(cvmm_dirty_count(dirty), 128);
	assert_int_equal(cvmm_dirty_get_and_reset(dirty, 2, words, 0), 0);
	cvmm_dirty_unref(dirty);
}

/**
 * struct runs - what a harvest told
 * @fail_at: number of the run that is refused; RUNS_MAX for none
 */
struct runs {
	uint64_t addr[RUNS_MAX];
	uint64_t len[RUNS_MAX];
	unsigned int count;
	unsigned int fail_at;
};

static int note_run(void *ctx, uint64_t addr, uint64_t len_bytes)
{
	struct runs *runs = ctx;

	if (runs->count == runs->fail_at)
		return -EIO;
	assert_true(runs->count < RUNS_MAX);
	runs->addr[runs->count] = addr;
	runs->len[runs->count++] = len_bytes;
	return 0;
}

static void a_harvest_gives_runs_in_order_and_cleans_them(void **state)
{
	struct cvmm_dirty *dirty = must_create(16 * PAGE, 300 * PAGE, LOG2);
	struct runs runs = { .fail_at = RUNS_MAX };

	(void)state;
	cvmm_dirty_mark(dirty, 17 * PAGE, PAGE);
	cvmm_dirty_mark(dirty, 30 * PAGE, 200 * PAGE);
	cvmm_dirty_mark(dirty, 315 * PAGE, 1);
	assert_int_equal(cvmm_dirty_harvest(dirty, 0, UINT64_MAX, note_run, &runs), 0);
	assert_int_equal(runs.count, 3);
	assert_int_equal(runs.addr[0], 17 * PAGE);
	assert_int_equal(runs.len[0], PAGE);
	assert_int_equal(runs.addr[1], 30 * PAGE);
	assert_int_equal(runs.len[1], 200 * PAGE);
	assert_int_equal(runs.addr[2], 315 * PAGE);
	assert_int_equal(cvmm_dirty_count(dirty), 0);
	cvmm_dirty_unref(dirty);
}

static void a_harvest_of_a_part_leaves_the_rest(void **state)
{
	struct cvmm_dirty *dirty = must_create(0, 300 * PAGE, LOG2);
	struct runs runs = { .fail_at = RUNS_MAX };

	(void)state;
	cvmm_dirty_mark(dirty, 0, 300 * PAGE);
	assert_int_equal(cvmm_dirty_harvest(dirty, 70 * PAGE + 4095, 100 * PAGE, note_run, &runs),
			 0);
	assert_int_equal(runs.count, 1);
	assert_int_equal(runs.addr[0], 70 * PAGE);
	assert_int_equal(runs.len[0], 101 * PAGE);
	assert_int_equal(cvmm_dirty_count(dirty), 199);
	assert_true(cvmm_dirty_test(dirty, 69 * PAGE));
	assert_true(cvmm_dirty_test(dirty, 171 * PAGE));
	cvmm_dirty_unref(dirty);
}

static void a_refused_run_and_what_follows_stay_dirty(void **state)
{
	struct cvmm_dirty *dirty = must_create(0, 300 * PAGE, LOG2);
	struct runs runs = { .fail_at = 1 };

	(void)state;
	cvmm_dirty_mark(dirty, 1 * PAGE, 1);
	cvmm_dirty_mark(dirty, 60 * PAGE, 10 * PAGE);
	cvmm_dirty_mark(dirty, 200 * PAGE, 1);
	assert_int_equal(cvmm_dirty_harvest(dirty, 0, UINT64_MAX, note_run, &runs), -EIO);
	assert_int_equal(runs.count, 1);
	assert_false(cvmm_dirty_test(dirty, 1 * PAGE));
	assert_int_equal(cvmm_dirty_count(dirty), 11);
	cvmm_dirty_unref(dirty);
}

static void a_run_of_the_whole_address_space_fits_its_length(void **state)
{
	struct cvmm_dirty *dirty = must_create(0, UINT64_MAX, 60);
	struct runs runs = { .fail_at = RUNS_MAX };

	(void)state;
	cvmm_dirty_mark(dirty, 0, UINT64_MAX);
	assert_int_equal(cvmm_dirty_harvest(dirty, 0, UINT64_MAX, note_run, &runs), 0);
	assert_int_equal(runs.count, 2);
	assert_true(runs.len[0] == UINT64_C(1) << 63 && runs.len[1] == UINT64_C(1) << 63);
	assert_true(runs.addr[1] == UINT64_C(1) << 63);
	cvmm_dirty_unref(dirty);
}

static void clearing_widens_to_whole_pages(void **state)
{
	struct cvmm_dirty *dirty = must_create(0, 10 * PAGE, LOG2);

	(void)state;
	cvmm_dirty_mark(dirty, 0, 10 * PAGE);
	assert_int_equal(cvmm_dirty_clear(dirty, 2 * PAGE + 5, PAGE), 0);
	assert_int_equal(cvmm_dirty_count(dirty), 8);
	assert_false(cvmm_dirty_any(dirty, 2 * PAGE, 2 * PAGE));
	assert_true(cvmm_dirty_any(dirty, 2 * PAGE, 2 * PAGE + 1));
	assert_int_equal(cvmm_dirty_clear(dirty, 0, UINT64_MAX), 0);
	assert_int_equal(cvmm_dirty_count(dirty), 0);
	cvmm_dirty_unref(dirty);
}

/* ---- combining ----------------------------------------------------------------------------- */

static void a_larger_copy_has_the_marks_and_room_for_more(void **state)
{
	struct cvmm_dirty *dirty = must_create(16 * PAGE, 10 * PAGE, LOG2), *larger = NULL;

	(void)state;
	cvmm_dirty_mark(dirty, 20 * PAGE, 2 * PAGE);
	assert_int_equal(cvmm_dirty_enlarge(dirty, 9 * PAGE, &larger, NULL), -EINVAL);
	assert_int_equal(cvmm_dirty_enlarge(dirty, UINT64_MAX, &larger, NULL), -EINVAL);
	assert_null(larger);
	assert_int_equal(cvmm_dirty_enlarge(dirty, 20 * PAGE, &larger, NULL), 0);
	/* A late mark in the old one, carried over as the header says. */
	cvmm_dirty_mark(dirty, 16 * PAGE, 1);
	cvmm_dirty_merge(larger, dirty);
	cvmm_dirty_unref(dirty);
	assert_int_equal(cvmm_dirty_count(larger), 3);
	cvmm_dirty_mark(larger, 35 * PAGE, 1);
	assert_true(cvmm_dirty_test(larger, 35 * PAGE));
	cvmm_dirty_unref(larger);
}

static void a_clone_is_equal_and_separate(void **state)
{
	struct cvmm_dirty *dirty = must_create(0, UINT64_MAX, 52), *clone = NULL;

	(void)state;
	cvmm_dirty_mark(dirty, UINT64_MAX, 1);
	assert_int_equal(cvmm_dirty_clone(dirty, &clone, NULL), 0);
	assert_int_equal(cvmm_dirty_pages(clone), 4096);
	cvmm_dirty_mark(dirty, 0, 1);
	assert_int_equal(cvmm_dirty_count(clone), 1);
	assert_true(cvmm_dirty_test(clone, UINT64_MAX));
	cvmm_dirty_unref(dirty);
	cvmm_dirty_unref(clone);
}

static void bitmaps_with_other_bases_and_page_sizes_merge(void **state)
{
	struct cvmm_dirty *small = must_create(3 * PAGE, 10 * PAGE, LOG2);
	struct cvmm_dirty *large = must_create(0, 64 * PAGE, 14);

	(void)state;
	cvmm_dirty_mark(small, 3 * PAGE, 2 * PAGE);
	cvmm_dirty_merge(large, small);
	assert_int_equal(cvmm_dirty_count(large), 2);
	cvmm_dirty_merge(small, large);
	assert_int_equal(cvmm_dirty_count(small), 5);
	assert_int_equal(cvmm_dirty_dropped(small), 1);
	cvmm_dirty_unref(small);
	cvmm_dirty_unref(large);
}

static void words_of_a_hypervisor_merge_at_any_page(void **state)
{
	static const uint64_t words[] = { UINT64_C(1) << 63 | 1, 3 };
	struct cvmm_dirty *dirty = must_create(16 * PAGE, 200 * PAGE, LOG2);

	(void)state;
	assert_int_equal(cvmm_dirty_merge_words(dirty, 21 * PAGE, words, 2), 0);
	assert_int_equal(cvmm_dirty_count(dirty), 4);
	assert_true(cvmm_dirty_test(dirty, 21 * PAGE));
	assert_true(cvmm_dirty_test(dirty, 84 * PAGE));
	assert_true(cvmm_dirty_test(dirty, 86 * PAGE));
	assert_int_equal(cvmm_dirty_merge_words(dirty, 21 * PAGE + 1, words, 2), -EINVAL);
	assert_int_equal(cvmm_dirty_dropped(dirty), 0);
	assert_int_equal(cvmm_dirty_merge_words(dirty, 0, words, 1), 0);
	assert_int_equal(cvmm_dirty_count(dirty), 5);
	assert_int_equal(cvmm_dirty_dropped(dirty), 1);
	cvmm_dirty_unref(dirty);
}

static void words_that_reach_above_the_address_space_end_there(void **state)
{
	static const uint64_t words[] = { UINT64_MAX };
	uint64_t base = UINT64_MAX - 8 * PAGE + 1;
	struct cvmm_dirty *dirty = must_create(base, 8 * PAGE, LOG2);

	(void)state;
	assert_int_equal(cvmm_dirty_merge_words(dirty, base + 6 * PAGE, words, 1), 0);
	assert_int_equal(cvmm_dirty_count(dirty), 2);
	cvmm_dirty_unref(dirty);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_bitmap_is_clean_and_knows_its_size),
		cmocka_unit_test(bad_ranges_and_page_sizes_are_refused),
		cmocka_unit_test(a_bitmap_outlives_all_but_its_last_reference),
		cmocka_unit_test(a_mark_dirties_exactly_the_pages_it_touches),
		cmocka_unit_test(an_empty_range_marks_nothing_anywhere),
		cmocka_unit_test(no_bitmap_can_be_marked_too),
		cmocka_unit_test(marks_outside_are_dropped_and_counted),
		cmocka_unit_test(a_range_that_passes_the_end_of_the_address_space_ends_there),
		cmocka_unit_test(one_bitmap_can_cover_all_addresses),
		cmocka_unit_test(large_pages_are_marked_by_small_accesses),
		cmocka_unit_test(a_disabled_bitmap_takes_no_marks_and_keeps_those_it_has),
		cmocka_unit_test(words_are_taken_once),
		cmocka_unit_test(words_that_do_not_exist_cannot_be_taken),
		cmocka_unit_test(a_harvest_gives_runs_in_order_and_cleans_them),
		cmocka_unit_test(a_harvest_of_a_part_leaves_the_rest),
		cmocka_unit_test(a_refused_run_and_what_follows_stay_dirty),
		cmocka_unit_test(a_run_of_the_whole_address_space_fits_its_length),
		cmocka_unit_test(clearing_widens_to_whole_pages),
		cmocka_unit_test(a_larger_copy_has_the_marks_and_room_for_more),
		cmocka_unit_test(a_clone_is_equal_and_separate),
		cmocka_unit_test(bitmaps_with_other_bases_and_page_sizes_merge),
		cmocka_unit_test(words_of_a_hypervisor_merge_at_any_page),
		cmocka_unit_test(words_that_reach_above_the_address_space_end_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
