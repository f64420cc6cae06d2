// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: the control queues (VIRTIO 1.3, 5.3.6.2).
 *
 *   guest                          host
 *   DEVICE_READY 1            ->
 *                             <-   DEVICE_ADD, for each port
 *   PORT_READY 1, port        ->
 *                             <-   CONSOLE_PORT, PORT_OPEN 1, PORT_NAME, RESIZE, as they apply
 *   PORT_OPEN 1, port         ->   input may flow
 *                             <-   PORT_OPEN 0, when the host's side has come to its end
 *
 * PORT_OPEN precedes PORT_NAME, because a Linux guest finds a port by its name and reads an end of file
 * from a port that the host has not opened: once the name is there, so is the host. For the same
 * reason the end of input is told only to a guest that has opened the port and was given
 * all bytes: its reads return the bytes first and then the end, no matter who came first.
 *
 * What has to be sent is a set of flags for each port, not a list of messages, so a guest that asks a lot
 * and takes nothing costs nothing.
 */
#include "console_internal.h"

/* struct virtio_console_control */
#define CONTROL_ID 0
#define CONTROL_EVENT 4
#define CONTROL_VALUE 6
#define CONTROL_BYTES 8U

/* Events, VIRTIO 1.3, 5.3.6.2. */
#define EVENT_DEVICE_READY 0
#define EVENT_DEVICE_ADD 1
#define EVENT_PORT_READY 3
#define EVENT_CONSOLE_PORT 4
#define EVENT_RESIZE 5
#define EVENT_PORT_OPEN 6
#define EVENT_PORT_NAME 7

#define RESIZE_BYTES 4U

/* Messages handled before the loop gets its turn. */
#define CONTROL_BUDGET CVMM_CONSOLE_QUEUE_SIZE_MAX

bool console_host_open(const struct console_port *port)
{
	bool input_over = port->in_ended && !port->stay_open;
	bool output_over =
		port->out_failed && (port->in_ended || port->in.kind == CONSOLE_STREAM_NONE);

	return port->is_console || !(input_over || output_over);
}

void console_host_open_changed(struct console_port *port)
{
	if (!port->console->multiport || !port->guest_open || console_host_open(port))
		return;
	port->pending |= CONSOLE_PENDING_CLOSE;
	console_control_flush(port->console);
}

void console_set_guest_open(struct console_port *port, bool open)
{
	if (port->guest_open == open)
		return;
	/* What was written before the close is taken before the close is told. */
	if (!open)
		console_transmit(port);
	port->guest_open = open;
	if (open && port->console->multiport && !console_host_open(port))
		port->pending |= CONSOLE_PENDING_CLOSE;
	console_watch_input(port);
	console_event(port, open ? CVMM_CONSOLE_GUEST_OPENED : CVMM_CONSOLE_GUEST_CLOSED);
}

/* ---- to the guest ------------------------------------------------------------------------------- */

static size_t message_build(const struct console_port *port, uint32_t what, uint8_t *message)
{
	size_t len = CONTROL_BYTES;
	uint16_t event = 0;
	uint16_t value = 1;

	switch (what) {
	case CONSOLE_PENDING_ADD:
		event = EVENT_DEVICE_ADD;
		break;
	case CONSOLE_PENDING_CONSOLE:
		event = EVENT_CONSOLE_PORT;
		break;
	case CONSOLE_PENDING_CLOSE:
		value = 0;
		event = EVENT_PORT_OPEN;
		break;
	case CONSOLE_PENDING_OPEN:
		event = EVENT_PORT_OPEN;
		break;
	case CONSOLE_PENDING_NAME:
		event = EVENT_PORT_NAME;
		len += strlen(port->name);
		memcpy(message + CONTROL_BYTES, port->name, strlen(port->name));
		break;
	case CONSOLE_PENDING_SIZE:
		/*
		 * The order of the specification. Linux took rows first until 6.15 (and 6.12.66 and its
		 * contemporaries); such a guest sees the two swapped.
		 */
		event = EVENT_RESIZE;
		len += RESIZE_BYTES;
		cvmm_put_le16(message + CONTROL_BYTES, port->cols);
		cvmm_put_le16(message + CONTROL_BYTES + 2, port->rows);
		break;
	}
	cvmm_put_le32(message + CONTROL_ID, port->index);
	cvmm_put_le16(message + CONTROL_EVENT, event);
	cvmm_put_le16(message + CONTROL_VALUE, value);
	return len;
}

/* Return: 1 if sent, 0 if the driver offers no buffer, or what the queue failed with. */
static int message_send(struct cvmm_console *console, struct cvmm_virtq *vq, const uint8_t *message,
			size_t len)
{
	unsigned int budget = CONTROL_BUDGET;
	struct cvmm_virtq_chain chain;
	int r;

	for (;;) {
		if (!budget--) {
			console->control_again = true;
			return 0;
		}
		r = cvmm_virtq_pop(vq, console->iov, CONSOLE_IOV_MAX, &chain);
		if (!r && cvmm_virtq_enable_notifications(vq))
			continue;
		if (r <= 0)
			return r;
		if (chain.writable_bytes >= len)
			break;
		cvmm_log_limited(console->log, &console->log_limit, CVMM_LOG_WARN,
				 "console: the guest's control buffer of %u bytes is too small",
				 chain.writable_bytes);
		r = console_push(console, CONSOLE_QUEUE_CONTROL_RX, &chain, 0);
		if (r < 0)
			return r;
	}
	cvmm_iov_copy_to(chain.writable, chain.writable_count, 0, message, len);
	r = console_push(console, CONSOLE_QUEUE_CONTROL_RX, &chain, (uint32_t)len);
	return r < 0 ? r : 1;
}

static int flush_port(struct console_port *port, struct cvmm_virtq *vq)
{
	uint8_t message[CONTROL_BYTES + CVMM_CONSOLE_NAME_BYTES_MAX];

	_Static_assert(RESIZE_BYTES <= CVMM_CONSOLE_NAME_BYTES_MAX, "message has room for either");
	while (port->pending) {
		uint32_t what = port->pending & -port->pending;
		int r = message_send(port->console, vq, message,
				     message_build(port, what, message));

		if (r <= 0)
			return r;
		port->pending &= ~what;
	}
	return 1;
}

void console_control_flush(struct cvmm_console *console)
{
	struct cvmm_virtq *vq = console_queue(console, CONSOLE_QUEUE_CONTROL_RX);
	int r = 1;

	if (!vq || !console->multiport)
		return;
	for (unsigned int i = 0; i < console->port_count && r > 0; i++)
		r = flush_port(&console->ports[i], vq);
	if (r < 0) {
		console_break(console, CONSOLE_QUEUE_CONTROL_RX);
		return;
	}
	console_notify(console, CONSOLE_QUEUE_CONTROL_RX);
	if (console->control_again)
		console_run_again(console);
	/* Input waits for the host's PORT_OPEN to be out. */
	for (unsigned int i = 0; i < console->port_count; i++)
		console_watch_input(&console->ports[i]);
}

/* ---- from the guest ----------------------------------------------------------------------------- */

static void port_ready(struct console_port *port)
{
	port->guest_ready = true;
	port->pending &= ~(uint32_t)CONSOLE_PENDING_ADD;
	port->pending |= CONSOLE_PENDING_OPEN;
	if (port->is_console)
		port->pending |= CONSOLE_PENDING_CONSOLE;
	if (port->name[0])
		port->pending |= CONSOLE_PENDING_NAME;
	if (port->is_console && (port->cols || port->rows))
		port->pending |= CONSOLE_PENDING_SIZE;
	if (port->guest_open && !console_host_open(port))
		port->pending |= CONSOLE_PENDING_CLOSE;
}

/* Return: whether the message made sense. */
static bool handle_message(struct cvmm_console *console, uint32_t id, uint16_t event,
			   uint16_t value)
{
	/* DEVICE_READY is about the device: its id means nothing. */
	if (event == EVENT_DEVICE_READY && value) {
		for (unsigned int i = 0; i < console->port_count; i++)
			console->ports[i].pending |= CONSOLE_PENDING_ADD;
		return true;
	}
	if (event == EVENT_DEVICE_READY || id >= console->port_count)
		return false;
	if (event == EVENT_PORT_OPEN) {
		console_set_guest_open(&console->ports[id], value != 0);
		return true;
	}
	if (event == EVENT_PORT_READY && value) {
		port_ready(&console->ports[id]);
		return true;
	}
	return false;
}

/* Return: 1 after a message, 0 if there is none, or what the queue failed with. */
static int receive_message(struct cvmm_console *console, struct cvmm_virtq *vq)
{
	uint8_t message[CONTROL_BYTES] = { 0 };
	struct cvmm_virtq_chain chain;
	uint32_t id;
	uint16_t event, value;
	size_t len;
	int r;

	r = cvmm_virtq_pop(vq, console->iov, CONSOLE_IOV_MAX, &chain);
	if (r <= 0)
		return r;
	len = cvmm_iov_copy_from(chain.readable, chain.readable_count, 0, message, CONTROL_BYTES);
	r = console_push(console, CONSOLE_QUEUE_CONTROL_TX, &chain, 0);
	if (r < 0)
		return r;
	id = cvmm_get_le32(message + CONTROL_ID);
	event = cvmm_get_le16(message + CONTROL_EVENT);
	value = cvmm_get_le16(message + CONTROL_VALUE);
	if (len < CONTROL_BYTES)
		cvmm_log_limited(console->log, &console->log_limit, CVMM_LOG_WARN,
				 "console: ignored a control message of %zu bytes", len);
	else if (!handle_message(console, id, event, value))
		cvmm_log_limited(console->log, &console->log_limit, CVMM_LOG_WARN,
				 "console: ignored control message %u with value %u for port %u",
				 event, value, id);
	return 1;
}

void console_control_receive(struct cvmm_console *console)
{
	unsigned int budget = CONTROL_BUDGET;
	struct cvmm_virtq *vq = NULL;
	bool done = false;
	int r;

	if (!console->multiport)
		return;
	/* A message may have broken another queue, or be answered by an event that ended the run. */
	while (!done && (vq = console_queue(console, CONSOLE_QUEUE_CONTROL_TX)) && budget--) {
		r = receive_message(console, vq);
		if (r < 0) {
			console_break(console, CONSOLE_QUEUE_CONTROL_TX);
			return;
		}
		done = !r && !cvmm_virtq_enable_notifications(vq);
	}
	console_notify(console, CONSOLE_QUEUE_CONTROL_TX);
	/* Without the queue there is nothing that could be done later. */
	console->control_again = vq && !done;
	if (console->control_again)
		console_run_again(console);
	console_control_flush(console);
}
