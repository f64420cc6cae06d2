// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <linux/magic.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "mem_dirty_internal.h"

static int membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0) < 0 ? -errno : 0;
}

int cvmm_mem_dirty_barrier_prepare(void)
{
	return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
}

int cvmm_mem_dirty_barrier(void)
{
	return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

bool cvmm_mem_dirty_host_is_huge(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && fs.f_type == HUGETLBFS_MAGIC;
}

void *cvmm_mem_dirty_host_map(void *at, uint64_t bytes, int flags, int fd, uint64_t offset)
{
#ifdef __SANITIZE_THREAD__
	/* ThreadSanitizer takes a mapping for a plain write of all its bytes, if it hears of it. */
	return (void *)syscall(SYS_mmap, at, bytes, PROT_READ | PROT_WRITE, flags, fd, offset);
#else
	return mmap(at, bytes, PROT_READ | PROT_WRITE, flags, fd, (off_t)offset);
#endif
}

int cvmm_mem_dirty_host_put(void *words, void **tried, uint64_t bytes, int fd, uint64_t offset)
{
	(void)fd;
	(void)offset;
	/* Not mremap(), for the same reason as above. */
	if (syscall(SYS_mremap, *tried, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, words) == -1)
		return -errno;
	*tried = NULL;
	return 0;
}
