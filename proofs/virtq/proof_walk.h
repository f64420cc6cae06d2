/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The state of the general walks of both formats: any that there can be, and what is true of it. */
#ifndef PROOF_WALK_H
#define PROOF_WALK_H

#include "proof_virtq.h"

#include "../../lib/virtq/virtq_walk.h"

static bool proof_walk_is_right(const struct walk *walk)
{
	return walk->iov_max <= PIECES_MAX && walk->iov_max <= proof_iov_max &&
	       walk->pieces <= walk->iov_max && walk->readable_pieces <= walk->pieces &&
	       walk->bytes <= (uint64_t)walk->pieces << 32 && walk->readable_bytes <= walk->bytes &&
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

/*
 * What a step that found nothing wrong has done: @len bytes in one direction were added, all of them
 * granted, as the pieces behind those before; or nothing, if there are none.
 */
static void proof_check_added(const struct walk *before, const struct walk *walk, uint64_t addr,
			      uint32_t len, bool writable)
{
	const struct proof_grant *grant = &proof_grants[proof_grant_count - 1];

	__CPROVER_assert(proof_walk_is_right(walk), "counts and sums are as they can be");
	__CPROVER_assert(walk->iov == before->iov && walk->iov_max == before->iov_max,
			 "the array stays");
	__CPROVER_assert(writable || !before->saw_writable, "no writable one was before it");
	__CPROVER_assert(walk->saw_writable == writable, "it is noted if it is writable");
	__CPROVER_assert(walk->bytes == before->bytes + len, "its bytes are counted");
	if (writable) {
		__CPROVER_assert(walk->readable_bytes == before->readable_bytes &&
					 walk->readable_pieces == before->readable_pieces,
				 "none of it is readable");
	} else {
		__CPROVER_assert(walk->readable_bytes == walk->bytes &&
					 walk->readable_pieces == walk->pieces,
				 "all of it is readable");
	}
	if (!len) {
		__CPROVER_assert(walk->pieces == before->pieces, "nothing adds no piece");
		return;
	}
	__CPROVER_assert(proof_grant_count && grant->gpa == addr && grant->len == len &&
				 grant->is_write == writable,
			 "mem has granted all of it, for this direction");
	__CPROVER_assert(walk->pieces > before->pieces, "there are more pieces");
	if (proof_piece.count)
		__CPROVER_assert(proof_piece.i == before->pieces && proof_piece.len == len &&
					 proof_piece.host == grant->host &&
					 walk->pieces == before->pieces + 1,
				 "the one piece is it");
}

#endif /* PROOF_WALK_H */
