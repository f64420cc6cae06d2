// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Guests of a few instructions in real mode, and the exits that they cause. Each is an array of
 * bytes with its assembly beside it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "test_kvm_util.h"

#if defined(__x86_64__)

/* ---- ports ----------------------------------------------------------------------------------- */

static void a_store_to_a_port_exits(void **state)
{
	static const uint8_t code[] = {
		0xba, 0xf8, 0x03, /* mov dx, 0x3f8 */
		0xb0, 0x41,	  /* mov al, 'A' */
		0xee,		  /* out dx, al */
		0xb8, 0x34, 0x12, /* mov ax, 0x1234 */
		0xe7, 0x50,	  /* out 0x50, ax */
		0xf4,		  /* hlt */
	};
	struct cvmm_kvm_exit exit;
	struct guest guest;

	(void)state;
	guest_start(&guest, code);
	exit = guest_run(&guest);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_IO);
	assert_true(exit.io.is_write);
	assert_int_equal(exit.io.port, 0x3f8);
	assert_int_equal(exit.io.size_bytes, 1);
	assert_int_equal(exit.io.count, 1);
	assert_int_equal(exit.io.data[0], 'A');
	exit = guest_run(&guest);
	assert_int_equal(exit.io.port, 0x50);
	assert_int_equal(exit.io.size_bytes, 2);
	assert_int_equal(cvmm_get_le16(exit.io.data), 0x1234);
	guest_must_halt(&guest);
	guest_stop(&guest);
}

static void a_load_from_a_port_takes_our_answer(void **state)
{
	static const uint8_t code[] = {
		0xe5, 0x60,	  /* in ax, 0x60 */
		0xa3, 0x00, 0x20, /* mov [SCRATCH], ax */
		0xf4,		  /* hlt */
	};
	struct cvmm_kvm_exit exit;
	struct guest guest;

	(void)state;
	guest_start(&guest, code);
	exit = guest_run(&guest);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_IO);
	assert_false(exit.io.is_write);
	assert_int_equal(exit.io.size_bytes, 2);
	cvmm_put_le16(exit.io.data, 0xbeef);
	guest_must_halt(&guest);
	assert_int_equal(cvmm_get_le16(guest.ram + SCRATCH), 0xbeef);
	guest_stop(&guest);
}

/* The kernel may hand over any number of values at once. */
static void a_string_store_to_a_port_gives_all_values(void **state)
{
	static const uint8_t code[] = {
		0xbe, 0x00, 0x20, /* mov si, SCRATCH */
		0xb9, 0x05, 0x00, /* mov cx, 5 */
		0xba, 0x50, 0x00, /* mov dx, 0x50 */
		0xfc,		  /* cld */
		0xf3, 0x6e,	  /* rep outsb */
		0xf4,		  /* hlt */
	};
	struct cvmm_kvm_exit exit;
	struct guest guest;
	char got[8] = "";
	size_t n = 0;

	(void)state;
	guest_start(&guest, code);
	memcpy(guest.ram + SCRATCH, "hello", 5);
	for (exit = guest_run(&guest); exit.type == CVMM_KVM_EXIT_IO; exit = guest_run(&guest)) {
		assert_true(n + exit.io.count <= 5);
		memcpy(got + n, exit.io.data, exit.io.count);
		n += exit.io.count;
	}
	assert_int_equal(exit.type, CVMM_KVM_EXIT_HLT);
	assert_string_equal(got, "hello");
	guest_stop(&guest);
}

static void a_string_load_from_a_port_takes_many_values_at_once(void **state)
{
	static const uint8_t code[] = {
		0xbf, 0x00, 0x20, /* mov di, SCRATCH */
		0xb9, 0x06, 0x00, /* mov cx, 6 */
		0xba, 0x50, 0x00, /* mov dx, 0x50 */
		0xfc,		  /* cld */
		0xf3, 0x6d,	  /* rep insw */
		0xf4,		  /* hlt */
	};
	struct cvmm_kvm_exit exit;
	struct guest guest;
	uint16_t n = 0;
	uint32_t most = 0;

	(void)state;
	guest_start(&guest, code);
	for (exit = guest_run(&guest); exit.type == CVMM_KVM_EXIT_IO; exit = guest_run(&guest)) {
		assert_int_equal(exit.io.size_bytes, 2);
		most = exit.io.count > most ? exit.io.count : most;
		for (uint32_t i = 0; i < exit.io.count; i++)
			cvmm_put_le16(exit.io.data + (size_t)2 * i, n++);
	}
	assert_int_equal(exit.type, CVMM_KVM_EXIT_HLT);
	assert_int_equal(n, 6);
	assert_true(most > 1);
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(cvmm_get_le16(guest.ram + SCRATCH + 2 * i), i);
	guest_stop(&guest);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static const uint8_t window_code[] = {
	0xb8, 0x00, 0xd0,		    /* mov ax, WINDOW >> 4 */
	0x8e, 0xd8,			    /* mov ds, ax */
	0xc7, 0x06, 0x10, 0x00, 0x34, 0x12, /* mov word [0x10], 0x1234 */
	0x8b, 0x1e, 0x20, 0x00,		    /* mov bx, [0x20] */
	0x26, 0x89, 0x1e, 0x00, 0x20,	    /* mov es:[SCRATCH], bx */
	0xf4,				    /* hlt */
};

static void must_store_to_window(struct guest *guest)
{
	struct cvmm_kvm_exit exit = guest_run(guest);

	assert_int_equal(exit.type, CVMM_KVM_EXIT_MMIO);
	assert_true(exit.mmio.is_write);
	assert_int_equal(exit.mmio.gpa, WINDOW + 0x10);
	assert_int_equal(exit.mmio.len_bytes, 2);
	assert_int_equal(cvmm_get_le16(exit.mmio.data), 0x1234);
}

static void stores_and_loads_where_no_memory_is_exit(void **state)
{
	struct cvmm_kvm_exit exit;
	struct guest guest;

	(void)state;
	guest_start(&guest, window_code);
	must_store_to_window(&guest);
	exit = guest_run(&guest);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_MMIO);
	assert_false(exit.mmio.is_write);
	assert_int_equal(exit.mmio.gpa, WINDOW + 0x20);
	cvmm_put_le16(exit.mmio.data, 0xcafe);
	guest_must_halt(&guest);
	assert_int_equal(cvmm_get_le16(guest.ram + SCRATCH), 0xcafe);
	guest_stop(&guest);
}

static void a_read_only_slot_is_read_and_its_stores_exit(void **state)
{
	struct guest guest;
	uint8_t *rom;

	(void)state;
	guest_start(&guest, window_code);
	rom = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(rom, MAP_FAILED);
	cvmm_put_le16(rom + 0x20, 0x5678);
	assert_ok(cvmm_kvm_vm_set_memory(&guest.vm, 1, KVM_MEM_READONLY, WINDOW, 4096, rom));
	must_store_to_window(&guest);
	guest_must_halt(&guest);
	assert_int_equal(cvmm_get_le16(guest.ram + SCRATCH), 0x5678);
	assert_int_equal(cvmm_get_le16(rom + 0x10), 0);
	guest_stop(&guest);
	munmap(rom, 4096);
}

static void a_removed_slot_exits_again(void **state)
{
	struct guest guest;

	(void)state;
	guest_start(&guest, window_code);
	assert_ok(cvmm_kvm_vm_set_memory(&guest.vm, 1, 0, WINDOW, 4096, guest.ram));
	guest_must_halt(&guest);
	assert_int_equal(cvmm_get_le16(guest.ram + 0x10), 0x1234);
	assert_ok(cvmm_kvm_vm_set_memory(&guest.vm, 1, 0, WINDOW, 0, guest.ram));
	guest_set_pc(&guest, CODE);
	must_store_to_window(&guest);
	guest_stop(&guest);
}

static void slots_that_overlap_or_are_not_aligned_are_refused(void **state)
{
	struct guest guest;

	(void)state;
	guest_make_vm(&guest);
	assert_int_equal(cvmm_kvm_vm_set_memory(&guest.vm, 1, 0, 0, 4096, guest.ram), -EEXIST);
	assert_int_equal(cvmm_kvm_vm_set_memory(&guest.vm, 1, 0, WINDOW, 100, guest.ram), -EINVAL);
	assert_int_equal(cvmm_kvm_vm_set_memory(&guest.vm, 1, 0, WINDOW + 1, 4096, guest.ram),
			 -EINVAL);
	assert_int_equal(cvmm_kvm_vm_set_memory(&guest.vm, 0xffff, 0, WINDOW, 4096, guest.ram),
			 -EINVAL);
	guest_stop(&guest);
}
/* ---- failures --------------------------------------------------------------------------------- */

static void an_instruction_that_is_not_emulated_is_shown(void **state)
{
	static const uint8_t code[] = {
		0x0f, 0x01, 0xd0, /* xgetbv */
		0xf4,		  /* hlt */
	};
	struct cvmm_kvm_exit exit;
	struct guest guest;

	(void)state;
	if (cvmm_kvm_hardware(NULL, NULL) == CVMM_KVM_HARDWARE)
		SKIP("the hardware executes it");
	guest_start(&guest, code);
	exit = guest_run(&guest);
	if (exit.type == CVMM_KVM_EXIT_HLT) {
		guest_stop(&guest);
		SKIP("this emulation knows it");
	}
	assert_int_equal(exit.type, CVMM_KVM_EXIT_INTERNAL_ERROR);
	assert_int_equal(exit.internal_error.suberror, KVM_INTERNAL_ERROR_EMULATION);
	assert_non_null(exit.internal_error.insn);
	assert_in_range(exit.internal_error.insn_bytes, 3, 15);
	assert_memory_equal(exit.internal_error.insn, code, 3);
	guest_stop(&guest);
}
#endif /* __x86_64__ */

int main(void)
{
#if defined(__x86_64__)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_store_to_a_port_exits),
		cmocka_unit_test(a_load_from_a_port_takes_our_answer),
		cmocka_unit_test(a_string_store_to_a_port_gives_all_values),
		cmocka_unit_test(a_string_load_from_a_port_takes_many_values_at_once),
		cmocka_unit_test(stores_and_loads_where_no_memory_is_exit),
		cmocka_unit_test(a_read_only_slot_is_read_and_its_stores_exit),
		cmocka_unit_test(a_removed_slot_exits_again),
		cmocka_unit_test(slots_that_overlap_or_are_not_aligned_are_refused),
		cmocka_unit_test(an_instruction_that_is_not_emulated_is_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
#else
	printf("skipped: the guests are made of x86 instructions\n");
	return 77;
#endif
}
