// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a memfd is memory with a descriptor, so that a vhost-user back-end or a
 * device emulated elsewhere can map it as well. Its size is sealed, because a peer that could
 * shrink it would kill this process with SIGBUS at the next access.
 *
 * Linux only.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem_internal.h"

/* Linux 6.3, include/uapi/linux/memfd.h: never executable, and sealed so. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define MEMFD_NAME "cvmm-ram"
#define MEMFD_SEALS (F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)

static int memfd_create_noexec(unsigned int flags)
{
	int fd = memfd_create(MEMFD_NAME, flags | MFD_NOEXEC_SEAL);

	/* Kernels before 6.3 refuse the flag. */
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(MEMFD_NAME, flags);
	return fd < 0 ? -errno : fd;
}

static int hugetlb_create(const struct cvmm_mem_config *config, struct cvmm_error *err)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB;
	char text[MEM_SIZE_TEXT];
	int fd;

	flags |= config->hugetlb_log2 << MFD_HUGE_SHIFT;
	fd = memfd_create_noexec(flags);
	if (fd >= 0)
		return fd;
	if (!config->hugetlb_log2)
		return cvmm_fail(err, fd, "cannot create memory of huge pages: %s", strerror(-fd));
	return cvmm_fail(err, fd,
			 "cannot create memory of huge pages of %s: %s; see the sizes that this "
			 "machine has in /sys/kernel/mm/hugepages",
			 cvmm_mem_size_text(UINT64_C(1) << config->hugetlb_log2, text),
			 strerror(-fd));
}

/* hugetlbfs tells its page size as the block size: the only way to learn the default. */
static int hugetlb_check_len(int fd, uint64_t len_bytes, struct cvmm_error *err)
{
	char text[MEM_SIZE_TEXT];
	struct stat st;

	if (fstat(fd, &st))
		return cvmm_fail(err, -errno, "cannot examine huge pages: %s", strerror(errno));
	if (st.st_blksize > 0 && len_bytes % (uint64_t)st.st_blksize)
		return cvmm_fail(err, -EINVAL, "size is not a multiple of the huge page size %s",
				 cvmm_mem_size_text((uint64_t)st.st_blksize, text));
	return 0;
}

static int set_size(int fd, uint64_t len_bytes, struct cvmm_error *err)
{
	if (len_bytes > INT64_MAX)
		return cvmm_fail(err, -EFBIG, "no file can be that large; ask for less memory");
	if (ftruncate(fd, (off_t)len_bytes))
		return cvmm_fail(err, -errno, "cannot set the size of the memory file: %s",
				 strerror(errno));
	if (fcntl(fd, F_ADD_SEALS, MEMFD_SEALS))
		return cvmm_fail(err, -errno, "cannot seal the size of the memory file: %s",
				 strerror(errno));
	return 0;
}

int cvmm_mem_memfd_open(const struct cvmm_mem_config *config, int *ret_fd, struct cvmm_error *err)
{
	int fd cvmm_cleanup(cvmm_close_fd) = -1;
	int ret;

	if (config->kind == CVMM_MEM_HUGETLB) {
		fd = hugetlb_create(config, err);
		if (fd < 0)
			return fd;
		ret = hugetlb_check_len(fd, config->len_bytes, err);
		if (ret)
			return ret;
	} else {
		fd = memfd_create_noexec(MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (fd < 0)
			return cvmm_fail(err, fd, "cannot create a memory file: %s", strerror(-fd));
	}
	ret = set_size(fd, config->len_bytes, err);
	if (ret)
		return ret;
	*ret_fd = cvmm_take_fd(&fd);
	return 0;
}
