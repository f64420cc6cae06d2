/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm vhost-user: the messages of the protocol, in one table, and the connection that carries them.
 *
 * Two more headers build on this one: <cvmm/vhost-user_backend.h> serves a device core, and
 * <cvmm/vhost-user_frontend.h> uses a device that somebody else serves.
 *
 * A vhost-user device has up to two connections. The front-end makes requests on the first one and the
 * back-end answers. On the second one, the back-end channel, it is the other way round. Each request is
 * a row of CVMM_VHOST_USER_FRONTEND_REQUESTS() or CVMM_VHOST_USER_BACKEND_REQUESTS(): from these rows
 * come the enumerations, the checks of what arrives, the dispatch of handlers, the fuzzers, the listing
 * of `cvmm-drive list` and docs/vhost-user.md.
 *
 * All numbers are in the byte order of the machine. Everything that a peer sends is hostile.
 *
 * Spec: QEMU, docs/interop/vhost-user.rst, with request 45 and protocol features up to 23.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_VHOST_USER_H
#define CVMM_VHOST_USER_H

#include <cvmm/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- limits ------------------------------------------------------------------------------------ */

/* What the kernel passes with one message (SCM_MAX_FD of Linux). */
#define CVMM_VHOST_USER_FDS_MAX 253U

/* Longest payload that either side may send; longer ones end the connection. */
#define CVMM_VHOST_USER_PAYLOAD_MAX 16384U

/* Regions of one SET_MEM_TABLE: as many as fds fit. QEMU sends up to 8, others up to 32. */
#define CVMM_VHOST_USER_TABLE_REGIONS_MAX CVMM_VHOST_USER_FDS_MAX

/* Slots for ADD_MEM_REG: what KVM on x86 gives QEMU. */
#define CVMM_VHOST_USER_MEM_SLOTS_MAX 509U

/* A queue's number travels in 8 bits with its descriptors. */
#define CVMM_VHOST_USER_QUEUES_MAX 256U

/* Descriptors that a back-end may send with one message (BACKEND_SEND_FD). */
#define CVMM_VHOST_USER_BACKEND_FDS_MAX 8U

#define CVMM_VHOST_USER_LOG_PAGE 4096U

/* ---- features ---------------------------------------------------------------------------------- */

/* Feature bits of the vhost world that no driver ever sees. */
#define CVMM_VHOST_USER_F_LOG_ALL 26
#define CVMM_VHOST_USER_F_PROTOCOL_FEATURES 30

/* Protocol features: X(bit, name). */
#define CVMM_VHOST_USER_PROTOCOL_FEATURES(X) \
	X(0, MQ)                             \
	X(1, LOG_SHMFD)                      \
	X(2, RARP)                           \
	X(3, REPLY_ACK)                      \
	X(4, MTU)                            \
	X(5, BACKEND_REQ)                    \
	X(6, CROSS_ENDIAN)                   \
	X(7, CRYPTO_SESSION)                 \
	X(8, PAGEFAULT)                      \
	X(9, CONFIG)                         \
	X(10, BACKEND_SEND_FD)               \
	X(11, HOST_NOTIFIER)                 \
	X(12, INFLIGHT_SHMFD)                \
	X(13, RESET_DEVICE)                  \
	X(14, INBAND_NOTIFICATIONS)          \
	X(15, CONFIGURE_MEM_SLOTS)           \
	X(16, STATUS)                        \
	X(17, XEN_MMAP)                      \
	X(18, SHARED_OBJECT)                 \
	X(19, DEVICE_STATE)                  \
	X(20, GET_VRING_BASE_INFLIGHT)       \
	X(21, GPA_ADDRESSES)                 \
	X(22, SHMEM)                         \
	X(23, GET_VRING_BASE_SKIP_DRAIN)

enum cvmm_vhost_user_protocol_feature {
#define X(bit, name) CVMM_VHOST_USER_PROTOCOL_F_##name = bit,
	CVMM_VHOST_USER_PROTOCOL_FEATURES(X)
#undef X
};

#define CVMM_VHOST_USER_PROTOCOL_FEATURES_ALL ((UINT64_C(1) << 24) - 1)

/* The mask of a protocol feature, by the last part of its name: CVMM_VHOST_USER_PROTOCOL(MQ). */
#define CVMM_VHOST_USER_PROTOCOL(name) (UINT64_C(1) << CVMM_VHOST_USER_PROTOCOL_F_##name)

/* The name of a protocol feature, e.g. "REPLY_ACK", or NULL for a bit that has none. */
CVMM_API const char *cvmm_vhost_user_protocol_feature_name(unsigned int bit);

/* ---- payloads ---------------------------------------------------------------------------------- */

/* The header of each message. Bits 0-1 of the flags are the version. */
struct cvmm_vhost_user_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of the payload that follows */
};

#define CVMM_VHOST_USER_VERSION 1U
#define CVMM_VHOST_USER_VERSION_MASK 3U
#define CVMM_VHOST_USER_FLAG_REPLY 4U
#define CVMM_VHOST_USER_FLAG_NEED_REPLY 8U

struct cvmm_vhost_user_vring_state {
	uint32_t index;
	uint32_t num;
};

#define CVMM_VHOST_USER_VRING_F_LOG 1U

struct cvmm_vhost_user_vring_addr {
	uint32_t index;
	uint32_t flags; /* CVMM_VHOST_USER_VRING_F_LOG */
	uint64_t desc;
	uint64_t used;
	uint64_t avail;
	uint64_t log;
};

struct cvmm_vhost_user_mem_region {
	uint64_t gpa;
	uint64_t len_bytes;
	uint64_t user_addr;
	uint64_t mmap_offset;
};

#define CVMM_VHOST_USER_XEN_FOREIGN 1U
#define CVMM_VHOST_USER_XEN_GRANT 2U
#define CVMM_VHOST_USER_XEN_NO_ADVANCE_MAP 0x100U

/* With XEN_MMAP negotiated, regions have this form. */
struct cvmm_vhost_user_xen_region {
	struct cvmm_vhost_user_mem_region region;
	uint32_t flags; /* CVMM_VHOST_USER_XEN_* */
	uint32_t domain;
};

/* Begins SET_MEM_TABLE; @count regions follow. */
struct cvmm_vhost_user_mem_table {
	uint32_t count;
	uint32_t padding;
};

/* ADD_MEM_REG and REM_MEM_REG. */
struct cvmm_vhost_user_mem_slot {
	uint64_t padding;
	struct cvmm_vhost_user_mem_region region;
};

struct cvmm_vhost_user_log {
	uint64_t size_bytes;
	uint64_t offset;
};

/* For which writes SET_CONFIG stands. The specification numbers them, and QEMU uses them, as values. */
#define CVMM_VHOST_USER_CONFIG_WRITABLE 0U
#define CVMM_VHOST_USER_CONFIG_LIVE_MIGRATION 1U

/* Begins GET_CONFIG and SET_CONFIG; @size bytes follow. */
struct cvmm_vhost_user_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
};

struct cvmm_vhost_user_vring_area {
	uint64_t index; /* bits 0-7: queue; bit 8: there is no descriptor */
	uint64_t size_bytes;
	uint64_t offset;
};

/* 24 bytes with the padding that every known implementation sends; 20 are accepted. */
struct cvmm_vhost_user_inflight {
	uint64_t mmap_size;
	uint64_t mmap_offset;
	uint16_t queue_count;
	uint16_t queue_size;
	uint32_t padding;
};

#define CVMM_VHOST_USER_INFLIGHT_SIZE_PACKED 20U

struct cvmm_vhost_user_uuid {
	uint8_t bytes[16];
};

enum cvmm_vhost_user_transfer_direction {
	CVMM_VHOST_USER_TRANSFER_SAVE = 0,
	CVMM_VHOST_USER_TRANSFER_LOAD = 1,
};

enum cvmm_vhost_user_transfer_phase {
	CVMM_VHOST_USER_TRANSFER_STOPPED = 0,
};

struct cvmm_vhost_user_transfer {
	uint32_t direction;
	uint32_t phase;
};

#define CVMM_VHOST_USER_MAP_WRITABLE 1U

struct cvmm_vhost_user_mmap {
	uint8_t shmid;
	uint8_t padding[7];
	uint64_t fd_offset;
	uint64_t shm_offset;
	uint64_t len_bytes;
	uint64_t flags; /* CVMM_VHOST_USER_MAP_WRITABLE */
};

#define CVMM_VHOST_USER_SHMEM_REGIONS 256U

struct cvmm_vhost_user_shmem_config {
	uint32_t count; /* of sizes that are not 0 */
	uint32_t padding;
	uint64_t size_bytes[CVMM_VHOST_USER_SHMEM_REGIONS];
};

CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_header) == 12, "vhost-user, Header");
CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_vring_addr) == 40, "vhost-user, Payload");
CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_mem_region) == 32, "vhost-user, Payload");
CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_xen_region) == 40, "vhost-user, Payload");
CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_mem_slot) == 40, "vhost-user, Payload");
CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_config) == 12, "vhost-user, Payload");
CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_vring_area) == 24, "vhost-user, Payload");
CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_inflight) == 24, "vhost-user, Payload");
CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_mmap) == 40, "vhost-user, Payload");
CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_shmem_config) == 2056, "vhost-user, Payload");

/* In the u64 of SET_VRING_KICK, _CALL and _ERR, and of vring areas. */
#define CVMM_VHOST_USER_VRING_INDEX_MASK 0xffU
#define CVMM_VHOST_USER_VRING_NO_FD 0x100U

/* In the u64 that answers SET_DEVICE_STATE_FD: there is no descriptor; bits 0-7 are the error. */
#define CVMM_VHOST_USER_STATE_NO_FD 0x100U

/* The forms of payloads. Sizes: cvmm_vhost_user_payload_fits(). */
enum cvmm_vhost_user_payload {
	CVMM_VHOST_USER_EMPTY,
	CVMM_VHOST_USER_U64,
	CVMM_VHOST_USER_EMPTY_OR_U64,
	CVMM_VHOST_USER_VRING_STATE,
	CVMM_VHOST_USER_VRING_ADDR,
	CVMM_VHOST_USER_MEM_TABLE,
	CVMM_VHOST_USER_MEM_SLOT,
	CVMM_VHOST_USER_LOG, /* or, in the form without a descriptor, a u64 */
	CVMM_VHOST_USER_IOTLB,
	CVMM_VHOST_USER_CONFIG,
	CVMM_VHOST_USER_CRYPTO, /* what it has depends on the device: not looked at here */
	CVMM_VHOST_USER_VRING_AREA,
	CVMM_VHOST_USER_INFLIGHT,
	CVMM_VHOST_USER_UUID,
	CVMM_VHOST_USER_TRANSFER,
	CVMM_VHOST_USER_MMAP,
	CVMM_VHOST_USER_SHMEM_CONFIG,
	CVMM_VHOST_USER_PAYLOAD_COUNT,
};

/* ---- the table --------------------------------------------------------------------------------- */

/* How many descriptors come with a message. */
enum cvmm_vhost_user_fd_rule {
	CVMM_VHOST_USER_FDS_NONE,
	CVMM_VHOST_USER_FDS_ONE,
	CVMM_VHOST_USER_FDS_REGIONS, /* one for each region of the payload */
	CVMM_VHOST_USER_FDS_BIT_8,   /* one, unless CVMM_VHOST_USER_VRING_NO_FD is set in the u64 */
	CVMM_VHOST_USER_FDS_OPTIONAL, /* none or one */
};

/* When a request is answered even if nobody asked for it with NEED_REPLY. */
enum cvmm_vhost_user_reply_rule {
	CVMM_VHOST_USER_REPLY_ON_DEMAND, /* only with NEED_REPLY, and then a u64: 0 is success */
	CVMM_VHOST_USER_REPLY_ALWAYS,
	CVMM_VHOST_USER_REPLY_IF_LOG_SHMFD, /* if that was negotiated, as ALWAYS */
	CVMM_VHOST_USER_REPLY_IF_POSTCOPY,  /* while post-copy listens, as ALWAYS */
};

/*
 * Requests of the front-end: X(id, NAME, name, gate, payload, fds, reply rule, reply payload, reply fds).
 * The gate is a mask of protocol features, all of which must have been negotiated. The last three
 * are about what answers the request.
 */
#define CVMM_VHOST_USER_FRONTEND_REQUESTS(X)                                                       \
	X(1, GET_FEATURES, get_features, 0, EMPTY, NONE, ALWAYS, U64, NONE)                        \
	X(2, SET_FEATURES, set_features, 0, U64, NONE, ON_DEMAND, U64, NONE)                       \
	X(3, SET_OWNER, set_owner, 0, EMPTY, NONE, ON_DEMAND, U64, NONE)                           \
	X(4, RESET_OWNER, reset_owner, 0, EMPTY, NONE, ON_DEMAND, U64, NONE)                       \
	X(5, SET_MEM_TABLE, set_mem_table, 0, MEM_TABLE, REGIONS, IF_POSTCOPY, MEM_TABLE, NONE)    \
	X(6, SET_LOG_BASE, set_log_base, 0, LOG, OPTIONAL, IF_LOG_SHMFD, LOG, NONE)                \
	X(7, SET_LOG_FD, set_log_fd, 0, EMPTY_OR_U64, ONE, ON_DEMAND, U64, NONE)                   \
	X(8, SET_VRING_NUM, set_vring_num, 0, VRING_STATE, NONE, ON_DEMAND, U64, NONE)             \
	X(9, SET_VRING_ADDR, set_vring_addr, 0, VRING_ADDR, NONE, ON_DEMAND, U64, NONE)            \
	X(10, SET_VRING_BASE, set_vring_base, 0, VRING_STATE, NONE, ON_DEMAND, U64, NONE)          \
	X(11, GET_VRING_BASE, get_vring_base, 0, VRING_STATE, NONE, ALWAYS, VRING_STATE, NONE)     \
	X(12, SET_VRING_KICK, set_vring_kick, 0, U64, BIT_8, ON_DEMAND, U64, NONE)                 \
	X(13, SET_VRING_CALL, set_vring_call, 0, U64, BIT_8, ON_DEMAND, U64, NONE)                 \
	X(14, SET_VRING_ERR, set_vring_err, 0, U64, BIT_8, ON_DEMAND, U64, NONE)                   \
	X(15, GET_PROTOCOL_FEATURES, get_protocol_features, 0, EMPTY, NONE, ALWAYS, U64, NONE)     \
	X(16, SET_PROTOCOL_FEATURES, set_protocol_features, 0, U64, NONE, ON_DEMAND, U64, NONE)    \
	X(17, GET_QUEUE_NUM, get_queue_num, CVMM_VHOST_USER_PROTOCOL(MQ), EMPTY, NONE, ALWAYS,     \
	  U64, NONE)                                                                               \
	X(18, SET_VRING_ENABLE, set_vring_enable, 0, VRING_STATE, NONE, ON_DEMAND, U64, NONE)      \
	X(19, SEND_RARP, send_rarp, CVMM_VHOST_USER_PROTOCOL(RARP), U64, NONE, ON_DEMAND, U64,     \
	  NONE)                                                                                    \
	X(20, NET_SET_MTU, net_set_mtu, CVMM_VHOST_USER_PROTOCOL(MTU), U64, NONE, ON_DEMAND, U64,  \
	  NONE)                                                                                    \
	X(21, SET_BACKEND_REQ_FD, set_backend_req_fd, CVMM_VHOST_USER_PROTOCOL(BACKEND_REQ),       \
	  EMPTY, ONE, ON_DEMAND, U64, NONE)                                                        \
	X(22, IOTLB_MSG, iotlb_msg, 0, IOTLB, NONE, ALWAYS, U64, NONE)                             \
	X(23, SET_VRING_ENDIAN, set_vring_endian, CVMM_VHOST_USER_PROTOCOL(CROSS_ENDIAN),          \
	  VRING_STATE, NONE, ON_DEMAND, U64, NONE)                                                 \
	X(24, GET_CONFIG, get_config, CVMM_VHOST_USER_PROTOCOL(CONFIG), CONFIG, NONE, ALWAYS,      \
	  CONFIG, NONE)                                                                            \
	X(25, SET_CONFIG, set_config, CVMM_VHOST_USER_PROTOCOL(CONFIG), CONFIG, NONE, ON_DEMAND,   \
	  U64, NONE)                                                                               \
	X(26, CREATE_CRYPTO_SESSION, create_crypto_session,                                        \
	  CVMM_VHOST_USER_PROTOCOL(CRYPTO_SESSION), CRYPTO, NONE, ALWAYS, CRYPTO, NONE)            \
	X(27, CLOSE_CRYPTO_SESSION, close_crypto_session,                                          \
	  CVMM_VHOST_USER_PROTOCOL(CRYPTO_SESSION), U64, NONE, ON_DEMAND, U64, NONE)               \
	X(28, POSTCOPY_ADVISE, postcopy_advise, CVMM_VHOST_USER_PROTOCOL(PAGEFAULT), EMPTY, NONE,  \
	  ALWAYS, EMPTY, ONE)                                                                      \
	X(29, POSTCOPY_LISTEN, postcopy_listen, CVMM_VHOST_USER_PROTOCOL(PAGEFAULT), EMPTY, NONE,  \
	  ON_DEMAND, U64, NONE)                                                                    \
	X(30, POSTCOPY_END, postcopy_end, CVMM_VHOST_USER_PROTOCOL(PAGEFAULT), EMPTY, NONE,        \
	  ALWAYS, U64, NONE)                                                                       \
	X(31, GET_INFLIGHT_FD, get_inflight_fd, CVMM_VHOST_USER_PROTOCOL(INFLIGHT_SHMFD),          \
	  INFLIGHT, NONE, ALWAYS, INFLIGHT, OPTIONAL)                                              \
	X(32, SET_INFLIGHT_FD, set_inflight_fd, CVMM_VHOST_USER_PROTOCOL(INFLIGHT_SHMFD),          \
	  INFLIGHT, ONE, ON_DEMAND, U64, NONE)                                                     \
	X(33, GPU_SET_SOCKET, gpu_set_socket, 0, EMPTY, ONE, ON_DEMAND, U64, NONE)                 \
	X(34, RESET_DEVICE, reset_device, CVMM_VHOST_USER_PROTOCOL(RESET_DEVICE), EMPTY, NONE,     \
	  ON_DEMAND, U64, NONE)                                                                    \
	X(35, VRING_KICK, vring_kick, CVMM_VHOST_USER_PROTOCOL(INBAND_NOTIFICATIONS), VRING_STATE, \
	  NONE, ON_DEMAND, U64, NONE)                                                              \
	X(36, GET_MAX_MEM_SLOTS, get_max_mem_slots, CVMM_VHOST_USER_PROTOCOL(CONFIGURE_MEM_SLOTS), \
	  EMPTY, NONE, ALWAYS, U64, NONE)                                                          \
	X(37, ADD_MEM_REG, add_mem_reg, CVMM_VHOST_USER_PROTOCOL(CONFIGURE_MEM_SLOTS), MEM_SLOT,   \
	  ONE, IF_POSTCOPY, MEM_SLOT, NONE)                                                        \
	X(38, REM_MEM_REG, rem_mem_reg, CVMM_VHOST_USER_PROTOCOL(CONFIGURE_MEM_SLOTS), MEM_SLOT,   \
	  OPTIONAL, ON_DEMAND, U64, NONE)                                                          \
	X(39, SET_STATUS, set_status, CVMM_VHOST_USER_PROTOCOL(STATUS), U64, NONE, ON_DEMAND, U64, \
	  NONE)                                                                                    \
	X(40, GET_STATUS, get_status, CVMM_VHOST_USER_PROTOCOL(STATUS), EMPTY, NONE, ALWAYS, U64,  \
	  NONE)                                                                                    \
	X(41, GET_SHARED_OBJECT, get_shared_object, CVMM_VHOST_USER_PROTOCOL(SHARED_OBJECT), UUID, \
	  NONE, ALWAYS, UUID, OPTIONAL)                                                            \
	X(42, SET_DEVICE_STATE_FD, set_device_state_fd, CVMM_VHOST_USER_PROTOCOL(DEVICE_STATE),    \
	  TRANSFER, ONE, ALWAYS, U64, OPTIONAL)                                                    \
	X(43, CHECK_DEVICE_STATE, check_device_state, CVMM_VHOST_USER_PROTOCOL(DEVICE_STATE),      \
	  EMPTY, NONE, ALWAYS, U64, NONE)                                                          \
	X(44, GET_SHMEM_CONFIG, get_shmem_config, CVMM_VHOST_USER_PROTOCOL(SHMEM), EMPTY, NONE,    \
	  ALWAYS, SHMEM_CONFIG, NONE)                                                              \
	X(45, GET_VRING_BASE_SKIP_DRAIN, get_vring_base_skip_drain,                                \
	  CVMM_VHOST_USER_PROTOCOL(GET_VRING_BASE_SKIP_DRAIN), VRING_STATE, NONE, ALWAYS,          \
	  VRING_STATE, NONE)

/* Requests of the back-end, on the back-end channel. Columns as above. */
#define CVMM_VHOST_USER_BACKEND_REQUESTS(X)                                                        \
	X(1, BACKEND_IOTLB_MSG, backend_iotlb_msg, 0, IOTLB, NONE, ON_DEMAND, U64, NONE)           \
	X(2, BACKEND_CONFIG_CHANGE_MSG, backend_config_change_msg,                                 \
	  CVMM_VHOST_USER_PROTOCOL(CONFIG), EMPTY, NONE, ON_DEMAND, U64, NONE)                     \
	X(3, BACKEND_VRING_HOST_NOTIFIER_MSG, backend_vring_host_notifier_msg,                     \
	  CVMM_VHOST_USER_PROTOCOL(HOST_NOTIFIER), VRING_AREA, BIT_8, ON_DEMAND, U64, NONE)        \
	X(4, BACKEND_VRING_CALL, backend_vring_call,                                               \
	  CVMM_VHOST_USER_PROTOCOL(INBAND_NOTIFICATIONS), VRING_STATE, NONE, ON_DEMAND, U64, NONE) \
	X(5, BACKEND_VRING_ERR, backend_vring_err, CVMM_VHOST_USER_PROTOCOL(INBAND_NOTIFICATIONS), \
	  VRING_STATE, NONE, ON_DEMAND, U64, NONE)                                                 \
	X(6, BACKEND_SHARED_OBJECT_ADD, backend_shared_object_add,                                 \
	  CVMM_VHOST_USER_PROTOCOL(SHARED_OBJECT), UUID, NONE, ON_DEMAND, U64, NONE)               \
	X(7, BACKEND_SHARED_OBJECT_REMOVE, backend_shared_object_remove,                           \
	  CVMM_VHOST_USER_PROTOCOL(SHARED_OBJECT), UUID, NONE, ON_DEMAND, U64, NONE)               \
	X(8, BACKEND_SHARED_OBJECT_LOOKUP, backend_shared_object_lookup,                           \
	  CVMM_VHOST_USER_PROTOCOL(SHARED_OBJECT), UUID, NONE, ALWAYS, U64, OPTIONAL)              \
	X(9, BACKEND_SHMEM_MAP, backend_shmem_map, CVMM_VHOST_USER_PROTOCOL(SHMEM), MMAP, ONE,     \
	  ON_DEMAND, U64, NONE)                                                                    \
	X(10, BACKEND_SHMEM_UNMAP, backend_shmem_unmap, CVMM_VHOST_USER_PROTOCOL(SHMEM), MMAP,     \
	  NONE, ON_DEMAND, U64, NONE)

enum cvmm_vhost_user_request {
#define X(id, NAME, ...) CVMM_VHOST_USER_##NAME = id,
	CVMM_VHOST_USER_FRONTEND_REQUESTS(X)
#undef X
};

enum cvmm_vhost_user_backend_request {
#define X(id, NAME, ...) CVMM_VHOST_USER_##NAME = id,
	CVMM_VHOST_USER_BACKEND_REQUESTS(X)
#undef X
};

#define CVMM_VHOST_USER_FRONTEND_REQUEST_MAX 45U
#define CVMM_VHOST_USER_BACKEND_REQUEST_MAX 10U

/* Who makes the requests on a connection. */
enum cvmm_vhost_user_channel {
	CVMM_VHOST_USER_FRONTEND_CHANNEL,
	CVMM_VHOST_USER_BACKEND_CHANNEL,
};

/**
 * struct cvmm_vhost_user_message - one row of the table
 * @id: request number
 * @name: without its prefix, e.g. "GET_FEATURES"
 * @gate: protocol features that must be negotiated, all of them
 * @payload: of the request
 * @fds: of the request
 * @reply: when it is answered
 * @reply_payload: of that answer
 * @reply_fds: of that answer
 */
struct cvmm_vhost_user_message {
	uint32_t id;
	const char *name;
	uint64_t gate;
	enum cvmm_vhost_user_payload payload;
	enum cvmm_vhost_user_fd_rule fds;
	enum cvmm_vhost_user_reply_rule reply;
	enum cvmm_vhost_user_payload reply_payload;
	enum cvmm_vhost_user_fd_rule reply_fds;
};

/* The row of a request, or NULL if there is none. Any thread. */
CVMM_API const struct cvmm_vhost_user_message *
cvmm_vhost_user_message_find(enum cvmm_vhost_user_channel channel, uint32_t id);

/* Words for listings, e.g. "vring state", "one". Any thread. */
CVMM_API const char *cvmm_vhost_user_payload_name(enum cvmm_vhost_user_payload payload);
CVMM_API const char *cvmm_vhost_user_fd_rule_name(enum cvmm_vhost_user_fd_rule rule);
CVMM_API const char *cvmm_vhost_user_reply_rule_name(enum cvmm_vhost_user_reply_rule rule);

/**
 * cvmm_vhost_user_payload_fits() - whether bytes have the form of a payload
 * @bytes: @len_bytes of them, from a peer
 * @protocol: the protocol features negotiated: with XEN_MMAP regions are longer
 *
 * Sizes, and counts within the payload, are looked at; what the fields mean is not.
 */
CVMM_API bool cvmm_vhost_user_payload_fits(enum cvmm_vhost_user_payload payload, const void *bytes,
					   size_t len_bytes, uint64_t protocol);

/* ---- messages ---------------------------------------------------------------------------------- */

/**
 * struct cvmm_vhost_user_msg - one message, as it was received
 * @request: its number
 * @flags: version, CVMM_VHOST_USER_FLAG_*
 * @size: bytes of @payload
 * @fd_count: descriptors in @fds; all close-on-exec, owned by the message
 * @payload: for 8-byte fields
 */
struct cvmm_vhost_user_msg {
	uint32_t request;
	uint32_t flags;
	uint32_t size;
	uint32_t fd_count;
	int fds[CVMM_VHOST_USER_FDS_MAX];
	uint64_t payload[CVMM_VHOST_USER_PAYLOAD_MAX / sizeof(uint64_t)];
};

/* Take a descriptor out of a message, or get -1. */
CVMM_API int cvmm_vhost_user_msg_take_fd(struct cvmm_vhost_user_msg *msg, uint32_t i);

/* Close what was not taken. A message without descriptors, and all zeroes, are allowed. */
CVMM_API void cvmm_vhost_user_msg_fini(struct cvmm_vhost_user_msg *msg);

/**
 * cvmm_vhost_user_msg_check() - hold a request against its row of the table
 * @row: from cvmm_vhost_user_message_find(), not NULL
 * @protocol: protocol features negotiated
 *
 * Return: 0; -EPROTO with a message if the form of the payload, or the number of descriptors, is not
 * what the row says; -EOPNOTSUPP with a message if a protocol feature of its gate is missing.
 */
CVMM_API int cvmm_vhost_user_msg_check(const struct cvmm_vhost_user_message *row,
				       const struct cvmm_vhost_user_msg *msg, uint64_t protocol,
				       struct cvmm_error *err);

/* ---- connections ------------------------------------------------------------------------------- */

/*
 * A stream socket with messages on it. Reads take what is there and never more than one message, so
 * that descriptors belong to the message whose first byte they came with. Writes that do not fit wait in the
 * connection. Nothing here blocks but cvmm_vhost_user_conn_wait().
 *
 * Not thread-safe.
 */
struct cvmm_vhost_user_conn;

/**
 * cvmm_vhost_user_conn_create() - messages on a socket
 * @fd: a connected Unix stream socket; taken, also on failure; made close-on-exec. All I/O is
 *      non-blocking, whatever its flags say.
 *
 * Return: 0; -ENOTSOCK or -EINVAL with a message for what is no such socket; -ENOMEM.
 * Owner: pair with cvmm_vhost_user_conn_destroy().
 */
CVMM_API int cvmm_vhost_user_conn_create(int fd, struct cvmm_vhost_user_conn **ret_conn,
					 struct cvmm_error *err);

/* Closes the socket, and descriptors received or not sent. NULL is allowed. */
CVMM_API void cvmm_vhost_user_conn_destroy(struct cvmm_vhost_user_conn *conn);

/* The socket, to be polled. Stays the connection's. */
CVMM_API int cvmm_vhost_user_conn_fd(const struct cvmm_vhost_user_conn *conn);

/**
 * cvmm_vhost_user_conn_receive() - read what is there, up to the end of one message
 * @ret_msg: valid until the next call of receive() or destroy(); descriptors that are not taken out of
 *           it are closed then
 *
 * Return: 1 with a message, whose size and version are right, and nothing else is checked; 0 if it is
 * not there as a whole; -ECONNRESET if the peer closed the connection, in the middle of a message or
 * not; -EPROTO with a message for anything that makes the stream unreadable: a bad version or flag, a
 * size above CVMM_VHOST_USER_PAYLOAD_MAX, descriptors in the middle of a message, more descriptors
 * than CVMM_VHOST_USER_FDS_MAX; or what the read failed with. After a failure there is nothing to do but
 * destroy it.
 */
CVMM_API int cvmm_vhost_user_conn_receive(struct cvmm_vhost_user_conn *conn,
					  struct cvmm_vhost_user_msg **ret_msg,
					  struct cvmm_error *err);

/**
 * cvmm_vhost_user_conn_send() - write a message, or as much of it as goes
 * @request: number
 * @flags: CVMM_VHOST_USER_FLAG_*; the version is added
 * @payload: @payload_count pieces, at most CVMM_VHOST_USER_PAYLOAD_MAX bytes
 * @fds: @fd_count descriptors to pass; stay the caller's, who may close them
 *
 * Return: 0 if it was written, or kept to be written by cvmm_vhost_user_conn_flush(); -EBUSY while an
 * earlier message is kept; -EMSGSIZE; -ECONNRESET or -EPIPE if the peer is gone; -ENOMEM; or what the
 * write failed with. Never raises SIGPIPE.
 */
CVMM_API int cvmm_vhost_user_conn_send(struct cvmm_vhost_user_conn *conn, uint32_t request,
				       uint32_t flags, const struct iovec *payload,
				       size_t payload_count, const int *fds, size_t fd_count);

/* Go on writing. Return: 1 if all is written, 0 if some is left, or negative errno as send. */
CVMM_API int cvmm_vhost_user_conn_flush(struct cvmm_vhost_user_conn *conn);

/* Whether a message is kept: wait for the socket to be writable, and flush. */
CVMM_API bool cvmm_vhost_user_conn_wants_write(const struct cvmm_vhost_user_conn *conn);

/**
 * cvmm_vhost_user_conn_wait() - block until the socket can be read or written
 * @write: wait for the latter
 * @deadline_ns: of cvmm_clock_ns()
 *
 * Return: 0; -ETIMEDOUT; or negative errno. Retries EINTR.
 */
CVMM_API int cvmm_vhost_user_conn_wait(struct cvmm_vhost_user_conn *conn, bool write,
				       uint64_t deadline_ns);

/*
 * Blocking calls made of the above, for those who have a thread to wait in: all of the message goes out,
 * or one comes in, before the deadline. Return: as send and receive (0 for a message received), or
 * -ETIMEDOUT, after which the stream is unreadable.
 */
CVMM_API int cvmm_vhost_user_conn_send_by(struct cvmm_vhost_user_conn *conn, uint32_t request,
					  uint32_t flags, const struct iovec *payload,
					  size_t payload_count, const int *fds, size_t fd_count,
					  uint64_t deadline_ns);
CVMM_API int cvmm_vhost_user_conn_receive_by(struct cvmm_vhost_user_conn *conn,
					     struct cvmm_vhost_user_msg **ret_msg,
					     uint64_t deadline_ns, struct cvmm_error *err);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_VHOST_USER_H */
