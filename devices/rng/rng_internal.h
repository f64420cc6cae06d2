/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_RNG_INTERNAL_H
#define CVMM_RNG_INTERNAL_H

#include <cvmm/rng.h>

/*
 * Up to @len of the system's random bytes, at least one, or -EAGAIN if there are none yet
 * (rng_host_linux.c, rng_host_posix.c).
 */
ssize_t rng_host_read(void *buf, size_t len);

#endif /* CVMM_RNG_INTERNAL_H */
