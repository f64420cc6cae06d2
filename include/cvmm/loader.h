/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm loader: put a kernel, its initrd, command line and boot parameters into guest memory, and say
 * in which state the first vCPU has to start.
 *
 * One call, cvmm_loader_load(), does everything for a VMM. The architecture is a parameter: nothing
 * here depends on the host's. The kernel file and the initrd may be hostile; every number in them is
 * copied once and checked.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_LOADER_H
#define CVMM_LOADER_H

#include <cvmm/base.h>
#include <cvmm/mem.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- where things go in x86_64 guest memory ---------------------------------------------------- */

/*
 * The loader uses [0, CVMM_LOADER_LOW_END) as below; it must be RAM, and no kernel segment, reserved
 * range or memory-map entry of another type may lie there. A VMM's own tables (ACPI, MP, EBDA) belong
 * above it.
 */
#define CVMM_LOADER_GDT_GPA UINT64_C(0x500)
#define CVMM_LOADER_START_INFO_GPA UINT64_C(0x6000) /* PVH start info, module list, memory map */
#define CVMM_LOADER_ZERO_PAGE_GPA UINT64_C(0x7000)  /* struct boot_params */
#define CVMM_LOADER_STACK_GPA UINT64_C(0x8000)	    /* one page; rsp starts near its end */
#define CVMM_LOADER_PAGE_TABLES_GPA UINT64_C(0x9000)
#define CVMM_LOADER_PAGE_TABLES_END UINT64_C(0xf000)
#define CVMM_LOADER_CMDLINE_GPA UINT64_C(0x20000)
#define CVMM_LOADER_CMDLINE_AREA_BYTES UINT64_C(0x10000) /* with the NUL */
#define CVMM_LOADER_LOW_END UINT64_C(0x30000)

/* What the page tables map one to one; kernel and initrd lie below it. */
#define CVMM_LOADER_IDENTITY_MAP_END UINT64_C(0x100000000)

/* ---- limits ------------------------------------------------------------------------------------ */

#define CVMM_LOADER_MAP_MAX 128		 /* memory-map entries: what a zero page holds */
#define CVMM_LOADER_RESERVED_MAX 64	 /* reserved ranges */
#define CVMM_LOADER_INITRD_PIECES_MAX 64 /* initrd sources */
#define CVMM_LOADER_ELF_PHNUM_MAX 64	 /* ELF program headers */
#define CVMM_LOADER_ELF_NOTES_MAX 65536	 /* bytes of one PT_NOTE segment */
#define CVMM_LOADER_CMDLINE_ELF_MAX 2047 /* characters; an ELF kernel does not tell its own limit */
#define CVMM_LOADER_VERSION_SIZE 128	 /* kernel version string with its NUL */

/* ---- what a file is ------------------------------------------------------------------------------ */

enum cvmm_loader_arch {
	CVMM_LOADER_ARCH_X86_64 = 0,
};

enum cvmm_loader_format {
	CVMM_LOADER_FORMAT_UNKNOWN = 0,
	CVMM_LOADER_FORMAT_BZIMAGE,	 /* x86 Linux boot image; loadable */
	CVMM_LOADER_FORMAT_ELF64_X86_64, /* loadable */
	CVMM_LOADER_FORMAT_EMPTY,     /* all from here on are recognised only to be refused well */
	CVMM_LOADER_FORMAT_ELF_OTHER, /* 32-bit, big-endian or for another machine */
	CVMM_LOADER_FORMAT_GZIP,
	CVMM_LOADER_FORMAT_XZ,
	CVMM_LOADER_FORMAT_ZSTD,
	CVMM_LOADER_FORMAT_BZIP2,
	CVMM_LOADER_FORMAT_LZ4,
	CVMM_LOADER_FORMAT_ARM64_IMAGE,
	CVMM_LOADER_FORMAT_RISCV_IMAGE,
	CVMM_LOADER_FORMAT_EFI_ZBOOT, /* EFI program around a compressed kernel */
	CVMM_LOADER_FORMAT_PE,	      /* other EFI or Windows programs, unified kernel images */
	CVMM_LOADER_FORMAT_CPIO,      /* an initrd given as a kernel */
};

/**
 * cvmm_loader_format_name() - a format in words, e.g. "gzip-compressed file"
 *
 * Return: a constant string, never NULL.
 */
CVMM_API const char *cvmm_loader_format_name(enum cvmm_loader_format format);

/**
 * cvmm_loader_sniff() - tell a kernel file's format from its first bytes
 * @kernel_fd: regular file or memfd, read from offset 0 (its position does not move)
 * @ret_format: what it is; CVMM_LOADER_FORMAT_UNKNOWN is no error
 *
 * Return: 0; -EINVAL if @kernel_fd is not a regular file; or the read's errno.
 * Context: any thread; blocks on file I/O.
 */
CVMM_API int cvmm_loader_sniff(int kernel_fd, enum cvmm_loader_format *ret_format,
			       struct cvmm_error *err);

/* ---- what to load -------------------------------------------------------------------------------- */

enum cvmm_loader_protocol {
	CVMM_LOADER_PROTOCOL_AUTO =
		0,		      /* bzImage: LINUX64; ELF: PVH with a Xen note, else LINUX64 */
	CVMM_LOADER_PROTOCOL_LINUX64, /* long mode, zero page in rsi */
	CVMM_LOADER_PROTOCOL_PVH,     /* 32-bit protected mode, start info in ebx */
};

/* The numbers are those of e820 and of PVH's memory map. */
enum cvmm_loader_map_type {
	CVMM_LOADER_MAP_RAM = 1,
	CVMM_LOADER_MAP_RESERVED = 2,
	CVMM_LOADER_MAP_ACPI = 3,
	CVMM_LOADER_MAP_NVS = 4,
	CVMM_LOADER_MAP_UNUSABLE = 5,
	CVMM_LOADER_MAP_PMEM = 7,
};

struct cvmm_loader_map_entry {
	cvmm_gpa gpa;
	uint64_t len_bytes;
	enum cvmm_loader_map_type type;
};

struct cvmm_loader_range {
	cvmm_gpa gpa;
	uint64_t len_bytes;
};

/* For cvmm_loader_piece.len_bytes with a descriptor: up to the end of the file. */
#define CVMM_LOADER_TO_END UINT64_MAX

/**
 * struct cvmm_loader_piece - one source of initrd bytes
 * @data: bytes in memory; or NULL to read from @fd
 * @len_bytes: how many; CVMM_LOADER_TO_END is allowed with @fd
 * @fd: regular file, used if @data is NULL; not closed, its position does not move
 * @fd_offset: first byte in the file
 */
struct cvmm_loader_piece {
	const void *data;
	uint64_t len_bytes;
	int fd;
	uint64_t fd_offset;
};

/**
 * struct cvmm_loader_config - everything about one boot; zero-initialise, then fill in
 * @arch: the guest's architecture
 * @kernel_fd: regular file or memfd with the kernel; not closed, its position does not move
 * @protocol: boot protocol, AUTO is right nearly always
 * @cmdline: kernel command line, NUL-terminated, or NULL for an empty one
 * @initrd: pieces, concatenated in order. Each begins at a multiple of 4 bytes, with zeros in
 *          between, as Linux wants for uncompressed cpio archives
 * @initrd_count: 0 for no initrd; at most CVMM_LOADER_INITRD_PIECES_MAX
 * @map: the memory map for the guest, in ascending order, no overlaps, no empty entries. Entries of
 *       type RAM must be backed by the guest memory
 * @map_count: 1 to CVMM_LOADER_MAP_MAX
 * @rsdp_gpa: ACPI root pointer, or 0 if the guest has to search for it
 * @reserved: ranges which neither kernel nor initrd may touch, whatever the map says
 * @reserved_count: at most CVMM_LOADER_RESERVED_MAX
 */
struct cvmm_loader_config {
	enum cvmm_loader_arch arch;
	int kernel_fd;
	enum cvmm_loader_protocol protocol;
	const char *cmdline;
	const struct cvmm_loader_piece *initrd;
	size_t initrd_count;
	const struct cvmm_loader_map_entry *map;
	size_t map_count;
	uint64_t rsdp_gpa;
	const struct cvmm_loader_range *reserved;
	size_t reserved_count;
};

/* ---- what the VMM gets --------------------------------------------------------------------------- */

/* One segment register, field by field as in KVM's struct kvm_segment. */
struct cvmm_loader_x86_segment {
	uint64_t base;
	uint32_t limit; /* in bytes - 1, already scaled by g */
	uint16_t selector;
	uint8_t type;
	uint8_t present;
	uint8_t dpl;
	uint8_t db;
	uint8_t s;
	uint8_t l;
	uint8_t g;
	uint8_t avl;
};

/**
 * struct cvmm_loader_x86_state - registers of the boot vCPU; all that are not named here are 0
 * @data: value of ds, es, fs, gs and ss
 * @tr: a busy 32-bit (PVH) or 64-bit TSS
 * @gdt_limit: in bytes - 1, as in the register
 */
struct cvmm_loader_x86_state {
	uint64_t rip;
	uint64_t rsp;
	uint64_t rsi; /* LINUX64: zero page */
	uint64_t rbx; /* PVH: start info */
	uint64_t rflags;
	uint64_t cr0;
	uint64_t cr3;
	uint64_t cr4;
	uint64_t efer;
	struct cvmm_loader_x86_segment cs;
	struct cvmm_loader_x86_segment data;
	struct cvmm_loader_x86_segment tr;
	uint64_t gdt_base;
	uint16_t gdt_limit;
	uint64_t idt_base;
	uint16_t idt_limit;
};

/**
 * struct cvmm_loader_result - what was loaded, and how to start it
 * @format: what the kernel file is
 * @protocol: the one chosen, never AUTO
 * @kernel: memory that the kernel needs until it knows better: from its first byte to its last one,
 *          with .bss and room to decompress
 * @initrd: where the initrd went; len_bytes is 0 if there is none
 * @cmdline: where the command line went, with its NUL
 * @boot_params: the zero page, or the PVH start info with its tables
 * @boot_protocol: bzImage: protocol version, e.g. 0x020f; otherwise 0
 * @kernel_version: bzImage: version text, printable ASCII; otherwise empty
 * @x86: CVMM_LOADER_ARCH_X86_64: registers of the boot vCPU
 */
struct cvmm_loader_result {
	enum cvmm_loader_format format;
	enum cvmm_loader_protocol protocol;
	struct cvmm_loader_range kernel;
	struct cvmm_loader_range initrd;
	struct cvmm_loader_range cmdline;
	struct cvmm_loader_range boot_params;
	uint16_t boot_protocol;
	char kernel_version[CVMM_LOADER_VERSION_SIZE];
	struct cvmm_loader_x86_state x86;
};

/**
 * cvmm_loader_load() - load a kernel and all that it needs to start
 * @mem: guest memory
 * @config: what to load; only read
 * @ret: what was loaded; untouched on failure
 *
 * On failure the contents of guest memory are unspecified.
 *
 * Return: 0; -ENOEXEC if the kernel file is of a kind that cannot be loaded; -EBADMSG if it is
 * malformed; -ENODATA if it is truncated; -ENOTSUP if it is too old or does not know the protocol;
 * -ENOMEM if kernel or initrd do not fit into the guest's RAM; -EFAULT if a fixed address is not
 * RAM, or is taken; -E2BIG if the command line is longer than the kernel accepts; -EINVAL for a
 * mistake in @config; or the errno of reading a file. @err always says what to do.
 * Context: any thread; blocks on file I/O. @mem must not be in use by a running vCPU.
 * Spec: Linux Documentation/arch/x86/boot.rst, Xen docs/misc/pvh.pandoc, System V gABI ch. 4 and 5.
 */
CVMM_API int CVMM_MUST_CHECK cvmm_loader_load(const struct cvmm_mem *mem,
					      const struct cvmm_loader_config *config,
					      struct cvmm_loader_result *ret,
					      struct cvmm_error *err);

/* ---- command lines ------------------------------------------------------------------------------- */

/*
 * A command line is "BOOT-ARGS -- INIT-ARGS"; the second part goes to the init program. New text goes
 * behind what is there, and with Linux the last one of several equal keys wins: insert your defaults
 * first and the user's text last.
 *
 * Each rule has its errno:
 *   -EINVAL   the capacity is 0
 *   -ENOSPC   the text would not fit (nothing was changed)
 *   -EILSEQ   a byte is not printable ASCII (space to '~')
 *   -EDOM     a space in a key, or in a value outside double quotes
 *   -EPROTO   '=' in a key
 *   -ENODATA  an empty key, an empty list of values
 *   -EBADMSG  a double quote without its partner, or one in a key
 *   -ERANGE   the size of an MMIO window is 0, or the window wraps
 *   -ENOENT   init arguments without any boot argument before them
 *   -ENOMEM   no memory for the object itself
 */
struct cvmm_loader_cmdline;

#define CVMM_LOADER_CMDLINE_CAPACITY_MAX CVMM_LOADER_CMDLINE_AREA_BYTES

/**
 * cvmm_loader_cmdline_create() - an empty command line
 * @capacity_bytes: room, with the NUL; at most CVMM_LOADER_CMDLINE_CAPACITY_MAX
 * @ret_cmdline: the new object, owned by the caller
 *
 * Context of all functions of this section: no locking, one thread at a time for one object.
 */
CVMM_API int cvmm_loader_cmdline_create(size_t capacity_bytes,
					struct cvmm_loader_cmdline **ret_cmdline,
					struct cvmm_error *err);

/* A command line made of text, split at the first unquoted word "--". */
CVMM_API int cvmm_loader_cmdline_parse(const char *text, size_t capacity_bytes,
				       struct cvmm_loader_cmdline **ret_cmdline,
				       struct cvmm_error *err);

/* A copy of its own, with the same capacity. -ENOMEM is the only failure. */
CVMM_API int cvmm_loader_cmdline_clone(const struct cvmm_loader_cmdline *cmdline,
				       struct cvmm_loader_cmdline **ret_cmdline,
				       struct cvmm_error *err);

/* NULL is allowed. */
CVMM_API void cvmm_loader_cmdline_destroy(struct cvmm_loader_cmdline *cmdline);

/* Whether boot and init arguments are the same text; the capacities do not count. */
CVMM_API bool cvmm_loader_cmdline_equal(const struct cvmm_loader_cmdline *a,
					const struct cvmm_loader_cmdline *b);

/* The whole text. Valid until the object is changed or destroyed. */
CVMM_API const char *cvmm_loader_cmdline_text(const struct cvmm_loader_cmdline *cmdline);

/* Append `key=value`. A value may be empty, may contain '=', and spaces between double quotes. */
CVMM_API int cvmm_loader_cmdline_insert(struct cvmm_loader_cmdline *cmdline, const char *key,
					const char *value, struct cvmm_error *err);

/* Append `key=value0,value1,...`. */
CVMM_API int cvmm_loader_cmdline_insert_multiple(struct cvmm_loader_cmdline *cmdline,
						 const char *key, const char *const *values,
						 size_t count, struct cvmm_error *err);

/*
 * Append words, untouched but for spaces at the ends. What follows an unquoted word "--" goes behind
 * the init arguments.
 */
CVMM_API int cvmm_loader_cmdline_insert_str(struct cvmm_loader_cmdline *cmdline, const char *text,
					    struct cvmm_error *err);

/* Append words for the init program. */
CVMM_API int cvmm_loader_cmdline_insert_init_args(struct cvmm_loader_cmdline *cmdline,
						  const char *text, struct cvmm_error *err);

/**
 * cvmm_loader_cmdline_add_virtio_mmio() - append `virtio_mmio.device=SIZE@0xGPA:IRQ[:ID]`
 * @size_bytes: size of the register window; written with the largest of G, M and K that divides it
 * @gpa: first address of the window
 * @irq: interrupt number (GSI)
 * @id: platform device id, or a negative number to leave the choice to the kernel
 */
CVMM_API int cvmm_loader_cmdline_add_virtio_mmio(struct cvmm_loader_cmdline *cmdline,
						 uint64_t size_bytes, cvmm_gpa gpa, uint32_t irq,
						 int id, struct cvmm_error *err);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_LOADER_H */
