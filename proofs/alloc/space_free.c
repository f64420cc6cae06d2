// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Freeing any range of any space: it succeeds exactly if the range is an allocated extent; then that is
 * free, has become one with the gaps beside it, and nothing else has changed. If it fails nothing has
 * changed. It never lacks memory.
 *
 * PROOF sources lib/alloc/alloc_space.c
 * PROOF options --unwind 9 --conversion-check
 * PROOF instance -DPATTERN=a
 * PROOF instance -DPATTERN=aaga
 * PROOF instance -DPATTERN=agaa
 * PROOF instance -DPATTERN=agag
 * PROOF instance -DPATTERN=gaga
 * MUTATION lib/alloc/alloc_space.c s/node->first != range.first ||/false ||/
 * MUTATION lib/alloc/alloc_space.c s/if (!node->allocated)$/if (false)/
 * MUTATION lib/alloc/alloc_space.c s/alloc_tree_find(tree, first - 1)/alloc_tree_find(tree, first - 2)/
 * MUTATION lib/alloc/alloc_space.c s/first > space->range.first/first > space->range.first + 1/
 */
#include "proof_space.h"

void harness(void)
{
	struct cvmm_alloc_range range = { any_addr(), any_addr() };
	uint64_t addr = any_addr(), free_bytes;
	struct proof_fact before, at;
	bool possible;
	uint32_t count;
	int r;

	any_space();
	free_bytes = space.free_bytes;
	count = space.count;
	before = fact_of(addr);
	at = fact_of(range.first);
	possible = at.inside && at.allocated && at.first == range.first && at.last == range.last;
	r = cvmm_alloc_space_free(&space, range, NULL);
	__CPROVER_assert(!r || r == -EINVAL || r == -ENOENT, "a code");
	__CPROVER_assert(possible == !r, "done exactly if it can be");
	if (!r)
		check_change(range, false, addr, before, free_bytes, count);
	else
		check_no_change(addr, before, free_bytes, count);
}
