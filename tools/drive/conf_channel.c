// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The back-end channel. */
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf.h"

#define SPEC_FD "vhost-user, VHOST_USER_SET_BACKEND_REQ_FD"
#define SPEC_CHANNEL "vhost-user, Back-end communication"
#define SPEC_SUSPENDED "vhost-user, Suspended device state"
#define CHANNEL CVMM_VHOST_USER_PROTOCOL(BACKEND_REQ)

static enum conf_verdict set(struct conf *t, const int *fds, size_t count)
{
	return conf_try(t, CVMM_VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, fds, count);
}

/* A channel whose other end is the back-end's alone. Return: ours. */
static int open_channel(struct conf *t)
{
	int ours, theirs;

	conf_socketpair(t, &ours, &theirs);
	conf_accepted(t, set(t, &theirs, 1), "SET_BACKEND_REQ_FD");
	conf_drop(t, theirs);
	return ours;
}

static void is_accepted(struct conf *t)
{
	open_channel(t);
}

static void without_fd(struct conf *t)
{
	conf_refused(t, set(t, NULL, 0), "SET_BACKEND_REQ_FD without a descriptor");
}

static void with_two(struct conf *t)
{
	int fds[2];

	conf_socketpair(t, &fds[0], &fds[1]);
	conf_refused(t, set(t, fds, 2), "SET_BACKEND_REQ_FD with two descriptors");
}

static void no_socket(struct conf *t)
{
	int a, b;

	conf_pipe(t, &a, &b);
	conf_refused(t, set(t, &b, 1), "SET_BACKEND_REQ_FD with a pipe");
}

static void silent_while_suspended(struct conf *t)
{
	struct pollfd p = { .fd = open_channel(t), .events = POLLIN };

	if (poll(&p, 1, (int)t->options->quiet_ms) == 1)
		conf_fail(t, "a message came while no queue runs");
}

static void works_with_channel(struct conf *t)
{
	open_channel(t);
	conf_queues_start(t, true);
	for (unsigned int i = 0; i < 3; i++)
		conf_one_request(t, i);
}

static void front_end_closes(struct conf *t)
{
	int ours = open_channel(t);

	conf_drop(t, ours);
	conf_must_be_alive(t, "the back-end channel was closed");
	conf_queues_start(t, true);
	conf_one_request(t, 0);
}

/* Answers that nobody asked for, and what is no message at all. */
static void garbage(struct conf *t)
{
	static const uint8_t bytes[200] = { 0xff, 0xff, 0xff, 0xff, 5, 0, 0, 0, 0xff, 0xff, 0xff };
	int ours = open_channel(t);

	(void)!send(ours, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT);
	conf_queues_start(t, true);
	conf_sleep_ms(20);
	conf_recovers(t);
}

static void replaced(struct conf *t)
{
	int first = open_channel(t);

	open_channel(t);
	if (!conf_other_end_is_closed(first))
		conf_fail(t, "the channel that was replaced stays open");
}

static void ends_with_the_connection(struct conf *t)
{
	int ours = open_channel(t);

	conf_close(t);
	if (!conf_other_end_is_closed(ours))
		conf_fail(t, "the channel is open after the connection ended");
}

static const struct conf_test tests[] = {
	{ "accepted", "SET_BACKEND_REQ_FD is accepted", SPEC_FD, CONF_MUST, CONF_NEGOTIATED,
	  .protocol = CHANNEL, .run = is_accepted },
	{ "without-fd", "SET_BACKEND_REQ_FD without a descriptor is refused", SPEC_FD, CONF_SHOULD,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .protocol = CHANNEL, .run = without_fd },
	{ "two-fds", "SET_BACKEND_REQ_FD with two descriptors is refused", SPEC_FD, CONF_SHOULD,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .protocol = CHANNEL, .run = with_two },
	{ "no-socket", "SET_BACKEND_REQ_FD with what is no socket is refused", SPEC_FD,
	  CONF_OPTIONAL, CONF_NEGOTIATED, CONF_NEEDS_ACK, .protocol = CHANNEL, .run = no_socket },
	{ "suspended", "Nothing comes over the channel while no queue runs", SPEC_SUSPENDED,
	  CONF_MUST, CONF_SHARED, .protocol = CHANNEL, .run = silent_while_suspended },
	{ "works", "Requests are done with a channel", SPEC_CHANNEL, CONF_MUST, CONF_SHARED,
	  CONF_NEEDS_DEVICE, .protocol = CHANNEL, .run = works_with_channel },
	{ "closed", "A channel that the front-end closes harms nobody", SPEC_CHANNEL, CONF_MUST,
	  CONF_SHARED, CONF_NEEDS_DEVICE, .protocol = CHANNEL, .run = front_end_closes },
	{ "garbage", "Garbage on the channel harms no later connection", SPEC_CHANNEL, CONF_MUST,
	  CONF_SHARED, CONF_NEEDS_DEVICE, .protocol = CHANNEL, .run = garbage },
	{ "replaced", "A channel that is replaced is closed", SPEC_FD, CONF_SHOULD, CONF_NEGOTIATED,
	  .protocol = CHANNEL, .run = replaced },
	{ "ends", "The channel is closed with its connection", SPEC_CHANNEL, CONF_SHOULD,
	  CONF_NEGOTIATED, .protocol = CHANNEL, .run = ends_with_the_connection },
};

const struct conf_group conf_channel = { "channel", tests, CVMM_ARRAY_SIZE(tests) };
