// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include <cvmm/event.h>

static void count_call(void *ctx)
{
	++*(int *)ctx;
}

static void posted_functions_and_timers_run(void **state)
{
	struct cvmm_source *timer = NULL;
	struct cvmm_loop *loop = NULL;
	int count = 0;

	(void)state;
	for (int backend = CVMM_LOOP_AUTO; backend <= CVMM_LOOP_POLL; backend++) {
		count = 0;
		assert_int_equal(cvmm_loop_create((enum cvmm_loop_backend)backend, &loop), 0);
		assert_int_equal(cvmm_loop_add_timer(loop, count_call, &count, &timer), 0);
		assert_int_equal(cvmm_loop_post(loop, count_call, &count), 0);
		assert_int_equal(cvmm_loop_run_once(loop, -1), 1);
		assert_int_equal(cvmm_timer_arm(timer, 0, 0), 0);
		assert_int_equal(cvmm_loop_run_once(loop, -1), 1);
		assert_int_equal(cvmm_loop_run_once(loop, 0), 0);
		assert_int_equal(count, 2);
		cvmm_loop_destroy(loop);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(posted_functions_and_timers_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
