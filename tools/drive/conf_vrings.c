// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* How queues are set up, started, enabled and stopped. */
#include <poll.h>
#include <unistd.h>

#include "conf.h"

#define SPEC_STATES "vhost-user, Ring states"
#define SPEC_NUM "vhost-user, VHOST_USER_SET_VRING_NUM; VIRTIO 1.3, 2.7"
#define SPEC_ADDR "vhost-user, VHOST_USER_SET_VRING_ADDR"
#define SPEC_ALIGN "VIRTIO 1.3, 2.7"
#define SPEC_BASE "vhost-user, VHOST_USER_GET_VRING_BASE"
#define SPEC_SET_BASE "vhost-user, VHOST_USER_SET_VRING_BASE"
#define SPEC_KICK "vhost-user, VHOST_USER_SET_VRING_KICK"
#define SPEC_CALL "vhost-user, VHOST_USER_SET_VRING_CALL"
#define SPEC_ERR "vhost-user, VHOST_USER_SET_VRING_ERR"
#define SPEC_FD_INDEX "vhost-user, VHOST_USER_SET_VRING_KICK: bits 0-7 are the index"
#define SPEC_QUEUES "vhost-user, Multiple queue support"
#define SPEC_ENABLE "vhost-user, VHOST_USER_SET_VRING_ENABLE"
#define SPEC_PIPES "vhost-user, Support for platforms other than Linux"

#define RAM_END (CONF_RINGS_GPA + CONF_REGION_BYTES)

/* ---- numbers of queues ---------------------------------------------------------------------------- */

static const uint32_t fd_requests[] = { CVMM_VHOST_USER_SET_VRING_KICK,
					CVMM_VHOST_USER_SET_VRING_CALL,
					CVMM_VHOST_USER_SET_VRING_ERR };

static void index_too_large(struct conf *t)
{
	static const uint32_t requests[] = { CVMM_VHOST_USER_SET_VRING_NUM,
					     CVMM_VHOST_USER_SET_VRING_BASE,
					     CVMM_VHOST_USER_SET_VRING_ENABLE };
	const uint32_t indices[] = { t->queue_count, 256, 0x10000, UINT32_MAX };

	for (size_t i = t->queue_count ? 0 : 1; i < CVMM_ARRAY_SIZE(indices); i++) {
		for (size_t k = 0; k < CVMM_ARRAY_SIZE(requests); k++) {
			char what[64];

			conf_reopen(t, CONF_SHARED);
			snprintf(what, sizeof(what), "%s of queue %u of %u",
				 conf_request_name(requests[k]), indices[i], t->queue_count);
			conf_refused(t,
				     conf_try_state(t, requests[k], indices[i],
						    requests[k] == CVMM_VHOST_USER_SET_VRING_NUM
							    ? CONF_QUEUE_SIZE
							    : 0),
				     what);
		}
	}
}

static void addr_index_too_large(struct conf *t)
{
	struct conf_queue *q = conf_queue_make(t, 0, CONF_QUEUE_SIZE);
	struct cvmm_vhost_user_vring_addr addr = conf_queue_addr(t, q);

	addr.index = UINT32_MAX;
	conf_refused(t, conf_try(t, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0),
		     "SET_VRING_ADDR of queue 4294967295");
}

static void get_base_index_too_large(struct conf *t)
{
	const uint32_t indices[] = { conf_queue_limit(t), 0x10000, UINT32_MAX };

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(indices); i++) {
		struct cvmm_vhost_user_vring_state state = { indices[i], 0 };

		conf_reopen(t, CONF_SHARED);
		conf_send(t, CVMM_VHOST_USER_GET_VRING_BASE, 0, &state, sizeof(state), NULL, 0);
		if (conf_receive(t, t->options->timeout_ms) == CONF_SILENT)
			conf_note(t, "GET_VRING_BASE of queue %u is not answered", indices[i]);
	}
	conf_recovers(t);
}

/* A queue that is named in 8 bits, where bit 8 has a meaning of its own. */
static void fd_index_too_large(struct conf *t)
{
	static const uint64_t values[] = { 0x200, 0x1000, UINT64_C(1) << 32,
					   UINT64_MAX & ~UINT64_C(0x1ff) };

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(values); i++) {
		for (size_t k = 0; k < CVMM_ARRAY_SIZE(fd_requests); k++) {
			char what[64];

			conf_reopen(t, CONF_SHARED);
			snprintf(what, sizeof(what), "%s with the value 0x%llx",
				 conf_request_name(fd_requests[k]), (unsigned long long)values[i]);
			conf_refused(t, conf_try_fd(t, fd_requests[k], values[i], conf_eventfd(t)),
				     what);
		}
	}
}

static void fd_index_not_there(struct conf *t)
{
	if (!t->queue_count || t->queue_count > 255)
		conf_skip(t, "every index is that of a queue, or the number of queues is unknown");
	for (size_t k = 0; k < CVMM_ARRAY_SIZE(fd_requests); k++) {
		char what[64];

		conf_reopen(t, CONF_SHARED);
		snprintf(what, sizeof(what), "%s of queue 255 of %u",
			 conf_request_name(fd_requests[k]), t->queue_count);
		conf_refused(t, conf_try_fd(t, fd_requests[k], 255, conf_eventfd(t)), what);
	}
}

/* ---- sizes and addresses --------------------------------------------------------------------------- */

static void try_num(struct conf *t, uint32_t num)
{
	char what[48];

	snprintf(what, sizeof(what), "a queue of %u entries", num);
	conf_refused(t, conf_try_state(t, CVMM_VHOST_USER_SET_VRING_NUM, 0, num), what);
}

static void num_zero(struct conf *t)
{
	try_num(t, 0);
}

static void num_no_power_of_two(struct conf *t)
{
	try_num(t, 3);
	conf_reopen(t, CONF_SHARED);
	try_num(t, 100);
}

static void num_too_large(struct conf *t)
{
	static const uint32_t nums[] = { 0x10000, 0x10000 + CONF_QUEUE_SIZE, UINT32_C(1) << 31,
					 UINT32_MAX };

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(nums); i++) {
		if (i)
			conf_reopen(t, CONF_SHARED);
		try_num(t, nums[i]);
	}
}

static void num_usual(struct conf *t)
{
	conf_accepted(t, conf_try_state(t, CVMM_VHOST_USER_SET_VRING_NUM, 0, 128),
		      "a queue of 128 entries");
	conf_accepted(t, conf_try_state(t, CVMM_VHOST_USER_SET_VRING_NUM, 0, 256),
		      "a queue of 256 entries");
}

static void num_large(struct conf *t)
{
	conf_accepted(t, conf_try_state(t, CVMM_VHOST_USER_SET_VRING_NUM, 0, 1024),
		      "a queue of 1024 entries");
}

/* VIRTIO 1.3, 2.8: the size of a packed queue is any number. */
static void num_packed(struct conf *t)
{
	struct conf_queue *q;
	uint64_t bytes;

	conf_queues_make(t);
	q = t->queue;
	q->config.size = 100;
	CVMM_BUG_ON(cvmm_virtq_driver_layout(&q->config, q->config.desc, &bytes));
	conf_queue_renew(t, q);
	conf_queues_set_up(t);
	conf_queues_enable(t, true);
	for (unsigned int i = 0; i < 250; i++)
		conf_one_request(t, i);
}

static bool is_signalled(int fd, unsigned int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, (int)timeout_ms) == 1 && p.revents & POLLIN;
}

/*
 * Some back-ends look at addresses only when the queue starts, so it is set up as a whole. Passes if any
 * step is refused, or the queue is said to have failed.
 */
static void bad_ring(struct conf *t, struct conf_queue *q, struct cvmm_vhost_user_vring_addr addr,
		     const char *what)
{
	enum conf_verdict verdict;

	conf_queue_send_num(t, q);
	conf_queue_send_base(t, q);
	conf_accepted(t, conf_try_fd(t, CVMM_VHOST_USER_SET_VRING_ERR, q->index, q->err),
		      "SET_VRING_ERR");
	conf_queue_send_call(t, q);
	verdict = conf_try(t, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
	if (verdict == CONF_ACKED)
		verdict = conf_try_fd(t, CVMM_VHOST_USER_SET_VRING_KICK, q->index, q->kick);
	if (verdict == CONF_ACKED && t->acked & CONF_F_PROTOCOL)
		verdict = conf_try_state(t, CVMM_VHOST_USER_SET_VRING_ENABLE, q->index, 1);
	if (verdict == CONF_ACKED) {
		conf_kick(t, q);
		if (is_signalled(q->err, t->options->quiet_ms))
			return;
		conf_is_alive(t); /* or dead, which is seen after the test */
	}
	conf_refused(t, verdict, what);
}

static void addr_outside(struct conf *t)
{
	for (unsigned int i = 0; i < 3; i++) {
		static const char *const whats[] = { "a descriptor table outside of memory",
						     "an available ring outside of memory",
						     "a used ring outside of memory" };
		struct cvmm_vhost_user_vring_addr addr;
		struct conf_queue *q;
		uint64_t *fields[] = { &addr.desc, &addr.avail, &addr.used };

		if (i)
			conf_reopen(t, CONF_SHARED);
		q = conf_queue_make(t, 0, CONF_QUEUE_SIZE);
		addr = conf_queue_addr(t, q);
		*fields[i] = UINT64_C(0x123456780000);
		bad_ring(t, q, addr, whats[i]);
	}
}

static void addr_crosses_end(struct conf *t)
{
	static const char *const whats[] = { "a descriptor table that passes the end of memory",
					     "an available ring that passes the end of memory",
					     "a used ring that passes the end of memory" };

	for (unsigned int i = 0; i < 3; i++) {
		struct cvmm_vhost_user_vring_addr addr;
		struct conf_queue *q;
		uint64_t *fields[] = { &addr.desc, &addr.avail, &addr.used };

		if (i)
			conf_reopen(t, CONF_SHARED);
		q = conf_queue_make(t, 0, CONF_QUEUE_SIZE);
		addr = conf_queue_addr(t, q);
		*fields[i] = conf_uva(t, RAM_END - 16);
		bad_ring(t, q, addr, whats[i]);
	}
}

static void addr_misaligned(struct conf *t)
{
	static const char *const whats[] = {
		"a descriptor table that is not aligned to 16 bytes",
		"an available ring that is not aligned to 2 bytes",
		"a used ring that is not aligned to 4 bytes",
	};
	static const uint64_t offsets[] = { 8, 1, 2 };

	for (unsigned int i = 0; i < 3; i++) {
		struct cvmm_vhost_user_vring_addr addr;
		struct conf_queue *q;
		uint64_t *fields[] = { &addr.desc, &addr.avail, &addr.used };

		if (i)
			conf_reopen(t, CONF_SHARED);
		q = conf_queue_make(t, 0, CONF_QUEUE_SIZE);
		addr = conf_queue_addr(t, q);
		*fields[i] += offsets[i];
		bad_ring(t, q, addr, whats[i]);
	}
}

static void addr_without_memory(struct conf *t)
{
	struct cvmm_vhost_user_vring_addr addr = { .desc = 0x1000,
						   .avail = 0x2000,
						   .used = 0x3000 };

	conf_try_state(t, CVMM_VHOST_USER_SET_VRING_NUM, 0, CONF_QUEUE_SIZE);
	conf_try(t, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
	conf_try_fd(t, CVMM_VHOST_USER_SET_VRING_KICK, 0, conf_eventfd(t));
	conf_recovers(t);
}

/* One area as near to the end of memory as its alignment allows. */
static void at_the_end(struct conf *t, unsigned int area)
{
	struct conf_queue *q;
	uint64_t n;

	conf_queues_make(t);
	q = t->queue;
	n = q->config.size;
	if (area == 0)
		q->config.desc = cvmm_gpa_from(RAM_END - 16 * n);
	else if (area == 1)
		q->config.driver_area = cvmm_gpa_from(RAM_END - (6 + 2 * n));
	else
		q->config.device_area = cvmm_gpa_from(RAM_END - (8 + 8 * n));
	conf_queue_renew(t, q);
	conf_queues_set_up(t);
	conf_queues_enable(t, true);
	for (unsigned int i = 0; i < 3; i++)
		conf_one_request(t, i);
}

static void desc_at_the_end(struct conf *t)
{
	at_the_end(t, 0);
}

static void avail_at_the_end(struct conf *t)
{
	at_the_end(t, 1);
}

static void used_at_the_end(struct conf *t)
{
	at_the_end(t, 2);
}

/* ---- descriptors ----------------------------------------------------------------------------------- */

static void kick_bit_8_and_fd(struct conf *t)
{
	int read_end, write_end;

	conf_pipe(t, &read_end, &write_end);
	conf_refused(t,
		     conf_try_fd(t, CVMM_VHOST_USER_SET_VRING_CALL, CVMM_VHOST_USER_VRING_NO_FD,
				 write_end),
		     "SET_VRING_CALL with bit 8 and a descriptor");
	conf_close(t);
	conf_drop(t, write_end);
	if (!conf_other_end_is_closed(read_end))
		conf_fail(t, "the descriptor stays open after the connection ended");
}

static void kick_without_bit_8_and_fd(struct conf *t)
{
	for (size_t k = 0; k < CVMM_ARRAY_SIZE(fd_requests); k++) {
		char what[64];

		if (k)
			conf_reopen(t, CONF_SHARED);
		snprintf(what, sizeof(what), "%s without bit 8 and without a descriptor",
			 conf_request_name(fd_requests[k]));
		conf_refused(t, conf_try_fd(t, fd_requests[k], 0, -1), what);
	}
}

static void two_descriptors(struct conf *t)
{
	uint64_t value = 0;
	int fds[2];

	for (size_t k = 0; k < CVMM_ARRAY_SIZE(fd_requests); k++) {
		char what[64];

		if (k)
			conf_reopen(t, CONF_SHARED);
		fds[0] = conf_eventfd(t);
		fds[1] = conf_eventfd(t);
		snprintf(what, sizeof(what), "%s with two descriptors",
			 conf_request_name(fd_requests[k]));
		conf_refused(t, conf_try(t, fd_requests[k], &value, sizeof(value), fds, 2), what);
	}
}

static void err_without_fd(struct conf *t)
{
	conf_accepted(
		t, conf_try_fd(t, CVMM_VHOST_USER_SET_VRING_ERR, CVMM_VHOST_USER_VRING_NO_FD, -1),
		"SET_VRING_ERR with bit 8");
}

static void kick_without_fd(struct conf *t)
{
	struct conf_queue *q = conf_queue_make(t, 0, CONF_QUEUE_SIZE);

	q->polled = true;
	conf_queue_set_up(t, q);
	conf_must_be_alive(t, "SET_VRING_KICK with bit 8");
}

static void polling(struct conf *t)
{
	conf_queues_make(t);
	t->queue->polled = true;
	conf_queues_set_up(t);
	conf_queues_enable(t, true);
	for (unsigned int i = 0; i < 3; i++) {
		struct conf_request *r = conf_request(t, i);

		conf_submit(t, t->queue, r);
		conf_done(t, t->queue, r);
	}
}

static void call_without_fd(struct conf *t)
{
	conf_queues_make(t);
	for (unsigned int i = 0; i < t->device->queue_count; i++)
		t->queues[i].mute = true;
	conf_queues_set_up(t);
	conf_queues_enable(t, true);
	for (unsigned int i = 0; i < 3; i++)
		conf_one_request(t, i);
}

static void kick_replaced(struct conf *t)
{
	int read_end, write_end;

	conf_one_request(t, 0);
	t->queue->kick = conf_eventfd(t);
	conf_queue_send_kick(t, t->queue);
	conf_one_request(t, 1);
	/* That the old one is let go of shows with a pipe, which nobody needs to read. */
	conf_pipe(t, &read_end, &write_end);
	conf_accepted(t, conf_try_fd(t, CVMM_VHOST_USER_SET_VRING_ERR, t->queue->index, write_end),
		      "SET_VRING_ERR");
	conf_accepted(t,
		      conf_try_fd(t, CVMM_VHOST_USER_SET_VRING_ERR, t->queue->index, t->queue->err),
		      "SET_VRING_ERR");
	conf_one_request(t, 2);
	conf_drop(t, write_end);
	if (!conf_other_end_is_closed(read_end))
		conf_note(t, "a descriptor of SET_VRING_ERR that was replaced stays open");
}

static void call_replaced(struct conf *t)
{
	int before = t->queue->call;

	conf_one_request(t, 0);
	t->queue->call = conf_eventfd(t);
	t->queue->calls = 0;
	conf_queue_send_call(t, t->queue);
	conf_one_request(t, 1);
	if (!t->queue->calls && !is_signalled(t->queue->call, t->options->timeout_ms))
		conf_fail(t, "the new descriptor is not signalled%s",
			  is_signalled(before, 0) ? "; the old one is" : "");
}

static void pipes(struct conf *t)
{
	uint64_t one = 1;
	struct conf_request *r;
	int kick_read, kick_write, call_read, call_write;

	conf_queues_make(t);
	conf_pipe(t, &kick_read, &kick_write);
	conf_pipe(t, &call_read, &call_write);
	t->queue->kick = kick_read;
	t->queue->call = call_write;
	conf_queues_set_up(t);
	conf_queues_enable(t, true);
	r = conf_request(t, 0);
	conf_submit(t, t->queue, r);
	if (write(kick_write, &one, sizeof(one)) != sizeof(one))
		conf_fail(t, "the suite cannot write to a pipe");
	t->queue->call = call_read;
	conf_done(t, t->queue, r);
	if (!t->queue->calls && !is_signalled(call_read, t->options->timeout_ms))
		conf_fail(t, "the request is completed, but the pipe for calls gets nothing");
}

/* ---- states ---------------------------------------------------------------------------------------- */

static void kick_before_enable(struct conf *t)
{
	struct conf_request *r;

	conf_queues_start(t, false);
	r = conf_request(t, 0);
	conf_submit(t, t->queue, r);
	conf_kick(t, t->queue);
	if (conf_wait(t, t->queue, r, t->options->quiet_ms)) {
		conf_note(t, "a request to a disabled queue is given back");
		r = conf_request(t, 1);
		conf_submit(t, t->queue, r);
		conf_kick(t, t->queue);
	}
	conf_queues_enable(t, true);
	conf_done(t, t->queue, r);
}

static void enable_before_kick(struct conf *t)
{
	conf_queues_make(t);
	conf_queues_enable(t, true);
	conf_queues_set_up(t);
	conf_one_request(t, 0);
}

static void no_kick_at_start(struct conf *t)
{
	struct conf_request *r;

	conf_queues_make(t);
	r = conf_request(t, 0);
	conf_submit(t, t->queue, r);
	conf_queues_set_up(t);
	conf_queues_enable(t, true);
	conf_done(t, t->queue, r);
}

static void disabled_at_first(struct conf *t)
{
	struct conf_request *r;

	conf_queues_start(t, false);
	r = conf_request(t, 0);
	conf_submit(t, t->queue, r);
	conf_kick(t, t->queue);
	conf_sleep_ms(t->options->quiet_ms);
	if (!conf_request_is_untouched(t, r))
		conf_fail(t, "a request was executed before its queue was enabled");
}

static void disable_stops(struct conf *t)
{
	struct conf_request *r;

	conf_one_request(t, 0);
	conf_queue_enable(t, t->queue, false);
	r = conf_request(t, 1);
	conf_submit(t, t->queue, r);
	conf_kick(t, t->queue);
	conf_sleep_ms(t->options->quiet_ms);
	if (!conf_request_is_untouched(t, r))
		conf_fail(t, "a request to a disabled queue was executed");
}

static void enable_again(struct conf *t)
{
	struct conf_request *r;

	conf_one_request(t, 0);
	conf_queue_enable(t, t->queue, false);
	r = conf_request(t, 1);
	conf_submit(t, t->queue, r);
	conf_kick(t, t->queue);
	if (conf_wait(t, t->queue, r, t->options->quiet_ms)) {
		r = conf_request(t, 2);
		conf_submit(t, t->queue, r);
		conf_kick(t, t->queue);
	}
	conf_queue_enable(t, t->queue, true);
	conf_done(t, t->queue, r);
	conf_one_request(t, 3);
}

static void odd_enable(struct conf *t)
{
	conf_refused(t, conf_try_state(t, CVMM_VHOST_USER_SET_VRING_ENABLE, 0, 2),
		     "SET_VRING_ENABLE with 2");
}

static void without_bit_30(struct conf *t)
{
	conf_set_features(t, conf_wanted_features(t) & ~CONF_F_PROTOCOL);
	conf_ram_default(t);
	conf_accepted(t, conf_ram_share(t), "SET_MEM_TABLE");
	conf_queues_start(t, false);
	conf_one_request(t, 0);
}

static void stops(struct conf *t)
{
	struct conf_request *r;
	uint32_t base, expected;

	for (unsigned int i = 0; i < 3; i++)
		conf_one_request(t, i);
	expected = conf_queue_position(t->queue);
	base = conf_queue_stop(t, t->queue);
	if (base != expected)
		conf_fail(t, "the base is 0x%x, and 0x%x was expected", base, expected);
	r = conf_request(t, 3);
	conf_submit(t, t->queue, r);
	conf_kick(t, t->queue);
	if (conf_wait(t, t->queue, r, t->options->quiet_ms) || !conf_request_is_untouched(t, r))
		conf_fail(t, "a request to a stopped queue was executed");
}

/* Many at once, and stopped before they can all be done. */
static void stop_drains(struct conf *t)
{
	unsigned int n = CONF_QUEUE_SIZE / 4, done = 0;
	uint32_t base;

	for (unsigned int i = 0; i < n; i++)
		conf_submit(t, t->queue, conf_request(t, i));
	conf_kick(t, t->queue);
	base = conf_queue_stop(t, t->queue);
	/* What was taken from the ring has come back by now; the rest stays where it was. */
	conf_wait(t, t->queue, &t->requests[n - 1], 0);
	for (unsigned int i = 0; i < n; i++)
		done += t->requests[i].done;
	if (base != done)
		conf_fail(t, "the base is %u, but %u requests came back", base, done);
	conf_sleep_ms(t->options->quiet_ms);
	conf_wait(t, t->queue, &t->requests[n - 1], 0);
	for (unsigned int i = 0; i < n; i++)
		done -= t->requests[i].done;
	if (done)
		conf_fail(t, "requests came back after the queue was stopped");
}

static void restart(struct conf *t)
{
	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < 3; i++)
			conf_one_request(t, i);
		t->queue->base = conf_queue_stop(t, t->queue);
		conf_queue_set_up(t, t->queue);
		conf_queue_enable(t, t->queue, true);
	}
	conf_one_request(t, 0);
}

static void restart_finds_requests(struct conf *t)
{
	struct conf_request *r;

	conf_one_request(t, 0);
	t->queue->base = conf_queue_stop(t, t->queue);
	r = conf_request(t, 1);
	conf_submit(t, t->queue, r);
	conf_queue_set_up(t, t->queue);
	conf_queue_enable(t, t->queue, true);
	conf_kick(t, t->queue); /* as front-ends should */
	conf_done(t, t->queue, r);
}

static void enabled_survives_stop(struct conf *t)
{
	conf_one_request(t, 0);
	t->queue->base = conf_queue_stop(t, t->queue);
	conf_queue_set_up(t, t->queue);
	conf_one_request(t, 1);
}

static void stop_one_only(struct conf *t)
{
	if (t->device->queue == 0)
		conf_skip(t, "%s has one queue for requests only", t->device->name);
	conf_one_request(t, 0);
	conf_queue_stop(t, &t->queues[0]);
	conf_one_request(t, 1);
}

static void idle_base(struct conf *t)
{
	struct conf_queue *q = conf_queue_make(t, 0, CONF_QUEUE_SIZE);
	uint32_t base;

	conf_queue_send_num(t, q);
	q->base = 5;
	conf_queue_send_base(t, q);
	base = conf_queue_stop(t, q);
	if (base != 5)
		conf_fail(t, "the base was set to 5, and is %u", base);
}

static void stop_twice(struct conf *t)
{
	uint32_t first, second;

	conf_one_request(t, 0);
	first = conf_queue_stop(t, t->queue);
	second = conf_queue_stop(t, t->queue);
	if (first != second)
		conf_fail(t, "the base is 0x%x, and then 0x%x", first, second);
}

/* A split ring whose indices are about to pass 65535. */
static void base_wraps(struct conf *t)
{
	struct conf_queue *q;
	struct conf_request *r;

	conf_queues_make(t);
	q = t->queue;
	q->base = UINT16_MAX;
	conf_set_avail_idx(t, q, UINT16_MAX);
	cvmm_put_le16(conf_ptr(t, q->config.device_area.addr + 2, 2), UINT16_MAX);
	conf_queues_set_up(t);
	conf_queues_enable(t, true);
	r = conf_request(t, 0);
	conf_put_table(conf_ptr(t, q->config.desc.addr, 16 * (r->readable + r->writable)), r);
	conf_put_avail(t, q, UINT16_MAX, 0);
	conf_set_avail_idx(t, q, 0);
	conf_kick(t, q);
	conf_wait_used(t, q, 0);
	if (conf_queue_stop(t, q) != 0)
		conf_fail(t, "the base after index 65535 is not 0");
}

static void skip_drain(struct conf *t)
{
	struct cvmm_vhost_user_vring_state state = { t->queue->index, 0 };
	uint32_t expected;

	conf_one_request(t, 0);
	expected = conf_queue_position(t->queue);
	conf_ask(t, CVMM_VHOST_USER_GET_VRING_BASE_SKIP_DRAIN, &state, sizeof(state));
	if (t->msg->size != sizeof(state))
		conf_fail(t, "the answer has %u bytes and not 8", t->msg->size);
	memcpy(&state, t->msg->payload, sizeof(state));
	if (state.num != expected)
		conf_fail(t, "the base is 0x%x, and 0x%x was expected", state.num, expected);
}

static const struct conf_test tests[] = {
	{ "index", "Requests for queues that are not there are refused", SPEC_QUEUES, CONF_SHOULD,
	  CONF_SHARED, CONF_NEEDS_ACK, .run = index_too_large },
	{ "addr-index", "SET_VRING_ADDR for a queue that is not there is refused", SPEC_QUEUES,
	  CONF_SHOULD, CONF_SHARED, CONF_NEEDS_ACK, .run = addr_index_too_large },
	{ "get-base-index", "GET_VRING_BASE of a queue that is not there harms no later connection",
	  SPEC_QUEUES, CONF_MUST, CONF_SHARED, .run = get_base_index_too_large },
	{ "fd-index", "Descriptors for a queue that is not there are refused", SPEC_QUEUES,
	  CONF_SHOULD, CONF_SHARED, CONF_NEEDS_ACK, .run = fd_index_not_there },
	{ "fd-index-above-255", "Descriptors for a queue above 255 are refused", SPEC_FD_INDEX,
	  CONF_SHOULD, CONF_SHARED, CONF_NEEDS_ACK, .run = fd_index_too_large },
	{ "num-zero", "A queue of no entries is refused", SPEC_NUM, CONF_SHOULD, CONF_SHARED,
	  CONF_NEEDS_ACK, .run = num_zero },
	{ "num-power-of-two", "A split queue whose size is no power of 2 is refused", SPEC_NUM,
	  CONF_SHOULD, CONF_SHARED, CONF_NEEDS_ACK, .run = num_no_power_of_two },
	{ "num-packed", "The size of a packed queue is any number", "VIRTIO 1.3, 2.8", CONF_MUST,
	  CONF_SHARED, CONF_NEEDS_DEVICE, .features = CONF_F_PACKED, .run = num_packed },
	{ "num-too-large", "A queue of more than 32768 entries is refused", SPEC_NUM, CONF_SHOULD,
	  CONF_SHARED, CONF_NEEDS_ACK, .run = num_too_large },
	{ "num-usual", "Queues of 128 and of 256 entries are taken", SPEC_NUM, CONF_SHOULD,
	  CONF_SHARED, CONF_NEEDS_ACK, .run = num_usual },
	{ "num-1024", "A queue of 1024 entries is taken", SPEC_NUM, CONF_OPTIONAL, CONF_SHARED,
	  CONF_NEEDS_ACK, .run = num_large },
	{ "addr-outside", "Rings outside of memory are refused", SPEC_ADDR, CONF_SHOULD,
	  CONF_SHARED, CONF_NEEDS_ACK, .run = addr_outside },
	{ "addr-crosses-end", "Rings that pass the end of memory are refused", SPEC_ADDR,
	  CONF_SHOULD, CONF_SHARED, CONF_NEEDS_ACK, .run = addr_crosses_end },
	{ "addr-misaligned", "Rings that are not aligned are refused", SPEC_ALIGN, CONF_SHOULD,
	  CONF_SHARED, CONF_NEEDS_ACK, .run = addr_misaligned },
	{ "addr-without-memory", "A queue without any memory harms no later connection", SPEC_ADDR,
	  CONF_MUST, CONF_NEGOTIATED, .run = addr_without_memory },
	{ "desc-at-end", "A descriptor table may end where memory ends", SPEC_ADDR, CONF_MUST,
	  CONF_SHARED, CONF_NEEDS_DEVICE, .run = desc_at_the_end },
	{ "avail-at-end", "An available ring may end where memory ends", SPEC_ADDR, CONF_MUST,
	  CONF_SHARED, CONF_NEEDS_DEVICE, .run = avail_at_the_end },
	{ "used-at-end", "A used ring may end where memory ends", SPEC_ADDR, CONF_MUST, CONF_SHARED,
	  CONF_NEEDS_DEVICE, .run = used_at_the_end },
	{ "bit-8-and-fd", "Bit 8 together with a descriptor is refused", SPEC_CALL, CONF_SHOULD,
	  CONF_SHARED, CONF_NEEDS_ACK, .run = kick_bit_8_and_fd },
	{ "no-bit-8-no-fd", "No descriptor without bit 8 is refused", SPEC_KICK, CONF_SHOULD,
	  CONF_SHARED, CONF_NEEDS_ACK, .run = kick_without_bit_8_and_fd },
	{ "two-fds", "Two descriptors for a queue are refused", SPEC_KICK, CONF_SHOULD, CONF_SHARED,
	  CONF_NEEDS_ACK, .run = two_descriptors },
	{ "err-without-fd", "SET_VRING_ERR takes bit 8 in place of a descriptor", SPEC_ERR,
	  CONF_SHOULD, CONF_SHARED, CONF_NEEDS_ACK, .run = err_without_fd },
	{ "kick-without-fd", "SET_VRING_KICK takes bit 8 in place of a descriptor", SPEC_KICK,
	  CONF_SHOULD, CONF_SHARED, .run = kick_without_fd },
	{ "polling", "A queue without a descriptor for kicks is polled", SPEC_KICK, CONF_OPTIONAL,
	  CONF_SHARED, CONF_NEEDS_DEVICE, .run = polling },
	{ "call-without-fd", "A queue without a descriptor for calls works", SPEC_CALL, CONF_MUST,
	  CONF_SHARED, CONF_NEEDS_DEVICE, .run = call_without_fd },
	{ "kick-replaced", "The descriptor for kicks can be replaced while the queue runs",
	  SPEC_STATES, CONF_SHOULD, CONF_RUNNING, .run = kick_replaced },
	{ "call-replaced", "The descriptor for calls can be replaced while the queue runs",
	  SPEC_STATES, CONF_MUST, CONF_RUNNING, .run = call_replaced },
	{ "pipes", "Kicks and calls may be pipes", SPEC_PIPES, CONF_OPTIONAL, CONF_SHARED,
	  CONF_NEEDS_DEVICE, .run = pipes },
	{ "kick-before-enable", "A kick before the queue is enabled is not lost", SPEC_STATES,
	  CONF_MUST, CONF_SHARED, CONF_NEEDS_DEVICE, .run = kick_before_enable },
	{ "enable-before-kick", "A queue may be enabled before it is started", SPEC_STATES,
	  CONF_MUST, CONF_SHARED, CONF_NEEDS_DEVICE, .run = enable_before_kick },
	{ "no-kick-at-start", "A queue that starts does what is in it without a kick",
	  "vhost-user, Ring states: back-ends SHOULD NOT rely on receiving a kick", CONF_SHOULD,
	  CONF_SHARED, CONF_NEEDS_DEVICE, .run = no_kick_at_start },
	{ "disabled-at-first", "A queue that was started has no effect before it is enabled",
	  SPEC_STATES, CONF_MUST, CONF_SHARED, CONF_NEEDS_RESULT, .run = disabled_at_first },
	{ "disable", "A queue that was disabled has no effect", SPEC_STATES, CONF_MUST,
	  CONF_RUNNING, CONF_NEEDS_RESULT, .run = disable_stops },
	{ "enable-again", "A queue that is enabled again does what came in the meantime",
	  SPEC_STATES, CONF_MUST, CONF_RUNNING, .run = enable_again },
	{ "odd-enable", "SET_VRING_ENABLE with another value than 0 and 1 is refused", SPEC_ENABLE,
	  CONF_OPTIONAL, CONF_SHARED, CONF_NEEDS_ACK, .run = odd_enable },
	{ "without-bit-30", "Without PROTOCOL_FEATURES all queues are enabled", SPEC_STATES,
	  CONF_MUST, CONF_NEGOTIATED, CONF_NEEDS_DEVICE, .run = without_bit_30 },
	{ "stop", "GET_VRING_BASE stops a queue, and says where it was", SPEC_BASE, CONF_MUST,
	  CONF_RUNNING, .run = stops },
	{ "stop-packed", "GET_VRING_BASE stops a packed queue, and says where it was", SPEC_BASE,
	  CONF_MUST, CONF_RUNNING, .features = CONF_F_PACKED, .run = stops },
	{ "stop-drains", "GET_VRING_BASE completes what was taken from the ring", SPEC_BASE,
	  CONF_MUST, CONF_RUNNING, .run = stop_drains },
	{ "stop-twice", "A stopped queue still says where it was", SPEC_BASE, CONF_SHOULD,
	  CONF_RUNNING, .run = stop_twice },
	{ "restart", "A queue goes on from the base that it is given", SPEC_SET_BASE, CONF_MUST,
	  CONF_RUNNING, .run = restart },
	{ "restart-packed", "A packed queue goes on from the base that it is given", SPEC_SET_BASE,
	  CONF_MUST, CONF_RUNNING, .features = CONF_F_PACKED, .run = restart },
	{ "restart-finds", "A queue that starts again does what came in the meantime", SPEC_STATES,
	  CONF_MUST, CONF_RUNNING, .run = restart_finds_requests },
	{ "enabled-survives-stop", "A queue that was enabled still is when it starts again",
	  SPEC_STATES, CONF_SHOULD, CONF_RUNNING, .run = enabled_survives_stop },
	{ "stop-one", "GET_VRING_BASE of one queue leaves the others running", SPEC_BASE,
	  CONF_SHOULD, CONF_RUNNING, .run = stop_one_only },
	{ "idle-base", "A queue that never ran has the base that was set", SPEC_BASE, CONF_SHOULD,
	  CONF_SHARED, .run = idle_base },
	{ "base-wraps", "Indices go on after 65535", SPEC_SET_BASE, CONF_MUST, CONF_SHARED,
	  CONF_NEEDS_DEVICE, .run = base_wraps },
	{ "skip-drain", "GET_VRING_BASE_SKIP_DRAIN says where the queue was",
	  "vhost-user, VHOST_USER_GET_VRING_BASE_SKIP_DRAIN", CONF_MUST, CONF_RUNNING,
	  .protocol = CVMM_VHOST_USER_PROTOCOL(GET_VRING_BASE_SKIP_DRAIN) |
		      CVMM_VHOST_USER_PROTOCOL(GET_VRING_BASE_INFLIGHT) |
		      CVMM_VHOST_USER_PROTOCOL(INFLIGHT_SHMFD),
	  .run = skip_drain },
};

const struct conf_group conf_vrings = { "vrings", tests, CVMM_ARRAY_SIZE(tests) };
