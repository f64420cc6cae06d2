/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A back-end for tests, in a thread of its own: it notes down what it is asked, answers as a good one does,
 * and does something else where the test says so.
 */
#ifndef TEST_VHOST_USER_FRONTEND_H
#define TEST_VHOST_USER_FRONTEND_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <cvmm/vhost-user_frontend.h>
#include <cvmm/virtio.h>

#include "../../tests/support/descriptors.h"

#define PEER_SEEN_MAX 2048U
#define PEER_DEADLINE_NS (UINT64_C(60) * CVMM_NS_PER_S)
#define PEER_CONFIG_BYTES 60U

#define P(name) CVMM_VHOST_USER_PROTOCOL(name)
#define F_PROTOCOL (UINT64_C(1) << CVMM_VHOST_USER_F_PROTOCOL_FEATURES)
#define F_LOG_ALL (UINT64_C(1) << CVMM_VHOST_USER_F_LOG_ALL)
#define F_VERSION_1 CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_VERSION_1)
#define F_PACKED CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_RING_PACKED)
#define F_PLATFORM CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_ACCESS_PLATFORM)

/* A request that came. */
struct peer_seen {
	uint32_t request;
	uint32_t flags;
	uint32_t size;
	uint32_t fd_count;
	uint64_t payload[40]; /* the beginning */
};

struct peer;

/* Return: true if the request was dealt with. */
typedef bool (*peer_hook)(struct peer *peer, struct cvmm_vhost_user_msg *msg);

struct peer {
	struct cvmm_vhost_user_conn *conn;
	struct cvmm_vhost_user_conn *channel; /* the back-end's end of it */
	pthread_t thread;
	pthread_mutex_t lock;
	struct peer_seen seen[PEER_SEEN_MAX];
	unsigned int seen_count;

	/* What it offers and answers. */
	uint64_t features;
	uint64_t protocol;
	uint64_t queue_num;
	uint64_t max_slots;
	uint32_t bases[CVMM_VHOST_USER_QUEUES_MAX];
	uint64_t inflight_bytes;
	uint64_t acked_protocol;

	peer_hook hook;
	uint32_t nacked; /* this request is refused, from its @nack_after-th on */
	unsigned int nack_after;
	void *hook_ctx;
};

/* ---- answers ---- */

static inline void peer_answer_fds(struct peer *peer, uint32_t request, const void *payload,
				   size_t len, const int *fds, size_t fd_count)
{
	struct iovec iov = { (void *)(uintptr_t)payload, len };

	(void)cvmm_vhost_user_conn_send_by(peer->conn, request, CVMM_VHOST_USER_FLAG_REPLY, &iov,
					   len ? 1 : 0, fds, fd_count,
					   cvmm_clock_ns() + PEER_DEADLINE_NS);
}

static inline void peer_answer(struct peer *peer, uint32_t request, const void *payload, size_t len)
{
	peer_answer_fds(peer, request, payload, len, NULL, 0);
}

static inline void peer_answer_u64(struct peer *peer, uint32_t request, uint64_t value)
{
	peer_answer(peer, request, &value, sizeof(value));
}

/* A message of the back-end on the channel; waits for the answer if there is to be one. Return: it. */
static inline int64_t peer_ask(struct peer *peer, uint32_t request, bool need_reply,
			       const void *payload, size_t len, const int *fds, size_t fd_count)
{
	struct iovec iov = { (void *)(uintptr_t)payload, len };
	struct cvmm_vhost_user_msg *msg;
	uint64_t deadline_ns = cvmm_clock_ns() + PEER_DEADLINE_NS;
	int r = cvmm_vhost_user_conn_send_by(peer->channel, request,
					     need_reply ? CVMM_VHOST_USER_FLAG_NEED_REPLY : 0, &iov,
					     len ? 1 : 0, fds, fd_count, deadline_ns);

	if (r || !need_reply)
		return r;
	r = cvmm_vhost_user_conn_receive_by(peer->channel, &msg, deadline_ns, NULL);
	if (r)
		return r;
	if (msg->request != request || !(msg->flags & CVMM_VHOST_USER_FLAG_REPLY) ||
	    msg->size != sizeof(uint64_t))
		return -EBADMSG;
	return (int64_t)msg->payload[0];
}

static inline void peer_answer_config(struct peer *peer, const struct cvmm_vhost_user_msg *msg)
{
	uint8_t bytes[sizeof(struct cvmm_vhost_user_config) + PEER_CONFIG_BYTES];
	struct cvmm_vhost_user_config head;

	memcpy(&head, msg->payload, sizeof(head));
	if (head.size > PEER_CONFIG_BYTES) {
		peer_answer(peer, msg->request, NULL, 0);
		return;
	}
	memcpy(bytes, &head, sizeof(head));
	/* As those back-ends do that do not look at the offset. */
	for (uint32_t i = 0; i < head.size; i++)
		bytes[sizeof(head) + i] = (uint8_t)(i + 1);
	peer_answer(peer, msg->request, bytes, sizeof(head) + head.size);
}

static inline void peer_answer_inflight(struct peer *peer, const struct cvmm_vhost_user_msg *msg)
{
	struct cvmm_vhost_user_inflight inflight;
	int fd = test_file();

	memcpy(&inflight, msg->payload, sizeof(inflight));
	inflight.mmap_size = peer->inflight_bytes;
	inflight.mmap_offset = 0;
	(void)!ftruncate(fd, (off_t)inflight.mmap_size);
	peer_answer_fds(peer, msg->request, &inflight, sizeof(inflight), &fd, 1);
	close(fd);
}

static inline void peer_take_channel(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	cvmm_vhost_user_conn_destroy(peer->channel);
	peer->channel = NULL;
	(void)cvmm_vhost_user_conn_create(cvmm_vhost_user_msg_take_fd(msg, 0), &peer->channel,
					  NULL);
}

/* Return: whether there was an answer of its own. */
static inline bool peer_do(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	uint64_t first = msg->payload[0];

	switch (msg->request) {
	case CVMM_VHOST_USER_GET_FEATURES:
		peer_answer_u64(peer, msg->request, peer->features);
		return true;
	case CVMM_VHOST_USER_GET_PROTOCOL_FEATURES:
		peer_answer_u64(peer, msg->request, peer->protocol);
		return true;
	case CVMM_VHOST_USER_SET_PROTOCOL_FEATURES:
		peer->acked_protocol = first;
		return false;
	case CVMM_VHOST_USER_GET_QUEUE_NUM:
		peer_answer_u64(peer, msg->request, peer->queue_num);
		return true;
	case CVMM_VHOST_USER_GET_MAX_MEM_SLOTS:
		peer_answer_u64(peer, msg->request, peer->max_slots);
		return true;
	case CVMM_VHOST_USER_SET_BACKEND_REQ_FD:
		peer_take_channel(peer, msg);
		return false;
	case CVMM_VHOST_USER_GET_CONFIG:
		peer_answer_config(peer, msg);
		return true;
	case CVMM_VHOST_USER_GET_VRING_BASE:
	case CVMM_VHOST_USER_GET_VRING_BASE_SKIP_DRAIN: {
		struct cvmm_vhost_user_vring_state state = { .index = (uint32_t)first };

		state.num = peer->bases[state.index % CVMM_VHOST_USER_QUEUES_MAX];
		peer_answer(peer, msg->request, &state, sizeof(state));
		return true;
	}
	case CVMM_VHOST_USER_GET_INFLIGHT_FD:
		peer_answer_inflight(peer, msg);
		return true;
	case CVMM_VHOST_USER_SET_LOG_BASE:
		if (!(peer->acked_protocol & P(LOG_SHMFD)))
			return false;
		peer_answer_u64(peer, msg->request, 0);
		return true;
	case CVMM_VHOST_USER_IOTLB_MSG:
	case CVMM_VHOST_USER_POSTCOPY_END:
	case CVMM_VHOST_USER_CHECK_DEVICE_STATE:
	case CVMM_VHOST_USER_GET_STATUS:
		peer_answer_u64(peer, msg->request, 0);
		return true;
	default:
		return false;
	}
}

/* ---- the thread ---- */

static inline void peer_note(struct peer *peer, const struct cvmm_vhost_user_msg *msg)
{
	struct peer_seen *seen;

	pthread_mutex_lock(&peer->lock);
	if (peer->seen_count < PEER_SEEN_MAX) {
		seen = &peer->seen[peer->seen_count];
		seen->request = msg->request;
		seen->flags = msg->flags;
		seen->size = msg->size;
		seen->fd_count = msg->fd_count;
		memcpy(seen->payload, msg->payload,
		       msg->size < sizeof(seen->payload) ? msg->size : sizeof(seen->payload));
		peer->seen_count++;
	}
	pthread_mutex_unlock(&peer->lock);
}

static inline void *peer_main(void *arg)
{
	struct peer *peer = arg;
	struct cvmm_vhost_user_msg *msg;

	while (cvmm_vhost_user_conn_receive_by(peer->conn, &msg, cvmm_clock_ns() + PEER_DEADLINE_NS,
					       NULL) == 0) {
		bool nack = false, own;

		peer_note(peer, msg);
		if (peer->hook && peer->hook(peer, msg))
			continue;
		if (peer->nacked == msg->request)
			nack = peer->nack_after == 0 || --peer->nack_after == 0;
		own = !nack && peer_do(peer, msg);
		if (!own && msg->flags & CVMM_VHOST_USER_FLAG_NEED_REPLY)
			peer_answer_u64(peer, msg->request, nack ? 1 : 0);
	}
	/* The front-end sees that it is gone. */
	shutdown(cvmm_vhost_user_conn_fd(peer->conn), SHUT_RDWR);
	return NULL;
}

/* Return: the front-end's end. */
static inline int peer_start(struct peer *peer)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(cvmm_vhost_user_conn_create(fds[1], &peer->conn, NULL), 0);
	peer->channel = NULL;
	peer->seen_count = 0;
	peer->acked_protocol = 0;
	assert_int_equal(pthread_create(&peer->thread, NULL, peer_main, peer), 0);
	return fds[0];
}

/* As if it died. */
static inline void peer_stop(struct peer *peer)
{
	if (!peer->conn)
		return;
	shutdown(cvmm_vhost_user_conn_fd(peer->conn), SHUT_RDWR);
	pthread_join(peer->thread, NULL);
	cvmm_vhost_user_conn_destroy(peer->conn);
	cvmm_vhost_user_conn_destroy(peer->channel);
	peer->conn = peer->channel = NULL;
}

/* ---- what it saw ---- */

/* How often it was asked. */
static inline unsigned int peer_count(struct peer *peer, uint32_t request)
{
	unsigned int n = 0;

	pthread_mutex_lock(&peer->lock);
	for (unsigned int i = 0; i < peer->seen_count; i++)
		n += peer->seen[i].request == request;
	pthread_mutex_unlock(&peer->lock);
	return n;
}

static inline unsigned int peer_seen_count(struct peer *peer)
{
	unsigned int n;

	pthread_mutex_lock(&peer->lock);
	n = peer->seen_count;
	pthread_mutex_unlock(&peer->lock);
	return n;
}

/* The @n-th request of that number, from 0. */
static inline struct peer_seen peer_nth(struct peer *peer, uint32_t request, unsigned int n)
{
	struct peer_seen found = { 0 };

	pthread_mutex_lock(&peer->lock);
	for (unsigned int i = 0; i < peer->seen_count; i++)
		if (peer->seen[i].request == request && n-- == 0)
			found = peer->seen[i];
	pthread_mutex_unlock(&peer->lock);
	assert_int_equal(found.request, request);
	return found;
}

static inline struct peer_seen peer_last(struct peer *peer, uint32_t request)
{
	unsigned int n = peer_count(peer, request);

	assert_true(n > 0);
	return peer_nth(peer, request, n - 1);
}

/* What it was told of protocol features, which nobody has acknowledged yet. */
static inline uint64_t peer_protocol(struct peer *peer, struct cvmm_vhost_user_frontend *fe)
{
	uint64_t features;

	assert_int_equal(cvmm_vhost_user_frontend_get_features(fe, &features, NULL), 0);
	return peer_last(peer, CVMM_VHOST_USER_SET_PROTOCOL_FEATURES).payload[0];
}

/* From the @from-th request on it saw these, and no others. */
static inline void peer_saw(struct peer *peer, unsigned int from, const uint32_t *wanted,
			    unsigned int count)
{
	pthread_mutex_lock(&peer->lock);
	for (unsigned int i = 0; i < count; i++) {
		assert_true(from + i < peer->seen_count);
		assert_int_equal(peer->seen[from + i].request, wanted[i]);
	}
	assert_int_equal(peer->seen_count, from + count);
	pthread_mutex_unlock(&peer->lock);
}

/* ---- a session with it ---- */

struct session {
	struct peer peer;
	struct cvmm_vhost_user_frontend_config config;
	struct cvmm_vhost_user_frontend *fe;
	struct cvmm_mem *mem;
	struct cvmm_error err;
	int fds_before;
	int eventfds[3];
};

static inline int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static inline int session_set_up(void **state)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return -1;
	s->fds_before = open_fds();
	pthread_mutex_init(&s->peer.lock, NULL);
	s->peer.features = F_PROTOCOL | F_VERSION_1 | F_LOG_ALL;
	s->peer.protocol = P(MQ) | P(REPLY_ACK) | P(CONFIG);
	s->peer.queue_num = 4;
	s->peer.max_slots = 32;
	s->peer.inflight_bytes = 65536;
	s->config.protocol_want = CVMM_VHOST_USER_PROTOCOL_FEATURES_ALL;
	s->config.timeout_ms = 30000;
	for (int i = 0; i < 3; i++)
		s->eventfds[i] = -1;
	*state = s;
	return 0;
}

/* Every test ends with as many descriptors as it began with. */
static inline int session_tear_down(void **state)
{
	struct session *s = *state;
	int leaked;

	cvmm_vhost_user_frontend_destroy(s->fe);
	peer_stop(&s->peer);
	cvmm_mem_unref(s->mem);
	for (int i = 0; i < 3; i++)
		cvmm_close_fd(&s->eventfds[i]);
	pthread_mutex_destroy(&s->peer.lock);
	leaked = open_fds() - s->fds_before;
	free(s);
	if (leaked)
		print_error("%d descriptors leaked\n", leaked);
	return leaked ? -1 : 0;
}

static inline void session_connect(struct session *s)
{
	assert_int_equal(
		cvmm_vhost_user_frontend_create(&s->config, peer_start(&s->peer), &s->fe, &s->err),
		0);
}

static inline void session_negotiate(struct session *s)
{
	session_connect(s);
	assert_int_equal(cvmm_vhost_user_frontend_negotiate(s->fe, &s->err), 0);
}

/* Four regions of 1 MiB, in pairs with a hole between. */
#define REGION_BYTES (UINT64_C(1) << 20)

static inline struct cvmm_mem *make_mem(size_t regions)
{
	struct cvmm_mem_config configs[16] = { 0 };
	struct cvmm_mem *mem = NULL;

	for (size_t i = 0; i < regions; i++)
		configs[i] = (struct cvmm_mem_config){
			.gpa = cvmm_gpa_from((i + i / 2) * REGION_BYTES),
			.len_bytes = REGION_BYTES,
			.kind = CVMM_MEM_MEMFD,
			.access = CVMM_ACCESS_READ_WRITE,
		};
	assert_int_equal(cvmm_mem_create(configs, regions, &mem, NULL), 0);
	return mem;
}

static inline void session_begin(struct session *s, uint64_t features)
{
	session_negotiate(s);
	s->mem = make_mem(2);
	assert_int_equal(cvmm_vhost_user_frontend_set_mem(s->fe, s->mem, &s->err), 0);
	assert_int_equal(cvmm_vhost_user_frontend_set_features(s->fe, features, &s->err), 0);
	for (int i = 0; i < 3; i++)
		s->eventfds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

/* A queue of 256 entries, each at a place of its own. */
static inline struct cvmm_vhost_user_queue make_queue(const struct session *s, unsigned int index,
						      bool packed)
{
	uint64_t at = 0x1000 + index * UINT64_C(0x4000);

	return (struct cvmm_vhost_user_queue){
		.index = index,
		.config = { .size = 256,
			    .desc = cvmm_gpa_from(at),
			    .avail = cvmm_gpa_from(at + 0x1000),
			    .used = cvmm_gpa_from(at + 0x2000),
			    .packed = packed },
		.base = CVMM_VIRTQ_BASE_START,
		.kick_fd = s->eventfds[0],
		.call_fd = s->eventfds[1],
		.err_fd = s->eventfds[2],
	};
}

/* The next back-end, as good as the last one. */
static inline int session_reconnect(struct session *s)
{
	peer_stop(&s->peer);
	return cvmm_vhost_user_frontend_reconnect(s->fe, peer_start(&s->peer), &s->err);
}

#define SESSION_TEST(fn) cmocka_unit_test_setup_teardown(fn, session_set_up, session_tear_down)

#endif /* TEST_VHOST_USER_FRONTEND_H */
