// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Tells a service manager when the daemon is ready: sd_notify(3). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon_internal.h"

int daemon_notify_open(const char *path, int *ret_fd, struct cvmm_error *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	size_t len = path ? strlen(path) : 0;
	int fd, ret;

	if (!path) {
		*ret_fd = -1;
		return 0;
	}
	if ((path[0] != '/' && path[0] != '@') || !path[1])
		return cvmm_fail(err, -EAFNOSUPPORT,
				 "NOTIFY_SOCKET '%s' is neither a path nor an abstract socket",
				 path);
	if (len >= sizeof(sun.sun_path))
		return cvmm_fail(err, -ENAMETOOLONG, "NOTIFY_SOCKET '%s' is too long", path);
	memcpy(sun.sun_path, path, len);
	if (path[0] == '@')
		sun.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (fd < 0)
		return cvmm_fail(err, -errno, "NOTIFY_SOCKET: %s", strerror(errno));
	/* Connected now: in the sandbox there are neither paths nor the host's abstract sockets. */
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) ||
	    connect(fd, (struct sockaddr *)&sun,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len))) {
		ret = cvmm_fail(err, -errno, "NOTIFY_SOCKET '%s': %s", path, strerror(errno));
		close(fd);
		return ret;
	}
	*ret_fd = fd;
	return 0;
}

void daemon_notify(int fd, const char *state)
{
	if (fd >= 0)
		(void)!send(fd, state, strlen(state), MSG_DONTWAIT | MSG_NOSIGNAL);
}
