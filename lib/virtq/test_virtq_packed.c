// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The device's side of packed rings: VIRTIO 1.3, 2.8. */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "test_driver.h"

#define NEXT CVMM_VIRTQ_DESC_F_NEXT
#define WRITE CVMM_VIRTQ_DESC_F_WRITE
#define INDIRECT CVMM_VIRTQ_DESC_F_INDIRECT
#define AVAIL CVMM_VIRTQ_DESC_F_AVAIL
#define USED CVMM_VIRTQ_DESC_F_USED
#define ENABLE CVMM_VIRTQ_EVENT_ENABLE
#define DISABLE CVMM_VIRTQ_EVENT_DISABLE
#define DESC CVMM_VIRTQ_EVENT_DESC

#define QUEUE_SIZE 6 /* no power of two */
#define IOV_COUNT 65536
#define TABLE UINT64_C(0x180000) /* an indirect table */

static struct test_driver driver;
static struct iovec iov[IOV_COUNT];

static void start(struct test_driver *d, uint16_t size, bool event_idx)
{
	struct cvmm_virtq_config config = test_packed_config(size);

	config.event_idx = event_idx;
	test_driver_start(d, &config);
}

/* Begins at a place of the ring, as if it had been used for a while. */
static void start_at(struct test_driver *d, uint16_t size, bool event_idx, uint16_t place,
		     bool wrap)
{
	const struct cvmm_virtq_base base = { place, place, wrap, wrap };
	struct cvmm_virtq_config config = test_packed_config(size);
	size_t i;

	config.event_idx = event_idx;
	test_driver_start(d, &config);
	cvmm_virtq_stop(&d->vq);
	d->place = d->used_place = place;
	d->wrap = d->used_wrap = wrap;
	/* Everything looks used: before the place in this turn, from it on in the one before. */
	for (i = 0; i < size; i++)
		cvmm_put_le16(d->desc + i * DESC_SIZE + PACKED_FLAGS,
			      (i < place) == wrap ? (uint16_t)(AVAIL | USED) : 0);
	assert_int_equal(cvmm_virtq_start_at(&d->vq, d->mem, &config, &base, NULL), 0);
}

static int set_up(void **state)
{
	test_driver_init(&driver, 8);
	start(&driver, QUEUE_SIZE, false);
	*state = &driver;
	return 0;
}

static int tear_down(void **state)
{
	test_driver_fini(*state);
	return 0;
}

static int pop(struct test_driver *d, struct cvmm_virtq_chain *chain)
{
	return cvmm_virtq_pop(&d->vq, iov, IOV_COUNT, chain);
}

static void expect_pop(struct test_driver *d, uint16_t id)
{
	struct cvmm_virtq_chain chain;

	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(chain.head, id);
}

static void expect_nothing(struct test_driver *d)
{
	struct cvmm_virtq_chain chain;

	assert_int_equal(pop(d, &chain), 0);
}

static void expect_used(struct test_driver *d, uint16_t descs, uint16_t id, uint32_t len)
{
	uint32_t got_len = 0;
	uint16_t got_id = 0;

	assert_true(test_packed_take(d, descs, &got_id, &got_len));
	assert_int_equal(got_id, id);
	assert_int_equal(got_len, len);
}

static void expect_none_used(struct test_driver *d)
{
	uint16_t id;
	uint32_t len;

	assert_false(test_packed_take(d, 0, &id, &len));
}

/* One list of one descriptor there and back. */
static void serve_one(struct test_driver *d, uint16_t id)
{
	test_packed_simple(d, id);
	expect_pop(d, id);
	assert_int_equal(cvmm_virtq_push(&d->vq, id, 0), 0);
	expect_used(d, 1, id, 0);
}

static void expect_violation(struct test_driver *d, enum cvmm_virtq_violation want)
{
	struct cvmm_virtq_chain chain = { .head = 0x5a5a };
	uint32_t before = cvmm_virtq_violation_count(&d->vq, want);

	assert_int_equal(pop(d, &chain), -EPROTO);
	assert_string_equal(cvmm_virtq_violation_name(cvmm_virtq_violation(&d->vq)),
			    cvmm_virtq_violation_name(want));
	assert_int_equal(chain.head, 0x5a5a);
	assert_int_equal(cvmm_virtq_violation_count(&d->vq, want), before + 1);
	assert_int_equal(pop(d, &chain), -EPROTO);
	assert_int_equal(cvmm_virtq_violation_count(&d->vq, want), before + 1);
}

/* ---- start --------------------------------------------------------------------------------- */

static void start_takes_any_size_up_to_the_largest(void **state)
{
	struct test_driver *d = *state;
	uint32_t size;

	for (size = 1; size <= CVMM_VIRTQ_SIZE_MAX; size += size < 40 ? 1 : 997) {
		struct cvmm_virtq_config config = test_packed_config((uint16_t)size);

		cvmm_virtq_stop(&d->vq);
		assert_int_equal(cvmm_virtq_start(&d->vq, d->mem, &config, NULL), 0);
	}
}

static void expect_start_refused(struct test_driver *d, const struct cvmm_virtq_config *config,
				 const char *what)
{
	struct cvmm_error err = { 0 };

	cvmm_virtq_stop(&d->vq);
	assert_int_equal(cvmm_virtq_start(&d->vq, d->mem, config, &err), -EINVAL);
	assert_non_null(strstr(err.message, what));
	assert_false(cvmm_virtq_is_started(&d->vq));
}

static void start_refuses_bad_sizes_and_areas(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_config config = test_packed_config(0);

	expect_start_refused(d, &config, "size");
	config = test_packed_config(CVMM_VIRTQ_SIZE_MAX);
	config.size++;
	expect_start_refused(d, &config, "size");
	config = test_packed_config(QUEUE_SIZE);
	config.desc.addr = 8;
	expect_start_refused(d, &config, "descriptor area");
	config = test_packed_config(QUEUE_SIZE);
	config.avail.addr += 2;
	expect_start_refused(d, &config, "driver area");
	config = test_packed_config(QUEUE_SIZE);
	config.used.addr += 2;
	expect_start_refused(d, &config, "device area");
}

/* The device writes the ring, and its own event structure, but not the driver's. */
static void areas_need_the_rights_that_the_device_uses(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_config config = test_packed_config(QUEUE_SIZE);

	config.desc.addr = TEST_ROM;
	expect_start_refused(d, &config, "descriptor area");
	config = test_packed_config(QUEUE_SIZE);
	config.used.addr = TEST_ROM;
	expect_start_refused(d, &config, "device area");
	config = test_packed_config(QUEUE_SIZE);
	config.avail.addr = TEST_ROM;
	assert_int_equal(cvmm_virtq_start(&d->vq, d->mem, &config, NULL), 0);
}

static void areas_may_end_exactly_at_the_end_of_ram(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_config config = test_packed_config(QUEUE_SIZE);

	config.desc.addr = TEST_RAM_END - QUEUE_SIZE * DESC_SIZE;
	cvmm_virtq_stop(&d->vq);
	assert_int_equal(cvmm_virtq_start(&d->vq, d->mem, &config, NULL), 0);
	cvmm_virtq_stop(&d->vq);
	config.desc.addr += DESC_SIZE;
	expect_start_refused(d, &config, "descriptor area");
	config = test_packed_config(QUEUE_SIZE);
	config.avail.addr = TEST_RAM_END - PACKED_EVENT_SIZE;
	assert_int_equal(cvmm_virtq_start(&d->vq, d->mem, &config, NULL), 0);
	config.avail.addr += PACKED_EVENT_SIZE;
	expect_start_refused(d, &config, "driver area");
}

static void start_refuses_places_outside_of_the_ring(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_config config = test_packed_config(QUEUE_SIZE);
	struct cvmm_virtq_base base = CVMM_VIRTQ_BASE_START;

	cvmm_virtq_stop(&d->vq);
	base.next_avail = QUEUE_SIZE;
	assert_int_equal(cvmm_virtq_start_at(&d->vq, d->mem, &config, &base, NULL), -EINVAL);
	base.next_avail = 0;
	base.next_used = QUEUE_SIZE;
	assert_int_equal(cvmm_virtq_start_at(&d->vq, d->mem, &config, &base, NULL), -EINVAL);
	base.next_used = QUEUE_SIZE - 1;
	assert_int_equal(cvmm_virtq_start_at(&d->vq, d->mem, &config, &base, NULL), 0);
}

/* ---- lists --------------------------------------------------------------------------------- */

static void list_of_both_directions_is_two_lists(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	test_packed_put(d, TEST_DATA, 8, NEXT, 0);
	test_packed_put(d, TEST_DATA + 8, 16, NEXT, 0);
	test_packed_put(d, TEST_DATA + 24, 32, NEXT | WRITE, 0);
	test_packed_put(d, TEST_DATA + 56, 64, WRITE, 3);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(chain.head, 3);
	assert_int_equal(chain.readable_count, 2);
	assert_int_equal(chain.readable_bytes, 24);
	assert_int_equal(chain.writable_count, 2);
	assert_int_equal(chain.writable_bytes, 96);
	for (size_t i = 0; i < 4; i++) {
		assert_ptr_equal(iov[i].iov_base,
				 test_host(d, TEST_DATA + (UINT64_C(8) << i) - 8, 1));
		assert_int_equal(iov[i].iov_len, 8U << i);
	}
}

static void only_the_id_of_the_last_descriptor_counts(void **state)
{
	struct test_driver *d = *state;

	test_packed_put(d, TEST_DATA, 8, NEXT, 0xffff);
	test_packed_put(d, TEST_DATA, 8, NEXT, 2);
	test_packed_put(d, TEST_DATA, 8, 0, 5);
	expect_pop(d, 5);
	test_packed_put(d, TEST_DATA, 8, NEXT, 5);
	test_packed_put(d, TEST_DATA, 8, 0, 4);
	expect_pop(d, 4);
}

static void unknown_flags_are_ignored(void **state)
{
	struct test_driver *d = *state;
	uint16_t unknown = (uint16_t) ~(NEXT | WRITE | INDIRECT | AVAIL | USED);

	test_packed_put(d, TEST_DATA, 8, unknown, 1);
	expect_pop(d, 1);
	expect_nothing(d);
}

/* Of the four states of the two flags one says that it is available, another one in the next turn. */
static void only_one_state_of_the_flags_is_available(void **state)
{
	static const uint16_t states[] = { 0, AVAIL, USED, AVAIL | USED };
	struct test_driver *d = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(states); i++) {
		struct cvmm_virtq_chain chain;
		bool wrap;

		for (int turn = 0; turn < 2; turn++) {
			wrap = !turn;
			start_at(d, QUEUE_SIZE, false, 2, wrap);
			cvmm_put_le16(d->desc + 2 * DESC_SIZE + PACKED_FLAGS, states[i]);
			assert_int_equal(pop(d, &chain), states[i] == (wrap ? AVAIL : USED));
		}
	}
}

static void list_may_take_the_whole_ring_and_cross_its_end(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;
	uint16_t first, i;

	for (first = 0; first < QUEUE_SIZE; first++) {
		start_at(d, QUEUE_SIZE, false, first, first & 1);
		for (i = 0; i < QUEUE_SIZE; i++)
			test_packed_put(d, TEST_DATA + i * 16U, 8, i < QUEUE_SIZE - 1 ? NEXT : 0,
					i);
		assert_int_equal(pop(d, &chain), 1);
		assert_int_equal(chain.head, QUEUE_SIZE - 1);
		assert_int_equal(chain.readable_count, QUEUE_SIZE);
		assert_ptr_equal(iov[QUEUE_SIZE - 1].iov_base,
				 test_host(d, TEST_DATA + (QUEUE_SIZE - 1) * 16U, 1));
		expect_nothing(d);
		assert_int_equal(cvmm_virtq_push(&d->vq, chain.head, 0), 0);
		expect_used(d, QUEUE_SIZE, QUEUE_SIZE - 1, 0);
		expect_none_used(d);
		serve_one(d, 0);
	}
}

static void descriptor_of_no_bytes_adds_no_piece(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	test_packed_put(d, UINT64_MAX, 0, NEXT, 0);
	test_packed_put(d, TEST_DATA, 8, NEXT | WRITE, 0);
	test_packed_put(d, UINT64_MAX, 0, WRITE, 0);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(chain.readable_count, 0);
	assert_int_equal(chain.writable_count, 1);
}

static void buffer_across_two_regions_is_two_pieces(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	test_packed_put(d, TEST_SEAM - 3, 8, WRITE, 0);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(chain.writable_count, 2);
	assert_int_equal(iov[0].iov_len, 3);
	assert_int_equal(iov[1].iov_len, 5);
}

/* ---- used descriptors ---------------------------------------------------------------------- */

static void expect_desc_bytes(struct test_driver *d, uint32_t place, uint64_t addr, uint32_t len,
			      uint16_t id, uint16_t flags)
{
	const uint8_t *desc = d->desc + (size_t)place * DESC_SIZE;

	assert_true(cvmm_get_le64(desc) == addr);
	assert_int_equal(cvmm_get_le32(desc + 8), len);
	assert_int_equal(cvmm_get_le16(desc + 12), id);
	assert_int_equal(cvmm_get_le16(desc + 14), flags);
}

static void used_descriptor_has_id_length_and_flags_and_keeps_its_address(void **state)
{
	struct test_driver *d = *state;

	test_packed_put(d, TEST_DATA, 100, NEXT, 0x1111);
	test_packed_put(d, TEST_DATA + 0x100, 60, WRITE, 4);
	expect_pop(d, 4);
	assert_int_equal(cvmm_virtq_push(&d->vq, 4, 59), 0);
	expect_desc_bytes(d, 0, TEST_DATA, 59, 4, (uint16_t)(AVAIL | USED | WRITE));
	/* The second one of the list is as it was. */
	expect_desc_bytes(d, 1, TEST_DATA + 0x100, 60, 4, AVAIL | WRITE);
}

static void used_descriptor_of_no_bytes_has_no_write_flag(void **state)
{
	struct test_driver *d = *state;

	test_packed_put(d, TEST_DATA, 8, WRITE, 1);
	expect_pop(d, 1);
	assert_int_equal(cvmm_virtq_push(&d->vq, 1, 0), 0);
	expect_desc_bytes(d, 0, TEST_DATA, 0, 1, (uint16_t)(AVAIL | USED));
}

static void used_flags_change_with_each_turn(void **state)
{
	struct test_driver *d = *state;

	for (uint32_t i = 0; i < 5 * QUEUE_SIZE; i++) {
		bool wrap = !(i / QUEUE_SIZE & 1);

		test_packed_put(d, TEST_DATA, 8, WRITE, 2);
		expect_pop(d, 2);
		assert_int_equal(cvmm_virtq_push(&d->vq, 2, i % 3), 0);
		expect_desc_bytes(d, i % QUEUE_SIZE, TEST_DATA, i % 3, 2,
				  (uint16_t)((wrap ? AVAIL | USED : 0) | (i % 3 ? WRITE : 0)));
		expect_used(d, 1, 2, i % 3);
	}
}

static void used_descriptors_leave_a_gap_as_long_as_the_list(void **state)
{
	struct test_driver *d = *state;

	test_packed_put(d, TEST_DATA, 8, NEXT, 0);
	test_packed_put(d, TEST_DATA, 8, NEXT, 0);
	test_packed_put(d, TEST_DATA, 8, 0, 0);
	test_packed_put(d, TEST_DATA, 8, 0, 1);
	expect_pop(d, 0);
	expect_pop(d, 1);
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 0), 0);
	assert_int_equal(cvmm_virtq_push(&d->vq, 1, 0), 0);
	expect_desc_bytes(d, 0, TEST_DATA, 0, 0, (uint16_t)(AVAIL | USED));
	expect_desc_bytes(d, 1, TEST_DATA, 8, 0, AVAIL | NEXT);
	expect_desc_bytes(d, 2, TEST_DATA, 8, 0, AVAIL);
	expect_desc_bytes(d, 3, TEST_DATA, 0, 1, (uint16_t)(AVAIL | USED));
}

/* The place of a used descriptor depends on what was used before it, not on where its list was. */
static void lists_may_be_given_back_in_any_order(void **state)
{
	struct test_driver *d = *state;

	test_packed_put(d, TEST_DATA, 8, NEXT, 0);
	test_packed_put(d, TEST_DATA, 8, WRITE, 0);
	test_packed_put(d, TEST_DATA, 8, WRITE, 1);
	test_packed_put(d, TEST_DATA, 8, NEXT, 2);
	test_packed_put(d, TEST_DATA, 8, NEXT, 2);
	test_packed_put(d, TEST_DATA, 8, WRITE, 2);
	expect_pop(d, 0);
	expect_pop(d, 1);
	expect_pop(d, 2);
	assert_int_equal(cvmm_virtq_push(&d->vq, 2, 2), 0);
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 3), 0);
	assert_int_equal(cvmm_virtq_push(&d->vq, 1, 4), 0);
	expect_used(d, 3, 2, 2);
	expect_used(d, 2, 0, 3);
	expect_used(d, 1, 1, 4);
	expect_none_used(d);
	assert_int_equal(cvmm_virtq_base(&d->vq).next_used, 0);
	assert_false(cvmm_virtq_base(&d->vq).used_wrap);
}

static void push_refuses_what_is_not_in_flight_and_changes_nothing(void **state)
{
	struct test_driver *d = *state;
	uint8_t before[QUEUE_SIZE * DESC_SIZE];

	test_packed_put(d, TEST_DATA, 8, WRITE, 3);
	expect_pop(d, 3);
	memcpy(before, d->desc, sizeof(before));
	assert_int_equal(cvmm_virtq_push(&d->vq, 2, 0), -EINVAL);
	assert_int_equal(cvmm_virtq_push(&d->vq, QUEUE_SIZE, 0), -EINVAL);
	assert_int_equal(cvmm_virtq_push(&d->vq, 0xffff, 0), -EINVAL);
	assert_int_equal(cvmm_virtq_push(&d->vq, 3, 9), -EINVAL);
	assert_memory_equal(before, d->desc, sizeof(before));
	assert_int_equal(cvmm_virtq_push(&d->vq, 3, 8), 0);
	assert_int_equal(cvmm_virtq_push(&d->vq, 3, 8), -EINVAL);
}

static void batch_is_published_whole_or_not_at_all(void **state)
{
	const struct cvmm_virtq_used good[] = { { 2, 0 }, { 0, 5 }, { 1, 0 } };
	const struct cvmm_virtq_used twice[] = { { 2, 0 }, { 2, 0 } };
	const struct cvmm_virtq_used stranger[] = { { 2, 0 }, { 5, 0 } };
	const struct cvmm_virtq_used too_long[] = { { 2, 0 }, { 0, 9 } };
	struct test_driver *d = *state;
	uint8_t before[QUEUE_SIZE * DESC_SIZE];

	start_at(d, QUEUE_SIZE, false, 3, true);
	test_packed_put(d, TEST_DATA, 8, NEXT, 0);
	test_packed_put(d, TEST_DATA, 8, WRITE, 0);
	test_packed_put(d, TEST_DATA, 8, 0, 1);
	test_packed_put(d, TEST_DATA, 8, NEXT, 2);
	test_packed_put(d, TEST_DATA, 8, 0, 2);
	for (uint16_t id = 0; id < 3; id++)
		expect_pop(d, id);
	memcpy(before, d->desc, sizeof(before));
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, twice, 2), -EINVAL);
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, stranger, 2), -EINVAL);
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, too_long, 2), -EINVAL);
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, NULL, 0), 0);
	assert_memory_equal(before, d->desc, sizeof(before));
	assert_int_equal(cvmm_virtq_push_batch(&d->vq, good, 3), 0);
	expect_used(d, 2, 2, 0);
	expect_used(d, 2, 0, 5);
	expect_used(d, 1, 1, 0);
	expect_none_used(d);
}

static void rings_of_every_size_work_past_their_wraps(void **state)
{
	static const uint16_t sizes[] = { 1, 2, 3, 5, 7, 8, 100, 255, 1000, 32767, 32768 };
	struct test_driver *d = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(sizes); i++) {
		uint32_t turns = sizes[i] < 300 ? 7 : 3;

		start(d, sizes[i], false);
		for (uint32_t n = 0; n < turns * sizes[i]; n++)
			serve_one(d, (uint16_t)(n % sizes[i]));
		expect_nothing(d);
	}
}

static void full_rings_of_every_size_are_served(void **state)
{
	static const uint16_t sizes[] = { 1, 2, 3, 13, 64, 999, 32768 };
	struct test_driver *d = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(sizes); i++) {
		start(d, sizes[i], false);
		for (int turn = 0; turn < 3; turn++) {
			for (uint16_t id = 0; id < sizes[i]; id++)
				test_packed_simple(d, id);
			for (uint16_t id = 0; id < sizes[i]; id++)
				expect_pop(d, id);
			expect_nothing(d);
			for (uint16_t id = sizes[i]; id--;)
				assert_int_equal(cvmm_virtq_push(&d->vq, id, 0), 0);
			for (uint16_t id = sizes[i]; id--;)
				expect_used(d, 1, id, 0);
			expect_none_used(d);
		}
	}
}

static void ring_of_one_descriptor_works(void **state)
{
	struct test_driver *d = *state;

	start(d, 1, true);
	for (int i = 0; i < 5; i++) {
		assert_false(cvmm_virtq_enable_notifications(&d->vq));
		test_packed_set_event(d, 0, d->used_wrap, DESC);
		test_packed_simple(d, 0);
		assert_true(cvmm_virtq_enable_notifications(&d->vq));
		expect_pop(d, 0);
		expect_nothing(d);
		assert_int_equal(cvmm_virtq_rewind(&d->vq, 0), 0);
		expect_pop(d, 0);
		assert_int_equal(cvmm_virtq_push(&d->vq, 0, 0), 0);
		assert_true(cvmm_virtq_should_notify(&d->vq));
		expect_used(d, 1, 0, 0);
	}
	test_packed_put(d, TEST_DATA, 8, NEXT, 0);
	expect_violation(d, CVMM_VIRTQ_LOOP);
}

/* ---- rewind -------------------------------------------------------------------------------- */

static void rewound_list_is_copied_anew(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;
	uint8_t before[QUEUE_SIZE * DESC_SIZE];

	test_packed_put(d, TEST_DATA, 8, NEXT, 0);
	test_packed_put(d, TEST_DATA, 8, 0, 1);
	expect_pop(d, 1);
	memcpy(before, d->desc, sizeof(before));
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 1), 0);
	assert_memory_equal(before, d->desc, sizeof(before));
	assert_int_equal(cvmm_virtq_push(&d->vq, 1, 0), -EINVAL);
	cvmm_put_le32(d->desc + PACKED_REST, 24);
	cvmm_put_le16(d->desc + DESC_SIZE + 12, 5);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(chain.head, 5);
	assert_int_equal(chain.readable_bytes, 32);
}

static void rewinds_cross_the_end_of_the_ring(void **state)
{
	struct test_driver *d = *state;

	for (uint16_t first = 0; first < 2 * QUEUE_SIZE; first++) {
		struct cvmm_virtq_base base;

		start_at(d, QUEUE_SIZE, false, first % QUEUE_SIZE, first < QUEUE_SIZE);
		base = cvmm_virtq_base(&d->vq);
		test_packed_put(d, TEST_DATA, 8, NEXT, 0);
		test_packed_put(d, TEST_DATA, 8, 0, 3);
		test_packed_put(d, TEST_DATA, 8, NEXT, 0);
		test_packed_put(d, TEST_DATA, 8, NEXT, 0);
		test_packed_put(d, TEST_DATA, 8, NEXT, 0);
		test_packed_put(d, TEST_DATA, 8, 0, 1);
		for (int again = 0; again < 2; again++) {
			expect_pop(d, 3);
			expect_pop(d, 1);
			expect_nothing(d);
			assert_int_equal(cvmm_virtq_rewind(&d->vq, 3), -EINVAL);
			assert_int_equal(cvmm_virtq_rewind(&d->vq, 1), 0);
			assert_int_equal(cvmm_virtq_rewind(&d->vq, 3), 0);
			assert_int_equal(cvmm_virtq_rewind(&d->vq, 3), -EINVAL);
			assert_int_equal(cvmm_virtq_base(&d->vq).next_avail, base.next_avail);
			assert_int_equal(cvmm_virtq_base(&d->vq).avail_wrap, base.avail_wrap);
		}
	}
}

static void rewind_after_push_is_refused(void **state)
{
	struct test_driver *d = *state;

	test_packed_simple(d, 0);
	test_packed_simple(d, 1);
	expect_pop(d, 0);
	expect_pop(d, 1);
	assert_int_equal(cvmm_virtq_push(&d->vq, 1, 0), 0);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 1), -EINVAL);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 0), -EINVAL);
}

/* ---- violations ---------------------------------------------------------------------------- */

static void id_outside_the_ring_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	test_packed_simple(d, QUEUE_SIZE);
	expect_violation(d, CVMM_VIRTQ_BAD_HEAD);
	start(d, QUEUE_SIZE, false);
	test_packed_simple(d, 0xffff);
	expect_violation(d, CVMM_VIRTQ_BAD_HEAD);
}

static void id_in_flight_made_available_again_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	test_packed_simple(d, 2);
	test_packed_simple(d, 2);
	expect_pop(d, 2);
	expect_violation(d, CVMM_VIRTQ_HEAD_IN_FLIGHT);
}

static void list_longer_than_the_ring_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	for (uint16_t i = 0; i < QUEUE_SIZE; i++)
		test_packed_put(d, TEST_DATA, 8, NEXT, 0);
	expect_violation(d, CVMM_VIRTQ_LOOP);
}

/* The driver overwrites what the device has not given back yet. */
static void more_descriptors_than_the_ring_has_are_a_violation(void **state)
{
	struct test_driver *d = *state;

	for (uint16_t id = 0; id < QUEUE_SIZE - 1; id++)
		test_packed_simple(d, id);
	for (uint16_t id = 0; id < QUEUE_SIZE - 1; id++)
		expect_pop(d, id);
	test_packed_put(d, TEST_DATA, 8, NEXT, 0);
	test_packed_put(d, TEST_DATA, 8, 0, QUEUE_SIZE - 1);
	expect_violation(d, CVMM_VIRTQ_OVERRUN);
	/* With one list given back, the same is fine. */
	start(d, QUEUE_SIZE, false);
	for (uint16_t id = 0; id < QUEUE_SIZE - 1; id++)
		test_packed_simple(d, id);
	for (uint16_t id = 0; id < QUEUE_SIZE - 1; id++)
		expect_pop(d, id);
	assert_int_equal(cvmm_virtq_push(&d->vq, 3, 0), 0);
	test_packed_put(d, TEST_DATA, 8, NEXT, 0);
	test_packed_put(d, TEST_DATA, 8, 0, QUEUE_SIZE - 1);
	expect_pop(d, QUEUE_SIZE - 1);
}

static void readable_after_writable_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	test_packed_put(d, TEST_DATA, 8, NEXT | WRITE, 0);
	test_packed_put(d, TEST_DATA, 8, 0, 0);
	expect_violation(d, CVMM_VIRTQ_BAD_ORDER);
}

static void more_pieces_than_the_device_takes_are_a_violation(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	test_packed_put(d, TEST_DATA, 8, NEXT, 0);
	test_packed_put(d, TEST_DATA, 8, 0, 0);
	assert_int_equal(cvmm_virtq_pop(&d->vq, iov, 1, &chain), -EPROTO);
	assert_int_equal(cvmm_virtq_violation(&d->vq), CVMM_VIRTQ_TOO_MANY_PIECES);
	start(d, QUEUE_SIZE, false);
	test_packed_put(d, TEST_SEAM - 1, 2, 0, 0);
	assert_int_equal(cvmm_virtq_pop(&d->vq, iov, 1, &chain), -EPROTO);
	assert_int_equal(cvmm_virtq_violation(&d->vq), CVMM_VIRTQ_TOO_MANY_PIECES);
}

static void buffer_outside_of_ram_is_a_violation(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags;
	} bad[] = {
		{ TEST_RAM_END, 1, 0 },	   { TEST_RAM_END - 1, 2, 0 },	  { UINT64_MAX, 1, 0 },
		{ UINT64_MAX - 7, 16, 0 }, { 0, UINT32_MAX, 0 },	  { TEST_ROM, 8, WRITE },
		{ TEST_ROM - 1, 2, 0 },	   { UINT64_MAX, UINT32_MAX, 0 },
	};
	struct test_driver *d = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		start(d, QUEUE_SIZE, false);
		test_packed_put(d, bad[i].addr, bad[i].len, bad[i].flags, 0);
		expect_violation(d, CVMM_VIRTQ_BAD_BUFFER);
	}
}

/* 2^30 bytes of guest memory that cost nothing: reserved addresses that nobody touches. */
#define HUGE_GPA UINT64_C(0x100000000)
#define HUGE_BYTES (UINT32_C(1) << 30)

/* A list of five buffers, three of them of 2^30 bytes; the last @writable of all are writable. */
static void put_huge(struct test_driver *d, uint32_t first, uint32_t last, unsigned int writable)
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
	start(d, QUEUE_SIZE, false);
	for (unsigned int i = 0; i < 5; i++)
		test_packed_put(d, HUGE_GPA,
				i == 0	 ? first
				: i == 4 ? last
					 : HUGE_BYTES,
				(uint16_t)((i < 4 ? NEXT : 0) | (i >= 5 - writable ? WRITE : 0)),
				0);
}

static void list_of_exactly_4_gib_in_both_directions_is_fine(void **state)
{
	put_huge(*state, HUGE_BYTES, 0, 2);
	expect_pop(*state, 0);
}

static void list_of_more_than_4_gib_is_a_violation(void **state)
{
	put_huge(*state, HUGE_BYTES, 1, 2);
	expect_violation(*state, CVMM_VIRTQ_TOO_LONG);
}

static void list_of_4_gib_in_one_direction_is_a_violation(void **state)
{
	put_huge(*state, HUGE_BYTES, 0, 0);
	expect_violation(*state, CVMM_VIRTQ_TOO_LONG);
}

/* ---- indirect tables ----------------------------------------------------------------------- */

static void table_put(struct test_driver *d, uint32_t i, uint64_t addr, uint32_t len,
		      uint16_t flags, uint16_t id)
{
	uint8_t *desc = test_host(d, TABLE + (uint64_t)i * DESC_SIZE, DESC_SIZE);

	cvmm_put_le64(desc, addr);
	cvmm_put_le32(desc + 8, len);
	cvmm_put_le16(desc + 12, id);
	cvmm_put_le16(desc + 14, flags);
}

static void table_is_all_of_its_list(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	table_put(d, 0, TEST_DATA, 8, 0, 0);
	table_put(d, 1, TEST_DATA + 8, 16, WRITE, 0);
	table_put(d, 2, TEST_DATA + 24, 32, WRITE, 0);
	test_packed_put(d, TABLE, 3 * DESC_SIZE, INDIRECT, 4);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(chain.head, 4);
	assert_int_equal(chain.readable_bytes, 8);
	assert_int_equal(chain.writable_bytes, 48);
	expect_nothing(d);
	assert_int_equal(cvmm_virtq_push(&d->vq, 4, 48), 0);
	expect_used(d, 1, 4, 48);
}

/* NEXT does not end the table where it is missing, and INDIRECT is no nesting: 2.8.7. */
static void flags_in_tables_other_than_write_are_ignored(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	table_put(d, 0, TEST_DATA, 8, (uint16_t)~WRITE, 0xffff);
	table_put(d, 1, TEST_DATA, 8, 0, 77);
	table_put(d, 2, TEST_DATA, 8, INDIRECT | WRITE, 0xffff);
	table_put(d, 3, TEST_DATA, 8, 0xffff, 0xffff);
	test_packed_put(d, TABLE, 4 * DESC_SIZE, INDIRECT, 0);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(chain.readable_count, 2);
	assert_int_equal(chain.writable_count, 2);
}

static void write_flag_of_the_indirect_descriptor_is_ignored(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	table_put(d, 0, TEST_DATA, 8, 0, 0);
	test_packed_put(d, TABLE, DESC_SIZE, INDIRECT | WRITE, 0);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(chain.readable_bytes, 8);
}

static void table_may_lie_at_any_address_and_cross_regions(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;
	uint8_t desc[DESC_SIZE] = { 0 };

	cvmm_put_le64(desc, TEST_DATA);
	cvmm_put_le32(desc + 8, 8);
	for (uint64_t shift = 0; shift <= 2 * DESC_SIZE; shift++) {
		start(d, QUEUE_SIZE, false);
		for (unsigned int i = 0; i < 2; i++)
			assert_int_equal(
				cvmm_mem_write(d->mem,
					       cvmm_gpa_from(TEST_SEAM - shift + i * DESC_SIZE),
					       desc, sizeof(desc)),
				0);
		test_packed_put(d, TEST_SEAM - shift, 2 * DESC_SIZE, INDIRECT, 0);
		assert_int_equal(pop(d, &chain), 1);
		assert_int_equal(chain.readable_bytes, 16);
	}
}

static void table_may_be_longer_than_the_ring(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;
	const uint32_t count = CVMM_VIRTQ_INDIRECT_MAX;

	for (uint32_t i = 0; i < count; i++)
		test_desc_put(test_host(d, TEST_DATA + (uint64_t)i * DESC_SIZE, DESC_SIZE), 0,
			      TEST_DATA, 1, 0, 0);
	test_packed_put(d, TEST_DATA, count * DESC_SIZE, INDIRECT, 0);
	assert_int_equal(pop(d, &chain), 1);
	assert_int_equal(chain.readable_count, count);
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 0), 0);
	test_packed_put(d, TEST_DATA, (count + 1) * DESC_SIZE, INDIRECT, 0);
	expect_violation(d, CVMM_VIRTQ_INDIRECT_TOO_LONG);
}

static void order_holds_in_tables(void **state)
{
	struct test_driver *d = *state;

	table_put(d, 0, TEST_DATA, 8, WRITE, 0);
	table_put(d, 1, TEST_DATA, 8, 0, 0);
	test_packed_put(d, TABLE, 2 * DESC_SIZE, INDIRECT, 0);
	expect_violation(d, CVMM_VIRTQ_BAD_ORDER);
}

static void bad_buffers_in_tables_are_violations(void **state)
{
	struct test_driver *d = *state;

	table_put(d, 0, TEST_RAM_END, 8, 0, 0);
	test_packed_put(d, TABLE, DESC_SIZE, INDIRECT, 0);
	expect_violation(d, CVMM_VIRTQ_BAD_BUFFER);
}

static void indirect_without_the_feature_is_a_violation(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_config config = test_packed_config(QUEUE_SIZE);

	config.indirect = false;
	test_driver_start(d, &config);
	test_packed_put(d, TABLE, DESC_SIZE, INDIRECT, 0);
	expect_violation(d, CVMM_VIRTQ_INDIRECT_NOT_NEGOTIATED);
}

static void indirect_with_next_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	test_packed_put(d, TABLE, DESC_SIZE, INDIRECT | NEXT, 0);
	test_packed_put(d, TEST_DATA, 8, 0, 0);
	expect_violation(d, CVMM_VIRTQ_INDIRECT_WITH_NEXT);
}

static void indirect_behind_a_direct_descriptor_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	test_packed_put(d, TEST_DATA, 8, NEXT, 0);
	test_packed_put(d, TABLE, DESC_SIZE, INDIRECT, 0);
	expect_violation(d, CVMM_VIRTQ_INDIRECT_IN_CHAIN);
}

static void indirect_table_of_no_whole_descriptors_is_a_violation(void **state)
{
	static const uint32_t bad[] = { 0, 1, 8, 15, 17, 31, UINT32_MAX };
	struct test_driver *d = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		start(d, QUEUE_SIZE, false);
		test_packed_put(d, TABLE, bad[i], INDIRECT, 0);
		expect_violation(d, CVMM_VIRTQ_INDIRECT_BAD_LEN);
	}
}

static void indirect_table_beyond_the_limit_is_a_violation(void **state)
{
	struct test_driver *d = *state;

	test_packed_put(d, 0, 65536 * DESC_SIZE, INDIRECT, 0);
	expect_violation(d, CVMM_VIRTQ_INDIRECT_TOO_LONG);
}

static void indirect_table_outside_of_ram_is_a_violation(void **state)
{
	static const uint64_t bad[] = { TEST_RAM_END, TEST_RAM_END - DESC_SIZE + 1, UINT64_MAX,
					UINT64_MAX - 15, TEST_ROM - 1 };
	struct test_driver *d = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		start(d, QUEUE_SIZE, false);
		test_packed_put(d, bad[i], DESC_SIZE, INDIRECT, 0);
		expect_violation(d, CVMM_VIRTQ_INDIRECT_BAD_ADDRESS);
	}
}

static void table_of_more_pieces_than_the_device_takes_is_a_violation(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_chain chain;

	table_put(d, 0, TEST_DATA, 8, 0, 0);
	table_put(d, 1, TEST_DATA, 8, 0, 0);
	test_packed_put(d, TABLE, 2 * DESC_SIZE, INDIRECT, 0);
	assert_int_equal(cvmm_virtq_pop(&d->vq, iov, 1, &chain), -EPROTO);
	assert_int_equal(cvmm_virtq_violation(&d->vq), CVMM_VIRTQ_TOO_MANY_PIECES);
}

static void calls_on_a_broken_queue_are_refused(void **state)
{
	struct test_driver *d = *state;

	test_packed_simple(d, 0);
	expect_pop(d, 0);
	test_packed_simple(d, 0xffff);
	expect_violation(d, CVMM_VIRTQ_BAD_HEAD);
	assert_int_equal(cvmm_virtq_push(&d->vq, 0, 0), -EPROTO);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 0), -EPROTO);
	assert_false(cvmm_virtq_should_notify(&d->vq));
	assert_false(cvmm_virtq_enable_notifications(&d->vq));
	start(d, QUEUE_SIZE, false);
	serve_one(d, 0);
}

/* ---- notifications to the driver ----------------------------------------------------------- */

static void push_one(struct test_driver *d)
{
	serve_one(d, 0);
}

static void enabled_events_notify_for_each_group(void **state)
{
	struct test_driver *d = *state;

	for (int event_idx = 0; event_idx < 2; event_idx++) {
		start(d, QUEUE_SIZE, event_idx);
		assert_false(cvmm_virtq_should_notify(&d->vq));
		push_one(d);
		push_one(d);
		assert_true(cvmm_virtq_should_notify(&d->vq));
		assert_false(cvmm_virtq_should_notify(&d->vq));
	}
}

static void disabled_events_do_not_notify(void **state)
{
	struct test_driver *d = *state;

	for (int event_idx = 0; event_idx < 2; event_idx++) {
		start(d, QUEUE_SIZE, event_idx);
		test_packed_set_event(d, 0, true, DISABLE);
		push_one(d);
		assert_false(cvmm_virtq_should_notify(&d->vq));
	}
}

static void desc_events_without_event_idx_notify_always(void **state)
{
	struct test_driver *d = *state;

	test_packed_set_event(d, QUEUE_SIZE - 1, false, DESC);
	push_one(d);
	assert_true(cvmm_virtq_should_notify(&d->vq));
}

/* 3 is reserved, and the bits above are: better one too many. */
static void reserved_event_flags_notify(void **state)
{
	struct test_driver *d = *state;

	start(d, QUEUE_SIZE, true);
	test_packed_set_event(d, QUEUE_SIZE - 1, false, 3);
	push_one(d);
	assert_true(cvmm_virtq_should_notify(&d->vq));
	test_packed_set_event(d, 0, true, 0x3ffc | DISABLE);
	push_one(d);
	assert_false(cvmm_virtq_should_notify(&d->vq));
}

/*
 * The rule for every place where the device can be, every place that the driver can wait for, and
 * groups of up to three turns: whether the descriptor waited for is in the group.
 */
static void the_rule_holds_for_each_descriptor(void **state)
{
	static const uint16_t sizes[] = { 1, 2, 3, 4, 7 };
	struct test_driver *d = *state;

	for (size_t s = 0; s < CVMM_ARRAY_SIZE(sizes); s++) {
		uint16_t size = sizes[s], places = (uint16_t)(2 * size);

		for (uint32_t at = 0; at < places * places * 3U * size; at++) {
			uint16_t first = (uint16_t)(at % places);
			uint16_t event = (uint16_t)(at / places % places);
			uint32_t count = 1 + at / places / places;
			uint32_t to_event = (uint32_t)(event + places - first) % places;

			start_at(d, size, true, first % size, first < size);
			cvmm_virtq_should_notify(&d->vq); /* the one that start_at owes */
			test_packed_set_event(d, event % size, event < size, DESC);
			for (uint32_t i = 0; i < count; i++)
				push_one(d);
			assert_int_equal(cvmm_virtq_should_notify(&d->vq), to_event < count);
			assert_false(cvmm_virtq_should_notify(&d->vq));
		}
	}
}

/* The driver may wait for a descriptor inside of the gap that a list leaves. */
static void gaps_count_as_used(void **state)
{
	struct test_driver *d = *state;

	for (uint16_t event = 0; event < QUEUE_SIZE; event++) {
		start(d, QUEUE_SIZE, true);
		test_packed_set_event(d, event, true, DESC);
		test_packed_put(d, TEST_DATA, 8, NEXT, 0);
		test_packed_put(d, TEST_DATA, 8, NEXT, 0);
		test_packed_put(d, TEST_DATA, 8, 0, 0);
		expect_pop(d, 0);
		assert_int_equal(cvmm_virtq_push(&d->vq, 0, 0), 0);
		assert_int_equal(cvmm_virtq_should_notify(&d->vq), event < 3);
	}
}

static void a_whole_turn_without_decision_notifies(void **state)
{
	struct test_driver *d = *state;

	for (uint16_t event = 0; event < QUEUE_SIZE; event++) {
		start(d, QUEUE_SIZE, true);
		test_packed_set_event(d, event, true, DESC);
		for (int i = 0; i < QUEUE_SIZE; i++)
			push_one(d);
		assert_true(cvmm_virtq_should_notify(&d->vq));
	}
	/* And more of them than a counter of 16 bits has room for. */
	test_packed_set_event(d, 3, true, DESC);
	for (uint32_t i = 0; i < (UINT32_C(1) << 16) + 2; i++)
		push_one(d);
	assert_true(cvmm_virtq_should_notify(&d->vq));
}

static void places_outside_of_the_ring_harm_nobody(void **state)
{
	struct test_driver *d = *state;

	start(d, QUEUE_SIZE, true);
	for (uint32_t off = QUEUE_SIZE; off < 0x8000; off += 997) {
		test_packed_set_event(d, (uint16_t)off, off & 1, DESC);
		push_one(d);
		cvmm_virtq_should_notify(&d->vq);
	}
	test_packed_set_event(d, d->used_place, d->used_wrap, DESC);
	push_one(d);
	assert_true(cvmm_virtq_should_notify(&d->vq));
}

/* ---- notifications to the device ----------------------------------------------------------- */

static void expect_device_event(struct test_driver *d, uint16_t off, bool wrap, uint32_t flags)
{
	uint32_t event = cvmm_get_le32(d->used);

	assert_int_equal(event >> 16, flags);
	if (flags == DESC)
		assert_int_equal((uint16_t)event, off | (wrap ? 0x8000 : 0));
}

static void kicks_are_switched_by_flags(void **state)
{
	struct test_driver *d = *state;

	cvmm_virtq_disable_notifications(&d->vq);
	expect_device_event(d, 0, true, DISABLE);
	assert_false(cvmm_virtq_enable_notifications(&d->vq));
	expect_device_event(d, 0, true, ENABLE);
	test_packed_simple(d, 0);
	cvmm_virtq_disable_notifications(&d->vq);
	assert_true(cvmm_virtq_enable_notifications(&d->vq));
	expect_pop(d, 0);
	assert_false(cvmm_virtq_enable_notifications(&d->vq));
}

static void with_event_idx_kicks_are_asked_for_by_place_and_wrap(void **state)
{
	struct test_driver *d = *state;

	start(d, QUEUE_SIZE, true);
	for (uint16_t i = 0; i < 5 * QUEUE_SIZE; i++) {
		cvmm_virtq_disable_notifications(&d->vq);
		expect_device_event(d, 0, true, DISABLE);
		assert_false(cvmm_virtq_enable_notifications(&d->vq));
		expect_device_event(d, i % QUEUE_SIZE, !(i / QUEUE_SIZE & 1), DESC);
		serve_one(d, 0);
	}
	/* Lists of several: the place behind them. */
	test_packed_put(d, TEST_DATA, 8, NEXT, 0);
	test_packed_put(d, TEST_DATA, 8, 0, 0);
	expect_pop(d, 0);
	assert_false(cvmm_virtq_enable_notifications(&d->vq));
	expect_device_event(d, 2, false, DESC);
}

/* ---- where the queue is --------------------------------------------------------------------- */

static void queue_goes_on_where_another_one_was(void **state)
{
	struct test_driver *d = *state;
	struct cvmm_virtq_base base;

	for (int i = 0; i < QUEUE_SIZE + 2; i++)
		serve_one(d, 0);
	test_packed_simple(d, 1);
	test_packed_simple(d, 2);
	expect_pop(d, 1);
	expect_pop(d, 2);
	assert_int_equal(cvmm_virtq_push(&d->vq, 2, 0), 0);
	base = cvmm_virtq_base(&d->vq);
	assert_int_equal(base.next_avail, 4);
	assert_int_equal(base.next_used, 3);
	assert_false(base.avail_wrap);
	assert_false(base.used_wrap);
	assert_int_equal(cvmm_virtq_rewind(&d->vq, 1), -EINVAL);
	cvmm_virtq_stop(&d->vq);
	assert_int_equal(cvmm_virtq_start_at(&d->vq, d->mem, &d->config, &base, NULL), 0);
	expect_nothing(d);
	test_packed_simple(d, 4);
	expect_pop(d, 4);
	assert_int_equal(cvmm_virtq_push(&d->vq, 4, 0), 0);
	expect_used(d, 1, 2, 0);
	expect_used(d, 1, 4, 0);
}

static void first_decision_after_a_start_elsewhere_notifies(void **state)
{
	struct test_driver *d = *state;

	for (uint16_t event = 0; event < 2 * QUEUE_SIZE; event++) {
		start_at(d, QUEUE_SIZE, true, 3, false);
		test_packed_set_event(d, event % QUEUE_SIZE, event < QUEUE_SIZE, DESC);
		push_one(d);
		assert_true(cvmm_virtq_should_notify(&d->vq));
		assert_false(cvmm_virtq_should_notify(&d->vq));
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(start_takes_any_size_up_to_the_largest),
		TEST(start_refuses_bad_sizes_and_areas),
		TEST(areas_need_the_rights_that_the_device_uses),
		TEST(areas_may_end_exactly_at_the_end_of_ram),
		TEST(start_refuses_places_outside_of_the_ring),
		TEST(list_of_both_directions_is_two_lists),
		TEST(only_the_id_of_the_last_descriptor_counts),
		TEST(unknown_flags_are_ignored),
		TEST(only_one_state_of_the_flags_is_available),
		TEST(list_may_take_the_whole_ring_and_cross_its_end),
		TEST(descriptor_of_no_bytes_adds_no_piece),
		TEST(buffer_across_two_regions_is_two_pieces),
		TEST(used_descriptor_has_id_length_and_flags_and_keeps_its_address),
		TEST(used_descriptor_of_no_bytes_has_no_write_flag),
		TEST(used_flags_change_with_each_turn),
		TEST(used_descriptors_leave_a_gap_as_long_as_the_list),
		TEST(lists_may_be_given_back_in_any_order),
		TEST(push_refuses_what_is_not_in_flight_and_changes_nothing),
		TEST(batch_is_published_whole_or_not_at_all),
		TEST(rings_of_every_size_work_past_their_wraps),
		TEST(full_rings_of_every_size_are_served),
		TEST(ring_of_one_descriptor_works),
		TEST(rewound_list_is_copied_anew),
		TEST(rewinds_cross_the_end_of_the_ring),
		TEST(rewind_after_push_is_refused),
		TEST(id_outside_the_ring_is_a_violation),
		TEST(id_in_flight_made_available_again_is_a_violation),
		TEST(list_longer_than_the_ring_is_a_violation),
		TEST(more_descriptors_than_the_ring_has_are_a_violation),
		TEST(readable_after_writable_is_a_violation),
		TEST(more_pieces_than_the_device_takes_are_a_violation),
		TEST(buffer_outside_of_ram_is_a_violation),
		TEST(list_of_exactly_4_gib_in_both_directions_is_fine),
		TEST(list_of_more_than_4_gib_is_a_violation),
		TEST(list_of_4_gib_in_one_direction_is_a_violation),
		TEST(table_is_all_of_its_list),
		TEST(flags_in_tables_other_than_write_are_ignored),
		TEST(write_flag_of_the_indirect_descriptor_is_ignored),
		TEST(table_may_lie_at_any_address_and_cross_regions),
		TEST(table_may_be_longer_than_the_ring),
		TEST(order_holds_in_tables),
		TEST(bad_buffers_in_tables_are_violations),
		TEST(indirect_without_the_feature_is_a_violation),
		TEST(indirect_with_next_is_a_violation),
		TEST(indirect_behind_a_direct_descriptor_is_a_violation),
		TEST(indirect_table_of_no_whole_descriptors_is_a_violation),
		TEST(indirect_table_beyond_the_limit_is_a_violation),
		TEST(indirect_table_outside_of_ram_is_a_violation),
		TEST(table_of_more_pieces_than_the_device_takes_is_a_violation),
		TEST(calls_on_a_broken_queue_are_refused),
		TEST(enabled_events_notify_for_each_group),
		TEST(disabled_events_do_not_notify),
		TEST(desc_events_without_event_idx_notify_always),
		TEST(reserved_event_flags_notify),
		TEST(the_rule_holds_for_each_descriptor),
		TEST(gaps_count_as_used),
		TEST(a_whole_turn_without_decision_notifies),
		TEST(places_outside_of_the_ring_harm_nobody),
		TEST(kicks_are_switched_by_flags),
		TEST(with_event_idx_kicks_are_asked_for_by_place_and_wrap),
		TEST(queue_goes_on_where_another_one_was),
		TEST(first_decision_after_a_start_elsewhere_notifies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
