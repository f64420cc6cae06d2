// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * A driver thread and a device thread play ping with one ring: the driver sends numbers, the device
 * answers each with its double. Each sleeps only when the other side promised to wake it, so that a
 * lost notification, by a missing fence say, ends in a deadlock that the watchdog reports. The split
 * ring's device is the one of this library, the packed ring's a naive one.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include <cvmm/virtq_driver.h>

#include "test_driver.h"

#define PINGS 100000U /* unless more are wanted */
#define RING_SIZE 16U
#define PACKED_RING_SIZE 13U /* no power of two */
#define SLOT_BYTES 64U
#define WATCHDOG_S 100U
#define PACKED_AVAIL 0x80U
#define PACKED_USED 0x8000U
#define EVENT_WRAP 0x8000U

struct ping {
	struct test_driver device; /* memory; split: the queue */
	struct cvmm_virtq_driver drv;
	struct cvmm_virtq_driver_config config;
	uint8_t *desc, *driver_area, *device_area;   /* packed: for the device */
	uint32_t avail, used;			     /* packed: offset, and wrap in bit 15 */
	uint16_t places[CVMM_VIRTQ_DRIVER_SIZE_MAX]; /* packed: used since the last decision */
	uint32_t place_count;
	int kick[2]; /* pipe, driver to device; each byte is a wake-up */
	int call[2]; /* pipe, device to driver */
	uint32_t pings;
	uint64_t sum;
	unsigned int sleeps;
	unsigned int kicks;
	int result; /* of the device, atomic */
};

static void signal_fd(int fd)
{
	/* A full pipe has wake-ups enough. */
	CVMM_BUG_ON(write(fd, "", 1) != 1 && errno != EAGAIN);
}

static void wait_fd(int fd)
{
	char bytes[4096];

	CVMM_BUG_ON(read(fd, bytes, sizeof(bytes)) <= 0);
}

/* GCC's ThreadSanitizer does not know fences, but atomic additions. */
static void fence(void)
{
	unsigned int any = 0;

	__atomic_fetch_add(&any, 1, __ATOMIC_SEQ_CST);
	__asm__ volatile("" : : "r"(&any) : "memory");
}

/* ---- the split device ---------------------------------------------------------------------- */

static int split_answers(struct cvmm_virtq *vq, const struct cvmm_virtq_chain *chain)
{
	uint64_t number;

	if (chain->readable_bytes != sizeof(number) || chain->writable_bytes != sizeof(number))
		return -EBADMSG;
	cvmm_iov_copy_from(chain->readable, chain->readable_count, 0, &number, sizeof(number));
	number *= 2;
	cvmm_iov_copy_to(chain->writable, chain->writable_count, 0, &number, sizeof(number));
	return cvmm_virtq_push(vq, chain->head, sizeof(number));
}

/* Answers all that there is. Return: 0 or negative errno. */
static int split_serves(struct ping *p, uint32_t *answered)
{
	struct cvmm_virtq_chain chain;
	struct iovec iov[4];
	int ret;

	while ((ret = cvmm_virtq_pop(&p->device.vq, iov, CVMM_ARRAY_SIZE(iov), &chain)) > 0) {
		ret = split_answers(&p->device.vq, &chain);
		if (ret)
			break;
		(*answered)++;
	}
	return ret;
}

/* ---- the naive packed device --------------------------------------------------------------- */

static uint8_t *desc_at(struct ping *p, uint32_t place)
{
	return p->desc + (size_t)(place & ~EVENT_WRAP) * 16;
}

static uint32_t next_place(struct ping *p, uint32_t place)
{
	place++;
	return (place & ~EVENT_WRAP) == p->config.size ? (place & EVENT_WRAP) ^ EVENT_WRAP : place;
}

static bool packed_is_available(struct ping *p, int order)
{
	uint16_t flags = ring_load(desc_at(p, p->avail), 14, order);
	bool wrap = p->avail & EVENT_WRAP;

	return !!(flags & PACKED_AVAIL) == wrap && !!(flags & PACKED_USED) != wrap;
}

/* Each chain is one number to read and one to write, in the ring or in a table. */
static int packed_serves(struct ping *p, uint32_t *answered)
{
	const uint8_t *in, *out;
	uint64_t number;
	uint32_t used;
	uint16_t id;

	while (packed_is_available(p, __ATOMIC_ACQUIRE)) {
		in = desc_at(p, p->avail);
		id = cvmm_get_le16(in + 12);
		used = next_place(p, p->used);
		p->avail = next_place(p, p->avail);
		if (cvmm_get_le16(in + 14) & CVMM_VIRTQ_DESC_F_INDIRECT) {
			in = test_host(&p->device, cvmm_get_le64(in), 2 * 16);
			out = in + 16;
		} else {
			out = desc_at(p, p->avail);
			p->avail = next_place(p, p->avail);
			used = next_place(p, used);
		}
		if (cvmm_get_le32(in + 8) != 8 || cvmm_get_le32(out + 8) != 8)
			return -EBADMSG;
		number = 2 * *(uint64_t *)test_host(&p->device, cvmm_get_le64(in), 8);
		*(uint64_t *)test_host(&p->device, cvmm_get_le64(out), 8) = number;
		cvmm_put_le32(desc_at(p, p->used) + 8, 8);
		cvmm_put_le16(desc_at(p, p->used) + 12, id);
		ring_store(desc_at(p, p->used), 14,
			   p->used & EVENT_WRAP
				   ? CVMM_VIRTQ_DESC_F_WRITE | PACKED_AVAIL | PACKED_USED
				   : CVMM_VIRTQ_DESC_F_WRITE,
			   __ATOMIC_RELEASE);
		for (; p->used != used; p->used = next_place(p, p->used))
			p->places[p->place_count++ % CVMM_VIRTQ_DRIVER_SIZE_MAX] =
				(uint16_t)p->used;
		(*answered)++;
	}
	return 0;
}

static bool packed_should_notify(struct ping *p)
{
	uint32_t i, event, count = p->place_count;

	p->place_count = 0;
	if (!count)
		return false;
	fence();
	event = le32toh(__atomic_load_n((uint32_t *)(void *)p->driver_area, __ATOMIC_RELAXED));
	if (event >> 16 != 2)
		return event >> 16 == 0;
	/* More than the array holds is more than two turns of the ring. */
	for (i = 0; i < count && i < CVMM_VIRTQ_DRIVER_SIZE_MAX; i++)
		if (p->places[i] == (uint16_t)event)
			return true;
	return false;
}

static void packed_set_event(struct ping *p, uint32_t event)
{
	__atomic_store_n((uint32_t *)(void *)p->device_area, htole32(event), __ATOMIC_RELAXED);
}

static bool packed_enable(struct ping *p)
{
	packed_set_event(p, p->config.event_idx ? 2U << 16 | p->avail : 0);
	fence();
	return packed_is_available(p, __ATOMIC_RELAXED);
}

static void *device_main(void *arg)
{
	struct ping *p = arg;
	struct cvmm_virtq *vq = &p->device.vq;
	bool packed = p->config.packed;
	uint32_t answered = 0;
	int ret = 0;

	while (answered < p->pings && !ret) {
		if (packed)
			packed_set_event(p, 1U << 16);
		else
			cvmm_virtq_disable_notifications(vq);
		ret = packed ? packed_serves(p, &answered) : split_serves(p, &answered);
		if (packed ? packed_should_notify(p) : cvmm_virtq_should_notify(vq))
			signal_fd(p->call[1]);
		if (!ret && answered < p->pings &&
		    !(packed ? packed_enable(p) : cvmm_virtq_enable_notifications(vq)))
			wait_fd(p->kick[0]);
	}
	__atomic_store_n(&p->result, ret, __ATOMIC_RELEASE);
	if (ret)
		signal_fd(p->call[1]);
	return NULL;
}

/* ---- the driver ---------------------------------------------------------------------------- */

static uint64_t *slot(struct ping *p, uint32_t i)
{
	return test_host(&p->device, TEST_SEAM + (uint64_t)i * SLOT_BYTES, SLOT_BYTES);
}

static int driver_sends(struct ping *p, uint32_t i, uint64_t number)
{
	const cvmm_gpa gpa = { TEST_SEAM + (uint64_t)i * SLOT_BYTES };
	const struct cvmm_virtq_segment segments[2] = { { gpa, 8 }, { cvmm_gpa_add(gpa, 8), 8 } };

	*slot(p, i) = number;
	return cvmm_virtq_driver_add(&p->drv, segments, 1, 1, slot(p, i));
}

/* Takes all answers. Return: how many. */
static uint32_t driver_receives(struct ping *p, uint32_t *free_slots)
{
	uint32_t len, taken = 0;
	void *token;
	int ret;

	while ((ret = cvmm_virtq_driver_take(&p->drv, &token, &len)) > 0) {
		uint64_t *answer = token;

		assert_int_equal(len, 8);
		assert_true(answer[1] == 2 * answer[0]);
		p->sum += answer[1];
		*free_slots |= 1U << ((size_t)(answer - slot(p, 0)) * 8 / SLOT_BYTES);
		taken++;
	}
	assert_int_equal(ret, 0);
	return taken;
}

static void driver_kicks(struct ping *p)
{
	cvmm_virtq_driver_publish(&p->drv);
	if (!cvmm_virtq_driver_should_kick(&p->drv))
		return;
	p->kicks++;
	signal_fd(p->kick[1]);
}

/* Sleeps until something is used, or the device failed. */
static void driver_waits(struct ping *p)
{
	if (!cvmm_virtq_driver_enable_interrupts(&p->drv)) {
		p->sleeps++;
		wait_fd(p->call[0]);
	}
	cvmm_virtq_driver_disable_interrupts(&p->drv);
}

static void driver_main(struct ping *p)
{
	uint32_t free_slots = (1U << RING_SIZE) - 1, sent = 0, received = 0, news;
	uint64_t random = 42;

	while (received < p->pings) {
		uint32_t burst = 1 + test_below(&random, RING_SIZE);

		for (; burst && free_slots && sent < p->pings; burst--) {
			uint32_t i = (uint32_t)__builtin_ctz(free_slots);
			int ret = driver_sends(p, i, sent);

			if (ret == -ENOSPC)
				break;
			assert_int_equal(ret, 0);
			free_slots &= ~(1U << i);
			sent++;
		}
		driver_kicks(p);
		news = driver_receives(p, &free_slots);
		received += news;
		if (received < p->pings && !news &&
		    (sent == p->pings || cvmm_virtq_driver_room(&p->drv) < 2 || !free_slots))
			driver_waits(p);
		if (__atomic_load_n(&p->result, __ATOMIC_ACQUIRE))
			return;
	}
}

/* ---- the games ----------------------------------------------------------------------------- */

static void ping_start(struct ping *p)
{
	struct cvmm_virtq_driver_config *config = &p->config;
	uint64_t bytes;

	assert_int_equal(cvmm_virtq_driver_layout(config, cvmm_gpa_from(0), &bytes), 0);
	p->device.mem = test_mem_create();
	assert_int_equal(cvmm_virtq_init(&p->device.vq, CVMM_VIRTQ_SIZE_MAX), 0);
	if (config->packed) {
		p->desc = test_host(&p->device, config->desc.addr, bytes);
		p->driver_area = test_host(&p->device, config->driver_area.addr, 4);
		p->device_area = test_host(&p->device, config->device_area.addr, 4);
		p->avail = p->used = EVENT_WRAP;
	} else {
		const struct cvmm_virtq_config device_config = {
			.size = config->size,
			.desc = config->desc,
			.avail = config->driver_area,
			.used = config->device_area,
			.event_idx = config->event_idx,
			.indirect = config->indirect,
		};

		test_driver_start(&p->device, &device_config);
	}
	assert_int_equal(cvmm_virtq_driver_init(&p->drv, p->device.mem, config, NULL), 0);
	assert_int_equal(pipe(p->kick), 0);
	assert_int_equal(pipe(p->call), 0);
	assert_int_equal(cvmm_set_nonblock(p->kick[1], true), 0);
	assert_int_equal(cvmm_set_nonblock(p->call[1], true), 0);
}

static void play(struct cvmm_virtq_driver_config config)
{
	struct ping *p = calloc(1, sizeof(*p));
	pthread_t device;

	assert_non_null(p);
	p->pings = test_operations(PINGS);
	config.size = config.packed ? PACKED_RING_SIZE : RING_SIZE;
	config.table_entries = config.indirect ? 2 : 0;
	p->config = config;
	ping_start(p);
	/* A hang must fail, and this process has nothing else to do. */
	alarm(WATCHDOG_S * (1 + p->pings / PINGS));
	assert_int_equal(pthread_create(&device, NULL, device_main, p), 0);
	driver_main(p);
	pthread_join(device, NULL);
	alarm(0);
	assert_int_equal(p->result, 0);
	assert_true(p->sum == (uint64_t)p->pings * (p->pings - 1));
	print_message("%u kicks and %u sleeps for %u pings\n", p->kicks, p->sleeps, p->pings);
	for (size_t i = 0; i < 2; i++) {
		close(p->kick[i]);
		close(p->call[i]);
	}
	cvmm_virtq_driver_fini(&p->drv);
	test_driver_fini(&p->device);
	free(p);
}

static void pings_cross_split_rings_with_flags(void **state)
{
	(void)state;
	play((struct cvmm_virtq_driver_config){ .in_order = true });
}

static void pings_cross_split_rings_with_event_idx(void **state)
{
	(void)state;
	play((struct cvmm_virtq_driver_config){ .event_idx = true });
}

static void pings_cross_split_rings_in_indirect_tables(void **state)
{
	(void)state;
	play((struct cvmm_virtq_driver_config){ .event_idx = true, .indirect = true });
}

static void pings_cross_packed_rings_with_flags(void **state)
{
	(void)state;
	play((struct cvmm_virtq_driver_config){ .packed = true, .in_order = true });
}

static void pings_cross_packed_rings_with_event_idx(void **state)
{
	(void)state;
	play((struct cvmm_virtq_driver_config){ .packed = true, .event_idx = true });
}

static void pings_cross_packed_rings_in_indirect_tables(void **state)
{
	(void)state;
	play((struct cvmm_virtq_driver_config){
		.packed = true, .event_idx = true, .indirect = true });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pings_cross_split_rings_with_flags),
		cmocka_unit_test(pings_cross_split_rings_with_event_idx),
		cmocka_unit_test(pings_cross_split_rings_in_indirect_tables),
		cmocka_unit_test(pings_cross_packed_rings_with_flags),
		cmocka_unit_test(pings_cross_packed_rings_with_event_idx),
		cmocka_unit_test(pings_cross_packed_rings_in_indirect_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
