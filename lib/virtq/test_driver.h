/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The driver's side of a queue, for tests: it writes the rings through the host address of guest
 * memory, as a guest would, and can be told to write nonsense.
 */
#ifndef CVMM_VIRTQ_TEST_DRIVER_H
#define CVMM_VIRTQ_TEST_DRIVER_H

#include <stdlib.h>

#include "virtq_internal.h"

/*
 * Guest memory: two adjacent regions of 4 MiB, a hole, and one page that devices may only read. The
 * second one is memory of our own, which mem cannot put beside the first: what crosses the seam is
 * two pieces.
 */
#define TEST_REGION UINT64_C(0x400000)
#define TEST_SEAM TEST_REGION
#define TEST_RAM_END (2 * TEST_REGION)
#define TEST_ROM UINT64_C(0x1000000)
#define TEST_PAGE UINT64_C(0x1000)
#define TEST_DATA UINT64_C(0x200000) /* the rings lie below, even for 32768 entries */

struct test_driver {
	struct cvmm_mem *mem;
	struct cvmm_mem *device_mem; /* what the device is given instead, if not NULL */
	struct cvmm_virtq vq;
	struct cvmm_virtq_config config;
	uint8_t *desc;
	uint8_t *avail;
	uint8_t *used;
	uint16_t avail_idx; /* what was published last */
	uint16_t used_seen; /* used.idx up to which elements were taken */
	/* Packed: where the next descriptor is made available, and where the next one will be used. */
	uint16_t place;
	uint16_t used_place;
	bool wrap;
	bool used_wrap;
};

static inline void *test_host(struct test_driver *d, uint64_t gpa, uint64_t len)
{
	void *host = cvmm_mem_ptr(d->mem, cvmm_gpa_from(gpa), len, CVMM_ACCESS_READ);

	CVMM_BUG_ON(!host);
	return host;
}

static inline struct cvmm_mem *test_mem_create(void)
{
	static uint8_t apart[TEST_REGION] __attribute__((aligned(TEST_PAGE)));
	const struct cvmm_mem_config configs[] = {
		{ .gpa = { 0 },
		  .len_bytes = TEST_REGION,
		  .kind = CVMM_MEM_ANONYMOUS,
		  .access = CVMM_ACCESS_READ_WRITE },
		{ .gpa = { TEST_SEAM },
		  .len_bytes = TEST_REGION,
		  .kind = CVMM_MEM_EXTERNAL,
		  .host = apart,
		  .access = CVMM_ACCESS_READ_WRITE },
		{ .gpa = { TEST_ROM },
		  .len_bytes = TEST_PAGE,
		  .kind = CVMM_MEM_ANONYMOUS,
		  .access = CVMM_ACCESS_READ },
	};
	struct cvmm_mem *mem = NULL;

	memset(apart, 0, sizeof(apart));
	CVMM_BUG_ON(cvmm_mem_create(configs, CVMM_ARRAY_SIZE(configs), &mem, NULL));
	return mem;
}

/* Areas one behind the other from address 0. */
static inline struct cvmm_virtq_config test_config(uint16_t size)
{
	uint64_t desc = 0, avail = desc + (uint64_t)size * DESC_SIZE;
	uint64_t used = (avail + avail_entry_at(size) + EVENT_SIZE + 3) & ~UINT64_C(3);

	return (struct cvmm_virtq_config){
		.size = size,
		.desc = { desc },
		.avail = { avail },
		.used = { used },
		.indirect = true,
	};
}

/* The driver's side of a device reset: empty rings, and the queue started as configured. */
static inline void test_driver_start(struct test_driver *d, const struct cvmm_virtq_config *config)
{
	uint16_t size = config->size;

	d->config = *config;
	d->desc = test_host(d, config->desc.addr, (uint64_t)size * DESC_SIZE);
	d->avail = test_host(d, config->avail.addr, avail_entry_at(size) + EVENT_SIZE);
	d->used = test_host(d, config->used.addr, used_entry_at(size) + EVENT_SIZE);
	d->avail_idx = 0;
	d->used_seen = 0;
	d->place = d->used_place = 0;
	d->wrap = d->used_wrap = true;
	cvmm_virtq_stop(&d->vq);
	memset(d->desc, 0, (size_t)size * DESC_SIZE);
	memset(d->avail, 0, avail_entry_at(size) + EVENT_SIZE);
	memset(d->used, 0, used_entry_at(size) + EVENT_SIZE);
	CVMM_BUG_ON(cvmm_virtq_start(&d->vq, d->device_mem ? d->device_mem : d->mem, config, NULL));
}

static inline void test_driver_init(struct test_driver *d, uint16_t size)
{
	struct cvmm_virtq_config config = test_config(size);

	*d = (struct test_driver){ .mem = test_mem_create() };
	CVMM_BUG_ON(cvmm_virtq_init(&d->vq, CVMM_VIRTQ_SIZE_MAX));
	test_driver_start(d, &config);
}

static inline void test_driver_fini(struct test_driver *d)
{
	cvmm_virtq_fini(&d->vq);
	d->device_mem = cvmm_mem_unref(d->device_mem);
	d->mem = cvmm_mem_unref(d->mem);
}

static inline void test_desc_put(uint8_t *table, uint32_t i, uint64_t addr, uint32_t len,
				 uint16_t flags, uint16_t next)
{
	const struct cvmm_virtq_desc desc = {
		.addr = cvmm_le64_from(addr),
		.len = cvmm_le32_from(len),
		.flags = cvmm_le16_from(flags),
		.next = cvmm_le16_from(next),
	};

	memcpy(table + (size_t)i * DESC_SIZE, &desc, sizeof(desc));
}

static inline void test_desc(struct test_driver *d, uint32_t i, uint64_t addr, uint32_t len,
			     uint16_t flags, uint16_t next)
{
	test_desc_put(d->desc, i, addr, len, flags, next);
}

/* Writes an entry @ahead of avail.idx, without publishing it. */
static inline void test_avail_put(struct test_driver *d, uint16_t ahead, uint16_t head)
{
	uint16_t index = (uint16_t)(d->avail_idx + ahead);

	ring_store(d->avail, avail_entry_at(index & (d->config.size - 1U)), head, __ATOMIC_RELAXED);
}

static inline void test_avail_publish(struct test_driver *d, uint16_t count)
{
	d->avail_idx = (uint16_t)(d->avail_idx + count);
	ring_store(d->avail, AVAIL_IDX, d->avail_idx, __ATOMIC_RELEASE);
}

static inline void test_make_available(struct test_driver *d, uint16_t head)
{
	test_avail_put(d, 0, head);
	test_avail_publish(d, 1);
}

/* One readable descriptor of 8 bytes as a whole chain. */
static inline void test_make_simple(struct test_driver *d, uint16_t head)
{
	test_desc(d, head, TEST_DATA + head * UINT64_C(8), 8, 0, 0);
	test_make_available(d, head);
}

/* Takes the next used element, if there is one. */
static inline bool test_take_used(struct test_driver *d, uint32_t *ret_id, uint32_t *ret_len)
{
	const uint8_t *element;

	if (ring_load(d->used, USED_IDX, __ATOMIC_ACQUIRE) == d->used_seen)
		return false;
	element = d->used + used_entry_at(d->used_seen & (d->config.size - 1U));
	*ret_id = cvmm_get_le32(element);
	*ret_len = cvmm_get_le32(element + sizeof(uint32_t));
	d->used_seen++;
	return true;
}

static inline void test_set_used_event(struct test_driver *d, uint16_t event)
{
	ring_store(d->avail, avail_entry_at(d->config.size), event, __ATOMIC_RELAXED);
}

static inline uint16_t test_avail_event(struct test_driver *d)
{
	return ring_load(d->used, used_entry_at(d->config.size), __ATOMIC_RELAXED);
}

/* ---- packed rings: the three pointers are the ring and the two event structures ------------- */

static inline struct cvmm_virtq_config test_packed_config(uint16_t size)
{
	struct cvmm_virtq_config config = test_config(size);

	config.packed = true;
	return config;
}

/* Makes the next descriptor available; the flags are written last. */
static inline void test_packed_put(struct test_driver *d, uint64_t addr, uint32_t len,
				   uint16_t flags, uint16_t id)
{
	uint8_t *desc = d->desc + (size_t)d->place * DESC_SIZE;

	flags |= d->wrap ? CVMM_VIRTQ_DESC_F_AVAIL : CVMM_VIRTQ_DESC_F_USED;
	cvmm_put_le64(desc, addr);
	cvmm_put_le32(desc + PACKED_REST, len);
	cvmm_put_le16(desc + PACKED_REST + sizeof(uint32_t), id);
	ring_store(desc, PACKED_FLAGS, flags, __ATOMIC_RELEASE);
	if (++d->place == d->config.size) {
		d->place = 0;
		d->wrap = !d->wrap;
	}
}

/* One readable descriptor of 8 bytes as a whole list. */
static inline void test_packed_simple(struct test_driver *d, uint16_t id)
{
	test_packed_put(d, TEST_DATA + id * UINT64_C(8), 8, 0, id);
}

/* Takes the next used descriptor, if there is one; its list had @descs. */
static inline bool test_packed_take(struct test_driver *d, uint16_t descs, uint16_t *ret_id,
				    uint32_t *ret_len)
{
	const uint32_t both = CVMM_VIRTQ_DESC_F_AVAIL | CVMM_VIRTQ_DESC_F_USED;
	const uint8_t *desc = d->desc + (size_t)d->used_place * DESC_SIZE;
	uint16_t flags = ring_load(desc, PACKED_FLAGS, __ATOMIC_ACQUIRE);
	uint32_t next = (uint32_t)d->used_place + descs;

	if ((flags & both) != (d->used_wrap ? both : 0))
		return false;
	*ret_id = cvmm_get_le16(desc + PACKED_REST + sizeof(uint32_t));
	*ret_len = flags & CVMM_VIRTQ_DESC_F_WRITE ? cvmm_get_le32(desc + PACKED_REST) : 0;
	if (next >= d->config.size) {
		next -= d->config.size;
		d->used_wrap = !d->used_wrap;
	}
	d->used_place = (uint16_t)next;
	return true;
}

/* The driver's event suppression structure. */
static inline void test_packed_set_event(struct test_driver *d, uint16_t off, bool wrap,
					 uint32_t flags)
{
	uint32_t event = off | (wrap ? CVMM_VIRTQ_EVENT_WRAP : 0U);

	cvmm_put_le32(d->avail, event | flags << PACKED_EVENT_FLAGS_SHIFT);
}

/* ---- either format ------------------------------------------------------------------------- */

/* One descriptor as a whole chain, with @id as head or buffer id. */
static inline void test_put_one(struct test_driver *d, uint16_t id, uint64_t addr, uint32_t len,
				uint16_t flags)
{
	if (d->config.packed) {
		test_packed_put(d, addr, len, flags, id);
		return;
	}
	test_desc(d, id, addr, len, flags, 0);
	test_make_available(d, id);
}

/* Takes the next used element of a chain of one descriptor. */
static inline bool test_take_one(struct test_driver *d, uint16_t *ret_id, uint32_t *ret_len)
{
	uint32_t id;

	if (d->config.packed)
		return test_packed_take(d, 1, ret_id, ret_len);
	if (!test_take_used(d, &id, ret_len))
		return false;
	*ret_id = (uint16_t)id;
	return true;
}

/* A cheap generator with a fixed start, so that a failure can be had again. */
static inline uint64_t test_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static inline uint32_t test_below(uint64_t *state, uint32_t limit)
{
	return (uint32_t)((test_random(state) >> 32) % limit);
}

/* Operations of a model test: @usual, or what who wants a long run says in the environment. */
static inline uint32_t test_operations(uint32_t usual)
{
	const char *wanted = getenv("CVMM_TEST_OPERATIONS");

	return wanted ? (uint32_t)strtoul(wanted, NULL, 10) : usual;
}

#endif /* CVMM_VIRTQ_TEST_DRIVER_H */
