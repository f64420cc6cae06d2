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

enum {
	IIR_NONE = 1,
	IIR_MODEM = 0,
	IIR_THRE = 2,
	IIR_RX = 4,
	IIR_LINE = 6,
	IIR_TIMEOUT = 0xc,
	FIFO_BITS = 0xc0,
	LSR_DR = 1,
	LSR_OE = 2,
	LSR_THRE = 0x20,
	LSR_TEMT = 0x40,
	MCR_LOOP = 0x10,
};

#define RING CVMM_SERIAL_TX_RING_BYTES
#define FIFO CVMM_SERIAL_FIFO_BYTES

struct fixture {
	struct check_host host;
	struct cvmm_serial *serial;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->serial = check_serial_new(&f->host);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	cvmm_serial_destroy(f->serial);
	free(f);
	return 0;
}

/* Register accesses that check the invariants each time. */
static uint8_t in(struct fixture *f, uint64_t reg)
{
	uint8_t value = cvmm_serial_read(f->serial, reg);

	check_serial_invariants(f->serial, &f->host);
	return value;
}

static void out(struct fixture *f, uint64_t reg, uint8_t value)
{
	cvmm_serial_write(f->serial, reg, value);
	check_serial_invariants(f->serial, &f->host);
}

static size_t type(struct fixture *f, const char *text)
{
	size_t n = cvmm_serial_rx_enqueue(f->serial, (const uint8_t *)text, strlen(text));

	check_serial_invariants(f->serial, &f->host);
	return n;
}

static void fill_ring(struct fixture *f, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		out(f, DATA, (uint8_t)i);
}

static size_t dropped(const struct fixture *f)
{
	struct cvmm_serial_stats stats;

	cvmm_serial_get_stats(f->serial, &stats);
	return stats.tx_dropped;
}

/* ---- registers ------------------------------------------------------------------------------- */

static void power_on_state_is_idle(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, IER), 0);
	assert_int_equal(in(f, IIR), IIR_NONE);
	assert_int_equal(in(f, LCR), 0);
	assert_int_equal(in(f, MCR), 0);
	assert_int_equal(in(f, LSR), LSR_THRE | LSR_TEMT);
	assert_int_equal(in(f, MSR), CVMM_SERIAL_MODEM_DEFAULT);
	assert_int_equal(in(f, DATA), 0);
	assert_false(f->host.level);
	assert_int_equal(f->host.level_changes, 0);
}

static void scratch_and_line_control_keep_all_bits(void **state)
{
	struct fixture *f = *state;

	for (unsigned int v = 0; v <= 0xff; v++) {
		out(f, SCR, (uint8_t)v);
		out(f, LCR, (uint8_t)v);
		assert_int_equal(in(f, SCR), v);
		assert_int_equal(in(f, LCR), v);
	}
}

static void undefined_bits_of_ier_and_mcr_read_as_zero(void **state)
{
	struct fixture *f = *state;

	out(f, IER, 0xff);
	out(f, MCR, 0xff);
	assert_int_equal(in(f, IER), 0x0f);
	assert_int_equal(in(f, MCR), 0x1f);
}

static void divisor_hides_behind_dlab(void **state)
{
	struct fixture *f = *state;

	out(f, IER, 0x05);
	out(f, LCR, 0x83);
	assert_int_equal(in(f, DATA), 12);
	out(f, DATA, 0x01);
	out(f, IER, 0x02);
	assert_int_equal(in(f, DATA), 0x01);
	assert_int_equal(in(f, IER), 0x02);
	out(f, LCR, 0x03);
	assert_int_equal(in(f, IER), 0x05);
	assert_int_equal(f->host.taken, 0);
}

static void status_registers_ignore_writes(void **state)
{
	struct fixture *f = *state;

	out(f, LSR, 0xff);
	out(f, MSR, 0xff);
	assert_int_equal(in(f, LSR), LSR_THRE | LSR_TEMT);
	assert_int_equal(in(f, MSR), CVMM_SERIAL_MODEM_DEFAULT);
}

static void offsets_beyond_the_ports_are_harmless(void **state)
{
	struct fixture *f = *state;

	out(f, 8, 0xff);
	out(f, UINT64_MAX, 0xff);
	assert_int_equal(in(f, 8), 0xff);
	assert_int_equal(in(f, UINT64_MAX), 0xff);
}

static void incomplete_ops_are_refused(void **state)
{
	struct cvmm_serial_ops ops = { .size = sizeof(ops), .write = check_host_write };
	struct cvmm_serial *serial = NULL;
	struct cvmm_error err = { 0 };

	(void)state;
	assert_int_equal(cvmm_serial_create(&ops, NULL, &serial, &err), -EINVAL);
	assert_non_null(strstr(err.message, "set_irq"));
	ops.set_irq = check_host_set_irq;
	ops.size = 0;
	assert_int_equal(cvmm_serial_create(&ops, NULL, &serial, NULL), -EINVAL);
	assert_null(serial);
	cvmm_serial_destroy(NULL);
}

/* ---- receive --------------------------------------------------------------------------------- */

static void input_raises_the_line_until_it_is_read(void **state)
{
	struct fixture *f = *state;

	out(f, FCR, 0x01);
	out(f, IER, 0x01);
	assert_int_equal(type(f, "ab"), 2);
	assert_true(f->host.level);
	assert_int_equal(in(f, LSR) & LSR_DR, LSR_DR);
	assert_int_equal(in(f, DATA), 'a');
	assert_true(f->host.level);
	assert_int_equal(in(f, DATA), 'b');
	assert_false(f->host.level);
	assert_int_equal(in(f, LSR) & LSR_DR, 0);
	assert_int_equal(f->host.level_changes, 2);
}

static void iir_read_clears_only_the_transmit_cause(void **state)
{
	struct fixture *f = *state;

	out(f, IER, 0x03);
	assert_int_equal(type(f, "a"), 1);
	assert_int_equal(in(f, IIR), IIR_RX);
	assert_int_equal(in(f, IIR), IIR_RX);
	assert_true(f->host.level);
	in(f, DATA);
	assert_int_equal(in(f, IIR), IIR_THRE);
	assert_int_equal(in(f, IIR), IIR_NONE);
	assert_false(f->host.level);
}

static void iir_read_of_another_cause_keeps_the_transmit_cause(void **state)
{
	struct fixture *f = *state;

	out(f, IER, 0x07);
	cvmm_serial_rx_lost(f->serial);
	assert_int_equal(in(f, IIR), IIR_LINE);
	assert_int_equal(in(f, LSR) & LSR_OE, LSR_OE);
	assert_int_equal(in(f, IIR), IIR_THRE);
}

static void causes_come_in_order_of_priority(void **state)
{
	struct fixture *f = *state;

	cvmm_serial_set_modem(f->serial, 0);
	cvmm_serial_rx_lost(f->serial);
	type(f, "x");
	out(f, IER, 0x0f);
	assert_int_equal(in(f, IIR), IIR_LINE);
	in(f, LSR);
	assert_int_equal(in(f, IIR), IIR_RX);
	in(f, DATA);
	assert_int_equal(in(f, IIR), IIR_THRE);
	assert_int_equal(in(f, IIR), IIR_MODEM);
	in(f, MSR);
	assert_int_equal(in(f, IIR), IIR_NONE);
}

static void data_below_the_trigger_level_is_a_timeout(void **state)
{
	static const uint8_t triggers[] = { 1, 4, 8, 14 };
	struct fixture *f = *state;

	out(f, IER, 0x01);
	for (unsigned int t = 0; t < 4; t++) {
		out(f, FCR, (uint8_t)(t << 6 | 0x03));
		assert_int_equal(in(f, IIR), FIFO_BITS | IIR_NONE);
		for (unsigned int n = 1; n <= FIFO; n++) {
			assert_int_equal(type(f, "x"), 1);
			assert_int_equal(in(f, IIR),
					 FIFO_BITS | (n < triggers[t] ? IIR_TIMEOUT : IIR_RX));
		}
		for (unsigned int n = FIFO; n-- > 1;) {
			in(f, DATA);
			assert_int_equal(in(f, IIR),
					 FIFO_BITS | (n < triggers[t] ? IIR_TIMEOUT : IIR_RX));
		}
	}
}

static void input_beyond_the_fifo_is_not_taken_and_asked_for_later(void **state)
{
	struct fixture *f = *state;

	out(f, FCR, 0x01);
	assert_int_equal(type(f, "0123456789abcdefXYZ"), FIFO);
	assert_int_equal(cvmm_serial_rx_room(f->serial), 0);
	assert_int_equal(type(f, "X"), 0);
	for (unsigned int i = 0; i < FIFO; i++) {
		assert_int_equal(f->host.rx_room, 0);
		assert_int_equal(in(f, DATA), "0123456789abcdef"[i]);
	}
	assert_int_equal(f->host.rx_room, 1);
	assert_int_equal(in(f, LSR) & LSR_OE, 0);
	assert_int_equal(type(f, "XYZ"), 3);
	assert_int_equal(in(f, DATA), 'X');
	in(f, DATA);
	in(f, DATA);
	assert_int_equal(f->host.rx_room, 1);
}

static void without_fifos_one_byte_is_held(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(type(f, "ab"), 1);
	assert_int_equal(in(f, DATA), 'a');
	assert_int_equal(f->host.rx_room, 1);
}

static void empty_enqueue_asks_for_nothing(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(cvmm_serial_rx_enqueue(f->serial, NULL, 0), 0);
	in(f, DATA);
	assert_int_equal(f->host.rx_room, 0);
}

static void line_stays_high_while_data_remains(void **state)
{
	struct fixture *f = *state;

	out(f, FCR, 0x01);
	out(f, IER, 0x01);
	type(f, "abc");
	in(f, DATA);
	type(f, "d");
	in(f, DATA);
	in(f, DATA);
	assert_int_equal(f->host.level_changes, 1);
	in(f, DATA);
	assert_int_equal(f->host.level_changes, 2);
}

/* ---- FIFO control ---------------------------------------------------------------------------- */

static void iir_tells_whether_fifos_are_on(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, IIR), IIR_NONE);
	out(f, FCR, 0x01);
	assert_int_equal(in(f, IIR), FIFO_BITS | IIR_NONE);
	out(f, FCR, 0xc0);
	assert_int_equal(in(f, IIR), IIR_NONE);
}

static void fcr_clears_the_receive_fifo(void **state)
{
	struct fixture *f = *state;

	out(f, FCR, 0x01);
	out(f, IER, 0x01);
	type(f, "abcdef");
	out(f, FCR, 0x03);
	assert_false(f->host.level);
	assert_int_equal(in(f, LSR) & LSR_DR, 0);
	assert_int_equal(in(f, DATA), 0);
	type(f, "g");
	assert_int_equal(in(f, DATA), 'g');
}

static void fcr_without_clear_bits_keeps_the_data(void **state)
{
	struct fixture *f = *state;

	out(f, FCR, 0x01);
	type(f, "ab");
	out(f, FCR, 0xc1);
	assert_int_equal(in(f, DATA), 'a');
	assert_int_equal(in(f, DATA), 'b');
}

static void switching_fifos_off_or_on_clears_them(void **state)
{
	struct fixture *f = *state;

	type(f, "a");
	out(f, FCR, 0x01);
	assert_int_equal(in(f, LSR) & LSR_DR, 0);
	type(f, "bc");
	out(f, FCR, 0x00);
	assert_int_equal(in(f, LSR) & LSR_DR, 0);
}

static void fcr_clear_asks_the_host_for_more_input(void **state)
{
	struct fixture *f = *state;

	out(f, FCR, 0x01);
	type(f, "0123456789abcdefX");
	out(f, FCR, 0x03);
	assert_int_equal(f->host.rx_room, 1);
}

static void fcr_clears_no_more_of_the_output_than_a_fifo(void **state)
{
	struct fixture *f = *state;

	f->host.budget = 0;
	fill_ring(f, RING);
	assert_int_equal(in(f, LSR) & LSR_THRE, 0);
	out(f, FCR, 0x05);
	assert_int_equal(in(f, LSR) & (LSR_THRE | LSR_TEMT), LSR_THRE);
	assert_int_equal(cvmm_serial_tx_pending(f->serial), RING - FIFO);
	out(f, FCR, 0x05);
	assert_int_equal(cvmm_serial_tx_pending(f->serial), RING - FIFO);
}

/*
 * FreeBSD's uart(4) probe: in loopback, with FIFOs freshly enabled, send until an overrun shows up;
 * the count is the FIFO's size. Afterwards flush with FCR and expect no data left.
 */
static void freebsd_probe_measures_and_flushes_the_fifo(void **state)
{
	struct fixture *f = *state;
	unsigned int count = 0;
	uint8_t lsr = 0;

	out(f, MCR, MCR_LOOP | 0x0b);
	out(f, FCR, 0x01);
	assert_int_equal(in(f, IIR) & FIFO_BITS, FIFO_BITS);
	out(f, FCR, 0x07);
	assert_int_equal(in(f, LSR) & LSR_DR, 0);
	do {
		out(f, DATA, 0);
		count++;
		lsr |= in(f, LSR);
		assert_int_equal(lsr & LSR_TEMT, LSR_TEMT);
	} while (!(lsr & LSR_OE) && count < 260);
	assert_int_equal(count - 1, FIFO);
	out(f, MCR, 0x0b);
	out(f, FCR, 0x07);
	assert_int_equal(in(f, LSR), LSR_THRE | LSR_TEMT);
	assert_int_equal(in(f, IIR), FIFO_BITS | IIR_NONE);
	assert_int_equal(f->host.taken, 0);
}

/* ---- transmit -------------------------------------------------------------------------------- */

static void output_reaches_the_host_at_once(void **state)
{
	struct fixture *f = *state;

	for (const char *p = "hello"; *p; p++)
		out(f, DATA, (uint8_t)*p);
	assert_int_equal(f->host.taken, 5);
	assert_memory_equal(f->host.out, "hello", 5);
	assert_int_equal(in(f, LSR), LSR_THRE | LSR_TEMT);
	assert_int_equal(f->host.tx_blocked, 0);
}

static void unmasking_thre_interrupts_when_idle(void **state)
{
	struct fixture *f = *state;

	out(f, IER, 0x02);
	assert_true(f->host.level);
	assert_int_equal(in(f, IIR), IIR_THRE);
	assert_false(f->host.level);
	out(f, IER, 0x02);
	assert_false(f->host.level);
	out(f, IER, 0x00);
	out(f, IER, 0x02);
	assert_true(f->host.level);
}

static void each_byte_sent_pends_another_thre(void **state)
{
	struct fixture *f = *state;

	out(f, IER, 0x02);
	in(f, IIR);
	out(f, DATA, 'x');
	assert_true(f->host.level);
	assert_int_equal(in(f, IIR), IIR_THRE);
}

/*
 * A console message printed while the tty's driver is at work: IER is saved and zeroed, the message
 * polled out, IER put back. Input that came meanwhile, and the driver's wish to send on, must both
 * interrupt again; they did not where IER writes re-assert nothing.
 */
static void console_message_loses_no_pending_interrupt(void **state)
{
	struct fixture *f = *state;
	uint8_t ier;

	out(f, FCR, 0x01);
	out(f, IER, 0x07);
	assert_int_equal(in(f, IIR), FIFO_BITS | IIR_THRE);
	ier = in(f, IER);
	out(f, IER, 0);
	assert_int_equal(type(f, "k"), 1);
	assert_false(f->host.level);
	for (const char *p = "[    0.1] oops\n"; *p; p++) {
		assert_int_equal(in(f, LSR) & LSR_THRE, LSR_THRE);
		out(f, DATA, (uint8_t)*p);
	}
	out(f, IER, ier);
	assert_true(f->host.level);
	assert_int_equal(in(f, IIR) & 0xf, IIR_RX);
	assert_int_equal(in(f, DATA), 'k');
	assert_int_equal(in(f, IIR) & 0xf, IIR_THRE);
	assert_false(f->host.level);
}

static void masking_lowers_the_line_and_unmasking_raises_it(void **state)
{
	struct fixture *f = *state;

	out(f, IER, 0x01);
	type(f, "a");
	out(f, IER, 0);
	assert_false(f->host.level);
	out(f, IER, 0x01);
	assert_true(f->host.level);
	assert_int_equal(in(f, IIR), IIR_RX);
}

static void slow_host_stops_the_guest_at_thre_without_loss(void **state)
{
	struct fixture *f = *state;
	size_t sent = 0;

	f->host.budget = 0;
	out(f, FCR, 0x01);
	/* As drivers do: a whole FIFO each time THRE is seen. */
	while (in(f, LSR) & LSR_THRE) {
		fill_ring(f, FIFO);
		sent += FIFO;
	}
	assert_int_equal(sent, RING);
	assert_int_equal(f->host.tx_blocked, 1);
	assert_int_equal(dropped(f), 0);
	assert_int_equal(in(f, LSR) & (LSR_THRE | LSR_TEMT), 0);

	f->host.budget = SIZE_MAX;
	assert_int_equal(cvmm_serial_tx_drain(f->serial), 0);
	assert_int_equal(f->host.taken, RING);
	assert_int_equal(in(f, LSR), LSR_THRE | LSR_TEMT);
}

static void drain_interrupts_when_thre_rises(void **state)
{
	struct fixture *f = *state;

	f->host.budget = 0;
	out(f, IER, 0x02);
	fill_ring(f, RING);
	assert_false(f->host.level);
	f->host.budget = FIFO - 1;
	assert_int_equal(cvmm_serial_tx_drain(f->serial), RING - FIFO + 1);
	assert_false(f->host.level);
	f->host.budget = 1;
	assert_int_equal(cvmm_serial_tx_drain(f->serial), RING - FIFO);
	assert_true(f->host.level);
	assert_int_equal(in(f, IIR), IIR_THRE);
	f->host.budget = 1;
	cvmm_serial_tx_drain(f->serial);
	assert_false(f->host.level);
}

static void output_beyond_the_ring_is_dropped_and_counted(void **state)
{
	struct fixture *f = *state;

	f->host.budget = 0;
	fill_ring(f, RING + 5);
	assert_int_equal(dropped(f), 5);
	assert_int_equal(cvmm_serial_tx_pending(f->serial), RING);
	assert_int_equal(f->host.tx_blocked, 1);
}

static void output_keeps_its_order_through_short_writes(void **state)
{
	struct fixture *f = *state;

	f->host.budget = 3;
	for (const char *p = "abcdef"; *p; p++)
		out(f, DATA, (uint8_t)*p);
	f->host.budget = 1;
	assert_int_equal(cvmm_serial_tx_drain(f->serial), 2);
	out(f, DATA, 'g');
	f->host.budget = SIZE_MAX;
	assert_int_equal(cvmm_serial_tx_drain(f->serial), 0);
	out(f, DATA, 'h');
	assert_int_equal(f->host.taken, 8);
	assert_memory_equal(f->host.out, "abcdefgh", 8);
	assert_int_equal(f->host.tx_blocked, 1);
}

static void ring_wraps_around(void **state)
{
	struct fixture *f = *state;

	f->host.budget = 0;
	fill_ring(f, RING - 2);
	f->host.budget = RING - 3;
	assert_int_equal(cvmm_serial_tx_drain(f->serial), 1);
	fill_ring(f, 10);
	f->host.taken = 0;
	f->host.budget = SIZE_MAX;
	assert_int_equal(cvmm_serial_tx_drain(f->serial), 0);
	assert_int_equal(f->host.taken, 11);
	assert_int_equal(f->host.out[0], (RING - 3) & 0xff);
	for (uint8_t i = 0; i < 10; i++)
		assert_int_equal(f->host.out[1 + i], i);
}

/* ---- loopback and modem lines ---------------------------------------------------------------- */

static void loopback_returns_bytes_to_the_guest_only(void **state)
{
	struct fixture *f = *state;

	out(f, FCR, 0x01);
	out(f, MCR, MCR_LOOP);
	out(f, DATA, 'x');
	assert_int_equal(f->host.taken, 0);
	assert_int_equal(in(f, LSR) & LSR_DR, LSR_DR);
	assert_int_equal(in(f, DATA), 'x');
}

static void loopback_cuts_off_the_host_until_it_ends(void **state)
{
	struct fixture *f = *state;

	out(f, MCR, MCR_LOOP);
	assert_int_equal(cvmm_serial_rx_room(f->serial), 0);
	assert_int_equal(type(f, "a"), 0);
	assert_int_equal(f->host.rx_room, 0);
	out(f, MCR, 0);
	assert_int_equal(f->host.rx_room, 1);
	assert_int_equal(type(f, "a"), 1);
}

static void loopback_without_fifos_overwrites_on_overrun(void **state)
{
	struct fixture *f = *state;

	out(f, MCR, MCR_LOOP);
	out(f, DATA, 'x');
	out(f, DATA, 'y');
	assert_int_equal(in(f, LSR) & LSR_OE, LSR_OE);
	assert_int_equal(in(f, LSR) & LSR_OE, 0);
	assert_int_equal(in(f, DATA), 'y');
	assert_int_equal(in(f, LSR) & LSR_DR, 0);
}

static void loopback_interrupts_as_usual(void **state)
{
	struct fixture *f = *state;

	out(f, MCR, MCR_LOOP);
	out(f, IER, 0x01);
	out(f, DATA, 'x');
	assert_true(f->host.level);
	in(f, DATA);
	assert_false(f->host.level);
}

static void loopback_connects_modem_outputs_to_inputs(void **state)
{
	static const uint8_t pairs[][2] = {
		{ 0x01, CVMM_SERIAL_DSR },
		{ 0x02, CVMM_SERIAL_CTS },
		{ 0x04, CVMM_SERIAL_RI },
		{ 0x08, CVMM_SERIAL_DCD },
	};
	struct fixture *f = *state;

	for (unsigned int i = 0; i < 4; i++) {
		out(f, MCR, MCR_LOOP | pairs[i][0]);
		assert_int_equal(in(f, MSR) & 0xf0, pairs[i][1]);
	}
	out(f, MCR, 0x0f);
	assert_int_equal(in(f, MSR) & 0xf0, CVMM_SERIAL_MODEM_DEFAULT);
}

static void line_changes_interrupt_until_msr_is_read(void **state)
{
	struct fixture *f = *state;

	out(f, IER, 0x08);
	cvmm_serial_set_modem(f->serial, CVMM_SERIAL_CTS);
	assert_true(f->host.level);
	assert_int_equal(in(f, IIR), IIR_MODEM);
	assert_int_equal(in(f, MSR), CVMM_SERIAL_CTS | 0x02 | 0x08);
	assert_false(f->host.level);
	assert_int_equal(in(f, MSR), CVMM_SERIAL_CTS);
}

static void ring_indicator_reports_its_end_only(void **state)
{
	struct fixture *f = *state;

	cvmm_serial_set_modem(f->serial, CVMM_SERIAL_MODEM_DEFAULT | CVMM_SERIAL_RI);
	assert_int_equal(in(f, MSR) & 0x0f, 0);
	cvmm_serial_set_modem(f->serial, CVMM_SERIAL_MODEM_DEFAULT);
	assert_int_equal(in(f, MSR) & 0x0f, 0x04);
}

static void lines_changed_during_loopback_show_afterwards(void **state)
{
	struct fixture *f = *state;

	out(f, MCR, MCR_LOOP);
	in(f, MSR);
	cvmm_serial_set_modem(f->serial, CVMM_SERIAL_DCD);
	assert_int_equal(in(f, MSR), 0);
	out(f, MCR, 0);
	assert_int_equal(in(f, MSR), CVMM_SERIAL_DCD | 0x08);
}

/* ---- events ---------------------------------------------------------------------------------- */

struct refill {
	struct check_host host; /* first: the other callbacks take it as their context */
	struct cvmm_serial *serial;
	unsigned int left;
};

/* An owner that refills the FIFO from inside the event, asking for more each time. */
static void refill_event(void *ctx, enum cvmm_serial_event event)
{
	struct refill *refill = ctx;
	const uint8_t text[FIFO + 1] = { 0 };

	assert_int_equal(event, CVMM_SERIAL_EVENT_RX_ROOM);
	if (refill->left) {
		refill->left--;
		assert_int_equal(cvmm_serial_rx_enqueue(refill->serial, text, sizeof(text)), FIFO);
	}
}

static void owner_may_refill_from_inside_the_event(void **state)
{
	const struct cvmm_serial_ops ops = {
		.size = sizeof(ops),
		.write = check_host_write,
		.set_irq = check_host_set_irq,
		.event = refill_event,
	};
	const uint8_t text[FIFO + 1] = { 0 };
	struct refill refill = { .left = 3 };
	unsigned int reads = 0;

	(void)state;
	assert_int_equal(cvmm_serial_create(&ops, &refill, &refill.serial, NULL), 0);
	cvmm_serial_write(refill.serial, FCR, 1);
	cvmm_serial_write(refill.serial, IER, 1);
	assert_int_equal(cvmm_serial_rx_enqueue(refill.serial, text, sizeof(text)), FIFO);
	while (cvmm_serial_read(refill.serial, LSR) & LSR_DR) {
		cvmm_serial_read(refill.serial, DATA);
		check_serial_invariants(refill.serial, &refill.host);
		reads++;
	}
	assert_int_equal(reads, 4 * FIFO);
	assert_int_equal(refill.left, 0);
	assert_false(refill.host.level);
	cvmm_serial_destroy(refill.serial);
}

static void events_are_optional(void **state)
{
	const struct cvmm_serial_ops ops = {
		.size = sizeof(ops),
		.write = check_host_write,
		.set_irq = check_host_set_irq,
	};
	struct check_host host = { 0 };
	struct cvmm_serial *serial;

	(void)state;
	assert_int_equal(cvmm_serial_create(&ops, &host, &serial, NULL), 0);
	assert_int_equal(cvmm_serial_rx_enqueue(serial, (const uint8_t *)"ab", 2), 1);
	cvmm_serial_read(serial, DATA);
	cvmm_serial_write(serial, DATA, 'x');
	assert_int_equal(cvmm_serial_tx_pending(serial), 1);
	cvmm_serial_destroy(serial);
}

static void reset_lowers_the_line_and_keeps_output(void **state)
{
	struct fixture *f = *state;

	f->host.budget = 0;
	out(f, FCR, 0xc1);
	out(f, IER, 0x0f);
	out(f, DATA, 'x');
	type(f, "ab");
	assert_true(f->host.level);
	cvmm_serial_reset(f->serial);
	check_serial_invariants(f->serial, &f->host);
	assert_false(f->host.level);
	assert_int_equal(in(f, LSR), LSR_THRE);
	assert_int_equal(in(f, IER), 0);
	f->host.budget = 1;
	assert_int_equal(cvmm_serial_tx_drain(f->serial), 0);
	assert_int_equal(f->host.out[0], 'x');
}

static void statistics_count_both_directions(void **state)
{
	struct fixture *f = *state;
	struct cvmm_serial_stats stats;

	type(f, "a");
	out(f, DATA, 'x');
	out(f, DATA, 'y');
	cvmm_serial_rx_lost(f->serial);
	cvmm_serial_get_stats(f->serial, &stats);
	assert_int_equal(stats.rx_bytes, 1);
	assert_int_equal(stats.rx_overruns, 1);
	assert_int_equal(stats.tx_bytes, 2);
	assert_int_equal(stats.tx_dropped, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(power_on_state_is_idle),
		TEST(scratch_and_line_control_keep_all_bits),
		TEST(undefined_bits_of_ier_and_mcr_read_as_zero),
		TEST(divisor_hides_behind_dlab),
		TEST(status_registers_ignore_writes),
		TEST(offsets_beyond_the_ports_are_harmless),
		TEST(incomplete_ops_are_refused),
		TEST(input_raises_the_line_until_it_is_read),
		TEST(iir_read_clears_only_the_transmit_cause),
		TEST(iir_read_of_another_cause_keeps_the_transmit_cause),
		TEST(causes_come_in_order_of_priority),
		TEST(data_below_the_trigger_level_is_a_timeout),
		TEST(input_beyond_the_fifo_is_not_taken_and_asked_for_later),
		TEST(without_fifos_one_byte_is_held),
		TEST(empty_enqueue_asks_for_nothing),
		TEST(line_stays_high_while_data_remains),
		TEST(iir_tells_whether_fifos_are_on),
		TEST(fcr_clears_the_receive_fifo),
		TEST(fcr_without_clear_bits_keeps_the_data),
		TEST(switching_fifos_off_or_on_clears_them),
		TEST(fcr_clear_asks_the_host_for_more_input),
		TEST(fcr_clears_no_more_of_the_output_than_a_fifo),
		TEST(freebsd_probe_measures_and_flushes_the_fifo),
		TEST(output_reaches_the_host_at_once),
		TEST(unmasking_thre_interrupts_when_idle),
		TEST(each_byte_sent_pends_another_thre),
		TEST(console_message_loses_no_pending_interrupt),
		TEST(masking_lowers_the_line_and_unmasking_raises_it),
		TEST(slow_host_stops_the_guest_at_thre_without_loss),
		TEST(drain_interrupts_when_thre_rises),
		TEST(output_beyond_the_ring_is_dropped_and_counted),
		TEST(output_keeps_its_order_through_short_writes),
		TEST(ring_wraps_around),
		TEST(loopback_returns_bytes_to_the_guest_only),
		TEST(loopback_cuts_off_the_host_until_it_ends),
		TEST(loopback_without_fifos_overwrites_on_overrun),
		TEST(loopback_interrupts_as_usual),
		TEST(loopback_connects_modem_outputs_to_inputs),
		TEST(line_changes_interrupt_until_msr_is_read),
		TEST(ring_indicator_reports_its_end_only),
		TEST(lines_changed_during_loopback_show_afterwards),
		TEST(owner_may_refill_from_inside_the_event),
		TEST(events_are_optional),
		TEST(reset_lowers_the_line_and_keeps_output),
		TEST(statistics_count_both_directions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
