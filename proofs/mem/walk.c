// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * For any map of up to three regions and any allowed range: the pieces of a walk cover each byte exactly
 * once, in order, and where its region has it. All bulk accesses and streams go through such a walk.
 *
 * cbmc: --unwind 6 --bounds-check
 * mutations: 1
 */
#if MUTATION == \
	1 /* a piece that ends with its region although its run goes on, and is counted whole */
#define MUTATED_PIECE
#endif
#include "proof_mem.h"

#include "../../lib/mem/mem_access.c"

void harness(void)
{
	struct cvmm_mem *mem = proof_any_map();
	enum cvmm_access access = (enum cvmm_access)(1 + nondet_size() % 3);
	uint64_t gpa = nondet_u64(), len = nondet_u64(), k = nondet_u64(), at = 0;
	struct cvmm_mem_walk walk;
	struct iovec piece;
	unsigned int covered = 0;

	__CPROVER_assume(k < len);
	if (cvmm_mem_walk_start(&walk, mem, cvmm_gpa_from(gpa), len, access))
		return;
	for (int i = 0; i < PROOF_REGIONS + 1; i++) {
		if (!cvmm_mem_walk_next(&walk, &piece))
			break;
		__CPROVER_assert(piece.iov_len && piece.iov_len <= len - at,
				 "no piece is too long");
		if (k >= at && k - at < piece.iov_len) {
			covered++;
			__CPROVER_assert((uint64_t)(uintptr_t)piece.iov_base + (k - at) ==
						 proof_byte(mem, gpa + k, access),
					 "each byte is where its region has it");
		}
		at += piece.iov_len;
	}
	__CPROVER_assert(at == len, "the pieces are the range");
	__CPROVER_assert(covered == 1, "each byte is covered once");
}
