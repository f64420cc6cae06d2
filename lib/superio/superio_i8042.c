// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The i8042 as far as PC guests need it without a keyboard: a way to reset the machine.
 *
 * Theory of operation: the controller's output port has the CPU reset line at bit 0, active low.
 * Guests pulse it with one of the commands 0xf0 to 0xff (bit n clear: pulse line n), or write the
 * output port with command 0xd1 and a data byte. Status always reads 0: commands are taken at once,
 * so that a driver which waits for the input buffer never spins, and there is never any output.
 */
#include <cvmm/superio.h>

enum {
	CMD_WRITE_OUTPUT_PORT = 0xd1,
	CMD_PULSE = 0xf0,
	CMD_PULSE_MASK = 0xf0,
	LINE_RESET_N = 0x01,
};

_Static_assert((CVMM_I8042_CMD_RESET & CMD_PULSE_MASK) == CMD_PULSE &&
		       !(CVMM_I8042_CMD_RESET & LINE_RESET_N),
	       "the reset command pulses the reset line");

void cvmm_i8042_init(struct cvmm_i8042 *i8042, void (*reset)(void *ctx), void *ctx)
{
	*i8042 = (struct cvmm_i8042){ .reset = reset, .ctx = ctx };
}

uint8_t cvmm_i8042_read(const struct cvmm_i8042 *i8042, uint64_t offset)
{
	(void)i8042;
	(void)offset;
	return 0;
}

void cvmm_i8042_write(struct cvmm_i8042 *i8042, uint64_t offset, uint8_t value)
{
	bool output_port = i8042->output_port_next;
	bool reset = false;

	if (offset == CVMM_I8042_COMMAND) {
		i8042->output_port_next = value == CMD_WRITE_OUTPUT_PORT;
		reset = (value & CMD_PULSE_MASK) == CMD_PULSE && !(value & LINE_RESET_N);
	} else if (offset == CVMM_I8042_DATA) {
		i8042->output_port_next = false;
		reset = output_port && !(value & LINE_RESET_N);
	}
	if (reset)
		i8042->reset(i8042->ctx);
}
