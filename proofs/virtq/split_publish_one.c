// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The quick way for one element does what split_publish.c says of the other.
 *
 * Spec: VIRTIO 1.3, 2.7.8, 2.7.8.2, 2.7.14.
 *
 * PROOF options --unwind 6
 * MUTATION lib/virtq/virtq_walk.h s/used_entry_at(vq->next_used & (vq->size - 1U))/used_entry_at(vq->next_used)/
 * MUTATION lib/virtq/virtq_walk.h s/USED_IDX, vq->next_used, __ATOMIC_RELEASE/USED_IDX, vq->next_used, __ATOMIC_RELAXED/
 * MUTATION lib/virtq/virtq_walk.h s/host_put_u64(element, used->head/host_put_u64(element, 0/
 */
#include "proof_virtq.h"

#include "../../lib/virtq/virtq_walk.h"

void harness(void)
{
	struct cvmm_virtq vq = proof_any_queue(false), before = vq;
	struct cvmm_virtq_used used = { nondet_u16(), nondet_u32() };
	uint64_t slot = before.next_used % before.size;

	proof_queue = &vq;
	__CPROVER_assume(vq.flags & VIRTQ_DIRECT);
	cvmm_virtq_split_publish_one(&vq, &used);
	proof_check_store(0, PROOF_DEVICE, 4 + 8 * slot, 4, used.head);
	proof_check_store(1, PROOF_DEVICE, 8 + 8 * slot, 4, used.len_bytes);
	proof_check_store(2, PROOF_DEVICE, 2, 2, (uint16_t)(before.next_used + 1));
	__CPROVER_assert(proof_events[2].order == __ATOMIC_RELEASE, "it hands it over");
	__CPROVER_assert(proof_event_count == 3, "nothing else is stored");
	__CPROVER_assert(vq.next_used == (uint16_t)(before.next_used + 1), "we are behind it");
}
