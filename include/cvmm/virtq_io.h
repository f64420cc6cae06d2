/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm virtq_io: reading and writing the buffers of a chain as streams of bytes.
 *
 * A reader goes over the pieces that the device reads, a writer over those that it writes. Where
 * one piece ends and the next begins is the driver's choice, and does not show: a header may be
 * shattered over any number of pieces.
 *
 * Both are small values that only refer to the list of pieces, which must stay as it is meanwhile.
 * Copying the struct forks the position: the copy and the original move independently.
 *
 *  - Calls that ask for an exact number of bytes move all of them, or none if there are fewer left:
 *    -ENODATA from a reader, -ENOSPC from a writer.
 *  - The same holds for what goes to and comes from a file, until the file itself fails. Then the
 *    bytes that were moved before are consumed, and bytes_done tells how many they were.
 *  - The guest can change the bytes at any time. Each call copies each byte once, so decide by what
 *    was copied: a second look may show something else, also one after a peek.
 *  - Nothing allocates. Not thread-safe: one reader or writer belongs to one thread at a time.
 *
 * Writes are not marked in a dirty bitmap here; giving back the chain is what marks them.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_VIRTQ_IO_H
#define CVMM_VIRTQ_IO_H

#include <cvmm/virtq.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Pieces that move with one system call. POSIX promises only 16, but the usual number is 1024. */
#define CVMM_VIRTQ_IO_PIECES_MAX 64

/**
 * struct cvmm_virtq_cursor - a place in a list of pieces; private to lib/virtq
 * @piece: the piece that the next byte is in, or one before that
 * @count: pieces from @piece on
 * @offset: bytes of @piece that were consumed
 * @left_bytes: up to the end or the limit; the pieces have at least that many from here on
 * @done_bytes: consumed so far; with @left_bytes never more than SIZE_MAX
 */
struct cvmm_virtq_cursor {
	const struct iovec *piece;
	size_t count;
	size_t offset;
	size_t left_bytes;
	size_t done_bytes;
};

/* What the device reads. In the caller's storage, nothing to give back. */
struct cvmm_virtq_reader {
	struct cvmm_virtq_cursor cursor;
};

/* What the device writes. In the caller's storage, nothing to give back. */
struct cvmm_virtq_writer {
	struct cvmm_virtq_cursor cursor;
};

/* ---- readers ------------------------------------------------------------------------------- */

/**
 * cvmm_virtq_reader_init() - read a list of pieces from its beginning
 * @iov: @count pieces, any of which may be empty; must stay as they are while the reader is used
 *
 * Return: 0, or -EOVERFLOW if the lengths add up to more than a size_t holds.
 */
CVMM_API int cvmm_virtq_reader_init(struct cvmm_virtq_reader *reader, const struct iovec *iov,
				    size_t count);

/* Read the readable part of a chain as pop made it; valid as long as that is. */
CVMM_API void cvmm_virtq_reader_from_chain(struct cvmm_virtq_reader *reader,
					   const struct cvmm_virtq_chain *chain);

/* Bytes up to the end, or to the limit. */
static inline size_t cvmm_virtq_reader_bytes_left(const struct cvmm_virtq_reader *reader)
{
	return reader->cursor.left_bytes;
}

/* Bytes consumed since the reader was made, skipped ones too. */
static inline size_t cvmm_virtq_reader_bytes_done(const struct cvmm_virtq_reader *reader)
{
	return reader->cursor.done_bytes;
}

/* Read up to @len bytes. Return: bytes read, less than @len only where nothing is left. */
CVMM_API size_t cvmm_virtq_reader_read(struct cvmm_virtq_reader *reader, void *dst, size_t len);

/* Read @len bytes. Return: 0, or -ENODATA with nothing consumed and @dst untouched. */
CVMM_API int cvmm_virtq_reader_read_exact(struct cvmm_virtq_reader *reader, void *dst, size_t len);

/*
 * Copy the next @len bytes without consuming them. The guest may change them before they are read.
 * Return: 0, or -ENODATA with @dst untouched.
 */
CVMM_API int cvmm_virtq_reader_peek(const struct cvmm_virtq_reader *reader, void *dst, size_t len);

/* Consume @len bytes unseen. Return: 0, or -ENODATA with nothing consumed. */
CVMM_API int cvmm_virtq_reader_skip(struct cvmm_virtq_reader *reader, size_t len);

/*
 * Make everything behind the next @len bytes invisible. A limit never moves further away: one that
 * is behind the present end changes nothing. To get behind it, use a copy from before, or split.
 */
CVMM_API void cvmm_virtq_reader_limit(struct cvmm_virtq_reader *reader, size_t len);

/**
 * cvmm_virtq_reader_split() - cut in two
 * @offset: from the present position; @reader is limited to the bytes before it
 * @ret_rest: gets the bytes behind it, with none done; not @reader itself
 *
 * Return: 0, or -ENODATA if there are fewer than @offset bytes left; then both are untouched.
 */
CVMM_API int cvmm_virtq_reader_split(struct cvmm_virtq_reader *reader, size_t offset,
				     struct cvmm_virtq_reader *ret_rest);

/**
 * cvmm_virtq_reader_iov() - the next bytes as pieces, for calls that take such a list
 * @dst: room for @max pieces, apart from the reader's own list; unspecified on failure
 * @ret_count: pieces used, none of which is empty
 *
 * Consumes nothing: cvmm_virtq_reader_skip() what was used. The pieces are only to be read from.
 *
 * Return: 0; -ENODATA if fewer than @len bytes are left; -ENOBUFS if they lie in more than @max
 * pieces.
 */
CVMM_API int cvmm_virtq_reader_iov(const struct cvmm_virtq_reader *reader, size_t len,
				   struct iovec *dst, size_t max, size_t *ret_count);

/**
 * cvmm_virtq_reader_to_fd() - write the next bytes to a stream, all of them, without a copy
 * @fd: not looked at if @len is 0
 *
 * Return: 0; -ENODATA with nothing moved if fewer than @len bytes are left; otherwise what writev()
 * failed with (for a non-blocking descriptor that is full, -EAGAIN). Bytes that the stream took
 * before it failed, and only those, are consumed: cvmm_virtq_reader_bytes_done() grew by them, and
 * the call can be repeated for the others. -EIO if the stream takes nothing, but does not fail.
 *
 * Context: blocks as long as the stream does; repeats EINTR. A pipe or socket without a reader
 * raises SIGPIPE unless the program ignores it.
 */
CVMM_API int cvmm_virtq_reader_to_fd(struct cvmm_virtq_reader *reader, int fd, size_t len);

/**
 * cvmm_virtq_reader_to_fd_at() - write the next bytes to a place in a file, without a copy
 * @offset: of the file, in bytes, may be the guest's; the file's own position stays
 *
 * Return: as cvmm_virtq_reader_to_fd(), for pwritev(); -EFBIG with nothing moved if no file can be
 * as long as the last byte's place demands.
 */
CVMM_API int cvmm_virtq_reader_to_fd_at(struct cvmm_virtq_reader *reader, int fd, uint64_t offset,
					size_t len);

/**
 * cvmm_virtq_reader_to_fd_once() - as many of the next bytes as one writev() takes
 * @len: the most; fewer if there are fewer, and no more than CVMM_VIRTQ_IO_PIECES_MAX pieces
 *
 * For streams that may take less. A datagram must be given whole: if it may have more pieces than
 * that, use cvmm_virtq_reader_iov().
 *
 * Return: bytes moved, and consumed; 0 if nothing is left or @len is 0; or negative errno, with
 * nothing consumed. Context: as cvmm_virtq_reader_to_fd().
 */
CVMM_API ssize_t cvmm_virtq_reader_to_fd_once(struct cvmm_virtq_reader *reader, int fd, size_t len);

/* Read a little-endian number. Return: 0, or -ENODATA with nothing consumed and *ret untouched. */
static inline int cvmm_virtq_reader_read_le16(struct cvmm_virtq_reader *reader, uint16_t *ret)
{
	uint8_t bytes[sizeof(*ret)];
	int err = cvmm_virtq_reader_read_exact(reader, bytes, sizeof(bytes));

	if (!err)
		*ret = cvmm_get_le16(bytes);
	return err;
}

static inline int cvmm_virtq_reader_read_le32(struct cvmm_virtq_reader *reader, uint32_t *ret)
{
	uint8_t bytes[sizeof(*ret)];
	int err = cvmm_virtq_reader_read_exact(reader, bytes, sizeof(bytes));

	if (!err)
		*ret = cvmm_get_le32(bytes);
	return err;
}

static inline int cvmm_virtq_reader_read_le64(struct cvmm_virtq_reader *reader, uint64_t *ret)
{
	uint8_t bytes[sizeof(*ret)];
	int err = cvmm_virtq_reader_read_exact(reader, bytes, sizeof(bytes));

	if (!err)
		*ret = cvmm_get_le64(bytes);
	return err;
}

/* ---- writers ------------------------------------------------------------------------------- */

/* As cvmm_virtq_reader_init(). */
CVMM_API int cvmm_virtq_writer_init(struct cvmm_virtq_writer *writer, const struct iovec *iov,
				    size_t count);

/* Write the writable part of a chain as pop made it; valid as long as that is. */
CVMM_API void cvmm_virtq_writer_from_chain(struct cvmm_virtq_writer *writer,
					   const struct cvmm_virtq_chain *chain);

/* Room up to the end, or to the limit. */
static inline size_t cvmm_virtq_writer_bytes_left(const struct cvmm_virtq_writer *writer)
{
	return writer->cursor.left_bytes;
}

/*
 * Bytes consumed since the writer was made: of a chain, what cvmm_virtq_push() is to be told.
 * Skipped ones count, and those of a rest that was split off do not.
 */
static inline size_t cvmm_virtq_writer_bytes_done(const struct cvmm_virtq_writer *writer)
{
	return writer->cursor.done_bytes;
}

/* Write up to @len bytes. Return: bytes written, less than @len only where no room is left. */
CVMM_API size_t cvmm_virtq_writer_write(struct cvmm_virtq_writer *writer, const void *src,
					size_t len);

/* Write @len bytes. Return: 0, or -ENOSPC with nothing written. */
CVMM_API int cvmm_virtq_writer_write_exact(struct cvmm_virtq_writer *writer, const void *src,
					   size_t len);

/* Write @len times the same byte. Return: 0, or -ENOSPC with nothing written. */
CVMM_API int cvmm_virtq_writer_fill(struct cvmm_virtq_writer *writer, uint8_t byte, size_t len);

/*
 * Leave @len bytes as they are, but count them as done: the driver is told that they were written,
 * so write them later, through a copy of the writer. Return: 0, or -ENOSPC with nothing consumed.
 */
CVMM_API int cvmm_virtq_writer_skip(struct cvmm_virtq_writer *writer, size_t len);

/* As cvmm_virtq_reader_limit(). */
CVMM_API void cvmm_virtq_writer_limit(struct cvmm_virtq_writer *writer, size_t len);

/* As cvmm_virtq_reader_split(), with -ENOSPC. */
CVMM_API int cvmm_virtq_writer_split(struct cvmm_virtq_writer *writer, size_t offset,
				     struct cvmm_virtq_writer *ret_rest);

/* As cvmm_virtq_reader_iov(), with -ENOSPC. The pieces may be written to. */
CVMM_API int cvmm_virtq_writer_iov(const struct cvmm_virtq_writer *writer, size_t len,
				   struct iovec *dst, size_t max, size_t *ret_count);

/**
 * cvmm_virtq_writer_from_fd() - read the next bytes from a stream, all of them, without a copy
 * @fd: not looked at if @len is 0
 *
 * Return: 0; -ENOSPC with nothing moved if there is less room than @len; -ENODATA if the stream
 * ends before; otherwise what readv() failed with (for a non-blocking descriptor that is empty,
 * -EAGAIN). Bytes that came before the stream ended or failed, and only those, are consumed:
 * cvmm_virtq_writer_bytes_done() grew by them. What lies behind them is unspecified after a
 * failure.
 *
 * Context: blocks as long as the stream does; repeats EINTR.
 */
CVMM_API int cvmm_virtq_writer_from_fd(struct cvmm_virtq_writer *writer, int fd, size_t len);

/**
 * cvmm_virtq_writer_from_fd_at() - read the next bytes from a place in a file, without a copy
 * @offset: of the file, in bytes, may be the guest's; the file's own position stays
 *
 * Return: as cvmm_virtq_writer_from_fd(), for preadv(); -ENODATA with nothing moved if no file can
 * be as long as the last byte's place demands.
 */
CVMM_API int cvmm_virtq_writer_from_fd_at(struct cvmm_virtq_writer *writer, int fd, uint64_t offset,
					  size_t len);

/**
 * cvmm_virtq_writer_from_fd_once() - as many bytes as one readv() gives
 * @len: the most; fewer if there is less room, and no more than CVMM_VIRTQ_IO_PIECES_MAX pieces
 *
 * For streams that may give less. What a datagram has more than that is lost, as with readv():
 * where room for a whole one may have more pieces, use cvmm_virtq_writer_iov().
 *
 * Return: bytes moved, and consumed; 0 at the end of the stream, if no room is left or @len is 0;
 * or negative errno, with nothing consumed. Context: as cvmm_virtq_writer_from_fd().
 */
CVMM_API ssize_t cvmm_virtq_writer_from_fd_once(struct cvmm_virtq_writer *writer, int fd,
						size_t len);

/* Write a little-endian number. Return: 0, or -ENOSPC with nothing written. */
static inline int cvmm_virtq_writer_write_le16(struct cvmm_virtq_writer *writer, uint16_t v)
{
	uint8_t bytes[sizeof(v)];

	cvmm_put_le16(bytes, v);
	return cvmm_virtq_writer_write_exact(writer, bytes, sizeof(bytes));
}

static inline int cvmm_virtq_writer_write_le32(struct cvmm_virtq_writer *writer, uint32_t v)
{
	uint8_t bytes[sizeof(v)];

	cvmm_put_le32(bytes, v);
	return cvmm_virtq_writer_write_exact(writer, bytes, sizeof(bytes));
}

static inline int cvmm_virtq_writer_write_le64(struct cvmm_virtq_writer *writer, uint64_t v)
{
	uint8_t bytes[sizeof(v)];

	cvmm_put_le64(bytes, v);
	return cvmm_virtq_writer_write_exact(writer, bytes, sizeof(bytes));
}

#ifdef __cplusplus
}
#endif

#endif /* CVMM_VIRTQ_IO_H */
