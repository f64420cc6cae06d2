/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What the tests that need KVM share. Include after <cmocka.h>. */
#ifndef CVMM_TEST_KVM_UTIL_H
#define CVMM_TEST_KVM_UTIL_H

#include <stdio.h>
#include <string.h>

#include <cvmm/kvm.h>

/* Mark the running test as skipped, and say why. */
#define SKIP(...)                                \
	do {                                     \
		printf("skipped: " __VA_ARGS__); \
		printf("\n");                    \
		skip();                          \
	} while (0)

/* Skip where this KVM (another kernel, or an emulation) lacks what the test is about. */
#define SKIP_IF_LACKING(ret, what)                                                             \
	do {                                                                                   \
		int lacking_ret = (ret);                                                       \
		if (lacking_ret == -ENOTTY || lacking_ret == -EINVAL || lacking_ret == -ENXIO) \
			SKIP("%s: this KVM says %s", what, strerror(-lacking_ret));            \
	} while (0)

#define assert_ok(expression) assert_int_equal(expression, 0)

/* KVM, or a skipped test where it is not there for us. */
static inline struct cvmm_kvm open_or_skip(void)
{
	struct cvmm_kvm kvm = CVMM_KVM_NONE;
	struct cvmm_error err = { 0 };

	if (cvmm_kvm_open(&kvm, NULL, &err))
		SKIP("%s", err.message);
	return kvm;
}

#endif /* CVMM_TEST_KVM_UTIL_H */
