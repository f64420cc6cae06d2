// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The questions to any tree: the extent at any address, the lowest of the longest gaps, and the lowest
 * or highest gap in which a request fits. After any change of an extent in its place, refreshing puts
 * what the nodes know right again.
 *
 * Which gaps a request fits is left open, but for what gap_fit.c shows of every gap: it fits none that
 * is shorter or of a lower rank than wanted.
 *
 * PROOF sources lib/alloc/alloc_tree.c
 * PROOF options --unwind 17 --unwindset alloc_tree_largest_gap.0:4,alloc_tree_find.0:5
 * PROOF instance -DFIRST_SHAPE=9 -DLAST_SHAPE=11
 * PROOF instance -DFIRST_SHAPE=12 -DLAST_SHAPE=14
 * PROOF instance -DFIRST_SHAPE=0 -DLAST_SHAPE=4
 * PROOF instance -DFIRST_SHAPE=5 -DLAST_SHAPE=8
 * MUTATION lib/alloc/alloc_tree.c s/node->max_rank < want->min_rank/node->max_rank <= want->min_rank/
 * MUTATION lib/alloc/alloc_tree.c s/high ? node->right : node->left/node->left/
 * MUTATION lib/alloc/alloc_tree.c s/left->max_span == span/left->max_span > span/
 * MUTATION lib/alloc/alloc_tree.c s/addr > node->last/addr >= node->last/
 * MUTATION lib/alloc/alloc_tree.c /^static void refresh_below/,/^}/s/update(tree, n)/(void)n/
 */
#include "proof_tree.h"

static bool proof_fits[16]; /* by the key of the gap */

bool alloc_gap_fit(uint64_t gap_first, uint64_t gap_last, const struct alloc_want *want, bool high,
		   uint64_t *ret_first)
{
	(void)high;
	if (!proof_fits[gap_first >> KEY_SHIFT] || gap_last - gap_first < want->span ||
	    proof_rank[gap_first >> KEY_SHIFT] < want->min_rank)
		return false;
	*ret_first = gap_first;
	return true;
}

static void check_find(const struct alloc_tree *tree)
{
	uint64_t addr = nondet_u64();
	uint32_t found = alloc_tree_find(tree, addr);

	for (uint32_t n = 1; n <= tree->used; n++) {
		bool holds = proof_nodes[n].first <= addr && addr <= proof_nodes[n].last;

		__CPROVER_assert(holds == (found == n), "what is found holds the address");
	}
}

static void check_largest(const struct alloc_tree *tree)
{
	uint32_t found = alloc_tree_largest_gap(tree), expected = ALLOC_NIL;

	for (uint32_t n = tree->used; n >= 1; n--) {
		uint64_t span = proof_nodes[n].last - proof_nodes[n].first;

		if (!proof_nodes[n].allocated &&
		    (!expected || span >= proof_nodes[expected].last - proof_nodes[expected].first))
			expected = n;
	}
	__CPROVER_assert(found == expected, "the lowest of the longest gaps");
}

static void check_fit(const struct alloc_tree *tree, bool high)
{
	struct alloc_want want = { .span = any_span(), .align = 1, .min_rank = any_rank() };
	uint64_t first = 0, dummy, expected = 0;
	bool fits = false;

	for (unsigned int k = 0; k < 16; k++)
		proof_fits[k] = nondet_bool();
	for (uint32_t n = 1; n <= tree->used; n++) {
		const struct alloc_node *node = &proof_nodes[n];

		if (node->allocated || !alloc_gap_fit(node->first, node->last, &want, high, &dummy))
			continue;
		if (!fits || high)
			expected = node->first;
		fits = true;
	}
	__CPROVER_assert(alloc_tree_fit(tree, &want, high, &first) == fits, "found if it is there");
	__CPROVER_assert(first == expected, "the lowest, or the highest");
}

static void change(struct alloc_tree *tree, uint32_t n)
{
	proof_nodes[n].last = proof_nodes[n].first + any_span();
	proof_nodes[n].allocated = nondet_bool();
	proof_rank[proof_nodes[n].first >> KEY_SHIFT] = any_rank();
	alloc_tree_refresh(tree, KEY(2 * n));
	check_tree(tree, tree->used);
}

void harness(void)
{
	for (unsigned int s = FIRST_SHAPE; s <= LAST_SHAPE; s++) {
		struct alloc_tree tree = any_tree(proof_shapes[s]);

		check_find(&tree);
		check_largest(&tree);
		check_fit(&tree, false);
		check_fit(&tree, true);
		for (uint32_t n = 1; n <= tree.used; n++)
			change(&tree, n);
	}
}
