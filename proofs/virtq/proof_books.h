/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * For the proofs of what a queue notes of its chains: any queue of any size, without its rings. Nothing is
 * ever read from these here, and what is written to them is only counted: proof_virtq.h is for that.
 */
#ifndef PROOF_BOOKS_H
#define PROOF_BOOKS_H

/* Not known to cbmc, and of no meaning here. */
#define __atomic_always_lock_free(size, p) 1

#include <errno.h>
#include <stdlib.h>

#include <cvmm/virtq.h>

uint8_t nondet_u8(void);
uint16_t nondet_u16(void);
uint32_t nondet_u32(void);
uint64_t nondet_u64(void);
_Bool nondet_bool(void);

/* ---- in place of virtq_access.h ------------------------------------------------------------- */

#define CVMM_VIRTQ_RING_ACCESS
#define CVMM_VIRTQ_ACCESS_H
#define virtq_inline static inline

#include "../../lib/virtq/virtq_internal.h"

static unsigned int proof_releases; /* stores that publish */

static inline uint16_t ring_load(const uint8_t *ring, size_t at, int order)
{
	(void)ring;
	(void)at;
	(void)order;
	return nondet_u16();
}

static inline void ring_store(uint8_t *ring, size_t at, uint16_t v, int order)
{
	(void)ring;
	(void)at;
	(void)v;
	proof_releases += order == __ATOMIC_RELEASE;
}

#define host_put_u16(p, v) ((void)(v))
#define host_put_u32(p, v) ((void)(v))
#define host_put_u64(p, v) ((void)(v))
#define fetch_le64(p) nondet_u64()
#define piece_put(piece, host, len) __CPROVER_assert(0, "no piece is put")
#define full_fence() ((void)0)

/* ---- any queue ------------------------------------------------------------------------------ */

/* Errors are known by their codes here: the messages are not what is proved. */
int cvmm_fail(struct cvmm_error *err, int code, const char *fmt, ...)
{
	(void)err;
	(void)fmt;
	return code;
}

/* The size is any up to this; a small one makes quicker proofs of what has loops. */
#ifdef PROOF_SIZE_MAX
#define PROOF_ROOM(vq) PROOF_SIZE_MAX
#else
#define PROOF_SIZE_MAX CVMM_VIRTQ_SIZE_MAX
#define PROOF_ROOM(vq) ((vq).max_size)
#endif

/* A queue that runs, of either format, with anything in flight. */
static struct cvmm_virtq proof_any_books(bool packed)
{
	struct cvmm_virtq vq = { 0 };

	vq.size = nondet_u16();
	vq.max_size = nondet_u16();
	__CPROVER_assume(vq.max_size && vq.max_size <= PROOF_SIZE_MAX &&
			 !(vq.max_size & (vq.max_size - 1)));
	__CPROVER_assume(vq.size && vq.size <= vq.max_size);
	__CPROVER_assume(packed || !(vq.size & (vq.size - 1)));
	vq.slots = malloc(PROOF_ROOM(vq) * sizeof(*vq.slots));
	vq.popped = malloc(PROOF_ROOM(vq) * sizeof(*vq.popped));
	__CPROVER_assume(vq.slots && vq.popped);
	vq.config.size = vq.size;
	vq.config.packed = packed;
	vq.flags = (uint8_t)((packed ? VIRTQ_PACKED : 0) | (nondet_bool() ? VIRTQ_DIRECT : 0));
	vq.next_avail = nondet_u16();
	vq.next_used = nondet_u16();
	vq.avail_seen = nondet_u16();
	vq.avail_wrap = nondet_bool();
	vq.used_wrap = nondet_bool();
	vq.pops = nondet_u16();
	vq.in_flight = nondet_u32();
	vq.descs_in_use = nondet_u32();
	vq.unsignalled = nondet_u32();
	/* What check_config() and each of the steps keep. */
	__CPROVER_assume(!packed || (vq.next_avail < vq.size && vq.next_used < vq.size));
	__CPROVER_assume(vq.descs_in_use <= vq.size && vq.in_flight <= vq.descs_in_use);
	__CPROVER_assume(vq.unsignalled <= UNSIGNALLED_MAX);
	vq.usable = true;
	vq.started = true;
	return vq;
}

#endif /* PROOF_BOOKS_H */
