// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The general walk through an indirect table: it is entered exactly if it may be, and what table_enter()
 * returns otherwise is what is wrong with it; and for any entry of any such table, from any state that a
 * walk can be in, each half of the entry is fetched once, from inside the table, through its host address
 * or through the map, and added as in packed_list_step.c; sums of bytes cannot wrap; and a violation is
 * returned only if the copy of the entry is such, or mem says that the table is not there.
 *
 * Assumed: the queue's state as proof_any_queue() has it; mem answers anything (proofs/mem).
 *
 * Spec: VIRTIO 1.3, 2.8.7, 2.8.19; 2.7.4.2.
 *
 * PROOF options --unwind 5
 * MUTATION lib/virtq/virtq_walk.h s/p = walk->table + (size_t)i \* DESC_SIZE/p = walk->table + (size_t)(i + 1) * DESC_SIZE/
 * MUTATION lib/virtq/virtq_walk.h s/(uint64_t)i \* DESC_SIZE), copy/(uint64_t)i), copy/
 * MUTATION lib/virtq/virtq_walk.h s/if (desc->flags & CVMM_VIRTQ_DESC_F_NEXT)/if (0)/
 * MUTATION lib/virtq/virtq_walk.h s/if (desc->len \/ DESC_SIZE > CVMM_VIRTQ_INDIRECT_MAX)/if (0)/
 * MUTATION lib/virtq/virtq_walk.h s/if (!desc->len || desc->len % DESC_SIZE)/if (!desc->len)/
 * MUTATION lib/virtq/virtq_walk.h s/ret == -EAGAIN ? ret : CVMM_VIRTQ_INDIRECT_BAD_ADDRESS/CVMM_VIRTQ_INDIRECT_BAD_ADDRESS/
 * MUTATION lib/virtq/virtq_packed.c s/.flags = (uint16_t)(rest >> 48),/.flags = 0,/
 */
#include "proof_walk.h"

#include "../../lib/virtq/virtq_packed.c"

/* What is wrong with such a table; or 0, and mem is asked. */
static int fault(const struct cvmm_virtq *vq, const struct desc *of)
{
	if (!(vq->flags & VIRTQ_INDIRECT))
		return CVMM_VIRTQ_INDIRECT_NOT_NEGOTIATED;
	if (of->flags & CVMM_VIRTQ_DESC_F_NEXT)
		return CVMM_VIRTQ_INDIRECT_WITH_NEXT;
	if (!of->len || of->len & 15)
		return CVMM_VIRTQ_INDIRECT_BAD_LEN;
	if (of->len >> 4 > CVMM_VIRTQ_INDIRECT_MAX)
		return CVMM_VIRTQ_INDIRECT_TOO_LONG;
	return 0;
}

static void check_enter(const struct walk *walk, const struct desc *of, int ret)
{
	const struct proof_grant *grant = &proof_grants[proof_grant_count - 1];

	if (fault(walk->vq, of)) {
		__CPROVER_assert(ret == fault(walk->vq, of), "the result says what is wrong");
		return;
	}
	if (ret) {
		__CPROVER_assert(proof_answers.check &&
					 ret == (proof_answers.check == -EAGAIN
							 ? -EAGAIN
							 : CVMM_VIRTQ_INDIRECT_BAD_ADDRESS),
				 "mem said that it is not there");
		return;
	}
	if (walk->table) {
		__CPROVER_assert(proof_grant_count && grant->gpa == of->addr &&
					 grant->len == of->len && !grant->is_write &&
					 grant->host == (uint64_t)(uintptr_t)walk->table,
				 "mem has granted all of it");
		return;
	}
	__CPROVER_assert(!proof_answers.check && proof_answers.checked.gpa == of->addr &&
				 proof_answers.checked.len == of->len &&
				 !proof_answers.checked.is_write &&
				 walk->table_gpa.addr == of->addr,
			 "mem says that all of it is there");
}

/* Return: the entry, as it was fetched. */
static struct desc check_fetches(const struct walk *walk, const struct desc *of, uint32_t i)
{
	uint64_t rest = proof_fetched[1].value;

	__CPROVER_assert(proof_fetch_count == 2, "each half is fetched once");
	__CPROVER_assert(proof_fetched[1].at == proof_fetched[0].at + 8, "both of one entry");
	if (walk->table)
		__CPROVER_assert(proof_fetched[0].at ==
					 (uint64_t)(uintptr_t)walk->table + 16 * (uint64_t)i,
				 "it is this entry");
	else
		__CPROVER_assert(proof_answers.read_gpa - of->addr == 16 * (uint64_t)i &&
					 proof_answers.read_len == 16 &&
					 proof_fetched[0].at == (uint64_t)(uintptr_t)proof_copy,
				 "it is the copy of this entry");
	return (struct desc){ proof_fetched[0].value, (uint32_t)rest, (uint16_t)(rest >> 48), 0 };
}

static bool may_fail(const struct walk *before, const struct desc *entry, int ret)
{
	if (!before->table && proof_answers.read)
		return ret ==
		       (proof_answers.read == -EAGAIN ? -EAGAIN : CVMM_VIRTQ_INDIRECT_BAD_ADDRESS);
	return proof_buffer_may_fail(before, entry, ret);
}

void harness(void)
{
	struct cvmm_virtq vq = proof_any_queue(true);
	struct desc of = { nondet_u64(), nondet_u32(), nondet_u16(), 0 }, entry = { 0 };
	uint32_t i = nondet_u32();
	struct walk walk, before;
	unsigned int grants;
	int ret;

	proof_queue = &vq;
	__CPROVER_assume(i < CVMM_VIRTQ_INDIRECT_MAX);
	walk = proof_any_walk(&vq);
	ret = table_enter(&walk, &of);
	check_enter(&walk, &of, ret);
	__CPROVER_assume(!ret && i < of.len / 16);
	before = walk;
	grants = proof_grant_count;

	ret = table_step(&walk, i);
	if (!proof_answers.read)
		entry = check_fetches(&walk, &of, i);
	if (ret) {
		__CPROVER_assert(may_fail(&before, &entry, ret), "the result says what is wrong");
		return;
	}
	proof_check_added(&before, &walk, &entry, proof_grant_count - grants);
	__CPROVER_assert(walk.table == before.table && walk.table_gpa.addr == before.table_gpa.addr,
			 "the table stays");
}
