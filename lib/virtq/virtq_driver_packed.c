// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: the packed ring as its driver sees it. A position is a place in two turns of
 * the ring, from 0 to twice its size: below the size the wrap counter is 1, from there on it is 0.
 * So one number is both an offset and a wrap counter, and distances are differences modulo two turns,
 * for sizes that are no powers of two as well.
 *
 * The device walks the ring in order and stops at the first descriptor whose flags do not say that it
 * is available. So all descriptors of all buffers are written at once, except for the flags of the first
 * that was added since the last publish. These are stored last, with release: whoever sees them, with
 * acquire, sees all that is behind them, and no hole. In the same way the device stores the flags of a
 * used descriptor last, and we load them with acquire before its id and length.
 *
 * The event suppression structures are 32 bits each, read and written at once: their offset never
 * goes with the flags of another time. The device's is read after a full fence behind the store of
 * flags, ours written before a full fence and the load of flags, as for split rings.
 *
 * Spec: VIRTIO 1.3, 2.8.
 */
#include <errno.h>

#include "virtq_driver_internal.h"

static inline bool pos_wrap(const struct cvmm_virtq_driver *drv, uint32_t pos)
{
	return pos < drv->size;
}

static inline uint32_t pos_offset(const struct cvmm_virtq_driver *drv, uint32_t pos)
{
	return pos_wrap(drv, pos) ? pos : pos - drv->size;
}

static inline uint8_t *pos_desc(const struct cvmm_virtq_driver *drv, uint32_t pos)
{
	return drv->desc + (size_t)pos_offset(drv, pos) * DESC_SIZE;
}

/* @count: not more than two turns. */
static inline uint32_t pos_add(const struct cvmm_virtq_driver *drv, uint32_t pos, uint32_t count)
{
	uint32_t turns = 2U * drv->size;

	pos += count;
	return pos < turns ? pos : pos - turns;
}

/* How far @pos is behind @base. */
static inline uint32_t pos_distance(const struct cvmm_virtq_driver *drv, uint32_t base,
				    uint32_t pos)
{
	return pos >= base ? pos - base : pos + 2U * drv->size - base;
}

/* Offset and wrap counter as 16 bits: notification data and event suppression write it alike. */
uint16_t cvmm_virtq_driver_packed_place(const struct cvmm_virtq_driver *drv, uint32_t pos)
{
	return (uint16_t)(pos_offset(drv, pos) | (pos_wrap(drv, pos) ? DRIVER_EVENT_WRAP : 0U));
}

void cvmm_virtq_driver_packed_put(struct cvmm_virtq_driver *drv, uint16_t id,
				  const struct driver_list *list)
{
	const struct cvmm_virtq_segment *segment = list->segments;
	uint32_t i, pos = drv->add_pos;
	uint16_t flags;
	uint8_t *desc;

	for (i = 0; i < list->count; i++, segment++) {
		desc = pos_desc(drv, pos);
		cvmm_put_le64(desc, segment->gpa.addr);
		/* Atomic, because a device may load them together with the flags, which are not yet set. */
		__atomic_store_n((uint32_t *)(void *)(desc + DRIVER_PACKED_LEN),
				 htole32(segment->len_bytes), __ATOMIC_RELAXED);
		/* Only that of the last one counts. */
		ring_store(desc, DRIVER_PACKED_ID, id, __ATOMIC_RELAXED);
		flags = driver_desc_flags(list, i);
		flags |= pos_wrap(drv, pos) ? DRIVER_PACKED_F_AVAIL : DRIVER_PACKED_F_USED;
		if (pos == drv->publish_pos)
			drv->held_flags = flags;
		else
			ring_store(desc, DRIVER_PACKED_FLAGS, flags, __ATOMIC_RELAXED);
		pos = pos_add(drv, pos, 1);
	}
	drv->add_pos = pos;
}

void cvmm_virtq_driver_packed_publish(struct cvmm_virtq_driver *drv)
{
	driver_count_unsignalled(drv, pos_distance(drv, drv->publish_pos, drv->add_pos));
	ring_store(pos_desc(drv, drv->publish_pos), DRIVER_PACKED_FLAGS, drv->held_flags,
		   __ATOMIC_RELEASE);
	drv->publish_pos = drv->add_pos;
}

bool cvmm_virtq_driver_packed_wants_kick(const struct cvmm_virtq_driver *drv, uint32_t count)
{
	uint32_t event = driver_load_u32(drv->device_area, 0);
	uint32_t flags = (event >> DRIVER_EVENT_FLAGS_SHIFT) & DRIVER_EVENT_FLAGS;
	uint32_t offset = event & DRIVER_EVENT_OFFSET;
	uint32_t wanted;

	if (flags == DRIVER_EVENT_DISABLE)
		return false;
	/* What makes no sense is not worth a hang: better one kick too many. */
	if (flags != DRIVER_EVENT_DESC || !drv->config.event_idx || offset >= drv->size)
		return true;
	wanted = event & DRIVER_EVENT_WRAP ? offset : offset + drv->size;
	/* Whether the descriptor that the device waits for is among the last @count. */
	return pos_distance(drv, pos_add(drv, wanted, 1), drv->publish_pos) < count;
}

static inline bool is_used(const struct cvmm_virtq_driver *drv, uint16_t flags)
{
	bool wrap = pos_wrap(drv, drv->used_pos);

	return !!(flags & DRIVER_PACKED_F_AVAIL) == wrap &&
	       !!(flags & DRIVER_PACKED_F_USED) == wrap;
}

int cvmm_virtq_driver_packed_look(struct cvmm_virtq_driver *drv, struct driver_used *ret_used)
{
	const uint8_t *desc = pos_desc(drv, drv->used_pos);
	uint16_t flags = ring_load(desc, DRIVER_PACKED_FLAGS, __ATOMIC_ACQUIRE);

	if (!is_used(drv, flags))
		return 0;
	ret_used->id = ring_load(desc, DRIVER_PACKED_ID, __ATOMIC_RELAXED);
	/* Without the flag nothing was written, and the length is reserved (2.8.4). */
	ret_used->len_bytes =
		flags & CVMM_VIRTQ_DESC_F_WRITE ? driver_load_u32(desc, DRIVER_PACKED_LEN) : 0;
	return 1;
}

void cvmm_virtq_driver_packed_advance(struct cvmm_virtq_driver *drv, uint16_t id)
{
	drv->used_pos = pos_add(drv, drv->used_pos, drv->entries[id].descs);
}

void cvmm_virtq_driver_packed_ask_interrupts(struct cvmm_virtq_driver *drv, bool on)
{
	uint32_t event = DRIVER_EVENT_DISABLE << DRIVER_EVENT_FLAGS_SHIFT;

	if (on && drv->config.event_idx)
		event = (DRIVER_EVENT_DESC << DRIVER_EVENT_FLAGS_SHIFT) |
			cvmm_virtq_driver_packed_place(drv, drv->used_pos);
	else if (on)
		event = DRIVER_EVENT_ENABLE << DRIVER_EVENT_FLAGS_SHIFT;
	/* Relaxed: a fence follows if it matters. */
	__atomic_store_n((uint32_t *)(void *)drv->driver_area, htole32(event), __ATOMIC_RELAXED);
}

bool cvmm_virtq_driver_packed_has_used(const struct cvmm_virtq_driver *drv)
{
	/* Inside of a batch the device wrote nothing at used_pos; but there is something to take. */
	return drv->batch_left || is_used(drv, ring_load(pos_desc(drv, drv->used_pos),
							 DRIVER_PACKED_FLAGS, __ATOMIC_RELAXED));
}
