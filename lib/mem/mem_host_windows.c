// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* What Windows does with the pages of a region. Wishes that it does not know are no errors. */
#include <errno.h>

#include "mem_internal.h"

/* Writes to each page without changing it. One thread: what a page costs here is not its zeroing. */
static void prefault(const struct cvmm_mem_region *region)
{
	for (uint64_t at = 0; at < region->len_bytes; at += region->page_bytes)
		(void)__atomic_fetch_add(region->host + at, 0, __ATOMIC_RELAXED);
}

int cvmm_mem_apply_flags(const struct cvmm_mem_config *config, const struct cvmm_mem_region *region,
			 struct cvmm_error *err)
{
	if (config->flags & CVMM_MEM_NUMA_BIND)
		return cvmm_fail(err, -ENOTSUP, "memory cannot be bound to NUMA nodes on Windows");
	/* What cannot be written to comes from its file, and is there when it is. */
	if ((config->flags & CVMM_MEM_PREFAULT) && region->access != CVMM_ACCESS_READ)
		prefault(region);
	return 0;
}

int cvmm_mem_discard(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len)
{
	/*
	 * Committed pages can be freed only by a step in which they are not there, which a guest that
	 * runs would see, or so that they hold anything afterwards, even what was there before.
	 */
	int ret = cvmm_mem_check(mem, gpa, len, CVMM_ACCESS_WRITE);

	return ret || !len ? ret : -ENOTSUP;
}
