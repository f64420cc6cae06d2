// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Lack of memory, at every place in turn. The component's sources are part of this file, with an
 * allocator that fails at a given call.
 */
#include <setjmp.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

/* Calls until one fails; negative: never. */
static int calls_left = -1;

static bool fails_now(void);
static void *failing_calloc(size_t count, size_t size);
static void *failing_realloc(void *block, size_t size);

#define calloc failing_calloc
#define realloc failing_realloc
#include "alloc_gap.c"
#include "alloc_tree.c"
#include "alloc_space.c"
#undef RANGE_FORMAT
#include "alloc_space_state.c"
#define head_check ids_head_check
#include "alloc_ids.c"
#include "alloc_ids_state.c"
#undef calloc
#undef realloc

#include "alloc_check.h"

#define DEPTH_MAX 40
#define STATE_MAX 4096

static bool fails_now(void)
{
	if (calls_left < 0)
		return false;
	return calls_left-- == 0;
}

static void *failing_calloc(size_t count, size_t size)
{
	return fails_now() ? NULL : calloc(count, size);
}

static void *failing_realloc(void *block, size_t size)
{
	return fails_now() ? NULL : realloc(block, size);
}

static void creation_fails_at_every_allocation(void **state)
{
	const struct cvmm_alloc_id_range id_range = { 0, 99 };
	const struct cvmm_alloc_range range = { 0, 99 };
	struct cvmm_alloc_space *space = NULL;
	struct cvmm_alloc_ids *ids = NULL;

	(void)state;
	for (int i = 0; i < 2; i++) {
		calls_left = i;
		assert_int_equal(cvmm_alloc_space_create("x", range, &space, NULL), -ENOMEM);
		assert_null(space);
		calls_left = i;
		assert_int_equal(cvmm_alloc_ids_create("x", id_range, &ids, NULL), -ENOMEM);
		assert_null(ids);
	}
	calls_left = -1;
}

static void a_range_without_memory_changes_nothing_and_works_later(void **state)
{
	struct cvmm_alloc_range range = { 0, 0xffff }, one;
	struct cvmm_alloc_space *space;
	uint64_t available, failures = 0;
	int r;

	(void)state;
	assert_int_equal(cvmm_alloc_space_create("x", range, &space, NULL), 0);
	for (uint64_t at = 0x10; at < 0x1000; at += 0x10) {
		one.first = at;
		one.last = at + 3;
		available = cvmm_alloc_space_available(space);
		calls_left = 0;
		r = cvmm_alloc_space_reserve(space, one, NULL);
		if (r < 0) {
			failures++;
			assert_int_equal(r, -ENOMEM);
			assert_true(cvmm_alloc_space_available(space) == available);
			assert_true(check_space(space, DEPTH_MAX));
			calls_left = -1;
			assert_int_equal(cvmm_alloc_space_reserve(space, one, NULL), 0);
		}
		assert_true(check_space(space, DEPTH_MAX));
	}
	assert_true(failures > 2);
	/* Giving back needs no memory. */
	calls_left = 0;
	for (uint64_t at = 0x10; at < 0x1000; at += 0x10) {
		one.first = at;
		one.last = at + 3;
		assert_int_equal(cvmm_alloc_space_free(space, one, NULL), 0);
	}
	assert_int_equal(calls_left, 0);
	calls_left = -1;
	assert_true(check_space(space, 1));
	cvmm_alloc_space_destroy(space);
}

static void a_failed_restore_keeps_the_space(void **state)
{
	struct cvmm_alloc_range range = { 0, 0xffff }, one;
	struct cvmm_alloc_space *space;
	uint8_t saved[STATE_MAX];
	int r = -ENOMEM, failures = 0;
	size_t len;

	(void)state;
	assert_int_equal(cvmm_alloc_space_create("x", range, &space, NULL), 0);
	for (uint64_t at = 0; at < 40; at++) {
		one.first = one.last = 2 * at;
		assert_int_equal(cvmm_alloc_space_reserve(space, one, NULL), 0);
	}
	len = cvmm_alloc_space_state_bytes(space);
	assert_int_equal(cvmm_alloc_space_save(space, saved, sizeof(saved), NULL), 0);
	one.first = one.last = 0xffff;
	assert_int_equal(cvmm_alloc_space_reserve(space, one, NULL), 0);
	for (int i = 0; r < 0; i++) {
		calls_left = i;
		r = cvmm_alloc_space_restore(space, saved, len, NULL);
		if (r < 0) {
			failures++;
			assert_int_equal(r, -ENOMEM);
			assert_int_equal(cvmm_alloc_space_count(space), 41);
		}
		assert_true(check_space(space, DEPTH_MAX));
	}
	calls_left = -1;
	assert_true(failures >= 2);
	assert_int_equal(cvmm_alloc_space_count(space), 40);
	cvmm_alloc_space_destroy(space);
}

static void a_failed_restore_keeps_the_ids(void **state)
{
	const struct cvmm_alloc_id_range range = { 0, 99 };
	struct cvmm_alloc_ids *ids;
	uint8_t saved[STATE_MAX];
	size_t len;

	(void)state;
	assert_int_equal(cvmm_alloc_ids_create("x", range, &ids, NULL), 0);
	len = cvmm_alloc_ids_state_bytes(ids);
	assert_int_equal(cvmm_alloc_ids_save(ids, saved, sizeof(saved), NULL), 0);
	assert_int_equal(cvmm_alloc_ids_reserve(ids, cvmm_alloc_one_id(5), NULL), 0);
	for (int i = 0; i < 2; i++) {
		calls_left = i;
		assert_int_equal(cvmm_alloc_ids_restore(ids, saved, len, NULL), -ENOMEM);
		assert_true(cvmm_alloc_ids_is_allocated(ids, 5));
	}
	calls_left = -1;
	cvmm_alloc_ids_destroy(ids);
}

static void a_space_holds_a_bounded_number_of_ranges(void **state)
{
	struct cvmm_alloc_range range = { 0, 0xffff }, one = { 5, 5 };
	struct cvmm_alloc_space *space;
	struct cvmm_error err;

	(void)state;
	assert_int_equal(cvmm_alloc_space_create("x", range, &space, NULL), 0);
	space->count = CVMM_ALLOC_RANGES_MAX;
	assert_int_equal(cvmm_alloc_space_reserve(space, one, &err), -ENOMEM);
	assert_string_equal(err.message, "x: holds 4194304 ranges, and cannot hold more");
	space->count = 0;
	assert_true(check_space(space, 1));
	cvmm_alloc_space_destroy(space);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(creation_fails_at_every_allocation),
		cmocka_unit_test(a_range_without_memory_changes_nothing_and_works_later),
		cmocka_unit_test(a_failed_restore_keeps_the_space),
		cmocka_unit_test(a_failed_restore_keeps_the_ids),
		cmocka_unit_test(a_space_holds_a_bounded_number_of_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
