// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* What only one kind of device does. */
#include <poll.h>
#include <unistd.h>

#include "conf.h"

static struct conf_request *fresh(struct conf *t, unsigned int slot)
{
	struct conf_request *r = conf_request(t, slot);

	r->readable = r->writable = 0;
	memset(conf_ptr(t, r->gpa, CONF_REQUEST_BYTES), 0xa5, CONF_REQUEST_BYTES);
	return r;
}

static void add(struct conf_request *r, bool writable, uint64_t gpa, uint32_t len)
{
	r->segments[r->readable + r->writable] =
		(struct cvmm_virtq_segment){ cvmm_gpa_from(gpa), len };
	if (writable)
		r->writable++;
	else
		r->readable++;
}

static void must_come_back(struct conf *t, struct conf_queue *q, struct conf_request *r,
			   const char *what)
{
	if (!conf_wait(t, q, r, t->options->timeout_ms))
		conf_fail(t, "%s is not completed for %u ms", what, t->options->timeout_ms);
}

/* ---- entropy --------------------------------------------------------------------------------------- */

static void rng_sizes(struct conf *t)
{
	static const uint32_t sizes[] = { 1, 3, 512, 4096, 65536, 1 << 20 };

	for (unsigned int i = 0; i < CVMM_ARRAY_SIZE(sizes); i++) {
		struct conf_request *r = fresh(t, i);
		uint8_t *p = conf_ptr(t, CONF_SCRATCH_GPA, CONF_REGION_BYTES - CONF_SCRATCH_GPA);

		if (sizes[i] > CONF_REGION_BYTES - CONF_SCRATCH_GPA)
			break;
		memset(p, 0, CONF_REGION_BYTES - CONF_SCRATCH_GPA);
		add(r, true, CONF_SCRATCH_GPA, sizes[i]);
		conf_submit(t, t->queue, r);
		conf_kick(t, t->queue);
		must_come_back(t, t->queue, r, "a request for random bytes");
		if (r->used_len == 0)
			conf_fail(t, "a request for %u bytes came back with none", sizes[i]);
		for (uint64_t k = r->used_len; k < CONF_REGION_BYTES - CONF_SCRATCH_GPA; k++)
			if (p[k])
				conf_fail(t, "of %u bytes, %u were promised, and byte %llu written",
					  sizes[i], r->used_len, (unsigned long long)k);
	}
}

static void rng_differs(struct conf *t)
{
	uint8_t first[64];

	conf_one_request(t, 0);
	memcpy(first, conf_ptr(t, t->requests[0].gpa, sizeof(first)), sizeof(first));
	conf_one_request(t, 0);
	if (t->requests[0].used_len >= 16 &&
	    memcmp(first, conf_ptr(t, t->requests[0].gpa, sizeof(first)), 16) == 0)
		conf_fail(t, "two requests got the same bytes");
}

/* ---- block ----------------------------------------------------------------------------------------- */

#define BLK_F_RO (UINT64_C(1) << 5)
#define BLK_F_FLUSH (UINT64_C(1) << 9)
#define BLK_IN 0U
#define BLK_OUT 1U
#define BLK_FLUSH 4U
#define BLK_GET_ID 8U
#define BLK_S_IOERR 1U
#define BLK_S_UNSUPP 2U
#define BLK_SECTOR 512U

/* A request whose status is returned; what it moves lies at r->gpa + 16. */
static uint8_t blk(struct conf *t, uint32_t type, uint64_t sector, uint32_t len)
{
	struct conf_request *r = &t->requests[0];
	uint64_t status;
	bool write = type == BLK_OUT;

	r->readable = r->writable = 0;
	r->done = false;
	r->gpa = CONF_SCRATCH_GPA;
	status = r->gpa + 16 + len;
	cvmm_put_le32(conf_ptr(t, r->gpa, 4), type);
	cvmm_put_le32(conf_ptr(t, r->gpa + 4, 4), 0);
	cvmm_put_le64(conf_ptr(t, r->gpa + 8, 8), sector);
	*(uint8_t *)conf_ptr(t, status, 1) = 0xff;
	add(r, false, r->gpa, 16);
	if (len)
		add(r, !write, r->gpa + 16, len);
	add(r, true, status, 1);
	conf_submit(t, t->queue, r);
	conf_kick(t, t->queue);
	must_come_back(t, t->queue, r, "a request");
	return *(uint8_t *)conf_ptr(t, status, 1);
}

static void blk_write(struct conf *t)
{
	uint8_t *data = conf_ptr(t, CONF_SCRATCH_GPA + 16, 4 * BLK_SECTOR);

	if (t->features & BLK_F_RO)
		conf_skip(t, "the disk is read-only");
	for (uint32_t i = 0; i < 4 * BLK_SECTOR; i++)
		data[i] = (uint8_t)(i * 7 + i / BLK_SECTOR);
	if (blk(t, BLK_OUT, 1, 4 * BLK_SECTOR))
		conf_fail(t, "writing 4 sectors failed");
	memset(data, 0, 4 * BLK_SECTOR);
	if (blk(t, BLK_IN, 1, 4 * BLK_SECTOR))
		conf_fail(t, "reading 4 sectors failed");
	for (uint32_t i = 0; i < 4 * BLK_SECTOR; i++)
		if (data[i] != (uint8_t)(i * 7 + i / BLK_SECTOR))
			conf_fail(t, "byte %u was written and is read as another one", i);
}

static void blk_read_only(struct conf *t)
{
	uint8_t status;

	if (!(t->features & BLK_F_RO))
		conf_skip(t, "the disk is not read-only");
	status = blk(t, BLK_OUT, 0, BLK_SECTOR);
	if (status != BLK_S_IOERR)
		conf_fail(t, "writing ends with the status %u and not 1 (IOERR)", status);
}

static void blk_flush(struct conf *t)
{
	uint8_t status = blk(t, BLK_FLUSH, 0, 0);

	if (status)
		conf_fail(t, "it ends with the status %u", status);
}

static void blk_get_id(struct conf *t)
{
	uint8_t status = blk(t, BLK_GET_ID, 0, 20);

	if (status)
		conf_fail(t, "it ends with the status %u", status);
}

static void blk_unknown_type(struct conf *t)
{
	uint8_t status = blk(t, 0x7777, 0, BLK_SECTOR);

	if (status != BLK_S_UNSUPP)
		conf_fail(t, "it ends with the status %u and not 2 (UNSUPP)", status);
}

static void blk_beyond(struct conf *t)
{
	static const uint64_t sectors[] = { UINT64_C(1) << 54, UINT64_MAX, UINT64_MAX / 512 };

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(sectors); i++) {
		uint8_t status = blk(t, BLK_IN, sectors[i], BLK_SECTOR);

		if (status != BLK_S_IOERR)
			conf_fail(t,
				  "reading sector 0x%llx ends with the status %u and not 1 "
				  "(IOERR)",
				  (unsigned long long)sectors[i], status);
	}
}

static void blk_part_of_a_sector(struct conf *t)
{
	uint8_t status = blk(t, BLK_IN, 0, 100);

	if (status != BLK_S_IOERR)
		conf_fail(t, "reading 100 bytes ends with the status %u and not 1 (IOERR)", status);
}

/* ---- file system ------------------------------------------------------------------------------------- */

static void fs_unknown(struct conf *t)
{
	const uint32_t enosys = (uint32_t)-38;
	struct conf_request *r = conf_request(t, 0);
	uint32_t *in = conf_ptr(t, r->gpa, 40), *out = conf_ptr(t, r->gpa + 128, 16);

	in[1] = 9999;
	conf_submit(t, t->queue, r);
	conf_kick(t, t->queue);
	conf_done(t, t->queue, r);
	if (out[1] != enosys)
		conf_fail(t, "it ends with the error %d and not -38 (ENOSYS)", (int)out[1]);
}

/* ---- vsock ------------------------------------------------------------------------------------------- */

#define VSOCK_HEADER 44U
#define VSOCK_OP_REQUEST 1U
#define VSOCK_OP_RST 3U

/* A connection to a port where nobody listens is reset. */
static void vsock_refused(struct conf *t)
{
	struct conf_request *in = fresh(t, 1), *out = conf_request(t, 0);
	const uint8_t *p = conf_ptr(t, in->gpa, VSOCK_HEADER);

	add(in, true, in->gpa, VSOCK_HEADER);
	add(in, true, in->gpa + VSOCK_HEADER, 512);
	conf_submit(t, &t->queues[0], in);
	conf_kick(t, &t->queues[0]);
	cvmm_put_le16(conf_ptr(t, out->gpa + 30, 2), VSOCK_OP_REQUEST);
	conf_submit(t, t->queue, out);
	conf_kick(t, t->queue);
	conf_done(t, t->queue, out);
	conf_wait_used(t, &t->queues[0], 1);
	if (cvmm_get_le16(p + 30) != VSOCK_OP_RST)
		conf_fail(t, "operation %u comes back, and not a reset", cvmm_get_le16(p + 30));
	if (cvmm_get_le64(p) != 2 || cvmm_get_le64(p + 8) != t->guest_cid)
		conf_fail(t, "the reset is from CID %llu to CID %llu",
			  (unsigned long long)cvmm_get_le64(p),
			  (unsigned long long)cvmm_get_le64(p + 8));
}

/* ---- network ----------------------------------------------------------------------------------------- */

static void net_mtu(struct conf *t)
{
	conf_accepted(t, conf_try_u64(t, CVMM_VHOST_USER_NET_SET_MTU, 1500),
		      "NET_SET_MTU with 1500");
}

static void net_bad_mtu(struct conf *t)
{
	static const uint64_t mtus[] = { 0, 1, 65536, UINT64_MAX };

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(mtus); i++) {
		char what[64];

		if (i)
			conf_reopen(t, CONF_SHARED);
		snprintf(what, sizeof(what), "NET_SET_MTU with %llu", (unsigned long long)mtus[i]);
		conf_refused(t, conf_try_u64(t, CVMM_VHOST_USER_NET_SET_MTU, mtus[i]), what);
	}
}

static void net_rarp(struct conf *t)
{
	conf_accepted(t, conf_try_u64(t, CVMM_VHOST_USER_SEND_RARP, UINT64_C(0x010203040502)),
		      "SEND_RARP");
}

static const struct conf_test tests[] = {
	{ "rng-sizes", "Requests for any number of random bytes are completed", "VIRTIO 1.3, 5.4.6",
	  CONF_MUST, CONF_RUNNING, .device = "rng", .run = rng_sizes },
	{ "rng-differs", "No two requests get the same bytes", "VIRTIO 1.3, 5.4.6", CONF_MUST,
	  CONF_RUNNING, .device = "rng", .run = rng_differs },
	{ "blk-write", "What is written is read", "VIRTIO 1.3, 5.2.6", CONF_MUST, CONF_RUNNING,
	  .device = "blk", .run = blk_write },
	{ "blk-read-only", "Writing to a read-only disk fails", "VIRTIO 1.3, 5.2.6.2", CONF_MUST,
	  CONF_RUNNING, .device = "blk", .run = blk_read_only },
	{ "blk-flush", "A disk can be flushed", "VIRTIO 1.3, 5.2.6", CONF_MUST, CONF_RUNNING,
	  .features = BLK_F_FLUSH, .device = "blk", .run = blk_flush },
	{ "blk-get-id", "A disk has an id", "VIRTIO 1.3, 5.2.6", CONF_SHOULD, CONF_RUNNING,
	  .device = "blk", .run = blk_get_id },
	{ "blk-unknown", "A request of an unknown type is not supported", "VIRTIO 1.3, 5.2.6.2",
	  CONF_MUST, CONF_RUNNING, .device = "blk", .run = blk_unknown_type },
	{ "blk-beyond", "A request beyond the end of the disk fails", "VIRTIO 1.3, 5.2.6.2",
	  CONF_MUST, CONF_RUNNING, .device = "blk", .run = blk_beyond },
	{ "blk-part", "A request for a part of a sector fails", "VIRTIO 1.3, 5.2.6.1", CONF_SHOULD,
	  CONF_RUNNING, .device = "blk", .run = blk_part_of_a_sector },
	{ "fs-unknown", "An unknown FUSE operation is not supported", "VIRTIO 1.3, 5.11.6",
	  CONF_MUST, CONF_RUNNING, .device = "fs", .run = fs_unknown },
	{ "vsock-refused", "A connection to a port where nobody listens is reset",
	  "VIRTIO 1.3, 5.10.6.5", CONF_SHOULD, CONF_RUNNING, .device = "vsock",
	  .run = vsock_refused },
	{ "net-mtu", "NET_SET_MTU with 1500 is accepted", "vhost-user, VHOST_USER_NET_SET_MTU",
	  CONF_MUST, CONF_SHARED, CONF_NEEDS_ACK, CVMM_VHOST_USER_PROTOCOL(MTU),
	  .features = 1U << 3, .run = net_mtu },
	{ "net-bad-mtu", "NET_SET_MTU with what is no MTU is refused",
	  "vhost-user, VHOST_USER_NET_SET_MTU", CONF_SHOULD, CONF_SHARED, CONF_NEEDS_ACK,
	  CVMM_VHOST_USER_PROTOCOL(MTU), .features = 1U << 3, .run = net_bad_mtu },
	{ "net-rarp", "SEND_RARP is accepted", "vhost-user, VHOST_USER_SEND_RARP", CONF_MUST,
	  CONF_SHARED, CONF_NEEDS_ACK, CVMM_VHOST_USER_PROTOCOL(RARP), .run = net_rarp },
};

const struct conf_group conf_devices = { "devices", tests, CVMM_ARRAY_SIZE(tests) };
