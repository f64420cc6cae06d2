/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Theory of operation
 *
 * One buffer holds the text in its final form, "BOOT" or "BOOT -- INIT"; boot_len says where the
 * first part ends. Boot arguments are inserted there, in front of the separator, and init arguments
 * appended at the end. Each change is checked as a whole before the first byte moves, so a refused
 * one changes nothing. Quotes balance in every inserted text, hence in the whole.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "loader_internal.h"

#define SEPARATOR " -- "
#define SEPARATOR_WORD "--"
#define SEPARATOR_WORD_LEN 2

struct cvmm_loader_cmdline {
	size_t capacity;
	size_t boot_len;
	size_t len;
	char text[];
};

/* A part of a caller's string. */
struct part {
	const char *text;
	size_t len;
};

/* ---- checks ---------------------------------------------------------------------------------- */

static int check_text(const char *text, size_t len, const char *what, struct cvmm_error *err)
{
	bool quoted = false;

	for (size_t i = 0; i < len; i++) {
		if (text[i] < ' ' || text[i] > '~')
			return cvmm_fail(
				err, -EILSEQ,
				"%s of the command line: byte 0x%02x is not printable ASCII", what,
				(unsigned char)text[i]);
		if (text[i] == '"')
			quoted = !quoted;
	}
	if (quoted)
		return cvmm_fail(err, -EBADMSG,
				 "%s of the command line: a double quote has no partner", what);
	return 0;
}

static int check_key(const char *key, struct cvmm_error *err)
{
	size_t len = strlen(key);
	int r;

	if (!len)
		return cvmm_fail(err, -ENODATA, "a command line parameter needs a key");
	if (strchr(key, '"'))
		return cvmm_fail(err, -EBADMSG, "command line key '%s' has a double quote", key);
	r = check_text(key, len, "a key", err);
	if (r < 0)
		return r;
	if (strchr(key, ' '))
		return cvmm_fail(err, -EDOM, "command line key '%s' has a space", key);
	if (strchr(key, '='))
		return cvmm_fail(err, -EPROTO, "command line key '%s' has a '='", key);
	return 0;
}

static int check_value(const char *value, struct cvmm_error *err)
{
	bool quoted = false;
	int r;

	r = check_text(value, strlen(value), "a value", err);
	if (r < 0)
		return r;
	for (const char *p = value; *p; p++) {
		if (*p == '"')
			quoted = !quoted;
		else if (*p == ' ' && !quoted)
			return cvmm_fail(
				err, -EDOM,
				"command line value '%s' has a space; put it in double quotes",
				value);
	}
	return 0;
}

/* ---- words ----------------------------------------------------------------------------------- */

static struct part trim(const char *text, size_t len)
{
	while (len && *text == ' ') {
		text++;
		len--;
	}
	while (len && text[len - 1] == ' ')
		len--;
	return (struct part){ text, len };
}

/* Length of the text in front of the first unquoted word "--", or @len if there is none. */
static size_t find_separator(const char *text, size_t len)
{
	bool quoted = false;

	for (size_t i = 0; i < len; i++) {
		bool starts = !quoted && (!i || text[i - 1] == ' ');
		size_t end = i + SEPARATOR_WORD_LEN;

		if (starts && end <= len && !memcmp(text + i, SEPARATOR_WORD, SEPARATOR_WORD_LEN) &&
		    (end == len || text[end] == ' '))
			return i;
		if (text[i] == '"')
			quoted = !quoted;
	}
	return len;
}

/* Put @glue and @part at @pos. The caller has checked that they fit. */
static void splice(struct cvmm_loader_cmdline *cmdline, size_t pos, const char *glue,
		   struct part part)
{
	size_t glue_len = strlen(glue);

	memmove(cmdline->text + pos + glue_len + part.len, cmdline->text + pos,
		cmdline->len - pos + 1);
	memcpy(cmdline->text + pos, glue, glue_len);
	memcpy(cmdline->text + pos + glue_len, part.text, part.len);
	cmdline->len += glue_len + part.len;
}

static int append(struct cvmm_loader_cmdline *cmdline, struct part boot, struct part init,
		  struct cvmm_error *err)
{
	bool has_init = cmdline->len > cmdline->boot_len;
	const char *boot_glue = cmdline->boot_len ? " " : "";
	const char *init_glue = has_init ? " " : SEPARATOR;
	size_t need = 0;

	if (init.len && !cmdline->boot_len && !boot.len)
		return cvmm_fail(
			err, -ENOENT,
			"the command line has init arguments, but no boot argument in front of "
			"them");
	if (boot.len)
		need += strlen(boot_glue) + boot.len;
	if (init.len)
		need += strlen(init_glue) + init.len;
	if (need >= cmdline->capacity - cmdline->len)
		return cvmm_fail(
			err, -ENOSPC,
			"the command line would have %zu characters; there is room for %zu",
			cmdline->len + need, cmdline->capacity - 1);
	if (boot.len) {
		splice(cmdline, cmdline->boot_len, boot_glue, boot);
		cmdline->boot_len += strlen(boot_glue) + boot.len;
	}
	if (init.len)
		splice(cmdline, cmdline->len, init_glue, init);
	return 0;
}

/* ---- objects --------------------------------------------------------------------------------- */

int cvmm_loader_cmdline_create(size_t capacity_bytes, struct cvmm_loader_cmdline **ret_cmdline,
			       struct cvmm_error *err)
{
	struct cvmm_loader_cmdline *cmdline;

	if (!capacity_bytes || capacity_bytes > CVMM_LOADER_CMDLINE_CAPACITY_MAX)
		return cvmm_fail(err, -EINVAL,
				 "a command line has room for 1 to %" PRIu64 " bytes, not %zu",
				 CVMM_LOADER_CMDLINE_CAPACITY_MAX, capacity_bytes);
	cmdline = calloc(1, sizeof(*cmdline) + capacity_bytes);
	if (!cmdline)
		return cvmm_fail(err, -ENOMEM, "no memory for a command line");
	cmdline->capacity = capacity_bytes;
	*ret_cmdline = cmdline;
	return 0;
}

void cvmm_loader_cmdline_destroy(struct cvmm_loader_cmdline *cmdline)
{
	free(cmdline);
}

int cvmm_loader_cmdline_parse(const char *text, size_t capacity_bytes,
			      struct cvmm_loader_cmdline **ret_cmdline, struct cvmm_error *err)
{
	struct cvmm_loader_cmdline *cmdline = NULL;
	int r;

	r = cvmm_loader_cmdline_create(capacity_bytes, &cmdline, err);
	if (r < 0)
		return r;
	r = cvmm_loader_cmdline_insert_str(cmdline, text, err);
	if (r < 0) {
		cvmm_loader_cmdline_destroy(cmdline);
		return r;
	}
	*ret_cmdline = cmdline;
	return 0;
}

int cvmm_loader_cmdline_clone(const struct cvmm_loader_cmdline *cmdline,
			      struct cvmm_loader_cmdline **ret_cmdline, struct cvmm_error *err)
{
	struct cvmm_loader_cmdline *clone = NULL;
	int r;

	r = cvmm_loader_cmdline_create(cmdline->capacity, &clone, err);
	if (r < 0)
		return r;
	memcpy(clone, cmdline, sizeof(*clone) + cmdline->len + 1);
	*ret_cmdline = clone;
	return 0;
}

bool cvmm_loader_cmdline_equal(const struct cvmm_loader_cmdline *a,
			       const struct cvmm_loader_cmdline *b)
{
	return a->boot_len == b->boot_len && !strcmp(a->text, b->text);
}

const char *cvmm_loader_cmdline_text(const struct cvmm_loader_cmdline *cmdline)
{
	return cmdline->text;
}

/* ---- changes --------------------------------------------------------------------------------- */

int cvmm_loader_cmdline_insert_str(struct cvmm_loader_cmdline *cmdline, const char *text,
				   struct cvmm_error *err)
{
	size_t len = strlen(text);
	size_t boot_len;
	struct part init = { "", 0 };
	int r;

	r = check_text(text, len, "a text", err);
	if (r < 0)
		return r;
	boot_len = find_separator(text, len);
	if (boot_len < len)
		init = trim(text + boot_len + SEPARATOR_WORD_LEN,
			    len - boot_len - SEPARATOR_WORD_LEN);
	return append(cmdline, trim(text, boot_len), init, err);
}

int cvmm_loader_cmdline_insert_init_args(struct cvmm_loader_cmdline *cmdline, const char *text,
					 struct cvmm_error *err)
{
	size_t len = strlen(text);
	int r;

	r = check_text(text, len, "the init arguments", err);
	if (r < 0)
		return r;
	return append(cmdline, (struct part){ "", 0 }, trim(text, len), err);
}

int cvmm_loader_cmdline_insert(struct cvmm_loader_cmdline *cmdline, const char *key,
			       const char *value, struct cvmm_error *err)
{
	char *text cvmm_cleanup(cvmm_free_ptr) = NULL;
	int len;
	int r;

	r = check_key(key, err);
	if (r < 0)
		return r;
	r = check_value(value, err);
	if (r < 0)
		return r;
	len = asprintf(&text, "%s=%s", key, value);
	if (len < 0) {
		text = NULL;
		return cvmm_fail(err, -ENOMEM, "no memory for a command line parameter");
	}
	return append(cmdline, (struct part){ text, (size_t)len }, (struct part){ "", 0 }, err);
}

int cvmm_loader_cmdline_insert_multiple(struct cvmm_loader_cmdline *cmdline, const char *key,
					const char *const *values, size_t count,
					struct cvmm_error *err)
{
	char *joined cvmm_cleanup(cvmm_free_ptr) = NULL;
	char *end;
	int r;

	if (!count)
		return cvmm_fail(err, -ENODATA, "command line key '%s' has no values", key);
	/* Nothing longer than the capacity could be inserted anyway. */
	joined = malloc(cmdline->capacity);
	if (!joined)
		return cvmm_fail(err, -ENOMEM, "no memory for a command line parameter");
	end = joined;
	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(values[i]);

		/* Each alone: a quote must not reach from one value into the next. */
		r = check_value(values[i], err);
		if (r < 0)
			return r;
		if (len + 1 > cmdline->capacity - (size_t)(end - joined))
			return cvmm_fail(err, -ENOSPC,
					 "the values of '%s' do not fit into a command line of %zu "
					 "characters",
					 key, cmdline->capacity - 1);
		memcpy(end, values[i], len);
		end += len;
		*end++ = i + 1 < count ? ',' : '\0';
	}
	return cvmm_loader_cmdline_insert(cmdline, key, joined, err);
}

int cvmm_loader_cmdline_add_virtio_mmio(struct cvmm_loader_cmdline *cmdline, uint64_t size_bytes,
					cvmm_gpa gpa, uint32_t irq, int id, struct cvmm_error *err)
{
	static const struct {
		unsigned int shift;
		const char *suffix;
	} units[] = { { 30, "G" }, { 20, "M" }, { 10, "K" }, { 0, "" } };
	char value[96];
	size_t unit = 0;
	uint64_t end;
	int len;

	if (!size_bytes || !cvmm_add_u64(gpa.addr, size_bytes - 1, &end))
		return cvmm_fail(err, -ERANGE,
				 "a virtio-mmio window of %" PRIu64 " bytes at 0x%" PRIx64
				 " is empty or wraps around",
				 size_bytes, gpa.addr);
	while (size_bytes & ((UINT64_C(1) << units[unit].shift) - 1))
		unit++;
	len = snprintf(value, sizeof(value), "%" PRIu64 "%s@0x%" PRIx64 ":%" PRIu32,
		       size_bytes >> units[unit].shift, units[unit].suffix, gpa.addr, irq);
	CVMM_BUG_ON(len < 0 || (size_t)len >= sizeof(value));
	if (id >= 0) {
		int more = snprintf(value + len, sizeof(value) - (size_t)len, ":%d", id);

		CVMM_BUG_ON(more < 0 || (size_t)more >= sizeof(value) - (size_t)len);
	}
	return cvmm_loader_cmdline_insert(cmdline, "virtio_mmio.device", value, err);
}
