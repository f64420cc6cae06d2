// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* For systems whose ways to confine a process are not known here. */
#include <errno.h>
#include <unistd.h>

#include "daemon_internal.h"

void daemon_close_inherited(const int *keep, unsigned int count)
{
	long max = sysconf(_SC_OPEN_MAX);
	unsigned int next = 0;

	for (int fd = 3; fd < (max > 0 && max < 65536 ? (int)max : 65536); fd++) {
		while (next < count && keep[next] < fd)
			next++;
		if (next == count || keep[next] != fd)
			close(fd);
	}
}

int daemon_userfaultfd_open(void)
{
	return -1;
}

int daemon_sandbox_enter(struct daemon_sandbox *sandbox, struct cvmm_error *err)
{
	if (sandbox->kind == DAEMON_SANDBOX_NONE)
		return 0;
	if (sandbox->named)
		return cvmm_fail(err, -ENOTSUP, "--sandbox: this system can only do none");
	cvmm_log(sandbox->log, CVMM_LOG_WARN, "there is no sandbox on this system");
	sandbox->kind = DAEMON_SANDBOX_NONE;
	return 0;
}

int daemon_sandbox_filter(struct daemon_sandbox *sandbox, struct cvmm_error *err)
{
	(void)sandbox;
	(void)err;
	return 0;
}
