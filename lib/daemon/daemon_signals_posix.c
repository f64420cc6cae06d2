// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* For systems without a descriptor for signals: a thread waits for them. */
#include <errno.h>

#include "daemon_signals.h"

int daemon_signals_start_fd(struct daemon_signals *signals, const sigset_t *set)
{
	(void)signals;
	(void)set;
	return -ENOTSUP;
}
