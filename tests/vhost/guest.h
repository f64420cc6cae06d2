/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What stands for a guest in the tests with real kernels: its memory, and the driver's side of its queues.
 * Include after <cmocka.h>.
 *
 * Nothing here measures time: what does not come before DEADLINE_MS does not come at all.
 */
#ifndef CVMM_TESTS_VHOST_GUEST_H
#define CVMM_TESTS_VHOST_GUEST_H

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cvmm/vhost.h>
#include <cvmm/vhost_vdpa.h>
#include <cvmm/virtq_driver.h>

/* Mark the running test as skipped, and say why. */
#define SKIP(...)                                \
	do {                                     \
		printf("skipped: " __VA_ARGS__); \
		printf("\n");                    \
		skip();                          \
	} while (0)

#define assert_ok(expression)                                                            \
	do {                                                                             \
		int ok_ret = (expression);                                               \
		if (ok_ret)                                                              \
			fail_msg("%s: %d (%s)", #expression, ok_ret, strerror(-ok_ret)); \
	} while (0)

/* The same for what explains itself in a struct cvmm_error *err. */
#define assert_fine(expression, err)                                                    \
	do {                                                                            \
		int fine_ret = (expression);                                            \
		if (fine_ret)                                                           \
			fail_msg("%s: %d (%s)", #expression, fine_ret, (err)->message); \
	} while (0)

#define assert_says(err, text)                                                      \
	do {                                                                        \
		if (!strstr((err)->message, text))                                  \
			fail_msg("'%s' does not say '%s'", (err)->message, (text)); \
	} while (0)

#define G(addr) cvmm_gpa_from(addr)
#define PAGE UINT64_C(0x1000)
#define DEADLINE_MS 30000
#define VERSION_1 (UINT64_C(1) << 32)
#define ACCESS_PLATFORM (UINT64_C(1) << 33)
#define RING_PACKED (UINT64_C(1) << 34)
#define INDIRECT_DESC (UINT64_C(1) << 28)
#define EVENT_IDX (UINT64_C(1) << 29)

/* ---- memory ---------------------------------------------------------------------------------- */

/* Two regions that touch, and one that is far away: each of them shared memory. */
#define LOW_AT UINT64_C(0)
#define LOW_BYTES (UINT64_C(1) << 20)
#define HIGH_AT (UINT64_C(1) << 32)
#define HIGH_BYTES (UINT64_C(1) << 20)
#define HIGH_END (HIGH_AT + HIGH_BYTES)

static inline struct cvmm_mem_config shared_ram(uint64_t gpa, uint64_t len)
{
	return (struct cvmm_mem_config){
		.gpa = G(gpa),
		.len_bytes = len,
		.kind = CVMM_MEM_MEMFD,
		.access = CVMM_ACCESS_READ_WRITE,
		.fd = -1,
	};
}

static inline struct cvmm_mem *make_map(const struct cvmm_mem_config *configs, size_t count)
{
	struct cvmm_error err = { 0 };
	struct cvmm_mem *mem = NULL;

	assert_fine(cvmm_mem_create(configs, count, &mem, &err), &err);
	return mem;
}

static inline struct cvmm_mem *make_memory(void)
{
	const struct cvmm_mem_config configs[] = {
		shared_ram(LOW_AT, LOW_BYTES / 2),
		shared_ram(LOW_AT + LOW_BYTES / 2, LOW_BYTES / 2),
		shared_ram(HIGH_AT, HIGH_BYTES),
	};

	return make_map(configs, CVMM_ARRAY_SIZE(configs));
}

static inline void put(struct cvmm_mem *mem, uint64_t gpa, const void *data, size_t len)
{
	assert_ok(cvmm_mem_write(mem, G(gpa), data, len));
}

static inline void get(struct cvmm_mem *mem, uint64_t gpa, void *data, size_t len)
{
	assert_ok(cvmm_mem_read(mem, G(gpa), data, len));
}

/* Bytes that are others for each @seed. */
static inline void fill(uint8_t *data, size_t len, uint32_t seed)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)((i + 1) * 2654435761U >> 24 ^ seed * 37U);
}

/* ---- eventfds -------------------------------------------------------------------------------- */

static inline int make_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

static inline void signal_eventfd(int fd)
{
	const uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

/* How often it was signalled since the last time. */
static inline uint64_t signals_of(int fd)
{
	uint64_t count = 0;

	if (read(fd, &count, sizeof(count)) != sizeof(count))
		assert_int_equal(errno, EAGAIN);
	return count;
}

/* Waits until a descriptor is readable. */
static inline void must_become_readable(int fd, const char *what)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	if (poll(&poll_fd, 1, DEADLINE_MS) != 1)
		fail_msg("%s does not come", what);
}

/* ---- queues ---------------------------------------------------------------------------------- */

/**
 * struct guest_queue - the driver's side of a queue, and how the kernel knows it
 */
struct guest_queue {
	struct cvmm_virtq_driver drv;
	struct cvmm_mem *mem;
	struct cvmm_vhost_queue q;
};

#define TABLE_ENTRIES 8U

/* A queue with its areas where @config says. */
static inline void queue_init_config(struct guest_queue *queue, struct cvmm_mem *mem,
				     uint32_t index, const struct cvmm_virtq_driver_config *config)
{
	struct cvmm_error err = { 0 };

	assert_fine(cvmm_virtq_driver_init(&queue->drv, mem, config, &err), &err);
	queue->mem = mem;
	queue->q = (struct cvmm_vhost_queue){
		.index = index,
		.ring = {
			.size = config->size,
			.desc = config->desc,
			.avail = config->driver_area,
			.used = config->device_area,
			.packed = config->packed,
			.event_idx = config->event_idx,
			.indirect = config->indirect,
		},
		.base = CVMM_VIRTQ_BASE_START,
		.kick_fd = make_eventfd(),
		.call_fd = make_eventfd(),
		.err_fd = make_eventfd(),
	};
}

/*
 * A queue whose rings begin at @base_gpa, with what @features say. With indirect descriptors it has
 * tables behind the rings.
 */
static inline void queue_init(struct guest_queue *queue, struct cvmm_mem *mem, uint32_t index,
			      uint16_t size, uint64_t features, uint64_t base_gpa)
{
	struct cvmm_virtq_driver_config config = {
		.size = size,
		.packed = features & RING_PACKED,
		.event_idx = features & EVENT_IDX,
		.indirect = features & INDIRECT_DESC,
		.table_entries = features & INDIRECT_DESC ? TABLE_ENTRIES : 0,
	};
	uint64_t bytes;

	assert_ok(cvmm_virtq_driver_layout(&config, G(base_gpa), &bytes));
	queue_init_config(queue, mem, index, &config);
}

static inline void queue_fini(struct guest_queue *queue)
{
	cvmm_virtq_driver_fini(&queue->drv);
	close(queue->q.kick_fd);
	close(queue->q.call_fd);
	close(queue->q.err_fd);
}

static inline void queue_start(struct guest_queue *queue, const struct cvmm_vhost *vhost)
{
	struct cvmm_error err = { 0 };

	assert_fine(cvmm_vhost_queue_start(vhost, queue->mem, &queue->q, &err), &err);
}

/* Takes the queue back; it can be started again where it was. */
static inline void queue_stop(struct guest_queue *queue, const struct cvmm_vhost *vhost)
{
	struct cvmm_error err = { 0 };

	assert_fine(cvmm_vhost_queue_stop(vhost, queue->mem, &queue->q, &queue->q.base, &err),
		    &err);
}

static inline void queue_add(struct guest_queue *queue, const struct cvmm_virtq_segment *segments,
			     size_t readable, size_t writable, void *token)
{
	assert_ok(cvmm_virtq_driver_add(&queue->drv, segments, readable, writable, token));
}

static inline void queue_kick(struct guest_queue *queue)
{
	cvmm_virtq_driver_publish(&queue->drv);
	if (cvmm_virtq_driver_should_kick(&queue->drv))
		signal_eventfd(queue->q.kick_fd);
}

/* The next buffer that comes back, with its length. */
static inline void *queue_wait(struct guest_queue *queue, uint32_t *ret_len)
{
	void *token = NULL;
	int ret;

	for (;;) {
		ret = cvmm_virtq_driver_take(&queue->drv, &token, ret_len);
		if (ret == 1)
			return token;
		if (ret)
			fail_msg("queue %u: %s", queue->q.index,
				 cvmm_virtq_driver_violation_name(
					 cvmm_virtq_driver_violation(&queue->drv)));
		if (cvmm_virtq_driver_enable_interrupts(&queue->drv))
			continue;
		must_become_readable(queue->q.call_fd, "an interrupt");
		signals_of(queue->q.call_fd);
	}
}

/* Adds one buffer and waits until it comes back. Return: bytes written to it. */
static inline uint32_t queue_do(struct guest_queue *queue,
				const struct cvmm_virtq_segment *segments, size_t readable,
				size_t writable)
{
	uint32_t len = 0;

	queue_add(queue, segments, readable, writable, queue);
	queue_kick(queue);
	assert_ptr_equal(queue_wait(queue, &len), queue);
	return len;
}

/* Nothing that the kernel calls an error has happened. */
static inline void queue_is_sound(const struct guest_queue *queue)
{
	assert_int_equal(signals_of(queue->q.err_fd), 0);
	assert_int_equal(cvmm_virtq_driver_violation(&queue->drv), CVMM_VIRTQ_DRIVER_OK);
}

/* ---- devices --------------------------------------------------------------------------------- */

/* A device that is this process's, or a skipped test where the kernel has none of its kind. */
static inline struct cvmm_vhost open_or_skip(enum cvmm_vhost_kind kind, const char *path)
{
	struct cvmm_vhost vhost = CVMM_VHOST_NONE;
	struct cvmm_error err = { 0 };

	if (cvmm_vhost_open(&vhost, kind, path, &err) == -ENOENT)
		SKIP("%s", err.message);
	assert_fine(err.code, &err);
	assert_ok(cvmm_vhost_set_owner(&vhost));
	return vhost;
}

static inline void set_memory(const struct cvmm_vhost *vhost, const struct cvmm_mem *mem)
{
	struct cvmm_error err = { 0 };

	assert_fine(cvmm_vhost_set_mem_table(vhost, mem, &err), &err);
}

#endif /* CVMM_TESTS_VHOST_GUEST_H */
