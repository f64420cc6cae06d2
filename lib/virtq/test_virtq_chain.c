// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "test_driver.h"

#define NEXT CVMM_VIRTQ_DESC_F_NEXT
#define WRITE CVMM_VIRTQ_DESC_F_WRITE
#define INDIRECT CVMM_VIRTQ_DESC_F_INDIRECT

#define QUEUE_SIZE 8
#define IOV_COUNT 65536
#define TABLE UINT64_C(0x100000) /* an indirect table */

static struct test_driver driver;
static struct iovec iov[IOV_COUNT];

static int set_up(void **state)
{
	test_driver_init(&driver, QUEUE_SIZE);
	*state = &driver;
	return 0;
}

static int tear_down(void **state)
{
	test_driver_fini(*state);
	return 0;
}

static void indirect_put(struct test_driver *d, uint32_t i, uint64_t addr, uint32_t len,
			 uint16_t flags, uint16_t next)
{
	test_desc_put(test_host(d, TABLE + (uint64_t)i * DESC_SIZE, DESC_SIZE), 0, addr, len, flags,
		      next);
}

/* The next pop, into @iov_max pieces, breaks the queue and is counted, once. */
static void expect_broken(struct test_driver *d, size_t iov_max, enum cvmm_virtq_violation want)
{
	struct cvmm_virtq_chain chain = { .head = 0x5a5a };
	uint32_t before = cvmm_virtq_violation_count(&d->vq, want);

	assert_int_equal(cvmm_virtq_pop(&d->vq, iov, iov_max, &chain), -EPROTO);
	assert_string_equal(cvmm_virtq_violation_name(cvmm_virtq_violation(&d->vq)),
			    cvmm_virtq_violation_name(want));
	assert_int_equal(chain.head, 0x5a5a);
	assert_int_equal(cvmm_virtq_pop(&d->vq, iov, iov_max, &chain), -EPROTO);
	assert_int_equal(cvmm_virtq_violation_count(&d->vq, want), before + 1);
}

/* Makes head 0 available, whose chain must break the queue. */
static void expect_violation(struct test_driver *d, enum cvmm_virtq_violation want)
{
	test_make_available(d, 0);
	expect_broken(d, IOV_COUNT, want);
}

/* Makes head 0 available, whose chain must be fine. */
static struct cvmm_virtq_chain expect_chain(struct test_driver *d, size_t readable_count,
					    uint64_t readable_bytes, size_t writable_count,
					    uint64_t writable_bytes)
{
	struct cvmm_virtq_chain chain;

	test_make_available(d, 0);
	assert_int_equal(cvmm_virtq_pop(&d->vq, iov, IOV_COUNT, &chain), 1);
	assert_int_equal(chain.head, 0);
	assert_ptr_equal(chain.readable, iov);
	assert_ptr_equal(chain.writable, iov + readable_count);
	assert_int_equal(chain.readable_count, readable_count);
	assert_int_equal(chain.readable_bytes, readable_bytes);
	assert_int_equal(chain.writable_count, writable_count);
	assert_int_equal(chain.writable_bytes, writable_bytes);
	assert_int_equal(cvmm_iov_len(chain.readable, readable_count), readable_bytes);
	assert_int_equal(cvmm_iov_len(chain.writable, writable_count), writable_bytes);
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 0), 0);
	return chain;
}

/* ---- direct chains ------------------------------------------------------------------------- */

static void chain_of_both_directions_is_two_lists(void **state)
{
	struct test_driver *d = *state;

	test_desc(d, 0, TEST_DATA, 16, NEXT, 5);
	test_desc(d, 5, TEST_DATA + 100, 33, NEXT, 2);
	test_desc(d, 2, TEST_DATA + 200, 512, NEXT | WRITE, 7);
	test_desc(d, 7, TEST_DATA + 800, 1, WRITE, 0);
	expect_chain(d, 2, 49, 2, 513);
	assert_ptr_equal(iov[0].iov_base, test_host(d, TEST_DATA, 1));
	assert_ptr_equal(iov[1].iov_base, test_host(d, TEST_DATA + 100, 1));
	assert_ptr_equal(iov[2].iov_base, test_host(d, TEST_DATA + 200, 1));
	assert_ptr_equal(iov[3].iov_base, test_host(d, TEST_DATA + 800, 1));
	assert_int_equal(iov[3].iov_len, 1);
}

static void chain_of_one_direction_leaves_the_other_empty(void **state)
{
	struct test_driver *d = *state;

	test_desc(d, 0, TEST_DATA, 16, 0, 0);
	expect_chain(d, 1, 16, 0, 0);
	test_desc(d, 0, TEST_DATA, 16, WRITE, 0);
	expect_chain(d, 0, 0, 1, 16);
}

static void next_is_ignored_without_its_flag(void **state)
{
	struct test_driver *d = *state;

	test_desc(d, 0, TEST_DATA, 16, 0, 60000);
	expect_chain(d, 1, 16, 0, 0);
}

static void unknown_flags_are_ignored(void **state)
{
	struct test_driver *d = *state;

	test_desc(d, 0, TEST_DATA, 16, 0xfff8, 0);
	expect_chain(d, 1, 16, 0, 0);
}

static void chain_may_use_the_whole_table(void **state)
{
	struct test_driver *d = *state;

	for (uint16_t i = 0; i < QUEUE_SIZE; i++)
		test_desc(d, i, TEST_DATA, 8, i + 1 < QUEUE_SIZE ? NEXT : 0, (uint16_t)(i + 1));
	expect_chain(d, QUEUE_SIZE, 8 * QUEUE_SIZE, 0, 0);
}

static void what_was_popped_stays_whatever_the_driver_writes(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;
	struct iovec was[2];

	indirect_put(d, 0, TEST_DATA, 16, NEXT, 1);
	indirect_put(d, 1, TEST_DATA + 64, 32, WRITE, 0);
	test_desc(d, 0, TABLE, 2 * DESC_SIZE, INDIRECT, 0);
	test_make_available(d, 0);
	assert_int_equal(cvmm_virtq_pop(&d->vq, iov, IOV_COUNT, &chain), 1);
	memcpy(was, iov, sizeof(was));
	indirect_put(d, 0, UINT64_MAX, UINT32_MAX, WRITE, 7);
	indirect_put(d, 1, UINT64_MAX, UINT32_MAX, 0, 7);
	test_desc(d, 0, UINT64_MAX, 1, NEXT, QUEUE_SIZE);
	test_avail_put(d, 0, UINT16_MAX);
	assert_memory_equal(iov, was, sizeof(was));
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 33), -EINVAL);
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 32), 0);
}

static void buffer_across_two_regions_is_two_pieces(void **state)
{
	struct test_driver *d = *state;

	test_desc(d, 0, TEST_SEAM - 10, 30, NEXT, 1);
	test_desc(d, 1, TEST_SEAM - 1, 2, WRITE, 0);
	expect_chain(d, 2, 30, 2, 2);
	assert_ptr_equal(iov[0].iov_base, test_host(d, TEST_SEAM - 10, 10));
	assert_int_equal(iov[0].iov_len, 10);
	assert_ptr_equal(iov[1].iov_base, test_host(d, TEST_SEAM, 1));
	assert_int_equal(iov[1].iov_len, 20);
}

static void buffer_ending_exactly_at_end_of_ram_is_fine(void **state)
{
	struct test_driver *d = *state;

	test_desc(d, 0, TEST_RAM_END - 10, 10, NEXT, 1);
	test_desc(d, 1, TEST_ROM + TEST_PAGE - 10, 10, 0, 0);
	expect_chain(d, 2, 20, 0, 0);
}

static void descriptor_of_no_bytes_adds_no_piece(void **state)
{
	struct test_driver *d = *state;

	test_desc(d, 0, TEST_DATA, 16, NEXT, 1);
	test_desc(d, 1, UINT64_MAX, 0, NEXT, 2);
	test_desc(d, 2, TEST_DATA, 0, NEXT | WRITE, 3);
	test_desc(d, 3, TEST_DATA, 4, WRITE, 0);
	expect_chain(d, 1, 16, 1, 4);
	test_desc(d, 0, 0, 0, 0, 0);
	expect_chain(d, 0, 0, 0, 0);
}

static void descriptor_of_no_bytes_still_has_its_place_in_the_order(void **state)
{
	struct test_driver *d = *state;

	test_desc(d, 0, TEST_DATA, 0, NEXT | WRITE, 1);
	test_desc(d, 1, TEST_DATA, 8, 0, 0);
	expect_violation(d, CVMM_VIRTQ_BAD_ORDER);
}

static void next_outside_the_table_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	test_desc(d, 0, TEST_DATA, 8, NEXT, QUEUE_SIZE);
	expect_violation(d, CVMM_VIRTQ_BAD_NEXT);
}

static void loop_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	test_desc(d, 0, TEST_DATA, 8, NEXT, 1);
	test_desc(d, 1, TEST_DATA, 8, NEXT, 0);
	expect_violation(d, CVMM_VIRTQ_LOOP);
}

static void descriptor_that_names_itself_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	test_desc(d, 0, TEST_DATA, 0, NEXT, 0);
	expect_violation(d, CVMM_VIRTQ_LOOP);
}

static void readable_after_writable_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	test_desc(d, 0, TEST_DATA, 8, NEXT | WRITE, 1);
	test_desc(d, 1, TEST_DATA, 8, 0, 0);
	expect_violation(d, CVMM_VIRTQ_BAD_ORDER);
}

static void more_pieces_than_the_device_takes_is_a_violation(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	test_desc(d, 0, TEST_DATA, 8, NEXT, 1);
	test_desc(d, 1, TEST_DATA, 8, NEXT, 2);
	test_desc(d, 2, TEST_DATA, 8, 0, 0);
	test_make_available(d, 0);
	assert_int_equal(cvmm_virtq_pop(&d->vq, iov, 3, &chain), 1);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 0), 0);
	expect_broken(d, 2, CVMM_VIRTQ_TOO_MANY_PIECES);
}

static void seam_that_does_not_fit_the_list_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	test_desc(d, 0, TEST_SEAM - 8, 16, WRITE, 0);
	test_make_available(d, 0);
	expect_broken(d, 1, CVMM_VIRTQ_TOO_MANY_PIECES);
}

static void buffer_outside_ram_is_a_violation(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} bad[] = {
		{ TEST_RAM_END, 1 },	{ TEST_RAM_END - 8, 9 },     { TEST_SEAM - 8, UINT32_MAX },
		{ TEST_ROM - 1, 2 },	{ TEST_ROM, TEST_PAGE + 1 }, { UINT64_MAX, 1 },
		{ UINT64_MAX - 7, 16 }, { UINT64_MAX, UINT32_MAX },
	};
	struct test_driver *d = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		test_driver_start(d, &d->config);
		test_desc(d, 0, bad[i].addr, bad[i].len, 0, 0);
		expect_violation(d, CVMM_VIRTQ_BAD_BUFFER);
	}
}

static void writable_buffer_in_read_only_memory_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	test_desc(d, 0, TEST_ROM, 8, WRITE, 0);
	expect_violation(d, CVMM_VIRTQ_BAD_BUFFER);
}

/* ---- length -------------------------------------------------------------------------------- */

/* 2^30 bytes of guest memory that cost nothing: reserved addresses that nobody touches. */
#define HUGE_GPA UINT64_C(0x100000000)
#define HUGE_BYTES (UINT32_C(1) << 30)

/* A chain of four such buffers and one of @extra bytes; the last @writable of them are writable. */
static int pop_huge(struct test_driver *d, uint32_t first, uint32_t extra, unsigned int writable,
		    struct cvmm_virtq_chain *chain)
{
	const struct cvmm_mem_config config = {
		.gpa = { HUGE_GPA },
		.len_bytes = HUGE_BYTES,
		.kind = CVMM_MEM_ANONYMOUS,
		.access = CVMM_ACCESS_READ_WRITE,
	};
	struct cvmm_mem *mem = NULL;

	assert_int_equal(cvmm_mem_insert(d->mem, &config, &mem, NULL), 0);
	cvmm_virtq_stop(&d->vq);
	d->mem = cvmm_mem_unref(d->mem);
	d->mem = mem;
	test_driver_start(d, &d->config);
	for (unsigned int i = 0; i < 5; i++) {
		uint32_t len = i == 0 ? first : i == 4 ? extra : HUGE_BYTES;
		uint16_t flags = i >= 5 - writable ? WRITE : 0;

		test_desc(d, i, HUGE_GPA, len, (uint16_t)(i < 4 ? flags | NEXT : flags),
			  (uint16_t)(i + 1));
	}
	test_make_available(d, 0);
	return cvmm_virtq_pop(&d->vq, iov, IOV_COUNT, chain);
}

static void chain_of_exactly_4_gib_in_both_directions_is_fine(void **state)
{
	struct cvmm_virtq_chain chain;

	assert_int_equal(pop_huge(*state, HUGE_BYTES, 0, 2, &chain), 1);
	assert_int_equal(chain.readable_bytes, 3 * UINT64_C(0x40000000));
	assert_int_equal(chain.writable_bytes, HUGE_BYTES);
}

static void chain_of_one_byte_less_than_4_gib_in_one_direction_is_fine(void **state)
{
	struct cvmm_virtq_chain chain;

	assert_int_equal(pop_huge(*state, HUGE_BYTES - 1, 0, 5, &chain), 1);
	assert_int_equal(chain.writable_bytes, UINT32_MAX);
}

static void chain_of_4_gib_in_one_direction_is_a_violation(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	assert_int_equal(pop_huge(d, HUGE_BYTES, 0, 0, &chain), -EPROTO);
	assert_int_equal(cvmm_virtq_violation(&d->vq), CVMM_VIRTQ_TOO_LONG);
	assert_int_equal(cvmm_virtq_violation_count(&d->vq, CVMM_VIRTQ_TOO_LONG), 1);
}

static void chain_of_more_than_4_gib_is_a_violation(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	assert_int_equal(pop_huge(d, HUGE_BYTES, 1, 2, &chain), -EPROTO);
	assert_int_equal(cvmm_virtq_violation(&d->vq), CVMM_VIRTQ_TOO_LONG);
	assert_int_equal(cvmm_virtq_violation_count(&d->vq, CVMM_VIRTQ_TOO_LONG), 1);
}

/* ---- indirect chains ----------------------------------------------------------------------- */

static void indirect_chain_is_followed(void **state)
{
	struct test_driver *d = *state;

	indirect_put(d, 0, TEST_DATA, 16, NEXT, 2);
	indirect_put(d, 2, TEST_DATA + 32, 8, NEXT | WRITE, 1);
	indirect_put(d, 1, TEST_DATA + 64, 1, WRITE, 0);
	test_desc(d, 0, TABLE, 3 * DESC_SIZE, INDIRECT, 0);
	expect_chain(d, 1, 16, 2, 9);
	assert_ptr_equal(iov[2].iov_base, test_host(d, TEST_DATA + 64, 1));
}

static void write_flag_of_the_indirect_descriptor_is_ignored(void **state)
{
	struct test_driver *d = *state;

	indirect_put(d, 0, TEST_DATA, 16, 0, 0);
	test_desc(d, 0, TABLE, DESC_SIZE, INDIRECT | WRITE, 0);
	expect_chain(d, 1, 16, 0, 0);
}

static void indirect_table_may_follow_direct_descriptors(void **state)
{
	struct test_driver *d = *state;

	indirect_put(d, 0, TEST_DATA, 16, NEXT, 1);
	indirect_put(d, 1, TEST_DATA, 32, WRITE, 0);
	test_desc(d, 0, TEST_DATA, 4, NEXT, 6);
	test_desc(d, 6, TABLE, 2 * DESC_SIZE, INDIRECT, 0);
	expect_chain(d, 2, 20, 1, 32);
}

static void order_holds_from_direct_to_indirect_descriptors(void **state)
{
	struct test_driver *d = *state;

	indirect_put(d, 0, TEST_DATA, 16, 0, 0);
	test_desc(d, 0, TEST_DATA, 4, NEXT | WRITE, 6);
	test_desc(d, 6, TABLE, DESC_SIZE, INDIRECT, 0);
	expect_violation(d, CVMM_VIRTQ_BAD_ORDER);
}

static void indirect_table_may_lie_at_any_address(void **state)
{
	struct test_driver *d = *state;

	for (uint64_t shift = 0; shift < DESC_SIZE; shift++) {
		test_desc_put(test_host(d, TABLE + shift, 2 * DESC_SIZE), 0, TEST_DATA, 16, NEXT,
			      1);
		test_desc_put(test_host(d, TABLE + shift, 2 * DESC_SIZE), 1, TEST_DATA, 32, WRITE,
			      0);
		test_desc(d, 0, TABLE + shift, 2 * DESC_SIZE, INDIRECT, 0);
		expect_chain(d, 1, 16, 1, 32);
	}
}

/* Writes bytes that may cross the seam. */
static void guest_write(struct test_driver *d, uint64_t gpa, const void *src, size_t len)
{
	assert_int_equal(cvmm_mem_write(d->mem, cvmm_gpa_from(gpa), src, len), 0);
}

static void indirect_table_may_cross_regions(void **state)
{
	struct test_driver *d = *state;
	uint8_t table[3 * DESC_SIZE];

	test_desc_put(table, 0, TEST_DATA, 16, NEXT, 1);
	test_desc_put(table, 1, TEST_DATA, 32, NEXT | WRITE, 2);
	test_desc_put(table, 2, TEST_DATA, 64, WRITE, 0);
	/* The seam lies between descriptors, then at every byte of one. */
	for (uint64_t before = DESC_SIZE; before <= 2 * DESC_SIZE; before++) {
		guest_write(d, TEST_SEAM - before, table, sizeof(table));
		test_desc(d, 0, TEST_SEAM - before, sizeof(table), INDIRECT, 0);
		expect_chain(d, 1, 16, 2, 96);
	}
}

static void indirect_table_may_be_longer_than_the_queue(void **state)
{
	struct test_driver *d = *state;
	uint16_t last = CVMM_VIRTQ_INDIRECT_MAX - 1;

	for (uint16_t i = 0; i < last; i++)
		indirect_put(d, i, TEST_DATA, 1, NEXT, (uint16_t)(i + 1));
	indirect_put(d, last, TEST_DATA, 1, WRITE, 0);
	test_desc(d, 0, TABLE, CVMM_VIRTQ_INDIRECT_MAX * DESC_SIZE, INDIRECT, 0);
	expect_chain(d, last, last, 1, 1);
}

/* The counts of a chain have 16 bits: a longer array must not make them wrap. */
static void pieces_never_exceed_65535(void **state)
{
	struct test_driver *d = *state;
	uint16_t last = CVMM_VIRTQ_INDIRECT_MAX - 1;

	for (uint16_t i = 0; i <= last; i++)
		indirect_put(d, i, TEST_SEAM - 1, 2, i < last ? NEXT : 0, (uint16_t)(i + 1));
	test_desc(d, 0, TABLE, CVMM_VIRTQ_INDIRECT_MAX * DESC_SIZE, INDIRECT, 0);
	expect_violation(d, CVMM_VIRTQ_TOO_MANY_PIECES);
}

static void indirect_without_the_feature_is_a_violation(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_config config = d->config;

	config.indirect = false;
	test_driver_start(d, &config);
	indirect_put(d, 0, TEST_DATA, 16, 0, 0);
	test_desc(d, 0, TABLE, DESC_SIZE, INDIRECT, 0);
	expect_violation(d, CVMM_VIRTQ_INDIRECT_NOT_NEGOTIATED);
}

static void indirect_inside_an_indirect_table_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	indirect_put(d, 0, TABLE, DESC_SIZE, INDIRECT, 0);
	test_desc(d, 0, TABLE, DESC_SIZE, INDIRECT, 0);
	expect_violation(d, CVMM_VIRTQ_INDIRECT_NESTED);
}

static void indirect_with_next_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	indirect_put(d, 0, TEST_DATA, 16, 0, 0);
	test_desc(d, 0, TABLE, DESC_SIZE, INDIRECT | NEXT, 1);
	test_desc(d, 1, TEST_DATA, 16, 0, 0);
	expect_violation(d, CVMM_VIRTQ_INDIRECT_WITH_NEXT);
}

static void indirect_table_of_no_whole_descriptors_is_a_violation(void **state)
{
	static const uint32_t bad[] = { 0, 1, 8, 15, 17, 24, UINT32_MAX };
	struct test_driver *d = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		test_driver_start(d, &d->config);
		test_desc(d, 0, TABLE, bad[i], INDIRECT, 0);
		expect_violation(d, CVMM_VIRTQ_INDIRECT_BAD_LEN);
	}
}

static void indirect_table_beyond_the_limit_is_a_violation(void **state)
{
	static const uint32_t bad[] = { CVMM_VIRTQ_INDIRECT_MAX + 1, 65536,
					UINT32_MAX / DESC_SIZE };
	struct test_driver *d = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		test_driver_start(d, &d->config);
		test_desc(d, 0, TABLE, bad[i] * DESC_SIZE, INDIRECT, 0);
		expect_violation(d, CVMM_VIRTQ_INDIRECT_TOO_LONG);
	}
}

static void indirect_table_outside_ram_is_a_violation(void **state)
{
	static const uint64_t bad[] = { TEST_RAM_END, TEST_RAM_END - 16, TEST_ROM - 16,
					UINT64_MAX,   UINT64_MAX - 15,	 UINT64_MAX - 31 };
	struct test_driver *d = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		test_driver_start(d, &d->config);
		test_desc(d, 0, bad[i], 2 * DESC_SIZE, INDIRECT, 0);
		expect_violation(d, CVMM_VIRTQ_INDIRECT_BAD_ADDRESS);
	}
}

static void next_outside_the_indirect_table_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	indirect_put(d, 0, TEST_DATA, 16, NEXT, 2);
	indirect_put(d, 2, TEST_DATA, 16, 0, 0);
	test_desc(d, 0, TABLE, 2 * DESC_SIZE, INDIRECT, 0);
	expect_violation(d, CVMM_VIRTQ_BAD_NEXT);
}

static void loop_in_an_indirect_table_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	indirect_put(d, 0, TEST_DATA, 16, NEXT, 1);
	indirect_put(d, 1, TEST_DATA, 16, NEXT, 0);
	test_desc(d, 0, TABLE, 2 * DESC_SIZE, INDIRECT, 0);
	expect_violation(d, CVMM_VIRTQ_LOOP);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(chain_of_both_directions_is_two_lists),
		TEST(chain_of_one_direction_leaves_the_other_empty),
		TEST(next_is_ignored_without_its_flag),
		TEST(unknown_flags_are_ignored),
		TEST(chain_may_use_the_whole_table),
		TEST(what_was_popped_stays_whatever_the_driver_writes),
		TEST(buffer_across_two_regions_is_two_pieces),
		TEST(buffer_ending_exactly_at_end_of_ram_is_fine),
		TEST(descriptor_of_no_bytes_adds_no_piece),
		TEST(descriptor_of_no_bytes_still_has_its_place_in_the_order),
		TEST(next_outside_the_table_is_a_violation),
		TEST(loop_is_a_violation),
		TEST(descriptor_that_names_itself_is_a_violation),
		TEST(readable_after_writable_is_a_violation),
		TEST(more_pieces_than_the_device_takes_is_a_violation),
		TEST(seam_that_does_not_fit_the_list_is_a_violation),
		TEST(buffer_outside_ram_is_a_violation),
		TEST(writable_buffer_in_read_only_memory_is_a_violation),
		TEST(chain_of_exactly_4_gib_in_both_directions_is_fine),
		TEST(chain_of_one_byte_less_than_4_gib_in_one_direction_is_fine),
		TEST(chain_of_4_gib_in_one_direction_is_a_violation),
		TEST(chain_of_more_than_4_gib_is_a_violation),
		TEST(indirect_chain_is_followed),
		TEST(write_flag_of_the_indirect_descriptor_is_ignored),
		TEST(indirect_table_may_follow_direct_descriptors),
		TEST(order_holds_from_direct_to_indirect_descriptors),
		TEST(indirect_table_may_lie_at_any_address),
		TEST(indirect_table_may_cross_regions),
		TEST(indirect_table_may_be_longer_than_the_queue),
		TEST(pieces_never_exceed_65535),
		TEST(indirect_without_the_feature_is_a_violation),
		TEST(indirect_inside_an_indirect_table_is_a_violation),
		TEST(indirect_with_next_is_a_violation),
		TEST(indirect_table_of_no_whole_descriptors_is_a_violation),
		TEST(indirect_table_beyond_the_limit_is_a_violation),
		TEST(indirect_table_outside_ram_is_a_violation),
		TEST(next_outside_the_indirect_table_is_a_violation),
		TEST(loop_in_an_indirect_table_is_a_violation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
