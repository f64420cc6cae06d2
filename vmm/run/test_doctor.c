// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include "doctor.h"
#include "doctor_internal.h"
#include "test_run.h"

#define FLAGS_AMD "processor\t: 0\nflags\t\t: fpu vme svm hypervisor\nbugs\t: x\n"
#define FLAGS_NONE "processor\t: 0\nflags\t\t: fpu svm_lock vmxnet\nvmx flags\t: vnmi vmx\n"

/* A host made of files, and what a probe printed about it. */
struct host {
	struct doctor d;
	char proc[64], cgroups[128], cpuinfo[128], none[128];
	char *text;
	size_t len;
};

static void make_host(struct host *h, struct scratch *s)
{
	memset(h, 0, sizeof(*h));
	snprintf(h->proc, sizeof(h->proc), "%s", s->dir);
	snprintf(h->cgroups, sizeof(h->cgroups), "%s/cg", s->dir);
	snprintf(h->cpuinfo, sizeof(h->cpuinfo), "%s/cpuinfo", s->dir);
	snprintf(h->none, sizeof(h->none), "%s/none", s->dir);
	h->d = (struct doctor){ .kvm = h->none,
				.cpuinfo = h->cpuinfo,
				.tun = h->none,
				.proc = h->proc,
				.cgroups = h->cgroups };
}

static void expect(struct host *h, void (*probe)(struct doctor *d), const char *start,
		   const char *part, unsigned int failures)
{
	h->d.failures = 0;
	h->d.to = open_memstream(&h->text, &h->len);
	assert_non_null(h->d.to);
	probe(&h->d);
	fclose(h->d.to);
	if (strncmp(h->text, start, strlen(start)) != 0 || !strstr(h->text, part))
		fail_msg("the line is \"%s\", not \"%s...%s\"", h->text, start, part);
	assert_int_equal(h->d.failures, failures);
	free(h->text);
}

static void flags_are_whole_words_of_the_flags_line(void **state)
{
	struct scratch *s = *state;

	scratch_text(s, "cpuinfo", FLAGS_AMD);
	assert_true(doctor_cpu_has(s->path, "svm"));
	assert_true(doctor_cpu_has(s->path, "hypervisor"));
	assert_false(doctor_cpu_has(s->path, "vmx"));
	scratch_text(s, "cpuinfo", FLAGS_NONE);
	assert_false(doctor_cpu_has(s->path, "svm"));
	assert_false(doctor_cpu_has(s->path, "vmx"));
	assert_true(doctor_cpu_has(s->path, "vmxnet"));
	assert_false(doctor_cpu_has("/nonexistent", "svm"));
}

static void numbers_are_read_strictly(void **state)
{
	static const char *const bad[] = { "", "max\n", "-1\n", "1 2\n", "99999999999999999999\n" };
	uint64_t value = 42;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++)
		assert_int_equal(doctor_read_number(scratch_text(*state, "n", bad[i]), &value),
				 -ENOENT);
	assert_int_equal(value, 42);
	assert_int_equal(doctor_read_number(scratch_text(*state, "n", "7\n"), &value), 0);
	assert_int_equal(value, 7);
}

static void a_missing_kvm_fails_with_advice(void **state)
{
	struct host h;

	make_host(&h, *state);
	scratch_text(*state, "cpuinfo", FLAGS_AMD);
	expect(&h, doctor_kvm, "fail  kvm: cannot open ", "→ sudo modprobe", 1);
#ifdef __x86_64__
	scratch_text(*state, "cpuinfo", FLAGS_NONE);
	expect(&h, doctor_kvm, "fail  kvm: no ", "./x run", 1);
	expect(&h, doctor_cpu, "warn  cpu: no svm or vmx", "firmware's settings", 0);
	scratch_text(*state, "cpuinfo", FLAGS_AMD);
	expect(&h, doctor_cpu, "ok    cpu: AMD SVM", "nested", 0);
#endif
}

static void a_device_that_is_not_kvm_fails(void **state)
{
	struct host h;

	make_host(&h, *state);
	h.d.kvm = "/dev/null";
	expect(&h, doctor_kvm, "fail  kvm: /dev/null does not speak", "./x run", 1);
}

static void a_denied_kvm_fails_with_its_group(void **state)
{
	struct host h;
	char path[PATH_MAX];

	if (geteuid() == 0) {
		print_message("SKIP: nothing is denied to root\n");
		skip();
	}
	make_host(&h, *state);
	snprintf(path, sizeof(path), "%s", scratch_text(*state, "kvm", ""));
	assert_int_equal(chmod(path, 0), 0);
	h.d.kvm = path;
	expect(&h, doctor_kvm, "fail  kvm: ", "setfacl", 1);
}

static void a_kvm_without_hardware_is_told_apart(void **state)
{
	struct host h;
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		print_message("SKIP: /dev/kvm does not open\n");
		skip();
	}
	close(fd);
	make_host(&h, *state);
	h.d.kvm = "/dev/kvm";
	scratch_text(*state, "cpuinfo", FLAGS_AMD);
	expect(&h, doctor_kvm, "ok    kvm: /dev/kvm opens", "ok    kvm capabilities", 0);
#ifdef __x86_64__
	scratch_text(*state, "cpuinfo", FLAGS_NONE);
	expect(&h, doctor_kvm, "fail  kvm: /dev/kvm opens", "stock kernels do not boot", 1);
#endif
}

static void memory_is_enough_little_or_too_little(void **state)
{
	struct host h;

	make_host(&h, *state);
	expect(&h, doctor_memory, "warn  memory: ", "does not say", 0);
	scratch_text(*state, "meminfo",
		     "MemTotal: 1 kB\nMemAvailable:  1048576 kB\n"
		     "HugePages_Free:  3\nHugepagesize:  2048 kB\n");
	expect(&h, doctor_memory, "ok    memory: 1024 MiB", "3 free huge pages of 2048 KiB", 0);
	scratch_text(*state, "sys/vm/overcommit_memory", "2\n");
	expect(&h, doctor_memory, "warn  memory: 1024 MiB", "vm.overcommit_memory=0", 0);
	scratch_text(*state, "meminfo", "MemAvailable:  102400 kB\n");
	expect(&h, doctor_memory, "warn  memory: 100 MiB", "--memory", 0);
	scratch_text(*state, "meminfo", "MemAvailable:  1024 kB\n");
	expect(&h, doctor_memory, "fail  memory: 1 MiB", "→", 1);
}

static void the_tightest_group_counts(void **state)
{
	struct host h;

	make_host(&h, *state);
	expect(&h, doctor_cgroup, "ok    cgroup: none", "", 0);
	scratch_text(*state, "self/cgroup", "3:cpu:/x\n0::/a/b\n");
	expect(&h, doctor_cgroup, "ok    cgroup: memory: no limit", "threads: no limit", 0);
	scratch_text(*state, "cg/a/b/memory.max", "max\n");
	scratch_text(*state, "cg/a/memory.max", "134217728\n");
	scratch_text(*state, "cg/a/b/pids.max", "1000\n");
	expect(&h, doctor_cgroup, "warn  cgroup: memory: 128 MiB", "threads: 1000", 0);
}

static void switches_of_user_namespaces_are_named(void **state)
{
	struct host h;

	make_host(&h, *state);
	expect(&h, doctor_user_namespaces, "warn  user namespaces: missing", "", 0);
	scratch_text(*state, "sys/user/max_user_namespaces", "1000\n");
	expect(&h, doctor_user_namespaces, "ok    user namespaces: allowed", "", 0);
	scratch_text(*state, "sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
	expect(&h, doctor_user_namespaces, "warn  user namespaces: restricted", "apparmor", 0);
	scratch_text(*state, "sys/kernel/unprivileged_userns_clone", "0\n");
	expect(&h, doctor_user_namespaces, "warn  user namespaces: restricted", "clone=1", 0);
	scratch_text(*state, "sys/user/max_user_namespaces", "0\n");
	expect(&h, doctor_user_namespaces, "warn  user namespaces: restricted", "max_user", 0);
}

static void a_missing_tun_is_a_warning(void **state)
{
	struct host h;

	make_host(&h, *state);
	expect(&h, doctor_tun, "warn  tun: cannot open", "modprobe tun", 0);
	h.d.tun = "/dev/null";
	expect(&h, doctor_tun, "ok    tun: /dev/null opens", "", 0);
}

static void a_kernel_needs_its_modules(void **state)
{
	struct scratch *s = *state;
	char image[0x400] = { 0 };
	struct host h;

	make_host(&h, s);
	setenv("CVMM_KERNELS", s->dir, 1);
	memcpy(image + 0x202, "HdrS", 4);
	cvmm_put_le16(image + 0x20e, 0x100);
	strcpy(image + 0x300, "9.9.9-none");
	scratch_write(s, "p/boot/vmlinuz-9.9.9-none", image, sizeof(image));
	expect(&h, doctor_kernel, "fail  kernel: no modules of kernel 9.9.9-none", "depmod", 1);
	scratch_text(s, "p/lib/modules/9.9.9-none/modules.dep", "");
	expect(&h, doctor_kernel, "ok    kernel: ", "version 9.9.9-none, modules in", 0);
	scratch_text(s, "p/boot/vmlinuz-9.9.9-none", "");
	expect(&h, doctor_kernel, "fail  kernel: ", "is it a kernel?", 1);
}

static void every_line_has_its_level_and_its_topic(void **state)
{
	struct host h;

	make_host(&h, *state);
	expect(&h, doctor_landlock, "", " landlock: ", 0);
	expect(&h, doctor_limits, "", " limits: ", 0);
}

static void the_command_takes_no_arguments(void **state)
{
	char help[] = "--help", other[] = "now";

	(void)state;
	assert_int_equal(cvmm_doctor_main((char *[]){ help, NULL }), 0);
	assert_int_equal(cvmm_doctor_main((char *[]){ other, NULL }), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(flags_are_whole_words_of_the_flags_line),
		scratch_test(numbers_are_read_strictly),
		scratch_test(a_missing_kvm_fails_with_advice),
		scratch_test(a_device_that_is_not_kvm_fails),
		scratch_test(a_denied_kvm_fails_with_its_group),
		scratch_test(a_kvm_without_hardware_is_told_apart),
		scratch_test(memory_is_enough_little_or_too_little),
		scratch_test(the_tightest_group_counts),
		scratch_test(switches_of_user_namespaces_are_named),
		scratch_test(a_missing_tun_is_a_warning),
		scratch_test(a_kernel_needs_its_modules),
		scratch_test(every_line_has_its_level_and_its_topic),
		cmocka_unit_test(the_command_takes_no_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
