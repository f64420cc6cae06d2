// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Memory slots and dirty logs. */
#include <errno.h>

#include "kvm_internal.h"

#define BITMAP_WORD_PAGES 64U

int cvmm_kvm_vm_set_memory(const struct cvmm_kvm_vm *vm, uint32_t slot, uint32_t flags,
			   uint64_t gpa, uint64_t len_bytes, void *host)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = len_bytes,
		.userspace_addr = (uint64_t)(uintptr_t)host,
	};

	return cvmm_kvm_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
}

int cvmm_kvm_vm_set_memory2(const struct cvmm_kvm_vm *vm,
			    const struct cvmm_kvm_memory_region2 *region)
{
	return kvm_ioctl_in(vm->fd, CVMM_KVM_SET_USER_MEMORY_REGION2, region);
}

int cvmm_kvm_vm_create_guest_memfd(const struct cvmm_kvm_vm *vm, uint64_t len_bytes, uint64_t flags)
{
	struct cvmm_kvm_create_guest_memfd arg = { .size = len_bytes, .flags = flags };

	return kvm_fd_cloexec(cvmm_kvm_ioctl(vm->fd, CVMM_KVM_CREATE_GUEST_MEMFD, &arg));
}

int cvmm_kvm_vm_set_memory_attributes(const struct cvmm_kvm_vm *vm, uint64_t gpa,
				      uint64_t len_bytes, uint64_t attributes)
{
	struct cvmm_kvm_memory_attributes arg = {
		.address = gpa,
		.size = len_bytes,
		.attributes = attributes,
	};

	return cvmm_kvm_ioctl(vm->fd, CVMM_KVM_SET_MEMORY_ATTRIBUTES, &arg);
}

/* Whether a bitmap has room for so many pages, in whole words as the kernel uses them. */
static bool bitmap_fits(uint64_t pages, size_t bitmap_bytes)
{
	return pages <= UINT64_MAX - BITMAP_WORD_PAGES &&
	       (pages + BITMAP_WORD_PAGES - 1) / BITMAP_WORD_PAGES <=
		       bitmap_bytes / sizeof(uint64_t);
}

int cvmm_kvm_vm_get_dirty_log(const struct cvmm_kvm_vm *vm, uint32_t slot, void *bitmap,
			      size_t bitmap_bytes, uint64_t slot_pages)
{
	struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = bitmap };

	if (!bitmap_fits(slot_pages, bitmap_bytes))
		return -ENOBUFS;
	return cvmm_kvm_ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log);
}

int cvmm_kvm_vm_clear_dirty_log(const struct cvmm_kvm_vm *vm, uint32_t slot, uint64_t first_page,
				uint32_t page_count, const void *bitmap, size_t bitmap_bytes)
{
	struct kvm_clear_dirty_log log = {
		.slot = slot,
		.first_page = first_page,
		.num_pages = page_count,
		.dirty_bitmap = (void *)(uintptr_t)bitmap,
	};

	if (!bitmap_fits(page_count, bitmap_bytes))
		return -ENOBUFS;
	return cvmm_kvm_ioctl(vm->fd, KVM_CLEAR_DIRTY_LOG, &log);
}
