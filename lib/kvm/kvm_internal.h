/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_KVM_INTERNAL_H
#define CVMM_KVM_INTERNAL_H

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

#endif /* CVMM_KVM_INTERNAL_H */
