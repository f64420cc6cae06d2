// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Limits of KVM, and lists with a flexible array that have room within them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "test_kvm_util.h"

/* ---- limits ---------------------------------------------------------------------------------- */

static void limits_of_the_system_are_ordered(void **state)
{
	struct cvmm_kvm kvm = open_or_skip();
	struct cvmm_kvm_limits limits;

	(void)state;
	assert_ok(cvmm_kvm_get_limits(kvm.fd, &limits));
	assert_true(limits.vcpus_recommended >= 1);
	assert_true(limits.vcpus_recommended <= limits.vcpus_max);
	assert_true(limits.vcpus_max <= limits.vcpu_ids);
	assert_true(limits.memory_slots >= 32);
	assert_true(limits.address_spaces >= 1);
	assert_true(limits.routes <= CVMM_KVM_ROUTES_MAX);
	cvmm_kvm_close(&kvm);
}

static void a_cpu_beyond_the_limit_is_refused(void **state)
{
	struct cvmm_kvm kvm = open_or_skip();
	struct cvmm_kvm_vm vm = CVMM_KVM_VM_NONE;
	struct cvmm_kvm_vcpu vcpu = CVMM_KVM_VCPU_NONE;
	struct cvmm_kvm_limits limits;
	struct cvmm_error err = { 0 };

	(void)state;
	assert_ok(cvmm_kvm_create_vm(&kvm, 0, &vm, NULL));
	assert_ok(cvmm_kvm_get_limits(vm.fd, &limits));
	assert_int_equal(cvmm_kvm_create_vcpu(&kvm, &vm, limits.vcpu_ids, &vcpu, &err), -EINVAL);
	assert_non_null(strstr(err.message, "CPU"));
	assert_int_equal(vcpu.fd, -1);
	cvmm_kvm_vm_close(&vm);
	cvmm_kvm_close(&kvm);
}

static void limits_of_what_is_not_kvm_are_an_error(void **state)
{
	struct cvmm_kvm_limits limits = { .vcpus_max = 4711 };

	(void)state;
	assert_int_equal(cvmm_kvm_get_limits(-1, &limits), -EBADF);
	assert_int_equal(limits.vcpus_max, 4711);
}

/* ---- lists ----------------------------------------------------------------------------------- */

static void lists_have_the_room_asked_for(void **state)
{
	struct kvm_irq_routing *routing = NULL;
	struct kvm_reg_list *regs = NULL;

	(void)state;
	assert_ok(cvmm_kvm_routing_new(CVMM_KVM_ROUTES_MAX, &routing));
	assert_int_equal(routing->nr, CVMM_KVM_ROUTES_MAX);
	routing->entries[CVMM_KVM_ROUTES_MAX - 1].gsi = 1; /* ASan would tell */
	free(routing);
	assert_ok(cvmm_kvm_reg_list_new(1, &regs));
	assert_true(regs->n == 1);
	assert_true(regs->reg[0] == 0);
	free(regs);
	assert_ok(cvmm_kvm_reg_list_new(0, &regs));
	assert_true(regs->n == 0);
	free(regs);
}

static void lists_beyond_their_limit_are_refused(void **state)
{
	struct kvm_irq_routing *routing = NULL;
	struct kvm_reg_list *regs = NULL;

	(void)state;
	assert_int_equal(cvmm_kvm_routing_new(CVMM_KVM_ROUTES_MAX + 1, &routing), -E2BIG);
	assert_int_equal(cvmm_kvm_routing_new(UINT32_MAX, &routing), -E2BIG);
	assert_null(routing);
	assert_int_equal(cvmm_kvm_reg_list_new(UINT32_MAX, &regs), -E2BIG);
	assert_null(regs);
}

#if defined(__x86_64__)
static void lists_of_x86_have_the_room_asked_for(void **state)
{
	struct kvm_cpuid2 *cpuid = NULL;
	struct kvm_msrs *msrs = NULL;
	struct kvm_msr_list *list = NULL;

	(void)state;
	assert_ok(cvmm_kvm_cpuid_new(CVMM_KVM_CPUID_MAX, &cpuid));
	assert_int_equal(cpuid->nent, CVMM_KVM_CPUID_MAX);
	cpuid->entries[CVMM_KVM_CPUID_MAX - 1].edx = 1;
	free(cpuid);
	assert_ok(cvmm_kvm_msrs_new(CVMM_KVM_MSRS_MAX, &msrs));
	assert_int_equal(msrs->nmsrs, CVMM_KVM_MSRS_MAX);
	msrs->entries[CVMM_KVM_MSRS_MAX - 1].data = 1;
	free(msrs);
	assert_ok(cvmm_kvm_msr_list_new(CVMM_KVM_MSR_LIST_MAX, &list));
	assert_int_equal(list->nmsrs, CVMM_KVM_MSR_LIST_MAX);
	list->indices[CVMM_KVM_MSR_LIST_MAX - 1] = 1;
	free(list);
}

static void lists_of_x86_beyond_their_limit_are_refused(void **state)
{
	struct kvm_cpuid2 *cpuid = NULL;
	struct kvm_msrs *msrs = NULL;
	struct kvm_msr_list *list = NULL;

	(void)state;
	assert_int_equal(cvmm_kvm_cpuid_new(CVMM_KVM_CPUID_MAX + 1, &cpuid), -E2BIG);
	assert_null(cpuid);
	assert_int_equal(cvmm_kvm_msrs_new(CVMM_KVM_MSRS_MAX + 1, &msrs), -E2BIG);
	assert_null(msrs);
	assert_int_equal(cvmm_kvm_msr_list_new(CVMM_KVM_MSR_LIST_MAX + 1, &list), -E2BIG);
	assert_null(list);
}

/* A list that is full must still be one that the kernel takes, and one more must not be. */
static void the_limit_of_msrs_is_that_of_the_kernel(void **state)
{
	const uint32_t count = CVMM_KVM_MSRS_MAX + 1, tsc = 0x10;
	static const uint8_t code[] = { 0xf4 /* hlt */ };
	struct kvm_msrs *msrs;
	struct guest guest;

	(void)state;
	guest_start(&guest, code);
	msrs = calloc(1, sizeof(*msrs) + count * sizeof(msrs->entries[0]));
	assert_non_null(msrs);
	for (uint32_t i = 0; i < count; i++)
		msrs->entries[i].index = tsc;
	msrs->nmsrs = CVMM_KVM_MSRS_MAX;
	assert_int_equal(cvmm_kvm_vcpu_get_msrs(&guest.vcpu, msrs), CVMM_KVM_MSRS_MAX);
	msrs->nmsrs = count;
	assert_int_equal(cvmm_kvm_vcpu_get_msrs(&guest.vcpu, msrs), -E2BIG);
	free(msrs);
	guest_stop(&guest);
}

static void the_limit_of_cpuid_is_that_of_the_kernel(void **state)
{
	const uint32_t count = CVMM_KVM_CPUID_MAX + 1;
	static const uint8_t code[] = { 0xf4 /* hlt */ };
	struct kvm_cpuid2 *cpuid;
	struct guest guest;

	(void)state;
	guest_start(&guest, code);
	cpuid = calloc(1, sizeof(*cpuid) + count * sizeof(cpuid->entries[0]));
	assert_non_null(cpuid);
	cpuid->nent = count;
	assert_int_equal(cvmm_kvm_vcpu_set_cpuid2(&guest.vcpu, cpuid), -E2BIG);
	cpuid->nent = CVMM_KVM_CPUID_MAX;
	for (uint32_t i = 0; i < count; i++)
		cpuid->entries[i].function = i;
	assert_ok(cvmm_kvm_vcpu_set_cpuid2(&guest.vcpu, cpuid));
	free(cpuid);
	guest_stop(&guest);
}
#endif /* __x86_64__ */

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limits_of_the_system_are_ordered),
		cmocka_unit_test(a_cpu_beyond_the_limit_is_refused),
		cmocka_unit_test(limits_of_what_is_not_kvm_are_an_error),
		cmocka_unit_test(lists_have_the_room_asked_for),
		cmocka_unit_test(lists_beyond_their_limit_are_refused),
#if defined(__x86_64__)
		cmocka_unit_test(lists_of_x86_have_the_room_asked_for),
		cmocka_unit_test(lists_of_x86_beyond_their_limit_are_refused),
		cmocka_unit_test(the_limit_of_msrs_is_that_of_the_kernel),
		cmocka_unit_test(the_limit_of_cpuid_is_that_of_the_kernel),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
