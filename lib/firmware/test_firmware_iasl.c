// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The tables through the eyes of ACPICA, the interpreter inside most guests: iasl must disassemble
 * them, compile its disassembly without complaint, and arrive at the bytes we wrote.
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "firmware_internal.h"

#define GPA CVMM_FIRMWARE_ACPI_GPA
#define AREA CVMM_FIRMWARE_ACPI_AREA_BYTES
#define VIRTIO_MAX 19
#define SDT_BYTES 36
#define SKIPPED 77

struct fixture {
	char dir[64];
	uint8_t tables[AREA];
	struct cvmm_firmware_virtio_mmio virtio[VIRTIO_MAX];
	char *text; /* the last disassembly */
};

static const struct cvmm_firmware_serial com1 = { .port = 0x3f8, .gsi = 4 };

/* ---- files and commands ---------------------------------------------------------------------- */

static char *read_file(const char *dir, const char *name, size_t *ret_len)
{
	char path[128];
	struct stat st;
	char *text;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "rb");
	assert_non_null(file);
	assert_int_equal(fstat(fileno(file), &st), 0);
	text = calloc(1, (size_t)st.st_size + 1);
	assert_non_null(text);
	assert_int_equal(fread(text, 1, (size_t)st.st_size, file), st.st_size);
	fclose(file);
	if (ret_len)
		*ret_len = (size_t)st.st_size;
	return text;
}

static void write_file(const char *dir, const char *name, const void *bytes, size_t len)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

/* Run iasl in the directory; it must succeed and have nothing to complain about. */
static void run_iasl(const char *dir, const char *args)
{
	char command[256];
	char *log;
	int r;

	snprintf(command, sizeof(command), "cd %s && iasl %s > log 2>&1", dir, args);
	r = system(command); /* NOLINT: a fixed command in a directory of our own */
	log = read_file(dir, "log", NULL);
	if (r || strstr(log, "rror(s)") || strstr(log, "Warning ") || strstr(log, "Error ") ||
	    strstr(log, "Invalid"))
		fail_msg("iasl %s: exit %d\n%s", args, r, log);
	if (strstr(log, "Compilation ") && !strstr(log, " 0 Errors, 0 Warnings"))
		fail_msg("iasl %s:\n%s", args, log);
	free(log);
}

/* ---- round trips ----------------------------------------------------------------------------- */

/*
 * Disassemble a table into f->text and compile that. All but the header, where iasl signs as the
 * compiler, must come out as it went in.
 */
static void round_trip(struct fixture *f, const uint8_t *table)
{
	size_t len = cvmm_get_le32(table + 4), again_len;
	char *again;

	write_file(f->dir, "table.aml", table, len);
	run_iasl(f->dir, "-p again -d table.aml");
	free(f->text);
	f->text = read_file(f->dir, "again.dsl", NULL);
	/* -oa: no optimizations, which would shorten paths; -tc: dump as C too, for AML only. */
	run_iasl(f->dir,
		 memcmp(table, "DSDT", 4) ? "-p again again.dsl" : "-oa -tc -p again again.dsl");
	again = read_file(f->dir, "again.aml", &again_len);
	assert_int_equal(again_len, len);
	assert_memory_equal(again + SDT_BYTES, table + SDT_BYTES, len - SDT_BYTES);
	free(again);
}

static void assert_says(const struct fixture *f, const char *what)
{
	if (!strstr(f->text, what))
		fail_msg("disassembly lacks \"%s\":\n%s", what, f->text);
}

static unsigned int count_of(const struct fixture *f, const char *what)
{
	unsigned int count = 0;

	for (const char *p = f->text; (p = strstr(p, what)); p += strlen(what))
		count++;
	return count;
}

static struct cvmm_firmware_machine machine_of(struct fixture *f, uint32_t cpus, size_t virtio)
{
	for (uint32_t i = 0; i < VIRTIO_MAX; i++)
		f->virtio[i] = (struct cvmm_firmware_virtio_mmio){
			.gpa = cvmm_gpa_from(0xd0000000 + i * 0x1000),
			.len_bytes = 0x1000,
			.gsi = 5 + i,
			.trigger = i % 2 ? CVMM_FIRMWARE_LEVEL : CVMM_FIRMWARE_EDGE,
		};
	return (struct cvmm_firmware_machine){
		.cpu_count = cpus,
		.lapic_gpa = { 0xfee00000 },
		.ioapic_gpa = { 0xfec00000 },
		.virtio_mmio = f->virtio,
		.virtio_mmio_count = virtio,
		.serial = &com1,
		.serial_count = 1,
		.reset_port = 0x64,
		.reset_value = 0xfe,
		.sleep_control_port = 0x600,
		.sleep_status_port = 0x601,
		.pvpanic_port = CVMM_FIRMWARE_PVPANIC_PORT,
		.hypervisor_vendor = "cvmm",
	};
}

/* Build, and return the table with a signature. */
static const uint8_t *build(struct fixture *f, const struct cvmm_firmware_machine *machine,
			    const char *signature)
{
	const uint8_t *xsdt, *fadt;
	cvmm_gpa rsdp;
	size_t len;

	assert_int_equal(cvmm_firmware_acpi_build(machine, f->tables, sizeof(f->tables),
						  cvmm_gpa_from(GPA), &len, &rsdp, NULL),
			 0);
	xsdt = f->tables + (cvmm_get_le64(f->tables + 24) - GPA);
	fadt = f->tables + (cvmm_get_le64(xsdt + 36) - GPA);
	if (!strcmp(signature, "XSDT"))
		return xsdt;
	if (!strcmp(signature, "FACP"))
		return fadt;
	if (!strcmp(signature, "APIC"))
		return f->tables + (cvmm_get_le64(xsdt + 44) - GPA);
	return f->tables + (cvmm_get_le64(fadt + 140) - GPA);
}

static void check_dsdt(struct fixture *f, uint32_t cpus, size_t virtio)
{
	struct cvmm_firmware_machine machine = machine_of(f, cpus, virtio);

	round_trip(f, build(f, &machine, "DSDT"));
	assert_int_equal(count_of(f, "\"ACPI0007\""), cpus);
	assert_int_equal(count_of(f, "\"LNRO0005\""), virtio);
	assert_int_equal(count_of(f, "Memory32Fixed (ReadWrite,"), virtio);
	assert_int_equal(count_of(f, "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive"),
			 1 + (virtio + 1) / 2);
	assert_int_equal(count_of(f, "Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive"),
			 virtio / 2);
	for (size_t i = 0; i < virtio; i++) {
		char what[64];

		snprintf(what, sizeof(what), "Device (V%03zX)", i);
		assert_says(f, what);
		snprintf(what, sizeof(what), "0xD00%02zX000,         // Address Base", i);
		assert_says(f, what);
		snprintf(what, sizeof(what), "0x000000%02zX,\n", 5 + i);
		assert_says(f, what);
	}
}

static void dsdt_round_trips_for_1_cpu(void **state)
{
	for (size_t virtio = 0; virtio <= VIRTIO_MAX; virtio++)
		check_dsdt(*state, 1, virtio);
}

static void dsdt_round_trips_for_4_cpus(void **state)
{
	for (size_t virtio = 0; virtio <= VIRTIO_MAX; virtio++)
		check_dsdt(*state, 4, virtio);
}

static void dsdt_round_trips_for_32_cpus(void **state)
{
	for (size_t virtio = 0; virtio <= VIRTIO_MAX; virtio++)
		check_dsdt(*state, 32, virtio);
}

static void dsdt_shows_serial_port_pvpanic_and_s5(void **state)
{
	struct fixture *f = *state;

	check_dsdt(f, 1, 1);
	assert_says(f, "EisaId (\"PNP0501\")");
	assert_says(f, "IO (Decode16,");
	assert_says(f, "0x03F8,             // Range Minimum");
	assert_says(f, "0x00000004,\n");
	assert_says(f, "\"QEMU0001\"");
	assert_says(f, "0x0505,             // Range Minimum");
	assert_says(f, "Name (\\_S5, Package (0x04)");
	assert_says(f, "Name (_CCA, One)");
}

static void madt_round_trips(void **state)
{
	static const uint32_t cpus[] = { 1, 4, 32, 300 };
	static const struct cvmm_firmware_irq_override timer = { .isa_irq = 0, .gsi = 2 };
	struct fixture *f = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(cpus); i++) {
		struct cvmm_firmware_machine machine = machine_of(f, cpus[i], 1);

		machine.irq_overrides = &timer;
		machine.irq_override_count = 1;
		round_trip(f, build(f, &machine, "APIC"));
		assert_int_equal(count_of(f, "[Processor Local APIC]"),
				 cpus[i] < 255 ? cpus[i] : 255);
		assert_int_equal(count_of(f, "[Processor Local x2APIC]"),
				 cpus[i] < 255 ? 0 : cpus[i] - 255);
		assert_int_equal(count_of(f, "[I/O APIC]"), 1);
		assert_int_equal(count_of(f, "[Interrupt Source Override]"), 1);
	}
}

static void fadt_round_trips_as_hardware_reduced(void **state)
{
	struct fixture *f = *state;
	struct cvmm_firmware_machine machine = machine_of(f, 1, 1);

	round_trip(f, build(f, &machine, "FACP"));
	assert_says(f, "Hardware Reduced (V5) : 1");
	assert_says(f, "Reset Register Supported (V2) : 1");
	assert_says(f, "8042 Present on ports 60/64 (V2) : 0");
	assert_says(f, "VGA Not Present (V4) : 1");
	assert_says(f, "CMOS RTC Not Present (V5) : 1");
	assert_says(f, "Value to cause reset : FE");
}

static void xsdt_round_trips(void **state)
{
	struct fixture *f = *state;
	struct cvmm_firmware_machine machine = machine_of(f, 1, 1);

	round_trip(f, build(f, &machine, "XSDT"));
	assert_int_equal(count_of(f, "ACPI Table Address"), 2);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	snprintf(f->dir, sizeof(f->dir), "/tmp/cvmm-iasl-XXXXXX");
	*state = f;
	return mkdtemp(f->dir) ? 0 : -1;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	DIR *dir = opendir(f->dir);
	struct dirent *entry;
	int r = dir ? 0 : -1;

	while (dir && (entry = readdir(dir)))
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(f->dir);
	free(f->text);
	free(f);
	return r;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(dsdt_round_trips_for_1_cpu),
		TEST(dsdt_round_trips_for_4_cpus),
		TEST(dsdt_round_trips_for_32_cpus),
		TEST(dsdt_shows_serial_port_pvpanic_and_s5),
		TEST(madt_round_trips),
		TEST(fadt_round_trips_as_hardware_reduced),
		TEST(xsdt_round_trips),
	};

	if (system("iasl -v > /dev/null 2>&1")) {
		printf("SKIP: no iasl (package acpica-tools)\n");
		return SKIPPED;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
