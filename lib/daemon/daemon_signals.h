/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What the files about signals share. */
#ifndef CVMM_DAEMON_SIGNALS_H
#define CVMM_DAEMON_SIGNALS_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "daemon_internal.h"

struct daemon_signals {
	struct cvmm_loop *loop;
	void (*fn)(void *ctx, int number);
	void *ctx;
	int fd; /* signalfd, or -1 */
	struct cvmm_source *source;
	pthread_t thread;
	bool has_thread;
	atomic_bool ending;
	atomic_int number; /* from the thread; the last one */
};

/* Have a descriptor for @set on the loop. Return: 0; -ENOTSUP if the system has none; or negative errno. */
int daemon_signals_start_fd(struct daemon_signals *signals, const sigset_t *set);

#endif /* CVMM_DAEMON_SIGNALS_H */
