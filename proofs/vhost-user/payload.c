// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * What comes from a peer is held against the table:
 *
 *  - FITS: for any form, also ones that there are not, any bytes of any length up to two more than
 *    the longest payload, and any features, cvmm_vhost_user_payload_fits() reads no byte behind the
 *    length. What it lets pass has the bytes that its fields promise: regions, all of them, as long
 *    as they are with the features negotiated; as many bytes of configuration space as it says;
 *    whole structures for all others.
 *  - CHECK: for any request of both channels, with any payload, any number of descriptors and any
 *    features, cvmm_vhost_user_msg_check() lets pass exactly what has the form of its row, as many
 *    descriptors as its rule says (for regions, one for each), and no feature of its gate missing.
 *    Only a missing feature is -EOPNOTSUPP, all else -EPROTO.
 *
 * It is assumed for CHECK that a message has no more bytes and descriptors than it has room for, as
 * receive.c proves.
 *
 * Spec: vhost-user, "Payload", "Ancillary data".
 *
 * PROOF options --unwind 9
 * PROOF limit 120
 * PROOF instance -DFITS
 * PROOF instance -DCHECK
 * MUTATION lib/vhost-user/vhost_user.c s/if (len < sizeof(table))/if (0)/
 * MUTATION lib/vhost-user/vhost_user.c s/len == sizeof(table) + table.count . region_size(protocol)/len >= sizeof(table) + table.count/
 * MUTATION lib/vhost-user/vhost_user.c s/table.count <= CVMM_VHOST_USER_TABLE_REGIONS_MAX ../1 \&\&/
 * MUTATION lib/vhost-user/vhost_user.c s/if (len < sizeof(config))/if (len < 8)/
 * MUTATION lib/vhost-user/vhost_user.c s/config.size == len - sizeof(config)/config.size >= len - sizeof(config)/
 * MUTATION lib/vhost-user/vhost_user.c s/return protocol & CVMM_VHOST_USER_PROTOCOL(XEN_MMAP)/return 0/
 * MUTATION lib/vhost-user/vhost_user.c s/len_bytes >= sizeof(uint64_t) .. len_bytes <= CVMM_VHOST_USER_PAYLOAD_MAX/1/
 * MUTATION lib/vhost-user/vhost_user.c s/return msg->fd_count == table->count/return msg->fd_count >= table->count/
 * MUTATION lib/vhost-user/vhost_user.c s/first & CVMM_VHOST_USER_VRING_NO_FD ? 0 : 1/first \& CVMM_VHOST_USER_VRING_NO_FD ? 1 : 0/
 * MUTATION lib/vhost-user/vhost_user.c s/return msg->fd_count <= 1/return true/
 * MUTATION lib/vhost-user/vhost_user.c s/if (row->gate & ~protocol) {/if (!(row->gate \& protocol)) {/
 */
#include "proof_peer.h"

#include "../../lib/vhost-user/vhost_user.c"

void cvmm_close_fd(int *fd)
{
	*fd = -1;
}

static uint64_t proof_region_size(uint64_t protocol)
{
	return protocol >> CVMM_VHOST_USER_PROTOCOL_F_XEN_MMAP & 1 ? 40 : 32;
}

/* The number of bytes that a payload must have, as its fields say, or that it may have. */
static bool proof_size_is_right(enum cvmm_vhost_user_payload payload, const uint8_t *bytes,
				size_t len, uint64_t protocol)
{
	uint32_t first, second;

	memcpy(&first, bytes, sizeof(first));
	memcpy(&second, bytes + 4, sizeof(second));
	switch (payload) {
	case CVMM_VHOST_USER_EMPTY:
		return len == 0;
	case CVMM_VHOST_USER_U64:
		return len == 8;
	case CVMM_VHOST_USER_EMPTY_OR_U64:
		return len == 0 || len == 8;
	case CVMM_VHOST_USER_VRING_STATE:
	case CVMM_VHOST_USER_TRANSFER:
		return len == 8;
	case CVMM_VHOST_USER_VRING_ADDR:
	case CVMM_VHOST_USER_MMAP:
		return len == 40;
	case CVMM_VHOST_USER_MEM_TABLE:
		return first <= 253 && len == 8 + first * proof_region_size(protocol);
	case CVMM_VHOST_USER_MEM_SLOT:
		return len == 8 + proof_region_size(protocol);
	case CVMM_VHOST_USER_LOG:
		return len == 8 || len == 16;
	case CVMM_VHOST_USER_IOTLB:
		return len == 32 || len == 26;
	case CVMM_VHOST_USER_CONFIG:
		return len >= 12 && len - 12 == second;
	case CVMM_VHOST_USER_CRYPTO:
		return len >= 8 && len <= CVMM_VHOST_USER_PAYLOAD_MAX;
	case CVMM_VHOST_USER_VRING_AREA:
		return len == 24;
	case CVMM_VHOST_USER_INFLIGHT:
		return len == 20 || len == 24;
	case CVMM_VHOST_USER_UUID:
		return len == 16;
	case CVMM_VHOST_USER_SHMEM_CONFIG:
		return len == 8 + 256 * 8;
	default:
		return false;
	}
}

#ifdef FITS
void harness(void)
{
	enum cvmm_vhost_user_payload payload = (enum cvmm_vhost_user_payload)nondet_u8();
	size_t len = nondet_size();
	uint64_t protocol = nondet_u64();
	uint8_t first[8];
	uint8_t *bytes;
	bool fits;

	__CPROVER_assume(len <= CVMM_VHOST_USER_PAYLOAD_MAX + 2);
	bytes = malloc(len);
	__CPROVER_assume(bytes);
	for (unsigned int i = 0; i < sizeof(first); i++)
		first[i] = i < len ? bytes[i] : 0;
	fits = cvmm_vhost_user_payload_fits(payload, bytes, len, protocol);
	__CPROVER_assert(fits == proof_size_is_right(payload, first, len, protocol),
			 "what passes is exactly what has all that its fields promise");
}
#endif

#ifdef CHECK
static struct cvmm_vhost_user_msg proof_msg;

static bool proof_fds_are_right(enum cvmm_vhost_user_fd_rule rule, uint32_t count, uint64_t first)
{
	switch (rule) {
	case CVMM_VHOST_USER_FDS_NONE:
		return count == 0;
	case CVMM_VHOST_USER_FDS_ONE:
		return count == 1;
	case CVMM_VHOST_USER_FDS_REGIONS:
		return count == (uint32_t)first;
	case CVMM_VHOST_USER_FDS_BIT_8:
		return count == !(first >> 8 & 1);
	default:
		return count == 0 || count == 1;
	}
}

void harness(void)
{
	enum cvmm_vhost_user_channel channel =
		nondet_bool() ? CVMM_VHOST_USER_FRONTEND_CHANNEL : CVMM_VHOST_USER_BACKEND_CHANNEL;
	const struct cvmm_vhost_user_message *row =
		cvmm_vhost_user_message_find(channel, nondet_u32());
	uint64_t protocol = nondet_u64(), first;
	bool form, fds;
	int r;

	__CPROVER_havoc_object(&proof_msg);
	/* What every message is that was received (receive.c). */
	__CPROVER_assume(proof_msg.size <= CVMM_VHOST_USER_PAYLOAD_MAX);
	__CPROVER_assume(proof_msg.fd_count <= CVMM_VHOST_USER_FDS_MAX);
	if (!row)
		return;
	first = proof_msg.payload[0];
	form = proof_size_is_right(row->payload, (const uint8_t *)proof_msg.payload, proof_msg.size,
				   protocol);
	fds = proof_fds_are_right(row->fds, proof_msg.fd_count, first);
	r = cvmm_vhost_user_msg_check(row, &proof_msg, protocol, NULL);
	__CPROVER_assert(r == 0 || r == -EPROTO || r == -EOPNOTSUPP, "a code");
	__CPROVER_assert((r == -EPROTO) == (!form || !fds), "malformed or not");
	__CPROVER_assert((r == 0) == (form && fds && (row->gate & protocol) == row->gate),
			 "fine exactly if all of it is");
}
#endif
