/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Fuzz target: the first byte is the capacity, the rest are lines. Each line's first byte says what
 * is done with the text behind it. A refused change must change nothing, and the text must always
 * parse to itself.
 */
#include <stdlib.h>

#include <cvmm/loader.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(cond)         \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

static int apply(struct cvmm_loader_cmdline *cmdline, char op, char *text)
{
	char *value = strchr(text, ':');
	const char *values[2];

	switch (op) {
	case 'i':
		return cvmm_loader_cmdline_insert_init_args(cmdline, text, NULL);
	case 'k':
		if (value)
			*value++ = '\0';
		return cvmm_loader_cmdline_insert(cmdline, text, value ? value : "", NULL);
	case 'm':
		if (value)
			*value++ = '\0';
		values[0] = text;
		values[1] = value;
		return cvmm_loader_cmdline_insert_multiple(cmdline, "multi", values, value ? 2 : 1,
							   NULL);
	case 'v':
		return cvmm_loader_cmdline_add_virtio_mmio(cmdline, strtoull(text, NULL, 0),
							   cvmm_gpa_from(0xd0000000), 5,
							   (int)strlen(text) - 4, NULL);
	default:
		return cvmm_loader_cmdline_insert_str(cmdline, text, NULL);
	}
}

static void check(const struct cvmm_loader_cmdline *cmdline, size_t capacity)
{
	const char *text = cvmm_loader_cmdline_text(cmdline);
	struct cvmm_loader_cmdline *again = NULL;

	FUZZ_CHECK(strlen(text) < capacity);
	for (const char *p = text; *p; p++)
		FUZZ_CHECK(*p >= ' ' && *p <= '~');
	FUZZ_CHECK(!cvmm_loader_cmdline_parse(text, capacity, &again, NULL));
	FUZZ_CHECK(cvmm_loader_cmdline_equal(cmdline, again));
	cvmm_loader_cmdline_destroy(again);
}

static void run_line(struct cvmm_loader_cmdline *cmdline, size_t capacity, char *line)
{
	struct cvmm_loader_cmdline *before = NULL;
	char op = line[0];
	int r;

	if (!op || cvmm_loader_cmdline_clone(cmdline, &before, NULL) < 0)
		return;
	r = apply(cmdline, op, line + 1);
	if (r < 0)
		FUZZ_CHECK(cvmm_loader_cmdline_equal(cmdline, before));
	cvmm_loader_cmdline_destroy(before);
	check(cmdline, capacity);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cvmm_loader_cmdline *cmdline = NULL;
	char *text;
	char *line;
	char *rest;

	if (size < 1 || cvmm_loader_cmdline_create(data[0], &cmdline, NULL) < 0)
		return 0;
	text = calloc(1, size);
	if (text) {
		memcpy(text, data + 1, size - 1);
		rest = text;
		while ((line = strsep(&rest, "\n")))
			run_line(cmdline, data[0], line);
		free(text);
	}
	cvmm_loader_cmdline_destroy(cmdline);
	return 0;
}
