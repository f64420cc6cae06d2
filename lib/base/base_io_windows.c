// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: descriptors are those of the C library, opened with O_BINARY; what it cannot do
 * is asked of the system through the handle behind them. A read at an offset moves the position of a
 * handle that was not opened for overlapped I/O, so the position is put back: two threads that read one
 * descriptor, one at an offset and one at its position, must agree among themselves here.
 */
#include <errno.h>
#include <io.h>
#include <limits.h>
#include <unistd.h>
#include <windows.h>

#include <cvmm/base.h>

/* The most that one call takes. */
#define CALL_BYTES_MAX ((size_t)INT_MAX)

void cvmm_close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static unsigned int call_bytes(size_t len)
{
	return (unsigned int)(len < CALL_BYTES_MAX ? len : CALL_BYTES_MAX);
}

ssize_t cvmm_read_full(int fd, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		int got = read(fd, (char *)buf + done, call_bytes(len - done));

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
		int put = write(fd, (const char *)buf + done, call_bytes(len - done));

		if (put < 0)
			return -errno;
		done += (size_t)put;
	}
	return 0;
}

/* One transfer at an offset. Return: bytes, 0 at the end of the file, or negative errno. */
static ssize_t move_at(int fd, void *buf, size_t len, uint64_t offset, bool is_write)
{
	HANDLE file = fd < 0 ? INVALID_HANDLE_VALUE : (HANDLE)_get_osfhandle(fd);
	OVERLAPPED at = { .Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32) };
	LARGE_INTEGER zero = { .QuadPart = 0 }, position;
	DWORD moved = 0;
	bool has_position, ok;
	DWORD code;

	if (file == INVALID_HANDLE_VALUE)
		return -EBADF;
	if (GetFileType(file) != FILE_TYPE_DISK)
		return -ESPIPE;
	has_position = SetFilePointerEx(file, zero, &position, FILE_CURRENT);
	ok = is_write ? WriteFile(file, buf, call_bytes(len), &moved, &at)
		      : ReadFile(file, buf, call_bytes(len), &moved, &at);
	code = GetLastError();
	if (has_position)
		(void)SetFilePointerEx(file, position, NULL, FILE_BEGIN);
	if (ok)
		return (ssize_t)moved;
	switch (code) {
	case ERROR_HANDLE_EOF:
		return 0;
	case ERROR_ACCESS_DENIED:
		return -EBADF; /* as POSIX says of a file that was not opened for this */
	case ERROR_DISK_FULL:
		return -ENOSPC;
	default:
		return -EIO;
	}
}

ssize_t cvmm_pread_full(int fd, void *buf, size_t len, uint64_t offset)
{
	size_t done = 0;

	if (!cvmm_range_inside(offset, len, INT64_MAX))
		return -EOVERFLOW;
	while (done < len) {
		ssize_t got = move_at(fd, (char *)buf + done, len - done, offset + done, false);

		if (got < 0)
			return got;
		if (!got)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

int cvmm_pwrite_full(int fd, const void *buf, size_t len, uint64_t offset)
{
	/* The cast is sound: with is_write the buffer is only read. */
	char *from = (char *)(uintptr_t)buf;
	size_t done = 0;

	if (!cvmm_range_inside(offset, len, INT64_MAX))
		return -EOVERFLOW;
	while (done < len) {
		ssize_t put = move_at(fd, from + done, len - done, offset + done, true);

		if (put < 0)
			return (int)put;
		done += (size_t)put;
	}
	return 0;
}

int cvmm_set_nonblock(int fd, bool nonblock)
{
	(void)fd;
	return nonblock ? -ENOTSUP : 0;
}

int cvmm_reopen_nonblock(int fd, int flags, int *ret_fd)
{
	(void)fd;
	(void)flags;
	(void)ret_fd;
	return -ENOTSUP;
}
