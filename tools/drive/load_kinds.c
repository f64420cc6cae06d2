// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * cvmm-drive load: the requests of block, entropy and network devices. VIRTIO 1.3, 5.1, 5.2 and 5.4.
 */
#include <errno.h>

#include "load.h"

static void add(struct load_slot *slot, bool writable, cvmm_gpa gpa, uint32_t len)
{
	slot->segments[slot->readable + slot->writable] = (struct cvmm_virtq_segment){ gpa, len };
	if (writable)
		slot->writable++;
	else
		slot->readable++;
}

static unsigned int same_queue(unsigned int lane)
{
	return lane;
}

/* ---- block --------------------------------------------------------------------------------------- */

#define BLK_F_RO 5U
#define BLK_F_FLUSH 9U /* without it a device may make every write durable */
#define BLK_F_MQ 12U
#define BLK_T_IN 0U
#define BLK_T_OUT 1U
#define BLK_SECTOR 512U
#define BLK_HEAD_BYTES 16U
#define BLK_STATUS_AT 64U /* not on the head's cache line */
#define BLK_EXTRA_BYTES 4096U

static bool is_write(const struct load *load)
{
	return load->options.access == LOAD_WRITE || load->options.access == LOAD_RANDWRITE;
}

static bool is_random(const struct load *load)
{
	return load->options.access == LOAD_RANDREAD || load->options.access == LOAD_RANDWRITE;
}

static int blk_begin(struct load *load, struct cvmm_error *err)
{
	const struct load_options *o = &load->options;
	uint8_t capacity[8];
	uint64_t bytes;
	int r;

	if (o->block_bytes % BLK_SECTOR)
		return cvmm_fail(err, -EINVAL, "blocks of %u bytes are no whole sectors",
				 o->block_bytes);
	if (is_write(load) && target_has(&load->target, BLK_F_RO))
		return cvmm_fail(err, -EROFS, "the disk cannot be written to");
	r = cvmm_vhost_user_frontend_get_config(load->target.fe, 0, capacity, sizeof(capacity),
						err);
	if (r)
		return r;
	if (!cvmm_mul_u64(cvmm_get_le64(capacity), BLK_SECTOR, &bytes))
		bytes = UINT64_MAX;
	load->block_count = bytes / o->block_bytes;
	if (load->block_count < o->queues)
		return cvmm_fail(err, -ENOSPC, "a disk of %llu bytes is too small",
				 (unsigned long long)bytes);
	return 0;
}

static void blk_make(struct load_lane *lane, struct load_slot *slot, cvmm_gpa gpa)
{
	uint32_t bytes = lane->load->options.block_bytes;
	bool write = is_write(lane->load);
	cvmm_gpa block = cvmm_gpa_add(gpa, BLK_EXTRA_BYTES);

	slot->head = target_ptr(&lane->load->target, gpa, BLK_HEAD_BYTES);
	slot->status = slot->head + BLK_STATUS_AT;
	memset(slot->head, 0, BLK_HEAD_BYTES);
	cvmm_put_le32(slot->head, write ? BLK_T_OUT : BLK_T_IN);
	add(slot, false, gpa, BLK_HEAD_BYTES);
	add(slot, !write, block, bytes);
	add(slot, true, cvmm_gpa_add(gpa, BLK_STATUS_AT), 1);
}

static void blk_next(struct load_lane *lane, struct load_slot *slot)
{
	const struct load *load = lane->load;
	uint64_t block;

	if (is_random(load)) {
		block = load_random(lane) % load->block_count;
	} else {
		block = lane->first_block + lane->next_block;
		lane->next_block = (lane->next_block + 1) % lane->block_count;
	}
	cvmm_put_le64(slot->head + 8, block * (load->options.block_bytes / BLK_SECTOR));
}

static bool blk_done(struct load_lane *lane, struct load_slot *slot, uint32_t used)
{
	uint32_t bytes = lane->load->options.block_bytes;

	if (used != (is_write(lane->load) ? 1 : bytes + 1))
		lane->odd_lengths++;
	lane->bytes += bytes;
	return *(const volatile uint8_t *)slot->status == 0;
}

const struct load_kind load_blk = {
	.name = "blk",
	.block_bytes = 4096,
	.extra_bytes = BLK_EXTRA_BYTES,
	.segments = 3,
	.features = CVMM_VIRTIO_FEATURE(BLK_F_RO) | CVMM_VIRTIO_FEATURE(BLK_F_FLUSH) |
		    CVMM_VIRTIO_FEATURE(BLK_F_MQ),
	.queue = same_queue,
	.begin = blk_begin,
	.make = blk_make,
	.next = blk_next,
	.done = blk_done,
};

/* ---- entropy ------------------------------------------------------------------------------------- */

static void rng_make(struct load_lane *lane, struct load_slot *slot, cvmm_gpa gpa)
{
	add(slot, true, gpa, lane->load->options.block_bytes);
}

/* As many as it has at the moment, and one at least. */
static bool rng_done(struct load_lane *lane, struct load_slot *slot, uint32_t used)
{
	(void)slot;
	lane->bytes += used;
	return used != 0;
}

const struct load_kind load_rng = {
	.name = "rng",
	.block_bytes = 64,
	.segments = 1,
	.queue = same_queue,
	.make = rng_make,
	.done = rng_done,
};

/* ---- network: what is sent is measured; what comes in the meantime is counted ---------------------- */

#define NET_F_MQ 22U
#define NET_HEAD_BYTES 12U /* with VERSION_1 */
#define NET_RECEIVE_BYTES 2048U

static unsigned int net_queue(unsigned int lane)
{
	return 2 * lane + 1;
}

static int net_companion(unsigned int lane)
{
	return (int)(2 * lane);
}

static int net_begin(struct load *load, struct cvmm_error *err)
{
	uint32_t bytes = load->options.block_bytes;

	if (bytes < 14 || bytes > 65535)
		return cvmm_fail(err, -EINVAL, "there are no frames of %u bytes", bytes);
	return 0;
}

/* A broadcast of an experimental type (IEEE 802, 88b5), from an address that is ours alone. */
static void net_make(struct load_lane *lane, struct load_slot *slot, cvmm_gpa gpa)
{
	static const uint8_t frame[14] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02,
					   0,	 0,    0,    0,	   1,	 0x88, 0xb5 };
	uint32_t bytes = lane->load->options.block_bytes;
	uint8_t *p = target_ptr(&lane->load->target, gpa, NET_HEAD_BYTES + bytes);

	memset(p, 0, NET_HEAD_BYTES + bytes);
	memcpy(p + NET_HEAD_BYTES, frame, sizeof(frame));
	p[NET_HEAD_BYTES + 10] = (uint8_t)lane->index;
	add(slot, false, gpa, NET_HEAD_BYTES + bytes);
}

static bool net_done(struct load_lane *lane, struct load_slot *slot, uint32_t used)
{
	(void)slot;
	if (used)
		lane->odd_lengths++;
	lane->bytes += lane->load->options.block_bytes;
	return true;
}

const struct load_kind load_net = {
	.name = "net",
	.block_bytes = 64,
	.extra_bytes = NET_RECEIVE_BYTES,
	.segments = 1,
	.features = CVMM_VIRTIO_FEATURE(NET_F_MQ),
	.queue = net_queue,
	.companion = net_companion,
	.begin = net_begin,
	.make = net_make,
	.done = net_done,
};
