// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Asking the driver of a split ring for notifications, and asking it not to: what is stored, and the look behind
 * the fence that follows. With EVENT_IDX it is the index of the entry that would come next, else the
 * flag. Nothing that comes between the last pop and the store is missed: the caller is told to look
 * again if the available index, loaded behind the fence, is not where the queue is; and also if the
 * driver could not be asked.
 *
 * Spec: VIRTIO 1.3, 2.7.10.
 *
 * PROOF options --unwind 6
 * MUTATION lib/virtq/virtq_split.c s/return idx != vq->next_avail;/return idx != vq->avail_seen;/
 * MUTATION lib/virtq/virtq_split.c s/uint16_t value = vq->next_avail;/uint16_t value = vq->avail_seen;/
 * MUTATION lib/virtq/virtq_split.c s/value = on ? 0 :/value = !on ? 0 :/
 * MUTATION lib/virtq/virtq_split.c s,return true; .. pop will,return false; //,
 * MUTATION lib/virtq/virtq.c s,return true; .. not to be waited,return false; //,
 * MUTATION lib/virtq/virtq.c s/full_fence();/;/
 */
#include "proof_common.h"

#include "../../lib/virtq/virtq_split.c"

void harness(void)
{
	struct cvmm_virtq vq = proof_any_queue(false), before = vq;
	bool event_idx = vq.flags & VIRTQ_EVENT_IDX, look = false, on = nondet_bool();
	uint64_t at = event_idx ? 4 + 8 * vq.size : 0;

	proof_queue = &vq;
	if (on)
		look = cvmm_virtq_enable_notifications(&vq);
	else
		cvmm_virtq_disable_notifications(&vq);
	__CPROVER_assert(vq.next_avail == before.next_avail && vq.usable, "the queue goes on");
	if (!on && event_idx) {
		__CPROVER_assert(!proof_event_count, "the event index stays behind by itself");
		return;
	}
	if (!proof_event_count) {
		__CPROVER_assert(look || !on, "who cannot be asked is not waited for");
		__CPROVER_assert(!on || (vq.extras & VIRTQ_EXTRA_UNASKED), "and is asked again");
		return;
	}
	proof_check_store(0, PROOF_DEVICE, at, 2, event_idx ? before.next_avail : !on);
	if (!on) {
		__CPROVER_assert(proof_event_count == 1, "nothing else is done");
		return;
	}
	__CPROVER_assert(proof_events[1].kind == PROOF_FENCE, "a fence is behind the store");
	if (proof_event_count == 2) {
		__CPROVER_assert(look, "what cannot be known is looked at");
		return;
	}
	__CPROVER_assert(proof_event_count == 3 && proof_events[2].kind == PROOF_LOAD &&
				 proof_events[2].area == PROOF_DRIVER && proof_events[2].at == 2,
			 "behind the fence it looks at the index");
	__CPROVER_assert(look == (proof_events[2].value != before.next_avail),
			 "it is told whether there is more");
}
