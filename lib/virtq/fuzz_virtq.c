// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Feeds a queue with guest memory that is the input: rings, tables and buffers, placed where the
 * input says, and rewritten between the device's steps. The device touches every byte of every
 * buffer that it is given, which rewrites the rings wherever the buffers overlap them.
 *
 *   byte 0      log2 of the queue size; packed: the size
 *   byte 1      features, layout, and what the device does about the memory and about bad chains
 *   byte 2      iovecs that the device has
 *   byte 3      number of steps
 *   steps       4 bytes each: operation, operand, operand of 16 bits
 *   the rest    guest memory from address 0 on
 */
#include <errno.h>
#include <stdlib.h>

#include <cvmm/mem_iommu.h>

#include "virtq_internal.h"

#define HEADER_SIZE 4U
#define STEP_SIZE 4U
#define REGION_SIZE 4096U
#define REGIONS 3U /* 0 and 1 are adjacent; 2 is behind a hole and read-only */
#define RAM_SIZE (2 * REGION_SIZE)
#define SIZE_LOG2_MAX 6U
#define IOV_COUNT 80U
#define STEP_KINDS 12U
#define POPS_MAX 1000U /* in the end; what the device writes may be new chains for ever */

enum {
	FEATURE_EVENT_IDX = 1,
	FEATURE_INDIRECT = 2,
	LAYOUT_HIGH = 4,
	LAYOUT_OVERLAP = 8,
	FEATURE_PACKED = 16,
	FEATURE_IN_ORDER = 32,
	POLICY = 64, /* some violations fail their chain only */
	SLOW = 128,  /* behind an IOMMU that changes no address */
};

static uint8_t *host[REGIONS];
static struct cvmm_mem *guest;
static struct cvmm_mem *guest_behind; /* the same behind the IOMMU */
static struct cvmm_iotlb *iotlb;
static const uint64_t region_gpa[REGIONS] = { 0, REGION_SIZE, 4 * REGION_SIZE };

static void make_guest(void)
{
	struct cvmm_mem_config configs[REGIONS];

	for (unsigned int i = 0; i < REGIONS; i++) {
		/* From the heap, so that a sanitizer sees what goes beyond a region. */
		host[i] = aligned_alloc(REGION_SIZE, REGION_SIZE);
		CVMM_BUG_ON(!host[i]);
		configs[i] = (struct cvmm_mem_config){
			.gpa = { region_gpa[i] },
			.len_bytes = REGION_SIZE,
			.kind = CVMM_MEM_EXTERNAL,
			.access = i < 2 ? CVMM_ACCESS_READ_WRITE : CVMM_ACCESS_READ,
			.host = host[i],
		};
	}
	CVMM_BUG_ON(cvmm_mem_create(configs, REGIONS, &guest, NULL));
	CVMM_BUG_ON(cvmm_iotlb_create(64, &iotlb, NULL));
	CVMM_BUG_ON(cvmm_mem_create_iommu(
		&(struct cvmm_mem_iommu_config){ .backing = guest, .iotlb = iotlb }, &guest_behind,
		NULL));
}

/* All addresses are known: what is not RAM is a violation, and no miss. */
static void fill_iotlb(void)
{
	cvmm_iotlb_invalidate_all(iotlb);
	CVMM_BUG_ON(cvmm_iotlb_set(iotlb, 0, UINT64_MAX, 0, CVMM_ACCESS_READ_WRITE));
}

/* A quarter of a region comes, goes, or changes its rights. */
static void change_iotlb(uint16_t operand)
{
	uint64_t len = REGION_SIZE / 4, iova = (operand >> 8) % 20 * len;

	if (operand & 4)
		CVMM_BUG_ON(cvmm_iotlb_set(iotlb, iova, len, iova, operand & 3));
	else
		CVMM_BUG_ON(cvmm_iotlb_invalidate(iotlb, iova, len));
}

static bool policy(void *ctx, enum cvmm_virtq_violation violation)
{
	const uint8_t *mask = ctx;

	CVMM_BUG_ON(violation == CVMM_VIRTQ_OK || violation == CVMM_VIRTQ_BAD_AREA);
	return *mask >> violation % 8 & 1;
}

/* What the queue knows about what is in flight must agree with itself. */
static void check_books(const struct cvmm_virtq *vq)
{
	uint32_t in_flight = 0, descs = 0;

	for (uint32_t i = 0; i < vq->size; i++) {
		in_flight += vq->slots[i].descs > 0;
		descs += vq->slots[i].descs;
	}
	CVMM_BUG_ON(in_flight != vq->in_flight || descs != vq->descs_in_use);
	CVMM_BUG_ON(vq->config.packed && descs > vq->size);
}

/* Which calls can fail because of what the driver did, or the IOMMU. */
static bool is_expected(const struct cvmm_virtq *vq, int ret)
{
	if (ret == -EAGAIN)
		return vq->mem == guest_behind;
	return ret == -EPROTO && cvmm_virtq_violation(vq) != CVMM_VIRTQ_OK;
}

static void check_pieces(const struct iovec *iov, size_t count, uint32_t bytes, bool writable)
{
	volatile uint8_t sink = 0;
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++) {
		volatile uint8_t *p = iov[i].iov_base;

		CVMM_BUG_ON(!iov[i].iov_len);
		sum += iov[i].iov_len;
		for (size_t at = 0; at < iov[i].iov_len; at++) {
			if (writable)
				p[at] = (uint8_t)(p[at] + 1);
			else
				sink = (uint8_t)(sink + p[at]);
		}
	}
	CVMM_BUG_ON(sum != bytes);
}

static void check_chain(const struct cvmm_virtq *vq, const struct cvmm_virtq_chain *chain)
{
	CVMM_BUG_ON(chain->head >= vq->size);
	check_pieces(chain->readable, chain->readable_count, chain->readable_bytes, false);
	check_pieces(chain->writable, chain->writable_count, chain->writable_bytes, true);
}

/* Return: whether a chain was popped; its head is in *ret_head. */
static bool pop_one(struct cvmm_virtq *vq, size_t iov_max, uint16_t *ret_head)
{
	struct iovec *iov = malloc(iov_max * sizeof(*iov));
	struct cvmm_virtq_chain chain;
	bool was_broken = cvmm_virtq_violation(vq);
	int ret;

	CVMM_BUG_ON(!iov);
	ret = cvmm_virtq_pop(vq, iov, iov_max, &chain);
	CVMM_BUG_ON(ret != 0 && ret != 1 && !is_expected(vq, ret));
	CVMM_BUG_ON((ret == -EPROTO) != (cvmm_virtq_violation(vq) != CVMM_VIRTQ_OK));
	CVMM_BUG_ON(was_broken && ret != -EPROTO);
	if (ret == 1) {
		CVMM_BUG_ON((size_t)chain.readable_count + chain.writable_count > iov_max);
		check_chain(vq, &chain);
		*ret_head = chain.head;
	}
	free(iov);
	return ret == 1;
}

/* Takes several and gives them back, the newest first. */
static void pop_several(struct cvmm_virtq *vq, size_t iov_max, uint8_t how)
{
	struct iovec *iov = malloc(iov_max * sizeof(*iov));
	struct cvmm_virtq_chain chains[7];
	int ret;

	CVMM_BUG_ON(!iov);
	ret = cvmm_virtq_pop_batch(vq, iov, iov_max, chains, how % 8);
	CVMM_BUG_ON(ret < 0 && !is_expected(vq, ret));
	for (int i = 0; i < ret; i++)
		check_chain(vq, &chains[i]);
	while (ret-- > 0) {
		int err = how & 8 ? cvmm_virtq_rewind(vq, chains[ret].head)
				  : cvmm_virtq_push_chain(vq, &chains[ret], 0);

		/* Behind those there may be newer ones that the policy failed. */
		if (err == -EINVAL && how & 8 && vq->policy)
			break;
		CVMM_BUG_ON(err && !is_expected(vq, err));
	}
	free(iov);
}

static void step(struct cvmm_virtq *vq, size_t iov_max, const uint8_t *op, uint16_t *head)
{
	uint16_t operand = cvmm_get_le16(op + 2);
	struct cvmm_virtq_used used[2] = { { *head, operand }, { op[1], operand } };

	switch (op[0] % STEP_KINDS) {
	case 0:
	case 1:
		pop_one(vq, iov_max, head);
		break;
	case 2:
		if (pop_one(vq, iov_max, head)) {
			int ret = cvmm_virtq_push(vq, *head, 0);

			CVMM_BUG_ON(ret && !is_expected(vq, ret));
		}
		break;
	case 3:
		cvmm_virtq_push(vq, operand, op[1]);
		break;
	case 4:
		cvmm_virtq_push_batch(vq, used, op[1] % 3);
		break;
	case 5:
		cvmm_virtq_rewind(vq, *head);
		break;
	case 6:
		cvmm_virtq_should_notify(vq);
		break;
	case 7:
		cvmm_virtq_disable_notifications(vq);
		cvmm_virtq_enable_notifications(vq);
		break;
	case 9:
		pop_several(vq, iov_max, op[1]);
		break;
	case 10:
		change_iotlb(operand);
		break;
	case 11:
		/* Chains in flight keep the other one. */
		(void)cvmm_virtq_set_mem(vq, op[1] & 1 ? guest : guest_behind, NULL);
		break;
	default:
		/* The driver: another available index, or a byte anywhere. */
		if (op[1] & 1)
			(void)cvmm_mem_write(guest, cvmm_gpa_add(vq->config.avail, AVAIL_IDX),
					     op + 2, sizeof(operand));
		else
			host[operand / REGION_SIZE % 2][operand % REGION_SIZE] = op[1];
		break;
	}
}

static struct cvmm_virtq_config make_config(uint8_t size_log2, uint8_t features)
{
	bool packed = features & FEATURE_PACKED;
	uint16_t size = (uint16_t)(packed ? size_log2 % (1U << SIZE_LOG2_MAX) + 1
					  : 1U << (size_log2 % (SIZE_LOG2_MAX + 1)));
	uint64_t desc = features & LAYOUT_HIGH ? REGION_SIZE : 0;
	uint64_t avail = desc + (uint64_t)size * DESC_SIZE;
	uint64_t avail_len = packed ? PACKED_EVENT_SIZE : avail_entry_at(size) + EVENT_SIZE;
	uint64_t used = (avail + avail_len + 3) & ~UINT64_C(3);

	return (struct cvmm_virtq_config){
		.size = size,
		.desc = { desc },
		.avail = { avail },
		.used = { features & LAYOUT_OVERLAP ? desc : used },
		.packed = packed,
		.in_order = features & FEATURE_IN_ORDER,
		.event_idx = features & FEATURE_EVENT_IDX,
		.indirect = features & FEATURE_INDIRECT,
	};
}

static void fill_guest(const uint8_t *data, size_t size)
{
	for (unsigned int i = 0; i < REGIONS; i++)
		memset(host[i], 0, REGION_SIZE);
	for (size_t at = 0; at < size && at < RAM_SIZE; at++)
		host[at / REGION_SIZE][at % REGION_SIZE] = data[at];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cvmm_virtq_config config;
	size_t steps, iov_max, pops = 0;
	struct cvmm_virtq vq;
	uint16_t head = 0;

	if (!guest)
		make_guest();
	if (size < HEADER_SIZE)
		return 0;
	config = make_config(data[0], data[1]);
	iov_max = data[2] % IOV_COUNT + 1;
	steps = data[3];
	if (steps > (size - HEADER_SIZE) / STEP_SIZE)
		steps = (size - HEADER_SIZE) / STEP_SIZE;
	fill_guest(data + HEADER_SIZE + steps * STEP_SIZE, size - HEADER_SIZE - steps * STEP_SIZE);

	CVMM_BUG_ON(cvmm_virtq_init(&vq, 1U << SIZE_LOG2_MAX));
	fill_iotlb();
	if (data[1] & POLICY)
		cvmm_virtq_set_policy(&vq, policy, (void *)(uintptr_t)&data[2]);
	CVMM_BUG_ON(cvmm_virtq_start(&vq, data[1] & SLOW ? guest_behind : guest, &config, NULL));
	for (size_t i = 0; i < steps; i++) {
		step(&vq, iov_max, data + HEADER_SIZE + i * STEP_SIZE, &head);
		check_books(&vq);
	}
	while (pops++ < POPS_MAX && pop_one(&vq, iov_max, &head))
		cvmm_virtq_push(&vq, head, 0);
	check_books(&vq);
	cvmm_virtq_fini(&vq);
	return 0;
}
