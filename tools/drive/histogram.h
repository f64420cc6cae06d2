/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Times, counted in buckets that are no wider than a 32nd of what is in them. */
#ifndef CVMM_DRIVE_HISTOGRAM_H
#define CVMM_DRIVE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_LOG2 5U
#define HISTOGRAM_SUB (1U << HISTOGRAM_SUB_LOG2)
#define HISTOGRAM_BUCKETS ((64U - HISTOGRAM_SUB_LOG2 + 1U) * HISTOGRAM_SUB)

struct histogram {
	uint64_t count;
	uint64_t sum;
	uint64_t min;
	uint64_t max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline unsigned int histogram_bucket(uint64_t value)
{
	unsigned int exponent;

	if (value < HISTOGRAM_SUB)
		return (unsigned int)value;
	exponent = 63U - (unsigned int)__builtin_clzll(value);
	return (exponent - HISTOGRAM_SUB_LOG2 + 1) * HISTOGRAM_SUB +
	       (unsigned int)(value >> (exponent - HISTOGRAM_SUB_LOG2) & (HISTOGRAM_SUB - 1));
}

/* The first value that is above the bucket. */
static inline uint64_t histogram_end(unsigned int bucket)
{
	unsigned int exponent = bucket / HISTOGRAM_SUB;

	if (exponent == 0)
		return bucket + 1U;
	return (uint64_t)(HISTOGRAM_SUB + bucket % HISTOGRAM_SUB + 1) << (exponent - 1);
}

static inline void histogram_add(struct histogram *h, uint64_t value)
{
	h->min = h->count && h->min < value ? h->min : value;
	h->max = h->max > value ? h->max : value;
	h->count++;
	h->sum += value;
	h->buckets[histogram_bucket(value)]++;
}

/* Add all of another one. */
void histogram_merge(struct histogram *to, const struct histogram *from);

/* The value that a share of all are not above, e.g. 0.99; at most a 32nd too much. 0 if there are none. */
uint64_t histogram_percentile(const struct histogram *h, double share);

#endif /* CVMM_DRIVE_HISTOGRAM_H */
