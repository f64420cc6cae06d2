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

/* ---- hostile devices ----------------------------------------------------------------------- */

/* Writes a used element of a split ring, at an index, and used.idx. */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(split_rings_of_every_size_carry_traffic),
		TEST(split_indices_wrap_under_traffic),
		TEST(packed_rings_of_every_kind_of_size_carry_traffic),
		TEST(devices_may_use_buffers_in_any_order),
		TEST(used_index_ahead_of_what_is_outstanding_breaks),
		TEST(used_index_that_goes_back_breaks),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
