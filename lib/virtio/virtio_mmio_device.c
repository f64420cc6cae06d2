// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * virtio-mmio, the loop's side.
 *
 * Theory of operation: a vCPU thread that changed the registers holds the transport's lock and asks
 * the loop, with cvmm_loop_call(), to start or stop the device or one queue. The functions that run
 * on the loop meanwhile may read the registers, since their holder waits. What the device does at
 * other times (notify, config change, needs reset) touches only atomics and the interrupt callback.
 */
#include <errno.h>

#include "virtio_internal.h"

/* ---- the host interface: called by the device on the loop thread --------------------------- */

static void raise_interrupt(struct cvmm_virtio_mmio *mmio, unsigned int cause)
{
	atomic_fetch_or(&mmio->interrupt_status, cause);
	mmio->config.interrupt(mmio->config.interrupt_ctx);
}

static void host_notify(struct cvmm_virtio_host *host, unsigned int queue)
{
	(void)queue; /* all queues share one interrupt */
	raise_interrupt(CVMM_CONTAINER_OF(host, struct cvmm_virtio_mmio, host),
			MMIO_INT_USED_BUFFER);
}

static void host_config_changed(struct cvmm_virtio_host *host)
{
	raise_interrupt(CVMM_CONTAINER_OF(host, struct cvmm_virtio_mmio, host),
			MMIO_INT_CONFIG_CHANGE);
}

void mmio_set_needs_reset(struct cvmm_virtio_mmio *mmio)
{
	/* A guest that kicks a broken queue for ever gets one interrupt, not a storm. */
	if (!atomic_exchange(&mmio->needs_reset, true))
		raise_interrupt(mmio, MMIO_INT_CONFIG_CHANGE);
}

static void host_needs_reset(struct cvmm_virtio_host *host)
{
	mmio_set_needs_reset(CVMM_CONTAINER_OF(host, struct cvmm_virtio_mmio, host));
}

/* The loop lets go of the notifier: who reads it first would take the kick from the other. */
static const struct cvmm_notifier *host_take_kick(struct cvmm_virtio_host *host, unsigned int queue)
{
	struct cvmm_virtio_mmio *mmio = CVMM_CONTAINER_OF(host, struct cvmm_virtio_mmio, host);
	struct mmio_kick *kick;

	CVMM_BUG_ON(queue >= mmio->queue_count);
	kick = &mmio->kicks[queue];
	cvmm_source_remove(kick->source);
	kick->source = NULL;
	return &kick->notifier;
}

const struct cvmm_virtio_host_ops mmio_host_ops = {
	.size = sizeof(mmio_host_ops),
	.notify = host_notify,
	.config_changed = host_config_changed,
	.needs_reset = host_needs_reset,
	.take_kick = host_take_kick,
};

/* ---- start and stop ------------------------------------------------------------------------ */

struct queue_call {
	struct cvmm_virtio_mmio *mmio;
	unsigned int queue;
};

static void on_kick(void *ctx, int fd, unsigned int events)
{
	struct mmio_kick *kick = ctx;
	struct cvmm_virtio_mmio *mmio = kick->mmio;

	(void)fd;
	(void)events;
	cvmm_notifier_consume(&kick->notifier);
	if (cvmm_virtq_is_started(&mmio->queues[kick->queue]))
		mmio->config.ops->kick(mmio->config.dev, kick->queue);
}

static int start_virtq(struct cvmm_virtio_mmio *mmio, unsigned int queue, struct cvmm_error *err)
{
	const struct mmio_queue_regs *regs = &mmio->regs[queue];
	struct cvmm_virtq_config config = {
		.size = (uint16_t)regs->num, /* checked when the queue became ready */
		.desc = cvmm_gpa_from(regs->desc),
		.avail = cvmm_gpa_from(regs->driver),
		.used = cvmm_gpa_from(regs->device),
		.packed = mmio_has_feature(mmio, CVMM_VIRTIO_F_RING_PACKED),
		.event_idx = mmio_has_feature(mmio, CVMM_VIRTIO_F_EVENT_IDX),
		.indirect = mmio_has_feature(mmio, CVMM_VIRTIO_F_INDIRECT_DESC),
		.in_order = mmio_has_feature(mmio, CVMM_VIRTIO_F_IN_ORDER),
	};

	if (cvmm_virtq_start(&mmio->queues[queue], mmio->mem, &config, err)) {
		cvmm_error_prefix(err, "queue %u", queue);
		return -EINVAL;
	}
	return 0;
}

/* Undo whatever part of a start has happened. */
static void release_queues(struct cvmm_virtio_mmio *mmio)
{
	for (unsigned int i = 0; i < mmio->queue_count; i++) {
		cvmm_source_remove(mmio->kicks[i].source);
		mmio->kicks[i].source = NULL;
		cvmm_virtq_stop(&mmio->queues[i]);
	}
	mmio->mem = cvmm_mem_unref(mmio->mem);
}

static int watch_kicks(struct cvmm_virtio_mmio *mmio)
{
	for (unsigned int i = 0; i < mmio->queue_count; i++) {
		struct mmio_kick *kick = &mmio->kicks[i];
		int r = cvmm_loop_add_fd(mmio->config.loop, kick->notifier.read_fd, CVMM_EVENT_READ,
					 on_kick, kick, &kick->source);

		if (r)
			return r;
		/* Buffers may have been made available before anybody watched. */
		if (cvmm_virtq_is_started(&mmio->queues[i]))
			cvmm_notifier_signal(&kick->notifier);
	}
	return 0;
}

static int start_device(struct cvmm_virtio_mmio *mmio, struct cvmm_error *err)
{
	struct cvmm_virtio_start start = {
		.host = &mmio->host,
		.loop = mmio->config.loop,
		.queues = mmio->queues,
		.queue_count = mmio->queue_count,
		.features = mmio_negotiated(mmio),
	};
	int r;

	mmio->mem = cvmm_mem_space_get(mmio->config.space);
	start.mem = mmio->mem;
	for (unsigned int i = 0; i < mmio->queue_count; i++) {
		r = mmio->regs[i].ready ? start_virtq(mmio, i, err) : 0;
		if (r)
			return r;
	}
	r = watch_kicks(mmio);
	if (r)
		return cvmm_fail(err, r, "cannot watch for kicks: %s", strerror(-r));
	return mmio->config.ops->start(mmio->config.dev, &start, err);
}

static int start_on_loop(void *ctx)
{
	struct cvmm_virtio_mmio *mmio = ctx;
	struct cvmm_error err = { 0 };
	int r = start_device(mmio, &err);

	if (r) {
		release_queues(mmio);
		cvmm_log_limited(&mmio->log, &mmio->log_limit, CVMM_LOG_WARN,
				 "virtio-%s: cannot start: %s", mmio->config.ops->name,
				 err.message[0] ? err.message : strerror(-r));
	}
	return r;
}

void mmio_device_stop_on_loop(struct cvmm_virtio_mmio *mmio)
{
	mmio->config.ops->stop(mmio->config.dev);
	release_queues(mmio);
}

static int stop_on_loop(void *ctx)
{
	mmio_device_stop_on_loop(ctx);
	return 0;
}

int mmio_device_start(struct cvmm_virtio_mmio *mmio)
{
	return cvmm_loop_call(mmio->config.loop, start_on_loop, mmio);
}

void mmio_device_stop(struct cvmm_virtio_mmio *mmio)
{
	(void)cvmm_loop_call(mmio->config.loop, stop_on_loop, mmio);
}

/* ---- one queue, while the device runs ------------------------------------------------------ */

static int queue_start_on_loop(void *ctx)
{
	struct queue_call *call = ctx;
	struct cvmm_virtio_mmio *mmio = call->mmio;
	struct cvmm_error err = { 0 };
	int r = start_virtq(mmio, call->queue, &err);

	if (r) {
		cvmm_log_limited(&mmio->log, &mmio->log_limit, CVMM_LOG_WARN, "virtio-%s: %s",
				 mmio->config.ops->name, err.message);
		return r;
	}
	if (mmio->config.ops->queue_start)
		mmio->config.ops->queue_start(mmio->config.dev, call->queue);
	cvmm_notifier_signal(&mmio->kicks[call->queue].notifier);
	return 0;
}

static int queue_stop_on_loop(void *ctx)
{
	struct queue_call *call = ctx;
	struct cvmm_virtio_mmio *mmio = call->mmio;

	mmio->config.ops->queue_stop(mmio->config.dev, call->queue);
	cvmm_virtq_stop(&mmio->queues[call->queue]);
	return 0;
}

int mmio_queue_start(struct cvmm_virtio_mmio *mmio, unsigned int queue)
{
	struct queue_call call = { mmio, queue };

	return cvmm_loop_call(mmio->config.loop, queue_start_on_loop, &call);
}

void mmio_queue_stop(struct cvmm_virtio_mmio *mmio, unsigned int queue)
{
	struct queue_call call = { mmio, queue };

	(void)cvmm_loop_call(mmio->config.loop, queue_stop_on_loop, &call);
}

/* ---- configuration space ------------------------------------------------------------------- */

struct config_call {
	struct cvmm_virtio_mmio *mmio;
	size_t offset;
	const void *bytes;
	size_t len_bytes;
};

static int config_written_on_loop(void *ctx)
{
	struct config_call *call = ctx;
	struct cvmm_virtio_mmio *mmio = call->mmio;

	mmio->config.ops->config_written(mmio->config.dev, call->offset, call->bytes,
					 call->len_bytes);
	return 0;
}

void mmio_config_write(struct cvmm_virtio_mmio *mmio, size_t offset, const void *bytes,
		       size_t len_bytes)
{
	struct config_call call = { mmio, offset, bytes, len_bytes };

	(void)cvmm_loop_call(mmio->config.loop, config_written_on_loop, &call);
}
