// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Made for ThreadSanitizer, which judges every access; without it the results still must fit. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef _WIN32
#include <windows.h>
#else
#include <sys/mman.h>
#endif
#include <cmocka.h>

#include "test_mem_util.h"

#define ROUNDS 2000

static void a_space_hands_out_what_was_published_last(void **state)
{
	struct cvmm_mem_config config = ram_config(0, page_size());
	struct cvmm_mem *first = must_create(&config, 1), *second = must_create(NULL, 0), *got;
	struct cvmm_mem_space *space = NULL;
	uint64_t generation;

	(void)state;
	assert_int_equal(cvmm_mem_space_create(first, &space), 0);
	generation = cvmm_mem_space_generation(space);
	assert_int_not_equal(generation, 0);
	got = cvmm_mem_space_get(space);
	assert_ptr_equal(got, first);
	cvmm_mem_unref(first);
	assert_int_equal(cvmm_mem_space_publish(space, second), 0);
	assert_int_not_equal(cvmm_mem_space_generation(space), generation);
	/* The reader's older map still works. */
	assert_int_equal(cvmm_mem_write(got, G(0), "a", 1), 0);
	cvmm_mem_unref(got);
	got = cvmm_mem_space_get(space);
	assert_ptr_equal(got, second);
	cvmm_mem_unref(got);
	cvmm_mem_unref(second);
	cvmm_mem_space_destroy(space);
	cvmm_mem_space_destroy(NULL);
}

static void publishing_the_current_map_again_is_harmless(void **state)
{
	struct cvmm_mem *mem = must_create(NULL, 0);
	struct cvmm_mem_space *space = NULL;
	uint64_t generation;

	(void)state;
	assert_int_equal(cvmm_mem_space_create(mem, &space), 0);
	generation = cvmm_mem_space_generation(space);
	assert_int_equal(cvmm_mem_space_publish(space, mem), 0);
	assert_int_not_equal(cvmm_mem_space_generation(space), generation);
	cvmm_mem_unref(mem);
	cvmm_mem_space_destroy(space);
}

/**
 * struct race - what the threads of a test share
 * @space: where maps are published
 * @mem: one map, for the tests of single accesses
 * @done: set when the other thread may stop
 * @failures: what went wrong, counted in the thread that cannot assert
 */
struct race {
	struct cvmm_mem_space *space;
	struct cvmm_mem *mem;
	bool done;
	unsigned int failures;
};

static bool is_done(struct race *race)
{
	return __atomic_load_n(&race->done, __ATOMIC_ACQUIRE);
}

/* A device thread as in mem_space.c's theory: caches a map, looks whether it is still current. */
static void *read_snapshots(void *arg)
{
	struct race *race = arg;
	struct cvmm_mem *cached = NULL;
	uint64_t cached_generation = 0;

	while (!is_done(race)) {
		uint64_t now = cvmm_mem_space_generation(race->space);
		const struct cvmm_mem_region *last;
		uint64_t value = 0;

		if (now < cached_generation)
			race->failures++;
		if (now != cached_generation) {
			cvmm_mem_unref(cached);
			cached = cvmm_mem_space_get(race->space);
			cached_generation = now;
		}
		last = cvmm_mem_region_at(cached, cvmm_mem_region_count(cached) - 1);
		if (cvmm_mem_read(cached, G(last->gpa), &value, sizeof(value)) ||
		    value != last->gpa)
			race->failures++;
	}
	cvmm_mem_unref(cached);
	return NULL;
}

/* The current map plus a region that holds its own address, or without it. */
static struct cvmm_mem *changed_map(struct cvmm_mem *mem, bool plug)
{
	uint64_t page = page_size();
	struct cvmm_mem_config extra = ram_config(4 * page, page);
	struct cvmm_mem *changed = NULL;

	if (plug) {
		assert_int_equal(cvmm_mem_insert(mem, &extra, &changed, NULL), 0);
		assert_int_equal(cvmm_mem_write(changed, extra.gpa, &extra.gpa.addr, 8), 0);
	} else {
		assert_int_equal(cvmm_mem_remove(mem, extra.gpa, page, &changed, NULL), 0);
	}
	return changed;
}

static void readers_survive_hotplug(void **state)
{
	struct cvmm_mem_config config = ram_config(0, page_size());
	struct cvmm_mem *mem = must_create(&config, 1);
	struct race race = { 0 };
	pthread_t reader;

	(void)state;
	assert_int_equal(cvmm_mem_space_create(mem, &race.space), 0);
	assert_int_equal(pthread_create(&reader, NULL, read_snapshots, &race), 0);
	for (int i = 0; i < ROUNDS; i++) {
		struct cvmm_mem *changed = changed_map(mem, !(i & 1));

		assert_int_equal(cvmm_mem_space_publish(race.space, changed), 0);
		cvmm_mem_unref(mem);
		mem = changed;
	}
	__atomic_store_n(&race.done, true, __ATOMIC_RELEASE);
	pthread_join(reader, NULL);
	assert_int_equal(race.failures, 0);
	cvmm_mem_unref(mem);
	cvmm_mem_space_destroy(race.space);
}

/* Looks at the current map through a cache; its last region is there or is not, but never half. */
static void *read_cached(void *arg)
{
	struct race *race = arg;
	struct cvmm_mem_cache cache;
	unsigned int failures = 0;

	cvmm_mem_cache_init(&cache, race->space);
	while (!is_done(race)) {
		struct cvmm_mem *mem = cvmm_mem_cache_get(&cache);
		size_t count = cvmm_mem_region_count(mem);
		const struct cvmm_mem_region *last = cvmm_mem_region_at(mem, count - 1);
		uint64_t v;

		if (cvmm_mem_read(mem, G(last->gpa + last->len_bytes - 8), &v, sizeof(v)))
			failures++;
	}
	cvmm_mem_cache_fini(&cache);
	__atomic_fetch_add(&race->failures, failures, __ATOMIC_RELAXED);
	return NULL;
}

static void cached_readers_survive_hotplug(void **state)
{
	struct cvmm_mem_config config = ram_config(0, page_size());
	struct cvmm_mem *mem = must_create(&config, 1);
	struct race race = { 0 };
	pthread_t readers[3];

	(void)state;
	assert_int_equal(cvmm_mem_space_create(mem, &race.space), 0);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(readers); i++)
		assert_int_equal(pthread_create(&readers[i], NULL, read_cached, &race), 0);
	for (int i = 0; i < ROUNDS; i++) {
		struct cvmm_mem *changed = changed_map(mem, !(i & 1));

		assert_int_equal(cvmm_mem_space_publish(race.space, changed), 0);
		cvmm_mem_unref(mem);
		mem = changed;
	}
	__atomic_store_n(&race.done, true, __ATOMIC_RELEASE);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(readers); i++)
		pthread_join(readers[i], NULL);
	assert_int_equal(race.failures, 0);
	cvmm_mem_unref(mem);
	cvmm_mem_space_destroy(race.space);
}

static bool is_mapped(void *host)
{
#ifdef _WIN32
	MEMORY_BASIC_INFORMATION info;

	return VirtualQuery(host, &info, sizeof(info)) && info.State == MEM_COMMIT;
#else
	return !msync(host, page_size(), MS_ASYNC);
#endif
}

static void a_replaced_map_goes_when_its_last_reader_has_moved_on(void **state)
{
	struct cvmm_mem_config config = ram_config(0, page_size());
	struct cvmm_mem *first = must_create(&config, 1), *second = must_create(&config, 1);
	void *host = cvmm_mem_region_at(first, 0)->host;
	struct cvmm_mem_space *space;
	struct cvmm_mem_cache cache;

	(void)state;
	assert_int_equal(cvmm_mem_space_create(first, &space), 0);
	cvmm_mem_unref(first);
	cvmm_mem_cache_init(&cache, space);
	assert_ptr_equal(cvmm_mem_cache_get(&cache), first);
	assert_ptr_equal(cvmm_mem_cache_get(&cache), first);
	assert_int_equal(cvmm_mem_space_publish(space, second), 0);
	assert_true(is_mapped(host)); /* the cache has it */
	assert_ptr_equal(cvmm_mem_cache_get(&cache), second);
	assert_true(is_mapped(host)); /* readers unmap nothing */
	cvmm_mem_space_reclaim(space);
	assert_false(is_mapped(host));
	cvmm_mem_cache_fini(&cache);
	cvmm_mem_unref(second);
	cvmm_mem_space_destroy(space);
}

/* Reads fields that the other thread writes as all zeroes or all ones; never anything between. */
static void *read_fields(void *arg)
{
	struct race *race = arg;

	while (!is_done(race)) {
		uint64_t v64 = 0;
		uint32_t v32 = 0;
		uint16_t v16 = 0;

		if (cvmm_mem_read(race->mem, G(0), &v64, 8) || (v64 && v64 != UINT64_MAX))
			race->failures++;
		if (cvmm_mem_read(race->mem, G(12), &v32, 4) || (v32 && v32 != UINT32_MAX))
			race->failures++;
		if (cvmm_mem_read(race->mem, G(18), &v16, 2) || (v16 && v16 != UINT16_MAX))
			race->failures++;
	}
	return NULL;
}

static void aligned_fields_are_never_torn(void **state)
{
	struct cvmm_mem_config config = ram_config(0, page_size());
	struct race race = { .mem = must_create(&config, 1) };
	pthread_t reader;

	(void)state;
	assert_int_equal(pthread_create(&reader, NULL, read_fields, &race), 0);
	for (int i = 0; i < 10 * ROUNDS; i++) {
		uint64_t v = i & 1 ? UINT64_MAX : 0;

		assert_int_equal(cvmm_mem_write(race.mem, G(0), &v, 8), 0);
		assert_int_equal(cvmm_mem_write(race.mem, G(12), &v, 4), 0);
		assert_int_equal(cvmm_mem_write(race.mem, G(18), &v, 2), 0);
	}
	__atomic_store_n(&race.done, true, __ATOMIC_RELEASE);
	pthread_join(reader, NULL);
	assert_int_equal(race.failures, 0);
	cvmm_mem_unref(race.mem);
}

#define RING_PAYLOAD 64
#define RING_INDEX 512

/* Waits for each index and checks that the bytes published with it are there. */
static void *consume(void *arg)
{
	struct race *race = arg;
	uint8_t payload[RING_PAYLOAD];
	uint16_t seen = 0;

	while (seen < ROUNDS) {
		uint16_t index = 0;

		if (cvmm_mem_load_u16(race->mem, G(RING_INDEX), __ATOMIC_ACQUIRE, &index))
			race->failures++;
		if (index == seen)
			continue;
		seen = index;
		if (cvmm_mem_read(race->mem, G(0), payload, sizeof(payload)) ||
		    payload[0] != (uint8_t)seen || payload[RING_PAYLOAD - 1] != (uint8_t)seen)
			race->failures++;
		if (cvmm_mem_store_u16(race->mem, G(RING_INDEX + 2), __ATOMIC_RELEASE, seen))
			race->failures++;
	}
	return NULL;
}

static void release_and_acquire_order_the_bytes_between(void **state)
{
	struct cvmm_mem_config config = ram_config(0, page_size());
	struct race race = { .mem = must_create(&config, 1) };
	pthread_t consumer;

	(void)state;
	assert_int_equal(pthread_create(&consumer, NULL, consume, &race), 0);
	for (uint16_t i = 1; i <= ROUNDS; i++) {
		uint16_t used = 0;

		assert_int_equal(cvmm_mem_fill(race.mem, G(0), (uint8_t)i, RING_PAYLOAD), 0);
		assert_int_equal(cvmm_mem_store_u16(race.mem, G(RING_INDEX), __ATOMIC_RELEASE, i),
				 0);
		while (used != i)
			assert_int_equal(cvmm_mem_load_u16(race.mem, G(RING_INDEX + 2),
							   __ATOMIC_ACQUIRE, &used),
					 0);
	}
	pthread_join(consumer, NULL);
	assert_int_equal(race.failures, 0);
	cvmm_mem_unref(race.mem);
}

static void note_release(void *ctx)
{
	*(bool *)ctx = true;
}

static void a_map_of_two_spaces_goes_when_both_have_replaced_it(void **state)
{
	static const struct cvmm_mem_ops ops = { .release = note_release };
	struct cvmm_mem_config config = ram_config(0, page_size());
	struct cvmm_mem_space *a = NULL, *b = NULL;
	struct cvmm_mem *mem, *other;
	bool released = false;

	(void)state;
	config.kind = CVMM_MEM_EXTERNAL;
	config.host = cvmm_mem_aligned_alloc(page_size(), page_size());
	config.ops = &ops;
	config.ops_ctx = &released;
	mem = must_create(&config, 1);
	other = must_create(NULL, 0);
	assert_int_equal(cvmm_mem_space_create(mem, &a), 0);
	assert_int_equal(cvmm_mem_space_create(mem, &b), 0);
	cvmm_mem_unref(mem);
	assert_int_equal(cvmm_mem_space_publish(a, other), 0);
	assert_false(released);
	assert_int_equal(cvmm_mem_space_publish(b, other), 0);
	cvmm_mem_space_reclaim(a);
	cvmm_mem_space_reclaim(b);
	assert_true(released);
	cvmm_mem_space_destroy(a);
	cvmm_mem_space_destroy(b);
	cvmm_mem_unref(other);
	cvmm_mem_aligned_free(config.host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_map_of_two_spaces_goes_when_both_have_replaced_it),
		cmocka_unit_test(a_space_hands_out_what_was_published_last),
		cmocka_unit_test(publishing_the_current_map_again_is_harmless),
		cmocka_unit_test(readers_survive_hotplug),
		cmocka_unit_test(cached_readers_survive_hotplug),
		cmocka_unit_test(a_replaced_map_goes_when_its_last_reader_has_moved_on),
		cmocka_unit_test(aligned_fields_are_never_torn),
		cmocka_unit_test(release_and_acquire_order_the_bytes_between),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
