// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Saved spaces. Only the allocated ranges are written: the gaps follow from them. Restoring builds a
 * second tree beside the first one, with the same code that allocates, and swaps them at the end, so
 * that a malformed state or a lack of memory leaves the space as it was.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "alloc_internal.h"

_Static_assert(sizeof(struct cvmm_alloc_space_state) == 32, "no padding");
_Static_assert(sizeof(struct cvmm_alloc_range_state) == 16, "no padding");
_Static_assert(offsetof(struct cvmm_alloc_space_state, ranges) == 32, "no padding");

size_t cvmm_alloc_space_state_bytes(const struct cvmm_alloc_space *space)
{
	return sizeof(struct cvmm_alloc_space_state) +
	       space->count * sizeof(struct cvmm_alloc_range_state);
}

int cvmm_alloc_space_save(const struct cvmm_alloc_space *space, void *buf, size_t len_bytes,
			  struct cvmm_error *err)
{
	struct cvmm_alloc_space_state head = {
		.magic = cvmm_le32_from(CVMM_ALLOC_SPACE_STATE_MAGIC),
		.version = cvmm_le32_from(CVMM_ALLOC_SPACE_STATE_VERSION),
		.first = cvmm_le64_from(space->range.first),
		.last = cvmm_le64_from(space->range.last),
		.count = cvmm_le64_from(space->count),
	};
	struct cvmm_alloc_range_state range;
	struct cvmm_alloc_extent extent;
	uint64_t addr = space->range.first;
	uint8_t *out = buf;

	if (len_bytes < cvmm_alloc_space_state_bytes(space))
		return cvmm_fail(err, -ENOBUFS, "%s: %zu bytes for a state of %zu", space->name,
				 len_bytes, cvmm_alloc_space_state_bytes(space));
	memcpy(out, &head, sizeof(head));
	out += sizeof(head);
	for (; cvmm_alloc_space_extent_at(space, addr, &extent); addr = extent.range.last + 1) {
		if (extent.allocated) {
			range.first = cvmm_le64_from(extent.range.first);
			range.last = cvmm_le64_from(extent.range.last);
			memcpy(out, &range, sizeof(range));
			out += sizeof(range);
		}
		if (extent.range.last == space->range.last)
			break;
	}
	return 0;
}

static int head_check(const struct cvmm_alloc_space *space,
		      const struct cvmm_alloc_space_state *head, size_t len_bytes,
		      struct cvmm_error *err)
{
	uint64_t first = cvmm_le64_get(head->first), last = cvmm_le64_get(head->last);
	uint64_t count = cvmm_le64_get(head->count);
	size_t rest = len_bytes - sizeof(*head);

	if (cvmm_le32_get(head->magic) != CVMM_ALLOC_SPACE_STATE_MAGIC ||
	    cvmm_le32_get(head->version) != CVMM_ALLOC_SPACE_STATE_VERSION)
		return cvmm_fail(err, -EINVAL,
				 "%s: not the state of a space, or of version %u instead of %u",
				 space->name, cvmm_le32_get(head->version),
				 CVMM_ALLOC_SPACE_STATE_VERSION);
	if (first != space->range.first || last != space->range.last)
		return cvmm_fail(err, -EINVAL,
				 "%s: the state of a space [0x%" PRIx64 ", 0x%" PRIx64
				 "], but this one is [0x%" PRIx64 ", 0x%" PRIx64 "]",
				 space->name, first, last, space->range.first, space->range.last);
	if (count > CVMM_ALLOC_RANGES_MAX || rest != count * sizeof(struct cvmm_alloc_range_state))
		return cvmm_fail(err, -EINVAL, "%s: a state of %" PRIu64 " ranges in %zu bytes",
				 space->name, count, len_bytes);
	return 0;
}

/* Allocate the ranges, each of which must lie behind the one before. */
static int load_ranges(struct cvmm_alloc_space *space, const uint8_t *in, uint64_t count,
		       struct cvmm_error *err)
{
	struct cvmm_alloc_range_state saved;
	struct cvmm_alloc_range range;
	uint64_t lowest = space->range.first;
	bool full = false;
	int r;

	for (uint64_t i = 0; i < count; i++, in += sizeof(saved)) {
		memcpy(&saved, in, sizeof(saved));
		range.first = cvmm_le64_get(saved.first);
		range.last = cvmm_le64_get(saved.last);
		if (full || range.first < lowest || range.first > range.last ||
		    range.last > space->range.last)
			return cvmm_fail(err, -EINVAL,
					 "%s: range %" PRIu64 " of the state, [0x%" PRIx64
					 ", 0x%" PRIx64 "], is out of bounds or out of order",
					 space->name, i, range.first, range.last);
		r = alloc_space_carve(space, range);
		if (r < 0)
			return cvmm_fail(err, r, "%s: out of memory", space->name);
		full = range.last == space->range.last;
		lowest = range.last + !full;
	}
	return 0;
}

int cvmm_alloc_space_restore(struct cvmm_alloc_space *space, const void *state, size_t len_bytes,
			     struct cvmm_error *err)
{
	struct cvmm_alloc_space fresh = { .range = space->range };
	struct cvmm_alloc_space_state head;
	int r;

	if (len_bytes < sizeof(head))
		return cvmm_fail(err, -EINVAL, "%s: a state of %zu bytes, at least %zu are needed",
				 space->name, len_bytes, sizeof(head));
	memcpy(&head, state, sizeof(head));
	r = head_check(space, &head, len_bytes, err);
	if (r < 0)
		return r;
	memcpy(fresh.name, space->name, sizeof(fresh.name));
	r = alloc_space_start(&fresh);
	if (r < 0)
		return cvmm_fail(err, r, "%s: out of memory", space->name);
	r = load_ranges(&fresh, (const uint8_t *)state + sizeof(head), cvmm_le64_get(head.count),
			err);
	if (r < 0) {
		free(fresh.tree.nodes);
		return r;
	}
	free(space->tree.nodes);
	*space = fresh;
	return 0;
}
