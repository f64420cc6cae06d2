// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Runs the tests, one after the other.
 *
 * Theory of operation: after each test its connection is closed, and a new one must be served: else the test
 * has a finding, and no other test can be run. That connection is the next test's. Where the suite can start
 * the back-end, it ends one that does not serve any more, and goes on with a new one.
 */
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conf.h"

const struct conf_group *const conf_groups[] = {
	&conf_negotiation, &conf_framing, &conf_memory,	  &conf_slots,	&conf_vrings,	&conf_data,
	&conf_devices,	   &conf_hostile, &conf_config,	  &conf_log,	&conf_inflight, &conf_reset,
	&conf_channel,	   &conf_state,	  &conf_postcopy, &conf_extras, &conf_deadly,
};
const size_t conf_group_count = CVMM_ARRAY_SIZE(conf_groups);

/* Whether one of the patterns of --only, with commas between them, takes a test. */
bool conf_is_wanted(const char *only, const struct conf_group *group, const struct conf_test *test)
{
	char name[128], pattern[128];

	snprintf(name, sizeof(name), "%s/%s", group->name, test->id);
	while (only) {
		const char *comma = strchr(only, ',');
		size_t len = comma ? (size_t)(comma - only) : strlen(only);

		if (len < sizeof(pattern)) {
			memcpy(pattern, only, len);
			pattern[len] = '\0';
			if (strcmp(pattern, group->name) == 0 || fnmatch(pattern, name, 0) == 0)
				return true;
		}
		only = comma ? comma + 1 : NULL;
	}
	return false;
}

/* Calls @fn for each test that is wanted, in order, until it returns false. Return: how many it took. */
static unsigned int for_each_test(const char *only,
				  bool (*fn)(void *ctx, const struct conf_group *group,
					     const struct conf_test *test),
				  void *ctx)
{
	unsigned int n = 0;

	for (size_t g = 0; g < conf_group_count; g++) {
		const struct conf_group *group = conf_groups[g];

		for (size_t i = 0; i < group->count; i++) {
			if (only && !conf_is_wanted(only, group, &group->tests[i]))
				continue;
			n++;
			if (fn && !fn(ctx, group, &group->tests[i]))
				return n;
		}
	}
	return n;
}

/* ---- one test ---------------------------------------------------------------------------------- */

static void release(struct conf *t)
{
	conf_close(t);
	conf_queues_fini(t);
	conf_ram_fini(&t->ram);
	while (t->fd_count)
		close(t->fds[--t->fd_count]);
	while (t->map_count) {
		struct conf_map *map = &t->maps[--t->map_count];

		munmap(map->address, map->len_bytes);
	}
	t->features = t->protocol_offered = 0;
	t->queue_count = 0;
}

static void check_needs(struct conf *t)
{
	unsigned int needs = t->test->needs;
	bool device = needs & (CONF_NEEDS_DEVICE | CONF_NEEDS_RESULT);

	if ((device || t->test->stage == CONF_RUNNING || t->test->device) && !t->device)
		conf_skip(t, "needs to know the device: --device");
	if (t->test->device && strcmp(t->test->device, t->device->name) != 0)
		conf_skip(t, "for devices of the kind %s", t->test->device);
	if (needs & CONF_DEADLY && !t->options->spawn)
		conf_skip(t, "may end the back-end, which cannot be started again: --spawn");
	if (needs & CONF_NEEDS_RESULT && !t->device->has_result)
		conf_skip(t, "requests of %s have nothing that the device writes", t->device->name);
}

static void run_body(struct conf *t)
{
	t->set_up = false;
	if (setjmp(t->end))
		return;
	check_needs(t);
	if (!t->conn)
		conf_connect(t);
	conf_enter(t, t->test->stage);
	t->set_up = true;
	t->test->run(t);
}

/* What a back-end did that no longer serves, in place of what the test found. */
static void add_finding(struct conf *t, const char *text)
{
	struct conf_result *result = &t->result;
	char before[CONF_TEXT_SIZE];

	memcpy(before, result->text, sizeof(before));
	if (result->outcome == CONF_FAILED && strcmp(before, text) != 0)
		snprintf(result->text, sizeof(result->text), "%.500s; %.250s", text, before);
	else
		snprintf(result->text, sizeof(result->text), "%s", text);
	result->outcome = CONF_FAILED;
	if (!(t->test->needs & CONF_DEADLY))
		result->class = CONF_MUST;
}

static bool connects(struct conf *t)
{
	struct conf_result before = t->result;
	bool ok;

	t->set_up = true;
	if (!setjmp(t->end)) {
		conf_connect(t);
		return true;
	}
	ok = t->result.outcome != CONF_FAILED;
	snprintf(before.notes[CONF_NOTES_MAX - 1], CONF_TEXT_SIZE, "%s", t->result.text);
	t->result = before;
	return ok;
}

/* Return: false if there is nobody any more to run tests against. */
static bool serves_another(struct conf *t)
{
	const struct conf_trace trace = t->result.trace;
	char text[CONF_TEXT_SIZE], how[CONF_TEXT_SIZE], output[CONF_TEXT_SIZE];
	bool served = connects(t);

	t->result.trace = trace;
	if (conf_peer_crashed(t->peer, how, output)) {
		snprintf(text, sizeof(text), "the back-end died: %.500s", how);
		add_finding(t, text);
		if (*output)
			conf_note(t, "it printed: %s", output);
	} else if (!served) {
		snprintf(text, sizeof(text), "%s", t->result.notes[CONF_NOTES_MAX - 1]);
		add_finding(t, text);
	}
	return served || (conf_peer_kill(t->peer) && connects(t));
}

/* ---- all of them ------------------------------------------------------------------------------- */

struct run {
	struct conf *t;
	FILE *out;
	void (*done)(void *ctx, const struct conf_result *result);
	void *ctx;
	struct conf_summary *summary;
	unsigned int number;
};

static void count_result(struct conf_summary *summary, const struct conf_result *result)
{
	switch (result->outcome) {
	case CONF_PASSED:
		summary->passed++;
		break;
	case CONF_FAILED:
		summary->failed[result->class]++;
		break;
	case CONF_SKIPPED:
		summary->skipped++;
		break;
	}
}

static bool run_one(void *ctx, const struct conf_group *group, const struct conf_test *test)
{
	struct run *run = ctx;
	struct conf *t = run->t;
	bool go_on;

	t->test = test;
	memset(&t->result, 0, sizeof(t->result));
	t->result.group = group;
	t->result.test = test;
	t->result.class = test->class;
	run_body(t);
	release(t);
	go_on = serves_another(t);
	count_result(run->summary, &t->result);
	conf_report(run->out, t->options, ++run->number, &t->result);
	if (run->done)
		run->done(run->ctx, &t->result);
	if (!go_on)
		run->summary->bail_out = "the back-end does not serve a new connection";
	return go_on;
}

static int first_connection(struct conf *t, struct cvmm_error *err)
{
	static const struct conf_test nothing = { .id = "connection" };

	t->test = &nothing;
	if (connects(t))
		return 0;
	return cvmm_fail(err, -ECONNREFUSED, "%s", t->result.notes[CONF_NOTES_MAX - 1]);
}

int conf_run(const struct conf_options *options, FILE *out,
	     void (*done)(void *ctx, const struct conf_result *result), void *ctx,
	     struct conf_summary *ret_summary, struct cvmm_error *err)
{
	struct conf *t = calloc(1, sizeof(*t));
	struct run run = { .t = t, .out = out, .done = done, .ctx = ctx, .summary = ret_summary };
	int r;

	memset(ret_summary, 0, sizeof(*ret_summary));
	if (!t)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	t->options = options;
	t->device = options->device;
	r = conf_peer_create(options->socket, options->spawn, &t->peer);
	if (r)
		r = cvmm_fail(err, r, "%s: %s", options->socket, strerror(-r));
	else
		r = first_connection(t, err);
	if (!r) {
		conf_report_begin(out, options, for_each_test(options->only, NULL, NULL));
		for_each_test(options->only, run_one, &run);
		conf_report_end(out, options, ret_summary);
	}
	release(t);
	conf_peer_destroy(t->peer);
	free(t);
	return r;
}

unsigned int conf_list(const char *only,
		       bool (*fn)(void *ctx, const struct conf_group *group,
				  const struct conf_test *test),
		       void *ctx)
{
	return for_each_test(only, fn, ctx);
}
