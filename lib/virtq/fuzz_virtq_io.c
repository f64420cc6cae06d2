// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Readers and writers over pieces as the input cuts them, each of which is a heap block of its own
 * so that a sanitizer sees what goes beyond it. What is read must be what a flat array says.
 *
 *   byte 0      number of pieces
 *   lengths     1 byte each
 *   the rest    steps of 3 bytes: operation, length of 16 bits
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cvmm/virtq_io.h>

#define PIECES_MAX 128U
#define PIECE_BYTES_MAX 255U
#define BYTES_MAX (PIECES_MAX * PIECE_BYTES_MAX) /* fits in a pipe */
#define STEP_SIZE 3U

/* In the length of a step: as near to SIZE_MAX as the other bits say. */
#define LEN_HUGE 0x8000U

/**
 * struct side - a reader or writer and what it should be
 * @at: place in the flat array
 * @end: where it ends there
 * @done: what it should say that it consumed
 */
struct side {
	union {
		struct cvmm_virtq_reader reader;
		struct cvmm_virtq_writer writer;
	};
	size_t at;
	size_t end;
	size_t done;
};

struct world {
	struct iovec readable[PIECES_MAX];
	struct iovec writable[PIECES_MAX];
	size_t count;
	uint8_t in[BYTES_MAX];
	uint8_t out[BYTES_MAX];
	uint8_t buf[BYTES_MAX];
	struct side r, saved_r;
	struct side w, saved_w;
};

static int file = -1;
static int pipe_fds[2];

static void make_files(void)
{
	FILE *stream = tmpfile();

	CVMM_BUG_ON(!stream || pipe(pipe_fds));
	file = fileno(stream);
}

static void make_world(struct world *world, const uint8_t *lens, size_t count)
{
	size_t at = 0;

	world->count = count;
	for (size_t i = 0; i < count; i++) {
		world->readable[i] = (struct iovec){ malloc(lens[i]), lens[i] };
		world->writable[i] = (struct iovec){ calloc(1, lens[i]), lens[i] };
		for (size_t k = 0; k < lens[i]; k++, at++)
			world->in[at] = ((uint8_t *)world->readable[i].iov_base)[k] =
				(uint8_t)(at * 13 + (at >> 8));
	}
	memset(world->out, 0, at);
	CVMM_BUG_ON(cvmm_virtq_reader_init(&world->r.reader, world->readable, count));
	CVMM_BUG_ON(cvmm_virtq_writer_init(&world->w.writer, world->writable, count));
	world->r.at = world->r.done = world->w.at = world->w.done = 0;
	world->r.end = world->w.end = at;
	world->saved_r = world->r;
	world->saved_w = world->w;
}

static void end_world(struct world *world)
{
	size_t at = 0;

	for (size_t i = 0; i < world->count; i++) {
		size_t len = world->writable[i].iov_len;

		CVMM_BUG_ON(memcmp(world->writable[i].iov_base, world->out + at, len));
		CVMM_BUG_ON(memcmp(world->readable[i].iov_base, world->in + at, len));
		at += len;
		free(world->readable[i].iov_base);
		free(world->writable[i].iov_base);
	}
}

/* Checks what an exact call returned, and moves on. Return: whether @len bytes moved. */
static bool exact(struct side *side, size_t len, int ret, int error)
{
	bool fits = len <= side->end - side->at;

	CVMM_BUG_ON(ret != (fits ? 0 : error));
	if (fits) {
		side->at += len;
		side->done += len;
	}
	return fits;
}

static void expect_in(const struct world *world, size_t len)
{
	CVMM_BUG_ON(memcmp(world->buf, world->in + world->r.at - len, len));
}

static void step_reader(struct world *world, unsigned int op, size_t len)
{
	struct side *r = &world->r;
	struct iovec iov[PIECES_MAX];
	size_t most = len < r->end - r->at ? len : r->end - r->at, count;
	struct side rest;
	int ret;

	switch (op) {
	case 0:
		CVMM_BUG_ON(cvmm_virtq_reader_read(&r->reader, world->buf, len) != most);
		exact(r, most, 0, 0);
		expect_in(world, most);
		break;
	case 1:
		ret = cvmm_virtq_reader_peek(&r->reader, world->buf, len);
		CVMM_BUG_ON(ret != (most == len ? 0 : -ENODATA));
		if (exact(r, len, cvmm_virtq_reader_read_exact(&r->reader, world->buf, len),
			  -ENODATA))
			expect_in(world, len);
		break;
	case 2:
		exact(r, len, cvmm_virtq_reader_skip(&r->reader, len), -ENODATA);
		break;
	case 3:
		cvmm_virtq_reader_limit(&r->reader, len);
		r->end = r->at + most;
		break;
	case 4:
		/* Goes on with the rest. */
		ret = cvmm_virtq_reader_split(&r->reader, len, &rest.reader);
		if (!exact(r, len, ret, -ENODATA))
			break;
		CVMM_BUG_ON(cvmm_virtq_reader_bytes_left(&r->reader) != len);
		r->reader = rest.reader;
		r->done = 0;
		break;
	case 5:
		ret = cvmm_virtq_reader_iov(&r->reader, most, iov, PIECES_MAX, &count);
		CVMM_BUG_ON(ret || cvmm_iov_copy_from(iov, count, 0, world->buf, most) != most);
		CVMM_BUG_ON(memcmp(world->buf, world->in + r->at, most));
		CVMM_BUG_ON(count && cvmm_virtq_reader_iov(&r->reader, most, iov, count - 1,
							   &count) != -ENOBUFS);
		break;
	case 6:
		if (!exact(r, len, cvmm_virtq_reader_to_fd(&r->reader, pipe_fds[1], len), -ENODATA))
			break;
		CVMM_BUG_ON(cvmm_read_full(pipe_fds[0], world->buf, len) != (ssize_t)len);
		expect_in(world, len);
		break;
	default:
		ret = cvmm_virtq_reader_to_fd_at(&r->reader, file, r->at, len);
		if (!exact(r, len, ret, -ENODATA))
			break;
		CVMM_BUG_ON(cvmm_pread_full(file, world->buf, len, r->at - len) != (ssize_t)len);
		expect_in(world, len);
		break;
	}
}

static void step_writer(struct world *world, unsigned int op, size_t len)
{
	struct side *w = &world->w;
	size_t most = len < w->end - w->at ? len : w->end - w->at, has;
	uint8_t *out = world->out + w->at;
	struct side rest;
	int ret;

	/* What the reader reads is what is written, from the beginning. */
	switch (op) {
	case 0:
		CVMM_BUG_ON(cvmm_virtq_writer_write(&w->writer, world->in, len) != most);
		exact(w, most, 0, 0);
		memcpy(out, world->in, most);
		break;
	case 1:
		if (exact(w, len, cvmm_virtq_writer_write_exact(&w->writer, world->in, len),
			  -ENOSPC))
			memcpy(out, world->in, len);
		break;
	case 2:
		exact(w, len, cvmm_virtq_writer_skip(&w->writer, len), -ENOSPC);
		break;
	case 3:
		cvmm_virtq_writer_limit(&w->writer, len);
		w->end = w->at + most;
		break;
	case 4:
		ret = cvmm_virtq_writer_split(&w->writer, len, &rest.writer);
		if (!exact(w, len, ret, -ENOSPC))
			break;
		CVMM_BUG_ON(cvmm_virtq_writer_bytes_left(&w->writer) != len);
		w->writer = rest.writer;
		w->done = 0;
		break;
	case 5:
		if (exact(w, len, cvmm_virtq_writer_fill(&w->writer, 0x5a, len), -ENOSPC))
			memset(out, 0x5a, len);
		break;
	case 6:
		if (most == len)
			CVMM_BUG_ON(cvmm_write_full(pipe_fds[1], world->in, len));
		if (exact(w, len, cvmm_virtq_writer_from_fd(&w->writer, pipe_fds[0], len), -ENOSPC))
			memcpy(out, world->in, len);
		break;
	default:
		/* A file that is as long as it should be, or half. */
		has = len & 1 ? most : most / 2;
		CVMM_BUG_ON(ftruncate(file, 0) || cvmm_pwrite_full(file, world->in, has, 3));
		ret = cvmm_virtq_writer_from_fd_at(&w->writer, file, 3, most);
		CVMM_BUG_ON(ret != (has < most ? -ENODATA : 0));
		exact(w, has, 0, 0);
		memcpy(out, world->in, has);
		break;
	}
}

static void step(struct world *world, const uint8_t *bytes)
{
	size_t len = cvmm_get_le16(bytes + 1);
	unsigned int op = bytes[0] % 8;

	if (len & LEN_HUGE)
		len = SIZE_MAX - (len & ~(size_t)LEN_HUGE);
	if (bytes[0] & 0x80) {
		/* Forks: save, or go back. */
		if (op & 1) {
			world->saved_r = world->r;
			world->saved_w = world->w;
		} else {
			world->r = world->saved_r;
			world->w = world->saved_w;
		}
	} else if (bytes[0] & 0x40) {
		step_writer(world, op, len);
	} else {
		step_reader(world, op, len);
	}
	CVMM_BUG_ON(cvmm_virtq_reader_bytes_left(&world->r.reader) != world->r.end - world->r.at);
	CVMM_BUG_ON(cvmm_virtq_reader_bytes_done(&world->r.reader) != world->r.done);
	CVMM_BUG_ON(cvmm_virtq_writer_bytes_left(&world->w.writer) != world->w.end - world->w.at);
	CVMM_BUG_ON(cvmm_virtq_writer_bytes_done(&world->w.writer) != world->w.done);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world world;
	size_t count;

	if (file < 0)
		make_files();
	if (!size || size < 1U + data[0] % (PIECES_MAX + 1))
		return 0;
	count = data[0] % (PIECES_MAX + 1);
	make_world(&world, data + 1, count);
	for (size_t at = 1 + count; at + STEP_SIZE <= size; at += STEP_SIZE)
		step(&world, data + at);
	end_world(&world);
	return 0;
}
