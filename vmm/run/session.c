// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../guest/protocol.h"
#include "session.h"

#define SEND_BUFFER_BYTES 4096
#define ENDS_BYTES (3 * (sizeof(struct cvmm_guest_frame) + sizeof(struct cvmm_guest_stream_end)))
#define RECEIVE_BUFFER_BYTES (sizeof(struct cvmm_guest_frame) + CVMM_GUEST_FRAME_PAYLOAD_MAX)

struct cvmm_session {
	struct cvmm_loop *loop;
	struct cvmm_source *source;
	struct cvmm_session_events events;
	int fd;
	enum {
		EXPECT_HELLO,
		EXPECT_STARTED,
		EXPECT_EXIT,
	} state;
	bool over; /* an exit or a failure was reported: nothing more is read */
	bool gone; /* the connection ended */
	size_t received;
	size_t to_send;
	char receive_buffer[RECEIVE_BUFFER_BYTES];
	char send_buffer[SEND_BUFFER_BYTES];
};

static void fail(struct cvmm_session *s, const char *message)
{
	if (s->over)
		return;
	s->over = true;
	s->events.failed(s->events.ctx, message);
}

static void update_events(struct cvmm_session *s)
{
	unsigned int events = 0;

	if (!s->over && !s->gone)
		events |= CVMM_EVENT_READ;
	if (s->to_send && !s->gone)
		events |= CVMM_EVENT_WRITE;
	cvmm_source_set_events(s->source, events);
}

static void flush(struct cvmm_session *s)
{
	while (s->to_send) {
		ssize_t n = send(s->fd, s->send_buffer, s->to_send, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			s->to_send = 0; /* the guest is gone: what it said last may still be read */
			break;
		}
		if (n <= 0)
			break;
		s->to_send -= (size_t)n;
		memmove(s->send_buffer, s->send_buffer + n, s->to_send);
	}
	update_events(s);
}

static void send_frame(struct cvmm_session *s, uint32_t type, const void *payload, size_t len)
{
	struct cvmm_guest_frame frame = { type, (uint32_t)len };

	size_t room = sizeof(s->send_buffer) - s->to_send;

	/*
	 * A guest that is stuck does not read. Window sizes and signals may be dropped then, and
	 * must leave room for the ends of streams, of which a session has three.
	 */
	if (type == CVMM_GUEST_WINDOW || type == CVMM_GUEST_SIGNAL)
		room = room > ENDS_BYTES ? room - ENDS_BYTES : 0;
	if (s->gone || sizeof(frame) + len > room)
		return;
	memcpy(s->send_buffer + s->to_send, &frame, sizeof(frame));
	memcpy(s->send_buffer + s->to_send + sizeof(frame), payload, len);
	s->to_send += sizeof(frame) + len;
	flush(s);
}

void cvmm_session_input_end(struct cvmm_session *s, uint64_t total_bytes)
{
	struct cvmm_guest_stream_end end = { total_bytes };

	send_frame(s, CVMM_GUEST_INPUT_END, &end, sizeof(end));
}

void cvmm_session_output_gone(struct cvmm_session *s, unsigned int port)
{
	struct cvmm_guest_output_gone gone = { port };

	send_frame(s, CVMM_GUEST_OUTPUT_GONE, &gone, sizeof(gone));
}

void cvmm_session_window(struct cvmm_session *s, uint16_t rows, uint16_t cols)
{
	struct cvmm_guest_window window = { rows, cols };

	send_frame(s, CVMM_GUEST_WINDOW, &window, sizeof(window));
}

void cvmm_session_signal(struct cvmm_session *s, int number)
{
	struct cvmm_guest_signal signal = { (uint32_t)number };

	send_frame(s, CVMM_GUEST_SIGNAL, &signal, sizeof(signal));
}

/* The guest is hostile: lengths are checked, text is made printable, and only the first end counts. */
static void handle_error(struct cvmm_session *s, const char *payload, size_t len)
{
	char text[CVMM_GUEST_FRAME_PAYLOAD_MAX + 1];

	for (size_t i = 0; i < len; i++)
		text[i] = payload[i] >= ' ' && payload[i] < 127 ? payload[i] : '?';
	text[len] = 0;
	fail(s, len ? text : "the guest failed and did not say why");
}

static void handle_exit(struct cvmm_session *s, const char *payload, size_t len)
{
	struct cvmm_guest_exit exit_frame;

	if (len != sizeof(exit_frame)) {
		fail(s, "the guest sent a malformed exit status");
		return;
	}
	memcpy(&exit_frame, payload, sizeof(exit_frame));
	s->over = true;
	s->events.exited(s->events.ctx, exit_frame.status & 0xff, exit_frame.stdout_bytes,
			 exit_frame.stderr_bytes);
}

static void handle_hello(struct cvmm_session *s, const char *payload, size_t len)
{
	struct cvmm_guest_hello hello;
	char text[128];

	if (len != sizeof(hello)) {
		fail(s, "the guest sent a malformed greeting");
		return;
	}
	memcpy(&hello, payload, sizeof(hello));
	if (hello.version != CVMM_GUEST_PROTOCOL_VERSION) {
		snprintf(text, sizeof(text), "the guest's init speaks protocol %u, this program %d",
			 hello.version, CVMM_GUEST_PROTOCOL_VERSION);
		fail(s, text);
		return;
	}
	s->state = EXPECT_STARTED;
	s->events.hello(s->events.ctx);
}

static void handle_started(struct cvmm_session *s, size_t len)
{
	if (len) {
		fail(s, "the guest sent a malformed start");
		return;
	}
	s->state = EXPECT_EXIT;
	s->events.started(s->events.ctx);
}

/* Hello, started, exit, each once; an error comes at any time. */
static bool is_in_order(const struct cvmm_session *s, uint32_t type)
{
	switch (type) {
	case CVMM_GUEST_HELLO:
		return s->state == EXPECT_HELLO;
	case CVMM_GUEST_STARTED:
		return s->state == EXPECT_STARTED;
	case CVMM_GUEST_EXIT:
		return s->state == EXPECT_EXIT;
	default:
		return true;
	}
}

static void handle_frame(struct cvmm_session *s, uint32_t type, const char *payload, size_t len)
{
	if (!is_in_order(s, type)) {
		fail(s, "the guest sent its frames out of order on the control port");
		return;
	}
	switch (type) {
	case CVMM_GUEST_HELLO:
		handle_hello(s, payload, len);
		break;
	case CVMM_GUEST_STARTED:
		handle_started(s, len);
		break;
	case CVMM_GUEST_EXIT:
		handle_exit(s, payload, len);
		break;
	case CVMM_GUEST_ERROR:
		handle_error(s, payload, len);
		break;
	default:
		fail(s, "the guest sent an unknown frame on the control port");
	}
}

static void handle_received(struct cvmm_session *s)
{
	struct cvmm_guest_frame frame;

	while (s->received >= sizeof(frame) && !s->over) {
		size_t total;

		memcpy(&frame, s->receive_buffer, sizeof(frame));
		if (frame.len_bytes > CVMM_GUEST_FRAME_PAYLOAD_MAX) {
			fail(s, "the guest sent a frame that is too long on the control port");
			return;
		}
		total = sizeof(frame) + frame.len_bytes;
		if (s->received < total)
			return;
		handle_frame(s, frame.type, s->receive_buffer + sizeof(frame), frame.len_bytes);
		s->received -= total;
		memmove(s->receive_buffer, s->receive_buffer + total, s->received);
	}
}

static void on_control(void *ctx, int fd, unsigned int events)
{
	struct cvmm_session *s = ctx;
	ssize_t n;

	if (events & CVMM_EVENT_WRITE)
		flush(s);
	if (s->over)
		return;
	n = recv(fd, s->receive_buffer + s->received, sizeof(s->receive_buffer) - s->received,
		 MSG_DONTWAIT);
	if (n > 0) {
		s->received += (size_t)n;
		handle_received(s);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		s->gone = true;
		fail(s, "the connection to the guest's control port ended");
	}
	update_events(s);
}

int cvmm_session_create(struct cvmm_loop *loop, int control_fd,
			const struct cvmm_session_events *events, struct cvmm_session **ret_session)
{
	struct cvmm_session *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return -ENOMEM;
	s->loop = loop;
	s->fd = control_fd;
	s->events = *events;
	ret = cvmm_loop_add_fd(loop, control_fd, CVMM_EVENT_READ, on_control, s, &s->source);
	if (ret) {
		free(s);
		return ret;
	}
	*ret_session = s;
	return 0;
}

void cvmm_session_destroy(struct cvmm_session *s)
{
	if (!s)
		return;
	cvmm_source_remove(s->source);
	free(s);
}
