// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a notifier is a descriptor that becomes readable when somebody writes to
 * another one, or to the same. Eventfds take exactly 8 bytes and give them back; pipes and sockets do
 * not mind. So a signal is always 8 bytes, whose value means nothing.
 *
 * What differs is how they fail. Writing to a pipe or a socket that nobody can read any more raises
 * SIGPIPE, whose default is death. Sockets have a flag against that, pipes have none: there the signal
 * is blocked for as long as the write takes, and taken if the write has raised it. It is sent to the
 * thread that writes, so no other thread sees anything of it. This costs three more calls, and is not
 * needed as long as the reading end is in the same notifier.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "event_internal.h"

/* Consuming reads this much at once, so that one read empties all but a very full pipe. */
#define CONSUME_CHUNK 4096

/* ---- life ---------------------------------------------------------------------------------- */

static int init_eventfd(struct cvmm_notifier *n)
{
	int fd = cvmm_event_open_eventfd();

	if (fd < 0)
		return fd;
	*n = (struct cvmm_notifier){ fd, fd, CVMM_NOTIFIER_EVENTFD };
	return 0;
}

static int init_pipe(struct cvmm_notifier *n)
{
	int fds[2];
	int ret = cvmm_event_open_pipe(fds);

	if (ret)
		return ret;
	*n = (struct cvmm_notifier){ fds[0], fds[1], CVMM_NOTIFIER_PIPE };
	return 0;
}

int cvmm_notifier_init(struct cvmm_notifier *n, enum cvmm_notifier_kind kind)
{
	int ret;

	switch (kind) {
	case CVMM_NOTIFIER_AUTO:
		ret = init_eventfd(n);
		return ret == -ENOTSUP || ret == -ENOSYS ? init_pipe(n) : ret;
	case CVMM_NOTIFIER_EVENTFD:
		return init_eventfd(n);
	case CVMM_NOTIFIER_PIPE:
		return init_pipe(n);
	case CVMM_NOTIFIER_SOCKET:
		break;
	}
	return -EINVAL;
}

void cvmm_notifier_fini(struct cvmm_notifier *n)
{
	if (n->write_fd != n->read_fd)
		cvmm_close_fd(&n->write_fd);
	cvmm_close_fd(&n->read_fd);
	n->write_fd = -1;
}

/* ---- signalling ---------------------------------------------------------------------------- */

static bool has_sigpipe(const sigset_t *set)
{
	return sigismember(set, SIGPIPE) == 1;
}

static bool is_sigpipe_pending(void)
{
	sigset_t pending;

	return !sigpending(&pending) && has_sigpipe(&pending);
}

/* As write(), but with -EPIPE as all that there is of a SIGPIPE. Sets errno as write() does. */
static ssize_t write_without_sigpipe(int fd, const void *buf, size_t len)
{
	sigset_t only, before;
	bool was_pending;
	int code, taken;
	ssize_t put;

	sigemptyset(&only);
	sigaddset(&only, SIGPIPE);
	code = pthread_sigmask(SIG_BLOCK, &only, &before);
	CVMM_BUG_ON(code);
	/* One that the caller has blocked, and not seen yet, is not ours to take. */
	was_pending = has_sigpipe(&before) && is_sigpipe_pending();
	put = write(fd, buf, len);
	code = errno;
	/* Some systems drop at once what is ignored: then there is nothing to wait for. */
	if (put < 0 && code == EPIPE && !was_pending && is_sigpipe_pending())
		(void)sigwait(&only, &taken);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = code;
	return put;
}

static ssize_t write_signal(const struct cvmm_notifier *n)
{
	const uint64_t one = 1;

	if (n->kind == CVMM_NOTIFIER_SOCKET)
		return send(n->write_fd, &one, sizeof(one), MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n->kind == CVMM_NOTIFIER_EVENTFD || n->read_fd >= 0)
		return write(n->write_fd, &one, sizeof(one));
	return write_without_sigpipe(n->write_fd, &one, sizeof(one));
}

int cvmm_notifier_signal(const struct cvmm_notifier *n)
{
	while (write_signal(n) < 0) {
		/* Full of signals: the reader will wake. Some systems' sockets say ENOBUFS. */
		if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* ---- consuming ----------------------------------------------------------------------------- */

static ssize_t read_signals(const struct cvmm_notifier *n, void *buf, size_t len)
{
	switch (n->kind) {
	case CVMM_NOTIFIER_SOCKET:
		return recv(n->read_fd, buf, len, MSG_DONTWAIT);
	case CVMM_NOTIFIER_EVENTFD:
		/*
		 * Not more, for what a peer calls an eventfd and is none: longer reads would take
		 * this process' own signals from a signalfd, for instance.
		 */
		return cvmm_event_read_now(n->read_fd, buf, sizeof(uint64_t));
	default:
		return cvmm_event_read_now(n->read_fd, buf, len);
	}
}

/* Whether a read of @got bytes may have left some. */
static bool may_have_more(const struct cvmm_notifier *n, size_t got)
{
	switch (n->kind) {
	case CVMM_NOTIFIER_SOCKET:
		return true; /* one read takes one packet */
	case CVMM_NOTIFIER_EVENTFD:
		return false;
	default:
		return got == CONSUME_CHUNK;
	}
}

int cvmm_notifier_consume(const struct cvmm_notifier *n)
{
	char buf[CONSUME_CHUNK];
	int any = 0;

	for (int i = 0; i < EVENT_CONSUME_MAX_READS; i++) {
		ssize_t got = read_signals(n, buf, sizeof(buf));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return any;
		/* What came before the end counts first: the end is found again. */
		if (got <= 0)
			return any ? any : got ? -errno : -EPIPE;
		any = 1;
		if (!may_have_more(n, (size_t)got))
			return any;
	}
	return any;
}
