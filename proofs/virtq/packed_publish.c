// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Giving lists back in a packed ring of any size, in batches of COUNT, or by
 * cvmm_virtq_packed_publish_one() (COUNT 0): exactly this is stored, in this order, and nothing else, so
 * that addresses stay as they are: length and id at the place of each used descriptor, inside the ring,
 * and, but for the first, its flags behind them with release; last the flags of the first descriptor,
 * with release. The flags are AVAIL and USED as the device's wrap counter is at that place, and WRITE
 * exactly if there are bytes. Each used descriptor is as many places behind the one before it as that
 * one's list has descriptors, and so is the next one to come; the wrap counter changes when the end is
 * crossed. Through the map, where stores can fail: then the flags of the first were not stored, and where
 * the next one comes stays; -EAGAIN means that nothing was stored, and any other failure breaks the queue.
 *
 * Assumed: the queue's state as proof_any_queue() has it; the ids are in flight, and different (checked by
 * cvmm_virtq_push() and cvmm_virtq_push_batch()); mem answers anything (proofs/mem).
 *
 * Spec: VIRTIO 1.3, 2.8.1, 2.8.4, 2.8.6, 2.8.8, 2.8.21.
 *
 * PROOF options --unwind 11 -DPROOF_EVENTS=10
 * PROOF instance -DCOUNT=0 -DDIRECT=1
 * PROOF instance -DCOUNT=1 -DDIRECT=1
 * PROOF instance -DCOUNT=1 -DDIRECT=0
 * PROOF instance -DCOUNT=3 -DDIRECT=1
 * PROOF instance -DCOUNT=3 -DDIRECT=0
 * PROOF instance -DCOUNT=2 -DDIRECT=1
 * PROOF instance -DCOUNT=2 -DDIRECT=0
 * MUTATION lib/virtq/virtq_packed.c s/if (i && !ret)/if (!ret)/
 * MUTATION lib/virtq/virtq_packed.c s/used_flags(&used\[i\], wrap), __ATOMIC_RELEASE/used_flags(\&used[i], wrap), __ATOMIC_RELAXED/
 * MUTATION lib/virtq/virtq_packed.c s/used_flags(&used\[0\], vq->used_wrap)/used_flags(\&used[0], wrap)/
 * MUTATION lib/virtq/virtq_packed.c s/if (go_forward(vq, &at, vq->slots\[used\[i\].head\].descs))/if (go_forward(vq, \&at, 1))/
 * MUTATION lib/virtq/virtq_packed.c s/used->len_bytes ? CVMM_VIRTQ_DESC_F_WRITE : 0/CVMM_VIRTQ_DESC_F_WRITE/
 * MUTATION lib/virtq/virtq_packed.c s/return ret == -EAGAIN ? cvmm_virtq_break(vq, CVMM_VIRTQ_BAD_AREA) : ret;/return ret;/
 * MUTATION lib/virtq/virtq_packed.c s/if (!direct && ret)/if (0)/
 * MUTATION lib/virtq/virtq_walk.h s/if (next >= vq->size) {/if (next > vq->size) {/
 * MUTATION lib/virtq/virtq_walk.h s/ring_store(desc, PACKED_FLAGS, (uint16_t)flags, __ATOMIC_RELEASE)/ring_store(desc, PACKED_FLAGS, (uint16_t)flags, __ATOMIC_RELAXED)/
 */
#include "proof_virtq.h"

/* What put_used() stores through the map. */
static int map_store(const struct cvmm_mem *mem, cvmm_gpa gpa, unsigned int bytes, int order,
		     uint64_t v)
{
	__CPROVER_assert(mem == proof_queue->mem, "it is the queue's map that is written");
	return proof_area_store(proof_queue, NULL, cvmm_gpa_from(PROOF_GPA(PROOF_DESC)),
				gpa.addr - PROOF_GPA(PROOF_DESC), bytes, order, false, v);
}

#define cvmm_mem_store_u32(mem, gpa, order, v) map_store(mem, gpa, 4, order, v)
#define cvmm_mem_store_u16(mem, gpa, order, v) map_store(mem, gpa, 2, order, v)

#include "proof_common.h"

#include "../../lib/virtq/virtq_packed.c"

#define LISTS (COUNT ? COUNT : 1)

static uint16_t expected_flags(bool wrap, uint32_t len_bytes)
{
	return (uint16_t)((wrap ? 0x8080 : 0) | (len_bytes ? 2 : 0));
}

static void check_flags(unsigned int event, uint32_t at, bool wrap, uint32_t len_bytes)
{
	proof_check_store(event, PROOF_DESC, 16 * (uint64_t)at + 14, 2,
			  expected_flags(wrap, len_bytes));
	__CPROVER_assert(proof_events[event].order == __ATOMIC_RELEASE, "it is a release");
}

/* All that is to be stored, in its order. */
static void check_published(const struct cvmm_virtq *before, const struct cvmm_virtq *vq,
			    const struct cvmm_virtq_used *used, const uint16_t *descs)
{
	uint32_t at = before->next_used;
	bool wrap = before->used_wrap;
	unsigned int event = 0;

	for (unsigned int i = 0; i < LISTS; i++) {
		proof_check_store(event++, PROOF_DESC, 16 * (uint64_t)at + 8, 4, used[i].len_bytes);
		proof_check_store(event++, PROOF_DESC, 16 * (uint64_t)at + 12, 2, used[i].head);
		if (i)
			check_flags(event++, at, wrap, used[i].len_bytes);
		at += descs[i];
		if (at >= vq->size) {
			at -= vq->size;
			wrap = !wrap;
		}
	}
	check_flags(event++, before->next_used, before->used_wrap, used[0].len_bytes);
	__CPROVER_assert(proof_event_count == event, "nothing else is stored");
	__CPROVER_assert(vq->next_used == at && vq->used_wrap == wrap, "the next comes behind it");
	__CPROVER_assert(vq->usable, "the queue goes on");
}

static void check_failed(const struct cvmm_virtq *before, const struct cvmm_virtq *vq, int ret)
{
	__CPROVER_assert(!DIRECT, "only the map fails");
	__CPROVER_assert(vq->next_used == before->next_used && vq->used_wrap == before->used_wrap,
			 "the next comes where it came before");
	for (unsigned int i = 0; i < proof_event_count; i++)
		__CPROVER_assert(proof_events[i].at != 16 * (uint64_t)before->next_used + 14,
				 "the driver sees nothing of it");
	if (ret == -EAGAIN) {
		__CPROVER_assert(vq->usable && !proof_event_count, "nothing happened");
		return;
	}
	__CPROVER_assert(ret == -EPROTO && !vq->usable && vq->violation == CVMM_VIRTQ_BAD_AREA,
			 "the queue is broken");
}

void harness(void)
{
	struct cvmm_virtq vq = proof_any_queue(true), before;
	struct cvmm_virtq_used used[LISTS];
	uint16_t descs[LISTS];
	uint32_t sum = 0;
	int ret = 0;

	proof_queue = &vq;
	__CPROVER_assume(!(vq.flags & VIRTQ_DIRECT) == !DIRECT);
	for (unsigned int i = 0; i < LISTS; i++) {
		used[i] = (struct cvmm_virtq_used){ nondet_u16(), nondet_u32() };
		__CPROVER_assume(used[i].head < vq.size);
		descs[i] = vq.slots[used[i].head].descs;
		__CPROVER_assume(descs[i]);
		for (unsigned int j = 0; j < i; j++)
			__CPROVER_assume(used[i].head != used[j].head);
		sum += descs[i];
	}
	__CPROVER_assume(sum <= vq.descs_in_use);
	before = vq;

	if (COUNT)
		ret = cvmm_virtq_packed_publish(&vq, used, COUNT);
	else
		cvmm_virtq_packed_publish_one(&vq, used, descs[0]);
	if (ret)
		check_failed(&before, &vq, ret);
	else
		check_published(&before, &vq, used, descs);
	__CPROVER_assert(vq.next_avail == before.next_avail && vq.avail_wrap == before.avail_wrap &&
				 vq.pops == before.pops && vq.in_flight == before.in_flight &&
				 vq.descs_in_use == before.descs_in_use,
			 "nothing else changes");
}
