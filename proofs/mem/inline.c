// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * For any map of up to three regions and any address: where accesses in line find an address, each byte of
 * the object is allowed, and it is the right one. For objects of every length that takes a way of its own:
 * words, which are looked at only where they are aligned, and others.
 *
 * PROOF instance -DWIDE -DREGIONS=1 -DLEN=8
 * PROOF instance -DREGIONS=3 -DLEN=1
 * PROOF instance -DREGIONS=3 -DLEN=16
 * PROOF instance -DREGIONS=3 -DLEN=8
 * PROOF options --unwind 4
 * MUTATION include/cvmm/mem.h s/if (is_word \&\& CVMM_UNLIKELY(gpa \& (len - 1)))/if (false)/
 * MUTATION include/cvmm/mem.h s/fast->table\[slot\] != fast->table\[slot + 1\]/false/
 */
#include "proof_mem.h"

void harness(void)
{
	struct cvmm_mem *mem = proof_any_map();
	bool is_write = nondet_bool();
	uint64_t gpa = proof_number(), k = nondet_u8();
	void *host = cvmm_mem_fast_(mem, gpa, LEN, is_write);

	__CPROVER_assume(k < LEN);
	if (host)
		proof_check_byte(mem, gpa, k, is_write ? CVMM_ACCESS_WRITE : CVMM_ACCESS_READ,
				 host);
}
