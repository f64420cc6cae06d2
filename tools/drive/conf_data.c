// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Requests through rings of every kind, by a driver that keeps to the rules. */
#include <poll.h>
#include <unistd.h>

#include "conf.h"

#define SPEC_STARTED "vhost-user, Ring states: started and enabled"
#define SPEC_FRAMING "VIRTIO 1.3, 2.7.4"
#define SPEC_INDIRECT "VIRTIO 1.3, 2.7.5.3"
#define SPEC_NOTIFY "VIRTIO 1.3, 2.7.7"
#define SPEC_PACKED "VIRTIO 1.3, 2.8"
#define SPEC_USED "VIRTIO 1.3, 2.7.8.2"

static void one(struct conf *t)
{
	conf_queues_start(t, true);
	conf_one_request(t, 0);
}

/* One after the other, often enough for the ring to wrap several times. */
static void many(struct conf *t)
{
	for (unsigned int i = 0; i < 3 * CONF_QUEUE_SIZE; i++) {
		struct conf_request *r = conf_request(t, i % CONF_REQUESTS_MAX);

		conf_submit(t, t->queue, r);
		conf_kick(t, t->queue);
		conf_done(t, t->queue, r);
	}
}

/* As many at once as fit, for a few rounds. */
static void batches(struct conf *t)
{
	for (unsigned int round = 0; round < 5; round++) {
		unsigned int n = 0;

		for (;;) {
			struct conf_request *r = conf_request(t, n);

			if (cvmm_virtq_driver_add(&t->queue->driver, r->segments, r->readable,
						  r->writable, r))
				break;
			n++;
		}
		cvmm_virtq_driver_publish(&t->queue->driver);
		conf_kick(t, t->queue);
		for (unsigned int i = 0; i < n; i++)
			conf_done(t, t->queue, &t->requests[i]);
	}
}

static void scattered(struct conf *t)
{
	struct conf_request *r = conf_request(t, 0);

	conf_request_scatter(r);
	conf_submit(t, t->queue, r);
	conf_kick(t, t->queue);
	conf_done(t, t->queue, r);
}

/* A request in a table by hand, of which descriptor 5 tells. */
static void in_a_table(struct conf *t, uint64_t gpa, uint16_t flags)
{
	struct conf_queue *q = t->queue;
	struct conf_request *r = conf_request(t, 0);
	uint32_t len = 16 * (r->readable + r->writable);

	conf_put_table(conf_ptr(t, gpa, len), r);
	conf_put_desc(t, q, 5, gpa, len, (uint16_t)(CVMM_VIRTQ_DESC_F_INDIRECT | flags), 0);
	conf_put_avail(t, q, 0, 5);
	conf_set_avail_idx(t, q, 1);
	conf_kick(t, q);
	conf_wait_used(t, q, 1);
}

static void table_of_one(struct conf *t)
{
	in_a_table(t, CONF_SCRATCH_GPA, 0);
}

static void write_flag_is_ignored(struct conf *t)
{
	in_a_table(t, CONF_SCRATCH_GPA, CVMM_VIRTQ_DESC_F_WRITE);
}

static void table_across_regions(struct conf *t)
{
	conf_set_features(t, conf_wanted_features(t));
	conf_ram_touching(t);
	conf_accepted(t, conf_ram_share(t), "SET_MEM_TABLE with regions that touch");
	conf_queues_start(t, true);
	in_a_table(t, CONF_BUFFERS_GPA + CONF_REGION_BYTES - 8, 0);
}

/* ---- notifications --------------------------------------------------------------------------------- */

static void is_called(struct conf *t)
{
	for (unsigned int i = 0; i < 4; i++) {
		struct conf_queue *q = t->queue;
		struct pollfd p = { .fd = q->call, .events = POLLIN };
		struct conf_request *r = conf_request(t, i);
		uint64_t count;

		if (read(q->call, &count, sizeof(count)) > 0)
			conf_trace(t, "! a call is left over");
		q->calls = 0;
		cvmm_virtq_driver_enable_interrupts(&q->driver);
		conf_submit(t, q, r);
		conf_kick(t, q);
		conf_done(t, q, r);
		if (!q->calls && poll(&p, 1, (int)t->options->timeout_ms) != 1)
			conf_fail(t, "request %u was completed, and the driver was not told", i);
	}
}

static void is_not_called(struct conf *t)
{
	struct conf_queue *q = t->queue;
	struct pollfd p = { .fd = q->call, .events = POLLIN };
	uint64_t count;

	/* One call may be on its way from the start. */
	conf_one_request(t, 0);
	conf_sleep_ms(20);
	if (read(q->call, &count, sizeof(count)) > 0)
		conf_trace(t, "! a call is left over");
	q->calls = 0;
	cvmm_virtq_driver_disable_interrupts(&q->driver);
	conf_one_request(t, 1);
	if (q->calls || poll(&p, 1, (int)t->options->quiet_ms) == 1)
		conf_fail(t, "the driver was told though it does not want to be");
}

static void used_length(struct conf *t)
{
	for (unsigned int i = 0; i < 3; i++)
		conf_one_request(t, i);
	if (t->queue->odd_len)
		conf_fail(t,
			  "%u bytes are said to be written to a request that has no writable part",
			  t->queue->odd_len);
}

/* The buffers of other requests are not the device's to write to. */
static void writes_only_what_it_may(struct conf *t)
{
	struct conf_request *before = conf_request(t, 0);
	struct conf_request *after = conf_request(t, 2);

	conf_one_request(t, 1);
	if (!conf_request_is_untouched(t, before) || !conf_request_is_untouched(t, after))
		conf_fail(t, "memory beside the request was written to");
}

/* ---- other addresses ------------------------------------------------------------------------------- */

static void gpa_addresses(struct conf *t)
{
	for (unsigned int i = 0; i < 3; i++)
		conf_one_request(t, i);
}

static void send_iotlb(struct conf *t, const struct conf_region *region)
{
	struct {
		uint64_t iova, size, uaddr;
		uint8_t perm, type, padding[6];
	} msg = { .iova = region->gpa,
		  .size = region->len_bytes,
		  .uaddr = region->uva,
		  .perm = 3,
		  .type = 2 };

	conf_ask(t, CVMM_VHOST_USER_IOTLB_MSG, &msg, sizeof(msg));
	if (conf_answer_u64(t))
		conf_fail(t, "an update of the IOTLB was refused");
}

static void iommu(struct conf *t)
{
	int ours, theirs;

	conf_socketpair(t, &ours, &theirs);
	conf_accepted(t, conf_try(t, CVMM_VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &theirs, 1),
		      "SET_BACKEND_REQ_FD");
	/* IOVAs are GPAs here. What the back-end asks for meanwhile is on its way. */
	for (size_t i = 0; i < t->ram.count; i++)
		send_iotlb(t, &t->ram.regions[i]);
	conf_queues_start(t, true);
	for (unsigned int i = 0; i < 3; i++)
		conf_one_request(t, i);
}

static void bad_iotlb(struct conf *t)
{
	struct {
		uint64_t iova, size, uaddr;
		uint8_t perm, type, padding[6];
	} msg = { .size = CONF_PAGE, .uaddr = UINT64_C(0x123456780000), .perm = 3, .type = 2 };

	conf_ask(t, CVMM_VHOST_USER_IOTLB_MSG, &msg, sizeof(msg));
	if (!conf_answer_u64(t))
		conf_fail(t, "an update to addresses outside of memory was accepted");
}

static void inband(struct conf *t)
{
	struct cvmm_vhost_user_vring_state state = { 0 };
	struct conf_request *r;
	struct cvmm_vhost_user_header header;
	struct pollfd p = { .events = POLLIN };
	int ours, theirs;

	conf_socketpair(t, &ours, &theirs);
	conf_accepted(t, conf_try(t, CVMM_VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &theirs, 1),
		      "SET_BACKEND_REQ_FD");
	conf_queues_make(t);
	for (unsigned int i = 0; i < t->device->queue_count; i++) {
		conf_queue_send_num(t, &t->queues[i]);
		conf_queue_send_base(t, &t->queues[i]);
		conf_queue_send_addr(t, &t->queues[i]);
	}
	conf_queues_enable(t, true);
	r = conf_request(t, 0);
	conf_submit(t, t->queue, r);
	state.index = t->queue->index;
	conf_accepted(t, conf_try(t, CVMM_VHOST_USER_VRING_KICK, &state, sizeof(state), NULL, 0),
		      "VRING_KICK");
	conf_done(t, t->queue, r);
	p.fd = ours;
	if (poll(&p, 1, (int)t->options->timeout_ms) != 1 ||
	    read(ours, &header, sizeof(header)) != sizeof(header))
		conf_fail(t, "nothing came over the back-end channel");
	if (header.request != CVMM_VHOST_USER_BACKEND_VRING_CALL)
		conf_fail(t, "request %u came over the back-end channel in place of VRING_CALL",
			  header.request);
}

#define PACKED_INDIRECT (CONF_F_PACKED | CONF_F_INDIRECT)

static const struct conf_test tests[] = {
	{ "one", "A request is completed", SPEC_STARTED, CONF_MUST, CONF_SHARED, CONF_NEEDS_DEVICE,
	  .run = one },
	{ "many", "Three times as many requests as the ring has entries are completed",
	  SPEC_STARTED, CONF_MUST, CONF_RUNNING, .run = many },
	{ "batches", "As many requests as fit, at once, are completed", SPEC_STARTED, CONF_MUST,
	  CONF_RUNNING, .run = batches },
	{ "scattered", "A request may be cut into descriptors anywhere", SPEC_FRAMING, CONF_MUST,
	  CONF_RUNNING, .run = scattered },
	{ "used-length", "The used length is what was written", SPEC_USED, CONF_MUST, CONF_RUNNING,
	  .run = used_length },
	{ "beside", "Memory beside a request is left alone", SPEC_USED, CONF_MUST, CONF_RUNNING,
	  CONF_NEEDS_RESULT, .run = writes_only_what_it_may },
	{ "call", "The driver is told of used buffers", SPEC_NOTIFY, CONF_MUST, CONF_RUNNING,
	  .run = is_called },
	{ "no-call", "The driver is not told when it does not want to be", SPEC_NOTIFY, CONF_SHOULD,
	  CONF_RUNNING, .run = is_not_called },
	{ "indirect", "Requests in indirect tables are completed", SPEC_INDIRECT, CONF_MUST,
	  CONF_RUNNING, .features = CONF_F_INDIRECT, .run = many },
	{ "indirect-one", "A table may be used for any request", SPEC_INDIRECT, CONF_MUST,
	  CONF_RUNNING, .features = CONF_F_INDIRECT, .run = table_of_one },
	{ "indirect-write", "The WRITE flag of a descriptor that tells of a table is ignored",
	  "VIRTIO 1.3, 2.7.5.3.2", CONF_MUST, CONF_RUNNING, .features = CONF_F_INDIRECT,
	  .run = write_flag_is_ignored },
	{ "indirect-across", "A table may cross from one region into the next", SPEC_INDIRECT,
	  CONF_MUST, CONF_NEGOTIATED, CONF_NEEDS_DEVICE, .features = CONF_F_INDIRECT,
	  .run = table_across_regions },
	{ "indirect-batches", "As many requests in indirect tables as fit are completed",
	  SPEC_INDIRECT, CONF_MUST, CONF_RUNNING, .features = CONF_F_INDIRECT, .run = batches },
	{ "event-idx", "Requests with EVENT_IDX are completed", SPEC_NOTIFY, CONF_MUST,
	  CONF_RUNNING, .features = CONF_F_EVENT_IDX, .run = many },
	{ "event-idx-call", "With EVENT_IDX the driver is told where it asked for it", SPEC_NOTIFY,
	  CONF_MUST, CONF_RUNNING, .features = CONF_F_EVENT_IDX, .run = is_called },
	{ "event-idx-no-call", "With EVENT_IDX the driver is not told otherwise", SPEC_NOTIFY,
	  CONF_SHOULD, CONF_RUNNING, .features = CONF_F_EVENT_IDX, .run = is_not_called },
	{ "in-order", "Requests with IN_ORDER are completed", "VIRTIO 1.3, 2.7.9", CONF_MUST,
	  CONF_RUNNING, .features = CONF_F_IN_ORDER, .run = batches },
	{ "packed", "Requests in a packed ring are completed", SPEC_PACKED, CONF_MUST, CONF_RUNNING,
	  .features = CONF_F_PACKED, .run = many },
	{ "packed-batches", "As many requests as fit a packed ring are completed", SPEC_PACKED,
	  CONF_MUST, CONF_RUNNING, .features = CONF_F_PACKED, .run = batches },
	{ "packed-scattered", "A request in a packed ring may be cut anywhere", SPEC_PACKED,
	  CONF_MUST, CONF_RUNNING, .features = CONF_F_PACKED, .run = scattered },
	{ "packed-indirect", "Indirect tables in a packed ring are completed", SPEC_PACKED,
	  CONF_MUST, CONF_RUNNING, .features = PACKED_INDIRECT, .run = many },
	{ "packed-call", "The driver of a packed ring is told", "VIRTIO 1.3, 2.8.10", CONF_MUST,
	  CONF_RUNNING, .features = CONF_F_PACKED, .run = is_called },
	{ "packed-no-call", "The driver of a packed ring is not told when it does not want to be",
	  "VIRTIO 1.3, 2.8.10", CONF_SHOULD, CONF_RUNNING, .features = CONF_F_PACKED,
	  .run = is_not_called },
	{ "packed-event-idx", "The driver of a packed ring with EVENT_IDX is told",
	  "VIRTIO 1.3, 2.8.10", CONF_MUST, CONF_RUNNING,
	  .features = CONF_F_PACKED | CONF_F_EVENT_IDX, .run = is_called },
	{ "packed-in-order", "Requests in a packed ring with IN_ORDER are completed", SPEC_PACKED,
	  CONF_MUST, CONF_RUNNING, .features = CONF_F_PACKED | CONF_F_IN_ORDER, .run = batches },
	{ "gpa-addresses", "With GPA_ADDRESSES rings have guest addresses",
	  "vhost-user, A vring address description", CONF_MUST, CONF_RUNNING,
	  .protocol = CVMM_VHOST_USER_PROTOCOL(GPA_ADDRESSES), .run = gpa_addresses },
	{ "iommu", "With ACCESS_PLATFORM addresses are translated", "vhost-user, IOMMU support",
	  CONF_MUST, CONF_SHARED, CONF_NEEDS_DEVICE,
	  .protocol = CVMM_VHOST_USER_PROTOCOL(BACKEND_REQ), .features = CONF_F_PLATFORM,
	  .run = iommu },
	{ "bad-iotlb", "A translation to addresses outside of memory is refused",
	  "vhost-user, IOMMU support", CONF_SHOULD, CONF_SHARED, .features = CONF_F_PLATFORM,
	  .run = bad_iotlb },
	{ "inband", "Kicks and calls may be messages", "vhost-user, In-band notifications",
	  CONF_MUST, CONF_SHARED, CONF_NEEDS_DEVICE,
	  .protocol = CVMM_VHOST_USER_PROTOCOL(INBAND_NOTIFICATIONS) |
		      CVMM_VHOST_USER_PROTOCOL(BACKEND_REQ) | CVMM_VHOST_USER_PROTOCOL(REPLY_ACK),
	  .run = inband },
};

const struct conf_group conf_data = { "data", tests, CVMM_ARRAY_SIZE(tests) };
