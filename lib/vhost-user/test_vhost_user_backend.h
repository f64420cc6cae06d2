/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A back-end with a small device, and a front-end to talk to it, on one thread: requests are written to the
 * socket, and the loop is run until it has nothing to do. Include after <cmocka.h>.
 *
 * The device copies what it reads to what it writes, on two queues. It can be told to hold chains back, as a device
 * with slow I/O does.
 */
#ifndef CVMM_TEST_VHOST_USER_BACKEND_H
#define CVMM_TEST_VHOST_USER_BACKEND_H

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cvmm/mem_dirty.h>
#include <cvmm/vhost-user_backend.h>
#include <cvmm/virtq_driver.h>

#define QUEUES 2U
#define QUEUE_SIZE 16U
#define PIECES 64U
#define HELD_MAX 64U

/* ---- the device -------------------------------------------------------------------------------- */

struct device {
	struct cvmm_virtio_config_space space;
	struct cvmm_virtio_host *host;
	struct cvmm_virtq *queues;
	uint64_t features;
	bool hold; /* keep what is popped */
	struct cvmm_virtq_chain held[QUEUES][HELD_MAX];
	unsigned int held_count[QUEUES];
	struct iovec held_iov[1]; /* what the last one writes */
	unsigned int starts, stops, queue_starts, queue_stops, kicks, served;
	struct iovec iov[PIECES];
	uint8_t written[8]; /* of the configuration space */
	char state[64];
	size_t state_len;
	int gpu_fd;
};

static inline unsigned int dev_queue_count(void *dev)
{
	(void)dev;
	return QUEUES;
}

static inline uint16_t dev_queue_size_max(void *dev, unsigned int queue)
{
	(void)dev;
	(void)queue;
	return QUEUE_SIZE;
}

static inline uint64_t dev_features(void *dev)
{
	(void)dev;
	return 1; /* one of its own */
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
	d->starts++;
	return 0;
}

static inline void dev_answer(struct device *d, unsigned int queue,
			      const struct cvmm_virtq_chain *chain)
{
	uint8_t bytes[4096];
	size_t n =
		cvmm_iov_copy_from(chain->readable, chain->readable_count, 0, bytes, sizeof(bytes));

	n = cvmm_iov_copy_to(chain->writable, chain->writable_count, 0, bytes, n);
	assert_int_equal(cvmm_virtq_push_chain(&d->queues[queue], chain, (uint32_t)n), 0);
	d->served++;
}

static inline void dev_kick(void *dev, unsigned int queue)
{
	struct device *d = dev;
	struct cvmm_virtq *vq = &d->queues[queue];
	struct cvmm_virtq_chain chain;
	int r;

	d->kicks++;
	do {
		cvmm_virtq_disable_notifications(vq);
		while ((r = cvmm_virtq_pop(vq, d->iov, PIECES, &chain)) == 1) {
			if (d->hold) {
				/* The pieces stay where they are in guest memory. */
				struct cvmm_virtq_chain *held =
					&d->held[queue][d->held_count[queue]++];

				assert_true(d->held_count[queue] <= HELD_MAX);
				*held = chain;
				if (chain.writable_count)
					d->held_iov[0] = chain.writable[0];
				held->readable_count = held->writable_count = 0;
			} else {
				dev_answer(d, queue, &chain);
			}
		}
		if (r < 0 && r != -EAGAIN)
			d->host->ops->needs_reset(d->host);
	} while (!r && cvmm_virtq_enable_notifications(vq));
	if (cvmm_virtq_should_notify(vq))
		d->host->ops->notify(d->host, queue);
}

static inline void dev_queue_stop(void *dev, unsigned int queue)
{
	struct device *d = dev;

	d->queue_stops++;
	for (unsigned int i = 0; i < d->held_count[queue]; i++)
		assert_int_equal(cvmm_virtq_push(&d->queues[queue], d->held[queue][i].head, 0), 0);
	d->held_count[queue] = 0;
}

static inline void dev_queue_suspend(void *dev, unsigned int queue)
{
	((struct device *)dev)->held_count[queue] = 0;
}

static inline void dev_queue_start(void *dev, unsigned int queue)
{
	(void)queue;
	((struct device *)dev)->queue_starts++;
}

static inline void dev_stop(void *dev)
{
	struct device *d = dev;

	d->stops++;
	d->host = NULL;
	d->queues = NULL;
}

static inline void dev_config_written(void *dev, size_t offset, const void *bytes, size_t len_bytes)
{
	memcpy(((struct device *)dev)->written + offset, bytes, len_bytes);
}

static inline int dev_save(void *dev, void **ret_bytes, size_t *ret_len_bytes)
{
	struct device *d = dev;
	void *bytes = malloc(sizeof(d->state));

	assert_non_null(bytes);
	memcpy(bytes, d->state, sizeof(d->state));
	*ret_bytes = bytes;
	*ret_len_bytes = d->state_len;
	return 0;
}

static inline int dev_load(void *dev, const void *bytes, size_t len_bytes, struct cvmm_error *err)
{
	struct device *d = dev;

	if (len_bytes > sizeof(d->state))
		return cvmm_fail(err, -EINVAL, "a state of %zu bytes", len_bytes);
	memcpy(d->state, bytes, len_bytes);
	d->state_len = len_bytes;
	return 0;
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
	.queue_suspend = dev_queue_suspend,
	.save = dev_save,
	.load = dev_load,
};

/* ---- both ends --------------------------------------------------------------------------------- */

#define RAM_BYTES (UINT64_C(1) << 20)
#define RAM_GPA UINT64_C(0x100000)
#define USER_BASE UINT64_C(0x7f0000000000) /* what the front-end calls its memory */
#define RING_STRIDE 0x8000
#define DATA_OFFSET 0x40000
#define WITH_ALL_BUT(...) (CVMM_VHOST_USER_PROTOCOL_FEATURES_ALL & ~(__VA_ARGS__))

struct bench {
	struct device dev;
	struct cvmm_loop *loop;
	struct cvmm_vhost_user_backend *be;
	struct cvmm_vhost_user_conn *fe; /* NULL while not connected */
	int closed;			 /* connections that ended, and the last reason */
	int reason;
	char message[CVMM_ERROR_MESSAGE_SIZE];
	uint64_t protocol; /* negotiated */
	struct cvmm_mem *mem;
	uint8_t *ram;
	int ram_fd; /* the region's */
	struct cvmm_virtq_driver drv[QUEUES];
	struct cvmm_virtq_driver_config ring[QUEUES];
	int kick[QUEUES], call[QUEUES], err[QUEUES];
	int channel; /* our end, or -1 */
};

static inline void on_closed(void *ctx, int reason, const char *message)
{
	struct bench *b = ctx;

	b->closed++;
	b->reason = reason;
	snprintf(b->message, sizeof(b->message), "%s", message);
}

static inline void settle(struct bench *b)
{
	/* Timers that are due at once come in the next round. */
	for (int quiet = 0; quiet < 2;)
		quiet = cvmm_loop_run_once(b->loop, 0) > 0 ? 0 : quiet + 1;
}

static inline void connect_front_end(struct bench *b)
{
	struct cvmm_error err = { 0 };
	int fds[2];

	cvmm_vhost_user_conn_destroy(b->fe);
	b->fe = NULL;
	settle(b);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(cvmm_vhost_user_backend_attach(b->be, fds[0], &err), 0);
	assert_int_equal(cvmm_vhost_user_conn_create(fds[1], &b->fe, &err), 0);
	b->protocol = 0;
}

static inline void *bench_of(const struct cvmm_virtio_device_ops *ops,
			     const struct cvmm_vhost_user_backend_ops *extra, uint64_t offer)
{
	static const uint8_t space[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	struct bench *b = calloc(1, sizeof(*b));
	struct cvmm_mem_config ram = { .gpa = cvmm_gpa_from(RAM_GPA),
				       .len_bytes = RAM_BYTES,
				       .kind = CVMM_MEM_MEMFD,
				       .access = CVMM_ACCESS_READ_WRITE };
	struct cvmm_vhost_user_backend_config config = {
		.ops = ops, .extra = extra, .offer = offer, .closed = on_closed
	};
	struct cvmm_error err = { 0 };

	assert_non_null(b);
	b->channel = -1;
	b->dev.gpu_fd = -1;
	assert_int_equal(cvmm_virtio_config_space_init(&b->dev.space, space, sizeof(space)), 0);
	assert_int_equal(cvmm_loop_create(CVMM_LOOP_AUTO, &b->loop), 0);
	config.loop = b->loop;
	config.dev = &b->dev;
	config.closed_ctx = b;
	assert_int_equal(cvmm_vhost_user_backend_create(&config, &b->be, &err), 0);
	assert_int_equal(cvmm_mem_create(&ram, 1, &b->mem, &err), 0);
	b->ram = cvmm_mem_region_at(b->mem, 0)->host;
	b->ram_fd = cvmm_mem_region_at(b->mem, 0)->fd;
	for (unsigned int i = 0; i < QUEUES; i++) {
		b->kick[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		b->call[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		b->err[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	}
	connect_front_end(b);
	return b;
}

static inline int bench_free(void **state)
{
	struct bench *b = *state;

	cvmm_vhost_user_backend_destroy(b->be);
	cvmm_vhost_user_conn_destroy(b->fe);
	cvmm_close_fd(&b->channel);
	for (unsigned int i = 0; i < QUEUES; i++) {
		cvmm_virtq_driver_fini(&b->drv[i]);
		close(b->kick[i]);
		close(b->call[i]);
		close(b->err[i]);
	}
	cvmm_close_fd(&b->dev.gpu_fd);
	cvmm_loop_destroy(b->loop);
	cvmm_mem_unref(b->mem);
	cvmm_virtio_config_space_fini(&b->dev.space);
	free(b);
	return 0;
}

static inline void *bench_new(const struct cvmm_vhost_user_backend_ops *extra, uint64_t offer)
{
	return bench_of(&dev_ops, extra, offer);
}

/* ---- requests ---------------------------------------------------------------------------------- */

static inline void send_request(struct bench *b, uint32_t request, uint32_t flags,
				const void *payload, size_t len, const int *fds, size_t fd_count)
{
	struct iovec iov = { (void *)(uintptr_t)payload, len };

	assert_int_equal(
		cvmm_vhost_user_conn_send(b->fe, request, flags, &iov, len ? 1 : 0, fds, fd_count),
		0);
	settle(b);
}

/* The answer to the request before, or NULL if there is none. */
static inline struct cvmm_vhost_user_msg *answer(struct bench *b)
{
	struct cvmm_vhost_user_msg *msg = NULL;
	int r = cvmm_vhost_user_conn_receive(b->fe, &msg, NULL);

	return r == 1 ? msg : NULL;
}

static inline bool has_ended(struct bench *b)
{
	struct cvmm_vhost_user_msg *msg;
	bool ended = cvmm_vhost_user_conn_receive(b->fe, &msg, NULL) == -ECONNRESET;

	assert_int_equal(ended, !cvmm_vhost_user_backend_is_attached(b->be));
	return ended;
}

/* Ask for an acknowledgement; there must be one. */
static inline uint64_t ack_with(struct bench *b, uint32_t request, const void *payload, size_t len,
				const int *fds, size_t fd_count)
{
	struct cvmm_vhost_user_msg *msg;

	assert_true(b->protocol & CVMM_VHOST_USER_PROTOCOL(REPLY_ACK));
	send_request(b, request, CVMM_VHOST_USER_FLAG_NEED_REPLY, payload, len, fds, fd_count);
	msg = answer(b);
	if (!msg)
		print_message("request %u has no answer: %s\n", request, b->message);
	assert_non_null(msg);
	assert_int_equal(msg->request, request);
	assert_int_equal(msg->size, sizeof(uint64_t));
	assert_true(msg->flags & CVMM_VHOST_USER_FLAG_REPLY);
	return msg->payload[0];
}

static inline uint64_t ack(struct bench *b, uint32_t request, const void *payload, size_t len)
{
	return ack_with(b, request, payload, len, NULL, 0);
}

static inline uint64_t ack_u64(struct bench *b, uint32_t request, uint64_t value)
{
	return ack(b, request, &value, sizeof(value));
}

static inline uint64_t ack_vring(struct bench *b, uint32_t request, uint32_t index, uint32_t num)
{
	struct cvmm_vhost_user_vring_state state = { index, num };

	return ack(b, request, &state, sizeof(state));
}

/* A request that is answered by a u64 of its own. */
static inline uint64_t get_u64(struct bench *b, uint32_t request)
{
	struct cvmm_vhost_user_msg *msg;

	send_request(b, request, 0, NULL, 0, NULL, 0);
	msg = answer(b);
	assert_non_null(msg);
	assert_int_equal(msg->size, sizeof(uint64_t));
	return msg->payload[0];
}

static inline uint32_t get_base(struct bench *b, uint32_t request, uint32_t index)
{
	struct cvmm_vhost_user_vring_state state = { index, 0 };
	struct cvmm_vhost_user_msg *msg;

	send_request(b, request, 0, &state, sizeof(state), NULL, 0);
	msg = answer(b);
	assert_non_null(msg);
	assert_int_equal(msg->size, sizeof(state));
	memcpy(&state, msg->payload, sizeof(state));
	assert_int_equal(state.index, index);
	return state.num;
}

/* Protocol features but for those in @without, and the features in @features. */
static inline void negotiate(struct bench *b, uint64_t features, uint64_t without)
{
	uint64_t offered = get_u64(b, CVMM_VHOST_USER_GET_FEATURES);
	uint64_t protocol = get_u64(b, CVMM_VHOST_USER_GET_PROTOCOL_FEATURES) & ~without;

	assert_int_equal(features & ~offered, 0);
	send_request(b, CVMM_VHOST_USER_SET_PROTOCOL_FEATURES, 0, &protocol, sizeof(protocol), NULL,
		     0);
	b->protocol = protocol;
	send_request(b, CVMM_VHOST_USER_SET_OWNER, 0, NULL, 0, NULL, 0);
	features |= CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_VERSION_1) |
		    CVMM_VIRTIO_FEATURE(CVMM_VHOST_USER_F_PROTOCOL_FEATURES);
	assert_int_equal(ack_u64(b, CVMM_VHOST_USER_SET_FEATURES, features), 0);
}

#define DEFAULT_WITHOUT \
	(CVMM_VHOST_USER_PROTOCOL(GPA_ADDRESSES) | CVMM_VHOST_USER_PROTOCOL(INBAND_NOTIFICATIONS))

static inline struct cvmm_vhost_user_mem_region ram_region(void)
{
	return (struct cvmm_vhost_user_mem_region){ RAM_GPA, RAM_BYTES, USER_BASE, 0 };
}

static inline uint64_t set_mem(struct bench *b)
{
	struct {
		struct cvmm_vhost_user_mem_table table;
		struct cvmm_vhost_user_mem_region region;
	} payload = { { .count = 1 }, ram_region() };

	return ack_with(b, CVMM_VHOST_USER_SET_MEM_TABLE, &payload, sizeof(payload), &b->ram_fd, 1);
}

/* ---- rings ------------------------------------------------------------------------------------- */

static inline uint64_t user_addr(cvmm_gpa gpa)
{
	return gpa.addr - RAM_GPA + USER_BASE;
}

static inline void make_ring(struct bench *b, unsigned int i, struct cvmm_virtq_driver_config ring)
{
	uint64_t bytes;

	if (!ring.size)
		ring.size = QUEUE_SIZE;
	assert_int_equal(
		cvmm_virtq_driver_layout(&ring, cvmm_gpa_from(RAM_GPA + i * RING_STRIDE), &bytes),
		0);
	cvmm_virtq_driver_fini(&b->drv[i]);
	assert_int_equal(cvmm_virtq_driver_init(&b->drv[i], b->mem, &ring, NULL), 0);
	b->ring[i] = ring;
}

static inline struct cvmm_vhost_user_vring_addr ring_addr(const struct bench *b, unsigned int i)
{
	return (struct cvmm_vhost_user_vring_addr){ .index = i,
						    .desc = user_addr(b->ring[i].desc),
						    .used = user_addr(b->ring[i].device_area),
						    .avail = user_addr(b->ring[i].driver_area),
						    .log = b->ring[i].device_area.addr };
}

static inline uint64_t set_fd(struct bench *b, uint32_t request, unsigned int i, int fd)
{
	uint64_t value = i | (fd < 0 ? CVMM_VHOST_USER_VRING_NO_FD : 0);

	return ack_with(b, request, &value, sizeof(value), &fd, fd < 0 ? 0 : 1);
}

/* All that a ring needs but for the last two steps. */
static inline void set_up_ring(struct bench *b, unsigned int i, uint32_t base)
{
	struct cvmm_vhost_user_vring_addr addr = ring_addr(b, i);

	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_NUM, i, b->ring[i].size), 0);
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_BASE, i, base), 0);
	assert_int_equal(ack(b, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr)), 0);
	assert_int_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_CALL, i, b->call[i]), 0);
	assert_int_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_ERR, i, b->err[i]), 0);
}

static inline void start_ring(struct bench *b, unsigned int i, uint32_t base)
{
	set_up_ring(b, i, base);
	assert_int_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_KICK, i, b->kick[i]), 0);
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_ENABLE, i, 1), 0);
}

/* A bench whose queue 0 runs. */
static inline void start_all(struct bench *b, uint64_t features,
			     struct cvmm_virtq_driver_config ring)
{
	negotiate(b, features, DEFAULT_WITHOUT);
	assert_int_equal(set_mem(b), 0);
	make_ring(b, 0, ring);
	start_ring(b, 0, ring.packed ? 0x80008000 : 0);
}

static inline bool signalled(int fd)
{
	uint64_t value;

	return read(fd, &value, sizeof(value)) == sizeof(value);
}

static inline void ring_kick(struct bench *b, unsigned int i)
{
	uint64_t one = 1;

	assert_int_equal(write(b->kick[i], &one, sizeof(one)), sizeof(one));
	settle(b);
}

/* Put a request of @len bytes, all @fill, into the ring, with as much room for the answer. */
static inline void add_request(struct bench *b, unsigned int i, unsigned int slot, uint8_t fill,
			       uint32_t len)
{
	uint64_t at = DATA_OFFSET + slot * 0x2000;
	struct cvmm_virtq_segment segments[2] = {
		{ cvmm_gpa_from(RAM_GPA + at), len },
		{ cvmm_gpa_from(RAM_GPA + at + 0x1000), len },
	};

	memset(b->ram + at, fill, len);
	memset(b->ram + at + 0x1000, 0, len);
	assert_int_equal(
		cvmm_virtq_driver_add(&b->drv[i], segments, 1, 1, (void *)(uintptr_t)(slot + 1)),
		0);
	cvmm_virtq_driver_publish(&b->drv[i]);
}

/* The next answer must be that of @slot. */
static inline void expect_answer(struct bench *b, unsigned int i, unsigned int slot, uint8_t fill,
				 uint32_t len)
{
	uint64_t at = DATA_OFFSET + slot * 0x2000 + 0x1000;
	uint32_t got = 0;
	void *token = NULL;

	assert_int_equal(cvmm_virtq_driver_take(&b->drv[i], &token, &got), 1);
	assert_int_equal((uintptr_t)token, slot + 1);
	assert_int_equal(got, len);
	for (uint32_t k = 0; k < len; k++)
		assert_int_equal(b->ram[at + k], fill);
}

static inline void expect_no_answer(struct bench *b, unsigned int i)
{
	uint32_t got;
	void *token;

	assert_int_equal(cvmm_virtq_driver_take(&b->drv[i], &token, &got), 0);
}

/* Whether the ring works: a request goes through. */
static inline void expect_service(struct bench *b, unsigned int i)
{
	add_request(b, i, 0, 0x5a, 100);
	ring_kick(b, i);
	expect_answer(b, i, 0, 0x5a, 100);
}

static inline int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

#endif /* CVMM_TEST_VHOST_USER_BACKEND_H */
