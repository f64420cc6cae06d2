// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Guest memory in one page: two regions; a map that is swapped while a thread reads; pages that were
 * written, logged.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cvmm/mem.h>

#define LOW_BYTES (UINT64_C(1) << 20)
#define HIGH_GPA (UINT64_C(4) << 30)
#define HIGH_BYTES (UINT64_C(2) << 20)
#define PLUGGED_GPA (HIGH_GPA + HIGH_BYTES)
#define SWAPS 1000

static void must(int ret, const struct cvmm_error *err, const char *what)
{
	if (ret) {
		fprintf(stderr, "%s: %s\n", what, err ? err->message : "failed");
		exit(1);
	}
}

/* RAM below 4 GiB and above, as a PC has it, with a dirty bitmap for all of it. */
static struct cvmm_mem *two_regions(struct cvmm_dirty *dirty)
{
	const struct cvmm_mem_config ram[] = {
		{ .gpa = cvmm_gpa_from(0),
		  .len_bytes = LOW_BYTES,
		  .access = CVMM_ACCESS_READ_WRITE },
		{ .gpa = cvmm_gpa_from(HIGH_GPA),
		  .len_bytes = HIGH_BYTES,
		  .access = CVMM_ACCESS_READ_WRITE,
		  .flags = CVMM_MEM_HUGE_PAGES },
	};
	struct cvmm_mem *plain, *mem;
	struct cvmm_error err;

	must(cvmm_mem_create(ram, 2, &plain, &err), &err, "memory");
	must(cvmm_mem_with_dirty(plain, dirty, &mem, &err), &err, "dirty bitmap");
	cvmm_mem_unref(plain);
	return mem;
}

struct reader {
	struct cvmm_mem_space *space;
	int stop;
	uint64_t reads, maps;
};

/* A device: looks for the current map at each request, which costs one load while nothing changes. */
static void *reader_main(void *arg)
{
	struct reader *r = arg;
	const struct cvmm_mem *before = NULL;
	struct cvmm_mem_cache cache;
	uint64_t word;

	cvmm_mem_cache_init(&cache, r->space);
	do {
		const struct cvmm_mem *mem = cvmm_mem_cache_get(&cache);

		must(cvmm_mem_read(mem, cvmm_gpa_from(HIGH_GPA), &word, sizeof(word)), NULL,
		     "read");
		r->maps += mem != before;
		before = mem;
		r->reads++;
	} while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED));
	cvmm_mem_cache_fini(&cache);
	return NULL;
}

/* Plug a region in and out again, while the reader goes on. */
static void swap_maps(struct cvmm_mem_space *space, struct cvmm_mem *mem)
{
	const struct cvmm_mem_config more = { .gpa = cvmm_gpa_from(PLUGGED_GPA),
					      .len_bytes = LOW_BYTES,
					      .access = CVMM_ACCESS_READ_WRITE };
	struct cvmm_mem *larger;
	struct cvmm_error err;

	must(cvmm_mem_insert(mem, &more, &larger, &err), &err, "plug");
	for (int i = 0; i < SWAPS; i++) {
		must(cvmm_mem_space_publish(space, i % 2 ? mem : larger), NULL, "publish");
		usleep(10); /* so that the reader sees some of them */
	}
	cvmm_mem_unref(larger);
	cvmm_mem_space_reclaim(space); /* nobody reads it any more: unmap */
}

static int print_run(void *ctx, uint64_t addr, uint64_t len_bytes)
{
	(void)ctx;
	printf("dirty: 0x%llx, %llu KiB\n", (unsigned long long)addr,
	       (unsigned long long)len_bytes / 1024);
	return 0;
}

/* What a migration does: writes are marked as they happen, and taken from time to time. */
static void log_dirty_pages(const struct cvmm_mem *mem, struct cvmm_dirty *dirty)
{
	uint64_t word = 42;

	must(cvmm_mem_write(mem, cvmm_gpa_from(0x1ff8), &word, sizeof(word)), NULL, "write");
	must(cvmm_mem_fill(mem, cvmm_gpa_from(HIGH_GPA + 0x800), 0xff, 0x2000), NULL, "fill");
	must(cvmm_dirty_harvest(dirty, 0, PLUGGED_GPA + LOW_BYTES, print_run, NULL), NULL,
	     "harvest");
}

int main(void)
{
	struct reader reader = { 0 };
	struct cvmm_dirty *dirty;
	struct cvmm_mem *mem;
	struct cvmm_error err;
	pthread_t thread;

	must(cvmm_dirty_create(0, PLUGGED_GPA + LOW_BYTES, 12, &dirty, &err), &err, "bitmap");
	mem = two_regions(dirty);
	must(cvmm_mem_space_create(mem, &reader.space), NULL, "space");
	must(pthread_create(&thread, NULL, reader_main, &reader), NULL, "thread");
	swap_maps(reader.space, mem);
	__atomic_store_n(&reader.stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	printf("the reader never waited: %llu reads, %llu maps seen, %d swaps\n",
	       (unsigned long long)reader.reads, (unsigned long long)reader.maps, SWAPS);
	log_dirty_pages(mem, dirty);
	cvmm_mem_space_destroy(reader.space);
	cvmm_mem_unref(mem);
	cvmm_dirty_unref(dirty);
	return 0;
}
