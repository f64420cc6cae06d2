// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Saving and loading the state of a device. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "conf.h"

#define SPEC_FD "vhost-user, VHOST_USER_SET_DEVICE_STATE_FD"
#define SPEC_CHECK "vhost-user, VHOST_USER_CHECK_DEVICE_STATE"
#define SPEC_STATE "vhost-user, Migrating back-end state"
#define STATE CVMM_VHOST_USER_PROTOCOL(DEVICE_STATE)

#define STATE_BYTES_MAX 65536U
#define SAVE CVMM_VHOST_USER_TRANSFER_SAVE
#define LOAD CVMM_VHOST_USER_TRANSFER_LOAD
#define ERROR_MASK 0xffU

/* Return: the answer. */
static uint64_t set_fd(struct conf *t, uint32_t direction, uint32_t phase, int fd)
{
	struct cvmm_vhost_user_transfer transfer = { direction, phase };

	conf_send(t, CVMM_VHOST_USER_SET_DEVICE_STATE_FD, 0, &transfer, sizeof(transfer), &fd, 1);
	if (conf_receive_answer(t, CVMM_VHOST_USER_SET_DEVICE_STATE_FD) != CONF_ANSWERED)
		conf_fail(t, "SET_DEVICE_STATE_FD is not answered");
	return conf_answer_u64(t);
}

/* Begin a transfer. Return: our end of it, be it of our pipe or what the back-end prefers. */
static int begin(struct conf *t, uint32_t direction)
{
	int ends[2], ours, theirs;
	uint64_t answer;

	conf_pipe(t, &ends[0], &ends[1]);
	ours = direction == SAVE ? ends[0] : ends[1];
	theirs = direction == SAVE ? ends[1] : ends[0];
	answer = set_fd(t, direction, CVMM_VHOST_USER_TRANSFER_STOPPED, theirs);
	if (answer & ERROR_MASK)
		conf_fail(t, "the transfer was refused with %llu",
			  (unsigned long long)(answer & ERROR_MASK));
	conf_drop(t, theirs);
	if (answer & CVMM_VHOST_USER_STATE_NO_FD) {
		if (t->msg->fd_count)
			conf_fail(t, "a descriptor came with an answer that says there is none");
		return ours;
	}
	if (t->msg->fd_count != 1)
		conf_fail(t, "%u descriptors came with an answer that says there is one",
			  t->msg->fd_count);
	conf_drop(t, ours);
	return conf_own(t, cvmm_vhost_user_msg_take_fd(t->msg, 0));
}

static void must_check(struct conf *t, const char *what)
{
	if (conf_ask_u64(t, CVMM_VHOST_USER_CHECK_DEVICE_STATE))
		conf_fail(t, "CHECK_DEVICE_STATE says that %s failed", what);
}

/* Read to the end. Return: bytes. */
static size_t read_all(struct conf *t, int fd, uint8_t *dst, size_t size)
{
	uint64_t deadline = cvmm_clock_ns() + t->options->timeout_ms * CVMM_NS_PER_MS;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t len = 0;

	for (;;) {
		ssize_t n;

		if (poll(&p, 1, 10) == 0 && cvmm_clock_ns() >= deadline)
			conf_fail(t, "the state does not come to its end; %zu bytes came", len);
		if (len == size)
			conf_skip(t, "the state has more than %zu bytes", size);
		n = read(fd, dst + len, size - len);
		if (n == 0)
			return len;
		if (n > 0)
			len += (size_t)n;
		else if (errno != EAGAIN && errno != EINTR)
			conf_fail(t, "the suite cannot read the state: %s", strerror(errno));
	}
}

static void write_all(struct conf *t, int fd, const uint8_t *src, size_t len)
{
	uint64_t deadline = cvmm_clock_ns() + t->options->timeout_ms * CVMM_NS_PER_MS;
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	while (len) {
		ssize_t n = write(fd, src, len);

		if (n > 0) {
			src += n;
			len -= (size_t)n;
		} else if (errno == EPIPE) {
			return; /* who does not want to read on has found something */
		} else if (errno != EAGAIN && errno != EINTR) {
			conf_fail(t, "the suite cannot write the state: %s", strerror(errno));
		}
		if (len && poll(&p, 1, 10) == 0 && cvmm_clock_ns() >= deadline)
			conf_fail(t, "the state is not read: %zu bytes are left", len);
	}
}

/* An idle device is wanted: a request first, where one is known, and all queues stopped. */
static void run_and_stop(struct conf *t)
{
	if (!t->device)
		return;
	conf_queues_start(t, true);
	conf_one_request(t, 0);
	for (unsigned int i = 0; i < t->device->queue_count; i++)
		conf_queue_stop(t, &t->queues[i]);
}

static size_t save(struct conf *t, uint8_t *bytes, size_t size)
{
	int fd = begin(t, SAVE);
	size_t len = read_all(t, fd, bytes, size);

	conf_drop(t, fd);
	must_check(t, "saving");
	return len;
}

static void saves(struct conf *t)
{
	static uint8_t bytes[STATE_BYTES_MAX];

	run_and_stop(t);
	conf_note(t, "%zu bytes of state", save(t, bytes, sizeof(bytes)));
}

static void loads(struct conf *t)
{
	static uint8_t bytes[STATE_BYTES_MAX];
	size_t len;
	int fd;

	run_and_stop(t);
	len = save(t, bytes, sizeof(bytes));
	conf_reopen(t, CONF_SHARED);
	fd = begin(t, LOAD);
	write_all(t, fd, bytes, len);
	conf_drop(t, fd);
	must_check(t, "loading what was saved");
	if (t->device) {
		conf_queues_start(t, true);
		conf_one_request(t, 0);
	}
}

static void goes_on_after_saving(struct conf *t)
{
	static uint8_t bytes[STATE_BYTES_MAX];

	run_and_stop(t);
	save(t, bytes, sizeof(bytes));
	for (unsigned int i = 0; i < t->device->queue_count; i++) {
		t->queues[i].base = conf_queue_position(&t->queues[i]);
		conf_queue_set_up(t, &t->queues[i]);
	}
	conf_queues_enable(t, true);
	conf_one_request(t, 1);
}

static void load_bytes(struct conf *t, const uint8_t *bytes, size_t len, const char *what)
{
	int fd = begin(t, LOAD);
	uint64_t error = 0;

	write_all(t, fd, bytes, len);
	conf_drop(t, fd);
	conf_send(t, CVMM_VHOST_USER_CHECK_DEVICE_STATE, 0, NULL, 0, NULL, 0);
	switch (conf_receive_answer(t, CVMM_VHOST_USER_CHECK_DEVICE_STATE)) {
	case CONF_ANSWERED:
		error = conf_answer_u64(t);
		break;
	case CONF_SILENT:
		conf_fail(t, "CHECK_DEVICE_STATE is not answered after %s", what);
	default:
		conf_note(t, "the connection is closed after %s", what);
		return;
	}
	if (!error)
		conf_fail(t, "CHECK_DEVICE_STATE says that %s was loaded", what);
}

static void garbage(struct conf *t)
{
	static uint8_t bytes[4096];

	memset(bytes, 0xdb, sizeof(bytes));
	load_bytes(t, bytes, sizeof(bytes), "garbage");
}

static void truncated(struct conf *t)
{
	static uint8_t bytes[STATE_BYTES_MAX];
	size_t len;

	run_and_stop(t);
	len = save(t, bytes, sizeof(bytes));
	if (len < 2)
		conf_skip(t, "the state has %zu bytes", len);
	conf_reopen(t, CONF_SHARED);
	load_bytes(t, bytes, len / 2, "half a state");
}

static void huge(struct conf *t)
{
	static const uint8_t zeroes[65536];
	int fd = begin(t, LOAD);

	/* More than any device has. Who stops reading has had enough. */
	for (unsigned int i = 0; i < 64; i++)
		write_all(t, fd, zeroes, sizeof(zeroes));
	conf_drop(t, fd);
	conf_send(t, CVMM_VHOST_USER_CHECK_DEVICE_STATE, 0, NULL, 0, NULL, 0);
	if (conf_receive(t, t->options->timeout_ms) == CONF_SILENT)
		conf_fail(t, "CHECK_DEVICE_STATE is not answered after 4 MiB of zeroes");
	conf_recovers(t);
}

static void odd_parameters(struct conf *t)
{
	static const uint32_t cases[][2] = { { 2, 0 }, { UINT32_MAX, 0 }, { SAVE, 1 } };

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(cases); i++) {
		struct cvmm_vhost_user_transfer transfer = { cases[i][0], cases[i][1] };
		int fds[2];
		uint64_t answer;

		if (i)
			conf_reopen(t, CONF_SHARED);
		conf_pipe(t, &fds[0], &fds[1]);
		conf_send(t, CVMM_VHOST_USER_SET_DEVICE_STATE_FD, 0, &transfer, sizeof(transfer),
			  &fds[1], 1);
		switch (conf_receive_answer(t, CVMM_VHOST_USER_SET_DEVICE_STATE_FD)) {
		case CONF_ANSWERED:
			break;
		case CONF_SILENT:
			conf_fail(t, "direction %u in phase %u is not answered", cases[i][0],
				  cases[i][1]);
		default:
			conf_note(t, "direction %u in phase %u closes the connection", cases[i][0],
				  cases[i][1]);
			continue;
		}
		answer = conf_answer_u64(t);
		if (!(answer & ERROR_MASK))
			conf_fail(t, "direction %u in phase %u is accepted", cases[i][0],
				  cases[i][1]);
		if (t->msg->fd_count || !(answer & CVMM_VHOST_USER_STATE_NO_FD))
			conf_fail(t, "an error comes with a descriptor, or says so");
	}
}

static void nobody_reads(struct conf *t)
{
	int read_end, write_end;

	conf_pipe(t, &read_end, &write_end);
	conf_drop(t, read_end);
	set_fd(t, SAVE, CVMM_VHOST_USER_TRANSFER_STOPPED, write_end);
	conf_drop(t, write_end);
	conf_send(t, CVMM_VHOST_USER_CHECK_DEVICE_STATE, 0, NULL, 0, NULL, 0);
	conf_receive(t, t->options->timeout_ms);
	conf_recovers(t);
}

static void check_without_transfer(struct conf *t)
{
	conf_ask_u64(t, CVMM_VHOST_USER_CHECK_DEVICE_STATE);
}

static void while_running(struct conf *t)
{
	int read_end, write_end;
	uint64_t answer;

	conf_pipe(t, &read_end, &write_end);
	answer = set_fd(t, SAVE, CVMM_VHOST_USER_TRANSFER_STOPPED, write_end);
	if (!(answer & ERROR_MASK))
		conf_fail(t, "saving is accepted while queues run");
}

static const struct conf_test tests[] = {
	{ "save", "The state of an idle device can be saved", SPEC_STATE, CONF_MUST, CONF_SHARED,
	  .protocol = STATE, .run = saves },
	{ "load", "What was saved can be loaded", SPEC_STATE, CONF_MUST, CONF_SHARED,
	  .protocol = STATE, .run = loads },
	{ "goes-on", "A device goes on after it was saved", SPEC_STATE, CONF_MUST, CONF_SHARED,
	  CONF_NEEDS_DEVICE, .protocol = STATE, .run = goes_on_after_saving },
	{ "garbage", "Garbage is not loaded", SPEC_CHECK, CONF_SHOULD, CONF_SHARED,
	  .protocol = STATE, .run = garbage },
	{ "truncated", "Half a state is not loaded", SPEC_CHECK, CONF_SHOULD, CONF_SHARED,
	  .protocol = STATE, .run = truncated },
	{ "huge", "A state that is far too long harms no later connection", SPEC_CHECK, CONF_MUST,
	  CONF_SHARED, .protocol = STATE, .run = huge },
	{ "parameters", "Unknown directions and phases are refused", SPEC_FD, CONF_SHOULD,
	  CONF_SHARED, .protocol = STATE, .run = odd_parameters },
	{ "nobody-reads", "A state that nobody reads harms no later connection", SPEC_FD, CONF_MUST,
	  CONF_SHARED, .protocol = STATE, .run = nobody_reads },
	{ "check-alone", "CHECK_DEVICE_STATE is answered without a transfer", SPEC_CHECK,
	  CONF_SHOULD, CONF_SHARED, .protocol = STATE, .run = check_without_transfer },
	{ "while-running", "Saving while queues run is refused", SPEC_FD, CONF_OPTIONAL,
	  CONF_RUNNING, .protocol = STATE, .run = while_running },
};

const struct conf_group conf_state = { "state", tests, CVMM_ARRAY_SIZE(tests) };
