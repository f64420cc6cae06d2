// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Requests of the back-end.
 *
 * Theory of operation: one thread at a time serves the channel: the one that owns the loop, in a callback
 * or while it waits in a call; without a loop any that waits. A handler may make requests of its own, but
 * the channel is not served in the meantime: the next request waits for its turn.
 *
 * What cannot be done is refused where the back-end asked for an answer, and logged. Only a stream that
 * cannot be read ends the channel; the connection for the front-end's requests goes on.
 *
 * At most one answer waits to be written, and nothing is read until it has gone: a back-end that does not
 * read what it asked for is not listened to.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <cvmm/virtio.h>

#include "vhost_user_frontend_internal.h"

#ifdef SOCK_CLOEXEC
#define CLOSE_ON_EXEC SOCK_CLOEXEC
#else
#define CLOSE_ON_EXEC 0 /* set below */
#endif

/* Where struct vhost_iotlb_msg has its size and its type. */
#define IOTLB_SIZE_AT 8U
#define IOTLB_TYPE_AT 25U

/* ---- what is asked for -------------------------------------------------------------------------- */

/* Return: 0 or negative errno; or for a look-up a descriptor that the caller closes. */
typedef int (*request_fn)(struct cvmm_vhost_user_frontend *fe, struct cvmm_vhost_user_msg *msg);

static int do_iotlb_msg(struct cvmm_vhost_user_frontend *fe, struct cvmm_vhost_user_msg *msg)
{
	uint8_t *bytes = (uint8_t *)msg->payload;
	struct cvmm_iotlb_op op;
	uint64_t len;
	int r;

	if (!frontend_acked(fe, CVMM_VIRTIO_F_ACCESS_PLATFORM) || !fe->ops.iotlb)
		return -EOPNOTSUPP;
	if (bytes[IOTLB_TYPE_AT] != CVMM_IOTLB_MISS &&
	    bytes[IOTLB_TYPE_AT] != CVMM_IOTLB_ACCESS_FAIL)
		return -EINVAL;
	/* The specification names no size for these two, and not all back-ends set one. */
	memcpy(&len, bytes + IOTLB_SIZE_AT, sizeof(len));
	len = len ? len : 1;
	memcpy(bytes + IOTLB_SIZE_AT, &len, sizeof(len));
	r = cvmm_iotlb_msg_parse(bytes, msg->size, &op, NULL);
	return r ? r : fe->ops.iotlb(fe->config.ctx, &op);
}

static int do_config_change_msg(struct cvmm_vhost_user_frontend *fe,
				struct cvmm_vhost_user_msg *msg)
{
	(void)msg;
	return fe->ops.config_changed ? fe->ops.config_changed(fe->config.ctx) : -EOPNOTSUPP;
}

static int do_host_notifier_msg(struct cvmm_vhost_user_frontend *fe,
				struct cvmm_vhost_user_msg *msg)
{
	struct cvmm_vhost_user_vring_area area;
	uint64_t end;

	memcpy(&area, msg->payload, sizeof(area));
	if (area.index &
	    ~(uint64_t)(CVMM_VHOST_USER_VRING_INDEX_MASK | CVMM_VHOST_USER_VRING_NO_FD))
		return -EINVAL;
	if (msg->fd_count &&
	    (!area.size_bytes || !cvmm_add_u64(area.offset, area.size_bytes, &end)))
		return -EINVAL;
	if (!fe->ops.host_notifier)
		return -EOPNOTSUPP;
	return fe->ops.host_notifier(
		fe->config.ctx, (unsigned int)area.index & CVMM_VHOST_USER_VRING_INDEX_MASK,
		cvmm_vhost_user_msg_take_fd(msg, 0), area.offset, area.size_bytes);
}

static int do_vring(struct cvmm_vhost_user_frontend *fe, const struct cvmm_vhost_user_msg *msg,
		    int (*fn)(void *ctx, unsigned int queue))
{
	struct cvmm_vhost_user_vring_state state;

	memcpy(&state, msg->payload, sizeof(state));
	if (state.index >= CVMM_VHOST_USER_QUEUES_MAX)
		return -EINVAL;
	return fn ? fn(fe->config.ctx, state.index) : -EOPNOTSUPP;
}

static int do_vring_call(struct cvmm_vhost_user_frontend *fe, struct cvmm_vhost_user_msg *msg)
{
	return do_vring(fe, msg, fe->ops.vring_call);
}

static int do_vring_err(struct cvmm_vhost_user_frontend *fe, struct cvmm_vhost_user_msg *msg)
{
	return do_vring(fe, msg, fe->ops.vring_err);
}

static int do_object(struct cvmm_vhost_user_frontend *fe, const struct cvmm_vhost_user_msg *msg,
		     int (*fn)(void *ctx, const struct cvmm_vhost_user_uuid *uuid))
{
	struct cvmm_vhost_user_uuid uuid;

	memcpy(&uuid, msg->payload, sizeof(uuid));
	return fn ? fn(fe->config.ctx, &uuid) : -EOPNOTSUPP;
}

static int do_object_add(struct cvmm_vhost_user_frontend *fe, struct cvmm_vhost_user_msg *msg)
{
	return do_object(fe, msg, fe->ops.shared_object_add);
}

static int do_object_remove(struct cvmm_vhost_user_frontend *fe, struct cvmm_vhost_user_msg *msg)
{
	return do_object(fe, msg, fe->ops.shared_object_remove);
}

static int do_object_lookup(struct cvmm_vhost_user_frontend *fe, struct cvmm_vhost_user_msg *msg)
{
	return do_object(fe, msg, fe->ops.shared_object_lookup);
}

/* Sums, flags, and what the back-end itself has said of its regions. */
static int check_mapping(struct cvmm_vhost_user_frontend *fe,
			 const struct cvmm_vhost_user_mmap *map)
{
	uint64_t end, size;

	if (!map->len_bytes || !cvmm_add_u64(map->fd_offset, map->len_bytes, &end) ||
	    !cvmm_add_u64(map->shm_offset, map->len_bytes, &end) ||
	    map->flags & ~(uint64_t)CVMM_VHOST_USER_MAP_WRITABLE)
		return -EINVAL;
	pthread_mutex_lock(&fe->lock);
	size = fe->shmem_known ? fe->shmem.size_bytes[map->shmid] : UINT64_MAX;
	pthread_mutex_unlock(&fe->lock);
	return end <= size ? 0 : -EINVAL;
}

static int do_shmem_map(struct cvmm_vhost_user_frontend *fe, struct cvmm_vhost_user_msg *msg)
{
	struct cvmm_vhost_user_mmap map;
	int r;

	memcpy(&map, msg->payload, sizeof(map));
	r = check_mapping(fe, &map);
	if (r)
		return r;
	return fe->ops.shmem_map ? fe->ops.shmem_map(fe->config.ctx, msg->fds[0], &map)
				 : -EOPNOTSUPP;
}

static int do_shmem_unmap(struct cvmm_vhost_user_frontend *fe, struct cvmm_vhost_user_msg *msg)
{
	struct cvmm_vhost_user_mmap map;
	int r;

	memcpy(&map, msg->payload, sizeof(map));
	r = check_mapping(fe, &map);
	if (r)
		return r;
	return fe->ops.shmem_unmap ? fe->ops.shmem_unmap(fe->config.ctx, &map) : -EOPNOTSUPP;
}

static request_fn find_handler(uint32_t request)
{
	switch (request) {
	case CVMM_VHOST_USER_BACKEND_IOTLB_MSG:
		return do_iotlb_msg;
	case CVMM_VHOST_USER_BACKEND_CONFIG_CHANGE_MSG:
		return do_config_change_msg;
	case CVMM_VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG:
		return do_host_notifier_msg;
	case CVMM_VHOST_USER_BACKEND_VRING_CALL:
		return do_vring_call;
	case CVMM_VHOST_USER_BACKEND_VRING_ERR:
		return do_vring_err;
	case CVMM_VHOST_USER_BACKEND_SHARED_OBJECT_ADD:
		return do_object_add;
	case CVMM_VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE:
		return do_object_remove;
	case CVMM_VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP:
		return do_object_lookup;
	case CVMM_VHOST_USER_BACKEND_SHMEM_MAP:
		return do_shmem_map;
	case CVMM_VHOST_USER_BACKEND_SHMEM_UNMAP:
		return do_shmem_unmap;
	default:
		return NULL;
	}
}

/* ---- one request -------------------------------------------------------------------------------- */

/*
 * Descriptors are taken where the row of the table has them, whether or not BACKEND_SEND_FD was negotiated:
 * a request that needs one has a protocol feature of its own, and there are back-ends that leave it at
 * that.
 */
static int perform(struct cvmm_vhost_user_frontend *fe, const struct cvmm_vhost_user_message *row,
		   struct cvmm_vhost_user_msg *msg, struct cvmm_error *err)
{
	request_fn fn = find_handler(msg->request);
	int r;

	if (!row || !fn)
		return cvmm_fail(err, -EOPNOTSUPP, "request %u is unknown", msg->request);
	r = cvmm_vhost_user_msg_check(row, msg, fe->protocol, err);
	if (r)
		return r == -EPROTO ? -EINVAL : r;
	r = fn(fe, msg);
	if (r < 0)
		return cvmm_fail(err, r, "%s: %s", row->name, strerror(-r));
	return r;
}

static int answer(struct cvmm_vhost_user_frontend *fe, uint32_t request, int result, bool is_lookup)
{
	int64_t code = result < 0 ? result : 0;
	int fd = is_lookup && result >= 0 ? result : -1;
	struct iovec iov = { &code, sizeof(code) };

	return cvmm_vhost_user_conn_send(fe->channel.conn, request, CVMM_VHOST_USER_FLAG_REPLY,
					 &iov, 1, &fd, fd >= 0 ? 1 : 0);
}

/* Return: 0, or negative errno with a message if the channel is at its end. */
static int handle(struct cvmm_vhost_user_frontend *fe, struct cvmm_vhost_user_msg *msg,
		  struct cvmm_error *err)
{
	const struct cvmm_vhost_user_message *row =
		cvmm_vhost_user_message_find(CVMM_VHOST_USER_BACKEND_CHANNEL, msg->request);
	bool is_lookup = msg->request == CVMM_VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP;
	bool wants_answer = msg->flags & CVMM_VHOST_USER_FLAG_NEED_REPLY || is_lookup;
	uint32_t request = msg->request;
	struct cvmm_error why = { 0 };
	int r, result;

	if (msg->flags & CVMM_VHOST_USER_FLAG_REPLY)
		return cvmm_fail(err, -EPROTO, "an answer to %u, which nobody asked", request);
	result = perform(fe, row, msg, &why);
	if (result < 0)
		cvmm_log_limited(fe->config.log, &fe->channel.limit, CVMM_LOG_WARN,
				 "vhost-user: refused a request of the back-end: %s", why.message);
	r = wants_answer ? answer(fe, request, result, is_lookup) : 0;
	if (is_lookup && result >= 0)
		cvmm_close_fd(&result);
	return r ? cvmm_fail(err, r, "cannot answer: %s", strerror(-r)) : 0;
}

/* ---- serving ------------------------------------------------------------------------------------ */

bool frontend_channel_is_ours(const struct cvmm_vhost_user_frontend *fe)
{
	return fe->channel.open && !fe->channel.serving &&
	       (!fe->config.loop || cvmm_loop_is_owner(fe->config.loop));
}

short frontend_channel_events(const struct cvmm_vhost_user_frontend *fe)
{
	return cvmm_vhost_user_conn_wants_write(fe->channel.conn) ? POLLOUT : POLLIN;
}

/* Up to @max requests. Return: 0, or what ends the channel. */
static int serve_some(struct cvmm_vhost_user_frontend *fe, unsigned int max, struct cvmm_error *err)
{
	struct cvmm_vhost_user_msg *msg;

	for (unsigned int i = 0; i < max; i++) {
		int r = cvmm_vhost_user_conn_flush(fe->channel.conn);

		if (r == 0)
			return 0;
		if (r < 0)
			return cvmm_fail(err, r, "cannot answer: %s", strerror(-r));
		r = cvmm_vhost_user_conn_receive(fe->channel.conn, &msg, err);
		if (r != 1)
			return r;
		r = handle(fe, msg, err);
		/* A descriptor that was not taken must not stay until the next request. */
		cvmm_vhost_user_msg_fini(msg);
		if (r)
			return r;
	}
	return 0;
}

/* The socket stays until the connection is let go of: others may be polling it. */
static void end_channel(struct cvmm_vhost_user_frontend *fe, const struct cvmm_error *why)
{
	cvmm_source_remove(fe->channel.source);
	fe->channel.source = NULL;
	(void)shutdown(cvmm_vhost_user_conn_fd(fe->channel.conn), SHUT_RDWR);
	if (!__atomic_load_n(&fe->lost, __ATOMIC_RELAXED))
		cvmm_log(fe->config.log, why->code == -ECONNRESET ? CVMM_LOG_INFO : CVMM_LOG_WARN,
			 "vhost-user: the back-end channel has ended: %s", why->message);
}

void frontend_channel_serve(struct cvmm_vhost_user_frontend *fe)
{
	struct frontend_channel *channel = &fe->channel;
	struct cvmm_error why = { 0 };
	bool begin;
	int r;

	pthread_mutex_lock(&fe->lock);
	begin = frontend_channel_is_ours(fe);
	if (begin)
		channel->serving = true;
	pthread_mutex_unlock(&fe->lock);
	if (!begin)
		return;
	r = serve_some(fe, FRONTEND_SERVE_MAX, &why);
	if (r)
		end_channel(fe, &why);
	else if (channel->source)
		(void)cvmm_source_set_events(channel->source,
					     cvmm_vhost_user_conn_wants_write(channel->conn)
						     ? CVMM_EVENT_WRITE
						     : CVMM_EVENT_READ);
	pthread_mutex_lock(&fe->lock);
	channel->serving = false;
	if (r)
		channel->open = false;
	/* Who waits may serve it next. */
	frontend_wake_all(fe);
	pthread_mutex_unlock(&fe->lock);
}

static void on_channel(void *ctx, int fd, unsigned int events)
{
	(void)fd;
	(void)events;
	frontend_channel_serve(ctx);
}

/* ---- the beginning and the end -------------------------------------------------------------------- */

static int start_watching(void *ctx)
{
	struct cvmm_vhost_user_frontend *fe = ctx;

	return cvmm_loop_add_fd(fe->config.loop, cvmm_vhost_user_conn_fd(fe->channel.conn),
				CVMM_EVENT_READ, on_channel, fe, &fe->channel.source);
}

static int stop_watching(void *ctx)
{
	struct cvmm_vhost_user_frontend *fe = ctx;

	cvmm_source_remove(fe->channel.source);
	fe->channel.source = NULL;
	return 0;
}

/* Two ends, of which ours becomes the channel's. */
static int make_channel(struct cvmm_vhost_user_frontend *fe, int *ret_peer, struct cvmm_error *err)
{
	int fds[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | CLOSE_ON_EXEC, 0, fds))
		return cvmm_fail(err, -errno, "cannot make the back-end channel: %s",
				 strerror(errno));
	(void)fcntl(fds[1], F_SETFD, FD_CLOEXEC);
	r = cvmm_vhost_user_conn_create(fds[0], &fe->channel.conn, err);
	if (r) {
		cvmm_close_fd(&fds[1]);
		return r;
	}
	*ret_peer = fds[1];
	return 0;
}

int frontend_channel_open(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	int peer, r = make_channel(fe, &peer, err);

	if (r)
		return r;
	pthread_mutex_lock(&fe->lock);
	fe->channel.open = true;
	pthread_mutex_unlock(&fe->lock);
	/* Before the back-end has its end: it may ask before it acknowledges. */
	if (fe->config.loop) {
		r = cvmm_loop_call(fe->config.loop, start_watching, fe);
		if (r)
			cvmm_fail(err, r, "cannot watch the back-end channel: %s", strerror(-r));
	}
	if (!r)
		r = frontend_tell(fe, CVMM_VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &peer, 1, err);
	cvmm_close_fd(&peer);
	if (r)
		frontend_channel_close(fe);
	return r;
}

void frontend_channel_close(struct cvmm_vhost_user_frontend *fe)
{
	if (!fe->channel.conn)
		return;
	if (fe->config.loop)
		(void)cvmm_loop_call(fe->config.loop, stop_watching, fe);
	pthread_mutex_lock(&fe->lock);
	fe->channel.open = false;
	pthread_mutex_unlock(&fe->lock);
	cvmm_vhost_user_conn_destroy(fe->channel.conn);
	fe->channel.conn = NULL;
}
