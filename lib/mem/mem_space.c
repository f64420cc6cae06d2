// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: the current map is a pointer with a generation that grows with each publish. A
 * reader that comes often has a cache (struct cvmm_mem_cache): while the generation is what it was, its
 * map is current, and looking costs one load.
 *
 * Else it takes a reference to the new map, and must not be stalled by a publisher that was interrupted.
 * So it takes no lock: it writes down which map it is about to refer to (its hazard), looks whether
 * that one is still current, and then takes the reference. A publisher that has put another map in
 * place gives up its own reference to the old one only when no reader's hazard names it. It may have to
 * wait for a reader in the midst of these few instructions; readers wait for nobody, and look again
 * only if yet another map was published meanwhile.
 *
 * The lock is for publishers, and for the list of caches.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "mem_internal.h"

struct cvmm_mem_space {
	uint64_t generation; /* written under the lock, read without */
	pthread_mutex_t lock;
	struct cvmm_mem *current; /* written under the lock, read without by caches */
	struct cvmm_mem_cache *caches;
};

int cvmm_mem_space_create(struct cvmm_mem *mem, struct cvmm_mem_space **ret_space)
{
	struct cvmm_mem_space *space = calloc(1, sizeof(*space));
	int ret;

	if (!space)
		return -ENOMEM;
	ret = pthread_mutex_init(&space->lock, NULL);
	if (ret) {
		free(space);
		return -ret;
	}
	space->generation = 1; /* so that a zeroed cache is never current */
	space->current = cvmm_mem_ref(mem);
	*ret_space = space;
	return 0;
}

void cvmm_mem_space_destroy(struct cvmm_mem_space *space)
{
	if (!space)
		return;
	cvmm_mem_unref(space->current);
	pthread_mutex_destroy(&space->lock);
	free(space);
}

struct cvmm_mem *cvmm_mem_space_get(struct cvmm_mem_space *space)
{
	struct cvmm_mem *mem;

	pthread_mutex_lock(&space->lock);
	mem = cvmm_mem_ref(space->current);
	pthread_mutex_unlock(&space->lock);
	return mem;
}

void cvmm_mem_space_publish(struct cvmm_mem_space *space, struct cvmm_mem *mem)
{
	struct cvmm_mem *old;

	cvmm_mem_ref(mem);
	pthread_mutex_lock(&space->lock);
	old = space->current;
	__atomic_store_n(&space->current, mem, __ATOMIC_SEQ_CST);
	__atomic_store_n(&space->generation, space->generation + 1, __ATOMIC_RELEASE);
	for (struct cvmm_mem_cache *cache = space->caches; cache; cache = cache->next)
		while (__atomic_load_n(&cache->hazard, __ATOMIC_SEQ_CST) == old && old != mem)
			sched_yield();
	pthread_mutex_unlock(&space->lock);
	/* Outside of the lock: it may unmap gigabytes. */
	cvmm_mem_unref(old);
}

uint64_t cvmm_mem_space_generation(const struct cvmm_mem_space *space)
{
	return __atomic_load_n(&space->generation, __ATOMIC_ACQUIRE);
}

/* ---- caches -------------------------------------------------------------------------------------- */

void cvmm_mem_cache_init(struct cvmm_mem_cache *cache, struct cvmm_mem_space *space)
{
	*cache = (struct cvmm_mem_cache){ .published = &space->generation, .space = space };
	pthread_mutex_lock(&space->lock);
	cache->next = space->caches;
	space->caches = cache;
	pthread_mutex_unlock(&space->lock);
}

void cvmm_mem_cache_fini(struct cvmm_mem_cache *cache)
{
	struct cvmm_mem_space *space = cache->space;
	struct cvmm_mem_cache **link;

	if (!space)
		return;
	pthread_mutex_lock(&space->lock);
	for (link = &space->caches; *link && *link != cache; link = &(*link)->next)
		;
	if (*link)
		*link = cache->next;
	pthread_mutex_unlock(&space->lock);
	cvmm_mem_unref(cache->mem);
	*cache = (struct cvmm_mem_cache){ 0 };
}

/* A new reference to the current map, without waiting for anybody. */
static struct cvmm_mem *take_current(struct cvmm_mem_cache *cache)
{
	struct cvmm_mem_space *space = cache->space;
	struct cvmm_mem *seen = __atomic_load_n(&space->current, __ATOMIC_SEQ_CST);
	struct cvmm_mem *before;

	do {
		before = seen;
		__atomic_store_n(&cache->hazard, before, __ATOMIC_SEQ_CST);
		seen = __atomic_load_n(&space->current, __ATOMIC_SEQ_CST);
	} while (seen != before);
	cvmm_mem_ref(seen);
	__atomic_store_n(&cache->hazard, NULL, __ATOMIC_SEQ_CST);
	return seen;
}

struct cvmm_mem *cvmm_mem_cache_refresh(struct cvmm_mem_cache *cache)
{
	/* Before the map, so that a publish in between makes it look too old, never too new. */
	uint64_t now = cvmm_mem_space_generation(cache->space);
	struct cvmm_mem *mem = take_current(cache);

	cvmm_mem_unref(cache->mem);
	cache->mem = mem;
	cache->generation = now;
	return mem;
}
