// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: the host's descriptors.
 *
 * The loop must never wait in a transfer, but callers bring descriptors of every kind, and O_NONBLOCK
 * of an inherited one is not ours to set. So the kind is found out once. Sockets are told not to block
 * with each call. Descriptors with O_NONBLOCK and files need no care. The rest is polled before every
 * transfer, which is kept so small that a descriptor that is ready takes it without waiting.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "console_internal.h"

/* One call moves no more than this, so that a file on slow storage cannot hold up the loop for long. */
#define CALL_BYTES_MAX ((size_t)256 << 10)

/* A terminal that is ready has room for at least a few hundred bytes; a pipe for PIPE_BUF. */
#define TERMINAL_BYTES_MAX 256

int console_stream_init(struct console_stream *stream, int fd, int flag, struct cvmm_error *err)
{
	struct stat st;
	int flags;

	*stream = (struct console_stream){ .fd = -1, .kind = CONSOLE_STREAM_NONE };
	if (fd < 0)
		return 0;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fstat(fd, &st))
		return cvmm_fail(err, -errno, "descriptor %d is not open", fd);
	if ((flags & O_ACCMODE) != O_RDWR && (flags & O_ACCMODE) != flag)
		return cvmm_fail(err, -EINVAL, "descriptor %d is not open for %s", fd,
				 flag == O_RDONLY ? "reading" : "writing");
	if (S_ISDIR(st.st_mode))
		return cvmm_fail(err, -EINVAL, "descriptor %d is a directory", fd);
	stream->fd = fd;
	stream->call_bytes_max = CALL_BYTES_MAX;
	if (S_ISSOCK(st.st_mode)) {
		stream->kind = CONSOLE_STREAM_SOCKET;
	} else if (flags & O_NONBLOCK || S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) {
		stream->kind = CONSOLE_STREAM_PLAIN;
	} else {
		stream->kind = CONSOLE_STREAM_GUARDED;
		stream->call_bytes_max = isatty(fd) ? TERMINAL_BYTES_MAX : PIPE_BUF;
	}
	return 0;
}

/* The first pieces of a list, as many as one call may move. @one has room for a part of a piece. */
static struct msghdr clip(const struct console_stream *stream, const struct iovec *iov,
			  size_t count, struct iovec *one)
{
	size_t room = stream->call_bytes_max;
	size_t used = 0;

	while (used < count && used < IOV_MAX && iov[used].iov_len <= room)
		room -= iov[used++].iov_len;
	if (used || !count)
		return (struct msghdr){ .msg_iov = (struct iovec *)iov, .msg_iovlen = used };
	*one = (struct iovec){ .iov_base = iov->iov_base, .iov_len = room };
	return (struct msghdr){ .msg_iov = one, .msg_iovlen = 1 };
}

/* Whether a descriptor that may block is ready now (or failed, which the transfer will tell). */
static bool is_ready(const struct console_stream *stream, short events)
{
	struct pollfd p = { .fd = stream->fd, .events = events };

	return stream->kind != CONSOLE_STREAM_GUARDED || poll(&p, 1, 0) != 0;
}

ssize_t console_stream_read(const struct console_stream *stream, const struct iovec *iov,
			    size_t count)
{
	struct iovec one;
	struct msghdr msg = clip(stream, iov, count, &one);
	ssize_t n;

	if (!is_ready(stream, POLLIN))
		return -EAGAIN;
	do {
		if (stream->kind == CONSOLE_STREAM_SOCKET)
			n = recvmsg(stream->fd, &msg, MSG_DONTWAIT);
		else
			n = readv(stream->fd, msg.msg_iov, (int)msg.msg_iovlen);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	return n;
}

ssize_t console_stream_write(const struct console_stream *stream, const struct iovec *iov,
			     size_t count)
{
	struct iovec one;
	struct msghdr msg = clip(stream, iov, count, &one);
	ssize_t n;

	if (!is_ready(stream, POLLOUT))
		return -EAGAIN;
	do {
		if (stream->kind == CONSOLE_STREAM_SOCKET)
			n = sendmsg(stream->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		else
			n = writev(stream->fd, msg.msg_iov, (int)msg.msg_iovlen);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	return n ? n : -EIO; /* a device that takes nothing would make the loop spin */
}
