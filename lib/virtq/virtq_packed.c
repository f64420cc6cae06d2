// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Packed rings: VIRTIO 1.3, 2.8.
 *
 * Theory of operation: there is one ring, which both sides write. A descriptor is available when its
 * AVAIL flag is the driver's wrap counter and its USED flag is not; it is used when both are the
 * device's. The order of accesses is all the synchronisation that there is:
 *
 *   flags of the next descriptor
 *       loaded with acquire: the rest of it, and of its list, is then visible to us. The driver writes
 *       the first descriptor's flags last. They are loaded together with len and id, which the
 *       driver wrote before them.
 *   flags of a used descriptor
 *       stored with release, those of the first of a batch last: what we wrote in buffers, and the
 *       descriptors behind the first, are visible before it.
 *   driver event suppression
 *       loaded, all of it at once, after a full fence behind that store.
 *   device event suppression
 *       stored before a full fence, behind which the next descriptor's flags are looked at again.
 *
 * Used descriptors are written in the order of completion, each followed by a gap: as many
 * descriptors as the list had. So what is in flight is known by buffer id, and how much of the ring it
 * takes by a sum: more than the ring has means that the driver has overwritten what it may not.
 */
#include "virtq_walk.h"

#define USED_FLAGS_MASK (CVMM_VIRTQ_DESC_F_AVAIL | CVMM_VIRTQ_DESC_F_USED)

static inline bool is_available(uint16_t flags, bool wrap)
{
	return (flags & USED_FLAGS_MASK) ==
	       (wrap ? CVMM_VIRTQ_DESC_F_AVAIL : CVMM_VIRTQ_DESC_F_USED);
}

static inline size_t desc_at(uint32_t i)
{
	return (size_t)i * DESC_SIZE;
}

/* @at is inside the ring, and @descs not more than it. Return: whether the ring wrapped. */
static inline bool go_forward(const struct cvmm_virtq *vq, uint16_t *at, uint32_t descs)
{
	uint32_t next = *at + descs;
	bool wrapped = next >= vq->size;

	*at = (uint16_t)(wrapped ? next - vq->size : next);
	return wrapped;
}

/* ---- the walk ------------------------------------------------------------------------------- */

/* One descriptor of the ring, of which the half that has the flags is there already. */
virtq_inline int desc_rest(const struct cvmm_virtq *vq, uint32_t i, uint64_t rest, bool direct,
			   struct desc *ret_desc, uint16_t *ret_id)
{
	uint64_t addr;
	int ret = 0;

	if (direct)
		addr = fetch_le64(vq->desc_ring + desc_at(i));
	else
		ret = area_load_u64(vq, NULL, vq->config.desc, desc_at(i), false, &addr);
	if (!direct && ret)
		return ret == -EAGAIN ? ret : CVMM_VIRTQ_BAD_AREA;
	*ret_desc = (struct desc){
		.addr = addr,
		.len = (uint32_t)rest,
		.flags = (uint16_t)(rest >> 48),
	};
	*ret_id = (uint16_t)(rest >> 32);
	return 0;
}

virtq_inline int desc_get(const struct cvmm_virtq *vq, uint32_t i, bool direct,
			  struct desc *ret_desc, uint16_t *ret_id)
{
	uint64_t rest;
	int ret = area_load_u64(vq, vq->desc_ring, vq->config.desc, desc_at(i) + PACKED_REST,
				direct, &rest);

	if (!direct && ret)
		return ret == -EAGAIN ? ret : CVMM_VIRTQ_BAD_AREA;
	return desc_rest(vq, i, rest, direct, ret_desc, ret_id);
}

/* One entry of the table that was entered; of its flags only WRITE counts (2.8.7). */
virtq_inline int table_step(struct walk *walk, uint32_t i)
{
	uint64_t addr, rest;
	struct desc desc;
	int ret = table_fetch(walk, i, &addr, &rest);

	if (ret)
		return ret;
	desc = (struct desc){
		.addr = addr,
		.len = (uint32_t)rest,
		.flags = (uint16_t)(rest >> 48),
	};
	return add_buffer(walk, &desc);
}

/* All descriptors of a table, in their order. */
virtq_inline int walk_table(struct walk *walk, const struct desc *of)
{
	uint32_t entries = of->len / DESC_SIZE;
	int ret = table_enter(walk, of);

	for (uint32_t i = 0; i < entries && !ret; i++)
		ret = table_step(walk, i);
	return ret;
}

/* The next descriptor of a list that is popped again, from its copy. */
static void desc_from_copy(const struct cvmm_virtq *vq, uint16_t *entry, struct desc *ret_desc,
			   uint16_t *ret_id)
{
	struct cvmm_virtq_packed_desc copy = cvmm_virtq_inflight_desc(vq, entry);

	*ret_desc = (struct desc){
		.addr = cvmm_le64_get(copy.addr),
		.len = cvmm_le32_get(copy.len),
		.flags = cvmm_le16_get(copy.flags),
	};
	*ret_id = cvmm_le16_get(copy.id);
}

/**
 * struct list - how far a walk along a list is
 * @desc: the descriptor that comes next
 * @i: where it is: a place in the ring, or if the list is popped again the entry behind it in the region
 * @descs: that many were fetched
 * @id: of the one fetched last
 */
struct list {
	struct desc desc;
	uint16_t i;
	uint16_t id;
	uint32_t descs;
};

/* One descriptor. Return: 0 at the list's end, WALK_MORE, or what is wrong. */
virtq_inline int list_step(struct walk *walk, struct list *list, bool direct, bool again)
{
	const struct cvmm_virtq *vq = walk->vq;
	int ret = add_buffer(walk, &list->desc);

	if (CVMM_UNLIKELY(ret) || !(list->desc.flags & CVMM_VIRTQ_DESC_F_NEXT))
		return ret;
	if (CVMM_UNLIKELY(list->descs == vq->size))
		return CVMM_VIRTQ_LOOP;
	list->descs++;
	if (again) {
		desc_from_copy(vq, &list->i, &list->desc, &list->id);
	} else {
		go_forward(vq, &list->i, 1);
		ret = desc_get(vq, list->i, direct, &list->desc, &list->id);
		if (CVMM_UNLIKELY(ret))
			return ret;
	}
	if (CVMM_UNLIKELY(list->desc.flags & CVMM_VIRTQ_DESC_F_INDIRECT))
		return CVMM_VIRTQ_INDIRECT_IN_CHAIN;
	return WALK_MORE;
}

/* Follows the list from its first descriptor, which was fetched, to its end. */
virtq_inline int walk_list(struct walk *walk, struct list *list, bool direct, bool again)
{
	int ret;

	list->descs = 1;
	if (list->desc.flags & CVMM_VIRTQ_DESC_F_INDIRECT)
		return walk_table(walk, &list->desc);
	do
		ret = list_step(walk, list, direct, again);
	while (ret == WALK_MORE);
	return ret;
}

/* Whether such a list may be taken, and its id may be in flight. */
virtq_inline int check_list(const struct cvmm_virtq *vq, uint16_t id, uint32_t descs)
{
	if (CVMM_UNLIKELY(id >= vq->size))
		return CVMM_VIRTQ_BAD_HEAD;
	if (CVMM_UNLIKELY(vq->slots[id].descs))
		return CVMM_VIRTQ_HEAD_IN_FLIGHT;
	if (CVMM_UNLIKELY(descs > vq->size - vq->descs_in_use))
		return CVMM_VIRTQ_OVERRUN;
	return 0;
}

/* Where the quick walk is: a descriptor of the ring, and its halves. */
struct quick_list {
	const uint8_t *p;
	uint64_t addr;
	uint64_t rest;
	uint32_t descs;
};

/* One descriptor. Return: 0 at the list's end, WALK_MORE, or anything else: it is not for this walk. */
virtq_inline int quick_step(const struct cvmm_virtq *vq, struct quick *q, struct quick_list *at)
{
	if (CVMM_UNLIKELY(!quick_add(q, vq->mem, at->addr, (uint32_t)at->rest,
				     (uint32_t)(at->rest >> 48))))
		return -1;
	if (!(at->rest >> 48 & CVMM_VIRTQ_DESC_F_NEXT))
		return 0;
	at->p += DESC_SIZE;
	if (at->p == vq->desc_ring + desc_at(vq->size))
		at->p = vq->desc_ring;
	at->rest = fetch_le64(at->p + PACKED_REST);
	at->addr = fetch_le64(at->p);
	if (CVMM_UNLIKELY(at->descs++ == vq->size || (at->rest >> 48 & CVMM_VIRTQ_DESC_F_INDIRECT)))
		return -1;
	return WALK_MORE;
}

/* One entry of a table. Return: whether it could be added. */
virtq_inline bool quick_table_step(const struct cvmm_virtq *vq, struct quick *q,
				   const uint8_t *table, uint32_t i)
{
	uint64_t rest = fetch_le64(table + desc_at(i) + PACKED_REST);

	return quick_add(q, vq->mem, fetch_le64(table + desc_at(i)), (uint32_t)rest,
			 (uint32_t)(rest >> 48));
}

/* All of a table. Return: as quick_step(). */
virtq_inline int quick_walk_table(const struct cvmm_virtq *vq, struct quick *q,
				  const struct quick_list *of)
{
	uint32_t entries = (uint32_t)of->rest / DESC_SIZE;
	const uint8_t *table =
		quick_table(vq, of->addr, (uint32_t)of->rest, (uint32_t)(of->rest >> 48));

	if (CVMM_UNLIKELY(!table))
		return -1;
	for (uint32_t i = 0; i < entries; i++)
		if (CVMM_UNLIKELY(!quick_table_step(vq, q, table, i)))
			return -1;
	return 0;
}

/* Return: whether the list was gathered, whose first descriptor's second half is @rest. */
virtq_inline bool take_quickly(const struct cvmm_virtq *vq, uint64_t rest, struct iovec *iov,
			       size_t iov_max, struct cvmm_virtq_chain *ret_chain,
			       uint32_t *ret_descs)
{
	const uint8_t *p = vq->desc_ring + desc_at(vq->next_avail);
	struct quick_list at = { p, fetch_le64(p), rest, 1 };
	struct quick q = quick_start(iov, iov_max);
	uint16_t id;
	int ret;

	if (rest >> 48 & CVMM_VIRTQ_DESC_F_INDIRECT)
		ret = quick_walk_table(vq, &q, &at);
	else
		do
			ret = quick_step(vq, &q, &at);
		while (ret == WALK_MORE);
	id = (uint16_t)(at.rest >> 32);
	if (CVMM_UNLIKELY(ret || check_list(vq, id, at.descs)))
		return false;
	*ret_descs = at.descs;
	return quick_result(&q, iov, id, ret_chain);
}

/* ---- taking chains -------------------------------------------------------------------------- */

virtq_inline void go_to_next_list(struct cvmm_virtq *vq, uint32_t descs)
{
	if (go_forward(vq, &vq->next_avail, descs))
		vq->avail_wrap = !vq->avail_wrap;
}

/* Where a list ends, read anew: for one that is given back unseen. Return: 0, a violation, or -EAGAIN. */
static int find_end(const struct cvmm_virtq *vq, uint16_t *ret_id, uint32_t *ret_descs)
{
	bool direct = vq->flags & VIRTQ_DIRECT;
	uint16_t i = vq->next_avail;

	for (uint32_t descs = 1; descs <= vq->size; descs++) {
		struct desc desc;
		int ret = direct ? desc_get(vq, i, true, &desc, ret_id)
				 : desc_get(vq, i, false, &desc, ret_id);

		if (ret)
			return ret;
		if (!(desc.flags & CVMM_VIRTQ_DESC_F_NEXT)) {
			*ret_descs = descs;
			return 0;
		}
		go_forward(vq, &i, 1);
	}
	return CVMM_VIRTQ_LOOP;
}

/* What a walk that went wrong means. Return: 0 if the list was failed, and the next may be tried. */
static __attribute__((noinline)) int walk_failed(struct cvmm_virtq *vq, int result, bool is_first)
{
	uint32_t descs;
	uint16_t id;
	int ret;

	if (result < 0)
		return result;
	if (result == CVMM_VIRTQ_TOO_MANY_PIECES && !is_first)
		return -ENOBUFS;
	ret = vq->policy ? find_end(vq, &id, &descs) : CVMM_VIRTQ_LOOP;
	if (ret < 0)
		return ret;
	if (ret || check_list(vq, id, descs) ||
	    !cvmm_virtq_may_fail(vq, (enum cvmm_virtq_violation)result))
		return cvmm_virtq_break(vq, (enum cvmm_virtq_violation)result);
	ret = cvmm_virtq_fail_chain(vq, id, (uint16_t)descs, (enum cvmm_virtq_violation)result,
				    false);
	if (!ret)
		go_to_next_list(vq, descs);
	return ret;
}

/*
 * Gathers the list by the rules, from its first descriptor's second half on, which is available. Return: as
 * pop_once().
 */
static __attribute__((noinline)) int take(struct cvmm_virtq *vq, uint64_t rest, struct iovec *iov,
					  size_t iov_max, bool is_first, bool direct,
					  struct cvmm_virtq_chain *ret_chain)
{
	struct walk walk = walk_start(vq, iov, iov_max);
	struct list list = { .i = vq->next_avail };
	int ret;

	ret = desc_rest(vq, list.i, rest, direct, &list.desc, &list.id);
	if (!ret)
		ret = walk_list(&walk, &list, direct, false);
	if (!ret && CVMM_UNLIKELY(!walk_bytes_are_fine(&walk)))
		ret = CVMM_VIRTQ_TOO_LONG;
	if (CVMM_UNLIKELY(ret)) {
		ret = walk_failed(vq, ret, is_first);
		return ret ? ret : 2;
	}
	ret = check_list(vq, list.id, list.descs);
	if (CVMM_UNLIKELY(ret))
		return cvmm_virtq_break(vq, (enum cvmm_virtq_violation)ret);
	walk_result(&walk, list.id, ret_chain);
	note_pop(vq, list.id, (uint16_t)list.descs, ret_chain->writable_bytes, false);
	go_to_next_list(vq, list.descs);
	return 1;
}

/* Return: as cvmm_virtq_packed_pop(), or 2 if a list was failed. */
virtq_inline int pop_once(struct cvmm_virtq *vq, struct iovec *iov, size_t iov_max, bool is_first,
			  bool direct, struct cvmm_virtq_chain *ret_chain)
{
	uint32_t descs = 0;
	uint64_t rest;
	int ret;

	ret = area_load_u64(vq, vq->desc_ring, vq->config.desc,
			    desc_at(vq->next_avail) + PACKED_REST, direct, &rest);
	if (!direct && ret)
		return cvmm_virtq_area_failed(vq, ret);
	if (!is_available((uint16_t)(rest >> 48), vq->avail_wrap))
		return 0;
	if (direct && CVMM_LIKELY(take_quickly(vq, rest, iov, iov_max, ret_chain, &descs))) {
		note_pop(vq, ret_chain->head, (uint16_t)descs, ret_chain->writable_bytes, false);
		go_to_next_list(vq, descs);
		return 1;
	}
	return take(vq, rest, iov, iov_max, is_first, direct, ret_chain);
}

static __attribute__((noinline)) int pop_indirectly(struct cvmm_virtq *vq, struct iovec *iov,
						    size_t iov_max, bool is_first,
						    struct cvmm_virtq_chain *ret_chain)
{
	int ret = pop_once(vq, iov, iov_max, is_first, false, ret_chain);

	return !ret && (vq->extras & VIRTQ_EXTRA_UNASKED) ? cvmm_virtq_ask_kicks_again(vq) : ret;
}

int cvmm_virtq_packed_pop(struct cvmm_virtq *vq, struct iovec *iov, size_t iov_max, bool is_first,
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

int cvmm_virtq_packed_fetch(const struct cvmm_virtq *vq, uint16_t at, uint64_t *ret_addr,
			    uint64_t *ret_rest)
{
	bool direct = vq->flags & VIRTQ_DIRECT;
	int ret = direct ? area_load_u64(vq, vq->desc_ring, vq->config.desc, desc_at(at), true,
					 ret_addr)
			 : area_load_u64(vq, NULL, vq->config.desc, desc_at(at), false, ret_addr);

	if (ret)
		return ret;
	return direct ? area_load_u64(vq, vq->desc_ring, vq->config.desc, desc_at(at) + PACKED_REST,
				      true, ret_rest)
		      : area_load_u64(vq, NULL, vq->config.desc, desc_at(at) + PACKED_REST, false,
				      ret_rest);
}

/* What was checked when it was popped first may have been changed in the region since. */
int cvmm_virtq_packed_pop_again(struct cvmm_virtq *vq, uint16_t entry, uint16_t descs,
				struct iovec *iov, size_t iov_max, bool is_first,
				struct cvmm_virtq_chain *ret_chain)
{
	struct walk walk = walk_start(vq, iov, iov_max);
	struct list list = { .i = entry };
	int ret;

	desc_from_copy(vq, &list.i, &list.desc, &list.id);
	ret = walk_list(&walk, &list, true, true);
	if (!ret && !walk_bytes_are_fine(&walk))
		ret = CVMM_VIRTQ_TOO_LONG;
	if (!ret)
		ret = check_list(vq, list.id, descs);
	if (!ret && list.descs != descs)
		ret = CVMM_VIRTQ_LOOP;
	if (ret == CVMM_VIRTQ_TOO_MANY_PIECES && !is_first)
		return -ENOBUFS;
	if (ret < 0)
		return ret;
	if (ret)
		return cvmm_virtq_break(vq, (enum cvmm_virtq_violation)ret);
	walk_result(&walk, list.id, ret_chain);
	note_pop(vq, list.id, descs, ret_chain->writable_bytes, true);
	return 1;
}

/* ---- giving chains back --------------------------------------------------------------------- */

/*
 * One used descriptor but for its flags. The first half, the address, stays as it is: unused there
 * (2.8.4). Return: as the area_ functions.
 */
virtq_inline int put_used(struct cvmm_virtq *vq, uint16_t at, const struct cvmm_virtq_used *used,
			  bool direct)
{
	size_t rest = desc_at(at) + PACKED_REST;
	int ret;

	if (direct) {
		uint8_t *p = vq->desc_ring + rest;

		host_put_u32(p, used->len_bytes);
		host_put_u16(p + PACKED_ID - PACKED_REST, used->head);
		area_mark(vq, vq->config.desc, rest, PACKED_FLAGS - PACKED_REST);
		return 0;
	}
	ret = cvmm_mem_store_u32(vq->mem, cvmm_gpa_add(vq->config.desc, rest), __ATOMIC_RELAXED,
				 used->len_bytes);
	if (ret)
		return ret;
	return cvmm_mem_store_u16(vq->mem, cvmm_gpa_add(vq->config.desc, rest + sizeof(uint32_t)),
				  __ATOMIC_RELAXED, used->head);
}

virtq_inline uint16_t used_flags(const struct cvmm_virtq_used *used, bool wrap)
{
	return (uint16_t)((wrap ? USED_FLAGS_MASK : 0) |
			  (used->len_bytes ? CVMM_VIRTQ_DESC_F_WRITE : 0));
}

virtq_inline int put_flags(struct cvmm_virtq *vq, uint16_t at, uint16_t flags, int order,
			   bool direct)
{
	return area_store_u16(vq, vq->desc_ring, vq->config.desc, desc_at(at) + PACKED_FLAGS, flags,
			      order, direct);
}

virtq_inline int publish(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used, size_t count,
			 bool direct)
{
	uint16_t at = vq->next_used;
	bool wrap = vq->used_wrap;
	int ret = 0;

	for (size_t i = 0; i < count && !ret; i++) {
		ret = put_used(vq, at, &used[i], direct);
		if (i && !ret)
			ret = put_flags(vq, at, used_flags(&used[i], wrap), __ATOMIC_RELEASE,
					direct);
		if (go_forward(vq, &at, vq->slots[used[i].head].descs))
			wrap = !wrap;
	}
	if (!ret)
		ret = put_flags(vq, vq->next_used, used_flags(&used[0], vq->used_wrap),
				__ATOMIC_RELEASE, direct);
	if (!direct && ret)
		return cvmm_virtq_area_failed(vq, ret);
	vq->next_used = at;
	vq->used_wrap = wrap;
	return 0;
}

int cvmm_virtq_packed_publish(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
			      size_t count)
{
	int ret;

	if (CVMM_LIKELY(vq->flags & VIRTQ_DIRECT))
		return publish(vq, used, count, true);
	/* A descriptor behind the first that is marked used, and then is not, would be found later. */
	ret = cvmm_mem_check(vq->mem, vq->config.desc, desc_at(vq->size), CVMM_ACCESS_WRITE);
	if (ret)
		return cvmm_virtq_area_failed(vq, ret);
	ret = publish(vq, used, count, false);
	return ret == -EAGAIN ? cvmm_virtq_break(vq, CVMM_VIRTQ_BAD_AREA) : ret;
}

/* ---- notifications -------------------------------------------------------------------------- */

/*
 * How far @next_used is behind the descriptor that the driver waits for: 1 if that was the last one to
 * be used. Places come again after two turns, so that one that is yet to come was there that long ago.
 */
static inline int64_t distance_behind(const struct cvmm_virtq *vq, uint16_t off, bool wrap)
{
	int64_t distance = (int64_t)vq->next_used - off;

	if (wrap != vq->used_wrap)
		distance += vq->size;
	return distance > 0 ? distance : distance + 2 * vq->size;
}

bool cvmm_virtq_packed_wants_notify(struct cvmm_virtq *vq, uint32_t count)
{
	uint32_t event;
	uint16_t off;
	int64_t behind;

	if (vq->flags & VIRTQ_DIRECT)
		area_load_u32(vq, vq->driver_area, vq->config.avail, true, &event);
	else if (area_load_u32(vq, NULL, vq->config.avail, false, &event))
		return true; /* one too many does no harm */
	switch (event >> PACKED_EVENT_FLAGS_SHIFT & PACKED_EVENT_FLAGS_MASK) {
	case CVMM_VIRTQ_EVENT_DISABLE:
		return false;
	case CVMM_VIRTQ_EVENT_DESC:
		if (!(vq->flags & VIRTQ_EVENT_IDX))
			return true; /* not allowed then */
		off = (uint16_t)(event & (CVMM_VIRTQ_EVENT_WRAP - 1));
		behind = distance_behind(vq, off, event & CVMM_VIRTQ_EVENT_WRAP);
		return behind > 0 && behind <= count;
	default:
		return true;
	}
}

int cvmm_virtq_packed_ask_kicks(struct cvmm_virtq *vq, bool on)
{
	uint32_t flags = on ? CVMM_VIRTQ_EVENT_ENABLE : CVMM_VIRTQ_EVENT_DISABLE, event = 0;

	if (on && (vq->flags & VIRTQ_EVENT_IDX)) {
		flags = CVMM_VIRTQ_EVENT_DESC;
		event = vq->next_avail | (vq->avail_wrap ? CVMM_VIRTQ_EVENT_WRAP : 0);
	}
	event |= flags << PACKED_EVENT_FLAGS_SHIFT;
	if (vq->flags & VIRTQ_DIRECT)
		return area_store_u32(vq, vq->device_area, vq->config.used, event, true);
	return area_store_u32(vq, NULL, vq->config.used, event, false);
}

bool cvmm_virtq_packed_has_more(struct cvmm_virtq *vq)
{
	size_t at = desc_at(vq->next_avail) + PACKED_FLAGS;
	uint16_t flags;

	if (vq->flags & VIRTQ_DIRECT)
		flags = ring_load(vq->desc_ring, at, __ATOMIC_RELAXED);
	else if (area_load_u16(vq, NULL, vq->config.desc, at, __ATOMIC_RELAXED, false, &flags))
		return true; /* pop will say what is wrong */
	return is_available(flags, vq->avail_wrap);
}
