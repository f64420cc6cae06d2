// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: one thread and one loop. The back-end has one end of a socket pair, the relay has
 * the other one and the connection of the front-end. The relay reads whole messages from either side, does to
 * them what the defect says, and writes them to the other. Answers come in the order of the requests, so a queue
 * of flags tells which of them are answers to requests of the relay's own, which nobody else is to see.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cvmm/event.h>
#include <cvmm/vhost-user_backend.h>

#include "test_backend.h"
#include "test_device.h"

#define ANSWERS_MAX 1024U
#define LINGER_NS (UINT64_C(600) * CVMM_NS_PER_MS)
#define CALLS_NS (UINT64_C(5) * CVMM_NS_PER_MS)
#define HALF_CLOSE_MS 50
#define MANY_FDS 8U

/* A request that was passed on, and is going to be answered. */
struct asked {
	uint32_t request;
	bool ours;     /* the answer goes nowhere */
	bool unasked;  /* the front-end did not ask for it */
	bool affected; /* by the defect's @on_answer */
};

struct relay {
	const struct defect *defect;
	struct cvmm_loop *loop;
	struct cvmm_vhost_user_backend *backend;
	int listener;
	struct cvmm_vhost_user_conn *front, *back;
	struct cvmm_source *accepting, *front_source, *back_source, *kick_source, *err_source;
	struct cvmm_source *linger, *caller;
	int call_fd;
	bool busy; /* the back-end has not let go of the last connection */
	bool deaf;
	unsigned int seen, answered;
	uint32_t config_offset;
	struct asked asked[ANSWERS_MAX];
	unsigned int asked_first, asked_count;
};

static bool has(const struct relay *r, uint32_t flag)
{
	return r->defect && r->defect->flags & flag;
}

static _Noreturn void die(void)
{
	abort();
}

/* ---- ends of connections ------------------------------------------------------------------------------- */

static void close_back(void *ctx)
{
	struct relay *r = ctx;

	cvmm_source_remove(r->back_source);
	r->back_source = NULL;
	cvmm_vhost_user_conn_destroy(r->back);
	r->back = NULL;
}

static void hang_up(struct relay *r)
{
	if (!r->front)
		return;
	cvmm_source_remove(r->front_source);
	cvmm_source_remove(r->kick_source);
	cvmm_source_remove(r->err_source);
	r->front_source = r->kick_source = r->err_source = NULL;
	cvmm_vhost_user_conn_destroy(r->front);
	r->front = NULL;
	cvmm_timer_disarm(r->caller);
	if (has(r, D_LINGER))
		cvmm_timer_arm(r->linger, LINGER_NS, 0);
	else
		close_back(r);
}

/* The back-end is ready for the next connection. */
static void on_closed(void *ctx, int reason, const char *message)
{
	struct relay *r = ctx;

	(void)reason;
	(void)message;
	r->busy = false;
	cvmm_source_set_events(r->accepting, CVMM_EVENT_READ);
}

/* ---- messages -------------------------------------------------------------------------------------------- */

static void send_to(struct relay *r, struct cvmm_vhost_user_conn *conn, uint32_t request,
		    uint32_t flags, const void *payload, size_t size, const int *fds,
		    size_t fd_count)
{
	struct iovec iov = { (void *)(uintptr_t)payload, size };
	int e = cvmm_vhost_user_conn_send_by(conn, request, flags, &iov, 1, fds, fd_count,
					     cvmm_clock_ns() + CVMM_NS_PER_S);

	if (e && conn == r->front && has(r, D_DIE_AT_END))
		die();
	if (e)
		hang_up(r);
}

static bool is_answered(const struct cvmm_vhost_user_msg *msg)
{
	const struct cvmm_vhost_user_message *row =
		cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL, msg->request);

	return msg->flags & CVMM_VHOST_USER_FLAG_NEED_REPLY ||
	       (row && (row->reply == CVMM_VHOST_USER_REPLY_ALWAYS ||
			row->reply == CVMM_VHOST_USER_REPLY_IF_LOG_SHMFD));
}

static void answer(struct relay *r, const struct cvmm_vhost_user_msg *msg, uint64_t value)
{
	if (is_answered(msg))
		send_to(r, r->front, msg->request, CVMM_VHOST_USER_FLAG_REPLY, &value,
			sizeof(value), NULL, 0);
}

static void expect(struct relay *r, const struct asked *asked)
{
	if (r->asked_count == ANSWERS_MAX)
		abort();
	r->asked[(r->asked_first + r->asked_count++) % ANSWERS_MAX] = *asked;
}

/* A request of the relay's own. */
static void ask_for_ourselves(struct relay *r, uint32_t request, uint32_t index, uint32_t num)
{
	struct cvmm_vhost_user_vring_state state = { index, num };

	expect(r, &(struct asked){ .request = request, .ours = true });
	send_to(r, r->back, request, CVMM_VHOST_USER_FLAG_NEED_REPLY, &state, sizeof(state), NULL,
		0);
}

static uint64_t first_u64(const struct cvmm_vhost_user_msg *msg)
{
	return msg->size >= sizeof(uint64_t) ? msg->payload[0] : 0;
}

/* ---- requests ---------------------------------------------------------------------------------------------- */

static int another_file(int fd)
{
	struct stat st;
	int other;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	other = memfd_create("other", MFD_CLOEXEC);
	if (other < 0 || ftruncate(other, st.st_size))
		abort();
	return other;
}

static void swap_fds(struct cvmm_vhost_user_msg *msg)
{
	for (uint32_t i = 0; i < msg->fd_count; i++) {
		int other = another_file(msg->fds[i]);

		cvmm_close_fd(&msg->fds[i]);
		msg->fds[i] = other;
	}
}

static void on_kick(void *ctx, int fd, unsigned int events)
{
	(void)ctx;
	(void)fd;
	(void)events;
	die();
}

static void on_err(void *ctx, int fd, unsigned int events)
{
	(void)fd;
	(void)events;
	hang_up(ctx);
}

static void on_call_time(void *ctx)
{
	struct relay *r = ctx;
	uint64_t one = 1;

	(void)!write(r->call_fd, &one, sizeof(one));
}

static void keep_memory(const struct cvmm_vhost_user_msg *msg)
{
	for (uint32_t i = 0; i < msg->fd_count; i++) {
		struct stat st;

		if (fstat(msg->fds[i], &st) || st.st_size == 0)
			continue;
		if (mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, msg->fds[i],
			 0) == MAP_FAILED)
			die();
	}
}

/* What the defect wants with descriptors, besides what its action does. */
static void look_at_fds(struct relay *r, const struct cvmm_vhost_user_msg *msg)
{
	int fd = msg->fd_count ? fcntl(msg->fds[0], F_DUPFD_CLOEXEC, 0) : -1;

	if (fd < 0)
		return;
	if (msg->request == CVMM_VHOST_USER_SET_VRING_KICK && has(r, D_DIE_ON_KICK) &&
	    !r->kick_source)
		cvmm_loop_add_fd(r->loop, fd, CVMM_EVENT_READ, on_kick, r, &r->kick_source);
	else if (msg->request == CVMM_VHOST_USER_SET_VRING_ERR && has(r, D_HANG_UP_ON_ERR) &&
		 !r->err_source)
		cvmm_loop_add_fd(r->loop, fd, CVMM_EVENT_READ, on_err, r, &r->err_source);
	else if (msg->request == CVMM_VHOST_USER_SET_VRING_CALL && has(r, D_SPURIOUS_CALLS)) {
		r->call_fd = fd;
		cvmm_timer_arm(r->caller, CALLS_NS, CALLS_NS);
	} else if (msg->request == CVMM_VHOST_USER_SET_BACKEND_REQ_FD && has(r, D_CHATTY)) {
		struct cvmm_vhost_user_header header = { CVMM_VHOST_USER_BACKEND_CONFIG_CHANGE_MSG,
							 CVMM_VHOST_USER_VERSION, 0 };

		(void)!send(fd, &header, sizeof(header), MSG_NOSIGNAL);
		close(fd);
	} else {
		close(fd);
	}
	if (msg->request == CVMM_VHOST_USER_SET_MEM_TABLE ||
	    msg->request == CVMM_VHOST_USER_ADD_MEM_REG)
		if (has(r, D_KEEP_MAPS))
			keep_memory(msg);
}

static void pass_on(struct relay *r, struct cvmm_vhost_user_msg *msg, bool affected)
{
	struct asked asked = { .request = msg->request, .affected = affected };
	uint32_t flags = msg->flags & ~CVMM_VHOST_USER_VERSION_MASK;

	asked.unasked = affected && has(r, D_UNASKED_ACKS) && !is_answered(msg);
	if (asked.unasked)
		flags |= CVMM_VHOST_USER_FLAG_NEED_REPLY;
	if (asked.unasked || is_answered(msg))
		expect(r, &asked);
	if (r->back)
		send_to(r, r->back, msg->request, flags, msg->payload, msg->size, msg->fds,
			msg->fd_count);
}

/* Return: whether the request is passed on. */
static bool act(struct relay *r, struct cvmm_vhost_user_msg *msg)
{
	static uint64_t object[257];
	struct cvmm_vhost_user_config *config = (void *)msg->payload;

	switch (r->defect->on_request) {
	case R_PASS:
		return true;
	case R_SWALLOW:
		answer(r, msg, 0);
		return false;
	case R_NACK:
		answer(r, msg, 1);
		return false;
	case R_SAY:
		answer(r, msg, r->defect->value);
		return false;
	case R_OBJECT:
		object[0] = r->defect->value;
		object[1] = r->seen; /* so that no two are the same */
		send_to(r, r->front, msg->request, CVMM_VHOST_USER_FLAG_REPLY, object,
			sizeof(object), msg->fds, msg->fd_count);
		return false;
	case R_HANG_UP:
		hang_up(r);
		return false;
	case R_DEAF:
		r->deaf = true;
		return false;
	case R_DIE:
		die();
	case R_SET_BITS:
		msg->payload[0] |= r->defect->value;
		return true;
	case R_CLEAR_BITS:
		msg->payload[0] &= ~r->defect->value;
		return true;
	case R_SWAP_FDS:
		swap_fds(msg);
		return true;
	case R_OFFSET_0:
		r->config_offset = config->offset;
		config->offset = 0;
		return true;
	}
	return true;
}

static bool is_affected(struct relay *r, const struct cvmm_vhost_user_msg *msg)
{
	const struct defect *d = r->defect;

	if (!d || (d->request && d->request != msg->request) || (d->when && !d->when(msg)))
		return false;
	return ++r->seen >= d->nth;
}

static void on_request(struct relay *r, struct cvmm_vhost_user_msg *msg)
{
	bool affected = is_affected(r, msg);

	look_at_fds(r, msg);
	if (msg->request == CVMM_VHOST_USER_SET_PROTOCOL_FEATURES && r->defect)
		msg->payload[0] &= ~r->defect->offer;
	if (msg->request == CVMM_VHOST_USER_SET_VRING_KICK && has(r, D_NO_KICK))
		swap_fds(msg);
	if (msg->request == CVMM_VHOST_USER_SET_VRING_ENABLE && has(r, D_FORCE_ENABLE)) {
		answer(r, msg, 0);
		return;
	}
	if (affected && !act(r, msg))
		return;
	pass_on(r, msg, affected);
	if (msg->request == CVMM_VHOST_USER_SET_VRING_KICK && has(r, D_FORCE_ENABLE))
		ask_for_ourselves(r, CVMM_VHOST_USER_SET_VRING_ENABLE,
				  first_u64(msg) & CVMM_VHOST_USER_VRING_INDEX_MASK, 1);
	if (msg->request == CVMM_VHOST_USER_GET_VRING_BASE && has(r, D_DISABLE_ON_STOP))
		ask_for_ourselves(r, CVMM_VHOST_USER_SET_VRING_ENABLE, (uint32_t)first_u64(msg), 0);
}

/* ---- answers ----------------------------------------------------------------------------------------------- */

static void change_content(struct cvmm_vhost_user_msg *msg)
{
	struct cvmm_vhost_user_config *config = (void *)msg->payload;
	uint8_t *bytes = (uint8_t *)(config + 1);

	if (msg->size > sizeof(*config)) {
		bytes[0] ^= 0xff;
		return;
	}
	config->offset = UINT32_MAX - 3;
	config->size = 8;
	msg->size = sizeof(*config) + 8;
}

/* Return: whether it is passed on. */
static bool change_answer(struct relay *r, struct cvmm_vhost_user_msg *msg)
{
	uint32_t *words = (void *)msg->payload;

	switch (r->defect->on_answer) {
	case A_PASS:
		break;
	case A_DROP:
		return false;
	case A_HANG_UP:
		hang_up(r);
		return false;
	case A_SAY:
		msg->payload[0] = r->defect->value;
		break;
	case A_XOR:
		msg->payload[0] ^= r->defect->value;
		break;
	case A_GROW:
		words[1] += ++r->answered;
		break;
	case A_FLAGS:
		msg->flags |= (uint32_t)r->defect->value;
		break;
	case A_STRIP_FDS:
		cvmm_vhost_user_msg_fini(msg);
		break;
	case A_CONTENT:
		if (++r->answered > 1 || msg->size <= sizeof(struct cvmm_vhost_user_config))
			change_content(msg);
		break;
	}
	return true;
}

static bool is_refusal(const struct cvmm_vhost_user_msg *msg)
{
	const struct cvmm_vhost_user_message *row =
		cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL, msg->request);

	return (!row || row->reply == CVMM_VHOST_USER_REPLY_ON_DEMAND ||
		row->reply == CVMM_VHOST_USER_REPLY_IF_POSTCOPY) &&
	       msg->size == sizeof(uint64_t) && msg->payload[0];
}

static void on_answer(struct relay *r, struct cvmm_vhost_user_msg *msg)
{
	struct asked asked = { 0 };

	/* Others are answers, too: to SET_MEM_TABLE while post-copy listens. */
	if (r->asked_count && r->asked[r->asked_first].request == msg->request) {
		asked = r->asked[r->asked_first];
		r->asked_first = (r->asked_first + 1) % ANSWERS_MAX;
		r->asked_count--;
	}
	if (asked.ours || !r->front)
		return;
	if (is_refusal(msg) && has(r, D_STOP_ON_NACK))
		ask_for_ourselves(r, CVMM_VHOST_USER_GET_VRING_BASE, 0, 0);
	if (is_refusal(msg) && has(r, D_ACK_ALL))
		msg->payload[0] = 0;
	if (is_refusal(msg) && has(r, D_HANG_UP_ON_NACK)) {
		hang_up(r);
		return;
	}
	if (msg->request == CVMM_VHOST_USER_GET_PROTOCOL_FEATURES && r->defect)
		msg->payload[0] |= r->defect->offer;
	if (msg->request == CVMM_VHOST_USER_GET_PROTOCOL_FEATURES && has(r, D_SHMEM_IS_21))
		msg->payload[0] &= ~CVMM_VHOST_USER_PROTOCOL(SHMEM);
	if (asked.affected && r->defect->on_request == R_OFFSET_0)
		((struct cvmm_vhost_user_config *)(void *)msg->payload)->offset = r->config_offset;
	if (asked.affected && !change_answer(r, msg))
		return;
	send_to(r, r->front, msg->request, msg->flags & ~CVMM_VHOST_USER_VERSION_MASK, msg->payload,
		msg->size, msg->fds, msg->fd_count);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

/* What is there, without taking it. Descriptors come too, and are kept: that is how they leak. */
static ssize_t peek(int fd, void *dst, size_t len, uint32_t *ret_fds, bool keep)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(CVMM_VHOST_USER_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { dst, len };
	struct msghdr hdr = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(fd, &hdr, MSG_PEEK | MSG_DONTWAIT);

	*ret_fds = 0;
	if (n < 0)
		return n;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&hdr); c; c = CMSG_NXTHDR(&hdr, c)) {
		uint32_t count = (uint32_t)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

		*ret_fds += count;
		for (uint32_t i = 0; !keep && i < count; i++) {
			int other;

			memcpy(&other, CMSG_DATA(c) + i * sizeof(other), sizeof(other));
			close(other);
		}
	}
	return n;
}

/* A header that our own reader would not take. Return: whether it was dealt with. */
static bool tolerate(struct relay *r, int fd)
{
	struct cvmm_vhost_user_header header;
	struct cvmm_vhost_user_msg *msg;
	uint32_t fds;

	if (peek(fd, &header, sizeof(header), &fds, false) != sizeof(header))
		return false;
	if (header.size > CVMM_VHOST_USER_PAYLOAD_MAX) {
		r->deaf = true;
		return true;
	}
	if (header.flags == CVMM_VHOST_USER_VERSION || header.size ||
	    header.flags == (CVMM_VHOST_USER_VERSION | CVMM_VHOST_USER_FLAG_NEED_REPLY))
		return false;
	msg = calloc(1, sizeof(*msg));
	if (!msg || recv(fd, &header, sizeof(header), MSG_DONTWAIT) != sizeof(header))
		abort();
	msg->request = header.request;
	msg->flags = CVMM_VHOST_USER_VERSION;
	on_request(r, msg);
	free(msg);
	return true;
}

/* Return: whether a message may be read now. */
static bool look_before_reading(struct relay *r, int fd)
{
	uint8_t bytes[sizeof(struct cvmm_vhost_user_header) + CVMM_VHOST_USER_PAYLOAD_MAX];
	struct cvmm_vhost_user_header header;
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };
	uint32_t fds;
	ssize_t n;

	/* Waits a little: the half-close comes right after the request. */
	if (has(r, D_HALF_CLOSE_IS_END) && poll(&p, 1, HALF_CLOSE_MS) == 1 &&
	    p.revents & POLLRDHUP) {
		hang_up(r);
		return false;
	}
	if (!has(r, D_KEEP_FDS | D_WHOLE_MESSAGES | D_TOLERANT | D_DEAF_ON_FDS))
		return true;
	if (has(r, D_TOLERANT) && tolerate(r, fd))
		return false;
	n = peek(fd, bytes, sizeof(bytes), &fds, has(r, D_KEEP_FDS));
	if (fds > MANY_FDS && has(r, D_DEAF_ON_FDS))
		r->deaf = true;
	if (n > 0 && has(r, D_WHOLE_MESSAGES)) {
		memcpy(&header, bytes, sizeof(header));
		if ((size_t)n < sizeof(header) || (size_t)n < sizeof(header) + header.size)
			hang_up(r);
	}
	return !r->deaf && r->front;
}

static void front_is_gone(struct relay *r, const struct cvmm_error *err)
{
	if (has(r, D_DIE_AT_END) ||
	    (has(r, D_DIE_IN_MESSAGE) && strstr(err->message, "in the middle of a message")))
		die();
	hang_up(r);
}

static void from_front(void *ctx, int fd, unsigned int events)
{
	struct relay *r = ctx;
	struct cvmm_vhost_user_msg *msg;
	struct cvmm_error err = { 0 };
	int n;

	(void)events;
	if (r->deaf) {
		char byte;

		if (recv(fd, &byte, 1, MSG_DONTWAIT) == 0)
			hang_up(r);
		return;
	}
	if (!look_before_reading(r, fd))
		return;
	n = cvmm_vhost_user_conn_receive(r->front, &msg, &err);
	if (n < 0)
		front_is_gone(r, &err);
	if (n != 1)
		return;
	on_request(r, msg);
	if (r->front)
		cvmm_vhost_user_msg_fini(msg);
	if (has(r, D_FORGETFUL) && r->front) {
		char rest[512];

		while (recv(fd, rest, sizeof(rest), MSG_DONTWAIT) > 0)
			;
	}
}

/* The back-end hung up. Where that is not wanted, what it was asked last is answered in its place. */
static void back_is_gone(struct relay *r)
{
	close_back(r);
	if (!r->front || has(r, D_LINGER))
		return;
	if (!has(r, D_STAY_OPEN)) {
		hang_up(r);
		return;
	}
	r->asked_count = 0;
}

static void from_back(void *ctx, int fd, unsigned int events)
{
	struct relay *r = ctx;
	struct cvmm_vhost_user_msg *msg;
	int n = cvmm_vhost_user_conn_receive(r->back, &msg, NULL);

	(void)fd;
	(void)events;
	if (n < 0)
		back_is_gone(r);
	else if (n == 1)
		on_answer(r, msg);
}

/* ---- connections --------------------------------------------------------------------------------------------- */

static void begin(struct relay *r, int fd)
{
	struct cvmm_error err = { 0 };
	int pair[2];

	r->deaf = false;
	r->seen = r->answered = 0;
	r->asked_first = r->asked_count = 0;
	r->busy = true;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) ||
	    cvmm_vhost_user_conn_create(fd, &r->front, &err) ||
	    cvmm_vhost_user_conn_create(pair[0], &r->back, &err) ||
	    cvmm_vhost_user_backend_attach(r->backend, pair[1], &err) ||
	    cvmm_loop_add_fd(r->loop, fd, CVMM_EVENT_READ, from_front, r, &r->front_source) ||
	    cvmm_loop_add_fd(r->loop, pair[0], CVMM_EVENT_READ, from_back, r, &r->back_source))
		die();
}

static void on_connection(void *ctx, int fd, unsigned int events)
{
	struct relay *r = ctx;

	(void)events;
	if (r->busy) {
		if (has(r, D_ONE_FRONT_END))
			hang_up(r);
		else
			cvmm_source_set_events(r->accepting, 0);
		return;
	}
	fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		begin(r, fd);
}

static void listen_at(struct relay *r, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	r->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	unlink(path);
	if (bind(r->listener, (struct sockaddr *)&addr, sizeof(addr)) || listen(r->listener, 16))
		die();
}

void serve_with_defect(const struct defect *defect, const char *device, const char *path)
{
	static struct relay r;
	struct cvmm_vhost_user_backend_config config = {
		.ops = &test_device_ops,
		.extra = &test_device_extra,
		.offer = CVMM_VIRTIO_RING_FEATURES_ALL,
		.closed = on_closed,
		.closed_ctx = &r,
	};
	struct cvmm_error err = { 0 };

	signal(SIGPIPE, SIG_IGN);
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }); /* dying is what some defects are about */
	r.defect = defect;
	r.call_fd = -1;
	listen_at(&r, path);
	if (cvmm_loop_create(CVMM_LOOP_AUTO, &r.loop) ||
	    cvmm_loop_add_timer(r.loop, close_back, &r, &r.linger) ||
	    cvmm_loop_add_timer(r.loop, on_call_time, &r, &r.caller))
		die();
	config.loop = r.loop;
	config.dev = test_device_create(device, defect ? defect->flags : 0);
	if (cvmm_vhost_user_backend_create(&config, &r.backend, &err) ||
	    cvmm_loop_add_fd(r.loop, r.listener, CVMM_EVENT_READ, on_connection, &r, &r.accepting))
		die();
	cvmm_loop_run(r.loop);
	exit(0);
}
