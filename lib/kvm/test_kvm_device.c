// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Devices of the kernel's, attributes, and the statistics that it keeps. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

#include "test_kvm_util.h"

#if defined(__x86_64__)

#define STATS_MAX 256U

static const uint8_t halt_code[] = { 0xf4 /* hlt */ };

/* ---- devices --------------------------------------------------------------------------------- */

static void vfio_or_skip(struct guest *guest, uint32_t flags, struct cvmm_kvm_device *device)
{
	int ret = cvmm_kvm_vm_create_device(&guest->vm, KVM_DEV_TYPE_VFIO, flags, device);

	if (ret == -ENODEV)
		SKIP("this KVM has no VFIO device");
	assert_ok(ret);
}

static void asking_for_a_device_makes_none(void **state)
{
	struct cvmm_kvm_device device = CVMM_KVM_DEVICE_NONE;
	struct guest guest;

	(void)state;
	guest_make_vm(&guest);
	vfio_or_skip(&guest, KVM_CREATE_DEVICE_TEST, &device);
	assert_int_equal(device.fd, -1);
	guest_stop(&guest);
}

static void a_device_that_is_not_there_is_refused(void **state)
{
	struct cvmm_kvm_device device = CVMM_KVM_DEVICE_NONE;
	struct guest guest;

	(void)state;
	guest_make_vm(&guest);
	assert_int_equal(cvmm_kvm_vm_create_device(&guest.vm, 4711, 0, &device), -ENODEV);
	assert_int_equal(device.fd, -1);
	guest_stop(&guest);
}

static void a_device_tells_which_attributes_it_has(void **state)
{
	struct cvmm_kvm_device device = CVMM_KVM_DEVICE_NONE;
	int bad_fd = -1;
	struct guest guest;

	(void)state;
	guest_make_vm(&guest);
	vfio_or_skip(&guest, 0, &device);
	assert_true(device.fd >= 0);
	assert_ok(cvmm_kvm_has_attr(device.fd, KVM_DEV_VFIO_GROUP, KVM_DEV_VFIO_GROUP_ADD));
	assert_int_equal(cvmm_kvm_has_attr(device.fd, KVM_DEV_VFIO_GROUP, 4711), -ENXIO);
	assert_int_equal(cvmm_kvm_has_attr(device.fd, 4711, 0), -ENXIO);
	assert_int_equal(
		cvmm_kvm_set_attr(device.fd, KVM_DEV_VFIO_GROUP, KVM_DEV_VFIO_GROUP_ADD, &bad_fd),
		-EBADF);
	/* One device of the kind is all that a machine takes. */
	assert_int_equal(cvmm_kvm_vm_create_device(&guest.vm, KVM_DEV_TYPE_VFIO, 0, &device),
			 -EBUSY);
	cvmm_kvm_device_close(&device);
	assert_int_equal(device.fd, -1);
	guest_stop(&guest);
}

static void a_cpu_has_the_offset_of_its_tsc(void **state)
{
	const uint64_t untouched = 0x5555555555555555;
	uint64_t offset = untouched;
	struct guest guest;
	int ret;

	(void)state;
	guest_start(&guest, halt_code);
	ret = cvmm_kvm_has_attr(guest.vcpu.fd, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET);
	SKIP_IF_LACKING(ret, "attributes of a CPU");
	assert_ok(ret);
	assert_int_equal(cvmm_kvm_has_attr(guest.vcpu.fd, KVM_VCPU_TSC_CTRL, 4711), -ENXIO);
	assert_ok(
		cvmm_kvm_get_attr(guest.vcpu.fd, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, &offset));
	assert_true(offset != untouched);
	/* KVM changes it behind our back where the TSC below is not stable: do not compare. */
	assert_ok(
		cvmm_kvm_set_attr(guest.vcpu.fd, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, &offset));
	assert_int_equal(
		cvmm_kvm_set_attr(guest.vcpu.fd, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, NULL),
		-EFAULT);
	guest_stop(&guest);
}

static void the_system_has_attributes_too(void **state)
{
	struct cvmm_kvm kvm = open_or_skip();
	uint64_t features = 0;

	(void)state;
	if (cvmm_kvm_check_extension(&kvm, KVM_CAP_SYS_ATTRIBUTES) <= 0)
		SKIP("this KVM's system has no attributes");
	assert_ok(cvmm_kvm_has_attr(kvm.fd, 0, KVM_X86_XCOMP_GUEST_SUPP));
	assert_ok(cvmm_kvm_get_attr(kvm.fd, 0, KVM_X86_XCOMP_GUEST_SUPP, &features));
	assert_int_equal(cvmm_kvm_has_attr(kvm.fd, 0, 4711), -ENXIO);
	cvmm_kvm_close(&kvm);
}

static void a_machine_without_an_attribute_says_so(void **state)
{
	struct guest guest;
	int ret;

	(void)state;
	guest_make_vm(&guest);
	ret = cvmm_kvm_has_attr(guest.vm.fd, 4711, 4711);
	/* On x86 older kernels do not know the question. */
	assert_true(ret == -ENXIO || ret == -ENOTTY);
	guest_stop(&guest);
}

/* ---- statistics ------------------------------------------------------------------------------ */

/* Return: the statistic of that name, or NULL. */
static const struct cvmm_kvm_stat *find(const struct cvmm_kvm_stat *stats, int count,
					const char *name)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(stats[i].name, name))
			return &stats[i];
	return NULL;
}

static int read_stats(int of_fd, struct cvmm_kvm_stat *stats)
{
	int fd = cvmm_kvm_get_stats_fd(of_fd);
	int count;

	SKIP_IF_LACKING(fd, "statistics");
	assert_true(fd >= 0);
	count = cvmm_kvm_stats_read(fd, stats, STATS_MAX);
	close(fd);
	assert_in_range(count, 1, STATS_MAX);
	for (int i = 0; i < count; i++)
		assert_true(strlen(stats[i].name) > 0 && stats[i].value_count > 0);
	return count;
}

static void a_machine_has_statistics(void **state)
{
	static struct cvmm_kvm_stat stats[STATS_MAX];
	struct guest guest;
	int count;

	(void)state;
	guest_make_vm(&guest);
	count = read_stats(guest.vm.fd, stats);
	assert_non_null(find(stats, count, "remote_tlb_flush"));
	assert_null(find(stats, count, "remote_tlb"));
	guest_stop(&guest);
}

/* Older kernels leave that to us. */
static void statistics_are_closed_in_programs_we_start(void **state)
{
	struct guest guest;
	int fds[2];

	(void)state;
	guest_start(&guest, halt_code);
	fds[0] = cvmm_kvm_get_stats_fd(guest.vm.fd);
	fds[1] = cvmm_kvm_get_stats_fd(guest.vcpu.fd);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(fds); i++) {
		SKIP_IF_LACKING(fds[i], "statistics");
		assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
		close(fds[i]);
	}
	assert_int_equal(cvmm_kvm_get_stats_fd(-1), -EBADF);
	guest_stop(&guest);
}

static void histograms_give_all_their_buckets(void **state)
{
	static struct cvmm_kvm_stat stats[STATS_MAX];
	uint64_t values[UINT8_MAX] = { 0 };
	const struct cvmm_kvm_stat *histogram;
	struct guest guest;
	int fd, count;

	(void)state;
	guest_start(&guest, halt_code);
	fd = cvmm_kvm_get_stats_fd(guest.vcpu.fd);
	SKIP_IF_LACKING(fd, "statistics");
	count = cvmm_kvm_stats_read(fd, stats, STATS_MAX);
	assert_in_range(count, 1, STATS_MAX);
	histogram = find(stats, count, "halt_wait_hist");
	if (!histogram)
		SKIP("this KVM has no histogram of waits");
	assert_int_equal(histogram->flags & KVM_STATS_TYPE_MASK, KVM_STATS_TYPE_LOG_HIST);
	assert_int_equal(histogram->flags & KVM_STATS_UNIT_MASK, KVM_STATS_UNIT_SECONDS);
	assert_int_equal(histogram->exponent, -9);
	assert_in_range(histogram->value_count, 2, CVMM_ARRAY_SIZE(values));
	assert_int_equal(cvmm_kvm_stats_read_values(fd, histogram, values, CVMM_ARRAY_SIZE(values)),
			 histogram->value_count);
	close(fd);
	guest_stop(&guest);
}

static void a_cpu_counts_its_exits(void **state)
{
	static const uint8_t code[] = { 0xe6, 0x50, 0xe6, 0x50,
					0xf4 /* out 0x50, al; twice; hlt */ };
	static struct cvmm_kvm_stat stats[STATS_MAX];
	const struct cvmm_kvm_stat *exits;
	struct guest guest;
	uint64_t before;
	int count;

	(void)state;
	guest_start(&guest, code);
	count = read_stats(guest.vcpu.fd, stats);
	exits = find(stats, count, "io_exits");
	assert_non_null(exits);
	assert_int_equal(exits->flags & KVM_STATS_TYPE_MASK, KVM_STATS_TYPE_CUMULATIVE);
	before = exits->value;
	assert_int_equal(guest_run(&guest).type, CVMM_KVM_EXIT_IO);
	assert_int_equal(guest_run(&guest).type, CVMM_KVM_EXIT_IO);
	guest_must_halt(&guest);
	count = read_stats(guest.vcpu.fd, stats);
	exits = find(stats, count, "io_exits");
	assert_non_null(exits);
	/* What runs real mode in software does not see these as exits of the CPU. */
	if (cvmm_kvm_hardware(NULL, NULL) == CVMM_KVM_HARDWARE)
		assert_int_equal(exits->value, before + 2);
	guest_stop(&guest);
}
#endif /* __x86_64__ */

int main(void)
{
#if defined(__x86_64__)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(asking_for_a_device_makes_none),
		cmocka_unit_test(a_device_that_is_not_there_is_refused),
		cmocka_unit_test(a_device_tells_which_attributes_it_has),
		cmocka_unit_test(a_cpu_has_the_offset_of_its_tsc),
		cmocka_unit_test(the_system_has_attributes_too),
		cmocka_unit_test(a_machine_without_an_attribute_says_so),
		cmocka_unit_test(a_machine_has_statistics),
		cmocka_unit_test(a_cpu_counts_its_exits),
		cmocka_unit_test(statistics_are_closed_in_programs_we_start),
		cmocka_unit_test(histograms_give_all_their_buckets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
#else
	printf("skipped: the guests are made of x86 instructions\n");
	return 77;
#endif
}
