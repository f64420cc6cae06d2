// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a cursor knows how many bytes it may still consume, and its pieces have at
 * least that many. So lengths are checked against that one number, before anything moves, and what
 * then moves does so in one loop: take() hands out the rest of a piece, or a part of it, and goes
 * on.
 *
 * What must not consume, or does not know yet how much it will, does the same with a copy.
 */
#include <errno.h>

#include <cvmm/virtq_io.h>

/* The most that Linux moves in one call; POSIX allows an error above SSIZE_MAX. */
#define CALL_BYTES_MAX ((size_t)0x7ffff000)

/* For struct transfer: wherever the descriptor's own position is. */
#define OFFSET_OF_FD ((off_t)-1)

_Static_assert(sizeof(off_t) == sizeof(int64_t), "offsets are checked against INT64_MAX");

/**
 * struct transfer - between the pieces and a descriptor
 * @offset: in the file, or OFFSET_OF_FD
 */
struct transfer {
	int fd;
	off_t offset;
	bool to_fd;
};

/* ---- cursors ------------------------------------------------------------------------------- */

static int cursor_init(struct cvmm_virtq_cursor *c, const struct iovec *iov, size_t count)
{
	size_t sum = 0;

	for (size_t i = 0; i < count; i++)
		if (__builtin_add_overflow(sum, iov[i].iov_len, &sum))
			return -EOVERFLOW;
	*c = (struct cvmm_virtq_cursor){
		.piece = iov,
		.count = count,
		.left_bytes = sum,
	};
	return 0;
}

/* Consumes up to @max bytes of one piece, but at least one. There must be some left. */
static struct iovec take(struct cvmm_virtq_cursor *c, size_t max)
{
	struct iovec taken;

	while (c->count && c->offset >= c->piece->iov_len) {
		c->piece++;
		c->count--;
		c->offset = 0;
	}
	/* Only a list that was changed, or is shorter than its chain says, can end here. */
	CVMM_BUG_ON(!c->count);
	taken.iov_base = (char *)c->piece->iov_base + c->offset;
	taken.iov_len = c->piece->iov_len - c->offset;
	if (taken.iov_len > max)
		taken.iov_len = max;
	c->offset += taken.iov_len;
	c->left_bytes -= taken.iov_len;
	c->done_bytes += taken.iov_len;
	return taken;
}

static size_t cursor_clamp(const struct cvmm_virtq_cursor *c, size_t len)
{
	return len < c->left_bytes ? len : c->left_bytes;
}

/* From here on @len has been checked against left_bytes. */
static void cursor_skip(struct cvmm_virtq_cursor *c, size_t len)
{
	while (len)
		len -= take(c, len).iov_len;
}

static void cursor_read(struct cvmm_virtq_cursor *c, void *dst, size_t len)
{
	char *to = dst;

	while (len) {
		struct iovec piece = take(c, len);

		memcpy(to, piece.iov_base, piece.iov_len);
		to += piece.iov_len;
		len -= piece.iov_len;
	}
	/* Link-time optimization must not fetch from the guest again what the caller looks at. */
	__asm__ volatile("" ::: "memory");
}

static void cursor_write(struct cvmm_virtq_cursor *c, const void *src, size_t len)
{
	const char *from = src;

	while (len) {
		struct iovec piece = take(c, len);

		memcpy(piece.iov_base, from, piece.iov_len);
		from += piece.iov_len;
		len -= piece.iov_len;
	}
}

static void cursor_limit(struct cvmm_virtq_cursor *c, size_t len)
{
	c->left_bytes = cursor_clamp(c, len);
}

static void cursor_split(struct cvmm_virtq_cursor *c, size_t offset, struct cvmm_virtq_cursor *rest)
{
	*rest = *c;
	cursor_skip(rest, offset);
	rest->done_bytes = 0;
	c->left_bytes = offset;
}

static int cursor_iov(struct cvmm_virtq_cursor c, size_t len, struct iovec *dst, size_t max,
		      size_t *ret_count)
{
	size_t count = 0;

	while (len) {
		if (count == max)
			return -ENOBUFS;
		dst[count] = take(&c, len);
		len -= dst[count++].iov_len;
	}
	*ret_count = count;
	return 0;
}

/* ---- files --------------------------------------------------------------------------------- */

/* Return: as the system call, but negative errno, and never -EINTR. */
static ssize_t transfer_pieces(const struct transfer *t, const struct iovec *iov, int count)
{
	ssize_t n;

	do {
		if (t->to_fd)
			n = t->offset == OFFSET_OF_FD ? writev(t->fd, iov, count)
						      : pwritev(t->fd, iov, count, t->offset);
		else
			n = t->offset == OFFSET_OF_FD ? readv(t->fd, iov, count)
						      : preadv(t->fd, iov, count, t->offset);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* One call. @len has been checked. Return: bytes moved and consumed, or negative errno. */
static ssize_t cursor_transfer_once(struct cvmm_virtq_cursor *c, const struct transfer *t,
				    size_t len)
{
	struct iovec pieces[CVMM_VIRTQ_IO_PIECES_MAX];
	struct cvmm_virtq_cursor ahead = *c;
	int count = 0;
	ssize_t n;

	if (!len)
		return 0;
	if (len > CALL_BYTES_MAX)
		len = CALL_BYTES_MAX;
	while (len && count < CVMM_VIRTQ_IO_PIECES_MAX) {
		pieces[count] = take(&ahead, len);
		len -= pieces[count++].iov_len;
	}
	n = transfer_pieces(t, pieces, count);
	if (n > 0)
		cursor_skip(c, (size_t)n);
	return n;
}

/* All of @len, which has been checked; so has its sum with the offset. */
static int cursor_transfer(struct cvmm_virtq_cursor *c, struct transfer t, size_t len)
{
	while (len) {
		ssize_t n = cursor_transfer_once(c, &t, len);

		if (n < 0)
			return (int)n;
		if (!n)
			return t.to_fd ? -EIO : -ENODATA;
		len -= (size_t)n;
		if (t.offset != OFFSET_OF_FD)
			t.offset += n;
	}
	return 0;
}

/* ---- readers ------------------------------------------------------------------------------- */

int cvmm_virtq_reader_init(struct cvmm_virtq_reader *reader, const struct iovec *iov, size_t count)
{
	return cursor_init(&reader->cursor, iov, count);
}

void cvmm_virtq_reader_from_chain(struct cvmm_virtq_reader *reader,
				  const struct cvmm_virtq_chain *chain)
{
	reader->cursor = (struct cvmm_virtq_cursor){
		.piece = chain->readable,
		.count = chain->readable_count,
		.left_bytes = chain->readable_bytes,
	};
}

size_t cvmm_virtq_reader_read(struct cvmm_virtq_reader *reader, void *dst, size_t len)
{
	len = cursor_clamp(&reader->cursor, len);
	cursor_read(&reader->cursor, dst, len);
	return len;
}

int cvmm_virtq_reader_read_exact(struct cvmm_virtq_reader *reader, void *dst, size_t len)
{
	if (len > reader->cursor.left_bytes)
		return -ENODATA;
	cursor_read(&reader->cursor, dst, len);
	return 0;
}

int cvmm_virtq_reader_peek(const struct cvmm_virtq_reader *reader, void *dst, size_t len)
{
	struct cvmm_virtq_reader fork = *reader;

	return cvmm_virtq_reader_read_exact(&fork, dst, len);
}

int cvmm_virtq_reader_skip(struct cvmm_virtq_reader *reader, size_t len)
{
	if (len > reader->cursor.left_bytes)
		return -ENODATA;
	cursor_skip(&reader->cursor, len);
	return 0;
}

void cvmm_virtq_reader_limit(struct cvmm_virtq_reader *reader, size_t len)
{
	cursor_limit(&reader->cursor, len);
}

int cvmm_virtq_reader_split(struct cvmm_virtq_reader *reader, size_t offset,
			    struct cvmm_virtq_reader *ret_rest)
{
	if (offset > reader->cursor.left_bytes)
		return -ENODATA;
	cursor_split(&reader->cursor, offset, &ret_rest->cursor);
	return 0;
}

int cvmm_virtq_reader_iov(const struct cvmm_virtq_reader *reader, size_t len, struct iovec *dst,
			  size_t max, size_t *ret_count)
{
	if (len > reader->cursor.left_bytes)
		return -ENODATA;
	return cursor_iov(reader->cursor, len, dst, max, ret_count);
}

int cvmm_virtq_reader_to_fd(struct cvmm_virtq_reader *reader, int fd, size_t len)
{
	struct transfer t = { .fd = fd, .offset = OFFSET_OF_FD, .to_fd = true };

	if (len > reader->cursor.left_bytes)
		return -ENODATA;
	return cursor_transfer(&reader->cursor, t, len);
}

int cvmm_virtq_reader_to_fd_at(struct cvmm_virtq_reader *reader, int fd, uint64_t offset,
			       size_t len)
{
	struct transfer t = { .fd = fd, .offset = (off_t)offset, .to_fd = true };

	if (len > reader->cursor.left_bytes)
		return -ENODATA;
	if (!cvmm_range_inside(offset, len, INT64_MAX))
		return -EFBIG;
	return cursor_transfer(&reader->cursor, t, len);
}

ssize_t cvmm_virtq_reader_to_fd_once(struct cvmm_virtq_reader *reader, int fd, size_t len)
{
	struct transfer t = { .fd = fd, .offset = OFFSET_OF_FD, .to_fd = true };

	return cursor_transfer_once(&reader->cursor, &t, cursor_clamp(&reader->cursor, len));
}

/* ---- writers ------------------------------------------------------------------------------- */

int cvmm_virtq_writer_init(struct cvmm_virtq_writer *writer, const struct iovec *iov, size_t count)
{
	return cursor_init(&writer->cursor, iov, count);
}

void cvmm_virtq_writer_from_chain(struct cvmm_virtq_writer *writer,
				  const struct cvmm_virtq_chain *chain)
{
	writer->cursor = (struct cvmm_virtq_cursor){
		.piece = chain->writable,
		.count = chain->writable_count,
		.left_bytes = chain->writable_bytes,
	};
}

size_t cvmm_virtq_writer_write(struct cvmm_virtq_writer *writer, const void *src, size_t len)
{
	len = cursor_clamp(&writer->cursor, len);
	cursor_write(&writer->cursor, src, len);
	return len;
}

int cvmm_virtq_writer_write_exact(struct cvmm_virtq_writer *writer, const void *src, size_t len)
{
	if (len > writer->cursor.left_bytes)
		return -ENOSPC;
	cursor_write(&writer->cursor, src, len);
	return 0;
}

int cvmm_virtq_writer_fill(struct cvmm_virtq_writer *writer, uint8_t byte, size_t len)
{
	if (len > writer->cursor.left_bytes)
		return -ENOSPC;
	while (len) {
		struct iovec piece = take(&writer->cursor, len);

		memset(piece.iov_base, byte, piece.iov_len);
		len -= piece.iov_len;
	}
	return 0;
}

int cvmm_virtq_writer_skip(struct cvmm_virtq_writer *writer, size_t len)
{
	if (len > writer->cursor.left_bytes)
		return -ENOSPC;
	cursor_skip(&writer->cursor, len);
	return 0;
}

void cvmm_virtq_writer_limit(struct cvmm_virtq_writer *writer, size_t len)
{
	cursor_limit(&writer->cursor, len);
}

int cvmm_virtq_writer_split(struct cvmm_virtq_writer *writer, size_t offset,
			    struct cvmm_virtq_writer *ret_rest)
{
	if (offset > writer->cursor.left_bytes)
		return -ENOSPC;
	cursor_split(&writer->cursor, offset, &ret_rest->cursor);
	return 0;
}

int cvmm_virtq_writer_iov(const struct cvmm_virtq_writer *writer, size_t len, struct iovec *dst,
			  size_t max, size_t *ret_count)
{
	if (len > writer->cursor.left_bytes)
		return -ENOSPC;
	return cursor_iov(writer->cursor, len, dst, max, ret_count);
}

int cvmm_virtq_writer_from_fd(struct cvmm_virtq_writer *writer, int fd, size_t len)
{
	struct transfer t = { .fd = fd, .offset = OFFSET_OF_FD, .to_fd = false };

	if (len > writer->cursor.left_bytes)
		return -ENOSPC;
	return cursor_transfer(&writer->cursor, t, len);
}

int cvmm_virtq_writer_from_fd_at(struct cvmm_virtq_writer *writer, int fd, uint64_t offset,
				 size_t len)
{
	struct transfer t = { .fd = fd, .offset = (off_t)offset, .to_fd = false };

	if (len > writer->cursor.left_bytes)
		return -ENOSPC;
	if (!cvmm_range_inside(offset, len, INT64_MAX))
		return -ENODATA;
	return cursor_transfer(&writer->cursor, t, len);
}

ssize_t cvmm_virtq_writer_from_fd_once(struct cvmm_virtq_writer *writer, int fd, size_t len)
{
	struct transfer t = { .fd = fd, .offset = OFFSET_OF_FD, .to_fd = false };

	return cursor_transfer_once(&writer->cursor, &t, cursor_clamp(&writer->cursor, len));
}
