// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Windows has none: regions of the caller's files do the same there. */
#include <errno.h>

#include "mem_internal.h"

int cvmm_mem_memfd_open(const struct cvmm_mem_config *config, int *ret_fd, struct cvmm_error *err)
{
	(void)config;
	(void)ret_fd;
	return cvmm_fail(err, -ENOTSUP,
			 "this system has no memfd; use anonymous memory or a shared-memory file");
}
