/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Inside the loader: what its files share, and the on-disk and in-memory layouts of the boot
 * protocols. The layouts are declared here rather than taken from <asm/bootparam.h>, which only x86
 * hosts have: the guest's architecture must not depend on the host's.
 */
#ifndef CVMM_LOADER_INTERNAL_H
#define CVMM_LOADER_INTERNAL_H

#include <assert.h>

#include <cvmm/loader.h>

#define LOADER_PACKED __attribute__((packed))
#define LOADER_MIB UINT64_C(0x100000)
/* Below it live firmware tables and our own structures; a kernel or initrd has no business there. */
#define LOADER_IMAGE_MIN LOADER_MIB

/* ---- files ----------------------------------------------------------------------------------- */

struct loader_file {
	int fd;
	uint64_t len;
};

/* Fails if @fd is not a regular file. @what names it in messages. */
int loader_file_open(int fd, const char *what, struct loader_file *ret, struct cvmm_error *err);

/* Reads all of [offset, offset + len), or fails with -ENODATA and a message that says "truncated". */
int loader_file_read(const struct loader_file *file, uint64_t offset, void *buf, size_t len,
		     const char *what, struct cvmm_error *err);

/* As loader_file_read(), straight into guest memory. */
int loader_file_load(const struct loader_file *file, uint64_t offset, const struct cvmm_mem *mem,
		     uint64_t gpa, uint64_t len, struct cvmm_error *err);

int loader_file_sniff(const struct loader_file *file, enum cvmm_loader_format *ret_format,
		      struct cvmm_error *err);

/* The error for a format that cannot be loaded: says what the file is and what to use instead. */
int loader_file_refuse(const struct loader_file *file, enum cvmm_loader_format format,
		       struct cvmm_error *err);

/* ---- space: which guest memory is free ------------------------------------------------------- */

/* The caller's ranges, our low memory, the kernel. */
#define LOADER_TAKEN_MAX (CVMM_LOADER_RESERVED_MAX + 2)

/**
 * struct loader_space - free RAM of the guest
 * @ram: RAM of the memory map in ascending order, neighbours merged
 * @taken: ranges that nothing else may use; gpa + len never wraps
 */
struct loader_space {
	const struct cvmm_mem *mem;
	struct cvmm_loader_range ram[CVMM_LOADER_MAP_MAX];
	size_t ram_count;
	struct cvmm_loader_range taken[LOADER_TAKEN_MAX];
	size_t taken_count;
};

/* Checks the memory map and reserved ranges of @config against @mem, and takes the low memory. */
int loader_space_init(struct loader_space *space, const struct cvmm_mem *mem,
		      const struct cvmm_loader_config *config, struct cvmm_error *err);

void loader_space_take(struct loader_space *space, uint64_t gpa, uint64_t len);

/* -ENOMEM if not all of it is RAM, -EFAULT if part of it is taken. */
int loader_space_check(const struct loader_space *space, uint64_t gpa, uint64_t len);

/* Lowest free place at or above @min, ending at or below @limit. -ENOMEM if there is none. */
int loader_space_find_low(const struct loader_space *space, uint64_t len, uint64_t align,
			  uint64_t min, uint64_t limit, uint64_t *ret_gpa);

/* Highest free place at or above LOADER_IMAGE_MIN, ending at or below @limit. */
int loader_space_find_high(const struct loader_space *space, uint64_t len, uint64_t align,
			   uint64_t limit, uint64_t *ret_gpa);

/* Bytes of RAM below @limit. */
uint64_t loader_space_ram_below(const struct loader_space *space, uint64_t limit);

/* ---- Linux zero page ------------------------------------------------------------------------- */

#define LOADER_BOOT_SECTOR_BYTES 512
#define LOADER_SETUP_SECTS_DEFAULT 4
#define LOADER_SETUP_HEADER_OFFSET 0x1f1
#define LOADER_SETUP_JUMP_ORIGIN 0x202 /* what the jump at 0x200 counts from */
#define LOADER_SETUP_JUMP_SHORT 0xeb
#define LOADER_SETUP_JUMP_MAX 0x7f
#define LOADER_SETUP_BOOT_FLAG 0xaa55
#define LOADER_SETUP_MAGIC UINT32_C(0x53726448) /* "HdrS" */
#define LOADER_SETUP_MAGIC_OFFSET 0x202
#define LOADER_SETUP_VERSION_ORIGIN 0x200
#define LOADER_SETUP_LOADFLAG_HIGH 0x01
#define LOADER_SETUP_XLF_KERNEL_64 0x0001
#define LOADER_SETUP_LOADER_UNDEFINED 0xff    /* type_of_loader without an assigned id */
#define LOADER_SETUP_ENTRY_64 UINT64_C(0x200) /* 64-bit entry, from the load address */
/* The first protocol with xloadflags, thus the first that can promise a 64-bit entry. */
#define LOADER_SETUP_PROTOCOL_MIN 0x020c

struct loader_setup_header {
	uint8_t setup_sects;
	cvmm_le16 root_flags;
	cvmm_le32 syssize;
	cvmm_le16 ram_size;
	cvmm_le16 vid_mode;
	cvmm_le16 root_dev;
	cvmm_le16 boot_flag;
	uint8_t jump_opcode;
	uint8_t jump_offset;
	cvmm_le32 header;
	cvmm_le16 version;
	cvmm_le32 realmode_swtch;
	cvmm_le16 start_sys_seg;
	cvmm_le16 kernel_version;
	uint8_t type_of_loader;
	uint8_t loadflags;
	cvmm_le16 setup_move_size;
	cvmm_le32 code32_start;
	cvmm_le32 ramdisk_image;
	cvmm_le32 ramdisk_size;
	cvmm_le32 bootsect_kludge;
	cvmm_le16 heap_end_ptr;
	uint8_t ext_loader_ver;
	uint8_t ext_loader_type;
	cvmm_le32 cmd_line_ptr;
	cvmm_le32 initrd_addr_max;
	cvmm_le32 kernel_alignment;
	uint8_t relocatable_kernel;
	uint8_t min_alignment;
	cvmm_le16 xloadflags;
	cvmm_le32 cmdline_size;
	cvmm_le32 hardware_subarch;
	cvmm_le64 hardware_subarch_data;
	cvmm_le32 payload_offset;
	cvmm_le32 payload_length;
	cvmm_le64 setup_data;
	cvmm_le64 pref_address;
	cvmm_le32 init_size;
	cvmm_le32 handover_offset;
	cvmm_le32 kernel_info_offset;
	uint8_t later[36]; /* room for protocols newer than 2.15 */
} LOADER_PACKED;

/* Up to and with init_size: what protocol 2.12 always has, but for handover_offset. */
#define LOADER_SETUP_HEADER_MIN_BYTES offsetof(struct loader_setup_header, handover_offset)

struct loader_e820_entry {
	cvmm_le64 addr;
	cvmm_le64 size;
	cvmm_le32 type;
} LOADER_PACKED;

struct loader_boot_params {
	uint8_t screen_info_to_rsdp[0x070];
	cvmm_le64 acpi_rsdp_addr;
	uint8_t unused_1[0x0c0 - 0x078];
	cvmm_le32 ext_ramdisk_image;
	cvmm_le32 ext_ramdisk_size;
	cvmm_le32 ext_cmd_line_ptr;
	uint8_t unused_2[0x1e8 - 0x0cc];
	uint8_t e820_entries;
	uint8_t unused_3[0x1f1 - 0x1e9];
	struct loader_setup_header hdr;
	uint8_t edd_mbr_sig_buffer[0x2d0 - 0x290];
	struct loader_e820_entry e820_table[CVMM_LOADER_MAP_MAX];
	uint8_t unused_4[0x1000 - 0xcd0];
} LOADER_PACKED;

static_assert(offsetof(struct loader_setup_header, header) == 0x202 - 0x1f1, "boot protocol");
static_assert(offsetof(struct loader_setup_header, code32_start) == 0x214 - 0x1f1, "boot protocol");
static_assert(offsetof(struct loader_setup_header, cmd_line_ptr) == 0x228 - 0x1f1, "boot protocol");
static_assert(offsetof(struct loader_setup_header, xloadflags) == 0x236 - 0x1f1, "boot protocol");
static_assert(offsetof(struct loader_setup_header, pref_address) == 0x258 - 0x1f1, "boot protocol");
static_assert(offsetof(struct loader_setup_header, init_size) == 0x260 - 0x1f1, "boot protocol");
static_assert(sizeof(struct loader_setup_header) == 0x290 - 0x1f1, "boot protocol");
static_assert(LOADER_SETUP_JUMP_ORIGIN + LOADER_SETUP_JUMP_MAX - LOADER_SETUP_HEADER_OFFSET <=
		      sizeof(struct loader_setup_header),
	      "the longest header that a short jump can declare fits");
static_assert(sizeof(struct loader_e820_entry) == 20, "zero page");
static_assert(offsetof(struct loader_boot_params, acpi_rsdp_addr) == 0x070, "zero page");
static_assert(offsetof(struct loader_boot_params, ext_ramdisk_image) == 0x0c0, "zero page");
static_assert(offsetof(struct loader_boot_params, ext_cmd_line_ptr) == 0x0c8, "zero page");
static_assert(offsetof(struct loader_boot_params, e820_entries) == 0x1e8, "zero page");
static_assert(offsetof(struct loader_boot_params, hdr) == 0x1f1, "zero page");
static_assert(offsetof(struct loader_boot_params, e820_table) == 0x2d0, "zero page");
static_assert(sizeof(struct loader_boot_params) == 4096, "zero page");

/* ---- PVH start info -------------------------------------------------------------------------- */

#define LOADER_START_INFO_MAGIC UINT32_C(0x336ec578)
#define LOADER_START_INFO_VERSION 1

struct loader_start_info {
	cvmm_le32 magic;
	cvmm_le32 version;
	cvmm_le32 flags;
	cvmm_le32 nr_modules;
	cvmm_le64 modlist_paddr;
	cvmm_le64 cmdline_paddr;
	cvmm_le64 rsdp_paddr;
	cvmm_le64 memmap_paddr;
	cvmm_le32 memmap_entries;
	cvmm_le32 reserved;
};

struct loader_modlist_entry {
	cvmm_le64 paddr;
	cvmm_le64 size;
	cvmm_le64 cmdline_paddr;
	cvmm_le64 reserved;
};

struct loader_memmap_entry {
	cvmm_le64 addr;
	cvmm_le64 size;
	cvmm_le32 type;
	cvmm_le32 reserved;
};

static_assert(offsetof(struct loader_start_info, modlist_paddr) == 16, "start info");
static_assert(offsetof(struct loader_start_info, memmap_paddr) == 40, "start info");
static_assert(sizeof(struct loader_start_info) == 56, "start info");
static_assert(sizeof(struct loader_modlist_entry) == 32, "start info");
static_assert(sizeof(struct loader_memmap_entry) == 24, "start info");

/* The three as they lie at CVMM_LOADER_START_INFO_GPA. */
struct loader_start_info_area {
	struct loader_start_info info;
	uint8_t pad[8];
	struct loader_modlist_entry modules[1];
	struct loader_memmap_entry memmap[CVMM_LOADER_MAP_MAX];
};

static_assert(sizeof(struct loader_start_info_area) <=
		      CVMM_LOADER_ZERO_PAGE_GPA - CVMM_LOADER_START_INFO_GPA,
	      "the start info must not reach into the zero page");

/* ---- images ---------------------------------------------------------------------------------- */

/**
 * struct loader_image - what a format's loader found out about its kernel
 * @kernel: memory that the kernel takes
 * @entry: first instruction
 * @cmdline_max: longest command line in characters, without the NUL
 * @initrd_limit: the initrd must end at or below it; at most CVMM_LOADER_IDENTITY_MAP_END
 * @setup: setup header for the zero page (LINUX64)
 */
struct loader_image {
	enum cvmm_loader_protocol protocol;
	struct cvmm_loader_range kernel;
	uint64_t entry;
	uint64_t cmdline_max;
	uint64_t initrd_limit;
	uint16_t boot_protocol;
	char kernel_version[CVMM_LOADER_VERSION_SIZE];
	struct loader_setup_header setup;
};

/* Each loads the kernel into memory and fills @image, or fails with a message. */
int loader_bzimage_load(const struct loader_space *space, const struct loader_file *file,
			enum cvmm_loader_protocol protocol, struct loader_image *image,
			struct cvmm_error *err);
int loader_elf_load(const struct loader_space *space, const struct loader_file *file,
		    enum cvmm_loader_protocol protocol, struct loader_image *image,
		    struct cvmm_error *err);

/**
 * loader_elf_find_pvh_entry() - look for the Xen PHYS32_ENTRY note in one note segment
 * @notes: contents of the segment (file-controlled)
 * @align: 4 or 8
 * @found: set when there is one; when it was set before, a different entry is an error
 * @entry: its address, changed only with @found
 */
int loader_elf_find_pvh_entry(const uint8_t *notes, size_t len, size_t align, bool *found,
			      uint64_t *entry, struct cvmm_error *err);

/* ---- x86 boot state -------------------------------------------------------------------------- */

/* Writes zero page or start info, GDT and page tables, and fills in ret->boot_params and ret->x86. */
int loader_x86_prepare(const struct cvmm_mem *mem, const struct cvmm_loader_config *config,
		       const struct loader_image *image, struct cvmm_loader_result *ret,
		       struct cvmm_error *err);

#endif /* CVMM_LOADER_INTERNAL_H */
