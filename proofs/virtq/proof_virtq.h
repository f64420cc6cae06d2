/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * For the proofs of virtq: any queue of any size up to 32768 entries, at any place of its rings.
 *
 * The accessors of virtq_access.h, and the functions of mem that queues use, are put in place here. All
 * that the driver can write is modelled as a fresh value at every fetch: memory has no content, so that
 * nothing can be concluded from one fetch about another, and a check of what is fetched again is found
 * to be none. Each access must lie in its area, or in memory that mem has granted.
 *
 * Host addresses are numbers: only where an access would go matters. Those of the areas are constants far
 * apart, which serve as their names; areas that overlap in the guest are no other case, because no two
 * reads agree anyway.
 *
 * What is proved of mem itself, that it grants only what may be, is in proofs/mem.
 */
#ifndef PROOF_VIRTQ_H
#define PROOF_VIRTQ_H

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
int nondet_int(void);

/* ---- what is accessed, in order ------------------------------------------------------------- */

enum proof_area {
	PROOF_DESC,
	PROOF_DRIVER,
	PROOF_DEVICE,
	PROOF_AREAS
};

#define PROOF_HOST(area) ((UINT64_C(1) << 40) * (1 + (uint64_t)(area)))
#define PROOF_GPA(area) ((UINT64_C(1) << 50) * (1 + (uint64_t)(area)))
#define PROOF_HOST_END (UINT64_C(1) << 46)

enum proof_kind {
	PROOF_LOAD,
	PROOF_STORE,
	PROOF_FENCE
};

/**
 * struct proof_event - one access, or a fence
 * @at: offset in the area
 * @order: __ATOMIC_RELAXED for what is not atomic
 */
struct proof_event {
	enum proof_kind kind;
	enum proof_area area;
	uint64_t at;
	unsigned int bytes;
	uint64_t value;
	int order;
};

#ifndef PROOF_EVENTS
#define PROOF_EVENTS 8 /* more than any of the proofs makes, which is checked */
#endif
static struct proof_event proof_events[PROOF_EVENTS];
static unsigned int proof_event_count;
static struct cvmm_virtq *proof_queue;

static void proof_note(struct proof_event event)
{
	__CPROVER_assert(proof_event_count < PROOF_EVENTS, "there is room in the proof's list");
	proof_events[proof_event_count++] = event;
}

/* Event @i is a store of @value, and nothing else. */
static void proof_check_store(unsigned int i, enum proof_area area, uint64_t at, unsigned int bytes,
			      uint64_t value)
{
	const struct proof_event *event = &proof_events[i];

	__CPROVER_assert(i < proof_event_count, "there is such a store");
	__CPROVER_assert(event->kind == PROOF_STORE && event->area == area, "it is to this area");
	__CPROVER_assert(event->at == at && event->bytes == bytes, "it is at this place");
	__CPROVER_assert(event->value == value, "it stores this value");
}

static uint64_t proof_area_bytes(enum proof_area area)
{
	uint64_t size = proof_queue->size;

	if (area == PROOF_DESC)
		return 16 * size;
	if (proof_queue->config.packed)
		return 4;
	return area == PROOF_DRIVER ? 4 + 2 * size + 2 : 4 + 8 * size + 2;
}

static void proof_check_access(enum proof_area area, uint64_t at, unsigned int bytes)
{
	uint64_t len = proof_area_bytes(area);

	__CPROVER_assert(at < len && bytes <= len - at, "the access is inside its area");
	__CPROVER_assert(!(at % bytes), "it is aligned");
}

/* ---- what mem grants ------------------------------------------------------------------------ */

/**
 * struct proof_grant - guest memory that mem has said may be accessed
 */
struct proof_grant {
	uint64_t gpa;
	uint64_t len;
	uint64_t host;
	bool is_write;
};

#ifndef PROOF_GRANTS
#define PROOF_GRANTS 4
#endif
static struct proof_grant proof_grants[PROOF_GRANTS];
static unsigned int proof_grant_count;

static bool proof_in(uint64_t at, uint64_t bytes, uint64_t start, uint64_t len)
{
	return at >= start && at - start < len && bytes <= len - (at - start);
}

/* RAM does not wrap: proofs/mem/check.c. */
static void proof_grant(cvmm_gpa gpa, uint64_t len, uint64_t host, bool is_write)
{
	__CPROVER_assert(proof_grant_count < PROOF_GRANTS, "there is room in the proof's list");
	__CPROVER_assume(len && gpa.addr <= UINT64_MAX - (len - 1));
	proof_grants[proof_grant_count++] = (struct proof_grant){ gpa.addr, len, host, is_write };
}

/* Return: NULL, or any address: the map has memory there or not. */
static void *proof_ptr(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len, bool is_write)
{
	uint64_t host = nondet_u64();

	__CPROVER_assert(mem == proof_queue->mem, "it is the queue's map that is asked");
	__CPROVER_assert(len, "mem is not asked for a pointer to nothing");
	if (nondet_bool())
		return NULL;
	__CPROVER_assume(host && host < PROOF_HOST_END && len < PROOF_HOST_END);
	proof_grant(gpa, len, host, is_write);
	return (void *)(uintptr_t)host;
}

static inline void *proof_ptr_quick(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len,
				    bool is_write)
{
	return proof_ptr(mem, gpa, len, is_write);
}

void *cvmm_mem_ptr(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len, enum cvmm_access access)
{
	return proof_ptr(mem, gpa, len, access & CVMM_ACCESS_WRITE);
}

/* Memory that may be accessed, but has not one host address. */
int cvmm_mem_check(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len, enum cvmm_access access)
{
	__CPROVER_assert(mem == proof_queue->mem, "it is the queue's map that is asked");
	if (nondet_bool())
		return nondet_bool() ? -EFAULT : -EAGAIN;
	proof_grant(gpa, len, 0, access & CVMM_ACCESS_WRITE);
	return 0;
}

/* The caller's array is a number, too, as long as the proof says. */
#ifdef PROOF_ARRAY
static struct iovec proof_array[PROOF_ARRAY]; /* pointers into it can be subtracted */
#define PROOF_IOV ((uint64_t)(uintptr_t)proof_array)
#else
#define PROOF_IOV (UINT64_C(1) << 44)
#endif
static uint64_t proof_iov_max;

/* Bytes of the pieces from the array's first one on, readable and writable. */
static uint64_t proof_bytes[2];

static void proof_add_bytes(uint64_t i, uint64_t len, bool is_write)
{
	if (!i)
		proof_bytes[0] = proof_bytes[1] = 0;
	proof_bytes[is_write] += len;
}

/* Pieces of the whole range, or a failure. How mem cuts it is not the queue's affair: proofs/mem. */
int cvmm_mem_span(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len, enum cvmm_access access,
		  struct iovec *iov, size_t iov_max, size_t *ret_count)
{
	size_t count = nondet_u16();
	static const int failures[] = { -EFAULT, -EAGAIN, -ENOTSUP, -ENOBUFS };

	__CPROVER_assert(mem == proof_queue->mem, "it is the queue's map that is asked");
	__CPROVER_assert(proof_in((uintptr_t)iov, iov_max * sizeof(*iov), PROOF_IOV,
				  proof_iov_max * sizeof(*iov) + 1),
			 "there is room for the pieces");
	if (nondet_bool())
		return failures[nondet_u8() % 4];
	__CPROVER_assume(count && count <= iov_max);
	proof_grant(gpa, len, 0, access & CVMM_ACCESS_WRITE);
	proof_add_bytes((uint64_t)(uintptr_t)iov - PROOF_IOV, len, access & CVMM_ACCESS_WRITE);
	*ret_count = count;
	return 0;
}

/* Where the last copy was made: its bytes are whatever they are. */
static const uint8_t *proof_copy;

/* Of a descriptor: of the ring, or of a table that was granted. */
static inline int proof_read(const struct cvmm_mem *mem, cvmm_gpa gpa, void *dst, size_t len)
{
	bool ok = proof_in(gpa.addr, len, PROOF_GPA(PROOF_DESC), proof_area_bytes(PROOF_DESC));

	for (unsigned int i = 0; i < PROOF_GRANTS; i++)
		ok = ok || (i < proof_grant_count && !proof_grants[i].is_write &&
			    proof_in(gpa.addr, len, proof_grants[i].gpa, proof_grants[i].len));
	__CPROVER_assert(ok, "descriptors are read from the ring or from a table");
	__CPROVER_assert(mem == proof_queue->mem, "it is the queue's map that is asked");
	__CPROVER_assert(__CPROVER_w_ok(dst, len), "there is room for the copy");
	proof_copy = dst;
	return nondet_bool() ? 0 : nondet_bool() ? -EFAULT : -EAGAIN;
}

#define cvmm_mem_ptr_quick proof_ptr_quick
#define cvmm_mem_read proof_read

/* ---- in place of virtq_access.h ------------------------------------------------------------- */

#define CVMM_VIRTQ_RING_ACCESS
#define CVMM_VIRTQ_ACCESS_H
#define virtq_inline static inline

#include "../../lib/virtq/virtq_internal.h"

static inline enum proof_area proof_area_of(uint64_t host)
{
	return host >= PROOF_HOST(PROOF_DEVICE)	  ? PROOF_DEVICE
	       : host >= PROOF_HOST(PROOF_DRIVER) ? PROOF_DRIVER
						  : PROOF_DESC;
}

/*
 * What was fetched, in order. Proofs of steps fetch less than there is room for, and say so; those of whole
 * walks look at none that fetch more.
 */
#ifndef PROOF_FETCHES
#define PROOF_FETCHES 8
#endif
static struct {
	uint64_t at;
	uint64_t value;
} proof_fetched[PROOF_FETCHES];
static unsigned int proof_fetch_count;

/* A descriptor's half: of the ring, of a table that was granted, or of the last copy. */
static inline uint64_t fetch_le64(const uint8_t *p)
{
	uint64_t at = (uint64_t)(uintptr_t)p;
	bool ok = p == proof_copy || (proof_copy && p == proof_copy + 8) ||
		  proof_in(at, 8, PROOF_HOST(PROOF_DESC), proof_area_bytes(PROOF_DESC));

	for (unsigned int i = 0; i < PROOF_GRANTS; i++)
		ok = ok || (i < proof_grant_count && !proof_grants[i].is_write &&
			    proof_in(at, 8, proof_grants[i].host, proof_grants[i].len));
	__CPROVER_assert(ok, "descriptors are fetched from the ring or from a table");
	__CPROVER_assume(proof_fetch_count < PROOF_FETCHES);
	proof_fetched[proof_fetch_count].at = at;
	return proof_fetched[proof_fetch_count++].value = nondet_u64();
}

static inline uint16_t ring_load(const uint8_t *ring, size_t at, int order)
{
	uint64_t host = (uint64_t)(uintptr_t)ring;
	enum proof_area area = proof_area_of(host);
	uint16_t value = nondet_u16();

	at += host - PROOF_HOST(area);
	proof_check_access(area, at, 2);
	proof_note((struct proof_event){ PROOF_LOAD, area, at, 2, value, order });
	return value;
}

static inline void proof_put(const uint8_t *p, unsigned int bytes, uint64_t value, int order)
{
	uint64_t host = (uint64_t)(uintptr_t)p;
	enum proof_area area = proof_area_of(host);

	proof_check_access(area, host - PROOF_HOST(area), bytes);
	proof_note((struct proof_event){ PROOF_STORE, area, host - PROOF_HOST(area), bytes, value,
					 order });
}

static inline void ring_store(uint8_t *ring, size_t at, uint16_t v, int order)
{
	proof_put(ring + at, 2, v, order);
}

static inline void host_put_u16(uint8_t *p, uint16_t v)
{
	proof_put(p, 2, v, __ATOMIC_RELAXED);
}

static inline void host_put_u32(uint8_t *p, uint32_t v)
{
	proof_put(p, 4, v, __ATOMIC_RELAXED);
}

/* A used element: its halves may be written at once (2.7.8), and are aligned for each alone. */
static inline void host_put_u64(uint8_t *p, uint64_t v)
{
	proof_put(p, 4, (uint32_t)v, __ATOMIC_RELAXED);
	proof_put(p + 4, 4, v >> 32, __ATOMIC_RELAXED);
}

/* What is to be marked dirty is marked by the accessors that are replaced here. */
static inline void area_mark(const struct cvmm_virtq *vq, cvmm_gpa area, size_t at, size_t len)
{
	(void)vq;
	(void)area;
	(void)at;
	(void)len;
}

static inline enum proof_area proof_area_at(cvmm_gpa gpa)
{
	enum proof_area area = gpa.addr == PROOF_GPA(PROOF_DESC)     ? PROOF_DESC
			       : gpa.addr == PROOF_GPA(PROOF_DRIVER) ? PROOF_DRIVER
								     : PROOF_DEVICE;

	__CPROVER_assert(gpa.addr == PROOF_GPA(area), "it is one of the areas that is accessed");
	return area;
}

/* Either way: directly only if the queue is, and else it can fail. Return: 0, -EFAULT or -EAGAIN. */
static inline int proof_go(const struct cvmm_virtq *vq, const uint8_t *host, enum proof_area area,
			   bool direct)
{
	if (!direct)
		return nondet_bool() ? 0 : nondet_bool() ? -EFAULT : -EAGAIN;
	__CPROVER_assert(vq->flags & VIRTQ_DIRECT, "only direct areas are accessed directly");
	__CPROVER_assert((uint64_t)(uintptr_t)host == PROOF_HOST(area), "each at its own address");
	return 0;
}

static inline int proof_area_access(const struct cvmm_virtq *vq, const uint8_t *host, cvmm_gpa gpa,
				    bool direct, struct proof_event event)
{
	int ret;

	event.area = proof_area_at(gpa);
	ret = proof_go(vq, host, event.area, direct);
	proof_check_access(event.area, event.at, event.bytes);
	if (!ret)
		proof_note(event);
	return ret;
}

static inline int proof_area_load(const struct cvmm_virtq *vq, const uint8_t *host, cvmm_gpa gpa,
				  size_t at, unsigned int bytes, int order, bool direct,
				  uint64_t value)
{
	return proof_area_access(
		vq, host, gpa, direct,
		(struct proof_event){ PROOF_LOAD, PROOF_DESC, at, bytes, value, order });
}

static inline int proof_area_store(const struct cvmm_virtq *vq, const uint8_t *host, cvmm_gpa gpa,
				   size_t at, unsigned int bytes, int order, bool direct,
				   uint64_t value)
{
	return proof_area_access(
		vq, host, gpa, direct,
		(struct proof_event){ PROOF_STORE, PROOF_DESC, at, bytes, value, order });
}

static inline int area_load_u16(const struct cvmm_virtq *vq, const uint8_t *host, cvmm_gpa area,
				size_t at, int order, bool direct, uint16_t *ret)
{
	uint16_t value = nondet_u16();
	int code = proof_area_load(vq, host, area, at, 2, order, direct, value);

	if (!code)
		*ret = value;
	return code;
}

static inline int area_store_u16(const struct cvmm_virtq *vq, uint8_t *host, cvmm_gpa area,
				 size_t at, uint16_t v, int order, bool direct)
{
	return proof_area_store(vq, host, area, at, 2, order, direct, v);
}

static inline int area_load_u32(const struct cvmm_virtq *vq, const uint8_t *host, cvmm_gpa area,
				bool direct, uint32_t *ret)
{
	uint32_t value = nondet_u32();
	int code = proof_area_load(vq, host, area, 0, 4, __ATOMIC_RELAXED, direct, value);

	if (!code)
		*ret = value;
	return code;
}

static inline int area_store_u32(const struct cvmm_virtq *vq, uint8_t *host, cvmm_gpa area,
				 uint32_t v, bool direct)
{
	return proof_area_store(vq, host, area, 0, 4, __ATOMIC_RELAXED, direct, v);
}

static inline int area_load_u64(const struct cvmm_virtq *vq, const uint8_t *host, cvmm_gpa area,
				size_t at, bool direct, uint64_t *ret)
{
	uint64_t value = nondet_u64();
	int code = proof_area_load(vq, host, area, at, 8, __ATOMIC_ACQUIRE, direct, value);

	if (!code)
		*ret = value;
	return code;
}

/* A used element, as host_put_u64(). */
static inline int area_write_u64(const struct cvmm_virtq *vq, uint8_t *host, cvmm_gpa area,
				 size_t at, uint64_t v, bool direct)
{
	int ret = proof_area_store(vq, host, area, at, 4, __ATOMIC_RELAXED, direct, (uint32_t)v);

	if (ret)
		return ret;
	proof_check_access(proof_area_at(area), at + 4, 4);
	proof_note((struct proof_event){ PROOF_STORE, proof_area_at(area), at + 4, 4, v >> 32,
					 __ATOMIC_RELAXED });
	return 0;
}

/* The last piece that was put into the caller's array, and how many were. */
static struct {
	uint64_t i;
	uint64_t host;
	uint64_t len;
	unsigned int count;
} proof_piece;

static inline void piece_put(struct iovec *piece, void *host, size_t len)
{
	uint64_t at = (uint64_t)(uintptr_t)piece - PROOF_IOV;

	__CPROVER_assert(!(at % sizeof(*piece)) && at / sizeof(*piece) < proof_iov_max,
			 "pieces are put into the caller's array");
	proof_piece.i = at / sizeof(*piece);
	proof_piece.host = (uint64_t)(uintptr_t)host;
	proof_piece.len = len;
	proof_piece.count++;
	proof_add_bytes(at, len, proof_grants[proof_grant_count - 1].is_write);
}

static inline void full_fence(void)
{
	proof_note((struct proof_event){ .kind = PROOF_FENCE });
}

/* ---- any queue ------------------------------------------------------------------------------ */

/* Errors are known by their codes here: the messages are not what is proved. */
int cvmm_fail(struct cvmm_error *err, int code, const char *fmt, ...)
{
	(void)err;
	(void)fmt;
	return code;
}

#ifndef PROOF_DIRECT
#define PROOF_DIRECT nondet_bool()
#endif

/* A queue that runs, of either format, at any place, with anything in flight. No trace, no region.
 * Its areas are direct or not: then their host addresses are NULL. */
static struct cvmm_virtq proof_any_queue(bool packed)
{
	struct cvmm_virtq vq = { 0 };
	bool direct = PROOF_DIRECT;

	vq.size = nondet_u16();
	vq.max_size = nondet_u16();
	__CPROVER_assume(vq.max_size && vq.max_size <= CVMM_VIRTQ_SIZE_MAX &&
			 !(vq.max_size & (vq.max_size - 1)));
	__CPROVER_assume(vq.size && vq.size <= vq.max_size);
	__CPROVER_assume(packed || !(vq.size & (vq.size - 1)));
	if (direct) {
		vq.desc_ring = (uint8_t *)(uintptr_t)PROOF_HOST(PROOF_DESC);
		vq.driver_area = (uint8_t *)(uintptr_t)PROOF_HOST(PROOF_DRIVER);
		vq.device_area = (uint8_t *)(uintptr_t)PROOF_HOST(PROOF_DEVICE);
	}
	vq.mem = (struct cvmm_mem *)(uintptr_t)8; /* never looked into */
	vq.slots = malloc(vq.max_size * sizeof(*vq.slots));
	vq.popped = malloc(vq.max_size * sizeof(*vq.popped));
	__CPROVER_assume(vq.slots && vq.popped);
	vq.config.size = vq.size;
	vq.config.desc.addr = PROOF_GPA(PROOF_DESC);
	vq.config.avail.addr = PROOF_GPA(PROOF_DRIVER);
	vq.config.used.addr = PROOF_GPA(PROOF_DEVICE);
	vq.config.packed = packed;
	vq.flags = (uint8_t)((packed ? VIRTQ_PACKED : 0) | (nondet_bool() ? VIRTQ_EVENT_IDX : 0) |
			     (nondet_bool() ? VIRTQ_INDIRECT : 0) | (direct ? VIRTQ_DIRECT : 0));
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

#endif /* PROOF_VIRTQ_H */
