// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Readers and writers, at any place of a list of up to three pieces, with any limit; the numbers that they
 * are asked for are any of 64 bits:
 *
 *  - STEP: what moves bytes does so in steps of take(). One hands out some bytes, never more than are asked
 *    for, of one piece and inside of it, from the place where the cursor is; and leaves it behind them. Here
 *    pieces have any lengths, of up to 39 bits.
 *  - MOVE: a call that moves bytes (read, peek, write, fill, skip) moves exactly as many as it says, or none
 *    with -ENODATA or -ENOSPC if there are fewer, and then nothing changes; it touches each of those bytes
 *    once, in their order, in the piece where it is, and never one behind the end or the limit.
 *  - SPLIT: a split at any offset gives two that have all the bytes of the one, no byte twice; the second
 *    begins where the first ends. Behind the end it is refused, and nothing changes. A limit only takes
 *    from the end.
 *  - IOV: the pieces of a range are that range, and not more than there is room for.
 *  - INIT: one that was made from a list is at its start, and has the sum of its pieces, of any 64-bit
 *    lengths; a sum that is too large for a number is refused.
 *
 * It is assumed of the pieces that there are as many bytes in them as the cursor has left; each of the calls
 * keeps that, and INIT makes it so. Pieces before the cursor's do not matter: none goes back. Except for
 * STEP and INIT the pieces have up to seven bytes, empty ones among them, which makes the proofs quick: the
 * calls do nothing with lengths but these steps. Those that move to and from files use them, too.
 *
 * Spec: VIRTIO 1.3, 2.7.4 (the framing does not show), 2.7.8.2 (what is counted is what was written).
 *
 * PROOF options --unwind 5
 * PROOF limit 120
 * PROOF instance -DMOVE=READ_EXACT
 * PROOF instance -DMOVE=SKIP
 * PROOF instance -DMOVE=WRITE
 * PROOF instance -DMOVE=WRITE_EXACT
 * PROOF instance -DMOVE=FILL
 * PROOF instance -DMOVE=WRITER_SKIP
 * PROOF instance -DSTEP
 * PROOF instance -DLIMIT
 * PROOF instance -DIOV=1
 * PROOF instance -DIOV=0
 * PROOF instance -DSPLIT=1
 * PROOF instance -DSPLIT=0
 * PROOF instance -DMOVE=READ
 * PROOF instance -DMOVE=PEEK
 * PROOF instance -DINIT
 * MUTATION lib/virtq/virtq_io.c s/taken.iov_len = c->piece->iov_len - c->offset/taken.iov_len = c->piece->iov_len/
 * MUTATION lib/virtq/virtq_io.c s/if (taken.iov_len > max)/if (0)/
 * MUTATION lib/virtq/virtq_io.c s/c->left_bytes -= taken.iov_len;//
 * MUTATION lib/virtq/virtq_io.c s/c->offset >= c->piece->iov_len/c->offset > c->piece->iov_len/
 * MUTATION lib/virtq/virtq_io.c s/c->left_bytes = offset;//
 * MUTATION lib/virtq/virtq_io.c s/if (offset > writer->cursor.left_bytes)/if (0)/
 * MUTATION lib/virtq/virtq_io.c s/return len < c->left_bytes ? len : c->left_bytes/return len/
 * MUTATION lib/virtq/virtq_io.c s/to += piece.iov_len;//
 * MUTATION lib/virtq/virtq_io.c s/struct cvmm_virtq_reader fork = .reader;/#define fork (*(struct cvmm_virtq_reader *)reader)/
 * MUTATION lib/virtq/virtq_io.c s/__builtin_add_overflow(sum, iov.i..iov_len, .sum)/(sum += iov[i].iov_len, 0)/
 */
#include <stdlib.h>
#include <string.h>

#include <cvmm/virtq_io.h>

uint8_t nondet_u8(void);
uint64_t nondet_u64(void);

void cvmm_bug(const char *file, int line, const char *what)
{
	(void)file;
	(void)line;
	(void)what;
	__CPROVER_assert(0, "no CVMM_BUG_ON() fires");
	__CPROVER_assume(0);
	abort();
}

#define PIECES 3

enum {
	READ,
	READ_EXACT,
	PEEK,
	SKIP,
	WRITE,
	WRITE_EXACT,
	FILL,
	WRITER_SKIP,
};

/* Host addresses are numbers, far apart. */
#define BASE(i) ((UINT64_C(1) << 40) * (1 + (uint64_t)(i)))
#ifdef STEP
#define LEN_MAX (UINT64_C(1) << 39)
#else
#define LEN_MAX 7
#endif
#define LOCAL (UINT64_C(1) << 50)

static struct iovec proof_iov[PIECES];
static size_t proof_count;

/* Where the byte at @at of all the pieces is. */
static uint64_t proof_host(uint64_t at)
{
	for (unsigned int i = 0; i < PIECES; i++) {
		if (i < proof_count && at < proof_iov[i].iov_len)
			return BASE(i) + at;
		at -= i < proof_count ? proof_iov[i].iov_len : 0;
	}
	return 0;
}

static uint64_t proof_total(void)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < PIECES; i++)
		sum += i < proof_count ? proof_iov[i].iov_len : 0;
	return sum;
}

/* ---- what is copied ------------------------------------------------------------------------- */

static uint64_t proof_at;    /* in all the pieces: the next byte that is to be touched */
static uint64_t proof_moved; /* bytes so far */
static uint64_t proof_k;     /* any of them */

static void proof_touch(const void *piece, const void *local, size_t len)
{
	uint64_t host = (uint64_t)(uintptr_t)piece, k = proof_k - proof_moved;

	__CPROVER_assert(len, "something is moved");
	__CPROVER_assert(!local || (uint64_t)(uintptr_t)local == LOCAL + proof_moved,
			 "to or from the right place of the caller's");
	if (proof_k >= proof_moved && k < len)
		__CPROVER_assert(host + k == proof_host(proof_at + k), "each byte is where it is");
	proof_at += len;
	proof_moved += len;
}

static void *proof_memcpy(void *dst, const void *src, size_t len)
{
	bool is_read = (uint64_t)(uintptr_t)dst >= LOCAL;

	proof_touch(is_read ? src : dst, is_read ? dst : src, len);
	return dst;
}

static void *proof_memset(void *dst, int byte, size_t len)
{
	(void)byte;
	proof_touch(dst, NULL, len);
	return dst;
}

#define memcpy proof_memcpy
#define memset proof_memset
#include "../../lib/virtq/virtq_io.c"

/* ---- any cursor ----------------------------------------------------------------------------- */

/* Where the cursor is. */
static uint64_t proof_place(const struct cvmm_virtq_cursor *c)
{
	uint64_t at = c->offset;

	for (unsigned int i = 0; i < PIECES; i++)
		at += proof_iov + i < c->piece ? proof_iov[i].iov_len : 0;
	return at;
}

static void check_cursor(const struct cvmm_virtq_cursor *c, uint64_t place, uint64_t left)
{
	__CPROVER_assert(c->piece >= proof_iov && c->piece + c->count == proof_iov + proof_count,
			 "it is in the list");
	__CPROVER_assert(c->count ? c->offset <= c->piece->iov_len : !c->offset,
			 "and in its piece");
	__CPROVER_assert(proof_place(c) == place, "it is at the right place");
	__CPROVER_assert(c->left_bytes == left, "the right number is left");
	__CPROVER_assert(place <= proof_total() && left <= proof_total() - place, "and is there");
}

static void any_pieces(void)
{
	proof_count = nondet_u8();
	__CPROVER_assume(proof_count <= PIECES);
	for (unsigned int i = 0; i < PIECES; i++) {
		uint64_t len = nondet_u64();

		__CPROVER_assume(len <= LEN_MAX);
		proof_iov[i] = (struct iovec){ (void *)(uintptr_t)BASE(i), len };
	}
}

static struct cvmm_virtq_cursor any_cursor(void)
{
	struct cvmm_virtq_cursor c;

	any_pieces();
	c.piece = proof_iov;
	c.count = proof_count;
	c.offset = nondet_u64();
	c.left_bytes = nondet_u64();
	c.done_bytes = nondet_u64();
	__CPROVER_assume(c.count ? c.offset <= c.piece->iov_len : !c.offset);
	__CPROVER_assume(c.left_bytes <= proof_total() - proof_place(&c));
	__CPROVER_assume(c.done_bytes <= SIZE_MAX - c.left_bytes);
	return c;
}

/* ---- the calls ------------------------------------------------------------------------------ */

static void check_same(const struct cvmm_virtq_cursor *a, const struct cvmm_virtq_cursor *b)
{
	__CPROVER_assert(a->piece == b->piece && a->count == b->count && a->offset == b->offset &&
				 a->left_bytes == b->left_bytes && a->done_bytes == b->done_bytes,
			 "nothing changed");
}

/* One step of any call that moves: those of read, peek, write, fill, skip and of files are such steps. */
static void step_any(void)
{
	struct cvmm_virtq_cursor c = any_cursor(), before = c;
	uint64_t place = proof_place(&c), max = nondet_u64();
	struct iovec taken;

	proof_at = place;
	proof_k = nondet_u64();
	__CPROVER_assume(max && max <= c.left_bytes);
	taken = take(&c, max);
	__CPROVER_assert(taken.iov_len && taken.iov_len <= max, "it is some, and not too many");
	proof_touch(taken.iov_base, NULL, taken.iov_len);
	check_cursor(&c, place + taken.iov_len, before.left_bytes - taken.iov_len);
	__CPROVER_assert(c.done_bytes == before.done_bytes + taken.iov_len, "they are counted");
}

#ifdef MOVE
#define MOVE_ANY
#else
#define MOVE READ
#endif

static int64_t move(struct cvmm_virtq_cursor *c, size_t len)
{
	struct cvmm_virtq_reader *reader = (struct cvmm_virtq_reader *)c;
	struct cvmm_virtq_writer *writer = (struct cvmm_virtq_writer *)c;
	void *local = (void *)(uintptr_t)LOCAL;

	switch (MOVE) {
	case READ:
		return (int64_t)cvmm_virtq_reader_read(reader, local, len);
	case READ_EXACT:
		return cvmm_virtq_reader_read_exact(reader, local, len);
	case PEEK:
		return cvmm_virtq_reader_peek(reader, local, len);
	case SKIP:
		return cvmm_virtq_reader_skip(reader, len);
	case WRITE:
		return (int64_t)cvmm_virtq_writer_write(writer, local, len);
	case WRITE_EXACT:
		return cvmm_virtq_writer_write_exact(writer, local, len);
	case FILL:
		return cvmm_virtq_writer_fill(writer, 0, len);
	default:
		return cvmm_virtq_writer_skip(writer, len);
	}
}

static void move_any(void)
{
	struct cvmm_virtq_cursor c = any_cursor(), before = c;
	uint64_t len = nondet_u64(), place = proof_place(&c), count = len;
	bool is_exact = MOVE != READ && MOVE != WRITE;
	int64_t ret;

	proof_at = place;
	proof_k = nondet_u64();
	ret = move(&c, len);
	if (len > before.left_bytes)
		count = is_exact ? 0 : before.left_bytes;
	if (is_exact)
		__CPROVER_assert(ret == (count == len	? 0
					 : MOVE < WRITE ? -ENODATA
							: -ENOSPC),
				 "all of them, or it is refused");
	else
		__CPROVER_assert(ret == (int64_t)count, "it says how many");
	__CPROVER_assert(proof_moved == (MOVE == SKIP || MOVE == WRITER_SKIP ? 0 : count),
			 "as many are copied");
	if (MOVE == PEEK || !count) {
		check_same(&c, &before);
		return;
	}
	check_cursor(&c, place + count, before.left_bytes - count);
	__CPROVER_assert(c.done_bytes == before.done_bytes + count, "they are counted");
}

#ifdef SPLIT
static void split_any(void)
{
	struct cvmm_virtq_cursor c = any_cursor(), before = c;
	struct cvmm_virtq_cursor rest = { .left_bytes = 1 }, unset = rest;
	uint64_t offset = nondet_u64(), place = proof_place(&c);
	bool is_reader = SPLIT;
	int ret;

	if (is_reader)
		ret = cvmm_virtq_reader_split((struct cvmm_virtq_reader *)&c, offset,
					      (struct cvmm_virtq_reader *)&rest);
	else
		ret = cvmm_virtq_writer_split((struct cvmm_virtq_writer *)&c, offset,
					      (struct cvmm_virtq_writer *)&rest);
	if (offset > before.left_bytes) {
		__CPROVER_assert(ret == (is_reader ? -ENODATA : -ENOSPC), "it is refused");
		check_same(&c, &before);
		check_same(&rest, &unset);
		return;
	}
	__CPROVER_assert(!ret, "it is split");
	check_cursor(&c, place, offset);
	check_cursor(&rest, place + offset, before.left_bytes - offset);
	__CPROVER_assert(c.done_bytes == before.done_bytes && !rest.done_bytes,
			 "each counts its own");
}

#endif

static void limit_any(void)
{
	struct cvmm_virtq_cursor c = any_cursor(), before = c;
	uint64_t limit = nondet_u64();

	if (nondet_u8() & 1)
		cvmm_virtq_reader_limit((struct cvmm_virtq_reader *)&c, limit);
	else
		cvmm_virtq_writer_limit((struct cvmm_virtq_writer *)&c, limit);
	check_cursor(&c, before.offset, limit < before.left_bytes ? limit : before.left_bytes);
	__CPROVER_assert(c.done_bytes == before.done_bytes, "nothing is done");
}

#ifdef IOV
static void iov_any(void)
{
	struct cvmm_virtq_cursor c = any_cursor(), before = c;
	struct iovec out[PIECES];
	size_t len = nondet_u64(), max = nondet_u8(), unset = nondet_u64(), count = unset;
	bool is_reader = IOV;
	int ret;

	__CPROVER_assume(max <= PIECES);
	proof_at = proof_place(&c);
	proof_k = nondet_u64();
	if (is_reader)
		ret = cvmm_virtq_reader_iov((struct cvmm_virtq_reader *)&c, len, out, max, &count);
	else
		ret = cvmm_virtq_writer_iov((struct cvmm_virtq_writer *)&c, len, out, max, &count);
	check_same(&c, &before);
	if (len > before.left_bytes)
		__CPROVER_assert(ret == (is_reader ? -ENODATA : -ENOSPC), "it is refused");
	else
		__CPROVER_assert(!ret || (ret == -ENOBUFS && max < PIECES),
				 "there is room for all");
	if (ret) {
		__CPROVER_assert(count == unset, "nothing is returned");
		return;
	}
	__CPROVER_assert(count <= max, "not more than there is room for");
	for (unsigned int i = 0; i < PIECES; i++)
		if (i < count)
			proof_touch(out[i].iov_base, NULL, out[i].iov_len);
	__CPROVER_assert(proof_moved == len, "they are the whole range");
}

#endif

static void init_any(void)
{
	struct cvmm_virtq_cursor c = any_cursor(), before = c;
	uint64_t sum = 0;
	bool wraps = false;
	int ret;

	for (unsigned int i = 0; i < PIECES; i++) {
		proof_iov[i].iov_len = nondet_u64();
		if (i >= proof_count)
			continue;
		wraps = wraps || proof_iov[i].iov_len > UINT64_MAX - sum;
		sum += proof_iov[i].iov_len;
	}
	if (nondet_u8() & 1)
		ret = cvmm_virtq_reader_init((struct cvmm_virtq_reader *)&c, proof_iov,
					     proof_count);
	else
		ret = cvmm_virtq_writer_init((struct cvmm_virtq_writer *)&c, proof_iov,
					     proof_count);
	if (wraps) {
		__CPROVER_assert(ret == -EOVERFLOW, "it is refused");
		check_same(&c, &before);
		return;
	}
	__CPROVER_assert(!ret, "it is made");
	check_cursor(&c, 0, sum);
	__CPROVER_assert(!c.done_bytes, "nothing is done");
}

void harness(void)
{
#if defined(STEP)
	step_any();
#elif defined(MOVE_ANY)
	move_any();
#elif defined(SPLIT)
	split_any();
#elif defined(LIMIT)
	limit_any();
#elif defined(IOV)
	iov_any();
#else
	init_any();
#endif
}
