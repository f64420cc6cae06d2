// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Running the guest, and reading why it stopped.
 *
 * The run area comes from the kernel, but parts of it follow from what the guest does, and a replay
 * or a test may hand in any bytes: what points into the area is checked against its size.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "kvm_internal.h"

#ifndef EHWPOISON
#define EHWPOISON 133
#endif

#define MMIO_BYTES_MAX 8U
#define EMULATION_WORDS 3U /* flags, and two words with the instruction */

static int decode_io(struct kvm_run *run, size_t run_bytes, struct cvmm_kvm_exit *exit)
{
	uint64_t offset = run->io.data_offset;
	uint32_t count = run->io.count;
	uint8_t direction = run->io.direction;
	uint8_t size = run->io.size;

	if ((direction != KVM_EXIT_IO_IN && direction != KVM_EXIT_IO_OUT) ||
	    (size != 1 && size != 2 && size != 4) ||
	    !cvmm_range_inside(offset, (uint64_t)count * size, run_bytes))
		return -EPROTO;
	exit->type = CVMM_KVM_EXIT_IO;
	exit->io.data = (uint8_t *)run + offset;
	exit->io.count = count;
	exit->io.port = run->io.port;
	exit->io.size_bytes = size;
	exit->io.is_write = direction == KVM_EXIT_IO_OUT;
	return 0;
}

static int decode_mmio(struct kvm_run *run, struct cvmm_kvm_exit *exit)
{
	uint32_t len = run->mmio.len;

	if (!len || len > MMIO_BYTES_MAX)
		return -EPROTO;
	exit->type = CVMM_KVM_EXIT_MMIO;
	exit->mmio.gpa = run->mmio.phys_addr;
	exit->mmio.data = run->mmio.data;
	exit->mmio.len_bytes = len;
	exit->mmio.is_write = run->mmio.is_write;
	return 0;
}

/* The instruction that KVM could not emulate, if it says which. */
static void find_instruction(struct kvm_run *run, struct cvmm_kvm_exit *exit)
{
	uint8_t size = run->emulation_failure.insn_size;

	if (exit->internal_error.suberror != KVM_INTERNAL_ERROR_EMULATION ||
	    exit->internal_error.data_count < EMULATION_WORDS ||
	    !(run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) ||
	    size > sizeof(run->emulation_failure.insn_bytes))
		return;
	exit->internal_error.insn = run->emulation_failure.insn_bytes;
	exit->internal_error.insn_bytes = size;
}

static int decode_internal_error(struct kvm_run *run, struct cvmm_kvm_exit *exit)
{
	uint32_t count = run->internal.ndata;

	if (count > CVMM_ARRAY_SIZE(run->internal.data))
		return -EPROTO;
	exit->type = CVMM_KVM_EXIT_INTERNAL_ERROR;
	exit->internal_error.suberror = run->internal.suberror;
	exit->internal_error.data_count = count;
	exit->internal_error.data = (const uint64_t *)run->internal.data;
	find_instruction(run, exit);
	return 0;
}

static int decode_system_event(struct kvm_run *run, struct cvmm_kvm_exit *exit)
{
	uint32_t count = run->system_event.ndata;

	if (count > CVMM_ARRAY_SIZE(run->system_event.data))
		return -EPROTO;
	exit->type = CVMM_KVM_EXIT_SYSTEM_EVENT;
	exit->system_event.type = run->system_event.type;
	exit->system_event.data_count = count;
	exit->system_event.data = (const uint64_t *)run->system_event.data;
	return 0;
}

static void decode_msr(struct kvm_run *run, struct cvmm_kvm_exit *exit)
{
	exit->type = exit->reason == KVM_EXIT_X86_RDMSR ? CVMM_KVM_EXIT_RDMSR : CVMM_KVM_EXIT_WRMSR;
	exit->msr.index = run->msr.index;
	exit->msr.reason = run->msr.reason;
	exit->msr.data = (uint64_t *)&run->msr.data;
	exit->msr.error = &run->msr.error;
}

static void decode_memory_fault(struct kvm_run *run, struct cvmm_kvm_exit *exit)
{
	struct cvmm_kvm_run_memory_fault fault;

	memcpy(&fault, &run->hw, sizeof(fault));
	exit->type = CVMM_KVM_EXIT_MEMORY_FAULT;
	exit->memory_fault.flags = fault.flags;
	exit->memory_fault.gpa = fault.gpa;
	exit->memory_fault.len_bytes = fault.size;
}

/* Those of interfaces that KVM leaves to us: Hyper-V, Xen, and what other architectures have. */
static void decode_delegated(struct kvm_run *run, struct cvmm_kvm_exit *exit)
{
	switch (exit->reason) {
	case KVM_EXIT_HYPERV:
		exit->type = CVMM_KVM_EXIT_HYPERV;
		exit->hyperv = &run->hyperv;
		break;
	case KVM_EXIT_XEN:
		exit->type = CVMM_KVM_EXIT_XEN;
		exit->xen = &run->xen;
		break;
	case KVM_EXIT_TPR_ACCESS:
		exit->type = CVMM_KVM_EXIT_TPR_ACCESS;
		exit->tpr_access.rip = run->tpr_access.rip;
		exit->tpr_access.is_write = run->tpr_access.is_write != 0;
		break;
	case KVM_EXIT_SET_TPR:
		exit->type = CVMM_KVM_EXIT_SET_TPR;
		break;
	case KVM_EXIT_ARM_NISV:
		exit->type = CVMM_KVM_EXIT_ARM_NISV;
		exit->arm_nisv.esr_iss = run->arm_nisv.esr_iss;
		exit->arm_nisv.gpa = run->arm_nisv.fault_ipa;
		break;
	case KVM_EXIT_RISCV_SBI:
		exit->type = CVMM_KVM_EXIT_RISCV_SBI;
		exit->riscv_sbi.extension = run->riscv_sbi.extension_id;
		exit->riscv_sbi.function = run->riscv_sbi.function_id;
		exit->riscv_sbi.args = run->riscv_sbi.args;
		exit->riscv_sbi.ret = run->riscv_sbi.ret;
		break;
	default:
		exit->type = CVMM_KVM_EXIT_OTHER;
	}
}

/* Those that carry little or nothing. */
static void decode_simple(struct kvm_run *run, struct cvmm_kvm_exit *exit)
{
	switch (exit->reason) {
	case KVM_EXIT_UNKNOWN:
		exit->type = CVMM_KVM_EXIT_UNKNOWN;
		exit->unknown.hardware_reason = run->hw.hardware_exit_reason;
		break;
	case KVM_EXIT_HLT:
		exit->type = CVMM_KVM_EXIT_HLT;
		break;
	case KVM_EXIT_SHUTDOWN:
		exit->type = CVMM_KVM_EXIT_SHUTDOWN;
		break;
	case KVM_EXIT_INTR:
		exit->type = CVMM_KVM_EXIT_INTERRUPTED;
		break;
	case KVM_EXIT_FAIL_ENTRY:
		exit->type = CVMM_KVM_EXIT_FAIL_ENTRY;
		exit->fail_entry.reason = run->fail_entry.hardware_entry_failure_reason;
		exit->fail_entry.cpu = run->fail_entry.cpu;
		break;
	case KVM_EXIT_DEBUG:
		exit->type = CVMM_KVM_EXIT_DEBUG;
		exit->debug = &run->debug.arch;
		break;
	case KVM_EXIT_HYPERCALL:
		exit->type = CVMM_KVM_EXIT_HYPERCALL;
		exit->hypercall.number = run->hypercall.nr;
		exit->hypercall.args = (const uint64_t *)run->hypercall.args;
		exit->hypercall.ret = (uint64_t *)&run->hypercall.ret;
		break;
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		exit->type = CVMM_KVM_EXIT_IRQ_WINDOW;
		break;
	case KVM_EXIT_IOAPIC_EOI:
		exit->type = CVMM_KVM_EXIT_IOAPIC_EOI;
		exit->ioapic_eoi.vector = run->eoi.vector;
		break;
	case KVM_EXIT_DIRTY_RING_FULL:
		exit->type = CVMM_KVM_EXIT_DIRTY_RING_FULL;
		break;
	case KVM_EXIT_NOTIFY:
		exit->type = CVMM_KVM_EXIT_NOTIFY;
		exit->notify.flags = run->notify.flags;
		break;
	case KVM_EXIT_X86_BUS_LOCK:
		exit->type = CVMM_KVM_EXIT_BUS_LOCK;
		break;
	default:
		decode_delegated(run, exit);
	}
}

int cvmm_kvm_exit_decode(struct kvm_run *run, size_t run_bytes, int run_errno,
			 struct cvmm_kvm_exit *ret_exit)
{
	struct cvmm_kvm_exit exit = { 0 };
	int ret = 0;

	if (run_bytes < sizeof(*run))
		return -EPROTO;
	exit.reason = run->exit_reason;
	exit.flags = run->flags;
	if (run_errno == -EINTR || run_errno == -EAGAIN) {
		exit.type = CVMM_KVM_EXIT_INTERRUPTED;
		exit.reason = KVM_EXIT_INTR;
		*ret_exit = exit;
		return 0;
	}
	if (run_errno && !((run_errno == -EFAULT || run_errno == -EHWPOISON) &&
			   exit.reason == KVM_EXIT_MEMORY_FAULT))
		return run_errno;
	switch (exit.reason) {
	case KVM_EXIT_IO:
		ret = decode_io(run, run_bytes, &exit);
		break;
	case KVM_EXIT_MMIO:
		ret = decode_mmio(run, &exit);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		ret = decode_internal_error(run, &exit);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		ret = decode_system_event(run, &exit);
		break;
	case KVM_EXIT_X86_RDMSR:
	case KVM_EXIT_X86_WRMSR:
		decode_msr(run, &exit);
		break;
	case KVM_EXIT_MEMORY_FAULT:
		decode_memory_fault(run, &exit);
		break;
	default:
		decode_simple(run, &exit);
	}
	if (!ret)
		*ret_exit = exit;
	return ret;
}

int cvmm_kvm_vcpu_run(const struct cvmm_kvm_vcpu *vcpu, struct cvmm_kvm_exit *ret_exit)
{
	int ret;

	/*
	 * A stale reason must not be taken for a memory fault if this run fails otherwise. All
	 * others must stay: arm64 and riscv find by them that a load is to be completed.
	 */
	if (vcpu->run->exit_reason == KVM_EXIT_MEMORY_FAULT)
		vcpu->run->exit_reason = KVM_EXIT_UNKNOWN;
	ret = ioctl(vcpu->fd, KVM_RUN, NULL) < 0 ? -errno : 0;
	return cvmm_kvm_exit_decode(vcpu->run, vcpu->run_bytes, ret, ret_exit);
}
