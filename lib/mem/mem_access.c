// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: nearly every range lies in one region, which one_run() translates with a
 * look-up and two compares. Anything else is checked whole by cvmm_mem_check() before the first
 * byte moves, and then walked region by region: regions are neighbours in the array if they are
 * neighbours in the address space. A map does not change, so that what was checked stays true.
 *
 * Behind an IOMMU a map has no regions of its own: nothing is found in line or by one_run(), and every
 * range is walked, piece by piece of what the IOTLB says (mem_iommu.c). Regions that are mapped on
 * demand are never found in line either: the walk maps them, a window at a time.
 *
 * The guest writes to this memory while we read it. Fields of 1, 2, 4 or 8 bytes at their natural
 * alignment are therefore one access of the processor (regions start at page boundaries here and in
 * the guest, so guest alignment is host alignment), and a copy is fenced against a compiler that
 * would rather read the guest's bytes again than the copy that the caller is about to check.
 */
#include <errno.h>

#include "mem_internal.h"

_Static_assert(__atomic_always_lock_free(sizeof(uint64_t), 0), "atomics must be one instruction");

/* ---- translation --------------------------------------------------------------------------- */

static inline bool entry_allows(const struct cvmm_mem_entry *entry, enum cvmm_access access)
{
	return !((unsigned int)access & ~(unsigned int)entry->access);
}

/* Bytes from @hot->gpa on that allow the access. */
static inline uint64_t room_of(const struct cvmm_mem_hot *hot, enum cvmm_access access)
{
	if (access == CVMM_ACCESS_READ)
		return hot->readable;
	return access == CVMM_ACCESS_WRITE || hot->readable ? hot->writable : 0;
}

static inline uint8_t *in_stretch(const struct cvmm_mem_hot *hot, uint64_t gpa, uint64_t len,
				  enum cvmm_access access)
{
	uint64_t offset = gpa - hot->gpa, room = room_of(hot, access);

	if (CVMM_LIKELY(offset < room && len <= room - offset))
		return (uint8_t *)(hot->bias + (uintptr_t)gpa);
	return NULL;
}

/* Host address of a range within one run, or NULL. For @len 0 its address must be in one. */
static inline uint8_t *one_run(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len,
			       enum cvmm_access access)
{
	uint8_t *host = in_stretch(&mem->fast.likely, gpa.addr, len, access);

	if (CVMM_LIKELY(host))
		return host;
	return in_stretch(&mem->hot[cvmm_mem_index_below(mem, gpa.addr)], gpa.addr, len, access);
}

static int check_regions(const struct cvmm_mem *mem, uint64_t at, uint64_t len,
			 enum cvmm_access access)
{
	const struct cvmm_mem_entry *entry, *end = mem->entries + mem->count;

	if (!len)
		return 0;
	entry = cvmm_mem_entry_find(mem, at);
	/*
	 * `at` wraps to 0 only behind a region that ends at 2^64; that one is the last, so the
	 * loop ends there and the wrapped address is never looked up.
	 */
	for (; entry && entry < end && cvmm_mem_entry_has(entry, at); entry++) {
		uint64_t piece = entry->len_bytes - (at - entry->gpa);

		if (!entry_allows(entry, access))
			return -EFAULT;
		if (len <= piece)
			return 0;
		len -= piece;
		at += piece;
	}
	return -EFAULT;
}

int cvmm_mem_check(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len, enum cvmm_access access)
{
	struct cvmm_mem_walk walk;
	int ret;

	if (CVMM_LIKELY(!mem->iommu))
		return check_regions(mem, gpa.addr, len, access);
	ret = cvmm_mem_walk_start(&walk, mem, gpa, len, access);
	if (!ret)
		cvmm_mem_walk_end(&walk);
	return ret;
}

/* ---- walks --------------------------------------------------------------------------------- */

void cvmm_mem_walk_go_on(struct cvmm_mem_walk *walk, const struct cvmm_mem *mem, uint64_t gpa,
			 uint64_t len)
{
	walk->entry = cvmm_mem_entry_find(mem, gpa);
	walk->offset = gpa - walk->entry->gpa;
	walk->left = len;
}

int cvmm_mem_walk_try(struct cvmm_mem_walk *walk, const struct cvmm_mem *mem, cvmm_gpa gpa,
		      uint64_t len, enum cvmm_access access)
{
	int ret;

	*walk = (struct cvmm_mem_walk){ .access = access };
	if (CVMM_UNLIKELY(mem->iommu))
		return cvmm_mem_iommu_walk_start(walk, mem->iommu, gpa.addr, len, access);
	ret = check_regions(mem, gpa.addr, len, access);
	if (!ret && len)
		cvmm_mem_walk_go_on(walk, mem, gpa.addr, len);
	return ret;
}

static void report(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len, enum cvmm_access access,
		   int code)
{
	if (mem->iommu && (code == -EAGAIN || code == -EACCES))
		cvmm_mem_iommu_report(mem->iommu, gpa.addr, len, access);
}

int cvmm_mem_walk_start(struct cvmm_mem_walk *walk, const struct cvmm_mem *mem, cvmm_gpa gpa,
			uint64_t len, enum cvmm_access access)
{
	int ret = cvmm_mem_walk_try(walk, mem, gpa, len, access);

	report(mem, gpa, len, access, ret);
	return ret;
}

static void close_window(struct cvmm_mem_walk *walk)
{
	const struct cvmm_mem_mapping *owner = walk->window_owner;

	if (owner)
		owner->ops->unmap(owner->ops_ctx, walk->window, walk->window_bytes);
	walk->window_owner = NULL;
}

/* Maps up to @len bytes of the region that the walk is in. Return: 0 or negative errno. */
static int open_window(struct cvmm_mem_walk *walk, uint64_t len)
{
	const struct cvmm_mem_mapping *owner = walk->entry->mapping;
	int ret;

	if (len > CVMM_MEM_WINDOW_BYTES_MAX)
		len = CVMM_MEM_WINDOW_BYTES_MAX;
	ret = owner->ops->map(owner->ops_ctx, walk->offset, len, walk->access, &walk->window);
	if (ret)
		return ret;
	walk->window_bytes = len;
	walk->window_owner = owner;
	return 0;
}

int cvmm_mem_walk_next(struct cvmm_mem_walk *walk, struct iovec *ret_piece)
{
	uint64_t len, behind;
	int ret;

	close_window(walk);
	if (!walk->left && walk->iova_left)
		cvmm_mem_iommu_walk_next(walk);
	if (!walk->left)
		return 0;
	len = walk->entry->run_bytes - walk->offset;
	if (len > walk->left)
		len = walk->left;
	ret_piece->iov_base = walk->entry->host + walk->offset;
	if (!walk->entry->host) {
		ret = open_window(walk, len);
		if (ret)
			return ret;
		len = walk->window_bytes;
		ret_piece->iov_base = walk->window;
	}
	ret_piece->iov_len = len;
	walk->left -= len;
	/* The range was checked: while bytes are left there is an entry behind the run. */
	for (behind = walk->offset + len; walk->left && behind >= walk->entry->len_bytes;) {
		behind -= walk->entry->len_bytes;
		walk->entry++;
	}
	walk->offset = behind;
	return 1;
}

void cvmm_mem_walk_end(struct cvmm_mem_walk *walk)
{
	close_window(walk);
	if (walk->iommu)
		cvmm_mem_iommu_walk_end(walk);
}

/* ---- lists of pieces ------------------------------------------------------------------------- */

/* All pieces of a walk; *ret_count is set whatever is returned. Windows are the caller's to unmap. */
static int gather(struct cvmm_mem_walk *walk, struct iovec *iov, size_t iov_max, size_t *ret_count)
{
	struct iovec piece;
	int ret;

	*ret_count = 0;
	while ((ret = cvmm_mem_walk_next(walk, &piece)) > 0) {
		if (*ret_count == iov_max)
			return -ENOBUFS;
		iov[(*ret_count)++] = piece;
		walk->window_owner = NULL;
	}
	return ret;
}

/* Whether any byte of a range that was checked is mapped on demand. */
static bool needs_windows(const struct cvmm_mem *mem, uint64_t gpa, uint64_t len)
{
	const struct cvmm_mem_entry *entry, *end = mem->entries + mem->count;

	if (CVMM_LIKELY(!mem->has_windows) || !len)
		return false;
	entry = cvmm_mem_entry_find(mem, gpa);
	for (; entry < end && entry->gpa <= gpa + (len - 1); entry++)
		if (!entry->host)
			return true;
	return false;
}

int cvmm_mem_span(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len, enum cvmm_access access,
		  struct iovec *iov, size_t iov_max, size_t *ret_count)
{
	struct cvmm_mem_walk walk;
	size_t count;
	int ret;

	ret = cvmm_mem_walk_start(&walk, mem, gpa, len, access);
	if (ret)
		return ret;
	ret = needs_windows(mem, gpa.addr, len) ? -ENOTSUP : gather(&walk, iov, iov_max, &count);
	cvmm_mem_walk_end(&walk);
	if (!ret)
		*ret_count = count;
	return ret;
}

static void unmap_windows(const struct cvmm_mem *mem, uint64_t gpa, const struct iovec *iov,
			  size_t count)
{
	if (!mem->has_windows)
		return;
	for (size_t i = 0; i < count; gpa += iov[i++].iov_len) {
		const struct cvmm_mem_entry *entry = cvmm_mem_entry_find(mem, gpa);

		if (!entry->host)
			entry->mapping->ops->unmap(entry->mapping->ops_ctx, iov[i].iov_base,
						   iov[i].iov_len);
	}
}

int cvmm_mem_pin(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len, enum cvmm_access access,
		 struct iovec *iov, size_t iov_max, struct cvmm_mem_pin *ret_pin)
{
	struct cvmm_mem_walk walk;
	size_t count;
	int ret;

	ret = cvmm_mem_walk_start(&walk, mem, gpa, len, access);
	if (ret)
		return ret;
	ret = gather(&walk, iov, iov_max, &count);
	cvmm_mem_walk_end(&walk);
	if (ret) {
		unmap_windows(mem, gpa.addr, iov, count);
		return ret;
	}
	*ret_pin = (struct cvmm_mem_pin){ mem, gpa, len, access, iov, count };
	return 0;
}

void cvmm_mem_unpin(struct cvmm_mem_pin *pin)
{
	unmap_windows(pin->mem, pin->gpa.addr, pin->iov, pin->count);
	if ((pin->access & CVMM_ACCESS_WRITE) && pin->mem->iommu)
		cvmm_mem_iommu_mark_pieces(pin->mem->iommu, pin->gpa.addr, pin->len_bytes, pin->iov,
					   pin->count);
	else if (pin->access & CVMM_ACCESS_WRITE)
		cvmm_mem_mark_dirty(pin->mem, pin->gpa, pin->len_bytes);
	*pin = (struct cvmm_mem_pin){ 0 };
}

/* Of a range behind an IOMMU, where it is one piece. */
static void *iommu_ptr(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len,
		       enum cvmm_access access)
{
	struct iovec piece;
	size_t count = 0;

	if (cvmm_mem_span(mem, gpa, len ? len : 1, access, &piece, 1, &count))
		return NULL;
	return piece.iov_base;
}

void *cvmm_mem_ptr(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len, enum cvmm_access access)
{
	if (CVMM_UNLIKELY(mem->iommu))
		return iommu_ptr(mem, gpa, len, access);
	return one_run(mem, gpa, len, access);
}

void cvmm_mem_mark_dirty(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len)
{
	if (CVMM_UNLIKELY(mem->iommu))
		cvmm_mem_iommu_mark(mem->iommu, gpa.addr, len);
	else
		cvmm_mem_fast_mark_(mem, gpa.addr, len, false);
}

/* Where writes are marked by guest-physical address. */
static const struct cvmm_mem *marked_map(const struct cvmm_mem *mem)
{
	return mem->iommu ? cvmm_mem_iommu_backing(mem->iommu) : mem;
}

bool cvmm_mem_has_dirty(const struct cvmm_mem *mem)
{
	return marked_map(mem)->fast.dirty;
}

bool cvmm_mem_has_iommu(const struct cvmm_mem *mem)
{
	return mem->iommu;
}

static void mark_host_range(const struct cvmm_mem *mem, const uint8_t *host, uint64_t len)
{
	for (size_t i = 0; i < mem->count; i++) {
		const struct cvmm_mem_entry *entry = &mem->entries[i];
		uint64_t offset = (uintptr_t)host - (uintptr_t)entry->host;

		/* All of them: one memory may be in the guest twice. */
		if (entry->host && offset < entry->len_bytes)
			cvmm_mem_fast_mark_(mem, entry->gpa + offset, len, false);
	}
}

void cvmm_mem_mark_written(const struct cvmm_mem *mem, const struct iovec *iov, size_t count,
			   uint64_t len_bytes)
{
	const struct cvmm_mem *marked = marked_map(mem);

	if (!marked->fast.dirty)
		return;
	for (size_t i = 0; i < count && len_bytes; i++) {
		uint64_t len = iov[i].iov_len < len_bytes ? iov[i].iov_len : len_bytes;

		if (len)
			mark_host_range(marked, iov[i].iov_base, len);
		len_bytes -= len;
	}
}

/* ---- copies -------------------------------------------------------------------------------- */

static inline void compiler_barrier(void)
{
	__asm__ volatile("" ::: "memory");
}

static inline bool is_aligned(const void *p, size_t len)
{
	return !((uintptr_t)p & (len - 1));
}

#define LOAD_ONCE(type, dst, host)                                                     \
	do {                                                                           \
		type value_ = __atomic_load_n((const type *)(host), __ATOMIC_RELAXED); \
		memcpy((dst), &value_, sizeof(value_));                                \
	} while (0)

#define STORE_ONCE(type, host, src)                                         \
	do {                                                                \
		type value_;                                                \
		memcpy(&value_, (src), sizeof(value_));                     \
		__atomic_store_n((type *)(host), value_, __ATOMIC_RELAXED); \
	} while (0)

/* A word where it is aligned, else so many bytes: of a size that the compiler knows. */
#define COPY_WORD(move_once, type, to, from, host)      \
	do {                                            \
		if (is_aligned(host, sizeof(type)))     \
			move_once(type, to, from);      \
		else                                    \
			memcpy(to, from, sizeof(type)); \
	} while (0)

static inline void copy_from_guest(void *dst, const void *host, size_t len)
{
	if (len == 1)
		LOAD_ONCE(uint8_t, dst, host);
	else if (len == 2)
		COPY_WORD(LOAD_ONCE, uint16_t, dst, host, host);
	else if (len == 4)
		COPY_WORD(LOAD_ONCE, uint32_t, dst, host, host);
	else if (len == 8)
		COPY_WORD(LOAD_ONCE, uint64_t, dst, host, host);
	else
		memcpy(dst, host, len);
	compiler_barrier();
}

static inline void copy_to_guest(void *host, const void *src, size_t len)
{
	if (len == 1)
		STORE_ONCE(uint8_t, host, src);
	else if (len == 2)
		COPY_WORD(STORE_ONCE, uint16_t, host, src, host);
	else if (len == 4)
		COPY_WORD(STORE_ONCE, uint32_t, host, src, host);
	else if (len == 8)
		COPY_WORD(STORE_ONCE, uint64_t, host, src, host);
	else
		memcpy(host, src, len);
	compiler_barrier();
}

static int read_crossing(const struct cvmm_mem *mem, cvmm_gpa gpa, uint8_t *dst, size_t len)
{
	struct iovec piece;
	struct cvmm_mem_walk walk;
	int ret;

	ret = cvmm_mem_walk_start(&walk, mem, gpa, len, CVMM_ACCESS_READ);
	if (ret)
		return ret;
	for (; (ret = cvmm_mem_walk_next(&walk, &piece)) > 0; dst += piece.iov_len)
		copy_from_guest(dst, piece.iov_base, piece.iov_len);
	cvmm_mem_walk_end(&walk);
	return ret;
}

static int write_crossing(const struct cvmm_mem *mem, cvmm_gpa gpa, const uint8_t *src, size_t len)
{
	struct iovec piece;
	struct cvmm_mem_walk walk;
	int ret;

	ret = cvmm_mem_walk_start(&walk, mem, gpa, len, CVMM_ACCESS_WRITE);
	if (ret)
		return ret;
	for (; (ret = cvmm_mem_walk_next(&walk, &piece)) > 0; src += piece.iov_len)
		copy_to_guest(piece.iov_base, src, piece.iov_len);
	/* Whole, even if a window failed: some of it was written. */
	cvmm_mem_mark_dirty(mem, gpa, len);
	cvmm_mem_walk_end(&walk);
	return ret;
}

int cvmm_mem_read_any(const struct cvmm_mem *mem, cvmm_gpa gpa, void *dst, size_t len)
{
	const uint8_t *host;

	if (!len)
		return 0;
	host = one_run(mem, gpa, len, CVMM_ACCESS_READ);
	if (CVMM_UNLIKELY(!host))
		return read_crossing(mem, gpa, dst, len);
	copy_from_guest(dst, host, len);
	return 0;
}

int cvmm_mem_write_any(const struct cvmm_mem *mem, cvmm_gpa gpa, const void *src, size_t len)
{
	uint8_t *host;

	if (!len)
		return 0;
	host = one_run(mem, gpa, len, CVMM_ACCESS_WRITE);
	if (CVMM_UNLIKELY(!host))
		return write_crossing(mem, gpa, src, len);
	copy_to_guest(host, src, len);
	cvmm_mem_fast_mark_(mem, gpa.addr, len, false);
	return 0;
}

/* memset(), but words are single accesses. */
static void fill_bytes(void *host, uint8_t value, size_t len)
{
	uint64_t word = value * UINT64_C(0x0101010101010101);

	if (len > sizeof(word))
		memset(host, value, len);
	else
		copy_to_guest(host, &word, len);
}

int cvmm_mem_fill(const struct cvmm_mem *mem, cvmm_gpa gpa, uint8_t value, uint64_t len)
{
	struct iovec piece = { 0 };
	struct cvmm_mem_walk walk;
	int ret;

	ret = cvmm_mem_walk_start(&walk, mem, gpa, len, CVMM_ACCESS_WRITE);
	if (ret)
		return ret;
	while ((ret = cvmm_mem_walk_next(&walk, &piece)) > 0)
		fill_bytes(piece.iov_base, value, piece.iov_len);
	cvmm_mem_mark_dirty(mem, gpa, len);
	cvmm_mem_walk_end(&walk);
	return ret;
}

/* The next piece of a walk, if the last one is used up. Return: as cvmm_mem_walk_next(). */
static int refill(struct cvmm_mem_walk *walk, struct iovec *piece)
{
	return piece->iov_len ? 1 : cvmm_mem_walk_next(walk, piece);
}

static void advance(struct iovec *piece, size_t len)
{
	piece->iov_base = (char *)piece->iov_base + len;
	piece->iov_len -= len;
}

/* memmove(), but words are single accesses. */
static void move_bytes(void *to, const void *from, size_t len)
{
	uint64_t word;

	if (len > sizeof(word)) {
		memmove(to, from, len);
		return;
	}
	copy_from_guest(&word, from, len);
	copy_to_guest(to, &word, len);
}

static int copy_pieces(struct cvmm_mem_walk *to_walk, struct cvmm_mem_walk *from_walk)
{
	struct iovec to = { 0 }, from = { 0 };
	int ret;

	while ((ret = refill(to_walk, &to)) > 0 && (ret = refill(from_walk, &from)) > 0) {
		size_t len = to.iov_len < from.iov_len ? to.iov_len : from.iov_len;

		move_bytes(to.iov_base, from.iov_base, len);
		advance(&to, len);
		advance(&from, len);
	}
	return ret;
}

int cvmm_mem_copy(const struct cvmm_mem *dst_mem, cvmm_gpa dst, const struct cvmm_mem *src_mem,
		  cvmm_gpa src, uint64_t len)
{
	struct cvmm_mem_walk to, from;
	int ret;

	ret = cvmm_mem_walk_start(&to, dst_mem, dst, len, CVMM_ACCESS_WRITE);
	if (ret)
		return ret;
	ret = cvmm_mem_walk_try(&from, src_mem, src, len, CVMM_ACCESS_READ);
	if (ret) {
		/* Whoever hears of it may want to change the IOTLB. */
		cvmm_mem_walk_end(&to);
		report(src_mem, src, len, CVMM_ACCESS_READ, ret);
		return ret;
	}
	ret = copy_pieces(&to, &from);
	cvmm_mem_mark_dirty(dst_mem, dst, len);
	cvmm_mem_walk_end(&from);
	cvmm_mem_walk_end(&to);
	return ret;
}

/* ---- atomics ------------------------------------------------------------------------------- */

/*
 * The compiler wants orders as constants: given a variable it would do everything SEQ_CST. Orders
 * that make no sense for the direction get that, too.
 */
/*
 * A walk to a word that one_run() does not find: behind an IOMMU, or mapped on demand. It must be in
 * one piece, and aligned there, too. Return: 0, or negative errno and no walk.
 */
static int word_start(struct cvmm_mem_walk *walk, const struct cvmm_mem *mem, cvmm_gpa gpa,
		      uint64_t len, enum cvmm_access access, void **ret_host)
{
	struct iovec piece = { 0 };
	int ret = cvmm_mem_walk_start(walk, mem, gpa, len, access);

	if (ret)
		return ret;
	ret = cvmm_mem_walk_next(walk, &piece);
	if (ret > 0 && piece.iov_len == len && is_aligned(piece.iov_base, len)) {
		*ret_host = piece.iov_base;
		return 0;
	}
	cvmm_mem_walk_end(walk);
	return ret < 0 ? ret : -EFAULT;
}

#define le8toh(v) (v)
#define htole8(v) (v)

#define DEFINE_ATOMICS(bits)                                                                  \
	static uint##bits##_t load_le##bits(const void *host, int order)                      \
	{                                                                                     \
		const uint##bits##_t *p = host;                                               \
                                                                                              \
		switch (order) {                                                              \
		case __ATOMIC_RELAXED:                                                        \
			return le##bits##toh(__atomic_load_n(p, __ATOMIC_RELAXED));           \
		case __ATOMIC_ACQUIRE:                                                        \
			return le##bits##toh(__atomic_load_n(p, __ATOMIC_ACQUIRE));           \
		default:                                                                      \
			return le##bits##toh(__atomic_load_n(p, __ATOMIC_SEQ_CST));           \
		}                                                                             \
	}                                                                                     \
                                                                                              \
	static void store_le##bits(void *host, int order, uint##bits##_t v)                   \
	{                                                                                     \
		uint##bits##_t *p = host;                                                     \
                                                                                              \
		v = htole##bits(v);                                                           \
		switch (order) {                                                              \
		case __ATOMIC_RELAXED:                                                        \
			__atomic_store_n(p, v, __ATOMIC_RELAXED);                             \
			break;                                                                \
		case __ATOMIC_RELEASE:                                                        \
			__atomic_store_n(p, v, __ATOMIC_RELEASE);                             \
			break;                                                                \
		default:                                                                      \
			__atomic_store_n(p, v, __ATOMIC_SEQ_CST);                             \
			break;                                                                \
		}                                                                             \
	}                                                                                     \
                                                                                              \
	int cvmm_mem_load_u##bits##_any(const struct cvmm_mem *mem, cvmm_gpa gpa, int order,  \
					uint##bits##_t *ret)                                  \
	{                                                                                     \
		const void *host = one_run(mem, gpa, sizeof(*ret), CVMM_ACCESS_READ);         \
		struct cvmm_mem_walk walk;                                                    \
		void *there;                                                                  \
		int r;                                                                        \
                                                                                              \
		if (gpa.addr & (sizeof(*ret) - 1))                                            \
			return -EINVAL;                                                       \
		if (CVMM_LIKELY(host)) {                                                      \
			*ret = load_le##bits(host, order);                                    \
			return 0;                                                             \
		}                                                                             \
		r = word_start(&walk, mem, gpa, sizeof(*ret), CVMM_ACCESS_READ, &there);      \
		if (r)                                                                        \
			return r;                                                             \
		*ret = load_le##bits(there, order);                                           \
		cvmm_mem_walk_end(&walk);                                                     \
		return 0;                                                                     \
	}                                                                                     \
                                                                                              \
	int cvmm_mem_store_u##bits##_any(const struct cvmm_mem *mem, cvmm_gpa gpa, int order, \
					 uint##bits##_t v)                                    \
	{                                                                                     \
		void *host = one_run(mem, gpa, sizeof(v), CVMM_ACCESS_WRITE);                 \
		struct cvmm_mem_walk walk;                                                    \
		void *there;                                                                  \
		int r;                                                                        \
                                                                                              \
		if (gpa.addr & (sizeof(v) - 1))                                               \
			return -EINVAL;                                                       \
		if (CVMM_LIKELY(host)) {                                                      \
			store_le##bits(host, order, v);                                       \
			cvmm_mem_fast_mark_(mem, gpa.addr, sizeof(v), true);                  \
			return 0;                                                             \
		}                                                                             \
		r = word_start(&walk, mem, gpa, sizeof(v), CVMM_ACCESS_WRITE, &there);        \
		if (r)                                                                        \
			return r;                                                             \
		store_le##bits(there, order, v);                                              \
		cvmm_mem_mark_dirty(mem, gpa, sizeof(v));                                     \
		cvmm_mem_walk_end(&walk);                                                     \
		return 0;                                                                     \
	}

DEFINE_ATOMICS(8)
DEFINE_ATOMICS(16)
DEFINE_ATOMICS(32)
DEFINE_ATOMICS(64)
#undef DEFINE_ATOMICS
