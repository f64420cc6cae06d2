// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: the current map is a pointer with a generation that grows with each publish. A
 * reader that comes often has a cache (struct cvmm_mem_cache): while the generation is what it was, its
 * map is current, and looking costs one load.
 *
 * Else it takes a reference to the new map, and must not be stalled by a publisher that was interrupted.
 * So it takes no lock: it writes down which map it is about to refer to (its hazard), looks whether
 * that one is still current, and then takes the reference.
 *
 * A publisher keeps its reference to the map that it replaced, as retired, for as long as anybody else
 * has one or is about to: a map whose only reference is ours, and that no hazard names, can be reached by
 * nobody. So it is a publisher that unmaps what is no longer used, never a reader in the midst of its
 * work. Neither waits for the other.
 *
 * The lock is for publishers, for readers without a cache, and for the list of caches.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "mem_internal.h"

#define RETIRED_FIRST 4

struct cvmm_mem_space {
	uint64_t generation; /* written under the lock, read without */
	pthread_mutex_t lock;
	struct cvmm_mem *current; /* written under the lock, read without by caches */
	struct cvmm_mem_cache *caches;
	struct cvmm_mem **retired;
	size_t retired_count, retired_room;
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
	for (size_t i = 0; i < space->retired_count; i++) {
		__atomic_fetch_sub(&space->retired[i]->retired, 1, __ATOMIC_ACQ_REL);
		cvmm_mem_unref(space->retired[i]);
	}
	free(space->retired);
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

/* Whether nobody but us can reach a map that is no longer current. */
static bool is_unused(const struct cvmm_mem_space *space, const struct cvmm_mem *mem)
{
	/* First the hazards: one that is gone has left a reference behind. */
	for (struct cvmm_mem_cache *cache = space->caches; cache; cache = cache->next)
		if (__atomic_load_n(&cache->hazard, __ATOMIC_SEQ_CST) == mem)
			return false;
	/* Other spaces may have retired it, too: each lets go of its own reference. */
	return __atomic_load_n(&mem->refs, __ATOMIC_ACQUIRE) ==
	       __atomic_load_n(&mem->retired, __ATOMIC_ACQUIRE);
}

/* An unused map, taken off the list, or NULL. Under the lock. */
static struct cvmm_mem *take_unused(struct cvmm_mem_space *space)
{
	for (size_t i = 0; i < space->retired_count; i++) {
		struct cvmm_mem *mem = space->retired[i];

		if (is_unused(space, mem)) {
			space->retired[i] = space->retired[--space->retired_count];
			__atomic_fetch_sub(&mem->retired, 1, __ATOMIC_ACQ_REL);
			return mem;
		}
	}
	return NULL;
}

void cvmm_mem_space_reclaim(struct cvmm_mem_space *space)
{
	struct cvmm_mem *unused;

	/* Each outside of the lock: it may unmap gigabytes. */
	do {
		pthread_mutex_lock(&space->lock);
		unused = take_unused(space);
		pthread_mutex_unlock(&space->lock);
		cvmm_mem_unref(unused);
	} while (unused);
}

/* Room for one more retired map. Return: 0 or -ENOMEM. */
static int make_room(struct cvmm_mem_space *space)
{
	size_t room = space->retired_room ? 2 * space->retired_room : RETIRED_FIRST;
	struct cvmm_mem **grown;

	if (space->retired_count < space->retired_room)
		return 0;
	grown = realloc(space->retired, room * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	space->retired = grown;
	space->retired_room = room;
	return 0;
}

/* Puts the current map on the list. Return: a reference that is one too many, or NULL. */
static struct cvmm_mem *retire_current(struct cvmm_mem_space *space)
{
	/* A map that comes back again and again is there once. */
	for (size_t i = 0; i < space->retired_count; i++)
		if (space->retired[i] == space->current)
			return space->current;
	space->retired[space->retired_count++] = space->current;
	__atomic_fetch_add(&space->current->retired, 1, __ATOMIC_ACQ_REL);
	return NULL;
}

int cvmm_mem_space_publish(struct cvmm_mem_space *space, struct cvmm_mem *mem)
{
	struct cvmm_mem *spare = NULL, *unused = NULL;
	int ret;

	pthread_mutex_lock(&space->lock);
	ret = make_room(space);
	if (!ret) {
		spare = retire_current(space);
		__atomic_store_n(&space->current, cvmm_mem_ref(mem), __ATOMIC_SEQ_CST);
		__atomic_store_n(&space->generation, space->generation + 1, __ATOMIC_RELEASE);
		unused = take_unused(space);
	}
	pthread_mutex_unlock(&space->lock);
	cvmm_mem_unref(spare);
	cvmm_mem_unref(unused);
	if (unused)
		cvmm_mem_space_reclaim(space);
	return ret;
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
