/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What the files of alloc share: the tree of extents and both objects. */
#ifndef CVMM_ALLOC_INTERNAL_H
#define CVMM_ALLOC_INTERNAL_H

#include <cvmm/alloc.h>

/* ---- gaps (alloc_gap.c) ---------------------------------------------------------------------- */

/**
 * struct alloc_want - a request as gaps see it
 * @span: length minus 1
 * @align: power of two
 * @min_rank: the least rank of a gap that could hold it
 */
struct alloc_want {
	uint64_t span;
	uint64_t align;
	uint8_t min_rank;
};

uint8_t alloc_gap_rank(uint64_t first, uint64_t last);
struct alloc_want alloc_gap_want(uint64_t len_bytes, uint64_t align_bytes);
bool alloc_gap_fit(uint64_t gap_first, uint64_t gap_last, const struct alloc_want *want, bool high,
		   uint64_t *ret_first);

/* ---- the tree of extents (alloc_tree.c) ------------------------------------------------------ */

#define ALLOC_NIL 0U /* index of no node; node 0 is a valid object, all zero, and never written */

/* Enough for CVMM_ALLOC_RANGES_MAX ranges, the gaps around them, and nil. */
#define ALLOC_NODES_MAX (2 * CVMM_ALLOC_RANGES_MAX + 2)

/**
 * struct alloc_node - an extent, and the best of the gaps in the subtree that it heads
 * @max_span: length minus 1 of the longest gap; meaningless while @max_rank is 0
 * @max_rank: 1 + the largest k for which a gap holds an aligned block of 2^k bytes; 0: no gap
 * @height: 1 + the larger height of the two children
 */
struct alloc_node {
	uint64_t first;
	uint64_t last;
	uint64_t max_span;
	uint32_t left;
	uint32_t right;
	uint8_t height;
	uint8_t max_rank;
	bool allocated;
};

/**
 * struct alloc_tree - extents in ascending order
 * @nodes: @capacity nodes; indices survive a growing array
 * @used: nodes in the tree
 * @fresh: nodes from here on have never been used
 * @unused: nodes below @fresh that are not in the tree, chained by left
 */
struct alloc_tree {
	struct alloc_node *nodes;
	uint32_t capacity;
	uint32_t used;
	uint32_t fresh;
	uint32_t unused;
	uint32_t root;
};

static inline struct alloc_node *alloc_node_at(const struct alloc_tree *tree, uint32_t n)
{
	return &tree->nodes[n];
}

int alloc_tree_reserve(struct alloc_tree *tree, uint32_t count);
void alloc_tree_add(struct alloc_tree *tree, uint64_t first, uint64_t last, bool allocated);
void alloc_tree_remove(struct alloc_tree *tree, uint64_t first);
void alloc_tree_refresh(struct alloc_tree *tree, uint64_t first);
uint32_t alloc_tree_find(const struct alloc_tree *tree, uint64_t addr);
uint32_t alloc_tree_largest_gap(const struct alloc_tree *tree);
bool alloc_tree_fit(const struct alloc_tree *tree, const struct alloc_want *want, bool high,
		    uint64_t *ret_first);

/* ---- objects --------------------------------------------------------------------------------- */

/**
 * struct cvmm_alloc_space - extents that cover the range without holes; free ones never touch
 * @free_bytes: modulo 2^64: 0 also for 2^64 free bytes
 * @count: allocated extents
 */
struct cvmm_alloc_space {
	struct alloc_tree tree;
	struct cvmm_alloc_range range;
	uint64_t free_bytes;
	uint32_t count;
	char name[CVMM_ALLOC_NAME_SIZE];
};

int alloc_space_start(struct cvmm_alloc_space *space);
int alloc_space_carve(struct cvmm_alloc_space *space, struct cvmm_alloc_range range);

#define ALLOC_IDS_LEVELS_MAX 6 /* 64^6 >= 2^32 */

/**
 * struct cvmm_alloc_ids - one bit for each id, and above it one bit for each full word
 * @words: all levels; a bit beyond the last id, or the last word below, is always set
 * @level: where each level begins in @words
 * @level_count: levels in use; the top one is a single word
 * @total: ids, up to 2^32
 * @taken: ids that are taken
 * @touched: words of level 0 beyond this one have never had an id taken
 */
struct cvmm_alloc_ids {
	uint64_t *words;
	size_t level[ALLOC_IDS_LEVELS_MAX];
	unsigned int level_count;
	struct cvmm_alloc_id_range range;
	uint64_t total;
	uint64_t taken;
	size_t touched;
	char name[CVMM_ALLOC_NAME_SIZE];
};

static inline void alloc_name_copy(char dst[CVMM_ALLOC_NAME_SIZE], const char *name)
{
	size_t len = strnlen(name, CVMM_ALLOC_NAME_SIZE - 1);

	memcpy(dst, name, len);
	dst[len] = '\0';
}

#endif /* CVMM_ALLOC_INTERNAL_H */
