// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The library's driver against its device, in all combinations of format and features, directly and
 * behind an IOMMU whose translations come and go. A naive model says which buffers each side must
 * get, in which order, with which bytes, and when it must hear of them.
 *
 * Guest memory is one piece for the driver. Behind the IOMMU each of its pages is a region of its
 * own, and they lie in another order.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <cvmm/mem_iommu.h>
#include <cvmm/virtq_driver.h>

#include "test_driver.h"

#define OPERATIONS 1200000U /* of all runs together */
#define WRAP_OPERATIONS 1000000U
#define PAGES 256U
#define RAM_BYTES (PAGES * TEST_PAGE)
#define SEAM (RAM_BYTES / 2)
#define RING_PAGES 8U
#define DATA_AT UINT64_C(0x21800) /* some buffers cross the seam */
#define DATA_BYTES UINT64_C(0x1800)
#define SIZE_MAX_HERE 64U
#define SEGMENTS_MAX 8U
#define SEGMENT_BYTES_MAX 700U
#define TABLE_ENTRIES 6U
#define PIECES_MAX 32U
#define PLACES_MAX 0x20000U
#define IOTLB_MAPPINGS 200U /* fewer than there are pages */

static uint8_t ram[RAM_BYTES] __attribute__((aligned(TEST_PAGE)));

struct setting {
	uint16_t size;
	bool packed;
	bool event_idx;
	bool indirect;
	bool in_order;
	bool iommu;
};

struct buffer {
	struct cvmm_virtq_segment segments[SEGMENTS_MAX];
	size_t readable;
	size_t writable;
	uint32_t readable_bytes;
	uint32_t writable_bytes;
	uint32_t descs;
	uint16_t head;
	uint32_t used_len;
	uint8_t mark; /* what the device writes into it */
};

/* Numbers of buffers, oldest first. */
struct list {
	uint16_t at[SIZE_MAX_HERE];
	size_t count;
};

struct model {
	struct setting setting;
	uint64_t random;
	struct cvmm_mem *front;
	struct cvmm_mem *back; /* what the device has */
	struct cvmm_iotlb *iotlb;
	uint16_t place_of[PAGES];
	bool asked[PAGES];
	uint32_t faults;
	struct cvmm_virtq_driver drv;
	struct cvmm_virtq vq;
	struct buffer buffers[SIZE_MAX_HERE];
	struct list idle;
	struct list ready;  /* added, not published */
	struct list avail;  /* published, not popped */
	struct list flight; /* popped, not pushed */
	struct list order;  /* popped, not given to the driver; in_order: the order to give in */
	struct list done;   /* pushed, not given: the order to give in otherwise */
	struct list used;   /* given to the driver, not taken */
	bool is_done[SIZE_MAX_HERE];
	size_t rewindable;
	struct cvmm_virtq_base base; /* what next_used was last */
	uint16_t places[PLACES_MAX]; /* used since the last decision */
	size_t place_count;
	bool device_sleeps;
	bool driver_sleeps;
	uint32_t served;
};

/* ---- lists --------------------------------------------------------------------------------- */

static void list_add(struct list *list, uint16_t i)
{
	assert_true(list->count < SIZE_MAX_HERE);
	list->at[list->count++] = i;
}

static uint16_t list_remove(struct list *list, size_t at)
{
	uint16_t i = list->at[at];

	assert_true(at < list->count);
	list->count--;
	memmove(list->at + at, list->at + at + 1, (list->count - at) * sizeof(list->at[0]));
	return i;
}

static void list_put_first(struct list *list, uint16_t i)
{
	assert_true(list->count < SIZE_MAX_HERE);
	memmove(list->at + 1, list->at, list->count++ * sizeof(list->at[0]));
	list->at[0] = i;
}

/* ---- memory -------------------------------------------------------------------------------- */

static void on_fault(void *ctx, enum cvmm_access access, const struct cvmm_iotlb_range *misses,
		     size_t miss_count, const struct cvmm_iotlb_range *fails, size_t fail_count)
{
	struct model *m = ctx;

	(void)access;
	(void)fails;
	assert_int_equal(fail_count, 0);
	for (size_t i = 0; i < miss_count; i++) {
		uint64_t first = misses[i].iova / TEST_PAGE;
		uint64_t last = (misses[i].iova + misses[i].len_bytes - 1) / TEST_PAGE;

		assert_true(last < PAGES);
		for (; first <= last; first++)
			m->asked[first] = true;
	}
	m->faults++;
}

static struct cvmm_mem_config external(uint64_t gpa, uint64_t host_at, uint64_t len)
{
	return (struct cvmm_mem_config){ .gpa = { gpa },
					 .len_bytes = len,
					 .kind = CVMM_MEM_EXTERNAL,
					 .access = CVMM_ACCESS_READ_WRITE,
					 .host = ram + host_at };
}

static void make_memory(struct model *m)
{
	struct cvmm_mem_config configs[PAGES];
	struct cvmm_mem_iommu_config iommu = { .fault = on_fault, .fault_ctx = m };

	configs[0] = external(0, 0, RAM_BYTES);
	assert_int_equal(cvmm_mem_create(configs, 1, &m->front, NULL), 0);
	if (!m->setting.iommu) {
		configs[0] = external(0, 0, SEAM);
		configs[1] = external(SEAM, SEAM, RAM_BYTES - SEAM);
		assert_int_equal(cvmm_mem_create(configs, 2, &m->back, NULL), 0);
		return;
	}
	for (uint16_t i = 0; i < PAGES; i++) {
		uint16_t j = (uint16_t)test_below(&m->random, i + 1U);

		m->place_of[i] = m->place_of[j];
		m->place_of[j] = i;
	}
	for (uint32_t i = 0; i < PAGES; i++)
		configs[i] = external(m->place_of[i] * TEST_PAGE, i * TEST_PAGE, TEST_PAGE);
	assert_int_equal(cvmm_mem_create(configs, PAGES, &iommu.backing, NULL), 0);
	assert_int_equal(cvmm_iotlb_create(IOTLB_MAPPINGS, &m->iotlb, NULL), 0);
	iommu.iotlb = m->iotlb;
	assert_int_equal(cvmm_mem_create_iommu(&iommu, &m->back, NULL), 0);
	cvmm_mem_unref(iommu.backing);
}

static void iommu_answers(struct model *m)
{
	if (!m->setting.iommu)
		return;
	for (uint32_t i = 0; i < PAGES; i++) {
		if (!m->asked[i] || !test_below(&m->random, 8))
			continue;
		m->asked[i] = false;
		assert_int_equal(cvmm_iotlb_set(m->iotlb, i * TEST_PAGE, TEST_PAGE,
						m->place_of[i] * TEST_PAGE, CVMM_ACCESS_READ_WRITE),
				 0);
	}
}

static void iommu_forgets(struct model *m)
{
	uint32_t page = test_below(&m->random, test_below(&m->random, 2) ? PAGES : RING_PAGES);

	if (m->setting.iommu && !test_below(&m->random, 4))
		assert_int_equal(cvmm_iotlb_invalidate(m->iotlb, page * TEST_PAGE, TEST_PAGE), 0);
}

/* ---- the driver ---------------------------------------------------------------------------- */

/* Makes segments one behind the other in the memory of buffer @i. */
static void make_segments(struct model *m, uint16_t i)
{
	struct buffer *b = &m->buffers[i];
	uint64_t at = DATA_AT + i * DATA_BYTES;
	size_t count = 1 + test_below(&m->random, SEGMENTS_MAX);

	if (count > m->setting.size && !(m->setting.indirect && count <= TABLE_ENTRIES))
		count = 1;
	b->readable = test_below(&m->random, (uint32_t)count + 1);
	b->writable = count - b->readable;
	b->readable_bytes = b->writable_bytes = 0;
	for (size_t s = 0; s < count; s++) {
		uint32_t len =
			test_below(&m->random, 6) ? test_below(&m->random, SEGMENT_BYTES_MAX) : 0;

		b->segments[s] = (struct cvmm_virtq_segment){ { at }, len };
		at += len;
		if (s < b->readable)
			b->readable_bytes += len;
		else
			b->writable_bytes += len;
	}
	b->descs = m->setting.indirect && count > 1 && count <= TABLE_ENTRIES ? 1 : (uint32_t)count;
	memset(ram + DATA_AT + i * DATA_BYTES, 0xee, (size_t)(at - DATA_AT - i * DATA_BYTES));
}

static void driver_adds(struct model *m)
{
	uint16_t i;
	struct buffer *b;
	int ret;

	if (!m->idle.count)
		return;
	i = m->idle.at[0];
	b = &m->buffers[i];
	make_segments(m, i);
	ret = cvmm_virtq_driver_add(&m->drv, b->segments, b->readable, b->writable, b);
	if (b->descs > cvmm_virtq_driver_room(&m->drv) + (ret ? 0 : b->descs)) {
		assert_int_equal(ret, -ENOSPC);
		return;
	}
	assert_int_equal(ret, 0);
	list_add(&m->ready, list_remove(&m->idle, 0));
}

static void driver_publishes(struct model *m)
{
	bool any = m->ready.count, kick;

	cvmm_virtq_driver_publish(&m->drv);
	while (m->ready.count)
		list_add(&m->avail, list_remove(&m->ready, 0));
	kick = cvmm_virtq_driver_should_kick(&m->drv);
	if (!any)
		assert_false(kick);
	else if (m->device_sleeps)
		assert_true(kick);
	if (any)
		m->device_sleeps = false;
}

static void driver_takes(struct model *m)
{
	for (uint32_t left = 1 + test_below(&m->random, 6); left; left--) {
		struct buffer *b;
		uint64_t at;
		void *token;
		uint32_t len;
		int ret = cvmm_virtq_driver_take(&m->drv, &token, &len);

		assert_int_equal(ret, m->used.count > 0);
		if (!ret)
			return;
		b = &m->buffers[m->used.at[0]];
		assert_ptr_equal(token, b);
		assert_int_equal(len, b->used_len);
		/* Segments are one behind the other. */
		at = b->segments[0].gpa.addr + b->readable_bytes;
		for (uint32_t i = 0; i < b->writable_bytes; i++)
			assert_int_equal(ram[at + i], i < len ? b->mark : 0xee);
		list_add(&m->idle, list_remove(&m->used, 0));
		m->driver_sleeps = false;
	}
}

static void driver_changes_its_mind(struct model *m)
{
	if (test_below(&m->random, 3)) {
		m->driver_sleeps = !cvmm_virtq_driver_enable_interrupts(&m->drv);
		assert_int_equal(m->driver_sleeps, !m->used.count);
	} else {
		cvmm_virtq_driver_disable_interrupts(&m->drv);
		m->driver_sleeps = false;
	}
}

/* A driver that wants to hear of a later buffer. */
static void driver_waits_for_any_place(struct model *m)
{
	uint16_t size = m->setting.size;
	uint16_t off = (uint16_t)test_below(&m->random, size);

	if (!m->setting.event_idx)
		return;
	m->driver_sleeps = false;
	if (m->setting.packed)
		cvmm_put_le32(m->drv.driver_area,
			      off | test_below(&m->random, 2) << 15 |
				      CVMM_VIRTQ_EVENT_DESC << PACKED_EVENT_FLAGS_SHIFT);
	else
		cvmm_put_le16(m->drv.driver_area + avail_entry_at(size),
			      (uint16_t)(m->base.next_used + off - 2));
}

/* ---- the device ---------------------------------------------------------------------------- */

/* Whether a call may have failed for want of a translation. */
static bool missed(struct model *m, uint32_t faults_before)
{
	return m->setting.iommu && m->faults != faults_before;
}

/* The pieces, all bytes of them in their order, must be the segments. */
static void check_pieces(const struct iovec *iov, size_t count,
			 const struct cvmm_virtq_segment *segments, uint32_t bytes)
{
	/* Segments are one behind the other, except that those before may be empty. */
	const uint8_t *next = ram + segments[0].gpa.addr;
	size_t sum = 0;

	for (size_t i = 0; i < count; i++) {
		assert_ptr_equal(iov[i].iov_base, next);
		assert_true(iov[i].iov_len > 0);
		next += iov[i].iov_len;
		sum += iov[i].iov_len;
	}
	assert_int_equal(sum, bytes);
}

/* Takes note of the chain that must be the oldest available one. */
static void note_chain(struct model *m, const struct cvmm_virtq_chain *chain)
{
	uint16_t i = list_remove(&m->avail, 0);
	struct buffer *b = &m->buffers[i];

	assert_int_equal(chain->readable_bytes, b->readable_bytes);
	assert_int_equal(chain->writable_bytes, b->writable_bytes);
	check_pieces(chain->readable, chain->readable_count, b->segments, b->readable_bytes);
	if (b->writable)
		check_pieces(chain->writable, chain->writable_count, b->segments + b->readable,
			     b->writable_bytes);
	else
		assert_int_equal(chain->writable_count, 0);
	b->head = chain->head;
	m->is_done[i] = false;
	list_add(&m->flight, i);
	list_add(&m->order, i);
	m->rewindable++;
}

static void device_pops(struct model *m)
{
	struct cvmm_virtq_chain chain;
	struct iovec iov[PIECES_MAX];
	uint32_t faults = m->faults;
	int ret = cvmm_virtq_pop(&m->vq, iov, PIECES_MAX, &chain);

	m->device_sleeps = false;
	if (ret == -EAGAIN) {
		assert_true(missed(m, faults));
		return;
	}
	assert_int_equal(ret, m->avail.count > 0);
	if (ret)
		note_chain(m, &chain);
}

static void device_pops_several(struct model *m)
{
	struct cvmm_virtq_chain chains[5];
	struct iovec iov[2 * PIECES_MAX];
	uint32_t faults = m->faults;
	size_t iov_max = PIECES_MAX + test_below(&m->random, PIECES_MAX);
	size_t want = 1 + test_below(&m->random, CVMM_ARRAY_SIZE(chains)), pieces = 0;
	int ret = cvmm_virtq_pop_batch(&m->vq, iov, iov_max, chains, want);

	m->device_sleeps = false;
	if (want > m->avail.count)
		want = m->avail.count;
	if (ret == -EAGAIN) {
		assert_true(missed(m, faults));
		return;
	}
	assert_true(ret >= 0 && (size_t)ret <= want);
	for (int i = 0; i < ret; i++) {
		assert_ptr_equal(chains[i].readable, iov + pieces);
		pieces += (size_t)chains[i].readable_count + chains[i].writable_count;
		note_chain(m, &chains[i]);
	}
	/* It stops early only where the next one may not fit. */
	if ((size_t)ret < want && !missed(m, faults))
		assert_true(ret && iov_max - pieces < 2 * SEGMENTS_MAX + 2);
}

/* The device writes what it says that it wrote. */
static struct cvmm_virtq_used fill(struct model *m, uint16_t i)
{
	struct buffer *b = &m->buffers[i];
	uint64_t at = b->segments[0].gpa.addr + b->readable_bytes;

	b->mark = (uint8_t)test_random(&m->random);
	b->used_len = test_below(&m->random, b->writable_bytes + 1);
	memset(ram + at, b->mark, b->used_len);
	memset(ram + at + b->used_len, 0xee, b->writable_bytes - b->used_len);
	return (struct cvmm_virtq_used){ b->head, b->used_len };
}

static void note_place(struct model *m)
{
	uint16_t next = m->base.next_used;

	assert_true(m->place_count < PLACES_MAX);
	if (!m->setting.packed) {
		m->places[m->place_count++] = next;
		m->base.next_used++;
		return;
	}
	m->places[m->place_count++] = (uint16_t)(next | (m->base.used_wrap ? 0x8000 : 0));
	if (++m->base.next_used == m->setting.size) {
		m->base.next_used = 0;
		m->base.used_wrap = !m->base.used_wrap;
	}
}

static bool is_base(struct model *m)
{
	struct cvmm_virtq_base now = cvmm_virtq_base(&m->vq);

	return now.next_used == m->base.next_used && now.used_wrap == m->base.used_wrap;
}

/* Hands to the driver what the device has published meanwhile. Return: how many. */
static size_t sync_used(struct model *m)
{
	struct list *from = m->setting.in_order ? &m->order : &m->done;
	size_t count = 0;

	while (!is_base(m)) {
		uint16_t i;

		assert_true(from->count > 0);
		i = list_remove(from, 0);
		assert_true(m->is_done[i]);
		for (uint32_t n = m->setting.packed ? m->buffers[i].descs : 1; n; n--)
			note_place(m);
		list_add(&m->used, i);
		m->served++;
		count++;
	}
	return count;
}

/* Takes chain @at of those in flight out of the lists. */
static void note_push(struct model *m, size_t at)
{
	uint16_t i = list_remove(&m->flight, at);

	m->is_done[i] = true;
	list_add(&m->done, i);
	for (size_t j = 0; !m->setting.in_order && j < m->order.count; j++)
		if (m->order.at[j] == i)
			list_remove(&m->order, j--);
	if (m->rewindable > m->flight.count - at)
		m->rewindable = m->flight.count - at;
}

static void device_pushes(struct model *m)
{
	size_t at, count = 1 + test_below(&m->random, 3), done = 0;
	struct cvmm_virtq_used used[3];
	struct list flight = m->flight;
	uint32_t faults = m->faults;
	size_t places[3];
	int ret;

	if (count > flight.count)
		count = flight.count;
	if (!count)
		return;
	for (size_t i = 0; i < count; i++) {
		at = test_below(&m->random, (uint32_t)flight.count);
		places[i] = at;
		used[i] = fill(m, list_remove(&flight, at));
	}
	if (count == 1)
		ret = cvmm_virtq_push(&m->vq, used[0].head, used[0].len_bytes);
	else
		ret = cvmm_virtq_push_batch(&m->vq, used, count);
	if (ret == -EAGAIN) {
		assert_true(missed(m, faults) && !m->setting.in_order && is_base(m));
		return;
	}
	assert_int_equal(ret, 0);
	for (size_t i = 0; i < count; i++)
		note_push(m, places[i]);
	done = sync_used(m);
	m->done.count = m->setting.in_order ? 0 : m->done.count;
	if (!m->setting.in_order)
		assert_int_equal(done, count);
	else if (!missed(m, faults) && m->order.count)
		assert_false(m->is_done[m->order.at[0]]);
}

static void device_rewinds(struct model *m)
{
	uint16_t i = m->flight.count ? m->flight.at[m->flight.count - 1] : 0;
	int ret = cvmm_virtq_rewind(&m->vq, m->buffers[i].head);

	if (!m->rewindable) {
		assert_int_equal(ret, -EINVAL);
		return;
	}
	assert_int_equal(ret, 0);
	m->flight.count--;
	m->order.count--;
	assert_int_equal(m->order.at[m->order.count], i);
	m->rewindable--;
	list_put_first(&m->avail, i);
}

/* What the driver's memory says now about all that was used since the last decision. */
static bool driver_wants_notification(const struct model *m)
{
	const uint8_t *area = m->drv.driver_area;
	uint32_t event = m->setting.packed ? cvmm_get_le32(area) : 0;

	if (!m->place_count)
		return false;
	if (!m->setting.event_idx)
		return m->setting.packed ? event >> 16 == 0 : !cvmm_get_le16(area);
	if (m->setting.packed && event >> 16 != CVMM_VIRTQ_EVENT_DESC)
		return event >> 16 == 0;
	if (!m->setting.packed)
		event = cvmm_get_le16(area + avail_entry_at(m->setting.size));
	for (size_t i = 0; i < m->place_count; i++)
		if (m->places[i] == (uint16_t)event)
			return true;
	return false;
}

static void device_decides_to_notify(struct model *m)
{
	uint32_t faults = m->faults;
	bool got = cvmm_virtq_should_notify(&m->vq), want;

	sync_used(m);
	want = driver_wants_notification(m);
	if (!missed(m, faults))
		assert_int_equal(got, want);
	else if (m->place_count)
		assert_true(got || !want);
	if (m->driver_sleeps && m->used.count) {
		assert_true(got);
		m->driver_sleeps = false;
	}
	m->place_count = 0;
}

static void device_switches_kicks(struct model *m)
{
	uint32_t faults = m->faults;
	bool more;

	m->device_sleeps = false;
	cvmm_virtq_disable_notifications(&m->vq);
	if (!test_below(&m->random, 4))
		return;
	more = cvmm_virtq_enable_notifications(&m->vq);
	if (!missed(m, faults))
		assert_int_equal(more, m->avail.count > 0);
	assert_true(more || !m->avail.count);
	m->device_sleeps = !more;
}

/* ---- runs ---------------------------------------------------------------------------------- */

static void make_queue(struct model *m)
{
	const struct setting *s = &m->setting;
	struct cvmm_virtq_driver_config config = {
		.size = s->size,
		.packed = s->packed,
		.event_idx = s->event_idx,
		.indirect = s->indirect,
		.in_order = s->in_order,
		.table_entries = s->indirect ? TABLE_ENTRIES : 0,
	};
	struct cvmm_virtq_config device;

	/* Areas on pages of their own, and across pages. */
	config.desc.addr = TEST_PAGE - 512;
	config.driver_area.addr = 4 * TEST_PAGE - (s->packed ? 4 : 16);
	config.device_area.addr = 7 * TEST_PAGE - (s->packed ? 8 : 64);
	config.tables.addr = 8 * TEST_PAGE - 40;
	config.tables_bytes = (uint64_t)s->size * config.table_entries * DESC_SIZE;
	assert_true(config.tables.addr + config.tables_bytes <= DATA_AT);
	assert_int_equal(cvmm_virtq_driver_init(&m->drv, m->front, &config, NULL), 0);
	device = (struct cvmm_virtq_config){
		.size = s->size,
		.desc = config.desc,
		.avail = config.driver_area,
		.used = config.device_area,
		.packed = s->packed,
		.event_idx = s->event_idx,
		.indirect = s->indirect,
		.in_order = s->in_order,
	};
	assert_int_equal(cvmm_virtq_init(&m->vq, 128), 0);
	assert_int_equal(cvmm_virtq_start(&m->vq, m->back, &device, NULL), 0);
	m->base = CVMM_VIRTQ_BASE_START;
	for (uint16_t i = 0; i < SIZE_MAX_HERE; i++)
		list_add(&m->idle, i);
}

/* Return: chains served. */
static uint32_t run(struct setting setting, uint32_t operations)
{
	static void (*const operation[])(struct model *) = {
		driver_adds,	driver_adds,
		driver_adds,	driver_publishes,
		driver_takes,	driver_changes_its_mind,
		device_pops,	driver_waits_for_any_place,
		device_pops,	device_pops_several,
		device_pushes,	device_pushes,
		device_rewinds, device_decides_to_notify,
		iommu_answers,	iommu_answers,
		iommu_forgets,	device_switches_kicks,
	};
	struct model *m = calloc(1, sizeof(*m));
	uint32_t served;

	assert_non_null(m);
	m->setting = setting;
	m->random = UINT64_C(0x9e3779b97f4a7c15) + setting.size * 32U + setting.packed * 16U +
		    setting.event_idx * 8U + setting.indirect * 4U + setting.in_order * 2U +
		    setting.iommu;
	make_memory(m);
	make_queue(m);
	for (uint32_t i = 0; i < operations; i++)
		operation[test_below(&m->random, CVMM_ARRAY_SIZE(operation))](m);
	assert_int_equal(cvmm_virtq_violation(&m->vq), CVMM_VIRTQ_OK);
	assert_int_equal(cvmm_virtq_driver_violation(&m->drv), CVMM_VIRTQ_DRIVER_OK);
	served = m->served;
	cvmm_virtq_fini(&m->vq);
	cvmm_virtq_driver_fini(&m->drv);
	cvmm_mem_unref(m->front);
	cvmm_mem_unref(m->back);
	cvmm_iotlb_destroy(m->iotlb);
	free(m);
	return served;
}

/* All combinations of features, for several sizes. */
static void run_all(bool packed, bool iommu)
{
	static const uint16_t sizes[2][4] = { { 1, 4, 16, 64 }, { 1, 3, 13, 64 } };
	uint32_t operations = test_operations(OPERATIONS) / 128;

	for (unsigned int features = 0; features < 8; features++) {
		for (size_t i = 0; i < 4; i++) {
			uint32_t served = run(
				(struct setting){
					.size = sizes[packed][i],
					.packed = packed,
					.event_idx = features & 1,
					.indirect = features & 2,
					.in_order = features & 4,
					.iommu = iommu,
				},
				operations);

			assert_true(served > operations / 200);
		}
	}
}

static void split_rings_carry_buffers_as_the_model_says(void **state)
{
	(void)state;
	run_all(false, false);
}

static void packed_rings_carry_buffers_as_the_model_says(void **state)
{
	(void)state;
	run_all(true, false);
}

static void split_rings_behind_an_iommu_carry_buffers_as_the_model_says(void **state)
{
	(void)state;
	run_all(false, true);
}

static void packed_rings_behind_an_iommu_carry_buffers_as_the_model_says(void **state)
{
	(void)state;
	run_all(true, true);
}

/* Long enough for the index of split rings to wrap several times. */
static void indices_wrap_under_traffic(void **state)
{
	struct setting setting = { .size = 64, .event_idx = true, .indirect = true };

	(void)state;
	assert_true(run(setting, WRAP_OPERATIONS) > 2 * UINT16_MAX);
	setting.packed = setting.in_order = true;
	setting.size = 61;
	assert_true(run(setting, WRAP_OPERATIONS) > 2 * UINT16_MAX);
}

#define TEST(fn) cmocka_unit_test(fn)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(split_rings_carry_buffers_as_the_model_says),
		TEST(packed_rings_carry_buffers_as_the_model_says),
		TEST(split_rings_behind_an_iommu_carry_buffers_as_the_model_says),
		TEST(packed_rings_behind_an_iommu_carry_buffers_as_the_model_says),
		TEST(indices_wrap_under_traffic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
