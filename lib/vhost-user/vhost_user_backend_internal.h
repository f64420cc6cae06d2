/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What the files of the back-end share. All of it belongs to the loop. */
#ifndef CVMM_VHOST_USER_BACKEND_INTERNAL_H
#define CVMM_VHOST_USER_BACKEND_INTERNAL_H

#include <cvmm/mem_iommu.h>
#include <cvmm/mem_iotlb.h>
#include <cvmm/vhost-user_backend.h>

/* Requests that may wait for an answer of the front-end, or to be sent. */
#define VU_CALLS_MAX 64U

/* Messages that are answered before other sources of the loop get their turn. */
#define VU_MESSAGES_PER_ROUND 16U

/* ---- memory ---- */

/* A region as the front-end named it; what it maps to is in the memory map. */
struct vu_region {
	struct cvmm_vhost_user_mem_region wire;
	uint8_t *host; /* of its first byte; kept by the map */
};

/**
 * struct vu_mem - the front-end's memory
 * @regions: @count regions, in the order in which they came
 * @map: by guest-physical address, with the dirty log
 * @iommu_map: by I/O virtual address, while ACCESS_PLATFORM is negotiated
 * @iotlb: translates to guest-physical addresses; NULL until it is needed
 * @log: kept for all of the back-end's life; marks while enabled
 */
struct vu_mem {
	struct vu_region regions[CVMM_VHOST_USER_MEM_SLOTS_MAX];
	size_t count;
	struct cvmm_mem *map;
	struct cvmm_mem *iommu_map;
	struct cvmm_iotlb *iotlb;
	struct cvmm_dirty *log;
	bool log_set;
};

/* ---- queues ---- */

/**
 * struct vu_queue - a ring as the front-end set it
 * @addr: as it came; translated when the queue is run
 * @base: where it is, while it does not run
 * @started: between SET_VRING_KICK and GET_VRING_BASE
 * @running: the device has it
 * @failed: it could not be run, or the driver broke it; until it is stopped
 * @inflight: its part of the inflight region, or NULL
 */
struct vu_queue {
	struct cvmm_vhost_user_backend *backend;
	unsigned int index;
	uint16_t size;
	bool has_addr;
	struct cvmm_vhost_user_vring_addr addr;
	struct cvmm_virtq_base base;
	bool started;
	bool enabled;
	bool running;
	bool failed;
	bool broken;  /* by the driver: other memory does not help */
	bool stalled; /* a kick waits for translations */
	struct cvmm_notifier kick;
	struct cvmm_notifier call;
	struct cvmm_notifier err;
	struct cvmm_source *kick_source;
	bool polled; /* no descriptor: look, time and again */
	struct cvmm_source *poll_timer;
	unsigned int idle_rounds;
	void *inflight;
	uint64_t inflight_bytes;
};

/* ---- requests of ours ---- */

struct vu_call {
	uint32_t request;
	bool sent;
	size_t len_bytes;
	uint8_t payload[sizeof(struct cvmm_vhost_user_mmap)];
	int fd; /* to pass, or -1 */
	cvmm_vhost_user_answer_fn answer;
	void *ctx;
};

/* The back-end channel: requests go out in order, and are answered in order. */
struct vu_channel {
	struct cvmm_vhost_user_conn *conn; /* NULL without one */
	struct cvmm_source *source;
	struct vu_call calls[VU_CALLS_MAX];
	unsigned int first;
	unsigned int count;
};

/* ---- state of the device, on its way ---- */

enum vu_transfer_state {
	VU_TRANSFER_NONE,
	VU_TRANSFER_RUNNING,
	VU_TRANSFER_DONE,
	VU_TRANSFER_FAILED
};

struct vu_transfer {
	enum vu_transfer_state state;
	bool load;
	int fd;
	struct cvmm_source *source;
	uint8_t *bytes;
	size_t len;
	size_t done; /* bytes written */
	size_t room; /* allocated, while loading */
	bool check_waits;
};

/* ---- post-copy ---- */

struct vu_postcopy {
	int uffd;
	bool listening;
	bool wants_ack; /* regions were told, and may not be touched before the front-end says so */
};

struct cvmm_vhost_user_backend {
	struct cvmm_vhost_user_backend_config config;
	struct cvmm_virtio_host host;
	struct cvmm_log_limit log_limit;
	struct cvmm_virtio_config_space *space;
	uint64_t offered;
	uint64_t protocol_offered;
	unsigned int queue_count;

	/* Of the connection. */
	struct cvmm_vhost_user_conn *conn; /* NULL without one */
	struct cvmm_source *source;
	struct cvmm_source *timer; /* the peer does not read, or does not finish */
	unsigned int depth;	   /* in a callback: the connection must not be torn down */
	int end_reason;		   /* not 0: end when the callback returns */
	struct cvmm_error end_err;
	uint64_t features;
	uint64_t protocol;
	uint8_t status;
	bool needs_reset;
	bool config_changed; /* not yet told */
	bool device_started;
	struct cvmm_notifier log_notifier;
	void *inflight;
	uint64_t inflight_bytes;
	struct vu_mem mem;
	struct vu_channel channel;
	struct vu_transfer transfer;
	struct vu_postcopy postcopy;
	struct vu_queue queues[CVMM_VIRTIO_QUEUES_MAX];
	struct cvmm_virtq virtqs[CVMM_VIRTIO_QUEUES_MAX];
};

/* What a handler answers with; nothing is sent unless the row of the table, or NEED_REPLY, says so. */
struct vu_reply {
	const void *bytes;
	size_t len_bytes;
	int fd;	      /* passed, then closed */
	bool later;   /* the handler has seen to it */
	uint64_t u64; /* room for the most common one */
};

#define vu_log(b, level, ...) \
	cvmm_log_limited((b)->config.log, &(b)->log_limit, (level), __VA_ARGS__)

static inline bool vu_negotiated(const struct cvmm_vhost_user_backend *b, uint64_t protocol)
{
	return (b->protocol & protocol) == protocol;
}

static inline bool vu_has_feature(const struct cvmm_vhost_user_backend *b, unsigned int bit)
{
	return b->features >> bit & 1;
}

/* The reply that is a u64. */
static inline void vu_reply_u64(struct vu_reply *reply, uint64_t value)
{
	reply->u64 = value;
	reply->bytes = &reply->u64;
	reply->len_bytes = sizeof(reply->u64);
}

/* ---- vhost_user_backend.c ---- */

/* End the connection when the current callback has returned. */
void vu_end(struct cvmm_vhost_user_backend *b, int reason, const struct cvmm_error *err);
/* Around what must not lose the connection: handlers, and calls of the device. */
void vu_enter(struct cvmm_vhost_user_backend *b);
void vu_leave(struct cvmm_vhost_user_backend *b);
/* Answer a request whose handler said `later`. */
void vu_answer_later(struct cvmm_vhost_user_backend *b, uint32_t request, uint64_t value);
/* Handlers, in the order of the table. */
typedef int (*vu_handler)(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
			  struct vu_reply *reply, struct cvmm_error *err);
#define X(id, NAME, name, ...)                                                            \
	int vu_##name(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg, \
		      struct vu_reply *reply, struct cvmm_error *err);
CVMM_VHOST_USER_FRONTEND_REQUESTS(X)
#undef X

/* ---- vhost_user_backend_mem.c ---- */

int vu_mem_init(struct vu_mem *mem, struct cvmm_error *err);
void vu_mem_reset(struct vu_mem *mem);
void vu_mem_fini(struct vu_mem *mem);
/* Check a region by itself, and against those there are. */
int vu_mem_check_region(const struct vu_mem *mem, const struct cvmm_vhost_user_mem_region *wire,
			bool gpa_addresses, struct cvmm_error *err);
/*
 * The guest-physical address of a user address, and how many bytes follow it in its region.
 * Return: false if no region has it.
 */
bool vu_mem_find_user(const struct vu_mem *mem, uint64_t user_addr, uint64_t *ret_gpa,
		      uint64_t *ret_room);
/* The address of a ring, as the front-end has sent it, in the map that queues use. */
int vu_translate(const struct cvmm_vhost_user_backend *b, uint64_t addr, cvmm_gpa *ret_gpa);
/* The map that queues use; NULL if there is none yet. */
struct cvmm_mem *vu_queue_map(struct cvmm_vhost_user_backend *b);
/* Make, or drop, the map behind the IOMMU after features or memory have changed. */
int vu_mem_update_iommu(struct cvmm_vhost_user_backend *b, struct cvmm_error *err);

/* ---- vhost_user_backend_queue.c ---- */

void vu_queue_init(struct cvmm_vhost_user_backend *b, unsigned int index);
/* Run what can be run, for those who changed a condition. The first error is returned. */
int vu_queue_try_run(struct vu_queue *q, struct cvmm_error *err);
int vu_queues_try_run(struct cvmm_vhost_user_backend *b, struct cvmm_error *err);
/* Take a queue from the device; what it has begun is completed, or given up if @suspend. */
void vu_queue_halt(struct vu_queue *q, bool suspend);
void vu_queues_halt(struct cvmm_vhost_user_backend *b);
/* Memory was added: queues go on in the new map, those that cannot at once after a halt. */
void vu_queues_follow(struct cvmm_vhost_user_backend *b);
/* Back to where a new connection begins. */
void vu_queue_reset(struct vu_queue *q);
/* RESET_DEVICE: as above, but for the descriptors that a front-end sends only once. */
void vu_queue_reset_ring(struct vu_queue *q);
bool vu_suspended(const struct cvmm_vhost_user_backend *b);
/* Tell the front-end that a queue has failed. */
void vu_queue_fail(struct vu_queue *q);
/* Kick all queues that wait for translations. */
void vu_queues_unstall(struct cvmm_vhost_user_backend *b);
int vu_queue_index_check(const struct cvmm_vhost_user_backend *b, uint64_t index,
			 struct cvmm_error *err);
extern const struct cvmm_virtio_host_ops vu_host_ops;

/* ---- vhost_user_backend_channel.c ---- */

int vu_channel_set(struct cvmm_vhost_user_backend *b, int fd, struct cvmm_error *err);
void vu_channel_reset(struct cvmm_vhost_user_backend *b);
int vu_channel_call(struct cvmm_vhost_user_backend *b, uint32_t request, const void *payload,
		    size_t len_bytes, int fd, cvmm_vhost_user_answer_fn answer, void *ctx);
/* Tell of a change of the configuration space, now or when that is allowed. */
void vu_tell_config_changed(struct cvmm_vhost_user_backend *b);

/* ---- vhost_user_backend_state.c ---- */

void vu_transfer_reset(struct cvmm_vhost_user_backend *b);

/* ---- vhost_user_backend_inflight.c ---- */

/* Give each queue its part of the region, or none. */
void vu_inflight_reset(struct cvmm_vhost_user_backend *b);

/* ---- vhost_user_backend_postcopy*.c ---- */

/* A userfaultfd that can tell of missing pages, or negative errno. @device: of the configuration. */
int vu_postcopy_open(int device, struct cvmm_error *err);
/* Whether this host has it at all. */
bool vu_postcopy_possible(int device);
int vu_postcopy_register(struct cvmm_vhost_user_backend *b, const struct vu_region *region,
			 struct cvmm_error *err);
void vu_postcopy_unregister(struct cvmm_vhost_user_backend *b, const struct vu_region *region);
void vu_postcopy_reset(struct cvmm_vhost_user_backend *b);
/* A message that says that regions may be touched now. */
bool vu_postcopy_is_ack(const struct cvmm_vhost_user_backend *b,
			const struct cvmm_vhost_user_msg *msg);
int vu_postcopy_ack(struct cvmm_vhost_user_backend *b, struct cvmm_error *err);

#endif /* CVMM_VHOST_USER_BACKEND_INTERNAL_H */
