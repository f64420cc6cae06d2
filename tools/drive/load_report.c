// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* cvmm-drive load: what came of it. */
#include "load.h"

#define BAR_WIDTH 50U

/* Of all lanes. */
struct total {
	uint64_t completed;
	uint64_t bytes;
	uint64_t received;
	uint64_t failed;
	uint64_t odd_lengths;
	uint64_t kicks;
	uint64_t wakes;
	double seconds;
	struct histogram latency;
};

static const struct {
	const char *name;
	double share;
} percentiles[] = {
	{ "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p99.9", 0.999 }, { "p99.99", 0.9999 },
};

static void add_up(const struct load *load, struct total *t)
{
	*t = (struct total){ .seconds = (double)(load->ended_ns - load->begun_ns) /
					(double)CVMM_NS_PER_S };
	for (unsigned int i = 0; i < load->options.queues; i++) {
		const struct load_lane *lane = &load->lanes[i];

		t->completed += lane->completed;
		t->bytes += lane->bytes;
		t->received += lane->received;
		t->failed += lane->failed;
		t->odd_lengths += lane->odd_lengths;
		t->kicks += lane->queue.kicks + lane->companion.kicks;
		t->wakes += lane->wakes;
		histogram_merge(&t->latency, &lane->latency);
	}
}

static double each(uint64_t count, const struct total *t)
{
	return t->completed ? (double)count / (double)t->completed : 0;
}

static double mean_us(const struct total *t)
{
	return t->completed ? (double)t->latency.sum / (double)t->completed / 1000 : 0;
}

/* ---- text ---------------------------------------------------------------------------------------- */

static void print_histogram(const struct histogram *h, FILE *out)
{
	uint64_t powers[64] = { 0 }, most = 1;

	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t last = histogram_end(i) - 1;

		powers[last ? 63 - __builtin_clzll(last) : 0] += h->buckets[i];
	}
	for (unsigned int i = 0; i < 64; i++)
		most = powers[i] > most ? powers[i] : most;
	for (unsigned int i = 0; i < 64; i++) {
		unsigned int width = (unsigned int)(powers[i] * BAR_WIDTH / most);

		if (!powers[i])
			continue;
		fprintf(out, "  %10.1f us  %6.2f%%  ", (double)(UINT64_C(1) << i) / 1000,
			100 * (double)powers[i] / (double)h->count);
		for (unsigned int k = 0; k < width; k++)
			putc('#', out);
		putc('\n', out);
	}
}

static void print_text(const struct load *load, const struct total *t, FILE *out)
{
	const struct load_options *o = &load->options;

	fprintf(out, "%s: %s%s%u bytes, %u queue%s of %u, depth %u, %s%s%s%s\n", o->kind->name,
		o->kind == &load_blk ? load_access_name(o->access) : "",
		o->kind == &load_blk ? ", " : "", o->block_bytes, o->queues,
		o->queues == 1 ? "" : "s", load->queue_size, o->depth,
		o->packed ? "packed" : "split",
		target_has(&load->target, CVMM_VIRTIO_F_EVENT_IDX) ? ", event-idx" : "",
		target_has(&load->target, CVMM_VIRTIO_F_INDIRECT_DESC) ? ", indirect" : "",
		o->poll ? ", polled" : "");
	fprintf(out, "requests  %llu in %.2f s: %.0f/s, %.1f MiB/s; %llu failed\n",
		(unsigned long long)t->completed, t->seconds, (double)t->completed / t->seconds,
		(double)t->bytes / t->seconds / (1 << 20), (unsigned long long)t->failed);
	if (t->odd_lengths)
		fprintf(out, "          %llu came with another used length than was written\n",
			(unsigned long long)t->odd_lengths);
	if (o->kind->companion)
		fprintf(out, "received  %llu\n", (unsigned long long)t->received);
	fprintf(out, "latency   mean %.1f us, min %.1f", mean_us(t), (double)t->latency.min / 1000);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(percentiles); i++)
		fprintf(out, ", %s %.1f", percentiles[i].name,
			(double)histogram_percentile(&t->latency, percentiles[i].share) / 1000);
	fprintf(out, ", max %.1f\n", (double)t->latency.max / 1000);
	fprintf(out, "kicks     %llu, %.3f each; slept %llu times, %.3f each\n",
		(unsigned long long)t->kicks, each(t->kicks, t), (unsigned long long)t->wakes,
		each(t->wakes, t));
	print_histogram(&t->latency, out);
}

/* ---- JSON ---------------------------------------------------------------------------------------- */

static void print_json_latency(const struct total *t, FILE *out)
{
	bool first = true;

	fprintf(out, "\"latency_us\": {\"mean\": %.3f, \"min\": %.3f", mean_us(t),
		(double)t->latency.min / 1000);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(percentiles); i++)
		fprintf(out, ", \"%s\": %.3f", percentiles[i].name,
			(double)histogram_percentile(&t->latency, percentiles[i].share) / 1000);
	fprintf(out, ", \"max\": %.3f}, \"histogram\": [", (double)t->latency.max / 1000);
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		if (!t->latency.buckets[i])
			continue;
		fprintf(out, "%s[%.3f, %llu]", first ? "" : ", ", (double)histogram_end(i) / 1000,
			(unsigned long long)t->latency.buckets[i]);
		first = false;
	}
	fputs("]", out);
}

static void print_json(const struct load *load, const struct total *t, FILE *out)
{
	const struct load_options *o = &load->options;

	fprintf(out,
		"{\"device\": \"%s\", \"access\": \"%s\", \"block_bytes\": %u, \"queues\": %u, "
		"\"queue_size\": %u, \"depth\": %u, \"packed\": %s, \"event_idx\": %s, "
		"\"indirect\": %s, \"poll\": %s, ",
		o->kind->name, o->kind == &load_blk ? load_access_name(o->access) : "",
		o->block_bytes, o->queues, load->queue_size, o->depth, o->packed ? "true" : "false",
		target_has(&load->target, CVMM_VIRTIO_F_EVENT_IDX) ? "true" : "false",
		target_has(&load->target, CVMM_VIRTIO_F_INDIRECT_DESC) ? "true" : "false",
		o->poll ? "true" : "false");
	fprintf(out,
		"\"seconds\": %.3f, \"requests\": %llu, \"failed\": %llu, \"odd_lengths\": %llu, "
		"\"received\": %llu, \"bytes\": %llu, \"requests_per_s\": %.1f, "
		"\"bytes_per_s\": %.0f, \"kicks\": %llu, \"wakes\": %llu, ",
		t->seconds, (unsigned long long)t->completed, (unsigned long long)t->failed,
		(unsigned long long)t->odd_lengths, (unsigned long long)t->received,
		(unsigned long long)t->bytes, (double)t->completed / t->seconds,
		(double)t->bytes / t->seconds, (unsigned long long)t->kicks,
		(unsigned long long)t->wakes);
	print_json_latency(t, out);
	fputs("}\n", out);
}

void load_report(const struct load *load, FILE *out)
{
	static struct total t;

	add_up(load, &t);
	if (load->options.json)
		print_json(load, &t, out);
	else
		print_text(load, &t, out);
}
