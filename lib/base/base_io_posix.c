// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cvmm/base.h>

void cvmm_close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

ssize_t cvmm_read_full(int fd, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t got = read(fd, (char *)buf + done, len - done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

int cvmm_write_full(int fd, const void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t put = write(fd, (const char *)buf + done, len - done);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		done += (size_t)put;
	}
	return 0;
}

ssize_t cvmm_pread_full(int fd, void *buf, size_t len, uint64_t offset)
{
	size_t done = 0;

	if (!cvmm_range_inside(offset, len, INT64_MAX))
		return -EOVERFLOW;
	while (done < len) {
		ssize_t got = pread(fd, (char *)buf + done, len - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

int cvmm_pwrite_full(int fd, const void *buf, size_t len, uint64_t offset)
{
	size_t done = 0;

	if (!cvmm_range_inside(offset, len, INT64_MAX))
		return -EOVERFLOW;
	while (done < len) {
		ssize_t put =
			pwrite(fd, (const char *)buf + done, len - done, (off_t)(offset + done));

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		done += (size_t)put;
	}
	return 0;
}

int cvmm_set_nonblock(int fd, bool nonblock)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	flags = nonblock ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

int cvmm_reopen_nonblock(int fd, int flags, int *ret_fd)
{
	char path[32];
	struct stat st;
	int new_fd = -1;

	if (fstat(fd, &st))
		return -errno;
	if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		new_fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	}
	if (new_fd < 0)
		new_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (new_fd < 0)
		return -errno;
	*ret_fd = new_fd;
	return 0;
}
