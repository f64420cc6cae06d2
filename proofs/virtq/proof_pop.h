/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What is true after a pop from either format. What virtq.c does about violations is put in place here: no
 * policy fails a chain.
 */
#ifndef PROOF_POP_H
#define PROOF_POP_H

#include "proof_virtq.h"

#include "../../lib/virtq/virtq_walk.h"

int cvmm_virtq_break(struct cvmm_virtq *vq, enum cvmm_virtq_violation violation)
{
	vq->violation = (uint8_t)violation;
	vq->usable = false;
	return -EPROTO;
}

int cvmm_virtq_area_failed(struct cvmm_virtq *vq, int code)
{
	return code == -EAGAIN ? code : cvmm_virtq_break(vq, CVMM_VIRTQ_BAD_AREA);
}

bool cvmm_virtq_may_fail(struct cvmm_virtq *vq, enum cvmm_virtq_violation violation)
{
	(void)vq;
	(void)violation;
	return false;
}

int cvmm_virtq_fail_chain(struct cvmm_virtq *vq, uint16_t head, uint16_t descs,
			  enum cvmm_virtq_violation violation, bool again)
{
	(void)vq;
	(void)head;
	(void)descs;
	(void)violation;
	(void)again;
	__CPROVER_assert(0, "no chain is failed that may not be");
	return 0;
}

/* The first load was that of the index, or of flags, and whatever comes behind it is ordered so. */
static void proof_check_acquired(void)
{
	__CPROVER_assert(proof_event_count && proof_events[0].kind == PROOF_LOAD &&
				 proof_events[0].order == __ATOMIC_ACQUIRE,
			 "what the driver wrote before is visible");
}

static bool proof_slots_are_same(struct cvmm_virtq_slot a, struct cvmm_virtq_slot b)
{
	return a.bytes == b.bytes && a.descs == b.descs && a.map == b.map && a.done == b.done &&
	       a.again == b.again;
}

static bool proof_is_where_it_was(const struct cvmm_virtq *before, const struct cvmm_virtq *vq)
{
	return vq->next_avail == before->next_avail && vq->avail_wrap == before->avail_wrap &&
	       vq->pops == before->pops && vq->in_flight == before->in_flight &&
	       vq->descs_in_use == before->descs_in_use;
}

/*
 * @other is what the slot of @witness, any head, was before.
 */
static void proof_check_pop(int ret, const struct cvmm_virtq *before, const struct cvmm_virtq *vq,
			    const struct cvmm_virtq_chain *chain, uint16_t witness,
			    struct cvmm_virtq_slot other)
{
	uint64_t pieces = (uint64_t)chain->readable_count + chain->writable_count;

	__CPROVER_assert(vq->next_used == before->next_used &&
				 vq->unsignalled == before->unsignalled &&
				 vq->used_wrap == before->used_wrap && vq->size == before->size,
			 "what pops have nothing to do with stays");
	__CPROVER_assert((ret == -EPROTO) == !vq->usable && vq->usable == !vq->violation,
			 "after a violation it is broken, and only then");
	if (ret != 1) {
		__CPROVER_assert(!ret || ret == -EPROTO || ret == -EAGAIN || ret == -ENOTSUP ||
					 ret == -ENOBUFS,
				 "it is one of these errors");
		__CPROVER_assert(proof_is_where_it_was(before, vq), "nothing was taken");
		__CPROVER_assert(proof_slots_are_same(vq->slots[witness], other),
				 "no slot changed");
		return;
	}
	__CPROVER_assert(chain->head < vq->size, "its head is one of the queue's");
	if (witness == chain->head)
		__CPROVER_assert(!other.descs, "it was not in flight");
	else
		__CPROVER_assert(proof_slots_are_same(vq->slots[witness], other), "others stay");
	__CPROVER_assert(vq->slots[chain->head].descs, "it is in flight now");
	__CPROVER_assert(vq->slots[chain->head].bytes == chain->writable_bytes &&
				 !vq->slots[chain->head].done,
			 "what may be written of it is known");
	__CPROVER_assert(vq->pops == (uint16_t)(before->pops + 1) &&
				 vq->popped[before->pops & (vq->max_size - 1)] == chain->head,
			 "it is the newest pop");
	__CPROVER_assert(vq->in_flight == before->in_flight + 1, "one more is in flight");
	__CPROVER_assert(pieces <= proof_iov_max && pieces <= PIECES_MAX, "it fits the array");
	__CPROVER_assert(!pieces || (chain->readable_bytes == proof_bytes[0] &&
				     chain->writable_bytes == proof_bytes[1]),
			 "the sums are those of the pieces");
	__CPROVER_assert((uintptr_t)chain->readable == PROOF_IOV, "readable ones come first");
	__CPROVER_assert((uintptr_t)chain->writable ==
				 PROOF_IOV + chain->readable_count * sizeof(struct iovec),
			 "writable ones behind them");
}

#endif /* PROOF_POP_H */
