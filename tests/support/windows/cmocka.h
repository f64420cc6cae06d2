/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * As much of cmocka as tests of portable components use, for Windows, where Debian has none: the same
 * names, the same last lines. One thread asserts, the one that runs the tests.
 */
#ifndef CVMM_TEST_WINDOWS_CMOCKA_H
#define CVMM_TEST_WINDOWS_CMOCKA_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct CMUnitTest {
	const char *name;
	void (*run)(void **state);
	int (*setup)(void **state);
	int (*teardown)(void **state);
};

#define cmocka_unit_test(f) ((struct CMUnitTest){ #f, f, NULL, NULL })
#define cmocka_unit_test_setup_teardown(f, setup, teardown) \
	((struct CMUnitTest){ #f, f, setup, teardown })

enum {
	TEST_FAILED = 1,
	TEST_SKIPPED = 2
};

static jmp_buf test_end;

static inline _Noreturn void test_fail(const char *file, int line, const char *what)
{
	printf("%s:%d: %s\n", file, line, what);
	longjmp(test_end, TEST_FAILED);
}

#define TEST_CHECK(cond, what)                               \
	do {                                                 \
		if (!(cond))                                 \
			test_fail(__FILE__, __LINE__, what); \
	} while (0)

#define assert_true(a) TEST_CHECK(a, #a)
#define assert_false(a) TEST_CHECK(!(a), "not false: " #a)
#define assert_null(a) TEST_CHECK(!(a), "not NULL: " #a)
#define assert_non_null(a) TEST_CHECK(a, "NULL: " #a)
#define assert_ptr_equal(a, b) TEST_CHECK((const void *)(a) == (const void *)(b), #a " != " #b)
#define assert_ptr_not_equal(a, b) TEST_CHECK((const void *)(a) != (const void *)(b), #a " == " #b)
#define assert_int_equal(a, b) TEST_CHECK((uint64_t)(a) == (uint64_t)(b), #a " != " #b)
#define assert_int_not_equal(a, b) TEST_CHECK((uint64_t)(a) != (uint64_t)(b), #a " == " #b)
#define assert_string_equal(a, b) TEST_CHECK(!strcmp(a, b), #a " != " #b)
#define assert_memory_equal(a, b, len) TEST_CHECK(!memcmp(a, b, len), #a " != " #b)
#define skip() longjmp(test_end, TEST_SKIPPED)
#define print_message(...) printf(__VA_ARGS__)
#define fail() test_fail(__FILE__, __LINE__, "failed")
#define fail_msg(...)                \
	do {                         \
		printf(__VA_ARGS__); \
		printf("\n");        \
		fail();              \
	} while (0)

static inline int test_run_one(const struct CMUnitTest *test)
{
	void *state = NULL;
	int outcome;

	printf("[ RUN      ] %s\n", test->name);
	if (test->setup && test->setup(&state))
		outcome = TEST_FAILED;
	else if (!(outcome = setjmp(test_end)))
		test->run(&state);
	if (test->teardown && test->teardown(&state))
		outcome = TEST_FAILED;
	printf("%s %s\n",
	       outcome ? outcome == TEST_FAILED ? "[  FAILED  ]" : "[  SKIPPED ]" : "[       OK ]",
	       test->name);
	fflush(stdout);
	return outcome;
}

static inline int test_run_all(const struct CMUnitTest *tests, size_t count)
{
	int counts[3] = { 0 };

	for (size_t i = 0; i < count; i++)
		counts[test_run_one(&tests[i])]++;
	printf("[  PASSED  ] %d test(s).\n[  SKIPPED ] %d test(s)\n[  FAILED  ] %d test(s)\n",
	       counts[0], counts[TEST_SKIPPED], counts[TEST_FAILED]);
	return counts[TEST_FAILED];
}

#define cmocka_run_group_tests(tests, setup, teardown) \
	test_run_all(tests, sizeof(tests) / sizeof((tests)[0]))

#endif /* CVMM_TEST_WINDOWS_CMOCKA_H */
