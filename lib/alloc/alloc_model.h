/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * For tests and fuzzers: a space and a set of ids beside a model of each, an array with one entry for
 * each cell. Every operation is done to both, by brute force to the model, and must end alike.
 *
 * A cell of a space is one byte, or 2^56 of them: then 256 cells are the whole of 2^64.
 */
#ifndef CVMM_ALLOC_MODEL_H
#define CVMM_ALLOC_MODEL_H

#include <errno.h>
#include <stdlib.h>

#include "alloc_check.h"

#define MODEL_CELLS 256U
#define MODEL_DEPTH 12U /* an AVL tree of 2 * 256 + 1 nodes is no higher */

static inline void model_expect(bool condition)
{
	if (!condition)
		abort();
}

/* ---- spaces ---------------------------------------------------------------------------------- */

/* @owner: for each cell 0, or 1 + the first cell of the allocation that holds it. */
struct model_space {
	struct cvmm_alloc_space *space;
	uint64_t base;
	unsigned int shift; /* a cell is 2^shift bytes */
	uint16_t owner[MODEL_CELLS];
};

static inline struct cvmm_alloc_range model_range(const struct model_space *m, uint64_t cell,
						  uint64_t count)
{
	struct cvmm_alloc_range range = { m->base + (cell << m->shift), 0 };

	range.last = range.first + ((count - 1) << m->shift) + ((UINT64_C(1) << m->shift) - 1);
	return range;
}

static inline void model_space_open(struct model_space *m, uint64_t base, unsigned int shift)
{
	memset(m, 0, sizeof(*m));
	m->base = base;
	m->shift = shift;
	model_expect(
		!cvmm_alloc_space_create("model", model_range(m, 0, MODEL_CELLS), &m->space, NULL));
}

static inline void model_space_close(struct model_space *m)
{
	cvmm_alloc_space_destroy(m->space);
}

static inline bool model_free_at(const struct model_space *m, uint64_t cell, uint64_t count)
{
	if (cell >= MODEL_CELLS || count > MODEL_CELLS - cell)
		return false;
	for (uint64_t i = 0; i < count; i++) {
		if (m->owner[cell + i])
			return false;
	}
	return true;
}

static inline void model_own(struct model_space *m, uint64_t cell, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		m->owner[cell + i] = (uint16_t)(1 + cell);
}

/* Everything that can be asked of the space must agree with the model. */
static inline void model_space_compare(const struct model_space *m)
{
	uint64_t cell = 0, free_cells = 0, gap, largest = 0, largest_at = 0, expected;
	struct cvmm_alloc_extent extent;
	struct cvmm_alloc_range range;
	uint32_t count = 0;

	model_expect(check_space(m->space, MODEL_DEPTH));
	while (cell < MODEL_CELLS) {
		uint64_t end = cell;

		while (end < MODEL_CELLS && m->owner[end] == m->owner[cell])
			end++;
		gap = end - cell;
		range = model_range(m, cell, gap);
		model_expect(cvmm_alloc_space_extent_at(m->space, range.first, &extent));
		model_expect(extent.range.first == range.first && extent.range.last == range.last);
		model_expect(extent.allocated == (m->owner[cell] != 0));
		model_expect(cvmm_alloc_space_is_allocated(m->space, range.last) ==
			     extent.allocated);
		if (extent.allocated) {
			count++;
		} else {
			free_cells += gap;
			if (gap > largest) {
				largest = gap;
				largest_at = cell;
			}
		}
		cell = end;
	}
	expected = free_cells << m->shift;
	if (free_cells && !expected)
		expected = UINT64_MAX;
	model_expect(cvmm_alloc_space_available(m->space) == expected);
	model_expect(cvmm_alloc_space_count(m->space) == count);
	model_expect(cvmm_alloc_space_largest_gap(m->space, &range) == (largest > 0));
	if (largest)
		model_expect(range.first == model_range(m, largest_at, largest).first &&
			     range.last == model_range(m, largest_at, largest).last);
}

/* Where the policy puts @count cells, or MODEL_CELLS. */
static inline uint64_t model_place(const struct model_space *m, uint64_t count, uint64_t align,
				   enum cvmm_alloc_policy policy)
{
	uint64_t found = MODEL_CELLS;

	for (uint64_t cell = 0; cell < MODEL_CELLS; cell++) {
		if (model_range(m, cell, 1).first % align || !model_free_at(m, cell, count))
			continue;
		found = cell;
		if (policy == CVMM_ALLOC_FIRST_MATCH)
			break;
	}
	return found;
}

/* @align_shift: the alignment is 2^align_shift cells. */
static inline void model_space_take(struct model_space *m, uint64_t count, unsigned int align_shift,
				    enum cvmm_alloc_policy policy)
{
	struct cvmm_alloc_range range = { 1, 2 };
	struct cvmm_alloc_request request = {
		.len_bytes = count << m->shift,
		.align_bytes = UINT64_C(1) << ((m->shift + align_shift) % 64),
		.policy = policy,
	};
	uint64_t cell = model_place(m, count, request.align_bytes, policy);
	struct cvmm_error err;
	int r = cvmm_alloc_space_take(m->space, &request, &range, &err);

	if (!request.len_bytes) {
		model_expect(r == -EINVAL && range.first == 1 && range.last == 2);
	} else if (cell == MODEL_CELLS) {
		model_expect(r == -ENOSPC && range.first == 1 && range.last == 2);
	} else {
		model_expect(!r && range.first == model_range(m, cell, count).first &&
			     range.last == model_range(m, cell, count).last);
		model_own(m, cell, count);
	}
}

/* Reserve @count >= 1 cells at @cell; the range may leave the space at its end. */
static inline void model_space_reserve(struct model_space *m, uint64_t cell, uint64_t count)
{
	struct cvmm_alloc_range range = model_range(m, cell, count);
	int r = cvmm_alloc_space_reserve(m->space, range, NULL);

	if (range.last < range.first)
		model_expect(r == -EINVAL);
	else if (count > MODEL_CELLS - cell)
		model_expect(r == -ERANGE);
	else if (!model_free_at(m, cell, count))
		model_expect(r == -EBUSY);
	else
		model_expect(!r);
	if (!r)
		model_own(m, cell, count);
}

/* Free @count >= 1 cells at @cell, whatever they are. */
static inline void model_space_free(struct model_space *m, uint64_t cell, uint64_t count)
{
	struct cvmm_alloc_range range = model_range(m, cell, count);
	bool whole = count <= MODEL_CELLS - cell && m->owner[cell] == 1 + cell &&
		     (cell + count == MODEL_CELLS || m->owner[cell + count] != 1 + cell);
	int r;

	for (uint64_t i = 0; whole && i < count; i++)
		whole = m->owner[cell + i] == 1 + cell;
	r = cvmm_alloc_space_free(m->space, range, NULL);
	model_expect(r == (whole ? 0 : range.last < range.first ? -EINVAL : -ENOENT));
	if (whole)
		memset(&m->owner[cell], 0, count * sizeof(m->owner[0]));
}

/* Free the allocation that holds a cell, if there is one. */
static inline void model_space_free_owner(struct model_space *m, uint64_t cell)
{
	uint64_t first, count = 0;

	if (!m->owner[cell])
		return;
	first = m->owner[cell] - 1U;
	while (first + count < MODEL_CELLS && m->owner[first + count] == 1 + first)
		count++;
	model_space_free(m, first, count);
}

/* Save, restore into a new space, and go on with that one. */
static inline void model_space_move(struct model_space *m)
{
	size_t len = cvmm_alloc_space_state_bytes(m->space);
	uint8_t *state = malloc(len), *again = malloc(len);
	struct cvmm_alloc_space *moved;

	model_expect(state && again && !cvmm_alloc_space_save(m->space, state, len, NULL));
	model_expect(
		!cvmm_alloc_space_create("moved", cvmm_alloc_space_range(m->space), &moved, NULL));
	model_expect(!cvmm_alloc_space_restore(moved, state, len, NULL));
	model_expect(!cvmm_alloc_space_save(moved, again, len, NULL) && !memcmp(state, again, len));
	cvmm_alloc_space_destroy(m->space);
	m->space = moved;
	free(state);
	free(again);
}

/* One operation, chosen by four numbers of any size. */
static inline void model_space_step(struct model_space *m, unsigned int op, unsigned int a,
				    unsigned int b, unsigned int c)
{
	uint64_t cell = a % MODEL_CELLS;

	switch (op % 8) {
	case 0:
	case 1:
		model_space_take(m, b % 40, c % 7, CVMM_ALLOC_FIRST_MATCH);
		break;
	case 2:
		model_space_take(m, b % 40, c % 7, CVMM_ALLOC_LAST_MATCH);
		break;
	case 3:
		model_space_reserve(m, cell, 1 + b % (c % 2 ? 8 : MODEL_CELLS));
		break;
	case 4:
		model_space_free(m, cell, 1 + b % 16);
		break;
	case 5:
	case 6:
		model_space_free_owner(m, cell);
		break;
	default:
		if (b % 8 == 0)
			model_space_move(m);
		else
			model_space_take(m, 1 + b % 3, 0,
					 c % 2 ? CVMM_ALLOC_LAST_MATCH : CVMM_ALLOC_FIRST_MATCH);
		break;
	}
}

/* ---- ids ------------------------------------------------------------------------------------- */

struct model_ids {
	struct cvmm_alloc_ids *ids;
	uint32_t base;
	uint32_t count;
	bool taken[MODEL_CELLS];
};

static inline void model_ids_open(struct model_ids *m, uint32_t base, uint32_t count)
{
	memset(m, 0, sizeof(*m));
	m->base = base;
	m->count = count;
	model_expect(!cvmm_alloc_ids_create(
		"model", (struct cvmm_alloc_id_range){ base, base + (count - 1) }, &m->ids, NULL));
}

static inline void model_ids_close(struct model_ids *m)
{
	cvmm_alloc_ids_destroy(m->ids);
}

static inline bool model_ids_all(const struct model_ids *m, uint32_t first, uint32_t count,
				 bool value)
{
	for (uint32_t i = first; i < first + count; i++) {
		if (i >= m->count || m->taken[i] != value)
			return false;
	}
	return true;
}

static inline void model_ids_compare(const struct model_ids *m)
{
	struct cvmm_alloc_id_range run = { 0, 0 };
	uint64_t available = 0;
	uint32_t i = 0;

	model_expect(check_ids(m->ids));
	for (uint32_t id = 0; id < m->count; id++) {
		available += !m->taken[id];
		model_expect(cvmm_alloc_ids_is_allocated(m->ids, m->base + id) == m->taken[id]);
	}
	model_expect(cvmm_alloc_ids_available(m->ids) == available);
	while (i < m->count) {
		uint32_t end = i;

		if (!m->taken[i]) {
			i++;
			continue;
		}
		while (end < m->count && m->taken[end])
			end++;
		model_expect(cvmm_alloc_ids_next_run(m->ids, m->base + i, &run));
		model_expect(run.first == m->base + i && run.last == m->base + end - 1);
		i = end;
	}
}

/* Take the lowest aligned run. A @count of 1 and an @align of 1 take by cvmm_alloc_ids_take(). */
static inline void model_ids_take(struct model_ids *m, uint32_t count, uint32_t align)
{
	uint32_t at = 0, id = 7;
	int r;

	while (at < m->count &&
	       (((uint64_t)m->base + at) % align || !model_ids_all(m, at, count, false)))
		at++;
	r = count == 1 && align == 1 ? cvmm_alloc_ids_take(m->ids, &id, NULL)
				     : cvmm_alloc_ids_take_run(m->ids, count, align, &id, NULL);
	if (at >= m->count) {
		model_expect(r == -ENOSPC && id == 7);
		return;
	}
	model_expect(!r && id == m->base + at);
	for (uint32_t i = at; i < at + count; i++)
		m->taken[i] = true;
}

/* Reserve (@value true) or free @count ids from @at on. */
static inline void model_ids_set(struct model_ids *m, uint32_t at, uint32_t count, bool value)
{
	struct cvmm_alloc_id_range run = { m->base + at, m->base + at + (count - 1) };
	bool inside = at < m->count && count <= m->count - at;
	int expected = 0, r;

	if (run.last < run.first)
		expected = -EINVAL;
	else if (!inside)
		expected = value ? -ERANGE : -ENOENT;
	else if (!model_ids_all(m, at, count, !value))
		expected = value ? -EBUSY : -ENOENT;
	r = value ? cvmm_alloc_ids_reserve(m->ids, run, NULL)
		  : cvmm_alloc_ids_free(m->ids, run, NULL);
	model_expect(r == expected);
	for (uint32_t i = at; !r && i < at + count; i++)
		m->taken[i] = value;
}

static inline void model_ids_move(struct model_ids *m)
{
	size_t len = cvmm_alloc_ids_state_bytes(m->ids);
	uint8_t *state = malloc(len), *again = malloc(len);
	struct cvmm_alloc_ids *moved;

	model_expect(state && again && !cvmm_alloc_ids_save(m->ids, state, len, NULL));
	model_expect(!cvmm_alloc_ids_create("moved", cvmm_alloc_ids_range(m->ids), &moved, NULL));
	model_expect(!cvmm_alloc_ids_restore(moved, state, len, NULL));
	model_expect(!cvmm_alloc_ids_save(moved, again, len, NULL) && !memcmp(state, again, len));
	cvmm_alloc_ids_destroy(m->ids);
	m->ids = moved;
	free(state);
	free(again);
}

static inline void model_ids_step(struct model_ids *m, unsigned int op, unsigned int a,
				  unsigned int b, unsigned int c)
{
	uint32_t at = a % (m->count + 1);

	switch (op % 8) {
	case 0:
	case 1:
		model_ids_take(m, 1, 1);
		break;
	case 2:
	case 3:
		model_ids_take(m, 1 + b % 33, UINT32_C(1) << c % 7);
		break;
	case 4:
		model_ids_set(m, at, 1 + b % (c % 2 ? 4 : 100), true);
		break;
	case 5:
	case 6:
		model_ids_set(m, at, 1 + b % (c % 4 ? 2 : 40), false);
		break;
	default:
		model_ids_move(m);
		break;
	}
}

#endif /* CVMM_ALLOC_MODEL_H */
