/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * How the areas of a queue are reached: every byte that the driver can change is read here, and every
 * byte that it can see is written here. Proofs put accessors in place of these that return another
 * value at each read.
 *
 * @direct, a constant wherever these are used, says which way: through the host addresses that were
 * translated when the queue was started, or through the door of the map, behind an IOMMU or where an
 * area crosses regions. Only the second way can fail.
 */
#ifndef CVMM_VIRTQ_ACCESS_H
#define CVMM_VIRTQ_ACCESS_H

#include <errno.h>

#include "virtq_internal.h"

#define virtq_inline static inline __attribute__((always_inline))

/* What the driver wrote at once is fetched at once; volatile makes the fetch happen once. */
struct virtq_unaligned_le64 {
	uint64_t raw;
} __attribute__((packed));

virtq_inline uint64_t fetch_le64(const uint8_t *p)
{
	return le64toh(((const volatile struct virtq_unaligned_le64 *)(const void *)p)->raw);
}

/* Marks what was just written through a host address. */
virtq_inline void area_mark(const struct cvmm_virtq *vq, cvmm_gpa area, size_t at, size_t len)
{
	if (CVMM_UNLIKELY(vq->extras & VIRTQ_EXTRA_DIRTY))
		cvmm_mem_mark_dirty(vq->mem, cvmm_gpa_add(area, at), len);
}

/* Each of these returns 0, -EFAULT or -EAGAIN; @order must be a constant. */

virtq_inline int area_load_u16(const struct cvmm_virtq *vq, const uint8_t *host, cvmm_gpa area,
			       size_t at, int order, bool direct, uint16_t *ret)
{
	if (!direct)
		return cvmm_mem_load_u16(vq->mem, cvmm_gpa_add(area, at), order, ret);
	*ret = ring_load(host, at, order);
	return 0;
}

virtq_inline int area_store_u16(const struct cvmm_virtq *vq, uint8_t *host, cvmm_gpa area,
				size_t at, uint16_t v, int order, bool direct)
{
	if (!direct)
		return cvmm_mem_store_u16(vq->mem, cvmm_gpa_add(area, at), order, v);
	ring_store(host, at, v, order);
	area_mark(vq, area, at, sizeof(v));
	return 0;
}

/* Both halves of an event suppression structure at once. */
virtq_inline int area_load_u32(const struct cvmm_virtq *vq, const uint8_t *host, cvmm_gpa area,
			       bool direct, uint32_t *ret)
{
	if (!direct)
		return cvmm_mem_load_u32(vq->mem, area, __ATOMIC_RELAXED, ret);
	*ret = le32toh(__atomic_load_n((const uint32_t *)(const void *)host, __ATOMIC_RELAXED));
	return 0;
}

virtq_inline int area_store_u32(const struct cvmm_virtq *vq, uint8_t *host, cvmm_gpa area,
				uint32_t v, bool direct)
{
	if (!direct)
		return cvmm_mem_store_u32(vq->mem, area, __ATOMIC_RELAXED, v);
	__atomic_store_n((uint32_t *)(void *)host, htole32(v), __ATOMIC_RELAXED);
	area_mark(vq, area, 0, sizeof(v));
	return 0;
}

/* The second half of a packed descriptor: len, id, flags. Acquire: addr is read after it. */
virtq_inline int area_load_u64(const struct cvmm_virtq *vq, const uint8_t *host, cvmm_gpa area,
			       size_t at, bool direct, uint64_t *ret)
{
	if (!direct)
		return cvmm_mem_load_u64(vq->mem, cvmm_gpa_add(area, at), __ATOMIC_ACQUIRE, ret);
	*ret = le64toh(
		__atomic_load_n((const uint64_t *)(const void *)(host + at), __ATOMIC_ACQUIRE));
#ifdef __SANITIZE_THREAD__
	/* The sanitizer does not see that the flags, which the driver releases alone, are in there. */
	(void)ring_load(host, at + PACKED_FLAGS - PACKED_REST, __ATOMIC_ACQUIRE);
#endif
	return 0;
}

/* Eight bytes that nobody looks at before something else is published. */
virtq_inline int area_write_u64(const struct cvmm_virtq *vq, uint8_t *host, cvmm_gpa area,
				size_t at, uint64_t v, bool direct)
{
	uint8_t bytes[sizeof(v)];

	if (!direct) {
		cvmm_put_le64(bytes, v);
		return cvmm_mem_write(vq->mem, cvmm_gpa_add(area, at), bytes, sizeof(bytes));
	}
	cvmm_put_le64(host + at, v);
	area_mark(vq, area, at, sizeof(v));
	return 0;
}

/* The same where it is known to be direct, and nothing to be marked. */
virtq_inline void host_put_u64(uint8_t *p, uint64_t v)
{
	cvmm_put_le64(p, v);
}

virtq_inline void host_put_u32(uint8_t *p, uint32_t v)
{
	cvmm_put_le32(p, v);
}

virtq_inline void host_put_u16(uint8_t *p, uint16_t v)
{
	cvmm_put_le16(p, v);
}

/* Not the driver's: a piece of the caller's array. */
virtq_inline void piece_put(struct iovec *piece, void *host, size_t len)
{
	piece->iov_base = host;
	piece->iov_len = len;
}

static inline void full_fence(void)
{
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan" /* the sanitizer does not model fences, and says so */
#endif
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
}

#endif /* CVMM_VIRTQ_ACCESS_H */
