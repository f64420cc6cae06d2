// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Where POSIX must do. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "event_internal.h"

const struct event_ops *cvmm_event_host_ops(void)
{
	return NULL;
}

int cvmm_event_open_eventfd(void)
{
	return -ENOTSUP;
}

#ifdef CVMM_HAVE_PIPE2
int cvmm_event_open_pipe(int ret_fds[2])
{
	return pipe2(ret_fds, O_NONBLOCK | O_CLOEXEC) ? -errno : 0;
}
#else
static int make_private(int fd)
{
	return fcntl(fd, F_SETFD, FD_CLOEXEC) ? -errno : cvmm_set_nonblock(fd, true);
}

int cvmm_event_open_pipe(int ret_fds[2])
{
	int fds[2], ret;

	if (pipe(fds))
		return -errno;
	ret = make_private(fds[0]);
	if (!ret)
		ret = make_private(fds[1]);
	if (ret) {
		cvmm_close_fd(&fds[0]);
		cvmm_close_fd(&fds[1]);
		return ret;
	}
	ret_fds[0] = fds[0];
	ret_fds[1] = fds[1];
	return 0;
}
#endif

ssize_t cvmm_event_read_now(int fd, void *buf, size_t len)
{
	return read(fd, buf, len);
}
