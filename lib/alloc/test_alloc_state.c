// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "alloc_check.h"

#define STATE_MAX 4096
#define DEPTH_MAX 40

/* ---- spaces ---------------------------------------------------------------------------------- */

static struct cvmm_alloc_range range(uint64_t first, uint64_t last)
{
	return (struct cvmm_alloc_range){ first, last };
}

static struct cvmm_alloc_space *new_space(uint64_t first, uint64_t last)
{
	struct cvmm_alloc_space *space;

	assert_int_equal(cvmm_alloc_space_create("test", range(first, last), &space, NULL), 0);
	return space;
}

static size_t save_space(const struct cvmm_alloc_space *space, uint8_t *buf)
{
	size_t len = cvmm_alloc_space_state_bytes(space);

	assert_true(len <= STATE_MAX);
	assert_int_equal(cvmm_alloc_space_save(space, buf, len, NULL), 0);
	return len;
}

/* A state with the given ranges, whatever they are. */
static size_t write_space(uint8_t *buf, struct cvmm_alloc_range space,
			  const struct cvmm_alloc_range *ranges, size_t count)
{
	struct cvmm_alloc_space_state head = {
		.magic = cvmm_le32_from(CVMM_ALLOC_SPACE_STATE_MAGIC),
		.version = cvmm_le32_from(CVMM_ALLOC_SPACE_STATE_VERSION),
		.first = cvmm_le64_from(space.first),
		.last = cvmm_le64_from(space.last),
		.count = cvmm_le64_from(count),
	};

	memcpy(buf, &head, sizeof(head));
	for (size_t i = 0; i < count; i++) {
		cvmm_put_le64(buf + sizeof(head) + 16 * i, ranges[i].first);
		cvmm_put_le64(buf + sizeof(head) + 16 * i + 8, ranges[i].last);
	}
	return sizeof(head) + 16 * count;
}

/* The state must be refused, with a message, and change nothing. */
static void assert_space_refuses(const void *state, size_t len)
{
	struct cvmm_alloc_space *space = new_space(0x1000, UINT64_MAX);
	uint8_t before[STATE_MAX], after[STATE_MAX];
	struct cvmm_error err = { 0 };
	size_t before_len;

	assert_int_equal(cvmm_alloc_space_reserve(space, range(0x5000, 0x5fff), NULL), 0);
	before_len = save_space(space, before);
	assert_int_equal(cvmm_alloc_space_restore(space, state, len, &err), -EINVAL);
	assert_true(err.message[0]);
	assert_int_equal(save_space(space, after), before_len);
	assert_memory_equal(before, after, before_len);
	assert_true(check_space(space, DEPTH_MAX));
	cvmm_alloc_space_destroy(space);
}

static void a_space_comes_back_as_it_was(void **state)
{
	struct cvmm_alloc_space *space = new_space(0, UINT64_MAX), *copy = new_space(0, UINT64_MAX);
	const struct cvmm_alloc_range ranges[] = {
		{ 0, 0 }, { 1, 0xfff }, { 0x2000, 0x2fff }, { UINT64_MAX, UINT64_MAX }
	};
	uint8_t saved[STATE_MAX + 1], again[STATE_MAX];
	size_t len;

	(void)state;
	for (size_t i = CVMM_ARRAY_SIZE(ranges); i-- > 0;)
		assert_int_equal(cvmm_alloc_space_reserve(space, ranges[i], NULL), 0);
	/* What the copy held is forgotten; the bytes may lie anywhere. */
	assert_int_equal(cvmm_alloc_space_reserve(copy, range(7, 8), NULL), 0);
	len = save_space(space, saved + 1);
	assert_int_equal(cvmm_alloc_space_restore(copy, saved + 1, len, NULL), 0);
	assert_true(check_space(copy, DEPTH_MAX));
	assert_int_equal(save_space(copy, again), len);
	assert_memory_equal(saved + 1, again, len);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(ranges); i++)
		assert_int_equal(cvmm_alloc_space_free(copy, ranges[i], NULL), 0);
	assert_true(cvmm_alloc_space_available(copy) == UINT64_MAX);
	cvmm_alloc_space_destroy(space);
	cvmm_alloc_space_destroy(copy);
}

static void an_empty_and_a_full_space_come_back(void **state)
{
	struct cvmm_alloc_space *space = new_space(0, UINT64_MAX);
	uint8_t empty[STATE_MAX], full[STATE_MAX];
	size_t empty_len = save_space(space, empty), full_len;

	(void)state;
	assert_int_equal(cvmm_alloc_space_reserve(space, range(0, UINT64_MAX), NULL), 0);
	full_len = save_space(space, full);
	assert_int_equal(cvmm_alloc_space_restore(space, empty, empty_len, NULL), 0);
	assert_true(cvmm_alloc_space_available(space) == UINT64_MAX);
	assert_int_equal(cvmm_alloc_space_restore(space, full, full_len, NULL), 0);
	assert_true(cvmm_alloc_space_available(space) == 0);
	cvmm_alloc_space_destroy(space);
}

static void a_short_buffer_is_not_written(void **state)
{
	struct cvmm_alloc_space *space = new_space(0, 0xff);
	struct cvmm_error err;
	uint8_t buf[32] = { 0xaa };

	(void)state;
	assert_int_equal(cvmm_alloc_space_save(space, buf, 31, &err), -ENOBUFS);
	assert_int_equal(buf[0], 0xaa);
	assert_int_equal(cvmm_alloc_space_save(space, buf, 32, &err), 0);
	cvmm_alloc_space_destroy(space);
}

static void a_space_state_of_every_other_length_is_refused(void **state)
{
	const struct cvmm_alloc_range ranges[] = { { 0x1000, 0x1fff }, { 0x3000, 0x3fff } };
	uint8_t saved[STATE_MAX] = { 0 };
	size_t len = write_space(saved, range(0x1000, UINT64_MAX), ranges, 2);

	(void)state;
	for (size_t cut = 0; cut <= len + 16; cut++) {
		uint8_t *exact = malloc(cut ? cut : 1);

		assert_non_null(exact);
		memcpy(exact, saved, cut);
		if (cut != len)
			assert_space_refuses(exact, cut);
		free(exact);
	}
}

static void a_space_state_with_a_wrong_head_is_refused(void **state)
{
	const struct cvmm_alloc_range ranges[] = { { 0x1000, 0x1fff } };
	uint8_t saved[STATE_MAX];
	size_t len;

	(void)state;
	/* Each byte of the head matters. */
	for (size_t i = 0; i < sizeof(struct cvmm_alloc_space_state); i++) {
		len = write_space(saved, range(0x1000, UINT64_MAX), ranges, 1);
		saved[i] ^= 0x40;
		assert_space_refuses(saved, len);
	}
	/* A count whose product with 16 is that of a good one, modulo 2^64. */
	len = write_space(saved, range(0x1000, UINT64_MAX), ranges, 1);
	cvmm_put_le64(saved + 24, (UINT64_C(1) << 60) + 1);
	assert_space_refuses(saved, len);
}

static void a_space_state_with_bad_ranges_is_refused(void **state)
{
	static const struct cvmm_alloc_range bad[][2] = {
		{ { 0x3000, 0x3fff }, { 0x1000, 0x1fff } },		/* descending */
		{ { 0x1000, 0x1fff }, { 0x1fff, 0x2fff } },		/* overlapping */
		{ { 0x1000, 0x1fff }, { 0x1000, 0x1fff } },		/* twice */
		{ { 0x1000, 0x1fff }, { 0x3000, 0x2fff } },		/* backward */
		{ { 0xfff, 0x1fff }, { 0x3000, 0x3fff } },		/* before the space */
		{ { 0x2000, UINT64_MAX }, { 0, 5 } },			/* after the end */
		{ { 0x2000, UINT64_MAX }, { UINT64_MAX, UINT64_MAX } }, /* at the end, twice */
	};
	uint8_t saved[STATE_MAX];
	size_t len;

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		len = write_space(saved, range(0x1000, UINT64_MAX), bad[i], 2);
		assert_space_refuses(saved, len);
	}
}

static void a_range_beyond_the_space_is_refused(void **state)
{
	struct cvmm_alloc_space *space = new_space(0, 0xff);
	const struct cvmm_alloc_range beyond = { 0x80, 0x100 };
	uint8_t saved[STATE_MAX];
	size_t len = write_space(saved, range(0, 0xff), &beyond, 1);

	(void)state;
	assert_int_equal(cvmm_alloc_space_restore(space, saved, len, NULL), -EINVAL);
	cvmm_alloc_space_destroy(space);
}

/* ---- ids ------------------------------------------------------------------------------------- */

static struct cvmm_alloc_ids *new_ids(uint32_t first, uint32_t last)
{
	struct cvmm_alloc_ids *ids;

	assert_int_equal(cvmm_alloc_ids_create("test", (struct cvmm_alloc_id_range){ first, last },
					       &ids, NULL),
			 0);
	return ids;
}

static size_t save_ids(const struct cvmm_alloc_ids *ids, uint8_t *buf)
{
	size_t len = cvmm_alloc_ids_state_bytes(ids);

	assert_true(len <= STATE_MAX);
	assert_int_equal(cvmm_alloc_ids_save(ids, buf, len, NULL), 0);
	return len;
}

/* A state of ids 100 up, with the given runs, whatever they are. */
static size_t write_ids(uint8_t *buf, const struct cvmm_alloc_id_range *runs, size_t count)
{
	struct cvmm_alloc_ids_state head = {
		.magic = cvmm_le32_from(CVMM_ALLOC_IDS_STATE_MAGIC),
		.version = cvmm_le32_from(CVMM_ALLOC_IDS_STATE_VERSION),
		.first = cvmm_le32_from(UINT32_MAX - 999),
		.last = cvmm_le32_from(UINT32_MAX),
		.count = cvmm_le32_from((uint32_t)count),
	};

	memcpy(buf, &head, sizeof(head));
	for (size_t i = 0; i < count; i++) {
		cvmm_put_le32(buf + sizeof(head) + 8 * i, runs[i].first);
		cvmm_put_le32(buf + sizeof(head) + 8 * i + 4, runs[i].last);
	}
	return sizeof(head) + 8 * count;
}

static void assert_ids_refuse(const void *state, size_t len)
{
	struct cvmm_alloc_ids *ids = new_ids(UINT32_MAX - 999, UINT32_MAX);
	struct cvmm_error err = { 0 };

	assert_int_equal(cvmm_alloc_ids_reserve(ids, cvmm_alloc_one_id(UINT32_MAX), NULL), 0);
	assert_int_equal(cvmm_alloc_ids_restore(ids, state, len, &err), -EINVAL);
	assert_true(err.message[0]);
	assert_true(cvmm_alloc_ids_available(ids) == 999);
	assert_true(cvmm_alloc_ids_is_allocated(ids, UINT32_MAX));
	assert_true(check_ids(ids));
	cvmm_alloc_ids_destroy(ids);
}

static void ids_come_back_as_they_were(void **state)
{
	struct cvmm_alloc_ids *ids = new_ids(24, 4095), *copy = new_ids(24, 4095);
	uint8_t saved[STATE_MAX + 1], again[STATE_MAX];
	uint32_t id;
	size_t len;

	(void)state;
	assert_int_equal(cvmm_alloc_ids_reserve(ids, (struct cvmm_alloc_id_range){ 24, 99 }, NULL),
			 0);
	assert_int_equal(cvmm_alloc_ids_reserve(ids, cvmm_alloc_one_id(4095), NULL), 0);
	assert_int_equal(cvmm_alloc_ids_reserve(copy, cvmm_alloc_one_id(200), NULL), 0);
	len = save_ids(ids, saved + 1);
	assert_int_equal(len, 24 + 2 * 8);
	assert_int_equal(cvmm_alloc_ids_restore(copy, saved + 1, len, NULL), 0);
	assert_int_equal(save_ids(copy, again), len);
	assert_memory_equal(saved + 1, again, len);
	assert_int_equal(cvmm_alloc_ids_take(copy, &id, NULL), 0);
	assert_int_equal(id, 100);
	assert_true(check_ids(copy));
	cvmm_alloc_ids_destroy(ids);
	cvmm_alloc_ids_destroy(copy);
}

static void a_short_buffer_for_ids_is_not_written(void **state)
{
	struct cvmm_alloc_ids *ids = new_ids(0, 9);
	uint8_t buf[24] = { 0xaa };

	(void)state;
	assert_int_equal(cvmm_alloc_ids_save(ids, buf, 23, NULL), -ENOBUFS);
	assert_int_equal(buf[0], 0xaa);
	assert_int_equal(cvmm_alloc_ids_save(ids, buf, 24, NULL), 0);
	cvmm_alloc_ids_destroy(ids);
}

static void an_ids_state_of_every_other_length_is_refused(void **state)
{
	const struct cvmm_alloc_id_range runs[] = { { UINT32_MAX - 9, UINT32_MAX - 8 },
						    { UINT32_MAX - 3, UINT32_MAX } };
	uint8_t saved[STATE_MAX] = { 0 };
	size_t len = write_ids(saved, runs, 2);

	(void)state;
	for (size_t cut = 0; cut <= len + 8; cut++) {
		uint8_t *exact = malloc(cut ? cut : 1);

		assert_non_null(exact);
		memcpy(exact, saved, cut);
		if (cut != len)
			assert_ids_refuse(exact, cut);
		free(exact);
	}
}

static void an_ids_state_with_a_wrong_head_is_refused(void **state)
{
	const struct cvmm_alloc_id_range runs[] = { { UINT32_MAX - 9, UINT32_MAX - 8 } };
	uint8_t saved[STATE_MAX];
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof(struct cvmm_alloc_ids_state); i++) {
		len = write_ids(saved, runs, 1);
		saved[i] ^= 0x40;
		assert_ids_refuse(saved, len);
	}
}

static void an_ids_state_with_bad_runs_is_refused(void **state)
{
	static const struct cvmm_alloc_id_range bad[][2] = {
		{ { UINT32_MAX - 5, UINT32_MAX - 4 }, { UINT32_MAX - 9, UINT32_MAX - 8 } },
		{ { UINT32_MAX - 9, UINT32_MAX - 6 }, { UINT32_MAX - 7, UINT32_MAX - 4 } },
		{ { UINT32_MAX - 9, UINT32_MAX - 6 }, { UINT32_MAX - 5, UINT32_MAX - 4 } },
		{ { UINT32_MAX - 9, UINT32_MAX - 6 }, { UINT32_MAX - 3, UINT32_MAX - 4 } },
		{ { 0, UINT32_MAX - 6 }, { UINT32_MAX - 3, UINT32_MAX } },
		{ { UINT32_MAX - 9, UINT32_MAX }, { 0, 0 } },
	};
	uint8_t saved[STATE_MAX];
	size_t len;

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		len = write_ids(saved, bad[i], 2);
		assert_ids_refuse(saved, len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_space_comes_back_as_it_was),
		cmocka_unit_test(an_empty_and_a_full_space_come_back),
		cmocka_unit_test(a_short_buffer_is_not_written),
		cmocka_unit_test(a_space_state_of_every_other_length_is_refused),
		cmocka_unit_test(a_space_state_with_a_wrong_head_is_refused),
		cmocka_unit_test(a_space_state_with_bad_ranges_is_refused),
		cmocka_unit_test(a_range_beyond_the_space_is_refused),
		cmocka_unit_test(ids_come_back_as_they_were),
		cmocka_unit_test(a_short_buffer_for_ids_is_not_written),
		cmocka_unit_test(an_ids_state_of_every_other_length_is_refused),
		cmocka_unit_test(an_ids_state_with_a_wrong_head_is_refused),
		cmocka_unit_test(an_ids_state_with_bad_runs_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
