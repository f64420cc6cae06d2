// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Random operations against the models, from fixed seeds: every run does the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "alloc_model.h"

#define STEPS 4000
#define SEEDS 5

static unsigned int next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (unsigned int)(*state >> 32);
}

static void run_space(uint64_t base, unsigned int shift)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15);
		struct model_space m;

		model_space_open(&m, base, shift);
		for (int i = 0; i < STEPS; i++) {
			unsigned int op = next_random(&state), a = next_random(&state);
			unsigned int b = next_random(&state), c = next_random(&state);

			model_space_step(&m, op, a, b, c);
			model_space_compare(&m);
		}
		model_space_close(&m);
	}
}

static void run_ids(uint32_t base, uint32_t count)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15);
		struct model_ids m;

		model_ids_open(&m, base, count);
		for (int i = 0; i < STEPS; i++) {
			unsigned int op = next_random(&state), a = next_random(&state);
			unsigned int b = next_random(&state), c = next_random(&state);

			model_ids_step(&m, op, a, b, c);
			model_ids_compare(&m);
		}
		model_ids_close(&m);
	}
}

static void a_space_from_0_agrees_with_the_model(void **state)
{
	(void)state;
	run_space(0, 0);
}

static void a_space_from_1_agrees_with_the_model(void **state)
{
	(void)state;
	run_space(1, 0);
}

static void a_space_in_the_middle_agrees_with_the_model(void **state)
{
	(void)state;
	run_space(0xfffffff3, 0);
}

static void a_space_that_ends_at_the_last_address_agrees_with_the_model(void **state)
{
	(void)state;
	run_space(UINT64_MAX - (MODEL_CELLS - 1), 0);
}

static void a_space_that_ends_one_before_the_last_address_agrees_with_the_model(void **state)
{
	(void)state;
	run_space(UINT64_MAX - MODEL_CELLS, 0);
}

static void the_whole_64_bit_space_agrees_with_the_model(void **state)
{
	(void)state;
	run_space(0, 56);
}

static void ids_from_0_agree_with_the_model(void **state)
{
	(void)state;
	run_ids(0, 256);
	run_ids(0, 200);
}

static void few_ids_agree_with_the_model(void **state)
{
	(void)state;
	run_ids(5, 19);
	run_ids(24, 1);
	run_ids(64, 65);
}

static void ids_that_end_at_the_last_number_agree_with_the_model(void **state)
{
	(void)state;
	run_ids(UINT32_MAX - 255, 256);
	run_ids(UINT32_MAX - 130, 131);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_space_from_0_agrees_with_the_model),
		cmocka_unit_test(a_space_from_1_agrees_with_the_model),
		cmocka_unit_test(a_space_in_the_middle_agrees_with_the_model),
		cmocka_unit_test(a_space_that_ends_at_the_last_address_agrees_with_the_model),
		cmocka_unit_test(
			a_space_that_ends_one_before_the_last_address_agrees_with_the_model),
		cmocka_unit_test(the_whole_64_bit_space_agrees_with_the_model),
		cmocka_unit_test(ids_from_0_agree_with_the_model),
		cmocka_unit_test(few_ids_agree_with_the_model),
		cmocka_unit_test(ids_that_end_at_the_last_number_agree_with_the_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
