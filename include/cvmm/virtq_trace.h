/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm virtq_trace: recording the chains of virtqueues, and giving a device the same ones again.
 *
 * A capture is one pcap-ng file, which Wireshark opens. A trace is one queue's part in it, and becomes
 * active with cvmm_virtq_set_trace(). The format is described in docs/virtq-trace.md.
 *
 *  - A queue without a trace pays one branch for each pop and push.
 *  - The trace reads buffers that the driver may change at any time. What it stores is what it saw, and
 *    need not be what the device saw.
 *  - What a device wrote is stored for chains given back with cvmm_virtq_push_chain() only: from
 *    cvmm_virtq_push() and cvmm_virtq_push_batch() there is a length, and nothing else.
 *  - A sink that fails ends its capture. No queue notices.
 *
 * A capture has what the guest's devices read and wrote, secrets of the guest included. Who may not
 * have these may not have the file.
 *
 * A reader and a replay trust nothing in a file.
 *
 * Unstable (0.x): names, layouts and the format may change between releases.
 */
#ifndef CVMM_VIRTQ_TRACE_H
#define CVMM_VIRTQ_TRACE_H

#include <cvmm/virtq.h>
#include <cvmm/virtq_driver.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the format ---------------------------------------------------------------------------- */

#define CVMM_VIRTQ_TRACE_VERSION 1U
#define CVMM_VIRTQ_TRACE_LINKTYPE 147U	  /* LINKTYPE_USER0 */
#define CVMM_VIRTQ_TRACE_HEADER_BYTES 32U /* in front of each packet's list and data */
#define CVMM_VIRTQ_TRACE_PIECES_MAX 256U  /* of longer chains the pieces are not listed */
#define CVMM_VIRTQ_TRACE_HEAD_NONE 0xffffU

/* So that no packet is longer than the 2^18 bytes that Wireshark takes. */
#define CVMM_VIRTQ_TRACE_SNAP_MAX \
	((1U << 18) - CVMM_VIRTQ_TRACE_HEADER_BYTES - 4U * CVMM_VIRTQ_TRACE_PIECES_MAX)

enum cvmm_virtq_trace_kind {
	CVMM_VIRTQ_TRACE_AVAILABLE = 1, /* a chain was popped; the data is what the device reads */
	CVMM_VIRTQ_TRACE_USED = 2,	/* the device gave it back; the data is what it wrote */
	CVMM_VIRTQ_TRACE_REWOUND = 3,	/* the pop was undone: the chain will come again */
	CVMM_VIRTQ_TRACE_VIOLATION = 4, /* the driver broke a rule */
};

enum cvmm_virtq_trace_flags {
	CVMM_VIRTQ_TRACE_F_PACKED = 1 << 0, /* the ring has the packed format */
	CVMM_VIRTQ_TRACE_F_BROKEN = 1
				    << 1, /* the violation broke the queue, and not just a chain */
};

/* ---- recording ----------------------------------------------------------------------------- */

struct cvmm_virtq_capture;

/**
 * struct cvmm_virtq_capture_config - where a capture goes
 * @write: takes all @len bytes, one whole block of the file; returns 0 or negative errno. Called for one
 *         block at a time. It must not use a queue that is being traced. NULL: @fd is written to.
 * @now_ns: time in nanoseconds since 1970, UTC, for all queues' threads at once; NULL: the system's
 * @ctx: for both
 * @fd: a descriptor that the caller keeps, and closes after the end of the capture; blocking, as a write
 *      that would block is a failure. A pipe without a reader raises SIGPIPE unless the program ignores
 *      it.
 */
struct cvmm_virtq_capture_config {
	int (*write)(void *ctx, const void *bytes, size_t len);
	uint64_t (*now_ns)(void *ctx);
	void *ctx;
	int fd;
};

/**
 * cvmm_virtq_capture_create() - begin a file
 *
 * Return: 0; -ENOMEM; or what the sink failed with. Owner: pair with cvmm_virtq_capture_destroy(),
 * after all traces were destroyed.
 */
CVMM_API int cvmm_virtq_capture_create(const struct cvmm_virtq_capture_config *config,
				       struct cvmm_virtq_capture **ret_capture,
				       struct cvmm_error *err);
CVMM_API void cvmm_virtq_capture_destroy(struct cvmm_virtq_capture *capture);

/* 0 while the sink works, or what it failed with: nothing is recorded any more. Any thread. */
CVMM_API int cvmm_virtq_capture_error(const struct cvmm_virtq_capture *capture);

/**
 * struct cvmm_virtq_trace_config - one queue's part of a capture
 * @name: what Wireshark shows as the interface's name, e.g. "blk0 requests"; copied, cut to
 *        CVMM_VIRTQ_TRACE_NAME_MAX bytes; NULL: "virtqueue" and the number
 * @queue: index of the queue in its device
 * @snap_bytes: of a chain's readable bytes, and of what was written to it, at most so many are stored;
 *              up to CVMM_VIRTQ_TRACE_SNAP_MAX
 */
struct cvmm_virtq_trace_config {
	const char *name;
	uint16_t queue;
	uint32_t snap_bytes;
};

#define CVMM_VIRTQ_TRACE_NAME_MAX 64

/**
 * cvmm_virtq_trace_create() - add a queue to a capture
 *
 * The only allocation. Return: 0; -EINVAL with a message; -ENOMEM; or what the sink has failed with.
 * Context: any thread; queues of several threads may share a capture.
 * Owner: pair with cvmm_virtq_trace_destroy(), after cvmm_virtq_set_trace() took it from its queue.
 */
CVMM_API int cvmm_virtq_trace_create(struct cvmm_virtq_capture *capture,
				     const struct cvmm_virtq_trace_config *config,
				     struct cvmm_virtq_trace **ret_trace, struct cvmm_error *err);
CVMM_API void cvmm_virtq_trace_destroy(struct cvmm_virtq_trace *trace);

/**
 * struct cvmm_virtq_trace_stats - what became of a queue's events
 * @records: in the file
 * @lost: not in the file, because the sink had failed
 * @cut_bytes: data that the records in the file leave out, being beyond snap_bytes or not at hand
 */
struct cvmm_virtq_trace_stats {
	uint64_t records;
	uint64_t lost;
	uint64_t cut_bytes;
};

/* Any thread. */
CVMM_API struct cvmm_virtq_trace_stats cvmm_virtq_trace_stats(const struct cvmm_virtq_trace *trace);

/*
 * Record what happens to the queue from now on; NULL ends that. Stays across stop and start. One
 * trace belongs to one queue at a time. Context: the queue's thread; pop and push then block as long as
 * the sink does.
 */
CVMM_API void cvmm_virtq_set_trace(struct cvmm_virtq *vq, struct cvmm_virtq_trace *trace);

/* ---- reading ------------------------------------------------------------------------------- */

#define CVMM_VIRTQ_TRACE_BLOCK_MAX (1U << 20) /* of the blocks that matter; others are skipped */
#define CVMM_VIRTQ_TRACE_INTERFACES_MAX 4096U

/**
 * struct cvmm_virtq_trace_source - a file to read; the file's content is not trusted
 * @bytes: @len bytes, which must stay as long as they are read; NULL: @fd
 * @fd: a regular file that the caller keeps; its position is not used. It may change meanwhile.
 * @name: only interfaces that have this name, which must stay; NULL: all
 */
struct cvmm_virtq_trace_source {
	const void *bytes;
	size_t len;
	int fd;
	const char *name;
};

/**
 * struct cvmm_virtq_trace_record - one event
 * @offset: of its block in the file
 * @time_ns: since 1970, if that fits
 * @flags: enum cvmm_virtq_trace_flags
 * @head: CVMM_VIRTQ_TRACE_HEAD_NONE for violations
 * @readable_count: pieces; 0 in used records of chains of which only the head was known
 * @written_bytes: of used records
 * @pieces: the pieces' lengths, each 4 bytes, little-endian; NULL if they are not listed
 * @data: the first @data_bytes of what there was
 *
 * Checked: the pieces add up to the bytes, none is empty, a chain is no longer than 2^32 bytes in
 * CVMM_VIRTQ_TRACE_CHAIN_PIECES_MAX pieces, and there is not more data than was read or written.
 */
struct cvmm_virtq_trace_record {
	uint64_t offset;
	uint64_t time_ns;
	enum cvmm_virtq_trace_kind kind;
	uint8_t flags;
	uint8_t violation;
	uint16_t queue;
	uint16_t head;
	uint16_t readable_count;
	uint16_t writable_count;
	uint32_t readable_bytes;
	uint32_t writable_bytes;
	uint32_t written_bytes;
	const uint8_t *pieces;
	const uint8_t *data;
	uint32_t data_bytes;
};

#define CVMM_VIRTQ_TRACE_CHAIN_PIECES_MAX 65535U

struct cvmm_virtq_trace_reader;

/* Return: 0 or -ENOMEM. Nothing is read yet. Owner: pair with cvmm_virtq_trace_reader_destroy(). */
CVMM_API int cvmm_virtq_trace_reader_create(const struct cvmm_virtq_trace_source *source,
					    struct cvmm_virtq_trace_reader **ret_reader);
CVMM_API void cvmm_virtq_trace_reader_destroy(struct cvmm_virtq_trace_reader *reader);

/**
 * cvmm_virtq_trace_reader_next() - the next record, of any queue
 * @ret_record: what it points at is valid until the next call; untouched unless 1 is returned
 * @err: says what is wrong at which offset
 *
 * Packets of other link types, and blocks of other kinds, are skipped.
 *
 * Return: 1; 0 at the end; -ENODATA if the file ends inside a block; -EBADMSG for nonsense; -ENOTSUP for
 * big-endian files, later versions and times in powers of two; -E2BIG; -ENOMEM; or what reading failed
 * with. After a failure all further calls fail alike.
 */
CVMM_API int cvmm_virtq_trace_reader_next(struct cvmm_virtq_trace_reader *reader,
					  struct cvmm_virtq_trace_record *ret_record,
					  struct cvmm_error *err);

/* ---- replay -------------------------------------------------------------------------------- */

struct cvmm_virtq_replay;

/* How a device answered, compared with the recording. */
enum cvmm_virtq_replay_verdict {
	CVMM_VIRTQ_REPLAY_MATCHES,
	CVMM_VIRTQ_REPLAY_LENGTH_DIFFERS, /* the bytes may differ as well */
	CVMM_VIRTQ_REPLAY_BYTES_DIFFER,
	CVMM_VIRTQ_REPLAY_NOT_RECORDED, /* answered, but the recording has no answer */
	CVMM_VIRTQ_REPLAY_NOT_ANSWERED, /* until cvmm_virtq_replay_give_up() */
	CVMM_VIRTQ_REPLAY_DOES_NOT_FIT, /* in ring or memory, ever; not given to the device */
	CVMM_VIRTQ_REPLAY_VERDICT_COUNT,
};

/* A word for logs, e.g. "used length differs". */
CVMM_API const char *cvmm_virtq_replay_verdict_name(enum cvmm_virtq_replay_verdict verdict);

/**
 * struct cvmm_virtq_replay_result - one chain's end
 * @number: of the chain among the queue's, from 0
 * @offset: of its available record in the file
 * @head: in the recording; the replay has heads of its own
 * @recorded_bytes: used length in the recording; 0 if there is none
 * @used_bytes: used length now
 * @compared_bytes: bytes at the start of the writable part that both sides know
 * @first_difference: the first of them that differs; @compared_bytes if none does
 */
struct cvmm_virtq_replay_result {
	enum cvmm_virtq_replay_verdict verdict;
	uint64_t number;
	uint64_t offset;
	uint16_t head;
	uint32_t recorded_bytes;
	uint32_t used_bytes;
	uint32_t compared_bytes;
	uint32_t first_difference;
};

/**
 * struct cvmm_virtq_replay_config - what is replayed, and where
 * @source: the file; with a name if it has the traces of several devices
 * @queue: whose chains, by index
 * @drv: the ring, with nothing outstanding; nobody else adds to it or takes from it
 * @mem: memory for buffers; the replay takes a reference
 * @buffers: start of it, a multiple of CVMM_VIRTQ_REPLAY_ALIGN
 * @buffers_bytes: its size; all in RAM that can be read and written. It limits what is outstanding.
 * @ignore_damage: replay what precedes a place where the file ends early or is nonsense
 * @result: called for each chain once; must not call the replay
 * @is_due: whether a chain may be given to the device that was recorded @since_ns after the first.
 *          For original timing, compare with a clock. NULL: as fast as possible.
 * @ctx: for both
 */
struct cvmm_virtq_replay_config {
	struct cvmm_virtq_trace_source source;
	uint16_t queue;
	struct cvmm_virtq_driver *drv;
	struct cvmm_mem *mem;
	cvmm_gpa buffers;
	uint64_t buffers_bytes;
	bool ignore_damage;
	void (*result)(void *ctx, const struct cvmm_virtq_replay_result *result);
	bool (*is_due)(void *ctx, uint64_t since_ns);
	void *ctx;
};

#define CVMM_VIRTQ_REPLAY_ALIGN 512U /* of pieces that are at least as long */
#define CVMM_VIRTQ_REPLAY_ALIGN_SHORT 16U

/**
 * struct cvmm_virtq_replay_stats - how far a replay is
 * @chains: of the queue, in the file; without those that were rewound
 * @given: to the device
 * @outstanding: of these
 * @verdicts: results so far
 * @violations: by the driver, in the recording: not replayed
 * @orphans: used or rewound records without a chain, as of chains that a policy failed
 */
struct cvmm_virtq_replay_stats {
	uint64_t chains;
	uint64_t given;
	uint64_t outstanding;
	uint64_t verdicts[CVMM_VIRTQ_REPLAY_VERDICT_COUNT];
	uint64_t violations;
	uint64_t orphans;
};

/**
 * cvmm_virtq_replay_create() - read through the file, and note where the queue's chains are
 * @err: also says what the damage is that was ignored; its code is 0 if there is none
 *
 * Takes 32 bytes for each chain of the file. What is not even the beginning of a capture is refused in
 * any case.
 *
 * Return: 0; -EINVAL with a message; -ENOMEM; or as cvmm_virtq_trace_reader_next().
 * Owner: pair with cvmm_virtq_replay_destroy().
 */
CVMM_API int cvmm_virtq_replay_create(const struct cvmm_virtq_replay_config *config,
				      struct cvmm_virtq_replay **ret_replay,
				      struct cvmm_error *err);

/* Forgets what is outstanding. The ring must be ended before its memory is used for other things. */
CVMM_API void cvmm_virtq_replay_destroy(struct cvmm_virtq_replay *replay);

/**
 * cvmm_virtq_replay_feed() - give the device the next chains: all that are due and have room
 *
 * Readable parts have the recorded bytes, and zeroes where these were cut. Writable parts are zeroed.
 * The chains are published: ask cvmm_virtq_driver_should_kick() next.
 *
 * Return: how many; -EPROTO for a broken ring; or as cvmm_virtq_trace_reader_next() if the file has
 * changed, after which the replay is of no further use.
 */
CVMM_API int cvmm_virtq_replay_feed(struct cvmm_virtq_replay *replay, struct cvmm_error *err);

/**
 * cvmm_virtq_replay_collect() - take what the device gave back, and compare
 *
 * Return: how many; -EPROTO with a message if the device broke the rules; or as feed.
 */
CVMM_API int cvmm_virtq_replay_collect(struct cvmm_virtq_replay *replay, struct cvmm_error *err);

/* Whether every chain has its result. */
CVMM_API bool cvmm_virtq_replay_is_done(const struct cvmm_virtq_replay *replay);

/*
 * When the next chain that was not given to the device is due, as for is_due. Return: false if there is
 * none.
 */
CVMM_API bool cvmm_virtq_replay_next_due(const struct cvmm_virtq_replay *replay,
					 uint64_t *ret_since_ns);

/*
 * The device will answer no more: report what is outstanding. What was not answered in the recording
 * either matches. What was not given to the device has no result. Nothing can be done after that.
 */
CVMM_API void cvmm_virtq_replay_give_up(struct cvmm_virtq_replay *replay);

/* What came of it so far. */
CVMM_API struct cvmm_virtq_replay_stats
cvmm_virtq_replay_stats(const struct cvmm_virtq_replay *replay);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_VIRTQ_TRACE_H */
