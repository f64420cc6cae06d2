// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Inflight regions: vhost-user, "Inflight I/O tracking".
 *
 * Theory of operation: the region is memory of the front-end, which keeps it when we die and gives it
 * to who comes after us. It says which chains were popped and not given back, and in what order; of a
 * packed ring it has copies of their descriptors too, because used descriptors overwrite them.
 *
 * We may die between any two stores. So each is made on its own, in an order that the standard
 * gives: what was begun and not ended is either undone or finished by who comes after us. Stores of
 * this process are seen by the next in the order that they were made in, if the compiler does not
 * change it: that is what the releases are for.
 *
 * The front-end may write to the region at any time. What is read from it is copied once and checked,
 * and only when the queue is started: afterwards we only write, but for the copies of descriptors,
 * which are as good as any that a driver writes.
 */
#include <stdlib.h>

#include "virtq_walk.h"

#define REGION_VERSION 1
#define REGION_ALIGN 64U

/* Stored as the standard says it: in the order of the host that both ends run on. */
struct split_entry {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};

struct split_region {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct split_entry desc[];
};

struct packed_entry {
	uint8_t inflight;
	uint8_t padding;
	uint16_t next;
	uint16_t last;
	uint16_t num;
	uint64_t counter;
	uint16_t id;
	uint16_t flags;
	uint32_t len;
	uint64_t addr;
};

struct packed_region {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t free_head;
	uint16_t old_free_head;
	union {
		struct {
			uint16_t used_idx;
			uint16_t old_used_idx;
			uint8_t used_wrap_counter;
			uint8_t old_used_wrap_counter;
		};
		uint64_t used; /* all of them, and two bytes of padding */
	};
	uint64_t padding;
	struct packed_entry desc[];
};

_Static_assert(sizeof(struct split_entry) == 16, "vhost-user, DescStateSplit");
_Static_assert(sizeof(struct split_region) == 16, "vhost-user, QueueRegionSplit");
_Static_assert(sizeof(struct packed_entry) == 32, "vhost-user, DescStatePacked");
_Static_assert(sizeof(struct packed_region) == 32, "vhost-user, QueueRegionPacked");
_Static_assert(offsetof(struct packed_region, used) == 16, "vhost-user, QueueRegionPacked");

/**
 * struct again - a chain that was in flight before
 * @entry: split: its head; packed: its first entry
 * @descs: packed: how many there are
 */
struct again {
	uint64_t counter;
	uint16_t entry;
	uint16_t descs;
};

/**
 * struct cvmm_virtq_inflight - a queue's tracking
 * @region: of the one kind or the other
 * @counter: of the next chain
 * @free_head: packed: our own copy of the region's, which it may not be believed later
 * @entries: packed: by buffer id, the first entry
 * @lasts: packed: by entry, the last of the list that begins there
 * @nexts: packed: our own links
 * @again: what is to be popped again, in order
 * @taken: how many of them were
 */
struct cvmm_virtq_inflight {
	union {
		struct split_region *split;
		struct packed_region *packed;
		void *region;
	};
	uint64_t counter;
	uint16_t free_head;
	uint16_t *entries;
	uint16_t *lasts;
	uint16_t *nexts;
	struct again *again;
	uint32_t again_count;
	uint32_t taken;
};

#define STORE(field, v) __atomic_store_n(&(field), (v), __ATOMIC_RELEASE)
#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

uint64_t cvmm_virtq_inflight_bytes(uint16_t size, bool packed)
{
	uint64_t bytes =
		packed ? sizeof(struct packed_region) + size * (uint64_t)sizeof(struct packed_entry)
		       : sizeof(struct split_region) + size * (uint64_t)sizeof(struct split_entry);

	return (bytes + REGION_ALIGN - 1) / REGION_ALIGN * REGION_ALIGN;
}

/* ---- recovery ------------------------------------------------------------------------------- */

static int by_counter(const void *a, const void *b)
{
	const struct again *x = a, *y = b;

	if (x->counter != y->counter)
		return x->counter < y->counter ? -1 : 1;
	return x->entry < y->entry ? -1 : x->entry > y->entry;
}

static void sort_again(struct cvmm_virtq_inflight *f)
{
	qsort(f->again, f->again_count, sizeof(*f->again), by_counter);
	f->counter = f->again_count ? f->again[f->again_count - 1].counter + 1 : 0;
}

static int foreign(struct cvmm_error *err, const char *what)
{
	return cvmm_fail(err, -EINVAL,
			 "virtqueue: the inflight region is not that of this queue: %s", what);
}

/* The ring is not to be had now, or not at all. */
static int no_ring(struct cvmm_error *err, int code)
{
	return cvmm_fail(
		err, code == -EAGAIN ? code : -EINVAL,
		"virtqueue: the ring cannot be read, which says what the inflight region is of");
}

/* Finishes the batch that was published when nobody had noted yet that it was. */
static int split_finish_batch(struct cvmm_virtq *vq, struct split_region *region, uint16_t used_idx,
			      struct cvmm_error *err)
{
	uint16_t count = (uint16_t)(used_idx - LOAD(region->used_idx));
	uint16_t head = LOAD(region->last_batch_head);

	if (count > vq->size)
		return foreign(err, "the used ring went on by more than its size");
	for (; count; count--) {
		if (head >= vq->size)
			return foreign(err, "a head is outside of the table");
		STORE(region->desc[head].inflight, 0);
		head = LOAD(region->desc[head].next);
	}
	STORE(region->used_idx, used_idx);
	return 0;
}

static int split_recover(struct cvmm_virtq *vq, struct cvmm_virtq_inflight *f,
			 struct cvmm_error *err)
{
	struct split_region *region = f->split;
	bool direct = vq->flags & VIRTQ_DIRECT;
	uint16_t used_idx;
	int ret;

	if (direct)
		used_idx = ring_load(vq->device_area, USED_IDX, __ATOMIC_RELAXED);
	else if ((ret = area_load_u16(vq, NULL, vq->config.used, USED_IDX, __ATOMIC_RELAXED, false,
				      &used_idx)))
		return no_ring(err, ret);
	if (!LOAD(region->version)) {
		/* A new one: the queue is where it was started, and nothing in flight, whatever is there. */
		for (uint16_t i = 0; i < vq->size; i++)
			STORE(region->desc[i].inflight, 0);
		STORE(region->used_idx, vq->next_used);
		return 0;
	}
	ret = split_finish_batch(vq, region, used_idx, err);
	if (ret)
		return ret;
	for (uint16_t i = 0; i < vq->size; i++)
		if (LOAD(region->desc[i].inflight) == 1)
			f->again[f->again_count++] =
				(struct again){ .counter = LOAD(region->desc[i].counter),
						.entry = i };
	sort_again(f);
	vq->next_used = used_idx;
	vq->next_avail = (uint16_t)(used_idx + f->again_count);
	vq->avail_seen = vq->next_avail;
	return 0;
}

/* What a packed region has besides its entries: where the used ring is, and the free entries begin. */
struct packed_place {
	uint16_t free_head;
	uint16_t used_idx;
	bool used_wrap;
};

/* Whether the batch begun at @at was published: then its first descriptor is no longer available. */
static int packed_was_published(const struct cvmm_virtq *vq, const struct packed_place *at,
				bool *ret_published)
{
	const uint16_t mask = CVMM_VIRTQ_DESC_F_AVAIL | CVMM_VIRTQ_DESC_F_USED;
	uint64_t addr, rest;
	int ret = cvmm_virtq_packed_fetch(vq, at->used_idx, &addr, &rest);

	if (ret)
		return ret;
	*ret_published = (rest >> 48 & mask) !=
			 (at->used_wrap ? CVMM_VIRTQ_DESC_F_AVAIL : CVMM_VIRTQ_DESC_F_USED);
	return 0;
}

/*
 * No batch is begun. This is one store: of an old index with another wrap counter nobody could tell whether its
 * batch was published, because descriptors that a list had behind its first look available for another turn.
 */
static void packed_store_used(struct packed_region *region, uint16_t used_idx, bool used_wrap)
{
	const struct packed_region both = {
		.used_idx = used_idx,
		.old_used_idx = used_idx,
		.used_wrap_counter = used_wrap,
		.old_used_wrap_counter = used_wrap,
	};

	STORE(region->used, both.used);
}

static void packed_store_place(struct packed_region *region, const struct packed_place *place)
{
	STORE(region->old_free_head, place->free_head);
	STORE(region->free_head, place->free_head);
	packed_store_used(region, place->used_idx, place->used_wrap);
}

static void packed_format(struct cvmm_virtq *vq, struct packed_region *region,
			  const struct packed_place *place)
{
	for (uint16_t i = 0; i < vq->size; i++)
		STORE(region->desc[i].next, (uint16_t)(i + 1));
	packed_store_place(region, place);
}

static int packed_commit_or_undo(struct cvmm_virtq *vq, struct packed_region *region,
				 struct packed_place *ret_place, struct cvmm_error *err)
{
	const struct packed_place now = {
		.free_head = LOAD(region->free_head),
		.used_idx = LOAD(region->used_idx),
		.used_wrap = LOAD(region->used_wrap_counter),
	};
	const struct packed_place old = {
		.free_head = LOAD(region->old_free_head),
		.used_idx = LOAD(region->old_used_idx),
		.used_wrap = LOAD(region->old_used_wrap_counter),
	};
	bool published = false;
	int ret;

	if (now.used_idx >= vq->size || old.used_idx >= vq->size || now.free_head > vq->size ||
	    old.free_head > vq->size)
		return foreign(err, "an index is outside of the ring");
	if (now.used_idx != old.used_idx || now.used_wrap != old.used_wrap) {
		ret = packed_was_published(vq, &old, &published);
		if (ret)
			return no_ring(err, ret);
	}
	*ret_place = published ? now : old;
	packed_store_place(region, ret_place);
	return 0;
}

/* What is in the list of free entries is not in flight. Sets our own links. */
static int packed_clear_free(struct cvmm_virtq *vq, struct cvmm_virtq_inflight *f, bool *is_free,
			     struct cvmm_error *err)
{
	struct packed_region *region = f->packed;
	uint16_t i = f->free_head;

	while (i < vq->size) {
		if (is_free[i])
			return foreign(err, "the list of free entries loops");
		is_free[i] = true;
		STORE(region->desc[i].inflight, 0);
		f->nexts[i] = LOAD(region->desc[i].next);
		i = f->nexts[i];
	}
	return 0;
}

/* Takes over one list in flight. @is_taken: entries that are free, or of lists seen before. */
static int packed_take_list(struct cvmm_virtq *vq, struct cvmm_virtq_inflight *f, uint16_t head,
			    bool *is_taken, struct cvmm_error *err)
{
	struct packed_entry *entries = f->packed->desc;
	uint16_t num = LOAD(entries[head].num), i = head, last = head;

	if (!num || num > vq->size)
		return foreign(err, "a list has no descriptors, or more than the ring");
	for (uint16_t n = 0; n < num; n++) {
		if (i >= vq->size || is_taken[i])
			return foreign(err, "a list leaves the entries, or crosses another");
		is_taken[i] = true;
		last = i;
		f->nexts[i] = LOAD(entries[i].next);
		i = f->nexts[i];
	}
	f->lasts[head] = last;
	f->again[f->again_count++] = (struct again){
		.counter = LOAD(entries[head].counter),
		.entry = head,
		.descs = num,
	};
	return 0;
}

/*
 * Entries that are neither in flight nor free are of a list that was being rewound when somebody died, or
 * somebody has written to the region. There must be an entry for each descriptor of the ring.
 */
static void packed_free_the_lost(struct cvmm_virtq *vq, struct cvmm_virtq_inflight *f,
				 const bool *is_taken)
{
	struct packed_region *region = f->packed;
	uint16_t before = f->free_head;

	for (uint16_t i = vq->size; i--;) {
		if (is_taken[i])
			continue;
		STORE(region->desc[i].inflight, 0);
		STORE(region->desc[i].next, f->free_head);
		f->nexts[i] = f->free_head;
		f->free_head = i;
	}
	if (f->free_head == before)
		return;
	STORE(region->free_head, f->free_head);
	STORE(region->old_free_head, f->free_head);
}

static int packed_take_lists(struct cvmm_virtq *vq, struct cvmm_virtq_inflight *f,
			     struct cvmm_error *err)
{
	bool *is_taken = calloc(vq->size, sizeof(*is_taken));
	uint32_t descs = 0;
	int ret;

	if (!is_taken)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	ret = packed_clear_free(vq, f, is_taken, err);
	for (uint16_t i = 0; i < vq->size && !ret; i++)
		if (LOAD(f->packed->desc[i].inflight) == 1)
			ret = packed_take_list(vq, f, i, is_taken, err);
	if (!ret)
		packed_free_the_lost(vq, f, is_taken);
	free(is_taken);
	if (ret)
		return ret;
	sort_again(f);
	/* Lists do not cross, so that their sum is at most the size. */
	for (uint32_t i = 0; i < f->again_count; i++)
		descs += f->again[i].descs;
	vq->avail_wrap = vq->used_wrap ^ (vq->next_used + descs >= vq->size);
	vq->next_avail = (uint16_t)((vq->next_used + descs) % vq->size);
	return 0;
}

static int packed_recover(struct cvmm_virtq *vq, struct cvmm_virtq_inflight *f,
			  struct cvmm_error *err)
{
	struct packed_place place = { 0, vq->next_used, vq->used_wrap };
	int ret = 0;

	if (LOAD(f->packed->version))
		ret = packed_commit_or_undo(vq, f->packed, &place, err);
	else
		packed_format(vq, f->packed, &place);
	if (ret)
		return ret;
	f->free_head = place.free_head;
	vq->next_used = place.used_idx;
	vq->used_wrap = place.used_wrap;
	return packed_take_lists(vq, f, err);
}

/* ---- life ----------------------------------------------------------------------------------- */

void cvmm_virtq_inflight_free(struct cvmm_virtq *vq)
{
	if (!vq->inflight)
		return;
	free(vq->inflight->entries);
	free(vq->inflight->again);
	free(vq->inflight);
	vq->inflight = NULL;
	vq->extras &= (uint8_t)~VIRTQ_EXTRA_INFLIGHT;
}

static int check_region(const struct cvmm_virtq *vq, const void *region, uint64_t len_bytes,
			struct cvmm_error *err)
{
	const struct split_region *head = region; /* both begin like this */
	uint16_t version;

	if (!vq->usable || vq->in_flight || vq->inflight)
		return cvmm_fail(err, -EINVAL,
				 "virtqueue: tracking begins with a queue that was just started");
	if ((uintptr_t)region % sizeof(uint64_t) ||
	    len_bytes < cvmm_virtq_inflight_bytes(vq->size, vq->config.packed))
		return cvmm_fail(
			err, -EINVAL,
			"virtqueue: the inflight region has %llu bytes, or is not aligned; "
			"%llu are needed",
			(unsigned long long)len_bytes,
			(unsigned long long)cvmm_virtq_inflight_bytes(vq->size, vq->config.packed));
	version = LOAD(head->version);
	if (version > REGION_VERSION)
		return foreign(err, "its version is not known");
	if (version && LOAD(head->desc_num) != vq->size)
		return foreign(err, "it is for another size");
	return 0;
}

int cvmm_virtq_set_inflight(struct cvmm_virtq *vq, void *region, uint64_t len_bytes,
			    struct cvmm_error *err)
{
	struct cvmm_virtq before = *vq;
	struct split_region *head = region;
	struct cvmm_virtq_inflight *f;
	int ret = check_region(vq, region, len_bytes, err);

	if (ret)
		return ret;
	f = calloc(1, sizeof(*f));
	if (f) {
		f->region = region;
		f->entries = calloc(vq->size, 3 * sizeof(*f->entries));
		f->again = calloc(vq->size, sizeof(*f->again));
	}
	vq->inflight = f;
	if (!f || !f->entries || !f->again) {
		cvmm_virtq_inflight_free(vq);
		return cvmm_fail(err, -ENOMEM, "out of memory");
	}
	f->lasts = f->entries + vq->size;
	f->nexts = f->lasts + vq->size;
	ret = vq->config.packed ? packed_recover(vq, f, err) : split_recover(vq, f, err);
	if (ret) {
		cvmm_virtq_inflight_free(vq);
		*vq = before;
		return ret;
	}
	STORE(head->desc_num, vq->size);
	STORE(head->version, REGION_VERSION);
	vq->extras |= VIRTQ_EXTRA_INFLIGHT;
	return 0;
}

/* ---- popping -------------------------------------------------------------------------------- */

static void packed_took(struct cvmm_virtq *vq, struct cvmm_virtq_inflight *f, uint16_t id,
			uint16_t descs)
{
	struct packed_entry *entries = f->packed->desc;
	uint16_t head = f->free_head, at = vq->next_avail, entry = head;

	f->entries[id] = head;
	STORE(entries[head].num, 0);
	STORE(entries[head].counter, f->counter++);
	STORE(entries[head].inflight, 1);
	for (uint16_t n = 0; n < descs; n++) {
		uint64_t addr = 0, rest = 0;

		entry = f->free_head;
		/* Read anew: who changes it now changes only what is popped again. */
		(void)cvmm_virtq_packed_fetch(vq, at, &addr, &rest);
		STORE(entries[entry].addr, addr);
		STORE(entries[entry].len, (uint32_t)rest);
		STORE(entries[entry].id, (uint16_t)(rest >> 32));
		STORE(entries[entry].flags, (uint16_t)(rest >> 48));
		STORE(entries[entry].next, f->nexts[entry]);
		f->free_head = f->nexts[entry];
		at = (uint16_t)(at + 1 == vq->size ? 0 : at + 1);
	}
	f->lasts[head] = entry;
	STORE(entries[head].last, entry);
	STORE(entries[head].num, descs);
	STORE(f->packed->free_head, f->free_head);
	STORE(f->packed->old_free_head, f->free_head);
}

void cvmm_virtq_inflight_took(struct cvmm_virtq *vq, uint16_t head, uint16_t descs)
{
	struct cvmm_virtq_inflight *f = vq->inflight;

	if (vq->config.packed) {
		packed_took(vq, f, head, descs);
		return;
	}
	STORE(f->split->desc[head].counter, f->counter++);
	STORE(f->split->desc[head].inflight, 1);
}

/* Entries of a list, back to the free ones; the region's own head is the caller's to store. */
static void packed_release(struct cvmm_virtq_inflight *f, uint16_t head)
{
	f->nexts[f->lasts[head]] = f->free_head;
	STORE(f->packed->desc[f->lasts[head]].next, f->free_head);
	f->free_head = head;
}

void cvmm_virtq_inflight_rewound(struct cvmm_virtq *vq, uint16_t head)
{
	struct cvmm_virtq_inflight *f = vq->inflight;

	/* The last of those that were popped again, as rewinds go newest first. It is in flight as before. */
	if (vq->slots[head].again) {
		f->taken--;
		return;
	}
	if (!vq->config.packed) {
		STORE(f->split->desc[head].inflight, 0);
		return;
	}
	STORE(f->packed->desc[f->entries[head]].inflight, 0);
	packed_release(f, f->entries[head]);
	STORE(f->packed->free_head, f->free_head);
	STORE(f->packed->old_free_head, f->free_head);
}

bool cvmm_virtq_inflight_has_more(const struct cvmm_virtq *vq)
{
	return vq->inflight->taken < vq->inflight->again_count;
}

struct cvmm_virtq_packed_desc cvmm_virtq_inflight_desc(const struct cvmm_virtq *vq, uint16_t *entry)
{
	const struct cvmm_virtq_inflight *f = vq->inflight;
	const struct packed_entry *copy;

	/* Behind the last one, of a list that was changed since: what is not there is not followed. */
	if (*entry >= vq->size)
		return (struct cvmm_virtq_packed_desc){ .id = cvmm_le16_from(UINT16_MAX) };
	copy = &f->packed->desc[*entry];
	*entry = f->nexts[*entry];
	return (struct cvmm_virtq_packed_desc){
		.addr = cvmm_le64_from(LOAD(copy->addr)),
		.len = cvmm_le32_from(LOAD(copy->len)),
		.id = cvmm_le16_from(LOAD(copy->id)),
		.flags = cvmm_le16_from(LOAD(copy->flags)),
	};
}

int cvmm_virtq_inflight_pop(struct cvmm_virtq *vq, struct iovec *iov, size_t iov_max, bool is_first,
			    struct cvmm_virtq_chain *ret_chain)
{
	struct cvmm_virtq_inflight *f = vq->inflight;
	const struct again *next = &f->again[f->taken];
	int ret;

	if (vq->config.packed) {
		ret = cvmm_virtq_packed_pop_again(vq, next->entry, next->descs, iov, iov_max,
						  is_first, ret_chain);
		if (ret == 1)
			f->entries[ret_chain->head] = next->entry;
	} else {
		ret = cvmm_virtq_split_pop_again(vq, next->entry, iov, iov_max, is_first,
						 ret_chain);
	}
	if (ret > 0)
		f->taken++;
	return ret;
}

/* ---- giving back ---------------------------------------------------------------------------- */

void cvmm_virtq_inflight_before(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
				size_t count, uint32_t places)
{
	struct cvmm_virtq_inflight *f = vq->inflight;
	uint32_t next = vq->next_used + places;

	for (size_t i = 0; i < count; i++) {
		uint16_t head = used[i].head;

		if (vq->config.packed) {
			packed_release(f, f->entries[head]);
			continue;
		}
		STORE(f->split->desc[head].next, LOAD(f->split->last_batch_head));
		STORE(f->split->last_batch_head, head);
	}
	if (!vq->config.packed)
		return;
	STORE(f->packed->free_head, f->free_head);
	STORE(f->packed->used_idx, (uint16_t)(next >= vq->size ? next - vq->size : next));
	STORE(f->packed->used_wrap_counter, vq->used_wrap ^ (next >= vq->size));
}

/* Takes lists from the free ones again, the last that was given back first. */
static void packed_undo(struct cvmm_virtq_inflight *f, const struct cvmm_virtq_used *used,
			size_t count)
{
	while (count) {
		uint16_t head = f->entries[used[--count].head];

		f->free_head = f->nexts[f->lasts[head]];
	}
	STORE(f->packed->free_head, LOAD(f->packed->old_free_head));
	STORE(f->packed->used_idx, LOAD(f->packed->old_used_idx));
	STORE(f->packed->used_wrap_counter, LOAD(f->packed->old_used_wrap_counter));
}

void cvmm_virtq_inflight_after(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
			       size_t count, bool published)
{
	struct cvmm_virtq_inflight *f = vq->inflight;

	if (!published) {
		if (vq->config.packed)
			packed_undo(f, used, count);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		if (vq->config.packed)
			STORE(f->packed->desc[f->entries[used[i].head]].inflight, 0);
		else
			STORE(f->split->desc[used[i].head].inflight, 0);
	}
	if (!vq->config.packed) {
		STORE(f->split->used_idx, vq->next_used);
		return;
	}
	STORE(f->packed->old_free_head, f->free_head);
	packed_store_used(f->packed, vq->next_used, vq->used_wrap);
}
