// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Saved ids: the maximal runs of taken ones, which is as short as the set is tidy and has one form
 * only. Restoring fills a second set and swaps at the end, as alloc_space_state.c does.
 */
#include <errno.h>
#include <stdlib.h>

#include "alloc_internal.h"

_Static_assert(sizeof(struct cvmm_alloc_ids_state) == 24, "no padding");
_Static_assert(sizeof(struct cvmm_alloc_id_run_state) == 8, "no padding");
_Static_assert(offsetof(struct cvmm_alloc_ids_state, runs) == 24, "no padding");

/* The run after @run, or the first one if @run is NULL. */
static bool run_after(const struct cvmm_alloc_ids *ids, const struct cvmm_alloc_id_range *run,
		      struct cvmm_alloc_id_range *ret_run)
{
	if (!run)
		return cvmm_alloc_ids_next_run(ids, ids->range.first, ret_run);
	return run->last != ids->range.last && cvmm_alloc_ids_next_run(ids, run->last + 1, ret_run);
}

static uint32_t count_runs(const struct cvmm_alloc_ids *ids)
{
	struct cvmm_alloc_id_range run;
	uint32_t count = 0;

	for (bool any = run_after(ids, NULL, &run); any; any = run_after(ids, &run, &run))
		count++;
	return count;
}

size_t cvmm_alloc_ids_state_bytes(const struct cvmm_alloc_ids *ids)
{
	return sizeof(struct cvmm_alloc_ids_state) +
	       count_runs(ids) * sizeof(struct cvmm_alloc_id_run_state);
}

int cvmm_alloc_ids_save(const struct cvmm_alloc_ids *ids, void *buf, size_t len_bytes,
			struct cvmm_error *err)
{
	uint32_t count = count_runs(ids);
	size_t needed = sizeof(struct cvmm_alloc_ids_state) +
			count * sizeof(struct cvmm_alloc_id_run_state);
	struct cvmm_alloc_ids_state head = {
		.magic = cvmm_le32_from(CVMM_ALLOC_IDS_STATE_MAGIC),
		.version = cvmm_le32_from(CVMM_ALLOC_IDS_STATE_VERSION),
		.first = cvmm_le32_from(ids->range.first),
		.last = cvmm_le32_from(ids->range.last),
		.count = cvmm_le32_from(count),
	};
	struct cvmm_alloc_id_run_state saved;
	struct cvmm_alloc_id_range run;
	uint8_t *out = buf;

	if (len_bytes < needed)
		return cvmm_fail(err, -ENOBUFS, "%s: %zu bytes for a state of %zu", ids->name,
				 len_bytes, needed);
	memcpy(out, &head, sizeof(head));
	out += sizeof(head);
	for (bool any = run_after(ids, NULL, &run); any; any = run_after(ids, &run, &run)) {
		saved.first = cvmm_le32_from(run.first);
		saved.last = cvmm_le32_from(run.last);
		memcpy(out, &saved, sizeof(saved));
		out += sizeof(saved);
	}
	return 0;
}

static int head_check(const struct cvmm_alloc_ids *ids, const struct cvmm_alloc_ids_state *head,
		      size_t len_bytes, struct cvmm_error *err)
{
	uint32_t first = cvmm_le32_get(head->first), last = cvmm_le32_get(head->last);
	uint64_t count = cvmm_le32_get(head->count);
	uint64_t rest = len_bytes - sizeof(*head);

	if (cvmm_le32_get(head->magic) != CVMM_ALLOC_IDS_STATE_MAGIC ||
	    cvmm_le32_get(head->version) != CVMM_ALLOC_IDS_STATE_VERSION)
		return cvmm_fail(
			err, -EINVAL, "%s: not the state of ids, or of version %u instead of %u",
			ids->name, cvmm_le32_get(head->version), CVMM_ALLOC_IDS_STATE_VERSION);
	if (first != ids->range.first || last != ids->range.last)
		return cvmm_fail(err, -EINVAL,
				 "%s: the state of ids %u to %u, but these are %u to %u", ids->name,
				 first, last, ids->range.first, ids->range.last);
	if (cvmm_le32_get(head->reserved))
		return cvmm_fail(err, -EINVAL, "%s: a state with reserved bits set", ids->name);
	if (rest != count * sizeof(struct cvmm_alloc_id_run_state))
		return cvmm_fail(err, -EINVAL, "%s: a state of %u runs in %zu bytes", ids->name,
				 (uint32_t)count, len_bytes);
	return 0;
}

/* Take the runs, each of which must lie behind the one before, with a free id between. */
static int load_runs(struct cvmm_alloc_ids *ids, const uint8_t *in, uint32_t count,
		     struct cvmm_error *err)
{
	struct cvmm_alloc_id_run_state saved;
	struct cvmm_alloc_id_range run;
	uint64_t lowest = ids->range.first;
	int r;

	for (uint32_t i = 0; i < count; i++, in += sizeof(saved)) {
		memcpy(&saved, in, sizeof(saved));
		run.first = cvmm_le32_get(saved.first);
		run.last = cvmm_le32_get(saved.last);
		if (run.first < lowest || run.first > run.last || run.last > ids->range.last)
			return cvmm_fail(
				err, -EINVAL,
				"%s: run %u of the state, %u to %u, is out of bounds or out of order",
				ids->name, i, run.first, run.last);
		r = cvmm_alloc_ids_reserve(ids, run, err);
		if (r < 0)
			return r;
		lowest = (uint64_t)run.last + 2;
	}
	return 0;
}

int cvmm_alloc_ids_restore(struct cvmm_alloc_ids *ids, const void *state, size_t len_bytes,
			   struct cvmm_error *err)
{
	struct cvmm_alloc_ids_state head;
	struct cvmm_alloc_ids *fresh, old;
	int r;

	if (len_bytes < sizeof(head))
		return cvmm_fail(err, -EINVAL, "%s: a state of %zu bytes, at least %zu are needed",
				 ids->name, len_bytes, sizeof(head));
	memcpy(&head, state, sizeof(head));
	r = head_check(ids, &head, len_bytes, err);
	if (r < 0)
		return r;
	r = cvmm_alloc_ids_create(ids->name, ids->range, &fresh, err);
	if (r < 0)
		return r;
	r = load_runs(fresh, (const uint8_t *)state + sizeof(head), cvmm_le32_get(head.count), err);
	if (!r) {
		old = *ids;
		*ids = *fresh;
		*fresh = old;
	}
	cvmm_alloc_ids_destroy(fresh);
	return r;
}
