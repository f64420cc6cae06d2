// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <cvmm/superio.h>

static void count_reset(void *ctx)
{
	++*(unsigned int *)ctx;
}

static unsigned int resets_after(const uint8_t (*writes)[2], size_t count)
{
	struct cvmm_i8042 i8042;
	unsigned int resets = 0;

	cvmm_i8042_init(&i8042, count_reset, &resets);
	for (size_t i = 0; i < count; i++)
		cvmm_i8042_write(&i8042, writes[i][0], writes[i][1]);
	return resets;
}

#define RESETS_AFTER(...)                                 \
	resets_after((const uint8_t[][2]){ __VA_ARGS__ }, \
		     sizeof((const uint8_t[][2]){ __VA_ARGS__ }) / sizeof(uint8_t[2]))

static void reset_command_resets_once(void **state)
{
	(void)state;
	assert_int_equal(RESETS_AFTER({ CVMM_I8042_COMMAND, CVMM_I8042_CMD_RESET }), 1);
}

static void pulses_reset_only_with_bit_0_clear(void **state)
{
	(void)state;
	for (unsigned int cmd = 0; cmd <= 0xff; cmd++) {
		bool expected = cmd >= 0xf0 && !(cmd & 1);

		assert_int_equal(RESETS_AFTER({ CVMM_I8042_COMMAND, (uint8_t)cmd }), expected);
	}
}

static void reset_byte_at_another_port_is_ignored(void **state)
{
	(void)state;
	for (uint8_t offset = 0; offset < CVMM_I8042_COMMAND; offset++)
		assert_int_equal(RESETS_AFTER({ offset, CVMM_I8042_CMD_RESET }), 0);
	assert_int_equal(RESETS_AFTER({ CVMM_I8042_COMMAND + 1, CVMM_I8042_CMD_RESET }), 0);
}

static void output_port_write_with_bit_0_clear_resets(void **state)
{
	(void)state;
	assert_int_equal(RESETS_AFTER({ CVMM_I8042_COMMAND, 0xd1 }, { CVMM_I8042_DATA, 0xfe }), 1);
	assert_int_equal(RESETS_AFTER({ CVMM_I8042_COMMAND, 0xd1 }, { CVMM_I8042_DATA, 0xdf }), 0);
}

static void only_the_data_byte_after_the_command_is_the_output_port(void **state)
{
	(void)state;
	assert_int_equal(RESETS_AFTER({ CVMM_I8042_DATA, 0xfe }), 0);
	assert_int_equal(RESETS_AFTER({ CVMM_I8042_COMMAND, 0xd1 }, { CVMM_I8042_DATA, 0x03 },
				      { CVMM_I8042_DATA, 0x00 }),
			 0);
	assert_int_equal(RESETS_AFTER({ CVMM_I8042_COMMAND, 0xd1 }, { CVMM_I8042_COMMAND, 0x60 },
				      { CVMM_I8042_DATA, 0x00 }),
			 0);
}

static void all_reads_are_zero(void **state)
{
	struct cvmm_i8042 i8042;
	unsigned int resets = 0;

	(void)state;
	cvmm_i8042_init(&i8042, count_reset, &resets);
	for (uint64_t offset = 0; offset < 8; offset++)
		assert_int_equal(cvmm_i8042_read(&i8042, offset), 0);
	assert_int_equal(cvmm_i8042_read(&i8042, UINT64_MAX), 0);
	assert_int_equal(resets, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reset_command_resets_once),
		cmocka_unit_test(pulses_reset_only_with_bit_0_clear),
		cmocka_unit_test(reset_byte_at_another_port_is_ignored),
		cmocka_unit_test(output_port_write_with_bit_0_clear_resets),
		cmocka_unit_test(only_the_data_byte_after_the_command_is_the_output_port),
		cmocka_unit_test(all_reads_are_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
