// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Inflight regions: what they contain, that who comes next finds every chain, and that a device which is
 * killed again and again, between whichever two instructions, loses none and completes none twice.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
/* Linux, and not as if it were another system: each has a ptrace() of its own. */
#if defined(__linux__) && defined(_GNU_SOURCE)
#define HAS_LINUX_PTRACE
#include <sys/ptrace.h>
#endif
#include <cmocka.h>

#include <cvmm/mem_iommu.h>
#include <cvmm/virtq_driver.h>

#include "test_driver.h"

#define SIZE_MAX_TEST 16U
#define REGION_BYTES 4096U
#define DATA UINT64_C(0x10000)
#define RAM UINT64_C(0x40000)

struct pair {
	struct cvmm_mem *mem;
	struct cvmm_virtq_driver drv;
	struct cvmm_virtq vq;
	struct cvmm_virtq_config config;
	uint8_t *region; /* shared with children */
};

static void start_device(struct pair *p)
{
	struct cvmm_error err = { 0 };

	assert_int_equal(cvmm_virtq_start(&p->vq, p->mem, &p->config, NULL), 0);
	if (cvmm_virtq_set_inflight(&p->vq, p->region, REGION_BYTES, &err))
		fail_msg("%s", err.message);
}

static void pair_init(struct pair *p, uint16_t size, bool packed, bool indirect)
{
	const struct cvmm_mem_config ram = { .len_bytes = RAM,
					     .kind = CVMM_MEM_MEMFD,
					     .access = CVMM_ACCESS_READ_WRITE };
	struct cvmm_virtq_driver_config config = {
		.size = size, .packed = packed, .indirect = indirect, .table_entries = 4
	};
	uint64_t bytes;

	*p = (struct pair){ 0 };
	assert_int_equal(cvmm_mem_create(&ram, 1, &p->mem, NULL), 0);
	assert_int_equal(cvmm_virtq_driver_layout(&config, cvmm_gpa_from(0), &bytes), 0);
	assert_int_equal(cvmm_virtq_driver_init(&p->drv, p->mem, &config, NULL), 0);
	p->region =
		mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(p->region != MAP_FAILED);
	assert_int_equal(cvmm_virtq_init(&p->vq, SIZE_MAX_TEST), 0);
	p->config = (struct cvmm_virtq_config){
		.size = size,
		.desc = config.desc,
		.avail = config.driver_area,
		.used = config.device_area,
		.packed = packed,
		.indirect = indirect,
	};
	start_device(p);
}

static void pair_fini(struct pair *p)
{
	cvmm_virtq_fini(&p->vq);
	cvmm_virtq_driver_fini(&p->drv);
	cvmm_mem_unref(p->mem);
	munmap(p->region, REGION_BYTES);
}

/* Chain @token: @descs descriptors of as many bytes as its number says. */
static int try_add(struct pair *p, uint32_t token, size_t descs)
{
	struct cvmm_virtq_segment segments[4];

	for (size_t i = 0; i < descs; i++)
		segments[i] = (struct cvmm_virtq_segment){ { DATA }, 1 + token % 1000 };
	return cvmm_virtq_driver_add(&p->drv, segments, 0, descs, (void *)(uintptr_t)token);
}

static void add(struct pair *p, uint32_t token, size_t descs)
{
	assert_int_equal(try_add(p, token, descs), 0);
	cvmm_virtq_driver_publish(&p->drv);
}

static int pop(struct pair *p, struct cvmm_virtq_chain *chain)
{
	static struct iovec iov[8];

	return cvmm_virtq_pop(&p->vq, iov, 8, chain);
}

/* Pops a chain that must be there and be of this token. */
static uint16_t must_pop(struct pair *p, uint32_t token, size_t descs)
{
	struct cvmm_virtq_chain chain;

	assert_int_equal(pop(p, &chain), 1);
	assert_int_equal(chain.writable_count, descs);
	assert_int_equal(chain.writable[0].iov_len, 1 + token % 1000);
	return chain.head;
}

/* As if the process had been killed: nothing is told to anybody. */
static void die_and_come_back(struct pair *p)
{
	cvmm_virtq_stop(&p->vq);
	start_device(p);
}

static uint32_t must_take(struct pair *p)
{
	uint32_t len = 0;
	void *token = NULL;

	assert_int_equal(cvmm_virtq_driver_take(&p->drv, &token, &len), 1);
	return (uint32_t)(uintptr_t)token;
}

/* ---- single steps --------------------------------------------------------------------------- */

static void regions_have_the_sizes_of_the_standard(void **state)
{
	(void)state;
	assert_int_equal(cvmm_virtq_inflight_bytes(256, false), 4160); /* 16 + 256 * 16, in 64s */
	assert_int_equal(cvmm_virtq_inflight_bytes(256, true), 8256);  /* 32 + 256 * 32, in 64s */
	assert_int_equal(cvmm_virtq_inflight_bytes(1, false), 64);
	assert_int_equal(cvmm_virtq_inflight_bytes(32768, true), 1048640);
}

static void split_region_has_the_bytes_of_the_standard(void **state)
{
	struct pair p;
	uint16_t head;

	(void)state;
	pair_init(&p, 8, false, false);
	assert_int_equal(cvmm_get_le16(p.region + 8), 1);  /* version */
	assert_int_equal(cvmm_get_le16(p.region + 10), 8); /* desc_num */
	add(&p, 1, 1);
	add(&p, 2, 2);
	must_pop(&p, 1, 1);
	head = must_pop(&p, 2, 2);
	assert_int_equal(p.region[16 + head * 16], 1);			   /* inflight */
	assert_int_equal(cvmm_get_le64(p.region + 16 + head * 16 + 8), 1); /* counter */
	assert_int_equal(cvmm_virtq_push(&p.vq, head, 0), 0);
	assert_int_equal(p.region[16 + head * 16], 0);
	assert_int_equal(cvmm_get_le16(p.region + 12), head); /* last_batch_head */
	assert_int_equal(cvmm_get_le16(p.region + 14), 1);    /* used_idx */
	pair_fini(&p);
}

static void packed_region_has_the_bytes_of_the_standard(void **state)
{
	struct pair p;
	uint16_t id;

	(void)state;
	pair_init(&p, 5, true, false);
	assert_int_equal(cvmm_get_le16(p.region + 8), 1);  /* version */
	assert_int_equal(cvmm_get_le16(p.region + 10), 5); /* desc_num */
	assert_int_equal(p.region[20], 1);		   /* used_wrap_counter */
	add(&p, 7, 2);
	id = must_pop(&p, 7, 2);
	assert_int_equal(p.region[32], 1);			 /* desc[0].inflight */
	assert_int_equal(cvmm_get_le16(p.region + 32 + 4), 1);	 /* last */
	assert_int_equal(cvmm_get_le16(p.region + 32 + 6), 2);	 /* num */
	assert_int_equal(cvmm_get_le16(p.region + 64 + 16), id); /* desc[1].id */
	assert_int_equal(cvmm_get_le32(p.region + 64 + 20), 8);	 /* len */
	assert_int_equal(cvmm_get_le64(p.region + 64 + 24), DATA);
	assert_int_equal(cvmm_get_le16(p.region + 12), 2); /* free_head */
	assert_int_equal(cvmm_virtq_push(&p.vq, id, 8), 0);
	assert_int_equal(p.region[32], 0);
	assert_int_equal(cvmm_get_le16(p.region + 12), 0);	    /* free_head */
	assert_int_equal(cvmm_get_le16(p.region + 16), 2);	    /* used_idx */
	assert_int_equal(cvmm_get_le16(p.region + 32 + 32 + 2), 2); /* desc[1].next */
	pair_fini(&p);
}

static void chains_in_flight_come_again_in_their_order(void **state)
{
	(void)state;
	for (int packed = 0; packed < 2; packed++) {
		uint16_t heads[4];
		struct pair p;

		pair_init(&p, 8, packed, false);
		for (uint32_t i = 0; i < 4; i++) {
			add(&p, 10 + i, 1 + i % 2);
			heads[i] = must_pop(&p, 10 + i, 1 + i % 2);
		}
		assert_int_equal(cvmm_virtq_push(&p.vq, heads[2], 1), 0);
		die_and_come_back(&p);
		die_and_come_back(&p); /* finding them twice changes nothing */
		heads[0] = must_pop(&p, 10, 1);
		must_pop(&p, 11, 2);
		assert_int_equal(cvmm_virtq_push(&p.vq, heads[0], 1), 0);
		die_and_come_back(&p);
		add(&p, 14, 1);
		assert_int_equal(cvmm_virtq_push(&p.vq, must_pop(&p, 11, 2), 1), 0);
		assert_int_equal(cvmm_virtq_push(&p.vq, must_pop(&p, 13, 2), 1), 0);
		assert_int_equal(cvmm_virtq_push(&p.vq, must_pop(&p, 14, 1), 1), 0);
		assert_int_equal(must_take(&p), 12);
		assert_int_equal(must_take(&p), 10);
		assert_int_equal(must_take(&p), 11);
		assert_int_equal(must_take(&p), 13);
		assert_int_equal(must_take(&p), 14);
		pair_fini(&p);
	}
}

static void chains_that_came_again_can_be_rewound(void **state)
{
	(void)state;
	for (int packed = 0; packed < 2; packed++) {
		struct cvmm_virtq_chain chain;
		uint16_t a, b, c;
		struct pair p;

		pair_init(&p, 8, packed, true);
		for (uint32_t i = 0; i < 2; i++) {
			add(&p, i, 2);
			must_pop(&p, i, 2);
		}
		die_and_come_back(&p);
		add(&p, 2, 2);
		a = must_pop(&p, 0, 2);
		b = must_pop(&p, 1, 2);
		c = must_pop(&p, 2, 2);
		assert_int_equal(cvmm_virtq_rewind(&p.vq, b), -EINVAL);
		assert_int_equal(cvmm_virtq_rewind(&p.vq, c), 0);
		assert_int_equal(cvmm_virtq_rewind(&p.vq, b), 0);
		assert_true(cvmm_virtq_enable_notifications(&p.vq));
		die_and_come_back(&p);
		assert_int_equal(must_pop(&p, 0, 2), a);
		assert_int_equal(must_pop(&p, 1, 2), b);
		assert_int_equal(must_pop(&p, 2, 2), c);
		assert_int_equal(pop(&p, &chain), 0);
		pair_fini(&p);
	}
}

static void foreign_regions_are_refused(void **state)
{
	struct cvmm_error err = { 0 };
	struct pair p;

	(void)state;
	pair_init(&p, 8, true, false);
	assert_int_equal(cvmm_virtq_set_inflight(&p.vq, p.region, REGION_BYTES, &err), -EINVAL);
	cvmm_virtq_stop(&p.vq);
	assert_int_equal(cvmm_virtq_start(&p.vq, p.mem, &p.config, NULL), 0);
	assert_int_equal(cvmm_virtq_set_inflight(&p.vq, p.region, 319, &err), -EINVAL);
	assert_int_equal(cvmm_virtq_set_inflight(&p.vq, p.region + 4, 1024, &err), -EINVAL);
	cvmm_put_le16(p.region + 10, 7);
	assert_int_equal(cvmm_virtq_set_inflight(&p.vq, p.region, REGION_BYTES, &err), -EINVAL);
	cvmm_put_le16(p.region + 10, 8);
	cvmm_put_le16(p.region + 8, 2);
	assert_int_equal(cvmm_virtq_set_inflight(&p.vq, p.region, REGION_BYTES, &err), -EINVAL);
	cvmm_put_le16(p.region + 8, 1);
	cvmm_put_le16(p.region + 18, 8); /* old_used_idx */
	assert_int_equal(cvmm_virtq_set_inflight(&p.vq, p.region, REGION_BYTES, &err), -EINVAL);
	cvmm_put_le16(p.region + 18, 0);
	cvmm_put_le16(p.region + 32 + 2, 0); /* desc[0].next: a loop */
	assert_int_equal(cvmm_virtq_set_inflight(&p.vq, p.region, REGION_BYTES, &err), -EINVAL);
	assert_non_null(strstr(err.message, "loops"));
	cvmm_put_le16(p.region + 32 + 2, 1);
	assert_int_equal(cvmm_virtq_set_inflight(&p.vq, p.region, REGION_BYTES, NULL), 0);
	pair_fini(&p);
}

/* Pops and gives back more than a ring of lists, so that all entries of the region are used. */
static void serve_full_rings(struct pair *p, uint32_t lists)
{
	uint16_t heads[SIZE_MAX_TEST];

	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < lists; i++)
			add(p, i, 1);
		for (uint32_t i = 0; i < lists; i++)
			heads[i] = must_pop(p, i, 1);
		for (uint32_t i = lists; i--;)
			assert_int_equal(cvmm_virtq_push(&p->vq, heads[i], 1), 0);
		for (uint32_t i = lists; i--;)
			assert_int_equal(must_take(p), i);
	}
}

/* Somebody died in a rewind, when the list was no longer in flight and not yet free. */
static void entries_that_a_rewind_lost_are_free_again(void **state)
{
	struct pair p;

	(void)state;
	pair_init(&p, 5, true, false);
	add(&p, 1, 2);
	must_pop(&p, 1, 2);
	p.region[32] = 0; /* desc[0].inflight */
	die_and_come_back(&p);
	assert_int_equal(cvmm_virtq_push(&p.vq, must_pop(&p, 1, 2), 1), 0);
	assert_int_equal(must_take(&p), 1);
	serve_full_rings(&p, 5);
	for (uint64_t i = cvmm_virtq_inflight_bytes(5, true); i < REGION_BYTES; i++)
		assert_int_equal(p.region[i], 0);
	pair_fini(&p);
}

/* A queue of an odd size ends where its region does: what is behind is not ours. */
static void a_region_without_enough_free_entries_is_filled_up(void **state)
{
	uint64_t bytes = cvmm_virtq_inflight_bytes(5, true);
	uint8_t behind[64];

	(void)state;
	memset(behind, 0x5a, sizeof(behind));
	for (unsigned int next = 0; next < 3; next++) {
		struct pair p;

		pair_init(&p, 5, true, false);
		memcpy(p.region + bytes, behind, sizeof(behind));
		/* None is free; or one, behind which are none, or what is no entry. */
		cvmm_put_le16(p.region + 12, next ? 1 : 5);		      /* free_head */
		cvmm_put_le16(p.region + 14, next ? 1 : 5);		      /* old_free_head */
		cvmm_put_le16(p.region + 64 + 2, next == 1 ? 5 : UINT16_MAX); /* desc[1].next */
		die_and_come_back(&p);
		serve_full_rings(&p, 5);
		assert_memory_equal(p.region + bytes, behind, sizeof(behind));
		pair_fini(&p);
	}
}

static void a_region_without_a_version_has_nothing_in_flight(void **state)
{
	(void)state;
	for (int packed = 0; packed < 2; packed++) {
		struct cvmm_virtq_chain chain;
		struct pair p;

		pair_init(&p, 8, packed, false);
		cvmm_put_le16(p.region + 8, 0);			       /* version */
		p.region[(packed ? 32 : 16) + (packed ? 32 : 16)] = 1; /* desc[1].inflight */
		die_and_come_back(&p);
		assert_int_equal(pop(&p, &chain), 0);
		die_and_come_back(&p); /* now it has one */
		assert_int_equal(pop(&p, &chain), 0);
		pair_fini(&p);
	}
}

/* Behind an IOMMU the ring may be there later, or be none of ours; the queue is as it was before. */
static void a_ring_that_cannot_be_read_says_whether_it_may_be_later(void **state)
{
	(void)state;
	for (int packed = 0; packed < 2; packed++) {
		struct cvmm_mem_iommu_config config = { 0 };
		struct cvmm_error err = { 0 };
		struct cvmm_iotlb *tlb;
		struct cvmm_mem *mem;
		struct pair p;

		pair_init(&p, 8, packed, false);
		cvmm_virtq_stop(&p.vq);
		if (packed)
			cvmm_put_le16(p.region + 16, 1); /* used_idx: a batch was begun */
		assert_int_equal(cvmm_iotlb_create(8, &tlb, NULL), 0);
		config.backing = p.mem;
		config.iotlb = tlb;
		assert_int_equal(cvmm_mem_create_iommu(&config, &mem, NULL), 0);
		assert_int_equal(cvmm_virtq_start(&p.vq, mem, &p.config, NULL), 0);
		assert_int_equal(cvmm_virtq_set_inflight(&p.vq, p.region, REGION_BYTES, &err),
				 -EAGAIN);
		assert_int_equal(cvmm_iotlb_set(tlb, 0, RAM, 0, 0), 0);
		assert_int_equal(cvmm_virtq_set_inflight(&p.vq, p.region, REGION_BYTES, &err),
				 -EINVAL);
		assert_non_null(strstr(err.message, "cannot be read"));
		assert_int_equal(cvmm_iotlb_set(tlb, 0, RAM, 0, CVMM_ACCESS_READ_WRITE), 0);
		assert_int_equal(cvmm_virtq_set_inflight(&p.vq, p.region, REGION_BYTES, &err), 0);
		cvmm_virtq_stop(&p.vq);
		cvmm_mem_unref(mem);
		cvmm_iotlb_destroy(tlb);
		pair_fini(&p);
	}
}

/**
 * struct meddler - a front-end that goes on writing to a region
 */
struct meddler {
	uint8_t *region;
	bool stop;
};

static void *meddle(void *ctx)
{
	struct meddler *m = ctx;
	uint16_t *used_idx = (uint16_t *)(void *)(m->region + 16);

	for (unsigned int i = 0; !__atomic_load_n(&m->stop, __ATOMIC_RELAXED); i++) {
		uint16_t v = i & 1 ? 0x7fff : 0;

		__atomic_store_n(&used_idx[0], v, __ATOMIC_RELAXED);
		__atomic_store_n(&used_idx[1], v, __ATOMIC_RELAXED); /* old_used_idx */
	}
	return NULL;
}

/* An index that was checked is not read again. */
static void an_index_that_changes_while_it_is_checked_stays_inside(void **state)
{
	struct meddler m = { 0 };
	pthread_t thread;
	struct pair p;

	(void)state;
	pair_init(&p, 8, true, false);
	m.region = p.region;
	assert_int_equal(pthread_create(&thread, NULL, meddle, &m), 0);
	for (unsigned int i = 0; i < 20000; i++) {
		cvmm_virtq_stop(&p.vq);
		assert_int_equal(cvmm_virtq_start(&p.vq, p.mem, &p.config, NULL), 0);
		(void)cvmm_virtq_set_inflight(&p.vq, p.region, REGION_BYTES, NULL);
		assert_true(p.vq.next_used < 8 && p.vq.next_avail < 8);
	}
	__atomic_store_n(&m.stop, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	pair_fini(&p);
}

/* ---- chains that are failed when they come again -------------------------------------------- */

static bool fail_it(void *ctx, enum cvmm_virtq_violation violation)
{
	(void)violation;
	++*(unsigned int *)ctx;
	return true;
}

/* A region of a split queue in which the first @count heads are in flight, in their order. */
static uint8_t *region_with_heads(uint16_t size, uint16_t count)
{
	uint8_t *region = aligned_alloc(64, (size_t)cvmm_virtq_inflight_bytes(size, false));

	assert_non_null(region);
	memset(region, 0, (size_t)cvmm_virtq_inflight_bytes(size, false));
	cvmm_put_le16(region + 8, 1); /* version */
	cvmm_put_le16(region + 10, size);
	for (uint32_t i = 0; i < count; i++) {
		region[16 + i * 16] = 1;
		cvmm_put_le64(region + 16 + i * 16 + 8, i);
	}
	return region;
}

static void a_full_ring_of_chains_that_are_failed_needs_no_stack(void **state)
{
	const uint16_t size = CVMM_VIRTQ_SIZE_MAX;
	uint64_t bytes = cvmm_virtq_inflight_bytes(size, false);
	struct cvmm_virtq_chain chain;
	struct test_driver d;
	unsigned int asked = 0;
	struct iovec iov[1];
	uint8_t *region;

	(void)state;
	test_driver_init(&d, size);
	cvmm_virtq_set_policy(&d.vq, fail_it, &asked);
	for (uint32_t i = 0; i < size; i++) {
		test_desc(&d, i, TEST_RAM_END, 8, 0, 0);
		test_make_available(&d, (uint16_t)i);
	}
	region = region_with_heads(size, size);
	assert_int_equal(cvmm_virtq_set_inflight(&d.vq, region, bytes, NULL), 0);
	assert_int_equal(cvmm_virtq_pop(&d.vq, iov, 1, &chain), 0);
	assert_int_equal(asked, size);
	assert_int_equal(cvmm_virtq_violation_count(&d.vq, CVMM_VIRTQ_BAD_BUFFER), size);
	for (uint32_t i = 0; i < size; i++) {
		uint32_t id, len;

		assert_true(test_take_used(&d, &id, &len));
		assert_int_equal(id, i);
		assert_int_equal(region[16 + i * 16], 0);
	}
	test_driver_fini(&d);
	free(region);
}

/* Too few iovecs behind others of a batch are not the driver's fault, whatever came in between. */
static void a_batch_ends_at_a_chain_without_room_behind_one_that_was_failed(void **state)
{
	uint64_t bytes = cvmm_virtq_inflight_bytes(8, false);
	struct cvmm_virtq_chain chains[2];
	struct test_driver d;
	unsigned int asked = 0;
	struct iovec iov[1];
	uint8_t *region;

	(void)state;
	test_driver_init(&d, 8);
	cvmm_virtq_set_policy(&d.vq, fail_it, &asked);
	test_make_simple(&d, 0);
	test_desc(&d, 1, 0, 0, CVMM_VIRTQ_DESC_F_NEXT, 8); /* next is outside */
	test_make_available(&d, 1);
	test_make_simple(&d, 2);
	region = region_with_heads(8, 2);
	assert_int_equal(cvmm_virtq_set_inflight(&d.vq, region, bytes, NULL), 0);
	assert_int_equal(cvmm_virtq_pop_batch(&d.vq, iov, 1, chains, 2), 1);
	assert_int_equal(chains[0].head, 0);
	assert_int_equal(asked, 1);
	assert_int_equal(cvmm_virtq_pop_batch(&d.vq, iov, 1, chains, 2), 1);
	assert_int_equal(chains[0].head, 2);
	assert_int_equal(asked, 1);
	test_driver_fini(&d);
	free(region);
}

/* Any bytes: refused, or popped as far as they go. The front-end may write while we use it, too. */
static void random_regions_do_no_harm(void **state)
{
	uint64_t random = UINT64_C(0x9e3779b97f4a7c15);
	unsigned int taken = 0, refused = 0;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		struct cvmm_virtq_chain chain;
		struct pair p;
		int ret;

		pair_init(&p, 8, round % 2, false);
		for (uint32_t i = 0; i < 3; i++) {
			add(&p, i, 1 + i % 2);
			must_pop(&p, i, 1 + i % 2);
		}
		cvmm_virtq_stop(&p.vq);
		for (uint32_t i = test_below(&random, 6); i; i--)
			p.region[test_below(&random, 320)] =
				(uint8_t)test_below(&random, test_below(&random, 2) ? 12 : 256);
		assert_int_equal(cvmm_virtq_start(&p.vq, p.mem, &p.config, NULL), 0);
		ret = cvmm_virtq_set_inflight(&p.vq, p.region, REGION_BYTES, NULL);
		assert_true(!ret || ret == -EINVAL);
		refused += !!ret;
		taken += !ret;
		for (int i = 0; !ret && i < 10; i++) {
			if (test_below(&random, 3) == 0)
				p.region[32 + test_below(&random, 256)] = (uint8_t)random;
			ret = pop(&p, &chain);
			if (ret <= 0)
				break;
			ret = test_below(&random, 2) ? 0 : cvmm_virtq_push(&p.vq, chain.head, 0);
		}
		assert_true(ret == 0 || ret == 1 || ret == -EPROTO || ret == -EINVAL);
		pair_fini(&p);
	}
	assert_true(taken > 1000 && refused > 1000);
}

/* ---- a device that is killed ---------------------------------------------------------------- */

/* Pops and gives back for ever, some chains late and in another order; marks what it has seen. */
static void child_device(struct pair *p, uint64_t random)
{
	struct cvmm_virtq_used held[SIZE_MAX_TEST];
	struct cvmm_virtq_chain chain;
	size_t count = 0;

	cvmm_virtq_stop(&p->vq);
	if (cvmm_virtq_start(&p->vq, p->mem, &p->config, NULL) ||
	    cvmm_virtq_set_inflight(&p->vq, p->region, REGION_BYTES, NULL))
		_exit(3);
	for (;;) {
		int ret = count < SIZE_MAX_TEST ? pop(p, &chain) : 0;

		if (ret < 0)
			_exit(4);
		if (ret == 1)
			held[count++] = (struct cvmm_virtq_used){ chain.head, 1 };
		if (ret == 1 && test_below(&random, 8) == 0) {
			if (cvmm_virtq_rewind(&p->vq, chain.head))
				_exit(5);
			count--;
		} else if (count && test_below(&random, 2)) {
			size_t i = test_below(&random, (uint32_t)count), n = count - i;

			if (n > 3)
				n = 3;
			if (cvmm_virtq_push_batch(&p->vq, held + i, n))
				_exit(6);
			memmove(held + i, held + i + n, (count - i - n) * sizeof(held[0]));
			count -= n;
		}
	}
}

static pid_t fork_device(struct pair *p, uint64_t *random)
{
	uint64_t seed = test_random(random);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		child_device(p, seed);
	return pid;
}

static void kill_device(pid_t pid)
{
	int status = 0;

	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status))
		fail_msg("the device ended by itself, with %d", WEXITSTATUS(status));
}

/* ---- killed at each instruction ------------------------------------------------------------- */

#define STEP_CHAINS 4U

/* A sanitizer has many instructions for each of ours. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STRIDE 23
#else
#define STRIDE 1
#endif

#ifdef HAS_LINUX_PTRACE
static long trace_me(void)
{
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static long step(pid_t pid)
{
	return ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
}
#else
static long trace_me(void)
{
	return -1;
}

static long step(pid_t pid)
{
	(void)pid;
	return -1;
}
#endif

/* What the child does between its two stops. */
static void child_steps(struct pair *p, const uint16_t heads[2], int what)
{
	const struct cvmm_virtq_used used[] = { { heads[1], 1 }, { heads[0], 1 } };
	struct cvmm_virtq_chain chain;
	int ret = 0;

	if (trace_me())
		_exit(77);
	raise(SIGSTOP);
	switch (what) {
	case 0:
		ret = cvmm_virtq_push_batch(&p->vq, used, 2);
		break;
	case 1:
		ret = cvmm_virtq_push(&p->vq, heads[1], 1);
		break;
	case 2:
		ret = pop(p, &chain) - 1;
		break;
	default:
		ret = cvmm_virtq_rewind(&p->vq, heads[1]);
		break;
	}
	if (ret)
		_exit(2);
	raise(SIGSTOP);
	_exit(0);
}

/* Return: whether the child is dead after @steps instructions; false if it came to its end before. */
static bool step_and_kill(pid_t pid, unsigned int steps)
{
	bool at_end = false;
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("skipped: processes cannot be stepped through here\n");
		skip();
	}
	while (steps-- && !at_end) {
		assert_int_equal(step(pid), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSTOPPED(status));
		at_end = WSTOPSIG(status) == SIGSTOP;
	}
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return !at_end;
}

/* Whoever comes next serves each chain that was not given back, and none that was. */
static void check_survivors(struct pair *p)
{
	unsigned int done[STEP_CHAINS] = { 0 };
	struct cvmm_virtq_chain chain;
	uint32_t len;
	void *token;
	int ret;

	die_and_come_back(p);
	while ((ret = pop(p, &chain)) == 1)
		assert_int_equal(cvmm_virtq_push(&p->vq, chain.head, 1), 0);
	assert_int_equal(ret, 0);
	while ((ret = cvmm_virtq_driver_take(&p->drv, &token, &len)) == 1)
		done[(uintptr_t)token]++;
	assert_int_equal(ret, 0);
	for (size_t i = 0; i < STEP_CHAINS; i++)
		assert_int_equal(done[i], 1);
}

static void kill_at_each_instruction(bool packed, int what)
{
	bool killed = true;
	unsigned int steps;

	for (steps = 0; killed; steps += STRIDE) {
		uint16_t heads[2];
		struct pair p;
		pid_t pid;

		/* So that the packed ring wraps within the batch. */
		pair_init(&p, packed ? 5 : 8, packed, false);
		for (uint32_t i = 0; i < STEP_CHAINS; i++)
			add(&p, i, 1);
		assert_int_equal(cvmm_virtq_push(&p.vq, must_pop(&p, 0, 1), 1), 0);
		heads[0] = must_pop(&p, 1, 1);
		heads[1] = must_pop(&p, 2, 1);
		pid = fork();
		assert_true(pid >= 0);
		if (!pid)
			child_steps(&p, heads, what);
		killed = step_and_kill(pid, steps);
		check_survivors(&p);
		pair_fini(&p);
	}
	assert_true(steps > 20);
}

static void a_device_may_die_at_any_instruction_of_a_batch(void **state)
{
	(void)state;
	kill_at_each_instruction(false, 0);
	kill_at_each_instruction(true, 0);
}

static void a_device_may_die_at_any_instruction_of_a_push(void **state)
{
	(void)state;
	kill_at_each_instruction(false, 1);
	kill_at_each_instruction(true, 1);
}

static void a_device_may_die_at_any_instruction_of_a_pop(void **state)
{
	(void)state;
	kill_at_each_instruction(false, 2);
	kill_at_each_instruction(true, 2);
}

static void a_device_may_die_at_any_instruction_of_a_rewind(void **state)
{
	(void)state;
	kill_at_each_instruction(false, 3);
	kill_at_each_instruction(true, 3);
}

/* ---- killed at random, with much in flight -------------------------------------------------- */

#define KILLS 100
#define TOKENS 100000U

/* Gives back a list of two. */
static void serve_two(struct pair *p, uint32_t token)
{
	add(p, token, 2);
	assert_int_equal(cvmm_virtq_push(&p->vq, must_pop(p, token, 2), 1), 0);
	assert_int_equal(must_take(p), token);
}

/*
 * The used ring goes on to the second descriptor of a list of the turn before, which still looks as if it
 * were available in that.
 */
static void a_device_may_die_at_any_instruction_of_a_push_to_a_gap(void **state)
{
	bool killed = true;

	(void)state;
	for (unsigned int steps = 0; killed; steps += STRIDE) {
		struct cvmm_virtq_chain chain;
		uint16_t heads[2];
		struct pair p;
		pid_t pid;
		int ret;

		pair_init(&p, 5, true, false);
		serve_two(&p, 1);
		serve_two(&p, 2);
		add(&p, 3, 2);
		heads[0] = heads[1] = must_pop(&p, 3, 2);
		pid = fork();
		assert_true(pid >= 0);
		if (!pid)
			child_steps(&p, heads, 1);
		killed = step_and_kill(pid, steps);
		die_and_come_back(&p);
		ret = pop(&p, &chain);
		assert_in_range(ret, 0, 1);
		if (ret)
			assert_int_equal(cvmm_virtq_push(&p.vq, chain.head, 1), 0);
		assert_int_equal(must_take(&p), 3);
		serve_two(&p, 4);
		pair_fini(&p);
	}
}

static void kill_again_and_again(uint16_t size, bool packed, bool indirect)
{
	static uint8_t done[TOKENS];
	uint64_t random = UINT64_C(0x123456789abcdef) + size;
	uint32_t next = 0;
	struct pair p;

	pair_init(&p, size, packed, indirect);
	memset(done, 0, sizeof(done));
	for (int kills = 0; kills < KILLS; kills++) {
		pid_t pid = fork_device(&p, &random);
		uint64_t until = cvmm_clock_ns() + 100000 + test_below(&random, 1500000);

		while (cvmm_clock_ns() < until) {
			uint32_t len;
			void *token;
			int ret;

			while (next < TOKENS && !try_add(&p, next, 1 + next % 3))
				next++;
			cvmm_virtq_driver_publish(&p.drv);
			while ((ret = cvmm_virtq_driver_take(&p.drv, &token, &len)) == 1) {
				assert_true((uintptr_t)token < next);
				assert_int_equal(done[(uintptr_t)token]++, 0);
			}
			assert_int_equal(ret, 0);
		}
		kill_device(pid);
	}
	/* What is left is served by the last one. */
	start_device((cvmm_virtq_stop(&p.vq), &p));
	while (cvmm_virtq_driver_outstanding(&p.drv)) {
		struct cvmm_virtq_chain chain;
		uint32_t len;
		void *token;

		if (pop(&p, &chain) == 1)
			assert_int_equal(cvmm_virtq_push(&p.vq, chain.head, 1), 0);
		while (cvmm_virtq_driver_take(&p.drv, &token, &len) == 1)
			assert_int_equal(done[(uintptr_t)token]++, 0);
	}
	for (uint32_t i = 0; i < next; i++)
		assert_int_equal(done[i], 1);
	assert_true(next >= size);
	pair_fini(&p);
}

static void killed_devices_lose_no_chain_of_a_split_ring(void **state)
{
	(void)state;
	kill_again_and_again(8, false, false);
	kill_again_and_again(16, false, true);
}

static void killed_devices_lose_no_chain_of_a_packed_ring(void **state)
{
	(void)state;
	kill_again_and_again(7, true, false);
	kill_again_and_again(16, true, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(regions_have_the_sizes_of_the_standard),
		cmocka_unit_test(split_region_has_the_bytes_of_the_standard),
		cmocka_unit_test(packed_region_has_the_bytes_of_the_standard),
		cmocka_unit_test(chains_in_flight_come_again_in_their_order),
		cmocka_unit_test(chains_that_came_again_can_be_rewound),
		cmocka_unit_test(foreign_regions_are_refused),
		cmocka_unit_test(entries_that_a_rewind_lost_are_free_again),
		cmocka_unit_test(a_region_without_enough_free_entries_is_filled_up),
		cmocka_unit_test(a_region_without_a_version_has_nothing_in_flight),
		cmocka_unit_test(a_ring_that_cannot_be_read_says_whether_it_may_be_later),
		cmocka_unit_test(an_index_that_changes_while_it_is_checked_stays_inside),
		cmocka_unit_test(a_full_ring_of_chains_that_are_failed_needs_no_stack),
		cmocka_unit_test(a_batch_ends_at_a_chain_without_room_behind_one_that_was_failed),
		cmocka_unit_test(random_regions_do_no_harm),
		cmocka_unit_test(a_device_may_die_at_any_instruction_of_a_batch),
		cmocka_unit_test(a_device_may_die_at_any_instruction_of_a_push),
		cmocka_unit_test(a_device_may_die_at_any_instruction_of_a_push_to_a_gap),
		cmocka_unit_test(a_device_may_die_at_any_instruction_of_a_pop),
		cmocka_unit_test(a_device_may_die_at_any_instruction_of_a_rewind),
		cmocka_unit_test(killed_devices_lose_no_chain_of_a_split_ring),
		cmocka_unit_test(killed_devices_lose_no_chain_of_a_packed_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
