// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Exits are decoded out of a run area that anybody may have written; none of this needs KVM. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include <cvmm/kvm.h>

#define AREA_BYTES 8192U
#define DATA_OFFSET 4096U

#ifndef EHWPOISON
#define EHWPOISON 133
#endif

/* On the heap, and exactly as long as we say, so that ASan sees a byte too many. */
static int setup_area(void **state)
{
	*state = calloc(1, AREA_BYTES);
	return *state ? 0 : -1;
}

static int teardown_area(void **state)
{
	free(*state);
	return 0;
}

static struct cvmm_kvm_exit must_decode(struct kvm_run *run, uint32_t reason)
{
	struct cvmm_kvm_exit exit;

	run->exit_reason = reason;
	assert_int_equal(cvmm_kvm_exit_decode(run, AREA_BYTES, 0, &exit), 0);
	assert_int_equal(exit.reason, reason);
	return exit;
}

/* The result must be untouched too. */
static void must_refuse(struct kvm_run *run, uint32_t reason, int run_errno, int want)
{
	struct cvmm_kvm_exit exit, before;

	memset(&exit, 0x5a, sizeof(exit));
	memcpy(&before, &exit, sizeof(exit));
	run->exit_reason = reason;
	assert_int_equal(cvmm_kvm_exit_decode(run, AREA_BYTES, run_errno, &exit), want);
	assert_memory_equal(&exit, &before, sizeof(exit));
}

static void set_io(struct kvm_run *run, uint8_t size, uint32_t count, uint64_t offset)
{
	run->io.direction = KVM_EXIT_IO_OUT;
	run->io.port = 0x3f8;
	run->io.size = size;
	run->io.count = count;
	run->io.data_offset = offset;
}

/* ---- ports ----------------------------------------------------------------------------------- */

static void a_store_to_a_port_shows_its_values(void **state)
{
	struct kvm_run *run = *state;
	struct cvmm_kvm_exit exit;

	set_io(run, 2, 3, DATA_OFFSET);
	exit = must_decode(run, KVM_EXIT_IO);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_IO);
	assert_ptr_equal(exit.io.data, (uint8_t *)run + DATA_OFFSET);
	assert_int_equal(exit.io.count, 3);
	assert_int_equal(exit.io.port, 0x3f8);
	assert_int_equal(exit.io.size_bytes, 2);
	assert_true(exit.io.is_write);
}

static void a_load_from_a_port_shows_where_to_put_values(void **state)
{
	struct kvm_run *run = *state;
	struct cvmm_kvm_exit exit;

	set_io(run, 4, 1, AREA_BYTES - 4);
	run->io.direction = KVM_EXIT_IO_IN;
	exit = must_decode(run, KVM_EXIT_IO);
	assert_false(exit.io.is_write);
	memset(exit.io.data, 0xff, 4);
}

static void port_data_outside_the_area_is_refused(void **state)
{
	struct kvm_run *run = *state;
	static const struct {
		uint8_t size;
		uint32_t count;
		uint64_t offset;
	} bad[] = {
		{ 1, 1, AREA_BYTES },
		{ 4, 1, AREA_BYTES - 3 },
		{ 1, 4097, DATA_OFFSET },
		{ 1, 1, UINT64_MAX },
		{ 4, UINT32_MAX, DATA_OFFSET },
		/* 4 * 0x40000001 is 4 in 32 bits. */
		{ 4, 0x40000001, DATA_OFFSET },
		/* offset + 4 is 0 in 64 bits. */
		{ 4, 1, UINT64_MAX - 3 },
		{ 2, 0x80000000, UINT64_MAX - UINT32_MAX },
	};

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		set_io(run, bad[i].size, bad[i].count, bad[i].offset);
		must_refuse(run, KVM_EXIT_IO, 0, -EPROTO);
	}
}

static void port_data_may_fill_the_area_to_its_end(void **state)
{
	struct kvm_run *run = *state;
	struct cvmm_kvm_exit exit;

	set_io(run, 4, (AREA_BYTES - DATA_OFFSET) / 4, DATA_OFFSET);
	exit = must_decode(run, KVM_EXIT_IO);
	memset(exit.io.data, 1, (size_t)exit.io.count * exit.io.size_bytes);
}

static void port_widths_other_than_1_2_4_are_refused(void **state)
{
	struct kvm_run *run = *state;

	for (unsigned int size = 0; size <= UINT8_MAX; size++) {
		set_io(run, (uint8_t)size, 1, DATA_OFFSET);
		if (size == 1 || size == 2 || size == 4)
			assert_int_equal(must_decode(run, KVM_EXIT_IO).io.size_bytes, size);
		else
			must_refuse(run, KVM_EXIT_IO, 0, -EPROTO);
	}
}

static void a_port_direction_that_is_neither_in_nor_out_is_refused(void **state)
{
	struct kvm_run *run = *state;

	set_io(run, 1, 1, DATA_OFFSET);
	run->io.direction = 2;
	must_refuse(run, KVM_EXIT_IO, 0, -EPROTO);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void device_memory_of_1_to_8_bytes_is_decoded(void **state)
{
	struct kvm_run *run = *state;
	struct cvmm_kvm_exit exit;

	run->mmio.phys_addr = UINT64_MAX;
	run->mmio.is_write = 1;
	for (uint32_t len = 1; len <= 8; len++) {
		run->mmio.len = len;
		exit = must_decode(run, KVM_EXIT_MMIO);
		assert_int_equal(exit.type, CVMM_KVM_EXIT_MMIO);
		assert_true(exit.mmio.gpa == UINT64_MAX);
		assert_int_equal(exit.mmio.len_bytes, len);
		assert_ptr_equal(exit.mmio.data, run->mmio.data);
		assert_true(exit.mmio.is_write);
	}
	run->mmio.is_write = 0;
	assert_false(must_decode(run, KVM_EXIT_MMIO).mmio.is_write);
}

static void device_memory_of_no_or_too_many_bytes_is_refused(void **state)
{
	static const uint32_t bad[] = { 0, 9, 255, UINT32_MAX };
	struct kvm_run *run = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		run->mmio.len = bad[i];
		must_refuse(run, KVM_EXIT_MMIO, 0, -EPROTO);
	}
}

static void set_memory_fault(struct kvm_run *run)
{
	struct cvmm_kvm_run_memory_fault fault = { .flags = 8, .gpa = 0x1000, .size = 0x2000 };

	memcpy(&run->hw, &fault, sizeof(fault));
}

static void a_memory_fault_comes_with_an_error(void **state)
{
	static const int errors[] = { -EFAULT, -EHWPOISON, 0 };
	struct kvm_run *run = *state;
	struct cvmm_kvm_exit exit;

	set_memory_fault(run);
	run->exit_reason = KVM_EXIT_MEMORY_FAULT;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(errors); i++) {
		assert_int_equal(cvmm_kvm_exit_decode(run, AREA_BYTES, errors[i], &exit), 0);
		assert_int_equal(exit.type, CVMM_KVM_EXIT_MEMORY_FAULT);
		assert_int_equal(exit.memory_fault.flags, 8);
		assert_int_equal(exit.memory_fault.gpa, 0x1000);
		assert_int_equal(exit.memory_fault.len_bytes, 0x2000);
	}
}

static void a_fault_without_a_reason_stays_an_error(void **state)
{
	struct kvm_run *run = *state;

	must_refuse(run, KVM_EXIT_UNKNOWN, -EFAULT, -EFAULT);
	must_refuse(run, KVM_EXIT_MMIO, -EFAULT, -EFAULT);
	must_refuse(run, KVM_EXIT_MEMORY_FAULT, -ENOMEM, -ENOMEM);
	must_refuse(run, KVM_EXIT_HLT, -EINVAL, -EINVAL);
}

/* ---- the end of a run ------------------------------------------------------------------------ */

static void an_interrupted_run_is_an_exit_whatever_the_area_says(void **state)
{
	static const uint32_t stale[] = { KVM_EXIT_UNKNOWN, KVM_EXIT_MEMORY_FAULT, KVM_EXIT_IO };
	static const int errors[] = { -EINTR, -EAGAIN };
	struct kvm_run *run = *state;
	struct cvmm_kvm_exit exit;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(stale); i++) {
		for (size_t j = 0; j < CVMM_ARRAY_SIZE(errors); j++) {
			run->exit_reason = stale[i];
			assert_int_equal(cvmm_kvm_exit_decode(run, AREA_BYTES, errors[j], &exit),
					 0);
			assert_int_equal(exit.type, CVMM_KVM_EXIT_INTERRUPTED);
			assert_int_equal(exit.reason, KVM_EXIT_INTR);
		}
	}
}

/* A run that fails, since its descriptor is no virtual CPU's. */
static int run_failing(struct kvm_run *run, uint32_t stale_reason)
{
	struct cvmm_kvm_vcpu vcpu = { open("/dev/null", O_RDWR | O_CLOEXEC), run, AREA_BYTES };
	struct cvmm_kvm_exit exit;
	int ret;

	assert_true(vcpu.fd >= 0);
	run->exit_reason = stale_reason;
	ret = cvmm_kvm_vcpu_run(&vcpu, &exit);
	close(vcpu.fd);
	return ret;
}

/* arm64 and riscv complete a load only if the reason of the last exit still says MMIO. */
static void a_run_leaves_the_last_reason_to_the_kernel(void **state)
{
	struct kvm_run *run = *state;

	assert_int_equal(run_failing(run, KVM_EXIT_MMIO), -ENOTTY);
	assert_int_equal(run->exit_reason, KVM_EXIT_MMIO);
}

static void a_run_forgets_the_last_memory_fault(void **state)
{
	struct kvm_run *run = *state;

	assert_int_equal(run_failing(run, KVM_EXIT_MEMORY_FAULT), -ENOTTY);
	assert_int_equal(run->exit_reason, KVM_EXIT_UNKNOWN);
}

/* ---- the other reasons ----------------------------------------------------------------------- */

static void reasons_without_payload_keep_their_names(void **state)
{
	static const struct {
		uint32_t reason;
		enum cvmm_kvm_exit_type type;
	} table[] = {
		{ KVM_EXIT_HLT, CVMM_KVM_EXIT_HLT },
		{ KVM_EXIT_SHUTDOWN, CVMM_KVM_EXIT_SHUTDOWN },
		{ KVM_EXIT_INTR, CVMM_KVM_EXIT_INTERRUPTED },
		{ KVM_EXIT_IRQ_WINDOW_OPEN, CVMM_KVM_EXIT_IRQ_WINDOW },
		{ KVM_EXIT_DIRTY_RING_FULL, CVMM_KVM_EXIT_DIRTY_RING_FULL },
		{ KVM_EXIT_X86_BUS_LOCK, CVMM_KVM_EXIT_BUS_LOCK },
		{ KVM_EXIT_SET_TPR, CVMM_KVM_EXIT_SET_TPR },
	};

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(table); i++)
		assert_int_equal(must_decode(*state, table[i].reason).type, table[i].type);
}

static void reasons_without_a_name_are_passed_on(void **state)
{
	static const uint32_t reasons[] = {
		KVM_EXIT_EXCEPTION, KVM_EXIT_DCR, KVM_EXIT_NMI, KVM_EXIT_OSI, 4711, UINT32_MAX,
	};

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(reasons); i++)
		assert_int_equal(must_decode(*state, reasons[i]).type, CVMM_KVM_EXIT_OTHER);
}

static void an_internal_error_shows_its_data(void **state)
{
	struct kvm_run *run = *state;
	struct cvmm_kvm_exit exit;

	run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
	run->internal.ndata = 16;
	run->internal.data[15] = 77;
	exit = must_decode(run, KVM_EXIT_INTERNAL_ERROR);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_INTERNAL_ERROR);
	assert_int_equal(exit.internal_error.suberror, KVM_INTERNAL_ERROR_EMULATION);
	assert_int_equal(exit.internal_error.data_count, 16);
	assert_int_equal(exit.internal_error.data[15], 77);
}

static void set_emulation_failure(struct kvm_run *run, uint8_t size)
{
	run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
	run->internal.ndata = 3;
	run->emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
	run->emulation_failure.insn_size = size;
	memcpy(run->emulation_failure.insn_bytes, "\x0f\x01\xd0", 3);
}

static void an_emulation_failure_shows_its_instruction(void **state)
{
	struct kvm_run *run = *state;
	struct cvmm_kvm_exit exit;

	for (uint8_t size = 0; size <= 15; size++) {
		set_emulation_failure(run, size);
		exit = must_decode(run, KVM_EXIT_INTERNAL_ERROR);
		assert_ptr_equal(exit.internal_error.insn, run->emulation_failure.insn_bytes);
		assert_int_equal(exit.internal_error.insn_bytes, size);
	}
}

static void an_instruction_that_is_not_announced_is_not_shown(void **state)
{
	struct kvm_run *run = *state;

	set_emulation_failure(run, 16);
	assert_null(must_decode(run, KVM_EXIT_INTERNAL_ERROR).internal_error.insn);
	set_emulation_failure(run, 3);
	run->internal.ndata = 2;
	assert_null(must_decode(run, KVM_EXIT_INTERNAL_ERROR).internal_error.insn);
	set_emulation_failure(run, 3);
	run->emulation_failure.flags = ~KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
	assert_null(must_decode(run, KVM_EXIT_INTERNAL_ERROR).internal_error.insn);
	set_emulation_failure(run, 3);
	run->internal.suberror = KVM_INTERNAL_ERROR_DELIVERY_EV;
	assert_null(must_decode(run, KVM_EXIT_INTERNAL_ERROR).internal_error.insn);
}

static void a_system_event_shows_its_data(void **state)
{
	struct kvm_run *run = *state;
	struct cvmm_kvm_exit exit;

	run->system_event.type = KVM_SYSTEM_EVENT_RESET;
	run->system_event.ndata = 1;
	run->system_event.data[0] = 9;
	exit = must_decode(run, KVM_EXIT_SYSTEM_EVENT);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_SYSTEM_EVENT);
	assert_int_equal(exit.system_event.type, KVM_SYSTEM_EVENT_RESET);
	assert_int_equal(exit.system_event.data_count, 1);
	assert_int_equal(exit.system_event.data[0], 9);
}

static void more_data_than_the_area_has_is_refused(void **state)
{
	static const uint32_t counts[] = { 17, UINT32_MAX };
	struct kvm_run *run = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(counts); i++) {
		run->internal.ndata = counts[i];
		must_refuse(run, KVM_EXIT_INTERNAL_ERROR, 0, -EPROTO);
		run->system_event.ndata = counts[i];
		must_refuse(run, KVM_EXIT_SYSTEM_EVENT, 0, -EPROTO);
	}
}

static void msr_exits_take_the_answer_in_place(void **state)
{
	struct kvm_run *run = *state;
	struct cvmm_kvm_exit exit;

	run->msr.index = 0xc0010015;
	run->msr.reason = KVM_MSR_EXIT_REASON_FILTER;
	exit = must_decode(run, KVM_EXIT_X86_RDMSR);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_RDMSR);
	assert_true(exit.msr.index == 0xc0010015);
	assert_int_equal(exit.msr.reason, KVM_MSR_EXIT_REASON_FILTER);
	*exit.msr.data = 5;
	*exit.msr.error = 1;
	assert_int_equal(run->msr.data, 5);
	assert_int_equal(run->msr.error, 1);
	assert_int_equal(must_decode(run, KVM_EXIT_X86_WRMSR).type, CVMM_KVM_EXIT_WRMSR);
}

static void a_hypercall_shows_its_arguments_and_takes_a_result(void **state)
{
	struct kvm_run *run = *state;
	struct cvmm_kvm_exit exit;

	run->hypercall.nr = 12;
	run->hypercall.args[5] = 55;
	exit = must_decode(run, KVM_EXIT_HYPERCALL);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_HYPERCALL);
	assert_int_equal(exit.hypercall.number, 12);
	assert_int_equal(exit.hypercall.args[5], 55);
	*exit.hypercall.ret = 1;
	assert_int_equal(run->hypercall.ret, 1);
}

static void calls_of_other_interfaces_take_their_result_in_place(void **state)
{
	struct kvm_run *run = *state;
	struct cvmm_kvm_exit exit;

	run->hyperv.type = KVM_EXIT_HYPERV_HCALL;
	exit = must_decode(run, KVM_EXIT_HYPERV);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_HYPERV);
	assert_int_equal(exit.hyperv->type, KVM_EXIT_HYPERV_HCALL);
	exit.hyperv->u.hcall.result = 2;
	assert_int_equal(run->hyperv.u.hcall.result, 2);
	run->xen.type = KVM_EXIT_XEN_HCALL;
	exit = must_decode(run, KVM_EXIT_XEN);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_XEN);
	exit.xen->u.hcall.result = 3;
	assert_int_equal(run->xen.u.hcall.result, 3);
	run->riscv_sbi.extension_id = 0x10;
	run->riscv_sbi.function_id = 3;
	run->riscv_sbi.args[5] = 7;
	exit = must_decode(run, KVM_EXIT_RISCV_SBI);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_RISCV_SBI);
	assert_int_equal(exit.riscv_sbi.extension, 0x10);
	assert_int_equal(exit.riscv_sbi.function, 3);
	assert_int_equal(exit.riscv_sbi.args[5], 7);
	exit.riscv_sbi.ret[1] = 9;
	assert_int_equal(run->riscv_sbi.ret[1], 9);
}

static void payloads_of_other_architectures_are_copied(void **state)
{
	struct kvm_run *run = *state;
	struct cvmm_kvm_exit exit;

	run->tpr_access.rip = 0xfff0;
	run->tpr_access.is_write = 1;
	exit = must_decode(run, KVM_EXIT_TPR_ACCESS);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_TPR_ACCESS);
	assert_int_equal(exit.tpr_access.rip, 0xfff0);
	assert_true(exit.tpr_access.is_write);
	run->arm_nisv.esr_iss = 0x45;
	run->arm_nisv.fault_ipa = 0x9000000;
	exit = must_decode(run, KVM_EXIT_ARM_NISV);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_ARM_NISV);
	assert_int_equal(exit.arm_nisv.esr_iss, 0x45);
	assert_int_equal(exit.arm_nisv.gpa, 0x9000000);
	run->hw.hardware_exit_reason = 0x400;
	exit = must_decode(run, KVM_EXIT_UNKNOWN);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_UNKNOWN);
	assert_int_equal(exit.unknown.hardware_reason, 0x400);
}

static void an_area_too_small_for_its_struct_is_refused(void **state)
{
	struct cvmm_kvm_exit exit;
	struct kvm_run *small = calloc(1, sizeof(*small) - 1);

	(void)state;
	assert_non_null(small);
	assert_int_equal(cvmm_kvm_exit_decode(small, sizeof(*small) - 1, 0, &exit), -EPROTO);
	assert_int_equal(cvmm_kvm_exit_decode(small, 0, -EINTR, &exit), -EPROTO);
	free(small);
}

static void small_payloads_are_copied(void **state)
{
	struct kvm_run *run = *state;
	struct cvmm_kvm_exit exit;

	run->fail_entry.hardware_entry_failure_reason = 0x80000021;
	run->fail_entry.cpu = 3;
	exit = must_decode(run, KVM_EXIT_FAIL_ENTRY);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_FAIL_ENTRY);
	assert_true(exit.fail_entry.reason == 0x80000021);
	assert_int_equal(exit.fail_entry.cpu, 3);
	run->eoi.vector = 0x31;
	exit = must_decode(run, KVM_EXIT_IOAPIC_EOI);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_IOAPIC_EOI);
	assert_int_equal(exit.ioapic_eoi.vector, 0x31);
	run->notify.flags = KVM_NOTIFY_CONTEXT_INVALID;
	exit = must_decode(run, KVM_EXIT_NOTIFY);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_NOTIFY);
	assert_int_equal(exit.notify.flags, KVM_NOTIFY_CONTEXT_INVALID);
	exit = must_decode(run, KVM_EXIT_DEBUG);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_DEBUG);
	assert_ptr_equal(exit.debug, &run->debug.arch);
}

#if defined(__x86_64__)
static void a_bus_lock_beside_another_reason_is_told(void **state)
{
	struct kvm_run *run = *state;

	run->flags = KVM_RUN_X86_BUS_LOCK;
	assert_int_equal(must_decode(run, KVM_EXIT_HLT).flags, KVM_RUN_X86_BUS_LOCK);
	run->flags = 0;
	assert_int_equal(must_decode(run, KVM_EXIT_HLT).flags, 0);
}
#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_area, teardown_area)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_store_to_a_port_shows_its_values),
		TEST(a_load_from_a_port_shows_where_to_put_values),
		TEST(port_data_outside_the_area_is_refused),
		TEST(port_data_may_fill_the_area_to_its_end),
		TEST(port_widths_other_than_1_2_4_are_refused),
		TEST(a_port_direction_that_is_neither_in_nor_out_is_refused),
		TEST(device_memory_of_1_to_8_bytes_is_decoded),
		TEST(device_memory_of_no_or_too_many_bytes_is_refused),
		TEST(a_memory_fault_comes_with_an_error),
		TEST(a_fault_without_a_reason_stays_an_error),
		TEST(an_interrupted_run_is_an_exit_whatever_the_area_says),
		TEST(a_run_leaves_the_last_reason_to_the_kernel),
		TEST(a_run_forgets_the_last_memory_fault),
		TEST(reasons_without_payload_keep_their_names),
		TEST(reasons_without_a_name_are_passed_on),
		TEST(an_internal_error_shows_its_data),
		TEST(an_emulation_failure_shows_its_instruction),
		TEST(an_instruction_that_is_not_announced_is_not_shown),
		TEST(a_system_event_shows_its_data),
		TEST(more_data_than_the_area_has_is_refused),
		TEST(msr_exits_take_the_answer_in_place),
		TEST(a_hypercall_shows_its_arguments_and_takes_a_result),
		TEST(calls_of_other_interfaces_take_their_result_in_place),
		TEST(payloads_of_other_architectures_are_copied),
		TEST(an_area_too_small_for_its_struct_is_refused),
		TEST(small_payloads_are_copied),
#if defined(__x86_64__)
		TEST(a_bus_lock_beside_another_reason_is_told),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
