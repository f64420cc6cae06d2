// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "test_mem_util.h"

/*
 * What most tests look at, in pages: RAM [1, 2) and, in a region of its own, [2, 3); a hole; RAM
 * [4, 5) next to memory that devices may only read [5, 6); a hole; RAM in the last page of the
 * address space.
 */
static int set_up(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config configs[] = {
		ram_config(page, page),	    ram_config(2 * page, page), ram_config(4 * page, page),
		ram_config(5 * page, page), ram_config(-page, page),
	};

	configs[3].access = CVMM_ACCESS_READ;
	*state = must_create(configs, CVMM_ARRAY_SIZE(configs));
	return 0;
}

static int tear_down(void **state)
{
	*state = cvmm_mem_unref(*state);
	return 0;
}

static void copies_cross_from_region_to_region(void **state)
{
	struct cvmm_mem *mem = *state;
	uint64_t at = 2 * page_size() - 3;
	char text[9] = "";

	assert_int_equal(cvmm_mem_write(mem, G(at), "crossing", 8), 0);
	assert_int_equal(cvmm_mem_read(mem, G(at), text, 8), 0);
	assert_string_equal(text, "crossing");
	assert_memory_equal(cvmm_mem_region_at(mem, 0)->host + page_size() - 3, "cro", 3);
	assert_memory_equal(cvmm_mem_region_at(mem, 1)->host, "ssing", 5);
}

static void copies_into_holes_fault(void **state)
{
	struct cvmm_mem *mem = *state;
	uint64_t page = page_size();
	uint8_t buf[16] = { 0 };

	assert_int_equal(cvmm_mem_read(mem, G(page - 1), buf, 1), -EFAULT);
	assert_int_equal(cvmm_mem_read(mem, G(page - 1), buf, 2), -EFAULT);
	assert_int_equal(cvmm_mem_read(mem, G(3 * page - 1), buf, 2), -EFAULT);
	assert_int_equal(cvmm_mem_read(mem, G(3 * page), buf, 1), -EFAULT);
	assert_int_equal(cvmm_mem_write(mem, G(4 * page - 1), buf, 2), -EFAULT);
	assert_int_equal(cvmm_mem_check(mem, G(2 * page), 3 * page, CVMM_ACCESS_READ), -EFAULT);
}

static void a_faulting_write_changes_nothing(void **state)
{
	static const uint8_t zeroes[8] = { 0 };
	struct cvmm_mem *mem = *state;
	uint64_t page = page_size();
	uint8_t *end_of_ram = cvmm_mem_region_at(mem, 1)->host + page - 4;
	uint8_t *before_rom = cvmm_mem_region_at(mem, 2)->host + page - 4;

	assert_int_equal(cvmm_mem_write(mem, G(3 * page - 4), "12345678", 8), -EFAULT);
	assert_int_equal(cvmm_mem_fill(mem, G(3 * page - 4), 0xff, 8), -EFAULT);
	assert_memory_equal(end_of_ram, zeroes, 4);
	assert_int_equal(cvmm_mem_write(mem, G(5 * page - 4), "12345678", 8), -EFAULT);
	assert_int_equal(cvmm_mem_fill(mem, G(5 * page - 4), 0xff, 8), -EFAULT);
	assert_memory_equal(before_rom, zeroes, 4);
}

static void access_rights_bind_every_door(void **state)
{
	struct cvmm_mem *mem = *state;
	uint64_t rom = 5 * page_size();
	struct iovec iov[2];
	size_t count;
	uint16_t v;

	assert_int_equal(cvmm_mem_check(mem, G(rom), 2, CVMM_ACCESS_READ), 0);
	assert_int_equal(cvmm_mem_check(mem, G(rom), 2, CVMM_ACCESS_WRITE), -EFAULT);
	assert_int_equal(cvmm_mem_check(mem, G(rom), 2, CVMM_ACCESS_READ_WRITE), -EFAULT);
	assert_int_equal(cvmm_mem_read(mem, G(rom), &v, 2), 0);
	assert_int_equal(cvmm_mem_write(mem, G(rom), &v, 2), -EFAULT);
	assert_int_equal(cvmm_mem_fill(mem, G(rom), 1, 2), -EFAULT);
	assert_int_equal(cvmm_mem_pread(mem, G(rom), 0, 0, 2), -EFAULT);
	assert_non_null(cvmm_mem_ptr(mem, G(rom), 2, CVMM_ACCESS_READ));
	assert_null(cvmm_mem_ptr(mem, G(rom), 2, CVMM_ACCESS_READ_WRITE));
	assert_int_equal(cvmm_mem_span(mem, G(rom - 1), 2, CVMM_ACCESS_READ, iov, 2, &count), 0);
	assert_int_equal(cvmm_mem_span(mem, G(rom - 1), 2, CVMM_ACCESS_WRITE, iov, 2, &count),
			 -EFAULT);
	assert_int_equal(cvmm_mem_load_u16(mem, G(rom), __ATOMIC_RELAXED, &v), 0);
	assert_int_equal(cvmm_mem_store_u16(mem, G(rom), __ATOMIC_RELAXED, v), -EFAULT);
}

static void empty_ranges_are_fine_anywhere(void **state)
{
	struct cvmm_mem *mem = *state;
	uint64_t hole = 3 * page_size();
	size_t count = 7;

	assert_int_equal(cvmm_mem_check(mem, G(hole), 0, CVMM_ACCESS_READ_WRITE), 0);
	assert_int_equal(cvmm_mem_check(mem, G(UINT64_MAX), 0, CVMM_ACCESS_READ_WRITE), 0);
	assert_int_equal(cvmm_mem_read(mem, G(hole), NULL, 0), 0);
	assert_int_equal(cvmm_mem_write(mem, G(hole), NULL, 0), 0);
	assert_int_equal(cvmm_mem_fill(mem, G(hole), 1, 0), 0);
	assert_int_equal(cvmm_mem_pread(mem, G(hole), -1, 0, 0), 0);
	assert_int_equal(cvmm_mem_span(mem, G(hole), 0, CVMM_ACCESS_READ, NULL, 0, &count), 0);
	assert_int_equal(count, 0);
	assert_null(cvmm_mem_ptr(mem, G(hole), 0, CVMM_ACCESS_READ));
	assert_non_null(cvmm_mem_ptr(mem, G(page_size()), 0, CVMM_ACCESS_READ));
}

static void the_last_byte_of_the_address_space_is_ordinary(void **state)
{
	struct cvmm_mem *mem = *state;
	struct iovec iov[1];
	uint8_t byte = 0;
	size_t count = 0;
	uint64_t v = 0;

	assert_int_equal(cvmm_mem_write(mem, G(UINT64_MAX), "z", 1), 0);
	assert_int_equal(cvmm_mem_read(mem, G(UINT64_MAX), &byte, 1), 0);
	assert_int_equal(byte, 'z');
	assert_int_equal(cvmm_mem_check(mem, G(-page_size()), page_size(), CVMM_ACCESS_READ), 0);
	assert_int_equal(
		cvmm_mem_span(mem, G(-page_size()), page_size(), CVMM_ACCESS_READ, iov, 1, &count),
		0);
	assert_int_equal(count, 1);
	assert_int_equal(cvmm_mem_store_u64(mem, G(-UINT64_C(8)), __ATOMIC_SEQ_CST, 5), 0);
	assert_int_equal(cvmm_mem_load_u64(mem, G(-UINT64_C(8)), __ATOMIC_SEQ_CST, &v), 0);
	assert_int_equal(v, 5);
}

static void ranges_never_wrap_around(void **state)
{
	struct cvmm_mem_config configs[] = {
		ram_config(0, page_size()),
		ram_config(-page_size(), page_size()),
	};
	struct cvmm_mem *mem = must_create(configs, 2);
	uint8_t buf[4] = { 0 };

	(void)state;
	assert_int_equal(cvmm_mem_read(mem, G(UINT64_MAX - 1), buf, 4), -EFAULT);
	assert_int_equal(cvmm_mem_write(mem, G(UINT64_MAX - 1), buf, 4), -EFAULT);
	assert_int_equal(cvmm_mem_check(mem, G(UINT64_MAX), 2, CVMM_ACCESS_READ), -EFAULT);
	assert_int_equal(cvmm_mem_check(mem, G(1), UINT64_MAX, CVMM_ACCESS_READ), -EFAULT);
	assert_int_equal(cvmm_mem_check(mem, G(0), UINT64_MAX, CVMM_ACCESS_READ), -EFAULT);
	assert_int_equal(cvmm_mem_fill(mem, G(-page_size()), 1, UINT64_MAX), -EFAULT);
	assert_null(cvmm_mem_ptr(mem, G(UINT64_MAX), 2, CVMM_ACCESS_READ));
	cvmm_mem_unref(mem);
}

static void span_joins_neighbours_and_cuts_where_rights_change(void **state)
{
	struct cvmm_mem *mem = *state;
	uint64_t page = page_size();
	struct iovec iov[2];
	size_t count = 0;

	skip_where_neighbours_are_apart();
	assert_int_equal(cvmm_mem_span(mem, G(page + 16), 2 * page - 32, CVMM_ACCESS_READ_WRITE,
				       iov, 2, &count),
			 0);
	assert_int_equal(count, 1);
	assert_ptr_equal(iov[0].iov_base, cvmm_mem_region_at(mem, 0)->host + 16);
	assert_int_equal(iov[0].iov_len, 2 * page - 32);
	assert_int_equal(cvmm_mem_span(mem, G(5 * page - 8), 16, CVMM_ACCESS_READ, iov, 2, &count),
			 0);
	assert_int_equal(count, 2);
	assert_ptr_equal(iov[1].iov_base, cvmm_mem_region_at(mem, 3)->host);
	assert_int_equal(iov[1].iov_len, 8);
}

static void span_reports_a_short_list_and_a_fault_first(void **state)
{
	struct cvmm_mem *mem = *state;
	uint64_t page = page_size();
	struct iovec iov[1];
	size_t count = 42;

	assert_int_equal(
		cvmm_mem_span(mem, G(4 * page), 2 * page, CVMM_ACCESS_READ, iov, 1, &count),
		-ENOBUFS);
	assert_int_equal(cvmm_mem_span(mem, G(page), 1, CVMM_ACCESS_READ, NULL, 0, &count),
			 -ENOBUFS);
	assert_int_equal(cvmm_mem_span(mem, G(page), 3 * page, CVMM_ACCESS_READ, iov, 1, &count),
			 -EFAULT);
	assert_int_equal(count, 42);
}

static void ptr_stays_within_what_is_contiguous(void **state)
{
	struct cvmm_mem *mem = *state;
	uint64_t page = page_size();

	skip_where_neighbours_are_apart();
	assert_ptr_equal(cvmm_mem_ptr(mem, G(page + 8), 2 * page - 8, CVMM_ACCESS_READ_WRITE),
			 cvmm_mem_region_at(mem, 0)->host + 8);
	assert_null(cvmm_mem_ptr(mem, G(page + 8), 2 * page - 7, CVMM_ACCESS_READ_WRITE));
	assert_null(cvmm_mem_ptr(mem, G(4 * page), page + 1, CVMM_ACCESS_READ));
	assert_null(cvmm_mem_ptr(mem, G(page), UINT64_MAX, CVMM_ACCESS_READ_WRITE));
	assert_null(cvmm_mem_ptr(mem, G(page + 8), UINT64_MAX, CVMM_ACCESS_READ_WRITE));
	assert_null(cvmm_mem_ptr(mem, G(0), 1, CVMM_ACCESS_READ));
}

static void fill_crosses_and_stops_at_its_end(void **state)
{
	struct cvmm_mem *mem = *state;
	uint64_t at = 2 * page_size() - 2;
	uint8_t buf[6];

	assert_int_equal(cvmm_mem_fill(mem, G(at), 0xa5, 4), 0);
	assert_int_equal(cvmm_mem_read(mem, G(at - 1), buf, 6), 0);
	assert_memory_equal(buf, "\0\xa5\xa5\xa5\xa5\0", 6);
}

static void atomics_are_little_endian(void **state)
{
	struct cvmm_mem *mem = *state;
	uint64_t at = page_size();
	uint16_t v16 = 0;
	uint32_t v32 = 0;
	uint64_t v64 = 0;
	uint8_t buf[8];

	assert_int_equal(cvmm_mem_store_u64(mem, G(at), __ATOMIC_RELEASE, 0x0807060504030201), 0);
	assert_int_equal(cvmm_mem_read(mem, G(at), buf, 8), 0);
	assert_memory_equal(buf, "\1\2\3\4\5\6\7\10", 8);
	assert_int_equal(cvmm_mem_load_u16(mem, G(at + 2), __ATOMIC_ACQUIRE, &v16), 0);
	assert_int_equal(v16, 0x0403);
	assert_int_equal(cvmm_mem_load_u32(mem, G(at + 4), __ATOMIC_RELAXED, &v32), 0);
	assert_int_equal(v32, 0x08070605);
	assert_int_equal(cvmm_mem_load_u64(mem, G(at), __ATOMIC_SEQ_CST, &v64), 0);
	assert_true(v64 == 0x0807060504030201);
	assert_int_equal(cvmm_mem_store_u16(mem, G(at + 6), __ATOMIC_RELAXED, 0x2211), 0);
	assert_int_equal(cvmm_mem_store_u32(mem, G(at), __ATOMIC_SEQ_CST, 0xddccbbaa), 0);
	assert_int_equal(cvmm_mem_read(mem, G(at), buf, 8), 0);
	assert_memory_equal(buf, "\xaa\xbb\xcc\xdd\5\6\x11\x22", 8);
}

static void atomics_refuse_misalignment_and_holes(void **state)
{
	struct cvmm_mem *mem = *state;
	uint64_t page = page_size();
	uint16_t v16 = 1;
	uint32_t v32 = 2;
	uint64_t v64 = 3;

	assert_int_equal(cvmm_mem_load_u16(mem, G(page + 1), __ATOMIC_RELAXED, &v16), -EINVAL);
	assert_int_equal(cvmm_mem_load_u32(mem, G(page + 2), __ATOMIC_RELAXED, &v32), -EINVAL);
	assert_int_equal(cvmm_mem_load_u64(mem, G(page + 4), __ATOMIC_RELAXED, &v64), -EINVAL);
	assert_int_equal(cvmm_mem_store_u16(mem, G(page + 1), __ATOMIC_RELAXED, 0), -EINVAL);
	assert_int_equal(cvmm_mem_store_u32(mem, G(page + 2), __ATOMIC_RELAXED, 0), -EINVAL);
	assert_int_equal(cvmm_mem_store_u64(mem, G(page + 4), __ATOMIC_RELAXED, 0), -EINVAL);
	assert_int_equal(cvmm_mem_load_u16(mem, G(0), __ATOMIC_RELAXED, &v16), -EFAULT);
	assert_int_equal(cvmm_mem_load_u32(mem, G(0), __ATOMIC_RELAXED, &v32), -EFAULT);
	assert_int_equal(cvmm_mem_load_u64(mem, G(0), __ATOMIC_RELAXED, &v64), -EFAULT);
	assert_int_equal(cvmm_mem_store_u64(mem, G(0), __ATOMIC_RELAXED, 0), -EFAULT);
	assert_true(v16 == 1 && v32 == 2 && v64 == 3);
}

/* ---- files --------------------------------------------------------------------------------- */

static void pread_fills_guest_memory_across_regions(void **state)
{
	struct cvmm_mem *mem = *state;
	uint64_t at = 2 * page_size() - 3;
	FILE *f = tmpfile();
	char text[9] = "";

	assert_non_null(f);
	assert_int_equal(cvmm_pwrite_full(fileno(f), "..contents", 10, 0), 0);
	assert_int_equal(cvmm_mem_pread(mem, G(at), fileno(f), 2, 8), 0);
	assert_int_equal(cvmm_mem_read(mem, G(at), text, 8), 0);
	assert_string_equal(text, "contents");
	fclose(f);
}

static void pread_tells_a_short_file_from_a_fault_and_an_error(void **state)
{
	struct cvmm_mem *mem = *state;
	uint64_t page = page_size();
	FILE *f = tmpfile();
	int ends[2];

	assert_non_null(f);
	assert_int_equal(cvmm_pwrite_full(fileno(f), "1234", 4, 0), 0);
	assert_int_equal(cvmm_mem_pread(mem, G(page), fileno(f), 0, 5), -ENODATA);
	assert_int_equal(cvmm_mem_pread(mem, G(page), fileno(f), 100, 1), -ENODATA);
	assert_int_equal(cvmm_mem_pread(mem, G(page), fileno(f), UINT64_MAX, 1), -ENODATA);
	assert_int_equal(cvmm_mem_pread(mem, G(3 * page - 1), fileno(f), 0, 2), -EFAULT);
	assert_int_equal(cvmm_mem_pread(mem, G(page), -1, 0, 1), -EBADF);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(cvmm_mem_pread(mem, G(page), ends[0], 0, 1), -ESPIPE);
	close(ends[0]);
	close(ends[1]);
	fclose(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(copies_cross_from_region_to_region, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(copies_into_holes_fault, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_faulting_write_changes_nothing, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(access_rights_bind_every_door, set_up, tear_down),
		cmocka_unit_test_setup_teardown(empty_ranges_are_fine_anywhere, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_last_byte_of_the_address_space_is_ordinary,
						set_up, tear_down),
		cmocka_unit_test(ranges_never_wrap_around),
		cmocka_unit_test_setup_teardown(span_reports_a_short_list_and_a_fault_first, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(span_joins_neighbours_and_cuts_where_rights_change,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(ptr_stays_within_what_is_contiguous, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(fill_crosses_and_stops_at_its_end, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(atomics_are_little_endian, set_up, tear_down),
		cmocka_unit_test_setup_teardown(atomics_refuse_misalignment_and_holes, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(pread_fills_guest_memory_across_regions, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(pread_tells_a_short_file_from_a_fault_and_an_error,
						set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
