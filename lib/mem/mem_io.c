// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a range of guest memory is a list of host pieces, and the kernel reads into and
 * writes from such lists itself. Lists are short, and what one cannot hold waits for the next call;
 * how far a stream got is a number of bytes, from which the next list is made.
 */
#include <errno.h>

#include "mem_internal.h"

#define PIECES_MAX 16

/* The most that Linux moves in one call; POSIX allows an error above SSIZE_MAX. */
#define CALL_BYTES_MAX UINT64_C(0x7ffff000)

/**
 * struct stretch - the first pieces of a range, and the walk that keeps them
 * @count: pieces
 */
struct stretch {
	struct cvmm_mem_walk walk;
	struct iovec pieces[PIECES_MAX];
	int count;
};

/*
 * Return: 0, or negative errno if any byte of @len lacks @access or cannot be mapped. After 0 there must
 * be a cvmm_mem_walk_end().
 */
static int stretch_start(struct stretch *s, const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len,
			 enum cvmm_access access)
{
	uint64_t left = len < CALL_BYTES_MAX ? len : CALL_BYTES_MAX;
	/* Of those that are mapped on demand there is only one at a time. */
	int max = mem->has_windows ? 1 : PIECES_MAX;
	int ret;

	ret = cvmm_mem_walk_start(&s->walk, mem, gpa, len, access);
	if (ret)
		return ret;
	for (s->count = 0; s->count < max && left; s->count++) {
		struct iovec *piece = &s->pieces[s->count];

		ret = cvmm_mem_walk_next(&s->walk, piece);
		if (ret < 0) {
			cvmm_mem_walk_end(&s->walk);
			return ret;
		}
		if (piece->iov_len > left)
			piece->iov_len = left;
		left -= piece->iov_len;
	}
	return 0;
}

ssize_t cvmm_mem_read_from_fd(const struct cvmm_mem *mem, cvmm_gpa gpa, int fd, uint64_t len)
{
	struct stretch s;
	ssize_t n;
	int ret;

	ret = stretch_start(&s, mem, gpa, len, CVMM_ACCESS_WRITE);
	if (ret)
		return ret;
	n = s.count ? cvmm_mem_host_readv(fd, s.pieces, s.count) : 0;
	if (n > 0)
		cvmm_mem_mark_dirty(mem, gpa, (uint64_t)n);
	cvmm_mem_walk_end(&s.walk);
	return n;
}

ssize_t cvmm_mem_write_to_fd(const struct cvmm_mem *mem, cvmm_gpa gpa, int fd, uint64_t len)
{
	struct stretch s;
	ssize_t n;
	int ret;

	ret = stretch_start(&s, mem, gpa, len, CVMM_ACCESS_READ);
	if (ret)
		return ret;
	n = s.count ? cvmm_mem_host_writev(fd, s.pieces, s.count) : 0;
	cvmm_mem_walk_end(&s.walk);
	return n;
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

static int read_pieces(struct cvmm_mem_walk *walk, int fd, uint64_t offset)
{
	struct iovec piece;
	int ret;

	for (; (ret = cvmm_mem_walk_next(walk, &piece)) > 0; offset += piece.iov_len) {
		ssize_t got = cvmm_pread_full(fd, piece.iov_base, piece.iov_len, offset);

		if (got < 0)
			return (int)got;
		if ((size_t)got < piece.iov_len)
			return -ENODATA;
	}
	return ret;
}

int cvmm_mem_pread(const struct cvmm_mem *mem, cvmm_gpa gpa, int fd, uint64_t offset, uint64_t len)
{
	struct cvmm_mem_walk walk;
	int ret;

	ret = cvmm_mem_walk_start(&walk, mem, gpa, len, CVMM_ACCESS_WRITE);
	if (ret)
		return ret;
	/* No file is larger than that, so this one ends too early. */
	if (cvmm_range_inside(offset, len, INT64_MAX)) {
		ret = read_pieces(&walk, fd, offset);
		/* Whole, also after a failure: part of it was written. */
		cvmm_mem_mark_dirty(mem, gpa, len);
	} else {
		ret = -ENODATA;
	}
	cvmm_mem_walk_end(&walk);
	return ret;
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
		ret = -EFBIG;
	while (!ret && (ret = cvmm_mem_walk_next(&walk, &piece)) > 0) {
		ret = cvmm_pwrite_full(fd, piece.iov_base, piece.iov_len, offset);
		offset += piece.iov_len;
	}
	cvmm_mem_walk_end(&walk);
	return ret;
}
