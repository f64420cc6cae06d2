// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* What x86 guests see that know what they run on: Hyper-V, Xen, and encrypted memory. */
#include "kvm_internal.h"

#if defined(__x86_64__)

/* ---- Hyper-V ------------------------------------------------------------------------- */

int cvmm_kvm_get_supported_hv_cpuid(const struct cvmm_kvm *kvm, struct kvm_cpuid2 *cpuid)
{
	return cvmm_kvm_ioctl(kvm->fd, KVM_GET_SUPPORTED_HV_CPUID, cpuid);
}

int cvmm_kvm_vcpu_get_supported_hv_cpuid(const struct cvmm_kvm_vcpu *vcpu, struct kvm_cpuid2 *cpuid)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_GET_SUPPORTED_HV_CPUID, cpuid);
}

static int hyperv_eventfd(const struct cvmm_kvm_vm *vm, uint32_t connection, int fd, uint32_t flags)
{
	struct kvm_hyperv_eventfd event = { .conn_id = connection, .fd = fd, .flags = flags };

	return cvmm_kvm_ioctl(vm->fd, KVM_HYPERV_EVENTFD, &event);
}

int cvmm_kvm_vm_hyperv_eventfd(const struct cvmm_kvm_vm *vm, uint32_t connection, int fd)
{
	return hyperv_eventfd(vm, connection, fd, 0);
}

int cvmm_kvm_vm_hyperv_eventfd_remove(const struct cvmm_kvm_vm *vm, uint32_t connection)
{
	return hyperv_eventfd(vm, connection, -1, KVM_HYPERV_EVENTFD_DEASSIGN);
}

/* ---- Xen ----------------------------------------------------------------------------- */

int cvmm_kvm_vm_set_xen_config(const struct cvmm_kvm_vm *vm,
			       const struct kvm_xen_hvm_config *config)
{
	return kvm_ioctl_in(vm->fd, KVM_XEN_HVM_CONFIG, config);
}

int cvmm_kvm_vm_get_xen_attr(const struct cvmm_kvm_vm *vm, struct kvm_xen_hvm_attr *attr)
{
	return cvmm_kvm_ioctl(vm->fd, KVM_XEN_HVM_GET_ATTR, attr);
}

int cvmm_kvm_vm_set_xen_attr(const struct cvmm_kvm_vm *vm, const struct kvm_xen_hvm_attr *attr)
{
	return kvm_ioctl_in(vm->fd, KVM_XEN_HVM_SET_ATTR, attr);
}

int cvmm_kvm_vcpu_get_xen_attr(const struct cvmm_kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *attr)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_XEN_VCPU_GET_ATTR, attr);
}

int cvmm_kvm_vcpu_set_xen_attr(const struct cvmm_kvm_vcpu *vcpu,
			       const struct kvm_xen_vcpu_attr *attr)
{
	return kvm_ioctl_in(vcpu->fd, KVM_XEN_VCPU_SET_ATTR, attr);
}

/* ---- encrypted memory ---------------------------------------------------------------- */

int cvmm_kvm_vm_encrypt_op(const struct cvmm_kvm_vm *vm, void *command)
{
	return cvmm_kvm_ioctl(vm->fd, KVM_MEMORY_ENCRYPT_OP, command);
}

int cvmm_kvm_vcpu_encrypt_op(const struct cvmm_kvm_vcpu *vcpu, void *command)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_MEMORY_ENCRYPT_OP, command);
}

static int encrypted_region(const struct cvmm_kvm_vm *vm, unsigned long request, const void *host,
			    uint64_t len_bytes)
{
	struct kvm_enc_region region = { .addr = (uint64_t)(uintptr_t)host, .size = len_bytes };

	return cvmm_kvm_ioctl(vm->fd, request, &region);
}

int cvmm_kvm_vm_encrypt_add(const struct cvmm_kvm_vm *vm, const void *host, uint64_t len_bytes)
{
	return encrypted_region(vm, KVM_MEMORY_ENCRYPT_REG_REGION, host, len_bytes);
}

int cvmm_kvm_vm_encrypt_remove(const struct cvmm_kvm_vm *vm, const void *host, uint64_t len_bytes)
{
	return encrypted_region(vm, KVM_MEMORY_ENCRYPT_UNREG_REGION, host, len_bytes);
}

#endif /* __x86_64__ */
