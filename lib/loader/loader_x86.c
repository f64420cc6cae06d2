/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Theory of operation
 *
 * Whatever the protocol, the vCPU starts in flat segments, interrupts off, with a GDT that says the
 * same as the segment registers' hidden parts, so that a kernel may reload them at once. The
 * descriptors in memory are computed from the register values for that reason.
 *
 * LINUX64 starts in long mode: [0, 4 GiB) is mapped one to one with 2 MiB pages, which every x86_64
 * CPU has (1 GiB pages are optional). PVH starts in 32-bit protected mode, paging off.
 *
 * Spec: Linux Documentation/arch/x86/boot.rst "64-bit boot protocol"; Xen docs/misc/pvh.pandoc.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "loader_internal.h"

#define CR0_PE UINT64_C(0x1)
#define CR0_ET UINT64_C(0x10) /* reads as one on every CPU that has long mode */
#define CR0_PG UINT64_C(0x80000000)
#define CR4_PAE UINT64_C(0x20)
#define EFER_LME UINT64_C(0x100)
#define EFER_LMA UINT64_C(0x400)
#define RFLAGS_RESERVED UINT64_C(0x2) /* always one */

/* Selectors that Linux calls __BOOT_CS, __BOOT_DS and __BOOT_TSS. */
#define GDT_CODE 2
#define GDT_DATA 3
#define GDT_TSS 4 /* with the upper half of a 64-bit TSS behind it */
#define GDT_ENTRIES 6
#define GDT_ENTRY_BYTES 8

#define SEGMENT_TYPE_DATA_WRITE 0x3 /* read and write, accessed */
#define SEGMENT_TYPE_CODE_READ 0xb  /* execute and read, accessed */
#define SEGMENT_TYPE_TSS_BUSY 0xb
#define TSS_LIMIT 0x67

#define PAGE_BYTES 4096
#define PAGE_ENTRIES 512
#define PAGE_PRESENT UINT64_C(0x1)
#define PAGE_WRITE UINT64_C(0x2)
#define PAGE_HUGE UINT64_C(0x80)
#define PAGE_HUGE_BYTES UINT64_C(0x200000)
#define PAGE_DIRECTORIES 4 /* 1 GiB each */

#define STACK_BYTES UINT64_C(0x1000)
#define STACK_SKIP UINT64_C(16)

static_assert(CVMM_LOADER_PAGE_TABLES_END - CVMM_LOADER_PAGE_TABLES_GPA ==
		      (2 + PAGE_DIRECTORIES) * PAGE_BYTES,
	      "layout");
static_assert(CVMM_LOADER_IDENTITY_MAP_END == PAGE_DIRECTORIES * PAGE_ENTRIES * PAGE_HUGE_BYTES,
	      "layout");
static_assert(CVMM_LOADER_STACK_GPA + STACK_BYTES <= CVMM_LOADER_PAGE_TABLES_GPA, "layout");
static_assert(CVMM_LOADER_CMDLINE_GPA + CVMM_LOADER_CMDLINE_AREA_BYTES <= CVMM_LOADER_LOW_END,
	      "layout");

static int write_guest(const struct cvmm_mem *mem, uint64_t gpa, const void *src, size_t len,
		       const char *what, struct cvmm_error *err)
{
	int r = cvmm_mem_write(mem, cvmm_gpa_from(gpa), src, len);

	if (r < 0)
		return cvmm_fail(err, r, "cannot write %s to guest memory at 0x%" PRIx64 ": %s",
				 what, gpa, strerror(-r));
	return 0;
}

/* ---- segments and page tables ---------------------------------------------------------------- */

static struct cvmm_loader_x86_segment flat_segment(unsigned int index, uint8_t type, bool is_long)
{
	return (struct cvmm_loader_x86_segment){
		.limit = UINT32_MAX,
		.selector = (uint16_t)(index * GDT_ENTRY_BYTES),
		.type = type,
		.present = 1,
		.s = 1,
		.l = is_long,
		.db = !is_long,
		.g = 1,
	};
}

/* Intel SDM volume 3, 3.4.5: where each field of a descriptor sits. */
static uint64_t descriptor(const struct cvmm_loader_x86_segment *s)
{
	uint64_t limit = s->g ? s->limit >> 12 : s->limit;
	uint64_t flags = (uint64_t)s->type | (uint64_t)s->s << 4 | (uint64_t)s->dpl << 5 |
			 (uint64_t)s->present << 7 | (uint64_t)s->avl << 12 | (uint64_t)s->l << 13 |
			 (uint64_t)s->db << 14 | (uint64_t)s->g << 15;

	return (limit & 0xffff) | (s->base & 0xffffff) << 16 | flags << 40 |
	       (limit >> 16 & 0xf) << 48 | (s->base >> 24 & 0xff) << 56;
}

static int write_gdt(const struct cvmm_mem *mem, struct cvmm_loader_x86_state *state,
		     struct cvmm_error *err)
{
	cvmm_le64 gdt[GDT_ENTRIES] = { 0 };

	gdt[GDT_CODE] = cvmm_le64_from(descriptor(&state->cs));
	gdt[GDT_DATA] = cvmm_le64_from(descriptor(&state->data));
	gdt[GDT_TSS] = cvmm_le64_from(descriptor(&state->tr));
	state->gdt_base = CVMM_LOADER_GDT_GPA;
	state->gdt_limit = sizeof(gdt) - 1;
	return write_guest(mem, CVMM_LOADER_GDT_GPA, gdt, sizeof(gdt), "the GDT", err);
}

static int write_page_tables(const struct cvmm_mem *mem, struct cvmm_error *err)
{
	const uint64_t directory = PAGE_PRESENT | PAGE_WRITE;
	const size_t len = CVMM_LOADER_PAGE_TABLES_END - CVMM_LOADER_PAGE_TABLES_GPA;
	uint64_t next = CVMM_LOADER_PAGE_TABLES_GPA + PAGE_BYTES;
	cvmm_le64 *entries = calloc(1, len);
	int r;

	if (!entries)
		return cvmm_fail(err, -ENOMEM, "no memory for page tables");
	entries[0] = cvmm_le64_from(next | directory);
	for (size_t i = 0; i < PAGE_DIRECTORIES; i++) {
		next += PAGE_BYTES;
		entries[PAGE_ENTRIES + i] = cvmm_le64_from(next | directory);
	}
	for (size_t i = 0; i < (size_t)PAGE_DIRECTORIES * PAGE_ENTRIES; i++)
		entries[2 * PAGE_ENTRIES + i] =
			cvmm_le64_from(i * PAGE_HUGE_BYTES | directory | PAGE_HUGE);
	r = write_guest(mem, CVMM_LOADER_PAGE_TABLES_GPA, entries, len, "page tables", err);
	free(entries);
	return r;
}

/* ---- boot parameters ------------------------------------------------------------------------- */

static void fill_setup_header(struct loader_setup_header *hdr, const struct cvmm_loader_result *ret)
{
	hdr->type_of_loader = LOADER_SETUP_LOADER_UNDEFINED;
	hdr->cmd_line_ptr = cvmm_le32_from((uint32_t)ret->cmdline.gpa.addr);
	hdr->ramdisk_image = cvmm_le32_from((uint32_t)ret->initrd.gpa.addr);
	hdr->ramdisk_size = cvmm_le32_from((uint32_t)ret->initrd.len_bytes);
}

static int write_zero_page(const struct cvmm_mem *mem, const struct cvmm_loader_config *config,
			   const struct loader_image *image, struct cvmm_loader_result *ret,
			   struct cvmm_error *err)
{
	struct loader_boot_params *params = calloc(1, sizeof(*params));
	int r;

	if (!params)
		return cvmm_fail(err, -ENOMEM, "no memory for the zero page");
	params->hdr = image->setup;
	fill_setup_header(&params->hdr, ret);
	params->acpi_rsdp_addr = cvmm_le64_from(config->rsdp_gpa);
	params->ext_cmd_line_ptr = cvmm_le32_from((uint32_t)(ret->cmdline.gpa.addr >> 32));
	params->ext_ramdisk_image = cvmm_le32_from((uint32_t)(ret->initrd.gpa.addr >> 32));
	params->ext_ramdisk_size = cvmm_le32_from((uint32_t)(ret->initrd.len_bytes >> 32));
	for (size_t i = 0; i < config->map_count; i++) {
		params->e820_table[i].addr = cvmm_le64_from(config->map[i].gpa.addr);
		params->e820_table[i].size = cvmm_le64_from(config->map[i].len_bytes);
		params->e820_table[i].type = cvmm_le32_from((uint32_t)config->map[i].type);
	}
	params->e820_entries = (uint8_t)config->map_count;
	ret->boot_params.gpa = cvmm_gpa_from(CVMM_LOADER_ZERO_PAGE_GPA);
	ret->boot_params.len_bytes = sizeof(*params);
	r = write_guest(mem, CVMM_LOADER_ZERO_PAGE_GPA, params, sizeof(*params), "the zero page",
			err);
	free(params);
	return r;
}

static void fill_start_info(struct loader_start_info_area *area,
			    const struct cvmm_loader_config *config,
			    const struct cvmm_loader_result *ret)
{
	const uint64_t gpa = CVMM_LOADER_START_INFO_GPA;

	area->info.magic = cvmm_le32_from(LOADER_START_INFO_MAGIC);
	area->info.version = cvmm_le32_from(LOADER_START_INFO_VERSION);
	area->info.cmdline_paddr = cvmm_le64_from(ret->cmdline.gpa.addr);
	area->info.rsdp_paddr = cvmm_le64_from(config->rsdp_gpa);
	area->info.memmap_paddr =
		cvmm_le64_from(gpa + offsetof(struct loader_start_info_area, memmap));
	area->info.memmap_entries = cvmm_le32_from((uint32_t)config->map_count);
	for (size_t i = 0; i < config->map_count; i++) {
		area->memmap[i].addr = cvmm_le64_from(config->map[i].gpa.addr);
		area->memmap[i].size = cvmm_le64_from(config->map[i].len_bytes);
		area->memmap[i].type = cvmm_le32_from((uint32_t)config->map[i].type);
	}
	if (!ret->initrd.len_bytes)
		return;
	area->info.nr_modules = cvmm_le32_from(1);
	area->info.modlist_paddr =
		cvmm_le64_from(gpa + offsetof(struct loader_start_info_area, modules));
	area->modules[0].paddr = cvmm_le64_from(ret->initrd.gpa.addr);
	area->modules[0].size = cvmm_le64_from(ret->initrd.len_bytes);
}

static int write_start_info(const struct cvmm_mem *mem, const struct cvmm_loader_config *config,
			    struct cvmm_loader_result *ret, struct cvmm_error *err)
{
	struct loader_start_info_area *area = calloc(1, sizeof(*area));
	int r;

	if (!area)
		return cvmm_fail(err, -ENOMEM, "no memory for the PVH start info");
	fill_start_info(area, config, ret);
	ret->boot_params.gpa = cvmm_gpa_from(CVMM_LOADER_START_INFO_GPA);
	ret->boot_params.len_bytes = sizeof(*area);
	r = write_guest(mem, CVMM_LOADER_START_INFO_GPA, area, sizeof(*area), "the PVH start info",
			err);
	free(area);
	return r;
}

/* ---- registers ------------------------------------------------------------------------------- */

static void fill_state(const struct loader_image *image, struct cvmm_loader_x86_state *state)
{
	bool is_long = image->protocol == CVMM_LOADER_PROTOCOL_LINUX64;

	state->rip = image->entry;
	state->rsp = CVMM_LOADER_STACK_GPA + STACK_BYTES - STACK_SKIP;
	state->rflags = RFLAGS_RESERVED;
	state->cr0 = CR0_PE | CR0_ET;
	state->cs = flat_segment(GDT_CODE, SEGMENT_TYPE_CODE_READ, is_long);
	state->data = flat_segment(GDT_DATA, SEGMENT_TYPE_DATA_WRITE, false);
	state->tr = (struct cvmm_loader_x86_segment){
		.limit = TSS_LIMIT,
		.selector = GDT_TSS * GDT_ENTRY_BYTES,
		.type = SEGMENT_TYPE_TSS_BUSY,
		.present = 1,
	};
	if (!is_long) {
		state->rbx = CVMM_LOADER_START_INFO_GPA;
		return;
	}
	state->rsi = CVMM_LOADER_ZERO_PAGE_GPA;
	state->cr0 |= CR0_PG;
	state->cr3 = CVMM_LOADER_PAGE_TABLES_GPA;
	state->cr4 = CR4_PAE;
	state->efer = EFER_LME | EFER_LMA;
}

int loader_x86_prepare(const struct cvmm_mem *mem, const struct cvmm_loader_config *config,
		       const struct loader_image *image, struct cvmm_loader_result *ret,
		       struct cvmm_error *err)
{
	int r;

	fill_state(image, &ret->x86);
	r = write_gdt(mem, &ret->x86, err);
	if (r < 0)
		return r;
	if (image->protocol == CVMM_LOADER_PROTOCOL_PVH)
		return write_start_info(mem, config, ret, err);
	r = write_page_tables(mem, err);
	if (r < 0)
		return r;
	return write_zero_page(mem, config, image, ret, err);
}
