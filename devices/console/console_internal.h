/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What the sources of the console device share. */
#ifndef CVMM_CONSOLE_INTERNAL_H
#define CVMM_CONSOLE_INTERNAL_H

#include <cvmm/console.h>

/* ---- host descriptors (console_stream.c) ----------------------------------------------------- */

enum console_stream_kind {
	CONSOLE_STREAM_NONE,
	CONSOLE_STREAM_PLAIN,	/* never blocks: O_NONBLOCK, or a file */
	CONSOLE_STREAM_SOCKET,	/* asked not to block call by call */
	CONSOLE_STREAM_GUARDED, /* may block: polled before each small transfer */
};

struct console_stream {
	int fd;
	enum console_stream_kind kind;
	size_t call_bytes_max; /* of one transfer */
};

/* @flag is O_RDONLY or O_WRONLY: what the descriptor is for. A negative @fd is fine. */
int console_stream_init(struct console_stream *stream, int fd, int flag, struct cvmm_error *err);

/*
 * Move some bytes, never waiting. Return: bytes (at least 1, or 0 at the end of input), -EAGAIN if the
 * descriptor is not ready, or what it failed with.
 */
ssize_t console_stream_read(const struct console_stream *stream, const struct iovec *iov,
			    size_t count);
ssize_t console_stream_write(const struct console_stream *stream, const struct iovec *iov,
			     size_t count);

/* ---- the device -------------------------------------------------------------------------------- */

/* Pieces that one chain may have: the longest chain, with region borders in every second buffer. */
#define CONSOLE_IOV_MAX (CVMM_CONSOLE_QUEUE_SIZE_MAX + CVMM_CONSOLE_QUEUE_SIZE_MAX / 2)

/* Queues of port 0 and of control; those of port 1 follow (VIRTIO 1.3, 5.3.2). */
#define CONSOLE_QUEUE_CONTROL_RX 2U
#define CONSOLE_QUEUE_CONTROL_TX 3U

/* Offsets into struct virtio_console_config, VIRTIO 1.3, 5.3.4. */
#define CONSOLE_CONFIG_COLS 0
#define CONSOLE_CONFIG_ROWS 2
#define CONSOLE_CONFIG_MAX_NR_PORTS 4
#define CONSOLE_CONFIG_EMERG_WR 8
#define CONSOLE_CONFIG_BYTES 12

/*
 * Control messages that a port still has to send, in the order in which they go out. A set instead of
 * a list: it is bounded whatever the guest asks for and however slowly it takes.
 */
enum console_pending {
	CONSOLE_PENDING_ADD = 1,
	CONSOLE_PENDING_CONSOLE = 2,
	CONSOLE_PENDING_OPEN = 4,
	CONSOLE_PENDING_NAME = 8,
	CONSOLE_PENDING_SIZE = 16,
	CONSOLE_PENDING_CLOSE = 32,
};

/**
 * struct console_port - a port
 * @in_ended: in_fd is used up; stays so when the device starts again
 * @out_failed: out_fd is of no use any more; stays so too
 * @out_error: why, a negative errno
 * @guest_ready: the guest made its side of the port
 * @guest_open: the guest has the port open
 * @pending: enum console_pending, what to tell the guest
 * @rx_starved: the guest has offered no receive buffers; a kick ends this
 * @tx_busy: a chain of the transmit queue is being written: @tx_head, with @tx_left_count pieces
 *      left from the start of @tx_iov
 * @tx_again: the transmit queue was left for reasons of fairness; the console's timer goes on with it
 * @out_waiting: somebody may wait for CVMM_CONSOLE_OUTPUT_IDLE
 * @kept: bytes that go to out_fd before anything else, [kept_start, kept_end)
 */
struct console_port {
	struct cvmm_console *console;
	unsigned int index;
	bool is_console;
	bool stay_open;
	char name[CVMM_CONSOLE_NAME_BYTES_MAX + 1];
	uint16_t cols;
	uint16_t rows;

	struct console_stream in;
	struct console_stream out;
	struct cvmm_source *in_source;
	struct cvmm_source *out_source;
	uint64_t in_bytes; /* given to the guest since the console was made */
	bool in_watched;
	bool out_watched;
	bool in_ended;
	bool out_failed;
	int out_error;

	bool guest_ready;
	bool guest_open;
	uint32_t pending;
	bool rx_starved;
	bool tx_busy;
	bool tx_again;
	bool out_waiting;
	uint16_t tx_head;
	size_t tx_left_count;
	struct iovec *tx_iov; /* CONSOLE_IOV_MAX pieces */

	uint8_t *kept;
	size_t kept_size;
	size_t kept_start;
	size_t kept_end;
};

/**
 * struct cvmm_console - the device
 * @running: between start and stop, and no queue broke; otherwise no queue may be touched
 * @multiport: MULTIPORT was negotiated
 * @control_again: a control queue was left for reasons of fairness
 * @pushed: bit n is set if queue n got used buffers of which the driver was not notified
 * @iov: room for the pieces of chains that are given back at once
 */
struct cvmm_console {
	const struct cvmm_log *log;
	struct cvmm_log_limit log_limit;
	void (*port_event)(void *ctx, unsigned int port, enum cvmm_console_event event);
	void *event_ctx;
	struct cvmm_virtio_config_space config_space;

	struct cvmm_loop *loop;
	struct cvmm_source *again_timer;
	struct cvmm_virtio_start start;
	bool running;
	bool multiport;
	bool control_again;
	uint64_t pushed;

	unsigned int port_count;
	struct console_port *ports;
	struct iovec iov[CONSOLE_IOV_MAX];
};

void console_event(struct console_port *port, enum cvmm_console_event event);

/* A started queue of a running device, or NULL. */
struct cvmm_virtq *console_queue(struct cvmm_console *console, unsigned int queue);
unsigned int console_rx_queue(const struct console_port *port);
unsigned int console_tx_queue(const struct console_port *port);

/* Give a chain back; console_notify() tells the driver. Return: 0, or what the queue failed with. */
int console_push(struct cvmm_console *console, unsigned int queue,
		 const struct cvmm_virtq_chain *chain, uint32_t len);

/* Send a used buffer notification if chains were given back and the driver wants to know. */
void console_notify(struct cvmm_console *console, unsigned int queue);

/* A queue is broken: let go of all of them and have the transport tell the driver. */
void console_break(struct cvmm_console *console, unsigned int queue);

/* Call the ports and queues marked "again" in the next round of the loop. */
void console_run_again(struct cvmm_console *console);

/* ---- data (console_io.c) ------------------------------------------------------------------------ */

/* Write what the port has to write. Return: whether nothing waits. */
bool console_transmit(struct console_port *port);

/* Copy output that waits out of guest memory, because the queues go away. */
void console_keep_output(struct console_port *port);

/* Add to the bytes that are written before what is in the queue. */
void console_keep(struct console_port *port, const struct iovec *iov, size_t count);

/* Wait for input if, and only if, it could be delivered. */
void console_watch_input(struct console_port *port);

/* The guest offered receive buffers. */
void console_receive_kick(struct console_port *port);

void console_remove_sources(struct console_port *port);

/* ---- control (console_control.c) -------------------------------------------------------------- */

/* Whether the host's side of the port is open, as far as the guest is told. */
bool console_host_open(const struct console_port *port);

void console_set_guest_open(struct console_port *port, bool open);

/* The port's host side may have closed: tell the guest. */
void console_host_open_changed(struct console_port *port);

/* Handle what the driver sent. */
void console_control_receive(struct cvmm_console *console);

/* Send what is pending, as far as the driver offers buffers. */
void console_control_flush(struct cvmm_console *console);

#endif /* CVMM_CONSOLE_INTERNAL_H */
