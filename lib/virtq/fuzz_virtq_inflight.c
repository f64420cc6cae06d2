// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * A device that dies and comes back over an inflight region. The region and the guest's memory are the
 * input, and the input rewrites both between the device's steps: neither the front-end nor the guest is
 * to be believed.
 *
 * Whatever the region says, recovering twice must give the same chains as recovering once. If the region
 * began as zeros and nobody but the queue wrote to it, then what is recovered are the chains that were in
 * flight, in the order in which they were popped.
 *
 *   byte 0      log2 of the queue size; packed: the size
 *   byte 1      features, and what the device does about the memory and about bad chains
 *   byte 2      iovecs that the device has
 *   byte 3      number of steps
 *   byte 4      the region: see below
 *   byte 5      which violations fail their chain only
 *   bytes 6, 7  where the queue is started: the next available and, packed, the next used
 *   steps       4 bytes each: operation, operand, operand of 16 bits
 *   region      as many bytes as it has, unless it begins as zeros
 *   the rest    guest memory from address 0 on
 */
#include <errno.h>
#include <stdlib.h>

#include <cvmm/mem_iommu.h>

#include "virtq_internal.h"

#define HEADER_SIZE 8U
#define STEP_SIZE 4U
#define REGION_SIZE 4096U
#define REGIONS 3U /* 0 and 1 are adjacent; 2 is behind a hole and read-only */
#define RAM_SIZE (2 * REGION_SIZE)
#define SIZE_LOG2_MAX 6U
#define QUEUE_SIZE_MAX (1U << SIZE_LOG2_MAX)
#define IOV_COUNT 80U
#define STEP_KINDS 14U
#define BATCH_MAX 4U

/* Of the region, as the standard has it: vhost-user, "Inflight I/O tracking". */
#define VERSION_AT 8U
#define DESC_NUM_AT 10U
#define FREE_HEAD_AT 12U
#define SPLIT_ENTRIES 16U
#define PACKED_ENTRIES 32U
#define ENTRY_NEXT 2U
#define ENTRY_LAST 4U
#define ENTRY_NUM 6U
#define ENTRY_COUNTER 8U
#define ENTRY_ID 16U

enum {
	FEATURE_PACKED = 1,
	FEATURE_EVENT_IDX = 2,
	FEATURE_INDIRECT = 4,
	FEATURE_IN_ORDER = 8,
	POLICY = 16,
	SLOW = 32, /* behind an IOMMU that changes no address */
};

enum {
	REGION_NEW = 1,	       /* begins as zeros */
	REGION_KNOWN = 2,      /* its version and size are right, whatever the input has */
	REGION_SHORT = 4,      /* is tried one byte too short first */
	REGION_MISALIGNED = 8, /* is tried at an odd place first */
	BASE_AVAIL_WRAP = 16,
	BASE_USED_WRAP = 32,
};

/**
 * struct again - chains that came again, up to the first that did not
 * @end: what ended them
 */
struct again {
	struct {
		uint32_t bytes;
		uint16_t head;
		uint16_t descs;
	} chains[QUEUE_SIZE_MAX];
	size_t count;
	int end;
};

/**
 * struct device - what dies and comes back
 * @region: exactly as many bytes as there must be
 * @is_clean: nobody but the queue has written to the region
 * @is_tracked: the queue took the region
 */
struct device {
	struct cvmm_virtq vq;
	struct cvmm_virtq_config config;
	struct cvmm_virtq_base base;
	struct cvmm_mem *mem;
	uint8_t *region;
	size_t region_bytes;
	size_t iov_max;
	bool is_clean;
	bool is_tracked;
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

static void fill_guest(const uint8_t *data, size_t size)
{
	for (unsigned int i = 0; i < REGIONS; i++)
		memset(host[i], 0, REGION_SIZE);
	for (size_t at = 0; at < size && at < RAM_SIZE; at++)
		host[at / REGION_SIZE][at % REGION_SIZE] = data[at];
	cvmm_iotlb_invalidate_all(iotlb);
	CVMM_BUG_ON(cvmm_iotlb_set(iotlb, 0, UINT64_MAX, 0, CVMM_ACCESS_READ_WRITE));
}

static bool policy(void *ctx, enum cvmm_virtq_violation violation)
{
	const uint8_t *mask = ctx;

	CVMM_BUG_ON(violation == CVMM_VIRTQ_OK || violation == CVMM_VIRTQ_BAD_AREA);
	return *mask >> violation % 8 & 1;
}

/* ---- what must hold ------------------------------------------------------------------------- */

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

/* Which calls can fail because of what the driver did, or the IOMMU. */
static bool is_expected(const struct cvmm_virtq *vq, int ret)
{
	if (ret == -EAGAIN)
		return vq->mem == guest_behind;
	return !ret || (ret == -EPROTO && cvmm_virtq_violation(vq) != CVMM_VIRTQ_OK);
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

static void check_pieces(const struct iovec *iov, size_t count, uint32_t bytes, bool writable,
			 bool touch)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++) {
		CVMM_BUG_ON(!iov[i].iov_len || !is_in_guest(&iov[i], writable));
		sum += iov[i].iov_len;
		if (writable && touch)
			memset(iov[i].iov_base, (int)i + 1, iov[i].iov_len);
	}
	CVMM_BUG_ON(sum != bytes);
}

static void check_chain(const struct cvmm_virtq *vq, const struct cvmm_virtq_chain *chain,
			bool touch)
{
	CVMM_BUG_ON(chain->head >= vq->size || !vq->slots[chain->head].descs);
	check_pieces(chain->readable, chain->readable_count, chain->readable_bytes, false, touch);
	check_pieces(chain->writable, chain->writable_count, chain->writable_bytes, true, touch);
}

/* ---- the region, read by who only knows the standard ---------------------------------------- */

static uint8_t *entry_at(const struct device *dev, uint32_t i)
{
	size_t len = dev->config.packed ? PACKED_ENTRIES : SPLIT_ENTRIES;

	return dev->region + len + i * len; /* the header is as long as an entry */
}

/* The head or buffer id of the chain whose first entry is @i. */
static uint16_t head_of(const struct device *dev, uint32_t i)
{
	if (!dev->config.packed)
		return (uint16_t)i;
	return cvmm_get_le16(entry_at(dev, cvmm_get_le16(entry_at(dev, i) + ENTRY_LAST)) +
			     ENTRY_ID);
}

/* The heads of a clean region's chains, in order. Return: how many. */
static size_t heads_of_region(const struct device *dev, uint16_t heads[QUEUE_SIZE_MAX])
{
	uint64_t counters[QUEUE_SIZE_MAX];
	size_t count = 0;

	for (uint32_t i = 0; i < dev->config.size; i++) {
		uint64_t counter = cvmm_get_le64(entry_at(dev, i) + ENTRY_COUNTER);
		size_t at = count;

		if (!entry_at(dev, i)[0])
			continue;
		for (; at && counters[at - 1] > counter; at--) {
			counters[at] = counters[at - 1];
			heads[at] = heads[at - 1];
		}
		counters[at] = counter;
		heads[at] = head_of(dev, i);
		count++;
	}
	return count;
}

/*
 * The newest chains that the queue has in flight, the newest last: older pops than its ring remembers are
 * not known. Return: how many.
 */
static size_t heads_in_flight(const struct cvmm_virtq *vq, uint16_t heads[QUEUE_SIZE_MAX])
{
	bool seen[QUEUE_SIZE_MAX] = { false };
	size_t count = 0;

	for (uint32_t i = 1; i <= vq->max_size && count < vq->in_flight; i++) {
		uint16_t head = vq->popped[popped_slot(vq, vq->pops - i)];

		if (head >= vq->size || !vq->slots[head].descs || seen[head])
			continue;
		seen[head] = true;
		memmove(heads + 1, heads, count++ * sizeof(heads[0]));
		heads[0] = head;
	}
	return count;
}

/* Every entry of a packed region that was taken over is of one chain, or free. */
static void check_free_entries(const struct device *dev)
{
	uint32_t free_entries = 0, taken = 0;
	uint16_t i = cvmm_get_le16(dev->region + FREE_HEAD_AT);

	for (; i < dev->config.size && free_entries <= dev->config.size; free_entries++)
		i = cvmm_get_le16(entry_at(dev, i) + ENTRY_NEXT);
	for (i = 0; i < dev->config.size; i++)
		if (entry_at(dev, i)[0] == 1)
			taken += cvmm_get_le16(entry_at(dev, i) + ENTRY_NUM);
	CVMM_BUG_ON(free_entries + taken != dev->config.size);
}

/* ---- dying and coming back ------------------------------------------------------------------ */

/* Return: of cvmm_virtq_set_inflight(). */
static int start(struct device *dev)
{
	struct cvmm_error err = { 0 };
	struct cvmm_virtq_base before;
	int ret;

	cvmm_virtq_stop(&dev->vq);
	/* Of split rings only the next available entry is told to who comes next. */
	if (!dev->config.packed)
		CVMM_BUG_ON(cvmm_mem_load_u16(guest, cvmm_gpa_add(dev->config.used, USED_IDX),
					      __ATOMIC_RELAXED, &dev->base.next_used));
	CVMM_BUG_ON(cvmm_virtq_start_at(&dev->vq, dev->mem, &dev->config, &dev->base, NULL));
	before = cvmm_virtq_base(&dev->vq);
	ret = cvmm_virtq_set_inflight(&dev->vq, dev->region, dev->region_bytes, &err);
	dev->is_tracked = !ret;
	if (ret) {
		struct cvmm_virtq_base now = cvmm_virtq_base(&dev->vq);

		CVMM_BUG_ON(ret != -EINVAL && !(ret == -EAGAIN && dev->mem == guest_behind));
		CVMM_BUG_ON(err.code != ret || !err.message[0]);
		CVMM_BUG_ON(now.next_avail != before.next_avail ||
			    now.next_used != before.next_used);
		dev->is_clean = false;
	} else if (dev->config.packed) {
		check_free_entries(dev);
	}
	check_books(&dev->vq);
	return ret;
}

/* All chains that come again, if none of them is given back meanwhile. */
static void pop_again(struct device *dev, struct again *again)
{
	struct iovec iov[IOV_COUNT];
	struct cvmm_virtq_chain chain;
	int ret = 0;

	memset(again, 0, sizeof(*again));
	while (cvmm_virtq_inflight_has_more(&dev->vq)) {
		ret = cvmm_virtq_pop(&dev->vq, iov, dev->iov_max, &chain);
		CVMM_BUG_ON(ret != 1 && !is_expected(&dev->vq, ret));
		if (ret <= 0)
			break;
		check_chain(&dev->vq, &chain, false);
		check_books(&dev->vq);
		CVMM_BUG_ON(again->count == dev->config.size);
		again->chains[again->count].head = chain.head;
		again->chains[again->count].descs = dev->vq.slots[chain.head].descs;
		again->chains[again->count++].bytes = chain.writable_bytes;
	}
	again->end = ret;
}

static bool are_same(const struct again *a, const struct again *b)
{
	return a->count == b->count && a->end == b->end &&
	       !memcmp(a->chains, b->chains, a->count * sizeof(a->chains[0]));
}

static uint8_t *copy_of_region(const struct device *dev)
{
	uint8_t *copy = malloc(dev->region_bytes);

	CVMM_BUG_ON(!copy);
	memcpy(copy, dev->region, dev->region_bytes);
	return copy;
}

/* Comes back three times over what is there. */
static void come_back(struct device *dev)
{
	struct again first, second;
	int ret = start(dev);
	uint8_t *before;

	/* What a policy fails is given back, and does not come again. */
	if (dev->vq.policy)
		return;
	before = copy_of_region(dev);
	if (!ret)
		pop_again(dev, &first);
	CVMM_BUG_ON(!ret && memcmp(before, dev->region, dev->region_bytes) != 0);
	CVMM_BUG_ON(start(dev) != ret);
	CVMM_BUG_ON(!ret && memcmp(before, dev->region, dev->region_bytes) != 0);
	if (!ret) {
		pop_again(dev, &second);
		CVMM_BUG_ON(!are_same(&first, &second));
		CVMM_BUG_ON(start(dev));
	}
	free(before);
}

static void die_and_come_back(struct device *dev)
{
	struct cvmm_virtq_base before = cvmm_virtq_base(&dev->vq), after;
	uint16_t known[QUEUE_SIZE_MAX], found[QUEUE_SIZE_MAX];
	size_t known_count = heads_in_flight(&dev->vq, known), found_count;
	bool has_more = dev->is_tracked && cvmm_virtq_inflight_has_more(&dev->vq);
	uint32_t in_flight = dev->vq.in_flight;
	uint16_t used_idx;

	/* The guest may have written to what the queue is found by. */
	if (!dev->config.packed &&
	    !cvmm_mem_load_u16(guest, cvmm_gpa_add(dev->config.used, USED_IDX), __ATOMIC_RELAXED,
			       &used_idx))
		dev->is_clean &= used_idx == before.next_used;
	if (!dev->is_clean || has_more) {
		come_back(dev);
		return;
	}
	found_count = heads_of_region(dev, found);
	CVMM_BUG_ON(found_count != in_flight);
	CVMM_BUG_ON(memcmp(known, found + (found_count - known_count),
			   known_count * sizeof(known[0])) != 0);
	come_back(dev);
	if (!dev->is_clean)
		return;
	after = cvmm_virtq_base(&dev->vq);
	CVMM_BUG_ON(after.next_used != before.next_used);
	CVMM_BUG_ON(dev->config.packed &&
		    (after.next_avail != before.next_avail || after.used_wrap != before.used_wrap ||
		     after.avail_wrap != before.avail_wrap));
}

/* ---- steps ---------------------------------------------------------------------------------- */

static void pop_some(struct device *dev, uint8_t how)
{
	struct cvmm_virtq_chain chains[BATCH_MAX];
	struct iovec *iov = malloc(dev->iov_max * sizeof(*iov));
	int ret, err = 0;

	CVMM_BUG_ON(!iov);
	ret = cvmm_virtq_pop_batch(&dev->vq, iov, dev->iov_max, chains, how % BATCH_MAX + 1U);
	CVMM_BUG_ON(ret < 0 && !is_expected(&dev->vq, ret));
	check_books(&dev->vq);
	for (int i = 0; i < ret; i++)
		check_chain(&dev->vq, &chains[i], how & 64);
	for (int i = 0; i < ret && how & 32 && !err; i++)
		err = cvmm_virtq_push_chain(&dev->vq, &chains[i], chains[i].writable_bytes);
	CVMM_BUG_ON(!is_expected(&dev->vq, err));
	free(iov);
}

/* Gives chains in flight back, the first of them that is not below @from. */
static void push_some(struct device *dev, uint16_t from, uint8_t how)
{
	struct cvmm_virtq_used used[BATCH_MAX];
	size_t count = 0, wanted = how % BATCH_MAX + 1U;
	int ret;

	for (uint32_t i = 0; i < dev->vq.size && count < wanted; i++) {
		uint16_t head = (uint16_t)((from + i) % dev->vq.size);

		if (!dev->vq.slots[head].descs || dev->vq.slots[head].done)
			continue;
		used[count++] =
			(struct cvmm_virtq_used){ head, how & 32 ? dev->vq.slots[head].bytes : 0 };
	}
	if (how & 64)
		ret = cvmm_virtq_push_batch(&dev->vq, used, count);
	else
		ret = count ? cvmm_virtq_push(&dev->vq, used[0].head, used[0].len_bytes) : 0;
	CVMM_BUG_ON(!is_expected(&dev->vq, ret));
}

/* The front-end writes 1, 2, 4 or 8 bytes of its own. */
static void write_region(struct device *dev, uint8_t how, uint16_t operand)
{
	size_t len = (size_t)1 << (how >> 6), at = operand % dev->region_bytes / len * len;
	uint64_t v = how & 63U;

	memcpy(dev->region + at, &v, len);
	dev->is_clean = false;
}

/* The driver makes one chain of a descriptor available, behind what it made available before. */
static void make_available(struct device *dev, uint8_t id_byte, uint16_t operand)
{
	const struct cvmm_virtq_config *c = &dev->config;
	uint16_t id = (uint16_t)(id_byte % c->size);
	uint16_t flags = (operand & 1 ? CVMM_VIRTQ_DESC_F_WRITE : 0), idx = 0;
	uint8_t desc[DESC_SIZE] = { 0 };
	uint64_t addr = RAM_SIZE / 2 + (operand >> 4);

	cvmm_put_le64(desc, addr);
	cvmm_put_le32(desc + PACKED_REST, operand & 14);
	if (c->packed) {
		uint16_t at = (uint16_t)((dev->vq.next_avail + (operand >> 1 & 1)) % c->size);

		flags |= dev->vq.avail_wrap ? CVMM_VIRTQ_DESC_F_AVAIL : CVMM_VIRTQ_DESC_F_USED;
		flags |= operand & 8 ? CVMM_VIRTQ_DESC_F_NEXT : 0;
		cvmm_put_le16(desc + PACKED_ID, id);
		cvmm_put_le16(desc + PACKED_FLAGS, flags);
		(void)cvmm_mem_write(guest, cvmm_gpa_add(c->desc, (uint64_t)at * DESC_SIZE), desc,
				     sizeof(desc));
		return;
	}
	cvmm_put_le16(desc + PACKED_ID, flags);
	(void)cvmm_mem_write(guest, cvmm_gpa_add(c->desc, (uint64_t)id * DESC_SIZE), desc,
			     sizeof(desc));
	(void)cvmm_mem_load_u16(guest, cvmm_gpa_add(c->avail, AVAIL_IDX), __ATOMIC_RELAXED, &idx);
	(void)cvmm_mem_store_u16(guest, cvmm_gpa_add(c->avail, avail_entry_at(idx % c->size)),
				 __ATOMIC_RELAXED, id);
	(void)cvmm_mem_store_u16(guest, cvmm_gpa_add(c->avail, AVAIL_IDX), __ATOMIC_RELAXED,
				 (uint16_t)(idx + 1));
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

static void step(struct device *dev, const uint8_t *op)
{
	uint16_t operand = cvmm_get_le16(op + 2);
	struct cvmm_virtq *vq = &dev->vq;

	switch (op[0] % STEP_KINDS) {
	case 0:
	case 1:
	case 2:
		pop_some(dev, op[1]);
		break;
	case 3:
	case 4:
		push_some(dev, operand, op[1]);
		break;
	case 5:
		(void)cvmm_virtq_rewind(vq, vq->popped[popped_slot(vq, vq->pops - 1U)]);
		break;
	case 6:
		(void)cvmm_virtq_should_notify(vq);
		cvmm_virtq_disable_notifications(vq);
		(void)cvmm_virtq_enable_notifications(vq);
		break;
	case 7:
	case 8:
		die_and_come_back(dev);
		break;
	case 9:
		write_region(dev, op[1], operand);
		break;
	case 10:
		host[operand / REGION_SIZE % 2][operand % REGION_SIZE] = op[1];
		break;
	case 11:
		change_iotlb(operand);
		break;
	default:
		make_available(dev, op[1], operand);
		break;
	}
	check_books(vq);
}

/* ---- the beginning -------------------------------------------------------------------------- */

static struct cvmm_virtq_config make_config(uint8_t size_byte, uint8_t features)
{
	bool packed = features & FEATURE_PACKED;
	uint16_t size = (uint16_t)(packed ? size_byte % QUEUE_SIZE_MAX + 1
					  : 1U << (size_byte % (SIZE_LOG2_MAX + 1)));
	uint64_t avail = (uint64_t)size * DESC_SIZE;
	uint64_t avail_len = packed ? PACKED_EVENT_SIZE : avail_entry_at(size) + EVENT_SIZE;

	return (struct cvmm_virtq_config){
		.size = size,
		.avail = { avail },
		.used = { (avail + avail_len + 3) & ~UINT64_C(3) },
		.packed = packed,
		.in_order = features & FEATURE_IN_ORDER,
		.event_idx = features & FEATURE_EVENT_IDX,
		.indirect = features & FEATURE_INDIRECT,
	};
}

static struct cvmm_virtq_base make_base(const struct cvmm_virtq_config *config, const uint8_t *data)
{
	/* Split: near to where indices wrap. */
	return (struct cvmm_virtq_base){
		.next_avail = (uint16_t)(config->packed ? data[6] % config->size : (int8_t)data[6]),
		.next_used = (uint16_t)(config->packed ? data[7] % config->size : 0),
		.avail_wrap = data[4] & BASE_AVAIL_WRAP,
		.used_wrap = data[4] & BASE_USED_WRAP,
	};
}

/* Regions that cannot be are refused without a look at what is not there. */
static void try_bad_region(struct device *dev, uint8_t how)
{
	size_t shift = how & REGION_MISALIGNED ? 4 : 0, cut = how & REGION_SHORT ? 1 : 0;
	uint8_t *copy;

	if (!shift && !cut)
		return;
	copy = malloc(dev->region_bytes - cut + shift);
	CVMM_BUG_ON(!copy);
	memcpy(copy + shift, dev->region, dev->region_bytes - cut);
	CVMM_BUG_ON(cvmm_virtq_start_at(&dev->vq, dev->mem, &dev->config, &dev->base, NULL));
	CVMM_BUG_ON(cvmm_virtq_set_inflight(&dev->vq, copy + shift, dev->region_bytes - cut,
					    NULL) != -EINVAL);
	CVMM_BUG_ON(memcmp(copy + shift, dev->region, dev->region_bytes - cut) != 0);
	cvmm_virtq_stop(&dev->vq);
	free(copy);
}

/* Return: how many bytes of the input became the region. */
static size_t make_region(struct device *dev, uint8_t how, const uint8_t *data, size_t size)
{
	size_t used = 0;

	dev->region_bytes = (size_t)cvmm_virtq_inflight_bytes(dev->config.size, dev->config.packed);
	dev->region = calloc(1, dev->region_bytes);
	CVMM_BUG_ON(!dev->region);
	dev->is_clean = how & REGION_NEW;
	if (!dev->is_clean) {
		used = size < dev->region_bytes ? size : dev->region_bytes;
		memcpy(dev->region, data, used);
		if (how & REGION_KNOWN) {
			cvmm_put_le16(dev->region + VERSION_AT, 1);
			cvmm_put_le16(dev->region + DESC_NUM_AT, dev->config.size);
		}
	}
	return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct device dev = { 0 };
	const uint8_t *steps = data + HEADER_SIZE;
	size_t count, at;

	if (!guest)
		make_guest();
	if (size < HEADER_SIZE)
		return 0;
	dev.mem = data[1] & SLOW ? guest_behind : guest;
	dev.config = make_config(data[0], data[1]);
	dev.base = make_base(&dev.config, data);
	dev.iov_max = data[2] % IOV_COUNT + 1U;
	count = data[3];
	if (count > (size - HEADER_SIZE) / STEP_SIZE)
		count = (size - HEADER_SIZE) / STEP_SIZE;
	at = HEADER_SIZE + count * STEP_SIZE;
	at += make_region(&dev, data[4], data + at, size - at);
	fill_guest(data + at, size - at);

	CVMM_BUG_ON(cvmm_virtq_init(&dev.vq, QUEUE_SIZE_MAX));
	if (data[1] & POLICY)
		cvmm_virtq_set_policy(&dev.vq, policy, (void *)(uintptr_t)&data[5]);
	try_bad_region(&dev, data[4]);
	come_back(&dev);
	for (size_t i = 0; i < count; i++)
		step(&dev, steps + i * STEP_SIZE);
	die_and_come_back(&dev);
	cvmm_virtq_fini(&dev.vq);
	free(dev.region);
	return 0;
}
