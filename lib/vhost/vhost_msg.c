// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * IOTLB messages.
 *
 * Theory of operation: there are two structs, which differ in what lies in front of a struct
 * vhost_iotlb_msg: a type, and in the second one an address space too. The kernel takes both at any time;
 * but it looks at the address space only if VHOST_BACKEND_F_IOTLB_ASID was set, and does as if it were 0
 * otherwise. So that an update cannot end up in the wrong one, what was set decides here what can be
 * sent. What the kernel itself sends, it sends in the form that VHOST_BACKEND_F_IOTLB_MSG_V2 says.
 */
#include <unistd.h>

#include "vhost_internal.h"

_Static_assert(CVMM_VHOST_MSG_BYTES == sizeof(struct vhost_msg_v2), "linux/vhost_types.h");
_Static_assert(sizeof(((struct vhost_msg *)0)->padding) >= CVMM_IOTLB_MSG_SIZE,
	       "linux/vhost_types.h");
_Static_assert(offsetof(struct vhost_iotlb_msg, type) + 1 == CVMM_IOTLB_MSG_SIZE_PACKED,
	       "linux/vhost_types.h");

/* ---- bytes ----------------------------------------------------------------------------------- */

static size_t msg_bytes(bool is_v2)
{
	return is_v2 ? sizeof(struct vhost_msg_v2) : sizeof(struct vhost_msg);
}

static size_t iotlb_at(bool is_v2)
{
	return is_v2 ? offsetof(struct vhost_msg_v2, iotlb) : offsetof(struct vhost_msg, iotlb);
}

/* The kernel tells of a miss only where it begins: the length is 0. */
static void give_miss_a_length(uint8_t iotlb[CVMM_IOTLB_MSG_SIZE_PACKED])
{
	uint64_t len;

	memcpy(&len, iotlb + offsetof(struct vhost_iotlb_msg, size), sizeof(len));
	if (len || iotlb[offsetof(struct vhost_iotlb_msg, type)] != VHOST_IOTLB_MISS)
		return;
	len = 1;
	memcpy(iotlb + offsetof(struct vhost_iotlb_msg, size), &len, sizeof(len));
}

int cvmm_vhost_msg_parse(const void *data, size_t size, struct cvmm_vhost_msg *ret_msg,
			 struct cvmm_error *err)
{
	uint8_t iotlb[CVMM_IOTLB_MSG_SIZE_PACKED];
	struct cvmm_vhost_msg msg = { 0 };
	const uint8_t *bytes = data;
	uint32_t type;
	int ret;

	if (size < sizeof(type))
		return cvmm_fail(err, -EMSGSIZE, "vhost: message of %zu bytes has no type", size);
	memcpy(&type, bytes, sizeof(type));
	if (type != VHOST_IOTLB_MSG && type != VHOST_IOTLB_MSG_V2)
		return cvmm_fail(err, -EINVAL, "vhost: message of unknown type %u", type);
	msg.is_v2 = type == VHOST_IOTLB_MSG_V2;
	if (size != msg_bytes(msg.is_v2))
		return cvmm_fail(err, -EMSGSIZE, "vhost: message of %zu bytes; must be %zu", size,
				 msg_bytes(msg.is_v2));
	if (msg.is_v2)
		memcpy(&msg.asid, bytes + offsetof(struct vhost_msg_v2, asid), sizeof(msg.asid));
	memcpy(iotlb, bytes + iotlb_at(msg.is_v2), sizeof(iotlb));
	give_miss_a_length(iotlb);
	ret = cvmm_iotlb_msg_parse(iotlb, sizeof(iotlb), &msg.op, err);
	if (!ret)
		*ret_msg = msg;
	return ret;
}

int cvmm_vhost_msg_format(const struct cvmm_vhost_msg *msg, uint8_t ret_data[CVMM_VHOST_MSG_BYTES])
{
	uint32_t type = msg->is_v2 ? VHOST_IOTLB_MSG_V2 : VHOST_IOTLB_MSG;
	uint8_t iotlb[CVMM_IOTLB_MSG_SIZE];
	int ret;

	if (msg->asid && !msg->is_v2)
		return -EINVAL;
	ret = cvmm_iotlb_msg_format(&msg->op, iotlb);
	if (ret)
		return ret;
	memset(ret_data, 0, CVMM_VHOST_MSG_BYTES);
	memcpy(ret_data, &type, sizeof(type));
	if (msg->is_v2)
		memcpy(ret_data + offsetof(struct vhost_msg_v2, asid), &msg->asid,
		       sizeof(msg->asid));
	memcpy(ret_data + iotlb_at(msg->is_v2), iotlb, sizeof(iotlb));
	return (int)msg_bytes(msg->is_v2);
}

/* ---- reading --------------------------------------------------------------------------------- */

int cvmm_vhost_msg_read(const struct cvmm_vhost *vhost, struct cvmm_vhost_msg *ret_msg,
			struct cvmm_error *err)
{
	uint8_t data[CVMM_VHOST_MSG_BYTES];
	struct cvmm_vhost_msg msg;
	ssize_t n;

	do {
		n = read(vhost->fd, data, sizeof(data));
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (cvmm_vhost_msg_parse(data, (size_t)n, &msg, err)) {
		cvmm_error_prefix(err, "from the kernel");
		if (err)
			err->code = -EPROTO;
		return -EPROTO;
	}
	if (msg.op.kind != CVMM_IOTLB_MISS && msg.op.kind != CVMM_IOTLB_ACCESS_FAIL)
		return cvmm_fail(err, -EPROTO, "vhost: message of type %d from the kernel",
				 (int)msg.op.kind);
	*ret_msg = msg;
	return 0;
}

/* ---- sending --------------------------------------------------------------------------------- */

static int msg_write(const struct cvmm_vhost *vhost, const struct cvmm_vhost_msg *msg)
{
	uint8_t data[CVMM_VHOST_MSG_BYTES];
	int bytes = cvmm_vhost_msg_format(msg, data);
	ssize_t n;

	if (bytes < 0)
		return bytes;
	do {
		n = write(vhost->fd, data, (size_t)bytes);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == bytes ? 0 : -EIO;
}

int cvmm_vhost_iotlb_send(const struct cvmm_vhost *vhost, uint32_t asid,
			  const struct cvmm_iotlb_op *op)
{
	struct cvmm_vhost_msg msg = {
		.op = *op,
		.asid = asid,
		.is_v2 = cvmm_vhost_has_backend_feature(vhost, VHOST_BACKEND_F_IOTLB_MSG_V2),
	};
	bool is_batch = op->kind == CVMM_IOTLB_BATCH_BEGIN || op->kind == CVMM_IOTLB_BATCH_END;

	if (!is_batch && op->kind != CVMM_IOTLB_UPDATE && op->kind != CVMM_IOTLB_INVALIDATE)
		return -EINVAL;
	/* No rights at all are a thing that the kernel does not expect. */
	if (op->kind == CVMM_IOTLB_UPDATE && op->rights == CVMM_IOTLB_NO_ACCESS)
		return -EINVAL;
	if (is_batch && !cvmm_vhost_has_backend_feature(vhost, VHOST_BACKEND_F_IOTLB_BATCH))
		return -ENOTSUP;
	if (asid &&
	    !(msg.is_v2 && cvmm_vhost_has_backend_feature(vhost, VHOST_BACKEND_F_IOTLB_ASID)))
		return -ENOTSUP;
	return msg_write(vhost, &msg);
}

int cvmm_vhost_iotlb_update(const struct cvmm_vhost *vhost, uint32_t asid, uint64_t iova,
			    uint64_t len_bytes, void *host, enum cvmm_access access)
{
	struct cvmm_iotlb_op op = {
		.kind = CVMM_IOTLB_UPDATE,
		.iova = iova,
		.addr = (uint64_t)(uintptr_t)host,
		.rights = access,
	};

	if (!len_bytes || !cvmm_add_u64(iova, len_bytes - 1, &op.last))
		return -EINVAL;
	return cvmm_vhost_iotlb_send(vhost, asid, &op);
}

int cvmm_vhost_iotlb_invalidate(const struct cvmm_vhost *vhost, uint32_t asid, uint64_t iova,
				uint64_t len_bytes)
{
	struct cvmm_iotlb_op op = {
		.kind = CVMM_IOTLB_INVALIDATE,
		.iova = iova,
		.last = UINT64_MAX,
	};

	if (!len_bytes && iova)
		return -EINVAL;
	if (len_bytes && !cvmm_add_u64(iova, len_bytes - 1, &op.last))
		return -EINVAL;
	return cvmm_vhost_iotlb_send(vhost, asid, &op);
}

static int batch(const struct cvmm_vhost *vhost, uint32_t asid, enum cvmm_iotlb_op_kind kind)
{
	struct cvmm_iotlb_op op = { .kind = kind };

	return cvmm_vhost_iotlb_send(vhost, asid, &op);
}

int cvmm_vhost_iotlb_batch_begin(const struct cvmm_vhost *vhost, uint32_t asid)
{
	return batch(vhost, asid, CVMM_IOTLB_BATCH_BEGIN);
}

int cvmm_vhost_iotlb_batch_end(const struct cvmm_vhost *vhost, uint32_t asid)
{
	return batch(vhost, asid, CVMM_IOTLB_BATCH_END);
}
