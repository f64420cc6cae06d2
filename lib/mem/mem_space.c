// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: the current map is a pointer under a mutex that is held for the few
 * instructions of taking a reference. Device threads do not come here for each request: they cache
 * a map with the generation they read *before* getting it, and get anew when the generation has
 * moved. Read in that order, a publish in between makes the cache look too old, never too new:
 *
 *	uint64_t now = cvmm_mem_space_generation(space);
 *
 *	if (now != cached_generation) {
 *		cvmm_mem_unref(cached);
 *		cached = cvmm_mem_space_get(space);
 *		cached_generation = now;
 *	}
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "mem_internal.h"

struct cvmm_mem_space {
	uint64_t generation; /* written under the lock, read without */
	pthread_mutex_t lock;
	struct cvmm_mem *current;
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
	space->current = mem;
	__atomic_store_n(&space->generation, space->generation + 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&space->lock);
	/* Outside of the lock: it may unmap gigabytes. */
	cvmm_mem_unref(old);
}

uint64_t cvmm_mem_space_generation(const struct cvmm_mem_space *space)
{
	return __atomic_load_n(&space->generation, __ATOMIC_ACQUIRE);
}
