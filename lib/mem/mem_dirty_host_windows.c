// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <windows.h>

#include "mem_dirty_internal.h"

int cvmm_mem_dirty_barrier_prepare(void)
{
	return 0;
}

int cvmm_mem_dirty_barrier(void)
{
	/* Interrupts each processor that runs a thread of this process, which is such a barrier. */
	FlushProcessWriteBuffers();
	return 0;
}
