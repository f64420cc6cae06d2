// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* What Linux has beyond POSIX. */
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "event_internal.h"

const struct event_ops *cvmm_event_host_ops(void)
{
	return &cvmm_event_epoll_ops;
}

int cvmm_event_open_eventfd(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int cvmm_event_open_pipe(int ret_fds[2])
{
	return pipe2(ret_fds, O_NONBLOCK | O_CLOEXEC) ? -errno : 0;
}

ssize_t cvmm_event_read_now(int fd, void *buf, size_t len)
{
#ifdef RWF_NOWAIT
	struct iovec iov = { buf, len };
	ssize_t got = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

	/* Eventfds know the flag since Linux 5.8, pipes since 6.4. */
	if (got >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
		return got;
#endif
	return read(fd, buf, len);
}
