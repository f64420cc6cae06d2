// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * A connection to the back-end: messages, what becomes of them, and the stages that tests begin at.
 */
#include <errno.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf.h"

/* A back-end may need this long until it serves the next connection. */
#define SERVE_MS 5000U

/* ---- verdicts ---------------------------------------------------------------------------------- */

void conf_fail(struct conf *t, const char *fmt, ...)
{
	char text[CONF_TEXT_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	t->result.outcome = CONF_FAILED;
	snprintf(t->result.text, sizeof(t->result.text), "%s%.700s",
		 t->set_up ? "" : "in the set-up of the test: ", text);
	longjmp(t->end, 1);
}

void conf_skip(struct conf *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t->result.text, sizeof(t->result.text), fmt, ap);
	va_end(ap);
	t->result.outcome = CONF_SKIPPED;
	longjmp(t->end, 1);
}

void conf_note(struct conf *t, const char *fmt, ...)
{
	va_list ap;

	if (t->result.note_count == CONF_NOTES_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(t->result.notes[t->result.note_count++], CONF_TEXT_SIZE, fmt, ap);
	va_end(ap);
}

void conf_trace(struct conf *t, const char *fmt, ...)
{
	struct conf_trace *trace = &t->result.trace;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(trace->lines[trace->count++ % CONF_TRACE_LINES], CONF_TRACE_SIZE, fmt, ap);
	va_end(ap);
}

const char *conf_request_name(uint32_t request)
{
	const struct cvmm_vhost_user_message *row =
		cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL, request);

	return row ? row->name : "an unknown request";
}

/* ---- sending ----------------------------------------------------------------------------------- */

size_t conf_message(void *buf, uint32_t request, uint32_t flags, const void *payload, size_t size)
{
	struct cvmm_vhost_user_header header = { request, flags | CVMM_VHOST_USER_VERSION,
						 (uint32_t)size };

	memcpy(buf, &header, sizeof(header));
	if (size)
		memcpy((uint8_t *)buf + sizeof(header), payload, size);
	return sizeof(header) + size;
}

/* One sendmsg(). Return: bytes or negative errno. */
static ssize_t send_some(int sock, const void *bytes, size_t len, const int *fds, size_t fd_count)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(CVMM_VHOST_USER_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (fd_count) {
		struct cmsghdr *c;

		CVMM_BUG_ON(fd_count > CVMM_VHOST_USER_FDS_MAX);
		memset(&control, 0, sizeof(control));
		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		c = CMSG_FIRSTHDR(&hdr);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
	}
	n = sendmsg(sock, &hdr, MSG_NOSIGNAL | MSG_DONTWAIT);
	return n < 0 ? -errno : n;
}

static bool is_gone(int error)
{
	return error == -EPIPE || error == -ECONNRESET || error == -ENOTCONN;
}

void conf_raw(struct conf *t, const void *bytes, size_t len, const int *fds, size_t fd_count)
{
	uint64_t deadline = cvmm_clock_ns() + t->options->timeout_ms * CVMM_NS_PER_MS;
	size_t done = 0;

	while (done < len) {
		ssize_t n =
			send_some(cvmm_vhost_user_conn_fd(t->conn), (const uint8_t *)bytes + done,
				  len - done, fds, done ? 0 : fd_count);

		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		if (is_gone((int)n)) {
			conf_trace(t, "! the connection was closed while sending");
			return; /* which is seen when the answer is waited for */
		}
		if (n != -EAGAIN && n != -EINTR)
			conf_fail(t, "the suite cannot send: %s", strerror((int)-n));
		if (n == -EAGAIN && cvmm_vhost_user_conn_wait(t->conn, true, deadline))
			conf_fail(t, "the back-end reads nothing for %u ms",
				  t->options->timeout_ms);
	}
}

void conf_send(struct conf *t, uint32_t request, uint32_t flags, const void *payload, size_t size,
	       const int *fds, size_t fd_count)
{
	uint8_t buf[sizeof(struct cvmm_vhost_user_header) + CVMM_VHOST_USER_PAYLOAD_MAX];
	size_t len = conf_message(buf, request, flags, payload, size);

	conf_trace(t, "> %s (%u)%s%s, %zu bytes, %zu descriptors", conf_request_name(request),
		   request, flags & CVMM_VHOST_USER_FLAG_NEED_REPLY ? " NEED_REPLY" : "",
		   flags & CVMM_VHOST_USER_FLAG_REPLY ? " REPLY" : "", size, fd_count);
	conf_raw(t, buf, len, fds, fd_count);
}

/* ---- receiving --------------------------------------------------------------------------------- */

static void trace_message(struct conf *t)
{
	uint64_t value;

	if (t->msg->size == sizeof(value)) {
		memcpy(&value, t->msg->payload, sizeof(value));
		conf_trace(t, "< %s (%u), 0x%llx, %u descriptors",
			   conf_request_name(t->msg->request), t->msg->request,
			   (unsigned long long)value, t->msg->fd_count);
	} else {
		conf_trace(t, "< %s (%u), %u bytes, %u descriptors",
			   conf_request_name(t->msg->request), t->msg->request, t->msg->size,
			   t->msg->fd_count);
	}
}

enum conf_end conf_receive(struct conf *t, unsigned int timeout_ms)
{
	struct cvmm_error err = { 0 };
	int r = cvmm_vhost_user_conn_receive_by(
		t->conn, &t->msg, cvmm_clock_ns() + timeout_ms * CVMM_NS_PER_MS, &err);

	if (!r) {
		trace_message(t);
		return CONF_ANSWERED;
	}
	t->msg = NULL;
	if (r == -ETIMEDOUT) {
		conf_trace(t, "! nothing for %u ms", timeout_ms);
		return CONF_SILENT;
	}
	if (r == -EPROTO) {
		conf_trace(t, "! no message: %.120s", err.message);
		return CONF_UNREADABLE;
	}
	conf_trace(t, "! the connection was closed");
	return CONF_CLOSED;
}

enum conf_end conf_receive_answer(struct conf *t, uint32_t request)
{
	enum conf_end end = conf_receive(t, t->options->timeout_ms);

	if (end == CONF_UNREADABLE)
		conf_fail(t, "%s: what came back is no message", conf_request_name(request));
	if (end != CONF_ANSWERED)
		return end;
	if (!(t->msg->flags & CVMM_VHOST_USER_FLAG_REPLY))
		conf_fail(t, "%s: the answer lacks the reply flag", conf_request_name(request));
	if (t->msg->request != request)
		conf_fail(t, "%s: got an answer to %s (%u)", conf_request_name(request),
			  conf_request_name(t->msg->request), t->msg->request);
	return end;
}

void conf_ask(struct conf *t, uint32_t request, const void *payload, size_t size)
{
	conf_send(t, request, 0, payload, size, NULL, 0);
	switch (conf_receive_answer(t, request)) {
	case CONF_ANSWERED:
		return;
	case CONF_SILENT:
		conf_fail(t, "%s: no answer for %u ms", conf_request_name(request),
			  t->options->timeout_ms);
	default:
		conf_fail(t, "%s: the back-end closed the connection", conf_request_name(request));
	}
}

uint64_t conf_answer_u64(struct conf *t)
{
	uint64_t value;

	if (t->msg->size != sizeof(value))
		conf_fail(t, "%s: the answer has %u bytes and not 8",
			  conf_request_name(t->msg->request), t->msg->size);
	memcpy(&value, t->msg->payload, sizeof(value));
	return value;
}

uint64_t conf_ask_u64(struct conf *t, uint32_t request)
{
	conf_ask(t, request, NULL, 0);
	return conf_answer_u64(t);
}

bool conf_is_alive(struct conf *t)
{
	conf_send(t, CVMM_VHOST_USER_GET_FEATURES, 0, NULL, 0, NULL, 0);
	return conf_receive_answer(t, CVMM_VHOST_USER_GET_FEATURES) == CONF_ANSWERED;
}

void conf_must_be_alive(struct conf *t, const char *after)
{
	if (!conf_is_alive(t))
		conf_fail(t, "the connection does not answer after %s", after);
}

/* ---- requests ---------------------------------------------------------------------------------- */

static enum conf_verdict verdict_of(struct conf *t, enum conf_end end)
{
	switch (end) {
	case CONF_ANSWERED:
		return conf_answer_u64(t) ? CONF_NACKED : CONF_ACKED;
	case CONF_SILENT:
		return CONF_MUTE;
	default:
		return CONF_HUNG_UP;
	}
}

enum conf_verdict conf_try(struct conf *t, uint32_t request, const void *payload, size_t size,
			   const int *fds, size_t fd_count)
{
	bool ack = t->protocol & CVMM_VHOST_USER_PROTOCOL(REPLY_ACK);

	conf_send(t, request, ack ? CVMM_VHOST_USER_FLAG_NEED_REPLY : 0, payload, size, fds,
		  fd_count);
	if (ack)
		return verdict_of(t, conf_receive_answer(t, request));
	return conf_is_alive(t) ? CONF_UNSEEN : CONF_HUNG_UP;
}

enum conf_verdict conf_try_u64(struct conf *t, uint32_t request, uint64_t value)
{
	return conf_try(t, request, &value, sizeof(value), NULL, 0);
}

enum conf_verdict conf_try_state(struct conf *t, uint32_t request, uint32_t index, uint32_t num)
{
	struct cvmm_vhost_user_vring_state state = { index, num };

	return conf_try(t, request, &state, sizeof(state), NULL, 0);
}

enum conf_verdict conf_try_fd(struct conf *t, uint32_t request, uint64_t value, int fd)
{
	return conf_try(t, request, &value, sizeof(value), &fd, fd < 0 ? 0 : 1);
}

static _Noreturn void not_answered(struct conf *t, const char *what)
{
	conf_fail(t, "not answered for %u ms: %s", t->options->timeout_ms, what);
}

void conf_accepted(struct conf *t, enum conf_verdict verdict, const char *what)
{
	switch (verdict) {
	case CONF_ACKED:
	case CONF_UNSEEN:
		return;
	case CONF_NACKED:
		conf_fail(t, "refused: %s", what);
	case CONF_HUNG_UP:
		conf_fail(t, "the back-end closed the connection: %s", what);
	case CONF_MUTE:
		not_answered(t, what);
	}
}

void conf_refused(struct conf *t, enum conf_verdict verdict, const char *what)
{
	switch (verdict) {
	case CONF_NACKED:
		return;
	case CONF_HUNG_UP:
		conf_note(t, "refused by closing the connection: %s", what);
		return;
	case CONF_ACKED:
		if (!conf_is_alive(t))
			conf_fail(t, "acknowledged as done, and then the connection was closed: %s",
				  what);
		conf_fail(t, "accepted: %s", what);
	case CONF_MUTE:
		not_answered(t, what);
	case CONF_UNSEEN:
		conf_skip(t, "without REPLY_ACK nobody sees whether it was refused");
	}
}

/* ---- stages ------------------------------------------------------------------------------------ */

void conf_close(struct conf *t)
{
	cvmm_vhost_user_conn_destroy(t->conn);
	t->conn = NULL;
	t->msg = NULL;
	t->protocol = t->acked = 0;
}

/* One attempt; who serves it may be about to end. */
static bool connect_once(struct conf *t, uint64_t deadline_ns, struct cvmm_error *err)
{
	int fd = conf_peer_connect(t->peer, deadline_ns, err);
	int size = 1 << 20;

	if (fd < 0 || cvmm_vhost_user_conn_create(fd, &t->conn, err))
		return false;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	conf_trace(t, "! connected");
	conf_send(t, CVMM_VHOST_USER_GET_FEATURES, 0, NULL, 0, NULL, 0);
	switch (conf_receive_answer(t, CVMM_VHOST_USER_GET_FEATURES)) {
	case CONF_ANSWERED:
		t->features = conf_answer_u64(t);
		return true;
	case CONF_SILENT:
		cvmm_fail(err, -ETIMEDOUT, "GET_FEATURES is not answered for %u ms",
			  t->options->timeout_ms);
		break;
	default:
		cvmm_fail(err, -ECONNRESET, "the connection is closed at once");
	}
	conf_close(t);
	return false;
}

void conf_connect(struct conf *t)
{
	uint64_t deadline = cvmm_clock_ns() + (SERVE_MS + t->options->timeout_ms) * CVMM_NS_PER_MS;
	struct cvmm_error err = { 0 };

	conf_close(t);
	while (!connect_once(t, deadline, &err)) {
		if (cvmm_clock_ns() >= deadline || err.code == -ENOEXEC)
			conf_fail(t, "the back-end does not serve a new connection: %s",
				  err.message);
		conf_sleep_ms(5);
	}
}

static uint64_t usual_protocol(const struct conf *t)
{
	const uint64_t usual = CVMM_VHOST_USER_PROTOCOL(MQ) | CVMM_VHOST_USER_PROTOCOL(REPLY_ACK) |
			       CVMM_VHOST_USER_PROTOCOL(CONFIG);

	return t->protocol_offered & (usual | t->test->protocol);
}

void conf_set_protocol(struct conf *t, uint64_t protocol)
{
	conf_send(t, CVMM_VHOST_USER_SET_PROTOCOL_FEATURES, 0, &protocol, sizeof(protocol), NULL,
		  0);
	t->protocol = protocol;
}

static void need_protocol(struct conf *t, uint64_t needed)
{
	uint64_t missing = needed & ~t->protocol_offered;
	const char *name;

	if (!missing)
		return;
	name = cvmm_vhost_user_protocol_feature_name((unsigned int)__builtin_ctzll(missing));
	conf_skip(t, "the back-end does not offer %s", name ? name : "that protocol feature");
}

static void negotiate(struct conf *t)
{
	if (t->features & CONF_F_PROTOCOL) {
		t->protocol_offered = conf_ask_u64(t, CVMM_VHOST_USER_GET_PROTOCOL_FEATURES);
		need_protocol(t, t->test->protocol);
		conf_set_protocol(t, usual_protocol(t));
	}
	need_protocol(t, t->test->protocol);
	if (t->test->needs & CONF_NEEDS_ACK)
		need_protocol(t, CVMM_VHOST_USER_PROTOCOL(REPLY_ACK));
	conf_send(t, CVMM_VHOST_USER_SET_OWNER, 0, NULL, 0, NULL, 0);
	if (t->protocol & CVMM_VHOST_USER_PROTOCOL(MQ))
		t->queue_count = (unsigned int)conf_ask_u64(t, CVMM_VHOST_USER_GET_QUEUE_NUM);
}

uint64_t conf_wanted_features(const struct conf *t)
{
	return t->features & (CONF_F_PROTOCOL | CONF_F_VERSION_1 | t->test->features) &
	       ~CONF_F_LOG_ALL;
}

void conf_set_features(struct conf *t, uint64_t features)
{
	conf_accepted(t, conf_try_u64(t, CVMM_VHOST_USER_SET_FEATURES, features), "SET_FEATURES");
	t->acked = features;
}

static const char *feature_name(uint64_t feature)
{
	switch (feature) {
	case CONF_F_INDIRECT:
		return "INDIRECT_DESC";
	case CONF_F_EVENT_IDX:
		return "EVENT_IDX";
	case CONF_F_VERSION_1:
		return "VERSION_1";
	case CONF_F_PLATFORM:
		return "ACCESS_PLATFORM";
	case CONF_F_PACKED:
		return "RING_PACKED";
	case CONF_F_IN_ORDER:
		return "IN_ORDER";
	case CONF_F_LOG_ALL:
		return "LOG_ALL";
	case CONF_F_PROTOCOL:
		return "PROTOCOL_FEATURES";
	}
	return "a feature of the device";
}

static void share(struct conf *t)
{
	conf_set_features(t, conf_wanted_features(t));
	conf_ram_default(t);
	conf_accepted(t, conf_ram_share(t), "SET_MEM_TABLE");
}

void conf_enter(struct conf *t, enum conf_stage stage)
{
	uint64_t missing = t->test->features & ~t->features;

	if (missing)
		conf_skip(t, "the back-end does not offer %s",
			  feature_name(missing & (~missing + 1)));
	if (stage >= CONF_NEGOTIATED)
		negotiate(t);
	if (stage >= CONF_SHARED)
		share(t);
	if (stage >= CONF_RUNNING)
		conf_queues_start(t, true);
}

void conf_reopen(struct conf *t, enum conf_stage stage)
{
	conf_close(t);
	conf_queues_fini(t);
	conf_ram_fini(&t->ram);
	conf_connect(t);
	conf_enter(t, stage);
}

void conf_recovers(struct conf *t)
{
	conf_reopen(t, t->device ? CONF_RUNNING : CONF_SHARED);
	if (t->device)
		conf_one_request(t, 0);
}

unsigned int conf_queue_limit(const struct conf *t)
{
	if (t->queue_count)
		return t->queue_count;
	return t->device ? t->device->queue_count : 1;
}
