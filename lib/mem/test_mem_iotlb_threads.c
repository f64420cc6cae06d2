// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Readers use translations while another thread takes them away. Each target has a flag that says whether
 * it may be used: the writer clears it after its invalidation has returned, and a reader that holds the
 * lock and has the translation must find it set.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "test_mem_util.h"

#include <cvmm/mem_iommu.h>

#define READERS 3
#define ROUNDS 3000
#define TARGETS 4u
#define PAGE 0x1000u

static struct {
	struct cvmm_iotlb *tlb;
	int usable[TARGETS];
	int stop;
	uint64_t hits;
} shared;

static void use_translation(void)
{
	struct cvmm_iotlb_piece piece;
	struct cvmm_iotlb_lookup lookup = { .pieces = &piece, .piece_max = 1 };

	if (cvmm_iotlb_lookup_locked(shared.tlb, 0x5000, PAGE, CVMM_ACCESS_READ, &lookup) == 0) {
		uint64_t target = piece.addr / PAGE;

		assert_true(target < TARGETS);
		assert_int_equal(__atomic_load_n(&shared.usable[target], __ATOMIC_RELAXED), 1);
		__atomic_fetch_add(&shared.hits, 1, __ATOMIC_RELAXED);
	}
}

static void *reader_main(void *arg)
{
	while (!__atomic_load_n(&shared.stop, __ATOMIC_RELAXED)) {
		cvmm_iotlb_read_lock(shared.tlb);
		use_translation();
		use_translation();
		cvmm_iotlb_read_unlock(shared.tlb);
	}
	return arg;
}

/* It ends, although readers never leave the lock alone: the gate sees to that. */
static void nobody_uses_what_was_invalidated(void **state)
{
	pthread_t readers[READERS];

	(void)state;
	assert_int_equal(cvmm_iotlb_create(8, &shared.tlb, NULL), 0);
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, reader_main, NULL), 0);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		unsigned int target = i % TARGETS;
		uint64_t before = __atomic_load_n(&shared.hits, __ATOMIC_RELAXED);

		__atomic_store_n(&shared.usable[target], 1, __ATOMIC_RELAXED);
		assert_int_equal(cvmm_iotlb_set(shared.tlb, 0x5000, PAGE, (uint64_t)target * PAGE,
						CVMM_ACCESS_READ_WRITE),
				 0);
		/* Some rounds wait until a reader was there. */
		while (i % 16 == 0 && __atomic_load_n(&shared.hits, __ATOMIC_RELAXED) == before)
			;
		assert_int_equal(cvmm_iotlb_invalidate(shared.tlb, 0x5000, PAGE), 0);
		__atomic_store_n(&shared.usable[target], 0, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&shared.stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	assert_true(shared.hits >= ROUNDS / 16);
	cvmm_iotlb_destroy(shared.tlb);
}

#define FILL_BYTES (UINT64_C(1) << 20)

/* Each has memory of its own. */
struct filler {
	struct cvmm_mem *mem;
	uint64_t gpa;
	pthread_t thread;
};

/* Accesses take the lock each for itself here, one after the other, from several threads. */
static void *filler_main(void *arg)
{
	const struct filler *filler = arg;

	while (!__atomic_load_n(&shared.stop, __ATOMIC_RELAXED))
		cvmm_mem_fill(filler->mem, G(filler->gpa), 1, FILL_BYTES);
	return NULL;
}

static void plain_accesses_do_not_keep_changes_out_for_ever(void **state)
{
	struct cvmm_mem_config ram = ram_config(0, READERS * FILL_BYTES);
	struct cvmm_mem *plain = must_create(&ram, 1), *mem;
	struct cvmm_mem_iommu_config config = { .backing = plain };
	struct filler fillers[READERS];

	(void)state;
	shared.stop = 0;
	assert_int_equal(cvmm_iotlb_create(8, &config.iotlb, NULL), 0);
	assert_int_equal(cvmm_iotlb_set(config.iotlb, 0, ram.len_bytes, 0, CVMM_ACCESS_READ_WRITE),
			 0);
	assert_int_equal(cvmm_mem_create_iommu(&config, &mem, NULL), 0);
	for (int i = 0; i < READERS; i++) {
		fillers[i] = (struct filler){ .mem = mem, .gpa = (uint64_t)i * FILL_BYTES };
		assert_int_equal(pthread_create(&fillers[i].thread, NULL, filler_main, &fillers[i]),
				 0);
	}
	for (uint64_t i = 0; i < 20; i++)
		assert_int_equal(cvmm_iotlb_set(config.iotlb, 1 << 30, 1, i, CVMM_ACCESS_READ), 0);
	__atomic_store_n(&shared.stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < READERS; i++)
		pthread_join(fillers[i].thread, NULL);
	cvmm_mem_unref(mem);
	cvmm_mem_unref(plain);
	cvmm_iotlb_destroy(config.iotlb);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_uses_what_was_invalidated),
		cmocka_unit_test(plain_accesses_do_not_keep_changes_out_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
