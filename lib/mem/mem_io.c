// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a range of guest memory is a list of host pieces, and the kernel reads into and
 * writes from such lists itself. Lists are short, and what one cannot hold waits for the next call;
 * how far a stream got is a number of bytes, from which the next list is made.
 */
#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

#include "mem_internal.h"

#define PIECES_MAX 16

/* The most that Linux moves in one call; POSIX allows an error above SSIZE_MAX. */
#define CALL_BYTES_MAX UINT64_C(0x7ffff000)

/* The first pieces of a range. Return: how many, or -EFAULT if any byte of @len lacks @access. */
static int first_pieces(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len,
			enum cvmm_access access, struct iovec pieces[PIECES_MAX])
{
	uint64_t left = len < CALL_BYTES_MAX ? len : CALL_BYTES_MAX;
	struct cvmm_mem_walk walk;
	int count = 0;
	int ret;

	ret = cvmm_mem_walk_start(&walk, mem, gpa, len, access);
	if (ret)
		return ret;
	while (count < PIECES_MAX && left && cvmm_mem_walk_next(&walk, &pieces[count])) {
		if (pieces[count].iov_len > left)
			pieces[count].iov_len = left;
		left -= pieces[count].iov_len;
		count++;
	}
	return count;
}

ssize_t cvmm_mem_read_from_fd(const struct cvmm_mem *mem, cvmm_gpa gpa, int fd, uint64_t len)
{
	struct iovec pieces[PIECES_MAX];
	int count = first_pieces(mem, gpa, len, CVMM_ACCESS_WRITE, pieces);
	ssize_t n;

	if (count <= 0)
		return count;
	n = readv(fd, pieces, count);
	return n < 0 ? -errno : n;
}

ssize_t cvmm_mem_write_to_fd(const struct cvmm_mem *mem, cvmm_gpa gpa, int fd, uint64_t len)
{
	struct iovec pieces[PIECES_MAX];
	int count = first_pieces(mem, gpa, len, CVMM_ACCESS_READ, pieces);
	ssize_t n;

	if (count <= 0)
		return count;
	n = writev(fd, pieces, count);
	return n < 0 ? -errno : n;
}

/* Repeats one of the calls above until all has moved. */
static int move_all(ssize_t (*move)(const struct cvmm_mem *mem, cvmm_gpa gpa, int fd, uint64_t len),
		    const struct cvmm_mem *mem, cvmm_gpa gpa, int fd, uint64_t len)
{
	while (len) {
		ssize_t n = move(mem, gpa, fd, len);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n ? (int)n : -ENODATA;
		gpa = cvmm_gpa_add(gpa, (uint64_t)n);
		len -= (uint64_t)n;
	}
	return 0;
}

int cvmm_mem_read_full_from_fd(const struct cvmm_mem *mem, cvmm_gpa gpa, int fd, uint64_t len)
{
	return move_all(cvmm_mem_read_from_fd, mem, gpa, fd, len);
}

int cvmm_mem_write_full_to_fd(const struct cvmm_mem *mem, cvmm_gpa gpa, int fd, uint64_t len)
{
	return move_all(cvmm_mem_write_to_fd, mem, gpa, fd, len);
}

int cvmm_mem_pread(const struct cvmm_mem *mem, cvmm_gpa gpa, int fd, uint64_t offset, uint64_t len)
{
	struct cvmm_mem_walk walk;
	struct iovec piece;
	int ret;

	ret = cvmm_mem_walk_start(&walk, mem, gpa, len, CVMM_ACCESS_WRITE);
	if (ret)
		return ret;
	/* No file is larger than that, so this one ends too early. */
	if (!cvmm_range_inside(offset, len, INT64_MAX))
		return -ENODATA;
	for (; cvmm_mem_walk_next(&walk, &piece); offset += piece.iov_len) {
		ssize_t got = cvmm_pread_full(fd, piece.iov_base, piece.iov_len, offset);

		if (got < 0)
			return (int)got;
		if ((size_t)got < piece.iov_len)
			return -ENODATA;
	}
	return 0;
}

int cvmm_mem_pwrite(const struct cvmm_mem *mem, cvmm_gpa gpa, int fd, uint64_t offset, uint64_t len)
{
	struct cvmm_mem_walk walk;
	struct iovec piece;
	int ret;

	ret = cvmm_mem_walk_start(&walk, mem, gpa, len, CVMM_ACCESS_READ);
	if (ret)
		return ret;
	if (!cvmm_range_inside(offset, len, INT64_MAX))
		return -EFBIG;
	for (; !ret && cvmm_mem_walk_next(&walk, &piece); offset += piece.iov_len)
		ret = cvmm_pwrite_full(fd, piece.iov_base, piece.iov_len, offset);
	return ret;
}
