// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * What the suite knows of devices: for each kind one request that any of them completes soon.
 *
 * Multi-byte fields of virtio devices are little-endian, those of FUSE are in the guest's order, which is
 * that of this machine.
 */
#include "conf.h"

static void add(struct conf_request *r, bool writable, uint64_t gpa, uint32_t len)
{
	r->segments[r->readable + r->writable] =
		(struct cvmm_virtq_segment){ cvmm_gpa_from(gpa), len };
	if (writable)
		r->writable++;
	else
		r->readable++;
}

/* ---- entropy: one buffer, filled with random bytes. VIRTIO 1.3, 5.4 ------------------------------ */

#define RNG_BYTES 64U

static void rng_build(struct conf *t, struct conf_request *r)
{
	(void)t;
	add(r, true, r->gpa, RNG_BYTES);
}

static void rng_check(struct conf *t, const struct conf_request *r)
{
	if (r->used_len == 0 || r->used_len > RNG_BYTES)
		conf_fail(t, "a request for %u random bytes came back with %u", RNG_BYTES,
			  r->used_len);
	if (r->used_len >= 8 && conf_request_is_untouched(t, r))
		conf_fail(t, "%u random bytes were promised, and none were written", r->used_len);
}

/* ---- block: sector 0 is read. VIRTIO 1.3, 5.2.6 -------------------------------------------------- */

#define BLK_HEADER 16U
#define BLK_SECTOR 512U

static void blk_build(struct conf *t, struct conf_request *r)
{
	memset(conf_ptr(t, r->gpa, BLK_HEADER), 0, BLK_HEADER); /* VIRTIO_BLK_T_IN of sector 0 */
	add(r, false, r->gpa, BLK_HEADER);
	add(r, true, r->gpa + BLK_HEADER, BLK_SECTOR);
	add(r, true, r->gpa + BLK_HEADER + BLK_SECTOR, 1);
}

static void blk_check(struct conf *t, const struct conf_request *r)
{
	const uint8_t *status = conf_ptr(t, r->gpa + BLK_HEADER + BLK_SECTOR, 1);

	if (*status)
		conf_fail(t, "reading sector 0 ended with the status %u", *status);
	if (r->used_len == 0)
		conf_fail(t, "a sector and a status were written, but the used length is 0");
}

/* ---- file system: FUSE_INIT on the request queue. VIRTIO 1.3, 5.11 ------------------------------- */

#define FUSE_INIT 26U
#define FUSE_IN_HEADER 40U
#define FUSE_INIT_IN 16U
#define FUSE_OUT_HEADER 16U
#define FUSE_INIT_OUT 64U
#define FUSE_OUT_OFFSET 128U
#define FUSE_MAJOR 7U
#define FUSE_MINOR 38U

static void fs_build(struct conf *t, struct conf_request *r)
{
	uint32_t *in = conf_ptr(t, r->gpa, FUSE_IN_HEADER + FUSE_INIT_IN);
	uint64_t unique = r->gpa;

	memset(in, 0, FUSE_IN_HEADER + FUSE_INIT_IN);
	in[0] = FUSE_IN_HEADER + FUSE_INIT_IN;
	in[1] = FUSE_INIT;
	memcpy(&in[2], &unique, sizeof(unique));
	in[10] = FUSE_MAJOR;
	in[11] = FUSE_MINOR;
	in[12] = 1U << 16; /* read ahead */
	add(r, false, r->gpa, FUSE_IN_HEADER);
	add(r, false, r->gpa + FUSE_IN_HEADER, FUSE_INIT_IN);
	add(r, true, r->gpa + FUSE_OUT_OFFSET, FUSE_OUT_HEADER);
	add(r, true, r->gpa + FUSE_OUT_OFFSET + FUSE_OUT_HEADER, FUSE_INIT_OUT);
}

static void fs_check(struct conf *t, const struct conf_request *r)
{
	const uint32_t *out = conf_ptr(t, r->gpa + FUSE_OUT_OFFSET, FUSE_OUT_HEADER);
	uint64_t unique;

	memcpy(&unique, &out[2], sizeof(unique));
	if (r->used_len < FUSE_OUT_HEADER || unique != r->gpa)
		conf_fail(t, "the answer to FUSE_INIT has %u bytes, and is for another request",
			  r->used_len);
}

/* ---- vsock: a reset of a connection that is not there. VIRTIO 1.3, 5.10.6 ------------------------ */

#define VSOCK_HEADER 44U
#define VSOCK_HOST 2U
#define VSOCK_TYPE_STREAM 1U
#define VSOCK_OP_RST 3U
#define VSOCK_PORT 47806U /* nobody's */
#define VSOCK_GUEST_DEFAULT 3U

static void vsock_begin(struct conf *t)
{
	struct {
		struct cvmm_vhost_user_config head;
		uint8_t bytes[8];
	} config = { .head = { .size = 8 } };

	t->guest_cid = VSOCK_GUEST_DEFAULT;
	if (!(t->protocol & CVMM_VHOST_USER_PROTOCOL(CONFIG)))
		return;
	conf_ask(t, CVMM_VHOST_USER_GET_CONFIG, &config, sizeof(config));
	if (t->msg->size == sizeof(config))
		t->guest_cid =
			cvmm_get_le64((const uint8_t *)t->msg->payload + sizeof(config.head));
}

static void vsock_build(struct conf *t, struct conf_request *r)
{
	uint8_t *p = conf_ptr(t, r->gpa, VSOCK_HEADER);

	memset(p, 0, VSOCK_HEADER);
	cvmm_put_le64(p, t->guest_cid);
	cvmm_put_le64(p + 8, VSOCK_HOST);
	cvmm_put_le32(p + 16, VSOCK_PORT);
	cvmm_put_le32(p + 20, VSOCK_PORT);
	cvmm_put_le16(p + 28, VSOCK_TYPE_STREAM);
	cvmm_put_le16(p + 30, VSOCK_OP_RST);
	add(r, false, r->gpa, VSOCK_HEADER);
}

/* ---- network: a packet to nobody is sent. VIRTIO 1.3, 5.1.6 -------------------------------------- */

#define NET_HEADER 12U
#define NET_HEADER_LEGACY 10U
#define NET_FRAME 60U

static void net_build(struct conf *t, struct conf_request *r)
{
	uint32_t header = t->acked & CONF_F_VERSION_1 ? NET_HEADER : NET_HEADER_LEGACY;
	uint8_t *p = conf_ptr(t, r->gpa, header + NET_FRAME);

	memset(p, 0, header + NET_FRAME);
	memset(p + header, 0xff, 6);
	p[header + 6] = 2; /* locally administered */
	p[header + 12] = 0x88;
	p[header + 13] = 0xb5; /* for experiments */
	add(r, false, r->gpa, header);
	add(r, false, r->gpa + header, NET_FRAME);
}

static void came_back(struct conf *t, const struct conf_request *r)
{
	(void)t;
	(void)r;
}

/* ---- the table --------------------------------------------------------------------------------- */

static const struct conf_device devices[] = {
	{ .name = "rng",
	  .queue_count = 1,
	  .has_result = true,
	  .build = rng_build,
	  .check = rng_check },
	{ .name = "blk",
	  .queue_count = 1,
	  .has_result = true,
	  .config_read_only = 8, /* capacity */
	  .build = blk_build,
	  .check = blk_check },
	{ .name = "fs",
	  .queue_count = 2,
	  .queue = 1,
	  .has_result = true,
	  .config_read_only = 36, /* tag */
	  .build = fs_build,
	  .check = fs_check },
	{ .name = "vsock",
	  .queue_count = 3,
	  .queue = 1,
	  .config_read_only = 8, /* guest CID */
	  .begin = vsock_begin,
	  .build = vsock_build,
	  .check = came_back },
	{ .name = "net", .queue_count = 2, .queue = 1, .build = net_build, .check = came_back },
};

const struct conf_device *conf_device_find(const char *name)
{
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(devices); i++)
		if (strcmp(devices[i].name, name) == 0)
			return &devices[i];
	return NULL;
}
