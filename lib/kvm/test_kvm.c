// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The system: opening it, and what it says about itself. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "test_kvm_util.h"

#define NOBODY 65534
#define SOME_GROUP 1

/* ---- opening --------------------------------------------------------------------------------- */

static void a_missing_device_is_explained(void **state)
{
	struct cvmm_kvm kvm = CVMM_KVM_NONE;
	struct cvmm_error err = { 0 };

	(void)state;
	assert_int_equal(cvmm_kvm_open(&kvm, "/nonexistent/kvm", &err), -ENOENT);
	assert_non_null(strstr(err.message, "/nonexistent/kvm"));
	assert_non_null(strstr(err.message, "modprobe"));
	assert_int_equal(kvm.fd, -1);
}

static void a_file_that_is_not_kvm_is_named(void **state)
{
	struct cvmm_kvm kvm = CVMM_KVM_NONE;
	struct cvmm_error err = { 0 };

	(void)state;
	assert_int_equal(cvmm_kvm_open(&kvm, "/dev/null", &err), -ENOTTY);
	assert_non_null(strstr(err.message, "/dev/null is not KVM"));
	assert_int_equal(kvm.fd, -1);
	assert_int_equal(cvmm_kvm_open(&kvm, "/", &err), -EISDIR);
	assert_non_null(strstr(err.message, strerror(EISDIR)));
}

static int open_as_nobody(const char *path, const char *want)
{
	struct cvmm_kvm kvm = CVMM_KVM_NONE;
	struct cvmm_error err = { 0 };

	if (setgroups(0, NULL) || setegid(NOBODY) || seteuid(NOBODY))
		return 1;
	if (cvmm_kvm_open(&kvm, path, &err) != -EACCES)
		return 2;
	if (!strstr(err.message, want) || !strstr(err.message, path)) {
		fprintf(stderr, "%s\n", err.message);
		return 3;
	}
	return 0;
}

/* A file of this mode and group, as somebody sees it who is neither its owner nor in the group. */
static void must_explain_as_nobody(mode_t mode, gid_t group, const char *want)
{
	char path[] = "/tmp/cvmm-test-kvm-XXXXXX";
	int fd, status = -1;
	pid_t child;

	if (geteuid() != 0)
		SKIP("only root can become somebody without permission");
	fd = mkostemp(path, O_CLOEXEC);
	assert_true(fd >= 0);
	assert_ok(fchown(fd, 0, group));
	assert_ok(fchmod(fd, mode));
	child = fork();
	assert_true(child >= 0);
	if (!child)
		_exit(open_as_nobody(path, want));
	assert_int_equal(waitpid(child, &status, 0), child);
	close(fd);
	unlink(path);
	assert_int_equal(status, 0);
}

static void missing_permission_names_the_group_to_join(void **state)
{
	const struct group *group = getgrgid(SOME_GROUP);
	char want[128];

	(void)state;
	if (!group)
		SKIP("there is no group %d", SOME_GROUP);
	snprintf(want, sizeof(want), "usermod -aG %s USER", group->gr_name);
	must_explain_as_nobody(0660, SOME_GROUP, want);
}

static void missing_permission_without_a_group_names_another_way(void **state)
{
	(void)state;
	must_explain_as_nobody(0600, SOME_GROUP, "setfacl -m u:USER:rw");
	must_explain_as_nobody(0660, 0, "setfacl -m u:USER:rw");
}

static void what_holds_nothing_may_be_closed(void **state)
{
	struct cvmm_kvm kvm = CVMM_KVM_NONE;
	struct cvmm_kvm_vm vm = CVMM_KVM_VM_NONE;
	struct cvmm_kvm_vcpu vcpu = CVMM_KVM_VCPU_NONE;
	struct cvmm_kvm_device device = CVMM_KVM_DEVICE_NONE;

	(void)state;
	for (int i = 0; i < 2; i++) {
		cvmm_kvm_close(&kvm);
		cvmm_kvm_vm_close(&vm);
		cvmm_kvm_vcpu_close(&vcpu);
		cvmm_kvm_device_close(&device);
	}
	assert_int_equal(vcpu.fd, -1);
}

static void the_descriptor_is_closed_in_programs_we_start(void **state)
{
	struct cvmm_kvm kvm = open_or_skip();

	(void)state;
	assert_true(fcntl(kvm.fd, F_GETFD) & FD_CLOEXEC);
	assert_true(kvm.run_bytes >= sizeof(struct kvm_run));
	cvmm_kvm_close(&kvm);
	assert_int_equal(kvm.fd, -1);
}

/* ---- hardware -------------------------------------------------------------------------------- */

static enum cvmm_kvm_hardware hardware_with(const char *cpuinfo)
{
	int fd = memfd_create("cpuinfo", MFD_CLOEXEC);
	enum cvmm_kvm_hardware hardware;
	char path[64];

	assert_true(fd >= 0);
	assert_ok(cvmm_write_full(fd, cpuinfo, strlen(cpuinfo)));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	hardware = cvmm_kvm_hardware(path, NULL);
	close(fd);
	return hardware;
}

static void hardware_needs_svm_or_vmx_among_the_flags(void **state)
{
	struct cvmm_kvm kvm = open_or_skip();

	(void)state;
	cvmm_kvm_close(&kvm);
#if !defined(__x86_64__)
	SKIP("only x86 has an emulated KVM");
#endif
	assert_int_equal(hardware_with("flags\t\t: fpu vmx sse\n"), CVMM_KVM_HARDWARE);
	assert_int_equal(hardware_with("model name\t: x\nflags\t\t: fpu svm\n"), CVMM_KVM_HARDWARE);
	assert_int_equal(hardware_with("flags\t\t: svm"), CVMM_KVM_HARDWARE);
	assert_int_equal(hardware_with("flags\t\t: fpu svmx vmx_foo xvmx\n"), CVMM_KVM_EMULATED);
	assert_int_equal(hardware_with("model name\t: vmx svm\nflags\t\t: fpu\n"),
			 CVMM_KVM_EMULATED);
	/* What the hypervisor below offers of VMX, not what the CPU has. */
	assert_int_equal(hardware_with("flags\t\t: fpu\nvmx flags\t: vmx\n"), CVMM_KVM_EMULATED);
	assert_int_equal(hardware_with(""), CVMM_KVM_EMULATED);
	assert_int_equal(cvmm_kvm_hardware("/nonexistent/cpuinfo", NULL), CVMM_KVM_EMULATED);
}

static void hardware_needs_a_device_that_opens(void **state)
{
	(void)state;
	assert_int_equal(cvmm_kvm_hardware(NULL, "/nonexistent/kvm"), CVMM_KVM_NO_DEVICE);
	assert_int_equal(cvmm_kvm_hardware(NULL, "/dev/null"), CVMM_KVM_NO_DEVICE);
}

/* ---- capabilities ---------------------------------------------------------------------------- */

static void extensions_are_told_by_number(void **state)
{
	struct cvmm_kvm kvm = open_or_skip();
	struct cvmm_kvm_vm vm = CVMM_KVM_VM_NONE;

	(void)state;
	assert_true(cvmm_kvm_check_extension(&kvm, KVM_CAP_USER_MEMORY) > 0);
	assert_true(cvmm_kvm_check_extension(&kvm, KVM_CAP_NR_MEMSLOTS) >= 32);
	assert_int_equal(cvmm_kvm_check_extension(&kvm, 1 << 20), 0);
	assert_ok(cvmm_kvm_create_vm(&kvm, 0, &vm, NULL));
	assert_true(cvmm_kvm_vm_check_extension(&vm, KVM_CAP_NR_VCPUS) > 0);
	assert_int_equal(cvmm_kvm_vm_check_extension(&vm, 1 << 20), 0);
	cvmm_kvm_vm_close(&vm);
	assert_int_equal(cvmm_kvm_vm_check_extension(&vm, KVM_CAP_NR_VCPUS), -EBADF);
	cvmm_kvm_close(&kvm);
	assert_int_equal(cvmm_kvm_check_extension(&kvm, KVM_CAP_USER_MEMORY), -EBADF);
}

static void a_machine_of_a_type_that_is_not_there_is_refused(void **state)
{
	struct cvmm_kvm kvm = open_or_skip();
	struct cvmm_kvm_vm vm = CVMM_KVM_VM_NONE;
	struct cvmm_error err = { 0 };

	(void)state;
	assert_int_equal(cvmm_kvm_create_vm(&kvm, 4711, &vm, &err), -EINVAL);
	assert_non_null(strstr(err.message, "4711"));
	assert_int_equal(vm.fd, -1);
	cvmm_kvm_close(&kvm);
}

#if defined(__x86_64__)
/* ---- lists ----------------------------------------------------------------------------------- */

#define CPUID_MAX 256U
#define MSR_MAX 1024U

static void cpuid_lists_say_when_they_need_more_room(void **state)
{
	struct cvmm_kvm kvm = open_or_skip();
	struct kvm_cpuid2 *list =
		calloc(1, sizeof(*list) + CPUID_MAX * sizeof(struct kvm_cpuid_entry2));

	(void)state;
	assert_non_null(list);
	list->nent = 1;
	assert_int_equal(cvmm_kvm_get_supported_cpuid(&kvm, list), -E2BIG);
	list->nent = CPUID_MAX;
	assert_ok(cvmm_kvm_get_supported_cpuid(&kvm, list));
	assert_in_range(list->nent, 2, CPUID_MAX);
	assert_int_equal(list->entries[0].function, 0);
	list->nent = CPUID_MAX;
	assert_ok(cvmm_kvm_get_emulated_cpuid(&kvm, list));
	assert_in_range(list->nent, 1, CPUID_MAX);
	list->nent = 0;
	assert_int_equal(cvmm_kvm_get_emulated_cpuid(&kvm, list), -E2BIG);
	free(list);
	cvmm_kvm_close(&kvm);
}

static void msr_lists_say_how_much_room_they_need(void **state)
{
	int (*const get[])(const struct cvmm_kvm *, struct kvm_msr_list *) = {
		cvmm_kvm_get_msr_index_list,
		cvmm_kvm_get_msr_feature_index_list,
	};
	struct cvmm_kvm kvm = open_or_skip();
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + MSR_MAX * sizeof(uint32_t));

	(void)state;
	assert_non_null(list);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(get); i++) {
		uint32_t needed;

		list->nmsrs = 0;
		assert_int_equal(get[i](&kvm, list), -E2BIG);
		needed = list->nmsrs;
		assert_in_range(needed, 1, MSR_MAX);
		assert_ok(get[i](&kvm, list));
		assert_int_equal(list->nmsrs, needed);
	}
	free(list);
	cvmm_kvm_close(&kvm);
}

static void feature_msrs_are_read_from_the_system(void **state)
{
	struct cvmm_kvm kvm = open_or_skip();
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + MSR_MAX * sizeof(uint32_t));
	struct kvm_msrs *msrs = calloc(1, sizeof(*msrs) + MSR_MAX * sizeof(struct kvm_msr_entry));

	(void)state;
	assert_non_null(list);
	assert_non_null(msrs);
	list->nmsrs = MSR_MAX;
	assert_ok(cvmm_kvm_get_msr_feature_index_list(&kvm, list));
	msrs->nmsrs = list->nmsrs;
	for (uint32_t i = 0; i < list->nmsrs; i++)
		msrs->entries[i].index = list->indices[i];
	assert_int_equal(cvmm_kvm_get_msrs(&kvm, msrs), list->nmsrs);
	/* Reading stops at one that is none. */
	msrs->entries[0].index = UINT32_MAX;
	assert_true(cvmm_kvm_get_msrs(&kvm, msrs) <= 0);
	free(msrs);
	free(list);
	cvmm_kvm_close(&kvm);
}
#endif /* __x86_64__ */

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_missing_device_is_explained),
		cmocka_unit_test(a_file_that_is_not_kvm_is_named),
		cmocka_unit_test(missing_permission_names_the_group_to_join),
		cmocka_unit_test(missing_permission_without_a_group_names_another_way),
		cmocka_unit_test(what_holds_nothing_may_be_closed),
		cmocka_unit_test(the_descriptor_is_closed_in_programs_we_start),
		cmocka_unit_test(hardware_needs_svm_or_vmx_among_the_flags),
		cmocka_unit_test(hardware_needs_a_device_that_opens),
		cmocka_unit_test(extensions_are_told_by_number),
		cmocka_unit_test(a_machine_of_a_type_that_is_not_there_is_refused),
#if defined(__x86_64__)
		cmocka_unit_test(cpuid_lists_say_when_they_need_more_room),
		cmocka_unit_test(msr_lists_say_how_much_room_they_need),
		cmocka_unit_test(feature_msrs_are_read_from_the_system),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
