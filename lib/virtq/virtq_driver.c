// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: what the two formats have in common. A buffer has an id: the first descriptor
 * of its chain (split), or a number of its own (packed). Ids come from a free list, and each has an
 * entry that says what the device may do with the buffer. Nothing that decides about memory lies
 * where the device can write: what it writes is an id, a length and how far it got, and each is held
 * against the entry.
 *
 * Buffers are numbered as they are added, with 64 bits, so that numbers never come again. One that was
 * added is in flight if its number is below the count of those published.
 *
 * With VIRTIO_F_IN_ORDER the device may write one used element for several buffers, with the id of
 * the last (2.7.9, 2.8.8). They are in the order of their numbers, so the number of that id, less that
 * of the oldest buffer, is how many it skipped. A device that writes an element for each buffer skips
 * none: the same rule serves both.
 */
#include <errno.h>
#include <stdlib.h>

#include "virtq_driver_internal.h"

#define NO_INDEX UINT16_MAX		     /* sizes are smaller */
#define BUFFER_BYTES_MAX (UINT64_C(1) << 32) /* VIRTIO 1.3, 2.7.5 */

static const char *const violation_names[CVMM_VIRTQ_DRIVER_VIOLATION_COUNT] = {
	[CVMM_VIRTQ_DRIVER_OK] = "no violation",
	[CVMM_VIRTQ_DRIVER_BAD_USED_INDEX] = "used index is ahead of what the device was given",
	[CVMM_VIRTQ_DRIVER_BAD_ID] = "device used a buffer id outside the ring",
	[CVMM_VIRTQ_DRIVER_NOT_IN_FLIGHT] = "device used a buffer that it does not have",
	[CVMM_VIRTQ_DRIVER_BAD_LENGTH] = "device claims to have written more than was writable",
	[CVMM_VIRTQ_DRIVER_BAD_ORDER] = "device used a buffer before its turn",
};

const char *cvmm_virtq_driver_violation_name(enum cvmm_virtq_driver_violation violation)
{
	if ((unsigned int)violation >= CVMM_VIRTQ_DRIVER_VIOLATION_COUNT)
		return "unknown violation";
	return violation_names[violation];
}

__attribute__((cold)) int cvmm_virtq_driver_break(struct cvmm_virtq_driver *drv,
						  enum cvmm_virtq_driver_violation violation)
{
	drv->violation = (uint8_t)violation;
	return -EPROTO;
}

/* ---- life ---------------------------------------------------------------------------------- */

struct areas {
	uint64_t desc_bytes;
	uint64_t driver_bytes;
	uint64_t device_bytes;
	uint64_t tables_bytes; /* the least */
};

static bool is_good_size(uint16_t size, bool packed)
{
	return size && size <= CVMM_VIRTQ_DRIVER_SIZE_MAX && (packed || cvmm_is_pow2(size));
}

static struct areas areas_of(const struct cvmm_virtq_driver_config *c)
{
	return (struct areas){
		.desc_bytes = (uint64_t)c->size * DESC_SIZE,
		.driver_bytes =
			c->packed ? DRIVER_EVENT_BYTES : avail_entry_at(c->size) + EVENT_SIZE,
		.device_bytes =
			c->packed ? DRIVER_EVENT_BYTES : used_entry_at(c->size) + EVENT_SIZE,
		.tables_bytes = (uint64_t)c->size * c->table_entries * DESC_SIZE,
	};
}

/* The next area of @len bytes, on cache lines of its own. */
static bool place_area(uint64_t *next, uint64_t len, cvmm_gpa *ret)
{
	uint64_t start = *next, end;

	if (!cvmm_add_u64(start, len, &end) ||
	    !cvmm_align_up_u64(end, CVMM_VIRTQ_DRIVER_AREA_ALIGN, &end))
		return false;
	*ret = cvmm_gpa_from(start);
	*next = end;
	return true;
}

int cvmm_virtq_driver_layout(struct cvmm_virtq_driver_config *config, cvmm_gpa base,
			     uint64_t *ret_bytes)
{
	struct cvmm_virtq_driver_config c = *config;
	struct areas areas = areas_of(&c);
	uint64_t next = base.addr;

	if (!is_good_size(c.size, c.packed) || base.addr % CVMM_VIRTQ_DRIVER_AREA_ALIGN ||
	    (c.indirect && c.table_entries > CVMM_VIRTQ_DRIVER_TABLE_MAX))
		return -EINVAL;
	c.tables_bytes = c.indirect ? areas.tables_bytes : 0;
	if (!place_area(&next, areas.desc_bytes, &c.desc) ||
	    !place_area(&next, areas.driver_bytes, &c.driver_area) ||
	    !place_area(&next, areas.device_bytes, &c.device_area) ||
	    !place_area(&next, c.tables_bytes, &c.tables))
		return -EINVAL;
	*config = c;
	*ret_bytes = next - base.addr;
	return 0;
}

/* Translates one area. @what names it in the message. */
static int translate(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len, uint64_t align,
		     const char *what, uint8_t **ret_host, struct cvmm_error *err)
{
	uint8_t *host;

	if (gpa.addr % align)
		return cvmm_fail(err, -EINVAL,
				 "virtqueue driver: %s at 0x%llx is not aligned to %llu", what,
				 (unsigned long long)gpa.addr, (unsigned long long)align);
	host = cvmm_mem_ptr(mem, gpa, len, CVMM_ACCESS_READ_WRITE);
	if (!host)
		return cvmm_fail(
			err, -EINVAL,
			"virtqueue driver: %s of %llu bytes at 0x%llx is not in one region of RAM",
			what, (unsigned long long)len, (unsigned long long)gpa.addr);
	*ret_host = host;
	return 0;
}

static int check_config(const struct cvmm_virtq_driver_config *c, const struct areas *areas,
			struct cvmm_error *err)
{
	if (!is_good_size(c->size, c->packed))
		return cvmm_fail(err, -EINVAL, "virtqueue driver: size %u is not %s from 1 to %u",
				 c->size, c->packed ? "a number" : "a power of two",
				 CVMM_VIRTQ_DRIVER_SIZE_MAX);
	if (!c->indirect || !c->tables_bytes)
		return 0;
	if (!c->table_entries || c->table_entries > CVMM_VIRTQ_DRIVER_TABLE_MAX)
		return cvmm_fail(
			err, -EINVAL,
			"virtqueue driver: indirect tables cannot have %u descriptors, only 1 to %u",
			c->table_entries, CVMM_VIRTQ_DRIVER_TABLE_MAX);
	if (c->tables_bytes < areas->tables_bytes)
		return cvmm_fail(err, -EINVAL,
				 "virtqueue driver: the indirect tables need %llu bytes, not %llu",
				 (unsigned long long)areas->tables_bytes,
				 (unsigned long long)c->tables_bytes);
	return 0;
}

static int translate_areas(struct cvmm_virtq_driver *drv, const struct cvmm_mem *mem,
			   const struct areas *areas, struct cvmm_error *err)
{
	const struct cvmm_virtq_driver_config *c = &drv->config;
	bool packed = c->packed;
	int ret;

	ret = translate(mem, c->desc, areas->desc_bytes, DESC_ALIGN,
			packed ? "descriptor ring" : "descriptor table", &drv->desc, err);
	if (!ret)
		ret = translate(mem, c->driver_area, areas->driver_bytes,
				packed ? DRIVER_EVENT_BYTES : AVAIL_ALIGN,
				packed ? "driver event structure" : "available ring",
				&drv->driver_area, err);
	if (!ret)
		ret = translate(mem, c->device_area, areas->device_bytes,
				packed ? DRIVER_EVENT_BYTES : USED_ALIGN,
				packed ? "device event structure" : "used ring", &drv->device_area,
				err);
	/* The standard asks for no alignment of tables. */
	if (!ret && c->indirect && c->tables_bytes)
		ret = translate(mem, c->tables, areas->tables_bytes, 1, "indirect tables",
				&drv->tables, err);
	return ret;
}

/* One block: entries, then two arrays of numbers. */
static int allocate(struct cvmm_virtq_driver *drv, struct cvmm_error *err)
{
	uint16_t i, size = drv->size;

	drv->entries = calloc(size, sizeof(*drv->entries) + 2 * sizeof(uint16_t));
	if (!drv->entries)
		return cvmm_fail(err, -ENOMEM, "virtqueue driver: no memory for %u entries", size);
	drv->next = (uint16_t *)(void *)(drv->entries + size);
	drv->order = drv->next + size;
	for (i = 0; i < size; i++)
		drv->next[i] = (uint16_t)(i + 1);
	drv->next[size - 1] = NO_INDEX;
	drv->free_first = 0;
	drv->free_last = (uint16_t)(size - 1);
	drv->free_descs = size;
	return 0;
}

int cvmm_virtq_driver_init(struct cvmm_virtq_driver *drv, struct cvmm_mem *mem,
			   const struct cvmm_virtq_driver_config *config, struct cvmm_error *err)
{
	struct cvmm_virtq_driver d = { .config = *config, .size = config->size };
	struct areas areas = areas_of(&d.config);
	int ret;

	ret = check_config(&d.config, &areas, err);
	if (!ret)
		ret = translate_areas(&d, mem, &areas, err);
	if (!ret)
		ret = allocate(&d, err);
	if (ret)
		return ret;
	memset(d.desc, 0, areas.desc_bytes);
	memset(d.driver_area, 0, areas.driver_bytes);
	memset(d.device_area, 0, areas.device_bytes);
	d.mem = cvmm_mem_ref(mem);
	*drv = d;
	return 0;
}

void cvmm_virtq_driver_fini(struct cvmm_virtq_driver *drv)
{
	if (!drv)
		return;
	free(drv->entries);
	cvmm_mem_unref(drv->mem);
	*drv = (struct cvmm_virtq_driver){ 0 };
}

/* ---- the free list ------------------------------------------------------------------------- */

/* Takes @count links, which must be there, from the front; they stay linked. */
static uint16_t free_take(struct cvmm_virtq_driver *drv, uint32_t count, uint16_t *ret_last)
{
	uint16_t first = drv->free_first, last = first;

	while (--count)
		last = drv->next[last];
	drv->free_first = drv->next[last];
	*ret_last = last;
	return first;
}

/* Puts linked links back, at the end. */
static void free_give(struct cvmm_virtq_driver *drv, uint16_t first, uint16_t last)
{
	drv->next[last] = NO_INDEX;
	if (drv->free_first == NO_INDEX)
		drv->free_first = first;
	else
		drv->next[drv->free_last] = first;
	drv->free_last = last;
}

/* ---- giving buffers to the device ---------------------------------------------------------- */

/* Return: false for a buffer that is too long. @count must be sane. */
static bool sum_bytes(const struct cvmm_virtq_segment *segments, size_t readable, size_t count,
		      uint32_t *ret_writable)
{
	uint64_t total = 0, writable = 0;
	size_t i;

	for (i = 0; i < count; i++) {
		total += segments[i].len_bytes;
		if (i >= readable)
			writable += segments[i].len_bytes;
	}
	if (total > BUFFER_BYTES_MAX)
		return false;
	*ret_writable = writable > UINT32_MAX ? UINT32_MAX : (uint32_t)writable;
	return true;
}

/* Writes the table of @id. Return: what refers to it. */
static struct cvmm_virtq_segment put_table(struct cvmm_virtq_driver *drv, uint16_t id,
					   const struct driver_list *list)
{
	uint64_t offset = (uint64_t)id * drv->config.table_entries * DESC_SIZE;
	uint8_t *entry = drv->tables + offset;
	uint32_t i;

	for (i = 0; i < list->count; i++, entry += DESC_SIZE) {
		uint16_t flags = driver_desc_flags(list, i);
		uint16_t next = flags & CVMM_VIRTQ_DESC_F_NEXT ? (uint16_t)(i + 1) : 0;
		struct cvmm_virtq_desc desc = {
			.addr = cvmm_le64_from(list->segments[i].gpa.addr),
			.len = cvmm_le32_from(list->segments[i].len_bytes),
		};

		/* Packed tables are arrays: no id, and no flag but WRITE (2.8.7). */
		if (drv->config.packed) {
			desc.next = cvmm_le16_from(flags & CVMM_VIRTQ_DESC_F_WRITE);
		} else {
			desc.flags = cvmm_le16_from(flags);
			desc.next = cvmm_le16_from(next);
		}
		memcpy(entry, &desc, sizeof(desc));
	}
	return (struct cvmm_virtq_segment){
		.gpa = cvmm_gpa_add(drv->config.tables, offset),
		.len_bytes = list->count * DESC_SIZE,
	};
}

/* Puts a checked buffer into the ring. */
static void place(struct cvmm_virtq_driver *drv, struct driver_list list, bool in_table,
		  uint32_t writable_bytes, void *token)
{
	uint32_t descs = in_table ? 1 : list.count;
	struct cvmm_virtq_segment table;
	uint16_t id, last;

	/* A packed buffer takes one id, and descriptors in the order of the ring. */
	id = free_take(drv, drv->config.packed ? 1 : descs, &last);
	if (in_table) {
		table = put_table(drv, id, &list);
		list = (struct driver_list){ &table, 1, 1, CVMM_VIRTQ_DESC_F_INDIRECT };
	}
	if (drv->config.packed)
		cvmm_virtq_driver_packed_put(drv, id, &list);
	else
		cvmm_virtq_driver_split_put(drv, id, &list);
	drv->entries[id] = (struct cvmm_virtq_driver_entry){
		.token = token,
		.seq = drv->added,
		.writable_bytes = writable_bytes,
		.descs = (uint16_t)descs,
		.last = last,
		.is_added = true,
	};
	drv->order[drv->added % drv->size] = id;
	drv->added++;
	drv->free_descs = (uint16_t)(drv->free_descs - descs);
}

int cvmm_virtq_driver_add(struct cvmm_virtq_driver *drv, const struct cvmm_virtq_segment *segments,
			  size_t readable, size_t writable, void *token)
{
	size_t table_max = drv->tables ? drv->config.table_entries : 0;
	size_t count;
	uint32_t writable_bytes;
	bool in_table;

	if (CVMM_UNLIKELY(drv->violation))
		return -EPROTO;
	if (__builtin_add_overflow(readable, writable, &count) || !count)
		return -EINVAL;
	in_table = count > 1 && count <= table_max;
	if (!in_table && count > drv->size)
		return -EINVAL;
	if (!sum_bytes(segments, readable, count, &writable_bytes))
		return -EINVAL;
	if ((in_table ? 1 : count) > drv->free_descs)
		return -ENOSPC;
	place(drv,
	      (struct driver_list){
		      .segments = segments,
		      .count = (uint32_t)count,
		      .readable = readable,
	      },
	      in_table, writable_bytes, token);
	return 0;
}

void cvmm_virtq_driver_publish(struct cvmm_virtq_driver *drv)
{
	if (drv->violation || drv->added == drv->published)
		return;
	if (drv->config.packed)
		cvmm_virtq_driver_packed_publish(drv);
	else
		cvmm_virtq_driver_split_publish(drv);
	drv->published = drv->added;
}

bool cvmm_virtq_driver_should_kick(struct cvmm_virtq_driver *drv)
{
	uint32_t count = drv->unsignalled;

	if (drv->violation || !count)
		return false;
	drv->unsignalled = 0;
	driver_full_fence();
	return drv->config.packed ? cvmm_virtq_driver_packed_wants_kick(drv, count)
				  : cvmm_virtq_driver_split_wants_kick(drv, count);
}

uint32_t cvmm_virtq_driver_notification_data(const struct cvmm_virtq_driver *drv, uint16_t queue)
{
	uint32_t next = drv->config.packed ? cvmm_virtq_driver_packed_place(drv, drv->publish_pos)
					   : (uint16_t)drv->published;

	return next << 16 | queue;
}

/* ---- taking buffers back ------------------------------------------------------------------- */

/* Holds a used element against the books. Return: buffers that it ends, or -EPROTO. */
static int64_t check_used(struct cvmm_virtq_driver *drv, const struct driver_used *used)
{
	const struct cvmm_virtq_driver_entry *entry;
	uint64_t batch;

	if (used->id >= drv->size)
		return cvmm_virtq_driver_break(drv, CVMM_VIRTQ_DRIVER_BAD_ID);
	entry = &drv->entries[used->id];
	if (!entry->is_added || entry->seq >= drv->published)
		return cvmm_virtq_driver_break(drv, CVMM_VIRTQ_DRIVER_NOT_IN_FLIGHT);
	if (used->len_bytes > entry->writable_bytes)
		return cvmm_virtq_driver_break(drv, CVMM_VIRTQ_DRIVER_BAD_LENGTH);
	if (!drv->config.in_order)
		return 1;
	batch = entry->seq - drv->taken + 1;
	/* The device of a split ring says how far it got in another place, too. */
	if (!drv->config.packed && batch > drv->used_seen - drv->taken)
		return cvmm_virtq_driver_break(drv, CVMM_VIRTQ_DRIVER_BAD_ORDER);
	return (int64_t)batch;
}

/* The end of buffer @id. */
static void *release(struct cvmm_virtq_driver *drv, uint16_t id)
{
	struct cvmm_virtq_driver_entry *entry = &drv->entries[id];

	if (drv->config.packed)
		cvmm_virtq_driver_packed_advance(drv, id);
	entry->is_added = false;
	drv->free_descs = (uint16_t)(drv->free_descs + entry->descs);
	free_give(drv, id, entry->last);
	drv->taken++;
	return entry->token;
}

int cvmm_virtq_driver_take(struct cvmm_virtq_driver *drv, void **ret_token, uint32_t *ret_len)
{
	struct driver_used used;
	int64_t batch;
	uint16_t id;
	int ret;

	if (CVMM_UNLIKELY(drv->violation))
		return -EPROTO;
	if (!drv->batch_left) {
		ret = drv->config.packed ? cvmm_virtq_driver_packed_look(drv, &used)
					 : cvmm_virtq_driver_split_look(drv, &used);
		if (ret <= 0)
			return ret;
		batch = check_used(drv, &used);
		if (batch < 0)
			return (int)batch;
		drv->batch_len = used.len_bytes;
		if (!drv->config.in_order) {
			*ret_len = used.len_bytes;
			*ret_token = release(drv, (uint16_t)used.id);
			return 1;
		}
		drv->batch_left = (uint32_t)batch;
	}
	id = drv->order[drv->taken % drv->size];
	drv->batch_left--;
	/* What was skipped counts as used completely (2.7.9, 2.8.8). */
	*ret_len = drv->batch_left ? drv->entries[id].writable_bytes : drv->batch_len;
	*ret_token = release(drv, id);
	return 1;
}

/* ---- interrupts ---------------------------------------------------------------------------- */

static void ask_interrupts(struct cvmm_virtq_driver *drv, bool on)
{
	if (drv->config.packed)
		cvmm_virtq_driver_packed_ask_interrupts(drv, on);
	else
		cvmm_virtq_driver_split_ask_interrupts(drv, on);
}

void cvmm_virtq_driver_disable_interrupts(struct cvmm_virtq_driver *drv)
{
	if (!drv->violation)
		ask_interrupts(drv, false);
}

bool cvmm_virtq_driver_enable_interrupts(struct cvmm_virtq_driver *drv)
{
	if (drv->violation)
		return false;
	ask_interrupts(drv, true);
	driver_full_fence();
	return drv->config.packed ? cvmm_virtq_driver_packed_has_used(drv)
				  : cvmm_virtq_driver_split_has_used(drv);
}
