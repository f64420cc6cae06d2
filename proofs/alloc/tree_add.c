// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Adding an extent to any tree, at any place: the tree is in order afterwards, and holds what it held
 * and the new extent.
 *
 * PROOF sources lib/alloc/alloc_tree.c
 * PROOF options --unwind 17
 * PROOF instance -DFIRST_SHAPE=9 -DLAST_SHAPE=11
 * PROOF instance -DFIRST_SHAPE=12 -DLAST_SHAPE=14
 * PROOF instance -DFIRST_SHAPE=0 -DLAST_SHAPE=4
 * PROOF instance -DFIRST_SHAPE=5 -DLAST_SHAPE=8
 * MUTATION lib/alloc/alloc_tree.c s/if (lean(tree, node->left) < 0)/if (false)/
 * MUTATION lib/alloc/alloc_tree.c s/leaning < -1/leaning < -2/
 * MUTATION lib/alloc/alloc_tree.c s/child->max_span > node->max_span/child->max_span < node->max_span/
 * MUTATION lib/alloc/alloc_tree.c s/first < node->first ?/first > node->first ?/
 */
#include "proof_tree.h"

static void add_at(const char *shape, unsigned int key)
{
	struct alloc_tree tree = any_tree(shape);
	uint64_t last = KEY(key) + any_span();
	struct alloc_node before[NODES];
	uint32_t used = tree.used;
	bool allocated = nondet_bool();

	for (uint32_t n = 1; n <= used; n++)
		before[n] = proof_nodes[n];
	alloc_tree_add(&tree, KEY(key), last, allocated);
	check_tree(&tree, used + 1);
	before[used + 1].first = KEY(key);
	before[used + 1].last = last;
	before[used + 1].allocated = allocated;
	for (uint32_t n = 1; n <= used + 1; n++) {
		__CPROVER_assert(proof_nodes[n].first == before[n].first &&
					 proof_nodes[n].last == before[n].last &&
					 proof_nodes[n].allocated == before[n].allocated,
				 "extents are what they were");
	}
}

void harness(void)
{
	for (unsigned int s = FIRST_SHAPE; s <= LAST_SHAPE; s++) {
		/* Before the first, between any two, after the last. */
		for (unsigned int i = 0; !i || proof_shapes[s][i - 1]; i++)
			add_at(proof_shapes[s], 2 * i + 1);
	}
}
