// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Inflight regions of packed queues, of three entries, with any bytes in the region:
 *
 *  - HOSTILE: while somebody writes to the region and the ring, so that each load has another value, recovery
 *    accesses only the region's entries, and the arrays of the queue inside of them; of what is accepted the
 *    lists and the free entries cross nowhere by our own links, and together have an entry for each descriptor.
 *    The places are in the ring. What is refused does not move the queue.
 *  - TRACK: from there, any pop that the ring has room for, and a rewind or a push of it, access only such
 *    entries, whatever is in the region and the ring meanwhile; free entries stay a list without a loop,
 *    as long as there are descriptors free.
 *  - TWICE: whether the batch that was begun is undone or finished: who dies behind any of the stores of that
 *    decision, or behind the last, leaves a region of which the next one takes the same place, or refuses it
 *    again. Here nobody else writes to the region or the ring.
 *
 * Not proved is that the lists are the same after a recovery that died while it freed lost entries. Sorting is
 * modelled, its order is not.
 *
 * Spec: vhost-user, "Inflight I/O tracking", packed virtqueue.
 *
 * PROOF options --unwind 5
 * PROOF limit 240
 * PROOF instance -DTRACK -DPROOF_HOSTILE
 * PROOF instance -DPROOF_HOSTILE
 * PROOF instance -DTWICE
 * MUTATION lib/virtq/virtq_inflight.c s/now.used_idx >= vq->size || //
 * MUTATION lib/virtq/virtq_inflight.c s/if (i >= vq->size || is_taken.i.)/if (i >= vq->size)/
 * MUTATION lib/virtq/virtq_inflight.c s/if (i >= vq->size || is_taken.i.)/if (is_taken[i])/
 * MUTATION lib/virtq/virtq_inflight.c s/if (!num || num > vq->size)/if (num > vq->size)/
 * MUTATION lib/virtq/virtq_inflight.c s/STORE(region->old_free_head, place->free_head);/packed_store_used(region, place->used_idx, place->used_wrap);/
 * MUTATION lib/virtq/virtq_inflight.c s/STORE(region->used, both.used);/STORE(region->old_used_idx, used_idx); STORE(region->old_used_wrap_counter, used_wrap); STORE(region->used, both.used);/
 * MUTATION lib/virtq/virtq_inflight.c s/packed_free_the_lost(vq, f, is_taken);/;/
 */
#define SIZE 3
#include "proof_inflight.h"

#define BYTES (sizeof(struct packed_region) + SIZE * sizeof(struct packed_entry))

static uint64_t proof_rests[SIZE]; /* of the descriptors */

int cvmm_virtq_packed_fetch(const struct cvmm_virtq *vq, uint16_t at, uint64_t *ret_addr,
			    uint64_t *ret_rest)
{
	__CPROVER_assert(at < vq->size, "it is a descriptor of the ring");
	if (proof_area_code)
		return proof_area_code;
	*ret_addr = nondet_u64();
#ifdef PROOF_HOSTILE
	*ret_rest = nondet_u64();
#else
	*ret_rest = proof_rests[at];
#endif
	return 0;
}

static int recover(struct cvmm_virtq *vq, struct packed_region *region)
{
	return cvmm_virtq_set_inflight(vq, region, cvmm_virtq_inflight_bytes(SIZE, true), NULL);
}

/* Goes along @count of our own links from @entry on, and marks them. Return: the one behind them. */
static uint16_t go_along(const struct cvmm_virtq_inflight *f, uint16_t entry, uint32_t count,
			 bool *seen)
{
	for (uint32_t n = 0; n < SIZE; n++) {
		if (n >= count)
			break;
		__CPROVER_assert(entry < SIZE, "it is inside");
		__CPROVER_assert(!seen[entry], "and in one list only");
		seen[entry] = true;
		entry = f->nexts[entry];
	}
	return entry;
}

/* Each entry is free, or of one list. @taken: a list that is not to be popped again. Return: how many are free. */
static uint32_t check_lists(const struct cvmm_virtq *vq, const struct cvmm_virtq_inflight *f,
			    uint16_t taken, uint32_t taken_descs)
{
	bool seen[SIZE] = { false };
	uint32_t used = taken_descs;
	uint16_t end;

	go_along(f, taken, taken_descs, seen);
	__CPROVER_assert(f->again_count <= SIZE && !f->taken, "there are not more than entries");
	for (uint32_t i = 0; i < SIZE; i++) {
		const struct again *again = &f->again[i];

		if (i >= f->again_count)
			break;
		__CPROVER_assert(again->descs && again->descs <= SIZE, "each has descriptors");
		__CPROVER_assert(f->lasts[again->entry] < SIZE, "and a last one");
		__CPROVER_assert(!i || by_counter(again - 1, again) < 0, "they are in order");
		go_along(f, again->entry, again->descs, seen);
		used += again->descs;
	}
	__CPROVER_assert(used <= SIZE, "not more than the ring has");
	end = go_along(f, f->free_head, SIZE - used, seen);
	__CPROVER_assert(end >= SIZE, "all others are free");
	return SIZE - used;
}

static void check_place(const struct cvmm_virtq *vq, uint32_t free_count)
{
	uint32_t next = vq->next_used + SIZE - free_count;
	bool wraps = next >= SIZE;

	__CPROVER_assert(vq->extras & VIRTQ_EXTRA_INFLIGHT, "it is tracked");
	__CPROVER_assert(vq->next_used < SIZE && vq->next_avail < SIZE, "it is in the ring");
	__CPROVER_assert(vq->next_avail == (wraps ? next - SIZE : next) &&
				 vq->avail_wrap == (vq->used_wrap != wraps),
			 "it goes on behind what is in flight");
}

static void check_unmoved(const struct cvmm_virtq *vq, const struct cvmm_virtq *before)
{
	__CPROVER_assert(
		vq->next_avail == before->next_avail && vq->next_used == before->next_used &&
			vq->avail_wrap == before->avail_wrap && vq->used_wrap == before->used_wrap,
		"the queue is where it was");
	__CPROVER_assert(!vq->inflight && !vq->extras, "it is not tracked");
}

#ifdef TRACK
static void track(struct cvmm_virtq *vq, uint32_t free_count)
{
	struct cvmm_virtq_inflight *f = vq->inflight;
	uint16_t id = nondet_u16(), descs = nondet_u16(), head = f->free_head;
	struct cvmm_virtq_used used = { id, 0 };
	struct cvmm_virtq_slot slots[SIZE] = { 0 };

	__CPROVER_assume(id < SIZE && descs && descs <= free_count);
	vq->slots = slots;
	cvmm_virtq_inflight_took(vq, id, descs);
	__CPROVER_assert(check_lists(vq, f, head, descs) == free_count - descs, "it is taken");
	if (nondet_bool()) {
		cvmm_virtq_inflight_rewound(vq, id);
	} else {
		bool is_published = nondet_bool();

		cvmm_virtq_inflight_before(vq, &used, 1, descs);
		cvmm_virtq_inflight_after(vq, &used, 1, is_published);
		if (!is_published) {
			check_lists(vq, f, head, descs);
			return;
		}
	}
	__CPROVER_assert(check_lists(vq, f, 0, 0) == free_count, "and free again");
}
#endif

#ifdef TWICE
static void twice(struct cvmm_virtq *vq, struct packed_region *region)
{
	struct packed_place first = { 0 }, dying = { 0 }, second = { 0 };
	struct packed_region *copy = malloc(BYTES);
	int ret;

	__CPROVER_assume(copy);
	memcpy(copy, region, BYTES);
	ret = packed_commit_or_undo(vq, copy, &first, NULL);
	proof_stores = 0;
	proof_die_at = nondet_u8();
	packed_commit_or_undo(vq, region, &dying, NULL);
	proof_die_at = UINT32_MAX;
	__CPROVER_assert(packed_commit_or_undo(vq, region, &second, NULL) == ret,
			 "both are accepted, or none");
	__CPROVER_assert(first.free_head == second.free_head && first.used_idx == second.used_idx &&
				 first.used_wrap == second.used_wrap,
			 "it goes on at the same place");
}
#endif

void harness(void)
{
	struct cvmm_virtq vq = proof_started(true), before = vq;
	struct packed_region *region = malloc(BYTES); /* of any content */

	__CPROVER_assume(region);
	for (unsigned int i = 0; i < SIZE; i++)
		proof_rests[i] = nondet_u64();
#ifdef TWICE
	twice(&vq, region);
#else
	proof_area_code = nondet_bool() ? 0 : nondet_bool() ? -EAGAIN : -EFAULT;
	if (recover(&vq, region)) {
		check_unmoved(&vq, &before);
		return;
	}
	uint32_t free_count = check_lists(&vq, vq.inflight, 0, 0);

	check_place(&vq, free_count);
#ifdef TRACK
	track(&vq, free_count);
#endif
#endif
}
