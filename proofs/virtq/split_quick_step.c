// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * One step of the quick walk along a chain of a split ring, from any state that a walk can be in, in a queue
 * of any size: descriptors are fetched only from inside the ring or the table; what is written to the
 * caller's array is one piece inside of it, which is all that mem has granted, for the direction that its
 * place says; readable pieces come before writable ones; and if there is another step, the walk is in such
 * a state again and nearer to its end. A walk starts in such a state (split_pop.c), and so does all of
 * this for chains of any length.
 *
 * Spec: VIRTIO 1.3, 2.7.4.2, 2.7.5.1, 2.7.5.3.
 *
 * PROOF options --unwind 5
 * MUTATION lib/virtq/virtq_split.c s/at->i >= at->entries || !--at->left/!--at->left/
 * MUTATION lib/virtq/virtq_split.c s/at->i >= at->entries || !--at->left/at->i >= at->entries/
 * MUTATION lib/virtq/virtq_split.c s/at->entries = (uint32_t)rest/at->entries = 2 * (uint32_t)rest/
 * MUTATION lib/virtq/virtq_split.c s/if (at->table != vq->desc_ring)/if (0)/
 * MUTATION lib/virtq/virtq_walk.h s/!len || q->out == q->end/!len/
 * MUTATION lib/virtq/virtq_walk.h s/if (CVMM_UNLIKELY(q->readable_end != q->out))/if (0)/
 * MUTATION lib/virtq/virtq_walk.h s/piece_put(q->out, host, len)/piece_put(q->out, host, len + 1)/
 * MUTATION lib/virtq/virtq_walk.h s/cvmm_gpa_from(addr), len, writable/cvmm_gpa_from(addr), len, false/
 */
#include "proof_quick.h"

#include "../../lib/virtq/virtq_split.c"

static void check_position(const struct cvmm_virtq *vq, const struct quick_position *at)
{
	const struct proof_grant *grant = &proof_grants[0]; /* that of a piece comes behind it */

	if (at->table == vq->desc_ring) {
		__CPROVER_assert(at->entries == vq->size, "the ring has as many as the queue");
	} else {
		__CPROVER_assert(proof_grant_count && (uint64_t)(uintptr_t)at->table == grant->host,
				 "the table is what mem granted");
		__CPROVER_assert(!grant->is_write && at->entries == grant->len / 16,
				 "and all of it");
	}
	__CPROVER_assert(at->i < at->entries, "the next descriptor is in the table");
	__CPROVER_assert(at->left && at->left <= at->entries,
			 "some are left, not more than it has");
}

/* In the ring, or in a table that mem has granted. */
static struct quick_position any_position(const struct cvmm_virtq *vq)
{
	struct quick_position at = { vq->desc_ring, vq->size, nondet_u32(), nondet_u32() };

	if (nondet_bool()) {
		at.entries = nondet_u32();
		__CPROVER_assume(at.entries && at.entries <= CVMM_VIRTQ_INDIRECT_MAX);
		at.table = proof_ptr(vq->mem, cvmm_gpa_from(nondet_u64()),
				     at.entries * UINT64_C(16), false);
		__CPROVER_assume(at.table && at.table != vq->desc_ring);
	}
	__CPROVER_assume(at.i < at.entries && at.left && at.left <= at.entries);
	return at;
}

/* Steps that there can be: of the ring's chain, and of one table behind it. */
static uint64_t measure(const struct cvmm_virtq *vq, const struct quick_position *at)
{
	return at->left + (at->table == vq->desc_ring ? UINT64_C(1) << 16 : 0);
}

void harness(void)
{
	struct cvmm_virtq vq = proof_any_queue(false);
	struct quick_position at, before;
	struct proof_quick ghost;
	struct quick q;
	int ret;

	proof_queue = &vq;
	__CPROVER_assume(vq.flags & VIRTQ_DIRECT);
	q = proof_any_quick(&ghost);
	at = any_position(&vq);
	before = at;

	ret = quick_step(&vq, &q, &at);
	if (ret != WALK_MORE && ret)
		return;
	proof_check_quick(&ghost, &q);
	if (ret)
		check_position(&vq, &at);
	__CPROVER_assert(!ret || measure(&vq, &at) < measure(&vq, &before),
			 "it is nearer to its end");
}
