// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * A hostile back-end: all that it ever says, on both channels and with descriptors, is in the input; so are the
 * calls that are made.
 *
 * Everything is written before the first call and followed by the end of the stream, so that no call waits
 * for anything. The input is a list of records:
 *
 *   byte 0     what it is: 0 bytes on the first connection, 1 on the back-end channel, 2 on the connection
 *              that comes after a reconnection; others are a call, see do_call()
 *   byte 1     descriptors to go with the bytes; or the call's argument
 *   byte 2, 3  how many bytes follow, little-endian; only for the first three
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cvmm/vhost-user_frontend.h>
#include <cvmm/virtio.h>

#include "../../tests/support/descriptors.h"

#define CALLS_MAX 64U
#define FDS_MAX 4U
#define QUEUE_SIZE 16U
#define REGION_BYTES (UINT64_C(1) << 16)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum record {
	RECORD_MAIN,
	RECORD_CHANNEL,
	RECORD_SECOND,
	RECORD_KINDS,
};

struct fuzz {
	const uint8_t *data;
	size_t size;
	struct cvmm_vhost_user_frontend *fe;
	struct cvmm_mem *maps[2];
	struct cvmm_loop *loop;
	int peer;
	int channel;
	int memory;	     /* a descriptor to pass */
	unsigned int packed; /* a bit for each queue */
};

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "fuzz_vhost_user_frontend: %s\n", what);
	abort();
}

/* ---- what the back-end says --------------------------------------------------------------------- */

static void say(int sock, const uint8_t *bytes, size_t len, unsigned int fd_count, int fd)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd_count) {
		struct cmsghdr *c;

		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		c = CMSG_FIRSTHDR(&hdr);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		for (unsigned int i = 0; i < fd_count; i++)
			memcpy(CMSG_DATA(c) + i * sizeof(fd), &fd, sizeof(fd));
	}
	(void)sendmsg(sock, &hdr, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* The record at @at, and where the next one is. Return: false at the end. */
static bool next_record(const struct fuzz *f, size_t *at, uint8_t *ret_kind, uint8_t *ret_arg,
			const uint8_t **ret_bytes, size_t *ret_len)
{
	size_t left = f->size - *at;

	if (left < 4)
		return false;
	*ret_kind = f->data[*at];
	*ret_arg = f->data[*at + 1];
	*ret_len = 0;
	*ret_bytes = f->data + *at + 4;
	if (*ret_kind < RECORD_KINDS) {
		*ret_len = cvmm_get_le16(f->data + *at + 2);
		if (*ret_len > left - 4)
			*ret_len = left - 4;
	}
	*at += 4 + *ret_len;
	return true;
}

/* All of one kind, and then the end. */
static void say_all(const struct fuzz *f, int sock, uint8_t wanted)
{
	const uint8_t *bytes;
	uint8_t kind, arg;
	size_t at = 0, len;

	while (next_record(f, &at, &kind, &arg, &bytes, &len))
		if (kind == wanted && len)
			say(sock, bytes, len, arg % (FDS_MAX + 1), f->memory);
	shutdown(sock, SHUT_WR);
}

/* Read what the front-end said, and keep its channel if it sent one. */
static void hear(struct fuzz *f)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(CVMM_VHOST_USER_FDS_MAX * sizeof(int))];
	} control;
	static uint8_t bytes[65536];
	struct iovec iov = { bytes, sizeof(bytes) };

	for (;;) {
		struct msghdr hdr = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = &control,
				      .msg_controllen = sizeof(control) };
		struct sockaddr_storage name;
		socklen_t name_len;

		if (recvmsg(f->peer, &hdr, MSG_DONTWAIT) <= 0)
			return;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&hdr); c; c = CMSG_NXTHDR(&hdr, c)) {
			for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
				int fd;

				memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
				name_len = sizeof(name);
				if (f->channel < 0 &&
				    getsockname(fd, (struct sockaddr *)&name, &name_len) == 0)
					f->channel = fd;
				else
					close(fd);
			}
		}
	}
}

/* ---- what the front-end does about it ----------------------------------------------------------- */

static int on_config_changed(void *ctx)
{
	struct fuzz *f = ctx;
	uint8_t bytes[8];

	return cvmm_vhost_user_frontend_get_config(f->fe, 4, bytes, sizeof(bytes), NULL);
}

static int on_iotlb(void *ctx, const struct cvmm_iotlb_op *op)
{
	struct fuzz *f = ctx;
	struct cvmm_iotlb_op update = *op;

	check(op->last >= op->iova, "a range that ends before it begins");
	check(op->kind == CVMM_IOTLB_MISS || op->kind == CVMM_IOTLB_ACCESS_FAIL, "another kind");
	update.kind = CVMM_IOTLB_UPDATE;
	return cvmm_vhost_user_frontend_iotlb(f->fe, &update, NULL);
}

static int on_host_notifier(void *ctx, unsigned int queue, int fd, uint64_t offset,
			    uint64_t size_bytes)
{
	(void)ctx;
	check(queue < CVMM_VHOST_USER_QUEUES_MAX, "a queue that cannot be");
	check(fd < 0 || (size_bytes && offset + size_bytes > offset), "an area that cannot be");
	cvmm_close_fd(&fd);
	return 0;
}

static int on_vring(void *ctx, unsigned int queue)
{
	(void)ctx;
	check(queue < CVMM_VHOST_USER_QUEUES_MAX, "a queue that cannot be");
	return 0;
}

static int on_object(void *ctx, const struct cvmm_vhost_user_uuid *uuid)
{
	(void)ctx;
	return uuid->bytes[0] & 1 ? -ENOENT : 0;
}

static int on_lookup(void *ctx, const struct cvmm_vhost_user_uuid *uuid)
{
	const struct fuzz *f = ctx;

	return uuid->bytes[0] & 1 ? -ENOENT : fcntl(f->memory, F_DUPFD_CLOEXEC, 0);
}

static int on_map(void *ctx, int fd, const struct cvmm_vhost_user_mmap *map)
{
	(void)ctx;
	check(fd >= 0 && fcntl(fd, F_GETFD) & FD_CLOEXEC, "a descriptor that is none");
	check(map->len_bytes && map->fd_offset + map->len_bytes > map->fd_offset &&
		      map->shm_offset + map->len_bytes > map->shm_offset,
	      "a mapping that cannot be");
	return 0;
}

static int on_unmap(void *ctx, const struct cvmm_vhost_user_mmap *map)
{
	(void)ctx;
	return map->shmid & 1 ? -EINVAL : 0;
}

static const struct cvmm_vhost_user_frontend_ops ops = {
	.size = sizeof(struct cvmm_vhost_user_frontend_ops),
	.iotlb = on_iotlb,
	.config_changed = on_config_changed,
	.host_notifier = on_host_notifier,
	.vring_call = on_vring,
	.vring_err = on_vring,
	.shared_object_add = on_object,
	.shared_object_remove = on_object,
	.shared_object_lookup = on_lookup,
	.shmem_map = on_map,
	.shmem_unmap = on_unmap,
};

/* ---- calls -------------------------------------------------------------------------------------- */

static void start_queue(struct fuzz *f, uint8_t arg)
{
	struct cvmm_vhost_user_queue queue = {
		.index = arg & 3,
		.config = { .size = QUEUE_SIZE,
			    .desc = cvmm_gpa_from(0x1000 * (arg & 3U)),
			    .avail = cvmm_gpa_from(0x1000 * (arg & 3U) + 0x400),
			    .used = cvmm_gpa_from(0x1000 * (arg & 3U) + 0x800),
			    .packed = arg & 4 },
		.base = CVMM_VIRTQ_BASE_START,
		.kick_fd = arg & 8 ? f->memory : -1,
		.call_fd = arg & 16 ? f->memory : -1,
		.err_fd = arg & 32 ? f->memory : -1,
	};

	if (cvmm_vhost_user_frontend_start_queue(f->fe, &queue, NULL))
		return;
	f->packed = (f->packed & ~(1U << queue.index)) | (unsigned int)queue.config.packed
								 << queue.index;
}

static void stop_queue(struct fuzz *f, uint8_t arg)
{
	struct cvmm_virtq_base base;

	if (cvmm_vhost_user_frontend_stop_queue(f->fe, arg & 3, arg & 8, &base, NULL) == 0)
		check(!(f->packed >> (arg & 3) & 1) || base.next_avail < QUEUE_SIZE,
		      "a base outside of the ring");
}

static void reconnect(struct fuzz *f)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		abort();
	say_all(f, fds[1], RECORD_SECOND);
	cvmm_close_fd(&f->peer);
	f->peer = fds[1];
	(void)cvmm_vhost_user_frontend_reconnect(f->fe, fds[0], NULL);
}

static void take_fd(int r, int fd)
{
	if (r == 0)
		cvmm_close_fd(&fd);
}

static void get_things(struct fuzz *f, uint8_t arg)
{
	const struct cvmm_vhost_user_uuid uuid = { { arg } };
	struct cvmm_vhost_user_shmem_config shmem;
	uint8_t bytes[64], status;
	uint64_t value;
	int fd = -1, r;

	switch (arg % 6) {
	case 0:
		(void)cvmm_vhost_user_frontend_get_features(f->fe, &value, NULL);
		break;
	case 1:
		(void)cvmm_vhost_user_frontend_get_config(f->fe, arg & 15, bytes, arg & 31, NULL);
		break;
	case 2:
		(void)cvmm_vhost_user_frontend_get_status(f->fe, &status, NULL);
		break;
	case 3:
		(void)cvmm_vhost_user_frontend_get_max_mem_slots(f->fe, &value, NULL);
		break;
	case 4:
		(void)cvmm_vhost_user_frontend_get_shmem_config(f->fe, &shmem, NULL);
		break;
	default:
		r = cvmm_vhost_user_frontend_get_shared_object(f->fe, &uuid, &fd, NULL);
		take_fd(r, fd);
		break;
	}
}

static void set_things(struct fuzz *f, uint8_t arg)
{
	uint8_t bytes[32] = { arg };

	switch (arg % 10) {
	case 0:
		(void)cvmm_vhost_user_frontend_set_config(f->fe, arg, bytes, sizeof(bytes), 0,
							  NULL);
		break;
	case 1:
		(void)cvmm_vhost_user_frontend_set_status(f->fe, arg, NULL);
		break;
	case 2:
		(void)cvmm_vhost_user_frontend_set_enable(f->fe, arg & 3, arg & 4, NULL);
		break;
	case 3:
		(void)cvmm_vhost_user_frontend_set_mtu(f->fe, arg, NULL);
		break;
	case 4:
		(void)cvmm_vhost_user_frontend_set_vring_endian(f->fe, arg & 3, arg & 4, NULL);
		break;
	case 5:
		(void)cvmm_vhost_user_frontend_set_gpu_socket(f->fe, f->memory, NULL);
		break;
	case 6:
		(void)cvmm_vhost_user_frontend_set_log_fd(f->fe, f->memory, NULL);
		break;
	case 7:
		(void)cvmm_vhost_user_frontend_set_log(f->fe, arg & 128 ? f->memory : -1, 0, 4096,
						       NULL);
		break;
	case 8:
		(void)cvmm_vhost_user_frontend_set_logging(f->fe, arg & 128, NULL);
		break;
	default:
		(void)cvmm_vhost_user_frontend_send_rarp(f->fe, bytes, NULL);
		break;
	}
}

static void do_postcopy(struct fuzz *f, uint8_t arg)
{
	uint64_t addr;
	int fd = -1, r;

	switch (arg % 4) {
	case 0:
		r = cvmm_vhost_user_frontend_postcopy_advise(f->fe, &fd, NULL);
		take_fd(r, fd);
		break;
	case 1:
		(void)cvmm_vhost_user_frontend_postcopy_listen(f->fe, NULL);
		break;
	case 2:
		(void)cvmm_vhost_user_frontend_postcopy_ack(f->fe, NULL);
		(void)cvmm_vhost_user_frontend_postcopy_region(f->fe, arg & 3, &addr);
		break;
	default:
		(void)cvmm_vhost_user_frontend_postcopy_end(f->fe, NULL);
		break;
	}
}

static void do_others(struct fuzz *f, uint8_t arg)
{
	struct cvmm_iotlb_op op = { CVMM_IOTLB_UPDATE, 0x1000, 0x1fff, 0, 3 };
	uint64_t words[4] = { arg };
	int fd = -1, r;

	switch (arg % 6) {
	case 0:
		r = cvmm_vhost_user_frontend_transfer(f->fe, CVMM_VHOST_USER_TRANSFER_SAVE,
						      f->memory, &fd, NULL);
		take_fd(r, fd);
		break;
	case 1:
		(void)cvmm_vhost_user_frontend_check_device_state(f->fe, NULL);
		break;
	case 2:
		(void)cvmm_vhost_user_frontend_iotlb(f->fe, &op, NULL);
		break;
	case 3:
		(void)cvmm_vhost_user_frontend_create_crypto_session(f->fe, words, sizeof(words),
								     NULL);
		break;
	case 4:
		(void)cvmm_vhost_user_frontend_close_crypto_session(f->fe, arg, NULL);
		break;
	default:
		(void)cvmm_vhost_user_frontend_reset_device(f->fe, NULL);
		break;
	}
}

static void do_call(struct fuzz *f, uint8_t kind, uint8_t arg)
{
	struct cvmm_vhost_user_msg *msg;

	switch (kind) {
	case 3:
		(void)cvmm_vhost_user_frontend_set_features(
			f->fe, cvmm_vhost_user_frontend_features(f->fe), NULL);
		break;
	case 4:
		(void)cvmm_vhost_user_frontend_set_mem(f->fe, f->maps[arg & 1], NULL);
		break;
	case 5:
		start_queue(f, arg);
		break;
	case 6:
		stop_queue(f, arg);
		break;
	case 7:
		(void)cvmm_vhost_user_frontend_init_inflight(f->fe, arg & 3, QUEUE_SIZE, NULL);
		break;
	case 8:
		get_things(f, arg);
		break;
	case 9:
		set_things(f, arg);
		break;
	case 10:
		do_postcopy(f, arg);
		break;
	case 11:
		do_others(f, arg);
		break;
	case 12:
		(void)cvmm_vhost_user_frontend_raw(f->fe, arg, arg & 1, f->data,
						   f->size < 64 ? f->size : 64, NULL, 0, &msg,
						   NULL);
		break;
	case 13:
		(void)cvmm_vhost_user_frontend_kick(f->fe, arg, NULL);
		break;
	case 14:
		reconnect(f);
		break;
	case 15: /* what has come on the channel */
		(void)cvmm_loop_run_once(f->loop, 0);
		break;
	default:
		break;
	}
	hear(f);
}

/* ---- one input ---------------------------------------------------------------------------------- */

static void make_maps(struct fuzz *f)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct cvmm_mem_config configs[2] = {
			{ .gpa = cvmm_gpa_from(0),
			  .len_bytes = REGION_BYTES,
			  .kind = CVMM_MEM_FILE,
			  .access = CVMM_ACCESS_READ_WRITE,
			  .fd = f->memory },
			{ .gpa = cvmm_gpa_from((2 + i) * REGION_BYTES),
			  .len_bytes = REGION_BYTES,
			  .kind = CVMM_MEM_FILE,
			  .access = CVMM_ACCESS_READ_WRITE,
			  .fd = f->memory },
		};

		if (cvmm_mem_create(configs, 2, &f->maps[i], NULL))
			abort();
	}
}

static void run(struct fuzz *f)
{
	struct cvmm_vhost_user_frontend_config config = {
		.loop = f->loop,
		.ops = &ops,
		.ctx = f,
		.protocol_want =
			CVMM_VHOST_USER_PROTOCOL_FEATURES_ALL & ~CVMM_VHOST_USER_PROTOCOL(XEN_MMAP),
		.timeout_ms = 2000,
	};
	unsigned int calls = 0;
	const uint8_t *bytes;
	uint8_t kind, arg;
	size_t at = 0, len;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		abort();
	f->peer = fds[1];
	say_all(f, f->peer, RECORD_MAIN);
	if (cvmm_vhost_user_frontend_create(&config, fds[0], &f->fe, NULL))
		abort();
	(void)cvmm_vhost_user_frontend_negotiate(f->fe, NULL);
	hear(f);
	if (f->channel >= 0)
		say_all(f, f->channel, RECORD_CHANNEL);
	while (calls < CALLS_MAX && next_record(f, &at, &kind, &arg, &bytes, &len)) {
		if (kind < RECORD_KINDS)
			continue;
		do_call(f, kind, arg);
		calls++;
	}
}

/* The number that the next descriptor would have: it grows if one is left open. */
static int lowest_fd(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = { .data = data, .size = size, .peer = -1, .channel = -1 };
	int before = lowest_fd();

	f.memory = test_file();
	if (f.memory < 0 || ftruncate(f.memory, REGION_BYTES))
		abort();
	if (cvmm_loop_create(CVMM_LOOP_POLL, &f.loop))
		abort();
	make_maps(&f);
	run(&f);
	cvmm_vhost_user_frontend_destroy(f.fe);
	cvmm_loop_destroy(f.loop);
	cvmm_close_fd(&f.peer);
	cvmm_close_fd(&f.channel);
	cvmm_close_fd(&f.memory);
	for (unsigned int i = 0; i < 2; i++)
		cvmm_mem_unref(f.maps[i]);
	check(lowest_fd() == before, "a descriptor was left open");
	return 0;
}
