// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * A port is a device, which has one connection at a time, and the way to get one. A port that listens
 * does not look at its socket while it is connected: who comes meanwhile waits in the kernel's queue. The
 * listening socket never goes away in between, so that a front-end can come back at any time.
 *
 * A connection begins and ends outside of the callbacks of the back-end: the end of one only arms a
 * timer of no delay, which looks for the next.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon_internal.h"

static void look_for_connection(struct daemon_port *port);

/* ---- beginning of a connection ------------------------------------------------------------- */

static bool attach(struct daemon_port *port, int fd)
{
	struct cvmm_error err = { 0 };
	int ret = cvmm_vhost_user_backend_attach(port->backend, fd, &err);

	if (ret) {
		cvmm_log_limited(port->log, &port->log_limit, CVMM_LOG_WARN,
				 "device %u: a connection cannot be served: %s", port->index,
				 err.message[0] ? err.message : strerror(-ret));
		return false;
	}
	cvmm_log_limited(port->log, &port->log_limit, CVMM_LOG_INFO, "device %u: connected",
			 port->index);
	return true;
}

static void retry_later(struct daemon_port *port)
{
	cvmm_timer_arm(port->timer, port->back_off_ns, 0);
	if (port->back_off_ns < DAEMON_BACK_OFF_MAX_NS / 2)
		port->back_off_ns *= 2;
	else
		port->back_off_ns = DAEMON_BACK_OFF_MAX_NS;
}

/* Something that will last for a while: tell it once, and try again later. */
static void postpone(struct daemon_port *port, const char *what, int error)
{
	if (error != port->last_error)
		cvmm_log(port->log, CVMM_LOG_INFO, "device %u: %s: %s; trying again", port->index,
			 what, strerror(-error));
	port->last_error = error;
	retry_later(port);
}

static void succeed(struct daemon_port *port)
{
	port->last_error = 0;
	port->back_off_ns = DAEMON_BACK_OFF_FIRST_NS;
}

static void on_incoming(void *ctx, int fd, unsigned int events)
{
	struct daemon_port *port = ctx;
	int connected;

	(void)events;
	connected = daemon_accept(fd);
	if (connected == -EAGAIN || connected == -EINTR || connected == -ECONNABORTED)
		return;
	if (connected < 0) {
		/* No descriptors or memory: the socket stays readable, and must not be polled. */
		cvmm_source_set_events(port->source, 0);
		postpone(port, "cannot accept a connection", connected);
		return;
	}
	succeed(port);
	if (attach(port, connected))
		cvmm_source_set_events(port->source, 0);
}

static void try_to_connect(struct daemon_port *port)
{
	int fd = daemon_connect(&port->address);

	if (fd < 0) {
		postpone(port, port->address.sun.sun_path, fd);
	} else if (attach(port, fd)) {
		succeed(port);
	} else {
		retry_later(port);
	}
}

static void look_for_connection(struct daemon_port *port)
{
	switch (port->kind) {
	case DAEMON_PORT_LISTEN:
		cvmm_source_set_events(port->source, CVMM_EVENT_READ);
		break;
	case DAEMON_PORT_CONNECT:
		try_to_connect(port);
		break;
	case DAEMON_PORT_ONCE:
		if (port->connected < 0 || !attach(port, cvmm_take_fd(&port->connected)))
			port->ended(port->ended_ctx);
		break;
	}
}

static void on_timer(void *ctx)
{
	look_for_connection(ctx);
}

static void on_closed(void *ctx, int reason, const char *message)
{
	struct daemon_port *port = ctx;

	if (reason)
		cvmm_log_limited(port->log, &port->log_limit, CVMM_LOG_WARN,
				 "device %u: connection ended: %s", port->index,
				 message && *message ? message : strerror(-reason));
	else
		cvmm_log_limited(port->log, &port->log_limit, CVMM_LOG_INFO,
				 "device %u: disconnected", port->index);
	if (!port->timer)
		return;
	/* A front-end that hangs up at once must not keep us busy. */
	if (port->kind == DAEMON_PORT_CONNECT)
		retry_later(port);
	else
		cvmm_timer_arm(port->timer, 0, 0);
}

/* ---- life ---------------------------------------------------------------------------------- */

void daemon_port_init(struct daemon_port *port, unsigned int index)
{
	*port = (struct daemon_port){
		.index = index,
		.listener = { .fd = -1, .address = { .dir_fd = -1 } },
		.address = { .dir_fd = -1 },
		.connected = -1,
		.back_off_ns = DAEMON_BACK_OFF_FIRST_NS,
	};
}

int daemon_port_create(struct daemon_port *port, struct cvmm_vhost_user_backend_config *config,
		       struct cvmm_error *err)
{
	port->loop = config->loop;
	port->log = config->log;
	config->closed = on_closed;
	config->closed_ctx = port;
	return cvmm_vhost_user_backend_create(config, &port->backend, err);
}

int daemon_port_start(struct daemon_port *port, struct cvmm_error *err)
{
	int ret = cvmm_loop_add_timer(port->loop, on_timer, port, &port->timer);

	if (!ret && port->kind == DAEMON_PORT_LISTEN)
		ret = cvmm_loop_add_fd(port->loop, port->listener.fd, 0, on_incoming, port,
				       &port->source);
	if (ret)
		return cvmm_fail(err, ret, "device %u: cannot wait for connections: %s",
				 port->index, strerror(-ret));
	cvmm_timer_arm(port->timer, 0, 0);
	return 0;
}

void daemon_port_stop(struct daemon_port *port)
{
	cvmm_source_remove(port->source);
	port->source = NULL;
	cvmm_source_remove(port->timer);
	port->timer = NULL;
	cvmm_vhost_user_backend_destroy(port->backend);
	port->backend = NULL;
}

void daemon_port_fini(struct daemon_port *port)
{
	daemon_port_stop(port);
	daemon_listener_fini(&port->listener);
	daemon_address_fini(&port->address);
	cvmm_close_fd(&port->connected);
}
