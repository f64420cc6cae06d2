// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "test_vhost_user_proxy.h"

#define F(name) CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_##name)

/* ---- what the back-end is ------------------------------------------------------------------------ */

static void features_queues_and_configuration_are_those_of_the_back_end(void **state)
{
	struct bench *b = *state;
	uint8_t bytes[9];

	b->backend.config.withhold = F(INDIRECT_DESC);
	backend_die(&b->backend);
	backend_come_back(&b->backend);
	assert_int_equal(make_proxy(b), 0);
	assert_int_equal(b->ops->device_id, 42);
	assert_int_equal(b->ops->queue_count(b->proxy), 2);
	assert_int_equal(b->ops->queue_size_max(b->proxy, 1), QUEUE_SIZE);
	assert_int_equal(b->ops->features(b->proxy), OWN_FEATURE);
	assert_int_equal(b->ops->ring_features(b->proxy),
			 F(EVENT_IDX) | F(RING_PACKED) | F(IN_ORDER));
	assert_int_equal(b->ops->config_space(b->proxy)->len_bytes, 8);
	cvmm_virtio_config_space_read(b->ops->config_space(b->proxy), 0, bytes, sizeof(bytes));
	assert_memory_equal(bytes, "\1\2\3\4\5\6\7\10\0", sizeof(bytes));
	assert_non_null(b->ops->queue_stop);
	assert_true(connected(b));
}

static void a_configuration_that_cannot_be_is_refused(void **state)
{
	struct bench *b = *state;
	const struct cvmm_vhost_user_proxy_config good = b->config;

	b->config.connect = NULL;
	assert_int_equal(make_proxy(b), -EINVAL);
	b->config = good;
	b->config.device_id = 0;
	assert_int_equal(make_proxy(b), -EINVAL);
	b->config = good;
	b->config.queue_size = 48;
	assert_int_equal(make_proxy(b), -EINVAL);
	b->config = good;
	b->config.queue_count = CVMM_VIRTIO_QUEUES_MAX + 1;
	assert_int_equal(make_proxy(b), -EINVAL);
	b->config = good;
	b->config.config_bytes = CVMM_VIRTIO_CONFIG_BYTES_MAX + 1;
	assert_int_equal(make_proxy(b), -EINVAL);
	assert_int_equal(b->backend.connections, 0);
}

static void without_a_back_end_there_is_no_device(void **state)
{
	struct bench *b = *state;

	backend_die(&b->backend);
	assert_int_equal(make_proxy(b), -ECONNREFUSED);
	assert_string_equal(b->err.message, "nobody is there");
	b->config.connect = NULL;
	b->config.path = "/nonexistent/socket";
	assert_int_equal(make_proxy(b), -ETIMEDOUT);
	assert_non_null(strstr(b->err.message, "/nonexistent/socket"));
	backend_come_back(&b->backend);
}

static void a_back_end_that_says_nothing_is_given_up(void **state)
{
	struct bench *b = *state;

	b->backend.is_silent = true;
	b->config.request_timeout_ms = 20;
	assert_int_equal(make_proxy(b), -ETIMEDOUT);
}

/* Without CONFIG there is none, and kinds that must have one cannot be. */
static void a_device_that_needs_a_configuration_space_needs_a_back_end_with_one(void **state)
{
	struct bench *b = *state;

	b->backend.config.protocol_withhold = CVMM_VHOST_USER_PROTOCOL(CONFIG);
	backend_die(&b->backend);
	backend_come_back(&b->backend);
	b->config.config_bytes = 0;
	b->config.device_id = CVMM_VIRTIO_ID_BLOCK;
	assert_int_equal(make_proxy(b), -ENOTSUP);
	assert_non_null(strstr(b->err.message, "blk"));
	b->config.device_id = CVMM_VIRTIO_ID_ENTROPY;
	assert_int_equal(make_proxy(b), 0);
	assert_string_equal(b->ops->name, "rng");
	assert_int_equal(b->ops->config_space(b->proxy)->len_bytes, 0);
	assert_null(b->ops->config_written);
	start_driver(b, 0);
	expect_service(b, 0);
}

static void a_configuration_space_can_be_declined(void **state)
{
	struct bench *b = *state;

	b->config.config_bytes = CVMM_VHOST_USER_PROXY_NO_CONFIG;
	assert_int_equal(make_proxy(b), 0);
	assert_int_equal(b->ops->config_space(b->proxy)->len_bytes, 0);
}

static void the_control_queue_of_a_network_device_is_not_offered(void **state)
{
	struct bench *b = *state;

	/* MAC, MRG_RXBUF, CTRL_VQ, MQ, RSS */
	b->backend.dev.own_features =
		UINT64_C(1) << 5 | 1 << 15 | 1 << 17 | 1 << 22 | UINT64_C(1) << 60;
	b->backend.dev.queue_count = 3;
	backend_die(&b->backend);
	backend_come_back(&b->backend);
	b->config.device_id = CVMM_VIRTIO_ID_NET;
	b->config.config_bytes = 0;
	assert_int_equal(make_proxy(b), 0);
	assert_int_equal(b->ops->features(b->proxy), 1 << 5 | 1 << 15);
	assert_int_equal(b->ops->queue_count(b->proxy), 2);
	assert_int_equal(b->ops->config_space(b->proxy)->len_bytes, 24);
}

/* Drivers of block devices make as many queues as the configuration space says. */
static void a_block_device_says_how_many_queues_there_are_here(void **state)
{
	uint8_t space[60] = { [34] = 4 };
	struct bench *b = *state;
	uint8_t num;

	cvmm_virtio_config_space_fini(&b->backend.dev.space);
	assert_int_equal(cvmm_virtio_config_space_init(&b->backend.dev.space, space, 60), 0);
	b->backend.dev.own_features = 1 << 12; /* MQ */
	b->backend.dev.queue_count = 4;
	backend_die(&b->backend);
	backend_come_back(&b->backend);
	b->config.device_id = CVMM_VIRTIO_ID_BLOCK;
	b->config.config_bytes = 0;
	assert_int_equal(make_proxy(b), 0);
	assert_int_equal(b->ops->queue_count(b->proxy), 4);
	cvmm_vhost_user_proxy_destroy(b->proxy);
	b->proxy = NULL;

	b->config.queue_count = 2;
	assert_int_equal(make_proxy(b), 0);
	assert_int_equal(b->ops->queue_count(b->proxy), 2);
	cvmm_virtio_config_space_read(b->ops->config_space(b->proxy), 34, &num, 1);
	assert_int_equal(num, 2);
}

/* ---- the way of requests ------------------------------------------------------------------------- */

static void requests_reach_the_back_end_and_notifications_come_back(void **state)
{
	struct bench *b = *state;

	begin(b, OWN_FEATURE | F(EVENT_IDX));
	expect_service(b, 0);
	expect_service(b, 1);
	expect_service(b, 0);
	assert_int_equal(b->backend.dev.features & ~F(RING_RESET) & ~(UINT64_C(1) << 30),
			 OWN_FEATURE | F(EVENT_IDX) | F(VERSION_1));
	/* The kicks are nobody's but the back-end's. */
	assert_ptr_equal(b->proxy->queues[0].kick, &b->kicks[0]);
	assert_int_equal(b->resets_needed, 0);
}

static void transports_that_keep_their_notifiers_kick_through_the_device(void **state)
{
	struct bench *b = *state;

	b->gives_kicks = false;
	begin(b, 0);
	expect_service(b, 0);
	expect_service(b, 1);
}

static void packed_rings_go_through(void **state)
{
	struct bench *b = *state;

	begin(b, F(RING_PACKED) | F(EVENT_IDX) | F(IN_ORDER));
	for (int i = 0; i < 50; i++)
		expect_service(b, i % 2 ? 1 : 0);
}

static void what_waited_before_the_start_is_served(void **state)
{
	struct bench *b = *state;

	assert_int_equal(make_proxy(b), 0);
	start_driver(b, 0);
	add_request(b, 1, 3, 0x77, 10);
	assert_int_equal(expect_answer(b, 1, 0x77, 10), 3);
}

static void a_stopped_device_has_nothing_any_more_and_can_start_again(void **state)
{
	struct bench *b = *state;

	begin(b, 0);
	expect_service(b, 0);
	b->backend.dev.hold = true;
	add_request(b, 0, 1, 1, 10);
	kick(b, 0);
	run_until(b, b->backend.dev.held_count[0] == 1);
	b->backend.dev.hold = false;
	stop_driver(b);
	/* What was in flight was given back. */
	assert_int_equal(b->backend.dev.stops, 1);
	assert_int_equal(b->backend.dev.held_count[0], 0);
	for (unsigned int round = 2; round < 6; round++) {
		start_driver(b, round % 2 ? F(RING_PACKED) : 0);
		expect_service(b, 0);
		expect_service(b, 1);
		stop_driver(b);
		assert_int_equal(b->backend.dev.stops, round);
	}
	assert_int_equal(b->resets_needed, 0);
}

static void a_queue_can_be_reset_and_enabled_again(void **state)
{
	struct bench *b = *state;

	for (int packed = 0; packed < 2; packed++) {
		if (!packed)
			assert_int_equal(make_proxy(b), 0);
		start_driver(b, packed ? F(RING_PACKED) : 0);
		for (int i = 0; i < 37; i++)
			expect_service(b, 1);
		b->ops->queue_stop(b->proxy, 1);
		cvmm_virtq_stop(&b->virtqs[1]);
		expect_service(b, 0);
		make_ring(b, 1);
		b->ops->queue_start(b->proxy, 1);
		expect_service(b, 1);
		expect_service(b, 0);
		stop_driver(b);
	}
	assert_int_equal(b->resets_needed, 0);
}

static void a_broken_queue_makes_the_device_need_a_reset(void **state)
{
	struct bench *b = *state;

	begin(b, 0);
	expect_service(b, 0);
	/* More than the ring has. */
	assert_int_equal(cvmm_mem_store_u16(b->mem, cvmm_gpa_add(b->ring[0].driver_area, 2),
					    __ATOMIC_RELEASE, 1000),
			 0);
	kick(b, 0);
	run_until(b, b->resets_needed == 1);
	stop_driver(b);
	start_driver(b, 0);
	expect_service(b, 0);
	assert_int_equal(b->resets_needed, 1);
}

static void memory_that_cannot_be_shared_makes_the_device_need_a_reset(void **state)
{
	struct bench *b = *state;
	struct cvmm_mem_config ram = { .gpa = cvmm_gpa_from(RAM_GPA),
				       .len_bytes = RAM_BYTES,
				       .kind = CVMM_MEM_ANONYMOUS,
				       .access = CVMM_ACCESS_READ_WRITE };

	cvmm_mem_unref(b->mem);
	assert_int_equal(cvmm_mem_create(&ram, 1, &b->mem, NULL), 0);
	begin(b, 0);
	run_until(b, b->resets_needed == 1);
	assert_true(was_logged(b, "no descriptor to share"));
}

/* ---- the configuration space --------------------------------------------------------------------- */

static int change_config(void *ctx)
{
	struct device *d = ctx;

	cvmm_virtio_config_space_update(&d->space, 2, "\xaa", 1);
	d->host->ops->config_changed(d->host);
	return 0;
}

static void a_change_of_the_configuration_reaches_the_driver(void **state)
{
	struct bench *b = *state;
	uint32_t before;
	uint8_t byte;

	begin(b, 0);
	expect_service(b, 0);
	before = cvmm_virtio_config_space_generation(b->ops->config_space(b->proxy));
	must(!cvmm_loop_call(b->backend.loop, change_config, &b->backend.dev));
	run_until(b, b->config_changes == 1);
	cvmm_virtio_config_space_read(b->ops->config_space(b->proxy), 2, &byte, 1);
	assert_int_equal(byte, 0xaa);
	assert_int_not_equal(cvmm_virtio_config_space_generation(b->ops->config_space(b->proxy)),
			     before);
}

static void what_the_driver_writes_is_there_when_the_write_returns(void **state)
{
	struct bench *b = *state;
	uint8_t byte;

	assert_int_equal(make_proxy(b), 0);
	for (uint8_t i = 100; i < 110; i++) {
		b->ops->config_written(b->proxy, 0, &i, 1);
		/* What the device says to it. */
		cvmm_virtio_config_space_read(b->ops->config_space(b->proxy), 4, &byte, 1);
		assert_int_equal(byte, i);
	}
	assert_int_equal(b->backend.dev.writes, 10);
	assert_int_equal(b->config_changes, 0);
	backend_die(&b->backend);
	b->ops->config_written(b->proxy, 0, &byte, 1);
	backend_come_back(&b->backend);
	run_until(b, connected(b));
}

/* ---- back-ends that die -------------------------------------------------------------------------- */

static void a_device_goes_on_with_the_next_back_end(void **state)
{
	struct bench *b = *state;

	begin(b, F(EVENT_IDX));
	for (int round = 0; round < 4; round++) {
		expect_service(b, 0);
		expect_service(b, 1);
		backend_die(&b->backend);
		backend_come_back(&b->backend);
	}
	expect_service(b, 0);
	expect_service(b, 1);
	assert_int_equal(b->resets_needed, 0);
}

static void requests_wait_for_the_next_back_end(void **state)
{
	struct bench *b = *state;

	begin(b, 0);
	expect_service(b, 0);
	backend_die(&b->backend);
	run_until(b, !connected(b));
	add_request(b, 0, 1, 0x11, 10);
	kick(b, 0);
	for (int i = 0; i < 10; i++)
		must(cvmm_loop_run_once(b->loop, 5) >= 0);
	expect_no_answer(b, 0);
	backend_come_back(&b->backend);
	assert_int_equal(expect_answer(b, 0, 0x11, 10), 1);
}

/* @features of the ring. Eight requests, of which every other one is answered when the back-end dies. */
static void lose_nothing(struct bench *b, uint64_t features)
{
	bool seen[8] = { 0 };

	begin(b, features);
	for (int i = 0; i < 21; i++)
		expect_service(b, 0);
	for (int round = 0; round < 3; round++) {
		memset(seen, 0, sizeof(seen));
		b->backend.dev.hold = true;
		for (unsigned int i = 0; i < 8; i++)
			add_request(b, 0, i, 0x33, 50);
		kick(b, 0);
		run_until(b, b->backend.dev.held_count[0] == 8);
		backend_die(&b->backend);
		b->backend.dev.hold = false;
		backend_come_back(&b->backend);
		for (unsigned int i = 0; i < 8; i++) {
			unsigned int slot = expect_answer(b, 0, 0x33, 50);

			assert_true(slot < 8);
			assert_false(seen[slot]);
			seen[slot] = true;
		}
		expect_no_answer(b, 0);
		expect_service(b, 0);
	}
	assert_int_equal(b->resets_needed, 0);
}

static void what_was_in_flight_is_served_by_the_next_back_end_split(void **state)
{
	lose_nothing(*state, F(EVENT_IDX));
}

static void what_was_in_flight_is_served_by_the_next_back_end_packed(void **state)
{
	lose_nothing(*state, F(RING_PACKED) | F(EVENT_IDX));
}

/* A back-end may die between giving buffers back and saying so. */
static void the_driver_is_told_to_look_after_a_change_of_back_ends(void **state)
{
	struct bench *b = *state;
	unsigned int before[2];

	begin(b, 0);
	expect_service(b, 0);
	expect_service(b, 1);
	before[0] = b->notifications[0];
	before[1] = b->notifications[1];
	backend_die(&b->backend);
	backend_come_back(&b->backend);
	run_until(b, b->notifications[0] > before[0] && b->notifications[1] > before[1]);
}

static void a_device_that_starts_without_a_back_end_waits_for_it(void **state)
{
	struct bench *b = *state;

	assert_int_equal(make_proxy(b), 0);
	backend_die(&b->backend);
	start_driver(b, 0);
	add_request(b, 0, 1, 0x44, 10);
	kick(b, 0);
	run_until(b, b->backend.connections > 3);
	expect_no_answer(b, 0);
	backend_come_back(&b->backend);
	assert_int_equal(expect_answer(b, 0, 0x44, 10), 1);
	expect_service(b, 1);
}

static void a_device_that_was_stopped_meanwhile_begins_anew(void **state)
{
	struct bench *b = *state;

	begin(b, 0);
	for (int i = 0; i < 5; i++)
		expect_service(b, 0);
	b->backend.dev.hold = true;
	add_request(b, 0, 1, 1, 10);
	kick(b, 0);
	run_until(b, b->backend.dev.held_count[0] == 1);
	backend_die(&b->backend);
	b->backend.dev.hold = false;
	stop_driver(b);
	start_driver(b, 0);
	backend_come_back(&b->backend);
	expect_service(b, 0);
	expect_service(b, 1);
	/* What was in flight before the reset is not served. */
	assert_int_equal(b->backend.dev.served, 7);
	assert_int_equal(b->resets_needed, 0);
}

static void without_a_back_end_in_time_the_device_needs_a_reset_and_lives_again(void **state)
{
	struct bench *b = *state;

	b->config.reconnect_timeout_ms = 30;
	begin(b, 0);
	expect_service(b, 0);
	backend_die(&b->backend);
	run_until(b, b->resets_needed == 1);
	assert_true(was_logged(b, "must reset"));
	stop_driver(b);
	backend_come_back(&b->backend);
	start_driver(b, 0);
	expect_service(b, 0);
	assert_int_equal(b->resets_needed, 1);
}

static void a_queue_that_is_reset_without_a_back_end_makes_the_device_need_a_reset(void **state)
{
	struct bench *b = *state;

	begin(b, 0);
	expect_service(b, 0);
	backend_die(&b->backend);
	run_until(b, !connected(b));
	b->ops->queue_stop(b->proxy, 1);
	backend_come_back(&b->backend);
	run_until(b, b->resets_needed == 1);
	stop_driver(b);
	start_driver(b, 0);
	expect_service(b, 1);
}

static void a_back_end_that_hangs_is_replaced(void **state)
{
	struct bench *b = *state;

	b->config.request_timeout_ms = 20;
	begin(b, 0);
	expect_service(b, 0);
	b->backend.is_silent = true;
	backend_die(&b->backend);
	backend_come_back(&b->backend);
	run_until(b, b->backend.silent_count >= 2);
	b->backend.is_silent = false;
	expect_service(b, 0);
	assert_int_equal(b->resets_needed, 0);
}

static void a_back_end_that_lacks_features_is_not_taken(void **state)
{
	struct bench *b = *state;
	unsigned int before;

	begin(b, OWN_FEATURE);
	expect_service(b, 0);
	b->backend.dev.own_features = 0;
	backend_die(&b->backend);
	before = b->backend.connections;
	backend_come_back(&b->backend);
	run_until(b, b->backend.connections > before + 2);
	backend_die(&b->backend);
	b->backend.dev.own_features = OWN_FEATURE | 2;
	backend_come_back(&b->backend);
	expect_service(b, 0);
	/* The driver is not told of what it could not choose. */
	assert_int_equal(b->ops->features(b->proxy), OWN_FEATURE);
}

/* Also for a device that nobody has started, whose driver may know its features already. */
static void an_idle_device_looks_for_a_back_end_that_is_the_same(void **state)
{
	struct bench *b = *state;
	unsigned int before;

	assert_int_equal(make_proxy(b), 0);
	b->backend.dev.own_features = 0;
	backend_die(&b->backend);
	before = b->backend.connections;
	backend_come_back(&b->backend);
	run_until(b, b->backend.connections > before + 2);
	assert_false(connected(b));
	backend_die(&b->backend);
	b->backend.dev.own_features = OWN_FEATURE;
	backend_come_back(&b->backend);
	start_driver(b, OWN_FEATURE);
	expect_service(b, 0);
}

static int say_something(void *ctx)
{
	const struct cvmm_vhost_user_header header = { CVMM_VHOST_USER_GET_FEATURES, 5, 0 };
	struct backend *b = ctx;

	return cvmm_write_full(b->fd, &header, sizeof(header));
}

static void a_message_that_nobody_asked_for_ends_the_connection(void **state)
{
	struct bench *b = *state;

	begin(b, 0);
	expect_service(b, 0);
	settle(b);
	must(!cvmm_loop_call(b->backend.loop, say_something, &b->backend));
	run_until(b, b->backend.connections == 2);
	assert_true(was_logged(b, "nobody asked for"));
	expect_service(b, 0);
	assert_int_equal(b->backend.connections, 2);
}

static void a_new_configuration_of_the_next_back_end_reaches_the_driver(void **state)
{
	struct bench *b = *state;
	uint8_t byte;

	begin(b, 0);
	expect_service(b, 0);
	backend_die(&b->backend);
	cvmm_virtio_config_space_update(&b->backend.dev.space, 7, "\x99", 1);
	backend_come_back(&b->backend);
	run_until(b, b->config_changes == 1);
	cvmm_virtio_config_space_read(b->ops->config_space(b->proxy), 7, &byte, 1);
	assert_int_equal(byte, 0x99);
}

#define BENCH_TEST(fn) cmocka_unit_test_setup_teardown(fn, bench_new, bench_free)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BENCH_TEST(features_queues_and_configuration_are_those_of_the_back_end),
		BENCH_TEST(a_configuration_that_cannot_be_is_refused),
		BENCH_TEST(without_a_back_end_there_is_no_device),
		BENCH_TEST(a_back_end_that_says_nothing_is_given_up),
		BENCH_TEST(a_device_that_needs_a_configuration_space_needs_a_back_end_with_one),
		BENCH_TEST(a_configuration_space_can_be_declined),
		BENCH_TEST(the_control_queue_of_a_network_device_is_not_offered),
		BENCH_TEST(a_block_device_says_how_many_queues_there_are_here),
		BENCH_TEST(requests_reach_the_back_end_and_notifications_come_back),
		BENCH_TEST(transports_that_keep_their_notifiers_kick_through_the_device),
		BENCH_TEST(packed_rings_go_through),
		BENCH_TEST(what_waited_before_the_start_is_served),
		BENCH_TEST(a_stopped_device_has_nothing_any_more_and_can_start_again),
		BENCH_TEST(a_queue_can_be_reset_and_enabled_again),
		BENCH_TEST(a_broken_queue_makes_the_device_need_a_reset),
		BENCH_TEST(memory_that_cannot_be_shared_makes_the_device_need_a_reset),
		BENCH_TEST(a_change_of_the_configuration_reaches_the_driver),
		BENCH_TEST(what_the_driver_writes_is_there_when_the_write_returns),
		BENCH_TEST(a_device_goes_on_with_the_next_back_end),
		BENCH_TEST(requests_wait_for_the_next_back_end),
		BENCH_TEST(what_was_in_flight_is_served_by_the_next_back_end_split),
		BENCH_TEST(what_was_in_flight_is_served_by_the_next_back_end_packed),
		BENCH_TEST(the_driver_is_told_to_look_after_a_change_of_back_ends),
		BENCH_TEST(a_device_that_starts_without_a_back_end_waits_for_it),
		BENCH_TEST(a_device_that_was_stopped_meanwhile_begins_anew),
		BENCH_TEST(without_a_back_end_in_time_the_device_needs_a_reset_and_lives_again),
		BENCH_TEST(a_queue_that_is_reset_without_a_back_end_makes_the_device_need_a_reset),
		BENCH_TEST(a_back_end_that_hangs_is_replaced),
		BENCH_TEST(a_back_end_that_lacks_features_is_not_taken),
		BENCH_TEST(an_idle_device_looks_for_a_back_end_that_is_the_same),
		BENCH_TEST(a_message_that_nobody_asked_for_ends_the_connection),
		BENCH_TEST(a_new_configuration_of_the_next_back_end_reaches_the_driver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
