// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The back-end: what outlives it, or goes elsewhere: inflight regions, logs, state; and the IOMMU, the
 * back-end channel and post-copy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>

#include <cvmm/mem_iotlb.h>

#include "../../tests/support/descriptors.h"
#include "test_vhost_user_backend.h"
#include "../../tests/support/descriptors.h"

#define FEATURE(bit) CVMM_VIRTIO_FEATURE(bit)
#define SPLIT ((struct cvmm_virtq_driver_config){ 0 })

static int set_up(void **state)
{
	*state = bench_new(NULL, FEATURE(CVMM_VIRTIO_F_RING_PACKED));
	return 0;
}

/* ---- inflight ---- */

static struct cvmm_vhost_user_inflight get_inflight(struct bench *b, uint16_t queues, uint16_t size,
						    int *ret_fd)
{
	struct cvmm_vhost_user_inflight inflight = { .queue_count = queues, .queue_size = size };
	struct cvmm_vhost_user_msg *msg;

	send_request(b, CVMM_VHOST_USER_GET_INFLIGHT_FD, 0, &inflight, sizeof(inflight), NULL, 0);
	msg = answer(b);
	assert_non_null(msg);
	assert_int_equal(msg->size, sizeof(inflight));
	*ret_fd = cvmm_vhost_user_msg_take_fd(msg, 0);
	memcpy(&inflight, msg->payload, sizeof(inflight));
	return inflight;
}

static uint64_t set_inflight(struct bench *b, struct cvmm_vhost_user_inflight inflight, int fd)
{
	return ack_with(b, CVMM_VHOST_USER_SET_INFLIGHT_FD, &inflight, sizeof(inflight), &fd, 1);
}

static void an_inflight_region_has_the_header_of_the_specification(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_inflight inflight;
	int fd;

	negotiate(b, 0, DEFAULT_WITHOUT);
	inflight = get_inflight(b, 1, 16, &fd);
	/* 16 bytes of header, 16 for each descriptor; queues begin at multiples of 64. */
	assert_int_equal(inflight.mmap_size, 320);
	assert_int_equal(lseek(fd, 0, SEEK_END) >= 320, 1);
	close(fd);
	inflight = get_inflight(b, QUEUES + 1, 16, &fd);
	assert_int_equal(inflight.mmap_size, 0);
	assert_int_equal(fd, -1);
	inflight = get_inflight(b, 1, 0, &fd);
	assert_int_equal(inflight.mmap_size, 0);
}

static void chains_in_flight_come_again_after_the_connection_was_lost(void **state)
{
	struct bench *b = *state;

	for (int packed = 0; packed < 2; packed++) {
		struct cvmm_vhost_user_inflight inflight;
		uint64_t features = packed ? FEATURE(CVMM_VIRTIO_F_RING_PACKED) : 0;
		int fd;

		connect_front_end(b);
		b->dev.hold = false;
		negotiate(b, features, DEFAULT_WITHOUT);
		inflight = get_inflight(b, QUEUES, QUEUE_SIZE, &fd);
		assert_int_equal(set_inflight(b, inflight, fd), 0);
		assert_int_equal(set_mem(b), 0);
		make_ring(b, 0, (struct cvmm_virtq_driver_config){ .packed = packed });
		start_ring(b, 0, packed ? 0x80008000 : 0);
		expect_service(b, 0);
		/* Three come in; the second one is done. The process dies: here, the device forgets. */
		b->dev.hold = true;
		for (unsigned int i = 1; i <= 3; i++)
			add_request(b, 0, i, (uint8_t)i, 10 * i);
		ring_kick(b, 0);
		assert_int_equal(b->dev.held_count[0], 3);
		assert_int_equal(cvmm_virtq_push(&b->dev.queues[0], b->dev.held[0][1].head, 0), 0);
		b->dev.held_count[0] = 0;
		b->dev.hold = false;
		connect_front_end(b);
		negotiate(b, features, DEFAULT_WITHOUT);
		assert_int_equal(set_mem(b), 0);
		assert_int_equal(set_inflight(b, inflight, fd), 0);
		/* What a front-end knows that lost the back-end: the used index. */
		start_ring(b, 0, packed ? 0x80008000 : 2);
		expect_answer(b, 0, 2, 0, 0);
		expect_answer(b, 0, 1, 1, 10);
		expect_answer(b, 0, 3, 3, 30);
		expect_no_answer(b, 0);
		expect_service(b, 0);
		close(fd);
	}
}

static void a_ring_is_stopped_without_draining_if_that_is_asked(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_inflight inflight;
	uint32_t base;
	int fd;

	negotiate(b, 0, DEFAULT_WITHOUT);
	inflight = get_inflight(b, QUEUES, QUEUE_SIZE, &fd);
	assert_int_equal(set_inflight(b, inflight, fd), 0);
	assert_int_equal(set_mem(b), 0);
	make_ring(b, 0, SPLIT);
	start_ring(b, 0, 0);
	b->dev.hold = true;
	add_request(b, 0, 1, 1, 10);
	add_request(b, 0, 2, 2, 20);
	ring_kick(b, 0);
	base = get_base(b, CVMM_VHOST_USER_GET_VRING_BASE_SKIP_DRAIN, 0);
	assert_int_equal(base, 2);
	expect_no_answer(b, 0);
	b->dev.hold = false;
	start_ring(b, 0, base);
	expect_answer(b, 0, 1, 1, 10);
	expect_answer(b, 0, 2, 2, 20);
	/* And with: what is in flight is completed first. */
	b->dev.hold = true;
	add_request(b, 0, 3, 3, 30);
	ring_kick(b, 0);
	assert_int_equal(get_base(b, CVMM_VHOST_USER_GET_VRING_BASE, 0), 3);
	expect_answer(b, 0, 3, 0, 0);
	close(fd);
}

static void regions_that_cannot_hold_the_queues_are_refused(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_inflight inflight, bad;
	int fd, pipe_fds[2];

	negotiate(b, 0, DEFAULT_WITHOUT);
	inflight = get_inflight(b, QUEUES, QUEUE_SIZE, &fd);
	bad = inflight;
	bad.mmap_size -= 64;
	assert_int_not_equal(set_inflight(b, bad, fd), 0);
	bad = inflight;
	bad.mmap_offset = 4096;
	assert_int_not_equal(set_inflight(b, bad, fd), 0);
	bad.mmap_offset = UINT64_MAX - 4095;
	assert_int_not_equal(set_inflight(b, bad, fd), 0);
	bad.mmap_offset = 1;
	assert_int_not_equal(set_inflight(b, bad, fd), 0);
	bad = inflight;
	bad.queue_size = 32769;
	assert_int_not_equal(set_inflight(b, bad, fd), 0);
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_not_equal(set_inflight(b, inflight, pipe_fds[0]), 0);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	assert_int_equal(set_inflight(b, inflight, fd), 0);
	close(fd);
}

/* ---- the log ---- */

#define LOG_BYTES 4096U

static int make_log(uint8_t **ret_bits)
{
	int fd = test_file();

	assert_int_equal(ftruncate(fd, LOG_BYTES), 0);
	*ret_bits = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(*ret_bits, MAP_FAILED);
	return fd;
}

static void set_log(struct bench *b, int fd)
{
	struct cvmm_vhost_user_log log = { LOG_BYTES, 0 };
	struct cvmm_vhost_user_msg *msg;

	send_request(b, CVMM_VHOST_USER_SET_LOG_BASE, 0, &log, sizeof(log), &fd, 1);
	msg = answer(b);
	assert_non_null(msg);
	assert_int_equal(msg->request, CVMM_VHOST_USER_SET_LOG_BASE);
	assert_int_equal(msg->payload[0], LOG_BYTES);
}

static bool is_dirty(const uint8_t *bits, uint64_t gpa)
{
	uint64_t page = gpa / CVMM_VHOST_USER_LOG_PAGE;

	return bits[page / 8] >> page % 8 & 1;
}

static uint64_t logging(struct bench *b, bool on)
{
	return ack_u64(b, CVMM_VHOST_USER_SET_FEATURES,
		       FEATURE(CVMM_VIRTIO_F_VERSION_1) |
			       FEATURE(CVMM_VHOST_USER_F_PROTOCOL_FEATURES) |
			       (on ? FEATURE(CVMM_VHOST_USER_F_LOG_ALL) : 0));
}

static uint64_t buffer_gpa(unsigned int slot)
{
	return RAM_GPA + DATA_OFFSET + slot * 0x2000 + 0x1000;
}

/* Complete the chain that the device keeps, with 8 bytes of 0x66. */
static void complete_held(struct bench *b)
{
	struct cvmm_virtq_chain *chain = &b->dev.held[0][--b->dev.held_count[0]];
	uint8_t bytes[8];

	memset(bytes, 0x66, sizeof(bytes));
	cvmm_iov_copy_to(b->dev.held_iov, 1, 0, bytes, sizeof(bytes));
	chain->writable = b->dev.held_iov;
	chain->writable_count = 1;
	assert_int_equal(cvmm_virtq_push_chain(&b->dev.queues[0], chain, sizeof(bytes)), 0);
}

static void writes_are_logged_while_that_is_on(void **state)
{
	struct bench *b = *state;
	uint8_t *bits;
	int fd = make_log(&bits);

	start_all(b, 0, SPLIT);
	expect_service(b, 0);
	set_log(b, fd);
	close(fd);
	expect_service(b, 0);
	assert_false(is_dirty(bits, buffer_gpa(0)));
	/* A chain that is in flight when logging begins is logged when it is done. */
	b->dev.hold = true;
	add_request(b, 0, 2, 2, 20);
	ring_kick(b, 0);
	assert_int_equal(logging(b, true), 0);
	b->dev.hold = false;
	assert_int_equal(b->dev.held_count[0], 1);
	complete_held(b);
	expect_answer(b, 0, 2, 0x66, 8);
	assert_true(is_dirty(bits, buffer_gpa(2)));
	assert_true(is_dirty(bits, b->ring[0].device_area.addr));
	add_request(b, 0, 3, 3, 30);
	ring_kick(b, 0);
	expect_answer(b, 0, 3, 3, 30);
	assert_true(is_dirty(bits, buffer_gpa(3)));
	assert_false(is_dirty(bits, buffer_gpa(3) - 0x1000)); /* only read */
	/* Off, and on again without another log. */
	assert_int_equal(logging(b, false), 0);
	memset(bits, 0, LOG_BYTES);
	add_request(b, 0, 4, 4, 40);
	ring_kick(b, 0);
	expect_answer(b, 0, 4, 4, 40);
	assert_false(is_dirty(bits, buffer_gpa(4)));
	assert_int_equal(logging(b, true), 0);
	add_request(b, 0, 4, 4, 40);
	ring_kick(b, 0);
	expect_answer(b, 0, 4, 4, 40);
	assert_true(is_dirty(bits, buffer_gpa(4)));
	munmap(bits, LOG_BYTES);
}

static void memory_that_is_added_while_writes_are_logged_is_logged(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_mem_slot slot = {
		0, { RAM_GPA + RAM_BYTES, 0x1000, USER_BASE + RAM_BYTES, DATA_OFFSET }
	};
	struct cvmm_virtq_segment segment = { cvmm_gpa_from(RAM_GPA + RAM_BYTES), 8 };
	uint8_t *bits;
	int fd = make_log(&bits);

	start_all(b, 0, SPLIT);
	set_log(b, fd);
	close(fd);
	assert_int_equal(logging(b, true), 0);
	assert_int_equal(
		ack_with(b, CVMM_VHOST_USER_ADD_MEM_REG, &slot, sizeof(slot), &b->ram_fd, 1), 0);
	assert_int_equal(cvmm_virtq_driver_add(&b->drv[0], &segment, 0, 1, NULL), 0);
	cvmm_virtq_driver_publish(&b->drv[0]);
	ring_kick(b, 0);
	assert_true(is_dirty(bits, RAM_GPA + RAM_BYTES));
	munmap(bits, LOG_BYTES);
}

static void the_used_ring_is_logged_where_the_front_end_wants_it(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_vring_addr addr;
	int log_event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	uint8_t *bits;
	int fd = make_log(&bits);

	start_all(b, 0, SPLIT);
	set_log(b, fd);
	close(fd);
	assert_int_equal(ack_with(b, CVMM_VHOST_USER_SET_LOG_FD, NULL, 0, &log_event, 1), 0);
	assert_int_equal(logging(b, true), 0);
	expect_service(b, 0);
	assert_false(is_dirty(bits, 0x4000000));
	/* On the fly. */
	addr = ring_addr(b, 0);
	addr.flags = CVMM_VHOST_USER_VRING_F_LOG;
	addr.log = 0x4000000;
	assert_int_equal(ack(b, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr)), 0);
	expect_service(b, 0);
	assert_true(is_dirty(bits, 0x4000000));
	assert_true(signalled(log_event));
	close(log_event);
	munmap(bits, LOG_BYTES);
}

static void logs_that_cannot_be_are_refused_and_the_connection_lives(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_log log = { LOG_BYTES, 4096 };
	struct cvmm_vhost_user_msg *msg;
	uint8_t *bits;
	int fd = make_log(&bits);

	negotiate(b, 0, DEFAULT_WITHOUT);
	send_request(b, CVMM_VHOST_USER_SET_LOG_BASE, 0, &log, sizeof(log), &fd, 1);
	msg = answer(b);
	assert_non_null(msg);
	assert_int_equal(msg->payload[0], 0);
	send_request(b, CVMM_VHOST_USER_SET_LOG_BASE, 0, &log, sizeof(log), NULL, 0);
	assert_non_null(answer(b));
	set_log(b, fd);
	close(fd);
	munmap(bits, LOG_BYTES);
}

/* ---- state ---- */

static uint64_t transfer(struct bench *b, uint32_t direction, int fd)
{
	struct cvmm_vhost_user_transfer params = { direction, 0 };
	struct cvmm_vhost_user_msg *msg;

	send_request(b, CVMM_VHOST_USER_SET_DEVICE_STATE_FD, 0, &params, sizeof(params), &fd, 1);
	msg = answer(b);
	assert_non_null(msg);
	assert_int_equal(msg->fd_count, 0);
	return msg->payload[0];
}

static void the_state_of_the_device_is_saved_and_loaded(void **state)
{
	struct bench *b = *state;
	char bytes[64];
	int fds[2];

	negotiate(b, 0, DEFAULT_WITHOUT);
	strcpy(b->dev.state, "everything");
	b->dev.state_len = 11;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(transfer(b, CVMM_VHOST_USER_TRANSFER_SAVE, fds[1]),
			 CVMM_VHOST_USER_STATE_NO_FD);
	close(fds[1]);
	settle(b);
	assert_int_equal(read(fds[0], bytes, sizeof(bytes)), 11);
	assert_int_equal(read(fds[0], bytes + 11, 1), 0);
	close(fds[0]);
	assert_int_equal(get_u64(b, CVMM_VHOST_USER_CHECK_DEVICE_STATE), 0);
	/* Asked for once. */
	assert_int_not_equal(get_u64(b, CVMM_VHOST_USER_CHECK_DEVICE_STATE), 0);
	memset(b->dev.state, 0, sizeof(b->dev.state));
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(transfer(b, CVMM_VHOST_USER_TRANSFER_LOAD, fds[0]),
			 CVMM_VHOST_USER_STATE_NO_FD);
	close(fds[0]);
	assert_int_equal(write(fds[1], bytes, 5), 5);
	/* Asked before the end: the answer comes after it. */
	send_request(b, CVMM_VHOST_USER_CHECK_DEVICE_STATE, 0, NULL, 0, NULL, 0);
	send_request(b, CVMM_VHOST_USER_GET_FEATURES, 0, NULL, 0, NULL, 0);
	assert_null(answer(b));
	assert_int_equal(write(fds[1], bytes + 5, 6), 6);
	close(fds[1]);
	settle(b);
	assert_int_equal(answer(b)->request, CVMM_VHOST_USER_CHECK_DEVICE_STATE);
	assert_int_equal(answer(b)->request, CVMM_VHOST_USER_GET_FEATURES);
	assert_string_equal(b->dev.state, "everything");
}

static void a_state_that_cannot_be_loaded_is_told(void **state)
{
	struct bench *b = *state;
	char bytes[100] = { 0 };
	int fds[2];

	negotiate(b, 0, DEFAULT_WITHOUT);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(transfer(b, 2, fds[0]) & 0xff, 1);
	assert_int_equal(transfer(b, CVMM_VHOST_USER_TRANSFER_LOAD, fds[0]),
			 CVMM_VHOST_USER_STATE_NO_FD);
	assert_int_equal(write(fds[1], bytes, sizeof(bytes)), sizeof(bytes));
	close(fds[1]);
	settle(b);
	close(fds[0]);
	assert_int_not_equal(get_u64(b, CVMM_VHOST_USER_CHECK_DEVICE_STATE), 0);
}

static void a_device_that_runs_has_no_state_to_move(void **state)
{
	struct bench *b = *state;
	int fds[2];

	start_all(b, 0, SPLIT);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(transfer(b, CVMM_VHOST_USER_TRANSFER_SAVE, fds[1]) & 0xff, 1);
	close(fds[0]);
	close(fds[1]);
	expect_service(b, 0);
}

/* ---- the back-end channel ---- */

static void open_channel(struct bench *b)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(ack_with(b, CVMM_VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &fds[1], 1), 0);
	close(fds[1]);
	cvmm_close_fd(&b->channel);
	b->channel = fds[0];
}

/* The next request on the channel; answered with @value if it asks for that. */
static uint32_t take_request(struct bench *b, void *payload, size_t len, uint64_t value)
{
	struct cvmm_vhost_user_header header;
	struct {
		struct cvmm_vhost_user_header header;
		uint8_t value[8];
	} reply;

	settle(b);
	if (recv(b->channel, &header, sizeof(header), MSG_DONTWAIT) != sizeof(header))
		return 0;
	assert_int_equal(header.size, len);
	if (len)
		assert_int_equal(read(b->channel, payload, len), len);
	if (header.flags & CVMM_VHOST_USER_FLAG_NEED_REPLY) {
		reply.header = (struct cvmm_vhost_user_header){
			header.request, CVMM_VHOST_USER_VERSION | CVMM_VHOST_USER_FLAG_REPLY, 8
		};
		memcpy(reply.value, &value, sizeof(value));
		assert_int_equal(write(b->channel, &reply, sizeof(reply)), sizeof(reply));
		settle(b);
	}
	return header.request;
}

static void a_change_of_configuration_is_told_when_the_device_runs(void **state)
{
	struct bench *b = *state;

	start_all(b, 0, SPLIT);
	open_channel(b);
	b->dev.host->ops->config_changed(b->dev.host);
	assert_int_equal(take_request(b, NULL, 0, 0), CVMM_VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
	assert_int_equal(take_request(b, NULL, 0, 0), 0);
}

struct told {
	int count;
	int error;
	int fd;
};

static void on_answer(void *ctx, int error, int fd)
{
	struct told *told = ctx;

	told->count++;
	told->error = error;
	told->fd = fd;
}

static void requests_of_the_device_are_answered_in_their_order(void **state)
{
	struct cvmm_vhost_user_mmap map = { .shmid = 1, .len_bytes = 4096 }, got;
	struct cvmm_vhost_user_backend_ops extra = { .size = sizeof(extra) };
	struct told told[3] = { 0 };
	struct bench *b;
	void *p;

	(void)state;
	extra.shmem_config = (void (*)(void *, struct cvmm_vhost_user_shmem_config *))abort;
	p = b = bench_new(&extra, 0);
	start_all(b, 0, SPLIT);
	assert_int_equal(cvmm_vhost_user_backend_shmem_unmap(b->be, &map, on_answer, &told[0]),
			 -ENOTCONN);
	open_channel(b);
	assert_int_equal(
		cvmm_vhost_user_backend_shmem_map(b->be, b->ram_fd, &map, on_answer, &told[0]), 0);
	assert_int_equal(cvmm_vhost_user_backend_shmem_unmap(b->be, &map, on_answer, &told[1]), 0);
	assert_int_equal(cvmm_vhost_user_backend_shmem_unmap(b->be, &map, on_answer, &told[2]), 0);
	assert_int_equal(take_request(b, &got, sizeof(got), 0), CVMM_VHOST_USER_BACKEND_SHMEM_MAP);
	assert_memory_equal(&got, &map, sizeof(got));
	assert_int_equal(told[0].count, 1);
	assert_int_equal(told[0].error, 0);
	assert_int_equal(told[1].count, 0);
	assert_int_equal(take_request(b, &got, sizeof(got), 22),
			 CVMM_VHOST_USER_BACKEND_SHMEM_UNMAP);
	assert_int_equal(told[1].error, -EREMOTEIO);
	/* The third one never gets its answer. */
	assert_int_equal(told[2].count, 0);
	connect_front_end(b);
	assert_int_equal(told[2].count, 1);
	assert_int_equal(told[2].error, -ECONNRESET);
	bench_free(&p);
}

static void an_answer_to_nothing_ends_the_channel_only(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_header header = { CVMM_VHOST_USER_BACKEND_SHMEM_MAP,
						 CVMM_VHOST_USER_VERSION |
							 CVMM_VHOST_USER_FLAG_REPLY,
						 0 };

	start_all(b, 0, SPLIT);
	open_channel(b);
	assert_int_equal(write(b->channel, &header, sizeof(header)), sizeof(header));
	settle(b);
	expect_service(b, 0);
	open_channel(b);
	b->dev.host->ops->config_changed(b->dev.host);
	assert_int_equal(take_request(b, NULL, 0, 0), CVMM_VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
}

static void a_front_end_that_waits_for_us_gets_its_answer_while_we_wait_for_it(void **state)
{
	struct bench *b = *state;

	start_all(b, 0, SPLIT);
	open_channel(b);
	b->dev.host->ops->config_changed(b->dev.host);
	settle(b);
	/* The request above is not answered, and the ring is stopped all the same. */
	assert_int_equal(get_base(b, CVMM_VHOST_USER_GET_VRING_BASE, 0), 0);
}

static void in_band_notifications_start_kick_and_call(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_vring_state vring;

	negotiate(b, 0, CVMM_VHOST_USER_PROTOCOL(GPA_ADDRESSES));
	open_channel(b);
	assert_int_equal(set_mem(b), 0);
	make_ring(b, 0, SPLIT);
	set_up_ring(b, 0, 0);
	assert_int_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_CALL, 0, -1), 0);
	assert_int_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_ERR, 0, -1), 0);
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	assert_int_equal(b->dev.starts, 0);
	add_request(b, 0, 0, 1, 10);
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_VRING_KICK, 0, 0), 0);
	expect_answer(b, 0, 0, 1, 10);
	assert_int_equal(take_request(b, &vring, sizeof(vring), 0),
			 CVMM_VHOST_USER_BACKEND_VRING_CALL);
	assert_int_equal(vring.index, 0);
	*(uint16_t *)(b->ram + (b->ring[0].driver_area.addr - RAM_GPA) + 2) = 1000;
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_VRING_KICK, 0, 0), 0);
	assert_int_equal(take_request(b, &vring, sizeof(vring), 0),
			 CVMM_VHOST_USER_BACKEND_VRING_ERR);
}

/* ---- the IOMMU ---- */

#define IOVA_OFFSET UINT64_C(0x500000000)

static uint64_t iotlb(struct bench *b, enum cvmm_iotlb_op_kind kind, uint64_t iova, uint64_t len,
		      uint64_t user)
{
	struct cvmm_iotlb_op op = { .kind = kind,
				    .iova = iova,
				    .last = iova + len - 1,
				    .addr = user,
				    .rights = CVMM_ACCESS_READ_WRITE };
	uint8_t bytes[CVMM_IOTLB_MSG_SIZE];
	struct cvmm_vhost_user_msg *msg;

	assert_int_equal(cvmm_iotlb_msg_format(&op, bytes), 0);
	send_request(b, CVMM_VHOST_USER_IOTLB_MSG, CVMM_VHOST_USER_FLAG_NEED_REPLY, bytes,
		     sizeof(bytes), NULL, 0);
	msg = answer(b);
	assert_non_null(msg);
	assert_int_equal(msg->size, 8);
	return msg->payload[0];
}

/* Serve misses until there are none; RAM is at its guest-physical addresses plus IOVA_OFFSET. */
static unsigned int serve_misses(struct bench *b)
{
	uint8_t bytes[CVMM_IOTLB_MSG_SIZE];
	struct cvmm_iotlb_op op;
	unsigned int n = 0;

	while (take_request(b, bytes, sizeof(bytes), 0) == CVMM_VHOST_USER_BACKEND_IOTLB_MSG) {
		uint64_t page;

		assert_int_equal(cvmm_iotlb_msg_parse(bytes, sizeof(bytes), &op, NULL), 0);
		assert_int_equal(op.kind, CVMM_IOTLB_MISS);
		page = op.iova & ~UINT64_C(0xfff);
		assert_int_equal(iotlb(b, CVMM_IOTLB_UPDATE, page, 0x1000,
				       page - IOVA_OFFSET - RAM_GPA + USER_BASE),
				 0);
		assert_true(++n < 100);
	}
	return n;
}

static void rings_behind_an_iommu_wait_for_translations(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_vring_addr addr;
	struct cvmm_virtq_segment segments[2] = {
		{ cvmm_gpa_from(IOVA_OFFSET + RAM_GPA + DATA_OFFSET), 100 },
		{ cvmm_gpa_from(IOVA_OFFSET + RAM_GPA + DATA_OFFSET + 0x1000), 100 },
	};
	uint32_t got;
	void *token;

	negotiate(b, FEATURE(CVMM_VIRTIO_F_ACCESS_PLATFORM), DEFAULT_WITHOUT);
	open_channel(b);
	assert_int_equal(set_mem(b), 0);
	make_ring(b, 0, SPLIT);
	set_up_ring(b, 0, 0);
	addr = (struct cvmm_vhost_user_vring_addr){
		.desc = b->ring[0].desc.addr + IOVA_OFFSET,
		.avail = b->ring[0].driver_area.addr + IOVA_OFFSET,
		.used = b->ring[0].device_area.addr + IOVA_OFFSET,
	};
	assert_int_equal(ack(b, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr)), 0);
	assert_int_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_KICK, 0, b->kick[0]), 0);
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	memset(b->ram + DATA_OFFSET, 0x77, 100);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(cvmm_virtq_driver_add(&b->drv[0], segments, 1, 1, b), 0);
		cvmm_virtq_driver_publish(&b->drv[0]);
		ring_kick(b, 0);
		assert_int_equal(serve_misses(b) > 0, i != 1);
		assert_int_equal(cvmm_virtq_driver_take(&b->drv[0], &token, &got), 1);
		assert_int_equal(got, 100);
		assert_int_equal(b->ram[DATA_OFFSET + 0x1000], 0x77);
		/* The third time all has been forgotten. */
		if (i == 1)
			assert_int_equal(
				iotlb(b, CVMM_IOTLB_INVALIDATE, IOVA_OFFSET, UINT64_C(1) << 32, 0),
				0);
	}
	/* What is in no region cannot be translated to, nor what ends outside of one. */
	assert_int_not_equal(iotlb(b, CVMM_IOTLB_UPDATE, 0, 0x1000, RAM_GPA), 0);
	assert_int_not_equal(iotlb(b, CVMM_IOTLB_UPDATE, 0, 0x2000, USER_BASE + RAM_BYTES - 0x1000),
			     0);
}

static void iotlb_messages_without_an_iommu_are_refused(void **state)
{
	struct bench *b = *state;

	negotiate(b, 0, DEFAULT_WITHOUT);
	assert_int_equal(set_mem(b), 0);
	assert_int_not_equal(iotlb(b, CVMM_IOTLB_UPDATE, 0, 0x1000, USER_BASE), 0);
	assert_int_equal(ack(b, CVMM_VHOST_USER_SET_OWNER, NULL, 0), 0);
}

/* ---- post-copy ---- */

struct pager {
	pthread_t thread;
	int uffd;
	uint64_t base; /* of the region in the back-end, which is this process */
	uint8_t page[4096];
	int faults;
	int stop[2];
};

static void *serve_faults(void *ctx)
{
	struct pager *p = ctx;
	struct pollfd fds[2] = { { p->uffd, POLLIN, 0 }, { p->stop[0], POLLIN, 0 } };

	for (;;) {
		struct uffd_msg msg;
		struct uffdio_copy copy;

		if (poll(fds, 2, -1) < 0 || fds[1].revents)
			return NULL;
		if (read(p->uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		copy = (struct uffdio_copy){ .dst = msg.arg.pagefault.address & ~(UINT64_C(4095)),
					     .src = (uintptr_t)p->page,
					     .len = 4096 };
		(void)ioctl(p->uffd, UFFDIO_COPY, &copy);
		p->faults++;
	}
}

static void in_post_copy_pages_come_when_they_are_touched(void **state)
{
	struct bench *b = *state;
	struct cvmm_vhost_user_msg *msg;
	struct {
		struct cvmm_vhost_user_mem_table table;
		struct cvmm_vhost_user_mem_region region;
	} payload = { { .count = 1 }, ram_region() };
	struct cvmm_virtq_segment segments[2] = {
		{ cvmm_gpa_from(RAM_GPA + 0x80000), 100 },
		{ cvmm_gpa_from(RAM_GPA + DATA_OFFSET), 100 },
	};
	struct pager pager = { .uffd = -1 };
	uint64_t zero = 0;
	uint32_t got;
	void *token;

	if (!(cvmm_vhost_user_backend_protocol_features(b->be) &
	      CVMM_VHOST_USER_PROTOCOL(PAGEFAULT))) {
		print_message("SKIP: userfaultfd(2) is not permitted here\n");
		skip();
	}
	negotiate(b, 0, DEFAULT_WITHOUT | CVMM_VHOST_USER_PROTOCOL(CONFIGURE_MEM_SLOTS));
	assert_int_not_equal(ack(b, CVMM_VHOST_USER_POSTCOPY_LISTEN, NULL, 0), 0);
	send_request(b, CVMM_VHOST_USER_POSTCOPY_ADVISE, 0, NULL, 0, NULL, 0);
	msg = answer(b);
	assert_non_null(msg);
	assert_int_equal(msg->size, 0);
	assert_int_equal(msg->fd_count, 1);
	pager.uffd = cvmm_vhost_user_msg_take_fd(msg, 0);
	assert_int_equal(ack(b, CVMM_VHOST_USER_POSTCOPY_LISTEN, NULL, 0), 0);
	/* The ring's pages have come already; the page that is read has not. */
	make_ring(b, 0, SPLIT);
	memset(b->ram + DATA_OFFSET, 0, 4096);
	send_request(b, CVMM_VHOST_USER_SET_MEM_TABLE, 0, &payload, sizeof(payload), &b->ram_fd, 1);
	msg = answer(b);
	assert_non_null(msg);
	assert_int_equal(msg->size, sizeof(payload));
	memcpy(&payload, msg->payload, sizeof(payload));
	assert_int_equal(payload.region.gpa, RAM_GPA);
	assert_int_not_equal(payload.region.user_addr, USER_BASE);
	set_up_ring(b, 0, 0);
	assert_int_equal(set_fd(b, CVMM_VHOST_USER_SET_VRING_KICK, 0, b->kick[0]), 0);
	assert_int_equal(ack_vring(b, CVMM_VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	/* Nobody serves faults before this. */
	assert_int_equal(b->dev.starts, 0);
	memset(pager.page, 0x3c, sizeof(pager.page));
	assert_int_equal(pipe(pager.stop), 0);
	assert_int_equal(pthread_create(&pager.thread, NULL, serve_faults, &pager), 0);
	assert_int_equal(ack(b, CVMM_VHOST_USER_SET_MEM_TABLE, &zero, sizeof(zero)), 0);
	assert_int_equal(b->dev.starts, 1);
	assert_int_equal(cvmm_virtq_driver_add(&b->drv[0], segments, 1, 1, b), 0);
	cvmm_virtq_driver_publish(&b->drv[0]);
	ring_kick(b, 0);
	assert_int_equal(cvmm_virtq_driver_take(&b->drv[0], &token, &got), 1);
	assert_int_equal(got, 100);
	assert_int_equal(b->ram[DATA_OFFSET + 99], 0x3c);
	assert_int_equal(get_u64(b, CVMM_VHOST_USER_POSTCOPY_END), 0);
	close(pager.stop[1]);
	pthread_join(pager.thread, NULL);
	assert_true(pager.faults > 0);
	close(pager.stop[0]);
	close(pager.uffd);
	expect_service(b, 0);
}

/* ---- what only some devices have ---- */

static int extra_get_object(void *dev, const struct cvmm_vhost_user_uuid *uuid)
{
	(void)dev;
	return uuid->bytes[0] == 7 ? dup(0) : -ENOENT;
}

static void extra_shmem(void *dev, struct cvmm_vhost_user_shmem_config *config)
{
	(void)dev;
	config->count = 1;
	config->size_bytes[3] = 0x10000;
}

static void extra_gpu(void *dev, int fd)
{
	((struct device *)dev)->gpu_fd = fd;
}

static int extra_create(void *dev, void *bytes, size_t len)
{
	(void)dev;
	memset(bytes, 5, len);
	return 0;
}

static int extra_close(void *dev, uint64_t session)
{
	(void)dev;
	return session == 5 ? 0 : -ENOENT;
}

static int extra_rarp(void *dev, const uint8_t mac[6])
{
	(void)dev;
	return mac[5] == 6 ? 0 : -EINVAL;
}

static int extra_mtu(void *dev, uint16_t mtu)
{
	(void)dev;
	return mtu >= 1280 ? 0 : -EINVAL;
}

static void what_only_some_devices_have_reaches_them(void **state)
{
	static const struct cvmm_vhost_user_backend_ops extra = {
		.size = sizeof(extra),
		.get_shared_object = extra_get_object,
		.shmem_config = extra_shmem,
		.set_gpu_socket = extra_gpu,
		.create_crypto_session = extra_create,
		.close_crypto_session = extra_close,
		.send_rarp = extra_rarp,
		.set_mtu = extra_mtu,
	};
	struct bench *b = bench_new(&extra, 0);
	struct cvmm_vhost_user_uuid uuid = { { 7 } };
	uint8_t bytes[40] = { 1, 2, 3, 4, 5, 6 };
	struct cvmm_vhost_user_msg *msg;
	void *p = b;
	int before;

	(void)state;
	negotiate(b, 0, 0);
	before = open_fds();
	send_request(b, CVMM_VHOST_USER_GET_SHARED_OBJECT, 0, &uuid, sizeof(uuid), NULL, 0);
	msg = answer(b);
	assert_int_equal(msg->fd_count, 1);
	uuid.bytes[0] = 8;
	send_request(b, CVMM_VHOST_USER_GET_SHARED_OBJECT, 0, &uuid, sizeof(uuid), NULL, 0);
	msg = answer(b);
	assert_int_equal(msg->fd_count, 0);
	assert_int_equal(open_fds(), before);
	send_request(b, CVMM_VHOST_USER_GET_SHMEM_CONFIG, 0, NULL, 0, NULL, 0);
	msg = answer(b);
	assert_int_equal(msg->size, 2056);
	assert_int_equal(msg->payload[1 + 3], 0x10000);
	assert_int_equal(ack_with(b, CVMM_VHOST_USER_GPU_SET_SOCKET, NULL, 0, &b->kick[0], 1), 0);
	assert_true(b->dev.gpu_fd >= 0);
	assert_int_equal(ack(b, CVMM_VHOST_USER_SEND_RARP, bytes, 8), 0);
	bytes[5] = 0;
	assert_int_not_equal(ack(b, CVMM_VHOST_USER_SEND_RARP, bytes, 8), 0);
	assert_int_equal(ack_u64(b, CVMM_VHOST_USER_NET_SET_MTU, 9000), 0);
	assert_int_not_equal(ack_u64(b, CVMM_VHOST_USER_NET_SET_MTU, 68), 0);
	assert_int_not_equal(ack_u64(b, CVMM_VHOST_USER_NET_SET_MTU, 65536 + 1500), 0);
	send_request(b, CVMM_VHOST_USER_CREATE_CRYPTO_SESSION, 0, bytes, sizeof(bytes), NULL, 0);
	msg = answer(b);
	assert_int_equal(msg->size, sizeof(bytes));
	assert_int_equal(msg->payload[0], UINT64_C(0x0505050505050505));
	assert_int_equal(ack_u64(b, CVMM_VHOST_USER_CLOSE_CRYPTO_SESSION, 5), 0);
	assert_int_not_equal(ack_u64(b, CVMM_VHOST_USER_CLOSE_CRYPTO_SESSION, 6), 0);
	bench_free(&p);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, bench_free)
	const struct CMUnitTest tests[] = {
		T(an_inflight_region_has_the_header_of_the_specification),
		T(chains_in_flight_come_again_after_the_connection_was_lost),
		T(a_ring_is_stopped_without_draining_if_that_is_asked),
		T(regions_that_cannot_hold_the_queues_are_refused),
		T(writes_are_logged_while_that_is_on),
		T(memory_that_is_added_while_writes_are_logged_is_logged),
		T(the_used_ring_is_logged_where_the_front_end_wants_it),
		T(logs_that_cannot_be_are_refused_and_the_connection_lives),
		T(the_state_of_the_device_is_saved_and_loaded),
		T(a_state_that_cannot_be_loaded_is_told),
		T(a_device_that_runs_has_no_state_to_move),
		T(a_change_of_configuration_is_told_when_the_device_runs),
		cmocka_unit_test(requests_of_the_device_are_answered_in_their_order),
		T(an_answer_to_nothing_ends_the_channel_only),
		T(a_front_end_that_waits_for_us_gets_its_answer_while_we_wait_for_it),
		T(in_band_notifications_start_kick_and_call),
		T(rings_behind_an_iommu_wait_for_translations),
		T(iotlb_messages_without_an_iommu_are_refused),
		T(in_post_copy_pages_come_when_they_are_touched),
		cmocka_unit_test(what_only_some_devices_have_reaches_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
