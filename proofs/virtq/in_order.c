// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * VIRTIO_F_IN_ORDER: of up to three chains in flight, some of which are done, at any place of the ring of popped
 * heads, publish_in_order() publishes exactly those that are done at the front, in the order that they were
 * popped in, with the bytes that were written; the first that is not done, and all behind it, stay in
 * flight as they are. If publishing fails, nothing changes; -EAGAIN is no failure of the call, and the
 * next one publishes what this one could not.
 *
 * The size is at most four, so that the ring of popped heads wraps; each head is in flight once.
 *
 * Spec: VIRTIO 1.3, 2.7.9 (in-order use of descriptors), 2.8.8 (the same of packed rings).
 *
 * PROOF options --unwind 5
 * PROOF limit 120
 * MUTATION lib/virtq/virtq.c s/if (!vq->slots.head..done)/if (0)/
 * MUTATION lib/virtq/virtq.c s/vq->pops - vq->in_flight, count = 0/vq->pops - vq->in_flight + 1, count = 0/
 * MUTATION lib/virtq/virtq.c s/count < IN_ORDER_BATCH \&\& count < vq->in_flight/count < IN_ORDER_BATCH/
 * MUTATION lib/virtq/virtq.c s/{ head, vq->slots.head..bytes }/{ head, 0 }/
 * MUTATION lib/virtq/virtq.c s/return ret == -EAGAIN ? 0 : ret/return ret/
 */
#define PROOF_SIZE_MAX 4
#include "proof_books.h"

#define CHAINS 3

static struct cvmm_virtq_used proof_out[2 * CHAINS]; /* what is published, in order */
static unsigned int proof_out_count, proof_fail_calls;
static int proof_failure; /* the first call fails with it, or 0 */

static int proof_publish(const struct cvmm_virtq_used *used, size_t count)
{
	__CPROVER_assert(count && count <= CHAINS, "something is published");
	if (proof_failure && !proof_fail_calls++)
		return proof_failure;
	for (size_t i = 0; i < count; i++) {
		__CPROVER_assert(proof_out_count < CHAINS, "not more than there are");
		proof_out[proof_out_count++] = used[i];
	}
	return 0;
}

int cvmm_virtq_split_publish(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
			     size_t count)
{
	(void)vq;
	return proof_publish(used, count);
}

int cvmm_virtq_packed_publish(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
			      size_t count)
{
	(void)vq;
	return proof_publish(used, count);
}

#include "../../lib/virtq/virtq.c"

/* What is in flight, in the order of the pops. */
static struct {
	uint16_t head;
	struct cvmm_virtq_slot slot;
} proof_chains[CHAINS];
static unsigned int proof_chain_count, proof_done; /* how many at the front are */

static void any_chains(struct cvmm_virtq *vq)
{
	bool all_done = true;

	proof_chain_count = nondet_u8();
	__CPROVER_assume(proof_chain_count <= CHAINS && proof_chain_count == vq->in_flight);
	for (unsigned int i = 0; i < CHAINS; i++) {
		uint16_t head = vq->popped[popped_slot(vq, vq->pops - vq->in_flight + i)];

		if (i >= proof_chain_count)
			break;
		__CPROVER_assume(head < vq->size && vq->slots[head].descs == 1);
		for (unsigned int j = 0; j < i; j++)
			__CPROVER_assume(head != proof_chains[j].head);
		proof_chains[i].head = head;
		proof_chains[i].slot = vq->slots[head];
		all_done = all_done && vq->slots[head].done;
		proof_done += all_done;
	}
}

static void check_chains(const struct cvmm_virtq *vq, unsigned int gone)
{
	__CPROVER_assert(proof_out_count == gone, "as many are published as are done at the front");
	__CPROVER_assert(vq->in_flight == proof_chain_count - gone, "they are counted");
	for (unsigned int i = 0; i < CHAINS; i++) {
		uint16_t head = proof_chains[i].head;

		if (i >= proof_chain_count)
			break;
		if (i < gone) {
			__CPROVER_assert(proof_out[i].head == head &&
						 proof_out[i].len_bytes ==
							 proof_chains[i].slot.bytes,
					 "they are published in order");
			__CPROVER_assert(!vq->slots[head].descs, "and not in flight");
			continue;
		}
		__CPROVER_assert(vq->slots[head].descs &&
					 vq->slots[head].done == proof_chains[i].slot.done &&
					 vq->slots[head].bytes == proof_chains[i].slot.bytes,
				 "the others are as they were");
	}
}

void harness(void)
{
	struct cvmm_virtq vq = proof_any_books(nondet_bool());
	int ret;

	vq.extras = VIRTQ_EXTRA_IN_ORDER;
	proof_failure = nondet_bool() ? 0 : nondet_bool() ? -EAGAIN : -EPROTO;
	any_chains(&vq);

	ret = publish_in_order(&vq);
	if (proof_failure && proof_done) {
		__CPROVER_assert(ret == (proof_failure == -EAGAIN ? 0 : proof_failure),
				 "it says so");
		check_chains(&vq, 0);
		ret = publish_in_order(&vq);
	}
	__CPROVER_assert(!ret, "it does what it can");
	check_chains(&vq, proof_done);
}
