// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "daemon_internal.h"

#define WORDS_MAX 16

/* A program with an option of each kind. */
struct fixture {
	bool quick;
	bool loud;
	const char *file;
	uint64_t count;
	const char *colour;
	struct daemon_settings settings;
	struct cvmm_daemon_option own[5];
	struct cvmm_daemon_option common[DAEMON_COMMON_OPTIONS_MAX];
	struct daemon_option_group groups[2];
	struct cvmm_error err;
};

static int set_colour(void *ctx, const char *value, struct cvmm_error *err)
{
	struct fixture *f = ctx;

	if (strcmp(value, "red") != 0)
		return cvmm_fail(err, -EINVAL, "'%s' is not red", value);
	f->colour = value;
	return 0;
}

static void init(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	f->own[0] = (struct cvmm_daemon_option){
		.name = "quick", .letter = 'q', .flag = &f->quick, .help = "be quick"
	};
	f->own[1] = (struct cvmm_daemon_option){
		.name = "loud", .letter = 'l', .flag = &f->loud, .help = "be loud"
	};
	f->own[2] = (struct cvmm_daemon_option){ .name = "file",
						 .letter = 'f',
						 .value = "FILE",
						 .text = &f->file,
						 .help = "take this\nand no other" };
	f->own[3] = (struct cvmm_daemon_option){ .name = "number",
						 .letter = 'n',
						 .value = "N",
						 .number = &f->count,
						 .min = 2,
						 .max = 70,
						 .help = "so many" };
	f->own[4] = (struct cvmm_daemon_option){ .name = "colour-of-everything-there-is",
						 .value = "C",
						 .set = set_colour,
						 .ctx = f,
						 .help = "paint" };
	daemon_settings_init(&f->settings);
	f->groups[0] = (struct daemon_option_group){ "Own", f->own, CVMM_ARRAY_SIZE(f->own) };
	f->groups[1] = (struct daemon_option_group){
		"Common", f->common, daemon_settings_options(&f->settings, true, f->common)
	};
}

/* Parse words, separated by spaces. */
static int parse(struct fixture *f, const char *line)
{
	static char text[256]; /* what was parsed points into it */
	char *words[WORDS_MAX + 1] = { "program" };
	int count = 1;
	char *save = NULL;

	init(f);
	assert_true(strlen(line) < sizeof(text));
	strcpy(text, line);
	for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		assert_true(count < WORDS_MAX);
		words[count++] = word;
	}
	return daemon_options_parse(f->groups, 2, count, words, &f->err);
}

static void expect_error(const char *line, const char *message)
{
	struct fixture f;

	assert_int_equal(parse(&f, line), -EINVAL);
	assert_string_equal(f.err.message, message);
}

/* Return: what the combination of options is objected to for, or "". */
static const char *objection(struct fixture *f, const char *line)
{
	int ret;

	assert_int_equal(parse(f, line), 0);
	ret = daemon_settings_check(&f->settings, &f->err);
	assert_int_equal(ret, f->err.code);
	return f->err.message;
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void values_come_in_the_same_word_or_the_next(void **state)
{
	struct fixture f;

	(void)state;
	assert_int_equal(parse(&f, "--file a --number 7 --quick"), 0);
	assert_string_equal(f.file, "a");
	assert_int_equal(f.count, 7);
	assert_true(f.quick);
	assert_int_equal(parse(&f, "--file=a=b --number=70"), 0);
	assert_string_equal(f.file, "a=b");
	assert_int_equal(f.count, 70);
	assert_int_equal(parse(&f, "-f a -n 2"), 0);
	assert_string_equal(f.file, "a");
	assert_int_equal(f.count, 2);
	assert_int_equal(parse(&f, "-fa -n=3"), 0);
	assert_string_equal(f.file, "a");
	assert_int_equal(f.count, 3);
	assert_int_equal(parse(&f, "-ql -qlfa"), 0);
	assert_true(f.quick && f.loud);
	assert_string_equal(f.file, "a");
	assert_int_equal(parse(&f, "--file -l"), 0); /* a value may look like an option */
	assert_string_equal(f.file, "-l");
	assert_false(f.loud);
	assert_int_equal(parse(&f, "-n 3 -n 4"), 0);
	assert_int_equal(f.count, 4);
	assert_int_equal(parse(&f, "--colour-of-everything-there-is red"), 0);
	assert_string_equal(f.colour, "red");
	assert_int_equal(parse(&f, ""), 0);
}

static void wrong_words_are_named_in_the_message(void **state)
{
	(void)state;
	expect_error("--fil a", "there is no option --fil");
	expect_error("--filex=a", "there is no option --filex");
	expect_error("-qx", "there is no option -x");
	expect_error("file", "'file' belongs to no option");
	expect_error("-- -q", "'--' belongs to no option");
	expect_error("-", "'-' belongs to no option");
	expect_error("--quick=yes", "--quick takes no value");
	expect_error("--file", "--file needs a value: FILE");
	expect_error("-n", "-n needs a value: N");
	expect_error("--file=", "--file: its value is empty");
	expect_error("-n 1", "-n: 1 is out of range: 2 to 70");
	expect_error("--number=71", "--number: 71 is out of range: 2 to 70");
	expect_error("-n 99999999999999999999",
		     "-n: 99999999999999999999 is out of range: 2 to 70");
	expect_error("-n 7x", "-n: '7x' is not a decimal number");
	expect_error("-n -7", "-n: '-7' is not a decimal number");
	expect_error("-n 0x7", "-n: '0x7' is not a decimal number");
	expect_error("--colour-of-everything-there-is blue",
		     "--colour-of-everything-there-is: 'blue' is not red");
}

static void the_largest_number_fits_and_the_next_does_not(void **state)
{
	uint64_t number = 1;

	(void)state;
	assert_int_equal(
		cvmm_daemon_parse_number("18446744073709551615", 0, UINT64_MAX, &number, NULL), 0);
	assert_true(number == UINT64_MAX);
	assert_int_equal(
		cvmm_daemon_parse_number("18446744073709551616", 0, UINT64_MAX, &number, NULL),
		-EINVAL);
	assert_int_equal(cvmm_daemon_parse_number("", 0, 1, &number, NULL), -EINVAL);
	assert_true(number == UINT64_MAX);
}

static void help_and_version_end_the_parsing(void **state)
{
	struct fixture f;

	(void)state;
	assert_int_equal(parse(&f, "-q --help --nonsense"), DAEMON_OPTIONS_STOP);
	assert_int_equal(f.settings.action, DAEMON_HELP);
	assert_int_equal(parse(&f, "-V"), DAEMON_OPTIONS_STOP);
	assert_int_equal(f.settings.action, DAEMON_VERSION);
	assert_int_equal(parse(&f, "--print-capabilities"), DAEMON_OPTIONS_STOP);
	assert_int_equal(f.settings.action, DAEMON_CAPABILITIES);
}

static void common_options_reach_the_settings(void **state)
{
	struct fixture f;

	(void)state;
	assert_int_equal(parse(&f, "-s /run/x -c 3 --log-level debug --sandbox landlock"), 0);
	assert_string_equal(f.settings.socket_path, "/run/x");
	assert_int_equal(f.settings.socket_count, 3);
	assert_int_equal(f.settings.log_level, CVMM_LOG_DEBUG);
	assert_int_equal(f.settings.sandbox, DAEMON_SANDBOX_LANDLOCK);
	assert_true(f.settings.sandbox_named);
	assert_int_equal(parse(&f, "--fd 3 --socket-fd 9"), 0);
	assert_int_equal(f.settings.fd_count, 2);
	assert_int_equal(f.settings.fds[0], 3);
	assert_int_equal(f.settings.fds[1], 9);
	assert_int_equal(parse(&f, "--socket-mode 0620 --socket-group 1234"), 0);
	assert_int_equal(f.settings.socket_mode, 0620);
	assert_int_equal(f.settings.socket_group, 1234);
	assert_int_equal(parse(&f, "-s x"), 0);
	assert_int_equal(f.settings.sandbox, DAEMON_SANDBOX_NAMESPACE);
	assert_false(f.settings.sandbox_named);
	assert_int_equal(f.settings.log_level, CVMM_LOG_INFO);
	assert_int_equal(f.settings.socket_mode, DAEMON_MODE_UNSET);
}

static void a_group_is_found_by_its_name(void **state)
{
	struct group *group = getgrgid(getgid());
	struct fixture f;
	char line[128];

	(void)state;
	if (!group) {
		print_message("SKIP: our group has no name\n");
		skip();
	}
	snprintf(line, sizeof(line), "--socket-group %s", group->gr_name);
	assert_int_equal(parse(&f, line), 0);
	assert_true(f.settings.socket_group_set);
	assert_int_equal(f.settings.socket_group, getgid());
}

static void wrong_values_of_common_options_are_refused(void **state)
{
	(void)state;
	expect_error("--log-level loud", "--log-level: 'loud' is none of error, warn, info, debug");
	expect_error("--sandbox box",
		     "--sandbox: 'box' is none of namespace, landlock, seccomp, none");
	expect_error("-c 0", "-c: 0 is out of range: 1 to 64");
	expect_error("-c 65", "-c: 65 is out of range: 1 to 64");
	expect_error("--fd x", "--fd: 'x' is not a decimal number");
	expect_error("--socket-mode 1777", "--socket-mode: '1777' is no octal mode from 0 to 0777");
	expect_error("--socket-mode 9", "--socket-mode: '9' is no octal mode from 0 to 0777");
	expect_error("--socket-group no-such-group-here",
		     "--socket-group: there is no group 'no-such-group-here'");
}

static void options_that_exclude_each_other_are_refused(void **state)
{
	struct fixture f;

	(void)state;
	assert_string_equal(objection(&f, "-s x"), "");
	assert_string_equal(objection(&f, "-s x --client"), "");
	assert_string_equal(objection(&f, "--fd 3 --fd 4 -c 2"), "");
	assert_string_equal(objection(&f, "-s x --fd 3"),
			    "--fd and --socket-path exclude each other: give one of them");
	assert_string_equal(objection(&f, "--client"),
			    "--client needs --socket-path: where to connect to");
	assert_string_equal(objection(&f, "--fd 3 -c 2"),
			    "--socket-count 2 needs so many --fd, and there are 1");
	assert_non_null(strstr(objection(&f, "-s x --client --socket-mode 0600"), "--socket-mode"));
	assert_non_null(strstr(objection(&f, "--fd 3 --socket-group 0"), "--socket-group"));
}

static void programs_without_numbers_have_no_socket_count(void **state)
{
	struct cvmm_daemon_option numbered[DAEMON_COMMON_OPTIONS_MAX];
	struct cvmm_daemon_option options[DAEMON_COMMON_OPTIONS_MAX];
	struct daemon_settings settings;
	size_t count;

	(void)state;
	daemon_settings_init(&settings);
	count = daemon_settings_options(&settings, false, options);
	assert_int_equal(daemon_settings_options(&settings, true, numbered), count + 1);
	for (size_t i = 0; i < count; i++)
		assert_string_not_equal(options[i].name, "socket-count");
}

static void help_has_every_option_and_its_lines_fit(void **state)
{
	const struct cvmm_daemon_program program = { .name = "program", .summary = "Does it." };
	struct fixture f;
	char *text;

	(void)state;
	init(&f);
	text = daemon_options_help(&program, f.groups, 2);
	assert_non_null(text);
	assert_non_null(strstr(text, "\n  -q, --quick              be quick\n"));
	assert_non_null(strstr(text, "\n  -f, --file FILE          take this\n"
				     "                           and no other\n"));
	assert_non_null(strstr(text, "\n      --colour-of-everything-there-is C\n"
				     "                           paint\n"));
	for (int g = 0; g < 2; g++)
		for (size_t i = 0; i < f.groups[g].count; i++) {
			char name[64];

			snprintf(name, sizeof(name), "--%s", f.groups[g].options[i].name);
			assert_non_null(strstr(text, name));
		}
	for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
		assert_true(strcspn(line, "\n") <= 80);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_come_in_the_same_word_or_the_next),
		cmocka_unit_test(wrong_words_are_named_in_the_message),
		cmocka_unit_test(the_largest_number_fits_and_the_next_does_not),
		cmocka_unit_test(help_and_version_end_the_parsing),
		cmocka_unit_test(common_options_reach_the_settings),
		cmocka_unit_test(a_group_is_found_by_its_name),
		cmocka_unit_test(wrong_values_of_common_options_are_refused),
		cmocka_unit_test(options_that_exclude_each_other_are_refused),
		cmocka_unit_test(programs_without_numbers_have_no_socket_count),
		cmocka_unit_test(help_has_every_option_and_its_lines_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
