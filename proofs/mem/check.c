// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * For any map of up to three regions and any range: cvmm_mem_check() succeeds exactly if each byte of the
 * range is RAM with the rights wanted, and the range does not pass 2^64. If it does not, there is such a
 * byte: the first that no piece of the walk so far has.
 *
 * PROOF instance -DREGIONS=1
 * PROOF instance -DREGIONS=3
 * PROOF instance -DREGIONS=2
 * PROOF options --unwind 5
 * MUTATION lib/mem/mem_access.c s/if (!entry_allows(entry, access))/if (entry == mem->entries \&\& !entry_allows(entry, access))/
 * MUTATION lib/mem/mem_access.c s/if (len <= piece)/if (len <= piece + 1)/
 * MUTATION lib/mem/mem_access.c s/entry < end && cvmm_mem_entry_has(entry, at)/entry < end/
 */
#include "proof_mem.h"

void harness(void)
{
	struct cvmm_mem *mem = proof_any_map();
	enum cvmm_access access = proof_any_access();
	uint64_t gpa = proof_number(), len = proof_number();
	int ret = cvmm_mem_check(mem, cvmm_gpa_from(gpa), len, access);

	__CPROVER_assert(ret == 0 || ret == -EFAULT, "a code");
	__CPROVER_assert((ret == 0) == proof_all_allowed(mem, gpa, len, access),
			 "fine exactly if all of it is allowed");
}
