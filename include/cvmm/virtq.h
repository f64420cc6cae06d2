/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm virtq: the device's side of a virtqueue (split ring, VIRTIO 1.3 section 2.7).
 *
 * pop() copies each descriptor of one chain once, checks the copy and hands out the buffers as two
 * bounded iovec lists. Nothing of the chain is read from guest memory again. push() gives a chain
 * back.
 *
 * Every violation by the driver has a code, and marks the queue broken: all later calls fail with
 * -EPROTO until cvmm_virtq_stop(). A malformed chain is never a short one.
 *
 * Where the standard leaves room, or drivers take it:
 * - A descriptor of no bytes is valid and adds no piece: the standard does not forbid it, and Linux
 *   drivers (virtio_net, virtio_crypto) have sent such descriptors. Its address is not looked at.
 * - An indirect table may hold more descriptors than the queue, up to CVMM_VIRTQ_INDIRECT_MAX, and
 *   so may the chain in it. 2.7.5.3.1 forbids the driver such a chain, but Linux does not keep to
 *   that for queues with INDIRECT_DESC; the iovec array given to pop is the limit that counts.
 * - Direct descriptors may precede the one that refers to a table (2.7.5.3.2), whose WRITE flag is
 *   ignored. That descriptor ends the direct part: NEXT on it is a violation (2.7.5.3.1).
 * - A table may lie at any address, and cross regions.
 *
 * Not thread-safe: one queue belongs to one thread at a time. No allocation after init.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_VIRTQ_H
#define CVMM_VIRTQ_H

#include <cvmm/mem.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CVMM_VIRTQ_SIZE_MAX 32768U
#define CVMM_VIRTQ_INDIRECT_MAX 32768U /* descriptors in an indirect table */

/* Bits of the flags of a descriptor (VIRTIO 1.3, 2.7.5) and of the two rings (2.7.6, 2.7.8). */
#define CVMM_VIRTQ_DESC_F_NEXT 1U
#define CVMM_VIRTQ_DESC_F_WRITE 2U
#define CVMM_VIRTQ_DESC_F_INDIRECT 4U
#define CVMM_VIRTQ_AVAIL_F_NO_INTERRUPT 1U
#define CVMM_VIRTQ_USED_F_NO_NOTIFY 1U

/* struct virtq_desc, VIRTIO 1.3, 2.7.5. */
struct cvmm_virtq_desc {
	cvmm_le64 addr;
	cvmm_le32 len;
	cvmm_le16 flags;
	cvmm_le16 next;
};

_Static_assert(sizeof(struct cvmm_virtq_desc) == 16, "VIRTIO 1.3, 2.7.5");

/* What the driver did wrong. */
enum cvmm_virtq_violation {
	CVMM_VIRTQ_OK,
	CVMM_VIRTQ_BAD_AVAIL_INDEX, /* avail.idx is more than the queue size ahead */
	CVMM_VIRTQ_BAD_HEAD,	    /* a head in the available ring is outside the table */
	CVMM_VIRTQ_HEAD_IN_FLIGHT,  /* a head was made available again before it was used */
	CVMM_VIRTQ_BAD_NEXT,	    /* next is outside the table */
	CVMM_VIRTQ_LOOP,	    /* a chain is longer than its table */
	CVMM_VIRTQ_BAD_ORDER,	    /* a readable descriptor after a writable one */
	CVMM_VIRTQ_TOO_LONG,	    /* more than 2^32 bytes, or 2^32 in one direction */
	CVMM_VIRTQ_TOO_MANY_PIECES, /* the chain needs more iovecs than the device can take */
	CVMM_VIRTQ_BAD_BUFFER,	    /* a buffer is not RAM, or not writable RAM */
	CVMM_VIRTQ_INDIRECT_NOT_NEGOTIATED,
	CVMM_VIRTQ_INDIRECT_NESTED,	 /* INDIRECT inside an indirect table */
	CVMM_VIRTQ_INDIRECT_WITH_NEXT,	 /* both flags on one descriptor */
	CVMM_VIRTQ_INDIRECT_BAD_LEN,	 /* no descriptors, or a fraction of one */
	CVMM_VIRTQ_INDIRECT_TOO_LONG,	 /* more than CVMM_VIRTQ_INDIRECT_MAX descriptors */
	CVMM_VIRTQ_INDIRECT_BAD_ADDRESS, /* the table is not in RAM */
	CVMM_VIRTQ_VIOLATION_COUNT,
};

/* A word for logs, e.g. "descriptor chain loops". */
CVMM_API const char *cvmm_virtq_violation_name(enum cvmm_virtq_violation violation);

/**
 * struct cvmm_virtq_config - what the driver configured; every field is guest-controlled
 * @size: entries; a power of two, at most the max_size given to cvmm_virtq_init()
 * @desc: descriptor table, 16-byte aligned
 * @avail: available ring ("driver area"), 2-byte aligned
 * @used: used ring ("device area"), 4-byte aligned
 * @event_idx: VIRTIO_F_EVENT_IDX was negotiated
 * @indirect: VIRTIO_F_INDIRECT_DESC was negotiated
 */
struct cvmm_virtq_config {
	uint16_t size;
	cvmm_gpa desc;
	cvmm_gpa avail;
	cvmm_gpa used;
	bool event_idx;
	bool indirect;
};

/**
 * struct cvmm_virtq - one queue, in the caller's storage; the fields are private to lib/virtq
 *
 * The first 64 bytes are all that pop and push touch besides the rings, the map and the two arrays.
 */
struct cvmm_virtq {
	const uint8_t *desc_ring;
	const uint8_t *avail_ring;
	uint8_t *used_ring;
	struct cvmm_mem *mem; /* reference held while started */
	/*
	 * Ring of the heads popped, by the low bits of next_avail: @size entries. Behind them, for
	 * each head, a byte that says whether it is in flight, which is between pop and push.
	 */
	uint16_t *popped;
	const struct cvmm_mem_region *region; /* of @mem, where the last buffer was; may be NULL */
	uint32_t unsignalled; /* pushes since the last decision to notify, saturated */
	uint16_t size;	      /* 0 while not started */
	uint16_t next_avail;  /* index of the next available entry to read */
	uint16_t avail_seen;  /* the last avail.idx that was read and checked */
	uint16_t next_used;   /* index that used.idx gets next */
	bool event_idx;
	bool indirect;
	bool started;
	uint8_t violation; /* enum cvmm_virtq_violation; not OK means broken */
	uint16_t max_size;
	struct cvmm_virtq_config config;
};

/**
 * struct cvmm_virtq_chain - one buffer from the driver
 * @head: names the chain; give it back with cvmm_virtq_push()
 * @readable: pieces that the device reads, in order
 * @writable: pieces that the device writes, in order
 *
 * The lists lie in the iovec array that was given to pop, the readable ones first. The host memory
 * that they point at stays valid until the queue is stopped. Either list, or both, may be empty.
 */
struct cvmm_virtq_chain {
	uint16_t head;
	uint16_t readable_count;
	uint16_t writable_count;
	const struct iovec *readable;
	const struct iovec *writable;
	uint32_t readable_bytes;
	uint32_t writable_bytes;
};

/**
 * cvmm_virtq_init() - prepare a queue for at most @max_size entries
 * @max_size: a power of two up to CVMM_VIRTQ_SIZE_MAX (our constant, not the guest's)
 *
 * The only allocation. Return: 0, -EINVAL or -ENOMEM. Owner: pair with cvmm_virtq_fini().
 */
CVMM_API int cvmm_virtq_init(struct cvmm_virtq *vq, uint16_t max_size);
CVMM_API void cvmm_virtq_fini(struct cvmm_virtq *vq);

/**
 * cvmm_virtq_start() - translate the rings and begin
 * @mem: the memory map; the queue takes a reference until it is stopped
 * @config: what the driver wrote; checked here (size, alignment, all three areas in one region of
 *          RAM each)
 *
 * Starts at index 0. Return: 0 or -EINVAL with a message, also for a queue that is started already.
 */
CVMM_API int cvmm_virtq_start(struct cvmm_virtq *vq, struct cvmm_mem *mem,
			      const struct cvmm_virtq_config *config, struct cvmm_error *err);

/* Forget everything but max_size. Popped chains are void. Also for a queue not started. */
CVMM_API void cvmm_virtq_stop(struct cvmm_virtq *vq);

/* Whether the driver enabled the queue, and pop and push may be called. */
static inline bool cvmm_virtq_is_started(const struct cvmm_virtq *vq)
{
	return vq->started;
}

/* The violation that broke the queue, or CVMM_VIRTQ_OK. */
static inline enum cvmm_virtq_violation cvmm_virtq_violation(const struct cvmm_virtq *vq)
{
	return (enum cvmm_virtq_violation)vq->violation;
}

/**
 * cvmm_virtq_pop() - take the next available chain
 * @iov: the caller's array of @iov_max pieces, which the chain's lists will lie in; its content is
 *       unspecified unless 1 is returned. At most 65535 pieces are used.
 * @ret_chain: untouched unless 1 is returned
 *
 * Return: 1 with a chain; 0 if there is none; -EPROTO if the driver broke the rules (see
 * cvmm_virtq_violation(); the queue is broken from now on); -EINVAL if the queue is not started.
 * Context: the queue's thread, never blocks. Spec: VIRTIO 1.3, 2.7.5–2.7.13.
 */
CVMM_API int cvmm_virtq_pop(struct cvmm_virtq *vq, struct iovec *iov, size_t iov_max,
			    struct cvmm_virtq_chain *ret_chain);

struct cvmm_virtq_used {
	uint16_t head;
	uint32_t len_bytes; /* bytes written to the writable part, from its start */
};

/**
 * cvmm_virtq_push() - give a chain back to the driver
 * @head: from pop; must be in flight
 * @len_bytes: bytes that the device wrote, counted from the start of the writable part
 *
 * Return: 0; -EINVAL for a head that is not in flight, or a queue not started; -EPROTO for a broken
 * queue. Spec: VIRTIO 1.3, 2.7.8 and 2.7.14.
 */
CVMM_API int cvmm_virtq_push(struct cvmm_virtq *vq, uint16_t head, uint32_t len_bytes);

/* Give @count chains back and publish them at once. All or none. Return: as cvmm_virtq_push(). */
CVMM_API int cvmm_virtq_push_batch(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
				   size_t count);

/**
 * cvmm_virtq_rewind() - put the chain that was popped last back, as if pop had not run
 * @head: from the last pop; earlier pops can be undone after it, newest first
 *
 * The next pop copies the chain anew: nothing that was learnt from the first copy holds. Return: 0;
 * -EINVAL if @head is not the newest pop, or is not in flight; -EPROTO for a broken queue.
 */
CVMM_API int cvmm_virtq_rewind(struct cvmm_virtq *vq, uint16_t head);

/**
 * cvmm_virtq_should_notify() - whether the driver wants a used buffer notification now
 *
 * Call once after a group of pushes; false if nothing was pushed since the last call, for a broken
 * queue and for one not started. Spec: VIRTIO 1.3, 2.7.7.2.
 */
CVMM_API bool cvmm_virtq_should_notify(struct cvmm_virtq *vq);

/* Ask the driver not to kick (a hint). Spec: VIRTIO 1.3, 2.7.10. */
CVMM_API void cvmm_virtq_disable_notifications(struct cvmm_virtq *vq);

/**
 * cvmm_virtq_enable_notifications() - ask the driver to kick again
 *
 * Return: true if buffers are available already, for which no kick may come: process them. False
 * for a broken queue and for one not started. Spec: VIRTIO 1.3, 2.7.10.
 */
CVMM_API bool cvmm_virtq_enable_notifications(struct cvmm_virtq *vq);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_VIRTQ_H */
