// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Going on with a back-end that comes after one that died.
 *
 * Theory of operation: what was set is set again from what this session remembers. Where the queues were
 * the old back-end can no longer tell. A split queue goes on from the index of its used ring, which is in
 * the guest's memory: with an inflight region what was taken from the ring and not given back is taken
 * again. Without one that is only so if it was given back in the order in which it was taken: what is
 * still in the rings must say so, or requests would be lost, and others served twice. A packed queue has no such
 * index. Its part of the inflight region tells; without one it can only go on if it has not given
 * anything back.
 */
#include <cvmm/virtio.h>

#include "vhost_user_frontend_internal.h"

#define PACKED_DESC_BYTES 16U

/* Of split queues. */
#define INDEX_AT 2U
#define ENTRIES_AT 4U
#define AVAIL_ENTRY_BYTES 2U
#define USED_ENTRY_BYTES 8U

/* ---- where queues were --------------------------------------------------------------------------- */

static bool is_zero(const uint8_t bytes[PACKED_DESC_BYTES])
{
	for (unsigned int i = 0; i < PACKED_DESC_BYTES; i++)
		if (bytes[i])
			return false;
	return true;
}

/*
 * Whether the ring is as drivers leave it that have made some buffers available at its start, none of
 * which was given back: descriptors that are available in the first turn, and then zeroes. A later turn
 * would have left something there, and what was given back says so.
 */
static bool is_untouched(const struct cvmm_mem *mem, const struct cvmm_virtq_config *config)
{
	const uint16_t mask = CVMM_VIRTQ_DESC_F_AVAIL | CVMM_VIRTQ_DESC_F_USED;
	bool end = false;

	for (uint16_t i = 0; i < config->size; i++) {
		struct cvmm_virtq_packed_desc desc;
		uint8_t bytes[PACKED_DESC_BYTES];

		if (cvmm_mem_read(mem, cvmm_gpa_add(config->desc, i * (uint64_t)sizeof(desc)),
				  bytes, sizeof(bytes)))
			return false;
		memcpy(&desc, bytes, sizeof(desc));
		if (is_zero(bytes))
			end = true;
		else if (end || (cvmm_le16_get(desc.flags) & mask) != CVMM_VIRTQ_DESC_F_AVAIL)
			return false;
	}
	return end;
}

static bool begins_at_start(const struct cvmm_virtq_base *base)
{
	return !base->next_avail && !base->next_used && base->avail_wrap && base->used_wrap;
}

static int find_packed_base(const struct cvmm_vhost_user_frontend *fe,
			    struct cvmm_vhost_user_queue *queue, struct cvmm_error *err)
{
	int r = frontend_inflight_packed_base(fe, queue->index, queue->config.size, &queue->base,
					      err);

	if (r != -ENOENT)
		return r;
	if (begins_at_start(&queue->base) && fe->mem &&
	    !frontend_acked(fe, CVMM_VIRTIO_F_ACCESS_PLATFORM) &&
	    is_untouched(fe->mem, &queue->config))
		return 0;
	return cvmm_fail(err, -EOPNOTSUPP,
			 "queue %u is packed and has no inflight region: nobody knows where the "
			 "back-end was when it died; reset the device",
			 queue->index);
}

static bool load_avail_index(const struct cvmm_vhost_user_frontend *fe,
			     const struct cvmm_virtq_config *config, uint16_t *ret_index)
{
	return cvmm_mem_load_u16(fe->mem, cvmm_gpa_add(config->avail, INDEX_AT), __ATOMIC_ACQUIRE,
				 ret_index) == 0;
}

/* The head that was made available @i-th. */
static bool load_avail_head(const struct cvmm_vhost_user_frontend *fe,
			    const struct cvmm_virtq_config *config, uint16_t i, uint16_t *ret_head)
{
	uint64_t at = ENTRIES_AT + (i & (config->size - 1U)) * AVAIL_ENTRY_BYTES;

	return cvmm_mem_load_u16(fe->mem, cvmm_gpa_add(config->avail, at), __ATOMIC_RELAXED,
				 ret_head) == 0;
}

/* Whether the @i-th buffer given back was the @i-th one made available. */
static bool is_same_head(const struct cvmm_vhost_user_frontend *fe,
			 const struct cvmm_virtq_config *config, uint16_t i)
{
	uint64_t at = ENTRIES_AT + (i & (config->size - 1U)) * USED_ENTRY_BYTES;
	uint16_t avail;
	uint32_t used;

	return load_avail_head(fe, config, i, &avail) &&
	       cvmm_mem_load_u32(fe->mem, cvmm_gpa_add(config->used, at), __ATOMIC_RELAXED,
				 &used) == 0 &&
	       used == avail;
}

/* A head that is there twice came back in between, before others that did not. */
static bool are_different(const struct cvmm_vhost_user_frontend *fe,
			  const struct cvmm_virtq_config *config, uint16_t first, uint16_t count)
{
	uint8_t seen[CVMM_VIRTQ_SIZE_MAX / 8] = { 0 };

	for (uint16_t i = 0; i < count; i++) {
		uint16_t head;

		if (!load_avail_head(fe, config, (uint16_t)(first + i), &head) ||
		    head >= config->size || seen[head / 8] >> head % 8 & 1)
			return false;
		seen[head / 8] |= (uint8_t)(1U << head % 8);
	}
	return true;
}

/*
 * Whether what the back-end has is what was made available last: nothing, or all that the rings still show
 * was given back in order. In the first turn that is zeroes, too. The driver may go on making buffers
 * available meanwhile, over the oldest ones.
 */
static bool is_in_order(const struct cvmm_vhost_user_frontend *fe,
			const struct cvmm_virtq_config *config, uint16_t used)
{
	uint16_t avail, waiting, same = 0;

	if (frontend_acked(fe, CVMM_VIRTIO_F_IN_ORDER))
		return true;
	if (!load_avail_index(fe, config, &avail))
		return false;
	if (avail == used)
		return true;
	while (same < config->size && is_same_head(fe, config, (uint16_t)(used - same - 1)))
		same++;
	if (!load_avail_index(fe, config, &avail))
		return false;
	waiting = (uint16_t)(avail - used);
	return waiting <= config->size && same >= config->size - waiting &&
	       are_different(fe, config, used, waiting);
}

static bool has_inflight(const struct cvmm_vhost_user_frontend *fe, unsigned int queue)
{
	return fe->inflight_fd >= 0 && queue < fe->inflight.queue_count;
}

/* Where a queue that was started goes on. */
static int find_base(const struct cvmm_vhost_user_frontend *fe, struct cvmm_vhost_user_queue *queue,
		     struct cvmm_error *err)
{
	uint16_t used;

	if (queue->config.packed)
		return find_packed_base(fe, queue, err);
	if (!frontend_queue_used_index(fe, queue, &used))
		return cvmm_fail(err, -EOPNOTSUPP,
				 "queue %u: its used ring is behind an IOMMU and cannot be read; "
				 "reset the device",
				 queue->index);
	if (!has_inflight(fe, queue->index) && !is_in_order(fe, &queue->config, used))
		return cvmm_fail(
			err, -EOPNOTSUPP,
			"queue %u has no inflight region and does not give back in order: "
			"nobody knows what the back-end had when it died; reset the device",
			queue->index);
	queue->base = (struct cvmm_virtq_base){ .next_avail = used, .next_used = used };
	return 0;
}

/* All of them, before anything is sent. */
static int find_bases(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	int r = 0;

	for (unsigned int i = 0; i < CVMM_VHOST_USER_QUEUES_MAX && !r; i++)
		if (fe->queues[i].started)
			r = find_base(fe, &fe->queues[i].queue, err);
	return r;
}

/* ---- setting all of it again --------------------------------------------------------------------- */

static int check_protocol(struct cvmm_vhost_user_frontend *fe, uint64_t before, unsigned int queues,
			  struct cvmm_error *err)
{
	uint64_t missing = before & ~fe->protocol;

	if (missing)
		return frontend_violated(fe, err,
					 "this back-end does not offer %s, which is in use",
					 cvmm_vhost_user_protocol_feature_name(
						 (unsigned int)__builtin_ctzll(missing)));
	missing = fe->acked & ~fe->offered;
	if (missing)
		return frontend_violated(
			fe, err,
			"this back-end does not offer the features 0x%llx, which are in use",
			(unsigned long long)missing);
	if (fe->logging && !(fe->offered >> CVMM_VHOST_USER_F_LOG_ALL & 1))
		return frontend_violated(fe, err,
					 "this back-end does not offer LOG_ALL, which is in use");
	if (fe->queue_count < queues)
		return frontend_violated(fe, err, "this back-end has %u queues instead of %u",
					 fe->queue_count, queues);
	return 0;
}

static int negotiate_again(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	uint64_t protocol = fe->protocol, offered = fe->offered;
	unsigned int queues = fe->queue_count;
	int r = frontend_negotiate(fe, protocol, err);

	if (!r)
		r = check_protocol(fe, protocol, queues, err);
	if (!r)
		return 0;
	/* The next attempt needs to know what was in use. */
	fe->protocol = protocol;
	fe->offered = offered;
	fe->queue_count = queues;
	return r;
}

static int send_status(struct cvmm_vhost_user_frontend *fe, uint8_t status, struct cvmm_error *err)
{
	uint64_t value = status;

	if (!fe->status_known)
		return 0;
	return frontend_tell(fe, CVMM_VHOST_USER_SET_STATUS, &value, sizeof(value), NULL, 0, err);
}

static int send_device(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	uint64_t mtu = fe->mtu;
	int r = fe->features_set ? frontend_send_features(fe, err) : 0;

	if (!r)
		r = send_status(fe, fe->status & (uint8_t)~CVMM_VIRTIO_STATUS_DRIVER_OK, err);
	if (!r && mtu)
		r = frontend_tell(fe, CVMM_VHOST_USER_NET_SET_MTU, &mtu, sizeof(mtu), NULL, 0, err);
	if (!r)
		r = frontend_send_mem(fe, err);
	if (!r)
		r = frontend_send_log(fe, err);
	return r;
}

/* Their places first, then the inflight region, and then they start. */
static int send_queues(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	int r = 0;

	for (unsigned int i = 0; i < CVMM_VHOST_USER_QUEUES_MAX && !r; i++) {
		fe->queues[i].has_err_fd = false;
		if (fe->queues[i].started)
			r = frontend_queue_send_place(fe, &fe->queues[i].queue, err);
	}
	if (!r)
		r = frontend_send_inflight(fe, err);
	for (unsigned int i = 0; i < CVMM_VHOST_USER_QUEUES_MAX && !r; i++)
		if (fe->queues[i].started)
			r = frontend_queue_send_start(fe, &fe->queues[i].queue,
						      fe->queues[i].enabled, err);
	return r;
}

/* Post-copy does not survive its back-end, whose pages would have to be served again. */
static int check_can_go_on(const struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	if (fe->negotiated && !fe->postcopy_listens)
		return 0;
	return cvmm_fail(err, -EINVAL,
			 fe->negotiated ? "a back-end that died in post-copy cannot be replaced"
					: "there is nothing to set again yet");
}

/* What was remembered, to a back-end that has nothing. */
static int set_up(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	int r = negotiate_again(fe, err);

	if (!r)
		r = send_device(fe, err);
	if (!r)
		r = send_queues(fe, err);
	if (!r)
		r = send_status(fe, fe->status, err);
	return r;
}

int cvmm_vhost_user_frontend_reconnect(struct cvmm_vhost_user_frontend *fe, int fd,
				       struct cvmm_error *err)
{
	struct cvmm_error why = { 0 };
	int r = check_can_go_on(fe, err);

	if (!r)
		r = find_bases(fe, err);
	if (r) {
		cvmm_close_fd(&fd);
		return r;
	}
	frontend_disconnect(fe);
	r = frontend_connect(fe, fd, err);
	if (r)
		return r;
	r = set_up(fe, &why);
	if (!r)
		return 0;
	/* A back-end that has half of it must not be taken for one that has all. */
	frontend_lose(fe, r, why.message);
	return cvmm_fail(err, r, "%s", why.message);
}
