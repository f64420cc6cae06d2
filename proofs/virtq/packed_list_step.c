// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * One step of the general walk along a list of a packed ring, from any state that a walk can be in, in a
 * queue of any size: through host addresses, through the map, or along the copy of a list that is popped
 * again. All of what the copy of the descriptor says, and mem has granted for its direction, is added to
 * the caller's array, inside of it; readable pieces come before writable ones, descriptors of no bytes
 * among them; sums of bytes cannot wrap; the next descriptor is the one behind it in the ring, round its
 * end, each half of which is fetched exactly once, flags with acquire before the address; a list has no
 * more descriptors than the ring, and none behind the first that refers to a table; if there is another
 * step, the walk is in such a state again and nearer to its end. A violation is returned only if the copy
 * of the descriptor is such, and another error only if mem returned it.
 *
 * Assumed: the queue's state as proof_any_queue() has it; mem answers anything (proofs/mem); the copies of
 * lists that are popped again are anything.
 *
 * Spec: VIRTIO 1.3, 2.8.5, 2.8.6, 2.8.8, 2.8.19; 2.7.4.2.
 *
 * PROOF options --unwind 5
 * PROOF instance -DDIRECT=1 -DAGAIN=0
 * PROOF instance -DDIRECT=1 -DAGAIN=1
 * PROOF instance -DDIRECT=0 -DAGAIN=0
 * MUTATION lib/virtq/virtq_packed.c s/if (CVMM_UNLIKELY(list->descs == vq->size))/if (0)/
 * MUTATION lib/virtq/virtq_packed.c s/if (CVMM_UNLIKELY(list->desc.flags & CVMM_VIRTQ_DESC_F_INDIRECT))/if (0)/
 * MUTATION lib/virtq/virtq_packed.c s/go_forward(vq, &list->i, 1);/list->i++;/
 * MUTATION lib/virtq/virtq_packed.c s/ret == -EAGAIN ? ret : CVMM_VIRTQ_BAD_AREA/ret/
 * MUTATION lib/virtq/virtq_packed.c s/.len = cvmm_le32_get(copy.len)/.len = 1/
 * MUTATION lib/virtq/virtq_walk.h s/if (CVMM_UNLIKELY(walk->saw_writable && !writable))/if (0)/
 * MUTATION lib/virtq/virtq_walk.h s/walk->iov_max - walk->pieces, &count/walk->iov_max, \&count/
 * MUTATION lib/virtq/virtq_walk.h s/CVMM_UNLIKELY(walk->pieces == walk->iov_max)/0/
 * MUTATION lib/virtq/virtq_walk.h s/walk->bytes += desc->len/walk->bytes += desc->len + 1/
 */
#include "proof_walk.h"

#include "../../lib/virtq/virtq_packed.c"

/* The next descriptor of a copy: whatever it is, and wherever the one behind it. */
static struct cvmm_virtq_packed_desc copied;
static uint16_t copied_next;
static unsigned int copies;

struct cvmm_virtq_packed_desc cvmm_virtq_inflight_desc(const struct cvmm_virtq *vq, uint16_t *entry)
{
	(void)vq;
	copied = (struct cvmm_virtq_packed_desc){
		.addr = cvmm_le64_from(nondet_u64()),
		.len = cvmm_le32_from(nondet_u32()),
		.id = cvmm_le16_from(nondet_u16()),
		.flags = cvmm_le16_from(nondet_u16()),
	};
	copied_next = nondet_u16();
	*entry = copied_next;
	copies++;
	return copied;
}

/* What was fetched, from behind @before in the ring, is the walk's. */
static void check_next(const struct cvmm_virtq *vq, const struct list *before,
		       const struct list *list)
{
	uint32_t next = before->i + 1U < vq->size ? before->i + 1U : 0;
	const struct proof_event *event = proof_events;
	uint64_t addr, rest;

	__CPROVER_assert(list->descs == before->descs + 1, "it is nearer to its end");
	if (AGAIN) {
		__CPROVER_assert(copies == 1 && !proof_event_count && !proof_fetch_count,
				 "nothing but the copy is looked at, once");
		__CPROVER_assert(list->i == copied_next, "the walk goes on behind it");
		addr = cvmm_le64_get(copied.addr);
		rest = cvmm_le32_get(copied.len) | (uint64_t)cvmm_le16_get(copied.id) << 32 |
		       (uint64_t)cvmm_le16_get(copied.flags) << 48;
	} else {
		__CPROVER_assert(!copies && list->i == next, "the walk is at the next place");
		__CPROVER_assert(proof_event_count == (DIRECT ? 1 : 2) &&
					 proof_fetch_count == (DIRECT ? 1 : 0),
				 "each half is fetched once");
		__CPROVER_assert(event->kind == PROOF_LOAD && event->area == PROOF_DESC &&
					 event->at == 16 * (uint64_t)next + 8 &&
					 event->bytes == 8 && event->order == __ATOMIC_ACQUIRE,
				 "that with the flags first, with acquire");
		rest = event->value;
		__CPROVER_assert((DIRECT ? proof_fetched[0].at - PROOF_HOST(PROOF_DESC)
					 : event[1].at) == 16 * (uint64_t)next,
				 "then the address");
		addr = DIRECT ? proof_fetched[0].value : event[1].value;
	}
	__CPROVER_assert(list->desc.addr == addr && list->desc.len == (uint32_t)rest &&
				 list->id == (uint16_t)(rest >> 32) &&
				 list->desc.flags == (uint16_t)(rest >> 48),
			 "the walk has what was fetched");
}

static bool may_fail(const struct cvmm_virtq *vq, const struct walk *walk,
		     const struct list *before, const struct list *list, int ret)
{
	bool goes_on = before->desc.flags & CVMM_VIRTQ_DESC_F_NEXT;

	switch (ret) {
	case CVMM_VIRTQ_LOOP:
		return goes_on && before->descs == vq->size;
	case CVMM_VIRTQ_INDIRECT_IN_CHAIN:
		return goes_on && list->descs > before->descs &&
		       (list->desc.flags & CVMM_VIRTQ_DESC_F_INDIRECT);
	case CVMM_VIRTQ_BAD_AREA:
		return goes_on && !DIRECT && proof_answers.load == -EFAULT;
	case -EAGAIN:
		if (goes_on && !DIRECT && proof_answers.load == -EAGAIN)
			return true;
		break;
	default:
		break;
	}
	return proof_buffer_may_fail(walk, &before->desc, ret);
}

void harness(void)
{
	struct cvmm_virtq vq = proof_any_queue(true);
	struct list list = { 0 }, before;
	struct walk walk, walk_before;
	int ret;

	proof_queue = &vq;
	__CPROVER_assume(AGAIN || !(vq.flags & VIRTQ_DIRECT) == !DIRECT);
	list.desc = (struct desc){ nondet_u64(), nondet_u32(), nondet_u16(), 0 };
	list.i = nondet_u16();
	list.id = nondet_u16();
	list.descs = nondet_u32();
	__CPROVER_assume(AGAIN || list.i < vq.size);
	__CPROVER_assume(list.descs && list.descs <= vq.size);
	__CPROVER_assume(!(list.desc.flags & CVMM_VIRTQ_DESC_F_INDIRECT));
	walk = proof_any_walk(&vq);
	before = list;
	walk_before = walk;

	ret = list_step(&walk, &list, DIRECT, AGAIN);
	if (ret && ret != WALK_MORE) {
		__CPROVER_assert(may_fail(&vq, &walk_before, &before, &list, ret),
				 "the result says what is wrong");
		return;
	}
	proof_check_added(&walk_before, &walk, &before.desc, proof_grant_count);
	__CPROVER_assert((ret == WALK_MORE) == !!(before.desc.flags & CVMM_VIRTQ_DESC_F_NEXT),
			 "the list ends where its flags say");
	if (ret) {
		check_next(&vq, &before, &list);
		__CPROVER_assert(list.descs <= vq.size && (AGAIN || list.i < vq.size),
				 "it is a list that the ring has room for");
		__CPROVER_assert(!(list.desc.flags & CVMM_VIRTQ_DESC_F_INDIRECT), "of no table");
	} else {
		__CPROVER_assert(!proof_event_count && !proof_fetch_count && !copies,
				 "nothing is fetched behind the end");
		__CPROVER_assert(list.id == before.id && list.descs == before.descs,
				 "the last descriptor's id is the list's");
	}
}
