/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The state of the quick walks of both formats: any that there can be, and what is true of it. */
#ifndef PROOF_QUICK_H
#define PROOF_QUICK_H

#include "proof_virtq.h"

#include "../../lib/virtq/virtq_walk.h"

/**
 * struct proof_quick - what was so before the step
 */
struct proof_quick {
	struct quick before;
	unsigned int grants;
};

static uint64_t proof_index(const struct iovec *at)
{
	return ((uint64_t)(uintptr_t)at - PROOF_IOV) / sizeof(*at);
}

static bool proof_sums_are_right(const struct quick *q)
{
	uint64_t pieces = proof_index(q->out), readable = proof_index(q->readable_end);

	return readable <= pieces && pieces <= proof_iov_max && pieces <= PIECES_MAX &&
	       q->bytes <= pieces << 32 && q->readable_bytes <= q->bytes &&
	       (readable < pieces || q->readable_bytes == q->bytes);
}

/* Any number of pieces gathered, up to what the caller's array of any length has room for. */
static struct quick proof_any_quick(struct proof_quick *ret_ghost)
{
	struct iovec *iov = (struct iovec *)(uintptr_t)PROOF_IOV;
	uint16_t pieces = nondet_u16(), readable = nondet_u16();
	struct quick q;

	proof_iov_max = nondet_u64();
	__CPROVER_assume(proof_iov_max < UINT64_C(1) << 40);
	q = quick_start(iov, proof_iov_max);
	__CPROVER_assert(proof_sums_are_right(&q), "a walk starts in such a state");
	q.out = iov + pieces;
	q.readable_end = iov + readable;
	q.bytes = nondet_u64();
	q.readable_bytes = nondet_u64();
	__CPROVER_assume(proof_sums_are_right(&q));
	ret_ghost->before = q;
	return q;
}

/* One piece was added, or none: then its grant is the last. */
static void proof_check_quick(const struct proof_quick *ghost, const struct quick *q)
{
	const struct quick *before = &ghost->before;
	const struct proof_grant *grant = &proof_grants[proof_grant_count - 1];

	__CPROVER_assert(q->end == before->end, "the end of the array stays");
	__CPROVER_assert(proof_sums_are_right(q), "counts and sums are as they can be");
	if (q->out == before->out) {
		__CPROVER_assert(!proof_piece.count, "no piece was put");
		__CPROVER_assert(q->readable_end == before->readable_end, "nothing changed");
		__CPROVER_assert(q->bytes == before->bytes, "there are no more bytes");
		return;
	}
	__CPROVER_assert(q->out == before->out + 1, "there is one piece more");
	__CPROVER_assert(proof_piece.count == 1 && proof_piece.i == proof_index(before->out),
			 "it was put at the end");
	__CPROVER_assert(proof_grant_count && proof_piece.host == grant->host,
			 "it is where mem granted it");
	__CPROVER_assert(proof_piece.len == grant->len, "it is all that was granted");
	__CPROVER_assert(q->bytes == before->bytes + grant->len, "it is counted");
	if (grant->is_write) {
		__CPROVER_assert(q->readable_end == before->readable_end, "it is not readable");
		__CPROVER_assert(q->readable_bytes == before->readable_bytes, "nor counted so");
	} else {
		__CPROVER_assert(before->readable_end == before->out,
				 "no writable one was before it");
		__CPROVER_assert(q->readable_end == q->out, "it is readable");
		__CPROVER_assert(q->readable_bytes == q->bytes, "and counted so");
	}
}

#endif /* PROOF_QUICK_H */
