/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_VIRTQ_INTERNAL_H
#define CVMM_VIRTQ_INTERNAL_H

#include <cvmm/virtq.h>

/* Where the fields of the available ring (VIRTIO 1.3, 2.7.6) are. */
#define AVAIL_FLAGS 0U
#define AVAIL_IDX 2U
#define AVAIL_RING 4U
#define AVAIL_ENTRY_SIZE 2U

/* Where the fields of the used ring (VIRTIO 1.3, 2.7.8) are. */
#define USED_FLAGS 0U
#define USED_IDX 2U
#define USED_RING 4U
#define USED_ENTRY_SIZE 8U

/* Behind the entries of either ring lies the other side's event index. */
#define EVENT_SIZE 2U

#define DESC_SIZE ((uint32_t)sizeof(struct cvmm_virtq_desc))
#define DESC_ALIGN 16U
#define AVAIL_ALIGN 2U
#define USED_ALIGN 4U

static inline size_t avail_entry_at(uint32_t i)
{
	return AVAIL_RING + (size_t)i * AVAIL_ENTRY_SIZE;
}

static inline size_t used_entry_at(uint32_t i)
{
	return USED_RING + (size_t)i * USED_ENTRY_SIZE;
}

/* Atomic accesses to an aligned field of a ring; @order must be a constant. */
static inline __attribute__((always_inline)) uint16_t ring_load(const uint8_t *ring, size_t at,
								int order)
{
	return le16toh(__atomic_load_n((const uint16_t *)(const void *)(ring + at), order));
}

static inline __attribute__((always_inline)) void ring_store(uint8_t *ring, size_t at, uint16_t v,
							     int order)
{
	__atomic_store_n((uint16_t *)(void *)(ring + at), htole16(v), order);
}

/* Marks the queue broken. Return: -EPROTO. */
int cvmm_virtq_break(struct cvmm_virtq *vq, enum cvmm_virtq_violation violation);

/*
 * Gathers the chain that starts at @head, which is inside the table. Return: 0, or -EPROTO with the
 * queue marked broken and *ret_chain untouched.
 */
int cvmm_virtq_chain_gather(struct cvmm_virtq *vq, uint16_t head, struct iovec *iov, size_t iov_max,
			    struct cvmm_virtq_chain *ret_chain);

#endif /* CVMM_VIRTQ_INTERNAL_H */
