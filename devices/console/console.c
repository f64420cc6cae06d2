// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: the device as its transport sees it, and its life.
 *
 * A port outlives what the guest does: its descriptors and whether they came to their end stay the
 * same when the driver resets the device and starts again. All else begins anew with each start.
 *
 * console_io.c moves the data, console_control.c talks with the driver about ports.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "console_internal.h"

_Static_assert(2 * CVMM_CONSOLE_PORTS_MAX + 2 <= CVMM_VIRTIO_QUEUES_MAX, "VIRTIO 1.3, 5.3.2");
_Static_assert(CVMM_VIRTIO_QUEUES_MAX <= 64, "struct cvmm_console.pushed has a bit for each queue");

void console_event(struct console_port *port, enum cvmm_console_event event)
{
	struct cvmm_console *console = port->console;

	if (console->port_event)
		console->port_event(console->event_ctx, port->index, event);
}

/* ---- queues ------------------------------------------------------------------------------------- */

/* Queues 2 and 3 are for control, so those of the ports from 1 on are shifted. */
unsigned int console_rx_queue(const struct console_port *port)
{
	return port->index ? 2 * port->index + 2 : 0;
}

unsigned int console_tx_queue(const struct console_port *port)
{
	return console_rx_queue(port) + 1;
}

struct cvmm_virtq *console_queue(struct cvmm_console *console, unsigned int queue)
{
	struct cvmm_virtq *vq;

	if (!console->running || queue >= console->start.queue_count)
		return NULL;
	vq = &console->start.queues[queue];
	return cvmm_virtq_is_started(vq) ? vq : NULL;
}

int console_push(struct cvmm_console *console, unsigned int queue,
		 const struct cvmm_virtq_chain *chain, uint32_t len)
{
	console->pushed |= UINT64_C(1) << queue;
	return cvmm_virtq_push_chain(&console->start.queues[queue], chain, len);
}

void console_notify(struct cvmm_console *console, unsigned int queue)
{
	struct cvmm_virtq *vq = console_queue(console, queue);

	if (!vq || !(console->pushed >> queue & 1))
		return;
	console->pushed &= ~(UINT64_C(1) << queue);
	if (cvmm_virtq_should_notify(vq))
		console->start.host->ops->notify(console->start.host, queue);
}

/* Let go of the queues; output that waits is kept. */
static void detach(struct cvmm_console *console)
{
	for (unsigned int i = 0; i < console->port_count; i++)
		console_keep_output(&console->ports[i]);
	console->running = false;
	console->control_again = false;
	console->pushed = 0;
	for (unsigned int i = 0; i < console->port_count; i++) {
		console_watch_input(&console->ports[i]);
		console_transmit(&console->ports[i]);
	}
}

void console_break(struct cvmm_console *console, unsigned int queue)
{
	struct cvmm_virtio_host *host = console->start.host;

	if (!console->running)
		return;
	cvmm_log_limited(
		console->log, &console->log_limit, CVMM_LOG_WARN, "console: queue %u is broken: %s",
		queue,
		cvmm_virtq_violation_name(cvmm_virtq_violation(&console->start.queues[queue])));
	detach(console);
	host->ops->needs_reset(host);
}

static void run_again(void *ctx)
{
	struct cvmm_console *console = ctx;

	if (console->control_again) {
		console->control_again = false;
		console_control_receive(console);
	}
	for (unsigned int i = 0; i < console->port_count; i++)
		if (console->ports[i].tx_again)
			console_transmit(&console->ports[i]);
}

void console_run_again(struct cvmm_console *console)
{
	if (console->again_timer)
		cvmm_timer_arm(console->again_timer, 0, 0);
}

/* ---- the device's operations -------------------------------------------------------------------- */

static unsigned int op_queue_count(void *dev)
{
	const struct cvmm_console *console = dev;

	return 2 * console->port_count + 2;
}

static uint16_t op_queue_size_max(void *dev, unsigned int queue)
{
	(void)dev;
	(void)queue;
	return CVMM_CONSOLE_QUEUE_SIZE_MAX;
}

static uint64_t op_features(void *dev)
{
	const struct cvmm_console *console = dev;
	uint64_t features = CVMM_VIRTIO_FEATURE(CVMM_CONSOLE_F_MULTIPORT);

	if (console->ports[0].is_console)
		features |= CVMM_VIRTIO_FEATURE(CVMM_CONSOLE_F_SIZE);
	if (console->ports[0].out.kind != CONSOLE_STREAM_NONE)
		features |= CVMM_VIRTIO_FEATURE(CVMM_CONSOLE_F_EMERG_WRITE);
	return features;
}

static struct cvmm_virtio_config_space *op_config_space(void *dev)
{
	return &((struct cvmm_console *)dev)->config_space;
}

/* Sources belong to one loop: change over if this start brings another. */
static int use_loop(struct cvmm_console *console, struct cvmm_loop *loop)
{
	if (console->loop == loop && console->again_timer)
		return 0;
	for (unsigned int i = 0; i < console->port_count; i++)
		console_remove_sources(&console->ports[i]);
	cvmm_source_remove(console->again_timer);
	console->again_timer = NULL;
	console->loop = loop;
	return cvmm_loop_add_timer(loop, run_again, console, &console->again_timer);
}

static int op_start(void *dev, const struct cvmm_virtio_start *start, struct cvmm_error *err)
{
	struct cvmm_console *console = dev;
	int r = use_loop(console, start->loop);

	if (r < 0)
		return cvmm_fail(err, r, "console: no timer");
	console->start = *start;
	console->multiport = start->features >> CVMM_CONSOLE_F_MULTIPORT & 1;
	console->running = true;
	/* With no control queues there is nothing to wait for: port 0 is open. */
	if (!console->multiport)
		console_set_guest_open(&console->ports[0], true);
	return 0;
}

static void op_kick(void *dev, unsigned int queue)
{
	struct cvmm_console *console = dev;
	struct console_port *port;

	if (!console->running || queue >= op_queue_count(console) ||
	    (queue >= CONSOLE_QUEUE_CONTROL_RX && !console->multiport))
		return;
	if (queue == CONSOLE_QUEUE_CONTROL_RX) {
		console_control_flush(console);
		return;
	}
	if (queue == CONSOLE_QUEUE_CONTROL_TX) {
		console_control_receive(console);
		return;
	}
	port = &console->ports[queue < CONSOLE_QUEUE_CONTROL_RX ? 0 : (queue - 2) / 2];
	if (queue & 1)
		console_transmit(port);
	else
		console_receive_kick(port);
}

static void op_stop(void *dev)
{
	struct cvmm_console *console = dev;

	if (console->running) {
		for (unsigned int i = 0; i < console->port_count; i++)
			console_transmit(&console->ports[i]);
		detach(console);
	}
	for (unsigned int i = 0; i < console->port_count; i++) {
		struct console_port *port = &console->ports[i];

		port->guest_ready = false;
		port->pending = 0;
		port->rx_starved = false;
		console_set_guest_open(port, false);
	}
	memset(&console->start, 0, sizeof(console->start));
}

/* The driver's way to print when nothing works yet, or any more (VIRTIO 1.3, 5.3.4). */
static void op_config_written(void *dev, size_t offset, const void *bytes, size_t len_bytes)
{
	struct cvmm_console *console = dev;
	struct iovec character = { .iov_base = (void *)bytes, .iov_len = 1 };

	if (offset != CONSOLE_CONFIG_EMERG_WR || !len_bytes)
		return;
	console_keep(&console->ports[0], &character, 1);
	console_transmit(&console->ports[0]);
}

const struct cvmm_virtio_device_ops cvmm_console_ops = {
	.size = sizeof(cvmm_console_ops),
	.name = "console",
	.device_id = CVMM_VIRTIO_ID_CONSOLE,
	.queue_count = op_queue_count,
	.queue_size_max = op_queue_size_max,
	.features = op_features,
	.config_space = op_config_space,
	.start = op_start,
	.kick = op_kick,
	.stop = op_stop,
	.config_written = op_config_written,
};

/* ---- creation and control ----------------------------------------------------------------------- */

static int init_port(struct console_port *port, const struct cvmm_console_port *config,
		     struct cvmm_error *err)
{
	size_t name_len = config->name ? strlen(config->name) : 0;
	int r;

	if (name_len > CVMM_CONSOLE_NAME_BYTES_MAX)
		return cvmm_fail(err, -EINVAL, "the name is longer than %u bytes",
				 CVMM_CONSOLE_NAME_BYTES_MAX);
	if (config->name && (!name_len || strchr(config->name, '/')))
		return cvmm_fail(err, -EINVAL, "the name \"%s\" cannot be a file name",
				 config->name);
	if (name_len)
		memcpy(port->name, config->name, name_len);
	port->is_console = config->is_console;
	port->stay_open = config->stay_open;
	r = console_stream_init(&port->in, config->in_fd, O_RDONLY, err);
	if (!r)
		r = console_stream_init(&port->out, config->out_fd, O_WRONLY, err);
	if (r)
		return r;
	port->tx_iov = calloc(CONSOLE_IOV_MAX, sizeof(*port->tx_iov));
	return port->tx_iov ? 0 : cvmm_fail(err, -ENOMEM, "no memory");
}

static int init_ports(struct cvmm_console *console, const struct cvmm_console_config *config,
		      struct cvmm_error *err)
{
	int r = 0;

	console->ports = calloc(config->port_count, sizeof(*console->ports));
	if (!console->ports)
		return cvmm_fail(err, -ENOMEM, "console: no memory");
	console->port_count = config->port_count;
	for (unsigned int i = 0; i < config->port_count && !r; i++) {
		struct console_port *port = &console->ports[i];

		port->console = console;
		port->index = i;
		port->cols = config->cols;
		port->rows = config->rows;
		r = init_port(port, &config->ports[i], err);
		if (r)
			cvmm_error_prefix(err, "console port %u", i);
	}
	return r;
}

int cvmm_console_create(const struct cvmm_console_config *config, struct cvmm_console **ret_console,
			struct cvmm_error *err)
{
	uint8_t space[CONSOLE_CONFIG_BYTES] = { 0 };
	struct cvmm_console *console;
	int r;

	if (!config->port_count || config->port_count > CVMM_CONSOLE_PORTS_MAX)
		return cvmm_fail(err, -EINVAL, "console: %u ports asked for, 1 to %u are possible",
				 config->port_count, CVMM_CONSOLE_PORTS_MAX);
	console = calloc(1, sizeof(*console));
	if (!console)
		return cvmm_fail(err, -ENOMEM, "console: no memory");
	console->log = config->log;
	console->port_event = config->port_event;
	console->event_ctx = config->ctx;
	cvmm_put_le16(space + CONSOLE_CONFIG_COLS, config->cols);
	cvmm_put_le16(space + CONSOLE_CONFIG_ROWS, config->rows);
	cvmm_put_le32(space + CONSOLE_CONFIG_MAX_NR_PORTS, config->port_count);
	r = cvmm_virtio_config_space_init(&console->config_space, space, sizeof(space));
	if (r) {
		free(console);
		return cvmm_fail(err, r, "console: no configuration space");
	}
	r = init_ports(console, config, err);
	if (r) {
		cvmm_console_destroy(console);
		return r;
	}
	*ret_console = console;
	return 0;
}

void cvmm_console_destroy(struct cvmm_console *console)
{
	if (!console)
		return;
	CVMM_BUG_ON(console->running);
	cvmm_source_remove(console->again_timer);
	for (unsigned int i = 0; i < console->port_count; i++) {
		struct console_port *port = &console->ports[i];

		console_remove_sources(port);
		free(port->tx_iov);
		free(port->kept);
	}
	free(console->ports);
	cvmm_virtio_config_space_fini(&console->config_space);
	free(console);
}

int cvmm_console_resize(struct cvmm_console *console, unsigned int port_index, uint16_t cols,
			uint16_t rows)
{
	uint8_t size[CONSOLE_CONFIG_ROWS + sizeof(uint16_t)];
	struct console_port *port;

	if (port_index >= console->port_count || !console->ports[port_index].is_console)
		return -EINVAL;
	port = &console->ports[port_index];
	if (port->cols == cols && port->rows == rows)
		return 0;
	port->cols = cols;
	port->rows = rows;
	if (!port_index) {
		cvmm_put_le16(size + CONSOLE_CONFIG_COLS, cols);
		cvmm_put_le16(size + CONSOLE_CONFIG_ROWS, rows);
		cvmm_virtio_config_space_update(&console->config_space, CONSOLE_CONFIG_COLS, size,
						sizeof(size));
	}
	if (!console->running)
		return 0;
	if (console->multiport) {
		/* A port that the guest does not know yet gets its size when it does. */
		if (port->guest_ready)
			port->pending |= CONSOLE_PENDING_SIZE;
		console_control_flush(console);
	} else if (!port_index && console->start.features >> CVMM_CONSOLE_F_SIZE & 1) {
		console->start.host->ops->config_changed(console->start.host);
	}
	return 0;
}

bool cvmm_console_output_idle(struct cvmm_console *console, unsigned int port)
{
	return port >= console->port_count || console_transmit(&console->ports[port]);
}

int cvmm_console_output_error(const struct cvmm_console *console, unsigned int port)
{
	return port < console->port_count ? console->ports[port].out_error : 0;
}

uint64_t cvmm_console_input_bytes(const struct cvmm_console *console, unsigned int port)
{
	return port < console->port_count ? console->ports[port].in_bytes : 0;
}
