// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * A driver thread and a device thread play ping with one queue: the driver sends numbers, the
 * device answers each with its double. Each sleeps only when the other side promised to wake it, so
 * that a lost notification, by a missing fence say, ends in a deadlock that the watchdog reports.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "test_driver.h"

#define PINGS 60000U /* unless more are wanted */
#define PING_SIZE 16U
#define WATCHDOG_S 60U

struct ping {
	struct test_driver driver;
	int kick[2]; /* pipe, driver to device; each byte is a wake-up */
	int call[2]; /* pipe, device to driver */
	uint32_t pings;
	uint64_t sum;
	uint16_t old_avail; /* avail.idx at the driver's last decision to kick */
	unsigned int sleeps;
	unsigned int kicks;
	int result; /* of the device, atomic */
	uint32_t nothing;
};

static void signal_fd(int fd)
{
	CVMM_BUG_ON(write(fd, "", 1) != 1);
}

static void wait_fd(int fd)
{
	char bytes[4096];

	CVMM_BUG_ON(read(fd, bytes, sizeof(bytes)) <= 0);
}

/* ---- the device ---------------------------------------------------------------------------- */

static int device_answers(struct cvmm_virtq *vq, const struct cvmm_virtq_chain *chain)
{
	uint64_t number;

	if (chain->readable_bytes != sizeof(number) || chain->writable_bytes != sizeof(number))
		return -EBADMSG;
	cvmm_iov_copy_from(chain->readable, chain->readable_count, 0, &number, sizeof(number));
	number *= 2;
	cvmm_iov_copy_to(chain->writable, chain->writable_count, 0, &number, sizeof(number));
	return cvmm_virtq_push(vq, chain->head, sizeof(number));
}

static void *device_main(void *arg)
{
	struct ping *p = arg;
	struct cvmm_virtq *vq = &p->driver.vq;
	struct cvmm_virtq_chain chain;
	struct iovec iov[4];
	uint32_t answered = 0;
	int ret = 0;

	while (answered < p->pings) {
		cvmm_virtq_disable_notifications(vq);
		while ((ret = cvmm_virtq_pop(vq, iov, CVMM_ARRAY_SIZE(iov), &chain)) > 0) {
			ret = device_answers(vq, &chain);
			if (ret)
				break;
			answered++;
		}
		if (ret)
			break;
		if (cvmm_virtq_should_notify(vq))
			signal_fd(p->call[1]);
		if (answered < p->pings && !cvmm_virtq_enable_notifications(vq))
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
	return test_host(&p->driver, TEST_DATA + i * UINT64_C(64), 64);
}

/*
 * The driver's fence between its store of one index and its load of the other: an atomic add of
 * nothing, because the thread sanitizer does not know fences.
 */
static void driver_fence(struct ping *p)
{
	__atomic_fetch_add(&p->nothing, 0, __ATOMIC_SEQ_CST);
}

static void driver_sends(struct ping *p, uint32_t ring, uint64_t number)
{
	uint64_t gpa = TEST_DATA + ring * UINT64_C(64);

	*slot(p, ring) = number;
	test_desc(&p->driver, 2 * ring, gpa, 8, CVMM_VIRTQ_DESC_F_NEXT, (uint16_t)(2 * ring + 1));
	test_desc(&p->driver, 2 * ring + 1, gpa + 8, 8, CVMM_VIRTQ_DESC_F_WRITE, 0);
	test_make_available(&p->driver, (uint16_t)(2 * ring));
}

static void driver_kicks(struct ping *p)
{
	struct test_driver *d = &p->driver;
	bool wanted;

	driver_fence(p);
	if (d->config.event_idx)
		wanted = (uint16_t)(d->avail_idx - test_avail_event(d) - 1) <
			 (uint16_t)(d->avail_idx - p->old_avail);
	else
		wanted = !ring_load(d->used, USED_FLAGS, __ATOMIC_RELAXED);
	p->old_avail = d->avail_idx;
	if (!wanted)
		return;
	p->kicks++;
	signal_fd(p->kick[1]);
}

/* Sleeps until something is used, or the device failed. */
static void driver_waits(struct ping *p)
{
	struct test_driver *d = &p->driver;

	if (d->config.event_idx)
		test_set_used_event(d, d->used_seen);
	else
		ring_store(d->avail, AVAIL_FLAGS, 0, __ATOMIC_RELAXED);
	driver_fence(p);
	if (ring_load(d->used, USED_IDX, __ATOMIC_ACQUIRE) == d->used_seen) {
		p->sleeps++;
		wait_fd(p->call[0]);
	}
	if (!d->config.event_idx)
		ring_store(d->avail, AVAIL_FLAGS, CVMM_VIRTQ_AVAIL_F_NO_INTERRUPT,
			   __ATOMIC_RELAXED);
}

/* Return: answers taken. */
static uint32_t driver_receives(struct ping *p, uint32_t *free_slots)
{
	uint32_t id, len, taken = 0;

	while (test_take_used(&p->driver, &id, &len)) {
		assert_int_equal(len, 8);
		assert_int_equal(slot(p, id / 2)[1], 2 * *slot(p, id / 2));
		p->sum += slot(p, id / 2)[1];
		*free_slots |= 1U << (id / 2);
		taken++;
	}
	return taken;
}

static void driver_main(struct ping *p)
{
	uint32_t slots = PING_SIZE / 2, free_slots = (1U << slots) - 1;
	uint32_t sent = 0, received = 0;
	uint64_t random = 42;

	while (received < p->pings) {
		uint32_t burst = 1 + test_below(&random, slots);

		for (; burst && free_slots && sent < p->pings; burst--) {
			uint32_t i = (uint32_t)__builtin_ctz(free_slots);

			free_slots &= ~(1U << i);
			driver_sends(p, i, sent++);
		}
		driver_kicks(p);
		received += driver_receives(p, &free_slots);
		if (received < sent && (!free_slots || sent == p->pings))
			driver_waits(p);
		if (__atomic_load_n(&p->result, __ATOMIC_ACQUIRE))
			return;
	}
}

static void play(bool event_idx)
{
	struct cvmm_virtq_config config = test_config(PING_SIZE);
	struct ping *p = calloc(1, sizeof(*p));
	pthread_t device;

	assert_non_null(p);
	p->pings = test_operations(PINGS);
	config.event_idx = event_idx;
	test_driver_init(&p->driver, PING_SIZE);
	test_driver_start(&p->driver, &config);
	assert_int_equal(pipe(p->kick), 0);
	assert_int_equal(pipe(p->call), 0);
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
	test_driver_fini(&p->driver);
	free(p);
}

static void pings_arrive_with_flags(void **state)
{
	(void)state;
	play(false);
}

static void pings_arrive_with_event_idx(void **state)
{
	(void)state;
	play(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pings_arrive_with_flags),
		cmocka_unit_test(pings_arrive_with_event_idx),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
