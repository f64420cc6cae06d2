// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Saving and restoring, of both formats, of queues of any size at any place, in any map:
 *
 *  - Any 48 bytes: a state that is refused leaves the queue as it was, and takes no reference to the map;
 *    one that is accepted starts a queue that is as every step expects it, and saved again it is the same
 *    48 bytes. A queue that is started already refuses all of them.
 *  - Any queue that runs, or is broken, with none in flight can be saved; and restored where its areas are
 *    in memory it is the same queue, but for what it knows of the available index, which it reads anew.
 *
 * It is assumed that what is restored into was initialized or stopped, and of what is saved what
 * proof_any_queue() says, and that its areas are aligned: the first of the two proves that this
 * is so after a restore. As cvmm_virtq_restore() starts it through cvmm_virtq_start_at(), what is proved of
 * its checks holds for a start, too.
 *
 * Spec: VIRTIO 1.3, 2.7 (size and alignment), 2.8.10.1 (places of packed rings), 2.7.7.2.
 *
 * PROOF options --unwind 9
 * PROOF instance -DSAVED
 * PROOF instance -DFOREIGN
 * MUTATION lib/virtq/virtq_state.c s/cvmm_le32_get(state->unsignalled) > UNSIGNALLED_MAX/0/
 * MUTATION lib/virtq/virtq_state.c s/vq->usable = !vq->violation/vq->usable = true/
 * MUTATION lib/virtq/virtq_state.c s/ || cvmm_le32_get(state->reserved)//
 * MUTATION lib/virtq/virtq_state.c s/c->in_order ? CVMM_VIRTQ_STATE_IN_ORDER/c->indirect ? CVMM_VIRTQ_STATE_IN_ORDER/
 * MUTATION lib/virtq/virtq_state.c s/avail_wrap = flags . CVMM_VIRTQ_STATE_AVAIL_WRAP/avail_wrap = flags \& CVMM_VIRTQ_STATE_USED_WRAP/
 * MUTATION lib/virtq/virtq.c s/base->next_avail >= c->size || base->next_used >= c->size/base->next_avail >= c->size/
 * MUTATION lib/virtq/virtq.c s/!c->size || c->size > vq->max_size/!c->size/
 * MUTATION lib/virtq/virtq.c s/!c->packed \&\& !cvmm_is_pow2(c->size)/0/
 * MUTATION lib/virtq/virtq.c s/area->gpa.addr % area->align/0/
 */
#define PROOF_GRANTS 8
#include "proof_virtq.h"

struct cvmm_virtq_state nondet_state(void);

/* Of the map: where memory is, and who holds it. */
static _Bool proof_has_iommu, proof_has_dirty, proof_has_areas;
static unsigned int proof_refs;

static int proof_area_check(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len,
			    enum cvmm_access access)
{
	__CPROVER_assert(mem == proof_queue->mem, "it is the right map that is asked");
	__CPROVER_assert(len, "areas are not empty");
	(void)access;
	if (len - 1 > UINT64_MAX - gpa.addr)
		return -EFAULT;
	return proof_has_areas ? 0 : nondet_bool() ? 0 : nondet_bool() ? -EFAULT : -EAGAIN;
}

bool cvmm_mem_has_iommu(const struct cvmm_mem *mem)
{
	(void)mem;
	return proof_has_iommu;
}

bool cvmm_mem_has_dirty(const struct cvmm_mem *mem)
{
	(void)mem;
	return proof_has_dirty;
}

struct cvmm_mem *cvmm_mem_ref(struct cvmm_mem *mem)
{
	proof_refs++;
	return mem;
}

/* Nothing else is cleared than the slots, and that as a whole. */
static const void *proof_cleared;
static size_t proof_cleared_bytes;

static void *proof_memset(void *dst, int byte, size_t len)
{
	__CPROVER_assert(!byte && __CPROVER_w_ok(dst, len), "what is cleared is there");
	proof_cleared = dst;
	proof_cleared_bytes = len;
	return dst;
}

#define cvmm_mem_check proof_area_check
#define memset proof_memset
#include "../../lib/virtq/virtq.c"
#include "../../lib/virtq/virtq_state.c"

/* What proof_any_queue() assumes, of one that was just started. */
static void check_invariants(const struct cvmm_virtq *vq)
{
	const struct cvmm_virtq_config *c = &vq->config;
	bool direct = vq->desc_ring && vq->driver_area && vq->device_area;

	__CPROVER_assert(vq->started && vq->size && vq->size <= vq->max_size, "its size is right");
	__CPROVER_assert(c->size == vq->size, "and the same everywhere");
	__CPROVER_assert(c->packed || !(vq->size & (vq->size - 1)), "split: a power of two");
	__CPROVER_assert(!c->packed || (vq->next_avail < vq->size && vq->next_used < vq->size),
			 "packed: the places are in the ring");
	__CPROVER_assert(vq->avail_seen == vq->next_avail, "nothing is known of what comes");
	__CPROVER_assert(vq->unsignalled <= UNSIGNALLED_MAX, "not too many are to be told of");
	__CPROVER_assert(vq->violation < CVMM_VIRTQ_VIOLATION_COUNT, "the violation is known");
	__CPROVER_assert(vq->usable == !vq->violation, "it is usable if it is not broken");
	__CPROVER_assert(!vq->in_flight && !vq->descs_in_use, "nothing is in flight");
	__CPROVER_assert(proof_cleared == vq->slots &&
				 proof_cleared_bytes == vq->size * sizeof(*vq->slots),
			 "its slots are clear");
	__CPROVER_assert(vq->flags ==
				 ((c->packed ? VIRTQ_PACKED : 0) |
				  (c->event_idx ? VIRTQ_EVENT_IDX : 0) |
				  (c->indirect ? VIRTQ_INDIRECT : 0) | (direct ? VIRTQ_DIRECT : 0)),
			 "the flags say what was configured, and direct if all areas are");
	__CPROVER_assert(vq->extras == ((c->in_order ? VIRTQ_EXTRA_IN_ORDER : 0) |
					(proof_has_dirty ? VIRTQ_EXTRA_DIRTY : 0)),
			 "so do the extras");
	__CPROVER_assert(!(c->desc.addr % 16) && !(c->avail.addr % (c->packed ? 4 : 2)) &&
				 !(c->used.addr % 4),
			 "the areas are aligned");
	__CPROVER_assert(!direct || !proof_has_iommu, "nothing is direct behind an IOMMU");
	__CPROVER_assert(vq->mem == proof_queue->mem && proof_refs == 1, "it holds the map");
}

static void check_same_bytes(const void *a, const void *b, size_t len)
{
	size_t i = nondet_u16();

	__CPROVER_assume(i < len);
	__CPROVER_assert(((const uint8_t *)a)[i] == ((const uint8_t *)b)[i],
			 "each byte is the same");
}

static struct cvmm_virtq any_stopped(uint16_t max_size)
{
	struct cvmm_virtq vq = { .max_size = max_size };

	vq.slots = malloc(max_size * sizeof(*vq.slots));
	__CPROVER_assume(vq.slots);
	return vq;
}

static void foreign_state(struct cvmm_mem *mem)
{
	struct cvmm_virtq_state state = nondet_state(), again;
	uint16_t max_size = nondet_u16();
	struct cvmm_virtq vq, before;
	int ret;

	__CPROVER_assume(max_size && max_size <= CVMM_VIRTQ_SIZE_MAX &&
			 !(max_size & (max_size - 1)));
	vq = any_stopped(max_size);
	vq.started = nondet_bool();
	before = vq;
	ret = cvmm_virtq_restore(&vq, mem, &state, NULL);
	if (ret) {
		__CPROVER_assert(ret == -EINVAL || ret == -ENOTSUP, "it is refused");
		__CPROVER_assert(!proof_refs, "no reference is kept");
		__CPROVER_assert(!proof_cleared, "no slot changes");
		check_same_bytes(&vq, &before, sizeof(vq));
		return;
	}
	__CPROVER_assert(!before.started, "it was not started");
	check_invariants(&vq);
	__CPROVER_assert(!cvmm_virtq_save(&vq, &again), "it can be saved");
	check_same_bytes(&state, &again, sizeof(state));
}

/* The fields that say what a queue does. */
static void check_same_queue(const struct cvmm_virtq *a, const struct cvmm_virtq *b)
{
	__CPROVER_assert(a->size == b->size && a->next_avail == b->next_avail &&
				 a->next_used == b->next_used,
			 "the places are the same");
	__CPROVER_assert(a->avail_wrap == b->avail_wrap && a->used_wrap == b->used_wrap,
			 "the wraps are");
	__CPROVER_assert((a->flags & ~VIRTQ_DIRECT) == (b->flags & ~VIRTQ_DIRECT), "the flags are");
	__CPROVER_assert((a->extras & VIRTQ_EXTRA_IN_ORDER) == (b->extras & VIRTQ_EXTRA_IN_ORDER),
			 "the order is");
	__CPROVER_assert(a->unsignalled == b->unsignalled, "what is to be told of is");
	__CPROVER_assert(a->violation == b->violation && a->usable == b->usable, "it is as usable");
	__CPROVER_assert(a->config.size == b->config.size &&
				 a->config.desc.addr == b->config.desc.addr &&
				 a->config.avail.addr == b->config.avail.addr &&
				 a->config.used.addr == b->config.used.addr,
			 "the areas are");
	__CPROVER_assert(a->config.packed == b->config.packed &&
				 a->config.event_idx == b->config.event_idx &&
				 a->config.indirect == b->config.indirect &&
				 a->config.in_order == b->config.in_order,
			 "what was negotiated is");
}

static void saved_state(struct cvmm_mem *mem)
{
	bool packed = nondet_bool();
	struct cvmm_virtq vq = proof_any_queue(packed), other;
	struct cvmm_virtq_state state;

	vq.config.desc.addr = nondet_u64() & ~UINT64_C(15);
	vq.config.avail.addr = nondet_u64() & ~UINT64_C(3);
	vq.config.used.addr = nondet_u64() & ~UINT64_C(3);
	/* None wraps, as is checked at the start. */
	__CPROVER_assume(vq.config.desc.addr < UINT64_MAX - (UINT64_C(1) << 20) &&
			 vq.config.avail.addr < UINT64_MAX - (UINT64_C(1) << 20) &&
			 vq.config.used.addr < UINT64_MAX - (UINT64_C(1) << 20));
	vq.config.event_idx = vq.flags & VIRTQ_EVENT_IDX;
	vq.config.indirect = vq.flags & VIRTQ_INDIRECT;
	vq.config.in_order = nondet_bool();
	vq.extras = vq.config.in_order ? VIRTQ_EXTRA_IN_ORDER : 0;
	vq.violation = nondet_u8();
	__CPROVER_assume(vq.violation < CVMM_VIRTQ_VIOLATION_COUNT);
	vq.usable = !vq.violation;
	proof_has_areas = true;

	if (cvmm_virtq_save(&vq, &state)) {
		__CPROVER_assert(vq.in_flight, "it can be saved if nothing is in flight");
		return;
	}
	__CPROVER_assert(!vq.in_flight, "and not if something is");
	other = any_stopped(vq.max_size);
	__CPROVER_assert(!cvmm_virtq_restore(&other, mem, &state, NULL), "it can be restored");
	check_invariants(&other);
	check_same_queue(&vq, &other);
}

void harness(void)
{
	struct cvmm_mem *mem = (struct cvmm_mem *)(uintptr_t)8; /* never looked into */
	struct cvmm_virtq asked = { .mem = mem };

	proof_queue = &asked;
	proof_has_iommu = nondet_bool();
	proof_has_dirty = nondet_bool();
#ifdef SAVED
	saved_state(mem);
#else
	foreign_state(mem);
#endif
}
