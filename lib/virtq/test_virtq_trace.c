// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Captures of a small device, and their replay: against the same device, and against others. Then
 * files that no capture ever wrote.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include <cvmm/mem_iommu.h>

#include "test_driver.h"
#include "virtq_trace_internal.h"

#define FILE_MAX (1U << 20)
#define RING_SIZE 8U
#define RINGS UINT64_C(0)
#define BUFFERS TEST_DATA
#define BUFFERS_BYTES UINT64_C(0x10000)
#define IOV_MAX_TEST 64U
#define START_NS UINT64_C(1000000000000000007)
#define STEP_NS UINT64_C(1000)
#define QUEUE 3U
#define SNAP_ALL 4096U
#define RESULTS_MAX 512U

/* ---- a sink, and a clock ------------------------------------------------------------------- */

struct sink {
	uint8_t bytes[FILE_MAX];
	size_t len;
	size_t fails_at; /* from so many bytes on; 0: never */
	unsigned int writes;
	uint64_t ticks;
};

static int sink_write(void *ctx, const void *bytes, size_t len)
{
	struct sink *sink = ctx;

	sink->writes++;
	if (sink->fails_at && sink->len + len > sink->fails_at)
		return -ENOSPC;
	assert_true(len <= FILE_MAX - sink->len);
	memcpy(sink->bytes + sink->len, bytes, len);
	sink->len += len;
	return 0;
}

static uint64_t sink_now(void *ctx)
{
	struct sink *sink = ctx;

	return START_NS + STEP_NS * __atomic_fetch_add(&sink->ticks, 1, __ATOMIC_RELAXED);
}

/* ---- both sides of a queue ----------------------------------------------------------------- */

enum answer {
	ANSWER_ECHO,	      /* what was read, plus 1, in as much of it as there is room for */
	ANSWER_WRONG_BYTE,    /* the third one */
	ANSWER_SHORT,	      /* one byte less */
	ANSWER_WITHOUT_CHAIN, /* plain push */
	ANSWER_BATCHES,	      /* of two */
	ANSWER_NOT_SECOND,    /* the second chain stays */
	ANSWER_BACKWARDS,     /* the newest first */
};

struct world {
	struct cvmm_mem *mem;
	struct cvmm_virtq vq;
	struct cvmm_virtq_driver drv;
	struct sink *sink;
	struct cvmm_virtq_capture *capture;
	struct cvmm_virtq_trace *trace;
	enum answer answer;
	unsigned int popped;
	unsigned int added;
	struct cvmm_virtq_replay *replay;
	struct cvmm_virtq_replay_result results[RESULTS_MAX];
	size_t result_count;
	uint64_t due_ns;
};

static void world_start(struct world *w, bool packed, bool in_order, uint16_t table_entries)
{
	struct cvmm_virtq_driver_config drv = {
		.size = RING_SIZE,
		.packed = packed,
		.in_order = in_order,
		.indirect = table_entries,
		.table_entries = table_entries,
	};
	struct cvmm_virtq_config config = {
		.size = RING_SIZE,
		.packed = packed,
		.in_order = in_order,
		.indirect = table_entries,
	};
	uint64_t bytes;

	CVMM_BUG_ON(cvmm_virtq_driver_layout(&drv, cvmm_gpa_from(RINGS), &bytes));
	CVMM_BUG_ON(cvmm_virtq_driver_init(&w->drv, w->mem, &drv, NULL));
	config.desc = drv.desc;
	config.avail = drv.driver_area;
	config.used = drv.device_area;
	CVMM_BUG_ON(cvmm_virtq_start(&w->vq, w->mem, &config, NULL));
	w->popped = 0;
}

static void world_stop(struct world *w)
{
	cvmm_virtq_stop(&w->vq);
	cvmm_virtq_driver_fini(&w->drv);
}

static struct world *world_create(bool packed)
{
	struct world *w = calloc(1, sizeof(*w));

	CVMM_BUG_ON(!w);
	w->sink = calloc(1, sizeof(*w->sink));
	w->mem = test_mem_create();
	CVMM_BUG_ON(!w->sink || cvmm_virtq_init(&w->vq, RING_SIZE));
	world_start(w, packed, false, 0);
	return w;
}

/* Another guest, whose memory no other has: test_mem_create() has some that all share. */
static struct world *world_create_apart(void)
{
	const struct cvmm_mem_config config = {
		.len_bytes = TEST_RAM_END,
		.kind = CVMM_MEM_ANONYMOUS,
		.access = CVMM_ACCESS_READ_WRITE,
	};
	struct world *w = calloc(1, sizeof(*w));

	CVMM_BUG_ON(!w || cvmm_mem_create(&config, 1, &w->mem, NULL));
	CVMM_BUG_ON(cvmm_virtq_init(&w->vq, RING_SIZE));
	world_start(w, false, false, 0);
	return w;
}

static void world_capture(struct world *w, uint32_t snap_bytes)
{
	const struct cvmm_virtq_capture_config config = {
		.write = sink_write,
		.now_ns = sink_now,
		.ctx = w->sink,
	};
	const struct cvmm_virtq_trace_config trace = {
		.name = "echo0",
		.queue = QUEUE,
		.snap_bytes = snap_bytes,
	};

	assert_int_equal(cvmm_virtq_capture_create(&config, &w->capture, NULL), 0);
	assert_int_equal(cvmm_virtq_trace_create(w->capture, &trace, &w->trace, NULL), 0);
	cvmm_virtq_set_trace(&w->vq, w->trace);
}

static void world_capture_end(struct world *w)
{
	cvmm_virtq_set_trace(&w->vq, NULL);
	cvmm_virtq_trace_destroy(w->trace);
	cvmm_virtq_capture_destroy(w->capture);
	w->trace = NULL;
	w->capture = NULL;
}

static void world_destroy(struct world *w)
{
	cvmm_virtq_replay_destroy(w->replay);
	world_capture_end(w);
	world_stop(w);
	cvmm_virtq_fini(&w->vq);
	cvmm_mem_unref(w->mem);
	free(w->sink);
	free(w);
}

/* ---- the device ---------------------------------------------------------------------------- */

static uint32_t answer(const struct world *w, const struct cvmm_virtq_chain *chain)
{
	uint8_t bytes[SNAP_ALL];
	size_t n =
		cvmm_iov_copy_from(chain->readable, chain->readable_count, 0, bytes, sizeof(bytes));

	for (size_t i = 0; i < n; i++)
		bytes[i]++;
	if (w->answer == ANSWER_WRONG_BYTE && n > 2)
		bytes[2] = (uint8_t)~bytes[2];
	if (w->answer == ANSWER_SHORT && n)
		n--;
	return (uint32_t)cvmm_iov_copy_to(chain->writable, chain->writable_count, 0, bytes, n);
}

static void give_back(struct world *w, const struct cvmm_virtq_chain *chains, size_t count)
{
	struct cvmm_virtq_used used[RING_SIZE];

	for (size_t k = 0; k < count; k++) {
		size_t i = w->answer == ANSWER_BACKWARDS ? count - 1 - k : k;
		uint32_t len = answer(w, &chains[i]);

		used[i] = (struct cvmm_virtq_used){ chains[i].head, len };
		if (w->answer == ANSWER_WITHOUT_CHAIN)
			assert_int_equal(cvmm_virtq_push(&w->vq, chains[i].head, len), 0);
		else if (w->answer != ANSWER_BATCHES)
			assert_int_equal(cvmm_virtq_push_chain(&w->vq, &chains[i], len), 0);
	}
	if (w->answer == ANSWER_BATCHES)
		assert_int_equal(cvmm_virtq_push_batch(&w->vq, used, count), 0);
}

static void run_device(struct world *w)
{
	struct iovec iov[RING_SIZE][IOV_MAX_TEST];
	struct cvmm_virtq_chain chains[RING_SIZE];
	size_t count = 0;

	while (count < RING_SIZE &&
	       cvmm_virtq_pop(&w->vq, iov[count], IOV_MAX_TEST, &chains[count]) == 1)
		if (w->popped++ != 1 || w->answer != ANSWER_NOT_SECOND)
			count++;
	give_back(w, chains, count);
}

/* ---- the driver ---------------------------------------------------------------------------- */

/* A text of @len bytes in pieces of 5, and room for it in pieces of 7. */
static void add_text(struct world *w, uint32_t len, uint8_t first)
{
	struct cvmm_virtq_segment segments[32];
	uint64_t at = BUFFERS + w->added++ % RING_SIZE * TEST_PAGE;
	size_t count = 0, readable;

	for (uint32_t done = 0; done < len; done += 5) {
		uint32_t n = len - done < 5 ? len - done : 5;
		uint8_t *host = cvmm_mem_ptr(w->mem, cvmm_gpa_from(at), n, CVMM_ACCESS_WRITE);

		for (uint32_t i = 0; i < n; i++)
			host[i] = (uint8_t)(first + done + i);
		segments[count++] = (struct cvmm_virtq_segment){ { at }, n };
		at += 100;
	}
	readable = count;
	for (uint32_t done = 0; done < len; done += 7) {
		segments[count++] =
			(struct cvmm_virtq_segment){ { at }, len - done < 7 ? len - done : 7 };
		at += 100;
	}
	assert_int_equal(cvmm_virtq_driver_add(&w->drv, segments, readable, count - readable, w),
			 0);
	cvmm_virtq_driver_publish(&w->drv);
}

static void take_all(struct world *w)
{
	uint32_t len;
	void *token;

	while (cvmm_virtq_driver_take(&w->drv, &token, &len) == 1)
		;
}

/* Ten chains of 1, 4 and 7 bytes, two at a time. */
#define TEXTS 10U

static void run_texts(struct world *w)
{
	for (uint32_t i = 0; i < TEXTS; i++) {
		add_text(w, 1 + i % 3 * 3, (uint8_t)(i * 16));
		if (i % 2 || w->answer == ANSWER_WITHOUT_CHAIN) {
			run_device(w);
			take_all(w);
		}
	}
}

/* ---- reading the capture ------------------------------------------------------------------- */

static struct cvmm_virtq_trace_source source_of(const struct world *w)
{
	return (struct cvmm_virtq_trace_source){ .bytes = w->sink->bytes, .len = w->sink->len };
}

static size_t read_records(const struct world *w, struct cvmm_virtq_trace_record *records,
			   size_t max)
{
	struct cvmm_virtq_trace_source source = source_of(w);
	struct cvmm_virtq_trace_reader *reader;
	struct cvmm_error err = { 0 };
	size_t count = 0;

	assert_int_equal(cvmm_virtq_trace_reader_create(&source, &reader), 0);
	while (count < max && cvmm_virtq_trace_reader_next(reader, &records[count], &err) == 1)
		count++;
	assert_string_equal(err.message, "");
	cvmm_virtq_trace_reader_destroy(reader);
	return count;
}

/* ---- replay -------------------------------------------------------------------------------- */

static void note_result(void *ctx, const struct cvmm_virtq_replay_result *result)
{
	struct world *w = ctx;

	assert_true(w->result_count < RESULTS_MAX);
	w->results[w->result_count++] = *result;
}

static struct cvmm_virtq_replay_config replay_config(struct world *w)
{
	return (struct cvmm_virtq_replay_config){
		.source = w->sink ? source_of(w) : (struct cvmm_virtq_trace_source){ .fd = -1 },
		.queue = QUEUE,
		.drv = &w->drv,
		.mem = w->mem,
		.buffers = { BUFFERS },
		.buffers_bytes = BUFFERS_BYTES,
		.result = note_result,
		.ctx = w,
	};
}

static void replay_create(struct world *w, const struct cvmm_virtq_replay_config *config)
{
	struct cvmm_error err = { 0 };

	w->result_count = 0;
	cvmm_virtq_replay_destroy(w->replay);
	w->replay = NULL;
	if (cvmm_virtq_replay_create(config, &w->replay, &err))
		fail_msg("%s", err.message);
}

/* Until nothing moves any more. */
static void replay_run(struct world *w)
{
	struct cvmm_error err = { 0 };
	int fed, collected;

	do {
		fed = cvmm_virtq_replay_feed(w->replay, &err);
		run_device(w);
		collected = cvmm_virtq_replay_collect(w->replay, &err);
		if (fed < 0 || collected < 0)
			fail_msg("%s", err.message);
	} while (fed || collected);
}

/* Captures @w's texts, then replays them to a device that answers as @again says. */
static void capture_and_replay(struct world *w, bool packed, uint32_t snap_bytes, enum answer again)
{
	struct cvmm_virtq_replay_config config;

	world_capture(w, snap_bytes);
	run_texts(w);
	world_capture_end(w);
	world_stop(w);
	world_start(w, packed, false, 0);
	w->answer = again;
	config = replay_config(w);
	replay_create(w, &config);
	replay_run(w);
}

static void expect_all(const struct world *w, enum cvmm_virtq_replay_verdict verdict)
{
	struct cvmm_virtq_replay_stats stats = cvmm_virtq_replay_stats(w->replay);

	assert_true(cvmm_virtq_replay_is_done(w->replay));
	assert_int_equal(w->result_count, TEXTS);
	assert_int_equal(stats.chains, TEXTS);
	assert_int_equal(stats.given, TEXTS);
	assert_int_equal(stats.outstanding, 0);
	assert_int_equal(stats.orphans, 0);
	assert_int_equal(stats.verdicts[verdict], TEXTS);
	for (size_t i = 0; i < w->result_count; i++)
		assert_int_equal(w->results[i].verdict, verdict);
}

/* ---- tests of recording -------------------------------------------------------------------- */

static void the_file_begins_with_a_section_and_an_interface(void **state)
{
	/* clang-format off */
	static const uint8_t expected[] = {
		/* section header, version 1.0, length unknown, shb_userappl */
		0x0a, 0x0d, 0x0d, 0x0a, 40, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		4, 0, 4, 0, 'c', 'v', 'm', 'm', 0, 0, 0, 0, 40, 0, 0, 0,
		/* interface: USER0, packets of 32 + 1024 + 4096 bytes, if_name, if_tsresol 10^-9 */
		1, 0, 0, 0, 44, 0, 0, 0, 147, 0, 0, 0, 0x20, 0x14, 0, 0,
		2, 0, 5, 0, 'e', 'c', 'h', 'o', '0', 0, 0, 0,
		9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 44, 0, 0, 0,
	};
	/* clang-format on */
	struct world *w = world_create(false);

	(void)state;
	world_capture(w, SNAP_ALL);
	assert_int_equal(w->sink->len, sizeof(expected));
	assert_memory_equal(w->sink->bytes, expected, sizeof(expected));
	world_destroy(w);
}

static void a_chain_becomes_an_available_and_a_used_packet(void **state)
{
	/* clang-format off */
	static const uint8_t expected[] = {
		/* enhanced packet, interface 0, time, lengths: 28 + 32 + 8 + 3, padded, + 4 */
		6, 0, 0, 0, 76, 0, 0, 0, 0, 0, 0, 0, 0xb3, 0xb6, 0xe0, 0x0d, 0x07, 0, 0x64, 0xa7,
		43, 0, 0, 0, 43, 0, 0, 0,
		/* version, available, queue 3, head 0; pieces, bytes; written, snapped, listed */
		1, 1, 0, 0, 3, 0, 0, 0, 1, 0, 1, 0, 3, 0, 0, 0, 3, 0, 0, 0,
		0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0,
		/* the list, the data */
		3, 0, 0, 0, 3, 0, 0, 0, 'a', 'b', 'c', 0, 76, 0, 0, 0,
		/* used: 28 + 32 + 3, padded, + 4; 1000 ns later */
		6, 0, 0, 0, 68, 0, 0, 0, 0, 0, 0, 0, 0xb3, 0xb6, 0xe0, 0x0d, 0xef, 3, 0x64, 0xa7,
		35, 0, 0, 0, 35, 0, 0, 0,
		1, 2, 0, 0, 3, 0, 0, 0, 1, 0, 1, 0, 3, 0, 0, 0, 3, 0, 0, 0,
		3, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0,
		'b', 'c', 'd', 0, 68, 0, 0, 0,
	};
	/* clang-format on */
	struct world *w = world_create(false);
	size_t before;

	(void)state;
	world_capture(w, SNAP_ALL);
	before = w->sink->len;
	add_text(w, 3, 'a');
	run_device(w);
	assert_int_equal(w->sink->len - before, sizeof(expected));
	assert_memory_equal(w->sink->bytes + before, expected, sizeof(expected));
	world_destroy(w);
}

static void each_block_is_written_at_once(void **state)
{
	struct world *w = world_create(false);

	(void)state;
	world_capture(w, SNAP_ALL);
	run_texts(w);
	assert_int_equal(w->sink->writes, 2 + 2 * TEXTS);
	assert_int_equal(cvmm_virtq_trace_stats(w->trace).records, 2 * TEXTS);
	world_destroy(w);
}

static void what_exceeds_the_snap_length_is_counted_only(void **state)
{
	struct cvmm_virtq_trace_record records[3];
	struct world *w = world_create(false);

	(void)state;
	world_capture(w, 4);
	add_text(w, 11, 'a');
	run_device(w);
	assert_int_equal(read_records(w, records, 3), 2);
	assert_int_equal(records[0].readable_bytes, 11);
	assert_int_equal(records[0].data_bytes, 4);
	assert_memory_equal(records[0].data, "abcd", 4);
	assert_int_equal(records[1].written_bytes, 11);
	assert_int_equal(records[1].data_bytes, 4);
	assert_memory_equal(records[1].data, "bcde", 4);
	assert_int_equal(cvmm_virtq_trace_stats(w->trace).cut_bytes, 14);
	/* pcap-ng's own idea of it: captured and original length of the first packet */
	assert_int_equal(cvmm_get_le32(w->sink->bytes + records[0].offset + 20), 32 + 20 + 4);
	assert_int_equal(cvmm_get_le32(w->sink->bytes + records[0].offset + 24), 32 + 20 + 11);
	world_destroy(w);
}

static void plain_push_and_batches_have_lengths_only(void **state)
{
	struct cvmm_virtq_trace_record records[8];
	struct world *w = world_create(false);

	(void)state;
	world_capture(w, SNAP_ALL);
	w->answer = ANSWER_WITHOUT_CHAIN;
	add_text(w, 5, 'a');
	run_device(w);
	w->answer = ANSWER_BATCHES;
	add_text(w, 1, 'a');
	add_text(w, 2, 'a');
	run_device(w);
	assert_int_equal(read_records(w, records, 8), 6);
	assert_int_equal(records[1].kind, CVMM_VIRTQ_TRACE_USED);
	assert_int_equal(records[1].written_bytes, 5);
	assert_int_equal(records[1].data_bytes, 0);
	assert_int_equal(records[1].readable_count, 0);
	assert_int_equal(records[4].kind, CVMM_VIRTQ_TRACE_USED);
	assert_int_equal(records[4].written_bytes, 1);
	assert_int_equal(records[5].written_bytes, 2);
	assert_int_equal(cvmm_virtq_trace_stats(w->trace).cut_bytes, 8);
	world_destroy(w);
}

static void a_chain_of_many_pieces_is_not_listed(void **state)
{
	struct cvmm_virtq_segment segments[CVMM_VIRTQ_TRACE_PIECES_MAX + 1];
	struct iovec iov[CVMM_VIRTQ_TRACE_PIECES_MAX + 1];
	struct cvmm_virtq_trace_record records[2];
	struct world *w = world_create(false);
	struct cvmm_virtq_chain chain;

	(void)state;
	world_stop(w);
	world_start(w, false, false, CVMM_VIRTQ_TRACE_PIECES_MAX + 1);
	world_capture(w, SNAP_ALL);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(segments); i++)
		segments[i] = (struct cvmm_virtq_segment){ { BUFFERS + i * 16 }, 3 };
	for (size_t less = 0; less < 2; less++) {
		size_t count = CVMM_ARRAY_SIZE(segments) - less;

		assert_int_equal(cvmm_virtq_driver_add(&w->drv, segments, count, 0, w), 0);
		cvmm_virtq_driver_publish(&w->drv);
		assert_int_equal(cvmm_virtq_pop(&w->vq, iov, CVMM_ARRAY_SIZE(iov), &chain), 1);
	}
	assert_int_equal(read_records(w, records, 2), 2);
	assert_null(records[0].pieces);
	assert_int_equal(records[0].readable_count, CVMM_ARRAY_SIZE(segments));
	assert_int_equal(records[0].data_bytes, 3 * CVMM_ARRAY_SIZE(segments));
	assert_non_null(records[1].pieces);
	world_destroy(w);
}

static void rewinds_and_violations_are_recorded(void **state)
{
	struct cvmm_virtq_trace_record records[8];
	struct world *w = world_create(false);
	struct cvmm_virtq_chain chain;
	struct iovec iov[IOV_MAX_TEST];

	(void)state;
	world_capture(w, SNAP_ALL);
	add_text(w, 1, 'a');
	assert_int_equal(cvmm_virtq_pop(&w->vq, iov, IOV_MAX_TEST, &chain), 1);
	assert_int_equal(cvmm_virtq_rewind(&w->vq, chain.head), 0);
	run_device(w);
	add_text(w, 11, 'a');
	assert_int_equal(cvmm_virtq_pop(&w->vq, iov, 1, &chain), -EPROTO);
	assert_int_equal(cvmm_virtq_pop(&w->vq, iov, 1, &chain), -EPROTO);
	assert_int_equal(read_records(w, records, 8), 5);
	assert_int_equal(records[1].kind, CVMM_VIRTQ_TRACE_REWOUND);
	assert_int_equal(records[1].head, records[0].head);
	assert_int_equal(records[2].kind, CVMM_VIRTQ_TRACE_AVAILABLE);
	assert_int_equal(records[3].kind, CVMM_VIRTQ_TRACE_USED);
	assert_int_equal(records[4].kind, CVMM_VIRTQ_TRACE_VIOLATION);
	assert_int_equal(records[4].violation, CVMM_VIRTQ_TOO_MANY_PIECES);
	assert_int_equal(records[4].flags, CVMM_VIRTQ_TRACE_F_BROKEN);
	assert_int_equal(records[4].head, CVMM_VIRTQ_TRACE_HEAD_NONE);
	world_destroy(w);
}

static bool always(void *ctx, enum cvmm_virtq_violation violation)
{
	(void)ctx;
	(void)violation;
	return true;
}

static void a_failed_chain_is_a_violation_and_a_used_packet(void **state)
{
	struct cvmm_virtq_trace_record records[4];
	struct world *w = world_create(true);
	struct cvmm_virtq_chain chain;
	struct iovec iov;

	(void)state;
	cvmm_virtq_set_policy(&w->vq, always, NULL);
	world_capture(w, SNAP_ALL);
	add_text(w, 11, 'a');
	assert_int_equal(cvmm_virtq_pop(&w->vq, &iov, 1, &chain), 0);
	assert_int_equal(read_records(w, records, 4), 2);
	assert_int_equal(records[0].kind, CVMM_VIRTQ_TRACE_VIOLATION);
	assert_int_equal(records[0].flags, CVMM_VIRTQ_TRACE_F_PACKED);
	assert_int_equal(records[1].kind, CVMM_VIRTQ_TRACE_USED);
	assert_int_equal(records[1].written_bytes, 0);
	world_destroy(w);
}

static void a_push_that_is_refused_is_not_recorded(void **state)
{
	struct cvmm_virtq_trace_record records[4];
	struct world *w = world_create(false);
	struct iovec iov[IOV_MAX_TEST];
	struct cvmm_virtq_chain chain;
	struct cvmm_virtq_used used;

	(void)state;
	world_capture(w, SNAP_ALL);
	add_text(w, 1, 'a');
	assert_int_equal(cvmm_virtq_pop(&w->vq, iov, IOV_MAX_TEST, &chain), 1);
	used = (struct cvmm_virtq_used){ chain.head, 2 };
	assert_int_equal(cvmm_virtq_push(&w->vq, chain.head, 2), -EINVAL);
	assert_int_equal(cvmm_virtq_push_chain(&w->vq, &chain, 2), -EINVAL);
	assert_int_equal(cvmm_virtq_push_batch(&w->vq, &used, 1), -EINVAL);
	assert_int_equal(cvmm_virtq_push(&w->vq, 7, 0), -EINVAL);
	assert_int_equal(read_records(w, records, 4), 1);
	world_destroy(w);
}

/* Behind an IOMMU a push may have to be repeated: once it works, it is recorded once. */
static void a_push_that_is_repeated_is_recorded_once(void **state)
{
	struct cvmm_mem_iommu_config config = { 0 };
	struct cvmm_virtq_trace_record records[4];
	struct world *w = world_create(false);
	struct iovec iov[IOV_MAX_TEST];
	struct cvmm_virtq_chain chain;
	struct cvmm_mem *mem = NULL;
	uint64_t used;

	(void)state;
	assert_int_equal(cvmm_iotlb_create(8, &config.iotlb, NULL), 0);
	config.backing = w->mem;
	assert_int_equal(cvmm_mem_create_iommu(&config, &mem, NULL), 0);
	assert_int_equal(cvmm_iotlb_set(config.iotlb, 0, TEST_RAM_END, 0, CVMM_ACCESS_READ_WRITE),
			 0);
	assert_int_equal(cvmm_virtq_set_mem(&w->vq, mem, NULL), 0);
	used = w->drv.config.device_area.addr;
	world_capture(w, SNAP_ALL);
	add_text(w, 1, 'a');
	assert_int_equal(cvmm_virtq_pop(&w->vq, iov, IOV_MAX_TEST, &chain), 1);
	assert_int_equal(cvmm_iotlb_invalidate(config.iotlb, used, USED_RING), 0);
	assert_int_equal(cvmm_virtq_push_chain(&w->vq, &chain, 1), -EAGAIN);
	assert_int_equal(read_records(w, records, 4), 1);
	assert_int_equal(
		cvmm_iotlb_set(config.iotlb, used, USED_RING, used, CVMM_ACCESS_READ_WRITE), 0);
	assert_int_equal(cvmm_virtq_push_chain(&w->vq, &chain, 1), 0);
	assert_int_equal(read_records(w, records, 4), 2);
	assert_int_equal(records[1].kind, CVMM_VIRTQ_TRACE_USED);
	cvmm_virtq_stop(&w->vq);
	cvmm_mem_unref(mem);
	cvmm_iotlb_destroy(config.iotlb);
	world_destroy(w);
}

static void a_trace_stays_across_stop_and_start(void **state)
{
	struct cvmm_virtq_trace_record records[4];
	struct world *w = world_create(false);

	(void)state;
	world_capture(w, SNAP_ALL);
	world_stop(w);
	world_start(w, true, false, 0);
	add_text(w, 1, 'a');
	run_device(w);
	assert_int_equal(read_records(w, records, 4), 2);
	assert_int_equal(records[1].flags, CVMM_VIRTQ_TRACE_F_PACKED);
	world_destroy(w);
}

static void a_trace_taken_away_records_nothing(void **state)
{
	struct world *w = world_create(false);
	size_t before;

	(void)state;
	world_capture(w, SNAP_ALL);
	cvmm_virtq_set_trace(&w->vq, NULL);
	before = w->sink->len;
	run_texts(w);
	assert_int_equal(w->sink->len, before);
	world_stop(w);
	world_start(w, false, false, 0);
	run_texts(w);
	assert_int_equal(w->sink->len, before);
	world_destroy(w);
}

static void a_sink_that_fails_ends_the_capture_and_not_the_queue(void **state)
{
	struct cvmm_virtq_trace_stats stats;
	struct world *w = world_create(false);
	unsigned int writes;

	(void)state;
	world_capture(w, SNAP_ALL);
	w->sink->fails_at = w->sink->len + 200;
	run_texts(w);
	stats = cvmm_virtq_trace_stats(w->trace);
	assert_int_equal(cvmm_virtq_capture_error(w->capture), -ENOSPC);
	assert_in_range(stats.records, 1, 3);
	assert_int_equal(stats.records + stats.lost, 2 * TEXTS);
	assert_int_equal(w->popped, TEXTS);
	writes = w->sink->writes;
	w->sink->fails_at = 0;
	run_texts(w);
	assert_int_equal(w->sink->writes, writes);
	assert_int_equal(cvmm_virtq_violation(&w->vq), CVMM_VIRTQ_OK);
	world_destroy(w);
}

static void a_sink_that_fails_at_once_is_an_error(void **state)
{
	struct sink *sink = calloc(1, sizeof(*sink));
	const struct cvmm_virtq_capture_config config = { .write = sink_write, .ctx = sink };
	const struct cvmm_virtq_trace_config trace_config = { .snap_bytes = 1 };
	struct cvmm_virtq_capture *capture = NULL;
	struct cvmm_virtq_trace *trace = NULL;
	struct cvmm_error err = { 0 };

	(void)state;
	assert_non_null(sink);
	sink->fails_at = 1;
	assert_int_equal(cvmm_virtq_capture_create(&config, &capture, &err), -ENOSPC);
	assert_null(capture);
	assert_string_not_equal(err.message, "");
	sink->fails_at = 50;
	assert_int_equal(cvmm_virtq_capture_create(&config, &capture, &err), 0);
	assert_int_equal(cvmm_virtq_trace_create(capture, &trace_config, &trace, &err), -ENOSPC);
	assert_null(trace);
	cvmm_virtq_capture_destroy(capture);
	free(sink);
}

static void too_long_a_snap_length_is_refused(void **state)
{
	struct world *w = world_create(false);
	struct cvmm_virtq_trace_config config = { .snap_bytes = CVMM_VIRTQ_TRACE_SNAP_MAX + 1 };
	struct cvmm_virtq_trace *trace = NULL;

	(void)state;
	world_capture(w, CVMM_VIRTQ_TRACE_SNAP_MAX);
	assert_int_equal(cvmm_virtq_trace_create(w->capture, &config, &trace, NULL), -EINVAL);
	assert_null(trace);
	world_destroy(w);
}

static void queues_share_a_file_and_are_told_apart_by_name(void **state)
{
	const struct cvmm_virtq_trace_config configs[] = { { .name = "other" }, { .queue = 7 } };
	struct cvmm_virtq_trace *traces[2];
	struct cvmm_virtq_replay_config replay;
	struct world *w = world_create(false);

	(void)state;
	world_capture(w, SNAP_ALL);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(cvmm_virtq_trace_create(w->capture, &configs[i], &traces[i], NULL),
				 0);
	cvmm_virtq_set_trace(&w->vq, traces[0]);
	run_texts(w);
	cvmm_virtq_set_trace(&w->vq, traces[1]);
	add_text(w, 1, 'a');
	run_device(w);
	take_all(w);
	replay = replay_config(w);
	replay.queue = 0;
	replay_create(w, &replay);
	assert_int_equal(cvmm_virtq_replay_stats(w->replay).chains, TEXTS);
	replay.source.name = "echo0";
	replay_create(w, &replay);
	assert_int_equal(cvmm_virtq_replay_stats(w->replay).chains, 0);
	replay.source.name = "virtqueue 7";
	replay.queue = 7;
	replay_create(w, &replay);
	assert_int_equal(cvmm_virtq_replay_stats(w->replay).chains, 1);
	cvmm_virtq_set_trace(&w->vq, w->trace);
	cvmm_virtq_trace_destroy(traces[0]);
	cvmm_virtq_trace_destroy(traces[1]);
	world_destroy(w);
}

static int open_temporary(FILE **ret_stream)
{
	*ret_stream = tmpfile();
	assert_non_null(*ret_stream);
	return fileno(*ret_stream);
}

static void a_capture_in_a_file_can_be_replayed_from_there(void **state)
{
	struct cvmm_virtq_capture_config capture = { 0 };
	struct cvmm_virtq_trace_config trace = { .queue = QUEUE, .snap_bytes = SNAP_ALL };
	struct world *w = world_create(false);
	struct cvmm_virtq_replay_config config;
	FILE *stream;

	(void)state;
	capture.fd = open_temporary(&stream);
	assert_int_equal(cvmm_virtq_capture_create(&capture, &w->capture, NULL), 0);
	assert_int_equal(cvmm_virtq_trace_create(w->capture, &trace, &w->trace, NULL), 0);
	cvmm_virtq_set_trace(&w->vq, w->trace);
	run_texts(w);
	world_capture_end(w);
	config = replay_config(w);
	config.source = (struct cvmm_virtq_trace_source){ .fd = capture.fd };
	replay_create(w, &config);
	replay_run(w);
	expect_all(w, CVMM_VIRTQ_REPLAY_MATCHES);
	/* A file that is cut while it is replayed. */
	replay_create(w, &config);
	assert_int_equal(ftruncate(capture.fd, 200), 0);
	assert_true(cvmm_virtq_replay_feed(w->replay, NULL) < 0);
	fclose(stream);
	world_destroy(w);
}

static bool is_installed(const char *program)
{
	char command[100];

	snprintf(command, sizeof(command), "command -v %s >/dev/null 2>&1", program);
	return !system(command);
}

static void wireshark_counts_the_same_packets(void **state)
{
	char path[] = "/tmp/test_virtq_trace.XXXXXX", command[200];
	const char *count = "tshark -r %s 2>/dev/null | wc -l";
	struct world *w;
	FILE *stream;
	unsigned int packets = 0;
	int fd;

	(void)state;
	if (!is_installed("tshark")) {
		count = "capinfos -rTMc %s 2>/dev/null | cut -f 2";
		if (!is_installed("capinfos")) {
			print_message("neither tshark nor capinfos is installed\n");
			skip();
		}
	}
	w = world_create(false);
	world_capture(w, SNAP_ALL);
	run_texts(w);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(cvmm_write_full(fd, w->sink->bytes, w->sink->len), 0);
	close(fd);
	/* The format is one of the two above. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(command, sizeof(command), count, path);
#pragma GCC diagnostic pop
	stream = popen(command, "r");
	assert_non_null(stream);
	assert_int_equal(fscanf(stream, "%u", &packets), 1);
	pclose(stream);
	unlink(path);
	assert_int_equal(packets, 2 * TEXTS);
	world_destroy(w);
}

static void *run_many_texts(void *arg)
{
	for (unsigned int i = 0; i < 20; i++)
		run_texts(arg);
	return NULL;
}

/* Whole blocks, whoever writes them. The sink itself knows nothing of threads. */
static void queues_of_several_threads_share_a_capture(void **state)
{
	const struct cvmm_virtq_trace_config configs[] = {
		{ .name = "a", .queue = QUEUE, .snap_bytes = SNAP_ALL },
		{ .name = "b", .queue = QUEUE, .snap_bytes = SNAP_ALL },
	};
	struct cvmm_virtq_trace *traces[2];
	struct world *w[2], *owner;
	pthread_t threads[2];

	(void)state;
	owner = world_create(false);
	world_capture(owner, 0);
	for (size_t i = 0; i < 2; i++) {
		w[i] = world_create_apart();
		assert_int_equal(
			cvmm_virtq_trace_create(owner->capture, &configs[i], &traces[i], NULL), 0);
		cvmm_virtq_set_trace(&w[i]->vq, traces[i]);
	}
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run_many_texts, w[i]), 0);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (size_t i = 0; i < 2; i++) {
		struct cvmm_virtq_replay_config config = replay_config(w[i]);

		cvmm_virtq_set_trace(&w[i]->vq, NULL);
		cvmm_virtq_trace_destroy(traces[i]);
		config.source = source_of(owner);
		config.source.name = configs[i].name;
		replay_create(w[i], &config);
		replay_run(w[i]);
		assert_true(cvmm_virtq_replay_is_done(w[i]->replay));
		assert_int_equal(
			cvmm_virtq_replay_stats(w[i]->replay).verdicts[CVMM_VIRTQ_REPLAY_MATCHES],
			20 * TEXTS);
		world_destroy(w[i]);
	}
	world_destroy(owner);
}

/* ---- tests of replay ----------------------------------------------------------------------- */

static void replay_to_the_same_device_matches(bool packed)
{
	struct world *w = world_create(packed);

	capture_and_replay(w, packed, SNAP_ALL, ANSWER_ECHO);
	expect_all(w, CVMM_VIRTQ_REPLAY_MATCHES);
	for (size_t i = 0; i < TEXTS; i++)
		assert_int_equal(w->results[i].compared_bytes, w->results[i].recorded_bytes);
	world_destroy(w);
}

static void replay_to_the_same_split_device_matches(void **state)
{
	(void)state;
	replay_to_the_same_device_matches(false);
}

static void replay_to_the_same_packed_device_matches(void **state)
{
	(void)state;
	replay_to_the_same_device_matches(true);
}

static void a_split_capture_replays_on_a_packed_ring_with_tables(void **state)
{
	struct cvmm_virtq_replay_config config;
	struct world *w = world_create(false);

	(void)state;
	world_capture(w, SNAP_ALL);
	run_texts(w);
	world_capture_end(w);
	world_stop(w);
	world_start(w, true, true, 32);
	config = replay_config(w);
	replay_create(w, &config);
	/* One entry for each chain: a whole ring of them at once. */
	assert_int_equal(cvmm_virtq_replay_feed(w->replay, NULL), RING_SIZE);
	run_device(w);
	assert_int_equal(cvmm_virtq_replay_collect(w->replay, NULL), RING_SIZE);
	replay_run(w);
	expect_all(w, CVMM_VIRTQ_REPLAY_MATCHES);
	world_destroy(w);
}

/* The replay of a replay is the same file but for times: pieces and data come through exactly. */
static void capturing_a_replay_gives_the_same_records(void **state)
{
	struct cvmm_virtq_replay_config config;
	struct world *w = world_create(false);
	struct sink *first;

	(void)state;
	world_capture(w, SNAP_ALL);
	w->answer = ANSWER_WITHOUT_CHAIN; /* one at a time, so that the heads are the same */
	run_texts(w);
	world_capture_end(w);
	world_stop(w);
	first = w->sink;
	w->sink = calloc(1, sizeof(*w->sink));
	assert_non_null(w->sink);
	world_start(w, false, false, 0);
	world_capture(w, SNAP_ALL);
	config = replay_config(w);
	config.source =
		(struct cvmm_virtq_trace_source){ .bytes = first->bytes, .len = first->len };
	config.buffers_bytes = CVMM_VIRTQ_REPLAY_ALIGN; /* one at a time here, too */
	replay_create(w, &config);
	replay_run(w);
	expect_all(w, CVMM_VIRTQ_REPLAY_MATCHES);
	assert_int_equal(w->sink->len, first->len);
	assert_memory_equal(w->sink->bytes, first->bytes, first->len);
	free(first);
	world_destroy(w);
}

static void a_different_byte_is_reported_with_its_place(void **state)
{
	struct world *w = world_create(false);

	(void)state;
	capture_and_replay(w, false, SNAP_ALL, ANSWER_WRONG_BYTE);
	assert_int_equal(w->result_count, TEXTS);
	for (size_t i = 0; i < TEXTS; i++) {
		bool is_long = w->results[i].used_bytes > 2;

		assert_int_equal(w->results[i].verdict, is_long ? CVMM_VIRTQ_REPLAY_BYTES_DIFFER
								: CVMM_VIRTQ_REPLAY_MATCHES);
		if (is_long)
			assert_int_equal(w->results[i].first_difference, 2);
	}
	world_destroy(w);
}

static void a_different_length_is_reported(void **state)
{
	struct world *w = world_create(true);

	(void)state;
	capture_and_replay(w, true, SNAP_ALL, ANSWER_SHORT);
	expect_all(w, CVMM_VIRTQ_REPLAY_LENGTH_DIFFERS);
	assert_int_equal(w->results[1].recorded_bytes, 4);
	assert_int_equal(w->results[1].used_bytes, 3);
	assert_int_equal(w->results[1].compared_bytes, 3);
	assert_int_equal(w->results[1].first_difference, 3);
	assert_string_equal(cvmm_virtq_replay_verdict_name(w->results[1].verdict),
			    "used length differs");
	world_destroy(w);
}

static void without_bytes_only_lengths_are_compared(void **state)
{
	struct world *w = world_create(false);

	(void)state;
	capture_and_replay(w, false, 0, ANSWER_WRONG_BYTE);
	expect_all(w, CVMM_VIRTQ_REPLAY_MATCHES);
	assert_int_equal(w->results[1].compared_bytes, 0);
	world_destroy(w);
}

static void cut_readable_data_is_filled_with_zeroes(void **state)
{
	struct cvmm_virtq_replay_config config;
	struct world *w = world_create(false);
	struct iovec iov[IOV_MAX_TEST];
	struct cvmm_virtq_chain chain;
	uint8_t bytes[13];

	(void)state;
	world_capture(w, 7);
	add_text(w, 13, 'a');
	run_device(w);
	take_all(w);
	world_capture_end(w);
	memset(cvmm_mem_ptr(w->mem, cvmm_gpa_from(BUFFERS), BUFFERS_BYTES, CVMM_ACCESS_WRITE), 0xff,
	       BUFFERS_BYTES);
	config = replay_config(w);
	replay_create(w, &config);
	assert_int_equal(cvmm_virtq_replay_feed(w->replay, NULL), 1);
	assert_int_equal(cvmm_virtq_pop(&w->vq, iov, IOV_MAX_TEST, &chain), 1);
	assert_int_equal(chain.readable_count, 3);
	assert_int_equal(chain.readable[2].iov_len, 3);
	assert_int_equal(chain.writable_count, 2);
	assert_int_equal(cvmm_iov_copy_from(chain.readable, 3, 0, bytes, 13), 13);
	assert_memory_equal(bytes, "abcdefg\0\0\0\0\0\0", 13);
	assert_int_equal(cvmm_iov_copy_from(chain.writable, 2, 0, bytes, 13), 13);
	assert_memory_equal(bytes, "\0\0\0\0\0\0\0\0\0\0\0\0\0", 13);
	world_destroy(w);
}

static void answers_in_another_order_are_matched_all_the_same(void **state)
{
	struct world *w = world_create(true);

	(void)state;
	capture_and_replay(w, true, SNAP_ALL, ANSWER_BACKWARDS);
	expect_all(w, CVMM_VIRTQ_REPLAY_MATCHES);
	assert_true(w->results[0].number != 0);
	world_destroy(w);
}

static void in_order_chains_are_recorded_as_the_device_gives_them_back(void **state)
{
	struct cvmm_virtq_trace_record records[4];
	struct cvmm_virtq_replay_config config;
	struct world *w = world_create(false);

	(void)state;
	world_stop(w);
	world_start(w, true, true, 0);
	world_capture(w, SNAP_ALL);
	w->answer = ANSWER_BACKWARDS;
	run_texts(w);
	assert_int_equal(read_records(w, records, 4), 4);
	assert_int_equal(records[2].head, records[1].head);
	assert_int_equal(records[3].head, records[0].head);
	assert_int_equal(records[3].data_bytes, records[0].readable_bytes);
	world_capture_end(w);
	config = replay_config(w);
	replay_create(w, &config);
	replay_run(w);
	expect_all(w, CVMM_VIRTQ_REPLAY_MATCHES);
	world_destroy(w);
}

static void a_chain_that_is_not_answered_is_reported_at_the_end(void **state)
{
	struct world *w = world_create(false);

	(void)state;
	capture_and_replay(w, false, SNAP_ALL, ANSWER_NOT_SECOND);
	assert_int_equal(w->result_count, TEXTS - 1);
	assert_false(cvmm_virtq_replay_is_done(w->replay));
	cvmm_virtq_replay_give_up(w->replay);
	assert_int_equal(w->result_count, TEXTS);
	assert_int_equal(w->results[TEXTS - 1].verdict, CVMM_VIRTQ_REPLAY_NOT_ANSWERED);
	assert_int_equal(w->results[TEXTS - 1].number, 1);
	assert_int_equal(cvmm_virtq_replay_feed(w->replay, NULL), 0);
	assert_int_equal(cvmm_virtq_replay_collect(w->replay, NULL), 0);
	world_destroy(w);
}

static void a_chain_that_was_not_answered_in_the_recording(void **state)
{
	struct world *w = world_create(false);

	(void)state;
	w->answer = ANSWER_NOT_SECOND;
	capture_and_replay(w, false, SNAP_ALL, ANSWER_ECHO);
	assert_int_equal(
		cvmm_virtq_replay_stats(w->replay).verdicts[CVMM_VIRTQ_REPLAY_NOT_RECORDED], 1);
	assert_true(cvmm_virtq_replay_is_done(w->replay));
	world_destroy(w);
}

static void rewound_chains_are_replayed_once(void **state)
{
	struct cvmm_virtq_replay_config config;
	struct world *w = world_create(false);
	struct cvmm_virtq_chain chain;
	struct iovec iov[IOV_MAX_TEST];

	(void)state;
	world_capture(w, SNAP_ALL);
	for (unsigned int i = 0; i < 3; i++) {
		add_text(w, 3, 'a');
		assert_int_equal(cvmm_virtq_pop(&w->vq, iov, IOV_MAX_TEST, &chain), 1);
		assert_int_equal(cvmm_virtq_rewind(&w->vq, chain.head), 0);
		run_device(w);
		take_all(w);
	}
	world_capture_end(w);
	config = replay_config(w);
	replay_create(w, &config);
	assert_int_equal(cvmm_virtq_replay_stats(w->replay).chains, 3);
	replay_run(w);
	assert_int_equal(cvmm_virtq_replay_stats(w->replay).verdicts[CVMM_VIRTQ_REPLAY_MATCHES], 3);
	world_destroy(w);
}

static void a_chain_that_cannot_fit_is_reported_and_passed_over(void **state)
{
	const struct cvmm_virtq_segment segment = { { BUFFERS }, 1024 };
	struct cvmm_virtq_replay_config config;
	struct world *w = world_create(false);

	(void)state;
	world_capture(w, SNAP_ALL);
	assert_int_equal(cvmm_virtq_driver_add(&w->drv, &segment, 1, 0, w), 0);
	add_text(w, 1, 'a');
	run_device(w);
	take_all(w);
	world_capture_end(w);
	config = replay_config(w);
	config.buffers_bytes = 512;
	replay_create(w, &config);
	replay_run(w);
	assert_true(cvmm_virtq_replay_is_done(w->replay));
	assert_int_equal(w->result_count, 2);
	assert_int_equal(w->results[0].verdict, CVMM_VIRTQ_REPLAY_DOES_NOT_FIT);
	assert_int_equal(w->results[1].verdict, CVMM_VIRTQ_REPLAY_MATCHES);
	world_destroy(w);
}

static void a_chain_without_bytes_is_replayed(void **state)
{
	const struct cvmm_virtq_segment segment = { { BUFFERS }, 0 };
	struct cvmm_virtq_replay_config config;
	struct world *w = world_create(false);

	(void)state;
	world_capture(w, SNAP_ALL);
	assert_int_equal(cvmm_virtq_driver_add(&w->drv, &segment, 0, 1, w), 0);
	cvmm_virtq_driver_publish(&w->drv);
	run_device(w);
	take_all(w);
	world_capture_end(w);
	config = replay_config(w);
	replay_create(w, &config);
	replay_run(w);
	assert_int_equal(w->result_count, 1);
	assert_int_equal(w->results[0].verdict, CVMM_VIRTQ_REPLAY_MATCHES);
	world_destroy(w);
}

static bool is_due(void *ctx, uint64_t since_ns)
{
	return since_ns <= ((struct world *)ctx)->due_ns;
}

static void with_original_timing_chains_wait_until_they_are_due(void **state)
{
	struct cvmm_virtq_replay_config config;
	struct world *w = world_create(false);
	uint64_t due_ns = 0;
	unsigned int steps = 0;

	(void)state;
	world_capture(w, SNAP_ALL);
	run_texts(w);
	world_capture_end(w);
	config = replay_config(w);
	config.is_due = is_due;
	replay_create(w, &config);
	while (cvmm_virtq_replay_next_due(w->replay, &due_ns)) {
		w->due_ns = due_ns;
		assert_int_equal(cvmm_virtq_replay_feed(w->replay, NULL), 1);
		assert_int_equal(cvmm_virtq_replay_feed(w->replay, NULL), 0);
		run_device(w);
		assert_int_equal(cvmm_virtq_replay_collect(w->replay, NULL), 1);
		steps++;
	}
	assert_int_equal(steps, TEXTS);
	/* Two at a time, four events, and the clock ticks for each. */
	assert_int_equal(due_ns, (4 * (TEXTS / 2 - 1) + 1) * STEP_NS);
	expect_all(w, CVMM_VIRTQ_REPLAY_MATCHES);
	world_destroy(w);
}

static void a_device_that_breaks_the_rules_is_an_error(void **state)
{
	struct cvmm_virtq_replay_config config;
	struct world *w = world_create(false);
	struct cvmm_error err = { 0 };

	(void)state;
	world_capture(w, SNAP_ALL);
	run_texts(w);
	world_capture_end(w);
	config = replay_config(w);
	replay_create(w, &config);
	assert_true(cvmm_virtq_replay_feed(w->replay, &err) > 0);
	/* A used index from nowhere. */
	cvmm_put_le16(w->drv.device_area + USED_IDX, 0x4321);
	assert_int_equal(cvmm_virtq_replay_collect(w->replay, &err), -EPROTO);
	assert_non_null(strstr(err.message, "used index"));
	assert_int_equal(cvmm_virtq_replay_feed(w->replay, &err), -EPROTO);
	world_destroy(w);
}

static void bad_configurations_are_refused(void **state)
{
	struct cvmm_virtq_replay_config good, bad;
	struct cvmm_virtq_replay *replay = NULL;
	struct world *w = world_create(false);
	struct cvmm_error err = { 0 };

	(void)state;
	world_capture(w, SNAP_ALL);
	good = replay_config(w);
	bad = good;
	bad.buffers.addr++;
	assert_int_equal(cvmm_virtq_replay_create(&bad, &replay, &err), -EINVAL);
	bad = good;
	bad.buffers_bytes = 511;
	assert_int_equal(cvmm_virtq_replay_create(&bad, &replay, &err), -EINVAL);
	bad = good;
	bad.buffers_bytes = UINT64_MAX;
	assert_int_equal(cvmm_virtq_replay_create(&bad, &replay, &err), -EINVAL);
	bad = good;
	bad.buffers.addr = TEST_ROM;
	bad.buffers_bytes = 512;
	assert_int_equal(cvmm_virtq_replay_create(&bad, &replay, &err), -EINVAL);
	add_text(w, 1, 'a');
	assert_int_equal(cvmm_virtq_replay_create(&good, &replay, &err), -EINVAL);
	assert_null(replay);
	world_destroy(w);
}

/* ---- hostile files ------------------------------------------------------------------------- */

/* Reads a file. Return: the code that reading ended with. */
static int read_source(const struct cvmm_virtq_trace_source *source, unsigned int *ret_records,
		       struct cvmm_error *err)
{
	struct cvmm_virtq_trace_record record;
	struct cvmm_virtq_trace_reader *reader;
	volatile uint8_t sum = 0;
	int ret;

	CVMM_BUG_ON(cvmm_virtq_trace_reader_create(source, &reader));
	*ret_records = 0;
	while ((ret = cvmm_virtq_trace_reader_next(reader, &record, err)) == 1) {
		++*ret_records;
		for (uint32_t i = 0; i < record.data_bytes; i++)
			sum = (uint8_t)(sum + record.data[i]);
	}
	/* It fails once and for all. */
	assert_int_equal(cvmm_virtq_trace_reader_next(reader, &record, NULL), ret);
	cvmm_virtq_trace_reader_destroy(reader);
	return ret;
}

/* Reads a file from an exact heap copy. */
static int read_all(const uint8_t *bytes, size_t len, unsigned int *ret_records,
		    struct cvmm_error *err)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct cvmm_virtq_trace_source source = { .bytes = copy, .len = len };
	int ret;

	CVMM_BUG_ON(!copy);
	memcpy(copy, bytes, len);
	ret = read_source(&source, ret_records, err);
	free(copy);
	return ret;
}

static void a_file_cut_anywhere_ends_with_the_records_before(void **state)
{
	struct world *w = world_create(false);
	struct cvmm_virtq_trace_record records[2 * TEXTS];
	size_t total;

	(void)state;
	world_capture(w, SNAP_ALL);
	run_texts(w);
	total = read_records(w, records, 2 * TEXTS);
	assert_int_equal(total, 2 * TEXTS);
	for (size_t len = 0; len < w->sink->len; len++) {
		struct cvmm_error err = { 0 };
		unsigned int count, whole = 0;
		int ret = read_all(w->sink->bytes, len, &count, &err);

		while (whole < total &&
		       records[whole].offset +
				       cvmm_get_le32(w->sink->bytes + records[whole].offset + 4) <=
			       len)
			whole++;
		assert_int_equal(count, whole);
		assert_true(ret == 0 || ret == -ENODATA);
		assert_int_equal(ret, err.code);
		assert_true(!ret || strstr(err.message, "at offset "));
	}
	world_destroy(w);
}

static void a_descriptor_reads_like_memory_wherever_it_ends(void **state)
{
	struct world *w = world_create(false);
	struct cvmm_virtq_trace_source source = { 0 };
	FILE *stream;

	(void)state;
	world_capture(w, SNAP_ALL);
	run_texts(w);
	source.fd = open_temporary(&stream);
	assert_int_equal(cvmm_write_full(source.fd, w->sink->bytes, w->sink->len), 0);
	for (size_t len = w->sink->len + 1; len--;) {
		struct cvmm_error errs[2] = { 0 };
		unsigned int counts[2];

		assert_int_equal(ftruncate(source.fd, (off_t)len), 0);
		assert_int_equal(read_source(&source, &counts[0], &errs[0]),
				 read_all(w->sink->bytes, len, &counts[1], &errs[1]));
		assert_int_equal(counts[0], counts[1]);
		assert_string_equal(errs[0].message, errs[1].message);
	}
	fclose(stream);
	source.fd = -1;
	assert_int_equal(read_source(&source, &(unsigned int){ 0 }, NULL), -EBADF);
	world_destroy(w);
}

static void damage_at_the_end_can_be_ignored(void **state)
{
	struct cvmm_virtq_replay_config config;
	struct cvmm_virtq_replay *replay = NULL;
	struct world *w = world_create(false);
	struct cvmm_error err = { 0 };

	(void)state;
	world_capture(w, SNAP_ALL);
	run_texts(w);
	world_capture_end(w);
	config = replay_config(w);
	config.source.len--;
	assert_int_equal(cvmm_virtq_replay_create(&config, &replay, &err), -ENODATA);
	assert_null(replay);
	config.ignore_damage = true;
	assert_int_equal(cvmm_virtq_replay_create(&config, &w->replay, &err), 0);
	assert_int_equal(err.code, -ENODATA);
	replay_run(w);
	assert_int_equal(cvmm_virtq_replay_stats(w->replay).verdicts[CVMM_VIRTQ_REPLAY_MATCHES],
			 TEXTS - 1);
	assert_int_equal(
		cvmm_virtq_replay_stats(w->replay).verdicts[CVMM_VIRTQ_REPLAY_NOT_RECORDED], 1);
	/* But something else is no capture at all. */
	config.source = (struct cvmm_virtq_trace_source){ .bytes = "something else", .len = 14 };
	assert_int_equal(cvmm_virtq_replay_create(&config, &replay, &err), -EBADMSG);
	world_destroy(w);
}

/* One number of the file is changed: what it is, and what must be said about it. */
struct lie {
	size_t record; /* its number, or NO_RECORD for the file */
	size_t at;
	size_t width;
	uint32_t value;
	int code;
	const char *message;
};

#define NO_RECORD SIZE_MAX
#define IN_PACKET 28U

static const struct lie lies[] = {
	{ NO_RECORD, 0, 4, 1, -EBADMSG, "not a pcap-ng file" },
	{ NO_RECORD, 4, 4, 0xfffffffc, -EBADMSG, "too long" },
	{ NO_RECORD, 4, 4, 12, -EBADMSG, "two lengths" },
	{ NO_RECORD, 8, 4, 0x4d3c2b1a, -ENOTSUP, "big-endian" },
	{ NO_RECORD, 8, 4, 0, -EBADMSG, "no byte order" },
	{ NO_RECORD, 12, 2, 2, -ENOTSUP, "unknown version" },
	{ NO_RECORD, 44, 4, 0, -EBADMSG, "impossible length" },
	{ NO_RECORD, 44, 4, 45, -EBADMSG, "impossible length" },
	{ NO_RECORD, 58, 2, 100, -EBADMSG, "option is longer" },
	{ NO_RECORD, 70, 2, 2, -EBADMSG, "not one byte" },
	{ NO_RECORD, 72, 1, 0x89, -ENOTSUP, "unknown resolution" },
	{ NO_RECORD, 72, 1, 20, -ENOTSUP, "unknown resolution" },
	{ 0, 8, 4, 1, -EBADMSG, "interface is not described" },
	{ 0, 20, 4, 1000, -EBADMSG, "longer than its block" },
	{ 0, 20, 4, 0xffffffff, -EBADMSG, "longer than its block" },
	{ 0, 20, 4, 31, -EBADMSG, "shorter than its header" },
	{ 0, IN_PACKET + TRACE_AT_VERSION, 1, 2, -ENOTSUP, "unknown version" },
	{ 0, IN_PACKET + TRACE_AT_KIND, 1, 0, -EBADMSG, "unknown kind" },
	{ 0, IN_PACKET + TRACE_AT_KIND, 1, 5, -EBADMSG, "unknown kind" },
	{ 0, IN_PACKET + TRACE_AT_KIND, 1, 2, -EBADMSG, "list of pieces" },
	{ 0, IN_PACKET + TRACE_AT_READABLE_COUNT, 2, 0, -EBADMSG, "cannot have" },
	{ 0, IN_PACKET + TRACE_AT_READABLE_COUNT, 2, 2, -EBADMSG, "cannot have" },
	{ 0, IN_PACKET + TRACE_AT_READABLE_COUNT, 2, 0xffff, -EBADMSG, "too many pieces" },
	{ 0, IN_PACKET + TRACE_AT_WRITABLE_BYTES, 4, 2, -EBADMSG, "add up" },
	{ 0, IN_PACKET + TRACE_AT_READABLE_BYTES, 4, 0, -EBADMSG, "cannot have" },
	{ 2, IN_PACKET + TRACE_AT_WRITABLE_BYTES, 4, 0xffffffff, -EBADMSG, "too many bytes" },
	{ 0, IN_PACKET + TRACE_AT_SNAPPED_BYTES, 4, 2, -EBADMSG, "than the chain has" },
	{ 0, IN_PACKET + TRACE_AT_SNAPPED_BYTES, 4, 0, -EBADMSG, "than the header says" },
	{ 0, IN_PACKET + TRACE_AT_LISTED, 2, 1, -EBADMSG, "list of pieces" },
	{ 0, IN_PACKET + TRACE_AT_LISTED, 2, 0xffff, -EBADMSG, "list of pieces" },
	{ 0, IN_PACKET + 32, 4, 0, -EBADMSG, "a piece is empty" },
	{ 0, IN_PACKET + 32, 4, 2, -EBADMSG, "add up" },
	{ 1, IN_PACKET + TRACE_AT_WRITTEN_BYTES, 4, 0, -EBADMSG, "than the chain has" },
};

static void each_lie_is_called_by_its_name_and_place(void **state)
{
	struct cvmm_virtq_trace_record records[3];
	struct world *w = world_create(false);
	struct sink *saved = malloc(sizeof(*saved));

	(void)state;
	assert_non_null(saved);
	world_capture(w, SNAP_ALL);
	for (unsigned int i = 0; i < 3; i++) {
		add_text(w, 1 + 2 * i, 'a');
		run_device(w);
	}
	assert_int_equal(read_records(w, records, 3), 3);
	*saved = *w->sink;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(lies); i++) {
		const struct lie *lie = &lies[i];
		struct cvmm_error err = { 0 };
		char place[64];
		uint64_t offset = lie->record == NO_RECORD ? 0 : records[lie->record].offset;
		unsigned int count;
		uint8_t value[4];

		*w->sink = *saved;
		cvmm_put_le32(value, lie->value);
		memcpy(w->sink->bytes + offset + lie->at, value, lie->width);
		if (lie->record == NO_RECORD && lie->at >= 40)
			offset = 40; /* the interface */
		snprintf(place, sizeof(place), "at offset %llu:", (unsigned long long)offset);
		if (read_all(w->sink->bytes, w->sink->len, &count, &err) != lie->code ||
		    !strstr(err.message, lie->message) || !strstr(err.message, place))
			fail_msg("lie %zu: %d, %s", i, err.code, err.message);
	}
	free(saved);
	world_destroy(w);
}

/* As a tool that cuts packets leaves it. */
static void a_packet_may_be_cut_by_other_tools(void **state)
{
	struct cvmm_virtq_trace_record records[2], cut[2];
	struct world *w = world_create(false);
	uint8_t *block;

	(void)state;
	world_capture(w, SNAP_ALL);
	add_text(w, 3, 'a');
	run_device(w);
	assert_int_equal(read_records(w, records, 2), 2);
	block = w->sink->bytes + records[0].offset;
	cvmm_put_le32(block + 20, 32 + 8 + 1);
	assert_int_equal(read_records(w, cut, 2), 2);
	assert_int_equal(cut[0].data_bytes, 1);
	assert_non_null(cut[0].pieces);
	cvmm_put_le32(block + 20, 32 + 7);
	assert_int_equal(read_records(w, cut, 2), 2);
	assert_int_equal(cut[0].data_bytes, 0);
	assert_null(cut[0].pieces);
	world_destroy(w);
}

static void blocks_of_other_kinds_are_skipped(void **state)
{
	static const uint8_t other[] = { 0xad, 0x0b, 0, 0, 16, 0, 0, 0, 1, 2, 3, 4, 16, 0, 0, 0 };
	/* An interface of link type 1, and a packet on it. */
	static const uint8_t ethernet[] = { 1, 0, 0, 0,	 20, 0, 0, 0, 1, 0,  0, 0,  0,
					    0, 0, 0, 20, 0,  0, 0, 6, 0, 0,  0, 32, 0,
					    0, 0, 1, 0,	 0,  0, 0, 0, 0, 0,  0, 0,  0,
					    0, 0, 0, 0,	 0,  0, 0, 0, 0, 32, 0, 0,  0 };
	struct cvmm_virtq_trace_record records[3];
	struct world *w = world_create(false);

	(void)state;
	world_capture(w, SNAP_ALL);
	sink_write(w->sink, other, sizeof(other));
	sink_write(w->sink, ethernet, sizeof(ethernet));
	add_text(w, 3, 'a');
	run_device(w);
	assert_int_equal(read_records(w, records, 3), 2);
	world_destroy(w);
}

static void times_of_other_resolutions_become_nanoseconds(void **state)
{
	struct cvmm_virtq_trace_record records[1];
	struct world *w = world_create(false);

	(void)state;
	world_capture(w, SNAP_ALL);
	add_text(w, 3, 'a');
	run_device(w);
	read_records(w, records, 1);
	assert_int_equal(records[0].time_ns, START_NS);
	w->sink->bytes[72] = 10;
	read_records(w, records, 1);
	assert_int_equal(records[0].time_ns, START_NS / 10);
	w->sink->bytes[72] = 8;
	read_records(w, records, 1);
	assert_int_equal(records[0].time_ns, START_NS * 10);
	w->sink->bytes[72] = 6;
	read_records(w, records, 1);
	assert_true(records[0].time_ns == UINT64_MAX);
	world_destroy(w);
}

static void mutate(struct sink *sink, uint64_t *random)
{
	static const uint32_t interesting[] = {
		0, 1, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff
	};

	for (uint32_t i = 0, n = 1 + test_below(random, 4); i < n; i++) {
		size_t at = test_below(random, (uint32_t)sink->len - 4);

		if (test_below(random, 2))
			sink->bytes[at] = (uint8_t)test_random(random);
		else
			cvmm_put_le32(
				sink->bytes + (at & ~(size_t)3),
				interesting[test_below(random, CVMM_ARRAY_SIZE(interesting))]);
	}
	if (!test_below(random, 8))
		sink->len = test_below(random, (uint32_t)sink->len);
}

/* Plays a file that may be nonsense, in an exact heap copy. Return: whether it began at all. */
static bool play_nonsense(struct world *w, const struct sink *file)
{
	struct cvmm_virtq_replay_config config = replay_config(w);
	uint8_t *copy = malloc(file->len + 1);
	bool began;

	CVMM_BUG_ON(!copy);
	memcpy(copy, file->bytes, file->len);
	config.source = (struct cvmm_virtq_trace_source){ .bytes = copy, .len = file->len };
	config.ignore_damage = true;
	w->result_count = 0;
	began = !cvmm_virtq_replay_create(&config, &w->replay, NULL);
	if (began) {
		replay_run(w);
		assert_true(cvmm_virtq_replay_is_done(w->replay));
		assert_int_equal(w->result_count, cvmm_virtq_replay_stats(w->replay).chains);
	}
	cvmm_virtq_replay_destroy(w->replay);
	w->replay = NULL;
	free(copy);
	return began;
}

static void nonsense_of_any_kind_does_no_harm(void **state)
{
	struct sink *mutated = malloc(sizeof(*mutated));
	struct world *w = world_create(true);
	uint64_t random = 0x1234567;
	unsigned int began = 0;

	(void)state;
	assert_non_null(mutated);
	world_capture(w, SNAP_ALL);
	run_texts(w);
	world_capture_end(w);
	world_stop(w);
	world_start(w, true, false, 16);
	for (unsigned int i = 0; i < 3000; i++) {
		memcpy(mutated->bytes, w->sink->bytes, w->sink->len);
		mutated->len = w->sink->len;
		mutate(mutated, &random);
		began += play_nonsense(w, mutated);
	}
	assert_true(began > 1000);
	free(mutated);
	world_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_file_begins_with_a_section_and_an_interface),
		cmocka_unit_test(a_chain_becomes_an_available_and_a_used_packet),
		cmocka_unit_test(each_block_is_written_at_once),
		cmocka_unit_test(what_exceeds_the_snap_length_is_counted_only),
		cmocka_unit_test(plain_push_and_batches_have_lengths_only),
		cmocka_unit_test(a_chain_of_many_pieces_is_not_listed),
		cmocka_unit_test(rewinds_and_violations_are_recorded),
		cmocka_unit_test(a_failed_chain_is_a_violation_and_a_used_packet),
		cmocka_unit_test(a_push_that_is_refused_is_not_recorded),
		cmocka_unit_test(a_push_that_is_repeated_is_recorded_once),
		cmocka_unit_test(a_trace_stays_across_stop_and_start),
		cmocka_unit_test(a_trace_taken_away_records_nothing),
		cmocka_unit_test(a_sink_that_fails_ends_the_capture_and_not_the_queue),
		cmocka_unit_test(a_sink_that_fails_at_once_is_an_error),
		cmocka_unit_test(too_long_a_snap_length_is_refused),
		cmocka_unit_test(queues_share_a_file_and_are_told_apart_by_name),
		cmocka_unit_test(a_capture_in_a_file_can_be_replayed_from_there),
		cmocka_unit_test(wireshark_counts_the_same_packets),
		cmocka_unit_test(queues_of_several_threads_share_a_capture),
		cmocka_unit_test(replay_to_the_same_split_device_matches),
		cmocka_unit_test(replay_to_the_same_packed_device_matches),
		cmocka_unit_test(a_split_capture_replays_on_a_packed_ring_with_tables),
		cmocka_unit_test(capturing_a_replay_gives_the_same_records),
		cmocka_unit_test(a_different_byte_is_reported_with_its_place),
		cmocka_unit_test(a_different_length_is_reported),
		cmocka_unit_test(without_bytes_only_lengths_are_compared),
		cmocka_unit_test(cut_readable_data_is_filled_with_zeroes),
		cmocka_unit_test(answers_in_another_order_are_matched_all_the_same),
		cmocka_unit_test(in_order_chains_are_recorded_as_the_device_gives_them_back),
		cmocka_unit_test(a_chain_that_is_not_answered_is_reported_at_the_end),
		cmocka_unit_test(a_chain_that_was_not_answered_in_the_recording),
		cmocka_unit_test(rewound_chains_are_replayed_once),
		cmocka_unit_test(a_chain_that_cannot_fit_is_reported_and_passed_over),
		cmocka_unit_test(a_chain_without_bytes_is_replayed),
		cmocka_unit_test(with_original_timing_chains_wait_until_they_are_due),
		cmocka_unit_test(a_device_that_breaks_the_rules_is_an_error),
		cmocka_unit_test(bad_configurations_are_refused),
		cmocka_unit_test(a_file_cut_anywhere_ends_with_the_records_before),
		cmocka_unit_test(a_descriptor_reads_like_memory_wherever_it_ends),
		cmocka_unit_test(damage_at_the_end_can_be_ignored),
		cmocka_unit_test(each_lie_is_called_by_its_name_and_place),
		cmocka_unit_test(a_packet_may_be_cut_by_other_tools),
		cmocka_unit_test(blocks_of_other_kinds_are_skipped),
		cmocka_unit_test(times_of_other_resolutions_become_nanoseconds),
		cmocka_unit_test(nonsense_of_any_kind_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
