// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The first byte says what the rest is: a message that the kernel sent, or what a driver configured. A
 * message that is taken must say the same when it is written again. A queue that is taken must lie in
 * RAM, which is looked up byte by byte.
 */
#include <errno.h>
#include <stdlib.h>

#include <cvmm/vhost.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	MESSAGE,
	QUEUE,
	KINDS,
};

#define PAGE UINT64_C(0x1000)

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* ---- messages -------------------------------------------------------------------------------- */

static void must_be_the_same(const struct cvmm_vhost_msg *a, const struct cvmm_vhost_msg *b)
{
	must(a->is_v2 == b->is_v2 && a->asid == b->asid);
	must(a->op.kind == b->op.kind && a->op.iova == b->op.iova && a->op.last == b->op.last);
	must(a->op.addr == b->op.addr && a->op.rights == b->op.rights);
}

static void fuzz_message(const uint8_t *data, size_t size)
{
	uint8_t again[CVMM_VHOST_MSG_BYTES];
	struct cvmm_error err = { 0 };
	struct cvmm_vhost_msg msg, copy;
	int ret = cvmm_vhost_msg_parse(data, size, &msg, &err);

	must(ret == err.code);
	if (ret) {
		must(ret == -EMSGSIZE || ret == -EINVAL);
		return;
	}
	must(msg.op.kind >= CVMM_IOTLB_MISS && msg.op.kind <= CVMM_IOTLB_BATCH_END);
	must(msg.op.last >= msg.op.iova && msg.op.rights <= CVMM_ACCESS_READ_WRITE);
	must(msg.is_v2 || !msg.asid);
	ret = cvmm_vhost_msg_format(&msg, again);
	must(ret == (int)size);
	must(!cvmm_vhost_msg_parse(again, size, &copy, NULL));
	must_be_the_same(&msg, &copy);
}

/* ---- queues ---------------------------------------------------------------------------------- */

/* Three regions: the first two touch, and the last one ends with the address space. */
static struct cvmm_mem *make_memory(void)
{
	static const uint64_t places[][2] = {
		{ 0, 4 * PAGE },
		{ 4 * PAGE, PAGE },
		{ UINT64_MAX - 8 * PAGE + 1, 8 * PAGE },
	};
	struct cvmm_mem_config configs[CVMM_ARRAY_SIZE(places)];
	struct cvmm_mem *mem = NULL;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(places); i++)
		configs[i] = (struct cvmm_mem_config){
			.gpa = cvmm_gpa_from(places[i][0]),
			.len_bytes = places[i][1],
			.kind = CVMM_MEM_ANONYMOUS,
			.access = CVMM_ACCESS_READ_WRITE,
		};
	must(!cvmm_mem_create(configs, CVMM_ARRAY_SIZE(configs), &mem, NULL));
	return mem;
}

static void must_be_at(const struct cvmm_mem *mem, uint64_t gpa, uint64_t len, uint64_t host)
{
	for (uint64_t i = 0; i < len; i++) {
		uint8_t *at = cvmm_mem_ptr(mem, cvmm_gpa_from(gpa + i), 1, CVMM_ACCESS_READ_WRITE);

		must(at && (uint64_t)(uintptr_t)at == host + i);
	}
}

struct queue_input {
	uint64_t desc, avail, used;
	uint16_t size;
	uint16_t next_avail, next_used;
	uint8_t flags;
	uint8_t kind;
};

static void fuzz_queue(const uint8_t *data, size_t size)
{
	struct cvmm_vhost_queue queue = { .index = 5 };
	struct vhost_vring_addr addr = { 0 };
	struct cvmm_error err = { 0 };
	struct queue_input in;
	struct cvmm_mem *mem;
	uint64_t n;
	int ret;

	if (size < sizeof(in))
		return;
	memcpy(&in, data, sizeof(in));
	n = in.size;
	queue.ring = (struct cvmm_virtq_config){
		.size = in.size,
		.desc = cvmm_gpa_from(in.desc),
		.avail = cvmm_gpa_from(in.avail),
		.used = cvmm_gpa_from(in.used),
		.packed = in.flags & 1,
	};
	queue.base = (struct cvmm_virtq_base){ in.next_avail, in.next_used, false, true };
	mem = make_memory();
	ret = cvmm_vhost_queue_check(CVMM_VHOST_NET, mem, &queue, &addr, &err);
	must(ret == err.code && (!ret || ret == -EINVAL));
	if (!ret) {
		bool packed = queue.ring.packed;

		must(n && n <= CVMM_VIRTQ_SIZE_MAX && (packed || cvmm_is_pow2(n)));
		must_be_at(mem, in.desc, 16 * n, addr.desc_user_addr);
		must_be_at(mem, in.avail, packed ? 4 : 6 + 2 * n, addr.avail_user_addr);
		must_be_at(mem, in.used, packed ? 4 : 6 + 8 * n, addr.used_user_addr);
		must(addr.index == 5);
	}
	cvmm_mem_unref(mem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] % KINDS == MESSAGE)
		fuzz_message(data + 1, size - 1);
	else
		fuzz_queue(data + 1, size - 1);
	return 0;
}
