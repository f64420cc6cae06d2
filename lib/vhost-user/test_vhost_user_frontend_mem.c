// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The front-end: sharing memory, the log of writes to it, and post-copy. */
#include "test_vhost_user_frontend.h"

#define TABLE CVMM_VHOST_USER_SET_MEM_TABLE
#define ADD CVMM_VHOST_USER_ADD_MEM_REG
#define REMOVE CVMM_VHOST_USER_REM_MEM_REG

static int set_mem(struct session *s, struct cvmm_mem *mem)
{
	return cvmm_vhost_user_frontend_set_mem(s->fe, mem, &s->err);
}

static struct cvmm_vhost_user_mem_region slot_of(const struct peer_seen *seen)
{
	struct cvmm_vhost_user_mem_slot slot;

	memcpy(&slot, seen->payload, sizeof(slot));
	return slot.region;
}

static struct cvmm_mem_config region_config(uint64_t gpa)
{
	return (struct cvmm_mem_config){ .gpa = cvmm_gpa_from(gpa),
					 .len_bytes = REGION_BYTES,
					 .kind = CVMM_MEM_MEMFD,
					 .access = CVMM_ACCESS_READ_WRITE };
}

/* Replaces the session's map. */
static void take_map(struct session *s, struct cvmm_mem *mem)
{
	cvmm_mem_unref(s->mem);
	s->mem = mem;
}

static void insert(struct session *s, uint64_t gpa)
{
	struct cvmm_mem_config config = region_config(gpa);
	struct cvmm_mem *mem = NULL;

	assert_int_equal(cvmm_mem_insert(s->mem, &config, &mem, NULL), 0);
	take_map(s, mem);
}

static void without(struct session *s, uint64_t gpa)
{
	struct cvmm_mem *mem = NULL;

	assert_int_equal(cvmm_mem_remove(s->mem, cvmm_gpa_from(gpa), REGION_BYTES, &mem, NULL), 0);
	take_map(s, mem);
}

/* ---- tables ---- */

static void regions_have_the_addresses_of_this_process(void **state)
{
	struct session *s = *state;
	struct peer_seen seen;

	session_negotiate(s);
	s->mem = make_mem(3);
	assert_int_equal(set_mem(s, s->mem), 0);
	seen = peer_last(&s->peer, TABLE);
	assert_int_equal(seen.size, 8 + 3 * 32);
	assert_int_equal(seen.fd_count, 3);
	assert_int_equal((uint32_t)seen.payload[0], 3);
	for (unsigned int i = 0; i < 3; i++) {
		const struct cvmm_mem_region *region = cvmm_mem_region_at(s->mem, i);

		assert_int_equal(seen.payload[1 + 4 * i], region->gpa);
		assert_int_equal(seen.payload[2 + 4 * i], REGION_BYTES);
		assert_int_equal(seen.payload[3 + 4 * i], (uintptr_t)region->host);
		assert_int_equal(seen.payload[4 + 4 * i], region->fd_offset);
	}
}

static void a_table_has_as_many_regions_as_all_back_ends_can_do_with(void **state)
{
	struct session *s = *state;

	session_negotiate(s);
	s->mem = make_mem(8);
	assert_int_equal(set_mem(s, s->mem), 0);
	take_map(s, make_mem(9));
	assert_int_equal(set_mem(s, s->mem), -E2BIG);
	assert_non_null(strstr(s->err.message, "9 regions"));
	assert_int_equal(peer_count(&s->peer, TABLE), 1);
}

static void a_table_has_more_regions_if_the_caller_says_so(void **state)
{
	struct session *s = *state;
	struct cvmm_mem_config configs[CVMM_VHOST_USER_TABLE_REGIONS_MAX];

	for (unsigned int i = 0; i < CVMM_VHOST_USER_TABLE_REGIONS_MAX; i++) {
		configs[i] = region_config(2 * i * REGION_BYTES);
		configs[i].len_bytes = 4096;
	}
	s->config.table_regions = CVMM_VHOST_USER_TABLE_REGIONS_MAX;
	session_negotiate(s);
	assert_int_equal(cvmm_mem_create(configs, CVMM_VHOST_USER_TABLE_REGIONS_MAX, &s->mem, NULL),
			 0);
	assert_int_equal(set_mem(s, s->mem), 0);
	assert_int_equal(peer_last(&s->peer, TABLE).fd_count, CVMM_VHOST_USER_TABLE_REGIONS_MAX);
}

static void memory_without_a_descriptor_cannot_be_shared(void **state)
{
	struct session *s = *state;
	struct cvmm_mem_config config = region_config(0);

	session_negotiate(s);
	config.kind = CVMM_MEM_ANONYMOUS;
	assert_int_equal(cvmm_mem_create(&config, 1, &s->mem, NULL), 0);
	assert_int_equal(set_mem(s, s->mem), -EINVAL);
	assert_non_null(strstr(s->err.message, "no descriptor"));
	assert_int_equal(peer_count(&s->peer, TABLE), 0);
}

static void a_map_without_the_rings_of_a_queue_is_refused(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;

	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 0, false);
	assert_int_equal(cvmm_vhost_user_frontend_start_queue(s->fe, &queue, &s->err), 0);
	without(s, 0);
	assert_int_equal(set_mem(s, s->mem), -EINVAL);
	assert_int_equal(peer_count(&s->peer, TABLE), 1);
	assert_int_equal(cvmm_vhost_user_frontend_stop_queue(s->fe, 0, false, &queue.base, NULL),
			 0);
	assert_int_equal(set_mem(s, s->mem), 0);
}

/* ---- slots ---- */

static void with_slots_only_what_has_changed_is_sent(void **state)
{
	struct session *s = *state;
	struct peer_seen seen;
	unsigned int before;

	s->peer.protocol |= P(CONFIGURE_MEM_SLOTS);
	session_negotiate(s);
	s->mem = make_mem(3);
	before = peer_seen_count(&s->peer);
	assert_int_equal(set_mem(s, s->mem), 0);
	peer_saw(&s->peer, before, (uint32_t[]){ CVMM_VHOST_USER_GET_MAX_MEM_SLOTS, ADD, ADD, ADD },
		 4);
	seen = peer_last(&s->peer, ADD);
	assert_int_equal(seen.fd_count, 1);
	assert_int_equal(slot_of(&seen).gpa, 3 * REGION_BYTES);

	insert(s, 16 * REGION_BYTES);
	before = peer_seen_count(&s->peer);
	assert_int_equal(set_mem(s, s->mem), 0);
	peer_saw(&s->peer, before, (uint32_t[]){ CVMM_VHOST_USER_GET_MAX_MEM_SLOTS, ADD }, 2);
	seen = peer_last(&s->peer, ADD);
	assert_int_equal(slot_of(&seen).gpa, 16 * REGION_BYTES);

	without(s, 3 * REGION_BYTES);
	before = peer_seen_count(&s->peer);
	assert_int_equal(set_mem(s, s->mem), 0);
	peer_saw(&s->peer, before, (uint32_t[]){ CVMM_VHOST_USER_GET_MAX_MEM_SLOTS, REMOVE }, 2);
	seen = peer_last(&s->peer, REMOVE);
	assert_int_equal(seen.fd_count, 0);
	assert_int_equal(slot_of(&seen).gpa, 3 * REGION_BYTES);
	assert_int_equal(peer_count(&s->peer, TABLE), 0);
}

/* The same place, and other memory: with guest addresses only the file tells. */
static void a_region_that_was_replaced_is_removed_before_it_is_added(void **state)
{
	struct session *s = *state;
	unsigned int before;

	s->peer.protocol |= P(CONFIGURE_MEM_SLOTS) | P(GPA_ADDRESSES);
	session_negotiate(s);
	s->mem = make_mem(3);
	assert_int_equal(set_mem(s, s->mem), 0);
	without(s, 3 * REGION_BYTES);
	insert(s, 3 * REGION_BYTES);
	before = peer_seen_count(&s->peer);
	assert_int_equal(set_mem(s, s->mem), 0);
	peer_saw(&s->peer, before, (uint32_t[]){ CVMM_VHOST_USER_GET_MAX_MEM_SLOTS, REMOVE, ADD },
		 3);
}

static void more_regions_than_slots_are_refused_here(void **state)
{
	struct session *s = *state;
	uint64_t slots = 0;

	s->peer.protocol |= P(CONFIGURE_MEM_SLOTS);
	s->peer.max_slots = 3;
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_get_max_mem_slots(s->fe, &slots, NULL), 0);
	assert_int_equal(slots, 3);
	s->mem = make_mem(4);
	assert_int_equal(set_mem(s, s->mem), -E2BIG);
	assert_int_equal(peer_count(&s->peer, ADD), 0);
	take_map(s, make_mem(3));
	assert_int_equal(set_mem(s, s->mem), 0);
}

static void more_regions_than_a_table_has_fit_into_slots(void **state)
{
	struct session *s = *state;

	s->peer.protocol |= P(CONFIGURE_MEM_SLOTS);
	session_negotiate(s);
	s->mem = make_mem(16);
	assert_int_equal(set_mem(s, s->mem), 0);
	assert_int_equal(peer_count(&s->peer, ADD), 16);
}

static void after_a_refused_region_what_is_there_is_known(void **state)
{
	struct session *s = *state;
	struct peer_seen seen;
	unsigned int before;

	s->peer.protocol |= P(CONFIGURE_MEM_SLOTS);
	session_negotiate(s);
	s->mem = make_mem(4);
	s->peer.nacked = ADD;
	s->peer.nack_after = 3;
	assert_int_equal(set_mem(s, s->mem), -EREMOTEIO);
	assert_int_equal(peer_count(&s->peer, ADD), 3);
	s->peer.nacked = 0;
	/* Two are there. One of them is no longer wanted. */
	without(s, 0);
	before = peer_seen_count(&s->peer);
	assert_int_equal(set_mem(s, s->mem), 0);
	peer_saw(&s->peer, before,
		 (uint32_t[]){ CVMM_VHOST_USER_GET_MAX_MEM_SLOTS, REMOVE, ADD, ADD }, 4);
	seen = peer_last(&s->peer, REMOVE);
	assert_int_equal(slot_of(&seen).gpa, 0);
}

static void the_next_back_end_gets_all_regions(void **state)
{
	struct session *s = *state;

	s->peer.protocol |= P(CONFIGURE_MEM_SLOTS);
	session_negotiate(s);
	s->mem = make_mem(3);
	assert_int_equal(set_mem(s, s->mem), 0);
	assert_int_equal(session_reconnect(s), 0);
	assert_int_equal(peer_count(&s->peer, ADD), 3);
	assert_int_equal(set_mem(s, s->mem), 0);
	assert_int_equal(peer_count(&s->peer, ADD), 3);
}

/* ---- the log ---- */

struct log_plan {
	size_t len;
	uint64_t words[2];
};

static bool answer_log(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	const struct log_plan *plan = peer->hook_ctx;

	if (msg->request != CVMM_VHOST_USER_SET_LOG_BASE)
		return false;
	peer_answer(peer, msg->request, plan->words, plan->len);
	return true;
}

static int make_log(off_t bytes)
{
	int fd = test_file();

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, bytes), 0);
	return fd;
}

static void a_log_is_acknowledged_in_three_ways_and_refused_in_two(void **state)
{
	static const struct {
		struct log_plan plan;
		int wanted;
	} cases[] = {
		{ { 0, { 0 } }, 0 },
		{ { 8, { 0 } }, 0 },
		{ { 16, { 4096, 0 } }, 0 },
		{ { 8, { 1 } }, -EREMOTEIO },
		{ { 16, { 0, 0 } }, -EREMOTEIO },
		{ { 4, { 0 } }, -EPROTO },
	};
	struct session *s = *state;
	int fd = make_log(4096);

	s->peer.protocol |= P(LOG_SHMFD);
	session_begin(s, F_VERSION_1);
	s->peer.hook = answer_log;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(cases); i++) {
		s->peer.hook_ctx = (void *)(uintptr_t)&cases[i].plan;
		assert_int_equal(cvmm_vhost_user_frontend_set_log(s->fe, fd, 0, 4096, &s->err),
				 cases[i].wanted);
	}
	assert_int_equal(peer_last(&s->peer, CVMM_VHOST_USER_SET_LOG_BASE).payload[0], 4096);
	close(fd);
}

static void a_log_must_reach_up_to_the_end_of_memory_and_lie_in_its_file(void **state)
{
	struct session *s = *state;
	/* 2 MiB are 512 pages, in 64 bytes. */
	int fd = make_log(128);

	s->peer.protocol |= P(LOG_SHMFD);
	session_begin(s, F_VERSION_1);
	assert_int_equal(cvmm_vhost_user_frontend_set_log(s->fe, fd, 0, 63, &s->err), -EINVAL);
	assert_int_equal(cvmm_vhost_user_frontend_set_log(s->fe, fd, 0, 0, &s->err), -EINVAL);
	assert_int_equal(cvmm_vhost_user_frontend_set_log(s->fe, fd, 65, 64, &s->err), -EINVAL);
	assert_int_equal(cvmm_vhost_user_frontend_set_log(s->fe, fd, UINT64_MAX, 64, &s->err),
			 -EINVAL);
	assert_int_equal(cvmm_vhost_user_frontend_set_log(s->fe, fd, 64, 64, &s->err), 0);
	/* And so must that of a map that comes later. */
	insert(s, 2 * REGION_BYTES);
	assert_int_equal(set_mem(s, s->mem), -EINVAL);
	assert_non_null(strstr(s->err.message, "log"));
	assert_int_equal(cvmm_vhost_user_frontend_set_log(s->fe, fd, 0, 96, &s->err), 0);
	assert_int_equal(set_mem(s, s->mem), 0);
	close(fd);
}

static void a_log_needs_its_feature(void **state)
{
	struct session *s = *state;
	int fd = make_log(4096);

	session_begin(s, F_VERSION_1);
	assert_int_equal(cvmm_vhost_user_frontend_set_log(s->fe, fd, 0, 4096, &s->err),
			 -EOPNOTSUPP);
	assert_int_equal(cvmm_vhost_user_frontend_set_logging(s->fe, true, &s->err), -EINVAL);
	close(fd);
}

static void logging_is_switched_on_and_off_with_the_flag_of_each_ring(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;
	struct cvmm_vhost_user_vring_addr addr;
	struct peer_seen seen;
	unsigned int before;
	int fd = make_log(4096);

	s->peer.protocol |= P(LOG_SHMFD);
	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 1, false);
	assert_int_equal(cvmm_vhost_user_frontend_start_queue(s->fe, &queue, &s->err), 0);
	assert_int_equal(cvmm_vhost_user_frontend_set_log(s->fe, fd, 0, 4096, &s->err), 0);
	close(fd);
	for (unsigned int round = 0; round < 4; round++) {
		bool on = round % 2 == 0;

		before = peer_seen_count(&s->peer);
		assert_int_equal(cvmm_vhost_user_frontend_set_logging(s->fe, on, &s->err), 0);
		/* No log base again: it is still the same. */
		peer_saw(&s->peer, before,
			 (uint32_t[]){ CVMM_VHOST_USER_SET_FEATURES,
				       CVMM_VHOST_USER_SET_VRING_ADDR },
			 2);
		assert_int_equal(peer_last(&s->peer, CVMM_VHOST_USER_SET_FEATURES).payload[0],
				 F_VERSION_1 | F_PROTOCOL | (on ? F_LOG_ALL : 0));
		seen = peer_last(&s->peer, CVMM_VHOST_USER_SET_VRING_ADDR);
		memcpy(&addr, seen.payload, sizeof(addr));
		assert_int_equal(addr.flags, on ? CVMM_VHOST_USER_VRING_F_LOG : 0);
		assert_int_equal(addr.log, queue.config.used.addr);
	}
	/* A refusal leaves it as it was. */
	s->peer.nacked = CVMM_VHOST_USER_SET_FEATURES;
	assert_int_equal(cvmm_vhost_user_frontend_set_logging(s->fe, true, &s->err), -EREMOTEIO);
	s->peer.nacked = 0;
	assert_int_equal(session_reconnect(s), 0);
	assert_int_equal(peer_last(&s->peer, CVMM_VHOST_USER_SET_FEATURES).payload[0],
			 F_VERSION_1 | F_PROTOCOL);
}

static void the_next_back_end_logs_on(void **state)
{
	struct session *s = *state;
	int fd = make_log(4096), event = eventfd(0, EFD_CLOEXEC);

	s->peer.protocol |= P(LOG_SHMFD);
	session_begin(s, F_VERSION_1);
	assert_int_equal(cvmm_vhost_user_frontend_set_log(s->fe, fd, 0, 4096, &s->err), 0);
	assert_int_equal(cvmm_vhost_user_frontend_set_log_fd(s->fe, event, &s->err), 0);
	assert_int_equal(cvmm_vhost_user_frontend_set_logging(s->fe, true, &s->err), 0);
	close(fd);
	close(event);
	assert_int_equal(session_reconnect(s), 0);
	assert_int_equal(peer_last(&s->peer, CVMM_VHOST_USER_SET_LOG_BASE).fd_count, 1);
	assert_int_equal(peer_last(&s->peer, CVMM_VHOST_USER_SET_LOG_FD).fd_count, 1);
	assert_int_equal(peer_last(&s->peer, CVMM_VHOST_USER_SET_FEATURES).payload[0],
			 F_VERSION_1 | F_PROTOCOL | F_LOG_ALL);
	/* The end of the log is the end of logging. */
	assert_int_equal(cvmm_vhost_user_frontend_set_log(s->fe, -1, 0, 0, &s->err), 0);
	assert_int_equal(peer_last(&s->peer, CVMM_VHOST_USER_SET_FEATURES).payload[0],
			 F_VERSION_1 | F_PROTOCOL);
	assert_int_equal(session_reconnect(s), 0);
	assert_int_equal(peer_count(&s->peer, CVMM_VHOST_USER_SET_LOG_BASE), 0);
}

/* ---- post-copy ---- */

/* Answers tables with other addresses, and waits for the acknowledgement as real back-ends do. */
static bool do_postcopy(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	struct cvmm_vhost_user_mem_region *regions =
		(struct cvmm_vhost_user_mem_region *)(msg->payload + 1);
	int change = *(int *)peer->hook_ctx, fd;

	if (msg->request == CVMM_VHOST_USER_POSTCOPY_ADVISE) {
		fd = test_file();
		peer_answer_fds(peer, msg->request, NULL, 0, &fd, change == 1 ? 0 : 1);
		close(fd);
		return true;
	}
	/* The acknowledgement has no answer. */
	if (msg->request == TABLE && msg->size == 8)
		return true;
	if (msg->request == CVMM_VHOST_USER_POSTCOPY_END && change == 5) {
		peer_answer_u64(peer, msg->request, 1);
		return true;
	}
	if (msg->request != TABLE || !peer_count(peer, CVMM_VHOST_USER_POSTCOPY_LISTEN))
		return false;
	for (uint32_t i = 0; i < (uint32_t)msg->payload[0]; i++)
		regions[i].user_addr = UINT64_C(0x7f0000000000) + i * 0x10000000;
	if (change == 2)
		regions[1].gpa++;
	if (change == 3)
		regions[0].user_addr = UINT64_MAX;
	if (change == 4)
		msg->payload[0] = 1;
	peer_answer(peer, msg->request, msg->payload, change == 4 ? 40 : msg->size);
	return true;
}

static void begin_postcopy(struct session *s, int *change)
{
	s->peer.protocol |= P(PAGEFAULT);
	s->peer.hook = do_postcopy;
	s->peer.hook_ctx = change;
	session_begin(s, F_VERSION_1);
}

static void post_copy_goes_from_advice_to_its_end(void **state)
{
	struct session *s = *state;
	int change = 0, uffd = -1;
	uint64_t addr = 0, features;
	struct peer_seen seen;

	begin_postcopy(s, &change);
	assert_int_equal(cvmm_vhost_user_frontend_postcopy_region(s->fe, 0, &addr), -ENOENT);
	assert_int_equal(cvmm_vhost_user_frontend_postcopy_advise(s->fe, &uffd, &s->err), 0);
	assert_true(uffd >= 0);
	cvmm_close_fd(&uffd);
	assert_int_equal(cvmm_vhost_user_frontend_postcopy_ack(s->fe, &s->err), -EINVAL);
	assert_int_equal(cvmm_vhost_user_frontend_postcopy_listen(s->fe, &s->err), 0);
	assert_int_equal(set_mem(s, s->mem), 0);
	assert_int_equal(peer_last(&s->peer, TABLE).flags, CVMM_VHOST_USER_VERSION);
	assert_int_equal(cvmm_vhost_user_frontend_postcopy_region(s->fe, 1, &addr), 0);
	assert_int_equal(addr, UINT64_C(0x7f0010000000));
	assert_int_equal(cvmm_vhost_user_frontend_postcopy_region(s->fe, 2, &addr), -ENOENT);
	/* The back-end waits for nothing else now. */
	assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, &s->err), -EBUSY);
	assert_int_equal(cvmm_vhost_user_frontend_postcopy_ack(s->fe, &s->err), 0);
	assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, &s->err), 0);
	seen = peer_last(&s->peer, TABLE);
	assert_int_equal(seen.size, 8);
	assert_int_equal(seen.payload[0], 0);
	assert_int_equal(seen.flags, CVMM_VHOST_USER_VERSION);
	assert_int_equal(session_reconnect(s), -EINVAL);
	assert_int_equal(cvmm_vhost_user_frontend_is_lost(s->fe), false);
}

static void the_end_of_post_copy_is_always_answered(void **state)
{
	struct session *s = *state;
	int change = 0;

	begin_postcopy(s, &change);
	assert_int_equal(cvmm_vhost_user_frontend_postcopy_listen(s->fe, &s->err), 0);
	assert_int_equal(cvmm_vhost_user_frontend_postcopy_end(s->fe, &s->err), 0);
	assert_true(peer_last(&s->peer, CVMM_VHOST_USER_POSTCOPY_END).flags &
		    CVMM_VHOST_USER_FLAG_NEED_REPLY);
	assert_int_equal(cvmm_vhost_user_frontend_postcopy_listen(s->fe, &s->err), 0);
	change = 5;
	assert_int_equal(cvmm_vhost_user_frontend_postcopy_end(s->fe, &s->err), -EREMOTEIO);
	/* Tables have no answer of their own any more, and a back-end may come back. */
	s->peer.hook = NULL;
	assert_int_equal(set_mem(s, s->mem), 0);
	assert_int_equal(session_reconnect(s), 0);
}

static void regions_of_post_copy_that_are_not_ours_end_the_connection(void **state)
{
	struct session *s = *state;
	int change = 1, uffd = -1;

	begin_postcopy(s, &change);
	assert_int_equal(cvmm_vhost_user_frontend_postcopy_advise(s->fe, &uffd, &s->err),
			 -EREMOTEIO);
	assert_int_equal(uffd, -1);
	for (change = 2; change <= 4; change++) {
		assert_int_equal(cvmm_vhost_user_frontend_postcopy_listen(s->fe, &s->err), 0);
		assert_int_equal(set_mem(s, s->mem), -EPROTO);
		assert_true(cvmm_vhost_user_frontend_is_lost(s->fe));
		cvmm_vhost_user_frontend_destroy(s->fe);
		s->fe = NULL;
		peer_stop(&s->peer);
		session_negotiate(s);
	}
}

static void post_copy_is_not_possible_with_slots(void **state)
{
	struct session *s = *state;
	int uffd;

	s->peer.protocol |= P(PAGEFAULT) | P(CONFIGURE_MEM_SLOTS);
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_postcopy_advise(s->fe, &uffd, &s->err),
			 -EOPNOTSUPP);
	assert_int_equal(cvmm_vhost_user_frontend_postcopy_listen(s->fe, &s->err), -EOPNOTSUPP);
	assert_int_equal(cvmm_vhost_user_frontend_postcopy_end(s->fe, &s->err), -EOPNOTSUPP);
	assert_int_equal(peer_count(&s->peer, CVMM_VHOST_USER_POSTCOPY_ADVISE), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SESSION_TEST(regions_have_the_addresses_of_this_process),
		SESSION_TEST(a_table_has_as_many_regions_as_all_back_ends_can_do_with),
		SESSION_TEST(a_table_has_more_regions_if_the_caller_says_so),
		SESSION_TEST(memory_without_a_descriptor_cannot_be_shared),
		SESSION_TEST(a_map_without_the_rings_of_a_queue_is_refused),
		SESSION_TEST(with_slots_only_what_has_changed_is_sent),
		SESSION_TEST(a_region_that_was_replaced_is_removed_before_it_is_added),
		SESSION_TEST(more_regions_than_slots_are_refused_here),
		SESSION_TEST(more_regions_than_a_table_has_fit_into_slots),
		SESSION_TEST(after_a_refused_region_what_is_there_is_known),
		SESSION_TEST(the_next_back_end_gets_all_regions),
		SESSION_TEST(a_log_is_acknowledged_in_three_ways_and_refused_in_two),
		SESSION_TEST(a_log_must_reach_up_to_the_end_of_memory_and_lie_in_its_file),
		SESSION_TEST(a_log_needs_its_feature),
		SESSION_TEST(logging_is_switched_on_and_off_with_the_flag_of_each_ring),
		SESSION_TEST(the_next_back_end_logs_on),
		SESSION_TEST(post_copy_goes_from_advice_to_its_end),
		SESSION_TEST(the_end_of_post_copy_is_always_answered),
		SESSION_TEST(regions_of_post_copy_that_are_not_ours_end_the_connection),
		SESSION_TEST(post_copy_is_not_possible_with_slots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
