// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: armed timers sit in a binary heap, the earliest deadline on top, which bounds
 * the time-out of the poll call. Room in the heap is made when a timer is added, so arming cannot
 * fail for lack of memory.
 *
 * A round runs the timers that were due when its wait ended. One that is armed during the round gets
 * a deadline after that instant, so that a callback that re-arms with no delay cannot hold the
 * round for ever.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "event_internal.h"

#define HEAP_FIRST_CAPACITY 8

static bool earlier(const struct cvmm_source *a, const struct cvmm_source *b)
{
	if (a->timer.deadline_ns != b->timer.deadline_ns)
		return a->timer.deadline_ns < b->timer.deadline_ns;
	return a->timer.sequence < b->timer.sequence;
}

static void heap_put(struct event_heap *heap, size_t slot, struct cvmm_source *timer)
{
	heap->slots[slot] = timer;
	timer->timer.slot = slot;
}

static void heap_up(struct event_heap *heap, size_t slot, struct cvmm_source *timer)
{
	while (slot) {
		size_t parent = (slot - 1) / 2;

		if (!earlier(timer, heap->slots[parent]))
			break;
		heap_put(heap, slot, heap->slots[parent]);
		slot = parent;
	}
	heap_put(heap, slot, timer);
}

static void heap_down(struct event_heap *heap, size_t slot, struct cvmm_source *timer)
{
	for (;;) {
		size_t child = 2 * slot + 1;

		if (child >= heap->used)
			break;
		if (child + 1 < heap->used && earlier(heap->slots[child + 1], heap->slots[child]))
			child++;
		if (!earlier(heap->slots[child], timer))
			break;
		heap_put(heap, slot, heap->slots[child]);
		slot = child;
	}
	heap_put(heap, slot, timer);
}

static void heap_insert(struct event_heap *heap, struct cvmm_source *timer)
{
	CVMM_BUG_ON(heap->used == heap->capacity);
	heap_up(heap, heap->used++, timer);
}

static void heap_remove(struct event_heap *heap, struct cvmm_source *timer)
{
	size_t slot = timer->timer.slot;
	struct cvmm_source *last;

	if (slot == EVENT_NO_SLOT)
		return;
	timer->timer.slot = EVENT_NO_SLOT;
	last = heap->slots[--heap->used];
	if (last == timer)
		return;
	if (slot && earlier(last, heap->slots[(slot - 1) / 2]))
		heap_up(heap, slot, last);
	else
		heap_down(heap, slot, last);
}

static int heap_reserve(struct event_heap *heap, size_t count)
{
	size_t capacity = heap->capacity ? heap->capacity : HEAP_FIRST_CAPACITY;
	struct cvmm_source **slots;

	if (count <= heap->capacity)
		return 0;
	while (capacity < count)
		capacity *= 2;
	slots = reallocarray(heap->slots, capacity, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	heap->slots = slots;
	heap->capacity = capacity;
	return 0;
}

int cvmm_loop_add_timer(struct cvmm_loop *loop, void (*fn)(void *ctx), void *ctx,
			struct cvmm_source **ret_source)
{
	struct cvmm_source *timer;
	int ret;

	if (!fn)
		return -EINVAL;
	ret = heap_reserve(&loop->heap, loop->timer_count + 1);
	if (ret)
		return ret;
	timer = malloc(sizeof(*timer));
	if (!timer)
		return -ENOMEM;
	*timer = (struct cvmm_source){
		.loop = loop,
		.next = loop->timers,
		.ctx = ctx,
		.kind = EVENT_SOURCE_TIMER,
		.timer = { .fn = fn, .slot = EVENT_NO_SLOT },
	};
	if (loop->timers)
		loop->timers->prev = timer;
	loop->timers = timer;
	loop->timer_count++;
	*ret_source = timer;
	return 0;
}

void cvmm_event_remove_timer(struct cvmm_source *timer)
{
	struct cvmm_loop *loop = timer->loop;

	cvmm_timer_disarm(timer);
	if (timer->prev)
		timer->prev->next = timer->next;
	else
		loop->timers = timer->next;
	if (timer->next)
		timer->next->prev = timer->prev;
	loop->timer_count--;
	free(timer);
}

void cvmm_event_free_timers(struct cvmm_loop *loop)
{
	while (loop->timers) {
		struct cvmm_source *timer = loop->timers;

		loop->timers = timer->next;
		free(timer);
	}
	free(loop->heap.slots);
}

/* A sum beyond the clock's range means never. */
static uint64_t add_saturated(uint64_t a, uint64_t b)
{
	uint64_t sum = UINT64_MAX;

	return cvmm_add_u64(a, b, &sum) ? sum : UINT64_MAX;
}

int cvmm_timer_arm(struct cvmm_source *timer, uint64_t delay_ns, uint64_t interval_ns)
{
	struct cvmm_loop *loop = timer->loop;
	uint64_t deadline_ns;

	if (timer->kind != EVENT_SOURCE_TIMER)
		return -EINVAL;
	heap_remove(&loop->heap, timer);
	deadline_ns = add_saturated(cvmm_clock_ns(), delay_ns);
	if (loop->in_round && deadline_ns <= loop->round_now_ns)
		deadline_ns = loop->round_now_ns + 1;
	timer->timer.deadline_ns = deadline_ns;
	timer->timer.interval_ns = interval_ns;
	timer->timer.sequence = ++loop->last_sequence;
	heap_insert(&loop->heap, timer);
	cvmm_event_sync_deadline(loop);
	return 0;
}

void cvmm_timer_disarm(struct cvmm_source *timer)
{
	if (timer->kind != EVENT_SOURCE_TIMER)
		return;
	heap_remove(&timer->loop->heap, timer);
	cvmm_event_sync_deadline(timer->loop);
}

uint64_t cvmm_event_next_deadline(const struct cvmm_loop *loop)
{
	return loop->heap.used ? loop->heap.slots[0]->timer.deadline_ns : 0;
}

/* The caller's time-out, cut to the next deadline; rounded up, so that nobody wakes too early. */
int cvmm_event_timer_timeout(const struct cvmm_loop *loop, int timeout_ms)
{
	uint64_t deadline_ns = cvmm_event_next_deadline(loop);
	uint64_t now_ns, wait_ms;

	if (!deadline_ns || !timeout_ms)
		return timeout_ms;
	now_ns = cvmm_clock_ns();
	if (deadline_ns <= now_ns)
		return 0;
	wait_ms = (deadline_ns - now_ns - 1) / CVMM_NS_PER_MS + 1;
	if (timeout_ms > 0 && wait_ms > (uint64_t)timeout_ms)
		return timeout_ms;
	return wait_ms > INT_MAX ? INT_MAX : (int)wait_ms;
}

/* The first deadline after now that keeps the timer's beat: missed periods collapse. */
static uint64_t next_period(const struct cvmm_source *timer, uint64_t now_ns)
{
	uint64_t late_ns = now_ns - timer->timer.deadline_ns;
	uint64_t into_period_ns = late_ns % timer->timer.interval_ns;

	return add_saturated(now_ns - into_period_ns, timer->timer.interval_ns);
}

int cvmm_event_run_timers(struct cvmm_loop *loop)
{
	struct event_heap *heap = &loop->heap;
	int count = 0;

	while (heap->used && heap->slots[0]->timer.deadline_ns <= loop->round_now_ns) {
		struct cvmm_source *timer = heap->slots[0];

		heap_remove(heap, timer);
		if (timer->timer.interval_ns) {
			timer->timer.deadline_ns = next_period(timer, loop->round_now_ns);
			timer->timer.sequence = ++loop->last_sequence;
			heap_insert(heap, timer);
		}
		/* Last touch: the callback may remove the timer. */
		timer->timer.fn(timer->ctx);
		count++;
	}
	return count;
}
