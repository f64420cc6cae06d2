// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The table of messages, and the checks that come from it.
 */
#include <errno.h>

#include <cvmm/mem_iotlb.h>
#include <cvmm/vhost-user.h>

/* ---- the table --------------------------------------------------------------------------------- */

#define ROW(id_, NAME, name_, gate_, payload_, fds_, reply_, reply_payload_, reply_fds_) \
	[id_] = {                                                                        \
		.id = (id_),                                                             \
		.name = #NAME,                                                           \
		.gate = (gate_),                                                         \
		.payload = CVMM_VHOST_USER_##payload_,                                   \
		.fds = CVMM_VHOST_USER_FDS_##fds_,                                       \
		.reply = CVMM_VHOST_USER_REPLY_##reply_,                                 \
		.reply_payload = CVMM_VHOST_USER_##reply_payload_,                       \
		.reply_fds = CVMM_VHOST_USER_FDS_##reply_fds_,                           \
	},

static const struct cvmm_vhost_user_message
	frontend_requests[CVMM_VHOST_USER_FRONTEND_REQUEST_MAX + 1] = {
		CVMM_VHOST_USER_FRONTEND_REQUESTS(ROW)
	};

static const struct cvmm_vhost_user_message
	backend_requests[CVMM_VHOST_USER_BACKEND_REQUEST_MAX + 1] = {
		CVMM_VHOST_USER_BACKEND_REQUESTS(ROW)
	};

const struct cvmm_vhost_user_message *
cvmm_vhost_user_message_find(enum cvmm_vhost_user_channel channel, uint32_t id)
{
	const struct cvmm_vhost_user_message *table = frontend_requests;
	size_t count = CVMM_ARRAY_SIZE(frontend_requests);

	if (channel == CVMM_VHOST_USER_BACKEND_CHANNEL) {
		table = backend_requests;
		count = CVMM_ARRAY_SIZE(backend_requests);
	}
	return id < count && table[id].name ? &table[id] : NULL;
}

/* ---- names ------------------------------------------------------------------------------------- */

const char *cvmm_vhost_user_protocol_feature_name(unsigned int bit)
{
	static const char *const names[] = {
#define X(bit_, name) [bit_] = #name,
		CVMM_VHOST_USER_PROTOCOL_FEATURES(X)
#undef X
	};

	return bit < CVMM_ARRAY_SIZE(names) ? names[bit] : NULL;
}

const char *cvmm_vhost_user_payload_name(enum cvmm_vhost_user_payload payload)
{
	static const char *const names[CVMM_VHOST_USER_PAYLOAD_COUNT] = {
		[CVMM_VHOST_USER_EMPTY] = "none",
		[CVMM_VHOST_USER_U64] = "u64",
		[CVMM_VHOST_USER_EMPTY_OR_U64] = "none or u64",
		[CVMM_VHOST_USER_VRING_STATE] = "vring state",
		[CVMM_VHOST_USER_VRING_ADDR] = "vring address",
		[CVMM_VHOST_USER_MEM_TABLE] = "memory regions",
		[CVMM_VHOST_USER_MEM_SLOT] = "memory region",
		[CVMM_VHOST_USER_LOG] = "log",
		[CVMM_VHOST_USER_IOTLB] = "IOTLB message",
		[CVMM_VHOST_USER_CONFIG] = "configuration space",
		[CVMM_VHOST_USER_CRYPTO] = "crypto session",
		[CVMM_VHOST_USER_VRING_AREA] = "vring area",
		[CVMM_VHOST_USER_INFLIGHT] = "inflight",
		[CVMM_VHOST_USER_UUID] = "UUID",
		[CVMM_VHOST_USER_TRANSFER] = "transfer parameters",
		[CVMM_VHOST_USER_MMAP] = "mapping",
		[CVMM_VHOST_USER_SHMEM_CONFIG] = "shared memory regions",
	};

	return (unsigned int)payload < CVMM_VHOST_USER_PAYLOAD_COUNT ? names[payload] : NULL;
}

const char *cvmm_vhost_user_fd_rule_name(enum cvmm_vhost_user_fd_rule rule)
{
	switch (rule) {
	case CVMM_VHOST_USER_FDS_NONE:
		return "none";
	case CVMM_VHOST_USER_FDS_ONE:
		return "one";
	case CVMM_VHOST_USER_FDS_REGIONS:
		return "one for each region";
	case CVMM_VHOST_USER_FDS_BIT_8:
		return "one, or bit 8";
	case CVMM_VHOST_USER_FDS_OPTIONAL:
		return "none or one";
	}
	return NULL;
}

const char *cvmm_vhost_user_reply_rule_name(enum cvmm_vhost_user_reply_rule rule)
{
	switch (rule) {
	case CVMM_VHOST_USER_REPLY_ON_DEMAND:
		return "on demand";
	case CVMM_VHOST_USER_REPLY_ALWAYS:
		return "always";
	case CVMM_VHOST_USER_REPLY_IF_LOG_SHMFD:
		return "always with LOG_SHMFD";
	case CVMM_VHOST_USER_REPLY_IF_POSTCOPY:
		return "always while post-copy listens";
	}
	return NULL;
}

/* ---- forms of payloads ------------------------------------------------------------------------- */

static size_t region_size(uint64_t protocol)
{
	return protocol & CVMM_VHOST_USER_PROTOCOL(XEN_MMAP)
		       ? sizeof(struct cvmm_vhost_user_xen_region)
		       : sizeof(struct cvmm_vhost_user_mem_region);
}

static bool table_fits(const void *bytes, size_t len, uint64_t protocol)
{
	struct cvmm_vhost_user_mem_table table;

	if (len < sizeof(table))
		return false;
	memcpy(&table, bytes, sizeof(table));
	return table.count <= CVMM_VHOST_USER_TABLE_REGIONS_MAX &&
	       len == sizeof(table) + table.count * region_size(protocol);
}

static bool config_fits(const void *bytes, size_t len)
{
	struct cvmm_vhost_user_config config;

	if (len < sizeof(config))
		return false;
	memcpy(&config, bytes, sizeof(config));
	return config.size == len - sizeof(config);
}

/* The size of payloads that have only one, or 0. */
static size_t fixed_size(enum cvmm_vhost_user_payload payload)
{
	switch (payload) {
	case CVMM_VHOST_USER_U64:
		return sizeof(uint64_t);
	case CVMM_VHOST_USER_VRING_STATE:
		return sizeof(struct cvmm_vhost_user_vring_state);
	case CVMM_VHOST_USER_VRING_ADDR:
		return sizeof(struct cvmm_vhost_user_vring_addr);
	case CVMM_VHOST_USER_VRING_AREA:
		return sizeof(struct cvmm_vhost_user_vring_area);
	case CVMM_VHOST_USER_UUID:
		return sizeof(struct cvmm_vhost_user_uuid);
	case CVMM_VHOST_USER_TRANSFER:
		return sizeof(struct cvmm_vhost_user_transfer);
	case CVMM_VHOST_USER_MMAP:
		return sizeof(struct cvmm_vhost_user_mmap);
	case CVMM_VHOST_USER_SHMEM_CONFIG:
		return sizeof(struct cvmm_vhost_user_shmem_config);
	default:
		return 0;
	}
}

bool cvmm_vhost_user_payload_fits(enum cvmm_vhost_user_payload payload, const void *bytes,
				  size_t len_bytes, uint64_t protocol)
{
	switch (payload) {
	case CVMM_VHOST_USER_EMPTY:
		return len_bytes == 0;
	case CVMM_VHOST_USER_EMPTY_OR_U64:
		return len_bytes == 0 || len_bytes == sizeof(uint64_t);
	case CVMM_VHOST_USER_MEM_TABLE:
		return table_fits(bytes, len_bytes, protocol);
	case CVMM_VHOST_USER_MEM_SLOT:
		return len_bytes == sizeof(uint64_t) + region_size(protocol);
	case CVMM_VHOST_USER_LOG:
		return len_bytes == sizeof(struct cvmm_vhost_user_log) ||
		       len_bytes == sizeof(uint64_t);
	case CVMM_VHOST_USER_IOTLB:
		return len_bytes == CVMM_IOTLB_MSG_SIZE || len_bytes == CVMM_IOTLB_MSG_SIZE_PACKED;
	case CVMM_VHOST_USER_CONFIG:
		return config_fits(bytes, len_bytes);
	case CVMM_VHOST_USER_CRYPTO:
		return len_bytes >= sizeof(uint64_t) && len_bytes <= CVMM_VHOST_USER_PAYLOAD_MAX;
	case CVMM_VHOST_USER_INFLIGHT:
		return len_bytes == sizeof(struct cvmm_vhost_user_inflight) ||
		       len_bytes == CVMM_VHOST_USER_INFLIGHT_SIZE_PACKED;
	default:
		return fixed_size(payload) && len_bytes == fixed_size(payload);
	}
}

/* ---- messages ---------------------------------------------------------------------------------- */

int cvmm_vhost_user_msg_take_fd(struct cvmm_vhost_user_msg *msg, uint32_t i)
{
	return i < msg->fd_count ? cvmm_take_fd(&msg->fds[i]) : -1;
}

void cvmm_vhost_user_msg_fini(struct cvmm_vhost_user_msg *msg)
{
	for (uint32_t i = 0; i < msg->fd_count; i++)
		cvmm_close_fd(&msg->fds[i]);
	msg->fd_count = 0;
}

/* Whether the number of descriptors is what the rule says; the payload has its form already. */
static bool fds_fit(enum cvmm_vhost_user_fd_rule rule, const struct cvmm_vhost_user_msg *msg)
{
	uint64_t first = 0;

	if (msg->size >= sizeof(first))
		memcpy(&first, msg->payload, sizeof(first));
	switch (rule) {
	case CVMM_VHOST_USER_FDS_NONE:
		return msg->fd_count == 0;
	case CVMM_VHOST_USER_FDS_ONE:
		return msg->fd_count == 1;
	case CVMM_VHOST_USER_FDS_REGIONS: {
		const struct cvmm_vhost_user_mem_table *table = (const void *)msg->payload;

		return msg->fd_count == table->count;
	}
	case CVMM_VHOST_USER_FDS_BIT_8:
		return msg->fd_count == (first & CVMM_VHOST_USER_VRING_NO_FD ? 0 : 1);
	case CVMM_VHOST_USER_FDS_OPTIONAL:
		return msg->fd_count <= 1;
	}
	return false;
}

int cvmm_vhost_user_msg_check(const struct cvmm_vhost_user_message *row,
			      const struct cvmm_vhost_user_msg *msg, uint64_t protocol,
			      struct cvmm_error *err)
{
	if (!cvmm_vhost_user_payload_fits(row->payload, msg->payload, msg->size, protocol))
		return cvmm_fail(err, -EPROTO, "%s: %u bytes are no payload of the form '%s'",
				 row->name, msg->size, cvmm_vhost_user_payload_name(row->payload));
	if (!fds_fit(row->fds, msg))
		return cvmm_fail(err, -EPROTO, "%s: came with %u descriptors instead of %s",
				 row->name, msg->fd_count, cvmm_vhost_user_fd_rule_name(row->fds));
	if (row->gate & ~protocol) {
		unsigned int bit = (unsigned int)__builtin_ctzll(row->gate & ~protocol);

		return cvmm_fail(err, -EOPNOTSUPP, "%s: %s was not negotiated", row->name,
				 cvmm_vhost_user_protocol_feature_name(bit));
	}
	return 0;
}
