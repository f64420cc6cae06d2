// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * What a machine is on x86_64: interrupt controllers, CPUID, first registers, firmware tables.
 *
 * The topology is one package with as many cores as there are virtual CPUs, one thread each. APIC ids are
 * the CPUs' numbers.
 */
#include <errno.h>

#include <cvmm/firmware.h>

#include "machine_internal.h"

#define CPUID_ENTRIES_MAX 256

/* CPUID leaves that depend on the virtual CPU, or on how many there are. */
#define LEAF_MAX_BASIC 0x0
#define LEAF_FEATURES 0x1
#define LEAF_INTEL_CACHES 0x4
#define LEAF_TOPOLOGY 0xb
#define LEAF_TOPOLOGY_V2 0x1f
#define LEAF_AMD_SIZES 0x80000008
#define LEAF_AMD_CACHES 0x8000001d
#define LEAF_AMD_TOPOLOGY 0x8000001e

#define FEATURES_ECX_TSC_DEADLINE (1U << 24)
#define FEATURES_ECX_HYPERVISOR (1U << 31)
#define FEATURES_EDX_HTT (1U << 28)
#define FEATURES_EBX_CLFLUSH_MASK 0xff00U

#define TOPOLOGY_LEVEL_SMT 1U
#define TOPOLOGY_LEVEL_CORE 2U

#define MSR_IA32_MISC_ENABLE 0x1a0
#define MSR_IA32_MISC_ENABLE_FAST_STRING 1
#define MSR_MTRR_DEF_TYPE 0x2ff
#define MTRR_ENABLE (1U << 11)
#define MTRR_WRITE_BACK 6

/* Bits of an APIC id that number the cores of a package. */
static unsigned int core_bits(unsigned int cpu_count)
{
	unsigned int bits = 0;

	while ((1U << bits) < cpu_count)
		bits++;
	return bits;
}

static void patch_features(struct kvm_cpuid_entry2 *e, const struct vcpu *vcpu, bool tsc_deadline)
{
	unsigned int cpus = vcpu->machine->config.cpu_count;

	e->ebx = (e->ebx & 0xffffU & FEATURES_EBX_CLFLUSH_MASK) | (e->ebx & 0xffU) |
		 (1U << core_bits(cpus)) << 16 | vcpu->index << 24;
	e->ecx |= FEATURES_ECX_HYPERVISOR;
	if (tsc_deadline)
		e->ecx |= FEATURES_ECX_TSC_DEADLINE;
	e->edx = cpus > 1 ? e->edx | FEATURES_EDX_HTT : e->edx & ~FEATURES_EDX_HTT;
}

/* KVM leaves these leaves to us, and may list any number of them: they are made anew. */
static size_t replace_topology(struct kvm_cpuid_entry2 *entries, size_t count,
			       const struct vcpu *vcpu)
{
	unsigned int cpus = vcpu->machine->config.cpu_count;
	const struct kvm_cpuid_entry2 levels[] = {
		{ .ebx = 1, .ecx = TOPOLOGY_LEVEL_SMT << 8 },
		{ .eax = core_bits(cpus), .ebx = cpus, .ecx = 1 | TOPOLOGY_LEVEL_CORE << 8 },
		{ .ecx = 2 },
	};
	size_t kept = 0;

	for (size_t i = 0; i < count; i++)
		if (entries[i].function != LEAF_TOPOLOGY && entries[i].function != LEAF_TOPOLOGY_V2)
			entries[kept++] = entries[i];
	for (uint32_t i = 0; i < CVMM_ARRAY_SIZE(levels) && kept < CPUID_ENTRIES_MAX; i++) {
		struct kvm_cpuid_entry2 *e = &entries[kept++];

		*e = levels[i];
		e->function = LEAF_TOPOLOGY;
		e->index = i;
		e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		e->edx = vcpu->index;
	}
	return kept;
}

static void patch_cpuid_entry(struct kvm_cpuid_entry2 *e, const struct vcpu *vcpu,
			      bool tsc_deadline)
{
	unsigned int cpus = vcpu->machine->config.cpu_count;
	unsigned int level = e->eax >> 5 & 7;

	switch (e->function) {
	case LEAF_FEATURES:
		patch_features(e, vcpu, tsc_deadline);
		break;
	case LEAF_INTEL_CACHES:
		/* Cores in the package; logical CPUs that share: all of them from level 3 on. */
		e->eax &= 0x3fffU;
		e->eax |= ((1U << core_bits(cpus)) - 1) << 26;
		if (level >= 3)
			e->eax |= ((1U << core_bits(cpus)) - 1) << 14;
		break;
	case LEAF_MAX_BASIC:
		if (e->eax < LEAF_TOPOLOGY)
			e->eax = LEAF_TOPOLOGY;
		break;
	case LEAF_AMD_SIZES:
		e->ecx = (e->ecx & ~0xf0ffU) | core_bits(cpus) << 12 | (cpus - 1);
		break;
	case LEAF_AMD_CACHES:
		e->eax &= 0x3fffU;
		if (level >= 3)
			e->eax |= (cpus - 1) << 14;
		break;
	case LEAF_AMD_TOPOLOGY:
		e->eax = vcpu->index;
		e->ebx = vcpu->index; /* one thread to a core */
		e->ecx = 0;
		break;
	default:
		break;
	}
}

static int set_cpuid(struct vcpu *vcpu, struct cvmm_error *err)
{
	struct cvmm_machine *m = vcpu->machine;
	_Alignas(
		struct kvm_cpuid2) char buffer[sizeof(struct kvm_cpuid2) +
					       CPUID_ENTRIES_MAX * sizeof(struct kvm_cpuid_entry2)];
	struct kvm_cpuid2 *cpuid = (struct kvm_cpuid2 *)buffer;
	bool tsc_deadline = cvmm_kvm_check_extension(&m->kvm, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	int ret;

	cpuid->nent = CPUID_ENTRIES_MAX;
	ret = cvmm_kvm_get_supported_cpuid(&m->kvm, cpuid);
	if (!ret) {
		for (uint32_t i = 0; i < cpuid->nent; i++)
			patch_cpuid_entry(&cpuid->entries[i], vcpu, tsc_deadline);
		cpuid->nent = (uint32_t)replace_topology(cpuid->entries, cpuid->nent, vcpu);
		ret = cvmm_kvm_vcpu_set_cpuid2(&vcpu->kvm, cpuid);
	}
	return ret ? cvmm_fail(err, ret, "cannot set CPUID: %s", strerror(-ret)) : 0;
}

/* ---- first registers ----------------------------------------------------------------------------- */

static struct kvm_segment to_segment(const struct cvmm_loader_x86_segment *s)
{
	return (struct kvm_segment){
		.base = s->base,
		.limit = s->limit,
		.selector = s->selector,
		.type = s->type,
		.present = s->present,
		.dpl = s->dpl,
		.db = s->db,
		.s = s->s,
		.l = s->l,
		.g = s->g,
		.avl = s->avl,
		.unusable = !s->present,
	};
}

static int set_boot_registers(struct vcpu *vcpu)
{
	const struct cvmm_loader_x86_state *b = &vcpu->machine->boot_state;
	struct kvm_regs regs = {
		.rip = b->rip,
		.rsp = b->rsp,
		.rsi = b->rsi,
		.rbx = b->rbx,
		.rflags = b->rflags,
	};
	struct kvm_sregs sregs;
	int ret;

	ret = cvmm_kvm_vcpu_get_sregs(&vcpu->kvm, &sregs);
	if (ret)
		return ret;
	sregs.cs = to_segment(&b->cs);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = to_segment(&b->data);
	sregs.tr = to_segment(&b->tr);
	sregs.gdt.base = b->gdt_base;
	sregs.gdt.limit = b->gdt_limit;
	sregs.idt.base = b->idt_base;
	sregs.idt.limit = b->idt_limit;
	sregs.cr0 = b->cr0;
	sregs.cr3 = b->cr3;
	sregs.cr4 = b->cr4;
	sregs.efer = b->efer;
	ret = cvmm_kvm_vcpu_set_sregs(&vcpu->kvm, &sregs);
	return ret ? ret : cvmm_kvm_vcpu_set_regs(&vcpu->kvm, &regs);
}

/* What a firmware would have set; a host that refuses one of them is no reason to fail. */
static void set_msrs(struct vcpu *vcpu)
{
	static const struct kvm_msr_entry entries[] = {
		{ .index = MSR_IA32_MISC_ENABLE, .data = MSR_IA32_MISC_ENABLE_FAST_STRING },
		{ .index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLE | MTRR_WRITE_BACK },
	};
	_Alignas(struct kvm_msrs) char buffer[sizeof(struct kvm_msrs) + sizeof(entries)] = { 0 };
	struct kvm_msrs *msrs = (struct kvm_msrs *)buffer;

	msrs->nmsrs = CVMM_ARRAY_SIZE(entries);
	memcpy(msrs->entries, entries, sizeof(entries));
	(void)cvmm_kvm_vcpu_set_msrs(&vcpu->kvm, msrs);
}

int cvmm_machine_init_vcpu(struct vcpu *vcpu, struct cvmm_error *err)
{
	int ret = set_cpuid(vcpu, err);

	if (ret)
		return ret;
	set_msrs(vcpu);
	if (vcpu->index)
		return 0; /* waits for the boot CPU's INIT and SIPI */
	ret = set_boot_registers(vcpu);
	return ret ? cvmm_fail(err, ret, "cannot set the first registers: %s", strerror(-ret)) : 0;
}

/* ---- the machine ------------------------------------------------------------------------------------ */

int cvmm_machine_init_arch(struct cvmm_machine *m, struct cvmm_error *err)
{
	int ret;

	ret = cvmm_kvm_vm_set_tss_addr(&m->vm, TSS_GPA);
	if (!ret)
		ret = cvmm_kvm_vm_set_identity_map_addr(&m->vm, IDENTITY_MAP_GPA);
	if (!ret)
		ret = cvmm_kvm_vm_create_irqchip(&m->vm);
	return ret ? cvmm_fail(err, ret, "cannot make the interrupt controllers: %s",
			       strerror(-ret))
		   : 0;
}

int cvmm_machine_write_firmware(struct cvmm_machine *m, cvmm_gpa *ret_rsdp, struct cvmm_error *err)
{
	static const struct cvmm_firmware_serial serial = { SERIAL_PORT, SERIAL_GSI,
							    CVMM_FIRMWARE_EDGE };
	struct cvmm_firmware_virtio_mmio virtio[CVMM_MACHINE_DEVICES_MAX];
	struct cvmm_firmware_machine description = {
		.cpu_count = m->config.cpu_count,
		.lapic_gpa = cvmm_gpa_from(LAPIC_GPA),
		.ioapic_gpa = cvmm_gpa_from(IOAPIC_GPA),
		.virtio_mmio = virtio,
		.virtio_mmio_count = m->slot_count,
		.serial = &serial,
		.serial_count = 1,
		.reset_port = RESET_PORT,
		.reset_value = RESET_VALUE,
		.sleep_control_port = SLEEP_CONTROL_PORT,
		.sleep_status_port = SLEEP_STATUS_PORT,
		.pvpanic_port = CVMM_FIRMWARE_PVPANIC_PORT,
		.hypervisor_vendor = "CVMM",
	};

	for (unsigned int i = 0; i < m->slot_count; i++)
		virtio[i] = (struct cvmm_firmware_virtio_mmio){
			.gpa = cvmm_gpa_from(m->slots[i].gpa),
			.len_bytes = CVMM_VIRTIO_MMIO_LEN_BYTES,
			.gsi = m->slots[i].gsi,
			.trigger = CVMM_FIRMWARE_EDGE,
		};
	return cvmm_firmware_acpi_write(m->mem, &description, cvmm_gpa_from(CVMM_FIRMWARE_ACPI_GPA),
					CVMM_FIRMWARE_ACPI_AREA_BYTES, ret_rsdp, err);
}

size_t cvmm_machine_memory_map(const struct cvmm_machine *m, struct cvmm_loader_map_entry *map)
{
	uint64_t bytes = m->config.memory_bytes;
	uint64_t low_end = bytes < MMIO_HOLE_START ? bytes : MMIO_HOLE_START;
	size_t n = 0;

	map[n++] =
		(struct cvmm_loader_map_entry){ cvmm_gpa_from(0), EBDA_START, CVMM_LOADER_MAP_RAM };
	map[n++] = (struct cvmm_loader_map_entry){ cvmm_gpa_from(BIOS_AREA_START),
						   BIOS_AREA_END - BIOS_AREA_START,
						   CVMM_LOADER_MAP_RESERVED };
	map[n++] = (struct cvmm_loader_map_entry){ cvmm_gpa_from(BIOS_AREA_END),
						   low_end - BIOS_AREA_END, CVMM_LOADER_MAP_RAM };
	if (bytes > low_end)
		map[n++] = (struct cvmm_loader_map_entry){ cvmm_gpa_from(MMIO_HOLE_END),
							   bytes - low_end, CVMM_LOADER_MAP_RAM };
	return n;
}
