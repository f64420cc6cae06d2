// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/eventfd.h>
#endif

#include <cvmm/event.h>

/* Consuming reads this much at once, so that one read empties all but a very full pipe. */
#define CONSUME_CHUNK 4096
/* A peer that writes faster than we read must not hold us for ever: what is left wakes us again. */
#define CONSUME_MAX_READS 256

static int init_eventfd(struct cvmm_notifier *n)
{
#ifdef __linux__
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	*n = (struct cvmm_notifier){ fd, fd };
	return 0;
#else
	(void)n;
	return -ENOTSUP;
#endif
}

static int init_pipe(struct cvmm_notifier *n)
{
	int fds[2];

#ifdef __APPLE__ /* the one POSIX system in reach without pipe2() */
	int ret = 0;

	if (pipe(fds))
		return -errno;
	for (int i = 0; i < 2; i++)
		if (fcntl(fds[i], F_SETFD, FD_CLOEXEC) || fcntl(fds[i], F_SETFL, O_NONBLOCK))
			ret = -errno;
	if (ret) {
		cvmm_close_fd(&fds[0]);
		cvmm_close_fd(&fds[1]);
		return ret;
	}
#else
	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC))
		return -errno;
#endif
	*n = (struct cvmm_notifier){ fds[0], fds[1] };
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

int cvmm_notifier_signal(const struct cvmm_notifier *n)
{
	/* An eventfd takes exactly 8 bytes; a pipe does not mind, so nobody needs to know which. */
	const uint64_t one = 1;

	while (write(n->write_fd, &one, sizeof(one)) < 0) {
		if (errno == EAGAIN)
			return 0; /* full of signals: the reader will wake */
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

bool cvmm_notifier_consume(const struct cvmm_notifier *n)
{
	char buf[CONSUME_CHUNK];
	bool any = false;

	for (int i = 0; i < CONSUME_MAX_READS; i++) {
		ssize_t got = read(n->read_fd, buf, sizeof(buf));

		if (got < 0 && errno == EINTR)
			continue;
		if (got > 0)
			any = true;
		if (got < (ssize_t)sizeof(buf))
			break;
	}
	return any;
}
