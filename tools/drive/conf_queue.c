// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Queues and requests.
 *
 * The driver's side of a ring is that of <cvmm/virtq_driver.h>, which checks what the device writes. It lets
 * tests write over the ring: hostile ones build split rings by hand.
 */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "conf.h"

#define QUEUE_STRIDE UINT64_C(0x20000)
#define TABLE_ENTRIES 8U
#define REQUESTS_GPA (CONF_BUFFERS_GPA + 0x1000)
#define FRESH 0xa5
#define POLL_MS 5U
#define PACKED_START 0x80008000U /* both wrap counters are 1 */

/* ---- rings ------------------------------------------------------------------------------------- */

static bool is_packed(const struct conf *t)
{
	return t->test->features & CONF_F_PACKED;
}

void conf_queue_renew(struct conf *t, struct conf_queue *q)
{
	struct cvmm_error err = { 0 };

	cvmm_virtq_driver_fini(&q->driver);
	memset(&q->driver, 0, sizeof(q->driver));
	if (cvmm_virtq_driver_init(&q->driver, t->ram.mem, &q->config, &err))
		conf_fail(t, "the suite cannot make a ring: %s", err.message);
	q->base = q->config.packed ? PACKED_START : 0;
	q->looked_at = 0;
}

struct conf_queue *conf_queue_make(struct conf *t, unsigned int index, uint16_t size)
{
	struct conf_queue *q = t->queues;
	uint64_t bytes, place;

	while (q->made)
		q++;
	CVMM_BUG_ON(q >= t->queues + CONF_QUEUES_MAX);
	place = CONF_RINGS_GPA + (uint64_t)(q - t->queues) * QUEUE_STRIDE;
	*q = (struct conf_queue){ .index = index, .made = true };
	q->config.size = size;
	q->config.packed = is_packed(t);
	q->config.event_idx = t->test->features & CONF_F_EVENT_IDX;
	q->config.indirect = t->test->features & CONF_F_INDIRECT;
	q->config.in_order = t->test->features & CONF_F_IN_ORDER;
	q->config.table_entries = TABLE_ENTRIES;
	if (cvmm_virtq_driver_layout(&q->config, cvmm_gpa_from(place), &bytes) ||
	    bytes > QUEUE_STRIDE)
		conf_fail(t, "the suite has no place for a ring of %u", size);
	q->kick = conf_eventfd(t);
	q->call = conf_eventfd(t);
	q->err = conf_eventfd(t);
	conf_queue_renew(t, q);
	return q;
}

void conf_queues_fini(struct conf *t)
{
	for (size_t i = 0; i < CONF_QUEUES_MAX; i++)
		cvmm_virtq_driver_fini(&t->queues[i].driver);
	memset(t->queues, 0, sizeof(t->queues));
	t->queue = NULL;
}

/* ---- what sets a queue up ------------------------------------------------------------------------ */

void conf_queue_send_num(struct conf *t, struct conf_queue *q)
{
	conf_accepted(t, conf_try_state(t, CVMM_VHOST_USER_SET_VRING_NUM, q->index, q->config.size),
		      "SET_VRING_NUM");
}

void conf_queue_send_base(struct conf *t, struct conf_queue *q)
{
	conf_accepted(t, conf_try_state(t, CVMM_VHOST_USER_SET_VRING_BASE, q->index, q->base),
		      "SET_VRING_BASE");
}

struct cvmm_vhost_user_vring_addr conf_queue_addr(struct conf *t, const struct conf_queue *q)
{
	return (struct cvmm_vhost_user_vring_addr){
		.index = q->index,
		.flags = q->log_flags,
		.desc = conf_uva(t, q->config.desc.addr),
		.avail = conf_uva(t, q->config.driver_area.addr),
		.used = conf_uva(t, q->config.device_area.addr),
		.log = q->log_gpa,
	};
}

void conf_queue_send_addr(struct conf *t, struct conf_queue *q)
{
	struct cvmm_vhost_user_vring_addr addr = conf_queue_addr(t, q);

	conf_accepted(t, conf_try(t, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0),
		      "SET_VRING_ADDR");
}

void conf_queue_send_call(struct conf *t, struct conf_queue *q)
{
	uint64_t value = q->index | (q->mute ? CVMM_VHOST_USER_VRING_NO_FD : 0);

	conf_accepted(t,
		      conf_try_fd(t, CVMM_VHOST_USER_SET_VRING_CALL, value, q->mute ? -1 : q->call),
		      "SET_VRING_CALL");
}

void conf_queue_send_kick(struct conf *t, struct conf_queue *q)
{
	uint64_t value = q->index | (q->polled ? CVMM_VHOST_USER_VRING_NO_FD : 0);

	conf_accepted(
		t, conf_try_fd(t, CVMM_VHOST_USER_SET_VRING_KICK, value, q->polled ? -1 : q->kick),
		"SET_VRING_KICK");
}

void conf_queue_enable(struct conf *t, struct conf_queue *q, bool enable)
{
	/* Without bit 30 there is no such request, and all rings are enabled. */
	if (!(t->acked & CONF_F_PROTOCOL))
		return;
	conf_accepted(t, conf_try_state(t, CVMM_VHOST_USER_SET_VRING_ENABLE, q->index, enable),
		      enable ? "SET_VRING_ENABLE 1" : "SET_VRING_ENABLE 0");
}

void conf_queue_set_up(struct conf *t, struct conf_queue *q)
{
	conf_queue_send_num(t, q);
	conf_queue_send_base(t, q);
	conf_queue_send_addr(t, q);
	conf_accepted(t, conf_try_fd(t, CVMM_VHOST_USER_SET_VRING_ERR, q->index, q->err),
		      "SET_VRING_ERR");
	conf_queue_send_call(t, q);
	conf_queue_send_kick(t, q);
}

void conf_queues_make(struct conf *t)
{
	const struct conf_device *device = t->device;

	if (device->begin)
		device->begin(t);
	for (unsigned int i = 0; i < device->queue_count; i++) {
		struct conf_queue *q = conf_queue_make(t, i, CONF_QUEUE_SIZE);

		if (i == device->queue)
			t->queue = q;
	}
}

void conf_queues_set_up(struct conf *t)
{
	for (unsigned int i = 0; i < t->device->queue_count; i++)
		conf_queue_set_up(t, &t->queues[i]);
}

void conf_queues_enable(struct conf *t, bool enable)
{
	for (unsigned int i = 0; i < t->device->queue_count; i++)
		conf_queue_enable(t, &t->queues[i], enable);
}

void conf_queues_start(struct conf *t, bool enable)
{
	conf_queues_make(t);
	conf_queues_set_up(t);
	if (enable)
		conf_queues_enable(t, true);
}

uint32_t conf_queue_position(const struct conf_queue *q)
{
	uint32_t next = cvmm_virtq_driver_notification_data(&q->driver, 0) >> 16;

	return q->config.packed ? next | next << 16 : next;
}

uint32_t conf_queue_stop(struct conf *t, struct conf_queue *q)
{
	struct cvmm_vhost_user_vring_state state = { q->index, 0 };

	conf_ask(t, CVMM_VHOST_USER_GET_VRING_BASE, &state, sizeof(state));
	if (t->msg->size != sizeof(state))
		conf_fail(t, "GET_VRING_BASE: the answer has %u bytes and not 8", t->msg->size);
	memcpy(&state, t->msg->payload, sizeof(state));
	if (state.index != q->index)
		conf_fail(t, "GET_VRING_BASE of queue %u: the answer is for queue %u", q->index,
			  state.index);
	return state.num;
}

void conf_kick(struct conf *t, struct conf_queue *q)
{
	uint64_t one = 1;

	conf_trace(t, "! kick of queue %u", q->index);
	if (write(q->kick, &one, sizeof(one)) != sizeof(one))
		conf_fail(t, "the suite cannot kick: %s", strerror(errno));
}

/* ---- requests ---------------------------------------------------------------------------------- */

struct conf_request *conf_request(struct conf *t, unsigned int slot)
{
	struct conf_request *r = &t->requests[slot];

	CVMM_BUG_ON(slot >= CONF_REQUESTS_MAX);
	memset(r, 0, sizeof(*r));
	r->gpa = REQUESTS_GPA + slot * (uint64_t)CONF_REQUEST_BYTES;
	memset(conf_ptr(t, r->gpa, CONF_REQUEST_BYTES), FRESH, CONF_REQUEST_BYTES);
	t->device->build(t, r);
	return r;
}

void conf_request_scatter(struct conf_request *r)
{
	struct cvmm_virtq_segment out[CONF_SEGMENTS_MAX];
	unsigned int n = 0, readable = 0;

	for (unsigned int i = 0; i < r->readable + r->writable; i++) {
		uint32_t half = r->segments[i].len_bytes / 2;

		if (half)
			out[n++] = (struct cvmm_virtq_segment){ r->segments[i].gpa, half };
		out[n++] = (struct cvmm_virtq_segment){ cvmm_gpa_add(r->segments[i].gpa, half),
							r->segments[i].len_bytes - half };
		CVMM_BUG_ON(n > CONF_SEGMENTS_MAX);
		if (i + 1 == r->readable)
			readable = n;
	}
	memcpy(r->segments, out, n * sizeof(out[0]));
	r->readable = readable;
	r->writable = n - readable;
}

void conf_submit(struct conf *t, struct conf_queue *q, struct conf_request *r)
{
	int e = cvmm_virtq_driver_add(&q->driver, r->segments, r->readable, r->writable, r);

	if (e)
		conf_fail(t, "the suite cannot put a request into the ring: %s", strerror(-e));
	cvmm_virtq_driver_publish(&q->driver);
}

static uint16_t used_idx(struct conf *t, struct conf_queue *q)
{
	uint16_t *p = conf_ptr(t, q->config.device_area.addr + 2, sizeof(*p));
	cvmm_le16 idx = { __atomic_load_n(p, __ATOMIC_ACQUIRE) };

	return cvmm_le16_get(idx);
}

/* Some devices count what they read as written. That is one finding, and not one for each test. */
static void forgive_length(struct conf *t, struct conf_queue *q)
{
	uint16_t idx;

	if (q->config.packed || t->device->has_result)
		return;
	idx = used_idx(t, q);
	while (q->looked_at != idx && (uint16_t)(idx - q->looked_at) <= q->config.size) {
		uint64_t at = 4 + 8 * (uint64_t)(q->looked_at++ % q->config.size);
		uint8_t *elem = conf_ptr(t, q->config.device_area.addr + at, 8);

		if (cvmm_get_le32(elem + 4))
			q->odd_len = cvmm_get_le32(elem + 4);
		cvmm_put_le32(elem + 4, 0);
	}
}

static void take_all(struct conf *t, struct conf_queue *q)
{
	void *token;
	uint32_t len;
	int n;

	forgive_length(t, q);
	while ((n = cvmm_virtq_driver_take(&q->driver, &token, &len)) == 1) {
		struct conf_request *r = token;

		r->done = true;
		r->used_len = len;
	}
	if (n < 0)
		conf_fail(
			t, "the device broke the ring: %s",
			cvmm_virtq_driver_violation_name(cvmm_virtq_driver_violation(&q->driver)));
}

bool conf_wait(struct conf *t, struct conf_queue *q, const struct conf_request *r,
	       unsigned int timeout_ms)
{
	uint64_t deadline = cvmm_clock_ns() + timeout_ms * CVMM_NS_PER_MS;

	for (;;) {
		struct pollfd p = { .fd = q->call, .events = POLLIN };
		uint64_t count;

		take_all(t, q);
		if (r->done)
			return true;
		if (cvmm_clock_ns() >= deadline)
			return false;
		/* Looks at the ring even without a call: that one comes is for the tests of calls. */
		if (poll(&p, 1, POLL_MS) == 1 && read(q->call, &count, sizeof(count)) > 0)
			q->calls++;
	}
}

void conf_done(struct conf *t, struct conf_queue *q, struct conf_request *r)
{
	if (!conf_wait(t, q, r, t->options->timeout_ms))
		conf_fail(t, "a request was not completed for %u ms", t->options->timeout_ms);
	t->device->check(t, r);
}

void conf_one_request(struct conf *t, unsigned int slot)
{
	struct conf_request *r = conf_request(t, slot);

	conf_submit(t, t->queue, r);
	conf_kick(t, t->queue);
	conf_done(t, t->queue, r);
}

bool conf_request_is_untouched(struct conf *t, const struct conf_request *r)
{
	for (unsigned int i = r->readable; i < r->readable + r->writable; i++) {
		const uint8_t *p = conf_ptr(t, r->segments[i].gpa.addr, r->segments[i].len_bytes);

		for (uint32_t k = 0; k < r->segments[i].len_bytes; k++)
			if (p[k] != FRESH)
				return false;
	}
	return true;
}

/* ---- rings by hand ----------------------------------------------------------------------------- */

void conf_put_desc(struct conf *t, struct conf_queue *q, uint16_t i, uint64_t gpa, uint32_t len,
		   uint16_t flags, uint16_t next)
{
	struct cvmm_virtq_desc desc = {
		.addr = cvmm_le64_from(gpa),
		.len = cvmm_le32_from(len),
		.flags = cvmm_le16_from(flags),
		.next = cvmm_le16_from(next),
	};

	memcpy(conf_ptr(t, q->config.desc.addr + i * sizeof(desc), sizeof(desc)), &desc,
	       sizeof(desc));
}

void conf_set_avail_idx(struct conf *t, struct conf_queue *q, uint16_t idx)
{
	uint16_t *p = conf_ptr(t, q->config.driver_area.addr + 2, sizeof(*p));

	__atomic_store_n(p, cvmm_le16_from(idx).raw, __ATOMIC_SEQ_CST);
}

void conf_put_avail(struct conf *t, struct conf_queue *q, uint16_t idx, uint16_t head)
{
	uint64_t at = q->config.driver_area.addr + 4 + 2 * (uint64_t)(idx % q->config.size);

	cvmm_put_le16(conf_ptr(t, at, 2), head);
}

void conf_put_packed(struct conf *t, struct conf_queue *q, uint16_t i, uint64_t gpa, uint32_t len,
		     uint16_t flags, uint16_t id)
{
	struct cvmm_virtq_packed_desc desc = {
		.addr = cvmm_le64_from(gpa),
		.len = cvmm_le32_from(len),
		.id = cvmm_le16_from(id),
		.flags = cvmm_le16_from(flags),
	};
	struct cvmm_virtq_packed_desc *p =
		conf_ptr(t, q->config.desc.addr + i * sizeof(desc), sizeof(desc));

	p->addr = desc.addr;
	p->len = desc.len;
	p->id = desc.id;
	desc.flags = cvmm_le16_from((uint16_t)(flags | CVMM_VIRTQ_DESC_F_AVAIL));
	__atomic_store_n(&p->flags.raw, desc.flags.raw, __ATOMIC_RELEASE);
}

void conf_put_table(struct cvmm_virtq_desc *table, const struct conf_request *r)
{
	unsigned int n = r->readable + r->writable;

	for (unsigned int i = 0; i < n; i++)
		table[i] = (struct cvmm_virtq_desc){
			.addr = cvmm_le64_from(r->segments[i].gpa.addr),
			.len = cvmm_le32_from(r->segments[i].len_bytes),
			.flags = cvmm_le16_from(
				(uint16_t)((i + 1 < n ? CVMM_VIRTQ_DESC_F_NEXT : 0) |
					   (i >= r->readable ? CVMM_VIRTQ_DESC_F_WRITE : 0))),
			.next = cvmm_le16_from((uint16_t)(i + 1)),
		};
}

void conf_wait_used(struct conf *t, struct conf_queue *q, uint16_t idx)
{
	for (unsigned int ms = 0; used_idx(t, q) != idx; ms++) {
		if (ms == t->options->timeout_ms)
			conf_fail(t, "a request was not completed for %u ms",
				  t->options->timeout_ms);
		conf_sleep_ms(1);
	}
}
