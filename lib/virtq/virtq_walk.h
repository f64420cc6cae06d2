/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What the walks along chains of both formats have in common: adding buffers, and indirect tables.
 *
 * Theory of operation: a chain is gathered in one walk. Each descriptor is copied out of guest
 * memory by exactly one fetch of each of its bytes, and everything after that looks at the copy:
 * the driver may rewrite the table while we walk, and gains nothing by it. Each buffer becomes one
 * iovec, or one for each region of guest memory that it touches.
 *
 * Most buffers lie in the region where the last one was, which the queue remembers: the map does
 * not change while the queue holds it. Others go through cvmm_mem_span().
 *
 * An indirect table that lies in one region is read through its host address. Others, which only
 * an odd driver makes, or any driver behind an IOMMU, are read descriptor by descriptor through
 * cvmm_mem_read().
 *
 * Results of a walk: 0; a violation, which is positive; or a negative errno for what can be retried.
 */
#ifndef CVMM_VIRTQ_WALK_H
#define CVMM_VIRTQ_WALK_H

#include "virtq_access.h"

/* A device can use no more: the counts of a chain are 16 bits wide. */
#define PIECES_MAX UINT16_MAX

/* What the standard allows a chain in both directions together: VIRTIO 1.3, 2.7.5.2. */
#define CHAIN_BYTES_MAX (UINT64_C(1) << 32)

/* A descriptor in the order of this machine; @next is of split rings only. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

/**
 * struct walk - state of one walk along a chain
 * @table: host address of an indirect table, or NULL: it goes through the map
 * @table_gpa: where it is
 * @saw_writable: a writable descriptor came, so that no readable one may
 * @pieces: iovecs filled
 * @readable_pieces: how many of them are readable
 * @bytes: of the buffers. Cannot wrap: there are at most 2^16 of 2^32.
 * @readable_bytes: how many of them are readable
 */
struct walk {
	struct cvmm_virtq *vq;
	const uint8_t *table;
	cvmm_gpa table_gpa;
	bool saw_writable;
	struct iovec *iov;
	size_t iov_max;
	size_t pieces;
	size_t readable_pieces;
	uint64_t bytes;
	uint64_t readable_bytes;
};

virtq_inline struct walk walk_start(struct cvmm_virtq *vq, struct iovec *iov, size_t iov_max)
{
	return (struct walk){
		.vq = vq,
		.iov = iov,
		.iov_max = iov_max < PIECES_MAX ? iov_max : PIECES_MAX,
	};
}

/* Host address of a range inside @region, or NULL. @len is not 0. */
virtq_inline uint8_t *region_ptr(const struct cvmm_mem_region *region, uint64_t addr, uint32_t len,
				 enum cvmm_access access)
{
	uint64_t offset;

	if (CVMM_UNLIKELY(!region || ((unsigned int)access & ~(unsigned int)region->access)))
		return NULL;
	offset = addr - region->gpa; /* of an address below the region: larger than any region */
	if (CVMM_UNLIKELY(!cvmm_range_inside(offset, len, region->len_bytes)))
		return NULL;
	return region->host + offset;
}

/* Adds a buffer that is not inside the region of the last one. */
static __attribute__((noinline)) int span_elsewhere(struct cvmm_virtq *vq, struct desc desc,
						    enum cvmm_access access, struct iovec *iov,
						    size_t iov_max, size_t *ret_count)
{
	cvmm_gpa gpa = cvmm_gpa_from(desc.addr);
	const struct cvmm_mem_region *region = cvmm_mem_region_find(vq->mem, gpa);
	int ret;

	/* Of memory that is mapped on demand there is no address to remember. */
	if (region && region->host)
		vq->region = region;
	ret = cvmm_mem_span(vq->mem, gpa, desc.len, access, iov, iov_max, ret_count);
	if (ret == -ENOBUFS)
		return CVMM_VIRTQ_TOO_MANY_PIECES;
	if (ret && ret != -EAGAIN && ret != -ENOTSUP)
		return CVMM_VIRTQ_BAD_BUFFER;
	return ret;
}

virtq_inline int add_buffer(struct walk *walk, const struct desc *desc)
{
	bool writable = desc->flags & CVMM_VIRTQ_DESC_F_WRITE;
	enum cvmm_access access = writable ? CVMM_ACCESS_WRITE : CVMM_ACCESS_READ;
	size_t count = 0;
	uint8_t *host;
	int ret = 0;

	if (CVMM_UNLIKELY(walk->saw_writable && !writable))
		return CVMM_VIRTQ_BAD_ORDER;
	walk->saw_writable = writable;
	if (CVMM_UNLIKELY(!desc->len))
		return 0;
	host = region_ptr(walk->vq->region, desc->addr, desc->len, access);
	if (CVMM_UNLIKELY(!host)) {
		ret = span_elsewhere(walk->vq, *desc, access, walk->iov + walk->pieces,
				     walk->iov_max - walk->pieces, &count);
		walk->pieces += count;
	} else if (CVMM_UNLIKELY(walk->pieces == walk->iov_max)) {
		return CVMM_VIRTQ_TOO_MANY_PIECES;
	} else {
		walk->iov[walk->pieces].iov_base = host;
		walk->iov[walk->pieces].iov_len = desc->len;
		walk->pieces++;
	}
	walk->bytes += desc->len;
	if (!writable) {
		walk->readable_bytes = walk->bytes;
		walk->readable_pieces = walk->pieces;
	}
	return ret;
}

/* ---- indirect tables ------------------------------------------------------------------------ */

/* Checks the descriptor of a table, and makes it the walk's. */
virtq_inline int table_enter(struct walk *walk, const struct desc *desc)
{
	const struct cvmm_mem *mem = walk->vq->mem;
	cvmm_gpa gpa = cvmm_gpa_from(desc->addr);
	int ret;

	if (!(walk->vq->flags & VIRTQ_INDIRECT))
		return CVMM_VIRTQ_INDIRECT_NOT_NEGOTIATED;
	if (desc->flags & CVMM_VIRTQ_DESC_F_NEXT)
		return CVMM_VIRTQ_INDIRECT_WITH_NEXT;
	if (!desc->len || desc->len % DESC_SIZE)
		return CVMM_VIRTQ_INDIRECT_BAD_LEN;
	if (desc->len / DESC_SIZE > CVMM_VIRTQ_INDIRECT_MAX)
		return CVMM_VIRTQ_INDIRECT_TOO_LONG;
	walk->table_gpa = gpa;
	walk->table = region_ptr(walk->vq->region, desc->addr, desc->len, CVMM_ACCESS_READ);
	if (CVMM_LIKELY(walk->table))
		return 0;
	ret = cvmm_mem_check(mem, gpa, desc->len, CVMM_ACCESS_READ);
	if (ret)
		return ret == -EAGAIN ? ret : CVMM_VIRTQ_INDIRECT_BAD_ADDRESS;
	if (walk->vq->flags & VIRTQ_DIRECT)
		walk->table = cvmm_mem_ptr(mem, gpa, desc->len, CVMM_ACCESS_READ);
	return 0;
}

/* One fetch of each half of a table's entry. */
virtq_inline int table_fetch(const struct walk *walk, uint32_t i, uint64_t *ret_addr,
			     uint64_t *ret_rest)
{
	uint8_t copy[DESC_SIZE];
	const uint8_t *p = copy;
	int ret;

	if (CVMM_LIKELY(walk->table)) {
		p = walk->table + (size_t)i * DESC_SIZE;
	} else {
		ret = cvmm_mem_read(walk->vq->mem,
				    cvmm_gpa_add(walk->table_gpa, (uint64_t)i * DESC_SIZE), copy,
				    DESC_SIZE);
		if (ret)
			return ret == -EAGAIN ? ret : CVMM_VIRTQ_INDIRECT_BAD_ADDRESS;
	}
	*ret_addr = fetch_le64(p);
	*ret_rest = fetch_le64(p + PACKED_REST);
	return 0;
}

/* ---- the end -------------------------------------------------------------------------------- */

/* The two directions fit their 32-bit fields; together they may be 2^32 bytes. */
virtq_inline bool walk_bytes_are_fine(const struct walk *walk)
{
	return walk->readable_bytes <= UINT32_MAX &&
	       walk->bytes - walk->readable_bytes <= UINT32_MAX && walk->bytes <= CHAIN_BYTES_MAX;
}

virtq_inline void walk_result(const struct walk *walk, uint16_t head,
			      struct cvmm_virtq_chain *ret_chain)
{
	*ret_chain = (struct cvmm_virtq_chain){
		.head = head,
		.readable_count = (uint16_t)walk->readable_pieces,
		.writable_count = (uint16_t)(walk->pieces - walk->readable_pieces),
		.readable = walk->iov,
		.writable = walk->iov + walk->readable_pieces,
		.readable_bytes = (uint32_t)walk->readable_bytes,
		.writable_bytes = (uint32_t)(walk->bytes - walk->readable_bytes),
	};
}

/* Takes note that a chain is in flight. The queue still is where the chain is, unless it comes @again. */
virtq_inline void note_pop(struct cvmm_virtq *vq, uint16_t head, uint16_t descs,
			   uint32_t writable_bytes, bool again)
{
	if (CVMM_UNLIKELY(vq->extras & VIRTQ_EXTRA_INFLIGHT) && !again)
		cvmm_virtq_inflight_took(vq, head, descs);
	vq->slots[head] = (struct cvmm_virtq_slot){
		.bytes = writable_bytes,
		.descs = descs,
		.map = vq->map,
		.again = again,
	};
	vq->popped[popped_slot(vq, vq->pops)] = head;
	vq->pops++;
	vq->in_flight++;
	vq->descs_in_use += descs;
}

#endif /* CVMM_VIRTQ_WALK_H */
