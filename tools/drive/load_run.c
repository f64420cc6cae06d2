// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* cvmm-drive load: setting a run up, watching it, and ending it. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "load.h"

#define WATCH_MS 20
#define COMPANION_BUFFERS 64U
#define QUEUE_SIZE_LEAST 64U

/* ---- setting up ---------------------------------------------------------------------------------- */

static bool has_companion(const struct load *load)
{
	return load->options.kind->companion;
}

/* Direct descriptors for all that is under way. */
static uint16_t choose_queue_size(const struct load_options *o)
{
	uint32_t size = QUEUE_SIZE_LEAST;

	if (o->queue_size)
		return o->queue_size;
	while (size < o->depth * o->kind->segments)
		size *= 2;
	return (uint16_t)size;
}

static uint64_t slot_bytes(const struct load *load)
{
	const struct load_options *o = &load->options;

	return ((uint64_t)o->block_bytes + o->kind->extra_bytes + 64 + 4095) / 4096 * 4096;
}

static uint64_t lane_bytes(const struct load *load)
{
	uint64_t slots = load->options.depth, bytes = target_queue_bytes(load->queue_size);

	if (has_companion(load)) {
		bytes *= 2;
		slots += COMPANION_BUFFERS;
	}
	return bytes + slots * slot_bytes(load);
}

static int negotiate(struct load *load, struct cvmm_error *err)
{
	const struct load_options *o = &load->options;
	uint64_t wanted = o->kind->features, needed = 0;
	int r;

	wanted |= CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_VERSION_1);
	if (!o->no_event_idx)
		wanted |= CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_EVENT_IDX);
	/* Tables cost a walk through memory for each request: only where the ring is short. */
	if (load->queue_size < o->depth * o->kind->segments)
		needed |= CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_INDIRECT_DESC);
	if (o->packed)
		needed |= CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_RING_PACKED);
	r = target_set_features(&load->target, wanted, needed, err);
	if (!r && o->kind->begin)
		r = o->kind->begin(load, err);
	return r;
}

static int make_slots(struct load_lane *lane, struct cvmm_error *err)
{
	struct load *load = lane->load;
	unsigned int depth = load->options.depth;

	lane->slots = calloc(depth, sizeof(*lane->slots));
	lane->idle = calloc(depth, sizeof(*lane->idle));
	lane->companion_slots = calloc(COMPANION_BUFFERS, sizeof(*lane->companion_slots));
	if (!lane->slots || !lane->idle || !lane->companion_slots)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	for (unsigned int i = 0; i < depth; i++) {
		load->options.kind->make(lane, &lane->slots[i],
					 target_alloc(&load->target, slot_bytes(load)));
		lane->idle[lane->idle_count++] = &lane->slots[i];
	}
	return 0;
}

static int start_companion(struct load_lane *lane, struct cvmm_error *err)
{
	struct load *load = lane->load;
	uint32_t len = load->options.kind->extra_bytes;
	int r;

	if (!has_companion(load))
		return 0;
	r = target_queue_start(&lane->companion, &load->target,
			       (unsigned int)load->options.kind->companion(lane->index),
			       load->queue_size, err);
	for (unsigned int i = 0; i < COMPANION_BUFFERS && !r; i++) {
		struct load_slot *slot = &lane->companion_slots[i];

		slot->segments[0].gpa = target_alloc(&load->target, slot_bytes(load));
		slot->segments[0].len_bytes = len;
		r = cvmm_virtq_driver_add(&lane->companion.drv, slot->segments, 0, 1, slot);
		r = r == -ENOSPC ? 0 : r;
	}
	if (r)
		return r;
	cvmm_virtq_driver_disable_interrupts(&lane->companion.drv);
	cvmm_virtq_driver_publish(&lane->companion.drv);
	target_queue_kick(&lane->companion);
	return 0;
}

static int start_lane(struct load *load, unsigned int index, struct cvmm_error *err)
{
	struct load_lane *lane = &load->lanes[index];
	const struct load_options *o = &load->options;
	int r;

	lane->load = load;
	lane->index = index;
	lane->random = UINT64_C(0x9e3779b97f4a7c15) * (index + 1);
	lane->block_count = load->block_count / o->queues;
	lane->first_block = lane->block_count * index;
	r = make_slots(lane, err);
	if (!r)
		r = start_companion(lane, err);
	if (!r)
		r = target_queue_start(&lane->queue, &load->target, o->kind->queue(index),
				       load->queue_size, err);
	return r;
}

/* ---- running ------------------------------------------------------------------------------------- */

/* Until the time is over, or the back-end is gone. */
static void watch(struct load *load)
{
	uint64_t end_ns =
		load->begun_ns + (uint64_t)(load->options.seconds * (double)CVMM_NS_PER_S);
	struct pollfd p = { .fd = cvmm_vhost_user_frontend_fd(load->target.fe) };

	while (cvmm_clock_ns() < end_ns && poll(&p, 1, WATCH_MS) <= 0)
		;
	__atomic_store_n(&load->stop, true, __ATOMIC_RELAXED);
}

static bool hung_up(const struct load *load)
{
	struct pollfd p = { .fd = cvmm_vhost_user_frontend_fd(load->target.fe) };

	return p.fd < 0 || poll(&p, 1, 0) > 0;
}

/* The first lane that has something to say. */
static int look_at_lanes(const struct load *load, struct cvmm_error *err)
{
	if (hung_up(load))
		return cvmm_fail(err, 1, "the back-end ended the connection");
	for (unsigned int i = 0; i < load->options.queues; i++)
		if (load->lanes[i].err.code)
			return cvmm_fail(err, 1, "%s", load->lanes[i].err.message);
	return 0;
}

static int run_lanes(struct load *load, struct cvmm_error *err)
{
	int r = 0;

	load->begun_ns = cvmm_clock_ns();
	for (unsigned int i = 0; i < load->options.queues && !r; i++) {
		r = pthread_create(&load->lanes[i].thread, NULL, load_lane_main, &load->lanes[i]);
		load->lanes[i].has_thread = r == 0;
	}
	if (r)
		__atomic_store_n(&load->stop, true, __ATOMIC_RELAXED);
	else
		watch(load);
	for (unsigned int i = 0; i < load->options.queues; i++)
		if (load->lanes[i].has_thread)
			pthread_join(load->lanes[i].thread, NULL);
	load->ended_ns = cvmm_clock_ns();
	if (r)
		return cvmm_fail(err, -r, "cannot start a thread: %s", strerror(r));
	return look_at_lanes(load, err);
}

int load_run(struct load *load, struct cvmm_error *err)
{
	const struct load_options *o = &load->options;
	int r;

	load->queue_size = choose_queue_size(o);
	load->lanes = calloc(o->queues, sizeof(*load->lanes));
	if (!load->lanes)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	r = target_open(&load->target, o->socket, o->timeout_ms,
			CVMM_VHOST_USER_PROTOCOL(MQ) | CVMM_VHOST_USER_PROTOCOL(REPLY_ACK) |
				CVMM_VHOST_USER_PROTOCOL(CONFIG),
			err);
	if (!r)
		r = negotiate(load, err);
	if (!r)
		r = target_share(&load->target, lane_bytes(load) * o->queues, err);
	for (unsigned int i = 0; i < o->queues && !r; i++)
		r = start_lane(load, i, err);
	return r ? r : run_lanes(load, err);
}

void load_end(struct load *load)
{
	for (unsigned int i = 0; load->lanes && i < load->options.queues; i++) {
		struct load_lane *lane = &load->lanes[i];

		target_queue_stop(&lane->queue);
		target_queue_stop(&lane->companion);
		free(lane->slots);
		free(lane->idle);
		free(lane->companion_slots);
	}
	free(load->lanes);
	target_close(&load->target);
}
