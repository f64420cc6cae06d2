// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * A place of a packed ring and its wrap counter are together a number modulo twice the ring's size, for any
 * size, power of two or not: go_forward() and go_to_next_list() add the descriptors of a list to it, so that
 * the counter changes exactly when the end is crossed. Taking a list that check_list() lets through and
 * rewinding it is no change: next_avail, avail_wrap, pops, in_flight, descs_in_use and the state of each
 * slot are what they were.
 *
 * Assumed: the queue's state as proof_any_queue() has it, any slots, any of the maps in use, inflight
 * regions or none; a list has from 1 to size descriptors (packed_quick_step.c, packed_list_step.c).
 *
 * Spec: VIRTIO 1.3, 2.8.1.
 *
 * PROOF options --unwind 5
 * MUTATION lib/virtq/virtq_packed.c s/bool wrapped = next >= vq->size/bool wrapped = next > vq->size/
 * MUTATION lib/virtq/virtq_packed.c s/wrapped ? next - vq->size : next/next \& (vq->size - 1)/
 * MUTATION lib/virtq/virtq_packed.c s/vq->avail_wrap = !vq->avail_wrap/vq->avail_wrap = true/
 * MUTATION lib/virtq/virtq.c s/if (descs > vq->next_avail) {/if (descs >= vq->next_avail) {/
 * MUTATION lib/virtq/virtq.c s/if (descs > vq->next_avail) {/if (0) {/
 * MUTATION lib/virtq/virtq.c s/vq->descs_in_use -= slot->descs;/vq->descs_in_use--;/
 * MUTATION lib/virtq/virtq_walk.h s/vq->popped\[popped_slot(vq, vq->pops)\] = head/vq->popped[vq->pops \& (vq->size - 1)] = head/
 */
#include "proof_common.h"

#include "../../lib/virtq/virtq_packed.c"

static int regions;

void cvmm_virtq_inflight_took(struct cvmm_virtq *vq, uint16_t head, uint16_t descs)
{
	(void)vq;
	(void)head;
	(void)descs;
	regions++;
}

void cvmm_virtq_inflight_rewound(struct cvmm_virtq *vq, uint16_t head)
{
	(void)vq;
	(void)head;
	regions--;
}

/* Place and counter as a number, one turn behind the other. */
static uint32_t number(const struct cvmm_virtq *vq, uint16_t at, bool wrap)
{
	return at + (wrap ? vq->size : 0U);
}

/* @from and @descs, modulo twice the size. */
static uint32_t sum(const struct cvmm_virtq *vq, uint32_t from, uint32_t descs)
{
	return from + descs >= 2U * vq->size ? from + descs - 2U * vq->size : from + descs;
}

static void check_forward(struct cvmm_virtq vq, uint32_t descs)
{
	uint16_t at = nondet_u16();
	bool wrap = nondet_bool();
	uint32_t before;

	__CPROVER_assume(at < vq.size);
	before = number(&vq, at, wrap);
	if (go_forward(&vq, &at, descs))
		wrap = !wrap;
	__CPROVER_assert(at < vq.size, "the place is in the ring");
	__CPROVER_assert(number(&vq, at, wrap) == sum(&vq, before, descs),
			 "it is so many places on");
}

static bool is_same_slot(const struct cvmm_virtq_slot *a, const struct cvmm_virtq_slot *b)
{
	return a->bytes == b->bytes && a->descs == b->descs && a->map == b->map &&
	       a->done == b->done && a->again == b->again;
}

static void check_taken(const struct cvmm_virtq *before, const struct cvmm_virtq *vq,
			uint32_t descs)
{
	__CPROVER_assert(vq->next_avail < vq->size, "the next list is in the ring");
	__CPROVER_assert(number(vq, vq->next_avail, vq->avail_wrap) ==
				 sum(vq, number(vq, before->next_avail, before->avail_wrap), descs),
			 "it is behind this one");
	__CPROVER_assert(vq->descs_in_use <= vq->size && vq->in_flight <= vq->descs_in_use,
			 "not more is in flight than the ring has");
}

void harness(void)
{
	struct cvmm_virtq vq = proof_any_queue(true), before;
	uint16_t head = nondet_u16(), descs = nondet_u16(), other = nondet_u16();
	struct cvmm_virtq_slot of_other, of_head;

	proof_queue = &vq;
	vq.extras = (nondet_bool() ? VIRTQ_EXTRA_OLD_MAPS : 0) |
		    (nondet_bool() ? VIRTQ_EXTRA_INFLIGHT : 0);
	vq.map = nondet_u8();
	__CPROVER_assume(vq.map < CVMM_VIRTQ_MAPS_MAX);
	__CPROVER_assume(descs && descs <= vq.size);
	check_forward(vq, descs);

	before = vq;
	__CPROVER_assume(!check_list(&vq, head, descs));
	__CPROVER_assume(other < vq.size && other != head);
	of_other = vq.slots[other];
	note_pop(&vq, head, descs, nondet_u32(), false);
	go_to_next_list(&vq, descs);
	check_taken(&before, &vq, descs);
	__CPROVER_assert(vq.pops == (uint16_t)(before.pops + 1), "there is one pop more");

	__CPROVER_assert(!cvmm_virtq_rewind(&vq, head), "what was popped last can be rewound");
	of_head = vq.slots[head];
	__CPROVER_assert(vq.next_avail == before.next_avail && vq.avail_wrap == before.avail_wrap,
			 "the queue is where it was");
	__CPROVER_assert(vq.pops == before.pops && vq.in_flight == before.in_flight &&
				 vq.descs_in_use == before.descs_in_use,
			 "its counts are what they were");
	__CPROVER_assert(!of_head.descs && !of_head.done, "the list is not in flight");
	__CPROVER_assert(is_same_slot(&of_other, &vq.slots[other]), "others stay as they are");
	__CPROVER_assert(vq.next_used == before.next_used && vq.used_wrap == before.used_wrap &&
				 vq.unsignalled == before.unsignalled && vq.usable &&
				 vq.extras == before.extras,
			 "and so does the rest");
	__CPROVER_assert(!regions, "a region knows of both");
	__CPROVER_assert(!proof_event_count && !proof_fetch_count, "no memory is accessed");
}
