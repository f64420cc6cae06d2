// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * What other systems can do. POSIX has no lock that belongs to an open file description, which two virtual
 * machines in one process need, but flock() is everywhere.
 */
#include <errno.h>
#include <sys/file.h>
#include <unistd.h>

#include "blk_internal.h"

/* The end of a block device is its size, where the system has such a thing. The position stays. */
int blk_host_probe(int fd, struct blk_device *ret_device)
{
	off_t position = lseek(fd, 0, SEEK_CUR), end = lseek(fd, 0, SEEK_END);

	if (position < 0 || end < 0 || lseek(fd, position, SEEK_SET) != position)
		return -errno;
	if (!end)
		return -EOPNOTSUPP;
	*ret_device = (struct blk_device){
		.bytes = (uint64_t)end,
		.block_bytes = CVMM_BLK_SECTOR_BYTES,
	};
	return 0;
}

int blk_host_discard_device(int fd, uint64_t offset, uint64_t len_bytes)
{
	(void)fd;
	(void)offset;
	(void)len_bytes;
	return -EOPNOTSUPP;
}

int blk_host_punch(int fd, uint64_t offset, uint64_t len_bytes)
{
	(void)fd;
	(void)offset;
	(void)len_bytes;
	return -EOPNOTSUPP;
}

int blk_host_zero(int fd, uint64_t offset, uint64_t len_bytes)
{
	(void)fd;
	(void)offset;
	(void)len_bytes;
	return -EOPNOTSUPP;
}

int blk_host_lock(int fd, bool exclusive)
{
	return flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) ? -errno : 0;
}

void blk_host_unlock(int fd)
{
	(void)flock(fd, LOCK_UN);
}

/* There is no common way. */
void blk_host_name_thread(pthread_t thread, const char *name)
{
	(void)thread;
	(void)name;
}
