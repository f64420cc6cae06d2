// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Four threads mark while another harvests, swaps logs, enables and disables. No page and no byte
 * may be lost. Made for ThreadSanitizer too, which judges every access.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <cvmm/mem_dirty.h>

#define THREADS 4U
#define PAGE UINT64_C(4096)

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* ---- data and marks ------------------------------------------------------------------------ */

#define DATA_PAGES 256U
#define WRITES 400000U

/**
 * struct guest - memory of which each thread owns one number in each page
 * @data: what writers write
 * @copy: what the migration has copied
 * @writing: writers that are not finished
 */
struct guest {
	struct cvmm_dirty *dirty;
	uint32_t data[DATA_PAGES][THREADS];
	uint32_t copy[DATA_PAGES][THREADS];
	unsigned int writing;
};

struct writer {
	struct guest *guest;
	unsigned int number;
	pthread_t thread;
};

static void *write_and_mark(void *arg)
{
	struct writer *writer = arg;
	struct guest *guest = writer->guest;
	uint32_t random = writer->number + 1;

	for (uint32_t i = 1; i <= WRITES; i++) {
		uint32_t page = next_random(&random) % DATA_PAGES;

		/* Few pages for a while, so that most bits are set already when they are marked. */
		if (i % 4)
			page %= 3;
		__atomic_store_n(&guest->data[page][writer->number], i, __ATOMIC_RELAXED);
		cvmm_dirty_mark(guest->dirty, page * PAGE, 4);
	}
	__atomic_fetch_sub(&guest->writing, 1, __ATOMIC_RELEASE);
	return NULL;
}

static int copy_pages(void *ctx, uint64_t addr, uint64_t len_bytes)
{
	struct guest *guest = ctx;

	for (uint64_t page = addr / PAGE; page < (addr + len_bytes) / PAGE; page++)
		for (unsigned int i = 0; i < THREADS; i++)
			guest->copy[page][i] =
				__atomic_load_n(&guest->data[page][i], __ATOMIC_RELAXED);
	return 0;
}

static void migrate_by_words(struct guest *guest)
{
	uint64_t words[DATA_PAGES / 64];

	assert_int_equal(cvmm_dirty_get_and_reset(guest->dirty, 0, words, DATA_PAGES / 64), 0);
	for (uint64_t page = 0; page < DATA_PAGES; page++)
		if (words[page / 64] >> page % 64 & 1)
			copy_pages(guest, page * PAGE, PAGE);
}

static void migrate_by_runs(struct guest *guest)
{
	assert_int_equal(cvmm_dirty_harvest(guest->dirty, 0, UINT64_MAX, copy_pages, guest), 0);
}

/* Copies all of memory once, as a migration does after it has begun to track. */
static void migrate_all(struct guest *guest)
{
	copy_pages(guest, 0, DATA_PAGES * PAGE);
}

static void start_writers(struct guest *guest, struct writer *writers)
{
	guest->writing = THREADS;
	for (unsigned int i = 0; i < THREADS; i++) {
		writers[i] = (struct writer){ .guest = guest, .number = i };
		assert_int_equal(
			pthread_create(&writers[i].thread, NULL, write_and_mark, &writers[i]), 0);
	}
}

static void check_copy(struct guest *guest, struct writer *writers)
{
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(writers[i].thread, NULL);
	migrate_by_runs(guest);
	assert_memory_equal(guest->data, guest->copy, sizeof(guest->data));
	cvmm_dirty_unref(guest->dirty);
	free(guest);
}

static struct guest *must_guest(void)
{
	struct guest *guest = calloc(1, sizeof(*guest));

	assert_non_null(guest);
	assert_int_equal(cvmm_dirty_create(0, DATA_PAGES * PAGE, 12, &guest->dirty, NULL), 0);
	return guest;
}

static void what_is_written_during_a_harvest_is_copied_or_dirty(void **state)
{
	struct guest *guest = must_guest();
	struct writer writers[THREADS];

	(void)state;
	start_writers(guest, writers);
	while (__atomic_load_n(&guest->writing, __ATOMIC_ACQUIRE)) {
		migrate_by_words(guest);
		migrate_by_runs(guest);
	}
	check_copy(guest, writers);
}

static void tracking_that_begins_while_threads_write_loses_nothing(void **state)
{
	struct guest *guest = must_guest();
	struct writer writers[THREADS];

	(void)state;
	start_writers(guest, writers);
	while (__atomic_load_n(&guest->writing, __ATOMIC_ACQUIRE)) {
		/* A migration that is given up, and another one. */
		assert_int_equal(cvmm_dirty_set_enabled(guest->dirty, false), 0);
		sched_yield();
		assert_int_equal(cvmm_dirty_set_enabled(guest->dirty, true), 0);
		migrate_all(guest);
		migrate_by_runs(guest);
	}
	check_copy(guest, writers);
}

/* ---- logs that come and go ----------------------------------------------------------------- */

#define LOG_PAGES 262144U /* of each thread */
#define LOG_BYTES (THREADS * LOG_PAGES / 8)
#define LOGS 2U

/**
 * struct logs - two logs that take turns
 * @fd: their files
 * @map: what their peer sees of them
 * @found: pages that the peer found dirty, a bit each
 * @phase: odd while the bitmap is enabled for sure
 * @certain: pages that were marked while it was, in one byte each
 */
struct logs {
	struct cvmm_dirty *dirty;
	int fd[LOGS];
	uint8_t *map[LOGS];
	uint8_t found[LOG_BYTES];
	unsigned int marking;
	unsigned int phase;
	uint8_t certain[THREADS * LOG_PAGES];
};

struct marker {
	struct logs *logs;
	unsigned int number;
	pthread_t thread;
};

/* Each page once, so that no later mark hides a lost one. Threads share the words. */
static void *mark_each_page_once(void *arg)
{
	struct marker *marker = arg;
	struct logs *logs = marker->logs;

	for (uint64_t i = 0; i < LOG_PAGES; i++) {
		uint64_t page = i * THREADS + marker->number;
		unsigned int before = __atomic_load_n(&logs->phase, __ATOMIC_ACQUIRE);

		cvmm_dirty_mark(logs->dirty, page * PAGE + 8, 8);
		/* An addition, because a load could come before those in the mark. */
		if (before == __atomic_fetch_add(&logs->phase, 0, __ATOMIC_ACQ_REL) && before % 2)
			logs->certain[page] = 1;
		/* Pages that no log has, in the slow path and in the fast one. */
		cvmm_dirty_mark(logs->dirty, (THREADS * LOG_PAGES + i) * PAGE, 8);
		cvmm_dirty_mark(logs->dirty, (THREADS * LOG_PAGES + i) * PAGE, 2 * PAGE);
	}
	__atomic_fetch_sub(&logs->marking, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void collect(struct logs *logs, unsigned int which)
{
	for (size_t i = 0; i < LOG_BYTES; i++)
		logs->found[i] |= __atomic_exchange_n(&logs->map[which][i], 0, __ATOMIC_ACQ_REL);
}

static void must_swap_to(struct logs *logs, unsigned int which)
{
	assert_int_equal(cvmm_dirty_log_set(logs->dirty, logs->fd[which], 0, LOG_BYTES, NULL), 0);
}

static struct logs *must_logs(void)
{
	struct logs *logs = calloc(1, sizeof(*logs));

	assert_non_null(logs);
	assert_int_equal(cvmm_dirty_create_log(4 * LOG_BYTES, &logs->dirty, NULL), 0);
	for (unsigned int i = 0; i < LOGS; i++) {
		FILE *file = tmpfile();

		assert_non_null(file);
		logs->fd[i] = fcntl(fileno(file), F_DUPFD_CLOEXEC, 3);
		fclose(file);
		/* Twice the size, for a log that is longer than the other. */
		assert_int_equal(ftruncate(logs->fd[i], 2 * LOG_BYTES), 0);
		logs->map[i] =
			mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, logs->fd[i], 0);
		assert_true(logs->map[i] != MAP_FAILED);
	}
	must_swap_to(logs, 0);
	assert_int_equal(cvmm_dirty_set_enabled(logs->dirty, true), 0);
	logs->phase = 1;
	return logs;
}

static void start_markers(struct logs *logs, struct marker *markers)
{
	logs->marking = THREADS;
	for (unsigned int i = 0; i < THREADS; i++) {
		markers[i] = (struct marker){ .logs = logs, .number = i };
		assert_int_equal(
			pthread_create(&markers[i].thread, NULL, mark_each_page_once, &markers[i]),
			0);
	}
}

static bool is_marking(struct logs *logs)
{
	return __atomic_load_n(&logs->marking, __ATOMIC_ACQUIRE) != 0;
}

/* Return: how many of the pages in question were found. */
static unsigned int finish(struct logs *logs, struct marker *markers)
{
	unsigned int sum = 0;

	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(markers[i].thread, NULL);
	for (unsigned int i = 0; i < LOGS; i++)
		collect(logs, i);
	for (size_t page = 0; page < THREADS * LOG_PAGES; page++) {
		bool found = logs->found[page / 8] >> page % 8 & 1;

		if (logs->certain[page] && !found)
			fail_msg("page %zu is lost", page);
		sum += found;
	}
	for (unsigned int i = 0; i < LOGS; i++) {
		munmap(logs->map[i], LOG_BYTES);
		close(logs->fd[i]);
	}
	cvmm_dirty_unref(logs->dirty);
	free(logs);
	return sum;
}

static void swapping_logs_loses_no_mark(void **state)
{
	struct marker markers[THREADS];
	struct logs *logs = must_logs();
	unsigned int current = 0;

	(void)state;
	start_markers(logs, markers);
	while (is_marking(logs)) {
		must_swap_to(logs, !current);
		/* The peer reads the log that was replaced for the last time. */
		collect(logs, current);
		current = !current;
	}
	assert_int_equal(finish(logs, markers), THREADS * LOG_PAGES);
}

static void logs_that_shrink_and_grow_lose_no_mark_that_both_have(void **state)
{
	struct marker markers[THREADS];
	struct logs *logs = must_logs();

	(void)state;
	start_markers(logs, markers);
	while (is_marking(logs)) {
		assert_int_equal(
			cvmm_dirty_log_set(logs->dirty, logs->fd[1], 0, 2 * LOG_BYTES, NULL), 0);
		must_swap_to(logs, 0);
	}
	assert_int_equal(finish(logs, markers), THREADS * LOG_PAGES);
}

static void logging_that_stops_and_starts_misses_only_what_it_should(void **state)
{
	struct marker markers[THREADS];
	struct logs *logs = must_logs();

	(void)state;
	start_markers(logs, markers);
	while (is_marking(logs)) {
		__atomic_fetch_add(&logs->phase, 1, __ATOMIC_SEQ_CST);
		assert_int_equal(cvmm_dirty_set_enabled(logs->dirty, false), 0);
		sched_yield();
		assert_int_equal(cvmm_dirty_log_unset(logs->dirty, NULL), 0);
		must_swap_to(logs, 0);
		assert_int_equal(cvmm_dirty_set_enabled(logs->dirty, true), 0);
		__atomic_fetch_add(&logs->phase, 1, __ATOMIC_SEQ_CST);
		sched_yield();
	}
	finish(logs, markers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_during_a_harvest_is_copied_or_dirty),
		cmocka_unit_test(tracking_that_begins_while_threads_write_loses_nothing),
		cmocka_unit_test(swapping_logs_loses_no_mark),
		cmocka_unit_test(logs_that_shrink_and_grow_lose_no_mark_that_both_have),
		cmocka_unit_test(logging_that_stops_and_starts_misses_only_what_it_should),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
