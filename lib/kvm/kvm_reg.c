// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Registers by number (KVM_GET_ONE_REG and its like), and the virtual CPUs of arm64, which have no
 * other.
 *
 * A number says how wide its register is. The kernel reads or writes that many bytes wherever the
 * caller points, so the caller's size is held against it here.
 */
#include <errno.h>

#include "kvm_internal.h"

#define REG_BYTES_MAX 256U /* KVM_REG_SIZE_U2048 */

size_t cvmm_kvm_reg_bytes(uint64_t id)
{
	size_t bytes = (size_t)1 << ((id & KVM_REG_SIZE_MASK) >> KVM_REG_SIZE_SHIFT);

	return bytes <= REG_BYTES_MAX ? bytes : 0;
}

static int one_reg(const struct cvmm_kvm_vcpu *vcpu, unsigned long request, uint64_t id,
		   const void *value, size_t value_bytes)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uint64_t)(uintptr_t)value };

	if (!value_bytes || value_bytes != cvmm_kvm_reg_bytes(id))
		return -EINVAL;
	return cvmm_kvm_ioctl(vcpu->fd, request, &reg);
}

int cvmm_kvm_vcpu_get_reg(const struct cvmm_kvm_vcpu *vcpu, uint64_t id, void *ret_value,
			  size_t value_bytes)
{
	return one_reg(vcpu, KVM_GET_ONE_REG, id, ret_value, value_bytes);
}

int cvmm_kvm_vcpu_set_reg(const struct cvmm_kvm_vcpu *vcpu, uint64_t id, const void *value,
			  size_t value_bytes)
{
	return one_reg(vcpu, KVM_SET_ONE_REG, id, value, value_bytes);
}

int cvmm_kvm_vcpu_get_reg_list(const struct cvmm_kvm_vcpu *vcpu, struct kvm_reg_list *list)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_GET_REG_LIST, list);
}

int cvmm_kvm_reg_list_new(uint32_t count, struct kvm_reg_list **ret_list)
{
	void *list;
	int ret = kvm_list_new(sizeof(**ret_list), sizeof((*ret_list)->reg[0]), count,
			       CVMM_KVM_REG_LIST_MAX, &list);

	if (ret)
		return ret;
	*ret_list = list;
	(*ret_list)->n = count;
	return 0;
}

#if defined(__aarch64__)

int cvmm_kvm_vm_get_preferred_target(const struct cvmm_kvm_vm *vm, struct kvm_vcpu_init *ret_init)
{
	return cvmm_kvm_ioctl(vm->fd, KVM_ARM_PREFERRED_TARGET, ret_init);
}

int cvmm_kvm_vcpu_init(const struct cvmm_kvm_vcpu *vcpu, const struct kvm_vcpu_init *init)
{
	return kvm_ioctl_in(vcpu->fd, KVM_ARM_VCPU_INIT, init);
}

int cvmm_kvm_vcpu_finalize(const struct cvmm_kvm_vcpu *vcpu, int feature)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_ARM_VCPU_FINALIZE, &feature);
}

#endif /* __aarch64__ */
