// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Notifiers from a peer: what was sent may be anything, and the peer has it, too.
 *
 * Theory of operation: only what is made for such use is taken. Files, directories and devices are
 * ready at all times, so a loop that watches them spins. An eventfd has no type that fstat() knows, as
 * some other descriptors that have no name in the file system: of those, reads and writes of 8 bytes
 * fail or do no harm. An eventfd that is a semaphore gives a signal for each that it counts, as if its
 * peer had written so often: the loop goes on to its other sources between any two.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "event_internal.h"

/* Sockets of this machine only: there is no reason to talk to the network in a peer's name. */
static bool is_local_socket(int fd)
{
	struct sockaddr_storage name = { 0 };
	socklen_t len = sizeof(name);

	return !getsockname(fd, (struct sockaddr *)&name, &len) && name.ss_family == AF_UNIX;
}

static int find_kind(int fd, enum cvmm_notifier_kind *ret_kind)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (S_ISFIFO(st.st_mode))
		*ret_kind = CVMM_NOTIFIER_PIPE;
	else if (S_ISSOCK(st.st_mode) && is_local_socket(fd))
		*ret_kind = CVMM_NOTIFIER_SOCKET;
	else if (!(st.st_mode & S_IFMT))
		*ret_kind = CVMM_NOTIFIER_EVENTFD;
	else
		return -EINVAL;
	return 0;
}

/* Whether the descriptor was opened for what we are going to do. */
static int check_access(int fd, bool we_read)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	return (flags & O_ACCMODE) == (we_read ? O_WRONLY : O_RDONLY) ? -EINVAL : 0;
}

/* Puts a pipe's descriptor of our own, if we can have one, in place of the one that the peer shares. */
static int reopen_pipe(int *fd, bool we_read)
{
	int own, ret;

	ret = cvmm_reopen_nonblock(*fd, we_read ? O_RDONLY : O_WRONLY, &own);
	if (ret)
		return ret;
	cvmm_close_fd(fd);
	*fd = own;
	return 0;
}

int cvmm_notifier_from_fd(int fd, bool we_read, struct cvmm_notifier *ret)
{
	int own cvmm_cleanup(cvmm_close_fd) = fd;
	enum cvmm_notifier_kind kind;
	int r;

	r = find_kind(own, &kind);
	if (!r)
		r = check_access(own, we_read);
	/* Before a pipe is opened anew: this refuses what may not be opened (O_PATH). */
	if (!r)
		r = cvmm_set_nonblock(own, true);
	if (!r && kind == CVMM_NOTIFIER_PIPE)
		r = reopen_pipe(&own, we_read);
	if (!r && fcntl(own, F_SETFD, FD_CLOEXEC))
		r = -errno;
	if (r)
		return r;
	ret->read_fd = we_read ? own : -1;
	ret->write_fd = we_read ? -1 : own;
	ret->kind = kind;
	own = -1;
	return 0;
}
