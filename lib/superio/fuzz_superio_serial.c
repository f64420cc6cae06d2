// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The input is a program: each byte is an operation (high nibble) with a register or a small count
 * (low nibble), some take the next byte as a value. After each one all invariants are checked, and
 * at the end the state must survive a save and a restore into a fresh port.
 */
#include "superio_check.h"

enum {
	OP_READ,
	OP_WRITE,
	OP_ENQUEUE,
	OP_HOST_TAKES,
	OP_DRAIN,
	OP_MODEM,
	OP_LOST,
	OP_RESET,
	OP_WRITE_MANY,
	OP_COUNT,
};

#define WRITE_MANY_BYTES 300 /* times the low nibble: enough to fill the ring */
#define OPS_MAX 256	     /* longer inputs find nothing more, only later */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void enqueue(struct cvmm_serial *serial, size_t len)
{
	static const uint8_t input[3 * CVMM_SERIAL_FIFO_BYTES] = "typed by somebody who types fast";
	size_t room = cvmm_serial_rx_room(serial);
	size_t want = 3 * len;
	size_t taken = cvmm_serial_rx_enqueue(serial, input, want);

	if (taken != (want < room ? want : room))
		abort();
}

static void run_op(struct cvmm_serial *serial, struct check_host *host, uint8_t op, uint8_t value)
{
	uint8_t low = op & 0x0f;

	switch ((op >> 4) % OP_COUNT) {
	case OP_READ:
		cvmm_serial_read(serial, low);
		break;
	case OP_WRITE:
		cvmm_serial_write(serial, low, value);
		break;
	case OP_ENQUEUE:
		enqueue(serial, low);
		break;
	case OP_HOST_TAKES:
		host->budget = low == 0x0f ? SIZE_MAX : (size_t)low * value;
		break;
	case OP_DRAIN:
		if (cvmm_serial_tx_drain(serial) && host->budget)
			abort();
		break;
	case OP_MODEM:
		cvmm_serial_set_modem(serial, value);
		break;
	case OP_LOST:
		cvmm_serial_rx_lost(serial);
		break;
	case OP_RESET:
		cvmm_serial_reset(serial);
		break;
	case OP_WRITE_MANY:
		for (unsigned int i = 0; i < low * WRITE_MANY_BYTES; i++)
			cvmm_serial_write(serial, 0, (uint8_t)i);
		break;
	}
}

static void check_survives_save(const struct cvmm_serial *serial)
{
	static struct cvmm_serial_state saved, again;
	struct check_host host;
	struct cvmm_serial *other = check_serial_new(&host);

	cvmm_serial_save(serial, &saved);
	if (cvmm_serial_restore(other, &saved, sizeof(saved), NULL) < 0)
		abort();
	check_serial_invariants(other, &host);
	cvmm_serial_save(other, &again);
	if (memcmp(&saved, &again, sizeof(saved)))
		abort();
	cvmm_serial_destroy(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct check_host host;
	struct cvmm_serial *serial = check_serial_new(&host);

	for (size_t i = 0; i + 1 < size && i < 2 * OPS_MAX; i += 2) {
		run_op(serial, &host, data[i], data[i + 1]);
		check_serial_invariants(serial, &host);
	}
	check_survives_save(serial);
	cvmm_serial_destroy(serial);
	return 0;
}
