// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Results as TAP version 13, or as JSON.
 *
 * Only a finding against a MUST fails for who reads the TAP: the others are marked TODO, which harnesses
 * show and do not count.
 */
#include "conf.h"
#include "drive.h"

const char *conf_class_name(enum conf_class class)
{
	switch (class) {
	case CONF_MUST:
		return "MUST";
	case CONF_SHOULD:
		return "SHOULD";
	case CONF_OPTIONAL:
		return "OPTIONAL";
	}
	return NULL;
}

static const char *outcome_name(enum conf_outcome outcome)
{
	switch (outcome) {
	case CONF_PASSED:
		return "ok";
	case CONF_FAILED:
		return "not ok";
	case CONF_SKIPPED:
		return "skip";
	}
	return NULL;
}

/* The i-th line that is still there, oldest first; NULL after the last. */
static const char *trace_line(const struct conf_trace *trace, unsigned int i)
{
	unsigned int first = trace->count > CONF_TRACE_LINES ? trace->count - CONF_TRACE_LINES : 0;

	return first + i < trace->count ? trace->lines[(first + i) % CONF_TRACE_LINES] : NULL;
}

/* ---- TAP --------------------------------------------------------------------------------------- */

static void tap_member(FILE *out, const char *name, const char *value)
{
	fprintf(out, "  %s: ", name);
	drive_print_json_string(out, value); /* which YAML reads, too */
	putc('\n', out);
}

static void tap_details(FILE *out, const struct conf_result *result, bool with_trace)
{
	const char *line;

	fprintf(out, "  ---\n  class: %s\n", conf_class_name(result->class));
	tap_member(out, "spec", result->test->spec);
	if (result->outcome == CONF_FAILED)
		tap_member(out, "finding", result->text);
	if (with_trace && result->trace.count) {
		fprintf(out, "  messages:\n");
		for (unsigned int i = 0; (line = trace_line(&result->trace, i)); i++) {
			fprintf(out, "    - ");
			drive_print_json_string(out, line);
			putc('\n', out);
		}
	}
	fprintf(out, "  ...\n");
}

static void tap_result(FILE *out, const struct conf_options *options, unsigned int number,
		       const struct conf_result *result)
{
	bool failed = result->outcome == CONF_FAILED;

	fprintf(out, "%s %u - %s/%s: %s", failed ? "not ok" : "ok", number, result->group->name,
		result->test->id, result->test->title);
	if (result->outcome == CONF_SKIPPED)
		fprintf(out, " # SKIP %s", result->text);
	if (failed && result->class != CONF_MUST)
		fprintf(out, " # TODO %s", conf_class_name(result->class));
	putc('\n', out);
	for (unsigned int i = 0; i < result->note_count; i++)
		fprintf(out, "# note: %s\n", result->notes[i]);
	if (failed || options->verbose)
		tap_details(out, result, true);
	fflush(out);
}

/* ---- JSON -------------------------------------------------------------------------------------- */

static void json_member(FILE *out, const char *name, const char *value)
{
	fprintf(out, ", \"%s\": ", name);
	drive_print_json_string(out, value);
}

static void json_result(FILE *out, unsigned int number, const struct conf_result *result)
{
	const char *line;

	fprintf(out, "%s\n    {\"number\": %u, \"id\": \"%s/%s\"", number > 1 ? "," : "", number,
		result->group->name, result->test->id);
	json_member(out, "title", result->test->title);
	json_member(out, "spec", result->test->spec);
	json_member(out, "class", conf_class_name(result->class));
	json_member(out, "result", outcome_name(result->outcome));
	if (result->outcome == CONF_FAILED)
		json_member(out, "finding", result->text);
	if (result->outcome == CONF_SKIPPED)
		json_member(out, "reason", result->text);
	fprintf(out, ", \"notes\": [");
	for (unsigned int i = 0; i < result->note_count; i++) {
		fputs(i ? ", " : "", out);
		drive_print_json_string(out, result->notes[i]);
	}
	fprintf(out, "], \"messages\": [");
	for (unsigned int i = 0;
	     result->outcome == CONF_FAILED && (line = trace_line(&result->trace, i)); i++) {
		fputs(i ? ", " : "", out);
		drive_print_json_string(out, line);
	}
	fprintf(out, "]}");
	fflush(out);
}

/* ---- both -------------------------------------------------------------------------------------- */

void conf_report_begin(FILE *out, const struct conf_options *options, unsigned int count)
{
	if (!out)
		return;
	if (!options->json) {
		fprintf(out, "TAP version 13\n1..%u\n", count);
		return;
	}
	fprintf(out, "{\"socket\": ");
	drive_print_json_string(out, options->socket);
	json_member(out, "device", options->device_name);
	fprintf(out, ", \"tests\": [");
}

void conf_report(FILE *out, const struct conf_options *options, unsigned int number,
		 const struct conf_result *result)
{
	if (!out)
		return;
	if (options->json)
		json_result(out, number, result);
	else
		tap_result(out, options, number, result);
}

void conf_report_end(FILE *out, const struct conf_options *options,
		     const struct conf_summary *summary)
{
	const unsigned int *failed = summary->failed;

	if (!out)
		return;
	if (!options->json) {
		if (summary->bail_out)
			fprintf(out, "Bail out! %s\n", summary->bail_out);
		fprintf(out, "# %u passed, %u skipped, findings: %u MUST, %u SHOULD, %u OPTIONAL\n",
			summary->passed, summary->skipped, failed[CONF_MUST], failed[CONF_SHOULD],
			failed[CONF_OPTIONAL]);
		return;
	}
	fprintf(out,
		"\n  ], \"passed\": %u, \"skipped\": %u, \"must\": %u, \"should\": %u, "
		"\"optional\": %u",
		summary->passed, summary->skipped, failed[CONF_MUST], failed[CONF_SHOULD],
		failed[CONF_OPTIONAL]);
	if (summary->bail_out)
		json_member(out, "bail_out", summary->bail_out);
	fprintf(out, "}\n");
}
