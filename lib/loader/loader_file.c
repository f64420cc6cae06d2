/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Theory of operation
 *
 * Files are read with pread at checked offsets against a length taken once. A file that shrinks
 * meanwhile turns into a short read, which is "truncated" like any other.
 *
 * Sniffing looks at magic numbers only. Most formats are recognised just to be refused with a hint:
 * "not a kernel" is no help to someone who passed vmlinuz.gz or a kernel for another machine.
 */
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "loader_internal.h"

/* Less than this is no kernel: the boot sector and one sector of set-up alone are more. */
#define KERNEL_MIN_BYTES 1024
#define SNIFF_BYTES 0x240

int loader_file_open(int fd, const char *what, struct loader_file *ret, struct cvmm_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return cvmm_fail(err, -errno, "cannot use the %s: %s", what, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return cvmm_fail(err, -EINVAL,
				 "the %s is not a regular file; copy it into one first", what);
	ret->fd = fd;
	ret->len = (uint64_t)st.st_size;
	return 0;
}

int loader_file_read(const struct loader_file *file, uint64_t offset, void *buf, size_t len,
		     const char *what, struct cvmm_error *err)
{
	ssize_t got;

	if (!cvmm_range_inside(offset, len, file->len))
		return cvmm_fail(err, -ENODATA,
				 "the kernel file is truncated: %s needs %zu bytes at offset "
				 "%" PRIu64 ", but the file has %" PRIu64 " bytes",
				 what, len, offset, file->len);
	got = cvmm_pread_full(file->fd, buf, len, offset);
	if (got < 0)
		return cvmm_fail(err, (int)got, "cannot read %s of the kernel file: %s", what,
				 strerror((int)-got));
	if ((size_t)got < len)
		return cvmm_fail(err, -ENODATA,
				 "the kernel file is truncated: it ended while %s was being read",
				 what);
	return 0;
}

int loader_file_load(const struct loader_file *file, uint64_t offset, const struct cvmm_mem *mem,
		     uint64_t gpa, uint64_t len, struct cvmm_error *err)
{
	int r = cvmm_mem_pread(mem, cvmm_gpa_from(gpa), file->fd, offset, len);

	if (r == -ENODATA)
		return cvmm_fail(err, r, "the kernel file is truncated: it ended while being read");
	if (r < 0)
		return cvmm_fail(err, r,
				 "cannot load %" PRIu64 " bytes of the kernel file to 0x%" PRIx64
				 ": %s",
				 len, gpa, strerror(-r));
	return 0;
}

struct magic {
	enum cvmm_loader_format format;
	uint16_t offset;
	uint8_t len;
	const char *bytes;
};

/* In order of precision: an x86 or arm64 EFI kernel also begins as a PE file does. */
static const struct magic magics[] = {
	{ CVMM_LOADER_FORMAT_BZIMAGE, LOADER_SETUP_MAGIC_OFFSET, 4, "HdrS" },
	{ CVMM_LOADER_FORMAT_ARM64_IMAGE, 0x38, 4, "ARM\x64" },
	{ CVMM_LOADER_FORMAT_RISCV_IMAGE, 0x38, 4, "RSC\x05" },
	{ CVMM_LOADER_FORMAT_EFI_ZBOOT, 0, 8, "MZ\0\0zimg" },
	{ CVMM_LOADER_FORMAT_PE, 0, 2, "MZ" },
	{ CVMM_LOADER_FORMAT_GZIP, 0, 2, "\x1f\x8b" },
	{ CVMM_LOADER_FORMAT_XZ, 0, 6, "\xfd\x37zXZ\0" },
	{ CVMM_LOADER_FORMAT_ZSTD, 0, 4, "\x28\xb5\x2f\xfd" },
	{ CVMM_LOADER_FORMAT_BZIP2, 0, 3, "BZh" },
	{ CVMM_LOADER_FORMAT_LZ4, 0, 4, "\x02\x21\x4c\x18" },
	{ CVMM_LOADER_FORMAT_LZ4, 0, 4, "\x04\x22\x4d\x18" },
	{ CVMM_LOADER_FORMAT_CPIO, 0, 6, "070701" },
	{ CVMM_LOADER_FORMAT_CPIO, 0, 6, "070702" },
};

static enum cvmm_loader_format sniff_elf(const uint8_t *head, size_t len)
{
	if (len < offsetof(Elf64_Ehdr, e_version) || head[EI_CLASS] != ELFCLASS64 ||
	    head[EI_DATA] != ELFDATA2LSB ||
	    cvmm_get_le16(head + offsetof(Elf64_Ehdr, e_machine)) != EM_X86_64)
		return CVMM_LOADER_FORMAT_ELF_OTHER;
	return CVMM_LOADER_FORMAT_ELF64_X86_64;
}

int loader_file_sniff(const struct loader_file *file, enum cvmm_loader_format *ret_format,
		      struct cvmm_error *err)
{
	size_t len = file->len < SNIFF_BYTES ? (size_t)file->len : SNIFF_BYTES;
	uint8_t head[SNIFF_BYTES];
	int r;

	r = loader_file_read(file, 0, head, len, "the first bytes", err);
	if (r < 0)
		return r;
	*ret_format = len ? CVMM_LOADER_FORMAT_UNKNOWN : CVMM_LOADER_FORMAT_EMPTY;
	if (len >= SELFMAG && !memcmp(head, ELFMAG, SELFMAG)) {
		*ret_format = sniff_elf(head, len);
		return 0;
	}
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(magics); i++) {
		const struct magic *m = &magics[i];

		if ((size_t)m->offset + m->len > len || memcmp(head + m->offset, m->bytes, m->len))
			continue;
		*ret_format = m->format;
		break;
	}
	return 0;
}

int cvmm_loader_sniff(int kernel_fd, enum cvmm_loader_format *ret_format, struct cvmm_error *err)
{
	struct loader_file file;
	int r;

	r = loader_file_open(kernel_fd, "kernel file", &file, err);
	if (r < 0)
		return r;
	return loader_file_sniff(&file, ret_format, err);
}

struct format_text {
	const char *name;
	const char *hint;
};

#define X86_KERNEL "an x86_64 bzImage (vmlinuz) or an uncompressed ELF kernel (vmlinux)"

static const struct format_text format_texts[] = {
	[CVMM_LOADER_FORMAT_UNKNOWN] = { "file of an unknown format", "use " X86_KERNEL },
	[CVMM_LOADER_FORMAT_BZIMAGE] = { "bzImage", "" },
	[CVMM_LOADER_FORMAT_ELF64_X86_64] = { "x86_64 ELF file", "" },
	[CVMM_LOADER_FORMAT_EMPTY] = { "empty file", "use " X86_KERNEL },
	[CVMM_LOADER_FORMAT_ELF_OTHER] = { "32-bit, big-endian or foreign ELF file",
					   "use a 64-bit kernel for x86_64" },
	[CVMM_LOADER_FORMAT_GZIP] = { "gzip-compressed file", "unpack it with gunzip first" },
	[CVMM_LOADER_FORMAT_XZ] = { "xz-compressed file", "unpack it with unxz first" },
	[CVMM_LOADER_FORMAT_ZSTD] = { "zstd-compressed file", "unpack it with unzstd first" },
	[CVMM_LOADER_FORMAT_BZIP2] = { "bzip2-compressed file", "unpack it with bunzip2 first" },
	[CVMM_LOADER_FORMAT_LZ4] = { "lz4-compressed file", "unpack it with unlz4 first" },
	[CVMM_LOADER_FORMAT_ARM64_IMAGE] = { "arm64 kernel Image", "use a kernel for x86_64" },
	[CVMM_LOADER_FORMAT_RISCV_IMAGE] = { "riscv kernel Image", "use a kernel for x86_64" },
	[CVMM_LOADER_FORMAT_EFI_ZBOOT] = { "compressed EFI kernel (zboot)",
					   "use " X86_KERNEL " instead of the EFI program" },
	[CVMM_LOADER_FORMAT_PE] = { "EFI or Windows program",
				    "use " X86_KERNEL "; from a unified kernel image, extract the "
				    "section .linux" },
	[CVMM_LOADER_FORMAT_CPIO] = { "cpio archive",
				      "it looks like an initrd; give it as such, and a kernel here" },
};

const char *cvmm_loader_format_name(enum cvmm_loader_format format)
{
	if ((size_t)format >= CVMM_ARRAY_SIZE(format_texts))
		format = CVMM_LOADER_FORMAT_UNKNOWN;
	return format_texts[format].name;
}

int loader_file_refuse(const struct loader_file *file, enum cvmm_loader_format format,
		       struct cvmm_error *err)
{
	bool maybe_cut = format == CVMM_LOADER_FORMAT_UNKNOWN || format == CVMM_LOADER_FORMAT_PE;

	if (maybe_cut && file->len < KERNEL_MIN_BYTES)
		return cvmm_fail(err, -ENODATA,
				 "the kernel file is truncated: it has only %" PRIu64 " bytes",
				 file->len);
	return cvmm_fail(err, -ENOEXEC,
			 "the kernel file cannot be loaded: it is of the kind \"%s\"; %s",
			 format_texts[format].name, format_texts[format].hint);
}
