// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The state of a virtual CPU and its machine: what is set is what one gets. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "test_kvm_util.h"

#if defined(__x86_64__)

#define CPUID_MAX 256U

static const uint8_t halt_code[] = { 0xf4 /* hlt */ };

/* One machine for a test; its CPU has all that KVM supports, as extended state depends on it. */
static int setup_guest(void **state)
{
	struct guest *guest = malloc(sizeof(*guest));
	struct cvmm_kvm kvm;

	/* A fixture may not skip: without KVM the tests do, when they find nothing. */
	*state = NULL;
	if (!guest || cvmm_kvm_open(&kvm, NULL, NULL)) {
		free(guest);
		return 0;
	}
	cvmm_kvm_close(&kvm);
	guest_make_vm(guest);
	assert_ok(cvmm_kvm_vm_create_irqchip(&guest->vm));
	guest_make_vcpu(guest, halt_code, sizeof(halt_code));
	*state = guest;
	return 0;
}

static int teardown_guest(void **state)
{
	if (*state)
		guest_stop(*state);
	free(*state);
	return 0;
}

static struct guest *guest_of(void **state)
{
	if (!*state)
		SKIP("there is no KVM for us");
	return *state;
}

static struct kvm_cpuid2 *supported_cpuid(struct guest *guest)
{
	struct kvm_cpuid2 *list =
		calloc(1, sizeof(*list) + CPUID_MAX * sizeof(struct kvm_cpuid_entry2));

	assert_non_null(list);
	list->nent = CPUID_MAX;
	assert_ok(cvmm_kvm_get_supported_cpuid(&guest->kvm, list));
	return list;
}

static void give_cpuid(struct guest *guest)
{
	struct kvm_cpuid2 *list = supported_cpuid(guest);

	assert_ok(cvmm_kvm_vcpu_set_cpuid2(&guest->vcpu, list));
	free(list);
}

/* ---- registers ------------------------------------------------------------------------------- */

static void registers_keep_what_is_set(void **state)
{
	struct guest *guest = guest_of(state);
	struct kvm_regs regs = { .rax = UINT64_MAX, .r15 = 0x1122334455667788, .rflags = 2 };
	struct kvm_regs got;

	assert_ok(cvmm_kvm_vcpu_set_regs(&guest->vcpu, &regs));
	assert_ok(cvmm_kvm_vcpu_get_regs(&guest->vcpu, &got));
	assert_memory_equal(&regs, &got, sizeof(regs));
}

static void segments_keep_what_is_set(void **state)
{
	struct guest *guest = guest_of(state);
	struct kvm_sregs sregs, got;

	assert_ok(cvmm_kvm_vcpu_get_sregs(&guest->vcpu, &sregs));
	sregs.gs.base = 0x7000;
	sregs.gdt.base = 0x5000;
	sregs.gdt.limit = 0x17;
	assert_ok(cvmm_kvm_vcpu_set_sregs(&guest->vcpu, &sregs));
	assert_ok(cvmm_kvm_vcpu_get_sregs(&guest->vcpu, &got));
	assert_int_equal(got.gs.base, 0x7000);
	assert_int_equal(got.gdt.base, 0x5000);
	assert_int_equal(got.gdt.limit, 0x17);
	/* Long mode without paging is no state of a CPU. */
	sregs.efer = 0x400;
	sregs.cr0 |= 0x80000001;
	sregs.cr4 = 0;
	assert_int_equal(cvmm_kvm_vcpu_set_sregs(&guest->vcpu, &sregs), -EINVAL);
}

static void segments_of_the_second_form_keep_what_is_set(void **state)
{
	struct guest *guest = guest_of(state);
	struct kvm_sregs2 sregs, got;
	int ret = cvmm_kvm_vcpu_get_sregs2(&guest->vcpu, &sregs);

	SKIP_IF_LACKING(ret, "the second form of segments");
	assert_ok(ret);
	sregs.fs.base = 0x6000;
	assert_ok(cvmm_kvm_vcpu_set_sregs2(&guest->vcpu, &sregs));
	assert_ok(cvmm_kvm_vcpu_get_sregs2(&guest->vcpu, &got));
	assert_int_equal(got.fs.base, 0x6000);
}

static void floating_point_keeps_what_is_set(void **state)
{
	struct guest *guest = guest_of(state);
	struct kvm_fpu fpu, got;

	assert_ok(cvmm_kvm_vcpu_get_fpu(&guest->vcpu, &fpu));
	fpu.fcw = 0x27f;
	fpu.mxcsr = 0x1f80;
	memset(fpu.xmm[15], 0x5a, sizeof(fpu.xmm[15]));
	assert_ok(cvmm_kvm_vcpu_set_fpu(&guest->vcpu, &fpu));
	assert_ok(cvmm_kvm_vcpu_get_fpu(&guest->vcpu, &got));
	assert_int_equal(got.fcw, 0x27f);
	assert_memory_equal(got.xmm, fpu.xmm, sizeof(got.xmm));
}

static void extended_state_keeps_what_is_set(void **state)
{
	struct guest *guest = guest_of(state);
	struct kvm_xsave xsave, got;

	give_cpuid(guest);
	assert_ok(cvmm_kvm_vcpu_get_xsave(&guest->vcpu, &xsave));
	xsave.region[0] = (xsave.region[0] & 0xffff0000) | 0x27f; /* the control word */
	xsave.region[128] |= 1;					  /* the x87 state is in use */
	assert_ok(cvmm_kvm_vcpu_set_xsave(&guest->vcpu, &xsave));
	assert_ok(cvmm_kvm_vcpu_get_xsave(&guest->vcpu, &got));
	assert_int_equal(got.region[0] & 0xffff, 0x27f);
}

static void extended_state_of_any_size_fits_where_it_is_told(void **state)
{
	struct guest *guest = guest_of(state);
	int bytes = cvmm_kvm_vm_xsave_bytes(&guest->vm);
	uint8_t *area;

	if (cvmm_kvm_vm_check_extension(&guest->vm, KVM_CAP_XSAVE2) <= 0)
		SKIP("this KVM has no extended state of other sizes");
	assert_true((size_t)bytes >= sizeof(struct kvm_xsave));
	give_cpuid(guest);
	area = calloc(1, (size_t)bytes);
	assert_non_null(area);
	assert_ok(cvmm_kvm_vcpu_get_xsave2(&guest->vcpu, area));
	assert_ok(cvmm_kvm_vcpu_set_xsave(&guest->vcpu, area));
	free(area);
}

static void extended_control_registers_keep_what_is_set(void **state)
{
	struct guest *guest = guest_of(state);
	struct kvm_xcrs xcrs, got;
	int ret;

	give_cpuid(guest);
	ret = cvmm_kvm_vcpu_get_xcrs(&guest->vcpu, &xcrs);
	SKIP_IF_LACKING(ret, "extended control registers");
	assert_ok(ret);
	assert_int_equal(xcrs.nr_xcrs, 1);
	xcrs.xcrs[0].value = 3; /* x87 and SSE */
	assert_ok(cvmm_kvm_vcpu_set_xcrs(&guest->vcpu, &xcrs));
	assert_ok(cvmm_kvm_vcpu_get_xcrs(&guest->vcpu, &got));
	assert_int_equal(got.xcrs[0].value, 3);
	xcrs.xcrs[0].value = 2; /* x87 cannot be off */
	assert_int_equal(cvmm_kvm_vcpu_set_xcrs(&guest->vcpu, &xcrs), -EINVAL);
}

static void debug_registers_keep_what_is_set(void **state)
{
	struct guest *guest = guest_of(state);
	struct kvm_debugregs regs, got;

	assert_ok(cvmm_kvm_vcpu_get_debugregs(&guest->vcpu, &regs));
	regs.db[2] = 0x4000;
	assert_ok(cvmm_kvm_vcpu_set_debugregs(&guest->vcpu, &regs));
	assert_ok(cvmm_kvm_vcpu_get_debugregs(&guest->vcpu, &got));
	assert_int_equal(got.db[2], 0x4000);
}

static void pending_events_keep_what_is_set(void **state)
{
	struct guest *guest = guest_of(state);
	struct kvm_vcpu_events events, got;

	assert_ok(cvmm_kvm_vcpu_get_events(&guest->vcpu, &events));
	events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING;
	events.nmi.pending = 1;
	assert_ok(cvmm_kvm_vcpu_set_events(&guest->vcpu, &events));
	assert_ok(cvmm_kvm_vcpu_get_events(&guest->vcpu, &got));
	assert_int_equal(got.nmi.pending, 1);
	events.flags = UINT32_MAX;
	assert_int_equal(cvmm_kvm_vcpu_set_events(&guest->vcpu, &events), -EINVAL);
}

static void the_run_state_keeps_what_is_set(void **state)
{
	struct guest *guest = guest_of(state);
	uint32_t got = UINT32_MAX;

	assert_ok(cvmm_kvm_vcpu_get_mp_state(&guest->vcpu, &got));
	assert_int_equal(got, KVM_MP_STATE_RUNNABLE);
	assert_ok(cvmm_kvm_vcpu_set_mp_state(&guest->vcpu, KVM_MP_STATE_HALTED));
	assert_ok(cvmm_kvm_vcpu_get_mp_state(&guest->vcpu, &got));
	assert_int_equal(got, KVM_MP_STATE_HALTED);
	assert_int_equal(cvmm_kvm_vcpu_set_mp_state(&guest->vcpu, 4711), -EINVAL);
}

static void an_address_is_translated(void **state)
{
	struct kvm_translation translation = { .linear_address = 0x1234 };
	struct guest *guest = guest_of(state);

	assert_ok(cvmm_kvm_vcpu_translate(&guest->vcpu, &translation));
	assert_int_equal(translation.physical_address, 0x1234);
	assert_int_equal(translation.valid, 1);
}

/* ---- MSRs, CPUID and time -------------------------------------------------------------------- */

static void msrs_tell_how_many_were_handled(void **state)
{
	struct guest *guest = guest_of(state);
	union {
		struct kvm_msrs list;
		uint8_t bytes[sizeof(struct kvm_msrs) + 2 * sizeof(struct kvm_msr_entry)];
	} msrs = { .list = { .nmsrs = 2 } };
	struct kvm_msr_entry *entries = msrs.list.entries;

	entries[0] = (struct kvm_msr_entry){ .index = 0x174, .data = 0x1234 };
	entries[1] = (struct kvm_msr_entry){ .index = 0x175, .data = 0x5678 };
	assert_int_equal(cvmm_kvm_vcpu_set_msrs(&guest->vcpu, &msrs.list), 2);
	entries[0].data = entries[1].data = 0;
	assert_int_equal(cvmm_kvm_vcpu_get_msrs(&guest->vcpu, &msrs.list), 2);
	assert_int_equal(entries[0].data, 0x1234);
	assert_int_equal(entries[1].data, 0x5678);
	/* It stops at one that is none. */
	entries[1].index = 0xdeadbeef;
	assert_int_equal(cvmm_kvm_vcpu_set_msrs(&guest->vcpu, &msrs.list), 1);
	assert_int_equal(cvmm_kvm_vcpu_get_msrs(&guest->vcpu, &msrs.list), 1);
}

static void cpuid_keeps_what_is_set(void **state)
{
	struct guest *guest = guest_of(state);
	struct kvm_cpuid2 *want = supported_cpuid(guest), *got = supported_cpuid(guest);

	assert_ok(cvmm_kvm_vcpu_set_cpuid2(&guest->vcpu, want));
	got->nent = CPUID_MAX;
	assert_ok(cvmm_kvm_vcpu_get_cpuid2(&guest->vcpu, got));
	/* Linux 6.1 leaves the count as it was. */
	assert_true(got->nent == want->nent || got->nent == CPUID_MAX);
	assert_int_equal(got->entries[0].ebx, want->entries[0].ebx);
	got->nent = 1;
	assert_int_equal(cvmm_kvm_vcpu_get_cpuid2(&guest->vcpu, got), -E2BIG);
	free(got);
	free(want);
}

static void the_tsc_tells_its_rate(void **state)
{
	struct guest *guest = guest_of(state);
	int khz = cvmm_kvm_vcpu_get_tsc_khz(&guest->vcpu);
	int ret;

	assert_true(khz > 0);
	assert_ok(cvmm_kvm_vcpu_set_tsc_khz(&guest->vcpu, (uint32_t)khz));
	ret = cvmm_kvm_vcpu_set_tsc_khz(&guest->vcpu, (uint32_t)khz / 2);
	if (ret)
		SKIP("another rate of the TSC: this KVM says %s", strerror(-ret));
	assert_int_equal(cvmm_kvm_vcpu_get_tsc_khz(&guest->vcpu), khz / 2);
}

static void the_clock_goes_on_from_what_is_set(void **state)
{
	const uint64_t far = UINT64_C(1) << 50; /* ns; no machine of a test is as old */
	struct guest *guest = guest_of(state);
	struct kvm_clock_data clock = { .clock = far };

	assert_ok(cvmm_kvm_vm_set_clock(&guest->vm, &clock));
	assert_ok(cvmm_kvm_vm_get_clock(&guest->vm, &clock));
	assert_true(clock.clock >= far);
}

static void nested_state_says_how_much_room_it_needs(void **state)
{
	struct guest *guest = guest_of(state);
	union {
		struct kvm_nested_state state;
		uint8_t bytes[3 * 4096];
	} nested = { .state = { .size = sizeof(struct kvm_nested_state) - 1 } };
	int room = cvmm_kvm_check_extension(&guest->kvm, KVM_CAP_NESTED_STATE), ret;

	if (room <= 0)
		SKIP("this KVM does not nest");
	assert_true((size_t)room <= sizeof(nested));
	give_cpuid(guest);
	ret = cvmm_kvm_vcpu_get_nested_state(&guest->vcpu, &nested.state);
	SKIP_IF_LACKING(ret, "nested state");
	assert_int_equal(ret, -E2BIG);
	nested.state.size = (uint32_t)room;
	assert_ok(cvmm_kvm_vcpu_get_nested_state(&guest->vcpu, &nested.state));
	assert_ok(cvmm_kvm_vcpu_set_nested_state(&guest->vcpu, &nested.state));
}

/* ---- what only asks for something ------------------------------------------------------------ */

static void an_nmi_becomes_pending(void **state)
{
	struct guest *guest = guest_of(state);
	struct kvm_vcpu_events events;

	assert_ok(cvmm_kvm_vcpu_nmi(&guest->vcpu));
	assert_ok(cvmm_kvm_vcpu_get_events(&guest->vcpu, &events));
	assert_int_equal(events.nmi.pending, 1);
}

static void an_smi_becomes_pending(void **state)
{
	struct guest *guest = guest_of(state);
	struct kvm_vcpu_events events;
	int ret = cvmm_kvm_vcpu_smi(&guest->vcpu);

	SKIP_IF_LACKING(ret, "system management interrupts");
	assert_ok(ret);
	assert_ok(cvmm_kvm_vcpu_get_events(&guest->vcpu, &events));
	assert_int_equal(events.smi.pending, 1);
}

/* A guest without the paravirtual clock cannot be told that it was paused. */
static void pausing_needs_a_clock_in_the_guest(void **state)
{
	struct guest *guest = guest_of(state);

	assert_int_equal(cvmm_kvm_vcpu_kvmclock_ctrl(&guest->vcpu), -EINVAL);
}

static void capabilities_of_a_cpu_that_are_none_are_refused(void **state)
{
	struct guest *guest = guest_of(state);

	assert_int_equal(cvmm_kvm_vcpu_enable_cap(&guest->vcpu, 1U << 20, 0, 0), -EINVAL);
	assert_int_equal(cvmm_kvm_vm_enable_cap(&guest->vm, 1U << 20, 0, 0), -EINVAL);
}
#endif /* __x86_64__ */

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_guest, teardown_guest)

int main(void)
{
#if defined(__x86_64__)
	const struct CMUnitTest tests[] = {
		TEST(registers_keep_what_is_set),
		TEST(segments_keep_what_is_set),
		TEST(segments_of_the_second_form_keep_what_is_set),
		TEST(floating_point_keeps_what_is_set),
		TEST(extended_state_keeps_what_is_set),
		TEST(extended_state_of_any_size_fits_where_it_is_told),
		TEST(extended_control_registers_keep_what_is_set),
		TEST(debug_registers_keep_what_is_set),
		TEST(pending_events_keep_what_is_set),
		TEST(the_run_state_keeps_what_is_set),
		TEST(an_address_is_translated),
		TEST(msrs_tell_how_many_were_handled),
		TEST(cpuid_keeps_what_is_set),
		TEST(the_tsc_tells_its_rate),
		TEST(the_clock_goes_on_from_what_is_set),
		TEST(nested_state_says_how_much_room_it_needs),
		TEST(an_nmi_becomes_pending),
		TEST(an_smi_becomes_pending),
		TEST(pausing_needs_a_clock_in_the_guest),
		TEST(capabilities_of_a_cpu_that_are_none_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
#else
	printf("skipped: the guests are made of x86 instructions\n");
	return 77;
#endif
}
