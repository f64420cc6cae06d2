// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cvmm/base.h>

void cvmm_bug(const char *file, int line, const char *what)
{
	/* The one place where a library prints: it is about to end the process. */
	fprintf(stderr, "cvmm: bug at %s:%d: %s\n", file, line, what);
	abort();
}

static CVMM_PRINTF(3, 0) void format_cut(char *buf, size_t size, const char *fmt, va_list args)
{
	int len = vsnprintf(buf, size, fmt, args);

	if (len < 0)
		snprintf(buf, size, "(message could not be formatted)");
	else if ((size_t)len >= size)
		memcpy(buf + size - 4, "...", 4);
}

int cvmm_fail(struct cvmm_error *err, int code, const char *fmt, ...)
{
	va_list args;

	if (!err)
		return code;
	err->code = code;
	va_start(args, fmt);
	format_cut(err->message, sizeof(err->message), fmt, args);
	va_end(args);
	return code;
}

int cvmm_error_prefix(struct cvmm_error *err, const char *fmt, ...)
{
	char old[CVMM_ERROR_MESSAGE_SIZE];
	va_list args;
	size_t len;

	if (!err)
		return 0;
	memcpy(old, err->message, sizeof(old));
	va_start(args, fmt);
	format_cut(err->message, sizeof(err->message), fmt, args);
	va_end(args);
	len = strlen(err->message);
	if (snprintf(err->message + len, sizeof(err->message) - len, ": %s", old) >=
	    (int)(sizeof(err->message) - len))
		memcpy(err->message + sizeof(err->message) - 4, "...", 4);
	return err->code;
}

void cvmm_free_ptr(void *pointer_variable)
{
	void *p;

	memcpy(&p, pointer_variable, sizeof(p));
	free(p);
}

uint64_t cvmm_clock_ns(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now))
		return 0;
	return (uint64_t)now.tv_sec * CVMM_NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ---- logging ------------------------------------------------------------------------------- */

#define LOG_LINE_SIZE 1024

static CVMM_PRINTF(3, 0) void log_va(const struct cvmm_log *log, enum cvmm_log_level level,
				     const char *fmt, va_list args)
{
	char line[LOG_LINE_SIZE];

	format_cut(line, sizeof(line), fmt, args);
	log->write(log->ctx, level, line);
}

static bool log_wanted(const struct cvmm_log *log, enum cvmm_log_level level)
{
	return log && log->write && level <= log->max_level;
}

void cvmm_log(const struct cvmm_log *log, enum cvmm_log_level level, const char *fmt, ...)
{
	va_list args;

	if (!log_wanted(log, level))
		return;
	va_start(args, fmt);
	log_va(log, level, fmt, args);
	va_end(args);
}

void cvmm_log_limited(const struct cvmm_log *log, struct cvmm_log_limit *limit,
		      enum cvmm_log_level level, const char *fmt, ...)
{
	uint64_t now_ns;
	va_list args;

	if (!log_wanted(log, level))
		return;
	now_ns = cvmm_clock_ns();
	if (!limit->period_start_ns || now_ns - limit->period_start_ns > CVMM_LOG_LIMIT_PERIOD_NS) {
		if (limit->dropped)
			cvmm_log(log, level, "(%u similar messages dropped)", limit->dropped);
		*limit = (struct cvmm_log_limit){ .period_start_ns = now_ns };
	}
	if (limit->used == CVMM_LOG_LIMIT_BURST) {
		limit->dropped++;
		return;
	}
	limit->used++;
	va_start(args, fmt);
	log_va(log, level, fmt, args);
	va_end(args);
}
