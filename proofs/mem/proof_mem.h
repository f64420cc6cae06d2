/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * For the proofs of mem: any map of REGIONS regions (1 to 3), at any addresses of the guest, of any
 * lengths and rights, that are neighbours in the host or not. All that is assumed of it is what
 * cvmm_mem_create() checks.
 *
 * Two things are proved apart from each other. What the map derives from its regions (runs, table) is
 * right: map.c. Whatever uses a map uses it rightly: all others. For those the derived parts are made
 * here, in the simplest way, and the table sends every search to the binary one.
 *
 * The host's addresses are numbers here: only where an access would go matters.
 */
#ifndef PROOF_MEM_H
#define PROOF_MEM_H

#define CVMM_MEM_TABLE_LOG2 1

/* Not known to cbmc, and of no meaning here. */
#define __atomic_always_lock_free(size, p) 1

#include "../../lib/mem/mem.c"
#include "../../lib/mem/mem_access.c"

#ifndef REGIONS
#define REGIONS 3
#endif
#define PAGE UINT64_C(4096)
#define PROOF_HOST_END (UINT64_C(1) << 46)

uint64_t nondet_u64(void);
unsigned char nondet_u8(void);
_Bool nondet_bool(void);

/* As long as struct cvmm_mem_entry wants it, in one object. */
static struct {
	struct cvmm_mem mem;
	struct cvmm_mem_entry entries[REGIONS];
} proof;
static uint64_t proof_starts[REGIONS];
static struct cvmm_mem_hot proof_hot[REGIONS];
static uint16_t proof_table[CVMM_MEM_TABLE_SLOTS + 1];

/*
 * Any 64-bit number, where solvers come to an end with that (WIDE). Else any number within 8 pages of
 * either end of the address space, and so of every sum that wraps: the code knows no other sizes than
 * those of pages and of the space.
 */
static uint64_t proof_number(void)
{
	uint64_t number = nondet_u64();

#ifndef WIDE
	__CPROVER_assume(number + 8 * PAGE < 16 * PAGE);
#endif
	return number;
}

static enum cvmm_access proof_any_access(void)
{
	return (enum cvmm_access)(1 + nondet_u8() % 3);
}

/*
 * What the host's addresses of each region are above the guest's, modulo 2^64. Two regions that touch in
 * the guest touch in the host, too, exactly if these are equal; sums that say the same in another order
 * are what solvers are slow at.
 */
static uint64_t proof_bias[REGIONS];

/* The last byte of each region, and of each run that begins with one: all lengths follow from these. */
static uint64_t proof_last[REGIONS], proof_run_last[REGIONS];

/* Regions in order. Return: the map, of which nothing is derived yet. */
static struct cvmm_mem *proof_any_regions(void)
{
	struct cvmm_mem *mem = &proof.mem;

	mem->refs = 1;
	mem->count = REGIONS;
	mem->starts = proof_starts;
	mem->hot = proof_hot;
	mem->table = proof_table;
	mem->fast.hot = proof_hot;
	mem->fast.table = proof_table;
	for (int i = 0; i < REGIONS; i++) {
		struct cvmm_mem_entry *entry = &mem->entries[i];

		entry->gpa = proof_number();
		proof_last[i] = proof_number();
		proof_bias[i] = proof_number();
		entry->access = proof_any_access();
		__CPROVER_assume(!(entry->gpa % PAGE) && proof_last[i] % PAGE == PAGE - 1);
		__CPROVER_assume(entry->gpa < proof_last[i]);
		__CPROVER_assume(!i || entry->gpa > proof_last[i - 1]);
		/* No host has all of 2^64 for one guest. */
		entry->len_bytes = proof_last[i] - entry->gpa + 1;
		__CPROVER_assume(entry->len_bytes);
		entry->host = (uint8_t *)(uintptr_t)(entry->gpa + proof_bias[i]);
		/* In user space; there, sums of pointers and of numbers are the same to cbmc. */
		__CPROVER_assume((uintptr_t)entry->host - 1 < PROOF_HOST_END);
		__CPROVER_assume(entry->len_bytes < PROOF_HOST_END);
		proof_starts[i] = entry->gpa;
	}
	return mem;
}

/* A map all of which is as map.c proves that it is made. */
static struct cvmm_mem *proof_any_map(void)
{
	struct cvmm_mem *mem = proof_any_regions();
	int likely = nondet_u8() % REGIONS;

	for (int i = REGIONS - 1; i >= 0; i--) {
		struct cvmm_mem_entry *entry = &mem->entries[i];
		bool joined = i + 1 < REGIONS && proof_last[i] + 1 == entry[1].gpa &&
			      proof_bias[i] == proof_bias[i + 1] &&
			      entry->access == entry[1].access;

		proof_run_last[i] = joined ? proof_run_last[i + 1] : proof_last[i];
		entry->run_bytes = proof_run_last[i] - entry->gpa + 1;
		__CPROVER_assume(entry->run_bytes);
		proof_hot[i].gpa = entry->gpa;
		proof_hot[i].readable = entry->access & CVMM_ACCESS_READ ? entry->run_bytes : 0;
		proof_hot[i].writable = entry->access & CVMM_ACCESS_WRITE ? entry->run_bytes : 0;
		proof_hot[i].bias = (uintptr_t)proof_bias[i];
	}
	mem->fast.likely = proof_hot[likely];
	mem->fast.shift = 63;
	for (int i = 0; i <= CVMM_MEM_TABLE_SLOTS; i++)
		proof_table[i] = (uint16_t)i;
	return mem;
}

/* Index of the region of a byte that may be accessed, looked for in the simplest way, or -1. */
static int proof_region(const struct cvmm_mem *mem, uint64_t gpa, enum cvmm_access access)
{
	for (int i = 0; i < REGIONS; i++) {
		const struct cvmm_mem_entry *entry = &mem->entries[i];

		if (gpa >= entry->gpa && gpa <= proof_last[i])
			return access & ~entry->access ? -1 : i;
	}
	return -1;
}

/* Byte @k of a range at @gpa that was found at @host is allowed, and is where its region has it. */
static void proof_check_byte(const struct cvmm_mem *mem, uint64_t gpa, uint64_t k,
			     enum cvmm_access access, const void *host)
{
	int region;

	__CPROVER_assert(k <= UINT64_MAX - gpa, "no range that is allowed passes 2^64");
	region = proof_region(mem, gpa + k, access);
	__CPROVER_assert(region >= 0, "each byte may be accessed");
	__CPROVER_assert((uintptr_t)host == (uintptr_t)proof_bias[region] + (uintptr_t)gpa,
			 "each byte is where its region has it");
}

/* Whether all of a range is allowed, found by going from region to region. */
static bool proof_all_allowed(const struct cvmm_mem *mem, uint64_t gpa, uint64_t len,
			      enum cvmm_access access)
{
	uint64_t last = gpa + (len - 1);

	if (!len)
		return true;
	if (last < gpa)
		return false;
	for (int i = 0; i < REGIONS; i++) {
		if (gpa < mem->entries[i].gpa || gpa > proof_last[i])
			continue;
		if (access & ~mem->entries[i].access)
			return false;
		if (last <= proof_last[i])
			return true;
		gpa = proof_last[i] + 1;
	}
	return false;
}

#endif /* PROOF_MEM_H */
