// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Whether the driver of a packed ring of any size is notified, by cvmm_virtq_should_notify() behind a
 * cvmm_virtq_push(), or behind any number of places used since the last decision. The flags of the used
 * descriptor are stored before the full fence, and the driver's event suppression structure is loaded, all
 * at once, after it. It must be notified if that enables it, or if it names one of the places used since;
 * it should not be if that disables it, or names a place that is none of them, where places and wrap
 * counters are numbers modulo twice the size. It is notified where the structure cannot be read.
 *
 * Assumed: the queue's state as proof_any_queue() has it; mem answers anything (proofs/mem). Places that
 * the driver names outside of the ring are its mistake, of which nothing is proved but that nothing is
 * accessed.
 *
 * Spec: VIRTIO 1.3, 2.8.10, 2.8.10.1, 2.8.14, 2.8.21.
 *
 * PROOF options --unwind 5
 * PROOF instance -DPUSH=1
 * PROOF instance -DPUSH=0
 * MUTATION lib/virtq/virtq_packed.c s/behind <= count/behind < count/
 * MUTATION lib/virtq/virtq_packed.c s/behind <= count/behind <= count + 1/
 * MUTATION lib/virtq/virtq_packed.c s/if (wrap != vq->used_wrap)/if (0)/
 * MUTATION lib/virtq/virtq_packed.c s/distance > 0 ? distance : distance + 2 \* vq->size/distance/
 * MUTATION lib/virtq/virtq_packed.c s,return true; .. one too many,return false; //,
 * MUTATION lib/virtq/virtq.c s/full_fence();/;/
 * MUTATION lib/virtq/virtq.c s/vq->unsignalled = 0;/;/
 */
#include "proof_common.h"

#include "../../lib/virtq/virtq_packed.c"

/* How many places ago the event's was used: from 1 to twice the size, where the next one to come is. */
static uint32_t places_ago(const struct cvmm_virtq *vq, uint32_t off, bool wrap)
{
	uint32_t turn = vq->size;
	uint32_t next = vq->next_used + (vq->used_wrap ? turn : 0);
	uint32_t event = off + (wrap ? turn : 0);

	return next > event ? next - event : next + 2 * turn - event;
}

static void check_decision(const struct cvmm_virtq *vq, uint32_t count, uint32_t event, bool answer)
{
	uint32_t off = event & 0x7fff, flags = event >> 16 & 3;

	if (flags == CVMM_VIRTQ_EVENT_DISABLE)
		__CPROVER_assert(!answer, "a driver that wants none gets none");
	else if (flags != CVMM_VIRTQ_EVENT_DESC)
		__CPROVER_assert(answer, "a driver that wants all gets all");
	else if (!(vq->flags & VIRTQ_EVENT_IDX))
		__CPROVER_assert(answer, "a driver that may not choose gets all");
	else if (off < vq->size)
		__CPROVER_assert(answer == (places_ago(vq, off, event & 0x8000) <= count),
				 "a driver gets one for the place that it has named, and no other");
}

/* Stores, the fence, and the load. */
static void check_order(unsigned int stores, bool is_loaded)
{
	const struct proof_event *event = proof_events;

	for (unsigned int i = 0; i < stores; i++)
		__CPROVER_assert(event[i].kind == PROOF_STORE, "used descriptors come first");
	__CPROVER_assert(proof_event_count == stores + 1 + is_loaded, "there is no other access");
	__CPROVER_assert(event[stores].kind == PROOF_FENCE, "then the fence");
	if (is_loaded)
		__CPROVER_assert(event[stores + 1].kind == PROOF_LOAD &&
					 event[stores + 1].area == PROOF_DRIVER &&
					 event[stores + 1].bytes == 4,
				 "then all of what the driver says, at once");
}

void harness(void)
{
	struct cvmm_virtq vq = proof_any_queue(true);
	uint16_t head = nondet_u16();
	unsigned int stores = 0;
	uint32_t count;
	bool answer;

	proof_queue = &vq;
	if (PUSH) {
		__CPROVER_assume(vq.flags & VIRTQ_DIRECT);
		__CPROVER_assume(head < vq.size && vq.slots[head].descs &&
				 vq.slots[head].descs <= vq.descs_in_use && vq.in_flight);
		count = vq.unsignalled + vq.slots[head].descs;
		count = count < UNSIGNALLED_MAX ? count : UNSIGNALLED_MAX;
		__CPROVER_assume(!cvmm_virtq_push(&vq, head, nondet_u32()));
		stores = 3;
		__CPROVER_assert(proof_event_count == stores &&
					 proof_events[2].order == __ATOMIC_RELEASE &&
					 proof_events[2].at % 16 == 14,
				 "flags are stored last");
	} else {
		count = vq.unsignalled;
	}
	__CPROVER_assert(vq.unsignalled == count, "places used are counted");

	answer = cvmm_virtq_should_notify(&vq);
	__CPROVER_assert(!vq.unsignalled, "the next decision is on what comes from now on");
	if (!count) {
		__CPROVER_assert(!answer && !proof_event_count, "nothing was used");
	} else if (proof_event_count == stores + 1) {
		check_order(stores, false);
		__CPROVER_assert(answer && !(vq.flags & VIRTQ_DIRECT),
				 "what cannot be known is yes");
	} else {
		check_order(stores, true);
		check_decision(&vq, count, (uint32_t)proof_events[stores + 1].value, answer);
	}
}
