// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Asking the driver of a packed ring of any size for notifications, or for none: the device's event
 * suppression structure, all of it, is stored at once, as cvmm_virtq_enable_notifications() and
 * cvmm_virtq_disable_notifications() say: with the feature EVENT_IDX the place and wrap counter of the next
 * list, and else that all are wanted; or none. It is stored before a full fence, and the flags of the next
 * descriptor are loaded after that, so that no list that becomes available meanwhile is missed: then the
 * answer is true, and so it is where either cannot be done. A question that could not be stored is
 * remembered.
 *
 * Assumed: the queue's state as proof_any_queue() has it; mem answers anything (proofs/mem).
 *
 * Spec: VIRTIO 1.3, 2.8.1, 2.8.10, 2.8.10.1, 2.8.14.
 *
 * PROOF options --unwind 5
 * PROOF instance -DON=0
 * PROOF instance -DON=1
 * MUTATION lib/virtq/virtq_packed.c s/(vq->avail_wrap ? CVMM_VIRTQ_EVENT_WRAP : 0)/(vq->used_wrap ? CVMM_VIRTQ_EVENT_WRAP : 0)/
 * MUTATION lib/virtq/virtq_packed.c s/event = vq->next_avail | /event = vq->next_used | /
 * MUTATION lib/virtq/virtq_packed.c s/if (on && (vq->flags & VIRTQ_EVENT_IDX)) {/if (on) {/
 * MUTATION lib/virtq/virtq_packed.c s/return is_available(flags, vq->avail_wrap);/return is_available(flags, true);/
 * MUTATION lib/virtq/virtq_packed.c s/desc_at(vq->next_avail) + PACKED_FLAGS/desc_at(vq->next_used) + PACKED_FLAGS/
 * MUTATION lib/virtq/virtq.c s/full_fence();/;/
 * MUTATION lib/virtq/virtq.c s/vq->extras |= VIRTQ_EXTRA_UNASKED;/;/
 */
#include "proof_common.h"

#include "../../lib/virtq/virtq_packed.c"

static uint32_t expected_event(const struct cvmm_virtq *vq)
{
	if (!ON)
		return 1U << 16;
	if (!(vq->flags & VIRTQ_EVENT_IDX))
		return 0;
	return 2U << 16 | vq->next_avail | (vq->avail_wrap ? 1U << 15 : 0);
}

static bool is_next(const struct cvmm_virtq *vq, uint64_t flags)
{
	bool avail = flags & 0x80, used = flags & 0x8000;

	return avail == vq->avail_wrap && used != vq->avail_wrap;
}

static void check_enabled(const struct cvmm_virtq *vq, bool answer)
{
	const struct proof_event *look = &proof_events[2];

	__CPROVER_assert(proof_event_count > 1 && proof_events[1].kind == PROOF_FENCE,
			 "the fence is behind the question");
	if (proof_event_count == 2) {
		__CPROVER_assert(answer && !(vq->flags & VIRTQ_DIRECT),
				 "what cannot be known is yes");
		return;
	}
	__CPROVER_assert(look->kind == PROOF_LOAD && look->area == PROOF_DESC &&
				 look->at == 16 * (uint64_t)vq->next_avail + 14 && look->bytes == 2,
			 "then the next descriptor's flags are looked at");
	__CPROVER_assert(answer == is_next(vq, look->value), "they say whether it is available");
	__CPROVER_assert(proof_event_count == 3, "there is no other access");
}

void harness(void)
{
	struct cvmm_virtq vq = proof_any_queue(true), before;
	bool answer = false;

	proof_queue = &vq;
	vq.extras = nondet_bool() ? VIRTQ_EXTRA_UNASKED : 0;
	before = vq;
	if (ON)
		answer = cvmm_virtq_enable_notifications(&vq);
	else
		cvmm_virtq_disable_notifications(&vq);
	__CPROVER_assert(vq.next_avail == before.next_avail && vq.avail_wrap == before.avail_wrap &&
				 vq.next_used == before.next_used &&
				 vq.unsignalled == before.unsignalled && vq.usable,
			 "where the queue is stays");
	if (!proof_event_count) {
		__CPROVER_assert(!(vq.flags & VIRTQ_DIRECT), "only the map fails");
		__CPROVER_assert(!ON || answer, "the caller must go on");
		__CPROVER_assert(!ON || (vq.extras & VIRTQ_EXTRA_UNASKED), "it is remembered");
		return;
	}
	proof_check_store(0, PROOF_DEVICE, 0, 4, expected_event(&before));
	__CPROVER_assert(!vq.extras, "the driver was asked");
	if (ON)
		check_enabled(&vq, answer);
	else
		__CPROVER_assert(proof_event_count == 1, "there is no other access");
}
