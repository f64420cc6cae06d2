// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Taking any length at any alignment by first and last match from any space: what comes out lay in a
 * gap, is aligned and is the lowest or highest such place; it is allocated then, and nothing else has
 * changed. If it fails there was no place (or memory is lacking), and nothing has changed.
 *
 * PROOF sources lib/alloc/alloc_space.c lib/alloc/alloc_gap.c
 * PROOF options --unwind 9 --conversion-check
 * PROOF instance -DPATTERN=a
 * PROOF instance -DPATTERN=aga
 * PROOF instance -DPATTERN=gag
 * MUTATION lib/alloc/alloc_space.c s/range.first + (req.len_bytes - 1)/range.first + req.len_bytes/
 * MUTATION lib/alloc/alloc_space.c s/low_rest ? range.first - 1 : range.last/range.last/
 * MUTATION lib/alloc/alloc_space.c s/== CVMM_ALLOC_LAST_MATCH,/!= CVMM_ALLOC_LAST_MATCH,/
 */
#include "proof_space.h"

void harness(void)
{
	struct cvmm_alloc_request request = { .len_bytes = nondet_u64(),
					      .align_bytes = nondet_u64() };
	uint64_t addr = any_addr(), free_bytes;
	struct cvmm_alloc_range range = { 1, 0 };
	struct proof_fact before, gap;
	bool high = nondet_bool(), place_fits;
	uint32_t count;
	int r;

	request.policy = high ? CVMM_ALLOC_LAST_MATCH : CVMM_ALLOC_FIRST_MATCH;
	some_place = any_addr();
	any_space();
	free_bytes = space.free_bytes;
	count = space.count;
	before = fact_of(addr);
	gap = fact_of(some_place);
	place_fits = request.len_bytes && cvmm_is_pow2(request.align_bytes) &&
		     !(some_place & (request.align_bytes - 1)) && gap.inside && !gap.allocated &&
		     gap.last - some_place >= request.len_bytes - 1;
	r = cvmm_alloc_space_take(&space, &request, &range, NULL);
	__CPROVER_assert(!r || r == -EINVAL || r == -ENOSPC || r == -ENOMEM, "a code");
	__CPROVER_assert(!place_fits || !r || r == -ENOMEM, "done if it can be");
	if (r) {
		__CPROVER_assert(range.first == 1 && !range.last, "the output is untouched");
		check_no_change(addr, before, free_bytes, count);
		return;
	}
	__CPROVER_assert(range.first <= range.last &&
				 range.last - range.first == request.len_bytes - 1 &&
				 !(range.first & (request.align_bytes - 1)),
			 "what was wanted");
	__CPROVER_assert(!place_fits ||
				 (high ? range.first >= some_place : range.first <= some_place),
			 "the best place");
	check_change(range, true, addr, before, free_bytes, count);
}
