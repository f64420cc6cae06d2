// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Where the host offers nothing of what mem_host_linux.c does. */
#include <errno.h>

#include "mem_internal.h"

int cvmm_mem_apply_flags(const struct cvmm_mem_config *config, const struct cvmm_mem_region *region,
			 struct cvmm_error *err)
{
	(void)region;
	if (!(config->flags & (CVMM_MEM_PREFAULT | CVMM_MEM_NUMA_BIND)))
		return 0;
	return cvmm_fail(err, -ENOTSUP, "this system can neither prefault nor bind to NUMA nodes");
}

int cvmm_mem_discard(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len)
{
	int ret = cvmm_mem_check(mem, gpa, len, CVMM_ACCESS_WRITE);

	return ret || !len ? ret : -ENOTSUP;
}
