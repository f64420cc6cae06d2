// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The back-end: what the front-end says to the device as a whole: features, status, configuration
 * space, and what only some devices have.
 */
#include <errno.h>

#include "vhost_user_backend_internal.h"

#define LOG_ALL CVMM_VIRTIO_FEATURE(CVMM_VHOST_USER_F_LOG_ALL)
#define PROTOCOL_FEATURES CVMM_VIRTIO_FEATURE(CVMM_VHOST_USER_F_PROTOCOL_FEATURES)

static bool any_running(const struct cvmm_vhost_user_backend *b)
{
	for (unsigned int i = 0; i < b->queue_count; i++) {
		if (b->queues[i].running)
			return true;
	}
	return false;
}

/* ---- features ---------------------------------------------------------------------------------- */

int vu_get_features(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		    struct vu_reply *reply, struct cvmm_error *err)
{
	(void)msg;
	(void)err;
	vu_reply_u64(reply, b->offered);
	return 0;
}

int vu_set_features(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		    struct vu_reply *reply, struct cvmm_error *err)
{
	uint64_t features = msg->payload[0], before = b->features;
	int r;

	(void)reply;
	if (features & ~b->offered)
		return cvmm_fail(err, -EINVAL, "the features 0x%llx were not offered",
				 (unsigned long long)(features & ~b->offered));
	if (any_running(b) && (features ^ before) & ~(LOG_ALL | PROTOCOL_FEATURES))
		return cvmm_fail(err, -EBUSY, "features cannot change while queues run");
	r = cvmm_dirty_set_enabled(b->mem.log, features & LOG_ALL);
	if (r)
		return cvmm_fail(err, r, "cannot switch the log: %s", strerror(-r));
	b->features = features;
	r = (features ^ before) & CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_ACCESS_PLATFORM)
		    ? vu_mem_update_iommu(b, err)
		    : 0;
	if (r) {
		b->features = before;
		(void)cvmm_dirty_set_enabled(b->mem.log, before & LOG_ALL);
		return r;
	}
	/* Who does not know of enabling cannot do it. */
	for (unsigned int i = 0; i < b->queue_count && !(features & PROTOCOL_FEATURES); i++)
		b->queues[i].enabled = true;
	return vu_queues_try_run(b, err);
}

int vu_get_protocol_features(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
			     struct vu_reply *reply, struct cvmm_error *err)
{
	(void)msg;
	(void)err;
	vu_reply_u64(reply, b->protocol_offered);
	return 0;
}

int vu_set_protocol_features(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
			     struct vu_reply *reply, struct cvmm_error *err)
{
	static const uint64_t inband = CVMM_VHOST_USER_PROTOCOL(INBAND_NOTIFICATIONS),
			      inband_needs = CVMM_VHOST_USER_PROTOCOL(BACKEND_REQ) |
					     CVMM_VHOST_USER_PROTOCOL(REPLY_ACK),
			      skip = CVMM_VHOST_USER_PROTOCOL(GET_VRING_BASE_SKIP_DRAIN),
			      skip_needs = CVMM_VHOST_USER_PROTOCOL(GET_VRING_BASE_INFLIGHT) |
					   CVMM_VHOST_USER_PROTOCOL(INFLIGHT_SHMFD);
	uint64_t features = msg->payload[0];
	struct cvmm_error why = { 0 };

	(void)reply;
	if (features & ~b->protocol_offered)
		return cvmm_fail(err, -EINVAL, "the protocol features 0x%llx were not offered",
				 (unsigned long long)(features & ~b->protocol_offered));
	if (features & inband && (features & inband_needs) != inband_needs) {
		/* The specification wants no answer, but the end. */
		cvmm_fail(&why, -EPROTO, "INBAND_NOTIFICATIONS needs BACKEND_REQ and REPLY_ACK");
		vu_end(b, -EPROTO, &why);
		return 0;
	}
	if (features & skip && (features & skip_needs) != skip_needs)
		return cvmm_fail(err, -EINVAL,
				 "GET_VRING_BASE_SKIP_DRAIN needs GET_VRING_BASE_INFLIGHT and "
				 "INFLIGHT_SHMFD");
	b->protocol = features;
	return 0;
}

int vu_get_queue_num(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		     struct vu_reply *reply, struct cvmm_error *err)
{
	(void)msg;
	(void)err;
	vu_reply_u64(reply, b->queue_count);
	return 0;
}

/* ---- owner, reset, status ---------------------------------------------------------------------- */

int vu_set_owner(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		 struct vu_reply *reply, struct cvmm_error *err)
{
	/* The connection is the owner: to say so once more changes nothing. */
	(void)b;
	(void)msg;
	(void)reply;
	(void)err;
	return 0;
}

static void disable_all(struct cvmm_vhost_user_backend *b)
{
	vu_queues_halt(b);
	for (unsigned int i = 0; i < b->queue_count; i++)
		b->queues[i].enabled = false;
}

int vu_reset_owner(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		   struct vu_reply *reply, struct cvmm_error *err)
{
	/* Deprecated; the specification recommends to ignore it, or this. */
	(void)msg;
	(void)reply;
	(void)err;
	disable_all(b);
	return 0;
}

static void reset_device(struct cvmm_vhost_user_backend *b)
{
	/* All stop before the first begins anew, as some devices stop as a whole. */
	vu_queues_halt(b);
	for (unsigned int i = 0; i < b->queue_count; i++)
		vu_queue_reset_ring(&b->queues[i]);
	b->features = 0;
	b->status = 0;
	b->needs_reset = false;
	(void)cvmm_dirty_set_enabled(b->mem.log, false);
	(void)vu_mem_update_iommu(b, NULL);
}

int vu_reset_device(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		    struct vu_reply *reply, struct cvmm_error *err)
{
	(void)msg;
	(void)reply;
	(void)err;
	reset_device(b);
	return 0;
}

int vu_set_status(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		  struct vu_reply *reply, struct cvmm_error *err)
{
	uint64_t status = msg->payload[0];

	(void)reply;
	if (status > UINT8_MAX)
		return cvmm_fail(err, -EINVAL, "a device status has 8 bits: 0x%llx",
				 (unsigned long long)status);
	/*
	 * QEMU (7.2 at least) says this before it asks where the rings are, and migrates what it gets. So
	 * their places are kept until they are set anew.
	 */
	if (!status) {
		disable_all(b);
		b->needs_reset = false;
	}
	b->status = (uint8_t)status;
	return 0;
}

int vu_get_status(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		  struct vu_reply *reply, struct cvmm_error *err)
{
	(void)msg;
	(void)err;
	vu_reply_u64(reply, b->status | (b->needs_reset ? CVMM_VIRTIO_STATUS_NEEDS_RESET : 0));
	return 0;
}

/* ---- configuration space ----------------------------------------------------------------------- */

/* Reads may go beyond what the device has (front-ends know newer fields): those bytes are 0. */
static int check_config(const struct cvmm_vhost_user_config *config, uint32_t limit,
			struct cvmm_error *err)
{
	if (!cvmm_range_inside(config->offset, config->size, limit))
		return cvmm_fail(err, -EINVAL,
				 "%u bytes at offset %u are beyond the configuration space of %u",
				 config->size, config->offset, limit);
	return 0;
}

int vu_get_config(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		  struct vu_reply *reply, struct cvmm_error *err)
{
	struct cvmm_vhost_user_config *config = (void *)msg->payload;
	int r = check_config(config, CVMM_VIRTIO_CONFIG_BYTES_MAX, err);

	if (r)
		return r;
	cvmm_virtio_config_space_read(b->space, config->offset, config + 1, config->size);
	reply->bytes = msg->payload;
	reply->len_bytes = msg->size;
	return 0;
}

int vu_set_config(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		  struct vu_reply *reply, struct cvmm_error *err)
{
	const struct cvmm_vhost_user_config *config = (const void *)msg->payload;
	int r = check_config(config, b->space->len_bytes, err);

	(void)reply;
	if (r)
		return r;
	switch (config->flags) {
	case CVMM_VHOST_USER_CONFIG_WRITABLE:
		/* The device takes what is writable, and nothing else. */
		if (!b->config.ops->config_written)
			return cvmm_fail(err, -EACCES, "this device has no writable field");
		vu_enter(b);
		b->config.ops->config_written(b->config.dev, config->offset, config + 1,
					      config->size);
		vu_leave(b);
		return 0;
	case CVMM_VHOST_USER_CONFIG_LIVE_MIGRATION:
		cvmm_virtio_config_space_update(b->space, config->offset, config + 1, config->size);
		return 0;
	default:
		return cvmm_fail(err, -EINVAL, "unknown flags 0x%x", config->flags);
	}
}

/* ---- what only some devices have --------------------------------------------------------------- */

#define EXTRA(b) ((b)->config.extra)

int vu_send_rarp(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		 struct vu_reply *reply, struct cvmm_error *err)
{
	int r = EXTRA(b)->send_rarp(b->config.dev, (const uint8_t *)msg->payload);

	(void)reply;
	return r ? cvmm_fail(err, r, "%s", strerror(-r)) : 0;
}

int vu_net_set_mtu(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		   struct vu_reply *reply, struct cvmm_error *err)
{
	uint64_t mtu = msg->payload[0];
	int r = mtu <= UINT16_MAX ? EXTRA(b)->set_mtu(b->config.dev, (uint16_t)mtu) : -EINVAL;

	(void)reply;
	return r ? cvmm_fail(err, r, "an MTU of %llu: %s", (unsigned long long)mtu, strerror(-r))
		 : 0;
}

int vu_create_crypto_session(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
			     struct vu_reply *reply, struct cvmm_error *err)
{
	int r = EXTRA(b)->create_crypto_session(b->config.dev, msg->payload, msg->size);

	if (r)
		return cvmm_fail(err, r, "%s", strerror(-r));
	reply->bytes = msg->payload;
	reply->len_bytes = msg->size;
	return 0;
}

int vu_close_crypto_session(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
			    struct vu_reply *reply, struct cvmm_error *err)
{
	int r = EXTRA(b)->close_crypto_session(b->config.dev, msg->payload[0]);

	(void)reply;
	return r ? cvmm_fail(err, r, "%s", strerror(-r)) : 0;
}

int vu_gpu_set_socket(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		      struct vu_reply *reply, struct cvmm_error *err)
{
	(void)reply;
	if (!EXTRA(b) || !EXTRA(b)->set_gpu_socket)
		return cvmm_fail(err, -EOPNOTSUPP, "this device is no GPU");
	EXTRA(b)->set_gpu_socket(b->config.dev, cvmm_vhost_user_msg_take_fd(msg, 0));
	return 0;
}

int vu_get_shared_object(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
			 struct vu_reply *reply, struct cvmm_error *err)
{
	struct cvmm_vhost_user_uuid uuid;

	(void)err;
	memcpy(&uuid, msg->payload, sizeof(uuid));
	/* Without a descriptor the answer means that there is none. */
	reply->fd = EXTRA(b)->get_shared_object(b->config.dev, &uuid);
	reply->bytes = msg->payload;
	reply->len_bytes = msg->size;
	return 0;
}

int vu_get_shmem_config(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
			struct vu_reply *reply, struct cvmm_error *err)
{
	struct cvmm_vhost_user_shmem_config *config = (void *)msg->payload;

	(void)err;
	memset(config, 0, sizeof(*config));
	EXTRA(b)->shmem_config(b->config.dev, config);
	reply->bytes = config;
	reply->len_bytes = sizeof(*config);
	return 0;
}
