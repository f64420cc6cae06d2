// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * What POSIX lets us do with the pages of a region. Wishes are not known there, which is no error.
 */
#include <errno.h>

#include "mem_internal.h"

/* Touches each page without changing it, in one thread, however many were asked for. */
static void prefault(const struct cvmm_mem_region *region)
{
	bool read_only = region->kind == CVMM_MEM_FILE && region->access == CVMM_ACCESS_READ;

	for (uint64_t at = 0; at < region->len_bytes; at += region->page_bytes)
		if (read_only)
			(void)__atomic_load_n(&region->host[at], __ATOMIC_RELAXED);
		else
			__atomic_fetch_or(&region->host[at], 0, __ATOMIC_RELAXED);
}

int cvmm_mem_apply_flags(const struct cvmm_mem_config *config, const struct cvmm_mem_region *region,
			 struct cvmm_error *err)
{
	if (config->flags & CVMM_MEM_NUMA_BIND)
		return cvmm_fail(err, -ENOTSUP, "memory cannot be bound to NUMA node %u here",
				 config->numa_node);
	if (config->flags & CVMM_MEM_PREFAULT)
		prefault(region);
	return 0;
}

int cvmm_mem_discard(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len)
{
	int ret = cvmm_mem_check(mem, gpa, len, CVMM_ACCESS_WRITE);

	return ret || !len ? ret : -ENOTSUP;
}
