/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm virtq: the device's side of a virtqueue (VIRTIO 1.3, section 2.7 split, 2.8 packed).
 *
 * pop() copies each descriptor of one chain once, checks the copy and hands out the buffers as two
 * bounded iovec lists. Nothing of the chain is read from guest memory again. push() gives a chain
 * back. Which of the two formats the ring has is a flag of the configuration, and nothing else.
 *
 * Every violation by the driver has a code and a counter, and marks the queue broken: all later calls
 * fail with -EPROTO until cvmm_virtq_stop(). A malformed chain is never a short one. A device that
 * can do without one chain may have it failed instead: cvmm_virtq_set_policy().
 *
 * Where the standard leaves room, or drivers take it:
 * - A descriptor of no bytes is valid and adds no piece: the standard does not forbid it, and Linux
 *   drivers (virtio_net, virtio_crypto) have sent such descriptors. Its address is not looked at.
 * - An indirect table may hold more descriptors than the queue, up to CVMM_VIRTQ_INDIRECT_MAX, and
 *   so may the chain in it. 2.7.5.3.1 forbids the driver such a chain, but Linux does not keep to
 *   that for queues with INDIRECT_DESC; the iovec array given to pop is the limit that counts.
 * - Split: direct descriptors may precede the one that refers to a table (2.7.5.3.2), whose WRITE flag
 *   is ignored. That descriptor ends the direct part: NEXT on it is a violation (2.7.5.3.1).
 * - Packed: a table is all of its list (2.8.19), and its descriptors' flags but WRITE are ignored.
 *   Buffer ids must be below the size of the queue; no known driver has others.
 * - A table may lie at any address, and cross regions. So may the areas of a queue.
 *
 * Memory behind an IOMMU: the areas and the tables are translated at each access. Buffers are
 * translated once, by the pop: a driver must not take back a translation while the device has the
 * buffer, and harms itself alone if it does. What is not in the IOTLB is asked for: calls fail with
 * -EAGAIN then, have changed nothing, and can be repeated when it has come.
 *
 * A map with a dirty bitmap: what is written to the areas is marked at once, the buffers of a chain
 * when cvmm_virtq_push_chain() gives it back.
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

/* Bits of the flags of a descriptor (VIRTIO 1.3, 2.7.5, 2.8.1) and of the two rings (2.7.6, 2.7.8). */
#define CVMM_VIRTQ_DESC_F_NEXT 1U
#define CVMM_VIRTQ_DESC_F_WRITE 2U
#define CVMM_VIRTQ_DESC_F_INDIRECT 4U
#define CVMM_VIRTQ_DESC_F_AVAIL 0x80U  /* packed only */
#define CVMM_VIRTQ_DESC_F_USED 0x8000U /* packed only */
#define CVMM_VIRTQ_AVAIL_F_NO_INTERRUPT 1U
#define CVMM_VIRTQ_USED_F_NO_NOTIFY 1U

/* Event suppression of packed rings: VIRTIO 1.3, 2.8.10. */
#define CVMM_VIRTQ_EVENT_ENABLE 0U
#define CVMM_VIRTQ_EVENT_DISABLE 1U
#define CVMM_VIRTQ_EVENT_DESC 2U
#define CVMM_VIRTQ_EVENT_WRAP 0x8000U /* of the offset: the wrap counter */

/* struct virtq_desc, VIRTIO 1.3, 2.7.5. */
struct cvmm_virtq_desc {
	cvmm_le64 addr;
	cvmm_le32 len;
	cvmm_le16 flags;
	cvmm_le16 next;
};

CVMM_STATIC_ASSERT(sizeof(struct cvmm_virtq_desc) == 16, "VIRTIO 1.3, 2.7.5");

/* struct pvirtq_desc, VIRTIO 1.3, 2.8.13. */
struct cvmm_virtq_packed_desc {
	cvmm_le64 addr;
	cvmm_le32 len;
	cvmm_le16 id;
	cvmm_le16 flags;
};

CVMM_STATIC_ASSERT(sizeof(struct cvmm_virtq_packed_desc) == 16, "VIRTIO 1.3, 2.8.13");

/* What the driver did wrong. */
enum cvmm_virtq_violation {
	CVMM_VIRTQ_OK,
	CVMM_VIRTQ_BAD_AVAIL_INDEX, /* split: avail.idx is more than the queue size ahead */
	CVMM_VIRTQ_BAD_HEAD,	    /* a head or buffer id is not below the queue size */
	CVMM_VIRTQ_HEAD_IN_FLIGHT,  /* a head or id was made available again before it was used */
	CVMM_VIRTQ_BAD_NEXT,	    /* split: next is outside the table */
	CVMM_VIRTQ_LOOP,	    /* a chain is longer than its table, or than the ring */
	CVMM_VIRTQ_OVERRUN,	    /* packed: descriptors made available before they were used */
	CVMM_VIRTQ_BAD_ORDER,	    /* a readable descriptor after a writable one */
	CVMM_VIRTQ_TOO_LONG,	    /* more than 2^32 bytes, or 2^32 in one direction */
	CVMM_VIRTQ_TOO_MANY_PIECES, /* the chain needs more iovecs than the device can take */
	CVMM_VIRTQ_BAD_BUFFER,	    /* a buffer is not RAM, or not writable RAM */
	CVMM_VIRTQ_INDIRECT_NOT_NEGOTIATED,
	CVMM_VIRTQ_INDIRECT_NESTED,	 /* split: INDIRECT inside an indirect table */
	CVMM_VIRTQ_INDIRECT_WITH_NEXT,	 /* both flags on one descriptor */
	CVMM_VIRTQ_INDIRECT_IN_CHAIN,	 /* packed: INDIRECT behind a direct descriptor */
	CVMM_VIRTQ_INDIRECT_BAD_LEN,	 /* no descriptors, or a fraction of one */
	CVMM_VIRTQ_INDIRECT_TOO_LONG,	 /* more than CVMM_VIRTQ_INDIRECT_MAX descriptors */
	CVMM_VIRTQ_INDIRECT_BAD_ADDRESS, /* the table is not in RAM */
	CVMM_VIRTQ_BAD_AREA,		 /* part of the queue itself is no longer in RAM */
	CVMM_VIRTQ_VIOLATION_COUNT,
};

/* A word for logs, e.g. "descriptor chain loops". */
CVMM_API const char *cvmm_virtq_violation_name(enum cvmm_virtq_violation violation);

/**
 * struct cvmm_virtq_config - what the driver configured; every field is guest-controlled
 * @size: entries, at most the max_size given to cvmm_virtq_init(); split: a power of two
 * @desc: descriptor area: split: the table; packed: the ring; 16-byte aligned
 * @avail: driver area: split: available ring, 2-byte aligned; packed: driver event suppression
 *         structure, 4-byte aligned
 * @used: device area: split: used ring; packed: device event suppression structure; 4-byte aligned
 * @packed: VIRTIO_F_RING_PACKED was negotiated
 * @event_idx: VIRTIO_F_EVENT_IDX was negotiated
 * @indirect: VIRTIO_F_INDIRECT_DESC was negotiated
 * @in_order: VIRTIO_F_IN_ORDER was negotiated: chains that are pushed out of order are kept until
 *            those before them have come
 */
struct cvmm_virtq_config {
	uint16_t size;
	cvmm_gpa desc;
	cvmm_gpa avail;
	cvmm_gpa used;
	bool packed;
	bool event_idx;
	bool indirect;
	bool in_order;
};

/**
 * struct cvmm_virtq_base - where a queue is in its rings
 * @next_avail: split: index of the next available entry; packed: place of the next descriptor
 * @next_used: the same of the next used entry or descriptor
 * @avail_wrap: packed: the driver's ring wrap counter at @next_avail
 * @used_wrap: packed: the device's
 */
struct cvmm_virtq_base {
	uint16_t next_avail;
	uint16_t next_used;
	bool avail_wrap;
	bool used_wrap;
};

/* Where a new queue begins. */
#define CVMM_VIRTQ_BASE_START ((struct cvmm_virtq_base){ 0, 0, true, true })

#define CVMM_VIRTQ_MAPS_MAX 4 /* of chains in flight, see cvmm_virtq_set_mem() */

struct cvmm_virtq_slot;
struct cvmm_virtq_inflight;
struct cvmm_virtq_trace;

/**
 * typedef cvmm_virtq_policy - whether a chain that violates the rules is failed, and the queue lives
 *
 * Return: true to give the chain back with no bytes written, false to break the queue.
 */
typedef bool (*cvmm_virtq_policy)(void *ctx, enum cvmm_virtq_violation violation);

/**
 * struct cvmm_virtq - one queue, in the caller's storage; the fields are private to lib/virtq
 *
 * The first 64 bytes, and three counters in the next, are all that pop and push touch besides the rings,
 * the map and the two arrays.
 */
struct cvmm_virtq {
	/* Where the areas are in this process; of no use unless @direct. */
	uint8_t *desc_ring;
	uint8_t *driver_area;
	uint8_t *device_area;
	struct cvmm_mem *mem; /* reference held while started */
	/* By head or buffer id: what is in flight, which is between pop and push. */
	struct cvmm_virtq_slot *slots;
	uint16_t *popped; /* ring of the heads popped, by the low bits of @pops */
	uint16_t next_avail;
	uint16_t avail_seen; /* split: the last avail.idx that was read and checked */
	uint16_t next_used;
	uint16_t pops; /* chains popped, less those rewound */
	uint16_t size; /* 0 while not started */
	uint16_t max_size;
	uint8_t flags;	/* VIRTQ_* */
	uint8_t extras; /* VIRTQ_EXTRA_*: what most queues have not */
	uint8_t map;	/* number of @mem among @old_maps */
	bool usable;	/* started and not broken */
	bool started;
	uint8_t violation;     /* enum cvmm_virtq_violation; not OK means broken */
	bool avail_wrap;       /* packed */
	bool used_wrap;	       /* packed */
	uint32_t in_flight;    /* chains */
	uint32_t descs_in_use; /* descriptors in the ring of chains in flight */
	uint32_t unsignalled;  /* pushes since the last decision to notify, saturated */
	struct cvmm_virtq_config config;
	struct {
		struct cvmm_mem *mem;
		uint32_t in_flight;
	} old_maps[CVMM_VIRTQ_MAPS_MAX];
	cvmm_virtq_policy policy;
	void *policy_ctx;
	struct cvmm_virtq_inflight *inflight;
	struct cvmm_virtq_trace *trace;
	uint32_t violations[CVMM_VIRTQ_VIOLATION_COUNT]; /* how often each; survives stop */
};

/**
 * struct cvmm_virtq_chain - one buffer from the driver
 * @head: names the chain: its first descriptor, or its buffer id; give it back with cvmm_virtq_push()
 * @readable: pieces that the device reads, in order
 * @writable: pieces that the device writes, in order
 *
 * The lists lie in the iovec array that was given to pop, the readable ones first. The host memory
 * that they point at stays valid until the chain is given back or the queue is stopped. Either list, or
 * both, may be empty.
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
 * cvmm_virtq_start() - translate the areas and begin
 * @mem: the memory map; the queue takes a reference until it is stopped
 * @config: what the driver wrote; checked here: size, alignment, all of each area in RAM (behind an
 *          IOMMU that shows at the accesses)
 *
 * Return: 0 or -EINVAL with a message, also for a queue that is started already.
 */
CVMM_API int cvmm_virtq_start(struct cvmm_virtq *vq, struct cvmm_mem *mem,
			      const struct cvmm_virtq_config *config, struct cvmm_error *err);

/*
 * As cvmm_virtq_start(), for a queue that somebody has served before; @base is checked. The first decision
 * to notify after a push is for it: who was there before may have ended without telling.
 */
CVMM_API int cvmm_virtq_start_at(struct cvmm_virtq *vq, struct cvmm_mem *mem,
				 const struct cvmm_virtq_config *config,
				 const struct cvmm_virtq_base *base, struct cvmm_error *err);

/* Where the queue is. Chains in flight count as popped: rewind them to have them again. */
CVMM_API struct cvmm_virtq_base cvmm_virtq_base(const struct cvmm_virtq *vq);

/**
 * cvmm_virtq_set_mem() - go on in another map
 *
 * For memory that comes and goes while the queue runs. Chains in flight stay in the map that they were
 * popped from, which is kept until the last of them is given back. Behind an IOMMU nothing needs to be
 * done when a translation changes.
 *
 * Return: 0; -EINVAL with a message if an area is not in the new map; -EBUSY if chains of
 * CVMM_VIRTQ_MAPS_MAX maps are in flight: give some back. After a failure the old map stays in use.
 */
CVMM_API int cvmm_virtq_set_mem(struct cvmm_virtq *vq, struct cvmm_mem *mem,
				struct cvmm_error *err);

/* As cvmm_virtq_set_mem() if the cache's space has published another map; else one load. */
static inline int cvmm_virtq_follow(struct cvmm_virtq *vq, struct cvmm_mem_cache *cache,
				    struct cvmm_error *err)
{
	struct cvmm_mem *mem = cvmm_mem_cache_get(cache);

	return CVMM_LIKELY(mem == vq->mem) ? 0 : cvmm_virtq_set_mem(vq, mem, err);
}

/* What to do about chains that violate the rules; NULL, as after init, breaks the queue. */
CVMM_API void cvmm_virtq_set_policy(struct cvmm_virtq *vq, cvmm_virtq_policy policy, void *ctx);

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

/* How often the driver did that since init, whether the queue broke or a chain was failed. */
static inline uint32_t cvmm_virtq_violation_count(const struct cvmm_virtq *vq,
						  enum cvmm_virtq_violation violation)
{
	return (unsigned int)violation < CVMM_VIRTQ_VIOLATION_COUNT ? vq->violations[violation] : 0;
}

/**
 * cvmm_virtq_pop() - take the next available chain
 * @iov: the caller's array of @iov_max pieces, which the chain's lists will lie in; its content is
 *       unspecified unless 1 is returned. At most 65535 pieces are used.
 * @ret_chain: untouched unless 1 is returned
 *
 * Return: 1 with a chain; 0 if there is none; -EPROTO if the driver broke the rules (see
 * cvmm_virtq_violation(); the queue is broken from now on); -EINVAL if the queue is not started;
 * -EAGAIN behind an IOMMU; -ENOTSUP for a buffer in memory that is mapped on demand.
 * Context: the queue's thread, never blocks. Spec: VIRTIO 1.3, 2.7.5–2.7.13, 2.8.
 */
CVMM_API int cvmm_virtq_pop(struct cvmm_virtq *vq, struct iovec *iov, size_t iov_max,
			    struct cvmm_virtq_chain *ret_chain);

/**
 * cvmm_virtq_pop_batch() - take several chains
 * @iov: the pieces of all of them
 * @chains: room for @chain_max
 *
 * Stops where the next chain does not fit what is left of @iov, or is bad: the next call says so.
 *
 * Return: how many, or as cvmm_virtq_pop() if there was not one.
 */
CVMM_API int cvmm_virtq_pop_batch(struct cvmm_virtq *vq, struct iovec *iov, size_t iov_max,
				  struct cvmm_virtq_chain *chains, size_t chain_max);

struct cvmm_virtq_used {
	uint16_t head;
	uint32_t len_bytes; /* bytes written to the writable part, from its start */
};

/**
 * cvmm_virtq_push() - give a chain back to the driver
 * @head: from pop; must be in flight
 * @len_bytes: bytes that the device wrote, counted from the start of the writable part
 *
 * Return: 0; -EINVAL for a head that is not in flight, more bytes than are writable, or a queue not
 * started; -EPROTO for a broken queue; -EAGAIN behind an IOMMU. Spec: VIRTIO 1.3, 2.7.8, 2.7.14, 2.8.
 */
CVMM_API int cvmm_virtq_push(struct cvmm_virtq *vq, uint16_t head, uint32_t len_bytes);

/* As cvmm_virtq_push(), and marks all writable pieces in the dirty bitmap of their map, if it has one. */
CVMM_API int cvmm_virtq_push_chain(struct cvmm_virtq *vq, const struct cvmm_virtq_chain *chain,
				   uint32_t len_bytes);

/* Give @count chains back and publish them at once. All or none. Return: as cvmm_virtq_push(). */
CVMM_API int cvmm_virtq_push_batch(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
				   size_t count);

/**
 * cvmm_virtq_rewind() - put the chain that was popped last back, as if pop had not run
 * @head: from the last pop; earlier pops can be undone after it, newest first
 *
 * The next pop copies the chain anew: nothing that was learnt from the first copy holds. Return: 0;
 * -EINVAL if @head is not the newest pop, or is not in flight; -EPROTO for a broken queue. Nothing in guest
 * memory changes.
 */
CVMM_API int cvmm_virtq_rewind(struct cvmm_virtq *vq, uint16_t head);

/**
 * cvmm_virtq_should_notify() - whether the driver wants a used buffer notification now
 *
 * Call once after a group of pushes; false if nothing was pushed since the last call, for a broken
 * queue and for one not started. True where it cannot be known. Spec: VIRTIO 1.3, 2.7.7.2, 2.8.10.
 */
CVMM_API bool cvmm_virtq_should_notify(struct cvmm_virtq *vq);

/* Ask the driver not to kick (a hint). Spec: VIRTIO 1.3, 2.7.10, 2.8.10. */
CVMM_API void cvmm_virtq_disable_notifications(struct cvmm_virtq *vq);

/**
 * cvmm_virtq_enable_notifications() - ask the driver to kick again
 *
 * Return: true if buffers are available already, for which no kick may come: process them; also where
 * the driver could not be asked, for which the next pop that finds nothing fails. False for a broken
 * queue and for one not started. Spec: VIRTIO 1.3, 2.7.10.
 */
CVMM_API bool cvmm_virtq_enable_notifications(struct cvmm_virtq *vq);

/* ---- saving --------------------------------------------------------------------------------- */

#define CVMM_VIRTQ_STATE_MAGIC UINT32_C(0x51565643) /* "CVVQ" */
#define CVMM_VIRTQ_STATE_VERSION 1

/* Of struct cvmm_virtq_state. */
enum cvmm_virtq_state_flags {
	CVMM_VIRTQ_STATE_PACKED = 1 << 0,
	CVMM_VIRTQ_STATE_EVENT_IDX = 1 << 1,
	CVMM_VIRTQ_STATE_INDIRECT = 1 << 2,
	CVMM_VIRTQ_STATE_IN_ORDER = 1 << 3,
	CVMM_VIRTQ_STATE_AVAIL_WRAP = 1 << 4,
	CVMM_VIRTQ_STATE_USED_WRAP = 1 << 5,
	CVMM_VIRTQ_STATE_FLAGS_ALL = 0x3f,
};

/**
 * struct cvmm_virtq_state - a queue as it is saved: what is not in the guest's memory
 * @unsignalled: elements that were given back since the last decision to notify, so that no
 *               notification is lost between the two
 * @violation: what broke the queue; it is as broken when it is restored
 */
struct cvmm_virtq_state {
	cvmm_le32 magic;
	cvmm_le16 version;
	cvmm_le16 size;
	cvmm_le64 desc;
	cvmm_le64 avail;
	cvmm_le64 used;
	cvmm_le16 next_avail;
	cvmm_le16 next_used;
	cvmm_le16 flags;
	cvmm_le16 violation;
	cvmm_le32 unsignalled;
	cvmm_le32 reserved; /* 0 */
};

CVMM_STATIC_ASSERT(sizeof(struct cvmm_virtq_state) == 48, "bytes on disk");

/**
 * cvmm_virtq_save() - the state of a queue whose chains have all come back
 *
 * Return: 0; -EBUSY if chains are in flight: complete or rewind them first; -EINVAL if not started.
 */
CVMM_API int cvmm_virtq_save(const struct cvmm_virtq *vq, struct cvmm_virtq_state *ret_state);

/**
 * cvmm_virtq_restore() - start a queue as it was saved
 * @state: may come from anywhere: all of it is checked
 *
 * Return: as cvmm_virtq_start(). -ENOTSUP for a version that is not known.
 */
CVMM_API int cvmm_virtq_restore(struct cvmm_virtq *vq, struct cvmm_mem *mem,
				const struct cvmm_virtq_state *state, struct cvmm_error *err);

/* ---- inflight tracking ---------------------------------------------------------------------- */

/*
 * Bytes of a queue's part of an inflight region, a multiple of 64. Spec: vhost-user, "Inflight I/O
 * tracking".
 */
CVMM_API uint64_t cvmm_virtq_inflight_bytes(uint16_t size, bool packed);

/**
 * cvmm_virtq_set_inflight() - keep track of chains in flight in memory that outlives this process
 * @region: the queue's part, 8-byte aligned, zeroed if it is new; must stay as it is until the queue is
 *          stopped. Shared with the front-end: all that is read is checked.
 * @len_bytes: at least cvmm_virtq_inflight_bytes()
 *
 * Right after a start. If there are chains in the region that somebody popped and did not give back,
 * the queue goes on behind them, whatever base it was started at, and pops them first, in their order.
 *
 * Return: 0; -EINVAL with a message if the region is not one of this queue, or chains are in flight;
 * -ENOMEM; -EAGAIN behind an IOMMU.
 */
CVMM_API int cvmm_virtq_set_inflight(struct cvmm_virtq *vq, void *region, uint64_t len_bytes,
				     struct cvmm_error *err);

/* ---- kicks ---------------------------------------------------------------------------------- */

/**
 * struct cvmm_virtq_notification - what a kick says with VIRTIO_F_NOTIFICATION_DATA
 * @queue: its number, or with VIRTIO_F_NOTIF_CONFIG_DATA what the device told to send
 * @next_off: split: index of the next available entry, low 15 bits at least; packed: place of the next
 *            descriptor that is not yet available
 * @next_wrap: packed: its wrap counter; split: bit 15 of the index
 *
 * Guest-controlled, and a hint only: it says nothing that the ring does not.
 */
struct cvmm_virtq_notification {
	uint16_t queue;
	uint16_t next_off;
	bool next_wrap;
};

/* Spec: VIRTIO 1.3, 2.9. */
static inline struct cvmm_virtq_notification cvmm_virtq_notification_parse(uint32_t data)
{
	struct cvmm_virtq_notification notification;

	notification.queue = (uint16_t)data;
	notification.next_off = (uint16_t)(data >> 16 & 0x7fff);
	notification.next_wrap = data >> 31 != 0;
	return notification;
}

#ifdef __cplusplus
}
#endif

#endif /* CVMM_VIRTQ_H */
