// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* What a queue marks in a dirty bitmap, and what it does when its map is replaced. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <cvmm/mem_iommu.h>

#include "test_driver.h"

#define SIZE 8U
#define PAGES 32U
#define RAM_BYTES (PAGES * TEST_PAGE)
#define DESC_PAGE 1U
#define DRIVER_PAGE 2U
#define DEVICE_PAGE 3U
#define DATA_PAGE 8U
#define MAPS 6U
#define SHIFT 16U /* buffers of the other map's pages, see map_create() */

#define WRITE CVMM_VIRTQ_DESC_F_WRITE
#define NEXT CVMM_VIRTQ_DESC_F_NEXT

static uint8_t ram[RAM_BYTES] __attribute__((aligned(TEST_PAGE)));

struct fixture {
	struct test_driver d;
	struct cvmm_mem *maps[MAPS];
	uint32_t released[MAPS];
	struct cvmm_dirty *dirty[MAPS];
};

static struct fixture fixture;

static void on_release(void *ctx)
{
	(*(uint32_t *)ctx)++;
}

/*
 * A map of all of the memory, which tells when it is gone. In odd ones the upper half of guest memory
 * is the other quarter of the host's: so a buffer shows which map it came from.
 */
static void map_create(struct fixture *f, uint32_t i, bool with_dirty)
{
	static const struct cvmm_mem_ops ops = { .release = on_release };
	struct cvmm_mem_config configs[3];
	struct cvmm_mem *plain;

	for (uint32_t part = 0; part < 2; part++)
		configs[part] = (struct cvmm_mem_config){
			.gpa = { part * SHIFT * TEST_PAGE },
			.len_bytes = SHIFT * TEST_PAGE,
			.kind = CVMM_MEM_EXTERNAL,
			.access = CVMM_ACCESS_READ_WRITE,
			.host = ram + (i & 1 ? 0 : part) * SHIFT * TEST_PAGE,
		};
	configs[0].ops = &ops;
	configs[0].ops_ctx = &f->released[i];
	assert_int_equal(cvmm_mem_create(configs, 2, &plain, NULL), 0);
	if (!with_dirty) {
		f->maps[i] = plain;
		return;
	}
	assert_int_equal(cvmm_dirty_create(0, RAM_BYTES, 12, &f->dirty[i], NULL), 0);
	assert_int_equal(cvmm_mem_with_dirty(plain, f->dirty[i], &f->maps[i], NULL), 0);
	cvmm_mem_unref(plain);
}

static struct cvmm_virtq_config config_of(bool packed)
{
	return (struct cvmm_virtq_config){
		.size = SIZE,
		.desc = { DESC_PAGE * TEST_PAGE },
		.avail = { DRIVER_PAGE * TEST_PAGE },
		.used = { DEVICE_PAGE * TEST_PAGE },
		.packed = packed,
		.event_idx = true,
		.indirect = true,
	};
}

static void start(struct fixture *f, uint32_t map, struct cvmm_virtq_config config)
{
	f->d.device_mem = f->maps[map];
	test_driver_start(&f->d, &config);
	f->d.device_mem = NULL;
}

static void set_up(void **state, bool packed)
{
	struct fixture *f = &fixture;

	memset(ram, 0, sizeof(ram));
	*f = (struct fixture){ .d = { .mem = NULL } };
	map_create(f, 0, true);
	f->d.mem = cvmm_mem_ref(f->maps[0]);
	assert_int_equal(cvmm_virtq_init(&f->d.vq, 16), 0);
	start(f, 0, config_of(packed));
	*state = f;
}

static int set_up_split(void **state)
{
	set_up(state, false);
	return 0;
}

static int set_up_packed(void **state)
{
	set_up(state, true);
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	test_driver_fini(&f->d);
	for (uint32_t i = 0; i < MAPS; i++) {
		bool existed = f->maps[i];

		cvmm_mem_unref(f->maps[i]);
		if (existed)
			assert_int_equal(f->released[i], 1);
		cvmm_dirty_unref(f->dirty[i]);
	}
	return 0;
}

static int pop(struct fixture *f, struct iovec *iov, struct cvmm_virtq_chain *chain)
{
	return cvmm_virtq_pop(&f->d.vq, iov, 4, chain);
}

/* Makes a chain available whose writable buffer lies in the upper half, and takes it. */
static struct cvmm_virtq_chain put_and_pop(struct fixture *f, uint16_t id, struct iovec *iov)
{
	struct cvmm_virtq_chain chain;

	test_put_one(&f->d, id, SHIFT * TEST_PAGE + id * 64U, 64, WRITE);
	assert_int_equal(pop(f, iov, &chain), 1);
	assert_int_equal(chain.head, id);
	return chain;
}

static void expect_used(struct fixture *f, uint16_t id, uint32_t len)
{
	uint16_t got_id;
	uint32_t got_len;

	assert_true(test_take_one(&f->d, &got_id, &got_len));
	assert_int_equal(got_id, id);
	assert_int_equal(got_len, len);
}

/* These pages are dirty, up to a negative number, and no other; then none is. */
static void expect_dirty(struct cvmm_dirty *dirty, ...)
{
	bool want[PAGES] = { false };
	va_list pages;
	int page;

	va_start(pages, dirty);
	while ((page = va_arg(pages, int)) >= 0)
		want[page] = true;
	va_end(pages);
	for (uint32_t i = 0; i < PAGES; i++) {
		if (cvmm_dirty_test(dirty, i * TEST_PAGE) != want[i])
			print_message("page %u\n", i);
		assert_int_equal(cvmm_dirty_test(dirty, i * TEST_PAGE), want[i]);
	}
	assert_int_equal(cvmm_dirty_clear(dirty, 0, RAM_BYTES), 0);
}

/* The page of the ring that used elements go to. */
static int used_page(const struct fixture *f)
{
	return f->d.config.packed ? (int)DESC_PAGE : (int)DEVICE_PAGE;
}

/* ---- dirty bitmaps ------------------------------------------------------------------------- */

static void pop_and_rewind_and_decisions_mark_nothing(void **state)
{
	struct fixture *f = *state;
	struct iovec iov[4];

	put_and_pop(f, 0, iov);
	assert_int_equal(cvmm_virtq_rewind(&f->d.vq, 0), 0);
	assert_false(cvmm_virtq_should_notify(&f->d.vq));
	expect_dirty(f->dirty[0], -1);
}

static void push_marks_the_used_element_only(void **state)
{
	struct fixture *f = *state;
	struct iovec iov[4];

	put_and_pop(f, 0, iov);
	assert_int_equal(cvmm_virtq_push(&f->d.vq, 0, 8), 0);
	expect_dirty(f->dirty[0], used_page(f), -1);
	cvmm_virtq_should_notify(&f->d.vq);
	expect_dirty(f->dirty[0], -1);
}

static void push_of_a_chain_marks_what_is_writable_and_not_what_is_readable(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain chain;
	struct iovec iov[4];

	if (f->d.config.packed) {
		test_packed_put(&f->d, DATA_PAGE * TEST_PAGE, 64, NEXT, 0);
		test_packed_put(&f->d, (DATA_PAGE + 2) * TEST_PAGE - 4, 8, NEXT | WRITE, 0);
		test_packed_put(&f->d, (DATA_PAGE + 10) * TEST_PAGE, 8, WRITE, 0);
	} else {
		test_desc(&f->d, 0, DATA_PAGE * TEST_PAGE, 64, NEXT, 1);
		test_desc(&f->d, 1, (DATA_PAGE + 2) * TEST_PAGE - 4, 8, NEXT | WRITE, 2);
		test_desc(&f->d, 2, (DATA_PAGE + 10) * TEST_PAGE, 8, WRITE, 0);
		test_make_available(&f->d, 0);
	}
	assert_int_equal(pop(f, iov, &chain), 1);
	expect_dirty(f->dirty[0], -1);
	assert_int_equal(cvmm_virtq_push_chain(&f->d.vq, &chain, 16), 0);
	expect_dirty(f->dirty[0], used_page(f), DATA_PAGE + 1, DATA_PAGE + 2, DATA_PAGE + 10, -1);
}

static void push_of_a_chain_that_is_not_in_flight_marks_nothing(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain chain;
	struct iovec iov[4];

	chain = put_and_pop(f, 0, iov);
	assert_int_equal(cvmm_virtq_push(&f->d.vq, 0, 0), 0);
	expect_dirty(f->dirty[0], used_page(f), -1);
	assert_int_equal(cvmm_virtq_push_chain(&f->d.vq, &chain, 0), -EINVAL);
	expect_dirty(f->dirty[0], -1);
}

static void asking_for_kicks_marks_the_device_area(void **state)
{
	struct fixture *f = *state;

	cvmm_virtq_enable_notifications(&f->d.vq);
	expect_dirty(f->dirty[0], DEVICE_PAGE, -1);
	cvmm_virtq_disable_notifications(&f->d.vq);
	/* Split rings with event_idx say nothing then. */
	if (f->d.config.packed)
		expect_dirty(f->dirty[0], DEVICE_PAGE, -1);
	else
		expect_dirty(f->dirty[0], -1);
}

static void batch_marks_each_element(void **state)
{
	const struct cvmm_virtq_used used[] = { { 0, 0 }, { 1, 0 } };
	struct fixture *f = *state;
	struct cvmm_virtq_config config = config_of(f->d.config.packed);
	struct iovec iov[4];

	/* The second element is on the next page. */
	config.desc.addr = 5 * TEST_PAGE - DESC_SIZE;
	if (!config.packed)
		config.used.addr = 7 * TEST_PAGE - used_entry_at(1);
	start(f, 0, config);
	put_and_pop(f, 0, iov);
	put_and_pop(f, 1, iov);
	assert_int_equal(cvmm_virtq_push_batch(&f->d.vq, used, 2), 0);
	if (config.packed)
		expect_dirty(f->dirty[0], 4, 5, -1);
	else
		expect_dirty(f->dirty[0], 6, 7, -1);
}

static void areas_that_cross_regions_are_marked_as_well(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_config config = config_of(f->d.config.packed);
	struct cvmm_virtq_chain chain;
	struct iovec iov[4];

	/* The regions of odd maps do not touch in the host. */
	map_create(f, 1, true);
	config.desc.addr = SHIFT * TEST_PAGE - DESC_SIZE;
	cvmm_virtq_stop(&f->d.vq);
	assert_int_equal(cvmm_virtq_start(&f->d.vq, f->maps[1], &config, NULL), 0);
	f->d.config = config;
	f->d.desc = ram + config.desc.addr; /* enough for one descriptor */
	test_put_one(&f->d, 0, DATA_PAGE * TEST_PAGE, 64, WRITE);
	assert_int_equal(pop(f, iov, &chain), 1);
	assert_int_equal(cvmm_virtq_push_chain(&f->d.vq, &chain, 0), 0);
	cvmm_virtq_enable_notifications(&f->d.vq);
	/* The buffer has two addresses in this map, and both are dirty then. */
	expect_dirty(f->dirty[1], config.packed ? SHIFT - 1 : DEVICE_PAGE, DEVICE_PAGE, DATA_PAGE,
		     SHIFT + DATA_PAGE, -1);
}

static void behind_an_iommu_the_memory_behind_it_is_marked(void **state)
{
	struct fixture *f = *state;
	struct cvmm_mem_iommu_config iommu = { .backing = f->maps[0] };
	struct cvmm_virtq_config config = config_of(f->d.config.packed);
	struct cvmm_virtq_chain chain;
	struct cvmm_mem *mem;
	struct iovec iov[4];

	assert_int_equal(cvmm_iotlb_create(16, &iommu.iotlb, NULL), 0);
	assert_int_equal(cvmm_iotlb_set(iommu.iotlb, 0, 8 * TEST_PAGE, 0, CVMM_ACCESS_READ_WRITE),
			 0);
	assert_int_equal(cvmm_iotlb_set(iommu.iotlb, UINT64_C(0x100000), TEST_PAGE,
					DATA_PAGE * TEST_PAGE, CVMM_ACCESS_WRITE),
			 0);
	assert_int_equal(cvmm_mem_create_iommu(&iommu, &mem, NULL), 0);
	f->d.device_mem = mem;
	test_driver_start(&f->d, &config);
	f->d.device_mem = NULL;
	test_put_one(&f->d, 0, UINT64_C(0x100000), 64, WRITE);
	assert_int_equal(pop(f, iov, &chain), 1);
	expect_dirty(f->dirty[0], -1);
	/* Without its translation, too. */
	assert_int_equal(cvmm_iotlb_invalidate(iommu.iotlb, UINT64_C(0x100000), TEST_PAGE), 0);
	assert_int_equal(cvmm_virtq_push_chain(&f->d.vq, &chain, 1), 0);
	expect_dirty(f->dirty[0], used_page(f), DATA_PAGE, -1);
	cvmm_virtq_enable_notifications(&f->d.vq);
	expect_dirty(f->dirty[0], DEVICE_PAGE, -1);
	cvmm_virtq_stop(&f->d.vq);
	cvmm_mem_unref(mem);
	cvmm_iotlb_destroy(iommu.iotlb);
}

static bool fail_all(void *ctx, enum cvmm_virtq_violation violation)
{
	(void)ctx;
	(void)violation;
	return true;
}

static void failed_chains_mark_their_used_element(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain chain;
	struct iovec iov[4];

	cvmm_virtq_set_policy(&f->d.vq, fail_all, NULL);
	test_put_one(&f->d, 0, RAM_BYTES, 64, WRITE);
	assert_int_equal(pop(f, iov, &chain), 0);
	expect_dirty(f->dirty[0], used_page(f), -1);
}

/* ---- another map --------------------------------------------------------------------------- */

static void old_map_goes_at_once_when_nothing_is_in_flight(void **state)
{
	struct fixture *f = *state;
	struct iovec iov[4];

	for (uint32_t i = 1; i < MAPS; i++) {
		map_create(f, i, false);
		assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[i], NULL), 0);
		if (i == 1)
			continue;
		f->maps[i - 1] = cvmm_mem_unref(f->maps[i - 1]);
		assert_int_equal(f->released[i - 1], 1);
		put_and_pop(f, 0, iov);
		assert_int_equal(cvmm_virtq_push(&f->d.vq, 0, i), 0);
		expect_used(f, 0, i);
	}
}

static void chains_in_flight_keep_their_map_to_the_last(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain chains[3];
	struct iovec iov[3][4];

	map_create(f, 1, false);
	map_create(f, 2, false);
	assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[1], NULL), 0);
	f->maps[1] = cvmm_mem_unref(f->maps[1]);
	for (uint16_t id = 0; id < 2; id++)
		chains[id] = put_and_pop(f, id, iov[id]);
	assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[2], NULL), 0);
	chains[2] = put_and_pop(f, 2, iov[2]);
	/* Each one's buffer is where its map has it. */
	assert_ptr_equal(chains[0].writable[0].iov_base, ram);
	assert_ptr_equal(chains[1].writable[0].iov_base, ram + 64);
	assert_ptr_equal(chains[2].writable[0].iov_base, ram + SHIFT * TEST_PAGE + 2 * 64);
	assert_int_equal(f->released[1], 0);
	assert_int_equal(cvmm_virtq_push_chain(&f->d.vq, &chains[1], 1), 0);
	assert_int_equal(f->released[1], 0);
	assert_int_equal(cvmm_virtq_push_chain(&f->d.vq, &chains[2], 2), 0);
	assert_int_equal(f->released[1], 0);
	assert_int_equal(cvmm_virtq_push_chain(&f->d.vq, &chains[0], 3), 0);
	assert_int_equal(f->released[1], 1);
	expect_used(f, 1, 1);
	expect_used(f, 2, 2);
	expect_used(f, 0, 3);
}

static void rewound_chain_lets_its_map_go_and_comes_again_from_the_new_one(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain chain;
	struct iovec iov[4];

	map_create(f, 1, false);
	map_create(f, 2, false);
	assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[1], NULL), 0);
	f->maps[1] = cvmm_mem_unref(f->maps[1]);
	chain = put_and_pop(f, 0, iov);
	assert_ptr_equal(chain.writable[0].iov_base, ram);
	assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[2], NULL), 0);
	assert_int_equal(f->released[1], 0);
	assert_int_equal(cvmm_virtq_rewind(&f->d.vq, 0), 0);
	assert_int_equal(f->released[1], 1);
	assert_int_equal(pop(f, iov, &chain), 1);
	assert_ptr_equal(chain.writable[0].iov_base, ram + SHIFT * TEST_PAGE);
}

static void stop_lets_all_maps_go(void **state)
{
	struct fixture *f = *state;
	struct iovec iov[4];

	for (uint32_t i = 1; i < 4; i++) {
		map_create(f, i, false);
		assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[i], NULL), 0);
		put_and_pop(f, (uint16_t)i, iov);
		f->maps[i] = cvmm_mem_unref(f->maps[i]);
	}
	for (uint32_t i = 1; i < 4; i++)
		assert_int_equal(f->released[i], 0);
	cvmm_virtq_stop(&f->d.vq);
	for (uint32_t i = 1; i < 4; i++)
		assert_int_equal(f->released[i], 1);
}

static void chains_of_four_maps_are_the_most(void **state)
{
	struct fixture *f = *state;
	struct cvmm_error err = { 0 };
	struct iovec iov[4];

	/* Map 0 is the first; the fifth is refused. */
	put_and_pop(f, 0, iov);
	for (uint32_t i = 1; i < MAPS; i++)
		map_create(f, i, false);
	for (uint16_t i = 1; i < CVMM_VIRTQ_MAPS_MAX; i++) {
		assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[i], NULL), 0);
		put_and_pop(f, i, iov);
	}
	assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[4], &err), -EBUSY);
	assert_non_null(strstr(err.message, "in flight"));
	/* The one that it has stays in use. */
	put_and_pop(f, 4, iov);
	assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[3], NULL), 0);
	/* With the last chain of any old one there is room again. */
	assert_int_equal(cvmm_virtq_push(&f->d.vq, 2, 0), 0);
	f->maps[2] = cvmm_mem_unref(f->maps[2]);
	assert_int_equal(f->released[2], 1);
	assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[4], NULL), 0);
	put_and_pop(f, 5, iov);
	assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[5], NULL), -EBUSY);
	for (uint16_t i = 0; i < 6; i++)
		assert_int_equal(cvmm_virtq_push(&f->d.vq, i, 0), i == 2 ? -EINVAL : 0);
	assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[5], NULL), 0);
}

/* The one in use now has no chains: its place is for the new one. */
static void map_without_chains_takes_no_place(void **state)
{
	struct fixture *f = *state;
	struct iovec iov[4];

	put_and_pop(f, 0, iov);
	for (uint32_t i = 1; i < MAPS; i++) {
		map_create(f, i, false);
		assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[i], NULL), 0);
		if (i < 3)
			put_and_pop(f, (uint16_t)i, iov);
	}
}

static void map_without_the_rings_is_refused_and_the_old_one_stays(void **state)
{
	struct fixture *f = *state;
	struct cvmm_mem_config config = {
		.gpa = { DATA_PAGE * TEST_PAGE },
		.len_bytes = TEST_PAGE,
		.kind = CVMM_MEM_EXTERNAL,
		.access = CVMM_ACCESS_READ_WRITE,
		.host = ram + DATA_PAGE * TEST_PAGE,
	};
	struct cvmm_error err = { 0 };
	struct cvmm_mem *mem;
	struct iovec iov[4];

	assert_int_equal(cvmm_mem_create(&config, 1, &mem, NULL), 0);
	put_and_pop(f, 0, iov);
	assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, mem, &err), -EINVAL);
	assert_non_null(strstr(err.message, "descriptor area"));
	cvmm_mem_unref(mem);
	put_and_pop(f, 1, iov);
	assert_int_equal(cvmm_virtq_push(&f->d.vq, 0, 0), 0);
	assert_int_equal(cvmm_virtq_push(&f->d.vq, 1, 0), 0);
	expect_used(f, 0, 0);
	expect_used(f, 1, 0);
}

static void queue_that_is_not_started_takes_no_map(void **state)
{
	struct fixture *f = *state;

	cvmm_virtq_stop(&f->d.vq);
	assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[0], NULL), -EINVAL);
	start(f, 0, config_of(f->d.config.packed));
	assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[0], NULL), 0);
}

static void chains_of_an_old_map_are_marked_in_its_own_bitmap(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain old, new;
	struct iovec iov[2][4];

	map_create(f, 2, true);
	old = put_and_pop(f, 0, iov[0]);
	assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[2], NULL), 0);
	new = put_and_pop(f, 1, iov[1]);
	assert_int_equal(cvmm_virtq_push_chain(&f->d.vq, &old, 1), 0);
	/* The ring is written through the new map. */
	expect_dirty(f->dirty[0], SHIFT, -1);
	expect_dirty(f->dirty[2], used_page(f), -1);
	assert_int_equal(cvmm_virtq_push_chain(&f->d.vq, &new, 1), 0);
	expect_dirty(f->dirty[0], -1);
	expect_dirty(f->dirty[2], used_page(f), SHIFT, -1);
}

/* From one with a bitmap to one without, and chains of the first come back then. */
static void chain_of_a_logged_map_is_marked_when_the_new_one_has_no_log(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain old;
	struct iovec iov[4];

	map_create(f, 2, false);
	old = put_and_pop(f, 0, iov);
	assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[2], NULL), 0);
	assert_int_equal(cvmm_virtq_push_chain(&f->d.vq, &old, 1), 0);
	expect_dirty(f->dirty[0], SHIFT, -1);
}

static void done_chains_in_order_keep_their_map_until_they_are_given(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_config config = config_of(f->d.config.packed);
	struct iovec iov[4];

	config.in_order = true;
	map_create(f, 1, false);
	map_create(f, 2, false);
	start(f, 0, config);
	put_and_pop(f, 0, iov);
	assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[1], NULL), 0);
	f->maps[1] = cvmm_mem_unref(f->maps[1]);
	put_and_pop(f, 1, iov);
	assert_int_equal(cvmm_virtq_push(&f->d.vq, 1, 0), 0);
	assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[2], NULL), 0);
	assert_int_equal(f->released[1], 0);
	assert_int_equal(cvmm_virtq_push(&f->d.vq, 0, 0), 0);
	assert_int_equal(f->released[1], 1);
	expect_used(f, 0, 0);
	expect_used(f, 1, 0);
}

/* An IOMMU that is switched on and off while chains are in flight. */
static void queue_goes_behind_an_iommu_and_back(void **state)
{
	struct fixture *f = *state;
	struct cvmm_mem_iommu_config iommu = { .backing = f->maps[0] };
	struct cvmm_virtq_chain chains[3];
	struct iovec iov[3][4];
	struct cvmm_mem *mem;

	assert_int_equal(cvmm_iotlb_create(16, &iommu.iotlb, NULL), 0);
	assert_int_equal(
		cvmm_iotlb_set(iommu.iotlb, 0, SHIFT * TEST_PAGE, 0, CVMM_ACCESS_READ_WRITE), 0);
	assert_int_equal(cvmm_iotlb_set(iommu.iotlb, SHIFT * TEST_PAGE, TEST_PAGE, 0,
					CVMM_ACCESS_READ_WRITE),
			 0);
	assert_int_equal(cvmm_mem_create_iommu(&iommu, &mem, NULL), 0);
	chains[0] = put_and_pop(f, 0, iov[0]);
	assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, mem, NULL), 0);
	chains[1] = put_and_pop(f, 1, iov[1]);
	assert_int_equal(cvmm_virtq_set_mem(&f->d.vq, f->maps[0], NULL), 0);
	chains[2] = put_and_pop(f, 2, iov[2]);
	assert_ptr_equal(chains[0].writable[0].iov_base, ram + SHIFT * TEST_PAGE);
	assert_ptr_equal(chains[1].writable[0].iov_base, ram + 64);
	for (uint16_t i = 0; i < 3; i++) {
		assert_int_equal(cvmm_virtq_push_chain(&f->d.vq, &chains[i], i), 0);
		expect_used(f, i, i);
	}
	cvmm_mem_unref(mem);
	cvmm_virtq_stop(&f->d.vq);
	cvmm_iotlb_destroy(iommu.iotlb);
}

static void queue_follows_what_a_space_publishes(void **state)
{
	struct fixture *f = *state;
	struct cvmm_mem_space *space;
	struct cvmm_mem_cache cache;
	struct cvmm_virtq_chain chain;
	struct iovec iov[2][4];

	map_create(f, 1, false);
	assert_int_equal(cvmm_mem_space_create(f->maps[0], &space), 0);
	cvmm_mem_cache_init(&cache, space);
	assert_int_equal(cvmm_virtq_follow(&f->d.vq, &cache, NULL), 0);
	chain = put_and_pop(f, 0, iov[0]);
	assert_ptr_equal(chain.writable[0].iov_base, ram + SHIFT * TEST_PAGE);
	assert_int_equal(cvmm_mem_space_publish(space, f->maps[1]), 0);
	assert_int_equal(cvmm_virtq_follow(&f->d.vq, &cache, NULL), 0);
	chain = put_and_pop(f, 1, iov[1]);
	assert_ptr_equal(chain.writable[0].iov_base, ram + 64);
	cvmm_mem_cache_fini(&cache);
	cvmm_mem_space_destroy(space);
	assert_int_equal(cvmm_virtq_push(&f->d.vq, 0, 0), 0);
	assert_int_equal(cvmm_virtq_push(&f->d.vq, 1, 0), 0);
}

#define TEST(fn)                                                    \
	{ #fn " (split)", fn, set_up_split, tear_down, NULL },      \
	{                                                           \
#fn " (packed)", fn, set_up_packed, tear_down, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(pop_and_rewind_and_decisions_mark_nothing),
		TEST(push_marks_the_used_element_only),
		TEST(push_of_a_chain_marks_what_is_writable_and_not_what_is_readable),
		TEST(push_of_a_chain_that_is_not_in_flight_marks_nothing),
		TEST(asking_for_kicks_marks_the_device_area),
		TEST(batch_marks_each_element),
		TEST(areas_that_cross_regions_are_marked_as_well),
		TEST(behind_an_iommu_the_memory_behind_it_is_marked),
		TEST(failed_chains_mark_their_used_element),
		TEST(old_map_goes_at_once_when_nothing_is_in_flight),
		TEST(chains_in_flight_keep_their_map_to_the_last),
		TEST(rewound_chain_lets_its_map_go_and_comes_again_from_the_new_one),
		TEST(stop_lets_all_maps_go),
		TEST(chains_of_four_maps_are_the_most),
		TEST(map_without_chains_takes_no_place),
		TEST(map_without_the_rings_is_refused_and_the_old_one_stays),
		TEST(queue_that_is_not_started_takes_no_map),
		TEST(chains_of_an_old_map_are_marked_in_its_own_bitmap),
		TEST(chain_of_a_logged_map_is_marked_when_the_new_one_has_no_log),
		TEST(done_chains_in_order_keep_their_map_until_they_are_given),
		TEST(queue_goes_behind_an_iommu_and_back),
		TEST(queue_follows_what_a_space_publishes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
