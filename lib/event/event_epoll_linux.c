// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The epoll back-end (Linux).
 *
 * An event names its watch by descriptor number and generation, never by pointer: the kernel may
 * hold events of a watch that is gone, for instance when the caller closed a descriptor that has
 * duplicates elsewhere. Such an event finds no watch and is dropped.
 *
 * Two things make no epoll event of their own: files that epoll refuses (EPERM), which count as
 * always ready, and timers. An embedding loop must see both, so once the loop has been asked for its
 * descriptor a timerfd stands in for them. Other loops use the wait's time-out instead.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "event_internal.h"

#define WAIT_BATCH 64
#define GENERATION_SHIFT 32
#define TIMER_KEY UINT64_MAX /* a watch's descriptor is never negative, so no watch has this key */
#define DEADLINE_PAST_NS 1   /* readable at once: some file is always ready */

struct epoll_state {
	int epoll_fd;
	int timer_fd; /* -1 until the loop is embedded */
	uint64_t armed_ns;
	size_t always_ready_count;
};

static int epoll_open(struct cvmm_loop *loop)
{
	struct epoll_state *state = malloc(sizeof(*state));
	int ret;

	if (!state)
		return -ENOMEM;
	*state = (struct epoll_state){ .timer_fd = -1 };
	state->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (state->epoll_fd < 0) {
		ret = -errno;
		free(state);
		return ret;
	}
	loop->backend = state;
	return 0;
}

static void epoll_close(struct cvmm_loop *loop)
{
	struct epoll_state *state = loop->backend;

	cvmm_close_fd(&state->timer_fd);
	cvmm_close_fd(&state->epoll_fd);
	free(state);
}

static uint64_t watch_key(const struct event_watch *watch)
{
	return (uint64_t)watch->generation << GENERATION_SHIFT | (uint32_t)watch->fd;
}

static uint32_t to_epoll(unsigned int wanted)
{
	return (wanted & CVMM_EVENT_READ ? (uint32_t)EPOLLIN : 0) |
	       (wanted & CVMM_EVENT_WRITE ? (uint32_t)EPOLLOUT : 0);
}

static unsigned int from_epoll(uint32_t events)
{
	return (events & EPOLLIN ? CVMM_EVENT_READ : 0U) |
	       (events & EPOLLOUT ? CVMM_EVENT_WRITE : 0U) |
	       (events & EPOLLHUP ? CVMM_EVENT_HANGUP : 0U) |
	       (events & EPOLLERR ? CVMM_EVENT_ERROR : 0U);
}

/* A descriptor closed behind our back may be gone from, or left over in, the set: try the other. */
static int add_or_modify(int epoll_fd, struct event_watch *watch)
{
	struct epoll_event ev = { .events = to_epoll(watch->wanted), .data.u64 = watch_key(watch) };
	int op = watch->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (!epoll_ctl(epoll_fd, op, watch->fd, &ev))
		return 0;
	if (errno == ENOENT && op == EPOLL_CTL_MOD)
		op = EPOLL_CTL_ADD;
	else if (errno == EEXIST && op == EPOLL_CTL_ADD)
		op = EPOLL_CTL_MOD;
	else
		return -errno;
	return epoll_ctl(epoll_fd, op, watch->fd, &ev) ? -errno : 0;
}

static int epoll_update(struct cvmm_loop *loop, struct event_watch *watch)
{
	struct epoll_state *state = loop->backend;
	int ret;

	if (watch->always_ready)
		return 0;
	if (watch->wanted == EVENT_SILENT) {
		if (watch->registered)
			epoll_ctl(state->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
		watch->registered = false;
		return 0;
	}
	ret = add_or_modify(state->epoll_fd, watch);
	if (ret == -EPERM) {
		watch->always_ready = true;
		watch->registered = false;
		state->always_ready_count++;
		return 0;
	}
	if (!ret)
		watch->registered = true;
	return ret;
}

static void epoll_remove(struct cvmm_loop *loop, struct event_watch *watch)
{
	struct epoll_state *state = loop->backend;

	if (watch->always_ready)
		state->always_ready_count--;
	else if (watch->registered)
		epoll_ctl(state->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
}

/* Returns whether any file of the always ready sort has somebody interested; may list them. */
static bool find_always_ready(struct cvmm_loop *loop, bool push)
{
	struct epoll_state *state = loop->backend;
	size_t left = state->always_ready_count;
	bool any = false;

	for (size_t i = 0; left && i < loop->watches_size; i++) {
		struct event_watch *watch = loop->watches[i];

		if (!watch || !watch->always_ready)
			continue;
		left--;
		if (!(watch->wanted & EVENT_ASKABLE))
			continue;
		any = true;
		if (push)
			cvmm_event_push_ready(loop, watch->fd, watch->generation,
					      watch->wanted & EVENT_ASKABLE);
	}
	return any;
}

static int epoll_wait_once(struct cvmm_loop *loop, int timeout_ms)
{
	struct epoll_state *state = loop->backend;
	struct epoll_event events[WAIT_BATCH];
	int count;

	if (find_always_ready(loop, true))
		timeout_ms = 0;
	count = epoll_wait(state->epoll_fd, events, WAIT_BATCH, timeout_ms);
	if (count < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < count; i++) {
		uint64_t key = events[i].data.u64;

		if (key != TIMER_KEY)
			cvmm_event_push_ready(loop, (int)(uint32_t)key,
					      (uint32_t)(key >> GENERATION_SHIFT),
					      from_epoll(events[i].events));
	}
	return 0;
}

static int epoll_embed_fd(struct cvmm_loop *loop)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = TIMER_KEY };
	struct epoll_state *state = loop->backend;
	int fd, ret;

	if (state->timer_fd >= 0)
		return state->epoll_fd;
	fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (epoll_ctl(state->epoll_fd, EPOLL_CTL_ADD, fd, &ev)) {
		ret = -errno;
		cvmm_close_fd(&fd);
		return ret;
	}
	state->timer_fd = fd;
	return state->epoll_fd;
}

static void epoll_set_deadline(struct cvmm_loop *loop, uint64_t deadline_ns)
{
	struct epoll_state *state = loop->backend;
	struct itimerspec spec = { 0 };

	if (state->timer_fd < 0)
		return;
	if (find_always_ready(loop, false))
		deadline_ns = DEADLINE_PAST_NS;
	if (deadline_ns == state->armed_ns)
		return;
	spec.it_value.tv_sec = (time_t)(deadline_ns / CVMM_NS_PER_S);
	spec.it_value.tv_nsec = (long)(deadline_ns % CVMM_NS_PER_S);
	if (!timerfd_settime(state->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL))
		state->armed_ns = deadline_ns;
}

const struct event_ops cvmm_event_epoll_ops = {
	.open = epoll_open,
	.close = epoll_close,
	.update = epoll_update,
	.remove = epoll_remove,
	.wait = epoll_wait_once,
	.fd = epoll_embed_fd,
	.set_deadline = epoll_set_deadline,
};
