// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * Level 0 has one bit for each id, set while it is taken. Each level above has one bit for each word
 * of the level below, set while that word is full, up to a level of one word. The smallest free id is
 * found by going down along the first zero bit: six words for 2^32 ids. Bits beyond the last id are
 * set from the beginning, so that no search has to know where the ids end.
 *
 * A position is an id minus the first id of the set, as a 64-bit number: no sum of positions can
 * overflow, also where the set ends at UINT32_MAX.
 */
#include <errno.h>
#include <stdlib.h>

#include "alloc_internal.h"

#define WORD_BITS 64U

static size_t words_for(uint64_t bits)
{
	return (size_t)((bits + WORD_BITS - 1) / WORD_BITS);
}

/* ---- life ------------------------------------------------------------------------------------ */

/* Lay out the levels. Return: words of all of them. */
static size_t lay_out(struct cvmm_alloc_ids *ids)
{
	uint64_t bits = ids->total;
	size_t words = 0;

	do {
		ids->level[ids->level_count++] = words;
		words += words_for(bits);
		bits = words_for(bits);
	} while (bits > 1);
	return words;
}

/* Set the bits that stand for nothing. */
static void fill_tails(struct cvmm_alloc_ids *ids)
{
	uint64_t bits = ids->total;

	for (unsigned int l = 0; l < ids->level_count; l++) {
		size_t words = words_for(bits);

		if (bits % WORD_BITS)
			ids->words[ids->level[l] + words - 1] = UINT64_MAX << (bits % WORD_BITS);
		bits = words;
	}
}

int cvmm_alloc_ids_create(const char *name, struct cvmm_alloc_id_range range,
			  struct cvmm_alloc_ids **ret_ids, struct cvmm_error *err)
{
	struct cvmm_alloc_ids *ids;

	if (range.first > range.last)
		return cvmm_fail(err, -EINVAL, "%s: ids from %u to %u", name, range.first,
				 range.last);
	ids = calloc(1, sizeof(*ids));
	if (!ids)
		return cvmm_fail(err, -ENOMEM, "%s: out of memory", name);
	ids->range = range;
	ids->total = (uint64_t)range.last - range.first + 1;
	alloc_name_copy(ids->name, name);
	ids->words = calloc(lay_out(ids), sizeof(*ids->words));
	if (!ids->words) {
		cvmm_alloc_ids_destroy(ids);
		return cvmm_fail(err, -ENOMEM, "%s: out of memory", name);
	}
	fill_tails(ids);
	*ret_ids = ids;
	return 0;
}

void cvmm_alloc_ids_destroy(struct cvmm_alloc_ids *ids)
{
	if (!ids)
		return;
	free(ids->words);
	free(ids);
}

/* ---- bits ------------------------------------------------------------------------------------ */

/* The bits of a word that stand for positions first to end - 1; *ret_stop: where the word ends. */
static uint64_t bits_of_word(uint64_t first, uint64_t end, uint64_t *ret_stop)
{
	uint64_t base = first / WORD_BITS * WORD_BITS;
	uint64_t stop = end - base < WORD_BITS ? end : base + WORD_BITS;

	*ret_stop = stop;
	return UINT64_MAX << (first - base) & UINT64_MAX >> (WORD_BITS - (stop - base));
}

/* Tell the levels above that a word of level 0 is full. */
static void mark_full(struct cvmm_alloc_ids *ids, uint64_t at)
{
	for (unsigned int l = 1; l < ids->level_count; l++, at /= WORD_BITS) {
		uint64_t *word = &ids->words[ids->level[l] + at / WORD_BITS];

		*word |= UINT64_C(1) << (at % WORD_BITS);
		if (*word != UINT64_MAX)
			break;
	}
}

/* Tell the levels above that a word of level 0, which was full, has room again. */
static void mark_room(struct cvmm_alloc_ids *ids, uint64_t at)
{
	for (unsigned int l = 1; l < ids->level_count; l++, at /= WORD_BITS) {
		uint64_t *word = &ids->words[ids->level[l] + at / WORD_BITS];
		bool was_full = *word == UINT64_MAX;

		*word &= ~(UINT64_C(1) << (at % WORD_BITS));
		if (!was_full)
			break;
	}
}

/* All of positions first to end - 1 are free; now they are taken. */
static void set_run(struct cvmm_alloc_ids *ids, uint64_t first, uint64_t end)
{
	ids->taken += end - first;
	if (ids->touched < words_for(end))
		ids->touched = words_for(end);
	while (first < end) {
		uint64_t at = first / WORD_BITS;

		ids->words[at] |= bits_of_word(first, end, &first);
		if (ids->words[at] == UINT64_MAX)
			mark_full(ids, at);
	}
}

/* All of positions first to end - 1 are taken; now they are free. */
static void clear_run(struct cvmm_alloc_ids *ids, uint64_t first, uint64_t end)
{
	ids->taken -= end - first;
	while (first < end) {
		uint64_t at = first / WORD_BITS;
		bool was_full = ids->words[at] == UINT64_MAX;

		ids->words[at] &= ~bits_of_word(first, end, &first);
		if (was_full)
			mark_room(ids, at);
	}
}

static bool is_set(const struct cvmm_alloc_ids *ids, uint64_t position)
{
	return ids->words[position / WORD_BITS] >> (position % WORD_BITS) & 1;
}

/* The lowest free position; there must be one. */
static uint64_t lowest_free(const struct cvmm_alloc_ids *ids)
{
	uint64_t at = 0;

	CVMM_BUG_ON(ids->taken == ids->total);
	for (unsigned int l = ids->level_count; l-- > 0;) {
		uint64_t word = ids->words[ids->level[l] + at];

		at = at * WORD_BITS + (unsigned int)__builtin_ctzll(~word);
	}
	return at;
}

/* The highest position in [first, end) that is taken. Return: whether there is one. */
static bool highest_taken(const struct cvmm_alloc_ids *ids, uint64_t first, uint64_t end,
			  uint64_t *ret_position)
{
	while (end > first) {
		uint64_t base = (end - 1) / WORD_BITS * WORD_BITS;
		uint64_t word = ids->words[base / WORD_BITS];

		word &= UINT64_MAX >> (WORD_BITS - (end - base));
		if (first > base)
			word &= UINT64_MAX << (first - base);
		if (word) {
			*ret_position = base + WORD_BITS - 1 - (unsigned int)__builtin_clzll(word);
			return true;
		}
		end = base;
	}
	return false;
}

/* The lowest position in [first, end) whose bit is set, or is not; @end if there is none. */
static uint64_t lowest_with(const struct cvmm_alloc_ids *ids, uint64_t first, uint64_t end,
			    bool value)
{
	while (first < end) {
		uint64_t word = ids->words[first / WORD_BITS];
		uint64_t found;

		if (!value)
			word = ~word;
		word &= UINT64_MAX << (first % WORD_BITS);
		if (word) {
			found = first / WORD_BITS * WORD_BITS + (unsigned int)__builtin_ctzll(word);
			return found < end ? found : end;
		}
		first = (first / WORD_BITS + 1) * WORD_BITS;
	}
	return end;
}

/* ---- allocate and free ----------------------------------------------------------------------- */

int cvmm_alloc_ids_take(struct cvmm_alloc_ids *ids, uint32_t *ret_id, struct cvmm_error *err)
{
	uint64_t position;

	if (ids->taken == ids->total)
		return cvmm_fail(err, -ENOSPC, "%s: all ids from %u to %u are taken", ids->name,
				 ids->range.first, ids->range.last);
	position = lowest_free(ids);
	set_run(ids, position, position + 1);
	*ret_id = (uint32_t)(ids->range.first + position);
	return 0;
}

/* The lowest position of a free run whose id is aligned. */
static bool find_run(const struct cvmm_alloc_ids *ids, uint64_t count, uint64_t align,
		     uint64_t *ret_position)
{
	uint64_t first = ids->range.first, position, in_the_way, id;

	if (ids->total - ids->taken < count)
		return false;
	position = lowest_free(ids);
	for (;;) {
		id = (first + position + align - 1) & ~(align - 1);
		position = id - first;
		if (!cvmm_range_inside(position, count, ids->total))
			return false;
		if (!highest_taken(ids, position, position + count, &in_the_way))
			break;
		position = in_the_way + 1;
	}
	*ret_position = position;
	return true;
}

int cvmm_alloc_ids_take_run(struct cvmm_alloc_ids *ids, uint32_t count, uint32_t align,
			    uint32_t *ret_first, struct cvmm_error *err)
{
	uint64_t position;

	if (!count)
		return cvmm_fail(err, -EINVAL, "%s: a run of 0 ids", ids->name);
	if (!cvmm_is_pow2(align))
		return cvmm_fail(err, -EINVAL, "%s: an alignment of %u, which is no power of two",
				 ids->name, align);
	if (!find_run(ids, count, align, &position))
		return cvmm_fail(
			err, -ENOSPC,
			"%s: no run of %u free ids aligned to %u from %u to %u; %llu of %llu "
			"are free",
			ids->name, count, align, ids->range.first, ids->range.last,
			(unsigned long long)(ids->total - ids->taken),
			(unsigned long long)ids->total);
	set_run(ids, position, position + count);
	*ret_first = (uint32_t)(ids->range.first + position);
	return 0;
}

/* Whether a run is one, and of this set. */
static int run_check(const struct cvmm_alloc_ids *ids, struct cvmm_alloc_id_range run,
		     int outside_code, struct cvmm_error *err)
{
	if (run.first > run.last)
		return cvmm_fail(err, -EINVAL, "%s: ids from %u to %u", ids->name, run.first,
				 run.last);
	if (run.first < ids->range.first || run.last > ids->range.last)
		return cvmm_fail(err, outside_code, "%s: ids %u to %u are not all from %u to %u",
				 ids->name, run.first, run.last, ids->range.first, ids->range.last);
	return 0;
}

int cvmm_alloc_ids_reserve(struct cvmm_alloc_ids *ids, struct cvmm_alloc_id_range run,
			   struct cvmm_error *err)
{
	uint64_t first, end, taken;
	int r = run_check(ids, run, -ERANGE, err);

	if (r < 0)
		return r;
	first = run.first - ids->range.first;
	end = first + (run.last - run.first) + 1;
	taken = lowest_with(ids, first, end, true);
	if (taken != end)
		return cvmm_fail(err, -EBUSY, "%s: id %u is taken already", ids->name,
				 (uint32_t)(ids->range.first + taken));
	set_run(ids, first, end);
	return 0;
}

int cvmm_alloc_ids_free(struct cvmm_alloc_ids *ids, struct cvmm_alloc_id_range run,
			struct cvmm_error *err)
{
	uint64_t first, end, untaken;
	int r = run_check(ids, run, -ENOENT, err);

	if (r < 0)
		return r;
	first = run.first - ids->range.first;
	end = first + (run.last - run.first) + 1;
	untaken = lowest_with(ids, first, end, false);
	if (untaken != end)
		return cvmm_fail(err, -ENOENT, "%s: id %u is not taken", ids->name,
				 (uint32_t)(ids->range.first + untaken));
	clear_run(ids, first, end);
	return 0;
}

/* ---- questions ------------------------------------------------------------------------------- */

struct cvmm_alloc_id_range cvmm_alloc_ids_range(const struct cvmm_alloc_ids *ids)
{
	return ids->range;
}

bool cvmm_alloc_ids_is_allocated(const struct cvmm_alloc_ids *ids, uint32_t id)
{
	return id >= ids->range.first && id <= ids->range.last &&
	       is_set(ids, id - ids->range.first);
}

uint64_t cvmm_alloc_ids_available(const struct cvmm_alloc_ids *ids)
{
	return ids->total - ids->taken;
}

bool cvmm_alloc_ids_next_run(const struct cvmm_alloc_ids *ids, uint32_t from,
			     struct cvmm_alloc_id_range *ret_run)
{
	uint64_t position = from > ids->range.first ? from - ids->range.first : 0;
	uint64_t limit = (uint64_t)ids->touched * WORD_BITS, first;

	if (limit > ids->total)
		limit = ids->total;
	first = lowest_with(ids, position, limit, true);
	if (first >= limit)
		return false;
	ret_run->first = (uint32_t)(ids->range.first + first);
	ret_run->last = (uint32_t)(ids->range.first + lowest_with(ids, first, limit, false) - 1);
	return true;
}
