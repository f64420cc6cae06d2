/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_MEM_DIRTY_INTERNAL_H
#define CVMM_MEM_DIRTY_INTERNAL_H

#include <pthread.h>

#include <cvmm/mem_dirty.h>

/**
 * struct dirty_bitmap - all of a bitmap
 * @front: what markers see. First, so that a pointer to it is a pointer to this.
 * @refs: references; atomic
 * @is_log: of cvmm_dirty_create_log()
 * @symmetric: markers have a fence of their own, for there is no process-wide one
 * @lock: held to change what follows and @front.state
 * @enabled: what cvmm_dirty_set_enabled() said last
 * @pages: pages that can be marked when enabled; written under the lock, read without
 * @mapped_bytes: length of the mapping at @front.words
 * @log_pages_max: most pages that a log of this bitmap ever had: a late marker may believe in them
 * @touched_bytes: start of @front.words that may be written to; what is behind it never was in use
 * @dropped: see cvmm_dirty_dropped(); atomic
 */
struct dirty_bitmap {
	struct cvmm_dirty front;
	unsigned int refs;
	bool is_log;
	bool symmetric;
	pthread_mutex_t lock;
	bool enabled;
	uint64_t pages;
	uint64_t mapped_bytes;
	uint64_t log_pages_max;
	uint64_t touched_bytes;
	uint64_t dropped;
};

static inline struct dirty_bitmap *dirty_bitmap_of(const struct cvmm_dirty *dirty)
{
	return CVMM_CONTAINER_OF(dirty, struct dirty_bitmap, front);
}

static inline uint64_t dirty_pages(const struct cvmm_dirty *dirty)
{
	return __atomic_load_n(&dirty_bitmap_of(dirty)->pages, __ATOMIC_ACQUIRE);
}

/* Tells markers how many pages there are. The lock must be held. */
void cvmm_mem_dirty_publish(struct dirty_bitmap *bitmap, uint64_t pages, bool enabled);

/*
 * When it returns, each thread of this process has passed a full memory barrier: what it wrote
 * before is visible, what it reads after is fresh. Return: 0 or negative errno.
 */
int cvmm_mem_dirty_fence(const struct dirty_bitmap *bitmap);

/* The system's part of that. -ENOSYS where there is no such thing. */
int cvmm_mem_dirty_barrier_prepare(void);
int cvmm_mem_dirty_barrier(void);

/* ---- what the system does for logs (mem_dirty_host_linux.c, mem_dirty_host_posix.c) ----------------- */

/* Whether the file has huge pages: its mappings begin and end at those, which the words do not. */
bool cvmm_mem_dirty_host_is_huge(int fd);

/* mmap() for reading and writing, also where threads are marking. */
void *cvmm_mem_dirty_host_map(void *at, uint64_t bytes, int flags, int fd, uint64_t offset);

/*
 * Puts @bytes of a file, which are mapped at *tried, in place of what is mapped at @words: in one step,
 * as seen by other threads. What becomes part of @words is no longer at *tried, which is NULL then.
 * Return: 0 or negative errno.
 */
int cvmm_mem_dirty_host_put(void *words, void **tried, uint64_t bytes, int fd, uint64_t offset);

/* This thread's own full fence. */
static inline void dirty_full_fence(void)
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

#endif /* CVMM_MEM_DIRTY_INTERNAL_H */
