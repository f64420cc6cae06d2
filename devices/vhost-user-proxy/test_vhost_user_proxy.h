/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A back-end with a small device on a thread of its own, which can die and come again, and a proxy between it and
 * a driver. Include after <cmocka.h>.
 *
 * The device copies what it reads to what it writes. It can hold requests back, and lose them when it dies.
 */
#ifndef CVMM_TEST_VHOST_USER_PROXY_H
#define CVMM_TEST_VHOST_USER_PROXY_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cvmm/vhost-user_backend.h>
#include <cvmm/virtq_driver.h>

#include "vhost_user_proxy_internal.h"

#define QUEUES_MAX 4U
#define QUEUE_SIZE 16U
#define PIECES 64U
#define HELD_MAX 64U
#define DEADLINE_NS (UINT64_C(60) * CVMM_NS_PER_S)
#define OWN_FEATURE 1U /* bit 0 */

/* What must be true on whatever thread. */
#define must(cond)                                                                           \
	do {                                                                                 \
		if (!(cond)) {                                                               \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                             \
		}                                                                            \
	} while (0)

/* ---- the device -------------------------------------------------------------------------------- */

struct device {
	struct cvmm_virtio_config_space space;
	unsigned int queue_count;
	uint64_t own_features;
	struct cvmm_virtio_host *host;
	struct cvmm_virtq *queues;
	_Atomic uint64_t features;
	atomic_bool hold;     /* keep what is popped */
	atomic_bool is_dying; /* and forget it when a queue is taken away */
	struct cvmm_virtq_chain held[QUEUES_MAX][HELD_MAX];
	atomic_uint held_count[QUEUES_MAX];
	struct iovec iov[PIECES];
	atomic_uint starts, stops, queue_starts, queue_stops, served, writes;
	uint8_t written[8];
};

static inline unsigned int dev_queue_count(void *dev)
{
	return ((struct device *)dev)->queue_count;
}

static inline uint16_t dev_queue_size_max(void *dev, unsigned int queue)
{
	(void)dev;
	(void)queue;
	return QUEUE_SIZE;
}

static inline uint64_t dev_features(void *dev)
{
	return ((struct device *)dev)->own_features;
}

static inline struct cvmm_virtio_config_space *dev_config_space(void *dev)
{
	return &((struct device *)dev)->space;
}

static inline int dev_start(void *dev, const struct cvmm_virtio_start *start,
			    struct cvmm_error *err)
{
	struct device *d = dev;

	(void)err;
	d->host = start->host;
	d->queues = start->queues;
	d->features = start->features;
	atomic_fetch_add(&d->starts, 1);
	return 0;
}

static inline void dev_answer(struct device *d, unsigned int queue,
			      const struct cvmm_virtq_chain *chain)
{
	uint8_t bytes[4096];
	size_t n =
		cvmm_iov_copy_from(chain->readable, chain->readable_count, 0, bytes, sizeof(bytes));

	n = cvmm_iov_copy_to(chain->writable, chain->writable_count, 0, bytes, n);
	must(!cvmm_virtq_push_chain(&d->queues[queue], chain, (uint32_t)n));
	atomic_fetch_add(&d->served, 1);
}

static inline void dev_kick(void *dev, unsigned int queue)
{
	struct device *d = dev;
	struct cvmm_virtq *vq = &d->queues[queue];
	struct cvmm_virtq_chain chain;
	int r;

	do {
		cvmm_virtq_disable_notifications(vq);
		while ((r = cvmm_virtq_pop(vq, d->iov, PIECES, &chain)) == 1) {
			if (d->hold) {
				chain.readable_count = chain.writable_count = 0;
				must(d->held_count[queue] < HELD_MAX);
				d->held[queue][d->held_count[queue]] = chain;
				atomic_fetch_add(&d->held_count[queue], 1);
			} else {
				dev_answer(d, queue, &chain);
			}
		}
		if (r < 0)
			d->host->ops->needs_reset(d->host);
	} while (!r && cvmm_virtq_enable_notifications(vq));
	if (cvmm_virtq_should_notify(vq))
		d->host->ops->notify(d->host, queue);
}

static inline void dev_queue_stop(void *dev, unsigned int queue)
{
	struct device *d = dev;

	atomic_fetch_add(&d->queue_stops, 1);
	for (unsigned int i = 0; i < d->held_count[queue] && !d->is_dying; i++)
		must(!cvmm_virtq_push(&d->queues[queue], d->held[queue][i].head, 0));
	d->held_count[queue] = 0;
}

static inline void dev_queue_start(void *dev, unsigned int queue)
{
	(void)queue;
	atomic_fetch_add(&((struct device *)dev)->queue_starts, 1);
}

static inline void dev_stop(void *dev)
{
	struct device *d = dev;

	atomic_fetch_add(&d->stops, 1);
	d->host = NULL;
	d->queues = NULL;
}

static inline void dev_config_written(void *dev, size_t offset, const void *bytes, size_t len_bytes)
{
	struct device *d = dev;

	must(offset + len_bytes <= sizeof(d->written));
	memcpy(d->written + offset, bytes, len_bytes);
	atomic_fetch_add(&d->writes, 1);
	/* What is told depends on what was written, as with input devices. */
	cvmm_virtio_config_space_update(&d->space, 4, d->written, 1);
}

static const struct cvmm_virtio_device_ops dev_ops = {
	.size = sizeof(dev_ops),
	.name = "test",
	.device_id = 42,
	.queue_count = dev_queue_count,
	.queue_size_max = dev_queue_size_max,
	.features = dev_features,
	.config_space = dev_config_space,
	.start = dev_start,
	.kick = dev_kick,
	.stop = dev_stop,
	.queue_stop = dev_queue_stop,
	.queue_start = dev_queue_start,
	.config_written = dev_config_written,
};

/* ---- a back-end that can die -------------------------------------------------------------------- */

struct backend {
	struct device dev;
	struct cvmm_vhost_user_backend_config config;
	struct cvmm_vhost_user_backend *be;
	struct cvmm_loop *loop;
	pthread_t thread;
	int fd;		       /* a duplicate of what is attached */
	atomic_bool is_there;  /* takes connections */
	atomic_bool is_silent; /* takes them, and says nothing */
	atomic_uint connections;
	int silent_fds[16];
	atomic_uint silent_count;
};

static inline void *backend_main(void *arg)
{
	struct backend *b = arg;

	must(!cvmm_loop_run(b->loop));
	return NULL;
}

static inline int backend_make(void *ctx)
{
	struct backend *b = ctx;

	return cvmm_vhost_user_backend_create(&b->config, &b->be, NULL);
}

static inline int backend_unmake(void *ctx)
{
	struct backend *b = ctx;

	cvmm_vhost_user_backend_destroy(b->be);
	b->be = NULL;
	return 0;
}

struct attachment {
	struct backend *backend;
	int fd;
};

static inline int backend_attach(void *ctx)
{
	struct attachment *a = ctx;
	struct backend *b = a->backend;

	if (!b->be) {
		close(a->fd);
		return -ECONNREFUSED;
	}
	/* The end of the one before may not have been seen yet. */
	if (cvmm_vhost_user_backend_is_attached(b->be))
		cvmm_vhost_user_backend_detach(b->be);
	cvmm_close_fd(&b->fd);
	b->fd = fcntl(a->fd, F_DUPFD_CLOEXEC, 0);
	return cvmm_vhost_user_backend_attach(b->be, a->fd, NULL);
}

/* As if the process was killed: what was in flight stays in flight. */
static inline int backend_die_now(void *ctx)
{
	struct backend *b = ctx;

	b->dev.is_dying = true;
	backend_unmake(b);
	shutdown(b->fd, SHUT_RDWR);
	cvmm_close_fd(&b->fd);
	b->dev.is_dying = false;
	return 0;
}

static inline void backend_die(struct backend *b)
{
	b->is_there = false;
	must(!cvmm_loop_call(b->loop, backend_die_now, b));
}

static inline void backend_come_back(struct backend *b)
{
	must(!cvmm_loop_call(b->loop, backend_make, b));
	b->is_there = true;
}

/* In the proxy's thread. */
static inline int backend_connect(void *ctx, unsigned int timeout_ms, int *ret_fd,
				  struct cvmm_error *err)
{
	struct backend *b = ctx;
	int fds[2];

	(void)timeout_ms;
	atomic_fetch_add(&b->connections, 1);
	if (!b->is_there)
		return cvmm_fail(err, -ECONNREFUSED, "nobody is there");
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
	if (b->is_silent) {
		must(b->silent_count < CVMM_ARRAY_SIZE(b->silent_fds));
		b->silent_fds[b->silent_count++] = fds[0];
	} else {
		struct attachment a = { b, fds[0] };

		if (cvmm_loop_call(b->loop, backend_attach, &a)) {
			close(fds[1]);
			return cvmm_fail(err, -ECONNREFUSED, "it died");
		}
	}
	*ret_fd = fds[1];
	return 0;
}

static inline void backend_init(struct backend *b)
{
	static const uint8_t space[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };

	b->fd = -1;
	b->dev.queue_count = 2;
	b->dev.own_features = OWN_FEATURE;
	must(!cvmm_virtio_config_space_init(&b->dev.space, space, sizeof(space)));
	must(!cvmm_loop_create(CVMM_LOOP_AUTO, &b->loop));
	b->config = (struct cvmm_vhost_user_backend_config){
		.ops = &dev_ops,
		.dev = &b->dev,
		.loop = b->loop,
		.offer = CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_RING_PACKED) |
			 CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_IN_ORDER),
	};
	cvmm_loop_disown(b->loop);
	must(!pthread_create(&b->thread, NULL, backend_main, b));
	backend_come_back(b);
}

static inline void backend_fini(struct backend *b)
{
	must(!cvmm_loop_call(b->loop, backend_unmake, b));
	cvmm_loop_stop(b->loop);
	pthread_join(b->thread, NULL);
	cvmm_loop_destroy(b->loop);
	cvmm_close_fd(&b->fd);
	for (unsigned int i = 0; i < b->silent_count; i++)
		close(b->silent_fds[i]);
	cvmm_virtio_config_space_fini(&b->dev.space);
}

/* ---- a driver ----------------------------------------------------------------------------------- */

#define RAM_BYTES (UINT64_C(1) << 20)
#define RAM_GPA UINT64_C(0x100000)
#define RING_STRIDE 0x8000
#define DATA_OFFSET 0x40000
#define SLOT_STRIDE 0x2000

struct bench {
	struct backend backend;
	struct cvmm_vhost_user_proxy_config config;
	struct cvmm_vhost_user_proxy *proxy;
	const struct cvmm_virtio_device_ops *ops;
	struct cvmm_loop *loop;
	struct cvmm_virtio_host host;
	struct cvmm_log log;
	pthread_mutex_t log_lock;
	char logged[8192];
	bool gives_kicks;
	struct cvmm_notifier kicks[QUEUES_MAX];
	unsigned int notifications[QUEUES_MAX], config_changes, resets_needed;
	struct cvmm_mem *mem;
	uint8_t *ram;
	struct cvmm_virtq virtqs[QUEUES_MAX];
	struct cvmm_virtq_driver drv[QUEUES_MAX];
	struct cvmm_virtq_driver_config ring[QUEUES_MAX];
	uint64_t features; /* negotiated */
	bool started;
	int fds_before;
	struct cvmm_error err;
};

static inline struct bench *bench_of(struct cvmm_virtio_host *host)
{
	return CVMM_CONTAINER_OF(host, struct bench, host);
}

static inline void host_notify(struct cvmm_virtio_host *host, unsigned int queue)
{
	must(cvmm_loop_is_owner(bench_of(host)->loop));
	bench_of(host)->notifications[queue]++;
}

static inline void host_config_changed(struct cvmm_virtio_host *host)
{
	bench_of(host)->config_changes++;
}

static inline void host_needs_reset(struct cvmm_virtio_host *host)
{
	must(cvmm_loop_is_owner(bench_of(host)->loop));
	bench_of(host)->resets_needed++;
}

static inline const struct cvmm_notifier *host_take_kick(struct cvmm_virtio_host *host,
							 unsigned int queue)
{
	struct bench *b = bench_of(host);

	return b->gives_kicks ? &b->kicks[queue] : NULL;
}

static const struct cvmm_virtio_host_ops host_ops = {
	.size = sizeof(host_ops),
	.notify = host_notify,
	.config_changed = host_config_changed,
	.needs_reset = host_needs_reset,
	.take_kick = host_take_kick,
};

/* Keeps what was said, for tests that look for it. */
static inline void write_log(void *ctx, enum cvmm_log_level level, const char *message)
{
	struct bench *b = ctx;
	size_t len;

	(void)level;
	pthread_mutex_lock(&b->log_lock);
	len = strlen(b->logged);
	snprintf(b->logged + len, sizeof(b->logged) - len, "%s\n", message);
	pthread_mutex_unlock(&b->log_lock);
}

static inline bool was_logged(struct bench *b, const char *text)
{
	bool found;

	pthread_mutex_lock(&b->log_lock);
	found = strstr(b->logged, text) != NULL;
	pthread_mutex_unlock(&b->log_lock);
	return found;
}

static inline int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static inline int bench_new(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct cvmm_mem_config ram = { .gpa = cvmm_gpa_from(RAM_GPA),
				       .len_bytes = RAM_BYTES,
				       .kind = CVMM_MEM_MEMFD,
				       .access = CVMM_ACCESS_READ_WRITE };

	assert_non_null(b);
	b->fds_before = open_fds();
	backend_init(&b->backend);
	pthread_mutex_init(&b->log_lock, NULL);
	b->log = (struct cvmm_log){ write_log, b, CVMM_LOG_INFO };
	b->host = (struct cvmm_virtio_host){ &host_ops, NULL };
	b->gives_kicks = true;
	b->config = (struct cvmm_vhost_user_proxy_config){
		.device_id = 42,
		.connect = backend_connect,
		.connect_ctx = &b->backend,
		.queue_size = QUEUE_SIZE,
		.config_bytes = 8,
		.reconnect_timeout_ms = 60000,
		.request_timeout_ms = 30000,
		.log = &b->log,
	};
	assert_int_equal(cvmm_loop_create(CVMM_LOOP_AUTO, &b->loop), 0);
	assert_int_equal(cvmm_mem_create(&ram, 1, &b->mem, &b->err), 0);
	b->ram = cvmm_mem_region_at(b->mem, 0)->host;
	for (unsigned int i = 0; i < QUEUES_MAX; i++) {
		assert_int_equal(cvmm_notifier_init(&b->kicks[i], CVMM_NOTIFIER_AUTO), 0);
		assert_int_equal(cvmm_virtq_init(&b->virtqs[i], QUEUE_SIZE), 0);
	}
	*state = b;
	return 0;
}

/* As much as transports do. */
static inline void stop_driver(struct bench *b)
{
	if (b->started)
		b->ops->stop(b->proxy);
	b->started = false;
	for (unsigned int i = 0; i < QUEUES_MAX; i++)
		cvmm_virtq_stop(&b->virtqs[i]);
}

static inline int bench_free(void **state)
{
	struct bench *b = *state;
	int leaked;

	stop_driver(b);
	cvmm_vhost_user_proxy_destroy(b->proxy);
	backend_fini(&b->backend);
	for (unsigned int i = 0; i < QUEUES_MAX; i++) {
		cvmm_virtq_driver_fini(&b->drv[i]);
		cvmm_virtq_fini(&b->virtqs[i]);
		cvmm_notifier_fini(&b->kicks[i]);
	}
	cvmm_loop_destroy(b->loop);
	cvmm_mem_unref(b->mem);
	pthread_mutex_destroy(&b->log_lock);
	leaked = open_fds() - b->fds_before;
	if (leaked)
		print_error("%d descriptors leaked\n", leaked);
	free(b);
	return leaked ? -1 : 0;
}

static inline int make_proxy(struct bench *b)
{
	int r = cvmm_vhost_user_proxy_create(&b->config, &b->proxy, &b->err);

	if (!r)
		b->ops = cvmm_vhost_user_proxy_ops(b->proxy);
	return r;
}

static inline void make_ring(struct bench *b, unsigned int i)
{
	struct cvmm_virtq_driver_config ring = {
		.size = QUEUE_SIZE,
		.packed = b->features >> CVMM_VIRTIO_F_RING_PACKED & 1,
		.event_idx = b->features >> CVMM_VIRTIO_F_EVENT_IDX & 1,
		.in_order = b->features >> CVMM_VIRTIO_F_IN_ORDER & 1,
	};
	struct cvmm_virtq_config config = { .size = ring.size,
					    .packed = ring.packed,
					    .event_idx = ring.event_idx,
					    .in_order = ring.in_order };
	uint64_t bytes;

	assert_int_equal(
		cvmm_virtq_driver_layout(&ring, cvmm_gpa_from(RAM_GPA + i * RING_STRIDE), &bytes),
		0);
	cvmm_virtq_driver_fini(&b->drv[i]);
	assert_int_equal(cvmm_virtq_driver_init(&b->drv[i], b->mem, &ring, NULL), 0);
	b->ring[i] = ring;
	config.desc = ring.desc;
	config.avail = ring.driver_area;
	config.used = ring.device_area;
	assert_int_equal(cvmm_virtq_start(&b->virtqs[i], b->mem, &config, NULL), 0);
}

/* The driver accepts these, and those that it must. */
static inline void start_driver(struct bench *b, uint64_t features)
{
	struct cvmm_virtio_start start = {
		.host = &b->host,
		.loop = b->loop,
		.mem = b->mem,
		.queues = b->virtqs,
		.queue_count = b->ops->queue_count(b->proxy),
	};

	b->features = features | CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_VERSION_1) |
		      CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_NOTIFICATION_DATA);
	start.features = b->features;
	for (unsigned int i = 0; i < start.queue_count && i < QUEUES_MAX; i++)
		make_ring(b, i);
	assert_int_equal(b->ops->start(b->proxy, &start, &b->err), 0);
	b->started = true;
}

static inline void begin(struct bench *b, uint64_t features)
{
	assert_int_equal(make_proxy(b), 0);
	start_driver(b, features);
}

/* Run the loop until something is so, or the test has failed. */
#define run_until(b, cond)                                                                      \
	do {                                                                                    \
		uint64_t deadline_ns_ = cvmm_clock_ns() + DEADLINE_NS;                          \
                                                                                                \
		while (!(cond)) {                                                               \
			if (cvmm_clock_ns() >= deadline_ns_)                                    \
				fail_msg("it never happens: %s; log:\n%s", #cond, (b)->logged); \
			must(cvmm_loop_run_once((b)->loop, 5) >= 0);                            \
		}                                                                               \
	} while (0)

static inline void kick(struct bench *b, unsigned int i)
{
	if (b->gives_kicks)
		assert_int_equal(cvmm_notifier_signal(&b->kicks[i]), 0);
	else
		b->ops->kick(b->proxy, i);
}

/* Put a request of @len bytes, all @fill, into the ring, with as much room for the answer. */
static inline void add_request(struct bench *b, unsigned int i, unsigned int slot, uint8_t fill,
			       uint32_t len)
{
	uint64_t at = DATA_OFFSET + slot * SLOT_STRIDE;
	struct cvmm_virtq_segment segments[2] = {
		{ cvmm_gpa_from(RAM_GPA + at), len },
		{ cvmm_gpa_from(RAM_GPA + at + SLOT_STRIDE / 2), len },
	};

	memset(b->ram + at, fill, len);
	memset(b->ram + at + SLOT_STRIDE / 2, 0, len);
	assert_int_equal(
		cvmm_virtq_driver_add(&b->drv[i], segments, 1, 1, (void *)(uintptr_t)(slot + 1)),
		0);
	cvmm_virtq_driver_publish(&b->drv[i]);
	/* With EVENT_IDX a wish is for one interrupt. */
	(void)cvmm_virtq_driver_enable_interrupts(&b->drv[i]);
}

/* Wait for the next answer. Return: its slot; it must be as it was asked for. */
static inline unsigned int expect_answer(struct bench *b, unsigned int i, uint8_t fill,
					 uint32_t len)
{
	uint32_t got = 0;
	void *token = NULL;
	unsigned int slot;
	int r;

	run_until(b, (r = cvmm_virtq_driver_take(&b->drv[i], &token, &got)) != 0);
	assert_int_equal(r, 1);
	assert_int_equal(got, len);
	slot = (unsigned int)(uintptr_t)token - 1;
	for (uint32_t k = 0; k < len; k++)
		assert_int_equal(b->ram[DATA_OFFSET + slot * SLOT_STRIDE + SLOT_STRIDE / 2 + k],
				 fill);
	return slot;
}

static inline void expect_no_answer(struct bench *b, unsigned int i)
{
	uint32_t got;
	void *token;

	assert_int_equal(cvmm_virtq_driver_take(&b->drv[i], &token, &got), 0);
}

/* Whether a queue works. */
static inline void expect_service(struct bench *b, unsigned int i)
{
	unsigned int before = b->notifications[i];

	add_request(b, i, 0, 0x5a, 100);
	kick(b, i);
	assert_int_equal(expect_answer(b, i, 0x5a, 100), 0);
	run_until(b, b->notifications[i] > before);
}

static inline bool connected(const struct bench *b)
{
	return cvmm_vhost_user_proxy_is_connected(b->proxy);
}

static inline int do_nothing(void *ctx)
{
	(void)ctx;
	return 0;
}

/* Wait until the proxy's thread has done what it was told. */
static inline void settle(struct bench *b)
{
	must(!cvmm_loop_call(b->proxy->thread_loop, do_nothing, NULL));
}

#endif /* CVMM_TEST_VHOST_USER_PROXY_H */
