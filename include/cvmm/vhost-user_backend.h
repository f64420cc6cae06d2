/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm vhost-user: the back-end, which serves a device core to a front-end.
 *
 * A back-end has one device core and at most one connection at a time. When a connection ends the
 * device is stopped, all that the front-end gave is let go of, and the next connection begins as the first
 * one did. What chains were in flight then comes again, if the front-end keeps an inflight region.
 *
 * A request that cannot be done is refused, and the connection lives, wherever the front-end can be told:
 * by the answer that the request has anyway, or by NEED_REPLY. Otherwise, and where the stream itself is
 * unreadable, the connection is closed, which tells it too.
 *
 * Everything runs on the loop that owns the device, and nothing waits for the peer: neither in an answer
 * nor in a request on the back-end channel. So the two channels cannot wait for each other.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_VHOST_USER_BACKEND_H
#define CVMM_VHOST_USER_BACKEND_H

#include <cvmm/vhost-user.h>
#include <cvmm/virtio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A peer that reads no answer for so long is given up. */
#define CVMM_VHOST_USER_ANSWER_TIMEOUT_NS (UINT64_C(10) * CVMM_NS_PER_S)

/* The longest device state that is saved or loaded. */
#define CVMM_VHOST_USER_STATE_BYTES_MAX (UINT64_C(1) << 26)

struct cvmm_vhost_user_backend;

/**
 * struct cvmm_vhost_user_backend_ops - what only devices behind vhost-user have; all optional
 * @size: of this struct, for growth at its end
 * @get_shared_object: a descriptor (dma-buf) for an object of this device; moved to the caller.
 *                     Return: it, or negative errno. With it SHARED_OBJECT is offered.
 * @shmem_config: sizes of shared memory regions; constant. With it SHMEM is offered.
 * @set_gpu_socket: the socket of the GPU protocol, which the device takes
 * @create_crypto_session: @bytes of @len_bytes are the request and become the answer, of the same size.
 *                         Return: 0 or negative errno. With it and the next CRYPTO_SESSION is offered.
 * @close_crypto_session: Return: 0 or negative errno
 * @send_rarp: announce a MAC address to the network. With it RARP is offered.
 * @set_mtu: Return: 0, or negative errno if the device cannot have this MTU. With it MTU is offered.
 * @host_notifiers: the device calls cvmm_vhost_user_backend_host_notifier(): HOST_NOTIFIER is offered
 *
 * All are called on the loop, with the device's state.
 */
struct cvmm_vhost_user_backend_ops {
	size_t size;
	int (*get_shared_object)(void *dev, const struct cvmm_vhost_user_uuid *uuid);
	void (*shmem_config)(void *dev, struct cvmm_vhost_user_shmem_config *ret_config);
	void (*set_gpu_socket)(void *dev, int fd);
	int (*create_crypto_session)(void *dev, void *bytes, size_t len_bytes);
	int (*close_crypto_session)(void *dev, uint64_t session);
	int (*send_rarp)(void *dev, const uint8_t mac[6]);
	int (*set_mtu)(void *dev, uint16_t mtu);
	bool host_notifiers;
};

/**
 * struct cvmm_vhost_user_backend_config - what a back-end needs
 * @ops: the device core
 * @dev: its state; must outlive the back-end
 * @extra: what else the device has, or NULL
 * @loop: owner of the device; must outlive the back-end
 * @offer: of CVMM_VIRTIO_RING_FEATURES_ALL, what to offer besides the default
 * @withhold: of CVMM_VIRTIO_RING_FEATURES_DEFAULT, what not to offer
 * @protocol_withhold: protocol features not to offer, of those that the device and the host allow
 * @userfaultfd_device: /dev/userfaultfd, open for reading and writing, for a process that cannot open it
 *                      itself when post-copy begins; stays the caller's. 0: none.
 * @closed: a connection ended: 0 if the front-end closed it, or negative errno with a message. The
 *          back-end is ready for the next one, which @closed may attach. May be NULL.
 * @closed_ctx: for @closed
 * @log: where messages go, or NULL
 */
struct cvmm_vhost_user_backend_config {
	const struct cvmm_virtio_device_ops *ops;
	void *dev;
	const struct cvmm_vhost_user_backend_ops *extra;
	struct cvmm_loop *loop;
	uint64_t offer;
	uint64_t withhold;
	uint64_t protocol_withhold;
	int userfaultfd_device;
	void (*closed)(void *ctx, int reason, const char *message);
	void *closed_ctx;
	const struct cvmm_log *log;
};

/**
 * cvmm_vhost_user_backend_create() - a back-end without a connection
 *
 * Return: 0; -EINVAL with a message for a device with more queues than CVMM_VIRTIO_QUEUES_MAX; -ENOMEM.
 * Context: owner of the loop. Owner: pair with cvmm_vhost_user_backend_destroy().
 */
CVMM_API int cvmm_vhost_user_backend_create(const struct cvmm_vhost_user_backend_config *config,
					    struct cvmm_vhost_user_backend **ret_backend,
					    struct cvmm_error *err);

/* Ends the connection, without a call of closed(). Context: owner of the loop, outside of callbacks of
 * the back-end and its device. NULL is allowed. */
CVMM_API void cvmm_vhost_user_backend_destroy(struct cvmm_vhost_user_backend *backend);

/**
 * cvmm_vhost_user_backend_attach() - begin a connection
 * @fd: a connected Unix stream socket, whoever connected; taken, also on failure
 *
 * Return: 0; -EBUSY if there is one; or as cvmm_vhost_user_conn_create(). Context: owner of the loop.
 */
CVMM_API int cvmm_vhost_user_backend_attach(struct cvmm_vhost_user_backend *backend, int fd,
					    struct cvmm_error *err);

/* Whether there is a connection. */
CVMM_API bool cvmm_vhost_user_backend_is_attached(const struct cvmm_vhost_user_backend *backend);

/* End the connection, if there is one; what the device has begun is completed. Calls closed(). Context: as
 * destroy. */
CVMM_API void cvmm_vhost_user_backend_detach(struct cvmm_vhost_user_backend *backend);

/* What the back-end offers, for --print-capabilities and tests. Any thread. */
CVMM_API uint64_t cvmm_vhost_user_backend_features(const struct cvmm_vhost_user_backend *backend);
CVMM_API uint64_t
cvmm_vhost_user_backend_protocol_features(const struct cvmm_vhost_user_backend *backend);

/* ---- requests on the back-end channel ---------------------------------------------------------- */

/**
 * typedef cvmm_vhost_user_answer_fn - the front-end's answer to a request of the device
 * @ctx: as it was given
 * @error: 0; -EREMOTEIO if the front-end refused; -ECONNRESET if the connection ended first
 * @fd: CVMM_VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP: what was looked up, moved to the callee, or -1
 *
 * Context: the loop, never inside of the call that made the request.
 */
typedef void (*cvmm_vhost_user_answer_fn)(void *ctx, int error, int fd);

/*
 * The requests that a device can make. Each returns 0 if it was sent or will be; -ENOTCONN without a
 * back-end channel; -EOPNOTSUPP if the front-end did not negotiate its protocol feature; -EINVAL for
 * numbers that cannot be; -ENOBUFS if too many wait already; -ENOMEM. @answer may be NULL; without REPLY_ACK it is
 * called with 0 when the request was sent. Descriptors stay the caller's. Context: the loop.
 * Spec: vhost-user, "Back-end message types".
 */
CVMM_API int cvmm_vhost_user_backend_shared_object_add(struct cvmm_vhost_user_backend *backend,
						       const struct cvmm_vhost_user_uuid *uuid,
						       cvmm_vhost_user_answer_fn answer, void *ctx);
CVMM_API int cvmm_vhost_user_backend_shared_object_remove(struct cvmm_vhost_user_backend *backend,
							  const struct cvmm_vhost_user_uuid *uuid,
							  cvmm_vhost_user_answer_fn answer,
							  void *ctx);
CVMM_API int cvmm_vhost_user_backend_shared_object_lookup(struct cvmm_vhost_user_backend *backend,
							  const struct cvmm_vhost_user_uuid *uuid,
							  cvmm_vhost_user_answer_fn answer,
							  void *ctx);
CVMM_API int cvmm_vhost_user_backend_shmem_map(struct cvmm_vhost_user_backend *backend, int fd,
					       const struct cvmm_vhost_user_mmap *mmap,
					       cvmm_vhost_user_answer_fn answer, void *ctx);
CVMM_API int cvmm_vhost_user_backend_shmem_unmap(struct cvmm_vhost_user_backend *backend,
						 const struct cvmm_vhost_user_mmap *mmap,
						 cvmm_vhost_user_answer_fn answer, void *ctx);
/* @fd -1 takes the notifier of @queue back. */
CVMM_API int cvmm_vhost_user_backend_host_notifier(struct cvmm_vhost_user_backend *backend,
						   unsigned int queue, int fd, uint64_t offset,
						   uint64_t size_bytes,
						   cvmm_vhost_user_answer_fn answer, void *ctx);

/* A device core's host is this back-end, if it has one: for devices that use the calls above. NULL for
 * the host of another transport. */
CVMM_API struct cvmm_vhost_user_backend *
cvmm_vhost_user_backend_of(const struct cvmm_virtio_host *host);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_VHOST_USER_BACKEND_H */
