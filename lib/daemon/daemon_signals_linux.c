// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Signals by a descriptor. */
#include <errno.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "daemon_signals.h"

static void on_signal(void *ctx, int fd, unsigned int events)
{
	struct daemon_signals *signals = ctx;
	struct signalfd_siginfo info;

	(void)events;
	if (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		signals->fn(signals->ctx, (int)info.ssi_signo);
}

int daemon_signals_start_fd(struct daemon_signals *signals, const sigset_t *set)
{
	signals->fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals->fd < 0)
		return -errno;
	return cvmm_loop_add_fd(signals->loop, signals->fd, CVMM_EVENT_READ, on_signal, signals,
				&signals->source);
}
