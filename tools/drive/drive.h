/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* cvmm-drive: its commands, and what they share. */
#ifndef CVMM_DRIVE_H
#define CVMM_DRIVE_H

#include <stdint.h>
#include <stdio.h>

/* Exit statuses of every command. */
enum drive_status {
	DRIVE_OK = 0,
	DRIVE_FINDINGS = 1, /* the command ran, and what it looked for is there */
	DRIVE_USAGE = 2,    /* it could not run at all */
};

/**
 * struct drive_command - one row of the table of commands
 * @name: the word on the command line
 * @summary: one line for --help
 * @help: all that `cvmm-drive NAME --help` prints
 * @run: gets the words after the name, NULL at the end. Return: enum drive_status
 */
struct drive_command {
	const char *name;
	const char *summary;
	const char *help;
	int (*run)(char **args);
};

extern const struct drive_command drive_list;
extern const struct drive_command drive_conformance;
extern const struct drive_command drive_probe;
extern const struct drive_command drive_load;
extern const struct drive_command drive_replay;

/* Print "cvmm-drive NAME: MESSAGE" and where to find help. Return: DRIVE_USAGE. */
int drive_usage(const struct drive_command *command, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Whether @word is the option @name; sets *ret_value to the value of "--name=value", else NULL. */
int drive_is_option(const char *word, const char *name, const char **ret_value);

/* The value of an option: @value, or the next word, which is taken; NULL if there is none. */
const char *drive_value(const char *value, char ***args);

/* A number from @min to @max, with k, M or G behind it if wanted. Return: 0 or -1. */
int drive_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number);

/* Print @text as a JSON string, with its quotes. */
void drive_print_json_string(FILE *out, const char *text);

#endif /* CVMM_DRIVE_H */
