// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Connecting to a back-end, which may not be there yet.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cvmm/vhost-user_frontend.h>

#define RETRY_MS 10U

#ifdef SOCK_CLOEXEC
#define SOCKET_FLAGS (SOCK_CLOEXEC | SOCK_NONBLOCK)
#else
#define SOCKET_FLAGS 0
#endif

/*
 * An address holds about 100 bytes. A longer path is reached through its directory, as long as the last
 * name of it fits. @ret_dir must stay open until the connection is made.
 */
static int make_address(const char *path, struct sockaddr_un *ret, int *ret_dir,
			struct cvmm_error *err)
{
	const char *slash = strrchr(path, '/');
	char *dir;

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) < sizeof(ret->sun_path)) {
		memcpy(ret->sun_path, path, strlen(path) + 1);
		return 0;
	}
	if (!slash)
		return cvmm_fail(err, -ENAMETOOLONG, "%s: too long a name for a socket", path);
	dir = strndup(path, (size_t)(slash - path) + 1);
	if (!dir)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	*ret_dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(dir);
	if (*ret_dir < 0)
		return cvmm_fail(err, -errno, "%s: cannot open its directory: %s", path,
				 strerror(errno));
	if ((size_t)snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", *ret_dir,
			     slash + 1) < sizeof(ret->sun_path))
		return 0;
	cvmm_close_fd(ret_dir);
	return cvmm_fail(err, -ENAMETOOLONG, "%s: too long a name for a socket", path);
}

/* Return: a socket, or negative errno. Never waits for room in the listener's queue. */
static int try_connect(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCKET_FLAGS, 0), r;

	if (fd < 0)
		return -errno;
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	r = cvmm_set_nonblock(fd, true);
	if (!r && connect(fd, (const struct sockaddr *)addr, sizeof(*addr)))
		r = -errno;
	if (!r)
		r = cvmm_set_nonblock(fd, false);
	if (r) {
		cvmm_close_fd(&fd);
		return r;
	}
	return fd;
}

/* What may be over in a moment: no socket yet, nobody listens yet, and no room in the queue. */
static bool may_pass(int code)
{
	return code == -ENOENT || code == -ECONNREFUSED || code == -EAGAIN;
}

static int connect_by(const struct sockaddr_un *addr, const char *path, unsigned int timeout_ms,
		      struct cvmm_error *err)
{
	uint64_t deadline_ns = cvmm_clock_ns() + timeout_ms * CVMM_NS_PER_MS;

	for (;;) {
		int fd = try_connect(addr);

		if (fd >= 0)
			return fd;
		if (!may_pass(fd))
			return cvmm_fail(err, fd, "%s: cannot connect: %s", path, strerror(-fd));
		if (!timeout_ms)
			return cvmm_fail(err, -ETIMEDOUT,
					 "%s: no back-end takes the connection: %s", path,
					 strerror(-fd));
		if (cvmm_clock_ns() >= deadline_ns)
			return cvmm_fail(err, -ETIMEDOUT,
					 "%s: no back-end took the connection within %u ms: %s",
					 path, timeout_ms, strerror(-fd));
		(void)poll(NULL, 0, RETRY_MS);
	}
}

int cvmm_vhost_user_connect(const char *path, unsigned int timeout_ms, int *ret_fd,
			    struct cvmm_error *err)
{
	struct sockaddr_un addr;
	int dir = -1;
	int fd = make_address(path, &addr, &dir, err);

	if (fd < 0)
		return fd;
	fd = connect_by(&addr, path, timeout_ms, err);
	cvmm_close_fd(&dir);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}
