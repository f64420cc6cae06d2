// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The options that all daemons have. */
#include <errno.h>
#include <grp.h>
#include <stdlib.h>

#include "daemon_internal.h"

static const char *const log_levels[] = {
	[CVMM_LOG_ERROR] = "error",
	[CVMM_LOG_WARN] = "warn",
	[CVMM_LOG_INFO] = "info",
	[CVMM_LOG_DEBUG] = "debug",
};

static const char *const sandboxes[] = {
	[DAEMON_SANDBOX_NONE] = "none",
	[DAEMON_SANDBOX_SECCOMP] = "seccomp",
	[DAEMON_SANDBOX_LANDLOCK] = "landlock",
	[DAEMON_SANDBOX_NAMESPACE] = "namespace",
};

static int find_word(const char *const *words, size_t count, const char *value)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(words[i], value) == 0)
			return (int)i;
	return -1;
}

static int set_fd(void *ctx, const char *value, struct cvmm_error *err)
{
	struct daemon_settings *settings = ctx;
	uint64_t fd = 0;
	int ret = cvmm_daemon_parse_number(value, 0, INT32_MAX, &fd, err);

	if (ret)
		return ret;
	if (settings->fd_count == CVMM_DAEMON_SOCKETS_MAX)
		return cvmm_fail(err, -EINVAL, "is given more than %u times",
				 CVMM_DAEMON_SOCKETS_MAX);
	for (size_t i = 0; i < settings->fd_count; i++) {
		if (settings->fds[i] == (int)fd)
			return cvmm_fail(err, -EINVAL, "%d is given twice", (int)fd);
	}
	settings->fds[settings->fd_count++] = (int)fd;
	return 0;
}

static int set_socket_mode(void *ctx, const char *value, struct cvmm_error *err)
{
	struct daemon_settings *settings = ctx;
	unsigned long mode;
	char *end;

	errno = 0;
	mode = strtoul(value, &end, 8);
	if (errno || *value < '0' || *value > '7' || *end || mode > 0777)
		return cvmm_fail(err, -EINVAL, "'%s' is no octal mode from 0 to 0777", value);
	settings->socket_mode = (unsigned int)mode;
	return 0;
}

static int set_socket_group(void *ctx, const char *value, struct cvmm_error *err)
{
	struct daemon_settings *settings = ctx;
	const struct group *group;
	uint64_t number = 0;

	if (*value >= '0' && *value <= '9') {
		int ret = cvmm_daemon_parse_number(value, 0, UINT32_MAX - 1, &number, err);

		if (ret)
			return ret;
	} else {
		group = getgrnam(value);
		if (!group)
			return cvmm_fail(err, -EINVAL, "there is no group '%s'", value);
		number = group->gr_gid;
	}
	settings->socket_group = (gid_t)number;
	settings->socket_group_set = true;
	return 0;
}

static int set_log_level(void *ctx, const char *value, struct cvmm_error *err)
{
	struct daemon_settings *settings = ctx;
	int level = find_word(log_levels, CVMM_ARRAY_SIZE(log_levels), value);

	if (level < 0)
		return cvmm_fail(err, -EINVAL, "'%s' is none of error, warn, info, debug", value);
	settings->log_level = (enum cvmm_log_level)level;
	return 0;
}

static int set_sandbox(void *ctx, const char *value, struct cvmm_error *err)
{
	struct daemon_settings *settings = ctx;
	int kind = find_word(sandboxes, CVMM_ARRAY_SIZE(sandboxes), value);

	if (kind < 0)
		return cvmm_fail(err, -EINVAL, "'%s' is none of namespace, landlock, seccomp, none",
				 value);
	settings->sandbox = (enum daemon_sandbox_kind)kind;
	settings->sandbox_named = true;
	return 0;
}

static int set_action(struct daemon_settings *settings, enum daemon_action action)
{
	settings->action = action;
	return DAEMON_OPTIONS_STOP;
}

static int set_capabilities(void *ctx, const char *value, struct cvmm_error *err)
{
	(void)value;
	(void)err;
	return set_action(ctx, DAEMON_CAPABILITIES);
}

static int set_help(void *ctx, const char *value, struct cvmm_error *err)
{
	(void)value;
	(void)err;
	return set_action(ctx, DAEMON_HELP);
}

static int set_version(void *ctx, const char *value, struct cvmm_error *err)
{
	(void)value;
	(void)err;
	return set_action(ctx, DAEMON_VERSION);
}

void daemon_settings_init(struct daemon_settings *settings)
{
	*settings = (struct daemon_settings){
		.socket_mode = DAEMON_MODE_UNSET,
		.log_level = CVMM_LOG_INFO,
		.sandbox = DAEMON_SANDBOX_NAMESPACE,
	};
}

size_t daemon_settings_options(struct daemon_settings *settings, bool numbered,
			       struct cvmm_daemon_option options[DAEMON_COMMON_OPTIONS_MAX])
{
	size_t count = 0;
	const struct cvmm_daemon_option rows[] = {
		{ .name = "socket-path",
		  .letter = 's',
		  .value = "PATH",
		  .text = &settings->socket_path,
		  .help = numbered ? "where to listen: PATH0, PATH1, ..." : "where to listen" },
		/* Not all programs have it: see below. */
		{ .name = "socket-count",
		  .letter = 'c',
		  .value = "N",
		  .number = &settings->socket_count,
		  .min = 1,
		  .max = CVMM_DAEMON_SOCKETS_MAX,
		  .help = "devices, each with a socket of its own\n"
			  "(default: 1, or as many as were passed)" },
		{ .name = "fd",
		  .value = "N",
		  .set = set_fd,
		  .ctx = settings,
		  .help = "use this descriptor, a socket that listens or is\n"
			  "connected; once for each device" },
		{ .name = "socket-fd",
		  .value = "N",
		  .set = set_fd,
		  .ctx = settings,
		  .help = "the same" },
		{ .name = "client",
		  .flag = &settings->client,
		  .help = "connect to PATH, again and again, instead of\n"
			  "listening there" },
		{ .name = "socket-mode",
		  .value = "MODE",
		  .set = set_socket_mode,
		  .ctx = settings,
		  .help = "permissions of the sockets, octal (default: by\n"
			  "the umask, or 0660 with --socket-group)" },
		{ .name = "socket-group",
		  .value = "GROUP",
		  .set = set_socket_group,
		  .ctx = settings,
		  .help = "group of the sockets, by name or number" },
		{ .name = "sandbox",
		  .value = "KIND",
		  .set = set_sandbox,
		  .ctx = settings,
		  .help = "namespace, landlock, seccomp or none; each has\n"
			  "what those behind it have. Default: namespace,\n"
			  "or as much of it as the system permits" },
		{ .name = "log-level",
		  .value = "LEVEL",
		  .set = set_log_level,
		  .ctx = settings,
		  .help = "error, warn, info or debug (default: info)" },
		{ .name = "print-capabilities",
		  .set = set_capabilities,
		  .ctx = settings,
		  .help = "print what the device can do, as JSON, and exit" },
		{ .name = "help",
		  .letter = 'h',
		  .set = set_help,
		  .ctx = settings,
		  .help = "print this, and exit" },
		{ .name = "version",
		  .letter = 'V',
		  .set = set_version,
		  .ctx = settings,
		  .help = "print the version, and exit" },
	};

	_Static_assert(CVMM_ARRAY_SIZE(rows) <= DAEMON_COMMON_OPTIONS_MAX, "room for all");
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(rows); i++)
		if (numbered || rows[i].number != &settings->socket_count)
			options[count++] = rows[i];
	return count;
}

int daemon_settings_check(const struct daemon_settings *settings, struct cvmm_error *err)
{
	if (settings->fd_count && settings->socket_path)
		return cvmm_fail(err, -EINVAL,
				 "--fd and --socket-path exclude each other: give one of them");
	if (settings->client && !settings->socket_path)
		return cvmm_fail(err, -EINVAL, "--client needs --socket-path: where to connect to");
	if (settings->fd_count && settings->socket_count &&
	    settings->fd_count != settings->socket_count)
		return cvmm_fail(err, -EINVAL,
				 "--socket-count %llu needs so many --fd, and there are %u",
				 (unsigned long long)settings->socket_count, settings->fd_count);
	if ((settings->client || settings->fd_count) &&
	    (settings->socket_group_set || settings->socket_mode != DAEMON_MODE_UNSET))
		return cvmm_fail(err, -EINVAL,
				 "--socket-mode and --socket-group are for sockets that are made "
				 "here: leave them away with --client and --fd");
	return 0;
}
