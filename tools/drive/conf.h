/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm-drive conformance: what a test of the suite is, and what it can use.
 *
 * A test is a function that gets a struct conf: an open connection to the back-end, brought to the stage that
 * the test's row names. It sends, looks at what comes back, and ends at its first finding: conf_fail()
 * and conf_skip() do not return. Whatever it makes on the way (descriptors, memory, rings) belongs to the struct and is
 * released after it, however it ended. So no test cleans up, and none can leave anything behind.
 *
 * What the back-end sends is hostile: it is checked before it is used.
 */
#ifndef CVMM_DRIVE_CONF_H
#define CVMM_DRIVE_CONF_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>

#include <cvmm/base.h>
#include <cvmm/event.h>
#include <cvmm/mem.h>
#include <cvmm/vhost-user.h>
#include <cvmm/virtio.h>
#include <cvmm/virtq.h>
#include <cvmm/virtq_driver.h>

#define CONF_TEXT_SIZE 768
#define CONF_NOTES_MAX 8
#define CONF_FDS_MAX 600
#define CONF_MAPS_MAX 8
#define CONF_QUEUES_MAX 4
#define CONF_REGIONS_MAX 16
#define CONF_SEGMENTS_MAX 16
#define CONF_TRACE_LINES 24
#define CONF_TRACE_SIZE 160
#define CONF_REQUESTS_MAX 256

#define CONF_PAGE UINT64_C(4096)

/* How long a back-end may take to let go of what it has no use for. */
#define CONF_RELEASE_MS 500U

struct conf;

/* ---- tests ------------------------------------------------------------------------------------- */

/* What a finding of a test means. */
enum conf_class {
	CONF_MUST,   /* the specification demands it, or all front-ends rely on it */
	CONF_SHOULD, /* the specification recommends it, or a front-end cannot be told otherwise */
	CONF_OPTIONAL, /* quality */
};

/* How far the connection is when a test begins. */
enum conf_stage {
	CONF_CONNECTED,	 /* GET_FEATURES was answered once, and nothing else was sent */
	CONF_NEGOTIATED, /* owner, protocol features, number of queues */
	CONF_SHARED,	 /* features were set, and memory was shared */
	CONF_RUNNING,	 /* the device's queues run; needs a device */
};

enum conf_needs {
	CONF_NEEDS_ACK = 1 << 0, /* REPLY_ACK: without it nobody sees whether a request was done */
	CONF_NEEDS_DEVICE = 1 << 1, /* a device whose requests are known */
	CONF_NEEDS_RESULT = 1 << 2, /* one that writes to the buffers of its requests */
	CONF_DEADLY =
		1 << 3, /* a back-end that dies is expected, and is no more than the test's class */
};

/**
 * struct conf_test - one row of a group
 * @id: what --only takes, behind the group's name and a slash
 * @title: what is true of a back-end that passes
 * @spec: the clause
 * @class: of a finding
 * @stage: where the test begins
 * @needs: enum conf_needs; CONF_RUNNING implies CONF_NEEDS_DEVICE
 * @protocol: protocol features that are negotiated for it, besides those of every test; skipped
 *            if one of them is not offered
 * @features: the same of feature bits
 * @device: name of the only device that it is for, or NULL
 * @run: the test
 */
struct conf_test {
	const char *id;
	const char *title;
	const char *spec;
	enum conf_class class;
	enum conf_stage stage;
	unsigned int needs;
	uint64_t protocol;
	uint64_t features;
	const char *device;
	void (*run)(struct conf *t);
};

struct conf_group {
	const char *name;
	const struct conf_test *tests;
	size_t count;
};

extern const struct conf_group conf_negotiation;
extern const struct conf_group conf_framing;
extern const struct conf_group conf_memory;
extern const struct conf_group conf_slots;
extern const struct conf_group conf_vrings;
extern const struct conf_group conf_data;
extern const struct conf_group conf_devices;
extern const struct conf_group conf_hostile;
extern const struct conf_group conf_config;
extern const struct conf_group conf_log;
extern const struct conf_group conf_inflight;
extern const struct conf_group conf_reset;
extern const struct conf_group conf_channel;
extern const struct conf_group conf_state;
extern const struct conf_group conf_postcopy;
extern const struct conf_group conf_extras;
extern const struct conf_group conf_deadly;

/* For the tables: VIRTIO feature bits, and the specification's sections. */
#define CONF_F_EVENT_IDX (UINT64_C(1) << 29)
#define CONF_F_INDIRECT (UINT64_C(1) << 28)
#define CONF_F_VERSION_1 (UINT64_C(1) << 32)
#define CONF_F_PLATFORM (UINT64_C(1) << 33)
#define CONF_F_PACKED (UINT64_C(1) << 34)
#define CONF_F_IN_ORDER (UINT64_C(1) << 35)
#define CONF_F_LOG_ALL (UINT64_C(1) << CVMM_VHOST_USER_F_LOG_ALL)
#define CONF_F_PROTOCOL (UINT64_C(1) << CVMM_VHOST_USER_F_PROTOCOL_FEATURES)

/* ---- a request of the device ------------------------------------------------------------------- */

/**
 * struct conf_request - one request to the device under test
 * @segments: what the device reads, then what it writes
 * @gpa: start of the memory that the request has for itself, CONF_REQUEST_BYTES long
 * @done: the device gave it back, with @used_len bytes written
 */
struct conf_request {
	struct cvmm_virtq_segment segments[CONF_SEGMENTS_MAX];
	unsigned int readable;
	unsigned int writable;
	uint64_t gpa;
	bool done;
	uint32_t used_len;
};

#define CONF_REQUEST_BYTES 1024U

/**
 * struct conf_device - what the suite knows of a kind of device
 * @queue_count: queues that are started, from 0
 * @queue: the one whose requests are made
 * @has_result: requests have a writable part, which the device fills
 * @config_read_only: bytes at the start of the configuration space that a driver cannot change
 * @begin: called when its queues are to be started; may be NULL
 * @build: a request that every device of the kind completes soon
 * @check: whether what came back is an answer to it; fails the test if not
 */
struct conf_device {
	const char *name;
	unsigned int queue_count;
	unsigned int queue;
	bool has_result;
	uint32_t config_read_only;
	void (*begin)(struct conf *t);
	void (*build)(struct conf *t, struct conf_request *r);
	void (*check)(struct conf *t, const struct conf_request *r);
};

/* The device of a name, or NULL. "any" has none. */
const struct conf_device *conf_device_find(const char *name);

/* ---- memory ------------------------------------------------------------------------------------ */

struct conf_region {
	uint64_t gpa;
	uint64_t len_bytes;
	uint64_t uva;	 /* made up, and nowhere mapped: an opaque number for the back-end */
	uint64_t offset; /* of the first byte in the file */
	int fd;
};

struct conf_ram {
	struct conf_region regions[CONF_REGIONS_MAX];
	size_t count;
	struct cvmm_mem *mem;
};

/* What every test has: requests lie in the first region, rings in the second, with a hole between them. */
#define CONF_BUFFERS_GPA UINT64_C(0)
#define CONF_RINGS_GPA UINT64_C(0x100000000)
#define CONF_REGION_BYTES (UINT64_C(2) << 20)
/* In the first region, behind what requests have. */
#define CONF_SCRATCH_GPA UINT64_C(0x100000)

/* ---- queues ------------------------------------------------------------------------------------ */

struct conf_queue {
	unsigned int index;
	bool made;
	bool polled; /* SET_VRING_KICK without a descriptor */
	bool mute;   /* SET_VRING_CALL without one */
	uint32_t base;
	uint32_t log_flags;
	uint64_t log_gpa;
	int kick, call, err; /* eventfds, of the struct conf */
	unsigned int calls;  /* that were seen */
	uint16_t looked_at;  /* split: used elements */
	uint32_t
		odd_len; /* bytes that the device claims to have written to a request that has nothing to write to */
	struct cvmm_virtq_driver_config config;
	struct cvmm_virtq_driver driver;
};

#define CONF_QUEUE_SIZE 64U

/* ---- the whole --------------------------------------------------------------------------------- */

struct conf_options {
	const char *socket;
	const char *only;
	const char *spawn;
	const char *device_name;
	const struct conf_device *device;
	unsigned int timeout_ms; /* how long an answer may take */
	unsigned int quiet_ms;	 /* how long "nothing happens" is watched */
	bool json;
	bool list;
	bool verbose;
};

enum conf_outcome {
	CONF_PASSED,
	CONF_FAILED,
	CONF_SKIPPED,
};

struct conf_trace {
	char lines[CONF_TRACE_LINES][CONF_TRACE_SIZE];
	unsigned int count; /* of all that there were */
};

/* What became of a test. */
struct conf_result {
	const struct conf_group *group;
	const struct conf_test *test;
	enum conf_class class; /* that of the test, or MUST if the back-end died of it */
	enum conf_outcome outcome;
	char text[CONF_TEXT_SIZE]; /* the finding, or why it was skipped */
	char notes[CONF_NOTES_MAX][CONF_TEXT_SIZE];
	unsigned int note_count;
	struct conf_trace trace;
};

struct conf_peer;

struct conf_map {
	void *address;
	size_t len_bytes;
};

struct conf {
	const struct conf_options *options;
	struct conf_peer *peer;
	const struct conf_test *test;
	const struct conf_device *device;

	/* The connection. */
	struct cvmm_vhost_user_conn *conn;
	struct cvmm_vhost_user_msg *msg; /* last message that was received */
	uint64_t features;		 /* offered */
	uint64_t acked;			 /* SET_FEATURES */
	uint64_t protocol_offered;
	uint64_t protocol;	  /* negotiated */
	unsigned int queue_count; /* told by the back-end; 0 if it cannot */

	struct conf_ram ram;
	struct conf_queue queues[CONF_QUEUES_MAX];
	struct conf_queue *queue; /* the one that requests go to, once it is made */
	uint64_t guest_cid;	  /* vsock */
	struct conf_request requests[CONF_REQUESTS_MAX];

	int fds[CONF_FDS_MAX]; /* closed after the test */
	size_t fd_count;
	struct conf_map maps[CONF_MAPS_MAX]; /* unmapped after it */
	size_t map_count;

	jmp_buf end;
	bool set_up; /* the stage was reached: what fails now is the test */
	struct conf_result result;
};

/* ---- verdicts (conf_session.c) ----------------------------------------------------------------- */

/* End the test with a finding. In the set-up of a test, say so. */
_Noreturn CVMM_PRINTF(2, 3) void conf_fail(struct conf *t, const char *fmt, ...);
_Noreturn CVMM_PRINTF(2, 3) void conf_skip(struct conf *t, const char *fmt, ...);
/* Something to tell that is no finding. */
CVMM_PRINTF(2, 3) void conf_note(struct conf *t, const char *fmt, ...);
/* One line of what went over the connection. */
CVMM_PRINTF(2, 3) void conf_trace(struct conf *t, const char *fmt, ...);

/* ---- descriptors ------------------------------------------------------------------------------- */

/* @fd belongs to the test from now on: it is closed after it. Return: @fd. */
int conf_own(struct conf *t, int fd);
/* Close one that conf_own() got. */
void conf_drop(struct conf *t, int fd);
int conf_eventfd(struct conf *t);
/* A memfd of @len_bytes, which can be sealed. */
int conf_memfd(struct conf *t, uint64_t len_bytes);
void conf_pipe(struct conf *t, int *ret_read, int *ret_write);
void conf_socketpair(struct conf *t, int *ret_ours, int *ret_theirs);
/*
 * Whether everybody else has closed the other end of a pipe or socket, or does within CONF_RELEASE_MS. The
 * test must have dropped its own copy of that end.
 */
bool conf_other_end_is_closed(int fd);
void conf_sleep_ms(unsigned int ms);

/* ---- messages (conf_session.c) ----------------------------------------------------------------- */

/* How waiting for a message ended. */
enum conf_end {
	CONF_ANSWERED,
	CONF_CLOSED,	 /* by the back-end */
	CONF_SILENT,	 /* nothing came in time */
	CONF_UNREADABLE, /* what came is no message */
};

/* What became of a request that nobody needs to answer. */
enum conf_verdict {
	CONF_ACKED,   /* the answer was 0 */
	CONF_NACKED,  /* the answer was something else */
	CONF_HUNG_UP, /* the connection was closed */
	CONF_MUTE,    /* nothing was heard */
	CONF_UNSEEN,  /* without REPLY_ACK: the connection lives, more cannot be said */
};

/* Send bytes as they are, with descriptors on the first of them. A peer that is gone is no error. */
void conf_raw(struct conf *t, const void *bytes, size_t len, const int *fds, size_t fd_count);
/* A message in @buf, which has room. Return: its length. */
size_t conf_message(void *buf, uint32_t request, uint32_t flags, const void *payload, size_t size);
void conf_send(struct conf *t, uint32_t request, uint32_t flags, const void *payload, size_t size,
	       const int *fds, size_t fd_count);
/* Wait for one message: t->msg. */
enum conf_end conf_receive(struct conf *t, unsigned int timeout_ms);
/* As conf_receive(), and what came must be the answer to @request; else the test fails. */
enum conf_end conf_receive_answer(struct conf *t, uint32_t request);
/* Send a request that has an answer of its own; fail if there is none. The answer is t->msg. */
void conf_ask(struct conf *t, uint32_t request, const void *payload, size_t size);
/* The u64 that answers a request without payload; fail if there is none. */
uint64_t conf_ask_u64(struct conf *t, uint32_t request);
/* The u64 in t->msg; fail if it has another size. */
uint64_t conf_answer_u64(struct conf *t);

/* Send a request, with NEED_REPLY where it helps, and see what becomes of it. */
enum conf_verdict conf_try(struct conf *t, uint32_t request, const void *payload, size_t size,
			   const int *fds, size_t fd_count);
enum conf_verdict conf_try_u64(struct conf *t, uint32_t request, uint64_t value);
enum conf_verdict conf_try_state(struct conf *t, uint32_t request, uint32_t index, uint32_t num);
/* u64 with one descriptor, or with none if @fd is -1. */
enum conf_verdict conf_try_fd(struct conf *t, uint32_t request, uint64_t value, int fd);
/* Fail unless it was done. @what says what was tried. */
void conf_accepted(struct conf *t, enum conf_verdict verdict, const char *what);
/* Fail if it was done. A back-end that hung up has refused; that it did is noted. */
void conf_refused(struct conf *t, enum conf_verdict verdict, const char *what);
/* Whether the connection still answers. */
bool conf_is_alive(struct conf *t);
void conf_must_be_alive(struct conf *t, const char *after);
/**
 * struct conf_form - a request of the right form, whose fields mean little
 * @payload: @size bytes
 * @fds: of the test; as many as the row says
 */
struct conf_form {
	uint64_t payload[320];
	size_t size;
	int fds[2];
	size_t fd_count;
};

void conf_form_make(struct conf *t, const struct cvmm_vhost_user_message *row,
		    struct conf_form *ret_form);
/* Send @size bytes of a form, with NEED_REPLY. Return: whether it was done, as far as that shows. */
bool conf_form_is_done(struct conf *t, const struct cvmm_vhost_user_message *row,
		       const struct conf_form *form, size_t size);
/* Add a word to a list of them in a text of CONF_TEXT_SIZE. */
void conf_add_word(char *list, const char *word);

/* A name for traces: "SET_FEATURES", or "request 99". */
const char *conf_request_name(uint32_t request);

/* ---- stages ------------------------------------------------------------------------------------ */

/* Bring the connection to a stage, from the one that it has. */
void conf_enter(struct conf *t, enum conf_stage stage);
/* Close the connection; rings and memory of the test stay. */
void conf_close(struct conf *t);
/* Close it, forget rings and memory, connect again and bring that to a stage. */
void conf_reopen(struct conf *t, enum conf_stage stage);
/* conf_reopen() without a stage but the connection. */
void conf_connect(struct conf *t);
/* A new connection, all of it set up, does requests; fail if not. The end of hostile tests. */
void conf_recovers(struct conf *t);
/* Negotiate exactly these. */
void conf_set_protocol(struct conf *t, uint64_t protocol);
/* Of what is offered: bit 30, VERSION_1 and what the test needs, but not LOG_ALL. */
uint64_t conf_wanted_features(const struct conf *t);
void conf_set_features(struct conf *t, uint64_t features);

/* Queues that a test may use: what the back-end says, else what the device has, else 1. */
unsigned int conf_queue_limit(const struct conf *t);

/* Map a part of a file, shared and writable, until the test ends. NULL if that fails. */
void *conf_map_fd(struct conf *t, int fd, uint64_t offset, uint64_t len_bytes);

/* ---- memory (conf_ram.c) ----------------------------------------------------------------------- */

struct conf_table {
	struct cvmm_vhost_user_mem_table head;
	struct cvmm_vhost_user_mem_region regions[CONF_REGIONS_MAX];
};

/* As the default, but the buffers' region is followed by a page in another file. */
void conf_ram_touching(struct conf *t);
/* Make memory: regions with gpa and len_bytes; fd, uva and offset are filled in where they are 0 or -1. */
void conf_ram_make(struct conf *t, const struct conf_region *regions, size_t count);
/* The two regions that every test has. */
void conf_ram_default(struct conf *t);
/* The memory's SET_MEM_TABLE. Return: bytes of @ret_table; @ret_fds has room for all regions. */
size_t conf_ram_table(const struct conf *t, struct conf_table *ret_table, int *ret_fds);
enum conf_verdict conf_ram_share(struct conf *t);
/* ADD_MEM_REG or REM_MEM_REG of region @i. */
enum conf_verdict conf_slot(struct conf *t, uint32_t request, const struct conf_region *region,
			    const int *fds, size_t fd_count);
void *conf_ptr(struct conf *t, uint64_t gpa, uint64_t len_bytes);
/* The ring address that stands for a guest-physical one. */
uint64_t conf_uva(struct conf *t, uint64_t gpa);
void conf_ram_fini(struct conf_ram *ram);
/*
 * Whether nobody maps a memfd writable any more, or stops doing so within CONF_RELEASE_MS. The suite's own
 * mapping must be gone.
 */
bool conf_is_unmapped(int memfd);

/* ---- queues (conf_queue.c) --------------------------------------------------------------------- */

/* Lay a queue out, of CONF_QUEUE_SIZE or another size; nothing is sent. */
struct conf_queue *conf_queue_make(struct conf *t, unsigned int index, uint16_t size);
/* Let a queue's driver begin anew, for a ring that starts again. */
void conf_queue_renew(struct conf *t, struct conf_queue *q);
void conf_queue_send_num(struct conf *t, struct conf_queue *q);
void conf_queue_send_base(struct conf *t, struct conf_queue *q);
void conf_queue_send_addr(struct conf *t, struct conf_queue *q);
void conf_queue_send_call(struct conf *t, struct conf_queue *q);
void conf_queue_send_kick(struct conf *t, struct conf_queue *q);
void conf_queue_enable(struct conf *t, struct conf_queue *q, bool enable);
/* All but enabling. */
void conf_queue_set_up(struct conf *t, struct conf_queue *q);
/* The device's queues are made; t->queue is the one for requests. Nothing is sent. */
void conf_queues_make(struct conf *t);
void conf_queues_set_up(struct conf *t);
void conf_queues_enable(struct conf *t, bool enable);
/* All three, or all but enabling. */
void conf_queues_start(struct conf *t, bool enable);
/* The u64 of SET_VRING_BASE for where the driver is, if all that it published is used. */
uint32_t conf_queue_position(const struct conf_queue *q);
/* Stop a queue. Return: the base that came back. */
uint32_t conf_queue_stop(struct conf *t, struct conf_queue *q);
struct cvmm_vhost_user_vring_addr conf_queue_addr(struct conf *t, const struct conf_queue *q);
void conf_kick(struct conf *t, struct conf_queue *q);
void conf_queues_fini(struct conf *t);

/* Request number @slot of the device; slots have memory of their own. */
struct conf_request *conf_request(struct conf *t, unsigned int slot);
/* Cut each segment in two, where it has two bytes. */
void conf_request_scatter(struct conf_request *r);
/* Put into the ring and publish; no kick. */
void conf_submit(struct conf *t, struct conf_queue *q, struct conf_request *r);
/* Whether it comes back in time. */
bool conf_wait(struct conf *t, struct conf_queue *q, const struct conf_request *r,
	       unsigned int timeout_ms);
/* Wait, and fail if it does not come back, or is no answer. */
void conf_done(struct conf *t, struct conf_queue *q, struct conf_request *r);
/* A request from beginning to end. */
void conf_one_request(struct conf *t, unsigned int slot);
/* Whether nothing was written to the request's writable part. Fresh ones have a pattern there. */
bool conf_request_is_untouched(struct conf *t, const struct conf_request *r);

/* Split rings by hand. */
void conf_put_desc(struct conf *t, struct conf_queue *q, uint16_t i, uint64_t gpa, uint32_t len,
		   uint16_t flags, uint16_t next);
void conf_put_avail(struct conf *t, struct conf_queue *q, uint16_t idx, uint16_t head);
void conf_set_avail_idx(struct conf *t, struct conf_queue *q, uint16_t idx);
/* The request as a chain of @table, with the flags of a split ring. */
void conf_put_table(struct cvmm_virtq_desc *table, const struct conf_request *r);
/* Wait until the used ring has come to @idx; fail if it does not. */
void conf_wait_used(struct conf *t, struct conf_queue *q, uint16_t idx);
/* Packed: a descriptor that is available in the first round. */
void conf_put_packed(struct conf *t, struct conf_queue *q, uint16_t i, uint64_t gpa, uint32_t len,
		     uint16_t flags, uint16_t id);

/* ---- the back-end's process (conf_peer.c) ------------------------------------------------------ */

/* Return: 0, or -ENOMEM. @command may be NULL. */
int conf_peer_create(const char *socket, const char *command, struct conf_peer **ret_peer);
/* Ends what it started. */
void conf_peer_destroy(struct conf_peer *peer);
/*
 * A connected socket, tried for until the deadline; a command whose process has ended is started again.
 * Return: descriptor or negative errno with a message.
 */
int conf_peer_connect(struct conf_peer *peer, uint64_t deadline_ns, struct cvmm_error *err);
/* Who serves the connection, by its credentials; 0 if that is not known. */
int conf_peer_pid(const struct conf_peer *peer);
/*
 * Whether a process that it started has crashed since the last call. @how gets how, and @output the last
 * lines that it printed; both have room for CONF_TEXT_SIZE.
 */
bool conf_peer_crashed(struct conf_peer *peer, char *how, char *output);
/* End the process, for a back-end that does not serve any more. Return: whether there was one to end. */
bool conf_peer_kill(struct conf_peer *peer);

/* ---- the run (conformance.c, conf_report.c) ---------------------------------------------------- */

struct conf_summary {
	unsigned int passed, skipped;
	unsigned int failed[CONF_OPTIONAL + 1]; /* by class */
	const char *bail_out;			/* NULL, or why the run ended early */
};

/**
 * conf_run() - run the suite against a back-end
 * @done: called with the result of each test, and valid during the call; may be NULL
 * @ret_summary: what there was
 *
 * Return: 0; or negative errno with a message if not even the first connection is served.
 */
int conf_run(const struct conf_options *options, FILE *out,
	     void (*done)(void *ctx, const struct conf_result *result), void *ctx,
	     struct conf_summary *ret_summary, struct cvmm_error *err);

/* Every group, in the order of the run. */
extern const struct conf_group *const conf_groups[];
extern const size_t conf_group_count;

/* Whether one of the patterns of --only takes a test. */
bool conf_is_wanted(const char *only, const struct conf_group *group, const struct conf_test *test);
/* Call @fn for each test that the patterns take (NULL: all), until it returns false. Return: how many. */
unsigned int conf_list(const char *only,
		       bool (*fn)(void *ctx, const struct conf_group *group,
				  const struct conf_test *test),
		       void *ctx);

const char *conf_class_name(enum conf_class class);

/* TAP or JSON. @number counts from 1; @out may be NULL for silence. */
void conf_report_begin(FILE *out, const struct conf_options *options, unsigned int count);
void conf_report(FILE *out, const struct conf_options *options, unsigned int number,
		 const struct conf_result *result);
void conf_report_end(FILE *out, const struct conf_options *options,
		     const struct conf_summary *summary);

#endif /* CVMM_DRIVE_CONF_H */
