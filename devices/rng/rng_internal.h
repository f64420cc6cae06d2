/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_RNG_INTERNAL_H
#define CVMM_RNG_INTERNAL_H

#include <cvmm/rng.h>

/* More in one period than any source has: no limit at all. So products fit into 64 bits. */
#define RNG_RATE_BYTES_MAX (UINT64_C(1) << 37)

/**
 * struct rng_rate - a bucket of bytes that is refilled evenly
 * @max_bytes: in a full bucket, which is what flows into it in @period_us; 0: there is no limit
 * @bytes: in it at @filled_us
 */
struct rng_rate {
	uint64_t max_bytes;
	uint64_t period_us;
	uint64_t bytes;
	uint64_t filled_us;
};

/* It begins full. @now_ns is of cvmm_clock_ns(), here and below. */
void rng_rate_init(struct rng_rate *rate, uint64_t max_bytes, uint32_t period_ms, uint64_t now_ns);

/* Fill up, and say how long it takes until @wanted bytes (or a full bucket) are there: 0 if they are. */
uint64_t rng_rate_wait_ns(struct rng_rate *rate, uint64_t wanted, uint64_t now_ns);

/* Of @wanted bytes, how many are there. */
size_t rng_rate_available(const struct rng_rate *rate, size_t wanted);

/* Take @bytes, at most as many as are available. */
void rng_rate_take(struct rng_rate *rate, size_t bytes);

/*
 * Up to @len of the system's random bytes, at least one, or -EAGAIN if there are none yet
 * (rng_host_linux.c, rng_host_posix.c).
 */
ssize_t rng_host_read(void *buf, size_t len);

#endif /* CVMM_RNG_INTERNAL_H */
