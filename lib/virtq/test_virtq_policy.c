// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Devices that can do without a bad chain, the counters of violations, several chains at a time, and
 * queues that go on where others were.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "test_driver.h"

#define SIZE 8U
#define IOV_COUNT 16
#define WRITE CVMM_VIRTQ_DESC_F_WRITE
#define NEXT CVMM_VIRTQ_DESC_F_NEXT
#define INDIRECT CVMM_VIRTQ_DESC_F_INDIRECT

static struct test_driver driver;
static struct iovec iov[IOV_COUNT];

struct judge {
	bool verdict;
	unsigned int asked;
	enum cvmm_virtq_violation last;
};

static struct judge judge;

static bool ask(void *ctx, enum cvmm_virtq_violation violation)
{
	struct judge *j = ctx;

	j->asked++;
	j->last = violation;
	return j->verdict;
}

static struct cvmm_virtq_config config_of(bool packed)
{
	struct cvmm_virtq_config config = test_config(SIZE);

	config.packed = packed;
	return config;
}

static void set_up(void **state, bool packed)
{
	struct cvmm_virtq_config config = config_of(packed);

	test_driver_init(&driver, SIZE);
	judge = (struct judge){ .verdict = true };
	cvmm_virtq_set_policy(&driver.vq, ask, &judge);
	test_driver_start(&driver, &config);
	*state = &driver;
}

static int set_up_split(void **state)
{
	set_up(state, false);
	return 0;
}

static int set_up_packed(void **state)
{
	set_up(state, true);
	return 0;
}

static int tear_down(void **state)
{
	test_driver_fini(*state);
	return 0;
}

static int pop(struct test_driver *d, struct cvmm_virtq_chain *chain)
{
	return cvmm_virtq_pop(&d->vq, iov, IOV_COUNT, chain);
}

static void put_good(struct test_driver *d, uint16_t id)
{
	test_put_one(d, id, TEST_DATA + id * 64U, 64, WRITE);
}

static void put_bad(struct test_driver *d, uint16_t id)
{
	test_put_one(d, id, TEST_RAM_END, 64, WRITE);
}

static void expect_used(struct test_driver *d, uint16_t id, uint32_t len)
{
	uint16_t got_id;
	uint32_t got_len;

	assert_true(test_take_one(d, &got_id, &got_len));
	assert_int_equal(got_id, id);
	assert_int_equal(got_len, len);
}

static void expect_none_used(struct test_driver *d)
{
	uint16_t id;
	uint32_t len;

	assert_false(test_take_one(d, &id, &len));
}

/* ---- policy -------------------------------------------------------------------------------- */

static void failed_chain_comes_back_with_length_0_and_the_next_is_served(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	put_bad(d, 3);
	put_good(d, 4);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(chain.head, 4);
	assert_int_equal(judge.asked, 1);
	assert_int_equal(judge.last, CVMM_VIRTQ_BAD_BUFFER);
	assert_int_equal(cvmm_virtq_violation(&d->vq), CVMM_VIRTQ_OK);
	assert_int_equal(cvmm_virtq_push(&d->vq, 3, 0), -EINVAL);
	expect_used(d, 3, 0);
	expect_none_used(d);
	assert_int_equal(cvmm_virtq_push(&d->vq, 4, 64), 0);
	expect_used(d, 4, 64);
}

/* A device that only looks must tell the driver of the failed ones all the same. */
static void failed_chains_count_for_notifications(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	put_bad(d, 0);
	assert_int_equal(pop(d, &chain), 0);
	assert_true(cvmm_virtq_should_notify(&d->vq));
	assert_false(cvmm_virtq_should_notify(&d->vq));
}

static void policy_that_says_no_breaks_the_queue(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	judge.verdict = false;
	put_bad(d, 0);
	assert_int_equal(pop(d, &chain), -EPROTO);
	assert_int_equal(judge.asked, 1);
	assert_int_equal(cvmm_virtq_violation(&d->vq), CVMM_VIRTQ_BAD_BUFFER);
	assert_int_equal(pop(d, &chain), -EPROTO);
	assert_int_equal(judge.asked, 1);
	expect_none_used(d);
}

static void policy_outlives_stop_and_can_be_taken_away(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_config config = config_of(d->config.packed);
	struct cvmm_virtq_chain chain;

	test_driver_start(d, &config);
	put_bad(d, 0);
	assert_int_equal(pop(d, &chain), 0);
	assert_int_equal(judge.asked, 1);
	cvmm_virtq_set_policy(&d->vq, NULL, NULL);
	put_bad(d, 1);
	assert_int_equal(pop(d, &chain), -EPROTO);
	assert_int_equal(judge.asked, 1);
}

static void counters_count_failed_and_breaking_chains_and_outlive_stop(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_config config = config_of(d->config.packed);
	struct cvmm_virtq_chain chain;

	for (uint16_t id = 0; id < 3; id++)
		put_bad(d, id);
	assert_int_equal(pop(d, &chain), 0);
	assert_int_equal(cvmm_virtq_violation_count(&d->vq, CVMM_VIRTQ_BAD_BUFFER), 3);
	judge.verdict = false;
	put_bad(d, 3);
	assert_int_equal(pop(d, &chain), -EPROTO);
	assert_int_equal(cvmm_virtq_violation_count(&d->vq, CVMM_VIRTQ_BAD_BUFFER), 4);
	test_driver_start(d, &config);
	assert_int_equal(cvmm_virtq_violation_count(&d->vq, CVMM_VIRTQ_BAD_BUFFER), 4);
	assert_int_equal(cvmm_virtq_violation_count(&d->vq, CVMM_VIRTQ_LOOP), 0);
	assert_int_equal(cvmm_virtq_violation_count(&d->vq, CVMM_VIRTQ_OK), 0);
	assert_int_equal(cvmm_virtq_violation_count(&d->vq, CVMM_VIRTQ_VIOLATION_COUNT), 0);
}

/* The last descriptor of each ring; whatever is in front of a bad one is given back with it. */
static void bad_list_of_several_descriptors_is_failed_whole(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;
	uint16_t id;
	uint32_t len, wide;

	for (uint16_t n = 0; n < 5; n++) {
		if (d->config.packed) {
			test_packed_put(d, TEST_RAM_END, 8, NEXT, 0);
			test_packed_put(d, TEST_DATA, 8, NEXT, 0);
			test_packed_put(d, TEST_DATA, 8, WRITE, 2);
		} else {
			test_desc(d, 2, TEST_RAM_END, 8, NEXT, 3);
			test_desc(d, 3, TEST_DATA, 8, NEXT, 4);
			test_desc(d, 4, TEST_DATA, 8, WRITE, 0);
			test_make_available(d, 2);
		}
		assert_int_equal(pop(d, &chain), 0);
		if (d->config.packed) {
			assert_true(test_packed_take(d, 3, &id, &len));
			assert_int_equal(id, 2);
		} else {
			assert_true(test_take_used(d, &wide, &len));
			assert_int_equal(wide, 2);
		}
		assert_int_equal(len, 0);
	}
	put_good(d, 0);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(chain.head, 0);
}

/* What is wrong with the ring is nobody's chain to be failed. */
static void ring_that_is_wrong_breaks_whatever_the_policy(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_config config = config_of(d->config.packed);
	struct cvmm_virtq_chain chain;

	put_good(d, 1);
	assert_int_equal(pop(d, &chain), 1);
	put_good(d, 1);
	assert_int_equal(pop(d, &chain), -EPROTO);
	assert_int_equal(cvmm_virtq_violation(&d->vq), CVMM_VIRTQ_HEAD_IN_FLIGHT);
	test_driver_start(d, &config);
	if (config.packed)
		test_packed_simple(d, 0xffff);
	else
		test_make_available(d, 0xffff);
	assert_int_equal(pop(d, &chain), -EPROTO);
	assert_int_equal(cvmm_virtq_violation(&d->vq), CVMM_VIRTQ_BAD_HEAD);
	test_driver_start(d, &config);
	if (!config.packed) {
		test_avail_publish(d, SIZE + 1);
		assert_int_equal(pop(d, &chain), -EPROTO);
		assert_int_equal(cvmm_virtq_violation(&d->vq), CVMM_VIRTQ_BAD_AVAIL_INDEX);
	}
	assert_int_equal(judge.asked, 0);
}

/* A packed list that is bad, and whose id or end is, too: there is nothing to give back. */
static void bad_packed_list_without_a_name_breaks_the_queue(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_config config = config_of(true);
	struct cvmm_virtq_chain chain;

	test_driver_start(d, &config);
	test_packed_put(d, TEST_RAM_END, 8, 0, SIZE);
	assert_int_equal(pop(d, &chain), -EPROTO);
	assert_int_equal(cvmm_virtq_violation(&d->vq), CVMM_VIRTQ_BAD_BUFFER);
	test_driver_start(d, &config);
	for (uint32_t i = 0; i < SIZE; i++)
		test_packed_put(d, TEST_RAM_END, 8, NEXT, 0);
	assert_int_equal(pop(d, &chain), -EPROTO);
	test_driver_start(d, &config);
	put_good(d, 2);
	put_bad(d, 2);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(pop(d, &chain), -EPROTO);
	assert_int_equal(judge.asked, 0);
}

struct endless {
	struct test_driver *d;
	uint32_t made;
};

/* A driver on another processor that makes the next bad chain whenever one is refused. */
static bool ask_and_go_on(void *ctx, enum cvmm_virtq_violation violation)
{
	struct endless *e = ctx;
	uint16_t id = (uint16_t)((e->made + 1) % SIZE);

	(void)violation;
	e->made++;
	put_bad(e->d, id);
	return true;
}

static void endless_bad_chains_do_not_keep_the_device(void **state)
{
	struct endless endless = { .d = *state };
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	cvmm_virtq_set_policy(&d->vq, ask_and_go_on, &endless);
	put_bad(d, 0);
	assert_int_equal(pop(d, &chain), -EPROTO);
	assert_in_range(endless.made, SIZE, 2 * SIZE);
}

static void ring_full_of_bad_chains_is_failed(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	for (int turn = 0; turn < 3; turn++) {
		for (uint16_t id = 0; id < SIZE; id++)
			put_bad(d, id);
		assert_int_equal(pop(d, &chain), 0);
		for (uint16_t id = 0; id < SIZE; id++)
			expect_used(d, id, 0);
	}
}

static void failed_chains_wait_for_their_turn_in_order(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_config config = config_of(d->config.packed);
	struct cvmm_virtq_chain chain;

	config.in_order = true;
	test_driver_start(d, &config);
	put_good(d, 0);
	put_bad(d, 1);
	put_good(d, 2);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(chain.head, 2);
	expect_none_used(d);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 1), -EINVAL);
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 1), 0);
	expect_used(d, 0, 1);
	expect_used(d, 1, 0);
	assert_int_equal(cvmm_virtq_push(&d->vq, 2, 2), 0);
	expect_used(d, 2, 2);
}

/* What was given back in between cannot be had again. */
static void chain_before_a_failed_one_cannot_be_rewound(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	put_good(d, 0);
	put_bad(d, 1);
	put_good(d, 2);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(chain.head, 2);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 2), 0);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 0), -EINVAL);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(chain.head, 2);
	expect_used(d, 1, 0);
}

/* ---- several chains at a time --------------------------------------------------------------- */

static void batch_takes_all_that_there_is(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chains[SIZE];

	assert_int_equal(cvmm_virtq_pop_batch(&d->vq, iov, IOV_COUNT, chains, SIZE), 0);
	for (uint16_t id = 0; id < 5; id++)
		put_good(d, id);
	assert_int_equal(cvmm_virtq_pop_batch(&d->vq, iov, IOV_COUNT, chains, 0), 0);
	assert_int_equal(cvmm_virtq_pop_batch(&d->vq, iov, IOV_COUNT, chains, 2), 2);
	assert_int_equal(cvmm_virtq_pop_batch(&d->vq, iov + 2, IOV_COUNT - 2, chains + 2, SIZE - 2),
			 3);
	for (uint16_t id = 0; id < 5; id++) {
		assert_int_equal(chains[id].head, id);
		assert_ptr_equal(chains[id].writable, iov + id);
		assert_ptr_equal(iov[id].iov_base, test_host(d, TEST_DATA + id * 64U, 64));
	}
	assert_int_equal(cvmm_virtq_pop_batch(&d->vq, iov, IOV_COUNT, chains, SIZE), 0);
}

static void batch_stops_before_the_chain_that_does_not_fit(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chains[SIZE];

	put_good(d, 0);
	put_good(d, 1);
	test_put_one(d, 2, TEST_SEAM - 8, 16, 0); /* two pieces */
	put_good(d, 3);
	assert_int_equal(cvmm_virtq_pop_batch(&d->vq, iov, 3, chains, SIZE), 2);
	assert_int_equal(cvmm_virtq_violation(&d->vq), CVMM_VIRTQ_OK);
	assert_int_equal(judge.asked, 0);
	assert_int_equal(cvmm_virtq_pop_batch(&d->vq, iov, 3, chains, SIZE), 2);
	assert_int_equal(chains[0].head, 2);
	assert_int_equal(chains[1].head, 3);
}

/* The first has all of the list: if that is not enough, it never is. */
static void chain_that_never_fits_is_a_violation_in_a_batch_too(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chains[SIZE];

	cvmm_virtq_set_policy(&d->vq, NULL, NULL);
	put_good(d, 0);
	test_put_one(d, 2, TEST_SEAM - 8, 16, 0);
	assert_int_equal(cvmm_virtq_pop_batch(&d->vq, iov, 1, chains, SIZE), 1);
	assert_int_equal(cvmm_virtq_pop_batch(&d->vq, iov, 1, chains, SIZE), -EPROTO);
	assert_int_equal(cvmm_virtq_violation(&d->vq), CVMM_VIRTQ_TOO_MANY_PIECES);
}

static void batch_with_a_bad_chain_ends_before_it(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chains[SIZE];

	cvmm_virtq_set_policy(&d->vq, NULL, NULL);
	put_good(d, 0);
	put_good(d, 1);
	put_bad(d, 2);
	put_good(d, 3);
	assert_int_equal(cvmm_virtq_pop_batch(&d->vq, iov, IOV_COUNT, chains, SIZE), 2);
	assert_int_equal(cvmm_virtq_pop_batch(&d->vq, iov, IOV_COUNT, chains, SIZE), -EPROTO);
	assert_int_equal(cvmm_virtq_violation(&d->vq), CVMM_VIRTQ_BAD_BUFFER);
}

static void batch_goes_on_behind_a_chain_that_was_failed(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chains[SIZE];

	put_good(d, 0);
	put_bad(d, 1);
	put_bad(d, 2);
	put_good(d, 3);
	put_bad(d, 4);
	assert_int_equal(cvmm_virtq_pop_batch(&d->vq, iov, IOV_COUNT, chains, SIZE), 2);
	assert_int_equal(chains[0].head, 0);
	assert_int_equal(chains[1].head, 3);
	assert_ptr_equal(chains[1].writable, iov + 1);
	for (uint16_t id = 1; id < 5; id++)
		if (id != 3)
			expect_used(d, id, 0);
	expect_none_used(d);
}

static void batch_of_a_queue_that_is_not_usable_is_refused(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chains[SIZE];

	cvmm_virtq_stop(&d->vq);
	assert_int_equal(cvmm_virtq_pop_batch(&d->vq, iov, IOV_COUNT, chains, SIZE), -EINVAL);
}

/* ---- where a queue is ----------------------------------------------------------------------- */

static void queue_goes_on_where_it_was(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	for (uint16_t n = 0; n < 5 * SIZE; n++) {
		struct cvmm_virtq_base base;
		uint16_t id = n % SIZE;

		put_good(d, id);
		assert_int_equal(pop(d, &chain), 1);
		if (n % 3) {
			/* In flight when it stops: put back, and had again. */
			assert_int_equal(cvmm_virtq_rewind(&d->vq, id), 0);
			base = cvmm_virtq_base(&d->vq);
			cvmm_virtq_stop(&d->vq);
			assert_int_equal(
				cvmm_virtq_start_at(&d->vq, d->mem, &d->config, &base, NULL), 0);
			assert_int_equal(pop(d, &chain), 1);
		}
		assert_int_equal(chain.head, id);
		assert_int_equal(cvmm_virtq_push(&d->vq, id, n % 64), 0);
		base = cvmm_virtq_base(&d->vq);
		cvmm_virtq_stop(&d->vq);
		assert_int_equal(cvmm_virtq_start_at(&d->vq, d->mem, &d->config, &base, NULL), 0);
		expect_used(d, id, n % 64);
	}
}

/* Stopped between the push and the decision: the driver may wait for what was pushed before. */
static void first_decision_after_going_on_notifies(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_config config = config_of(d->config.packed);
	struct cvmm_virtq_base base;
	struct cvmm_virtq_chain chain;

	config.event_idx = true;
	test_driver_start(d, &config);
	if (config.packed)
		test_packed_set_event(d, 0, true, CVMM_VIRTQ_EVENT_DESC);
	else
		test_set_used_event(d, 0);
	put_good(d, 0);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 0), 0);
	base = cvmm_virtq_base(&d->vq);
	cvmm_virtq_stop(&d->vq);
	assert_int_equal(cvmm_virtq_start_at(&d->vq, d->mem, &config, &base, NULL), 0);
	put_good(d, 1);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(cvmm_virtq_push(&d->vq, 1, 0), 0);
	assert_true(cvmm_virtq_should_notify(&d->vq));
	assert_false(cvmm_virtq_should_notify(&d->vq));
}

/* A queue that starts anew owes nobody anything. */
static void new_queue_does_not_notify_before_its_first_push(void **state)
{
	struct test_driver *d = *state;

	assert_false(cvmm_virtq_should_notify(&d->vq));
	cvmm_virtq_stop(&d->vq);
	assert_int_equal(cvmm_virtq_start_at(&d->vq, d->mem, &d->config,
					     &(struct cvmm_virtq_base){ 3, 3, true, true }, NULL),
			 0);
	assert_int_equal(cvmm_virtq_base(&d->vq).next_avail, 3);
	assert_int_equal(cvmm_virtq_base(&d->vq).next_used, 3);
	assert_true(cvmm_virtq_base(&d->vq).avail_wrap);
}

/* ---- notification data ---------------------------------------------------------------------- */

static void notification_data_is_taken_apart(void **state)
{
	static const struct {
		uint32_t data;
		struct cvmm_virtq_notification want;
	} cases[] = {
		{ 0, { 0, 0, false } },
		{ UINT32_MAX, { 0xffff, 0x7fff, true } },
		{ 0x80000000, { 0, 0, true } },
		{ 0x7fff0000, { 0, 0x7fff, false } },
		{ 0x0000ffff, { 0xffff, 0, false } },
		{ 0x92340007, { 7, 0x1234, true } },
	};

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(cases); i++) {
		struct cvmm_virtq_notification got = cvmm_virtq_notification_parse(cases[i].data);

		assert_int_equal(got.queue, cases[i].want.queue);
		assert_int_equal(got.next_off, cases[i].want.next_off);
		assert_int_equal(got.next_wrap, cases[i].want.next_wrap);
	}
}

#define TEST(fn)                                                    \
	{ #fn " (split)", fn, set_up_split, tear_down, NULL },      \
	{                                                           \
#fn " (packed)", fn, set_up_packed, tear_down, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(failed_chain_comes_back_with_length_0_and_the_next_is_served),
		TEST(failed_chains_count_for_notifications),
		TEST(policy_that_says_no_breaks_the_queue),
		TEST(policy_outlives_stop_and_can_be_taken_away),
		TEST(counters_count_failed_and_breaking_chains_and_outlive_stop),
		TEST(bad_list_of_several_descriptors_is_failed_whole),
		TEST(ring_that_is_wrong_breaks_whatever_the_policy),
		TEST(bad_packed_list_without_a_name_breaks_the_queue),
		TEST(endless_bad_chains_do_not_keep_the_device),
		TEST(ring_full_of_bad_chains_is_failed),
		TEST(failed_chains_wait_for_their_turn_in_order),
		TEST(chain_before_a_failed_one_cannot_be_rewound),
		TEST(batch_takes_all_that_there_is),
		TEST(batch_stops_before_the_chain_that_does_not_fit),
		TEST(chain_that_never_fits_is_a_violation_in_a_batch_too),
		TEST(batch_with_a_bad_chain_ends_before_it),
		TEST(batch_goes_on_behind_a_chain_that_was_failed),
		TEST(batch_of_a_queue_that_is_not_usable_is_refused),
		TEST(queue_goes_on_where_it_was),
		TEST(first_decision_after_going_on_notifies),
		TEST(new_queue_does_not_notify_before_its_first_push),
		TEST(notification_data_is_taken_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
