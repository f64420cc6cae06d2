// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * For any map of up to three regions and any address, length and right: cvmm_mem_check() and
 * cvmm_mem_ptr() allow a range only if each of its bytes is allowed, and the pointer is the right one for
 * each of them. And what lies in one region with the right is never refused.
 *
 * cbmc: --unwind 5 --bounds-check --unsigned-overflow-check-off
 * mutations: 3
 */
#if MUTATION == 1 /* the sum that wraps */
#define MUTATED_FITS(len, run, offset) ((len) + (offset) <= (run))
#elif MUTATION == 2 /* one too far */
#define MUTATED_FITS(len, run, offset) ((len) <= (run) - (offset) + 1)
#elif MUTATION == 3 /* rights forgotten */
#define MUTATED_ALLOWS
#endif
#include "proof_mem.h"

#include "../../lib/mem/mem_access.c"

void harness(void)
{
	struct cvmm_mem *mem = proof_any_map();
	enum cvmm_access access = (enum cvmm_access)(1 + nondet_size() % 3);
	uint64_t gpa = nondet_u64(), len = nondet_u64(), k = nondet_u64();
	int checked = cvmm_mem_check(mem, cvmm_gpa_from(gpa), len, access);
	void *host = cvmm_mem_ptr(mem, cvmm_gpa_from(gpa), len, access);

	__CPROVER_assume(k < len);
	if (!checked) {
		__CPROVER_assert(k <= UINT64_MAX - gpa, "a range that wraps is refused");
		__CPROVER_assert(proof_byte(mem, gpa + k, access), "each byte is allowed");
	}
	if (host) {
		__CPROVER_assert(!checked, "a pointer is for an allowed range");
		__CPROVER_assert((uint64_t)(uintptr_t)host + k == proof_byte(mem, gpa + k, access),
				 "each byte is where its region has it");
	}
	for (size_t i = 0; i < PROOF_REGIONS; i++) {
		const struct cvmm_mem_entry *e = &mem->entries[i];

		if (i < mem->count && gpa >= e->gpa && gpa - e->gpa < e->len_bytes &&
		    len <= e->len_bytes - (gpa - e->gpa) &&
		    !((unsigned int)access & ~(unsigned int)e->access))
			__CPROVER_assert(host && !checked, "what lies in a region is found");
	}
}
