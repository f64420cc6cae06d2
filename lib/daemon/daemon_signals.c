// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * The signals that end a daemon are blocked, so that they interrupt nothing, and come through the loop: on
 * Linux by a signalfd, elsewhere from a thread that waits for them and posts what came.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon_signals.h"

/* Whoever started us may have had one ignored (nohup, the "&" of a script), and means it. */
static void add_unless_ignored(sigset_t *set, int number)
{
	struct sigaction now;

	if (sigaction(number, NULL, &now) == 0 && now.sa_handler != SIG_IGN)
		sigaddset(set, number);
}

static sigset_t signals_of_ours(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	add_unless_ignored(&set, SIGINT);
	add_unless_ignored(&set, SIGHUP);
	return set;
}

static void tell(void *ctx)
{
	struct daemon_signals *signals = ctx;

	signals->fn(signals->ctx, atomic_load(&signals->number));
}

static void *wait_for_signals(void *ctx)
{
	struct daemon_signals *signals = ctx;
	sigset_t set = signals_of_ours();
	int number;

	while (!atomic_load(&signals->ending)) {
		if (sigwait(&set, &number) || atomic_load(&signals->ending))
			continue;
		atomic_store(&signals->number, number);
		/* Without memory the next signal gets another chance. */
		(void)!cvmm_loop_post(signals->loop, tell, signals);
	}
	return NULL;
}

static int start_thread(struct daemon_signals *signals)
{
	int ret = -pthread_create(&signals->thread, NULL, wait_for_signals, signals);

	signals->has_thread = !ret;
	return ret;
}

int daemon_signals_create(enum daemon_signals_kind kind, struct cvmm_loop *loop,
			  void (*fn)(void *ctx, int number), void *ctx,
			  struct daemon_signals **ret_signals)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct daemon_signals *signals = calloc(1, sizeof(*signals));
	sigset_t set = signals_of_ours();
	int ret;

	if (!signals)
		return -ENOMEM;
	signals->loop = loop;
	signals->fn = fn;
	signals->ctx = ctx;
	signals->fd = -1;
	ret = -pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (!ret && sigaction(SIGPIPE, &ignore, NULL))
		ret = -errno;
	if (!ret)
		ret = kind == DAEMON_SIGNALS_THREAD ? -ENOTSUP
						    : daemon_signals_start_fd(signals, &set);
	if (ret == -ENOTSUP && kind != DAEMON_SIGNALS_FD)
		ret = start_thread(signals);
	if (ret)
		daemon_signals_destroy(signals);
	else
		*ret_signals = signals;
	return ret;
}

void daemon_signals_destroy(struct daemon_signals *signals)
{
	if (!signals)
		return;
	cvmm_source_remove(signals->source);
	cvmm_close_fd(&signals->fd);
	if (signals->has_thread) {
		atomic_store(&signals->ending, true);
		pthread_kill(signals->thread, SIGTERM);
		pthread_join(signals->thread, NULL);
	}
	free(signals);
}
