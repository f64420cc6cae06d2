// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * What a map derives from its regions, for any up to three of them: how far one can go from the start of
 * each, which is what the other proofs take for granted; and a table that, wherever it is used, gives the
 * last region at or below an address.
 *
 * PROOF instance -DREGIONS=1
 * PROOF instance -DREGIONS=3
 * PROOF instance -DREGIONS=2
 * PROOF options --unwind 5
 * MUTATION lib/mem/mem.c s/ && entry->access == next->access)/)/
 * MUTATION lib/mem/mem.c s/entry->gpa + entry->len_bytes == next->gpa/true/
 * MUTATION lib/mem/mem.c s/(gpa >> mem->fast.shift) + !!/(gpa >> mem->fast.shift) + 0 * !!/
 */
#include "proof_mem.h"

static void check_stretch(const struct cvmm_mem_hot *made, const struct cvmm_mem_hot *derived)
{
	__CPROVER_assert(made->gpa == derived->gpa && made->bias == derived->bias, "where it is");
	__CPROVER_assert(made->readable == derived->readable && made->writable == derived->writable,
			 "how far one can go");
}

/* The last region at or below an address, or 0. */
static int simple_search(const struct cvmm_mem *mem, uint64_t gpa)
{
	int found = 0;

	for (int i = 0; i < REGIONS; i++)
		if (mem->entries[i].gpa <= gpa)
			found = i;
	return found;
}

void harness(void)
{
	struct cvmm_mem *mem = proof_any_map();
	struct cvmm_mem_hot expected[REGIONS];
	uint64_t runs[REGIONS], gpa = proof_number(), slot;
	bool is_one = false;

	for (int i = 0; i < REGIONS; i++) {
		expected[i] = proof_hot[i];
		runs[i] = mem->entries[i].run_bytes;
	}
	mem->fast.shift = 0;
	memset(&mem->fast.likely, 0, sizeof(mem->fast.likely));
	map_finish(mem, NULL);

	for (int i = 0; i < REGIONS; i++) {
		check_stretch(&proof_hot[i], &expected[i]);
		__CPROVER_assert(mem->entries[i].run_bytes == runs[i], "how far a walk goes");
		is_one |= mem->fast.likely.gpa == proof_hot[i].gpa &&
			  mem->fast.likely.bias == proof_hot[i].bias &&
			  mem->fast.likely.readable == proof_hot[i].readable &&
			  mem->fast.likely.writable == proof_hot[i].writable;
	}
	__CPROVER_assert(is_one, "the likely one is one of them");
	slot = gpa >> mem->fast.shift;
	__CPROVER_assert(proof_last[REGIONS - 1] >> mem->fast.shift < CVMM_MEM_TABLE_SLOTS,
			 "all of RAM is in the table");
	for (int i = 0; i <= CVMM_MEM_TABLE_SLOTS; i++)
		__CPROVER_assert(proof_table[i] < REGIONS, "the table names regions");
	if (slot < CVMM_MEM_TABLE_SLOTS && proof_table[slot] == proof_table[slot + 1])
		__CPROVER_assert(proof_table[slot] == simple_search(mem, gpa),
				 "what the table says");
	__CPROVER_assert(cvmm_mem_index_below(mem, gpa) == (size_t)simple_search(mem, gpa),
			 "what is found");
}
