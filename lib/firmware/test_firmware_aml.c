// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "firmware_internal.h"

#define BUF_BYTES 8192

struct fixture {
	struct aml aml;
	uint8_t buf[BUF_BYTES];
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	aml_init(&f->aml, f->buf, sizeof(f->buf));
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	free(*state);
	return 0;
}

static void assert_bytes(const struct aml *aml, const uint8_t *bytes, size_t len)
{
	assert_int_equal(aml_finish(aml), 0);
	assert_int_equal(aml->len, len);
	assert_memory_equal(aml->buf, bytes, len);
}

#define ASSERT_AML(aml, ...)                                \
	assert_bytes(aml, (const uint8_t[]){ __VA_ARGS__ }, \
		     sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void integers_have_their_shortest_encoding(void **state)
{
	struct fixture *f = *state;

	aml_integer(&f->aml, 0);
	aml_integer(&f->aml, 1);
	aml_integer(&f->aml, 2);
	aml_integer(&f->aml, 0xff);
	aml_integer(&f->aml, 0x100);
	aml_integer(&f->aml, 0xffff);
	aml_integer(&f->aml, 0x10000);
	aml_integer(&f->aml, 0xffffffff);
	aml_integer(&f->aml, 0x100000000);
	ASSERT_AML(&f->aml, 0x00, 0x01, 0x0a, 2, 0x0a, 0xff, 0x0b, 0, 1, 0x0b, 0xff, 0xff, 0x0c, 0,
		   0, 1, 0, 0x0c, 0xff, 0xff, 0xff, 0xff, 0x0e, 0, 0, 0, 0, 1, 0, 0, 0);
}

static void strings_end_with_nul_and_are_ascii(void **state)
{
	struct fixture *f = *state;

	aml_string(&f->aml, "AB");
	ASSERT_AML(&f->aml, 0x0d, 'A', 'B', 0);
	aml_string(&f->aml, "\xc3\xa4");
	assert_int_equal(aml_finish(&f->aml), -EINVAL);
}

static void eisa_ids_are_compressed(void **state)
{
	struct fixture *f = *state;

	aml_eisa_id(&f->aml, "PNP0501");
	aml_eisa_id(&f->aml, "PNP0A08");
	ASSERT_AML(&f->aml, 0x0c, 0x41, 0xd0, 0x05, 0x01, 0x0c, 0x41, 0xd0, 0x0a, 0x08);
}

static void bad_eisa_ids_are_refused(void **state)
{
	static const char *const bad[] = { "",	      "PNP050",	 "PNP05011", "pnp0501",
					   "PNP05G1", "PN00501", "PNP050a",  "PNP 501" };
	struct fixture *f = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		aml_init(&f->aml, f->buf, sizeof(f->buf));
		aml_eisa_id(&f->aml, bad[i]);
		assert_int_equal(aml_finish(&f->aml), -EINVAL);
		assert_int_equal(f->aml.len, 0);
	}
}

static void paths_have_prefixes_and_padded_segments(void **state)
{
	struct fixture *f = *state;

	aml_path(&f->aml, "_UID");
	aml_path(&f->aml, "A");
	aml_path(&f->aml, "\\_SB");
	aml_path(&f->aml, "^^B0.CC");
	aml_path(&f->aml, "\\A.B.C");
	aml_path(&f->aml, "\\");
	ASSERT_AML(&f->aml, '_', 'U', 'I', 'D', 'A', '_', '_', '_', '\\', '_', 'S', 'B', '_', '^',
		   '^', 0x2e, 'B', '0', '_', '_', 'C', 'C', '_', '_', '\\', 0x2f, 3, 'A', '_', '_',
		   '_', 'B', '_', '_', '_', 'C', '_', '_', '_', '\\', 0);
}

static void bad_names_fail_without_aborting(void **state)
{
	static const char *const bad[] = { "",	    "0ABC", "abcd", "ABCDE", "A.",   ".A",
					   "A..B",  "A-B",  "\\^A", "^\\A",  "A B",  "A^B",
					   "\\\\A", "A/B",  "Ä",    "\\.",   "A.0B", "A.BCDEF" };
	struct fixture *f = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		aml_init(&f->aml, f->buf, sizeof(f->buf));
		aml_path(&f->aml, bad[i]);
		assert_int_equal(aml_finish(&f->aml), -EINVAL);
		assert_int_equal(f->aml.len, 0);
	}
}

static void path_of_more_than_255_segments_is_refused(void **state)
{
	struct fixture *f = *state;
	char path[2 * 256 + 1];

	for (size_t i = 0; i < 256; i++) {
		path[2 * i] = 'A';
		path[2 * i + 1] = '.';
	}
	path[2 * 255 - 1] = 0;
	aml_path(&f->aml, path);
	assert_int_equal(aml_finish(&f->aml), 0);
	assert_int_equal(f->aml.len, 2 + 255 * 4);
	path[2 * 255 - 1] = '.';
	path[2 * 256 - 1] = 0;
	aml_path(&f->aml, path);
	assert_int_equal(aml_finish(&f->aml), -EINVAL);
}

static void assert_pkg_length(size_t content_len, const uint8_t *bytes, size_t count)
{
	uint8_t got[AML_PKG_LENGTH_BYTES_MAX];

	assert_int_equal(aml_pkg_length(content_len, got), count);
	assert_memory_equal(got, bytes, count);
}

static void pkg_lengths_count_their_own_bytes(void **state)
{
	(void)state;
	assert_pkg_length(0, (const uint8_t[]){ 0x01 }, 1);
	assert_pkg_length(62, (const uint8_t[]){ 0x3f }, 1);
	assert_pkg_length(63, (const uint8_t[]){ 0x41, 0x04 }, 2);
	assert_pkg_length(4093, (const uint8_t[]){ 0x4f, 0xff }, 2);
	assert_pkg_length(4094, (const uint8_t[]){ 0x81, 0x00, 0x01 }, 3);
	assert_pkg_length((1 << 20) - 4, (const uint8_t[]){ 0x8f, 0xff, 0xff }, 3);
	assert_pkg_length((1 << 20) - 3, (const uint8_t[]){ 0xc1, 0x00, 0x00, 0x01 }, 4);
	assert_pkg_length((1 << 28) - 5, (const uint8_t[]){ 0xcf, 0xff, 0xff, 0xff }, 4);
}

/* The limit that other writers leave unchecked. */
static void pkg_length_beyond_2_to_the_28_is_refused(void **state)
{
	uint8_t bytes[AML_PKG_LENGTH_BYTES_MAX];

	(void)state;
	assert_int_equal(aml_pkg_length((1 << 28) - 4, bytes), 0);
	assert_int_equal(aml_pkg_length((size_t)1 << 28, bytes), 0);
	assert_int_equal(aml_pkg_length(SIZE_MAX, bytes), 0);
	assert_int_equal(aml_pkg_length(SIZE_MAX - 3, bytes), 0);
}

static void blocks_nest_with_patched_lengths(void **state)
{
	struct fixture *f = *state;

	aml_scope_begin(&f->aml, "\\_SB");
	aml_device_begin(&f->aml, "COM1");
	aml_name(&f->aml, "_UID");
	aml_integer(&f->aml, 1);
	aml_end(&f->aml);
	aml_end(&f->aml);
	ASSERT_AML(&f->aml, 0x10, 0x13, '\\', '_', 'S', 'B', '_', 0x5b, 0x82, 0x0b, 'C', 'O', 'M',
		   '1', 0x08, '_', 'U', 'I', 'D', 0x01);
}

static void long_blocks_move_their_content_for_the_length(void **state)
{
	struct fixture *f = *state;

	aml_scope_begin(&f->aml, "\\");
	for (unsigned int i = 0; i < 5000; i++)
		aml_u8(&f->aml, (uint8_t)i);
	aml_end(&f->aml);
	assert_int_equal(aml_finish(&f->aml), 0);
	assert_int_equal(f->aml.len, 1 + 3 + 2 + 5000);
	assert_memory_equal(f->buf, "\x10\x8d\x38\x01\\\0", 6);
	for (unsigned int i = 0; i < 5000; i++)
		assert_int_equal(f->buf[6 + i], (uint8_t)i);
}

static void packages_hold_a_count(void **state)
{
	struct fixture *f = *state;

	aml_name(&f->aml, "\\_S5");
	aml_package_begin(&f->aml, 4);
	aml_integer(&f->aml, 5);
	aml_integer(&f->aml, 0);
	aml_integer(&f->aml, 0);
	aml_integer(&f->aml, 0);
	aml_end(&f->aml);
	ASSERT_AML(&f->aml, 0x08, '\\', '_', 'S', '5', '_', 0x12, 0x07, 0x04, 0x0a, 0x05, 0, 0, 0);
}

static void resource_templates_have_size_and_end_tag(void **state)
{
	struct fixture *f = *state;

	aml_template_begin(&f->aml);
	aml_end(&f->aml);
	ASSERT_AML(&f->aml, 0x11, 0x05, 0x0a, 0x02, 0x79, 0x00);
}

static void io_descriptor_is_exact(void **state)
{
	struct fixture *f = *state;

	aml_template_begin(&f->aml);
	aml_res_io(&f->aml, 0x3f8, 8);
	aml_end(&f->aml);
	ASSERT_AML(&f->aml, 0x11, 0x0d, 0x0a, 0x0a, 0x47, 0x01, 0xf8, 0x03, 0xf8, 0x03, 0x01, 0x08,
		   0x79, 0x00);
}

static void memory_descriptor_is_exact(void **state)
{
	struct fixture *f = *state;

	aml_res_memory32_fixed(&f->aml, 0xd0001000, 0x200);
	ASSERT_AML(&f->aml, 0x86, 0x09, 0x00, 0x01, 0x00, 0x10, 0x00, 0xd0, 0x00, 0x02, 0x00, 0x00);
}

static void interrupt_descriptor_tells_edge_from_level(void **state)
{
	struct fixture *f = *state;

	aml_res_interrupt(&f->aml, 5, CVMM_FIRMWARE_EDGE);
	aml_res_interrupt(&f->aml, 300, CVMM_FIRMWARE_LEVEL);
	ASSERT_AML(&f->aml, 0x89, 0x06, 0x00, 0x03, 0x01, 0x05, 0x00, 0x00, 0x00, 0x89, 0x06, 0x00,
		   0x01, 0x01, 0x2c, 0x01, 0x00, 0x00);
}

static void first_error_latches(void **state)
{
	struct fixture *f = *state;
	size_t len;

	aml_scope_begin(&f->aml, "\\_SB");
	len = f->aml.len;
	aml_path(&f->aml, "bad");
	aml_integer(&f->aml, 7);
	aml_end(&f->aml);
	aml_fail(&f->aml, -E2BIG);
	assert_int_equal(f->aml.len, len);
	assert_int_equal(aml_finish(&f->aml), -EINVAL);
}

static void unbalanced_blocks_are_errors(void **state)
{
	struct fixture *f = *state;

	aml_scope_begin(&f->aml, "\\_SB");
	assert_int_equal(aml_finish(&f->aml), -EINVAL);
	aml_end(&f->aml);
	assert_int_equal(aml_finish(&f->aml), 0);
	aml_end(&f->aml);
	assert_int_equal(aml_finish(&f->aml), -EINVAL);
}

static void nesting_beyond_the_limit_is_an_error(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < AML_DEPTH_MAX; i++)
		aml_scope_begin(&f->aml, "\\_SB");
	assert_int_equal(f->aml.error, 0);
	aml_scope_begin(&f->aml, "\\_SB");
	assert_int_equal(f->aml.error, -EINVAL);
}

static void write_sample(struct aml *aml)
{
	aml_scope_begin(aml, "\\_SB");
	for (unsigned int i = 0; i < 3; i++) {
		aml_device_begin(aml, "COM1");
		aml_name(aml, "_HID");
		aml_eisa_id(aml, "PNP0501");
		aml_name(aml, "_STR");
		aml_string(aml, "text");
		aml_name(aml, "_CRS");
		aml_template_begin(aml);
		aml_res_io(aml, 0x3f8, 8);
		aml_res_interrupt(aml, 4, CVMM_FIRMWARE_EDGE);
		aml_res_memory32_fixed(aml, 0x1000, 0x1000);
		aml_end(aml);
		aml_end(aml);
	}
	aml_end(aml);
}

/* Exact heap blocks, so that a sanitizer sees an overrun by one byte. */
static void every_buffer_too_small_is_enospc_and_not_overrun(void **state)
{
	struct fixture *f = *state;

	write_sample(&f->aml);
	assert_int_equal(aml_finish(&f->aml), 0);
	for (size_t cap = 0; cap <= f->aml.len; cap++) {
		uint8_t *buf = malloc(cap ? cap : 1);
		struct aml aml;

		assert_non_null(buf);
		aml_init(&aml, buf, cap);
		write_sample(&aml);
		assert_int_equal(aml_finish(&aml), cap < f->aml.len ? -ENOSPC : 0);
		assert_true(aml.len <= cap);
		if (cap == f->aml.len)
			assert_memory_equal(buf, f->buf, cap);
		free(buf);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(integers_have_their_shortest_encoding),
		TEST(strings_end_with_nul_and_are_ascii),
		TEST(eisa_ids_are_compressed),
		TEST(bad_eisa_ids_are_refused),
		TEST(paths_have_prefixes_and_padded_segments),
		TEST(bad_names_fail_without_aborting),
		TEST(path_of_more_than_255_segments_is_refused),
		TEST(pkg_lengths_count_their_own_bytes),
		TEST(pkg_length_beyond_2_to_the_28_is_refused),
		TEST(blocks_nest_with_patched_lengths),
		TEST(long_blocks_move_their_content_for_the_length),
		TEST(packages_hold_a_count),
		TEST(resource_templates_have_size_and_end_tag),
		TEST(io_descriptor_is_exact),
		TEST(memory_descriptor_is_exact),
		TEST(interrupt_descriptor_tells_edge_from_level),
		TEST(first_error_latches),
		TEST(unbalanced_blocks_are_errors),
		TEST(nesting_beyond_the_limit_is_an_error),
		TEST(every_buffer_too_small_is_enospc_and_not_overrun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
