// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The 16550A serial port.
 *
 * Theory of operation
 *
 * The interrupt line is a level: the OR of four causes, each masked by its IER bit. No code path
 * raises or lowers it; each operation changes state and ends in finish(), which computes the level
 * anew and tells the owner if it changed. So no order of register accesses can lose an interrupt:
 * unmasking a cause that is already there (IER write) raises the line, and reading IIR clears only
 * the one cause that a real 16550 clears, "transmitter empty".
 *
 *   line status    an LSR error bit is set               until LSR is read
 *   receive        the FIFO holds data                   until it is empty
 *   transmit       THRE rose, or IER unmasked it         until IIR reports it, or THR fills up
 *   modem status   an MSR delta bit is set               until MSR is read
 *
 * Receive has two names: below the trigger level it is the "character timeout". There is no clock
 * here; the time-out of four characters counts as passed at once.
 *
 * Transmit: a byte written to THR goes into a ring, and from there to the host as far as it takes
 * it. The first part of the ring plays the line, its last CVMM_SERIAL_FIFO_BYTES play the 16550's
 * FIFO: THRE says that those are free, so a driver that sends a whole FIFO for each THRE never
 * loses a byte, and a host that is slow stops the guest at THRE, not the vCPU in a write. TEMT says
 * that the ring is empty. A driver that ignores THRE loses bytes, and they are counted.
 *
 * Receive: room is what the guest's FIFO has (one byte while FIFOs are off). More is not taken, so
 * input cannot grow memory; the owner holds the rest until CVMM_SERIAL_EVENT_RX_ROOM. In loopback
 * the other end is cut off: what the guest sends comes back, an excess is an overrun. Drivers
 * measure the FIFO's size that way.
 */
#include <errno.h>
#include <stdlib.h>

#include <cvmm/superio.h>

/* Register offsets. */
enum {
	REG_DATA = 0, /* RBR, THR; DLL with DLAB */
	REG_IER = 1,  /* DLM with DLAB */
	REG_IIR_FCR = 2,
	REG_LCR = 3,
	REG_MCR = 4,
	REG_LSR = 5,
	REG_MSR = 6,
	REG_SCR = 7,
};

enum {
	IER_RX = 0x01,
	IER_THRE = 0x02,
	IER_LINE = 0x04,
	IER_MODEM = 0x08,
	IER_MASK = 0x0f,
};

enum {
	IIR_MODEM = 0x00,
	IIR_NONE = 0x01,
	IIR_THRE = 0x02,
	IIR_RX = 0x04,
	IIR_LINE = 0x06,
	IIR_RX_TIMEOUT = 0x0c,
	IIR_FIFO_ENABLED = 0xc0,
};

enum {
	FCR_ENABLE = 0x01,
	FCR_CLEAR_RX = 0x02,
	FCR_CLEAR_TX = 0x04,
	FCR_TRIGGER_SHIFT = 6,
	FCR_KEPT = 0xc1, /* enable and trigger: the bits that are state */
};

enum {
	LCR_DLAB = 0x80,
};

enum {
	MCR_DTR = 0x01,
	MCR_RTS = 0x02,
	MCR_OUT1 = 0x04,
	MCR_OUT2 = 0x08,
	MCR_LOOP = 0x10,
	MCR_MASK = 0x1f,
};

enum {
	LSR_DATA_READY = 0x01,
	LSR_OVERRUN = 0x02,
	LSR_THRE = 0x20,
	LSR_TEMT = 0x40,
};

enum {
	MSR_RI_ENDED = 0x04,
	MSR_DELTA_SHIFT = 4, /* from a line's bit to that of its delta */
	MSR_DELTA_MASK = 0x0f,
	MSR_LINES_MASK = 0xf0,
};

enum {
	UNMAPPED_READ = 0xff,
	DIVISOR_9600_BAUD = 12,
	TX_LINE_BYTES = CVMM_SERIAL_TX_RING_BYTES - CVMM_SERIAL_FIFO_BYTES,
};

_Static_assert(TX_LINE_BYTES > 0, "the ring must be larger than the FIFO it contains");
_Static_assert(CVMM_SERIAL_FIFO_BYTES <= UINT8_MAX, "counts of the FIFO are saved in a byte");

struct cvmm_serial {
	struct cvmm_serial_ops ops;
	void *ctx;
	struct cvmm_serial_stats stats;

	uint8_t ier;
	uint8_t fcr; /* FCR_KEPT bits */
	uint8_t lcr;
	uint8_t mcr;
	uint8_t scr;
	uint8_t dll;
	uint8_t dlm;
	uint8_t line_errors;  /* LSR error bits until LSR is read */
	uint8_t modem_deltas; /* MSR delta bits until MSR is read */
	uint8_t modem_lines;  /* what the other end drives */
	bool thre_pending;
	bool irq_level;	 /* what set_irq was told last */
	bool rx_wanted;	 /* an enqueue fell short: the owner waits for RX_ROOM */
	bool tx_blocked; /* TX_BLOCKED is due */

	uint32_t rx_head;
	uint32_t rx_count;
	uint32_t tx_head;
	uint32_t tx_count;
	uint8_t rx[CVMM_SERIAL_FIFO_BYTES];
	uint8_t tx[CVMM_SERIAL_TX_RING_BYTES];
};

static bool fifos_on(const struct cvmm_serial *serial)
{
	return serial->fcr & FCR_ENABLE;
}

static bool in_loopback(const struct cvmm_serial *serial)
{
	return serial->mcr & MCR_LOOP;
}

static uint32_t rx_capacity_of(uint8_t fcr)
{
	return fcr & FCR_ENABLE ? CVMM_SERIAL_FIFO_BYTES : 1;
}

static bool thre(const struct cvmm_serial *serial)
{
	return serial->tx_count <= TX_LINE_BYTES;
}

/* ---- interrupt and events -------------------------------------------------------------------- */

static uint8_t rx_cause(const struct cvmm_serial *serial)
{
	static const uint8_t triggers[] = { 1, 4, 8, 14 };

	if (fifos_on(serial) && serial->rx_count < triggers[serial->fcr >> FCR_TRIGGER_SHIFT])
		return IIR_RX_TIMEOUT;
	return IIR_RX;
}

/* The cause that IIR reports: the first in the order of priority that is pending and unmasked. */
static uint8_t interrupt_cause(const struct cvmm_serial *serial)
{
	if ((serial->ier & IER_LINE) && serial->line_errors)
		return IIR_LINE;
	if ((serial->ier & IER_RX) && serial->rx_count)
		return rx_cause(serial);
	if ((serial->ier & IER_THRE) && serial->thre_pending)
		return IIR_THRE;
	if ((serial->ier & IER_MODEM) && serial->modem_deltas)
		return IIR_MODEM;
	return IIR_NONE;
}

static void send_event(struct cvmm_serial *serial, enum cvmm_serial_event event)
{
	if (serial->ops.event)
		serial->ops.event(serial->ctx, event);
}

/*
 * The end of each operation that changed state. Events come last: state and line are consistent
 * by then, and a callback may enqueue or drain, which ends here again.
 */
static void finish(struct cvmm_serial *serial)
{
	bool level = interrupt_cause(serial) != IIR_NONE;

	if (level != serial->irq_level) {
		serial->irq_level = level;
		serial->ops.set_irq(serial->ctx, level);
	}
	if (serial->tx_blocked) {
		serial->tx_blocked = false;
		send_event(serial, CVMM_SERIAL_EVENT_TX_BLOCKED);
	}
	/* An empty FIFO, not just a free byte: input then comes in pieces as large as the FIFO. */
	if (serial->rx_wanted && !serial->rx_count && !in_loopback(serial)) {
		serial->rx_wanted = false;
		send_event(serial, CVMM_SERIAL_EVENT_RX_ROOM);
	}
}

/* ---- receive --------------------------------------------------------------------------------- */

static void rx_push(struct cvmm_serial *serial, uint8_t byte)
{
	uint32_t at = (serial->rx_head + serial->rx_count) % CVMM_SERIAL_FIFO_BYTES;

	CVMM_BUG_ON(serial->rx_count >= rx_capacity_of(serial->fcr));
	serial->rx[at] = byte;
	serial->rx_count++;
}

static uint8_t rx_pop(struct cvmm_serial *serial)
{
	uint8_t byte;

	if (!serial->rx_count)
		return 0;
	byte = serial->rx[serial->rx_head];
	serial->rx_head = (serial->rx_head + 1) % CVMM_SERIAL_FIFO_BYTES;
	serial->rx_count--;
	return byte;
}

static void rx_overrun(struct cvmm_serial *serial)
{
	serial->line_errors |= LSR_OVERRUN;
	serial->stats.rx_overruns++;
}

/* With FIFOs a byte too many is lost; without, it replaces the one that was not read in time. */
static void rx_loop_back(struct cvmm_serial *serial, uint8_t byte)
{
	if (serial->rx_count >= rx_capacity_of(serial->fcr)) {
		rx_overrun(serial);
		if (fifos_on(serial))
			return;
		serial->rx_count = 0;
	}
	rx_push(serial, byte);
}

size_t cvmm_serial_rx_room(const struct cvmm_serial *serial)
{
	if (in_loopback(serial))
		return 0;
	return rx_capacity_of(serial->fcr) - serial->rx_count;
}

size_t cvmm_serial_rx_enqueue(struct cvmm_serial *serial, const uint8_t *bytes, size_t len)
{
	size_t room = cvmm_serial_rx_room(serial);
	size_t taken = len < room ? len : room;

	for (size_t i = 0; i < taken; i++)
		rx_push(serial, bytes[i]);
	serial->stats.rx_bytes += taken;
	if (taken < len)
		serial->rx_wanted = true;
	finish(serial);
	return taken;
}

void cvmm_serial_rx_lost(struct cvmm_serial *serial)
{
	rx_overrun(serial);
	finish(serial);
}

/* ---- transmit -------------------------------------------------------------------------------- */

/* Offer the ring to the host until it takes less than it was offered. */
static void tx_pump(struct cvmm_serial *serial)
{
	while (serial->tx_count) {
		uint32_t until_wrap = CVMM_SERIAL_TX_RING_BYTES - serial->tx_head;
		uint32_t len = serial->tx_count < until_wrap ? serial->tx_count : until_wrap;
		size_t taken = serial->ops.write(serial->ctx, serial->tx + serial->tx_head, len);

		CVMM_BUG_ON(taken > len);
		serial->stats.tx_bytes += taken;
		serial->tx_head = (serial->tx_head + (uint32_t)taken) % CVMM_SERIAL_TX_RING_BYTES;
		serial->tx_count -= (uint32_t)taken;
		if (taken < len)
			break;
	}
}

static void tx_send(struct cvmm_serial *serial, uint8_t byte)
{
	bool was_empty = !serial->tx_count;

	if (serial->tx_count == CVMM_SERIAL_TX_RING_BYTES) {
		serial->stats.tx_dropped++;
		return;
	}
	serial->tx[(serial->tx_head + serial->tx_count) % CVMM_SERIAL_TX_RING_BYTES] = byte;
	serial->tx_count++;
	/* A ring that was not empty waits for the owner's drain: no failing write for each byte. */
	if (was_empty) {
		tx_pump(serial);
		serial->tx_blocked = serial->tx_count;
	}
}

static void write_thr(struct cvmm_serial *serial, uint8_t byte)
{
	if (in_loopback(serial))
		rx_loop_back(serial, byte);
	else
		tx_send(serial, byte);
	/* The byte left THR for the line at once, unless the line is full. */
	serial->thre_pending = thre(serial);
}

size_t cvmm_serial_tx_drain(struct cvmm_serial *serial)
{
	bool was_thre = thre(serial);

	tx_pump(serial);
	if (!was_thre && thre(serial))
		serial->thre_pending = true;
	finish(serial);
	return serial->tx_count;
}

size_t cvmm_serial_tx_pending(const struct cvmm_serial *serial)
{
	return serial->tx_count;
}

/* ---- registers ------------------------------------------------------------------------------- */

static uint8_t read_iir(struct cvmm_serial *serial)
{
	uint8_t cause = interrupt_cause(serial);

	if (cause == IIR_THRE)
		serial->thre_pending = false;
	return (uint8_t)(cause | (fifos_on(serial) ? IIR_FIFO_ENABLED : 0));
}

static uint8_t read_lsr(struct cvmm_serial *serial)
{
	uint8_t lsr = serial->line_errors;

	if (serial->rx_count)
		lsr |= LSR_DATA_READY;
	if (thre(serial))
		lsr |= LSR_THRE;
	if (!serial->tx_count)
		lsr |= LSR_TEMT;
	serial->line_errors = 0;
	return lsr;
}

/* The modem inputs as the guest sees them: in loopback its own outputs. */
static uint8_t seen_lines(const struct cvmm_serial *serial)
{
	unsigned int lines = 0;

	if (!in_loopback(serial))
		return serial->modem_lines;
	if (serial->mcr & MCR_RTS)
		lines |= CVMM_SERIAL_CTS;
	if (serial->mcr & MCR_DTR)
		lines |= CVMM_SERIAL_DSR;
	if (serial->mcr & MCR_OUT1)
		lines |= CVMM_SERIAL_RI;
	if (serial->mcr & MCR_OUT2)
		lines |= CVMM_SERIAL_DCD;
	return (uint8_t)lines;
}

static uint8_t read_msr(struct cvmm_serial *serial)
{
	uint8_t msr = seen_lines(serial) | serial->modem_deltas;

	serial->modem_deltas = 0;
	return msr;
}

/* The ring indicator has no delta for its start, only for its end. */
static void note_line_changes(struct cvmm_serial *serial, uint8_t before)
{
	uint8_t after = seen_lines(serial);
	uint8_t changed = before ^ after;

	serial->modem_deltas |=
		(uint8_t)((changed & (CVMM_SERIAL_CTS | CVMM_SERIAL_DSR | CVMM_SERIAL_DCD)) >>
			  MSR_DELTA_SHIFT);
	if (changed & before & CVMM_SERIAL_RI)
		serial->modem_deltas |= MSR_RI_ENDED;
}

void cvmm_serial_set_modem(struct cvmm_serial *serial, unsigned int lines)
{
	uint8_t before = seen_lines(serial);

	serial->modem_lines = lines & MSR_LINES_MASK;
	note_line_changes(serial, before);
	finish(serial);
}

static void write_mcr(struct cvmm_serial *serial, uint8_t value)
{
	uint8_t before = seen_lines(serial);

	serial->mcr = value & MCR_MASK;
	note_line_changes(serial, before);
}

static void write_ier(struct cvmm_serial *serial, uint8_t value)
{
	uint8_t unmasked = value & (uint8_t)~serial->ier;

	serial->ier = value & IER_MASK;
	/*
	 * A 16550 reports an empty transmitter again when the cause is unmasked: so drivers start
	 * to send, and go on after a console message was sent with IER at 0.
	 */
	if ((unmasked & IER_THRE) && thre(serial))
		serial->thre_pending = true;
}

static void clear_tx_fifo(struct cvmm_serial *serial)
{
	if (serial->tx_count > TX_LINE_BYTES) {
		serial->tx_count = TX_LINE_BYTES;
		serial->thre_pending = true;
	}
}

static void write_fcr(struct cvmm_serial *serial, uint8_t value)
{
	bool switched = (value ^ serial->fcr) & FCR_ENABLE;

	/* With FIFOs off the other bits are not looked at. */
	if (!(value & FCR_ENABLE))
		value = 0;
	if (switched || (value & FCR_CLEAR_RX))
		serial->rx_count = 0;
	if (switched || (value & FCR_CLEAR_TX))
		clear_tx_fifo(serial);
	serial->fcr = value & FCR_KEPT;
}

uint8_t cvmm_serial_read(struct cvmm_serial *serial, uint64_t offset)
{
	bool dlab = serial->lcr & LCR_DLAB;
	uint8_t value = UNMAPPED_READ;

	switch (offset) {
	case REG_DATA:
		value = dlab ? serial->dll : rx_pop(serial);
		break;
	case REG_IER:
		value = dlab ? serial->dlm : serial->ier;
		break;
	case REG_IIR_FCR:
		value = read_iir(serial);
		break;
	case REG_LCR:
		value = serial->lcr;
		break;
	case REG_MCR:
		value = serial->mcr;
		break;
	case REG_LSR:
		value = read_lsr(serial);
		break;
	case REG_MSR:
		value = read_msr(serial);
		break;
	case REG_SCR:
		value = serial->scr;
		break;
	}
	finish(serial);
	return value;
}

void cvmm_serial_write(struct cvmm_serial *serial, uint64_t offset, uint8_t value)
{
	bool dlab = serial->lcr & LCR_DLAB;

	switch (offset) {
	case REG_DATA:
		if (dlab)
			serial->dll = value;
		else
			write_thr(serial, value);
		break;
	case REG_IER:
		if (dlab)
			serial->dlm = value;
		else
			write_ier(serial, value);
		break;
	case REG_IIR_FCR:
		write_fcr(serial, value);
		break;
	case REG_LCR:
		serial->lcr = value;
		break;
	case REG_MCR:
		write_mcr(serial, value);
		break;
	case REG_SCR:
		serial->scr = value;
		break;
	default: /* LSR and MSR are read-only */
		break;
	}
	finish(serial);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void power_on(struct cvmm_serial *serial)
{
	serial->ier = 0;
	serial->fcr = 0;
	serial->lcr = 0;
	serial->mcr = 0;
	serial->scr = 0;
	serial->dll = DIVISOR_9600_BAUD;
	serial->dlm = 0;
	serial->line_errors = 0;
	serial->modem_deltas = 0;
	serial->modem_lines = CVMM_SERIAL_MODEM_DEFAULT;
	serial->thre_pending = false;
	serial->rx_head = 0;
	serial->rx_count = 0;
}

int cvmm_serial_create(const struct cvmm_serial_ops *ops, void *ctx,
		       struct cvmm_serial **ret_serial, struct cvmm_error *err)
{
	struct cvmm_serial *serial;

	if (ops->size != sizeof(*ops) || !ops->write || !ops->set_irq)
		return cvmm_fail(err, -EINVAL, "serial port: write and set_irq must be given");
	serial = calloc(1, sizeof(*serial));
	if (!serial)
		return cvmm_fail(err, -ENOMEM, "serial port: out of memory");
	serial->ops = *ops;
	serial->ctx = ctx;
	power_on(serial);
	*ret_serial = serial;
	return 0;
}

void cvmm_serial_destroy(struct cvmm_serial *serial)
{
	free(serial);
}

void cvmm_serial_reset(struct cvmm_serial *serial)
{
	power_on(serial);
	finish(serial);
}

bool cvmm_serial_irq_level(const struct cvmm_serial *serial)
{
	return serial->irq_level;
}

void cvmm_serial_get_stats(const struct cvmm_serial *serial, struct cvmm_serial_stats *ret_stats)
{
	*ret_stats = serial->stats;
}

/* ---- saved state ----------------------------------------------------------------------------- */

_Static_assert(sizeof(struct cvmm_serial_state) ==
		       24 + CVMM_SERIAL_FIFO_BYTES + CVMM_SERIAL_TX_RING_BYTES,
	       "the saved state must have no padding");

void cvmm_serial_save(const struct cvmm_serial *serial, struct cvmm_serial_state *ret_state)
{
	*ret_state = (struct cvmm_serial_state){
		.size_bytes = cvmm_le32_from(sizeof(*ret_state)),
		.version = cvmm_le32_from(CVMM_SERIAL_STATE_VERSION),
		.tx_count = cvmm_le32_from(serial->tx_count),
		.rx_count = (uint8_t)serial->rx_count,
		.ier = serial->ier,
		.fcr = serial->fcr,
		.lcr = serial->lcr,
		.mcr = serial->mcr,
		.scr = serial->scr,
		.dll = serial->dll,
		.dlm = serial->dlm,
		.line_errors = serial->line_errors,
		.modem_deltas = serial->modem_deltas,
		.modem_lines = serial->modem_lines,
		.thre_pending = serial->thre_pending,
	};
	for (uint32_t i = 0; i < serial->rx_count; i++)
		ret_state->rx[i] = serial->rx[(serial->rx_head + i) % CVMM_SERIAL_FIFO_BYTES];
	for (uint32_t i = 0; i < serial->tx_count; i++)
		ret_state->tx[i] = serial->tx[(serial->tx_head + i) % CVMM_SERIAL_TX_RING_BYTES];
}

/* Only states that register accesses can lead to: the rest of the code relies on nothing else. */
static int state_check(const struct cvmm_serial_state *state, struct cvmm_error *err)
{
	uint32_t tx_count = cvmm_le32_get(state->tx_count);

	if (cvmm_le32_get(state->size_bytes) != sizeof(*state) ||
	    cvmm_le32_get(state->version) != CVMM_SERIAL_STATE_VERSION)
		return cvmm_fail(err, -EINVAL,
				 "serial state: size %u version %u, expected %zu and %u",
				 cvmm_le32_get(state->size_bytes), cvmm_le32_get(state->version),
				 sizeof(*state), CVMM_SERIAL_STATE_VERSION);
	if ((state->ier & ~IER_MASK) || (state->fcr & ~FCR_KEPT) || (state->mcr & ~MCR_MASK) ||
	    (state->line_errors & ~LSR_OVERRUN) || (state->modem_deltas & ~MSR_DELTA_MASK) ||
	    (state->modem_lines & ~MSR_LINES_MASK) || state->thre_pending > 1)
		return cvmm_fail(err, -EINVAL, "serial state: a register has undefined bits set");
	if (state->fcr && !(state->fcr & FCR_ENABLE))
		return cvmm_fail(err, -EINVAL, "serial state: a trigger level with FIFOs off");
	if (state->rx_count > rx_capacity_of(state->fcr))
		return cvmm_fail(err, -EINVAL, "serial state: %u bytes in a receive FIFO of %u",
				 state->rx_count, rx_capacity_of(state->fcr));
	if (tx_count > CVMM_SERIAL_TX_RING_BYTES)
		return cvmm_fail(err, -EINVAL, "serial state: %u bytes in a transmit ring of %u",
				 tx_count, CVMM_SERIAL_TX_RING_BYTES);
	if (state->thre_pending && tx_count > TX_LINE_BYTES)
		return cvmm_fail(err, -EINVAL,
				 "serial state: reports an empty transmitter that is full");
	return 0;
}

int cvmm_serial_restore(struct cvmm_serial *serial, const void *state_bytes, size_t len_bytes,
			struct cvmm_error *err)
{
	struct cvmm_serial_state state;
	int r;

	if (len_bytes != sizeof(state))
		return cvmm_fail(err, -EINVAL, "serial state: %zu bytes, expected %zu", len_bytes,
				 sizeof(state));
	memcpy(&state, state_bytes, sizeof(state));
	r = state_check(&state, err);
	if (r < 0)
		return r;

	serial->ier = state.ier;
	serial->fcr = state.fcr;
	serial->lcr = state.lcr;
	serial->mcr = state.mcr;
	serial->scr = state.scr;
	serial->dll = state.dll;
	serial->dlm = state.dlm;
	serial->line_errors = state.line_errors;
	serial->modem_deltas = state.modem_deltas;
	serial->modem_lines = state.modem_lines;
	serial->thre_pending = state.thre_pending;
	serial->rx_head = 0;
	serial->rx_count = state.rx_count;
	serial->tx_head = 0;
	serial->tx_count = cvmm_le32_get(state.tx_count);
	memcpy(serial->rx, state.rx, sizeof(serial->rx));
	memcpy(serial->tx, state.tx, sizeof(serial->tx));
	/* The owner is new: it has not been asked for input, nor told of output. */
	serial->rx_wanted = true;
	serial->tx_blocked = serial->tx_count;
	finish(serial);
	return 0;
}
