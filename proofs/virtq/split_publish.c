// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * What a push to a split ring of any size publishes, of one to three elements, directly or through the map: at
 * each place behind the last, modulo the size, the head and the length; behind all of these stores, with
 * release, the index that many further; and nothing else. If an access fails the driver sees nothing of
 * it: the index, ours and the driver's, is as before.
 *
 * Spec: VIRTIO 1.3, 2.7.8, 2.7.8.2, 2.7.14.
 *
 * PROOF instance -DCOUNT=1
 * PROOF instance -DCOUNT=3
 * PROOF options --unwind 10
 * MUTATION lib/virtq/virtq_split.c s/, (uint16_t)(vq->next_used + i));/, vq->next_used);/
 * MUTATION lib/virtq/virtq_split.c s/__ATOMIC_RELEASE, direct);/__ATOMIC_RELAXED, direct);/
 * MUTATION lib/virtq/virtq_split.c s/(uint16_t)(vq->next_used + count);/(uint16_t)(vq->next_used + 1);/
 * MUTATION lib/virtq/virtq_split.c s/i < count && !ret/i < count/
 * MUTATION lib/virtq/virtq_split.c s/(uint64_t)used\[i\].len_bytes << 32/0/
 * MUTATION lib/virtq/virtq_split.c s/USED_IDX, next/USED_FLAGS, next/
 */
#include "proof_pop.h"

#include "../../lib/virtq/virtq_split.c"

void harness(void)
{
	struct cvmm_virtq vq = proof_any_queue(false), before = vq;
	struct cvmm_virtq_used used[COUNT];
	uint16_t next = (uint16_t)(vq.next_used + COUNT);
	unsigned int stores = 0;
	int ret;

	proof_queue = &vq;
	__CPROVER_assume(COUNT <= vq.size);
	for (int i = 0; i < COUNT; i++)
		used[i] = (struct cvmm_virtq_used){ nondet_u16(), nondet_u32() };

	ret = cvmm_virtq_split_publish(&vq, used, COUNT);
	if (ret) {
		for (unsigned int i = 0; i < proof_event_count; i++)
			__CPROVER_assert(proof_events[i].at >= USED_RING, "the index stays");
		__CPROVER_assert(vq.next_used == before.next_used, "so does ours");
		return;
	}
	for (int i = 0; i < COUNT; i++) {
		uint64_t slot = (uint16_t)(before.next_used + i) % before.size;

		proof_check_store(stores++, PROOF_DEVICE, 4 + 8 * slot, 4, used[i].head);
		proof_check_store(stores++, PROOF_DEVICE, 8 + 8 * slot, 4, used[i].len_bytes);
	}
	proof_check_store(stores++, PROOF_DEVICE, 2, 2, next);
	__CPROVER_assert(proof_events[stores - 1].order == __ATOMIC_RELEASE, "it hands them over");
	__CPROVER_assert(proof_event_count == stores, "nothing else is stored");
	__CPROVER_assert(vq.next_used == next, "we are behind them");
}
