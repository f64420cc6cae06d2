// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The back-end: connections, and what becomes of each request.
 *
 * Theory of operation: a request is read, held against its row of the table, handled and answered before
 * the next one is read. An answer that cannot be written yet stops the reading, and so does one that
 * the handler has put off; a timer ends both. Handlers change nothing if they fail.
 *
 * A connection must not go away under a handler, nor under the device, which may be in a kick: so
 * vu_end() only makes a note where one of them is active, and the outermost callback ends it.
 */
#include <errno.h>
#include <stdlib.h>

#include "vhost_user_backend_internal.h"

static const vu_handler handlers[CVMM_VHOST_USER_FRONTEND_REQUEST_MAX + 1] = {
#define X(id, NAME, name, ...) [id] = vu_##name,
	CVMM_VHOST_USER_FRONTEND_REQUESTS(X)
#undef X
};

/* ---- the end of a connection ------------------------------------------------------------------- */

/* Everything that the front-end gave goes; what the device has begun is completed before. */
static void tear_down(struct cvmm_vhost_user_backend *b)
{
	vu_queues_halt(b);
	for (unsigned int i = 0; i < b->queue_count; i++)
		vu_queue_reset(&b->queues[i]);
	vu_channel_reset(b);
	vu_transfer_reset(b);
	vu_postcopy_reset(b);
	vu_inflight_reset(b);
	vu_mem_reset(&b->mem);
	cvmm_notifier_fini(&b->log_notifier);
	b->log_notifier = CVMM_NOTIFIER_NONE;
	cvmm_source_remove(b->source);
	b->source = NULL;
	cvmm_timer_disarm(b->timer);
	cvmm_vhost_user_conn_destroy(b->conn);
	b->conn = NULL;
	b->features = 0;
	b->protocol = 0;
	b->status = 0;
	b->needs_reset = false;
	b->config_changed = false;
}

static void end_now(struct cvmm_vhost_user_backend *b)
{
	int reason = b->end_reason;
	struct cvmm_error err = b->end_err;

	b->end_reason = 0;
	b->end_err = (struct cvmm_error){ 0 };
	tear_down(b);
	if (b->config.closed)
		b->config.closed(b->config.closed_ctx, reason == -ECONNRESET ? 0 : reason,
				 err.message);
}

void vu_end(struct cvmm_vhost_user_backend *b, int reason, const struct cvmm_error *err)
{
	if (!b->conn || b->end_reason)
		return;
	b->end_reason = reason;
	if (err)
		b->end_err = *err;
	if (!b->depth)
		end_now(b);
}

void vu_enter(struct cvmm_vhost_user_backend *b)
{
	b->depth++;
}

void vu_leave(struct cvmm_vhost_user_backend *b)
{
	if (--b->depth == 0 && b->end_reason && b->conn)
		end_now(b);
}

/* ---- answers ----------------------------------------------------------------------------------- */

/* Whether something keeps the next request waiting. */
static bool is_busy(const struct cvmm_vhost_user_backend *b)
{
	return cvmm_vhost_user_conn_wants_write(b->conn) || b->transfer.check_waits;
}

static void update_events(struct cvmm_vhost_user_backend *b)
{
	unsigned int events = 0;

	if (cvmm_vhost_user_conn_wants_write(b->conn))
		events |= CVMM_EVENT_WRITE;
	if (!is_busy(b))
		events |= CVMM_EVENT_READ;
	(void)cvmm_source_set_events(b->source, events);
	if (is_busy(b))
		(void)cvmm_timer_arm(b->timer, CVMM_VHOST_USER_ANSWER_TIMEOUT_NS, 0);
	else
		cvmm_timer_disarm(b->timer);
}

static void send_answer(struct cvmm_vhost_user_backend *b, uint32_t request, const void *bytes,
			size_t len_bytes, int fd)
{
	struct iovec iov = { (void *)(uintptr_t)bytes, len_bytes };
	int r = cvmm_vhost_user_conn_send(b->conn, request, CVMM_VHOST_USER_FLAG_REPLY, &iov,
					  len_bytes ? 1 : 0, &fd, fd >= 0 ? 1 : 0);

	if (r) {
		struct cvmm_error err = { 0 };

		cvmm_fail(&err, r, "cannot answer the front-end: %s", strerror(-r));
		vu_end(b, r == -EPIPE ? -ECONNRESET : r, &err);
	}
}

void vu_answer_later(struct cvmm_vhost_user_backend *b, uint32_t request, uint64_t value)
{
	vu_enter(b);
	send_answer(b, request, &value, sizeof(value), -1);
	if (b->conn && !b->end_reason)
		update_events(b);
	vu_leave(b);
}

static bool wants_answer(const struct cvmm_vhost_user_backend *b,
			 const struct cvmm_vhost_user_msg *msg)
{
	return msg->flags & CVMM_VHOST_USER_FLAG_NEED_REPLY &&
	       vu_negotiated(b, CVMM_VHOST_USER_PROTOCOL(REPLY_ACK));
}

/* Whether the row's own answer is due; it depends on what was negotiated, and on post-copy. */
static bool has_own_answer(const struct cvmm_vhost_user_backend *b,
			   const struct cvmm_vhost_user_message *row)
{
	switch (row->reply) {
	case CVMM_VHOST_USER_REPLY_ON_DEMAND:
		return false;
	case CVMM_VHOST_USER_REPLY_ALWAYS:
		return true;
	case CVMM_VHOST_USER_REPLY_IF_LOG_SHMFD:
		return vu_negotiated(b, CVMM_VHOST_USER_PROTOCOL(LOG_SHMFD));
	case CVMM_VHOST_USER_REPLY_IF_POSTCOPY:
		return b->postcopy.listening;
	}
	return false;
}

/* Whether the row's own answer can say that the request was refused, and then what it is. */
static bool refusal_of(const struct cvmm_vhost_user_message *row, int code, struct vu_reply *reply)
{
	static const struct cvmm_vhost_user_log no_log;
	static const struct cvmm_vhost_user_inflight no_inflight;

	switch (row->id) {
	case CVMM_VHOST_USER_IOTLB_MSG:
	case CVMM_VHOST_USER_POSTCOPY_END:
	case CVMM_VHOST_USER_CHECK_DEVICE_STATE:
		vu_reply_u64(reply, (uint64_t)-code);
		return true;
	case CVMM_VHOST_USER_SET_DEVICE_STATE_FD:
		/* Bits 0 to 7 are the error. */
		vu_reply_u64(reply, CVMM_VHOST_USER_STATE_NO_FD | 1);
		return true;
	case CVMM_VHOST_USER_GET_CONFIG:
		return true; /* no payload at all */
	case CVMM_VHOST_USER_POSTCOPY_ADVISE:
		return true; /* no descriptor */
	case CVMM_VHOST_USER_SET_LOG_BASE:
		reply->bytes = &no_log;
		reply->len_bytes = sizeof(no_log);
		return true;
	case CVMM_VHOST_USER_GET_INFLIGHT_FD:
		reply->bytes = &no_inflight;
		reply->len_bytes = sizeof(no_inflight);
		return true;
	default:
		return false;
	}
}

/*
 * A request that could not be done. The front-end is told, or loses the connection: it must not go on
 * as if it had been done.
 */
static void refuse(struct cvmm_vhost_user_backend *b, const struct cvmm_vhost_user_message *row,
		   const struct cvmm_vhost_user_msg *msg, const struct cvmm_error *err)
{
	struct vu_reply reply = { .fd = -1 };
	bool own = row && has_own_answer(b, row);

	vu_log(b, CVMM_LOG_WARN, "vhost-user %s: %s", b->config.ops->name, err->message);
	if (own && refusal_of(row, err->code, &reply)) {
		send_answer(b, msg->request, reply.bytes, reply.len_bytes, -1);
	} else if (!own && wants_answer(b, msg)) {
		vu_reply_u64(&reply, (uint64_t)-err->code);
		send_answer(b, msg->request, reply.bytes, reply.len_bytes, -1);
	} else {
		vu_end(b, err->code == -ECONNRESET ? -EPROTO : err->code, err);
	}
}

/* ---- requests ---------------------------------------------------------------------------------- */

static void handle(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg)
{
	const struct cvmm_vhost_user_message *row =
		cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL, msg->request);
	struct vu_reply reply = { .fd = -1 };
	struct cvmm_error err = { 0 };
	bool own;
	int r;

	if (!row) {
		cvmm_fail(&err, -EOPNOTSUPP, "request %u is unknown", msg->request);
		refuse(b, NULL, msg, &err);
		return;
	}
	if (msg->flags & CVMM_VHOST_USER_FLAG_REPLY) {
		cvmm_fail(&err, -EPROTO, "%s: an answer came where requests are made", row->name);
		vu_end(b, -EPROTO, &err);
		return;
	}
	own = has_own_answer(b, row);
	if (vu_postcopy_is_ack(b, msg)) {
		r = vu_postcopy_ack(b, &err);
		own = false;
	} else {
		r = cvmm_vhost_user_msg_check(row, msg, b->protocol, &err);
		if (!r) {
			r = handlers[row->id](b, msg, &reply, &err);
			if (r && strncmp(err.message, row->name, strlen(row->name)) != 0)
				cvmm_error_prefix(&err, "%s", row->name);
		}
	}
	if (r) {
		cvmm_close_fd(&reply.fd);
		refuse(b, row, msg, &err);
		return;
	}
	if (!reply.later && own)
		send_answer(b, msg->request, reply.bytes, reply.len_bytes, reply.fd);
	else if (!own && wants_answer(b, msg))
		send_answer(b, msg->request, &(uint64_t){ 0 }, sizeof(uint64_t), -1);
	cvmm_close_fd(&reply.fd);
}

static void read_requests(struct cvmm_vhost_user_backend *b)
{
	for (unsigned int i = 0; i < VU_MESSAGES_PER_ROUND && !b->end_reason && !is_busy(b); i++) {
		struct cvmm_vhost_user_msg *msg;
		struct cvmm_error err = { 0 };
		int r = cvmm_vhost_user_conn_receive(b->conn, &msg, &err);

		if (r == 0)
			return;
		if (r < 0) {
			vu_end(b, r, &err);
			return;
		}
		handle(b, msg);
		cvmm_vhost_user_msg_fini(msg);
	}
}

static void on_socket(void *ctx, int fd, unsigned int events)
{
	struct cvmm_vhost_user_backend *b = ctx;
	struct cvmm_error err = { 0 };
	int r;

	(void)fd;
	vu_enter(b);
	r = cvmm_vhost_user_conn_flush(b->conn);
	if (r < 0) {
		cvmm_fail(&err, r, "cannot answer the front-end: %s", strerror(-r));
		vu_end(b, r == -EPIPE ? -ECONNRESET : r, &err);
	} else if (is_busy(b) && events & (CVMM_EVENT_ERROR | CVMM_EVENT_HANGUP)) {
		cvmm_fail(&err, -ECONNRESET, "the front-end closed the connection");
		vu_end(b, -ECONNRESET, &err);
	} else {
		read_requests(b);
	}
	if (!b->end_reason)
		update_events(b);
	vu_leave(b);
}

static void on_timeout(void *ctx)
{
	struct cvmm_vhost_user_backend *b = ctx;
	struct cvmm_error err = { 0 };

	cvmm_fail(&err, -ETIMEDOUT, "the front-end does not %s",
		  b->transfer.check_waits ? "end the transfer of state" : "read answers");
	vu_end(b, -ETIMEDOUT, &err);
}

/* ---- creation ---------------------------------------------------------------------------------- */

static uint64_t ring_features_of(const struct cvmm_vhost_user_backend_config *config)
{
	uint64_t features = CVMM_VIRTIO_RING_FEATURES_DEFAULT & ~config->withhold;

	features |= CVMM_VIRTIO_RING_FEATURES_ALL & config->offer &
		    ~CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_NOTIFICATION_DATA);
	if (config->ops->ring_features)
		features &= config->ops->ring_features(config->dev);
	return features;
}

static uint64_t features_of(const struct cvmm_vhost_user_backend_config *config)
{
	uint64_t features = config->ops->features(config->dev) | ring_features_of(config);

	features |= CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_VERSION_1) |
		    CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_ACCESS_PLATFORM) |
		    CVMM_VIRTIO_FEATURE(CVMM_VHOST_USER_F_LOG_ALL) |
		    CVMM_VIRTIO_FEATURE(CVMM_VHOST_USER_F_PROTOCOL_FEATURES);
	if (config->ops->queue_stop && config->ops->queue_start)
		features |= CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_RING_RESET);
	return features;
}

static uint64_t protocol_features_of(const struct cvmm_vhost_user_backend_config *config)
{
	const struct cvmm_vhost_user_backend_ops *extra = config->extra;
	uint64_t f =
		CVMM_VHOST_USER_PROTOCOL(MQ) | CVMM_VHOST_USER_PROTOCOL(LOG_SHMFD) |
		CVMM_VHOST_USER_PROTOCOL(REPLY_ACK) | CVMM_VHOST_USER_PROTOCOL(BACKEND_REQ) |
		CVMM_VHOST_USER_PROTOCOL(CONFIG) | CVMM_VHOST_USER_PROTOCOL(BACKEND_SEND_FD) |
		CVMM_VHOST_USER_PROTOCOL(INFLIGHT_SHMFD) | CVMM_VHOST_USER_PROTOCOL(RESET_DEVICE) |
		CVMM_VHOST_USER_PROTOCOL(INBAND_NOTIFICATIONS) |
		CVMM_VHOST_USER_PROTOCOL(CONFIGURE_MEM_SLOTS) | CVMM_VHOST_USER_PROTOCOL(STATUS) |
		CVMM_VHOST_USER_PROTOCOL(GET_VRING_BASE_INFLIGHT) |
		CVMM_VHOST_USER_PROTOCOL(GPA_ADDRESSES) |
		CVMM_VHOST_USER_PROTOCOL(GET_VRING_BASE_SKIP_DRAIN);

	if (vu_postcopy_possible(config->userfaultfd_device))
		f |= CVMM_VHOST_USER_PROTOCOL(PAGEFAULT);
	if (config->ops->save && config->ops->load)
		f |= CVMM_VHOST_USER_PROTOCOL(DEVICE_STATE);
	if (extra) {
		f |= extra->get_shared_object ? CVMM_VHOST_USER_PROTOCOL(SHARED_OBJECT) : 0;
		f |= extra->shmem_config ? CVMM_VHOST_USER_PROTOCOL(SHMEM) : 0;
		f |= extra->create_crypto_session && extra->close_crypto_session
			     ? CVMM_VHOST_USER_PROTOCOL(CRYPTO_SESSION)
			     : 0;
		f |= extra->send_rarp ? CVMM_VHOST_USER_PROTOCOL(RARP) : 0;
		f |= extra->set_mtu ? CVMM_VHOST_USER_PROTOCOL(MTU) : 0;
		f |= extra->host_notifiers ? CVMM_VHOST_USER_PROTOCOL(HOST_NOTIFIER) : 0;
	}
	return f & ~config->protocol_withhold;
}

static int init_queues(struct cvmm_vhost_user_backend *b, struct cvmm_error *err)
{
	const struct cvmm_virtio_device_ops *ops = b->config.ops;

	for (unsigned int i = 0; i < b->queue_count; i++) {
		int r = cvmm_virtq_init(&b->virtqs[i], ops->queue_size_max(b->config.dev, i));

		if (r)
			return cvmm_fail(err, r, "queue %u: %s", i, strerror(-r));
		vu_queue_init(b, i);
	}
	return 0;
}

int cvmm_vhost_user_backend_create(const struct cvmm_vhost_user_backend_config *config,
				   struct cvmm_vhost_user_backend **ret_backend,
				   struct cvmm_error *err)
{
	unsigned int queue_count = config->ops->queue_count(config->dev);
	struct cvmm_vhost_user_backend *b;
	int r;

	if (!queue_count || queue_count > CVMM_VIRTIO_QUEUES_MAX)
		return cvmm_fail(err, -EINVAL, "a device of %u queues cannot be served",
				 queue_count);
	b = calloc(1, sizeof(*b));
	if (!b)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	b->config = *config;
	b->host = (struct cvmm_virtio_host){ &vu_host_ops, config->log };
	b->space = config->ops->config_space(config->dev);
	b->offered = features_of(config);
	b->protocol_offered = protocol_features_of(config);
	b->queue_count = queue_count;
	b->log_notifier = CVMM_NOTIFIER_NONE;
	b->transfer.fd = -1;
	b->postcopy.uffd = -1;
	r = vu_mem_init(&b->mem, err);
	if (!r)
		r = init_queues(b, err);
	if (!r && (r = cvmm_loop_add_timer(config->loop, on_timeout, b, &b->timer)))
		cvmm_fail(err, r, "cannot make a timer: %s", strerror(-r));
	if (r) {
		cvmm_vhost_user_backend_destroy(b);
		return r;
	}
	*ret_backend = b;
	return 0;
}

void cvmm_vhost_user_backend_destroy(struct cvmm_vhost_user_backend *backend)
{
	if (!backend)
		return;
	CVMM_BUG_ON(backend->depth);
	if (backend->conn)
		tear_down(backend);
	for (unsigned int i = 0; i < backend->queue_count; i++)
		cvmm_virtq_fini(&backend->virtqs[i]);
	cvmm_source_remove(backend->timer);
	vu_mem_fini(&backend->mem);
	free(backend);
}

/*
 * Until a front-end has said which protocol features it wants, it may use all that do not change what
 * other messages mean. QEMU (7.2 to 10, vhost-user-rng and others) negotiates on its first connection
 * only, and goes on with what it knows on the next ones.
 */
static uint64_t protocol_before_negotiation(const struct cvmm_vhost_user_backend *b)
{
	return b->protocol_offered & ~(CVMM_VHOST_USER_PROTOCOL(GPA_ADDRESSES) |
				       CVMM_VHOST_USER_PROTOCOL(INBAND_NOTIFICATIONS) |
				       CVMM_VHOST_USER_PROTOCOL(XEN_MMAP));
}

int cvmm_vhost_user_backend_attach(struct cvmm_vhost_user_backend *backend, int fd,
				   struct cvmm_error *err)
{
	int r;

	if (backend->conn) {
		cvmm_close_fd(&fd);
		return cvmm_fail(err, -EBUSY, "there is a front-end already");
	}
	r = cvmm_vhost_user_conn_create(fd, &backend->conn, err);
	if (r)
		return r;
	r = cvmm_loop_add_fd(backend->config.loop, cvmm_vhost_user_conn_fd(backend->conn),
			     CVMM_EVENT_READ, on_socket, backend, &backend->source);
	if (r) {
		cvmm_vhost_user_conn_destroy(backend->conn);
		backend->conn = NULL;
		return cvmm_fail(err, r, "cannot watch the socket: %s", strerror(-r));
	}
	backend->protocol = protocol_before_negotiation(backend);
	return 0;
}

bool cvmm_vhost_user_backend_is_attached(const struct cvmm_vhost_user_backend *backend)
{
	return backend->conn != NULL;
}

void cvmm_vhost_user_backend_detach(struct cvmm_vhost_user_backend *backend)
{
	CVMM_BUG_ON(backend->depth);
	vu_end(backend, -ECONNRESET, NULL);
}

uint64_t cvmm_vhost_user_backend_features(const struct cvmm_vhost_user_backend *backend)
{
	return backend->offered;
}

uint64_t cvmm_vhost_user_backend_protocol_features(const struct cvmm_vhost_user_backend *backend)
{
	return backend->protocol_offered;
}

struct cvmm_vhost_user_backend *cvmm_vhost_user_backend_of(const struct cvmm_virtio_host *host)
{
	if (!host || host->ops != &vu_host_ops)
		return NULL;
	return CVMM_CONTAINER_OF(host, struct cvmm_vhost_user_backend, host);
}
