// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The conformance suite, against a back-end that should pass it, and against the same with one defect at a
 * time: a test that cannot fail is none.
 *
 * Without arguments the first half is run, with --defects the second. The program is its own back-end: with --serve DEFECT KIND SOCKET it is that, and nothing else.
 */
#include <fnmatch.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf.h"
#include "test_backend.h"

#define TIMEOUT_GOOD_MS 10000U
#define TIMEOUT_BAD_MS 300U
#define QUIET_MS 100U
/* For what was missed at first, on a machine that is busy. */
#define TIMEOUT_SLOW_MS 4000U
#define QUIET_SLOW_MS 800U
#define TESTS_MAX 400U

static const char *program;
static char directory[] = "/tmp/cvmm-conformance-XXXXXX";

/* What a run found, test by test. */
struct run {
	unsigned int count;
	struct {
		char name[96];
		enum conf_outcome outcome;
		enum conf_class class;
		char text[CONF_TEXT_SIZE];
	} tests[TESTS_MAX];
};

static void remember(void *ctx, const struct conf_result *result)
{
	struct run *run = ctx;

	assert_true(run->count < TESTS_MAX);
	snprintf(run->tests[run->count].name, sizeof(run->tests[0].name), "%s/%s",
		 result->group->name, result->test->id);
	run->tests[run->count].outcome = result->outcome;
	run->tests[run->count].class = result->class;
	memcpy(run->tests[run->count].text, result->text, sizeof(result->text));
	run->count++;
}

/* Run the tests of @only against a back-end with defect number @defect, or with none for -1. */
static struct run *run_suite(int defect, const char *kind, const char *only,
			     unsigned int timeout_ms, unsigned int quiet_ms,
			     struct conf_summary *ret_summary)
{
	static struct run run;
	char socket[64], command[256];
	const char *name = strcmp(kind, "blk-ro") == 0 ? "blk" : kind;
	struct conf_options options = {
		.socket = socket,
		.spawn = command,
		.only = only,
		.device_name = name,
		.device = conf_device_find(name),
		.timeout_ms = timeout_ms,
		.quiet_ms = quiet_ms,
	};
	struct cvmm_error err = { 0 };

	memset(&run, 0, sizeof(run));
	snprintf(socket, sizeof(socket), "%s/socket", directory);
	snprintf(command, sizeof(command), "'%s' --serve %d %s %s", program, defect, kind, socket);
	if (conf_run(&options, NULL, remember, &run, ret_summary, &err))
		fail_msg("the suite cannot run: %s", err.message);
	unlink(socket);
	return &run;
}

/* ---- nothing is wrong --------------------------------------------------------------------------------- */

/* What depends on the kind of device. */
#define OF_DEVICES "data,devices,memory/*regions,vrings/*stop*,config,log,inflight,reset,state"

static void must_pass(const char *kind, const char *only)
{
	struct conf_summary summary;
	struct run *run = run_suite(-1, kind, only, TIMEOUT_GOOD_MS, QUIET_MS, &summary);

	for (unsigned int i = 0; i < run->count; i++)
		if (run->tests[i].outcome == CONF_FAILED && run->tests[i].class == CONF_MUST)
			print_error("%s: %s\n", run->tests[i].name, run->tests[i].text);
	assert_null(summary.bail_out);
	assert_int_equal(summary.failed[CONF_MUST], 0);
	assert_true(summary.passed > (only ? 50 : 250));
}

static void our_back_end_passes_with_an_entropy_device(void **state)
{
	(void)state;
	must_pass("rng", OF_DEVICES);
}

static void our_back_end_passes_with_a_disk(void **state)
{
	(void)state;
	must_pass("blk", NULL);
}

static void our_back_end_passes_with_a_disk_that_is_read_only(void **state)
{
	(void)state;
	must_pass("blk-ro", OF_DEVICES);
}

static void our_back_end_passes_with_a_file_system(void **state)
{
	(void)state;
	must_pass("fs", OF_DEVICES);
}

static void our_back_end_passes_with_a_socket_device(void **state)
{
	(void)state;
	must_pass("vsock", OF_DEVICES);
}

static void our_back_end_passes_with_a_network_device(void **state)
{
	(void)state;
	must_pass("net", OF_DEVICES);
}

/* ---- one thing is wrong --------------------------------------------------------------------------------- */

static bool was_found(const struct run *run, unsigned int i)
{
	return run->tests[i].outcome == CONF_FAILED &&
	       strncmp(run->tests[i].text, "in the set-up", 13) != 0;
}

static bool is_not_permitted(const struct run *run, unsigned int i)
{
	return run->tests[i].outcome == CONF_SKIPPED && strstr(run->tests[i].text, "not permitted");
}

/* Return: how many tests of the defect's row did not find it. */
static unsigned int missed_by(unsigned int number, unsigned int timeout_ms, unsigned int quiet_ms,
			      bool tell)
{
	const struct defect *d = &defects[number];
	struct conf_summary summary;
	struct run *run = run_suite((int)number, d->device ? d->device : "blk", d->only, timeout_ms,
				    quiet_ms, &summary);
	unsigned int missed = 0;

	assert_true(run->count > 0);
	for (unsigned int i = 0; i < run->count; i++) {
		if (was_found(run, i) || is_not_permitted(run, i))
			continue;
		if (tell)
			print_error("defect %u is not found by %s: %s\n", number,
				    run->tests[i].name,
				    *run->tests[i].text ? run->tests[i].text : "it passes");
		missed++;
	}
	return missed;
}

/* The table in parts, so that no test takes long. */
#define PARTS 4U

static void every_defect_is_found(unsigned int part)
{
	unsigned int missed = 0;

	for (unsigned int i = part; i < defect_count; i += PARTS)
		if (missed_by(i, TIMEOUT_BAD_MS, QUIET_MS, false))
			missed += missed_by(i, TIMEOUT_SLOW_MS, QUIET_SLOW_MS, true);
	assert_int_equal(missed, 0);
}

static void defects_are_found_part_1(void **state)
{
	(void)state;
	every_defect_is_found(0);
}

static void defects_are_found_part_2(void **state)
{
	(void)state;
	every_defect_is_found(1);
}

static void defects_are_found_part_3(void **state)
{
	(void)state;
	every_defect_is_found(2);
}

static void defects_are_found_part_4(void **state)
{
	(void)state;
	every_defect_is_found(3);
}

/* ---- the table of defects is complete --------------------------------------------------------------------- */

static bool count_if_covered(void *ctx, const struct conf_group *group,
			     const struct conf_test *test)
{
	unsigned int *missing = ctx;

	for (unsigned int i = 0; i < defect_count; i++)
		if (conf_is_wanted(defects[i].only, group, test))
			return true;
	print_error("no defect makes %s/%s fail\n", group->name, test->id);
	(*missing)++;
	return true;
}

static void every_test_can_fail(void **state)
{
	unsigned int missing = 0;

	(void)state;
	assert_true(conf_list(NULL, count_if_covered, &missing) > 300);
	assert_int_equal(missing, 0);
}

/* ---- the end of a run ------------------------------------------------------------------------------------- */

static void a_back_end_that_dies_fails_a_must_whatever_the_test(void **state)
{
	struct conf_summary summary;
	struct run *run;
	unsigned int i = 0;

	(void)state;
	while (i < defect_count && !(defects[i].flags & D_DIE_ON_KICK))
		i++;
	run = run_suite((int)i, "blk", "data/no-call", TIMEOUT_BAD_MS, QUIET_MS, &summary);
	assert_int_equal(run->count, 1);
	assert_int_equal(run->tests[0].class, CONF_MUST); /* the test itself is a SHOULD */
	assert_non_null(strstr(run->tests[0].text, "signal 6"));
	assert_int_equal(summary.failed[CONF_MUST], 1);
	assert_null(summary.bail_out);
}

static void a_run_ends_when_nobody_serves_any_more(void **state)
{
	struct conf_summary summary;
	struct run run = { 0 };
	char socket[64], command[256];
	struct conf_options options = {
		.socket = socket,
		.only = "data/*",
		.device_name = "blk",
		.device = conf_device_find("blk"),
		.timeout_ms = TIMEOUT_BAD_MS,
		.quiet_ms = QUIET_MS,
	};
	struct cvmm_error err = { 0 };
	unsigned int i = 0;
	struct stat st;

	(void)state;
	while (i < defect_count && !(defects[i].flags & D_DIE_ON_KICK))
		i++;
	snprintf(socket, sizeof(socket), "%s/other", directory);
	snprintf(command, sizeof(command), "exec '%s' --serve %u blk %s", program, i, socket);
	if (fork() == 0) {
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	while (stat(socket, &st))
		conf_sleep_ms(5);
	assert_int_equal(conf_run(&options, NULL, remember, &run, &summary, &err), 0);
	assert_non_null(summary.bail_out);
	assert_int_equal(run.count, 1);
	assert_non_null(strstr(run.tests[0].text, "does not serve a new connection"));
	unlink(socket);
}

static void a_socket_that_nobody_serves_is_an_error(void **state)
{
	struct conf_summary summary;
	struct conf_options options = { .socket = "/nonexistent/socket",
					.device_name = "any",
					.timeout_ms = 1 };
	struct cvmm_error err = { 0 };

	(void)state;
	options.spawn = "false";
	assert_int_not_equal(conf_run(&options, NULL, NULL, NULL, &summary, &err), 0);
	assert_non_null(strstr(err.message, "ends before it can be connected to"));
}

static int serve(char **args)
{
	int number = atoi(args[0]);

	if (number >= (int)defect_count)
		return 2;
	serve_with_defect(number < 0 ? NULL : &defects[number], args[1], args[2]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest good[] = {
		cmocka_unit_test(every_test_can_fail),
		cmocka_unit_test(a_socket_that_nobody_serves_is_an_error),
		cmocka_unit_test(a_back_end_that_dies_fails_a_must_whatever_the_test),
		cmocka_unit_test(a_run_ends_when_nobody_serves_any_more),
		cmocka_unit_test(our_back_end_passes_with_an_entropy_device),
		cmocka_unit_test(our_back_end_passes_with_a_disk),
		cmocka_unit_test(our_back_end_passes_with_a_disk_that_is_read_only),
		cmocka_unit_test(our_back_end_passes_with_a_file_system),
		cmocka_unit_test(our_back_end_passes_with_a_socket_device),
		cmocka_unit_test(our_back_end_passes_with_a_network_device),
	};
	const struct CMUnitTest bad[] = {
		cmocka_unit_test(defects_are_found_part_1),
		cmocka_unit_test(defects_are_found_part_2),
		cmocka_unit_test(defects_are_found_part_3),
		cmocka_unit_test(defects_are_found_part_4),
	};
	int r;

	if (argc == 5 && strcmp(argv[1], "--serve") == 0)
		return serve(argv + 2);
	program = argv[0];
	signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(directory))
		return 1;
	if (argc == 2 && strcmp(argv[1], "--defects") == 0)
		r = cmocka_run_group_tests(bad, NULL, NULL);
	else
		r = cmocka_run_group_tests(good, NULL, NULL);
	rmdir(directory);
	return r;
}
