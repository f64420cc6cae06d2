/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What all formats share: configuration, initrd, boot parameters, registers, sniffing. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#if defined(__x86_64__) && __has_include(<asm/bootparam.h>)
#include <asm/bootparam.h>
#define HAVE_ASM_BOOTPARAM 1
#endif

#include "test_loader_util.h"

#define PVH_GPA UINT64_C(0x200000)
#define PVH_FILE_BYTES 0x200
#define INITRD_PAGE UINT64_C(4096)

/* The smallest PVH kernel: one segment, one note. */
struct pvh_file {
	uint8_t bytes[PVH_FILE_BYTES];
};

static struct pvh_file pvh_file(void)
{
	struct pvh_file file = { { 0x7f, 'E', 'L', 'F', 2, 1, 1 } };
	uint8_t *load = file.bytes + 64;
	uint8_t *note = load + 56;
	uint8_t *xen = file.bytes + 0x100;

	cvmm_put_le16(file.bytes + 16, 2);  /* ET_EXEC */
	cvmm_put_le16(file.bytes + 18, 62); /* EM_X86_64 */
	cvmm_put_le64(file.bytes + 24, PVH_GPA);
	cvmm_put_le64(file.bytes + 32, 64); /* e_phoff */
	cvmm_put_le16(file.bytes + 54, 56);
	cvmm_put_le16(file.bytes + 56, 2);
	cvmm_put_le32(load, 1); /* PT_LOAD */
	cvmm_put_le64(load + 24, PVH_GPA);
	cvmm_put_le64(load + 32, PVH_FILE_BYTES);
	cvmm_put_le64(load + 40, PVH_FILE_BYTES);
	cvmm_put_le32(note, 4); /* PT_NOTE */
	cvmm_put_le64(note + 8, 0x100);
	cvmm_put_le64(note + 32, 20);
	cvmm_put_le32(xen, 4);
	cvmm_put_le32(xen + 4, 4);
	cvmm_put_le32(xen + 8, 18);
	memcpy(xen + 12, "Xen", 4);
	cvmm_put_le32(xen + 16, PVH_GPA + 0x40);
	return file;
}

static void load_bz(struct machine *m)
{
	struct bzimage_file file = bz_file();

	assert_loads(m, &file, sizeof(file));
}

static void load_pvh(struct machine *m)
{
	struct pvh_file file = pvh_file();

	assert_loads(m, &file, sizeof(file));
}

static void refuse_bz(struct machine *m, int code, const char *text)
{
	struct bzimage_file file = bz_file();

	assert_refused(m, &file, sizeof(file), code, text);
}

/* ---- sniffing -------------------------------------------------------------------------------- */

static void foreign_files_are_named_and_a_way_out_is_given(void **state)
{
	static const struct {
		const char *magic;
		size_t len;
		size_t offset;
		enum cvmm_loader_format format;
		const char *hint;
	} cases[] = {
		{ "\x1f\x8b\x08", 3, 0, CVMM_LOADER_FORMAT_GZIP, "gunzip" },
		{ "\xfd\x37zXZ", 6, 0, CVMM_LOADER_FORMAT_XZ, "unxz" },
		{ "\x28\xb5\x2f\xfd", 4, 0, CVMM_LOADER_FORMAT_ZSTD, "unzstd" },
		{ "BZh9", 4, 0, CVMM_LOADER_FORMAT_BZIP2, "bunzip2" },
		{ "\x02\x21\x4c\x18", 4, 0, CVMM_LOADER_FORMAT_LZ4, "unlz4" },
		{ "\x04\x22\x4d\x18", 4, 0, CVMM_LOADER_FORMAT_LZ4, "unlz4" },
		{ "ARM\x64", 4, 0x38, CVMM_LOADER_FORMAT_ARM64_IMAGE, "x86_64" },
		{ "RSC\x05", 4, 0x38, CVMM_LOADER_FORMAT_RISCV_IMAGE, "x86_64" },
		{ "MZ\0\0zimg", 8, 0, CVMM_LOADER_FORMAT_EFI_ZBOOT, "bzImage" },
		{ "MZ", 2, 0, CVMM_LOADER_FORMAT_PE, ".linux" },
		{ "070701", 6, 0, CVMM_LOADER_FORMAT_CPIO, "initrd" },
		{ "\x7f"
		  "ELF\1\1\1",
		  7, 0, CVMM_LOADER_FORMAT_ELF_OTHER, "64-bit" },
		{ "#!/bin/sh\n", 10, 0, CVMM_LOADER_FORMAT_UNKNOWN, "vmlinuz" },
	};

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(cases); i++) {
		enum cvmm_loader_format format = CVMM_LOADER_FORMAT_EMPTY;
		struct machine *m = *state;
		uint8_t bytes[4096] = { 0 };

		memcpy(bytes + cases[i].offset, cases[i].magic, cases[i].len);
		assert_refused(m, bytes, sizeof(bytes), -ENOEXEC, cases[i].hint);
		assert_non_null(strstr(m->err.message, cvmm_loader_format_name(cases[i].format)));
		assert_int_equal(cvmm_loader_sniff(m->config.kernel_fd, &format, NULL), 0);
		assert_int_equal(format, cases[i].format);
	}
}

static void loadable_files_are_sniffed(void **state)
{
	struct bzimage_file bz = bz_file();
	struct pvh_file pvh = pvh_file();
	enum cvmm_loader_format format;
	int fd;

	(void)state;
	fd = file_of(&bz, sizeof(bz));
	assert_int_equal(cvmm_loader_sniff(fd, &format, NULL), 0);
	assert_int_equal(format, CVMM_LOADER_FORMAT_BZIMAGE);
	cvmm_close_fd(&fd);
	fd = file_of(&pvh, sizeof(pvh));
	assert_int_equal(cvmm_loader_sniff(fd, &format, NULL), 0);
	assert_int_equal(format, CVMM_LOADER_FORMAT_ELF64_X86_64);
	cvmm_close_fd(&fd);
}

static void every_format_has_a_name(void **state)
{
	(void)state;
	for (int f = CVMM_LOADER_FORMAT_UNKNOWN; f <= CVMM_LOADER_FORMAT_CPIO; f++)
		assert_true(strlen(cvmm_loader_format_name((enum cvmm_loader_format)f)) > 0);
	assert_non_null(cvmm_loader_format_name((enum cvmm_loader_format)1000));
	assert_non_null(cvmm_loader_format_name((enum cvmm_loader_format) - 1));
}

static void kernel_must_be_a_regular_file(void **state)
{
	struct machine *m = *state;
	int ends[2];

	assert_int_equal(cvmm_loader_load(m->mem, &m->config, &m->result, &m->err), -EBADF);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	m->config.kernel_fd = ends[0];
	assert_int_equal(cvmm_loader_load(m->mem, &m->config, &m->result, &m->err), -EINVAL);
	assert_non_null(strstr(m->err.message, "not a regular file"));
	cvmm_close_fd(&ends[1]);
}

static void file_of_a_magic_number_alone_is_named(void **state)
{
	assert_refused(*state, "\x1f\x8b", 2, -ENOEXEC, "gzip");
	assert_refused(*state, "#!/bin/sh\n", 10, -ENODATA, "only 10 bytes");
}

static void unreadable_files_are_reported(void **state)
{
	struct bzimage_file file = bz_file();
	struct cvmm_loader_piece piece = { .len_bytes = 6 };
	struct machine *m = *state;
	char path[64];
	int fd = file_of(&file, sizeof(file));

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	m->config.kernel_fd = open(path, O_WRONLY | O_CLOEXEC);
	cvmm_close_fd(&fd);
	if (m->config.kernel_fd < 0) {
		print_message("SKIP: no /proc to open a file a second time\n");
		skip();
	}
	assert_int_equal(cvmm_loader_load(m->mem, &m->config, &m->result, &m->err), -EBADF);
	assert_non_null(strstr(m->err.message, "cannot read"));
	piece.fd = fcntl(m->config.kernel_fd, F_DUPFD_CLOEXEC, 0);
	m->config.initrd = &piece;
	m->config.initrd_count = 1;
	refuse_bz(m, -EBADF, "cannot load initrd piece 0");
	cvmm_close_fd(&piece.fd);
}

static void position_of_the_kernel_file_does_not_move(void **state)
{
	struct machine *m = *state;

	load_bz(m);
	assert_int_equal(lseek(m->config.kernel_fd, 0, SEEK_CUR), 0);
	assert_int_equal(lseek(m->config.kernel_fd, 7, SEEK_SET), 7);
	assert_int_equal(cvmm_loader_load(m->mem, &m->config, &m->result, NULL), 0);
	assert_int_equal(lseek(m->config.kernel_fd, 0, SEEK_CUR), 7);
}

/* ---- configuration --------------------------------------------------------------------------- */

static void memory_map_must_have_1_to_128_entries(void **state)
{
	struct machine *m = *state;

	m->config.map_count = 0;
	refuse_bz(m, -EINVAL, "1 to 128");
	m->config.map_count = CVMM_LOADER_MAP_MAX + 1;
	refuse_bz(m, -EINVAL, "1 to 128");
}

static void memory_map_of_128_entries_reaches_the_guest(void **state)
{
	struct machine *m = *state;
	struct loader_boot_params params;
	struct loader_start_info_area area;

	for (size_t i = 3; i < CVMM_LOADER_MAP_MAX; i++)
		m->map[i] = (struct cvmm_loader_map_entry){ G((uint64_t)i << 32), 4096,
							    CVMM_LOADER_MAP_PMEM };
	m->config.map_count = CVMM_LOADER_MAP_MAX;
	load_bz(m);
	read_guest(m, CVMM_LOADER_ZERO_PAGE_GPA, &params, sizeof(params));
	assert_int_equal(params.e820_entries, 128);
	assert_int_equal(cvmm_le64_get(params.e820_table[127].addr), UINT64_C(127) << 32);
	assert_int_equal(cvmm_le64_get(params.e820_table[127].size), 4096);
	assert_int_equal(cvmm_le32_get(params.e820_table[127].type), 7);
	load_pvh(m);
	read_guest(m, CVMM_LOADER_START_INFO_GPA, &area, sizeof(area));
	assert_int_equal(cvmm_le32_get(area.info.memmap_entries), 128);
	assert_int_equal(cvmm_le64_get(area.memmap[127].addr), UINT64_C(127) << 32);
}

static void memory_map_must_ascend_without_overlap(void **state)
{
	struct machine *m = *state;

	m->map[1].len_bytes++;
	refuse_bz(m, -EINVAL, "entry 2");
	m->map[1].len_bytes = 0;
	refuse_bz(m, -EINVAL, "entry 1");
	m->map[1].len_bytes = 1;
	m->map[2].len_bytes = UINT64_MAX - LOADER_MIB + 1;
	refuse_bz(m, -EINVAL, "entry 2");
}

static void ram_of_the_memory_map_must_exist(void **state)
{
	struct machine *m = *state;

	m->map[2].len_bytes++;
	refuse_bz(m, -EINVAL, "no memory there");
}

static void low_memory_must_be_ram(void **state)
{
	struct machine *m = *state;

	m->map[0].len_bytes = CVMM_LOADER_LOW_END - 1;
	refuse_bz(m, -EFAULT, "must be RAM");
	m->map[0].len_bytes = CVMM_LOADER_LOW_END;
	load_bz(m);
}

static void low_memory_must_not_be_reserved(void **state)
{
	struct machine *m = *state;

	m->reserved[0] = (struct cvmm_loader_range){ G(CVMM_LOADER_ZERO_PAGE_GPA), 1 };
	m->config.reserved_count = 1;
	refuse_bz(m, -EFAULT, "must be free");
	m->reserved[0] = (struct cvmm_loader_range){ G(CVMM_LOADER_LOW_END), 0x1000 };
	load_bz(m);
}

static void reserved_ranges_must_not_wrap_nor_be_too_many(void **state)
{
	struct machine *m = *state;

	m->reserved[0] = (struct cvmm_loader_range){ G(UINT64_MAX), 1 };
	m->config.reserved_count = 1;
	refuse_bz(m, -EINVAL, "wraps");
	m->config.reserved_count = CVMM_LOADER_RESERVED_MAX + 1;
	refuse_bz(m, -EINVAL, "at most 64");
	memset(m->reserved, 0, sizeof(m->reserved));
	m->config.reserved_count = CVMM_LOADER_RESERVED_MAX;
	load_bz(m);
}

static void neighbouring_ram_entries_count_as_one(void **state)
{
	struct machine *m = *state;

	m->map[2].len_bytes = BZ_PREF_GPA + 0x1000 - LOADER_MIB;
	m->map[3] = (struct cvmm_loader_map_entry){ G(BZ_PREF_GPA + 0x1000), 0x800000,
						    CVMM_LOADER_MAP_RAM };
	m->config.map_count = 4;
	load_bz(m);
	assert_int_equal(m->result.kernel.gpa.addr, BZ_PREF_GPA);
}

static void unknown_protocol_or_architecture_is_refused(void **state)
{
	struct machine *m = *state;

	m->config.protocol = (enum cvmm_loader_protocol)9;
	refuse_bz(m, -EINVAL, "protocol 9");
	m->config.protocol = CVMM_LOADER_PROTOCOL_AUTO;
	m->config.arch = (enum cvmm_loader_arch)7;
	refuse_bz(m, -EINVAL, "architecture 7");
}

static void command_line_is_written_with_its_nul(void **state)
{
	struct machine *m = *state;

	assert_int_equal(cvmm_mem_fill(m->mem, G(CVMM_LOADER_CMDLINE_GPA), TEST_POISON, 64), 0);
	m->config.cmdline = "console=ttyS0";
	load_bz(m);
	assert_int_equal(m->result.cmdline.gpa.addr, CVMM_LOADER_CMDLINE_GPA);
	assert_int_equal(m->result.cmdline.len_bytes, 14);
	assert_guest_bytes(m, CVMM_LOADER_CMDLINE_GPA, "console=ttyS0", 14);
	m->config.cmdline = NULL;
	load_bz(m);
	assert_guest_bytes(m, CVMM_LOADER_CMDLINE_GPA, "", 1);
}

static void command_line_of_an_elf_kernel_is_bounded(void **state)
{
	struct pvh_file file = pvh_file();
	char text[CVMM_LOADER_CMDLINE_ELF_MAX + 2] = { 0 };
	struct machine *m = *state;

	memset(text, 'x', sizeof(text) - 1);
	m->config.cmdline = text;
	assert_refused(m, &file, sizeof(file), -E2BIG, "has 2048 characters");
	text[CVMM_LOADER_CMDLINE_ELF_MAX] = '\0';
	load_pvh(m);
}

/* ---- initrd ---------------------------------------------------------------------------------- */

static void initrd_goes_to_the_top_of_ram(void **state)
{
	const struct cvmm_loader_piece piece = { .data = "0123456789", .len_bytes = 10 };
	struct machine *m = *state;

	m->config.initrd = &piece;
	m->config.initrd_count = 1;
	load_bz(m);
	assert_int_equal(m->result.initrd.gpa.addr, TEST_RAM_BYTES - INITRD_PAGE);
	assert_int_equal(m->result.initrd.len_bytes, 10);
	assert_guest_bytes(m, m->result.initrd.gpa.addr, "0123456789", 10);
}

static void initrd_pieces_are_joined_at_multiples_of_4(void **state)
{
	int fd = file_of("ABCDEFGH", 8);
	const struct cvmm_loader_piece pieces[] = {
		{ .data = "12345", .len_bytes = 5 },
		{ .fd = fd, .fd_offset = 1, .len_bytes = 2 },
		{ .fd = fd, .fd_offset = 3, .len_bytes = CVMM_LOADER_TO_END },
		{ .fd = fd, .fd_offset = 8, .len_bytes = CVMM_LOADER_TO_END },
		{ .data = "", .len_bytes = 0 },
		{ .data = "z", .len_bytes = 1 },
	};
	struct machine *m = *state;

	m->config.initrd = pieces;
	m->config.initrd_count = CVMM_ARRAY_SIZE(pieces);
	assert_int_equal(cvmm_mem_fill(m->mem, G(TEST_RAM_BYTES - INITRD_PAGE), TEST_POISON, 64),
			 0);
	load_bz(m);
	assert_int_equal(m->result.initrd.len_bytes, 21);
	assert_guest_bytes(m, m->result.initrd.gpa.addr, "12345\0\0\0BC\0\0DEFGH\0\0\0z", 21);
	cvmm_close_fd(&fd);
}

static void empty_initrd_is_none(void **state)
{
	const struct cvmm_loader_piece piece = { .data = "", .len_bytes = 0 };
	struct loader_start_info info;
	struct machine *m = *state;

	m->config.initrd = &piece;
	m->config.initrd_count = 1;
	load_pvh(m);
	assert_int_equal(m->result.initrd.len_bytes, 0);
	read_guest(m, CVMM_LOADER_START_INFO_GPA, &info, sizeof(info));
	assert_int_equal(cvmm_le32_get(info.nr_modules), 0);
	assert_int_equal(cvmm_le64_get(info.modlist_paddr), 0);
}

static void initrd_larger_than_memory_is_refused_with_numbers(void **state)
{
	int fd = file_of("", 0);
	struct cvmm_loader_piece piece = { .fd = fd, .len_bytes = CVMM_LOADER_TO_END };
	struct machine *m = *state;

	assert_int_equal(ftruncate(fd, 17 << 20), 0);
	m->config.initrd = &piece;
	m->config.initrd_count = 1;
	refuse_bz(m, -ENOMEM, "initrd of 17408 KiB does not fit");
	assert_non_null(strstr(m->err.message, "15999 KiB of RAM"));
	assert_non_null(strstr(m->err.message, "kernel takes 1024 KiB"));
	cvmm_close_fd(&fd);
}

static void initrd_may_fill_the_room_above_the_kernel_but_no_more(void **state)
{
	uint64_t room = TEST_RAM_BYTES - BZ_PREF_GPA - BZ_INIT_BYTES;
	int fd = file_of("", 0);
	struct cvmm_loader_piece piece = { .fd = fd, .len_bytes = room };
	struct machine *m = *state;

	assert_int_equal(ftruncate(fd, (off_t)TEST_RAM_BYTES), 0);
	m->config.initrd = &piece;
	m->config.initrd_count = 1;
	load_bz(m);
	assert_int_equal(m->result.initrd.gpa.addr, BZ_PREF_GPA + BZ_INIT_BYTES);
	piece.len_bytes = room + 1;
	refuse_bz(m, -ENOMEM, "does not fit");
	cvmm_close_fd(&fd);
}

static void initrd_goes_below_the_kernel_where_only_that_is_free(void **state)
{
	uint64_t above = BZ_PREF_GPA + BZ_INIT_BYTES;
	const struct cvmm_loader_piece piece = { .data = "initrd", .len_bytes = 6 };
	struct machine *m = *state;

	m->reserved[0] = (struct cvmm_loader_range){ G(above), TEST_RAM_BYTES - above };
	m->config.reserved_count = 1;
	m->config.initrd = &piece;
	m->config.initrd_count = 1;
	load_bz(m);
	assert_int_equal(m->result.initrd.gpa.addr, BZ_PREF_GPA - INITRD_PAGE);
	m->reserved[1] = (struct cvmm_loader_range){ G(LOADER_MIB + INITRD_PAGE),
						     BZ_PREF_GPA - LOADER_MIB - INITRD_PAGE };
	m->config.reserved_count = 2;
	load_bz(m);
	assert_int_equal(m->result.initrd.gpa.addr, LOADER_MIB);
	m->reserved[1].len_bytes += INITRD_PAGE;
	m->reserved[1].gpa = G(LOADER_MIB);
	refuse_bz(m, -ENOMEM, "does not fit");
}

static void initrd_avoids_reserved_ranges(void **state)
{
	const struct cvmm_loader_piece piece = { .data = "initrd", .len_bytes = 6 };
	struct machine *m = *state;

	m->reserved[0] = (struct cvmm_loader_range){ G(TEST_RAM_BYTES - 0x10000), 0x8001 };
	m->reserved[1] = (struct cvmm_loader_range){ G(TEST_RAM_BYTES - 0x8000), 0x7001 };
	m->config.reserved_count = 2;
	m->config.initrd = &piece;
	m->config.initrd_count = 1;
	load_bz(m);
	assert_int_equal(m->result.initrd.gpa.addr, TEST_RAM_BYTES - 0x11000);
}

static void initrd_piece_beyond_its_file_is_refused(void **state)
{
	int fd = file_of("12345678", 8);
	struct cvmm_loader_piece piece = { .fd = fd, .fd_offset = 4, .len_bytes = 5 };
	struct machine *m = *state;

	m->config.initrd = &piece;
	m->config.initrd_count = 1;
	refuse_bz(m, -ENODATA, "piece 0");
	piece.fd_offset = UINT64_MAX;
	refuse_bz(m, -ENODATA, "too early");
	piece.fd_offset = 9;
	piece.len_bytes = CVMM_LOADER_TO_END;
	refuse_bz(m, -ENODATA, "too early");
	cvmm_close_fd(&fd);
}

static void initrd_in_memory_needs_a_length(void **state)
{
	const struct cvmm_loader_piece piece = { .data = "x", .len_bytes = CVMM_LOADER_TO_END };
	struct machine *m = *state;

	m->config.initrd = &piece;
	m->config.initrd_count = 1;
	refuse_bz(m, -EINVAL, "a length is needed");
}

static void initrd_sizes_that_wrap_are_refused(void **state)
{
	const struct cvmm_loader_piece pieces[] = {
		{ .data = "x", .len_bytes = SIZE_MAX / 2 },
		{ .data = "x", .len_bytes = SIZE_MAX / 2 },
		{ .data = "x", .len_bytes = SIZE_MAX / 2 },
	};
	struct machine *m = *state;

	m->config.initrd = pieces;
	m->config.initrd_count = 3;
	refuse_bz(m, -ENOMEM, "");
}

static void initrd_file_must_be_a_regular_file(void **state)
{
	struct cvmm_loader_piece piece = { .fd = -1, .len_bytes = CVMM_LOADER_TO_END };
	struct machine *m = *state;
	int ends[2];

	m->config.initrd = &piece;
	m->config.initrd_count = 1;
	refuse_bz(m, -EBADF, "initrd file");
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	piece.fd = ends[0];
	refuse_bz(m, -EINVAL, "initrd file is not a regular file");
	cvmm_close_fd(&ends[0]);
	cvmm_close_fd(&ends[1]);
}

/* As much memory again, from 4 GiB on. */
static void add_high_memory(struct machine *m)
{
	const struct cvmm_mem_config ram = {
		.gpa = { CVMM_LOADER_IDENTITY_MAP_END },
		.len_bytes = TEST_RAM_BYTES,
		.kind = CVMM_MEM_ANONYMOUS,
		.access = CVMM_ACCESS_READ_WRITE,
		.fd = -1,
	};
	struct cvmm_mem *more = NULL;

	assert_int_equal(cvmm_mem_insert(m->mem, &ram, &more, NULL), 0);
	cvmm_mem_unref(m->mem);
	m->mem = more;
	m->map[3] = (struct cvmm_loader_map_entry){ ram.gpa, ram.len_bytes, CVMM_LOADER_MAP_RAM };
	m->config.map_count = 4;
}

static void kernel_and_initrd_stay_below_4_gib(void **state)
{
	const struct cvmm_loader_piece piece = { .data = "initrd", .len_bytes = 6 };
	struct bzimage_file file = bz_file();
	struct machine *m = *state;

	add_high_memory(m);
	m->config.initrd = &piece;
	m->config.initrd_count = 1;
	bz_header(&file)->initrd_addr_max = cvmm_le32_from(UINT32_MAX);
	assert_loads(m, &file, sizeof(file));
	assert_int_equal(m->result.initrd.gpa.addr, TEST_RAM_BYTES - INITRD_PAGE);
	load_pvh(m);
	assert_int_equal(m->result.initrd.gpa.addr, TEST_RAM_BYTES - INITRD_PAGE);
	bz_header(&file)->init_size = cvmm_le32_from((uint32_t)TEST_RAM_BYTES - 4096);
	assert_refused(m, &file, sizeof(file), -ENOMEM, "15999 KiB of RAM below 4 GiB");
	bz_header(&file)->relocatable_kernel = 0;
	bz_header(&file)->init_size = cvmm_le32_from(BZ_INIT_BYTES);
	bz_header(&file)->pref_address = cvmm_le64_from(CVMM_LOADER_IDENTITY_MAP_END);
	assert_refused(m, &file, sizeof(file), -ENOMEM, "at 0x100000000");
}

static void initrd_pieces_are_bounded(void **state)
{
	struct cvmm_loader_piece pieces[CVMM_LOADER_INITRD_PIECES_MAX + 1];
	struct machine *m = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(pieces); i++)
		pieces[i] = (struct cvmm_loader_piece){ .data = "1234", .len_bytes = 4 };
	m->config.initrd = pieces;
	m->config.initrd_count = CVMM_LOADER_INITRD_PIECES_MAX + 1;
	refuse_bz(m, -EINVAL, "at most 64");
	m->config.initrd_count = CVMM_LOADER_INITRD_PIECES_MAX;
	load_bz(m);
	assert_int_equal(m->result.initrd.len_bytes, 256);
}

/* ---- boot parameters ------------------------------------------------------------------------- */

static void zero_page_describes_the_boot(void **state)
{
	const struct cvmm_loader_piece piece = { .data = "initrd", .len_bytes = 6 };
	struct loader_boot_params params;
	struct machine *m = *state;

	assert_int_equal(cvmm_mem_fill(m->mem, G(0), TEST_POISON, CVMM_LOADER_LOW_END), 0);
	m->config.initrd = &piece;
	m->config.initrd_count = 1;
	m->config.rsdp_gpa = UINT64_C(0x123456789a);
	load_bz(m);
	assert_int_equal(m->result.boot_params.gpa.addr, CVMM_LOADER_ZERO_PAGE_GPA);
	assert_int_equal(m->result.boot_params.len_bytes, sizeof(params));
	read_guest(m, CVMM_LOADER_ZERO_PAGE_GPA, &params, sizeof(params));
	assert_int_equal(cvmm_le64_get(params.acpi_rsdp_addr), UINT64_C(0x123456789a));
	assert_int_equal(cvmm_le32_get(params.hdr.cmd_line_ptr), CVMM_LOADER_CMDLINE_GPA);
	assert_int_equal(cvmm_le32_get(params.ext_cmd_line_ptr), 0);
	assert_int_equal(cvmm_le32_get(params.hdr.ramdisk_image), TEST_RAM_BYTES - INITRD_PAGE);
	assert_int_equal(cvmm_le32_get(params.hdr.ramdisk_size), 6);
	assert_int_equal(cvmm_le32_get(params.ext_ramdisk_image), 0);
	assert_int_equal(cvmm_le32_get(params.ext_ramdisk_size), 0);
	assert_int_equal(params.e820_entries, 3);
	assert_int_equal(cvmm_le64_get(params.e820_table[1].addr), TEST_LOW_RAM_END);
	assert_int_equal(cvmm_le64_get(params.e820_table[1].size), LOADER_MIB - TEST_LOW_RAM_END);
	assert_int_equal(cvmm_le32_get(params.e820_table[1].type), 2);
	assert_int_equal(cvmm_le32_get(params.e820_table[2].type), 1);
	assert_int_equal(cvmm_le32_get(params.e820_table[3].type), 0);
	assert_int_equal(params.screen_info_to_rsdp[0], 0);
}

static void start_info_describes_the_boot(void **state)
{
	const struct cvmm_loader_piece piece = { .data = "initrd", .len_bytes = 6 };
	struct loader_modlist_entry module;
	struct loader_memmap_entry memmap[3];
	struct loader_start_info info;
	struct machine *m = *state;

	m->config.initrd = &piece;
	m->config.initrd_count = 1;
	m->config.rsdp_gpa = 0xe0000;
	load_pvh(m);
	assert_int_equal(m->result.boot_params.gpa.addr, CVMM_LOADER_START_INFO_GPA);
	read_guest(m, CVMM_LOADER_START_INFO_GPA, &info, sizeof(info));
	assert_int_equal(cvmm_le32_get(info.magic), 0x336ec578);
	assert_int_equal(cvmm_le32_get(info.version), 1);
	assert_int_equal(cvmm_le32_get(info.flags), 0);
	assert_int_equal(cvmm_le64_get(info.cmdline_paddr), CVMM_LOADER_CMDLINE_GPA);
	assert_int_equal(cvmm_le64_get(info.rsdp_paddr), 0xe0000);
	assert_int_equal(cvmm_le32_get(info.nr_modules), 1);
	read_guest(m, cvmm_le64_get(info.modlist_paddr), &module, sizeof(module));
	assert_int_equal(cvmm_le64_get(module.paddr), m->result.initrd.gpa.addr);
	assert_int_equal(cvmm_le64_get(module.size), 6);
	assert_int_equal(cvmm_le64_get(module.cmdline_paddr), 0);
	assert_int_equal(cvmm_le32_get(info.memmap_entries), 3);
	read_guest(m, cvmm_le64_get(info.memmap_paddr), memmap, sizeof(memmap));
	assert_int_equal(cvmm_le64_get(memmap[2].addr), LOADER_MIB);
	assert_int_equal(cvmm_le64_get(memmap[2].size), TEST_RAM_BYTES - LOADER_MIB);
	assert_int_equal(cvmm_le32_get(memmap[1].type), 2);
}

static void layouts_agree_with_the_kernels_header(void **state)
{
	(void)state;
#ifdef HAVE_ASM_BOOTPARAM
#define SAME(field)                                                  \
	assert_int_equal(offsetof(struct loader_boot_params, field), \
			 offsetof(struct boot_params, field))
	SAME(acpi_rsdp_addr);
	SAME(ext_ramdisk_image);
	SAME(ext_ramdisk_size);
	SAME(ext_cmd_line_ptr);
	SAME(e820_entries);
	SAME(hdr);
	SAME(hdr.syssize);
	SAME(hdr.boot_flag);
	SAME(hdr.header);
	SAME(hdr.version);
	SAME(hdr.kernel_version);
	SAME(hdr.type_of_loader);
	SAME(hdr.loadflags);
	SAME(hdr.code32_start);
	SAME(hdr.ramdisk_image);
	SAME(hdr.ramdisk_size);
	SAME(hdr.heap_end_ptr);
	SAME(hdr.cmd_line_ptr);
	SAME(hdr.initrd_addr_max);
	SAME(hdr.kernel_alignment);
	SAME(hdr.relocatable_kernel);
	SAME(hdr.min_alignment);
	SAME(hdr.xloadflags);
	SAME(hdr.cmdline_size);
	SAME(hdr.payload_offset);
	SAME(hdr.payload_length);
	SAME(hdr.setup_data);
	SAME(hdr.pref_address);
	SAME(hdr.init_size);
	SAME(hdr.handover_offset);
	SAME(e820_table);
#undef SAME
	assert_int_equal(sizeof(struct loader_boot_params), sizeof(struct boot_params));
#else
	print_message("SKIP: <asm/bootparam.h> exists on x86 only\n");
	skip();
#endif
}

/* ---- registers ------------------------------------------------------------------------------- */

static void linux64_starts_in_long_mode(void **state)
{
	struct machine *m = *state;
	const struct cvmm_loader_x86_state *x86 = &m->result.x86;

	load_bz(m);
	assert_int_equal(x86->rsi, CVMM_LOADER_ZERO_PAGE_GPA);
	assert_int_equal(x86->rbx, 0);
	assert_int_equal(x86->rsp, 0x8ff0);
	assert_int_equal(x86->rflags, 2); /* interrupts off */
	assert_int_equal(x86->cr0, 0x80000011);
	assert_int_equal(x86->cr3, CVMM_LOADER_PAGE_TABLES_GPA);
	assert_int_equal(x86->cr4, 0x20);
	assert_int_equal(x86->efer, 0x500);
	assert_int_equal(x86->cs.selector, 0x10);
	assert_int_equal(x86->cs.l, 1);
	assert_int_equal(x86->cs.db, 0);
	assert_int_equal(x86->data.selector, 0x18);
	assert_int_equal(x86->data.base, 0);
	assert_int_equal(x86->data.limit, UINT32_MAX);
	assert_int_equal(x86->tr.type, 11);
	assert_int_equal(x86->idt_limit, 0);
}

static void pvh_starts_in_flat_protected_mode(void **state)
{
	struct machine *m = *state;
	const struct cvmm_loader_x86_state *x86 = &m->result.x86;

	load_pvh(m);
	assert_int_equal(x86->rip, PVH_GPA + 0x40);
	assert_int_equal(x86->rbx, CVMM_LOADER_START_INFO_GPA);
	assert_int_equal(x86->rsi, 0);
	assert_int_equal(x86->rflags, 2);
	assert_int_equal(x86->cr0, 0x11); /* paging off */
	assert_int_equal(x86->cr3, 0);
	assert_int_equal(x86->cr4, 0);
	assert_int_equal(x86->efer, 0);
	assert_int_equal(x86->cs.l, 0);
	assert_int_equal(x86->cs.db, 1);
	assert_int_equal(x86->cs.base, 0);
	assert_int_equal(x86->cs.limit, UINT32_MAX);
	assert_int_equal(x86->tr.base, 0);
	assert_int_equal(x86->tr.limit, 0x67);
}

static void gdt_in_memory_agrees_with_the_registers(void **state)
{
	struct machine *m = *state;
	cvmm_le64 gdt[6];

	load_bz(m);
	assert_int_equal(m->result.x86.gdt_base, CVMM_LOADER_GDT_GPA);
	assert_int_equal(m->result.x86.gdt_limit, sizeof(gdt) - 1);
	read_guest(m, CVMM_LOADER_GDT_GPA, gdt, sizeof(gdt));
	assert_int_equal(cvmm_le64_get(gdt[0]), 0);
	assert_int_equal(cvmm_le64_get(gdt[2]), UINT64_C(0x00af9b000000ffff));
	assert_int_equal(cvmm_le64_get(gdt[3]), UINT64_C(0x00cf93000000ffff));
	assert_int_equal(cvmm_le64_get(gdt[4]), UINT64_C(0x00008b0000000067));
	assert_int_equal(cvmm_le64_get(gdt[5]), 0);
	load_pvh(m);
	read_guest(m, CVMM_LOADER_GDT_GPA, gdt, sizeof(gdt));
	assert_int_equal(cvmm_le64_get(gdt[2]), UINT64_C(0x00cf9b000000ffff));
}

static uint64_t read_entry(const struct machine *m, uint64_t table, uint64_t index)
{
	cvmm_le64 entry;

	read_guest(m, table + index * 8, &entry, sizeof(entry));
	return cvmm_le64_get(entry);
}

/* A walk as the CPU does it; fails the test where nothing is mapped with a 2 MiB page. */
static uint64_t walk(const struct machine *m, uint64_t addr)
{
	uint64_t entry = read_entry(m, m->result.x86.cr3, addr >> 39 & 511);

	assert_int_equal(entry & 0x83, 3);
	entry = read_entry(m, entry & ~UINT64_C(0xfff), addr >> 30 & 511);
	assert_int_equal(entry & 0x83, 3); /* no 1 GiB page */
	entry = read_entry(m, entry & ~UINT64_C(0xfff), addr >> 21 & 511);
	assert_int_equal(entry & 0x83, 0x83);
	return (entry & ~UINT64_C(0x1fffff)) | (addr & 0x1fffff);
}

static void page_tables_map_4_gib_one_to_one(void **state)
{
	struct machine *m = *state;

	assert_int_equal(cvmm_mem_fill(m->mem, G(0), TEST_POISON, CVMM_LOADER_LOW_END), 0);
	load_bz(m);
	for (uint64_t addr = 0; addr < CVMM_LOADER_IDENTITY_MAP_END; addr += 0x200000)
		assert_int_equal(walk(m, addr + 0x123), addr + 0x123);
	assert_int_equal(read_entry(m, m->result.x86.cr3, 1), 0);
	assert_int_equal(read_entry(m, m->result.x86.cr3 + 0x1000, 4), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, machine_create, machine_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(foreign_files_are_named_and_a_way_out_is_given),
		TEST(loadable_files_are_sniffed),
		TEST(every_format_has_a_name),
		TEST(kernel_must_be_a_regular_file),
		TEST(file_of_a_magic_number_alone_is_named),
		TEST(unreadable_files_are_reported),
		TEST(position_of_the_kernel_file_does_not_move),
		TEST(memory_map_must_have_1_to_128_entries),
		TEST(memory_map_of_128_entries_reaches_the_guest),
		TEST(memory_map_must_ascend_without_overlap),
		TEST(ram_of_the_memory_map_must_exist),
		TEST(low_memory_must_be_ram),
		TEST(low_memory_must_not_be_reserved),
		TEST(reserved_ranges_must_not_wrap_nor_be_too_many),
		TEST(neighbouring_ram_entries_count_as_one),
		TEST(unknown_protocol_or_architecture_is_refused),
		TEST(command_line_is_written_with_its_nul),
		TEST(command_line_of_an_elf_kernel_is_bounded),
		TEST(initrd_goes_to_the_top_of_ram),
		TEST(initrd_pieces_are_joined_at_multiples_of_4),
		TEST(empty_initrd_is_none),
		TEST(initrd_larger_than_memory_is_refused_with_numbers),
		TEST(initrd_may_fill_the_room_above_the_kernel_but_no_more),
		TEST(initrd_goes_below_the_kernel_where_only_that_is_free),
		TEST(initrd_avoids_reserved_ranges),
		TEST(initrd_piece_beyond_its_file_is_refused),
		TEST(initrd_in_memory_needs_a_length),
		TEST(initrd_sizes_that_wrap_are_refused),
		TEST(initrd_file_must_be_a_regular_file),
		TEST(kernel_and_initrd_stay_below_4_gib),
		TEST(initrd_pieces_are_bounded),
		TEST(zero_page_describes_the_boot),
		TEST(start_info_describes_the_boot),
		TEST(layouts_agree_with_the_kernels_header),
		TEST(linux64_starts_in_long_mode),
		TEST(pvh_starts_in_flat_protected_mode),
		TEST(gdt_in_memory_agrees_with_the_registers),
		TEST(page_tables_map_4_gib_one_to_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
