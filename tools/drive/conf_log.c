// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The log of writes, for migration. */
#include <poll.h>

#include "conf.h"

#define SPEC_LOG "vhost-user, Migration"
#define SPEC_BASE "vhost-user, VHOST_USER_SET_LOG_BASE"
#define SPEC_FD "vhost-user, VHOST_USER_SET_LOG_FD"
#define SHMFD CVMM_VHOST_USER_PROTOCOL(LOG_SHMFD)
#define SLOTS CVMM_VHOST_USER_PROTOCOL(CONFIGURE_MEM_SLOTS)

#define NEW_GPA (CONF_RINGS_GPA + CONF_REGION_BYTES)

/* Memory is up to NEW_GPA and a page more. */
#define LOG_BYTES ((NEW_GPA / CVMM_VHOST_USER_LOG_PAGE + 1) / 8 + 8)

struct log {
	uint8_t *bytes;
	uint64_t offset; /* in its file */
	int fd;
};

static struct log make_log_at(struct conf *t, uint64_t offset)
{
	uint64_t len = offset + LOG_BYTES;
	struct log log = { .offset = offset, .fd = conf_memfd(t, len) };

	log.bytes = conf_map_fd(t, log.fd, 0, len);
	if (!log.bytes)
		conf_fail(t, "the suite cannot map a log");
	log.bytes += offset;
	return log;
}

/* As QEMU has it. */
static struct log make_log(struct conf *t)
{
	return make_log_at(t, 0);
}

static void set_log_base(struct conf *t, const struct log *log)
{
	struct cvmm_vhost_user_log payload = { LOG_BYTES, log->offset };

	conf_send(t, CVMM_VHOST_USER_SET_LOG_BASE, 0, &payload, sizeof(payload), &log->fd, 1);
	switch (conf_receive_answer(t, CVMM_VHOST_USER_SET_LOG_BASE)) {
	case CONF_ANSWERED:
		return;
	case CONF_SILENT:
		conf_fail(t, "SET_LOG_BASE is not answered");
	default:
		conf_fail(t, "SET_LOG_BASE made the back-end close the connection");
	}
}

static bool is_marked(const struct log *log, uint64_t gpa)
{
	uint64_t page = gpa / CVMM_VHOST_USER_LOG_PAGE;

	return __atomic_load_n(&log->bytes[page / 8], __ATOMIC_SEQ_CST) >> page % 8 & 1;
}

/* A mark may come a little after the request. */
static bool gets_marked(struct conf *t, const struct log *log, uint64_t gpa)
{
	for (unsigned int ms = 0; ms < t->options->timeout_ms; ms++) {
		if (is_marked(log, gpa))
			return true;
		conf_sleep_ms(1);
	}
	return false;
}

static void clear(struct log *log)
{
	memset(log->bytes, 0, LOG_BYTES);
}

static void set_logging(struct conf *t, bool on)
{
	conf_set_features(t, conf_wanted_features(t) | (on ? CONF_F_LOG_ALL : 0));
}

/* Where the device writes first. */
static uint64_t written_gpa(const struct conf_request *r)
{
	return r->segments[r->readable].gpa.addr;
}

static void base_is_answered(struct conf *t)
{
	struct log log = make_log(t);

	set_log_base(t, &log);
	if (t->msg->size != 0 && t->msg->size != sizeof(uint64_t) &&
	    t->msg->size != sizeof(struct cvmm_vhost_user_log))
		conf_fail(t, "the answer has %u bytes", t->msg->size);
	/* What they say differs as well: there is no payload in the specification. */
	conf_note(t, "the answer has %u bytes", t->msg->size);
}

static void writes_are_logged(struct conf *t)
{
	struct log log = make_log(t);

	set_log_base(t, &log);
	set_logging(t, true);
	conf_one_request(t, 0);
	if (!gets_marked(t, &log, written_gpa(&t->requests[0])))
		conf_fail(t, "the page that a request wrote to is not marked");
	if (is_marked(&log, CONF_SCRATCH_GPA))
		conf_fail(t, "a page that nobody wrote to is marked");
}

static void log_used_ring(struct conf *t, bool elsewhere, uint64_t offset)
{
	struct log log = make_log_at(t, offset);
	struct conf_queue *q;

	set_log_base(t, &log);
	set_logging(t, true);
	conf_queues_make(t);
	q = t->queue;
	q->log_flags = CVMM_VHOST_USER_VRING_F_LOG;
	/* What is elsewhere may be where no memory is. */
	q->log_gpa = elsewhere ? 7 * CONF_REGION_BYTES : q->config.device_area.addr;
	conf_queues_set_up(t);
	conf_queues_enable(t, true);
	conf_one_request(t, 0);
	if (!gets_marked(t, &log, q->log_gpa))
		conf_fail(t, "a write to the used ring is not marked where the log address says%s",
			  is_marked(&log, q->config.device_area.addr)
				  ? ", but at the ring's own address"
				  : "");
}

static void used_ring_is_logged(struct conf *t)
{
	log_used_ring(t, false, 0);
}

static void used_ring_is_logged_elsewhere(struct conf *t)
{
	log_used_ring(t, true, 0);
}

static void log_at_an_offset(struct conf *t)
{
	log_used_ring(t, false, CONF_PAGE);
}

static void logging_stops(struct conf *t)
{
	struct log log = make_log(t);

	set_log_base(t, &log);
	set_logging(t, true);
	conf_one_request(t, 0);
	set_logging(t, false);
	conf_sleep_ms(20);
	clear(&log);
	conf_one_request(t, 8); /* in another page */
	conf_sleep_ms(t->options->quiet_ms);
	if (is_marked(&log, written_gpa(&t->requests[8])))
		conf_fail(t, "writes are logged after LOG_ALL was cleared");
}

static void logging_resumes(struct conf *t)
{
	struct log log = make_log(t);

	set_log_base(t, &log);
	set_logging(t, true);
	set_logging(t, false);
	set_logging(t, true);
	conf_one_request(t, 0);
	if (!gets_marked(t, &log, written_gpa(&t->requests[0])))
		conf_fail(t, "after LOG_ALL was cleared and set again, writes are not logged");
}

static void nothing_without_log_all(struct conf *t)
{
	struct log log = make_log(t);

	set_log_base(t, &log);
	conf_one_request(t, 0);
	conf_sleep_ms(t->options->quiet_ms);
	if (is_marked(&log, written_gpa(&t->requests[0])))
		conf_fail(t, "SET_LOG_BASE alone starts the log");
}

static void log_replaced(struct conf *t)
{
	struct log first = make_log(t), second = make_log(t);

	set_log_base(t, &first);
	set_logging(t, true);
	conf_one_request(t, 0);
	set_log_base(t, &second);
	conf_one_request(t, 8);
	if (!gets_marked(t, &second, written_gpa(&t->requests[8])))
		conf_fail(t, "a second log does not get marks");
}

/* Requests in a region that came after the log. */
static void new_memory_is_logged(struct conf *t, bool slot)
{
	struct conf_region regions[3] = { t->ram.regions[0],
					  t->ram.regions[1],
					  { .gpa = NEW_GPA, .len_bytes = CONF_PAGE, .fd = -1 } };
	struct log log = make_log(t);
	struct conf_request *r = &t->requests[0];

	set_log_base(t, &log);
	set_logging(t, true);
	regions[2].uva = UINT64_C(0x610000000000);
	conf_ram_make(t, regions, 3);
	if (slot)
		conf_accepted(t,
			      conf_slot(t, CVMM_VHOST_USER_ADD_MEM_REG, &t->ram.regions[2],
					&t->ram.regions[2].fd, 1),
			      "ADD_MEM_REG");
	else
		conf_accepted(t, conf_ram_share(t), "SET_MEM_TABLE");
	conf_queues_start(t, true);
	memset(r, 0, sizeof(*r));
	r->gpa = NEW_GPA;
	memset(conf_ptr(t, r->gpa, CONF_REQUEST_BYTES), 0xa5, CONF_REQUEST_BYTES);
	t->device->build(t, r);
	conf_submit(t, t->queue, r);
	conf_kick(t, t->queue);
	conf_done(t, t->queue, r);
	if (!gets_marked(t, &log, NEW_GPA))
		conf_fail(t, "a write to memory that was shared after SET_LOG_BASE is not marked");
}

static void new_table_is_logged(struct conf *t)
{
	new_memory_is_logged(t, false);
}

static void new_slot_is_logged(struct conf *t)
{
	new_memory_is_logged(t, true);
}

static void log_fd(struct conf *t)
{
	int fd = conf_eventfd(t);

	conf_accepted(t, conf_try(t, CVMM_VHOST_USER_SET_LOG_FD, NULL, 0, &fd, 1), "SET_LOG_FD");
}

static void log_fd_is_signalled(struct conf *t)
{
	struct log log = make_log(t);
	int fd = conf_eventfd(t);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	conf_accepted(t, conf_try(t, CVMM_VHOST_USER_SET_LOG_FD, NULL, 0, &fd, 1), "SET_LOG_FD");
	set_log_base(t, &log);
	set_logging(t, true);
	conf_one_request(t, 0);
	if (poll(&p, 1, (int)t->options->quiet_ms) != 1)
		conf_fail(t, "the front-end is not told that the log was modified");
}

/* SET_LOG_BASE with an answer that may be of no bytes, so that it says little. */
static void try_log(struct conf *t, uint64_t size, uint64_t offset, int fd)
{
	struct cvmm_vhost_user_log payload = { size, offset };

	conf_send(t, CVMM_VHOST_USER_SET_LOG_BASE, CVMM_VHOST_USER_FLAG_NEED_REPLY, &payload,
		  sizeof(payload), &fd, fd < 0 ? 0 : 1);
	if (conf_receive(t, t->options->timeout_ms) == CONF_SILENT)
		conf_fail(t,
			  "SET_LOG_BASE with size 0x%llx and offset 0x%llx: no answer, and the "
			  "connection is not closed",
			  (unsigned long long)size, (unsigned long long)offset);
}

static void bad_logs(struct conf *t)
{
	int a, b;

	try_log(t, 0, 0, conf_memfd(t, CONF_PAGE));
	conf_reopen(t, CONF_SHARED);
	try_log(t, CONF_PAGE, UINT64_MAX - 100, conf_memfd(t, CONF_PAGE));
	conf_reopen(t, CONF_SHARED);
	try_log(t, UINT64_MAX, CONF_PAGE, conf_memfd(t, CONF_PAGE));
	conf_reopen(t, CONF_SHARED);
	conf_pipe(t, &a, &b);
	try_log(t, CONF_PAGE, 0, a);
	conf_reopen(t, CONF_SHARED);
	try_log(t, CONF_PAGE, 0, -1);
	conf_recovers(t);
}

/* It may be refused, or what does not fit may be left out. */
static void small_log(struct conf *t)
{
	struct conf_request *r;

	try_log(t, CONF_PAGE, 0, conf_memfd(t, CONF_PAGE));
	conf_try_u64(t, CVMM_VHOST_USER_SET_FEATURES, conf_wanted_features(t) | CONF_F_LOG_ALL);
	r = conf_request(t, 0);
	conf_submit(t, t->queue, r);
	conf_kick(t, t->queue);
	conf_wait(t, t->queue, r, t->options->quiet_ms);
	conf_recovers(t);
}

#define LOGGED .protocol = SHMFD, .features = CONF_F_LOG_ALL

static const struct conf_test tests[] = {
	{ "base", "SET_LOG_BASE is answered", SPEC_BASE, CONF_MUST, CONF_SHARED, LOGGED,
	  .run = base_is_answered },
	{ "writes", "Pages that are written to are marked", SPEC_LOG, CONF_MUST, CONF_RUNNING,
	  CONF_NEEDS_RESULT, LOGGED, .run = writes_are_logged },
	{ "used-ring", "Writes to the used ring are marked", SPEC_LOG, CONF_MUST, CONF_SHARED,
	  CONF_NEEDS_DEVICE, LOGGED, .run = used_ring_is_logged },
	{ "used-ring-elsewhere", "Writes to the used ring are marked where the log address says",
	  SPEC_LOG, CONF_SHOULD, CONF_SHARED, CONF_NEEDS_DEVICE, LOGGED,
	  .run = used_ring_is_logged_elsewhere },
	{ "offset", "A log may begin in the middle of its file", SPEC_BASE, CONF_MUST, CONF_SHARED,
	  CONF_NEEDS_DEVICE, LOGGED, .run = log_at_an_offset },
	{ "stops", "Without LOG_ALL no more pages are marked", SPEC_LOG, CONF_SHOULD, CONF_RUNNING,
	  CONF_NEEDS_RESULT, LOGGED, .run = logging_stops },
	{ "resumes", "With LOG_ALL again the same log goes on", SPEC_LOG, CONF_MUST, CONF_RUNNING,
	  CONF_NEEDS_RESULT, LOGGED, .run = logging_resumes },
	{ "not-yet", "SET_LOG_BASE alone does not start the log", SPEC_LOG, CONF_OPTIONAL,
	  CONF_RUNNING, CONF_NEEDS_RESULT, LOGGED, .run = nothing_without_log_all },
	{ "replaced", "A second log takes the place of the first", SPEC_BASE, CONF_MUST,
	  CONF_RUNNING, CONF_NEEDS_RESULT, LOGGED, .run = log_replaced },
	{ "new-table", "A new table's memory is logged", SPEC_LOG, CONF_MUST, CONF_SHARED,
	  CONF_NEEDS_RESULT, LOGGED, .run = new_table_is_logged },
	{ "new-slot", "Memory that is added is logged", SPEC_LOG, CONF_MUST, CONF_SHARED,
	  CONF_NEEDS_RESULT, .protocol = SHMFD | SLOTS, .features = CONF_F_LOG_ALL,
	  .run = new_slot_is_logged },
	{ "fd", "SET_LOG_FD is accepted", SPEC_FD, CONF_OPTIONAL, CONF_SHARED, CONF_NEEDS_ACK,
	  LOGGED, .run = log_fd },
	{ "fd-signalled", "The descriptor of SET_LOG_FD is signalled", SPEC_FD, CONF_OPTIONAL,
	  CONF_RUNNING, CONF_NEEDS_RESULT, LOGGED, .run = log_fd_is_signalled },
	{ "bad", "Logs that cannot be are decided", SPEC_BASE, CONF_SHOULD, CONF_SHARED, LOGGED,
	  .run = bad_logs },
	{ "small", "A log that is smaller than memory harms nobody", SPEC_LOG, CONF_MUST,
	  CONF_RUNNING, LOGGED, .run = small_log },
};

const struct conf_group conf_log = { "log", tests, CVMM_ARRAY_SIZE(tests) };
