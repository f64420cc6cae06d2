// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The back-end channel, where the back-end makes requests.
 *
 * Theory of operation: requests wait in a ring of fixed length. The oldest is sent as soon as the socket takes
 * it; with REPLY_ACK it stays at the head until its answer has come, as answers come in the order of requests. Nothing
 * blocks: a front-end that waits for us on the other connection is answered there meanwhile.
 *
 * While all rings are stopped the device is suspended, and sends nothing: changes of the configuration
 * space are told when the first ring starts, everything else is refused.
 */
#include <errno.h>
#include <fcntl.h>

#include "vhost_user_backend_internal.h"

static struct vu_call *call_at(struct vu_channel *ch, unsigned int i)
{
	return &ch->calls[(ch->first + i) % VU_CALLS_MAX];
}

static bool has_acks(const struct cvmm_vhost_user_backend *b, uint32_t request)
{
	const struct cvmm_vhost_user_message *row =
		cvmm_vhost_user_message_find(CVMM_VHOST_USER_BACKEND_CHANNEL, request);

	return row->reply == CVMM_VHOST_USER_REPLY_ALWAYS ||
	       vu_negotiated(b, CVMM_VHOST_USER_PROTOCOL(REPLY_ACK));
}

/* The oldest request is done. Its callback may make another one. */
static void finish(struct vu_channel *ch, int error, int fd)
{
	struct vu_call call = *call_at(ch, 0);

	ch->first = (ch->first + 1) % VU_CALLS_MAX;
	ch->count--;
	cvmm_close_fd(&call.fd);
	if (call.answer)
		call.answer(call.ctx, error, fd);
	else
		cvmm_close_fd(&fd);
}

void vu_channel_reset(struct cvmm_vhost_user_backend *b)
{
	struct vu_channel *ch = &b->channel;

	cvmm_source_remove(ch->source);
	ch->source = NULL;
	cvmm_vhost_user_conn_destroy(ch->conn);
	ch->conn = NULL;
	/* Nothing can be added without a connection. */
	while (ch->count)
		finish(ch, -ECONNRESET, -1);
	ch->first = 0;
}

static void fail_channel(struct cvmm_vhost_user_backend *b, const char *why)
{
	vu_log(b, CVMM_LOG_WARN, "vhost-user %s: the back-end channel has ended: %s",
	       b->config.ops->name, why);
	vu_channel_reset(b);
}

static int send_call(struct cvmm_vhost_user_backend *b, struct vu_call *call)
{
	struct iovec iov = { call->payload, call->len_bytes };
	int r = cvmm_vhost_user_conn_send(
		b->channel.conn, call->request,
		has_acks(b, call->request) ? CVMM_VHOST_USER_FLAG_NEED_REPLY : 0, &iov,
		call->len_bytes ? 1 : 0, &call->fd, call->fd >= 0 ? 1 : 0);

	if (!r) {
		call->sent = true;
		cvmm_close_fd(&call->fd);
	}
	return r;
}

/*
 * Send what can be sent, from the loop: callbacks are never called inside of the call that made the
 * request. Return: 0, or what ends the channel.
 */
static int pump(struct cvmm_vhost_user_backend *b)
{
	struct vu_channel *ch = &b->channel;

	while (ch->conn && ch->count && !cvmm_vhost_user_conn_wants_write(ch->conn)) {
		struct vu_call *call = call_at(ch, 0);
		int r = call->sent ? 0 : send_call(b, call);

		if (r)
			return r;
		if (has_acks(b, call->request))
			break;
		finish(ch, 0, -1);
	}
	return 0;
}

static void update_events(struct vu_channel *ch)
{
	bool write =
		cvmm_vhost_user_conn_wants_write(ch->conn) || (ch->count && !call_at(ch, 0)->sent);

	(void)cvmm_source_set_events(ch->source, CVMM_EVENT_READ | (write ? CVMM_EVENT_WRITE : 0));
}

/* An answer, held against the request that waits for one. Return: 0, or -EPROTO. */
static int handle_answer(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg)
{
	struct vu_channel *ch = &b->channel;
	struct vu_call *call = call_at(ch, 0);
	bool may_have_fd;

	if (!ch->count || !call->sent || msg->request != call->request ||
	    !(msg->flags & CVMM_VHOST_USER_FLAG_REPLY) || msg->size != sizeof(uint64_t))
		return -EPROTO;
	may_have_fd = call->request == CVMM_VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP;
	if (msg->fd_count > (may_have_fd && !msg->payload[0] ? 1U : 0U))
		return -EPROTO;
	if (may_have_fd && !msg->payload[0] && !msg->fd_count)
		finish(ch, -EREMOTEIO, -1); /* success without what was asked for */
	else
		finish(ch, msg->payload[0] ? -EREMOTEIO : 0, cvmm_vhost_user_msg_take_fd(msg, 0));
	return 0;
}

static int read_answers(struct cvmm_vhost_user_backend *b, struct cvmm_error *err)
{
	struct cvmm_vhost_user_msg *msg;

	while (b->channel.conn) {
		int r = cvmm_vhost_user_conn_receive(b->channel.conn, &msg, err);

		if (r != 1)
			return r;
		r = handle_answer(b, msg);
		if (r)
			return cvmm_fail(err, r, "an answer to nothing that was asked");
	}
	return 0;
}

static void on_channel(void *ctx, int fd, unsigned int events)
{
	struct cvmm_vhost_user_backend *b = ctx;
	struct cvmm_error err = { 0 };
	int r;

	(void)fd;
	(void)events;
	vu_enter(b);
	r = cvmm_vhost_user_conn_flush(b->channel.conn);
	if (r < 0)
		cvmm_fail(&err, r, "cannot write: %s", strerror(-r));
	if (r >= 0)
		r = read_answers(b, &err);
	if (r >= 0)
		r = pump(b);
	if (r < 0 && b->channel.conn)
		fail_channel(b, err.message[0] ? err.message : strerror(-r));
	if (b->channel.conn)
		update_events(&b->channel);
	vu_leave(b);
}

int vu_channel_set(struct cvmm_vhost_user_backend *b, int fd, struct cvmm_error *err)
{
	struct vu_channel *ch = &b->channel;
	struct cvmm_vhost_user_conn *conn;
	struct cvmm_source *source;
	int r = cvmm_vhost_user_conn_create(fd, &conn, err);

	if (r)
		return r;
	r = cvmm_loop_add_fd(b->config.loop, cvmm_vhost_user_conn_fd(conn), CVMM_EVENT_READ,
			     on_channel, b, &source);
	if (r) {
		cvmm_vhost_user_conn_destroy(conn);
		return cvmm_fail(err, r, "cannot watch the channel: %s", strerror(-r));
	}
	vu_channel_reset(b);
	ch->conn = conn;
	ch->source = source;
	vu_tell_config_changed(b);
	return 0;
}

int vu_set_backend_req_fd(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
			  struct vu_reply *reply, struct cvmm_error *err)
{
	(void)reply;
	return vu_channel_set(b, cvmm_vhost_user_msg_take_fd(msg, 0), err);
}

int vu_channel_call(struct cvmm_vhost_user_backend *b, uint32_t request, const void *payload,
		    size_t len_bytes, int fd, cvmm_vhost_user_answer_fn answer, void *ctx)
{
	const struct cvmm_vhost_user_message *row =
		cvmm_vhost_user_message_find(CVMM_VHOST_USER_BACKEND_CHANNEL, request);
	struct vu_channel *ch = &b->channel;
	struct vu_call *call;

	if (!ch->conn)
		return -ENOTCONN;
	if (!vu_negotiated(b, row->gate) ||
	    (fd >= 0 && !vu_negotiated(b, CVMM_VHOST_USER_PROTOCOL(BACKEND_SEND_FD))))
		return -EOPNOTSUPP;
	if (vu_suspended(b))
		return -ESHUTDOWN;
	if (ch->count == VU_CALLS_MAX)
		return -ENOBUFS;
	CVMM_BUG_ON(len_bytes > sizeof(call->payload));
	call = call_at(ch, ch->count);
	*call = (struct vu_call){
		.request = request, .len_bytes = len_bytes, .fd = -1, .answer = answer, .ctx = ctx
	};
	if (fd >= 0) {
		call->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (call->fd < 0)
			return -errno;
	}
	if (len_bytes)
		memcpy(call->payload, payload, len_bytes);
	ch->count++;
	update_events(ch);
	return 0;
}

void vu_tell_config_changed(struct cvmm_vhost_user_backend *b)
{
	if (b->config_changed &&
	    !vu_channel_call(b, CVMM_VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, NULL, 0, -1, NULL, NULL))
		b->config_changed = false;
}

/* ---- requests of devices ----------------------------------------------------------------------- */

int cvmm_vhost_user_backend_shared_object_add(struct cvmm_vhost_user_backend *backend,
					      const struct cvmm_vhost_user_uuid *uuid,
					      cvmm_vhost_user_answer_fn answer, void *ctx)
{
	return vu_channel_call(backend, CVMM_VHOST_USER_BACKEND_SHARED_OBJECT_ADD, uuid,
			       sizeof(*uuid), -1, answer, ctx);
}

int cvmm_vhost_user_backend_shared_object_remove(struct cvmm_vhost_user_backend *backend,
						 const struct cvmm_vhost_user_uuid *uuid,
						 cvmm_vhost_user_answer_fn answer, void *ctx)
{
	return vu_channel_call(backend, CVMM_VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE, uuid,
			       sizeof(*uuid), -1, answer, ctx);
}

int cvmm_vhost_user_backend_shared_object_lookup(struct cvmm_vhost_user_backend *backend,
						 const struct cvmm_vhost_user_uuid *uuid,
						 cvmm_vhost_user_answer_fn answer, void *ctx)
{
	/* The descriptor comes with the answer: none is sent. */
	return vu_channel_call(backend, CVMM_VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP, uuid,
			       sizeof(*uuid), -1, answer, ctx);
}

static int check_mapping(const struct cvmm_vhost_user_mmap *mmap)
{
	uint64_t end;

	if (!mmap->len_bytes || !cvmm_add_u64(mmap->shm_offset, mmap->len_bytes, &end) ||
	    !cvmm_add_u64(mmap->fd_offset, mmap->len_bytes, &end) ||
	    mmap->flags & ~(uint64_t)CVMM_VHOST_USER_MAP_WRITABLE)
		return -EINVAL;
	return 0;
}

int cvmm_vhost_user_backend_shmem_map(struct cvmm_vhost_user_backend *backend, int fd,
				      const struct cvmm_vhost_user_mmap *mmap,
				      cvmm_vhost_user_answer_fn answer, void *ctx)
{
	int r = fd < 0 ? -EINVAL : check_mapping(mmap);

	return r ? r
		 : vu_channel_call(backend, CVMM_VHOST_USER_BACKEND_SHMEM_MAP, mmap, sizeof(*mmap),
				   fd, answer, ctx);
}

int cvmm_vhost_user_backend_shmem_unmap(struct cvmm_vhost_user_backend *backend,
					const struct cvmm_vhost_user_mmap *mmap,
					cvmm_vhost_user_answer_fn answer, void *ctx)
{
	int r = check_mapping(mmap);

	return r ? r
		 : vu_channel_call(backend, CVMM_VHOST_USER_BACKEND_SHMEM_UNMAP, mmap,
				   sizeof(*mmap), -1, answer, ctx);
}

int cvmm_vhost_user_backend_host_notifier(struct cvmm_vhost_user_backend *backend,
					  unsigned int queue, int fd, uint64_t offset,
					  uint64_t size_bytes, cvmm_vhost_user_answer_fn answer,
					  void *ctx)
{
	struct cvmm_vhost_user_vring_area area = {
		.index = queue | (fd < 0 ? CVMM_VHOST_USER_VRING_NO_FD : 0),
		.size_bytes = size_bytes,
		.offset = offset,
	};

	if (queue >= backend->queue_count)
		return -EINVAL;
	return vu_channel_call(backend, CVMM_VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG, &area,
			       sizeof(area), fd, answer, ctx);
}
