// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: each event becomes one block of a pcap-ng file, which is put together in a buffer
 * of the trace and goes to the sink in one piece. The buffer belongs to the queue's thread; only
 * the sink is shared, and locked.
 *
 * What a device wrote has to be copied before the chain is given back, when it is not yet known that
 * this works. So a used record is held in the buffer until then. The one other event that can come
 * between is a violation, whose record is short and is put together on the stack.
 *
 * Times are those of the monotonic clock, moved to the date that it was when the capture began: a clock
 * that is set does not disturb their order.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "virtq_trace_internal.h"

#define PACKET_AT (BLOCK_HEAD_BYTES + PACKET_BYTES) /* in its block */
#define DATA_AT (PACKET_AT + CVMM_VIRTQ_TRACE_HEADER_BYTES)
#define LIST_BYTES_MAX (TRACE_PIECE_BYTES * CVMM_VIRTQ_TRACE_PIECES_MAX)

/* A record without list and data. */
#define SHORT_BLOCK_BYTES (DATA_AT + BLOCK_TAIL_BYTES)

/* The blocks that begin a file and a queue; longest is an interface with its options. */
#define SMALL_BLOCK_MAX 128U

_Static_assert(BLOCK_HEAD_BYTES + INTERFACE_BYTES + OPTION_HEAD_BYTES + CVMM_VIRTQ_TRACE_NAME_MAX +
			       OPTION_HEAD_BYTES + BLOCK_ALIGN + OPTION_HEAD_BYTES +
			       BLOCK_TAIL_BYTES <=
		       SMALL_BLOCK_MAX,
	       "an interface's block fits");

static const char application[] = "cvmm";

/**
 * struct cvmm_virtq_capture - one file
 * @lock: one block at a time; also for @interfaces
 * @interfaces: described in the file
 * @error: what the sink failed with, as an atomic; set under @lock
 * @epoch_ns: to be added to the monotonic clock
 */
struct cvmm_virtq_capture {
	struct cvmm_virtq_capture_config config;
	pthread_mutex_t lock;
	uint32_t interfaces;
	int error;
	uint64_t epoch_ns;
};

/**
 * struct cvmm_virtq_trace - one queue's part of it
 * @interface: number in the file
 * @held_bytes: length of the used record's block that waits in @block; 0 for none
 * @held_cut: bytes that it leaves out
 * @stats: atomics, written by the queue's thread
 * @block: room for the longest record
 */
struct cvmm_virtq_trace {
	struct cvmm_virtq_capture *capture;
	uint16_t queue;
	uint32_t snap_bytes;
	uint32_t interface;
	uint32_t held_bytes;
	uint64_t held_cut;
	struct cvmm_virtq_trace_stats stats;
	uint8_t block[];
};

/* ---- blocks -------------------------------------------------------------------------------- */

static uint32_t align_up(uint32_t len)
{
	return (len + BLOCK_ALIGN - 1) & ~(BLOCK_ALIGN - 1);
}

/* Adds an option. Return: where the next one goes. */
static uint32_t put_option(uint8_t *block, uint32_t at, uint16_t code, const void *value,
			   uint16_t len)
{
	cvmm_put_le16(block + at, code);
	cvmm_put_le16(block + at + sizeof(uint16_t), len);
	at += OPTION_HEAD_BYTES;
	if (!len)
		return at;
	memset(block + at, 0, align_up(len));
	memcpy(block + at, value, len);
	return at + align_up(len);
}

/* Pads what lies before @at, and writes both lengths. Return: the block's length. */
static uint32_t finish_block(uint8_t *block, uint32_t at, uint32_t type)
{
	uint32_t end = align_up(at), len = end + BLOCK_TAIL_BYTES;

	memset(block + at, 0, end - at);
	cvmm_put_le32(block, type);
	cvmm_put_le32(block + sizeof(uint32_t), len);
	cvmm_put_le32(block + end, len);
	return len;
}

static uint32_t put_section(uint8_t *block)
{
	uint32_t at = BLOCK_HEAD_BYTES;

	cvmm_put_le32(block + at, BYTE_ORDER_MAGIC);
	cvmm_put_le16(block + at + 4, SECTION_MAJOR);
	cvmm_put_le16(block + at + 6, 0);
	cvmm_put_le64(block + at + 8, UINT64_MAX); /* nobody knows how long it will be */
	at += SECTION_BYTES;
	at = put_option(block, at, OPTION_SECTION_APPLICATION, application,
			sizeof(application) - 1);
	at = put_option(block, at, OPTION_END, NULL, 0);
	return finish_block(block, at, BLOCK_SECTION);
}

static uint32_t packet_bytes_max(uint32_t snap_bytes)
{
	return CVMM_VIRTQ_TRACE_HEADER_BYTES + LIST_BYTES_MAX + snap_bytes;
}

static uint32_t put_interface(uint8_t *block, const struct cvmm_virtq_trace_config *config)
{
	const uint8_t resolution = TSRESOL_NS;
	char name[CVMM_VIRTQ_TRACE_NAME_MAX + 1];
	uint32_t at = BLOCK_HEAD_BYTES;

	if (config->name)
		snprintf(name, sizeof(name), "%s", config->name);
	else
		snprintf(name, sizeof(name), "virtqueue %u", config->queue);
	cvmm_put_le16(block + at, CVMM_VIRTQ_TRACE_LINKTYPE);
	cvmm_put_le16(block + at + 2, 0);
	cvmm_put_le32(block + at + 4, packet_bytes_max(config->snap_bytes));
	at += INTERFACE_BYTES;
	if (*name)
		at = put_option(block, at, OPTION_INTERFACE_NAME, name, (uint16_t)strlen(name));
	at = put_option(block, at, OPTION_INTERFACE_TSRESOL, &resolution, sizeof(resolution));
	at = put_option(block, at, OPTION_END, NULL, 0);
	return finish_block(block, at, BLOCK_INTERFACE);
}

/* ---- the sink ------------------------------------------------------------------------------ */

/* Under the lock. Return: 0, or what the sink failed with, now or earlier. */
static int emit(struct cvmm_virtq_capture *capture, const uint8_t *block, uint32_t len)
{
	const struct cvmm_virtq_capture_config *c = &capture->config;
	int ret = __atomic_load_n(&capture->error, __ATOMIC_RELAXED);

	if (ret)
		return ret;
	ret = c->write ? c->write(c->ctx, block, len) : cvmm_write_full(c->fd, block, len);
	if (ret > 0)
		ret = -EIO;
	if (ret)
		__atomic_store_n(&capture->error, ret, __ATOMIC_RELAXED);
	return ret;
}

static uint64_t now_ns(const struct cvmm_virtq_capture *capture)
{
	if (capture->config.now_ns)
		return capture->config.now_ns(capture->config.ctx);
	return capture->epoch_ns + cvmm_clock_ns();
}

/* One writer, any readers. */
static void count(uint64_t *counter, uint64_t more)
{
	__atomic_store_n(counter, *counter + more, __ATOMIC_RELAXED);
}

/* Whether there is any use in putting a record together; counts it as lost if not. */
static bool is_on(struct cvmm_virtq_trace *trace)
{
	if (!__atomic_load_n(&trace->capture->error, __ATOMIC_RELAXED))
		return true;
	count(&trace->stats.lost, 1);
	return false;
}

static void emit_record(struct cvmm_virtq_trace *trace, const uint8_t *block, uint32_t len,
			uint64_t cut)
{
	int ret;

	pthread_mutex_lock(&trace->capture->lock);
	ret = emit(trace->capture, block, len);
	pthread_mutex_unlock(&trace->capture->lock);
	if (ret) {
		count(&trace->stats.lost, 1);
		return;
	}
	count(&trace->stats.records, 1);
	count(&trace->stats.cut_bytes, cut);
}

/* ---- life ---------------------------------------------------------------------------------- */

int cvmm_virtq_capture_create(const struct cvmm_virtq_capture_config *config,
			      struct cvmm_virtq_capture **ret_capture, struct cvmm_error *err)
{
	struct cvmm_virtq_capture *capture = malloc(sizeof(*capture));
	uint8_t block[SMALL_BLOCK_MAX];
	struct timespec date;
	int ret;

	if (!capture)
		return cvmm_fail(err, -ENOMEM, "virtqueue capture: no memory");
	*capture = (struct cvmm_virtq_capture){ .config = *config };
	clock_gettime(CLOCK_REALTIME, &date);
	capture->epoch_ns =
		(uint64_t)date.tv_sec * CVMM_NS_PER_S + (uint64_t)date.tv_nsec - cvmm_clock_ns();
	ret = -pthread_mutex_init(&capture->lock, NULL);
	if (ret) {
		free(capture);
		return cvmm_fail(err, ret, "virtqueue capture: no lock");
	}
	ret = emit(capture, block, put_section(block));
	if (ret) {
		cvmm_virtq_capture_destroy(capture);
		return cvmm_fail(err, ret, "virtqueue capture: cannot write the file's header: %s",
				 strerror(-ret));
	}
	*ret_capture = capture;
	return 0;
}

void cvmm_virtq_capture_destroy(struct cvmm_virtq_capture *capture)
{
	if (!capture)
		return;
	pthread_mutex_destroy(&capture->lock);
	free(capture);
}

int cvmm_virtq_capture_error(const struct cvmm_virtq_capture *capture)
{
	return __atomic_load_n(&capture->error, __ATOMIC_RELAXED);
}

int cvmm_virtq_trace_create(struct cvmm_virtq_capture *capture,
			    const struct cvmm_virtq_trace_config *config,
			    struct cvmm_virtq_trace **ret_trace, struct cvmm_error *err)
{
	struct cvmm_virtq_trace *trace;
	uint8_t block[SMALL_BLOCK_MAX];
	int ret;

	if (config->snap_bytes > CVMM_VIRTQ_TRACE_SNAP_MAX)
		return cvmm_fail(err, -EINVAL,
				 "virtqueue trace: %u bytes of each chain are more than %u",
				 config->snap_bytes, CVMM_VIRTQ_TRACE_SNAP_MAX);
	trace = malloc(sizeof(*trace) + PACKET_AT + align_up(packet_bytes_max(config->snap_bytes)) +
		       BLOCK_TAIL_BYTES);
	if (!trace)
		return cvmm_fail(err, -ENOMEM, "virtqueue trace: no memory");
	*trace = (struct cvmm_virtq_trace){
		.capture = capture,
		.queue = config->queue,
		.snap_bytes = config->snap_bytes,
	};
	pthread_mutex_lock(&capture->lock);
	ret = emit(capture, block, put_interface(block, config));
	if (!ret)
		trace->interface = capture->interfaces++;
	pthread_mutex_unlock(&capture->lock);
	if (ret) {
		free(trace);
		return cvmm_fail(err, ret, "virtqueue trace: cannot write to the capture: %s",
				 strerror(-ret));
	}
	*ret_trace = trace;
	return 0;
}

void cvmm_virtq_trace_destroy(struct cvmm_virtq_trace *trace)
{
	free(trace);
}

struct cvmm_virtq_trace_stats cvmm_virtq_trace_stats(const struct cvmm_virtq_trace *trace)
{
	return (struct cvmm_virtq_trace_stats){
		.records = __atomic_load_n(&trace->stats.records, __ATOMIC_RELAXED),
		.lost = __atomic_load_n(&trace->stats.lost, __ATOMIC_RELAXED),
		.cut_bytes = __atomic_load_n(&trace->stats.cut_bytes, __ATOMIC_RELAXED),
	};
}

void cvmm_virtq_set_trace(struct cvmm_virtq *vq, struct cvmm_virtq_trace *trace)
{
	vq->trace = trace;
	vq->extras = (uint8_t)((vq->extras & ~VIRTQ_EXTRA_TRACE) | (trace ? VIRTQ_EXTRA_TRACE : 0));
}

/* ---- records ------------------------------------------------------------------------------- */

/* Begins a record: all fields of the header are 0 but these. */
static void put_header(const struct cvmm_virtq *vq, uint8_t *block, enum cvmm_virtq_trace_kind kind,
		       uint16_t head)
{
	uint8_t *header = block + PACKET_AT;

	memset(header, 0, CVMM_VIRTQ_TRACE_HEADER_BYTES);
	header[TRACE_AT_VERSION] = CVMM_VIRTQ_TRACE_VERSION;
	header[TRACE_AT_KIND] = (uint8_t)kind;
	header[TRACE_AT_FLAGS] = vq->flags & VIRTQ_PACKED ? CVMM_VIRTQ_TRACE_F_PACKED : 0;
	cvmm_put_le16(header + TRACE_AT_QUEUE, vq->trace->queue);
	cvmm_put_le16(header + TRACE_AT_HEAD, head);
}

static void put_chain(uint8_t *block, const struct cvmm_virtq_chain *chain)
{
	uint8_t *header = block + PACKET_AT;

	cvmm_put_le16(header + TRACE_AT_READABLE_COUNT, chain->readable_count);
	cvmm_put_le16(header + TRACE_AT_WRITABLE_COUNT, chain->writable_count);
	cvmm_put_le32(header + TRACE_AT_READABLE_BYTES, chain->readable_bytes);
	cvmm_put_le32(header + TRACE_AT_WRITABLE_BYTES, chain->writable_bytes);
}

/* Lists the pieces, unless there are too many. Return: bytes of the list. */
static uint32_t put_pieces(uint8_t *block, const struct cvmm_virtq_chain *chain)
{
	uint32_t pieces = (uint32_t)chain->readable_count + chain->writable_count;

	if (pieces > CVMM_VIRTQ_TRACE_PIECES_MAX)
		return 0;
	cvmm_put_le16(block + PACKET_AT + TRACE_AT_LISTED, (uint16_t)pieces);
	/* The writable pieces lie behind the readable ones. */
	for (uint32_t i = 0; i < pieces; i++)
		cvmm_put_le32(block + DATA_AT + i * TRACE_PIECE_BYTES,
			      (uint32_t)chain->readable[i].iov_len);
	return pieces * TRACE_PIECE_BYTES;
}

/* Copies the first of @bytes bytes behind what is @list_bytes long. Return: how many. */
static uint32_t put_data(const struct cvmm_virtq_trace *trace, uint8_t *block, uint32_t list_bytes,
			 const struct iovec *iov, size_t pieces, uint32_t bytes)
{
	uint32_t most = bytes < trace->snap_bytes ? bytes : trace->snap_bytes, snapped;

	snapped = (uint32_t)cvmm_iov_copy_from(iov, pieces, 0, block + DATA_AT + list_bytes, most);
	cvmm_put_le32(block + PACKET_AT + TRACE_AT_SNAPPED_BYTES, snapped);
	return snapped;
}

/*
 * Completes the block of a packet that has @stored bytes behind the header, and would have @whole if
 * nothing had been cut. Return: the block's length.
 */
static uint32_t finish_packet(const struct cvmm_virtq_trace *trace, uint8_t *block, uint32_t stored,
			      uint64_t whole)
{
	uint64_t time_ns = now_ns(trace->capture);
	uint64_t original = CVMM_VIRTQ_TRACE_HEADER_BYTES + whole;
	uint8_t *body = block + BLOCK_HEAD_BYTES;

	cvmm_put_le32(body, trace->interface);
	cvmm_put_le32(body + 4, (uint32_t)(time_ns >> 32));
	cvmm_put_le32(body + 8, (uint32_t)time_ns);
	cvmm_put_le32(body + 12, CVMM_VIRTQ_TRACE_HEADER_BYTES + stored);
	cvmm_put_le32(body + 16, original > UINT32_MAX ? UINT32_MAX : (uint32_t)original);
	return finish_block(block, DATA_AT + stored, BLOCK_PACKET);
}

void cvmm_virtq_trace_available(struct cvmm_virtq *vq, const struct cvmm_virtq_chain *chain)
{
	struct cvmm_virtq_trace *trace = vq->trace;
	uint32_t list_bytes, snapped, len;

	if (!is_on(trace))
		return;
	trace->held_bytes = 0;
	put_header(vq, trace->block, CVMM_VIRTQ_TRACE_AVAILABLE, chain->head);
	put_chain(trace->block, chain);
	list_bytes = put_pieces(trace->block, chain);
	snapped = put_data(trace, trace->block, list_bytes, chain->readable, chain->readable_count,
			   chain->readable_bytes);
	len = finish_packet(trace, trace->block, list_bytes + snapped,
			    (uint64_t)list_bytes + chain->readable_bytes);
	emit_record(trace, trace->block, len, chain->readable_bytes - snapped);
}

void cvmm_virtq_trace_used_hold(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
				const struct cvmm_virtq_chain *chain)
{
	struct cvmm_virtq_trace *trace = vq->trace;
	uint32_t snapped = 0;

	trace->held_bytes = 0;
	if (!is_on(trace))
		return;
	put_header(vq, trace->block, CVMM_VIRTQ_TRACE_USED, used->head);
	cvmm_put_le32(trace->block + PACKET_AT + TRACE_AT_WRITTEN_BYTES, used->len_bytes);
	if (chain) {
		put_chain(trace->block, chain);
		snapped = put_data(trace, trace->block, 0, chain->writable, chain->writable_count,
				   used->len_bytes);
	}
	trace->held_bytes = finish_packet(trace, trace->block, snapped, used->len_bytes);
	trace->held_cut = used->len_bytes - snapped;
}

void cvmm_virtq_trace_used_release(struct cvmm_virtq *vq)
{
	struct cvmm_virtq_trace *trace = vq->trace;

	if (trace->held_bytes)
		emit_record(trace, trace->block, trace->held_bytes, trace->held_cut);
	trace->held_bytes = 0;
}

void cvmm_virtq_trace_used_batch(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
				 size_t used_count)
{
	for (size_t i = 0; i < used_count; i++) {
		cvmm_virtq_trace_used_hold(vq, &used[i], NULL);
		cvmm_virtq_trace_used_release(vq);
	}
}

/* A record that has no data, and leaves the one that is held alone. */
static void short_record(struct cvmm_virtq *vq, enum cvmm_virtq_trace_kind kind, uint16_t head,
			 uint8_t violation, uint8_t flags)
{
	uint8_t block[SHORT_BLOCK_BYTES];
	uint32_t len;

	if (!is_on(vq->trace))
		return;
	put_header(vq, block, kind, head);
	block[PACKET_AT + TRACE_AT_VIOLATION] = violation;
	block[PACKET_AT + TRACE_AT_FLAGS] |= flags;
	len = finish_packet(vq->trace, block, 0, 0);
	emit_record(vq->trace, block, len, 0);
}

void cvmm_virtq_trace_rewound(struct cvmm_virtq *vq, uint16_t head)
{
	short_record(vq, CVMM_VIRTQ_TRACE_REWOUND, head, 0, 0);
}

void cvmm_virtq_trace_violation(struct cvmm_virtq *vq, enum cvmm_virtq_violation violation,
				bool broke)
{
	short_record(vq, CVMM_VIRTQ_TRACE_VIOLATION, CVMM_VIRTQ_TRACE_HEAD_NONE, (uint8_t)violation,
		     broke ? CVMM_VIRTQ_TRACE_F_BROKEN : 0);
}
