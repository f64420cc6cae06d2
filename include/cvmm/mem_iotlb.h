/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm mem: the IOTLB, a bounded cache of what I/O virtual addresses stand for.
 *
 * A device behind a virtual IOMMU names memory by I/O virtual addresses (IOVA). Somebody else (the
 * front-end of vhost-user, vhost or vDPA's counterpart, a model of an IOMMU) knows what they
 * stand for, and tells in messages. What is not in the cache is a miss: it is asked for, and the
 * access tried again later.
 *
 * Ranges have any address and any length: no page size is assumed, and they may end at 2^64. What
 * they are translated to is a 64-bit number whose meaning is the caller's: an address of the
 * front-end in vhost-user, or a guest-physical one.
 *
 * Threads. All functions lock by themselves. Whoever *uses* translations must do so between
 * cvmm_iotlb_read_lock() and cvmm_iotlb_read_unlock(), with the look-up and all accesses inside:
 * changes wait for that, so that after an invalidation has returned (and only then may it be
 * acknowledged) nobody accesses what it took away.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_MEM_IOTLB_H
#define CVMM_MEM_IOTLB_H

#include <cvmm/base.h>
#include <cvmm/mem.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cvmm_iotlb;

#define CVMM_IOTLB_CAPACITY_DEFAULT 2048U
#define CVMM_IOTLB_CAPACITY_MAX 65536U

/* Rights of a mapping: enum cvmm_access, or none at all, which makes any access fail. */
#define CVMM_IOTLB_NO_ACCESS 0U

/* ---- operations and messages --------------------------------------------------------------- */

/* Values are those of struct vhost_iotlb_msg. */
enum cvmm_iotlb_op_kind {
	CVMM_IOTLB_MISS = 1,	    /* device to IOMMU: wants to know about a range */
	CVMM_IOTLB_UPDATE = 2,	    /* IOMMU to device: a range stands for this */
	CVMM_IOTLB_INVALIDATE = 3,  /* IOMMU to device: forget a range */
	CVMM_IOTLB_ACCESS_FAIL = 4, /* device to IOMMU: access was denied */
	CVMM_IOTLB_BATCH_BEGIN = 5, /* IOMMU to device: what follows belongs together ... */
	CVMM_IOTLB_BATCH_END = 6,   /* ... up to here */
};

/**
 * struct cvmm_iotlb_op - one message, decoded and checked
 * @kind: what it says; the rest is 0 for CVMM_IOTLB_BATCH_BEGIN and CVMM_IOTLB_BATCH_END
 * @iova: start of the range
 * @last: its last address, not below @iova: so the range that is all addresses can be told, too
 * @addr: CVMM_IOTLB_UPDATE: what @iova stands for; the range there ends at or below 2^64
 * @rights: CVMM_IOTLB_NO_ACCESS to CVMM_ACCESS_READ_WRITE; what is granted (CVMM_IOTLB_UPDATE), or
 *          was wanted (CVMM_IOTLB_MISS, CVMM_IOTLB_ACCESS_FAIL)
 */
struct cvmm_iotlb_op {
	enum cvmm_iotlb_op_kind kind;
	uint64_t iova;
	uint64_t last;
	uint64_t addr;
	unsigned int rights;
};

/* struct vhost_iotlb_msg as its fields are, and with its padding, as QEMU sends it. */
#define CVMM_IOTLB_MSG_SIZE_PACKED 26U
#define CVMM_IOTLB_MSG_SIZE 32U

/**
 * cvmm_iotlb_msg_parse() - decode a struct vhost_iotlb_msg of an untrusted peer
 * @data: @size bytes, in the host's byte order, any alignment (peer-controlled)
 * @size: CVMM_IOTLB_MSG_SIZE_PACKED or CVMM_IOTLB_MSG_SIZE; padding is ignored
 * @ret_op: the message, checked as struct cvmm_iotlb_op says
 *
 * A length of 0 is refused, with one exception: QEMU's invalidation of all addresses comes with
 * @iova 0 and a length that does not fit its field, which is 0. It is taken for what is meant, as
 * the kernel's vhost does: to refuse it would leave the device with rights that it has lost.
 *
 * Whether a kind of message may come from this peer is for the caller to say.
 *
 * Return: 0; -EMSGSIZE for another @size; -EINVAL for an unknown type, unknown rights, a length of
 * 0, or a range that ends above 2^64.
 * Spec: vhost-user, "IOTLB message".
 */
CVMM_API int cvmm_iotlb_msg_parse(const void *data, size_t size, struct cvmm_iotlb_op *ret_op,
				  struct cvmm_error *err);

/*
 * The other direction, with padding of zeroes. -EINVAL for a range that the message cannot hold:
 * one that is all addresses, unless it is an invalidation; -EINVAL for an unknown kind or rights.
 */
CVMM_API int cvmm_iotlb_msg_format(const struct cvmm_iotlb_op *op,
				   uint8_t ret_data[CVMM_IOTLB_MSG_SIZE]);

/* ---- the cache ----------------------------------------------------------------------------- */

/**
 * cvmm_iotlb_create() - an empty cache
 * @capacity: mappings that it holds at most, 1 to CVMM_IOTLB_CAPACITY_MAX; all memory is allocated
 *            here, 32 bytes for each
 *
 * Policy where it is full: second chance. The cache goes round its mappings and drops the first
 * that no look-up hit since it last came by. The newest mapping is never dropped in its own favour.
 * Dropping is always safe: it makes a miss, and the mapping is asked for again.
 *
 * Return: 0; -EINVAL; -ENOMEM. Owner: the caller, who destroys it when no thread uses it any more.
 */
CVMM_API int cvmm_iotlb_create(size_t capacity, struct cvmm_iotlb **ret_tlb,
			       struct cvmm_error *err);
CVMM_API void cvmm_iotlb_destroy(struct cvmm_iotlb *tlb); /* NULL is allowed */

/**
 * cvmm_iotlb_set() - add a mapping; replaces what it overlaps, and splits what reaches out of it
 * @iova: start (peer-controlled)
 * @len: bytes, not 0; may reach up to 2^64 (peer-controlled)
 * @addr: what @iova stands for; may reach up to 2^64 (peer-controlled)
 * @rights: CVMM_IOTLB_NO_ACCESS to CVMM_ACCESS_READ_WRITE (peer-controlled)
 *
 * Return: 0 or -EINVAL. Context: any thread that holds no read lock; waits for those who do.
 */
CVMM_API int cvmm_iotlb_set(struct cvmm_iotlb *tlb, uint64_t iova, uint64_t len, uint64_t addr,
			    unsigned int rights);

/* Forget a range, mapped or not, and split what reaches out of it. As cvmm_iotlb_set(). */
CVMM_API int cvmm_iotlb_invalidate(struct cvmm_iotlb *tlb, uint64_t iova, uint64_t len);

/* Forget everything. */
CVMM_API void cvmm_iotlb_invalidate_all(struct cvmm_iotlb *tlb);

/**
 * cvmm_iotlb_apply() - a batch of updates and invalidations, in their order
 * @ops: @count operations, all CVMM_IOTLB_UPDATE or CVMM_IOTLB_INVALIDATE (peer-controlled)
 *
 * All or nothing: everything is checked before the first is done, and no reader sees a state in
 * between. Return: 0; -EINVAL if an operation is of another kind or is not as its type says.
 */
CVMM_API int cvmm_iotlb_apply(struct cvmm_iotlb *tlb, const struct cvmm_iotlb_op *ops, size_t count,
			      struct cvmm_error *err);

/*
 * Keep changes out, for as long as translations are used; briefly. A thread may take it again; it must
 * not change the IOTLB in between.
 */
CVMM_API void cvmm_iotlb_read_lock(struct cvmm_iotlb *tlb);
CVMM_API void cvmm_iotlb_read_unlock(struct cvmm_iotlb *tlb);

/* A part of the range looked up, with what it stands for. */
struct cvmm_iotlb_piece {
	uint64_t iova;
	uint64_t addr;
	uint64_t len_bytes;
};

struct cvmm_iotlb_range {
	uint64_t iova;
	uint64_t len_bytes;
};

/**
 * struct cvmm_iotlb_lookup - where a look-up puts what it finds; all three lists in address order
 * @pieces: room for @piece_max translations; neighbours whose translations are neighbours are one
 * @piece_count: set to how many there are, even where they do not fit
 * @misses: room for @miss_max ranges that are not in the cache
 * @miss_count: as @piece_count
 * @fails: room for @fail_max ranges that lack some of the rights wanted
 * @fail_count: as @piece_count
 */
struct cvmm_iotlb_lookup {
	struct cvmm_iotlb_piece *pieces;
	size_t piece_max;
	size_t piece_count;
	struct cvmm_iotlb_range *misses;
	size_t miss_max;
	size_t miss_count;
	struct cvmm_iotlb_range *fails;
	size_t fail_max;
	size_t fail_count;
};

/**
 * cvmm_iotlb_lookup_locked() - translate a range
 * @iova: start (guest-controlled)
 * @len: bytes; 0 is a range without pieces (guest-controlled)
 * @access: rights that all of it must have
 * @lookup: in: room; out: pieces, misses and fails, which together are the whole range. A list with
 *          no room is counted all the same. Counts are set whatever is returned, entries for 0,
 *          -EACCES and -EAGAIN only.
 *
 * Return: 0 if all is translated; -EFAULT if the range ends above 2^64; -ENOBUFS if a list is too
 * short; -EACCES if there are fails; -EAGAIN if there are none, but misses. Checked in this order.
 * Context: the caller holds the read lock. O(log n) plus the mappings in the range.
 */
CVMM_API int cvmm_iotlb_lookup_locked(struct cvmm_iotlb *tlb, uint64_t iova, uint64_t len,
				      enum cvmm_access access, struct cvmm_iotlb_lookup *lookup);

/* The same with the lock inside: what it finds may be out of date when it returns. */
CVMM_API int cvmm_iotlb_lookup(struct cvmm_iotlb *tlb, uint64_t iova, uint64_t len,
			       enum cvmm_access access, struct cvmm_iotlb_lookup *lookup);

/*
 * Changes whenever a translation that was there may have gone or become another one, by any of the
 * functions above; not by additions, as long as the cache never had to drop a mapping for want of room
 * (from then on, by additions too), and not by dropping. Who
 * keeps translations for longer (of rings, say) looks here. Any thread, without a lock.
 */
CVMM_API uint64_t cvmm_iotlb_generation(const struct cvmm_iotlb *tlb);

/* Mappings that it holds now. */
CVMM_API size_t cvmm_iotlb_count(struct cvmm_iotlb *tlb);

/* As it was created. */
CVMM_API size_t cvmm_iotlb_capacity(const struct cvmm_iotlb *tlb);

/**
 * struct cvmm_iotlb_stats - what happened since the cache was made
 * @hits: look-ups that translated everything
 * @misses: look-ups with at least one miss
 * @access_fails: look-ups with at least one fail
 * @updates: mappings set
 * @invalidations: ranges invalidated, and times everything was
 * @evictions: mappings dropped for want of room
 */
struct cvmm_iotlb_stats {
	uint64_t hits;
	uint64_t misses;
	uint64_t access_fails;
	uint64_t updates;
	uint64_t invalidations;
	uint64_t evictions;
};

/* Any thread; the numbers are of one moment, those of look-ups nearly so. */
CVMM_API void cvmm_iotlb_stats(struct cvmm_iotlb *tlb, struct cvmm_iotlb_stats *ret_stats);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_MEM_IOTLB_H */
