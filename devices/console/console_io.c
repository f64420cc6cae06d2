// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: data.
 *
 * Guest to host: a chain of the transmit queue is written from guest memory, and stays with the port until
 * its last byte is out. While out_fd takes nothing the port watches it, and pops no further chain: the
 * guest's ring is the only buffer, and the guest stops when it is full.
 *
 * Host to guest: in_fd is watched only while the guest has the port open and offers receive buffers;
 * then input is read straight into a chain. A chain for which there turns out to be no input is put
 * back, so none is held between two calls. What the guest has no room for stays in in_fd.
 *
 * When the queues go away (reset, broken queue) while output waits, its bytes are copied, up to a
 * limit, and written when out_fd can take them. A guest that prints its last words and powers off loses
 * none of them to a slow reader.
 */
#include <errno.h>
#include <stdlib.h>

#include "console_internal.h"

/* What a port may move before other sources of the loop get their turn. */
#define RUN_BYTES_MAX ((size_t)4 << 20)

/* What a transfer costs at least, so that many small ones come to an end too. */
#define TRANSFER_COST_MIN ((size_t)4096)

#define KEPT_SIZE_MIN ((size_t)4096)

static size_t charge(size_t budget, size_t bytes)
{
	if (bytes < TRANSFER_COST_MIN)
		bytes = TRANSFER_COST_MIN;
	return bytes < budget ? budget - bytes : 0;
}

/* ---- guest to host ------------------------------------------------------------------------------ */

static bool discards_output(const struct console_port *port)
{
	return port->out.kind == CONSOLE_STREAM_NONE || port->out_failed;
}

static void fail_output(struct console_port *port, int error)
{
	/* A reader that has enough is how pipes end: `yes | head` is no reason for a warning. */
	cvmm_log(port->console->log, error == -EPIPE ? CVMM_LOG_INFO : CVMM_LOG_ERROR,
		 "console: port %u: the output failed (%s); the rest is dropped", port->index,
		 strerror(-error));
	port->out_failed = true;
	port->out_error = error;
}

void console_keep(struct console_port *port, const struct iovec *iov, size_t count)
{
	size_t used = port->kept_end - port->kept_start;
	size_t len = cvmm_iov_len(iov, count);
	size_t size;
	uint8_t *grown;

	if (discards_output(port) || !len)
		return;
	if (len > CVMM_CONSOLE_KEPT_BYTES_MAX - used) {
		cvmm_log_limited(port->console->log, &port->console->log_limit, CVMM_LOG_ERROR,
				 "console: port %u: output was lost, its reader is too slow",
				 port->index);
		len = CVMM_CONSOLE_KEPT_BYTES_MAX - used;
	}
	if (port->kept_start)
		memmove(port->kept, port->kept + port->kept_start, used);
	port->kept_start = 0;
	port->kept_end = used;
	if (used + len > port->kept_size) {
		size = 2 * port->kept_size;
		if (size < used + len)
			size = used + len;
		if (size < KEPT_SIZE_MIN)
			size = KEPT_SIZE_MIN;
		grown = realloc(port->kept, size);
		if (!grown) {
			cvmm_log_limited(
				port->console->log, &port->console->log_limit, CVMM_LOG_ERROR,
				"console: port %u: output was lost, no memory", port->index);
			return;
		}
		port->kept = grown;
		port->kept_size = size;
	}
	port->kept_end += cvmm_iov_copy_from(iov, count, 0, port->kept + used, len);
}

static void drop_kept(struct console_port *port)
{
	free(port->kept);
	port->kept = NULL;
	port->kept_size = port->kept_start = port->kept_end = 0;
}

/* Return: 0 if nothing is kept any more, or -EAGAIN. */
static int write_kept(struct console_port *port)
{
	while (port->kept_start < port->kept_end && !discards_output(port)) {
		struct iovec iov = { .iov_base = port->kept + port->kept_start,
				     .iov_len = port->kept_end - port->kept_start };
		ssize_t n = console_stream_write(&port->out, &iov, 1);

		if (n == -EAGAIN)
			return -EAGAIN;
		if (n < 0)
			fail_output(port, (int)n);
		else
			port->kept_start += (size_t)n;
	}
	drop_kept(port);
	return 0;
}

/* Return: 1 with a chain to write, 0 if there is none, or what the queue failed with. */
static int take_chain(struct console_port *port, struct cvmm_virtq *vq)
{
	struct cvmm_virtq_chain chain;
	int r;

	if (port->tx_busy)
		return 1;
	r = cvmm_virtq_pop(vq, port->tx_iov, CONSOLE_IOV_MAX, &chain);
	if (r <= 0)
		return r;
	/* The writable part, if there is any, is not for this queue: left alone. */
	memmove(port->tx_iov, chain.readable, chain.readable_count * sizeof(*chain.readable));
	port->tx_left_count = chain.readable_count;
	port->tx_head = chain.head;
	port->tx_busy = true;
	return 1;
}

static int give_chain_back(struct console_port *port)
{
	/* Nothing was written to it, so there is nothing to mark as dirty. */
	const struct cvmm_virtq_chain chain = { .head = port->tx_head };

	port->tx_busy = false;
	port->tx_left_count = 0;
	return console_push(port->console, console_tx_queue(port), &chain, 0);
}

/*
 * Write a part of a chain. Return: 1 after progress, 0 if the queue is empty, -EAGAIN if out_fd is not
 * ready, or what the queue failed with.
 */
static int write_some(struct console_port *port, struct cvmm_virtq *vq, size_t *budget)
{
	ssize_t n = 0;
	int r = take_chain(port, vq);

	if (r <= 0)
		return r;
	if (port->tx_left_count && !discards_output(port)) {
		n = console_stream_write(&port->out, port->tx_iov, port->tx_left_count);
		if (n == -EAGAIN)
			return -EAGAIN;
		if (n < 0)
			fail_output(port, (int)n);
		else
			port->tx_left_count = cvmm_iov_slice(port->tx_iov, port->tx_left_count,
							     (size_t)n, SIZE_MAX, port->tx_iov);
	}
	*budget = charge(*budget, n > 0 ? (size_t)n : 0);
	if (discards_output(port))
		port->tx_left_count = 0;
	if (port->tx_left_count)
		return 1;
	r = give_chain_back(port);
	return r < 0 ? r : 1;
}

/* Return: 0 if the queue is empty, 1 if the budget ended first; else as write_some(). */
static int write_queue(struct console_port *port, struct cvmm_virtq *vq)
{
	size_t budget = RUN_BYTES_MAX;
	int r = 1;

	cvmm_virtq_disable_notifications(vq);
	while (budget && r > 0) {
		r = write_some(port, vq, &budget);
		if (!r && cvmm_virtq_enable_notifications(vq))
			r = 1;
	}
	console_notify(port->console, console_tx_queue(port));
	return r;
}

static void output_ready(void *ctx, int fd, unsigned int events)
{
	(void)fd;
	(void)events;
	console_transmit(ctx);
}

static void watch_output(struct console_port *port, bool want)
{
	unsigned int events = want ? CVMM_EVENT_WRITE : 0;
	int r = 0;

	if (want == port->out_watched || !port->console->loop)
		return;
	if (port->out_source)
		r = cvmm_source_set_events(port->out_source, events);
	else
		r = cvmm_loop_add_fd(port->console->loop, port->out.fd, events, output_ready, port,
				     &port->out_source);
	if (r < 0)
		fail_output(port, r);
	else
		port->out_watched = want;
}

bool console_transmit(struct console_port *port)
{
	struct cvmm_virtq *vq = console_queue(port->console, console_tx_queue(port));
	bool had_failed = port->out_failed;
	bool was_waiting = port->out_waiting;
	int r = write_kept(port);

	if (!r && vq)
		r = write_queue(port, vq);
	if (r < 0 && r != -EAGAIN) {
		/* Comes back here for what it keeps of each port. */
		console_break(port->console, console_tx_queue(port));
		return !port->out_waiting;
	}
	watch_output(port, r == -EAGAIN);
	/* Output that fails only now still has chains to give back. */
	port->tx_again = r > 0 || (r < 0 && port->out_failed);
	if (port->tx_again)
		console_run_again(port->console);
	port->out_waiting = r != 0;
	if (port->out_failed && !had_failed) {
		console_event(port, CVMM_CONSOLE_OUTPUT_FAILED);
		console_host_open_changed(port);
	}
	if (was_waiting && !r)
		console_event(port, CVMM_CONSOLE_OUTPUT_IDLE);
	return !port->out_waiting;
}

void console_keep_output(struct console_port *port)
{
	struct cvmm_virtq *vq = console_queue(port->console, console_tx_queue(port));

	/* A driver that adds chains all the while gets no more than a ring of them. */
	for (unsigned int i = 0; vq && i < CVMM_CONSOLE_QUEUE_SIZE_MAX; i++) {
		if (take_chain(port, vq) <= 0)
			break;
		console_keep(port, port->tx_iov, port->tx_left_count);
		if (give_chain_back(port) < 0)
			break;
	}
	port->tx_busy = false;
	port->tx_left_count = 0;
	port->tx_again = false;
}

/* ---- host to guest ------------------------------------------------------------------------------ */

static void end_input(struct console_port *port)
{
	port->in_ended = true;
	port->in_watched = false;
	cvmm_source_remove(port->in_source);
	port->in_source = NULL;
	console_host_open_changed(port);
	console_event(port, CVMM_CONSOLE_INPUT_ENDED);
}

/*
 * Read into one chain. Return: 1 if there may be more to do, 0 if the port waits for the guest or for
 * input, -ENODATA at the end of input, or what the queue failed with.
 */
static int read_some(struct console_port *port, struct cvmm_virtq *vq, size_t *budget)
{
	struct cvmm_console *console = port->console;
	struct cvmm_virtq_chain chain;
	ssize_t n = 0;
	int r = cvmm_virtq_pop(vq, console->iov, CONSOLE_IOV_MAX, &chain);

	if (r < 0)
		return r;
	if (!r) {
		port->rx_starved = !cvmm_virtq_enable_notifications(vq);
		*budget = charge(*budget, 0);
		return !port->rx_starved;
	}
	/* A chain with no room goes back: kept, it would block those behind it. */
	if (chain.writable_count) {
		n = console_stream_read(&port->in, chain.writable, chain.writable_count);
		if (n <= 0) {
			r = cvmm_virtq_rewind(vq, chain.head);
			if (r < 0)
				return r;
			if (n < 0 && n != -EAGAIN)
				cvmm_log(console->log, CVMM_LOG_WARN,
					 "console: port %u: the input failed (%s)", port->index,
					 strerror((int)-n));
			return n == -EAGAIN ? 0 : -ENODATA;
		}
	}
	*budget = charge(*budget, (size_t)n);
	r = console_push(console, console_rx_queue(port), &chain, (uint32_t)n);
	if (r < 0)
		return r;
	port->in_bytes += (uint64_t)n;
	/* A short read most likely took all there was: the loop finds out for less than a read. */
	return !n || (size_t)n == chain.writable_bytes;
}

static void receive(struct console_port *port)
{
	struct cvmm_virtq *vq = console_queue(port->console, console_rx_queue(port));
	size_t budget = RUN_BYTES_MAX;
	int r = 1;

	if (!vq)
		return;
	while (budget && r > 0)
		r = read_some(port, vq, &budget);
	if (r < 0 && r != -ENODATA) {
		console_break(port->console, console_rx_queue(port));
		return;
	}
	console_notify(port->console, console_rx_queue(port));
	if (r == -ENODATA)
		end_input(port);
	console_watch_input(port);
}

static void input_ready(void *ctx, int fd, unsigned int events)
{
	(void)fd;
	(void)events;
	receive(ctx);
}

void console_watch_input(struct console_port *port)
{
	const uint32_t before_input =
		CONSOLE_PENDING_ADD | CONSOLE_PENDING_CONSOLE | CONSOLE_PENDING_OPEN;
	struct cvmm_console *console = port->console;
	bool want = port->guest_open && !port->rx_starved && !port->in_ended &&
		    !(port->pending & before_input) && port->in.kind != CONSOLE_STREAM_NONE &&
		    console_queue(console, console_rx_queue(port));
	unsigned int events = want ? CVMM_EVENT_READ : 0;
	int r;

	if (want == port->in_watched)
		return;
	if (port->in_source)
		r = cvmm_source_set_events(port->in_source, events);
	else
		r = cvmm_loop_add_fd(console->loop, port->in.fd, events, input_ready, port,
				     &port->in_source);
	port->in_watched = want;
	if (r < 0) {
		cvmm_log(console->log, CVMM_LOG_ERROR,
			 "console: port %u: cannot wait for input (%s)", port->index, strerror(-r));
		end_input(port);
	}
}

void console_receive_kick(struct console_port *port)
{
	struct cvmm_virtq *vq = console_queue(port->console, console_rx_queue(port));

	if (!vq || !port->rx_starved)
		return;
	port->rx_starved = false;
	cvmm_virtq_disable_notifications(vq);
	console_watch_input(port);
}

void console_remove_sources(struct console_port *port)
{
	cvmm_source_remove(port->in_source);
	cvmm_source_remove(port->out_source);
	port->in_source = port->out_source = NULL;
	port->in_watched = port->out_watched = false;
}
