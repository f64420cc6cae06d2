// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * What a front-end can do to a back-end that has mapped its memory: make the file shorter, so that the next
 * access ends in a signal. A front-end that does this is broken or malicious, and most back-ends trust
 * theirs. So these are the last tests, and OPTIONAL even where the back-end dies.
 */
#include <fcntl.h>
#include <unistd.h>

#include "conf.h"

#define SPEC "a back-end outlives its front-end"

static void shrink(struct conf *t, int fd)
{
	if (ftruncate(fd, 0))
		conf_fail(t, "the suite cannot make a file shorter");
}

/* The suite's own driver would touch the rings, so the ring is filled first. */
static void buffers_shrink(struct conf *t)
{
	struct conf_request *r;

	conf_one_request(t, 0);
	r = conf_request(t, 1);
	conf_submit(t, t->queue, r);
	shrink(t, t->ram.regions[0].fd);
	conf_kick(t, t->queue);
	conf_sleep_ms(t->options->quiet_ms);
	conf_recovers(t);
}

static void rings_shrink(struct conf *t)
{
	conf_one_request(t, 0);
	shrink(t, t->ram.regions[1].fd);
	conf_kick(t, t->queue);
	conf_sleep_ms(t->options->quiet_ms);
	conf_recovers(t);
}

static void log_shrinks(struct conf *t)
{
	uint64_t bytes = (CONF_RINGS_GPA + CONF_REGION_BYTES) / CVMM_VHOST_USER_LOG_PAGE / 8 + 8;
	struct cvmm_vhost_user_log payload = { bytes, 0 };
	int fd = conf_memfd(t, bytes);
	struct conf_request *r;

	conf_send(t, CVMM_VHOST_USER_SET_LOG_BASE, 0, &payload, sizeof(payload), &fd, 1);
	if (conf_receive_answer(t, CVMM_VHOST_USER_SET_LOG_BASE) != CONF_ANSWERED)
		conf_skip(t, "SET_LOG_BASE is not answered");
	conf_set_features(t, conf_wanted_features(t) | CONF_F_LOG_ALL);
	shrink(t, fd);
	r = conf_request(t, 0);
	conf_submit(t, t->queue, r);
	conf_kick(t, t->queue);
	conf_wait(t, t->queue, r, t->options->quiet_ms);
	conf_recovers(t);
}

static void short_file_is_used(struct conf *t)
{
	struct conf_table table;
	int fds[CONF_REGIONS_MAX];
	size_t size;

	conf_set_features(t, conf_wanted_features(t));
	conf_ram_default(t);
	size = conf_ram_table(t, &table, fds);
	fds[1] = conf_memfd(t, CONF_PAGE); /* where the rings are */
	if (conf_try(t, CVMM_VHOST_USER_SET_MEM_TABLE, &table, size, fds, t->ram.count) !=
	    CONF_ACKED)
		return;
	conf_queues_make(t);
	for (unsigned int i = 0; i < t->device->queue_count; i++) {
		struct conf_queue *q = &t->queues[i];
		struct cvmm_vhost_user_vring_addr addr;

		q->config.desc = cvmm_gpa_from(CONF_RINGS_GPA + 0x40000 + i * 0x10000);
		addr = conf_queue_addr(t, q);
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

static const struct conf_test tests[] = {
	{ "short-file", "A region that is longer than its file is refused, or survived", SPEC,
	  CONF_OPTIONAL, CONF_NEGOTIATED, CONF_NEEDS_ACK | CONF_NEEDS_DEVICE | CONF_DEADLY,
	  .run = short_file_is_used },
	{ "log-shrinks", "A log that gets shorter is survived", SPEC, CONF_OPTIONAL, CONF_RUNNING,
	  CONF_NEEDS_RESULT | CONF_DEADLY, .protocol = CVMM_VHOST_USER_PROTOCOL(LOG_SHMFD),
	  .features = CONF_F_LOG_ALL, .run = log_shrinks },
	{ "buffers-shrink", "Buffers whose file gets shorter are survived", SPEC, CONF_OPTIONAL,
	  CONF_RUNNING, CONF_DEADLY, .run = buffers_shrink },
	{ "rings-shrink", "Rings whose file gets shorter are survived", SPEC, CONF_OPTIONAL,
	  CONF_RUNNING, CONF_DEADLY, .run = rings_shrink },
};

const struct conf_group conf_deadly = { "deadly", tests, CVMM_ARRAY_SIZE(tests) };
