// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * The extents of a space cover it from its first to its last address: each is free or allocated, an
 * allocated one is what one call allocated, and no two free ones touch. Allocating cuts a piece out
 * of a free extent, freeing turns an allocated extent into a free one and joins it with free
 * neighbours. Every operation has three steps: check everything, get the memory that it may need,
 * change the tree; only the first two can fail.
 *
 * No address is ever computed beyond an extent's first or last one before it has been compared with
 * the space's: there is no number before 0 or after UINT64_MAX to compute.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "alloc_internal.h"

#define RANGE_FORMAT "[0x%" PRIx64 ", 0x%" PRIx64 "]"

/* ---- life ------------------------------------------------------------------------------------ */

/* Make the one free extent of an empty space. The space's range and name are set. */
int alloc_space_start(struct cvmm_alloc_space *space)
{
	int r = alloc_tree_reserve(&space->tree, 1);

	if (r < 0)
		return r;
	alloc_tree_add(&space->tree, space->range.first, space->range.last, false);
	space->free_bytes = space->range.last - space->range.first + 1;
	return 0;
}

int cvmm_alloc_space_create(const char *name, struct cvmm_alloc_range range,
			    struct cvmm_alloc_space **ret_space, struct cvmm_error *err)
{
	struct cvmm_alloc_space *space;
	int r;

	if (range.first > range.last)
		return cvmm_fail(err, -EINVAL, "%s: a space from 0x%" PRIx64 " to 0x%" PRIx64, name,
				 range.first, range.last);
	space = calloc(1, sizeof(*space));
	if (!space)
		return cvmm_fail(err, -ENOMEM, "%s: out of memory", name);
	space->range = range;
	alloc_name_copy(space->name, name);
	r = alloc_space_start(space);
	if (r < 0) {
		cvmm_alloc_space_destroy(space);
		return cvmm_fail(err, r, "%s: out of memory", name);
	}
	*ret_space = space;
	return 0;
}

void cvmm_alloc_space_destroy(struct cvmm_alloc_space *space)
{
	if (!space)
		return;
	free(space->tree.nodes);
	free(space);
}

/* ---- allocate -------------------------------------------------------------------------------- */

/**
 * alloc_space_carve() - cut an allocated extent out of a free one
 * @range: inside one free extent
 *
 * Return: 0 or -ENOMEM; then nothing has changed.
 */
int alloc_space_carve(struct cvmm_alloc_space *space, struct cvmm_alloc_range range)
{
	struct alloc_tree *tree = &space->tree;
	uint32_t n = alloc_tree_find(tree, range.first);
	struct alloc_node *node = alloc_node_at(tree, n);
	struct cvmm_alloc_range gap = { node->first, node->last };
	bool low_rest = gap.first < range.first, high_rest = range.last < gap.last;
	int r;

	CVMM_BUG_ON(!n || node->allocated || range.last > gap.last);
	if (space->count == CVMM_ALLOC_RANGES_MAX)
		return -ENOMEM;
	r = alloc_tree_reserve(tree, low_rest + high_rest);
	if (r < 0)
		return r;

	/* The node keeps its first address, and so its place in the tree; the array may have moved. */
	node = alloc_node_at(tree, n);
	node->last = low_rest ? range.first - 1 : range.last;
	node->allocated = !low_rest;
	alloc_tree_refresh(tree, gap.first);
	if (low_rest)
		alloc_tree_add(tree, range.first, range.last, true);
	if (high_rest)
		alloc_tree_add(tree, range.last + 1, gap.last, false);
	space->free_bytes -= range.last - range.first + 1;
	space->count++;
	return 0;
}

static int carve(struct cvmm_alloc_space *space, struct cvmm_alloc_range range,
		 struct cvmm_error *err)
{
	int r = alloc_space_carve(space, range);

	if (r < 0 && space->count == CVMM_ALLOC_RANGES_MAX)
		return cvmm_fail(err, r, "%s: holds %u ranges, and cannot hold more", space->name,
				 space->count);
	if (r < 0)
		return cvmm_fail(err, r, "%s: out of memory", space->name);
	return 0;
}

int cvmm_alloc_space_reserve(struct cvmm_alloc_space *space, struct cvmm_alloc_range range,
			     struct cvmm_error *err)
{
	const struct alloc_tree *tree = &space->tree;
	const struct alloc_node *node;

	if (range.first > range.last)
		return cvmm_fail(err, -EINVAL, "%s: a range from 0x%" PRIx64 " to 0x%" PRIx64,
				 space->name, range.first, range.last);
	if (range.first < space->range.first || range.last > space->range.last)
		return cvmm_fail(err, -ERANGE,
				 "%s: " RANGE_FORMAT " leaves the space " RANGE_FORMAT, space->name,
				 range.first, range.last, space->range.first, space->range.last);
	node = alloc_node_at(tree, alloc_tree_find(tree, range.first));
	/* What follows a free extent is an allocated one. */
	if (!node->allocated && node->last < range.last)
		node = alloc_node_at(tree, alloc_tree_find(tree, node->last + 1));
	if (node->allocated)
		return cvmm_fail(err, -EBUSY,
				 "%s: " RANGE_FORMAT " is not free: " RANGE_FORMAT " is allocated",
				 space->name, range.first, range.last, node->first, node->last);
	return carve(space, range, err);
}

static int request_check(const struct cvmm_alloc_space *space,
			 const struct cvmm_alloc_request *request, struct cvmm_error *err)
{
	if (!request->len_bytes)
		return cvmm_fail(err, -EINVAL, "%s: a request for 0 bytes", space->name);
	if (!cvmm_is_pow2(request->align_bytes))
		return cvmm_fail(err, -EINVAL,
				 "%s: an alignment of 0x%" PRIx64 ", which is no power of two",
				 space->name, request->align_bytes);
	if (request->policy == CVMM_ALLOC_FIRST_MATCH || request->policy == CVMM_ALLOC_LAST_MATCH)
		return 0;
	if (request->policy != CVMM_ALLOC_EXACT_MATCH)
		return cvmm_fail(err, -EINVAL, "%s: unknown policy %d", space->name,
				 (int)request->policy);
	if (request->exact_first & (request->align_bytes - 1))
		return cvmm_fail(err, -EINVAL, "%s: 0x%" PRIx64 " is not aligned to 0x%" PRIx64,
				 space->name, request->exact_first, request->align_bytes);
	if (request->len_bytes - 1 > UINT64_MAX - request->exact_first)
		return cvmm_fail(err, -EINVAL,
				 "%s: 0x%" PRIx64 " bytes at 0x%" PRIx64 " go beyond 2^64",
				 space->name, request->len_bytes, request->exact_first);
	return 0;
}

static int fail_no_gap(const struct cvmm_alloc_space *space,
		       const struct cvmm_alloc_request *request, struct cvmm_error *err)
{
	struct cvmm_alloc_range gap;

	if (!cvmm_alloc_space_largest_gap(space, &gap))
		return cvmm_fail(err, -ENOSPC,
				 "%s: no gap of 0x%" PRIx64 " bytes in " RANGE_FORMAT
				 "; all of it is allocated",
				 space->name, request->len_bytes, space->range.first,
				 space->range.last);
	/* A gap of 2^64 bytes, whose length does not fit, holds every request. */
	return cvmm_fail(err, -ENOSPC,
			 "%s: no gap of 0x%" PRIx64 " bytes aligned to 0x%" PRIx64
			 " in " RANGE_FORMAT "; the largest is 0x%" PRIx64 " bytes at 0x%" PRIx64,
			 space->name, request->len_bytes, request->align_bytes, space->range.first,
			 space->range.last, gap.last - gap.first + 1, gap.first);
}

int cvmm_alloc_space_take(struct cvmm_alloc_space *space, const struct cvmm_alloc_request *request,
			  struct cvmm_alloc_range *ret_range, struct cvmm_error *err)
{
	struct cvmm_alloc_request req = *request;
	struct cvmm_alloc_range range;
	struct alloc_want want;
	int r = request_check(space, &req, err);

	if (r < 0)
		return r;
	range.first = req.exact_first;
	if (req.policy != CVMM_ALLOC_EXACT_MATCH) {
		want = alloc_gap_want(req.len_bytes, req.align_bytes);
		if (!alloc_tree_fit(&space->tree, &want, req.policy == CVMM_ALLOC_LAST_MATCH,
				    &range.first))
			return fail_no_gap(space, &req, err);
	}
	range.last = range.first + (req.len_bytes - 1);
	if (req.policy == CVMM_ALLOC_EXACT_MATCH)
		r = cvmm_alloc_space_reserve(space, range, err);
	else
		r = carve(space, range, err);
	if (r < 0)
		return r;
	*ret_range = range;
	return 0;
}

/* ---- free ------------------------------------------------------------------------------------ */

/* Make an extent free and join it with the gaps beside it. */
static void release(struct cvmm_alloc_space *space, uint32_t n)
{
	struct alloc_tree *tree = &space->tree;
	struct alloc_node *node = alloc_node_at(tree, n), *other;
	uint64_t first = node->first, last = node->last;

	space->free_bytes += last - first + 1;
	space->count--;
	if (last < space->range.last) {
		other = alloc_node_at(tree, alloc_tree_find(tree, last + 1));
		if (!other->allocated) {
			last = other->last;
			alloc_tree_remove(tree, other->first);
		}
	}
	if (first > space->range.first) {
		other = alloc_node_at(tree, alloc_tree_find(tree, first - 1));
		if (!other->allocated) {
			alloc_tree_remove(tree, first);
			node = other;
		}
	}
	node->last = last;
	node->allocated = false;
	alloc_tree_refresh(tree, node->first);
}

int cvmm_alloc_space_free(struct cvmm_alloc_space *space, struct cvmm_alloc_range range,
			  struct cvmm_error *err)
{
	uint32_t n = alloc_tree_find(&space->tree, range.first);
	const struct alloc_node *node = alloc_node_at(&space->tree, n);

	if (range.first > range.last)
		return cvmm_fail(err, -EINVAL, "%s: a range from 0x%" PRIx64 " to 0x%" PRIx64,
				 space->name, range.first, range.last);
	if (!n)
		return cvmm_fail(err, -ENOENT,
				 "%s: " RANGE_FORMAT " is not in the space " RANGE_FORMAT,
				 space->name, range.first, range.last, space->range.first,
				 space->range.last);
	if (!node->allocated)
		return cvmm_fail(err, -ENOENT, "%s: " RANGE_FORMAT " is not allocated", space->name,
				 range.first, range.last);
	if (node->first != range.first || node->last != range.last)
		return cvmm_fail(err, -ENOENT,
				 "%s: " RANGE_FORMAT " is not what was allocated: " RANGE_FORMAT,
				 space->name, range.first, range.last, node->first, node->last);
	release(space, n);
	return 0;
}

/* ---- questions ------------------------------------------------------------------------------- */

struct cvmm_alloc_range cvmm_alloc_space_range(const struct cvmm_alloc_space *space)
{
	return space->range;
}

uint64_t cvmm_alloc_space_available(const struct cvmm_alloc_space *space)
{
	bool all_of_2_64 = !space->free_bytes && !space->count;

	return all_of_2_64 ? UINT64_MAX : space->free_bytes;
}

uint32_t cvmm_alloc_space_count(const struct cvmm_alloc_space *space)
{
	return space->count;
}

bool cvmm_alloc_space_largest_gap(const struct cvmm_alloc_space *space,
				  struct cvmm_alloc_range *ret_gap)
{
	uint32_t n = alloc_tree_largest_gap(&space->tree);
	const struct alloc_node *node = alloc_node_at(&space->tree, n);

	if (!n)
		return false;
	ret_gap->first = node->first;
	ret_gap->last = node->last;
	return true;
}

bool cvmm_alloc_space_extent_at(const struct cvmm_alloc_space *space, uint64_t addr,
				struct cvmm_alloc_extent *ret_extent)
{
	uint32_t n = alloc_tree_find(&space->tree, addr);
	const struct alloc_node *node = alloc_node_at(&space->tree, n);

	if (!n)
		return false;
	ret_extent->range.first = node->first;
	ret_extent->range.last = node->last;
	ret_extent->allocated = node->allocated;
	return true;
}

bool cvmm_alloc_space_is_allocated(const struct cvmm_alloc_space *space, uint64_t addr)
{
	return alloc_node_at(&space->tree, alloc_tree_find(&space->tree, addr))->allocated;
}
