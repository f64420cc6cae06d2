// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The poll back-end: any POSIX system.
 *
 * The array given to poll() is kept from call to call; each watch knows its slot, and the last slot
 * moves into the place of one that goes. Negative descriptors in it are skipped by poll(): that is
 * how a watch falls silent.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>

#include "event_internal.h"

#define FIRST_CAPACITY 16

struct poll_state {
	struct pollfd *fds;
	struct event_watch **watches; /* by the same index */
	size_t used;
	size_t capacity;
};

static int poll_open(struct cvmm_loop *loop)
{
	loop->backend = calloc(1, sizeof(struct poll_state));
	return loop->backend ? 0 : -ENOMEM;
}

static void poll_close(struct cvmm_loop *loop)
{
	struct poll_state *state = loop->backend;

	free(state->fds);
	free(state->watches);
	free(state);
}

static int make_room(struct poll_state *state)
{
	size_t capacity = state->capacity ? 2 * state->capacity : FIRST_CAPACITY;
	struct event_watch **watches;
	struct pollfd *fds;

	if (state->used < state->capacity)
		return 0;
	fds = reallocarray(state->fds, capacity, sizeof(*fds));
	if (!fds)
		return -ENOMEM;
	state->fds = fds;
	watches = reallocarray(state->watches, capacity, sizeof(*watches));
	if (!watches)
		return -ENOMEM;
	state->watches = watches;
	state->capacity = capacity;
	return 0;
}

static int poll_update(struct cvmm_loop *loop, struct event_watch *watch)
{
	struct poll_state *state = loop->backend;
	struct pollfd *slot;
	int ret;

	/* poll() would tell only later, in a way that epoll does not have. */
	if (watch->wanted != EVENT_SILENT && fcntl(watch->fd, F_GETFD) < 0)
		return -errno;
	if (watch->slot == EVENT_NO_SLOT) {
		ret = make_room(state);
		if (ret)
			return ret;
		watch->slot = state->used++;
		state->watches[watch->slot] = watch;
	}
	slot = &state->fds[watch->slot];
	slot->fd = watch->wanted == EVENT_SILENT ? -1 : watch->fd;
	slot->events = (short)((watch->wanted & CVMM_EVENT_READ ? POLLIN : 0) |
			       (watch->wanted & CVMM_EVENT_WRITE ? POLLOUT : 0));
	slot->revents = 0;
	return 0;
}

static void poll_remove(struct cvmm_loop *loop, struct event_watch *watch)
{
	struct poll_state *state = loop->backend;
	size_t slot = watch->slot;

	if (slot == EVENT_NO_SLOT)
		return;
	state->used--;
	state->fds[slot] = state->fds[state->used];
	state->watches[slot] = state->watches[state->used];
	state->watches[slot]->slot = slot;
	watch->slot = EVENT_NO_SLOT;
}

static unsigned int from_poll(int events)
{
	return (events & POLLIN ? CVMM_EVENT_READ : 0U) |
	       (events & POLLOUT ? CVMM_EVENT_WRITE : 0U) |
	       (events & POLLHUP ? CVMM_EVENT_HANGUP : 0U) |
	       (events & POLLERR ? CVMM_EVENT_ERROR : 0U);
}

static int poll_wait(struct cvmm_loop *loop, int timeout_ms)
{
	struct poll_state *state = loop->backend;
	int left = poll(state->fds, (nfds_t)state->used, timeout_ms);

	if (left < 0)
		return errno == EINTR ? 0 : -errno;
	for (size_t i = 0; left && i < state->used; i++) {
		struct pollfd *slot = &state->fds[i];

		if (!slot->revents)
			continue;
		left--;
		/* Closed before its source was removed: drop it, as epoll does, or we would spin. */
		if (slot->revents & POLLNVAL)
			slot->fd = -1;
		else
			cvmm_event_push_ready(loop, slot->fd, state->watches[i]->generation,
					      from_poll(slot->revents));
	}
	return 0;
}

const struct event_ops cvmm_event_poll_ops = {
	.open = poll_open,
	.close = poll_close,
	.update = poll_update,
	.remove = poll_remove,
	.wait = poll_wait,
};
