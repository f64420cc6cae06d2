// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * One step of the quick walk along a list of a packed ring, from any state that a walk can be in, in a
 * queue of any size: each half of the next descriptor is fetched exactly once, from inside the ring, which
 * wraps exactly at its end; what is written to the caller's array is one piece inside of it, which is all
 * of what the copy of the descriptor says and mem has granted, for the direction that its flags say;
 * readable pieces come before writable ones; a list has no more descriptors than the ring, and none behind
 * the first that refers to a table; and if there is another step, the walk is in such a state again and
 * nearer to its end. A walk starts in such a state (packed_pop.c), and so does all of this for lists of
 * any length.
 *
 * Assumed: the queue's state as proof_any_queue() has it; mem grants or refuses anything (proofs/mem).
 *
 * Spec: VIRTIO 1.3, 2.8.5, 2.8.6, 2.8.8, 2.8.19.
 *
 * PROOF options --unwind 5
 * MUTATION lib/virtq/virtq_packed.c s/if (at->p == vq->desc_ring + desc_at(vq->size))/if (0)/
 * MUTATION lib/virtq/virtq_packed.c s/at->descs++ == vq->size ||/at->descs++ == 0xffffffff ||/
 * MUTATION lib/virtq/virtq_packed.c s/at->rest = fetch_le64(at->p + PACKED_REST)/at->rest = fetch_le64(at->p + 24)/
 * MUTATION lib/virtq/virtq_packed.c s/ || (at->rest >> 48 & CVMM_VIRTQ_DESC_F_INDIRECT)//
 * MUTATION lib/virtq/virtq_packed.c s/if (!(at->rest >> 48 & CVMM_VIRTQ_DESC_F_NEXT))/if (0)/
 * MUTATION lib/virtq/virtq_walk.h s/!len || q->out == q->end/!len/
 * MUTATION lib/virtq/virtq_walk.h s/if (CVMM_UNLIKELY(q->readable_end != q->out))/if (0)/
 * MUTATION lib/virtq/virtq_walk.h s/cvmm_gpa_from(addr), len, writable/cvmm_gpa_from(addr), len, false/
 */
#include "proof_quick.h"

#include "../../lib/virtq/virtq_packed.c"

/* The piece is what the descriptor says, of which the walk has a copy. */
static void check_piece(const struct quick_list *of)
{
	const struct proof_grant *grant = &proof_grants[proof_grant_count - 1];

	__CPROVER_assert(proof_grant_count == 1, "mem was asked once");
	__CPROVER_assert(grant->gpa == of->addr && grant->len == (uint32_t)of->rest,
			 "for all of the descriptor's buffer");
	__CPROVER_assert(grant->is_write == (of->rest >> 48 & CVMM_VIRTQ_DESC_F_WRITE ? 1 : 0),
			 "for its direction");
}

/* The descriptor behind @i, and round the ring's end. */
static void check_fetches(const struct cvmm_virtq *vq, uint32_t i, const struct quick_list *at)
{
	uint32_t next = i + 1 < vq->size ? i + 1 : 0;
	uint64_t host = PROOF_HOST(PROOF_DESC) + 16 * (uint64_t)next;

	__CPROVER_assert(proof_fetch_count == 2, "each half is fetched once");
	__CPROVER_assert(proof_fetched[0].at == host + 8 && proof_fetched[0].value == at->rest,
			 "that with the flags first");
	__CPROVER_assert(proof_fetched[1].at == host && proof_fetched[1].value == at->addr,
			 "then the address");
	__CPROVER_assert((uint64_t)(uintptr_t)at->p == host, "the walk is there");
}

void harness(void)
{
	struct cvmm_virtq vq = proof_any_queue(true);
	struct quick_list at, before;
	struct proof_quick ghost;
	uint32_t i = nondet_u32();
	struct quick q;
	int ret;

	proof_queue = &vq;
	__CPROVER_assume(vq.flags & VIRTQ_DIRECT);
	__CPROVER_assume(i < vq.size);
	q = proof_any_quick(&ghost);
	at = (struct quick_list){ vq.desc_ring + desc_at(i), nondet_u64(), nondet_u64(),
				  nondet_u32() };
	__CPROVER_assume(at.descs && at.descs <= vq.size);
	__CPROVER_assume(!(at.rest >> 48 & CVMM_VIRTQ_DESC_F_INDIRECT));
	before = at;

	ret = quick_step(&vq, &q, &at);
	if (ret != WALK_MORE && ret)
		return;
	proof_check_quick(&ghost, &q);
	__CPROVER_assert(q.out == ghost.before.out + 1, "each descriptor has its piece");
	check_piece(&before);
	__CPROVER_assert(at.descs && at.descs <= vq.size,
			 "it is a list that the ring has room for");
	__CPROVER_assert(!(at.rest >> 48 & CVMM_VIRTQ_DESC_F_INDIRECT), "of no table");
	__CPROVER_assert((ret == WALK_MORE) == !!(before.rest >> 48 & CVMM_VIRTQ_DESC_F_NEXT),
			 "the list ends where its flags say");
	if (ret) {
		check_fetches(&vq, i, &at);
		__CPROVER_assert(at.descs == before.descs + 1, "it is nearer to its end");
	} else {
		__CPROVER_assert(!proof_fetch_count, "nothing is fetched behind the end");
		__CPROVER_assert(at.rest == before.rest && at.descs == before.descs,
				 "the last descriptor, which has the id, is the walk's");
	}
}
