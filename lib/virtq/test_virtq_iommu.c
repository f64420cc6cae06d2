// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Queues behind an IOMMU. The driver's memory is one piece, with I/O virtual addresses. What is behind
 * the IOMMU has the same pages in reverse order, each a region of its own, so that nothing but the IOTLB
 * leads the device to the right ones.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <cvmm/mem_iommu.h>

#include "test_driver.h"

#define PAGES 64U
#define RAM_BYTES (PAGES * TEST_PAGE)
#define SIZE 16U
#define DESC_AT (1 * TEST_PAGE - 128) /* half of the ring or table on page 0, half on page 1 */
#define DRIVER_PAGE 2U
#define DRIVER_AT (DRIVER_PAGE * TEST_PAGE)
#define DEVICE_AT (4 * TEST_PAGE - 4) /* split: flags and index on page 3, elements on page 4 */
#define DEVICE_PAGE 3U
#define TABLE_AT (7 * TEST_PAGE - DESC_SIZE) /* first descriptor on page 6, second on page 7 */
#define DATA_PAGE 16U
#define DATA_AT (DATA_PAGE * TEST_PAGE)
#define BAD_PAGE 50U
#define IOV_COUNT 16

#define RO CVMM_ACCESS_READ
#define RW CVMM_ACCESS_READ_WRITE
#define WRITE CVMM_VIRTQ_DESC_F_WRITE
#define NEXT CVMM_VIRTQ_DESC_F_NEXT
#define INDIRECT CVMM_VIRTQ_DESC_F_INDIRECT

static uint8_t ram[RAM_BYTES] __attribute__((aligned(TEST_PAGE)));
static uint8_t copy[RAM_BYTES];

struct fixture {
	struct test_driver d;
	struct cvmm_iotlb *tlb;
	bool missed[PAGES];
	uint32_t misses;
	uint32_t fails;
	uint32_t asked; /* times that the policy was */
};

static struct fixture fixture;
static struct iovec iov[IOV_COUNT];

static void on_fault(void *ctx, enum cvmm_access access, const struct cvmm_iotlb_range *misses,
		     size_t miss_count, const struct cvmm_iotlb_range *fails, size_t fail_count)
{
	struct fixture *f = ctx;

	(void)access;
	(void)fails;
	for (size_t i = 0; i < miss_count; i++) {
		uint64_t last = misses[i].iova + misses[i].len_bytes - 1;

		for (uint64_t at = misses[i].iova / TEST_PAGE; at <= last / TEST_PAGE; at++)
			f->missed[at] = true;
	}
	f->misses += miss_count > 0;
	f->fails += fail_count > 0;
}

static struct cvmm_mem_config external(uint64_t gpa, uint64_t host_at, uint64_t len)
{
	return (struct cvmm_mem_config){ .gpa = { gpa },
					 .len_bytes = len,
					 .kind = CVMM_MEM_EXTERNAL,
					 .access = CVMM_ACCESS_READ_WRITE,
					 .host = ram + host_at };
}

static void map_page(struct fixture *f, uint32_t page, unsigned int rights)
{
	assert_int_equal(cvmm_iotlb_set(f->tlb, page * TEST_PAGE, TEST_PAGE,
					(PAGES - 1 - page) * TEST_PAGE, rights),
			 0);
}

static void unmap_page(struct fixture *f, uint32_t page)
{
	assert_int_equal(cvmm_iotlb_invalidate(f->tlb, page * TEST_PAGE, TEST_PAGE), 0);
}

static void map_all(struct fixture *f)
{
	for (uint32_t i = 0; i < PAGES; i++)
		map_page(f, i, RW);
}

/* Maps what was asked for. Return: whether there was anything. */
static bool map_missed(struct fixture *f)
{
	bool any = false;

	for (uint32_t i = 0; i < PAGES; i++) {
		if (!f->missed[i])
			continue;
		f->missed[i] = false;
		map_page(f, i, RW);
		any = true;
	}
	return any;
}

static struct cvmm_virtq_config config_of(bool packed)
{
	return (struct cvmm_virtq_config){
		.size = SIZE,
		.desc = { DESC_AT },
		.avail = { DRIVER_AT },
		.used = { packed ? DEVICE_PAGE * TEST_PAGE : DEVICE_AT },
		.packed = packed,
		.indirect = true,
	};
}

/* A new queue, and an IOTLB that knows nothing. */
static void start(struct fixture *f, struct cvmm_virtq_config config)
{
	cvmm_iotlb_invalidate_all(f->tlb);
	memset(ram, 0, sizeof(ram));
	memset(f->missed, 0, sizeof(f->missed));
	test_driver_start(&f->d, &config);
	f->misses = f->fails = f->asked = 0;
}

static void set_up(void **state, bool packed)
{
	struct cvmm_mem_config configs[PAGES];
	struct cvmm_mem_iommu_config iommu = { .fault = on_fault, .fault_ctx = &fixture };
	struct fixture *f = &fixture;

	*f = (struct fixture){ .misses = 0 };
	configs[0] = external(0, 0, RAM_BYTES);
	assert_int_equal(cvmm_mem_create(configs, 1, &f->d.mem, NULL), 0);
	for (uint32_t i = 0; i < PAGES; i++)
		configs[i] = external((PAGES - 1 - i) * TEST_PAGE, i * TEST_PAGE, TEST_PAGE);
	assert_int_equal(cvmm_mem_create(configs, PAGES, &iommu.backing, NULL), 0);
	assert_int_equal(cvmm_iotlb_create(2 * PAGES, &f->tlb, NULL), 0);
	iommu.iotlb = f->tlb;
	assert_int_equal(cvmm_mem_create_iommu(&iommu, &f->d.device_mem, NULL), 0);
	cvmm_mem_unref(iommu.backing);
	assert_int_equal(cvmm_virtq_init(&f->d.vq, 64), 0);
	start(f, config_of(packed));
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
	cvmm_iotlb_destroy(f->tlb);
	return 0;
}

static int pop(struct fixture *f, struct cvmm_virtq_chain *chain)
{
	return cvmm_virtq_pop(&f->d.vq, iov, IOV_COUNT, chain);
}

static void expect_used(struct fixture *f, uint16_t id, uint32_t len)
{
	uint16_t got_id;
	uint32_t got_len;

	assert_true(test_take_one(&f->d, &got_id, &got_len));
	assert_int_equal(got_id, id);
	assert_int_equal(got_len, len);
}

static void expect_none_used(struct fixture *f)
{
	uint16_t id;
	uint32_t len;

	assert_false(test_take_one(&f->d, &id, &len));
}

/* What a call that says -EAGAIN must leave alone. */
struct moment {
	struct cvmm_virtq_base base;
	uint32_t in_flight;
	uint32_t descs_in_use;
	uint32_t violations[CVMM_VIRTQ_VIOLATION_COUNT];
	uint16_t pops;
};

static struct moment moment_of(struct fixture *f)
{
	const struct cvmm_virtq *vq = &f->d.vq;
	struct moment now;

	memset(&now, 0, sizeof(now));
	now.base = cvmm_virtq_base(vq);
	now.in_flight = vq->in_flight;
	now.descs_in_use = vq->descs_in_use;
	now.pops = vq->pops;
	memcpy(now.violations, vq->violations, sizeof(now.violations));
	memcpy(copy, ram, sizeof(copy));
	return now;
}

/* The rings may hold elements that were not published. */
static void expect_unchanged(struct fixture *f, const struct moment *before)
{
	const struct cvmm_virtq *vq = &f->d.vq;
	struct cvmm_virtq_base base = cvmm_virtq_base(vq);

	assert_int_equal(base.next_avail, before->base.next_avail);
	assert_int_equal(base.next_used, before->base.next_used);
	assert_int_equal(base.avail_wrap, before->base.avail_wrap);
	assert_int_equal(base.used_wrap, before->base.used_wrap);
	assert_int_equal(vq->in_flight, before->in_flight);
	assert_int_equal(vq->descs_in_use, before->descs_in_use);
	assert_int_equal(vq->pops, before->pops);
	assert_memory_equal(vq->violations, before->violations, sizeof(before->violations));
	assert_int_equal(cvmm_virtq_violation(vq), CVMM_VIRTQ_OK);
	expect_none_used(f);
}

static void put(struct fixture *f, uint16_t id, uint16_t flags)
{
	test_put_one(&f->d, id, DATA_AT + id * 64U, 64, flags);
}

/* A table of a readable buffer and of a writable one that crosses two borders of pages. */
static void put_table(struct fixture *f, uint16_t id)
{
	uint8_t *table = test_host(&f->d, TABLE_AT, 2 * DESC_SIZE);
	uint64_t long_at = DATA_AT + 2 * TEST_PAGE - 10;
	uint32_t long_len = (uint32_t)TEST_PAGE + 20;

	if (f->d.config.packed) {
		test_desc_put(table, 0, DATA_AT, 8, 0, 0);
		test_desc_put(table, 1, long_at, long_len, 0, WRITE);
	} else {
		test_desc_put(table, 0, DATA_AT, 8, NEXT, 1);
		test_desc_put(table, 1, long_at, long_len, WRITE, 0);
	}
	test_put_one(&f->d, id, TABLE_AT, 2 * DESC_SIZE, INDIRECT);
}

/* ---- translations -------------------------------------------------------------------------- */

static void start_needs_no_translations(void **state)
{
	struct fixture *f = *state;

	/* The fixture has started it. */
	assert_true(cvmm_virtq_is_started(&f->d.vq));
	assert_int_equal(f->misses, 0);
}

static void start_refuses_misaligned_areas_and_those_that_pass_the_end(void **state)
{
	struct fixture *f = *state;
	bool packed = f->d.config.packed;
	uint64_t last = UINT64_MAX - 15;
	struct cvmm_virtq_config bad[6];

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++)
		bad[i] = config_of(packed);
	bad[0].desc.addr += 8;
	bad[1].avail.addr += 1;
	bad[2].used.addr += 2;
	bad[3].desc.addr = last;
	bad[4].avail.addr = packed ? 1 : last;
	bad[5].used.addr = packed ? 1 : last;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		cvmm_virtq_stop(&f->d.vq);
		assert_int_equal(cvmm_virtq_start(&f->d.vq, f->d.device_mem, &bad[i], NULL),
				 -EINVAL);
	}
}

static void rings_and_buffers_may_be_scattered(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain chain;

	map_all(f);
	for (uint16_t n = 0; n < 5 * SIZE; n++) {
		uint16_t id = n % SIZE;

		put(f, id, WRITE);
		assert_int_equal(pop(f, &chain), 1);
		assert_int_equal(chain.head, id);
		assert_ptr_equal(chain.writable[0].iov_base, ram + DATA_AT + id * 64U);
		assert_int_equal(cvmm_virtq_push_chain(&f->d.vq, &chain, n % 64), 0);
		assert_true(cvmm_virtq_should_notify(&f->d.vq));
		assert_false(cvmm_virtq_enable_notifications(&f->d.vq));
		expect_used(f, id, n % 64);
	}
	assert_int_equal(f->misses, 0);
}

static void buffer_over_pages_is_as_many_pieces(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain chain;

	map_all(f);
	put_table(f, 3);
	assert_int_equal(pop(f, &chain), 1);
	assert_int_equal(chain.readable_count, 1);
	assert_int_equal(chain.writable_count, 3);
	assert_int_equal(chain.writable_bytes, TEST_PAGE + 20);
	assert_ptr_equal(chain.writable[0].iov_base, ram + DATA_AT + 2 * TEST_PAGE - 10);
	assert_int_equal(chain.writable[0].iov_len, 10);
	assert_ptr_equal(chain.writable[1].iov_base, ram + DATA_AT + 2 * TEST_PAGE);
	assert_int_equal(chain.writable[1].iov_len, TEST_PAGE);
	assert_ptr_equal(chain.writable[2].iov_base, ram + DATA_AT + 3 * TEST_PAGE);
	assert_int_equal(chain.writable[2].iov_len, 10);
}

/* ---- misses -------------------------------------------------------------------------------- */

static void each_miss_of_a_pop_changes_nothing_and_is_asked_for(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain chain = { .head = 0x5a5a };
	unsigned int tries = 0;
	int ret;

	put_table(f, 3);
	for (;;) {
		struct moment before = moment_of(f);

		ret = pop(f, &chain);
		if (ret != -EAGAIN)
			break;
		expect_unchanged(f, &before);
		assert_memory_equal(ram, copy, sizeof(ram));
		assert_int_equal(chain.head, 0x5a5a);
		assert_true(map_missed(f));
		tries++;
	}
	assert_int_equal(ret, 1);
	assert_int_equal(chain.head, 3);
	/* The driver's area, table of descriptors, indirect table, and two buffers; packed: no area. */
	assert_int_equal(tries, f->d.config.packed ? 4 : 5);
}

static void each_miss_of_a_push_changes_nothing_and_is_asked_for(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_used used[2] = { { 1, 5 }, { 2, 6 } };
	struct cvmm_virtq_chain chain;

	map_all(f);
	for (uint16_t id = 0; id < 3; id++) {
		put(f, id, WRITE);
		assert_int_equal(pop(f, &chain), 1);
	}
	for (size_t count = 1; count <= 2; count++) {
		unsigned int tries = 0;
		int ret;

		cvmm_iotlb_invalidate_all(f->tlb);
		for (;;) {
			struct moment before = moment_of(f);

			ret = count == 1 ? cvmm_virtq_push(&f->d.vq, 0, 4)
					 : cvmm_virtq_push_batch(&f->d.vq, used, 2);
			if (ret != -EAGAIN)
				break;
			expect_unchanged(f, &before);
			assert_true(map_missed(f));
			tries++;
		}
		assert_int_equal(ret, 0);
		assert_in_range(tries, 1, 2);
		if (count == 1)
			expect_used(f, 0, 4);
	}
	expect_used(f, 1, 5);
	expect_used(f, 2, 6);
	expect_none_used(f);
}

/* The element is written, and its index cannot be: it is not lost, and does not count twice. */
static void index_that_cannot_be_written_leaves_the_queue_where_it_was(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain chain;

	if (f->d.config.packed)
		start(f, config_of(false));
	map_all(f);
	put(f, 7, WRITE);
	assert_int_equal(pop(f, &chain), 1);
	unmap_page(f, DEVICE_PAGE);
	assert_int_equal(cvmm_virtq_push(&f->d.vq, 7, 9), -EAGAIN);
	assert_int_equal(cvmm_virtq_base(&f->d.vq).next_used, 0);
	assert_false(cvmm_virtq_should_notify(&f->d.vq));
	expect_none_used(f);
	map_page(f, DEVICE_PAGE, RW);
	assert_int_equal(cvmm_virtq_push(&f->d.vq, 7, 9), 0);
	assert_true(cvmm_virtq_should_notify(&f->d.vq));
	expect_used(f, 7, 9);
	expect_none_used(f);
}

static void in_order_what_cannot_be_given_now_is_given_later(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_config config = config_of(f->d.config.packed);
	struct cvmm_virtq_chain chain;

	config.in_order = true;
	start(f, config);
	map_all(f);
	for (uint16_t id = 0; id < 3; id++) {
		put(f, id, WRITE);
		assert_int_equal(pop(f, &chain), 1);
	}
	assert_int_equal(cvmm_virtq_push(&f->d.vq, 1, 11), 0);
	cvmm_iotlb_invalidate_all(f->tlb);
	assert_int_equal(cvmm_virtq_push(&f->d.vq, 0, 10), 0);
	expect_none_used(f);
	assert_false(cvmm_virtq_should_notify(&f->d.vq));
	assert_true(f->misses > 0);
	map_all(f);
	assert_true(cvmm_virtq_should_notify(&f->d.vq));
	expect_used(f, 0, 10);
	expect_used(f, 1, 11);
	expect_none_used(f);
	assert_int_equal(cvmm_virtq_push(&f->d.vq, 2, 12), 0);
	expect_used(f, 2, 12);
}

static void invalidated_rings_work_again_after_an_update(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain chain;

	for (uint16_t n = 0; n < 3 * SIZE; n++) {
		put(f, n % SIZE, WRITE);
		cvmm_iotlb_invalidate_all(f->tlb);
		while (pop(f, &chain) == -EAGAIN)
			assert_true(map_missed(f));
		unmap_page(f, n % 8);
		while (cvmm_virtq_push(&f->d.vq, chain.head, 1) == -EAGAIN)
			assert_true(map_missed(f));
		expect_used(f, n % SIZE, 1);
	}
	assert_int_equal(cvmm_virtq_violation(&f->d.vq), CVMM_VIRTQ_OK);
}

/* A page of the ring that moves: the device follows it, because nothing of it was kept. */
static void ring_page_that_moves_is_found_again(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain chain;
	const uint32_t spare = 40;

	map_all(f);
	put(f, 0, WRITE);
	assert_int_equal(pop(f, &chain), 1);
	assert_int_equal(cvmm_virtq_push(&f->d.vq, 0, 1), 0);
	expect_used(f, 0, 1);
	put(f, 1, WRITE);
	/* What the driver wrote is on the spare page now, and where it was is nonsense. */
	memcpy(ram + spare * TEST_PAGE, ram, TEST_PAGE);
	memset(ram, 0xff, TEST_PAGE);
	assert_int_equal(cvmm_iotlb_set(f->tlb, 0, TEST_PAGE, (PAGES - 1 - spare) * TEST_PAGE, RW),
			 0);
	assert_int_equal(pop(f, &chain), 1);
	assert_int_equal(chain.head, 1);
	assert_int_equal(chain.writable_bytes, 64);
}

/* The device may go on: the driver must not take it back, and harms only itself. */
static void buffers_in_flight_outlive_their_translation(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain chain;

	map_all(f);
	put(f, 0, WRITE);
	assert_int_equal(pop(f, &chain), 1);
	unmap_page(f, DATA_PAGE);
	memset(chain.writable[0].iov_base, 0x77, 64);
	assert_int_equal(ram[DATA_AT], 0x77);
	assert_int_equal(cvmm_virtq_push_chain(&f->d.vq, &chain, 64), 0);
	expect_used(f, 0, 64);
}

static void batch_ends_where_a_translation_is_missing(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain chains[4];

	map_all(f);
	unmap_page(f, DATA_PAGE + 1);
	put(f, 0, 0);
	put(f, 1, 0);
	test_put_one(&f->d, 2, DATA_AT + TEST_PAGE, 64, 0);
	put(f, 3, 0);
	assert_int_equal(cvmm_virtq_pop_batch(&f->d.vq, iov, IOV_COUNT, chains, 4), 2);
	assert_int_equal(cvmm_virtq_pop_batch(&f->d.vq, iov, IOV_COUNT, chains, 4), -EAGAIN);
	assert_true(map_missed(f));
	assert_int_equal(cvmm_virtq_pop_batch(&f->d.vq, iov, IOV_COUNT, chains, 4), 2);
	assert_int_equal(chains[0].head, 2);
	assert_int_equal(chains[1].head, 3);
}

/* ---- rights -------------------------------------------------------------------------------- */

static void expect_broken(struct fixture *f, enum cvmm_virtq_violation want)
{
	struct cvmm_virtq_chain chain;

	assert_int_equal(pop(f, &chain), -EPROTO);
	assert_string_equal(cvmm_virtq_violation_name(cvmm_virtq_violation(&f->d.vq)),
			    cvmm_virtq_violation_name(want));
	assert_int_equal(f->fails, 1);
}

static void writable_buffer_without_the_right_is_a_violation(void **state)
{
	struct fixture *f = *state;

	map_all(f);
	map_page(f, DATA_PAGE, RO);
	put(f, 0, WRITE);
	expect_broken(f, CVMM_VIRTQ_BAD_BUFFER);
}

static void readable_buffer_without_the_right_is_a_violation(void **state)
{
	struct fixture *f = *state;

	map_all(f);
	map_page(f, DATA_PAGE, CVMM_ACCESS_WRITE);
	put(f, 0, 0);
	expect_broken(f, CVMM_VIRTQ_BAD_BUFFER);
}

static void read_only_pages_serve_readable_buffers(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain chain;

	map_all(f);
	map_page(f, DATA_PAGE, RO);
	map_page(f, 6, RO);
	map_page(f, 7, RO);
	put(f, 0, 0);
	assert_int_equal(pop(f, &chain), 1);
	put_table(f, 1);
	assert_int_equal(pop(f, &chain), 1);
}

static void table_without_the_right_is_a_violation(void **state)
{
	struct fixture *f = *state;

	map_all(f);
	map_page(f, 7, CVMM_IOTLB_NO_ACCESS);
	put_table(f, 0);
	expect_broken(f, CVMM_VIRTQ_INDIRECT_BAD_ADDRESS);
}

static void area_without_the_right_breaks_the_queue(void **state)
{
	struct fixture *f = *state;
	bool packed = f->d.config.packed;
	const uint32_t read_pages[] = { 0, DRIVER_PAGE };

	for (size_t i = 0; i < (packed ? 1 : 2); i++) {
		start(f, config_of(packed));
		map_all(f);
		map_page(f, read_pages[i], CVMM_IOTLB_NO_ACCESS);
		put(f, 0, 0);
		expect_broken(f, CVMM_VIRTQ_BAD_AREA);
	}
}

static void used_area_without_the_right_breaks_the_queue(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain chain;

	map_all(f);
	put(f, 0, 0);
	assert_int_equal(pop(f, &chain), 1);
	map_page(f, f->d.config.packed ? 0 : DEVICE_PAGE, RO);
	assert_int_equal(cvmm_virtq_push(&f->d.vq, 0, 0), -EPROTO);
	assert_int_equal(cvmm_virtq_violation(&f->d.vq), CVMM_VIRTQ_BAD_AREA);
	assert_int_equal(cvmm_virtq_violation_count(&f->d.vq, CVMM_VIRTQ_BAD_AREA), 1);
	expect_none_used(f);
}

/* ---- notifications ------------------------------------------------------------------------- */

static void driver_that_cannot_be_asked_is_notified(void **state)
{
	struct fixture *f = *state;
	bool packed = f->d.config.packed;
	struct cvmm_virtq_chain chain;

	map_all(f);
	if (packed)
		test_packed_set_event(&f->d, 0, true, CVMM_VIRTQ_EVENT_DISABLE);
	else
		cvmm_put_le16(f->d.avail, CVMM_VIRTQ_AVAIL_F_NO_INTERRUPT);
	for (int with_miss = 0; with_miss < 2; with_miss++) {
		put(f, 0, 0);
		assert_int_equal(pop(f, &chain), 1);
		assert_int_equal(cvmm_virtq_push(&f->d.vq, 0, 0), 0);
		if (with_miss)
			unmap_page(f, DRIVER_PAGE);
		assert_int_equal(cvmm_virtq_should_notify(&f->d.vq), with_miss);
	}
}

/* Otherwise the device would sleep, and the driver not wake it. */
static void wish_for_kicks_that_cannot_be_written_keeps_the_device_awake(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_config config = config_of(f->d.config.packed);
	struct cvmm_virtq_chain chain;

	for (int event_idx = 0; event_idx < 2; event_idx++) {
		config.event_idx = event_idx;
		/* Split: the event index on the page of the elements. */
		config.used.addr = DEVICE_PAGE * TEST_PAGE;
		start(f, config);
		map_all(f);
		cvmm_virtq_disable_notifications(&f->d.vq);
		unmap_page(f, DEVICE_PAGE);
		assert_true(cvmm_virtq_enable_notifications(&f->d.vq));
		assert_int_equal(pop(f, &chain), -EAGAIN);
		assert_int_equal(pop(f, &chain), -EAGAIN);
		assert_true(map_missed(f));
		assert_int_equal(pop(f, &chain), 0);
		assert_false(cvmm_virtq_enable_notifications(&f->d.vq));
		/* What comes meanwhile is served all the same. */
		unmap_page(f, DEVICE_PAGE);
		assert_true(cvmm_virtq_enable_notifications(&f->d.vq));
		put(f, 0, 0);
		assert_int_equal(pop(f, &chain), 1);
		/* A device that does not want kicks any more owes nothing. */
		cvmm_virtq_disable_notifications(&f->d.vq);
		assert_int_equal(pop(f, &chain), 0);
	}
}

static void wish_for_kicks_that_may_not_be_written_breaks_the_queue(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain chain;

	map_all(f);
	map_page(f, DEVICE_PAGE, RO);
	assert_true(cvmm_virtq_enable_notifications(&f->d.vq));
	assert_int_equal(pop(f, &chain), -EPROTO);
	assert_int_equal(cvmm_virtq_violation(&f->d.vq), CVMM_VIRTQ_BAD_AREA);
}

static void device_that_cannot_look_for_more_stays_awake(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain chain;

	map_all(f);
	unmap_page(f, f->d.config.packed ? 0 : DRIVER_PAGE);
	assert_true(cvmm_virtq_enable_notifications(&f->d.vq));
	assert_int_equal(pop(f, &chain), -EAGAIN);
}

/* ---- policy -------------------------------------------------------------------------------- */

static bool fail_all(void *ctx, enum cvmm_virtq_violation violation)
{
	struct fixture *f = ctx;

	(void)violation;
	f->asked++;
	return true;
}

static void failing_a_chain_may_have_to_wait(void **state)
{
	struct fixture *f = *state;
	uint32_t used_page = f->d.config.packed ? 1 : DEVICE_PAGE;
	struct cvmm_virtq_chain chain;
	struct moment before;

	cvmm_virtq_set_policy(&f->d.vq, fail_all, f);
	map_all(f);
	map_page(f, BAD_PAGE, CVMM_IOTLB_NO_ACCESS);
	test_put_one(&f->d, 5, BAD_PAGE * TEST_PAGE, 64, 0);
	put(f, 6, WRITE);
	unmap_page(f, used_page);
	for (int i = 0; i < 3; i++) {
		before = moment_of(f);
		assert_int_equal(pop(f, &chain), -EAGAIN);
		expect_unchanged(f, &before);
	}
	map_page(f, used_page, RW);
	assert_int_equal(pop(f, &chain), 1);
	assert_int_equal(chain.head, 6);
	assert_int_equal(cvmm_virtq_violation_count(&f->d.vq, CVMM_VIRTQ_BAD_BUFFER), 1);
	expect_used(f, 5, 0);
	expect_none_used(f);
}

/* Where a list ends must be known before it can be failed. */
static void end_of_a_bad_list_may_have_to_be_waited_for(void **state)
{
	struct fixture *f = *state;
	struct cvmm_virtq_chain chain;
	struct moment before;
	uint16_t id;
	uint32_t len;

	if (!f->d.config.packed)
		start(f, config_of(true));
	cvmm_virtq_set_policy(&f->d.vq, fail_all, f);
	map_all(f);
	map_page(f, BAD_PAGE, CVMM_IOTLB_NO_ACCESS);
	unmap_page(f, 1);
	for (uint16_t i = 0; i < 9; i++) /* the ninth is on page 1 */
		test_packed_put(&f->d, i ? DATA_AT : BAD_PAGE * TEST_PAGE, 8, i < 8 ? NEXT : 0, i);
	before = moment_of(f);
	assert_int_equal(pop(f, &chain), -EAGAIN);
	expect_unchanged(f, &before);
	map_page(f, 1, RW);
	assert_int_equal(pop(f, &chain), 0);
	assert_true(test_packed_take(&f->d, 9, &id, &len));
	assert_int_equal(id, 8);
	assert_int_equal(len, 0);
}

static void areas_are_not_for_the_policy_to_say(void **state)
{
	struct fixture *f = *state;

	cvmm_virtq_set_policy(&f->d.vq, fail_all, f);
	map_all(f);
	map_page(f, 0, CVMM_IOTLB_NO_ACCESS);
	put(f, 0, 0);
	expect_broken(f, CVMM_VIRTQ_BAD_AREA);
	assert_int_equal(f->asked, 0);
}

#define TEST(fn)                                                    \
	{ #fn " (split)", fn, set_up_split, tear_down, NULL },      \
	{                                                           \
#fn " (packed)", fn, set_up_packed, tear_down, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(start_needs_no_translations),
		TEST(start_refuses_misaligned_areas_and_those_that_pass_the_end),
		TEST(rings_and_buffers_may_be_scattered),
		TEST(buffer_over_pages_is_as_many_pieces),
		TEST(each_miss_of_a_pop_changes_nothing_and_is_asked_for),
		TEST(each_miss_of_a_push_changes_nothing_and_is_asked_for),
		TEST(index_that_cannot_be_written_leaves_the_queue_where_it_was),
		TEST(in_order_what_cannot_be_given_now_is_given_later),
		TEST(invalidated_rings_work_again_after_an_update),
		TEST(ring_page_that_moves_is_found_again),
		TEST(buffers_in_flight_outlive_their_translation),
		TEST(batch_ends_where_a_translation_is_missing),
		TEST(writable_buffer_without_the_right_is_a_violation),
		TEST(readable_buffer_without_the_right_is_a_violation),
		TEST(read_only_pages_serve_readable_buffers),
		TEST(table_without_the_right_is_a_violation),
		TEST(area_without_the_right_breaks_the_queue),
		TEST(used_area_without_the_right_breaks_the_queue),
		TEST(driver_that_cannot_be_asked_is_notified),
		TEST(wish_for_kicks_that_cannot_be_written_keeps_the_device_awake),
		TEST(wish_for_kicks_that_may_not_be_written_breaks_the_queue),
		TEST(device_that_cannot_look_for_more_stays_awake),
		TEST(failing_a_chain_may_have_to_wait),
		TEST(end_of_a_bad_list_may_have_to_be_waited_for),
		TEST(areas_are_not_for_the_policy_to_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
