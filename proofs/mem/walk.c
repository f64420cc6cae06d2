// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * For any map of up to three regions and any range: if it is allowed, the pieces of a walk cover each
 * byte exactly once, in order, and where its region has it. All bulk copies and streams are such walks.
 *
 * PROOF instance -DREGIONS=1
 * PROOF instance -DREGIONS=3
 * PROOF instance -DREGIONS=2
 * PROOF solver kissat
 * PROOF options --unwind 5
 * MUTATION lib/mem/mem_access.c s/walk->left -= len;/walk->left -= walk->left;/
 * MUTATION lib/mem/mem_access.c s/walk->entry->run_bytes - walk->offset/walk->entry->run_bytes/
 * MUTATION lib/mem/mem_access.c s/walk->offset = behind;/walk->offset = 0;/
 */
#include "proof_mem.h"

void harness(void)
{
	struct cvmm_mem *mem = proof_any_map();
	enum cvmm_access access = proof_any_access();
	uint64_t gpa = proof_number(), len = proof_number(), k = proof_number(), at = 0;
	struct cvmm_mem_walk walk;
	struct iovec piece;
	bool covered = false;

	__CPROVER_assume(k < len);
	if (cvmm_mem_walk_start(&walk, mem, cvmm_gpa_from(gpa), len, access))
		return;
	for (int i = 0; i <= REGIONS && cvmm_mem_walk_next(&walk, &piece); i++) {
		__CPROVER_assert(piece.iov_len && piece.iov_len <= len - at, "no piece is too long");
		if (k >= at && k - at < piece.iov_len) {
			__CPROVER_assert(!covered, "no byte is covered twice");
			covered = true;
			proof_check_byte(mem, gpa + at, k - at, access, piece.iov_base);
		}
		at += piece.iov_len;
	}
	__CPROVER_assert(at == len && covered, "the pieces are the range");
}
