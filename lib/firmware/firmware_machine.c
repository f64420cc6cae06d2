// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * What every encoding of the machine's description may rely on. Messages name the field, since who
 * reads them writes a VMM.
 */
#include <errno.h>

#include "firmware_internal.h"

#define GPA_LIMIT (UINT64_C(1) << 32)
#define APIC_ID_BROADCAST UINT32_MAX
#define APIC_WINDOW_BYTES 4096
#define IO_PORTS 0x10000
#define SERIAL_PORTS 8
#define ISA_IRQS 16

static int check_cpus(const struct cvmm_firmware_machine *machine, struct cvmm_error *err)
{
	if (machine->cpu_count < 1 || machine->cpu_count > CVMM_FIRMWARE_CPUS_MAX)
		return cvmm_fail(err, -EINVAL, "firmware: cpu_count %u is not 1 to %u",
				 machine->cpu_count, CVMM_FIRMWARE_CPUS_MAX);
	/* Ascending also keeps a CPU's index, its ACPI id, at or below its APIC id. */
	for (uint32_t i = 1; i < machine->cpu_count; i++) {
		if (fw_machine_apic_id(machine, i) <= fw_machine_apic_id(machine, i - 1))
			return cvmm_fail(err, -EINVAL, "firmware: apic_ids[%u] is not ascending",
					 i);
	}
	if (fw_machine_apic_id(machine, machine->cpu_count - 1) == APIC_ID_BROADCAST)
		return cvmm_fail(err, -EINVAL, "firmware: APIC id %#x means all CPUs",
				 APIC_ID_BROADCAST);
	return 0;
}

static int check_apics(const struct cvmm_firmware_machine *machine, struct cvmm_error *err)
{
	uint64_t lapic = machine->lapic_gpa.addr;
	uint64_t ioapic = machine->ioapic_gpa.addr;

	if (!lapic || !cvmm_range_inside(lapic, APIC_WINDOW_BYTES, GPA_LIMIT))
		return cvmm_fail(err, -EINVAL, "firmware: lapic_gpa %#llx is 0 or not below 4 GiB",
				 (unsigned long long)lapic);
	if (!cvmm_range_inside(ioapic, APIC_WINDOW_BYTES, GPA_LIMIT))
		return cvmm_fail(err, -EINVAL, "firmware: ioapic_gpa %#llx is not below 4 GiB",
				 (unsigned long long)ioapic);
	if (!ioapic &&
	    (machine->virtio_mmio_count || machine->serial_count || machine->irq_override_count))
		return cvmm_fail(err, -EINVAL,
				 "firmware: devices have interrupts, but ioapic_gpa is 0");
	return 0;
}

static bool is_trigger(enum cvmm_firmware_trigger trigger)
{
	return trigger == CVMM_FIRMWARE_EDGE || trigger == CVMM_FIRMWARE_LEVEL;
}

static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

static int check_virtio_window(const struct cvmm_firmware_machine *machine, size_t i,
			       struct cvmm_error *err)
{
	const struct cvmm_firmware_virtio_mmio *dev = &machine->virtio_mmio[i];
	uint64_t gpa = dev->gpa.addr;

	if (!dev->len_bytes || !cvmm_range_inside(gpa, dev->len_bytes, GPA_LIMIT))
		return cvmm_fail(err, -EINVAL,
				 "firmware: virtio_mmio[%zu] (%#llx, %#x bytes) is empty or not "
				 "below 4 GiB",
				 i, (unsigned long long)gpa, dev->len_bytes);
	if (!is_trigger(dev->trigger))
		return cvmm_fail(err, -EINVAL, "firmware: virtio_mmio[%zu] has no such trigger", i);
	if (overlap(gpa, dev->len_bytes, machine->lapic_gpa.addr, APIC_WINDOW_BYTES) ||
	    overlap(gpa, dev->len_bytes, machine->ioapic_gpa.addr, APIC_WINDOW_BYTES))
		return cvmm_fail(err, -EINVAL, "firmware: virtio_mmio[%zu] overlaps an APIC", i);
	for (size_t k = 0; k < i; k++) {
		const struct cvmm_firmware_virtio_mmio *other = &machine->virtio_mmio[k];

		if (overlap(gpa, dev->len_bytes, other->gpa.addr, other->len_bytes))
			return cvmm_fail(err, -EINVAL,
					 "firmware: virtio_mmio[%zu] and [%zu] overlap", k, i);
	}
	return 0;
}

static int check_virtio_mmio(const struct cvmm_firmware_machine *machine, struct cvmm_error *err)
{
	if (machine->virtio_mmio_count > CVMM_FIRMWARE_VIRTIO_MMIO_MAX)
		return cvmm_fail(err, -EINVAL, "firmware: virtio_mmio_count %zu is above %u",
				 machine->virtio_mmio_count, CVMM_FIRMWARE_VIRTIO_MMIO_MAX);
	if (machine->virtio_mmio_count && !machine->virtio_mmio)
		return cvmm_fail(err, -EINVAL, "firmware: virtio_mmio is NULL");
	for (size_t i = 0; i < machine->virtio_mmio_count; i++) {
		int r = check_virtio_window(machine, i, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int check_serial(const struct cvmm_firmware_machine *machine, struct cvmm_error *err)
{
	if (machine->serial_count > CVMM_FIRMWARE_SERIAL_MAX)
		return cvmm_fail(err, -EINVAL, "firmware: serial_count %zu is above %u",
				 machine->serial_count, CVMM_FIRMWARE_SERIAL_MAX);
	if (machine->serial_count && !machine->serial)
		return cvmm_fail(err, -EINVAL, "firmware: serial is NULL");
	for (size_t i = 0; i < machine->serial_count; i++) {
		uint16_t port = machine->serial[i].port;

		if (!port || !cvmm_range_inside(port, SERIAL_PORTS, IO_PORTS))
			return cvmm_fail(err, -EINVAL,
					 "firmware: serial[%zu] cannot be at port %#x", i, port);
		if (!is_trigger(machine->serial[i].trigger))
			return cvmm_fail(err, -EINVAL, "firmware: serial[%zu] has no such trigger",
					 i);
		for (size_t k = 0; k < i; k++) {
			if (overlap(port, SERIAL_PORTS, machine->serial[k].port, SERIAL_PORTS))
				return cvmm_fail(err, -EINVAL,
						 "firmware: serial[%zu] and [%zu] overlap", k, i);
		}
	}
	return 0;
}

static int check_overrides(const struct cvmm_firmware_machine *machine, struct cvmm_error *err)
{
	uint32_t seen = 0;

	if (machine->irq_override_count > CVMM_FIRMWARE_IRQ_OVERRIDES_MAX)
		return cvmm_fail(err, -EINVAL, "firmware: irq_override_count %zu is above %u",
				 machine->irq_override_count, CVMM_FIRMWARE_IRQ_OVERRIDES_MAX);
	if (machine->irq_override_count && !machine->irq_overrides)
		return cvmm_fail(err, -EINVAL, "firmware: irq_overrides is NULL");
	for (size_t i = 0; i < machine->irq_override_count; i++) {
		const struct cvmm_firmware_irq_override *o = &machine->irq_overrides[i];

		if (o->isa_irq >= ISA_IRQS || (seen & 1U << o->isa_irq) || !is_trigger(o->trigger))
			return cvmm_fail(err, -EINVAL,
					 "firmware: irq_overrides[%zu] for ISA interrupt %u is bad "
					 "or there twice",
					 i, o->isa_irq);
		seen |= 1U << o->isa_irq;
	}
	return 0;
}

static int check_platform(const struct cvmm_firmware_machine *machine, struct cvmm_error *err)
{
	if (machine->legacy & ~(uint32_t)CVMM_FIRMWARE_LEGACY_ALL)
		return cvmm_fail(err, -EINVAL, "firmware: legacy %#x has unknown bits",
				 machine->legacy);
	if (!machine->sleep_control_port != !machine->sleep_status_port)
		return cvmm_fail(err, -EINVAL,
				 "firmware: sleep control and status ports go together");
	if (machine->sleep_control_port &&
	    machine->sleep_control_port == machine->sleep_status_port)
		return cvmm_fail(err, -EINVAL, "firmware: sleep control and status share port %#x",
				 machine->sleep_control_port);
	return 0;
}

int fw_machine_check(const struct cvmm_firmware_machine *machine, struct cvmm_error *err)
{
	int (*const checks[])(const struct cvmm_firmware_machine *, struct cvmm_error *) = {
		check_cpus,   check_apics,     check_virtio_mmio,
		check_serial, check_overrides, check_platform,
	};

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(checks); i++) {
		int r = checks[i](machine, err);

		if (r < 0)
			return r;
	}
	return 0;
}
