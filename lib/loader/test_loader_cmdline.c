/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <cvmm/loader.h>

static struct cvmm_loader_cmdline *must_parse(const char *text, size_t capacity)
{
	struct cvmm_loader_cmdline *cmdline = NULL;

	assert_int_equal(cvmm_loader_cmdline_parse(text, capacity, &cmdline, NULL), 0);
	return cmdline;
}

/* Parse, compare, destroy. */
static void assert_parsed(const char *text, const char *expected)
{
	struct cvmm_loader_cmdline *cmdline = must_parse(text, 128);

	assert_string_equal(cvmm_loader_cmdline_text(cmdline), expected);
	cvmm_loader_cmdline_destroy(cmdline);
}

static int new_cmdline(void **state)
{
	struct cvmm_loader_cmdline *cmdline = NULL;

	if (cvmm_loader_cmdline_create(256, &cmdline, NULL) < 0)
		return -1;
	*state = cmdline;
	return 0;
}

static int drop_cmdline(void **state)
{
	cvmm_loader_cmdline_destroy(*state);
	return 0;
}

static void capacity_must_hold_at_least_the_nul(void **state)
{
	struct cvmm_loader_cmdline *cmdline = NULL;

	(void)state;
	assert_int_equal(cvmm_loader_cmdline_create(0, &cmdline, NULL), -EINVAL);
	assert_null(cmdline);
	assert_int_equal(
		cvmm_loader_cmdline_create(CVMM_LOADER_CMDLINE_CAPACITY_MAX + 1, &cmdline, NULL),
		-EINVAL);
	assert_int_equal(
		cvmm_loader_cmdline_create(CVMM_LOADER_CMDLINE_CAPACITY_MAX, &cmdline, NULL), 0);
	cvmm_loader_cmdline_destroy(cmdline);
	assert_int_equal(cvmm_loader_cmdline_create(1, &cmdline, NULL), 0);
	assert_string_equal(cvmm_loader_cmdline_text(cmdline), "");
	assert_int_equal(cvmm_loader_cmdline_insert_str(cmdline, "a", NULL), -ENOSPC);
	cvmm_loader_cmdline_destroy(cmdline);
}

static void insert_appends_pairs_with_one_space(void **state)
{
	assert_int_equal(cvmm_loader_cmdline_insert(*state, "console", "ttyS0", NULL), 0);
	assert_int_equal(cvmm_loader_cmdline_insert(*state, "panic", "-1", NULL), 0);
	assert_string_equal(cvmm_loader_cmdline_text(*state), "console=ttyS0 panic=-1");
}

static void text_may_fill_the_capacity_to_the_last_byte(void **state)
{
	struct cvmm_loader_cmdline *cmdline = must_parse("", 8);

	(void)state;
	assert_int_equal(cvmm_loader_cmdline_insert(cmdline, "abc", "123", NULL), 0);
	assert_string_equal(cvmm_loader_cmdline_text(cmdline), "abc=123");
	assert_int_equal(cvmm_loader_cmdline_insert_str(cmdline, "x", NULL), -ENOSPC);
	assert_string_equal(cvmm_loader_cmdline_text(cmdline), "abc=123");
	cvmm_loader_cmdline_destroy(cmdline);
}

static void text_one_byte_too_long_changes_nothing(void **state)
{
	struct cvmm_loader_cmdline *cmdline = must_parse("", 7);
	struct cvmm_error err = { 0 };

	(void)state;
	assert_int_equal(cvmm_loader_cmdline_insert(cmdline, "abc", "123", &err), -ENOSPC);
	assert_non_null(strstr(err.message, "7 characters"));
	assert_string_equal(cvmm_loader_cmdline_text(cmdline), "");
	/* Boot part fits alone; with the init part it does not: neither is inserted. */
	assert_int_equal(cvmm_loader_cmdline_insert_str(cmdline, "a -- bc", NULL), -ENOSPC);
	assert_string_equal(cvmm_loader_cmdline_text(cmdline), "");
	assert_int_equal(cvmm_loader_cmdline_insert_str(cmdline, "a -- b", NULL), 0);
	cvmm_loader_cmdline_destroy(cmdline);
}

static void key_must_not_be_empty(void **state)
{
	assert_int_equal(cvmm_loader_cmdline_insert(*state, "", "x", NULL), -ENODATA);
}

static void key_with_space_equals_or_quote_is_told_apart(void **state)
{
	assert_int_equal(cvmm_loader_cmdline_insert(*state, "a b", "x", NULL), -EDOM);
	assert_int_equal(cvmm_loader_cmdline_insert(*state, "a=b", "x", NULL), -EPROTO);
	assert_int_equal(cvmm_loader_cmdline_insert(*state, "a\"b", "x", NULL), -EBADMSG);
	assert_string_equal(cvmm_loader_cmdline_text(*state), "");
}

static void value_may_contain_equals_signs(void **state)
{
	assert_int_equal(cvmm_loader_cmdline_insert(*state, "root", "PARTUUID=0-1", NULL), 0);
	assert_string_equal(cvmm_loader_cmdline_text(*state), "root=PARTUUID=0-1");
}

static void value_may_be_empty(void **state)
{
	assert_int_equal(cvmm_loader_cmdline_insert(*state, "video", "", NULL), 0);
	assert_string_equal(cvmm_loader_cmdline_text(*state), "video=");
}

static void value_may_contain_spaces_only_in_quotes(void **state)
{
	assert_int_equal(cvmm_loader_cmdline_insert(*state, "a", "b c", NULL), -EDOM);
	assert_int_equal(cvmm_loader_cmdline_insert(*state, "a", "\"b c\" d", NULL), -EDOM);
	assert_int_equal(cvmm_loader_cmdline_insert(*state, "a", "\"b c\"", NULL), 0);
	assert_string_equal(cvmm_loader_cmdline_text(*state), "a=\"b c\"");
}

static void quotes_must_balance(void **state)
{
	assert_int_equal(cvmm_loader_cmdline_insert(*state, "a", "\"b", NULL), -EBADMSG);
	assert_int_equal(cvmm_loader_cmdline_insert_str(*state, "a=\"b c", NULL), -EBADMSG);
	assert_int_equal(cvmm_loader_cmdline_insert_str(*state, "a", NULL), 0);
	assert_int_equal(cvmm_loader_cmdline_insert_init_args(*state, "\"", NULL), -EBADMSG);
}

static void only_printable_ascii_is_taken(void **state)
{
	static const char *const bad[] = { "a\nb", "a\tb", "\x7f", "\xc3\xa4", "\x1b[2J" };

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		assert_int_equal(cvmm_loader_cmdline_insert_str(*state, bad[i], NULL), -EILSEQ);
		assert_int_equal(cvmm_loader_cmdline_insert(*state, bad[i], "v", NULL), -EILSEQ);
		assert_int_equal(cvmm_loader_cmdline_insert(*state, "k", bad[i], NULL), -EILSEQ);
		assert_int_equal(cvmm_loader_cmdline_insert_init_args(*state, bad[i], NULL),
				 -EILSEQ);
	}
	assert_string_equal(cvmm_loader_cmdline_text(*state), "");
}

static void all_of_printable_ascii_is_taken(void **state)
{
	char text['~' - '!' + 3];
	size_t len = 0;

	for (char c = '!'; c <= '~'; c++)
		text[len++] = c;
	text[len++] = '"'; /* the partner of the one among them */
	text[len] = '\0';
	assert_int_equal(cvmm_loader_cmdline_insert_str(*state, text, NULL), 0);
	assert_string_equal(cvmm_loader_cmdline_text(*state), text);
}

static void multiple_values_are_joined_by_commas(void **state)
{
	const char *const values[] = { "ttyS0", "115200n8", "x" };

	assert_int_equal(cvmm_loader_cmdline_insert_multiple(*state, "c", values, 3, NULL), 0);
	assert_int_equal(cvmm_loader_cmdline_insert_multiple(*state, "d", values, 1, NULL), 0);
	assert_string_equal(cvmm_loader_cmdline_text(*state), "c=ttyS0,115200n8,x d=ttyS0");
}

static void multiple_values_must_be_at_least_one(void **state)
{
	assert_int_equal(cvmm_loader_cmdline_insert_multiple(*state, "c", NULL, 0, NULL), -ENODATA);
}

static void multiple_values_are_checked_one_by_one(void **state)
{
	const char *const across[] = { "\"a", "b\"" };
	const char *const spaced[] = { "a", "b c" };

	assert_int_equal(cvmm_loader_cmdline_insert_multiple(*state, "c", across, 2, NULL),
			 -EBADMSG);
	assert_int_equal(cvmm_loader_cmdline_insert_multiple(*state, "c", spaced, 2, NULL), -EDOM);
	assert_string_equal(cvmm_loader_cmdline_text(*state), "");
}

static void multiple_values_that_do_not_fit_change_nothing(void **state)
{
	const char *const values[] = { "aaaa", "bbbb" };
	struct cvmm_loader_cmdline *cmdline = must_parse("", 12);

	(void)state;
	assert_int_equal(cvmm_loader_cmdline_insert_multiple(cmdline, "cc", values, 2, NULL),
			 -ENOSPC);
	assert_string_equal(cvmm_loader_cmdline_text(cmdline), "");
	assert_int_equal(cvmm_loader_cmdline_insert_multiple(cmdline, "c", values, 2, NULL), 0);
	assert_string_equal(cvmm_loader_cmdline_text(cmdline), "c=aaaa,bbbb");
	cvmm_loader_cmdline_destroy(cmdline);
	cmdline = must_parse("", 9);
	assert_int_equal(cvmm_loader_cmdline_insert_multiple(cmdline, "c", values, 2, NULL),
			 -ENOSPC);
	cvmm_loader_cmdline_destroy(cmdline);
}

static void users_text_comes_last_and_is_left_as_it_is(void **state)
{
	assert_int_equal(cvmm_loader_cmdline_insert(*state, "console", "hvc0", NULL), 0);
	assert_int_equal(cvmm_loader_cmdline_insert_str(*state, " quiet   console=ttyS0 ", NULL),
			 0);
	assert_string_equal(cvmm_loader_cmdline_text(*state), "console=hvc0 quiet   console=ttyS0");
}

static void empty_text_changes_nothing(void **state)
{
	assert_int_equal(cvmm_loader_cmdline_insert_str(*state, "", NULL), 0);
	assert_int_equal(cvmm_loader_cmdline_insert_str(*state, "   ", NULL), 0);
	assert_int_equal(cvmm_loader_cmdline_insert_init_args(*state, " ", NULL), 0);
	assert_string_equal(cvmm_loader_cmdline_text(*state), "");
}

static void boot_arguments_go_in_front_of_init_arguments(void **state)
{
	assert_int_equal(cvmm_loader_cmdline_insert_str(*state, "a", NULL), 0);
	assert_int_equal(cvmm_loader_cmdline_insert_init_args(*state, "one", NULL), 0);
	assert_int_equal(cvmm_loader_cmdline_insert(*state, "b", "2", NULL), 0);
	assert_int_equal(cvmm_loader_cmdline_insert_init_args(*state, "two", NULL), 0);
	assert_int_equal(cvmm_loader_cmdline_insert_str(*state, "c -- three", NULL), 0);
	assert_string_equal(cvmm_loader_cmdline_text(*state), "a b=2 c -- one two three");
}

static void init_arguments_need_a_boot_argument(void **state)
{
	struct cvmm_loader_cmdline *cmdline = NULL;

	assert_int_equal(cvmm_loader_cmdline_insert_init_args(*state, "one", NULL), -ENOENT);
	assert_int_equal(cvmm_loader_cmdline_parse("-- one", 64, &cmdline, NULL), -ENOENT);
	assert_null(cmdline);
}

static void parsing_splits_at_the_separator_word(void **state)
{
	(void)state;
	assert_parsed("a=1  --  -s x", "a=1 -- -s x");
	assert_parsed("a --", "a");
	assert_parsed("a -- b -- c", "a -- b -- c");
}

static void parsing_does_not_split_inside_quotes_or_words(void **state)
{
	struct cvmm_loader_cmdline *cmdline;

	(void)state;
	assert_parsed("a=\"x -- y\" b", "a=\"x -- y\" b");
	cmdline = must_parse("a=\"x -- y\" foo-- --bar a--b", 64);
	/* Had it split, "z" would not come last. */
	assert_int_equal(cvmm_loader_cmdline_insert_str(cmdline, "z", NULL), 0);
	assert_string_equal(cvmm_loader_cmdline_text(cmdline), "a=\"x -- y\" foo-- --bar a--b z");
	cvmm_loader_cmdline_destroy(cmdline);
}

static void parsing_a_text_that_is_too_long_fails(void **state)
{
	struct cvmm_loader_cmdline *cmdline = NULL;

	(void)state;
	assert_int_equal(cvmm_loader_cmdline_parse("abcd", 4, &cmdline, NULL), -ENOSPC);
	assert_null(cmdline);
}

static void virtio_mmio_device_uses_the_largest_unit(void **state)
{
	static const struct {
		uint64_t size;
		const char *text;
	} cases[] = {
		{ 1, "virtio_mmio.device=1@0xd0000000:5" },
		{ 513, "virtio_mmio.device=513@0xd0000000:5" },
		{ 4096, "virtio_mmio.device=4K@0xd0000000:5" },
		{ 1 << 20, "virtio_mmio.device=1M@0xd0000000:5" },
		{ 3 << 19, "virtio_mmio.device=1536K@0xd0000000:5" },
		{ UINT64_C(1) << 30, "virtio_mmio.device=1G@0xd0000000:5" },
	};

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(cases); i++) {
		struct cvmm_loader_cmdline *cmdline = must_parse("", 128);

		assert_int_equal(cvmm_loader_cmdline_add_virtio_mmio(cmdline, cases[i].size,
								     cvmm_gpa_from(0xd0000000), 5,
								     -1, NULL),
				 0);
		assert_string_equal(cvmm_loader_cmdline_text(cmdline), cases[i].text);
		cvmm_loader_cmdline_destroy(cmdline);
	}
}

static void virtio_mmio_device_may_have_an_id(void **state)
{
	assert_int_equal(
		cvmm_loader_cmdline_add_virtio_mmio(*state, 512, cvmm_gpa_from(0x1000), 6, 0, NULL),
		0);
	assert_string_equal(cvmm_loader_cmdline_text(*state), "virtio_mmio.device=512@0x1000:6:0");
}

static void virtio_mmio_device_must_have_a_real_window(void **state)
{
	assert_int_equal(
		cvmm_loader_cmdline_add_virtio_mmio(*state, 0, cvmm_gpa_from(0x1000), 5, -1, NULL),
		-ERANGE);
	assert_int_equal(cvmm_loader_cmdline_add_virtio_mmio(
				 *state, 4096, cvmm_gpa_from(UINT64_MAX - 4094), 5, -1, NULL),
			 -ERANGE);
	assert_string_equal(cvmm_loader_cmdline_text(*state), "");
	assert_int_equal(cvmm_loader_cmdline_add_virtio_mmio(
				 *state, 4096, cvmm_gpa_from(UINT64_MAX - 4095), 5, -1, NULL),
			 0);
}

static void clones_are_equal_and_independent(void **state)
{
	struct cvmm_loader_cmdline *clone = NULL;

	assert_int_equal(cvmm_loader_cmdline_insert_str(*state, "a b -- c", NULL), 0);
	assert_int_equal(cvmm_loader_cmdline_clone(*state, &clone, NULL), 0);
	assert_true(cvmm_loader_cmdline_equal(*state, clone));
	assert_int_equal(cvmm_loader_cmdline_insert_str(clone, "d", NULL), 0);
	assert_false(cvmm_loader_cmdline_equal(*state, clone));
	assert_string_equal(cvmm_loader_cmdline_text(*state), "a b -- c");
	assert_string_equal(cvmm_loader_cmdline_text(clone), "a b d -- c");
	cvmm_loader_cmdline_destroy(clone);
}

static void texts_of_equal_length_can_differ(void **state)
{
	struct cvmm_loader_cmdline *other = must_parse("a c", 16);

	assert_int_equal(cvmm_loader_cmdline_insert_str(*state, "a b", NULL), 0);
	assert_false(cvmm_loader_cmdline_equal(*state, other));
	cvmm_loader_cmdline_destroy(other);
}

static void destroy_takes_null(void **state)
{
	(void)state;
	cvmm_loader_cmdline_destroy(NULL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, new_cmdline, drop_cmdline)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(capacity_must_hold_at_least_the_nul),
		TEST(insert_appends_pairs_with_one_space),
		TEST(text_may_fill_the_capacity_to_the_last_byte),
		TEST(text_one_byte_too_long_changes_nothing),
		TEST(key_must_not_be_empty),
		TEST(key_with_space_equals_or_quote_is_told_apart),
		TEST(value_may_contain_equals_signs),
		TEST(value_may_be_empty),
		TEST(value_may_contain_spaces_only_in_quotes),
		TEST(quotes_must_balance),
		TEST(only_printable_ascii_is_taken),
		TEST(all_of_printable_ascii_is_taken),
		TEST(multiple_values_are_joined_by_commas),
		TEST(multiple_values_must_be_at_least_one),
		TEST(multiple_values_are_checked_one_by_one),
		TEST(multiple_values_that_do_not_fit_change_nothing),
		TEST(users_text_comes_last_and_is_left_as_it_is),
		TEST(empty_text_changes_nothing),
		TEST(boot_arguments_go_in_front_of_init_arguments),
		TEST(init_arguments_need_a_boot_argument),
		TEST(parsing_splits_at_the_separator_word),
		TEST(parsing_does_not_split_inside_quotes_or_words),
		TEST(parsing_a_text_that_is_too_long_fails),
		TEST(virtio_mmio_device_uses_the_largest_unit),
		TEST(virtio_mmio_device_may_have_an_id),
		TEST(virtio_mmio_device_must_have_a_real_window),
		TEST(clones_are_equal_and_independent),
		TEST(texts_of_equal_length_can_differ),
		TEST(destroy_takes_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
