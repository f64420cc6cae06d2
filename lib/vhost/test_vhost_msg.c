// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * IOTLB messages. A socket stands for the device where messages are sent and read: it keeps them apart as
 * the device does, and shows each byte.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "test_vhost_util.h"

#define V2 (UINT64_C(1) << VHOST_BACKEND_F_IOTLB_MSG_V2)
#define BATCH (UINT64_C(1) << VHOST_BACKEND_F_IOTLB_BATCH)
#define ASID (UINT64_C(1) << VHOST_BACKEND_F_IOTLB_ASID)
#define HOST ((void *)(uintptr_t)0x7f0000005000)

/* ---- bytes ----------------------------------------------------------------------------------- */

/* A message as the kernel makes it: zeroes but for what is given. */
static struct vhost_msg kernel_v1(uint8_t type, uint64_t iova, uint64_t size, uint8_t perm)
{
	struct vhost_msg msg;

	memset(&msg, 0, sizeof(msg));
	msg.type = VHOST_IOTLB_MSG;
	msg.iotlb.type = type;
	msg.iotlb.iova = iova;
	msg.iotlb.size = size;
	msg.iotlb.perm = perm;
	return msg;
}

static struct vhost_msg_v2 kernel_v2(uint8_t type, uint64_t iova, uint64_t size, uint8_t perm,
				     uint32_t asid)
{
	struct vhost_msg_v2 msg;

	memset(&msg, 0, sizeof(msg));
	msg.type = VHOST_IOTLB_MSG_V2;
	msg.asid = asid;
	msg.iotlb.type = type;
	msg.iotlb.iova = iova;
	msg.iotlb.size = size;
	msg.iotlb.perm = perm;
	return msg;
}

static void a_miss_of_the_kernel_has_no_length(void **state)
{
	const struct vhost_msg v1 = kernel_v1(VHOST_IOTLB_MISS, UINT64_MAX, 0, VHOST_ACCESS_RO);
	const struct vhost_msg_v2 v2 = kernel_v2(VHOST_IOTLB_MISS, 0x5000, 0, VHOST_ACCESS_WO, 7);
	struct cvmm_vhost_msg msg;

	(void)state;
	assert_ok(cvmm_vhost_msg_parse(&v1, sizeof(v1), &msg, NULL));
	assert_int_equal(msg.op.kind, CVMM_IOTLB_MISS);
	assert_int_equal(msg.op.iova, UINT64_MAX);
	assert_int_equal(msg.op.last, UINT64_MAX);
	assert_int_equal(msg.op.rights, CVMM_ACCESS_READ);
	assert_false(msg.is_v2);
	assert_int_equal(msg.asid, 0);
	assert_ok(cvmm_vhost_msg_parse(&v2, sizeof(v2), &msg, NULL));
	assert_int_equal(msg.op.iova, 0x5000);
	assert_int_equal(msg.op.last, 0x5000);
	assert_int_equal(msg.op.rights, CVMM_ACCESS_WRITE);
	assert_true(msg.is_v2);
	assert_int_equal(msg.asid, 7);
}

static void other_messages_must_have_a_length(void **state)
{
	struct cvmm_vhost_msg msg = { .asid = 42 };
	struct cvmm_error err = { 0 };

	(void)state;
	for (uint8_t type = VHOST_IOTLB_UPDATE; type <= VHOST_IOTLB_ACCESS_FAIL; type++) {
		struct vhost_msg v1 = kernel_v1(type, 0x5000, 0, VHOST_ACCESS_RW);

		assert_int_equal(cvmm_vhost_msg_parse(&v1, sizeof(v1), &msg, &err), -EINVAL);
		v1.iotlb.size = 0x1000;
		assert_ok(cvmm_vhost_msg_parse(&v1, sizeof(v1), &msg, &err));
		assert_int_equal(msg.op.last, 0x5fff);
	}
	/* All addresses: as vhost has it. */
	assert_ok(cvmm_vhost_msg_parse(
		&(struct vhost_msg){ .type = VHOST_IOTLB_MSG,
				     .iotlb = { .type = VHOST_IOTLB_INVALIDATE } },
		sizeof(struct vhost_msg), &msg, &err));
	assert_int_equal(msg.op.last, UINT64_MAX);
}

static void what_is_no_message_is_refused(void **state)
{
	struct vhost_msg_v2 v2 = kernel_v2(VHOST_IOTLB_MISS, 0, 0, VHOST_ACCESS_RO, 0);
	struct vhost_msg v1 = kernel_v1(VHOST_IOTLB_MISS, 0, 0, VHOST_ACCESS_RO);
	struct cvmm_vhost_msg msg = { .asid = 42 };

	(void)state;
	for (size_t size = 0; size < sizeof(v2); size++)
		assert_int_equal(cvmm_vhost_msg_parse(&v2, size, &msg, NULL), -EMSGSIZE);
	for (size_t size = 0; size < sizeof(v1); size++)
		assert_int_equal(cvmm_vhost_msg_parse(&v1, size, &msg, NULL), -EMSGSIZE);
	v2.type = 0;
	assert_int_equal(cvmm_vhost_msg_parse(&v2, sizeof(v2), &msg, NULL), -EINVAL);
	v2.type = 3;
	assert_int_equal(cvmm_vhost_msg_parse(&v2, sizeof(v2), &msg, NULL), -EINVAL);
	v2 = kernel_v2(7, 0, 1, VHOST_ACCESS_RO, 0);
	assert_int_equal(cvmm_vhost_msg_parse(&v2, sizeof(v2), &msg, NULL), -EINVAL);
	v2 = kernel_v2(VHOST_IOTLB_MISS, 0, 1, 4, 0);
	assert_int_equal(cvmm_vhost_msg_parse(&v2, sizeof(v2), &msg, NULL), -EINVAL);
	v2 = kernel_v2(VHOST_IOTLB_MISS, 2, UINT64_MAX, VHOST_ACCESS_RO, 0);
	assert_int_equal(cvmm_vhost_msg_parse(&v2, sizeof(v2), &msg, NULL), -EINVAL);
	assert_int_equal(msg.asid, 42);
}

static void an_address_space_needs_the_second_form(void **state)
{
	struct cvmm_vhost_msg msg = { .op = { .kind = CVMM_IOTLB_BATCH_BEGIN }, .asid = 1 };
	uint8_t data[CVMM_VHOST_MSG_BYTES];

	(void)state;
	assert_int_equal(cvmm_vhost_msg_format(&msg, data), -EINVAL);
	msg.is_v2 = true;
	assert_int_equal(cvmm_vhost_msg_format(&msg, data), sizeof(struct vhost_msg_v2));
}

/* ---- sending --------------------------------------------------------------------------------- */

struct device {
	struct cvmm_vhost vhost;
	int other_end;
};

static struct device make_device(uint64_t backend_features)
{
	struct device d = { .vhost = { .backend_features = backend_features } };
	int ends[2];

	assert_ok(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends));
	d.vhost.fd = ends[0];
	d.other_end = ends[1];
	return d;
}

static void end_device(struct device *d)
{
	cvmm_vhost_close(&d->vhost);
	close(d->other_end);
}

/* The next message that was sent, which must be of this form. */
static struct vhost_iotlb_msg sent(const struct device *d, bool is_v2, uint32_t asid)
{
	struct vhost_msg_v2 v2;
	struct vhost_msg v1;
	uint8_t data[128];
	ssize_t n = read(d->other_end, data, sizeof(data));

	if (!is_v2) {
		assert_int_equal(n, sizeof(v1));
		memcpy(&v1, data, sizeof(v1));
		assert_int_equal(v1.type, VHOST_IOTLB_MSG);
		return v1.iotlb;
	}
	assert_int_equal(n, sizeof(v2));
	memcpy(&v2, data, sizeof(v2));
	assert_int_equal(v2.type, VHOST_IOTLB_MSG_V2);
	assert_int_equal(v2.asid, asid);
	return v2.iotlb;
}

static void nothing_more_was_sent(const struct device *d)
{
	uint8_t data[128];

	assert_int_equal(read(d->other_end, data, sizeof(data)), -1);
	assert_int_equal(errno, EAGAIN);
}

static void the_form_is_the_one_that_was_set(void **state)
{
	(void)state;
	for (unsigned int v2 = 0; v2 < 2; v2++) {
		struct device d = make_device(v2 ? V2 : 0);
		struct vhost_iotlb_msg msg;

		assert_ok(cvmm_vhost_iotlb_update(&d.vhost, 0, 0x1000, 0x3000, HOST,
						  CVMM_ACCESS_READ));
		msg = sent(&d, v2, 0);
		assert_int_equal(msg.type, VHOST_IOTLB_UPDATE);
		assert_int_equal(msg.iova, 0x1000);
		assert_int_equal(msg.size, 0x3000);
		assert_int_equal(msg.uaddr, (uintptr_t)HOST);
		assert_int_equal(msg.perm, VHOST_ACCESS_RO);
		assert_ok(cvmm_vhost_iotlb_invalidate(&d.vhost, 0, 0x2000, 0x1000));
		msg = sent(&d, v2, 0);
		assert_int_equal(msg.type, VHOST_IOTLB_INVALIDATE);
		assert_int_equal(msg.iova, 0x2000);
		assert_int_equal(msg.size, 0x1000);
		end_device(&d);
	}
}

static void address_spaces_are_told_only_to_who_looks_at_them(void **state)
{
	struct device d = make_device(V2);

	(void)state;
	/* The kernel would map it in address space 0. */
	assert_int_equal(cvmm_vhost_iotlb_update(&d.vhost, 1, 0, 1, HOST, CVMM_ACCESS_READ_WRITE),
			 -ENOTSUP);
	assert_int_equal(cvmm_vhost_vdpa_dma_unmap(&d.vhost, 1, 0, 1), -ENOTSUP);
	d.vhost.backend_features = ASID;
	assert_int_equal(cvmm_vhost_vdpa_dma_map(&d.vhost, 1, 0, 1, HOST, CVMM_ACCESS_READ_WRITE),
			 -ENOTSUP);
	d.vhost.backend_features = V2 | ASID;
	assert_ok(
		cvmm_vhost_vdpa_dma_map(&d.vhost, 0x12345678, 0, 1, HOST, CVMM_ACCESS_READ_WRITE));
	assert_int_equal(sent(&d, true, 0x12345678).perm, VHOST_ACCESS_RW);
	assert_ok(cvmm_vhost_vdpa_dma_unmap(&d.vhost, 0x12345678, 0, 1));
	assert_int_equal(sent(&d, true, 0x12345678).type, VHOST_IOTLB_INVALIDATE);
	nothing_more_was_sent(&d);
	end_device(&d);
}

static void batches_go_only_to_who_takes_them(void **state)
{
	struct device d = make_device(V2 | ASID);

	(void)state;
	assert_int_equal(cvmm_vhost_iotlb_batch_begin(&d.vhost, 0), -ENOTSUP);
	assert_int_equal(cvmm_vhost_iotlb_batch_end(&d.vhost, 0), -ENOTSUP);
	nothing_more_was_sent(&d);
	d.vhost.backend_features |= BATCH;
	assert_ok(cvmm_vhost_iotlb_batch_begin(&d.vhost, 3));
	assert_int_equal(sent(&d, true, 3).type, VHOST_IOTLB_BATCH_BEGIN);
	assert_ok(cvmm_vhost_iotlb_batch_end(&d.vhost, 3));
	assert_int_equal(sent(&d, true, 3).type, VHOST_IOTLB_BATCH_END);
	end_device(&d);
}

static void what_cannot_be_meant_is_not_sent(void **state)
{
	struct device d = make_device(V2);
	struct cvmm_iotlb_op op = { .kind = CVMM_IOTLB_MISS, .rights = CVMM_ACCESS_READ };

	(void)state;
	assert_int_equal(cvmm_vhost_iotlb_update(&d.vhost, 0, 0, 0, HOST, CVMM_ACCESS_READ),
			 -EINVAL);
	assert_int_equal(
		cvmm_vhost_iotlb_update(&d.vhost, 0, 2, UINT64_MAX, HOST, CVMM_ACCESS_READ),
		-EINVAL);
	assert_int_equal(
		cvmm_vhost_iotlb_update(&d.vhost, 0, 0, UINT64_MAX, HOST, CVMM_ACCESS_READ),
		-EINVAL); /* above 2^64 in this process */
	assert_int_equal(cvmm_vhost_iotlb_update(&d.vhost, 0, 0, 1, HOST, (enum cvmm_access)0),
			 -EINVAL);
	assert_int_equal(cvmm_vhost_iotlb_update(&d.vhost, 0, 0, 1, HOST, (enum cvmm_access)4),
			 -EINVAL);
	assert_int_equal(cvmm_vhost_iotlb_invalidate(&d.vhost, 0, 1, 0), -EINVAL);
	assert_int_equal(cvmm_vhost_iotlb_invalidate(&d.vhost, 0, 2, UINT64_MAX), -EINVAL);
	assert_int_equal(cvmm_vhost_iotlb_send(&d.vhost, 0, &op), -EINVAL);
	op.kind = CVMM_IOTLB_ACCESS_FAIL;
	assert_int_equal(cvmm_vhost_iotlb_send(&d.vhost, 0, &op), -EINVAL);
	nothing_more_was_sent(&d);
	end_device(&d);
}

static void all_addresses_can_be_invalidated_at_once(void **state)
{
	struct device d = make_device(0);
	struct vhost_iotlb_msg msg;

	(void)state;
	assert_ok(cvmm_vhost_iotlb_invalidate(&d.vhost, 0, 0, 0));
	msg = sent(&d, false, 0);
	assert_int_equal(msg.iova, 0);
	assert_int_equal(msg.size, 0); /* so that iova + size - 1 is the last address */
	assert_ok(cvmm_vhost_iotlb_invalidate(&d.vhost, 0, 1, UINT64_MAX));
	msg = sent(&d, false, 0);
	assert_int_equal(msg.iova + msg.size, 0);
	end_device(&d);
}

/* Bytes that have no meaning do not carry what lay on the stack. */
static void padding_is_zero(void **state)
{
	uint8_t data[CVMM_VHOST_MSG_BYTES], want[CVMM_VHOST_MSG_BYTES];
	struct cvmm_vhost_msg msg = { .op = { .kind = CVMM_IOTLB_BATCH_END } };

	(void)state;
	for (unsigned int v2 = 0; v2 < 2; v2++) {
		size_t at = v2 ? offsetof(struct vhost_msg_v2, iotlb)
			       : offsetof(struct vhost_msg, iotlb);
		uint32_t type = v2 ? VHOST_IOTLB_MSG_V2 : VHOST_IOTLB_MSG;

		msg.is_v2 = v2;
		memset(data, 0xee, sizeof(data));
		assert_true(cvmm_vhost_msg_format(&msg, data) > 0);
		memset(want, 0, sizeof(want));
		memcpy(want, &type, sizeof(type));
		want[at + offsetof(struct vhost_iotlb_msg, type)] = VHOST_IOTLB_BATCH_END;
		assert_memory_equal(data, want, sizeof(want));
	}
}

/* ---- reading --------------------------------------------------------------------------------- */

static void messages_are_read_one_by_one(void **state)
{
	const struct vhost_msg v1 = kernel_v1(VHOST_IOTLB_MISS, 0x1000, 0, VHOST_ACCESS_RO);
	const struct vhost_msg_v2 v2 =
		kernel_v2(VHOST_IOTLB_ACCESS_FAIL, 0x2000, 8, VHOST_ACCESS_WO, 0);
	struct device d = make_device(0);
	struct cvmm_vhost_msg msg;

	(void)state;
	assert_int_equal(cvmm_vhost_msg_read(&d.vhost, &msg, NULL), -EAGAIN);
	assert_int_equal(write(d.other_end, &v1, sizeof(v1)), sizeof(v1));
	assert_int_equal(write(d.other_end, &v2, sizeof(v2)), sizeof(v2));
	assert_ok(cvmm_vhost_msg_read(&d.vhost, &msg, NULL));
	assert_int_equal(msg.op.kind, CVMM_IOTLB_MISS);
	assert_int_equal(msg.op.iova, 0x1000);
	assert_ok(cvmm_vhost_msg_read(&d.vhost, &msg, NULL));
	assert_int_equal(msg.op.kind, CVMM_IOTLB_ACCESS_FAIL);
	assert_int_equal(msg.op.iova, 0x2000);
	assert_int_equal(msg.op.last, 0x2007);
	assert_int_equal(cvmm_vhost_msg_read(&d.vhost, &msg, NULL), -EAGAIN);
	end_device(&d);
}

static void what_the_kernel_does_not_send_is_refused(void **state)
{
	const struct vhost_msg update = kernel_v1(VHOST_IOTLB_UPDATE, 0x1000, 1, VHOST_ACCESS_RO);
	const struct vhost_msg unknown = kernel_v1(0x77, 0x1000, 1, VHOST_ACCESS_RO);
	struct cvmm_vhost_msg msg = { .asid = 42 };
	struct cvmm_error err = { 0 };
	struct device d = make_device(0);

	(void)state;
	assert_int_equal(write(d.other_end, &update, sizeof(update)), sizeof(update));
	assert_int_equal(cvmm_vhost_msg_read(&d.vhost, &msg, &err), -EPROTO);
	assert_says(&err, "type 2");
	assert_int_equal(write(d.other_end, &unknown, sizeof(unknown)), sizeof(unknown));
	assert_int_equal(cvmm_vhost_msg_read(&d.vhost, &msg, &err), -EPROTO);
	assert_int_equal(err.code, -EPROTO);
	assert_says(&err, "from the kernel");
	assert_int_equal(write(d.other_end, &update, 8), 8);
	assert_int_equal(cvmm_vhost_msg_read(&d.vhost, &msg, &err), -EPROTO);
	close(d.other_end);
	assert_int_equal(cvmm_vhost_msg_read(&d.vhost, &msg, NULL), -EPROTO); /* nothing at all */
	assert_int_equal(msg.asid, 42);
	cvmm_vhost_close(&d.vhost);
	assert_int_equal(cvmm_vhost_msg_read(&d.vhost, &msg, NULL), -EBADF);
	assert_int_equal(cvmm_vhost_iotlb_invalidate(&d.vhost, 0, 0, 1), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_miss_of_the_kernel_has_no_length),
		cmocka_unit_test(other_messages_must_have_a_length),
		cmocka_unit_test(what_is_no_message_is_refused),
		cmocka_unit_test(an_address_space_needs_the_second_form),
		cmocka_unit_test(the_form_is_the_one_that_was_set),
		cmocka_unit_test(address_spaces_are_told_only_to_who_looks_at_them),
		cmocka_unit_test(batches_go_only_to_who_takes_them),
		cmocka_unit_test(what_cannot_be_meant_is_not_sent),
		cmocka_unit_test(all_addresses_can_be_invalidated_at_once),
		cmocka_unit_test(padding_is_zero),
		cmocka_unit_test(messages_are_read_one_by_one),
		cmocka_unit_test(what_the_kernel_does_not_send_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
