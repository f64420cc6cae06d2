// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * ACPI tables (ACPI 6.5 chapter 5.2) of a hardware-reduced x86 machine.
 *
 * Theory of operation: all tables go into one buffer, one after the other, each at a multiple of 8
 * (the RSDP at the buffer's start, where guests that scan memory look). A table is written after
 * those it points to, so that nothing but the RSDP is patched later:
 *
 *   RSDP -> XSDT -> FADT -> DSDT
 *                -> MADT
 *
 * Hardware-reduced means that none of the PM1, GPE and SMI registers of a PC chipset exists. Power
 * off and reset are a byte written to a port each. There is no RSDT (all our readers know the XSDT)
 * and no FACS (hardware-reduced machines need none), and no MP table beside.
 *
 * A CPU's ACPI id, in the MADT and as _UID in the DSDT, is its index.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "firmware_internal.h"

#define TABLE_ALIGN 8
#define SIGNATURE_BYTES 4
#define OEM_ID "CVMM  "
#define OEM_TABLE_ID "CVMM    "
#define OEM_REVISION 1
#define CREATOR_ID "CVMM"
#define CREATOR_REVISION 1

enum {
	SDT_LENGTH = 4,
	SDT_CHECKSUM = 9,
	SDT_BYTES = 36,
};

enum {
	RSDP_CHECKSUM = 8,
	RSDP_OEM_ID = 9,
	RSDP_REVISION = 15,
	RSDP_LENGTH = 20,
	RSDP_XSDT = 24,
	RSDP_EXTENDED_CHECKSUM = 32,
	RSDP_BYTES = 36,
	RSDP_V1_BYTES = 20,
	RSDP_REVISION_2 = 2,
};

enum {
	XSDT_REVISION = 1,
	DSDT_REVISION = 2, /* integers of 64 bits */
	MADT_REVISION = 5,
	FADT_REVISION = 6,
	FADT_MINOR_REVISION = 5,
};

/* Offsets in the FADT. */
enum {
	FADT_DSDT = 40,
	FADT_BOOT_ARCH = 109,
	FADT_FLAGS = 112,
	FADT_RESET_REG = 116,
	FADT_RESET_VALUE = 128,
	FADT_MINOR = 131,
	FADT_X_DSDT = 140,
	FADT_SLEEP_CONTROL = 244,
	FADT_SLEEP_STATUS = 256,
	FADT_HYPERVISOR_VENDOR = 268,
	FADT_BYTES = 276,
};

enum {
	BOOT_ARCH_LEGACY_DEVICES = 1 << 0,
	BOOT_ARCH_I8042 = 1 << 1,
	BOOT_ARCH_NO_VGA = 1 << 2,
	BOOT_ARCH_NO_CMOS_RTC = 1 << 5,
};

enum {
	FLAG_WBINVD = 1 << 0,
	FLAG_C1 = 1 << 2,
	FLAG_NO_FIXED_POWER_BUTTON = 1 << 4,
	FLAG_NO_FIXED_SLEEP_BUTTON = 1 << 5,
	FLAG_NO_FIXED_RTC_WAKE = 1 << 6,
	FLAG_RESET_REG = 1 << 10,
	FLAG_HW_REDUCED = 1 << 20,
};

enum {
	GAS_SPACE = 0,
	GAS_BIT_WIDTH = 1,
	GAS_ACCESS = 3,
	GAS_ADDRESS = 4,
	GAS_SPACE_IO = 1,
	GAS_ACCESS_BYTE = 1,
};

enum {
	MADT_FLAG_PCAT_COMPAT = 1, /* a pair of 8259s */
	MADT_LAPIC = 0,
	MADT_LAPIC_BYTES = 8,
	MADT_IOAPIC = 1,
	MADT_IOAPIC_BYTES = 12,
	MADT_OVERRIDE = 2,
	MADT_OVERRIDE_BYTES = 10,
	MADT_X2APIC = 9,
	MADT_X2APIC_BYTES = 16,
	MADT_CPU_ENABLED = 1,
	MADT_BUS_ISA = 0,
	MADT_ACTIVE_HIGH = 1,
	MADT_EDGE = 1 << 2,
	MADT_LEVEL = 3 << 2,
	X2APIC_FIRST_ID = 255, /* the local APIC entry's id has 8 bits, and 255 means all CPUs */
};

enum {
	SERIAL_IO_PORTS = 8,
	PVPANIC_IO_PORTS = 1,
	S5_ELEMENTS = 4,
};

/* ---- frame of a table ------------------------------------------------------------------------ */

static uint8_t checksum_fix(const uint8_t *bytes, size_t len)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + bytes[i]);
	return (uint8_t)-sum;
}

/* Return: offset of the table in the buffer. */
static size_t table_begin(struct aml *out, const char *signature, uint8_t revision)
{
	size_t start;

	aml_zeroes(out, (TABLE_ALIGN - out->len % TABLE_ALIGN) % TABLE_ALIGN);
	start = out->len;
	aml_bytes(out, signature, SIGNATURE_BYTES);
	aml_u32(out, 0); /* length, by table_end() */
	aml_u8(out, revision);
	aml_u8(out, 0); /* checksum, by table_end() */
	aml_bytes(out, OEM_ID, sizeof(OEM_ID) - 1);
	aml_bytes(out, OEM_TABLE_ID, sizeof(OEM_TABLE_ID) - 1);
	aml_u32(out, OEM_REVISION);
	aml_bytes(out, CREATOR_ID, sizeof(CREATOR_ID) - 1);
	aml_u32(out, CREATOR_REVISION);
	return start;
}

static void table_end(struct aml *out, size_t start)
{
	size_t len = out->len - start;
	uint8_t *table = out->buf + start;

	if (out->error)
		return;
	if (len > UINT32_MAX) {
		aml_fail(out, -E2BIG);
		return;
	}
	cvmm_put_le32(table + SDT_LENGTH, (uint32_t)len);
	table[SDT_CHECKSUM] = checksum_fix(table, len);
}

/* ---- DSDT ------------------------------------------------------------------------------------ */

/* A device name of one letter and a number: "C02A". The limits on counts make it fit. */
static void numbered_device_begin(struct aml *out, char letter, size_t number)
{
	char name[AML_NAME_SEGMENT_BYTES + 1];

	snprintf(name, sizeof(name), "%c%03X", letter, (unsigned int)(number & 0xfff));
	aml_device_begin(out, name);
}

_Static_assert(CVMM_FIRMWARE_CPUS_MAX <= 0x1000 && CVMM_FIRMWARE_VIRTIO_MMIO_MAX <= 0x1000 &&
		       CVMM_FIRMWARE_SERIAL_MAX <= 0x1000,
	       "three hexadecimal digits must name every device");

static void put_cpu(struct aml *out, uint32_t i)
{
	numbered_device_begin(out, 'C', i);
	aml_name(out, "_HID");
	aml_string(out, "ACPI0007");
	aml_name(out, "_UID");
	aml_integer(out, i);
	aml_end(out);
}

static void put_serial(struct aml *out, const struct cvmm_firmware_serial *serial, size_t i)
{
	numbered_device_begin(out, 'S', i);
	aml_name(out, "_HID");
	aml_eisa_id(out, "PNP0501");
	aml_name(out, "_UID");
	aml_integer(out, i);
	aml_name(out, "_CRS");
	aml_template_begin(out);
	aml_res_io(out, serial->port, SERIAL_IO_PORTS);
	aml_res_interrupt(out, serial->gsi, serial->trigger);
	aml_end(out);
	aml_end(out);
}

static void put_virtio_mmio(struct aml *out, const struct cvmm_firmware_virtio_mmio *dev, size_t i)
{
	numbered_device_begin(out, 'V', i);
	aml_name(out, "_HID");
	aml_string(out, "LNRO0005");
	aml_name(out, "_UID");
	aml_integer(out, i);
	aml_name(out, "_CCA"); /* DMA is cache-coherent */
	aml_integer(out, 1);
	aml_name(out, "_CRS");
	aml_template_begin(out);
	aml_res_memory32_fixed(out, (uint32_t)dev->gpa.addr, dev->len_bytes);
	aml_res_interrupt(out, dev->gsi, dev->trigger);
	aml_end(out);
	aml_end(out);
}

static void put_pvpanic(struct aml *out, uint16_t port)
{
	aml_device_begin(out, "PEVT");
	aml_name(out, "_HID");
	aml_string(out, "QEMU0001");
	aml_name(out, "_CRS");
	aml_template_begin(out);
	aml_res_io(out, port, PVPANIC_IO_PORTS);
	aml_end(out);
	aml_end(out);
}

static void put_s5(struct aml *out)
{
	aml_name(out, "\\_S5");
	aml_package_begin(out, S5_ELEMENTS);
	aml_integer(out, CVMM_FIRMWARE_SLEEP_S5_TYPE);
	for (unsigned int i = 1; i < S5_ELEMENTS; i++)
		aml_integer(out, 0);
	aml_end(out);
}

static size_t put_dsdt(struct aml *out, const struct cvmm_firmware_machine *machine)
{
	size_t start = table_begin(out, "DSDT", DSDT_REVISION);

	if (machine->sleep_control_port)
		put_s5(out);
	aml_scope_begin(out, "\\_SB");
	for (uint32_t i = 0; i < machine->cpu_count; i++)
		put_cpu(out, i);
	for (size_t i = 0; i < machine->serial_count; i++)
		put_serial(out, &machine->serial[i], i);
	for (size_t i = 0; i < machine->virtio_mmio_count; i++)
		put_virtio_mmio(out, &machine->virtio_mmio[i], i);
	if (machine->pvpanic_port)
		put_pvpanic(out, machine->pvpanic_port);
	aml_end(out);
	table_end(out, start);
	return start;
}

/* ---- FADT ------------------------------------------------------------------------------------ */

static void set_io_byte_register(uint8_t *gas, uint16_t port)
{
	gas[GAS_SPACE] = GAS_SPACE_IO;
	gas[GAS_BIT_WIDTH] = 8;
	gas[GAS_ACCESS] = GAS_ACCESS_BYTE;
	cvmm_put_le64(gas + GAS_ADDRESS, port);
}

static uint16_t boot_arch(uint32_t legacy)
{
	unsigned int flags = 0;

	if (legacy & CVMM_FIRMWARE_HAS_ISA_DEVICES)
		flags |= BOOT_ARCH_LEGACY_DEVICES;
	if (legacy & CVMM_FIRMWARE_HAS_I8042)
		flags |= BOOT_ARCH_I8042;
	if (!(legacy & CVMM_FIRMWARE_HAS_VGA))
		flags |= BOOT_ARCH_NO_VGA;
	if (!(legacy & CVMM_FIRMWARE_HAS_CMOS_RTC))
		flags |= BOOT_ARCH_NO_CMOS_RTC;
	return (uint16_t)flags;
}

static size_t put_fadt(struct aml *out, const struct cvmm_firmware_machine *machine,
		       uint64_t dsdt_gpa)
{
	size_t start = table_begin(out, "FACP", FADT_REVISION);
	uint32_t flags = FLAG_WBINVD | FLAG_C1 | FLAG_NO_FIXED_POWER_BUTTON |
			 FLAG_NO_FIXED_SLEEP_BUTTON | FLAG_NO_FIXED_RTC_WAKE | FLAG_HW_REDUCED;
	uint8_t fadt[FADT_BYTES] = { 0 };

	/* Either field alone would do; some guests know only one of them. */
	if (dsdt_gpa <= UINT32_MAX)
		cvmm_put_le32(fadt + FADT_DSDT, (uint32_t)dsdt_gpa);
	cvmm_put_le64(fadt + FADT_X_DSDT, dsdt_gpa);
	cvmm_put_le16(fadt + FADT_BOOT_ARCH, boot_arch(machine->legacy));
	fadt[FADT_MINOR] = FADT_MINOR_REVISION;
	if (machine->reset_port) {
		flags |= FLAG_RESET_REG;
		set_io_byte_register(fadt + FADT_RESET_REG, machine->reset_port);
		fadt[FADT_RESET_VALUE] = machine->reset_value;
	}
	if (machine->sleep_control_port) {
		set_io_byte_register(fadt + FADT_SLEEP_CONTROL, machine->sleep_control_port);
		set_io_byte_register(fadt + FADT_SLEEP_STATUS, machine->sleep_status_port);
	}
	cvmm_put_le32(fadt + FADT_FLAGS, flags);
	memcpy(fadt + FADT_HYPERVISOR_VENDOR, machine->hypervisor_vendor,
	       sizeof(machine->hypervisor_vendor));
	aml_bytes(out, fadt + SDT_BYTES, sizeof(fadt) - SDT_BYTES);
	table_end(out, start);
	return start;
}

/* ---- MADT ------------------------------------------------------------------------------------ */

static void put_madt_cpu(struct aml *out, uint32_t index, uint32_t apic_id)
{
	if (apic_id < X2APIC_FIRST_ID) {
		aml_u8(out, MADT_LAPIC);
		aml_u8(out, MADT_LAPIC_BYTES);
		aml_u8(out, (uint8_t)index);
		aml_u8(out, (uint8_t)apic_id);
		aml_u32(out, MADT_CPU_ENABLED);
		return;
	}
	aml_u8(out, MADT_X2APIC);
	aml_u8(out, MADT_X2APIC_BYTES);
	aml_u16(out, 0);
	aml_u32(out, apic_id);
	aml_u32(out, MADT_CPU_ENABLED);
	aml_u32(out, index);
}

static void put_madt_ioapic(struct aml *out, const struct cvmm_firmware_machine *machine)
{
	aml_u8(out, MADT_IOAPIC);
	aml_u8(out, MADT_IOAPIC_BYTES);
	aml_u8(out, machine->ioapic_id);
	aml_u8(out, 0);
	aml_u32(out, (uint32_t)machine->ioapic_gpa.addr);
	aml_u32(out, machine->ioapic_gsi_base);
}

static void put_madt_override(struct aml *out, const struct cvmm_firmware_irq_override *override)
{
	aml_u8(out, MADT_OVERRIDE);
	aml_u8(out, MADT_OVERRIDE_BYTES);
	aml_u8(out, MADT_BUS_ISA);
	aml_u8(out, override->isa_irq);
	aml_u32(out, override->gsi);
	aml_u16(out, MADT_ACTIVE_HIGH |
			     (override->trigger == CVMM_FIRMWARE_EDGE ? MADT_EDGE : MADT_LEVEL));
}

static size_t put_madt(struct aml *out, const struct cvmm_firmware_machine *machine)
{
	size_t start = table_begin(out, "APIC", MADT_REVISION);

	aml_u32(out, (uint32_t)machine->lapic_gpa.addr);
	aml_u32(out, machine->legacy & CVMM_FIRMWARE_HAS_PIC ? MADT_FLAG_PCAT_COMPAT : 0);
	for (uint32_t i = 0; i < machine->cpu_count; i++)
		put_madt_cpu(out, i, fw_machine_apic_id(machine, i));
	if (machine->ioapic_gpa.addr)
		put_madt_ioapic(out, machine);
	for (size_t i = 0; i < machine->irq_override_count; i++)
		put_madt_override(out, &machine->irq_overrides[i]);
	table_end(out, start);
	return start;
}

/* ---- the roots, and the whole ---------------------------------------------------------------- */

static void fill_rsdp(uint8_t *rsdp, uint64_t xsdt_gpa)
{
	static const char signature[] = "RSD PTR ";

	memcpy(rsdp, signature, sizeof(signature) - 1);
	memcpy(rsdp + RSDP_OEM_ID, OEM_ID, sizeof(OEM_ID) - 1);
	rsdp[RSDP_REVISION] = RSDP_REVISION_2;
	cvmm_put_le32(rsdp + RSDP_LENGTH, RSDP_BYTES);
	cvmm_put_le64(rsdp + RSDP_XSDT, xsdt_gpa);
	rsdp[RSDP_CHECKSUM] = checksum_fix(rsdp, RSDP_V1_BYTES);
	rsdp[RSDP_EXTENDED_CHECKSUM] = checksum_fix(rsdp, RSDP_BYTES);
}

static void put_tables(struct aml *out, const struct cvmm_firmware_machine *machine, uint64_t gpa)
{
	size_t dsdt, fadt, madt, xsdt;

	aml_zeroes(out, RSDP_BYTES);
	dsdt = put_dsdt(out, machine);
	fadt = put_fadt(out, machine, gpa + dsdt);
	madt = put_madt(out, machine);
	xsdt = table_begin(out, "XSDT", XSDT_REVISION);
	aml_u64(out, gpa + fadt);
	aml_u64(out, gpa + madt);
	table_end(out, xsdt);
	if (!out->error)
		fill_rsdp(out->buf, gpa + xsdt);
}

int cvmm_firmware_acpi_build(const struct cvmm_firmware_machine *machine, void *buf,
			     size_t cap_bytes, cvmm_gpa gpa, size_t *ret_len_bytes,
			     cvmm_gpa *ret_rsdp, struct cvmm_error *err)
{
	struct aml out;
	uint64_t end;
	int r;

	r = fw_machine_check(machine, err);
	if (r < 0)
		return r;
	if (gpa.addr % CVMM_FIRMWARE_ACPI_GPA_ALIGN || !cvmm_add_u64(gpa.addr, cap_bytes, &end))
		return cvmm_fail(err, -EINVAL,
				 "firmware: ACPI tables cannot be at %#llx: not a multiple of %u, "
				 "or no room below 2^64",
				 (unsigned long long)gpa.addr, CVMM_FIRMWARE_ACPI_GPA_ALIGN);
	aml_init(&out, buf, cap_bytes);
	put_tables(&out, machine, gpa.addr);
	r = aml_finish(&out);
	if (r == -ENOSPC)
		return cvmm_fail(err, r, "firmware: ACPI tables do not fit into %zu bytes",
				 cap_bytes);
	/* All names are ours, and the limits on counts keep every block short. */
	CVMM_BUG_ON(r);
	*ret_len_bytes = out.len;
	*ret_rsdp = gpa;
	return 0;
}

int cvmm_firmware_acpi_write(const struct cvmm_mem *mem,
			     const struct cvmm_firmware_machine *machine, cvmm_gpa gpa,
			     size_t area_bytes, cvmm_gpa *ret_rsdp, struct cvmm_error *err)
{
	void *buf cvmm_cleanup(cvmm_free_ptr) = NULL;
	cvmm_gpa rsdp;
	size_t len;
	int r;

	r = cvmm_mem_check(mem, gpa, area_bytes, CVMM_ACCESS_WRITE);
	if (r < 0)
		return cvmm_fail(err, r, "firmware: no RAM for ACPI tables at %#llx, %zu bytes",
				 (unsigned long long)gpa.addr, area_bytes);
	buf = malloc(area_bytes ? area_bytes : 1);
	if (!buf)
		return cvmm_fail(err, -ENOMEM, "firmware: out of memory");
	r = cvmm_firmware_acpi_build(machine, buf, area_bytes, gpa, &len, &rsdp, err);
	if (r < 0)
		return r;
	r = cvmm_mem_write(mem, gpa, buf, len);
	if (r < 0)
		return cvmm_fail(err, r, "firmware: cannot write ACPI tables at %#llx",
				 (unsigned long long)gpa.addr);
	*ret_rsdp = rsdp;
	return 0;
}
