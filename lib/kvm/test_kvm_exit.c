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

/* ---- ports ---------------------------------------------------------------------------------------- */

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

/* ---- memory --------------------------------------------------------------------------------------- */

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
