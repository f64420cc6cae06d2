// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * A rewind undoes the newest pop, and no other, in a queue of any size and of either format: what a pop notes
 * (note_pop(), and the step of next_avail behind it) and cvmm_virtq_rewind() leave the places, the wrap
 * counter, the counts and what is in flight as they were, for any head, of a chain popped from the ring or
 * again, at any place of the ring, with anything else in flight. So rewinds of several pops, newest first,
 * undo exactly these. A rewind of any other number than the newest pop's is refused with -EINVAL, and so is
 * that of the newest if it was rewound already; that of a broken queue with -EPROTO; and nothing changes.
 *
 * It is assumed that next_avail goes on by what the chain takes of the ring, as split_pop.c and
 * packed_pop.c prove.
 *
 * Spec: VIRTIO 1.3, 2.7.13, 2.8.21 (the device takes what is available in the order of the ring).
 *
 * PROOF options --unwind 5
 * PROOF limit 120
 * PROOF instance -DPACKED=0 -DAGAIN=0 -DEXTRAS=0 -DREFUSED
 * PROOF instance -DPACKED=1 -DAGAIN=0 -DEXTRAS=VIRTQ_EXTRA_INFLIGHT -DREFUSED
 * PROOF instance -DPACKED=1 -DAGAIN=1 -DEXTRAS=VIRTQ_EXTRA_INFLIGHT
 * PROOF instance -DPACKED=1 -DAGAIN=0 -DEXTRAS=VIRTQ_EXTRA_INFLIGHT
 * PROOF instance -DPACKED=0 -DAGAIN=1 -DEXTRAS=VIRTQ_EXTRA_INFLIGHT
 * PROOF instance -DPACKED=0 -DAGAIN=0 -DEXTRAS=0
 * MUTATION lib/virtq/virtq.c s/vq->next_avail--;/(void)0;/
 * MUTATION lib/virtq/virtq.c s/vq->pops--;/(void)0;/
 * MUTATION lib/virtq/virtq.c s/vq->pops - 1U)] != head/vq->pops)] != head/
 * MUTATION lib/virtq/virtq.c s/    !is_in_flight(vq, head))/    0)/
 * MUTATION lib/virtq/virtq.c s/if (again)/if (0)/
 * MUTATION lib/virtq/virtq.c s/if (descs > vq->next_avail)/if (descs >= vq->next_avail)/
 * MUTATION lib/virtq/virtq.c s/vq->avail_wrap = !vq->avail_wrap;/;/
 * MUTATION lib/virtq/virtq_walk.h s/vq->pops++;/vq->pops += 2;/
 */
#include "proof_books.h"

static int proof_tracked; /* chains that the region says are in flight, less those before */

void cvmm_virtq_inflight_took(struct cvmm_virtq *vq, uint16_t head, uint16_t descs)
{
	(void)vq;
	(void)head;
	(void)descs;
	proof_tracked++;
}

void cvmm_virtq_inflight_rewound(struct cvmm_virtq *vq, uint16_t head)
{
	proof_tracked -= !vq->slots[head].again;
}

#include "../../lib/virtq/virtq.c"

static void check_same(const struct cvmm_virtq *a, const struct cvmm_virtq *b)
{
	__CPROVER_assert(a->avail_wrap == b->avail_wrap && a->used_wrap == b->used_wrap,
			 "the wraps are");
	__CPROVER_assert(a->next_avail == b->next_avail && a->pops == b->pops, "the places are");
	__CPROVER_assert(a->in_flight == b->in_flight && a->descs_in_use == b->descs_in_use,
			 "the counts are");
	__CPROVER_assert(a->next_used == b->next_used && a->avail_seen == b->avail_seen &&
				 a->unsignalled == b->unsignalled,
			 "what it has nothing to do with is");
}

static void go_on(struct cvmm_virtq *vq, uint16_t descs)
{
	uint32_t next = (uint32_t)vq->next_avail + descs;
	bool wraps = PACKED && next >= vq->size;

	vq->next_avail = (uint16_t)(wraps ? next - vq->size : next);
	vq->avail_wrap = vq->avail_wrap != wraps;
}

void harness(void)
{
	struct cvmm_virtq vq = proof_any_books(PACKED), before = vq, between;
	uint16_t head = nondet_u16(), stranger = nondet_u16(), other = nondet_u16();
	struct cvmm_virtq_slot slot, other_slot;
	uint16_t descs = PACKED ? nondet_u16() : 1;
	bool is_broken = nondet_bool(), is_gone = nondet_bool();
	int ret;

	__CPROVER_assume(head < vq.size && other < vq.size && other != head);
	__CPROVER_assume(!vq.slots[head].descs && descs && descs <= vq.size - vq.descs_in_use);
	vq.extras = EXTRAS;
	other_slot = vq.slots[other];

	note_pop(&vq, head, descs, nondet_u32(), AGAIN);
	go_on(&vq, AGAIN ? 0 : descs);
#ifdef REFUSED
	if (is_gone) /* given back, or rewound before */
		vq.slots[head].descs = 0;
	slot = vq.slots[head];
	vq.usable = !is_broken;
	between = vq;
	__CPROVER_assume(is_broken || is_gone || stranger != head);
	ret = cvmm_virtq_rewind(&vq, stranger);
	__CPROVER_assert(ret == (is_broken ? -EPROTO : -EINVAL), "another is refused");
	check_same(&vq, &between);
	__CPROVER_assert(vq.slots[head].descs == slot.descs && vq.slots[head].bytes == slot.bytes,
			 "and the slot as it was");
#else
	__CPROVER_assert(!cvmm_virtq_rewind(&vq, head), "the newest can be rewound");
	check_same(&vq, &before);
	__CPROVER_assert(!vq.slots[head].descs && !vq.slots[head].done, "it is not in flight");
	__CPROVER_assert(!proof_tracked, "nor does the region say so");
	__CPROVER_assert(vq.slots[other].descs == other_slot.descs &&
				 vq.slots[other].bytes == other_slot.bytes &&
				 vq.slots[other].done == other_slot.done &&
				 vq.slots[other].again == other_slot.again,
			 "no other slot changes");
#endif
}
