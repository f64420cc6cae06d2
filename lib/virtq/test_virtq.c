// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "test_driver.h"

#define IOV_MAX_TEST 16

static struct test_driver driver;

static int set_up(void **state)
{
	test_driver_init(&driver, 8);
	*state = &driver;
	return 0;
}

static int tear_down(void **state)
{
	test_driver_fini(*state);
	return 0;
}

/* One writable descriptor of 0x12345 bytes as a whole chain. */
static void test_make_writable(struct test_driver *d, uint16_t head)
{
	test_desc(d, head, TEST_DATA, 0x12345, CVMM_VIRTQ_DESC_F_WRITE, 0);
	test_make_available(d, head);
}

static int pop(struct test_driver *d, struct cvmm_virtq_chain *chain)
{
	static struct iovec iov[IOV_MAX_TEST];

	return cvmm_virtq_pop(&d->vq, iov, IOV_MAX_TEST, chain);
}

/* Pops a chain that must be there and gives it back. */
static void serve_one(struct test_driver *d, uint16_t want_head)
{
	struct cvmm_virtq_chain chain;

	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(chain.head, want_head);
	assert_int_equal(cvmm_virtq_push(&d->vq, chain.head, 0), 0);
}

static void expect_broken(struct test_driver *d, enum cvmm_virtq_violation want)
{
	struct cvmm_virtq_chain chain = { .head = 0x5a5a };
	struct cvmm_virtq_used used = { 0 };
	uint32_t before = cvmm_virtq_violation_count(&d->vq, want);

	assert_int_equal(pop(d, &chain), -EPROTO);
	assert_int_equal(cvmm_virtq_violation(&d->vq), want);
	assert_int_equal(chain.head, 0x5a5a);
	assert_int_equal(pop(d, &chain), -EPROTO);
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 0), -EPROTO);
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, &used, 1), -EPROTO);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 0), -EPROTO);
	assert_false(cvmm_virtq_should_notify(&d->vq));
	assert_false(cvmm_virtq_enable_notifications(&d->vq));
	cvmm_virtq_disable_notifications(&d->vq);
	/* What it counts is the driver's deed, not the calls that fail for it. */
	assert_int_equal(cvmm_virtq_violation_count(&d->vq, want), before + 1);
}

/* ---- set-up -------------------------------------------------------------------------------- */

static void init_takes_powers_of_two_up_to_32768(void **state)
{
	static const uint16_t bad[] = { 0, 3, 6, 255, 32767, 32769, 65535 };
	struct cvmm_virtq vq;

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++)
		assert_int_equal(cvmm_virtq_init(&vq, bad[i]), -EINVAL);
	for (uint32_t size = 1; size <= CVMM_VIRTQ_SIZE_MAX; size *= 2) {
		assert_int_equal(cvmm_virtq_init(&vq, (uint16_t)size), 0);
		cvmm_virtq_fini(&vq);
	}
	cvmm_virtq_fini(&vq);
	cvmm_virtq_fini(NULL);
}

static void expect_start_refused(struct test_driver *d, const struct cvmm_virtq_config *config,
				 const char *word)
{
	struct cvmm_error err = { 0 };

	assert_int_equal(cvmm_virtq_start(&d->vq, d->mem, config, &err), -EINVAL);
	assert_int_equal(err.code, -EINVAL);
	assert_non_null(strstr(err.message, word));
	assert_false(cvmm_virtq_is_started(&d->vq));
}

static void start_refuses_bad_sizes(void **state)
{
	static const uint16_t bad[] = { 0, 3, 100, 512, 32768 };
	struct test_driver *d = *state;
	struct cvmm_virtq_config config;

	cvmm_virtq_fini(&d->vq);
	assert_int_equal(cvmm_virtq_init(&d->vq, 256), 0);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		config = test_config(bad[i]);
		expect_start_refused(d, &config, "size");
	}
}

static void start_refuses_misaligned_areas(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_config config = test_config(8);

	cvmm_virtq_stop(&d->vq);
	config.desc.addr += 8;
	expect_start_refused(d, &config, "descriptor area");
	config = test_config(8);
	config.avail.addr += 1;
	expect_start_refused(d, &config, "driver area");
	config = test_config(8);
	config.used.addr += 2;
	expect_start_refused(d, &config, "device area");
}

static void start_refuses_areas_outside_of_ram(void **state)
{
	static const uint64_t bad[] = { TEST_RAM_END - 16, TEST_RAM_END, TEST_ROM + TEST_PAGE - 16,
					UINT64_MAX - 15 };
	struct test_driver *d = *state;
	struct cvmm_virtq_config config;

	cvmm_virtq_stop(&d->vq);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		config = test_config(8);
		config.desc.addr = bad[i];
		expect_start_refused(d, &config, "descriptor area");
		config = test_config(8);
		config.avail.addr = bad[i];
		expect_start_refused(d, &config, "driver area");
		config = test_config(8);
		config.used.addr = bad[i];
		expect_start_refused(d, &config, "device area");
	}
}

static void areas_may_cross_regions_that_are_apart(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;
	uint8_t copy[4];

	cvmm_virtq_stop(&d->vq);
	d->config.desc.addr = TEST_SEAM - 16;
	d->config.avail.addr = TEST_SEAM - 6;
	d->config.used.addr = TEST_SEAM - 4;
	for (int area = 0; area < 3; area++) {
		struct cvmm_virtq_config config = test_config(8);
		const struct cvmm_virtq_desc desc = { .addr = cvmm_le64_from(TEST_DATA),
						      .len = cvmm_le32_from(8) };
		uint16_t head = 2, one = 1;

		if (area == 0)
			config.desc = d->config.desc;
		else if (area == 1)
			config.avail = d->config.avail;
		else
			config.used = d->config.used;
		assert_int_equal(cvmm_mem_fill(d->mem, config.used, 0, 8), 0);
		assert_int_equal(cvmm_virtq_start(&d->vq, d->mem, &config, NULL), 0);
		assert_int_equal(
			cvmm_mem_write(d->mem, cvmm_gpa_add(config.desc, 32), &desc, sizeof(desc)),
			0);
		assert_int_equal(
			cvmm_mem_write(d->mem, cvmm_gpa_add(config.avail, AVAIL_RING), &head, 2),
			0);
		assert_int_equal(
			cvmm_mem_write(d->mem, cvmm_gpa_add(config.avail, AVAIL_IDX), &one, 2), 0);
		assert_int_equal(pop(d, &chain), 1);
		assert_int_equal(chain.readable_bytes, 8);
		assert_int_equal(cvmm_virtq_push(&d->vq, chain.head, 0), 0);
		assert_int_equal(cvmm_mem_read(d->mem, config.used, copy, sizeof(copy)), 0);
		assert_int_equal(copy[USED_IDX], 1);
		assert_int_equal(cvmm_mem_read(d->mem, cvmm_gpa_add(config.used, USED_RING), copy,
					       sizeof(copy)),
				 0);
		assert_int_equal(copy[0], 2);
		assert_true(cvmm_virtq_should_notify(&d->vq));
		assert_false(cvmm_virtq_enable_notifications(&d->vq));
		cvmm_virtq_stop(&d->vq);
	}
}

static void used_ring_must_be_writable_the_others_need_not(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_config config = test_config(8);

	cvmm_virtq_stop(&d->vq);
	config.used.addr = TEST_ROM;
	expect_start_refused(d, &config, "device area");
	config = test_config(8);
	config.desc.addr = TEST_ROM;
	config.avail.addr = TEST_ROM + 0x200;
	assert_int_equal(cvmm_virtq_start(&d->vq, d->mem, &config, NULL), 0);
}

static void ring_ending_exactly_at_end_of_ram_works(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_config config = test_config(8);

	config.event_idx = true;
	config.used.addr = TEST_RAM_END - (used_entry_at(8) + EVENT_SIZE);
	/* The size is 2 mod 4: an aligned used ring ends 2 bytes early, the avail ring does not. */
	config.used.addr &= ~UINT64_C(3);
	test_driver_start(d, &config);
	test_make_simple(d, 3);
	serve_one(d, 3);
	assert_false(cvmm_virtq_enable_notifications(&d->vq));
	assert_int_equal(test_avail_event(d), 1);

	config = test_config(8);
	config.avail.addr = TEST_RAM_END - (avail_entry_at(8) + EVENT_SIZE);
	test_driver_start(d, &config);
	test_make_simple(d, 3);
	serve_one(d, 3);

	config = test_config(8);
	config.desc.addr = TEST_RAM_END - 8 * DESC_SIZE;
	test_driver_start(d, &config);
	test_make_simple(d, 7);
	serve_one(d, 7);
}

static void address_zero_is_a_valid_ring_address(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_config config = test_config(8);

	config.avail.addr = 0;
	config.desc.addr = 0x1000;
	test_driver_start(d, &config);
	test_make_simple(d, 0);
	serve_one(d, 0);
}

/* Nobody checks it: areas are guest memory like any other, and what lies in them is doubted anyway. */
static void areas_that_overlap_harm_only_the_driver(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_config config = test_config(8);
	struct cvmm_virtq_chain chain;

	config.used = config.desc;
	test_driver_start(d, &config);
	test_make_writable(d, 3);
	assert_int_equal(pop(d, &chain), 1);
	/* The element and the index are written to the first descriptor, which is at 0x300010000 now. */
	assert_int_equal(cvmm_virtq_push(&d->vq, 3, 0x100), 0);
	test_make_available(d, 0);
	expect_broken(d, CVMM_VIRTQ_BAD_BUFFER);
}

static void start_needs_a_stopped_queue(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_error err = { 0 };

	assert_int_equal(cvmm_virtq_start(&d->vq, d->mem, &d->config, &err), -EINVAL);
	assert_non_null(strstr(err.message, "started already"));
	assert_true(cvmm_virtq_is_started(&d->vq));
}

static void calls_on_a_queue_not_started_are_refused(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_used used = { 0 };
	struct cvmm_virtq_chain chain;

	test_make_simple(d, 0);
	cvmm_virtq_stop(&d->vq);
	cvmm_virtq_stop(&d->vq);
	assert_false(cvmm_virtq_is_started(&d->vq));
	assert_int_equal(pop(d, &chain), -EINVAL);
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 0), -EINVAL);
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, &used, 1), -EINVAL);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 0), -EINVAL);
	assert_false(cvmm_virtq_should_notify(&d->vq));
	assert_false(cvmm_virtq_enable_notifications(&d->vq));
	cvmm_virtq_disable_notifications(&d->vq);
}

static void started_queue_keeps_its_memory_alive(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_mem *mem = d->mem;

	d->mem = NULL;
	cvmm_mem_unref(mem);
	test_desc_put(d->desc, 0, TEST_DATA, 8, 0, 0);
	test_make_available(d, 0);
	serve_one(d, 0);
}

static void stop_mends_a_broken_queue_and_voids_its_chains(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	test_make_simple(d, 1);
	assert_int_equal(pop(d, &chain), 1);
	test_make_available(d, 100);
	expect_broken(d, CVMM_VIRTQ_BAD_HEAD);
	test_driver_start(d, &d->config);
	assert_int_equal(cvmm_virtq_violation(&d->vq), CVMM_VIRTQ_OK);
	assert_int_equal(cvmm_virtq_push(&d->vq, 1, 0), -EINVAL);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 1), -EINVAL);
	test_make_simple(d, 1);
	serve_one(d, 1);
}

static void each_violation_has_a_name(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < CVMM_VIRTQ_VIOLATION_COUNT; i++) {
		const char *name = cvmm_virtq_violation_name((enum cvmm_virtq_violation)i);

		assert_non_null(name);
		for (unsigned int j = 0; j < i; j++)
			assert_string_not_equal(
				name, cvmm_virtq_violation_name((enum cvmm_virtq_violation)j));
	}
	assert_string_equal(cvmm_virtq_violation_name(CVMM_VIRTQ_VIOLATION_COUNT),
			    "unknown violation");
	assert_string_equal(cvmm_virtq_violation_name(CVMM_VIRTQ_LOOP), "descriptor chain loops");
}

/* ---- the rings ----------------------------------------------------------------------------- */

static void empty_queue_pops_nothing(void **state)
{
	struct cvmm_virtq_chain chain = { .head = 77 };

	assert_int_equal(pop(*state, &chain), 0);
	assert_int_equal(chain.head, 77);
}

static void entries_are_invisible_until_the_index_is_published(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	test_desc(d, 2, TEST_DATA, 8, 0, 0);
	test_avail_put(d, 0, 2);
	assert_int_equal(pop(d, &chain), 0);
	test_avail_publish(d, 1);
	serve_one(d, 2);
	assert_int_equal(pop(d, &chain), 0);
}

static void push_tells_head_and_length(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;
	uint32_t id, len;

	test_make_writable(d, 5);
	assert_int_equal(pop(d, &chain), 1);
	assert_false(test_take_used(d, &id, &len));
	assert_int_equal(cvmm_virtq_push(&d->vq, chain.head, 0x12345), 0);
	assert_true(test_take_used(d, &id, &len));
	assert_int_equal(id, 5);
	assert_int_equal(len, 0x12345);
	assert_false(test_take_used(d, &id, &len));
}

static void no_more_can_be_given_back_than_is_writable(void **state)
{
	struct cvmm_virtq_used used = { 5, 0x12346 };
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	test_make_writable(d, 5);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(chain.writable_bytes, 0x12345);
	assert_int_equal(cvmm_virtq_push(&d->vq, 5, 0x12346), -EINVAL);
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, &used, 1), -EINVAL);
	assert_int_equal(cvmm_virtq_push_chain(&d->vq, &chain, 0x12346), -EINVAL);
	assert_int_equal(cvmm_virtq_push_chain(&d->vq, &chain, 0x12345), 0);
}

static void chains_may_be_given_back_in_any_order(void **state)
{
	static const uint16_t order[] = { 3, 0, 7, 1 };
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;
	uint32_t id, len;

	for (size_t i = 0; i < 4; i++)
		test_make_writable(d, order[3 - i]);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(pop(d, &chain), 1);
		assert_int_equal(chain.head, order[3 - i]);
	}
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(cvmm_virtq_push(&d->vq, order[i], (uint32_t)i), 0);
	for (size_t i = 0; i < 4; i++) {
		assert_true(test_take_used(d, &id, &len));
		assert_int_equal(id, order[i]);
		assert_int_equal(len, i);
	}
}

static void push_refuses_heads_not_in_flight_and_changes_nothing(void **state)
{
	struct test_driver *d = *state;

	test_make_simple(d, 1);
	assert_int_equal(cvmm_virtq_push(&d->vq, 1, 0), -EINVAL);
	assert_int_equal(cvmm_virtq_push(&d->vq, 8, 0), -EINVAL);
	assert_int_equal(cvmm_virtq_push(&d->vq, 65535, 0), -EINVAL);
	serve_one(d, 1);
	assert_int_equal(cvmm_virtq_push(&d->vq, 1, 0), -EINVAL);
	assert_int_equal(ring_load(d->used, USED_IDX, __ATOMIC_RELAXED), 1);
	assert_int_equal(cvmm_virtq_violation(&d->vq), CVMM_VIRTQ_OK);
}

static void batch_is_published_whole_or_not_at_all(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_used used[] = { { 2, 20 }, { 0, 0 }, { 1, 10 } };
	struct cvmm_virtq_used twice[] = { { 2, 20 }, { 1, 10 }, { 2, 20 } };
	struct cvmm_virtq_used outside[] = { { 2, 20 }, { 8, 10 } };
	struct cvmm_virtq_chain chain;
	uint32_t id, len;

	for (uint16_t i = 0; i < 3; i++) {
		test_make_writable(d, i);
		assert_int_equal(pop(d, &chain), 1);
	}
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, twice, 3), -EINVAL);
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, outside, 2), -EINVAL);
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, NULL, 0), 0);
	assert_false(test_take_used(d, &id, &len));
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, used, 3), 0);
	for (size_t i = 0; i < 3; i++) {
		assert_true(test_take_used(d, &id, &len));
		assert_int_equal(id, used[i].head);
		assert_int_equal(len, used[i].len_bytes);
	}
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, used, 1), -EINVAL);
}

static void every_size_works_past_the_wrap_of_the_index(void **state)
{
	struct test_driver *d = *state;
	uint32_t id, len;

	for (uint32_t size = 1; size <= CVMM_VIRTQ_SIZE_MAX; size *= 2) {
		struct cvmm_virtq_config config = test_config((uint16_t)size);

		test_driver_start(d, &config);
		for (uint32_t i = 0; i < UINT16_MAX + 100U; i++) {
			uint16_t head = (uint16_t)(i * 7 & (size - 1));

			test_make_simple(d, head);
			serve_one(d, head);
			assert_true(test_take_used(d, &id, &len));
			assert_int_equal(id, head);
		}
		assert_int_equal(d->avail_idx, 99);
	}
}

static void full_rings_of_every_size_are_served(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	for (uint32_t size = 1; size <= CVMM_VIRTQ_SIZE_MAX; size *= 2) {
		struct cvmm_virtq_config config = test_config((uint16_t)size);

		test_driver_start(d, &config);
		for (uint32_t i = 0; i < size; i++)
			test_make_simple(d, (uint16_t)i);
		for (uint32_t i = 0; i < size; i++)
			assert_int_equal(pop(d, &chain), 1);
		assert_int_equal(pop(d, &chain), 0);
		for (uint32_t i = 0; i < size; i++)
			assert_int_equal(cvmm_virtq_push(&d->vq, (uint16_t)i, 0), 0);
	}
}

static void available_index_beyond_the_size_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	test_avail_publish(d, 9);
	expect_broken(d, CVMM_VIRTQ_BAD_AVAIL_INDEX);
}

static void available_index_going_back_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	test_make_simple(d, 0);
	serve_one(d, 0);
	test_avail_publish(d, UINT16_MAX);
	expect_broken(d, CVMM_VIRTQ_BAD_AVAIL_INDEX);
}

static void head_outside_the_table_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	test_make_available(d, 8);
	expect_broken(d, CVMM_VIRTQ_BAD_HEAD);
}

static void head_made_available_twice_is_a_violation(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	test_make_simple(d, 4);
	test_make_available(d, 4);
	assert_int_equal(pop(d, &chain), 1);
	expect_broken(d, CVMM_VIRTQ_HEAD_IN_FLIGHT);
}

static void head_may_come_again_after_push(void **state)
{
	struct test_driver *d = *state;

	test_make_simple(d, 4);
	serve_one(d, 4);
	test_make_simple(d, 4);
	serve_one(d, 4);
}

/* ---- rewind -------------------------------------------------------------------------------- */

static void rewound_chain_is_popped_again(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	test_make_simple(d, 6);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 6), 0);
	assert_int_equal(cvmm_virtq_push(&d->vq, 6, 0), -EINVAL);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 6), -EINVAL);
	serve_one(d, 6);
	assert_int_equal(pop(d, &chain), 0);
}

static void rewinds_go_newest_first(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	for (uint16_t i = 0; i < 3; i++) {
		test_make_simple(d, i);
		assert_int_equal(pop(d, &chain), 1);
	}
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 1), -EINVAL);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 8), -EINVAL);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 2), 0);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 1), 0);
	serve_one(d, 1);
	serve_one(d, 2);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 0), -EINVAL);
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 0), 0);
}

static void rewind_after_push_is_refused(void **state)
{
	struct test_driver *d = *state;

	test_make_simple(d, 6);
	serve_one(d, 6);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 6), -EINVAL);
}

static void rewind_crosses_the_wrap_of_the_index(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	for (uint32_t i = 0; i < UINT16_MAX; i++) {
		test_make_simple(d, 0);
		serve_one(d, 0);
	}
	test_make_simple(d, 1);
	test_make_simple(d, 2);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 2), 0);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 1), 0);
	assert_true(cvmm_virtq_enable_notifications(&d->vq));
	serve_one(d, 1);
	serve_one(d, 2);
	assert_false(cvmm_virtq_enable_notifications(&d->vq));
}

/* ---- notifications ------------------------------------------------------------------------- */

static void with_flags_each_group_of_pushes_notifies_once(void **state)
{
	struct test_driver *d = *state;

	assert_false(cvmm_virtq_should_notify(&d->vq));
	test_make_simple(d, 0);
	test_make_simple(d, 1);
	serve_one(d, 0);
	serve_one(d, 1);
	assert_true(cvmm_virtq_should_notify(&d->vq));
	assert_false(cvmm_virtq_should_notify(&d->vq));
}

static void with_flags_no_interrupt_is_honoured(void **state)
{
	struct test_driver *d = *state;

	ring_store(d->avail, AVAIL_FLAGS, CVMM_VIRTQ_AVAIL_F_NO_INTERRUPT, __ATOMIC_RELAXED);
	test_make_simple(d, 0);
	serve_one(d, 0);
	assert_false(cvmm_virtq_should_notify(&d->vq));
	ring_store(d->avail, AVAIL_FLAGS, 0, __ATOMIC_RELAXED);
	test_make_simple(d, 0);
	serve_one(d, 0);
	assert_true(cvmm_virtq_should_notify(&d->vq));
}

static void with_flags_used_event_is_ignored(void **state)
{
	struct test_driver *d = *state;

	test_set_used_event(d, 1000);
	test_make_simple(d, 0);
	serve_one(d, 0);
	assert_true(cvmm_virtq_should_notify(&d->vq));
}

static void with_flags_kicks_are_switched_in_the_used_ring(void **state)
{
	struct test_driver *d = *state;

	cvmm_virtq_disable_notifications(&d->vq);
	assert_int_equal(ring_load(d->used, USED_FLAGS, __ATOMIC_RELAXED),
			 CVMM_VIRTQ_USED_F_NO_NOTIFY);
	assert_false(cvmm_virtq_enable_notifications(&d->vq));
	assert_int_equal(ring_load(d->used, USED_FLAGS, __ATOMIC_RELAXED), 0);
	assert_int_equal(test_avail_event(d), 0);
	cvmm_virtq_disable_notifications(&d->vq);
	test_make_simple(d, 0);
	assert_true(cvmm_virtq_enable_notifications(&d->vq));
}

static void start_event_idx(struct test_driver *d)
{
	struct cvmm_virtq_config config = test_config(8);

	config.event_idx = true;
	test_driver_start(d, &config);
}

static void with_event_idx_kicks_are_asked_for_by_index(void **state)
{
	struct test_driver *d = *state;

	start_event_idx(d);
	for (uint16_t i = 0; i < 3; i++) {
		test_make_simple(d, i);
		serve_one(d, i);
	}
	cvmm_virtq_disable_notifications(&d->vq);
	assert_int_equal(ring_load(d->used, USED_FLAGS, __ATOMIC_RELAXED), 0);
	assert_int_equal(test_avail_event(d), 0);
	assert_false(cvmm_virtq_enable_notifications(&d->vq));
	assert_int_equal(test_avail_event(d), 3);
	assert_int_equal(ring_load(d->used, USED_FLAGS, __ATOMIC_RELAXED), 0);
	test_make_simple(d, 0);
	assert_true(cvmm_virtq_enable_notifications(&d->vq));
}

static void with_event_idx_no_interrupt_is_ignored(void **state)
{
	struct test_driver *d = *state;

	start_event_idx(d);
	ring_store(d->avail, AVAIL_FLAGS, CVMM_VIRTQ_AVAIL_F_NO_INTERRUPT, __ATOMIC_RELAXED);
	test_make_simple(d, 0);
	serve_one(d, 0);
	assert_true(cvmm_virtq_should_notify(&d->vq));
}

static void with_event_idx_only_the_index_waited_for_notifies(void **state)
{
	struct test_driver *d = *state;

	start_event_idx(d);
	test_set_used_event(d, 2);
	for (uint16_t i = 0; i < 6; i++) {
		test_make_simple(d, i);
		serve_one(d, i);
		assert_int_equal(cvmm_virtq_should_notify(&d->vq), i == 2);
	}
}

static void with_event_idx_a_batch_over_the_index_notifies(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_used used[6];
	struct cvmm_virtq_chain chain;

	start_event_idx(d);
	test_set_used_event(d, 3);
	for (uint16_t i = 0; i < 6; i++) {
		test_make_simple(d, i);
		assert_int_equal(pop(d, &chain), 1);
		used[i] = (struct cvmm_virtq_used){ .head = i };
	}
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, used, 3), 0);
	assert_false(cvmm_virtq_should_notify(&d->vq));
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, used + 3, 3), 0);
	assert_true(cvmm_virtq_should_notify(&d->vq));
	assert_false(cvmm_virtq_should_notify(&d->vq));
}

static void with_event_idx_the_index_wraps(void **state)
{
	struct test_driver *d = *state;

	start_event_idx(d);
	test_set_used_event(d, UINT16_MAX);
	for (uint32_t i = 0; i < UINT16_MAX; i++) {
		test_make_simple(d, 0);
		serve_one(d, 0);
		assert_false(cvmm_virtq_should_notify(&d->vq));
	}
	test_make_simple(d, 0);
	serve_one(d, 0);
	assert_true(cvmm_virtq_should_notify(&d->vq));
}

/* 65536 pushes since the last decision look like none to arithmetic of 16 bits. */
static void with_event_idx_a_whole_turn_without_decision_notifies(void **state)
{
	struct test_driver *d = *state;

	start_event_idx(d);
	test_set_used_event(d, 40000);
	for (uint32_t i = 0; i <= UINT16_MAX; i++) {
		test_make_simple(d, 0);
		serve_one(d, 0);
	}
	assert_int_equal(ring_load(d->used, USED_IDX, __ATOMIC_RELAXED), 0);
	assert_true(cvmm_virtq_should_notify(&d->vq));
	for (uint32_t i = 0; i < 3U * UINT16_MAX; i++) {
		test_make_simple(d, 0);
		serve_one(d, 0);
	}
	assert_true(cvmm_virtq_should_notify(&d->vq));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(init_takes_powers_of_two_up_to_32768),
		TEST(start_refuses_bad_sizes),
		TEST(start_refuses_misaligned_areas),
		TEST(start_refuses_areas_outside_of_ram),
		TEST(areas_may_cross_regions_that_are_apart),
		TEST(used_ring_must_be_writable_the_others_need_not),
		TEST(ring_ending_exactly_at_end_of_ram_works),
		TEST(address_zero_is_a_valid_ring_address),
		TEST(areas_that_overlap_harm_only_the_driver),
		TEST(start_needs_a_stopped_queue),
		TEST(calls_on_a_queue_not_started_are_refused),
		TEST(started_queue_keeps_its_memory_alive),
		TEST(stop_mends_a_broken_queue_and_voids_its_chains),
		TEST(each_violation_has_a_name),
		TEST(empty_queue_pops_nothing),
		TEST(entries_are_invisible_until_the_index_is_published),
		TEST(push_tells_head_and_length),
		TEST(no_more_can_be_given_back_than_is_writable),
		TEST(chains_may_be_given_back_in_any_order),
		TEST(push_refuses_heads_not_in_flight_and_changes_nothing),
		TEST(batch_is_published_whole_or_not_at_all),
		TEST(every_size_works_past_the_wrap_of_the_index),
		TEST(full_rings_of_every_size_are_served),
		TEST(available_index_beyond_the_size_is_a_violation),
		TEST(available_index_going_back_is_a_violation),
		TEST(head_outside_the_table_is_a_violation),
		TEST(head_made_available_twice_is_a_violation),
		TEST(head_may_come_again_after_push),
		TEST(rewound_chain_is_popped_again),
		TEST(rewinds_go_newest_first),
		TEST(rewind_after_push_is_refused),
		TEST(rewind_crosses_the_wrap_of_the_index),
		TEST(with_flags_each_group_of_pushes_notifies_once),
		TEST(with_flags_no_interrupt_is_honoured),
		TEST(with_flags_used_event_is_ignored),
		TEST(with_flags_kicks_are_switched_in_the_used_ring),
		TEST(with_event_idx_kicks_are_asked_for_by_index),
		TEST(with_event_idx_no_interrupt_is_ignored),
		TEST(with_event_idx_only_the_index_waited_for_notifies),
		TEST(with_event_idx_a_batch_over_the_index_notifies),
		TEST(with_event_idx_the_index_wraps),
		TEST(with_event_idx_a_whole_turn_without_decision_notifies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
