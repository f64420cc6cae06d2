// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The defects that the suite is tested with. Each must be found by every test that its row names. */
#include <fcntl.h>
#include <sys/stat.h>

#include "test_backend.h"

#define REQUEST(name) .request = CVMM_VHOST_USER_##name
#define F(bit) (UINT64_C(1) << (bit))

/* ---- when ------------------------------------------------------------------------------------------------- */

static uint64_t word(const struct cvmm_vhost_user_msg *msg)
{
	return msg->size >= sizeof(uint64_t) ? msg->payload[0] : 0;
}

static bool is_empty_table(const struct cvmm_vhost_user_msg *msg)
{
	return (uint32_t)word(msg) == 0;
}

static bool has_bit_8(const struct cvmm_vhost_user_msg *msg)
{
	return word(msg) & CVMM_VHOST_USER_VRING_NO_FD;
}

static bool has_fd(const struct cvmm_vhost_user_msg *msg)
{
	return msg->fd_count > 0;
}

static bool has_no_fd(const struct cvmm_vhost_user_msg *msg)
{
	return msg->fd_count == 0;
}

static bool has_a_pipe(const struct cvmm_vhost_user_msg *msg)
{
	struct stat st;

	return msg->fd_count && !fstat(msg->fds[0], &st) && S_ISFIFO(st.st_mode);
}

static bool is_beyond_queues(const struct cvmm_vhost_user_msg *msg)
{
	return (uint32_t)word(msg) >= 3;
}

static bool is_large(const struct cvmm_vhost_user_msg *msg)
{
	return word(msg) >> 32 > 100;
}

static bool is_unknown(const struct cvmm_vhost_user_msg *msg)
{
	return !cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL, msg->request);
}

static bool enables(const struct cvmm_vhost_user_msg *msg)
{
	return word(msg) >> 32;
}

static bool is_inband_alone(const struct cvmm_vhost_user_msg *msg)
{
	return word(msg) == CVMM_VHOST_USER_PROTOCOL(INBAND_NOTIFICATIONS);
}

static bool asks_for_256(const struct cvmm_vhost_user_msg *msg)
{
	return word(msg) >> 32 == 256;
}

static bool asks_for_3(const struct cvmm_vhost_user_msg *msg)
{
	return word(msg) >> 32 == 3;
}

static bool asks_far_away(const struct cvmm_vhost_user_msg *msg)
{
	return (uint32_t)word(msg) >= 4095;
}

static bool is_no_config(const struct cvmm_vhost_user_msg *msg)
{
	return word(msg) >> 32 != msg->size - sizeof(struct cvmm_vhost_user_config);
}

static bool logs_nothing(const struct cvmm_vhost_user_msg *msg)
{
	return !(word(msg) & F(CVMM_VHOST_USER_F_LOG_ALL));
}

static bool is_for_nobody(const struct cvmm_vhost_user_msg *msg)
{
	const struct cvmm_vhost_user_inflight *inflight = (const void *)msg->payload;

	return inflight->queue_count == 0;
}

/* ---- the table -------------------------------------------------------------------------------------------- */

#define LOG_ALL F(CVMM_VHOST_USER_F_LOG_ALL)
#define BIT_30 F(CVMM_VHOST_USER_F_PROTOCOL_FEATURES)
#define PACKED F(34)
#define INDIRECT F(28)

/* Tests of requests that a back-end refuses. */
#define REFUSALS                                                                           \
	"negotiation/protocol-unknown,negotiation/protocol-not-offered,"                   \
	"negotiation/features-not-offered,negotiation/skip-drain-alone,negotiation/gates," \
	"framing/short-payload,framing/long-payload,framing/unknown-request"
#define MEMORY_REFUSALS                                                                    \
	"memory/size-zero,memory/wraps,memory/overlap-*,memory/wrong-*,memory/short-file," \
	"memory/not-mappable,memory/read-only-file,slots/one-too-many,slots/rem-unknown,"  \
	"slots/rem-other,slots/bad-region,slots/overlap-*,slots/wrong-fds"
#define VRING_REFUSALS                                                                              \
	"vrings/index,vrings/addr-index,vrings/fd-index,vrings/fd-index-above-255,vrings/num-zero," \
	"vrings/num-power-of-two,vrings/num-too-large,vrings/addr-outside,"                         \
	"vrings/addr-misaligned,vrings/bit-8-and-fd,"                                               \
	"vrings/no-bit-8-no-fd,vrings/two-fds,vrings/odd-enable"
#define OTHER_REFUSALS                                                                         \
	"config/unknown-flags,config/set-beyond-end,inflight/bad-set,inflight/set-without-fd," \
	"channel/without-fd,channel/two-fds,channel/no-socket,reset/status-too-large"

/* Tests that need requests to be done. */
#define DATA                                                                                 \
	"data/one,data/many,data/batches,data/scattered,data/indirect*,data/event-idx,"      \
	"data/in-order,data/packed*,data/gpa-addresses,data/iommu,memory/last-of-eight,"     \
	"memory/across-regions,slots/used,vrings/*-at-end,vrings/polling,vrings/num-packed," \
	"vrings/no-kick-at-start,vrings/base-wraps,reset/status-works,reset/reconnect,"      \
	"channel/works,channel/closed,state/goes-on,devices/blk-write,devices/blk-flush,"    \
	"devices/blk-get-id,devices/blk-unknown,devices/blk-beyond,devices/blk-part"
#define HOSTILE                                                                                  \
	"hostile/avail*,hostile/head*,hostile/next*,hostile/loop*,hostile/same*,hostile/write*," \
	"hostile/read*,hostile/into*,hostile/past*,hostile/address*,hostile/huge*,hostile/no-*," \
	"hostile/unknown*,hostile/nothing*,hostile/one-byte,hostile/wrong*,hostile/too*,"        \
	"hostile/table-[hiolw]*,hostile/table-next*,hostile/rewritten,hostile/packed*,deadly/rings*,deadly/buffers*,deadly/log*"

const struct defect defects[] = {
	/* Refusals. */
	{ REFUSALS "," MEMORY_REFUSALS "," VRING_REFUSALS "," OTHER_REFUSALS,
	  .flags = D_ACK_ALL | D_STAY_OPEN },
	{ "vrings/addr-crosses-end", REQUEST(SET_VRING_ERR), .on_request = R_SWALLOW,
	  .flags = D_ACK_ALL | D_STAY_OPEN },
	{ "devices/net-bad-mtu", .device = "net", .flags = D_ACK_ALL },
	{ "negotiation/nack,negotiation/nack-lives", .flags = D_HANG_UP_ON_NACK },
	{ "memory/refused-keeps-memory", .flags = D_STOP_ON_NACK },
	{ "negotiation/inband-alone", REQUEST(SET_PROTOCOL_FEATURES), .when = is_inband_alone,
	  .on_request = R_SWALLOW },
	{ "data/bad-iotlb", REQUEST(IOTLB_MSG), .on_request = R_SWALLOW },
	{ "config/read-only-refused", REQUEST(SET_CONFIG), .on_request = R_SWALLOW },

	/* Answers. */
	{ "negotiation/get-features", REQUEST(GET_FEATURES), .on_answer = A_FLAGS,
	  .value = CVMM_VHOST_USER_FLAG_NEED_REPLY },
	{ "negotiation/features-stay", REQUEST(GET_FEATURES), .nth = 2, .on_answer = A_XOR,
	  .value = 1 },
	{ "negotiation/protocol-before-features", REQUEST(GET_PROTOCOL_FEATURES),
	  .on_request = R_HANG_UP },
	{ "negotiation/protocol-known", .offer = F(40) },
	{ "negotiation/ack", REQUEST(SET_FEATURES), .on_request = R_NACK },
	{ "negotiation/no-ack-unless-asked", REQUEST(SET_FEATURES), .flags = D_UNASKED_ACKS },
	{ "negotiation/features-again", REQUEST(SET_FEATURES), .nth = 4, .on_request = R_HANG_UP },
	{ "negotiation/queue-num", REQUEST(GET_QUEUE_NUM), .on_answer = A_SAY, .value = 0 },

	/* Streams. */
	{ "framing/header-in-*,framing/payload-*,framing/fds-on-first-byte,"
	  "framing/next-header-along",
	  .flags = D_WHOLE_MESSAGES },
	{ "framing/several-at-once", .flags = D_FORGETFUL },
	{ "framing/fds-back-to-back", REQUEST(SET_VRING_ERR), .nth = 3, .on_request = R_HANG_UP },
	{ "framing/flood", REQUEST(GET_FEATURES), .nth = 100, .on_request = R_DEAF },
	{ "framing/half-closed", .flags = D_HALF_CLOSE_IS_END },
	{ "framing/bad-version,framing/unknown-flags,framing/reply-flag,framing/oversize",
	  .flags = D_TOLERANT },
	{ "framing/truncated-*", .flags = D_DIE_IN_MESSAGE },
	{ "framing/closed-at-once,framing/closed-unread", .flags = D_DIE_AT_END },
	{ "framing/stray-fds,framing/stray-fd-early,framing/fds-with-payload,"
	  "framing/close-on-exec,slots/rem-fd-closed,reset/descriptors,reset/leaks,"
	  "channel/replaced,channel/ends",
	  .flags = D_KEEP_FDS },
	{ "framing/too-many-fds", .flags = D_DEAF_ON_FDS },
	{ "framing/unknown-request-unasked", .when = is_unknown, .on_request = R_DIE },

	/* Memory. */
	{ "memory/one-to-eight,memory/unsorted,memory/one-file,memory/odd-offset",
	  REQUEST(SET_MEM_TABLE), .on_request = R_NACK },
	{ "memory/replaced,slots/unmapped,reset/memory", .flags = D_KEEP_MAPS },
	{ "memory/other-files", REQUEST(SET_MEM_TABLE), .nth = 2, .on_request = R_SWALLOW },
	{ "memory/changed-while-running", REQUEST(SET_MEM_TABLE), .nth = 2,
	  .on_request = R_HANG_UP },
	{ "memory/empty", REQUEST(SET_MEM_TABLE), .when = is_empty_table, .on_request = R_DIE },
	{ "slots/max-slots", REQUEST(GET_MAX_MEM_SLOTS), .on_answer = A_SAY, .value = 0 },
	{ "slots/fill,slots/again", REQUEST(ADD_MEM_REG), .nth = 2, .on_request = R_NACK },
	{ "slots/while-running", REQUEST(ADD_MEM_REG), .on_request = R_NACK },
	{ "slots/rem-offset", REQUEST(REM_MEM_REG), .on_request = R_NACK },
	{ "slots/rem-fd-tolerated", REQUEST(REM_MEM_REG), .when = has_fd, .on_request = R_HANG_UP },
	{ "slots/removed-under-queue", REQUEST(REM_MEM_REG), .on_request = R_DIE },

	/* Queues. */
	{ "vrings/get-base-index", REQUEST(GET_VRING_BASE), .when = is_beyond_queues,
	  .on_request = R_DIE },
	{ "vrings/num-usual,vrings/num-1024", REQUEST(SET_VRING_NUM), .when = is_large,
	  .on_request = R_NACK },
	{ "vrings/addr-without-memory", REQUEST(SET_VRING_ADDR), .on_request = R_DIE },
	{ "vrings/err-without-fd", REQUEST(SET_VRING_ERR), .when = has_bit_8,
	  .on_request = R_NACK },
	{ "vrings/kick-without-fd", REQUEST(SET_VRING_KICK), .when = has_bit_8,
	  .on_request = R_NACK },
	{ "vrings/polling", REQUEST(SET_VRING_KICK), .when = has_bit_8, .on_request = R_SWALLOW },
	{ "vrings/call-without-fd", REQUEST(SET_VRING_CALL), .when = has_bit_8,
	  .on_request = R_NACK },
	{ "vrings/pipes", REQUEST(SET_VRING_KICK), .when = has_a_pipe, .on_request = R_NACK },
	{ "vrings/kick-replaced,vrings/restart,vrings/restart-packed,vrings/restart-finds",
	  REQUEST(SET_VRING_KICK), .nth = 2, .on_request = R_SWALLOW },
	{ "vrings/call-replaced", REQUEST(SET_VRING_CALL), .nth = 2, .on_request = R_SWALLOW },
	{ "vrings/kick-before-enable,vrings/enable-before-kick", REQUEST(SET_VRING_ENABLE),
	  .on_request = R_SWALLOW },
	{ "vrings/enable-again", REQUEST(SET_VRING_ENABLE), .nth = 2, .when = enables,
	  .on_request = R_SWALLOW },
	{ "vrings/disabled-at-first,vrings/disable", .flags = D_FORCE_ENABLE },
	{ "vrings/without-bit-30", REQUEST(SET_FEATURES), .on_request = R_SET_BITS,
	  .value = BIT_30 },
	{ "vrings/stop,vrings/stop-packed,vrings/stop-drains,vrings/stop-twice,vrings/idle-base,"
	  "vrings/base-wraps",
	  REQUEST(GET_VRING_BASE), .on_answer = A_GROW },
	{ "vrings/skip-drain", REQUEST(GET_VRING_BASE_SKIP_DRAIN), .on_answer = A_GROW },
	{ "vrings/enabled-survives-stop", .flags = D_DISABLE_ON_STOP },
	{ "vrings/stop-one", .device = "net", REQUEST(GET_VRING_BASE), .on_request = R_HANG_UP },

	/* Requests. */
	{ DATA, REQUEST(SET_VRING_KICK), .on_request = R_SWALLOW },
	{ "data/one,data/many,data/scattered", .flags = D_NO_KICK },
	{ "data/call,data/event-idx-call,data/packed-call,data/packed-event-idx",
	  REQUEST(SET_VRING_CALL), .on_request = R_SWAP_FDS },
	{ "data/no-call,data/event-idx-no-call,data/packed-no-call", .flags = D_SPURIOUS_CALLS },
	{ "data/used-length", .device = "net", .flags = D_ODD_LENGTH },
	{ "data/beside", .flags = D_SCRIBBLE },
	{ "data/inband", REQUEST(VRING_KICK), .on_request = R_SWALLOW },
	{ "devices/rng-differs", .device = "rng", .flags = D_BROKEN_DEVICE },
	{ "devices/rng-sizes", .device = "rng", .flags = D_NO_KICK },
	{ "data/one,devices/blk-[bfgpuw]*", .flags = D_BROKEN_DEVICE },
	{ "devices/blk-read-only", .device = "blk-ro", .flags = D_BROKEN_DEVICE },
	{ "data/one,devices/fs-unknown", .device = "fs", .flags = D_BROKEN_DEVICE },
	{ "devices/vsock-refused", .device = "vsock", .flags = D_BROKEN_DEVICE },
	{ "devices/net-mtu", .device = "net", REQUEST(NET_SET_MTU), .on_request = R_NACK },
	{ "devices/net-rarp", .device = "net", REQUEST(SEND_RARP), .on_request = R_NACK },

	/* Hostile rings. */
	{ HOSTILE, .flags = D_DIE_ON_KICK },
	{ "hostile/table-not-negotiated", REQUEST(SET_FEATURES), .on_request = R_SET_BITS,
	  .value = INDIRECT },
	{ "hostile/err", REQUEST(SET_VRING_ERR), .on_request = R_SWALLOW },
	{ "hostile/connection-lives", .flags = D_HANG_UP_ON_ERR },
	{ "hostile/starts-again", REQUEST(SET_VRING_KICK), .nth = 2, .on_request = R_SWALLOW },
	{ "deadly/short-file", REQUEST(SET_MEM_TABLE), .on_request = R_DIE },

	/* Configuration space. */
	{ "config/sizes", REQUEST(GET_CONFIG), .when = asks_for_3, .on_answer = A_HANG_UP },
	{ "config/offsets", REQUEST(GET_CONFIG), .on_request = R_OFFSET_0 },
	{ "config/256", REQUEST(GET_CONFIG), .when = asks_for_256, .on_request = R_HANG_UP },
	{ "config/beyond-end", REQUEST(GET_CONFIG), .when = asks_far_away,
	  .on_request = R_HANG_UP },
	{ "config/wraps,config/read-only-stays", REQUEST(GET_CONFIG), .on_answer = A_CONTENT },
	{ "config/size-differs", REQUEST(GET_CONFIG), .when = is_no_config, .on_request = R_DEAF },
	{ "config/live-migration", REQUEST(SET_CONFIG), .on_request = R_NACK },

	/* The log. */
	{ "log/base", REQUEST(SET_LOG_BASE), .on_answer = A_DROP },
	{ "log/writes,log/used-ring,log/used-ring-elsewhere,log/offset,log/resumes,log/replaced,"
	  "log/new-table,log/new-slot",
	  REQUEST(SET_LOG_BASE), .on_request = R_SWAP_FDS },
	{ "log/stops,log/not-yet", REQUEST(SET_FEATURES), .when = logs_nothing,
	  .on_request = R_SET_BITS, .value = LOG_ALL },
	{ "log/resumes", REQUEST(SET_FEATURES), .nth = 3, .on_request = R_CLEAR_BITS,
	  .value = LOG_ALL },
	{ "log/fd", REQUEST(SET_LOG_FD), .on_request = R_NACK },
	{ "log/fd-signalled", REQUEST(SET_LOG_FD), .on_request = R_SWALLOW },
	{ "log/bad", REQUEST(SET_LOG_BASE), .when = has_no_fd, .on_request = R_DEAF },
	{ "log/small", REQUEST(SET_LOG_BASE), .on_request = R_DIE },

	/* Inflight regions. */
	{ "inflight/get,inflight/get-packed", REQUEST(GET_INFLIGHT_FD), .on_answer = A_STRIP_FDS },
	{ "inflight/set", REQUEST(SET_INFLIGHT_FD), .on_request = R_NACK },
	{ "inflight/split,inflight/packed,inflight/resubmits", REQUEST(SET_INFLIGHT_FD),
	  .on_request = R_SWALLOW },
	{ "inflight/odd-get", REQUEST(GET_INFLIGHT_FD), .when = is_for_nobody,
	  .on_request = R_DEAF },
	{ "inflight/hostile,inflight/rewritten", REQUEST(SET_INFLIGHT_FD), .on_request = R_DIE },

	/* Resets and connections. */
	{ "reset/owner-twice", REQUEST(SET_OWNER), .nth = 2, .on_request = R_HANG_UP },
	{ "reset/reset-owner,reset/reset-owner-keeps", REQUEST(RESET_OWNER),
	  .on_request = R_HANG_UP },
	{ "reset/reset-disables,reset/reset-anew", REQUEST(RESET_DEVICE), .on_request = R_SWALLOW },
	{ "reset/reset-idle", REQUEST(RESET_DEVICE), .nth = 2, .on_request = R_HANG_UP },
	{ "reset/stopped-anew", REQUEST(SET_VRING_BASE), .nth = 2, .on_request = R_SWALLOW },
	{ "reset/status-kept,reset/status-zero,reset/status-first,reset/status-works",
	  REQUEST(GET_STATUS), .on_answer = A_SAY, .value = 0x40 },
	{ "reset/reconnect-forgets", REQUEST(SET_FEATURES), .on_request = R_SET_BITS,
	  .value = PACKED },
	{ "reset/old-queues", .flags = D_LINGER },
	{ "reset/close-with-requests", .flags = D_DIE_AT_END },
	{ "reset/second", .flags = D_ONE_FRONT_END },

	/* The channel. */
	{ "channel/accepted", REQUEST(SET_BACKEND_REQ_FD), .on_request = R_NACK },
	{ "channel/suspended", .flags = D_CHATTY },
	{ "channel/garbage", REQUEST(SET_BACKEND_REQ_FD), .on_request = R_DIE },

	/* State. */
	{ "state/save,state/load", REQUEST(SET_DEVICE_STATE_FD), .on_answer = A_SAY,
	  .value = 0x101 },
	{ "state/save,state/load", REQUEST(CHECK_DEVICE_STATE), .on_answer = A_SAY, .value = 1 },
	{ "state/garbage,state/truncated", REQUEST(CHECK_DEVICE_STATE), .on_answer = A_SAY,
	  .value = 0 },
	{ "state/parameters,state/while-running", REQUEST(SET_DEVICE_STATE_FD), .on_answer = A_SAY,
	  .value = 0x100 },
	{ "state/huge,state/nobody-reads", REQUEST(CHECK_DEVICE_STATE), .on_request = R_DIE },
	{ "state/check-alone", REQUEST(CHECK_DEVICE_STATE), .on_request = R_DEAF },

	/* Post-copy. */
	{ "postcopy/advise", REQUEST(POSTCOPY_ADVISE), .on_answer = A_STRIP_FDS },
	{ "postcopy/listen", REQUEST(POSTCOPY_END), .on_answer = A_SAY, .value = 1 },
	{ "postcopy/end-alone", REQUEST(POSTCOPY_END), .on_request = R_DEAF },
	{ "postcopy/listen-alone", REQUEST(POSTCOPY_LISTEN), .on_request = R_DIE },

	/* The rest. */
	{ "extras/shmem", REQUEST(GET_SHMEM_CONFIG), .on_request = R_OBJECT, .value = 7 },
	{ "extras/shmem-bit", REQUEST(GET_SHMEM_CONFIG), .on_request = R_OBJECT, .value = 1,
	  .flags = D_SHMEM_IS_21 },
	{ "extras/object,extras/odd-uuids", REQUEST(GET_SHARED_OBJECT), .on_request = R_DEAF },
};

const unsigned int defect_count = CVMM_ARRAY_SIZE(defects);
