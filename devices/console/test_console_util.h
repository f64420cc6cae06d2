/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* A guest's console driver for tests: control messages, ports, streams. */
#ifndef CVMM_TEST_CONSOLE_UTIL_H
#define CVMM_TEST_CONSOLE_UTIL_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include <cvmm/console.h>

#include "../../tests/support/descriptors.h"
#include "../../tests/support/device_harness.h"

#define CONTROL_RX 2U
#define CONTROL_TX 3U
#define QUEUE_SIZE CVMM_CONSOLE_QUEUE_SIZE_MAX

enum {
	DEVICE_READY = 0,
	DEVICE_ADD = 1,
	PORT_READY = 3,
	CONSOLE_PORT = 4,
	RESIZE = 5,
	PORT_OPEN = 6,
	PORT_NAME = 7,
};

#define CONTROL_BUF_BYTES 128U
#define CONTROL_BUFS 16U
#define PIECE_BYTES_MAX 8192U
#define PORTS_MAX 3U
#define EVENTS_KINDS 5

struct guest {
	struct harness h;
	struct cvmm_console *console;
	unsigned int port_count;
	uint64_t scratch;
	uint64_t piece[HARNESS_QUEUES_MAX];	      /* PIECE_BYTES_MAX for each descriptor */
	uint64_t gpa[HARNESS_QUEUES_MAX][QUEUE_SIZE]; /* of single-buffer chains, by head */
	unsigned int events[PORTS_MAX][EVENTS_KINDS];
	bool passive; /* do nothing in events */
};

static inline unsigned int rx_queue(unsigned int port)
{
	return port ? 2 * port + 2 : 0;
}

static inline unsigned int tx_queue(unsigned int port)
{
	return rx_queue(port) + 1;
}

static inline void guest_event(void *ctx, unsigned int port, enum cvmm_console_event event)
{
	struct guest *g = ctx;

	g->events[port][event]++;
	/* What a VMM may do in an event must be harmless. */
	if (!g->passive)
		cvmm_console_output_idle(g->console, port);
}

static inline void guest_create(struct guest *g, const struct cvmm_console_port *ports,
				unsigned int port_count, uint64_t features)
{
	struct cvmm_console_config config = {
		.ports = ports,
		.port_count = port_count,
		.cols = 80,
		.rows = 25,
		.port_event = guest_event,
		.ctx = g,
	};

	signal(SIGPIPE, SIG_IGN);
	memset(g, 0, sizeof(*g));
	g->port_count = port_count;
	assert_int_equal(cvmm_console_create(&config, &g->console, NULL), 0);
	harness_init(&g->h, &cvmm_console_ops, g->console, features);
	g->scratch = harness_alloc(&g->h, 4096, 4096);
	for (unsigned int i = 0; i < g->h.queue_count; i++)
		g->piece[i] = harness_alloc(&g->h, QUEUE_SIZE * PIECE_BYTES_MAX, 4096);
}

static inline void guest_destroy(struct guest *g)
{
	harness_stop(&g->h);
	cvmm_console_destroy(g->console);
	harness_fini(&g->h);
}

/* One buffer, at the place of its descriptor. */
static inline void guest_post(struct guest *g, unsigned int queue, const void *bytes, uint32_t len,
			      bool writable)
{
	uint16_t head = g->h.rings[queue].next_desc;
	struct harness_buf buf = { g->piece[queue] + (uint64_t)head * PIECE_BYTES_MAX, len,
				   writable };

	assert_true(len <= PIECE_BYTES_MAX);
	if (bytes)
		harness_write(&g->h, buf.gpa, bytes, len);
	harness_submit(&g->h, queue, &buf, 1);
	g->gpa[queue][head] = buf.gpa;
}

static inline void guest_send(struct guest *g, unsigned int port, const void *bytes, size_t len)
{
	guest_post(g, tx_queue(port), bytes, (uint32_t)len, false);
	harness_kick(&g->h, tx_queue(port));
}

static inline void guest_offer(struct guest *g, unsigned int port, unsigned int count, uint32_t len)
{
	for (unsigned int i = 0; i < count; i++)
		guest_post(g, rx_queue(port), NULL, len, true);
	harness_kick(&g->h, rx_queue(port));
}

/* Take one received buffer, if there is one. Return: its length, or -1. */
static inline int guest_take(struct guest *g, unsigned int port, void *bytes)
{
	uint32_t len;
	uint16_t head;

	if (!harness_take_used(&g->h, rx_queue(port), &head, &len))
		return -1;
	harness_read(&g->h, g->gpa[rx_queue(port)][head], bytes, len);
	return (int)len;
}

/* ---- control ----------------------------------------------------------------------------------- */

struct message {
	uint32_t id;
	uint16_t event;
	uint16_t value;
	uint32_t extra_len;
	uint8_t extra[CONTROL_BUF_BYTES];
};

static inline void guest_control_raw(struct guest *g, const void *bytes, uint32_t len)
{
	guest_post(g, CONTROL_TX, bytes, len, false);
	harness_kick(&g->h, CONTROL_TX);
	assert_true(harness_take_used(&g->h, CONTROL_TX, NULL, NULL));
}

static inline void guest_control(struct guest *g, uint32_t id, uint16_t event, uint16_t value)
{
	uint8_t bytes[8];

	cvmm_put_le32(bytes, id);
	cvmm_put_le16(bytes + 4, event);
	cvmm_put_le16(bytes + 6, value);
	guest_control_raw(g, bytes, sizeof(bytes));
}

static inline void guest_offer_control(struct guest *g, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		guest_post(g, CONTROL_RX, NULL, CONTROL_BUF_BYTES, true);
	harness_kick(&g->h, CONTROL_RX);
}

/* Take a control message and offer its buffer again. */
static inline bool guest_control_take(struct guest *g, struct message *m)
{
	uint8_t bytes[CONTROL_BUF_BYTES];
	uint32_t len;
	uint16_t head;

	if (!harness_take_used(&g->h, CONTROL_RX, &head, &len))
		return false;
	assert_true(len >= 8);
	harness_read(&g->h, g->gpa[CONTROL_RX][head], bytes, len);
	m->id = cvmm_get_le32(bytes);
	m->event = cvmm_get_le16(bytes + 4);
	m->value = cvmm_get_le16(bytes + 6);
	m->extra_len = len - 8;
	memcpy(m->extra, bytes + 8, m->extra_len);
	guest_offer_control(g, 1);
	return true;
}

static inline void guest_expect_control(struct guest *g, uint32_t id, uint16_t event,
					uint16_t value)
{
	struct message m = { 0 };

	assert_true(guest_control_take(g, &m));
	assert_int_equal(m.event, event);
	assert_int_equal(m.id, id);
	assert_int_equal(m.value, value);
}

static inline void guest_expect_no_control(struct guest *g)
{
	struct message m = { 0 };

	harness_run(&g->h);
	assert_false(guest_control_take(g, &m));
}

/* Start the device and make all ports known, but not open. */
static inline void guest_boot(struct guest *g)
{
	struct message m = { 0 };

	assert_int_equal(harness_start(&g->h), 0);
	if (!(g->h.features & CVMM_VIRTIO_FEATURE(CVMM_CONSOLE_F_MULTIPORT)))
		return;
	guest_offer_control(g, CONTROL_BUFS);
	guest_control(g, 0, DEVICE_READY, 1);
	for (unsigned int i = 0; i < g->port_count; i++)
		guest_expect_control(g, i, DEVICE_ADD, 1);
	for (unsigned int i = 0; i < g->port_count; i++) {
		guest_control(g, i, PORT_READY, 1);
		while (guest_control_take(g, &m))
			assert_int_equal(m.id, i);
	}
}

static inline void guest_open(struct guest *g, unsigned int port)
{
	guest_control(g, port, PORT_OPEN, 1);
}

/* ---- pipes and random streams ------------------------------------------------------------------ */

struct pipe_ends {
	int read;
	int write;
};

static inline struct pipe_ends make_pipe(void)
{
	int fds[2];

	assert_int_equal(test_pipe(fds, true), 0);
	return (struct pipe_ends){ fds[0], fds[1] };
}

/* Bytes that are the same for the same seed; each end of a test has its own. */
struct random_stream {
	uint64_t state;
	uint64_t word;
	unsigned int left;
	uint64_t position;
};

static inline uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static inline void stream_fill(struct random_stream *s, uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (!s->left--) {
			s->word = random_next(&s->state);
			s->left = 7;
		}
		bytes[i] = (uint8_t)s->word;
		s->word >>= 8;
	}
	s->position += len;
}

static inline void stream_check(struct random_stream *s, const uint8_t *bytes, size_t len)
{
	static uint8_t expected[65536];

	while (len) {
		size_t part = len < sizeof(expected) ? len : sizeof(expected);

		stream_fill(s, expected, part);
		assert_memory_equal(bytes, expected, part);
		bytes += part;
		len -= part;
	}
}

#define RANDOM_STREAM ((struct random_stream){ .state = 0x2545f4914f6cdd1d })

#endif /* CVMM_TEST_CONSOLE_UTIL_H */
