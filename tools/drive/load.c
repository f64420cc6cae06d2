// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* cvmm-drive load: options, and the exit status. */
#include <signal.h>
#include <stdlib.h>

#include "drive.h"
#include "load.h"

#define TIMEOUT_DEFAULT_MS 5000U
#define TIMEOUT_MAX_MS 600000U
#define BLOCK_BYTES_MAX (UINT64_C(16) << 20)
#define SECONDS_MAX 86400.0

static const char load_help[] =
	"usage: cvmm-drive load SOCKET --device KIND [OPTION...]\n"
	"\n"
	"Does requests as fast as the back-end can, and says how many there were and how\n"
	"long they took. Each queue has a thread of its own.\n"
	"\n"
	"  --device KIND      blk, rng or net (sends frames)\n"
	"  --rw ACCESS        blk: read, write, randread or randwrite (default: randread).\n"
	"                     Writing destroys what is on the disk.\n"
	"  --block-size N     bytes of a request (default: blk 4k, rng and net 64)\n"
	"  --queues N         how many (default: 1)\n"
	"  --depth N          requests under way in each (default: 32)\n"
	"  --queue-size N     entries of each (default: as many as that takes)\n"
	"  --seconds N        how long (default: 5)\n"
	"  --packed           use packed rings\n"
	"  --poll             look for answers without end, instead of being told\n"
	"  --no-event-idx     do without that feature\n"
	"  --timeout-ms N     how long an answer may take (default: 5000)\n"
	"  --json             print JSON, with all of the histogram: for each bucket where\n"
	"                     it ends, in microseconds, and how many are in it\n"
	"\n"
	"Times are taken once for each batch that is given or taken, so that what is faster\n"
	"than the rest of its batch is not seen to be.\n"
	"\n"
	"Exit status: 0; 1 if requests failed, were not answered, or the back-end broke a\n"
	"rule; 2 if it could not be run.\n";

static const struct load_kind *const kinds[] = { &load_blk, &load_rng, &load_net };

static const char *const accesses[] = {
	[LOAD_READ] = "read",
	[LOAD_WRITE] = "write",
	[LOAD_RANDREAD] = "randread",
	[LOAD_RANDWRITE] = "randwrite",
};

const char *load_access_name(enum load_access access)
{
	return accesses[access];
}

/* ---- options ------------------------------------------------------------------------------------- */

static int set_kind(struct load_options *o, const char *text)
{
	for (size_t i = 0; text && i < CVMM_ARRAY_SIZE(kinds); i++)
		if (strcmp(text, kinds[i]->name) == 0) {
			o->kind = kinds[i];
			return 0;
		}
	return -1;
}

static int set_access(struct load_options *o, const char *text)
{
	for (size_t i = 0; text && i < CVMM_ARRAY_SIZE(accesses); i++)
		if (strcmp(text, accesses[i]) == 0) {
			o->access = (enum load_access)i;
			return 0;
		}
	return -1;
}

static int set_seconds(struct load_options *o, const char *text)
{
	char *end;

	if (!text)
		return -1;
	o->seconds = strtod(text, &end);
	return *end || end == text || !(o->seconds > 0) || o->seconds > SECONDS_MAX ? -1 : 0;
}

static int set_number(const char *text, uint64_t min, uint64_t max, unsigned int *ret)
{
	uint64_t number;

	if (drive_number(text, min, max, &number))
		return -1;
	*ret = (unsigned int)number;
	return 0;
}

static int set_queue_size(struct load_options *o, const char *text)
{
	unsigned int size;

	if (set_number(text, 1, CVMM_VIRTQ_DRIVER_SIZE_MAX, &size))
		return -1;
	o->queue_size = (uint16_t)size;
	return 0;
}

/* Return: 0 if taken, -1 for a bad value, 1 if @word is no such option. */
static int take_value(struct load_options *o, const char *word, char ***args)
{
	const char *value = NULL;

	if (drive_is_option(word, "--device", &value))
		return set_kind(o, drive_value(value, args));
	if (drive_is_option(word, "--rw", &value))
		return set_access(o, drive_value(value, args));
	if (drive_is_option(word, "--seconds", &value))
		return set_seconds(o, drive_value(value, args));
	if (drive_is_option(word, "--block-size", &value))
		return set_number(drive_value(value, args), 1, BLOCK_BYTES_MAX, &o->block_bytes);
	if (drive_is_option(word, "--queues", &value))
		return set_number(drive_value(value, args), 1, LOAD_LANES_MAX, &o->queues);
	if (drive_is_option(word, "--depth", &value))
		return set_number(drive_value(value, args), 1, LOAD_DEPTH_MAX, &o->depth);
	if (drive_is_option(word, "--queue-size", &value))
		return set_queue_size(o, drive_value(value, args));
	if (drive_is_option(word, "--timeout-ms", &value))
		return set_number(drive_value(value, args), 1, TIMEOUT_MAX_MS, &o->timeout_ms);
	return 1;
}

static int take_word(struct load_options *o, const char *word)
{
	if (strcmp(word, "--packed") == 0)
		o->packed = true;
	else if (strcmp(word, "--poll") == 0)
		o->poll = true;
	else if (strcmp(word, "--no-event-idx") == 0)
		o->no_event_idx = true;
	else if (strcmp(word, "--json") == 0)
		o->json = true;
	else if (word[0] == '-')
		return drive_usage(&drive_load, "unknown option %s", word);
	else if (o->socket)
		return drive_usage(&drive_load, "one SOCKET is enough: %s", word);
	else
		o->socket = word;
	return 0;
}

static int parse(struct load_options *o, char **args)
{
	for (; *args; args++) {
		const char *word = *args;
		int r = take_value(o, word, &args);

		if (r < 0)
			return drive_usage(&drive_load, "%s: a value that it can have is needed",
					   word);
		if (r == 1)
			r = take_word(o, word);
		if (r)
			return r;
	}
	if (!o->socket)
		return drive_usage(&drive_load, "a SOCKET is needed");
	if (!o->kind)
		return drive_usage(&drive_load, "--device is needed");
	if (!o->block_bytes)
		o->block_bytes = o->kind->block_bytes;
	return 0;
}

/* ---- the command --------------------------------------------------------------------------------- */

static bool has_failures(const struct load *load)
{
	for (unsigned int i = 0; i < load->options.queues; i++)
		if (load->lanes[i].failed)
			return true;
	return false;
}

static int load_main(char **args)
{
	struct load load = { .options = { .queues = 1,
					  .depth = 32,
					  .access = LOAD_RANDREAD,
					  .seconds = 5,
					  .timeout_ms = TIMEOUT_DEFAULT_MS } };
	struct cvmm_error err = { 0 };
	int r = parse(&load.options, args), status = DRIVE_USAGE;

	if (r)
		return r;
	signal(SIGPIPE, SIG_IGN);
	r = load_run(&load, &err);
	if (r)
		fprintf(stderr, "cvmm-drive load: %s\n", err.message);
	if (r >= 0) {
		load_report(&load, stdout);
		status = r || has_failures(&load) ? DRIVE_FINDINGS : DRIVE_OK;
	}
	load_end(&load);
	return fflush(stdout) ? DRIVE_USAGE : status;
}

const struct drive_command drive_load = {
	.name = "load",
	.summary = "measure a back-end's throughput and latency",
	.help = load_help,
	.run = load_main,
};
