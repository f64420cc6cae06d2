// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Reads the input as a capture, and replays it to a device that echoes, or answers as little as it
 * likes.
 *
 *   byte 0      form of the ring, and how the device answers
 *   the rest    the file
 */
#include <errno.h>
#include <stdlib.h>

#include <cvmm/virtq_trace.h>

#define MEM_BYTES UINT64_C(0x20000)
#define BUFFERS UINT64_C(0x10000)
#define RING_SIZE 8U
#define TABLE_ENTRIES 16U
#define IOV_MAX_FUZZ 64U
#define ROUNDS_MAX 64U
#define CHUNK 256U
#define SEED_QUEUE 3U

enum {
	FORM_PACKED = 1,
	FORM_INDIRECT = 2,
	FORM_IN_ORDER = 4,
	FORM_IGNORE_DAMAGE = 8,
	FORM_SMALL_MEMORY = 16,
	ANSWER_NOTHING = 32, /* no bytes written */
};

struct world {
	struct cvmm_virtq vq;
	struct cvmm_virtq_driver drv;
	uint64_t results;
};

static struct cvmm_mem *guest;

static void make_guest(void)
{
	struct cvmm_mem_config config = {
		.len_bytes = MEM_BYTES,
		.kind = CVMM_MEM_EXTERNAL,
		.access = CVMM_ACCESS_READ_WRITE,
		.host = aligned_alloc(4096, MEM_BYTES),
	};

	CVMM_BUG_ON(!config.host || cvmm_mem_create(&config, 1, &guest, NULL));
}

static void start(struct world *w, uint8_t form)
{
	struct cvmm_virtq_driver_config drv = {
		.size = RING_SIZE,
		.packed = form & FORM_PACKED,
		.indirect = form & FORM_INDIRECT,
		.in_order = form & FORM_IN_ORDER,
		.table_entries = TABLE_ENTRIES,
	};
	struct cvmm_virtq_config config = {
		.size = RING_SIZE,
		.packed = drv.packed,
		.indirect = drv.indirect,
		.in_order = drv.in_order,
	};
	uint64_t bytes;

	CVMM_BUG_ON(cvmm_virtq_driver_layout(&drv, cvmm_gpa_from(0), &bytes));
	CVMM_BUG_ON(bytes > BUFFERS || cvmm_virtq_driver_init(&w->drv, guest, &drv, NULL));
	config.desc = drv.desc;
	config.avail = drv.driver_area;
	config.used = drv.device_area;
	CVMM_BUG_ON(cvmm_virtq_init(&w->vq, RING_SIZE));
	CVMM_BUG_ON(cvmm_virtq_start(&w->vq, guest, &config, NULL));
}

/* The replay must never be a driver that breaks the rules. */
static void run_device(struct world *w, uint8_t form)
{
	struct iovec iov[IOV_MAX_FUZZ];
	struct cvmm_virtq_chain chain;
	int ret;

	while ((ret = cvmm_virtq_pop(&w->vq, iov, IOV_MAX_FUZZ, &chain)) == 1) {
		uint8_t bytes[CHUNK];
		size_t n = cvmm_iov_copy_from(chain.readable, chain.readable_count, 0, bytes,
					      form & ANSWER_NOTHING ? 0 : sizeof(bytes));

		n = cvmm_iov_copy_to(chain.writable, chain.writable_count, 0, bytes, n);
		CVMM_BUG_ON(cvmm_virtq_push_chain(&w->vq, &chain, (uint32_t)n));
	}
	CVMM_BUG_ON(ret);
}

static void count_result(void *ctx, const struct cvmm_virtq_replay_result *result)
{
	struct world *w = ctx;

	CVMM_BUG_ON(result->first_difference > result->compared_bytes);
	CVMM_BUG_ON(result->compared_bytes > result->used_bytes);
	w->results++;
}

static void read_all(const uint8_t *data, size_t size)
{
	struct cvmm_virtq_trace_source source = { .bytes = data, .len = size };
	struct cvmm_virtq_trace_record record;
	struct cvmm_virtq_trace_reader *reader;
	struct cvmm_error err = { 0 };
	volatile uint8_t sink = 0;
	int ret;

	CVMM_BUG_ON(cvmm_virtq_trace_reader_create(&source, &reader));
	while ((ret = cvmm_virtq_trace_reader_next(reader, &record, &err)) == 1)
		for (uint32_t i = 0; i < record.data_bytes; i++)
			sink = (uint8_t)(sink + record.data[i]);
	CVMM_BUG_ON(ret != err.code || (ret && !*err.message));
	cvmm_virtq_trace_reader_destroy(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cvmm_virtq_replay_config config = { 0 };
	struct cvmm_virtq_replay *replay = NULL;
	struct world w = { 0 };
	struct cvmm_error err;
	int moved = 1;

	if (!guest)
		make_guest();
	if (!size)
		return 0;
	read_all(data + 1, size - 1);
	start(&w, data[0]);
	config.source = (struct cvmm_virtq_trace_source){ .bytes = data + 1, .len = size - 1 };
	config.queue = SEED_QUEUE;
	config.drv = &w.drv;
	config.mem = guest;
	config.buffers = cvmm_gpa_from(BUFFERS);
	config.buffers_bytes = data[0] & FORM_SMALL_MEMORY ? 1024 : MEM_BYTES - BUFFERS;
	config.ignore_damage = data[0] & FORM_IGNORE_DAMAGE;
	config.result = count_result;
	config.ctx = &w;
	if (!cvmm_virtq_replay_create(&config, &replay, &err)) {
		for (unsigned int i = 0; i < ROUNDS_MAX && moved; i++) {
			int fed = cvmm_virtq_replay_feed(replay, &err);

			run_device(&w, data[0]);
			moved = cvmm_virtq_replay_collect(replay, &err);
			CVMM_BUG_ON(fed < 0 || moved != fed);
		}
		CVMM_BUG_ON(!moved && !cvmm_virtq_replay_is_done(replay));
		cvmm_virtq_replay_give_up(replay);
		CVMM_BUG_ON(!moved && w.results != cvmm_virtq_replay_stats(replay).chains);
	}
	cvmm_virtq_replay_destroy(replay);
	cvmm_virtq_fini(&w.vq);
	cvmm_virtq_driver_fini(&w.drv);
	return 0;
}
