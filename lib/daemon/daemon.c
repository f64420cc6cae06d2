// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * A daemon starts in this order: options; whatever needs a path (the program's files, sockets, the
 * service manager's socket); the sandbox, which takes paths away; devices, whose threads are born in
 * it; the filter of system calls; then "ready", and the loop. A failure undoes what was done.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon_internal.h"

struct daemon {
	const struct cvmm_daemon_program *program;
	void *ctx;
	struct daemon_settings settings;
	struct daemon_log log;
	struct daemon_sandbox sandbox;
	struct cvmm_loop *loop;
	struct daemon_signals *signals;
	int notify_fd;
	int userfaultfd_device;
	unsigned int port_count;
	unsigned int ports_left; /* of those that serve once */
	bool bad_usage;		 /* what failed is what the user asked for */
	struct daemon_port *ports;
};

/* ---- what is printed ----------------------------------------------------------------------- */

static int print(const char *text)
{
	int ret = text ? cvmm_write_full(1, text, strlen(text)) : -ENOMEM;

	return ret ? CVMM_DAEMON_FAILED : 0;
}

/* Spec: vhost-user.json, VhostUserBackendCapabilities. */
static int print_capabilities(const struct cvmm_daemon_program *program)
{
	const char *const *feature = program->features;
	char text[4096];
	int len = snprintf(text, sizeof(text), "{\n  \"type\": \"%s\"", program->type);

	for (; feature && *feature && len < (int)sizeof(text); feature++)
		len += snprintf(text + len, sizeof(text) - (size_t)len, "%s\n    \"%s\"",
				feature == program->features ? ",\n  \"features\": [" : ",",
				*feature);
	if (len < (int)sizeof(text))
		len += snprintf(text + len, sizeof(text) - (size_t)len, "%s\n}\n",
				program->features ? "\n  ]" : "");
	CVMM_BUG_ON(len >= (int)sizeof(text));
	return print(text);
}

static int print_version(const struct cvmm_daemon_program *program)
{
	char text[256];

	snprintf(text, sizeof(text), "%s %s (cvmm)\n", program->name, program->version);
	return print(text);
}

static int print_help(const struct cvmm_daemon_program *program,
		      const struct daemon_option_group *groups, size_t group_count)
{
	char *text = daemon_options_help(program, groups, group_count);
	int status = print(text);

	free(text);
	return status;
}

/* ---- sockets ------------------------------------------------------------------------------- */

static int use_passed(struct daemon_port *port, int fd, struct cvmm_error *err)
{
	int listens = daemon_passed_check(fd, err);

	if (listens < 0)
		return listens;
	port->kind = listens ? DAEMON_PORT_LISTEN : DAEMON_PORT_ONCE;
	if (listens)
		port->listener.fd = fd;
	else
		port->connected = fd;
	return 0;
}

static int use_path(struct daemon *d, struct daemon_port *port, struct cvmm_error *err)
{
	int suffix = d->program->numbered ? (int)port->index : -1;
	int ret = daemon_address_init(&port->address, d->settings.socket_path, suffix, err);

	if (ret)
		return ret;
	if (d->settings.client) {
		port->kind = DAEMON_PORT_CONNECT;
		return 0;
	}
	port->kind = DAEMON_PORT_LISTEN;
	ret = daemon_listener_init(&port->listener, &port->address, &d->settings, err);
	if (!ret)
		cvmm_log(&d->log.log, CVMM_LOG_INFO, "device %u: listening on %s", port->index,
			 port->listener.address.sun.sun_path);
	return ret;
}

static int open_socket(struct daemon *d, struct daemon_port *port, struct cvmm_error *err)
{
	const struct daemon_settings *settings = &d->settings;

	if (settings->socket_path)
		return use_path(d, port, err);
	if (settings->fd_count)
		return use_passed(port, settings->fds[port->index], err);
	return use_passed(port, DAEMON_ACTIVATION_FIRST + (int)port->index, err);
}

/* How many devices there are to be. */
static int count_sockets(struct daemon *d, struct cvmm_error *err)
{
	const struct daemon_settings *settings = &d->settings;
	unsigned int passed = settings->fd_count;
	uint64_t count = settings->socket_count;

	if (!settings->socket_path && !passed) {
		passed = daemon_activation_count(getenv("LISTEN_PID"), getenv("LISTEN_FDS"));
		if (!passed)
			return cvmm_fail(err, -EINVAL,
					 "there is no socket: give --socket-path PATH, or --fd N");
	}
	if (!count)
		count = settings->socket_path ? 1 : passed;
	if (!settings->socket_path && count != passed)
		return cvmm_fail(err, -EINVAL, "--socket-count is %llu, and %u sockets were passed",
				 (unsigned long long)count, passed);
	if (count > (d->program->numbered ? CVMM_DAEMON_SOCKETS_MAX : 1))
		return cvmm_fail(err, -EINVAL, "%llu sockets were passed, and %u can be served",
				 (unsigned long long)count,
				 d->program->numbered ? CVMM_DAEMON_SOCKETS_MAX : 1);
	d->port_count = (unsigned int)count;
	return 0;
}

/* ---- life ---------------------------------------------------------------------------------- */

static void on_signal(void *ctx, int number)
{
	struct daemon *d = ctx;

	cvmm_log(&d->log.log, CVMM_LOG_INFO, "ends: %s", strsignal(number));
	cvmm_loop_stop(d->loop);
}

static void on_port_ended(void *ctx)
{
	struct daemon *d = ctx;

	if (--d->ports_left == 0)
		cvmm_loop_stop(d->loop);
}

static int open_all(struct daemon *d, struct cvmm_error *err)
{
	struct cvmm_error notify_err = { 0 };
	int ret = cvmm_loop_create(CVMM_LOOP_AUTO, &d->loop);

	if (ret)
		return cvmm_fail(err, ret, "cannot make an event loop: %s", strerror(-ret));
	ret = daemon_signals_create(DAEMON_SIGNALS_AUTO, d->loop, on_signal, d, &d->signals);
	if (ret)
		return cvmm_fail(err, ret, "cannot wait for signals: %s", strerror(-ret));
	if (d->program->open) {
		ret = d->program->open(d->ctx, d->port_count, err);
		d->bad_usage = ret == -EINVAL;
		if (ret)
			return ret;
	}
	d->userfaultfd_device = daemon_userfaultfd_open();
	if (daemon_notify_open(getenv("NOTIFY_SOCKET"), &d->notify_fd, &notify_err))
		cvmm_log(&d->log.log, CVMM_LOG_WARN, "%s: nobody is told of readiness",
			 notify_err.message);
	for (unsigned int i = 0; i < d->port_count; i++) {
		ret = open_socket(d, &d->ports[i], err);
		if (ret)
			return ret;
		d->ports_left += d->ports[i].kind == DAEMON_PORT_ONCE;
		d->ports[i].ended = on_port_ended;
		d->ports[i].ended_ctx = d;
	}
	return 0;
}

static void describe_sandbox(struct daemon *d)
{
	struct daemon_sandbox *sandbox = &d->sandbox;

	*sandbox = (struct daemon_sandbox){
		.kind = d->settings.sandbox,
		.named = d->settings.sandbox_named,
		.threads = d->program->threads,
		.connects = d->settings.client,
		.sockets = d->port_count,
		.syscalls = d->program->syscalls,
		.syscall_count = d->program->syscall_count,
		.ioctls = d->program->ioctls,
		.ioctl_count = d->program->ioctl_count,
		.log = &d->log.log,
	};
	for (unsigned int i = 0; d->settings.socket_path && i < d->port_count; i++)
		sandbox->addresses[sandbox->address_count++] =
			d->settings.client ? &d->ports[i].address : &d->ports[i].listener.address;
}

static int create_all(struct daemon *d, struct cvmm_error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < d->port_count && !ret; i++) {
		struct cvmm_vhost_user_backend_config config = {
			.loop = d->loop,
			.log = &d->log.log,
			.userfaultfd_device = d->userfaultfd_device,
		};

		ret = d->program->create(d->ctx, i, &config, err);
		if (!ret)
			ret = daemon_port_create(&d->ports[i], &config, err);
	}
	return ret;
}

static int start_all(struct daemon *d, struct cvmm_error *err)
{
	int ret = open_all(d, err);

	if (ret)
		return ret;
	describe_sandbox(d);
	ret = daemon_sandbox_enter(&d->sandbox, err);
	if (!ret)
		ret = create_all(d, err);
	for (unsigned int i = 0; i < d->port_count && !ret; i++)
		ret = daemon_port_start(&d->ports[i], err);
	if (!ret)
		ret = daemon_sandbox_filter(&d->sandbox, err);
	return ret;
}

static void end_all(struct daemon *d)
{
	for (unsigned int i = 0; i < d->port_count; i++) {
		daemon_port_fini(&d->ports[i]);
		d->program->destroy(d->ctx, i);
	}
	daemon_signals_destroy(d->signals);
	cvmm_loop_destroy(d->loop);
	cvmm_close_fd(&d->notify_fd);
	cvmm_close_fd(&d->userfaultfd_device);
}

static int fail(struct daemon *d, const struct cvmm_error *err)
{
	cvmm_log(&d->log.log, CVMM_LOG_ERROR, "%s", err->message);
	if (!d->bad_usage)
		return CVMM_DAEMON_FAILED;
	cvmm_log(&d->log.log, CVMM_LOG_ERROR, "--help lists the options");
	return CVMM_DAEMON_USAGE;
}

static int serve(struct daemon *d)
{
	struct cvmm_error err = { 0 };
	int ret = start_all(d, &err);

	if (!ret) {
		daemon_notify(d->notify_fd, "READY=1");
		ret = cvmm_loop_run(d->loop);
		if (ret)
			cvmm_fail(&err, ret, "cannot wait for events: %s", strerror(-ret));
	}
	daemon_notify(d->notify_fd, "STOPPING=1");
	end_all(d);
	return ret ? fail(d, &err) : 0;
}

static int compare_fds(const void *a, const void *b)
{
	int left = *(const int *)a, right = *(const int *)b;

	return (left > right) - (left < right);
}

/* Whatever somebody forgot to close is not for guests. */
static void close_inherited(struct daemon *d)
{
	int keep[CVMM_DAEMON_SOCKETS_MAX + 1];
	unsigned int count = 0;

	for (; count < d->settings.fd_count; count++)
		keep[count] = d->settings.fds[count];
	for (; !d->settings.socket_path && count < d->port_count; count++)
		keep[count] = DAEMON_ACTIVATION_FIRST + (int)count;
	keep[count++] = d->log.fd;
	qsort(keep, count, sizeof(*keep), compare_fds);
	daemon_close_inherited(keep, count);
}

/* The options are good. */
static int run(struct daemon *d)
{
	struct cvmm_error err = { 0 };
	int status;

	d->bad_usage = count_sockets(d, &err) != 0;
	if (d->bad_usage)
		return fail(d, &err);
	d->ports = calloc(d->port_count, sizeof(*d->ports));
	if (!d->ports) {
		cvmm_fail(&err, -ENOMEM, "out of memory");
		return fail(d, &err);
	}
	for (unsigned int i = 0; i < d->port_count; i++)
		daemon_port_init(&d->ports[i], i);
	if (d->settings.sandbox != DAEMON_SANDBOX_NONE)
		close_inherited(d);
	status = serve(d);
	free(d->ports);
	return status;
}

/* Wins over all other arguments, even wrong ones. Spec: vhost-user, "Backend program conventions". */
static bool asks_for_capabilities(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--print-capabilities") == 0)
			return true;
	return false;
}

int cvmm_daemon_main(const struct cvmm_daemon_program *program, void *ctx, int argc, char **argv)
{
	struct cvmm_daemon_option common[DAEMON_COMMON_OPTIONS_MAX];
	struct daemon d = {
		.program = program, .ctx = ctx, .notify_fd = -1, .userfaultfd_device = -1
	};
	struct daemon_option_group groups[] = {
		{ "Options of the device", program->options, program->option_count },
		{ "Options of all devices", common, 0 },
	};
	struct cvmm_error err = { 0 };
	int status;

	if (daemon_secure_stdio())
		return CVMM_DAEMON_FAILED;
	if (asks_for_capabilities(argc, argv))
		return print_capabilities(program);
	daemon_settings_init(&d.settings);
	groups[1].count = daemon_settings_options(&d.settings, program->numbered, common);
	daemon_log_init(&d.log, program->name, CVMM_LOG_ERROR);
	status = daemon_options_parse(groups, CVMM_ARRAY_SIZE(groups), argc, argv, &err);
	d.log.log.max_level = d.settings.log_level;
	d.bad_usage = status < 0 || (!status && daemon_settings_check(&d.settings, &err));
	if (d.bad_usage)
		status = fail(&d, &err);
	else if (d.settings.action == DAEMON_HELP)
		status = print_help(program, groups, CVMM_ARRAY_SIZE(groups));
	else if (d.settings.action == DAEMON_VERSION)
		status = print_version(program);
	else
		status = run(&d);
	daemon_log_fini(&d.log);
	return status;
}
