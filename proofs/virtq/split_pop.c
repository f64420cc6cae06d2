// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * All of a pop from a split ring, of a queue of any size and at any place, for up to three
 * descriptors, direct or in a table (split_quick_step.c and split_walk_step.c have chains of any length):
 * - nothing is taken unless the available index says that there is something, and not if it says that there
 *   is more than the ring has;
 * - the head is inside the table, and not in flight;
 * - what is handed out is what was gathered: the first pieces are readable, the others writable, and sums
 *   are theirs; the chain is in flight then, and the queue at the next one;
 * - after anything else but a violation nothing has changed, and after a violation the queue is broken.
 *
 * Spec: VIRTIO 1.3, 2.7.5, 2.7.6, 2.7.13.
 *
 * PROOF options --unwind 4 --unwindset cvmm_virtq_split_pop.0:2,fetch_le64.0:6,proof_read.0:6 --object-bits 12
 * PROOF instance -DPROOF_DIRECT=1
 * PROOF instance -DPROOF_DIRECT=0
 * MUTATION lib/virtq/virtq_split.c s/(uint16_t)(idx - vq->next_avail) > vq->size/0/
 * MUTATION lib/virtq/virtq_split.c s/if (CVMM_UNLIKELY(head >= vq->size))/if (0)/
 * MUTATION lib/virtq/virtq_split.c s/if (CVMM_UNLIKELY(vq->slots\[head\].descs))/if (0)/
 * MUTATION lib/virtq/virtq_split.c s/(ret == 1));/1);/
 * MUTATION lib/virtq/virtq_split.c s/AVAIL_IDX, __ATOMIC_ACQUIRE/AVAIL_IDX, __ATOMIC_RELAXED/
 * MUTATION lib/virtq/virtq_walk.h s/->writable = q->readable_end;/->writable = iov;/
 * MUTATION lib/virtq/virtq_walk.h s/vq->in_flight++;/;/
 * MUTATION lib/virtq/virtq_walk.h s/(uint32_t)(walk->bytes - walk->readable_bytes),/(uint32_t)walk->bytes,/
 */
#define PROOF_GRANTS 5
#define PROOF_ARRAY 4
#define PROOF_FETCHES 6
#include "proof_pop.h"

#include "../../lib/virtq/virtq_split.c"

void harness(void)
{
	struct cvmm_virtq vq = proof_any_queue(false), before = vq;
	struct cvmm_virtq_chain chain = { 0 };
	uint16_t witness = nondet_u16();
	struct cvmm_virtq_slot other;
	int ret;

	proof_queue = &vq;
	proof_iov_max = nondet_u64();
	__CPROVER_assume(proof_iov_max <= PROOF_ARRAY);
	__CPROVER_assume(witness < vq.size);
	other = vq.slots[witness];

	ret = cvmm_virtq_split_pop(&vq, (struct iovec *)(uintptr_t)PROOF_IOV, proof_iov_max, true,
				   &chain);
	proof_check_pop(ret, &before, &vq, &chain, witness, other);
	if (vq.avail_seen != before.avail_seen) {
		proof_check_acquired();
		__CPROVER_assert((uint16_t)(vq.avail_seen - before.next_avail) <= vq.size,
				 "never more than the ring has are expected");
	}
	if (ret != 1)
		return;
	__CPROVER_assert(vq.next_avail == (uint16_t)(before.next_avail + 1), "one was taken");
	__CPROVER_assert(before.next_avail != vq.avail_seen, "there was one");
	__CPROVER_assert(vq.slots[chain.head].descs == 1, "its head stands for it");
	__CPROVER_assert(vq.descs_in_use == before.descs_in_use + 1, "it counts as one");
}
