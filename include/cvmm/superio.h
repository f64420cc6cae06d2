/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm superio: the 16550A serial port and the reset half of the i8042.
 *
 * Pure state machines: no threads, no descriptors, no clock. The caller routes register accesses
 * in, and gives callbacks for what comes out.
 *
 * Threads: nothing here locks. The caller serialises all calls on one device (one mutex around the
 * vCPU's register accesses and the event loop's input and drain). Callbacks run on the calling
 * thread.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_SUPERIO_H
#define CVMM_SUPERIO_H

#include <cvmm/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- 16550A serial port ---------------------------------------------------------------------- */

#define CVMM_SERIAL_PORTS 8	       /* registers, one byte each */
#define CVMM_SERIAL_FIFO_BYTES 16      /* receive FIFO, and what a guest sends for one THRE */
#define CVMM_SERIAL_TX_RING_BYTES 4096 /* bytes that wait for the host to take them */

enum cvmm_serial_event {
	/* The host took less than offered: call cvmm_serial_tx_drain() when it can take more. */
	CVMM_SERIAL_EVENT_TX_BLOCKED,
	/* An earlier cvmm_serial_rx_enqueue() fell short, and there is room now. */
	CVMM_SERIAL_EVENT_RX_ROOM,
};

/* Modem lines driven by the other end. */
enum cvmm_serial_modem {
	CVMM_SERIAL_CTS = 0x10,
	CVMM_SERIAL_DSR = 0x20,
	CVMM_SERIAL_RI = 0x40,
	CVMM_SERIAL_DCD = 0x80,
};

/* What the lines are after creation and reset: somebody is there and listens. */
#define CVMM_SERIAL_MODEM_DEFAULT (CVMM_SERIAL_CTS | CVMM_SERIAL_DSR | CVMM_SERIAL_DCD)

/**
 * struct cvmm_serial_ops - what a serial port needs of its owner
 * @size: sizeof(struct cvmm_serial_ops)
 * @write: take guest output; must not block. Returns how many of the @len bytes it took: fewer, even
 *         0, if the host cannot take more now (or prefers to take them in batches later)
 * @set_irq: drive the interrupt line; called only when the level changes, low at creation
 * @event: optional; called last in an operation, so it may enqueue or drain from inside
 *
 * @write and @set_irq must not call back into the device.
 */
struct cvmm_serial_ops {
	size_t size;
	size_t (*write)(void *ctx, const uint8_t *bytes, size_t len);
	void (*set_irq)(void *ctx, bool level);
	void (*event)(void *ctx, enum cvmm_serial_event event);
};

/* Counters since creation; not part of the saved state. */
struct cvmm_serial_stats {
	uint64_t rx_bytes;    /* enqueued by the host */
	uint64_t rx_overruns; /* received without room in loopback, or lost before */
	uint64_t tx_bytes;    /* taken by the host */
	uint64_t tx_dropped;  /* sent by the guest although the port said that it had no room */
};

struct cvmm_serial;

/**
 * cvmm_serial_create() - a serial port in its power-on state
 * @ops: callbacks, copied
 * @ctx: passed to them
 * @ret_serial: the port; owned by the caller
 *
 * Return: 0, -EINVAL for missing callbacks, -ENOMEM.
 */
CVMM_API int cvmm_serial_create(const struct cvmm_serial_ops *ops, void *ctx,
				struct cvmm_serial **ret_serial, struct cvmm_error *err);

/* NULL is allowed. Bytes still in the transmit ring are lost; no callback is called. */
CVMM_API void cvmm_serial_destroy(struct cvmm_serial *serial);

/* Power-on state. Lowers the interrupt line, forgets input; output in the ring stays. */
CVMM_API void cvmm_serial_reset(struct cvmm_serial *serial);

/**
 * cvmm_serial_read() - the guest reads one register
 * @offset: 0 to 7 from the first port (guest-controlled); 0xff is read above that
 *
 * Wider guest accesses are the caller's to split into bytes. Never blocks.
 * Spec: National PC16550D, "Registers".
 */
CVMM_API uint8_t cvmm_serial_read(struct cvmm_serial *serial, uint64_t offset);

/**
 * cvmm_serial_write() - the guest writes one register
 * @offset: 0 to 7 from the first port (guest-controlled); ignored above that
 * @value: guest-controlled
 *
 * Never blocks: output that the host does not take at once waits in the ring.
 */
CVMM_API void cvmm_serial_write(struct cvmm_serial *serial, uint64_t offset, uint8_t value);

/**
 * cvmm_serial_rx_enqueue() - give input to the guest
 * @bytes: @len bytes (controlled by whoever types)
 *
 * Return: bytes taken: at most what the FIFO has room for, 1 byte while the guest has its FIFO off,
 * and 0 in loopback. If fewer than @len, CVMM_SERIAL_EVENT_RX_ROOM tells when to come back with the
 * rest.
 */
CVMM_API size_t cvmm_serial_rx_enqueue(struct cvmm_serial *serial, const uint8_t *bytes,
				       size_t len);

/* Bytes that cvmm_serial_rx_enqueue() would take now. */
CVMM_API size_t cvmm_serial_rx_room(const struct cvmm_serial *serial);

/* Tell the guest that input was lost (an overrun error), for callers that cannot hold it. */
CVMM_API void cvmm_serial_rx_lost(struct cvmm_serial *serial);

/**
 * cvmm_serial_tx_drain() - offer waiting output to the host again
 *
 * Call it when the host can take more (its descriptor became writable). Never blocks.
 * Return: bytes that still wait.
 */
CVMM_API size_t cvmm_serial_tx_drain(struct cvmm_serial *serial);

/* Bytes of output that wait for the host. */
CVMM_API size_t cvmm_serial_tx_pending(const struct cvmm_serial *serial);

/* Set the lines that the other end drives: enum cvmm_serial_modem; other bits are ignored. */
CVMM_API void cvmm_serial_set_modem(struct cvmm_serial *serial, unsigned int lines);

/* The interrupt line, as @set_irq was told last. */
CVMM_API bool cvmm_serial_irq_level(const struct cvmm_serial *serial);

/* Copy the counters out. */
CVMM_API void cvmm_serial_get_stats(const struct cvmm_serial *serial,
				    struct cvmm_serial_stats *ret_stats);

#define CVMM_SERIAL_STATE_VERSION 1

/**
 * struct cvmm_serial_state - a saved port: flat, little-endian, without padding
 * @size_bytes: sizeof(struct cvmm_serial_state)
 * @version: CVMM_SERIAL_STATE_VERSION
 * @tx_count: bytes of @tx in use, oldest first
 * @rx_count: bytes of @rx in use, oldest first
 * @fcr: FIFO enable and trigger bits of the last FCR write
 * @line_errors: LSR error bits not yet read
 * @modem_deltas: MSR delta bits not yet read
 * @modem_lines: lines of the other end
 * @thre_pending: 1 if "transmitter empty" is yet to be reported, else 0
 */
struct cvmm_serial_state {
	cvmm_le32 size_bytes;
	cvmm_le32 version;
	cvmm_le32 tx_count;
	uint8_t rx_count;
	uint8_t ier;
	uint8_t fcr;
	uint8_t lcr;
	uint8_t mcr;
	uint8_t scr;
	uint8_t dll;
	uint8_t dlm;
	uint8_t line_errors;
	uint8_t modem_deltas;
	uint8_t modem_lines;
	uint8_t thre_pending;
	uint8_t rx[CVMM_SERIAL_FIFO_BYTES];
	uint8_t tx[CVMM_SERIAL_TX_RING_BYTES];
};

/* Unused bytes are zero: equal ports save equal bytes. */
CVMM_API void cvmm_serial_save(const struct cvmm_serial *serial,
			       struct cvmm_serial_state *ret_state);

/**
 * cvmm_serial_restore() - put a port into a saved state
 * @state: bytes of a struct cvmm_serial_state, of any alignment (file-controlled)
 * @len_bytes: how many
 *
 * Sets the interrupt line to what the state demands, and raises the events that it implies: waiting
 * output calls for a drain, room in the FIFO for input.
 *
 * Return: 0, or -EINVAL if the state is malformed; then the port is unchanged.
 */
CVMM_API int cvmm_serial_restore(struct cvmm_serial *serial, const void *state, size_t len_bytes,
				 struct cvmm_error *err);

/* ---- i8042: CPU reset only ------------------------------------------------------------------- */

#define CVMM_I8042_BASE_PORT 0x60
#define CVMM_I8042_PORTS 5
#define CVMM_I8042_DATA 0    /* offset of port 0x60 */
#define CVMM_I8042_COMMAND 4 /* offset of port 0x64: status when read */

#define CVMM_I8042_CMD_RESET 0xfe

/**
 * struct cvmm_i8042 - a keyboard controller without a keyboard, in the caller's storage
 * @reset: called when the guest pulses the CPU reset line; should only note the request
 * @ctx: passed to @reset
 * @output_port_next: the next data byte goes to the output port (saved state, 0 at power-on)
 *
 * Nothing to tear down.
 */
struct cvmm_i8042 {
	void (*reset)(void *ctx);
	void *ctx;
	bool output_port_next;
};

/* Power-on state, with @reset to be told of resets. */
CVMM_API void cvmm_i8042_init(struct cvmm_i8042 *i8042, void (*reset)(void *ctx), void *ctx);

/* @offset from port 0x60 (guest-controlled). All reads are 0: input buffer free, no output. */
CVMM_API uint8_t cvmm_i8042_read(const struct cvmm_i8042 *i8042, uint64_t offset);

/* @offset from port 0x60 and @value are guest-controlled; other offsets are ignored. */
CVMM_API void cvmm_i8042_write(struct cvmm_i8042 *i8042, uint64_t offset, uint8_t value);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_SUPERIO_H */
