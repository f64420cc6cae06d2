// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The back-end: negotiation, memory, rings, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../tests/support/descriptors.h"
#include "test_vhost_user_backend.h"
#include "../../tests/support/descriptors.h"

#define FEATURE(bit) CVMM_VIRTIO_FEATURE(bit)
#define SPLIT ((struct cvmm_virtq_driver_config){ 0 })

static int set_up(void **state)
{
	*state = bench_new(NULL, FEATURE(CVMM_VIRTIO_F_RING_PACKED));
	return 0;
}

/* ---- negotiation ---- */

static void what_is_offered_is_what_device_and_rings_have(void **state)
{
	struct bench *b = *state;
	uint64_t features = get_u64(b, CVMM_VHOST_USER_GET_FEATURES);

	assert_true(features & 1);
	assert_true(features & FEATURE(CVMM_VIRTIO_F_VERSION_1));
	assert_true(features & FEATURE(CVMM_VIRTIO_F_RING_PACKED));
	assert_true(features & FEATURE(CVMM_VHOST_USER_F_PROTOCOL_FEATURES));
	assert_int_equal(features, cvmm_vhost_user_backend_features(b->be));
	/* Before SET_FEATURES, as the specification demands. */
	assert_int_equal(get_u64(b, CVMM_VHOST_USER_GET_PROTOCOL_FEATURES),
			 cvmm_vhost_user_backend_protocol_features(b->be));
	assert_false(cvmm_vhost_user_backend_protocol_features(b->be) &
		     CVMM_VHOST_USER_PROTOCOL(MTU));
}

static void features_that_were_not_offered_are_refused_and_the_connection_lives(void **state)
{
	struct bench *b = *state;

	negotiate(b, 0, 0);
	assert_int_not_equal(ack_u64(b, CVMM_VHOST_USER_SET_FEATURES, FEATURE(63)), 0);
	assert_int_not_equal(ack_u64(b, CVMM_VHOST_USER_SET_PROTOCOL_FEATURES, FEATURE(40)), 0);
	assert_int_equal(get_u64(b, CVMM_VHOST_USER_GET_QUEUE_NUM), QUEUES);
}

static void a_refused_request_without_need_reply_ends_the_connection(void **state)
{
	struct bench *b = *state;
	uint64_t bad = FEATURE(63);

	negotiate(b, 0, 0);
	send_request(b, CVMM_VHOST_USER_SET_FEATURES, 0, &bad, sizeof(bad), NULL, 0);
	assert_true(has_ended(b));
	assert_int_equal(b->reason, -EINVAL);
	connect_front_end(b);
	negotiate(b, 0, 0);
}

static void unknown_requests_are_refused_and_the_connection_lives(void **state)
{
	struct bench *b = *state;

	negotiate(b, 0, 0);
	assert_int_not_equal(ack(b, 999, NULL, 0), 0);
	assert_int_not_equal(ack(b, 0, NULL, 0), 0);
	assert_int_equal(ack(b, CVMM_VHOST_USER_SET_OWNER, NULL, 0), 0);
}

static void requests_whose_feature_was_not_negotiated_are_refused(void **state)
{
	struct bench *b = *state;
	uint8_t mac[8] = { 2 };

	negotiate(b, 0, 0);
	assert_int_not_equal(ack(b, CVMM_VHOST_USER_SEND_RARP, mac, sizeof(mac)), 0);
	assert_int_not_equal(ack_u64(b, CVMM_VHOST_USER_NET_SET_MTU, 1500), 0);
	assert_int_equal(ack(b, CVMM_VHOST_USER_SET_OWNER, NULL, 0), 0);
}

static void payloads_of_a_wrong_size_are_refused(void **state)
{
	struct bench *b = *state;
	uint64_t bytes[8] = { 0 };

	negotiate(b, 0, 0);
	for (uint32_t id = 1; id <= CVMM_VHOST_USER_FRONTEND_REQUEST_MAX; id++) {
		const struct cvmm_vhost_user_message *row =
			cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL, id);

		if (row->reply != CVMM_VHOST_USER_REPLY_ON_DEMAND)
			continue;
		assert_int_not_equal(ack(b, id, bytes, 13), 0);
	}
}

static void an_answer_among_requests_ends_the_connection(void **state)
{
	struct bench *b = *state;

	send_request(b, CVMM_VHOST_USER_SET_OWNER, CVMM_VHOST_USER_FLAG_REPLY, NULL, 0, NULL, 0);
	assert_true(has_ended(b));
}

static void in_band_notifications_without_what_they_need_end_the_connection(void **state)
{
	struct bench *b = *state;
	uint64_t protocol = CVMM_VHOST_USER_PROTOCOL(INBAND_NOTIFICATIONS) |
			    CVMM_VHOST_USER_PROTOCOL(BACKEND_REQ);

	send_request(b, CVMM_VHOST_USER_SET_PROTOCOL_FEATURES, 0, &protocol, sizeof(protocol), NULL,
		     0);
	assert_true(has_ended(b));
}

static void the_owner_may_be_set_twice_and_again_on_the_next_connection(void **state)
{
	struct bench *b = *state;

	negotiate(b, 0, 0);
	assert_int_equal(ack(b, CVMM_VHOST_USER_SET_OWNER, NULL, 0), 0);
	assert_int_equal(ack(b, CVMM_VHOST_USER_SET_OWNER, NULL, 0), 0);
	connect_front_end(b);
	negotiate(b, 0, 0);
	assert_int_equal(ack(b, CVMM_VHOST_USER_SET_OWNER, NULL, 0), 0);
}

static void a_front_end_that_remembers_what_it_negotiated_need_not_do_it_again(void **state)
{
	struct bench *b = *state;
	uint64_t features =
		FEATURE(CVMM_VIRTIO_F_VERSION_1) | FEATURE(CVMM_VHOST_USER_F_PROTOCOL_FEATURES);

	negotiate(b, 0, 0);
	connect_front_end(b);
	/* As QEMU's vhost-user-rng after a reconnection. */
	b->protocol = CVMM_VHOST_USER_PROTOCOL(REPLY_ACK);
	assert_int_equal(get_u64(b, CVMM_VHOST_USER_GET_STATUS), 0);
	assert_int_equal(ack_u64(b, CVMM_VHOST_USER_SET_FEATURES, features), 0);
	assert_int_equal(set_mem(b), 0);
	make_ring(b, 0, SPLIT);
	start_ring(b, 0, 0);
	expect_service(b, 0);
}

static void one_connection_at_a_time_is_served(void **state)
{
	struct bench *b = *state;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(cvmm_vhost_user_backend_attach(b->be, fds[0], NULL), -EBUSY);
	close(fds[1]);
}

/* ---- memory ---- */

static uint64_t add_region(struct bench *b, struct cvmm_vhost_user_mem_region region, int fd)
{
	struct cvmm_vhost_user_mem_slot slot = { 0, region };

	return ack_with(b, CVMM_VHOST_USER_ADD_MEM_REG, &slot, sizeof(slot), &fd, 1);
}

static uint64_t remove_region(struct bench *b, struct cvmm_vhost_user_mem_region region,
			      size_t fd_count)
{
	struct cvmm_vhost_user_mem_slot slot = { 0, region };

	return ack_with(b, CVMM_VHOST_USER_REM_MEM_REG, &slot, sizeof(slot), &b->ram_fd, fd_count);
}

static void regions_that_cannot_be_are_refused(void **state)
{
	struct bench *b = *state;
	int pipe_fds[2];

	negotiate(b, 0, DEFAULT_WITHOUT);
	const struct cvmm_vhost_user_mem_region bad[] = {
		{ RAM_GPA, 0, USER_BASE, 0 },		      /* empty */
		{ UINT64_MAX - 0xfff, 0x2000, USER_BASE, 0 }, /* wraps in the guest */
		{ RAM_GPA, 0x2000, UINT64_MAX - 0xfff, 0 },   /* wraps in the front-end */
		{ RAM_GPA, 0x2000, USER_BASE, UINT64_MAX - 0xfff },
		{ RAM_GPA, 0x2000, USER_BASE, INT64_MAX - 0xfff },
		{ RAM_GPA, RAM_BYTES + 0x1000, USER_BASE, 0 }, /* longer than its file */
		{ RAM_GPA, RAM_BYTES, USER_BASE, 0x1000 },
		{ RAM_GPA, UINT64_MAX / 2, USER_BASE, 0 },
		{ RAM_GPA + 1, 0x1000, USER_BASE, 0 }, /* no page */
		{ RAM_GPA, 0x1001, USER_BASE, 0 },
		{ RAM_GPA, 0x1000, USER_BASE, 0x10 },
	};
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++)
		assert_int_not_equal(add_region(b, bad[i], b->ram_fd), 0);
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_not_equal(add_region(b, ram_region(), pipe_fds[0]), 0);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	assert_int_equal(add_region(b, ram_region(), b->ram_fd), 0);
	/* The same again, and overlaps in one of the two spaces. */
	assert_int_not_equal(add_region(b, ram_region(), b->ram_fd), 0);
	assert_int_not_equal(
		add_region(b,
			   (struct cvmm_vhost_user_mem_region){ RAM_GPA + 0x10000000, 0x1000,
								USER_BASE + 0x1000, 0 },
			   b->ram_fd),
		0);
	assert_int_not_equal(
		add_region(b,
			   (struct cvmm_vhost_user_mem_region){ RAM_GPA - 0x1000, 0x2000,
								USER_BASE + 0x10000000, 0 },
			   b->ram_fd),
		0);
	make_ring(b, 0, SPLIT);
	start_ring(b, 0, 0);
	expect_service(b, 0);
}

static void memory_slots_can_be_filled_and_no_more(void **state)
{
	struct bench *b = *state;
	int before;

	negotiate(b, 0, DEFAULT_WITHOUT);
	before = open_fds();
	assert_int_equal(get_u64(b, CVMM_VHOST_USER_GET_MAX_MEM_SLOTS),
			 CVMM_VHOST_USER_MEM_SLOTS_MAX);
	for (uint64_t i = 0; i <= CVMM_VHOST_USER_MEM_SLOTS_MAX; i++) {
		struct cvmm_vhost_user_mem_region region = { i * 0x2000, 0x1000,
							     USER_BASE + i * 0x1000, 0 };

		assert_int_equal(add_region(b, region, b->ram_fd) != 0,
				 i == CVMM_VHOST_USER_MEM_SLOTS_MAX);
	}
	assert_int_equal(open_fds(), before);
	for (uint64_t i = 0; i < CVMM_VHOST_USER_MEM_SLOTS_MAX; i++)
		assert_int_equal(remove_region(b,
					       (struct cvmm_vhost_user_mem_region){
						       i * 0x2000, 0x1000, USER_BASE + i * 0x1000,
						       0xdead000 /* ignored */ },
					       0),
				 0);
	assert_int_not_equal(remove_region(b, ram_region(), 0), 0);
}

static void a_stray_descriptor_of_a_removal_is_closed(void **state)
{
	struct bench *b = *state;
	int before;

	negotiate(b, 0, DEFAULT_WITHOUT);
	before = open_fds();
	assert_int_equal(add_region(b, ram_region(), b->ram_fd), 0);
	assert_int_equal(remove_region(b, ram_region(), 1), 0);
	assert_int_equal(open_fds(), before);
}

static void a_removal_must_name_all_of_the_region(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_mem_region region = ram_region();

	negotiate(b, 0, DEFAULT_WITHOUT);
	assert_int_equal(add_region(b, region, b->ram_fd), 0);
	region.user_addr += 0x1000;
	assert_int_not_equal(remove_region(b, region, 0), 0);
	region = ram_region();
	region.len_bytes -= 0x1000;
	assert_int_not_equal(remove_region(b, region, 0), 0);
	assert_int_equal(remove_region(b, ram_region(), 0), 0);
}

static void a_table_with_one_bad_region_changes_nothing(void **state)
{
	struct bench *b = *state;
	struct {
		struct cvmm_vhost_user_mem_table table;
		struct cvmm_vhost_user_mem_region region[2];
	} payload = { { .count = 2 }, { ram_region(), ram_region() } };
	int fds[2] = { b->ram_fd, b->ram_fd }, before;

	start_all(b, 0, SPLIT);
	before = open_fds();
	assert_int_not_equal(
		ack_with(b, CVMM_VHOST_USER_SET_MEM_TABLE, &payload, sizeof(payload), fds, 2), 0);
	assert_int_equal(open_fds(), before);
	expect_service(b, 0);
}

static void rings_go_on_when_memory_comes_and_goes(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_mem_region other = { 0x40000000, 0x1000, USER_BASE + 0x40000000, 0 };

	start_all(b, 0, SPLIT);
	b->dev.hold = true;
	add_request(b, 0, 1, 1, 10);
	ring_kick(b, 0);
	b->dev.hold = false;
	assert_int_equal(add_region(b, other, b->ram_fd), 0);
	assert_int_equal(b->dev.held_count[0], 1); /* nothing had to stop for that */
	assert_int_equal(set_mem(b), 0);
	assert_int_equal(b->dev.held_count[0], 0); /* completed before */
	expect_answer(b, 0, 1, 0, 0);
	expect_service(b, 0);
}

static void a_ring_whose_memory_goes_fails_and_can_be_started_anew(void **state)
{
	struct bench *b = *state;

	start_all(b, 0, SPLIT);
	assert_int_equal(remove_region(b, ram_region(), 0), 0);
	assert_true(signalled(b->err[0]));
	assert_int_equal(get_base(b, CVMM_VHOST_USER_GET_VRING_BASE, 0), 0);
	assert_int_equal(set_mem(b), 0);
	start_ring(b, 0, 0);
	expect_service(b, 0);
}

static void a_region_that_is_replaced_costs_no_ring(void **state)
{
	struct bench *b = *state;

	start_all(b, 0, SPLIT);
	expect_service(b, 0);
	assert_int_equal(remove_region(b, ram_region(), 0), 0);
	assert_int_equal(add_region(b, ram_region(), b->ram_fd), 0);
	expect_service(b, 0);
}

static void a_device_that_cannot_take_queues_one_by_one_gets_them_together(void **state)
{
	struct cvmm_virtio_device_ops ops = dev_ops;
	struct bench *b;
	void *p;

	(void)state;
	ops.queue_start = NULL;
	ops.queue_stop = NULL;
	p = b = bench_of(&ops, NULL, 0);
	start_all(b, 0, SPLIT);
	expect_service(b, 0);
	make_ring(b, 1, SPLIT);
	start_ring(b, 1, 0);
	assert_int_equal(b->dev.starts, 2);
	assert_int_equal(b->dev.stops, 1);
	expect_service(b, 0);
	expect_service(b, 1);
	assert_int_equal(get_base(b, CVMM_VHOST_USER_GET_VRING_BASE, 1), 1);
	expect_service(b, 0);
	assert_int_equal(get_base(b, CVMM_VHOST_USER_GET_VRING_BASE, 0), 3);
	bench_free(&p);
}

static void with_gpa_addresses_rings_and_regions_have_one_address(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_mem_region region = ram_region();
	struct cvmm_vhost_user_vring_addr addr;

	negotiate(b, 0, CVMM_VHOST_USER_PROTOCOL(INBAND_NOTIFICATIONS));
	assert_int_not_equal(add_region(b, region, b->ram_fd), 0);
	region.user_addr = region.gpa;
	assert_int_equal(add_region(b, region, b->ram_fd), 0);
	make_ring(b, 0, SPLIT);
	addr = (struct cvmm_vhost_user_vring_addr){ .desc = b->ring[0].desc.addr,
						    .avail = b->ring[0].driver_area.addr,
						    .used = b->ring[0].device_area.addr };
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_NUM, 0, QUEUE_SIZE), 0);
	assert_int_equal(ack(b, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr)), 0);
	assert_int_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_KICK, 0, b->kick[0]), 0);
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	expect_service(b, 0);
}

/* ---- rings ---- */

static void requests_are_served_and_the_driver_is_called(void **state)
{
	struct bench *b = *state;

	start_all(b, 0, SPLIT);
	assert_int_equal(b->dev.starts, 1);
	for (int i = 0; i < 100; i++) {
		expect_service(b, 0);
		assert_true(signalled(b->call[0]));
	}
}

static void packed_rings_are_served(void **state)
{
	struct bench *b = *state;

	start_all(b, FEATURE(CVMM_VIRTIO_F_RING_PACKED),
		  (struct cvmm_virtq_driver_config){ .packed = true, .size = 5 });
	for (int i = 0; i < 33; i++)
		expect_service(b, 0);
	/* 66 descriptors in a ring of 5: 13 turns and 1; the wrap counters have changed. */
	assert_int_equal(get_base(b, CVMM_VHOST_USER_GET_VRING_BASE, 0), 0x00010001);
}

static void a_ring_goes_on_where_it_was_stopped(void **state)
{
	struct bench *b = *state;

	for (int packed = 0; packed < 2; packed++) {
		uint64_t features = packed ? FEATURE(CVMM_VIRTIO_F_RING_PACKED) : 0;
		uint32_t base;

		connect_front_end(b);
		start_all(b, features,
			  (struct cvmm_virtq_driver_config){ .packed = packed,
							     .size = packed ? 7 : 8 });
		for (int i = 0; i < 100; i++) {
			expect_service(b, 0);
			base = get_base(b, CVMM_VHOST_USER_GET_VRING_BASE, 0);
			assert_int_equal(b->dev.starts, b->dev.stops);
			start_ring(b, 0, base);
		}
	}
}

static void a_stopped_ring_is_not_touched(void **state)
{
	struct bench *b = *state;
	unsigned int kicks;

	start_all(b, 0, SPLIT);
	get_base(b, CVMM_VHOST_USER_GET_VRING_BASE, 0);
	kicks = b->dev.kicks;
	add_request(b, 0, 0, 7, 50);
	ring_kick(b, 0);
	assert_int_equal(b->dev.kicks, kicks);
	expect_no_answer(b, 0);
	/* Its kick was not lost, nor does it need another one. */
	start_ring(b, 0, 0);
	expect_answer(b, 0, 0, 7, 50);
}

static void a_kick_before_the_ring_is_enabled_is_not_lost(void **state)
{
	struct bench *b = *state;

	negotiate(b, 0, DEFAULT_WITHOUT);
	assert_int_equal(set_mem(b), 0);
	make_ring(b, 0, SPLIT);
	set_up_ring(b, 0, 0);
	assert_int_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_KICK, 0, b->kick[0]), 0);
	add_request(b, 0, 3, 9, 20);
	ring_kick(b, 0);
	expect_no_answer(b, 0);
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	expect_answer(b, 0, 3, 9, 20);
	/* And disabled again. */
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_ENABLE, 0, 0), 0);
	add_request(b, 0, 3, 10, 20);
	ring_kick(b, 0);
	expect_no_answer(b, 0);
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	expect_answer(b, 0, 3, 10, 20);
}

static void features_without_protocol_features_enable_all_rings(void **state)
{
	struct bench *b = *state;

	negotiate(b, 0, DEFAULT_WITHOUT);
	assert_int_equal(ack_u64(b, CVMM_VHOST_USER_SET_FEATURES, FEATURE(CVMM_VIRTIO_F_VERSION_1)),
			 0);
	assert_int_equal(set_mem(b), 0);
	make_ring(b, 1, SPLIT);
	set_up_ring(b, 1, 0);
	assert_int_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_KICK, 1, b->kick[1]), 0);
	expect_service(b, 1);
}

static void a_second_ring_joins_and_leaves_while_the_first_runs(void **state)
{
	struct bench *b = *state;

	start_all(b, 0, SPLIT);
	make_ring(b, 1, SPLIT);
	start_ring(b, 1, 0);
	assert_int_equal(b->dev.starts, 1);
	assert_int_equal(b->dev.queue_starts, 1);
	expect_service(b, 0);
	expect_service(b, 1);
	assert_int_equal(get_base(b, CVMM_VHOST_USER_GET_VRING_BASE, 1), 1);
	assert_int_equal(b->dev.stops, 0);
	expect_service(b, 0);
}

static void numbers_of_queues_are_checked_everywhere(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_vring_addr addr = { .index = QUEUES };
	static const uint32_t requests[] = { CVMM_VHOST_USER_SET_VRING_NUM,
					     CVMM_VHOST_USER_SET_VRING_BASE,
					     CVMM_VHOST_USER_SET_VRING_ENABLE };

	negotiate(b, 0, 0);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(requests); i++) {
		assert_int_not_equal(ack_vring(b, requests[i], QUEUES, 1), 0);
		assert_int_not_equal(ack_vring(b, requests[i], UINT32_MAX, 1), 0);
	}
	assert_int_not_equal(ack(b, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr)), 0);
	assert_int_not_equal(ack_vring(b, CVMM_VHOST_USER_VRING_KICK, QUEUES, 0), 0);
	assert_int_not_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_KICK, QUEUES, b->kick[0]), 0);
	assert_int_not_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_CALL, QUEUES, b->kick[0]), 0);
	assert_int_not_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_ERR, QUEUES, b->kick[0]), 0);
}

static void queue_numbers_above_255_with_descriptors_are_refused(void **state)
{
	struct bench *b = *state;
	uint64_t value = 0x200; /* bit 9: a queue that has no number here */

	negotiate(b, 0, 0);
	assert_int_not_equal(
		ack_with(b, CVMM_VHOST_USER_SET_VRING_KICK, &value, sizeof(value), &b->kick[0], 1),
		0);
	value = 0x100; /* queue 256 would look like this: no descriptor, and there is one */
	assert_int_not_equal(
		ack_with(b, CVMM_VHOST_USER_SET_VRING_KICK, &value, sizeof(value), &b->kick[0], 1),
		0);
}

static void sizes_of_queues_are_checked(void **state)
{
	struct bench *b = *state;
	static const uint32_t bad[] = { 0, 3, 24, 65536, UINT32_MAX };

	negotiate(b, 0, 0);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++)
		assert_int_not_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_NUM, 0, bad[i]), 0);
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_NUM, 0, 32768), 0);
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_NUM, 0, 1), 0);
	assert_int_equal(ack_u64(b, CVMM_VHOST_USER_SET_FEATURES,
				 FEATURE(CVMM_VIRTIO_F_RING_PACKED) |
					 FEATURE(CVMM_VIRTIO_F_VERSION_1) |
					 FEATURE(CVMM_VHOST_USER_F_PROTOCOL_FEATURES)),
			 0);
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_NUM, 0, 24), 0);
	assert_int_not_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_NUM, 0, 32769), 0);
}

static void a_queue_may_be_longer_than_the_device_asks_for(void **state)
{
	struct bench *b = *state;

	start_all(b, 0, (struct cvmm_virtq_driver_config){ .size = 1024 });
	for (int i = 0; i < 10; i++)
		expect_service(b, 0);
}

static void addresses_outside_of_memory_are_refused(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_vring_addr addr;

	negotiate(b, 0, DEFAULT_WITHOUT);
	assert_int_equal(set_mem(b), 0);
	make_ring(b, 0, SPLIT);
	addr = ring_addr(b, 0);
	addr.desc = USER_BASE + RAM_BYTES;
	assert_int_not_equal(ack(b, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr)), 0);
	addr.desc = RAM_GPA; /* a guest address is no user address */
	assert_int_not_equal(ack(b, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr)), 0);
	addr = ring_addr(b, 0);
	addr.used += 2;
	assert_int_not_equal(ack(b, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr)), 0);
	addr = ring_addr(b, 0);
	addr.flags = 2;
	assert_int_not_equal(ack(b, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr)), 0);
}

static void a_ring_that_reaches_out_of_memory_cannot_start(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_vring_addr addr;

	negotiate(b, 0, DEFAULT_WITHOUT);
	assert_int_equal(set_mem(b), 0);
	make_ring(b, 0, SPLIT);
	set_up_ring(b, 0, 0);
	addr = ring_addr(b, 0);
	/* Its table ends 16 bytes behind memory. */
	addr.desc = USER_BASE + RAM_BYTES - 16 * QUEUE_SIZE + 16;
	assert_int_equal(ack(b, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr)), 0);
	assert_int_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_KICK, 0, b->kick[0]), 0);
	assert_int_not_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	assert_true(signalled(b->err[0]));
	/* One that ends where memory ends is fine. */
	get_base(b, CVMM_VHOST_USER_GET_VRING_BASE, 0);
	addr.desc -= 16;
	assert_int_equal(ack(b, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr)), 0);
	assert_int_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_KICK, 0, b->kick[0]), 0);
	assert_int_equal(b->dev.starts, 1);
}

static void a_ring_across_a_hole_cannot_start(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_vring_addr addr;
	struct cvmm_vhost_user_mem_region low = { RAM_GPA, 0x10000, USER_BASE, 0 };
	struct cvmm_vhost_user_mem_region high = { RAM_GPA + 0x11000, 0x10000, USER_BASE + 0x11000,
						   0x11000 };

	negotiate(b, 0, DEFAULT_WITHOUT);
	assert_int_equal(add_region(b, low, b->ram_fd), 0);
	assert_int_equal(add_region(b, high, b->ram_fd), 0);
	make_ring(b, 0, SPLIT);
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_NUM, 0, 1024), 0);
	addr = ring_addr(b, 0);
	addr.desc = USER_BASE + 0xf000; /* 16 KiB: begins and ends in memory */
	assert_int_equal(ack(b, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr)), 0);
	assert_int_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_KICK, 0, b->kick[0]), 0);
	assert_int_not_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
}

static void what_a_running_ring_is_made_of_cannot_change(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_vring_addr addr;

	start_all(b, 0, SPLIT);
	addr = ring_addr(b, 0);
	assert_int_not_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_NUM, 0, 8), 0);
	assert_int_not_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_BASE, 0, 8), 0);
	addr.desc += 0x1000;
	assert_int_not_equal(ack(b, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr)), 0);
	assert_int_not_equal(ack_u64(b, CVMM_VHOST_USER_SET_FEATURES, 0), 0);
	expect_service(b, 0);
}

static void a_broken_ring_is_told_and_the_others_live(void **state)
{
	struct bench *b = *state;

	start_all(b, 0, SPLIT);
	make_ring(b, 1, SPLIT);
	start_ring(b, 1, 0);
	/* avail.idx far ahead. */
	*(uint16_t *)(b->ram + (b->ring[0].driver_area.addr - RAM_GPA) + 2) = 1000;
	ring_kick(b, 0);
	assert_true(signalled(b->err[0]));
	assert_int_equal(get_u64(b, CVMM_VHOST_USER_GET_STATUS) & CVMM_VIRTIO_STATUS_NEEDS_RESET,
			 CVMM_VIRTIO_STATUS_NEEDS_RESET);
	ring_kick(b, 0);
	assert_false(signalled(b->err[0]));
	expect_service(b, 1);
	get_base(b, CVMM_VHOST_USER_GET_VRING_BASE, 0);
	make_ring(b, 0, SPLIT);
	start_ring(b, 0, 0);
	expect_service(b, 0);
}

static void without_a_kick_descriptor_rings_are_polled(void **state)
{
	struct bench *b = *state;
	uint32_t got;
	void *token;
	int r = 0;

	negotiate(b, 0, DEFAULT_WITHOUT);
	assert_int_equal(set_mem(b), 0);
	make_ring(b, 0, SPLIT);
	set_up_ring(b, 0, 0);
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	/* Not settled: the loop has always something to do now. */
	{
		uint64_t value = CVMM_VHOST_USER_VRING_NO_FD;
		struct iovec iov = { &value, sizeof(value) };

		assert_int_equal(cvmm_vhost_user_conn_send(b->fe, CVMM_VHOST_USER_SET_VRING_KICK, 0,
							   &iov, 1, NULL, 0),
				 0);
	}
	for (int i = 0; i < 5000; i++)
		cvmm_loop_run_once(b->loop, 0);
	add_request(b, 0, 0, 3, 30);
	for (int i = 0; i < 100000 && !r; i++) {
		cvmm_loop_run_once(b->loop, 1);
		r = cvmm_virtq_driver_take(&b->drv[0], &token, &got);
	}
	assert_int_equal(r, 1);
	assert_int_equal(got, 30);
}

static void pipes_are_notifiers_too(void **state)
{
	struct bench *b = *state;
	int kick[2], call[2];
	uint64_t value = 1;

	negotiate(b, 0, DEFAULT_WITHOUT);
	assert_int_equal(set_mem(b), 0);
	make_ring(b, 0, SPLIT);
	set_up_ring(b, 0, 0);
	assert_int_equal(test_pipe(kick, false), 0);
	assert_int_equal(test_pipe(call, true), 0);
	assert_int_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_CALL, 0, call[1]), 0);
	assert_int_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_KICK, 0, kick[0]), 0);
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	add_request(b, 0, 0, 3, 30);
	assert_int_equal(write(kick[1], &value, sizeof(value)), sizeof(value));
	settle(b);
	expect_answer(b, 0, 0, 3, 30);
	assert_int_equal(read(call[0], &value, sizeof(value)), sizeof(value));
	/* Nobody reads any more, and nobody writes: neither ends us, nor do we spin. */
	close(call[0]);
	add_request(b, 0, 0, 4, 30);
	assert_int_equal(write(kick[1], &value, sizeof(value)), sizeof(value));
	settle(b);
	expect_answer(b, 0, 0, 4, 30);
	close(kick[1]);
	settle(b);
	close(kick[0]);
	close(call[1]);
	assert_int_equal(get_base(b, CVMM_VHOST_USER_GET_VRING_BASE, 0), 2);
}

static void a_socket_that_can_kick_no_more_is_left_alone(void **state)
{
	struct bench *b = *state;
	int kick[2];

	negotiate(b, 0, DEFAULT_WITHOUT);
	assert_int_equal(set_mem(b), 0);
	make_ring(b, 0, SPLIT);
	set_up_ring(b, 0, 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, kick), 0);
	assert_int_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_CALL, 0, b->call[0]), 0);
	assert_int_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_KICK, 0, kick[0]), 0);
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	add_request(b, 0, 0, 3, 30);
	assert_int_equal(write(kick[1], "x", 1), 1);
	settle(b);
	expect_answer(b, 0, 0, 3, 30);
	/* Readable for ever, and no hang-up. */
	assert_int_equal(shutdown(kick[1], SHUT_WR), 0);
	for (int i = 0; i < 3; i++)
		cvmm_loop_run_once(b->loop, 0);
	assert_int_equal(cvmm_loop_run_once(b->loop, 0), 0);
	close(kick[0]);
	close(kick[1]);
}

static void what_is_no_notifier_is_refused(void **state)
{
	struct bench *b = *state;

	negotiate(b, 0, 0);
	assert_int_not_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_KICK, 0, b->ram_fd), 0);
	assert_int_not_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_CALL, 0, b->ram_fd), 0);
	assert_int_not_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_ERR, 0, b->ram_fd), 0);
}

/* ---- the whole device ---- */

static void a_reset_leaves_memory_and_nothing_of_the_rings(void **state)
{
	struct bench *b = *state;

	start_all(b, 0, SPLIT);
	expect_service(b, 0);
	assert_int_equal(ack(b, CVMM_VHOST_USER_RESET_DEVICE, NULL, 0), 0);
	assert_int_equal(b->dev.stops, 1);
	assert_int_equal(get_base(b, CVMM_VHOST_USER_GET_VRING_BASE, 0), 0);
	negotiate(b, 0, DEFAULT_WITHOUT);
	make_ring(b, 0, SPLIT);
	start_ring(b, 0, 0);
	expect_service(b, 0);
}

static void a_status_of_zero_stops_the_device_and_rings_keep_their_places(void **state)
{
	struct bench *b = *state;

	start_all(b, 0, SPLIT);
	expect_service(b, 0);
	assert_int_equal(ack_u64(b, CVMM_VHOST_USER_SET_STATUS, 15), 0);
	assert_int_equal(get_u64(b, CVMM_VHOST_USER_GET_STATUS), 15);
	assert_int_not_equal(ack_u64(b, CVMM_VHOST_USER_SET_STATUS, 256), 0);
	assert_int_equal(ack_u64(b, CVMM_VHOST_USER_SET_STATUS, 0), 0);
	assert_int_equal(get_u64(b, CVMM_VHOST_USER_GET_STATUS), 0);
	assert_int_equal(b->dev.stops, 1);
	/* Nothing starts it again but being enabled. */
	assert_int_equal(set_mem(b), 0);
	assert_int_equal(b->dev.starts, 1);
	/* QEMU asks only now. */
	assert_int_equal(get_base(b, CVMM_VHOST_USER_GET_VRING_BASE, 0), 1);
}

static void get_config(struct bench *b, uint32_t offset, uint32_t size,
		       struct cvmm_vhost_user_msg **ret_msg)
{
	struct {
		struct cvmm_vhost_user_config config;
		uint8_t bytes[512];
	} payload = { { offset, size, 0 }, { 0 } };

	send_request(b, CVMM_VHOST_USER_GET_CONFIG, 0, &payload, sizeof(payload.config) + size,
		     NULL, 0);
	*ret_msg = answer(b);
	assert_non_null(*ret_msg);
}

static void the_configuration_space_is_read_and_errors_have_no_payload(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_msg *msg;
	const uint8_t *bytes;

	negotiate(b, 0, 0);
	get_config(b, 2, 8, &msg);
	assert_int_equal(msg->size, 20);
	bytes = (const uint8_t *)msg->payload + 12;
	assert_int_equal(bytes[0], 3);
	assert_int_equal(bytes[5], 8);
	assert_int_equal(bytes[6], 0);
	get_config(b, 200, 100, &msg);
	assert_int_equal(msg->size, 0);
	get_config(b, UINT32_MAX, 8, &msg);
	assert_int_equal(msg->size, 0);
	get_config(b, 0, 0, &msg);
	assert_int_equal(msg->size, 12);
}

static uint64_t set_config(struct bench *b, uint32_t offset, uint32_t size, uint32_t flags)
{
	struct {
		struct cvmm_vhost_user_config config;
		uint8_t bytes[16];
	} payload = { { offset, size, flags }, { 0xaa, 0xbb } };

	return ack(b, CVMM_VHOST_USER_SET_CONFIG, &payload, sizeof(payload.config) + size);
}

static void writes_to_the_configuration_space_reach_the_device(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_msg *msg;

	negotiate(b, 0, 0);
	assert_int_equal(set_config(b, 6, 2, CVMM_VHOST_USER_CONFIG_WRITABLE), 0);
	assert_int_equal(b->dev.written[7], 0xbb);
	assert_int_not_equal(set_config(b, 7, 2, CVMM_VHOST_USER_CONFIG_WRITABLE), 0);
	assert_int_not_equal(set_config(b, 0, 2, 2), 0);
	/* In migration all of it is set as it was. */
	assert_int_equal(set_config(b, 0, 1, CVMM_VHOST_USER_CONFIG_LIVE_MIGRATION), 0);
	get_config(b, 0, 1, &msg);
	assert_int_equal(((const uint8_t *)msg->payload)[12], 0xaa);
}

static void a_connection_that_ends_leaves_nothing_behind(void **state)
{
	struct bench *b = *state;
	int before;

	connect_front_end(b);
	before = open_fds();
	for (int i = 0; i < 10; i++) {
		start_all(b, 0, SPLIT);
		expect_service(b, 0);
		connect_front_end(b);
		assert_int_equal(b->reason, 0);
		assert_int_equal(open_fds(), before);
	}
	assert_int_equal(b->dev.starts, b->dev.stops);
}

static void an_end_in_the_middle_of_a_request_is_told(void **state)
{
	struct bench *b = *state;

	assert_int_equal(write(cvmm_vhost_user_conn_fd(b->fe), "abc", 3), 3);
	cvmm_vhost_user_conn_destroy(b->fe);
	b->fe = NULL;
	settle(b);
	assert_int_equal(b->closed, 1);
	assert_non_null(strstr(b->message, "middle"));
}

static void a_front_end_that_reads_nothing_is_waited_for_without_reading_more(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_msg *msg;
	unsigned int sent = 0, seen = 0;
	struct cvmm_vhost_user_header header = { CVMM_VHOST_USER_GET_FEATURES, 1, 0 };
	int r;

	/* Until neither of the two sockets takes more. */
	do {
		r = (int)send(cvmm_vhost_user_conn_fd(b->fe), &header, sizeof(header),
			      MSG_DONTWAIT);
		assert_true(r < 0 || r == sizeof(header));
		sent += r > 0;
		settle(b);
	} while (r > 0);
	assert_true(sent > 10);
	while (seen < sent) {
		r = cvmm_vhost_user_conn_receive(b->fe, &msg, NULL);
		assert_true(r >= 0);
		seen += r == 1;
		settle(b);
	}
	assert_int_equal(b->closed, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, bench_free)
	const struct CMUnitTest tests[] = {
		T(what_is_offered_is_what_device_and_rings_have),
		T(features_that_were_not_offered_are_refused_and_the_connection_lives),
		T(a_refused_request_without_need_reply_ends_the_connection),
		T(unknown_requests_are_refused_and_the_connection_lives),
		T(requests_whose_feature_was_not_negotiated_are_refused),
		T(payloads_of_a_wrong_size_are_refused),
		T(an_answer_among_requests_ends_the_connection),
		T(in_band_notifications_without_what_they_need_end_the_connection),
		T(the_owner_may_be_set_twice_and_again_on_the_next_connection),
		T(a_front_end_that_remembers_what_it_negotiated_need_not_do_it_again),
		T(one_connection_at_a_time_is_served),
		T(regions_that_cannot_be_are_refused),
		T(memory_slots_can_be_filled_and_no_more),
		T(a_stray_descriptor_of_a_removal_is_closed),
		T(a_removal_must_name_all_of_the_region),
		T(a_table_with_one_bad_region_changes_nothing),
		T(rings_go_on_when_memory_comes_and_goes),
		T(a_ring_whose_memory_goes_fails_and_can_be_started_anew),
		T(a_region_that_is_replaced_costs_no_ring),
		cmocka_unit_test(a_device_that_cannot_take_queues_one_by_one_gets_them_together),
		T(with_gpa_addresses_rings_and_regions_have_one_address),
		T(requests_are_served_and_the_driver_is_called),
		T(packed_rings_are_served),
		T(a_ring_goes_on_where_it_was_stopped),
		T(a_stopped_ring_is_not_touched),
		T(a_kick_before_the_ring_is_enabled_is_not_lost),
		T(features_without_protocol_features_enable_all_rings),
		T(a_second_ring_joins_and_leaves_while_the_first_runs),
		T(numbers_of_queues_are_checked_everywhere),
		T(queue_numbers_above_255_with_descriptors_are_refused),
		T(sizes_of_queues_are_checked),
		T(a_queue_may_be_longer_than_the_device_asks_for),
		T(addresses_outside_of_memory_are_refused),
		T(a_ring_that_reaches_out_of_memory_cannot_start),
		T(a_ring_across_a_hole_cannot_start),
		T(what_a_running_ring_is_made_of_cannot_change),
		T(a_broken_ring_is_told_and_the_others_live),
		T(without_a_kick_descriptor_rings_are_polled),
		T(pipes_are_notifiers_too),
		T(a_socket_that_can_kick_no_more_is_left_alone),
		T(what_is_no_notifier_is_refused),
		T(a_reset_leaves_memory_and_nothing_of_the_rings),
		T(a_status_of_zero_stops_the_device_and_rings_keep_their_places),
		T(the_configuration_space_is_read_and_errors_have_no_payload),
		T(writes_to_the_configuration_space_reach_the_device),
		T(a_connection_that_ends_leaves_nothing_behind),
		T(an_end_in_the_middle_of_a_request_is_told),
		T(a_front_end_that_reads_nothing_is_waited_for_without_reading_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
