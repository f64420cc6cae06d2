// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Post-copy migration. */
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "conf.h"

#define SPEC_ADVISE "vhost-user, VHOST_USER_POSTCOPY_ADVISE"
#define SPEC_LISTEN "vhost-user, VHOST_USER_POSTCOPY_LISTEN"
#define SPEC_TABLE "vhost-user, VHOST_USER_SET_MEM_TABLE: replies with the bases"
#define SPEC_END "vhost-user, VHOST_USER_POSTCOPY_END"
#define PAGEFAULT CVMM_VHOST_USER_PROTOCOL(PAGEFAULT)

/* Whether this process may have a userfaultfd; the back-end may be allowed more or less. */
static bool is_permitted(void)
{
	long fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		close((int)fd);
	return fd >= 0;
}

static void advise(struct conf *t)
{
	conf_ask(t, CVMM_VHOST_USER_POSTCOPY_ADVISE, NULL, 0);
	if (t->msg->fd_count == 1)
		conf_own(t, cvmm_vhost_user_msg_take_fd(t->msg, 0));
	else if (is_permitted())
		conf_fail(t, "POSTCOPY_ADVISE: the answer came with %u descriptors",
			  t->msg->fd_count);
	else
		conf_skip(t, "userfaultfd is not permitted here");
}

static void advises(struct conf *t)
{
	if (!is_permitted())
		conf_skip(t, "userfaultfd is not permitted here");
	advise(t);
}

static void listens(struct conf *t)
{
	struct conf_table table, answer;
	int fds[CONF_REGIONS_MAX];
	uint64_t zero = 0;
	size_t size;

	if (!is_permitted())
		conf_skip(t, "userfaultfd is not permitted here");
	advise(t);
	conf_accepted(t, conf_try(t, CVMM_VHOST_USER_POSTCOPY_LISTEN, NULL, 0, NULL, 0),
		      "POSTCOPY_LISTEN");
	conf_ram_default(t);
	size = conf_ram_table(t, &table, fds);
	conf_send(t, CVMM_VHOST_USER_SET_MEM_TABLE, 0, &table, size, fds, t->ram.count);
	if (conf_receive_answer(t, CVMM_VHOST_USER_SET_MEM_TABLE) != CONF_ANSWERED)
		conf_fail(t, "SET_MEM_TABLE is not answered with addresses");
	if (t->msg->size < size)
		conf_fail(t, "SET_MEM_TABLE: the answer has %u bytes, and not %zu", t->msg->size,
			  size);
	memcpy(&answer, t->msg->payload, size);
	for (size_t i = 0; i < t->ram.count; i++)
		if (answer.regions[i].user_addr == 0 || answer.regions[i].user_addr % CONF_PAGE)
			conf_fail(t, "region %zu is said to be at 0x%llx of the back-end", i,
				  (unsigned long long)answer.regions[i].user_addr);
	/*
	 * The front-end's acknowledgement, which lets the back-end go on. The specification calls it empty;
	 * QEMU sends a u64 of 0, and its library takes nothing else.
	 */
	conf_send(t, CVMM_VHOST_USER_SET_MEM_TABLE, 0, &zero, sizeof(zero), NULL, 0);
	if (conf_ask_u64(t, CVMM_VHOST_USER_POSTCOPY_END))
		conf_fail(t, "POSTCOPY_END says that there was an error");
}

static void end_alone(struct conf *t)
{
	conf_send(t, CVMM_VHOST_USER_POSTCOPY_END, 0, NULL, 0, NULL, 0);
	if (conf_receive(t, t->options->timeout_ms) == CONF_SILENT)
		conf_fail(t, "no answer, and the connection is not closed");
}

static void listen_alone(struct conf *t)
{
	conf_try(t, CVMM_VHOST_USER_POSTCOPY_LISTEN, NULL, 0, NULL, 0);
	conf_connect(t);
}

static const struct conf_test tests[] = {
	{ "advise", "POSTCOPY_ADVISE gives a userfaultfd", SPEC_ADVISE, CONF_MUST, CONF_NEGOTIATED,
	  .protocol = PAGEFAULT, .run = advises },
	{ "listen", "After POSTCOPY_LISTEN the back-end's addresses come back, and an end",
	  SPEC_TABLE, CONF_MUST, CONF_NEGOTIATED, .protocol = PAGEFAULT, .run = listens },
	{ "end-alone", "POSTCOPY_END is always answered", SPEC_END, CONF_SHOULD, CONF_NEGOTIATED,
	  .protocol = PAGEFAULT, .run = end_alone },
	{ "listen-alone", "POSTCOPY_LISTEN without ADVISE harms no later connection", SPEC_LISTEN,
	  CONF_MUST, CONF_NEGOTIATED, .protocol = PAGEFAULT, .run = listen_alone },
};

const struct conf_group conf_postcopy = { "postcopy", tests, CVMM_ARRAY_SIZE(tests) };
