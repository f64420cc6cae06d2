// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "alloc_check.h"

/* ---- helpers --------------------------------------------------------------------------------- */

static struct cvmm_alloc_id_range run(uint32_t first, uint32_t last)
{
	return (struct cvmm_alloc_id_range){ first, last };
}

static struct cvmm_alloc_ids *new_ids(uint32_t first, uint32_t last)
{
	struct cvmm_alloc_ids *ids;

	assert_int_equal(cvmm_alloc_ids_create("test", run(first, last), &ids, NULL), 0);
	return ids;
}

static void destroy(struct cvmm_alloc_ids *ids)
{
	assert_true(check_ids(ids));
	cvmm_alloc_ids_destroy(ids);
}

static uint32_t take(struct cvmm_alloc_ids *ids)
{
	uint32_t id = 0;

	assert_int_equal(cvmm_alloc_ids_take(ids, &id, NULL), 0);
	return id;
}

static void assert_exhausted(struct cvmm_alloc_ids *ids)
{
	struct cvmm_error err;
	uint32_t id = 4711;

	assert_int_equal(cvmm_alloc_ids_take(ids, &id, &err), -ENOSPC);
	assert_true(err.message[0]);
	assert_int_equal(id, 4711);
	assert_true(cvmm_alloc_ids_available(ids) == 0);
}

/* ---- single ids ------------------------------------------------------------------------------ */

static void ids_come_in_ascending_order(void **state)
{
	struct cvmm_alloc_ids *ids = new_ids(5, 23);

	(void)state;
	for (uint32_t id = 5; id <= 23; id++)
		assert_int_equal(take(ids), id);
	assert_exhausted(ids);
	destroy(ids);
}

static void the_smallest_freed_id_comes_first(void **state)
{
	struct cvmm_alloc_ids *ids = new_ids(0, 9999);

	(void)state;
	for (uint32_t id = 0; id < 5000; id++)
		take(ids);
	assert_int_equal(cvmm_alloc_ids_free(ids, cvmm_alloc_one_id(4097), NULL), 0);
	assert_int_equal(cvmm_alloc_ids_free(ids, cvmm_alloc_one_id(70), NULL), 0);
	assert_int_equal(cvmm_alloc_ids_free(ids, cvmm_alloc_one_id(4999), NULL), 0);
	assert_int_equal(take(ids), 70);
	assert_int_equal(take(ids), 4097);
	assert_int_equal(take(ids), 4999);
	assert_int_equal(take(ids), 5000);
	destroy(ids);
}

static void a_reserved_id_is_passed_over(void **state)
{
	struct cvmm_alloc_ids *ids = new_ids(0, 23);
	struct cvmm_error err;

	(void)state;
	assert_int_equal(cvmm_alloc_ids_reserve(ids, run(0, 4), &err), 0);
	assert_int_equal(cvmm_alloc_ids_reserve(ids, cvmm_alloc_one_id(6), &err), 0);
	assert_int_equal(take(ids), 5);
	assert_int_equal(take(ids), 7);
	assert_int_equal(cvmm_alloc_ids_reserve(ids, run(8, 23), &err), 0);
	assert_exhausted(ids);
	destroy(ids);
}

static void a_reservation_with_a_taken_id_changes_nothing(void **state)
{
	struct cvmm_alloc_ids *ids = new_ids(0, 255);
	struct cvmm_error err;

	(void)state;
	assert_int_equal(cvmm_alloc_ids_reserve(ids, cvmm_alloc_one_id(130), NULL), 0);
	assert_int_equal(cvmm_alloc_ids_reserve(ids, run(100, 200), &err), -EBUSY);
	assert_string_equal(err.message, "test: id 130 is taken already");
	assert_true(cvmm_alloc_ids_available(ids) == 255);
	assert_int_equal(cvmm_alloc_ids_reserve(ids, run(250, 256), &err), -ERANGE);
	assert_int_equal(cvmm_alloc_ids_reserve(ids, run(2, 1), &err), -EINVAL);
	destroy(ids);
}

static void freeing_what_is_not_taken_changes_nothing(void **state)
{
	struct cvmm_alloc_ids *ids = new_ids(10, 255);
	struct cvmm_error err;

	(void)state;
	assert_int_equal(cvmm_alloc_ids_reserve(ids, run(20, 29), NULL), 0);
	assert_int_equal(cvmm_alloc_ids_free(ids, run(20, 30), &err), -ENOENT);
	assert_string_equal(err.message, "test: id 30 is not taken");
	assert_int_equal(cvmm_alloc_ids_free(ids, cvmm_alloc_one_id(9), &err), -ENOENT);
	assert_int_equal(cvmm_alloc_ids_free(ids, run(21, 20), &err), -EINVAL);
	assert_true(cvmm_alloc_ids_available(ids) == 236);
	assert_int_equal(cvmm_alloc_ids_free(ids, run(20, 29), &err), 0);
	assert_int_equal(cvmm_alloc_ids_free(ids, cvmm_alloc_one_id(20), &err), -ENOENT);
	destroy(ids);
}

static void is_allocated_knows_each_id(void **state)
{
	struct cvmm_alloc_ids *ids = new_ids(60, 70);

	(void)state;
	assert_int_equal(cvmm_alloc_ids_reserve(ids, cvmm_alloc_one_id(64), NULL), 0);
	for (uint32_t id = 0; id < 200; id++)
		assert_true(cvmm_alloc_ids_is_allocated(ids, id) == (id == 64));
	destroy(ids);
}

static void defect_also_exhaustion_at_the_last_number_is_no_overflow(void **state)
{
	struct cvmm_alloc_ids *ids = new_ids(UINT32_MAX - 2, UINT32_MAX);

	(void)state;
	assert_int_equal(take(ids), UINT32_MAX - 2);
	assert_int_equal(take(ids), UINT32_MAX - 1);
	assert_int_equal(take(ids), UINT32_MAX);
	assert_exhausted(ids);
	assert_int_equal(cvmm_alloc_ids_free(ids, cvmm_alloc_one_id(UINT32_MAX), NULL), 0);
	assert_int_equal(take(ids), UINT32_MAX);
	destroy(ids);
}

static void one_id_is_a_set_too(void **state)
{
	struct cvmm_alloc_ids *ids = new_ids(0, 0);

	(void)state;
	assert_int_equal(take(ids), 0);
	assert_exhausted(ids);
	destroy(ids);
}

static void all_32_bit_ids_are_a_set_too(void **state)
{
	struct cvmm_alloc_id_range got;
	struct cvmm_alloc_ids *ids;
	uint32_t first;

	(void)state;
	/* 520 MiB are reserved for it, hardly any of them are used. */
	if (cvmm_alloc_ids_create("all", run(0, UINT32_MAX), &ids, NULL) < 0) {
		print_message("SKIP: no address space for 2^32 bits here\n");
		skip();
	}
	assert_true(cvmm_alloc_ids_available(ids) == UINT64_C(1) << 32);
	assert_int_equal(take(ids), 0);
	assert_int_equal(cvmm_alloc_ids_reserve(ids, run(1, 1 << 20), NULL), 0);
	assert_int_equal(take(ids), (1 << 20) + 1);
	assert_int_equal(cvmm_alloc_ids_take_run(ids, 8, 1U << 31, &first, NULL), 0);
	assert_true(first == 1U << 31);
	assert_true(cvmm_alloc_ids_next_run(ids, 1 << 21, &got));
	assert_true(got.first == 1U << 31 && got.last == (1U << 31) + 7);
	assert_false(cvmm_alloc_ids_next_run(ids, (1U << 31) + 8, &got));
	cvmm_alloc_ids_destroy(ids);
}

static void a_backward_set_is_refused(void **state)
{
	struct cvmm_alloc_ids *ids = (void *)1;
	struct cvmm_error err;

	(void)state;
	assert_int_equal(cvmm_alloc_ids_create("x", run(1, 0), &ids, &err), -EINVAL);
	assert_ptr_equal(ids, (void *)1);
	cvmm_alloc_ids_destroy(NULL);
}

/* ---- runs ------------------------------------------------------------------------------------ */

static void a_run_is_consecutive_and_aligned(void **state)
{
	struct cvmm_alloc_ids *ids = new_ids(24, 4095);
	uint32_t first;

	(void)state;
	assert_int_equal(take(ids), 24);
	assert_int_equal(cvmm_alloc_ids_take_run(ids, 8, 8, &first, NULL), 0);
	assert_int_equal(first, 32);
	assert_int_equal(cvmm_alloc_ids_take_run(ids, 32, 32, &first, NULL), 0);
	assert_int_equal(first, 64);
	assert_int_equal(cvmm_alloc_ids_take_run(ids, 7, 1, &first, NULL), 0);
	assert_int_equal(first, 25);
	assert_int_equal(take(ids), 40);
	destroy(ids);
}

static void the_alignment_is_that_of_the_number_not_of_the_position(void **state)
{
	struct cvmm_alloc_ids *ids = new_ids(5, 40);
	uint32_t first;

	(void)state;
	assert_int_equal(cvmm_alloc_ids_take_run(ids, 4, 4, &first, NULL), 0);
	assert_int_equal(first, 8);
	destroy(ids);
}

static void a_run_crosses_words_and_uses_the_last_id(void **state)
{
	struct cvmm_alloc_ids *ids = new_ids(UINT32_MAX - 299, UINT32_MAX);
	uint32_t first;

	(void)state;
	assert_int_equal(cvmm_alloc_ids_reserve(ids, cvmm_alloc_one_id(UINT32_MAX - 150), NULL), 0);
	assert_int_equal(cvmm_alloc_ids_take_run(ids, 150, 1, &first, NULL), 0);
	assert_true(first == UINT32_MAX - 149);
	assert_int_equal(cvmm_alloc_ids_take_run(ids, 151, 1, &first, NULL), -ENOSPC);
	destroy(ids);
}

static void a_run_too_many_is_refused_with_numbers(void **state)
{
	struct cvmm_alloc_ids *ids = new_ids(0, 15);
	struct cvmm_error err;
	uint32_t first = 4711;

	(void)state;
	for (uint32_t id = 3; id < 16; id += 4)
		assert_int_equal(cvmm_alloc_ids_reserve(ids, cvmm_alloc_one_id(id), NULL), 0);
	assert_int_equal(cvmm_alloc_ids_take_run(ids, 4, 4, &first, &err), -ENOSPC);
	assert_string_equal(err.message, "test: no run of 4 free ids aligned to 4 from 0 to 15; "
					 "12 of 16 are free");
	assert_int_equal(first, 4711);
	assert_int_equal(cvmm_alloc_ids_take_run(ids, 3, 4, &first, &err), 0);
	assert_int_equal(first, 0);
	destroy(ids);
}

static void senseless_runs_are_refused(void **state)
{
	struct cvmm_alloc_ids *ids = new_ids(0, 15);
	uint32_t first;

	(void)state;
	assert_int_equal(cvmm_alloc_ids_take_run(ids, 0, 1, &first, NULL), -EINVAL);
	assert_int_equal(cvmm_alloc_ids_take_run(ids, 1, 0, &first, NULL), -EINVAL);
	assert_int_equal(cvmm_alloc_ids_take_run(ids, 1, 3, &first, NULL), -EINVAL);
	assert_int_equal(cvmm_alloc_ids_take_run(ids, UINT32_MAX, 1, &first, NULL), -ENOSPC);
	assert_int_equal(cvmm_alloc_ids_take_run(ids, 1, 1U << 31, &first, NULL), 0);
	assert_int_equal(cvmm_alloc_ids_take_run(ids, 1, 1U << 31, &first, NULL), -ENOSPC);
	destroy(ids);
}

static void each_id_of_a_run_can_be_freed_by_itself(void **state)
{
	struct cvmm_alloc_ids *ids = new_ids(0, 63);
	uint32_t first;

	(void)state;
	assert_int_equal(cvmm_alloc_ids_take_run(ids, 16, 16, &first, NULL), 0);
	assert_int_equal(cvmm_alloc_ids_free(ids, cvmm_alloc_one_id(3), NULL), 0);
	assert_int_equal(take(ids), 3);
	assert_int_equal(cvmm_alloc_ids_free(ids, run(0, 15), NULL), 0);
	assert_true(cvmm_alloc_ids_available(ids) == 64);
	destroy(ids);
}

static void the_runs_that_are_taken_can_be_walked(void **state)
{
	struct cvmm_alloc_ids *ids = new_ids(10, 200);
	struct cvmm_alloc_id_range got;

	(void)state;
	assert_false(cvmm_alloc_ids_next_run(ids, 0, &got));
	assert_int_equal(cvmm_alloc_ids_reserve(ids, run(10, 90), NULL), 0);
	assert_int_equal(cvmm_alloc_ids_reserve(ids, run(200, 200), NULL), 0);
	assert_true(cvmm_alloc_ids_next_run(ids, 0, &got));
	assert_true(got.first == 10 && got.last == 90);
	assert_true(cvmm_alloc_ids_next_run(ids, 88, &got));
	assert_true(got.first == 88 && got.last == 90);
	assert_true(cvmm_alloc_ids_next_run(ids, 91, &got));
	assert_true(got.first == 200 && got.last == 200);
	assert_false(cvmm_alloc_ids_next_run(ids, 201, &got));
	assert_false(cvmm_alloc_ids_next_run(ids, UINT32_MAX, &got));
	destroy(ids);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_come_in_ascending_order),
		cmocka_unit_test(the_smallest_freed_id_comes_first),
		cmocka_unit_test(a_reserved_id_is_passed_over),
		cmocka_unit_test(a_reservation_with_a_taken_id_changes_nothing),
		cmocka_unit_test(freeing_what_is_not_taken_changes_nothing),
		cmocka_unit_test(is_allocated_knows_each_id),
		cmocka_unit_test(defect_also_exhaustion_at_the_last_number_is_no_overflow),
		cmocka_unit_test(one_id_is_a_set_too),
		cmocka_unit_test(all_32_bit_ids_are_a_set_too),
		cmocka_unit_test(a_backward_set_is_refused),
		cmocka_unit_test(a_run_is_consecutive_and_aligned),
		cmocka_unit_test(the_alignment_is_that_of_the_number_not_of_the_position),
		cmocka_unit_test(a_run_crosses_words_and_uses_the_last_id),
		cmocka_unit_test(a_run_too_many_is_refused_with_numbers),
		cmocka_unit_test(senseless_runs_are_refused),
		cmocka_unit_test(each_id_of_a_run_can_be_freed_by_itself),
		cmocka_unit_test(the_runs_that_are_taken_can_be_walked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
