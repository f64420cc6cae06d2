// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * What a back-end is: features, queues and configuration space. The first one decides, because drivers read
 * it once; those that come later must have as much.
 */
#include <errno.h>

#include "vhost_user_proxy_internal.h"

/* Bits 24 to 49 belong to rings and transports (VIRTIO 1.3, 2.2), or to the vhost world. */
#define OWN_FEATURES (~((UINT64_C(1) << 50) - (UINT64_C(1) << 24)))

static const char *name_of(const struct cvmm_vhost_user_proxy *p)
{
	return p->kind->name;
}

/* ---- the configuration space --------------------------------------------------------------------- */

static int ask_config(const struct cvmm_vhost_user_proxy *p, uint32_t len_bytes, uint8_t *bytes,
		      struct cvmm_error *err)
{
	memset(bytes, 0, CVMM_VIRTIO_CONFIG_BYTES_MAX);
	return cvmm_vhost_user_frontend_get_config(p->fe, 0, bytes, len_bytes, err);
}

/* The longest that the back-end answers to. Return: 0 bytes if it answers to none. */
static int find_config(struct cvmm_vhost_user_proxy *p, uint8_t *bytes, uint32_t *ret_len_bytes,
		       struct cvmm_error *err)
{
	for (const uint16_t *len = p->kind->lengths; *len; len++) {
		int r = ask_config(p, *len, bytes, err);

		if (!r)
			*ret_len_bytes = *len;
		if (r != -EREMOTEIO)
			return r;
	}
	*ret_len_bytes = 0;
	return 0;
}

static int learn_config(struct cvmm_vhost_user_proxy *p, uint8_t *bytes, struct cvmm_error *err)
{
	uint32_t wanted = p->config.config_bytes, found = wanted;
	int r = 0;

	if (wanted == CVMM_VHOST_USER_PROXY_NO_CONFIG)
		return 0;
	if (!proxy_has_protocol(p, CONFIG)) {
		if (!wanted && p->kind->config_optional)
			return 0;
		return cvmm_fail(
			err, -ENOTSUP,
			"a %s device has a configuration space, and this back-end has none",
			name_of(p));
	}
	if (wanted)
		r = ask_config(p, wanted, bytes, err);
	else
		r = find_config(p, bytes, &found, err);
	if (r)
		return r;
	if (!found && !p->kind->config_optional)
		return cvmm_fail(err, -ENOTSUP,
				 "the back-end refuses to tell the configuration space of a %s "
				 "device, whatever its length",
				 name_of(p));
	p->config_bytes = found;
	return 0;
}

bool proxy_identity_refresh(struct cvmm_vhost_user_proxy *p)
{
	uint8_t now[CVMM_VIRTIO_CONFIG_BYTES_MAX], before[CVMM_VIRTIO_CONFIG_BYTES_MAX];
	struct cvmm_error err = { 0 };

	if (!p->config_bytes)
		return false;
	if (ask_config(p, p->config_bytes, now, &err)) {
		cvmm_log_limited(p->config.log, &p->log_limit, CVMM_LOG_WARN, "vhost-user %s: %s",
				 name_of(p), err.message);
		return false;
	}
	proxy_kind_adapt_config(p, now);
	cvmm_virtio_config_space_read(&p->space, 0, before, p->config_bytes);
	if (memcmp(now, before, p->config_bytes) == 0)
		return false;
	cvmm_virtio_config_space_update(&p->space, 0, now, p->config_bytes);
	return true;
}

/* ---- the first back-end -------------------------------------------------------------------------- */

int proxy_identity_learn(struct cvmm_vhost_user_proxy *p, struct cvmm_error *err)
{
	uint8_t bytes[CVMM_VIRTIO_CONFIG_BYTES_MAX] = { 0 };
	int r;

	p->offered = cvmm_vhost_user_frontend_features(p->fe);
	p->protocol = cvmm_vhost_user_frontend_protocol(p->fe);
	p->backend_queue_count = cvmm_vhost_user_frontend_queue_count(p->fe);
	if (!(p->offered & CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_VERSION_1)))
		return cvmm_fail(err, -ENOTSUP,
				 "the back-end does not offer VERSION_1: legacy devices are not "
				 "supported");
	r = learn_config(p, bytes, err);
	if (r)
		return r;
	p->features = proxy_kind_features(p, p->offered & OWN_FEATURES);
	p->queue_count = proxy_kind_queue_count(p, bytes);
	proxy_kind_adapt_config(p, bytes);
	r = cvmm_virtio_config_space_init(&p->space, bytes, p->config_bytes);
	if (r)
		return cvmm_fail(err, r, "%s", strerror(-r));
	p->has_space = true;
	return 0;
}

/* ---- those that come later ----------------------------------------------------------------------- */

int proxy_identity_check(const struct cvmm_vhost_user_proxy *p, struct cvmm_error *err)
{
	uint64_t ring = CVMM_VIRTIO_RING_FEATURES_ALL |
			CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_VERSION_1) |
			CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_RING_RESET);
	uint64_t missing =
		p->offered & (p->features | ring) & ~cvmm_vhost_user_frontend_features(p->fe);
	bool config = cvmm_vhost_user_frontend_protocol(p->fe) & CVMM_VHOST_USER_PROTOCOL(CONFIG);

	if (missing)
		return cvmm_fail(err, -EPROTO,
				 "this back-end does not offer the features 0x%llx, which the one "
				 "before it did",
				 (unsigned long long)missing);
	if (p->config_bytes && !config)
		return cvmm_fail(err, -EPROTO,
				 "this back-end has no configuration space, and the one before it "
				 "had one");
	if (cvmm_vhost_user_frontend_queue_count(p->fe) < p->backend_queue_count)
		return cvmm_fail(err, -EPROTO, "this back-end has %u queues, and not %u",
				 cvmm_vhost_user_frontend_queue_count(p->fe),
				 p->backend_queue_count);
	return 0;
}
