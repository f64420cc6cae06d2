// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Requests of the front-end, and their answers.
 *
 * Theory of operation: answers come in the order of the requests, so calls that wait for one stand in a
 * line. Whoever waits reads what is there and gives it to the first call in the line, be it his own or
 * not; the owner of the call is woken. So several threads can have requests under way, and one that
 * handles a request of the back-end can make a request of its own while another thread waits in the
 * middle of a call: what the back-end wants to know may be what it needs to answer.
 *
 * While a call waits it also serves the back-end channel, if no other thread does.
 *
 * A request that was sent and not answered leaves a stream that nobody can make sense of. So a deadline
 * that passes, an answer to something else and an answer of another form end the connection. The socket
 * is shut down then, and stays open: others may be polling it.
 */
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include "vhost_user_frontend_internal.h"

/**
 * struct frontend_call - a request under way
 * @row: of the table, or NULL
 * @next: in the line of those that wait
 * @wake: which of fe->wakes is its
 * @is_sent: the connection has it
 * @is_done: with @result
 */
struct frontend_call {
	const struct frontend_request *request;
	const struct cvmm_vhost_user_message *row;
	struct cvmm_vhost_user_msg *answer;
	struct frontend_call *next;
	unsigned int wake;
	bool is_sent;
	bool is_done;
	int result;
};

static const char *call_name(const struct frontend_call *call)
{
	return call->row ? call->row->name : "request";
}

/* ---- the line of calls --------------------------------------------------------------------------- */

void frontend_wake_all(struct cvmm_vhost_user_frontend *fe)
{
	for (unsigned int i = 0; i < FRONTEND_CALLS_MAX; i++)
		if (fe->wakes_used >> i & 1)
			(void)cvmm_notifier_signal(&fe->wakes[i]);
}

static int enter(struct cvmm_vhost_user_frontend *fe, struct frontend_call *call,
		 struct cvmm_error *err)
{
	unsigned int i = 0;
	int r = 0;

	pthread_mutex_lock(&fe->lock);
	while (i < FRONTEND_CALLS_MAX && fe->wakes_used >> i & 1)
		i++;
	if (i == FRONTEND_CALLS_MAX)
		r = cvmm_fail(err, -EBUSY, "more than %u requests at a time", FRONTEND_CALLS_MAX);
	else if (fe->wakes[i].read_fd < 0)
		r = cvmm_notifier_init(&fe->wakes[i], CVMM_NOTIFIER_AUTO);
	if (!r) {
		call->wake = i;
		fe->wakes_used |= 1U << i;
	} else if (r != -EBUSY) {
		cvmm_fail(err, r, "cannot make a notifier: %s", strerror(-r));
	}
	pthread_mutex_unlock(&fe->lock);
	return r;
}

static void leave(struct cvmm_vhost_user_frontend *fe, struct frontend_call *call)
{
	pthread_mutex_lock(&fe->lock);
	(void)cvmm_notifier_consume(&fe->wakes[call->wake]);
	fe->wakes_used &= ~(1U << call->wake);
	pthread_mutex_unlock(&fe->lock);
}

static void append(struct cvmm_vhost_user_frontend *fe, struct frontend_call *call)
{
	struct frontend_call **at = &fe->first;

	while (*at)
		at = &(*at)->next;
	*at = call;
}

static void finish(struct cvmm_vhost_user_frontend *fe, struct frontend_call *call, int result)
{
	call->is_done = true;
	call->result = result;
	(void)cvmm_notifier_signal(&fe->wakes[call->wake]);
}

/* ---- the end of the connection ------------------------------------------------------------------- */

/* All that wait are told; the sockets stay, as somebody may be polling them. */
static void lose(struct cvmm_vhost_user_frontend *fe, int code, const char *message)
{
	if (fe->lost)
		return;
	__atomic_store_n(&fe->lost, code, __ATOMIC_RELAXED);
	snprintf(fe->lost_message, sizeof(fe->lost_message), "%s", message);
	cvmm_log(fe->config.log, CVMM_LOG_WARN, "vhost-user: lost the back-end: %s", message);
	(void)shutdown(cvmm_vhost_user_conn_fd(fe->conn), SHUT_RDWR);
	if (fe->channel.conn)
		(void)shutdown(cvmm_vhost_user_conn_fd(fe->channel.conn), SHUT_RDWR);
	while (fe->first) {
		struct frontend_call *call = fe->first;

		fe->first = call->next;
		finish(fe, call, code);
	}
	frontend_wake_all(fe);
}

void frontend_lose(struct cvmm_vhost_user_frontend *fe, int code, const char *message)
{
	pthread_mutex_lock(&fe->lock);
	lose(fe, code, message);
	pthread_mutex_unlock(&fe->lock);
}

int frontend_violated(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err, const char *fmt,
		      ...)
{
	char message[CVMM_ERROR_MESSAGE_SIZE];
	va_list args;

	va_start(args, fmt);
	vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	frontend_lose(fe, -EPROTO, message);
	return cvmm_fail(err, -EPROTO, "%s", message);
}

/* What all later calls get. */
static int was_lost(const struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	return cvmm_fail(err, -ECONNRESET, "the connection is lost: %s", fe->lost_message);
}

/* ---- sending and receiving; all with the lock held ------------------------------------------------ */

/* Errors of a write that are the caller's, and before any byte has gone. */
static bool is_callers_fault(int code)
{
	return code == -EMSGSIZE || code == -EBADF || code == -ETOOMANYREFS || code == -EMFILE ||
	       code == -ENFILE;
}

static int write_more(struct cvmm_vhost_user_frontend *fe, struct frontend_call *call)
{
	const struct frontend_request *q = call->request;
	int r = cvmm_vhost_user_conn_flush(fe->conn);

	if (r < 0 || call->is_sent || r == 0)
		return r < 0 ? r : 0;
	r = cvmm_vhost_user_conn_send(fe->conn, q->request, q->flags, q->payload, q->payload_count,
				      q->fds, q->fd_count);
	if (r)
		return r;
	call->is_sent = true;
	if (q->has_answer)
		append(fe, call);
	return 0;
}

/* Move a message, whose storage is the connection's. */
static void move_answer(struct cvmm_vhost_user_msg *to, struct cvmm_vhost_user_msg *from)
{
	to->request = from->request;
	to->flags = from->flags;
	to->size = from->size;
	to->fd_count = from->fd_count;
	memcpy(to->payload, from->payload, from->size);
	memcpy(to->fds, from->fds, from->fd_count * sizeof(from->fds[0]));
	from->fd_count = 0;
}

static int deliver(struct cvmm_vhost_user_frontend *fe, struct cvmm_vhost_user_msg *msg,
		   struct cvmm_error *err)
{
	struct frontend_call *call = fe->first;

	if (!(msg->flags & CVMM_VHOST_USER_FLAG_REPLY))
		return cvmm_fail(err, -EPROTO, "message %u came instead of the answer to %s (%u)",
				 msg->request, call_name(call), call->request->request);
	if (msg->request != call->request->request)
		return cvmm_fail(err, -EPROTO, "an answer to %u came instead of one to %s (%u)",
				 msg->request, call_name(call), call->request->request);
	fe->first = call->next;
	move_answer(call->answer, msg);
	finish(fe, call, 0);
	return 0;
}

static int read_more(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	struct cvmm_vhost_user_msg *msg;
	int r = 0;

	while (fe->first && !r) {
		r = cvmm_vhost_user_conn_receive(fe->conn, &msg, err);
		if (r != 1)
			return r;
		r = deliver(fe, msg, err);
	}
	return r;
}

/* Return: 1 if the call is at its end, 0 if it must wait, or negative errno. */
static int advance(struct cvmm_vhost_user_frontend *fe, struct frontend_call *call,
		   struct cvmm_error *err)
{
	struct cvmm_error why = { 0 };
	int r;

	if (fe->lost && !call->is_done)
		return was_lost(fe, err);
	if (!call->is_done) {
		r = write_more(fe, call);
		if (r && is_callers_fault(r))
			return cvmm_fail(err, r, "cannot send %s: %s", call_name(call),
					 strerror(-r));
		if (r)
			cvmm_fail(&why, r, "cannot send %s: %s", call_name(call), strerror(-r));
		else
			r = read_more(fe, &why);
		if (r) {
			r = r == -EPIPE ? -ECONNRESET : r;
			lose(fe, r, why.message);
			return cvmm_fail(err, r, "%s: %s", call_name(call), fe->lost_message);
		}
	}
	if (call->is_done && call->result)
		return cvmm_fail(err, call->result, "%s: %s", call_name(call), fe->lost_message);
	if (call->is_done)
		return 1;
	return call->is_sent && !call->request->has_answer &&
	       !cvmm_vhost_user_conn_wants_write(fe->conn);
}

/* ---- waiting ------------------------------------------------------------------------------------- */

static int time_left_ms(uint64_t deadline_ns)
{
	uint64_t now = cvmm_clock_ns(), left_ms;

	if (now >= deadline_ns)
		return 0;
	left_ms = (deadline_ns - now + CVMM_NS_PER_MS - 1) / CVMM_NS_PER_MS;
	return left_ms > INT32_MAX ? INT32_MAX : (int)left_ms;
}

/* What a call waits for. Context: holds the lock. */
static nfds_t prepare(const struct cvmm_vhost_user_frontend *fe, const struct frontend_call *call,
		      struct pollfd p[3])
{
	bool wants_write = cvmm_vhost_user_conn_wants_write(fe->conn);

	p[0] = (struct pollfd){ .fd = cvmm_vhost_user_conn_fd(fe->conn) };
	p[0].events = (short)((wants_write ? POLLOUT : 0) | (fe->first ? POLLIN : 0));
	p[1] = (struct pollfd){ .fd = fe->wakes[call->wake].read_fd, .events = POLLIN };
	if (!frontend_channel_is_ours(fe))
		return 2;
	p[2] = (struct pollfd){ .fd = cvmm_vhost_user_conn_fd(fe->channel.conn),
				.events = frontend_channel_events(fe) };
	return 3;
}

/* Context: holds the lock. */
static int time_out(struct cvmm_vhost_user_frontend *fe, const struct frontend_call *call,
		    struct cvmm_error *err)
{
	struct cvmm_error why = { 0 };

	cvmm_fail(&why, -ETIMEDOUT, "%s: the back-end did not %s within %llu ms", call_name(call),
		  call->is_sent ? "answer" : "read",
		  (unsigned long long)(fe->timeout_ns / CVMM_NS_PER_MS));
	lose(fe, -ETIMEDOUT, why.message);
	return cvmm_fail(err, -ETIMEDOUT, "%s", why.message);
}

/* Up to the end of the call. Return: 0 or negative errno. */
static int wait_for(struct cvmm_vhost_user_frontend *fe, struct frontend_call *call,
		    struct cvmm_error *err)
{
	uint64_t deadline_ns = cvmm_clock_ns() + fe->timeout_ns;

	for (;;) {
		struct pollfd p[3];
		nfds_t count = 0;
		int r;

		pthread_mutex_lock(&fe->lock);
		r = advance(fe, call, err);
		if (!r && cvmm_clock_ns() >= deadline_ns)
			r = time_out(fe, call, err);
		if (!r)
			count = prepare(fe, call, p);
		pthread_mutex_unlock(&fe->lock);
		if (r)
			return r == 1 ? 0 : r;
		if (poll(p, count, time_left_ms(deadline_ns)) <= 0)
			continue;
		if (p[1].revents)
			(void)cvmm_notifier_consume(&fe->wakes[call->wake]);
		if (count > 2 && p[2].revents)
			frontend_channel_serve(fe);
	}
}

int frontend_exchange(struct cvmm_vhost_user_frontend *fe, const struct frontend_request *request,
		      struct cvmm_vhost_user_msg *answer, struct cvmm_error *err)
{
	struct frontend_call call = {
		.request = request,
		.row = cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL,
						    request->request),
		.answer = answer,
	};
	int r;

	if (fe->postcopy_ack_due)
		return cvmm_fail(err, -EBUSY,
				 "the back-end waits for the end of SET_MEM_TABLE: acknowledge it "
				 "before anything else");
	r = enter(fe, &call, err);
	if (r)
		return r;
	r = wait_for(fe, &call, err);
	leave(fe, &call);
	return r;
}

/* ---- requests of the table ----------------------------------------------------------------------- */

int frontend_check_gate(const struct cvmm_vhost_user_frontend *fe, uint32_t request,
			struct cvmm_error *err)
{
	const struct cvmm_vhost_user_message *row =
		cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL, request);
	uint64_t missing;

	CVMM_BUG_ON(!row);
	missing = row->gate & ~fe->protocol;
	if (!missing)
		return 0;
	return cvmm_fail(
		err, -EOPNOTSUPP, "%s: %s was not negotiated", row->name,
		cvmm_vhost_user_protocol_feature_name((unsigned int)__builtin_ctzll(missing)));
}

static int check_acknowledgement(struct cvmm_vhost_user_frontend *fe, const char *name,
				 const struct cvmm_vhost_user_msg *answer, struct cvmm_error *err)
{
	if (answer->size != sizeof(uint64_t) || answer->fd_count)
		return frontend_violated(
			fe, err, "%s: acknowledged with %u bytes and %u descriptors, not a u64",
			name, answer->size, answer->fd_count);
	if (answer->payload[0])
		return cvmm_fail(err, -EREMOTEIO, "%s: the back-end refused (%lld)", name,
				 (long long)answer->payload[0]);
	return 0;
}

int frontend_tell(struct cvmm_vhost_user_frontend *fe, uint32_t request, const void *payload,
		  size_t len, const int *fds, size_t fd_count, struct cvmm_error *err)
{
	bool ack = frontend_has(fe, CVMM_VHOST_USER_PROTOCOL(REPLY_ACK));
	struct iovec iov = { (void *)(uintptr_t)payload, len };
	struct frontend_request q = {
		.request = request,
		.flags = ack ? CVMM_VHOST_USER_FLAG_NEED_REPLY : 0,
		.has_answer = ack,
		.payload = &iov,
		.payload_count = len ? 1 : 0,
		.fds = fds,
		.fd_count = fd_count,
	};
	struct cvmm_vhost_user_msg answer;
	int r = frontend_check_gate(fe, request, err);

	if (r)
		return r;
	r = frontend_exchange(fe, &q, &answer, err);
	if (r || !ack)
		return r;
	r = check_acknowledgement(
		fe, cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL, request)->name,
		&answer, err);
	cvmm_vhost_user_msg_fini(&answer);
	return r;
}

/* ---- answers ------------------------------------------------------------------------------------- */

/* Whether the payload of an answer has a form that known back-ends send. */
static bool answer_fits(const struct cvmm_vhost_user_message *row,
			const struct cvmm_vhost_user_msg *answer, uint64_t protocol)
{
	bool fits = cvmm_vhost_user_payload_fits(row->reply_payload, answer->payload, answer->size,
						 protocol);

	switch (row->id) {
	case CVMM_VHOST_USER_GET_CONFIG: /* nothing at all is a refusal */
		return fits || answer->size == 0;
	case CVMM_VHOST_USER_SET_LOG_BASE: /* no two back-ends agree */
		return fits || answer->size == 0;
	case CVMM_VHOST_USER_GET_SHARED_OBJECT: /* the descriptor is the answer */
	case CVMM_VHOST_USER_POSTCOPY_ADVISE:
		return fits || answer->size == 0 || answer->size == sizeof(uint64_t);
	default:
		return fits;
	}
}

static int check_answer(struct cvmm_vhost_user_frontend *fe,
			const struct cvmm_vhost_user_message *row,
			const struct cvmm_vhost_user_msg *answer, struct cvmm_error *err)
{
	/* Where there should be one: its absence is how a refusal is told. */
	uint32_t fds_max = row->reply_fds == CVMM_VHOST_USER_FDS_NONE ? 0 : 1;
	if (answer->fd_count > fds_max)
		return frontend_violated(fe, err, "%s: answered with %u descriptors instead of %u",
					 row->name, answer->fd_count, fds_max);
	if (!answer_fits(row, answer, fe->protocol))
		return frontend_violated(
			fe, err,
			"%s: answered with %u bytes, which are no payload of the form '%s'",
			row->name, answer->size, cvmm_vhost_user_payload_name(row->reply_payload));
	return 0;
}

/*
 * Some back-ends answer these, against the specification, only if they are asked to; the others do not
 * look at the flag.
 */
static bool is_asked_for(uint32_t request)
{
	return request == CVMM_VHOST_USER_IOTLB_MSG || request == CVMM_VHOST_USER_POSTCOPY_END;
}

int frontend_ask(struct cvmm_vhost_user_frontend *fe, uint32_t request, const void *payload,
		 size_t len, const int *fds, size_t fd_count, struct cvmm_vhost_user_msg *answer,
		 struct cvmm_error *err)
{
	struct iovec iov = { (void *)(uintptr_t)payload, len };
	struct frontend_request q = {
		.request = request,
		.flags = is_asked_for(request) ? CVMM_VHOST_USER_FLAG_NEED_REPLY : 0,
		.has_answer = true,
		.payload = &iov,
		.payload_count = len ? 1 : 0,
		.fds = fds,
		.fd_count = fd_count,
	};
	int r = frontend_check_gate(fe, request, err);

	if (r)
		return r;
	r = frontend_exchange(fe, &q, answer, err);
	if (r)
		return r;
	r = check_answer(fe,
			 cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL, request),
			 answer, err);
	if (r)
		cvmm_vhost_user_msg_fini(answer);
	return r;
}

int frontend_ask_u64(struct cvmm_vhost_user_frontend *fe, uint32_t request, uint64_t *ret_value,
		     struct cvmm_error *err)
{
	struct cvmm_vhost_user_msg answer;
	int r = frontend_ask(fe, request, NULL, 0, NULL, 0, &answer, err);

	if (r)
		return r;
	*ret_value = answer.payload[0];
	cvmm_vhost_user_msg_fini(&answer);
	return 0;
}

int frontend_settle(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	uint64_t ignored;

	if (frontend_has(fe, CVMM_VHOST_USER_PROTOCOL(REPLY_ACK)))
		return 0;
	return frontend_ask_u64(fe, CVMM_VHOST_USER_GET_FEATURES, &ignored, err);
}
