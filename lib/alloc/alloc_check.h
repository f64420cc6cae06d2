/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * For tests, fuzzers and proofs: what must hold of a space and of ids between any two calls. Nothing
 * here uses the code that it checks.
 */
#ifndef CVMM_ALLOC_CHECK_H
#define CVMM_ALLOC_CHECK_H

#include "alloc_internal.h"

/* What a walk over a subtree has seen. */
struct check_walk {
	uint64_t next; /* where the next extent must begin */
	uint64_t free_bytes;
	uint64_t max_span;
	uint32_t nodes;
	uint32_t allocated;
	uint8_t max_rank;
	bool end; /* the last address of the space has been covered */
	bool after_gap;
};

/* 1 + the order of the largest aligned block in a range, by trying each: slowly, for proofs. */
static inline uint8_t check_rank(uint64_t first, uint64_t last)
{
	uint64_t low_bits, start;

	if (!first && last == UINT64_MAX)
		return 65;
	for (unsigned int k = 63; k > 0; k--) {
		low_bits = (UINT64_C(1) << k) - 1;
		start = (first + low_bits) & ~low_bits;
		if (start >= first && start <= last && last - start >= low_bits)
			return (uint8_t)(k + 1);
	}
	return 1;
}

/* A proof of its own shows that alloc_gap_rank() is the same; the others need not try each again. */
#ifndef CHECK_RANK
#define CHECK_RANK check_rank
#endif

static inline bool check_extent(const struct cvmm_alloc_space *space, const struct alloc_node *node,
				struct check_walk *walk)
{
	uint8_t rank;

	if (walk->end || node->first != walk->next || node->last < node->first ||
	    node->last > space->range.last)
		return false;
	if (!node->allocated && walk->after_gap)
		return false;
	if (node->allocated) {
		walk->allocated++;
	} else {
		rank = CHECK_RANK(node->first, node->last);
		walk->free_bytes += node->last - node->first + 1;
		if (!walk->max_rank || node->last - node->first > walk->max_span)
			walk->max_span = node->last - node->first;
		if (rank > walk->max_rank)
			walk->max_rank = rank;
	}
	walk->after_gap = !node->allocated;
	walk->nodes++;
	walk->end = node->last == space->range.last;
	walk->next = node->last + 1;
	return true;
}

/* In order; on the way back each node is compared with what its subtree showed. */
static inline bool check_below(const struct cvmm_alloc_space *space, uint32_t n, unsigned int depth,
			       struct check_walk *walk, uint8_t *ret_height)
{
	struct check_walk mine = *walk;
	const struct alloc_node *node;
	uint8_t left, right;

	if (!n) {
		*ret_height = 0;
		return true;
	}
	if (!depth || n >= space->tree.fresh)
		return false;
	node = alloc_node_at(&space->tree, n);
	mine.max_span = 0;
	mine.max_rank = 0;
	if (!check_below(space, node->left, depth - 1, &mine, &left) ||
	    !check_extent(space, node, &mine) ||
	    !check_below(space, node->right, depth - 1, &mine, &right))
		return false;
	*ret_height = (uint8_t)(1 + (left > right ? left : right));
	if (node->height != *ret_height || left > right + 1 || right > left + 1)
		return false;
	if (node->max_rank != mine.max_rank || (mine.max_rank && node->max_span != mine.max_span))
		return false;
	if (walk->max_rank && (!mine.max_rank || walk->max_span > mine.max_span))
		mine.max_span = walk->max_span;
	if (walk->max_rank > mine.max_rank)
		mine.max_rank = walk->max_rank;
	*walk = mine;
	return true;
}

/* Nodes are either in the tree or in the list of the unused. */
static inline bool check_unused(const struct alloc_tree *tree)
{
	uint32_t count = 0;

	for (uint32_t n = tree->unused; n; n = alloc_node_at(tree, n)->left) {
		if (n >= tree->fresh || count > tree->fresh)
			return false;
		count++;
	}
	return tree->fresh <= tree->capacity && 1 + tree->used + count == tree->fresh;
}

/**
 * check_space() - whether a space is in order
 * @depth: a bound for the height of its tree
 *
 * Ordered, disjoint, without holes, no gap beside a gap, balanced, every node's knowledge of its
 * gaps right, and the counts too.
 */
static inline bool check_space(const struct cvmm_alloc_space *space, unsigned int depth)
{
	struct check_walk walk = { .next = space->range.first };
	const struct alloc_tree *tree = &space->tree;
	const struct alloc_node *nil = alloc_node_at(tree, ALLOC_NIL);
	uint8_t height;

	if (nil->height || nil->max_rank || nil->allocated || nil->left || nil->right)
		return false;
	return tree->root && check_below(space, tree->root, depth, &walk, &height) && walk.end &&
	       walk.nodes == tree->used && walk.allocated == space->count &&
	       walk.free_bytes == space->free_bytes && check_unused(tree);
}

/* Whether each upper bit says what the word below it is, and the counts are right. */
static inline bool check_ids(const struct cvmm_alloc_ids *ids)
{
	uint64_t bits = ids->total, taken = 0;

	for (uint64_t i = 0; i < ids->total; i++)
		taken += ids->words[i / 64] >> (i % 64) & 1;
	if (taken != ids->taken)
		return false;
	for (unsigned int l = 0; l < ids->level_count; l++) {
		uint64_t words = (bits + 63) / 64;

		for (uint64_t i = bits; i < words * 64; i++) {
			if (!(ids->words[ids->level[l] + i / 64] >> (i % 64) & 1))
				return false;
		}
		for (uint64_t i = 0; i < words && l + 1 < ids->level_count; i++) {
			bool full = ids->words[ids->level[l] + i] == UINT64_MAX;

			if ((ids->words[ids->level[l + 1] + i / 64] >> (i % 64) & 1) != full)
				return false;
		}
		bits = words;
	}
	return bits == 1;
}

#endif /* CVMM_ALLOC_CHECK_H */
