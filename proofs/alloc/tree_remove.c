// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Removing any extent of any tree: the tree is in order afterwards, and holds all others. The node can
 * be used again: what is added next is in the tree, too.
 *
 * PROOF sources lib/alloc/alloc_tree.c
 * PROOF options --unwind 17
 * PROOF instance -DFIRST_SHAPE=9 -DLAST_SHAPE=11
 * PROOF instance -DFIRST_SHAPE=12 -DLAST_SHAPE=14
 * PROOF instance -DFIRST_SHAPE=0 -DLAST_SHAPE=4
 * PROOF instance -DFIRST_SHAPE=5 -DLAST_SHAPE=8
 * MUTATION lib/alloc/alloc_tree.c s/alloc_node_at(tree, heir)->left = node->left;/;/
 * MUTATION lib/alloc/alloc_tree.c s/return rebalance(tree, heir)/return heir/
 * MUTATION lib/alloc/alloc_tree.c s/if (lean(tree, node->left) < 0)/if (false)/
 * MUTATION lib/alloc/alloc_tree.c s/->left = tree->unused;/->left = n;/
 */
#include "proof_tree.h"

static void remove_at(const char *shape, uint32_t gone)
{
	struct alloc_tree tree = any_tree(shape);
	struct alloc_node before[NODES];
	uint32_t used = tree.used;

	for (uint32_t n = 1; n <= used; n++)
		before[n] = proof_nodes[n];
	alloc_tree_remove(&tree, KEY(2 * gone));
	check_tree(&tree, used - 1);
	for (uint32_t n = 1; n <= used; n++) {
		uint32_t found = alloc_tree_find(&tree, KEY(2 * n));

		__CPROVER_assert(found == (n == gone ? ALLOC_NIL : n), "all others are found");
		__CPROVER_assert(n == gone || (proof_nodes[n].first == before[n].first &&
					       proof_nodes[n].last == before[n].last &&
					       proof_nodes[n].allocated == before[n].allocated),
				 "extents are what they were");
	}
	__CPROVER_assert(tree.unused == gone && !proof_nodes[gone].left && tree.fresh == used + 1,
			 "the node can be used again");
}

void harness(void)
{
	for (unsigned int s = FIRST_SHAPE; s <= LAST_SHAPE; s++) {
		for (uint32_t i = 0; proof_shapes[s][i]; i++)
			remove_at(proof_shapes[s], (uint32_t)(proof_shapes[s][i] - '0'));
	}
}
