// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * An AVL tree of extents that do not overlap, ordered by address. Every node also knows two things of
 * the gaps (free extents) in the subtree that it heads:
 *
 *   max_span   the length of the longest one, minus 1, so that 2^64 bytes have a number too
 *   max_rank   the largest block of 2^k bytes at a multiple of 2^k that lies in one of them
 *
 * A request for L bytes at a multiple of A enters a subtree only if both could do. The first alone
 * decides when A is 1. The second alone decides when L is A: a gap holds such a piece exactly if it
 * holds that aligned block. In these cases the search never turns back, and so takes as many steps as
 * the tree is high. In all others both are necessary only: a gap that is long enough may lack an
 * aligned start, and then the search goes on with the next candidate.
 *
 * Nodes lie in one array and point to each other by index: the array can grow (before an operation
 * begins, see alloc_tree_reserve()) without a pointer to mend, and there is one block to free.
 * Recursion is as deep as the tree is high: at most 1.44 * log2(ALLOC_NODES_MAX), that is 34.
 */
#include <errno.h>
#include <stdlib.h>

#include "alloc_internal.h"

#define NODES_AT_FIRST 16U

_Static_assert(ALLOC_NODES_MAX < UINT32_MAX / 2, "doubling the capacity must not overflow");

/* ---- balance --------------------------------------------------------------------------------- */

static void take_gaps_of(struct alloc_node *node, const struct alloc_node *child)
{
	if (!child->max_rank)
		return;
	if (!node->max_rank || child->max_span > node->max_span)
		node->max_span = child->max_span;
	if (child->max_rank > node->max_rank)
		node->max_rank = child->max_rank;
}

/* Compute what a node knows of its subtree from its children. */
static void update(struct alloc_tree *tree, uint32_t n)
{
	struct alloc_node *node = alloc_node_at(tree, n);
	const struct alloc_node *left = alloc_node_at(tree, node->left);
	const struct alloc_node *right = alloc_node_at(tree, node->right);

	node->height = (uint8_t)(1 + (left->height > right->height ? left->height : right->height));
	node->max_span = 0;
	node->max_rank = 0;
	if (!node->allocated) {
		node->max_span = node->last - node->first;
		node->max_rank = alloc_gap_rank(node->first, node->last);
	}
	take_gaps_of(node, left);
	take_gaps_of(node, right);
}

static uint32_t rotate_right(struct alloc_tree *tree, uint32_t n)
{
	struct alloc_node *node = alloc_node_at(tree, n);
	uint32_t top = node->left;

	node->left = alloc_node_at(tree, top)->right;
	alloc_node_at(tree, top)->right = n;
	update(tree, n);
	update(tree, top);
	return top;
}

static uint32_t rotate_left(struct alloc_tree *tree, uint32_t n)
{
	struct alloc_node *node = alloc_node_at(tree, n);
	uint32_t top = node->right;

	node->right = alloc_node_at(tree, top)->left;
	alloc_node_at(tree, top)->left = n;
	update(tree, n);
	update(tree, top);
	return top;
}

/* Positive if the left side is higher. */
static int lean(const struct alloc_tree *tree, uint32_t n)
{
	const struct alloc_node *node = alloc_node_at(tree, n);

	return alloc_node_at(tree, node->left)->height - alloc_node_at(tree, node->right)->height;
}

/* After a change below @n that leaves its sides at most 2 apart. Return: the new head. */
static uint32_t rebalance(struct alloc_tree *tree, uint32_t n)
{
	struct alloc_node *node = alloc_node_at(tree, n);
	int leaning = lean(tree, n);

	if (leaning > 1) {
		if (lean(tree, node->left) < 0)
			node->left = rotate_left(tree, node->left);
		return rotate_right(tree, n);
	}
	if (leaning < -1) {
		if (lean(tree, node->right) > 0)
			node->right = rotate_right(tree, node->right);
		return rotate_left(tree, n);
	}
	update(tree, n);
	return n;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

/**
 * alloc_tree_reserve() - make sure that so many nodes can be added without fail
 *
 * Return: 0 or -ENOMEM; then nothing has changed.
 */
int alloc_tree_reserve(struct alloc_tree *tree, uint32_t count)
{
	uint32_t needed = 1 + tree->used + count, capacity = NODES_AT_FIRST;
	struct alloc_node *nodes;

	if (needed <= tree->capacity)
		return 0;
	while (capacity < needed)
		capacity *= 2;
	nodes = realloc(tree->nodes, capacity * sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	nodes[ALLOC_NIL] = (struct alloc_node){ .height = 0 };
	if (!tree->fresh)
		tree->fresh = ALLOC_NIL + 1;
	tree->nodes = nodes;
	tree->capacity = capacity;
	return 0;
}

static uint32_t new_node(struct alloc_tree *tree)
{
	uint32_t n = tree->unused;

	if (n) {
		tree->unused = alloc_node_at(tree, n)->left;
	} else {
		CVMM_BUG_ON(tree->fresh >= tree->capacity);
		n = tree->fresh++;
	}
	tree->used++;
	return n;
}

/* The side of a node on which an address other than its own lies. */
static uint32_t *side_of(struct alloc_node *node, uint64_t first)
{
	return first < node->first ? &node->left : &node->right;
}

static uint32_t add_below(struct alloc_tree *tree, uint32_t n, uint32_t added)
{
	uint32_t *side;

	if (!n)
		return added;
	side = side_of(alloc_node_at(tree, n), alloc_node_at(tree, added)->first);
	*side = add_below(tree, *side, added);
	return rebalance(tree, n);
}

/* Add an extent that overlaps none. A node must have been reserved. */
void alloc_tree_add(struct alloc_tree *tree, uint64_t first, uint64_t last, bool allocated)
{
	uint32_t n = new_node(tree);

	*alloc_node_at(tree, n) = (struct alloc_node){
		.first = first,
		.last = last,
		.allocated = allocated,
	};
	update(tree, n);
	tree->root = add_below(tree, tree->root, n);
}

static uint32_t detach_lowest(struct alloc_tree *tree, uint32_t n, uint32_t *ret_lowest)
{
	struct alloc_node *node = alloc_node_at(tree, n);

	if (!node->left) {
		*ret_lowest = n;
		return node->right;
	}
	node->left = detach_lowest(tree, node->left, ret_lowest);
	return rebalance(tree, n);
}

static uint32_t detach(struct alloc_tree *tree, uint32_t n, uint64_t first, uint32_t *ret_detached)
{
	struct alloc_node *node = alloc_node_at(tree, n);
	uint32_t heir, right, *side;

	CVMM_BUG_ON(!n);
	if (first != node->first) {
		side = side_of(node, first);
		*side = detach(tree, *side, first, ret_detached);
		return rebalance(tree, n);
	}
	*ret_detached = n;
	if (!node->right)
		return node->left;
	right = detach_lowest(tree, node->right, &heir);
	alloc_node_at(tree, heir)->left = node->left;
	alloc_node_at(tree, heir)->right = right;
	return rebalance(tree, heir);
}

/* Remove the extent that begins at @first; there must be one. */
void alloc_tree_remove(struct alloc_tree *tree, uint64_t first)
{
	uint32_t n;

	tree->root = detach(tree, tree->root, first, &n);
	alloc_node_at(tree, n)->left = tree->unused;
	tree->unused = n;
	tree->used--;
}

static void refresh_below(struct alloc_tree *tree, uint32_t n, uint64_t first)
{
	struct alloc_node *node = alloc_node_at(tree, n);

	CVMM_BUG_ON(!n);
	if (first != node->first)
		refresh_below(tree, *side_of(node, first), first);
	update(tree, n);
}

/* After the extent at @first got another end or another owner in its place. */
void alloc_tree_refresh(struct alloc_tree *tree, uint64_t first)
{
	refresh_below(tree, tree->root, first);
}

/* ---- searches -------------------------------------------------------------------------------- */

/* The extent that holds @addr, or nil. */
uint32_t alloc_tree_find(const struct alloc_tree *tree, uint64_t addr)
{
	uint32_t n = tree->root;

	while (n) {
		const struct alloc_node *node = alloc_node_at(tree, n);

		if (addr < node->first)
			n = node->left;
		else if (addr > node->last)
			n = node->right;
		else
			break;
	}
	return n;
}

/* The lowest of the longest gaps, or nil. */
uint32_t alloc_tree_largest_gap(const struct alloc_tree *tree)
{
	uint32_t n = tree->root;
	uint64_t span = alloc_node_at(tree, n)->max_span;

	if (!alloc_node_at(tree, n)->max_rank)
		return ALLOC_NIL;
	for (;;) {
		const struct alloc_node *node = alloc_node_at(tree, n);
		const struct alloc_node *left = alloc_node_at(tree, node->left);

		if (left->max_rank && left->max_span == span)
			n = node->left;
		else if (!node->allocated && node->last - node->first == span)
			return n;
		else
			n = node->right;
	}
}

static bool fit_below(const struct alloc_tree *tree, uint32_t n, const struct alloc_want *want,
		      bool high, uint64_t *ret_first)
{
	const struct alloc_node *node = alloc_node_at(tree, n);

	if (!n || node->max_rank < want->min_rank || node->max_span < want->span)
		return false;
	if (fit_below(tree, high ? node->right : node->left, want, high, ret_first))
		return true;
	if (!node->allocated && alloc_gap_fit(node->first, node->last, want, high, ret_first))
		return true;
	return fit_below(tree, high ? node->left : node->right, want, high, ret_first);
}

/**
 * alloc_tree_fit() - the lowest or highest place in any gap
 *
 * Return: whether there is one.
 */
bool alloc_tree_fit(const struct alloc_tree *tree, const struct alloc_want *want, bool high,
		    uint64_t *ret_first)
{
	return fit_below(tree, tree->root, want, high, ret_first);
}
