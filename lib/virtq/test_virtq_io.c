// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Readers and writers: each behaviour by itself, then random ones against flat arrays. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>

#include <cvmm/virtq_io.h>

#include "../../tests/support/descriptors.h"

#define TEXT "the quick brown fox jumps over!!" /* 32 bytes */
#define TEXT_SIZE 32U
#define MANY_PIECES 1000U
#define GIB ((size_t)1 << 30)

/*
 * TEXT in four pieces with empty ones between them, and the same room to write. The pieces lie
 * apart, so that whoever goes beyond one hits a '#'.
 */
struct fixture {
	char in[2 * TEXT_SIZE];
	char out[2 * TEXT_SIZE];
	struct iovec readable[7];
	struct iovec writable[7];
	struct cvmm_virtq_reader reader;
	struct cvmm_virtq_writer writer;
};

#define PIECES CVMM_ARRAY_SIZE(((struct fixture *)0)->readable)

static const size_t piece_lens[PIECES] = { 0, 4, 6, 0, 2, 20, 0 };

/* Where the borders are: 4, 10, 12. */
#define BORDER 10U
#define MIDDLE 7U

static int set_up(void **state)
{
	struct fixture *f = malloc(sizeof(*f));
	size_t text_at = 0, at = 1;

	CVMM_BUG_ON(!f);
	memset(f->in, '#', sizeof(f->in));
	memset(f->out, '#', sizeof(f->out));
	for (size_t i = 0; i < PIECES; i++) {
		memcpy(f->in + at, &TEXT[text_at], piece_lens[i]);
		memset(f->out + at, '.', piece_lens[i]);
		f->readable[i] = (struct iovec){ f->in + at, piece_lens[i] };
		f->writable[i] = (struct iovec){ f->out + at, piece_lens[i] };
		text_at += piece_lens[i];
		at += piece_lens[i] + 3;
	}
	/* Nobody looks at the address of an empty piece. */
	f->readable[3].iov_base = f->writable[3].iov_base = NULL;
	CVMM_BUG_ON(cvmm_virtq_reader_init(&f->reader, f->readable, PIECES));
	CVMM_BUG_ON(cvmm_virtq_writer_init(&f->writer, f->writable, PIECES));
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	size_t hashes = 0;

	/* Whatever the test did, nothing was written beside the pieces, and no piece was changed. */
	for (size_t i = 0; i < sizeof(f->out); i++)
		hashes += f->out[i] == '#';
	CVMM_BUG_ON(hashes < sizeof(f->out) - TEXT_SIZE);
	for (size_t i = 0; i < PIECES; i++)
		CVMM_BUG_ON(f->readable[i].iov_len != piece_lens[i] ||
			    f->writable[i].iov_len != piece_lens[i]);
	free(f);
	return 0;
}

static void assert_written(struct fixture *f, size_t at, const char *text)
{
	char flat[TEXT_SIZE + 1] = "";

	assert_int_equal(cvmm_iov_copy_from(f->writable, PIECES, 0, flat, TEXT_SIZE), TEXT_SIZE);
	for (size_t i = 0; i < TEXT_SIZE; i++)
		if (i < at || i >= at + strlen(text))
			assert_int_equal(flat[i], '.');
	assert_memory_equal(flat + at, text, strlen(text));
}

static void assert_reads(struct cvmm_virtq_reader *reader, const char *text)
{
	char buf[TEXT_SIZE + 1] = "";

	assert_int_equal(cvmm_virtq_reader_bytes_left(reader), strlen(text));
	assert_int_equal(cvmm_virtq_reader_read(reader, buf, sizeof(buf)), strlen(text));
	assert_string_equal(buf, text);
	assert_int_equal(cvmm_virtq_reader_bytes_left(reader), 0);
}

/* ---- readers ------------------------------------------------------------------------------- */

static void a_reader_reads_across_pieces(void **state)
{
	struct fixture *f = *state;
	char buf[TEXT_SIZE + 1] = "";

	assert_int_equal(cvmm_virtq_reader_bytes_left(&f->reader), TEXT_SIZE);
	assert_int_equal(cvmm_virtq_reader_bytes_done(&f->reader), 0);
	assert_int_equal(cvmm_virtq_reader_read(&f->reader, buf, 11), 11);
	assert_string_equal(buf, "the quick b");
	assert_int_equal(cvmm_virtq_reader_bytes_left(&f->reader), TEXT_SIZE - 11);
	assert_int_equal(cvmm_virtq_reader_bytes_done(&f->reader), 11);
	assert_reads(&f->reader, "rown fox jumps over!!");
	assert_int_equal(cvmm_virtq_reader_bytes_done(&f->reader), TEXT_SIZE);
}

static void reading_exactly_all_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	char buf[TEXT_SIZE];

	assert_int_equal(cvmm_virtq_reader_read_exact(&f->reader, buf, TEXT_SIZE), 0);
	assert_memory_equal(buf, TEXT, TEXT_SIZE);
	assert_int_equal(cvmm_virtq_reader_bytes_left(&f->reader), 0);
	assert_int_equal(cvmm_virtq_reader_read(&f->reader, buf, 1), 0);
	assert_int_equal(cvmm_virtq_reader_read_exact(&f->reader, buf, 1), -ENODATA);
}

static void an_unexpected_end_consumes_nothing_and_leaves_the_destination(void **state)
{
	struct fixture *f = *state;
	char buf[TEXT_SIZE + 1] = "x";

	assert_int_equal(cvmm_virtq_reader_skip(&f->reader, 1), 0);
	assert_int_equal(cvmm_virtq_reader_read_exact(&f->reader, buf, TEXT_SIZE), -ENODATA);
	assert_int_equal(buf[0], 'x');
	assert_int_equal(cvmm_virtq_reader_peek(&f->reader, buf, TEXT_SIZE), -ENODATA);
	assert_int_equal(buf[0], 'x');
	assert_int_equal(cvmm_virtq_reader_skip(&f->reader, TEXT_SIZE), -ENODATA);
	assert_int_equal(cvmm_virtq_reader_bytes_done(&f->reader), 1);
	assert_reads(&f->reader, &TEXT[1]);
}

static void a_peek_does_not_consume(void **state)
{
	struct fixture *f = *state;
	char buf[TEXT_SIZE];

	assert_int_equal(cvmm_virtq_reader_skip(&f->reader, 3), 0);
	assert_int_equal(cvmm_virtq_reader_peek(&f->reader, buf, 8), 0);
	assert_memory_equal(buf, &TEXT[3], 8);
	assert_int_equal(cvmm_virtq_reader_bytes_done(&f->reader), 3);
	assert_reads(&f->reader, &TEXT[3]);
}

static void a_skip_crosses_pieces_and_counts(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(cvmm_virtq_reader_skip(&f->reader, 11), 0);
	assert_int_equal(cvmm_virtq_reader_bytes_done(&f->reader), 11);
	assert_reads(&f->reader, &TEXT[11]);
}

static void a_copy_of_a_reader_moves_by_itself(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_reader fork;

	assert_int_equal(cvmm_virtq_reader_skip(&f->reader, 5), 0);
	fork = f->reader;
	assert_reads(&fork, &TEXT[5]);
	assert_int_equal(cvmm_virtq_reader_bytes_done(&f->reader), 5);
	assert_reads(&f->reader, &TEXT[5]);
}

static void a_list_of_no_pieces_is_at_its_end(void **state)
{
	struct cvmm_virtq_reader reader;
	struct cvmm_virtq_writer writer;
	uint16_t v = 7;

	(void)state;
	assert_int_equal(cvmm_virtq_reader_init(&reader, NULL, 0), 0);
	assert_int_equal(cvmm_virtq_reader_bytes_left(&reader), 0);
	assert_int_equal(cvmm_virtq_reader_read(&reader, &v, sizeof(v)), 0);
	assert_int_equal(cvmm_virtq_reader_read_le16(&reader, &v), -ENODATA);
	assert_int_equal(v, 7);
	assert_int_equal(cvmm_virtq_writer_init(&writer, NULL, 0), 0);
	assert_int_equal(cvmm_virtq_writer_write(&writer, &v, sizeof(v)), 0);
	assert_int_equal(cvmm_virtq_writer_write_le16(&writer, v), -ENOSPC);
}

static void a_list_of_empty_pieces_is_at_its_end(void **state)
{
	struct iovec empty[3] = { { NULL, 0 }, { NULL, 0 }, { NULL, 0 } };
	struct cvmm_virtq_reader reader;
	char c;

	(void)state;
	assert_int_equal(cvmm_virtq_reader_init(&reader, empty, 3), 0);
	assert_int_equal(cvmm_virtq_reader_bytes_left(&reader), 0);
	assert_int_equal(cvmm_virtq_reader_read(&reader, &c, 1), 0);
	assert_int_equal(cvmm_virtq_reader_skip(&reader, 0), 0);
}

static void zero_lengths_always_succeed_and_touch_nothing(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_reader rest;
	struct cvmm_virtq_writer room;
	size_t count = 9;

	for (int at_end = 0; at_end < 2; at_end++) {
		assert_int_equal(cvmm_virtq_reader_read(&f->reader, NULL, 0), 0);
		assert_int_equal(cvmm_virtq_reader_read_exact(&f->reader, NULL, 0), 0);
		assert_int_equal(cvmm_virtq_reader_peek(&f->reader, NULL, 0), 0);
		assert_int_equal(cvmm_virtq_reader_skip(&f->reader, 0), 0);
		assert_int_equal(cvmm_virtq_reader_iov(&f->reader, 0, NULL, 0, &count), 0);
		assert_int_equal(count, 0);
		assert_int_equal(cvmm_virtq_reader_to_fd(&f->reader, -1, 0), 0);
		assert_int_equal(cvmm_virtq_reader_to_fd_at(&f->reader, -1, 0, 0), 0);
		assert_int_equal(cvmm_virtq_reader_to_fd_once(&f->reader, -1, 0), 0);
		assert_int_equal(cvmm_virtq_writer_write(&f->writer, NULL, 0), 0);
		assert_int_equal(cvmm_virtq_writer_write_exact(&f->writer, NULL, 0), 0);
		assert_int_equal(cvmm_virtq_writer_fill(&f->writer, 'x', 0), 0);
		assert_int_equal(cvmm_virtq_writer_skip(&f->writer, 0), 0);
		assert_int_equal(cvmm_virtq_writer_iov(&f->writer, 0, NULL, 0, &count), 0);
		assert_int_equal(cvmm_virtq_writer_from_fd(&f->writer, -1, 0), 0);
		assert_int_equal(cvmm_virtq_writer_from_fd_at(&f->writer, -1, 0, 0), 0);
		assert_int_equal(cvmm_virtq_writer_from_fd_once(&f->writer, -1, 0), 0);
		assert_int_equal(cvmm_virtq_reader_bytes_done(&f->reader), at_end ? TEXT_SIZE : 0);
		if (at_end)
			break;
		assert_int_equal(cvmm_virtq_reader_skip(&f->reader, TEXT_SIZE), 0);
		assert_int_equal(cvmm_virtq_writer_skip(&f->writer, TEXT_SIZE), 0);
	}
	assert_int_equal(cvmm_virtq_reader_split(&f->reader, 0, &rest), 0);
	assert_int_equal(cvmm_virtq_writer_split(&f->writer, 0, &room), 0);
	assert_written(f, 0, "");
}

static void numbers_are_read_in_little_endian_order_across_pieces(void **state)
{
	static uint8_t bytes[] = { 0x01, 0x02, 0x11, 0x12, 0x13, 0x14, 0x21,
				   0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28 };
	struct iovec iov[CVMM_ARRAY_SIZE(bytes)];
	struct cvmm_virtq_reader reader;
	uint16_t v16;
	uint32_t v32;
	uint64_t v64;

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bytes); i++)
		iov[i] = (struct iovec){ bytes + i, 1 };
	assert_int_equal(cvmm_virtq_reader_init(&reader, iov, CVMM_ARRAY_SIZE(iov)), 0);
	assert_int_equal(cvmm_virtq_reader_read_le16(&reader, &v16), 0);
	assert_int_equal(v16, 0x0201);
	assert_int_equal(cvmm_virtq_reader_read_le32(&reader, &v32), 0);
	assert_int_equal(v32, 0x14131211);
	assert_int_equal(cvmm_virtq_reader_read_le64(&reader, &v64), 0);
	assert_true(v64 == UINT64_C(0x2827262524232221));
	assert_int_equal(cvmm_virtq_reader_bytes_left(&reader), 0);
}

static void a_number_that_is_cut_short_consumes_nothing(void **state)
{
	struct fixture *f = *state;
	uint16_t v16 = 1;
	uint32_t v32 = 1;
	uint64_t v64 = 1;

	cvmm_virtq_reader_limit(&f->reader, 1);
	assert_int_equal(cvmm_virtq_reader_read_le16(&f->reader, &v16), -ENODATA);
	assert_int_equal(cvmm_virtq_reader_read_le32(&f->reader, &v32), -ENODATA);
	assert_int_equal(cvmm_virtq_reader_read_le64(&f->reader, &v64), -ENODATA);
	assert_true(v16 == 1 && v32 == 1 && v64 == 1);
	cvmm_virtq_writer_limit(&f->writer, 1);
	assert_int_equal(cvmm_virtq_writer_write_le16(&f->writer, v16), -ENOSPC);
	assert_int_equal(cvmm_virtq_writer_write_le32(&f->writer, v32), -ENOSPC);
	assert_int_equal(cvmm_virtq_writer_write_le64(&f->writer, v64), -ENOSPC);
	assert_int_equal(cvmm_virtq_reader_bytes_done(&f->reader), 0);
	assert_int_equal(cvmm_virtq_writer_bytes_done(&f->writer), 0);
	assert_written(f, 0, "");
}

/* ---- limits and splits --------------------------------------------------------------------- */

static void nothing_behind_a_limit_is_visible(void **state)
{
	struct fixture *f = *state;
	char buf[TEXT_SIZE];

	assert_int_equal(cvmm_virtq_reader_skip(&f->reader, 2), 0);
	cvmm_virtq_reader_limit(&f->reader, 5);
	assert_int_equal(cvmm_virtq_reader_bytes_left(&f->reader), 5);
	assert_int_equal(cvmm_virtq_reader_read_exact(&f->reader, buf, 6), -ENODATA);
	assert_reads(&f->reader, "e qui");
}

static void a_limit_beyond_the_end_changes_nothing(void **state)
{
	struct fixture *f = *state;

	cvmm_virtq_reader_limit(&f->reader, SIZE_MAX);
	assert_int_equal(cvmm_virtq_reader_bytes_left(&f->reader), TEXT_SIZE);
	cvmm_virtq_reader_limit(&f->reader, 5);
	cvmm_virtq_reader_limit(&f->reader, 6);
	assert_int_equal(cvmm_virtq_reader_bytes_left(&f->reader), 5);
	cvmm_virtq_writer_limit(&f->writer, SIZE_MAX);
	assert_int_equal(cvmm_virtq_writer_bytes_left(&f->writer), TEXT_SIZE);
}

static void check_split(struct fixture *f, size_t offset)
{
	struct cvmm_virtq_reader rest;
	struct cvmm_virtq_writer room;
	char before[TEXT_SIZE + 1] = "";

	memcpy(before, TEXT, offset);
	assert_int_equal(cvmm_virtq_reader_split(&f->reader, offset, &rest), 0);
	assert_int_equal(cvmm_virtq_reader_bytes_done(&rest), 0);
	assert_reads(&rest, &TEXT[offset]);
	assert_reads(&f->reader, before);
	assert_int_equal(cvmm_virtq_reader_bytes_done(&f->reader), offset);

	/* The second part first, to see that neither goes into the other. */
	assert_int_equal(cvmm_virtq_writer_split(&f->writer, offset, &room), 0);
	assert_int_equal(cvmm_virtq_writer_write(&room, &TEXT[offset], SIZE_MAX),
			 TEXT_SIZE - offset);
	assert_written(f, offset, &TEXT[offset]);
	assert_int_equal(cvmm_virtq_writer_write(&f->writer, TEXT, SIZE_MAX), offset);
	assert_written(f, 0, TEXT);
	assert_int_equal(cvmm_virtq_writer_bytes_done(&f->writer), offset);
	assert_int_equal(cvmm_virtq_writer_bytes_done(&room), TEXT_SIZE - offset);
}

static void a_split_at_the_border_of_a_piece_keeps_each_side_whole(void **state)
{
	check_split(*state, BORDER);
}

static void a_split_in_the_middle_of_a_piece_shares_the_piece(void **state)
{
	check_split(*state, MIDDLE);
}

static void a_split_at_the_end_leaves_an_empty_rest(void **state)
{
	check_split(*state, TEXT_SIZE);
}

static void a_split_at_the_beginning_leaves_all_in_the_rest(void **state)
{
	check_split(*state, 0);
}

static void a_split_out_of_bounds_changes_neither(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_reader rest = f->reader;
	struct cvmm_virtq_writer room = f->writer;

	assert_int_equal(cvmm_virtq_reader_skip(&rest, 3), 0);
	assert_int_equal(cvmm_virtq_writer_skip(&room, 3), 0);
	assert_int_equal(cvmm_virtq_reader_split(&f->reader, TEXT_SIZE + 1, &rest), -ENODATA);
	assert_int_equal(cvmm_virtq_reader_split(&f->reader, SIZE_MAX, &rest), -ENODATA);
	assert_int_equal(cvmm_virtq_writer_split(&f->writer, TEXT_SIZE + 1, &room), -ENOSPC);
	assert_int_equal(cvmm_virtq_reader_bytes_done(&rest), 3);
	assert_int_equal(cvmm_virtq_writer_bytes_done(&room), 3);
	assert_int_equal(cvmm_virtq_writer_bytes_left(&f->writer), TEXT_SIZE);
	assert_reads(&f->reader, TEXT);
}

static void a_split_counts_from_the_position(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_reader rest;

	assert_int_equal(cvmm_virtq_reader_skip(&f->reader, 2), 0);
	assert_int_equal(cvmm_virtq_reader_split(&f->reader, 3, &rest), 0);
	assert_int_equal(cvmm_virtq_reader_bytes_done(&f->reader), 2);
	assert_reads(&f->reader, "e q");
	assert_reads(&rest, &TEXT[5]);
}

static void the_rest_of_a_split_keeps_a_limit(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_reader rest;

	cvmm_virtq_reader_limit(&f->reader, 9);
	assert_int_equal(cvmm_virtq_reader_split(&f->reader, 4, &rest), 0);
	assert_reads(&rest, "quick");
}

/* ---- writers ------------------------------------------------------------------------------- */

static void a_writer_writes_across_pieces(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(cvmm_virtq_writer_bytes_left(&f->writer), TEXT_SIZE);
	assert_int_equal(cvmm_virtq_writer_write(&f->writer, TEXT, 11), 11);
	assert_written(f, 0, "the quick b");
	assert_int_equal(cvmm_virtq_writer_bytes_left(&f->writer), TEXT_SIZE - 11);
	assert_int_equal(cvmm_virtq_writer_bytes_done(&f->writer), 11);
}

static void a_writer_writes_no_more_than_there_is_room(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(cvmm_virtq_writer_skip(&f->writer, 2), 0);
	assert_int_equal(cvmm_virtq_writer_write(&f->writer, TEXT, TEXT_SIZE), TEXT_SIZE - 2);
	assert_int_equal(cvmm_virtq_writer_write(&f->writer, TEXT, 1), 0);
	assert_int_equal(cvmm_virtq_writer_bytes_done(&f->writer), TEXT_SIZE);
}

static void writing_exactly_all_leaves_no_room(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(cvmm_virtq_writer_write_exact(&f->writer, TEXT, TEXT_SIZE), 0);
	assert_written(f, 0, TEXT);
	assert_int_equal(cvmm_virtq_writer_bytes_left(&f->writer), 0);
	assert_int_equal(cvmm_virtq_writer_write_exact(&f->writer, TEXT, 1), -ENOSPC);
}

static void too_little_room_writes_nothing(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(cvmm_virtq_writer_skip(&f->writer, 1), 0);
	assert_int_equal(cvmm_virtq_writer_write_exact(&f->writer, TEXT, TEXT_SIZE), -ENOSPC);
	assert_int_equal(cvmm_virtq_writer_fill(&f->writer, 'x', TEXT_SIZE), -ENOSPC);
	assert_int_equal(cvmm_virtq_writer_skip(&f->writer, SIZE_MAX), -ENOSPC);
	assert_int_equal(cvmm_virtq_writer_bytes_done(&f->writer), 1);
	assert_written(f, 0, "");
}

static void a_skip_leaves_the_bytes_for_a_copy_to_write(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_writer header = f->writer;

	assert_int_equal(cvmm_virtq_writer_skip(&f->writer, 3), 0);
	assert_int_equal(cvmm_virtq_writer_write_exact(&f->writer, "body", 4), 0);
	assert_written(f, 3, "body");
	assert_int_equal(cvmm_virtq_writer_write_exact(&header, "len", 3), 0);
	assert_written(f, 0, "lenbody");
	assert_int_equal(cvmm_virtq_writer_bytes_done(&f->writer), 7);
}

static void a_fill_crosses_pieces(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(cvmm_virtq_writer_skip(&f->writer, 3), 0);
	assert_int_equal(cvmm_virtq_writer_fill(&f->writer, 'x', 8), 0);
	assert_written(f, 3, "xxxxxxxx");
	assert_int_equal(cvmm_virtq_writer_bytes_done(&f->writer), 11);
}

static void numbers_are_written_in_little_endian_order_across_pieces(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(cvmm_virtq_writer_skip(&f->writer, 3), 0);
	assert_int_equal(cvmm_virtq_writer_write_le16(&f->writer, 0x3231), 0);
	assert_int_equal(cvmm_virtq_writer_write_le32(&f->writer, 0x44434241), 0);
	assert_int_equal(cvmm_virtq_writer_write_le64(&f->writer, UINT64_C(0x6867666564636261)), 0);
	assert_written(f, 3, "12ABCDabcdefgh");
	assert_int_equal(cvmm_virtq_writer_bytes_done(&f->writer), 17);
}

/* ---- lists --------------------------------------------------------------------------------- */

static void an_object_shattered_into_bytes_comes_out_whole(void **state)
{
	static uint8_t in[MANY_PIECES], out[MANY_PIECES];
	static struct iovec readable[MANY_PIECES], writable[MANY_PIECES];
	struct cvmm_virtq_reader reader;
	struct cvmm_virtq_writer writer;
	uint8_t object[MANY_PIECES];

	(void)state;
	for (size_t i = 0; i < MANY_PIECES; i++) {
		in[i] = (uint8_t)(i * 7);
		/* Not in the order in which they lie in memory. */
		readable[i] = (struct iovec){ &in[MANY_PIECES - 1 - i], 1 };
		writable[i] = (struct iovec){ &out[MANY_PIECES - 1 - i], 1 };
	}
	assert_int_equal(cvmm_virtq_reader_init(&reader, readable, MANY_PIECES), 0);
	assert_int_equal(cvmm_virtq_writer_init(&writer, writable, MANY_PIECES), 0);
	assert_int_equal(cvmm_virtq_reader_read_exact(&reader, object, MANY_PIECES), 0);
	for (size_t i = 0; i < MANY_PIECES; i++)
		assert_int_equal(object[i], in[MANY_PIECES - 1 - i]);
	assert_int_equal(cvmm_virtq_writer_write_exact(&writer, object, MANY_PIECES), 0);
	assert_memory_equal(out, in, MANY_PIECES);
}

static void a_chain_gives_its_two_sides(void **state)
{
	struct fixture *f = *state;
	/* Of different lengths and numbers of pieces, so that one is not taken for the other. */
	struct cvmm_virtq_chain chain = {
		.head = 3,
		.readable_count = 3,
		.writable_count = PIECES,
		.readable = f->readable,
		.writable = f->writable,
		.readable_bytes = BORDER,
		.writable_bytes = TEXT_SIZE,
	};
	struct cvmm_virtq_reader reader;
	struct cvmm_virtq_writer writer;

	cvmm_virtq_reader_from_chain(&reader, &chain);
	cvmm_virtq_writer_from_chain(&writer, &chain);
	assert_reads(&reader, "the quick ");
	assert_int_equal(cvmm_virtq_reader_bytes_done(&reader), BORDER);
	assert_int_equal(cvmm_virtq_writer_bytes_left(&writer), TEXT_SIZE);
	assert_int_equal(cvmm_virtq_writer_write_exact(&writer, TEXT, TEXT_SIZE), 0);
	assert_int_equal(cvmm_virtq_writer_bytes_done(&writer), TEXT_SIZE);
	assert_written(f, 0, TEXT);
}

static void a_chain_without_buffers_has_nothing_left_on_either_side(void **state)
{
	struct cvmm_virtq_chain chain = { .head = 0 };
	struct cvmm_virtq_reader reader;
	struct cvmm_virtq_writer writer;

	(void)state;
	cvmm_virtq_reader_from_chain(&reader, &chain);
	cvmm_virtq_writer_from_chain(&writer, &chain);
	assert_int_equal(cvmm_virtq_reader_skip(&reader, 1), -ENODATA);
	assert_int_equal(cvmm_virtq_writer_skip(&writer, 1), -ENOSPC);
}

static void a_list_whose_lengths_overflow_is_refused(void **state)
{
	char c;
	struct iovec iov[3] = { { &c, SIZE_MAX }, { &c, 0 }, { &c, 1 } };
	struct cvmm_virtq_reader reader = { .cursor.done_bytes = 5 };
	struct cvmm_virtq_writer writer = { .cursor.done_bytes = 5 };

	(void)state;
	assert_int_equal(cvmm_virtq_reader_init(&reader, iov, 3), -EOVERFLOW);
	assert_int_equal(cvmm_virtq_writer_init(&writer, iov, 3), -EOVERFLOW);
	assert_int_equal(cvmm_virtq_reader_bytes_done(&reader), 5);
	assert_int_equal(cvmm_virtq_writer_bytes_done(&writer), 5);
}

static void the_longest_list_counts_to_its_last_byte(void **state)
{
	char c = 'c', read = 0;
	/* Only the last byte of it exists. */
	struct iovec iov[2] = { { &c, SIZE_MAX - 1 }, { &c, 1 } };
	struct cvmm_virtq_reader reader;

	(void)state;
	assert_int_equal(cvmm_virtq_reader_init(&reader, iov, 2), 0);
	assert_true(cvmm_virtq_reader_bytes_left(&reader) == SIZE_MAX);
	assert_int_equal(cvmm_virtq_reader_skip(&reader, SIZE_MAX - 1), 0);
	assert_int_equal(cvmm_virtq_reader_skip(&reader, 2), -ENODATA);
	assert_int_equal(cvmm_virtq_reader_skip(&reader, SIZE_MAX), -ENODATA);
	assert_int_equal(cvmm_virtq_reader_read(&reader, &read, SIZE_MAX), 1);
	assert_int_equal(read, 'c');
	assert_true(cvmm_virtq_reader_bytes_done(&reader) == SIZE_MAX);
}

static void exported_pieces_are_the_next_bytes_and_none_is_empty(void **state)
{
	struct fixture *f = *state;
	struct iovec iov[4];
	size_t count;

	assert_int_equal(cvmm_virtq_reader_skip(&f->reader, 2), 0);
	assert_int_equal(cvmm_virtq_reader_iov(&f->reader, 9, iov, 4, &count), 0);
	assert_int_equal(count, 3);
	assert_ptr_equal(iov[0].iov_base, (char *)f->readable[1].iov_base + 2);
	assert_int_equal(iov[0].iov_len, 2);
	assert_ptr_equal(iov[1].iov_base, f->readable[2].iov_base);
	assert_int_equal(iov[1].iov_len, 6);
	assert_ptr_equal(iov[2].iov_base, f->readable[4].iov_base);
	assert_int_equal(iov[2].iov_len, 1);
	assert_int_equal(cvmm_virtq_reader_bytes_done(&f->reader), 2);

	assert_int_equal(cvmm_virtq_writer_skip(&f->writer, 4), 0);
	assert_int_equal(cvmm_virtq_writer_iov(&f->writer, 6, iov, 1, &count), 0);
	assert_int_equal(count, 1);
	assert_ptr_equal(iov[0].iov_base, f->writable[2].iov_base);
	assert_int_equal(iov[0].iov_len, 6);
	assert_int_equal(cvmm_virtq_writer_bytes_done(&f->writer), 4);
}

static void an_export_of_too_much_or_into_too_few_pieces_fails(void **state)
{
	struct fixture *f = *state;
	struct iovec iov[4];
	size_t count = 77;

	assert_int_equal(cvmm_virtq_reader_iov(&f->reader, TEXT_SIZE + 1, iov, 4, &count),
			 -ENODATA);
	assert_int_equal(cvmm_virtq_writer_iov(&f->writer, TEXT_SIZE + 1, iov, 4, &count), -ENOSPC);
	assert_int_equal(cvmm_virtq_reader_iov(&f->reader, TEXT_SIZE, iov, 3, &count), -ENOBUFS);
	assert_int_equal(cvmm_virtq_writer_iov(&f->writer, 1, iov, 0, &count), -ENOBUFS);
	assert_int_equal(count, 77);
	assert_int_equal(cvmm_virtq_reader_iov(&f->reader, TEXT_SIZE, iov, 4, &count), 0);
	assert_int_equal(count, 4);
}

/* ---- files --------------------------------------------------------------------------------- */

static void a_reader_writes_to_a_place_in_a_file(void **state)
{
	struct fixture *f = *state;
	FILE *file = tmpfile();
	char text[16] = "";

	assert_int_equal(cvmm_virtq_reader_skip(&f->reader, 2), 0);
	assert_int_equal(cvmm_virtq_reader_to_fd_at(&f->reader, fileno(file), 7, 9), 0);
	assert_int_equal(cvmm_virtq_reader_bytes_done(&f->reader), 11);
	assert_int_equal(lseek(fileno(file), 0, SEEK_CUR), 0);
	assert_int_equal(pread(fileno(file), text, sizeof(text), 0), 16);
	assert_memory_equal(text, "\0\0\0\0\0\0\0e quick b", 16);
	fclose(file);
}

static void a_writer_reads_from_a_place_in_a_file(void **state)
{
	struct fixture *f = *state;
	FILE *file = tmpfile();

	assert_int_equal(pwrite(fileno(file), TEXT, TEXT_SIZE, 0), TEXT_SIZE);
	assert_int_equal(cvmm_virtq_writer_skip(&f->writer, 2), 0);
	assert_int_equal(cvmm_virtq_writer_from_fd_at(&f->writer, fileno(file), 4, 9), 0);
	assert_int_equal(cvmm_virtq_writer_bytes_done(&f->writer), 11);
	assert_int_equal(lseek(fileno(file), 0, SEEK_CUR), 0);
	assert_written(f, 2, "quick bro");
	fclose(file);
}

static void a_stream_takes_and_gives_whole_lengths(void **state)
{
	struct fixture *f = *state;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(cvmm_virtq_reader_to_fd(&f->reader, fds[1], TEXT_SIZE), 0);
	assert_int_equal(cvmm_virtq_reader_bytes_left(&f->reader), 0);
	assert_int_equal(cvmm_virtq_writer_from_fd(&f->writer, fds[0], TEXT_SIZE), 0);
	assert_int_equal(cvmm_virtq_writer_bytes_left(&f->writer), 0);
	assert_written(f, 0, TEXT);
	close(fds[0]);
	close(fds[1]);
}

static void what_the_chain_lacks_moves_nothing_at_all(void **state)
{
	struct fixture *f = *state;
	size_t len = TEXT_SIZE + 1;
	char c;
	int fds[2];

	assert_int_equal(test_pipe(fds, true), 0);
	assert_int_equal(cvmm_virtq_reader_to_fd(&f->reader, fds[1], len), -ENODATA);
	assert_int_equal(cvmm_virtq_reader_to_fd_at(&f->reader, fds[1], 0, len), -ENODATA);
	assert_int_equal(read(fds[0], &c, 1), -1);
	assert_int_equal(write(fds[1], "a", 1), 1);
	assert_int_equal(cvmm_virtq_writer_from_fd(&f->writer, fds[0], len), -ENOSPC);
	assert_int_equal(cvmm_virtq_writer_from_fd_at(&f->writer, fds[0], 0, len), -ENOSPC);
	assert_int_equal(read(fds[0], &c, 1), 1);
	assert_int_equal(cvmm_virtq_reader_bytes_done(&f->reader), 0);
	assert_int_equal(cvmm_virtq_writer_bytes_done(&f->writer), 0);
	close(fds[0]);
	close(fds[1]);
}

static void a_short_file_is_told_with_its_bytes_consumed(void **state)
{
	struct fixture *f = *state;
	FILE *file = tmpfile();

	assert_int_equal(pwrite(fileno(file), TEXT, 11, 0), 11);
	assert_int_equal(cvmm_virtq_writer_from_fd_at(&f->writer, fileno(file), 4, 8), -ENODATA);
	assert_int_equal(cvmm_virtq_writer_bytes_done(&f->writer), 7);
	assert_written(f, 0, "quick b");
	fclose(file);
}

static void a_stream_that_ends_is_told_with_its_bytes_consumed(void **state)
{
	struct fixture *f = *state;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], TEXT, 7), 7);
	close(fds[1]);
	assert_int_equal(cvmm_virtq_writer_from_fd(&f->writer, fds[0], 8), -ENODATA);
	assert_int_equal(cvmm_virtq_writer_bytes_done(&f->writer), 7);
	assert_written(f, 0, "the qui");
	close(fds[0]);
}

static void an_empty_stream_that_does_not_block_can_be_asked_again(void **state)
{
	struct fixture *f = *state;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(write(fds[1], TEXT, 7), 7);
	assert_int_equal(cvmm_virtq_writer_from_fd(&f->writer, fds[0], 12), -EAGAIN);
	assert_int_equal(cvmm_virtq_writer_bytes_done(&f->writer), 7);
	assert_int_equal(write(fds[1], &TEXT[7], 5), 5);
	assert_int_equal(cvmm_virtq_writer_from_fd(&f->writer, fds[0], 5), 0);
	assert_written(f, 0, "the quick br");
	close(fds[0]);
	close(fds[1]);
}

static void a_full_stream_is_told_with_exactly_what_it_took_consumed(void **state)
{
	size_t len = 1 << 20, took, arrived = 0;
	uint8_t *bytes = malloc(len), *got = malloc(len);
	struct iovec iov[2] = { { bytes, 1000 }, { bytes + 1000, len - 1000 } };
	struct cvmm_virtq_reader reader;
	ssize_t n;
	int fds[2];

	(void)state;
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(i * 31 >> 3);
	assert_int_equal(test_pipe(fds, true), 0);
	assert_int_equal(cvmm_virtq_reader_init(&reader, iov, 2), 0);
	assert_int_equal(cvmm_virtq_reader_to_fd(&reader, fds[1], len), -EAGAIN);
	took = cvmm_virtq_reader_bytes_done(&reader);
	assert_true(took > 0 && took < len);
	while ((n = read(fds[0], got + arrived, len - arrived)) > 0)
		arrived += (size_t)n;
	assert_int_equal(arrived, took);
	assert_memory_equal(got, bytes, took);
	close(fds[0]);
	close(fds[1]);
	free(bytes);
	free(got);
}

static void a_file_that_fails_midway_has_consumed_what_it_took(void **state)
{
	struct fixture *f = *state;
	struct rlimit old, small;
	FILE *file = tmpfile();
	void (*handler)(int);
	int ret;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = 10;
	handler = signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	ret = cvmm_virtq_reader_to_fd_at(&f->reader, fileno(file), 3, 9);
	setrlimit(RLIMIT_FSIZE, &old);
	signal(SIGXFSZ, handler);
	assert_int_equal(ret, -EFBIG);
	assert_int_equal(cvmm_virtq_reader_bytes_done(&f->reader), 7);
	assert_reads(&f->reader, &TEXT[7]);
	fclose(file);
}

static void a_piece_that_is_gone_fails_the_transfer_after_those_before_it(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *gone = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char good[4] = "good";
	struct iovec iov[2] = { { good, 4 }, { gone, page } };
	struct cvmm_virtq_reader reader;
	struct cvmm_virtq_writer writer;
	FILE *file = tmpfile();

	(void)state;
	assert_ptr_not_equal(gone, MAP_FAILED);
	assert_int_equal(cvmm_virtq_reader_init(&reader, iov, 2), 0);
	assert_int_equal(cvmm_virtq_reader_to_fd_at(&reader, fileno(file), 0, 5), -EFAULT);
	assert_true(cvmm_virtq_reader_bytes_done(&reader) <= 4);
	assert_int_equal(pwrite(fileno(file), "better", 6, 0), 6);
	assert_int_equal(cvmm_virtq_writer_init(&writer, iov, 2), 0);
	assert_int_equal(cvmm_virtq_writer_from_fd_at(&writer, fileno(file), 0, 6), -EFAULT);
	assert_true(cvmm_virtq_writer_bytes_done(&writer) <= 4);
	fclose(file);
	munmap(gone, page);
}

static void offsets_that_no_file_can_have_are_refused_before_anything_moves(void **state)
{
	static const uint64_t offsets[] = { INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX - 1,
					    UINT64_MAX };
	struct fixture *f = *state;

	/* The descriptor is a bad one: it is not looked at. */
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(offsets); i++) {
		assert_int_equal(cvmm_virtq_reader_to_fd_at(&f->reader, -1, offsets[i], 2), -EFBIG);
		assert_int_equal(cvmm_virtq_writer_from_fd_at(&f->writer, -1, offsets[i], 2),
				 -ENODATA);
	}
	assert_int_equal(cvmm_virtq_reader_bytes_done(&f->reader), 0);
	assert_int_equal(cvmm_virtq_writer_bytes_done(&f->writer), 0);
}

static void errors_of_the_descriptor_are_told(void **state)
{
	struct fixture *f = *state;
	int fds[2];

	assert_int_equal(cvmm_virtq_reader_to_fd(&f->reader, -1, 1), -EBADF);
	assert_int_equal(cvmm_virtq_reader_to_fd_once(&f->reader, -1, 1), -EBADF);
	assert_int_equal(cvmm_virtq_writer_from_fd(&f->writer, -1, 1), -EBADF);
	assert_int_equal(cvmm_virtq_writer_from_fd_once(&f->writer, -1, 1), -EBADF);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(cvmm_virtq_reader_to_fd_at(&f->reader, fds[1], 0, 1), -ESPIPE);
	assert_int_equal(cvmm_virtq_writer_from_fd_at(&f->writer, fds[0], 0, 1), -ESPIPE);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(cvmm_virtq_reader_bytes_done(&f->reader), 0);
	assert_int_equal(cvmm_virtq_writer_bytes_done(&f->writer), 0);
}

static void one_call_moves_what_the_stream_has_or_takes(void **state)
{
	struct fixture *f = *state;
	int fds[2];

	assert_int_equal(test_pipe(fds, true), 0);
	assert_int_equal(cvmm_virtq_writer_from_fd_once(&f->writer, fds[0], TEXT_SIZE), -EAGAIN);
	assert_int_equal(cvmm_virtq_reader_to_fd_once(&f->reader, fds[1], SIZE_MAX), TEXT_SIZE);
	assert_int_equal(cvmm_virtq_reader_to_fd_once(&f->reader, fds[1], SIZE_MAX), 0);
	assert_int_equal(cvmm_virtq_writer_from_fd_once(&f->writer, fds[0], 5), 5);
	assert_int_equal(cvmm_virtq_writer_from_fd_once(&f->writer, fds[0], SIZE_MAX), 27);
	assert_int_equal(cvmm_virtq_writer_from_fd_once(&f->writer, fds[0], SIZE_MAX), 0);
	assert_written(f, 0, TEXT);
	close(fds[0]);
	close(fds[1]);
}

static void the_end_of_a_stream_is_no_bytes_for_one_call(void **state)
{
	struct fixture *f = *state;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	close(fds[1]);
	assert_int_equal(cvmm_virtq_writer_from_fd_once(&f->writer, fds[0], 5), 0);
	assert_int_equal(cvmm_virtq_writer_bytes_done(&f->writer), 0);
	close(fds[0]);
}

static void one_call_takes_one_datagram(void **state)
{
	struct fixture *f = *state;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
	assert_int_equal(cvmm_virtq_reader_to_fd_once(&f->reader, fds[1], 9), 9);
	assert_int_equal(cvmm_virtq_reader_to_fd_once(&f->reader, fds[1], 6), 6);
	assert_int_equal(cvmm_virtq_writer_from_fd_once(&f->writer, fds[0], TEXT_SIZE), 9);
	assert_int_equal(cvmm_virtq_writer_from_fd_once(&f->writer, fds[0], TEXT_SIZE), 6);
	assert_written(f, 0, "the quick brown");
	close(fds[0]);
	close(fds[1]);
}

static void more_pieces_than_one_call_takes_move_in_several(void **state)
{
	static uint8_t in[MANY_PIECES], out[MANY_PIECES];
	static struct iovec readable[MANY_PIECES], writable[MANY_PIECES];
	struct cvmm_virtq_reader reader;
	struct cvmm_virtq_writer writer;
	FILE *file = tmpfile();
	int fd = fileno(file);

	(void)state;
	for (size_t i = 0; i < MANY_PIECES; i++) {
		in[i] = (uint8_t)(i * 11);
		readable[i] = (struct iovec){ &in[i], 1 };
		writable[i] = (struct iovec){ &out[i], 1 };
	}
	assert_int_equal(cvmm_virtq_reader_init(&reader, readable, MANY_PIECES), 0);
	assert_int_equal(cvmm_virtq_reader_to_fd(&reader, fd, MANY_PIECES), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(cvmm_virtq_writer_init(&writer, writable, MANY_PIECES), 0);
	assert_int_equal(cvmm_virtq_writer_from_fd(&writer, fd, MANY_PIECES), 0);
	assert_memory_equal(out, in, MANY_PIECES);

	memset(out, 0, sizeof(out));
	assert_int_equal(cvmm_virtq_reader_init(&reader, readable, MANY_PIECES), 0);
	assert_int_equal(cvmm_virtq_reader_to_fd_at(&reader, fd, 5, MANY_PIECES), 0);
	assert_int_equal(cvmm_virtq_writer_init(&writer, writable, MANY_PIECES), 0);
	assert_int_equal(cvmm_virtq_writer_from_fd_at(&writer, fd, 5, MANY_PIECES), 0);
	assert_memory_equal(out, in, MANY_PIECES);
	assert_int_equal(cvmm_virtq_reader_init(&reader, readable, MANY_PIECES), 0);
	assert_int_equal(cvmm_virtq_reader_to_fd_once(&reader, fd, MANY_PIECES),
			 CVMM_VIRTQ_IO_PIECES_MAX);
	fclose(file);
}

static void more_bytes_than_one_call_takes_move_in_several(void **state)
{
	char *host = mmap(NULL, GIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct iovec iov[3] = { { host, GIB }, { host, GIB }, { host, GIB } };
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct cvmm_virtq_reader reader;

	(void)state;
	if (host == MAP_FAILED) {
		close(fd);
		print_message("no address space for 1 GiB\n");
		skip();
	}
	assert_int_equal(cvmm_virtq_reader_init(&reader, iov, 3), 0);
	assert_int_equal(cvmm_virtq_reader_to_fd(&reader, fd, 3 * GIB), 0);
	assert_int_equal(cvmm_virtq_reader_bytes_left(&reader), 0);
	close(fd);
	munmap(host, GIB);
}

static int interrupted_pipe[2];

static void on_alarm(int number)
{
	ssize_t n = write(interrupted_pipe[1], "late", 4);

	(void)number;
	(void)n;
}

/* Should the signal come before the call blocks, it interrupts nothing, and the test holds too. */
static void an_interrupted_call_is_repeated(void **state)
{
	struct itimerval soon = { .it_value = { .tv_usec = 20000 } };
	struct sigaction action = { .sa_handler = on_alarm }, old;
	struct fixture *f = *state;
	int ret;

	assert_int_equal(pipe(interrupted_pipe), 0);
	assert_int_equal(sigaction(SIGALRM, &action, &old), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
	ret = cvmm_virtq_writer_from_fd(&f->writer, interrupted_pipe[0], 4);
	sigaction(SIGALRM, &old, NULL);
	assert_int_equal(ret, 0);
	assert_written(f, 0, "late");
	close(interrupted_pipe[0]);
	close(interrupted_pipe[1]);
}

/* ---- random operations against flat arrays ------------------------------------------------- */

#define MODEL_ROUNDS 4000U
#define MODEL_STEPS 60U
#define MODEL_PIECES 80U
#define MODEL_FORKS 4U
#define MODEL_BYTES_MAX 60000U /* fits in a pipe */

/* What a reader or writer should be: a range of the flat array. */
struct span {
	size_t at;
	size_t end;
	size_t done;
};

/*
 * @pieces, of either side, are heap blocks of their own, so that a sanitizer sees what goes beyond.
 */
struct model {
	uint64_t random;
	size_t count;
	size_t len;
	struct iovec readable[MODEL_PIECES];
	struct iovec writable[MODEL_PIECES];
	uint8_t in[MODEL_BYTES_MAX];
	uint8_t out[MODEL_BYTES_MAX]; /* what the writable pieces should contain */
	uint8_t buf[MODEL_BYTES_MAX];
	struct cvmm_virtq_reader readers[MODEL_FORKS];
	struct cvmm_virtq_writer writers[MODEL_FORKS];
	struct span reads[MODEL_FORKS];
	struct span writes[MODEL_FORKS];
	int file;
	int pipe[2];
	size_t moved; /* in all, so that the test sees that it tests something */
	size_t refused;
};

static uint32_t below(struct model *m, uint32_t limit)
{
	m->random = m->random * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)(m->random >> 33) % limit;
}

static void model_make_pieces(struct model *m)
{
	m->count = below(m, MODEL_PIECES + 1);
	m->len = 0;
	for (size_t i = 0; i < m->count; i++) {
		static const uint32_t limits[] = { 1, 2, 3, 9, 40, 700 };
		size_t len = below(m, limits[below(m, CVMM_ARRAY_SIZE(limits))]);

		m->readable[i] = (struct iovec){ malloc(len), len };
		m->writable[i] = (struct iovec){ malloc(len), len };
		for (size_t at = 0; at < len; at++)
			m->in[m->len + at] = (uint8_t)below(m, 256);
		memcpy(m->readable[i].iov_base, m->in + m->len, len);
		memset(m->writable[i].iov_base, 0, len);
		m->len += len;
	}
	memset(m->out, 0, m->len);
	for (size_t i = 0; i < MODEL_FORKS; i++) {
		assert_int_equal(cvmm_virtq_reader_init(&m->readers[i], m->readable, m->count), 0);
		assert_int_equal(cvmm_virtq_writer_init(&m->writers[i], m->writable, m->count), 0);
		m->reads[i] = m->writes[i] = (struct span){ .end = m->len };
	}
}

static void model_free_pieces(struct model *m)
{
	size_t at = 0;

	for (size_t i = 0; i < m->count; i++) {
		assert_memory_equal(m->readable[i].iov_base, m->in + at, m->readable[i].iov_len);
		assert_memory_equal(m->writable[i].iov_base, m->out + at, m->writable[i].iov_len);
		at += m->writable[i].iov_len;
		free(m->readable[i].iov_base);
		free(m->writable[i].iov_base);
	}
}

/* Mostly what is left in @s, but also too much. */
static size_t random_len(struct model *m, const struct span *s)
{
	switch (below(m, 6)) {
	case 0:
		return below(m, 4);
	case 1:
		return s->end - s->at + below(m, 3);
	default:
		return below(m, (uint32_t)(s->end - s->at) + 2) / (1 + below(m, 8));
	}
}

static void span_advance(struct model *m, struct span *s, size_t len)
{
	s->at += len;
	s->done += len;
	m->moved += len;
}

/* Checks what an exact call returned, and moves on. Return: whether @len bytes moved. */
static bool exact(struct model *m, struct span *s, size_t len, int ret, int error)
{
	bool fits = len <= s->end - s->at;

	assert_int_equal(ret, fits ? 0 : error);
	if (fits)
		span_advance(m, s, len);
	else
		m->refused++;
	return fits;
}

static void model_reads(struct model *m, struct cvmm_virtq_reader *reader, struct span *s)
{
	size_t len = random_len(m, s), at = s->at, left = s->end - s->at, most;
	int ret;

	memset(m->buf, 0xee, len);
	switch (below(m, 5)) {
	case 0:
		most = len < left ? len : left;
		assert_int_equal(cvmm_virtq_reader_read(reader, m->buf, len), most);
		span_advance(m, s, most);
		assert_memory_equal(m->buf, m->in + at, most);
		return;
	case 1:
		ret = cvmm_virtq_reader_peek(reader, m->buf, len);
		assert_int_equal(ret, len <= left ? 0 : -ENODATA);
		if (!ret)
			assert_memory_equal(m->buf, m->in + at, len);
		return;
	case 2:
		exact(m, s, len, cvmm_virtq_reader_skip(reader, len), -ENODATA);
		return;
	default:
		ret = cvmm_virtq_reader_read_exact(reader, m->buf, len);
		if (exact(m, s, len, ret, -ENODATA))
			assert_memory_equal(m->buf, m->in + at, len);
		else if (len)
			assert_int_equal(m->buf[0], 0xee);
		return;
	}
}

static void model_writes(struct model *m, struct cvmm_virtq_writer *writer, struct span *s)
{
	size_t len = random_len(m, s), at = s->at, left = s->end - s->at, most;
	uint8_t byte = (uint8_t)below(m, 256);

	for (size_t i = 0; i < len; i++)
		m->buf[i] = (uint8_t)(byte + i);
	switch (below(m, 5)) {
	case 0:
		most = len < left ? len : left;
		assert_int_equal(cvmm_virtq_writer_write(writer, m->buf, len), most);
		span_advance(m, s, most);
		memcpy(m->out + at, m->buf, most);
		return;
	case 1:
		if (exact(m, s, len, cvmm_virtq_writer_fill(writer, byte, len), -ENOSPC))
			memset(m->out + at, byte, len);
		return;
	case 2:
		exact(m, s, len, cvmm_virtq_writer_skip(writer, len), -ENOSPC);
		return;
	default:
		if (exact(m, s, len, cvmm_virtq_writer_write_exact(writer, m->buf, len), -ENOSPC))
			memcpy(m->out + at, m->buf, len);
		return;
	}
}

static void model_to_files(struct model *m, struct cvmm_virtq_reader *reader, struct span *s)
{
	size_t len = random_len(m, s), at = s->at, offset = below(m, 5000);
	ssize_t n;
	int ret;

	switch (below(m, 3)) {
	case 0:
		ret = cvmm_virtq_reader_to_fd_at(reader, m->file, offset, len);
		if (!exact(m, s, len, ret, -ENODATA))
			return;
		assert_int_equal(pread(m->file, m->buf, len, (off_t)offset), len);
		break;
	case 1:
		ret = cvmm_virtq_reader_to_fd(reader, m->pipe[1], len);
		if (!exact(m, s, len, ret, -ENODATA))
			return;
		assert_int_equal(cvmm_read_full(m->pipe[0], m->buf, len), len);
		break;
	default:
		n = cvmm_virtq_reader_to_fd_once(reader, m->pipe[1], len);
		assert_true(n >= 0 && (size_t)n <= len && (size_t)n <= s->end - s->at);
		assert_int_equal(!n, !len || s->at == s->end);
		span_advance(m, s, (size_t)n);
		len = (size_t)n;
		assert_int_equal(cvmm_read_full(m->pipe[0], m->buf, len), len);
		break;
	}
	assert_memory_equal(m->buf, m->in + at, len);
}

/* The file has @has bytes from @offset on. */
static void model_from_file(struct model *m, struct cvmm_virtq_writer *writer, struct span *s,
			    size_t len, size_t has)
{
	size_t offset = below(m, 5000), done = s->done;
	int ret;

	assert_int_equal(ftruncate(m->file, 0), 0);
	assert_int_equal(pwrite(m->file, m->buf, has, (off_t)offset), has);
	ret = cvmm_virtq_writer_from_fd_at(writer, m->file, offset, len);
	if (len <= s->end - s->at && len > has) {
		assert_int_equal(ret, -ENODATA);
		len = has;
		ret = 0;
	}
	if (exact(m, s, len, ret, -ENOSPC))
		memcpy(m->out + s->at - len, m->buf, len);
	assert_int_equal(cvmm_virtq_writer_bytes_done(writer), s->done);
	assert_true(s->done >= done);
}

static void model_from_files(struct model *m, struct cvmm_virtq_writer *writer, struct span *s)
{
	size_t len = random_len(m, s), left = s->end - s->at, at = s->at;
	size_t most = len < left ? len : left;

	for (size_t i = 0; i < len; i++)
		m->buf[i] = (uint8_t)below(m, 256);
	switch (below(m, 3)) {
	case 0:
		model_from_file(m, writer, s, len, below(m, 2) ? len : len / 2);
		return;
	case 1:
		if (len <= left)
			assert_int_equal(cvmm_write_full(m->pipe[1], m->buf, len), 0);
		if (exact(m, s, len, cvmm_virtq_writer_from_fd(writer, m->pipe[0], len), -ENOSPC))
			memcpy(m->out + at, m->buf, len);
		return;
	default:
		assert_int_equal(cvmm_write_full(m->pipe[1], m->buf, most), 0);
		while (s->at - at < most) {
			ssize_t n = cvmm_virtq_writer_from_fd_once(writer, m->pipe[0], len);

			assert_true(n > 0 && (size_t)n <= most - (s->at - at));
			span_advance(m, s, (size_t)n);
		}
		memcpy(m->out + at, m->buf, most);
		return;
	}
}

static void model_exports(struct model *m, size_t i)
{
	struct span *s = &m->reads[i];
	size_t len = random_len(m, s), left = s->end - s->at, count = 0;
	size_t max = below(m, MODEL_PIECES + 1);
	struct iovec iov[MODEL_PIECES];
	int ret = cvmm_virtq_reader_iov(&m->readers[i], len, iov, max, &count);

	assert_int_equal(ret == -ENODATA, len > left);
	if (ret == -ENOBUFS) {
		/* It is enough for as many pieces as it takes. */
		assert_int_equal(
			cvmm_virtq_reader_iov(&m->readers[i], len, iov, MODEL_PIECES, &count), 0);
		assert_true(count > max);
	} else if (ret) {
		assert_int_equal(count, 0);
		return;
	}
	for (size_t at = 0; at < count; at++)
		assert_true(iov[at].iov_len > 0);
	assert_int_equal(cvmm_iov_len(iov, count), len);
	assert_int_equal(cvmm_iov_copy_from(iov, count, 0, m->buf, len), len);
	assert_memory_equal(m->buf, m->in + s->at, len);
}

/* Copies, limits and splits. Each changes which part of the array a reader or writer is. */
static void model_forks(struct model *m, size_t i)
{
	size_t other = (i + 1 + below(m, MODEL_FORKS - 1)) % MODEL_FORKS;
	size_t len = random_len(m, &m->reads[i]);
	struct span *r = &m->reads[i], *w = &m->writes[i];

	switch (below(m, 8)) {
	case 0:
		cvmm_virtq_reader_limit(&m->readers[i], len);
		cvmm_virtq_writer_limit(&m->writers[i], len);
		r->end = r->at + (len < r->end - r->at ? len : r->end - r->at);
		w->end = w->at + (len < w->end - w->at ? len : w->end - w->at);
		break;
	case 1:
	case 2:
		if (!cvmm_virtq_reader_split(&m->readers[i], len, &m->readers[other])) {
			m->reads[other] = (struct span){ r->at + len, r->end, 0 };
			r->end = r->at + len;
		} else {
			assert_true(len > r->end - r->at);
		}
		if (!cvmm_virtq_writer_split(&m->writers[i], len, &m->writers[other])) {
			m->writes[other] = (struct span){ w->at + len, w->end, 0 };
			w->end = w->at + len;
		} else {
			assert_true(len > w->end - w->at);
		}
		break;
	case 3:
		/* Start over, so that the parts do not only become smaller. */
		assert_int_equal(cvmm_virtq_reader_init(&m->readers[i], m->readable, m->count), 0);
		assert_int_equal(cvmm_virtq_writer_init(&m->writers[i], m->writable, m->count), 0);
		*r = *w = (struct span){ .end = m->len };
		break;
	default:
		m->readers[other] = m->readers[i];
		m->writers[other] = m->writers[i];
		m->reads[other] = *r;
		m->writes[other] = *w;
		break;
	}
}

static void model_step(struct model *m)
{
	size_t i = below(m, MODEL_FORKS);

	switch (below(m, 12)) {
	case 0:
		model_to_files(m, &m->readers[i], &m->reads[i]);
		break;
	case 1:
		model_from_files(m, &m->writers[i], &m->writes[i]);
		break;
	case 2:
		model_exports(m, i);
		break;
	case 3:
		model_forks(m, i);
		break;
	case 4:
	case 5:
	case 6:
	case 7:
		model_reads(m, &m->readers[i], &m->reads[i]);
		break;
	default:
		model_writes(m, &m->writers[i], &m->writes[i]);
		break;
	}
	for (i = 0; i < MODEL_FORKS; i++) {
		assert_int_equal(cvmm_virtq_reader_bytes_left(&m->readers[i]),
				 m->reads[i].end - m->reads[i].at);
		assert_int_equal(cvmm_virtq_reader_bytes_done(&m->readers[i]), m->reads[i].done);
		assert_int_equal(cvmm_virtq_writer_bytes_left(&m->writers[i]),
				 m->writes[i].end - m->writes[i].at);
		assert_int_equal(cvmm_virtq_writer_bytes_done(&m->writers[i]), m->writes[i].done);
	}
}

static void random_operations_do_what_they_do_to_flat_arrays(void **state)
{
	struct model *m = calloc(1, sizeof(*m));
	FILE *file = tmpfile();

	(void)state;
	assert_int_equal(pipe(m->pipe), 0);
	m->file = fileno(file);
	m->random = 20260731;
	for (size_t round = 0; round < MODEL_ROUNDS; round++) {
		model_make_pieces(m);
		for (size_t step = 0; step < MODEL_STEPS; step++)
			model_step(m);
		model_free_pieces(m);
	}
	assert_true(m->moved > MODEL_ROUNDS * 100);
	assert_true(m->refused > MODEL_ROUNDS);
	close(m->pipe[0]);
	close(m->pipe[1]);
	fclose(file);
	free(m);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_reader_reads_across_pieces),
		TEST(reading_exactly_all_leaves_nothing),
		TEST(an_unexpected_end_consumes_nothing_and_leaves_the_destination),
		TEST(a_peek_does_not_consume),
		TEST(a_skip_crosses_pieces_and_counts),
		TEST(a_copy_of_a_reader_moves_by_itself),
		cmocka_unit_test(a_list_of_no_pieces_is_at_its_end),
		cmocka_unit_test(a_list_of_empty_pieces_is_at_its_end),
		TEST(zero_lengths_always_succeed_and_touch_nothing),
		cmocka_unit_test(numbers_are_read_in_little_endian_order_across_pieces),
		TEST(a_number_that_is_cut_short_consumes_nothing),
		TEST(nothing_behind_a_limit_is_visible),
		TEST(a_limit_beyond_the_end_changes_nothing),
		TEST(a_split_at_the_border_of_a_piece_keeps_each_side_whole),
		TEST(a_split_in_the_middle_of_a_piece_shares_the_piece),
		TEST(a_split_at_the_end_leaves_an_empty_rest),
		TEST(a_split_at_the_beginning_leaves_all_in_the_rest),
		TEST(a_split_out_of_bounds_changes_neither),
		TEST(a_split_counts_from_the_position),
		TEST(the_rest_of_a_split_keeps_a_limit),
		TEST(a_writer_writes_across_pieces),
		TEST(a_writer_writes_no_more_than_there_is_room),
		TEST(writing_exactly_all_leaves_no_room),
		TEST(too_little_room_writes_nothing),
		TEST(a_skip_leaves_the_bytes_for_a_copy_to_write),
		TEST(a_fill_crosses_pieces),
		TEST(numbers_are_written_in_little_endian_order_across_pieces),
		cmocka_unit_test(an_object_shattered_into_bytes_comes_out_whole),
		TEST(a_chain_gives_its_two_sides),
		cmocka_unit_test(a_chain_without_buffers_has_nothing_left_on_either_side),
		cmocka_unit_test(a_list_whose_lengths_overflow_is_refused),
		cmocka_unit_test(the_longest_list_counts_to_its_last_byte),
		TEST(exported_pieces_are_the_next_bytes_and_none_is_empty),
		TEST(an_export_of_too_much_or_into_too_few_pieces_fails),
		TEST(a_reader_writes_to_a_place_in_a_file),
		TEST(a_writer_reads_from_a_place_in_a_file),
		TEST(a_stream_takes_and_gives_whole_lengths),
		TEST(what_the_chain_lacks_moves_nothing_at_all),
		TEST(a_short_file_is_told_with_its_bytes_consumed),
		TEST(a_stream_that_ends_is_told_with_its_bytes_consumed),
		TEST(an_empty_stream_that_does_not_block_can_be_asked_again),
		cmocka_unit_test(a_full_stream_is_told_with_exactly_what_it_took_consumed),
		TEST(a_file_that_fails_midway_has_consumed_what_it_took),
		cmocka_unit_test(a_piece_that_is_gone_fails_the_transfer_after_those_before_it),
		TEST(offsets_that_no_file_can_have_are_refused_before_anything_moves),
		TEST(errors_of_the_descriptor_are_told),
		TEST(one_call_moves_what_the_stream_has_or_takes),
		TEST(the_end_of_a_stream_is_no_bytes_for_one_call),
		TEST(one_call_takes_one_datagram),
		cmocka_unit_test(more_pieces_than_one_call_takes_move_in_several),
		cmocka_unit_test(more_bytes_than_one_call_takes_move_in_several),
		TEST(an_interrupted_call_is_repeated),
		cmocka_unit_test(random_operations_do_what_they_do_to_flat_arrays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
