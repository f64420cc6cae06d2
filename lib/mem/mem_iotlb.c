// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a table (mem_iotlb_table.c) under a read-write lock.
 *
 * Why not an immutable snapshot, as guest memory has? Guest memory changes when memory is plugged;
 * this changes with every miss, and with a strict IOMMU driver with every request, so that a copy
 * for each change would be most of the work. Above all, an invalidation promises that nobody uses
 * the old translation any more when it returns: a snapshot keeps it alive for as long as some
 * reader wants, while a lock held for the time of the accesses is exactly that promise.
 *
 * The lock lets readers in while there are readers, so that a thread may take it again: a device holds
 * it for a batch of accesses, each of which takes it, too. But then readers that take turns could keep
 * an invalidation waiting for ever. So there is a gate before the lock: the outermost taking of it
 * passes through, and a writer keeps it closed while it waits.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "mem_iotlb_internal.h"

/**
 * struct cvmm_iotlb - the cache
 * @gate: held by a writer until it has the lock, and for a moment by readers on their way in
 * @generation: written under the lock, read without
 * @hits: and the two that follow: atomic, look-ups count in them under the read lock
 * @updates: and the next: written under the lock
 */
struct cvmm_iotlb {
	pthread_mutex_t gate;
	pthread_rwlock_t lock;
	struct iotlb_table table;
	uint64_t generation;
	uint64_t hits;
	uint64_t misses;
	uint64_t access_fails;
	uint64_t updates;
	uint64_t invalidations;
};

static int init_locks(struct cvmm_iotlb *tlb)
{
	int ret = pthread_mutex_init(&tlb->gate, NULL);

	if (ret)
		return -ret;
	/* Readers first is what it is by default. */
	ret = pthread_rwlock_init(&tlb->lock, NULL);
	if (ret)
		pthread_mutex_destroy(&tlb->gate);
	return -ret;
}

/* Locks fail only if they are misused: locked twice by one thread, say. */
static void write_lock(struct cvmm_iotlb *tlb)
{
	CVMM_BUG_ON(pthread_mutex_lock(&tlb->gate));
	CVMM_BUG_ON(pthread_rwlock_wrlock(&tlb->lock));
	CVMM_BUG_ON(pthread_mutex_unlock(&tlb->gate));
}

static void unlock(struct cvmm_iotlb *tlb)
{
	CVMM_BUG_ON(pthread_rwlock_unlock(&tlb->lock));
}

/* Read locks that this thread holds, of whatever IOTLB: inside of one the gate must not be waited for. */
static _Thread_local unsigned int held;

void cvmm_iotlb_read_lock(struct cvmm_iotlb *tlb)
{
	bool is_outermost = !held;

	if (is_outermost)
		CVMM_BUG_ON(pthread_mutex_lock(&tlb->gate));
	CVMM_BUG_ON(pthread_rwlock_rdlock(&tlb->lock));
	if (is_outermost)
		CVMM_BUG_ON(pthread_mutex_unlock(&tlb->gate));
	held++;
}

void cvmm_iotlb_read_unlock(struct cvmm_iotlb *tlb)
{
	held--;
	CVMM_BUG_ON(pthread_rwlock_unlock(&tlb->lock));
}

int cvmm_iotlb_create(size_t capacity, struct cvmm_iotlb **ret_tlb, struct cvmm_error *err)
{
	struct cvmm_iotlb *tlb;
	int ret;

	if (!capacity || capacity > CVMM_IOTLB_CAPACITY_MAX)
		return cvmm_fail(err, -EINVAL, "IOTLB of %zu mappings; must be 1 to %u", capacity,
				 CVMM_IOTLB_CAPACITY_MAX);
	tlb = calloc(1, sizeof(*tlb));
	if (tlb)
		tlb->table.entries = calloc(capacity + IOTLB_SPARE, sizeof(tlb->table.entries[0]));
	ret = tlb && tlb->table.entries ? init_locks(tlb) : -ENOMEM;
	if (ret) {
		if (tlb)
			free(tlb->table.entries);
		free(tlb);
		return cvmm_fail(err, ret, "IOTLB of %zu mappings: %s", capacity, strerror(-ret));
	}
	tlb->table.capacity = capacity;
	tlb->generation = 1; /* so that a zeroed copy is never current */
	*ret_tlb = tlb;
	return 0;
}

void cvmm_iotlb_destroy(struct cvmm_iotlb *tlb)
{
	if (!tlb)
		return;
	pthread_rwlock_destroy(&tlb->lock);
	pthread_mutex_destroy(&tlb->gate);
	free(tlb->table.entries);
	free(tlb);
}

/* ---- changes ------------------------------------------------------------------------------- */

static void next_generation(struct cvmm_iotlb *tlb)
{
	__atomic_store_n(&tlb->generation, tlb->generation + 1, __ATOMIC_RELEASE);
}

/* Does one checked operation. The lock must be held. */
static void apply_one(struct cvmm_iotlb *tlb, const struct cvmm_iotlb_op *op)
{
	struct iotlb_entry entry = {
		.first = op->iova,
		.last = op->last,
		.addr = op->addr,
		.rights = op->rights,
		.used = 1,
	};
	bool changed;

	if (op->kind == CVMM_IOTLB_UPDATE) {
		/* What was dropped once may come back as another translation, and still be in use. */
		changed = cvmm_mem_iotlb_insert(&tlb->table, &entry) || tlb->table.evictions;
		tlb->updates++;
	} else {
		cvmm_mem_iotlb_cut(&tlb->table, op->iova, op->last);
		/* What it is about may have been dropped before, and still be in use. */
		changed = true;
		tlb->invalidations++;
	}
	if (changed)
		next_generation(tlb);
}

int cvmm_iotlb_apply(struct cvmm_iotlb *tlb, const struct cvmm_iotlb_op *ops, size_t count,
		     struct cvmm_error *err)
{
	for (size_t i = 0; i < count; i++) {
		int ret = cvmm_mem_iotlb_op_check(&ops[i], err);

		if (!ret && ops[i].kind != CVMM_IOTLB_UPDATE &&
		    ops[i].kind != CVMM_IOTLB_INVALIDATE)
			ret = cvmm_fail(err, -EINVAL,
					"IOTLB: message of type %d is neither update nor "
					"invalidation",
					(int)ops[i].kind);
		if (ret) {
			cvmm_error_prefix(err, "operation %zu of %zu", i + 1, count);
			return ret;
		}
	}
	write_lock(tlb);
	for (size_t i = 0; i < count; i++)
		apply_one(tlb, &ops[i]);
	unlock(tlb);
	return 0;
}

/* Sets the last address. Return: 0, or -EINVAL for no length or a range that ends above 2^64. */
static int op_set_len(struct cvmm_iotlb_op *op, uint64_t len)
{
	if (!len || !cvmm_add_u64(op->iova, len - 1, &op->last))
		return -EINVAL;
	return 0;
}

int cvmm_iotlb_set(struct cvmm_iotlb *tlb, uint64_t iova, uint64_t len, uint64_t addr,
		   unsigned int rights)
{
	struct cvmm_iotlb_op op = {
		.kind = CVMM_IOTLB_UPDATE,
		.iova = iova,
		.addr = addr,
		.rights = rights,
	};
	int ret = op_set_len(&op, len);

	return ret ? ret : cvmm_iotlb_apply(tlb, &op, 1, NULL);
}

int cvmm_iotlb_invalidate(struct cvmm_iotlb *tlb, uint64_t iova, uint64_t len)
{
	struct cvmm_iotlb_op op = { .kind = CVMM_IOTLB_INVALIDATE, .iova = iova };
	int ret = op_set_len(&op, len);

	return ret ? ret : cvmm_iotlb_apply(tlb, &op, 1, NULL);
}

void cvmm_iotlb_invalidate_all(struct cvmm_iotlb *tlb)
{
	static const struct cvmm_iotlb_op all = {
		.kind = CVMM_IOTLB_INVALIDATE,
		.last = UINT64_MAX,
	};

	write_lock(tlb);
	apply_one(tlb, &all);
	unlock(tlb);
}

/* ---- looking up ---------------------------------------------------------------------------- */

static void count_one(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

int cvmm_iotlb_lookup_locked(struct cvmm_iotlb *tlb, uint64_t iova, uint64_t len,
			     enum cvmm_access access, struct cvmm_iotlb_lookup *lookup)
{
	uint64_t last;

	lookup->piece_count = lookup->miss_count = lookup->fail_count = 0;
	if (!len)
		return 0;
	if (!cvmm_add_u64(iova, len - 1, &last))
		return -EFAULT;
	cvmm_mem_iotlb_find(&tlb->table, iova, last, access, lookup);
	if (!lookup->miss_count && !lookup->fail_count)
		count_one(&tlb->hits);
	if (lookup->miss_count)
		count_one(&tlb->misses);
	if (lookup->fail_count)
		count_one(&tlb->access_fails);
	if (lookup->piece_count > lookup->piece_max || lookup->miss_count > lookup->miss_max ||
	    lookup->fail_count > lookup->fail_max)
		return -ENOBUFS;
	if (lookup->fail_count)
		return -EACCES;
	return lookup->miss_count ? -EAGAIN : 0;
}

int cvmm_mem_iotlb_next(struct cvmm_iotlb *tlb, uint64_t first, uint64_t last,
			enum cvmm_access access, struct cvmm_iotlb_piece *ret_piece)
{
	size_t at = cvmm_mem_iotlb_lower(&tlb->table, first);
	struct iotlb_entry *entry = &tlb->table.entries[at];

	if (at == tlb->table.count || entry->first > first)
		return -EAGAIN;
	if ((unsigned int)access & ~entry->rights)
		return -EACCES;
	cvmm_mem_iotlb_used(entry);
	*ret_piece = (struct cvmm_iotlb_piece){
		.iova = first,
		.addr = entry->addr + (first - entry->first),
		.len_bytes = (entry->last < last ? entry->last : last) - first + 1,
	};
	return 0;
}

int cvmm_iotlb_lookup(struct cvmm_iotlb *tlb, uint64_t iova, uint64_t len, enum cvmm_access access,
		      struct cvmm_iotlb_lookup *lookup)
{
	int ret;

	cvmm_iotlb_read_lock(tlb);
	ret = cvmm_iotlb_lookup_locked(tlb, iova, len, access, lookup);
	cvmm_iotlb_read_unlock(tlb);
	return ret;
}

/* ---- what is known about it ---------------------------------------------------------------- */

uint64_t cvmm_iotlb_generation(const struct cvmm_iotlb *tlb)
{
	return __atomic_load_n(&tlb->generation, __ATOMIC_ACQUIRE);
}

size_t cvmm_iotlb_count(struct cvmm_iotlb *tlb)
{
	size_t count;

	cvmm_iotlb_read_lock(tlb);
	count = tlb->table.count;
	cvmm_iotlb_read_unlock(tlb);
	return count;
}

size_t cvmm_iotlb_capacity(const struct cvmm_iotlb *tlb)
{
	return tlb->table.capacity;
}

void cvmm_iotlb_stats(struct cvmm_iotlb *tlb, struct cvmm_iotlb_stats *ret_stats)
{
	cvmm_iotlb_read_lock(tlb);
	*ret_stats = (struct cvmm_iotlb_stats){
		.hits = __atomic_load_n(&tlb->hits, __ATOMIC_RELAXED),
		.misses = __atomic_load_n(&tlb->misses, __ATOMIC_RELAXED),
		.access_fails = __atomic_load_n(&tlb->access_fails, __ATOMIC_RELAXED),
		.updates = tlb->updates,
		.invalidations = tlb->invalidations,
		.evictions = tlb->table.evictions,
	};
	cvmm_iotlb_read_unlock(tlb);
}
