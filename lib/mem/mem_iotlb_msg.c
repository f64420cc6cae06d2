// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: the bytes of a message are copied once into a struct cvmm_iotlb_op, and that
 * is checked. Lengths become last addresses at once, so that later code cannot overflow.
 */
#include <errno.h>

#include "mem_iotlb_internal.h"

/* Where the fields of struct vhost_iotlb_msg are. */
enum {
	MSG_IOVA = 0,
	MSG_SIZE = 8,
	MSG_UADDR = 16,
	MSG_PERM = 24,
	MSG_TYPE = 25,
};

static uint64_t get_u64(const uint8_t *data)
{
	uint64_t v;

	memcpy(&v, data, sizeof(v));
	return v;
}

static bool has_range(enum cvmm_iotlb_op_kind kind)
{
	return kind >= CVMM_IOTLB_MISS && kind <= CVMM_IOTLB_ACCESS_FAIL;
}

static bool is_batch(enum cvmm_iotlb_op_kind kind)
{
	return kind == CVMM_IOTLB_BATCH_BEGIN || kind == CVMM_IOTLB_BATCH_END;
}

int cvmm_mem_iotlb_op_check(const struct cvmm_iotlb_op *op, struct cvmm_error *err)
{
	if (is_batch(op->kind))
		return 0;
	if (!has_range(op->kind))
		return cvmm_fail(err, -EINVAL, "IOTLB: unknown type %d of message", (int)op->kind);
	if (op->last < op->iova)
		return cvmm_fail(err, -EINVAL, "IOTLB: range at 0x%llx ends before it starts",
				 (unsigned long long)op->iova);
	if (op->rights > CVMM_ACCESS_READ_WRITE)
		return cvmm_fail(err, -EINVAL, "IOTLB: unknown access rights 0x%x", op->rights);
	if (op->kind == CVMM_IOTLB_UPDATE && op->last - op->iova > UINT64_MAX - op->addr)
		return cvmm_fail(err, -EINVAL,
				 "IOTLB: 0x%llx bytes mapped to 0x%llx end above 2^64",
				 (unsigned long long)(op->last - op->iova + 1),
				 (unsigned long long)op->addr);
	return 0;
}

/* Sets the range of @op from a length. */
static int set_range(struct cvmm_iotlb_op *op, uint64_t len, struct cvmm_error *err)
{
	if (!len && op->kind == CVMM_IOTLB_INVALIDATE && !op->iova) {
		op->last = UINT64_MAX;
		return 0;
	}
	if (!len)
		return cvmm_fail(err, -EINVAL, "IOTLB: range at 0x%llx has no length",
				 (unsigned long long)op->iova);
	if (!cvmm_add_u64(op->iova, len - 1, &op->last))
		return cvmm_fail(err, -EINVAL, "IOTLB: 0x%llx bytes at 0x%llx end above 2^64",
				 (unsigned long long)len, (unsigned long long)op->iova);
	return 0;
}

int cvmm_iotlb_msg_parse(const void *data, size_t size, struct cvmm_iotlb_op *ret_op,
			 struct cvmm_error *err)
{
	const uint8_t *bytes = data;
	struct cvmm_iotlb_op op = { 0 };
	int ret;

	if (size != CVMM_IOTLB_MSG_SIZE_PACKED && size != CVMM_IOTLB_MSG_SIZE)
		return cvmm_fail(err, -EMSGSIZE, "IOTLB: message of %zu bytes; must be %u or %u",
				 size, CVMM_IOTLB_MSG_SIZE_PACKED, CVMM_IOTLB_MSG_SIZE);
	op.kind = (enum cvmm_iotlb_op_kind)bytes[MSG_TYPE];
	if (has_range(op.kind)) {
		op.iova = get_u64(bytes + MSG_IOVA);
		/* An invalidation has neither address nor rights; peers leave anything there. */
		if (op.kind != CVMM_IOTLB_INVALIDATE)
			op.rights = bytes[MSG_PERM];
		if (op.kind == CVMM_IOTLB_UPDATE)
			op.addr = get_u64(bytes + MSG_UADDR);
		ret = set_range(&op, get_u64(bytes + MSG_SIZE), err);
		if (ret)
			return ret;
	}
	ret = cvmm_mem_iotlb_op_check(&op, err);
	if (!ret)
		*ret_op = op;
	return ret;
}

int cvmm_iotlb_msg_format(const struct cvmm_iotlb_op *op, uint8_t ret_data[CVMM_IOTLB_MSG_SIZE])
{
	uint8_t bytes[CVMM_IOTLB_MSG_SIZE] = { 0 };
	uint64_t len = op->last - op->iova + 1;
	int ret = cvmm_mem_iotlb_op_check(op, NULL);

	if (ret)
		return ret;
	if (has_range(op->kind)) {
		if (!len && op->kind != CVMM_IOTLB_INVALIDATE)
			return -EINVAL;
		memcpy(bytes + MSG_IOVA, &op->iova, sizeof(op->iova));
		memcpy(bytes + MSG_SIZE, &len, sizeof(len));
		memcpy(bytes + MSG_UADDR, &op->addr, sizeof(op->addr));
		bytes[MSG_PERM] = (uint8_t)op->rights;
	}
	bytes[MSG_TYPE] = (uint8_t)op->kind;
	memcpy(ret_data, bytes, sizeof(bytes));
	return 0;
}
