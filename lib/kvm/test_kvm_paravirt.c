// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Registers by number, injected interrupts, and what guests see that know Hyper-V or Xen. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "test_kvm_util.h"

#define SIZE_U512 UINT64_C(0x0060000000000000)
#define SIZE_U2048 UINT64_C(0x0080000000000000)

static void the_width_of_a_register_is_in_its_number(void **state)
{
	(void)state;
	assert_int_equal(cvmm_kvm_reg_bytes(0), 1);
	assert_int_equal(cvmm_kvm_reg_bytes(KVM_REG_SIZE_U64 | 0xffff), 8);
	assert_int_equal(cvmm_kvm_reg_bytes(SIZE_U512), 64);
	assert_int_equal(cvmm_kvm_reg_bytes(SIZE_U2048), 256);
	assert_int_equal(cvmm_kvm_reg_bytes(SIZE_U2048 + KVM_REG_SIZE_U16), 0);
	assert_int_equal(cvmm_kvm_reg_bytes(UINT64_MAX), 0);
}

/* The kernel writes as much as the number says. */
static void a_buffer_of_another_width_than_the_register_is_refused(void **state)
{
	struct cvmm_kvm_vcpu vcpu = CVMM_KVM_VCPU_NONE;
	uint64_t value[2] = { 0 };

	(void)state;
	assert_int_equal(cvmm_kvm_vcpu_get_reg(&vcpu, SIZE_U512, value, 8), -EINVAL);
	assert_int_equal(cvmm_kvm_vcpu_get_reg(&vcpu, KVM_REG_SIZE_U64, value, 16), -EINVAL);
	assert_int_equal(cvmm_kvm_vcpu_set_reg(&vcpu, KVM_REG_SIZE_U64, value, 4), -EINVAL);
	assert_int_equal(cvmm_kvm_vcpu_set_reg(&vcpu, UINT64_MAX, value, 0), -EINVAL);
	assert_int_equal(cvmm_kvm_vcpu_set_reg(&vcpu, KVM_REG_SIZE_U64, value, 8), -EBADF);
}

#if defined(__x86_64__)

static const uint8_t halt_code[] = { 0xf4 };

/* ---- registers ------------------------------------------------------------------------------- */

#define MSR_TYPE (UINT64_C(2) << 32) /* KVM_X86_REG_TYPE_MSR, Linux 6.18 */
#define MSR_SYSENTER_CS 0x174

static void an_msr_is_a_register_by_number_too(void **state)
{
	uint64_t id = KVM_REG_X86 | KVM_REG_SIZE_U64 | MSR_TYPE | MSR_SYSENTER_CS;
	uint64_t value = 0x1230;
	struct kvm_msrs *msrs;
	struct guest guest;
	int ret;

	(void)state;
	guest_start(&guest, halt_code);
	msrs = calloc(1, sizeof(*msrs) + sizeof(struct kvm_msr_entry));
	assert_non_null(msrs);
	msrs->nmsrs = 1;
	msrs->entries[0].index = MSR_SYSENTER_CS;
	ret = cvmm_kvm_vcpu_set_reg(&guest.vcpu, id, &value, sizeof(value));
	if (ret) {
		free(msrs);
		guest_stop(&guest);
	}
	SKIP_IF_LACKING(ret, "registers by number on x86 (Linux 6.18)");
	assert_ok(ret);
	assert_int_equal(cvmm_kvm_vcpu_get_msrs(&guest.vcpu, msrs), 1);
	assert_int_equal(msrs->entries[0].data, 0x1230);
	free(msrs);
	value = 0;
	assert_ok(cvmm_kvm_vcpu_get_reg(&guest.vcpu, id, &value, sizeof(value)));
	assert_int_equal(value, 0x1230);
	guest_stop(&guest);
}

static void registers_are_shared_through_the_run_area(void **state)
{
	static const uint8_t code[] = {
		0x40, /* inc ax */
		0xf4, /* hlt */
	};
	struct guest guest;
	struct kvm_run *run;
	uint64_t classes;

	(void)state;
	guest_start(&guest, code);
	classes = (uint64_t)cvmm_kvm_check_extension(&guest.kvm, KVM_CAP_SYNC_REGS);
	if (!(classes & KVM_SYNC_X86_REGS)) {
		guest_stop(&guest);
		SKIP("this KVM does not share registers");
	}
	run = guest.vcpu.run;
	assert_ok(cvmm_kvm_vcpu_get_regs(&guest.vcpu, &run->s.regs.regs));
	run->s.regs.regs.rax = 41;
	run->kvm_valid_regs = KVM_SYNC_X86_REGS;
	run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
	guest_must_halt(&guest);
	assert_int_equal(run->s.regs.regs.rax, 42);
	guest_stop(&guest);
}

/* ---- interrupts without interrupt controllers ------------------------------------------------ */

#define VECTOR 0x20U
#define HANDLER 0x3000U
#define FLAGS_WITH_INTERRUPTS 0x202

static void an_injected_interrupt_reaches_its_handler(void **state)
{
	static const uint8_t handler[] = {
		0xc6, 0x06, 0x00, 0x20, 0x55, /* mov byte [SCRATCH], 0x55 */
		0xf4,			      /* hlt */
	};
	struct kvm_regs regs = { .rip = CODE, .rsp = STACK, .rflags = FLAGS_WITH_INTERRUPTS };
	struct guest guest;

	(void)state;
	guest_start(&guest, halt_code);
	memcpy(guest.ram + HANDLER, handler, sizeof(handler));
	cvmm_put_le32(guest.ram + VECTOR * sizeof(uint32_t), HANDLER);
	assert_ok(cvmm_kvm_vcpu_set_regs(&guest.vcpu, &regs));
	assert_ok(cvmm_kvm_vcpu_interrupt(&guest.vcpu, VECTOR));
	guest_must_halt(&guest);
	assert_int_equal(guest.ram[SCRATCH], 0x55);
	guest_stop(&guest);
}

static void an_interrupt_beyond_the_table_is_refused(void **state)
{
	struct guest guest;

	(void)state;
	guest_start(&guest, halt_code);
	assert_int_equal(cvmm_kvm_vcpu_interrupt(&guest.vcpu, 256), -EINVAL);
	guest_stop(&guest);
}

#define APIC_BASE_BOOT_CPU (UINT64_C(1) << 8)

static void another_cpu_may_be_the_one_that_boots(void **state)
{
	struct cvmm_kvm_vcpu vcpus[2] = { CVMM_KVM_VCPU_NONE, CVMM_KVM_VCPU_NONE };
	struct kvm_sregs sregs;
	struct guest guest;

	(void)state;
	guest_make_vm(&guest);
	assert_ok(cvmm_kvm_vm_set_boot_cpu(&guest.vm, 1));
	assert_ok(cvmm_kvm_vm_create_irqchip(&guest.vm));
	for (unsigned int i = 0; i < 2; i++) {
		assert_ok(cvmm_kvm_create_vcpu(&guest.kvm, &guest.vm, i, &vcpus[i], NULL));
		assert_ok(cvmm_kvm_vcpu_get_sregs(&vcpus[i], &sregs));
		assert_int_equal(!!(sregs.apic_base & APIC_BASE_BOOT_CPU), i == 1);
	}
	assert_int_equal(cvmm_kvm_vm_set_boot_cpu(&guest.vm, 0), -EBUSY);
	cvmm_kvm_vcpu_close(&vcpus[0]);
	cvmm_kvm_vcpu_close(&vcpus[1]);
	guest_stop(&guest);
}

static void performance_events_may_be_denied(void **state)
{
	struct kvm_pmu_event_filter filter = { .action = KVM_PMU_EVENT_DENY };
	struct guest guest;
	int ret;

	(void)state;
	guest_make_vm(&guest);
	ret = cvmm_kvm_vm_set_pmu_event_filter(&guest.vm, &filter);
	if (!ret) {
		filter.action = 4711;
		assert_int_equal(cvmm_kvm_vm_set_pmu_event_filter(&guest.vm, &filter), -EINVAL);
	}
	guest_stop(&guest);
	SKIP_IF_LACKING(ret, "a filter of performance events");
	assert_ok(ret);
}

/* ---- Hyper-V --------------------------------------------------------------------------------- */

#define CPUID_MAX 64U
#define HYPERV_FIRST_LEAF 0x40000000U

static void cpuid_of_hyperv_is_listed(void **state)
{
	size_t bytes = sizeof(struct kvm_cpuid2) + CPUID_MAX * sizeof(struct kvm_cpuid_entry2);
	struct kvm_cpuid2 *list;
	struct guest guest;
	int ret;

	(void)state;
	guest_start(&guest, halt_code);
	list = calloc(1, bytes);
	assert_non_null(list);
	list->nent = CPUID_MAX;
	ret = cvmm_kvm_get_supported_hv_cpuid(&guest.kvm, list);
	if (!ret) {
		assert_true(list->nent > 0);
		assert_int_equal(list->entries[0].function, HYPERV_FIRST_LEAF);
		list->nent = 1;
		assert_int_equal(cvmm_kvm_get_supported_hv_cpuid(&guest.kvm, list), -E2BIG);
		list->nent = CPUID_MAX;
		assert_ok(cvmm_kvm_vcpu_get_supported_hv_cpuid(&guest.vcpu, list));
		assert_int_equal(list->entries[0].function, HYPERV_FIRST_LEAF);
	}
	guest_stop(&guest);
	free(list);
	SKIP_IF_LACKING(ret, "Hyper-V");
	assert_ok(ret);
}

static void a_hyperv_connection_takes_one_eventfd(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	struct guest guest;
	int ret;

	(void)state;
	assert_true(fd >= 0);
	guest_make_vm(&guest);
	ret = cvmm_kvm_vm_hyperv_eventfd(&guest.vm, 7, fd);
	if (!ret) {
		assert_int_equal(cvmm_kvm_vm_hyperv_eventfd(&guest.vm, 7, fd), -EEXIST);
		assert_ok(cvmm_kvm_vm_hyperv_eventfd_remove(&guest.vm, 7));
		assert_int_equal(cvmm_kvm_vm_hyperv_eventfd_remove(&guest.vm, 7), -ENOENT);
	}
	guest_stop(&guest);
	close(fd);
	SKIP_IF_LACKING(ret, "Hyper-V");
	assert_ok(ret);
}

/* ---- Xen ------------------------------------------------------------------------------------- */

#define XEN_HYPERCALL_MSR 0x40000000U

static void start_with_xen(struct guest *guest, const uint8_t *code, size_t code_bytes)
{
	struct kvm_xen_hvm_config config = {
		.flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL,
		.msr = XEN_HYPERCALL_MSR,
	};
	int ret;

	guest_make_vm(guest);
	ret = cvmm_kvm_vm_set_xen_config(&guest->vm, &config);
	if (ret)
		guest_stop(guest);
	SKIP_IF_LACKING(ret, "Xen");
	assert_ok(ret);
	guest_make_vcpu(guest, code, code_bytes);
}

static void a_xen_hypercall_exits_and_takes_our_result(void **state)
{
	static const uint8_t code[] = {
		0xb8, 0x11, 0x00, /* mov ax, 17 */
		0x0f, 0x01, 0xd9, /* vmmcall */
		0xa3, 0x00, 0x20, /* mov [SCRATCH], ax */
		0xf4,		  /* hlt */
	};
	struct cvmm_kvm_exit exit;
	struct guest guest;

	(void)state;
	start_with_xen(&guest, code, sizeof(code));
	exit = guest_run(&guest);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_XEN);
	assert_int_equal(exit.xen->type, KVM_EXIT_XEN_HCALL);
	assert_int_equal(exit.xen->u.hcall.input & 0xffff, 17);
	exit.xen->u.hcall.result = 0x4321;
	guest_must_halt(&guest);
	assert_int_equal(cvmm_get_le16(guest.ram + SCRATCH), 0x4321);
	guest_stop(&guest);
}

static void xen_attributes_are_read_back(void **state)
{
	struct kvm_xen_hvm_attr attr = { .type = KVM_XEN_ATTR_TYPE_UPCALL_VECTOR };
	struct kvm_xen_vcpu_attr vcpu_attr = { .type = KVM_XEN_VCPU_ATTR_TYPE_VCPU_ID };
	struct guest guest;

	(void)state;
	start_with_xen(&guest, halt_code, sizeof(halt_code));
	attr.u.vector = 0x93;
	assert_ok(cvmm_kvm_vm_set_xen_attr(&guest.vm, &attr));
	attr.u.vector = 0;
	assert_ok(cvmm_kvm_vm_get_xen_attr(&guest.vm, &attr));
	assert_int_equal(attr.u.vector, 0x93);
	vcpu_attr.u.vcpu_id = 5;
	assert_ok(cvmm_kvm_vcpu_set_xen_attr(&guest.vcpu, &vcpu_attr));
	vcpu_attr.u.vcpu_id = 0;
	assert_ok(cvmm_kvm_vcpu_get_xen_attr(&guest.vcpu, &vcpu_attr));
	assert_int_equal(vcpu_attr.u.vcpu_id, 5);
	guest_stop(&guest);
}

/* ---- encrypted memory ------------------------------------------------------------------------ */

static void a_machine_that_is_not_encrypted_refuses_its_commands(void **state)
{
	struct kvm_sev_cmd command = { .id = KVM_SEV_GUEST_STATUS };
	struct guest guest;

	(void)state;
	guest_start(&guest, halt_code);
	assert_true(cvmm_kvm_vm_encrypt_op(&guest.vm, &command) < 0);
	assert_true(cvmm_kvm_vcpu_encrypt_op(&guest.vcpu, &command) < 0);
	assert_true(cvmm_kvm_vm_encrypt_add(&guest.vm, guest.ram, RAM_BYTES) < 0);
	assert_true(cvmm_kvm_vm_encrypt_remove(&guest.vm, guest.ram, RAM_BYTES) < 0);
	guest_stop(&guest);
}

#endif /* __x86_64__ */

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_width_of_a_register_is_in_its_number),
		cmocka_unit_test(a_buffer_of_another_width_than_the_register_is_refused),
#if defined(__x86_64__)
		cmocka_unit_test(an_msr_is_a_register_by_number_too),
		cmocka_unit_test(registers_are_shared_through_the_run_area),
		cmocka_unit_test(an_injected_interrupt_reaches_its_handler),
		cmocka_unit_test(an_interrupt_beyond_the_table_is_refused),
		cmocka_unit_test(another_cpu_may_be_the_one_that_boots),
		cmocka_unit_test(performance_events_may_be_denied),
		cmocka_unit_test(cpuid_of_hyperv_is_listed),
		cmocka_unit_test(a_hyperv_connection_takes_one_eventfd),
		cmocka_unit_test(a_xen_hypercall_exits_and_takes_our_result),
		cmocka_unit_test(xen_attributes_are_read_back),
		cmocka_unit_test(a_machine_that_is_not_encrypted_refuses_its_commands),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
