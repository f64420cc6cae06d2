/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What <linux/kvm.h> of newer kernels has and that of Linux 6.1 lacks. The structs have names of
 * our own, so that both can be there. Source of each: include/uapi/linux/kvm.h of the kernel
 * version named.
 */
#ifndef CVMM_KVM_UAPI_H
#define CVMM_KVM_UAPI_H

#include <stddef.h>
#include <stdint.h>

#include <linux/kvm.h>

#include <cvmm/base.h>

/*
 * Where the dirty ring is mapped: 64 on x86 (Linux 5.11), arm64 (6.2) and riscv (6.17). Headers
 * that are older say 0, which is the place of struct kvm_run.
 */
#define CVMM_KVM_DIRTY_LOG_PAGE_OFFSET 64

/* Linux 6.0 and 6.2 */
#ifndef KVM_CAP_DIRTY_LOG_RING_ACQ_REL
#define KVM_CAP_DIRTY_LOG_RING_ACQ_REL 223
#endif
#ifndef KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP
#define KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP 225
#endif

/* Linux 6.8 */
#ifndef KVM_CAP_USER_MEMORY2
#define KVM_CAP_USER_MEMORY2 231
#endif
#ifndef KVM_CAP_MEMORY_FAULT_INFO
#define KVM_CAP_MEMORY_FAULT_INFO 232
#endif
#ifndef KVM_CAP_MEMORY_ATTRIBUTES
#define KVM_CAP_MEMORY_ATTRIBUTES 233
#endif
#ifndef KVM_CAP_GUEST_MEMFD
#define KVM_CAP_GUEST_MEMFD 234
#endif
#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 39
#endif
#ifndef KVM_MEM_GUEST_MEMFD
#define KVM_MEM_GUEST_MEMFD (1UL << 2)
#endif

#ifndef KVM_MEMORY_ATTRIBUTE_PRIVATE
#define KVM_MEMORY_ATTRIBUTE_PRIVATE (1ULL << 3)
#endif
#ifndef KVM_MEMORY_EXIT_FLAG_PRIVATE
#define KVM_MEMORY_EXIT_FLAG_PRIVATE (1ULL << 3)
#endif
#ifndef KVM_CAP_VM_TYPES
#define KVM_CAP_VM_TYPES 235
#endif
#ifndef KVM_X86_SW_PROTECTED_VM
#define KVM_X86_SW_PROTECTED_VM 1 /* arch/x86/include/uapi/asm/kvm.h */
#endif

/* Linux 6.11 */
#ifndef KVM_CAP_PRE_FAULT_MEMORY
#define KVM_CAP_PRE_FAULT_MEMORY 236
#endif

/* Linux 6.18 */
#ifndef KVM_CAP_GUEST_MEMFD_FLAGS
#define KVM_CAP_GUEST_MEMFD_FLAGS 244
#endif
#ifndef GUEST_MEMFD_FLAG_MMAP
#define GUEST_MEMFD_FLAG_MMAP (1ULL << 0)
#endif
#ifndef GUEST_MEMFD_FLAG_INIT_SHARED
#define GUEST_MEMFD_FLAG_INIT_SHARED (1ULL << 1)
#endif

/* struct kvm_userspace_memory_region2, Linux 6.8 */
struct cvmm_kvm_memory_region2 {
	uint32_t slot;
	uint32_t flags;
	uint64_t guest_phys_addr;
	uint64_t memory_size;
	uint64_t userspace_addr;
	uint64_t guest_memfd_offset;
	uint32_t guest_memfd;
	uint32_t pad1;
	uint64_t pad2[14];
};

CVMM_STATIC_ASSERT(sizeof(struct cvmm_kvm_memory_region2) == 160, "linux/kvm.h, 6.8");
CVMM_STATIC_ASSERT(offsetof(struct cvmm_kvm_memory_region2, guest_phys_addr) == 8,
		   "linux/kvm.h, 6.8");
CVMM_STATIC_ASSERT(offsetof(struct cvmm_kvm_memory_region2, userspace_addr) == 24,
		   "linux/kvm.h, 6.8");
CVMM_STATIC_ASSERT(offsetof(struct cvmm_kvm_memory_region2, guest_memfd_offset) == 32,
		   "linux/kvm.h, 6.8");
CVMM_STATIC_ASSERT(offsetof(struct cvmm_kvm_memory_region2, guest_memfd) == 40, "linux/kvm.h, 6.8");

/* struct kvm_memory_attributes, Linux 6.8 */
struct cvmm_kvm_memory_attributes {
	uint64_t address;
	uint64_t size;
	uint64_t attributes;
	uint64_t flags;
};

CVMM_STATIC_ASSERT(sizeof(struct cvmm_kvm_memory_attributes) == 32, "linux/kvm.h, 6.8");
CVMM_STATIC_ASSERT(offsetof(struct cvmm_kvm_memory_attributes, attributes) == 16,
		   "linux/kvm.h, 6.8");

/* struct kvm_create_guest_memfd, Linux 6.8 */
struct cvmm_kvm_create_guest_memfd {
	uint64_t size;
	uint64_t flags;
	uint64_t reserved[6];
};

CVMM_STATIC_ASSERT(sizeof(struct cvmm_kvm_create_guest_memfd) == 64, "linux/kvm.h, 6.8");
CVMM_STATIC_ASSERT(offsetof(struct cvmm_kvm_create_guest_memfd, flags) == 8, "linux/kvm.h, 6.8");

/* struct kvm_pre_fault_memory, Linux 6.11 */
struct cvmm_kvm_pre_fault_memory {
	uint64_t gpa;
	uint64_t size;
	uint64_t flags;
	uint64_t padding[5];
};

CVMM_STATIC_ASSERT(sizeof(struct cvmm_kvm_pre_fault_memory) == 64, "linux/kvm.h, 6.11");
CVMM_STATIC_ASSERT(offsetof(struct cvmm_kvm_pre_fault_memory, flags) == 16, "linux/kvm.h, 6.11");

/* kvm_run.memory_fault, Linux 6.8: at the start of the union of exits. */
struct cvmm_kvm_run_memory_fault {
	uint64_t flags;
	uint64_t gpa;
	uint64_t size;
};

CVMM_STATIC_ASSERT(sizeof(struct cvmm_kvm_run_memory_fault) == 24, "linux/kvm.h, 6.8");
CVMM_STATIC_ASSERT(offsetof(struct cvmm_kvm_run_memory_fault, gpa) == 8, "linux/kvm.h, 6.8");
CVMM_STATIC_ASSERT(offsetof(struct cvmm_kvm_run_memory_fault, size) == 16, "linux/kvm.h, 6.8");
CVMM_STATIC_ASSERT(offsetof(struct kvm_run, hw) == 32, "the union of exits begins here");

#define CVMM_KVM_SET_USER_MEMORY_REGION2 _IOW(KVMIO, 0x49, struct cvmm_kvm_memory_region2)
#define CVMM_KVM_SET_MEMORY_ATTRIBUTES _IOW(KVMIO, 0xd2, struct cvmm_kvm_memory_attributes)
#define CVMM_KVM_CREATE_GUEST_MEMFD _IOWR(KVMIO, 0xd4, struct cvmm_kvm_create_guest_memfd)
#define CVMM_KVM_PRE_FAULT_MEMORY _IOWR(KVMIO, 0xd5, struct cvmm_kvm_pre_fault_memory)

/* Where the build host's header has them, it must agree: the numbers carry the structs' sizes. */
#ifdef KVM_SET_USER_MEMORY_REGION2
CVMM_STATIC_ASSERT(KVM_SET_USER_MEMORY_REGION2 == CVMM_KVM_SET_USER_MEMORY_REGION2, "linux/kvm.h");
CVMM_STATIC_ASSERT(offsetof(struct kvm_userspace_memory_region2, guest_memfd) ==
			   offsetof(struct cvmm_kvm_memory_region2, guest_memfd),
		   "linux/kvm.h");
#endif
#ifdef KVM_SET_MEMORY_ATTRIBUTES
CVMM_STATIC_ASSERT(KVM_SET_MEMORY_ATTRIBUTES == CVMM_KVM_SET_MEMORY_ATTRIBUTES, "linux/kvm.h");
#endif
#ifdef KVM_CREATE_GUEST_MEMFD
CVMM_STATIC_ASSERT(KVM_CREATE_GUEST_MEMFD == CVMM_KVM_CREATE_GUEST_MEMFD, "linux/kvm.h");
#endif
#ifdef KVM_PRE_FAULT_MEMORY
CVMM_STATIC_ASSERT(KVM_PRE_FAULT_MEMORY == CVMM_KVM_PRE_FAULT_MEMORY, "linux/kvm.h");
#endif

#endif /* CVMM_KVM_UAPI_H */
