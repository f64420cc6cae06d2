// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Whether the driver of a split ring is told, for any number of pushes since the last decision, through
 * cvmm_virtq_should_notify():
 * - MUST: with EVENT_IDX, if the index that the driver waits for is among those that were published since
 *   then; without, if it has not set NO_INTERRUPT;
 * - SHOULD NOT: in all other cases, and if nothing was pushed;
 * - the decision looks at memory once, behind a full fence, and so behind the store of the index: a driver
 *   that stores what it waits for, fences and reads the index misses nothing;
 * - if the driver's wish cannot be read, it is told: one too many does no harm;
 * - the decision is for what was pushed before it: the next one begins anew.
 *
 * Spec: VIRTIO 1.3, 2.7.7.2.
 *
 * PROOF options --unwind 6
 * MUTATION lib/virtq/virtq_split.c s/(uint16_t)(next - event - 1) < count/(uint16_t)(next - event) < count/
 * MUTATION lib/virtq/virtq_split.c s/(uint16_t)(next - event - 1) < count/(uint16_t)(next - event - 1) <= count/
 * MUTATION lib/virtq/virtq_split.c s/value \& CVMM_VIRTQ_AVAIL_F_NO_INTERRUPT/value/
 * MUTATION lib/virtq/virtq_split.c s,return true; .. one too many,return false; //,
 * MUTATION lib/virtq/virtq.c s/full_fence();/;/
 * MUTATION lib/virtq/virtq.c s/vq->unsignalled = 0;/;/
 */
#include "proof_common.h"

#include "../../lib/virtq/virtq_split.c"

void harness(void)
{
	struct cvmm_virtq vq = proof_any_queue(false), before = vq;
	bool event_idx = vq.flags & VIRTQ_EVENT_IDX, told, read;
	uint16_t k = nondet_u16(), value;

	proof_queue = &vq;
	told = cvmm_virtq_should_notify(&vq);
	__CPROVER_assert(!vq.unsignalled, "the next decision begins anew");
	__CPROVER_assert(vq.next_used == before.next_used, "nothing is published");
	if (!before.unsignalled) {
		__CPROVER_assert(!told && !proof_event_count, "nothing was pushed");
		return;
	}
	__CPROVER_assert(proof_event_count && proof_events[0].kind == PROOF_FENCE,
			 "it fences first");
	read = proof_event_count == 2;
	if (!read) {
		__CPROVER_assert(told && proof_event_count == 1, "what cannot be known is assumed");
		return;
	}
	value = (uint16_t)proof_events[1].value;
	__CPROVER_assert(proof_events[1].kind == PROOF_LOAD &&
				 proof_events[1].area == PROOF_DRIVER &&
				 proof_events[1].at == (event_idx ? 4 + 2 * before.size : 0),
			 "it looks at what the driver wishes");
	if (!event_idx) {
		__CPROVER_assert(told == !(value & 1), "the flag decides");
		return;
	}
	/* The indices of the elements since the last decision: next_used - 1, - 2, ... - unsignalled. */
	if (k < before.unsignalled && value == (uint16_t)(before.next_used - 1 - k))
		__CPROVER_assert(told, "MUST: the driver waits for one of them");
	if (told)
		__CPROVER_assert((uint16_t)(before.next_used - 1 - value) < before.unsignalled,
				 "SHOULD NOT: it waits for another");
}
