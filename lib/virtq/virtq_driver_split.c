// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: the split ring as its driver sees it. Three counts of buffers say all: added,
 * published, taken. Their low 16 bits are the index of the next available entry to write, avail.idx,
 * and the index of the next used element to take.
 *
 *   avail.idx    stored with release: descriptors, entries and the buffers themselves, which the
 *                caller wrote before, are visible to the device before the index that covers them.
 *   used.idx     loaded with acquire: the elements below it, and what the device wrote into the
 *                buffers, are visible to us. It is read only when all that it covered is taken.
 *   avail_event, used.flags are read after a full fence behind the store of avail.idx. The device
 *                stores them, fences, and reads avail.idx: one of the two sees the other's store.
 *   used_event, avail.flags the same, mirrored, against used.idx.
 *
 * Descriptors come from a free list whose links are our own: those in the table are the device's
 * to overwrite. The list is a queue that starts in the order of the table. If buffers come back in
 * the order in which they went it stays so, which is what VIRTIO_F_IN_ORDER demands (2.7.9).
 *
 * Spec: VIRTIO 1.3, 2.7.
 */
#include <errno.h>

#include "virtq_driver_internal.h"

static inline uint32_t ring_slot(const struct cvmm_virtq_driver *drv, uint64_t count)
{
	return (uint32_t)count & (drv->size - 1U);
}

void cvmm_virtq_driver_split_put(struct cvmm_virtq_driver *drv, uint16_t id,
				 const struct driver_list *list)
{
	const struct cvmm_virtq_segment *segment = list->segments;
	struct cvmm_virtq_desc desc;
	uint16_t at = id, next;
	uint32_t i;

	for (i = 0; i < list->count; i++, segment++, at = next) {
		next = i + 1 < list->count ? drv->next[at] : 0;
		desc = (struct cvmm_virtq_desc){
			.addr = cvmm_le64_from(segment->gpa.addr),
			.len = cvmm_le32_from(segment->len_bytes),
			.flags = cvmm_le16_from(driver_desc_flags(list, i)),
			.next = cvmm_le16_from(next),
		};
		memcpy(drv->desc + (size_t)at * DESC_SIZE, &desc, sizeof(desc));
	}
	/* Relaxed: avail.idx does not cover it yet. */
	ring_store(drv->driver_area, avail_entry_at(ring_slot(drv, drv->added)), id,
		   __ATOMIC_RELAXED);
}

void cvmm_virtq_driver_split_publish(struct cvmm_virtq_driver *drv)
{
	driver_count_unsignalled(drv, drv->added - drv->published);
	ring_store(drv->driver_area, AVAIL_IDX, (uint16_t)drv->added, __ATOMIC_RELEASE);
}

bool cvmm_virtq_driver_split_wants_kick(const struct cvmm_virtq_driver *drv, uint32_t count)
{
	uint16_t event;

	if (!drv->config.event_idx)
		return !(ring_load(drv->device_area, USED_FLAGS, __ATOMIC_RELAXED) &
			 CVMM_VIRTQ_USED_F_NO_NOTIFY);
	event = ring_load(drv->device_area, used_entry_at(drv->size), __ATOMIC_RELAXED);
	/* Whether the index that the device waits for is among the last @count. */
	return (uint16_t)((uint16_t)drv->published - event - 1U) < count;
}

/* Reads used.idx. Return: 1 if there are new elements, 0, or -EPROTO. */
static int refresh_used(struct cvmm_virtq_driver *drv)
{
	uint16_t idx = ring_load(drv->device_area, USED_IDX, __ATOMIC_ACQUIRE);
	uint16_t news = (uint16_t)(idx - (uint16_t)drv->taken);

	if (news > drv->published - drv->taken)
		return cvmm_virtq_driver_break(drv, CVMM_VIRTQ_DRIVER_BAD_USED_INDEX);
	drv->used_seen = drv->taken + news;
	return news ? 1 : 0;
}

int cvmm_virtq_driver_split_look(struct cvmm_virtq_driver *drv, struct driver_used *ret_used)
{
	size_t at = used_entry_at(ring_slot(drv, drv->taken));
	int ret;

	if (drv->taken == drv->used_seen) {
		ret = refresh_used(drv);
		if (ret <= 0)
			return ret;
	}
	ret_used->id = driver_load_u32(drv->device_area, at);
	ret_used->len_bytes = driver_load_u32(drv->device_area, at + sizeof(uint32_t));
	return 1;
}

void cvmm_virtq_driver_split_ask_interrupts(struct cvmm_virtq_driver *drv, bool on)
{
	uint16_t event = (uint16_t)drv->taken, flags = CVMM_VIRTQ_AVAIL_F_NO_INTERRUPT;

	if (on)
		flags = 0;
	else
		event--; /* the element that is the farthest from being used again */
	/* Relaxed: a fence follows if it matters. With EVENT_IDX the flags must stay 0 (2.7.7.1). */
	if (drv->config.event_idx)
		ring_store(drv->driver_area, avail_entry_at(drv->size), event, __ATOMIC_RELAXED);
	else
		ring_store(drv->driver_area, AVAIL_FLAGS, flags, __ATOMIC_RELAXED);
}

bool cvmm_virtq_driver_split_has_used(const struct cvmm_virtq_driver *drv)
{
	/* Nothing is taken from what this index covers: take loads it again, with acquire. */
	return ring_load(drv->device_area, USED_IDX, __ATOMIC_RELAXED) != (uint16_t)drv->taken;
}
