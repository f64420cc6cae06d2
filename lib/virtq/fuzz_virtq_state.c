// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Restores a queue from a saved state that is the input, over guest memory that is the input, too.
 * What was restored must be saved as the same bytes, go on as any other queue, and be saved and
 * restored again once its chains have come back.
 *
 *   byte 0      of the map: behind an IOMMU, with a dirty bitmap, a policy
 *   byte 1      iovecs that the device has
 *   48 bytes    struct cvmm_virtq_state; its magic and version are set right if byte 0 says so
 *   the rest    guest memory from address 0 on
 */
#include <errno.h>
#include <stdlib.h>

#include <cvmm/mem_dirty.h>
#include <cvmm/mem_iommu.h>

#include "virtq_internal.h"

#define HEADER_SIZE 2U
#define REGION_SIZE 4096U
#define REGIONS 3U /* 0 and 1 are adjacent; 2 is behind a hole and read-only */
#define RAM_SIZE (2 * REGION_SIZE)
#define QUEUE_SIZE_MAX 64U
#define IOV_COUNT 80U
#define STEPS 96U

enum {
	SLOW = 1,   /* behind an IOMMU that changes no address */
	DIRTY = 2,  /* a bitmap marks what is written */
	POLICY = 4, /* some violations fail their chain only */
	KNOWN = 8,  /* magic and version are right, whatever the input has */
	HOLD = 16,  /* chains are held, and rewound in the end */
};

static uint8_t *host[REGIONS];
static struct cvmm_mem *guest, *guest_behind, *guest_marked;
static struct cvmm_dirty *dirty;
static const uint64_t region_gpa[REGIONS] = { 0, REGION_SIZE, 4 * REGION_SIZE };

static void make_guest(void)
{
	struct cvmm_mem_config configs[REGIONS];
	struct cvmm_iotlb *iotlb;

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
	CVMM_BUG_ON(cvmm_iotlb_set(iotlb, 0, UINT64_MAX, 0, CVMM_ACCESS_READ_WRITE));
	CVMM_BUG_ON(cvmm_dirty_create(0, UINT64_C(1) << 20, 12, &dirty, NULL));
	CVMM_BUG_ON(cvmm_mem_with_dirty(guest, dirty, &guest_marked, NULL));
}

static void fill_guest(const uint8_t *data, size_t size)
{
	for (unsigned int i = 0; i < REGIONS; i++)
		memset(host[i], 0, REGION_SIZE);
	for (size_t at = 0; at < size && at < RAM_SIZE; at++)
		host[at / REGION_SIZE][at % REGION_SIZE] = data[at];
}

static bool policy(void *ctx, enum cvmm_virtq_violation violation)
{
	const uint8_t *mask = ctx;

	CVMM_BUG_ON(violation == CVMM_VIRTQ_OK || violation == CVMM_VIRTQ_BAD_AREA);
	return *mask >> violation % 8 & 1;
}

static bool is_in_guest(const struct iovec *piece, bool writable)
{
	for (unsigned int i = 0; i < (writable ? 2 : REGIONS); i++) {
		uint64_t offset = (uintptr_t)piece->iov_base - (uintptr_t)host[i];

		if (offset < REGION_SIZE && piece->iov_len <= REGION_SIZE - offset)
			return true;
	}
	return false;
}

static void check_pieces(const struct iovec *iov, size_t count, uint32_t bytes, bool writable)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++) {
		CVMM_BUG_ON(!iov[i].iov_len || !is_in_guest(&iov[i], writable));
		sum += iov[i].iov_len;
		if (writable)
			memset(iov[i].iov_base, (int)i, iov[i].iov_len);
	}
	CVMM_BUG_ON(sum != bytes);
}

/* What the queue knows about itself must be possible. */
static void check_books(const struct cvmm_virtq *vq)
{
	uint32_t in_flight = 0, descs = 0;

	for (uint32_t i = 0; i < vq->size; i++) {
		in_flight += vq->slots[i].descs > 0;
		descs += vq->slots[i].descs;
	}
	CVMM_BUG_ON(in_flight != vq->in_flight || descs != vq->descs_in_use);
	CVMM_BUG_ON(in_flight > vq->size || vq->unsignalled > UNSIGNALLED_MAX);
	if (vq->config.packed)
		CVMM_BUG_ON(descs > vq->size || vq->next_avail >= vq->size ||
			    vq->next_used >= vq->size);
}

/* All of the guest is known to the IOTLB, but not the last byte that has an address. */
static bool is_expected(const struct cvmm_virtq *vq, int ret)
{
	return !ret || (ret == -EAGAIN && vq->mem == guest_behind) ||
	       (ret == -EPROTO && cvmm_virtq_violation(vq) != CVMM_VIRTQ_OK);
}

/* Return: as the pop. */
static int pop_one(struct cvmm_virtq *vq, struct iovec *iov, size_t iov_max,
		   struct cvmm_virtq_chain *chain)
{
	int ret = cvmm_virtq_pop(vq, iov, iov_max, chain);

	CVMM_BUG_ON(ret != 1 && !is_expected(vq, ret));
	check_books(vq);
	if (ret != 1)
		return ret;
	CVMM_BUG_ON(chain->head >= vq->size || !vq->slots[chain->head].descs);
	CVMM_BUG_ON((size_t)chain->readable_count + chain->writable_count > iov_max);
	check_pieces(chain->readable, chain->readable_count, chain->readable_bytes, false);
	check_pieces(chain->writable, chain->writable_count, chain->writable_bytes, true);
	return 1;
}

/* Takes chains; gives each back, or has them all in flight at once and undoes that. */
static void serve(struct cvmm_virtq *vq, size_t iov_max, bool hold)
{
	struct iovec *iov = malloc(iov_max * sizeof(*iov));
	struct cvmm_virtq_chain chain;
	uint16_t heads[STEPS];
	size_t held = 0;

	CVMM_BUG_ON(!iov);
	for (unsigned int i = 0; i < STEPS && pop_one(vq, iov, iov_max, &chain) == 1; i++) {
		heads[held++] = chain.head;
		if (!hold) {
			held--;
			CVMM_BUG_ON(!is_expected(
				vq, cvmm_virtq_push_chain(vq, &chain, chain.writable_bytes)));
		}
		if (i % 8 == 7)
			(void)cvmm_virtq_should_notify(vq);
	}
	while (held) {
		int ret = cvmm_virtq_rewind(vq, heads[--held]);

		/* Behind those there may be newer ones that the policy failed. */
		if (ret == -EINVAL && vq->policy)
			break;
		CVMM_BUG_ON(!is_expected(vq, ret));
		check_books(vq);
	}
	cvmm_virtq_disable_notifications(vq);
	(void)cvmm_virtq_enable_notifications(vq);
	(void)cvmm_virtq_should_notify(vq);
	check_books(vq);
	free(iov);
}

/* Whether the queue is one of those that are saved; then as another one it is saved the same. */
static bool check_identity(const struct cvmm_virtq *vq, struct cvmm_mem *mem)
{
	struct cvmm_virtq_state first, second;
	struct cvmm_virtq other;
	int ret = cvmm_virtq_save(vq, &first);

	CVMM_BUG_ON(ret != (vq->in_flight ? -EBUSY : 0));
	if (ret)
		return false;
	CVMM_BUG_ON(cvmm_virtq_init(&other, QUEUE_SIZE_MAX));
	CVMM_BUG_ON(cvmm_virtq_restore(&other, mem, &first, NULL));
	CVMM_BUG_ON(cvmm_virtq_save(&other, &second));
	CVMM_BUG_ON(memcmp(&first, &second, sizeof(first)) != 0);
	CVMM_BUG_ON(cvmm_virtq_violation(vq) != cvmm_virtq_violation(&other));
	cvmm_virtq_fini(&other);
	return true;
}

static void run(struct cvmm_virtq *vq, struct cvmm_mem *mem, const struct cvmm_virtq_state *state,
		size_t iov_max, bool hold)
{
	struct cvmm_virtq_state again;
	struct cvmm_error err = { 0 };
	int ret = cvmm_virtq_restore(vq, mem, state, &err);

	if (ret) {
		CVMM_BUG_ON(ret != -EINVAL && ret != -ENOTSUP);
		CVMM_BUG_ON(err.code != ret || !err.message[0] || cvmm_virtq_is_started(vq));
		CVMM_BUG_ON(cvmm_virtq_save(vq, &again) != -EINVAL);
		return;
	}
	CVMM_BUG_ON(cvmm_virtq_save(vq, &again));
	CVMM_BUG_ON(memcmp(&again, state, sizeof(again)) != 0);
	CVMM_BUG_ON(!check_identity(vq, mem));
	serve(vq, iov_max, hold);
	if (check_identity(vq, mem))
		serve(vq, iov_max, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cvmm_virtq_state state;
	struct cvmm_virtq vq;
	struct cvmm_mem *mem;

	if (!guest)
		make_guest();
	if (size < HEADER_SIZE + sizeof(state))
		return 0;
	memcpy(&state, data + HEADER_SIZE, sizeof(state));
	if (data[0] & KNOWN) {
		state.magic = cvmm_le32_from(CVMM_VIRTQ_STATE_MAGIC);
		state.version = cvmm_le16_from(CVMM_VIRTQ_STATE_VERSION);
	}
	fill_guest(data + HEADER_SIZE + sizeof(state), size - HEADER_SIZE - sizeof(state));
	mem = data[0] & SLOW ? guest_behind : data[0] & DIRTY ? guest_marked : guest;
	CVMM_BUG_ON(cvmm_virtq_init(&vq, QUEUE_SIZE_MAX));
	if (data[0] & POLICY)
		cvmm_virtq_set_policy(&vq, policy, (void *)(uintptr_t)&data[1]);
	run(&vq, mem, &state, data[1] % IOV_COUNT + 1U, data[0] & HOLD);
	cvmm_virtq_fini(&vq);
	return 0;
}
