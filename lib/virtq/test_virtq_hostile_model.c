// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Drivers of packed rings that write nonsense, directly, behind an IOMMU that lacks pages and rights,
 * and with a device that fails bad lists instead of breaking the queue. Every call must end in a
 * defined way, and every violation that packed rings know must have been seen. Split rings are in
 * test_virtq_model.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <cvmm/mem_iommu.h>

#include "test_driver.h"

#define ROUNDS 40000U
#define ROUND_OPERATIONS 10U /* about; for long runs */
#define SIZE_MAX_HERE 32U
#define TABLES UINT64_C(0x180000)
#define TABLE_DESCS 16U
#define HUGE_GPA UINT64_C(0x100000000)
#define HUGE_BYTES (UINT32_C(1) << 30)
#define POLICY_BREAKS_BELOW 4U /* of 16 bad lists */

struct hostile {
	struct test_driver d;
	struct cvmm_mem *behind; /* the IOMMU's map */
	struct cvmm_iotlb *iotlb;
	uint64_t random;
	bool policy_on;
	uint32_t failed; /* as the policy said */
	unsigned int seen[CVMM_VIRTQ_VIOLATION_COUNT];
};

static bool policy(void *ctx, enum cvmm_virtq_violation violation)
{
	struct hostile *h = ctx;

	assert_true(violation > CVMM_VIRTQ_OK && violation < CVMM_VIRTQ_VIOLATION_COUNT);
	assert_int_not_equal(violation, CVMM_VIRTQ_BAD_AREA);
	if (!h->policy_on || test_below(&h->random, 16) < POLICY_BREAKS_BELOW)
		return false;
	h->failed++;
	return true;
}

/* RAM, and addresses that nobody touches, of which lists can be too long. */
static int set_up(void **state)
{
	const struct cvmm_mem_config huge = {
		.gpa = { HUGE_GPA },
		.len_bytes = HUGE_BYTES,
		.kind = CVMM_MEM_ANONYMOUS,
		.access = CVMM_ACCESS_READ_WRITE,
	};
	struct hostile *h = calloc(1, sizeof(*h));
	struct cvmm_mem_iommu_config iommu = { .iotlb = NULL };
	struct cvmm_mem *mem;

	CVMM_BUG_ON(!h);
	test_driver_init(&h->d, 8);
	CVMM_BUG_ON(cvmm_mem_insert(h->d.mem, &huge, &mem, NULL));
	cvmm_virtq_stop(&h->d.vq);
	cvmm_mem_unref(h->d.mem);
	h->d.mem = mem;
	CVMM_BUG_ON(cvmm_iotlb_create(64, &h->iotlb, NULL));
	iommu.backing = h->d.mem;
	iommu.iotlb = h->iotlb;
	CVMM_BUG_ON(cvmm_mem_create_iommu(&iommu, &h->behind, NULL));
	cvmm_virtq_set_policy(&h->d.vq, policy, h);
	h->random = UINT64_C(0x2545f4914f6cdd1d);
	*state = h;
	return 0;
}

static int tear_down(void **state)
{
	struct hostile *h = *state;

	h->d.device_mem = NULL;
	test_driver_fini(&h->d);
	cvmm_mem_unref(h->behind);
	cvmm_iotlb_destroy(h->iotlb);
	free(h);
	return 0;
}

static uint64_t hostile_addr(uint64_t *random)
{
	static const uint64_t odd[] = { 0,	  TEST_SEAM - 8, TEST_RAM_END - 8, TEST_RAM_END,
					TEST_ROM, UINT64_MAX,	 UINT64_MAX - 15 };

	if (!test_below(random, 16))
		return HUGE_GPA;
	if (test_below(random, 12))
		return test_below(random, TEST_RAM_END - 4096);
	return odd[test_below(random, CVMM_ARRAY_SIZE(odd))];
}

static uint32_t hostile_len(uint64_t *random, uint64_t addr, uint16_t flags)
{
	static const uint32_t odd[] = { 0,     1,	    8,		24,
					65536, 0x80000000U, UINT32_MAX, 65536 * DESC_SIZE };

	if (addr == HUGE_GPA)
		return HUGE_BYTES - test_below(random, 2);
	if (!test_below(random, 16))
		return odd[test_below(random, CVMM_ARRAY_SIZE(odd))];
	if (flags & CVMM_VIRTQ_DESC_F_INDIRECT)
		return (1 + test_below(random, TABLE_DESCS)) * DESC_SIZE;
	return test_below(random, 4096);
}

static uint16_t hostile_flags(uint64_t *random)
{
	uint16_t flags = 0;

	if (!test_below(random, 50))
		return (uint16_t)(test_random(random) &
				  ~(uint64_t)(CVMM_VIRTQ_DESC_F_AVAIL | CVMM_VIRTQ_DESC_F_USED));
	if (test_below(random, 3))
		flags |= CVMM_VIRTQ_DESC_F_NEXT;
	if (test_below(random, 4) == 0)
		flags |= CVMM_VIRTQ_DESC_F_WRITE;
	if (test_below(random, 8))
		return flags;
	if (test_below(random, 3))
		flags &= (uint16_t)~CVMM_VIRTQ_DESC_F_NEXT;
	return (uint16_t)(flags | CVMM_VIRTQ_DESC_F_INDIRECT);
}

static void hostile_table(struct hostile *h)
{
	uint8_t *table = test_host(&h->d, TABLES, TABLE_DESCS * DESC_SIZE);

	for (uint32_t i = 0; i < TABLE_DESCS; i++, table += DESC_SIZE) {
		uint64_t addr = hostile_addr(&h->random);
		uint16_t flags = test_below(&h->random, 4) ? CVMM_VIRTQ_DESC_F_WRITE : 0;

		cvmm_put_le64(table, addr);
		cvmm_put_le32(table + PACKED_REST, hostile_len(&h->random, addr, flags));
		cvmm_put_le16(table + PACKED_FLAGS, flags);
	}
}

/* Makes up to as many descriptors available as the ring has. */
static void hostile_packed(struct hostile *h)
{
	uint16_t size = h->d.config.size;
	uint32_t count = test_below(&h->random, size + 1U);
	bool all_next = !test_below(&h->random, 12);
	bool all_huge = test_below(&h->random, 2);

	hostile_table(h);
	for (uint32_t i = 0; i < count; i++) {
		uint16_t flags = hostile_flags(&h->random);
		uint16_t id = (uint16_t)test_below(&h->random,
						   size + (test_below(&h->random, 30) ? 0U : 1U));
		uint64_t addr = hostile_addr(&h->random);
		uint32_t len;

		/* Rings that are one long list, of buffers that are fine, or too long together. */
		if (all_next) {
			flags = !all_huge || i + 1 < count ? CVMM_VIRTQ_DESC_F_NEXT : 0;
			addr = all_huge ? HUGE_GPA : TEST_DATA;
		}
		len = hostile_len(&h->random, addr, flags);
		if (flags & CVMM_VIRTQ_DESC_F_INDIRECT && test_below(&h->random, 4))
			addr = TABLES + test_below(&h->random, 2) * DESC_SIZE;
		test_packed_put(&h->d, addr, len, flags, id);
	}
	cvmm_put_le32(h->d.avail, (uint32_t)test_random(&h->random));
}

/* What the IOMMU knows: most of it, with the rights or without. */
static void hostile_iommu(struct hostile *h)
{
	static const struct {
		uint64_t iova;
		uint64_t len;
	} parts[] = { { 0, TEST_PAGE },
		      { TEST_PAGE, TABLES - TEST_PAGE },
		      { TABLES, TEST_SEAM - TABLES },
		      { TEST_SEAM, TEST_RAM_END - TEST_SEAM },
		      { HUGE_GPA, HUGE_BYTES },
		      { TEST_ROM, TEST_PAGE } };

	cvmm_iotlb_invalidate_all(h->iotlb);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(parts); i++) {
		unsigned int rights = CVMM_ACCESS_READ_WRITE;

		if (!test_below(&h->random, 12))
			continue;
		if (!test_below(&h->random, 12))
			rights = test_below(&h->random, 3);
		assert_int_equal(cvmm_iotlb_set(h->iotlb, parts[i].iova, parts[i].len,
						parts[i].iova, rights),
				 0);
	}
}

static void check_chain(struct hostile *h, const struct cvmm_virtq_chain *chain, size_t iov_max)
{
	assert_true(chain->head < h->d.config.size);
	assert_true((size_t)chain->readable_count + chain->writable_count <= iov_max);
	assert_true(cvmm_iov_len(chain->readable, chain->readable_count) == chain->readable_bytes);
	assert_true(cvmm_iov_len(chain->writable, chain->writable_count) == chain->writable_bytes);
}

static void check_books(struct hostile *h)
{
	const struct cvmm_virtq *vq = &h->d.vq;
	uint32_t in_flight = 0, descs = 0;

	for (uint32_t i = 0; i < vq->size; i++) {
		in_flight += vq->slots[i].descs > 0;
		descs += vq->slots[i].descs;
	}
	assert_int_equal(in_flight, vq->in_flight);
	assert_int_equal(descs, vq->descs_in_use);
	assert_true(!(vq->flags & VIRTQ_PACKED) || descs <= vq->size);
}

static void hostile_round(struct hostile *h)
{
	struct cvmm_virtq *vq = &h->d.vq;
	size_t iov_max = 1 + test_below(&h->random, 64);
	struct cvmm_virtq_chain chain;
	uint16_t last = 0xffff;
	struct iovec iov[64];
	uint32_t i;
	int ret = 1;

	for (i = 0; i < 4U * SIZE_MAX_HERE && ret == 1; i++) {
		struct cvmm_virtq_base before = cvmm_virtq_base(vq);

		ret = cvmm_virtq_pop(vq, iov, iov_max, &chain);
		if (ret == -EAGAIN && !h->failed)
			assert_int_equal(cvmm_virtq_base(vq).next_avail, before.next_avail);
		check_books(h);
		if (ret != 1)
			break;
		check_chain(h, &chain, iov_max);
		if (test_below(&h->random, 2))
			cvmm_virtq_push(vq, chain.head, chain.writable_bytes);
		else if (!test_below(&h->random, 8))
			cvmm_virtq_rewind(vq, chain.head);
		else
			last = chain.head;
		if (!test_below(&h->random, 4))
			cvmm_virtq_push(vq, last, 0);
		check_books(h);
		cvmm_virtq_should_notify(vq);
		cvmm_virtq_enable_notifications(vq);
		if (!test_below(&h->random, 8))
			hostile_packed(h);
	}
	assert_true(ret >= 0 || ret == -EPROTO || (ret == -EAGAIN && h->d.device_mem));
	assert_true((ret == -EPROTO) <= (cvmm_virtq_violation(vq) != CVMM_VIRTQ_OK));
	h->seen[cvmm_virtq_violation(vq)]++;
}

static void run(struct hostile *h, bool behind_iommu, bool policy_on)
{
	uint32_t rounds = test_operations(ROUNDS * ROUND_OPERATIONS) / ROUND_OPERATIONS;

	h->d.device_mem = behind_iommu ? h->behind : NULL;
	h->policy_on = policy_on;
	for (uint32_t i = 0; i < rounds; i++) {
		struct cvmm_virtq_config config =
			test_packed_config((uint16_t)(1 + test_below(&h->random, SIZE_MAX_HERE)));

		config.event_idx = test_below(&h->random, 2);
		config.indirect = test_below(&h->random, 8);
		config.in_order = !test_below(&h->random, 4);
		if (!test_below(&h->random, 4))
			config.desc.addr = TEST_PAGE - 4 * DESC_SIZE;
		if (config.desc.addr)
			config.avail.addr = 2 * TEST_PAGE, config.used.addr = 3 * TEST_PAGE;
		test_driver_start(&h->d, &config);
		if (behind_iommu)
			hostile_iommu(h);
		hostile_packed(h);
		hostile_round(h);
		if (behind_iommu && cvmm_virtq_violation(&h->d.vq) == CVMM_VIRTQ_OK) {
			hostile_iommu(h);
			hostile_round(h);
		}
	}
}

static void expect_seen(struct hostile *h, bool behind_iommu)
{
	for (unsigned int i = 0; i < CVMM_VIRTQ_VIOLATION_COUNT; i++) {
		/* Of split rings. */
		if (i == CVMM_VIRTQ_BAD_AVAIL_INDEX || i == CVMM_VIRTQ_BAD_NEXT ||
		    i == CVMM_VIRTQ_INDIRECT_NESTED)
			continue;
		/* Only behind an IOMMU areas go. */
		if (i == CVMM_VIRTQ_BAD_AREA && !behind_iommu)
			continue;
		if (!h->seen[i])
			print_message("never seen: %s\n",
				      cvmm_virtq_violation_name((enum cvmm_virtq_violation)i));
		assert_true(h->seen[i]);
	}
}

static void hostile_driver_only_breaks_its_queue(void **state)
{
	run(*state, false, false);
	expect_seen(*state, false);
}

static void hostile_driver_behind_an_iommu_only_breaks_its_queue(void **state)
{
	run(*state, true, false);
	expect_seen(*state, true);
}

static void hostile_driver_whose_lists_are_failed_is_served_or_broken(void **state)
{
	struct hostile *h = *state;

	run(h, false, true);
	expect_seen(h, false);
	assert_true(h->failed > 1000);
}

static void hostile_driver_behind_an_iommu_whose_lists_are_failed_is_served_or_broken(void **state)
{
	struct hostile *h = *state;

	run(h, true, true);
	expect_seen(h, true);
	assert_true(h->failed > 1000);
}

/* Not even the shape of a ring. */
static void random_bytes_only_break_the_queue(void **state)
{
	struct hostile *h = *state;
	struct cvmm_virtq_chain chain;
	struct iovec iov[32];
	int ret;

	for (uint32_t i = 0; i < ROUNDS; i++) {
		struct cvmm_virtq_config config =
			test_packed_config((uint16_t)(1 + test_below(&h->random, 100)));

		h->policy_on = i & 1;
		test_driver_start(&h->d, &config);
		for (uint32_t at = 0; at < config.size * DESC_SIZE; at++)
			h->d.desc[at] = (uint8_t)(test_random(&h->random) >> 56);
		for (uint32_t left = 400; left; left--) {
			ret = cvmm_virtq_pop(&h->d.vq, iov, CVMM_ARRAY_SIZE(iov), &chain);
			if (ret != 1)
				break;
			cvmm_virtq_push(&h->d.vq, chain.head, 0);
		}
		check_books(h);
		assert_true(ret == 0 || ret == 1 || ret == -EPROTO);
		h->seen[cvmm_virtq_violation(&h->d.vq)]++;
	}
	assert_true(h->seen[CVMM_VIRTQ_BAD_BUFFER]);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(hostile_driver_only_breaks_its_queue),
		TEST(hostile_driver_behind_an_iommu_only_breaks_its_queue),
		TEST(hostile_driver_whose_lists_are_failed_is_served_or_broken),
		TEST(hostile_driver_behind_an_iommu_whose_lists_are_failed_is_served_or_broken),
		TEST(random_bytes_only_break_the_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
