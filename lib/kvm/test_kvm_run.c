// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* What makes a guest stop, or spares it an exit: events, signals, single steps, MSR filters. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "test_kvm_util.h"

#if defined(__x86_64__)

/* ---- eventfds -------------------------------------------------------------------------------- */

/* Signals since the last call. */
static uint64_t signals_of(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == (ssize_t)sizeof(n) ? n : 0;
}

static int make_event(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

static const uint8_t out_code[] = {
	0xb0, 0x07, /* mov al, 7 */
	0xe6, 0x50, /* out 0x50, al */
	0xb0, 0x08, /* mov al, 8 */
	0xe6, 0x50, /* out 0x50, al */
	0xf4,	    /* hlt */
};

static void a_store_of_the_value_waited_for_signals_and_others_exit(void **state)
{
	struct cvmm_kvm_ioeventfd event = {
		.fd = make_event(),
		.is_pio = true,
		.match = true,
		.len_bytes = 1,
		.addr = 0x50,
		.value = 7,
	};
	struct cvmm_kvm_exit exit;
	struct guest guest;

	(void)state;
	guest_start(&guest, out_code);
	assert_ok(cvmm_kvm_vm_ioeventfd(&guest.vm, &event));
	exit = guest_run(&guest);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_IO);
	assert_int_equal(exit.io.data[0], 8);
	assert_int_equal(signals_of(event.fd), 1);
	guest_must_halt(&guest);
	assert_int_equal(signals_of(event.fd), 0);
	guest_stop(&guest);
	close(event.fd);
}

static void stores_of_any_value_signal_if_none_is_waited_for(void **state)
{
	/* A value without match means nothing. */
	struct cvmm_kvm_ioeventfd event = {
		.fd = make_event(), .is_pio = true, .len_bytes = 1, .addr = 0x50, .value = 7
	};
	struct guest guest;

	(void)state;
	guest_start(&guest, out_code);
	assert_ok(cvmm_kvm_vm_ioeventfd(&guest.vm, &event));
	guest_must_halt(&guest);
	assert_int_equal(signals_of(event.fd), 2);
	guest_stop(&guest);
	close(event.fd);
}

static void a_removed_event_exits_again(void **state)
{
	struct cvmm_kvm_ioeventfd event = {
		.fd = make_event(), .is_pio = true, .len_bytes = 1, .addr = 0x50
	};
	struct guest guest;

	(void)state;
	guest_start(&guest, out_code);
	assert_int_equal(cvmm_kvm_vm_ioeventfd_remove(&guest.vm, &event), -ENOENT);
	assert_ok(cvmm_kvm_vm_ioeventfd(&guest.vm, &event));
	assert_int_equal(cvmm_kvm_vm_ioeventfd(&guest.vm, &event), -EEXIST);
	assert_ok(cvmm_kvm_vm_ioeventfd_remove(&guest.vm, &event));
	assert_int_equal(guest_run(&guest).type, CVMM_KVM_EXIT_IO);
	assert_int_equal(signals_of(event.fd), 0);
	guest_stop(&guest);
	close(event.fd);
}

static void events_of_a_width_that_is_none_are_refused(void **state)
{
	struct cvmm_kvm_ioeventfd event = { .fd = make_event(), .is_pio = true, .len_bytes = 3 };
	struct guest guest;

	(void)state;
	guest_make_vm(&guest);
	assert_int_equal(cvmm_kvm_vm_ioeventfd(&guest.vm, &event), -EINVAL);
	guest_stop(&guest);
	close(event.fd);
}

static const uint8_t notify_code[] = {
	0xb8, 0x00, 0xd0,		    /* mov ax, WINDOW >> 4 */
	0x8e, 0xd8,			    /* mov ds, ax */
	0xc7, 0x06, 0x10, 0x00, 0x01, 0x00, /* mov word [0x10], 1 */
	0xc7, 0x06, 0x10, 0x00, 0x02, 0x00, /* mov word [0x10], 2 */
	0xc6, 0x06, 0x10, 0x00, 0x01,	    /* mov byte [0x10], 1 */
	0xf4,				    /* hlt */
};

static void events_in_memory_match_value_and_width(void **state)
{
	struct cvmm_kvm_ioeventfd event = {
		.fd = make_event(), .match = true, .len_bytes = 2, .addr = WINDOW + 0x10, .value = 1
	};
	struct cvmm_kvm_exit exit;
	struct guest guest;

	(void)state;
	guest_start(&guest, notify_code);
	assert_ok(cvmm_kvm_vm_ioeventfd(&guest.vm, &event));
	exit = guest_run(&guest);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_MMIO);
	assert_int_equal(cvmm_get_le16(exit.mmio.data), 2);
	exit = guest_run(&guest);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_MMIO);
	assert_int_equal(exit.mmio.len_bytes, 1);
	guest_must_halt(&guest);
	assert_int_equal(signals_of(event.fd), 1);
	guest_stop(&guest);
	close(event.fd);
}

static void an_event_without_a_width_takes_all_widths(void **state)
{
	struct cvmm_kvm_ioeventfd event = { .fd = make_event(), .addr = WINDOW + 0x10 };
	struct guest guest;

	(void)state;
	guest_start(&guest, notify_code);
	if (cvmm_kvm_vm_check_extension(&guest.vm, KVM_CAP_IOEVENTFD_ANY_LENGTH) <= 0)
		SKIP("this KVM wants a width for each event");
	assert_ok(cvmm_kvm_vm_ioeventfd(&guest.vm, &event));
	guest_must_halt(&guest);
	assert_int_equal(signals_of(event.fd), 3);
	guest_stop(&guest);
	close(event.fd);
}

/* ---- stopping -------------------------------------------------------------------------------- */

static const uint8_t loop_code[] = { 0xeb, 0xfe /* jmp $ */ };

static void an_immediate_exit_runs_nothing(void **state)
{
	struct kvm_regs regs;
	struct guest guest;

	(void)state;
	guest_start(&guest, loop_code);
	cvmm_kvm_vcpu_set_immediate_exit(&guest.vcpu, true);
	assert_int_equal(guest_run(&guest).type, CVMM_KVM_EXIT_INTERRUPTED);
	assert_int_equal(guest_run(&guest).type, CVMM_KVM_EXIT_INTERRUPTED);
	assert_ok(cvmm_kvm_vcpu_get_regs(&guest.vcpu, &regs));
	assert_int_equal(regs.rip, CODE);
	cvmm_kvm_vcpu_set_immediate_exit(&guest.vcpu, false);
	guest.ram[CODE] = 0xf4;
	guest_must_halt(&guest);
	guest_stop(&guest);
}

struct kicked {
	struct guest *guest;
	pthread_barrier_t ready;
	struct cvmm_kvm_exit exit;
	int ret;
	bool pending; /* the kick, after the run */
};

/* The kick is blocked in the thread, and open only while the guest runs: none can be missed. */
static void *run_until_kicked(void *arg)
{
	struct kicked *kicked = arg;
	sigset_t kick, open, pending;

	sigemptyset(&kick);
	sigaddset(&kick, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &kick, &open);
	sigdelset(&open, SIGUSR1);
	kicked->ret = cvmm_kvm_vcpu_set_signal_mask(&kicked->guest->vcpu, &open);
	pthread_barrier_wait(&kicked->ready);
	if (!kicked->ret)
		kicked->ret = cvmm_kvm_vcpu_run(&kicked->guest->vcpu, &kicked->exit);
	sigpending(&pending);
	kicked->pending = sigismember(&pending, SIGUSR1) == 1;
	return NULL;
}

static void ignore_signal(int number)
{
	(void)number;
}

static void a_signal_that_only_the_guest_lets_through_stops_it(void **state)
{
	struct sigaction action = { .sa_handler = ignore_signal };
	struct kicked kicked = { .ret = -1 };
	struct guest guest;
	pthread_t thread;

	(void)state;
	guest_start(&guest, loop_code);
	kicked.guest = &guest;
	assert_ok(sigaction(SIGUSR1, &action, NULL));
	assert_ok(pthread_barrier_init(&kicked.ready, NULL, 2));
	assert_ok(pthread_create(&thread, NULL, run_until_kicked, &kicked));
	pthread_barrier_wait(&kicked.ready);
	/* Whether the guest runs already or not makes no difference. */
	assert_ok(pthread_kill(thread, SIGUSR1));
	assert_ok(pthread_join(thread, NULL));
	assert_ok(kicked.ret);
	assert_int_equal(kicked.exit.type, CVMM_KVM_EXIT_INTERRUPTED);
	assert_true(kicked.pending);
	assert_ok(cvmm_kvm_vcpu_set_signal_mask(&guest.vcpu, NULL));
	pthread_barrier_destroy(&kicked.ready);
	guest_stop(&guest);
}

/* In protected mode: what runs real mode in software need not look at the limit of the IDT. */
static void a_triple_fault_is_a_shutdown(void **state)
{
	static const uint8_t code[] = { 0x0f, 0x0b /* ud2 */ };
	struct kvm_sregs sregs;
	struct guest guest;

	(void)state;
	guest_start(&guest, code);
	assert_ok(cvmm_kvm_vcpu_get_sregs(&guest.vcpu, &sregs));
	sregs.cr0 |= 1;
	sregs.cs.type = 11;
	sregs.cs.s = sregs.cs.g = sregs.cs.db = 1;
	sregs.cs.limit = UINT32_MAX;
	sregs.cs.selector = 8;
	sregs.idt.limit = 0;
	assert_ok(cvmm_kvm_vcpu_set_sregs(&guest.vcpu, &sregs));
	assert_int_equal(guest_run(&guest).type, CVMM_KVM_EXIT_SHUTDOWN);
	guest_stop(&guest);
}

static void single_steps_stop_after_each_instruction(void **state)
{
	static const uint8_t code[] = { 0x90, 0x40, 0x90, 0xf4 /* nop; inc ax; nop; hlt */ };
	struct kvm_guest_debug debug = {
		.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP,
	};
	struct cvmm_kvm_exit exit;
	struct guest guest;

	(void)state;
	guest_start(&guest, code);
	assert_ok(cvmm_kvm_vcpu_set_guest_debug(&guest.vcpu, &debug));
	for (uint64_t pc = CODE + 1; pc < CODE + 3; pc++) {
		exit = guest_run(&guest);
		assert_int_equal(exit.type, CVMM_KVM_EXIT_DEBUG);
		assert_int_equal(exit.debug->pc, pc);
	}
	debug.control = 0;
	assert_ok(cvmm_kvm_vcpu_set_guest_debug(&guest.vcpu, &debug));
	guest_must_halt(&guest);
	guest_stop(&guest);
}

/* ---- MSRs ------------------------------------------------------------------------------------ */

#define FILTERED_MSR 0x174U /* SYSENTER_CS, which all x86 CPUs have */

static const uint8_t msr_code[] = {
	0x66, 0xb9, 0x74, 0x01, 0x00, 0x00, /* mov ecx, FILTERED_MSR */
	0x0f, 0x32,			    /* rdmsr */
	0x66, 0xa3, 0x00, 0x20,		    /* mov [SCRATCH], eax */
	0x0f, 0x30,			    /* wrmsr */
	0xf4,				    /* hlt */
};

static void filter_the_msr(struct guest *guest)
{
	uint8_t deny_all = 0;
	struct kvm_msr_filter filter = {
		.flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
		.ranges[0] = {
			.flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
			.nmsrs = 1,
			.base = FILTERED_MSR,
			.bitmap = &deny_all,
		},
	};

	if (cvmm_kvm_vm_check_extension(&guest->vm, KVM_CAP_X86_MSR_FILTER) <= 0)
		SKIP("this KVM filters no MSRs");
	assert_ok(cvmm_kvm_vm_enable_cap(&guest->vm, KVM_CAP_X86_USER_SPACE_MSR,
					 KVM_MSR_EXIT_REASON_FILTER, 0));
	assert_ok(cvmm_kvm_vm_set_msr_filter(&guest->vm, &filter));
}

static void a_filtered_msr_is_answered_by_us(void **state)
{
	struct cvmm_kvm_exit exit;
	struct guest guest;

	(void)state;
	guest_start(&guest, msr_code);
	filter_the_msr(&guest);
	exit = guest_run(&guest);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_RDMSR);
	assert_int_equal(exit.msr.index, FILTERED_MSR);
	assert_int_equal(exit.msr.reason, KVM_MSR_EXIT_REASON_FILTER);
	*exit.msr.data = 0x87654321;
	*exit.msr.error = 0;
	exit = guest_run(&guest);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_WRMSR);
	assert_int_equal(exit.msr.index, FILTERED_MSR);
	assert_true(*exit.msr.data == 0x87654321);
	guest_must_halt(&guest);
	assert_true(cvmm_get_le32(guest.ram + SCRATCH) == 0x87654321);
	guest_stop(&guest);
}

static void an_error_in_an_msr_exit_faults_in_the_guest(void **state)
{
	struct cvmm_kvm_exit exit;
	struct kvm_regs regs;
	struct guest guest;

	(void)state;
	guest_start(&guest, msr_code);
	filter_the_msr(&guest);
	/* The vector of #GP, at 13 * 4: a halt at SCRATCH. */
	cvmm_put_le16(guest.ram + 13 * 4, SCRATCH);
	guest.ram[SCRATCH] = 0xf4;
	exit = guest_run(&guest);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_RDMSR);
	*exit.msr.error = 1;
	guest_must_halt(&guest);
	assert_ok(cvmm_kvm_vcpu_get_regs(&guest.vcpu, &regs));
	assert_int_equal(regs.rip, SCRATCH + 1);
	guest_stop(&guest);
}
#endif /* __x86_64__ */

int main(void)
{
#if defined(__x86_64__)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_store_of_the_value_waited_for_signals_and_others_exit),
		cmocka_unit_test(stores_of_any_value_signal_if_none_is_waited_for),
		cmocka_unit_test(a_removed_event_exits_again),
		cmocka_unit_test(events_of_a_width_that_is_none_are_refused),
		cmocka_unit_test(events_in_memory_match_value_and_width),
		cmocka_unit_test(an_event_without_a_width_takes_all_widths),
		cmocka_unit_test(an_immediate_exit_runs_nothing),
		cmocka_unit_test(a_signal_that_only_the_guest_lets_through_stops_it),
		cmocka_unit_test(a_triple_fault_is_a_shutdown),
		cmocka_unit_test(single_steps_stop_after_each_instruction),
		cmocka_unit_test(a_filtered_msr_is_answered_by_us),
		cmocka_unit_test(an_error_in_an_msr_exit_faults_in_the_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
#else
	printf("skipped: the guests are made of x86 instructions\n");
	return 77;
#endif
}
