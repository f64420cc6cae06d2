// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a chain is gathered in one walk. Each descriptor is copied out of guest
 * memory by exactly one fetch of each of its bytes, and everything after that looks at the copy:
 * the driver may rewrite the table while we walk, and gains nothing by it. Each buffer becomes one
 * iovec, or one for each region of guest memory that it touches.
 *
 * Most buffers lie in the region where the last one was, which the queue remembers: the map does
 * not change while the queue holds it. Others go through cvmm_mem_span().
 *
 * The walk is bounded three ways: `left` counts down the descriptors that the table can hold, each
 * piece takes one of the caller's iovecs, and there is at most one change of table, from the ring
 * to an indirect one.
 *
 * An indirect table that lies in one region is read through its host address. One that crosses
 * regions, which only an odd driver makes, is read descriptor by descriptor through
 * cvmm_mem_read().
 */
#include <errno.h>

#include "virtq_internal.h"

/* A device can use no more: the counts of a chain are 16 bits wide. */
#define PIECES_MAX UINT16_MAX

/* What the standard allows a chain in both directions together: VIRTIO 1.3, 2.7.5.2. */
#define CHAIN_BYTES_MAX (UINT64_C(1) << 32)

/* A descriptor in the order of this machine. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

/**
 * struct walk - state of one walk along a chain
 * @table: host address of the current table, or NULL: it crosses regions
 * @table_gpa: where an indirect table is
 * @entries: descriptors in the current table
 * @left: descriptors that may yet come before the chain must be a loop
 * @in_indirect: the current table is an indirect one
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
	uint32_t entries;
	uint32_t left;
	bool in_indirect;
	bool saw_writable;
	struct iovec *iov;
	size_t iov_max;
	size_t pieces;
	size_t readable_pieces;
	uint64_t bytes;
	uint64_t readable_bytes;
};

/* An indirect table may lie at any address; volatile makes the fetch happen once. */
struct unaligned_le64 {
	uint64_t raw;
} __attribute__((packed));

static inline uint64_t fetch_le64(const uint8_t *p)
{
	return le64toh(((const volatile struct unaligned_le64 *)(const void *)p)->raw);
}

/* Inline, like all of the walk but its rare turns, so that the state can live in registers. */
static inline struct desc desc_fetch(const uint8_t *p)
{
	uint64_t rest = fetch_le64(p + 8);

	return (struct desc){
		.addr = fetch_le64(p),
		.len = (uint32_t)rest,
		.flags = (uint16_t)(rest >> 32),
		.next = (uint16_t)(rest >> 48),
	};
}

/* Host address of a range inside @region, or NULL. @len is not 0. */
static inline uint8_t *region_ptr(const struct cvmm_mem_region *region, uint64_t addr, uint32_t len,
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

/* The table was checked, so that only an entry of one that crosses regions takes the slow way. */
static inline enum cvmm_virtq_violation desc_get(const struct walk *walk, uint32_t i,
						 struct desc *ret_desc)
{
	uint8_t copy[DESC_SIZE];
	cvmm_gpa gpa;

	if (CVMM_LIKELY(walk->table)) {
		*ret_desc = desc_fetch(walk->table + (size_t)i * DESC_SIZE);
		return CVMM_VIRTQ_OK;
	}
	gpa = cvmm_gpa_add(walk->table_gpa, (uint64_t)i * DESC_SIZE);
	if (cvmm_mem_read(walk->vq->mem, gpa, copy, DESC_SIZE))
		return CVMM_VIRTQ_INDIRECT_BAD_ADDRESS;
	*ret_desc = desc_fetch(copy);
	return CVMM_VIRTQ_OK;
}

/* Checks the descriptor of an indirect table and makes that table the current one. */
static inline enum cvmm_virtq_violation enter_indirect(struct walk *walk, const struct desc *desc)
{
	const struct cvmm_mem *mem = walk->vq->mem;
	cvmm_gpa gpa = cvmm_gpa_from(desc->addr);

	if (!walk->vq->indirect)
		return CVMM_VIRTQ_INDIRECT_NOT_NEGOTIATED;
	if (walk->in_indirect)
		return CVMM_VIRTQ_INDIRECT_NESTED;
	if (desc->flags & CVMM_VIRTQ_DESC_F_NEXT)
		return CVMM_VIRTQ_INDIRECT_WITH_NEXT;
	if (!desc->len || desc->len % DESC_SIZE)
		return CVMM_VIRTQ_INDIRECT_BAD_LEN;
	if (desc->len / DESC_SIZE > CVMM_VIRTQ_INDIRECT_MAX)
		return CVMM_VIRTQ_INDIRECT_TOO_LONG;
	walk->table = region_ptr(walk->vq->region, desc->addr, desc->len, CVMM_ACCESS_READ);
	if (CVMM_UNLIKELY(!walk->table))
		walk->table = cvmm_mem_ptr(mem, gpa, desc->len, CVMM_ACCESS_READ);
	if (!walk->table && cvmm_mem_check(mem, gpa, desc->len, CVMM_ACCESS_READ))
		return CVMM_VIRTQ_INDIRECT_BAD_ADDRESS;
	walk->table_gpa = gpa;
	walk->entries = desc->len / DESC_SIZE;
	walk->left = walk->entries;
	walk->in_indirect = true;
	return CVMM_VIRTQ_OK;
}

/* Adds a buffer that is not inside the region of the last one. */
static __attribute__((noinline)) enum cvmm_virtq_violation
span_elsewhere(struct cvmm_virtq *vq, struct desc desc, enum cvmm_access access, struct iovec *iov,
	       size_t iov_max, size_t *ret_count)
{
	cvmm_gpa gpa = cvmm_gpa_from(desc.addr);
	int ret;

	vq->region = cvmm_mem_region_find(vq->mem, gpa);
	ret = cvmm_mem_span(vq->mem, gpa, desc.len, access, iov, iov_max, ret_count);
	if (ret)
		return ret == -ENOBUFS ? CVMM_VIRTQ_TOO_MANY_PIECES : CVMM_VIRTQ_BAD_BUFFER;
	return CVMM_VIRTQ_OK;
}

static inline enum cvmm_virtq_violation add_buffer(struct walk *walk, const struct desc *desc)
{
	bool writable = desc->flags & CVMM_VIRTQ_DESC_F_WRITE;
	enum cvmm_access access = writable ? CVMM_ACCESS_WRITE : CVMM_ACCESS_READ;
	enum cvmm_virtq_violation violation = CVMM_VIRTQ_OK;
	size_t count = 0;
	uint8_t *host;

	if (CVMM_UNLIKELY(walk->saw_writable && !writable))
		return CVMM_VIRTQ_BAD_ORDER;
	walk->saw_writable = writable;
	if (CVMM_UNLIKELY(!desc->len))
		return CVMM_VIRTQ_OK;
	host = region_ptr(walk->vq->region, desc->addr, desc->len, access);
	if (CVMM_UNLIKELY(!host)) {
		violation = span_elsewhere(walk->vq, *desc, access, walk->iov + walk->pieces,
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
	return violation;
}

/* Follows the chain from @i, which is inside the table, to its end. */
static inline enum cvmm_virtq_violation walk_chain(struct walk *walk, uint32_t i)
{
	enum cvmm_virtq_violation violation;
	struct desc desc;

	for (;;) {
		violation = desc_get(walk, i, &desc);
		if (CVMM_UNLIKELY(violation))
			return violation;
		if (desc.flags & CVMM_VIRTQ_DESC_F_INDIRECT) {
			violation = enter_indirect(walk, &desc);
			if (CVMM_UNLIKELY(violation))
				return violation;
			i = 0;
			continue;
		}
		violation = add_buffer(walk, &desc);
		if (CVMM_UNLIKELY(violation))
			return violation;
		if (!(desc.flags & CVMM_VIRTQ_DESC_F_NEXT))
			return CVMM_VIRTQ_OK;
		if (CVMM_UNLIKELY(desc.next >= walk->entries))
			return CVMM_VIRTQ_BAD_NEXT;
		if (CVMM_UNLIKELY(!--walk->left))
			return CVMM_VIRTQ_LOOP;
		i = desc.next;
	}
}

/* The two directions fit their 32-bit fields; together they may be 2^32 bytes. */
static inline bool bytes_are_fine(const struct walk *walk)
{
	return walk->readable_bytes <= UINT32_MAX &&
	       walk->bytes - walk->readable_bytes <= UINT32_MAX && walk->bytes <= CHAIN_BYTES_MAX;
}

int cvmm_virtq_chain_gather(struct cvmm_virtq *vq, uint16_t head, struct iovec *iov, size_t iov_max,
			    struct cvmm_virtq_chain *ret_chain)
{
	struct walk walk = {
		.vq = vq,
		.table = vq->desc_ring,
		.entries = vq->size,
		.left = vq->size,
		.iov = iov,
		.iov_max = iov_max < PIECES_MAX ? iov_max : PIECES_MAX,
	};
	enum cvmm_virtq_violation violation = walk_chain(&walk, head);

	if (CVMM_UNLIKELY(violation))
		return cvmm_virtq_break(vq, violation);
	if (CVMM_UNLIKELY(!bytes_are_fine(&walk)))
		return cvmm_virtq_break(vq, CVMM_VIRTQ_TOO_LONG);
	*ret_chain = (struct cvmm_virtq_chain){
		.head = head,
		.readable_count = (uint16_t)walk.readable_pieces,
		.writable_count = (uint16_t)(walk.pieces - walk.readable_pieces),
		.readable = iov,
		.writable = iov + walk.readable_pieces,
		.readable_bytes = (uint32_t)walk.readable_bytes,
		.writable_bytes = (uint32_t)(walk.bytes - walk.readable_bytes),
	};
	return 0;
}
