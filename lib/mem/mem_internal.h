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

/**
 * struct cvmm_mem_entry - one region of one map: what an access needs to know of it
 * @run_bytes: from @gpa, how much is contiguous in the host with the same rights: @len_bytes, and
 *             what follows
 *
 * One cache line: a look-up that hits loads no other.
 */
struct cvmm_mem_entry {
	uint64_t gpa;
	uint64_t len_bytes;
	uint64_t run_bytes;
	uint8_t *host;
	enum cvmm_access access;
	struct cvmm_mem_mapping *mapping;
} __attribute__((aligned(MEM_CACHE_LINE)));

_Static_assert(sizeof(struct cvmm_mem_entry) == MEM_CACHE_LINE, "an entry fills one cache line");

/**
 * struct cvmm_mem - a map
 * @fast: what the accesses in <cvmm/mem.h> look at; first
 * @refs: references; atomic, the only member that ever changes after the map is made. Not in the
 *        line of @fast, which all readers share.
 * @count: regions in @entries
 * @starts: first addresses of all entries, close together for the search
 * @entries: sorted by address, disjoint. There is always room for one: in an empty map it is zero,
 *           and a region of length 0 holds no address, so the fast path need not look at @count.
 *
 * @starts, and what @fast points to, are behind the entries in the same block.
 */
struct cvmm_mem {
	struct cvmm_mem_fast fast;
	unsigned int refs __attribute__((aligned(MEM_CACHE_LINE)));
	size_t count;
	uint64_t *starts;
	struct cvmm_mem_hot *hot;
	uint16_t *table;
	struct cvmm_mem_entry entries[];
};

static inline bool cvmm_mem_entry_has(const struct cvmm_mem_entry *entry, uint64_t gpa)
{
	return gpa - entry->gpa < entry->len_bytes;
}

/* Number of entries that start at or below @gpa. Without branches to guess: addresses are random. */
static inline size_t cvmm_mem_upper_bound(const struct cvmm_mem *mem, uint64_t gpa)
{
	const uint64_t *base = mem->starts;
	size_t len = mem->count;

	if (!len)
		return 0;
	while (len > 1) {
		size_t half = len / 2;

		base += base[half - 1] <= gpa ? half : 0;
		len -= half;
	}
	return (size_t)(base - mem->starts) + (*base <= gpa);
}

/* Index of the last entry at or below @gpa, or 0. */
static inline size_t cvmm_mem_index_below(const struct cvmm_mem *mem, uint64_t gpa)
{
	uint64_t slot = gpa >> mem->fast.shift;
	size_t bound;

	if (CVMM_LIKELY(slot < CVMM_MEM_TABLE_SLOTS && mem->table[slot] == mem->table[slot + 1]))
		return mem->table[slot];
	bound = cvmm_mem_upper_bound(mem, gpa);
	return bound ? bound - 1 : 0;
}

/* The entry that holds @gpa, or NULL. */
static inline const struct cvmm_mem_entry *cvmm_mem_entry_find(const struct cvmm_mem *mem,
							       uint64_t gpa)
{
	const struct cvmm_mem_entry *entry = &mem->entries[cvmm_mem_index_below(mem, gpa)];

	return cvmm_mem_entry_has(entry, gpa) ? entry : NULL;
}

/**
 * struct cvmm_mem_walk - the pieces of a range that was checked
 * @entry: region of the next piece
 * @offset: where in that region it starts
 * @left: bytes not yet seen
 */
struct cvmm_mem_walk {
	const struct cvmm_mem_entry *entry;
	uint64_t offset;
	uint64_t left;
};

/* Starts a walk if all of the range has @access. Return: 0 or -EFAULT. */
int cvmm_mem_walk_start(struct cvmm_mem_walk *walk, const struct cvmm_mem *mem, cvmm_gpa gpa,
			uint64_t len, enum cvmm_access access);

/* Return: whether there was another piece. */
bool cvmm_mem_walk_next(struct cvmm_mem_walk *walk, struct iovec *ret_piece);

/* Checks @config on its own, whatever its map holds. Return: 0 or -EINVAL. */
int cvmm_mem_config_check(const struct cvmm_mem_config *config, struct cvmm_error *err);

/**
 * struct cvmm_mem_reservation - addresses that hold nothing yet
 * @next: where the next mapping goes; NULL if there is none
 * @end: behind the last
 */
struct cvmm_mem_reservation {
	uint8_t *next;
	uint8_t *end;
};

/* Whether a region of this kind can be mapped at an address that was reserved for it. */
bool cvmm_mem_can_reserve(const struct cvmm_mem_config *config);

/* Reserves @len bytes for what begins at @gpa in the guest. Return: 0 or negative errno. */
int cvmm_mem_reserve(struct cvmm_mem_reservation *ret_room, uint64_t gpa, uint64_t len);

/* Gives back what was not used. */
void cvmm_mem_unreserve(struct cvmm_mem_reservation *room);

/* What to do with the address that cvmm_mem_mapping_create() is given. */
enum cvmm_mem_where {
	CVMM_MEM_ANYWHERE, /* ignore it */
	CVMM_MEM_TRY,	   /* there if nothing else is, else anywhere */
	CVMM_MEM_RESERVED, /* there: the caller reserved it */
};

/*
 * Maps a checked config. Owner: the caller owns the one reference to *ret_mapping. A reservation that
 * it was given is used up only on success.
 */
int cvmm_mem_mapping_create(const struct cvmm_mem_config *config, enum cvmm_mem_where where,
			    uint8_t *at, struct cvmm_mem_mapping **ret_mapping,
			    struct cvmm_error *err);

/* Does what config.flags say to memory that was just mapped. Return: 0 or negative errno. */
int cvmm_mem_apply_flags(const struct cvmm_mem_config *config, const struct cvmm_mem_region *region,
			 struct cvmm_error *err);
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
