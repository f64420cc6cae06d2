// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Block device ioctls, fallocate() modes and open file description locks: Linux has them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include "blk_internal.h"

int blk_host_probe(int fd, struct blk_device *ret_device)
{
	unsigned int physical = 0;
	int logical = 0, locked = 0;
	uint64_t bytes;

	if (ioctl(fd, BLKGETSIZE64, &bytes) || ioctl(fd, BLKSSZGET, &logical))
		return -errno;
	*ret_device = (struct blk_device){
		.bytes = bytes,
		.block_bytes = (uint32_t)logical,
		.physical_bytes = ioctl(fd, BLKPBSZGET, &physical) ? 0 : physical,
		.read_only = !ioctl(fd, BLKROGET, &locked) && locked,
	};
	return 0;
}

int blk_host_discard_device(int fd, uint64_t offset, uint64_t len_bytes)
{
	uint64_t range[2] = { offset, len_bytes };

	return ioctl(fd, BLKDISCARD, range) ? -errno : 0;
}

static int allocate(int fd, int mode, uint64_t offset, uint64_t len_bytes)
{
	int r;

	do
		r = fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len_bytes);
	while (r && errno == EINTR);
	return r ? -errno : 0;
}

int blk_host_punch(int fd, uint64_t offset, uint64_t len_bytes)
{
	return allocate(fd, FALLOC_FL_PUNCH_HOLE, offset, len_bytes);
}

int blk_host_zero(int fd, uint64_t offset, uint64_t len_bytes)
{
	return allocate(fd, FALLOC_FL_ZERO_RANGE, offset, len_bytes);
}

int blk_host_lock(int fd, bool exclusive)
{
	struct flock lock = { .l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_OFD_SETLK, &lock) ? -errno : 0;
}

void blk_host_unlock(int fd)
{
	struct flock unlock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	(void)fcntl(fd, F_OFD_SETLK, &unlock);
}

void blk_host_name_thread(pthread_t thread, const char *name)
{
	(void)pthread_setname_np(thread, name);
}
