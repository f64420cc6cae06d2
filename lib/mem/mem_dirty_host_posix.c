// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <sys/mman.h>

#include "mem_dirty_internal.h"

int cvmm_mem_dirty_barrier_prepare(void)
{
	return -ENOSYS;
}

int cvmm_mem_dirty_barrier(void)
{
	return -ENOSYS;
}

bool cvmm_mem_dirty_host_is_huge(int fd)
{
	(void)fd;
	return false;
}

void *cvmm_mem_dirty_host_map(void *at, uint64_t bytes, int flags, int fd, uint64_t offset)
{
	return mmap(at, bytes, PROT_READ | PROT_WRITE, flags, fd, (off_t)offset);
}

/* Mappings cannot be moved: the file is mapped again. */
int cvmm_mem_dirty_host_put(void *words, void **tried, uint64_t bytes, int fd, uint64_t offset)
{
	(void)tried;
	if (cvmm_mem_dirty_host_map(words, bytes, MAP_SHARED | MAP_FIXED, fd, offset) == MAP_FAILED)
		return -errno;
	return 0;
}
