// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Inflight regions of split queues, of four entries, with any bytes in the region:
 *
 *  - HOSTILE: while somebody writes to the region, so that each load from it has another value, recovery
 *    accesses only its entries, and the arrays of the queue inside of them; whatever is accepted is at most
 *    one chain for each head, which is inside of the table. What is refused does not move the queue.
 *  - RECOVER: what the region says is in flight, less the batch that was published and not noted, is
 *    popped again: each such head once, in the order of the counters, and no other; new chains have later
 *    counters, if those of the region leave room. The queue goes on behind all of them. In a new region
 *    nothing is in flight, whatever is there. A batch that is larger than the ring, or has a head outside
 *    of the table, is refused.
 *  - TWICE: who dies behind any of the stores of that recovery, or behind the last, leaves a region of which
 *    the next recovery makes the same as the first would have: the same heads, in the same order, at the
 *    same place; or it is refused again.
 *  - PUSH: who dies behind any of the stores around a push of one or two chains, or behind the publication,
 *    leaves a region of which recovery finds the chains in flight if they were not published, and not if
 *    they were; and all others as they were.
 *
 * A new region is assumed to be that of a queue which is started where its used ring is; PUSH begins with a
 * region that says how far the used ring is, as recovery leaves it. Sorting is modelled, its order is not.
 *
 * Spec: vhost-user, "Inflight I/O tracking", split virtqueue.
 *
 * PROOF options --unwind 6
 * PROOF limit 240
 * PROOF instance -DPROOF_HOSTILE
 * PROOF instance -DPUSH
 * PROOF instance -DTWICE
 * PROOF instance -DRECOVER
 * MUTATION lib/virtq/virtq_inflight.c s/if (head >= vq->size)/if (0)/
 * MUTATION lib/virtq/virtq_inflight.c s/if (count > vq->size)/if (0)/
 * MUTATION lib/virtq/virtq_inflight.c s/return x->counter < y->counter ? -1 : 1;/return x->counter > y->counter ? -1 : 1;/
 * MUTATION lib/virtq/virtq_inflight.c s/STORE(region->desc.head..inflight, 0);/STORE(region->used_idx, used_idx);/
 * MUTATION lib/virtq/virtq_inflight.c s/STORE(f->split->last_batch_head, head);/;/
 */
#include "proof_inflight.h"

#define ENTRIES_AT sizeof(struct split_region)
#define BYTES (ENTRIES_AT + SIZE * sizeof(struct split_entry))

static struct split_region *any_region(void)
{
	return malloc(BYTES); /* of any content; no byte more than its entries */
}

static int recover(struct cvmm_virtq *vq, struct split_region *region)
{
	return cvmm_virtq_set_inflight(vq, region, cvmm_virtq_inflight_bytes(SIZE, false), NULL);
}

static unsigned int count_of(const struct cvmm_virtq_inflight *f, uint16_t head)
{
	unsigned int count = 0;

	for (uint32_t i = 0; i < SIZE; i++)
		count += i < f->again_count && f->again[i].entry == head;
	return count;
}

static void check_bounds(const struct cvmm_virtq *vq)
{
	const struct cvmm_virtq_inflight *f = vq->inflight;
	uint32_t i = nondet_u32();

	__CPROVER_assert(vq->extras & VIRTQ_EXTRA_INFLIGHT, "it is tracked");
	__CPROVER_assert(f->again_count <= SIZE && !f->taken, "there are not more than heads");
	if (i >= f->again_count)
		return;
	__CPROVER_assert(f->again[i].entry < SIZE, "each is inside of the table");
	__CPROVER_assert(count_of(f, f->again[i].entry) == 1, "each is once");
	__CPROVER_assert(!i || by_counter(&f->again[i - 1], &f->again[i]) < 0, "in order");
}

static void check_unmoved(const struct cvmm_virtq *vq, const struct cvmm_virtq *before)
{
	__CPROVER_assert(vq->next_avail == before->next_avail &&
				 vq->next_used == before->next_used &&
				 vq->avail_seen == before->avail_seen,
			 "the queue is where it was");
	__CPROVER_assert(!vq->inflight && !vq->extras, "it is not tracked");
}

/* Whether @head is in flight by the region's @copy, and the standard. */
static bool is_expected(const struct split_region *copy, uint16_t head, bool *ret_refused)
{
	const struct split_entry *entries = copy->desc;
	uint16_t count = (uint16_t)(proof_used_idx - copy->used_idx), at = copy->last_batch_head;
	bool in_batch = false;

	*ret_refused = copy->version && count > SIZE;
	if (!copy->version || *ret_refused)
		return false;
	for (uint16_t i = 0; i < SIZE; i++) {
		if (i >= count)
			break;
		if (at >= SIZE) {
			*ret_refused = true;
			return false;
		}
		in_batch = in_batch || at == head;
		at = entries[at].next;
	}
	return entries[head].inflight == 1 && !in_batch;
}

static struct split_region *copy_of(const struct split_region *region)
{
	struct split_region *copy = malloc(BYTES);

	memcpy(copy, region, BYTES);
	return copy;
}

#ifdef PUSH
/* One or two chains, which are in flight. */
static void push(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used, size_t count)
{
	bool is_alive;

	cvmm_virtq_inflight_before(vq, used, count, (uint32_t)count);
	is_alive = proof_stores < proof_die_at || (proof_stores == proof_die_at && nondet_bool());
	vq->next_used = (uint16_t)(vq->next_used + count);
	if (is_alive)
		proof_used_idx = vq->next_used;
	cvmm_virtq_inflight_after(vq, used, count, true);
}
#endif

void harness(void)
{
	struct cvmm_virtq vq = proof_started(false), before = vq;
	struct split_region *region = any_region(), *copy;
	uint16_t head = nondet_u16();
	bool is_refused, is_in_flight;
	int ret;

	__CPROVER_assume(region && head < SIZE);
	proof_used_idx = nondet_u16();
	proof_area_code = nondet_bool() ? 0 : nondet_bool() ? -EAGAIN : -EFAULT;
#ifdef PROOF_HOSTILE
	ret = recover(&vq, region);
	if (ret)
		check_unmoved(&vq, &before);
	else
		check_bounds(&vq);
	return;
#endif
	proof_area_code = 0;
	__CPROVER_assume(region->version <= 1 && (!region->version || region->desc_num == SIZE));
	if (!region->version)
		__CPROVER_assume(vq.next_used == proof_used_idx && vq.next_avail == proof_used_idx);
	copy = copy_of(region);
	is_in_flight = is_expected(copy, head, &is_refused);
#ifdef TWICE
	proof_die_at = nondet_u8();
	ret = recover(&vq, region);
	proof_die_at = UINT32_MAX;
	vq = before;
#endif
#ifdef PUSH
	struct cvmm_virtq_used used[2] = { { nondet_u16(), 0 }, { nondet_u16(), 0 } };
	size_t count = nondet_bool() ? 1 : 2;
	struct cvmm_virtq_inflight f = { .split = region };

	__CPROVER_assume(region->version && region->used_idx == proof_used_idx &&
			 vq.next_used == proof_used_idx);
	__CPROVER_assume(used[0].head < SIZE && used[1].head < SIZE &&
			 used[0].head != used[1].head);
	vq.inflight = &f;
	proof_die_at = nondet_u8();
	push(&vq, used, count);
	proof_die_at = UINT32_MAX;
	if (proof_used_idx != before.next_used)
		is_in_flight =
			is_in_flight && head != used[0].head && (count < 2 || head != used[1].head);
	vq = before;
#endif
	ret = recover(&vq, region);
	__CPROVER_assume(ret != -ENOMEM);
	if (ret) {
		__CPROVER_assert(is_refused && ret == -EINVAL, "only what is wrong is refused");
		check_unmoved(&vq, &before);
		return;
	}
	__CPROVER_assert(!is_refused, "what is wrong is refused");
	check_bounds(&vq);
	__CPROVER_assert(count_of(vq.inflight, head) == is_in_flight, "what is in flight is again");
	__CPROVER_assert(vq.next_used == proof_used_idx, "it goes on where the used ring is");
	__CPROVER_assert(vq.next_avail == (uint16_t)(proof_used_idx + vq.inflight->again_count) &&
				 vq.avail_seen == vq.next_avail,
			 "and behind what is in flight");
	for (uint32_t i = 0; i < SIZE; i++) {
		const struct again *again = &vq.inflight->again[i];

		if (i >= vq.inflight->again_count)
			break;
		__CPROVER_assert(again->counter == copy->desc[again->entry].counter,
				 "by its counter");
		__CPROVER_assert(vq.inflight->counter > again->counter || !vq.inflight->counter,
				 "new chains are behind it");
	}
}
