// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* VIRTIO_F_IN_ORDER: the device may complete in any order, the driver gets buffers in its own. */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "test_driver.h"

#define QUEUE_SIZE 64
#define WRITE CVMM_VIRTQ_DESC_F_WRITE
#define BUFFER_BYTES 64U

static struct test_driver driver;

static void start(bool packed, bool event_idx)
{
	struct cvmm_virtq_config config = test_config(QUEUE_SIZE);

	config.packed = packed;
	config.event_idx = event_idx;
	config.in_order = true;
	test_driver_start(&driver, &config);
}

static int set_up(void **state)
{
	test_driver_init(&driver, QUEUE_SIZE);
	*state = &driver;
	return 0;
}

static int set_up_split(void **state)
{
	set_up(state);
	start(false, false);
	return 0;
}

static int set_up_packed(void **state)
{
	set_up(state);
	start(true, false);
	return 0;
}

static int tear_down(void **state)
{
	test_driver_fini(*state);
	return 0;
}

static void put(struct test_driver *d, uint16_t id)
{
	test_put_one(d, id, TEST_DATA + id * BUFFER_BYTES, BUFFER_BYTES, WRITE);
}

static void pop(struct test_driver *d, uint16_t id)
{
	struct cvmm_virtq_chain chain;
	struct iovec iov[2];

	assert_int_equal(cvmm_virtq_pop(&d->vq, iov, 2, &chain), 1);
	assert_int_equal(chain.head, id);
}

static void put_and_pop(struct test_driver *d, uint16_t first, uint16_t count)
{
	for (uint16_t id = first; id < first + count; id++)
		put(d, id);
	for (uint16_t id = first; id < first + count; id++)
		pop(d, id);
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

static void chains_pushed_out_of_order_are_given_in_order(void **state)
{
	struct test_driver *d = *state;

	put_and_pop(d, 0, 4);
	assert_int_equal(cvmm_virtq_push(&d->vq, 2, 22), 0);
	assert_int_equal(cvmm_virtq_push(&d->vq, 3, 33), 0);
	expect_none_used(d);
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 0), 0);
	expect_used(d, 0, 0);
	expect_none_used(d);
	assert_int_equal(cvmm_virtq_push(&d->vq, 1, 11), 0);
	expect_used(d, 1, 11);
	expect_used(d, 2, 22);
	expect_used(d, 3, 33);
	expect_none_used(d);
}

static void chain_that_waits_cannot_be_pushed_twice(void **state)
{
	struct test_driver *d = *state;
	const struct cvmm_virtq_used twice[] = { { 0, 0 }, { 1, 0 } };

	put_and_pop(d, 0, 2);
	assert_int_equal(cvmm_virtq_push(&d->vq, 1, 8), 0);
	assert_int_equal(cvmm_virtq_push(&d->vq, 1, 8), -EINVAL);
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, twice, 2), -EINVAL);
	expect_none_used(d);
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 0), 0);
	expect_used(d, 0, 0);
	expect_used(d, 1, 8);
}

/* To the device it is done, to the driver it is not. */
static void chain_that_waits_made_available_again_is_a_violation(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;
	struct iovec iov[1];

	put_and_pop(d, 0, 2);
	assert_int_equal(cvmm_virtq_push(&d->vq, 1, 0), 0);
	put(d, 1);
	assert_int_equal(cvmm_virtq_pop(&d->vq, iov, 1, &chain), -EPROTO);
	assert_int_equal(cvmm_virtq_violation(&d->vq), CVMM_VIRTQ_HEAD_IN_FLIGHT);
}

static void batch_out_of_order_is_given_in_order(void **state)
{
	const struct cvmm_virtq_used used[] = { { 3, 3 }, { 1, 1 }, { 0, 10 } };
	struct test_driver *d = *state;

	put_and_pop(d, 0, 4);
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, used, 3), 0);
	expect_used(d, 0, 10);
	expect_used(d, 1, 1);
	expect_none_used(d);
	assert_int_equal(cvmm_virtq_push(&d->vq, 2, 2), 0);
	expect_used(d, 2, 2);
	expect_used(d, 3, 3);
}

static void refused_batch_leaves_no_chain_done(void **state)
{
	const struct cvmm_virtq_used stranger[] = { { 0, 1 }, { 9, 0 } };
	const struct cvmm_virtq_used too_long[] = { { 0, 1 }, { 1, BUFFER_BYTES + 1 } };
	struct test_driver *d = *state;

	put_and_pop(d, 0, 2);
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, stranger, 2), -EINVAL);
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, too_long, 2), -EINVAL);
	expect_none_used(d);
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 5), 0);
	expect_used(d, 0, 5);
}

/* More than are published at a time. */
static void all_of_a_ring_backwards_is_given_in_order(void **state)
{
	struct test_driver *d = *state;

	for (int turn = 0; turn < 3; turn++) {
		put_and_pop(d, 0, QUEUE_SIZE);
		for (uint16_t id = QUEUE_SIZE; id--;) {
			expect_none_used(d);
			assert_int_equal(cvmm_virtq_push(&d->vq, id, id), 0);
		}
		for (uint16_t id = 0; id < QUEUE_SIZE; id++)
			expect_used(d, id, id);
		expect_none_used(d);
	}
}

static void chain_that_waits_cannot_be_rewound(void **state)
{
	struct test_driver *d = *state;

	put_and_pop(d, 0, 3);
	assert_int_equal(cvmm_virtq_push(&d->vq, 2, 0), 0);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 2), -EINVAL);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 1), -EINVAL);
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 0), 0);
	assert_int_equal(cvmm_virtq_push(&d->vq, 1, 0), 0);
	for (uint16_t id = 0; id < 3; id++)
		expect_used(d, id, 0);
}

static void newest_chain_can_be_rewound_while_older_ones_wait(void **state)
{
	struct test_driver *d = *state;

	put_and_pop(d, 0, 4);
	assert_int_equal(cvmm_virtq_push(&d->vq, 1, 0), 0);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 3), 0);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 2), 0);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 1), -EINVAL);
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 0), 0);
	expect_used(d, 0, 0);
	expect_used(d, 1, 0);
	pop(d, 2);
	pop(d, 3);
	assert_int_equal(cvmm_virtq_push(&d->vq, 3, 0), 0);
	expect_none_used(d);
	assert_int_equal(cvmm_virtq_push(&d->vq, 2, 0), 0);
	expect_used(d, 2, 0);
	expect_used(d, 3, 0);
}

static void nothing_is_notified_that_the_driver_cannot_see(void **state)
{
	struct test_driver *d = *state;

	put_and_pop(d, 0, 3);
	assert_int_equal(cvmm_virtq_push(&d->vq, 1, 0), 0);
	assert_int_equal(cvmm_virtq_push(&d->vq, 2, 0), 0);
	assert_false(cvmm_virtq_should_notify(&d->vq));
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 0), 0);
	assert_true(cvmm_virtq_should_notify(&d->vq));
	assert_false(cvmm_virtq_should_notify(&d->vq));
}

/* Three are published at once by the push of one; the driver waits for the last of them. */
static void events_count_what_was_published(void **state)
{
	struct test_driver *d = *state;
	bool packed = d->config.packed;

	start(packed, true);
	put_and_pop(d, 0, 4);
	if (packed)
		test_packed_set_event(d, 2, true, CVMM_VIRTQ_EVENT_DESC);
	else
		test_set_used_event(d, 2);
	assert_int_equal(cvmm_virtq_push(&d->vq, 2, 0), 0);
	assert_false(cvmm_virtq_should_notify(&d->vq));
	assert_int_equal(cvmm_virtq_push(&d->vq, 1, 0), 0);
	assert_false(cvmm_virtq_should_notify(&d->vq));
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 0), 0);
	assert_true(cvmm_virtq_should_notify(&d->vq));
	assert_int_equal(cvmm_virtq_push(&d->vq, 3, 0), 0);
	assert_false(cvmm_virtq_should_notify(&d->vq));
}

static void stop_forgets_chains_that_wait(void **state)
{
	struct test_driver *d = *state;

	put_and_pop(d, 0, 3);
	assert_int_equal(cvmm_virtq_push(&d->vq, 2, 0), 0);
	start(d->config.packed, false);
	expect_none_used(d);
	put_and_pop(d, 2, 1);
	assert_int_equal(cvmm_virtq_push(&d->vq, 2, 7), 0);
	expect_used(d, 2, 7);
}

#define TEST(fn)                                                    \
	{ #fn " (split)", fn, set_up_split, tear_down, NULL },      \
	{                                                           \
#fn " (packed)", fn, set_up_packed, tear_down, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(chains_pushed_out_of_order_are_given_in_order),
		TEST(chain_that_waits_cannot_be_pushed_twice),
		TEST(chain_that_waits_made_available_again_is_a_violation),
		TEST(batch_out_of_order_is_given_in_order),
		TEST(refused_batch_leaves_no_chain_done),
		TEST(all_of_a_ring_backwards_is_given_in_order),
		TEST(chain_that_waits_cannot_be_rewound),
		TEST(newest_chain_can_be_rewound_while_older_ones_wait),
		TEST(nothing_is_notified_that_the_driver_cannot_see),
		TEST(events_count_what_was_published),
		TEST(stop_forgets_chains_that_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
