// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * A hostile front-end: requests of every kind with descriptors of every kind, raw bytes, a driver that writes
 * what it likes into its rings, answers to what nobody asked, and new connections in between.
 *
 * The input is a list of operations; each begins with one byte for what it is, and takes what it needs
 * of the rest. The first byte of the input says how far things have come when it begins.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cvmm/vhost-user_backend.h>

#include "../../tests/support/descriptors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OPERATIONS_MAX 64
#define QUEUES 2U
#define PIECES 32U
#define RAM_BYTES 0x20000U
#define RAM_GPA UINT64_C(0x10000)
#define USER_BASE UINT64_C(0x7f0000000000)
#define HEADER_BYTES sizeof(struct cvmm_vhost_user_header)

#define MUST(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

/* ---- input ---- */

struct input {
	const uint8_t *at;
	size_t left;
};

static uint8_t take(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->at++;
}

static void take_bytes(struct input *in, void *dst, size_t len)
{
	uint8_t *to = dst;

	for (size_t i = 0; i < len; i++)
		to[i] = take(in);
}

/* ---- a device that answers everything with zeroes ---- */

struct device {
	struct cvmm_virtio_config_space space;
	struct cvmm_virtio_host *host;
	struct cvmm_virtq *queues;
	struct iovec iov[PIECES];
};

static unsigned int dev_queue_count(void *dev)
{
	(void)dev;
	return QUEUES;
}

static uint16_t dev_queue_size_max(void *dev, unsigned int queue)
{
	(void)dev;
	(void)queue;
	return 8;
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

static void dev_kick(void *dev, unsigned int queue)
{
	struct device *d = dev;
	struct cvmm_virtq_chain chain;

	for (unsigned int i = 0; i < 16; i++) {
		int r = cvmm_virtq_pop(&d->queues[queue], d->iov, PIECES, &chain);

		if (r == -EPROTO)
			d->host->ops->needs_reset(d->host);
		if (r != 1)
			break;
		for (unsigned int k = 0; k < chain.writable_count; k++)
			memset(chain.writable[k].iov_base, 0, chain.writable[k].iov_len);
		if (chain.head % 5 != 4)
			(void)cvmm_virtq_push_chain(&d->queues[queue], &chain,
						    chain.writable_bytes);
	}
	if (cvmm_virtq_should_notify(&d->queues[queue]))
		d->host->ops->notify(d->host, queue);
	if (queue)
		d->host->ops->config_changed(d->host);
}

static void dev_stop(void *dev)
{
	((struct device *)dev)->host = NULL;
}

static void dev_queue_nop(void *dev, unsigned int queue)
{
	(void)dev;
	(void)queue;
}

static void dev_config_written(void *dev, size_t offset, const void *bytes, size_t len)
{
	MUST(offset <= 16 && len <= 16 - offset);
	cvmm_virtio_config_space_update(&((struct device *)dev)->space, offset, bytes, len);
}

static int dev_save(void *dev, void **ret_bytes, size_t *ret_len)
{
	(void)dev;
	*ret_bytes = calloc(1, 100);
	*ret_len = 100;
	return *ret_bytes ? 0 : -ENOMEM;
}

static int dev_load(void *dev, const void *bytes, size_t len, struct cvmm_error *err)
{
	(void)dev;
	return len && ((const uint8_t *)bytes)[len - 1] ? cvmm_fail(err, -EINVAL, "bad") : 0;
}

static const struct cvmm_virtio_device_ops dev_ops = {
	.size = sizeof(dev_ops),
	.name = "fuzz",
	.device_id = 42,
	.queue_count = dev_queue_count,
	.queue_size_max = dev_queue_size_max,
	.features = dev_features,
	.config_space = dev_config_space,
	.start = dev_start,
	.kick = dev_kick,
	.stop = dev_stop,
	.queue_stop = dev_queue_nop,
	.queue_start = dev_queue_nop,
	.config_written = dev_config_written,
	.save = dev_save,
	.load = dev_load,
};

static int extra_object(void *dev, const struct cvmm_vhost_user_uuid *uuid)
{
	(void)dev;
	return uuid->bytes[0] & 1 ? fcntl(0, F_DUPFD_CLOEXEC, 0) : -ENOENT;
}

static void extra_gpu(void *dev, int fd)
{
	(void)dev;
	close(fd);
}

static int extra_crypto(void *dev, void *bytes, size_t len)
{
	(void)dev;
	memset(bytes, 1, len);
	return 0;
}

static int extra_close(void *dev, uint64_t session)
{
	(void)dev;
	return session ? -ENOENT : 0;
}

static int extra_mtu(void *dev, uint16_t mtu)
{
	(void)dev;
	return mtu & 1 ? -EINVAL : 0;
}

static const struct cvmm_vhost_user_backend_ops extra_ops = {
	.size = sizeof(extra_ops),
	.get_shared_object = extra_object,
	.set_gpu_socket = extra_gpu,
	.create_crypto_session = extra_crypto,
	.close_crypto_session = extra_close,
	.set_mtu = extra_mtu,
};

/* ---- the front-end ---- */

struct fuzz {
	struct device dev;
	struct cvmm_loop *loop;
	struct cvmm_vhost_user_backend *be;
	struct cvmm_mem *mem;
	uint8_t *ram;
	int sock;
	int channel; /* our end */
	int channel_peer;
	int fds[6]; /* memory, a notifier, both ends of a pipe, a socket, the inflight region */
};

enum {
	FD_MEMORY,
	FD_NOTIFIER,
	FD_PIPE_READ,
	FD_PIPE_WRITE,
	FD_CHANNEL,
	FD_INFLIGHT,
	FD_KINDS
};

static void settle(struct fuzz *f)
{
	for (int i = 0; i < 64 && cvmm_loop_run_once(f->loop, 0) > 0; i++)
		;
}

/* Read and forget answers, but for the descriptor of an inflight region. */
static void drain(struct fuzz *f)
{
	static uint8_t buf[CVMM_VHOST_USER_PAYLOAD_MAX];
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(8 * sizeof(int))];
	} control;
	struct iovec iov = { buf, sizeof(buf) };

	for (;;) {
		struct msghdr hdr = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = &control,
				      .msg_controllen = sizeof(control) };
		struct cmsghdr *c;
		int fd;

		if (recvmsg(f->sock, &hdr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
			break;
		c = CMSG_FIRSTHDR(&hdr);
		if (!c || c->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		cvmm_close_fd(&f->fds[FD_INFLIGHT]);
		f->fds[FD_INFLIGHT] = fd;
	}
	while (f->channel >= 0 && recv(f->channel, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
}

static void new_connection(struct fuzz *f)
{
	int fds[2];

	cvmm_close_fd(&f->sock);
	settle(f);
	cvmm_vhost_user_backend_detach(f->be);
	MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
	MUST(!cvmm_vhost_user_backend_attach(f->be, fds[0], NULL));
	f->sock = fds[1];
	cvmm_close_fd(&f->channel);
	cvmm_close_fd(&f->fds[FD_CHANNEL]);
	MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
	f->channel = fds[0];
	f->fds[FD_CHANNEL] = fds[1];
}

static void send_raw(struct fuzz *f, const void *bytes, size_t len, const int *fds, size_t fd_count)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(16 * sizeof(int))];
	} control;
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd_count) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		c = CMSG_FIRSTHDR(&hdr);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
	}
	(void)!sendmsg(f->sock, &hdr, MSG_DONTWAIT | MSG_NOSIGNAL);
	settle(f);
	drain(f);
}

static void request(struct fuzz *f, uint32_t id, uint32_t flags, const void *payload, uint32_t len,
		    const int *fds, size_t fd_count)
{
	uint8_t bytes[HEADER_BYTES + 512];
	struct cvmm_vhost_user_header header = { id, CVMM_VHOST_USER_VERSION | flags, len };

	memcpy(bytes, &header, sizeof(header));
	if (len)
		memcpy(bytes + sizeof(header), payload, len);
	send_raw(f, bytes, sizeof(header) + len, fds, fd_count);
}

/* Numbers that get somewhere: memory's addresses with an offset of the input. */
static uint64_t likely_number(struct input *in)
{
	static const uint64_t bases[] = { 0, RAM_GPA, USER_BASE, RAM_BYTES, UINT64_MAX - 0xfff };
	uint8_t base = take(in);
	uint64_t offset = (uint64_t)take(in) << (base >> 4);

	return bases[base % CVMM_ARRAY_SIZE(bases)] + offset;
}

/* A payload of the right form, with likely numbers, or with bytes of the input. */
static uint32_t make_payload(struct input *in, const struct cvmm_vhost_user_message *row,
			     uint8_t *bytes)
{
	uint8_t how = take(in);
	uint64_t words[16];
	uint32_t len = 0;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(words); i++)
		words[i] = how & 1 ? likely_number(in) : take(in);
	if (how & 2) /* small halves: indices and numbers */
		words[0] = (words[0] & 3) | (uint64_t)take(in) << 32;
	switch (row->payload) {
	case CVMM_VHOST_USER_MEM_TABLE:
		words[0] = how >> 6;
		len = 8 + 32U * (how >> 6);
		break;
	case CVMM_VHOST_USER_CONFIG:
		words[0] = (uint64_t)(how >> 3) << 32 | (take(in) & 15);
		len = 12U + (how >> 3);
		break;
	case CVMM_VHOST_USER_INFLIGHT:
		words[2] = (uint64_t)8 << 16 | (1 + (how >> 7));
		len = 24;
		break;
	case CVMM_VHOST_USER_IOTLB:
		words[3] = 3U | (2U + (how & 1U)) << 8;
		len = 32;
		break;
	default:
		for (len = 0; len <= 48; len += 4) {
			if (cvmm_vhost_user_payload_fits(row->payload, words, len, 0))
				break;
		}
		break;
	}
	memcpy(bytes, words, sizeof(words));
	return len > sizeof(words) ? sizeof(words) : len;
}

static void send_request(struct fuzz *f, struct input *in)
{
	uint32_t id = take(in) % (CVMM_VHOST_USER_FRONTEND_REQUEST_MAX + 2);
	const struct cvmm_vhost_user_message *row =
		cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL, id);
	uint8_t bytes[128], how = take(in);
	int fds[4];
	size_t fd_count = 0;
	uint32_t len = 0;

	if (row)
		len = make_payload(in, row, bytes);
	if (row && row->fds != CVMM_VHOST_USER_FDS_NONE)
		fd_count = row->fds == CVMM_VHOST_USER_FDS_REGIONS ? bytes[0] & 3 : how & 1;
	for (size_t i = 0; i < fd_count; i++) {
		int fd = f->fds[(how >> 1) % FD_KINDS];

		fds[i] = fd >= 0 ? fd : f->fds[FD_MEMORY];
	}
	request(f, id, how & 0x80 ? CVMM_VHOST_USER_FLAG_NEED_REPLY : 0, bytes, len, fds, fd_count);
}

static void send_bytes(struct fuzz *f, struct input *in)
{
	uint8_t bytes[64];
	size_t len = take(in) % sizeof(bytes);

	take_bytes(in, bytes, len);
	send_raw(f, bytes, len, f->fds, take(in) & 1);
}

static void answer_channel(struct fuzz *f, struct input *in)
{
	struct {
		struct cvmm_vhost_user_header header;
		uint8_t value[8];
	} reply = { { take(in) % 12, CVMM_VHOST_USER_VERSION | CVMM_VHOST_USER_FLAG_REPLY, 8 },
		    { take(in) } };

	(void)!send(f->channel, &reply, sizeof(reply), MSG_DONTWAIT | MSG_NOSIGNAL);
	settle(f);
}

static void write_ram(struct fuzz *f, struct input *in)
{
	uint32_t at = ((uint32_t)take(in) << 8 | take(in)) % (RAM_BYTES - 16);

	take_bytes(in, f->ram + at, take(in) % 17);
}

/* Everything that a ring needs; rings lie one after the other from the start of memory. */
static void set_up_rings(struct fuzz *f, bool packed)
{
	for (uint32_t i = 0; i < QUEUES; i++) {
		struct cvmm_vhost_user_vring_state num = { i, 8 }, on = { i, 1 };
		struct cvmm_vhost_user_vring_state base = { i, packed ? 0x80008000 : 0 };
		uint64_t at = USER_BASE + i * 0x200, index = i;
		struct cvmm_vhost_user_vring_addr addr = { i, 0, at, at + 0xc0, at + 0x80, 0 };

		request(f, CVMM_VHOST_USER_SET_VRING_NUM, 0, &num, sizeof(num), NULL, 0);
		request(f, CVMM_VHOST_USER_SET_VRING_BASE, 0, &base, sizeof(base), NULL, 0);
		request(f, CVMM_VHOST_USER_SET_VRING_ADDR, 0, &addr, sizeof(addr), NULL, 0);
		request(f, CVMM_VHOST_USER_SET_VRING_CALL, 0, &index, 8, &f->fds[FD_NOTIFIER], 1);
		request(f, CVMM_VHOST_USER_SET_VRING_KICK, 0, &index, 8, &f->fds[FD_NOTIFIER], 1);
		request(f, CVMM_VHOST_USER_SET_VRING_ENABLE, 0, &on, sizeof(on), NULL, 0);
	}
}

static void begin(struct fuzz *f, uint8_t how)
{
	struct {
		struct cvmm_vhost_user_mem_table table;
		struct cvmm_vhost_user_mem_region region;
	} mem = { { .count = 1 }, { RAM_GPA, RAM_BYTES, USER_BASE, 0 } };
	uint64_t features = cvmm_vhost_user_backend_features(f->be);
	uint64_t protocol = cvmm_vhost_user_backend_protocol_features(f->be);
	bool packed = how & 4;

	new_connection(f);
	if (!(how & 1))
		return;
	if (!(how & 2))
		features &= ~CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_ACCESS_PLATFORM);
	if (!packed)
		features &= ~CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_RING_PACKED);
	protocol &= ~(CVMM_VHOST_USER_PROTOCOL(GPA_ADDRESSES));
	request(f, CVMM_VHOST_USER_SET_PROTOCOL_FEATURES, 0, &protocol, 8, NULL, 0);
	request(f, CVMM_VHOST_USER_SET_FEATURES, 0, &features, 8, NULL, 0);
	request(f, CVMM_VHOST_USER_SET_BACKEND_REQ_FD, 0, NULL, 0, &f->fds[FD_CHANNEL], 1);
	if (how & 8)
		request(f, CVMM_VHOST_USER_SET_MEM_TABLE, 0, &mem, sizeof(mem), &f->fds[FD_MEMORY],
			1);
	if (how & 16)
		set_up_rings(f, packed);
}

static void operate(struct fuzz *f, struct input *in)
{
	uint8_t op = take(in);
	uint64_t one = 1;

	switch (op % 8) {
	case 0:
	case 1:
	case 2:
		send_request(f, in);
		break;
	case 3:
		send_bytes(f, in);
		break;
	case 4:
		write_ram(f, in);
		break;
	case 5:
		(void)!write(f->fds[FD_NOTIFIER], &one, sizeof(one));
		settle(f);
		break;
	case 6:
		answer_channel(f, in);
		break;
	default:
		if (op > 200)
			begin(f, take(in));
		break;
	}
	if (!cvmm_vhost_user_backend_is_attached(f->be))
		begin(f, take(in));
}

static void set_up(struct fuzz *f)
{
	struct cvmm_mem_config ram = { .gpa = cvmm_gpa_from(RAM_GPA),
				       .len_bytes = RAM_BYTES,
				       .kind = CVMM_MEM_MEMFD,
				       .access = CVMM_ACCESS_READ_WRITE };
	struct cvmm_vhost_user_backend_config config = {
		.ops = &dev_ops,
		.extra = &extra_ops,
		.offer = CVMM_VIRTIO_RING_FEATURES_ALL,
		/* A fault of a page that nobody brings would wait for ever. */
		.protocol_withhold = CVMM_VHOST_USER_PROTOCOL(PAGEFAULT),
	};
	struct cvmm_notifier notifier;

	f->sock = f->channel = -1;
	for (size_t i = 0; i < FD_KINDS; i++)
		f->fds[i] = -1;
	MUST(!cvmm_virtio_config_space_init(&f->dev.space, "0123456789abcdef", 16));
	MUST(!cvmm_loop_create(CVMM_LOOP_AUTO, &f->loop));
	config.loop = f->loop;
	config.dev = &f->dev;
	MUST(!cvmm_vhost_user_backend_create(&config, &f->be, NULL));
	MUST(!cvmm_mem_create(&ram, 1, &f->mem, NULL));
	f->ram = cvmm_mem_region_at(f->mem, 0)->host;
	f->fds[FD_MEMORY] = fcntl(cvmm_mem_region_at(f->mem, 0)->fd, F_DUPFD_CLOEXEC, 0);
	MUST(!cvmm_notifier_init(&notifier, CVMM_NOTIFIER_AUTO));
	f->fds[FD_NOTIFIER] = notifier.read_fd;
	if (notifier.write_fd != notifier.read_fd)
		close(notifier.write_fd); /* a pipe without a writer: one that is hung up */
	MUST(!test_pipe(&f->fds[FD_PIPE_READ], true));
}

static void tear_down(struct fuzz *f)
{
	cvmm_vhost_user_backend_destroy(f->be);
	cvmm_close_fd(&f->sock);
	cvmm_close_fd(&f->channel);
	for (size_t i = 0; i < FD_KINDS; i++)
		cvmm_close_fd(&f->fds[i]);
	cvmm_loop_destroy(f->loop);
	cvmm_mem_unref(f->mem);
	cvmm_virtio_config_space_fini(&f->dev.space);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	static struct fuzz f;

	signal(SIGPIPE, SIG_IGN);
	memset(&f, 0, sizeof(f));
	set_up(&f);
	begin(&f, take(&in));
	for (int i = 0; i < OPERATIONS_MAX && in.left; i++)
		operate(&f, &in);
	tear_down(&f);
	return 0;
}
