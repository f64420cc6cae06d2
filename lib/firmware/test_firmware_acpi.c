// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "firmware_internal.h"

#define GPA CVMM_FIRMWARE_ACPI_GPA
#define AREA CVMM_FIRMWARE_ACPI_AREA_BYTES

static const struct cvmm_firmware_serial com1 = { .port = 0x3f8, .gsi = 4 };

static const struct cvmm_firmware_virtio_mmio virtio[] = {
	{ { 0xd0000000 }, 0x1000, 5, CVMM_FIRMWARE_EDGE },
	{ { 0xd0001000 }, 0x200, 6, CVMM_FIRMWARE_LEVEL },
};

static const struct cvmm_firmware_irq_override overrides[] = {
	{ 0, 2, CVMM_FIRMWARE_EDGE },
	{ 9, 9, CVMM_FIRMWARE_LEVEL },
};

static struct cvmm_firmware_machine minimal_machine(void)
{
	return (struct cvmm_firmware_machine){
		.cpu_count = 1,
		.lapic_gpa = { 0xfee00000 },
	};
}

static struct cvmm_firmware_machine full_machine(void)
{
	return (struct cvmm_firmware_machine){
		.cpu_count = 2,
		.lapic_gpa = { 0xfee00000 },
		.ioapic_gpa = { 0xfec00000 },
		.ioapic_id = 3,
		.virtio_mmio = virtio,
		.virtio_mmio_count = 2,
		.serial = &com1,
		.serial_count = 1,
		.irq_overrides = overrides,
		.irq_override_count = 2,
		.legacy = 0,
		.reset_port = 0x64,
		.reset_value = 0xfe,
		.sleep_control_port = 0x600,
		.sleep_status_port = 0x601,
		.pvpanic_port = CVMM_FIRMWARE_PVPANIC_PORT,
		.hypervisor_vendor = "cvmm",
	};
}

/* Tables as a guest finds them, in a buffer that holds nothing else. */
struct tables {
	uint8_t *buf;
	size_t len;
	const uint8_t *rsdp, *xsdt, *fadt, *madt, *dsdt;
};

static void assert_sums_to_zero(const uint8_t *bytes, size_t len)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + bytes[i]);
	assert_int_equal(sum, 0);
}

static const uint8_t *find_table(const struct tables *t, uint64_t gpa, const char *signature)
{
	const uint8_t *table = t->buf + (gpa - GPA);

	assert_true(gpa >= GPA && cvmm_range_inside(gpa - GPA, 36, t->len));
	assert_int_equal(gpa % 8, 0);
	assert_memory_equal(table, signature, 4);
	assert_true(cvmm_range_inside(gpa - GPA, cvmm_get_le32(table + 4), t->len));
	assert_sums_to_zero(table, cvmm_get_le32(table + 4));
	assert_memory_equal(table + 10, "CVMM  CVMM    ", 14);
	return table;
}

static struct tables build(const struct cvmm_firmware_machine *machine)
{
	struct tables t = { .buf = malloc(AREA) };
	cvmm_gpa rsdp = { 0 };

	assert_non_null(t.buf);
	assert_int_equal(cvmm_firmware_acpi_build(machine, t.buf, AREA, cvmm_gpa_from(GPA), &t.len,
						  &rsdp, NULL),
			 0);
	assert_true(rsdp.addr == GPA);
	t.rsdp = t.buf;
	assert_memory_equal(t.rsdp, "RSD PTR ", 8);
	t.xsdt = find_table(&t, cvmm_get_le64(t.rsdp + 24), "XSDT");
	assert_int_equal(cvmm_get_le32(t.xsdt + 4), 36 + 2 * 8);
	t.fadt = find_table(&t, cvmm_get_le64(t.xsdt + 36), "FACP");
	t.madt = find_table(&t, cvmm_get_le64(t.xsdt + 44), "APIC");
	t.dsdt = find_table(&t, cvmm_get_le64(t.fadt + 140), "DSDT");
	return t;
}

static struct tables build_full(void)
{
	struct cvmm_firmware_machine machine = full_machine();

	return build(&machine);
}

static void assert_refused(const struct cvmm_firmware_machine *machine, const char *word)
{
	uint8_t *buf = malloc(AREA);
	struct cvmm_error err = { 0 };
	cvmm_gpa rsdp = { 42 };
	size_t len = 42;

	assert_non_null(buf);
	assert_int_equal(
		cvmm_firmware_acpi_build(machine, buf, AREA, cvmm_gpa_from(GPA), &len, &rsdp, &err),
		-EINVAL);
	if (!strstr(err.message, word))
		fail_msg("\"%s\" does not name %s", err.message, word);
	assert_true(len == 42 && rsdp.addr == 42);
	free(buf);
}

/* ---- tables ---------------------------------------------------------------------------------- */

static void rsdp_has_both_checksums_and_no_rsdt(void **state)
{
	struct tables t = build_full();

	(void)state;
	assert_sums_to_zero(t.rsdp, 20);
	assert_sums_to_zero(t.rsdp, 36);
	assert_memory_equal(t.rsdp + 9, "CVMM  \2", 7);
	assert_int_equal(cvmm_get_le32(t.rsdp + 16), 0);
	assert_int_equal(cvmm_get_le32(t.rsdp + 20), 36);
	free(t.buf);
}

static void fadt_is_hardware_reduced(void **state)
{
	struct tables t = build_full();

	(void)state;
	assert_int_equal(cvmm_get_le32(t.fadt + 4), 276);
	assert_int_equal(t.fadt[8], 6);
	assert_true(cvmm_get_le32(t.fadt + 112) & 1 << 20);
	assert_int_equal(cvmm_get_le32(t.fadt + 36), 0);
	for (size_t i = 148; i < 244; i++)
		assert_int_equal(t.fadt[i], 0);
	assert_true(cvmm_get_le32(t.fadt + 40) == cvmm_get_le64(t.fadt + 140));
	assert_memory_equal(t.fadt + 268, "cvmm\0\0\0\0", 8);
	free(t.buf);
}

static void fadt_has_reset_and_sleep_registers(void **state)
{
	struct tables t = build_full();

	(void)state;
	assert_true(cvmm_get_le32(t.fadt + 112) & 1 << 10);
	assert_memory_equal(t.fadt + 116, "\1\10\0\1\x64\0\0\0\0\0\0\0\xfe", 13);
	assert_memory_equal(t.fadt + 244, "\1\10\0\1\0\6\0\0\0\0\0\0", 12);
	assert_memory_equal(t.fadt + 256, "\1\10\0\1\1\6\0\0\0\0\0\0", 12);
	free(t.buf);
}

static void fadt_without_reset_and_sleep_has_none(void **state)
{
	struct cvmm_firmware_machine machine = minimal_machine();
	struct tables t = build(&machine);
	static const uint8_t none[24];

	(void)state;
	assert_false(cvmm_get_le32(t.fadt + 112) & 1 << 10);
	assert_memory_equal(t.fadt + 116, none, 13);
	assert_memory_equal(t.fadt + 244, none, 24);
	free(t.buf);
}

static void boot_flags_follow_each_legacy_part_alone(void **state)
{
	static const struct {
		uint32_t legacy;
		uint16_t flags;
	} cases[] = {
		{ 0, 0x24 },
		{ CVMM_FIRMWARE_HAS_ISA_DEVICES, 0x25 },
		{ CVMM_FIRMWARE_HAS_I8042, 0x26 },
		{ CVMM_FIRMWARE_HAS_VGA, 0x20 },
		{ CVMM_FIRMWARE_HAS_CMOS_RTC, 0x04 },
		{ CVMM_FIRMWARE_HAS_PIC, 0x24 },
		{ CVMM_FIRMWARE_LEGACY_ALL, 0x03 },
	};

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(cases); i++) {
		struct cvmm_firmware_machine machine = full_machine();
		struct tables t;

		machine.legacy = cases[i].legacy;
		t = build(&machine);
		assert_int_equal(cvmm_get_le16(t.fadt + 109), cases[i].flags);
		assert_int_equal(cvmm_get_le32(t.madt + 40),
				 !!(cases[i].legacy & CVMM_FIRMWARE_HAS_PIC));
		free(t.buf);
	}
}

static void madt_lists_cpus_ioapic_and_overrides(void **state)
{
	static const uint8_t body[] = {
		0x00, 0x00, 0xe0, 0xfe, 0, 0, 0,    0, /* local APIC address, flags */
		0,    8,    0,	  0,	1, 0, 0,    0, /* CPU 0 */
		0,    8,    1,	  1,	1, 0, 0,    0, /* CPU 1 */
		1,    12,   3,	  0,	0, 0, 0xc0, 0xfe, 0,	0, 0, 0, /* IOAPIC */
		2,    10,   0,	  0,	2, 0, 0,    0,	  0x05, 0, /* ISA 0 to GSI 2, edge, high */
		2,    10,   0,	  9,	9, 0, 0,    0,	  0x0d, 0, /* ISA 9 to GSI 9, level, high */
	};
	struct tables t = build_full();

	(void)state;
	assert_int_equal(cvmm_get_le32(t.madt + 4), 36 + sizeof(body));
	assert_memory_equal(t.madt + 36, body, sizeof(body));
	free(t.buf);
}

static void apic_ids_from_255_on_get_x2apic_entries(void **state)
{
	static const uint32_t ids[] = { 0, 254, 255, 0x12345 };
	static const uint8_t cpus[] = {
		0, 8,  0, 0,	1,    0,    0, 0,			  /* id 0 */
		0, 8,  1, 0xfe, 1,    0,    0, 0,			  /* id 254 */
		9, 16, 0, 0,	0xff, 0,    0, 0, 1, 0, 0, 0, 2, 0, 0, 0, /* id 255 */
		9, 16, 0, 0,	0x45, 0x23, 1, 0, 1, 0, 0, 0, 3, 0, 0, 0,
	};
	struct cvmm_firmware_machine machine = minimal_machine();
	struct tables t;

	(void)state;
	machine.cpu_count = 4;
	machine.apic_ids = ids;
	t = build(&machine);
	assert_int_equal(cvmm_get_le32(t.madt + 4), 44 + sizeof(cpus));
	assert_memory_equal(t.madt + 44, cpus, sizeof(cpus));
	free(t.buf);
}

static void dsdt_of_one_cpu_is_exact(void **state)
{
	static const uint8_t body[] = {
		0x10, 0x22, '\\', '_', 'S', 'B',  '_',		       /* Scope (\_SB) */
		0x5b, 0x82, 0x1a, 'C', '0', '0',  '0',		       /* Device (C000) */
		0x08, '_',  'H',  'I', 'D',			       /* Name (_HID, */
		0x0d, 'A',  'C',  'P', 'I', '0',  '0', '0', '7', 0x00, /* "ACPI0007") */
		0x08, '_',  'U',  'I', 'D', 0x00,		       /* Name (_UID, 0) */
	};
	struct cvmm_firmware_machine machine = minimal_machine();
	struct tables t = build(&machine);

	(void)state;
	assert_int_equal(t.dsdt[8], 2);
	assert_int_equal(cvmm_get_le32(t.dsdt + 4), 36 + sizeof(body));
	assert_memory_equal(t.dsdt + 36, body, sizeof(body));
	free(t.buf);
}

static void sleep_value_matches_the_s5_package(void **state)
{
	static const uint8_t s5[] = {
		0x08, '\\', '_', 'S', '5', '_', 0x12, 0x07, 0x04, 0x0a, CVMM_FIRMWARE_SLEEP_S5_TYPE
	};
	struct tables t = build_full();

	(void)state;
	assert_memory_equal(t.dsdt + 36, s5, sizeof(s5));
	assert_int_equal(CVMM_FIRMWARE_SLEEP_S5_TYPE << CVMM_FIRMWARE_SLEEP_TYPE_SHIFT |
				 CVMM_FIRMWARE_SLEEP_ENABLE,
			 CVMM_FIRMWARE_SLEEP_S5_VALUE);
	free(t.buf);
}

/* ---- bounds ---------------------------------------------------------------------------------- */

static void every_buffer_too_small_is_enospc_and_not_overrun(void **state)
{
	struct cvmm_firmware_machine machine = full_machine();
	struct tables whole = build(&machine);

	(void)state;
	for (size_t cap = 0; cap <= whole.len; cap++) {
		uint8_t *buf = malloc(cap ? cap : 1);
		cvmm_gpa rsdp = { 42 };
		size_t len = 42;
		int r;

		assert_non_null(buf);
		r = cvmm_firmware_acpi_build(&machine, buf, cap, cvmm_gpa_from(GPA), &len, &rsdp,
					     NULL);
		if (cap < whole.len) {
			assert_int_equal(r, -ENOSPC);
			assert_true(len == 42 && rsdp.addr == 42);
		} else {
			assert_int_equal(r, 0);
			assert_int_equal(len, whole.len);
			assert_memory_equal(buf, whole.buf, len);
		}
		free(buf);
	}
	free(whole.buf);
}

static void area_holds_1024_cpus_and_256_devices(void **state)
{
	struct cvmm_firmware_virtio_mmio *devs = calloc(256, sizeof(*devs));
	struct cvmm_firmware_machine machine = full_machine();
	struct tables t;

	(void)state;
	assert_non_null(devs);
	for (uint32_t i = 0; i < 256; i++)
		devs[i] = (struct cvmm_firmware_virtio_mmio){
			.gpa = cvmm_gpa_from(0xd0000000 + i * 0x1000), .len_bytes = 0x1000, .gsi = i
		};
	machine.cpu_count = 1024;
	machine.virtio_mmio = devs;
	machine.virtio_mmio_count = 256;
	t = build(&machine);
	assert_true(t.len < AREA);
	free(t.buf);
	free(devs);
}

static bool has_name(const uint8_t *bytes, size_t len, const char name[4])
{
	for (size_t i = 0; i + 4 <= len; i++)
		if (!memcmp(bytes + i, name, 4))
			return true;
	return false;
}

static void largest_machine_fits_the_names(void **state)
{
	struct cvmm_firmware_virtio_mmio *devs =
		calloc(CVMM_FIRMWARE_VIRTIO_MMIO_MAX, sizeof(*devs));
	struct cvmm_firmware_machine machine = full_machine();
	size_t cap = 1 << 20, len = 0;
	uint8_t *buf = malloc(cap);
	cvmm_gpa rsdp;

	(void)state;
	assert_non_null(devs);
	assert_non_null(buf);
	for (uint32_t i = 0; i < CVMM_FIRMWARE_VIRTIO_MMIO_MAX; i++)
		devs[i] = (struct cvmm_firmware_virtio_mmio){
			.gpa = cvmm_gpa_from(0xd0000000 + i * 0x1000), .len_bytes = 0x1000, .gsi = i
		};
	machine.cpu_count = CVMM_FIRMWARE_CPUS_MAX;
	machine.virtio_mmio = devs;
	machine.virtio_mmio_count = CVMM_FIRMWARE_VIRTIO_MMIO_MAX;
	assert_int_equal(
		cvmm_firmware_acpi_build(&machine, buf, cap, cvmm_gpa_from(GPA), &len, &rsdp, NULL),
		0);
	assert_true(has_name(buf, len, "CFFF"));
	assert_true(has_name(buf, len, "VFFF"));
	free(devs);
	free(buf);
}

static void tables_above_4_gib_use_the_wide_fields_only(void **state)
{
	struct cvmm_firmware_machine machine = minimal_machine();
	uint64_t gpa = UINT64_C(0x100000000);
	uint8_t *buf = malloc(AREA);
	cvmm_gpa rsdp;
	size_t len;

	(void)state;
	assert_non_null(buf);
	assert_int_equal(cvmm_firmware_acpi_build(&machine, buf, AREA, cvmm_gpa_from(gpa), &len,
						  &rsdp, NULL),
			 0);
	const uint8_t *xsdt = buf + (cvmm_get_le64(buf + 24) - gpa);
	const uint8_t *fadt = buf + (cvmm_get_le64(xsdt + 36) - gpa);

	assert_int_equal(cvmm_get_le32(fadt + 40), 0);
	assert_memory_equal(buf + (cvmm_get_le64(fadt + 140) - gpa), "DSDT", 4);
	free(buf);
}

static void bad_address_of_the_tables_is_refused(void **state)
{
	static const uint64_t bad[] = { GPA + 8, UINT64_MAX, UINT64_MAX - 15 };
	struct cvmm_firmware_machine machine = minimal_machine();
	uint8_t buf[4096];
	cvmm_gpa rsdp;
	size_t len;

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++)
		assert_int_equal(cvmm_firmware_acpi_build(&machine, buf, sizeof(buf),
							  cvmm_gpa_from(bad[i]), &len, &rsdp, NULL),
				 -EINVAL);
}

/* ---- bad descriptions ------------------------------------------------------------------------ */

#define ASSERT_REFUSED_WITH(field, value, word)                        \
	do {                                                           \
		struct cvmm_firmware_machine machine = full_machine(); \
		machine.field = value;                                 \
		assert_refused(&machine, word);                        \
	} while (0)

static void bad_cpus_are_refused(void **state)
{
	static const uint32_t twice[] = { 1, 1 }, falling[] = { 2, 1 }, all[] = { 0, UINT32_MAX };

	(void)state;
	ASSERT_REFUSED_WITH(cpu_count, 0, "cpu_count");
	ASSERT_REFUSED_WITH(cpu_count, CVMM_FIRMWARE_CPUS_MAX + 1, "cpu_count");
	ASSERT_REFUSED_WITH(apic_ids, twice, "apic_ids[1]");
	ASSERT_REFUSED_WITH(apic_ids, falling, "apic_ids[1]");
	ASSERT_REFUSED_WITH(apic_ids, all, "all CPUs");
}

static void bad_apic_windows_are_refused(void **state)
{
	(void)state;
	ASSERT_REFUSED_WITH(lapic_gpa.addr, 0, "lapic_gpa");
	ASSERT_REFUSED_WITH(lapic_gpa.addr, UINT64_C(0x100000000), "lapic_gpa");
	ASSERT_REFUSED_WITH(ioapic_gpa.addr, UINT64_MAX, "ioapic_gpa");
	ASSERT_REFUSED_WITH(ioapic_gpa.addr, 0, "ioapic_gpa");
}

static void assert_virtio_refused(uint64_t gpa, uint32_t len, int trigger, const char *word)
{
	struct cvmm_firmware_virtio_mmio devs[] = { virtio[0], virtio[1] };

	devs[1].gpa.addr = gpa;
	devs[1].len_bytes = len;
	devs[1].trigger = (enum cvmm_firmware_trigger)trigger;
	ASSERT_REFUSED_WITH(virtio_mmio, devs, word);
}

static void bad_virtio_windows_are_refused(void **state)
{
	(void)state;
	assert_virtio_refused(0xd0001000, 0, 0, "virtio_mmio[1]");
	assert_virtio_refused(0xfffff000, 0x1001, 0, "4 GiB");
	assert_virtio_refused(UINT64_MAX, 0x1000, 0, "4 GiB");
	assert_virtio_refused(0xd0000fff, 0x1000, 0, "overlap");
	assert_virtio_refused(0xcffff001, 0x1000, 0, "overlap");
	assert_virtio_refused(0xfee00000, 0x1000, 0, "APIC");
	assert_virtio_refused(0xd0001000, 0x1000, 2, "trigger");
	ASSERT_REFUSED_WITH(virtio_mmio, NULL, "virtio_mmio");
	ASSERT_REFUSED_WITH(virtio_mmio_count, CVMM_FIRMWARE_VIRTIO_MMIO_MAX + 1,
			    "virtio_mmio_count");
}

static void bad_serial_ports_are_refused(void **state)
{
	static const struct cvmm_firmware_serial none = { .port = 0 }, last = { .port = 0xfff9 };
	static const struct cvmm_firmware_serial close[] = { { .port = 0x3f8 }, { .port = 0x3ff } };

	(void)state;
	ASSERT_REFUSED_WITH(serial, &none, "serial[0]");
	ASSERT_REFUSED_WITH(serial, &last, "serial[0]");
	ASSERT_REFUSED_WITH(serial, NULL, "serial");
	ASSERT_REFUSED_WITH(serial_count, CVMM_FIRMWARE_SERIAL_MAX + 1, "serial_count");
	struct cvmm_firmware_machine two = full_machine();

	two.serial = close;
	two.serial_count = 2;
	assert_refused(&two, "overlap");
}

static void bad_overrides_are_refused(void **state)
{
	static const struct cvmm_firmware_irq_override high[] = { { .isa_irq = 16 }, { .gsi = 1 } };
	static const struct cvmm_firmware_irq_override twice[] = { { .isa_irq = 3 },
								   { .isa_irq = 3 } };

	(void)state;
	ASSERT_REFUSED_WITH(irq_overrides, high, "irq_overrides[0]");
	ASSERT_REFUSED_WITH(irq_overrides, twice, "irq_overrides[1]");
	ASSERT_REFUSED_WITH(irq_overrides, NULL, "irq_overrides");
	ASSERT_REFUSED_WITH(irq_override_count, 17, "irq_override_count");
}

static void bad_platform_registers_are_refused(void **state)
{
	(void)state;
	ASSERT_REFUSED_WITH(legacy, 0x20, "legacy");
	ASSERT_REFUSED_WITH(sleep_status_port, 0, "sleep");
	ASSERT_REFUSED_WITH(sleep_control_port, 0, "sleep");
	ASSERT_REFUSED_WITH(sleep_control_port, 0x601, "sleep");
}

/* ---- guest memory ---------------------------------------------------------------------------- */

static struct cvmm_mem *make_mem(void)
{
	const struct cvmm_mem_config ram = {
		.gpa = { 0 },
		.len_bytes = 1 << 20,
		.kind = CVMM_MEM_ANONYMOUS,
		.access = CVMM_ACCESS_READ_WRITE,
	};
	struct cvmm_mem *mem = NULL;

	assert_int_equal(cvmm_mem_create(&ram, 1, &mem, NULL), 0);
	return mem;
}

static void tables_reach_guest_memory(void **state)
{
	struct cvmm_firmware_machine machine = full_machine();
	struct tables t = build(&machine);
	struct cvmm_mem *mem = make_mem();
	uint8_t *copy = malloc(t.len);
	cvmm_gpa rsdp = { 0 };

	(void)state;
	assert_non_null(copy);
	assert_int_equal(
		cvmm_firmware_acpi_write(mem, &machine, cvmm_gpa_from(GPA), AREA, &rsdp, NULL), 0);
	assert_true(rsdp.addr == GPA);
	assert_int_equal(cvmm_mem_read(mem, rsdp, copy, t.len), 0);
	assert_memory_equal(copy, t.buf, t.len);
	cvmm_mem_unref(mem);
	free(copy);
	free(t.buf);
}

static void area_outside_ram_is_refused(void **state)
{
	struct cvmm_firmware_machine machine = full_machine();
	struct cvmm_mem *mem = make_mem();
	struct cvmm_error err = { 0 };
	cvmm_gpa rsdp = { 42 };

	(void)state;
	assert_int_equal(
		cvmm_firmware_acpi_write(mem, &machine, cvmm_gpa_from(GPA), AREA + 1, &rsdp, &err),
		-EFAULT);
	assert_non_null(strstr(err.message, "no RAM"));
	assert_true(rsdp.addr == 42);
	cvmm_mem_unref(mem);
}

static void failed_write_leaves_guest_memory_alone(void **state)
{
	struct cvmm_firmware_machine machine = full_machine();
	struct cvmm_mem *mem = make_mem();
	uint8_t byte = 1;
	cvmm_gpa rsdp;

	(void)state;
	assert_int_equal(
		cvmm_firmware_acpi_write(mem, &machine, cvmm_gpa_from(GPA), 64, &rsdp, NULL),
		-ENOSPC);
	for (uint64_t i = 0; i < 128; i++) {
		assert_int_equal(cvmm_mem_read(mem, cvmm_gpa_from(GPA + i), &byte, 1), 0);
		assert_int_equal(byte, 0);
	}
	cvmm_mem_unref(mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rsdp_has_both_checksums_and_no_rsdt),
		cmocka_unit_test(fadt_is_hardware_reduced),
		cmocka_unit_test(fadt_has_reset_and_sleep_registers),
		cmocka_unit_test(fadt_without_reset_and_sleep_has_none),
		cmocka_unit_test(boot_flags_follow_each_legacy_part_alone),
		cmocka_unit_test(madt_lists_cpus_ioapic_and_overrides),
		cmocka_unit_test(apic_ids_from_255_on_get_x2apic_entries),
		cmocka_unit_test(dsdt_of_one_cpu_is_exact),
		cmocka_unit_test(sleep_value_matches_the_s5_package),
		cmocka_unit_test(every_buffer_too_small_is_enospc_and_not_overrun),
		cmocka_unit_test(area_holds_1024_cpus_and_256_devices),
		cmocka_unit_test(largest_machine_fits_the_names),
		cmocka_unit_test(tables_above_4_gib_use_the_wide_fields_only),
		cmocka_unit_test(bad_address_of_the_tables_is_refused),
		cmocka_unit_test(bad_cpus_are_refused),
		cmocka_unit_test(bad_apic_windows_are_refused),
		cmocka_unit_test(bad_virtio_windows_are_refused),
		cmocka_unit_test(bad_serial_ports_are_refused),
		cmocka_unit_test(bad_overrides_are_refused),
		cmocka_unit_test(bad_platform_registers_are_refused),
		cmocka_unit_test(tables_reach_guest_memory),
		cmocka_unit_test(area_outside_ram_is_refused),
		cmocka_unit_test(failed_write_leaves_guest_memory_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
