// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Limits of the rate. Time is counted in whole microseconds, and rounding never favours the guest. */
#include "rng_internal.h"

#define NS_PER_US UINT64_C(1000)

void rng_rate_init(struct rng_rate *rate, uint64_t max_bytes, uint32_t period_ms, uint64_t now_ns)
{
	*rate = (struct rng_rate){
		.max_bytes = max_bytes > RNG_RATE_BYTES_MAX ? 0 : max_bytes,
		.period_us = (uint64_t)period_ms * 1000,
		.filled_us = now_ns / NS_PER_US,
	};
	rate->bytes = rate->max_bytes;
}

/* How long it takes for @bytes, up to a full bucket, to flow in: rounded up. */
static uint64_t time_of_us(const struct rng_rate *rate, uint64_t bytes)
{
	return (bytes * rate->period_us + rate->max_bytes - 1) / rate->max_bytes;
}

static void fill_up(struct rng_rate *rate, uint64_t now_us)
{
	uint64_t elapsed_us = now_us - rate->filled_us;
	uint64_t more;

	if (elapsed_us >= rate->period_us) {
		rate->bytes = rate->max_bytes;
		rate->filled_us = now_us;
		return;
	}
	more = elapsed_us * rate->max_bytes / rate->period_us;
	rate->filled_us += time_of_us(rate, more);
	rate->bytes += more;
	if (rate->bytes > rate->max_bytes)
		rate->bytes = rate->max_bytes;
}

uint64_t rng_rate_wait_ns(struct rng_rate *rate, uint64_t wanted, uint64_t now_ns)
{
	uint64_t now_us = now_ns / NS_PER_US;
	uint64_t ready_us;

	if (!rate->max_bytes)
		return 0;
	fill_up(rate, now_us);
	if (wanted > rate->max_bytes)
		wanted = rate->max_bytes;
	if (rate->bytes >= wanted)
		return 0;
	ready_us = rate->filled_us + time_of_us(rate, wanted - rate->bytes);
	return (ready_us - now_us) * NS_PER_US;
}

size_t rng_rate_available(const struct rng_rate *rate, size_t wanted)
{
	return !rate->max_bytes || rate->bytes > wanted ? wanted : (size_t)rate->bytes;
}

void rng_rate_take(struct rng_rate *rate, size_t bytes)
{
	if (rate->max_bytes)
		rate->bytes -= bytes;
}
