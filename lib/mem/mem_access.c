// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: nearly every range lies in one region, which one_region() translates with a
 * look-up and two compares. Anything else is checked whole by cvmm_mem_check() before the first
 * byte moves, and then walked region by region: regions are neighbours in the array if they are
 * neighbours in the address space. A map does not change, so that what was checked stays true.
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

static inline bool region_allows(const struct cvmm_mem_region *region, enum cvmm_access access)
{
	return !((unsigned int)access & ~(unsigned int)region->access);
}

/* Host address of a range within one region, or NULL. For @len 0 its address must be in one. */
static inline uint8_t *one_region(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len,
				  enum cvmm_access access)
{
	const struct cvmm_mem_entry *entry = cvmm_mem_entry_find(mem, gpa.addr);
	uint64_t offset;

	if (CVMM_UNLIKELY(!entry || !region_allows(&entry->region, access)))
		return NULL;
	offset = gpa.addr - entry->region.gpa;
	if (CVMM_UNLIKELY(len > entry->region.len_bytes - offset))
		return NULL;
	return entry->region.host + offset;
}

int cvmm_mem_check(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len, enum cvmm_access access)
{
	const struct cvmm_mem_entry *entry, *end = mem->entries + mem->count;
	uint64_t at = gpa.addr;

	if (!len)
		return 0;
	entry = cvmm_mem_entry_find(mem, at);
	/*
	 * `at` wraps to 0 only behind a region that ends at 2^64; that one is the last, so the
	 * loop ends there and the wrapped address is never looked up.
	 */
	for (; entry && entry < end && cvmm_mem_region_has(&entry->region, at); entry++) {
		uint64_t piece = entry->region.len_bytes - (at - entry->region.gpa);

		if (!region_allows(&entry->region, access))
			return -EFAULT;
		if (len <= piece)
			return 0;
		len -= piece;
		at += piece;
	}
	return -EFAULT;
}

/**
 * struct walk - the pieces of a range that was checked
 * @entry: region of the next piece
 * @offset: where in that region it starts
 * @left: bytes not yet seen
 */
struct walk {
	const struct cvmm_mem_entry *entry;
	uint64_t offset;
	uint64_t left;
};

/* Starts a walk if all of the range has @access. Return: 0 or -EFAULT. */
static int walk_start(struct walk *walk, const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len,
		      enum cvmm_access access)
{
	int ret = cvmm_mem_check(mem, gpa, len, access);

	if (ret)
		return ret;
	walk->left = len;
	walk->offset = 0;
	walk->entry = len ? cvmm_mem_entry_find(mem, gpa.addr) : NULL;
	if (walk->entry)
		walk->offset = gpa.addr - walk->entry->region.gpa;
	return 0;
}

/* Return: whether there was another piece. */
static bool walk_next(struct walk *walk, struct iovec *piece)
{
	const struct cvmm_mem_region *region;
	uint64_t len;

	if (!walk->left)
		return false;
	region = &walk->entry->region;
	len = region->len_bytes - walk->offset;
	if (len > walk->left)
		len = walk->left;
	piece->iov_base = region->host + walk->offset;
	piece->iov_len = len;
	walk->left -= len;
	walk->offset = 0;
	walk->entry++;
	return true;
}

int cvmm_mem_span(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len, enum cvmm_access access,
		  struct iovec *iov, size_t iov_max, size_t *ret_count)
{
	struct iovec piece;
	struct walk walk;
	size_t count = 0;
	int ret;

	ret = walk_start(&walk, mem, gpa, len, access);
	if (ret)
		return ret;
	while (walk_next(&walk, &piece)) {
		if (count == iov_max)
			return -ENOBUFS;
		iov[count++] = piece;
	}
	*ret_count = count;
	return 0;
}

void *cvmm_mem_ptr(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len, enum cvmm_access access)
{
	return one_region(mem, gpa, len, access);
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

static inline void copy_from_guest(void *dst, const void *host, size_t len)
{
	if (len == 1)
		LOAD_ONCE(uint8_t, dst, host);
	else if (len == 2 && is_aligned(host, 2))
		LOAD_ONCE(uint16_t, dst, host);
	else if (len == 4 && is_aligned(host, 4))
		LOAD_ONCE(uint32_t, dst, host);
	else if (len == 8 && is_aligned(host, 8))
		LOAD_ONCE(uint64_t, dst, host);
	else
		memcpy(dst, host, len);
	compiler_barrier();
}

static inline void copy_to_guest(void *host, const void *src, size_t len)
{
	if (len == 1)
		STORE_ONCE(uint8_t, host, src);
	else if (len == 2 && is_aligned(host, 2))
		STORE_ONCE(uint16_t, host, src);
	else if (len == 4 && is_aligned(host, 4))
		STORE_ONCE(uint32_t, host, src);
	else if (len == 8 && is_aligned(host, 8))
		STORE_ONCE(uint64_t, host, src);
	else
		memcpy(host, src, len);
	compiler_barrier();
}

static int read_crossing(const struct cvmm_mem *mem, cvmm_gpa gpa, uint8_t *dst, size_t len)
{
	struct iovec piece;
	struct walk walk;
	int ret;

	ret = walk_start(&walk, mem, gpa, len, CVMM_ACCESS_READ);
	if (ret)
		return ret;
	for (; walk_next(&walk, &piece); dst += piece.iov_len)
		copy_from_guest(dst, piece.iov_base, piece.iov_len);
	return 0;
}

static int write_crossing(const struct cvmm_mem *mem, cvmm_gpa gpa, const uint8_t *src, size_t len)
{
	struct iovec piece;
	struct walk walk;
	int ret;

	ret = walk_start(&walk, mem, gpa, len, CVMM_ACCESS_WRITE);
	if (ret)
		return ret;
	for (; walk_next(&walk, &piece); src += piece.iov_len)
		copy_to_guest(piece.iov_base, src, piece.iov_len);
	return 0;
}

int cvmm_mem_read(const struct cvmm_mem *mem, cvmm_gpa gpa, void *dst, size_t len)
{
	const uint8_t *host;

	if (!len)
		return 0;
	host = one_region(mem, gpa, len, CVMM_ACCESS_READ);
	if (CVMM_UNLIKELY(!host))
		return read_crossing(mem, gpa, dst, len);
	copy_from_guest(dst, host, len);
	return 0;
}

int cvmm_mem_write(const struct cvmm_mem *mem, cvmm_gpa gpa, const void *src, size_t len)
{
	uint8_t *host;

	if (!len)
		return 0;
	host = one_region(mem, gpa, len, CVMM_ACCESS_WRITE);
	if (CVMM_UNLIKELY(!host))
		return write_crossing(mem, gpa, src, len);
	copy_to_guest(host, src, len);
	return 0;
}

int cvmm_mem_fill(const struct cvmm_mem *mem, cvmm_gpa gpa, uint8_t value, uint64_t len)
{
	struct iovec piece;
	struct walk walk;
	int ret;

	ret = walk_start(&walk, mem, gpa, len, CVMM_ACCESS_WRITE);
	if (ret)
		return ret;
	while (walk_next(&walk, &piece))
		memset(piece.iov_base, value, piece.iov_len);
	return 0;
}

int cvmm_mem_pread(const struct cvmm_mem *mem, cvmm_gpa gpa, int fd, uint64_t offset, uint64_t len)
{
	struct iovec piece;
	struct walk walk;
	int ret;

	ret = walk_start(&walk, mem, gpa, len, CVMM_ACCESS_WRITE);
	if (ret)
		return ret;
	/* No file is larger than that, so this one ends too early. */
	if (!cvmm_range_inside(offset, len, INT64_MAX))
		return -ENODATA;
	for (; walk_next(&walk, &piece); offset += piece.iov_len) {
		ssize_t got = cvmm_pread_full(fd, piece.iov_base, piece.iov_len, offset);

		if (got < 0)
			return (int)got;
		if ((size_t)got < piece.iov_len)
			return -ENODATA;
	}
	return 0;
}

/* ---- atomics ------------------------------------------------------------------------------- */

/*
 * The compiler wants orders as constants: given a variable it would do everything SEQ_CST. Orders
 * that make no sense for the direction get that, too.
 */
#define DEFINE_ATOMICS(bits)                                                            \
	static uint##bits##_t load_le##bits(const void *host, int order)                \
	{                                                                               \
		const uint##bits##_t *p = host;                                         \
                                                                                        \
		switch (order) {                                                        \
		case __ATOMIC_RELAXED:                                                  \
			return le##bits##toh(__atomic_load_n(p, __ATOMIC_RELAXED));     \
		case __ATOMIC_ACQUIRE:                                                  \
			return le##bits##toh(__atomic_load_n(p, __ATOMIC_ACQUIRE));     \
		default:                                                                \
			return le##bits##toh(__atomic_load_n(p, __ATOMIC_SEQ_CST));     \
		}                                                                       \
	}                                                                               \
                                                                                        \
	static void store_le##bits(void *host, int order, uint##bits##_t v)             \
	{                                                                               \
		uint##bits##_t *p = host;                                               \
                                                                                        \
		v = htole##bits(v);                                                     \
		switch (order) {                                                        \
		case __ATOMIC_RELAXED:                                                  \
			__atomic_store_n(p, v, __ATOMIC_RELAXED);                       \
			break;                                                          \
		case __ATOMIC_RELEASE:                                                  \
			__atomic_store_n(p, v, __ATOMIC_RELEASE);                       \
			break;                                                          \
		default:                                                                \
			__atomic_store_n(p, v, __ATOMIC_SEQ_CST);                       \
			break;                                                          \
		}                                                                       \
	}                                                                               \
                                                                                        \
	int cvmm_mem_load_u##bits(const struct cvmm_mem *mem, cvmm_gpa gpa, int order,  \
				  uint##bits##_t *ret)                                  \
	{                                                                               \
		const void *host;                                                       \
                                                                                        \
		if (gpa.addr % sizeof(*ret))                                            \
			return -EINVAL;                                                 \
		host = one_region(mem, gpa, sizeof(*ret), CVMM_ACCESS_READ);            \
		if (CVMM_UNLIKELY(!host))                                               \
			return -EFAULT;                                                 \
		*ret = load_le##bits(host, order);                                      \
		return 0;                                                               \
	}                                                                               \
                                                                                        \
	int cvmm_mem_store_u##bits(const struct cvmm_mem *mem, cvmm_gpa gpa, int order, \
				   uint##bits##_t v)                                    \
	{                                                                               \
		void *host;                                                             \
                                                                                        \
		if (gpa.addr % sizeof(v))                                               \
			return -EINVAL;                                                 \
		host = one_region(mem, gpa, sizeof(v), CVMM_ACCESS_WRITE);              \
		if (CVMM_UNLIKELY(!host))                                               \
			return -EFAULT;                                                 \
		store_le##bits(host, order, v);                                         \
		return 0;                                                               \
	}

DEFINE_ATOMICS(16)
DEFINE_ATOMICS(32)
DEFINE_ATOMICS(64)
#undef DEFINE_ATOMICS
