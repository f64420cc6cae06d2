// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: mappings are an array sorted by address, without overlaps, so that their last
 * addresses are sorted too, and a binary search finds the first that reaches up to an address.
 * Ranges are pairs of first and last address: nothing here adds a length to an address without
 * knowing that the sum exists.
 *
 * Every change is one splice: some neighbours are taken out, and up to three entries put in their
 * place (what remains left of a cut, a new mapping, what remains right of it). The array has room
 * for that; afterwards entries are dropped until the capacity is kept.
 */
#include "mem_iotlb_internal.h"

#define REPLACEMENTS_MAX 3U

size_t cvmm_mem_iotlb_lower(const struct iotlb_table *table, uint64_t iova)
{
	size_t low = 0, high = table->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (table->entries[middle].last < iova)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Replaces the entries [from, to) by @count others. */
static void splice(struct iotlb_table *table, size_t from, size_t to,
		   const struct iotlb_entry *entries, size_t count)
{
	struct iotlb_entry *at = table->entries + from;
	size_t rest = table->count - to;

	CVMM_BUG_ON(from > to || to > table->count);
	CVMM_BUG_ON(from + count + rest > table->capacity + IOTLB_SPARE);
	memmove(at + count, at + (to - from), rest * sizeof(*at));
	for (size_t i = 0; i < count; i++)
		at[i] = entries[i];
	table->count = from + count + rest;
	/* The hand stays at the entry that it was at, or goes to what came in its place. */
	if (table->hand >= to)
		table->hand = from + count + (table->hand - to);
	else if (table->hand > from)
		table->hand = from;
}

/* Drops entries until there are as many as there may be, but never entry @keep. */
static void evict(struct iotlb_table *table, size_t keep)
{
	while (table->count > table->capacity) {
		struct iotlb_entry *entry;

		if (table->hand >= table->count)
			table->hand = 0;
		entry = &table->entries[table->hand];
		/* Each is spared once, and there are two or more: this comes to an end. */
		if (table->hand == keep || entry->used) {
			entry->used = 0;
			table->hand++;
			continue;
		}
		if (keep != IOTLB_NONE && table->hand < keep)
			keep--;
		splice(table, table->hand, table->hand + 1, NULL, 0);
		table->evictions++;
	}
}

/*
 * Replaces whatever is mapped in [first, last] by @entry, which is that range, or by nothing if it
 * is NULL. Return: whether anything was mapped there.
 */
static bool replace(struct iotlb_table *table, uint64_t first, uint64_t last,
		    const struct iotlb_entry *entry)
{
	size_t from = cvmm_mem_iotlb_lower(table, first), to, count = 0, keep = IOTLB_NONE;
	struct iotlb_entry replacements[REPLACEMENTS_MAX];

	/* Up to the entry that holds `last`, or the first that lies behind it. */
	to = cvmm_mem_iotlb_lower(table, last);
	if (to < table->count && table->entries[to].first <= last)
		to++;
	if (from == to && !entry)
		return false;
	if (from < to && table->entries[from].first < first) {
		replacements[count] = table->entries[from];
		replacements[count++].last = first - 1;
	}
	if (entry) {
		keep = from + count;
		replacements[count++] = *entry;
	}
	if (from < to && table->entries[to - 1].last > last) {
		struct iotlb_entry *right = &replacements[count++];

		*right = table->entries[to - 1];
		right->addr += last - right->first + 1;
		right->first = last + 1;
	}
	splice(table, from, to, replacements, count);
	evict(table, keep);
	return from < to;
}

bool cvmm_mem_iotlb_insert(struct iotlb_table *table, const struct iotlb_entry *entry)
{
	return replace(table, entry->first, entry->last, entry);
}

bool cvmm_mem_iotlb_cut(struct iotlb_table *table, uint64_t first, uint64_t last)
{
	return replace(table, first, last, NULL);
}

/* ---- looking up ---------------------------------------------------------------------------- */

/**
 * struct range_list - misses or fails
 * @last: last address of the newest range
 */
struct range_list {
	struct cvmm_iotlb_range *ranges;
	size_t max;
	size_t count;
	uint64_t last;
};

static void add_range(struct range_list *list, uint64_t first, uint64_t last)
{
	uint64_t len = last - first + 1;

	if (list->count && list->last == first - 1) {
		if (list->count <= list->max)
			list->ranges[list->count - 1].len_bytes += len;
	} else {
		if (list->count < list->max)
			list->ranges[list->count] = (struct cvmm_iotlb_range){ first, len };
		list->count++;
	}
	list->last = last;
}

/**
 * struct piece_list - translations
 * @last: last IOVA of the newest piece
 * @addr_last: what that stands for
 */
struct piece_list {
	struct cvmm_iotlb_piece *pieces;
	size_t max;
	size_t count;
	uint64_t last;
	uint64_t addr_last;
};

static void add_piece(struct piece_list *list, uint64_t first, uint64_t last, uint64_t addr)
{
	uint64_t len = last - first + 1;

	/* Behind the highest address there is no neighbour, though the sum would say 0. */
	if (list->count && list->last == first - 1 && list->addr_last != UINT64_MAX &&
	    list->addr_last + 1 == addr) {
		if (list->count <= list->max)
			list->pieces[list->count - 1].len_bytes += len;
	} else {
		if (list->count < list->max)
			list->pieces[list->count] = (struct cvmm_iotlb_piece){ first, addr, len };
		list->count++;
	}
	list->last = last;
	list->addr_last = addr + (len - 1);
}

/* Length of a range is no more than 2^64 - 1: that is what cvmm_iotlb_lookup_locked() takes. */
void cvmm_mem_iotlb_find(struct iotlb_table *table, uint64_t first, uint64_t last,
			 unsigned int access, struct cvmm_iotlb_lookup *lookup)
{
	struct range_list misses = { .ranges = lookup->misses, .max = lookup->miss_max };
	struct range_list fails = { .ranges = lookup->fails, .max = lookup->fail_max };
	struct piece_list pieces = { .pieces = lookup->pieces, .max = lookup->piece_max };
	uint64_t at = first, end;

	for (size_t i = cvmm_mem_iotlb_lower(table, first); i < table->count; i++) {
		struct iotlb_entry *entry = &table->entries[i];

		if (entry->first > last)
			break;
		if (entry->first > at) {
			add_range(&misses, at, entry->first - 1);
			at = entry->first;
		}
		end = entry->last < last ? entry->last : last;
		if (access & ~entry->rights)
			add_range(&fails, at, end);
		else
			add_piece(&pieces, at, end, entry->addr + (at - entry->first));
		cvmm_mem_iotlb_used(entry);
		if (end == last)
			goto done;
		at = end + 1;
	}
	add_range(&misses, at, last);
done:
	lookup->piece_count = pieces.count;
	lookup->miss_count = misses.count;
	lookup->fail_count = fails.count;
}
