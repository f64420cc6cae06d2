// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Post-copy: userfaultfd(2). */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vhost_user_backend_internal.h"

/* Linux 5.11 and 6.1, include/uapi/linux/userfaultfd.h. */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

/*
 * One that serves faults of system calls, too, if we may have it; else one for faults of our own
 * code, which is most of what touches memory here.
 */
static int open_uffd(int device)
{
	int own cvmm_cleanup(cvmm_close_fd) = -1;
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		return fd;
	if (device <= 0)
		device = own = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (device >= 0) {
		fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
		if (fd >= 0)
			return fd;
	}
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	return fd < 0 ? -errno : fd;
}

int vu_postcopy_open(int device, struct cvmm_error *err)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = open_uffd(device);

	if (fd < 0)
		return cvmm_fail(err, fd, "userfaultfd cannot be used: %s", strerror(-fd));
	if (ioctl(fd, UFFDIO_API, &api)) {
		int r = -errno;

		cvmm_close_fd(&fd);
		return cvmm_fail(err, r, "userfaultfd has another interface: %s", strerror(-r));
	}
	return fd;
}

bool vu_postcopy_possible(int device)
{
	int fd = vu_postcopy_open(device, NULL);
	bool possible = fd >= 0;

	cvmm_close_fd(&fd);
	return possible;
}

static struct uffdio_range range_of(const struct vu_region *region)
{
	return (struct uffdio_range){ .start = (uintptr_t)region->host,
				      .len = region->wire.len_bytes };
}

int vu_postcopy_register(struct cvmm_vhost_user_backend *b, const struct vu_region *region,
			 struct cvmm_error *err)
{
	struct uffdio_register reg = { .range = range_of(region),
				       .mode = UFFDIO_REGISTER_MODE_MISSING };

	/* A huge page would be filled in as a whole. */
	(void)madvise(region->host, region->wire.len_bytes, MADV_NOHUGEPAGE);
	if (ioctl(b->postcopy.uffd, UFFDIO_REGISTER, &reg))
		return cvmm_fail(err, -errno, "a memory region cannot be watched: %s",
				 strerror(errno));
	if (!(reg.ioctls & (uint64_t)1 << _UFFDIO_COPY))
		return cvmm_fail(err, -EOPNOTSUPP, "pages of a memory region cannot be filled in");
	return 0;
}

void vu_postcopy_unregister(struct cvmm_vhost_user_backend *b, const struct vu_region *region)
{
	struct uffdio_range range = range_of(region);

	if (b->postcopy.listening)
		(void)ioctl(b->postcopy.uffd, UFFDIO_UNREGISTER, &range);
}
