// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * Whoever reads our standard error may stop reading, and a guest can make us write to it. So lines
 * go through a descriptor that does not block, and are dropped where they do not fit: the next one
 * that fits is preceded by how many that were.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon_internal.h"

#define LINE_BYTES 1024

int daemon_secure_stdio(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		/* The lowest free number is this one. */
		if (open("/dev/null", O_RDWR) < 0)
			return -errno;
	}
	return 0;
}

static bool write_line(const struct daemon_log *log, const char *line, size_t len)
{
	ssize_t n = send(log->fd, line, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno == ENOTSOCK)
		n = write(log->fd, line, len);
	return n >= 0;
}

static CVMM_PRINTF(3, 4) bool print(const struct daemon_log *log, const char *prefix,
				    const char *fmt, ...)
{
	char line[LINE_BYTES];
	va_list args;
	int head, len;

	head = snprintf(line, sizeof(line), "%s: %s", log->name, prefix);
	if (head < 0 || head >= (int)sizeof(line) - 1)
		return false;
	va_start(args, fmt);
	len = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, fmt, args);
	va_end(args);
	if (len < 0)
		return false;
	len += head;
	if (len > (int)sizeof(line) - 2)
		len = (int)sizeof(line) - 2;
	/* One line, whatever a peer has brought into it. */
	for (int i = 0; i < len; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[len++] = '\n';
	return write_line(log, line, (size_t)len);
}

static void write_message(void *ctx, enum cvmm_log_level level, const char *message)
{
	static const char *const prefixes[] = {
		[CVMM_LOG_ERROR] = "error: ",
		[CVMM_LOG_WARN] = "warning: ",
		[CVMM_LOG_INFO] = "",
		[CVMM_LOG_DEBUG] = "debug: ",
	};
	struct daemon_log *log = ctx;
	unsigned int dropped = __atomic_load_n(&log->dropped, __ATOMIC_RELAXED);

	/* Any thread: a line is one write. */
	if (dropped && print(log, "", "(%u lines dropped)", dropped))
		__atomic_fetch_sub(&log->dropped, dropped, __ATOMIC_RELAXED);
	if (!print(log, prefixes[level], "%s", message))
		__atomic_fetch_add(&log->dropped, 1, __ATOMIC_RELAXED);
}

void daemon_log_init(struct daemon_log *log, const char *name, enum cvmm_log_level max_level)
{
	*log = (struct daemon_log){
		.log = { .write = write_message, .ctx = log, .max_level = max_level },
		.name = name,
		.fd = -1,
	};
	if (cvmm_reopen_nonblock(2, O_WRONLY, &log->fd))
		log->fd = fcntl(2, F_DUPFD_CLOEXEC, 3);
}

void daemon_log_fini(struct daemon_log *log)
{
	cvmm_close_fd(&log->fd);
}
