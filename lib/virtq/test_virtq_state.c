// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <cvmm/virtq_driver.h>

#include "test_driver.h"

/**
 * struct pair - a driver and a device on one queue
 */
struct pair {
	struct cvmm_mem *mem;
	struct cvmm_virtq_driver drv;
	struct cvmm_virtq vq;
	struct cvmm_virtq_config config;
};

static void pair_init(struct pair *p, uint16_t size, bool packed)
{
	struct cvmm_virtq_driver_config config = { .size = size,
						   .packed = packed,
						   .event_idx = true };
	uint64_t bytes;

	*p = (struct pair){ .mem = test_mem_create() };
	assert_int_equal(cvmm_virtq_driver_layout(&config, cvmm_gpa_from(0), &bytes), 0);
	assert_int_equal(cvmm_virtq_driver_init(&p->drv, p->mem, &config, NULL), 0);
	assert_int_equal(cvmm_virtq_init(&p->vq, 16), 0);
	p->config = (struct cvmm_virtq_config){
		.size = size,
		.desc = config.desc,
		.avail = config.driver_area,
		.used = config.device_area,
		.packed = packed,
		.event_idx = true,
	};
	assert_int_equal(cvmm_virtq_start(&p->vq, p->mem, &p->config, NULL), 0);
}

static void pair_fini(struct pair *p)
{
	cvmm_virtq_fini(&p->vq);
	cvmm_virtq_driver_fini(&p->drv);
	cvmm_mem_unref(p->mem);
}

static void add(struct pair *p, uintptr_t token)
{
	const struct cvmm_virtq_segment segments[] = { { { TEST_DATA }, 8 }, { { TEST_DATA }, 8 } };

	assert_int_equal(cvmm_virtq_driver_add(&p->drv, segments, 1, 1, (void *)token), 0);
	cvmm_virtq_driver_publish(&p->drv);
}

static void serve(struct pair *p)
{
	struct cvmm_virtq_chain chain;
	struct iovec iov[4];

	assert_int_equal(cvmm_virtq_pop(&p->vq, iov, 4, &chain), 1);
	assert_int_equal(cvmm_virtq_push(&p->vq, chain.head, 8), 0);
}

static void take(struct pair *p, uintptr_t token)
{
	uint32_t len = 0;
	void *got = NULL;

	assert_int_equal(cvmm_virtq_driver_take(&p->drv, &got, &len), 1);
	assert_int_equal((uintptr_t)got, token);
	assert_int_equal(len, 8);
}

static void move_to_another_process(struct pair *p)
{
	struct cvmm_virtq_state state;

	assert_int_equal(cvmm_virtq_save(&p->vq, &state), 0);
	cvmm_virtq_fini(&p->vq);
	assert_int_equal(cvmm_virtq_init(&p->vq, 16), 0);
	assert_int_equal(cvmm_virtq_restore(&p->vq, p->mem, &state, NULL), 0);
}

static void a_queue_goes_on_where_it_was_saved(void **state)
{
	(void)state;
	for (int packed = 0; packed < 2; packed++) {
		struct cvmm_virtq_state first, second;
		struct pair p;

		pair_init(&p, packed ? 7 : 8, packed);
		for (uintptr_t i = 1; i < 40; i++) {
			add(&p, i);
			if (i % 3 == 0)
				move_to_another_process(&p);
			serve(&p);
			assert_int_equal(cvmm_virtq_save(&p.vq, &first), 0);
			move_to_another_process(&p);
			assert_int_equal(cvmm_virtq_save(&p.vq, &second), 0);
			assert_memory_equal(&first, &second, sizeof(first));
			take(&p, i);
		}
		pair_fini(&p);
	}
}

static void a_notification_that_is_due_is_due_after_restore(void **state)
{
	(void)state;
	for (int packed = 0; packed < 2; packed++) {
		struct pair p;

		pair_init(&p, 8, packed);
		assert_false(cvmm_virtq_driver_enable_interrupts(&p.drv));
		add(&p, 1);
		serve(&p);
		move_to_another_process(&p);
		assert_true(cvmm_virtq_should_notify(&p.vq));
		move_to_another_process(&p);
		assert_false(cvmm_virtq_should_notify(&p.vq));
		pair_fini(&p);
	}
}

static void a_queue_with_chains_in_flight_is_not_saved(void **state)
{
	struct cvmm_virtq_state saved;
	struct cvmm_virtq_chain chain;
	struct iovec iov[4];
	struct pair p;

	(void)state;
	pair_init(&p, 8, true);
	add(&p, 1);
	assert_int_equal(cvmm_virtq_pop(&p.vq, iov, 4, &chain), 1);
	assert_int_equal(cvmm_virtq_save(&p.vq, &saved), -EBUSY);
	assert_int_equal(cvmm_virtq_rewind(&p.vq, chain.head), 0);
	assert_int_equal(cvmm_virtq_save(&p.vq, &saved), 0);
	cvmm_virtq_stop(&p.vq);
	assert_int_equal(cvmm_virtq_save(&p.vq, &saved), -EINVAL);
	pair_fini(&p);
}

static void a_broken_queue_is_as_broken_afterwards(void **state)
{
	struct cvmm_virtq_chain chain;
	struct iovec iov[1];
	struct pair p;

	(void)state;
	pair_init(&p, 8, false);
	add(&p, 1);
	assert_int_equal(cvmm_virtq_pop(&p.vq, iov, 1, &chain), -EPROTO);
	move_to_another_process(&p);
	assert_int_equal(cvmm_virtq_violation(&p.vq), CVMM_VIRTQ_TOO_MANY_PIECES);
	assert_int_equal(cvmm_virtq_pop(&p.vq, iov, 1, &chain), -EPROTO);
	pair_fini(&p);
}

/* That a state in which one byte was replaced is refused, with words. */
static void expect_refused(struct pair *p, const struct cvmm_virtq_state *good, size_t at,
			   uint8_t byte, int code)
{
	struct cvmm_virtq_state bad = *good;
	struct cvmm_error err = { 0 };

	((uint8_t *)&bad)[at] = byte;
	assert_int_equal(cvmm_virtq_restore(&p->vq, p->mem, &bad, &err), code);
	assert_int_equal(err.code, code);
	assert_true(strlen(err.message) > 10);
	assert_false(cvmm_virtq_is_started(&p->vq));
}

#define AT(field) offsetof(struct cvmm_virtq_state, field)

static void states_that_cannot_be_are_refused(void **state)
{
	struct cvmm_virtq_state good;
	struct pair p;

	(void)state;
	pair_init(&p, 8, true);
	assert_int_equal(cvmm_virtq_save(&p.vq, &good), 0);
	cvmm_virtq_stop(&p.vq);
	expect_refused(&p, &good, AT(magic), 0, -EINVAL);
	expect_refused(&p, &good, AT(version), 2, -ENOTSUP);
	expect_refused(&p, &good, AT(version), 0, -ENOTSUP);
	expect_refused(&p, &good, AT(size), 0, -EINVAL);
	expect_refused(&p, &good, AT(size), 17, -EINVAL);
	expect_refused(&p, &good, AT(desc), 8, -EINVAL);
	expect_refused(&p, &good, AT(desc) + 7, 1, -EINVAL);
	expect_refused(&p, &good, AT(avail), 2, -EINVAL);
	expect_refused(&p, &good, AT(used) + 5, 9, -EINVAL);
	expect_refused(&p, &good, AT(next_avail), 8, -EINVAL);
	expect_refused(&p, &good, AT(next_used) + 1, 1, -EINVAL);
	expect_refused(&p, &good, AT(flags), 0x40, -EINVAL);
	expect_refused(&p, &good, AT(violation), CVMM_VIRTQ_VIOLATION_COUNT, -EINVAL);
	expect_refused(&p, &good, AT(unsignalled) + 2, 2, -EINVAL);
	expect_refused(&p, &good, AT(reserved), 1, -EINVAL);
	assert_int_equal(cvmm_virtq_restore(&p.vq, p.mem, &good, NULL), 0);
	pair_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_queue_goes_on_where_it_was_saved),
		cmocka_unit_test(a_notification_that_is_due_is_due_after_restore),
		cmocka_unit_test(a_queue_with_chains_in_flight_is_not_saved),
		cmocka_unit_test(a_broken_queue_is_as_broken_afterwards),
		cmocka_unit_test(states_that_cannot_be_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
