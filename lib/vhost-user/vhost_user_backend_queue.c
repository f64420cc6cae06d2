// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The back-end: rings, from what the front-end says of them to the device that serves them.
 *
 * Theory of operation: messages only note what they say, and vu_queue_try_run() looks whether all of it
 * is there: started, enabled, a size, addresses, and memory. Then the virtqueue starts where the
 * ring is, takes over what was in flight, and is given to the device with one kick, as nobody knows
 * what was made available before. The reverse is vu_queue_halt(), which leaves the ring's place in
 * base. In between, what the messages change on the fly is the descriptors, and the flag for the log.
 *
 * A ring that is disabled is not processed. That has no side effects; a device that would have to drop
 * what comes in (net) has nothing in it that could not wait.
 *
 * Behind an IOMMU a device could get -EAGAIN in the middle of its work. So a kick is kept back until
 * the ring's areas are translated; the front-end is asked by the attempt.
 *
 * Without a kick descriptor rings are polled: in each round of the loop while there is work, and
 * each millisecond after a while without.
 */
#include <errno.h>

#include "vhost_user_backend_internal.h"

#define POLL_IDLE_ROUNDS 1000U
#define POLL_IDLE_NS CVMM_NS_PER_MS

static bool is_packed(const struct cvmm_vhost_user_backend *b)
{
	return vu_has_feature(b, CVMM_VIRTIO_F_RING_PACKED);
}

static struct cvmm_virtq *virtq_of(struct vu_queue *q)
{
	return &q->backend->virtqs[q->index];
}

/* Bytes of the device area. */
static uint64_t used_bytes(const struct cvmm_vhost_user_backend *b, uint16_t size)
{
	return is_packed(b) ? 4 : 6 + 8 * (uint64_t)size;
}

bool vu_suspended(const struct cvmm_vhost_user_backend *b)
{
	for (unsigned int i = 0; i < b->queue_count; i++) {
		if (b->queues[i].started)
			return false;
	}
	return true;
}

int vu_queue_index_check(const struct cvmm_vhost_user_backend *b, uint64_t index,
			 struct cvmm_error *err)
{
	if (index >= b->queue_count)
		return cvmm_fail(err, -EINVAL, "there is no queue %llu, but %u",
				 (unsigned long long)index, b->queue_count);
	return 0;
}

/* ---- what the device says ---------------------------------------------------------------------- */

/* The map marks the ring where it lies; the front-end may want that elsewhere. */
static void log_used_ring(struct vu_queue *q)
{
	struct cvmm_vhost_user_backend *b = q->backend;

	if (!vu_has_feature(b, CVMM_VHOST_USER_F_LOG_ALL))
		return;
	if (q->addr.flags & CVMM_VHOST_USER_VRING_F_LOG)
		cvmm_dirty_mark(b->mem.log, q->addr.log, used_bytes(b, q->size));
	if (b->log_notifier.write_fd >= 0)
		(void)cvmm_notifier_signal(&b->log_notifier);
}

static void host_notify(struct cvmm_virtio_host *host, unsigned int queue)
{
	struct cvmm_vhost_user_backend *b =
		CVMM_CONTAINER_OF(host, struct cvmm_vhost_user_backend, host);
	struct cvmm_vhost_user_vring_state state = { .index = queue };
	struct vu_queue *q;

	CVMM_BUG_ON(queue >= b->queue_count);
	q = &b->queues[queue];
	log_used_ring(q);
	if (q->call.write_fd >= 0)
		(void)cvmm_notifier_signal(&q->call);
	else if (vu_negotiated(b, CVMM_VHOST_USER_PROTOCOL(INBAND_NOTIFICATIONS)))
		(void)vu_channel_call(b, CVMM_VHOST_USER_BACKEND_VRING_CALL, &state, sizeof(state),
				      -1, NULL, NULL);
}

static void host_config_changed(struct cvmm_virtio_host *host)
{
	struct cvmm_vhost_user_backend *b =
		CVMM_CONTAINER_OF(host, struct cvmm_vhost_user_backend, host);

	b->config_changed = true;
	vu_tell_config_changed(b);
}

void vu_queue_fail(struct vu_queue *q)
{
	struct cvmm_vhost_user_backend *b = q->backend;
	struct cvmm_vhost_user_vring_state state = { .index = q->index };

	if (q->failed)
		return;
	q->failed = true;
	if (q->err.write_fd >= 0)
		(void)cvmm_notifier_signal(&q->err);
	else if (vu_negotiated(b, CVMM_VHOST_USER_PROTOCOL(INBAND_NOTIFICATIONS)))
		(void)vu_channel_call(b, CVMM_VHOST_USER_BACKEND_VRING_ERR, &state, sizeof(state),
				      -1, NULL, NULL);
}

static void host_needs_reset(struct cvmm_virtio_host *host)
{
	struct cvmm_vhost_user_backend *b =
		CVMM_CONTAINER_OF(host, struct cvmm_vhost_user_backend, host);

	b->needs_reset = true;
	for (unsigned int i = 0; i < b->queue_count; i++) {
		enum cvmm_virtq_violation violation = cvmm_virtq_violation(&b->virtqs[i]);

		if (!b->queues[i].running || violation == CVMM_VIRTQ_OK || b->queues[i].failed)
			continue;
		vu_log(b, CVMM_LOG_WARN, "vhost-user %s: queue %u is broken: %s",
		       b->config.ops->name, i, cvmm_virtq_violation_name(violation));
		b->queues[i].broken = true;
		vu_queue_fail(&b->queues[i]);
	}
}

const struct cvmm_virtio_host_ops vu_host_ops = {
	.size = sizeof(vu_host_ops),
	.notify = host_notify,
	.config_changed = host_config_changed,
	.needs_reset = host_needs_reset,
};

/* ---- kicks ------------------------------------------------------------------------------------- */

/* Whether the device can go through the ring without missing a translation of its areas. */
static bool areas_are_there(struct vu_queue *q)
{
	struct cvmm_vhost_user_backend *b = q->backend;
	const struct cvmm_virtq_config *c = &virtq_of(q)->config;
	struct cvmm_mem *map = vu_queue_map(b);
	uint64_t desc_bytes = 16 * (uint64_t)c->size;
	uint64_t avail_bytes = c->packed ? 4 : 6 + 2 * (uint64_t)c->size;
	int r = 0;

	if (!vu_has_feature(b, CVMM_VIRTIO_F_ACCESS_PLATFORM))
		return true;
	/* All of them, so that all that is missing is asked for at once. */
	r |= cvmm_mem_check(map, c->desc, desc_bytes,
			    c->packed ? CVMM_ACCESS_READ_WRITE : CVMM_ACCESS_READ) == -EAGAIN;
	r |= cvmm_mem_check(map, c->avail, avail_bytes, CVMM_ACCESS_READ) == -EAGAIN;
	r |= cvmm_mem_check(map, c->used, used_bytes(b, c->size), CVMM_ACCESS_WRITE) == -EAGAIN;
	return r == 0;
}

static void kick(struct vu_queue *q)
{
	struct cvmm_vhost_user_backend *b = q->backend;

	if (!q->running || q->failed)
		return;
	q->stalled = !areas_are_there(q);
	if (q->stalled)
		return;
	vu_enter(b);
	b->config.ops->kick(b->config.dev, q->index);
	vu_leave(b);
}

static void on_kick(void *ctx, int fd, unsigned int events)
{
	struct vu_queue *q = ctx;
	int r = cvmm_notifier_consume(&q->kick);

	(void)fd;
	/* Nobody can kick any more: to look again and again would help nobody. */
	if (r < 0 || events & (CVMM_EVENT_HANGUP | CVMM_EVENT_ERROR))
		(void)cvmm_source_set_events(q->kick_source, 0);
	kick(q);
}

static void on_poll(void *ctx)
{
	struct vu_queue *q = ctx;
	uint16_t before = virtq_of(q)->next_avail;
	bool idle;

	kick(q);
	if (!q->poll_timer)
		return;
	idle = virtq_of(q)->next_avail == before;
	q->idle_rounds = idle ? q->idle_rounds + 1 : 0;
	(void)cvmm_timer_arm(q->poll_timer, q->idle_rounds > POLL_IDLE_ROUNDS ? POLL_IDLE_NS : 0,
			     0);
}

void vu_queues_unstall(struct cvmm_vhost_user_backend *b)
{
	for (unsigned int i = 0; i < b->queue_count; i++)
		kick(&b->queues[i]);
}

static void unwatch(struct vu_queue *q)
{
	cvmm_source_remove(q->kick_source);
	cvmm_source_remove(q->poll_timer);
	q->kick_source = NULL;
	q->poll_timer = NULL;
	q->idle_rounds = 0;
}

static int watch(struct vu_queue *q)
{
	struct cvmm_loop *loop = q->backend->config.loop;
	int r;

	unwatch(q);
	if (q->kick.read_fd >= 0)
		return cvmm_loop_add_fd(loop, q->kick.read_fd, CVMM_EVENT_READ, on_kick, q,
					&q->kick_source);
	if (!q->polled)
		return 0; /* in-band */
	r = cvmm_loop_add_timer(loop, on_poll, q, &q->poll_timer);
	return r ? r : cvmm_timer_arm(q->poll_timer, 0, 0);
}

/* ---- running and halting ----------------------------------------------------------------------- */

static bool can_run(const struct vu_queue *q)
{
	struct cvmm_vhost_user_backend *b = q->backend;

	return q->started && q->enabled && !q->running && !q->failed && q->size && q->has_addr &&
	       vu_queue_map(b) && !b->postcopy.wants_ack;
}

static int make_config(struct vu_queue *q, struct cvmm_virtq_config *ret_config,
		       struct cvmm_error *err)
{
	const struct cvmm_vhost_user_backend *b = q->backend;
	struct cvmm_virtq_config c = {
		.size = q->size,
		.packed = is_packed(b),
		.event_idx = vu_has_feature(b, CVMM_VIRTIO_F_EVENT_IDX),
		.indirect = vu_has_feature(b, CVMM_VIRTIO_F_INDIRECT_DESC),
		.in_order = vu_has_feature(b, CVMM_VIRTIO_F_IN_ORDER),
	};

	if (vu_translate(b, q->addr.desc, &c.desc) || vu_translate(b, q->addr.avail, &c.avail) ||
	    vu_translate(b, q->addr.used, &c.used))
		return cvmm_fail(err, -EFAULT, "queue %u: an area is in no memory region",
				 q->index);
	*ret_config = c;
	return 0;
}

/* Start the virtqueue. Return: -EAGAIN if a translation is missing, which has been asked for. */
static int start_virtq(struct vu_queue *q, struct cvmm_error *err)
{
	struct cvmm_virtq *vq = virtq_of(q);
	struct cvmm_mem *map = vu_queue_map(q->backend);
	struct cvmm_virtq_config config;
	struct cvmm_virtq_base base = q->base;
	int r = make_config(q, &config, err);

	if (!r && !config.packed) {
		cvmm_le16 idx;

		/* Split rings have the used index in memory. */
		r = cvmm_mem_read(map, cvmm_gpa_add(config.used, 2), &idx, sizeof(idx));
		base.next_used = r ? 0 : cvmm_le16_get(idx);
		if (r && r != -EAGAIN)
			cvmm_fail(err, r, "queue %u: the used ring is not in memory", q->index);
	}
	if (!r)
		r = cvmm_virtq_start_at(vq, map, &config, &base, err);
	if (r)
		return r;
	if (q->inflight)
		r = cvmm_virtq_set_inflight(vq, q->inflight, q->inflight_bytes, err);
	if (r)
		cvmm_virtq_stop(vq);
	return r;
}

static void stop_virtq(struct vu_queue *q)
{
	struct cvmm_virtq *vq = virtq_of(q);

	if (vq->in_flight && !q->inflight)
		vu_log(q->backend, CVMM_LOG_WARN,
		       "vhost-user %s: queue %u was stopped with %u requests in flight, which are "
		       "lost: the front-end has no inflight region",
		       q->backend->config.ops->name, q->index, vq->in_flight);
	q->base = cvmm_virtq_base(vq);
	cvmm_virtq_stop(vq);
	q->running = false;
	q->stalled = false;
	unwatch(q);
}

static int start_device(struct cvmm_vhost_user_backend *b, struct cvmm_error *err)
{
	struct cvmm_virtio_start start = {
		.host = &b->host,
		.loop = b->config.loop,
		.mem = vu_queue_map(b),
		.queues = b->virtqs,
		.queue_count = b->queue_count,
		.features = b->features,
	};
	int r = b->config.ops->start(b->config.dev, &start, err);

	b->device_started = !r;
	return r;
}

static int run(struct vu_queue *q, struct cvmm_error *err)
{
	struct cvmm_vhost_user_backend *b = q->backend;
	int r = start_virtq(q, err);

	if (r)
		return r;
	q->running = true;
	if (!b->device_started)
		r = start_device(b, err);
	else
		b->config.ops->queue_start(b->config.dev, q->index);
	if (!r)
		r = watch(q);
	if (r) {
		if (b->device_started)
			vu_queue_halt(q, false);
		else
			stop_virtq(q);
		return r;
	}
	vu_tell_config_changed(b);
	return 0;
}

static unsigned int running_count(const struct cvmm_vhost_user_backend *b)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < b->queue_count; i++)
		n += b->queues[i].running;
	return n;
}

/* A queue did not start. Return: what is left of that for the front-end. */
static int not_started(struct vu_queue *q, int r, struct cvmm_error *err)
{
	if (r == -EAGAIN)
		return 0; /* when the translations come */
	vu_queue_fail(q);
	if (err && !err->message[0])
		cvmm_fail(err, r, "queue %u cannot be started: %s", q->index, strerror(-r));
	return r;
}

/* For devices that cannot take a queue while they run: they are stopped, and start with all of them. */
static int run_together(struct cvmm_vhost_user_backend *b, struct cvmm_error *err)
{
	int first = 0, r;

	vu_queues_halt(b);
	for (unsigned int i = 0; i < b->queue_count; i++) {
		struct vu_queue *q = &b->queues[i];

		if (!can_run(q))
			continue;
		r = start_virtq(q, first ? NULL : err);
		q->running = !r;
		r = r ? not_started(q, r, first ? NULL : err) : 0;
		first = first ? first : r;
	}
	r = running_count(b) ? start_device(b, first ? NULL : err) : 0;
	for (unsigned int i = 0; i < b->queue_count; i++) {
		struct vu_queue *q = &b->queues[i];

		if (!q->running)
			continue;
		if (r || watch(q)) {
			vu_queue_fail(q);
			if (r)
				stop_virtq(q); /* the device never had it */
		} else {
			kick(q);
		}
	}
	return first ? first : r;
}

int vu_queue_try_run(struct vu_queue *q, struct cvmm_error *err)
{
	struct cvmm_vhost_user_backend *b = q->backend;
	int r;

	if (!can_run(q))
		return 0;
	vu_enter(b);
	if (b->device_started && !b->config.ops->queue_start) {
		r = run_together(b, err);
	} else {
		r = run(q, err);
		if (r)
			r = not_started(q, r, err);
		else
			kick(q);
	}
	vu_leave(b);
	return r;
}

int vu_queues_try_run(struct cvmm_vhost_user_backend *b, struct cvmm_error *err)
{
	int first = 0;

	for (unsigned int i = 0; i < b->queue_count; i++) {
		int r = vu_queue_try_run(&b->queues[i], first ? NULL : err);

		first = first ? first : r;
	}
	return first;
}

/* The device lets go of a queue; of all of them if it cannot do otherwise. */
static void take_from_device(struct vu_queue *q, bool suspend)
{
	struct cvmm_vhost_user_backend *b = q->backend;
	const struct cvmm_virtio_device_ops *ops = b->config.ops;

	if (suspend && ops->queue_suspend)
		ops->queue_suspend(b->config.dev, q->index);
	else if (ops->queue_stop)
		ops->queue_stop(b->config.dev, q->index);
	if (running_count(b) == 1 || !ops->queue_stop) {
		ops->stop(b->config.dev);
		b->device_started = false;
	}
}

void vu_queue_halt(struct vu_queue *q, bool suspend)
{
	struct cvmm_vhost_user_backend *b = q->backend;

	if (!q->running)
		return;
	vu_enter(b);
	take_from_device(q, suspend);
	stop_virtq(q);
	/* A device that had to be stopped for one queue has none any more. */
	for (unsigned int i = 0; i < b->queue_count && !b->device_started; i++) {
		if (b->queues[i].running)
			stop_virtq(&b->queues[i]);
	}
	vu_leave(b);
}

void vu_queues_halt(struct cvmm_vhost_user_backend *b)
{
	for (unsigned int i = 0; i < b->queue_count; i++)
		vu_queue_halt(&b->queues[i], false);
}

void vu_queues_follow(struct cvmm_vhost_user_backend *b)
{
	for (unsigned int i = 0; i < b->queue_count; i++) {
		/* Behind an IOMMU the map is another one each time. */
		if (b->queues[i].running && (vu_has_feature(b, CVMM_VIRTIO_F_ACCESS_PLATFORM) ||
					     cvmm_virtq_set_mem(&b->virtqs[i], b->mem.map, NULL)))
			vu_queue_halt(&b->queues[i], false);
	}
}

/* ---- the state of a ring ----------------------------------------------------------------------- */

void vu_queue_init(struct cvmm_vhost_user_backend *b, unsigned int index)
{
	struct vu_queue *q = &b->queues[index];

	*q = (struct vu_queue){
		.backend = b,
		.index = index,
		.base = CVMM_VIRTQ_BASE_START,
		.kick = CVMM_NOTIFIER_NONE,
		.call = CVMM_NOTIFIER_NONE,
		.err = CVMM_NOTIFIER_NONE,
	};
}

static void drop_notifier(struct cvmm_notifier *n)
{
	cvmm_notifier_fini(n);
	*n = CVMM_NOTIFIER_NONE;
}

void vu_queue_reset_ring(struct vu_queue *q)
{
	struct vu_queue before = *q;

	vu_queue_halt(q, false);
	drop_notifier(&q->kick);
	vu_queue_init(q->backend, q->index);
	q->call = before.call;
	q->err = before.err;
	q->inflight = before.inflight;
	q->inflight_bytes = before.inflight_bytes;
}

void vu_queue_reset(struct vu_queue *q)
{
	vu_queue_reset_ring(q);
	drop_notifier(&q->call);
	drop_notifier(&q->err);
	q->inflight = NULL;
}

/* ---- messages: sizes, addresses, places -------------------------------------------------------- */

/* The queue of a vring state, checked; NULL with a message. */
static struct vu_queue *queue_of(struct cvmm_vhost_user_backend *b, uint64_t index,
				 struct cvmm_error *err)
{
	return vu_queue_index_check(b, index, err) ? NULL : &b->queues[index];
}

static int refuse_running(const struct vu_queue *q, struct cvmm_error *err)
{
	if (q->running)
		return cvmm_fail(err, -EBUSY, "queue %u runs: stop it first", q->index);
	return 0;
}

/* Queues may be longer than the device asks for: that is the front-end's choice. */
static int make_room(struct vu_queue *q, uint32_t size)
{
	struct cvmm_virtq *vq = virtq_of(q), fresh;
	uint32_t room = vq->max_size;
	int r;

	if (size <= room)
		return 0;
	while (room < size)
		room *= 2;
	memset(&fresh, 0, sizeof(fresh));
	r = cvmm_virtq_init(&fresh, (uint16_t)room);
	if (r)
		return r;
	cvmm_virtq_fini(vq);
	*vq = fresh;
	return 0;
}

int vu_set_vring_num(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		     struct vu_reply *reply, struct cvmm_error *err)
{
	const struct cvmm_vhost_user_vring_state *state = (const void *)msg->payload;
	struct vu_queue *q = queue_of(b, state->index, err);
	int r;

	(void)reply;
	if (!q)
		return -EINVAL;
	if (!state->num || state->num > CVMM_VIRTQ_SIZE_MAX ||
	    (!is_packed(b) && !cvmm_is_pow2(state->num)))
		return cvmm_fail(err, -EINVAL, "%u is no size for a %s queue", state->num,
				 is_packed(b) ? "packed" : "split");
	r = refuse_running(q, err);
	if (r)
		return r;
	r = make_room(q, state->num);
	if (r)
		return cvmm_fail(err, r, "queue %u: %s", q->index, strerror(-r));
	q->size = (uint16_t)state->num;
	return 0;
}

/* What can be known of addresses before the ring starts. */
static int check_addr(const struct cvmm_vhost_user_backend *b,
		      const struct cvmm_vhost_user_vring_addr *addr, struct cvmm_error *err)
{
	cvmm_gpa gpa;

	if (addr->desc % 16 || addr->avail % (is_packed(b) ? 4 : 2) || addr->used % 4)
		return cvmm_fail(err, -EINVAL, "queue %u: misaligned areas", addr->index);
	if (addr->flags & ~CVMM_VHOST_USER_VRING_F_LOG)
		return cvmm_fail(err, -EINVAL, "queue %u: unknown flags 0x%x", addr->index,
				 addr->flags);
	if (b->mem.count &&
	    (vu_translate(b, addr->desc, &gpa) || vu_translate(b, addr->avail, &gpa) ||
	     vu_translate(b, addr->used, &gpa)))
		return cvmm_fail(err, -EFAULT, "queue %u: an area is in no memory region",
				 addr->index);
	return 0;
}

int vu_set_vring_addr(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		      struct vu_reply *reply, struct cvmm_error *err)
{
	const struct cvmm_vhost_user_vring_addr *addr = (const void *)msg->payload;
	struct vu_queue *q = queue_of(b, addr->index, err);
	int r = q ? check_addr(b, addr, err) : -EINVAL;

	(void)reply;
	if (r)
		return r;
	/* On the fly only the log may change. */
	if (q->running && (addr->desc != q->addr.desc || addr->avail != q->addr.avail ||
			   addr->used != q->addr.used))
		return refuse_running(q, err);
	q->addr = *addr;
	q->has_addr = true;
	return vu_queue_try_run(q, err);
}

#define BASE_WRAP 0x8000U
#define BASE_INDEX_MASK 0x7fffU
#define BASE_USED_SHIFT 16

int vu_set_vring_base(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		      struct vu_reply *reply, struct cvmm_error *err)
{
	const struct cvmm_vhost_user_vring_state *state = (const void *)msg->payload;
	struct vu_queue *q = queue_of(b, state->index, err);
	uint32_t used = state->num >> BASE_USED_SHIFT;
	int r = q ? refuse_running(q, err) : -EINVAL;

	(void)reply;
	if (r)
		return r;
	if (is_packed(b)) {
		q->base = (struct cvmm_virtq_base){
			.next_avail = (uint16_t)(state->num & BASE_INDEX_MASK),
			.avail_wrap = state->num & BASE_WRAP,
			.next_used = (uint16_t)(used & BASE_INDEX_MASK),
			.used_wrap = used & BASE_WRAP,
		};
	} else {
		/* Bits 16 to 31 are reserved: what other front-ends leave there has no meaning. */
		q->base = CVMM_VIRTQ_BASE_START;
		q->base.next_avail = (uint16_t)state->num;
	}
	return 0;
}

static int get_base(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		    bool suspend, struct vu_reply *reply, struct cvmm_error *err)
{
	struct cvmm_vhost_user_vring_state *state = (void *)msg->payload;
	struct vu_queue *q = queue_of(b, state->index, err);

	if (!q)
		return -EINVAL;
	vu_queue_halt(q, suspend);
	unwatch(q);
	drop_notifier(&q->kick);
	q->polled = false;
	q->started = false;
	q->failed = false;
	q->broken = false;
	/* Those that the device was stopped for. */
	(void)vu_queues_try_run(b, NULL);
	state->num = q->base.next_avail;
	if (is_packed(b)) {
		uint32_t used = q->base.next_used | (q->base.used_wrap ? BASE_WRAP : 0);

		state->num |= q->base.avail_wrap ? BASE_WRAP : 0;
		state->num |= used << BASE_USED_SHIFT;
	}
	reply->bytes = state;
	reply->len_bytes = sizeof(*state);
	return 0;
}

int vu_get_vring_base(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		      struct vu_reply *reply, struct cvmm_error *err)
{
	return get_base(b, msg, false, reply, err);
}

int vu_get_vring_base_skip_drain(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
				 struct vu_reply *reply, struct cvmm_error *err)
{
	return get_base(b, msg, true, reply, err);
}

/* ---- messages: descriptors --------------------------------------------------------------------- */

/* The queue and the notifier, or none, of a message with bit 8. */
static int take_notifier(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
			 bool we_read, struct vu_queue **ret_queue, struct cvmm_notifier *ret,
			 struct cvmm_error *err)
{
	uint64_t value = msg->payload[0];
	struct vu_queue *q = queue_of(b, value & CVMM_VHOST_USER_VRING_INDEX_MASK, err);
	int r;

	if (!q)
		return -EINVAL;
	if (value & ~(uint64_t)(CVMM_VHOST_USER_VRING_INDEX_MASK | CVMM_VHOST_USER_VRING_NO_FD))
		return cvmm_fail(err, -EINVAL, "queue numbers have 8 bits: 0x%llx",
				 (unsigned long long)value);
	*ret = CVMM_NOTIFIER_NONE;
	if (msg->fd_count) {
		r = cvmm_notifier_from_fd(cvmm_vhost_user_msg_take_fd(msg, 0), we_read, ret);
		if (r)
			return cvmm_fail(err, r, "queue %u: the descriptor is no notifier: %s",
					 q->index, strerror(-r));
	}
	*ret_queue = q;
	return 0;
}

int vu_set_vring_kick(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		      struct vu_reply *reply, struct cvmm_error *err)
{
	struct cvmm_notifier kick_notifier;
	struct vu_queue *q;
	int r = take_notifier(b, msg, true, &q, &kick_notifier, err);

	(void)reply;
	if (r)
		return r;
	unwatch(q);
	drop_notifier(&q->kick);
	q->kick = kick_notifier;
	q->polled = q->kick.read_fd < 0;
	q->started = true;
	if (!q->running)
		return vu_queue_try_run(q, err);
	r = watch(q);
	if (r)
		return cvmm_fail(err, r, "queue %u: cannot watch its descriptor: %s", q->index,
				 strerror(-r));
	kick(q);
	return 0;
}

int vu_set_vring_call(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		      struct vu_reply *reply, struct cvmm_error *err)
{
	struct cvmm_notifier call;
	struct vu_queue *q;
	int r = take_notifier(b, msg, false, &q, &call, err);

	(void)reply;
	if (r)
		return r;
	drop_notifier(&q->call);
	q->call = call;
	/* What was used while there was none, or another one. */
	if (q->running && q->call.write_fd >= 0)
		(void)cvmm_notifier_signal(&q->call);
	return 0;
}

int vu_set_vring_err(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		     struct vu_reply *reply, struct cvmm_error *err)
{
	struct cvmm_notifier notifier;
	struct vu_queue *q;
	int r = take_notifier(b, msg, false, &q, &notifier, err);

	(void)reply;
	if (r)
		return r;
	drop_notifier(&q->err);
	q->err = notifier;
	if (q->failed && q->err.write_fd >= 0)
		(void)cvmm_notifier_signal(&q->err);
	return 0;
}

/* ---- messages: states -------------------------------------------------------------------------- */

int vu_set_vring_enable(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
			struct vu_reply *reply, struct cvmm_error *err)
{
	const struct cvmm_vhost_user_vring_state *state = (const void *)msg->payload;
	struct vu_queue *q = queue_of(b, state->index, err);

	(void)reply;
	if (!q)
		return -EINVAL;
	if (state->num > 1)
		return cvmm_fail(err, -EINVAL, "a queue is enabled by 1 and disabled by 0, not %u",
				 state->num);
	q->enabled = state->num;
	if (q->enabled)
		return vu_queue_try_run(q, err);
	vu_queue_halt(q, false);
	(void)vu_queues_try_run(b, NULL);
	return 0;
}

int vu_vring_kick(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		  struct vu_reply *reply, struct cvmm_error *err)
{
	const struct cvmm_vhost_user_vring_state *state = (const void *)msg->payload;
	struct vu_queue *q = queue_of(b, state->index, err);

	(void)reply;
	if (!q)
		return -EINVAL;
	q->started = true;
	if (!q->running)
		return vu_queue_try_run(q, err);
	kick(q);
	return 0;
}

int vu_set_vring_endian(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
			struct vu_reply *reply, struct cvmm_error *err)
{
	const struct cvmm_vhost_user_vring_state *state = (const void *)msg->payload;

	(void)reply;
	if (!queue_of(b, state->index, err))
		return -EINVAL;
	/* Rings of VIRTIO 1.x are little-endian, and others are not served here. */
	if (state->num)
		return cvmm_fail(err, -EOPNOTSUPP, "only little-endian rings can be served");
	return 0;
}
