// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * cvmm-drive replay: the chains of a capture are given to a back-end once more, and its answers compared with
 * those recorded.
 *
 * Theory of operation: the file is looked through first, for the queues that it has and for how long their
 * chains are. Then each of these queues is started, and has a replay of its own. All of them run in one
 * thread, which sleeps when none has anything to do.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <cvmm/virtq_trace.h>

#include "drive.h"
#include "target.h"

#define TIMEOUT_DEFAULT_MS 5000U
#define TIMEOUT_MAX_MS 600000U
#define QUEUE_SIZE_DEFAULT 256U
#define QUEUES_MAX 64U
#define BUFFER_BYTES_LEAST (UINT64_C(4) << 20)
#define BUFFER_BYTES_MAX (UINT64_C(1) << 30)
#define BUFFER_ALIGN UINT64_C(4096)
#define DIFFERENCES_SHOWN 20U
#define SLEEP_MS 50

static const char replay_help[] =
	"usage: cvmm-drive replay TRACE SOCKET [OPTION...]\n"
	"\n"
	"Gives the chains of a capture (pcap-ng, see docs/virtq-trace.md) to a back-end, and\n"
	"compares what it answers with what is recorded.\n"
	"\n"
	"  --name NAME      only interfaces of this name: a capture may have several devices\n"
	"  --queue N        only this queue (default: all in the capture)\n"
	"  --queue-size N   entries of each queue (default: 256, or more for longer chains)\n"
	"  --packed         use packed rings\n"
	"  --timing         leave the pauses between chains that there were\n"
	"  --ignore-damage  replay what precedes a place where the file is damaged\n"
	"  --timeout-ms N   how long to wait when nothing is answered (default: 5000)\n"
	"  --json           print JSON in place of text\n"
	"\n"
	"Exit status: 0 if all is as recorded; 1 if anything differs, was not answered, or\n"
	"does not fit; 2 if it could not be run.\n";

/* A queue of the capture. */
struct replay_queue {
	struct replay *replay;
	unsigned int index;
	uint64_t longest_bytes;
	uint32_t longest_pieces;
	struct target_queue queue;
	struct cvmm_virtq_replay *state;
};

/**
 * struct replay - one run
 * @wanted: the only queue, or -1
 * @begun_ns: when the first chain was given
 * @shown: differences that were printed
 */
struct replay {
	const char *file;
	const char *socket;
	const char *name;
	int64_t wanted;
	uint16_t queue_size;
	unsigned int timeout_ms;
	bool packed;
	bool timing;
	bool ignore_damage;
	bool json;

	int fd;
	struct target target;
	struct replay_queue queues[QUEUES_MAX];
	size_t queue_count;
	uint64_t begun_ns;
	unsigned int shown;
	struct cvmm_error damage;
};

/* ---- what is in the file ------------------------------------------------------------------------- */

static struct replay_queue *find_queue(struct replay *r, unsigned int index)
{
	for (size_t i = 0; i < r->queue_count; i++)
		if (r->queues[i].index == index)
			return &r->queues[i];
	if (r->queue_count == QUEUES_MAX)
		return NULL;
	r->queues[r->queue_count] = (struct replay_queue){ .replay = r, .index = index };
	return &r->queues[r->queue_count++];
}

static int note_record(struct replay *r, const struct cvmm_virtq_trace_record *record,
		       struct cvmm_error *err)
{
	uint64_t bytes = (uint64_t)record->readable_bytes + record->writable_bytes;
	uint32_t pieces = (uint32_t)record->readable_count + record->writable_count;
	struct replay_queue *q;

	if (record->kind != CVMM_VIRTQ_TRACE_AVAILABLE ||
	    (r->wanted >= 0 && record->queue != r->wanted))
		return 0;
	q = find_queue(r, record->queue);
	if (!q)
		return cvmm_fail(err, -E2BIG, "%s: more than %u queues", r->file, QUEUES_MAX);
	if (bytes > q->longest_bytes)
		q->longest_bytes = bytes;
	if (pieces > q->longest_pieces)
		q->longest_pieces = pieces;
	return 0;
}

static struct cvmm_virtq_trace_source source_of(const struct replay *r)
{
	return (struct cvmm_virtq_trace_source){ .fd = r->fd, .name = r->name };
}

static int look_through(struct replay *r, struct cvmm_error *err)
{
	const struct cvmm_virtq_trace_source source = source_of(r);
	struct cvmm_virtq_trace_reader *reader;
	struct cvmm_virtq_trace_record record;
	int ret = cvmm_virtq_trace_reader_create(&source, &reader);

	if (ret)
		return cvmm_fail(err, ret, "%s: %s", r->file, strerror(-ret));
	while ((ret = cvmm_virtq_trace_reader_next(reader, &record, err)) == 1) {
		ret = note_record(r, &record, err);
		if (ret)
			break;
	}
	cvmm_virtq_trace_reader_destroy(reader);
	if ((ret == -ENODATA || ret == -EBADMSG) && r->ignore_damage && r->queue_count)
		ret = 0;
	if (ret)
		return cvmm_error_prefix(err, "%s", r->file);
	if (!r->queue_count)
		return cvmm_fail(err, -ENODATA, "%s: there are no chains of such a queue", r->file);
	return 0;
}

/* ---- comparing ----------------------------------------------------------------------------------- */

static void show(const struct replay_queue *q, const struct cvmm_virtq_replay_result *result)
{
	printf("queue %u, chain %llu (offset %llu): %s", q->index,
	       (unsigned long long)result->number, (unsigned long long)result->offset,
	       cvmm_virtq_replay_verdict_name(result->verdict));
	if (result->verdict == CVMM_VIRTQ_REPLAY_LENGTH_DIFFERS)
		printf(": %u instead of %u bytes", result->used_bytes, result->recorded_bytes);
	if (result->first_difference < result->compared_bytes)
		printf(", from byte %u", result->first_difference);
	putchar('\n');
}

static void on_result(void *ctx, const struct cvmm_virtq_replay_result *result)
{
	struct replay_queue *q = ctx;
	struct replay *r = q->replay;

	if (result->verdict == CVMM_VIRTQ_REPLAY_MATCHES || r->json)
		return;
	if (r->shown++ < DIFFERENCES_SHOWN)
		show(q, result);
}

static bool is_due(void *ctx, uint64_t since_ns)
{
	const struct replay_queue *q = ctx;

	return cvmm_clock_ns() - q->replay->begun_ns >= since_ns;
}

/* ---- setting up ---------------------------------------------------------------------------------- */

static uint64_t buffer_bytes(const struct replay_queue *q)
{
	/* Pieces are aligned each, and there should be more than one chain under way. */
	uint64_t one = q->longest_bytes + (uint64_t)q->longest_pieces * CVMM_VIRTQ_REPLAY_ALIGN;
	uint64_t bytes = (4 * one + BUFFER_ALIGN - 1) / BUFFER_ALIGN * BUFFER_ALIGN;

	if (bytes < BUFFER_BYTES_LEAST)
		return BUFFER_BYTES_LEAST;
	return bytes > BUFFER_BYTES_MAX ? BUFFER_BYTES_MAX : bytes;
}

/* Room for the longest chain: it may have to go without an indirect table. */
static uint16_t choose_size(const struct replay *r, const struct replay_queue *q)
{
	uint32_t size = r->queue_size ? r->queue_size : QUEUE_SIZE_DEFAULT;

	while (!r->queue_size && size < q->longest_pieces && size < CVMM_VIRTQ_DRIVER_SIZE_MAX)
		size *= 2;
	return (uint16_t)size;
}

static int start_queue(struct replay *r, struct replay_queue *q, struct cvmm_error *err)
{
	struct cvmm_virtq_replay_config config = {
		.source = source_of(r),
		.queue = (uint16_t)q->index,
		.drv = &q->queue.drv,
		.mem = r->target.mem,
		.buffers_bytes = buffer_bytes(q),
		.ignore_damage = r->ignore_damage,
		.result = on_result,
		.is_due = r->timing ? is_due : NULL,
		.ctx = q,
	};
	int ret = target_queue_start(&q->queue, &r->target, q->index, choose_size(r, q), err);

	if (ret)
		return ret;
	config.buffers = target_alloc(&r->target, config.buffers_bytes);
	ret = cvmm_virtq_replay_create(&config, &q->state, err);
	if (!ret && err->code)
		r->damage = *err;
	return ret;
}

static int start_all(struct replay *r, struct cvmm_error *err)
{
	uint64_t bytes = 0, needed = 0;
	int ret;

	for (size_t i = 0; i < r->queue_count; i++)
		bytes += target_queue_bytes(choose_size(r, &r->queues[i])) +
			 buffer_bytes(&r->queues[i]);
	if (r->packed)
		needed |= CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_RING_PACKED);
	ret = target_open(&r->target, r->socket, r->timeout_ms,
			  CVMM_VHOST_USER_PROTOCOL(MQ) | CVMM_VHOST_USER_PROTOCOL(REPLY_ACK) |
				  CVMM_VHOST_USER_PROTOCOL(CONFIG),
			  err);
	/* The device's own features are those of the recording, which has not kept them: as few as can be. */
	if (!ret)
		ret = target_set_features(&r->target,
					  CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_VERSION_1) |
						  CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_EVENT_IDX),
					  needed, err);
	if (!ret)
		ret = target_share(&r->target, bytes, err);
	for (size_t i = 0; i < r->queue_count && !ret; i++)
		ret = start_queue(r, &r->queues[i], err);
	return ret;
}

/* ---- running ------------------------------------------------------------------------------------- */

/* Return: how much was done, 0 for nothing, or negative errno with a message. */
static int turn(struct replay *r, struct cvmm_error *err)
{
	int done = 0;

	for (size_t i = 0; i < r->queue_count; i++) {
		struct replay_queue *q = &r->queues[i];
		int fed = cvmm_virtq_replay_feed(q->state, err), got;

		if (fed < 0)
			return fed;
		target_queue_kick(&q->queue);
		got = cvmm_virtq_replay_collect(q->state, err);
		if (got < 0)
			return got;
		done += fed + got;
	}
	return done;
}

static bool is_done(const struct replay *r)
{
	for (size_t i = 0; i < r->queue_count; i++)
		if (!cvmm_virtq_replay_is_done(r->queues[i].state))
			return false;
	return true;
}

static bool is_any_outstanding(const struct replay *r)
{
	for (size_t i = 0; i < r->queue_count; i++)
		if (cvmm_virtq_replay_stats(r->queues[i].state).outstanding)
			return true;
	return false;
}

/* Until something has come, or a moment has passed. Return: false if the back-end is gone. */
static bool rest(struct replay *r)
{
	struct pollfd p[QUEUES_MAX + 1];
	bool ready = false;

	for (size_t i = 0; i < r->queue_count; i++) {
		ready |= cvmm_virtq_driver_enable_interrupts(&r->queues[i].queue.drv);
		p[i] = (struct pollfd){ .fd = r->queues[i].queue.call, .events = POLLIN };
	}
	p[r->queue_count] = (struct pollfd){ .fd = cvmm_vhost_user_frontend_fd(r->target.fe) };
	if (ready || poll(p, r->queue_count + 1, r->timing ? 1 : SLEEP_MS) <= 0)
		return true;
	for (size_t i = 0; i < r->queue_count; i++)
		if (p[i].revents)
			(void)target_queue_wait(&r->queues[i].queue, 0);
	return !p[r->queue_count].revents;
}

/* Return: 0; 1 if the back-end was at fault; or negative errno; with a message. */
static int run(struct replay *r, struct cvmm_error *err)
{
	uint64_t quiet_since_ns = cvmm_clock_ns();

	r->begun_ns = quiet_since_ns;
	while (!is_done(r)) {
		int done = turn(r, err);

		if (done < 0)
			return done == -EPROTO ? 1 : done;
		/* A pause of the recording is nobody's fault. */
		if (done || !is_any_outstanding(r))
			quiet_since_ns = cvmm_clock_ns();
		if (done)
			continue;
		if (!rest(r))
			return cvmm_fail(err, 1, "the back-end ended the connection");
		if (cvmm_clock_ns() - quiet_since_ns > r->timeout_ms * CVMM_NS_PER_MS)
			return 0;
	}
	return 0;
}

/* ---- telling ------------------------------------------------------------------------------------- */

static void print_queue_text(const struct replay_queue *q,
			     const struct cvmm_virtq_replay_stats *stats)
{
	printf("queue %u: %llu chains", q->index, (unsigned long long)stats->chains);
	for (unsigned int i = 0; i < CVMM_VIRTQ_REPLAY_VERDICT_COUNT; i++)
		if (stats->verdicts[i])
			printf("; %llu %s", (unsigned long long)stats->verdicts[i],
			       cvmm_virtq_replay_verdict_name((enum cvmm_virtq_replay_verdict)i));
	if (stats->given < stats->chains)
		printf("; %llu not given", (unsigned long long)(stats->chains - stats->given));
	if (stats->violations)
		printf("; %llu violations of the recording left out",
		       (unsigned long long)stats->violations);
	putchar('\n');
}

static void print_queue_json(const struct replay_queue *q,
			     const struct cvmm_virtq_replay_stats *stats)
{
	printf("{\"queue\": %u, \"chains\": %llu, \"given\": %llu, \"violations\": %llu, "
	       "\"verdicts\": {",
	       q->index, (unsigned long long)stats->chains, (unsigned long long)stats->given,
	       (unsigned long long)stats->violations);
	for (unsigned int i = 0; i < CVMM_VIRTQ_REPLAY_VERDICT_COUNT; i++) {
		if (i)
			fputs(", ", stdout);
		drive_print_json_string(
			stdout, cvmm_virtq_replay_verdict_name((enum cvmm_virtq_replay_verdict)i));
		printf(": %llu", (unsigned long long)stats->verdicts[i]);
	}
	fputs("}}", stdout);
}

/* Return: whether all chains ended as recorded. */
static bool report(struct replay *r)
{
	bool good = true;

	if (r->shown > DIFFERENCES_SHOWN)
		printf("and %u more\n", r->shown - DIFFERENCES_SHOWN);
	if (r->damage.code && !r->json)
		printf("damage was ignored: %s\n", r->damage.message);
	if (r->json)
		fputs("{\"queues\": [", stdout);
	for (size_t i = 0; i < r->queue_count; i++) {
		struct cvmm_virtq_replay_stats stats = cvmm_virtq_replay_stats(r->queues[i].state);

		if (r->json && i)
			fputs(", ", stdout);
		if (r->json)
			print_queue_json(&r->queues[i], &stats);
		else
			print_queue_text(&r->queues[i], &stats);
		if (stats.verdicts[CVMM_VIRTQ_REPLAY_MATCHES] != stats.chains)
			good = false;
	}
	if (r->json)
		fputs("]}\n", stdout);
	return good;
}

static void end(struct replay *r)
{
	for (size_t i = 0; i < r->queue_count; i++) {
		target_queue_stop(&r->queues[i].queue);
		cvmm_virtq_replay_destroy(r->queues[i].state);
	}
	target_close(&r->target);
	cvmm_close_fd(&r->fd);
}

/* ---- the command --------------------------------------------------------------------------------- */

/* Return: 0 if taken, -1 for a bad value, 1 if @word is no such option. */
static int take_value(struct replay *r, const char *word, char ***args)
{
	const char *value = NULL;
	uint64_t number = 0;
	int bad;

	if (drive_is_option(word, "--name", &value)) {
		r->name = drive_value(value, args);
		return r->name ? 0 : -1;
	}
	if (drive_is_option(word, "--queue", &value)) {
		bad = drive_number(drive_value(value, args), 0, CVMM_VHOST_USER_QUEUES_MAX - 1,
				   &number);
		r->wanted = (int64_t)number;
		return bad;
	}
	if (drive_is_option(word, "--queue-size", &value)) {
		bad = drive_number(drive_value(value, args), 1, CVMM_VIRTQ_DRIVER_SIZE_MAX,
				   &number);
		r->queue_size = (uint16_t)number;
		return bad;
	}
	if (drive_is_option(word, "--timeout-ms", &value)) {
		bad = drive_number(drive_value(value, args), 1, TIMEOUT_MAX_MS, &number);
		r->timeout_ms = (unsigned int)number;
		return bad;
	}
	return 1;
}

static int take_word(struct replay *r, const char *word)
{
	if (strcmp(word, "--packed") == 0)
		r->packed = true;
	else if (strcmp(word, "--timing") == 0)
		r->timing = true;
	else if (strcmp(word, "--ignore-damage") == 0)
		r->ignore_damage = true;
	else if (strcmp(word, "--json") == 0)
		r->json = true;
	else if (word[0] == '-')
		return drive_usage(&drive_replay, "unknown option %s", word);
	else if (!r->file)
		r->file = word;
	else if (!r->socket)
		r->socket = word;
	else
		return drive_usage(&drive_replay, "one TRACE and one SOCKET are enough: %s", word);
	return 0;
}

static int parse(struct replay *r, char **args)
{
	for (; *args; args++) {
		const char *word = *args;
		int bad = take_value(r, word, &args);

		if (bad < 0)
			return drive_usage(&drive_replay, "%s: a value that it can have is needed",
					   word);
		if (bad == 1)
			bad = take_word(r, word);
		if (bad)
			return bad;
	}
	if (!r->socket)
		return drive_usage(&drive_replay, "a TRACE and a SOCKET are needed");
	return 0;
}

static int set_up(struct replay *r, struct cvmm_error *err)
{
	int ret;

	r->fd = open(r->file, O_RDONLY | O_CLOEXEC);
	if (r->fd < 0)
		return cvmm_fail(err, -errno, "%s: %s", r->file, strerror(errno));
	ret = look_through(r, err);
	err->code = 0;
	return ret ? ret : start_all(r, err);
}

static int replay_main(char **args)
{
	static struct replay r = { .wanted = -1, .timeout_ms = TIMEOUT_DEFAULT_MS, .fd = -1 };
	struct cvmm_error err = { 0 };
	int ret = parse(&r, args), status = DRIVE_USAGE;

	if (ret)
		return ret;
	signal(SIGPIPE, SIG_IGN);
	ret = set_up(&r, &err);
	if (!ret)
		ret = run(&r, &err);
	if (ret)
		fprintf(stderr, "cvmm-drive replay: %s\n", err.message);
	if (ret >= 0) {
		for (size_t i = 0; i < r.queue_count; i++)
			if (!cvmm_virtq_replay_is_done(r.queues[i].state))
				cvmm_virtq_replay_give_up(r.queues[i].state);
		status = report(&r) && !ret ? DRIVE_OK : DRIVE_FINDINGS;
	}
	end(&r);
	return fflush(stdout) ? DRIVE_USAGE : status;
}

const struct drive_command drive_replay = {
	.name = "replay",
	.summary = "give the chains of a capture to a back-end again",
	.help = replay_help,
	.run = replay_main,
};
