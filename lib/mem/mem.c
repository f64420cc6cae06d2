// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a map is one block of memory, an array of regions in address order. It never
 * changes after it was handed out, so look-ups need no lock and no cache that threads would share.
 * Objects of constant size are read and written in line (<cvmm/mem.h>): they try the longest
 * stretch of RAM, and then a table of 1024 parts of the address space, most of which lie in one region.
 * Everything else searches.
 * A changed map is a new array; the memory itself (struct cvmm_mem_mapping) is shared, never moved
 * or mapped again.
 *
 * Regions that are neighbours in the guest are made neighbours in the host where that can be had: for a
 * new map, the address space of each run of them is reserved first. Each entry says how far one can
 * go from its start (run_bytes), so that a range across such a border costs no more than one inside.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "mem_internal.h"

static size_t round_up_line(size_t bytes)
{
	return (bytes + MEM_CACHE_LINE - 1) / MEM_CACHE_LINE * MEM_CACHE_LINE;
}

/* A map with room for @room entries and one reference. */
static struct cvmm_mem *map_alloc(size_t room)
{
	size_t entries, hot, starts, table;
	struct cvmm_mem *mem;
	char *block;

	room = room ? room : 1;
	entries = sizeof(struct cvmm_mem) + room * sizeof(struct cvmm_mem_entry);
	hot = round_up_line(room * sizeof(struct cvmm_mem_hot));
	starts = round_up_line(room * sizeof(uint64_t));
	table = round_up_line((CVMM_MEM_TABLE_SLOTS + 1) * sizeof(uint16_t));
	block = cvmm_mem_aligned_alloc(MEM_CACHE_LINE, entries + hot + starts + table);
	if (!block)
		return NULL;
	memset(block, 0, entries + hot + starts + table);
	mem = (struct cvmm_mem *)block;
	mem->refs = 1;
	mem->hot = (struct cvmm_mem_hot *)(block + entries);
	mem->starts = (uint64_t *)(block + entries + hot);
	mem->table = (uint16_t *)(block + entries + hot + starts);
	mem->fast.hot = mem->hot;
	mem->fast.table = mem->table;
	return mem;
}

struct cvmm_mem *cvmm_mem_alloc_empty(void)
{
	return map_alloc(0);
}

/* Appends a region, in the order of addresses. It takes the reference to @mapping. */
static void map_append(struct cvmm_mem *mem, struct cvmm_mem_mapping *mapping)
{
	const struct cvmm_mem_region *region = &mapping->region;

	mem->starts[mem->count] = region->gpa;
	mem->has_windows |= region->kind == CVMM_MEM_ON_DEMAND;
	mem->entries[mem->count++] = (struct cvmm_mem_entry){
		.gpa = region->gpa,
		.len_bytes = region->len_bytes,
		.host = region->host,
		.access = region->access,
		.mapping = mapping,
	};
}

/* Appends a region of another map. */
static void map_share(struct cvmm_mem *mem, const struct cvmm_mem_entry *entry)
{
	cvmm_mem_mapping_ref(entry->mapping);
	map_append(mem, entry->mapping);
}

/* How far each entry's run goes. */
static void find_runs(struct cvmm_mem *mem)
{
	for (size_t i = mem->count; i-- > 0;) {
		struct cvmm_mem_entry *entry = &mem->entries[i];
		const struct cvmm_mem_entry *next = entry + 1;

		entry->run_bytes = entry->len_bytes;
		/* A sum that wraps to 0 cannot be the start of a later entry. */
		if (i + 1 < mem->count && entry->host &&
		    entry->gpa + entry->len_bytes == next->gpa &&
		    entry->host + entry->len_bytes == next->host && entry->access == next->access)
			entry->run_bytes += next->run_bytes;
	}
}

static void fill_hot(struct cvmm_mem *mem)
{
	uint64_t longest = 0;

	for (size_t i = 0; i < mem->count; i++) {
		const struct cvmm_mem_entry *entry = &mem->entries[i];
		uint64_t in_reach = entry->host ? entry->run_bytes : 0;

		mem->hot[i] = (struct cvmm_mem_hot){
			.gpa = entry->gpa,
			.readable = entry->access & CVMM_ACCESS_READ ? in_reach : 0,
			.writable = entry->access & CVMM_ACCESS_WRITE ? in_reach : 0,
			.bias = (uintptr_t)entry->host - (uintptr_t)entry->gpa,
		};
		if (in_reach > longest) {
			longest = in_reach;
			mem->fast.likely = mem->hot[i];
		}
	}
}

/* Each slot is the index of the last entry at or below its first address, or 0. */
static void fill_table(struct cvmm_mem *mem)
{
	const struct cvmm_mem_entry *last = &mem->entries[mem->count ? mem->count - 1 : 0];
	uint64_t end = mem->count ? last->gpa + (last->len_bytes - 1) : 0;
	size_t slot = 0;

	if (end >> CVMM_MEM_TABLE_LOG2)
		mem->fast.shift = 64U - (unsigned int)__builtin_clzll(end) - CVMM_MEM_TABLE_LOG2;
	for (size_t i = 0; i < mem->count; i++) {
		/* The first slot that begins at this entry's address, or behind it. */
		uint64_t gpa = mem->entries[i].gpa;
		uint64_t first =
			(gpa >> mem->fast.shift) + !!(gpa & ((UINT64_C(1) << mem->fast.shift) - 1));

		for (; slot < first && slot <= CVMM_MEM_TABLE_SLOTS; slot++)
			mem->table[slot] = (uint16_t)(i ? i - 1 : 0);
	}
	for (; slot <= CVMM_MEM_TABLE_SLOTS; slot++)
		mem->table[slot] = (uint16_t)(mem->count ? mem->count - 1 : 0);
}

/* The last step: everything that follows from the entries, and the bitmap of @like (or NULL). */
static void map_finish(struct cvmm_mem *mem, const struct cvmm_mem *like)
{
	if (like && like->fast.dirty)
		mem->fast.dirty = cvmm_dirty_ref(like->fast.dirty);
	find_runs(mem);
	fill_hot(mem);
	fill_table(mem);
}

/* ---- plans ---------------------------------------------------------------------------------- */

/* A config and what became of it, in the order of addresses. */
struct plan {
	const struct cvmm_mem_config *config;
	struct cvmm_mem_mapping *mapping;
};

/* Says which region the error is about. Return: @code. */
static int name_region(const struct cvmm_mem_config *config, int code, struct cvmm_error *err)
{
	char text[MEM_SIZE_TEXT];

	if (code)
		cvmm_error_prefix(err, "guest memory of %s at 0x%llx",
				  cvmm_mem_size_text(config->len_bytes, text),
				  (unsigned long long)config->gpa.addr);
	return code;
}

static int fail_overlap(uint64_t gpa, uint64_t len, struct cvmm_error *err)
{
	return cvmm_fail(err, -EEXIST, "overlaps the region of 0x%llx bytes at 0x%llx",
			 (unsigned long long)len, (unsigned long long)gpa);
}

/* Puts a config at its place among @count others. */
static int plan_add(struct plan *plans, size_t count, const struct cvmm_mem_config *config,
		    struct cvmm_error *err)
{
	uint64_t last = config->gpa.addr + (config->len_bytes - 1);
	size_t at = count;

	while (at > 0 && plans[at - 1].config->gpa.addr > last)
		at--;
	/* Of all that start at or below our last byte, the highest one reaches furthest. */
	if (at > 0) {
		const struct cvmm_mem_config *below = plans[at - 1].config;

		if (below->gpa.addr + (below->len_bytes - 1) >= config->gpa.addr)
			return fail_overlap(below->gpa.addr, below->len_bytes, err);
	}
	memmove(&plans[at + 1], &plans[at], (count - at) * sizeof(*plans));
	plans[at] = (struct plan){ .config = config };
	return 0;
}

static int make_plans(struct plan *plans, const struct cvmm_mem_config *configs, size_t count,
		      struct cvmm_error *err)
{
	for (size_t i = 0; i < count; i++) {
		int ret = cvmm_mem_config_check(&configs[i], err);

		if (!ret)
			ret = plan_add(plans, i, &configs[i], err);
		if (ret)
			return name_region(&configs[i], ret, err);
	}
	return 0;
}

/* Regions from @first on that can lie side by side in the host. */
static size_t run_of_plans(const struct plan *plans, size_t first, size_t count)
{
	size_t end = first;

	while (end < count && cvmm_mem_can_reserve(plans[end].config) &&
	       (end == first ||
		plans[end - 1].config->gpa.addr + plans[end - 1].config->len_bytes ==
			plans[end].config->gpa.addr))
		end++;
	return end > first ? end : first + 1;
}

/* Maps the regions [first, end) one behind the other. */
static int map_run(struct plan *plans, size_t first, size_t end, struct cvmm_error *err)
{
	struct cvmm_mem_reservation room = { 0 };
	enum cvmm_mem_where where = CVMM_MEM_ANYWHERE;
	int ret = 0;

	if (cvmm_mem_can_reserve(plans[first].config)) {
		const struct cvmm_mem_config *last = plans[end - 1].config;
		uint64_t gpa = plans[first].config->gpa.addr;

		/* Without a reservation, each is somewhere. */
		if (!cvmm_mem_reserve(&room, gpa, last->gpa.addr + last->len_bytes - gpa))
			where = CVMM_MEM_RESERVED;
	}
	for (size_t i = first; !ret && i < end; i++) {
		ret = cvmm_mem_mapping_create(plans[i].config, where, room.next, &plans[i].mapping,
					      err);
		name_region(plans[i].config, ret, err);
		if (!ret && where == CVMM_MEM_RESERVED)
			room.next += plans[i].config->len_bytes;
	}
	cvmm_mem_unreserve(&room);
	return ret;
}

static int map_plans(struct plan *plans, size_t count, struct cvmm_error *err)
{
	size_t end;
	int ret = 0;

	for (size_t first = 0; !ret && first < count; first = end) {
		end = run_of_plans(plans, first, count);
		ret = map_run(plans, first, end, err);
	}
	return ret;
}

/* ---- maps ------------------------------------------------------------------------------------ */

static int too_many(struct cvmm_error *err)
{
	return cvmm_fail(err, -E2BIG, "guest memory may have at most %d regions; use fewer",
			 CVMM_MEM_REGIONS_MAX);
}

/* Says how much was asked for in all, where one region of several could not be had. */
static void add_total(const struct cvmm_mem_config *configs, size_t count, struct cvmm_error *err)
{
	char text[MEM_SIZE_TEXT];
	uint64_t total = 0;

	if (count < 2)
		return;
	for (size_t i = 0; i < count; i++)
		if (!cvmm_add_u64(total, configs[i].len_bytes, &total))
			return;
	cvmm_error_prefix(err, "of %s in %zu regions", cvmm_mem_size_text(total, text), count);
}

int cvmm_mem_create(const struct cvmm_mem_config *configs, size_t count, struct cvmm_mem **ret_mem,
		    struct cvmm_error *err)
{
	struct cvmm_mem *mem;
	struct plan *plans;
	int ret;

	if (count > CVMM_MEM_REGIONS_MAX)
		return too_many(err);
	mem = map_alloc(count);
	plans = calloc(count + 1, sizeof(*plans));
	ret = mem && plans ? make_plans(plans, configs, count, err)
			   : cvmm_fail(err, -ENOMEM, "out of memory");
	if (!ret)
		ret = map_plans(plans, count, err);
	/* What was mapped belongs to the map from here on, also if it is not to be. */
	for (size_t i = 0; mem && plans && i < count && plans[i].mapping; i++) {
		if (ret)
			plans[i].mapping->ops = NULL; /* still the caller's */
		map_append(mem, plans[i].mapping);
	}
	free(plans);
	if (ret) {
		add_total(configs, count, err);
		cvmm_mem_unref(mem);
		return ret;
	}
	map_finish(mem, NULL);
	*ret_mem = mem;
	return 0;
}

static int fail_iommu(struct cvmm_error *err)
{
	return cvmm_fail(
		err, -EINVAL,
		"guest memory behind an IOMMU cannot be changed; change what is behind it, "
		"and make it anew");
}

/* Maps a region that becomes entry @at of @mem: behind its neighbour, if there is one. */
static int map_neighbour(const struct cvmm_mem *mem, size_t at,
			 const struct cvmm_mem_config *config,
			 struct cvmm_mem_mapping **ret_mapping, struct cvmm_error *err)
{
	const struct cvmm_mem_entry *below = at ? &mem->entries[at - 1] : NULL;
	const struct cvmm_mem_entry *above = at < mem->count ? &mem->entries[at] : NULL;
	enum cvmm_mem_where where = CVMM_MEM_ANYWHERE;
	uint8_t *host = NULL;

	if (below && below->host && below->gpa + below->len_bytes == config->gpa.addr)
		host = below->host + below->len_bytes;
	else if (above && above->host && config->gpa.addr + config->len_bytes == above->gpa)
		host = above->host - config->len_bytes;
	if (host && cvmm_mem_can_reserve(config))
		where = CVMM_MEM_TRY;
	return cvmm_mem_mapping_create(config, where, host, ret_mapping, err);
}

int cvmm_mem_insert(struct cvmm_mem *mem, const struct cvmm_mem_config *config,
		    struct cvmm_mem **ret_mem, struct cvmm_error *err)
{
	struct cvmm_mem_mapping *mapping;
	struct cvmm_mem *changed;
	size_t at;
	int ret;

	if (mem->iommu)
		return fail_iommu(err);
	if (mem->count >= CVMM_MEM_REGIONS_MAX)
		return too_many(err);
	ret = cvmm_mem_config_check(config, err);
	if (ret)
		return name_region(config, ret, err);
	at = cvmm_mem_upper_bound(mem, config->gpa.addr + (config->len_bytes - 1));
	if (at &&
	    mem->entries[at - 1].gpa + (mem->entries[at - 1].len_bytes - 1) >= config->gpa.addr)
		return name_region(
			config,
			fail_overlap(mem->entries[at - 1].gpa, mem->entries[at - 1].len_bytes, err),
			err);
	changed = map_alloc(mem->count + 1);
	if (!changed)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	ret = map_neighbour(mem, at, config, &mapping, err);
	if (ret) {
		cvmm_mem_unref(changed);
		return name_region(config, ret, err);
	}
	for (size_t i = 0; i < at; i++)
		map_share(changed, &mem->entries[i]);
	map_append(changed, mapping);
	for (size_t i = at; i < mem->count; i++)
		map_share(changed, &mem->entries[i]);
	map_finish(changed, mem);
	*ret_mem = changed;
	return 0;
}

int cvmm_mem_remove(struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len_bytes,
		    struct cvmm_mem **ret_mem, struct cvmm_error *err)
{
	const struct cvmm_mem_entry *gone = cvmm_mem_entry_find(mem, gpa.addr);
	struct cvmm_mem *changed;

	if (!gone || gone->gpa != gpa.addr || gone->len_bytes != len_bytes)
		return cvmm_fail(err, -ENOENT,
				 "guest memory has no region of exactly 0x%llx bytes at 0x%llx",
				 (unsigned long long)len_bytes, (unsigned long long)gpa.addr);
	changed = map_alloc(mem->count - 1);
	if (!changed)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < mem->count; i++)
		if (&mem->entries[i] != gone)
			map_share(changed, &mem->entries[i]);
	map_finish(changed, mem);
	*ret_mem = changed;
	return 0;
}

int cvmm_mem_with_dirty(struct cvmm_mem *mem, struct cvmm_dirty *dirty, struct cvmm_mem **ret_mem,
			struct cvmm_error *err)
{
	struct cvmm_mem *changed;

	if (mem->iommu)
		return fail_iommu(err);
	changed = map_alloc(mem->count);
	if (!changed)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < mem->count; i++)
		map_share(changed, &mem->entries[i]);
	map_finish(changed, NULL);
	if (dirty)
		changed->fast.dirty = cvmm_dirty_ref(dirty);
	*ret_mem = changed;
	return 0;
}

struct cvmm_mem *cvmm_mem_ref(struct cvmm_mem *mem)
{
	unsigned int before = __atomic_fetch_add(&mem->refs, 1, __ATOMIC_RELAXED);

	/* From 0: the caller held none. Too many: somebody loses them, and a wrap would free. */
	CVMM_BUG_ON(before == 0 || before >= INT_MAX);
	return mem;
}

struct cvmm_mem *cvmm_mem_unref(struct cvmm_mem *mem)
{
	if (!mem || __atomic_sub_fetch(&mem->refs, 1, __ATOMIC_ACQ_REL))
		return NULL;
	for (size_t i = 0; i < mem->count; i++)
		cvmm_mem_mapping_unref(mem->entries[i].mapping);
	cvmm_dirty_unref(mem->fast.dirty);
	cvmm_mem_iommu_free(mem->iommu);
	cvmm_mem_aligned_free(mem);
	return NULL;
}

size_t cvmm_mem_region_count(const struct cvmm_mem *mem)
{
	return mem->count;
}

const struct cvmm_mem_region *cvmm_mem_region_at(const struct cvmm_mem *mem, size_t i)
{
	return i < mem->count ? &mem->entries[i].mapping->region : NULL;
}

const struct cvmm_mem_region *cvmm_mem_region_find(const struct cvmm_mem *mem, cvmm_gpa gpa)
{
	const struct cvmm_mem_entry *entry = cvmm_mem_entry_find(mem, gpa.addr);

	return entry ? &entry->mapping->region : NULL;
}

bool cvmm_mem_last(const struct cvmm_mem *mem, cvmm_gpa *ret_last)
{
	const struct cvmm_mem_entry *entry;

	if (!mem->count)
		return false;
	entry = &mem->entries[mem->count - 1];
	*ret_last = cvmm_gpa_from(entry->gpa + (entry->len_bytes - 1));
	return true;
}
