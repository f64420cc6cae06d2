// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The C half of the guest memory benchmark; rust/src/main.rs is the other and does the same, in the
 * same order, with the same numbers. Prints "item nanoseconds" lines, several for each item, which
 * bench/mem/run collects.
 *
 *	mem access SAMPLES OPS		everything one thread can measure; plain/... are memcpy()s
 *	mem swap PASSES		accesses while another thread replaces the map
 *
 * All addresses come from a table that is made before the clock starts. They stay within a window
 * that fits the first-level cache (or holds four accesses): what is measured is the way to the
 * memory, not the memory.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cvmm/mem.h>

#define SEQUENCE 4096 /* addresses in the table; more than branch predictors learn by heart */
#define REGION_BYTES 0x100000u
#define WINDOW_BYTES 0x4000u
#define LARGEST 0x10000u
#define MANY_REGIONS 256
#define SWAPS_WANTED 16 /* in a pass over the table; fewer: the other thread did not run */
#define PASSES_MAX 4	/* of which so many are tried for each that is wanted */
#define SEED 0x9e3779b97f4a7c15u

/**
 * struct bench - what all measurements share
 * @samples: lines to print for each item
 * @ops: accesses in a sample of the small sizes
 * @gpas: the addresses of the current item
 * @buffer: host memory on the other side of the copies
 * @flat: memory for the plain copies, addressed as the guest's
 */
struct bench {
	unsigned int samples;
	unsigned int ops;
	uint32_t gpas[SEQUENCE];
	uint8_t *buffer;
	uint8_t *flat;
};

/* ---- tools --------------------------------------------------------------------------------- */

static void die(const char *what)
{
	fprintf(stderr, "mem: %s\n", what);
	exit(1);
}

static double clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static double now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* Of this thread only: others that want the processor, too, do not count. */
static double busy_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static inline uint64_t ticks(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	return (uint64_t)now_ns();
#endif
}

/* The memory at @p is used in a way that the compiler cannot see. */
static inline void used(const void *p)
{
	__asm__ volatile("" : : "r"(p) : "memory");
}

/* So is @value. */
static inline void keep(uint64_t value)
{
	__asm__ volatile("" : : "r"(value));
}

/* A size of which the compiler does not know that it is constant: it is to call memcpy(). */
static inline size_t hidden(size_t size)
{
	__asm__ volatile("" : "+r"(size));
	return size;
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Addresses for accesses of @size bytes, each inside one of @regions regions. */
static void fill_inside(struct bench *b, uint32_t regions, uint32_t size)
{
	uint32_t align = size < 64 ? size : 64;
	uint32_t window = WINDOW_BYTES > 4 * size ? WINDOW_BYTES : 4 * size;
	uint64_t state = SEED;

	window = window / regions > size ? window / regions : size;
	for (int i = 0; i < SEQUENCE; i++) {
		uint64_t region = next_random(&state) % regions;
		uint64_t place = next_random(&state) % ((window - size) / align + 1);

		b->gpas[i] = (uint32_t)(region * REGION_BYTES + place * align);
	}
}

/* Addresses of which half the access is in one region and half in the next. */
static void fill_crossing(struct bench *b, uint32_t regions, uint32_t size)
{
	uint64_t state = SEED;

	for (int i = 0; i < SEQUENCE; i++) {
		uint64_t region = 1 + next_random(&state) % (regions - 1);

		b->gpas[i] = (uint32_t)(region * REGION_BYTES - size / 2);
	}
}

static struct cvmm_mem *make_map(uint32_t regions)
{
	struct cvmm_mem_config configs[MANY_REGIONS] = { 0 };
	struct cvmm_mem *mem;

	for (uint32_t i = 0; i < regions; i++) {
		configs[i].gpa = cvmm_gpa_from((uint64_t)i * REGION_BYTES);
		configs[i].len_bytes = REGION_BYTES;
		configs[i].kind = CVMM_MEM_ANONYMOUS;
		configs[i].access = CVMM_ACCESS_READ_WRITE;
	}
	if (cvmm_mem_create(configs, regions, &mem, NULL))
		die("cannot make the guest memory");
	/* Zeros, written: reading untouched memory would read one shared page. */
	for (uint32_t i = 0; regions <= 8 && i < regions; i++)
		cvmm_mem_fill(mem, configs[i].gpa, 0, REGION_BYTES);
	return mem;
}

/*
 * Runs @statement for each address, @ops_ times in all, and prints the time of one. It adds what it
 * read to `sum` and errors to `failed`: variables of its own, which live in registers.
 */
#define MEASURE(name, regions, ops_, statement)                                    \
	do {                                                                       \
		uint64_t sum = 0;                                                  \
		int failed = 0;                                                    \
                                                                                   \
		for (unsigned int sample_ = 0; sample_ <= b->samples; sample_++) { \
			double start_ = busy_ns();                                 \
			unsigned int done_ = 0;                                    \
                                                                                   \
			for (; done_ < (ops_); done_ += SEQUENCE)                  \
				for (unsigned int i = 0; i < SEQUENCE; i++) {      \
					cvmm_gpa gpa = cvmm_gpa_from(b->gpas[i]);  \
                                                                                   \
					statement;                                 \
				}                                                  \
			if (sample_) /* the first one warms up */                  \
				printf("%s/%s %.4f\n", (name), (regions),          \
				       (busy_ns() - start_) / done_);              \
		}                                                                  \
		keep(sum);                                                         \
		if (failed)                                                        \
			die("an access failed that must not");                     \
	} while (0)

/* ---- reads and writes ---------------------------------------------------------------------- */

#define DEFINE_OBJECT(bits)                                                                       \
	static void object_##bits(struct bench *b, const struct cvmm_mem *mem, const char *where) \
	{                                                                                         \
		uint##bits##_t v;                                                                 \
                                                                                                  \
		MEASURE("read/u" #bits, where, b->ops, {                                          \
			failed |= cvmm_mem_read(mem, gpa, &v, sizeof(v)) != 0;                    \
			sum += v;                                                                 \
		});                                                                               \
		MEASURE("plain/read/u" #bits, where, b->ops, {                                    \
			memcpy(&v, b->flat + gpa.addr, sizeof(v));                                \
			used(&v);                                                                 \
		});                                                                               \
		MEASURE("write/u" #bits, where, b->ops, {                                         \
			v = 0;                                                                    \
			failed |= cvmm_mem_write(mem, gpa, &v, sizeof(v)) != 0;                   \
		});                                                                               \
		MEASURE("plain/write/u" #bits, where, b->ops, {                                   \
			v = 0;                                                                    \
			memcpy(b->flat + gpa.addr, &v, sizeof(v));                                \
			used(b->flat);                                                            \
		});                                                                               \
	}

DEFINE_OBJECT(8)
DEFINE_OBJECT(16)
DEFINE_OBJECT(32)
DEFINE_OBJECT(64)

/* The compiler inlines the plain copy of the smallest size; the larger ones are calls. */
#define DEFINE_SLICE(size, shrink)                                                               \
	static void slice_##size(struct bench *b, const struct cvmm_mem *mem, const char *where) \
	{                                                                                        \
		unsigned int ops = b->ops / (shrink);                                            \
                                                                                                 \
		MEASURE("read/" #size, where, ops, {                                             \
			failed |= cvmm_mem_read(mem, gpa, b->buffer, size) != 0;                 \
			used(b->buffer);                                                         \
		});                                                                              \
		MEASURE("plain/read/" #size, where, ops, {                                       \
			memcpy(b->buffer, b->flat + gpa.addr, size > 64 ? hidden(size) : size);  \
			used(b->buffer);                                                         \
		});                                                                              \
		MEASURE("write/" #size, where, ops, {                                            \
			used(b->buffer);                                                         \
			failed |= cvmm_mem_write(mem, gpa, b->buffer, size) != 0;                \
		});                                                                              \
		MEASURE("plain/write/" #size, where, ops, {                                      \
			used(b->buffer);                                                         \
			memcpy(b->flat + gpa.addr, b->buffer, size > 64 ? hidden(size) : size);  \
			used(b->flat);                                                           \
		});                                                                              \
	}

DEFINE_SLICE(64, 1)
DEFINE_SLICE(512, 4)
DEFINE_SLICE(4096, 16)
DEFINE_SLICE(65536, 64)

typedef void (*access_fn)(struct bench *b, const struct cvmm_mem *mem, const char *where);

static const struct {
	access_fn run;
	uint32_t size;
} accesses[] = {
	{ object_8, 1 },  { object_16, 2 },   { object_32, 4 },	    { object_64, 8 },
	{ slice_64, 64 }, { slice_512, 512 }, { slice_4096, 4096 }, { slice_65536, LARGEST },
};

static void bench_accesses(struct bench *b, const struct cvmm_mem *mem, uint32_t regions)
{
	const char *where = regions == 1 ? "1" : "8";

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(accesses); i++) {
		fill_inside(b, regions, accesses[i].size);
		accesses[i].run(b, mem, where);
	}
}

static void bench_crossing(struct bench *b, const struct cvmm_mem *mem, uint32_t regions)
{
	for (size_t i = 1; i < CVMM_ARRAY_SIZE(accesses); i++) {
		fill_crossing(b, regions, accesses[i].size);
		accesses[i].run(b, mem, "cross");
	}
}

/* ---- everything else of one thread --------------------------------------------------------- */

/* Each address depends on what was read before: the way's length where nothing overlaps. */
static void bench_chain(struct bench *b, const struct cvmm_mem *mem, uint32_t regions)
{
	const char *where = regions == 1 ? "1" : "8";
	uint64_t v = 0;

	fill_inside(b, regions, sizeof(v));
	MEASURE("chain/u64", where, b->ops,
		failed |= cvmm_mem_read(mem, cvmm_gpa_add(gpa, v), &v, sizeof(v)) != 0);
	v = 0;
	MEASURE("plain/chain/u64", where, b->ops, memcpy(&v, b->flat + gpa.addr + v, sizeof(v)));
	keep(v);
}

#define BENCH_ATOMICS(bits)                                                               \
	do {                                                                              \
		uint##bits##_t v = 0;                                                     \
                                                                                          \
		fill_inside(b, regions, sizeof(v));                                       \
		MEASURE("load-acquire/u" #bits, where, b->ops, {                          \
			failed |= cvmm_mem_load_u##bits(mem, gpa, __ATOMIC_ACQUIRE, &v);  \
			sum += v;                                                         \
		});                                                                       \
		MEASURE("plain/load-acquire/u" #bits, where, b->ops,                      \
			sum += __atomic_load_n((uint##bits##_t *)(b->flat + gpa.addr),    \
					       __ATOMIC_ACQUIRE));                        \
		MEASURE("store-release/u" #bits, where, b->ops,                           \
			failed |= cvmm_mem_store_u##bits(mem, gpa, __ATOMIC_RELEASE, 0)); \
		MEASURE("plain/store-release/u" #bits, where, b->ops,                     \
			__atomic_store_n((uint##bits##_t *)(b->flat + gpa.addr), 0,       \
					 __ATOMIC_RELEASE));                              \
	} while (0)

static void bench_atomics(struct bench *b, const struct cvmm_mem *mem, uint32_t regions)
{
	const char *where = regions == 1 ? "1" : "8";

	BENCH_ATOMICS(32);
	BENCH_ATOMICS(64);
}

/*
 * TO BE REPLACED once writes mark a dirty bitmap: these two are the writes that mark nothing. The
 * line says so to bench/mem/run.
 */
static int dirty_write(const struct cvmm_mem *mem, cvmm_gpa gpa, const void *src, size_t len)
{
	return cvmm_mem_write(mem, gpa, src, len);
}

static void bench_dirty(struct bench *b, const struct cvmm_mem *mem, uint32_t regions)
{
	const char *where = regions == 1 ? "1" : "8";
	uint64_t v = 0;

	printf("note dirty our writes mark nothing yet\n");
	fill_inside(b, regions, sizeof(v));
	MEASURE("dirty/u64", where, b->ops, failed |= dirty_write(mem, gpa, &v, sizeof(v)) != 0);
	fill_inside(b, regions, 4096);
	MEASURE("dirty/4096", where, b->ops / 16, {
		used(b->buffer);
		failed |= dirty_write(mem, gpa, b->buffer, 4096) != 0;
	});
}

static void bench_find(struct bench *b)
{
	struct cvmm_mem *mem = make_map(MANY_REGIONS);

	fill_inside(b, MANY_REGIONS, 8);
	MEASURE("find", "256", b->ops, sum += cvmm_mem_region_find(mem, gpa)->gpa);
	cvmm_mem_unref(mem);
}

static void bench_snapshot(struct bench *b, struct cvmm_mem *mem)
{
	struct cvmm_mem_space *space;
	struct cvmm_mem_cache cache;

	if (cvmm_mem_space_create(mem, &space))
		die("cannot make the space");
	cvmm_mem_cache_init(&cache, space);
	MEASURE("snapshot/get", "8", b->ops, {
		struct cvmm_mem *current = cvmm_mem_space_get(space);

		sum += gpa.addr + cvmm_mem_region_count(current);
		cvmm_mem_unref(current);
	});
	MEASURE("snapshot/cached", "8", b->ops,
		{ sum += gpa.addr + (uintptr_t)cvmm_mem_cache_get(&cache); });
	cvmm_mem_cache_fini(&cache);
	cvmm_mem_space_destroy(space);
}

static void run_access(struct bench *b)
{
	struct cvmm_mem *one = make_map(1), *eight = make_map(8);

	bench_find(b);
	bench_accesses(b, one, 1);
	bench_accesses(b, eight, 8);
	bench_crossing(b, eight, 8);
	bench_chain(b, one, 1);
	bench_chain(b, eight, 8);
	bench_atomics(b, one, 1);
	bench_atomics(b, eight, 8);
	bench_dirty(b, one, 1);
	bench_dirty(b, eight, 8);
	bench_snapshot(b, eight);
	cvmm_mem_unref(one);
	cvmm_mem_unref(eight);
}

static void *wait_main(void *arg)
{
	pause();
	return arg;
}

/* The C library leaves out of its locks what a program of one thread can do without. */
static void be_threaded(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, wait_main, NULL))
		die("cannot start a thread");
	pthread_detach(thread);
}

/* ---- replacing the map under readers -------------------------------------------------------- */

/* This thread to the first or the last processor allowed: else both may share one. */
static void stay_on(bool last)
{
	cpu_set_t allowed, one;
	size_t chosen = CPU_SETSIZE;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return;
	for (size_t i = 0; i < CPU_SETSIZE && (last || chosen == CPU_SETSIZE); i++)
		if (CPU_ISSET(i, &allowed))
			chosen = i;
	CPU_ZERO(&one);
	CPU_SET(chosen, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

struct swapper {
	struct cvmm_mem_space *space;
	struct cvmm_mem *mem;
	bool ready;	/* atomic */
	bool stop;	/* atomic */
	uint64_t swaps; /* atomic */
};

/* The map without its last region, with it, without … */
static void *swapper_main(void *arg)
{
	struct swapper *s = arg;
	cvmm_gpa last = cvmm_gpa_from(7 * REGION_BYTES);

	stay_on(false);
	__atomic_store_n(&s->ready, true, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		struct cvmm_mem *smaller;

		if (cvmm_mem_remove(s->mem, last, REGION_BYTES, &smaller, NULL))
			die("cannot make the smaller map");
		if (cvmm_mem_space_publish(s->space, smaller) ||
		    cvmm_mem_space_publish(s->space, s->mem))
			die("out of memory");
		cvmm_mem_unref(smaller);
		__atomic_store_n(&s->swaps, s->swaps + 2, __ATOMIC_RELAXED);
	}
	return NULL;
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

static void print_percentiles(const char *name, uint32_t *samples, size_t count, double tick_ns)
{
	static const struct {
		const char *name;
		double share;
	} points[] = {
		{ "p50", 0.5 },
		{ "p99", 0.99 },
		{ "p99.9", 0.999 },
		{ "p99.99", 0.9999 },
	};

	qsort(samples, count, sizeof(samples[0]), compare_u32);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(points); i++)
		printf("%s/%s %.1f\n", name, points[i].name,
		       samples[(size_t)((double)(count - 1) * points[i].share)] * tick_ns);
	printf("%s/max %.1f\n", name, samples[count - 1] * tick_ns);
}

/*
 * Times each access on its own and prints how the times are spread. With a swapper, passes in which
 * it had no processor do not count.
 */
#define MEASURE_EACH(name, statement)                                                           \
	do {                                                                                    \
		double start_ = now_ns(), tick_ns_;                                             \
		uint64_t start_ticks_ = ticks(), sum = 0;                                       \
		size_t got_ = 0, tries_ = 0;                                                    \
		int failed = 0;                                                                 \
                                                                                                \
		while (got_ < passes && tries_++ < passes * PASSES_MAX) {                       \
			uint32_t *times_ = times + got_ * SEQUENCE;                             \
			uint64_t before_ = swaps_done(s);                                       \
                                                                                                \
			for (size_t n_ = 0; n_ < SEQUENCE; n_++) {                              \
				cvmm_gpa gpa = cvmm_gpa_from(b->gpas[n_]);                      \
				uint64_t from_ = ticks(), took_;                                \
                                                                                                \
				statement;                                                      \
				took_ = ticks() - from_;                                        \
				times_[n_] = took_ > UINT32_MAX ? UINT32_MAX : (uint32_t)took_; \
				sum += gpa.addr;                                                \
			}                                                                       \
			got_ += !s || swaps_done(s) - before_ >= SWAPS_WANTED;                  \
		}                                                                               \
		tick_ns_ = (now_ns() - start_) / (double)(ticks() - start_ticks_);              \
		keep(sum);                                                                      \
		if (failed)                                                                     \
			die("an access failed that must not");                                  \
		if (got_ == passes)                                                             \
			print_percentiles((name), times, passes *SEQUENCE, tick_ns_);           \
	} while (0)

static uint64_t swaps_done(const struct swapper *s)
{
	return s ? __atomic_load_n(&s->swaps, __ATOMIC_RELAXED) : 0;
}

static void measure_readers(struct bench *b, struct cvmm_mem_space *space, const struct swapper *s,
			    size_t passes)
{
	uint32_t *times = calloc(passes * SEQUENCE, sizeof(*times));
	struct cvmm_mem_cache cache;
	struct cvmm_mem *mem;
	uint64_t v = 0;
	const char *state = s ? "swap" : "still";
	char name[64];

	if (!times)
		die("out of memory");
	memset(times, 1, passes * SEQUENCE * sizeof(*times));
	cvmm_mem_cache_init(&cache, space);
	snprintf(name, sizeof(name), "%s/timer", state);
	MEASURE_EACH(name, used(&v));
	snprintf(name, sizeof(name), "%s/get", state);
	MEASURE_EACH(name, {
		mem = cvmm_mem_space_get(space);
		failed |= cvmm_mem_read(mem, gpa, &v, sizeof(v)) != 0;
		cvmm_mem_unref(mem);
		sum += v;
	});
	snprintf(name, sizeof(name), "%s/cached", state);
	MEASURE_EACH(name, {
		mem = cvmm_mem_cache_get(&cache);
		failed |= cvmm_mem_read(mem, gpa, &v, sizeof(v)) != 0;
		sum += v;
	});
	cvmm_mem_cache_fini(&cache);
	free(times);
}

static void run_swap(struct bench *b, size_t passes)
{
	struct swapper s = { .mem = make_map(8) };
	pthread_t thread;
	double start;

	if (cvmm_mem_space_create(s.mem, &s.space))
		die("cannot make the space");
	fill_inside(b, 7, 8); /* in those that both maps have */
	measure_readers(b, s.space, NULL, passes);
	start = now_ns();
	if (pthread_create(&thread, NULL, swapper_main, &s))
		die("cannot start a thread");
	/* Only now: the new thread inherits where this one may run. */
	while (!__atomic_load_n(&s.ready, __ATOMIC_ACQUIRE))
		;
	stay_on(true);
	while (!__atomic_load_n(&s.swaps, __ATOMIC_RELAXED))
		;
	measure_readers(b, s.space, &s, passes);
	__atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	printf("swap/ns-per-swap %.1f\n", (now_ns() - start) / (double)s.swaps);
	cvmm_mem_space_destroy(s.space);
	cvmm_mem_unref(s.mem);
}

int main(int argc, char **argv)
{
	static struct bench bench;
	struct bench *b = &bench;

	b->buffer = mmap(NULL, LARGEST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	b->flat = mmap(NULL, 8 * REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	if (b->buffer == MAP_FAILED || b->flat == MAP_FAILED)
		die("out of memory");
	be_threaded();
	memset(b->buffer, 0, LARGEST);
	memset(b->flat, 0, 8 * REGION_BYTES);
	if (argc == 4 && !strcmp(argv[1], "access")) {
		b->samples = (unsigned int)atoi(argv[2]);
		b->ops = (unsigned int)atoi(argv[3]);
		run_access(b);
	} else if (argc == 3 && !strcmp(argv[1], "swap")) {
		run_swap(b, (size_t)atoi(argv[2]));
	} else {
		die("usage: mem access SAMPLES OPS | mem swap PASSES");
	}
	return 0;
}
