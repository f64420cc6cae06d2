/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_KVM_INTERNAL_H
#define CVMM_KVM_INTERNAL_H

#include <errno.h>
#include <fcntl.h>

#include <cvmm/kvm.h>

/* For ioctls whose argument is a number. */
static inline int kvm_ioctl_value(int fd, unsigned long request, unsigned long value)
{
	return cvmm_kvm_ioctl(fd, request, (void *)(uintptr_t)value);
}

/* For ioctls that only read their argument. */
static inline int kvm_ioctl_in(int fd, unsigned long request, const void *arg)
{
	return cvmm_kvm_ioctl(fd, request, (void *)(uintptr_t)arg);
}

/*
 * Close a descriptor in programs we start. KVM does so by itself for machines, virtual CPUs and
 * devices, but not for guest memory, nor, in older kernels, for statistics. @fd: or negative errno,
 * which is passed on.
 */
static inline int kvm_fd_cloexec(int fd)
{
	int ret;

	if (fd < 0 || !fcntl(fd, F_SETFD, FD_CLOEXEC))
		return fd;
	ret = -errno;
	cvmm_close_fd(&fd);
	return ret;
}

/*
 * A zeroed struct of @header_bytes with a flexible array of @count entries at its end. Return: 0;
 * -E2BIG for more than @max entries, -ENOMEM. Owner: the caller frees *ret_list.
 */
int kvm_list_new(size_t header_bytes, size_t entry_bytes, uint32_t count, uint32_t max,
		 void **ret_list);

#endif /* CVMM_KVM_INTERNAL_H */
