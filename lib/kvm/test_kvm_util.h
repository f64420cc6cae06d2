/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What the tests that need KVM share. Include after <cmocka.h>. */
#ifndef CVMM_TEST_KVM_UTIL_H
#define CVMM_TEST_KVM_UTIL_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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

#if defined(__x86_64__)

/* ---- a guest in real mode: its low memory is ours, and its code is at CODE ------------------- */

#define RAM_BYTES 0x10000U
#define CODE 0x1000U
#define SCRATCH 0x2000U /* a page for results */
#define STACK 0x8000U
#define WINDOW 0xd0000U /* nothing is there but what a test maps; segment 0xd000 */
#define TSS_ADDR 0xfffbd000U
#define IDENTITY_MAP_ADDR 0xfffbc000U

struct guest {
	struct cvmm_kvm kvm;
	struct cvmm_kvm_vm vm;
	struct cvmm_kvm_vcpu vcpu;
	uint8_t *ram;
};

/* A machine with RAM and without a CPU, or a skipped test. */
static inline void guest_make_vm(struct guest *guest)
{
	*guest = (struct guest){ open_or_skip(), CVMM_KVM_VM_NONE, CVMM_KVM_VCPU_NONE, NULL };
	assert_ok(cvmm_kvm_create_vm(&guest->kvm, 0, &guest->vm, NULL));
	/* Only Intel's CPUs need these two, for real mode. */
	assert_ok(cvmm_kvm_vm_set_identity_map_addr(&guest->vm, IDENTITY_MAP_ADDR));
	assert_ok(cvmm_kvm_vm_set_tss_addr(&guest->vm, TSS_ADDR));
	guest->ram =
		mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(guest->ram, MAP_FAILED);
	assert_ok(cvmm_kvm_vm_set_memory(&guest->vm, 0, 0, 0, RAM_BYTES, guest->ram));
}

static inline void guest_set_pc(struct guest *guest, uint64_t pc)
{
	struct kvm_regs regs = { .rip = pc, .rsp = STACK, .rflags = 2 };

	assert_ok(cvmm_kvm_vcpu_set_regs(&guest->vcpu, &regs));
}

static inline void guest_make_vcpu(struct guest *guest, const uint8_t *code, size_t code_bytes)
{
	struct kvm_sregs sregs;

	memcpy(guest->ram + CODE, code, code_bytes);
	assert_ok(cvmm_kvm_create_vcpu(&guest->kvm, &guest->vm, 0, &guest->vcpu, NULL));
	assert_ok(cvmm_kvm_vcpu_get_sregs(&guest->vcpu, &sregs));
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	assert_ok(cvmm_kvm_vcpu_set_sregs(&guest->vcpu, &sregs));
	guest_set_pc(guest, CODE);
}

/* The usual: no interrupt controllers, one CPU that will run @code. */
#define guest_start(guest, code)                            \
	do {                                                \
		guest_make_vm(guest);                       \
		guest_make_vcpu(guest, code, sizeof(code)); \
	} while (0)

static inline void guest_stop(struct guest *guest)
{
	cvmm_kvm_vcpu_close(&guest->vcpu);
	cvmm_kvm_vm_close(&guest->vm);
	cvmm_kvm_close(&guest->kvm);
	munmap(guest->ram, RAM_BYTES);
}

static inline struct cvmm_kvm_exit guest_run(struct guest *guest)
{
	struct cvmm_kvm_exit exit;

	assert_ok(cvmm_kvm_vcpu_run(&guest->vcpu, &exit));
	return exit;
}

static inline void guest_must_halt(struct guest *guest)
{
	struct cvmm_kvm_exit exit = guest_run(guest);

	if (exit.type == CVMM_KVM_EXIT_INTERNAL_ERROR)
		print_error("internal error %u\n", exit.internal_error.suberror);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_HLT);
}
#endif /* __x86_64__ */

#endif /* CVMM_TEST_KVM_UTIL_H */
