// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The C half of the virtqueue benchmark; rust/src/main.rs is the other and does the same, in the same
 * order, with the same numbers. Prints "item nanoseconds" lines, several for each item, and one
 * "check item number" line for each, which must be the same in both. bench/virtq/run collects them.
 *
 *	virtq [--packed] all SAMPLES DESCRIPTORS	everything one thread can measure
 *	virtq [--packed] pingpong SAMPLES CHAINS	a driver and a device on two processors
 *	virtq [--packed] count CHAINS REGIONS		chains of two descriptors, for callgrind
 *
 * There are two ways of making work for the device:
 *
 * - A queue that runs on and on. Descriptors and available ring are written once, so that all the
 *   driver does for the next round is to store avail.idx. That store is timed, in both halves.
 * - Queues that are made anew before each measurement, for what leaves a queue in a state that one
 *   store does not mend. Several, so that the clock is read seldom. Making them is not timed.
 *
 * The descriptors and all that the device reads and writes lie at the same guest addresses in both
 * halves, and all accesses to buffers stay within a window that fits the first-level cache.
 */
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <cvmm/virtq_io.h>

#define SEED 0x9e3779b97f4a7c15u
#define FNV_BASE 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

/* Guest memory: one region of 4 GiB, or eight with holes between them. */
#define ONE_BYTES 0x100000000u
#define MANY_REGIONS 8
#define REGION_BYTES 0x200000u
#define REGION_STRIDE 0x400000u

/* In the first region, with room for the largest queue. */
#define DESC_AT 0x0u
#define AVAIL_AT 0x80000u
#define USED_AT 0xa0000u
#define INDIRECT_AT 0xf0000u
/* In each. */
#define READABLE_AT 0x100000u
#define WRITABLE_AT 0x140000u
#define WINDOW_BYTES 0x2000u

#define QUEUE 256 /* entries, where nothing else is said */
#define DEVICE_PIECES 512
#define LARGEST 4096
#define FRESH 64
#define BATCH 32
#define USED_LEN_BYTES 0x1000

/**
 * struct shape - what the driver puts into a queue
 * @chains: so many are available at a time; a power of two
 * @length: descriptors in each
 * @writable: how many of them the device writes
 * @bytes: in each buffer
 */
struct shape {
	uint16_t size;
	uint16_t chains;
	uint16_t length;
	uint16_t writable;
	uint32_t bytes;
	uint32_t regions;
	bool indirect;
	bool event_idx;
};

/*
 * What the device saw.
 * @places: addresses of the buffers
 * @readable, @writable: bytes
 */
struct sums {
	uint64_t buffers;
	uint64_t places;
	uint64_t readable;
	uint64_t writable;
	uint64_t heads;
	uint64_t notifications;
};

/*
 * What all items share.
 * @clock_ns: what reading the clock costs
 * @iov, @buffer: the device's own memory
 */
struct bench {
	bool packed;
	uint32_t samples; /* lines to print for each item */
	uint32_t ops;	  /* descriptors in a sample */
	double clock_ns;
	uint8_t *base; /* of guest memory: host addresses are base + guest address */
	struct cvmm_mem *one;
	struct cvmm_mem *many;
	struct iovec iov[DEVICE_PIECES];
	uint8_t buffer[LARGEST];
};

/**
 * struct run - one item
 * @vq: the queue that is served
 * @wrap: packed: the driver's wrap counter
 * @avail: index that the driver stored last
 * @popped: what is to be given back, where that is timed on its own
 */
struct run {
	struct bench *b;
	const struct shape *shape;
	struct cvmm_virtq *vq;
	uint16_t avail;
	bool wrap;
	struct sums sums;
	struct cvmm_virtq_used popped[QUEUE];
};

typedef void (*serve_fn)(struct run *r);

/* ---- tools --------------------------------------------------------------------------------- */

static void die(const char *what)
{
	fprintf(stderr, "virtq: %s\n", what);
	exit(1);
}

static double clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* Of this thread only: others that want the processor, too, do not count. */
static double busy_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* What reading the clock costs, to be taken off where it is read often. */
static double measure_clock(void)
{
	const int times = 10000;
	double start = busy_ns();

	for (int i = 1; i < times; i++)
		busy_ns();
	return (busy_ns() - start) / times;
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static uint64_t hash(uint64_t h, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		h = (h ^ bytes[i]) * FNV_PRIME;
	return h;
}

static uint64_t hash_u64(uint64_t h, uint64_t v)
{
	v = htole64(v);
	return hash(h, (const uint8_t *)&v, sizeof(v));
}

static void relax(void)
{
#ifdef __x86_64__
	__builtin_ia32_pause();
#endif
}

static struct cvmm_mem *make_map(uint8_t *base, uint32_t regions)
{
	struct cvmm_mem_config configs[MANY_REGIONS] = { 0 };
	struct cvmm_mem *mem;

	for (uint32_t i = 0; i < regions; i++) {
		uint64_t gpa = (uint64_t)i * REGION_STRIDE;

		configs[i].gpa = cvmm_gpa_from(gpa);
		configs[i].len_bytes = regions == 1 ? ONE_BYTES : REGION_BYTES;
		configs[i].kind = CVMM_MEM_EXTERNAL;
		configs[i].access = CVMM_ACCESS_READ_WRITE;
		configs[i].host = base + gpa;
	}
	if (cvmm_mem_create(configs, regions, &mem, NULL))
		die("cannot make the guest memory");
	return mem;
}

/* ---- the driver ---------------------------------------------------------------------------- */

static void put_desc(struct bench *b, uint64_t table, uint32_t i, uint64_t addr, uint32_t len,
		     uint32_t flags, uint32_t next)
{
	struct cvmm_virtq_desc *desc = (struct cvmm_virtq_desc *)(b->base + table) + i;
	uint8_t *p = (uint8_t *)desc;

	cvmm_put_le64(p, addr);
	cvmm_put_le32(p + 8, len);
	cvmm_put_le16(p + 12, (uint16_t)flags);
	cvmm_put_le16(p + 14, (uint16_t)next);
}

/* The same in a packed ring, or in a table there. */
static void put_packed_desc(struct bench *b, uint64_t table, uint32_t i, uint64_t addr,
			    uint32_t len, uint32_t flags, uint32_t id)
{
	uint8_t *p = b->base + table + i * sizeof(struct cvmm_virtq_packed_desc);

	cvmm_put_le64(p, addr);
	cvmm_put_le32(p + 8, len);
	cvmm_put_le16(p + 12, (uint16_t)id);
	cvmm_put_le16(p + 14, (uint16_t)flags);
}

/* Where buffer number @n is. */
static uint64_t place_buffer(const struct shape *shape, uint32_t n, bool writable, uint64_t *random)
{
	uint32_t window = WINDOW_BYTES / shape->regions;
	uint64_t region = next_random(random) % shape->regions;

	if (window < shape->bytes)
		window = shape->bytes;
	return region * REGION_STRIDE + (writable ? WRITABLE_AT : READABLE_AT) +
	       n * shape->bytes % window;
}

static void put_chain(struct bench *b, const struct shape *shape, uint32_t chain, uint64_t *random)
{
	uint32_t head = shape->indirect ? chain : chain * shape->length;
	uint32_t first = shape->indirect ? 0 : head;
	uint64_t table = DESC_AT;

	if (shape->indirect) {
		table = INDIRECT_AT +
			(uint64_t)chain * shape->length * sizeof(struct cvmm_virtq_desc);
		put_desc(b, DESC_AT, head, table,
			 (uint32_t)(shape->length * sizeof(struct cvmm_virtq_desc)),
			 CVMM_VIRTQ_DESC_F_INDIRECT, 0);
	}
	for (uint32_t i = 0; i < shape->length; i++) {
		bool writable = i >= (uint32_t)(shape->length - shape->writable);
		bool last = i + 1 == shape->length;
		uint64_t gpa = place_buffer(shape, chain * shape->length + i, writable, random);

		put_desc(b, table, first + i, gpa, shape->bytes,
			 (last ? 0 : CVMM_VIRTQ_DESC_F_NEXT) |
				 (writable ? CVMM_VIRTQ_DESC_F_WRITE : 0),
			 last ? 0 : first + i + 1);
	}
}

static void put_packed_chain(struct bench *b, const struct shape *shape, uint32_t chain, bool wrap,
			     uint64_t *random)
{
	uint32_t available = wrap ? CVMM_VIRTQ_DESC_F_AVAIL : CVMM_VIRTQ_DESC_F_USED;
	uint32_t first = shape->indirect ? 0 : chain * shape->length;
	uint64_t table = DESC_AT;

	if (shape->indirect) {
		uint32_t bytes = (uint32_t)(shape->length * sizeof(struct cvmm_virtq_packed_desc));

		table = INDIRECT_AT + (uint64_t)chain * bytes;
		put_packed_desc(b, DESC_AT, chain, table, bytes,
				CVMM_VIRTQ_DESC_F_INDIRECT | available, chain);
		available = 0;
	}
	for (uint32_t i = 0; i < shape->length; i++) {
		bool writable = i >= (uint32_t)(shape->length - shape->writable);
		bool goes_on = !shape->indirect && i + 1 < shape->length;
		uint64_t gpa = place_buffer(shape, chain * shape->length + i, writable, random);

		put_packed_desc(b, table, first + i, gpa, shape->bytes,
				available | (goes_on ? CVMM_VIRTQ_DESC_F_NEXT : 0) |
					(writable ? CVMM_VIRTQ_DESC_F_WRITE : 0),
				chain);
	}
}

/* All chains of a packed ring, which are available at once. */
static void put_packed_ring(struct bench *b, const struct shape *shape, bool wrap)
{
	uint32_t flags = shape->event_idx ? CVMM_VIRTQ_EVENT_DESC : CVMM_VIRTQ_EVENT_ENABLE;
	uint64_t random = SEED;

	for (uint32_t chain = 0; chain < shape->chains; chain++)
		put_packed_chain(b, shape, chain, wrap, &random);
	/* one notification while the first round is given back */
	cvmm_put_le32(b->base + AVAIL_AT, (uint32_t)(shape->chains / 2 * shape->length) |
						  CVMM_VIRTQ_EVENT_WRAP | flags << 16);
}

static void put_split_rings(struct bench *b, const struct shape *shape, uint64_t *random)
{
	for (uint32_t chain = 0; chain < shape->chains; chain++)
		put_chain(b, shape, chain, random);
	for (uint32_t slot = 0; slot < shape->size; slot++) {
		uint32_t chain = slot % shape->chains;

		cvmm_put_le16(b->base + AVAIL_AT + 4 + 2 * slot,
			      (uint16_t)(shape->indirect ? chain : chain * shape->length));
	}
	/* used_event: one notification while the first round is given back */
	cvmm_put_le16(b->base + AVAIL_AT + 4 + 2 * shape->size, (uint16_t)(shape->chains / 2));
}

/* Makes the driver's part of the queue, and memory as it was at first. */
static void put_queue(struct bench *b, const struct shape *shape)
{
	uint64_t random = SEED;

	memset(b->base, 0, READABLE_AT);
	if (b->packed)
		put_packed_ring(b, shape, true);
	else
		put_split_rings(b, shape, &random);
	for (uint32_t i = 0; i < shape->regions; i++) {
		uint8_t *region = b->base + (uint64_t)i * REGION_STRIDE;

		for (uint32_t at = 0; at < WINDOW_BYTES; at += sizeof(uint64_t))
			cvmm_put_le64(region + READABLE_AT + at, next_random(&random));
		memset(region + WRITABLE_AT, 0, WINDOW_BYTES);
	}
}

/* Of a packed ring all is available that was put there. */
static void store_avail(struct bench *b, uint16_t index)
{
	if (b->packed)
		return;
	__atomic_store_n((uint16_t *)(void *)(b->base + AVAIL_AT + 2), htole16(index),
			 __ATOMIC_RELEASE);
}

/* Makes the next @count chains available: of a packed ring, all of it. */
static void refill(struct run *r, uint32_t count)
{
	if (r->b->packed) {
		r->wrap = !r->wrap;
		put_packed_ring(r->b, r->shape, r->wrap);
		return;
	}
	r->avail = (uint16_t)(r->avail + count);
	store_avail(r->b, r->avail);
}

/* ---- the device ---------------------------------------------------------------------------- */

static inline void visit(struct sums *sums, const struct cvmm_virtq_chain *chain)
{
	for (uint32_t i = 0; i < chain->readable_count; i++) {
		sums->places += (uintptr_t)chain->readable[i].iov_base;
		sums->readable += chain->readable[i].iov_len;
	}
	for (uint32_t i = 0; i < chain->writable_count; i++) {
		sums->places += (uintptr_t)chain->writable[i].iov_base;
		sums->writable += chain->writable[i].iov_len;
	}
	sums->buffers += (uint32_t)chain->readable_count + chain->writable_count;
	sums->heads += chain->head;
}

static inline void must_pop(struct run *r, struct cvmm_virtq_chain *ret_chain)
{
	if (CVMM_UNLIKELY(cvmm_virtq_pop(r->vq, r->b->iov, DEVICE_PIECES, ret_chain) != 1))
		die("no chain where one was put");
}

static inline void must(int ret)
{
	if (CVMM_UNLIKELY(ret))
		die("a call failed that must not");
}

/* Takes what is there and gives nothing back. */
static void serve_walk(struct run *r)
{
	struct sums sums = r->sums;
	struct cvmm_virtq_chain chain;

	while (cvmm_virtq_pop(r->vq, r->b->iov, DEVICE_PIECES, &chain) > 0)
		visit(&sums, &chain);
	r->sums = sums;
}

/* The same, for what is to be given back later. */
static void serve_pop(struct run *r)
{
	struct cvmm_virtq_chain chain;

	for (uint32_t i = 0; i < r->shape->chains; i++) {
		must_pop(r, &chain);
		r->popped[i] = (struct cvmm_virtq_used){ chain.head, USED_LEN_BYTES };
	}
}

static void serve_push(struct run *r)
{
	for (uint32_t i = 0; i < r->shape->chains; i++)
		must(cvmm_virtq_push(r->vq, r->popped[i].head, r->popped[i].len_bytes));
}

static void serve_push_notify(struct run *r)
{
	uint64_t notifications = 0;

	for (uint32_t i = 0; i < r->shape->chains; i++) {
		must(cvmm_virtq_push(r->vq, r->popped[i].head, r->popped[i].len_bytes));
		notifications += cvmm_virtq_should_notify(r->vq);
	}
	r->sums.notifications += notifications;
}

/* One chain at a time. */
static void serve_walk_push(struct run *r)
{
	struct sums sums = r->sums;
	struct cvmm_virtq_chain chain;

	for (uint32_t i = 0; i < r->shape->chains; i++) {
		must_pop(r, &chain);
		visit(&sums, &chain);
		must(cvmm_virtq_push(r->vq, chain.head, chain.writable_bytes));
	}
	r->sums = sums;
}

/* The whole of what the device reads, and of what it writes. */
static inline bool read_all(const struct cvmm_virtq_chain *chain, void *dst, size_t len)
{
	struct cvmm_virtq_reader reader;

	cvmm_virtq_reader_from_chain(&reader, chain);
	return !cvmm_virtq_reader_read_exact(&reader, dst, len);
}

static inline bool write_all(const struct cvmm_virtq_chain *chain, const void *src, size_t len)
{
	struct cvmm_virtq_writer writer;

	cvmm_virtq_writer_from_chain(&writer, chain);
	return !cvmm_virtq_writer_write_exact(&writer, src, len);
}

static void serve_copy(struct run *r)
{
	uint32_t bytes = r->shape->bytes;
	struct cvmm_virtq_chain chain;

	for (uint32_t i = 0; i < r->shape->chains; i++) {
		must_pop(r, &chain);
		if (!read_all(&chain, r->b->buffer, bytes) ||
		    !write_all(&chain, r->b->buffer, bytes))
			die("a copy failed that must not");
		r->sums.heads += chain.head;
		must(cvmm_virtq_push(r->vq, chain.head, bytes));
	}
}

static inline void take_batch(struct run *r, struct cvmm_virtq_used *used)
{
	struct sums sums = r->sums;
	struct cvmm_virtq_chain chain;

	for (uint32_t i = 0; i < BATCH; i++) {
		must_pop(r, &chain);
		visit(&sums, &chain);
		used[i] = (struct cvmm_virtq_used){ chain.head, chain.writable_bytes };
	}
	r->sums = sums;
}

static void serve_batches(struct run *r)
{
	struct cvmm_virtq_used used[BATCH];

	for (uint32_t done = 0; done < r->shape->chains; done += BATCH) {
		take_batch(r, used);
		must(cvmm_virtq_push_batch(r->vq, used, BATCH));
	}
}

static void serve_batches_singly(struct run *r)
{
	struct cvmm_virtq_used used[BATCH];

	for (uint32_t done = 0; done < r->shape->chains; done += BATCH) {
		take_batch(r, used);
		for (uint32_t i = 0; i < BATCH; i++)
			must(cvmm_virtq_push(r->vq, used[i].head, used[i].len_bytes));
	}
}

/* ---- measuring ----------------------------------------------------------------------------- */

/* @vq was initialised. */
static void start_queue(struct bench *b, const struct shape *shape, struct cvmm_virtq *vq)
{
	struct cvmm_virtq_config config = {
		.size = shape->size,
		.desc = cvmm_gpa_from(DESC_AT),
		.avail = cvmm_gpa_from(AVAIL_AT),
		.used = cvmm_gpa_from(USED_AT),
		.packed = b->packed,
		.event_idx = shape->event_idx,
		.indirect = shape->indirect,
	};

	cvmm_virtq_stop(vq);
	if (cvmm_virtq_start(vq, shape->regions == 1 ? b->one : b->many, &config, NULL))
		die("cannot start the queue");
}

/* What the device saw and what it left in guest memory. */
static void print_check(const struct run *r, const char *name)
{
	const struct sums *s = &r->sums;
	uint64_t places = s->places - s->buffers * (uintptr_t)r->b->base, h = FNV_BASE;
	uint64_t numbers[] = { s->buffers,  places,   s->readable,
			       s->writable, s->heads, s->notifications };

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(numbers); i++)
		h = hash_u64(h, numbers[i]);
	h = hash(h, r->b->base + USED_AT, 4 + 8 * (size_t)r->shape->size);
	for (uint32_t i = 0; i < r->shape->regions; i++)
		h = hash(h, r->b->base + (uint64_t)i * REGION_STRIDE + WRITABLE_AT, WINDOW_BYTES);
	printf("check %s %016llx\n", name, (unsigned long long)h);
}

/* Serves one queue that runs on; prints the time of one chain. */
static void measure(struct bench *b, const char *name, const struct shape *shape, serve_fn serve)
{
	static struct run r;
	struct cvmm_virtq vq;
	uint32_t in_round = (uint32_t)shape->chains * shape->length;
	uint32_t rounds = b->ops > in_round ? b->ops / in_round : 1;

	if (cvmm_virtq_init(&vq, shape->size))
		die("out of memory");
	put_queue(b, shape);
	start_queue(b, shape, &vq);
	r = (struct run){ .b = b, .shape = shape, .vq = &vq };
	for (uint32_t sample = 0; sample <= b->samples; sample++) {
		double total = b->packed ? 0 : -busy_ns() - b->clock_ns;

		for (uint32_t round = 0; round < rounds; round++) {
			refill(&r, shape->chains);
			/* The driver of a packed ring has more to do than one store: not timed. */
			if (b->packed)
				total -= busy_ns() + b->clock_ns;
			serve(&r);
			if (b->packed)
				total += busy_ns();
		}
		if (!b->packed)
			total += busy_ns();
		if (sample) /* the first one warms up */
			printf("%s %.4f\n", name, total / rounds / shape->chains);
	}
	print_check(&r, name);
	cvmm_virtq_fini(&vq);
}

/*
 * Serves queues that were just made and, if @prepare, had that done to them; prints the time of one
 * queue divided by @divisor.
 */
static void measure_fresh(struct bench *b, const char *name, const struct shape *shape,
			  serve_fn prepare, serve_fn serve, uint32_t divisor)
{
	static struct run runs[FRESH];
	static struct cvmm_virtq queues[FRESH];
	uint32_t rounds = b->ops / FRESH / ((uint32_t)shape->chains * shape->length);
	double total;

	rounds = rounds ? rounds : 1;
	put_queue(b, shape);
	store_avail(b, shape->chains);
	for (uint32_t i = 0; i < FRESH; i++) {
		runs[i] = (struct run){ .b = b, .shape = shape, .vq = &queues[i] };
		must(cvmm_virtq_init(&queues[i], shape->size));
	}
	for (uint32_t sample = 0; sample <= b->samples; sample++) {
		total = 0;
		for (uint32_t round = 0; round < rounds; round++) {
			if (b->packed)
				put_packed_ring(b, shape, true);
			for (uint32_t i = 0; i < FRESH; i++) {
				start_queue(b, shape, &queues[i]);
				if (prepare)
					prepare(&runs[i]);
			}
			total -= busy_ns() + b->clock_ns;
			for (uint32_t i = 0; i < FRESH; i++)
				serve(&runs[i]);
			total += busy_ns();
		}
		if (sample)
			printf("%s %.4f\n", name, total / rounds / FRESH / divisor);
	}
	for (uint32_t i = 1; i < FRESH; i++)
		if (memcmp(&runs[i].sums, &runs[0].sums, sizeof(runs[0].sums)))
			die("the same queue was served in two ways");
	print_check(&runs[0], name);
	for (uint32_t i = 0; i < FRESH; i++)
		cvmm_virtq_fini(&queues[i]);
}

/* ---- the items ----------------------------------------------------------------------------- */

/* The five of virtio-queue's own, by its names; times of 128 descriptors or entries. */
static void bench_upstream(struct bench *b)
{
	struct shape single = {
		.size = QUEUE, .chains = 1, .length = 128, .bytes = 64, .regions = 1
	};
	struct shape multiple = {
		.size = QUEUE, .chains = 128, .length = 1, .bytes = 64, .regions = 1
	};

	measure_fresh(b, "upstream/single-direct", &single, NULL, serve_walk, 1);
	measure_fresh(b, "upstream/multiple-direct", &multiple, NULL, serve_walk, 1);
	/* What is given back as written must be writable. */
	multiple.writable = 1;
	multiple.bytes = USED_LEN_BYTES;
	measure_fresh(b, "upstream/add-used", &multiple, serve_pop, serve_push, 1);
	multiple.writable = 0;
	multiple.bytes = 64;
	single.indirect = multiple.indirect = true;
	measure_fresh(b, "upstream/single-indirect", &single, NULL, serve_walk, 1);
	measure_fresh(b, "upstream/multiple-indirect", &multiple, NULL, serve_walk, 1);
}

/* What most requests of most devices look like. */
static struct shape two_descriptors(uint32_t bytes, uint32_t regions)
{
	return (struct shape){
		.size = QUEUE,
		.chains = QUEUE / 2,
		.length = 2,
		.writable = 1,
		.bytes = bytes,
		.regions = regions,
	};
}

static void bench_requests(struct bench *b, uint32_t regions)
{
	static const uint32_t sizes[] = { 64, 512, LARGEST };
	struct shape shape = two_descriptors(64, regions);
	char name[64];

	snprintf(name, sizeof(name), "two/%u", regions);
	measure(b, name, &shape, serve_walk_push);
	/* pop gives host addresses in any case; in the other half this is more work. */
	snprintf(name, sizeof(name), "host/%u", regions);
	measure(b, name, &shape, serve_walk_push);
	snprintf(name, sizeof(name), "batch/%u", regions);
	measure(b, name, &shape, serve_batches);
	snprintf(name, sizeof(name), "batch-singly/%u", regions);
	measure(b, name, &shape, serve_batches_singly);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(sizes); i++) {
		shape = two_descriptors(sizes[i], regions);
		snprintf(name, sizeof(name), "copy-%u/%u", sizes[i], regions);
		measure(b, name, &shape, serve_copy);
	}
}

static void bench_notify(struct bench *b)
{
	struct shape shape = two_descriptors(USED_LEN_BYTES, 1);

	measure_fresh(b, "notify/off", &shape, serve_pop, serve_push_notify, shape.chains);
	shape.event_idx = true;
	measure_fresh(b, "notify/on", &shape, serve_pop, serve_push_notify, shape.chains);
}

static void bench_lengths(struct bench *b)
{
	struct shape shape = { .size = QUEUE, .bytes = 64, .regions = 1 };
	char name[64];

	for (uint16_t length = 1; length <= QUEUE / 2; length = (uint16_t)(2 * length)) {
		shape.length = length;
		shape.writable = length / 2;
		shape.chains = (uint16_t)(QUEUE / length);
		snprintf(name, sizeof(name), "length/%u", length);
		measure(b, name, &shape, serve_walk_push);
	}
}

static void bench_sizes(struct bench *b)
{
	struct shape shape = two_descriptors(64, 1);
	char name[64];

	for (uint32_t size = 16; size <= CVMM_VIRTQ_SIZE_MAX; size *= 2) {
		shape.size = (uint16_t)size;
		shape.chains = (uint16_t)(size / 2);
		snprintf(name, sizeof(name), "size/%u", size);
		measure(b, name, &shape, serve_walk_push);
	}
}

static void run_all(struct bench *b)
{
	bench_upstream(b);
	bench_requests(b, 1);
	bench_requests(b, MANY_REGIONS);
	bench_notify(b);
	bench_lengths(b);
	bench_sizes(b);
}

/* Nothing but chains: no clock, so that two runs differ by the chains only. */
static void run_count(struct bench *b, uint32_t chains, uint32_t regions)
{
	static struct run r;
	struct shape shape = two_descriptors(64, regions);
	struct cvmm_virtq vq;

	must(cvmm_virtq_init(&vq, shape.size));
	put_queue(b, &shape);
	start_queue(b, &shape, &vq);
	r = (struct run){ .b = b, .shape = &shape, .vq = &vq };
	for (uint32_t done = 0; done < chains; done += shape.chains) {
		refill(&r, shape.chains);
		serve_walk_push(&r);
	}
	print_check(&r, "count");
	cvmm_virtq_fini(&vq);
}

/* ---- a driver and a device on two processors ------------------------------------------------ */

/* The first and the last processor that the program may use. */
struct processors {
	size_t first;
	size_t last;
};

static struct processors find_processors(void)
{
	struct processors found = { CPU_SETSIZE, 0 };
	cpu_set_t allowed;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		die("cannot tell which processors there are");
	for (size_t i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &allowed))
			continue;
		found.first = i < found.first ? i : found.first;
		found.last = i;
	}
	return found;
}

static void stay_on(size_t processor)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(processor, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

struct device {
	struct run r;
	uint64_t total; /* chains to serve */
	size_t processor;
	bool ready; /* atomic */
};

static void *device_main(void *arg)
{
	struct device *d = arg;
	struct cvmm_virtq_chain chain;

	stay_on(d->processor);
	__atomic_store_n(&d->ready, true, __ATOMIC_RELEASE);
	for (uint64_t done = 0; done < d->total;) {
		int ret = cvmm_virtq_pop(d->r.vq, d->r.b->iov, DEVICE_PIECES, &chain);

		if (!ret) {
			relax();
			continue;
		}
		if (ret < 0)
			die("the queue broke");
		visit(&d->r.sums, &chain);
		must(cvmm_virtq_push(d->r.vq, chain.head, chain.writable_bytes));
		done++;
	}
	return NULL;
}

/* Keeps @outstanding chains with the device, each with its descriptors written anew. */
static void drive(struct run *r, const uint8_t *table, uint64_t total, uint32_t outstanding)
{
	const size_t chain_bytes = 2 * sizeof(struct cvmm_virtq_desc);
	uint8_t *base = r->b->base;
	uint64_t sent = 0, seen = 0;

	while (seen < total) {
		uint16_t used = le16toh(__atomic_load_n((uint16_t *)(void *)(base + USED_AT + 2),
							__ATOMIC_ACQUIRE));
		uint64_t before = sent;

		for (; (uint16_t)seen != used; seen++)
			r->sums.heads += cvmm_get_le32(base + USED_AT + 4 + 8 * (seen % QUEUE));
		for (; sent < total && sent - seen < outstanding; sent++) {
			size_t chain = sent % r->shape->chains;

			memcpy(base + DESC_AT + chain * chain_bytes, table + chain * chain_bytes,
			       chain_bytes);
			cvmm_put_le16(base + AVAIL_AT + 4 + 2 * (sent % QUEUE),
				      (uint16_t)(chain * 2));
		}
		if (sent == before)
			relax();
		else
			store_avail(r->b, (uint16_t)sent);
	}
}

static void play(struct bench *b, const char *name, struct processors where, uint32_t outstanding,
		 uint64_t total)
{
	static uint8_t table[QUEUE * sizeof(struct cvmm_virtq_desc)];
	static struct device d;
	struct shape shape = two_descriptors(64, 1);
	struct cvmm_virtq vq;
	pthread_t thread;
	double start;

	stay_on(where.last);
	must(cvmm_virtq_init(&vq, shape.size));
	for (uint32_t sample = 0; sample <= b->samples; sample++) {
		struct run driver = { .b = b, .shape = &shape };

		put_queue(b, &shape);
		memcpy(table, b->base + DESC_AT, sizeof(table));
		start_queue(b, &shape, &vq);
		d = (struct device){ .r = { .b = b, .shape = &shape, .vq = &vq },
				     .total = total,
				     .processor = where.first };
		if (pthread_create(&thread, NULL, device_main, &d))
			die("cannot start a thread");
		while (!__atomic_load_n(&d.ready, __ATOMIC_ACQUIRE))
			;
		start = clock_ns(CLOCK_MONOTONIC);
		drive(&driver, table, total, outstanding);
		if (sample)
			printf("%s %.4f\n", name,
			       (clock_ns(CLOCK_MONOTONIC) - start) / (double)total);
		pthread_join(thread, NULL);
		d.r.sums.heads += driver.sums.heads;
	}
	print_check(&d.r, name);
	cvmm_virtq_fini(&vq);
}

static void run_pingpong(struct bench *b, uint32_t chains)
{
	struct processors where = find_processors();

	/* On one processor each would wait for the other's time to end. */
	if (where.first == where.last || b->packed)
		return;
	play(b, "pingpong/1", where, 1, chains);
	play(b, "pingpong/32", where, BATCH, chains);
}

int main(int argc, char **argv)
{
	static struct bench bench;
	struct bench *b = &bench;
	uint32_t first, second;

	if (argc > 1 && !strcmp(argv[1], "--packed")) {
		b->packed = true;
		argv++;
		argc--;
	}
	if (argc != 4)
		die("usage: virtq [--packed] all|pingpong|count NUMBER NUMBER");
	first = (uint32_t)atoi(argv[2]);
	second = (uint32_t)atoi(argv[3]);
	b->base = mmap(NULL, ONE_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (b->base == MAP_FAILED)
		die("out of memory");
	b->one = make_map(b->base, 1);
	b->many = make_map(b->base, MANY_REGIONS);
	b->samples = first;
	b->ops = second;
	if (!strcmp(argv[1], "all")) {
		b->clock_ns = measure_clock();
		run_all(b);
	} else if (!strcmp(argv[1], "pingpong")) {
		run_pingpong(b, second);
	} else {
		run_count(b, first, second);
	}
	cvmm_mem_unref(b->one);
	cvmm_mem_unref(b->many);
	return 0;
}
