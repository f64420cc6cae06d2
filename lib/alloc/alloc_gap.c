// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * What one gap can hold. A gap is given by its first and last address, so no sum of an address and a
 * length is ever computed before it is known to fit.
 */
#include "alloc_internal.h"

static unsigned int floor_log2(uint64_t a)
{
	return 63 - (unsigned int)__builtin_clzll(a);
}

/* 1 + the largest k for which the range holds a block of 2^k bytes at a multiple of 2^k. */
uint8_t alloc_gap_rank(uint64_t first, uint64_t last)
{
	uint64_t span = last - first, block_first;
	unsigned int k;

	if (span == UINT64_MAX)
		return 64 + 1;
	/*
	 * With 2^k up to 2^(k+1) - 1 bytes it holds a block of 2^(k-1) wherever it begins, and some
	 * multiple of 2^k.
	 */
	k = floor_log2(span + 1);
	if (cvmm_align_up_u64(first, UINT64_C(1) << k, &block_first) &&
	    last - block_first >= (UINT64_C(1) << k) - 1)
		return (uint8_t)(k + 1);
	return (uint8_t)k;
}

struct alloc_want alloc_gap_want(uint64_t len_bytes, uint64_t align_bytes)
{
	/* Wherever the piece is put, it holds an aligned block of this many bytes. */
	uint64_t block = len_bytes < align_bytes ? len_bytes : align_bytes;

	return (struct alloc_want){
		.span = len_bytes - 1,
		.align = align_bytes,
		.min_rank = (uint8_t)(floor_log2(block) + 1),
	};
}

/* The lowest or highest place for a piece in a gap. Return: whether there is one. */
bool alloc_gap_fit(uint64_t gap_first, uint64_t gap_last, const struct alloc_want *want, bool high,
		   uint64_t *ret_first)
{
	uint64_t first;

	if (gap_last - gap_first < want->span)
		return false;
	if (high) {
		first = (gap_last - want->span) & ~(want->align - 1);
		if (first < gap_first)
			return false;
	} else if (!cvmm_align_up_u64(gap_first, want->align, &first) || first > gap_last ||
		   gap_last - first < want->span) {
		return false;
	}
	*ret_first = first;
	return true;
}
