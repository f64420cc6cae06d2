// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * What is particular to kinds of devices: a back-end says neither how long its configuration space is, nor,
 * without MQ, how many queues it has.
 *
 * Lengths are those of the standard's structures, of all of them and up to where features of older
 * versions end: some back-ends answer only if they are asked for exactly what they have.
 */
#include "vhost_user_proxy_internal.h"

#define QUEUES_MAX CVMM_VIRTIO_QUEUES_MAX

static const struct proxy_kind kinds[] = {
	{ CVMM_VIRTIO_ID_NET, "net", { 24, 22, 12, 10, 8, 6 }, 2, 2, true },
	{ CVMM_VIRTIO_ID_BLOCK, "blk", { 96, 72, 60, 36, 24 }, 1, QUEUES_MAX, false },
	{ CVMM_VIRTIO_ID_CONSOLE, "console", { 12, 8, 4 }, 2, QUEUES_MAX, true },
	{ CVMM_VIRTIO_ID_ENTROPY, "rng", { 0 }, 1, 1, true },
	{ CVMM_VIRTIO_ID_SCSI, "scsi", { 36 }, 3, QUEUES_MAX, false },
	{ CVMM_VIRTIO_ID_GPU, "gpu", { 16 }, 2, 2, false },
	{ CVMM_VIRTIO_ID_INPUT, "input", { 136 }, 2, 2, false },
	{ CVMM_VIRTIO_ID_VSOCK, "vsock", { 8 }, 3, 3, false },
	{ CVMM_VIRTIO_ID_CRYPTO, "crypto", { 56, 48 }, 2, QUEUES_MAX, false },
	{ CVMM_VIRTIO_ID_SOUND, "sound", { 16, 12 }, 4, 4, false },
	{ CVMM_VIRTIO_ID_FS, "fs", { 44, 40 }, 2, QUEUES_MAX, false },
	{ CVMM_VIRTIO_ID_RPMB, "rpmb", { 3 }, 1, 1, false },
	{ CVMM_VIRTIO_ID_SCMI, "scmi", { 0 }, 2, 2, true },
	{ CVMM_VIRTIO_ID_I2C, "i2c", { 0 }, 1, 1, true },
	{ CVMM_VIRTIO_ID_CAN, "can", { 2 }, 3, 3, false },
	{ CVMM_VIRTIO_ID_GPIO, "gpio", { 8 }, 2, 2, false },
};

/* Any other: what the back-end has is found out. */
static const struct proxy_kind any_kind = {
	0, "device", { 256, 128, 64, 32, 16, 8, 4, 2, 1 }, 1, QUEUES_MAX, true,
};

const struct proxy_kind *proxy_kind_find(uint32_t device_id)
{
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(kinds); i++)
		if (kinds[i].device_id == device_id)
			return &kinds[i];
	return &any_kind;
}

/* ---- network devices ----------------------------------------------------------------------------- */

#define BIT(n) (UINT64_C(1) << (n))

/*
 * The control queue of a network device, and what needs it (VIRTIO 1.3, 5.1.3.1). Known back-ends leave it
 * to the front-end, even those that offer it: a driver would wait for ever.
 */
#define NET_CONTROL_FEATURES                                                                    \
	(BIT(2) /* CTRL_GUEST_OFFLOADS */ | BIT(17) /* CTRL_VQ */ | BIT(18) /* CTRL_RX */ |     \
	 BIT(19) /* CTRL_VLAN */ | BIT(20) /* CTRL_RX_EXTRA */ | BIT(21) /* GUEST_ANNOUNCE */ | \
	 BIT(22) /* MQ */ | BIT(23) /* CTRL_MAC_ADDR */ | BIT(50) /* DEVICE_STATS */ |          \
	 BIT(52) /* VQ_NOTF_COAL */ | BIT(53) /* NOTF_COAL */ | BIT(57) /* HASH_REPORT */ |     \
	 BIT(60) /* RSS */)

/* Fields of its configuration space. */
#define NET_CONFIG_FEATURES                                                                   \
	(BIT(3) /* MTU */ | BIT(5) /* MAC */ | BIT(16) /* STATUS */ | BIT(62) /* STANDBY */ | \
	 BIT(63) /* SPEED_DUPLEX */)

/* SIZE, MULTIPORT and EMERG_WRITE (5.3.3). */
#define CONSOLE_CONFIG_FEATURES (BIT(0) | BIT(1) | BIT(2))

uint64_t proxy_kind_features(const struct cvmm_vhost_user_proxy *p, uint64_t features)
{
	bool has_config = p->config_bytes != 0;

	if (p->config.device_id == CVMM_VIRTIO_ID_NET)
		features &= ~(NET_CONTROL_FEATURES | (has_config ? 0 : NET_CONFIG_FEATURES));
	if (p->config.device_id == CVMM_VIRTIO_ID_CONSOLE && !has_config)
		features &= ~CONSOLE_CONFIG_FEATURES;
	return features;
}

/* ---- numbers of queues --------------------------------------------------------------------------- */

#define BLK_F_MQ BIT(12)
#define BLK_NUM_QUEUES_AT 34U /* a le16 (5.2.4) */

static bool has_num_queues(const struct cvmm_vhost_user_proxy *p)
{
	return p->config.device_id == CVMM_VIRTIO_ID_BLOCK && p->offered & BLK_F_MQ &&
	       p->config_bytes >= BLK_NUM_QUEUES_AT + 2;
}

unsigned int proxy_kind_queue_count(const struct cvmm_vhost_user_proxy *p, const uint8_t *config)
{
	unsigned int count = p->kind->queues;

	if (p->config.queue_count)
		return p->config.queue_count;
	if (proxy_has_protocol(p, MQ) && p->backend_queue_count)
		count = p->backend_queue_count < p->kind->queues_max ? p->backend_queue_count
								     : p->kind->queues_max;
	if (p->config.device_id == CVMM_VIRTIO_ID_NET)
		return p->kind->queues; /* some tell the number of pairs */
	if (p->config.device_id == CVMM_VIRTIO_ID_BLOCK && !has_num_queues(p))
		return p->kind->queues;
	if (has_num_queues(p) && cvmm_get_le16(config + BLK_NUM_QUEUES_AT) < count)
		count = cvmm_get_le16(config + BLK_NUM_QUEUES_AT);
	return count ? count : 1;
}

void proxy_kind_adapt_config(const struct cvmm_vhost_user_proxy *p, uint8_t *config)
{
	if (has_num_queues(p) && cvmm_get_le16(config + BLK_NUM_QUEUES_AT) > p->queue_count)
		cvmm_put_le16(config + BLK_NUM_QUEUES_AT, (uint16_t)p->queue_count);
}
