// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a round is one wait and the callbacks that it leads to: descriptors, then due
 * timers, then mail.
 *
 * The system watches each descriptor once (struct event_watch), for the sum of what its sources ask
 * for; that is how several sources share a descriptor with a back-end that takes each only once.
 *
 * Callbacks may remove any source and close its descriptor, and another callback of the same round
 * may get the same number for a new file. So what a wait reports is kept as number and generation,
 * and looked up when its turn comes: a watch that is gone, or another one under the same number, is
 * no match. Sources that were added during the round wait for the next one. Removal frees at once:
 * the loop keeps no pointer to a source while its callback runs, save the cursor, which removal
 * moves on.
 *
 * A source that asks for nothing (paused) hears of an error once; after an error or a hang-up it is
 * silent until it asks for events again. Neither condition goes away by itself, and both systems
 * would report it for ever.
 */
#include <errno.h>
#include <stdlib.h>

#include "event_internal.h"

#define TABLE_FIRST_SIZE 64

uintptr_t cvmm_event_thread_id(void)
{
	/* Never written: only its address counts, different in each thread and cheap to compare. */
	static _Thread_local char here;

	return (uintptr_t)&here;
}

bool cvmm_loop_is_owner(const struct cvmm_loop *loop)
{
	return atomic_load(&loop->owner) == cvmm_event_thread_id();
}

void cvmm_loop_disown(struct cvmm_loop *loop)
{
	atomic_store(&loop->owner, 0);
}

/* ---- watches ------------------------------------------------------------------------------- */

struct event_watch *cvmm_event_find_watch(const struct cvmm_loop *loop, int fd)
{
	return fd >= 0 && (size_t)fd < loop->watches_size ? loop->watches[fd] : NULL;
}

void cvmm_event_push_ready(struct cvmm_loop *loop, int fd, uint32_t generation, unsigned int events)
{
	/* Each watch is listed once at most, so only leftovers of closed files can be in excess. */
	if (loop->ready_count < loop->ready_capacity)
		loop->ready[loop->ready_count++] = (struct event_ready){ fd, generation, events };
}

void cvmm_event_sync_deadline(struct cvmm_loop *loop)
{
	/* Inside a round its end does it, once. */
	if (loop->ops->set_deadline && !loop->in_round)
		loop->ops->set_deadline(loop, cvmm_event_next_deadline(loop));
}

static int grow_table(struct cvmm_loop *loop, int fd)
{
	size_t size = loop->watches_size ? loop->watches_size : TABLE_FIRST_SIZE;
	struct event_watch **watches;

	if ((size_t)fd < loop->watches_size)
		return 0;
	while (size <= (size_t)fd)
		size *= 2;
	watches = reallocarray(loop->watches, size, sizeof(*watches));
	if (!watches)
		return -ENOMEM;
	memset(watches + loop->watches_size, 0, (size - loop->watches_size) * sizeof(*watches));
	loop->watches = watches;
	loop->watches_size = size;
	return 0;
}

static int grow_ready(struct cvmm_loop *loop)
{
	size_t capacity = loop->ready_capacity ? loop->ready_capacity : TABLE_FIRST_SIZE;
	struct event_ready *ready;

	while (capacity <= loop->watch_count)
		capacity *= 2;
	if (capacity == loop->ready_capacity)
		return 0;
	ready = reallocarray(loop->ready, capacity, sizeof(*ready));
	if (!ready)
		return -ENOMEM;
	loop->ready = ready;
	loop->ready_capacity = capacity;
	return 0;
}

static int create_watch(struct cvmm_loop *loop, int fd, struct event_watch **ret_watch)
{
	struct event_watch *watch;
	int ret = grow_table(loop, fd);

	if (!ret)
		ret = grow_ready(loop);
	if (ret)
		return ret;
	watch = malloc(sizeof(*watch));
	if (!watch)
		return -ENOMEM;
	*watch = (struct event_watch){
		.fd = fd,
		.generation = ++loop->last_generation,
		.wanted = EVENT_SILENT,
		.slot = EVENT_NO_SLOT,
	};
	loop->watches[fd] = watch;
	loop->watch_count++;
	*ret_watch = watch;
	return 0;
}

static void drop_watch(struct cvmm_loop *loop, struct event_watch *watch)
{
	loop->ops->remove(loop, watch);
	loop->watches[watch->fd] = NULL;
	loop->watch_count--;
	free(watch);
}

/* Makes the system watch for the sum of what the sources ask for. On failure nothing changes. */
static int refresh_watch(struct cvmm_loop *loop, struct event_watch *watch)
{
	unsigned int before = watch->wanted;
	unsigned int wanted = EVENT_SILENT;
	int ret;

	for (struct cvmm_source *s = watch->sources; s; s = s->next)
		if (!s->io.silent)
			wanted = (wanted & EVENT_ASKABLE) | s->io.events;
	watch->wanted = wanted;
	ret = loop->ops->update(loop, watch);
	if (ret)
		watch->wanted = before;
	else
		cvmm_event_sync_deadline(loop);
	return ret;
}

/* ---- sources ------------------------------------------------------------------------------- */

static void link_source(struct event_watch *watch, struct cvmm_source *source)
{
	struct cvmm_source *last = watch->sources;

	while (last && last->next)
		last = last->next;
	source->prev = last;
	if (last)
		last->next = source;
	else
		watch->sources = source;
}

static void unlink_source(struct event_watch *watch, struct cvmm_source *source)
{
	if (source->prev)
		source->prev->next = source->next;
	else
		watch->sources = source->next;
	if (source->next)
		source->next->prev = source->prev;
}

int cvmm_loop_add_fd(struct cvmm_loop *loop, int fd, unsigned int events,
		     void (*fn)(void *ctx, int fd, unsigned int events), void *ctx,
		     struct cvmm_source **ret_source)
{
	struct event_watch *watch = cvmm_event_find_watch(loop, fd);
	struct cvmm_source *source;
	int ret = 0;

	if (!fn || events & ~(unsigned int)EVENT_ASKABLE)
		return -EINVAL;
	if (fd < 0)
		return -EBADF;
	source = malloc(sizeof(*source));
	if (!source)
		return -ENOMEM;
	if (!watch)
		ret = create_watch(loop, fd, &watch);
	if (ret) {
		free(source);
		return ret;
	}
	*source = (struct cvmm_source){
		.loop = loop,
		.ctx = ctx,
		.kind = EVENT_SOURCE_FD,
		.io = { .fn = fn, .watch = watch, .added_round = loop->round, .events = events },
	};
	link_source(watch, source);
	ret = refresh_watch(loop, watch);
	if (ret) {
		unlink_source(watch, source);
		if (!watch->sources)
			drop_watch(loop, watch);
		free(source);
		return ret;
	}
	*ret_source = source;
	return 0;
}

int cvmm_source_set_events(struct cvmm_source *source, unsigned int events)
{
	unsigned int before_events;
	bool before_silent;
	int ret;

	if (source->kind != EVENT_SOURCE_FD || events & ~(unsigned int)EVENT_ASKABLE)
		return -EINVAL;
	before_events = source->io.events;
	before_silent = source->io.silent;
	if (events == before_events)
		return 0;
	source->io.events = events;
	source->io.silent = false;
	ret = refresh_watch(source->loop, source->io.watch);
	if (ret) {
		source->io.events = before_events;
		source->io.silent = before_silent;
	}
	return ret;
}

static void remove_fd_source(struct cvmm_source *source)
{
	struct event_watch *watch = source->io.watch;
	struct cvmm_loop *loop = source->loop;

	if (loop->cursor == source)
		loop->cursor = source->next;
	unlink_source(watch, source);
	free(source);
	if (!watch->sources) {
		drop_watch(loop, watch);
		cvmm_event_sync_deadline(loop);
	} else {
		/* Failing leaves the wider mask: those events find no taker. */
		refresh_watch(loop, watch);
	}
}

void cvmm_source_remove(struct cvmm_source *source)
{
	if (!source)
		return;
	if (source->kind == EVENT_SOURCE_FD)
		remove_fd_source(source);
	else
		cvmm_event_remove_timer(source);
}

/* ---- rounds -------------------------------------------------------------------------------- */

/* Returns 1 if the callback ran. The source may be gone afterwards. */
static int dispatch_source(struct cvmm_loop *loop, struct cvmm_source *source, unsigned int events)
{
	bool internal = source->io.internal;

	if (source->io.silent || source->io.added_round == loop->round)
		return 0;
	if (source->io.events) {
		events &= source->io.events | EVENT_UNASKED;
	} else if (events & EVENT_UNASKED) {
		source->io.silent = true;
		refresh_watch(loop, source->io.watch);
		events &= CVMM_EVENT_ERROR;
	} else {
		events = 0;
	}
	if (!events)
		return 0;
	source->io.fn(source->ctx, source->io.watch->fd, events);
	return internal ? 0 : 1;
}

static int dispatch_ready(struct cvmm_loop *loop)
{
	int count = 0;

	for (size_t i = 0; i < loop->ready_count; i++) {
		struct event_ready ready = loop->ready[i];
		struct event_watch *watch = cvmm_event_find_watch(loop, ready.fd);

		if (!watch || watch->generation != ready.generation)
			continue;
		for (struct cvmm_source *s = watch->sources; s; s = loop->cursor) {
			loop->cursor = s->next;
			count += dispatch_source(loop, s, ready.events);
		}
	}
	return count;
}

int cvmm_loop_run_once(struct cvmm_loop *loop, int timeout_ms)
{
	int ret, count;

	if (loop->in_round)
		return -EBUSY;
	atomic_store(&loop->owner, cvmm_event_thread_id());
	loop->ready_count = 0;
	ret = loop->ops->wait(loop, cvmm_event_timer_timeout(loop, timeout_ms));
	if (ret)
		return ret;
	loop->round++;
	loop->round_now_ns = cvmm_clock_ns();
	loop->in_round = true;
	count = dispatch_ready(loop);
	count += cvmm_event_run_timers(loop);
	count += cvmm_event_run_mail(loop);
	loop->in_round = false;
	cvmm_event_sync_deadline(loop);
	return count;
}

int cvmm_loop_run(struct cvmm_loop *loop)
{
	if (loop->in_round)
		return -EBUSY;
	atomic_store(&loop->owner, cvmm_event_thread_id());
	while (!atomic_exchange(&loop->stop, false)) {
		int ret = cvmm_loop_run_once(loop, -1);

		if (ret < 0)
			return ret;
	}
	return 0;
}

int cvmm_loop_fd(struct cvmm_loop *loop)
{
	int fd;

	if (!loop->ops->fd)
		return -ENOTSUP;
	fd = loop->ops->fd(loop);
	if (fd >= 0)
		cvmm_event_sync_deadline(loop);
	return fd;
}

/* ---- life ---------------------------------------------------------------------------------- */

static const struct event_ops *find_ops(enum cvmm_loop_backend backend)
{
	const struct event_ops *host = cvmm_event_host_ops();

	switch (backend) {
	case CVMM_LOOP_AUTO:
		return host ? host : &cvmm_event_poll_ops;
	case CVMM_LOOP_EPOLL:
		return host;
	case CVMM_LOOP_POLL:
		return &cvmm_event_poll_ops;
	}
	return NULL;
}

static void free_watches(struct cvmm_loop *loop)
{
	for (size_t i = 0; i < loop->watches_size; i++) {
		struct event_watch *watch = loop->watches[i];

		while (watch && watch->sources) {
			struct cvmm_source *source = watch->sources;

			watch->sources = source->next;
			free(source);
		}
		free(watch);
	}
	free(loop->watches);
	free(loop->ready);
}

int cvmm_event_create_loop(enum cvmm_loop_backend backend, enum cvmm_notifier_kind wake_kind,
			   struct cvmm_loop **ret_loop)
{
	const struct event_ops *ops = find_ops(backend);
	struct cvmm_loop *loop;
	int ret;

	if (!ops)
		return -ENOTSUP;
	loop = calloc(1, sizeof(*loop));
	if (!loop)
		return -ENOMEM;
	loop->ops = ops;
	atomic_init(&loop->owner, cvmm_event_thread_id());
	atomic_init(&loop->stop, false);
	ret = ops->open(loop);
	if (ret) {
		free(loop);
		return ret;
	}
	ret = cvmm_event_mail_init(loop, wake_kind);
	if (ret) {
		free_watches(loop);
		ops->close(loop);
		free(loop);
		return ret;
	}
	*ret_loop = loop;
	return 0;
}

int cvmm_loop_create(enum cvmm_loop_backend backend, struct cvmm_loop **ret_loop)
{
	return cvmm_event_create_loop(backend, CVMM_NOTIFIER_AUTO, ret_loop);
}

void cvmm_loop_destroy(struct cvmm_loop *loop)
{
	if (!loop)
		return;
	/* From its own callback, or while another thread runs it. */
	CVMM_BUG_ON(loop->in_round);
	cvmm_event_mail_fini(loop);
	free_watches(loop);
	cvmm_event_free_timers(loop);
	loop->ops->close(loop);
	free(loop);
}
