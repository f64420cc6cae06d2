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

/* Of a packed descriptor (VIRTIO 1.3, 2.8.13): where its second half is, and its flags. */
#define PACKED_REST 8U
#define PACKED_ID 12U
#define PACKED_FLAGS 14U

/* Event suppression structures of packed rings (VIRTIO 1.3, 2.8.14): offset and wrap, then flags. */
#define PACKED_EVENT_SIZE 4U
#define PACKED_EVENT_ALIGN 4U
#define PACKED_EVENT_FLAGS_SHIFT 16U
#define PACKED_EVENT_FLAGS_MASK 3U

/* More pushes without a decision to notify than any ring has room for: then one is due anyway. */
#define UNSIGNALLED_MAX (UINT32_C(1) << 16)

/* Flags of struct cvmm_virtq. */
enum {
	VIRTQ_PACKED = 1 << 0,
	VIRTQ_EVENT_IDX = 1 << 1,
	VIRTQ_INDIRECT = 1 << 2,
	VIRTQ_DIRECT = 1 << 3, /* the areas are reached through their host addresses */
};

/* What most queues have not, so that one test is enough for all of it. */
enum {
	VIRTQ_EXTRA_IN_ORDER = 1 << 0,
	VIRTQ_EXTRA_DIRTY = 1 << 1,
	VIRTQ_EXTRA_INFLIGHT = 1 << 2,
	VIRTQ_EXTRA_TRACE = 1 << 3,
	VIRTQ_EXTRA_OLD_MAPS = 1 << 4, /* chains of another map may be in flight */
	VIRTQ_EXTRA_UNASKED = 1 << 5,  /* kicks are wanted, and the driver could not be told */
};

/**
 * struct cvmm_virtq_slot - a head or buffer id
 * @bytes: that are writable; once @done, that were written
 * @descs: descriptors in the ring; 0 if it is not in flight
 * @map: which map it was popped from
 * @done: given back, but others must come before it (VIRTIO_F_IN_ORDER)
 * @again: was in flight when somebody before us died
 */
struct cvmm_virtq_slot {
	uint32_t bytes;
	uint16_t descs;
	uint8_t map;
	bool done : 1;
	bool again : 1;
};

static inline size_t avail_entry_at(uint32_t i)
{
	return AVAIL_RING + (size_t)i * AVAIL_ENTRY_SIZE;
}

static inline size_t used_entry_at(uint32_t i)
{
	return USED_RING + (size_t)i * USED_ENTRY_SIZE;
}

#ifndef CVMM_VIRTQ_RING_ACCESS /* proofs have their own */
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
#endif

static inline uint32_t popped_slot(const struct cvmm_virtq *vq, uint32_t pop)
{
	return pop & (vq->max_size - 1U);
}

/* Counts the violation and marks the queue broken. Return: -EPROTO. */
int cvmm_virtq_break(struct cvmm_virtq *vq, enum cvmm_virtq_violation violation);

/* What an access to an area failed with, as a call's result: it breaks the queue unless it can be retried. */
int cvmm_virtq_area_failed(struct cvmm_virtq *vq, int code);

/* Whether the chain may be failed instead. */
bool cvmm_virtq_may_fail(struct cvmm_virtq *vq, enum cvmm_virtq_violation violation);

/* -EINVAL or -EPROTO, for a queue that is not usable. */
int cvmm_virtq_refusal(const struct cvmm_virtq *vq);

/*
 * One chain, of either format. @is_first: too few iovecs for this chain are the driver's fault, and not
 * those of the chains before it in a batch. Return: 1; 0; -EPROTO and the queue is broken; -ENOBUFS
 * only if not @is_first; or another errno and nothing has changed.
 */
int cvmm_virtq_split_pop(struct cvmm_virtq *vq, struct iovec *iov, size_t iov_max, bool is_first,
			 struct cvmm_virtq_chain *ret_chain);
int cvmm_virtq_packed_pop(struct cvmm_virtq *vq, struct iovec *iov, size_t iov_max, bool is_first,
			  struct cvmm_virtq_chain *ret_chain);

/*
 * Writes @count used elements, which were checked, and publishes them at once. Return: 0; or an errno,
 * and the driver has seen nothing of them.
 */
int cvmm_virtq_split_publish(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
			     size_t count);
int cvmm_virtq_packed_publish(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
			      size_t count);

/*
 * Gives back a chain that was never handed out, with no bytes, and counts the violation. Return: as
 * cvmm_virtq_push().
 */
int cvmm_virtq_fail_chain(struct cvmm_virtq *vq, uint16_t head, uint16_t descs,
			  enum cvmm_virtq_violation violation, bool again);

/* A chain that was in flight before: as the pops, but @head is known. */
int cvmm_virtq_split_pop_again(struct cvmm_virtq *vq, uint16_t head, struct iovec *iov,
			       size_t iov_max, bool is_first, struct cvmm_virtq_chain *ret_chain);

/* The same of a packed ring, from its copy in the region: @entry is the first of @descs. */
int cvmm_virtq_packed_pop_again(struct cvmm_virtq *vq, uint16_t entry, uint16_t descs,
				struct iovec *iov, size_t iov_max, bool is_first,
				struct cvmm_virtq_chain *ret_chain);

/* One descriptor of a packed ring, as it is there now: addr, and the rest. Return: as an area's. */
int cvmm_virtq_packed_fetch(const struct cvmm_virtq *vq, uint16_t at, uint64_t *ret_addr,
			    uint64_t *ret_rest);

/* ---- inflight regions (virtq_inflight.c) ---------------------------------------------------- */

/* The chain at next_avail is in flight from now on. */
void cvmm_virtq_inflight_took(struct cvmm_virtq *vq, uint16_t head, uint16_t descs);

/* It is not: it was rewound. */
void cvmm_virtq_inflight_rewound(struct cvmm_virtq *vq, uint16_t head);

/* Around the publication of used elements; @places is how far the used ring goes on. */
void cvmm_virtq_inflight_before(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
				size_t count, uint32_t places);
void cvmm_virtq_inflight_after(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
			       size_t count, bool published);

/* The next chain of those to be popped again. Return: as a pop, or 2 if it was failed. */
int cvmm_virtq_inflight_pop(struct cvmm_virtq *vq, struct iovec *iov, size_t iov_max, bool is_first,
			    struct cvmm_virtq_chain *ret_chain);
bool cvmm_virtq_inflight_has_more(const struct cvmm_virtq *vq);
void cvmm_virtq_inflight_free(struct cvmm_virtq *vq);

/* The next descriptor of a packed list's copy; *entry goes on to the one behind it. */
struct cvmm_virtq_packed_desc cvmm_virtq_inflight_desc(const struct cvmm_virtq *vq,
						       uint16_t *entry);

/* The decision, after the fence, on @count elements since the last. */
bool cvmm_virtq_split_wants_notify(struct cvmm_virtq *vq, uint32_t count);
bool cvmm_virtq_packed_wants_notify(struct cvmm_virtq *vq, uint32_t count);

/* Return: 0, -EFAULT or -EAGAIN. */
int cvmm_virtq_split_ask_kicks(struct cvmm_virtq *vq, bool on);
int cvmm_virtq_packed_ask_kicks(struct cvmm_virtq *vq, bool on);

/* For a pop that found nothing: tells what could not be told before. Return: 0; or why it still cannot. */
int cvmm_virtq_ask_kicks_again(struct cvmm_virtq *vq);

bool cvmm_virtq_split_has_more(struct cvmm_virtq *vq);
bool cvmm_virtq_packed_has_more(struct cvmm_virtq *vq);

#endif /* CVMM_VIRTQ_INTERNAL_H */
