// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Beginnings and ends: owners, resets, status, connections that follow one another. */
#include <dirent.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conf.h"

#define SPEC_OWNER "vhost-user, VHOST_USER_SET_OWNER"
#define SPEC_RESET_OWNER "vhost-user, VHOST_USER_RESET_OWNER"
#define SPEC_RESET "vhost-user, VHOST_USER_RESET_DEVICE"
#define SPEC_STATUS "vhost-user, VHOST_USER_SET_STATUS"
#define SPEC_RECONNECT "vhost-user, Communication: an optional reconnection mechanism"
#define SPEC_ROBUST "a back-end outlives its front-end"
#define RESET CVMM_VHOST_USER_PROTOCOL(RESET_DEVICE)
#define STATUS CVMM_VHOST_USER_PROTOCOL(STATUS)

#define RECONNECTS 20U

/* ---- owners ---------------------------------------------------------------------------------------- */

static void owner_twice(struct conf *t)
{
	conf_try(t, CVMM_VHOST_USER_SET_OWNER, NULL, 0, NULL, 0);
	conf_must_be_alive(t, "a second SET_OWNER");
}

static void reset_owner(struct conf *t)
{
	conf_try(t, CVMM_VHOST_USER_RESET_OWNER, NULL, 0, NULL, 0);
	conf_must_be_alive(t, "RESET_OWNER");
}

/* It is recommended to ignore it, or to disable the queues, and to keep everything else. */
static void reset_owner_keeps_state(struct conf *t)
{
	conf_one_request(t, 0);
	conf_try(t, CVMM_VHOST_USER_RESET_OWNER, NULL, 0, NULL, 0);
	conf_must_be_alive(t, "RESET_OWNER");
	conf_queues_enable(t, true);
	conf_one_request(t, 1);
}

/* ---- RESET_DEVICE ---------------------------------------------------------------------------------- */

static void reset_device(struct conf *t)
{
	conf_accepted(t, conf_try(t, CVMM_VHOST_USER_RESET_DEVICE, NULL, 0, NULL, 0),
		      "RESET_DEVICE");
}

static void reset_disables(struct conf *t)
{
	struct conf_request *r;

	conf_one_request(t, 0);
	reset_device(t);
	r = conf_request(t, 1);
	conf_submit(t, t->queue, r);
	conf_kick(t, t->queue);
	conf_sleep_ms(t->options->quiet_ms);
	if (!conf_request_is_untouched(t, r))
		conf_fail(t, "a request is executed after RESET_DEVICE");
}

static void set_up_again(struct conf *t)
{
	conf_set_features(t, conf_wanted_features(t));
	for (unsigned int i = 0; i < t->device->queue_count; i++)
		conf_queue_renew(t, &t->queues[i]);
	conf_queues_set_up(t);
	conf_queues_enable(t, true);
}

static void reset_begins_anew(struct conf *t)
{
	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < 3; i++)
			conf_one_request(t, i);
		reset_device(t);
		set_up_again(t);
	}
	conf_one_request(t, 0);
}

static void reset_idle(struct conf *t)
{
	reset_device(t);
	reset_device(t);
	conf_must_be_alive(t, "RESET_DEVICE of a device that was never started");
}

/* As a virtual machine does that resets: queues are stopped, and started from 0. */
static void stopped_begins_anew(struct conf *t)
{
	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < 3; i++)
			conf_one_request(t, i);
		for (unsigned int i = 0; i < t->device->queue_count; i++)
			conf_queue_stop(t, &t->queues[i]);
		set_up_again(t);
	}
	conf_one_request(t, 0);
}

/* ---- STATUS ---------------------------------------------------------------------------------------- */

static void status_is_kept(struct conf *t)
{
	static const uint64_t steps[] = { 1, 3, 11, 15 };

	conf_accepted(t, conf_try_u64(t, CVMM_VHOST_USER_SET_STATUS, 0), "SET_STATUS 0");
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(steps); i++) {
		uint64_t status;

		conf_accepted(t, conf_try_u64(t, CVMM_VHOST_USER_SET_STATUS, steps[i]),
			      "SET_STATUS");
		status = conf_ask_u64(t, CVMM_VHOST_USER_GET_STATUS);
		if (status != steps[i])
			conf_fail(t, "it was set to 0x%llx and is 0x%llx",
				  (unsigned long long)steps[i], (unsigned long long)status);
	}
}

static void status_zero(struct conf *t)
{
	uint64_t status;

	conf_accepted(t, conf_try_u64(t, CVMM_VHOST_USER_SET_STATUS, 3), "SET_STATUS 3");
	conf_accepted(t, conf_try_u64(t, CVMM_VHOST_USER_SET_STATUS, 0), "SET_STATUS 0");
	status = conf_ask_u64(t, CVMM_VHOST_USER_GET_STATUS);
	if (status)
		conf_fail(t, "it was set to 0 and is 0x%llx", (unsigned long long)status);
}

static void status_first(struct conf *t)
{
	uint64_t status = conf_ask_u64(t, CVMM_VHOST_USER_GET_STATUS);

	if (status)
		conf_fail(t, "the status of a new connection is 0x%llx",
			  (unsigned long long)status);
}

static void status_too_large(struct conf *t)
{
	conf_refused(t, conf_try_u64(t, CVMM_VHOST_USER_SET_STATUS, 0x100), "SET_STATUS 0x100");
}

static void works_with_status(struct conf *t)
{
	conf_accepted(t, conf_try_u64(t, CVMM_VHOST_USER_SET_STATUS, 0), "SET_STATUS 0");
	conf_accepted(t, conf_try_u64(t, CVMM_VHOST_USER_SET_STATUS, 3), "SET_STATUS 3");
	conf_set_features(t, conf_wanted_features(t));
	conf_accepted(t, conf_try_u64(t, CVMM_VHOST_USER_SET_STATUS, 11), "SET_STATUS 11");
	if (!(conf_ask_u64(t, CVMM_VHOST_USER_GET_STATUS) & 8))
		conf_fail(t, "FEATURES_OK does not stay");
	conf_queues_start(t, true);
	conf_accepted(t, conf_try_u64(t, CVMM_VHOST_USER_SET_STATUS, 15), "SET_STATUS 15");
	conf_one_request(t, 0);
}

/* ---- one connection after the other ------------------------------------------------------------------ */

static void reconnect_works(struct conf *t)
{
	for (unsigned int i = 0; i < 5; i++) {
		conf_one_request(t, 0);
		conf_reopen(t, CONF_RUNNING);
	}
	conf_one_request(t, 0);
}

/* What was negotiated before is forgotten: a front-end with less in hand comes next. */
static void reconnect_forgets(struct conf *t)
{
	uint64_t more = t->features & (CONF_F_EVENT_IDX | CONF_F_INDIRECT | CONF_F_PACKED);
	struct conf_request *r;

	conf_set_features(t, conf_wanted_features(t) | more);
	conf_ram_default(t);
	conf_accepted(t, conf_ram_share(t), "SET_MEM_TABLE");
	conf_reopen(t, CONF_RUNNING);
	for (unsigned int i = 0; i < 3; i++)
		conf_one_request(t, i);
	/* With EVENT_IDX left over, the flag that silences calls would be taken for nothing. */
	r = conf_request(t, 4);
	conf_submit(t, t->queue, r);
	conf_kick(t, t->queue);
	conf_done(t, t->queue, r);
}

static void old_queues_are_gone(struct conf *t)
{
	struct conf_request *r;

	conf_one_request(t, 0);
	conf_close(t);
	conf_sleep_ms(20);
	r = conf_request(t, 1);
	conf_submit(t, t->queue, r);
	conf_kick(t, t->queue);
	conf_sleep_ms(t->options->quiet_ms);
	if (!conf_request_is_untouched(t, r))
		conf_fail(t, "a request is executed though the connection has ended");
}

static void memory_is_let_go(struct conf *t)
{
	int fd = t->ram.regions[0].fd;

	if (t->device) {
		conf_queues_start(t, true);
		conf_one_request(t, 0);
	}
	conf_close(t);
	conf_queues_fini(t);
	conf_ram_fini(&t->ram);
	if (!conf_is_unmapped(fd))
		conf_fail(t, "memory is still mapped %u ms after the connection ended",
			  CONF_RELEASE_MS);
}

static void descriptors_are_let_go(struct conf *t)
{
	int kick_read, kick_write, call_read, call_write;

	conf_pipe(t, &kick_read, &kick_write);
	conf_pipe(t, &call_read, &call_write);
	conf_try_state(t, CVMM_VHOST_USER_SET_VRING_NUM, 0, CONF_QUEUE_SIZE);
	conf_try_fd(t, CVMM_VHOST_USER_SET_VRING_CALL, 0, call_write);
	conf_try_fd(t, CVMM_VHOST_USER_SET_VRING_KICK, 0, kick_read);
	conf_close(t);
	conf_drop(t, kick_read);
	conf_drop(t, call_write);
	if (!conf_other_end_is_closed(kick_write))
		conf_fail(t, "the descriptor for kicks is open after the connection ended");
	if (!conf_other_end_is_closed(call_read))
		conf_fail(t, "the descriptor for calls is open after the connection ended");
}

/* Descriptors of the process that serves, or -1 where that cannot be looked at. */
static int count_descriptors(struct conf *t)
{
	char path[64];
	DIR *dir;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", conf_peer_pid(t->peer));
	dir = conf_peer_pid(t->peer) ? opendir(path) : NULL;
	if (!dir)
		return -1;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void no_leaks(struct conf *t)
{
	enum conf_stage stage = t->device ? CONF_RUNNING : CONF_SHARED;
	int before, after, server;

	conf_reopen(t, stage);
	before = count_descriptors(t);
	server = conf_peer_pid(t->peer);
	if (before < 0)
		conf_skip(t, "/proc/PID/fd of the back-end cannot be read");
	for (unsigned int i = 0; i < RECONNECTS; i++)
		conf_reopen(t, stage);
	if (conf_peer_pid(t->peer) != server)
		conf_skip(t, "the back-end ends with its connection");
	conf_sleep_ms(20);
	after = count_descriptors(t);
	if (after > before + 2)
		conf_fail(t, "it had %d open files, and has %d after %u connections", before, after,
			  RECONNECTS);
}

static void close_with_requests(struct conf *t)
{
	for (unsigned int round = 0; round < 5; round++) {
		for (unsigned int i = 0; i < CONF_QUEUE_SIZE / 4; i++)
			conf_submit(t, t->queue, conf_request(t, i));
		conf_kick(t, t->queue);
		conf_reopen(t, CONF_RUNNING);
	}
	conf_one_request(t, 0);
}

/* Another front-end knocks while this one is served. */
static void second_connection(struct conf *t)
{
	struct cvmm_error err = { 0 };
	int fd;

	conf_one_request(t, 0);
	fd = conf_peer_connect(t->peer, cvmm_clock_ns() + 200 * CVMM_NS_PER_MS, &err);
	if (fd < 0)
		conf_note(t, "a second connection is refused");
	else
		conf_own(t, fd);
	conf_one_request(t, 1);
	conf_must_be_alive(t, "a second connection");
}

static const struct conf_test tests[] = {
	{ "owner-twice", "A second SET_OWNER does not end the connection", SPEC_OWNER, CONF_SHOULD,
	  CONF_NEGOTIATED, .run = owner_twice },
	{ "reset-owner", "RESET_OWNER does not end the connection", SPEC_RESET_OWNER, CONF_SHOULD,
	  CONF_NEGOTIATED, .run = reset_owner },
	{ "reset-owner-keeps", "RESET_OWNER does no more than to disable queues", SPEC_RESET_OWNER,
	  CONF_SHOULD, CONF_RUNNING, .run = reset_owner_keeps_state },
	{ "reset-disables", "RESET_DEVICE disables all queues", SPEC_RESET, CONF_MUST, CONF_RUNNING,
	  CONF_NEEDS_RESULT, .protocol = RESET, .run = reset_disables },
	{ "reset-anew", "After RESET_DEVICE queues begin anew", SPEC_RESET, CONF_MUST, CONF_RUNNING,
	  .protocol = RESET, .run = reset_begins_anew },
	{ "reset-idle", "RESET_DEVICE of an idle device is done", SPEC_RESET, CONF_MUST,
	  CONF_NEGOTIATED, .protocol = RESET, .run = reset_idle },
	{ "stopped-anew", "Queues that were stopped may begin anew", "vhost-user, Ring states",
	  CONF_MUST, CONF_RUNNING, .run = stopped_begins_anew },
	{ "status-kept", "GET_STATUS says what SET_STATUS said", SPEC_STATUS, CONF_MUST,
	  CONF_SHARED, .protocol = STATUS, .run = status_is_kept },
	{ "status-zero", "The status can be set to 0", SPEC_STATUS, CONF_MUST, CONF_SHARED,
	  .protocol = STATUS, .run = status_zero },
	{ "status-first", "The status of a new connection is 0", SPEC_STATUS, CONF_SHOULD,
	  CONF_NEGOTIATED, .protocol = STATUS, .run = status_first },
	{ "status-too-large", "A status of more than 8 bits is refused", SPEC_STATUS, CONF_SHOULD,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .protocol = STATUS, .run = status_too_large },
	{ "status-works", "A driver that sets the status gets its requests done", SPEC_STATUS,
	  CONF_MUST, CONF_SHARED, CONF_NEEDS_DEVICE, .protocol = STATUS, .run = works_with_status },
	{ "reconnect", "Each new connection's requests are done", SPEC_RECONNECT, CONF_MUST,
	  CONF_RUNNING, .run = reconnect_works },
	{ "reconnect-forgets", "A new connection begins without features", SPEC_RECONNECT,
	  CONF_MUST, CONF_NEGOTIATED, CONF_NEEDS_DEVICE, .run = reconnect_forgets },
	{ "old-queues", "Queues end with their connection", SPEC_RECONNECT, CONF_SHOULD,
	  CONF_RUNNING, CONF_NEEDS_RESULT, .run = old_queues_are_gone },
	{ "memory", "Memory is let go of when its connection ends", SPEC_RECONNECT, CONF_SHOULD,
	  CONF_SHARED, .run = memory_is_let_go },
	{ "descriptors", "Descriptors are closed when their connection ends", SPEC_RECONNECT,
	  CONF_SHOULD, CONF_SHARED, .run = descriptors_are_let_go },
	{ "leaks", "Open files do not grow in number with connections", SPEC_RECONNECT,
	  CONF_OPTIONAL, .run = no_leaks },
	{ "close-with-requests", "A connection that ends with requests harms no later one",
	  SPEC_ROBUST, CONF_MUST, CONF_RUNNING, .run = close_with_requests },
	{ "second", "A second connection does not disturb the first", SPEC_ROBUST, CONF_SHOULD,
	  CONF_RUNNING, .run = second_connection },
};

const struct conf_group conf_reset = { "reset", tests, CVMM_ARRAY_SIZE(tests) };
