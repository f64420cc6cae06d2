/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm-drive load: lanes, each a thread with a queue of its own, and kinds of devices, each a way to make
 * requests.
 */
#ifndef CVMM_DRIVE_LOAD_H
#define CVMM_DRIVE_LOAD_H

#include <pthread.h>
#include <stdio.h>

#include "histogram.h"
#include "target.h"

#define LOAD_SEGMENTS_MAX 3U
#define LOAD_LANES_MAX 64U
#define LOAD_DEPTH_MAX 4096U

enum load_access {
	LOAD_READ,
	LOAD_WRITE,
	LOAD_RANDREAD,
	LOAD_RANDWRITE,
};

struct load_kind;

/**
 * struct load_options - what was asked for
 * @queue_size: 0: long enough for @depth
 */
struct load_options {
	const char *socket;
	const struct load_kind *kind;
	unsigned int queues;
	unsigned int depth;
	uint32_t block_bytes;
	enum load_access access;
	double seconds;
	uint16_t queue_size;
	bool packed;
	bool poll;
	bool no_event_idx;
	bool json;
	unsigned int timeout_ms;
};

/**
 * struct load_slot - a request that goes round and round
 * @segments: set once
 * @head: what the device reads first, or NULL
 * @status: what it writes last, or NULL
 */
struct load_slot {
	struct cvmm_virtq_segment segments[LOAD_SEGMENTS_MAX];
	uint8_t readable;
	uint8_t writable;
	uint8_t *head;
	const uint8_t *status;
	uint64_t begun_ns;
};

/**
 * struct load_lane - a thread, its queue and its requests; the counters are for after its end
 * @companion: net: the queue that receives, whose buffers go round as well
 * @idle: slots that are not under way, @idle_count of them
 * @first_block: of the part of the disk that sequential access goes through
 * @failed: requests that the device failed
 * @odd_lengths: answers whose used length is not what was written
 * @wakes: times that the thread slept and was woken
 */
struct load_lane {
	struct load *load;
	unsigned int index;
	pthread_t thread;
	bool has_thread;
	struct target_queue queue;
	struct target_queue companion;
	struct load_slot *slots;
	struct load_slot *companion_slots;
	struct load_slot **idle;
	unsigned int idle_count;
	uint64_t random;
	uint64_t first_block;
	uint64_t next_block;
	uint64_t block_count;
	uint64_t completed;
	uint64_t bytes;
	uint64_t received;
	uint64_t failed;
	uint64_t odd_lengths;
	uint64_t wakes;
	struct histogram latency;
	struct cvmm_error err;
};

/**
 * struct load - one run
 * @stop: no new requests; atomic
 * @block_count: blk: blocks of @options.block_bytes on the disk
 */
struct load {
	struct load_options options;
	struct target target;
	struct load_lane *lanes;
	uint16_t queue_size;
	bool stop;
	uint64_t block_count;
	uint64_t begun_ns;
	uint64_t ended_ns;
};

/**
 * struct load_kind - a kind of device
 * @block_bytes: default
 * @extra_bytes: of memory for a request, besides the block
 * @segments: of a request
 * @features: to acknowledge where they are offered
 * @queue: the one of a lane, by its number
 * @companion: the one that receives, or -1; may be NULL for none
 * @begin: after features were chosen: look at the configuration space; may be NULL
 * @make: set a slot up, whose memory begins at @gpa
 * @next: before it goes out, again and again; may be NULL
 * @done: it came back with @used bytes. Return: whether it succeeded
 */
struct load_kind {
	const char *name;
	uint32_t block_bytes;
	uint32_t extra_bytes;
	unsigned int segments;
	uint64_t features;
	unsigned int (*queue)(unsigned int lane);
	int (*companion)(unsigned int lane);
	int (*begin)(struct load *load, struct cvmm_error *err);
	void (*make)(struct load_lane *lane, struct load_slot *slot, cvmm_gpa gpa);
	void (*next)(struct load_lane *lane, struct load_slot *slot);
	bool (*done)(struct load_lane *lane, struct load_slot *slot, uint32_t used);
};

extern const struct load_kind load_blk;
extern const struct load_kind load_rng;
extern const struct load_kind load_net;

const char *load_access_name(enum load_access access);

/* Do it. Return: 0; 1 if the back-end was at fault; or negative errno; with a message. */
int load_run(struct load *load, struct cvmm_error *err);

/* Threads and queues end; the results stay. */
void load_end(struct load *load);

/* What a lane's thread does until load->stop, and until nothing is under way. */
void *load_lane_main(void *lane);

void load_report(const struct load *load, FILE *out);

/* A number that the next one does not follow from at a glance. */
static inline uint64_t load_random(struct load_lane *lane)
{
	lane->random ^= lane->random << 13;
	lane->random ^= lane->random >> 7;
	lane->random ^= lane->random << 17;
	return lane->random;
}

#endif /* CVMM_DRIVE_LOAD_H */
