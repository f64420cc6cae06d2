/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test_loader_util.h"

static void refuse(void **state, const struct bzimage_file *file, int code, const char *text)
{
	assert_refused(*state, file, sizeof(*file), code, text);
}

static void load(void **state, const struct bzimage_file *file)
{
	assert_loads(*state, file, sizeof(*file));
}

static void payload_goes_to_the_preferred_address(void **state)
{
	struct bzimage_file file = bz_file();
	struct machine *m = *state;

	load(state, &file);
	assert_int_equal(m->result.format, CVMM_LOADER_FORMAT_BZIMAGE);
	assert_int_equal(m->result.protocol, CVMM_LOADER_PROTOCOL_LINUX64);
	assert_int_equal(m->result.kernel.gpa.addr, BZ_PREF_GPA);
	assert_int_equal(m->result.kernel.len_bytes, BZ_INIT_BYTES);
	assert_int_equal(m->result.boot_protocol, 0x020f);
	assert_int_equal(m->result.x86.rip, BZ_PREF_GPA + 0x200);
	assert_guest_bytes(m, BZ_PREF_GPA, file.bytes + BZ_SETUP_BYTES, BZ_PAYLOAD_BYTES);
}

static void bytes_behind_the_declared_payload_are_left_out(void **state)
{
	struct {
		struct bzimage_file file;
		uint8_t signature[64];
	} longer = { .file = bz_file(), .signature = { 0x77 } };
	struct machine *m = *state;

	assert_loads(m, &longer, sizeof(longer));
	assert_guest_fill(m, BZ_PREF_GPA + BZ_PAYLOAD_BYTES, 0, 64);
}

static void setup_header_is_copied_and_no_more_than_it_declares(void **state)
{
	struct bzimage_file file = bz_file();
	struct loader_boot_params params;
	struct machine *m = *state;

	memset(file.bytes + 0x26c, 0xee, 0x290 - 0x26c + 0x20); /* behind the header of 2.15 */
	load(state, &file);
	read_guest(m, CVMM_LOADER_ZERO_PAGE_GPA, &params, sizeof(params));
	assert_int_equal(cvmm_le32_get(params.hdr.header), 0x53726448);
	assert_int_equal(cvmm_le32_get(params.hdr.handover_offset), 0x11223344);
	assert_int_equal(cvmm_le32_get(params.hdr.init_size), BZ_INIT_BYTES);
	assert_int_equal(params.hdr.later[0], 0);
	assert_int_equal(params.edd_mbr_sig_buffer[0], 0);
	assert_int_equal(params.hdr.type_of_loader, 0xff);
	assert_int_equal(cvmm_le32_get(params.hdr.code32_start), BZ_PREF_GPA);
}

static void longest_header_that_a_jump_can_declare_fits(void **state)
{
	struct bzimage_file file = bz_file();
	struct loader_boot_params params;
	struct machine *m = *state;

	memset(file.bytes + 0x26c, 0xee, 0x60);
	bz_header(&file)->jump_offset = 0x7f;
	load(state, &file);
	read_guest(m, CVMM_LOADER_ZERO_PAGE_GPA, &params, sizeof(params));
	assert_int_equal(params.hdr.later[0x280 - 0x26c], 0xee);
	assert_int_equal(params.hdr.later[0x281 - 0x26c], 0);
}

static void setup_data_of_the_file_is_not_passed_on(void **state)
{
	struct bzimage_file file = bz_file();
	struct loader_boot_params params;
	struct machine *m = *state;

	bz_header(&file)->setup_data = cvmm_le64_from(0xdeadbeef);
	load(state, &file);
	read_guest(m, CVMM_LOADER_ZERO_PAGE_GPA, &params, sizeof(params));
	assert_int_equal(cvmm_le64_get(params.hdr.setup_data), 0);
}

static void truncated_at_every_length_is_an_error(void **state)
{
	struct bzimage_file file = bz_file();
	struct machine *m = *state;

	for (size_t len = 0; len < sizeof(file); len += len < 0x2a0 ? 1 : 61) {
		int r = machine_load(m, &file, len);

		/* Cut before "HdrS" it looks like something else, or like nothing. */
		if (r != (len ? -ENODATA : -ENOEXEC))
			fail_msg("%zu bytes: %d, %s", len, r, m->err.message);
		assert_non_null(strstr(m->err.message, len ? "truncated" : "empty file"));
	}
	assert_refused(m, &file, sizeof(file) - 1, -ENODATA, "its header tells of 3072 bytes");
}

static void setup_sects_of_zero_mean_four(void **state)
{
	struct {
		struct bzimage_file file;
		uint8_t more[5 * 512 - BZ_SETUP_BYTES];
	} longer = { .file = bz_file() };
	struct machine *m = *state;

	bz_header(&longer.file)->setup_sects = 0;
	memset(longer.more, 0x5a, sizeof(longer.more));
	assert_loads(m, &longer, sizeof(longer));
	assert_guest_bytes(m, BZ_PREF_GPA, (uint8_t *)&longer + 5 * 512, BZ_PAYLOAD_BYTES);
	assert_refused(m, &longer, sizeof(longer) - 1, -ENODATA, "truncated");
}

static void largest_setup_sects_are_still_checked_against_the_file(void **state)
{
	struct bzimage_file file = bz_file();

	bz_header(&file)->setup_sects = 255;
	refuse(state, &file, -ENODATA, "truncated");
}

static void syssize_beyond_the_file_is_truncation(void **state)
{
	struct bzimage_file file = bz_file();

	bz_header(&file)->syssize = cvmm_le32_from(BZ_PAYLOAD_BYTES / 16 + 1);
	refuse(state, &file, -ENODATA, "truncated");
	bz_header(&file)->syssize = cvmm_le32_from(UINT32_MAX);
	refuse(state, &file, -ENODATA, "truncated");
}

static void syssize_too_small_for_the_entry_is_malformed(void **state)
{
	struct bzimage_file file = bz_file();

	bz_header(&file)->payload_offset = cvmm_le32_from(0);
	bz_header(&file)->payload_length = cvmm_le32_from(0);
	bz_header(&file)->syssize = cvmm_le32_from(0x200 / 16);
	refuse(state, &file, -EBADMSG, "malformed");
	bz_header(&file)->syssize = cvmm_le32_from(0);
	refuse(state, &file, -EBADMSG, "malformed");
}

static void missing_boot_flag_is_malformed(void **state)
{
	struct bzimage_file file = bz_file();

	bz_header(&file)->boot_flag = cvmm_le16_from(0);
	refuse(state, &file, -EBADMSG, "signature");
}

static void jump_out_of_bounds_is_malformed(void **state)
{
	struct bzimage_file file = bz_file();

	bz_header(&file)->jump_offset = 0x80;
	refuse(state, &file, -EBADMSG, "jump");
	bz_header(&file)->jump_offset = 0x264 - 0x202;
	load(state, &file);
	bz_header(&file)->jump_offset = 0x264 - 0x202 - 1;
	refuse(state, &file, -EBADMSG, "needs at least");
	bz_header(&file)->jump_offset = 0;
	refuse(state, &file, -EBADMSG, "needs at least");
	bz_header(&file)->jump_offset = 0x6a;
	bz_header(&file)->jump_opcode = 0xe9;
	refuse(state, &file, -EBADMSG, "jump");
}

static void old_protocols_are_refused_with_the_version(void **state)
{
	struct bzimage_file file = bz_file();

	bz_header(&file)->version = cvmm_le16_from(0x020b);
	refuse(state, &file, -ENOTSUP, "0x020b");
	bz_header(&file)->version = cvmm_le16_from(0);
	refuse(state, &file, -ENOTSUP, "0x0000");
	bz_header(&file)->version = cvmm_le16_from(0x020c);
	load(state, &file);
}

static void kernel_without_64_bit_entry_is_refused(void **state)
{
	struct bzimage_file file = bz_file();

	bz_header(&file)->xloadflags = cvmm_le16_from(0x7e);
	refuse(state, &file, -ENOTSUP, "32-bit kernel");
}

static void zimage_is_refused(void **state)
{
	struct bzimage_file file = bz_file();

	bz_header(&file)->loadflags = 0;
	refuse(state, &file, -ENOTSUP, "zImage");
}

static void init_size_smaller_than_the_payload_is_malformed(void **state)
{
	struct bzimage_file file = bz_file();

	bz_header(&file)->init_size = cvmm_le32_from(BZ_PAYLOAD_BYTES - 1);
	refuse(state, &file, -EBADMSG, "to unpack");
	bz_header(&file)->init_size = cvmm_le32_from(BZ_PAYLOAD_BYTES);
	load(state, &file);
}

static void compressed_kernel_beyond_the_payload_is_malformed(void **state)
{
	struct bzimage_file file = bz_file();

	bz_header(&file)->payload_length = cvmm_le32_from(BZ_PAYLOAD_BYTES - 0x300 + 1);
	refuse(state, &file, -EBADMSG, "compressed kernel");
	bz_header(&file)->payload_length = cvmm_le32_from(BZ_PAYLOAD_BYTES - 0x300);
	load(state, &file);
	bz_header(&file)->payload_offset = cvmm_le32_from(UINT32_MAX);
	bz_header(&file)->payload_length = cvmm_le32_from(UINT32_MAX);
	refuse(state, &file, -EBADMSG, "compressed kernel");
}

static void alignment_must_be_a_power_of_two(void **state)
{
	struct bzimage_file file = bz_file();

	bz_header(&file)->kernel_alignment = cvmm_le32_from(0);
	refuse(state, &file, -EBADMSG, "alignment");
	bz_header(&file)->kernel_alignment = cvmm_le32_from(0x200001);
	refuse(state, &file, -EBADMSG, "alignment");
}

static void preferred_address_in_low_memory_is_malformed(void **state)
{
	struct bzimage_file file = bz_file();

	bz_header(&file)->pref_address = cvmm_le64_from(LOADER_MIB - 1);
	refuse(state, &file, -EBADMSG, "preferred address");
	bz_header(&file)->pref_address = cvmm_le64_from(LOADER_MIB);
	bz_header(&file)->relocatable_kernel = 0;
	load(state, &file);
}

static void preferred_address_that_wraps_does_not_fit(void **state)
{
	struct bzimage_file file = bz_file();

	bz_header(&file)->pref_address = cvmm_le64_from(UINT64_MAX - 0xfff);
	refuse(state, &file, -ENOMEM, "free RAM");
	bz_header(&file)->relocatable_kernel = 0;
	refuse(state, &file, -ENOMEM, "free RAM");
}

static void init_size_beyond_ram_is_refused_with_numbers(void **state)
{
	struct bzimage_file file = bz_file();

	bz_header(&file)->init_size = cvmm_le32_from(12 << 20 | 4096);
	refuse(state, &file, -ENOMEM, "needs 12292 KiB");
	bz_header(&file)->init_size = cvmm_le32_from(12 << 20);
	load(state, &file);
}

static void relocatable_kernel_moves_above_a_reserved_range(void **state)
{
	struct bzimage_file file = bz_file();
	struct machine *m = *state;

	m->reserved[0] = (struct cvmm_loader_range){ G(BZ_PREF_GPA + 0x1000), 0x1000 };
	m->config.reserved_count = 1;
	load(state, &file);
	assert_int_equal(m->result.kernel.gpa.addr, BZ_PREF_GPA + 0x200000);
	assert_int_equal(m->result.x86.rip, BZ_PREF_GPA + 0x200200);
}

static void fixed_kernel_does_not_move(void **state)
{
	struct bzimage_file file = bz_file();
	struct machine *m = *state;

	bz_header(&file)->relocatable_kernel = 0;
	load(state, &file);
	assert_int_equal(m->result.kernel.gpa.addr, BZ_PREF_GPA);
	m->reserved[0] = (struct cvmm_loader_range){ G(BZ_PREF_GPA + BZ_INIT_BYTES - 1), 1 };
	m->config.reserved_count = 1;
	refuse(state, &file, -EFAULT, "at 0x400000");
}

static void version_text_is_returned(void **state)
{
	struct bzimage_file file = bz_file();
	struct machine *m = *state;

	load(state, &file);
	assert_string_equal(m->result.kernel_version, BZ_VERSION);
	bz_header(&file)->kernel_version = cvmm_le16_from(0);
	load(state, &file);
	assert_string_equal(m->result.kernel_version, "");
}

static void version_text_cannot_upset_a_terminal(void **state)
{
	struct bzimage_file file = bz_file();
	struct machine *m = *state;

	memcpy(file.bytes + BZ_VERSION_OFFSET, "~\x1b[2J\xff", 7);
	load(state, &file);
	assert_string_equal(m->result.kernel_version, "~?[2J?");
}

static void version_text_without_end_is_cut(void **state)
{
	struct bzimage_file file = bz_file();
	struct machine *m = *state;

	memset(file.bytes + BZ_VERSION_OFFSET, 'v', BZ_SETUP_BYTES - BZ_VERSION_OFFSET);
	load(state, &file);
	assert_int_equal(strlen(m->result.kernel_version), CVMM_LOADER_VERSION_SIZE - 1);
	bz_header(&file)->kernel_version = cvmm_le16_from(BZ_SETUP_BYTES - 0x200 - 2);
	load(state, &file);
	assert_string_equal(m->result.kernel_version, "vv");
}

static void version_text_outside_the_setup_code_is_malformed(void **state)
{
	struct bzimage_file file = bz_file();

	bz_header(&file)->kernel_version = cvmm_le16_from(BZ_SETUP_BYTES - 0x200);
	refuse(state, &file, -EBADMSG, "version text");
	bz_header(&file)->kernel_version = cvmm_le16_from(UINT16_MAX);
	refuse(state, &file, -EBADMSG, "version text");
}

static void pvh_is_refused_with_the_way_out(void **state)
{
	struct bzimage_file file = bz_file();
	struct machine *m = *state;

	m->config.protocol = CVMM_LOADER_PROTOCOL_PVH;
	refuse(state, &file, -ENOTSUP, "extract-vmlinux");
}

static void command_line_is_bounded_by_the_header(void **state)
{
	struct bzimage_file file = bz_file();
	struct machine *m = *state;

	m->config.cmdline = "0123456789";
	bz_header(&file)->cmdline_size = cvmm_le32_from(9);
	refuse(state, &file, -E2BIG, "takes only 9");
	bz_header(&file)->cmdline_size = cvmm_le32_from(10);
	load(state, &file);
	assert_int_equal(m->result.cmdline.len_bytes, 11);
}

static void command_line_is_bounded_by_its_area(void **state)
{
	struct bzimage_file file = bz_file();
	struct machine *m = *state;
	char *text = calloc(1, CVMM_LOADER_CMDLINE_AREA_BYTES + 1);

	assert_non_null(text);
	memset(text, 'x', CVMM_LOADER_CMDLINE_AREA_BYTES);
	m->config.cmdline = text;
	bz_header(&file)->cmdline_size = cvmm_le32_from(UINT32_MAX);
	refuse(state, &file, -E2BIG, "takes only 65535");
	text[CVMM_LOADER_CMDLINE_AREA_BYTES - 1] = '\0';
	load(state, &file);
	assert_guest_bytes(m, CVMM_LOADER_CMDLINE_GPA, text, CVMM_LOADER_CMDLINE_AREA_BYTES);
	free(text);
}

static void initrd_stays_below_the_headers_maximum(void **state)
{
	struct bzimage_file file = bz_file();
	const uint8_t page[4096] = { 1 };
	struct cvmm_loader_piece piece = { .data = page, .len_bytes = 6 };
	struct machine *m = *state;

	m->config.initrd = &piece;
	m->config.initrd_count = 1;
	bz_header(&file)->initrd_addr_max = cvmm_le32_from(0xbfffff);
	load(state, &file);
	assert_int_equal(m->result.initrd.gpa.addr, 0xbff000);
	piece.len_bytes = sizeof(page);
	load(state, &file);
	assert_int_equal(m->result.initrd.gpa.addr, 0xbff000);
	bz_header(&file)->initrd_addr_max = cvmm_le32_from(0xbffffe);
	load(state, &file);
	assert_int_equal(m->result.initrd.gpa.addr, 0xbfe000);
	bz_header(&file)->initrd_addr_max = cvmm_le32_from(0);
	refuse(state, &file, -ENOMEM, "does not fit");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, machine_create, machine_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(payload_goes_to_the_preferred_address),
		TEST(bytes_behind_the_declared_payload_are_left_out),
		TEST(setup_header_is_copied_and_no_more_than_it_declares),
		TEST(longest_header_that_a_jump_can_declare_fits),
		TEST(setup_data_of_the_file_is_not_passed_on),
		TEST(truncated_at_every_length_is_an_error),
		TEST(setup_sects_of_zero_mean_four),
		TEST(largest_setup_sects_are_still_checked_against_the_file),
		TEST(syssize_beyond_the_file_is_truncation),
		TEST(syssize_too_small_for_the_entry_is_malformed),
		TEST(missing_boot_flag_is_malformed),
		TEST(jump_out_of_bounds_is_malformed),
		TEST(old_protocols_are_refused_with_the_version),
		TEST(kernel_without_64_bit_entry_is_refused),
		TEST(zimage_is_refused),
		TEST(init_size_smaller_than_the_payload_is_malformed),
		TEST(compressed_kernel_beyond_the_payload_is_malformed),
		TEST(alignment_must_be_a_power_of_two),
		TEST(preferred_address_in_low_memory_is_malformed),
		TEST(preferred_address_that_wraps_does_not_fit),
		TEST(init_size_beyond_ram_is_refused_with_numbers),
		TEST(relocatable_kernel_moves_above_a_reserved_range),
		TEST(fixed_kernel_does_not_move),
		TEST(version_text_is_returned),
		TEST(version_text_cannot_upset_a_terminal),
		TEST(version_text_without_end_is_cut),
		TEST(version_text_outside_the_setup_code_is_malformed),
		TEST(pvh_is_refused_with_the_way_out),
		TEST(command_line_is_bounded_by_the_header),
		TEST(command_line_is_bounded_by_its_area),
		TEST(initrd_stays_below_the_headers_maximum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
