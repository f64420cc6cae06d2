// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * One step of the walk by the rules along a chain of a split ring, from any state that a walk can be in, in a
 * queue of any size, whose areas and tables are reached directly or through the map:
 * - descriptors are fetched only from inside the ring or the table, each half once;
 * - a descriptor that may be there adds its buffer, as mem has granted it, or enters its table; all others
 *   are told by the code of what is wrong with them, and by no other;
 * - if there is another step, the walk is in such a state again and nearer to its end.
 * A walk starts in such a state (split_pop.c), and so does all of this for chains of any length.
 *
 * Spec: VIRTIO 1.3, 2.7.4.2, 2.7.5.1, 2.7.5.2, 2.7.5.3.
 *
 * PROOF options --unwind 5
 * MUTATION lib/virtq/virtq_split.c s/if (CVMM_UNLIKELY(desc.next >= at->entries))/if (0)/
 * MUTATION lib/virtq/virtq_split.c s/if (CVMM_UNLIKELY(!--at->left))/if (0)/
 * MUTATION lib/virtq/virtq_split.c s/			.left = desc.len/			.left = 2 * desc.len/
 * MUTATION lib/virtq/virtq_split.c s/return CVMM_VIRTQ_INDIRECT_NESTED;/;/
 * MUTATION lib/virtq/virtq_walk.h s/walk->saw_writable && !writable/0/
 * MUTATION lib/virtq/virtq_walk.h s/walk->pieces == walk->iov_max/0/
 * MUTATION lib/virtq/virtq_walk.h s/walk->iov_max - walk->pieces, &count/walk->iov_max, \&count/
 * MUTATION lib/virtq/virtq_walk.h s/desc->len % DESC_SIZE/desc->len % 8/
 * MUTATION lib/virtq/virtq_walk.h s/return CVMM_VIRTQ_INDIRECT_WITH_NEXT;/;/
 * MUTATION lib/virtq/virtq_walk.h s/ret == -ENOBUFS/0/
 */
#include "proof_walk.h"

#include "../../lib/virtq/virtq_split.c"

/* Grant @i is the walk's table. */
static bool is_table(unsigned int i, const struct walk *walk, const struct position *at)
{
	const struct proof_grant *grant = &proof_grants[i];

	return i < proof_grant_count && walk->table_gpa.addr == grant->gpa && !grant->is_write &&
	       grant->len == at->entries * UINT64_C(16) &&
	       (!walk->table || (uint64_t)(uintptr_t)walk->table == grant->host);
}

/* A table is among the first grants: it is checked, and then a pointer is asked for. */
static bool is_right(const struct walk *walk, const struct position *at)
{
	if (at->in_table ? !is_table(0, walk, at) && !is_table(1, walk, at)
			 : at->entries != walk->vq->size)
		return false;
	return at->entries <= CVMM_VIRTQ_INDIRECT_MAX && at->i < at->entries && at->left &&
	       at->left <= at->entries;
}

/* In the ring, or in a table that mem has granted or is asked for each time. */
static struct position any_position(struct walk *walk)
{
	struct position at = { walk->vq->size, nondet_u32(), nondet_u32(), nondet_bool() };
	int ret = 0;

	if (at.in_table) {
		uint64_t len;

		at.entries = nondet_u32();
		__CPROVER_assume(at.entries && at.entries <= CVMM_VIRTQ_INDIRECT_MAX);
		len = at.entries * UINT64_C(16);
		walk->table_gpa = cvmm_gpa_from(nondet_u64());
		walk->table = proof_ptr(walk->vq->mem, walk->table_gpa, len, false);
		if (!walk->table)
			ret = cvmm_mem_check(walk->vq->mem, walk->table_gpa, len, CVMM_ACCESS_READ);
		__CPROVER_assume(!ret);
	}
	__CPROVER_assume(is_right(walk, &at));
	return at;
}

/* The table of @desc was entered. */
static void check_entered(const struct walk *walk, const struct position *at,
			  const struct desc *desc, const struct position *before)
{
	__CPROVER_assert(walk->vq->flags & VIRTQ_INDIRECT, "tables were negotiated");
	__CPROVER_assert(!before->in_table, "tables do not nest");
	__CPROVER_assert(!(desc->flags & CVMM_VIRTQ_DESC_F_NEXT), "a table ends the ring's part");
	__CPROVER_assert(desc->len && !(desc->len % 16), "a table has whole descriptors");
	__CPROVER_assert(at->in_table && at->entries == desc->len / 16 && !at->i, "it is entered");
	__CPROVER_assert(walk->table_gpa.addr == desc->addr, "at its address");
}

/* A code is given only for what it says. */
static void check_code(int code, const struct walk *walk, const struct desc *desc,
		       const struct position *before)
{
	bool indirect = desc->flags & CVMM_VIRTQ_DESC_F_INDIRECT;
	bool next = desc->flags & CVMM_VIRTQ_DESC_F_NEXT;

	switch (code) {
	case CVMM_VIRTQ_BAD_NEXT:
		__CPROVER_assert(next && desc->next >= before->entries, "next is outside");
		return;
	case CVMM_VIRTQ_LOOP:
		__CPROVER_assert(next && before->left == 1, "it has more than the table");
		return;
	case CVMM_VIRTQ_BAD_ORDER:
		__CPROVER_assert(walk->saw_writable && !(desc->flags & CVMM_VIRTQ_DESC_F_WRITE),
				 "a readable one comes behind a writable one");
		return;
	case CVMM_VIRTQ_TOO_MANY_PIECES:
		__CPROVER_assert(walk->pieces == walk->iov_max || proof_answers.span == -ENOBUFS,
				 "there is no room for it");
		return;
	case CVMM_VIRTQ_BAD_BUFFER:
		__CPROVER_assert(!indirect && proof_answers.span == -EFAULT, "it is not RAM");
		return;
	case CVMM_VIRTQ_INDIRECT_NOT_NEGOTIATED:
		__CPROVER_assert(indirect && !(walk->vq->flags & VIRTQ_INDIRECT), "it was not");
		return;
	case CVMM_VIRTQ_INDIRECT_NESTED:
		__CPROVER_assert(indirect && before->in_table, "it is in a table");
		return;
	case CVMM_VIRTQ_INDIRECT_WITH_NEXT:
		__CPROVER_assert(indirect && next, "it has both flags");
		return;
	case CVMM_VIRTQ_INDIRECT_BAD_LEN:
		__CPROVER_assert(indirect && (!desc->len || desc->len % 16), "its length is bad");
		return;
	case CVMM_VIRTQ_INDIRECT_TOO_LONG:
		__CPROVER_assert(indirect && desc->len / 16 > CVMM_VIRTQ_INDIRECT_MAX,
				 "it is long");
		return;
	default:
		__CPROVER_assert(code == -EAGAIN || code == -ENOTSUP ||
					 code == CVMM_VIRTQ_BAD_AREA ||
					 code == CVMM_VIRTQ_INDIRECT_BAD_ADDRESS,
				 "mem has said so");
	}
}

static uint64_t measure(const struct position *at)
{
	return at->left + (at->in_table ? 0 : UINT64_C(1) << 16);
}

void harness(void)
{
	struct cvmm_virtq vq = proof_any_queue(false);
	struct position at, before;
	struct walk walk, was;
	unsigned int grants;
	struct desc desc;
	int ret;

	proof_queue = &vq;
	walk = proof_any_walk(&vq);
	at = any_position(&walk);
	was = walk;
	before = at;
	grants = proof_grant_count;

	ret = walk_step(&walk, &at, vq.flags & VIRTQ_DIRECT);
	desc = (struct desc){ proof_fetched[0].value, (uint32_t)proof_fetched[1].value,
			      (uint16_t)(proof_fetched[1].value >> 32),
			      (uint16_t)(proof_fetched[1].value >> 48) };
	__CPROVER_assert(proof_fetch_count <= 2, "each half is fetched once");
	if (ret && ret != WALK_MORE) {
		check_code(ret, &was, &desc, &before);
		return;
	}
	__CPROVER_assert(proof_fetch_count == 2, "both halves were fetched");
	if (desc.flags & CVMM_VIRTQ_DESC_F_INDIRECT) {
		__CPROVER_assert(ret == WALK_MORE, "a table is not the end");
		check_entered(&walk, &at, &desc, &before);
		__CPROVER_assert(walk.pieces == was.pieces && walk.bytes == was.bytes, "no piece");
	} else {
		proof_check_added(&was, &walk, &desc, proof_grant_count - grants);
		__CPROVER_assert(ret == WALK_MORE || !(desc.flags & CVMM_VIRTQ_DESC_F_NEXT),
				 "it ends where the chain does");
		__CPROVER_assert(!ret || at.i == desc.next, "it goes on where the driver says");
	}
	__CPROVER_assert(!ret || is_right(&walk, &at), "the walk is at a place that can be");
	__CPROVER_assert(!ret || measure(&at) < measure(&before), "it is nearer to its end");
}
