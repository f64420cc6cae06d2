// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The quick walk through an indirect table of a packed ring: it is entered only with the feature, without
 * NEXT, with a whole number of entries up to CVMM_VIRTQ_INDIRECT_MAX, and if mem grants all of it for
 * reading; and for any entry of any such table, from any state that a walk can be in, each half of the
 * entry is fetched exactly once, from inside the table, and added as in packed_quick_step.c. Of its flags
 * only WRITE counts. That all entries are walked, and no other, is in packed_pop.c.
 *
 * Assumed: the queue's state as proof_any_queue() has it; mem grants or refuses anything (proofs/mem).
 *
 * Spec: VIRTIO 1.3, 2.8.7, 2.8.19.
 *
 * PROOF options --unwind 5
 * MUTATION lib/virtq/virtq_packed.c s/rest = fetch_le64(table + desc_at(i) + PACKED_REST)/rest = fetch_le64(table + desc_at(i + 1) + PACKED_REST)/
 * MUTATION lib/virtq/virtq_packed.c s/quick_add(q, vq->mem, fetch_le64(table + desc_at(i)), (uint32_t)rest,/quick_add(q, vq->mem, fetch_le64(table), (uint32_t)rest,/
 * MUTATION lib/virtq/virtq_walk.h s/!len || len % DESC_SIZE ||/!len ||/
 * MUTATION lib/virtq/virtq_walk.h s/!(vq->flags & VIRTQ_INDIRECT) || (flags & CVMM_VIRTQ_DESC_F_NEXT)/(flags \& CVMM_VIRTQ_DESC_F_NEXT)/
 * MUTATION lib/virtq/virtq_walk.h s/len % DESC_SIZE || len \/ DESC_SIZE > CVMM_VIRTQ_INDIRECT_MAX/len % DESC_SIZE/
 * MUTATION lib/virtq/virtq_walk.h s/if (CVMM_UNLIKELY(q->readable_end != q->out))/if (0)/
 */
#include "proof_quick.h"

#include "../../lib/virtq/virtq_packed.c"

static void check_entered(const struct cvmm_virtq *vq, uint64_t addr, uint32_t len, uint32_t flags,
			  const uint8_t *table)
{
	const struct proof_grant *grant = &proof_grants[0];

	__CPROVER_assert(vq->flags & VIRTQ_INDIRECT, "the feature was negotiated");
	__CPROVER_assert(!(flags & CVMM_VIRTQ_DESC_F_NEXT), "a table ends its list");
	__CPROVER_assert(len && !(len & 15) && len >> 4 <= CVMM_VIRTQ_INDIRECT_MAX,
			 "it has a number of entries that may be");
	__CPROVER_assert(proof_grant_count == 1 && grant->gpa == addr && grant->len == len &&
				 grant->host == (uint64_t)(uintptr_t)table && !grant->is_write,
			 "mem has granted all of it");
}

static void check_fetches(const uint8_t *table, uint32_t i)
{
	const struct proof_grant *grant = &proof_grants[1];
	uint64_t host = (uint64_t)(uintptr_t)table + 16 * (uint64_t)i, addr, rest;
	unsigned int k = proof_fetched[0].at != host;

	addr = proof_fetched[k].value;
	rest = proof_fetched[!k].value;
	__CPROVER_assert(proof_fetch_count == 2 && proof_fetched[k].at == host &&
				 proof_fetched[!k].at == host + 8,
			 "each half is fetched once");
	__CPROVER_assert(proof_grant_count == 2 && grant->gpa == addr &&
				 grant->len == (uint32_t)rest,
			 "the piece is what they say");
	__CPROVER_assert(grant->is_write == (rest >> 48 & CVMM_VIRTQ_DESC_F_WRITE ? 1 : 0),
			 "for the direction that they say");
}

void harness(void)
{
	struct cvmm_virtq vq = proof_any_queue(true);
	uint64_t addr = nondet_u64();
	uint32_t i = nondet_u32(), len = nondet_u32(), flags = nondet_u16();
	struct proof_quick ghost;
	const uint8_t *table;
	struct quick q;

	proof_queue = &vq;
	__CPROVER_assume(vq.flags & VIRTQ_DIRECT);
	q = proof_any_quick(&ghost);
	table = quick_table(&vq, addr, len, flags);
	if (!table)
		return;
	check_entered(&vq, addr, len, flags, table);
	__CPROVER_assume(i < len / 16);

	if (!quick_table_step(&vq, &q, table, i))
		return;
	proof_check_quick(&ghost, &q);
	__CPROVER_assert(q.out == ghost.before.out + 1, "each entry has its piece");
	check_fetches(table, i);
}
