// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Messages on a stream socket.
 *
 * Theory of operation: a stream has no borders between messages, but descriptors belong to the byte
 * they were sent with. So each read asks for no more than what is missing of the header, or of the payload:
 * it never reaches into the next message, and what descriptors come with the first byte of a header are
 * that message's. Descriptors at any other place have no meaning, and end the connection, as do more
 * of them than there is room for: the kernel has thrown the rest away then, so nothing can be repeated.
 *
 * At most one message waits to be written. Who sends another one before it has gone is refused, and
 * should not have read more requests in the meantime.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vhost_user_internal.h"

#define HEADER_SIZE sizeof(struct cvmm_vhost_user_header)
#define KNOWN_FLAGS                                                  \
	(CVMM_VHOST_USER_VERSION_MASK | CVMM_VHOST_USER_FLAG_REPLY | \
	 CVMM_VHOST_USER_FLAG_NEED_REPLY)
/* One more than there may be, so that too many are seen where the kernel would pass them. */
#define CONTROL_SIZE CMSG_SPACE((CVMM_VHOST_USER_FDS_MAX + 1) * sizeof(int))

#ifdef MSG_CMSG_CLOEXEC
#define RECEIVE_FLAGS (MSG_DONTWAIT | MSG_CMSG_CLOEXEC)
#else
#define RECEIVE_FLAGS MSG_DONTWAIT
#endif
#ifdef MSG_NOSIGNAL
#define SEND_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)
#else
#define SEND_FLAGS MSG_DONTWAIT
#endif

struct cvmm_vhost_user_conn {
	int fd;

	/* What is coming in. */
	struct cvmm_vhost_user_header header;
	size_t received; /* bytes of header and payload */
	bool complete;	 /* msg was handed out, and is no longer of use */
	struct cvmm_vhost_user_msg msg;

	/* What could not be written yet. */
	uint8_t *pending;
	size_t pending_len;
	size_t pending_done;
	int *pending_fds; /* duplicates; sent with the first byte */
	size_t pending_fd_count;
};

/* ---- creation ---------------------------------------------------------------------------------- */

static void refuse_sigpipe(int fd)
{
#ifdef SO_NOSIGPIPE
	int on = 1;

	/* Where there is no MSG_NOSIGNAL. */
	(void)setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on));
#else
	(void)fd;
#endif
}

int cvmm_vhost_user_socket_check(int fd, struct cvmm_error *err)
{
	struct sockaddr_storage name;
	socklen_t len = sizeof(int);
	int type, flags;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len))
		return cvmm_fail(err, -errno, "descriptor %d is no socket: %s", fd,
				 strerror(errno));
	len = sizeof(name);
	if (getsockname(fd, (struct sockaddr *)&name, &len))
		return cvmm_fail(err, -errno, "descriptor %d: %s", fd, strerror(errno));
	if (type != SOCK_STREAM || name.ss_family != AF_UNIX)
		return cvmm_fail(err, -EINVAL, "descriptor %d is no Unix stream socket", fd);
	len = sizeof(name);
	if (getpeername(fd, (struct sockaddr *)&name, &len))
		return cvmm_fail(err, -EINVAL, "descriptor %d is not connected: %s", fd,
				 strerror(errno));
	flags = fcntl(fd, F_GETFD);
	if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC))
		return cvmm_fail(err, -errno, "descriptor %d: %s", fd, strerror(errno));
	refuse_sigpipe(fd);
	return 0;
}

int cvmm_vhost_user_conn_create(int fd, struct cvmm_vhost_user_conn **ret_conn,
				struct cvmm_error *err)
{
	struct cvmm_vhost_user_conn *conn;
	int r = cvmm_vhost_user_socket_check(fd, err);

	if (r) {
		cvmm_close_fd(&fd);
		return r;
	}
	conn = calloc(1, sizeof(*conn));
	if (!conn) {
		cvmm_close_fd(&fd);
		return cvmm_fail(err, -ENOMEM, "out of memory");
	}
	conn->fd = fd;
	*ret_conn = conn;
	return 0;
}

static void drop_pending(struct cvmm_vhost_user_conn *conn)
{
	for (size_t i = 0; i < conn->pending_fd_count; i++)
		cvmm_close_fd(&conn->pending_fds[i]);
	free(conn->pending_fds);
	free(conn->pending);
	conn->pending = NULL;
	conn->pending_fds = NULL;
	conn->pending_len = conn->pending_done = conn->pending_fd_count = 0;
}

void cvmm_vhost_user_conn_destroy(struct cvmm_vhost_user_conn *conn)
{
	if (!conn)
		return;
	drop_pending(conn);
	cvmm_vhost_user_msg_fini(&conn->msg);
	cvmm_close_fd(&conn->fd);
	free(conn);
}

int cvmm_vhost_user_conn_fd(const struct cvmm_vhost_user_conn *conn)
{
	return conn->fd;
}

/* ---- reading ----------------------------------------------------------------------------------- */

/* Take over what came with a read, at most as many as there is room for; close the rest. */
static uint32_t collect_fds(struct msghdr *hdr, int fds[CVMM_VHOST_USER_FDS_MAX], bool *ret_excess)
{
	uint32_t count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(hdr); c; c = CMSG_NXTHDR(hdr, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
		    c->cmsg_len < CMSG_LEN(0))
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (count < CVMM_VHOST_USER_FDS_MAX) {
				fds[count++] = fd;
			} else {
				close(fd);
				*ret_excess = true;
			}
		}
	}
#ifndef MSG_CMSG_CLOEXEC
	for (uint32_t i = 0; i < count; i++)
		(void)fcntl(fds[i], F_SETFD, FD_CLOEXEC);
#endif
	return count;
}

ssize_t cvmm_vhost_user_socket_read(int fd, struct iovec *iov, size_t iov_count, bool begins,
				    int fds[CVMM_VHOST_USER_FDS_MAX], uint32_t *ret_fd_count,
				    struct cvmm_error *err)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[CONTROL_SIZE];
	} control;
	struct msghdr hdr = { .msg_iov = iov,
			      .msg_iovlen = iov_count,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	int got[CVMM_VHOST_USER_FDS_MAX];
	bool excess = false;
	uint32_t count;
	ssize_t n;

	do
		n = recvmsg(fd, &hdr, RECEIVE_FLAGS);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return -EAGAIN;
	if (n < 0)
		return cvmm_fail(err, -errno, "cannot read from the peer: %s", strerror(errno));
	count = collect_fds(&hdr, got, &excess);
	if (count && (!begins || n == 0)) {
		for (uint32_t i = 0; i < count; i++)
			close(got[i]);
		return cvmm_fail(err, -EPROTO, "descriptors came in the middle of a message");
	}
	if (count) {
		memcpy(fds, got, count * sizeof(got[0]));
		*ret_fd_count = count;
	}
	if (excess || hdr.msg_flags & MSG_CTRUNC)
		return cvmm_fail(err, -EPROTO,
				 "more than %u descriptors came with a message, or the limit of "
				 "open files is too low",
				 CVMM_VHOST_USER_FDS_MAX);
	if (n == 0)
		return cvmm_fail(err, -ECONNRESET, "the peer closed the connection%s",
				 begins ? "" : " in the middle of a message");
	return n;
}

/* One read of up to @len bytes of a message. Return: as cvmm_vhost_user_socket_read(). */
static ssize_t read_some(struct cvmm_vhost_user_conn *conn, void *dst, size_t len,
			 struct cvmm_error *err)
{
	struct iovec iov = { dst, len };

	return cvmm_vhost_user_socket_read(conn->fd, &iov, 1, !conn->received, conn->msg.fds,
					   &conn->msg.fd_count, err);
}

static int check_header(const struct cvmm_vhost_user_header *header, struct cvmm_error *err)
{
	if ((header->flags & CVMM_VHOST_USER_VERSION_MASK) != CVMM_VHOST_USER_VERSION)
		return cvmm_fail(err, -EPROTO, "message %u has version %u, and not %u",
				 header->request, header->flags & CVMM_VHOST_USER_VERSION_MASK,
				 CVMM_VHOST_USER_VERSION);
	if (header->flags & ~KNOWN_FLAGS)
		return cvmm_fail(err, -EPROTO, "message %u has the unknown flags 0x%x",
				 header->request, header->flags & ~KNOWN_FLAGS);
	if (header->size > CVMM_VHOST_USER_PAYLOAD_MAX)
		return cvmm_fail(err, -EPROTO, "message %u is %u bytes long, more than %u",
				 header->request, header->size, CVMM_VHOST_USER_PAYLOAD_MAX);
	return 0;
}

/* Return: 1 if all of the payload is there. */
static int read_payload(struct cvmm_vhost_user_conn *conn, struct cvmm_error *err)
{
	while (conn->received < HEADER_SIZE + conn->header.size) {
		size_t at = conn->received - HEADER_SIZE;
		ssize_t n = read_some(conn, (uint8_t *)conn->msg.payload + at,
				      conn->header.size - at, err);

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		conn->received += (size_t)n;
	}
	return 1;
}

int cvmm_vhost_user_conn_receive(struct cvmm_vhost_user_conn *conn,
				 struct cvmm_vhost_user_msg **ret_msg, struct cvmm_error *err)
{
	int r;

	if (conn->complete) {
		cvmm_vhost_user_msg_fini(&conn->msg);
		conn->complete = false;
		conn->received = 0;
	}
	while (conn->received < HEADER_SIZE) {
		ssize_t n = read_some(conn, (uint8_t *)&conn->header + conn->received,
				      HEADER_SIZE - conn->received, err);

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		conn->received += (size_t)n;
		r = conn->received == HEADER_SIZE ? check_header(&conn->header, err) : 0;
		if (r)
			return r;
	}
	r = read_payload(conn, err);
	if (r != 1)
		return r;
	conn->msg.request = conn->header.request;
	conn->msg.flags = conn->header.flags;
	conn->msg.size = conn->header.size;
	conn->complete = true;
	*ret_msg = &conn->msg;
	return 1;
}

/* ---- writing ----------------------------------------------------------------------------------- */

ssize_t cvmm_vhost_user_socket_write(int fd, struct iovec *iov, size_t iov_count, const int *fds,
				     size_t fd_count)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[CONTROL_SIZE];
	} control;
	struct msghdr hdr = { .msg_iov = iov, .msg_iovlen = iov_count };
	struct cmsghdr *c;
	ssize_t n;

	if (fd_count) {
		memset(&control, 0, sizeof(control));
		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		c = CMSG_FIRSTHDR(&hdr);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
	}
	do
		n = sendmsg(fd, &hdr, SEND_FLAGS);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	return n;
}

/* Keep what a write left: all of it with the descriptors if @done is 0. */
static int keep_rest(struct cvmm_vhost_user_conn *conn, const struct iovec *iov, size_t iov_count,
		     size_t done, const int *fds, size_t fd_count)
{
	size_t len = cvmm_iov_len(iov, iov_count) - done;

	conn->pending = malloc(len);
	conn->pending_fds = done || !fd_count ? NULL : malloc(fd_count * sizeof(*fds));
	if (!conn->pending || (!done && fd_count && !conn->pending_fds)) {
		drop_pending(conn);
		return -ENOMEM;
	}
	conn->pending_len = cvmm_iov_copy_from(iov, iov_count, done, conn->pending, len);
	while (conn->pending_fds && conn->pending_fd_count < fd_count) {
		int fd = fcntl(fds[conn->pending_fd_count], F_DUPFD_CLOEXEC, 0);

		if (fd < 0) {
			int r = -errno;

			drop_pending(conn);
			return r;
		}
		conn->pending_fds[conn->pending_fd_count++] = fd;
	}
	return 0;
}

int cvmm_vhost_user_conn_send(struct cvmm_vhost_user_conn *conn, uint32_t request, uint32_t flags,
			      const struct iovec *payload, size_t payload_count, const int *fds,
			      size_t fd_count)
{
	enum {
		PIECES_MAX = 8
	};
	size_t len = cvmm_iov_len(payload, payload_count);
	struct cvmm_vhost_user_header header = {
		.request = request,
		.flags = (flags & ~CVMM_VHOST_USER_VERSION_MASK) | CVMM_VHOST_USER_VERSION,
		.size = (uint32_t)len,
	};
	struct iovec iov[PIECES_MAX] = { { &header, sizeof(header) } };
	ssize_t n;

	if (len > CVMM_VHOST_USER_PAYLOAD_MAX || fd_count > CVMM_VHOST_USER_FDS_MAX ||
	    payload_count >= PIECES_MAX)
		return -EMSGSIZE;
	if (conn->pending)
		return -EBUSY;
	for (size_t i = 0; i < payload_count; i++)
		iov[i + 1] = payload[i];
	n = cvmm_vhost_user_socket_write(conn->fd, iov, payload_count + 1, fds, fd_count);
	if (n < 0 && n != -EAGAIN)
		return (int)n;
	if (n < 0)
		n = 0;
	if ((size_t)n == sizeof(header) + len)
		return 0;
	return keep_rest(conn, iov, payload_count + 1, (size_t)n, fds, fd_count);
}

int cvmm_vhost_user_conn_flush(struct cvmm_vhost_user_conn *conn)
{
	while (conn->pending) {
		struct iovec iov = { conn->pending + conn->pending_done,
				     conn->pending_len - conn->pending_done };
		bool first = conn->pending_done == 0;
		ssize_t n = cvmm_vhost_user_socket_write(conn->fd, &iov, 1, conn->pending_fds,
							 first ? conn->pending_fd_count : 0);

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		conn->pending_done += (size_t)n;
		if (conn->pending_done == conn->pending_len)
			drop_pending(conn);
	}
	return 1;
}

bool cvmm_vhost_user_conn_wants_write(const struct cvmm_vhost_user_conn *conn)
{
	return conn->pending != NULL;
}

/* ---- waiting ----------------------------------------------------------------------------------- */

int cvmm_vhost_user_conn_wait(struct cvmm_vhost_user_conn *conn, bool write, uint64_t deadline_ns)
{
	struct pollfd p = { .fd = conn->fd, .events = write ? POLLOUT : POLLIN };

	for (;;) {
		uint64_t now = cvmm_clock_ns(), left_ms;
		int n;

		left_ms = now < deadline_ns
				  ? (deadline_ns - now + CVMM_NS_PER_MS - 1) / CVMM_NS_PER_MS
				  : 0;
		n = poll(&p, 1, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0 && cvmm_clock_ns() >= deadline_ns)
			return -ETIMEDOUT;
	}
}

int cvmm_vhost_user_conn_send_by(struct cvmm_vhost_user_conn *conn, uint32_t request,
				 uint32_t flags, const struct iovec *payload, size_t payload_count,
				 const int *fds, size_t fd_count, uint64_t deadline_ns)
{
	int r = cvmm_vhost_user_conn_send(conn, request, flags, payload, payload_count, fds,
					  fd_count);

	while (!r && cvmm_vhost_user_conn_wants_write(conn)) {
		r = cvmm_vhost_user_conn_wait(conn, true, deadline_ns);
		if (!r) {
			r = cvmm_vhost_user_conn_flush(conn);
			r = r < 0 ? r : 0;
		}
	}
	return r;
}

int cvmm_vhost_user_conn_receive_by(struct cvmm_vhost_user_conn *conn,
				    struct cvmm_vhost_user_msg **ret_msg, uint64_t deadline_ns,
				    struct cvmm_error *err)
{
	for (;;) {
		int r = cvmm_vhost_user_conn_receive(conn, ret_msg, err);

		if (r)
			return r == 1 ? 0 : r;
		r = cvmm_vhost_user_conn_wait(conn, false, deadline_ns);
		if (r)
			return cvmm_fail(err, r, "no message from the peer: %s", strerror(-r));
	}
}
