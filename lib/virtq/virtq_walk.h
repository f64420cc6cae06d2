/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What the walks along chains of both formats have in common: adding buffers, and indirect tables.
 *
 * Theory of operation: a chain is gathered in one walk. Each descriptor is copied out of guest
 * memory by exactly one fetch of each of its bytes, and everything after that looks at the copy:
 * the driver may rewrite the table while we walk, and gains nothing by it. Each buffer becomes one
 * iovec, or one for each region of guest memory that it touches.
 *
 * Most buffers are found in line. Others, which cross regions or are behind an IOMMU, go through
 * cvmm_mem_span().
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

/* What a step of a walk returns if there is another: neither a violation nor an errno. */
#define WALK_MORE 1000

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

/* Adds a buffer that is not found in line. */
static __attribute__((noinline)) int span_elsewhere(const struct cvmm_virtq *vq, struct desc desc,
						    enum cvmm_access access, struct iovec *iov,
						    size_t iov_max, size_t *ret_count)
{
	int ret = cvmm_mem_span(vq->mem, cvmm_gpa_from(desc.addr), desc.len, access, iov, iov_max,
				ret_count);

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
	host = cvmm_mem_ptr_quick(walk->vq->mem, cvmm_gpa_from(desc->addr), desc->len, writable);
	if (CVMM_UNLIKELY(!host)) {
		ret = span_elsewhere(walk->vq, *desc, access, walk->iov + walk->pieces,
				     walk->iov_max - walk->pieces, &count);
		walk->pieces += count;
	} else if (CVMM_UNLIKELY(walk->pieces == walk->iov_max)) {
		return CVMM_VIRTQ_TOO_MANY_PIECES;
	} else {
		piece_put(&walk->iov[walk->pieces], host, desc->len);
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
	walk->table = cvmm_mem_ptr_quick(mem, gpa, desc->len, false);
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

/* ---- the quick walk ------------------------------------------------------------------------- */

/*
 * Chains as nearly all drivers make them are gathered by a walk that has nothing for the others: no calls,
 * so that its state stays in registers, and one outcome for all that it does not know. Then the other
 * walk starts anew, and believes nothing that this one has seen.
 */
struct quick {
	struct iovec *out;
	struct iovec *end;
	struct iovec *readable_end;
	uint64_t bytes;
	uint64_t readable_bytes;
};

virtq_inline struct quick quick_start(struct iovec *iov, size_t iov_max)
{
	return (struct quick){
		.out = iov,
		.end = iov + (iov_max < PIECES_MAX ? iov_max : PIECES_MAX),
		.readable_end = iov,
	};
}

/* Return: whether the buffer could be added. */
virtq_inline bool quick_add(struct quick *q, const struct cvmm_mem *mem, uint64_t addr,
			    uint32_t len, uint32_t flags)
{
	bool writable = flags & CVMM_VIRTQ_DESC_F_WRITE;
	void *host;

	if (CVMM_UNLIKELY(!len || q->out == q->end))
		return false;
	host = cvmm_mem_ptr_quick(mem, cvmm_gpa_from(addr), len, writable);
	if (CVMM_UNLIKELY(!host))
		return false;
	piece_put(q->out, host, len);
	q->bytes += len;
	if (!writable) {
		/* A writable one came before? */
		if (CVMM_UNLIKELY(q->readable_end != q->out))
			return false;
		q->readable_end = q->out + 1;
		q->readable_bytes = q->bytes;
	}
	q->out++;
	return true;
}

/* The table of an indirect descriptor, or NULL. */
virtq_inline const uint8_t *quick_table(const struct cvmm_virtq *vq, uint64_t addr, uint32_t len,
					uint32_t flags)
{
	if (CVMM_UNLIKELY(!(vq->flags & VIRTQ_INDIRECT) || (flags & CVMM_VIRTQ_DESC_F_NEXT) ||
			  !len || len % DESC_SIZE || len / DESC_SIZE > CVMM_VIRTQ_INDIRECT_MAX))
		return NULL;
	return cvmm_mem_ptr_quick(vq->mem, cvmm_gpa_from(addr), len, false);
}

/* Return: false if there are more bytes than this walk knows about. */
virtq_inline bool quick_result(const struct quick *q, struct iovec *iov, uint16_t head,
			       struct cvmm_virtq_chain *ret_chain)
{
	if (CVMM_UNLIKELY(q->bytes > UINT32_MAX))
		return false;
	ret_chain->head = head;
	ret_chain->readable_count = (uint16_t)(q->readable_end - iov);
	ret_chain->writable_count = (uint16_t)(q->out - q->readable_end);
	ret_chain->readable = iov;
	ret_chain->writable = q->readable_end;
	ret_chain->readable_bytes = (uint32_t)q->readable_bytes;
	ret_chain->writable_bytes = (uint32_t)(q->bytes - q->readable_bytes);
	return true;
}

/* ---- giving one back -------------------------------------------------------------------------- */

/*
 * As cvmm_virtq_split_publish() of one element, where it can neither fail nor be marked: the areas are
 * direct, and there are no extras.
 */
static inline void cvmm_virtq_split_publish_one(struct cvmm_virtq *vq,
						const struct cvmm_virtq_used *used)
{
	uint8_t *element = vq->device_area + used_entry_at(vq->next_used & (vq->size - 1U));

	host_put_u64(element, used->head | (uint64_t)used->len_bytes << 32);
	vq->next_used++;
	ring_store(vq->device_area, USED_IDX, vq->next_used, __ATOMIC_RELEASE);
}

/* The same; @descs is how many the list has. */
static inline void cvmm_virtq_packed_publish_one(struct cvmm_virtq *vq,
						 const struct cvmm_virtq_used *used, uint32_t descs)
{
	uint8_t *desc = vq->desc_ring + (size_t)vq->next_used * DESC_SIZE;
	uint32_t next = vq->next_used + descs;
	unsigned int flags = vq->used_wrap ? CVMM_VIRTQ_DESC_F_AVAIL | CVMM_VIRTQ_DESC_F_USED : 0;

	flags |= used->len_bytes ? CVMM_VIRTQ_DESC_F_WRITE : 0;
	host_put_u32(desc + PACKED_REST, used->len_bytes);
	host_put_u16(desc + PACKED_ID, used->head);
	ring_store(desc, PACKED_FLAGS, (uint16_t)flags, __ATOMIC_RELEASE);
	if (next >= vq->size) {
		next -= vq->size;
		vq->used_wrap = !vq->used_wrap;
	}
	vq->next_used = (uint16_t)next;
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
