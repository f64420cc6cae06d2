// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: the three areas of a queue are translated once, at start, and stay valid
 * because the queue holds a reference to the map. After that the driver and we share four fields,
 * and their memory order is all the synchronisation that there is:
 *
 * avail.idx    loaded with acquire: entries and descriptors below it are then visible to us.
 *   used.idx     stored with release: what we wrote, in buffers and in the used ring, is visible to
 *   the driver before the index that hands it over. used_event, avail.flags read after a full fence
 *   behind the store of used.idx. The driver stores them, fences, and reads used.idx. One of the
 *   two sees the other's store: no notification is lost. avail_event, used.flags the same,
 *   mirrored, against avail.idx.
 *
 * Indices run freely over 16 bits; their low bits are the place in the ring. avail.idx is read only
 * when everything up to the last value that was read (avail_seen) has been popped.
 *
 * A head is in flight from pop to push. The map of those heads catches a driver that makes a chain
 * available twice, and a device that gives back what it does not have. The ring of popped heads
 * says which chain a rewind would undo without asking guest memory.
 *
 * Spec: VIRTIO 1.3, 2.7.
 */
#include <errno.h>
#include <stdlib.h>

#include "virtq_internal.h"

_Static_assert(offsetof(struct cvmm_virtq, max_size) == 64, "the hot fields are one cache line");

/* A whole turn of the index: from here on a notification is due, whatever used_event says. */
#define UNSIGNALLED_MAX (UINT32_C(1) << 16)

static void full_fence(void)
{
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan" /* the sanitizer does not model fences, and says so */
#endif
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
}

/* ---- names --------------------------------------------------------------------------------- */

static const char *const violation_names[CVMM_VIRTQ_VIOLATION_COUNT] = {
	[CVMM_VIRTQ_OK] = "no violation",
	[CVMM_VIRTQ_BAD_AVAIL_INDEX] = "available index jumps by more than the queue size",
	[CVMM_VIRTQ_BAD_HEAD] = "available ring names a descriptor outside the table",
	[CVMM_VIRTQ_HEAD_IN_FLIGHT] = "descriptor chain made available again before it was used",
	[CVMM_VIRTQ_BAD_NEXT] = "next descriptor is outside the table",
	[CVMM_VIRTQ_LOOP] = "descriptor chain loops",
	[CVMM_VIRTQ_BAD_ORDER] = "readable descriptor after a writable one",
	[CVMM_VIRTQ_TOO_LONG] = "descriptor chain has too many bytes",
	[CVMM_VIRTQ_TOO_MANY_PIECES] = "descriptor chain has more buffers than the device takes",
	[CVMM_VIRTQ_BAD_BUFFER] = "buffer is not in RAM",
	[CVMM_VIRTQ_INDIRECT_NOT_NEGOTIATED] = "indirect descriptor without the feature",
	[CVMM_VIRTQ_INDIRECT_NESTED] = "indirect descriptor in an indirect table",
	[CVMM_VIRTQ_INDIRECT_WITH_NEXT] = "indirect descriptor with a next one",
	[CVMM_VIRTQ_INDIRECT_BAD_LEN] = "indirect table has no whole number of descriptors",
	[CVMM_VIRTQ_INDIRECT_TOO_LONG] = "indirect table has too many descriptors",
	[CVMM_VIRTQ_INDIRECT_BAD_ADDRESS] = "indirect table is not in RAM",
};

const char *cvmm_virtq_violation_name(enum cvmm_virtq_violation violation)
{
	if ((unsigned int)violation >= CVMM_VIRTQ_VIOLATION_COUNT)
		return "unknown violation";
	return violation_names[violation];
}

__attribute__((cold)) int cvmm_virtq_break(struct cvmm_virtq *vq,
					   enum cvmm_virtq_violation violation)
{
	vq->violation = (uint8_t)violation;
	return -EPROTO;
}

/* ---- life ---------------------------------------------------------------------------------- */

/*
 * A byte for each head. The block was made for max_size, so that there is room behind the ring of
 * any smaller size. (Bits would chain each pop and push to the one before, through the byte they
 * share.)
 */
static inline bool *in_flight_map(const struct cvmm_virtq *vq)
{
	return (bool *)(vq->popped + vq->size);
}

int cvmm_virtq_init(struct cvmm_virtq *vq, uint16_t max_size)
{
	uint16_t *popped;

	if (!cvmm_is_pow2(max_size) || max_size > CVMM_VIRTQ_SIZE_MAX)
		return -EINVAL;
	popped = calloc(max_size, sizeof(*popped) + sizeof(bool));
	if (!popped)
		return -ENOMEM;
	*vq = (struct cvmm_virtq){
		.popped = popped,
		.max_size = max_size,
	};
	return 0;
}

void cvmm_virtq_fini(struct cvmm_virtq *vq)
{
	if (!vq)
		return;
	cvmm_virtq_stop(vq);
	free(vq->popped);
	*vq = (struct cvmm_virtq){ 0 };
}

/* Translates one area. @what names it in the message. */
static int translate(const struct cvmm_mem *mem, cvmm_gpa gpa, size_t len, uint64_t align,
		     enum cvmm_access access, const char *what, void **ret_host,
		     struct cvmm_error *err)
{
	void *host;

	if (gpa.addr % align)
		return cvmm_fail(err, -EINVAL, "virtqueue: %s at 0x%llx is not aligned to %llu",
				 what, (unsigned long long)gpa.addr, (unsigned long long)align);
	host = cvmm_mem_ptr(mem, gpa, len, access);
	if (!host)
		return cvmm_fail(err, -EINVAL,
				 "virtqueue: %s of %zu bytes at 0x%llx is not in one region of RAM",
				 what, len, (unsigned long long)gpa.addr);
	*ret_host = host;
	return 0;
}

int cvmm_virtq_start(struct cvmm_virtq *vq, struct cvmm_mem *mem,
		     const struct cvmm_virtq_config *config, struct cvmm_error *err)
{
	struct cvmm_virtq_config c = *config;
	void *desc, *avail, *used;
	int ret;

	if (vq->started)
		return cvmm_fail(err, -EINVAL, "virtqueue: started already; stop it first");
	if (!cvmm_is_pow2(c.size) || c.size > vq->max_size)
		return cvmm_fail(err, -EINVAL,
				 "virtqueue: size %u is not a power of two from 1 to %u", c.size,
				 vq->max_size);
	ret = translate(mem, c.desc, (size_t)c.size * DESC_SIZE, DESC_ALIGN, CVMM_ACCESS_READ,
			"descriptor table", &desc, err);
	if (!ret)
		ret = translate(mem, c.avail, avail_entry_at(c.size) + EVENT_SIZE, AVAIL_ALIGN,
				CVMM_ACCESS_READ, "available ring", &avail, err);
	if (!ret)
		ret = translate(mem, c.used, used_entry_at(c.size) + EVENT_SIZE, USED_ALIGN,
				CVMM_ACCESS_WRITE, "used ring", &used, err);
	if (ret)
		return ret;

	*vq = (struct cvmm_virtq){
		.desc_ring = desc,
		.avail_ring = avail,
		.used_ring = used,
		.mem = cvmm_mem_ref(mem),
		.popped = vq->popped,
		.size = c.size,
		.event_idx = c.event_idx,
		.indirect = c.indirect,
		.started = true,
		.max_size = vq->max_size,
		.config = c,
	};
	memset(in_flight_map(vq), 0, c.size * sizeof(bool));
	return 0;
}

void cvmm_virtq_stop(struct cvmm_virtq *vq)
{
	cvmm_mem_unref(vq->mem);
	*vq = (struct cvmm_virtq){
		.popped = vq->popped,
		.max_size = vq->max_size,
	};
}

/* Return: 0; -EINVAL if not started; -EPROTO if broken. */
static inline int check_usable(const struct cvmm_virtq *vq)
{
	if (CVMM_UNLIKELY(!vq->started))
		return -EINVAL;
	if (CVMM_UNLIKELY(vq->violation))
		return -EPROTO;
	return 0;
}

/* ---- heads in flight ----------------------------------------------------------------------- */

/* Takes a head that the device gives back. Return: whether it was in flight. */
static inline bool in_flight_take(struct cvmm_virtq *vq, uint16_t head)
{
	if (CVMM_UNLIKELY(head >= vq->size || !in_flight_map(vq)[head]))
		return false;
	in_flight_map(vq)[head] = false;
	return true;
}

static inline uint32_t ring_slot(const struct cvmm_virtq *vq, uint16_t index)
{
	return index & (vq->size - 1U);
}

/* ---- taking chains ------------------------------------------------------------------------- */

/* Looks for new entries. Return: 1 if there are any, 0, or -EPROTO. */
static inline int refresh_avail(struct cvmm_virtq *vq)
{
	uint16_t idx = ring_load(vq->avail_ring, AVAIL_IDX, __ATOMIC_ACQUIRE);

	if (idx == vq->next_avail)
		return 0;
	if (CVMM_UNLIKELY((uint16_t)(idx - vq->next_avail) > vq->size))
		return cvmm_virtq_break(vq, CVMM_VIRTQ_BAD_AVAIL_INDEX);
	vq->avail_seen = idx;
	return 1;
}

int cvmm_virtq_pop(struct cvmm_virtq *vq, struct iovec *iov, size_t iov_max,
		   struct cvmm_virtq_chain *ret_chain)
{
	uint32_t slot;
	uint16_t head;
	int ret;

	ret = check_usable(vq);
	if (CVMM_UNLIKELY(ret))
		return ret;
	if (vq->next_avail == vq->avail_seen) {
		ret = refresh_avail(vq);
		if (ret <= 0)
			return ret;
	}
	slot = ring_slot(vq, vq->next_avail);
	head = ring_load(vq->avail_ring, avail_entry_at(slot), __ATOMIC_RELAXED);
	if (CVMM_UNLIKELY(head >= vq->size))
		return cvmm_virtq_break(vq, CVMM_VIRTQ_BAD_HEAD);
	if (CVMM_UNLIKELY(in_flight_map(vq)[head]))
		return cvmm_virtq_break(vq, CVMM_VIRTQ_HEAD_IN_FLIGHT);
	ret = cvmm_virtq_chain_gather(vq, head, iov, iov_max, ret_chain);
	if (CVMM_UNLIKELY(ret))
		return ret;
	in_flight_map(vq)[head] = true;
	vq->popped[slot] = head;
	vq->next_avail++;
	return 1;
}

int cvmm_virtq_rewind(struct cvmm_virtq *vq, uint16_t head)
{
	uint16_t index = (uint16_t)(vq->next_avail - 1);
	int ret = check_usable(vq);

	if (ret)
		return ret;
	/* A stale entry of the ring cannot match: its head would have to be in flight. */
	if (vq->popped[ring_slot(vq, index)] != head || !in_flight_take(vq, head))
		return -EINVAL;
	vq->next_avail = index;
	return 0;
}

/* ---- giving chains back -------------------------------------------------------------------- */

/* Writes one element; the driver does not look at it before publish_used(). */
static inline void put_used(struct cvmm_virtq *vq, uint16_t index, uint16_t head,
			    uint32_t len_bytes)
{
	uint8_t *element = vq->used_ring + used_entry_at(ring_slot(vq, index));

	cvmm_put_le32(element, head);
	cvmm_put_le32(element + sizeof(uint32_t), len_bytes);
}

/* @count is at most the queue size. */
static inline void publish_used(struct cvmm_virtq *vq, uint32_t count)
{
	vq->next_used = (uint16_t)(vq->next_used + count);
	vq->unsignalled += count;
	if (CVMM_UNLIKELY(vq->unsignalled > UNSIGNALLED_MAX))
		vq->unsignalled = UNSIGNALLED_MAX;
	ring_store(vq->used_ring, USED_IDX, vq->next_used, __ATOMIC_RELEASE);
}

int cvmm_virtq_push(struct cvmm_virtq *vq, uint16_t head, uint32_t len_bytes)
{
	int ret = check_usable(vq);

	if (CVMM_UNLIKELY(ret))
		return ret;
	if (CVMM_UNLIKELY(!in_flight_take(vq, head)))
		return -EINVAL;
	put_used(vq, vq->next_used, head, len_bytes);
	publish_used(vq, 1);
	return 0;
}

int cvmm_virtq_push_batch(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used, size_t count)
{
	int ret = check_usable(vq);
	size_t i;

	if (ret)
		return ret;
	/* A head that occurs twice is refused like any other that is not in flight. */
	for (i = 0; i < count && in_flight_take(vq, used[i].head); i++)
		;
	if (i < count) {
		while (i)
			in_flight_map(vq)[used[--i].head] = true;
		return -EINVAL;
	}
	for (i = 0; i < count; i++)
		put_used(vq, (uint16_t)(vq->next_used + i), used[i].head, used[i].len_bytes);
	if (count)
		publish_used(vq, (uint32_t)count);
	return 0;
}

/* ---- notifications ------------------------------------------------------------------------- */

/*
 * Whether the index that the driver waits for, @event, is among the last @count that were published
 * before @next: the rule of 2.7.7.2 for all of them at once.
 */
static inline bool event_passed(uint16_t event, uint16_t next, uint32_t count)
{
	return (uint16_t)(next - event - 1) < count;
}

bool cvmm_virtq_should_notify(struct cvmm_virtq *vq)
{
	uint32_t count = vq->unsignalled;
	uint16_t event;

	if (check_usable(vq) || !count)
		return false;
	vq->unsignalled = 0;
	full_fence();
	if (vq->event_idx) {
		event = ring_load(vq->avail_ring, avail_entry_at(vq->size), __ATOMIC_RELAXED);
		return event_passed(event, vq->next_used, count);
	}
	return !(ring_load(vq->avail_ring, AVAIL_FLAGS, __ATOMIC_RELAXED) &
		 CVMM_VIRTQ_AVAIL_F_NO_INTERRUPT);
}

void cvmm_virtq_disable_notifications(struct cvmm_virtq *vq)
{
	/* With EVENT_IDX the event index stays behind, which says the same; the flags must be 0. */
	if (check_usable(vq) || vq->event_idx)
		return;
	ring_store(vq->used_ring, USED_FLAGS, CVMM_VIRTQ_USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
}

bool cvmm_virtq_enable_notifications(struct cvmm_virtq *vq)
{
	if (check_usable(vq))
		return false;
	if (vq->event_idx)
		ring_store(vq->used_ring, used_entry_at(vq->size), vq->next_avail,
			   __ATOMIC_RELAXED);
	else
		ring_store(vq->used_ring, USED_FLAGS, 0, __ATOMIC_RELAXED);
	full_fence();
	/* Nothing is taken from what this index covers: pop loads it again, with acquire. */
	return ring_load(vq->avail_ring, AVAIL_IDX, __ATOMIC_RELAXED) != vq->next_avail;
}
