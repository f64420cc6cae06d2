// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Both ends together. The back-end is a process of its own, so that it can be killed at any moment; the
 * front-end goes on with the next one. The device copies what it reads to what it writes.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <cvmm/vhost-user_backend.h>
#include <cvmm/vhost-user_frontend.h>
#include <cvmm/virtq_driver.h>

#define QUEUE_SIZE 16U
#define REQUESTS 8U
#define REQUEST_BYTES 16U
#define RAM_BYTES (UINT64_C(1) << 20)
#define DATA_GPA UINT64_C(0x40000)
#define DEADLINE_NS (UINT64_C(60) * CVMM_NS_PER_S)
#define CRASHES 40U

#define P(name) CVMM_VHOST_USER_PROTOCOL(name)
#define F_VERSION_1 CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_VERSION_1)
#define F_EVENT_IDX CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_EVENT_IDX)
#define F_PACKED CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_RING_PACKED)
#define ALL_PROTOCOL CVMM_VHOST_USER_PROTOCOL_FEATURES_ALL

/* ---- the device -------------------------------------------------------------------------------- */

struct device {
	struct cvmm_virtio_config_space space;
	struct cvmm_virtio_host *host;
	struct cvmm_virtq *queues;
	bool holds_odd; /* requests whose first byte is odd are not answered */
};

static unsigned int dev_queue_count(void *dev)
{
	(void)dev;
	return 1;
}

static uint16_t dev_queue_size_max(void *dev, unsigned int queue)
{
	(void)dev;
	(void)queue;
	return QUEUE_SIZE;
}

static uint64_t dev_features(void *dev)
{
	(void)dev;
	return 0;
}

static struct cvmm_virtio_config_space *dev_config_space(void *dev)
{
	return &((struct device *)dev)->space;
}

static int dev_start(void *dev, const struct cvmm_virtio_start *start, struct cvmm_error *err)
{
	struct device *d = dev;

	(void)err;
	d->host = start->host;
	d->queues = start->queues;
	return 0;
}

static void dev_stop(void *dev)
{
	((struct device *)dev)->queues = NULL;
}

static void answer(struct device *d, const struct cvmm_virtq_chain *chain)
{
	uint8_t bytes[REQUEST_BYTES];
	size_t n =
		cvmm_iov_copy_from(chain->readable, chain->readable_count, 0, bytes, sizeof(bytes));

	if (d->holds_odd && n && bytes[0] & 1)
		return;
	n = cvmm_iov_copy_to(chain->writable, chain->writable_count, 0, bytes, n);
	if (cvmm_virtq_push_chain(d->queues, chain, (uint32_t)n))
		abort();
}

static void dev_kick(void *dev, unsigned int queue)
{
	struct device *d = dev;
	struct cvmm_virtq_chain chain;
	struct iovec iov[8];
	int r;

	(void)queue;
	do {
		cvmm_virtq_disable_notifications(d->queues);
		while ((r = cvmm_virtq_pop(d->queues, iov, CVMM_ARRAY_SIZE(iov), &chain)) == 1)
			answer(d, &chain);
		if (r < 0)
			abort();
	} while (cvmm_virtq_enable_notifications(d->queues));
	if (cvmm_virtq_should_notify(d->queues))
		d->host->ops->notify(d->host, 0);
}

static const struct cvmm_virtio_device_ops dev_ops = {
	.size = sizeof(dev_ops),
	.name = "pair",
	.device_id = 42,
	.queue_count = dev_queue_count,
	.queue_size_max = dev_queue_size_max,
	.features = dev_features,
	.config_space = dev_config_space,
	.start = dev_start,
	.kick = dev_kick,
	.stop = dev_stop,
};

/* ---- the back-end's process -------------------------------------------------------------------- */

static void on_closed(void *ctx, int reason, const char *message)
{
	(void)reason;
	(void)message;
	cvmm_loop_stop(ctx);
}

/* Serves one connection. Return: the exit status. */
static int serve(int fd, bool holds_odd)
{
	struct device dev = { .holds_odd = holds_odd };
	struct cvmm_vhost_user_backend_config config = {
		.ops = &dev_ops,
		.dev = &dev,
		.offer = CVMM_VIRTIO_RING_FEATURES_ALL,
		.closed = on_closed,
	};
	struct cvmm_vhost_user_backend *be;

	if (cvmm_loop_create(CVMM_LOOP_AUTO, &config.loop))
		return 1;
	config.closed_ctx = config.loop;
	if (cvmm_vhost_user_backend_create(&config, &be, NULL) ||
	    cvmm_vhost_user_backend_attach(be, fd, NULL) || cvmm_loop_run(config.loop))
		return 2;
	cvmm_vhost_user_backend_destroy(be);
	cvmm_loop_destroy(config.loop);
	return 0;
}

/* Return: the front-end's end. */
static int start_backend(pid_t *ret_pid, bool holds_odd)
{
	int fds[2];
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		close(fds[0]);
		_exit(serve(fds[1], holds_odd));
	}
	close(fds[1]);
	*ret_pid = pid;
	return fds[0];
}

/* ---- the front-end ----------------------------------------------------------------------------- */

struct pair {
	struct cvmm_vhost_user_frontend_config config;
	struct cvmm_vhost_user_frontend *fe;
	struct cvmm_mem *mem;
	struct cvmm_virtq_driver drv;
	struct cvmm_virtq_driver_config ring;
	struct cvmm_vhost_user_queue queue;
	struct cvmm_error err;
	pid_t pid;
	bool under_way[REQUESTS];
	unsigned int count; /* under way */
	unsigned int answered;
};

static int set_up(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	if (!p)
		return -1;
	p->config.protocol_want = ALL_PROTOCOL;
	p->queue.kick_fd = p->queue.call_fd = p->queue.err_fd = -1;
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	struct pair *p = *state;
	int status = 0;

	cvmm_vhost_user_frontend_destroy(p->fe);
	if (p->pid)
		waitpid(p->pid, &status, 0);
	cvmm_virtq_driver_fini(&p->drv);
	cvmm_mem_unref(p->mem);
	cvmm_close_fd(&p->queue.kick_fd);
	cvmm_close_fd(&p->queue.call_fd);
	free(p);
	/* A back-end whose front-end left ends in good order. */
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static void make_ring(struct pair *p, bool packed)
{
	uint64_t bytes;

	p->ring = (struct cvmm_virtq_driver_config){ .size = QUEUE_SIZE,
						     .packed = packed,
						     .event_idx = true };
	assert_int_equal(cvmm_virtq_driver_layout(&p->ring, cvmm_gpa_from(0), &bytes), 0);
	assert_int_equal(cvmm_virtq_driver_init(&p->drv, p->mem, &p->ring, &p->err), 0);
	p->queue.config = (struct cvmm_virtq_config){
		.size = QUEUE_SIZE,
		.desc = p->ring.desc,
		.avail = p->ring.driver_area,
		.used = p->ring.device_area,
		.packed = packed,
		.event_idx = true,
	};
	p->queue.base = CVMM_VIRTQ_BASE_START;
	p->queue.kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->queue.call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

/* Up to a queue that runs. */
static void begin(struct pair *p, bool packed, bool inflight, bool holds_odd)
{
	struct cvmm_mem_config region = { .len_bytes = RAM_BYTES,
					  .kind = CVMM_MEM_MEMFD,
					  .access = CVMM_ACCESS_READ_WRITE };
	uint64_t features = F_VERSION_1 | F_EVENT_IDX | (packed ? F_PACKED : 0);

	assert_int_equal(cvmm_mem_create(&region, 1, &p->mem, &p->err), 0);
	make_ring(p, packed);
	assert_int_equal(cvmm_vhost_user_frontend_create(
				 &p->config, start_backend(&p->pid, holds_odd), &p->fe, &p->err),
			 0);
	assert_int_equal(cvmm_vhost_user_frontend_negotiate(p->fe, &p->err), 0);
	assert_int_equal(cvmm_vhost_user_frontend_set_mem(p->fe, p->mem, &p->err), 0);
	assert_int_equal(cvmm_vhost_user_frontend_set_features(p->fe, features, &p->err), 0);
	if (inflight)
		assert_int_equal(
			cvmm_vhost_user_frontend_init_inflight(p->fe, 1, QUEUE_SIZE, &p->err), 0);
	assert_int_equal(cvmm_vhost_user_frontend_start_queue(p->fe, &p->queue, &p->err), 0);
}

static uint8_t *request_bytes(struct pair *p, unsigned int i)
{
	return cvmm_mem_ptr(p->mem, cvmm_gpa_from(DATA_GPA + i * UINT64_C(64)), 2 * REQUEST_BYTES,
			    CVMM_ACCESS_READ_WRITE);
}

/* Request @i, whose bytes are all @i. */
static void submit(struct pair *p, unsigned int i)
{
	struct cvmm_virtq_segment segments[2] = {
		{ cvmm_gpa_from(DATA_GPA + i * UINT64_C(64)), REQUEST_BYTES },
		{ cvmm_gpa_from(DATA_GPA + i * UINT64_C(64) + REQUEST_BYTES), REQUEST_BYTES },
	};

	memset(request_bytes(p, i), (int)i, REQUEST_BYTES);
	memset(request_bytes(p, i) + REQUEST_BYTES, 0xff, REQUEST_BYTES);
	assert_int_equal(cvmm_virtq_driver_add(&p->drv, segments, 1, 1, &p->under_way[i]), 0);
	p->under_way[i] = true;
	p->count++;
}

static void publish(struct pair *p)
{
	uint64_t one = 1;

	cvmm_virtq_driver_publish(&p->drv);
	if (cvmm_virtq_driver_should_kick(&p->drv))
		assert_int_equal(write(p->queue.kick_fd, &one, sizeof(one)), sizeof(one));
}

/* What was answered: each of them once, as the driver's half of the ring sees to, and rightly. */
static void collect(struct pair *p)
{
	uint32_t used;
	void *token;
	int r;

	while ((r = cvmm_virtq_driver_take(&p->drv, &token, &used)) == 1) {
		bool *under_way = token;
		unsigned int i = (unsigned int)(under_way - p->under_way);

		assert_true(*under_way);
		assert_int_equal(used, REQUEST_BYTES);
		assert_memory_equal(request_bytes(p, i), request_bytes(p, i) + REQUEST_BYTES,
				    REQUEST_BYTES);
		*under_way = false;
		p->count--;
		p->answered++;
	}
	assert_int_equal(r, 0);
}

/* Until @left are under way. */
static void wait_until(struct pair *p, unsigned int left)
{
	uint64_t deadline_ns = cvmm_clock_ns() + DEADLINE_NS, ignored;
	struct pollfd call = { .fd = p->queue.call_fd, .events = POLLIN };

	for (;;) {
		collect(p);
		if (p->count <= left)
			return;
		assert_true(cvmm_clock_ns() < deadline_ns);
		if (cvmm_virtq_driver_enable_interrupts(&p->drv))
			continue;
		/* A call may have been lost with the back-end that was to make it. */
		if (poll(&call, 1, 100) == 1)
			(void)!read(p->queue.call_fd, &ignored, sizeof(ignored));
	}
}

static void crash(struct pair *p)
{
	kill(p->pid, SIGKILL);
	waitpid(p->pid, NULL, 0);
	p->pid = 0;
}

static int reconnect(struct pair *p, bool holds_odd)
{
	return cvmm_vhost_user_frontend_reconnect(p->fe, start_backend(&p->pid, holds_odd),
						  &p->err);
}

/* ---- tests ------------------------------------------------------------------------------------- */

static void do_requests(struct pair *p)
{
	for (unsigned int round = 0; round < 50; round++) {
		for (unsigned int i = 0; i < REQUESTS; i++)
			submit(p, i);
		publish(p);
		wait_until(p, 0);
	}
	assert_int_equal(p->answered, 50 * REQUESTS);
}

static void restart_queue(struct pair *p)
{
	struct cvmm_virtq_base base;

	assert_int_equal(cvmm_vhost_user_frontend_stop_queue(p->fe, 0, false, &base, &p->err), 0);
	if (!p->ring.packed)
		assert_int_equal(base.next_avail, p->answered & 0xffff);
	assert_int_equal(base.next_avail, base.next_used);
	p->queue.base = base;
	assert_int_equal(cvmm_vhost_user_frontend_start_queue(p->fe, &p->queue, &p->err), 0);
	p->answered = 0;
	do_requests(p);
}

static void a_split_queue_is_served_stopped_and_started_again(void **state)
{
	struct pair *p = *state;

	begin(p, false, false, false);
	do_requests(p);
	restart_queue(p);
}

static void a_packed_queue_is_served_stopped_and_started_again(void **state)
{
	struct pair *p = *state;

	begin(p, true, false, false);
	do_requests(p);
	restart_queue(p);
}

/* As old front-ends do: no slots, no acknowledgements, and the addresses of this process. */
static void a_plain_session_is_served(void **state)
{
	struct pair *p = *state;

	p->config.protocol_want = 0;
	begin(p, false, false, false);
	assert_int_equal(cvmm_vhost_user_frontend_protocol(p->fe), 0);
	do_requests(p);
	restart_queue(p);
}

static void addresses_of_this_process_are_served(void **state)
{
	struct pair *p = *state;

	p->config.protocol_want = ALL_PROTOCOL & ~P(GPA_ADDRESSES);
	begin(p, true, true, false);
	do_requests(p);
}

/* Half of the requests are answered, in another order than they were made, when it dies. */
static void survive(struct pair *p, bool packed)
{
	uint64_t features;

	begin(p, packed, true, true);
	for (unsigned int i = 0; i < REQUESTS; i++)
		submit(p, i);
	publish(p);
	wait_until(p, REQUESTS / 2);
	for (unsigned int i = 0; i < REQUESTS; i++)
		assert_int_equal(p->under_way[i], i % 2);
	crash(p);
	assert_int_equal(cvmm_vhost_user_frontend_get_features(p->fe, &features, &p->err),
			 -ECONNRESET);
	/* More come while nobody is there. */
	submit(p, 0);
	submit(p, 2);
	publish(p);
	assert_int_equal(reconnect(p, false), 0);
	wait_until(p, 0);
	assert_int_equal(p->answered, REQUESTS + 2);
	p->answered = 0;
	do_requests(p);
}

static void what_was_in_flight_is_done_by_the_next_back_end_split(void **state)
{
	survive(*state, false);
}

static void what_was_in_flight_is_done_by_the_next_back_end_packed(void **state)
{
	survive(*state, true);
}

/* Killed at any moment, each request is answered, and answered once. */
static void crash_and_crash_again(struct pair *p, bool packed)
{
	unsigned int seed = 1, done = 0;

	begin(p, packed, true, false);
	for (unsigned int round = 0; round < CRASHES; round++) {
		unsigned int until = p->answered + 1 + (unsigned int)rand_r(&seed) % 200;

		while (p->answered < until) {
			for (unsigned int i = 0; i < REQUESTS; i++)
				if (!p->under_way[i])
					submit(p, i);
			publish(p);
			wait_until(p, REQUESTS - 1);
		}
		if (rand_r(&seed) % 2)
			usleep((unsigned int)rand_r(&seed) % 300);
		crash(p);
		assert_int_equal(reconnect(p, round % 2), 0);
		/* Every other one leaves half of what it takes. */
		if (round % 2) {
			crash(p);
			assert_int_equal(reconnect(p, false), 0);
		}
		wait_until(p, 0);
		done++;
	}
	assert_int_equal(done, CRASHES);
}

static void requests_survive_any_crash_split(void **state)
{
	crash_and_crash_again(*state, false);
}

static void requests_survive_any_crash_packed(void **state)
{
	crash_and_crash_again(*state, true);
}

/* One that gives back in the order in which it takes needs no region, if the queue is split. */
static void without_a_region_split_queues_go_on_and_packed_ones_do_not(void **state)
{
	struct pair *p = *state;

	begin(p, false, false, false);
	do_requests(p);
	crash(p);
	submit(p, 3);
	publish(p);
	assert_int_equal(reconnect(p, false), 0);
	wait_until(p, 0);
	tear_down(state);
	assert_int_equal(set_up(state), 0);
	p = *state;
	begin(p, true, false, false);
	do_requests(p);
	crash(p);
	assert_int_equal(reconnect(p, false), -EOPNOTSUPP);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_split_queue_is_served_stopped_and_started_again),
		TEST(a_packed_queue_is_served_stopped_and_started_again),
		TEST(a_plain_session_is_served),
		TEST(addresses_of_this_process_are_served),
		TEST(what_was_in_flight_is_done_by_the_next_back_end_split),
		TEST(what_was_in_flight_is_done_by_the_next_back_end_packed),
		TEST(requests_survive_any_crash_split),
		TEST(requests_survive_any_crash_packed),
		TEST(without_a_region_split_queues_go_on_and_packed_ones_do_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
