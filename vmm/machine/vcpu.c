// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * Each virtual CPU has a thread that runs it until the machine stops. To get one out of the guest, its
 * thread gets KICK_SIGNAL. The thread has that signal blocked, and KVM unblocks it while the guest
 * runs: so no handler is needed, no signal is lost between a look at the flag and the entry, and the
 * process's signal dispositions stay untouched.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "machine_internal.h"

#define KICK_SIGNAL SIGUSR1
#define JOIN_ROUND_MS 5

static void report_kvm_failure(struct vcpu *vcpu, const char *what, uint64_t code)
{
	struct kvm_regs regs = { 0 };

	(void)cvmm_kvm_vcpu_get_regs(&vcpu->kvm, &regs);
	cvmm_machine_report_stop(vcpu->machine, CVMM_MACHINE_FAILED,
				 "%s (CPU %u at 0x%llx, code 0x%llx)", what, vcpu->index,
				 (unsigned long long)regs.rip, (unsigned long long)code);
}

/* With the bytes at the instruction, where KVM tells them: they say what is missing. */
static void report_internal_error(struct vcpu *vcpu, const struct cvmm_kvm_exit *exit)
{
	const uint8_t *insn = exit->internal_error.insn;
	char what[128];
	int len;

	if (!insn) {
		report_kvm_failure(vcpu, "KVM cannot go on with what the guest does",
				   exit->internal_error.suberror);
		return;
	}
	len = snprintf(what, sizeof(what), "KVM cannot emulate the instruction that begins");
	for (size_t i = 0; i < exit->internal_error.insn_bytes; i++)
		len += snprintf(what + len, sizeof(what) - (size_t)len, " %02x", insn[i]);
	report_kvm_failure(vcpu, what, exit->internal_error.suberror);
}

static void handle_system_event(struct vcpu *vcpu, uint32_t type)
{
	struct cvmm_machine *m = vcpu->machine;

	if (type == KVM_SYSTEM_EVENT_SHUTDOWN)
		cvmm_machine_report_stop(m, CVMM_MACHINE_POWERED_OFF, "%s", "");
	else if (type == KVM_SYSTEM_EVENT_RESET)
		cvmm_machine_report_stop(m, CVMM_MACHINE_RESET, "%s", "");
	else
		cvmm_machine_report_stop(m, CVMM_MACHINE_FAILED, "system event %u", type);
}

/* Handles one exit of the guest. */
static void handle_exit(struct vcpu *vcpu, struct cvmm_kvm_exit *exit)
{
	struct cvmm_machine *m = vcpu->machine;

	switch (exit->type) {
	case CVMM_KVM_EXIT_IO:
		cvmm_machine_pio(m, exit->io.is_write, exit->io.port, exit->io.size_bytes,
				 exit->io.count, exit->io.data);
		break;
	case CVMM_KVM_EXIT_MMIO:
		cvmm_machine_mmio(m, exit->mmio.is_write, exit->mmio.gpa, exit->mmio.data,
				  exit->mmio.len_bytes);
		break;
	case CVMM_KVM_EXIT_INTERRUPTED:
	case CVMM_KVM_EXIT_IRQ_WINDOW:
		break;
	case CVMM_KVM_EXIT_SHUTDOWN:
		cvmm_machine_report_stop(m, CVMM_MACHINE_TRIPLE_FAULT, "%s", "");
		break;
	case CVMM_KVM_EXIT_SYSTEM_EVENT:
		handle_system_event(vcpu, exit->system_event.type);
		break;
	case CVMM_KVM_EXIT_INTERNAL_ERROR:
		report_internal_error(vcpu, exit);
		break;
	case CVMM_KVM_EXIT_FAIL_ENTRY:
		report_kvm_failure(vcpu, "the hardware refuses to enter the guest",
				   exit->fail_entry.reason);
		break;
	default:
		report_kvm_failure(vcpu, "KVM reports an exit that this machine does not know",
				   exit->reason);
	}
}

static void set_thread_name(const struct vcpu *vcpu)
{
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", vcpu->index);
	pthread_setname_np(pthread_self(), name);
}

static void *run_vcpu(void *arg)
{
	struct vcpu *vcpu = arg;
	struct cvmm_machine *m = vcpu->machine;

	set_thread_name(vcpu);
	while (!atomic_load(&m->stopping)) {
		struct cvmm_kvm_exit exit;
		int ret = cvmm_kvm_vcpu_run(&vcpu->kvm, &exit);

		if (ret)
			report_kvm_failure(vcpu, "KVM_RUN failed", (uint64_t)-ret);
		else
			handle_exit(vcpu, &exit);
	}
	atomic_store(&vcpu->ended, true);
	return NULL;
}

/* All signals blocked on the new thread; KVM_RUN lets the kick in. */
static int start_thread(struct vcpu *vcpu)
{
	sigset_t all, in_guest, old;
	int ret;

	sigfillset(&all);
	in_guest = all;
	sigdelset(&in_guest, KICK_SIGNAL);
	ret = cvmm_kvm_vcpu_set_signal_mask(&vcpu->kvm, &in_guest);
	if (ret)
		return ret;
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = -pthread_create(&vcpu->thread, NULL, run_vcpu, vcpu);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	vcpu->thread_started = !ret;
	return ret;
}

static int create_vcpu(struct cvmm_machine *m, unsigned int index, struct cvmm_error *err)
{
	struct vcpu *vcpu = &m->vcpus[index];
	int ret;

	vcpu->machine = m;
	vcpu->index = index;
	ret = cvmm_kvm_create_vcpu(&m->kvm, &m->vm, index, &vcpu->kvm, err);
	if (ret)
		return ret;
	m->vcpu_count++;
	return cvmm_machine_init_vcpu(vcpu, err);
}

int cvmm_machine_start_vcpus(struct cvmm_machine *m, struct cvmm_error *err)
{
	int ret = 0;

	for (unsigned int i = 0; !ret && i < m->config.cpu_count; i++)
		ret = create_vcpu(m, i, err);
	for (unsigned int i = 0; !ret && i < m->vcpu_count; i++) {
		ret = start_thread(&m->vcpus[i]);
		if (ret)
			cvmm_fail(err, ret, "cannot start the thread of CPU %u: %s", i,
				  strerror(-ret));
	}
	if (ret)
		cvmm_machine_stop(m);
	return ret;
}

void cvmm_machine_join_vcpus(struct cvmm_machine *m)
{
	for (unsigned int i = 0; i < m->vcpu_count; i++) {
		struct vcpu *vcpu = &m->vcpus[i];

		if (!vcpu->thread_started)
			continue;
		/*
		 * It may be in the guest, or wait for the loop in a device operation: kick it and
		 * serve the loop until it has seen the flag.
		 */
		while (!atomic_load(&vcpu->ended)) {
			pthread_kill(vcpu->thread, KICK_SIGNAL);
			(void)cvmm_loop_run_once(m->config.loop, JOIN_ROUND_MS);
		}
		pthread_join(vcpu->thread, NULL);
		vcpu->thread_started = false;
	}
}
