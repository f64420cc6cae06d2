// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * What a hostile front-end can do to the IOTLB: messages of any bytes are parsed, batched, applied and
 * followed by look-ups. After each, the table must be in order. The first byte is the capacity.
 */
#include <errno.h>
#include <stdlib.h>

#include "mem_iotlb_internal.h"

#define BATCH_MAX 8
#define LIST_MAX 4

/* The first members of struct cvmm_iotlb are its own business: the table is driven directly. */
struct target {
	struct iotlb_table table;
	struct cvmm_iotlb *tlb;
	struct cvmm_iotlb_op batch[BATCH_MAX];
	size_t batch_count;
	bool in_batch;
};

static void check_table(const struct iotlb_table *table)
{
	CVMM_BUG_ON(table->count > table->capacity);
	for (size_t i = 0; i < table->count; i++) {
		const struct iotlb_entry *entry = &table->entries[i];

		CVMM_BUG_ON(entry->first > entry->last);
		CVMM_BUG_ON(i && entry[-1].last >= entry->first);
		CVMM_BUG_ON(entry->last - entry->first > UINT64_MAX - entry->addr);
		CVMM_BUG_ON(entry->rights > CVMM_ACCESS_READ_WRITE);
	}
}

static void apply_to_table(struct iotlb_table *table, const struct cvmm_iotlb_op *op)
{
	struct iotlb_entry entry = { op->iova, op->last, op->addr, op->rights, 1 };

	if (op->kind == CVMM_IOTLB_UPDATE)
		cvmm_mem_iotlb_insert(table, &entry);
	else
		cvmm_mem_iotlb_cut(table, op->iova, op->last);
	check_table(table);
}

static void look_up(struct target *t, const struct cvmm_iotlb_op *op)
{
	struct cvmm_iotlb_piece pieces[LIST_MAX];
	struct cvmm_iotlb_range misses[LIST_MAX], fails[LIST_MAX];
	struct cvmm_iotlb_lookup l = {
		pieces, LIST_MAX, 0, misses, LIST_MAX, 0, fails, LIST_MAX, 0
	};
	uint64_t len = op->last - op->iova;
	int ret;

	/* Both, because what is used is not dropped. */
	if (len)
		cvmm_mem_iotlb_find(&t->table, op->iova, op->last - 1, CVMM_ACCESS_READ, &l);
	ret = cvmm_iotlb_lookup(t->tlb, op->iova, len, CVMM_ACCESS_READ, &l);
	CVMM_BUG_ON(ret && ret != -EAGAIN && ret != -EACCES && ret != -ENOBUFS);
	for (size_t i = 0; !ret && i < l.piece_count; i++)
		CVMM_BUG_ON(pieces[i].iova < op->iova || pieces[i].iova - op->iova >= len ||
			    pieces[i].len_bytes > len);
}

static void flush_batch(struct target *t)
{
	CVMM_BUG_ON(cvmm_iotlb_apply(t->tlb, t->batch, t->batch_count, NULL));
	for (size_t i = 0; i < t->batch_count; i++)
		apply_to_table(&t->table, &t->batch[i]);
	t->batch_count = 0;
	/* Both were told the same. */
	CVMM_BUG_ON(cvmm_iotlb_count(t->tlb) != t->table.count);
}

static void handle(struct target *t, const struct cvmm_iotlb_op *op)
{
	switch (op->kind) {
	case CVMM_IOTLB_BATCH_BEGIN:
		t->in_batch = true;
		break;
	case CVMM_IOTLB_BATCH_END:
		t->in_batch = false;
		flush_batch(t);
		break;
	case CVMM_IOTLB_UPDATE:
	case CVMM_IOTLB_INVALIDATE:
		t->batch[t->batch_count++] = *op;
		if (!t->in_batch || t->batch_count == BATCH_MAX)
			flush_batch(t);
		break;
	default:
		look_up(t, op);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct target t = { 0 };
	uint8_t again[CVMM_IOTLB_MSG_SIZE];
	struct cvmm_iotlb_op op;

	if (!size)
		return 0;
	t.table.capacity = 1 + data[0] % 32;
	t.table.entries = calloc(t.table.capacity + IOTLB_SPARE, sizeof(t.table.entries[0]));
	if (!t.table.entries || cvmm_iotlb_create(t.table.capacity, &t.tlb, NULL))
		abort();
	for (data++, size--; size >= CVMM_IOTLB_MSG_SIZE_PACKED;
	     data += CVMM_IOTLB_MSG_SIZE_PACKED, size -= CVMM_IOTLB_MSG_SIZE_PACKED) {
		if (cvmm_iotlb_msg_parse(data, CVMM_IOTLB_MSG_SIZE_PACKED, &op, NULL))
			continue;
		CVMM_BUG_ON(cvmm_iotlb_msg_format(&op, again));
		handle(&t, &op);
	}
	cvmm_iotlb_msg_parse(data, size, &op, NULL);
	cvmm_iotlb_destroy(t.tlb);
	free(t.table.entries);
	return 0;
}
