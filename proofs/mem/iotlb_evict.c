// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * For any IOTLB that holds one or two mappings more than it may: dropping some of them ends with as many
 * as it may hold, in order; those that are left stand for what they did; and the newest is among them.
 *
 * PROOF options --unwind 9
 * PROOF instance -DCAPACITY=1 -DCOUNT=2
 * PROOF instance -DCAPACITY=2 -DCOUNT=3
 * PROOF instance -DCAPACITY=1 -DCOUNT=3
 * MUTATION lib/mem/mem_iotlb_table.c s/if (table->hand == keep || entry->used)/if (entry->used)/
 * MUTATION lib/mem/mem_iotlb_table.c s/keep--;/keep += 0;/
 * MUTATION lib/mem/mem_iotlb_table.c s/while (table->count > table->capacity)/while (table->count > table->capacity + 1)/
 */
#include "proof_iotlb.h"

void harness(void)
{
	size_t keep = nondet_u8() % COUNT;
	uint64_t newest, iova = any_number(), addr = 0;
	int before, after;

	any_table();
	newest = entries[keep].first;
	before = holder(iova);
	if (before >= 0)
		addr = entries[before].addr + (iova - entries[before].first);
	evict(&table, keep);
	check_table();
	__CPROVER_assert(table.count == CAPACITY, "as many as there may be");
	__CPROVER_assert(holder(newest) >= 0, "the newest is kept");
	after = holder(iova);
	__CPROVER_assert(after < 0 || before >= 0, "nothing is mapped that was not");
	__CPROVER_assert(after < 0 || entries[after].addr + (iova - entries[after].first) == addr,
			 "what is left stands for what it did");
}
