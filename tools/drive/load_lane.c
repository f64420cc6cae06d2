// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * cvmm-drive load: the data path.
 *
 * Theory of operation: each round gives the device all requests that are idle, as one batch with at most one
 * kick, and takes back all that it is done with. With nothing to take, the thread asks for an interrupt and
 * sleeps, or goes round again (--poll). The clock is read once for a batch on each side, and nothing is
 * allocated.
 */
#include <errno.h>

#include "load.h"

#define SLEEP_MS 50
#define SPINS_PER_LOOK 64U

static bool must_stop(const struct load_lane *lane)
{
	return __atomic_load_n(&lane->load->stop, __ATOMIC_RELAXED);
}

/* Return: how many went out. */
static unsigned int submit(struct load_lane *lane)
{
	const struct load_kind *kind = lane->load->options.kind;
	uint64_t now = cvmm_clock_ns();
	unsigned int count = 0;

	while (lane->idle_count) {
		struct load_slot *slot = lane->idle[lane->idle_count - 1];

		if (kind->next)
			kind->next(lane, slot);
		slot->begun_ns = now;
		if (cvmm_virtq_driver_add(&lane->queue.drv, slot->segments, slot->readable,
					  slot->writable, slot))
			break;
		lane->idle_count--;
		count++;
	}
	if (!count)
		return 0;
	cvmm_virtq_driver_publish(&lane->queue.drv);
	target_queue_kick(&lane->queue);
	return count;
}

static int broken(struct load_lane *lane, const struct target_queue *queue)
{
	return cvmm_fail(
		&lane->err, -EPROTO, "queue %u: %s", queue->index,
		cvmm_virtq_driver_violation_name(cvmm_virtq_driver_violation(&queue->drv)));
}

/* Return: how many came back, or -EPROTO. */
static int collect(struct load_lane *lane)
{
	const struct load_kind *kind = lane->load->options.kind;
	uint64_t now = 0;
	uint32_t used;
	void *token;
	int count = 0, r;

	while ((r = cvmm_virtq_driver_take(&lane->queue.drv, &token, &used)) == 1) {
		struct load_slot *slot = token;

		if (!count)
			now = cvmm_clock_ns();
		histogram_add(&lane->latency, now - slot->begun_ns);
		if (!kind->done(lane, slot, used))
			lane->failed++;
		lane->completed++;
		lane->idle[lane->idle_count++] = slot;
		count++;
	}
	return r < 0 ? broken(lane, &lane->queue) : count;
}

/* The buffers of the queue that receives go back to it. */
static int recycle(struct load_lane *lane)
{
	struct target_queue *queue = &lane->companion;
	unsigned int count = 0;
	uint32_t used;
	void *token;
	int r;

	if (!queue->target)
		return 0;
	while ((r = cvmm_virtq_driver_take(&queue->drv, &token, &used)) == 1) {
		const struct load_slot *slot = token;

		lane->received++;
		count++;
		if (cvmm_virtq_driver_add(&queue->drv, slot->segments, 0, 1, token))
			break;
	}
	if (r < 0)
		return broken(lane, queue);
	if (count) {
		cvmm_virtq_driver_publish(&queue->drv);
		target_queue_kick(queue);
	}
	return (int)count;
}

/* Until something has come, or a moment has passed. */
static void rest(struct load_lane *lane)
{
	struct cvmm_virtq_driver *drv = &lane->queue.drv;

	if (lane->load->options.poll) {
		for (unsigned int i = 0; i < SPINS_PER_LOOK; i++)
			__asm__ volatile("" ::: "memory");
		return;
	}
	if (!cvmm_virtq_driver_enable_interrupts(drv) && target_queue_wait(&lane->queue, SLEEP_MS))
		lane->wakes++;
	cvmm_virtq_driver_disable_interrupts(drv);
}

static bool is_over(const struct load_lane *lane)
{
	return must_stop(lane) && cvmm_virtq_driver_outstanding(&lane->queue.drv) == 0;
}

/* What is under way when it is to end has as long as any answer. */
static bool is_overdue(struct load_lane *lane, uint64_t *deadline_ns)
{
	if (!must_stop(lane))
		return false;
	if (!*deadline_ns)
		*deadline_ns = cvmm_clock_ns() + lane->load->options.timeout_ms * CVMM_NS_PER_MS;
	if (cvmm_clock_ns() < *deadline_ns)
		return false;
	cvmm_fail(&lane->err, -ETIMEDOUT, "queue %u: %u requests were not answered",
		  lane->queue.index, cvmm_virtq_driver_outstanding(&lane->queue.drv));
	return true;
}

void *load_lane_main(void *arg)
{
	struct load_lane *lane = arg;
	uint64_t deadline_ns = 0;

	cvmm_virtq_driver_disable_interrupts(&lane->queue.drv);
	while (!is_over(lane)) {
		unsigned int out = must_stop(lane) ? 0 : submit(lane);
		int in = collect(lane), received = recycle(lane);

		if (in < 0 || received < 0)
			break;
		if (out || in || received)
			continue;
		if (is_overdue(lane, &deadline_ns))
			break;
		rest(lane);
	}
	return NULL;
}
