// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * cvmm-drive: a front-end of vhost-user without a virtual machine. It picks the command.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cvmm/base.h>

#include "drive.h"

static const struct drive_command *const commands[] = {
	&drive_list, &drive_conformance, &drive_probe, &drive_load, &drive_replay,
};

int drive_usage(const struct drive_command *command, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "cvmm-drive %s: ", command->name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "; cvmm-drive %s --help says more\n", command->name);
	return DRIVE_USAGE;
}

int drive_is_option(const char *word, const char *name, const char **ret_value)
{
	size_t len = strlen(name);

	if (strncmp(word, name, len) != 0 || (word[len] && word[len] != '='))
		return 0;
	*ret_value = word[len] ? word + len + 1 : NULL;
	return 1;
}

const char *drive_value(const char *value, char ***args)
{
	if (value)
		return value;
	/* The words end with NULL, and callers step over this one. */
	return (*args)[1] ? *++*args : NULL;
}

static uint64_t unit(char letter)
{
	switch (letter) {
	case 'k':
		return UINT64_C(1) << 10;
	case 'M':
		return UINT64_C(1) << 20;
	case 'G':
		return UINT64_C(1) << 30;
	default:
		return 0;
	}
}

int drive_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number)
{
	unsigned long long number;
	uint64_t product;
	char *end;

	if (!text || text[0] < '0' || text[0] > '9')
		return -1;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno || (*end && (!unit(*end) || end[1])))
		return -1;
	if (!cvmm_mul_u64(number, *end ? unit(*end) : 1, &product) || product < min ||
	    product > max)
		return -1;
	*ret_number = product;
	return 0;
}

static void help(FILE *out)
{
	fputs("usage: cvmm-drive COMMAND [ARG...]\n"
	      "\n"
	      "Speaks vhost-user to a back-end, as a virtual machine would.\n"
	      "\n",
	      out);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-12s %s\n", commands[i]->name, commands[i]->summary);
	fputs("\ncvmm-drive COMMAND --help says more of each.\n"
	      "Exit status: 0 all is well; 1 there are findings; 2 it could not run.\n",
	      out);
}

static int is_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		help(stderr);
		return DRIVE_USAGE;
	}
	if (is_help(argv[1]) || strcmp(argv[1], "help") == 0) {
		help(stdout);
		return DRIVE_OK;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("cvmm-drive " CVMM_VERSION "\n");
		return DRIVE_OK;
	}
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[1], commands[i]->name) != 0)
			continue;
		if (argc > 2 && is_help(argv[2])) {
			fputs(commands[i]->help, stdout);
			return DRIVE_OK;
		}
		return commands[i]->run(argv + 2);
	}
	fprintf(stderr, "cvmm-drive: unknown command %s; cvmm-drive --help lists them\n", argv[1]);
	return DRIVE_USAGE;
}
