/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_MEM_INTERNAL_H
#define CVMM_MEM_INTERNAL_H

#include <stdlib.h>
#ifdef _WIN32
#include <malloc.h>
#endif

#include <cvmm/mem.h>

/* Lengths of guest ranges become lengths of host ranges without a check. */
_Static_assert(SIZE_MAX == UINT64_MAX, "cvmm mem needs a 64-bit host");

#define MEM_CACHE_LINE 64

/* C's aligned_alloc(), and what ends it; Windows' C library has them under names of its own. */
static inline void *cvmm_mem_aligned_alloc(size_t align, size_t bytes)
{
#ifdef _WIN32
	return _aligned_malloc(bytes, align);
#else
	return aligned_alloc(align, bytes);
#endif
}

static inline void cvmm_mem_aligned_free(void *block)
{
#ifdef _WIN32
	_aligned_free(block);
#else
	free(block);
#endif
}

/**
 * struct cvmm_mem_mapping - one region's memory, shared by all maps that hold the region
 * @refs: maps that hold it; atomic
 * @owned: whether the last reference unmaps (false for CVMM_MEM_EXTERNAL)
 * @region: what the maps copy into their entries; never changes
 * @ops: as in the config
 * @ops_ctx: for @ops, until the last reference
 */
struct cvmm_mem_mapping {
	unsigned int refs;
	bool owned;
	struct cvmm_mem_region region;
	const struct cvmm_mem_ops *ops;
	void *ops_ctx;
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
 * @retired: references that are only kept by spaces until nobody else has one; atomic
 * @count: regions in @entries; 0 behind an IOMMU
 * @iommu: what addresses go through first, or NULL; owned by the map
 * @has_windows: whether some region is mapped on demand
 * @starts: first addresses of all entries, close together for the search
 * @entries: sorted by address, disjoint. There is always room for one: in an empty map it is zero,
 *           and a region of length 0 holds no address, so the fast path need not look at @count.
 *
 * @starts, and what @fast points to, are behind the entries in the same block.
 */
struct cvmm_mem {
	struct cvmm_mem_fast fast;
	unsigned int refs __attribute__((aligned(MEM_CACHE_LINE)));
	unsigned int retired;
	size_t count;
	struct mem_iommu *iommu;
	bool has_windows;
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
	const uint64_t *starts = mem->starts;
	size_t len = mem->count, below = 0;

	if (!len)
		return 0;
	while (len > 1) {
		size_t half = len / 2;

		below += starts[below + half - 1] <= gpa ? half : 0;
		len -= half;
	}
	return below + (starts[below] <= gpa);
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
 * @access: what it was checked for
 * @entry: region of the next piece
 * @offset: where in that region it starts
 * @left: bytes not yet seen; behind an IOMMU, of what was translated last
 * @window: the piece that is mapped on demand at the moment, or NULL
 * @window_bytes: its length
 * @window_owner: whose it is
 * @iommu: what translates the rest, with its lock held; or NULL
 * @iova: where the rest starts
 * @iova_left: how long it is
 */
struct cvmm_mem_walk {
	enum cvmm_access access;
	const struct cvmm_mem_entry *entry;
	uint64_t offset;
	uint64_t left;
	void *window;
	uint64_t window_bytes;
	const struct cvmm_mem_mapping *window_owner;
	struct mem_iommu *iommu;
	uint64_t iova;
	uint64_t iova_left;
};

/*
 * Starts a walk if all of the range has @access. Return: 0, -EFAULT, or what translating it failed
 * with. After 0 there must be a cvmm_mem_walk_end(), until which no translation changes.
 */
int cvmm_mem_walk_start(struct cvmm_mem_walk *walk, const struct cvmm_mem *mem, cvmm_gpa gpa,
			uint64_t len, enum cvmm_access access);

/* The same, but does not tell of what could not be translated. */
int cvmm_mem_walk_try(struct cvmm_mem_walk *walk, const struct cvmm_mem *mem, cvmm_gpa gpa,
		      uint64_t len, enum cvmm_access access);

/*
 * Return: 1 and another piece, 0 at the end, or what mapping it on demand failed with. A piece that was
 * mapped on demand is gone with the next.
 */
int cvmm_mem_walk_next(struct cvmm_mem_walk *walk, struct iovec *ret_piece);

void cvmm_mem_walk_end(struct cvmm_mem_walk *walk);

/* Goes on at an address of a map that has regions: @len bytes there were checked. */
void cvmm_mem_walk_go_on(struct cvmm_mem_walk *walk, const struct cvmm_mem *mem, uint64_t gpa,
			 uint64_t len);

/* ---- behind an IOMMU (mem_iommu.c) --------------------------------------------------------------- */

/* As cvmm_mem_walk_start() and the rest, for a map behind an IOMMU. */
int cvmm_mem_iommu_walk_start(struct cvmm_mem_walk *walk, struct mem_iommu *iommu, uint64_t iova,
			      uint64_t len, enum cvmm_access access);
void cvmm_mem_iommu_walk_next(struct cvmm_mem_walk *walk);
void cvmm_mem_iommu_walk_end(struct cvmm_mem_walk *walk);
void cvmm_mem_iommu_mark(struct mem_iommu *iommu, uint64_t iova, uint64_t len);
void cvmm_mem_iommu_mark_pieces(struct mem_iommu *iommu, uint64_t iova, uint64_t len,
				const struct iovec *iov, size_t count);

/* Tells of what could not be translated. No lock of the IOTLB may be held on account of this access. */
void cvmm_mem_iommu_report(const struct mem_iommu *iommu, uint64_t iova, uint64_t len,
			   enum cvmm_access access);
void cvmm_mem_iommu_free(struct mem_iommu *iommu);
const struct cvmm_mem *cvmm_mem_iommu_backing(const struct mem_iommu *iommu);

/* A map without regions and one reference, or NULL. */
struct cvmm_mem *cvmm_mem_alloc_empty(void);

/* Checks @config on its own, whatever its map holds. Return: 0 or -EINVAL. */
int cvmm_mem_config_check(const struct cvmm_mem_config *config, struct cvmm_error *err);

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

/* ---- the system's part (mem_map_posix.c, mem_map_windows.c) ------------------------------------- */

uint64_t cvmm_mem_host_page_bytes(void);

/* What offsets in files must be multiples of: a page, or more. */
uint64_t cvmm_mem_host_granule_bytes(void);

/* Size of the pages behind a region whose memory was just opened. */
uint64_t cvmm_mem_host_page_bytes_of(const struct cvmm_mem_region *region);

/* Whether the config's file holds all of the region. Return: 0 or negative errno. */
int cvmm_mem_host_check_file(const struct cvmm_mem_config *config, struct cvmm_error *err);

/* Return: a duplicate that children do not inherit, or negative errno. Owner: the caller. */
int cvmm_mem_host_dup(int fd);
bool cvmm_mem_host_same_file(int a, int b);

/* One read or write of at least the first piece's beginning. Return: bytes or negative errno. */
ssize_t cvmm_mem_host_readv(int fd, const struct iovec *iov, int count);
ssize_t cvmm_mem_host_writev(int fd, const struct iovec *iov, int count);

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

/* Maps region->fd, or private memory, and sets region->host. Return: 0 or negative errno. */
int cvmm_mem_host_map(const struct cvmm_mem_config *config, enum cvmm_mem_where where, uint8_t *at,
		      struct cvmm_mem_region *region, struct cvmm_error *err);
void cvmm_mem_host_unmap(const struct cvmm_mem_region *region);

/*
 * Zeroed pages for our own use, which cost nothing until they are touched; or, if they are not usable,
 * only their addresses. Return: NULL if there is no room, with errno.
 */
void *cvmm_mem_host_alloc(uint64_t bytes, bool usable);
void cvmm_mem_host_free(void *host, uint64_t bytes);

#endif /* CVMM_MEM_INTERNAL_H */
