// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <cvmm/base.h>

static void fail_fills_error_and_returns_code(void **state)
{
	struct cvmm_error err = { 0 };

	(void)state;
	assert_int_equal(cvmm_fail(&err, -EINVAL, "size %u is odd", 7U), -EINVAL);
	assert_int_equal(err.code, -EINVAL);
	assert_string_equal(err.message, "size 7 is odd");
	assert_int_equal(cvmm_error_prefix(&err, "disk %s", "a.img"), -EINVAL);
	assert_string_equal(err.message, "disk a.img: size 7 is odd");
	assert_int_equal(cvmm_fail(NULL, -EIO, "unused"), -EIO);
	assert_int_equal(cvmm_error_prefix(NULL, "unused"), 0);
}

static void long_messages_are_cut_visibly(void **state)
{
	char text[2 * CVMM_ERROR_MESSAGE_SIZE];
	struct cvmm_error err = { 0 };

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	cvmm_fail(&err, -EIO, "%s", text);
	assert_int_equal(strlen(err.message), CVMM_ERROR_MESSAGE_SIZE - 1);
	assert_string_equal(err.message + CVMM_ERROR_MESSAGE_SIZE - 4, "...");
	cvmm_error_prefix(&err, "front");
	assert_memory_equal(err.message, "front: xxx", 10);
	assert_int_equal(strlen(err.message), CVMM_ERROR_MESSAGE_SIZE - 1);
	assert_string_equal(err.message + CVMM_ERROR_MESSAGE_SIZE - 4, "...");
}

static void arithmetic_refuses_overflow(void **state)
{
	uint64_t v = 42;

	(void)state;
	assert_false(cvmm_add_u64(UINT64_MAX, 1, &v));
	assert_false(cvmm_mul_u64(UINT64_MAX, 2, &v));
	assert_false(cvmm_align_up_u64(UINT64_MAX - 1, 4096, &v));
	assert_int_equal(v, 42);
	assert_true(cvmm_add_u64(UINT64_MAX, 0, &v));
	assert_true(v == UINT64_MAX);
	assert_true(cvmm_align_up_u64(4097, 4096, &v));
	assert_int_equal(v, 8192);
	assert_true(cvmm_range_inside(0, 0, 0));
	assert_true(cvmm_range_inside(10, 0, 10));
	assert_false(cvmm_range_inside(11, 0, 10));
	assert_false(cvmm_range_inside(1, UINT64_MAX, UINT64_MAX));
	assert_true(cvmm_range_inside(1, UINT64_MAX - 1, UINT64_MAX));
	assert_false(cvmm_is_pow2(0));
	assert_true(cvmm_is_pow2(UINT64_C(1) << 63));
}

static void endian_types_have_wire_layout(void **state)
{
	cvmm_le32 le = cvmm_le32_from(0x01020304);
	cvmm_be16 be = cvmm_be16_from(0x0102);
	uint8_t unaligned[9] = { 0, 1, 2, 3, 4, 5, 6, 7, 8 };

	(void)state;
	assert_memory_equal(&le, "\4\3\2\1", 4);
	assert_memory_equal(&be, "\1\2", 2);
	assert_int_equal(cvmm_le32_get(le), 0x01020304);
	assert_int_equal(cvmm_be16_get(be), 0x0102);
	assert_int_equal(cvmm_get_le16(unaligned + 1), 0x0201);
	assert_true(cvmm_get_le64(unaligned + 1) == UINT64_C(0x0807060504030201));
	cvmm_put_le32(unaligned + 1, 0xa1b2c3d4);
	assert_memory_equal(unaligned, "\0\xd4\xc3\xb2\xa1\5", 6);
}

static void iovec_copies_stop_at_the_end(void **state)
{
	char a[3] = "abc", b[1] = "", c[4] = "defg";
	struct iovec iov[3] = { { a, 3 }, { b, 0 }, { c, 4 } };
	struct iovec part[3];
	char buf[16] = { 0 };

	(void)state;
	assert_int_equal(cvmm_iov_len(iov, 3), 7);
	assert_int_equal(cvmm_iov_copy_from(iov, 3, 2, buf, sizeof(buf)), 5);
	assert_memory_equal(buf, "cdefg", 5);
	assert_int_equal(cvmm_iov_copy_from(iov, 3, 7, buf, 1), 0);
	assert_int_equal(cvmm_iov_copy_from(iov, 3, SIZE_MAX, buf, 1), 0);
	assert_int_equal(cvmm_iov_copy_to(iov, 3, 1, "XYZ", 3), 3);
	assert_memory_equal(a, "aXY", 3);
	assert_memory_equal(c, "Zefg", 4);
	assert_int_equal(cvmm_iov_slice(iov, 3, 2, 3, part), 2);
	assert_ptr_equal(part[0].iov_base, a + 2);
	assert_int_equal(part[0].iov_len, 1);
	assert_ptr_equal(part[1].iov_base, c);
	assert_int_equal(part[1].iov_len, 2);
	iov[0].iov_len = SIZE_MAX;
	assert_true(cvmm_iov_len(iov, 3) == SIZE_MAX);
}

struct seen {
	unsigned int count;
	char last[128];
};

static void remember(void *ctx, enum cvmm_log_level level, const char *message)
{
	struct seen *seen = ctx;

	(void)level;
	seen->count++;
	snprintf(seen->last, sizeof(seen->last), "%s", message);
}

static void log_filters_levels_and_limits_bursts(void **state)
{
	struct seen seen = { 0 };
	struct cvmm_log log = { remember, &seen, CVMM_LOG_WARN };
	struct cvmm_log_limit limit = { 0 };

	(void)state;
	cvmm_log(NULL, CVMM_LOG_ERROR, "nobody listens");
	cvmm_log(&log, CVMM_LOG_DEBUG, "too fine");
	assert_int_equal(seen.count, 0);
	cvmm_log(&log, CVMM_LOG_WARN, "queue %d", 3);
	assert_string_equal(seen.last, "queue 3");
	for (int i = 0; i < 3 * CVMM_LOG_LIMIT_BURST; i++)
		cvmm_log_limited(&log, &limit, CVMM_LOG_WARN, "bad index");
	assert_int_equal(seen.count, 1 + CVMM_LOG_LIMIT_BURST);
	limit.period_start_ns -= 2 * CVMM_LOG_LIMIT_PERIOD_NS;
	cvmm_log_limited(&log, &limit, CVMM_LOG_WARN, "bad index again");
	assert_int_equal(seen.count, 3 + CVMM_LOG_LIMIT_BURST);
	assert_string_equal(seen.last, "bad index again");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fail_fills_error_and_returns_code),
		cmocka_unit_test(long_messages_are_cut_visibly),
		cmocka_unit_test(arithmetic_refuses_overflow),
		cmocka_unit_test(endian_types_have_wire_layout),
		cmocka_unit_test(iovec_copies_stop_at_the_end),
		cmocka_unit_test(log_filters_levels_and_limits_bursts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
