// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The device core of a back-end: what transports see.
 *
 * Theory of operation: nothing happens here but handing over. Starting a device or a queue is posted to the
 * proxy's thread, and what fails there comes back as a wish for a reset; only what must be over when the
 * operation returns is waited for. In the other direction the thread sets a bit of what is to be told, and
 * signals. It never waits for the loop, so the loop may wait for it.
 *
 * Buffers that were used are notified on the loop: the back-end signals a descriptor of each queue.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "vhost_user_proxy_internal.h"

/* ---- what comes from the back-end ---------------------------------------------------------------- */

static void on_call(void *ctx, int fd, unsigned int events)
{
	struct proxy_queue *q = ctx;
	struct cvmm_virtio_host *host = q->proxy->host;

	(void)fd;
	(void)events;
	if (cvmm_notifier_consume(&q->call) > 0)
		host->ops->notify(host, q->index);
}

static void on_err(void *ctx, int fd, unsigned int events)
{
	struct cvmm_vhost_user_proxy *p = ctx;

	(void)fd;
	(void)events;
	if (cvmm_notifier_consume(&p->err_notifier) > 0)
		p->host->ops->needs_reset(p->host);
}

static void on_events(void *ctx, int fd, unsigned int events)
{
	struct cvmm_vhost_user_proxy *p = ctx;
	struct cvmm_virtio_host *host = p->host;
	unsigned int told;

	(void)fd;
	(void)events;
	(void)cvmm_notifier_consume(&p->events_notifier);
	told = atomic_exchange(&p->events, 0);
	if (told & PROXY_CONFIG_CHANGED)
		host->ops->config_changed(host);
	for (unsigned int i = 0; i < p->queue_count && told & PROXY_LOOK_AT_QUEUES; i++)
		host->ops->notify(host, i);
	if (told & PROXY_NEEDS_RESET)
		host->ops->needs_reset(host);
}

static void unwatch(struct cvmm_vhost_user_proxy *p)
{
	for (unsigned int i = 0; i < p->queue_count; i++) {
		cvmm_source_remove(p->queues[i].call_source);
		p->queues[i].call_source = NULL;
	}
	cvmm_source_remove(p->err_source);
	cvmm_source_remove(p->events_source);
	p->err_source = p->events_source = NULL;
}

/* What was signalled before is of another start. */
static int watch(struct cvmm_vhost_user_proxy *p, struct cvmm_loop *loop)
{
	int r;

	(void)cvmm_notifier_consume(&p->err_notifier);
	(void)cvmm_notifier_consume(&p->events_notifier);
	atomic_store(&p->events, 0);
	r = cvmm_loop_add_fd(loop, p->events_notifier.read_fd, CVMM_EVENT_READ, on_events, p,
			     &p->events_source);
	if (!r)
		r = cvmm_loop_add_fd(loop, p->err_notifier.read_fd, CVMM_EVENT_READ, on_err, p,
				     &p->err_source);
	for (unsigned int i = 0; i < p->queue_count && !r; i++) {
		struct proxy_queue *q = &p->queues[i];

		(void)cvmm_notifier_consume(&q->call);
		r = cvmm_loop_add_fd(loop, q->call.read_fd, CVMM_EVENT_READ, on_call, q,
				     &q->call_source);
	}
	if (r)
		unwatch(p);
	return r;
}

/* ---- identity ------------------------------------------------------------------------------------ */

static unsigned int proxy_queue_count(void *dev)
{
	return ((struct cvmm_vhost_user_proxy *)dev)->queue_count;
}

static uint16_t proxy_queue_size_max(void *dev, unsigned int queue)
{
	(void)queue;
	return ((struct cvmm_vhost_user_proxy *)dev)->config.queue_size;
}

static uint64_t proxy_features(void *dev)
{
	return ((struct cvmm_vhost_user_proxy *)dev)->features;
}

static uint64_t proxy_ring_features(void *dev)
{
	return ((struct cvmm_vhost_user_proxy *)dev)->offered & CVMM_VIRTIO_RING_FEATURES_ALL;
}

static struct cvmm_virtio_config_space *proxy_config_space(void *dev)
{
	return &((struct cvmm_vhost_user_proxy *)dev)->space;
}

/* ---- operation ----------------------------------------------------------------------------------- */

static int take_kick(struct cvmm_vhost_user_proxy *p, struct proxy_queue *q)
{
	struct cvmm_virtio_host *host = p->host;

	q->kick = host->ops->take_kick ? host->ops->take_kick(host, q->index) : NULL;
	if (q->kick)
		return 0;
	q->kick = &q->own_kick;
	if (q->own_kick.read_fd >= 0)
		return 0;
	return cvmm_notifier_init(&q->own_kick, CVMM_NOTIFIER_AUTO);
}

/* The thread does not look at any of this before it is told. */
static int take_queues(struct cvmm_vhost_user_proxy *p, const struct cvmm_virtio_start *start)
{
	int r = 0;

	for (unsigned int i = 0; i < p->queue_count && !r; i++) {
		struct proxy_queue *q = &p->queues[i];

		q->wanted = cvmm_virtq_is_started(&start->queues[i]);
		q->config = start->queues[i].config;
		r = take_kick(p, q);
	}
	return r;
}

static int proxy_start(void *dev, const struct cvmm_virtio_start *start, struct cvmm_error *err)
{
	struct cvmm_vhost_user_proxy *p = dev;
	int r;

	p->host = start->host;
	p->virtqs = start->queues;
	p->mem = start->mem;
	p->driver_features = start->features;
	r = take_queues(p, start);
	if (!r)
		r = watch(p, start->loop);
	if (!r)
		r = cvmm_loop_post(p->thread_loop, proxy_session_start, p);
	if (!r)
		return 0;
	unwatch(p);
	p->host = NULL;
	return cvmm_fail(err, r, "cannot start: %s", strerror(-r));
}

static void proxy_kick(void *dev, unsigned int queue)
{
	struct cvmm_vhost_user_proxy *p = dev;
	struct proxy_queue *q = &p->queues[queue];

	if (p->host && q->kick == &q->own_kick)
		(void)cvmm_notifier_signal(q->kick);
}

static void proxy_stop(void *dev)
{
	struct cvmm_vhost_user_proxy *p = dev;

	(void)cvmm_loop_call(p->thread_loop, proxy_session_stop, p);
	unwatch(p);
	p->host = NULL;
	p->virtqs = NULL;
}

static void proxy_queue_stop(void *dev, unsigned int queue)
{
	struct cvmm_vhost_user_proxy *p = dev;

	(void)cvmm_loop_call(p->thread_loop, proxy_session_queue_stop, &p->queues[queue]);
}

static void proxy_queue_start(void *dev, unsigned int queue)
{
	struct cvmm_vhost_user_proxy *p = dev;
	struct proxy_queue *q = &p->queues[queue];

	/* The thread has let go of it. */
	q->config = p->virtqs[queue].config;
	if (cvmm_loop_post(p->thread_loop, proxy_session_queue_start, q))
		p->host->ops->needs_reset(p->host);
}

static void proxy_config_written(void *dev, size_t offset, const void *bytes, size_t len_bytes)
{
	struct proxy_config_write w = { dev, offset, bytes, len_bytes };

	(void)cvmm_loop_call(w.proxy->thread_loop, proxy_session_write_config, &w);
}

/* A table for each device: what it can do is the back-end's matter. */
static void make_ops(struct cvmm_vhost_user_proxy *p)
{
	bool ring_reset = p->offered & CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_RING_RESET);

	p->ops = (struct cvmm_virtio_device_ops){
		.size = sizeof(p->ops),
		.name = p->kind->name,
		.device_id = p->config.device_id,
		.queue_count = proxy_queue_count,
		.queue_size_max = proxy_queue_size_max,
		.features = proxy_features,
		.config_space = proxy_config_space,
		.start = proxy_start,
		.kick = proxy_kick,
		.stop = proxy_stop,
		.queue_stop = ring_reset ? proxy_queue_stop : NULL,
		.queue_start = ring_reset ? proxy_queue_start : NULL,
		.config_written = p->config_bytes ? proxy_config_written : NULL,
		.ring_features = proxy_ring_features,
	};
}

/* ---- life ---------------------------------------------------------------------------------------- */

/* Of the front-end, which does not know which device it is. */
static void forward_log(void *ctx, enum cvmm_log_level level, const char *message)
{
	static const char prefix[] = "vhost-user: ";
	struct cvmm_vhost_user_proxy *p = ctx;

	if (strncmp(message, prefix, sizeof(prefix) - 1) == 0)
		message += sizeof(prefix) - 1;
	cvmm_log_limited(p->config.log, &p->frontend_log_limit, level, "vhost-user %s: %s",
			 p->kind->name, message);
}

static void *run_thread(void *arg)
{
	struct cvmm_vhost_user_proxy *p = arg;

	(void)cvmm_loop_run(p->thread_loop);
	return NULL;
}

/* Signals are the program's business: they must not end up on a thread that it does not know of. */
static int start_thread(struct cvmm_vhost_user_proxy *p)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	r = pthread_sigmask(SIG_SETMASK, &all, &old);
	if (r)
		return -r;
	cvmm_loop_disown(p->thread_loop);
	r = pthread_create(&p->thread, NULL, run_thread, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return -r;
	p->has_thread = true;
	return 0;
}

static int check_config(const struct cvmm_vhost_user_proxy_config *config, struct cvmm_error *err)
{
	if (!config->path && !config->connect)
		return cvmm_fail(err, -EINVAL, "a vhost-user device needs a socket");
	if (!config->device_id)
		return cvmm_fail(err, -EINVAL, "0 is no virtio device id");
	if (config->queue_count > CVMM_VIRTIO_QUEUES_MAX)
		return cvmm_fail(err, -EINVAL, "%u queues: at most %d are supported",
				 config->queue_count, CVMM_VIRTIO_QUEUES_MAX);
	if (config->queue_size &&
	    (!cvmm_is_pow2(config->queue_size) || config->queue_size > CVMM_VIRTQ_SIZE_MAX))
		return cvmm_fail(err, -EINVAL,
				 "a queue of %u entries: give a power of two up to %u",
				 config->queue_size, CVMM_VIRTQ_SIZE_MAX);
	if (config->config_bytes > CVMM_VIRTIO_CONFIG_BYTES_MAX &&
	    config->config_bytes != CVMM_VHOST_USER_PROXY_NO_CONFIG)
		return cvmm_fail(err, -EINVAL,
				 "a configuration space of %u bytes: at most %d are supported",
				 config->config_bytes, CVMM_VIRTIO_CONFIG_BYTES_MAX);
	return 0;
}

static struct cvmm_vhost_user_proxy *alloc_proxy(const struct cvmm_vhost_user_proxy_config *config)
{
	struct cvmm_vhost_user_proxy *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->config = *config;
	if (!p->config.queue_size)
		p->config.queue_size = CVMM_VHOST_USER_PROXY_QUEUE_SIZE_DEFAULT;
	p->kind = proxy_kind_find(config->device_id);
	p->frontend_log = (struct cvmm_log){ forward_log, p, CVMM_LOG_WARN };
	p->events_notifier = p->err_notifier = CVMM_NOTIFIER_NONE;
	for (unsigned int i = 0; i < CVMM_VIRTIO_QUEUES_MAX; i++)
		p->queues[i] = (struct proxy_queue){ .proxy = p,
						     .index = i,
						     .call = CVMM_NOTIFIER_NONE,
						     .own_kick = CVMM_NOTIFIER_NONE };
	return p;
}

/* What does not depend on the back-end. */
static int make_parts(struct cvmm_vhost_user_proxy *p, struct cvmm_error *err)
{
	int r = 0;

	if (p->config.path) {
		p->path = strdup(p->config.path);
		p->config.path = p->path;
		r = p->path ? 0 : -ENOMEM;
	}
	if (!r)
		r = cvmm_notifier_init(&p->events_notifier, CVMM_NOTIFIER_AUTO);
	if (!r)
		r = cvmm_notifier_init(&p->err_notifier, CVMM_NOTIFIER_AUTO);
	if (!r)
		r = cvmm_loop_create(CVMM_LOOP_AUTO, &p->thread_loop);
	if (!r)
		r = start_thread(p);
	return r ? cvmm_fail(err, r, "cannot make a vhost-user device: %s", strerror(-r)) : 0;
}

static int make_queues(struct cvmm_vhost_user_proxy *p, struct cvmm_error *err)
{
	int r = 0;

	for (unsigned int i = 0; i < p->queue_count && !r; i++)
		r = cvmm_notifier_init(&p->queues[i].call, CVMM_NOTIFIER_AUTO);
	return r ? cvmm_fail(err, r, "cannot make a notifier: %s", strerror(-r)) : 0;
}

int cvmm_vhost_user_proxy_create(const struct cvmm_vhost_user_proxy_config *config,
				 struct cvmm_vhost_user_proxy **ret_proxy, struct cvmm_error *err)
{
	struct cvmm_vhost_user_proxy *p;
	struct proxy_first first;
	int r = check_config(config, err);

	if (r)
		return r;
	p = alloc_proxy(config);
	if (!p)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	first = (struct proxy_first){ p, err };
	r = make_parts(p, err);
	if (!r)
		r = cvmm_loop_call(p->thread_loop, proxy_session_first, &first);
	if (!r)
		r = make_queues(p, err);
	if (r) {
		cvmm_vhost_user_proxy_destroy(p);
		return r;
	}
	make_ops(p);
	*ret_proxy = p;
	return 0;
}

void cvmm_vhost_user_proxy_destroy(struct cvmm_vhost_user_proxy *p)
{
	if (!p)
		return;
	if (p->has_thread) {
		(void)cvmm_loop_call(p->thread_loop, proxy_session_end, p);
		cvmm_loop_stop(p->thread_loop);
		pthread_join(p->thread, NULL);
	}
	cvmm_loop_destroy(p->thread_loop);
	for (unsigned int i = 0; i < CVMM_VIRTIO_QUEUES_MAX; i++) {
		cvmm_notifier_fini(&p->queues[i].call);
		cvmm_notifier_fini(&p->queues[i].own_kick);
	}
	cvmm_notifier_fini(&p->events_notifier);
	cvmm_notifier_fini(&p->err_notifier);
	if (p->has_space)
		cvmm_virtio_config_space_fini(&p->space);
	free(p->path);
	free(p);
}

const struct cvmm_virtio_device_ops *
cvmm_vhost_user_proxy_ops(const struct cvmm_vhost_user_proxy *proxy)
{
	return &proxy->ops;
}

bool cvmm_vhost_user_proxy_is_connected(const struct cvmm_vhost_user_proxy *proxy)
{
	return atomic_load(&proxy->is_connected);
}
