// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Inflight regions: what a back-end writes down of requests that it has, so that the next one can go on.
 *
 * The layouts are those of the specification: a header of 16 bytes and entries of 16 for a split queue, and a
 * header of 32 bytes and entries of 32 for a packed one.
 */
#include <sys/mman.h>

#include "conf.h"

#define SPEC_INFLIGHT "vhost-user, Inflight I/O tracking"
#define SPEC_GET "vhost-user, VHOST_USER_GET_INFLIGHT_FD"
#define SPEC_SET "vhost-user, VHOST_USER_SET_INFLIGHT_FD"
#define INFLIGHT CVMM_VHOST_USER_PROTOCOL(INFLIGHT_SHMFD)

#define REGION_BYTES_MAX (UINT64_C(1) << 30)
#define VERSION_AT 8U
#define DESC_NUM_AT 10U

/* Split. */
#define SPLIT_HEADER 16U
#define SPLIT_ENTRY 16U
#define USED_IDX_AT 14U
#define ENTRY_COUNTER_AT 8U

/* Packed. */
#define PACKED_HEADER 32U
#define PACKED_ENTRY 32U

struct inflight {
	struct cvmm_vhost_user_inflight wire;
	int fd;
	uint8_t *bytes;
};

static uint64_t least_bytes(const struct conf *t, unsigned int queues)
{
	if (t->test->features & CONF_F_PACKED)
		return queues * (PACKED_HEADER + (uint64_t)CONF_QUEUE_SIZE * PACKED_ENTRY);
	return queues * (SPLIT_HEADER + (uint64_t)CONF_QUEUE_SIZE * SPLIT_ENTRY);
}

static unsigned int queue_count(const struct conf *t)
{
	return t->device ? t->device->queue_count : 1;
}

static void take_answer(struct conf *t, struct inflight *in)
{
	if (t->msg->size != sizeof(in->wire) &&
	    t->msg->size != CVMM_VHOST_USER_INFLIGHT_SIZE_PACKED)
		conf_fail(t, "GET_INFLIGHT_FD: the answer has %u bytes", t->msg->size);
	if (t->msg->fd_count != 1)
		conf_fail(t, "GET_INFLIGHT_FD: the answer came with %u descriptors",
			  t->msg->fd_count);
	memcpy(&in->wire, t->msg->payload, CVMM_VHOST_USER_INFLIGHT_SIZE_PACKED);
	in->fd = conf_own(t, cvmm_vhost_user_msg_take_fd(t->msg, 0));
}

/* Get a region for the device's queues, and map it. */
static struct inflight get_region(struct conf *t)
{
	struct inflight in = { .wire = { .queue_count = (uint16_t)queue_count(t),
					 .queue_size = CONF_QUEUE_SIZE } };

	conf_ask(t, CVMM_VHOST_USER_GET_INFLIGHT_FD, &in.wire, sizeof(in.wire));
	take_answer(t, &in);
	if (in.wire.mmap_size < least_bytes(t, queue_count(t)) ||
	    in.wire.mmap_size > REGION_BYTES_MAX)
		conf_fail(t, "the region has %llu bytes, and %llu are needed",
			  (unsigned long long)in.wire.mmap_size,
			  (unsigned long long)least_bytes(t, queue_count(t)));
	in.bytes = conf_map_fd(t, in.fd, in.wire.mmap_offset, in.wire.mmap_size);
	if (!in.bytes)
		conf_fail(t, "the region cannot be mapped");
	in.wire.queue_count = (uint16_t)queue_count(t);
	in.wire.queue_size = CONF_QUEUE_SIZE;
	return in;
}

static void set_region(struct conf *t, const struct inflight *in)
{
	conf_accepted(t,
		      conf_try(t, CVMM_VHOST_USER_SET_INFLIGHT_FD, &in->wire, sizeof(in->wire),
			       &in->fd, 1),
		      "SET_INFLIGHT_FD");
}

/* The part of the queue under test. Parts are of one size, which may be rounded up. */
static uint8_t *queue_part(struct conf *t, const struct inflight *in)
{
	return in->bytes + in->wire.mmap_size / queue_count(t) * t->device->queue;
}

static void get(struct conf *t)
{
	struct inflight in = get_region(t);

	for (uint64_t i = 0; i < in.wire.mmap_size; i++)
		if (in.bytes[i] && i != VERSION_AT && i != DESC_NUM_AT)
			break;
	conf_note(t, "%llu bytes for %u queues of %u", (unsigned long long)in.wire.mmap_size,
		  queue_count(t), CONF_QUEUE_SIZE);
}

static void set(struct conf *t)
{
	struct inflight in = get_region(t);

	set_region(t, &in);
	conf_must_be_alive(t, "SET_INFLIGHT_FD");
}

static void start_with(struct conf *t, const struct inflight *in)
{
	set_region(t, in);
	conf_queues_start(t, true);
}

static void split_layout(struct conf *t)
{
	struct inflight in = get_region(t);
	uint8_t *part;
	uint16_t used;

	start_with(t, &in);
	for (unsigned int i = 0; i < 3; i++)
		conf_one_request(t, i);
	conf_sleep_ms(20); /* the region follows the used ring */
	part = queue_part(t, &in);
	if (cvmm_get_le16(part + VERSION_AT) != 1)
		conf_fail(t, "the version is %u and not 1", cvmm_get_le16(part + VERSION_AT));
	if (cvmm_get_le16(part + DESC_NUM_AT) != CONF_QUEUE_SIZE)
		conf_fail(t, "the region is for %u descriptors, and not %u",
			  cvmm_get_le16(part + DESC_NUM_AT), CONF_QUEUE_SIZE);
	used = cvmm_get_le16(part + USED_IDX_AT);
	if (used != 3)
		conf_fail(t, "after 3 requests used_idx is %u", used);
	for (unsigned int i = 0; i < CONF_QUEUE_SIZE; i++)
		if (part[SPLIT_HEADER + i * SPLIT_ENTRY])
			conf_fail(t,
				  "after all requests were completed, descriptor %u is in "
				  "flight",
				  i);
}

static void packed_layout(struct conf *t)
{
	struct inflight in = get_region(t);
	uint8_t *part;

	start_with(t, &in);
	for (unsigned int i = 0; i < 3; i++)
		conf_one_request(t, i);
	conf_sleep_ms(20);
	part = queue_part(t, &in);
	if (cvmm_get_le16(part + VERSION_AT) != 1)
		conf_fail(t, "the version is %u and not 1", cvmm_get_le16(part + VERSION_AT));
	if (cvmm_get_le16(part + DESC_NUM_AT) != CONF_QUEUE_SIZE)
		conf_fail(t, "the region is for %u descriptors, and not %u",
			  cvmm_get_le16(part + DESC_NUM_AT), CONF_QUEUE_SIZE);
	for (unsigned int i = 0; i < CONF_QUEUE_SIZE; i++)
		if (part[PACKED_HEADER + i * PACKED_ENTRY])
			conf_fail(t, "after all requests were completed, entry %u is in flight", i);
}

/*
 * A region as a back-end leaves it that ended while it had one request: the next one must do it, though
 * the available ring says that it was taken.
 */
static void resubmits(struct conf *t)
{
	struct inflight in = get_region(t);
	struct conf_request *r;
	uint8_t *part;

	conf_queues_make(t);
	r = conf_request(t, 0);
	conf_submit(t, t->queue, r);
	part = queue_part(t, &in);
	memset(part, 0, SPLIT_HEADER + CONF_QUEUE_SIZE * SPLIT_ENTRY);
	cvmm_put_le16(part + VERSION_AT, 1);
	cvmm_put_le16(part + DESC_NUM_AT, CONF_QUEUE_SIZE);
	part[SPLIT_HEADER] = 1; /* the driver's first head is 0 */
	cvmm_put_le64(part + SPLIT_HEADER + ENTRY_COUNTER_AT, 1);
	t->queue->base = 1;
	/* Some back-ends need to know the base before the region. */
	conf_queue_send_num(t, t->queue);
	conf_queue_send_base(t, t->queue);
	set_region(t, &in);
	conf_queues_set_up(t);
	conf_queues_enable(t, true);
	conf_kick(t, t->queue);
	conf_done(t, t->queue, r);
	conf_one_request(t, 1);
}

/* ---- what is no region ------------------------------------------------------------------------------ */

static void odd_gets(struct conf *t)
{
	static const struct cvmm_vhost_user_inflight cases[] = {
		{ .queue_count = 0, .queue_size = CONF_QUEUE_SIZE },
		{ .queue_count = 1, .queue_size = 0 },
		{ .queue_count = UINT16_MAX, .queue_size = UINT16_MAX },
		{ .mmap_size = UINT64_MAX, .queue_count = 1, .queue_size = 3 },
	};

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(cases); i++) {
		if (i)
			conf_reopen(t, CONF_SHARED);
		conf_send(t, CVMM_VHOST_USER_GET_INFLIGHT_FD, 0, &cases[i], sizeof(cases[i]), NULL,
			  0);
		if (conf_receive(t, t->options->timeout_ms) == CONF_SILENT)
			conf_fail(t,
				  "GET_INFLIGHT_FD for %u queues of %u: no answer, and the "
				  "connection is not closed",
				  cases[i].queue_count, cases[i].queue_size);
	}
}

static void bad_sets(struct conf *t)
{
	static const struct {
		struct cvmm_vhost_user_inflight wire;
		const char *what;
	} cases[] = {
		{ { 0, 0, 1, CONF_QUEUE_SIZE, 0 }, "SET_INFLIGHT_FD of no bytes" },
		{ { UINT64_MAX, 0, 1, CONF_QUEUE_SIZE, 0 }, "SET_INFLIGHT_FD of 2^64 - 1 bytes" },
		{ { CONF_PAGE, UINT64_MAX - 100, 1, CONF_QUEUE_SIZE, 0 },
		  "SET_INFLIGHT_FD whose offset and size wrap" },
		{ { CONF_PAGE, 0, UINT16_MAX, UINT16_MAX, 0 },
		  "SET_INFLIGHT_FD of a page for 65535 queues of 65535" },
		{ { UINT64_C(1) << 30, 0, 1, CONF_QUEUE_SIZE, 0 },
		  "SET_INFLIGHT_FD that is longer than its file" },
	};

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(cases); i++) {
		int fd = conf_memfd(t, CONF_PAGE);

		if (i)
			conf_reopen(t, CONF_SHARED);
		conf_refused(t,
			     conf_try(t, CVMM_VHOST_USER_SET_INFLIGHT_FD, &cases[i].wire,
				      sizeof(cases[i].wire), &fd, 1),
			     cases[i].what);
	}
}

static void set_without_fd(struct conf *t)
{
	const struct cvmm_vhost_user_inflight wire = { CONF_PAGE, 0, 1, CONF_QUEUE_SIZE, 0 };

	conf_refused(t, conf_try(t, CVMM_VHOST_USER_SET_INFLIGHT_FD, &wire, sizeof(wire), NULL, 0),
		     "SET_INFLIGHT_FD without a descriptor");
}

/* All that a region can say is wrong. */
static void hostile_region(struct conf *t)
{
	struct inflight in = get_region(t);

	memset(in.bytes, 0xff, in.wire.mmap_size);
	conf_try(t, CVMM_VHOST_USER_SET_INFLIGHT_FD, &in.wire, sizeof(in.wire), &in.fd, 1);
	conf_queues_make(t);
	for (unsigned int i = 0; i < t->device->queue_count; i++) {
		struct conf_queue *q = &t->queues[i];
		struct cvmm_vhost_user_vring_addr addr = conf_queue_addr(t, q);

		conf_try_state(t, CVMM_VHOST_USER_SET_VRING_NUM, i, q->config.size);
		conf_try(t, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
		conf_try_fd(t, CVMM_VHOST_USER_SET_VRING_CALL, i, q->call);
		conf_try_fd(t, CVMM_VHOST_USER_SET_VRING_KICK, i, q->kick);
		conf_try_state(t, CVMM_VHOST_USER_SET_VRING_ENABLE, i, 1);
		conf_kick(t, q);
	}
	conf_sleep_ms(t->options->quiet_ms);
	conf_recovers(t);
}

/* As above, but written over while the queue runs. */
static void region_rewritten(struct conf *t)
{
	struct inflight in = get_region(t);

	start_with(t, &in);
	for (unsigned int i = 0; i < 50; i++) {
		struct conf_request *r = conf_request(t, 0);

		conf_submit(t, t->queue, r);
		conf_kick(t, t->queue);
		memset(in.bytes, (int)(0xff - i), in.wire.mmap_size);
		if (!conf_wait(t, t->queue, r, t->options->quiet_ms))
			break;
	}
	conf_recovers(t);
}

static const struct conf_test tests[] = {
	{ "get", "GET_INFLIGHT_FD gives a region that is large enough", SPEC_GET, CONF_MUST,
	  CONF_SHARED, .protocol = INFLIGHT, .run = get },
	{ "get-packed", "GET_INFLIGHT_FD gives a region for packed queues", SPEC_GET, CONF_MUST,
	  CONF_SHARED, .protocol = INFLIGHT, .features = CONF_F_PACKED, .run = get },
	{ "set", "A region that was got can be set", SPEC_SET, CONF_MUST, CONF_SHARED,
	  .protocol = INFLIGHT, .run = set },
	{ "split", "A split queue's region has the layout of the specification", SPEC_INFLIGHT,
	  CONF_MUST, CONF_SHARED, CONF_NEEDS_DEVICE, .protocol = INFLIGHT, .run = split_layout },
	{ "packed", "A packed queue's region has the layout of the specification", SPEC_INFLIGHT,
	  CONF_MUST, CONF_SHARED, CONF_NEEDS_DEVICE, .protocol = INFLIGHT,
	  .features = CONF_F_PACKED, .run = packed_layout },
	{ "resubmits", "Requests that were in flight are done again", SPEC_INFLIGHT, CONF_MUST,
	  CONF_SHARED, CONF_NEEDS_DEVICE, .protocol = INFLIGHT, .run = resubmits },
	{ "odd-get", "GET_INFLIGHT_FD with numbers that cannot be is decided", SPEC_GET,
	  CONF_SHOULD, CONF_SHARED, .protocol = INFLIGHT, .run = odd_gets },
	{ "bad-set", "SET_INFLIGHT_FD with numbers that cannot be is refused", SPEC_SET,
	  CONF_SHOULD, CONF_SHARED, CONF_NEEDS_ACK, .protocol = INFLIGHT, .run = bad_sets },
	{ "set-without-fd", "SET_INFLIGHT_FD without a descriptor is refused", SPEC_SET,
	  CONF_SHOULD, CONF_SHARED, CONF_NEEDS_ACK, .protocol = INFLIGHT, .run = set_without_fd },
	{ "hostile", "A region whose every bit is wrong harms no later connection", SPEC_INFLIGHT,
	  CONF_MUST, CONF_SHARED, CONF_NEEDS_DEVICE, .protocol = INFLIGHT, .run = hostile_region },
	{ "rewritten", "A region that is written over harms no later connection", SPEC_INFLIGHT,
	  CONF_MUST, CONF_SHARED, CONF_NEEDS_DEVICE, .protocol = INFLIGHT,
	  .run = region_rewritten },
};

const struct conf_group conf_inflight = { "inflight", tests, CVMM_ARRAY_SIZE(tests) };
