// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a map is one block of memory, an array of regions in address order. It never
 * changes after it was handed out, so look-ups need no lock and no cache that threads would share:
 * they try the first region, which holds the low RAM that most accesses go to, and then search.
 * A changed map is a new array; the memory itself (struct cvmm_mem_mapping) is shared, never moved
 * or mapped again.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "mem_internal.h"

/* A map with room for @room entries and one reference. */
static struct cvmm_mem *map_alloc(size_t room)
{
	size_t size = sizeof(struct cvmm_mem) + (room ? room : 1) * sizeof(struct cvmm_mem_entry);
	struct cvmm_mem *mem = aligned_alloc(MEM_CACHE_LINE, size);

	if (!mem)
		return NULL;
	memset(mem, 0, size);
	mem->refs = 1;
	return mem;
}

/* Appends a region of another map. The caller sees to the order. */
static void map_share(struct cvmm_mem *mem, const struct cvmm_mem_entry *entry)
{
	cvmm_mem_mapping_ref(entry->mapping);
	mem->entries[mem->count++] = *entry;
}

static int check_overlap(const struct cvmm_mem *mem, const struct cvmm_mem_config *config,
			 struct cvmm_error *err)
{
	uint64_t last = config->gpa.addr + (config->len_bytes - 1);
	size_t below = cvmm_mem_upper_bound(mem, last);
	const struct cvmm_mem_region *other;

	/* Of all that start at or below our last byte, the highest one reaches furthest. */
	if (!below)
		return 0;
	other = &mem->entries[below - 1].region;
	if (other->gpa + (other->len_bytes - 1) < config->gpa.addr)
		return 0;
	return cvmm_fail(err, -EEXIST, "overlaps the region of 0x%llx bytes at 0x%llx",
			 (unsigned long long)other->len_bytes, (unsigned long long)other->gpa);
}

/* Maps one more region into a map that nobody else sees yet and that has room. */
static int map_add(struct cvmm_mem *mem, const struct cvmm_mem_config *config,
		   struct cvmm_error *err)
{
	struct cvmm_mem_mapping *mapping;
	char text[MEM_SIZE_TEXT];
	size_t at;
	int ret;

	ret = cvmm_mem_config_check(config, err);
	if (!ret)
		ret = check_overlap(mem, config, err);
	if (!ret)
		ret = cvmm_mem_mapping_create(config, &mapping, err);
	if (ret) {
		cvmm_error_prefix(err, "guest memory of %s at 0x%llx",
				  cvmm_mem_size_text(config->len_bytes, text),
				  (unsigned long long)config->gpa.addr);
		return ret;
	}
	at = cvmm_mem_upper_bound(mem, config->gpa.addr);
	memmove(&mem->entries[at + 1], &mem->entries[at],
		(mem->count - at) * sizeof(mem->entries[0]));
	mem->entries[at].region = mapping->region;
	mem->entries[at].mapping = mapping;
	mem->count++;
	return 0;
}

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

	if (count > CVMM_MEM_REGIONS_MAX)
		return too_many(err);
	mem = map_alloc(count);
	if (!mem)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++) {
		int ret = map_add(mem, &configs[i], err);

		if (ret) {
			add_total(configs, count, err);
			cvmm_mem_unref(mem);
			return ret;
		}
	}
	*ret_mem = mem;
	return 0;
}

int cvmm_mem_insert(struct cvmm_mem *mem, const struct cvmm_mem_config *config,
		    struct cvmm_mem **ret_mem, struct cvmm_error *err)
{
	struct cvmm_mem *changed;
	int ret;

	if (mem->count >= CVMM_MEM_REGIONS_MAX)
		return too_many(err);
	changed = map_alloc(mem->count + 1);
	if (!changed)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < mem->count; i++)
		map_share(changed, &mem->entries[i]);
	ret = map_add(changed, config, err);
	if (ret) {
		cvmm_mem_unref(changed);
		return ret;
	}
	*ret_mem = changed;
	return 0;
}

int cvmm_mem_remove(struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len_bytes,
		    struct cvmm_mem **ret_mem, struct cvmm_error *err)
{
	const struct cvmm_mem_entry *gone = cvmm_mem_entry_find(mem, gpa.addr);
	struct cvmm_mem *changed;

	if (!gone || gone->region.gpa != gpa.addr || gone->region.len_bytes != len_bytes)
		return cvmm_fail(err, -ENOENT,
				 "guest memory has no region of exactly 0x%llx bytes at 0x%llx",
				 (unsigned long long)len_bytes, (unsigned long long)gpa.addr);
	changed = map_alloc(mem->count - 1);
	if (!changed)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < mem->count; i++)
		if (&mem->entries[i] != gone)
			map_share(changed, &mem->entries[i]);
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
	free(mem);
	return NULL;
}

size_t cvmm_mem_region_count(const struct cvmm_mem *mem)
{
	return mem->count;
}

const struct cvmm_mem_region *cvmm_mem_region_at(const struct cvmm_mem *mem, size_t i)
{
	return i < mem->count ? &mem->entries[i].region : NULL;
}

const struct cvmm_mem_region *cvmm_mem_region_find(const struct cvmm_mem *mem, cvmm_gpa gpa)
{
	const struct cvmm_mem_entry *entry = cvmm_mem_entry_find(mem, gpa.addr);

	return entry ? &entry->region : NULL;
}
