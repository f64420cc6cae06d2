/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The state of the general walks of both formats: any that there can be, what is true of it, and what each
 * of their results may mean. Include it before anything of lib/virtq.
 */
#ifndef PROOF_WALK_H
#define PROOF_WALK_H

#include "proof_virtq.h"

/**
 * struct proof_answers - what mem has answered last: 0 also if it was not asked
 * @pieces: of the span that was granted
 * @checked: where cvmm_mem_check() was asked about
 * @read: where cvmm_mem_read() copied from
 */
static struct {
	int span;
	int load;
	int check;
	int read;
	uint64_t pieces;
	struct proof_grant checked;
	uint64_t read_gpa;
	uint64_t read_len;
} proof_answers;

static int proof_noted_span(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len,
			    enum cvmm_access access, struct iovec *iov, size_t iov_max,
			    size_t *ret_count)
{
	proof_answers.span = cvmm_mem_span(mem, gpa, len, access, iov, iov_max, ret_count);
	if (!proof_answers.span)
		proof_answers.pieces = *ret_count;
	return proof_answers.span;
}

static int proof_noted_check(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len,
			     enum cvmm_access access)
{
	proof_answers.check = cvmm_mem_check(mem, gpa, len, access);
	proof_answers.checked =
		(struct proof_grant){ gpa.addr, len, 0, access & CVMM_ACCESS_WRITE };
	return proof_answers.check;
}

static int proof_noted_read(const struct cvmm_mem *mem, cvmm_gpa gpa, void *dst, size_t len)
{
	proof_answers.read = proof_read(mem, gpa, dst, len);
	proof_answers.read_gpa = gpa.addr;
	proof_answers.read_len = len;
	return proof_answers.read;
}

static int proof_noted_load(const struct cvmm_virtq *vq, const uint8_t *host, cvmm_gpa area,
			    size_t at, bool direct, uint64_t *ret)
{
	proof_answers.load = area_load_u64(vq, host, area, at, direct, ret);
	return proof_answers.load;
}

#undef cvmm_mem_read
#define cvmm_mem_read proof_noted_read
#define cvmm_mem_span proof_noted_span
#define cvmm_mem_check proof_noted_check
#define area_load_u64 proof_noted_load

#include "../../lib/virtq/virtq_walk.h"

static bool proof_walk_is_right(const struct walk *walk)
{
	return (uint64_t)(uintptr_t)walk->iov == PROOF_IOV && walk->iov_max <= proof_iov_max &&
	       walk->iov_max <= PIECES_MAX && walk->pieces <= walk->iov_max &&
	       walk->readable_pieces <= walk->pieces && walk->readable_bytes <= walk->bytes &&
	       walk->bytes <= (uint64_t)walk->pieces << 32 &&
	       (walk->saw_writable ||
		(walk->readable_pieces == walk->pieces && walk->readable_bytes == walk->bytes));
}

/* Any number of pieces gathered, up to what the caller's array of any length has room for. */
static struct walk proof_any_walk(struct cvmm_virtq *vq)
{
	struct walk walk;

	proof_iov_max = nondet_u64();
	__CPROVER_assume(proof_iov_max < UINT64_C(1) << 40);
	walk = walk_start(vq, (struct iovec *)(uintptr_t)PROOF_IOV, proof_iov_max);
	__CPROVER_assert(proof_walk_is_right(&walk), "a walk starts in such a state");
	walk.saw_writable = nondet_bool();
	walk.pieces = nondet_u16();
	walk.readable_pieces = nondet_u16();
	walk.bytes = nondet_u64();
	walk.readable_bytes = nondet_u64();
	__CPROVER_assume(proof_walk_is_right(&walk));
	return walk;
}

/* All of the buffer @of was added, and nothing else, by @grants grants, and the walk is as it can be. */
static void proof_check_added(const struct walk *before, const struct walk *walk,
			      const struct desc *of, unsigned int grants)
{
	const struct proof_grant *grant = &proof_grants[proof_grant_count - 1];
	bool writable = of->flags & CVMM_VIRTQ_DESC_F_WRITE;
	uint64_t pieces = 0;

	__CPROVER_assert(proof_walk_is_right(walk), "counts and sums are as they can be");
	__CPROVER_assert(writable || !before->saw_writable, "readable ones come first");
	__CPROVER_assert(walk->saw_writable == writable, "what comes next knows of its direction");
	__CPROVER_assert(grants == !!of->len, "mem is asked about each buffer with bytes, once");
	if (grants) {
		__CPROVER_assert(grant->gpa == of->addr && grant->len == of->len,
				 "for what the copy of the descriptor says");
		__CPROVER_assert(grant->is_write == writable, "for its direction");
		pieces = proof_piece.count ? 1 : proof_answers.pieces;
	}
	__CPROVER_assert(proof_piece.count <= grants, "pieces are put that mem granted");
	if (proof_piece.count)
		__CPROVER_assert(proof_piece.i == before->pieces &&
					 proof_piece.host == grant->host &&
					 proof_piece.len == grant->len,
				 "the piece is all of the grant, behind the others");
	__CPROVER_assert(walk->pieces == before->pieces + pieces, "pieces are counted");
	__CPROVER_assert(walk->bytes == before->bytes + of->len, "bytes are counted");
	if (writable)
		__CPROVER_assert(walk->readable_pieces == before->readable_pieces &&
					 walk->readable_bytes == before->readable_bytes,
				 "those of writable buffers apart");
	else
		__CPROVER_assert(walk->readable_pieces == walk->pieces &&
					 walk->readable_bytes == walk->bytes,
				 "so far all is readable");
}

/* That add_buffer() may return @ret. */
static bool proof_buffer_may_fail(const struct walk *before, const struct desc *of, int ret)
{
	bool is_elsewhere = proof_answers.span != 0;

	switch (ret) {
	case CVMM_VIRTQ_BAD_ORDER:
		return before->saw_writable && !(of->flags & CVMM_VIRTQ_DESC_F_WRITE);
	case CVMM_VIRTQ_TOO_MANY_PIECES:
		return is_elsewhere ? proof_answers.span == -ENOBUFS
				    : of->len && before->pieces == before->iov_max;
	case CVMM_VIRTQ_BAD_BUFFER:
		return proof_answers.span == -EFAULT;
	case -EAGAIN:
	case -ENOTSUP:
		return proof_answers.span == ret;
	default:
		return false;
	}
}

#endif /* PROOF_WALK_H */
