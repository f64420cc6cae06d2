// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The rank of any gap of the 64-bit space is k + 1 for the largest aligned block of 2^k bytes in it: it
 * holds one of that size, and of no larger size.
 *
 * PROOF sources lib/alloc/alloc_gap.c
 * PROOF options --conversion-check --undefined-shift-check
 * MUTATION lib/alloc/alloc_gap.c s/last - block_first >= /last - block_first > /
 * MUTATION lib/alloc/alloc_gap.c s/return (uint8_t)k;/return (uint8_t)(k + 1);/
 */
#include "proof.h"
#include "../../lib/alloc/alloc_internal.h"

/* Whether the block of 2^k bytes that begins at @block lies in the gap. */
static bool holds(uint64_t first, uint64_t last, uint64_t block, unsigned int k)
{
	uint64_t span = k < 64 ? (UINT64_C(1) << k) - 1 : UINT64_MAX;

	return !(block & span) && block >= first && block <= last && last - block >= span;
}

void harness(void)
{
	uint64_t first = nondet_u64(), last = nondet_u64(), block = nondet_u64(), low;
	unsigned int k = nondet_u8(), rank;

	__CPROVER_assume(first <= last && k <= 64);
	rank = alloc_gap_rank(first, last);
	__CPROVER_assert(rank >= 1 && rank <= 65, "a rank");
	__CPROVER_assert(!holds(first, last, block, k) || k < rank, "no larger block");
	if (rank == 65) {
		__CPROVER_assert(!first && last == UINT64_MAX, "all of 2^64");
		return;
	}
	low = (UINT64_C(1) << (rank - 1)) - 1;
	__CPROVER_assert(holds(first, last, (first + low) & ~low, rank - 1),
			 "a block of that size");
}
