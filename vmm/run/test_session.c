// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <sys/socket.h>

#include "../guest/protocol.h"
#include "session.h"
#include "test_run.h"

/* A session, the guest's end of its connection, and what its owner was told. */
struct fixture {
	struct cvmm_loop *loop;
	struct cvmm_session *session;
	int ours, guest;
	int hellos, starts, exits, failures;
	unsigned int status;
	uint64_t stdout_bytes, stderr_bytes;
	char message[2048];
};

static void on_hello(void *ctx)
{
	((struct fixture *)ctx)->hellos++;
}

static void on_started(void *ctx)
{
	((struct fixture *)ctx)->starts++;
}

static void on_exited(void *ctx, unsigned int status, uint64_t stdout_bytes, uint64_t stderr_bytes)
{
	struct fixture *f = ctx;

	f->exits++;
	f->status = status;
	f->stdout_bytes = stdout_bytes;
	f->stderr_bytes = stderr_bytes;
}

static void on_failed(void *ctx, const char *message)
{
	struct fixture *f = ctx;

	f->failures++;
	snprintf(f->message, sizeof(f->message), "%s", message);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct cvmm_session_events events = { on_hello, on_started, on_exited, on_failed, f };
	int fds[2];

	if (!f || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds))
		return -1;
	f->ours = fds[0];
	f->guest = fds[1];
	*state = f;
	if (cvmm_loop_create(CVMM_LOOP_AUTO, &f->loop))
		return -1;
	return cvmm_session_create(f->loop, f->ours, &events, &f->session);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	cvmm_session_destroy(f->session);
	cvmm_loop_destroy(f->loop);
	cvmm_close_fd(&f->ours);
	cvmm_close_fd(&f->guest);
	free(f);
	return 0;
}

/* Runs the loop until it has nothing to do. */
static void settle(struct fixture *f)
{
	int rounds = 0;

	while (cvmm_loop_run_once(f->loop, 0) > 0)
		assert_true(++rounds < 10000); /* else it spins */
}

static size_t make_frame(char *buf, uint32_t type, const void *payload, uint32_t len)
{
	const struct cvmm_guest_frame frame = { type, len };

	memcpy(buf, &frame, sizeof(frame));
	if (len)
		memcpy(buf + sizeof(frame), payload, len);
	return sizeof(frame) + len;
}

static void guest_sends(struct fixture *f, uint32_t type, const void *payload, size_t len)
{
	char buf[2048];
	size_t total = make_frame(buf, type, payload, (uint32_t)len);

	assert_int_equal(write(f->guest, buf, total), total);
}

static void guest_greets(struct fixture *f)
{
	const struct cvmm_guest_hello hello = { CVMM_GUEST_PROTOCOL_VERSION, 0 };

	guest_sends(f, CVMM_GUEST_HELLO, &hello, sizeof(hello));
}

static void guest_exits(struct fixture *f, uint32_t status)
{
	const struct cvmm_guest_exit payload = { status, 0, UINT64_C(1) << 40, 7 };

	guest_sends(f, CVMM_GUEST_EXIT, &payload, sizeof(payload));
}

static void expect_failure(struct fixture *f, const char *message)
{
	settle(f);
	assert_int_equal(f->failures, 1);
	assert_int_equal(f->exits, 0);
	if (!strstr(f->message, message))
		fail_msg("the message is \"%s\", not \"%s\"", f->message, message);
}

/* ---- what a good guest does ---------------------------------------------------------------------- */

static void a_whole_session_is_reported(void **state)
{
	struct fixture *f = *state;

	guest_greets(f);
	settle(f);
	assert_int_equal(f->hellos, 1);
	assert_int_equal(f->starts, 0);
	guest_sends(f, CVMM_GUEST_STARTED, NULL, 0);
	settle(f);
	assert_int_equal(f->starts, 1);
	guest_exits(f, 42);
	settle(f);
	assert_int_equal(f->exits, 1);
	assert_int_equal(f->status, 42);
	assert_true(f->stdout_bytes == UINT64_C(1) << 40);
	assert_int_equal(f->stderr_bytes, 7);
	assert_int_equal(f->failures, 0);
}

static void frames_may_arrive_byte_by_byte(void **state)
{
	const struct cvmm_guest_hello hello = { CVMM_GUEST_PROTOCOL_VERSION, 0 };
	const struct cvmm_guest_exit payload = { 3, 0, 1, 2 };
	struct fixture *f = *state;
	char bytes[256];
	size_t len;

	len = make_frame(bytes, CVMM_GUEST_HELLO, &hello, sizeof(hello));
	len += make_frame(bytes + len, CVMM_GUEST_STARTED, NULL, 0);
	len += make_frame(bytes + len, CVMM_GUEST_EXIT, &payload, sizeof(payload));
	for (size_t i = 0; i < len; i++) {
		assert_int_equal(f->exits, 0);
		assert_int_equal(write(f->guest, bytes + i, 1), 1);
		settle(f);
	}
	assert_int_equal(f->hellos, 1);
	assert_int_equal(f->starts, 1);
	assert_int_equal(f->exits, 1);
	assert_int_equal(f->status, 3);
}

static void frames_may_arrive_all_at_once(void **state)
{
	struct fixture *f = *state;

	guest_greets(f);
	guest_sends(f, CVMM_GUEST_STARTED, NULL, 0);
	guest_exits(f, 0);
	settle(f);
	assert_int_equal(f->exits, 1);
	assert_int_equal(f->status, 0);
}

static void an_error_is_told_with_its_reason(void **state)
{
	struct fixture *f = *state;

	guest_greets(f);
	guest_sends(f, CVMM_GUEST_ERROR, "no such command", 15);
	expect_failure(f, "no such command");
}

static void an_error_may_precede_the_greeting(void **state)
{
	guest_sends(*state, CVMM_GUEST_ERROR, "no port", 7);
	expect_failure(*state, "no port");
}

static void what_the_host_says_arrives_in_order(void **state)
{
	const struct cvmm_guest_window window = { 24, 80 };
	const struct cvmm_guest_signal signal = { 15 };
	const struct cvmm_guest_stream_end end = { UINT64_C(1) << 33 };
	const struct cvmm_guest_output_gone gone = { CVMM_GUEST_PORT_STDERR };
	struct fixture *f = *state;
	char wanted[256], got[256];
	size_t len;

	cvmm_session_window(f->session, 24, 80);
	cvmm_session_signal(f->session, 15);
	cvmm_session_input_end(f->session, UINT64_C(1) << 33);
	cvmm_session_output_gone(f->session, CVMM_GUEST_PORT_STDERR);
	settle(f);
	len = make_frame(wanted, CVMM_GUEST_WINDOW, &window, sizeof(window));
	len += make_frame(wanted + len, CVMM_GUEST_SIGNAL, &signal, sizeof(signal));
	len += make_frame(wanted + len, CVMM_GUEST_INPUT_END, &end, sizeof(end));
	len += make_frame(wanted + len, CVMM_GUEST_OUTPUT_GONE, &gone, sizeof(gone));
	assert_int_equal(read(f->guest, got, sizeof(got)), len);
	assert_memory_equal(got, wanted, len);
}

/* ---- what a bad guest does ----------------------------------------------------------------------- */

static void a_frame_that_is_too_long_is_refused(void **state)
{
	const struct cvmm_guest_frame frame = { CVMM_GUEST_ERROR,
						CVMM_GUEST_FRAME_PAYLOAD_MAX + 1 };
	struct fixture *f = *state;

	guest_greets(f);
	assert_int_equal(write(f->guest, &frame, sizeof(frame)), sizeof(frame));
	expect_failure(f, "too long");
}

static void a_length_cannot_wrap(void **state)
{
	const struct cvmm_guest_frame frame = { CVMM_GUEST_ERROR, UINT32_MAX };
	struct fixture *f = *state;

	assert_int_equal(write(f->guest, &frame, sizeof(frame)), sizeof(frame));
	expect_failure(f, "too long");
}

static void the_longest_frame_is_taken(void **state)
{
	char text[CVMM_GUEST_FRAME_PAYLOAD_MAX];
	struct fixture *f = *state;

	memset(text, 'x', sizeof(text));
	guest_sends(f, CVMM_GUEST_ERROR, text, sizeof(text));
	expect_failure(f, "xxx");
	assert_int_equal(strlen(f->message), sizeof(text));
}

static void unknown_frames_are_refused(void **state)
{
	guest_greets(*state);
	guest_sends(*state, CVMM_GUEST_WINDOW, NULL, 0);
	expect_failure(*state, "unknown frame");
}

static void another_protocol_is_refused(void **state)
{
	const struct cvmm_guest_hello hello = { CVMM_GUEST_PROTOCOL_VERSION + 1, 0 };

	guest_sends(*state, CVMM_GUEST_HELLO, &hello, sizeof(hello));
	expect_failure(*state, "speaks protocol 2, this program 1");
	assert_int_equal(((struct fixture *)*state)->hellos, 0);
}

static void short_and_long_payloads_are_refused(void **state)
{
	static const struct {
		uint32_t type;
		size_t len;
		const char *message;
	} table[] = {
		{ CVMM_GUEST_HELLO, sizeof(struct cvmm_guest_hello) - 1, "malformed greeting" },
		{ CVMM_GUEST_HELLO, sizeof(struct cvmm_guest_hello) + 1, "malformed greeting" },
		{ CVMM_GUEST_STARTED, 1, "malformed start" },
		{ CVMM_GUEST_EXIT, sizeof(struct cvmm_guest_exit) - 1, "malformed exit" },
		{ CVMM_GUEST_EXIT, 0, "malformed exit" },
	};
	const char zeros[64] = { 0 };

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(table); i++) {
		if (table[i].type != CVMM_GUEST_HELLO)
			guest_greets(*state);
		if (table[i].type == CVMM_GUEST_EXIT)
			guest_sends(*state, CVMM_GUEST_STARTED, NULL, 0);
		guest_sends(*state, table[i].type, zeros, table[i].len);
		expect_failure(*state, table[i].message);
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
	}
}

static void frames_keep_their_order(void **state)
{
	static const uint32_t wrong[][3] = {
		{ CVMM_GUEST_STARTED },
		{ CVMM_GUEST_EXIT },
		{ CVMM_GUEST_HELLO, CVMM_GUEST_HELLO },
		{ CVMM_GUEST_HELLO, CVMM_GUEST_EXIT },
		{ CVMM_GUEST_HELLO, CVMM_GUEST_STARTED, CVMM_GUEST_STARTED },
		{ CVMM_GUEST_HELLO, CVMM_GUEST_STARTED, CVMM_GUEST_HELLO },
	};

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(wrong); i++) {
		for (int k = 0; k < 3 && wrong[i][k]; k++) {
			if (wrong[i][k] == CVMM_GUEST_HELLO)
				guest_greets(*state);
			else if (wrong[i][k] == CVMM_GUEST_EXIT)
				guest_exits(*state, 0);
			else
				guest_sends(*state, wrong[i][k], NULL, 0);
		}
		expect_failure(*state, "out of order");
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
	}
}

static void text_is_made_printable(void **state)
{
	guest_sends(*state, CVMM_GUEST_ERROR, "a\033[2J\n\0\xff", 8);
	expect_failure(*state, "a?[2J???");
}

static void an_error_without_a_reason_has_a_message(void **state)
{
	guest_sends(*state, CVMM_GUEST_ERROR, NULL, 0);
	expect_failure(*state, "did not say why");
}

static void a_status_is_one_byte(void **state)
{
	struct fixture *f = *state;

	guest_greets(f);
	guest_sends(f, CVMM_GUEST_STARTED, NULL, 0);
	guest_exits(f, 0xffffff07);
	settle(f);
	assert_int_equal(f->status, 7);
}

static void nothing_counts_after_the_end(void **state)
{
	struct fixture *f = *state;

	guest_greets(f);
	guest_sends(f, CVMM_GUEST_STARTED, NULL, 0);
	guest_exits(f, 1);
	guest_exits(f, 2);
	guest_sends(f, CVMM_GUEST_ERROR, "late", 4);
	settle(f);
	guest_exits(f, 3);
	settle(f);
	cvmm_close_fd(&f->guest);
	settle(f);
	assert_int_equal(f->exits, 1);
	assert_int_equal(f->status, 1);
	assert_int_equal(f->failures, 0);
}

static void the_host_may_speak_after_the_end(void **state)
{
	struct fixture *f = *state;
	char bytes[4096] = { 0 };

	guest_sends(f, CVMM_GUEST_ERROR, "x", 1);
	settle(f);
	assert_int_equal(write(f->guest, bytes, sizeof(bytes)), sizeof(bytes));
	for (int i = 0; i < 10; i++) {
		cvmm_session_input_end(f->session, 0);
		/* Its bytes stay unread: nobody wants them. */
		assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
	}
	cvmm_close_fd(&f->guest);
	cvmm_session_signal(f->session, 15);
	settle(f);
	assert_int_equal(f->failures, 1);
}

static void a_closed_connection_is_a_failure(void **state)
{
	struct fixture *f = *state;

	guest_greets(f);
	settle(f);
	cvmm_close_fd(&f->guest);
	expect_failure(f, "connection to the guest's control port ended");
	cvmm_session_input_end(f->session, 1);
	settle(f);
	assert_int_equal(f->failures, 1);
}

static void what_was_sent_before_closing_counts(void **state)
{
	struct fixture *f = *state;

	guest_greets(f);
	guest_sends(f, CVMM_GUEST_STARTED, NULL, 0);
	guest_exits(f, 5);
	cvmm_close_fd(&f->guest);
	cvmm_session_signal(f->session, 2); /* fails: nobody is there */
	settle(f);
	assert_int_equal(f->exits, 1);
	assert_int_equal(f->status, 5);
	assert_int_equal(f->failures, 0);
}

static void half_a_frame_before_closing_is_a_failure(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(write(f->guest, "\1\0\0", 3), 3);
	settle(f);
	cvmm_close_fd(&f->guest);
	expect_failure(f, "ended");
}

/* A guest that does not read: the session neither waits nor grows, and the ends of streams survive. */
static void windows_cannot_crowd_out_the_end_of_input(void **state)
{
	struct fixture *f = *state;
	struct cvmm_guest_frame frame;
	static char bytes[1 << 22];
	unsigned int ends = 0;
	size_t len = 0;
	ssize_t n;

	for (int i = 0; i < 100000; i++)
		cvmm_session_window(f->session, 24, 80);
	cvmm_session_input_end(f->session, 9);
	cvmm_session_output_gone(f->session, CVMM_GUEST_PORT_STDOUT);
	cvmm_session_output_gone(f->session, CVMM_GUEST_PORT_STDERR);
	settle(f);
	do {
		n = read(f->guest, bytes + len, sizeof(bytes) - len);
		len += n > 0 ? (size_t)n : 0;
		settle(f);
	} while (n > 0);
	for (size_t at = 0; at < len; at += sizeof(frame) + frame.len_bytes) {
		assert_true(len - at >= sizeof(frame));
		memcpy(&frame, bytes + at, sizeof(frame));
		assert_true(frame.type >= CVMM_GUEST_INPUT_END);
		assert_true(frame.len_bytes <= sizeof(struct cvmm_guest_stream_end));
		ends += frame.type != CVMM_GUEST_WINDOW;
	}
	assert_int_equal(ends, 3);
}

static void a_guest_that_floods_and_does_not_read_is_served(void **state)
{
	struct fixture *f = *state;
	char frames[1024] = { 0 };

	for (int i = 0; i < 50000; i++)
		cvmm_session_signal(f->session, 1);
	guest_greets(f);
	for (int i = 0; i < 1000; i++) {
		(void)!write(f->guest, frames, sizeof(frames));
		settle(f);
	}
	expect_failure(f, "unknown frame");
}

#define session_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		session_test(a_whole_session_is_reported),
		session_test(frames_may_arrive_byte_by_byte),
		session_test(frames_may_arrive_all_at_once),
		session_test(an_error_is_told_with_its_reason),
		session_test(an_error_may_precede_the_greeting),
		session_test(what_the_host_says_arrives_in_order),
		session_test(a_frame_that_is_too_long_is_refused),
		session_test(a_length_cannot_wrap),
		session_test(the_longest_frame_is_taken),
		session_test(unknown_frames_are_refused),
		session_test(another_protocol_is_refused),
		session_test(short_and_long_payloads_are_refused),
		session_test(frames_keep_their_order),
		session_test(text_is_made_printable),
		session_test(an_error_without_a_reason_has_a_message),
		session_test(a_status_is_one_byte),
		session_test(nothing_counts_after_the_end),
		session_test(the_host_may_speak_after_the_end),
		session_test(a_closed_connection_is_a_failure),
		session_test(what_was_sent_before_closing_counts),
		session_test(half_a_frame_before_closing_is_a_failure),
		session_test(windows_cannot_crowd_out_the_end_of_input),
		session_test(a_guest_that_floods_and_does_not_read_is_served),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
