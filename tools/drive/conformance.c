// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* cvmm-drive conformance: options, and the exit status. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "conf.h"
#include "drive.h"

#define TIMEOUT_DEFAULT_MS 2000U
#define QUIET_MS 150U
#define TIMEOUT_MAX_MS 600000UL

static const char conformance_help[] =
	"usage: cvmm-drive conformance SOCKET [OPTION...]\n"
	"\n"
	"Tests how a back-end of anyone behaves, with valid and with hostile messages and\n"
	"rings. Prints TAP version 13. Each test has a connection of its own.\n"
	"\n"
	"  --device KIND    rng, blk, fs, vsock or net: also do requests of such a device\n"
	"                   (default: any, which knows none). blk writes to the image.\n"
	"  --only PATTERN   only tests with these names: GROUP/NAME, with * and ?, or a\n"
	"                   GROUP; commas between several\n"
	"  --spawn COMMAND  start the back-end with this command, and again whenever it has\n"
	"                   ended; one command, without ; or &\n"
	"  --timeout-ms N   how long an answer may take (default: 2000)\n"
	"  --json           print JSON in place of TAP\n"
	"  --verbose        details of every test, not only of findings\n"
	"  --list           print the tests and their classes, and run none; needs no SOCKET\n"
	"\n"
	"A test is of one of three classes. MUST: the specification demands it, or the\n"
	"back-end crashed or no longer serves. SHOULD: it is recommended. OPTIONAL: quality.\n"
	"\n"
	"Exit status: 0 if nothing was found against a MUST, 1 if something was, 2 if the\n"
	"tests could not be run.\n";

static bool print_test(void *ctx, const struct conf_group *group, const struct conf_test *test)
{
	char name[96];

	(void)ctx;
	snprintf(name, sizeof(name), "%s/%s", group->name, test->id);
	printf("%-44s %-8s %s (%s)\n", name, conf_class_name(test->class), test->title, test->spec);
	return true;
}

static int parse_timeout(const char *text, unsigned int *ret_ms)
{
	char *end;
	unsigned long ms;

	errno = 0;
	ms = strtoul(text, &end, 10);
	if (errno || *end || end == text || ms == 0 || ms > TIMEOUT_MAX_MS)
		return -EINVAL;
	*ret_ms = (unsigned int)ms;
	return 0;
}

/* An option that takes a value. Return: 0 if taken, 1 if @word is none of them, or DRIVE_USAGE. */
static int take_value(struct conf_options *o, const char *word, char ***args)
{
	const char *value = NULL;
	const char **place = NULL, *timeout = NULL;

	if (drive_is_option(word, "--device", &value))
		place = &o->device_name;
	else if (drive_is_option(word, "--only", &value))
		place = &o->only;
	else if (drive_is_option(word, "--spawn", &value))
		place = &o->spawn;
	else if (drive_is_option(word, "--timeout-ms", &value))
		place = &timeout;
	else
		return 1;
	if (!value)
		value = *++*args;
	if (!value)
		return drive_usage(&drive_conformance, "%s needs a value", word);
	*place = value;
	if (timeout && parse_timeout(timeout, &o->timeout_ms))
		return drive_usage(&drive_conformance,
				   "--timeout-ms %s: a number of milliseconds up to %lu is needed",
				   timeout, TIMEOUT_MAX_MS);
	return 0;
}

static int take_word(struct conf_options *o, const char *word)
{
	if (strcmp(word, "--json") == 0)
		o->json = true;
	else if (strcmp(word, "--verbose") == 0)
		o->verbose = true;
	else if (strcmp(word, "--list") == 0)
		o->list = true;
	else if (word[0] == '-')
		return drive_usage(&drive_conformance, "unknown option %s", word);
	else if (o->socket)
		return drive_usage(&drive_conformance, "one SOCKET is enough: %s", word);
	else
		o->socket = word;
	return 0;
}

static int parse(struct conf_options *o, char **args)
{
	for (; *args; args++) {
		int r = take_value(o, *args, &args);

		if (r == 1)
			r = take_word(o, *args);
		if (r)
			return r;
	}
	if (strcmp(o->device_name, "any") != 0) {
		o->device = conf_device_find(o->device_name);
		if (!o->device)
			return drive_usage(&drive_conformance, "unknown device %s", o->device_name);
	}
	if (o->list)
		return 0;
	if (!o->socket)
		return drive_usage(&drive_conformance, "a SOCKET is needed");
	if (o->only && !conf_list(o->only, NULL, NULL))
		return drive_usage(&drive_conformance, "no test is called %s", o->only);
	return 0;
}

static int conformance_main(char **args)
{
	struct conf_options options = { .device_name = "any",
					.timeout_ms = TIMEOUT_DEFAULT_MS,
					.quiet_ms = QUIET_MS };
	struct conf_summary summary;
	struct cvmm_error err = { 0 };
	int r = parse(&options, args);

	if (r)
		return r;
	if (options.list) {
		conf_list(options.only, print_test, NULL);
		return DRIVE_OK;
	}
	/* Kicks may go to pipes whose reader is gone. */
	signal(SIGPIPE, SIG_IGN);
	if (conf_run(&options, stdout, NULL, NULL, &summary, &err)) {
		fprintf(stderr, "cvmm-drive conformance: %s\n", err.message);
		return DRIVE_USAGE;
	}
	if (fflush(stdout) || ferror(stdout))
		return DRIVE_USAGE;
	return summary.bail_out || summary.failed[CONF_MUST] ? DRIVE_FINDINGS : DRIVE_OK;
}

const struct drive_command drive_conformance = {
	.name = "conformance",
	.summary = "test how a back-end behaves",
	.help = conformance_help,
	.run = conformance_main,
};
