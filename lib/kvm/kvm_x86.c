// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* What only x86 has. */
#include <errno.h>

#include "kvm_internal.h"

#if defined(__x86_64__)

/* ---- lists ----------------------------------------------------------------------------------- */

int cvmm_kvm_cpuid_new(uint32_t count, struct kvm_cpuid2 **ret_cpuid)
{
	void *list;
	int ret = kvm_list_new(sizeof(**ret_cpuid), sizeof((*ret_cpuid)->entries[0]), count,
			       CVMM_KVM_CPUID_MAX, &list);

	if (ret)
		return ret;
	*ret_cpuid = list;
	(*ret_cpuid)->nent = count;
	return 0;
}

int cvmm_kvm_msrs_new(uint32_t count, struct kvm_msrs **ret_msrs)
{
	void *list;
	int ret = kvm_list_new(sizeof(**ret_msrs), sizeof((*ret_msrs)->entries[0]), count,
			       CVMM_KVM_MSRS_MAX, &list);

	if (ret)
		return ret;
	*ret_msrs = list;
	(*ret_msrs)->nmsrs = count;
	return 0;
}

int cvmm_kvm_msr_list_new(uint32_t count, struct kvm_msr_list **ret_list)
{
	void *list;
	int ret = kvm_list_new(sizeof(**ret_list), sizeof((*ret_list)->indices[0]), count,
			       CVMM_KVM_MSR_LIST_MAX, &list);

	if (ret)
		return ret;
	*ret_list = list;
	(*ret_list)->nmsrs = count;
	return 0;
}

/* ---- the system ---------------------------------------------------------------------- */

int cvmm_kvm_get_supported_cpuid(const struct cvmm_kvm *kvm, struct kvm_cpuid2 *cpuid)
{
	return cvmm_kvm_ioctl(kvm->fd, KVM_GET_SUPPORTED_CPUID, cpuid);
}

int cvmm_kvm_get_emulated_cpuid(const struct cvmm_kvm *kvm, struct kvm_cpuid2 *cpuid)
{
	return cvmm_kvm_ioctl(kvm->fd, KVM_GET_EMULATED_CPUID, cpuid);
}

int cvmm_kvm_get_msr_index_list(const struct cvmm_kvm *kvm, struct kvm_msr_list *list)
{
	return cvmm_kvm_ioctl(kvm->fd, KVM_GET_MSR_INDEX_LIST, list);
}

int cvmm_kvm_get_msr_feature_index_list(const struct cvmm_kvm *kvm, struct kvm_msr_list *list)
{
	return cvmm_kvm_ioctl(kvm->fd, KVM_GET_MSR_FEATURE_INDEX_LIST, list);
}

int cvmm_kvm_get_msrs(const struct cvmm_kvm *kvm, struct kvm_msrs *msrs)
{
	return cvmm_kvm_ioctl(kvm->fd, KVM_GET_MSRS, msrs);
}

/* ---- the machine --------------------------------------------------------------------- */

int cvmm_kvm_vm_set_tss_addr(const struct cvmm_kvm_vm *vm, uint64_t gpa)
{
	return kvm_ioctl_value(vm->fd, KVM_SET_TSS_ADDR, gpa);
}

int cvmm_kvm_vm_set_identity_map_addr(const struct cvmm_kvm_vm *vm, uint64_t gpa)
{
	return cvmm_kvm_ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &gpa);
}

int cvmm_kvm_vm_create_irqchip(const struct cvmm_kvm_vm *vm)
{
	return cvmm_kvm_ioctl(vm->fd, KVM_CREATE_IRQCHIP, NULL);
}

int cvmm_kvm_vm_enable_split_irqchip(const struct cvmm_kvm_vm *vm, uint32_t ioapic_pins)
{
	return cvmm_kvm_vm_enable_cap(vm, KVM_CAP_SPLIT_IRQCHIP, ioapic_pins, 0);
}

int cvmm_kvm_vm_get_irqchip(const struct cvmm_kvm_vm *vm, struct kvm_irqchip *chip)
{
	return cvmm_kvm_ioctl(vm->fd, KVM_GET_IRQCHIP, chip);
}

int cvmm_kvm_vm_set_irqchip(const struct cvmm_kvm_vm *vm, const struct kvm_irqchip *chip)
{
	return kvm_ioctl_in(vm->fd, KVM_SET_IRQCHIP, chip);
}

int cvmm_kvm_vm_create_pit2(const struct cvmm_kvm_vm *vm, const struct kvm_pit_config *config)
{
	return kvm_ioctl_in(vm->fd, KVM_CREATE_PIT2, config);
}

int cvmm_kvm_vm_get_pit2(const struct cvmm_kvm_vm *vm, struct kvm_pit_state2 *ret_state)
{
	return cvmm_kvm_ioctl(vm->fd, KVM_GET_PIT2, ret_state);
}

int cvmm_kvm_vm_set_pit2(const struct cvmm_kvm_vm *vm, const struct kvm_pit_state2 *state)
{
	return kvm_ioctl_in(vm->fd, KVM_SET_PIT2, state);
}

int cvmm_kvm_vm_get_clock(const struct cvmm_kvm_vm *vm, struct kvm_clock_data *ret_clock)
{
	return cvmm_kvm_ioctl(vm->fd, KVM_GET_CLOCK, ret_clock);
}

int cvmm_kvm_vm_set_clock(const struct cvmm_kvm_vm *vm, const struct kvm_clock_data *clock)
{
	return kvm_ioctl_in(vm->fd, KVM_SET_CLOCK, clock);
}

int cvmm_kvm_vm_set_msr_filter(const struct cvmm_kvm_vm *vm, const struct kvm_msr_filter *filter)
{
	return kvm_ioctl_in(vm->fd, KVM_X86_SET_MSR_FILTER, filter);
}

int cvmm_kvm_vm_set_boot_cpu(const struct cvmm_kvm_vm *vm, unsigned int id)
{
	return kvm_ioctl_value(vm->fd, KVM_SET_BOOT_CPU_ID, id);
}

int cvmm_kvm_vm_set_pmu_event_filter(const struct cvmm_kvm_vm *vm,
				     const struct kvm_pmu_event_filter *filter)
{
	return kvm_ioctl_in(vm->fd, KVM_SET_PMU_EVENT_FILTER, filter);
}

/* ---- virtual CPUs -------------------------------------------------------------------- */

int cvmm_kvm_vcpu_set_cpuid2(const struct cvmm_kvm_vcpu *vcpu, const struct kvm_cpuid2 *cpuid)
{
	return kvm_ioctl_in(vcpu->fd, KVM_SET_CPUID2, cpuid);
}

int cvmm_kvm_vcpu_get_cpuid2(const struct cvmm_kvm_vcpu *vcpu, struct kvm_cpuid2 *cpuid)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_GET_CPUID2, cpuid);
}

int cvmm_kvm_vcpu_get_msrs(const struct cvmm_kvm_vcpu *vcpu, struct kvm_msrs *msrs)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_GET_MSRS, msrs);
}

int cvmm_kvm_vcpu_set_msrs(const struct cvmm_kvm_vcpu *vcpu, const struct kvm_msrs *msrs)
{
	return kvm_ioctl_in(vcpu->fd, KVM_SET_MSRS, msrs);
}

int cvmm_kvm_vcpu_get_sregs2(const struct cvmm_kvm_vcpu *vcpu, struct kvm_sregs2 *ret_sregs)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_GET_SREGS2, ret_sregs);
}

int cvmm_kvm_vcpu_set_sregs2(const struct cvmm_kvm_vcpu *vcpu, const struct kvm_sregs2 *sregs)
{
	return kvm_ioctl_in(vcpu->fd, KVM_SET_SREGS2, sregs);
}

int cvmm_kvm_vcpu_get_lapic(const struct cvmm_kvm_vcpu *vcpu, struct kvm_lapic_state *ret_lapic)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_GET_LAPIC, ret_lapic);
}

int cvmm_kvm_vcpu_set_lapic(const struct cvmm_kvm_vcpu *vcpu, const struct kvm_lapic_state *lapic)
{
	return kvm_ioctl_in(vcpu->fd, KVM_SET_LAPIC, lapic);
}

int cvmm_kvm_vcpu_get_xsave(const struct cvmm_kvm_vcpu *vcpu, struct kvm_xsave *ret_xsave)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_GET_XSAVE, ret_xsave);
}

int cvmm_kvm_vm_xsave_bytes(const struct cvmm_kvm_vm *vm)
{
	int ret = cvmm_kvm_vm_check_extension(vm, KVM_CAP_XSAVE2);

	return ret >= 0 && ret < (int)sizeof(struct kvm_xsave) ? (int)sizeof(struct kvm_xsave)
							       : ret;
}

int cvmm_kvm_vcpu_get_xsave2(const struct cvmm_kvm_vcpu *vcpu, void *area)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_GET_XSAVE2, area);
}

int cvmm_kvm_vcpu_set_xsave(const struct cvmm_kvm_vcpu *vcpu, const void *area)
{
	return kvm_ioctl_in(vcpu->fd, KVM_SET_XSAVE, area);
}

int cvmm_kvm_vcpu_get_xcrs(const struct cvmm_kvm_vcpu *vcpu, struct kvm_xcrs *ret_xcrs)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_GET_XCRS, ret_xcrs);
}

int cvmm_kvm_vcpu_set_xcrs(const struct cvmm_kvm_vcpu *vcpu, const struct kvm_xcrs *xcrs)
{
	return kvm_ioctl_in(vcpu->fd, KVM_SET_XCRS, xcrs);
}

int cvmm_kvm_vcpu_get_debugregs(const struct cvmm_kvm_vcpu *vcpu, struct kvm_debugregs *ret_regs)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_GET_DEBUGREGS, ret_regs);
}

int cvmm_kvm_vcpu_set_debugregs(const struct cvmm_kvm_vcpu *vcpu, const struct kvm_debugregs *regs)
{
	return kvm_ioctl_in(vcpu->fd, KVM_SET_DEBUGREGS, regs);
}

int cvmm_kvm_vcpu_get_tsc_khz(const struct cvmm_kvm_vcpu *vcpu)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_GET_TSC_KHZ, NULL);
}

int cvmm_kvm_vcpu_set_tsc_khz(const struct cvmm_kvm_vcpu *vcpu, uint32_t khz)
{
	return kvm_ioctl_value(vcpu->fd, KVM_SET_TSC_KHZ, khz);
}

int cvmm_kvm_vcpu_kvmclock_ctrl(const struct cvmm_kvm_vcpu *vcpu)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, NULL);
}

int cvmm_kvm_vcpu_interrupt(const struct cvmm_kvm_vcpu *vcpu, uint32_t vector)
{
	struct kvm_interrupt interrupt = { .irq = vector };

	return cvmm_kvm_ioctl(vcpu->fd, KVM_INTERRUPT, &interrupt);
}

int cvmm_kvm_vcpu_nmi(const struct cvmm_kvm_vcpu *vcpu)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_NMI, NULL);
}

int cvmm_kvm_vcpu_smi(const struct cvmm_kvm_vcpu *vcpu)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_SMI, NULL);
}

int cvmm_kvm_vcpu_get_nested_state(const struct cvmm_kvm_vcpu *vcpu, struct kvm_nested_state *state)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_GET_NESTED_STATE, state);
}

int cvmm_kvm_vcpu_set_nested_state(const struct cvmm_kvm_vcpu *vcpu,
				   const struct kvm_nested_state *state)
{
	return kvm_ioctl_in(vcpu->fd, KVM_SET_NESTED_STATE, state);
}

#endif /* __x86_64__ */
