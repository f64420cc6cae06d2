// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Rings by a driver that breaks the rules: what a guest can do to a back-end.
 *
 * What becomes of the queue is the back-end's own affair: the request may fail, the queue may be broken,
 * even the connection may end. But the process lives, and a new connection's requests are done.
 */
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conf.h"

#define SPEC_AVAIL "VIRTIO 1.3, 2.7.6: at most Queue Size entries are available"
#define SPEC_CHAIN "VIRTIO 1.3, 2.7.5"
#define SPEC_LOOP "VIRTIO 1.3, 2.7.5.2: a driver makes no loop"
#define SPEC_INDIRECT "VIRTIO 1.3, 2.7.5.3.1"
#define SPEC_ORDER "VIRTIO 1.3, 2.7.4.2"
#define SPEC_PACKED "VIRTIO 1.3, 2.8"
#define SPEC_ERR "vhost-user, VHOST_USER_SET_VRING_ERR"

#define NOWHERE UINT64_C(0x7fffffff0000)
#define ROUNDS 300U
#define NEXT CVMM_VIRTQ_DESC_F_NEXT
#define WRITE CVMM_VIRTQ_DESC_F_WRITE
#define INDIRECT CVMM_VIRTQ_DESC_F_INDIRECT

static bool err_is_signalled(struct conf *t, struct conf_queue *q)
{
	struct pollfd p = { .fd = q->err, .events = POLLIN };

	return poll(&p, 1, (int)t->options->quiet_ms) == 1;
}

/* What was written to the ring is noticed; then a new connection must work. */
static void provoke(struct conf *t)
{
	conf_kick(t, t->queue);
	if (err_is_signalled(t, t->queue))
		conf_note(t, "the descriptor of SET_VRING_ERR is signalled");
	if (!conf_is_alive(t))
		conf_note(t, "the connection no longer answers");
	conf_recovers(t);
}

/* Descriptor 0 is made available as entry 0. */
static void available(struct conf *t)
{
	conf_put_avail(t, t->queue, 0, 0);
	conf_set_avail_idx(t, t->queue, 1);
	provoke(t);
}

static void avail_jump(struct conf *t, uint16_t idx)
{
	conf_put_desc(t, t->queue, 0, CONF_SCRATCH_GPA, 64, WRITE, 0);
	conf_set_avail_idx(t, t->queue, idx);
	provoke(t);
}

static void avail_one_too_many(struct conf *t)
{
	avail_jump(t, CONF_QUEUE_SIZE + 1);
}

static void avail_far(struct conf *t)
{
	avail_jump(t, 0x8000);
}

static void avail_backwards(struct conf *t)
{
	conf_one_request(t, 0);
	conf_set_avail_idx(t, t->queue, 0);
	provoke(t);
}

static void head_outside(struct conf *t)
{
	conf_put_avail(t, t->queue, 0, CONF_QUEUE_SIZE);
	conf_set_avail_idx(t, t->queue, 1);
	provoke(t);
}

static void head_far_outside(struct conf *t)
{
	conf_put_avail(t, t->queue, 0, UINT16_MAX);
	conf_set_avail_idx(t, t->queue, 1);
	provoke(t);
}

static void next_outside(struct conf *t)
{
	conf_put_desc(t, t->queue, 0, CONF_SCRATCH_GPA, 64, WRITE | NEXT, CONF_QUEUE_SIZE);
	available(t);
}

static void loop_of_one(struct conf *t)
{
	conf_put_desc(t, t->queue, 0, CONF_SCRATCH_GPA, 64, WRITE | NEXT, 0);
	available(t);
}

static void loop_of_two(struct conf *t)
{
	conf_put_desc(t, t->queue, 0, CONF_SCRATCH_GPA, 64, NEXT, 1);
	conf_put_desc(t, t->queue, 1, CONF_SCRATCH_GPA, 64, NEXT, 0);
	available(t);
}

/* All heads are one chain that a device may still be working on. */
static void same_head_again(struct conf *t)
{
	struct conf_request *r = conf_request(t, 0);

	for (uint16_t i = 0; i < r->readable + r->writable; i++)
		conf_put_desc(t, t->queue, i, r->segments[i].gpa.addr, r->segments[i].len_bytes,
			      (uint16_t)((i + 1U < r->readable + r->writable ? NEXT : 0) |
					 (i >= r->readable ? WRITE : 0)),
			      (uint16_t)(i + 1));
	for (uint16_t i = 0; i < CONF_QUEUE_SIZE; i++)
		conf_put_avail(t, t->queue, i, 0);
	conf_set_avail_idx(t, t->queue, CONF_QUEUE_SIZE);
	provoke(t);
}

/* ---- buffers --------------------------------------------------------------------------------------- */

static void buffer(struct conf *t, uint64_t gpa, uint32_t len, uint16_t flags)
{
	conf_put_desc(t, t->queue, 0, gpa, len, flags, 0);
	available(t);
}

static void write_outside(struct conf *t)
{
	buffer(t, NOWHERE, 64, WRITE);
}

static void read_outside(struct conf *t)
{
	buffer(t, NOWHERE, 64, 0);
}

static void into_the_hole(struct conf *t)
{
	buffer(t, CONF_BUFFERS_GPA + CONF_REGION_BYTES - 16, 64, WRITE);
}

static void past_the_end(struct conf *t)
{
	buffer(t, CONF_RINGS_GPA + CONF_REGION_BYTES - 16, 64, WRITE);
}

static void address_wraps(struct conf *t)
{
	buffer(t, UINT64_MAX - 15, 64, WRITE);
}

static void huge_length(struct conf *t)
{
	buffer(t, CONF_SCRATCH_GPA, UINT32_MAX, WRITE);
}

static void no_bytes(struct conf *t)
{
	buffer(t, CONF_SCRATCH_GPA, 0, WRITE);
}

static void unknown_flags(struct conf *t)
{
	buffer(t, CONF_SCRATCH_GPA, 64, 0xfff8 | WRITE);
}

static void nothing_to_read(struct conf *t)
{
	buffer(t, CONF_SCRATCH_GPA, 4096, WRITE);
}

static void nothing_to_write(struct conf *t)
{
	buffer(t, CONF_SCRATCH_GPA, 4096, 0);
}

static void one_byte(struct conf *t)
{
	buffer(t, CONF_SCRATCH_GPA, 1, 0);
}

static void wrong_order(struct conf *t)
{
	conf_put_desc(t, t->queue, 0, CONF_SCRATCH_GPA, 512, WRITE | NEXT, 1);
	conf_put_desc(t, t->queue, 1, CONF_SCRATCH_GPA + 512, 512, NEXT, 2);
	conf_put_desc(t, t->queue, 2, CONF_SCRATCH_GPA + 1024, 1, WRITE, 0);
	available(t);
}

/* As many descriptors as there are, each as long as can be: more bytes than a length can say. */
static void too_many_bytes(struct conf *t)
{
	for (uint16_t i = 0; i < CONF_QUEUE_SIZE; i++)
		conf_put_desc(t, t->queue, i, CONF_BUFFERS_GPA, CONF_REGION_BYTES,
			      (uint16_t)(i + 1U < CONF_QUEUE_SIZE ? NEXT : WRITE),
			      (uint16_t)(i + 1));
	available(t);
}

/* ---- indirect tables ------------------------------------------------------------------------------- */

static struct cvmm_virtq_desc *table(struct conf *t)
{
	return conf_ptr(t, CONF_SCRATCH_GPA, CONF_PAGE);
}

static void put_entry(struct conf *t, unsigned int i, uint16_t flags, uint16_t next)
{
	table(t)[i] = (struct cvmm_virtq_desc){
		.addr = cvmm_le64_from(CONF_SCRATCH_GPA + CONF_PAGE),
		.len = cvmm_le32_from(64),
		.flags = cvmm_le16_from(flags),
		.next = cvmm_le16_from(next),
	};
}

static void refer(struct conf *t, uint64_t gpa, uint32_t len, uint16_t flags)
{
	put_entry(t, 0, WRITE, 0);
	buffer(t, gpa, len, flags);
}

static void table_of_nothing(struct conf *t)
{
	refer(t, CONF_SCRATCH_GPA, 0, INDIRECT);
}

static void table_of_half(struct conf *t)
{
	refer(t, CONF_SCRATCH_GPA, 8, INDIRECT);
}

static void table_of_one_and_a_half(struct conf *t)
{
	refer(t, CONF_SCRATCH_GPA, 24, INDIRECT);
}

static void table_huge(struct conf *t)
{
	refer(t, CONF_SCRATCH_GPA, 65536 * 16, INDIRECT);
}

static void table_longest(struct conf *t)
{
	refer(t, CONF_SCRATCH_GPA, UINT32_MAX & ~15U, INDIRECT);
}

static void table_outside(struct conf *t)
{
	refer(t, NOWHERE, 64, INDIRECT);
}

static void table_into_the_hole(struct conf *t)
{
	struct cvmm_virtq_desc *last = conf_ptr(t, CONF_BUFFERS_GPA + CONF_REGION_BYTES - 16, 16);

	*last = (struct cvmm_virtq_desc){ .addr = cvmm_le64_from(CONF_SCRATCH_GPA),
					  .len = cvmm_le32_from(64),
					  .flags = cvmm_le16_from(NEXT),
					  .next = cvmm_le16_from(1) };
	buffer(t, CONF_BUFFERS_GPA + CONF_REGION_BYTES - 16, 64, INDIRECT);
}

static void table_with_next(struct conf *t)
{
	refer(t, CONF_SCRATCH_GPA, 16, INDIRECT | NEXT);
}

static void table_in_table(struct conf *t)
{
	put_entry(t, 0, INDIRECT, 0);
	buffer(t, CONF_SCRATCH_GPA, 16, INDIRECT);
}

static void table_in_itself(struct conf *t)
{
	table(t)[0] = (struct cvmm_virtq_desc){ .addr = cvmm_le64_from(CONF_SCRATCH_GPA),
						.len = cvmm_le32_from(16),
						.flags = cvmm_le16_from(INDIRECT) };
	buffer(t, CONF_SCRATCH_GPA, 16, INDIRECT);
}

static void table_loops(struct conf *t)
{
	put_entry(t, 0, NEXT, 1);
	put_entry(t, 1, NEXT, 0);
	buffer(t, CONF_SCRATCH_GPA, 32, INDIRECT);
}

static void table_next_outside(struct conf *t)
{
	put_entry(t, 0, NEXT, 2);
	buffer(t, CONF_SCRATCH_GPA, 32, INDIRECT);
}

static void table_not_negotiated(struct conf *t)
{
	struct conf_request *r = conf_request(t, 0);

	conf_put_table(table(t), r);
	conf_put_desc(t, t->queue, 0, CONF_SCRATCH_GPA, 16 * (r->readable + r->writable), INDIRECT,
		      0);
	conf_put_avail(t, t->queue, 0, 0);
	conf_set_avail_idx(t, t->queue, 1);
	conf_kick(t, t->queue);
	conf_sleep_ms(t->options->quiet_ms);
	if (!conf_request_is_untouched(t, r))
		conf_fail(t, "a request in a table is executed without INDIRECT_DESC");
}

/* ---- packed rings ---------------------------------------------------------------------------------- */

static void packed_id_outside(struct conf *t)
{
	conf_put_packed(t, t->queue, 0, CONF_SCRATCH_GPA, 64, WRITE, UINT16_MAX);
	provoke(t);
}

static void packed_endless(struct conf *t)
{
	for (uint16_t i = 0; i < CONF_QUEUE_SIZE; i++)
		conf_put_packed(t, t->queue, (uint16_t)(CONF_QUEUE_SIZE - 1 - i), CONF_SCRATCH_GPA,
				64, NEXT, 0);
	provoke(t);
}

static void packed_outside(struct conf *t)
{
	conf_put_packed(t, t->queue, 0, NOWHERE, 64, WRITE, 0);
	provoke(t);
}

static void packed_same_id(struct conf *t)
{
	for (uint16_t i = 0; i < 8; i++)
		conf_put_packed(t, t->queue, i, CONF_SCRATCH_GPA, 64, WRITE, 3);
	provoke(t);
}

static void packed_table(struct conf *t, uint64_t gpa, uint32_t len, uint16_t flags)
{
	put_entry(t, 0, WRITE, 0);
	conf_put_packed(t, t->queue, 0, gpa, len, flags, 0);
	provoke(t);
}

static void packed_table_of_nothing(struct conf *t)
{
	packed_table(t, CONF_SCRATCH_GPA, 0, INDIRECT);
}

static void packed_table_of_half(struct conf *t)
{
	packed_table(t, CONF_SCRATCH_GPA, 8, INDIRECT);
}

static void packed_table_huge(struct conf *t)
{
	packed_table(t, CONF_SCRATCH_GPA, UINT32_MAX & ~15U, INDIRECT);
}

static void packed_table_outside(struct conf *t)
{
	packed_table(t, NOWHERE, 64, INDIRECT);
}

static void packed_table_with_next(struct conf *t)
{
	packed_table(t, CONF_SCRATCH_GPA, 16, INDIRECT | NEXT);
}

/* ---- many at random -------------------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static uint64_t random_address(uint32_t *state)
{
	static const uint64_t bases[] = { CONF_SCRATCH_GPA, CONF_RINGS_GPA,
					  CONF_BUFFERS_GPA + CONF_REGION_BYTES - 64, NOWHERE };

	return bases[next_random(state) % CVMM_ARRAY_SIZE(bases)] + next_random(state) % 4096;
}

/* The ring is written over while the device works on it. Seeded, so that a run can be repeated. */
static void rewritten(struct conf *t)
{
	static const uint32_t lengths[] = { 0, 1, 8, 16, 64, 512, 4096, UINT32_MAX };
	struct conf_queue *q = t->queue;
	uint32_t state = 0x1234567;
	uint16_t idx = 0;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		for (unsigned int i = 0; i < 8; i++) {
			uint32_t word = next_random(&state);

			conf_put_desc(t, q, (uint16_t)(word % CONF_QUEUE_SIZE),
				      random_address(&state), lengths[word >> 8 & 7],
				      word >> 16 & 7, (uint16_t)(next_random(&state) % 70));
			conf_put_avail(t, q, (uint16_t)(idx + i),
				       (uint16_t)(next_random(&state) % 66));
		}
		idx = (uint16_t)(idx + next_random(&state) % 3);
		conf_set_avail_idx(t, q, idx);
		conf_kick(t, q);
	}
	provoke(t);
}

static void packed_rewritten(struct conf *t)
{
	static const uint32_t lengths[] = { 0, 1, 8, 16, 64, 512, 4096, UINT32_MAX };
	struct conf_queue *q = t->queue;
	uint32_t state = 0x7654321;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		for (unsigned int i = 0; i < 8; i++) {
			uint32_t word = next_random(&state);
			uint16_t flags = (uint16_t)((word >> 16 & 7) |
						    (word >> 24 & 1 ? CVMM_VIRTQ_DESC_F_USED : 0));

			conf_put_packed(t, q, (uint16_t)(word % CONF_QUEUE_SIZE),
					random_address(&state), lengths[word >> 8 & 7], flags,
					(uint16_t)(next_random(&state) % 66));
		}
		conf_kick(t, q);
	}
	provoke(t);
}

/* ---- what becomes of the queue ----------------------------------------------------------------------- */

static void says_so(struct conf *t)
{
	conf_put_desc(t, t->queue, 0, CONF_SCRATCH_GPA, 64, WRITE | NEXT, 0);
	conf_put_avail(t, t->queue, 0, 0);
	conf_set_avail_idx(t, t->queue, 1);
	conf_kick(t, t->queue);
	if (!err_is_signalled(t, t->queue))
		conf_fail(t, "a chain that loops is not signalled to the front-end");
}

static void connection_lives(struct conf *t)
{
	conf_put_desc(t, t->queue, 0, CONF_SCRATCH_GPA, 64, WRITE | NEXT, 0);
	conf_put_avail(t, t->queue, 0, 0);
	conf_set_avail_idx(t, t->queue, 1);
	conf_kick(t, t->queue);
	conf_sleep_ms(t->options->quiet_ms);
	conf_must_be_alive(t, "a chain that loops");
}

static void starts_again(struct conf *t)
{
	connection_lives(t);
	conf_queue_stop(t, t->queue);
	conf_queue_renew(t, t->queue);
	conf_queue_set_up(t, t->queue);
	conf_queue_enable(t, t->queue, true);
	conf_one_request(t, 0);
}

#define PACKED .features = CONF_F_PACKED
#define PACKED_TABLES .features = CONF_F_PACKED | CONF_F_INDIRECT
#define TABLES .features = CONF_F_INDIRECT
#define ROW(id, title, spec, ...)                                     \
	{                                                             \
		id, title, spec, CONF_MUST, CONF_RUNNING, __VA_ARGS__ \
	}

static const struct conf_test tests[] = {
	ROW("avail-one-too-many", "avail.idx one more ahead than the queue has entries", SPEC_AVAIL,
	    .run = avail_one_too_many),
	ROW("avail-far", "avail.idx 32768 ahead", SPEC_AVAIL, .run = avail_far),
	ROW("avail-backwards", "avail.idx goes backwards", SPEC_AVAIL, .run = avail_backwards),
	ROW("head-outside", "A head just outside of the table", SPEC_AVAIL, .run = head_outside),
	ROW("head-far-outside", "A head far outside of the table", SPEC_AVAIL,
	    .run = head_far_outside),
	ROW("next-outside", "A chain that leaves its table", SPEC_CHAIN, .run = next_outside),
	ROW("loop-of-one", "A descriptor whose next one it is itself", SPEC_LOOP,
	    .run = loop_of_one),
	ROW("loop-of-two", "A chain that loops", SPEC_LOOP, .run = loop_of_two),
	ROW("same-head", "One chain made available many times", SPEC_AVAIL, .run = same_head_again),
	ROW("write-outside", "A writable buffer outside of memory", SPEC_CHAIN,
	    .run = write_outside),
	ROW("read-outside", "A readable buffer outside of memory", SPEC_CHAIN, .run = read_outside),
	ROW("into-hole", "A buffer that passes the end of its region", SPEC_CHAIN,
	    .run = into_the_hole),
	ROW("past-end", "A buffer that passes the end of memory", SPEC_CHAIN, .run = past_the_end),
	ROW("address-wraps", "A buffer that passes 2^64", SPEC_CHAIN, .run = address_wraps),
	ROW("huge-length", "A buffer of 2^32 - 1 bytes", SPEC_CHAIN, .run = huge_length),
	ROW("no-bytes", "A buffer of no bytes", SPEC_CHAIN, .run = no_bytes),
	ROW("unknown-flags", "A descriptor with every flag there is not", SPEC_CHAIN,
	    .run = unknown_flags),
	ROW("nothing-to-read", "A request with only a writable part", SPEC_CHAIN,
	    .run = nothing_to_read),
	ROW("nothing-to-write", "A request with only a readable part", SPEC_CHAIN,
	    .run = nothing_to_write),
	ROW("one-byte", "A request of one byte", SPEC_CHAIN, .run = one_byte),
	ROW("wrong-order", "A readable descriptor after a writable one", SPEC_ORDER,
	    .run = wrong_order),
	ROW("too-many-bytes", "A chain as long as the queue, of all memory each time", SPEC_CHAIN,
	    .run = too_many_bytes),
	ROW("table-of-nothing", "An indirect table of no bytes", SPEC_INDIRECT, TABLES,
	    .run = table_of_nothing),
	ROW("table-of-half", "An indirect table of half a descriptor", SPEC_INDIRECT, TABLES,
	    .run = table_of_half),
	ROW("table-of-one-and-a-half", "An indirect table of one and a half descriptors",
	    SPEC_INDIRECT, TABLES, .run = table_of_one_and_a_half),
	ROW("table-huge", "An indirect table of 65536 descriptors", SPEC_INDIRECT, TABLES,
	    .run = table_huge),
	ROW("table-longest", "An indirect table of nearly 2^32 bytes", SPEC_INDIRECT, TABLES,
	    .run = table_longest),
	ROW("table-outside", "An indirect table outside of memory", SPEC_INDIRECT, TABLES,
	    .run = table_outside),
	ROW("table-into-hole", "An indirect table that passes the end of its region", SPEC_INDIRECT,
	    TABLES, .run = table_into_the_hole),
	ROW("table-with-next", "INDIRECT and NEXT on one descriptor", SPEC_INDIRECT, TABLES,
	    .run = table_with_next),
	ROW("table-in-table", "An indirect table in an indirect table", SPEC_INDIRECT, TABLES,
	    .run = table_in_table),
	ROW("table-in-itself", "An indirect table that refers to itself", SPEC_INDIRECT, TABLES,
	    .run = table_in_itself),
	ROW("table-loops", "An indirect table that loops", SPEC_INDIRECT, TABLES,
	    .run = table_loops),
	ROW("table-next-outside", "A chain that leaves its indirect table", SPEC_INDIRECT, TABLES,
	    .run = table_next_outside),
	{ "table-not-negotiated", "An indirect table is not used without INDIRECT_DESC",
	  SPEC_INDIRECT, CONF_OPTIONAL, CONF_RUNNING, CONF_NEEDS_RESULT,
	  .run = table_not_negotiated },
	ROW("rewritten", "A ring that is written over at random while it is used", SPEC_CHAIN,
	    TABLES, .run = rewritten),
	ROW("packed-id-outside", "A packed ring with an id outside of it", SPEC_PACKED, PACKED,
	    .run = packed_id_outside),
	ROW("packed-endless", "A packed ring that is one chain without an end", SPEC_PACKED, PACKED,
	    .run = packed_endless),
	ROW("packed-outside", "A packed ring with a buffer outside of memory", SPEC_PACKED, PACKED,
	    .run = packed_outside),
	ROW("packed-same-id", "A packed ring with one id many times", SPEC_PACKED, PACKED,
	    .run = packed_same_id),
	ROW("packed-table-of-nothing", "A packed ring with an indirect table of no bytes",
	    SPEC_PACKED, PACKED_TABLES, .run = packed_table_of_nothing),
	ROW("packed-table-of-half", "A packed ring with half a descriptor in a table", SPEC_PACKED,
	    PACKED_TABLES, .run = packed_table_of_half),
	ROW("packed-table-huge", "A packed ring with a table of nearly 2^32 bytes", SPEC_PACKED,
	    PACKED_TABLES, .run = packed_table_huge),
	ROW("packed-table-outside", "A packed ring with a table outside of memory", SPEC_PACKED,
	    PACKED_TABLES, .run = packed_table_outside),
	ROW("packed-table-with-next", "INDIRECT and NEXT on one descriptor of a packed ring",
	    SPEC_PACKED, PACKED_TABLES, .run = packed_table_with_next),
	ROW("packed-rewritten", "A packed ring that is written over at random", SPEC_PACKED,
	    PACKED_TABLES, .run = packed_rewritten),
	{ "err", "A queue that is broken is signalled to the front-end", SPEC_ERR, CONF_OPTIONAL,
	  CONF_RUNNING, .run = says_so },
	{ "connection-lives", "The connection outlives a queue that is broken",
	  "vhost-user, Communication: closing only in exceptional circumstances", CONF_SHOULD,
	  CONF_RUNNING, .run = connection_lives },
	{ "starts-again", "A queue that was broken can be stopped and started",
	  "vhost-user, Ring states", CONF_OPTIONAL, CONF_RUNNING, .run = starts_again },
};

const struct conf_group conf_hostile = { "hostile", tests, CVMM_ARRAY_SIZE(tests) };
