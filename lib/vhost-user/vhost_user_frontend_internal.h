/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_VHOST_USER_FRONTEND_INTERNAL_H
#define CVMM_VHOST_USER_FRONTEND_INTERNAL_H

#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>

#include <cvmm/vhost-user_frontend.h>

/* Requests that may wait for their answers at a time, each in a thread of its own. */
#define FRONTEND_CALLS_MAX 8U

/* Requests of the back-end that are handled before somebody looks at the clock again. */
#define FRONTEND_SERVE_MAX 16U

struct frontend_call;

/**
 * struct frontend_queue - what there is to know of a queue to set it up again
 * @queue: as it was started; valid while @started
 * @enabled: SET_VRING_ENABLE, which may change while it is started
 * @has_err_fd: the back-end has been given one
 * @endian_known: SET_VRING_ENDIAN was used, with @big
 */
struct frontend_queue {
	struct cvmm_vhost_user_queue queue;
	bool started;
	bool enabled;
	bool has_err_fd;
	bool endian_known;
	bool big;
};

/**
 * struct frontend_region - a region that the back-end has
 * @wire: as it was sent
 * @device: with @inode: the file, so that another one at the same place is told from it
 */
struct frontend_region {
	struct cvmm_vhost_user_mem_region wire;
	dev_t device;
	ino_t inode;
};

/**
 * struct frontend_channel - the connection that the back-end makes requests on
 * @conn: NULL without one
 * @source: in the loop, if there is one
 * @open: requests are read
 * @serving: a thread is at it: only that one uses @conn
 * @limit: of messages that the back-end can cause
 */
struct frontend_channel {
	struct cvmm_vhost_user_conn *conn;
	struct cvmm_source *source;
	bool open;
	bool serving;
	struct cvmm_log_limit limit;
};

/**
 * struct cvmm_vhost_user_frontend - a session
 * @lock: guards the connection, the calls, and the channel's @open and @serving
 * @first: of the calls that wait for an answer, in the order of their requests
 * @wakes: one for each call that waits
 * @wakes_used: a bit for each
 * @lost: 0, or what the connection was lost for, and @lost_message says why
 * @offered: the device's features, as GET_FEATURES told
 * @acked: what SET_FEATURES said last, if @features_set; read by the channel, too
 * @protocol: negotiated
 * @regions: what the back-end has, @region_count of them, in address order
 * @mem: the map that was given
 * @inflight: the region kept for a back-end that comes after this one, if @inflight_fd is not -1
 * @log: with @log_fd
 * @log_event: SET_LOG_FD
 * @postcopy_addrs: of @postcopy_count regions in the back-end
 * @shmem: if @shmem_known, guarded by @lock
 */
struct cvmm_vhost_user_frontend {
	struct cvmm_vhost_user_frontend_config config;
	struct cvmm_vhost_user_frontend_ops ops;
	uint64_t timeout_ns;

	pthread_mutex_t lock;
	struct cvmm_vhost_user_conn *conn;
	struct frontend_call *first;
	struct cvmm_notifier wakes[FRONTEND_CALLS_MAX];
	unsigned int wakes_used;
	int lost;
	char lost_message[CVMM_ERROR_MESSAGE_SIZE];
	struct frontend_channel channel;
	struct cvmm_vhost_user_msg *raw_answer;

	uint64_t offered;
	uint64_t acked;
	uint64_t protocol;
	unsigned int queue_count;
	bool negotiated;
	bool features_set;
	bool logging;
	bool status_known;
	uint8_t status;
	uint16_t mtu; /* 0: not set */

	struct cvmm_mem *mem;
	struct frontend_region *regions;
	size_t region_count;

	struct frontend_queue queues[CVMM_VHOST_USER_QUEUES_MAX];

	struct cvmm_vhost_user_inflight inflight;
	int inflight_fd;
	struct cvmm_vhost_user_log log;
	int log_fd;
	int log_event;

	bool postcopy_listens;
	bool postcopy_ack_due;
	uint64_t *postcopy_addrs;
	size_t postcopy_count;

	struct cvmm_vhost_user_shmem_config shmem;
	bool shmem_known;
};

/* ---- requests and answers: vhost_user_frontend_call.c ------------------------------------------- */

/**
 * struct frontend_request - what to send
 * @flags: CVMM_VHOST_USER_FLAG_NEED_REPLY, or nothing
 * @has_answer: wait for one
 */
struct frontend_request {
	uint32_t request;
	uint32_t flags;
	bool has_answer;
	const struct iovec *payload;
	size_t payload_count;
	const int *fds;
	size_t fd_count;
};

/*
 * Send, and wait for the answer, which is the request's but is not looked at otherwise. Return: 0, and
 * @answer is to be ended with cvmm_vhost_user_msg_fini(); or negative errno with a message.
 * Context: any thread; also inside of a handler of the channel.
 */
int frontend_exchange(struct cvmm_vhost_user_frontend *fe, const struct frontend_request *request,
		      struct cvmm_vhost_user_msg *answer, struct cvmm_error *err);

/* A request that has no answer of its own: acknowledged if that was negotiated. */
int frontend_tell(struct cvmm_vhost_user_frontend *fe, uint32_t request, const void *payload,
		  size_t len, const int *fds, size_t fd_count, struct cvmm_error *err);

/* A request that has: the answer has the form that the table says. */
int frontend_ask(struct cvmm_vhost_user_frontend *fe, uint32_t request, const void *payload,
		 size_t len, const int *fds, size_t fd_count, struct cvmm_vhost_user_msg *answer,
		 struct cvmm_error *err);

/* One whose answer is a number. */
int frontend_ask_u64(struct cvmm_vhost_user_frontend *fe, uint32_t request, uint64_t *ret_value,
		     struct cvmm_error *err);

/* Without acknowledgements: wait until the back-end has done all that it was told. */
int frontend_settle(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err);

/* The connection is of no use any more: all that wait, and all later calls, are told why. */
void frontend_lose(struct cvmm_vhost_user_frontend *fe, int code, const char *message);

/* The back-end did what it must not: the connection is lost. Return: -EPROTO with the message. */
CVMM_PRINTF(3, 4)
int frontend_violated(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err, const char *fmt,
		      ...);

/* Refuse a request whose protocol features were not negotiated. Return: 0 or -EOPNOTSUPP. */
int frontend_check_gate(const struct cvmm_vhost_user_frontend *fe, uint32_t request,
			struct cvmm_error *err);

static inline bool frontend_has(const struct cvmm_vhost_user_frontend *fe, uint64_t protocol)
{
	return (fe->protocol & protocol) == protocol;
}

/* Whether the driver acknowledged a feature of the device. */
static inline bool frontend_acked(const struct cvmm_vhost_user_frontend *fe, unsigned int bit)
{
	return __atomic_load_n(&fe->acked, __ATOMIC_RELAXED) >> bit & 1;
}

/* ---- the back-end channel: vhost_user_frontend_channel.c ----------------------------------------- */

/* Make the channel, and give the back-end its end. */
int frontend_channel_open(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err);

/* No request is handled any more when this returns. */
void frontend_channel_close(struct cvmm_vhost_user_frontend *fe);

/* Whether the calling thread should serve the channel while it waits. Context: holds the lock. */
bool frontend_channel_is_ours(const struct cvmm_vhost_user_frontend *fe);

/* What to poll the channel for. Context: as above. */
short frontend_channel_events(const struct cvmm_vhost_user_frontend *fe);

/* Handle what is there. Context: does not hold the lock. */
void frontend_channel_serve(struct cvmm_vhost_user_frontend *fe);

/* Wake all calls that wait. Context: holds the lock. */
void frontend_wake_all(struct cvmm_vhost_user_frontend *fe);

/* ---- parts of a session, in the order in which they are set up ----------------------------------- */

/* SET_FEATURES of what the driver acknowledged and what goes with it. */
int frontend_send_features(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err);

/* All of the memory that fe->mem has, to a back-end that has none. */
int frontend_send_mem(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err);

/* SET_LOG_BASE and SET_LOG_FD, of those that there are. */
int frontend_send_log(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err);

/* Whether the log, if there is one, covers all of a map. */
int frontend_check_log(const struct cvmm_vhost_user_frontend *fe, const struct cvmm_mem *mem,
		       struct cvmm_error *err);

/* Whether an area of a queue is in a map, and what the back-end calls it. */
int frontend_queue_check(const struct cvmm_vhost_user_frontend *fe, const struct cvmm_mem *mem,
			 const struct cvmm_vhost_user_queue *queue, struct cvmm_error *err);

/* SET_VRING_ADDR, with or without the flag that its used ring is logged. */
int frontend_queue_send_addr(struct cvmm_vhost_user_frontend *fe,
			     const struct cvmm_vhost_user_queue *queue, struct cvmm_error *err);

/* Size, base and addresses: what must be known before an inflight region. */
int frontend_queue_send_place(struct cvmm_vhost_user_frontend *fe,
			      const struct cvmm_vhost_user_queue *queue, struct cvmm_error *err);

/* Descriptors, and off it goes. */
int frontend_queue_send_start(struct cvmm_vhost_user_frontend *fe,
			      const struct cvmm_vhost_user_queue *queue, bool enable,
			      struct cvmm_error *err);

/* Where the queue is, as the used ring tells: what the driver has been given back. */
bool frontend_queue_used_index(const struct cvmm_vhost_user_frontend *fe,
			       const struct cvmm_vhost_user_queue *queue, uint16_t *ret_used);

/* SET_VRING_BASE, in the form that queues of this kind have. */
int frontend_queue_send_base(struct cvmm_vhost_user_frontend *fe, unsigned int index,
			     const struct cvmm_virtq_base *base, struct cvmm_error *err);

/* The queues that have no place yet get one, and then all of them the region, if there is one. */
int frontend_send_inflight(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err);

/*
 * Where a packed queue was when its back-end died, by its part of the inflight region. Return: 0; -ENOENT
 * without a region; -EINVAL with a message for one that says nothing.
 */
int frontend_inflight_packed_base(const struct cvmm_vhost_user_frontend *fe, unsigned int queue,
				  uint16_t size, struct cvmm_virtq_base *ret_base,
				  struct cvmm_error *err);

/* SET_MEM_TABLE while post-copy listens: the answer has the back-end's addresses. */
int frontend_postcopy_set_table(struct cvmm_vhost_user_frontend *fe, const void *payload,
				size_t len, const int *fds, size_t count, struct cvmm_error *err);

/* Everything of a session up to the device's features. */
int frontend_negotiate(struct cvmm_vhost_user_frontend *fe, uint64_t protocol_want,
		       struct cvmm_error *err);

/* Let go of the connection, and what belongs to it. */
void frontend_disconnect(struct cvmm_vhost_user_frontend *fe);

/* Begin with another one. */
int frontend_connect(struct cvmm_vhost_user_frontend *fe, int fd, struct cvmm_error *err);

#endif /* CVMM_VHOST_USER_FRONTEND_INTERNAL_H */
