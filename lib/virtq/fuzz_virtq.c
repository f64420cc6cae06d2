// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Feeds a queue with guest memory that is the input: rings, tables and buffers, placed where the
 * input says, and rewritten between the device's steps. The device touches every byte of every
 * buffer that it is given, which rewrites the rings wherever the buffers overlap them.
 *
 *   byte 0      log2 of the queue size
 *   byte 1      features and layout
 *   byte 2      iovecs that the device has
 *   byte 3      number of steps
 *   steps       4 bytes each: operation, operand, operand of 16 bits
 *   the rest    guest memory from address 0 on
 */
#include <errno.h>
#include <stdlib.h>

#include "virtq_internal.h"

#define HEADER_SIZE 4U
#define STEP_SIZE 4U
#define REGION_SIZE 4096U
#define REGIONS 3U /* 0 and 1 are adjacent; 2 is behind a hole and read-only */
#define RAM_SIZE (2 * REGION_SIZE)
#define SIZE_LOG2_MAX 6U
#define IOV_COUNT 80U

enum {
	FEATURE_EVENT_IDX = 1,
	FEATURE_INDIRECT = 2,
	LAYOUT_HIGH = 4,
	LAYOUT_OVERLAP = 8
};

static uint8_t *host[REGIONS];
static struct cvmm_mem *guest;
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

/* Return: whether a chain was popped; its head is in *ret_head. */
static bool pop_one(struct cvmm_virtq *vq, size_t iov_max, uint16_t *ret_head)
{
	struct iovec *iov = malloc(iov_max * sizeof(*iov));
	struct cvmm_virtq_chain chain;
	bool was_broken = cvmm_virtq_violation(vq);
	int ret;

	CVMM_BUG_ON(!iov);
	ret = cvmm_virtq_pop(vq, iov, iov_max, &chain);
	CVMM_BUG_ON(ret != 0 && ret != 1 && ret != -EPROTO);
	CVMM_BUG_ON((ret == -EPROTO) != (cvmm_virtq_violation(vq) != CVMM_VIRTQ_OK));
	CVMM_BUG_ON(was_broken && ret != -EPROTO);
	if (ret == 1) {
		CVMM_BUG_ON(chain.head >= vq->size);
		CVMM_BUG_ON((size_t)chain.readable_count + chain.writable_count > iov_max);
		check_pieces(chain.readable, chain.readable_count, chain.readable_bytes, false);
		check_pieces(chain.writable, chain.writable_count, chain.writable_bytes, true);
		*ret_head = chain.head;
	}
	free(iov);
	return ret == 1;
}

static void step(struct cvmm_virtq *vq, size_t iov_max, const uint8_t *op, uint16_t *head)
{
	uint16_t operand = cvmm_get_le16(op + 2);
	struct cvmm_virtq_used used[2] = { { *head, operand }, { op[1], operand } };

	switch (op[0] % 9) {
	case 0:
	case 1:
		pop_one(vq, iov_max, head);
		break;
	case 2:
		if (pop_one(vq, iov_max, head))
			CVMM_BUG_ON(cvmm_virtq_push(vq, *head, 0));
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
	default:
		/* The driver: another available index, or a byte anywhere. */
		if (op[1] & 1)
			cvmm_put_le16((uint8_t *)(uintptr_t)vq->driver_area + AVAIL_IDX, operand);
		else
			host[operand / REGION_SIZE % 2][operand % REGION_SIZE] = op[1];
		break;
	}
}

static struct cvmm_virtq_config make_config(uint8_t size_log2, uint8_t features)
{
	uint16_t size = (uint16_t)(1U << (size_log2 % (SIZE_LOG2_MAX + 1)));
	uint64_t desc = features & LAYOUT_HIGH ? REGION_SIZE : 0;
	uint64_t avail = desc + (uint64_t)size * DESC_SIZE;
	uint64_t used = (avail + avail_entry_at(size) + EVENT_SIZE + 3) & ~UINT64_C(3);

	return (struct cvmm_virtq_config){
		.size = size,
		.desc = { desc },
		.avail = { avail },
		.used = { features & LAYOUT_OVERLAP ? desc : used },
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
	size_t steps, iov_max;
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
	CVMM_BUG_ON(cvmm_virtq_start(&vq, guest, &config, NULL));
	for (size_t i = 0; i < steps; i++)
		step(&vq, iov_max, data + HEADER_SIZE + i * STEP_SIZE, &head);
	while (pop_one(&vq, iov_max, &head))
		cvmm_virtq_push(&vq, head, 0);
	cvmm_virtq_fini(&vq);
	return 0;
}
