/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm vhost-user: the front-end, which uses a device that another process serves.
 *
 * Two layers. The lower one is a call for each request of the protocol: it sends, waits for the
 * answer where there is one, with a deadline, and checks what came. With REPLY_ACK negotiated every
 * request is acknowledged. The upper one is what a VMM needs: negotiate, share memory, start and stop queues,
 * and set all of it up again on a new connection after the back-end died.
 *
 * Calls block, up to the deadline of the configuration. Requests of the back-end on the other channel are
 * handled on a loop, which is another thread's than the one that blocks, or none: a back-end may be waiting
 * for an answer there before it gives one here. If both are the same thread, calls handle requests of the
 * back-end while they wait.
 *
 * What the back-end answers is hostile: sizes, numbers and descriptors are checked.
 *
 * Threads. Calls that change the session (negotiation, memory, features, queues, inflight, log, status, post-copy,
 * reconnection) are for one thread at a time. Requests that only ask or tell (get_*, set_config, get_status,
 * kick, iotlb, send_rarp, crypto sessions, check_device_state) may be made by any thread at any time, up
 * to 8 at once, and inside of the handlers of struct cvmm_vhost_user_frontend_ops: each gets its own answer.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_VHOST_USER_FRONTEND_H
#define CVMM_VHOST_USER_FRONTEND_H

#include <cvmm/event.h>
#include <cvmm/mem.h>
#include <cvmm/mem_iotlb.h>
#include <cvmm/vhost-user.h>
#include <cvmm/virtq.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CVMM_VHOST_USER_TIMEOUT_DEFAULT_MS 10000U

/* Regions of one SET_MEM_TABLE that all back-ends can do with. */
#define CVMM_VHOST_USER_TABLE_REGIONS_DEFAULT 8U

struct cvmm_vhost_user_frontend;

/**
 * struct cvmm_vhost_user_frontend_ops - requests of the back-end; all optional
 * @size: of this struct, for growth at its end
 * @iotlb: CVMM_IOTLB_MISS or CVMM_IOTLB_ACCESS_FAIL
 * @config_changed: the configuration space has changed: get it
 * @host_notifier: memory that is a queue's doorbell; @fd is moved, -1 takes it back
 * @vring_call: in-band: buffers were used
 * @vring_err: in-band: a queue has failed
 * @shared_object_add: the back-end exports an object
 * @shared_object_remove: and no longer does
 * @shared_object_lookup: Return: a descriptor that is moved to the caller, or negative errno
 * @shmem_map: map @fd, which stays the caller's, into a shared memory region
 * @shmem_unmap: and unmap it
 *
 * What is NULL is refused. Return: 0 or negative errno, which the back-end is told where it asked to be.
 * Context: the loop of the configuration, or a call that waits. One at a time: while a handler runs, and
 * makes requests of its own, the next request of the back-end waits.
 */
struct cvmm_vhost_user_frontend_ops {
	size_t size;
	int (*iotlb)(void *ctx, const struct cvmm_iotlb_op *op);
	int (*config_changed)(void *ctx);
	int (*host_notifier)(void *ctx, unsigned int queue, int fd, uint64_t offset,
			     uint64_t size_bytes);
	int (*vring_call)(void *ctx, unsigned int queue);
	int (*vring_err)(void *ctx, unsigned int queue);
	int (*shared_object_add)(void *ctx, const struct cvmm_vhost_user_uuid *uuid);
	int (*shared_object_remove)(void *ctx, const struct cvmm_vhost_user_uuid *uuid);
	int (*shared_object_lookup)(void *ctx, const struct cvmm_vhost_user_uuid *uuid);
	int (*shmem_map)(void *ctx, int fd, const struct cvmm_vhost_user_mmap *mmap);
	int (*shmem_unmap)(void *ctx, const struct cvmm_vhost_user_mmap *mmap);
};

/**
 * struct cvmm_vhost_user_frontend_config - what a front-end needs
 * @loop: where requests of the back-end are handled, or NULL: then only while calls wait
 * @ops: what to do about them; NULL refuses all
 * @ctx: for @ops
 * @protocol_want: protocol features to negotiate, of those that the back-end offers; XEN_MMAP never is, and
 *                 those that make no sense without others only with them
 * @timeout_ms: for each call, 0 for CVMM_VHOST_USER_TIMEOUT_DEFAULT_MS
 * @log: where messages go, or NULL
 * @table_regions: how many regions one SET_MEM_TABLE may have, up to CVMM_VHOST_USER_TABLE_REGIONS_MAX; 0 for
 *                 CVMM_VHOST_USER_TABLE_REGIONS_DEFAULT. Of no meaning with CONFIGURE_MEM_SLOTS.
 */
struct cvmm_vhost_user_frontend_config {
	struct cvmm_loop *loop;
	const struct cvmm_vhost_user_frontend_ops *ops;
	void *ctx;
	uint64_t protocol_want;
	unsigned int timeout_ms;
	const struct cvmm_log *log;
	unsigned int table_regions;
};

/**
 * cvmm_vhost_user_connect() - connect to the socket of a back-end
 * @path: of the socket; long paths are reached through their directory
 * @timeout_ms: how long to try again while there is no socket, or nobody listens
 *
 * Return: 0; -ETIMEDOUT and others with a message. Owner: the caller owns *ret_fd.
 */
CVMM_API int cvmm_vhost_user_connect(const char *path, unsigned int timeout_ms, int *ret_fd,
				     struct cvmm_error *err);

/**
 * cvmm_vhost_user_frontend_create() - begin a session on a connection
 * @fd: a connected socket; taken, also on failure
 *
 * Sends nothing: see cvmm_vhost_user_frontend_negotiate().
 *
 * Return: 0 or negative errno with a message. Context: owner of config.loop, if there is one.
 * Owner: pair with cvmm_vhost_user_frontend_destroy().
 */
CVMM_API int cvmm_vhost_user_frontend_create(const struct cvmm_vhost_user_frontend_config *config,
					     int fd, struct cvmm_vhost_user_frontend **ret_fe,
					     struct cvmm_error *err);
CVMM_API void cvmm_vhost_user_frontend_destroy(struct cvmm_vhost_user_frontend *fe);

/**
 * cvmm_vhost_user_frontend_reconnect() - go on with another connection
 * @fd: a connected socket; taken, also on failure
 *
 * For a back-end that died. Everything that was set before is set again, in the order that all known
 * back-ends can do with: features, status, memory, log, inflight region, queues that were started, from where they were;
 * then each gets a kick. The features offered must include those in use. The GPU's socket is not kept.
 *
 * Split queues go on from the index in their used ring; without an inflight region they can only if the rings
 * show that the back-end gave buffers back in the order in which it took them. Packed ones go on from what
 * the inflight region says; without one they can only if nothing was given back yet.
 *
 * Return: 0; -EPROTO with a message if the back-end has become another one; -EOPNOTSUPP with a message, and
 * @fd was not used, if nobody knows where a queue was: reset the device; or negative errno. After a failure the
 * session is as it was, without a connection, and another one can be tried.
 */
CVMM_API int cvmm_vhost_user_frontend_reconnect(struct cvmm_vhost_user_frontend *fe, int fd,
						struct cvmm_error *err);

/* The connection, to watch for a hang-up with no events asked for; -1 when it is lost. */
CVMM_API int cvmm_vhost_user_frontend_fd(const struct cvmm_vhost_user_frontend *fe);

/* Whether the connection is unusable: a call failed with -ECONNRESET, -EPROTO or -ETIMEDOUT. */
CVMM_API bool cvmm_vhost_user_frontend_is_lost(const struct cvmm_vhost_user_frontend *fe);

/* ---- what a VMM needs -------------------------------------------------------------------------- */

/**
 * cvmm_vhost_user_frontend_negotiate() - SET_OWNER, features, protocol features, back-end channel
 *
 * Nothing is acknowledged of the device's features: that is for cvmm_vhost_user_frontend_set_features().
 *
 * Return: 0 or negative errno with a message.
 */
CVMM_API int cvmm_vhost_user_frontend_negotiate(struct cvmm_vhost_user_frontend *fe,
						struct cvmm_error *err);

/* What the back-end offers, without CVMM_VHOST_USER_F_PROTOCOL_FEATURES; what was negotiated; and the number of
 * queues (1 if the back-end cannot say). Valid after negotiate. */
CVMM_API uint64_t cvmm_vhost_user_frontend_features(const struct cvmm_vhost_user_frontend *fe);
CVMM_API uint64_t cvmm_vhost_user_frontend_protocol(const struct cvmm_vhost_user_frontend *fe);
CVMM_API unsigned int
cvmm_vhost_user_frontend_queue_count(const struct cvmm_vhost_user_frontend *fe);

/**
 * cvmm_vhost_user_frontend_set_mem() - share a memory map
 * @mem: of regions that have descriptors (CVMM_MEM_MEMFD, _FILE, _HUGETLB); a reference is kept
 *
 * With CONFIGURE_MEM_SLOTS only what has changed since the last call is sent, otherwise all of it. When this
 * returns the back-end no longer has what is not in the map, and what it was sent before a failure is
 * known to the next call.
 *
 * Return: 0; -EINVAL with a message for regions without a descriptor, or if the rings of a queue that is
 * started are not in the map, or the log does not cover it; -E2BIG for more regions than a table has (see
 * config.table_regions), or than the back-end has slots; or negative errno.
 */
CVMM_API int cvmm_vhost_user_frontend_set_mem(struct cvmm_vhost_user_frontend *fe,
					      struct cvmm_mem *mem, struct cvmm_error *err);

/* SET_FEATURES: what the driver acknowledged. CVMM_VHOST_USER_F_PROTOCOL_FEATURES is added where it was offered. */
CVMM_API int cvmm_vhost_user_frontend_set_features(struct cvmm_vhost_user_frontend *fe,
						   uint64_t features, struct cvmm_error *err);

/**
 * struct cvmm_vhost_user_queue - a queue as it is given to the back-end
 * @index: its number
 * @config: size and addresses, as the driver set them; must be in the map given
 * @base: where it begins
 * @kick_fd: read by the back-end; -1: it polls, or in-band
 * @call_fd: written by the back-end; -1: nobody wants to know, or in-band. Back-ends made of libvhost-user
 *           die of the first interrupt then, if the driver has not asked for none
 * @err_fd: written by the back-end when the queue has failed; -1: none
 *
 * Descriptors stay the caller's, and must stay open while the queue is started (for reconnect).
 */
struct cvmm_vhost_user_queue {
	unsigned int index;
	struct cvmm_virtq_config config;
	struct cvmm_virtq_base base;
	int kick_fd;
	int call_fd;
	int err_fd;
};

/*
 * Set a queue up, start it, enable it and kick it. Where kick_fd is the end of a pipe that cannot be written to,
 * the kick is the caller's. Where the connection is lost in the middle of it nobody knows how far the back-end
 * came: the queue counts as started, and goes on after cvmm_vhost_user_frontend_reconnect(). Return: 0; -EINVAL
 * with a message for what a queue cannot be, or addresses that are not in the map; -EBUSY for one that is
 * started; or negative errno with a message.
 */
CVMM_API int cvmm_vhost_user_frontend_start_queue(struct cvmm_vhost_user_frontend *fe,
						  const struct cvmm_vhost_user_queue *queue,
						  struct cvmm_error *err);

/**
 * cvmm_vhost_user_frontend_stop_queue() - stop a queue, and disable it
 * @skip_drain: what is in flight stays in the inflight region; needs GET_VRING_BASE_SKIP_DRAIN
 * @ret_base: where it was; split: next_used is that of the used ring, where it can be read, or next_avail
 *
 * Stopped before it is disabled: back-ends throw away what is in a queue that runs and is disabled.
 *
 * Return: 0; -EINVAL for one that is not started; or negative errno with a message.
 */
CVMM_API int cvmm_vhost_user_frontend_stop_queue(struct cvmm_vhost_user_frontend *fe,
						 unsigned int index, bool skip_drain,
						 struct cvmm_virtq_base *ret_base,
						 struct cvmm_error *err);

/* ---- single requests --------------------------------------------------------------------------- */

/*
 * Each sends one request and waits for its end. Return: 0; -EREMOTEIO if the back-end refused;
 * -EOPNOTSUPP if the protocol feature was not negotiated, or the back-end cannot do it; -ETIMEDOUT, -ECONNRESET or -EPROTO: the connection is
 * lost; all with a message.
 */
CVMM_API int cvmm_vhost_user_frontend_get_features(struct cvmm_vhost_user_frontend *fe,
						   uint64_t *ret_features, struct cvmm_error *err);
/* Always read from the start of the space, as there are back-ends that answer so, whatever the offset. */
CVMM_API int cvmm_vhost_user_frontend_get_config(struct cvmm_vhost_user_frontend *fe,
						 uint32_t offset, void *dst, uint32_t len_bytes,
						 struct cvmm_error *err);
CVMM_API int cvmm_vhost_user_frontend_set_config(struct cvmm_vhost_user_frontend *fe,
						 uint32_t offset, const void *src,
						 uint32_t len_bytes, uint32_t flags,
						 struct cvmm_error *err);
CVMM_API int cvmm_vhost_user_frontend_set_status(struct cvmm_vhost_user_frontend *fe,
						 uint8_t status, struct cvmm_error *err);
CVMM_API int cvmm_vhost_user_frontend_get_status(struct cvmm_vhost_user_frontend *fe,
						 uint8_t *ret_status, struct cvmm_error *err);
CVMM_API int cvmm_vhost_user_frontend_reset_device(struct cvmm_vhost_user_frontend *fe,
						   struct cvmm_error *err);
CVMM_API int cvmm_vhost_user_frontend_set_enable(struct cvmm_vhost_user_frontend *fe,
						 unsigned int queue, bool enable,
						 struct cvmm_error *err);
/* In-band kick. */
CVMM_API int cvmm_vhost_user_frontend_kick(struct cvmm_vhost_user_frontend *fe, unsigned int queue,
					   struct cvmm_error *err);
/*
 * Get a region that the back-end made for queues of @queue_size, and set it; or set the one there was before. Kept
 * for reconnect. After the features, and before queues are started. A @queue_count of 0 lets go of it: for a
 * device that begins anew.
 */
CVMM_API int cvmm_vhost_user_frontend_init_inflight(struct cvmm_vhost_user_frontend *fe,
						    uint16_t queue_count, uint16_t queue_size,
						    struct cvmm_error *err);
/*
 * Forget what was in flight in a queue that is not started and begins anew, after a reset of this one queue.
 * Nothing to do without a region. Return: 0; -EBUSY if it is started; or negative errno with a message.
 */
CVMM_API int cvmm_vhost_user_frontend_clear_inflight(struct cvmm_vhost_user_frontend *fe,
						     unsigned int queue, struct cvmm_error *err);
/*
 * The log covers addresses from 0, a bit for each page, up to the end of memory; @fd stays the caller's. -1:
 * nothing is logged any more.
 */
CVMM_API int cvmm_vhost_user_frontend_set_log(struct cvmm_vhost_user_frontend *fe, int fd,
					      uint64_t offset, uint64_t size_bytes,
					      struct cvmm_error *err);
/*
 * Switch logging on or off: features with or without CVMM_VHOST_USER_F_LOG_ALL, and the flag of each queue. On
 * again needs no other log.
 */
CVMM_API int cvmm_vhost_user_frontend_set_logging(struct cvmm_vhost_user_frontend *fe, bool enable,
						  struct cvmm_error *err);
/* CVMM_IOTLB_UPDATE or CVMM_IOTLB_INVALIDATE, with user addresses (or GPAs, with GPA_ADDRESSES). */
CVMM_API int cvmm_vhost_user_frontend_iotlb(struct cvmm_vhost_user_frontend *fe,
					    const struct cvmm_iotlb_op *op, struct cvmm_error *err);
CVMM_API int cvmm_vhost_user_frontend_get_max_mem_slots(struct cvmm_vhost_user_frontend *fe,
							uint64_t *ret_slots,
							struct cvmm_error *err);
CVMM_API int
cvmm_vhost_user_frontend_get_shmem_config(struct cvmm_vhost_user_frontend *fe,
					  struct cvmm_vhost_user_shmem_config *ret_config,
					  struct cvmm_error *err);
CVMM_API int cvmm_vhost_user_frontend_get_shared_object(struct cvmm_vhost_user_frontend *fe,
							const struct cvmm_vhost_user_uuid *uuid,
							int *ret_fd, struct cvmm_error *err);
CVMM_API int cvmm_vhost_user_frontend_set_gpu_socket(struct cvmm_vhost_user_frontend *fe, int fd,
						     struct cvmm_error *err);
CVMM_API int cvmm_vhost_user_frontend_set_log_fd(struct cvmm_vhost_user_frontend *fe, int fd,
						 struct cvmm_error *err);
CVMM_API int cvmm_vhost_user_frontend_send_rarp(struct cvmm_vhost_user_frontend *fe,
						const uint8_t mac[6], struct cvmm_error *err);
CVMM_API int cvmm_vhost_user_frontend_set_mtu(struct cvmm_vhost_user_frontend *fe, uint16_t mtu,
					      struct cvmm_error *err);
CVMM_API int cvmm_vhost_user_frontend_set_vring_endian(struct cvmm_vhost_user_frontend *fe,
						       unsigned int queue, bool big,
						       struct cvmm_error *err);
/* @bytes are the request and become the answer, of the same size. */
CVMM_API int cvmm_vhost_user_frontend_create_crypto_session(struct cvmm_vhost_user_frontend *fe,
							    void *bytes, uint32_t len_bytes,
							    struct cvmm_error *err);
CVMM_API int cvmm_vhost_user_frontend_close_crypto_session(struct cvmm_vhost_user_frontend *fe,
							   uint64_t session,
							   struct cvmm_error *err);

/**
 * cvmm_vhost_user_frontend_transfer() - SET_DEVICE_STATE_FD, for a device all of whose queues are stopped
 * @fd: the back-end's end of a pipe; stays the caller's, who closes it now
 * @ret_fd: a descriptor that the back-end prefers, owned by the caller, or -1: use the pipe
 *
 * Read or write until the end, and then cvmm_vhost_user_frontend_check_device_state().
 */
CVMM_API int cvmm_vhost_user_frontend_transfer(struct cvmm_vhost_user_frontend *fe,
					       enum cvmm_vhost_user_transfer_direction direction,
					       int fd, int *ret_fd, struct cvmm_error *err);
CVMM_API int cvmm_vhost_user_frontend_check_device_state(struct cvmm_vhost_user_frontend *fe,
							 struct cvmm_error *err);

/*
 * Post-copy: advise gives a userfaultfd of the back-end, owned by the caller; listen; the memory given
 * after that (set_mem) comes back with the back-end's addresses, @i-th region by address order, which
 * the caller needs to serve the faults; end. The acknowledgement that lets the back-end go on after set_mem
 * is sent by cvmm_vhost_user_frontend_postcopy_ack().
 */
CVMM_API int cvmm_vhost_user_frontend_postcopy_advise(struct cvmm_vhost_user_frontend *fe,
						      int *ret_uffd, struct cvmm_error *err);
CVMM_API int cvmm_vhost_user_frontend_postcopy_listen(struct cvmm_vhost_user_frontend *fe,
						      struct cvmm_error *err);
CVMM_API int cvmm_vhost_user_frontend_postcopy_region(const struct cvmm_vhost_user_frontend *fe,
						      size_t i, uint64_t *ret_backend_addr);
CVMM_API int cvmm_vhost_user_frontend_postcopy_ack(struct cvmm_vhost_user_frontend *fe,
						   struct cvmm_error *err);
CVMM_API int cvmm_vhost_user_frontend_postcopy_end(struct cvmm_vhost_user_frontend *fe,
						   struct cvmm_error *err);

/**
 * cvmm_vhost_user_frontend_raw() - send any request, as it is, and wait for an answer if there is one
 * @request: number, known or not
 * @need_reply: set the flag; without it an answer is waited for only where the table says so
 * @payload: @len_bytes of it
 * @ret_msg: the answer, valid until the next call; NULL where there is none
 *
 * For conformance tests and measurements. The session takes no notice of what it changes; negotiated features
 * are not looked at, nor is the answer's form.
 *
 * Return: as the calls above; -EREMOTEIO only for what is answered because @need_reply says so.
 */
CVMM_API int cvmm_vhost_user_frontend_raw(struct cvmm_vhost_user_frontend *fe, uint32_t request,
					  bool need_reply, const void *payload, size_t len_bytes,
					  const int *fds, size_t fd_count,
					  struct cvmm_vhost_user_msg **ret_msg,
					  struct cvmm_error *err);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_VHOST_USER_FRONTEND_H */
