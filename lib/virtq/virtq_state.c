// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a queue whose chains have all come back is a few numbers besides what is in the
 * guest's memory. Chains in flight belong to the device, which knows how to end them; a queue does not
 * remember their buffers. With VIRTIO_F_IN_ORDER, that none is in flight says that none waits either.
 */
#include <errno.h>

#include "virtq_internal.h"

int cvmm_virtq_save(const struct cvmm_virtq *vq, struct cvmm_virtq_state *ret_state)
{
	const struct cvmm_virtq_config *c = &vq->config;
	unsigned int flags = 0;

	if (!vq->started)
		return -EINVAL;
	if (vq->in_flight ||
	    (vq->extras & VIRTQ_EXTRA_INFLIGHT && cvmm_virtq_inflight_has_more(vq)))
		return -EBUSY;
	flags |= c->packed ? CVMM_VIRTQ_STATE_PACKED : 0;
	flags |= c->event_idx ? CVMM_VIRTQ_STATE_EVENT_IDX : 0;
	flags |= c->indirect ? CVMM_VIRTQ_STATE_INDIRECT : 0;
	flags |= c->in_order ? CVMM_VIRTQ_STATE_IN_ORDER : 0;
	flags |= vq->avail_wrap ? CVMM_VIRTQ_STATE_AVAIL_WRAP : 0;
	flags |= vq->used_wrap ? CVMM_VIRTQ_STATE_USED_WRAP : 0;
	*ret_state = (struct cvmm_virtq_state){
		.magic = cvmm_le32_from(CVMM_VIRTQ_STATE_MAGIC),
		.version = cvmm_le16_from(CVMM_VIRTQ_STATE_VERSION),
		.size = cvmm_le16_from(vq->size),
		.desc = cvmm_le64_from(c->desc.addr),
		.avail = cvmm_le64_from(c->avail.addr),
		.used = cvmm_le64_from(c->used.addr),
		.next_avail = cvmm_le16_from(vq->next_avail),
		.next_used = cvmm_le16_from(vq->next_used),
		.flags = cvmm_le16_from((uint16_t)flags),
		.violation = cvmm_le16_from(vq->violation),
		.unsignalled = cvmm_le32_from(vq->unsignalled),
	};
	return 0;
}

static int check_state(const struct cvmm_virtq_state *state, struct cvmm_error *err)
{
	unsigned int flags = cvmm_le16_get(state->flags);

	if (cvmm_le32_get(state->magic) != CVMM_VIRTQ_STATE_MAGIC)
		return cvmm_fail(err, -EINVAL, "virtqueue: this is no saved state of a queue");
	if (cvmm_le16_get(state->version) != CVMM_VIRTQ_STATE_VERSION)
		return cvmm_fail(err, -ENOTSUP,
				 "virtqueue: saved by version %u of the format; this is version %d",
				 cvmm_le16_get(state->version), CVMM_VIRTQ_STATE_VERSION);
	if (flags & ~(unsigned int)CVMM_VIRTQ_STATE_FLAGS_ALL || cvmm_le32_get(state->reserved))
		return cvmm_fail(err, -EINVAL, "virtqueue: saved state has unknown flags %#x",
				 flags);
	if (cvmm_le16_get(state->violation) >= CVMM_VIRTQ_VIOLATION_COUNT)
		return cvmm_fail(err, -EINVAL, "virtqueue: saved state has unknown violation %u",
				 cvmm_le16_get(state->violation));
	if (cvmm_le32_get(state->unsignalled) > UNSIGNALLED_MAX)
		return cvmm_fail(
			err, -EINVAL,
			"virtqueue: saved state has %u elements to tell of; %u is the most",
			cvmm_le32_get(state->unsignalled), UNSIGNALLED_MAX);
	return 0;
}

int cvmm_virtq_restore(struct cvmm_virtq *vq, struct cvmm_mem *mem,
		       const struct cvmm_virtq_state *state, struct cvmm_error *err)
{
	const struct cvmm_virtq_state s = *state;
	unsigned int flags = cvmm_le16_get(s.flags);
	const struct cvmm_virtq_config config = {
		.size = cvmm_le16_get(s.size),
		.desc = cvmm_gpa_from(cvmm_le64_get(s.desc)),
		.avail = cvmm_gpa_from(cvmm_le64_get(s.avail)),
		.used = cvmm_gpa_from(cvmm_le64_get(s.used)),
		.packed = flags & CVMM_VIRTQ_STATE_PACKED,
		.event_idx = flags & CVMM_VIRTQ_STATE_EVENT_IDX,
		.indirect = flags & CVMM_VIRTQ_STATE_INDIRECT,
		.in_order = flags & CVMM_VIRTQ_STATE_IN_ORDER,
	};
	const struct cvmm_virtq_base base = {
		.next_avail = cvmm_le16_get(s.next_avail),
		.next_used = cvmm_le16_get(s.next_used),
		.avail_wrap = flags & CVMM_VIRTQ_STATE_AVAIL_WRAP,
		.used_wrap = flags & CVMM_VIRTQ_STATE_USED_WRAP,
	};
	int ret = check_state(&s, err);

	if (!ret)
		ret = cvmm_virtq_start_at(vq, mem, &config, &base, err);
	if (ret)
		return ret;
	vq->unsignalled = cvmm_le32_get(s.unsignalled);
	vq->violation = (uint8_t)cvmm_le16_get(s.violation);
	vq->usable = !vq->violation;
	return 0;
}
