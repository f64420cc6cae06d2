// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * A socket's file outlives the process that made it, if that was killed. Whether somebody still has a
 * socket bound to the file is asked with a socket of another type: connecting it fails with
 * ECONNREFUSED if nobody has, and with EPROTOTYPE, without any effect on the other side, if somebody
 * has. Only then the file is replaced. Two processes that start at once on the same file must not both
 * find it abandoned: one would remove what the other has just made. So a lock on the directory is held
 * from the question until the new socket listens. Whoever else locks directories is not waited for
 * long.
 *
 * At the end the file is removed if it is still the one that was made here: another process may have
 * replaced it. The directory is kept open for that, since the sandbox has no paths.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon_internal.h"

/* Connections that wait while a device is busy with another one. */
#define BACKLOG 16

#define LOCK_TRIES 50
#define LOCK_PAUSE_MS 20

#ifndef O_PATH
#define O_PATH O_RDONLY
#endif

/* ---- addresses ----------------------------------------------------------------------------- */

static int open_directory(struct daemon_address *address, const char *path, struct cvmm_error *err)
{
	size_t len = (size_t)(address->name - address->sun.sun_path);
	char directory[sizeof(address->sun.sun_path)] = ".";

	if (len)
		memcpy(directory, path, len);
	directory[len ? len : 1] = 0;
	/* Not O_PATH: it is to be locked. */
	address->dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (address->dir_fd < 0 && errno == EACCES)
		address->dir_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (address->dir_fd < 0)
		return cvmm_fail(err, -errno, "the directory %s: %s", directory, strerror(errno));
	return 0;
}

int daemon_address_init(struct daemon_address *address, const char *path, int index,
			struct cvmm_error *err)
{
	const size_t room = sizeof(address->sun.sun_path);
	char number[16] = "";
	char *slash;
	int len;

	memset(address, 0, sizeof(*address));
	address->dir_fd = -1;
	address->sun.sun_family = AF_UNIX;
	if (index >= 0)
		snprintf(number, sizeof(number), "%d", index);
	len = snprintf(address->sun.sun_path, room, "%s%s", path, number);
	if (len < 0 || (size_t)len >= room)
		return cvmm_fail(err, -ENAMETOOLONG,
				 "%s%s: the path of a socket can have %zu bytes, and this has %d",
				 path, number, room - 1, len);
	slash = strrchr(address->sun.sun_path, '/');
	address->name = slash ? slash + 1 : address->sun.sun_path;
	if (!*address->name)
		return cvmm_fail(err, -EISDIR, "%s names a directory: add the socket's name", path);
	return open_directory(address, path, err);
}

void daemon_address_fini(struct daemon_address *address)
{
	cvmm_close_fd(&address->dir_fd);
}

/* ---- listening at a path ------------------------------------------------------------------- */

static int make_socket(int type)
{
	int fd = socket(AF_UNIX, type, 0);

	if (fd < 0)
		return -errno;
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) || cvmm_set_nonblock(fd, true)) {
		int ret = -errno;

		close(fd);
		return ret;
	}
	return fd;
}

/* Return: whether the lock is held: not knowing who else is there beats not starting. */
static bool lock_directory(const struct daemon_address *address)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(address->dir_fd, LOCK_EX | LOCK_NB) == 0)
			return true;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return false;
		poll(NULL, 0, LOCK_PAUSE_MS);
	}
	return false;
}

/* Return: 0 if nobody has a socket bound to the file; or negative errno with a message. */
static int check_abandoned(const struct daemon_address *address, struct cvmm_error *err)
{
	const char *path = address->sun.sun_path;
	struct stat st;
	int fd, ret;

	if (fstatat(address->dir_fd, address->name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0
				       : cvmm_fail(err, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return cvmm_fail(err, -EEXIST,
				 "%s is there and is no socket: remove it, or choose another path",
				 path);
	fd = make_socket(SOCK_DGRAM);
	if (fd < 0)
		return cvmm_fail(err, fd, "cannot make a socket: %s", strerror(-fd));
	ret = connect(fd, (const struct sockaddr *)&address->sun, sizeof(address->sun));
	ret = ret ? errno : 0;
	close(fd);
	switch (ret) {
	case ECONNREFUSED:
	case ENOENT:
		return 0;
	case 0:
	case EPROTOTYPE:
		return cvmm_fail(
			err, -EADDRINUSE,
			"%s: another process listens there: end it, or choose another path", path);
	default:
		return cvmm_fail(err, -ret,
				 "%s: cannot find out whether another process listens there: %s",
				 path, strerror(ret));
	}
}

/* umask() is the process's: nobody else runs while this does. */
static int bind_with_mode(int fd, const struct daemon_address *address,
			  const struct daemon_settings *settings)
{
	unsigned int mode = settings->socket_mode;
	mode_t before = 0;
	int ret;

	if (mode == DAEMON_MODE_UNSET && settings->socket_group_set)
		mode = 0660;
	if (mode != DAEMON_MODE_UNSET)
		before = umask(~mode & 0777);
	ret = bind(fd, (const struct sockaddr *)&address->sun, sizeof(address->sun)) ? -errno : 0;
	if (mode != DAEMON_MODE_UNSET)
		umask(before);
	return ret;
}

static int bind_and_listen(struct daemon_listener *l, const struct daemon_settings *settings,
			   struct cvmm_error *err)
{
	const struct daemon_address *address = &l->address;
	const char *path = address->sun.sun_path;
	struct stat st;
	int ret = bind_with_mode(l->fd, address, settings);

	if (ret)
		return cvmm_fail(err, ret, "%s: cannot make a socket there: %s", path,
				 strerror(-ret));
	if (fstatat(address->dir_fd, address->name, &st, AT_SYMLINK_NOFOLLOW))
		return cvmm_fail(err, -errno, "%s: %s", path, strerror(errno));
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	if (settings->socket_group_set && fchownat(address->dir_fd, address->name, (uid_t)-1,
						   settings->socket_group, AT_SYMLINK_NOFOLLOW))
		return cvmm_fail(err, -errno, "%s: cannot give it to group %lu: %s", path,
				 (unsigned long)settings->socket_group, strerror(errno));
	if (listen(l->fd, BACKLOG))
		return cvmm_fail(err, -errno, "%s: cannot listen: %s", path, strerror(errno));
	return 0;
}

int daemon_listener_init(struct daemon_listener *l, struct daemon_address *address,
			 const struct daemon_settings *settings, struct cvmm_error *err)
{
	bool locked;
	int ret;

	*l = (struct daemon_listener){ .fd = -1, .address = *address };
	l->address.name = l->address.sun.sun_path + (address->name - address->sun.sun_path);
	address->dir_fd = -1;
	l->fd = make_socket(SOCK_STREAM);
	if (l->fd < 0) {
		ret = cvmm_fail(err, l->fd, "cannot make a socket: %s", strerror(-l->fd));
		daemon_listener_fini(l);
		return ret;
	}
	locked = lock_directory(&l->address);
	ret = check_abandoned(&l->address, err);
	if (!ret) {
		unlinkat(l->address.dir_fd, l->address.name, 0);
		ret = bind_and_listen(l, settings, err);
	}
	if (locked)
		flock(l->address.dir_fd, LOCK_UN);
	if (ret)
		daemon_listener_fini(l);
	return ret;
}

void daemon_listener_fini(struct daemon_listener *l)
{
	struct stat st;

	if (l->address.dir_fd >= 0 && l->ino &&
	    fstatat(l->address.dir_fd, l->address.name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISSOCK(st.st_mode) && st.st_dev == l->dev && st.st_ino == l->ino)
		unlinkat(l->address.dir_fd, l->address.name, 0);
	l->ino = 0;
	cvmm_close_fd(&l->fd);
	daemon_address_fini(&l->address);
}

/* ---- sockets that were passed -------------------------------------------------------------- */

static int socket_option(int fd, int option)
{
	socklen_t len = sizeof(int);
	int value = 0;

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) ? -errno : value;
}

int daemon_passed_check(int fd, struct cvmm_error *err)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	int type, listens;

	if (fcntl(fd, F_GETFD) < 0)
		return cvmm_fail(err, -errno,
				 "descriptor %d is not open: who starts the daemon must pass it",
				 fd);
	type = socket_option(fd, SO_TYPE);
	if (type < 0 || getsockname(fd, (struct sockaddr *)&address, &len))
		return cvmm_fail(err, -ENOTSOCK, "descriptor %d is no socket", fd);
	if (type != SOCK_STREAM || address.ss_family != AF_UNIX)
		return cvmm_fail(err, -EINVAL, "descriptor %d is no Unix stream socket", fd);
	listens = socket_option(fd, SO_ACCEPTCONN);
	if (listens < 0)
		return cvmm_fail(err, listens, "descriptor %d: %s", fd, strerror(-listens));
	len = sizeof(address);
	if (!listens && getpeername(fd, (struct sockaddr *)&address, &len))
		return cvmm_fail(err, -ENOTCONN,
				 "descriptor %d is a socket that neither listens nor is connected",
				 fd);
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) || cvmm_set_nonblock(fd, true))
		return cvmm_fail(err, -errno, "descriptor %d: %s", fd, strerror(errno));
	return listens != 0;
}

unsigned int daemon_activation_count(const char *listen_pid, const char *listen_fds)
{
	uint64_t pid, count = 0;

	if (!listen_pid || !listen_fds ||
	    cvmm_daemon_parse_number(listen_pid, 1, INT_MAX, &pid, NULL) ||
	    pid != (uint64_t)getpid() ||
	    cvmm_daemon_parse_number(listen_fds, 1, INT_MAX, &count, NULL))
		return 0;
	return (unsigned int)count;
}

/* ---- connections --------------------------------------------------------------------------- */

int daemon_accept(int fd)
{
	int connected = accept(fd, NULL, NULL);
	int ret = -errno;

	if (connected < 0)
		return ret;
	if (fcntl(connected, F_SETFD, FD_CLOEXEC) == 0 && cvmm_set_nonblock(connected, true) == 0)
		return connected;
	ret = -errno;
	close(connected);
	return ret;
}

int daemon_connect(const struct daemon_address *address)
{
	int fd = make_socket(SOCK_STREAM);
	int ret;

	if (fd < 0)
		return fd;
	if (connect(fd, (const struct sockaddr *)&address->sun, sizeof(address->sun)) == 0)
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}
