// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>

#include "mem_dirty_internal.h"

int cvmm_mem_dirty_barrier_prepare(void)
{
	return -ENOSYS;
}

int cvmm_mem_dirty_barrier(void)
{
	return -ENOSYS;
}
