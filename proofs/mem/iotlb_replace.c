// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * For any IOTLB of up to 2 mappings with room for more, and any update or invalidation: the mappings are
 * in order and disjoint afterwards, and end at or below 2^64 on both sides. Each address stands for what
 * it did before, or for what the update says, or for nothing if it was invalidated; and is found.
 *
 * PROOF options --unwind 7 --unwindset evict.0:1
 * PROOF instance -DCAPACITY=2 -DCOUNT=0 -DUPDATE=0
 * PROOF instance -DCAPACITY=2 -DCOUNT=0 -DUPDATE=1
 * PROOF instance -DCAPACITY=4 -DCOUNT=2 -DUPDATE=0
 * PROOF instance -DCAPACITY=4 -DCOUNT=2 -DUPDATE=1
 * PROOF instance -DCAPACITY=3 -DCOUNT=1 -DUPDATE=0
 * PROOF instance -DCAPACITY=3 -DCOUNT=1 -DUPDATE=1
 * MUTATION lib/mem/mem_iotlb_table.c s/replacements\[count++\].last = first - 1/replacements[count++].last = first/
 * MUTATION lib/mem/mem_iotlb_table.c s/right->addr += last - right->first + 1/right->addr += last - right->first/
 * MUTATION lib/mem/mem_iotlb_table.c s/table->entries\[to\].first <= last/table->entries[to].first < last/
 */
#include "proof_iotlb.h"

void harness(void)
{
	struct iotlb_entry change = any_entry();
	uint64_t iova = any_number(), addr_before = 0;
	bool is_update = UPDATE, changed;
	int before, after;

	any_table();
	before = holder(iova);
	if (before >= 0)
		addr_before = entries[before].addr + (iova - entries[before].first);
	if (is_update)
		cvmm_mem_iotlb_insert(&table, &change);
	else
		cvmm_mem_iotlb_cut(&table, change.first, change.last);

	check_table();
	after = holder(iova);
	changed = iova >= change.first && iova <= change.last;
	__CPROVER_assert(!changed || (after >= 0) == is_update, "the change is there");
	if (after < 0)
		return;
	addr_before = changed ? change.addr + (iova - change.first) : addr_before;
	__CPROVER_assert(changed || before >= 0, "nothing else is mapped that was not");
	__CPROVER_assert(entries[after].addr + (iova - entries[after].first) == addr_before,
			 "each address stands for what it should");
	__CPROVER_assert(cvmm_mem_iotlb_lower(&table, iova) == (size_t)after, "and is found");
}
