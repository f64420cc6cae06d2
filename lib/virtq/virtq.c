// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * What queues of both formats have in common; virtq_split.c and virtq_packed.c know the rings.
 *
 * Theory of operation: the areas of a queue are translated once, at start, and stay valid because the
 * queue holds a reference to the map. Where that cannot be, each access goes through the map
 * (virtq_access.h).
 *
 * A head (split) or buffer id (packed) is in flight from pop to push. Its slot catches a driver that
 * makes a chain available twice, and a device that gives back what it does not have. The ring of
 * popped heads says which chain a rewind would undo without asking guest memory, and with
 * VIRTIO_F_IN_ORDER which is the next to be given back.
 */
#include <errno.h>
#include <stdlib.h>

#include "virtq_trace_internal.h"
#include "virtq_walk.h"

_Static_assert(offsetof(struct cvmm_virtq, started) == 64, "the hot fields are one cache line");
_Static_assert(sizeof(struct cvmm_virtq_slot) == 8, "eight slots to a cache line");

/* Used elements that are published at once, in order, when the one before them comes. */
#define IN_ORDER_BATCH 32U

/* ---- violations ----------------------------------------------------------------------------- */

static const char *const violation_names[CVMM_VIRTQ_VIOLATION_COUNT] = {
	[CVMM_VIRTQ_OK] = "no violation",
	[CVMM_VIRTQ_BAD_AVAIL_INDEX] = "available index jumps by more than the queue size",
	[CVMM_VIRTQ_BAD_HEAD] = "descriptor chain has a head or id outside the queue",
	[CVMM_VIRTQ_HEAD_IN_FLIGHT] = "descriptor chain made available again before it was used",
	[CVMM_VIRTQ_BAD_NEXT] = "next descriptor is outside the table",
	[CVMM_VIRTQ_LOOP] = "descriptor chain loops",
	[CVMM_VIRTQ_OVERRUN] = "more descriptors made available than the ring has",
	[CVMM_VIRTQ_BAD_ORDER] = "readable descriptor after a writable one",
	[CVMM_VIRTQ_TOO_LONG] = "descriptor chain has too many bytes",
	[CVMM_VIRTQ_TOO_MANY_PIECES] = "descriptor chain has more buffers than the device takes",
	[CVMM_VIRTQ_BAD_BUFFER] = "buffer is not in RAM",
	[CVMM_VIRTQ_INDIRECT_NOT_NEGOTIATED] = "indirect descriptor without the feature",
	[CVMM_VIRTQ_INDIRECT_NESTED] = "indirect descriptor in an indirect table",
	[CVMM_VIRTQ_INDIRECT_WITH_NEXT] = "indirect descriptor with a next one",
	[CVMM_VIRTQ_INDIRECT_IN_CHAIN] = "indirect descriptor behind a direct one",
	[CVMM_VIRTQ_INDIRECT_BAD_LEN] = "indirect table has no whole number of descriptors",
	[CVMM_VIRTQ_INDIRECT_TOO_LONG] = "indirect table has too many descriptors",
	[CVMM_VIRTQ_INDIRECT_BAD_ADDRESS] = "indirect table is not in RAM",
	[CVMM_VIRTQ_BAD_AREA] = "part of the queue is not in RAM",
};

const char *cvmm_virtq_violation_name(enum cvmm_virtq_violation violation)
{
	if ((unsigned int)violation >= CVMM_VIRTQ_VIOLATION_COUNT)
		return "unknown violation";
	return violation_names[violation];
}

static void count_violation(struct cvmm_virtq *vq, enum cvmm_virtq_violation violation)
{
	if (vq->violations[violation] != UINT32_MAX)
		vq->violations[violation]++;
}

__attribute__((cold)) int cvmm_virtq_break(struct cvmm_virtq *vq,
					   enum cvmm_virtq_violation violation)
{
	count_violation(vq, violation);
	vq->violation = (uint8_t)violation;
	vq->usable = false;
	if (vq->extras & VIRTQ_EXTRA_TRACE)
		cvmm_virtq_trace_violation(vq, violation, true);
	return -EPROTO;
}

__attribute__((cold)) int cvmm_virtq_area_failed(struct cvmm_virtq *vq, int code)
{
	return code == -EAGAIN ? code : cvmm_virtq_break(vq, CVMM_VIRTQ_BAD_AREA);
}

__attribute__((cold)) bool cvmm_virtq_may_fail(struct cvmm_virtq *vq,
					       enum cvmm_virtq_violation violation)
{
	/* What is wrong with the queue itself is not one chain's. */
	return vq->policy && violation != CVMM_VIRTQ_BAD_AREA &&
	       vq->policy(vq->policy_ctx, violation);
}

__attribute__((cold)) int cvmm_virtq_refusal(const struct cvmm_virtq *vq)
{
	return vq->started ? -EPROTO : -EINVAL;
}

void cvmm_virtq_set_policy(struct cvmm_virtq *vq, cvmm_virtq_policy policy, void *ctx)
{
	vq->policy = policy;
	vq->policy_ctx = ctx;
}

/* ---- life ----------------------------------------------------------------------------------- */

int cvmm_virtq_init(struct cvmm_virtq *vq, uint16_t max_size)
{
	struct cvmm_virtq_slot *slots;

	if (!cvmm_is_pow2(max_size) || max_size > CVMM_VIRTQ_SIZE_MAX)
		return -EINVAL;
	slots = calloc(max_size, sizeof(*slots) + sizeof(uint16_t));
	if (!slots)
		return -ENOMEM;
	*vq = (struct cvmm_virtq){
		.slots = slots,
		.popped = (uint16_t *)(slots + max_size),
		.max_size = max_size,
	};
	return 0;
}

void cvmm_virtq_fini(struct cvmm_virtq *vq)
{
	if (!vq)
		return;
	cvmm_virtq_stop(vq);
	free(vq->slots);
	*vq = (struct cvmm_virtq){ 0 };
}

/**
 * struct area - one of the three parts of a queue
 */
struct area {
	const char *name;
	cvmm_gpa gpa;
	size_t len;
	uint64_t align;
	enum cvmm_access access;
	void *host;
};

/*
 * Looks for an area in the map. Without a host address it is in RAM all the same, but not contiguous, or
 * behind an IOMMU.
 */
static int area_find(struct area *area, const struct cvmm_mem *mem, struct cvmm_error *err)
{
	if (area->gpa.addr % area->align)
		return cvmm_fail(err, -EINVAL, "virtqueue: %s at 0x%llx is not aligned to %llu",
				 area->name, (unsigned long long)area->gpa.addr,
				 (unsigned long long)area->align);
	area->host = NULL;
	/* Behind an IOMMU nothing is known yet but that areas do not wrap. */
	if (cvmm_mem_has_iommu(mem) && area->len - 1 <= UINT64_MAX - area->gpa.addr)
		return 0;
	if (cvmm_mem_check(mem, area->gpa, area->len, area->access))
		return cvmm_fail(err, -EINVAL, "virtqueue: %s of %zu bytes at 0x%llx is not in RAM",
				 area->name, area->len, (unsigned long long)area->gpa.addr);
	area->host = cvmm_mem_ptr(mem, area->gpa, area->len, area->access);
	return 0;
}

static int areas_find(const struct cvmm_virtq_config *c, const struct cvmm_mem *mem,
		      struct area areas[3], struct cvmm_error *err)
{
	size_t event = PACKED_EVENT_SIZE, event_align = PACKED_EVENT_ALIGN;
	int ret = 0;

	areas[0] = (struct area){ "descriptor area",
				  c->desc,
				  (size_t)c->size * DESC_SIZE,
				  DESC_ALIGN,
				  c->packed ? CVMM_ACCESS_READ_WRITE : CVMM_ACCESS_READ,
				  NULL };
	areas[1] = (struct area){ "driver area",
				  c->avail,
				  c->packed ? event : avail_entry_at(c->size) + EVENT_SIZE,
				  c->packed ? event_align : AVAIL_ALIGN,
				  CVMM_ACCESS_READ,
				  NULL };
	areas[2] = (struct area){ "device area",
				  c->used,
				  c->packed ? event : used_entry_at(c->size) + EVENT_SIZE,
				  c->packed ? event_align : USED_ALIGN,
				  CVMM_ACCESS_WRITE,
				  NULL };
	for (int i = 0; i < 3 && !ret; i++)
		ret = area_find(&areas[i], mem, err);
	return ret;
}

/* Goes over to a map whose reference the caller gives. */
static void use_map(struct cvmm_virtq *vq, struct cvmm_mem *mem, const struct area areas[3])
{
	bool direct = areas[0].host && areas[1].host && areas[2].host;

	vq->mem = mem;
	vq->desc_ring = areas[0].host;
	vq->driver_area = areas[1].host;
	vq->device_area = areas[2].host;
	vq->flags = (uint8_t)((vq->flags & ~VIRTQ_DIRECT) | (direct ? VIRTQ_DIRECT : 0));
	vq->extras = (uint8_t)((vq->extras & ~VIRTQ_EXTRA_DIRTY) |
			       (cvmm_mem_has_dirty(mem) ? VIRTQ_EXTRA_DIRTY : 0));
}

static int check_config(const struct cvmm_virtq *vq, const struct cvmm_virtq_config *c,
			const struct cvmm_virtq_base *base, struct cvmm_error *err)
{
	if (vq->started)
		return cvmm_fail(err, -EINVAL, "virtqueue: started already; stop it first");
	if (!c->size || c->size > vq->max_size)
		return cvmm_fail(err, -EINVAL, "virtqueue: size %u is not from 1 to %u", c->size,
				 vq->max_size);
	if (!c->packed && !cvmm_is_pow2(c->size))
		return cvmm_fail(err, -EINVAL,
				 "virtqueue: size %u is not a power of two, which split rings need",
				 c->size);
	if (c->packed && (base->next_avail >= c->size || base->next_used >= c->size))
		return cvmm_fail(err, -EINVAL,
				 "virtqueue: places %u and %u are not inside a packed ring of %u",
				 base->next_avail, base->next_used, c->size);
	return 0;
}

int cvmm_virtq_start_at(struct cvmm_virtq *vq, struct cvmm_mem *mem,
			const struct cvmm_virtq_config *config, const struct cvmm_virtq_base *base,
			struct cvmm_error *err)
{
	const struct cvmm_virtq_config c = *config;
	const struct cvmm_virtq_base at = *base;
	struct area areas[3];
	int ret;

	ret = check_config(vq, &c, &at, err);
	if (!ret)
		ret = areas_find(&c, mem, areas, err);
	if (ret)
		return ret;
	vq->config = c;
	vq->size = c.size;
	vq->next_avail = at.next_avail;
	vq->avail_seen = at.next_avail;
	vq->next_used = at.next_used;
	vq->avail_wrap = at.avail_wrap;
	vq->used_wrap = at.used_wrap;
	vq->unsignalled = UNSIGNALLED_MAX;
	vq->flags = (uint8_t)((c.packed ? VIRTQ_PACKED : 0) | (c.event_idx ? VIRTQ_EVENT_IDX : 0) |
			      (c.indirect ? VIRTQ_INDIRECT : 0));
	vq->extras = (uint8_t)((c.in_order ? VIRTQ_EXTRA_IN_ORDER : 0) |
			       (vq->trace ? VIRTQ_EXTRA_TRACE : 0));
	use_map(vq, cvmm_mem_ref(mem), areas);
	memset(vq->slots, 0, c.size * sizeof(*vq->slots));
	vq->started = true;
	vq->usable = true;
	return 0;
}

int cvmm_virtq_start(struct cvmm_virtq *vq, struct cvmm_mem *mem,
		     const struct cvmm_virtq_config *config, struct cvmm_error *err)
{
	const struct cvmm_virtq_base base = CVMM_VIRTQ_BASE_START;
	int ret = cvmm_virtq_start_at(vq, mem, config, &base, err);

	if (!ret)
		vq->unsignalled = 0;
	return ret;
}

void cvmm_virtq_stop(struct cvmm_virtq *vq)
{
	struct cvmm_virtq before = *vq;

	cvmm_virtq_inflight_free(vq);
	cvmm_mem_unref(vq->mem);
	for (size_t i = 0; i < CVMM_VIRTQ_MAPS_MAX; i++)
		cvmm_mem_unref(vq->old_maps[i].mem);
	*vq = (struct cvmm_virtq){
		.slots = before.slots,
		.popped = before.popped,
		.max_size = before.max_size,
		.policy = before.policy,
		.policy_ctx = before.policy_ctx,
		.trace = before.trace,
	};
	memcpy(vq->violations, before.violations, sizeof(vq->violations));
}

struct cvmm_virtq_base cvmm_virtq_base(const struct cvmm_virtq *vq)
{
	return (struct cvmm_virtq_base){ vq->next_avail, vq->next_used, vq->avail_wrap,
					 vq->used_wrap };
}

/* ---- another map ---------------------------------------------------------------------------- */

/* Lets an old map go with the last of its chains. */
static void old_map_done(struct cvmm_virtq *vq, uint8_t map)
{
	if (map == vq->map || --vq->old_maps[map].in_flight)
		return;
	vq->old_maps[map].mem = cvmm_mem_unref(vq->old_maps[map].mem);
}

static uint32_t chains_of_this_map(const struct cvmm_virtq *vq)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < vq->size; i++)
		count += vq->slots[i].descs && vq->slots[i].map == vq->map;
	return count;
}

int cvmm_virtq_set_mem(struct cvmm_virtq *vq, struct cvmm_mem *mem, struct cvmm_error *err)
{
	struct cvmm_mem *old = vq->mem;
	uint32_t in_flight;
	struct area areas[3];
	uint8_t next;
	int ret;

	if (!vq->started)
		return cvmm_fail(err, -EINVAL, "virtqueue: is not started");
	if (mem == old)
		return 0;
	ret = areas_find(&vq->config, mem, areas, err);
	if (ret)
		return ret;
	in_flight = chains_of_this_map(vq);
	for (next = 0; next < CVMM_VIRTQ_MAPS_MAX; next++)
		if (!vq->old_maps[next].mem && (next != vq->map || !in_flight))
			break;
	if (next == CVMM_VIRTQ_MAPS_MAX)
		return cvmm_fail(err, -EBUSY, "virtqueue: chains of %d memory maps are in flight",
				 CVMM_VIRTQ_MAPS_MAX);
	if (in_flight) {
		vq->old_maps[vq->map].mem = old;
		vq->old_maps[vq->map].in_flight = in_flight;
		vq->extras |= VIRTQ_EXTRA_OLD_MAPS;
		old = NULL;
	}
	vq->map = next;
	use_map(vq, cvmm_mem_ref(mem), areas);
	cvmm_mem_unref(old);
	return 0;
}

/* ---- taking chains -------------------------------------------------------------------------- */

/* Of a queue that is recorded, or has chains to be popped again. */
static __attribute__((noinline)) int pop_with_extras(struct cvmm_virtq *vq, struct iovec *iov,
						     size_t iov_max, bool is_first,
						     struct cvmm_virtq_chain *ret_chain)
{
	int ret = 2;

	/* One that was failed: the next may be better. Each is tried once. */
	while (ret == 2 && (vq->extras & VIRTQ_EXTRA_INFLIGHT) && cvmm_virtq_inflight_has_more(vq))
		ret = cvmm_virtq_inflight_pop(vq, iov, iov_max, is_first, ret_chain);
	if (ret == 2)
		ret = vq->flags & VIRTQ_PACKED
			      ? cvmm_virtq_packed_pop(vq, iov, iov_max, is_first, ret_chain)
			      : cvmm_virtq_split_pop(vq, iov, iov_max, is_first, ret_chain);
	if (ret == 1 && (vq->extras & VIRTQ_EXTRA_TRACE))
		cvmm_virtq_trace_available(vq, ret_chain);
	return ret;
}

static inline int pop_either(struct cvmm_virtq *vq, struct iovec *iov, size_t iov_max,
			     bool is_first, struct cvmm_virtq_chain *ret_chain)
{
	if (CVMM_UNLIKELY(!vq->usable))
		return cvmm_virtq_refusal(vq);
	if (CVMM_UNLIKELY(vq->extras & (VIRTQ_EXTRA_INFLIGHT | VIRTQ_EXTRA_TRACE)))
		return pop_with_extras(vq, iov, iov_max, is_first, ret_chain);
	if (vq->flags & VIRTQ_PACKED)
		return cvmm_virtq_packed_pop(vq, iov, iov_max, is_first, ret_chain);
	return cvmm_virtq_split_pop(vq, iov, iov_max, is_first, ret_chain);
}

int cvmm_virtq_pop(struct cvmm_virtq *vq, struct iovec *iov, size_t iov_max,
		   struct cvmm_virtq_chain *ret_chain)
{
	return pop_either(vq, iov, iov_max, true, ret_chain);
}

int cvmm_virtq_pop_batch(struct cvmm_virtq *vq, struct iovec *iov, size_t iov_max,
			 struct cvmm_virtq_chain *chains, size_t chain_max)
{
	size_t count = 0, pieces = 0;
	int ret = 1;

	while (count < chain_max && count < INT32_MAX) {
		ret = pop_either(vq, iov + pieces, iov_max - pieces, !count, &chains[count]);
		if (ret <= 0)
			break;
		pieces += (size_t)chains[count].readable_count + chains[count].writable_count;
		count++;
	}
	return count ? (int)count : ret > 0 ? 0 : ret;
}

/* Whether the device has this head. */
static inline bool is_in_flight(const struct cvmm_virtq *vq, uint16_t head)
{
	return CVMM_LIKELY(head < vq->size && vq->slots[head].descs && !vq->slots[head].done);
}

/* The end of a chain's flight. */
static inline void forget(struct cvmm_virtq *vq, uint16_t head)
{
	struct cvmm_virtq_slot *slot = &vq->slots[head];

	vq->descs_in_use -= slot->descs;
	slot->descs = 0;
	slot->done = false;
	vq->in_flight--;
	if (CVMM_UNLIKELY(vq->extras & VIRTQ_EXTRA_OLD_MAPS))
		old_map_done(vq, slot->map);
}

int cvmm_virtq_rewind(struct cvmm_virtq *vq, uint16_t head)
{
	uint16_t descs;
	bool again;

	if (CVMM_UNLIKELY(!vq->usable))
		return cvmm_virtq_refusal(vq);
	/* A stale entry of the ring cannot match: its head would have to be in flight. */
	if (!vq->in_flight || vq->popped[popped_slot(vq, vq->pops - 1U)] != head ||
	    !is_in_flight(vq, head))
		return -EINVAL;
	if (CVMM_UNLIKELY(vq->extras & VIRTQ_EXTRA_TRACE))
		cvmm_virtq_trace_rewound(vq, head);
	descs = vq->slots[head].descs;
	again = vq->slots[head].again;
	if (vq->extras & VIRTQ_EXTRA_INFLIGHT)
		cvmm_virtq_inflight_rewound(vq, head);
	forget(vq, head);
	vq->pops--;
	if (again)
		return 0;
	if (!(vq->flags & VIRTQ_PACKED)) {
		vq->next_avail--;
		return 0;
	}
	if (descs > vq->next_avail) {
		vq->next_avail = (uint16_t)(vq->next_avail + vq->size);
		vq->avail_wrap = !vq->avail_wrap;
	}
	vq->next_avail = (uint16_t)(vq->next_avail - descs);
	return 0;
}

/* ---- giving chains back --------------------------------------------------------------------- */

static inline void note_unsignalled(struct cvmm_virtq *vq, uint32_t places)
{
	vq->unsignalled += places;
	if (CVMM_UNLIKELY(vq->unsignalled > UNSIGNALLED_MAX))
		vq->unsignalled = UNSIGNALLED_MAX;
}

/* Writes and publishes elements of chains in flight, and forgets these. */
static inline int publish(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used, size_t count)
{
	bool tracked = vq->extras & VIRTQ_EXTRA_INFLIGHT;
	uint32_t places = (uint32_t)count;
	int ret;

	if (vq->flags & VIRTQ_PACKED) {
		places = 0;
		for (size_t i = 0; i < count; i++)
			places += vq->slots[used[i].head].descs;
	}
	if (CVMM_UNLIKELY(tracked))
		cvmm_virtq_inflight_before(vq, used, count, places);
	ret = vq->flags & VIRTQ_PACKED ? cvmm_virtq_packed_publish(vq, used, count)
				       : cvmm_virtq_split_publish(vq, used, count);
	if (CVMM_UNLIKELY(tracked))
		cvmm_virtq_inflight_after(vq, used, count, !ret);
	if (CVMM_UNLIKELY(ret))
		return ret;
	for (size_t i = 0; i < count; i++)
		forget(vq, used[i].head);
	note_unsignalled(vq, places);
	return 0;
}

/* Publishes what is done up to the first chain that is not. What cannot be now is tried again later. */
static int publish_in_order(struct cvmm_virtq *vq)
{
	struct cvmm_virtq_used used[IN_ORDER_BATCH];
	int ret = 0;

	while (!ret) {
		uint32_t oldest = (uint32_t)vq->pops - vq->in_flight, count = 0;

		while (count < IN_ORDER_BATCH && count < vq->in_flight) {
			uint16_t head = vq->popped[popped_slot(vq, oldest + count)];

			if (!vq->slots[head].done)
				break;
			used[count++] = (struct cvmm_virtq_used){ head, vq->slots[head].bytes };
		}
		if (!count)
			break;
		ret = publish(vq, used, count);
	}
	return ret == -EAGAIN ? 0 : ret;
}

static void set_done(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used)
{
	vq->slots[used->head].done = true;
	vq->slots[used->head].bytes = used->len_bytes;
}

static inline bool may_push(const struct cvmm_virtq *vq, const struct cvmm_virtq_used *used)
{
	return is_in_flight(vq, used->head) && used->len_bytes <= vq->slots[used->head].bytes;
}

/* One element, which was checked, of a queue with anything that most have not. @chain: if it is known. */
static __attribute__((noinline)) int push_with_extras(struct cvmm_virtq *vq,
						      const struct cvmm_virtq_used *used,
						      const struct cvmm_virtq_chain *chain)
{
	int ret;

	if (vq->extras & VIRTQ_EXTRA_TRACE)
		cvmm_virtq_trace_used_hold(vq, used, chain);
	if (vq->extras & VIRTQ_EXTRA_IN_ORDER) {
		set_done(vq, used);
		ret = publish_in_order(vq);
	} else {
		ret = publish(vq, used, 1);
	}
	if (!ret && (vq->extras & VIRTQ_EXTRA_TRACE))
		cvmm_virtq_trace_used_release(vq);
	return ret;
}

int cvmm_virtq_push(struct cvmm_virtq *vq, uint16_t head, uint32_t len_bytes)
{
	const struct cvmm_virtq_used used = { head, len_bytes };
	struct cvmm_virtq_slot *slot;
	uint32_t places;

	if (CVMM_UNLIKELY(!vq->usable))
		return cvmm_virtq_refusal(vq);
	if (CVMM_UNLIKELY(!may_push(vq, &used)))
		return -EINVAL;
	slot = &vq->slots[head];
	if (CVMM_UNLIKELY(vq->extras || !(vq->flags & VIRTQ_DIRECT)))
		return push_with_extras(vq, &used, NULL);
	if (vq->flags & VIRTQ_PACKED) {
		places = slot->descs;
		cvmm_virtq_packed_publish_one(vq, &used, places);
	} else {
		places = 1;
		cvmm_virtq_split_publish_one(vq, &used);
	}
	vq->descs_in_use -= slot->descs;
	vq->in_flight--;
	slot->descs = 0;
	note_unsignalled(vq, places);
	return 0;
}

int cvmm_virtq_push_chain(struct cvmm_virtq *vq, const struct cvmm_virtq_chain *chain,
			  uint32_t len_bytes)
{
	const struct cvmm_virtq_used used = { chain->head, len_bytes };
	struct cvmm_mem *mem = vq->mem;

	if (CVMM_UNLIKELY(
		    (vq->extras & (VIRTQ_EXTRA_DIRTY | VIRTQ_EXTRA_OLD_MAPS | VIRTQ_EXTRA_TRACE)) &&
		    is_in_flight(vq, chain->head))) {
		uint8_t map = vq->slots[chain->head].map;

		if (map != vq->map)
			mem = vq->old_maps[map].mem;
		cvmm_mem_mark_written(mem, chain->writable, chain->writable_count,
				      chain->writable_bytes);
		if ((vq->extras & VIRTQ_EXTRA_TRACE) && vq->usable && may_push(vq, &used))
			return push_with_extras(vq, &used, chain);
	}
	return cvmm_virtq_push(vq, chain->head, len_bytes);
}

int cvmm_virtq_push_batch(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used, size_t count)
{
	size_t i;
	int ret;

	if (!vq->usable)
		return cvmm_virtq_refusal(vq);
	/* A head that occurs twice is refused like any other that is not in flight. */
	for (i = 0; i < count && may_push(vq, &used[i]); i++)
		vq->slots[used[i].head].done = true;
	if (i == count && (vq->extras & VIRTQ_EXTRA_IN_ORDER)) {
		for (i = 0; i < count; i++)
			set_done(vq, &used[i]);
		ret = publish_in_order(vq);
	} else {
		ret = i < count ? -EINVAL : 0;
		while (i)
			vq->slots[used[--i].head].done = false;
		if (!ret && count)
			ret = publish(vq, used, count);
	}
	if (CVMM_UNLIKELY(vq->extras & VIRTQ_EXTRA_TRACE) && !ret)
		cvmm_virtq_trace_used_batch(vq, used, count);
	return ret;
}

int cvmm_virtq_fail_chain(struct cvmm_virtq *vq, uint16_t head, uint16_t descs,
			  enum cvmm_virtq_violation violation, bool again)
{
	int ret;

	note_pop(vq, head, descs, 0, again);
	if (vq->extras & VIRTQ_EXTRA_TRACE)
		cvmm_virtq_trace_violation(vq, violation, false);
	ret = cvmm_virtq_push(vq, head, 0);
	if (ret) {
		if (vq->extras & VIRTQ_EXTRA_INFLIGHT && !again)
			cvmm_virtq_inflight_rewound(vq, head);
		forget(vq, head);
		vq->pops--;
		return ret;
	}
	count_violation(vq, violation);
	return 0;
}

/* ---- notifications -------------------------------------------------------------------------- */

bool cvmm_virtq_should_notify(struct cvmm_virtq *vq)
{
	uint32_t count;

	if (!vq->usable)
		return false;
	if (CVMM_UNLIKELY(vq->extras & VIRTQ_EXTRA_IN_ORDER))
		(void)publish_in_order(vq);
	count = vq->unsignalled;
	if (!count)
		return false;
	vq->unsignalled = 0;
	full_fence();
	return vq->flags & VIRTQ_PACKED ? cvmm_virtq_packed_wants_notify(vq, count)
					: cvmm_virtq_split_wants_notify(vq, count);
}

static int ask_kicks(struct cvmm_virtq *vq, bool on)
{
	int ret = vq->flags & VIRTQ_PACKED ? cvmm_virtq_packed_ask_kicks(vq, on)
					   : cvmm_virtq_split_ask_kicks(vq, on);

	vq->extras &= (uint8_t)~VIRTQ_EXTRA_UNASKED;
	if (CVMM_UNLIKELY(ret && on))
		vq->extras |= VIRTQ_EXTRA_UNASKED;
	return ret;
}

__attribute__((cold)) int cvmm_virtq_ask_kicks_again(struct cvmm_virtq *vq)
{
	int ret = ask_kicks(vq, true);

	return ret ? cvmm_virtq_area_failed(vq, ret) : 0;
}

void cvmm_virtq_disable_notifications(struct cvmm_virtq *vq)
{
	if (vq->usable)
		(void)ask_kicks(vq, false);
}

bool cvmm_virtq_enable_notifications(struct cvmm_virtq *vq)
{
	if (!vq->usable)
		return false;
	if (ask_kicks(vq, true))
		return true; /* not to be waited with: pop will say what is wrong */
	full_fence();
	if (CVMM_UNLIKELY(vq->extras & VIRTQ_EXTRA_INFLIGHT) && cvmm_virtq_inflight_has_more(vq))
		return true;
	return vq->flags & VIRTQ_PACKED ? cvmm_virtq_packed_has_more(vq)
					: cvmm_virtq_split_has_more(vq);
}
