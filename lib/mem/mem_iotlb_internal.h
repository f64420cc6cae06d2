/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_MEM_IOTLB_INTERNAL_H
#define CVMM_MEM_IOTLB_INTERNAL_H

#include <cvmm/mem_iotlb.h>

/* What a change may need above the capacity before it drops something: two remainders. */
#define IOTLB_SPARE 2U

#define IOTLB_NONE SIZE_MAX

/**
 * struct iotlb_entry - one mapping
 * @first: first IOVA
 * @last: last IOVA, so that a mapping may end at 2^64
 * @addr: what @first stands for
 * @rights: granted
 * @used: hit since the hand came by last; atomic, set by look-ups
 */
struct iotlb_entry {
	uint64_t first;
	uint64_t last;
	uint64_t addr;
	uint32_t rights;
	uint32_t used;
};

/**
 * struct iotlb_table - the mappings, without locks
 * @entries: room for @capacity + IOTLB_SPARE; sorted by address, disjoint
 * @count: mappings in it; not above @capacity between changes
 * @hand: where the search for one to drop goes on
 * @evictions: how many were dropped
 */
struct iotlb_table {
	struct iotlb_entry *entries;
	size_t count;
	size_t capacity;
	size_t hand;
	uint64_t evictions;
};

/* A look-up hit an entry. */
static inline void cvmm_mem_iotlb_used(struct iotlb_entry *entry)
{
	/* Not written to when it is set: look-ups would fight for the cache line. */
	if (!__atomic_load_n(&entry->used, __ATOMIC_RELAXED))
		__atomic_store_n(&entry->used, 1, __ATOMIC_RELAXED);
}

/* Number of entries wholly below @iova: the index of the first that may hold it. */
size_t cvmm_mem_iotlb_lower(const struct iotlb_table *table, uint64_t iova);

/* Both return whether a mapping was there that is now gone or another one. Never fail. */
bool cvmm_mem_iotlb_insert(struct iotlb_table *table, const struct iotlb_entry *entry);
bool cvmm_mem_iotlb_cut(struct iotlb_table *table, uint64_t first, uint64_t last);

/* Sorts [first, last] into the lists of @lookup; see cvmm_iotlb_lookup_locked(). */
void cvmm_mem_iotlb_find(struct iotlb_table *table, uint64_t first, uint64_t last,
			 unsigned int access, struct cvmm_iotlb_lookup *lookup);

/*
 * The start of [first, last]: one piece, not joined with what follows. Return: 0; -EAGAIN if @first is
 * not in the cache; -EACCES if it lacks rights. Under the read lock.
 */
int cvmm_mem_iotlb_next(struct cvmm_iotlb *tlb, uint64_t first, uint64_t last,
			enum cvmm_access access, struct cvmm_iotlb_piece *ret_piece);

/* Whether an operation is as its type says. Return: 0 or -EINVAL. */
int cvmm_mem_iotlb_op_check(const struct cvmm_iotlb_op *op, struct cvmm_error *err);

#endif /* CVMM_MEM_IOTLB_INTERNAL_H */
