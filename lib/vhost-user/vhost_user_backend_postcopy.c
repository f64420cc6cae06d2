// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The back-end: post-copy, as far as the protocol goes; the system's part is in
 * vhost_user_backend_postcopy_linux.c.
 *
 * Theory of operation: after ADVISE and LISTEN, regions that come are watched by a userfaultfd before
 * anybody touches them, and their addresses here are told, so that the front-end can serve faults. Rings do
 * not run before it has said that it does: by an empty message of the same kind with a zero in it.
 */
#include <errno.h>
#include <fcntl.h>

#include "vhost_user_backend_internal.h"

bool vu_postcopy_is_ack(const struct cvmm_vhost_user_backend *b,
			const struct cvmm_vhost_user_msg *msg)
{
	return b->postcopy.wants_ack &&
	       (msg->request == CVMM_VHOST_USER_SET_MEM_TABLE ||
		msg->request == CVMM_VHOST_USER_ADD_MEM_REG) &&
	       msg->size == sizeof(uint64_t) && !msg->fd_count && !msg->payload[0];
}

int vu_postcopy_ack(struct cvmm_vhost_user_backend *b, struct cvmm_error *err)
{
	b->postcopy.wants_ack = false;
	return vu_queues_try_run(b, err);
}

void vu_postcopy_reset(struct cvmm_vhost_user_backend *b)
{
	for (size_t i = 0; i < b->mem.count && b->postcopy.listening; i++)
		vu_postcopy_unregister(b, &b->mem.regions[i]);
	cvmm_close_fd(&b->postcopy.uffd);
	b->postcopy.listening = false;
	b->postcopy.wants_ack = false;
}

int vu_postcopy_advise(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		       struct vu_reply *reply, struct cvmm_error *err)
{
	int uffd = vu_postcopy_open(b->config.userfaultfd_device, err);

	(void)msg;
	if (uffd < 0)
		return uffd;
	vu_postcopy_reset(b);
	reply->fd = fcntl(uffd, F_DUPFD_CLOEXEC, 0);
	if (reply->fd < 0) {
		int r = -errno;

		cvmm_close_fd(&uffd);
		return cvmm_fail(err, r, "%s", strerror(-r));
	}
	b->postcopy.uffd = uffd;
	return 0;
}

int vu_postcopy_listen(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		       struct vu_reply *reply, struct cvmm_error *err)
{
	(void)msg;
	(void)reply;
	if (b->postcopy.uffd < 0)
		return cvmm_fail(err, -EINVAL, "POSTCOPY_ADVISE must come first");
	/* Whoever listens has told no memory yet: what was touched already cannot be missing. */
	if (b->mem.count)
		return cvmm_fail(err, -EBUSY, "there are %zu memory regions already", b->mem.count);
	b->postcopy.listening = true;
	return 0;
}

int vu_postcopy_end(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		    struct vu_reply *reply, struct cvmm_error *err)
{
	(void)msg;
	vu_postcopy_reset(b);
	vu_reply_u64(reply, 0);
	return vu_queues_try_run(b, err);
}
