// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The back-end: the state of the device, to and from another one of its kind.
 *
 * Theory of operation: the device makes one block of it, or takes one. The bytes go through a descriptor
 * of the front-end, which may be a pipe that nobody reads for a while: so they are moved when the loop
 * says that they can be. CHECK_DEVICE_STATE waits for the end of that, and no other request is read
 * meanwhile.
 *
 * Spec: vhost-user, "Migrating back-end state".
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "vhost_user_backend_internal.h"

#define CHUNK_BYTES 65536U
/* What one callback moves, so that the loop goes on. */
#define ROUND_BYTES (UINT64_C(1) << 20)

void vu_transfer_reset(struct cvmm_vhost_user_backend *b)
{
	struct vu_transfer *t = &b->transfer;

	cvmm_source_remove(t->source);
	cvmm_close_fd(&t->fd);
	free(t->bytes);
	*t = (struct vu_transfer){ .fd = -1 };
}

/* The transfer is over. What has been asked for meanwhile is answered. */
static void finish(struct cvmm_vhost_user_backend *b, enum vu_transfer_state state)
{
	bool check_waits = b->transfer.check_waits;

	vu_transfer_reset(b);
	b->transfer.state = state;
	if (check_waits) {
		b->transfer.state = VU_TRANSFER_NONE;
		vu_answer_later(b, CVMM_VHOST_USER_CHECK_DEVICE_STATE,
				state == VU_TRANSFER_DONE ? 0 : EIO);
	}
}

/* Return: 1 at the end, 0 if there is more to come, or negative errno. */
static int save_some(struct vu_transfer *t)
{
	for (size_t moved = 0; t->done < t->len && moved < ROUND_BYTES;) {
		ssize_t n = write(t->fd, t->bytes + t->done, t->len - t->done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		t->done += (size_t)n;
		moved += (size_t)n;
	}
	return t->done == t->len;
}

static int load_some(struct vu_transfer *t)
{
	for (size_t moved = 0; moved < ROUND_BYTES;) {
		ssize_t n;

		if (t->len == t->room) {
			size_t room = t->room + (t->room ? t->room : CHUNK_BYTES);
			uint8_t *more;

			if (t->len >= CVMM_VHOST_USER_STATE_BYTES_MAX)
				return -EFBIG;
			more = realloc(t->bytes, room);
			if (!more)
				return -ENOMEM;
			t->bytes = more;
			t->room = room;
		}
		n = read(t->fd, t->bytes + t->len, t->room - t->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (n == 0)
			return 1;
		t->len += (size_t)n;
		moved += (size_t)n;
	}
	return 0;
}

static void on_transfer(void *ctx, int fd, unsigned int events)
{
	struct cvmm_vhost_user_backend *b = ctx;
	struct vu_transfer *t = &b->transfer;
	struct cvmm_error err = { 0 };
	int r = t->load ? load_some(t) : save_some(t);

	(void)fd;
	(void)events;
	if (r == 0)
		return;
	if (r == 1 && t->load) {
		r = b->config.ops->load(b->config.dev, t->bytes, t->len, &err);
		r = r ? r : 1;
	} else if (r < 0) {
		cvmm_fail(&err, r, "%s", strerror(-r));
	}
	if (r < 0)
		vu_log(b, CVMM_LOG_ERROR, "vhost-user %s: cannot %s the state of the device: %s",
		       b->config.ops->name, t->load ? "load" : "save", err.message);
	finish(b, r == 1 ? VU_TRANSFER_DONE : VU_TRANSFER_FAILED);
}

int vu_set_device_state_fd(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
			   struct vu_reply *reply, struct cvmm_error *err)
{
	const struct cvmm_vhost_user_transfer *params = (const void *)msg->payload;
	struct vu_transfer *t = &b->transfer;
	void *bytes;
	int r;

	if (params->direction > CVMM_VHOST_USER_TRANSFER_LOAD ||
	    params->phase != CVMM_VHOST_USER_TRANSFER_STOPPED)
		return cvmm_fail(err, -EINVAL, "unknown direction %u or phase %u",
				 params->direction, params->phase);
	if (!vu_suspended(b))
		return cvmm_fail(err, -EBUSY, "stop all queues before the state is moved");
	vu_transfer_reset(b);
	t->load = params->direction == CVMM_VHOST_USER_TRANSFER_LOAD;
	if (!t->load) {
		r = b->config.ops->save(b->config.dev, &bytes, &t->len);
		if (r)
			return cvmm_fail(err, r, "the device cannot be saved: %s", strerror(-r));
		t->bytes = bytes;
	}
	t->fd = cvmm_vhost_user_msg_take_fd(msg, 0);
	r = cvmm_set_nonblock(t->fd, true);
	if (!r)
		r = cvmm_loop_add_fd(b->config.loop, t->fd,
				     t->load ? CVMM_EVENT_READ : CVMM_EVENT_WRITE, on_transfer, b,
				     &t->source);
	if (r) {
		vu_transfer_reset(b);
		return cvmm_fail(err, r, "the channel cannot be used: %s", strerror(-r));
	}
	t->state = VU_TRANSFER_RUNNING;
	vu_reply_u64(reply, CVMM_VHOST_USER_STATE_NO_FD);
	return 0;
}

int vu_check_device_state(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
			  struct vu_reply *reply, struct cvmm_error *err)
{
	struct vu_transfer *t = &b->transfer;

	(void)msg;
	switch (t->state) {
	case VU_TRANSFER_NONE:
		return cvmm_fail(err, -EINVAL, "no state has been moved");
	case VU_TRANSFER_RUNNING:
		t->check_waits = true;
		reply->later = true;
		return 0;
	case VU_TRANSFER_DONE:
		vu_reply_u64(reply, 0);
		break;
	case VU_TRANSFER_FAILED:
		vu_reply_u64(reply, EIO);
		break;
	}
	t->state = VU_TRANSFER_NONE;
	return 0;
}
