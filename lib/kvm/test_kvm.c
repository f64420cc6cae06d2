// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <cvmm/kvm.h>

static void a_missing_device_is_explained(void **state)
{
	struct cvmm_kvm kvm = CVMM_KVM_NONE;
	struct cvmm_error err = { 0 };

	(void)state;
	assert_int_equal(cvmm_kvm_open(&kvm, "/nonexistent/kvm", &err), -ENOENT);
	assert_non_null(strstr(err.message, "modprobe"));
	assert_int_equal(kvm.fd, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_missing_device_is_explained),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
