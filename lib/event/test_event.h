/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* For the tests of event: runs each test with every back-end and every kind of notifier. */
#ifndef CVMM_TEST_EVENT_H
#define CVMM_TEST_EVENT_H

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* cmocka.h needs <stdarg.h>, <stddef.h> and <stdint.h>, which these bring. */
#include "event_internal.h"

#include <cmocka.h>

struct fixture {
	enum cvmm_loop_backend backend;
	enum cvmm_notifier_kind kind;
	struct cvmm_loop *loop;
	struct cvmm_notifier a;
	struct cvmm_notifier b;
};

/* Which combination runs now; each test gets a fresh struct fixture of it as its state. */
static struct fixture test_config;

static int set_up(void **state)
{
	struct fixture *f = malloc(sizeof(*f));

	assert_non_null(f);
	*f = test_config;
	assert_int_equal(cvmm_event_create_loop(f->backend, f->kind, &f->loop), 0);
	assert_int_equal(cvmm_notifier_init(&f->a, f->kind), 0);
	assert_int_equal(cvmm_notifier_init(&f->b, f->kind), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	cvmm_loop_destroy(f->loop);
	cvmm_notifier_fini(&f->a);
	cvmm_notifier_fini(&f->b);
	free(f);
	return 0;
}

#define LOOP_TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

static const struct {
	const char *name;
	enum cvmm_loop_backend backend;
	enum cvmm_notifier_kind kind;
} test_configs[] = {
	{ "epoll, eventfd", CVMM_LOOP_EPOLL, CVMM_NOTIFIER_EVENTFD },
	{ "epoll, pipe", CVMM_LOOP_EPOLL, CVMM_NOTIFIER_PIPE },
	{ "poll, eventfd", CVMM_LOOP_POLL, CVMM_NOTIFIER_EVENTFD },
	{ "poll, pipe", CVMM_LOOP_POLL, CVMM_NOTIFIER_PIPE },
};

static bool config_works(size_t i)
{
	struct cvmm_notifier n = CVMM_NOTIFIER_NONE;
	struct cvmm_loop *loop = NULL;
	bool works = !cvmm_notifier_init(&n, test_configs[i].kind) &&
		     !cvmm_loop_create(test_configs[i].backend, &loop);

	cvmm_loop_destroy(loop);
	cvmm_notifier_fini(&n);
	return works;
}

#define RUN_IN_EVERY_CONFIG(tests)                                                                 \
	({                                                                                         \
		int failed_ = 0;                                                                   \
		for (size_t i_ = 0; i_ < CVMM_ARRAY_SIZE(test_configs); i_++) {                    \
			if (!config_works(i_)) {                                                   \
				printf("SKIP %s: not on this system\n", test_configs[i_].name);    \
				continue;                                                          \
			}                                                                          \
			test_config = (struct fixture){ .backend = test_configs[i_].backend,       \
							.kind = test_configs[i_].kind };           \
			failed_ += cmocka_run_group_tests_name(test_configs[i_].name, tests, NULL, \
							       NULL);                              \
		}                                                                                  \
		failed_;                                                                           \
	})

#endif /* CVMM_TEST_EVENT_H */
