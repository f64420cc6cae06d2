/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * For the proofs of lib/alloc/alloc_tree.c: every AVL tree of up to 5 extents, one after the other, and
 * what must hold of a tree.
 *
 * The code uses addresses in two ways only: it compares the first addresses of extents with each other,
 * and it asks for the length and the rank of a gap, which it only compares again. So the order of the
 * extents is given here, by fixed first addresses, but which of them are gaps, how long they are and
 * of what rank is left open. 6 lengths and ranks are enough for every order, with ties, among 6 gaps.
 * What happens at the ends of the number space is for the proofs about spaces, in which addresses are
 * arbitrary numbers.
 */
#ifndef PROOF_TREE_H
#define PROOF_TREE_H

#include "proof.h"
#include "../../lib/alloc/alloc_internal.h"

#define EXTENTS_MAX 5
#define NODES (1 + EXTENTS_MAX + 1) /* nil, and one that is added */
#define DEPTH_MAX 3		    /* no AVL tree of up to 6 nodes is higher */
#define ORDERS 6

#define KEY_SHIFT 60
#define KEY(k) ((uint64_t)(k) << KEY_SHIFT)

/* Each shape as its extents from the top down, left before right; extent i is the i-th from below. */
static const char *const proof_shapes[] = {
	"",	"1",	 "12",	  "21",	   "213",   "2134",  "2143",  "3124",
	"3214", "21435", "31245", "31254", "32145", "32154", "42135",
};

#define SHAPES (sizeof(proof_shapes) / sizeof(proof_shapes[0]))

/* Part of the shapes, so that no single proof takes long. */
#ifndef FIRST_SHAPE
#define FIRST_SHAPE 0
#endif
#ifndef LAST_SHAPE
#define LAST_SHAPE (SHAPES - 1)
#endif

static struct alloc_node proof_nodes[NODES];
static uint8_t proof_rank[16]; /* of a gap, by its key */

uint8_t alloc_gap_rank(uint64_t first, uint64_t last)
{
	(void)last;
	return proof_rank[first >> KEY_SHIFT];
}

/* An open length minus 1. */
static uint64_t any_span(void)
{
	return nondet_u8() % ORDERS;
}

static uint8_t any_rank(void)
{
	return (uint8_t)(1 + nondet_u8() % ORDERS);
}

/* The best of the gaps of a subtree, and its height, by its own reckoning. */
struct proof_best {
	uint64_t span;
	uint8_t rank;
	uint8_t height;
};

static struct proof_best best_below(uint32_t n)
{
	struct proof_best best = { 0, 0, 0 }, left, right;
	const struct alloc_node *node = &proof_nodes[n];

	if (!n)
		return best;
	left = best_below(node->left);
	right = best_below(node->right);
	best.height = (uint8_t)(1 + (left.height > right.height ? left.height : right.height));
	if (!node->allocated) {
		best.span = node->last - node->first;
		best.rank = proof_rank[node->first >> KEY_SHIFT];
	}
	best.span = left.span > best.span ? left.span : best.span;
	best.span = right.span > best.span ? right.span : best.span;
	best.rank = left.rank > best.rank ? left.rank : best.rank;
	best.rank = right.rank > best.rank ? right.rank : best.rank;
	return best;
}

/* Hang node @n below the root where its address belongs. */
static void hang(struct alloc_tree *tree, uint32_t n)
{
	uint32_t *link = &tree->root;

	while (*link)
		link = proof_nodes[n].first < proof_nodes[*link].first ? &proof_nodes[*link].left
								       : &proof_nodes[*link].right;
	*link = n;
}

/* A tree of the given shape; extent i begins at KEY(2 * i). */
static struct alloc_tree any_tree(const char *shape)
{
	struct alloc_tree tree = { .nodes = proof_nodes, .capacity = NODES, .fresh = 1 };
	uint32_t count = 0;

	for (uint32_t n = 0; n < NODES; n++)
		proof_nodes[n] = (struct alloc_node){ .first = 0 };
	for (unsigned int k = 0; k < 16; k++)
		proof_rank[k] = any_rank();
	while (shape[count]) {
		uint32_t n = (uint32_t)(shape[count++] - '0');

		proof_nodes[n].first = KEY(2 * n);
		proof_nodes[n].last = KEY(2 * n) + any_span();
		proof_nodes[n].allocated = nondet_bool();
		hang(&tree, n);
	}
	tree.used = count;
	tree.fresh = count + 1;
	for (uint32_t n = 1; n <= count; n++) {
		struct proof_best best = best_below(n);

		proof_nodes[n].max_span = best.span;
		proof_nodes[n].max_rank = best.rank;
		proof_nodes[n].height = best.height;
	}
	return tree;
}

/* Walk from the lowest to the highest; *lowest is what the next one must not lie below. */
static uint32_t check_below(uint32_t n, unsigned int depth, uint64_t *lowest)
{
	const struct alloc_node *node = &proof_nodes[n];
	struct proof_best best;
	uint32_t count;
	int lean;

	if (!n)
		return 0;
	__CPROVER_assert(depth > 0, "the tree is no higher than it may be");
	__CPROVER_assume(depth > 0);
	count = 1 + check_below(node->left, depth - 1, lowest);
	__CPROVER_assert(node->first >= *lowest && node->first <= node->last,
			 "extents are in order and disjoint");
	*lowest = node->last + 1;
	count += check_below(node->right, depth - 1, lowest);

	best = best_below(n);
	lean = proof_nodes[node->left].height - proof_nodes[node->right].height;
	__CPROVER_assert(node->height == best.height && lean >= -1 && lean <= 1, "balanced");
	__CPROVER_assert(node->max_span == best.span, "the longest gap is known");
	__CPROVER_assert(node->max_rank == best.rank, "the best rank is known");
	return count;
}

static void check_tree(const struct alloc_tree *tree, uint32_t used)
{
	const struct alloc_node *nil = &proof_nodes[ALLOC_NIL];
	uint64_t lowest = 0;

	__CPROVER_assert(tree->used == used && check_below(tree->root, DEPTH_MAX, &lowest) == used,
			 "all extents are in the tree");
	__CPROVER_assert(!nil->height && !nil->max_span && !nil->max_rank && !nil->left &&
				 !nil->right,
			 "nil is empty");
}

#endif /* PROOF_TREE_H */
