// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: nearly every range lies in one region, which one_run() translates with a
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

int cvmm_mem_walk_start(struct cvmm_mem_walk *walk, const struct cvmm_mem *mem, cvmm_gpa gpa,
			uint64_t len, enum cvmm_access access)
{
	int ret = cvmm_mem_check(mem, gpa, len, access);

	if (ret)
		return ret;
	walk->left = len;
	walk->offset = 0;
	walk->entry = len ? cvmm_mem_entry_find(mem, gpa.addr) : NULL;
	if (walk->entry)
		walk->offset = gpa.addr - walk->entry->gpa;
	return 0;
}

bool cvmm_mem_walk_next(struct cvmm_mem_walk *walk, struct iovec *ret_piece)
{
	uint64_t len, behind;

	if (!walk->left)
		return false;
	len = walk->entry->run_bytes - walk->offset;
	if (len > walk->left)
		len = walk->left;
	ret_piece->iov_base = walk->entry->host + walk->offset;
	ret_piece->iov_len = len;
	walk->left -= len;
	/* The range was checked: while bytes are left there is an entry behind the run. */
	for (behind = walk->offset + len; walk->left && behind >= walk->entry->len_bytes;) {
		behind -= walk->entry->len_bytes;
		walk->entry++;
	}
	walk->offset = behind;
	return true;
}

int cvmm_mem_span(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len, enum cvmm_access access,
		  struct iovec *iov, size_t iov_max, size_t *ret_count)
{
	struct iovec piece;
	struct cvmm_mem_walk walk;
	size_t count = 0;
	int ret;

	ret = cvmm_mem_walk_start(&walk, mem, gpa, len, access);
	if (ret)
		return ret;
	while (cvmm_mem_walk_next(&walk, &piece)) {
		if (count == iov_max)
			return -ENOBUFS;
		iov[count++] = piece;
	}
	*ret_count = count;
	return 0;
}

void *cvmm_mem_ptr(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len, enum cvmm_access access)
{
	return one_run(mem, gpa, len, access);
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
	struct cvmm_mem_walk walk;
	int ret;

	ret = cvmm_mem_walk_start(&walk, mem, gpa, len, CVMM_ACCESS_READ);
	if (ret)
		return ret;
	for (; cvmm_mem_walk_next(&walk, &piece); dst += piece.iov_len)
		copy_from_guest(dst, piece.iov_base, piece.iov_len);
	return 0;
}

static int write_crossing(const struct cvmm_mem *mem, cvmm_gpa gpa, const uint8_t *src, size_t len)
{
	struct iovec piece;
	struct cvmm_mem_walk walk;
	int ret;

	ret = cvmm_mem_walk_start(&walk, mem, gpa, len, CVMM_ACCESS_WRITE);
	if (ret)
		return ret;
	for (; cvmm_mem_walk_next(&walk, &piece); src += piece.iov_len)
		copy_to_guest(piece.iov_base, src, piece.iov_len);
	return 0;
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
	return 0;
}

int cvmm_mem_fill(const struct cvmm_mem *mem, cvmm_gpa gpa, uint8_t value, uint64_t len)
{
	struct iovec piece;
	struct cvmm_mem_walk walk;
	int ret;

	ret = cvmm_mem_walk_start(&walk, mem, gpa, len, CVMM_ACCESS_WRITE);
	if (ret)
		return ret;
	while (cvmm_mem_walk_next(&walk, &piece))
		memset(piece.iov_base, value, piece.iov_len);
	return 0;
}

int cvmm_mem_copy(const struct cvmm_mem *dst_mem, cvmm_gpa dst, const struct cvmm_mem *src_mem,
		  cvmm_gpa src, uint64_t len)
{
	struct iovec to = { 0 }, from = { 0 };
	struct cvmm_mem_walk to_walk, from_walk;
	int ret;

	ret = cvmm_mem_walk_start(&to_walk, dst_mem, dst, len, CVMM_ACCESS_WRITE);
	if (!ret)
		ret = cvmm_mem_walk_start(&from_walk, src_mem, src, len, CVMM_ACCESS_READ);
	if (ret)
		return ret;
	while ((to.iov_len || cvmm_mem_walk_next(&to_walk, &to)) &&
	       (from.iov_len || cvmm_mem_walk_next(&from_walk, &from))) {
		size_t piece = to.iov_len < from.iov_len ? to.iov_len : from.iov_len;

		memmove(to.iov_base, from.iov_base, piece);
		to.iov_base = (char *)to.iov_base + piece;
		to.iov_len -= piece;
		from.iov_base = (char *)from.iov_base + piece;
		from.iov_len -= piece;
	}
	return 0;
}

/* ---- atomics ------------------------------------------------------------------------------- */

/*
 * The compiler wants orders as constants: given a variable it would do everything SEQ_CST. Orders
 * that make no sense for the direction get that, too.
 */
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
		const void *host;                                                             \
                                                                                              \
		if (gpa.addr & (sizeof(*ret) - 1))                                            \
			return -EINVAL;                                                       \
		host = one_run(mem, gpa, sizeof(*ret), CVMM_ACCESS_READ);                     \
		if (CVMM_UNLIKELY(!host))                                                     \
			return -EFAULT;                                                       \
		*ret = load_le##bits(host, order);                                            \
		return 0;                                                                     \
	}                                                                                     \
                                                                                              \
	int cvmm_mem_store_u##bits##_any(const struct cvmm_mem *mem, cvmm_gpa gpa, int order, \
					 uint##bits##_t v)                                    \
	{                                                                                     \
		void *host;                                                                   \
                                                                                              \
		if (gpa.addr & (sizeof(v) - 1))                                               \
			return -EINVAL;                                                       \
		host = one_run(mem, gpa, sizeof(v), CVMM_ACCESS_WRITE);                       \
		if (CVMM_UNLIKELY(!host))                                                     \
			return -EFAULT;                                                       \
		store_le##bits(host, order, v);                                               \
		return 0;                                                                     \
	}

DEFINE_ATOMICS(8)
DEFINE_ATOMICS(16)
DEFINE_ATOMICS(32)
DEFINE_ATOMICS(64)
#undef DEFINE_ATOMICS
