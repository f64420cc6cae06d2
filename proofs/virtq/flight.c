// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Chains in flight, of both formats, in a queue of any size (batches: of up to four) with anything else in
 * flight:
 *
 *  - note_pop() makes one head in flight, with what its chain has.
 *  - cvmm_virtq_push() and cvmm_virtq_push_batch() give back the heads that they are given, all of them
 *    or none: each must be in flight, occur once in the batch, and have room for the bytes written.
 *    What is published is exactly that. If publishing fails, or anything is refused, no slot and no
 *    count changes.
 *  - Each head that was given back is in flight no longer; the counts go down by what its slot said, and no
 *    other slot changes. An old map goes with the last of its chains, and not before.
 *
 * It is assumed that the counts cover what is in flight, as note_pop() makes them do. Publishing itself is in
 * other proofs: here it succeeds or fails as it likes. Batches are of up to three, and of a queue without
 * VIRTIO_F_IN_ORDER (in_order.c has those). A head that is not in flight is refused in every state,
 * however it came to be so: never popped, given back already, or outside of the table.
 *
 * Spec: VIRTIO 1.3, 2.7.8.2 (a chain is used once), 2.7.14, 2.8.6 (buffer ids).
 *
 * PROOF options --unwind 5
 * PROOF limit 120
 * PROOF instance -DPOP
 * PROOF instance -DPUSH -DEXTRAS=0
 * PROOF instance -DBATCH=3 -DEXTRAS=0
 * PROOF instance -DBATCH=3 -DEXTRAS=VIRTQ_EXTRA_INFLIGHT|VIRTQ_EXTRA_OLD_MAPS
 * PROOF instance -DPUSH -DEXTRAS=VIRTQ_EXTRA_INFLIGHT|VIRTQ_EXTRA_OLD_MAPS
 * PROOF instance -DBATCH=2 -DEXTRAS=VIRTQ_EXTRA_INFLIGHT|VIRTQ_EXTRA_OLD_MAPS
 * MUTATION lib/virtq/virtq.c s/head < vq->size .. vq->slots.head..descs/vq->slots[head].descs/
 * MUTATION lib/virtq/virtq.c s/used->len_bytes <= vq->slots.used->head..bytes/true/
 * MUTATION lib/virtq/virtq.c s/vq->slots.used.i..head..done = true/(void)0/
 * MUTATION lib/virtq/virtq.c s/vq->slots.used.--i..head..done = false/i--/
 * MUTATION lib/virtq/virtq.c s/vq->descs_in_use -= slot->descs;/vq->descs_in_use -= 1;/
 * MUTATION lib/virtq/virtq.c s/forget(vq, used.i..head);/forget(vq, used[0].head);/
 * MUTATION lib/virtq/virtq.c s/if (map == vq->map || --vq->old_maps/if (--vq->old_maps/
 * MUTATION lib/virtq/virtq_walk.h s/vq->descs_in_use += descs;/vq->descs_in_use++;/
 * MUTATION lib/virtq/virtq_walk.h s/.bytes = writable_bytes,//
 */
#ifdef BATCH
#define PROOF_SIZE_MAX 4
#endif
#include "proof_books.h"

#ifndef EXTRAS /* constants are quicker than any */
#define EXTRAS 0
#endif

static struct cvmm_virtq_used proof_used[3];
static size_t proof_count;

static unsigned int proof_published; /* calls */
static int proof_failure;	     /* what publishing fails with, or 0 */
static unsigned int proof_unrefs;

static int proof_publish(const struct cvmm_virtq_used *used, size_t count)
{
	__CPROVER_assert(count == proof_count, "all are published");
	for (size_t i = 0; i < count; i++)
		__CPROVER_assert(used[i].head == proof_used[i].head &&
					 used[i].len_bytes == proof_used[i].len_bytes,
				 "as they were given");
	proof_published++;
	return proof_failure;
}

int cvmm_virtq_split_publish(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
			     size_t count)
{
	__CPROVER_assert(!(vq->flags & VIRTQ_PACKED), "the format is right");
	return proof_publish(used, count);
}

int cvmm_virtq_packed_publish(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
			      size_t count)
{
	__CPROVER_assert(vq->flags & VIRTQ_PACKED, "the format is right");
	return proof_publish(used, count);
}

void cvmm_virtq_inflight_before(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
				size_t count, uint32_t places)
{
	(void)vq;
	(void)used;
	(void)count;
	(void)places;
	__CPROVER_assert(!proof_published, "it is noted before it is published");
}

void cvmm_virtq_inflight_after(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
			       size_t count, bool published)
{
	(void)vq;
	(void)used;
	(void)count;
	__CPROVER_assert(proof_published && published == !proof_failure, "and after it");
}

void cvmm_virtq_inflight_took(struct cvmm_virtq *vq, uint16_t head, uint16_t descs)
{
	(void)vq;
	(void)head;
	(void)descs;
}

struct cvmm_mem *cvmm_mem_unref(struct cvmm_mem *mem)
{
	(void)mem;
	proof_unrefs++;
	return NULL;
}

#include "../../lib/virtq/virtq.c"

static bool same_slot(struct cvmm_virtq_slot a, struct cvmm_virtq_slot b)
{
	return a.bytes == b.bytes && a.descs == b.descs && a.map == b.map && a.done == b.done &&
	       a.again == b.again;
}

static struct cvmm_virtq any_queue(void)
{
	struct cvmm_virtq vq = proof_any_books(nondet_bool());

	vq.map = nondet_u8() % CVMM_VIRTQ_MAPS_MAX;
	vq.extras = EXTRAS;
	for (unsigned int i = 0; i < CVMM_VIRTQ_MAPS_MAX; i++)
		vq.old_maps[i].in_flight = nondet_u32();
	return vq;
}

#ifdef POP
void harness(void)
{
	struct cvmm_virtq vq = any_queue(), before = vq;
	uint16_t head = nondet_u16(), other = nondet_u16(), descs = nondet_u16();
	uint32_t bytes = nondet_u32();
	struct cvmm_virtq_slot slot, other_slot;

	__CPROVER_assume(head < vq.size && other < vq.size && other != head);
	__CPROVER_assume(!vq.slots[head].descs && descs && descs <= vq.size - vq.descs_in_use);
	other_slot = vq.slots[other];
	note_pop(&vq, head, descs, bytes, nondet_bool());
	slot = vq.slots[head];
	__CPROVER_assert(is_in_flight(&vq, head), "it is in flight");
	__CPROVER_assert(slot.descs == descs && slot.bytes == bytes && slot.map == vq.map,
			 "with what it has");
	__CPROVER_assert(vq.in_flight == before.in_flight + 1 &&
				 vq.descs_in_use == before.descs_in_use + descs,
			 "and counted");
	__CPROVER_assert(vq.in_flight <= vq.descs_in_use && vq.descs_in_use <= vq.size,
			 "the counts are as they can be");
	__CPROVER_assert(vq.popped[popped_slot(&vq, vq.pops - 1U)] == head, "it is the newest");
	__CPROVER_assert(same_slot(vq.slots[other], other_slot), "no other slot changes");
}
#else

#ifdef BATCH
#define USED_MAX BATCH
#else
#define USED_MAX 1
#endif

/* What was so of the heads that are given back. */
struct ghost {
	struct cvmm_virtq_slot slots[USED_MAX];
	bool all_are_fine;
	uint32_t descs;
	uint32_t of_map;
	uint8_t map; /* any */
};

/* Any elements: and if all are in flight, the counts cover them. */
static struct ghost any_used(struct cvmm_virtq *vq)
{
	struct ghost ghost = { .all_are_fine = true, .map = nondet_u8() };

	__CPROVER_assume(ghost.map < CVMM_VIRTQ_MAPS_MAX);
	for (size_t i = 0; i < USED_MAX; i++) {
		struct cvmm_virtq_used used = { nondet_u16(), nondet_u32() };

		if (i >= proof_count)
			break;
		proof_used[i] = used;
		if (used.head >= vq->size) {
			ghost.all_are_fine = false;
			continue;
		}
		ghost.slots[i] = vq->slots[used.head];
		__CPROVER_assume(!ghost.slots[i].done && ghost.slots[i].map < CVMM_VIRTQ_MAPS_MAX);
		__CPROVER_assume(vq->extras & VIRTQ_EXTRA_OLD_MAPS ||
				 ghost.slots[i].map == vq->map);
		if (!ghost.slots[i].descs || used.len_bytes > ghost.slots[i].bytes)
			ghost.all_are_fine = false;
		for (size_t j = 0; j < i; j++)
			if (proof_used[j].head == used.head)
				ghost.all_are_fine = false;
		ghost.descs += ghost.slots[i].descs;
		ghost.of_map += ghost.slots[i].map == ghost.map;
	}
	if (ghost.all_are_fine) {
		__CPROVER_assume(vq->in_flight >= proof_count);
		__CPROVER_assume(vq->descs_in_use - ghost.descs <= vq->size &&
				 vq->descs_in_use - ghost.descs >= vq->in_flight - proof_count);
		__CPROVER_assume(ghost.map == vq->map ||
				 vq->old_maps[ghost.map].in_flight >= ghost.of_map);
	}
	return ghost;
}

static void check_counts(const struct cvmm_virtq *vq, const struct cvmm_virtq *before,
			 const struct ghost *ghost)
{
	bool is_old = ghost->map != vq->map && vq->extras & VIRTQ_EXTRA_OLD_MAPS;
	uint32_t places = vq->flags & VIRTQ_PACKED ? ghost->descs : (uint32_t)proof_count;
	uint32_t sum = before->unsignalled + places;

	__CPROVER_assert(vq->in_flight == before->in_flight - proof_count, "chains are counted");
	__CPROVER_assert(vq->descs_in_use == before->descs_in_use - ghost->descs,
			 "descriptors are");
	__CPROVER_assert(vq->in_flight <= vq->descs_in_use && vq->descs_in_use <= vq->size,
			 "the counts are as they can be");
	__CPROVER_assert(vq->unsignalled == (sum < UNSIGNALLED_MAX ? sum : UNSIGNALLED_MAX),
			 "it is to be told of");
	__CPROVER_assert(vq->old_maps[ghost->map].in_flight ==
				 before->old_maps[ghost->map].in_flight -
					 (is_old ? ghost->of_map : 0),
			 "those of an old map are");
}

static int push(struct cvmm_virtq *vq)
{
#ifdef BATCH
	return cvmm_virtq_push_batch(vq, proof_used, proof_count);
#else
	return cvmm_virtq_push(vq, proof_used[0].head, proof_used[0].len_bytes);
#endif
}

/* Without extras one element is published in line, and cannot fail. */
static bool is_published(const struct cvmm_virtq *vq, const struct cvmm_virtq *before)
{
	if (USED_MAX > 1 || before->extras || !(before->flags & VIRTQ_DIRECT))
		return proof_published == 1 && !proof_failure;
	__CPROVER_assert(!proof_published, "it is published once");
	return proof_releases == 1;
}

void harness(void)
{
	struct cvmm_virtq vq = any_queue(), before;
	uint16_t other = nondet_u16();
	struct cvmm_virtq_slot other_slot;
	struct ghost ghost;
	bool is_other = true;
	int ret;

	proof_count = nondet_u8();
	__CPROVER_assume(proof_count <= USED_MAX && (proof_count || USED_MAX > 1));
	proof_failure = nondet_bool() ? 0 : nondet_bool() ? -EAGAIN : -EPROTO;
	ghost = any_used(&vq);
	__CPROVER_assume(other < vq.max_size);
	other_slot = vq.slots[other];
	before = vq;

	ret = push(&vq);
	for (size_t i = 0; i < USED_MAX; i++) {
		if (i >= proof_count)
			break;
		is_other = is_other && other != proof_used[i].head;
		__CPROVER_assert(ret || !vq.slots[proof_used[i].head].descs, "it is given back");
	}
	if (is_other || ret)
		__CPROVER_assert(same_slot(vq.slots[other], other_slot), "no other slot changes");
	if (!ret) {
		__CPROVER_assert(ghost.all_are_fine, "only what is in flight is given back");
		__CPROVER_assert(!proof_count || is_published(&vq, &before), "and published");
		check_counts(&vq, &before, &ghost);
		return;
	}
	__CPROVER_assert(!proof_unrefs, "no map goes");
	__CPROVER_assert(vq.in_flight == before.in_flight &&
				 vq.descs_in_use == before.descs_in_use &&
				 vq.unsignalled == before.unsignalled,
			 "no count changes");
	__CPROVER_assert(vq.old_maps[ghost.map].in_flight == before.old_maps[ghost.map].in_flight,
			 "nor that of an old map");
	__CPROVER_assert(ghost.all_are_fine ? proof_published == 1 && ret == proof_failure
					    : !proof_published && !proof_releases && ret == -EINVAL,
			 "what is not in flight is refused and not published");
}
#endif
