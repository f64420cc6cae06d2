// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * Options are rows of tables: their names, what help says, and the variable that a value goes to. So
 * the help text names what the parser takes, and nothing else. Values stand in the same word
 * (--name=value, -nvalue, -n=value) or in the next one. Names are not abbreviated: a script that did so
 * would break with the next option.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon_internal.h"

#define HELP_COLUMN 27

/* ---- parsing ------------------------------------------------------------------------------- */

struct parser {
	const struct daemon_option_group *groups;
	size_t group_count;
	char **words;
	int left; /* words behind the one that is looked at */
	struct cvmm_error *err;
};

int cvmm_daemon_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number,
			     struct cvmm_error *err)
{
	uint64_t number = 0;
	bool fits = true;
	const char *at;

	for (at = text; *at >= '0' && *at <= '9'; at++)
		fits = fits && cvmm_mul_u64(number, 10, &number) &&
		       cvmm_add_u64(number, (uint64_t)(*at - '0'), &number);
	if (at == text || *at)
		return cvmm_fail(err, -EINVAL, "'%s' is not a decimal number", text);
	if (!fits || number < min || number > max)
		return cvmm_fail(err, -EINVAL, "%s is out of range: %llu to %llu", text,
				 (unsigned long long)min, (unsigned long long)max);
	*ret_number = number;
	return 0;
}

static int set_value(const struct cvmm_daemon_option *option, const char *value,
		     struct cvmm_error *err)
{
	if (option->flag) {
		*option->flag = true;
	} else if (option->text) {
		if (!*value)
			return cvmm_fail(err, -EINVAL, "its value is empty");
		*option->text = value;
	} else if (option->number) {
		return cvmm_daemon_parse_number(value, option->min, option->max, option->number,
						err);
	} else {
		return option->set(option->ctx, value, err);
	}
	return 0;
}

/* @name is as the user wrote it, for messages. @value is NULL if there is none in this word. */
static int take(struct parser *p, const struct cvmm_daemon_option *option, const char *name,
		int name_len, const char *value)
{
	int ret;

	if (!option->value && value)
		return cvmm_fail(p->err, -EINVAL, "%.*s takes no value", name_len, name);
	if (option->value && !value) {
		if (!p->left)
			return cvmm_fail(p->err, -EINVAL, "%.*s needs a value: %s", name_len, name,
					 option->value);
		value = *++p->words;
		p->left--;
	}
	ret = set_value(option, value, p->err);
	if (ret < 0)
		cvmm_error_prefix(p->err, "%.*s", name_len, name);
	return ret;
}

static const struct cvmm_daemon_option *find_long(const struct parser *p, const char *name,
						  size_t len)
{
	for (size_t g = 0; g < p->group_count; g++)
		for (size_t i = 0; i < p->groups[g].count; i++) {
			const struct cvmm_daemon_option *option = &p->groups[g].options[i];

			if (strlen(option->name) == len && memcmp(option->name, name, len) == 0)
				return option;
		}
	return NULL;
}

static const struct cvmm_daemon_option *find_letter(const struct parser *p, char letter)
{
	for (size_t g = 0; g < p->group_count; g++)
		for (size_t i = 0; i < p->groups[g].count; i++)
			if (p->groups[g].options[i].letter == letter)
				return &p->groups[g].options[i];
	return NULL;
}

static int take_long(struct parser *p, const char *word)
{
	size_t len = strcspn(word + 2, "=");
	const struct cvmm_daemon_option *option = find_long(p, word + 2, len);

	if (!option)
		return cvmm_fail(p->err, -EINVAL, "there is no option %.*s", (int)len + 2, word);
	return take(p, option, word, (int)len + 2, word[2 + len] ? word + 2 + len + 1 : NULL);
}

/* A word may have several letters, of which the last may take a value. */
static int take_letters(struct parser *p, const char *word)
{
	int ret = 0;

	for (const char *at = word + 1; *at && !ret; at++) {
		const struct cvmm_daemon_option *option = find_letter(p, *at);
		char name[3] = { '-', *at, 0 };

		if (!option)
			return cvmm_fail(p->err, -EINVAL, "there is no option -%c", *at);
		if (option->value) {
			const char *value = at[1] == '=' ? at + 2 : at + 1;

			return take(p, option, name, 2, at[1] ? value : NULL);
		}
		ret = take(p, option, name, 2, NULL);
	}
	return ret;
}

int daemon_options_parse(const struct daemon_option_group *groups, size_t group_count, int argc,
			 char **argv, struct cvmm_error *err)
{
	struct parser p = { groups, group_count, argv, argc - 1, err };
	int ret = 0;

	while (p.left > 0 && !ret) {
		const char *word = *++p.words;

		p.left--;
		if (strncmp(word, "--", 2) == 0 && word[2])
			ret = take_long(&p, word);
		else if (word[0] == '-' && word[1] && word[1] != '-')
			ret = take_letters(&p, word);
		else
			ret = cvmm_fail(err, -EINVAL, "'%s' belongs to no option", word);
	}
	return ret;
}

/* ---- help ---------------------------------------------------------------------------------- */

struct text {
	char *bytes;
	size_t len;
	bool failed;
};

static CVMM_PRINTF(2, 3) void add(struct text *text, const char *fmt, ...)
{
	va_list args, again;
	char *more;
	int len;

	va_start(args, fmt);
	va_copy(again, args);
	len = vsnprintf(NULL, 0, fmt, args);
	more = len < 0 ? NULL : realloc(text->bytes, text->len + (size_t)len + 1);
	if (more) {
		vsnprintf(more + text->len, (size_t)len + 1, fmt, again);
		text->bytes = more;
		text->len += (size_t)len;
	}
	text->failed |= !more;
	va_end(again);
	va_end(args);
}

static void add_option(struct text *text, const struct cvmm_daemon_option *option)
{
	size_t before = text->len;
	const char *line = option->help;

	if (option->letter)
		add(text, "  -%c, --%s", option->letter, option->name);
	else
		add(text, "      --%s", option->name);
	if (option->value)
		add(text, " %s", option->value);
	if (text->len - before > HELP_COLUMN - 2) {
		add(text, "\n");
		before = text->len;
	}
	for (;;) {
		size_t len = strcspn(line, "\n");

		add(text, "%*s%.*s\n", HELP_COLUMN - (int)(text->len - before), "", (int)len, line);
		if (!line[len])
			return;
		line += len + 1;
		before = text->len;
	}
}

char *daemon_options_help(const struct cvmm_daemon_program *program,
			  const struct daemon_option_group *groups, size_t group_count)
{
	struct text text = { NULL, 0, false };

	add(&text, "usage: %s [OPTION...] --socket-path PATH\n\n%s\n", program->name,
	    program->summary);
	for (size_t g = 0; g < group_count; g++) {
		if (!groups[g].count)
			continue;
		add(&text, "\n%s:\n", groups[g].title);
		for (size_t i = 0; i < groups[g].count; i++)
			add_option(&text, &groups[g].options[i]);
	}
	add(&text,
	    "\nExit status: 0 after SIGTERM, SIGINT or SIGHUP; %d for a usage that cannot "
	    "be;\n%d if something else failed.\n",
	    CVMM_DAEMON_USAGE, CVMM_DAEMON_FAILED);
	if (text.failed) {
		free(text.bytes);
		return NULL;
	}
	return text.bytes;
}
