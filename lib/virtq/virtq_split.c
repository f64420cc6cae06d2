// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Split rings: VIRTIO 1.3, 2.7.
 *
 * Theory of operation: the driver and we share four fields, and their memory order is all the
 * synchronisation that there is:
 *
 *   avail.idx    loaded with acquire: entries and descriptors below it are then visible to us.
 *   used.idx     stored with release: what we wrote, in buffers and in the used ring, is visible to
 *                the driver before the index that hands it over.
 *   used_event, avail.flags
 *                read after a full fence behind the store of used.idx. The driver stores them,
 *                fences, and reads used.idx. One of the two sees the other's store: no notification
 *                is lost.
 *   avail_event, used.flags
 *                the same, mirrored, against avail.idx.
 *
 * Indices run freely over 16 bits; their low bits are the place in the ring. avail.idx is read only
 * when everything up to the last value that was read (avail_seen) has been popped.
 *
 * The walk along a chain is bounded three ways: `left` counts down the descriptors that the table can
 * hold, each piece takes one of the caller's iovecs, and there is at most one change of table, from
 * the ring to an indirect one.
 */
#include "virtq_walk.h"

static inline uint32_t ring_slot(const struct cvmm_virtq *vq, uint16_t index)
{
	return index & (vq->size - 1U);
}

/* ---- the walk ------------------------------------------------------------------------------- */

/**
 * struct position - where a walk is
 * @entries: descriptors in the current table
 * @left: descriptors that may yet come before the chain must be a loop
 * @i: the descriptor; inside the table
 * @in_table: the current table is an indirect one
 */
struct position {
	uint32_t entries;
	uint32_t left;
	uint32_t i;
	bool in_table;
};

virtq_inline int desc_get(const struct walk *walk, const struct position *at, uint32_t i,
			  bool direct, struct desc *ret_desc)
{
	const struct cvmm_virtq *vq = walk->vq;
	uint64_t addr, rest;
	int ret = 0;

	if (at->in_table) {
		ret = table_fetch(walk, i, &addr, &rest);
	} else if (direct) {
		addr = fetch_le64(vq->desc_ring + (size_t)i * DESC_SIZE);
		rest = fetch_le64(vq->desc_ring + (size_t)i * DESC_SIZE + PACKED_REST);
	} else {
		uint8_t copy[DESC_SIZE];

		ret = cvmm_mem_read(vq->mem, cvmm_gpa_add(vq->config.desc, (uint64_t)i * DESC_SIZE),
				    copy, DESC_SIZE);
		addr = fetch_le64(copy);
		rest = fetch_le64(copy + PACKED_REST);
		if (ret && ret != -EAGAIN)
			ret = CVMM_VIRTQ_BAD_AREA;
	}
	if (CVMM_UNLIKELY(ret))
		return ret;
	*ret_desc = (struct desc){
		.addr = addr,
		.len = (uint32_t)rest,
		.flags = (uint16_t)(rest >> 32),
		.next = (uint16_t)(rest >> 48),
	};
	return 0;
}

/* One descriptor. Return: 0 at the chain's end, WALK_MORE, or what is wrong. */
virtq_inline int walk_step(struct walk *walk, struct position *at, bool direct)
{
	struct desc desc;
	int ret = desc_get(walk, at, at->i, direct, &desc);

	if (CVMM_UNLIKELY(ret))
		return ret;
	if (desc.flags & CVMM_VIRTQ_DESC_F_INDIRECT) {
		if (at->in_table)
			return CVMM_VIRTQ_INDIRECT_NESTED;
		ret = table_enter(walk, &desc);
		if (CVMM_UNLIKELY(ret))
			return ret;
		*at = (struct position){
			.entries = desc.len / DESC_SIZE,
			.left = desc.len / DESC_SIZE,
			.in_table = true,
		};
		return WALK_MORE;
	}
	ret = add_buffer(walk, &desc);
	if (CVMM_UNLIKELY(ret))
		return ret;
	if (!(desc.flags & CVMM_VIRTQ_DESC_F_NEXT))
		return 0;
	if (CVMM_UNLIKELY(desc.next >= at->entries))
		return CVMM_VIRTQ_BAD_NEXT;
	if (CVMM_UNLIKELY(!--at->left))
		return CVMM_VIRTQ_LOOP;
	at->i = desc.next;
	return WALK_MORE;
}

/* Follows the chain to its end. */
virtq_inline int walk_chain(struct walk *walk, struct position *at, bool direct)
{
	int ret;

	do
		ret = walk_step(walk, at, direct);
	while (ret == WALK_MORE);
	return ret;
}

/* The state of the quick walk: the table where it is, and the rest as in struct position. */
struct quick_position {
	const uint8_t *table;
	uint32_t entries;
	uint32_t left;
	uint32_t i;
};

/* One descriptor. Return: 0 at the chain's end, WALK_MORE, or anything else: it is not for this walk. */
virtq_inline int quick_step(const struct cvmm_virtq *vq, struct quick *q, struct quick_position *at)
{
	const uint8_t *p = at->table + (size_t)at->i * DESC_SIZE;
	uint64_t addr = fetch_le64(p), rest = fetch_le64(p + PACKED_REST);
	uint32_t flags = (uint32_t)(rest >> 32);

	if (flags & CVMM_VIRTQ_DESC_F_INDIRECT) {
		if (at->table != vq->desc_ring)
			return -1;
		at->table = quick_table(vq, addr, (uint32_t)rest, flags);
		if (CVMM_UNLIKELY(!at->table || at->table == vq->desc_ring))
			return -1;
		at->entries = (uint32_t)rest / DESC_SIZE;
		at->left = at->entries;
		at->i = 0;
		return WALK_MORE;
	}
	if (CVMM_UNLIKELY(!quick_add(q, vq->mem, addr, (uint32_t)rest, flags)))
		return -1;
	if (!(flags & CVMM_VIRTQ_DESC_F_NEXT))
		return 0;
	at->i = flags >> 16;
	if (CVMM_UNLIKELY(at->i >= at->entries || !--at->left))
		return -1;
	return WALK_MORE;
}

/* Return: whether the chain was gathered. */
virtq_inline bool take_quickly(const struct cvmm_virtq *vq, uint16_t head, struct iovec *iov,
			       size_t iov_max, struct cvmm_virtq_chain *ret_chain)
{
	struct quick_position at = { vq->desc_ring, vq->size, vq->size, head };
	struct quick q = quick_start(iov, iov_max);
	int ret;

	do
		ret = quick_step(vq, &q, &at);
	while (ret == WALK_MORE);
	return !ret && quick_result(&q, iov, head, ret_chain);
}

/* ---- taking chains -------------------------------------------------------------------------- */

/* Looks for new entries. Return: 1 if there are any, 0, or an error. */
virtq_inline int refresh_avail(struct cvmm_virtq *vq, bool direct)
{
	uint16_t idx;
	int ret = area_load_u16(vq, vq->driver_area, vq->config.avail, AVAIL_IDX, __ATOMIC_ACQUIRE,
				direct, &idx);

	if (!direct && ret)
		return cvmm_virtq_area_failed(vq, ret);
	if (idx == vq->next_avail)
		return 0;
	if (CVMM_UNLIKELY((uint16_t)(idx - vq->next_avail) > vq->size))
		return cvmm_virtq_break(vq, CVMM_VIRTQ_BAD_AVAIL_INDEX);
	vq->avail_seen = idx;
	return 1;
}

/* Return: 0 and the next head, which is inside the table and not in flight; or an error. */
virtq_inline int next_head(struct cvmm_virtq *vq, bool direct, uint16_t *ret_head)
{
	uint16_t head;
	int ret = area_load_u16(vq, vq->driver_area, vq->config.avail,
				avail_entry_at(ring_slot(vq, vq->next_avail)), __ATOMIC_RELAXED,
				direct, &head);

	if (!direct && ret)
		return cvmm_virtq_area_failed(vq, ret);
	if (CVMM_UNLIKELY(head >= vq->size))
		return cvmm_virtq_break(vq, CVMM_VIRTQ_BAD_HEAD);
	if (CVMM_UNLIKELY(vq->slots[head].descs))
		return cvmm_virtq_break(vq, CVMM_VIRTQ_HEAD_IN_FLIGHT);
	*ret_head = head;
	return 0;
}

/* What a walk that went wrong means. Return: 0 if the chain was failed, and the next may be tried. */
static __attribute__((noinline)) int walk_failed(struct cvmm_virtq *vq, uint16_t head, int result,
						 bool is_first, bool again)
{
	int ret;

	if (result < 0)
		return result;
	if (result == CVMM_VIRTQ_TOO_MANY_PIECES && !is_first)
		return -ENOBUFS;
	if (!cvmm_virtq_may_fail(vq, (enum cvmm_virtq_violation)result))
		return cvmm_virtq_break(vq, (enum cvmm_virtq_violation)result);
	ret = cvmm_virtq_fail_chain(vq, head, 1, (enum cvmm_virtq_violation)result, again);
	if (!ret && !again)
		vq->next_avail++;
	return ret;
}

/* Gathers the chain at @head, which is in the table and not in flight. Return: as pop_once(). */
static __attribute__((noinline)) int take(struct cvmm_virtq *vq, uint16_t head, struct iovec *iov,
					  size_t iov_max, bool is_first, bool again, bool direct,
					  struct cvmm_virtq_chain *ret_chain)
{
	struct position at = { .entries = vq->size, .left = vq->size, .i = head };
	struct walk walk = walk_start(vq, iov, iov_max);
	int ret = walk_chain(&walk, &at, direct);

	if (!ret && CVMM_UNLIKELY(!walk_bytes_are_fine(&walk)))
		ret = CVMM_VIRTQ_TOO_LONG;
	if (CVMM_UNLIKELY(ret)) {
		ret = walk_failed(vq, head, ret, is_first, again);
		return ret ? ret : 2;
	}
	walk_result(&walk, head, ret_chain);
	note_pop(vq, head, 1, ret_chain->writable_bytes, again);
	return 1;
}

/* Return: as cvmm_virtq_split_pop(), or 2 if a chain was failed. */
virtq_inline int pop_once(struct cvmm_virtq *vq, struct iovec *iov, size_t iov_max, bool is_first,
			  bool direct, struct cvmm_virtq_chain *ret_chain)
{
	uint16_t head = 0;
	int ret;

	if (vq->next_avail == vq->avail_seen) {
		ret = refresh_avail(vq, direct);
		if (ret <= 0)
			return ret;
	}
	ret = next_head(vq, direct, &head);
	if (CVMM_UNLIKELY(ret))
		return ret;
	if (direct && CVMM_LIKELY(take_quickly(vq, head, iov, iov_max, ret_chain))) {
		note_pop(vq, head, 1, ret_chain->writable_bytes, false);
		vq->next_avail++;
		return 1;
	}
	ret = take(vq, head, iov, iov_max, is_first, false, direct, ret_chain);
	vq->next_avail = (uint16_t)(vq->next_avail + (ret == 1));
	return ret;
}

static __attribute__((noinline)) int pop_indirectly(struct cvmm_virtq *vq, struct iovec *iov,
						    size_t iov_max, bool is_first,
						    struct cvmm_virtq_chain *ret_chain)
{
	int ret = pop_once(vq, iov, iov_max, is_first, false, ret_chain);

	return !ret && (vq->extras & VIRTQ_EXTRA_UNASKED) ? cvmm_virtq_ask_kicks_again(vq) : ret;
}

int cvmm_virtq_split_pop(struct cvmm_virtq *vq, struct iovec *iov, size_t iov_max, bool is_first,
			 struct cvmm_virtq_chain *ret_chain)
{
	int ret;

	/* As many as there can be at a time: a driver that goes on making bad ones keeps us no longer. */
	for (uint32_t failed = 0; failed <= vq->size; failed++) {
		ret = CVMM_LIKELY(vq->flags & VIRTQ_DIRECT)
			      ? pop_once(vq, iov, iov_max, is_first, true, ret_chain)
			      : pop_indirectly(vq, iov, iov_max, is_first, ret_chain);
		if (CVMM_LIKELY(ret != 2))
			return ret;
	}
	return cvmm_virtq_break(vq, CVMM_VIRTQ_OVERRUN);
}

int cvmm_virtq_split_pop_again(struct cvmm_virtq *vq, uint16_t head, struct iovec *iov,
			       size_t iov_max, bool is_first, struct cvmm_virtq_chain *ret_chain)
{
	if (vq->flags & VIRTQ_DIRECT)
		return take(vq, head, iov, iov_max, is_first, true, true, ret_chain);
	return take(vq, head, iov, iov_max, is_first, true, false, ret_chain);
}

/* ---- giving chains back --------------------------------------------------------------------- */

virtq_inline int publish(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used, size_t count,
			 bool direct)
{
	uint16_t next = (uint16_t)(vq->next_used + count);
	int ret = 0;

	for (size_t i = 0; i < count && !ret; i++) {
		uint32_t slot = ring_slot(vq, (uint16_t)(vq->next_used + i));

		/* Of the two fields that an element has, the first is the low half. */
		ret = area_write_u64(vq, vq->device_area, vq->config.used, used_entry_at(slot),
				     used[i].head | (uint64_t)used[i].len_bytes << 32, direct);
	}
	if (!ret)
		ret = area_store_u16(vq, vq->device_area, vq->config.used, USED_IDX, next,
				     __ATOMIC_RELEASE, direct);
	if (!direct && ret)
		return cvmm_virtq_area_failed(vq, ret);
	vq->next_used = next;
	return 0;
}

int cvmm_virtq_split_publish(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
			     size_t count)
{
	if (CVMM_LIKELY(vq->flags & VIRTQ_DIRECT))
		return publish(vq, used, count, true);
	return publish(vq, used, count, false);
}

/* ---- notifications -------------------------------------------------------------------------- */

/*
 * Whether the index that the driver waits for, @event, is among the last @count that were published
 * before @next: the rule of 2.7.7.2 for all of them at once.
 */
static inline bool event_passed(uint16_t event, uint16_t next, uint32_t count)
{
	return (uint16_t)(next - event - 1) < count;
}

bool cvmm_virtq_split_wants_notify(struct cvmm_virtq *vq, uint32_t count)
{
	bool event_idx = vq->flags & VIRTQ_EVENT_IDX;
	size_t at = event_idx ? avail_entry_at(vq->size) : AVAIL_FLAGS;
	uint16_t value;

	if (vq->flags & VIRTQ_DIRECT)
		value = ring_load(vq->driver_area, at, __ATOMIC_RELAXED);
	else if (area_load_u16(vq, NULL, vq->config.avail, at, __ATOMIC_RELAXED, false, &value))
		return true; /* one too many does no harm */
	if (event_idx)
		return event_passed(value, vq->next_used, count);
	return !(value & CVMM_VIRTQ_AVAIL_F_NO_INTERRUPT);
}

int cvmm_virtq_split_ask_kicks(struct cvmm_virtq *vq, bool on)
{
	bool event_idx = vq->flags & VIRTQ_EVENT_IDX;
	size_t at = event_idx ? used_entry_at(vq->size) : USED_FLAGS;
	uint16_t value = vq->next_avail;

	/* With EVENT_IDX the event index stays behind, which says the same; the flags must be 0. */
	if (event_idx && !on)
		return 0;
	if (!event_idx)
		value = on ? 0 : (uint16_t)CVMM_VIRTQ_USED_F_NO_NOTIFY;
	if (vq->flags & VIRTQ_DIRECT)
		return area_store_u16(vq, vq->device_area, vq->config.used, at, value,
				      __ATOMIC_RELAXED, true);
	return area_store_u16(vq, NULL, vq->config.used, at, value, __ATOMIC_RELAXED, false);
}

bool cvmm_virtq_split_has_more(struct cvmm_virtq *vq)
{
	uint16_t idx;

	/* Nothing is taken from what this index covers: pop loads it again, with acquire. */
	if (vq->flags & VIRTQ_DIRECT)
		idx = ring_load(vq->driver_area, AVAIL_IDX, __ATOMIC_RELAXED);
	else if (area_load_u16(vq, NULL, vq->config.avail, AVAIL_IDX, __ATOMIC_RELAXED, false,
			       &idx))
		return true; /* pop will say what is wrong */
	return idx != vq->next_avail;
}
