/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_MEM_INTERNAL_H
#define CVMM_MEM_INTERNAL_H

#include <cvmm/mem.h>

/* Lengths of guest ranges become lengths of host ranges without a check. */
_Static_assert(SIZE_MAX == UINT64_MAX, "cvmm mem needs a 64-bit host");

#define MEM_CACHE_LINE 64

/**
 * struct cvmm_mem_mapping - one region's memory, shared by all maps that hold the region
 * @refs: maps that hold it; atomic
 * @owned: whether the last reference unmaps (false for CVMM_MEM_EXTERNAL)
 * @region: what the maps copy into their entries; never changes
 */
struct cvmm_mem_mapping {
	unsigned int refs;
	bool owned;
	struct cvmm_mem_region region;
};

/* One cache line each: a look-up that hits loads one line and no pointer to the region. */
struct cvmm_mem_entry {
	struct cvmm_mem_region region;
	struct cvmm_mem_mapping *mapping;
} __attribute__((aligned(MEM_CACHE_LINE)));

_Static_assert(sizeof(struct cvmm_mem_entry) == MEM_CACHE_LINE, "an entry fills one cache line");

/**
 * struct cvmm_mem - a map
 * @refs: references; atomic, the only member that ever changes after the map is made
 * @count: regions in @entries
 * @entries: sorted by address, disjoint. There is always room for one: in an empty map it is zero,
 *           and a region of length 0 holds no address, so the fast path need not look at @count.
 *
 * Layout: the first line holds what changes hands rarely, entry 0 the second line.
 */
struct cvmm_mem {
	unsigned int refs;
	size_t count;
	struct cvmm_mem_entry entries[];
};

/* Whether @region holds @gpa; right for a region that ends at 2^64, too. */
static inline bool cvmm_mem_region_has(const struct cvmm_mem_region *region, uint64_t gpa)
{
	return gpa - region->gpa < region->len_bytes;
}

/* Number of entries that start at or below @gpa. */
static inline size_t cvmm_mem_upper_bound(const struct cvmm_mem *mem, uint64_t gpa)
{
	size_t low = 0, high = mem->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (mem->entries[middle].region.gpa <= gpa)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The entry that holds @gpa, or NULL. Most accesses hit the first region: it is tried first. */
static inline const struct cvmm_mem_entry *cvmm_mem_entry_find(const struct cvmm_mem *mem,
							       uint64_t gpa)
{
	size_t below;

	if (CVMM_LIKELY(cvmm_mem_region_has(&mem->entries[0].region, gpa)))
		return &mem->entries[0];
	below = cvmm_mem_upper_bound(mem, gpa);
	if (!below || !cvmm_mem_region_has(&mem->entries[below - 1].region, gpa))
		return NULL;
	return &mem->entries[below - 1];
}

/* Checks @config on its own, whatever its map holds. Return: 0 or -EINVAL. */
int cvmm_mem_config_check(const struct cvmm_mem_config *config, struct cvmm_error *err);

/* Maps a checked config. Owner: the caller owns the one reference to *ret_mapping. */
int cvmm_mem_mapping_create(const struct cvmm_mem_config *config,
			    struct cvmm_mem_mapping **ret_mapping, struct cvmm_error *err);
void cvmm_mem_mapping_ref(struct cvmm_mem_mapping *mapping);
void cvmm_mem_mapping_unref(struct cvmm_mem_mapping *mapping);

/*
 * A new memfd of the config's length and kind (CVMM_MEM_MEMFD or CVMM_MEM_HUGETLB), sealed against
 * changes of its size. Owner: the caller owns *ret_fd. -ENOTSUP where the system has no such thing.
 */
int cvmm_mem_memfd_open(const struct cvmm_mem_config *config, int *ret_fd, struct cvmm_error *err);

#define MEM_SIZE_TEXT 32

/* Writes a size for a message, exactly and with the largest unit that allows it. */
const char *cvmm_mem_size_text(uint64_t bytes, char text[MEM_SIZE_TEXT]);

#endif /* CVMM_MEM_INTERNAL_H */
