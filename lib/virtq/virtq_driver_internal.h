/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_VIRTQ_DRIVER_INTERNAL_H
#define CVMM_VIRTQ_DRIVER_INTERNAL_H

#include <cvmm/virtq_driver.h>

#include "virtq_internal.h"

/* A packed descriptor (VIRTIO 1.3, 2.8.13), which has the size of a split one. */
#define DRIVER_PACKED_LEN 8U
#define DRIVER_PACKED_ID 12U
#define DRIVER_PACKED_FLAGS 14U
#define DRIVER_PACKED_F_AVAIL 0x80U
#define DRIVER_PACKED_F_USED 0x8000U

/* An event suppression structure (VIRTIO 1.3, 2.8.14), as one number of 32 bits. */
#define DRIVER_EVENT_BYTES 4U
#define DRIVER_EVENT_OFFSET 0x7fffU
#define DRIVER_EVENT_WRAP 0x8000U
#define DRIVER_EVENT_FLAGS_SHIFT 16U
#define DRIVER_EVENT_FLAGS 3U
#define DRIVER_EVENT_ENABLE 0U
#define DRIVER_EVENT_DISABLE 1U
#define DRIVER_EVENT_DESC 2U

/**
 * struct cvmm_virtq_driver_entry - one head (split) or buffer id (packed)
 * @seq: number of the buffer's add; published if below the ring's count of those
 * @writable_bytes: what the device may write; less by one for 2^32 bytes, which no length says
 * @descs: descriptors in the ring
 * @last: last of the links that it took from the free list
 * @is_added: between add and take
 */
struct cvmm_virtq_driver_entry {
	void *token;
	uint64_t seq;
	uint32_t writable_bytes;
	uint16_t descs;
	uint16_t last;
	bool is_added;
};

/* What goes into the ring for one buffer: its segments, or one that is a table of them. */
struct driver_list {
	const struct cvmm_virtq_segment *segments;
	uint32_t count;
	size_t readable;
	uint16_t extra_flags; /* CVMM_VIRTQ_DESC_F_INDIRECT, or none */
};

/* One used element, as the device wrote it. */
struct driver_used {
	uint32_t id;
	uint32_t len_bytes;
};

/* Reads a number that the device may write meanwhile: once, whatever the compiler would like. */
static inline uint32_t driver_load_u32(const uint8_t *area, size_t at)
{
	return le32toh(
		__atomic_load_n((const uint32_t *)(const void *)(area + at), __ATOMIC_RELAXED));
}

/* What this thread stored before is visible to all before it loads anything after. */
static inline void driver_full_fence(void)
{
#ifdef __SANITIZE_THREAD__
	/* GCC's ThreadSanitizer does not know fences. */
	unsigned int any = 0;

	__atomic_fetch_add(&any, 1, __ATOMIC_SEQ_CST);
	__asm__ volatile("" : : "r"(&any) : "memory");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

static inline uint16_t driver_desc_flags(const struct driver_list *list, uint32_t i)
{
	return (uint16_t)(list->extra_flags | (i >= list->readable ? CVMM_VIRTQ_DESC_F_WRITE : 0U) |
			  (i + 1 < list->count ? CVMM_VIRTQ_DESC_F_NEXT : 0U));
}

/* Adds to the count of what the next decision to kick is about. */
static inline void driver_count_unsignalled(struct cvmm_virtq_driver *drv, uint64_t count)
{
	const uint32_t whole_turn = UINT32_C(1) << 16; /* of every index: a kick is due anyway */
	uint64_t sum = drv->unsignalled + count;

	drv->unsignalled = sum > whole_turn ? whole_turn : (uint32_t)sum;
}

/*
 * The two formats. put: write a buffer, which has room, below what the device looks at. publish: for at
 * least one buffer. look: copy the next used element; 1, 0, or -EPROTO with the ring marked broken.
 * advance: the buffer @id was taken. wants_kick: after the fence. has_used: after the fence.
 */
void cvmm_virtq_driver_split_put(struct cvmm_virtq_driver *drv, uint16_t id,
				 const struct driver_list *list);
void cvmm_virtq_driver_split_publish(struct cvmm_virtq_driver *drv);
bool cvmm_virtq_driver_split_wants_kick(const struct cvmm_virtq_driver *drv, uint32_t count);
int cvmm_virtq_driver_split_look(struct cvmm_virtq_driver *drv, struct driver_used *ret_used);
void cvmm_virtq_driver_split_ask_interrupts(struct cvmm_virtq_driver *drv, bool on);
bool cvmm_virtq_driver_split_has_used(const struct cvmm_virtq_driver *drv);

void cvmm_virtq_driver_packed_put(struct cvmm_virtq_driver *drv, uint16_t id,
				  const struct driver_list *list);
void cvmm_virtq_driver_packed_publish(struct cvmm_virtq_driver *drv);
bool cvmm_virtq_driver_packed_wants_kick(const struct cvmm_virtq_driver *drv, uint32_t count);
int cvmm_virtq_driver_packed_look(struct cvmm_virtq_driver *drv, struct driver_used *ret_used);
void cvmm_virtq_driver_packed_advance(struct cvmm_virtq_driver *drv, uint16_t id);
void cvmm_virtq_driver_packed_ask_interrupts(struct cvmm_virtq_driver *drv, bool on);
bool cvmm_virtq_driver_packed_has_used(const struct cvmm_virtq_driver *drv);
uint16_t cvmm_virtq_driver_packed_place(const struct cvmm_virtq_driver *drv, uint32_t pos);

/* Marks the ring broken. Return: -EPROTO. */
int cvmm_virtq_driver_break(struct cvmm_virtq_driver *drv,
			    enum cvmm_virtq_driver_violation violation);

#endif /* CVMM_VIRTQ_DRIVER_INTERNAL_H */
