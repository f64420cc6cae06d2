/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * For the proofs of the IOTLB's table: mappings with numbers within 8 of either end of the address space,
 * for the code knows no other sizes than that of the space; and a memmove() by entries, for cbmc's own, by
 * bytes and of any size, is what would take the time.
 */
#ifndef PROOF_IOTLB_H
#define PROOF_IOTLB_H

#include <string.h>

#include "../../lib/mem/mem_iotlb_internal.h"

#define memmove(to, from, bytes) move_entries(to, from, (bytes) / sizeof(struct iotlb_entry))
static void move_entries(struct iotlb_entry *to, const struct iotlb_entry *from, size_t count);

#include "../../lib/mem/mem_iotlb_table.c"

#define ROOM (CAPACITY + IOTLB_SPARE)

uint64_t nondet_u64(void);
unsigned char nondet_u8(void);

static struct iotlb_entry entries[ROOM];
static struct iotlb_table table = { .entries = entries, .capacity = CAPACITY };

void cvmm_bug(const char *file, int line, const char *what)
{
	__CPROVER_assert(0, "no CVMM_BUG_ON() fires");
	__CPROVER_assume(0);
}

static void move_entries(struct iotlb_entry *to, const struct iotlb_entry *from, size_t count)
{
	struct iotlb_entry copy[ROOM];

	__CPROVER_assert(count <= ROOM, "no more entries than there are");
	for (size_t i = 0; i < ROOM; i++)
		if (i < count)
			copy[i] = from[i];
	for (size_t i = 0; i < ROOM; i++)
		if (i < count)
			to[i] = copy[i];
}

static uint64_t any_number(void)
{
	uint64_t number = nondet_u64();

	__CPROVER_assume(number + 8 < 16);
	return number;
}

/* A mapping as messages are checked to be. */
static struct iotlb_entry any_entry(void)
{
	struct iotlb_entry entry = {
		.first = any_number(),
		.last = any_number(),
		.addr = any_number(),
		.rights = nondet_u8() % 4,
		.used = nondet_u8() % 2,
	};

	__CPROVER_assume(entry.first <= entry.last);
	__CPROVER_assume(entry.last - entry.first <= UINT64_MAX - entry.addr);
	return entry;
}

/* The mapping that holds an address, looked for in the simplest way; its index, or -1. */
static int holder(uint64_t iova)
{
	for (int i = 0; i < ROOM; i++)
		if ((size_t)i < table.count && entries[i].first <= iova && iova <= entries[i].last)
			return i;
	return -1;
}

static void check_table(void)
{
	__CPROVER_assert(table.count <= CAPACITY, "no more than the capacity");
	for (int i = 0; i < ROOM; i++) {
		if ((size_t)i >= table.count)
			break;
		__CPROVER_assert(entries[i].first <= entries[i].last, "no mapping is empty");
		__CPROVER_assert(!i || entries[i - 1].last < entries[i].first,
				 "in order, disjoint");
		__CPROVER_assert(entries[i].last - entries[i].first <= UINT64_MAX - entries[i].addr,
				 "what it stands for ends at or below 2^64");
	}
}

static void any_table(void)
{
	table.count = COUNT;
	table.hand = nondet_u8() % (COUNT + 1);
	for (int i = 0; i < COUNT; i++) {
		entries[i] = any_entry();
		__CPROVER_assume(!i || entries[i - 1].last < entries[i].first);
	}
}

#endif /* PROOF_IOTLB_H */
