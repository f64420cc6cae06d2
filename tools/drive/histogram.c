// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include "histogram.h"

void histogram_merge(struct histogram *to, const struct histogram *from)
{
	if (!from->count)
		return;
	to->min = to->count && to->min < from->min ? to->min : from->min;
	to->max = to->max > from->max ? to->max : from->max;
	to->count += from->count;
	to->sum += from->sum;
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++)
		to->buckets[i] += from->buckets[i];
}

uint64_t histogram_percentile(const struct histogram *h, double share)
{
	uint64_t wanted = (uint64_t)((double)h->count * share), seen = 0;

	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen && seen >= wanted) {
			uint64_t last = histogram_end(i) - 1;

			return last < h->max ? last : h->max;
		}
	}
	return h->max;
}
