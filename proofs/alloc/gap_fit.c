// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * For any gap of the 64-bit space and any request: what is found lies in the gap, is aligned, and is
 * the lowest or highest such place; if none is found there is none; and what fits a gap is never above
 * its length or its rank, so that the tree misses nothing by comparing these first.
 *
 * PROOF sources lib/alloc/alloc_gap.c
 * PROOF options --conversion-check --undefined-shift-check
 * PROOF instance -DHIGH=false
 * PROOF instance -DHIGH=true
 * MUTATION lib/alloc/alloc_gap.c s/gap_last - first < want->span/false/
 * MUTATION lib/alloc/alloc_gap.c s/first < gap_first/first <= gap_first/
 * MUTATION lib/alloc/alloc_gap.c s/floor_log2(block) + 1/floor_log2(align_bytes) + 1/
 */
#include "proof.h"
#include "../../lib/alloc/alloc_internal.h"

#ifndef HIGH
#define HIGH nondet_bool()
#endif

void harness(void)
{
	uint64_t gap_first = nondet_u64(), gap_last = nondet_u64(), place = nondet_u64();
	uint64_t len = nondet_u64(), found = 0;
	uint64_t align = UINT64_C(1) << nondet_u8() % 64;
	bool high = HIGH, fits, place_fits;
	struct alloc_want want;

	__CPROVER_assume(gap_first <= gap_last && len);
	want = alloc_gap_want(len, align);
	fits = alloc_gap_fit(gap_first, gap_last, &want, high, &found);
	place_fits = !(place & (align - 1)) && place >= gap_first && place <= gap_last &&
		     gap_last - place >= len - 1;
	__CPROVER_assert(!place_fits || fits, "found if there is a place");
	__CPROVER_assert(!place_fits || (high ? found >= place : found <= place), "the best place");
	if (!fits)
		return;
	__CPROVER_assert(!(found & (align - 1)), "aligned");
	__CPROVER_assert(found >= gap_first && found <= gap_last && gap_last - found >= len - 1,
			 "inside the gap");
	__CPROVER_assert(gap_last - gap_first >= want.span, "no longer than the gap");
	__CPROVER_assert(alloc_gap_rank(gap_first, gap_last) >= want.min_rank,
			 "of no higher rank than the gap");
}
