/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * For the proofs of mem: any map of up to three regions, at any addresses, of any lengths and rights,
 * that are neighbours in the host or not. What is assumed of it is what cvmm_mem_create() checks.
 *
 * The host's addresses are numbers here, one for each region: only where an access would go matters.
 */
#ifndef PROOF_MEM_H
#define PROOF_MEM_H

/* Not known to cbmc, and of no meaning here. */
#define __atomic_always_lock_free(size, p) 1

#include "../../lib/mem/mem_internal.h"

#define PROOF_REGIONS 3
#define PROOF_HOST_END (UINT64_C(1) << 47)

uint64_t nondet_u64(void);
size_t nondet_size(void);
_Bool nondet_bool(void);

static struct {
	struct cvmm_mem mem;
	struct cvmm_mem_entry entries[PROOF_REGIONS];
	uint64_t starts[PROOF_REGIONS];
} proof;

static uint64_t host_number(const struct cvmm_mem_entry *entry)
{
	return (uint64_t)(uintptr_t)entry->host;
}

static struct cvmm_mem *proof_any_map(void)
{
	struct cvmm_mem *mem = &proof.mem;
	struct cvmm_mem_entry *e = mem->entries;

	mem->refs = 1;
	mem->count = nondet_size();
	mem->starts = proof.starts;
	__CPROVER_assume(mem->count <= PROOF_REGIONS);
	for (size_t i = 0; i < PROOF_REGIONS; i++) {
		if (i >= mem->count)
			break;
		e[i].gpa = nondet_u64();
		e[i].len_bytes = nondet_u64();
		e[i].host = (uint8_t *)(uintptr_t)nondet_u64();
		e[i].access = (enum cvmm_access)(1 + nondet_size() % 3);
		__CPROVER_assume(e[i].len_bytes && e[i].len_bytes - 1 <= UINT64_MAX - e[i].gpa);
		/* No mapping is at address 0, and user space ends at 2^47. */
		__CPROVER_assume(host_number(&e[i]) && host_number(&e[i]) < PROOF_HOST_END &&
				 e[i].len_bytes <= PROOF_HOST_END - host_number(&e[i]));
		if (i)
			__CPROVER_assume(e[i].gpa > e[i - 1].gpa + (e[i - 1].len_bytes - 1));
		proof.starts[i] = e[i].gpa;
	}
	/* As map_find_runs() does it. */
	for (size_t i = PROOF_REGIONS; i-- > 0;) {
		if (i >= mem->count)
			continue;
		e[i].run_bytes = e[i].len_bytes;
		if (i + 1 < mem->count && e[i].gpa + e[i].len_bytes == e[i + 1].gpa &&
		    host_number(&e[i]) + e[i].len_bytes == host_number(&e[i + 1]) &&
		    e[i].access == e[i + 1].access)
			e[i].run_bytes += e[i + 1].run_bytes;
	}
	return mem;
}

/* The host's address of one byte, looked for in the simplest way; 0 if the access is not allowed. */
static uint64_t proof_byte(const struct cvmm_mem *mem, uint64_t gpa, enum cvmm_access access)
{
	for (size_t i = 0; i < PROOF_REGIONS; i++) {
		const struct cvmm_mem_entry *e = &mem->entries[i];

		if (i < mem->count && gpa >= e->gpa && gpa - e->gpa < e->len_bytes)
			return (unsigned int)access & ~(unsigned int)e->access
				       ? 0
				       : host_number(e) + (gpa - e->gpa);
	}
	return 0;
}

#endif /* PROOF_MEM_H */
