// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The front-end: requests of the back-end, and several threads. */
#include "test_vhost_user_frontend.h"

#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>

#define IOTLB CVMM_VHOST_USER_BACKEND_IOTLB_MSG
#define CONFIG_CHANGE CVMM_VHOST_USER_BACKEND_CONFIG_CHANGE_MSG
#define NOTIFIER CVMM_VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG
#define LOOKUP CVMM_VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP
#define SHMEM_MAP CVMM_VHOST_USER_BACKEND_SHMEM_MAP

/* What the handlers were asked. */
struct asked {
	struct cvmm_vhost_user_frontend *fe;
	unsigned int config_changes;
	unsigned int calls;
	unsigned int errs;
	unsigned int maps;
	unsigned int unmaps;
	unsigned int adds;
	unsigned int removals;
	pthread_t thread;
	struct cvmm_iotlb_op op;
	unsigned int notifier_queue;
	int notifier_fd;
	uint8_t config[4];
	int nested;
	int object;
};

static unsigned int changes(const struct asked *asked)
{
	return __atomic_load_n(&asked->config_changes, __ATOMIC_ACQUIRE);
}

static int on_config_changed(void *ctx)
{
	struct asked *asked = ctx;

	asked->thread = pthread_self();
	__atomic_add_fetch(&asked->config_changes, 1, __ATOMIC_RELEASE);
	return 0;
}

/* As a VMM would: what has changed is read at once. */
static int on_config_changed_get(void *ctx)
{
	struct asked *asked = ctx;

	asked->nested = cvmm_vhost_user_frontend_get_config(asked->fe, 0, asked->config,
							    sizeof(asked->config), NULL);
	return on_config_changed(ctx);
}

static int on_iotlb(void *ctx, const struct cvmm_iotlb_op *op)
{
	struct asked *asked = ctx;
	struct cvmm_iotlb_op update = { .kind = CVMM_IOTLB_UPDATE,
					.iova = op->iova & ~UINT64_C(4095),
					.last = op->iova | 4095,
					.addr = 0x10000,
					.rights = op->rights };

	asked->op = *op;
	if (op->kind == CVMM_IOTLB_MISS)
		asked->nested = cvmm_vhost_user_frontend_iotlb(asked->fe, &update, NULL);
	return asked->nested;
}

static int on_host_notifier(void *ctx, unsigned int queue, int fd, uint64_t offset,
			    uint64_t size_bytes)
{
	struct asked *asked = ctx;

	(void)offset;
	(void)size_bytes;
	cvmm_close_fd(&asked->notifier_fd);
	asked->notifier_queue = queue;
	asked->notifier_fd = fd;
	return 0;
}

static int on_call(void *ctx, unsigned int queue)
{
	((struct asked *)ctx)->calls += queue;
	return 0;
}

static int on_err(void *ctx, unsigned int queue)
{
	((struct asked *)ctx)->errs += queue;
	return -EIO;
}

static int on_add(void *ctx, const struct cvmm_vhost_user_uuid *uuid)
{
	((struct asked *)ctx)->adds += uuid->bytes[0];
	return 0;
}

static int on_remove(void *ctx, const struct cvmm_vhost_user_uuid *uuid)
{
	((struct asked *)ctx)->removals += uuid->bytes[0];
	return 0;
}

static int on_unmap(void *ctx, const struct cvmm_vhost_user_mmap *map)
{
	((struct asked *)ctx)->unmaps += map->shmid;
	return 0;
}

static int on_lookup(void *ctx, const struct cvmm_vhost_user_uuid *uuid)
{
	(void)ctx;
	return uuid->bytes[0] ? test_file() : -ENOENT;
}

static int on_map(void *ctx, int fd, const struct cvmm_vhost_user_mmap *map)
{
	struct asked *asked = ctx;

	(void)map;
	asked->maps++;
	return fcntl(fd, F_GETFD) & FD_CLOEXEC ? 0 : -EBADF;
}

static const struct cvmm_vhost_user_frontend_ops all_ops = {
	.size = sizeof(struct cvmm_vhost_user_frontend_ops),
	.iotlb = on_iotlb,
	.config_changed = on_config_changed,
	.host_notifier = on_host_notifier,
	.vring_call = on_call,
	.vring_err = on_err,
	.shared_object_add = on_add,
	.shared_object_remove = on_remove,
	.shared_object_lookup = on_lookup,
	.shmem_map = on_map,
	.shmem_unmap = on_unmap,
};

static const struct cvmm_vhost_user_frontend_ops config_ops = {
	.size = sizeof(struct cvmm_vhost_user_frontend_ops),
	.config_changed = on_config_changed_get,
};

static void begin(struct session *s, struct asked *asked,
		  const struct cvmm_vhost_user_frontend_ops *ops)
{
	*asked = (struct asked){ .notifier_fd = -1, .nested = -1 };
	s->peer.protocol |= P(BACKEND_REQ);
	s->config.ops = ops;
	s->config.ctx = asked;
	session_negotiate(s);
	asked->fe = s->fe;
}

/* ---- what is asked in the middle of a call ------------------------------------------------------ */

/* A request on the channel before the answer to one of the front-end, as @hook_ctx says. */
struct interruption {
	uint32_t request;
	bool need_reply;
	uint64_t payload[8];
	size_t len;
	int fds[CVMM_VHOST_USER_FDS_MAX];
	size_t fd_count;
	int64_t answer;
	unsigned int times;
};

/* GET_FEATURES is answered after the front-end has answered on the channel. */
static bool ask_first(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	struct interruption *what = peer->hook_ctx;
	int fds[CVMM_VHOST_USER_FDS_MAX];

	if (msg->request != CVMM_VHOST_USER_GET_FEATURES || !peer->channel)
		return false;
	for (size_t i = 0; i < what->fd_count; i++)
		fds[i] = what->fds[i];
	for (unsigned int i = 0; i < what->times; i++)
		what->answer = peer_ask(peer, what->request, what->need_reply, what->payload,
					what->len, fds, what->fd_count);
	return false;
}

/* Return: the answer on the channel. */
static int64_t interrupt(struct session *s, struct interruption *what)
{
	uint64_t features = 0;

	what->answer = INT64_MIN;
	what->times = 1;
	s->peer.hook_ctx = what;
	s->peer.hook = ask_first;
	assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, &s->err), 0);
	assert_int_equal(features, s->peer.features);
	return what->answer;
}

static void a_back_end_may_ask_before_it_answers(void **state)
{
	struct session *s = *state;
	struct interruption what = { .request = CONFIG_CHANGE, .need_reply = true };
	struct asked asked;

	begin(s, &asked, &all_ops);
	assert_int_equal(interrupt(s, &what), 0);
	assert_int_equal(changes(&asked), 1);
}

static void a_handler_may_make_requests_of_its_own(void **state)
{
	struct session *s = *state;
	struct interruption what = { .request = CONFIG_CHANGE };
	struct asked asked;
	uint64_t features;

	begin(s, &asked, &config_ops);
	/* The answers come in the order of the requests: first that of the call in whose middle it is. */
	assert_int_equal(interrupt(s, &what), 0);
	s->peer.hook = NULL;
	/* What came too late for that call is handled in the next one. */
	while (!changes(&asked))
		assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, NULL), 0);
	assert_int_equal(asked.nested, 0);
	assert_int_equal(asked.config[3], 4);
}

static void what_has_no_handler_is_refused(void **state)
{
	struct session *s = *state;
	struct interruption what = { .request = CONFIG_CHANGE, .need_reply = true };
	struct asked asked;

	begin(s, &asked, NULL);
	assert_int_equal(interrupt(s, &what), -EOPNOTSUPP);
	what.need_reply = false;
	assert_int_equal(interrupt(s, &what), 0);
	what.request = 99;
	what.need_reply = true;
	assert_int_equal(interrupt(s, &what), -EOPNOTSUPP);
	assert_false(cvmm_vhost_user_frontend_is_lost(s->fe));
}

static void what_was_not_negotiated_is_refused(void **state)
{
	static const struct {
		uint32_t request;
		size_t len;
		size_t fds;
	} cases[] = { { IOTLB, 32, 0 },
		      { NOTIFIER, 24, 1 },
		      { CVMM_VHOST_USER_BACKEND_VRING_CALL, 8, 0 },
		      { CVMM_VHOST_USER_BACKEND_VRING_ERR, 8, 0 },
		      { CVMM_VHOST_USER_BACKEND_SHARED_OBJECT_ADD, 16, 0 },
		      { CVMM_VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE, 16, 0 },
		      { LOOKUP, 16, 0 },
		      { SHMEM_MAP, 40, 1 },
		      { CVMM_VHOST_USER_BACKEND_SHMEM_UNMAP, 40, 0 } };
	struct session *s = *state;
	struct asked asked;

	begin(s, &asked, &all_ops);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(cases); i++) {
		struct interruption what = { .request = cases[i].request,
					     .need_reply = true,
					     .len = cases[i].len,
					     .fd_count = cases[i].fds };

		assert_int_equal(interrupt(s, &what), -EOPNOTSUPP);
	}
	assert_int_equal(asked.maps + asked.adds, 0);
}

static void malformed_requests_are_refused_and_the_channel_lives(void **state)
{
	struct session *s = *state;
	struct interruption what = { .request = CONFIG_CHANGE, .need_reply = true, .len = 8 };
	struct asked asked;
	int before;

	s->peer.protocol |= P(SHMEM) | P(HOST_NOTIFIER);
	begin(s, &asked, &all_ops);
	assert_int_equal(interrupt(s, &what), -EINVAL);
	what = (struct interruption){ .request = CONFIG_CHANGE, .need_reply = true, .fd_count = 1 };
	assert_int_equal(interrupt(s, &what), -EINVAL);
	what.fd_count = CVMM_VHOST_USER_FDS_MAX;
	before = open_fds();
	assert_int_equal(interrupt(s, &what), -EINVAL);
	/* They are closed at once, and not when the next request comes. */
	assert_int_equal(open_fds(), before);
	/* One descriptor where there must be one. */
	what = (struct interruption){ .request = SHMEM_MAP, .need_reply = true, .len = 40 };
	assert_int_equal(interrupt(s, &what), -EINVAL);
	what = (struct interruption){ .request = NOTIFIER,
				      .need_reply = true,
				      .len = 24,
				      .payload = { CVMM_VHOST_USER_VRING_NO_FD },
				      .fd_count = 1 };
	assert_int_equal(interrupt(s, &what), -EINVAL);
	what = (struct interruption){ .request = CONFIG_CHANGE, .need_reply = true };
	assert_int_equal(interrupt(s, &what), 0);
}

/* ---- each request ------------------------------------------------------------------------------- */

static void a_translation_that_is_missing_can_be_given_from_the_handler(void **state)
{
	struct session *s = *state;
	struct interruption what = { .request = IOTLB, .len = 32 };
	struct asked asked;
	uint64_t features;

	s->peer.features |= F_PLATFORM;
	begin(s, &asked, &all_ops);
	what.payload[0] = 0x123456;
	/* No size: the specification names none. Rights 1, type 1. */
	what.payload[3] = 0x0101;
	what.need_reply = true;
	assert_int_equal(interrupt(s, &what), -EOPNOTSUPP);
	assert_int_equal(
		cvmm_vhost_user_frontend_set_features(s->fe, F_VERSION_1 | F_PLATFORM, NULL), 0);
	/* The update is answered after the call in whose middle it is, so nobody may wait for this one. */
	what.need_reply = false;
	assert_int_equal(interrupt(s, &what), 0);
	s->peer.hook = NULL;
	while (!peer_count(&s->peer, CVMM_VHOST_USER_IOTLB_MSG))
		assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, NULL), 0);
	assert_int_equal(asked.nested, 0);
	assert_int_equal(asked.op.kind, CVMM_IOTLB_MISS);
	assert_int_equal(asked.op.iova, 0x123456);
	assert_int_equal(asked.op.last, 0x123456);
	assert_int_equal(asked.op.rights, CVMM_ACCESS_READ);
	assert_int_equal(peer_last(&s->peer, CVMM_VHOST_USER_IOTLB_MSG).payload[0], 0x123000);
	/* An update is not for a back-end to tell. */
	what.payload[1] = 4096;
	what.payload[3] = 0x0201;
	what.need_reply = true;
	assert_int_equal(interrupt(s, &what), -EINVAL);
	what.payload[1] = UINT64_MAX;
	what.payload[3] = 0x0401;
	assert_int_equal(interrupt(s, &what), -EINVAL);
	what.payload[1] = 4096;
	assert_int_equal(interrupt(s, &what), 0);
	assert_int_equal(asked.op.kind, CVMM_IOTLB_ACCESS_FAIL);
}

static void a_host_notifier_comes_with_its_descriptor_and_goes_without(void **state)
{
	struct session *s = *state;
	struct interruption what = { .request = NOTIFIER,
				     .need_reply = true,
				     .payload = { 5, 4096, 0 },
				     .len = 24,
				     .fd_count = 1 };
	struct asked asked;

	s->peer.protocol |= P(HOST_NOTIFIER);
	begin(s, &asked, &all_ops);
	assert_int_equal(interrupt(s, &what), 0);
	assert_int_equal(asked.notifier_queue, 5);
	assert_true(asked.notifier_fd >= 0);
	what.payload[1] = 0;
	assert_int_equal(interrupt(s, &what), -EINVAL);
	what.payload[1] = 4096;
	what.payload[2] = UINT64_MAX - 4095 + 1;
	assert_int_equal(interrupt(s, &what), -EINVAL);
	what.payload[0] = 5 | 0x200; /* no queue has such a number */
	assert_int_equal(interrupt(s, &what), -EINVAL);
	what = (struct interruption){ .request = NOTIFIER,
				      .need_reply = true,
				      .payload = { 5 | CVMM_VHOST_USER_VRING_NO_FD },
				      .len = 24 };
	assert_int_equal(interrupt(s, &what), 0);
	assert_int_equal(asked.notifier_fd, -1);
}

static void in_band_notifications_name_their_queues(void **state)
{
	struct session *s = *state;
	struct interruption what = { .request = CVMM_VHOST_USER_BACKEND_VRING_CALL,
				     .need_reply = true,
				     .payload = { 3 },
				     .len = 8 };
	struct asked asked;

	s->peer.protocol |= P(INBAND_NOTIFICATIONS);
	begin(s, &asked, &all_ops);
	assert_int_equal(interrupt(s, &what), 0);
	assert_int_equal(asked.calls, 3);
	what.request = CVMM_VHOST_USER_BACKEND_VRING_ERR;
	assert_int_equal(interrupt(s, &what), -EIO);
	assert_int_equal(asked.errs, 3);
	what.payload[0] = 256;
	assert_int_equal(interrupt(s, &what), -EINVAL);
}

static bool look_up(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	const struct interruption *what = peer->hook_ctx;
	int *ret_fd = (int *)(uintptr_t)what->payload[7];
	struct cvmm_vhost_user_msg *got;
	struct iovec iov = { (void *)(uintptr_t)what->payload, 16 };
	uint64_t deadline_ns = cvmm_clock_ns() + PEER_DEADLINE_NS;

	if (msg->request != CVMM_VHOST_USER_GET_FEATURES)
		return false;
	/* Without NEED_REPLY: it has an answer of its own. */
	if (cvmm_vhost_user_conn_send(peer->channel, LOOKUP, 0, &iov, 1, NULL, 0) ||
	    cvmm_vhost_user_conn_receive_by(peer->channel, &got, deadline_ns, NULL))
		abort();
	((struct interruption *)peer->hook_ctx)->answer = (int64_t)got->payload[0];
	*ret_fd = cvmm_vhost_user_msg_take_fd(got, 0);
	return false;
}

/* Not the other way round. */
static void the_answer_to_a_lookup_has_the_descriptor(void **state)
{
	struct session *s = *state;
	struct interruption what = { .payload = { 1 } };
	struct asked asked;
	uint64_t features;
	int fd = -1;

	s->peer.protocol |= P(SHARED_OBJECT);
	begin(s, &asked, &all_ops);
	what.payload[7] = (uintptr_t)&fd;
	s->peer.hook_ctx = &what;
	s->peer.hook = look_up;
	assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, NULL), 0);
	assert_int_equal(what.answer, 0);
	assert_true(fd >= 0);
	cvmm_close_fd(&fd);
	what.payload[0] = 0;
	assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, NULL), 0);
	assert_int_equal(what.answer, -ENOENT);
	assert_int_equal(fd, -1);
	what = (struct interruption){ .request = CVMM_VHOST_USER_BACKEND_SHARED_OBJECT_ADD,
				      .need_reply = true,
				      .payload = { 9 },
				      .len = 16 };
	assert_int_equal(interrupt(s, &what), 0);
	assert_int_equal(asked.adds, 9);
	what.request = CVMM_VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE;
	assert_int_equal(interrupt(s, &what), 0);
	assert_int_equal(asked.removals, 9);
}

static bool answer_shmem(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	static const struct cvmm_vhost_user_shmem_config config = { .count = 1,
								    .size_bytes = { 0, 8192 } };

	if (msg->request != CVMM_VHOST_USER_GET_SHMEM_CONFIG)
		return false;
	peer_answer(peer, msg->request, &config, sizeof(config));
	return true;
}

static void mappings_must_lie_in_their_region(void **state)
{
	/* Region, offset in the file, offset, length, flags. */
	static const struct {
		uint64_t words[5];
		int64_t wanted;
	} cases[] = {
		{ { 1, 0, 4096, 4096, 1 }, 0 },
		{ { 1, 0, 4096, 8192, 1 }, -EINVAL },
		{ { 0, 0, 0, 4096, 1 }, -EINVAL },
		{ { 1, 0, 0, 0, 1 }, -EINVAL },
		{ { 1, UINT64_MAX - 4095, 0, 8192, 0 }, -EINVAL },
		{ { 1, 0, UINT64_MAX - 4095, 8192, 0 }, -EINVAL },
		{ { 1, 0, 0, 4096, 2 }, -EINVAL },
	};
	struct session *s = *state;
	struct cvmm_vhost_user_shmem_config config;
	struct asked asked;

	s->peer.protocol |= P(SHMEM);
	begin(s, &asked, &all_ops);
	s->peer.hook = answer_shmem;
	assert_int_equal(cvmm_vhost_user_frontend_get_shmem_config(s->fe, &config, NULL), 0);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(cases); i++) {
		struct interruption what = {
			.request = SHMEM_MAP, .need_reply = true, .len = 40, .fd_count = 1
		};

		memcpy(what.payload, cases[i].words, sizeof(cases[i].words));
		assert_int_equal(interrupt(s, &what), cases[i].wanted);
		what.request = CVMM_VHOST_USER_BACKEND_SHMEM_UNMAP;
		what.fd_count = 0;
		assert_int_equal(interrupt(s, &what), cases[i].wanted);
	}
	assert_int_equal(asked.maps, 1);
	assert_int_equal(asked.unmaps, 1);
}

/* ---- hostile channels --------------------------------------------------------------------------- */

static bool break_channel(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	static const uint8_t garbage[64] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	if (msg->request == CVMM_VHOST_USER_GET_FEATURES && peer->channel &&
	    write(cvmm_vhost_user_conn_fd(peer->channel), garbage, sizeof(garbage)) < 0 &&
	    errno != EPIPE)
		abort();
	return false;
}

/* The other one is no worse for it. */
static void a_channel_that_cannot_be_read_is_closed(void **state)
{
	struct session *s = *state;
	struct asked asked;
	uint64_t features;
	struct pollfd p = { .events = POLLIN };

	begin(s, &asked, &all_ops);
	s->peer.hook = break_channel;
	assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, &s->err), 0);
	s->peer.hook = NULL;
	/* It is noticed in a call that waits. */
	p.fd = cvmm_vhost_user_conn_fd(s->peer.channel);
	while (poll(&p, 1, 0) == 0)
		assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, &s->err),
				 0);
	assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, &s->err), 0);
	assert_false(cvmm_vhost_user_frontend_is_lost(s->fe));
}

static bool answer_unasked(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	if (msg->request == CVMM_VHOST_USER_GET_FEATURES)
		(void)cvmm_vhost_user_conn_send(peer->channel, 2, CVMM_VHOST_USER_FLAG_REPLY, NULL,
						0, NULL, 0);
	return false;
}

static void an_answer_on_the_channel_that_nobody_asked_for_closes_it(void **state)
{
	struct session *s = *state;
	struct asked asked;
	uint64_t features;
	struct pollfd p = { .events = POLLIN };

	begin(s, &asked, &all_ops);
	s->peer.hook = answer_unasked;
	p.fd = cvmm_vhost_user_conn_fd(s->peer.channel);
	while (poll(&p, 1, 0) == 0)
		assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, &s->err),
				 0);
	assert_false(cvmm_vhost_user_frontend_is_lost(s->fe));
}

/* Asks without end and reads no answer. */
static bool flood(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	int r = 0;

	if (msg->request != CVMM_VHOST_USER_GET_FEATURES || !peer->channel)
		return false;
	for (unsigned int i = 0; i < 20000 && !r; i++)
		r = cvmm_vhost_user_conn_send(peer->channel, CONFIG_CHANGE,
					      CVMM_VHOST_USER_FLAG_NEED_REPLY, NULL, 0, NULL, 0);
	return false;
}

static void a_back_end_that_reads_no_answers_is_not_listened_to(void **state)
{
	struct session *s = *state;
	struct asked asked;
	uint64_t features;

	begin(s, &asked, &all_ops);
	s->peer.hook = flood;
	for (unsigned int i = 0; i < 3 || !changes(&asked); i++)
		assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, &s->err),
				 0);
}

/* ---- a loop ------------------------------------------------------------------------------------- */

struct loop_thread {
	struct cvmm_loop *loop;
	pthread_t thread;
};

static void *run_loop(void *arg)
{
	struct loop_thread *t = arg;

	return (void *)(intptr_t)cvmm_loop_run(t->loop);
}

static void start_loop(struct session *s, struct loop_thread *t)
{
	assert_int_equal(cvmm_loop_create(CVMM_LOOP_AUTO, &t->loop), 0);
	cvmm_loop_disown(t->loop);
	assert_int_equal(pthread_create(&t->thread, NULL, run_loop, t), 0);
	s->config.loop = t->loop;
}

static void end_loop(struct session *s, struct loop_thread *t)
{
	cvmm_vhost_user_frontend_destroy(s->fe);
	s->fe = NULL;
	cvmm_loop_stop(t->loop);
	pthread_join(t->thread, NULL);
	cvmm_loop_destroy(t->loop);
}

static void the_thread_of_the_loop_handles_requests_while_another_waits(void **state)
{
	struct session *s = *state;
	struct interruption what = { .request = CONFIG_CHANGE, .need_reply = true };
	struct loop_thread t;
	struct asked asked;

	start_loop(s, &t);
	begin(s, &asked, &all_ops);
	assert_int_equal(interrupt(s, &what), 0);
	assert_int_equal(changes(&asked), 1);
	assert_true(pthread_equal(asked.thread, t.thread));
	end_loop(s, &t);
}

static void the_loop_handles_requests_while_nobody_waits(void **state)
{
	struct session *s = *state;
	struct asked asked;

	assert_int_equal(cvmm_loop_create(CVMM_LOOP_AUTO, &s->config.loop), 0);
	begin(s, &asked, &all_ops);
	for (unsigned int i = 1; i <= 50; i++) {
		assert_int_equal(cvmm_vhost_user_conn_send(s->peer.channel, CONFIG_CHANGE, 0, NULL,
							   0, NULL, 0),
				 0);
		while (changes(&asked) < i)
			assert_true(cvmm_loop_run_once(s->config.loop, -1) >= 0);
	}
	/* A channel that ends is taken out of the loop. */
	cvmm_vhost_user_conn_destroy(s->peer.channel);
	s->peer.channel = NULL;
	assert_int_equal(cvmm_loop_run_once(s->config.loop, -1), 1);
	assert_int_equal(cvmm_loop_run_once(s->config.loop, 0), 0);
	cvmm_vhost_user_frontend_destroy(s->fe);
	s->fe = NULL;
	cvmm_loop_destroy(s->config.loop);
}

static void the_owner_of_the_loop_handles_requests_while_it_waits(void **state)
{
	struct session *s = *state;
	struct interruption what = { .request = CONFIG_CHANGE, .need_reply = true };
	struct asked asked;

	assert_int_equal(cvmm_loop_create(CVMM_LOOP_AUTO, &s->config.loop), 0);
	begin(s, &asked, &all_ops);
	assert_int_equal(interrupt(s, &what), 0);
	assert_int_equal(changes(&asked), 1);
	cvmm_vhost_user_frontend_destroy(s->fe);
	s->fe = NULL;
	cvmm_loop_destroy(s->config.loop);
}

/*
 * A handler in one thread makes a request in the middle of another thread's. The back-end answers that one
 * only when it has been told what it asked for: it takes what the handler sends in between.
 */
static bool need_the_other(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	struct interruption *what = peer->hook_ctx;
	struct cvmm_vhost_user_msg *got;
	uint64_t deadline_ns = cvmm_clock_ns() + PEER_DEADLINE_NS;
	uint8_t config[16] = { 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4 };

	if (msg->request != CVMM_VHOST_USER_GET_FEATURES || !peer->channel)
		return false;
	if (cvmm_vhost_user_conn_send(peer->channel, CONFIG_CHANGE, CVMM_VHOST_USER_FLAG_NEED_REPLY,
				      NULL, 0, NULL, 0) ||
	    cvmm_vhost_user_conn_receive_by(peer->conn, &got, deadline_ns, NULL) ||
	    got->request != CVMM_VHOST_USER_GET_CONFIG)
		return false;
	peer_answer_u64(peer, CVMM_VHOST_USER_GET_FEATURES, peer->features);
	peer_answer(peer, CVMM_VHOST_USER_GET_CONFIG, config, sizeof(config));
	if (!cvmm_vhost_user_conn_receive_by(peer->channel, &got, deadline_ns, NULL))
		what->answer = (int64_t)got->payload[0];
	return true;
}

static void a_handler_makes_requests_while_another_thread_waits(void **state)
{
	struct session *s = *state;
	struct interruption what = { .answer = -1 };
	struct loop_thread t;
	struct asked asked;
	uint64_t features;

	start_loop(s, &t);
	begin(s, &asked, &config_ops);
	s->peer.hook_ctx = &what;
	s->peer.hook = need_the_other;
	for (unsigned int i = 1; i <= 100; i++) {
		assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, &s->err),
				 0);
		while (changes(&asked) < i)
			sched_yield();
		assert_int_equal(asked.nested, 0);
		assert_int_equal(asked.config[3], 4);
	}
	end_loop(s, &t);
}

/* ---- several threads ---------------------------------------------------------------------------- */

struct caller {
	struct session *s;
	pthread_t thread;
	unsigned int seed;
	int failed;
};

static void *make_calls(void *arg)
{
	struct caller *caller = arg;

	for (unsigned int i = 0; i < 300 && !caller->failed; i++) {
		uint8_t bytes[PEER_CONFIG_BYTES] = { 0 };
		uint64_t features = 0;
		uint32_t at = (caller->seed + i * 7) % PEER_CONFIG_BYTES;

		if (i % 3) {
			caller->failed = cvmm_vhost_user_frontend_get_config(
				caller->s->fe, at, bytes, PEER_CONFIG_BYTES - at, NULL);
			if (bytes[0] != at + 1)
				caller->failed = 1;
		} else {
			caller->failed = cvmm_vhost_user_frontend_get_features(caller->s->fe,
									       &features, NULL);
			if (features != caller->s->peer.features)
				caller->failed = 1;
		}
	}
	return NULL;
}

/* The first 8 at a time go out, each with its own answer, with requests of the back-end in between. */
static void threads_get_the_answers_to_their_own_requests(void **state)
{
	struct session *s = *state;
	struct interruption what = { .request = CONFIG_CHANGE, .times = 1, .need_reply = true };
	struct caller callers[8];
	struct asked asked;

	begin(s, &asked, &all_ops);
	s->peer.hook_ctx = &what;
	s->peer.hook = ask_first;
	for (unsigned int i = 0; i < 8; i++) {
		callers[i] = (struct caller){ .s = s, .seed = i * 11 };
		assert_int_equal(pthread_create(&callers[i].thread, NULL, make_calls, &callers[i]),
				 0);
	}
	for (unsigned int i = 0; i < 8; i++)
		pthread_join(callers[i].thread, NULL);
	for (unsigned int i = 0; i < 8; i++)
		assert_int_equal(callers[i].failed, 0);
	assert_int_equal(changes(&asked), 800);
}

/* Two threads wait, and the one that serves the channel leaves. */
struct relay {
	struct asked asked;
	struct session *s;
	sem_t in_handler;
	sem_t leave_handler;
	sem_t first_has_left;
	bool is_first;
	int result;
	int64_t answer;
};

static int on_config_changed_wait(void *ctx)
{
	struct relay *relay = ctx;

	if (relay->is_first) {
		relay->is_first = false;
		sem_post(&relay->in_handler);
		sem_wait(&relay->leave_handler);
	}
	return on_config_changed(&relay->asked);
}

static const struct cvmm_vhost_user_frontend_ops waiting_ops = {
	.size = sizeof(struct cvmm_vhost_user_frontend_ops),
	.config_changed = on_config_changed_wait,
};

/* The first call is answered while a request is being handled; the second when another one was. */
static bool ask_both(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	struct relay *relay = peer->hook_ctx;

	if (msg->request == CVMM_VHOST_USER_GET_FEATURES) {
		(void)cvmm_vhost_user_conn_send(peer->channel, CONFIG_CHANGE, 0, NULL, 0, NULL, 0);
		/* It must be seen before the answer is. */
		sem_wait(&relay->in_handler);
	}
	if (msg->request == CVMM_VHOST_USER_GET_CONFIG) {
		sem_post(&relay->leave_handler);
		sem_wait(&relay->first_has_left);
		relay->answer = peer_ask(peer, CONFIG_CHANGE, true, NULL, 0, NULL, 0);
	}
	return false;
}

static void *call_first(void *arg)
{
	struct relay *relay = arg;
	uint64_t features;

	relay->result = cvmm_vhost_user_frontend_get_features(relay->s->fe, &features, NULL);
	sem_post(&relay->first_has_left);
	return NULL;
}

static void a_thread_that_waits_on_takes_the_channel_over(void **state)
{
	struct session *s = *state;
	struct relay relay = { .s = s, .is_first = true, .answer = -1, .result = -1 };
	uint8_t bytes[4];
	pthread_t first;

	sem_init(&relay.in_handler, 0, 0);
	sem_init(&relay.leave_handler, 0, 0);
	sem_init(&relay.first_has_left, 0, 0);
	s->peer.protocol |= P(BACKEND_REQ);
	s->config.ops = &waiting_ops;
	s->config.ctx = &relay;
	session_negotiate(s);
	s->peer.hook_ctx = &relay;
	s->peer.hook = ask_both;
	assert_int_equal(pthread_create(&first, NULL, call_first, &relay), 0);
	while (peer_count(&s->peer, CVMM_VHOST_USER_GET_FEATURES) < 2)
		sched_yield();
	assert_int_equal(cvmm_vhost_user_frontend_get_config(s->fe, 0, bytes, 4, &s->err), 0);
	pthread_join(first, NULL);
	assert_int_equal(relay.result, 0);
	assert_int_equal(relay.answer, 0);
	assert_int_equal(changes(&relay.asked), 2);
	sem_destroy(&relay.in_handler);
	sem_destroy(&relay.leave_handler);
	sem_destroy(&relay.first_has_left);
}

static bool die_in_the_middle(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	(void)msg;
	if (peer_seen_count(peer) < 50)
		return false;
	shutdown(cvmm_vhost_user_conn_fd(peer->conn), SHUT_RDWR);
	return true;
}

static void all_threads_are_told_when_the_back_end_dies(void **state)
{
	struct session *s = *state;
	struct caller callers[8];
	struct asked asked;

	begin(s, &asked, &all_ops);
	s->peer.hook = die_in_the_middle;
	for (unsigned int i = 0; i < 8; i++) {
		callers[i] = (struct caller){ .s = s, .seed = i };
		assert_int_equal(pthread_create(&callers[i].thread, NULL, make_calls, &callers[i]),
				 0);
	}
	for (unsigned int i = 0; i < 8; i++)
		pthread_join(callers[i].thread, NULL);
	for (unsigned int i = 0; i < 8; i++)
		assert_int_not_equal(callers[i].failed, 0);
	assert_true(cvmm_vhost_user_frontend_is_lost(s->fe));
	peer_stop(&s->peer);
	s->peer.hook = NULL;
	assert_int_equal(session_reconnect(s), 0);
	assert_non_null(s->peer.channel);
}

static void a_reconnected_back_end_has_a_channel_of_its_own(void **state)
{
	struct session *s = *state;
	struct interruption what = { .request = CONFIG_CHANGE, .need_reply = true };
	struct loop_thread t;
	struct asked asked;

	start_loop(s, &t);
	begin(s, &asked, &all_ops);
	for (unsigned int i = 1; i <= 3; i++) {
		assert_int_equal(interrupt(s, &what), 0);
		assert_int_equal(changes(&asked), i);
		s->peer.hook = NULL;
		assert_int_equal(session_reconnect(s), 0);
	}
	end_loop(s, &t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SESSION_TEST(a_back_end_may_ask_before_it_answers),
		SESSION_TEST(a_handler_may_make_requests_of_its_own),
		SESSION_TEST(what_has_no_handler_is_refused),
		SESSION_TEST(what_was_not_negotiated_is_refused),
		SESSION_TEST(malformed_requests_are_refused_and_the_channel_lives),
		SESSION_TEST(a_translation_that_is_missing_can_be_given_from_the_handler),
		SESSION_TEST(a_host_notifier_comes_with_its_descriptor_and_goes_without),
		SESSION_TEST(in_band_notifications_name_their_queues),
		SESSION_TEST(the_answer_to_a_lookup_has_the_descriptor),
		SESSION_TEST(mappings_must_lie_in_their_region),
		SESSION_TEST(a_channel_that_cannot_be_read_is_closed),
		SESSION_TEST(an_answer_on_the_channel_that_nobody_asked_for_closes_it),
		SESSION_TEST(a_back_end_that_reads_no_answers_is_not_listened_to),
		SESSION_TEST(the_thread_of_the_loop_handles_requests_while_another_waits),
		SESSION_TEST(the_loop_handles_requests_while_nobody_waits),
		SESSION_TEST(the_owner_of_the_loop_handles_requests_while_it_waits),
		SESSION_TEST(a_handler_makes_requests_while_another_thread_waits),
		SESSION_TEST(threads_get_the_answers_to_their_own_requests),
		SESSION_TEST(a_thread_that_waits_on_takes_the_channel_over),
		SESSION_TEST(all_threads_are_told_when_the_back_end_dies),
		SESSION_TEST(a_reconnected_back_end_has_a_channel_of_its_own),
	};

	/* Requests of the back-end on a channel that was closed must not end this program. */
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
