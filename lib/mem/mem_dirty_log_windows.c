// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Where there are no vhost front-ends, and hence no logs of theirs. */
#include <errno.h>

#include "mem_dirty_internal.h"

int cvmm_dirty_log_set(struct cvmm_dirty *dirty, int fd, uint64_t offset, uint64_t size_bytes,
		       struct cvmm_error *err)
{
	(void)dirty;
	(void)fd;
	(void)offset;
	(void)size_bytes;
	return cvmm_fail(err, -ENOTSUP, "dirty log: this system cannot map the log of a peer");
}

int cvmm_dirty_log_unset(struct cvmm_dirty *dirty, struct cvmm_error *err)
{
	(void)dirty;
	return cvmm_fail(err, -ENOTSUP, "dirty log: this system cannot map the log of a peer");
}
