// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The driver's side against two devices: the one of this library for split rings, and one of a dozen
 * lines for packed rings, which follows the standard's words and shares no code with the driver.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <cvmm/virtq_driver.h>

#include "test_driver.h"

#define SEGMENTS_MAX 8
#define TABLE_ENTRIES 4
#define BUFFERS TEST_SEAM /* the rings lie below, buffers above; nobody touches their bytes */
#define PACKED_AVAIL 0x80U
#define PACKED_USED 0x8000U

/* A buffer, as a device sees it. */
struct seen {
	uint16_t id;
	uint32_t descs; /* in the ring */
	size_t readable;
	size_t writable;
	uint32_t writable_bytes;
	struct cvmm_virtq_segment segments[SEGMENTS_MAX];
};

/* The naive packed device. */
struct packed_device {
	uint32_t avail, used; /* offsets */
	bool avail_wrap, used_wrap;
};

struct fixture {
	struct test_driver device; /* its memory; split: its queue */
	struct packed_device packed;
	struct cvmm_virtq_driver drv;
	struct cvmm_virtq_driver_config config;
	uint8_t *desc, *driver_area, *device_area;
	uint32_t fresh; /* number of the next buffer */
};

static struct fixture fixture;

/* ---- set-up -------------------------------------------------------------------------------- */

static int set_up(void **state)
{
	fixture = (struct fixture){ .device.mem = test_mem_create() };
	CVMM_BUG_ON(cvmm_virtq_init(&fixture.device.vq, CVMM_VIRTQ_SIZE_MAX));
	*state = &fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	cvmm_virtq_driver_fini(&f->drv);
	test_driver_fini(&f->device);
	return 0;
}

enum feature {
	PACKED = 1,
	EVENT_IDX = 2,
	INDIRECT = 4,
	IN_ORDER = 8,
	FEATURE_SETS = 16
};

static struct cvmm_virtq_driver_config config_of(uint16_t size, unsigned int features)
{
	struct cvmm_virtq_driver_config config = {
		.size = size,
		.packed = features & PACKED,
		.event_idx = features & EVENT_IDX,
		.indirect = features & INDIRECT,
		.in_order = features & IN_ORDER,
		.table_entries = TABLE_ENTRIES,
	};
	uint64_t bytes;

	assert_int_equal(cvmm_virtq_driver_layout(&config, cvmm_gpa_from(0), &bytes), 0);
	assert_true(bytes <= BUFFERS);
	return config;
}

/* A new ring of that kind, and a device for it. */
static void start(struct fixture *f, uint16_t size, unsigned int features)
{
	const struct cvmm_virtq_driver_config config = config_of(size, features);
	const struct cvmm_virtq_config device_config = {
		.size = size,
		.desc = config.desc,
		.avail = config.driver_area,
		.used = config.device_area,
		.event_idx = config.event_idx,
		.indirect = config.indirect,
	};
	uint64_t size64 = size;

	f->config = config;
	f->packed = (struct packed_device){ .avail_wrap = true, .used_wrap = true };
	f->desc = test_host(&f->device, config.desc.addr, size64 * 16);
	f->driver_area =
		test_host(&f->device, config.driver_area.addr, config.packed ? 4 : 6 + 2 * size64);
	f->device_area =
		test_host(&f->device, config.device_area.addr, config.packed ? 4 : 6 + 8 * size64);
	f->fresh = 0;
	if (!config.packed)
		test_driver_start(&f->device, &device_config);
	cvmm_virtq_driver_fini(&f->drv);
	assert_int_equal(cvmm_virtq_driver_init(&f->drv, f->device.mem, &config, NULL), 0);
}

/* ---- devices ------------------------------------------------------------------------------- */

static uint64_t gpa_of(struct fixture *f, const void *host)
{
	const uint8_t *base = test_host(&f->device, BUFFERS, TEST_REGION);

	return BUFFERS + (uint64_t)((const uint8_t *)host - base);
}

static bool split_pop(struct fixture *f, struct seen *seen)
{
	struct iovec iov[SEGMENTS_MAX];
	struct cvmm_virtq_chain chain;
	size_t i;
	int ret = cvmm_virtq_pop(&f->device.vq, iov, SEGMENTS_MAX, &chain);

	assert_true(ret >= 0);
	if (!ret)
		return false;
	seen->id = chain.head;
	seen->readable = chain.readable_count;
	seen->writable = chain.writable_count;
	seen->writable_bytes = chain.writable_bytes;
	for (i = 0; i < seen->readable + seen->writable; i++)
		seen->segments[i] = (struct cvmm_virtq_segment){
			{ gpa_of(f, iov[i].iov_base) },
			(uint32_t)iov[i].iov_len,
		};
	return true;
}

static void see_packed(struct seen *seen, const uint8_t *desc)
{
	struct cvmm_virtq_segment *segment = &seen->segments[seen->readable + seen->writable];

	*segment = (struct cvmm_virtq_segment){ { cvmm_get_le64(desc) }, cvmm_get_le32(desc + 8) };
	if (cvmm_get_le16(desc + 14) & CVMM_VIRTQ_DESC_F_WRITE) {
		seen->writable++;
		seen->writable_bytes += segment->len_bytes;
	} else {
		assert_int_equal(seen->writable, 0);
		seen->readable++;
	}
}

static void packed_move(struct fixture *f, uint32_t *offset, bool *wrap, uint32_t count)
{
	*offset += count;
	if (*offset >= f->config.size) {
		*offset -= f->config.size;
		*wrap = !*wrap;
	}
}

static bool packed_pop(struct fixture *f, struct seen *seen)
{
	struct packed_device *p = &f->packed;
	const uint8_t *desc, *table;
	uint16_t flags;

	*seen = (struct seen){ 0 };
	do {
		desc = f->desc + (size_t)p->avail * 16;
		flags = ring_load(desc, 14, __ATOMIC_ACQUIRE);
		if (!!(flags & PACKED_AVAIL) != p->avail_wrap ||
		    !!(flags & PACKED_USED) == p->avail_wrap) {
			assert_int_equal(seen->descs, 0); /* a hole */
			return false;
		}
		seen->id = cvmm_get_le16(desc + 12);
		seen->descs++;
		packed_move(f, &p->avail, &p->avail_wrap, 1);
		if (!(flags & CVMM_VIRTQ_DESC_F_INDIRECT)) {
			see_packed(seen, desc);
			continue;
		}
		assert_int_equal(flags & ~(PACKED_AVAIL | PACKED_USED), CVMM_VIRTQ_DESC_F_INDIRECT);
		table = test_host(&f->device, cvmm_get_le64(desc), cvmm_get_le32(desc + 8));
		for (uint32_t i = 0; i < cvmm_get_le32(desc + 8) / 16; i++)
			see_packed(seen, table + (size_t)i * 16);
	} while (flags & CVMM_VIRTQ_DESC_F_NEXT);
	return true;
}

/* Writes one used descriptor, which ends @descs descriptors of the ring. */
static void packed_push(struct fixture *f, uint16_t id, uint32_t len, uint32_t descs)
{
	struct packed_device *p = &f->packed;
	uint8_t *desc = f->desc + (size_t)p->used * 16;

	cvmm_put_le32(desc + 8, len);
	cvmm_put_le16(desc + 12, id);
	ring_store(desc, 14,
		   (uint16_t)((len ? CVMM_VIRTQ_DESC_F_WRITE : 0) |
			      (p->used_wrap ? PACKED_AVAIL | PACKED_USED : 0)),
		   __ATOMIC_RELEASE);
	packed_move(f, &p->used, &p->used_wrap, descs);
}

static bool device_pop(struct fixture *f, struct seen *seen)
{
	return f->config.packed ? packed_pop(f, seen) : split_pop(f, seen);
}

static void device_push(struct fixture *f, const struct seen *seen, uint32_t len)
{
	if (f->config.packed)
		packed_push(f, seen->id, len, seen->descs);
	else
		assert_int_equal(cvmm_virtq_push(&f->device.vq, seen->id, len), 0);
}

/* ---- buffers ------------------------------------------------------------------------------- */

/* A buffer with a number, of which everything follows. The number, plus one, is its token. */
static size_t make_buffer(uint32_t number, size_t pieces_max, struct cvmm_virtq_segment *segments,
			  size_t *ret_readable)
{
	uint64_t random = number * UINT64_C(0x9e3779b97f4a7c15) + 1;
	size_t i, count = 1 + number % pieces_max;

	test_random(&random);
	for (i = 0; i < count; i++)
		segments[i] = (struct cvmm_virtq_segment){
			{ BUFFERS + test_below(&random, 0x200000) },
			1 + test_below(&random, 0x1000),
		};
	*ret_readable = test_below(&random, (uint32_t)count + 1);
	return count;
}

static int add_numbered(struct fixture *f, uint32_t number, size_t pieces_max)
{
	struct cvmm_virtq_segment segments[SEGMENTS_MAX];
	size_t readable, count = make_buffer(number, pieces_max, segments, &readable);

	return cvmm_virtq_driver_add(&f->drv, segments, readable, count - readable,
				     (void *)(uintptr_t)(number + 1));
}

static void expect_seen(const struct seen *seen, uint32_t number, size_t pieces_max)
{
	struct cvmm_virtq_segment segments[SEGMENTS_MAX];
	size_t i, readable, count = make_buffer(number, pieces_max, segments, &readable);

	assert_int_equal(seen->readable, readable);
	assert_int_equal(seen->writable, count - readable);
	for (i = 0; i < count; i++) {
		assert_true(seen->segments[i].gpa.addr == segments[i].gpa.addr);
		assert_int_equal(seen->segments[i].len_bytes, segments[i].len_bytes);
	}
}

/* Adds a buffer of one segment that can be written, with the next number; not published. */
static void add_one(struct fixture *f, uint32_t len_bytes)
{
	const struct cvmm_virtq_segment segment = { { BUFFERS + f->fresh % 1024 }, len_bytes };

	assert_int_equal(
		cvmm_virtq_driver_add(&f->drv, &segment, 0, 1, (void *)(uintptr_t)++f->fresh), 0);
}

static void publish_some(struct fixture *f, uint32_t count)
{
	while (count--)
		add_one(f, 64);
	cvmm_virtq_driver_publish(&f->drv);
}

static void expect_taken(struct fixture *f, uintptr_t token, uint32_t want_len)
{
	void *got = NULL;
	uint32_t len = 0;

	assert_int_equal(cvmm_virtq_driver_take(&f->drv, &got, &len), 1);
	assert_int_equal((uintptr_t)got, token);
	assert_int_equal(len, want_len);
}

static void expect_nothing(struct fixture *f)
{
	int marker;
	void *token = &marker;
	uint32_t len = 77;

	assert_int_equal(cvmm_virtq_driver_take(&f->drv, &token, &len), 0);
	assert_ptr_equal(token, &marker);
	assert_int_equal(len, 77);
}

static void expect_broken(struct fixture *f, enum cvmm_virtq_driver_violation want)
{
	const struct cvmm_virtq_segment segment = { { BUFFERS }, 1 };
	uint32_t outstanding = cvmm_virtq_driver_outstanding(&f->drv), len = 77;
	int marker;
	void *token = &marker;

	assert_int_equal(cvmm_virtq_driver_take(&f->drv, &token, &len), -EPROTO);
	assert_int_equal(cvmm_virtq_driver_violation(&f->drv), want);
	assert_int_equal(cvmm_virtq_driver_take(&f->drv, &token, &len), -EPROTO);
	assert_ptr_equal(token, &marker);
	assert_int_equal(len, 77);
	assert_int_equal(cvmm_virtq_driver_add(&f->drv, &segment, 1, 0, NULL), -EPROTO);
	cvmm_virtq_driver_publish(&f->drv);
	assert_false(cvmm_virtq_driver_should_kick(&f->drv));
	assert_false(cvmm_virtq_driver_enable_interrupts(&f->drv));
	cvmm_virtq_driver_disable_interrupts(&f->drv);
	assert_int_equal(cvmm_virtq_driver_outstanding(&f->drv), outstanding);
}

/* ---- configuration ------------------------------------------------------------------------- */

static void layout_keeps_areas_apart_on_cache_lines_of_their_own(void **state)
{
	(void)state;
	for (uint32_t size = 1; size <= CVMM_VIRTQ_DRIVER_SIZE_MAX; size *= 2) {
		for (unsigned int features = 0; features < FEATURE_SETS; features++) {
			struct cvmm_virtq_driver_config c = {
				.size = (uint16_t)size,
				.packed = features & PACKED,
				.indirect = features & INDIRECT,
				.table_entries = 3,
			};
			uint64_t bytes, base = 0x10000;

			assert_int_equal(cvmm_virtq_driver_layout(&c, cvmm_gpa_from(base), &bytes),
					 0);
			assert_true(c.desc.addr == base);
			assert_true(c.driver_area.addr >= base + 16 * (uint64_t)size);
			assert_true(c.device_area.addr >=
				    c.driver_area.addr + (c.packed ? 4 : 6 + 2 * size));
			assert_true(c.tables.addr >=
				    c.device_area.addr + (c.packed ? 4 : 6 + 8 * size));
			assert_true(base + bytes >= c.tables.addr + c.tables_bytes);
			assert_true(c.tables_bytes == (c.indirect ? 3 * 16 * (uint64_t)size : 0));
			assert_int_equal(
				(c.driver_area.addr | c.device_area.addr | c.tables.addr | bytes) %
					64,
				0);
		}
	}
}

static void layout_refuses_what_no_ring_can_have(void **state)
{
	static const uint16_t bad[] = { 0, 3, 100, 32769, 65535 };
	const struct cvmm_virtq_driver_config good = { .size = 8 };
	struct cvmm_virtq_driver_config c;
	uint64_t bytes = 77;

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		c = (struct cvmm_virtq_driver_config){ .size = bad[i] };
		assert_int_equal(cvmm_virtq_driver_layout(&c, cvmm_gpa_from(0), &bytes), -EINVAL);
		c.packed = true;
		assert_int_equal(cvmm_virtq_driver_layout(&c, cvmm_gpa_from(0), &bytes),
				 bad[i] == 3 || bad[i] == 100 ? 0 : -EINVAL);
	}
	bytes = 77;
	c = good;
	assert_int_equal(cvmm_virtq_driver_layout(&c, cvmm_gpa_from(32), &bytes), -EINVAL);
	assert_int_equal(cvmm_virtq_driver_layout(&c, cvmm_gpa_from(UINT64_MAX - 63), &bytes),
			 -EINVAL);
	c.indirect = true;
	c.table_entries = CVMM_VIRTQ_DRIVER_TABLE_MAX + 1;
	assert_int_equal(cvmm_virtq_driver_layout(&c, cvmm_gpa_from(0), &bytes), -EINVAL);
	assert_int_equal(bytes, 77);
}

static void expect_init_refused(struct fixture *f, const struct cvmm_virtq_driver_config *config,
				const char *word)
{
	struct cvmm_virtq_driver drv = { .size = 0x5a };
	struct cvmm_error err = { 0 };

	assert_int_equal(cvmm_virtq_driver_init(&drv, f->device.mem, config, &err), -EINVAL);
	assert_int_equal(err.code, -EINVAL);
	assert_non_null(strstr(err.message, word));
	assert_int_equal(drv.size, 0x5a);
}

static void init_refuses_bad_sizes_and_tables(void **state)
{
	static const uint16_t bad[] = { 0, 6, 32769 };
	struct fixture *f = *state;
	struct cvmm_virtq_driver_config c;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		c = config_of(8, 0);
		c.size = bad[i];
		expect_init_refused(f, &c, "size");
	}
	c = config_of(8, INDIRECT);
	c.tables_bytes--;
	expect_init_refused(f, &c, "bytes");
	c = config_of(8, INDIRECT);
	c.table_entries = 0;
	expect_init_refused(f, &c, "descriptors");
	c.table_entries = CVMM_VIRTQ_DRIVER_TABLE_MAX + 1;
	expect_init_refused(f, &c, "descriptors");
	c = config_of(8, INDIRECT);
	c.tables.addr = TEST_RAM_END - 16;
	expect_init_refused(f, &c, "indirect tables");
}

static void init_refuses_misplaced_areas(void **state)
{
	static const char *const names[2][3] = {
		{ "descriptor table", "available ring", "used ring" },
		{ "descriptor ring", "driver event", "device event" },
	};
	struct fixture *f = *state;
	struct cvmm_virtq_driver_config c;
	cvmm_gpa *const areas[3] = { &c.desc, &c.driver_area, &c.device_area };

	for (unsigned int packed = 0; packed <= PACKED; packed++) {
		for (size_t i = 0; i < 3; i++) {
			c = config_of(8, packed);
			areas[i]->addr += 1;
			expect_init_refused(f, &c, names[packed][i]);
			areas[i]->addr = TEST_RAM_END;
			expect_init_refused(f, &c, names[packed][i]);
			areas[i]->addr = TEST_ROM;
			expect_init_refused(f, &c, names[packed][i]);
		}
		c = config_of(8, packed);
		c.desc.addr = TEST_SEAM - 16;
		expect_init_refused(f, &c, names[packed][0]);
	}
}

static void init_clears_the_rings(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_driver_config c;
	struct cvmm_virtq_driver drv;
	uint8_t *host = test_host(&f->device, 0, 0x1000);

	for (unsigned int packed = 0; packed <= PACKED; packed++) {
		c = config_of(8, packed);
		memset(host, 0xa5, 0x1000);
		assert_int_equal(cvmm_virtq_driver_init(&drv, f->device.mem, &c, NULL), 0);
		for (size_t i = 0; i < 8 * 16; i++)
			assert_int_equal(host[i], 0);
		for (size_t i = 0; i < (packed ? 4 : 6 + 2 * 8); i++)
			assert_int_equal(host[c.driver_area.addr + i], 0);
		for (size_t i = 0; i < (packed ? 4 : 6 + 8 * 8); i++)
			assert_int_equal(host[c.device_area.addr + i], 0);
		cvmm_virtq_driver_fini(&drv);
		cvmm_virtq_driver_fini(&drv);
	}
	cvmm_virtq_driver_fini(NULL);
}

/* ---- adding -------------------------------------------------------------------------------- */

static void add_refuses_lists_that_can_never_fit(void **state)
{
	struct cvmm_virtq_segment segments[9] = { { { BUFFERS }, 1 } };
	struct fixture *f = *state;

	for (unsigned int features = 0; features < FEATURE_SETS; features++) {
		start(f, 8, features);
		assert_int_equal(cvmm_virtq_driver_add(&f->drv, segments, 0, 0, f), -EINVAL);
		assert_int_equal(cvmm_virtq_driver_add(&f->drv, segments, 5, 4, f), -EINVAL);
		assert_int_equal(cvmm_virtq_driver_add(&f->drv, segments, SIZE_MAX, 2, f), -EINVAL);
		assert_int_equal(cvmm_virtq_driver_room(&f->drv), 8);
		assert_int_equal(cvmm_virtq_driver_add(&f->drv, segments, 4, 4, f), 0);
		assert_int_equal(cvmm_virtq_driver_room(&f->drv), 0);
	}
}

static void add_refuses_more_than_4_gib(void **state)
{
	struct cvmm_virtq_segment segments[3] = { { { 0 }, UINT32_MAX },
						  { { 0 }, 1 },
						  { { 0 }, 1 } };
	struct fixture *f = *state;

	start(f, 8, 0);
	assert_int_equal(cvmm_virtq_driver_add(&f->drv, segments, 1, 2, f), -EINVAL);
	assert_int_equal(cvmm_virtq_driver_add(&f->drv, segments, 0, 2, f), 0);
	cvmm_virtq_driver_publish(&f->drv);
	cvmm_put_le32(f->device_area + USED_RING, 0);
	cvmm_put_le32(f->device_area + USED_RING + 4, UINT32_MAX);
	ring_store(f->device_area, USED_IDX, 1, __ATOMIC_RELEASE);
	expect_taken(f, (uintptr_t)f, UINT32_MAX);
}

static void add_says_when_there_is_no_room_at_present(void **state)
{
	struct cvmm_virtq_segment segments[2] = { { { BUFFERS }, 1 }, { { BUFFERS }, 1 } };
	struct fixture *f = *state;
	struct seen seen;

	for (unsigned int features = 0; features < FEATURE_SETS; features++) {
		start(f, 4, features);
		publish_some(f, 3);
		if (!f->config.indirect)
			assert_int_equal(cvmm_virtq_driver_add(&f->drv, segments, 1, 1, f),
					 -ENOSPC);
		assert_int_equal(cvmm_virtq_driver_add(&f->drv, segments, 1, 0, f), 0);
		assert_int_equal(cvmm_virtq_driver_add(&f->drv, segments, 1, 0, f), -ENOSPC);
		assert_int_equal(cvmm_virtq_driver_outstanding(&f->drv), 4);
		assert_true(device_pop(f, &seen));
		device_push(f, &seen, 0);
		expect_taken(f, 1, 0);
		assert_int_equal(cvmm_virtq_driver_add(&f->drv, segments, 1, 0, f), 0);
	}
}

static void what_is_added_is_invisible_until_published(void **state)
{
	struct fixture *f = *state;
	struct seen seen;

	for (unsigned int features = 0; features < FEATURE_SETS; features++) {
		start(f, 8, features);
		for (uint32_t turn = 0; turn < 10; turn++) {
			for (uint32_t i = 0; i < 3; i++)
				assert_int_equal(add_numbered(f, i, 2), 0);
			assert_false(device_pop(f, &seen));
			assert_false(cvmm_virtq_driver_should_kick(&f->drv));
			cvmm_virtq_driver_publish(&f->drv);
			for (uint32_t i = 0; i < 3; i++) {
				assert_true(device_pop(f, &seen));
				expect_seen(&seen, i, 2);
				device_push(f, &seen, 0);
				expect_taken(f, i + 1, 0);
			}
			cvmm_virtq_driver_publish(&f->drv);
			assert_false(device_pop(f, &seen));
			cvmm_virtq_driver_should_kick(&f->drv);
		}
	}
}

/* Whatever the device sees of a packed ring, it meets the first flags first, and they are last. */
static void packed_publish_writes_only_the_flags_of_the_first_descriptor(void **state)
{
	uint8_t before[8 * 16];
	struct fixture *f = *state;

	start(f, 8, PACKED);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(add_numbered(f, i, 3), 0);
	memcpy(before, f->desc, sizeof(before));
	assert_int_equal(cvmm_get_le16(f->desc + 14), 0);
	for (size_t i = 1; i < 6; i++)
		assert_true(cvmm_get_le16(f->desc + i * 16 + 14) & PACKED_AVAIL);
	cvmm_virtq_driver_publish(&f->drv);
	assert_true(cvmm_get_le16(f->desc + 14) & PACKED_AVAIL);
	cvmm_put_le16(f->desc + 14, 0);
	assert_memory_equal(before, f->desc, sizeof(before));
}

static void indirect_tables_take_one_entry_of_the_ring(void **state)
{
	struct fixture *f = *state;
	struct seen seen;

	for (unsigned int packed = 0; packed <= PACKED; packed++) {
		uint32_t flags_at = packed ? 14 : 12;

		start(f, 8, INDIRECT | packed);
		assert_int_equal(add_numbered(f, 3, 4), 0);
		assert_int_equal(cvmm_virtq_driver_room(&f->drv), 7);
		cvmm_virtq_driver_publish(&f->drv);
		assert_true(cvmm_get_le64(f->desc) == f->config.tables.addr);
		assert_int_equal(cvmm_get_le32(f->desc + 8), 4 * 16);
		assert_int_equal(cvmm_get_le16(f->desc + flags_at) & 7, CVMM_VIRTQ_DESC_F_INDIRECT);
		assert_true(device_pop(f, &seen));
		expect_seen(&seen, 3, 4);
		/* One segment needs no table, and five do not fit one. */
		assert_int_equal(add_numbered(f, 0, 5), 0);
		assert_int_equal(cvmm_virtq_driver_room(&f->drv), 6);
		assert_int_equal(add_numbered(f, 4, 5), 0);
		assert_int_equal(cvmm_virtq_driver_room(&f->drv), 1);
	}
}

/* In a packed table all flags but WRITE are reserved (2.8.19). */
static void packed_tables_have_no_flag_but_write(void **state)
{
	struct fixture *f = *state;
	const uint8_t *table;

	start(f, 8, PACKED | INDIRECT);
	for (uint32_t number = 0; number < 8; number++)
		assert_int_equal(add_numbered(f, number, 4), 0);
	table = test_host(&f->device, f->config.tables.addr, 8 * TABLE_ENTRIES * 16);
	for (size_t i = 0; i < 8 * TABLE_ENTRIES; i++) {
		assert_int_equal(cvmm_get_le16(table + i * 16 + 14) & ~CVMM_VIRTQ_DESC_F_WRITE, 0);
		assert_int_equal(cvmm_get_le16(table + i * 16 + 12), 0);
	}
}

static void used_packed_descriptors_without_the_write_flag_have_no_length(void **state)
{
	struct fixture *f = *state;

	start(f, 3, PACKED);
	publish_some(f, 1);
	packed_push(f, 0, 64, 1);
	cvmm_put_le16(f->desc + 14, PACKED_AVAIL | PACKED_USED);
	cvmm_put_le32(f->desc + 8, UINT32_MAX);
	expect_taken(f, 1, 0);
}

/* ---- kicks --------------------------------------------------------------------------------- */

static void kicks_heed_the_flags_of_split_rings(void **state)
{
	struct fixture *f = *state;

	start(f, 8, 0);
	assert_false(cvmm_virtq_driver_should_kick(&f->drv));
	publish_some(f, 2);
	assert_true(cvmm_virtq_driver_should_kick(&f->drv));
	assert_false(cvmm_virtq_driver_should_kick(&f->drv));
	cvmm_virtq_disable_notifications(&f->device.vq);
	publish_some(f, 1);
	assert_false(cvmm_virtq_driver_should_kick(&f->drv));
	assert_true(cvmm_virtq_enable_notifications(&f->device.vq));
	publish_some(f, 1);
	assert_true(cvmm_virtq_driver_should_kick(&f->drv));
	/* 2.7.10.1: without EVENT_IDX the index means nothing, with it the flags mean nothing. */
	ring_store(f->device_area, used_entry_at(8), 99, __ATOMIC_RELAXED);
	publish_some(f, 1);
	assert_true(cvmm_virtq_driver_should_kick(&f->drv));
	start(f, 8, EVENT_IDX);
	ring_store(f->device_area, USED_FLAGS, 1, __ATOMIC_RELAXED);
	publish_some(f, 1);
	assert_true(cvmm_virtq_driver_should_kick(&f->drv));
}

/* Uses and takes all that is out. */
static void drain(struct fixture *f)
{
	struct seen seen;
	void *token;
	uint32_t len;

	while (device_pop(f, &seen))
		device_push(f, &seen, 0);
	while (cvmm_virtq_driver_take(&f->drv, &token, &len) > 0)
		;
}

/* The rule of 2.7.10 as it is written: for each entry by itself. */
static void kicks_with_event_idx_follow_the_rule_for_each_entry(void **state)
{
	struct fixture *f = *state;
	uint16_t index = 0;
	uint64_t random = 5;
	bool is_wanted;

	start(f, 8, EVENT_IDX);
	for (uint32_t round = 0; round < 40000; round++) {
		uint16_t event = (uint16_t)(index - 10 + test_below(&random, 30));
		uint32_t count = 1 + test_below(&random, 8);

		is_wanted = false;
		for (uint32_t i = 0; i < count; i++)
			is_wanted |= index++ == event;
		ring_store(f->device_area, used_entry_at(8), event, __ATOMIC_RELAXED);
		publish_some(f, count);
		assert_int_equal(cvmm_virtq_driver_should_kick(&f->drv), is_wanted);
		drain(f);
	}
}

static void packed_event(struct fixture *f, uint32_t offset, bool wrap, uint16_t flags)
{
	cvmm_put_le16(f->device_area, (uint16_t)(offset | (wrap ? 0x8000U : 0)));
	cvmm_put_le16(f->device_area + 2, flags);
}

/* The rule of 2.8.10 as it is written: for each descriptor by itself. */
static void packed_kicks_follow_the_rule_for_each_descriptor(void **state)
{
	static const uint16_t sizes[] = { 1, 2, 3, 5, 8 };
	struct fixture *f = *state;

	for (size_t s = 0; s < CVMM_ARRAY_SIZE(sizes); s++) {
		uint32_t size = sizes[s], offset = 0;
		bool wrap = true;

		start(f, sizes[s], PACKED | EVENT_IDX);
		/* Twice around, all counts, and all events that there are. */
		for (uint32_t round = 0; round < 4 * size * size * size; round++) {
			uint32_t count = 1 + round % size, event = round / size % size;
			bool event_wrap = round / size / size & 1, is_wanted = false;

			packed_event(f, event, event_wrap, 2);
			for (uint32_t i = 0; i < count; i++) {
				is_wanted |= offset == event && wrap == event_wrap;
				packed_move(f, &offset, &wrap, 1);
			}
			publish_some(f, count);
			assert_int_equal(cvmm_virtq_driver_should_kick(&f->drv), is_wanted);
			drain(f);
		}
	}
}

/* An event in the middle of a chain is passed with the chain. */
static void packed_kicks_count_descriptors_and_not_buffers(void **state)
{
	struct fixture *f = *state;

	for (uint32_t event = 0; event < 8; event++) {
		start(f, 8, PACKED | EVENT_IDX);
		packed_event(f, event, true, 2);
		assert_int_equal(add_numbered(f, 3, 4), 0);
		cvmm_virtq_driver_publish(&f->drv);
		assert_int_equal(cvmm_virtq_driver_should_kick(&f->drv), event < 4);
	}
}

static void packed_kicks_heed_the_flags_and_doubt_nonsense(void **state)
{
	static const struct {
		uint16_t offset;
		uint16_t flags;
		bool event_idx;
		bool is_wanted;
	} cases[] = {
		{ 0, 0, false, true },	   { 0, 1, false, false },     { 5, 0, true, true },
		{ 0, 1, true, false },	   { 0, 0xfffd, true, false }, /* reserved bits */
		{ 0, 3, true, true },	   { 5, 2, true, false },      { 8, 2, true, true },
		{ 0x7fff, 2, true, true }, { 5, 2, false, true }, /* not negotiated */
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(cases); i++) {
		start(f, 8, PACKED | (cases[i].event_idx ? EVENT_IDX : 0));
		packed_event(f, cases[i].offset, true, cases[i].flags);
		publish_some(f, 2);
		assert_int_equal(cvmm_virtq_driver_should_kick(&f->drv), cases[i].is_wanted);
	}
}

/* Whoever published that much without a decision owes a kick, whatever the index says. */
static void a_whole_turn_of_the_index_without_a_decision_is_a_kick(void **state)
{
	struct fixture *f = *state;

	for (unsigned int packed = 0; packed <= PACKED; packed++) {
		start(f, 8, EVENT_IDX | packed);
		for (uint32_t i = 0; i < 65536 / 8; i++) {
			publish_some(f, 8);
			drain(f);
		}
		if (packed)
			packed_event(f, 7, true, 2);
		else
			ring_store(f->device_area, used_entry_at(8), 12345, __ATOMIC_RELAXED);
		assert_true(cvmm_virtq_driver_should_kick(&f->drv));
		f->drv.unsignalled = UINT32_MAX; /* must not wrap */
		publish_some(f, 1);
		assert_true(cvmm_virtq_driver_should_kick(&f->drv));
	}
}

static void notification_data_says_where_the_next_buffer_will_be(void **state)
{
	struct fixture *f = *state;
	uint32_t offset = 0, index = 0;
	bool wrap = true;

	start(f, 8, 0);
	for (; index < 0x10010; index += 8) {
		assert_int_equal(cvmm_virtq_driver_notification_data(&f->drv, 0x1234),
				 index << 16 | 0x1234);
		publish_some(f, 8);
		drain(f);
	}
	start(f, 5, PACKED);
	for (index = 0; index < 100; index++) {
		uint32_t next = offset | (wrap ? 0x8000U : 0);

		assert_true(cvmm_virtq_driver_notification_data(&f->drv, 3) == (next << 16 | 3));
		add_one(f, 1); /* is not available yet */
		assert_true(cvmm_virtq_driver_notification_data(&f->drv, 3) == (next << 16 | 3));
		publish_some(f, 1);
		packed_move(f, &offset, &wrap, 2);
		drain(f);
	}
}

/* ---- interrupts ---------------------------------------------------------------------------- */

static void one_is_used(struct fixture *f)
{
	struct seen seen;

	assert_true(device_pop(f, &seen));
	device_push(f, &seen, 0);
}

static void split_devices_understand_the_wish_for_interrupts(void **state)
{
	struct fixture *f = *state;

	for (unsigned int features = 0; features <= EVENT_IDX; features += EVENT_IDX) {
		uintptr_t token = 0;

		start(f, 8, features);
		for (uint32_t turn = 0; turn < 10; turn++) {
			publish_some(f, 4);
			assert_false(cvmm_virtq_driver_enable_interrupts(&f->drv));
			one_is_used(f);
			assert_true(cvmm_virtq_should_notify(&f->device.vq));
			assert_true(cvmm_virtq_driver_enable_interrupts(&f->drv));
			cvmm_virtq_driver_disable_interrupts(&f->drv);
			one_is_used(f);
			assert_false(cvmm_virtq_should_notify(&f->device.vq));
			one_is_used(f);
			assert_false(cvmm_virtq_should_notify(&f->device.vq));
			for (uint32_t i = 0; i < 3; i++)
				expect_taken(f, ++token, 0);
			assert_false(cvmm_virtq_driver_enable_interrupts(&f->drv));
			one_is_used(f);
			assert_true(cvmm_virtq_should_notify(&f->device.vq));
			expect_taken(f, ++token, 0);
		}
	}
}

static void a_wish_for_interrupts_can_be_taken_back(void **state)
{
	struct fixture *f = *state;

	for (unsigned int features = 0; features <= EVENT_IDX; features += EVENT_IDX) {
		start(f, 8, features);
		publish_some(f, 1);
		assert_false(cvmm_virtq_driver_enable_interrupts(&f->drv));
		cvmm_virtq_driver_disable_interrupts(&f->drv);
		one_is_used(f);
		assert_false(cvmm_virtq_should_notify(&f->device.vq));
	}
}

static void interrupts_are_enabled_at_first(void **state)
{
	struct fixture *f = *state;

	for (unsigned int features = 0; features <= EVENT_IDX; features += EVENT_IDX) {
		start(f, 8, features);
		publish_some(f, 1);
		one_is_used(f);
		assert_true(cvmm_virtq_should_notify(&f->device.vq));
	}
}

/* 2.7.7.1: with EVENT_IDX the driver MUST set flags to 0. */
static void split_flags_stay_0_with_event_idx(void **state)
{
	struct fixture *f = *state;

	start(f, 8, EVENT_IDX);
	cvmm_virtq_driver_disable_interrupts(&f->drv);
	assert_int_equal(cvmm_get_le16(f->driver_area), 0);
	start(f, 8, 0);
	cvmm_virtq_driver_disable_interrupts(&f->drv);
	assert_int_equal(cvmm_get_le16(f->driver_area), 1);
}

static void packed_event_structures_say_which_descriptor_interrupts(void **state)
{
	struct fixture *f = *state;
	uint32_t offset = 0;
	bool wrap = true;

	start(f, 5, PACKED);
	assert_int_equal(cvmm_get_le32(f->driver_area), 0);
	cvmm_virtq_driver_disable_interrupts(&f->drv);
	assert_int_equal(cvmm_get_le16(f->driver_area + 2), 1);
	assert_false(cvmm_virtq_driver_enable_interrupts(&f->drv));
	assert_int_equal(cvmm_get_le32(f->driver_area), 0);

	start(f, 5, PACKED | EVENT_IDX);
	for (uint32_t turn = 0; turn < 20; turn++) {
		cvmm_virtq_driver_disable_interrupts(&f->drv);
		assert_int_equal(cvmm_get_le16(f->driver_area + 2), 1);
		publish_some(f, 3);
		assert_false(cvmm_virtq_driver_enable_interrupts(&f->drv));
		assert_int_equal(cvmm_get_le16(f->driver_area), offset | (wrap ? 0x8000U : 0));
		assert_int_equal(cvmm_get_le16(f->driver_area + 2), 2);
		one_is_used(f);
		assert_true(cvmm_virtq_driver_enable_interrupts(&f->drv));
		drain(f);
		packed_move(f, &offset, &wrap, 3);
	}
}

/* ---- honest traffic ------------------------------------------------------------------------ */

/* What goes wrong only after many turns needs many buffers; but large rings are turned in bulk. */
static void traffic(struct fixture *f, uint16_t size, unsigned int features, uint32_t buffers,
		    bool is_shuffled)
{
	static struct seen held[CVMM_VIRTQ_SIZE_MAX + 1]; /* one to find that there is none */
	size_t pieces_max = size < TABLE_ENTRIES ? size : TABLE_ENTRIES;
	uint32_t sent = 0, served = 0, taken = 0, count = 0, len, before, i;
	uint64_t random = size + features + 1;
	struct cvmm_virtq_segment unused[SEGMENTS_MAX];
	size_t readable;
	void *token;
	int ret;

	start(f, size, features);
	while (taken < buffers) {
		before = sent;
		for (i = 1 + test_below(&random, size); i && sent < buffers; i--, sent++) {
			ret = add_numbered(f, sent, pieces_max);
			if (ret == -ENOSPC)
				break;
			assert_int_equal(ret, 0);
		}
		if (sent > before) {
			cvmm_virtq_driver_publish(&f->drv);
			cvmm_virtq_driver_should_kick(&f->drv);
		}
		while (device_pop(f, &held[count]))
			expect_seen(&held[count++], served++, pieces_max);
		assert_int_equal(served, sent);
		/* Some may stay; of those that go, the order is any unless it is fixed. */
		for (i = 0; i < count; i++) {
			uint32_t pick = i + (is_shuffled ? test_below(&random, count - i) : 0);
			struct seen one = held[pick];

			if (i && !test_below(&random, 2 * size))
				break;
			held[pick] = held[i];
			device_push(f, &one, one.writable_bytes / 2);
		}
		memmove(held, held + i, (count - i) * sizeof(held[0]));
		count -= i;
		while ((ret = cvmm_virtq_driver_take(&f->drv, &token, &len)) > 0) {
			uint32_t number = (uint32_t)(uintptr_t)token - 1, writable = 0;
			size_t n = make_buffer(number, pieces_max, unused, &readable);

			if (!is_shuffled)
				assert_int_equal(number, taken);
			for (; readable < n; readable++)
				writable += unused[readable].len_bytes;
			assert_int_equal(len, writable / 2);
			taken++;
		}
		assert_int_equal(ret, 0);
		assert_int_equal(cvmm_virtq_driver_outstanding(&f->drv), count);
	}
	assert_int_equal(cvmm_virtq_driver_room(&f->drv), size);
}

static uint32_t buffers_for(uint32_t size)
{
	return size < 64 ? 3000 : 5 * size;
}

static void split_rings_of_every_size_carry_traffic(void **state)
{
	for (uint32_t size = 1; size <= CVMM_VIRTQ_DRIVER_SIZE_MAX; size *= 2)
		for (unsigned int features = 0; features < FEATURE_SETS; features += 2)
			traffic(*state, (uint16_t)size, features, buffers_for(size), false);
}

static void split_indices_wrap_under_traffic(void **state)
{
	traffic(*state, 8, EVENT_IDX, 150000, false);
	traffic(*state, 256, INDIRECT, 150000, true);
}

static void packed_rings_of_every_kind_of_size_carry_traffic(void **state)
{
	static const uint16_t sizes[] = { 1,	2,    3,     4,	    5,	   6,	 7,    8,
					  9,	13,   100,   255,   256,   257,	 1000, 1023,
					  1024, 4097, 12345, 16384, 32767, 32768 };

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(sizes); i++)
		for (unsigned int features = PACKED; features < FEATURE_SETS; features += 2)
			traffic(*state, sizes[i], features, buffers_for(sizes[i]), false);
}

static void devices_may_use_buffers_in_any_order(void **state)
{
	static const uint16_t sizes[] = { 2, 8, 64, 1024 };

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(sizes); i++)
		for (unsigned int features = 0; features < IN_ORDER; features++)
			traffic(*state, sizes[i], features, 10000, true);
	traffic(*state, 7, PACKED, 10000, true);
	traffic(*state, 1000, PACKED | INDIRECT, 10000, true);
}

/* ---- batches of in-order devices ----------------------------------------------------------- */

/* Writes a used element of a split ring, at an index. */
static void split_claims(struct fixture *f, uint16_t at, uint32_t id, uint32_t len)
{
	uint8_t *element = f->device_area + used_entry_at(at & (f->config.size - 1U));

	cvmm_put_le32(element, id);
	cvmm_put_le32(element + 4, len);
}

static void split_says_used(struct fixture *f, uint16_t idx)
{
	ring_store(f->device_area, USED_IDX, idx, __ATOMIC_RELEASE);
}

static void skipped_buffers_of_a_batch_count_as_used_completely(void **state)
{
	struct fixture *f = *state;
	uint32_t turn, i;

	for (unsigned int packed = 0; packed <= PACKED; packed++) {
		start(f, 8, IN_ORDER | packed);
		for (turn = 0; turn < 30; turn++) {
			uintptr_t first = f->fresh + 1;

			publish_some(f, 7);
			/* Three at once, then four; ids and heads are in the order of the ring. */
			if (packed) {
				packed_push(f, f->drv.order[(first + 1) % 8], 5, 3);
				packed_push(f, f->drv.order[(first + 5) % 8], 6, 4);
			} else {
				split_claims(f, (uint16_t)(turn * 7), (turn * 7 + 2) % 8, 5);
				split_claims(f, (uint16_t)(turn * 7 + 3), (turn * 7 + 6) % 8, 6);
				split_says_used(f, (uint16_t)(turn * 7 + 7));
			}
			for (i = 0; i < 7; i++) {
				assert_true(cvmm_virtq_driver_enable_interrupts(&f->drv));
				expect_taken(f, first + i, i == 2 ? 5 : i == 6 ? 6 : 64);
			}
			assert_false(cvmm_virtq_driver_enable_interrupts(&f->drv));
			expect_nothing(f);
		}
	}
}

/* A batch whose buffers have several descriptors each: the next used one is behind all of them. */
static void packed_batches_skip_all_descriptors_of_their_buffers(void **state)
{
	struct fixture *f = *state;
	struct seen seen[3];
	uint32_t turn, i, descs;

	start(f, 7, PACKED | IN_ORDER);
	for (turn = 0; turn < 50; turn++) {
		descs = 0;
		for (i = 0; i < 3; i++)
			assert_int_equal(add_numbered(f, i, 3), 0); /* 1, 2, 3 pieces */
		cvmm_virtq_driver_publish(&f->drv);
		for (i = 0; i < 3; i++) {
			assert_true(device_pop(f, &seen[i]));
			expect_seen(&seen[i], i, 3);
			descs += seen[i].descs;
		}
		packed_push(f, seen[2].id, 0, descs);
		expect_taken(f, 1, seen[0].writable_bytes);
		expect_taken(f, 2, seen[1].writable_bytes);
		expect_taken(f, 3, 0);
		expect_nothing(f);
	}
}

static void split_chains_in_order_use_descriptors_in_ring_order(void **state)
{
	struct fixture *f = *state;
	uint32_t turn, at = 0, i;
	struct seen seen;

	start(f, 8, IN_ORDER);
	for (turn = 0; turn < 50; turn++) {
		assert_int_equal(add_numbered(f, turn, 4), 0);
		cvmm_virtq_driver_publish(&f->drv);
		assert_true(device_pop(f, &seen));
		expect_seen(&seen, turn, 4);
		assert_int_equal(seen.id, at);
		for (i = 0; i < 1 + turn % 4; i++, at = (at + 1) % 8) {
			const uint8_t *desc = f->desc + (size_t)at * 16;

			if (cvmm_get_le16(desc + 12) & CVMM_VIRTQ_DESC_F_NEXT)
				assert_int_equal(cvmm_get_le16(desc + 14), (at + 1) % 8);
		}
		device_push(f, &seen, 0);
		expect_taken(f, turn + 1, 0);
	}
}

/* ---- hostile devices ----------------------------------------------------------------------- */

/* A used element as a hostile device writes it, in either format. */
static void claim(struct fixture *f, uint16_t at, uint32_t id, uint32_t len)
{
	if (f->config.packed) {
		packed_push(f, (uint16_t)id, len, 1);
		return;
	}
	split_claims(f, at, id, len);
	split_says_used(f, (uint16_t)(at + 1));
}

static void used_index_ahead_of_what_is_outstanding_breaks(void **state)
{
	static const uint16_t bad[] = { 3, 9, 0x8000, 0xffff };
	struct fixture *f = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		start(f, 8, 0);
		publish_some(f, 2);
		add_one(f, 64); /* not published: does not count */
		split_says_used(f, bad[i]);
		expect_broken(f, CVMM_VIRTQ_DRIVER_BAD_USED_INDEX);
	}
}

static void used_index_that_goes_back_breaks(void **state)
{
	struct fixture *f = *state;

	start(f, 8, 0);
	publish_some(f, 4);
	split_claims(f, 0, 0, 1);
	split_claims(f, 1, 1, 64);
	split_says_used(f, 2);
	expect_taken(f, 1, 1);
	expect_taken(f, 2, 64);
	expect_nothing(f);
	split_says_used(f, 1);
	expect_broken(f, CVMM_VIRTQ_DRIVER_BAD_USED_INDEX);
}

static void ids_outside_the_ring_break(void **state)
{
	static const uint32_t bad[] = { 8, 0x8000, 0xffff, 0x10000, 0x80000000, UINT32_MAX };
	struct fixture *f = *state;

	for (unsigned int features = 0; features < FEATURE_SETS; features++) {
		for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
			if (features & PACKED && bad[i] > UINT16_MAX)
				continue; /* it has no room for that */
			start(f, 8, features);
			publish_some(f, 2);
			claim(f, 0, bad[i], 0);
			expect_broken(f, CVMM_VIRTQ_DRIVER_BAD_ID);
		}
	}
}

static void ids_that_were_never_added_break(void **state)
{
	struct fixture *f = *state;

	for (unsigned int features = 0; features < FEATURE_SETS; features++) {
		start(f, 8, features);
		publish_some(f, 2);
		claim(f, 0, 2, 0);
		expect_broken(f, CVMM_VIRTQ_DRIVER_NOT_IN_FLIGHT);
	}
}

static void ids_that_were_not_published_break(void **state)
{
	struct fixture *f = *state;

	for (unsigned int features = 0; features < FEATURE_SETS; features++) {
		start(f, 8, features);
		publish_some(f, 2);
		add_one(f, 64);
		claim(f, 0, 2, 0);
		expect_broken(f, CVMM_VIRTQ_DRIVER_NOT_IN_FLIGHT);
	}
}

static void ids_that_are_used_twice_break(void **state)
{
	struct fixture *f = *state;

	for (unsigned int features = 0; features < FEATURE_SETS; features++) {
		start(f, 8, features);
		publish_some(f, 2);
		claim(f, 0, 0, 0);
		expect_taken(f, 1, 0);
		claim(f, 1, 0, 0);
		expect_broken(f, CVMM_VIRTQ_DRIVER_NOT_IN_FLIGHT);
	}
}

/* A split device that has nothing cannot even say so: its index would be ahead. */
static void packed_descriptors_used_out_of_nothing_break(void **state)
{
	struct fixture *f = *state;

	start(f, 5, PACKED);
	claim(f, 0, 0, 0);
	assert_true(cvmm_virtq_driver_enable_interrupts(&f->drv));
	expect_broken(f, CVMM_VIRTQ_DRIVER_NOT_IN_FLIGHT);
}

/* The middle of a chain is no head: only the id that the chain began with names it. */
static void split_ids_in_the_middle_of_a_chain_break(void **state)
{
	const struct cvmm_virtq_segment segments[3] = { { { BUFFERS }, 8 },
							{ { BUFFERS }, 8 },
							{ { BUFFERS }, 8 } };
	struct fixture *f = *state;

	start(f, 8, 0);
	assert_int_equal(cvmm_virtq_driver_add(&f->drv, segments, 0, 3, f), 0);
	cvmm_virtq_driver_publish(&f->drv);
	claim(f, 0, 1, 0);
	expect_broken(f, CVMM_VIRTQ_DRIVER_NOT_IN_FLIGHT);
}

static void lengths_above_what_is_writable_break(void **state)
{
	static const uint32_t bad[] = { 65, 4096, UINT32_MAX };
	struct fixture *f = *state;

	for (unsigned int features = 0; features < FEATURE_SETS; features++) {
		for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
			start(f, 8, features);
			publish_some(f, 2);
			claim(f, 0, 0, 64);
			expect_taken(f, 1, 64);
			claim(f, 1, 1, bad[i]);
			expect_broken(f, CVMM_VIRTQ_DRIVER_BAD_LENGTH);
		}
	}
}

static void readable_bytes_are_not_writable(void **state)
{
	const struct cvmm_virtq_segment segments[2] = { { { BUFFERS }, 100 }, { { BUFFERS }, 1 } };
	struct fixture *f = *state;

	for (unsigned int features = 0; features < FEATURE_SETS; features++) {
		start(f, 8, features);
		assert_int_equal(cvmm_virtq_driver_add(&f->drv, segments, 1, 1, f), 0);
		cvmm_virtq_driver_publish(&f->drv);
		claim(f, 0, 0, 2);
		expect_broken(f, CVMM_VIRTQ_DRIVER_BAD_LENGTH);
	}
}

static void split_buffers_used_before_their_turn_break(void **state)
{
	struct fixture *f = *state;

	start(f, 8, IN_ORDER);
	publish_some(f, 4);
	split_claims(f, 0, 2, 0); /* the third, but used.idx says that one is used */
	split_says_used(f, 1);
	expect_broken(f, CVMM_VIRTQ_DRIVER_BAD_ORDER);
}

/* What the driver knows of its rings does not lie in them. */
static void devices_that_overwrite_descriptors_confuse_only_themselves(void **state)
{
	struct fixture *f = *state;
	struct seen seen[4];
	uint32_t turn, i;

	start(f, 8, 0);
	for (turn = 0; turn < 20; turn++) {
		for (i = 0; i < 4; i++)
			assert_int_equal(add_numbered(f, 1, 2), 0);
		cvmm_virtq_driver_publish(&f->drv);
		for (i = 0; i < 4; i++) {
			assert_true(device_pop(f, &seen[i]));
			expect_seen(&seen[i], 1, 2);
		}
		memset(f->desc, (int)turn * 7, 8 * 16);
		for (i = 0; i < 4; i++)
			device_push(f, &seen[(i + turn) % 4], 0);
		for (i = 0; i < 4; i++)
			expect_taken(f, 2, 0);
		assert_int_equal(cvmm_virtq_driver_room(&f->drv), 8);
	}
}

/* Takes until nothing is left or the ring breaks: each token is one that is out, and comes once. */
static void take_all(struct fixture *f, bool *is_out, uint32_t tokens)
{
	void *token;
	uint32_t len;

	while (cvmm_virtq_driver_take(&f->drv, &token, &len) > 0) {
		uintptr_t number = (uintptr_t)token;

		assert_true(number >= 1 && number <= tokens);
		assert_true(is_out[number - 1]);
		assert_true(len <= 64);
		is_out[number - 1] = false;
	}
}

static void devices_that_write_anything_get_no_buffer_twice(void **state)
{
	static bool is_out[256];
	struct fixture *f = *state;
	uint64_t random = 99;
	uint32_t round, i, size, broken = 0;

	for (round = 0; round < 20000; round++) {
		unsigned int features = test_below(&random, FEATURE_SETS);

		size = 1U << test_below(&random, 4);
		start(f, (uint16_t)size, features);
		memset(is_out, 0, sizeof(is_out));
		while (f->fresh < 200 && !cvmm_virtq_driver_violation(&f->drv)) {
			uint32_t area = f->config.packed ? 4 : 6 + 8 * size;

			while (cvmm_virtq_driver_room(&f->drv) && test_below(&random, 4)) {
				is_out[f->fresh] = true;
				add_one(f, 64);
			}
			cvmm_virtq_driver_publish(&f->drv);
			/* Small numbers, so that much of it is believed. */
			for (i = 0; i < 3; i++) {
				f->device_area[test_below(&random, area)] =
					(uint8_t)test_below(&random, size + 1);
				if (f->config.packed)
					f->desc[test_below(&random, 16 * size)] =
						(uint8_t)test_random(&random);
			}
			cvmm_virtq_driver_should_kick(&f->drv);
			cvmm_virtq_driver_enable_interrupts(&f->drv);
			take_all(f, is_out, f->fresh);
			if (!test_below(&random, 16))
				break;
		}
		broken += cvmm_virtq_driver_violation(&f->drv) != CVMM_VIRTQ_DRIVER_OK;
	}
	assert_true(broken > 1000 && broken < round);
}

static void every_violation_has_a_name(void **state)
{
	(void)state;
	for (unsigned int i = 0; i <= CVMM_VIRTQ_DRIVER_VIOLATION_COUNT; i++)
		assert_non_null(
			cvmm_virtq_driver_violation_name((enum cvmm_virtq_driver_violation)i));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(layout_keeps_areas_apart_on_cache_lines_of_their_own),
		TEST(layout_refuses_what_no_ring_can_have),
		TEST(init_refuses_bad_sizes_and_tables),
		TEST(init_refuses_misplaced_areas),
		TEST(init_clears_the_rings),
		TEST(add_refuses_lists_that_can_never_fit),
		TEST(add_refuses_more_than_4_gib),
		TEST(add_says_when_there_is_no_room_at_present),
		TEST(what_is_added_is_invisible_until_published),
		TEST(packed_publish_writes_only_the_flags_of_the_first_descriptor),
		TEST(indirect_tables_take_one_entry_of_the_ring),
		TEST(packed_tables_have_no_flag_but_write),
		TEST(used_packed_descriptors_without_the_write_flag_have_no_length),
		TEST(kicks_heed_the_flags_of_split_rings),
		TEST(kicks_with_event_idx_follow_the_rule_for_each_entry),
		TEST(packed_kicks_follow_the_rule_for_each_descriptor),
		TEST(packed_kicks_count_descriptors_and_not_buffers),
		TEST(packed_kicks_heed_the_flags_and_doubt_nonsense),
		TEST(a_whole_turn_of_the_index_without_a_decision_is_a_kick),
		TEST(notification_data_says_where_the_next_buffer_will_be),
		TEST(split_devices_understand_the_wish_for_interrupts),
		TEST(a_wish_for_interrupts_can_be_taken_back),
		TEST(interrupts_are_enabled_at_first),
		TEST(split_flags_stay_0_with_event_idx),
		TEST(packed_event_structures_say_which_descriptor_interrupts),
		TEST(split_rings_of_every_size_carry_traffic),
		TEST(split_indices_wrap_under_traffic),
		TEST(packed_rings_of_every_kind_of_size_carry_traffic),
		TEST(devices_may_use_buffers_in_any_order),
		TEST(skipped_buffers_of_a_batch_count_as_used_completely),
		TEST(packed_batches_skip_all_descriptors_of_their_buffers),
		TEST(split_chains_in_order_use_descriptors_in_ring_order),
		TEST(used_index_ahead_of_what_is_outstanding_breaks),
		TEST(used_index_that_goes_back_breaks),
		TEST(ids_outside_the_ring_break),
		TEST(ids_that_were_never_added_break),
		TEST(ids_that_were_not_published_break),
		TEST(ids_that_are_used_twice_break),
		TEST(packed_descriptors_used_out_of_nothing_break),
		TEST(split_ids_in_the_middle_of_a_chain_break),
		TEST(lengths_above_what_is_writable_break),
		TEST(readable_bytes_are_not_writable),
		TEST(split_buffers_used_before_their_turn_break),
		TEST(devices_that_overwrite_descriptors_confuse_only_themselves),
		TEST(devices_that_write_anything_get_no_buffer_twice),
		TEST(every_violation_has_a_name),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
