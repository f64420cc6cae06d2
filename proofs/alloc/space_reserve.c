// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Reserving any range of any space: it succeeds exactly if the range is one, lies in the space and is
 * free (or memory is lacking); then that range is allocated and nothing else has changed. If it fails
 * nothing has changed.
 *
 * PROOF sources lib/alloc/alloc_space.c
 * PROOF options --unwind 9 --conversion-check
 * PROOF instance -DPATTERN=g
 * PROOF instance -DPATTERN=agag
 * PROOF instance -DPATTERN=gaga
 * MUTATION lib/alloc/alloc_space.c s/if (node->allocated)$/if (node->allocated \&\& node->first == range.first)/
 * MUTATION lib/alloc/alloc_space.c s/range.last + 1, gap.last, false/range.last, gap.last, false/
 * MUTATION lib/alloc/alloc_space.c s/alloc_tree_reserve(tree, low_rest + high_rest)/alloc_tree_reserve(tree, 1)/
 */
#include "proof_space.h"

void harness(void)
{
	struct cvmm_alloc_range range = { any_addr(), any_addr() };
	uint64_t addr = any_addr(), free_bytes;
	struct proof_fact before, first;
	bool possible;
	uint32_t count;
	int r;

	any_space();
	free_bytes = space.free_bytes;
	count = space.count;
	before = fact_of(addr);
	first = fact_of(range.first);
	possible = range.first <= range.last && first.inside && !first.allocated &&
		   range.last <= first.last;
	r = cvmm_alloc_space_reserve(&space, range, NULL);
	__CPROVER_assert(!r || r == -EINVAL || r == -ERANGE || r == -EBUSY || r == -ENOMEM,
			 "a code");
	__CPROVER_assert(possible == (!r || r == -ENOMEM), "done exactly if it can be");
	if (!r)
		check_change(range, true, addr, before, free_bytes, count);
	else
		check_no_change(addr, before, free_bytes, count);
}
