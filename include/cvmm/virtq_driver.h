/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm virtq: the driver's side of a virtqueue, split and packed (VIRTIO 1.3, 2.7 and 2.8).
 *
 * A small front-end ring for tests, for front-ends without a virtual machine, and for drivers in
 * user space. add() places a buffer in the ring, publish() makes all that were added visible to the
 * device at once, should_kick() says whether the device wants to hear of it, and take() returns what
 * the device is done with.
 *
 * The device is not trusted. What it writes is copied once and checked against book-keeping that is
 * not in shared memory. Every violation has a code and breaks the ring: add() and take() fail with
 * -EPROTO from then on. No content of the ring can do more than that: tests that play a hostile
 * driver may therefore rewrite any of it, at the addresses of the configuration, between add() and
 * publish() or later. Of a packed ring the flags of the first descriptor that was added since the last
 * publish() are written only by publish().
 *
 * Buffers are named by guest-physical addresses that are passed on as they are: nobody here looks at
 * the buffers, and bad addresses are for the device to refuse. Writes to the rings are not marked in
 * a dirty bitmap.
 *
 * Not thread-safe: one ring belongs to one thread at a time. No allocation after init.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_VIRTQ_DRIVER_H
#define CVMM_VIRTQ_DRIVER_H

#include <cvmm/mem.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CVMM_VIRTQ_DRIVER_SIZE_MAX 32768U
#define CVMM_VIRTQ_DRIVER_TABLE_MAX 32768U /* descriptors in an indirect table */

/* cvmm_virtq_driver_layout() puts each area on cache lines of its own. */
#define CVMM_VIRTQ_DRIVER_AREA_ALIGN 64U

/* What the device did wrong. */
enum cvmm_virtq_driver_violation {
	CVMM_VIRTQ_DRIVER_OK,
	CVMM_VIRTQ_DRIVER_BAD_USED_INDEX, /* split: used.idx is ahead of what is outstanding */
	CVMM_VIRTQ_DRIVER_BAD_ID,	  /* an id that is not below the size of the ring */
	CVMM_VIRTQ_DRIVER_NOT_IN_FLIGHT,  /* an id that the device does not have */
	CVMM_VIRTQ_DRIVER_BAD_LENGTH,	  /* more bytes written than were writable */
	CVMM_VIRTQ_DRIVER_BAD_ORDER,	  /* in_order: a later buffer than used.idx allows */
	CVMM_VIRTQ_DRIVER_VIOLATION_COUNT,
};

/* A word for logs, e.g. "device used a buffer that it does not have". */
CVMM_API const char *cvmm_virtq_driver_violation_name(enum cvmm_virtq_driver_violation violation);

/**
 * struct cvmm_virtq_driver_config - one ring, as both sides agreed on it
 * @size: entries, up to CVMM_VIRTQ_DRIVER_SIZE_MAX; split: a power of two
 * @packed: VIRTIO_F_RING_PACKED was negotiated
 * @event_idx: VIRTIO_F_EVENT_IDX was negotiated
 * @indirect: VIRTIO_F_INDIRECT_DESC was negotiated
 * @in_order: VIRTIO_F_IN_ORDER was negotiated
 * @desc: descriptor table or packed ring, 16 * size bytes, 16-byte aligned
 * @driver_area: split: available ring, 6 + 2 * size bytes, 2-byte aligned; packed: the driver's event
 *               suppression structure, 4 bytes, 4-byte aligned
 * @device_area: split: used ring, 6 + 8 * size bytes, 4-byte aligned; packed: the device's event
 *               suppression structure, 4 bytes, 4-byte aligned
 * @tables: memory for indirect tables, one for each entry of the ring
 * @tables_bytes: its size, at least 16 * size * table_entries; 0 for no indirect tables
 * @table_entries: descriptors in each table, up to CVMM_VIRTQ_DRIVER_TABLE_MAX. The standard forbids
 *                 more than @size (2.7.5.3.1), and real drivers do it all the same.
 *
 * Each area must be contiguous in the host. All fields are the caller's.
 */
struct cvmm_virtq_driver_config {
	uint16_t size;
	bool packed;
	bool event_idx;
	bool indirect;
	bool in_order;
	cvmm_gpa desc;
	cvmm_gpa driver_area;
	cvmm_gpa device_area;
	cvmm_gpa tables;
	uint64_t tables_bytes;
	uint16_t table_entries;
};

/* One contiguous piece of a buffer. */
struct cvmm_virtq_segment {
	cvmm_gpa gpa;
	uint32_t len_bytes;
};

struct cvmm_virtq_driver_entry;

/**
 * struct cvmm_virtq_driver - one ring, in the caller's storage; the fields are private to lib/virtq
 */
struct cvmm_virtq_driver {
	uint8_t *desc;
	uint8_t *driver_area;
	uint8_t *device_area;
	uint8_t *tables;			 /* NULL without indirect tables */
	struct cvmm_virtq_driver_entry *entries; /* by head (split) or buffer id (packed) */
	uint16_t *next;	      /* links of the list of free descriptors (split) or ids (packed) */
	uint16_t *order;      /* ids by the number of their add, modulo the size */
	uint64_t added;	      /* buffers since init */
	uint64_t published;   /* of these */
	uint64_t taken;	      /* of these */
	uint64_t used_seen;   /* split: those that used.idx covered when it was read last */
	uint32_t add_pos;     /* packed positions: see virtq_driver_packed.c; next to add */
	uint32_t publish_pos; /* next to publish */
	uint32_t used_pos;    /* where the device writes its next used descriptor */
	uint32_t unsignalled; /* published since the last decision to kick, saturated */
	uint32_t batch_left;  /* in_order: buffers of the current batch that are not taken yet */
	uint32_t batch_len;   /* bytes that the device wrote to the last one of the batch */
	uint16_t size;	      /* 0 before init and after fini */
	uint16_t free_descs;  /* room in the ring */
	uint16_t free_first;  /* of the free list, or no index at all */
	uint16_t free_last;   /* undefined while the list is empty */
	uint16_t held_flags;  /* packed: of the descriptor at publish_pos, not written yet */
	uint8_t violation;    /* enum cvmm_virtq_driver_violation; not OK means broken */
	struct cvmm_mem *mem; /* reference held from init to fini */
	struct cvmm_virtq_driver_config config;
};

/**
 * cvmm_virtq_driver_layout() - choose addresses for everything that a ring needs
 * @config: size, packed, indirect and table_entries are read; desc, driver_area, device_area, tables
 *          and tables_bytes are set
 * @base: start of the memory; a multiple of CVMM_VIRTQ_DRIVER_AREA_ALIGN
 * @ret_bytes: how much of it is used
 *
 * There are no tables unless @config has both indirect and table_entries. Return: 0; -EINVAL for a bad
 * size or @base, or if the areas would pass the end of the address space.
 */
CVMM_API int cvmm_virtq_driver_layout(struct cvmm_virtq_driver_config *config, cvmm_gpa base,
				      uint64_t *ret_bytes);

/**
 * cvmm_virtq_driver_init() - translate the areas, clear the rings and begin at their start
 * @mem: where the areas are; the ring takes a reference until fini
 *
 * The only allocation. Interrupts are enabled. The device must not run yet. Return: 0; -EINVAL with a
 * message for a bad configuration; -ENOMEM. @drv is untouched on failure.
 * Owner: pair with cvmm_virtq_driver_fini(). To reset a ring, end it and initialise it again.
 */
CVMM_API int cvmm_virtq_driver_init(struct cvmm_virtq_driver *drv, struct cvmm_mem *mem,
				    const struct cvmm_virtq_driver_config *config,
				    struct cvmm_error *err);

/* Tokens that are in flight are forgotten. NULL, and a ring that is all zeroes, are allowed. */
CVMM_API void cvmm_virtq_driver_fini(struct cvmm_virtq_driver *drv);

/**
 * cvmm_virtq_driver_add() - place one buffer in the ring
 * @segments: its pieces: first those that the device reads, then those that it writes
 * @readable: how many the device reads
 * @writable: how many the device writes
 * @token: what cvmm_virtq_driver_take() will return; any pointer
 *
 * The device does not see the buffer before cvmm_virtq_driver_publish(). With indirect descriptors
 * a buffer of more than one segment, and not more than table_entries, takes one entry; any other takes as
 * many as it has segments.
 *
 * Return: 0; -ENOSPC if the ring has no room at present; -EINVAL for no segments, for more than ever
 * fit, or for more than 2^32 bytes; -EPROTO for a broken ring. Spec: VIRTIO 1.3, 2.7.13, 2.8.21.
 */
CVMM_API int cvmm_virtq_driver_add(struct cvmm_virtq_driver *drv,
				   const struct cvmm_virtq_segment *segments, size_t readable,
				   size_t writable, void *token);

/* Make all buffers that were added visible to the device at once. Nothing, for a broken ring. */
CVMM_API void cvmm_virtq_driver_publish(struct cvmm_virtq_driver *drv);

/**
 * cvmm_virtq_driver_should_kick() - whether the device wants an available buffer notification now
 *
 * Decides for all that was published since the last call, and must be asked before the caller waits.
 * False if nothing was published, and for a broken ring. What the device wrote where it cannot mean
 * anything counts as a wish. Spec: VIRTIO 1.3, 2.7.10, 2.8.10.
 */
CVMM_API bool cvmm_virtq_driver_should_kick(struct cvmm_virtq_driver *drv);

/**
 * cvmm_virtq_driver_take() - the next buffer that the device is done with
 * @ret_token: what it was added with; untouched unless 1 is returned
 * @ret_len: bytes that the device says it wrote, from the start of the writable part, never more than
 *           that has; untouched unless 1 is returned
 *
 * With in_order, buffers that the device skipped in a batch come with the length of their writable
 * part, as the standard says they were used completely. A packed used descriptor without the WRITE
 * flag has the length 0.
 *
 * Return: 1; 0 if there is none; -EPROTO if the device broke the rules (see
 * cvmm_virtq_driver_violation(); the ring is broken from now on). Spec: VIRTIO 1.3, 2.7.8, 2.7.9,
 * 2.7.14, 2.8.4, 2.8.8, 2.8.22.
 */
CVMM_API int cvmm_virtq_driver_take(struct cvmm_virtq_driver *drv, void **ret_token,
				    uint32_t *ret_len);

/* Ask the device not to interrupt (a hint). Spec: VIRTIO 1.3, 2.7.7, 2.8.10. */
CVMM_API void cvmm_virtq_driver_disable_interrupts(struct cvmm_virtq_driver *drv);

/**
 * cvmm_virtq_driver_enable_interrupts() - ask the device to interrupt again
 *
 * With event_idx this is a wish for one interrupt, for the next buffer that is used: call it again
 * after that. Return: true if something is there already, for which no interrupt may come: take it.
 * False for a broken ring. Spec: VIRTIO 1.3, 2.7.7, 2.8.10.
 */
CVMM_API bool cvmm_virtq_driver_enable_interrupts(struct cvmm_virtq_driver *drv);

/**
 * cvmm_virtq_driver_notification_data() - what a kick carries with VIRTIO_F_NOTIFICATION_DATA
 * @queue: number of the queue, or what VIRTIO_F_NOTIF_CONFIG_DATA puts in its place
 *
 * Return: @queue in the low half; in the high one where the next buffer will be made available: split:
 * the index; packed: offset and wrap counter. Spec: VIRTIO 1.3, 2.9.
 */
CVMM_API uint32_t cvmm_virtq_driver_notification_data(const struct cvmm_virtq_driver *drv,
						      uint16_t queue);

/* The violation that broke the ring, or CVMM_VIRTQ_DRIVER_OK. */
static inline enum cvmm_virtq_driver_violation
cvmm_virtq_driver_violation(const struct cvmm_virtq_driver *drv)
{
	return (enum cvmm_virtq_driver_violation)drv->violation;
}

/* Descriptors that are free: a buffer that takes no more of them can be added. */
static inline uint16_t cvmm_virtq_driver_room(const struct cvmm_virtq_driver *drv)
{
	return drv->free_descs;
}

/* Buffers that were added and not taken back. */
static inline uint32_t cvmm_virtq_driver_outstanding(const struct cvmm_virtq_driver *drv)
{
	return (uint32_t)(drv->added - drv->taken);
}

#ifdef __cplusplus
}
#endif

#endif /* CVMM_VIRTQ_DRIVER_H */
