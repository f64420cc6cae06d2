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
	struct iovec *iov;
	size_t iov_max;
	struct quick before;
};

/* By addresses: most of the array does not exist here. */
static size_t proof_index(const struct proof_quick *ghost, const struct iovec *at)
{
	return ((uintptr_t)at - (uintptr_t)ghost->iov) / sizeof(*at);
}

static bool proof_sums_are_right(const struct proof_quick *ghost, const struct quick *q)
{
	size_t pieces = proof_index(ghost, q->out);
	size_t readable = proof_index(ghost, q->readable_end);

	return readable <= pieces && pieces <= ghost->iov_max && pieces <= PIECES_MAX &&
	       q->bytes <= pieces * (uint64_t)UINT32_MAX && q->readable_bytes <= q->bytes &&
	       (readable < pieces || q->readable_bytes == q->bytes);
}

/* The only place of the caller's array that a step may write to; a write to another is found by cbmc. */
static struct iovec proof_piece[1];

/*
 * Any number of pieces gathered, up to what the caller's array of any length has room for. There is no
 * room behind the last: the next place is then outside of what exists.
 */
static struct quick proof_any_quick(struct proof_quick *ret_ghost)
{
	size_t pieces = nondet_u16(), readable = nondet_u16();
	struct quick q;

	ret_ghost->iov_max = nondet_u64();
	__CPROVER_assume(pieces <= ret_ghost->iov_max && ret_ghost->iov_max < PROOF_HOST_END);
	ret_ghost->iov = proof_piece + (pieces == ret_ghost->iov_max || pieces == PIECES_MAX) - pieces;
	q = quick_start(ret_ghost->iov, ret_ghost->iov_max);
	__CPROVER_assert(proof_sums_are_right(ret_ghost, &q), "a walk starts in such a state");
	q.out = ret_ghost->iov + pieces;
	q.readable_end = ret_ghost->iov + readable;
	q.bytes = nondet_u64();
	q.readable_bytes = nondet_u64();
	__CPROVER_assume(proof_sums_are_right(ret_ghost, &q));
	ret_ghost->before = q;
	return q;
}

/* One piece was added, or none: then its grant is the last. */
static void proof_check_quick(const struct proof_quick *ghost, const struct quick *q)
{
	const struct quick *before = &ghost->before;
	const struct proof_grant *grant = &proof_grants[proof_grant_count - 1];

	__CPROVER_assert(q->end == before->end, "the end of the array stays");
	__CPROVER_assert(proof_sums_are_right(ghost, q), "counts and sums are as they can be");
	if (q->out == before->out) {
		__CPROVER_assert(q->readable_end == before->readable_end, "no piece, no change");
		__CPROVER_assert(q->bytes == before->bytes, "and no more bytes");
		return;
	}
	__CPROVER_assert(q->out == before->out + 1, "there is one piece more");
	__CPROVER_assert(proof_grant_count, "it was granted");
	__CPROVER_assert((uint64_t)(uintptr_t)before->out->iov_base == grant->host, "where it is");
	__CPROVER_assert(before->out->iov_len == grant->len, "it is all that was granted");
	__CPROVER_assert(q->bytes == before->bytes + grant->len, "it is counted");
	if (grant->is_write) {
		__CPROVER_assert(q->readable_end == before->readable_end, "it is not readable");
		__CPROVER_assert(q->readable_bytes == before->readable_bytes, "nor counted so");
	} else {
		__CPROVER_assert(before->readable_end == before->out, "no writable one was before it");
		__CPROVER_assert(q->readable_end == q->out, "it is readable");
		__CPROVER_assert(q->readable_bytes == q->bytes, "and counted so");
	}
}

#endif /* PROOF_QUICK_H */
