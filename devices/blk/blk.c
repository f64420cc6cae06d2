// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The block device, VIRTIO 1.3, 5.2.
 *
 * Theory of operation: the loop pops chains, checks them (blk_request.c) and gives what is left to
 * do to the worker (blk_worker.c); the worker's notifier brings the loop back to write statuses and
 * to give chains back. There are as many requests as a queue has heads, so one is always free. A
 * request that is wrong, or meets bad storage, gets a status that says so. A chain without room for
 * a status cannot be answered: it breaks the queue.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "blk_internal.h"

#define BLK_QUEUES 1U
#define BLK_CHAINS_PER_ROUND CVMM_BLK_QUEUE_SIZE_MAX

struct cvmm_blk {
	/* constant after creation */
	struct cvmm_virtio_config_space space;
	struct blk_storage storage;
	bool write_through; /* the user's choice */
	char serial[CVMM_BLK_SERIAL_BYTES];
	const struct cvmm_log *log;

	struct blk_worker worker;

	/* loop */
	struct cvmm_virtio_host *host; /* NULL while not started */
	struct cvmm_virtq *vq;
	uint64_t features;
	struct cvmm_source *done_source;
	bool broken; /* the queue had a chain that cannot be answered */
	struct cvmm_log_limit log_limit;
	struct blk_request *free; /* list */
	struct blk_request *requests;
};

/* ---- completion ---------------------------------------------------------------------------- */

static void break_queue(struct cvmm_blk *blk, const char *why)
{
	cvmm_log_limited(blk->log, &blk->log_limit, CVMM_LOG_WARN, "blk: queue is broken: %s", why);
	blk->broken = true;
	blk->host->ops->needs_reset(blk->host);
}

/*
 * The used length promises that so many bytes from the start of the writable part were written
 * (2.7.8.2): all of them, or, where the data stayed unwritten, none.
 */
static uint32_t used_bytes(const struct blk_request *request)
{
	bool data = request->chain.writable_bytes > BLK_STATUS_BYTES;
	bool written = request->status == BLK_S_OK &&
		       (request->type == BLK_T_IN || request->type == BLK_T_GET_ID);

	return data && !written ? 0 : request->chain.writable_bytes;
}

static void complete(struct cvmm_blk *blk, struct blk_request *request)
{
	int r;

	*request->status_at = request->status;
	r = cvmm_virtq_push_chain(blk->vq, &request->chain, used_bytes(request));
	if (r && !blk->broken)
		break_queue(blk, strerror(-r));
	request->next = blk->free;
	blk->free = request;
}

/* Give back what the worker finished. */
static void complete_all(struct cvmm_blk *blk)
{
	struct blk_request *request;
	unsigned int count = 0;

	while ((request = blk_worker_take_done(&blk->worker))) {
		if (request->status != BLK_S_OK)
			cvmm_log_limited(blk->log, &blk->log_limit, CVMM_LOG_WARN,
					 "blk: request of type %u at byte %llu failed: %s",
					 request->type, (unsigned long long)request->offset,
					 strerror(-request->error));
		complete(blk, request);
		count++;
	}
	if (count && cvmm_virtq_should_notify(blk->vq))
		blk->host->ops->notify(blk->host, 0);
}

/* ---- submission ---------------------------------------------------------------------------- */

static bool needs_worker(const struct blk_request *request)
{
	return request->status == BLK_S_OK && request->type != BLK_T_GET_ID;
}

/* Take one chain. Return: 1 if it waits for the worker, 2 if it was completed, 0 if there was none,
 * negative if the queue is broken. */
static int take_one(struct cvmm_blk *blk)
{
	struct blk_limits limits = {
		.capacity_bytes = blk->storage.capacity_bytes,
		.features = blk->features,
		.read_only = blk->storage.read_only,
		.serial = blk->serial,
	};
	struct blk_request *request = blk->free;
	struct cvmm_virtq_chain *chain;
	int r;

	if (!request)
		return -EBUSY; /* cannot be: see above. A completion would bring us back. */
	chain = &request->chain;
	r = cvmm_virtq_pop(blk->vq, request->pieces, BLK_PIECES_MAX, chain);
	if (r < 0)
		break_queue(blk, cvmm_virtq_violation_name(cvmm_virtq_violation(blk->vq)));
	if (r != 1)
		return r;
	if (!chain->writable_bytes) {
		break_queue(blk, "a request without room for its status");
		return -EPROTO;
	}
	blk->free = request->next;
	request->status = blk_request_parse(request, &limits);
	if (needs_worker(request)) {
		blk_worker_submit(&blk->worker, request);
		return 1;
	}
	complete(blk, request);
	return 2;
}

static void serve(struct cvmm_blk *blk)
{
	unsigned int taken = 0, completed = 0;
	int r;

	if (blk->broken || !cvmm_virtq_is_started(blk->vq))
		return;
	cvmm_virtq_disable_notifications(blk->vq);
	do {
		r = take_one(blk);
		taken += r > 0;
		completed += r == 2;
		if (r == 0 && cvmm_virtq_enable_notifications(blk->vq)) {
			cvmm_virtq_disable_notifications(blk->vq);
			r = 1;
		}
	} while (r > 0 && taken < BLK_CHAINS_PER_ROUND);
	if (completed && cvmm_virtq_should_notify(blk->vq))
		blk->host->ops->notify(blk->host, 0);
	/* Out of turn, not out of work: other devices first. */
	if (r > 0)
		cvmm_notifier_signal(&blk->worker.done_notifier);
}

static void on_done(void *ctx, int fd, unsigned int events)
{
	struct cvmm_blk *blk = ctx;

	(void)fd;
	(void)events;
	cvmm_notifier_consume(&blk->worker.done_notifier);
	if (!blk->host)
		return;
	complete_all(blk);
	serve(blk);
}

/* ---- the device ---------------------------------------------------------------------------- */

static unsigned int blk_queue_count(void *dev)
{
	(void)dev;
	return BLK_QUEUES;
}

static uint16_t blk_queue_size_max(void *dev, unsigned int queue)
{
	(void)dev;
	(void)queue;
	return CVMM_BLK_QUEUE_SIZE_MAX;
}

static uint64_t blk_features(void *dev)
{
	struct cvmm_blk *blk = dev;
	uint64_t features = CVMM_VIRTIO_FEATURE(BLK_F_SEG_MAX) |
			    CVMM_VIRTIO_FEATURE(BLK_F_BLK_SIZE) | CVMM_VIRTIO_FEATURE(BLK_F_FLUSH) |
			    CVMM_VIRTIO_FEATURE(BLK_F_TOPOLOGY);

	if (blk->storage.read_only)
		return features | CVMM_VIRTIO_FEATURE(BLK_F_RO);
	return features | CVMM_VIRTIO_FEATURE(BLK_F_CONFIG_WCE) |
	       CVMM_VIRTIO_FEATURE(BLK_F_DISCARD) | CVMM_VIRTIO_FEATURE(BLK_F_WRITE_ZEROES);
}

static struct cvmm_virtio_config_space *blk_config_space(void *dev)
{
	struct cvmm_blk *blk = dev;

	return &blk->space;
}

static bool negotiated(const struct cvmm_blk *blk, unsigned int bit)
{
	return blk->features & CVMM_VIRTIO_FEATURE(bit);
}

static void set_writeback(struct cvmm_blk *blk, bool writeback)
{
	uint8_t byte = writeback;

	cvmm_virtio_config_space_update(&blk->space, offsetof(struct blk_config_space, writeback),
					&byte, sizeof(byte));
	atomic_store(&blk->worker.write_through, !writeback);
}

static int blk_start(void *dev, const struct cvmm_virtio_start *start, struct cvmm_error *err)
{
	struct cvmm_blk *blk = dev;
	int r = cvmm_loop_add_fd(start->loop, blk->worker.done_notifier.read_fd, CVMM_EVENT_READ,
				 on_done, blk, &blk->done_source);

	if (r)
		return cvmm_fail(err, r, "blk: cannot watch the worker: %s", strerror(-r));
	blk->host = start->host;
	blk->vq = &start->queues[0];
	blk->features = start->features;
	blk->broken = false;
	/* A driver that cannot flush takes every write for durable, 5.2.5. */
	if (!negotiated(blk, BLK_F_FLUSH))
		atomic_store(&blk->worker.write_through, true);
	return 0;
}

static void blk_kick(void *dev, unsigned int queue)
{
	struct cvmm_blk *blk = dev;

	if (queue < BLK_QUEUES && blk->host)
		serve(blk);
}

static void blk_queue_stop(void *dev, unsigned int queue)
{
	struct cvmm_blk *blk = dev;

	if (queue >= BLK_QUEUES || !blk->host)
		return;
	blk_worker_drain(&blk->worker);
	complete_all(blk);
	blk->broken = false;
}

static void blk_queue_start(void *dev, unsigned int queue)
{
	(void)dev; /* nothing is kept between requests */
	(void)queue;
}

static void blk_stop(void *dev)
{
	struct cvmm_blk *blk = dev;

	blk_queue_stop(blk, 0);
	cvmm_source_remove(blk->done_source);
	blk->done_source = NULL;
	blk->host = NULL;
	blk->vq = NULL;
	blk->features = 0;
	set_writeback(blk, !blk->write_through);
}

static void blk_config_written(void *dev, size_t offset, const void *bytes, size_t len_bytes)
{
	const uint8_t *value = bytes;
	struct cvmm_blk *blk = dev;
	int r = 0;

	if (!blk->host || !negotiated(blk, BLK_F_CONFIG_WCE) || !negotiated(blk, BLK_F_FLUSH) ||
	    offset != offsetof(struct blk_config_space, writeback) || len_bytes != 1 || *value > 1)
		return;
	set_writeback(blk, *value);
	/* What was completed under the old rule has to be durable under the new one. */
	if (!*value)
		r = blk_storage_flush(&blk->storage);
	if (r)
		cvmm_log_limited(blk->log, &blk->log_limit, CVMM_LOG_WARN, "blk: cannot flush: %s",
				 strerror(-r));
}

const struct cvmm_virtio_device_ops cvmm_blk_ops = {
	.size = sizeof(cvmm_blk_ops),
	.name = "blk",
	.device_id = CVMM_VIRTIO_ID_BLOCK,
	.queue_count = blk_queue_count,
	.queue_size_max = blk_queue_size_max,
	.features = blk_features,
	.config_space = blk_config_space,
	.start = blk_start,
	.kick = blk_kick,
	.stop = blk_stop,
	.queue_stop = blk_queue_stop,
	.queue_start = blk_queue_start,
	.config_written = blk_config_written,
};

/* ---- creation ------------------------------------------------------------------------------ */

static uint8_t log2_of(uint32_t power_of_two)
{
	return (uint8_t)__builtin_ctz(power_of_two);
}

static int init_config_space(struct cvmm_blk *blk)
{
	const struct blk_storage *s = &blk->storage;
	struct blk_config_space c = {
		.capacity = cvmm_le64_from(s->capacity_bytes / CVMM_BLK_SECTOR_BYTES),
		.seg_max = cvmm_le32_from(CVMM_BLK_SEGMENTS_MAX),
		.blk_size = cvmm_le32_from(s->block_bytes),
		.physical_block_exp = log2_of(s->physical_bytes / s->block_bytes),
		.min_io_size = cvmm_le16_from((uint16_t)(s->physical_bytes / s->block_bytes)),
		.writeback = !blk->write_through,
		.num_queues = cvmm_le16_from(BLK_QUEUES),
	};

	if (!s->read_only) {
		c.max_discard_sectors = cvmm_le32_from(CVMM_BLK_DISCARD_SECTORS_MAX);
		c.max_discard_seg = cvmm_le32_from(CVMM_BLK_DISCARD_SEGMENTS_MAX);
		c.discard_sector_alignment = cvmm_le32_from(s->block_bytes / CVMM_BLK_SECTOR_BYTES);
		c.max_write_zeroes_sectors = cvmm_le32_from(CVMM_BLK_DISCARD_SECTORS_MAX);
		c.max_write_zeroes_seg = cvmm_le32_from(CVMM_BLK_DISCARD_SEGMENTS_MAX);
		c.write_zeroes_may_unmap = 1;
	}
	return cvmm_virtio_config_space_init(&blk->space, &c, sizeof(c));
}

static int init_requests(struct cvmm_blk *blk)
{
	/* Large, but pages that are never used are never touched. */
	blk->requests = calloc(CVMM_BLK_QUEUE_SIZE_MAX, sizeof(*blk->requests));
	if (!blk->requests)
		return -ENOMEM;
	for (size_t i = CVMM_BLK_QUEUE_SIZE_MAX; i-- > 0;) {
		blk->requests[i].next = blk->free;
		blk->free = &blk->requests[i];
	}
	return 0;
}

/* What remains of creation once the image is open. On failure nothing of it is left. */
static int init_parts(struct cvmm_blk *blk)
{
	int r = init_requests(blk);

	if (r)
		return r;
	r = init_config_space(blk);
	if (r)
		goto no_space;
	r = blk_worker_init(&blk->worker, &blk->storage);
	if (r)
		goto no_worker;
	atomic_store(&blk->worker.write_through, blk->write_through);
	return 0;
no_worker:
	cvmm_virtio_config_space_fini(&blk->space);
no_space:
	free(blk->requests);
	return r;
}

int cvmm_blk_create(const struct cvmm_blk_config *config, struct cvmm_blk **ret_blk,
		    struct cvmm_error *err)
{
	size_t serial_len = config->serial ? strlen(config->serial) : 0;
	struct cvmm_blk *blk;
	int r;

	if (serial_len > CVMM_BLK_SERIAL_BYTES)
		return cvmm_fail(err, -EINVAL, "serial \"%s\" is longer than %u characters",
				 config->serial, CVMM_BLK_SERIAL_BYTES);
	blk = calloc(1, sizeof(*blk));
	if (!blk)
		return cvmm_fail(err, -ENOMEM, "blk: out of memory");
	blk->log = config->log;
	blk->write_through = config->write_through;
	if (serial_len)
		memcpy(blk->serial, config->serial, serial_len);
	r = blk_storage_open(&blk->storage, config, err);
	if (!r) {
		r = init_parts(blk);
		if (r)
			cvmm_fail(err, r, "blk: cannot set up: %s", strerror(-r));
	}
	if (r) {
		blk_storage_close(&blk->storage);
		free(blk);
		return r;
	}
	*ret_blk = blk;
	return 0;
}

void cvmm_blk_destroy(struct cvmm_blk *blk)
{
	if (!blk)
		return;
	blk_worker_fini(&blk->worker);
	blk_storage_close(&blk->storage);
	cvmm_virtio_config_space_fini(&blk->space);
	free(blk->requests);
	free(blk);
}

uint64_t cvmm_blk_capacity_sectors(struct cvmm_blk *blk)
{
	return blk->storage.capacity_bytes / CVMM_BLK_SECTOR_BYTES;
}
