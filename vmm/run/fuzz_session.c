// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The guest's control frames, in pieces. The first byte of the input says how long pieces are, and what the
 * host says in between; the rest is what the guest sends.
 */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../guest/protocol.h"
#include "session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROUNDS_MAX 10000

struct seen {
	int starts, ends;
};

static void on_hello(void *ctx)
{
	CVMM_BUG_ON(((struct seen *)ctx)->ends);
}

static void on_started(void *ctx)
{
	struct seen *seen = ctx;

	CVMM_BUG_ON(seen->ends || seen->starts++);
}

static void on_exited(void *ctx, unsigned int status, uint64_t stdout_bytes, uint64_t stderr_bytes)
{
	struct seen *seen = ctx;

	(void)stdout_bytes;
	(void)stderr_bytes;
	CVMM_BUG_ON(status > 255 || !seen->starts || seen->ends++);
}

static void on_failed(void *ctx, const char *message)
{
	CVMM_BUG_ON(((struct seen *)ctx)->ends++);
	CVMM_BUG_ON(!*message || strlen(message) > CVMM_GUEST_FRAME_PAYLOAD_MAX);
	for (; *message; message++)
		CVMM_BUG_ON(*message < ' ' || *message > '~');
}

static void settle(struct cvmm_loop *loop)
{
	int rounds = 0;

	while (cvmm_loop_run_once(loop, 0) > 0)
		CVMM_BUG_ON(++rounds > ROUNDS_MAX); /* it spins */
}

static void speak(struct cvmm_session *session, unsigned int what)
{
	if (what & 1)
		cvmm_session_window(session, 24, 80);
	if (what & 2)
		cvmm_session_input_end(session, 1);
	if (what & 4)
		cvmm_session_signal(session, 15);
}

static void converse(struct cvmm_loop *loop, struct cvmm_session *session, int guest,
		     const uint8_t *data, size_t size)
{
	size_t piece = (size_t)1 << (*data & 15);
	unsigned int said = *data >> 4;

	for (size_t at = 1; at < size;) {
		size_t len = piece < size - at ? piece : size - at;
		ssize_t n = send(guest, data + at, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n <= 0)
			break; /* the session is over and reads no more */
		at += (size_t)n;
		speak(session, said);
		settle(loop);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen seen = { 0 };
	const struct cvmm_session_events events = { on_hello, on_started, on_exited, on_failed,
						    &seen };
	struct cvmm_session *session;
	struct cvmm_loop *loop;
	int fds[2];

	if (!size)
		return 0;
	CVMM_BUG_ON(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
	CVMM_BUG_ON(cvmm_loop_create(CVMM_LOOP_AUTO, &loop));
	CVMM_BUG_ON(cvmm_session_create(loop, fds[0], &events, &session));
	converse(loop, session, fds[1], data, size);
	close(fds[1]);
	settle(loop);
	CVMM_BUG_ON(seen.ends != 1); /* a connection that ends is an end */
	cvmm_session_destroy(session);
	cvmm_loop_destroy(loop);
	close(fds[0]);
	return 0;
}
