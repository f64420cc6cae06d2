// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * One step of a walk, for any map of up to three regions, at any place of it, if what is left of the range
 * is allowed: the piece is not empty, lies in the range, and each byte is where its region has it; and the
 * walk is at the right place for what is left then. As it starts at such a place (walk_start does), the
 * pieces of any walk are its range. All bulk copies and streams are such walks.
 *
 * PROOF instance -DREGIONS=1
 * PROOF instance -DREGIONS=2
 * PROOF instance -DREGIONS=3
 * PROOF options --unwind 5
 * MUTATION lib/mem/mem_access.c s/walk->left -= len;/walk->left -= walk->left;/
 * MUTATION lib/mem/mem_access.c s/walk->entry->run_bytes - walk->offset/walk->entry->run_bytes/
 * MUTATION lib/mem/mem_access.c s/behind -= walk->entry->len_bytes;/behind = 0;/
 * MUTATION lib/mem/mem_access.c s/walk->offset = gpa - walk->entry->gpa/walk->offset = gpa/
 */
#include "proof_mem.h"

/* The walk is at @at. */
static void check_place(const struct cvmm_mem_walk *walk, uint64_t at)
{
	__CPROVER_assert(walk->entry->gpa <= at && at - walk->entry->gpa < walk->entry->len_bytes,
			 "the walk is in the right region");
	__CPROVER_assert(walk->offset == at - walk->entry->gpa, "and at the right place of it");
}

void harness(void)
{
	struct cvmm_mem *mem = proof_any_map();
	enum cvmm_access access = proof_any_access();
	uint64_t at = proof_number(), left = proof_number(), k = proof_number();
	struct cvmm_mem_walk walk = { .access = access };
	struct iovec piece;

	__CPROVER_assume(left && proof_all_allowed(mem, at, left, access));
	cvmm_mem_walk_go_on(&walk, mem, at, left);
	check_place(&walk, at);

	__CPROVER_assert(cvmm_mem_walk_next(&walk, &piece) == 1, "there is a piece");
	__CPROVER_assert(piece.iov_len && piece.iov_len <= left, "it is in the range");
	__CPROVER_assert(walk.left == left - piece.iov_len, "and no longer left");
	if (walk.left)
		check_place(&walk, at + piece.iov_len);
	__CPROVER_assume(k < piece.iov_len);
	proof_check_byte(mem, at, k, access, piece.iov_base);
}
