/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Drives a device core without a VM: guest memory, the driver's side of split rings, an event loop
 * and a host interface that counts. For unit tests and fuzz targets; whatever should never fail
 * ends the program.
 *
 *   struct harness h;
 *
 *   harness_init(&h, &cvmm_rng_ops, rng, 0);
 *   harness_start(&h);
 *   uint64_t gpa = harness_alloc(&h, 64, 1);
 *   harness_submit(&h, 0, (struct harness_buf[]){ { gpa, 64, true } }, 1);
 *   harness_kick(&h, 0);
 *   harness_wait_used(&h, 0, NULL, &len);     // runs the loop meanwhile
 *   harness_fini(&h);                         // stops the device
 *
 * The calling thread owns the loop. struct driver_ring works without the rest, e.g. behind a
 * transport.
 */
#ifndef CVMM_TESTS_DEVICE_HARNESS_H
#define CVMM_TESTS_DEVICE_HARNESS_H

#include <stdio.h>
#include <stdlib.h>

#include <cvmm/virtio.h>

#define HARNESS_MEM_BASE UINT64_C(0x100000)
#define HARNESS_MEM_BYTES (UINT64_C(32) << 20)
#define HARNESS_QUEUES_MAX 8U
#define HARNESS_DEADLINE_NS (UINT64_C(60) * CVMM_NS_PER_S)

#define harness_must(cond)                                                                    \
	do {                                                                                  \
		if (!(cond)) {                                                                \
			fprintf(stderr, "%s:%d: harness: not true: %s\n", __FILE__, __LINE__, \
				#cond);                                                       \
			abort();                                                              \
		}                                                                             \
	} while (0)

/* ---- the driver's side of one split ring --------------------------------------------------- */

struct harness_buf {
	uint64_t gpa;
	uint32_t len;
	bool writable; /* by the device */
};

struct driver_ring {
	struct cvmm_mem *mem;
	uint64_t desc, avail, used;
	uint16_t size;
	uint16_t next_desc; /* descriptors are handed out round and round */
	uint16_t avail_idx;
	uint16_t used_seen;
};

#define DRIVER_RING_ALIGN 4096U

/* Bytes that a ring of @size entries takes. */
static inline uint64_t driver_ring_bytes(uint16_t size)
{
	return 16U * (uint64_t)size + (6U + 2U * (uint64_t)size) + 2U * DRIVER_RING_ALIGN +
	       (6U + 8U * (uint64_t)size);
}

/* Lay a ring out at @gpa, which is aligned to DRIVER_RING_ALIGN, and clear it. */
static inline void driver_ring_init(struct driver_ring *r, struct cvmm_mem *mem, uint64_t gpa,
				    uint16_t size)
{
	memset(r, 0, sizeof(*r));
	r->mem = mem;
	r->size = size;
	r->desc = gpa;
	r->avail = gpa + 16U * (uint64_t)size;
	r->used = (r->avail + 6U + 2U * (uint64_t)size + 3U) & ~UINT64_C(3);
	harness_must(!cvmm_mem_fill(mem, cvmm_gpa_from(gpa), 0, driver_ring_bytes(size)));
}

static inline void driver_ring_put16(struct driver_ring *r, uint64_t gpa, uint16_t v)
{
	harness_must(!cvmm_mem_store_u16(r->mem, cvmm_gpa_from(gpa), __ATOMIC_RELEASE, v));
}

static inline uint16_t driver_ring_get16(struct driver_ring *r, uint64_t gpa)
{
	uint16_t v = 0;

	harness_must(!cvmm_mem_load_u16(r->mem, cvmm_gpa_from(gpa), __ATOMIC_ACQUIRE, &v));
	return v;
}

static inline void driver_ring_set_desc(struct driver_ring *r, uint16_t index, uint64_t addr,
					uint32_t len, uint16_t flags, uint16_t next)
{
	struct cvmm_virtq_desc d = {
		.addr = cvmm_le64_from(addr),
		.len = cvmm_le32_from(len),
		.flags = cvmm_le16_from(flags),
		.next = cvmm_le16_from(next),
	};

	harness_must(!cvmm_mem_write(r->mem, cvmm_gpa_from(r->desc + 16U * (uint64_t)index), &d,
				     sizeof(d)));
}

/* Make a head available, whatever its descriptors are. */
static inline void driver_ring_offer(struct driver_ring *r, uint16_t head)
{
	driver_ring_put16(r, r->avail + 4U + 2U * (uint64_t)(r->avail_idx % r->size), head);
	r->avail_idx++;
	driver_ring_put16(r, r->avail + 2, r->avail_idx);
}

/* Write a chain of @count buffers (1 or more) and make it available. Return: its head. */
static inline uint16_t driver_ring_submit(struct driver_ring *r, const struct harness_buf *bufs,
					  size_t count)
{
	uint16_t head = r->next_desc;

	harness_must(count > 0 && count <= r->size);
	for (size_t i = 0; i < count; i++) {
		uint16_t index = r->next_desc;
		unsigned int flags = bufs[i].writable ? CVMM_VIRTQ_DESC_F_WRITE : 0;

		r->next_desc = (uint16_t)((index + 1U) % r->size);
		if (i + 1 < count)
			flags |= CVMM_VIRTQ_DESC_F_NEXT;
		driver_ring_set_desc(r, index, bufs[i].gpa, bufs[i].len, (uint16_t)flags,
				     r->next_desc);
	}
	driver_ring_offer(r, head);
	return head;
}

/* Take the next used element; @ret_head and @ret_len may be NULL. Return: whether there was one. */
static inline bool driver_ring_take_used(struct driver_ring *r, uint16_t *ret_head,
					 uint32_t *ret_len)
{
	uint8_t elem[8];

	if (driver_ring_get16(r, r->used + 2) == r->used_seen)
		return false;
	harness_must(!cvmm_mem_read(
		r->mem, cvmm_gpa_from(r->used + 4U + 8U * (uint64_t)(r->used_seen % r->size)), elem,
		sizeof(elem)));
	r->used_seen++;
	if (ret_head)
		*ret_head = (uint16_t)cvmm_get_le32(elem);
	if (ret_len)
		*ret_len = cvmm_get_le32(elem + 4);
	return true;
}

/* ---- a device core between a driver and a loop --------------------------------------------- */

struct harness {
	const struct cvmm_virtio_device_ops *ops;
	void *dev;
	uint64_t features;
	struct cvmm_virtio_host host; /* its log is NULL; a test may set it before the start */
	struct cvmm_mem *mem;
	struct cvmm_loop *loop;
	unsigned int queue_count;
	struct cvmm_virtq queues[HARNESS_QUEUES_MAX];
	struct driver_ring rings[HARNESS_QUEUES_MAX];
	uint64_t heap; /* next free guest address */
	bool started;

	unsigned int notifications[HARNESS_QUEUES_MAX];
	unsigned int config_changes;
	unsigned int resets_needed;
};

static inline void harness_host_notify(struct cvmm_virtio_host *host, unsigned int queue)
{
	struct harness *h = CVMM_CONTAINER_OF(host, struct harness, host);

	harness_must(queue < h->queue_count && cvmm_loop_is_owner(h->loop));
	h->notifications[queue]++;
}

static inline void harness_host_config_changed(struct cvmm_virtio_host *host)
{
	struct harness *h = CVMM_CONTAINER_OF(host, struct harness, host);

	harness_must(cvmm_loop_is_owner(h->loop));
	h->config_changes++;
}

static inline void harness_host_needs_reset(struct cvmm_virtio_host *host)
{
	struct harness *h = CVMM_CONTAINER_OF(host, struct harness, host);

	harness_must(cvmm_loop_is_owner(h->loop));
	h->resets_needed++;
}

static inline const struct cvmm_virtio_host_ops *harness_host_ops(void)
{
	static const struct cvmm_virtio_host_ops ops = {
		.size = sizeof(ops),
		.notify = harness_host_notify,
		.config_changed = harness_host_config_changed,
		.needs_reset = harness_host_needs_reset,
	};

	return &ops;
}

/* Guest memory for a test's buffers; never given back. */
static inline uint64_t harness_alloc(struct harness *h, uint64_t len, uint64_t align)
{
	uint64_t gpa = (h->heap + align - 1) / align * align;

	harness_must(gpa + len <= HARNESS_MEM_BASE + HARNESS_MEM_BYTES);
	h->heap = gpa + len;
	return gpa;
}

static inline void harness_write(struct harness *h, uint64_t gpa, const void *src, size_t len)
{
	harness_must(!cvmm_mem_write(h->mem, cvmm_gpa_from(gpa), src, len));
}

static inline void harness_read(struct harness *h, uint64_t gpa, void *dst, size_t len)
{
	harness_must(!cvmm_mem_read(h->mem, cvmm_gpa_from(gpa), dst, len));
}

/* One guest memory of HARNESS_MEM_BYTES at HARNESS_MEM_BASE. */
static inline struct cvmm_mem *harness_make_mem(void)
{
	struct cvmm_mem_config config = {
		.gpa = { HARNESS_MEM_BASE },
		.len_bytes = HARNESS_MEM_BYTES,
		.kind = CVMM_MEM_ANONYMOUS,
		.access = CVMM_ACCESS_READ_WRITE,
		.fd = -1,
	};
	struct cvmm_mem *mem = NULL;

	harness_must(!cvmm_mem_create(&config, 1, &mem, NULL));
	return mem;
}

/* @features: what the driver negotiates, ring features (EVENT_IDX, INDIRECT_DESC) included */
static inline void harness_init(struct harness *h, const struct cvmm_virtio_device_ops *ops,
				void *dev, uint64_t features)
{
	memset(h, 0, sizeof(*h));
	h->ops = ops;
	h->dev = dev;
	h->features = features | CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_VERSION_1);
	h->host.ops = harness_host_ops();
	h->mem = harness_make_mem();
	h->heap = HARNESS_MEM_BASE;
	harness_must(!cvmm_loop_create(CVMM_LOOP_AUTO, &h->loop));
	h->queue_count = ops->queue_count(dev);
	harness_must(h->queue_count <= HARNESS_QUEUES_MAX);
	for (unsigned int i = 0; i < h->queue_count; i++)
		harness_must(!cvmm_virtq_init(&h->queues[i], ops->queue_size_max(dev, i)));
}

/* Lay out and start one queue, as after a queue reset. */
static inline void harness_start_queue(struct harness *h, unsigned int queue)
{
	struct cvmm_virtq_config config = {
		.size = h->ops->queue_size_max(h->dev, queue),
		.event_idx = h->features >> CVMM_VIRTIO_F_EVENT_IDX & 1,
		.indirect = h->features >> CVMM_VIRTIO_F_INDIRECT_DESC & 1,
	};
	struct driver_ring *ring = &h->rings[queue];

	if (!ring->desc)
		ring->desc = harness_alloc(h, driver_ring_bytes(config.size), DRIVER_RING_ALIGN);
	driver_ring_init(ring, h->mem, ring->desc, config.size);
	config.desc = cvmm_gpa_from(ring->desc);
	config.avail = cvmm_gpa_from(ring->avail);
	config.used = cvmm_gpa_from(ring->used);
	harness_must(!cvmm_virtq_start(&h->queues[queue], h->mem, &config, NULL));
}

static inline void harness_kick(struct harness *h, unsigned int queue)
{
	h->ops->kick(h->dev, queue);
}

/* Start all queues and the device. Return: what the device's start returned. */
static inline int harness_start(struct harness *h)
{
	struct cvmm_virtio_start start = {
		.host = &h->host,
		.loop = h->loop,
		.mem = h->mem,
		.queues = h->queues,
		.queue_count = h->queue_count,
		.features = h->features,
	};
	int r;

	for (unsigned int i = 0; i < h->queue_count; i++)
		harness_start_queue(h, i);
	r = h->ops->start(h->dev, &start, NULL);
	h->started = !r;
	for (unsigned int i = 0; h->started && i < h->queue_count; i++)
		harness_kick(h, i);
	return r;
}

static inline void harness_stop(struct harness *h)
{
	if (h->started)
		h->ops->stop(h->dev);
	h->started = false;
	for (unsigned int i = 0; i < h->queue_count; i++)
		cvmm_virtq_stop(&h->queues[i]);
}

/* Stops the device if it runs; the device itself stays the test's. */
static inline void harness_fini(struct harness *h)
{
	harness_stop(h);
	for (unsigned int i = 0; i < h->queue_count; i++)
		cvmm_virtq_fini(&h->queues[i]);
	cvmm_loop_destroy(h->loop);
	h->mem = cvmm_mem_unref(h->mem);
}

/*
 * Mark what is written from now on in a bitmap of 4 KiB pages, also while the device runs. It lives as
 * long as the harness. What the driver writes through the harness is marked too: clear it before the
 * device's turn, with harness_clean().
 */
static inline struct cvmm_dirty *harness_log_dirty(struct harness *h)
{
	struct cvmm_dirty *dirty = NULL;
	struct cvmm_mem *mem = NULL;

	harness_must(!cvmm_dirty_create(HARNESS_MEM_BASE, HARNESS_MEM_BYTES, 12, &dirty, NULL));
	harness_must(!cvmm_mem_with_dirty(h->mem, dirty, &mem, NULL));
	for (unsigned int i = 0; i < h->queue_count; i++) {
		h->rings[i].mem = mem;
		if (cvmm_virtq_is_started(&h->queues[i]))
			harness_must(!cvmm_virtq_set_mem(&h->queues[i], mem, NULL));
	}
	cvmm_mem_unref(h->mem);
	h->mem = mem;
	cvmm_dirty_unref(dirty);
	return dirty;
}

static inline void harness_clean(struct cvmm_dirty *dirty)
{
	harness_must(!cvmm_dirty_clear(dirty, HARNESS_MEM_BASE, HARNESS_MEM_BYTES));
}

static inline uint16_t harness_submit(struct harness *h, unsigned int queue,
				      const struct harness_buf *bufs, size_t count)
{
	return driver_ring_submit(&h->rings[queue], bufs, count);
}

/* Run what is ready now, without waiting. */
static inline void harness_run(struct harness *h)
{
	while (cvmm_loop_run_once(h->loop, 0) > 0)
		continue;
}

/* Take a used element without running the loop. Return: whether there was one. */
static inline bool harness_take_used(struct harness *h, unsigned int queue, uint16_t *ret_head,
				     uint32_t *ret_len)
{
	return driver_ring_take_used(&h->rings[queue], ret_head, ret_len);
}

/* Run the loop until @done says so; ends the program after HARNESS_DEADLINE_NS. */
static inline void harness_run_until(struct harness *h, bool (*done)(void *ctx), void *ctx)
{
	uint64_t deadline = cvmm_clock_ns() + HARNESS_DEADLINE_NS;

	while (!done(ctx)) {
		harness_must(cvmm_clock_ns() < deadline);
		harness_must(cvmm_loop_run_once(h->loop, 100) >= 0);
	}
}

/* Run the loop until the device gives a chain back. */
static inline void harness_wait_used(struct harness *h, unsigned int queue, uint16_t *ret_head,
				     uint32_t *ret_len)
{
	uint64_t deadline = cvmm_clock_ns() + HARNESS_DEADLINE_NS;

	while (!harness_take_used(h, queue, ret_head, ret_len)) {
		harness_must(cvmm_clock_ns() < deadline);
		harness_must(cvmm_loop_run_once(h->loop, 100) >= 0);
	}
}

#endif /* CVMM_TESTS_DEVICE_HARNESS_H */
