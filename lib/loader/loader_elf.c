/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Theory of operation
 *
 * Each PT_LOAD goes to its physical address, wherever the virtual one is; what memsz has more than
 * filesz is .bss and is zeroed here, because guest memory need not be fresh. All segments are checked
 * before the first byte is written. PT_NOTEs are searched for Xen's PHYS32_ENTRY, which makes the file
 * a PVH kernel; one file has one such entry, and two different ones are an error.
 *
 * File and program headers are copied out of the file once.
 */
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "loader_internal.h"

#define NOTE_HEADER_BYTES 12
#define NOTE_XEN_NAME "Xen" /* with its NUL */
#define NOTE_PHYS32_ENTRY 18
/* For the zero page of a kernel that brings no setup header; as bzImages of today have them. */
#define ELF_SETUP_PROTOCOL 0x020f
#define ELF_SETUP_ALIGNMENT UINT32_C(0x1000000)

struct segment {
	uint64_t gpa;
	uint64_t vaddr;
	uint64_t mem_bytes;
	uint64_t file_bytes;
	uint64_t file_offset;
};

struct elf {
	uint64_t entry;
	uint64_t phoff;
	size_t phnum;
	uint8_t phdrs[CVMM_LOADER_ELF_PHNUM_MAX * sizeof(Elf64_Phdr)];
	struct segment segments[CVMM_LOADER_ELF_PHNUM_MAX];
	size_t segment_count;
};

/* Fields in the file's byte order, of the headers as the file has them. */
#define EHDR16(p, field) cvmm_get_le16((p) + offsetof(Elf64_Ehdr, field))
#define EHDR64(p, field) cvmm_get_le64((p) + offsetof(Elf64_Ehdr, field))
#define PHDR32(p, field) cvmm_get_le32((p) + offsetof(Elf64_Phdr, field))
#define PHDR64(p, field) cvmm_get_le64((p) + offsetof(Elf64_Phdr, field))

static const uint8_t *phdr_at(const struct elf *elf, size_t i)
{
	return elf->phdrs + i * sizeof(Elf64_Phdr);
}

static int read_file_header(const struct loader_file *file, struct elf *elf, struct cvmm_error *err)
{
	uint8_t ehdr[sizeof(Elf64_Ehdr)];
	uint16_t type;
	int r;

	r = loader_file_read(file, 0, ehdr, sizeof(ehdr), "the ELF header", err);
	if (r < 0)
		return r;
	/* Again, on the copy: the file was sniffed by an earlier read. */
	if (memcmp(ehdr, ELFMAG, SELFMAG) || ehdr[EI_CLASS] != ELFCLASS64 ||
	    ehdr[EI_DATA] != ELFDATA2LSB || EHDR16(ehdr, e_machine) != EM_X86_64 ||
	    ehdr[EI_VERSION] != EV_CURRENT)
		return cvmm_fail(err, -ENOEXEC, "the kernel file is not an ELF file for x86_64");
	type = EHDR16(ehdr, e_type);
	if (type != ET_EXEC && type != ET_DYN)
		return cvmm_fail(
			err, -ENOEXEC,
			"the kernel file is an ELF file of type %u: an object file, kernel "
			"module or core dump; use a linked kernel (vmlinux)",
			type);
	elf->entry = EHDR64(ehdr, e_entry);
	elf->phoff = EHDR64(ehdr, e_phoff);
	elf->phnum = EHDR16(ehdr, e_phnum);
	if (EHDR16(ehdr, e_phentsize) != sizeof(Elf64_Phdr) || elf->phoff < sizeof(ehdr))
		return cvmm_fail(
			err, -EBADMSG,
			"the kernel file is a malformed ELF file: program headers of %u bytes "
			"at offset %" PRIu64,
			EHDR16(ehdr, e_phentsize), elf->phoff);
	if (!elf->phnum || elf->phnum > CVMM_LOADER_ELF_PHNUM_MAX)
		return cvmm_fail(
			err, -EBADMSG,
			"the kernel file has %zu ELF program headers; 1 to %d are accepted",
			elf->phnum, CVMM_LOADER_ELF_PHNUM_MAX);
	return loader_file_read(file, elf->phoff, elf->phdrs, elf->phnum * sizeof(Elf64_Phdr),
				"the ELF program headers", err);
}

static bool segments_overlap(const struct segment *a, const struct segment *b)
{
	return a->gpa < b->gpa + b->mem_bytes && b->gpa < a->gpa + a->mem_bytes;
}

static int check_segment(const struct loader_space *space, const struct loader_file *file,
			 const struct elf *elf, const struct segment *segment, size_t i,
			 struct cvmm_error *err)
{
	int r;

	if (segment->file_bytes > segment->mem_bytes)
		return cvmm_fail(err, -EBADMSG,
				 "ELF program header %zu: more bytes in the file (%" PRIu64
				 ") than in memory (%" PRIu64 ")",
				 i, segment->file_bytes, segment->mem_bytes);
	if (!cvmm_range_inside(segment->file_offset, segment->file_bytes, file->len))
		return cvmm_fail(
			err, -ENODATA,
			"the kernel file is truncated: ELF program header %zu needs %" PRIu64
			" bytes at offset %" PRIu64 ", but the file has %" PRIu64,
			i, segment->file_bytes, segment->file_offset, file->len);
	if (!cvmm_range_inside(segment->gpa, segment->mem_bytes, CVMM_LOADER_IDENTITY_MAP_END))
		return cvmm_fail(err, -EBADMSG,
				 "ELF program header %zu: %" PRIu64
				 " bytes at physical address 0x%" PRIx64 " do not end below 4 GiB",
				 i, segment->mem_bytes, segment->gpa);
	r = loader_space_check(space, segment->gpa, segment->mem_bytes);
	if (r < 0)
		return cvmm_fail(err, r,
				 "ELF program header %zu: physical addresses 0x%" PRIx64
				 " to 0x%" PRIx64 " are %s",
				 i, segment->gpa, segment->gpa + segment->mem_bytes,
				 r == -EFAULT ? "reserved, or needed for boot parameters; link the "
						"kernel at 1 MiB or above"
					      : "not RAM of the guest; give it more memory");
	for (size_t j = 0; j < elf->segment_count; j++) {
		if (segments_overlap(&elf->segments[j], segment))
			return cvmm_fail(
				err, -EBADMSG,
				"ELF program header %zu overlaps an earlier one in physical "
				"memory at 0x%" PRIx64,
				i, segment->gpa);
	}
	return 0;
}

static int collect_segments(const struct loader_space *space, const struct loader_file *file,
			    struct elf *elf, struct cvmm_error *err)
{
	int r;

	for (size_t i = 0; i < elf->phnum; i++) {
		const uint8_t *phdr = phdr_at(elf, i);
		struct segment *segment = &elf->segments[elf->segment_count];
		uint32_t type = PHDR32(phdr, p_type);

		if (type == PT_INTERP)
			return cvmm_fail(
				err, -ENOEXEC,
				"the kernel file is a user-space program (it wants a dynamic "
				"linker); use a kernel");
		segment->gpa = PHDR64(phdr, p_paddr);
		segment->vaddr = PHDR64(phdr, p_vaddr);
		segment->mem_bytes = PHDR64(phdr, p_memsz);
		segment->file_bytes = PHDR64(phdr, p_filesz);
		segment->file_offset = PHDR64(phdr, p_offset);
		if (type != PT_LOAD || (!segment->mem_bytes && !segment->file_bytes))
			continue;
		r = check_segment(space, file, elf, segment, i, err);
		if (r < 0)
			return r;
		elf->segment_count++;
	}
	if (!elf->segment_count)
		return cvmm_fail(err, -EBADMSG,
				 "the kernel file is an ELF file with nothing to load");
	return 0;
}

/* ---- notes ----------------------------------------------------------------------------------- */

static size_t align_up(size_t n, size_t align)
{
	return (n + align - 1) & ~(align - 1);
}

static int take_note(const uint8_t *desc, size_t len, bool *found, uint64_t *entry,
		     struct cvmm_error *err)
{
	uint64_t value;

	if (len != sizeof(uint32_t) && len != sizeof(uint64_t))
		return cvmm_fail(err, -EBADMSG,
				 "malformed ELF note: a PVH entry of %zu bytes, not 4 or 8", len);
	value = len == sizeof(uint32_t) ? cvmm_get_le32(desc) : cvmm_get_le64(desc);
	if (*found && value != *entry)
		return cvmm_fail(err, -EBADMSG,
				 "the ELF file has two PVH entries, 0x%" PRIx64 " and 0x%" PRIx64,
				 *entry, value);
	*found = true;
	*entry = value;
	return 0;
}

int loader_elf_find_pvh_entry(const uint8_t *notes, size_t len, size_t align, bool *found,
			      uint64_t *entry, struct cvmm_error *err)
{
	size_t pos = 0;
	int r;

	while (pos < len && len - pos >= NOTE_HEADER_BYTES) {
		const uint8_t *note = notes + pos;
		uint32_t name_len = cvmm_get_le32(note);
		uint32_t desc_len = cvmm_get_le32(note + 4);
		uint32_t type = cvmm_get_le32(note + 8);
		size_t left = len - pos;
		size_t desc_pos;

		/* First the raw lengths: they bound every sum that follows. */
		if (name_len > left || desc_len > left)
			goto malformed;
		desc_pos = align_up(NOTE_HEADER_BYTES + (size_t)name_len, align);
		if (!cvmm_range_inside(desc_pos, desc_len, left))
			goto malformed;
		if (type == NOTE_PHYS32_ENTRY && name_len == sizeof(NOTE_XEN_NAME) &&
		    !memcmp(note + NOTE_HEADER_BYTES, NOTE_XEN_NAME, sizeof(NOTE_XEN_NAME))) {
			r = take_note(note + desc_pos, desc_len, found, entry, err);
			if (r < 0)
				return r;
		}
		/* The padding of the last note may be missing. */
		pos += align_up(desc_pos + desc_len, align);
	}
	for (; pos < len; pos++) {
		if (notes[pos])
			goto malformed;
	}
	return 0;

malformed:
	return cvmm_fail(err, -EBADMSG, "malformed ELF note at byte %zu of %zu", pos, len);
}

static int scan_note_segment(const struct loader_file *file, const uint8_t *phdr, bool *found,
			     uint64_t *entry, struct cvmm_error *err)
{
	uint64_t len = PHDR64(phdr, p_filesz);
	uint64_t align = PHDR64(phdr, p_align);
	uint8_t *notes;
	int r;

	/* 0 and 1 mean that nobody cared; then the entries are aligned to 4 as in the beginning. */
	if (align <= 1)
		align = 4;
	if (len > CVMM_LOADER_ELF_NOTES_MAX || (align != 4 && align != 8))
		return cvmm_fail(err, -EBADMSG,
				 "the ELF file has %" PRIu64 " bytes of notes aligned to %" PRIu64
				 "; at most %d bytes, aligned to 4 or 8, are accepted",
				 len, align, CVMM_LOADER_ELF_NOTES_MAX);
	if (!len)
		return 0;
	notes = malloc((size_t)len);
	if (!notes)
		return cvmm_fail(err, -ENOMEM, "no memory for %" PRIu64 " bytes of ELF notes", len);
	r = loader_file_read(file, PHDR64(phdr, p_offset), notes, (size_t)len, "the ELF notes",
			     err);
	if (!r)
		r = loader_elf_find_pvh_entry(notes, (size_t)len, (size_t)align, found, entry, err);
	free(notes);
	return r;
}

static int find_pvh_entry(const struct loader_file *file, const struct elf *elf, bool *found,
			  uint64_t *entry, struct cvmm_error *err)
{
	int r;

	*found = false;
	for (size_t i = 0; i < elf->phnum; i++) {
		if (PHDR32(phdr_at(elf, i), p_type) != PT_NOTE)
			continue;
		r = scan_note_segment(file, phdr_at(elf, i), found, entry, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- entry, protocol, contents --------------------------------------------------------------- */

static int check_entry(const struct elf *elf, uint64_t entry, struct cvmm_error *err)
{
	bool is_virtual = false;

	for (size_t i = 0; i < elf->segment_count; i++) {
		const struct segment *s = &elf->segments[i];

		if (entry >= s->gpa && entry - s->gpa < s->file_bytes)
			return 0;
		if (entry >= s->vaddr && entry - s->vaddr < s->file_bytes)
			is_virtual = true;
	}
	return cvmm_fail(
		err, -EBADMSG, "the ELF file's entry 0x%" PRIx64 " %s", entry,
		is_virtual ? "is a virtual address; paging is one to one at the start, so the "
			     "entry must be a physical one"
			   : "is not in any of its loaded segments");
}

static int choose_protocol(const struct loader_file *file, const struct elf *elf,
			   enum cvmm_loader_protocol wanted, struct loader_image *image,
			   struct cvmm_error *err)
{
	bool found = false;
	uint64_t entry = 0;
	int r;

	if (wanted != CVMM_LOADER_PROTOCOL_LINUX64) {
		r = find_pvh_entry(file, elf, &found, &entry, err);
		if (r < 0)
			return r;
	}
	if (wanted == CVMM_LOADER_PROTOCOL_PVH && !found)
		return cvmm_fail(
			err, -ENOTSUP,
			"the ELF file has no PVH entry note; build the kernel with CONFIG_PVH, "
			"or leave the protocol to be chosen automatically");
	image->protocol = found ? CVMM_LOADER_PROTOCOL_PVH : CVMM_LOADER_PROTOCOL_LINUX64;
	image->entry = found ? entry : elf->entry;
	return check_entry(elf, image->entry, err);
}

static int load_segments(const struct loader_space *space, const struct loader_file *file,
			 const struct elf *elf, struct cvmm_error *err)
{
	int r;

	for (size_t i = 0; i < elf->segment_count; i++) {
		const struct segment *s = &elf->segments[i];

		r = loader_file_load(file, s->file_offset, space->mem, s->gpa, s->file_bytes, err);
		if (r < 0)
			return r;
		r = cvmm_mem_fill(space->mem, cvmm_gpa_from(s->gpa + s->file_bytes), 0,
				  s->mem_bytes - s->file_bytes);
		if (r < 0)
			return cvmm_fail(err, r, "cannot zero .bss of the kernel: %s",
					 strerror(-r));
	}
	return 0;
}

static void fill_image(const struct elf *elf, struct loader_image *image)
{
	uint64_t start = UINT64_MAX;
	uint64_t end = 0;

	for (size_t i = 0; i < elf->segment_count; i++) {
		const struct segment *s = &elf->segments[i];

		if (s->gpa < start)
			start = s->gpa;
		if (s->gpa + s->mem_bytes > end)
			end = s->gpa + s->mem_bytes;
	}
	image->kernel.gpa = cvmm_gpa_from(start);
	image->kernel.len_bytes = end - start;
	image->cmdline_max = CVMM_LOADER_CMDLINE_ELF_MAX;
	image->initrd_limit = CVMM_LOADER_IDENTITY_MAP_END;
	image->setup.boot_flag = cvmm_le16_from(LOADER_SETUP_BOOT_FLAG);
	image->setup.header = cvmm_le32_from(LOADER_SETUP_MAGIC);
	image->setup.version = cvmm_le16_from(ELF_SETUP_PROTOCOL);
	image->setup.loadflags = LOADER_SETUP_LOADFLAG_HIGH;
	image->setup.kernel_alignment = cvmm_le32_from(ELF_SETUP_ALIGNMENT);
	image->setup.cmdline_size = cvmm_le32_from(CVMM_LOADER_CMDLINE_ELF_MAX);
}

int loader_elf_load(const struct loader_space *space, const struct loader_file *file,
		    enum cvmm_loader_protocol protocol, struct loader_image *image,
		    struct cvmm_error *err)
{
	struct elf elf;
	int r;

	memset(&elf, 0, sizeof(elf));
	r = read_file_header(file, &elf, err);
	if (r < 0)
		return r;
	r = collect_segments(space, file, &elf, err);
	if (r < 0)
		return r;
	r = choose_protocol(file, &elf, protocol, image, err);
	if (r < 0)
		return r;
	r = load_segments(space, file, &elf, err);
	if (r < 0)
		return r;
	fill_image(&elf, image);
	return 0;
}
