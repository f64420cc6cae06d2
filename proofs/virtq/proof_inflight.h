/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * For the proofs of inflight regions: a region of any content, and a process that dies behind any of its
 * stores to it: what it would store later is not stored. With PROOF_HOSTILE each load from the region has
 * another value, as if the front-end wrote to it all the time.
 */
#ifndef PROOF_INFLIGHT_H
#define PROOF_INFLIGHT_H

#include "proof_books.h"

static unsigned int proof_stores, proof_die_at = UINT32_MAX;

#define __atomic_store_n(p, v, order)  \
	(proof_stores++ < proof_die_at \
		 ? (void)(*(p) = (v))  \
		 : (void)__CPROVER_assert(__CPROVER_w_ok(p, sizeof(*(p))), "it is inside"))
#ifdef PROOF_HOSTILE
#define __atomic_load_n(p, order)                                                        \
	({                                                                               \
		__typeof__(*(p)) any_value;                                              \
		__CPROVER_assert(__CPROVER_r_ok(p, sizeof(*(p))), "the load is inside"); \
		any_value;                                                               \
	})
#else
#define __atomic_load_n(p, order) (*(p))
#endif

/* Sorting itself is not what is proved, but the order is. */
#define qsort(base, count, size, compare)                                                       \
	do {                                                                                    \
		for (uint32_t to = 1; to < (count); to++)                                       \
			for (uint32_t at = to; at && compare(&(base)[at - 1], &(base)[at]) > 0; \
			     at--) {                                                            \
				__typeof__(*(base)) moved = (base)[at];                         \
				(base)[at] = (base)[at - 1];                                    \
				(base)[at - 1] = moved;                                         \
			}                                                                       \
	} while (0)

/* What the used ring says, and whether it can be read. */
static uint16_t proof_used_idx;
static int proof_area_code;
#define ring_load(ring, at, order) proof_used_idx

static int area_load_u16(const struct cvmm_virtq *vq, const uint8_t *host, cvmm_gpa area, size_t at,
			 int order, bool direct, uint16_t *ret)
{
	(void)vq;
	(void)host;
	(void)area;
	(void)at;
	(void)order;
	(void)direct;
	*ret = proof_used_idx;
	return proof_area_code;
}

#ifndef SIZE
#define SIZE 4
#endif

static struct cvmm_virtq proof_started(bool packed)
{
	struct cvmm_virtq vq = { 0 };

	vq.size = SIZE;
	vq.max_size = SIZE;
	vq.config.size = SIZE;
	vq.config.packed = packed;
	vq.flags = (uint8_t)((packed ? VIRTQ_PACKED : 0) | (nondet_bool() ? VIRTQ_DIRECT : 0));
	vq.next_used = nondet_u16();
	vq.next_avail = nondet_u16();
	vq.avail_seen = vq.next_avail;
	vq.avail_wrap = nondet_bool();
	vq.used_wrap = nondet_bool();
	__CPROVER_assume(!packed || (vq.next_avail < SIZE && vq.next_used < SIZE));
	vq.usable = true;
	vq.started = true;
	return vq;
}

#include "../../lib/virtq/virtq_inflight.c"

#endif /* PROOF_INFLIGHT_H */
