/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm vhost-user-proxy: a virtio device that another process serves over vhost-user.
 *
 * The proxy is a device core as any other, for any transport, and of any kind: features, configuration space and
 * the number of queues are those of the back-end. It never looks into a queue: kicks go to the back-end
 * without a detour where the transport gives its notifiers away, and what the back-end notifies is
 * passed on to the transport.
 *
 * Guest memory must be of regions that have descriptors (CVMM_MEM_MEMFD, _FILE, _HUGETLB).
 *
 * When the back-end dies the device pauses, and goes on when there is one again: its requests stay in the
 * queues and, where the back-end offers INFLIGHT_SHMFD, in an inflight region. Back-ends without one must
 * have served their queues in order. If it cannot be known what the back-end had, or none comes in time, the
 * device asks for a reset.
 *
 * A proxy has a thread of its own, which talks to the back-end: it may have to wait, and nobody else
 * shall. The device's loop waits for it only where the transport waits for the device: when the device or a
 * queue is stopped, and when the driver writes to the configuration space.
 *
 * What the back-end says is hostile. What it does to guest memory is not looked at: it has all of it.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_VHOST_USER_PROXY_H
#define CVMM_VHOST_USER_PROXY_H

#include <cvmm/virtio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CVMM_VHOST_USER_PROXY_QUEUE_SIZE_DEFAULT 128U

/* In cvmm_vhost_user_proxy_config.config_bytes: the device has no configuration space. */
#define CVMM_VHOST_USER_PROXY_NO_CONFIG UINT32_MAX

/**
 * struct cvmm_vhost_user_proxy_config - what a proxy needs
 * @device_id: VIRTIO 1.3, 5: the back-end does not say what it is
 * @path: of the back-end's socket; copied
 * @connect: how to get a connection instead; NULL: to @path. @timeout_ms is how long it may take; 0 for one
 *           attempt. The descriptor is moved to the proxy. Context: the proxy's thread.
 * @connect_ctx: for @connect
 * @queue_count: 0: as many as the back-end has, or devices of this kind have
 * @queue_size: largest size of each queue, a power of two; 0 for CVMM_VHOST_USER_PROXY_QUEUE_SIZE_DEFAULT
 * @config_bytes: length of the configuration space, up to CVMM_VIRTIO_CONFIG_BYTES_MAX; 0: what devices of this
 *                kind have, as far as the back-end knows it; or CVMM_VHOST_USER_PROXY_NO_CONFIG
 * @connect_timeout_ms: how long creation waits for a back-end
 * @reconnect_timeout_ms: how long to wait for another one after one died
 * @request_timeout_ms: how long a back-end may take for an answer; 0 for CVMM_VHOST_USER_TIMEOUT_DEFAULT_MS
 * @log: where messages go, or NULL
 */
struct cvmm_vhost_user_proxy_config {
	uint32_t device_id;
	const char *path;
	int (*connect)(void *ctx, unsigned int timeout_ms, int *ret_fd, struct cvmm_error *err);
	void *connect_ctx;
	unsigned int queue_count;
	uint16_t queue_size;
	uint32_t config_bytes;
	unsigned int connect_timeout_ms;
	unsigned int reconnect_timeout_ms;
	unsigned int request_timeout_ms;
	const struct cvmm_log *log;
};

struct cvmm_vhost_user_proxy;

/**
 * cvmm_vhost_user_proxy_create() - connect to a back-end and be its device
 *
 * Starts a thread. Return: 0; -EINVAL with a message for a configuration that cannot be; -ENOTSUP with a message
 * for a back-end that cannot be used; or why there is no connection, with a message. Context: any
 * thread; blocks until the back-end has said what it is.
 * Owner: pair with cvmm_vhost_user_proxy_destroy().
 */
CVMM_API int cvmm_vhost_user_proxy_create(const struct cvmm_vhost_user_proxy_config *config,
					  struct cvmm_vhost_user_proxy **ret_proxy,
					  struct cvmm_error *err);

/* After the transport that drives the device was destroyed. Ends the connection and the thread. NULL is
 * allowed. */
CVMM_API void cvmm_vhost_user_proxy_destroy(struct cvmm_vhost_user_proxy *proxy);

/* The device core, for a transport, together with @proxy as its state. Lives as long as @proxy. */
CVMM_API const struct cvmm_virtio_device_ops *
cvmm_vhost_user_proxy_ops(const struct cvmm_vhost_user_proxy *proxy);

/* Whether there is a back-end now, for tests and diagnosis. Any thread. */
CVMM_API bool cvmm_vhost_user_proxy_is_connected(const struct cvmm_vhost_user_proxy *proxy);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_VHOST_USER_PROXY_H */
