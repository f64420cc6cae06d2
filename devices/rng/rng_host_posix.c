// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <unistd.h>

#include "rng_internal.h"

#define GETENTROPY_MAX 256 /* POSIX.1-2024, <limits.h> */

/* Waits until the system has collected enough, which it does once, when it starts. */
ssize_t rng_host_read(void *buf, size_t len)
{
	size_t n = len < GETENTROPY_MAX ? len : GETENTROPY_MAX;

	return getentropy(buf, n) ? -errno : (ssize_t)n;
}
