/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test_loader_util.h"

#define TEXT_GPA UINT64_C(0x200000)
#define DATA_GPA UINT64_C(0x300000)
#define TEXT_OFFSET 0x400
#define DATA_OFFSET 0x800
#define NOTE_OFFSET 0xc00
#define FILE_BYTES 0x1000

/* In the host's byte order, until file_bytes() makes a file of it. */
struct elf_file {
	union {
		Elf64_Ehdr ehdr;
		uint8_t bytes[FILE_BYTES];
	};
};

static Elf64_Phdr *phdr(struct elf_file *file, size_t i)
{
	return (Elf64_Phdr *)(file->bytes + sizeof(Elf64_Ehdr)) + i;
}

/* Two segments, the second with .bss; no notes yet. */
static struct elf_file elf_file(void)
{
	struct elf_file file = { .bytes = { 0 } };

	file.ehdr = (Elf64_Ehdr){
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = TEXT_GPA + 0x10,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 2,
	};
	*phdr(&file, 0) = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_offset = TEXT_OFFSET,
		.p_vaddr = 0xffffffff80000000 + TEXT_GPA,
		.p_paddr = TEXT_GPA,
		.p_filesz = 0x100,
		.p_memsz = 0x100,
	};
	*phdr(&file, 1) = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_offset = DATA_OFFSET,
		.p_vaddr = 0xffffffff80000000 + DATA_GPA,
		.p_paddr = DATA_GPA,
		.p_filesz = 0x80,
		.p_memsz = 0x2080,
	};
	memset(file.bytes + TEXT_OFFSET, 0x11, 0x100);
	memset(file.bytes + DATA_OFFSET, 0x22, 0x80);
	return file;
}

/* A note at @pos of the note segment; returns the position behind it. */
static size_t put_note(struct elf_file *file, size_t pos, size_t align, const char *name,
		       uint32_t type, const void *desc, size_t desc_len)
{
	uint8_t *p = file->bytes + NOTE_OFFSET + pos;
	size_t name_len = strlen(name) + 1;
	size_t desc_pos = (12 + name_len + align - 1) & ~(align - 1);

	cvmm_put_le32(p, (uint32_t)name_len);
	cvmm_put_le32(p + 4, (uint32_t)desc_len);
	cvmm_put_le32(p + 8, type);
	memcpy(p + 12, name, name_len);
	memcpy(p + desc_pos, desc, desc_len);
	return pos + ((desc_pos + desc_len + align - 1) & ~(align - 1));
}

static void add_note_segment(struct elf_file *file, size_t offset, size_t len, size_t align)
{
	*phdr(file, file->ehdr.e_phnum++) = (Elf64_Phdr){
		.p_type = PT_NOTE,
		.p_offset = NOTE_OFFSET + offset,
		.p_filesz = len,
		.p_memsz = len,
		.p_align = align,
	};
}

static size_t put_entry32(struct elf_file *file, size_t pos, uint32_t entry)
{
	entry = htole32(entry);
	return put_note(file, pos, 4, "Xen", 18, &entry, sizeof(entry));
}

static size_t put_entry64(struct elf_file *file, size_t pos, size_t align, uint64_t entry)
{
	entry = htole64(entry);
	return put_note(file, pos, align, "Xen", 18, &entry, sizeof(entry));
}

static struct elf_file pvh_file(uint32_t entry)
{
	struct elf_file file = elf_file();

	add_note_segment(&file, 0, put_entry32(&file, 0, entry), 4);
	return file;
}

static struct elf_file file_bytes(const struct elf_file *file)
{
	struct elf_file le = *file;
	size_t room = (TEXT_OFFSET - sizeof(Elf64_Ehdr)) / sizeof(Elf64_Phdr);

	le.ehdr.e_type = htole16(le.ehdr.e_type);
	le.ehdr.e_machine = htole16(le.ehdr.e_machine);
	le.ehdr.e_version = htole32(le.ehdr.e_version);
	le.ehdr.e_entry = htole64(le.ehdr.e_entry);
	le.ehdr.e_phoff = htole64(le.ehdr.e_phoff);
	le.ehdr.e_phentsize = htole16(le.ehdr.e_phentsize);
	le.ehdr.e_phnum = htole16(le.ehdr.e_phnum);
	for (size_t i = 0; i < room; i++) {
		Elf64_Phdr *p = phdr(&le, i);

		p->p_type = htole32(p->p_type);
		p->p_offset = htole64(p->p_offset);
		p->p_vaddr = htole64(p->p_vaddr);
		p->p_paddr = htole64(p->p_paddr);
		p->p_filesz = htole64(p->p_filesz);
		p->p_memsz = htole64(p->p_memsz);
		p->p_align = htole64(p->p_align);
	}
	return le;
}

static void refuse(void **state, const struct elf_file *file, int code, const char *text)
{
	struct elf_file le = file_bytes(file);

	assert_refused(*state, &le, sizeof(le), code, text);
}

static void load(void **state, const struct elf_file *file)
{
	struct elf_file le = file_bytes(file);

	assert_loads(*state, &le, sizeof(le));
}

/* ---- headers --------------------------------------------------------------------------------- */

static void elf_without_note_starts_in_long_mode_at_its_entry(void **state)
{
	struct elf_file file = elf_file();
	struct machine *m = *state;

	load(state, &file);
	assert_int_equal(m->result.format, CVMM_LOADER_FORMAT_ELF64_X86_64);
	assert_int_equal(m->result.protocol, CVMM_LOADER_PROTOCOL_LINUX64);
	assert_int_equal(m->result.x86.rip, TEXT_GPA + 0x10);
	assert_int_equal(m->result.x86.rsi, CVMM_LOADER_ZERO_PAGE_GPA);
	assert_int_equal(m->result.kernel.gpa.addr, TEXT_GPA);
	assert_int_equal(m->result.kernel.len_bytes, DATA_GPA + 0x2080 - TEXT_GPA);
	assert_int_equal(m->result.boot_protocol, 0);
	assert_guest_bytes(m, TEXT_GPA, file.bytes + TEXT_OFFSET, 0x100);
	assert_guest_bytes(m, DATA_GPA, file.bytes + DATA_OFFSET, 0x80);
}

static void zero_page_of_an_elf_kernel_has_a_setup_header(void **state)
{
	struct elf_file file = elf_file();
	struct loader_boot_params params;
	struct machine *m = *state;

	load(state, &file);
	read_guest(m, CVMM_LOADER_ZERO_PAGE_GPA, &params, sizeof(params));
	assert_int_equal(cvmm_le16_get(params.hdr.boot_flag), 0xaa55);
	assert_int_equal(cvmm_le32_get(params.hdr.header), 0x53726448);
	assert_true(cvmm_le16_get(params.hdr.version) >= 0x020c);
	assert_int_equal(params.hdr.type_of_loader, 0xff);
	assert_int_equal(params.hdr.loadflags & 1, 1);
}

static void bss_is_zeroed_in_used_memory(void **state)
{
	struct elf_file file = elf_file();
	struct machine *m = *state;

	assert_int_equal(cvmm_mem_fill(m->mem, G(DATA_GPA), TEST_POISON, 0x4000), 0);
	load(state, &file);
	assert_guest_fill(m, DATA_GPA + 0x80, 0, 0x2000);
	assert_guest_fill(m, DATA_GPA + 0x2080, TEST_POISON, 0x100);
}

static void segment_of_bss_only_is_zeroed(void **state)
{
	struct elf_file file = elf_file();
	struct machine *m = *state;

	phdr(&file, 1)->p_filesz = 0;
	phdr(&file, 1)->p_offset = 0;
	assert_int_equal(cvmm_mem_fill(m->mem, G(DATA_GPA), TEST_POISON, 0x2080), 0);
	load(state, &file);
	assert_guest_fill(m, DATA_GPA, 0, 0x2080);
}

static void headers_truncated_at_every_length_are_errors(void **state)
{
	struct elf_file host = elf_file();
	struct elf_file file = file_bytes(&host);
	struct machine *m = *state;

	for (size_t len = 4; len < DATA_OFFSET + 0x80; len += len < 0x200 ? 1 : 31) {
		int r = machine_load(m, &file, len);

		/* Up to e_machine it is not yet an x86_64 file. */
		if (r != (len < 20 ? -ENOEXEC : -ENODATA))
			fail_msg("%zu bytes: %d, %s", len, r, m->err.message);
	}
	assert_loads(m, &file, DATA_OFFSET + 0x80);
}

static void other_machines_classes_and_byte_orders_are_refused(void **state)
{
	struct elf_file file = elf_file();

	file.ehdr.e_machine = EM_AARCH64;
	refuse(state, &file, -ENOEXEC, "foreign ELF");
	file = elf_file();
	file.ehdr.e_ident[EI_CLASS] = ELFCLASS32;
	refuse(state, &file, -ENOEXEC, "32-bit");
	file = elf_file();
	file.ehdr.e_ident[EI_DATA] = ELFDATA2MSB;
	refuse(state, &file, -ENOEXEC, "big-endian");
	file = elf_file();
	file.ehdr.e_ident[EI_VERSION] = 2;
	refuse(state, &file, -ENOEXEC, "not an ELF file for x86_64");
}

static void objects_modules_and_cores_are_refused(void **state)
{
	struct elf_file file = elf_file();

	file.ehdr.e_type = ET_REL;
	refuse(state, &file, -ENOEXEC, "module");
	file.ehdr.e_type = ET_CORE;
	refuse(state, &file, -ENOEXEC, "core dump");
	file.ehdr.e_type = ET_DYN;
	load(state, &file);
}

static void user_space_program_is_refused(void **state)
{
	struct elf_file file = elf_file();

	phdr(&file, 0)->p_type = PT_INTERP;
	refuse(state, &file, -ENOEXEC, "user-space program");
}

static void program_header_count_is_bounded(void **state)
{
	struct elf_file file = elf_file();

	file.ehdr.e_phnum = 0;
	refuse(state, &file, -EBADMSG, "0 ELF program headers");
	file.ehdr.e_phnum =
		CVMM_LOADER_ELF_PHNUM_MAX; /* the others are behind the segments: zeros */
	file.ehdr.e_phoff = FILE_BYTES - CVMM_LOADER_ELF_PHNUM_MAX * sizeof(Elf64_Phdr);
	refuse(state, &file, -EBADMSG, "nothing to load");
	file.ehdr.e_phnum = CVMM_LOADER_ELF_PHNUM_MAX + 1;
	refuse(state, &file, -EBADMSG, "65 ELF program headers");
	file.ehdr.e_phnum = PN_XNUM;
	refuse(state, &file, -EBADMSG, "65535 ELF program headers");
}

static void program_headers_must_have_their_size_and_place(void **state)
{
	struct elf_file file = elf_file();

	file.ehdr.e_phentsize = sizeof(Elf64_Phdr) - 1;
	refuse(state, &file, -EBADMSG, "malformed");
	file.ehdr.e_phentsize = sizeof(Elf64_Phdr);
	file.ehdr.e_phoff = sizeof(Elf64_Ehdr) - 1;
	refuse(state, &file, -EBADMSG, "malformed");
	file.ehdr.e_phoff = FILE_BYTES - 2 * sizeof(Elf64_Phdr) + 1;
	refuse(state, &file, -ENODATA, "program headers");
	file.ehdr.e_phoff = UINT64_MAX - 8;
	refuse(state, &file, -ENODATA, "program headers");
}

/* ---- segments -------------------------------------------------------------------------------- */

static void segment_beyond_ram_is_refused(void **state)
{
	struct elf_file file = elf_file();

	phdr(&file, 1)->p_paddr = TEST_RAM_BYTES - 0x2080 + 1;
	refuse(state, &file, -ENOMEM, "not RAM");
	phdr(&file, 1)->p_paddr = TEST_RAM_BYTES - 0x2080;
	load(state, &file);
}

static void bss_beyond_ram_is_refused(void **state)
{
	struct elf_file file = elf_file();

	phdr(&file, 1)->p_memsz = TEST_RAM_BYTES;
	refuse(state, &file, -ENOMEM, "not RAM");
}

static void segment_that_wraps_is_refused(void **state)
{
	struct elf_file file = elf_file();

	phdr(&file, 1)->p_paddr = UINT64_MAX - 0x1000;
	refuse(state, &file, -EBADMSG, "below 4 GiB");
	phdr(&file, 1)->p_paddr = DATA_GPA;
	phdr(&file, 1)->p_memsz = UINT64_MAX - DATA_GPA + 1;
	refuse(state, &file, -EBADMSG, "below 4 GiB");
}

static void segment_on_the_zero_page_is_refused(void **state)
{
	struct elf_file file = elf_file();

	phdr(&file, 1)->p_paddr = CVMM_LOADER_ZERO_PAGE_GPA;
	refuse(state, &file, -EFAULT, "boot parameters");
	phdr(&file, 1)->p_paddr = 0;
	refuse(state, &file, -EFAULT, "boot parameters");
	phdr(&file, 1)->p_paddr = CVMM_LOADER_LOW_END - 1;
	refuse(state, &file, -EFAULT, "boot parameters");
	phdr(&file, 1)->p_paddr = CVMM_LOADER_LOW_END;
	load(state, &file);
}

static void segment_on_reserved_memory_is_refused(void **state)
{
	struct elf_file file = elf_file();
	struct machine *m = *state;

	phdr(&file, 1)->p_paddr = TEST_LOW_RAM_END - 0x1000;
	refuse(state, &file, -ENOMEM, "not RAM");
	phdr(&file, 1)->p_paddr = DATA_GPA;
	m->reserved[0] = (struct cvmm_loader_range){ G(DATA_GPA + 0x207f), 1 };
	m->config.reserved_count = 1;
	refuse(state, &file, -EFAULT, "reserved");
}

static void overlapping_segments_are_refused(void **state)
{
	struct elf_file file = elf_file();

	phdr(&file, 1)->p_paddr = TEXT_GPA + 0xff;
	refuse(state, &file, -EBADMSG, "overlaps");
	phdr(&file, 1)->p_paddr = TEXT_GPA - 0x207f;
	refuse(state, &file, -EBADMSG, "overlaps");
	phdr(&file, 1)->p_paddr = TEXT_GPA + 0x100;
	load(state, &file);
	phdr(&file, 1)->p_paddr = TEXT_GPA - 0x2080;
	load(state, &file);
}

static void segment_smaller_in_memory_than_in_the_file_is_refused(void **state)
{
	struct elf_file file = elf_file();

	phdr(&file, 1)->p_memsz = 0x7f;
	refuse(state, &file, -EBADMSG, "more bytes in the file");
	phdr(&file, 1)->p_memsz = 0;
	refuse(state, &file, -EBADMSG, "more bytes in the file");
}

static void segment_beyond_the_file_is_truncation(void **state)
{
	struct elf_file file = elf_file();

	phdr(&file, 1)->p_offset = FILE_BYTES - 0x7f;
	refuse(state, &file, -ENODATA, "truncated");
	phdr(&file, 1)->p_offset = UINT64_MAX - 0x10;
	refuse(state, &file, -ENODATA, "truncated");
}

static void empty_segments_are_ignored(void **state)
{
	struct elf_file file = elf_file();
	struct machine *m = *state;

	phdr(&file, 1)->p_filesz = 0;
	phdr(&file, 1)->p_memsz = 0;
	phdr(&file, 1)->p_paddr = UINT64_MAX;
	load(state, &file);
	assert_int_equal(m->result.kernel.len_bytes, 0x100);
}

static void file_without_segments_is_refused(void **state)
{
	struct elf_file file = elf_file();

	phdr(&file, 0)->p_type = PT_NULL;
	phdr(&file, 1)->p_type = PT_NULL;
	refuse(state, &file, -EBADMSG, "nothing to load");
}

static void entry_must_be_in_the_files_part_of_a_segment(void **state)
{
	struct elf_file file = elf_file();

	file.ehdr.e_entry = TEXT_GPA + 0x100;
	refuse(state, &file, -EBADMSG, "not in any");
	file.ehdr.e_entry = DATA_GPA + 0x80; /* .bss */
	refuse(state, &file, -EBADMSG, "not in any");
	file.ehdr.e_entry = 0;
	refuse(state, &file, -EBADMSG, "not in any");
	file.ehdr.e_entry = TEXT_GPA + 0xff;
	load(state, &file);
}

static void virtual_entry_is_called_that(void **state)
{
	struct elf_file file = elf_file();

	file.ehdr.e_entry = 0xffffffff80000000 + TEXT_GPA;
	refuse(state, &file, -EBADMSG, "virtual address");
}

/* ---- notes ----------------------------------------------------------------------------------- */

static void elf_with_note_starts_with_pvh(void **state)
{
	struct elf_file file = pvh_file(TEXT_GPA + 0x20);
	struct machine *m = *state;

	load(state, &file);
	assert_int_equal(m->result.protocol, CVMM_LOADER_PROTOCOL_PVH);
	assert_int_equal(m->result.x86.rip, TEXT_GPA + 0x20);
	assert_int_equal(m->result.x86.rbx, CVMM_LOADER_START_INFO_GPA);
}

static void protocol_can_be_forced_either_way(void **state)
{
	struct elf_file file = pvh_file(TEXT_GPA + 0x20);
	struct machine *m = *state;

	m->config.protocol = CVMM_LOADER_PROTOCOL_LINUX64;
	load(state, &file);
	assert_int_equal(m->result.protocol, CVMM_LOADER_PROTOCOL_LINUX64);
	assert_int_equal(m->result.x86.rip, TEXT_GPA + 0x10);
	m->config.protocol = CVMM_LOADER_PROTOCOL_PVH;
	load(state, &file);
	assert_int_equal(m->result.protocol, CVMM_LOADER_PROTOCOL_PVH);
}

static void pvh_without_note_is_refused(void **state)
{
	struct elf_file file = elf_file();
	struct machine *m = *state;

	m->config.protocol = CVMM_LOADER_PROTOCOL_PVH;
	refuse(state, &file, -ENOTSUP, "CONFIG_PVH");
}

static void pvh_entry_may_have_8_bytes_and_8_byte_alignment(void **state)
{
	struct elf_file file = elf_file();
	struct machine *m = *state;
	uint64_t entry = TEXT_GPA + 0x30;
	size_t pos = put_note(&file, 0, 8, "GNU", 5, "\1\2\3\4\5", 5);

	add_note_segment(&file, 0, put_entry64(&file, pos, 8, entry), 8);
	load(state, &file);
	assert_int_equal(m->result.x86.rip, entry);
}

static void pvh_note_is_found_among_others(void **state)
{
	struct elf_file file = elf_file();
	struct machine *m = *state;
	uint64_t entry = TEXT_GPA + 0x30;
	size_t pos = put_note(&file, 0, 4, "Linux", 18, "\1\2\3\4", 4);

	pos = put_note(&file, pos, 4, "Xen", 17, "xyz", 3);
	pos = put_entry64(&file, pos, 4, entry);
	pos = put_note(&file, pos, 4, "", 1, "", 0);
	add_note_segment(&file, 0, pos, 1);
	load(state, &file);
	assert_int_equal(m->result.x86.rip, entry);
}

static void pvh_note_in_a_second_segment_is_found(void **state)
{
	struct elf_file file = elf_file();
	struct machine *m = *state;
	uint32_t entry = TEXT_GPA + 0x30;
	size_t first = put_note(&file, 0, 4, "GNU", 3, "abcd", 4);
	size_t second = put_entry32(&file, first, entry);

	add_note_segment(&file, 0, first, 4);
	add_note_segment(&file, first, second - first, 4);
	load(state, &file);
	assert_int_equal(m->result.x86.rip, entry);
}

static void two_different_pvh_entries_are_refused(void **state)
{
	struct elf_file file = elf_file();
	size_t first = put_entry32(&file, 0, TEXT_GPA);
	size_t second = put_entry32(&file, first, TEXT_GPA + 4);

	add_note_segment(&file, 0, first, 4);
	add_note_segment(&file, first, second - first, 4);
	refuse(state, &file, -EBADMSG, "two PVH entries");
}

static void the_same_pvh_entry_twice_is_accepted(void **state)
{
	struct elf_file file = pvh_file(TEXT_GPA);

	add_note_segment(&file, 0, phdr(&file, 2)->p_filesz, 4);
	load(state, &file);
}

static void pvh_entry_outside_the_segments_is_refused(void **state)
{
	struct elf_file file = pvh_file(TEXT_GPA - 1);

	refuse(state, &file, -EBADMSG, "not in any");
}

static void pvh_entry_of_odd_size_is_refused(void **state)
{
	struct elf_file file = elf_file();

	add_note_segment(&file, 0, put_note(&file, 0, 4, "Xen", 18, "abcdef", 6), 4);
	refuse(state, &file, -EBADMSG, "6 bytes, not 4 or 8");
}

static void note_lengths_beyond_the_segment_are_refused(void **state)
{
	static const uint32_t bad[] = { 9, 0x1000, INT32_MAX, UINT32_MAX - 3, UINT32_MAX };

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		struct elf_file file = pvh_file(TEXT_GPA);

		cvmm_put_le32(file.bytes + NOTE_OFFSET, bad[i]); /* name */
		refuse(state, &file, -EBADMSG, "malformed ELF note");
		cvmm_put_le32(file.bytes + NOTE_OFFSET, 4);
		cvmm_put_le32(file.bytes + NOTE_OFFSET + 4, bad[i]); /* descriptor */
		refuse(state, &file, -EBADMSG, "malformed ELF note");
	}
}

static void note_cut_in_its_header_is_refused(void **state)
{
	struct elf_file file = pvh_file(TEXT_GPA);

	for (size_t len = 1; len < 20; len++) {
		phdr(&file, 2)->p_filesz = len;
		refuse(state, &file, -EBADMSG, "malformed ELF note");
	}
	phdr(&file, 2)->p_filesz = 20;
	load(state, &file);
}

static void zeros_behind_the_last_note_are_padding(void **state)
{
	struct elf_file file = pvh_file(TEXT_GPA);

	phdr(&file, 2)->p_filesz += 8;
	load(state, &file);
	file.bytes[NOTE_OFFSET + phdr(&file, 2)->p_filesz - 1] = 1;
	refuse(state, &file, -EBADMSG, "malformed ELF note");
}

static void note_without_its_final_padding_is_accepted(void **state)
{
	struct elf_file file = elf_file();
	size_t pos = put_entry32(&file, 0, TEXT_GPA);

	add_note_segment(&file, 0, put_note(&file, pos, 4, "GNU", 3, "abcde", 5) - 3, 4);
	load(state, &file);
}

static void note_segment_is_bounded(void **state)
{
	struct elf_file file = pvh_file(TEXT_GPA);

	phdr(&file, 2)->p_filesz = CVMM_LOADER_ELF_NOTES_MAX + 1;
	refuse(state, &file, -EBADMSG, "65537 bytes of notes");
	phdr(&file, 2)->p_filesz = UINT64_MAX;
	refuse(state, &file, -EBADMSG, "bytes of notes");
	phdr(&file, 2)->p_filesz = CVMM_LOADER_ELF_NOTES_MAX;
	refuse(state, &file, -ENODATA, "truncated");
	phdr(&file, 2)->p_filesz = 0;
	load(state, &file);
}

static void note_of_nothing_but_its_header_is_accepted(void **state)
{
	struct elf_file file = pvh_file(TEXT_GPA);
	size_t pos = phdr(&file, 2)->p_filesz;

	memset(file.bytes + NOTE_OFFSET + pos, 0, 12);
	file.bytes[NOTE_OFFSET + pos + 8] = 1; /* its type: not padding */
	phdr(&file, 2)->p_filesz += 12;
	phdr(&file, 2)->p_align = 0;
	load(state, &file);
}

static void note_alignment_other_than_4_or_8_is_refused(void **state)
{
	struct elf_file file = pvh_file(TEXT_GPA);

	phdr(&file, 2)->p_align = 16;
	refuse(state, &file, -EBADMSG, "aligned to 16");
	phdr(&file, 2)->p_align = 3;
	refuse(state, &file, -EBADMSG, "aligned to 3");
}

static void malformed_notes_do_not_matter_to_a_forced_long_mode(void **state)
{
	struct elf_file file = pvh_file(TEXT_GPA);
	struct machine *m = *state;

	phdr(&file, 2)->p_align = 16;
	m->config.protocol = CVMM_LOADER_PROTOCOL_LINUX64;
	load(state, &file);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, machine_create, machine_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(elf_without_note_starts_in_long_mode_at_its_entry),
		TEST(zero_page_of_an_elf_kernel_has_a_setup_header),
		TEST(bss_is_zeroed_in_used_memory),
		TEST(segment_of_bss_only_is_zeroed),
		TEST(headers_truncated_at_every_length_are_errors),
		TEST(other_machines_classes_and_byte_orders_are_refused),
		TEST(objects_modules_and_cores_are_refused),
		TEST(user_space_program_is_refused),
		TEST(program_header_count_is_bounded),
		TEST(program_headers_must_have_their_size_and_place),
		TEST(segment_beyond_ram_is_refused),
		TEST(bss_beyond_ram_is_refused),
		TEST(segment_that_wraps_is_refused),
		TEST(segment_on_the_zero_page_is_refused),
		TEST(segment_on_reserved_memory_is_refused),
		TEST(overlapping_segments_are_refused),
		TEST(segment_smaller_in_memory_than_in_the_file_is_refused),
		TEST(segment_beyond_the_file_is_truncation),
		TEST(empty_segments_are_ignored),
		TEST(file_without_segments_is_refused),
		TEST(entry_must_be_in_the_files_part_of_a_segment),
		TEST(virtual_entry_is_called_that),
		TEST(elf_with_note_starts_with_pvh),
		TEST(protocol_can_be_forced_either_way),
		TEST(pvh_without_note_is_refused),
		TEST(pvh_entry_may_have_8_bytes_and_8_byte_alignment),
		TEST(pvh_note_is_found_among_others),
		TEST(pvh_note_in_a_second_segment_is_found),
		TEST(two_different_pvh_entries_are_refused),
		TEST(the_same_pvh_entry_twice_is_accepted),
		TEST(pvh_entry_outside_the_segments_is_refused),
		TEST(pvh_entry_of_odd_size_is_refused),
		TEST(note_lengths_beyond_the_segment_are_refused),
		TEST(note_cut_in_its_header_is_refused),
		TEST(zeros_behind_the_last_note_are_padding),
		TEST(note_without_its_final_padding_is_accepted),
		TEST(note_segment_is_bounded),
		TEST(note_of_nothing_but_its_header_is_accepted),
		TEST(note_alignment_other_than_4_or_8_is_refused),
		TEST(malformed_notes_do_not_matter_to_a_forced_long_mode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
