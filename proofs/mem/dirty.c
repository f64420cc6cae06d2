// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * For any dirty bitmap (any base and number of pages, the smallest and the largest pages), and any range: what is marked lies in
 * the bitmap's words, and a page is marked exactly if the range touches it and the bitmap covers it. The
 * way in line looks only at words that there are.
 *
 * PROOF options --unwind 2 --undefined-shift-check
 * PROOF instance -DPART=1 -DLOG2=12
 * PROOF instance -DPART=2 -DLOG2=12
 * PROOF instance -DPART=3 -DLOG2=12
 * PROOF instance -DPART=2 -DLOG2=63
 * MUTATION lib/mem/mem_dirty.c s/last = pages - 1;/last = pages;/
 * MUTATION lib/mem/mem_dirty.c s/len - 1 > UINT64_MAX - addr ? UINT64_MAX : addr/false ? UINT64_MAX : addr/
 * MUTATION lib/mem/mem_dirty.c s/WORD_BITS - 1 - (last - start)/WORD_BITS - 2 - (last - start)/
 * MUTATION lib/mem/mem_dirty.c s/mask <<= span->first - start/mask <<= span->first - start + 1/
 */
#define __atomic_always_lock_free(size, p) 1

#include "../../lib/mem/mem_dirty.c"

uint64_t nondet_u64(void);
unsigned char nondet_u8(void);

/* Within 8 pages of either end of the address space: with all numbers, solvers do not come to an end. */
static uint64_t near_an_end(void)
{
	uint64_t number = nondet_u64();

	__CPROVER_assume(number + (UINT64_C(8) << 12) < UINT64_C(16) << 12);
	return number;
}

/* A bitmap as cvmm_dirty_create() makes it: its last page begins at or below 2^64 - 1. */
static struct cvmm_dirty any_bitmap(uint64_t *ret_pages)
{
	struct cvmm_dirty dirty = { .base = near_an_end() };
	uint64_t pages = nondet_u64(), most;

	dirty.page_log2 = LOG2;
	__CPROVER_assume(!(dirty.base & ((UINT64_C(1) << dirty.page_log2) - 1)));
	most = ((UINT64_MAX - dirty.base) >> dirty.page_log2) + 1;
	__CPROVER_assume(pages && pages <= most && (pages < 16 || most - pages < 16));
	*ret_pages = pages;
	return dirty;
}

/* Words that a span touches are words of the bitmap; no word is named twice, and none left out. */
static void words_are_in_the_bitmap(void)
{
	struct span span = { .first = nondet_u64(), .count = nondet_u64() };
	uint64_t pages = nondet_u64(), word = nondet_u64(), page = nondet_u64(), first, words, mask;

	__CPROVER_assume(pages && pages <= UINT64_MAX >> CVMM_DIRTY_PAGE_LOG2_MIN);
	__CPROVER_assume(span.first < pages && span.count && span.count <= pages - span.first);
	first = span_first_word(&span);
	words = span_words(&span);
	__CPROVER_assume(word >= first && word - first < words);
	__CPROVER_assert(word < (pages + WORD_BITS - 1) / WORD_BITS, "a word of the bitmap");
	mask = span_mask(&span, word);
	__CPROVER_assume(page / WORD_BITS == word);
	__CPROVER_assert((mask >> page % WORD_BITS & 1) ==
				 (page >= span.first && page - span.first < span.count),
			 "the bits are the span's");
}

/* A page is in the span exactly if the range touches it; in every other case the range is outside. */
static void spans_are_what_ranges_touch(void)
{
	uint64_t pages, addr = near_an_end(), len = near_an_end(), byte = near_an_end(), page;
	struct cvmm_dirty dirty = any_bitmap(&pages);
	struct span span = span_of(&dirty, pages, addr, len);

	__CPROVER_assert(!span.count || (span.first < pages && span.count <= pages - span.first),
			 "the span is in the bitmap");
	__CPROVER_assume(byte >= addr && byte - addr < len);
	page = (byte - dirty.base) >> dirty.page_log2;
	if (byte < dirty.base || page >= pages)
		__CPROVER_assert(span.outside, "that something lies outside is told");
	else
		__CPROVER_assert(page >= span.first && page - span.first < span.count,
				 "each byte's page is in the span");
}

/* The span has no page that the range does not touch. */
static void spans_are_no_longer_than_ranges(void)
{
	uint64_t pages, addr = near_an_end(), len = near_an_end(), page = nondet_u64(), first, last;
	struct cvmm_dirty dirty = any_bitmap(&pages);
	struct span span = span_of(&dirty, pages, addr, len);

	__CPROVER_assume(page >= span.first && page - span.first < span.count);
	first = dirty.base + (page << dirty.page_log2);
	last = first + ((UINT64_C(1) << dirty.page_log2) - 1);
	__CPROVER_assert(len && last >= addr && (first <= addr || first - addr < len),
			 "each page of the span is touched");
}

void harness(void)
{
	if (PART == 1)
		words_are_in_the_bitmap();
	else if (PART == 2)
		spans_are_what_ranges_touch();
	else
		spans_are_no_longer_than_ranges();
}
