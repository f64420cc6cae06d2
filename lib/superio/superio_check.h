/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * For tests and fuzzers: a host end for the serial port, and what must hold after any operation.
 * Written from the public interface alone, so that it does not share the code's mistakes.
 */
#ifndef CVMM_SUPERIO_CHECK_H
#define CVMM_SUPERIO_CHECK_H

#include <stdlib.h>

#include <cvmm/superio.h>

/* The host end: takes @budget bytes, keeps the first of them, follows the line. */
struct check_host {
	size_t budget;
	size_t taken;
	uint8_t out[256];
	bool level;
	unsigned int level_changes;
	unsigned int tx_blocked;
	unsigned int rx_room;
};

static inline size_t check_host_write(void *ctx, const uint8_t *bytes, size_t len)
{
	struct check_host *host = ctx;
	size_t n = len < host->budget ? len : host->budget;

	if (!len)
		abort(); /* an offer of nothing is a wasted system call */
	for (size_t i = 0; i < n && host->taken + i < sizeof(host->out); i++)
		host->out[host->taken + i] = bytes[i];
	host->taken += n;
	host->budget -= n;
	return n;
}

static inline void check_host_set_irq(void *ctx, bool level)
{
	struct check_host *host = ctx;

	if (host->level == level)
		abort(); /* only changes are to be told */
	host->level = level;
	host->level_changes++;
}

static inline void check_host_event(void *ctx, enum cvmm_serial_event event)
{
	struct check_host *host = ctx;

	if (event == CVMM_SERIAL_EVENT_TX_BLOCKED)
		host->tx_blocked++;
	else
		host->rx_room++;
}

static inline struct cvmm_serial *check_serial_new(struct check_host *host)
{
	const struct cvmm_serial_ops ops = {
		.size = sizeof(ops),
		.write = check_host_write,
		.set_irq = check_host_set_irq,
		.event = check_host_event,
	};
	struct cvmm_serial *serial;

	*host = (struct check_host){ .budget = SIZE_MAX };
	if (cvmm_serial_create(&ops, host, &serial, NULL) < 0)
		abort();
	return serial;
}

/* Aborts unless the line is what the saved state demands and all counts are within bounds. */
static inline void check_serial_invariants(const struct cvmm_serial *serial,
					   const struct check_host *host)
{
	struct cvmm_serial_state state;
	uint32_t tx_count;
	size_t room;
	bool pending;

	cvmm_serial_save(serial, &state);
	tx_count = cvmm_le32_get(state.tx_count);
	room = state.fcr & 1 ? CVMM_SERIAL_FIFO_BYTES : 1;
	if (state.rx_count > room || tx_count > CVMM_SERIAL_TX_RING_BYTES)
		abort();
	if (cvmm_serial_rx_room(serial) != (state.mcr & 0x10 ? 0 : room - state.rx_count))
		abort();
	pending = ((state.ier & 4) && state.line_errors) || ((state.ier & 1) && state.rx_count) ||
		  ((state.ier & 2) && state.thre_pending) ||
		  ((state.ier & 8) && state.modem_deltas);
	if (pending != host->level || pending != cvmm_serial_irq_level(serial))
		abort();
	if (state.thre_pending && tx_count > CVMM_SERIAL_TX_RING_BYTES - CVMM_SERIAL_FIFO_BYTES)
		abort();
}

#endif /* CVMM_SUPERIO_CHECK_H */
