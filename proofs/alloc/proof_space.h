/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * For the proofs of lib/alloc/alloc_space.c: spaces of up to 4 extents, which are gaps ('g') or allocated
 * ('a') as PATTERN says. One operation reaches 3 extents at most, so that one is left that must not change.
 *
 * The extents are of any lengths, the space lies anywhere, but every extent begins and ends at one of the
 * 16 lowest or the 16 highest addresses of 2^64. alloc_space.c only compares addresses, steps to the next
 * one and subtracts them; the ends of the number space are where this can go wrong, and in between there is
 * nothing that these lack. What depends on all bits of an address, alignment, is for gap_fit.c.
 *
 * The tree is replaced by a plain list that does what the tree_*.c proofs show of the tree. Growing it
 * may fail whenever it is asked for.
 */
#ifndef PROOF_SPACE_H
#define PROOF_SPACE_H

#include <errno.h>

#include "proof.h"
#include "../../lib/alloc/alloc_internal.h"

#ifndef PATTERN
#define PATTERN gaga
#endif
#define STRING(s) #s
#define STRING_OF(macro) STRING(macro)

#define ADDRS 32

static const char pattern[] = STRING_OF(PATTERN);

#define SLOTS (sizeof(pattern) + 2) /* nil, the extents, and what one operation adds */

/* One of the lowest or of the highest addresses of the 64-bit space. */
static uint64_t any_addr(void)
{
	uint64_t a = nondet_u8() % ADDRS;

	return a < ADDRS / 2 ? a : a - ADDRS;
}

static struct alloc_node slots[SLOTS];
static bool in_use[SLOTS];
static unsigned int reserved;
static struct cvmm_alloc_space space;

/* ---- the tree -------------------------------------------------------------------------------- */

int alloc_tree_reserve(struct alloc_tree *tree, uint32_t count)
{
	(void)tree;
	if (count && nondet_bool())
		return -ENOMEM;
	reserved = count;
	return 0;
}

static uint32_t slot_of(uint64_t addr)
{
	for (uint32_t n = 1; n < SLOTS; n++) {
		if (in_use[n] && slots[n].first <= addr && addr <= slots[n].last)
			return n;
	}
	return ALLOC_NIL;
}

uint32_t alloc_tree_find(const struct alloc_tree *tree, uint64_t addr)
{
	(void)tree;
	return slot_of(addr);
}

void alloc_tree_add(struct alloc_tree *tree, uint64_t first, uint64_t last, bool allocated)
{
	(void)tree;
	__CPROVER_assert(reserved > 0, "what is added was reserved");
	__CPROVER_assert(first <= last, "an extent is not empty");
	reserved--;
	for (uint32_t n = 1; n < SLOTS; n++) {
		__CPROVER_assert(!in_use[n] || slots[n].last < first || slots[n].first > last,
				 "what is added overlaps nothing");
	}
	for (uint32_t n = 1; n < SLOTS; n++) {
		if (in_use[n])
			continue;
		slots[n].first = first;
		slots[n].last = last;
		slots[n].allocated = allocated;
		in_use[n] = true;
		return;
	}
	__CPROVER_assert(0, "there is room");
}

static uint32_t slot_at(uint64_t first)
{
	for (uint32_t n = 1; n < SLOTS; n++) {
		if (in_use[n] && slots[n].first == first)
			return n;
	}
	__CPROVER_assert(0, "the extent is in the tree");
	return ALLOC_NIL;
}

void alloc_tree_remove(struct alloc_tree *tree, uint64_t first)
{
	(void)tree;
	in_use[slot_at(first)] = false;
}

void alloc_tree_refresh(struct alloc_tree *tree, uint64_t first)
{
	(void)tree;
	(void)slot_at(first);
}

/* Only messages ask for it here. */
uint32_t alloc_tree_largest_gap(const struct alloc_tree *tree)
{
	(void)tree;
	return ALLOC_NIL;
}

/* Whether @place is one for a request. */
static bool is_place(uint64_t place, const struct alloc_want *want)
{
	uint32_t n = slot_of(place);

	return n && !slots[n].allocated && !(place & (want->align - 1)) &&
	       slots[n].last - place >= want->span;
}

static uint64_t some_place; /* any address: what is said of it is said of each */

/* Any answer that gap_fit.c and tree_search.c together allow. */
bool alloc_tree_fit(const struct alloc_tree *tree, const struct alloc_want *want, bool high,
		    uint64_t *ret_first)
{
	bool fits = nondet_bool(), there_is_one = is_place(some_place, want);
	uint64_t first = any_addr();

	(void)tree;
	__CPROVER_assume(fits || !there_is_one);
	if (!fits)
		return false;
	__CPROVER_assume(is_place(first, want));
	__CPROVER_assume(!there_is_one || (high ? first >= some_place : first <= some_place));
	*ret_first = first;
	return true;
}

/* ---- the space ------------------------------------------------------------------------------- */

/* What is known of any address: whether it is allocated, and with which extent. */
struct proof_fact {
	bool inside;
	bool allocated;
	uint64_t first;
	uint64_t last;
};

static struct proof_fact fact_of(uint64_t addr)
{
	uint32_t n = slot_of(addr);
	struct proof_fact fact = { n != ALLOC_NIL, slots[n].allocated, slots[n].first,
				   slots[n].last };

	return fact;
}

static bool same_fact(struct proof_fact a, struct proof_fact b)
{
	return a.inside == b.inside && a.allocated == b.allocated && a.first == b.first &&
	       a.last == b.last;
}

/* How many are free or allocated at first does not matter: both are only added to and subtracted from. */
static void any_space(void)
{
	uint32_t n = 0;

	space.range.first = any_addr();
	space.tree.nodes = slots;
	space.count = nondet_u32();
	while (pattern[n]) {
		n++;
		slots[n].first = n == 1 ? space.range.first : slots[n - 1].last + 1;
		slots[n].last = any_addr();
		slots[n].allocated = pattern[n - 1] == 'a';
		in_use[n] = true;
		__CPROVER_assume(n == 1 || slots[n - 1].last != UINT64_MAX);
		__CPROVER_assume(slots[n].first <= slots[n].last);
	}
	space.range.last = slots[n].last;
}

/*
 * The extents cover the space without a hole or an overlap, and no two gaps touch. That the first is said of
 * an open address is to say it of each, without a walk from one extent to the next.
 */
static void check_space_ok(void)
{
	uint64_t addr = any_addr();
	unsigned int holders = 0;

	for (uint32_t n = 1; n < SLOTS; n++) {
		if (!in_use[n])
			continue;
		__CPROVER_assert(slots[n].first <= slots[n].last, "no extent is empty");
		if (slots[n].first <= addr && addr <= slots[n].last)
			holders++;
		for (uint32_t m = 1; m < SLOTS; m++) {
			__CPROVER_assert(!in_use[m] || slots[n].allocated || slots[m].allocated ||
						 slots[n].last == UINT64_MAX ||
						 slots[n].last + 1 != slots[m].first,
					 "no two gaps touch");
		}
	}
	__CPROVER_assert(holders == (space.range.first <= addr && addr <= space.range.last),
			 "each address of the space is in one extent, and no other in any");
}

/* After a range was allocated or freed. @before: what was known of @addr, which is any address. */
static void check_change(struct cvmm_alloc_range range, bool now_allocated, uint64_t addr,
			 struct proof_fact before, uint64_t free_bytes, uint32_t count)
{
	struct proof_fact after = fact_of(addr);
	uint64_t len = range.last - range.first + 1;

	if (range.first <= addr && addr <= range.last) {
		__CPROVER_assert(before.allocated == !now_allocated, "it was the other way before");
		__CPROVER_assert(after.allocated == now_allocated, "now it is as it should be");
		__CPROVER_assert(!now_allocated ||
					 (after.first == range.first && after.last == range.last),
				 "the extent is the range");
	} else {
		__CPROVER_assert(after.allocated == before.allocated &&
					 after.inside == before.inside,
				 "nothing else has changed");
		__CPROVER_assert(!before.allocated || same_fact(after, before),
				 "no other allocation has moved");
	}
	__CPROVER_assert(space.free_bytes == (now_allocated ? free_bytes - len : free_bytes + len),
			 "the free bytes are counted");
	__CPROVER_assert(space.count == (now_allocated ? count + 1 : count - 1),
			 "the allocations are counted");
	check_space_ok();
}

static void check_no_change(uint64_t addr, struct proof_fact before, uint64_t free_bytes,
			    uint32_t count)
{
	__CPROVER_assert(same_fact(fact_of(addr), before), "nothing has changed");
	__CPROVER_assert(space.free_bytes == free_bytes && space.count == count,
			 "no count has changed");
}

#endif /* PROOF_SPACE_H */
