// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The binary search among the regions of a map, for any number of them up to 64 and whatever the
 * array holds: it ends, and never looks outside of the array; what it finds is at or below
 * the address. So it is for any map, not only for those that other proofs look at.
 *
 * PROOF options --unwind 12
 * MUTATION lib/mem/mem_internal.h s/starts\[below + half - 1\]/starts[below + len]/
 * MUTATION lib/mem/mem_internal.h s/return below + (starts\[below\] <= gpa);/return below + 1;/
 */
#define ARRAY 64

#include "../../lib/mem/mem_internal.h"

size_t nondet_size(void);
uint64_t nondet_u64(void);

void harness(void)
{
	static uint64_t starts[ARRAY];
	static struct cvmm_mem mem;
	uint64_t gpa = nondet_u64();
	size_t bound;

	__CPROVER_havoc_object(starts);
	mem.count = nondet_size();
	__CPROVER_assume(mem.count <= ARRAY);
	/* Anything behind the map's own regions is not for it to look at. */
	mem.starts = starts + (ARRAY - mem.count);
	bound = cvmm_mem_upper_bound(&mem, gpa);
	__CPROVER_assert(bound <= mem.count, "no more than there are");
	__CPROVER_assert(!bound || mem.starts[bound - 1] <= gpa, "it is at or below the address");
}
