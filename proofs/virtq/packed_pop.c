// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Taking a list from a packed ring of any size: cvmm_virtq_packed_pop() of lists of at most 2 descriptors,
 * or (TABLE) of an indirect table of at most 2 entries, through
 * host addresses (DIRECT) or the map. One is taken only if the flags of the descriptor at next_avail, which
 * are loaded with acquire, say that it is available for the driver's wrap counter. Then its id is in the
 * queue and was not in flight, and it has no more descriptors than the ring has free; its slot, popped,
 * pops, in_flight, descs_in_use, next_avail and avail_wrap are what they are to be, and nothing else of the
 * queue changes; the chain's counts and sums are those of the pieces that were put for it by the last
 * walk (proof_pop.h has what pops of both formats do). Otherwise the chain is untouched, and so is the queue,
 * but that it is broken by a violation, and then only.
 *
 * Assumed: the queue's state as proof_any_queue() has it; no policy; no region and no record; mem answers
 * anything (proofs/mem). Longer lists and tables: packed_quick_step.c, packed_quick_table.c,
 * packed_list_step.c, packed_table_step.c.
 *
 * Spec: VIRTIO 1.3, 2.8.1, 2.8.5, 2.8.6, 2.8.8, 2.8.19.
 *
 * PROOF options --unwind 3 --unwindset cvmm_virtq_packed_pop.0:2 --object-bits 12 -DPROOF_EVENTS=8
 * PROOF instance -DDIRECT=1 -DTABLE=1 -DPROOF_GRANTS=6 --unwindset fetch_le64.0:7,proof_read.0:7
 * PROOF instance -DDIRECT=0 -DTABLE=1 -DPROOF_GRANTS=4 --unwindset fetch_le64.0:5,proof_read.0:5
 * PROOF instance -DDIRECT=0 -DTABLE=0 -DPROOF_GRANTS=4 --unwindset fetch_le64.0:5,proof_read.0:5
 * PROOF instance -DDIRECT=1 -DTABLE=0 -DPROOF_GRANTS=6 --unwindset fetch_le64.0:7,proof_read.0:7
 * MUTATION lib/virtq/virtq_packed.c s/if (CVMM_UNLIKELY(id >= vq->size))/if (id > vq->size)/
 * MUTATION lib/virtq/virtq_packed.c s/if (CVMM_UNLIKELY(vq->slots\[id\].descs))/if (0)/
 * MUTATION lib/virtq/virtq_packed.c s/descs > vq->size - vq->descs_in_use/descs > vq->size/
 * MUTATION lib/virtq/virtq_packed.c s/if (!is_available((uint16_t)(rest >> 48), vq->avail_wrap))/if (!is_available((uint16_t)(rest >> 48), true))/
 * MUTATION lib/virtq/virtq_packed.c s/walk_result(&walk, list.id, ret_chain);/walk_result(\&walk, vq->next_avail, ret_chain);/
 * MUTATION lib/virtq/virtq_packed.c s/go_to_next_list(vq, list.descs)/go_to_next_list(vq, 1)/
 * MUTATION lib/virtq/virtq_walk.h s/vq->descs_in_use += descs/vq->descs_in_use++/
 */
#define PROOF_ARRAY 4
#include "proof_virtq.h"

/* What a walk has seen since it began. */
static struct {
	uint32_t pieces;
	uint32_t readable_pieces;
	uint64_t bytes;
	uint64_t readable_bytes;
	uint64_t last_at; /* in the ring, of the second half fetched last */
	uint64_t last_rest;
	unsigned int descs;
} seen;

/* Bounds: of what is fetched through host addresses, and of second halves that are loaded. */
#define FETCHES_MAX (TABLE ? 10 : 5)
#define LOADS_MAX 2

static unsigned int rests;

static void note_pieces(uint32_t count, uint64_t len, bool is_write)
{
	seen.pieces += count;
	seen.bytes += len;
	if (!is_write) {
		seen.readable_pieces += count;
		seen.readable_bytes += len;
	}
}

static void note_rest(uint64_t at, uint64_t rest)
{
	seen.last_at = at;
	seen.last_rest = rest;
	seen.descs++;
}

static inline uint64_t noted_fetch(const uint8_t *p)
{
	uint64_t value = fetch_le64(p), at = (uint64_t)(uintptr_t)p - PROOF_HOST(PROOF_DESC);

	__CPROVER_assume(proof_fetch_count <= FETCHES_MAX);
	if (!TABLE && (at & 8))
		note_rest(at, value);
	return value;
}

static inline int noted_load(const struct cvmm_virtq *vq, const uint8_t *host, cvmm_gpa area,
			     size_t at, bool direct, uint64_t *ret)
{
	int code = area_load_u64(vq, host, area, at, direct, ret);

	if (code || !(at & 8))
		return code;
	rests++;
	__CPROVER_assume(rests <= LOADS_MAX);
	if (rests == 1) {
		__CPROVER_assume(!(*ret >> 48 & CVMM_VIRTQ_DESC_F_INDIRECT) == !TABLE);
		__CPROVER_assume(!TABLE || (uint32_t)*ret < 3 * 16);
	}
	note_rest(at, *ret);
	return 0;
}

static inline void noted_put(struct iovec *piece, void *host, size_t len)
{
	const struct proof_grant *grant = &proof_grants[proof_grant_count - 1];

	piece_put(piece, host, len);
	__CPROVER_assert(grant->host == (uint64_t)(uintptr_t)host && grant->len == len,
			 "pieces are what mem has granted last");
	/* The quick walk puts one before it sees that it may not be there, and gives up. */
	note_pieces(1, len, grant->is_write);
}

static int noted_span(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len,
		      enum cvmm_access access, struct iovec *iov, size_t iov_max, size_t *ret_count)
{
	int ret = cvmm_mem_span(mem, gpa, len, access, iov, iov_max, ret_count);

	__CPROVER_assert((uint64_t)(uintptr_t)iov == PROOF_IOV + 16 * (uint64_t)seen.pieces,
			 "pieces are put behind those that are there");
	if (!ret)
		note_pieces((uint32_t)*ret_count, len, access & CVMM_ACCESS_WRITE);
	return ret;
}

#define fetch_le64 noted_fetch
#define area_load_u64 noted_load
#define piece_put noted_put
#define cvmm_mem_span noted_span
#include "proof_pop.h"

/* Each walk starts anew, at the first descriptor, whose second half was loaded before. */
static void begin(void)
{
	seen.pieces = 0;
	seen.readable_pieces = 0;
	seen.bytes = 0;
	seen.readable_bytes = 0;
	seen.last_at = proof_events[0].at;
	seen.last_rest = proof_events[0].value;
	seen.descs = 1;
}

static struct quick begin_quickly(struct iovec *iov, size_t iov_max)
{
	begin();
	return quick_start(iov, iov_max);
}

static struct walk begin_walk(struct cvmm_virtq *vq, struct iovec *iov, size_t iov_max)
{
	begin();
	return walk_start(vq, iov, iov_max);
}

#define quick_start begin_quickly
#define walk_start begin_walk
#include "../../lib/virtq/virtq_packed.c"

static void check_available(const struct cvmm_virtq *before)
{
	const struct proof_event *first = &proof_events[0];
	bool avail = first->value >> 48 & 0x80, used = first->value >> 48 & 0x8000;

	__CPROVER_assert(proof_event_count && first->kind == PROOF_LOAD &&
				 first->area == PROOF_DESC && first->bytes == 8 &&
				 first->at == 16 * (uint64_t)before->next_avail + 8 &&
				 first->order == __ATOMIC_ACQUIRE,
			 "the flags at the next place are loaded with acquire");
	__CPROVER_assert(avail == before->avail_wrap && used != before->avail_wrap,
			 "they say that it is available");
}

static void check_taken(const struct cvmm_virtq *before, const struct cvmm_virtq *vq)
{
	uint32_t descs = TABLE ? 1 : seen.descs, next = before->next_avail + descs;
	uint16_t id = (uint16_t)(seen.last_rest >> 32);
	bool wrapped = next >= vq->size;
	const struct cvmm_virtq_slot *slot = &vq->slots[id];

	__CPROVER_assert(descs <= before->size - before->descs_in_use, "the ring has room for it");
	__CPROVER_assert(slot->descs == descs && slot->map == vq->map && !slot->again,
			 "all of its descriptors are in flight");
	__CPROVER_assert(vq->descs_in_use == before->descs_in_use + descs, "they are counted");
	__CPROVER_assert(vq->next_avail == (wrapped ? next - vq->size : next) &&
				 vq->avail_wrap == (before->avail_wrap != wrapped),
			 "the next list is behind it");
}

static void check_chain(const struct cvmm_virtq_chain *chain)
{
	__CPROVER_assert(chain->head == (uint16_t)(seen.last_rest >> 32),
			 "the last descriptor's id names it");
	__CPROVER_assert(chain->readable_count == seen.readable_pieces &&
				 chain->readable_count + (uint32_t)chain->writable_count ==
					 seen.pieces,
			 "all pieces are its");
	__CPROVER_assert(chain->readable_bytes == seen.readable_bytes &&
				 (uint64_t)chain->readable_bytes + chain->writable_bytes ==
					 seen.bytes,
			 "and so are their bytes");
}

void harness(void)
{
	struct cvmm_virtq vq = proof_any_queue(true), before = vq;
	struct cvmm_virtq_chain chain = { .head = 0x5555, .readable_bytes = 0x55555555 };
	uint16_t witness = nondet_u16();
	struct cvmm_virtq_slot other;
	int ret;

	proof_queue = &vq;
	__CPROVER_assume(!(vq.flags & VIRTQ_DIRECT) == !DIRECT);
	__CPROVER_assume(witness < vq.size);
	other = vq.slots[witness];
	proof_iov_max = nondet_u64();
	__CPROVER_assume(proof_iov_max <= PROOF_ARRAY);

	ret = cvmm_virtq_packed_pop(&vq, (struct iovec *)(uintptr_t)PROOF_IOV, proof_iov_max,
				    nondet_bool(), &chain);
	proof_check_pop(ret, &before, &vq, &chain, witness, other);
	if (ret == 1) {
		check_available(&before);
		check_taken(&before, &vq);
		check_chain(&chain);
	} else {
		__CPROVER_assert(chain.head == 0x5555 && chain.readable_bytes == 0x55555555,
				 "the chain is untouched");
	}
}
