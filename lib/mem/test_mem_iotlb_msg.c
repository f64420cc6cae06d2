// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Messages about the IOTLB, from peers that mean well and from others. */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <cvmm/mem_iotlb.h>

#define RW CVMM_ACCESS_READ_WRITE

static void put(uint8_t msg[CVMM_IOTLB_MSG_SIZE], uint64_t iova, uint64_t len, uint64_t addr,
		uint8_t rights, uint8_t type)
{
	memset(msg, 0xee, CVMM_IOTLB_MSG_SIZE); /* also the padding */
	memcpy(msg, &iova, 8);
	memcpy(msg + 8, &len, 8);
	memcpy(msg + 16, &addr, 8);
	msg[24] = rights;
	msg[25] = type;
}

static int parse(uint64_t iova, uint64_t len, uint64_t addr, uint8_t rights, uint8_t type,
		 struct cvmm_iotlb_op *ret_op)
{
	uint8_t msg[CVMM_IOTLB_MSG_SIZE];
	struct cvmm_error err;

	put(msg, iova, len, addr, rights, type);
	return cvmm_iotlb_msg_parse(msg, sizeof(msg), ret_op, &err);
}

static void updates_are_decoded(void **state)
{
	struct cvmm_iotlb_op op;
	uint8_t msg[1 + CVMM_IOTLB_MSG_SIZE];

	(void)state;
	put(msg + 1, 0x1000, 0x2000, 0x7f0000001000, RW, CVMM_IOTLB_UPDATE);
	assert_int_equal(cvmm_iotlb_msg_parse(msg + 1, CVMM_IOTLB_MSG_SIZE_PACKED, &op, NULL), 0);
	assert_int_equal(op.kind, CVMM_IOTLB_UPDATE);
	assert_int_equal(op.iova, 0x1000);
	assert_int_equal(op.last, 0x2fff);
	assert_int_equal(op.addr, 0x7f0000001000);
	assert_int_equal(op.rights, RW);
}

static void other_sizes_are_refused(void **state)
{
	uint8_t msg[CVMM_IOTLB_MSG_SIZE + 1] = { 0 };
	struct cvmm_iotlb_op op = { .iova = 42 };

	(void)state;
	for (size_t size = 0; size <= sizeof(msg); size++)
		if (size != CVMM_IOTLB_MSG_SIZE && size != CVMM_IOTLB_MSG_SIZE_PACKED)
			assert_int_equal(cvmm_iotlb_msg_parse(msg, size, &op, NULL), -EMSGSIZE);
	assert_int_equal(op.iova, 42);
}

static void unknown_types_and_rights_are_refused(void **state)
{
	struct cvmm_iotlb_op op;

	(void)state;
	for (int type = 0; type < 256; type++)
		assert_int_equal(parse(0, 1, 0, RW, (uint8_t)type, &op),
				 type >= CVMM_IOTLB_MISS && type <= CVMM_IOTLB_BATCH_END ? 0
											 : -EINVAL);
	for (int rights = 4; rights < 256; rights++)
		assert_int_equal(parse(0, 1, 0, (uint8_t)rights, CVMM_IOTLB_UPDATE, &op), -EINVAL);
}

static void ranges_beyond_the_address_space_are_refused(void **state)
{
	struct cvmm_iotlb_op op;

	(void)state;
	assert_int_equal(parse(UINT64_MAX, 1, 0, RW, CVMM_IOTLB_UPDATE, &op), 0);
	assert_int_equal(parse(UINT64_MAX, 2, 0, RW, CVMM_IOTLB_UPDATE, &op), -EINVAL);
	assert_int_equal(parse(0, 2, UINT64_MAX, RW, CVMM_IOTLB_UPDATE, &op), -EINVAL);
	assert_int_equal(parse(2, UINT64_MAX, 0, 0, CVMM_IOTLB_INVALIDATE, &op), -EINVAL);
	assert_int_equal(parse(0, 0, 0, RW, CVMM_IOTLB_UPDATE, &op), -EINVAL);
	assert_int_equal(parse(0x1000, 0, 0, 0, CVMM_IOTLB_INVALIDATE, &op), -EINVAL);
}

/* QEMU invalidates all of 2^64 bytes, a length that its field cannot hold: 0 comes instead. */
static void an_invalidation_of_everything_is_understood(void **state)
{
	struct cvmm_iotlb_op op;

	(void)state;
	assert_int_equal(parse(0, 0, 0, 0, CVMM_IOTLB_INVALIDATE, &op), 0);
	assert_int_equal(op.iova, 0);
	assert_int_equal(op.last, UINT64_MAX);
	assert_int_equal(parse(0, UINT64_MAX, 0, 0, CVMM_IOTLB_INVALIDATE, &op), 0);
	assert_int_equal(op.last, UINT64_MAX - 1);
}

static void what_an_invalidation_does_not_need_is_ignored(void **state)
{
	struct cvmm_iotlb_op op;

	(void)state;
	assert_int_equal(parse(0x1000, 0x1000, UINT64_MAX, 0xff, CVMM_IOTLB_INVALIDATE, &op), 0);
	assert_int_equal(op.addr, 0);
	assert_int_equal(op.rights, 0);
	assert_int_equal(parse(1, 0, UINT64_MAX, 0xff, CVMM_IOTLB_BATCH_BEGIN, &op), 0);
}

static void what_is_formatted_is_parsed_to_the_same(void **state)
{
	static const struct cvmm_iotlb_op ops[] = {
		{ CVMM_IOTLB_MISS, 0x1000, 0x1fff, 0, CVMM_ACCESS_WRITE },
		{ CVMM_IOTLB_UPDATE, UINT64_MAX, UINT64_MAX, 5, RW },
		{ CVMM_IOTLB_INVALIDATE, 0, UINT64_MAX, 0, 0 },
		{ CVMM_IOTLB_ACCESS_FAIL, 7, 7, 0, CVMM_ACCESS_READ },
		{ CVMM_IOTLB_BATCH_BEGIN, 0, 0, 0, 0 },
		{ CVMM_IOTLB_BATCH_END, 0, 0, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(ops); i++) {
		uint8_t msg[CVMM_IOTLB_MSG_SIZE];
		struct cvmm_iotlb_op op;

		assert_int_equal(cvmm_iotlb_msg_format(&ops[i], msg), 0);
		assert_int_equal(cvmm_iotlb_msg_parse(msg, sizeof(msg), &op, NULL), 0);
		assert_memory_equal(&op, &ops[i], sizeof(op));
	}
}

static void what_a_message_cannot_say_is_refused(void **state)
{
	static const struct cvmm_iotlb_op ops[] = {
		{ CVMM_IOTLB_UPDATE, 0, UINT64_MAX, 0, RW },
		{ CVMM_IOTLB_MISS, 5, 4, 0, RW },
		{ CVMM_IOTLB_MISS, 5, 6, 0, 4 },
		{ 0, 5, 6, 0, RW },
		{ 7, 5, 6, 0, RW },
	};
	uint8_t msg[CVMM_IOTLB_MSG_SIZE];

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(ops); i++)
		assert_int_equal(cvmm_iotlb_msg_format(&ops[i], msg), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(updates_are_decoded),
		cmocka_unit_test(other_sizes_are_refused),
		cmocka_unit_test(unknown_types_and_rights_are_refused),
		cmocka_unit_test(ranges_beyond_the_address_space_are_refused),
		cmocka_unit_test(an_invalidation_of_everything_is_understood),
		cmocka_unit_test(what_an_invalidation_does_not_need_is_ignored),
		cmocka_unit_test(what_is_formatted_is_parsed_to_the_same),
		cmocka_unit_test(what_a_message_cannot_say_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
