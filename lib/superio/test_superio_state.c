// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "superio_check.h"

enum {
	DATA,
	IER,
	IIR,
	LCR,
	MCR,
	LSR,
	MSR,
	SCR,
	FCR = IIR,
};

/* A port in the middle of everything: input, waiting output, errors, deltas, odd registers. */
static void make_busy(struct cvmm_serial *serial, struct check_host *host)
{
	cvmm_serial_write(serial, LCR, 0x80);
	cvmm_serial_write(serial, DATA, 0x34);
	cvmm_serial_write(serial, IER, 0x12);
	cvmm_serial_write(serial, LCR, 0x1b);
	cvmm_serial_write(serial, FCR, 0x81);
	cvmm_serial_write(serial, MCR, 0x0b);
	cvmm_serial_write(serial, SCR, 0x5a);
	cvmm_serial_write(serial, IER, 0x07);
	host->budget = 2;
	for (const char *p = "abcdef"; *p; p++)
		cvmm_serial_write(serial, DATA, (uint8_t)*p);
	cvmm_serial_rx_enqueue(serial, (const uint8_t *)"xyz", 3);
	cvmm_serial_read(serial, DATA);
	cvmm_serial_rx_lost(serial);
	cvmm_serial_set_modem(serial, CVMM_SERIAL_DSR);
}

static void busy_state(struct cvmm_serial_state *ret_state)
{
	struct check_host host;
	struct cvmm_serial *serial = check_serial_new(&host);

	make_busy(serial, &host);
	cvmm_serial_save(serial, ret_state);
	cvmm_serial_destroy(serial);
}

static void state_survives_a_round_trip(void **state)
{
	static struct cvmm_serial_state saved, again;
	struct check_host host;
	struct cvmm_serial *serial = check_serial_new(&host);

	(void)state;
	busy_state(&saved);
	assert_int_equal(cvmm_serial_restore(serial, &saved, sizeof(saved), NULL), 0);
	check_serial_invariants(serial, &host);
	cvmm_serial_save(serial, &again);
	assert_memory_equal(&saved, &again, sizeof(saved));

	assert_int_equal(cvmm_serial_read(serial, DATA), 'y');
	assert_int_equal(cvmm_serial_read(serial, SCR), 0x5a);
	assert_int_equal(cvmm_serial_read(serial, LCR), 0x1b);
	assert_int_equal(cvmm_serial_tx_drain(serial), 0);
	assert_memory_equal(host.out, "cdef", 4);
	cvmm_serial_destroy(serial);
}

static void saved_layout_is_fixed(void **state)
{
	static const uint8_t head[] = {
		0x28, 0x10, 0,	  0, /* size */
		1,    0,    0,	  0, /* version */
		4,    0,    0,	  0, /* tx_count */
		2,    7,    0x81, 0x1b, 0x0b, 0x5a, 0x34, 0x12, 0x02, 0x09, 0x20, 1,
	};
	static struct cvmm_serial_state saved;

	(void)state;
	busy_state(&saved);
	assert_memory_equal(&saved, head, sizeof(head));
	assert_memory_equal(saved.rx, "yz\0\0", 4);
	assert_memory_equal(saved.tx, "cdef\0\0", 6);
}

static void restore_raises_a_pending_interrupt(void **state)
{
	static struct cvmm_serial_state saved;
	struct check_host host;
	struct cvmm_serial *serial = check_serial_new(&host);

	(void)state;
	busy_state(&saved);
	assert_false(host.level);
	assert_int_equal(cvmm_serial_restore(serial, &saved, sizeof(saved), NULL), 0);
	assert_true(host.level);
	assert_int_equal(host.level_changes, 1);
	cvmm_serial_destroy(serial);
}

static void restore_of_an_idle_state_lowers_the_line(void **state)
{
	static struct cvmm_serial_state idle;
	struct check_host host;
	struct cvmm_serial *serial = check_serial_new(&host);

	(void)state;
	cvmm_serial_save(serial, &idle);
	make_busy(serial, &host);
	assert_true(host.level);
	assert_int_equal(cvmm_serial_restore(serial, &idle, sizeof(idle), NULL), 0);
	assert_false(host.level);
	cvmm_serial_destroy(serial);
}

static void restore_tells_the_owner_of_output_and_room(void **state)
{
	static struct cvmm_serial_state saved;
	struct check_host host;
	struct cvmm_serial *serial = check_serial_new(&host);

	(void)state;
	busy_state(&saved);
	assert_int_equal(cvmm_serial_restore(serial, &saved, sizeof(saved), NULL), 0);
	assert_int_equal(host.tx_blocked, 1);
	assert_int_equal(host.rx_room, 0);
	cvmm_serial_read(serial, DATA);
	cvmm_serial_read(serial, DATA);
	assert_int_equal(host.rx_room, 1);
	cvmm_serial_destroy(serial);
}

static void state_of_any_wrong_length_is_refused(void **state)
{
	static struct cvmm_serial_state saved[2];
	struct check_host host;
	struct cvmm_serial *serial = check_serial_new(&host);

	(void)state;
	busy_state(&saved[0]);
	for (size_t len = 0; len < sizeof(saved[0]); len++)
		assert_int_equal(cvmm_serial_restore(serial, saved, len, NULL), -EINVAL);
	assert_int_equal(cvmm_serial_restore(serial, saved, sizeof(saved[0]) + 1, NULL), -EINVAL);
	cvmm_serial_destroy(serial);
}

/* The state with one field made bad must be refused and change nothing. */
static void assert_refused(const struct cvmm_serial_state *bad)
{
	static struct cvmm_serial_state before, after;
	struct cvmm_error err = { 0 };
	struct check_host host;
	struct cvmm_serial *serial = check_serial_new(&host);

	cvmm_serial_save(serial, &before);
	assert_int_equal(cvmm_serial_restore(serial, bad, sizeof(*bad), &err), -EINVAL);
	assert_int_equal(strncmp(err.message, "serial state: ", 14), 0);
	cvmm_serial_save(serial, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(host.level_changes + host.tx_blocked + host.rx_room, 0);
	cvmm_serial_destroy(serial);
}

#define ASSERT_REFUSED_WITH(field, value) \
	do {                              \
		busy_state(&saved);       \
		saved.field = value;      \
		assert_refused(&saved);   \
	} while (0)

static void foreign_size_or_version_is_refused(void **state)
{
	static struct cvmm_serial_state saved;

	(void)state;
	ASSERT_REFUSED_WITH(size_bytes, cvmm_le32_from(sizeof(saved) + 1));
	ASSERT_REFUSED_WITH(version, cvmm_le32_from(CVMM_SERIAL_STATE_VERSION + 1));
	ASSERT_REFUSED_WITH(version, cvmm_le32_from(0));
}

static void counts_beyond_the_buffers_are_refused(void **state)
{
	static struct cvmm_serial_state saved;

	(void)state;
	ASSERT_REFUSED_WITH(rx_count, CVMM_SERIAL_FIFO_BYTES + 1);
	ASSERT_REFUSED_WITH(rx_count, 0xff);
	ASSERT_REFUSED_WITH(tx_count, cvmm_le32_from(CVMM_SERIAL_TX_RING_BYTES + 1));
	ASSERT_REFUSED_WITH(tx_count, cvmm_le32_from(UINT32_MAX));
	/* two bytes received, but FIFOs off */
	ASSERT_REFUSED_WITH(fcr, 0);
}

static void undefined_register_bits_are_refused(void **state)
{
	static struct cvmm_serial_state saved;

	(void)state;
	ASSERT_REFUSED_WITH(ier, 0x10);
	ASSERT_REFUSED_WITH(fcr, 0x03);
	ASSERT_REFUSED_WITH(fcr, 0x40);
	ASSERT_REFUSED_WITH(mcr, 0x20);
	ASSERT_REFUSED_WITH(line_errors, 0x01);
	ASSERT_REFUSED_WITH(modem_deltas, 0x10);
	ASSERT_REFUSED_WITH(modem_lines, 0x01);
	ASSERT_REFUSED_WITH(thre_pending, 2);
}

static void full_transmitter_that_reports_empty_is_refused(void **state)
{
	static struct cvmm_serial_state saved;

	(void)state;
	ASSERT_REFUSED_WITH(tx_count, cvmm_le32_from(CVMM_SERIAL_TX_RING_BYTES));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(state_survives_a_round_trip),
		cmocka_unit_test(saved_layout_is_fixed),
		cmocka_unit_test(restore_raises_a_pending_interrupt),
		cmocka_unit_test(restore_of_an_idle_state_lowers_the_line),
		cmocka_unit_test(restore_tells_the_owner_of_output_and_room),
		cmocka_unit_test(state_of_any_wrong_length_is_refused),
		cmocka_unit_test(foreign_size_or_version_is_refused),
		cmocka_unit_test(counts_beyond_the_buffers_are_refused),
		cmocka_unit_test(undefined_register_bits_are_refused),
		cmocka_unit_test(full_transmitter_that_reports_empty_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
