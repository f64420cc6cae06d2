// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Where POSIX must do. */
#include <errno.h>
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

ssize_t cvmm_event_read_now(int fd, void *buf, size_t len)
{
	return read(fd, buf, len);
}
