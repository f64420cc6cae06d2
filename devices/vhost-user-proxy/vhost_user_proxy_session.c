// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The connection to the back-end; all of this runs on the proxy's thread.
 *
 * Theory of operation: the device's operations say what shall be (started, which queues), and bring_up()
 * makes it so as far as there is a connection: it does what is not done yet. A connection that ends while
 * queues run keeps its front-end, which knows how to set them up again where they were; without
 * running queues there is nothing to keep, and the next connection begins anew. What is still missing then
 * is again for bring_up().
 *
 * A queue whose start was cut off by the end of the connection counts as running: the back-end may have
 * taken requests out of it.
 *
 * Attempts to connect follow each other at growing distances, and stop when the time is up. A back-end
 * that dies over and over again must not keep this thread busy: the distance shrinks only after a
 * connection that lasted. After the end only another start of the device makes another attempt.
 */
#include <errno.h>
#include <sys/socket.h>

#include "vhost_user_proxy_internal.h"

#define DELAY_FIRST_NS (UINT64_C(10) * CVMM_NS_PER_MS)
#define DELAY_MAX_NS CVMM_NS_PER_S
#define LASTED_NS CVMM_NS_PER_S

#define PROTOCOL_WANTED                                                                      \
	(CVMM_VHOST_USER_PROTOCOL(MQ) | CVMM_VHOST_USER_PROTOCOL(REPLY_ACK) |                \
	 CVMM_VHOST_USER_PROTOCOL(BACKEND_REQ) | CVMM_VHOST_USER_PROTOCOL(CONFIG) |          \
	 CVMM_VHOST_USER_PROTOCOL(INFLIGHT_SHMFD) | CVMM_VHOST_USER_PROTOCOL(RESET_DEVICE) | \
	 CVMM_VHOST_USER_PROTOCOL(CONFIGURE_MEM_SLOTS))

#define say(p, level, fmt, ...)                                                            \
	cvmm_log_limited((p)->config.log, &(p)->log_limit, (level), "vhost-user %s: " fmt, \
			 (p)->kind->name, __VA_ARGS__)

static void tell_loop(struct cvmm_vhost_user_proxy *p, enum proxy_event event)
{
	atomic_fetch_or(&p->events, event);
	(void)cvmm_notifier_signal(&p->events_notifier);
}

/* ---- connections --------------------------------------------------------------------------------- */

static bool is_connected(const struct cvmm_vhost_user_proxy *p)
{
	return p->connection && !cvmm_vhost_user_frontend_is_lost(p->fe);
}

static bool any_running(const struct cvmm_vhost_user_proxy *p)
{
	for (unsigned int i = 0; i < p->queue_count; i++)
		if (p->queues[i].running)
			return true;
	return false;
}

static void detach(struct cvmm_vhost_user_proxy *p)
{
	cvmm_source_remove(p->connection);
	p->connection = NULL;
	atomic_store(&p->is_connected, false);
}

/* Nothing of what the back-end had is kept. */
static void close_session(struct cvmm_vhost_user_proxy *p)
{
	detach(p);
	cvmm_vhost_user_frontend_destroy(p->fe);
	p->fe = NULL;
	p->is_set_up = false;
	for (unsigned int i = 0; i < p->queue_count; i++)
		p->queues[i].running = false;
}

static int config_changed(void *ctx)
{
	struct cvmm_vhost_user_proxy *p = ctx;

	if (!p->config_bytes)
		return -EOPNOTSUPP;
	/* Not here: the back-end may be waiting for the answer to this. */
	return cvmm_timer_arm(p->fetch, 0, 0);
}

static void on_fetch(void *ctx)
{
	struct cvmm_vhost_user_proxy *p = ctx;

	if (!is_connected(p))
		return;
	(void)proxy_identity_refresh(p);
	/* Also for what a driver has already seen: the back-end wants it to look. */
	tell_loop(p, PROXY_CONFIG_CHANGED);
}

static const struct cvmm_vhost_user_frontend_ops frontend_ops = {
	.size = sizeof(frontend_ops),
	.config_changed = config_changed,
};

static int get_connection(struct cvmm_vhost_user_proxy *p, unsigned int timeout_ms, int *ret_fd,
			  struct cvmm_error *err)
{
	if (p->config.connect)
		return p->config.connect(p->config.connect_ctx, timeout_ms, ret_fd, err);
	return cvmm_vhost_user_connect(p->path, timeout_ms, ret_fd, err);
}

/* Begin with a back-end that knows nothing. */
static int open_session(struct cvmm_vhost_user_proxy *p, int fd, struct cvmm_error *err)
{
	const struct cvmm_vhost_user_frontend_config config = {
		.loop = p->thread_loop,
		.ops = &frontend_ops,
		.ctx = p,
		.protocol_want = PROTOCOL_WANTED,
		.timeout_ms = p->config.request_timeout_ms,
		.log = &p->frontend_log,
	};
	int r = cvmm_vhost_user_frontend_create(&config, fd, &p->fe, err);

	if (!r)
		r = cvmm_vhost_user_frontend_negotiate(p->fe, err);
	return r;
}

static void on_connection(void *ctx, int fd, unsigned int events);

static int attach(struct cvmm_vhost_user_proxy *p, struct cvmm_error *err)
{
	int r = cvmm_loop_add_fd(p->thread_loop, cvmm_vhost_user_frontend_fd(p->fe),
				 CVMM_EVENT_READ, on_connection, p, &p->connection);

	if (r)
		return cvmm_fail(err, r, "cannot watch the connection: %s", strerror(-r));
	p->protocol = cvmm_vhost_user_frontend_protocol(p->fe);
	p->connected_at_ns = cvmm_clock_ns();
	p->gave_up = false;
	atomic_store(&p->is_connected, true);
	return 0;
}

/* ---- the device, as far as it is wanted and missing ---------------------------------------------- */

/* Each start has a region of its own: what is in flight is of this start. */
static int set_up_inflight(struct cvmm_vhost_user_proxy *p, struct cvmm_error *err)
{
	unsigned int count = p->queue_count;
	int r;

	if (!proxy_has_protocol(p, INFLIGHT_SHMFD))
		return 0;
	if (proxy_has_protocol(p, MQ) && p->backend_queue_count < count)
		count = p->backend_queue_count;
	(void)cvmm_vhost_user_frontend_init_inflight(p->fe, 0, 0, NULL);
	r = cvmm_vhost_user_frontend_init_inflight(p->fe, (uint16_t)count, p->config.queue_size,
						   err);
	if (r != -EREMOTEIO)
		return r;
	say(p, CVMM_LOG_WARN, "%s", "the back-end has no inflight region after all");
	return 0;
}

static int set_up(struct cvmm_vhost_user_proxy *p, struct cvmm_error *err)
{
	/* What kicks carry ends at the transport. */
	uint64_t features = p->driver_features & p->offered &
			    ~CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_NOTIFICATION_DATA);
	int r;

	if (p->is_set_up)
		return 0;
	r = cvmm_vhost_user_frontend_set_mem(p->fe, p->mem, err);
	if (!r)
		r = cvmm_vhost_user_frontend_set_features(p->fe, features, err);
	if (!r)
		r = set_up_inflight(p, err);
	p->is_set_up = !r;
	return r;
}

static int start_queue(struct proxy_queue *q, struct cvmm_error *err)
{
	struct cvmm_vhost_user_proxy *p = q->proxy;
	const struct cvmm_vhost_user_queue queue = {
		.index = q->index,
		.config = q->config,
		.base = CVMM_VIRTQ_BASE_START,
		.kick_fd = q->kick->read_fd,
		.call_fd = q->call.write_fd,
		.err_fd = p->err_notifier.write_fd,
	};
	int r = cvmm_vhost_user_frontend_clear_inflight(p->fe, q->index, err);

	if (!r)
		r = cvmm_vhost_user_frontend_start_queue(p->fe, &queue, err);
	if (!r && q->kick->write_fd != q->kick->read_fd)
		(void)cvmm_notifier_signal(q->kick);
	q->running = !r || cvmm_vhost_user_frontend_is_lost(p->fe);
	return r;
}

static int bring_up(struct cvmm_vhost_user_proxy *p, struct cvmm_error *err)
{
	int r = p->started ? set_up(p, err) : 0;

	for (unsigned int i = 0; i < p->queue_count && p->started && !r; i++)
		if (p->queues[i].wanted && !p->queues[i].running)
			r = start_queue(&p->queues[i], err);
	return r;
}

/* ---- the end of a connection --------------------------------------------------------------------- */

static void give_up(struct cvmm_vhost_user_proxy *p, const char *why)
{
	close_session(p);
	cvmm_timer_disarm(p->retry);
	p->gave_up = true;
	say(p, CVMM_LOG_ERROR, "%s%s", why, p->started ? "; the driver must reset the device" : "");
	if (p->started)
		tell_loop(p, PROXY_NEEDS_RESET);
}

static uint64_t longer(uint64_t delay_ns)
{
	return delay_ns * 2 < DELAY_MAX_NS ? delay_ns * 2 : DELAY_MAX_NS;
}

static void wait_for_another(struct cvmm_vhost_user_proxy *p)
{
	uint64_t now_ns = cvmm_clock_ns();
	bool lasted = now_ns - p->connected_at_ns >= LASTED_NS;

	p->deadline_ns = now_ns + p->config.reconnect_timeout_ms * CVMM_NS_PER_MS;
	p->delay_ns = lasted || !p->delay_ns ? DELAY_FIRST_NS : longer(p->delay_ns);
	if (cvmm_timer_arm(p->retry, p->delay_ns, 0))
		give_up(p, "cannot wait for another back-end");
}

/* A back-end that is still there must see it, before another one gets the queues. */
static void drop_connection(struct cvmm_vhost_user_proxy *p)
{
	int fd = p->fe ? cvmm_vhost_user_frontend_fd(p->fe) : -1;

	detach(p);
	if (fd >= 0)
		(void)shutdown(fd, SHUT_RDWR);
	if (!any_running(p))
		close_session(p);
}

static void lose(struct cvmm_vhost_user_proxy *p, const char *why)
{
	drop_connection(p);
	say(p, CVMM_LOG_WARN, "the back-end %s: waiting for another one", why);
	wait_for_another(p);
}

/* Answers are read by who waits for them: what is left for the loop is the end, or what nobody asked for. */
static void on_connection(void *ctx, int fd, unsigned int events)
{
	struct cvmm_vhost_user_proxy *p = ctx;
	char byte;
	ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN && !(events & (CVMM_EVENT_HANGUP | CVMM_EVENT_ERROR)))
		return;
	if (cvmm_vhost_user_frontend_is_lost(p->fe))
		lose(p, "was given up");
	else if (n > 0)
		lose(p, "sent what nobody asked for");
	else
		lose(p, "closed the connection");
}

static int try_again(struct cvmm_vhost_user_proxy *p, struct cvmm_error *err)
{
	int fd, r = get_connection(p, 0, &fd, err);

	if (r)
		return r;
	if (p->fe) {
		r = cvmm_vhost_user_frontend_reconnect(p->fe, fd, err);
	} else {
		r = open_session(p, fd, err);
		if (!r)
			r = proxy_identity_check(p, err);
	}
	if (!r)
		r = attach(p, err);
	return r ? r : bring_up(p, err);
}

static void have_another(struct cvmm_vhost_user_proxy *p)
{
	say(p, CVMM_LOG_WARN, "%s", "connected to another back-end");
	if (proxy_identity_refresh(p))
		tell_loop(p, PROXY_CONFIG_CHANGED);
	tell_loop(p, PROXY_LOOK_AT_QUEUES);
}

static void on_retry(void *ctx)
{
	struct cvmm_vhost_user_proxy *p = ctx;
	struct cvmm_error err = { 0 };
	int r = try_again(p, &err);
	bool is_late = cvmm_clock_ns() >= p->deadline_ns;

	if (!r) {
		have_another(p);
		return;
	}
	drop_connection(p);
	if (is_late)
		(void)cvmm_error_prefix(&err, "no other back-end within %u ms",
					p->config.reconnect_timeout_ms);
	/* The last two: it is not known where the queues were, and never will be. */
	if (is_late || r == -EOPNOTSUPP || r == -EINVAL) {
		give_up(p, err.message);
		return;
	}
	p->delay_ns = longer(p->delay_ns);
	if (cvmm_timer_arm(p->retry, p->delay_ns, 0))
		give_up(p, "cannot wait for another back-end");
}

/* ---- what the loop asks for ---------------------------------------------------------------------- */

static int make_timers(struct cvmm_vhost_user_proxy *p, struct cvmm_error *err)
{
	int r = cvmm_loop_add_timer(p->thread_loop, on_retry, p, &p->retry);

	if (!r)
		r = cvmm_loop_add_timer(p->thread_loop, on_fetch, p, &p->fetch);
	return r ? cvmm_fail(err, r, "cannot make a timer: %s", strerror(-r)) : 0;
}

int proxy_session_first(void *ctx)
{
	struct proxy_first *first = ctx;
	struct cvmm_vhost_user_proxy *p = first->proxy;
	int fd, r = make_timers(p, first->err);

	if (!r)
		r = get_connection(p, p->config.connect_timeout_ms, &fd, first->err);
	if (!r)
		r = open_session(p, fd, first->err);
	if (!r)
		r = proxy_identity_learn(p, first->err);
	if (!r)
		r = attach(p, first->err);
	return r;
}

int proxy_session_end(void *ctx)
{
	struct cvmm_vhost_user_proxy *p = ctx;

	close_session(p);
	cvmm_source_remove(p->retry);
	cvmm_source_remove(p->fetch);
	return 0;
}

/* A back-end that is there and refuses would do so again. One that was lost is seen by on_connection(). */
static void bring_up_or_give_up(struct cvmm_vhost_user_proxy *p)
{
	struct cvmm_error err = { 0 };

	if (bring_up(p, &err) && is_connected(p))
		give_up(p, err.message);
}

void proxy_session_start(void *ctx)
{
	struct cvmm_vhost_user_proxy *p = ctx;

	p->started = true;
	if (is_connected(p))
		bring_up_or_give_up(p);
	else if (!p->connection)
		wait_for_another(p);
}

int proxy_session_stop(void *ctx)
{
	struct cvmm_vhost_user_proxy *p = ctx;
	struct cvmm_virtq_base ignored;
	struct cvmm_error err = { 0 };
	int r = 0;

	for (unsigned int i = 0; i < p->queue_count; i++) {
		struct proxy_queue *q = &p->queues[i];

		if (q->running && is_connected(p) && !r)
			r = cvmm_vhost_user_frontend_stop_queue(p->fe, i, false, &ignored, &err);
		q->running = q->wanted = false;
	}
	if (!r && is_connected(p) && proxy_has_protocol(p, RESET_DEVICE))
		r = cvmm_vhost_user_frontend_reset_device(p->fe, &err);
	p->started = false;
	p->is_set_up = false;
	p->mem = NULL;
	/* What could not be taken back is not left to somebody who might use it. */
	if (r)
		lose(p, "could not be stopped");
	else if (!p->connection)
		close_session(p);
	return 0;
}

int proxy_session_queue_stop(void *ctx)
{
	struct proxy_queue *q = ctx;
	struct cvmm_vhost_user_proxy *p = q->proxy;
	struct cvmm_error err = { 0 };
	struct cvmm_virtq_base ignored;

	q->wanted = false;
	if (!q->running)
		return 0;
	q->running = false;
	if (!is_connected(p))
		cvmm_fail(&err, -ENOTCONN, "queue %u was reset while there was no back-end",
			  q->index);
	else if (!cvmm_vhost_user_frontend_stop_queue(p->fe, q->index, false, &ignored, &err))
		return 0;
	/* The front-end would set it up again, and the driver has taken it back. */
	give_up(p, err.message);
	return 0;
}

void proxy_session_queue_start(void *ctx)
{
	struct proxy_queue *q = ctx;

	q->wanted = true;
	if (is_connected(q->proxy))
		bring_up_or_give_up(q->proxy);
}

int proxy_session_write_config(void *ctx)
{
	const struct proxy_config_write *w = ctx;
	struct cvmm_vhost_user_proxy *p = w->proxy;
	struct cvmm_error err = { 0 };
	int r = -ENOTCONN;

	if (!is_connected(p))
		cvmm_fail(&err, r, "there is no back-end to write the configuration space of");
	else
		r = cvmm_vhost_user_frontend_set_config(p->fe, (uint32_t)w->offset, w->bytes,
							(uint32_t)w->len_bytes,
							CVMM_VHOST_USER_CONFIG_WRITABLE, &err);
	if (r)
		say(p, CVMM_LOG_WARN, "%s", err.message);
	else
		(void)proxy_identity_refresh(p);
	return 0;
}
