// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * For any map of up to three regions and any address, length and right: cvmm_mem_ptr() gives an address
 * only if each byte of the range is allowed, and the right one for each of them.
 *
 * PROOF instance -DREGIONS=1
 * PROOF instance -DREGIONS=3
 * PROOF instance -DREGIONS=2
 * PROOF options --unwind 4
 * MUTATION lib/mem/mem_access.c s/offset < room && len <= room - offset/offset < room/
 * MUTATION lib/mem/mem_access.c s/hot->readable ? hot->writable : 0/true ? hot->writable : 0/
 * MUTATION lib/mem/mem_internal.h s/return bound ? bound - 1 : 0;/return bound;/
 */
#include "proof_mem.h"

void harness(void)
{
	struct cvmm_mem *mem = proof_any_map();
	enum cvmm_access access = proof_any_access();
	uint64_t gpa = proof_number(), len = proof_number(), k = proof_number();
	void *host = cvmm_mem_ptr(mem, cvmm_gpa_from(gpa), len, access);

	__CPROVER_assume(k < len);
	if (host)
		proof_check_byte(mem, gpa, k, access, host);
}
