// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The front-end: queues, inflight regions, and going on with another back-end. */
#include "test_vhost_user_frontend.h"

#define NUM CVMM_VHOST_USER_SET_VRING_NUM
#define ADDR CVMM_VHOST_USER_SET_VRING_ADDR
#define BASE CVMM_VHOST_USER_SET_VRING_BASE
#define KICK CVMM_VHOST_USER_SET_VRING_KICK
#define CALL CVMM_VHOST_USER_SET_VRING_CALL
#define ERR CVMM_VHOST_USER_SET_VRING_ERR
#define ENABLE CVMM_VHOST_USER_SET_VRING_ENABLE

static int start(struct session *s, const struct cvmm_vhost_user_queue *queue)
{
	return cvmm_vhost_user_frontend_start_queue(s->fe, queue, &s->err);
}

static struct cvmm_vhost_user_vring_addr addr_of(const struct peer_seen *seen)
{
	struct cvmm_vhost_user_vring_addr addr;

	memcpy(&addr, seen->payload, sizeof(addr));
	return addr;
}

static uint64_t host_of(const struct session *s, cvmm_gpa gpa)
{
	return (uint64_t)(uintptr_t)cvmm_mem_ptr(s->mem, gpa, 1, CVMM_ACCESS_READ);
}

/* ---- starting ---- */

static void a_queue_starts_in_the_order_that_all_back_ends_can_do_with(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	struct cvmm_vhost_user_vring_addr addr;
	struct peer_seen seen;
	unsigned int before;
	uint64_t kicks = 0;

	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 3, false);
	queue.base.next_avail = 0xfffe;
	before = peer_seen_count(&s->peer);
	assert_int_equal(start(s, &queue), 0);
	peer_saw(&s->peer, before, (uint32_t[]){ NUM, BASE, ADDR, CALL, ERR, KICK, ENABLE }, 7);
	assert_int_equal(peer_last(&s->peer, NUM).payload[0], UINT64_C(256) << 32 | 3);
	assert_int_equal(peer_last(&s->peer, BASE).payload[0], UINT64_C(0xfffe) << 32 | 3);
	assert_int_equal(peer_last(&s->peer, ENABLE).payload[0], UINT64_C(1) << 32 | 3);
	seen = peer_last(&s->peer, ADDR);
	addr = addr_of(&seen);
	assert_int_equal(addr.index, 3);
	assert_int_equal(addr.flags, 0);
	assert_int_equal(addr.desc, host_of(s, queue.config.desc));
	assert_int_equal(addr.avail, host_of(s, queue.config.avail));
	assert_int_equal(addr.used, host_of(s, queue.config.used));
	assert_int_equal(peer_last(&s->peer, KICK).payload[0], 3);
	assert_int_equal(peer_last(&s->peer, KICK).fd_count, 1);
	/* One kick, for those that start at the first. */
	assert_int_equal(read(queue.kick_fd, &kicks, sizeof(kicks)), sizeof(kicks));
	assert_int_equal(kicks, 1);
	assert_int_equal(start(s, &queue), -EBUSY);
}

static void without_protocol_features_queues_are_enabled_already(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;

	s->peer.features = F_VERSION_1;
	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 0, false);
	assert_int_equal(start(s, &queue), 0);
	assert_int_equal(peer_count(&s->peer, ENABLE), 0);
	assert_int_equal(cvmm_vhost_user_frontend_set_enable(s->fe, 0, false, NULL), -EOPNOTSUPP);
	assert_int_equal(peer_last(&s->peer, CVMM_VHOST_USER_SET_FEATURES).payload[0], F_VERSION_1);
}

static void what_polls_has_no_descriptors_and_says_so(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;

	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 1, false);
	queue.kick_fd = queue.call_fd = queue.err_fd = -1;
	assert_int_equal(start(s, &queue), 0);
	assert_int_equal(peer_last(&s->peer, KICK).payload[0], 1 | CVMM_VHOST_USER_VRING_NO_FD);
	assert_int_equal(peer_last(&s->peer, KICK).fd_count, 0);
	assert_int_equal(peer_last(&s->peer, CALL).payload[0], 1 | CVMM_VHOST_USER_VRING_NO_FD);
	assert_int_equal(peer_count(&s->peer, ERR), 0);
}

static void in_band_queues_are_started_by_a_message(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	unsigned int before;

	s->peer.protocol |= P(INBAND_NOTIFICATIONS) | P(BACKEND_REQ);
	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 1, false);
	queue.kick_fd = queue.call_fd = queue.err_fd = -1;
	before = peer_seen_count(&s->peer);
	assert_int_equal(start(s, &queue), 0);
	peer_saw(&s->peer, before,
		 (uint32_t[]){ NUM, BASE, ADDR, ENABLE, CVMM_VHOST_USER_VRING_KICK }, 5);
	assert_int_equal(cvmm_vhost_user_frontend_kick(s->fe, 1, NULL), 0);
	assert_int_equal(peer_last(&s->peer, CVMM_VHOST_USER_VRING_KICK).payload[0], 1);
}

/* In the messages with descriptors bit 8 has another meaning. */
static void queue_numbers_above_255_are_refused_here(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	unsigned int before;

	s->peer.protocol |= P(INBAND_NOTIFICATIONS) | P(BACKEND_REQ) | P(CROSS_ENDIAN);
	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 0, false);
	queue.index = 256;
	before = peer_seen_count(&s->peer);
	assert_int_equal(start(s, &queue), -EINVAL);
	assert_int_equal(cvmm_vhost_user_frontend_set_enable(s->fe, 256, true, NULL), -EINVAL);
	assert_int_equal(cvmm_vhost_user_frontend_kick(s->fe, 256, NULL), -EINVAL);
	assert_int_equal(cvmm_vhost_user_frontend_set_vring_endian(s->fe, 256, true, NULL),
			 -EINVAL);
	assert_int_equal(cvmm_vhost_user_frontend_stop_queue(s->fe, 256, false, &queue.base, NULL),
			 -EINVAL);
	assert_int_equal(peer_seen_count(&s->peer), before);
	queue.index = 255;
	assert_int_equal(start(s, &queue), 0);
	assert_int_equal(peer_last(&s->peer, KICK).payload[0], 255);
}

static void split_queues_have_a_power_of_two_and_packed_ones_any_number(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;

	s->peer.features |= F_PACKED;
	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 0, false);
	queue.config.size = 100;
	assert_int_equal(start(s, &queue), -EINVAL);
	queue.config.size = 0;
	assert_int_equal(start(s, &queue), -EINVAL);
	queue.config.size = 40000;
	assert_int_equal(start(s, &queue), -EINVAL);
	/* It must be of the kind that the driver acknowledged. */
	queue.config.size = 128;
	queue.config.packed = true;
	assert_int_equal(start(s, &queue), -EINVAL);
	assert_int_equal(cvmm_vhost_user_frontend_set_features(s->fe, F_VERSION_1 | F_PACKED, NULL),
			 0);
	queue.config.size = 100;
	assert_int_equal(start(s, &queue), 0);
	assert_int_equal(peer_last(&s->peer, NUM).payload[0], UINT64_C(100) << 32);
}

static void a_ring_that_ends_with_memory_is_fine_and_one_that_crosses_a_hole_is_not(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;

	session_begin(s, F_VERSION_1);
	/* Two regions of 1 MiB that touch, and nothing behind them. */
	queue = make_queue(s, 0, false);
	queue.config.desc = cvmm_gpa_from(2 * REGION_BYTES - UINT64_C(16) * 256);
	assert_int_equal(start(s, &queue), 0);
	queue = make_queue(s, 1, false);
	queue.config.desc = cvmm_gpa_from(2 * REGION_BYTES - UINT64_C(16) * 255);
	assert_int_equal(start(s, &queue), -EINVAL);
	assert_non_null(strstr(s->err.message, "descriptor table"));
	queue = make_queue(s, 1, false);
	queue.config.used = cvmm_gpa_from(2 * REGION_BYTES - 4);
	assert_int_equal(start(s, &queue), -EINVAL);
	queue.config.used = cvmm_gpa_from(UINT64_MAX - 3);
	assert_int_equal(start(s, &queue), -EINVAL);
	/* From one region to the next. */
	queue.config.used = cvmm_gpa_from(REGION_BYTES - 16);
	assert_int_equal(start(s, &queue), 0);
}

static void rings_that_are_not_aligned_are_refused(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;

	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 0, false);
	queue.config.desc.addr += 8;
	assert_int_equal(start(s, &queue), -EINVAL);
	queue = make_queue(s, 0, false);
	queue.config.avail.addr += 1;
	assert_int_equal(start(s, &queue), -EINVAL);
	queue = make_queue(s, 0, false);
	queue.config.used.addr += 2;
	assert_int_equal(start(s, &queue), -EINVAL);
	assert_int_equal(peer_count(&s->peer, NUM), 0);
}

static void with_gpa_addresses_rings_and_regions_have_guest_addresses(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	struct peer_seen seen;

	s->peer.protocol |= P(GPA_ADDRESSES);
	session_begin(s, F_VERSION_1);
	seen = peer_last(&s->peer, CVMM_VHOST_USER_SET_MEM_TABLE);
	assert_int_equal(seen.payload[5], REGION_BYTES); /* the second's guest address */
	assert_int_equal(seen.payload[7], REGION_BYTES); /* and its user address */
	queue = make_queue(s, 0, false);
	assert_int_equal(start(s, &queue), 0);
	seen = peer_last(&s->peer, ADDR);
	assert_int_equal(addr_of(&seen).desc, queue.config.desc.addr);
	queue = make_queue(s, 1, false);
	queue.config.desc = cvmm_gpa_from(2 * REGION_BYTES);
	assert_int_equal(start(s, &queue), -EINVAL);
}

static void behind_an_iommu_rings_have_addresses_of_their_own(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	struct peer_seen seen;

	s->peer.features |= F_PLATFORM;
	session_begin(s, F_VERSION_1 | F_PLATFORM);
	queue = make_queue(s, 0, false);
	queue.config.desc = cvmm_gpa_from(0xffff0000);
	assert_int_equal(start(s, &queue), 0);
	seen = peer_last(&s->peer, ADDR);
	assert_int_equal(addr_of(&seen).desc, 0xffff0000);
	queue = make_queue(s, 1, false);
	queue.config.desc = cvmm_gpa_from(UINT64_MAX - 15);
	assert_int_equal(start(s, &queue), -EINVAL);
}

static void a_queue_that_is_refused_is_not_left_running(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	struct cvmm_virtq_base base;

	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 0, false);
	s->peer.nacked = ENABLE;
	assert_int_equal(start(s, &queue), -EREMOTEIO);
	assert_int_equal(peer_count(&s->peer, CVMM_VHOST_USER_GET_VRING_BASE), 1);
	assert_int_equal(cvmm_vhost_user_frontend_stop_queue(s->fe, 0, false, &base, NULL),
			 -EINVAL);
	s->peer.nacked = NUM;
	assert_int_equal(start(s, &queue), -EREMOTEIO);
	s->peer.nacked = 0;
	assert_int_equal(start(s, &queue), 0);
}

/* A full counter makes a write wait for the back-end to read it, which it need not do. */
static void a_kick_that_would_wait_is_left_out(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	uint64_t full = UINT64_MAX - 1;

	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 0, false);
	assert_int_equal(fcntl(queue.kick_fd, F_SETFL, 0), 0); /* blocking */
	assert_int_equal(write(queue.kick_fd, &full, sizeof(full)), sizeof(full));
	assert_int_equal(start(s, &queue), 0);
}

/* ---- stopping ---- */

static void stopping_tells_where_a_split_queue_was(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	struct cvmm_virtq_base base;
	unsigned int before;

	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 2, false);
	assert_int_equal(start(s, &queue), 0);
	s->peer.bases[2] = 0xffff;
	assert_int_equal(cvmm_mem_store_u16(s->mem, cvmm_gpa_add(queue.config.used, 2),
					    __ATOMIC_RELAXED, 0xfff0),
			 0);
	before = peer_seen_count(&s->peer);
	assert_int_equal(cvmm_vhost_user_frontend_stop_queue(s->fe, 2, false, &base, &s->err), 0);
	assert_int_equal(base.next_avail, 0xffff);
	assert_int_equal(base.next_used, 0xfff0);
	/* Stopped first: what is disabled while it runs has its requests thrown away. */
	peer_saw(&s->peer, before, (uint32_t[]){ CVMM_VHOST_USER_GET_VRING_BASE, ENABLE }, 2);
	assert_int_equal(peer_last(&s->peer, ENABLE).payload[0], 2);
	assert_int_equal(cvmm_vhost_user_frontend_stop_queue(s->fe, 2, false, &base, NULL),
			 -EINVAL);
	assert_int_equal(start(s, &queue), 0);
}

static void a_base_that_a_split_queue_cannot_have_ends_the_connection(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	struct cvmm_virtq_base base;

	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 2, false);
	assert_int_equal(start(s, &queue), 0);
	s->peer.bases[2] = 0x10000;
	assert_int_equal(cvmm_vhost_user_frontend_stop_queue(s->fe, 2, false, &base, &s->err),
			 -EPROTO);
	assert_true(cvmm_vhost_user_frontend_is_lost(s->fe));
}

static bool answer_for_another_queue(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	const struct cvmm_vhost_user_vring_state state = { .index = 7 };

	if (msg->request != CVMM_VHOST_USER_GET_VRING_BASE)
		return false;
	peer_answer(peer, msg->request, &state, sizeof(state));
	return true;
}

static void the_base_of_another_queue_ends_the_connection(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	struct cvmm_virtq_base base;

	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 2, false);
	assert_int_equal(start(s, &queue), 0);
	s->peer.hook = answer_for_another_queue;
	assert_int_equal(cvmm_vhost_user_frontend_stop_queue(s->fe, 2, false, &base, &s->err),
			 -EPROTO);
}

static void begin_packed(struct session *s)
{
	s->peer.features |= F_PACKED;
	s->peer.protocol |=
		P(INFLIGHT_SHMFD) | P(GET_VRING_BASE_INFLIGHT) | P(GET_VRING_BASE_SKIP_DRAIN);
	session_begin(s, F_VERSION_1 | F_PACKED);
}

static void a_packed_base_has_two_indices_and_two_wrap_counters(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	struct cvmm_virtq_base base;

	begin_packed(s);
	queue = make_queue(s, 0, true);
	assert_int_equal(start(s, &queue), 0);
	assert_int_equal(peer_last(&s->peer, BASE).payload[0] >> 32, 0x80008000);
	s->peer.bases[0] = 0x00078005; /* used 7, wrap 0; avail 5, wrap 1 */
	assert_int_equal(cvmm_vhost_user_frontend_stop_queue(s->fe, 0, true, &base, &s->err), 0);
	assert_int_equal(peer_count(&s->peer, CVMM_VHOST_USER_GET_VRING_BASE_SKIP_DRAIN), 1);
	assert_int_equal(base.next_avail, 5);
	assert_true(base.avail_wrap);
	assert_int_equal(base.next_used, 7);
	assert_false(base.used_wrap);
	queue.base = base;
	assert_int_equal(start(s, &queue), 0);
	assert_int_equal(peer_last(&s->peer, BASE).payload[0] >> 32, 0x00078005);
}

static void a_packed_base_of_one_half_is_taken_for_both_where_all_is_drained(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	struct cvmm_virtq_base base;

	begin_packed(s);
	queue = make_queue(s, 0, true);
	assert_int_equal(start(s, &queue), 0);
	s->peer.bases[0] = 0x8005;
	assert_int_equal(cvmm_vhost_user_frontend_stop_queue(s->fe, 0, false, &base, &s->err), 0);
	assert_int_equal(base.next_used, 5);
	assert_true(base.used_wrap);
	queue.base = base;
	assert_int_equal(start(s, &queue), 0);
	/* Not drained: it is what it says. */
	assert_int_equal(cvmm_vhost_user_frontend_stop_queue(s->fe, 0, true, &base, &s->err), 0);
	assert_int_equal(base.next_used, 0);
	assert_false(base.used_wrap);
}

static void a_packed_base_outside_of_the_ring_ends_the_connection(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	struct cvmm_virtq_base base;

	begin_packed(s);
	queue = make_queue(s, 0, true);
	queue.base.next_avail = 256;
	assert_int_equal(start(s, &queue), -EINVAL);
	queue.base.next_avail = 0;
	assert_int_equal(start(s, &queue), 0);
	s->peer.bases[0] = 256;
	assert_int_equal(cvmm_vhost_user_frontend_stop_queue(s->fe, 0, false, &base, &s->err),
			 -EPROTO);
}

static void a_drain_cannot_be_skipped_without_its_feature(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	struct cvmm_virtq_base base;

	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 0, false);
	assert_int_equal(start(s, &queue), 0);
	assert_int_equal(cvmm_vhost_user_frontend_stop_queue(s->fe, 0, true, &base, &s->err),
			 -EOPNOTSUPP);
}

static void a_device_state_is_not_transferred_while_queues_run(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	int fd;

	s->peer.protocol |= P(DEVICE_STATE);
	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 0, false);
	assert_int_equal(start(s, &queue), 0);
	assert_int_equal(cvmm_vhost_user_frontend_transfer(s->fe, CVMM_VHOST_USER_TRANSFER_SAVE, 0,
							   &fd, &s->err),
			 -EBUSY);
}

/* ---- inflight regions ---- */

/* One back-end gives only queues that it knows their part, and knows those that have a base. */
static void all_queues_have_a_base_before_the_inflight_region_comes(void **state)
{
	struct session *s = *state;
	unsigned int before;

	s->peer.protocol |= P(INFLIGHT_SHMFD);
	session_begin(s, F_VERSION_1);
	before = peer_seen_count(&s->peer);
	assert_int_equal(cvmm_vhost_user_frontend_init_inflight(s->fe, 2, 256, &s->err), 0);
	peer_saw(&s->peer, before,
		 (uint32_t[]){ CVMM_VHOST_USER_GET_INFLIGHT_FD, BASE, BASE,
			       CVMM_VHOST_USER_SET_INFLIGHT_FD },
		 4);
	assert_int_equal(peer_last(&s->peer, CVMM_VHOST_USER_SET_INFLIGHT_FD).size, 24);
	/* The same once more. */
	assert_int_equal(cvmm_vhost_user_frontend_init_inflight(s->fe, 2, 256, &s->err), 0);
	assert_int_equal(peer_count(&s->peer, CVMM_VHOST_USER_GET_INFLIGHT_FD), 1);
	assert_int_equal(peer_count(&s->peer, CVMM_VHOST_USER_SET_INFLIGHT_FD), 2);
	/* Another one. */
	assert_int_equal(cvmm_vhost_user_frontend_init_inflight(s->fe, 2, 128, &s->err), 0);
	assert_int_equal(peer_count(&s->peer, CVMM_VHOST_USER_GET_INFLIGHT_FD), 2);
	/* A new one of the same form, when the old one was given up. */
	assert_int_equal(cvmm_vhost_user_frontend_init_inflight(s->fe, 0, 0, &s->err), 0);
	assert_int_equal(cvmm_vhost_user_frontend_init_inflight(s->fe, 2, 128, &s->err), 0);
	assert_int_equal(peer_count(&s->peer, CVMM_VHOST_USER_GET_INFLIGHT_FD), 3);
}

struct region_plan {
	struct cvmm_vhost_user_inflight inflight;
	off_t file_bytes;
	int fds; /* 0 or 1; 2 for a pipe */
	size_t len;
};

static bool answer_region(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	const struct region_plan *plan = peer->hook_ctx;
	int fds[2];

	if (msg->request != CVMM_VHOST_USER_GET_INFLIGHT_FD)
		return false;
	if (plan->fds == 2) {
		if (test_pipe(fds, false))
			abort();
		close(fds[1]);
	} else {
		fds[0] = test_file();
		if (ftruncate(fds[0], plan->file_bytes))
			abort();
	}
	peer_answer_fds(peer, msg->request, &plan->inflight, plan->len, fds, plan->fds ? 1 : 0);
	close(fds[0]);
	return true;
}

static void inflight_regions_that_cannot_be_are_refused(void **state)
{
	const struct region_plan good = {
		.inflight = { 65536, 0, 2, 256, 0 }, .file_bytes = 65536, .fds = 1, .len = 24
	};
	struct region_plan plans[9];
	const int wanted[9] = { 0,	 0,	  -EPROTO, -EPROTO,   -EPROTO,
				-EPROTO, -EPROTO, -EPROTO, -EREMOTEIO };
	struct session *s = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(plans); i++)
		plans[i] = good;
	plans[1].len = 20; /* without the padding */
	plans[2].file_bytes = 65535;
	plans[3].inflight.mmap_offset = UINT64_MAX - 100;
	plans[4].inflight.queue_count = 3;
	plans[5].inflight.mmap_size = 4096; /* not enough for 2 * 256 */
	plans[6].fds = 2;		    /* no memory */
	plans[7].inflight.queue_size = 512;
	plans[8].fds = 0;
	s->peer.protocol |= P(INFLIGHT_SHMFD);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(plans); i++) {
		s->peer.hook = answer_region;
		s->peer.hook_ctx = &plans[i];
		session_negotiate(s);
		assert_int_equal(cvmm_vhost_user_frontend_set_features(s->fe, F_VERSION_1, NULL),
				 0);
		assert_int_equal(cvmm_vhost_user_frontend_init_inflight(s->fe, 2, 256, &s->err),
				 wanted[i]);
		assert_int_equal(cvmm_vhost_user_frontend_is_lost(s->fe), wanted[i] == -EPROTO);
		cvmm_vhost_user_frontend_destroy(s->fe);
		s->fe = NULL;
		peer_stop(&s->peer);
	}
}

static void an_inflight_region_comes_after_features_and_before_queues(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;

	s->peer.protocol |= P(INFLIGHT_SHMFD);
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_init_inflight(s->fe, 2, 256, &s->err), -EINVAL);
	assert_int_equal(cvmm_vhost_user_frontend_set_features(s->fe, F_VERSION_1, NULL), 0);
	s->mem = make_mem(2);
	assert_int_equal(cvmm_vhost_user_frontend_set_mem(s->fe, s->mem, NULL), 0);
	queue = make_queue(s, 0, false);
	assert_int_equal(start(s, &queue), 0);
	assert_int_equal(cvmm_vhost_user_frontend_init_inflight(s->fe, 2, 256, &s->err), -EBUSY);
}

/* ---- another back-end ---- */

static void all_that_was_set_is_set_again(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	uint64_t kicks;

	s->peer.protocol |= P(INFLIGHT_SHMFD) | P(STATUS) | P(MTU) | P(CROSS_ENDIAN);
	session_begin(s, F_VERSION_1);
	assert_int_equal(cvmm_vhost_user_frontend_set_status(s->fe, 15, NULL), 0);
	assert_int_equal(cvmm_vhost_user_frontend_set_mtu(s->fe, 1500, NULL), 0);
	assert_int_equal(cvmm_vhost_user_frontend_set_vring_endian(s->fe, 1, true, NULL), 0);
	assert_int_equal(cvmm_vhost_user_frontend_init_inflight(s->fe, 2, 256, &s->err), 0);
	queue = make_queue(s, 1, false);
	assert_int_equal(start(s, &queue), 0);
	assert_int_equal(cvmm_vhost_user_frontend_set_enable(s->fe, 1, false, NULL), 0);
	/* The back-end has given 5 of them back when it dies. */
	assert_int_equal(
		cvmm_mem_store_u16(s->mem, cvmm_gpa_add(queue.config.used, 2), __ATOMIC_RELAXED, 5),
		0);
	(void)!read(queue.kick_fd, &kicks, sizeof(kicks));
	assert_int_equal(session_reconnect(s), 0);
	peer_saw(&s->peer, 0,
		 (uint32_t[]){ CVMM_VHOST_USER_SET_OWNER,
			       CVMM_VHOST_USER_GET_FEATURES,
			       CVMM_VHOST_USER_GET_PROTOCOL_FEATURES,
			       CVMM_VHOST_USER_SET_PROTOCOL_FEATURES,
			       CVMM_VHOST_USER_GET_QUEUE_NUM,
			       CVMM_VHOST_USER_SET_FEATURES,
			       CVMM_VHOST_USER_SET_STATUS,
			       CVMM_VHOST_USER_NET_SET_MTU,
			       CVMM_VHOST_USER_SET_MEM_TABLE,
			       NUM,
			       BASE,
			       CVMM_VHOST_USER_SET_VRING_ENDIAN,
			       ADDR,
			       BASE, /* of queue 0, which is not started */
			       CVMM_VHOST_USER_SET_INFLIGHT_FD,
			       CALL,
			       ERR,
			       KICK,
			       ENABLE,
			       CVMM_VHOST_USER_SET_STATUS },
		 20);
	assert_int_equal(peer_nth(&s->peer, BASE, 0).payload[0], UINT64_C(5) << 32 | 1);
	assert_int_equal(peer_nth(&s->peer, BASE, 1).payload[0], 0);
	assert_int_equal(peer_last(&s->peer, ENABLE).payload[0], 1); /* disabled, as it was */
	assert_int_equal(peer_nth(&s->peer, CVMM_VHOST_USER_SET_STATUS, 0).payload[0], 11);
	assert_int_equal(peer_nth(&s->peer, CVMM_VHOST_USER_SET_STATUS, 1).payload[0], 15);
	assert_int_equal(read(queue.kick_fd, &kicks, sizeof(kicks)), sizeof(kicks));
	/* And it can be stopped. */
	s->peer.bases[1] = 9;
	assert_int_equal(cvmm_vhost_user_frontend_stop_queue(s->fe, 1, false, &queue.base, &s->err),
			 0);
	assert_int_equal(queue.base.next_avail, 9);
}

struct kept {
	dev_t device;
	ino_t inode;
};

static bool note_inflight(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	struct kept *kept = peer->hook_ctx;
	struct stat st;

	if (msg->request == CVMM_VHOST_USER_SET_INFLIGHT_FD && !fstat(msg->fds[0], &st))
		*kept = (struct kept){ st.st_dev, st.st_ino };
	return false;
}

static void the_next_back_end_gets_the_same_inflight_region(void **state)
{
	struct session *s = *state;
	struct kept first = { 0 }, second = { 0 };

	s->peer.protocol |= P(INFLIGHT_SHMFD);
	s->peer.hook = note_inflight;
	s->peer.hook_ctx = &first;
	session_begin(s, F_VERSION_1);
	assert_int_equal(cvmm_vhost_user_frontend_init_inflight(s->fe, 2, 256, &s->err), 0);
	peer_stop(&s->peer);
	s->peer.hook_ctx = &second;
	assert_int_equal(session_reconnect(s), 0);
	assert_int_equal(peer_count(&s->peer, CVMM_VHOST_USER_GET_INFLIGHT_FD), 0);
	assert_int_not_equal(first.inode, 0);
	assert_int_equal(first.inode, second.inode);
	assert_int_equal(first.device, second.device);
}

static void put_u16(struct session *s, cvmm_gpa gpa, uint16_t value)
{
	assert_int_equal(cvmm_mem_store_u16(s->mem, gpa, __ATOMIC_RELAXED, value), 0);
}

/*
 * The rings of a driver that has made @avail buffers available, of which @used came back. The head of the @i-th is
 * 7 * i modulo the size, and they came in that order but for those in @swap, if it is not NULL.
 */
static void fill_rings(struct session *s, const struct cvmm_vhost_user_queue *queue, uint16_t avail,
		       uint16_t used, const uint16_t *swap)
{
	uint16_t mask = (uint16_t)(queue->config.size - 1);

	for (unsigned int n = 0; n < avail; n++)
		put_u16(s, cvmm_gpa_add(queue->config.avail, 4 + 2 * (n & mask)),
			(uint16_t)(7 * n) & mask);
	for (unsigned int n = 0; n < used; n++) {
		unsigned int which = swap && n == swap[0] ? swap[1] : n;

		which = swap && n == swap[1] ? swap[0] : which;
		put_u16(s, cvmm_gpa_add(queue->config.used, 4 + 8 * (n & mask)),
			(uint16_t)(7 * which) & mask);
	}
	put_u16(s, cvmm_gpa_add(queue->config.avail, 2), avail);
	put_u16(s, cvmm_gpa_add(queue->config.used, 2), used);
}

/* Without an inflight region: what was given back tells what was not, as far as it was in order. */
static void what_was_given_back_out_of_order_tells_nothing_about_the_rest(void **state)
{
	static const struct {
		uint16_t avail, used, swap[2];
		int wanted;
	} table[] = {
		{ 0, 0, { 0, 0 }, 0 },
		{ 5, 0, { 0, 0 }, 0 },
		{ 9, 4, { 0, 0 }, 0 },
		{ 9, 4, { 0, 1 }, -EOPNOTSUPP },
		{ 9, 4, { 3, 6 }, -EOPNOTSUPP }, /* and the fourth is still there */
		{ 9, 9, { 3, 6 }, 0 },		 /* nothing is left */
		{ 1000, 990, { 0, 0 }, 0 },
		{ 1000, 990, { 980, 981 }, -EOPNOTSUPP },
		{ 1000, 990, { 989, 995 }, -EOPNOTSUPP },
		{ 1000, 990, { 744, 745 }, -EOPNOTSUPP }, /* the oldest that can be seen */
		{ 1000, 990, { 742, 743 }, 0 },		  /* overwritten since */
		{ 1000, 744, { 0, 0 }, 0 },		  /* a full queue: nothing can be seen */
		{ 1000, 743, { 0, 0 }, -EOPNOTSUPP },	  /* more than full */
		{ 3, 5, { 0, 0 }, -EOPNOTSUPP },	  /* less than none */
	};
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;

	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 0, false);
	assert_int_equal(start(s, &queue), 0);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(table); i++) {
		fill_rings(s, &queue, table[i].avail, table[i].used,
			   table[i].swap[1] ? table[i].swap : NULL);
		assert_int_equal(session_reconnect(s), table[i].wanted);
		if (!table[i].wanted)
			assert_int_equal(peer_nth(&s->peer, BASE, 0).payload[0],
					 (uint64_t)table[i].used << 32);
	}
}

/* The queue is full, and one of those that wait came back already, and is there again. */
static void a_head_that_waits_twice_tells_that_nothing_is_known(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;

	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 0, false);
	assert_int_equal(start(s, &queue), 0);
	fill_rings(s, &queue, 1000, 744, NULL);
	put_u16(s, cvmm_gpa_add(queue.config.avail, 4 + 2 * (999 & 255)), (7 * 800) & 255);
	assert_int_equal(session_reconnect(s), -EOPNOTSUPP);
	put_u16(s, cvmm_gpa_add(queue.config.avail, 4 + 2 * (999 & 255)), 256);
	assert_int_equal(session_reconnect(s), -EOPNOTSUPP);
}

/* Drivers and back-ends have agreed on it. */
static void queues_that_are_in_order_need_not_show_it(void **state)
{
	static const uint16_t swap[2] = { 3, 4 };
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;

	s->peer.features |= CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_IN_ORDER);
	session_begin(s, F_VERSION_1 | CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_IN_ORDER));
	queue = make_queue(s, 0, false);
	assert_int_equal(start(s, &queue), 0);
	fill_rings(s, &queue, 20, 10, swap); /* only the last of a batch has an entry of its own */
	assert_int_equal(session_reconnect(s), 0);
}

/* Nobody knows whether it has served something before it died. */
static bool die_at_kick(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	if (msg->request != KICK)
		return false;
	shutdown(cvmm_vhost_user_conn_fd(peer->conn), SHUT_RDWR);
	return true;
}

static void a_queue_whose_start_was_cut_off_goes_on_from_what_was_given_back(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;

	s->peer.hook = die_at_kick;
	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 0, false);
	assert_int_equal(start(s, &queue), -ECONNRESET);
	assert_true(cvmm_vhost_user_frontend_is_lost(s->fe));
	fill_rings(s, &queue, 4, 3, NULL);
	s->peer.hook = NULL;
	assert_int_equal(session_reconnect(s), 0);
	assert_int_equal(peer_nth(&s->peer, BASE, 0).payload[0], UINT64_C(3) << 32);
	assert_int_equal(peer_count(&s->peer, KICK), 1);
	assert_int_equal(start(s, &queue), -EBUSY);
}

/* All of the region has this byte but where it was cleared. */
#define FILL 0x5a

static bool fill_region(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	uint8_t bytes[2048];

	memset(bytes, FILL, sizeof(bytes));
	if (msg->request == CVMM_VHOST_USER_SET_INFLIGHT_FD) {
		for (uint64_t at = 0; at < peer->inflight_bytes; at += sizeof(bytes))
			if (cvmm_pwrite_full(msg->fds[0], bytes, sizeof(bytes), at))
				abort();
		*(int *)peer->hook_ctx = dup(msg->fds[0]);
	}
	return false;
}

static void a_queue_that_begins_anew_has_nothing_in_flight(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	uint8_t bytes[65536];
	int region = -1;

	s->peer.protocol |= P(INFLIGHT_SHMFD);
	s->peer.hook = fill_region;
	s->peer.hook_ctx = &region;
	session_begin(s, F_VERSION_1);
	assert_int_equal(cvmm_vhost_user_frontend_clear_inflight(s->fe, 1, &s->err), 0);
	assert_int_equal(cvmm_vhost_user_frontend_init_inflight(s->fe, 4, 256, &s->err), 0);
	queue = make_queue(s, 1, false);
	assert_int_equal(start(s, &queue), 0);
	assert_int_equal(cvmm_vhost_user_frontend_clear_inflight(s->fe, 1, &s->err), -EBUSY);
	assert_int_equal(cvmm_vhost_user_frontend_stop_queue(s->fe, 1, false, &queue.base, NULL),
			 0);
	assert_int_equal(cvmm_vhost_user_frontend_clear_inflight(s->fe, 1, &s->err), 0);
	assert_int_equal(cvmm_vhost_user_frontend_clear_inflight(s->fe, 4, &s->err), 0);
	assert_int_equal(cvmm_pread_full(region, bytes, sizeof(bytes), 0), sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], i / 16384 == 1 ? 0 : FILL);
	close(region);
}

static void a_back_end_that_lacks_what_is_in_use_is_another_one(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	uint64_t protocol;

	s->peer.features |= F_PACKED;
	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 0, false);
	assert_int_equal(start(s, &queue), 0);
	protocol = s->peer.protocol;

	s->peer.features &= ~F_VERSION_1;
	assert_int_equal(session_reconnect(s), -EPROTO);
	assert_true(cvmm_vhost_user_frontend_is_lost(s->fe));
	s->peer.features |= F_VERSION_1;
	s->peer.protocol = protocol & ~P(CONFIG);
	assert_int_equal(session_reconnect(s), -EPROTO);
	assert_non_null(strstr(s->err.message, "CONFIG"));
	s->peer.protocol = protocol;
	s->peer.queue_num = 1;
	assert_int_equal(session_reconnect(s), -EPROTO);
	s->peer.queue_num = 4;
	/* One that has more is fine; what is not in use is not taken into use. */
	s->peer.protocol |= P(STATUS);
	assert_int_equal(session_reconnect(s), 0);
	assert_int_equal(peer_protocol(&s->peer, s->fe), protocol);
	assert_false(cvmm_vhost_user_frontend_is_lost(s->fe));
}

static void a_back_end_that_refuses_at_reconnection_is_given_up(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	uint64_t features;

	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 0, false);
	assert_int_equal(start(s, &queue), 0);
	s->peer.nacked = ENABLE;
	assert_int_equal(session_reconnect(s), -EREMOTEIO);
	assert_true(cvmm_vhost_user_frontend_is_lost(s->fe));
	assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, NULL),
			 -ECONNRESET);
	s->peer.nacked = 0;
	assert_int_equal(session_reconnect(s), 0);
	assert_int_equal(peer_count(&s->peer, KICK), 1);
}

static void no_socket_at_reconnection_can_be_tried_again(void **state)
{
	struct session *s = *state;
	uint64_t features;

	session_begin(s, F_VERSION_1);
	assert_int_equal(cvmm_vhost_user_frontend_reconnect(s->fe, test_file(), &s->err),
			 -ENOTSOCK);
	assert_true(cvmm_vhost_user_frontend_is_lost(s->fe));
	assert_int_equal(cvmm_vhost_user_frontend_fd(s->fe), -1);
	assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, NULL),
			 -ECONNRESET);
	assert_int_equal(session_reconnect(s), 0);
}

static void a_split_queue_behind_an_iommu_cannot_go_on(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;

	s->peer.features |= F_PLATFORM;
	session_begin(s, F_VERSION_1 | F_PLATFORM);
	queue = make_queue(s, 0, false);
	assert_int_equal(start(s, &queue), 0);
	assert_int_equal(session_reconnect(s), -EOPNOTSUPP);
}

/* ---- packed queues and another back-end ---- */

static void put_packed(struct session *s, const struct cvmm_vhost_user_queue *queue, uint16_t at,
		       uint16_t flags)
{
	struct cvmm_virtq_packed_desc desc = {
		.addr = cvmm_le64_from(0x100000),
		.len = cvmm_le32_from(16),
		.id = cvmm_le16_from(at),
		.flags = cvmm_le16_from(flags),
	};

	assert_int_equal(cvmm_mem_write(s->mem, cvmm_gpa_add(queue->config.desc, at * UINT64_C(16)),
					&desc, sizeof(desc)),
			 0);
}

static void a_packed_queue_that_gave_nothing_back_goes_on_from_its_start(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;

	s->peer.features |= F_PACKED;
	session_begin(s, F_VERSION_1 | F_PACKED);
	queue = make_queue(s, 0, true);
	assert_int_equal(start(s, &queue), 0);
	assert_int_equal(session_reconnect(s), 0);
	assert_int_equal(peer_last(&s->peer, BASE).payload[0] >> 32, 0x80008000);
	for (uint16_t i = 0; i < 3; i++)
		put_packed(s, &queue, i, CVMM_VIRTQ_DESC_F_AVAIL);
	assert_int_equal(session_reconnect(s), 0);
}

static void a_packed_queue_that_ran_cannot_go_on_without_an_inflight_region(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;

	s->peer.features |= F_PACKED;
	session_begin(s, F_VERSION_1 | F_PACKED);
	queue = make_queue(s, 0, true);
	assert_int_equal(start(s, &queue), 0);
	put_packed(s, &queue, 0, CVMM_VIRTQ_DESC_F_AVAIL | CVMM_VIRTQ_DESC_F_USED);
	put_packed(s, &queue, 1, CVMM_VIRTQ_DESC_F_AVAIL);
	assert_int_equal(session_reconnect(s), -EOPNOTSUPP);
	assert_non_null(strstr(s->err.message, "inflight"));
	/* Two turns later it looks alike, but for what is left behind it. */
	put_packed(s, &queue, 0, CVMM_VIRTQ_DESC_F_AVAIL);
	for (uint16_t i = 1; i < 256; i++)
		put_packed(s, &queue, i, 0);
	assert_int_equal(session_reconnect(s), -EOPNOTSUPP);
	/* As many as the ring has: nobody knows in which turn. */
	for (uint16_t i = 0; i < 256; i++)
		put_packed(s, &queue, i, CVMM_VIRTQ_DESC_F_AVAIL);
	assert_int_equal(session_reconnect(s), -EOPNOTSUPP);
	/* Nothing was sent. */
	assert_int_equal(peer_seen_count(&s->peer), 0);
}

struct packed_part {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t free_head;
	uint16_t old_free_head;
	uint16_t used_idx;
	uint16_t old_used_idx;
	uint8_t used_wrap;
	uint8_t old_used_wrap;
};

static bool write_part(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	const struct packed_part *part = peer->hook_ctx;

	if (msg->request == CVMM_VHOST_USER_SET_INFLIGHT_FD)
		(void)!pwrite(msg->fds[0], part, sizeof(*part), 65536 / 2);
	return false;
}

static void a_packed_queue_goes_on_from_what_its_inflight_region_says(void **state)
{
	struct session *s = *state;
	struct packed_part part = { .version = 1,
				    .desc_num = 256,
				    .used_idx = 12,
				    .old_used_idx = 11,
				    .used_wrap = 0,
				    .old_used_wrap = 0 };
	struct cvmm_vhost_user_queue queue;

	s->peer.hook = write_part;
	s->peer.hook_ctx = &part;
	begin_packed(s);
	assert_int_equal(cvmm_vhost_user_frontend_init_inflight(s->fe, 2, 256, &s->err), 0);
	queue = make_queue(s, 1, true);
	assert_int_equal(start(s, &queue), 0);
	put_packed(s, &queue, 0, CVMM_VIRTQ_DESC_F_AVAIL | CVMM_VIRTQ_DESC_F_USED);
	assert_int_equal(session_reconnect(s), 0);
	assert_int_equal(peer_nth(&s->peer, BASE, 0).payload[0], UINT64_C(0x000b000b) << 32 | 1);
	/* A region that says nothing sensible. */
	part.old_used_idx = 256;
	assert_int_equal(session_reconnect(s), 0); /* it is written after that is looked at */
	assert_int_equal(session_reconnect(s), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SESSION_TEST(a_queue_starts_in_the_order_that_all_back_ends_can_do_with),
		SESSION_TEST(without_protocol_features_queues_are_enabled_already),
		SESSION_TEST(what_polls_has_no_descriptors_and_says_so),
		SESSION_TEST(in_band_queues_are_started_by_a_message),
		SESSION_TEST(queue_numbers_above_255_are_refused_here),
		SESSION_TEST(split_queues_have_a_power_of_two_and_packed_ones_any_number),
		SESSION_TEST(
			a_ring_that_ends_with_memory_is_fine_and_one_that_crosses_a_hole_is_not),
		SESSION_TEST(rings_that_are_not_aligned_are_refused),
		SESSION_TEST(with_gpa_addresses_rings_and_regions_have_guest_addresses),
		SESSION_TEST(behind_an_iommu_rings_have_addresses_of_their_own),
		SESSION_TEST(a_queue_that_is_refused_is_not_left_running),
		SESSION_TEST(a_kick_that_would_wait_is_left_out),
		SESSION_TEST(stopping_tells_where_a_split_queue_was),
		SESSION_TEST(a_base_that_a_split_queue_cannot_have_ends_the_connection),
		SESSION_TEST(the_base_of_another_queue_ends_the_connection),
		SESSION_TEST(a_packed_base_has_two_indices_and_two_wrap_counters),
		SESSION_TEST(a_packed_base_of_one_half_is_taken_for_both_where_all_is_drained),
		SESSION_TEST(a_packed_base_outside_of_the_ring_ends_the_connection),
		SESSION_TEST(a_drain_cannot_be_skipped_without_its_feature),
		SESSION_TEST(a_device_state_is_not_transferred_while_queues_run),
		SESSION_TEST(all_queues_have_a_base_before_the_inflight_region_comes),
		SESSION_TEST(inflight_regions_that_cannot_be_are_refused),
		SESSION_TEST(an_inflight_region_comes_after_features_and_before_queues),
		SESSION_TEST(all_that_was_set_is_set_again),
		SESSION_TEST(the_next_back_end_gets_the_same_inflight_region),
		SESSION_TEST(what_was_given_back_out_of_order_tells_nothing_about_the_rest),
		SESSION_TEST(a_head_that_waits_twice_tells_that_nothing_is_known),
		SESSION_TEST(queues_that_are_in_order_need_not_show_it),
		SESSION_TEST(a_queue_whose_start_was_cut_off_goes_on_from_what_was_given_back),
		SESSION_TEST(a_queue_that_begins_anew_has_nothing_in_flight),
		SESSION_TEST(a_back_end_that_lacks_what_is_in_use_is_another_one),
		SESSION_TEST(a_back_end_that_refuses_at_reconnection_is_given_up),
		SESSION_TEST(no_socket_at_reconnection_can_be_tried_again),
		SESSION_TEST(a_split_queue_behind_an_iommu_cannot_go_on),
		SESSION_TEST(a_packed_queue_that_gave_nothing_back_goes_on_from_its_start),
		SESSION_TEST(a_packed_queue_that_ran_cannot_go_on_without_an_inflight_region),
		SESSION_TEST(a_packed_queue_goes_on_from_what_its_inflight_region_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
