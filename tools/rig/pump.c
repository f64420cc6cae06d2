// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pump.h"

#define BUFFER_BYTES 65536

struct cvmm_pump {
	struct cvmm_source *in, *out;
	int src, dst;
	size_t start, end;
	bool source_ended, over;
	uint64_t total;
	void (*progress)(void *ctx);
	void (*ended)(void *ctx, enum cvmm_pump_end end);
	void *ctx;
	char buffer[BUFFER_BYTES];
};

/* A socket that was inherited may block: its flag is shared with others, and stays as it is. */
static ssize_t read_some(int fd, void *buf, size_t len)
{
	ssize_t n = recv(fd, buf, len, MSG_DONTWAIT);

	return n < 0 && errno == ENOTSOCK ? read(fd, buf, len) : n;
}

static ssize_t write_some(int fd, const void *buf, size_t len)
{
	ssize_t n = send(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	return n < 0 && errno == ENOTSOCK ? write(fd, buf, len) : n;
}

/* Waits for whichever side can go on. */
static void update(struct cvmm_pump *p)
{
	bool full = p->start != p->end;

	if (!full && p->source_ended && !p->over) {
		p->over = true;
		p->ended(p->ctx, CVMM_PUMP_SOURCE_ENDED);
	}
	cvmm_source_set_events(p->in, full || p->source_ended || p->over ? 0U : CVMM_EVENT_READ);
	cvmm_source_set_events(p->out, full && !p->over ? CVMM_EVENT_WRITE : 0U);
}

static void on_readable(void *ctx, int fd, unsigned int events)
{
	struct cvmm_pump *p = ctx;
	ssize_t n;

	(void)events;
	if (p->start != p->end || p->source_ended)
		return;
	n = read_some(fd, p->buffer, sizeof(p->buffer));
	if (n > 0) {
		p->start = 0;
		p->end = (size_t)n;
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		p->source_ended = true;
	}
	update(p);
}

static void on_writable(void *ctx, int fd, unsigned int events)
{
	struct cvmm_pump *p = ctx;
	ssize_t n;

	(void)events;
	if (p->start == p->end || p->over)
		return;
	n = write_some(fd, p->buffer + p->start, p->end - p->start);
	if (n >= 0) {
		p->start += (size_t)n;
		p->total += (uint64_t)n;
	} else if (errno != EAGAIN && errno != EINTR) {
		p->over = true;
		p->ended(p->ctx, CVMM_PUMP_DESTINATION_GONE);
	}
	update(p);
	if (n > 0 && p->progress)
		p->progress(p->ctx);
}

int cvmm_pump_create(struct cvmm_loop *loop, int src, int dst, void (*progress)(void *ctx),
		     void (*ended)(void *ctx, enum cvmm_pump_end end), void *ctx,
		     struct cvmm_pump **ret_pump)
{
	struct cvmm_pump *p = calloc(1, sizeof(*p));
	int ret;

	if (!p)
		return -ENOMEM;
	p->src = src;
	p->dst = dst;
	p->progress = progress;
	p->ended = ended;
	p->ctx = ctx;
	ret = cvmm_loop_add_fd(loop, src, CVMM_EVENT_READ, on_readable, p, &p->in);
	if (!ret)
		ret = cvmm_loop_add_fd(loop, dst, 0, on_writable, p, &p->out);
	if (ret) {
		cvmm_pump_destroy(p);
		return ret;
	}
	*ret_pump = p;
	return 0;
}

void cvmm_pump_destroy(struct cvmm_pump *p)
{
	if (!p)
		return;
	cvmm_source_remove(p->in);
	cvmm_source_remove(p->out);
	free(p);
}

uint64_t cvmm_pump_total(const struct cvmm_pump *p)
{
	return p->total;
}
