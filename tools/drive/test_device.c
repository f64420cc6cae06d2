// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Devices as small as the suite's requests allow. Every request is done where it is found, so that nothing is ever in
 * flight.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "test_backend.h"
#include "test_device.h"

#define QUEUES_MAX 3U
#define QUEUE_SIZE_MAX 1024U
#define PIECES 256U
#define BYTES_MAX (1U << 20)
#define SECTOR 512U
#define DISK_SECTORS 64U
#define CONFIG_BYTES 60U
#define STATE "a state"
#define REQUEST_BYTES 1024

struct kind {
	const char *name;
	unsigned int queues;
	uint64_t features;
	bool config;
	/* Answer @len bytes in @bytes with what is written, in place. Return: how many bytes. */
	size_t (*serve)(struct test_device *d, uint8_t *bytes, size_t len, size_t room);
};

struct test_device {
	const struct kind *kind;
	bool odd_length, broken, scribbles;
	struct cvmm_virtio_config_space space;
	struct cvmm_virtio_host *host;
	struct cvmm_virtq *queues;
	struct iovec iov[PIECES];
	uint8_t bytes[BYTES_MAX];
	uint8_t disk[DISK_SECTORS * SECTOR];
};

/* ---- kinds ----------------------------------------------------------------------------------------- */

static size_t rng_serve(struct test_device *d, uint8_t *bytes, size_t len, size_t room)
{
	(void)len;
	if (d->broken)
		memset(bytes, 7, room);
	else if (getrandom(bytes, room, 0) != (ssize_t)room)
		abort();
	return room;
}

#define BLK_F_RO (UINT64_C(1) << 5)
#define BLK_F_FLUSH (UINT64_C(1) << 9)

static uint8_t blk_do(struct test_device *d, uint8_t *bytes, size_t len, size_t data)
{
	uint32_t type = len >= 16 ? cvmm_get_le32(bytes) : UINT32_MAX;
	uint64_t sector = len >= 16 ? cvmm_get_le64(bytes + 8) : 0;
	size_t moved = type == 1 ? len - 16 : data;

	if (d->broken)
		return 3;
	if (type == 4)
		return 0;
	if (type == 8) {
		memset(bytes, 0, data);
		return 0;
	}
	if (type > 1)
		return 2;
	if (moved % SECTOR || sector >= DISK_SECTORS || moved / SECTOR > DISK_SECTORS - sector ||
	    (type == 1 && d->kind->features & BLK_F_RO))
		return 1;
	if (type == 1)
		memcpy(d->disk + sector * SECTOR, bytes + 16, moved);
	else
		memcpy(bytes, d->disk + sector * SECTOR, moved);
	return 0;
}

static size_t blk_serve(struct test_device *d, uint8_t *bytes, size_t len, size_t room)
{
	uint8_t status;

	if (!room)
		return 0;
	status = blk_do(d, bytes, len, room - 1);
	bytes[room - 1] = status;
	return room;
}

static size_t fs_serve(struct test_device *d, uint8_t *bytes, size_t len, size_t room)
{
	uint32_t out[4] = { 16, 0, 0, 0 }, opcode = 0;

	if (len < 40 || room < sizeof(out))
		return 0;
	memcpy(&opcode, bytes + 4, sizeof(opcode));
	memcpy(&out[2], bytes + 8, 8);
	if (opcode != 26 || d->broken)
		out[1] = d->broken ? 5 : (uint32_t)-ENOSYS;
	if (d->broken)
		out[2]++;
	memcpy(bytes, out, sizeof(out));
	return sizeof(out);
}

/* A packet in a receive buffer, if there is one. */
static void vsock_reset(struct test_device *d, const uint8_t *request)
{
	struct cvmm_virtq *vq = &d->queues[0];
	struct cvmm_virtq_chain chain;
	uint8_t reset[44] = { 0 };

	if (cvmm_virtq_pop(vq, d->iov, PIECES, &chain) != 1)
		return;
	memcpy(reset, request + 8, 8);
	memcpy(reset + 8, request, 8);
	cvmm_put_le16(reset + 30, d->broken ? 2 : 3);
	cvmm_iov_copy_to(chain.writable, chain.writable_count, 0, reset, sizeof(reset));
	cvmm_virtq_push_chain(vq, &chain, sizeof(reset));
	if (cvmm_virtq_should_notify(vq))
		d->host->ops->notify(d->host, 0);
}

static size_t vsock_serve(struct test_device *d, uint8_t *bytes, size_t len, size_t room)
{
	(void)room;
	if (len >= 44 && cvmm_get_le16(bytes + 30) == 1)
		vsock_reset(d, bytes);
	return 0;
}

static size_t net_serve(struct test_device *d, uint8_t *bytes, size_t len, size_t room)
{
	(void)d;
	(void)bytes;
	(void)len;
	(void)room;
	return 0;
}

static const struct kind kinds[] = {
	{ "rng", 1, 0, false, rng_serve },
	{ "blk", 1, BLK_F_FLUSH, true, blk_serve },
	{ "blk-ro", 1, BLK_F_FLUSH | BLK_F_RO, true, blk_serve },
	{ "fs", 2, 0, true, fs_serve },
	{ "vsock", 3, 0, true, vsock_serve },
	{ "net", 2, 1U << 3, true, net_serve },
};

/* ---- the device core --------------------------------------------------------------------------------- */

static unsigned int dev_queue_count(void *dev)
{
	return ((struct test_device *)dev)->kind->queues;
}

static uint16_t dev_queue_size_max(void *dev, unsigned int queue)
{
	(void)dev;
	(void)queue;
	return QUEUE_SIZE_MAX;
}

static uint64_t dev_features(void *dev)
{
	return ((struct test_device *)dev)->kind->features;
}

static struct cvmm_virtio_config_space *dev_config_space(void *dev)
{
	return &((struct test_device *)dev)->space;
}

static int dev_start(void *dev, const struct cvmm_virtio_start *start, struct cvmm_error *err)
{
	struct test_device *d = dev;

	(void)err;
	d->host = start->host;
	d->queues = start->queues;
	return 0;
}

/*
 * Give a chain back with a length that our queues would refuse: to the ring itself. The queue believes that the chain
 * is in flight for good, which the few requests of a test do not mind.
 */
static void push_with_odd_length(struct cvmm_virtq *vq, uint16_t head)
{
	uint8_t *used = cvmm_mem_ptr(vq->mem, vq->config.used, 6 + 8 * (uint64_t)vq->size,
				     CVMM_ACCESS_READ_WRITE);
	uint16_t idx = cvmm_get_le16(used + 2);
	cvmm_le16 next = cvmm_le16_from((uint16_t)(idx + 1));

	cvmm_put_le32(used + 4 + 8 * (idx % vq->size), head);
	cvmm_put_le32(used + 4 + 8 * (idx % vq->size) + 4, 44);
	__atomic_store_n((uint16_t *)(void *)(used + 2), next.raw, __ATOMIC_RELEASE);
}

static void serve(struct test_device *d, struct cvmm_virtq *vq,
		  const struct cvmm_virtq_chain *chain)
{
	size_t room = chain->writable_bytes < BYTES_MAX ? chain->writable_bytes : BYTES_MAX;
	size_t len =
		cvmm_iov_copy_from(chain->readable, chain->readable_count, 0, d->bytes, BYTES_MAX);
	size_t n = d->kind->serve(d, d->bytes, len, room);

	if (d->odd_length) {
		push_with_odd_length(vq, chain->head);
		return;
	}
	/* Where the suite has another request. */
	if (d->scribbles && chain->writable_count)
		memset((uint8_t *)chain->writable[0].iov_base - REQUEST_BYTES, 0x11, 16);
	cvmm_iov_copy_to(chain->writable, chain->writable_count, 0, d->bytes, n);
	cvmm_virtq_push_chain(vq, chain, (uint32_t)n);
}

static void dev_kick(void *dev, unsigned int queue)
{
	struct test_device *d = dev;
	struct cvmm_virtq *vq = &d->queues[queue];
	struct cvmm_virtq_chain chain;
	int r = 0;

	if (d->kind->queues > 1 && queue != 1)
		return; /* where buffers wait to be filled */
	do {
		cvmm_virtq_disable_notifications(vq);
		while ((r = cvmm_virtq_pop(vq, d->iov, PIECES, &chain)) == 1)
			serve(d, vq, &chain);
		if (r < 0 && r != -EAGAIN)
			d->host->ops->needs_reset(d->host);
	} while (!r && cvmm_virtq_enable_notifications(vq));
	if (cvmm_virtq_should_notify(vq))
		d->host->ops->notify(d->host, queue);
}

static void dev_stop(void *dev)
{
	struct test_device *d = dev;

	d->host = NULL;
	d->queues = NULL;
}

static void dev_queue(void *dev, unsigned int queue)
{
	(void)dev;
	(void)queue;
}

static int dev_save(void *dev, void **ret_bytes, size_t *ret_len_bytes)
{
	(void)dev;
	*ret_bytes = strdup(STATE);
	*ret_len_bytes = sizeof(STATE);
	return *ret_bytes ? 0 : -ENOMEM;
}

static int dev_load(void *dev, const void *bytes, size_t len_bytes, struct cvmm_error *err)
{
	(void)dev;
	if (len_bytes != sizeof(STATE) || memcmp(bytes, STATE, sizeof(STATE)) != 0)
		return cvmm_fail(err, -EINVAL, "this is no state");
	return 0;
}

const struct cvmm_virtio_device_ops test_device_ops = {
	.size = sizeof(test_device_ops),
	.name = "test",
	.device_id = 42,
	.queue_count = dev_queue_count,
	.queue_size_max = dev_queue_size_max,
	.features = dev_features,
	.config_space = dev_config_space,
	.start = dev_start,
	.kick = dev_kick,
	.stop = dev_stop,
	.queue_stop = dev_queue,
	.queue_start = dev_queue,
	.queue_suspend = dev_queue,
	.save = dev_save,
	.load = dev_load,
};

/* ---- what only devices behind vhost-user have ------------------------------------------------------------ */

static int no_object(void *dev, const struct cvmm_vhost_user_uuid *uuid)
{
	(void)dev;
	(void)uuid;
	return -ENOENT;
}

static void shmem_config(void *dev, struct cvmm_vhost_user_shmem_config *ret_config)
{
	(void)dev;
	memset(ret_config, 0, sizeof(*ret_config));
	ret_config->count = 1;
	ret_config->size_bytes[3] = 65536;
}

static int send_rarp(void *dev, const uint8_t mac[6])
{
	(void)dev;
	(void)mac;
	return 0;
}

static int set_mtu(void *dev, uint16_t mtu)
{
	(void)dev;
	return mtu >= 68 ? 0 : -EINVAL;
}

const struct cvmm_vhost_user_backend_ops test_device_extra = {
	.size = sizeof(test_device_extra),
	.get_shared_object = no_object,
	.shmem_config = shmem_config,
	.send_rarp = send_rarp,
	.set_mtu = set_mtu,
};

struct test_device *test_device_create(const char *kind, uint32_t flags)
{
	struct test_device *d = calloc(1, sizeof(*d));
	uint8_t config[CONFIG_BYTES];

	if (!d)
		abort();
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(kinds); i++)
		if (strcmp(kinds[i].name, kind) == 0)
			d->kind = &kinds[i];
	for (size_t i = 0; i < sizeof(config); i++)
		config[i] = (uint8_t)(i + 1);
	d->odd_length = flags & D_ODD_LENGTH;
	d->broken = flags & D_BROKEN_DEVICE;
	d->scribbles = flags & D_SCRIBBLE;
	if (!d->kind ||
	    cvmm_virtio_config_space_init(&d->space, config, d->kind->config ? CONFIG_BYTES : 0))
		abort();
	return d;
}
