/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm mem: guest memory.
 *
 * A struct cvmm_mem is an immutable, reference-counted, sorted set of regions. Changing the map
 * makes a new one; readers keep theirs for as long as they hold a reference. A struct
 * cvmm_mem_space is the place where the current map is published.
 *
 * Every address and length that reaches this interface may come from a guest: all sums are checked,
 * and what is not wholly inside RAM fails with -EFAULT.
 *
 * Host pointers and iovecs that this interface hands out are valid while the caller holds a
 * reference to the map they came from.
 *
 * What every access means, whoever the guest is:
 *
 *  - Aligned accesses of 1, 2, 4 and 8 bytes are single ones: they see or change all of the field at
 *    once, and only once. Anything else is copied in an unknown order, and not atomic.
 *  - An empty range touches nothing, and is fine at any address.
 *  - A range that would pass 2^64 is not RAM, even if the map ends there and begins at 0.
 *  - A range of which one byte is a hole, or lacks a right, is refused as a whole: writes change
 *    nothing then.
 *
 * A map may have more to it than regions, and every function here heeds it:
 *
 *  - a dirty bitmap (cvmm_mem_with_dirty()), in which all writes are marked;
 *  - an IOMMU in front of it (cvmm_mem_create_iommu() in <cvmm/mem_iommu.h>): then its addresses are
 *    I/O virtual ones;
 *  - regions that are mapped only for as long as an access takes (CVMM_MEM_ON_DEMAND).
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_MEM_H
#define CVMM_MEM_H

#include <cvmm/base.h>
#include <cvmm/mem_dirty.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A guest-physical address: neither a pointer nor an integer. */
typedef struct {
	uint64_t addr;
} cvmm_gpa;

/* The only way to make an address of a number: it shows where trust begins. */
static inline cvmm_gpa cvmm_gpa_from(uint64_t addr)
{
	return (cvmm_gpa){ addr };
}

/* Unchecked sum, wraps: only for addresses whose range was checked before. */
static inline cvmm_gpa cvmm_gpa_add(cvmm_gpa gpa, uint64_t offset)
{
	return (cvmm_gpa){ gpa.addr + offset };
}

/* Checked arithmetic. Return: false, and @ret untouched, if the sum leaves the address space. */
static inline bool cvmm_gpa_checked_add(cvmm_gpa gpa, uint64_t offset, cvmm_gpa *ret)
{
	return cvmm_add_u64(gpa.addr, offset, &ret->addr);
}

static inline bool cvmm_gpa_checked_sub(cvmm_gpa gpa, uint64_t offset, cvmm_gpa *ret)
{
	if (gpa.addr < offset)
		return false;
	ret->addr = gpa.addr - offset;
	return true;
}

/* Distance from @base up to @gpa. Return: false if @gpa lies below @base. */
static inline bool cvmm_gpa_checked_offset(cvmm_gpa gpa, cvmm_gpa base, uint64_t *ret_offset)
{
	if (gpa.addr < base.addr)
		return false;
	*ret_offset = gpa.addr - base.addr;
	return true;
}

/* The next multiple of @align, a power of two. Return: false if there is none, or @align is none. */
static inline bool cvmm_gpa_checked_align_up(cvmm_gpa gpa, uint64_t align, cvmm_gpa *ret)
{
	uint64_t sum;

	if (!align || (align & (align - 1)) || !cvmm_add_u64(gpa.addr, align - 1, &sum))
		return false;
	ret->addr = sum & ~(align - 1);
	return true;
}

/* Less than 0, 0 or more, as qsort() wants it. */
static inline int cvmm_gpa_compare(cvmm_gpa a, cvmm_gpa b)
{
	return (a.addr > b.addr) - (a.addr < b.addr);
}

/* What an access does, from the device's side. */
enum cvmm_access {
	CVMM_ACCESS_READ = 1,
	CVMM_ACCESS_WRITE = 2,
	CVMM_ACCESS_READ_WRITE = 3,
};

enum cvmm_mem_kind {
	CVMM_MEM_ANONYMOUS, /* private anonymous memory */
	CVMM_MEM_MEMFD,	    /* shared memory in a nameless file that the region creates and owns */
	CVMM_MEM_FILE,	    /* shared mapping of a caller's file */
	CVMM_MEM_HUGETLB,   /* memfd of huge pages, see hugetlb_log2 */
	CVMM_MEM_EXTERNAL,  /* the caller's memory; never unmapped by us */
	CVMM_MEM_ON_DEMAND, /* mapped by config.ops, for each access anew */
};

#define CVMM_MEM_REGIONS_MAX 512

/* What to do with a region's memory, see struct cvmm_mem_config. */
enum cvmm_mem_flags {
	CVMM_MEM_HUGE_PAGES = 1 << 0,	 /* transparent huge pages, where the host has them */
	CVMM_MEM_NO_HUGE_PAGES = 1 << 1, /* never: for guests whose pages come and go singly */
	CVMM_MEM_MERGEABLE = 1 << 2,	 /* equal pages may be shared (KSM) */
	CVMM_MEM_NO_DUMP = 1 << 3,	 /* not in core dumps */
	CVMM_MEM_NO_FORK = 1 << 4,	 /* not in children */
	CVMM_MEM_PREFAULT = 1 << 5,	 /* all of it is there when the map is */
	CVMM_MEM_NUMA_BIND = 1 << 6,	 /* pages only from config.numa_node */
	CVMM_MEM_HAS_GUEST_MEMFD = 1 << 7,
};

#define CVMM_MEM_PREFAULT_THREADS_MAX 64

/* The most that CVMM_MEM_ON_DEMAND asks for at a time. */
#define CVMM_MEM_WINDOW_BYTES_MAX (UINT64_C(1) << 18)

/**
 * struct cvmm_mem_ops - what somebody else does about a region's memory
 * @map: CVMM_MEM_ON_DEMAND: make the bytes [offset, offset + len_bytes) of the region accessible, and
 *       tell the address of the first; any offset, at most CVMM_MEM_WINDOW_BYTES_MAX within the
 *       region. Return: 0 or negative errno, which the access then fails with.
 * @unmap: CVMM_MEM_ON_DEMAND: the end of what @map began, with the same numbers
 * @release: the last map that has the region is gone; may be NULL. Also of CVMM_MEM_EXTERNAL.
 *
 * Context: any thread, several at a time.
 */
struct cvmm_mem_ops {
	int (*map)(void *ctx, uint64_t offset, uint64_t len_bytes, enum cvmm_access access,
		   void **ret_host);
	void (*unmap)(void *ctx, void *host, uint64_t len_bytes);
	void (*release)(void *ctx);
};

/**
 * struct cvmm_mem_config - one region of guest RAM
 * @gpa: first guest-physical address; page-aligned
 * @len_bytes: size, page-aligned, not 0; gpa + len must not exceed 2^64
 * @kind: backing, see enum cvmm_mem_kind. The file of CVMM_MEM_MEMFD is a memfd of sealed size where
 *        the system has that; else it is a shared memory object, and a peer that has its descriptor
 *        can make it shorter: that would be a SIGBUS.
 * @access: what devices may do; CVMM_ACCESS_READ_WRITE for RAM. The host mapping is writable all
 *          the same, except that of a CVMM_MEM_FILE with CVMM_ACCESS_READ.
 * @fd: CVMM_MEM_FILE: file to map, duplicated (the caller keeps its own); otherwise ignored. It
 *      must hold the whole region, and nobody may make it shorter later: that would be a SIGBUS.
 * @fd_offset: CVMM_MEM_FILE: page-aligned offset of the region's first byte
 * @host: CVMM_MEM_EXTERNAL: page-aligned address of at least @len_bytes
 * @hugetlb_log2: CVMM_MEM_HUGETLB: log2 of the page size (on x86 21 or 30), 0 for the system's
 *                default; @len_bytes must be a multiple of that page size, too
 * @flags: enum cvmm_mem_flags. Huge pages, merging, dumps and forks are wishes: a host that cannot
 *         is no error. Prefaulting and NUMA binding are orders.
 * @numa_node: CVMM_MEM_NUMA_BIND: number of the host's node, below 1024
 * @prefault_threads: CVMM_MEM_PREFAULT: how many share the work; 0 is 1
 * @guest_memfd: CVMM_MEM_HAS_GUEST_MEMFD: KVM's private memory for this range (Linux
 *               KVM_CREATE_GUEST_MEMFD), duplicated. The host's mapping is then the shared half.
 *               Kept for whoever tells KVM (KVM_SET_USER_MEMORY_REGION2); never mapped here.
 * @guest_memfd_offset: page-aligned offset of the region's first byte in @guest_memfd
 * @ops: CVMM_MEM_ON_DEMAND, and if wanted CVMM_MEM_EXTERNAL; must outlive all maps with the region
 * @ops_ctx: for @ops. The region owns it from the moment that the call that makes a map of it
 *           succeeds; if that fails @release was not called.
 */
struct cvmm_mem_config {
	cvmm_gpa gpa;
	uint64_t len_bytes;
	enum cvmm_mem_kind kind;
	enum cvmm_access access;
	int fd;
	uint64_t fd_offset;
	void *host;
	unsigned int hugetlb_log2;
	unsigned int flags;
	unsigned int numa_node;
	unsigned int prefault_threads;
	int guest_memfd;
	uint64_t guest_memfd_offset;
	const struct cvmm_mem_ops *ops;
	void *ops_ctx;
};

/**
 * struct cvmm_mem_region - one mapped region, read-only for callers
 * @host: where [gpa, gpa + len_bytes) is mapped in this process; NULL for CVMM_MEM_ON_DEMAND
 * @fd: descriptor to share with other processes, or -1; owned by the region
 * @flags: as they were asked for
 * @page_bytes: size of the pages behind it: the host's, or those of CVMM_MEM_HUGETLB
 * @guest_memfd: KVM's private memory, or -1; owned by the region
 */
struct cvmm_mem_region {
	uint64_t gpa;
	uint64_t len_bytes;
	uint8_t *host;
	enum cvmm_access access;
	enum cvmm_mem_kind kind;
	int fd;
	uint64_t fd_offset;
	unsigned int flags;
	uint64_t page_bytes;
	int guest_memfd;
	uint64_t guest_memfd_offset;
};

/* The region's last address. */
static inline uint64_t cvmm_mem_region_last(const struct cvmm_mem_region *region)
{
	return region->gpa + (region->len_bytes - 1);
}

/* Whether the region holds @gpa; right for a region that ends at 2^64, too. */
static inline bool cvmm_mem_region_has(const struct cvmm_mem_region *region, cvmm_gpa gpa)
{
	return gpa.addr - region->gpa < region->len_bytes;
}

struct cvmm_mem;

/**
 * cvmm_mem_create() - map regions and make a memory map of them
 * @configs: @count regions in any order; must not overlap. None at all make an empty map.
 * @ret_mem: the new map, with one reference that the caller owns
 *
 * Regions that touch in the guest are mapped so that they touch in the host, except those of
 * CVMM_MEM_EXTERNAL: an access that crosses from one to the other is then one piece. The host's
 * address of a region is that of the guest modulo 2 MiB, for the sake of huge pages.
 *
 * Return: 0; -EINVAL for a bad region; -EEXIST for overlap; -E2BIG above CVMM_MEM_REGIONS_MAX; or
 * what the mapping failed with. On failure nothing stays mapped.
 */
CVMM_API int cvmm_mem_create(const struct cvmm_mem_config *configs, size_t count,
			     struct cvmm_mem **ret_mem, struct cvmm_error *err);

/* As @mem plus one region; @mem is unchanged and shares its regions with the new map. */
CVMM_API int cvmm_mem_insert(struct cvmm_mem *mem, const struct cvmm_mem_config *config,
			     struct cvmm_mem **ret_mem, struct cvmm_error *err);

/* As @mem without the region that is exactly [gpa, gpa + len). -ENOENT if there is none. */
CVMM_API int cvmm_mem_remove(struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len_bytes,
			     struct cvmm_mem **ret_mem, struct cvmm_error *err);

/**
 * cvmm_mem_with_dirty() - the same memory, with writes marked in a bitmap
 * @dirty: covers guest-physical addresses; NULL for a map without. The new map takes a reference.
 *
 * What cvmm_mem_insert() and cvmm_mem_remove() make of the new map has the same bitmap. A bitmap that
 * is disabled costs a load for each write, so that a VMM can have one from the start. Writes through
 * pointers of cvmm_mem_ptr() and cvmm_mem_span() are for the caller to mark: cvmm_mem_mark_dirty().
 *
 * Return: 0; -ENOMEM; -EINVAL for a map behind an IOMMU, whose bitmap is given when it is made.
 */
CVMM_API int cvmm_mem_with_dirty(struct cvmm_mem *mem, struct cvmm_dirty *dirty,
				 struct cvmm_mem **ret_mem, struct cvmm_error *err);

/* Any thread. The last unref unmaps regions that no other map shares. NULL is allowed for unref. */
CVMM_API struct cvmm_mem *cvmm_mem_ref(struct cvmm_mem *mem);
CVMM_API struct cvmm_mem *cvmm_mem_unref(struct cvmm_mem *mem); /* returns NULL */

/* Regions in the map; 0 for an empty one. */
CVMM_API size_t cvmm_mem_region_count(const struct cvmm_mem *mem);

/* The region with index @i in address order, or NULL. Valid while @mem is held. */
CVMM_API const struct cvmm_mem_region *cvmm_mem_region_at(const struct cvmm_mem *mem, size_t i);

/* The highest address of RAM. Return: false if the map is empty. */
CVMM_API bool cvmm_mem_last(const struct cvmm_mem *mem, cvmm_gpa *ret_last);

/* Whether two regions have bytes of one file in common, under whatever descriptors. */
CVMM_API bool cvmm_mem_region_files_overlap(const struct cvmm_mem_region *a,
					    const struct cvmm_mem_region *b);

/* The region that holds @gpa, or NULL. */
CVMM_API const struct cvmm_mem_region *cvmm_mem_region_find(const struct cvmm_mem *mem,
							    cvmm_gpa gpa);

/* ---- the fast path: private, and here only so that compilers can see through it ---------------- */

/*
 * What an access needs to know of a region: from @gpa, so many bytes can be read or written without
 * leaving what is contiguous in the host, and their host addresses are their own plus @bias.
 */
struct cvmm_mem_hot {
	uint64_t gpa;
	uint64_t readable;
	uint64_t writable;
	uintptr_t bias;
};

#ifndef CVMM_MEM_TABLE_LOG2
#define CVMM_MEM_TABLE_LOG2 10 /* less only in proofs */
#endif
#define CVMM_MEM_TABLE_SLOTS (1 << CVMM_MEM_TABLE_LOG2)

/*
 * How every struct cvmm_mem begins: one cache line.
 * @likely: the longest stretch of RAM, which most accesses go to
 * @hot: for each region
 * @table: for each of the equal parts of the address space up to the end of RAM, the region that holds
 *         its first byte, or the last one below it; one more at the end. Where two neighbours in the
 *         table differ, the part between them is searched out of line.
 * @dirty: where writes are marked, or NULL
 */
struct cvmm_mem_fast {
	struct cvmm_mem_hot likely;
	const struct cvmm_mem_hot *hot;
	const uint16_t *table;
	struct cvmm_dirty *dirty;
	unsigned int shift;
} __attribute__((aligned(64)));

/*
 * The host's address for an access of @len bytes, a constant, or NULL: then it must be tried out of
 * line. Of 1, 2, 4 or 8 bytes only aligned ones are found: as regions begin and end at page borders,
 * such an access is wholly inside if its first byte is.
 */
static inline __attribute__((always_inline)) void *
cvmm_mem_fast_(const struct cvmm_mem *mem, uint64_t gpa, uint64_t len, bool is_write)
{
	const struct cvmm_mem_fast *fast = (const struct cvmm_mem_fast *)mem;
	const struct cvmm_mem_hot *hot = &fast->likely;
	bool is_word = len == 1 || len == 2 || len == 4 || len == 8;
	uint64_t offset = gpa - hot->gpa, room = is_write ? hot->writable : hot->readable;
	uint64_t slot;

	if (is_word && CVMM_UNLIKELY(gpa & (len - 1)))
		return NULL;
	if (CVMM_UNLIKELY(offset >= room || (!is_word && room - offset < len))) {
		slot = gpa >> fast->shift;
		if (slot >= CVMM_MEM_TABLE_SLOTS ||
		    CVMM_UNLIKELY(fast->table[slot] != fast->table[slot + 1]))
			return NULL;
		hot = &fast->hot[fast->table[slot]];
		offset = gpa - hot->gpa;
		room = is_write ? hot->writable : hot->readable;
		if (CVMM_UNLIKELY(offset >= room || (!is_word && room - offset < len)))
			return NULL;
	}
	return (void *)(hot->bias + (uintptr_t)gpa);
}

/**
 * cvmm_mem_ptr_quick() - as cvmm_mem_ptr(), in line, where that is quickly told
 * @len: not 0
 *
 * Return: the host's address, or NULL: then cvmm_mem_ptr() or cvmm_mem_span() knows. Always NULL behind
 * an IOMMU, and for memory that is mapped on demand.
 */
static inline __attribute__((always_inline)) void *
cvmm_mem_ptr_quick(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len, bool is_write)
{
	const struct cvmm_mem_fast *fast = (const struct cvmm_mem_fast *)mem;
	const struct cvmm_mem_hot *hot = &fast->likely;
	uint64_t offset = gpa.addr - hot->gpa, room = is_write ? hot->writable : hot->readable;
	uint64_t slot;

	if (CVMM_LIKELY(offset < room && room - offset >= len))
		return (void *)(hot->bias + (uintptr_t)gpa.addr);
	slot = gpa.addr >> fast->shift;
	if (slot >= CVMM_MEM_TABLE_SLOTS ||
	    CVMM_UNLIKELY(fast->table[slot] != fast->table[slot + 1]))
		return NULL;
	hot = &fast->hot[fast->table[slot]];
	offset = gpa.addr - hot->gpa;
	room = is_write ? hot->writable : hot->readable;
	if (CVMM_UNLIKELY(offset >= room || room - offset < len))
		return NULL;
	return (void *)(hot->bias + (uintptr_t)gpa.addr);
}

static inline __attribute__((always_inline)) void
cvmm_mem_fast_mark_(const struct cvmm_mem *mem, uint64_t gpa, uint64_t len, bool in_one_page)
{
	struct cvmm_dirty *dirty = ((const struct cvmm_mem_fast *)mem)->dirty;

	if (CVMM_UNLIKELY(dirty))
		cvmm_dirty_mark_(dirty, gpa, len, in_one_page);
}

/* Up to here compilers copy well themselves; above, in ways that the C library's memcpy() beats. */
#define CVMM_MEM_INLINE_BYTES_MAX 64

/* @len; where memcpy() is to be called, so that the compiler does not know that it is constant. */
static inline __attribute__((always_inline)) size_t cvmm_mem_memcpy_len_(size_t len)
{
	if (!__builtin_constant_p(len) || len > CVMM_MEM_INLINE_BYTES_MAX)
		__asm__("" : "+r"(len));
	return len;
}

/* ---- the door: every device access goes through these -------------------------------------- */

/**
 * cvmm_mem_check() - whether every byte of a range is RAM with the access wanted
 *
 * An empty range is fine anywhere. Return: 0 or -EFAULT.
 */
CVMM_API int cvmm_mem_check(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len,
			    enum cvmm_access access);

/**
 * cvmm_mem_read() - copy guest bytes into host memory, once
 * @gpa: guest-physical address (guest-controlled)
 * @dst: @len bytes
 * @len: bytes, 0 allowed (guest-controlled)
 *
 * May cross regions. An aligned access of 1, 2, 4 or 8 bytes is a single one; a longer copy is not
 * atomic. Return: 0; -EFAULT if any byte is outside readable RAM (then @dst is unspecified).
 * Context: any thread, never blocks (page faults aside). Owner: @mem must be held.
 */
static inline int cvmm_mem_read(const struct cvmm_mem *mem, cvmm_gpa gpa, void *dst, size_t len);

/* The other direction; on -EFAULT no byte was written. */
static inline int cvmm_mem_write(const struct cvmm_mem *mem, cvmm_gpa gpa, const void *src,
				 size_t len);

/* The same out of line: for any length, and for other languages. */
CVMM_API int cvmm_mem_read_any(const struct cvmm_mem *mem, cvmm_gpa gpa, void *dst, size_t len);
CVMM_API int cvmm_mem_write_any(const struct cvmm_mem *mem, cvmm_gpa gpa, const void *src,
				size_t len);

#define CVMM_MEM_LOAD_(bits, dst, host)                                                    \
	do {                                                                               \
		uint##bits##_t value_ =                                                    \
			__atomic_load_n((const uint##bits##_t *)(host), __ATOMIC_RELAXED); \
		memcpy((dst), &value_, sizeof(value_));                                    \
	} while (0)

#define CVMM_MEM_STORE_(bits, host, src)                                              \
	do {                                                                          \
		uint##bits##_t value_;                                                \
		memcpy(&value_, (src), sizeof(value_));                               \
		__atomic_store_n((uint##bits##_t *)(host), value_, __ATOMIC_RELAXED); \
	} while (0)

/* As declared above. */
static inline __attribute__((always_inline)) int cvmm_mem_read(const struct cvmm_mem *mem,
							       cvmm_gpa gpa, void *dst, size_t len)
{
	const void *host = NULL;

	if (__builtin_constant_p(len) && len)
		host = cvmm_mem_fast_(mem, gpa.addr, len, false);
	if (!host)
		return cvmm_mem_read_any(mem, gpa, dst, len);
	if (len == 1)
		CVMM_MEM_LOAD_(8, dst, host);
	else if (len == 2)
		CVMM_MEM_LOAD_(16, dst, host);
	else if (len == 4)
		CVMM_MEM_LOAD_(32, dst, host);
	else if (len == 8)
		CVMM_MEM_LOAD_(64, dst, host);
	else
		memcpy(dst, host, cvmm_mem_memcpy_len_(len));
	__asm__ volatile(
		"" ::
			: "memory"); /* the copy is what is looked at, not the guest's bytes again */
	return 0;
}

/* As declared above. */
static inline __attribute__((always_inline)) int
cvmm_mem_write(const struct cvmm_mem *mem, cvmm_gpa gpa, const void *src, size_t len)
{
	void *host = NULL;

	if (__builtin_constant_p(len) && len)
		host = cvmm_mem_fast_(mem, gpa.addr, len, true);
	if (!host)
		return cvmm_mem_write_any(mem, gpa, src, len);
	if (len == 1)
		CVMM_MEM_STORE_(8, host, src);
	else if (len == 2)
		CVMM_MEM_STORE_(16, host, src);
	else if (len == 4)
		CVMM_MEM_STORE_(32, host, src);
	else if (len == 8)
		CVMM_MEM_STORE_(64, host, src);
	else
		memcpy(host, src, cvmm_mem_memcpy_len_(len));
	__asm__ volatile("" ::: "memory");
	cvmm_mem_fast_mark_(mem, gpa.addr, len, len == 1 || len == 2 || len == 4 || len == 8);
	return 0;
}

/*
 * Copy within guest memory, or from one guest's to another's (@src_mem may be @dst_mem). Ranges of
 * one map may overlap: then it is as if all were read first, where both are contiguous in the host,
 * and unspecified elsewhere. On -EFAULT nothing was written.
 */
CVMM_API int cvmm_mem_copy(const struct cvmm_mem *dst_mem, cvmm_gpa dst,
			   const struct cvmm_mem *src_mem, cvmm_gpa src, uint64_t len);

/* Fill with one byte value; on -EFAULT nothing was written. */
CVMM_API int cvmm_mem_fill(const struct cvmm_mem *mem, cvmm_gpa gpa, uint8_t value, uint64_t len);

/**
 * cvmm_mem_span() - a guest range as a list of host pieces
 * @iov: room for @iov_max pieces; unspecified on failure
 * @ret_count: pieces used; one for each stretch that is contiguous in the host, none for @len 0
 *
 * Return: 0; -EFAULT if any byte lacks @access; -ENOBUFS if @iov_max is too small; -ENOTSUP for
 * memory that is mapped on demand (use cvmm_mem_pin()).
 */
CVMM_API int cvmm_mem_span(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len,
			   enum cvmm_access access, struct iovec *iov, size_t iov_max,
			   size_t *ret_count);

/**
 * struct cvmm_mem_pin - a range that was made accessible; private
 */
struct cvmm_mem_pin {
	const struct cvmm_mem *mem;
	cvmm_gpa gpa;
	uint64_t len_bytes;
	enum cvmm_access access;
	const struct iovec *iov;
	size_t count;
};

/**
 * cvmm_mem_pin() - as cvmm_mem_span(), for memory of all kinds, with an end
 * @iov: room for @iov_max pieces; must stay as it is until cvmm_mem_unpin()
 * @ret_pin: what to end it with
 *
 * Return: as cvmm_mem_span(), or what mapping on demand failed with.
 * Context: @mem must be held until cvmm_mem_unpin(), which must come, from any thread.
 */
CVMM_API int cvmm_mem_pin(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len,
			  enum cvmm_access access, struct iovec *iov, size_t iov_max,
			  struct cvmm_mem_pin *ret_pin);

/* The end of the accesses: unmaps what was mapped on demand, and marks what may have been written. */
CVMM_API void cvmm_mem_unpin(struct cvmm_mem_pin *pin);

/*
 * Mark a range that was written to through a pointer or a span, in the map's dirty bitmap if it has one.
 * After the write.
 */
CVMM_API void cvmm_mem_mark_dirty(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len);

/**
 * cvmm_mem_mark_written() - as cvmm_mem_mark_dirty(), for pieces of cvmm_mem_span()
 * @len_bytes: how many of the pieces' bytes were written, from their start
 *
 * For who has the pieces but no longer the address they came from. Finds the regions by their host
 * addresses. Behind an IOMMU only the bitmap of the memory behind it is marked: what is logged by I/O
 * virtual address needs cvmm_mem_mark_dirty().
 */
CVMM_API void cvmm_mem_mark_written(const struct cvmm_mem *mem, const struct iovec *iov,
				    size_t count, uint64_t len_bytes);

/* Whether writes are marked in a bitmap, be it enabled or not; behind an IOMMU, of what is behind it. */
CVMM_API bool cvmm_mem_has_dirty(const struct cvmm_mem *mem);

/* Whether addresses are I/O virtual ones, whose translations may change while the map is held. */
CVMM_API bool cvmm_mem_has_iommu(const struct cvmm_mem *mem);

/**
 * cvmm_mem_ptr() - host address of a range that is contiguous in the host
 *
 * For rings and other structures that are translated once. Return: NULL if any byte lacks @access
 * or the range is not contiguous in the host; for @len 0, NULL if @gpa itself lacks @access.
 */
CVMM_API void *cvmm_mem_ptr(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len,
			    enum cvmm_access access);

/*
 * Atomic little-endian accesses with a memory order (__ATOMIC_RELAXED, _ACQUIRE, _RELEASE,
 * _SEQ_CST); any other is done as _SEQ_CST. -EINVAL if @gpa is not a multiple of the size, -EFAULT
 * outside of RAM.
 */
#define CVMM_MEM_ATOMICS_(bits)                                                             \
	CVMM_API int cvmm_mem_load_u##bits##_any(const struct cvmm_mem *mem, cvmm_gpa gpa,  \
						 int order, uint##bits##_t *ret);           \
	CVMM_API int cvmm_mem_store_u##bits##_any(const struct cvmm_mem *mem, cvmm_gpa gpa, \
						  int order, uint##bits##_t v);             \
                                                                                            \
	static inline __attribute__((always_inline)) int cvmm_mem_load_u##bits(             \
		const struct cvmm_mem *mem, cvmm_gpa gpa, int order, uint##bits##_t *ret)   \
	{                                                                                   \
		const void *host = NULL;                                                    \
                                                                                            \
		if (__builtin_constant_p(order) &&                                          \
		    (order == __ATOMIC_RELAXED || order == __ATOMIC_ACQUIRE))               \
			host = cvmm_mem_fast_(mem, gpa.addr, sizeof(*ret), false);          \
		if (!host)                                                                  \
			return cvmm_mem_load_u##bits##_any(mem, gpa, order, ret);           \
		*ret = __atomic_load_n((const uint##bits##_t *)host, order);                \
		*ret = CVMM_MEM_LE##bits##_(*ret);                                          \
		return 0;                                                                   \
	}                                                                                   \
                                                                                            \
	static inline __attribute__((always_inline)) int cvmm_mem_store_u##bits(            \
		const struct cvmm_mem *mem, cvmm_gpa gpa, int order, uint##bits##_t v)      \
	{                                                                                   \
		void *host = NULL;                                                          \
                                                                                            \
		if (__builtin_constant_p(order) &&                                          \
		    (order == __ATOMIC_RELAXED || order == __ATOMIC_RELEASE))               \
			host = cvmm_mem_fast_(mem, gpa.addr, sizeof(v), true);              \
		if (!host)                                                                  \
			return cvmm_mem_store_u##bits##_any(mem, gpa, order, v);            \
		__atomic_store_n((uint##bits##_t *)host, CVMM_MEM_LE##bits##_(v), order);   \
		cvmm_mem_fast_mark_(mem, gpa.addr, sizeof(v), true);                        \
		return 0;                                                                   \
	}

/* Little-endian to the host's order, or back. */
#define CVMM_MEM_LE_(v, swap) (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? (v) : swap(v))
#define CVMM_MEM_LE8_(v) (v)
#define CVMM_MEM_LE16_(v) CVMM_MEM_LE_(v, __builtin_bswap16)
#define CVMM_MEM_LE32_(v) CVMM_MEM_LE_(v, __builtin_bswap32)
#define CVMM_MEM_LE64_(v) CVMM_MEM_LE_(v, __builtin_bswap64)

/* cvmm_mem_load_u8() … cvmm_mem_store_u64() */
CVMM_MEM_ATOMICS_(8)
CVMM_MEM_ATOMICS_(16)
CVMM_MEM_ATOMICS_(32)
CVMM_MEM_ATOMICS_(64)
#undef CVMM_MEM_ATOMICS_

/* ---- streams: between descriptors and guest memory, without a copy in between --------------- */

/**
 * cvmm_mem_pread() - read from a file straight into guest memory
 *
 * For loaders. Return: 0; -EFAULT outside writable RAM (then nothing was written); -ENODATA where
 * the file ends too early; or the read's errno. After the last two, part of the range may be
 * written.
 * Context: blocks for as long as the file does.
 */
CVMM_API int cvmm_mem_pread(const struct cvmm_mem *mem, cvmm_gpa gpa, int fd, uint64_t offset,
			    uint64_t len);

/* The other direction. Return: 0; -EFAULT (then nothing was written), or the write's errno. */
CVMM_API int cvmm_mem_pwrite(const struct cvmm_mem *mem, cvmm_gpa gpa, int fd, uint64_t offset,
			     uint64_t len);

/**
 * cvmm_mem_read_from_fd() - one read from a stream into guest memory
 * @fd: file, pipe, socket or terminal, at its own position
 * @len: bytes at most
 *
 * Return: bytes read, which may be fewer than @len; 0 at the end of the stream, or for @len 0;
 * -EFAULT if any byte of the range is not writable RAM (then nothing was read); -EAGAIN, -EINTR or
 * another errno of the read.
 * Context: blocks if @fd does.
 */
CVMM_API ssize_t cvmm_mem_read_from_fd(const struct cvmm_mem *mem, cvmm_gpa gpa, int fd,
				       uint64_t len);

/* The other direction: one write to a stream, which may take fewer bytes. */
CVMM_API ssize_t cvmm_mem_write_to_fd(const struct cvmm_mem *mem, cvmm_gpa gpa, int fd,
				      uint64_t len);

/*
 * As often as it takes for all of @len; an interrupted call is repeated. Return: 0; -ENODATA if the
 * stream ends before; -EFAULT (then nothing moved); or an errno, after which some bytes may have
 * moved: a stream that does not block is not for these.
 */
CVMM_API int cvmm_mem_read_full_from_fd(const struct cvmm_mem *mem, cvmm_gpa gpa, int fd,
					uint64_t len);
CVMM_API int cvmm_mem_write_full_to_fd(const struct cvmm_mem *mem, cvmm_gpa gpa, int fd,
				       uint64_t len);

/* ---- the host's pages ------------------------------------------------------------------------ */

/**
 * cvmm_mem_discard() - give the pages of a range back to the host
 *
 * For balloons. Whole pages inside of the range are freed and read as zeroes afterwards; the parts of
 * pages at its ends are left alone. Return: 0; -EFAULT outside of RAM; -ENOTSUP where the memory is not
 * ours (CVMM_MEM_FILE, _EXTERNAL, _ON_DEMAND) or behind an IOMMU (then nothing was freed); or what the
 * system failed with.
 */
CVMM_API int cvmm_mem_discard(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len);

/* ---- publishing the current map ------------------------------------------------------------ */

struct cvmm_mem_space;

/* The space takes a reference of its own to @mem. Return: 0 or negative errno. */
CVMM_API int cvmm_mem_space_create(struct cvmm_mem *mem, struct cvmm_mem_space **ret_space);
CVMM_API void cvmm_mem_space_destroy(struct cvmm_mem_space *space);

/* A new reference to the current map. Any thread. */
CVMM_API struct cvmm_mem *cvmm_mem_space_get(struct cvmm_mem_space *space);

/**
 * cvmm_mem_space_publish() - make a map current for all later readers; earlier ones keep theirs
 *
 * The map before it is let go when no reader has it any more, by this function or by
 * cvmm_mem_space_reclaim(): readers never pay for unmapping. Return: 0, or -ENOMEM and nothing has changed.
 * Context: any thread; never waits for readers. Owner: the space takes a reference of its own.
 */
CVMM_API int cvmm_mem_space_publish(struct cvmm_mem_space *space, struct cvmm_mem *mem);

/*
 * Let go of earlier maps that no reader has any more. Each publish does it; who took memory away from a
 * guest calls it once the devices have seen the new map. Any thread.
 */
CVMM_API void cvmm_mem_space_reclaim(struct cvmm_mem_space *space);

/*
 * Never 0, grows with every publish: a cached snapshot is current while this is what it was. Read
 * it before cvmm_mem_space_get(), not after: a publish in between then costs a second get, where it
 * would otherwise go unnoticed. Any thread, without a lock.
 */
CVMM_API uint64_t cvmm_mem_space_generation(const struct cvmm_mem_space *space);

/**
 * struct cvmm_mem_cache - one reader's view of a space: the map, and when it was taken
 *
 * For a device's or a queue's thread, which looks at the map for each request. Looking costs one
 * load while nothing was published, and never waits for a publisher. All members are private.
 * Context: one thread at a time.
 */
struct cvmm_mem_cache {
	const uint64_t *published; /* the space's generation */
	uint64_t generation;
	struct cvmm_mem *mem;
	struct cvmm_mem_space *space;
	struct cvmm_mem *hazard; /* what this reader is about to take a reference to */
	struct cvmm_mem_cache *next;
};

/* Owner: @cache is the caller's and must not move; @space must outlive it. */
CVMM_API void cvmm_mem_cache_init(struct cvmm_mem_cache *cache, struct cvmm_mem_space *space);
CVMM_API void cvmm_mem_cache_fini(struct cvmm_mem_cache *cache);

/* The slow half of cvmm_mem_cache_get(). */
CVMM_API struct cvmm_mem *cvmm_mem_cache_refresh(struct cvmm_mem_cache *cache);

/*
 * The current map, or one that was current when the call began. It belongs to the cache, and is valid
 * until the next call: who wants it longer takes a reference.
 */
static inline struct cvmm_mem *cvmm_mem_cache_get(struct cvmm_mem_cache *cache)
{
	if (CVMM_LIKELY(__atomic_load_n(cache->published, __ATOMIC_ACQUIRE) == cache->generation))
		return cache->mem;
	return cvmm_mem_cache_refresh(cache);
}

#ifdef __cplusplus
}
#endif

#endif /* CVMM_MEM_H */
