// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Where regions are mapped in the host, and what is done with their pages. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "test_mem_util.h"

#define MIB (UINT64_C(1) << 20)

static const struct cvmm_mem_region *region(const struct cvmm_mem *mem, size_t i)
{
	return cvmm_mem_region_at(mem, i);
}

static void neighbours_in_the_guest_are_neighbours_in_the_host(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config configs[] = {
		ram_config(8 * page, 3 * page), /* in any order */
		ram_config(0, 5 * page),
		ram_config(5 * page, 3 * page),
	};
	struct cvmm_mem *mem;

	(void)state;
	configs[1].kind = CVMM_MEM_MEMFD;
	mem = must_create(configs, CVMM_ARRAY_SIZE(configs));
	assert_ptr_equal(region(mem, 0)->host + 5 * page, region(mem, 1)->host);
	assert_ptr_equal(region(mem, 1)->host + 3 * page, region(mem, 2)->host);
	assert_ptr_equal(cvmm_mem_ptr(mem, G(0), 11 * page, CVMM_ACCESS_READ_WRITE),
			 region(mem, 0)->host);
	assert_null(cvmm_mem_ptr(mem, G(0), 11 * page + 1, CVMM_ACCESS_READ_WRITE));
	cvmm_mem_unref(mem);
}

static void the_host_address_suits_huge_pages(void **state)
{
	struct cvmm_mem_config configs[] = {
		ram_config(0, 4 * MIB),
		ram_config(16 * MIB + 8 * page_size(), 4 * MIB),
	};
	struct cvmm_mem *mem;

	(void)state;
	configs[0].flags = CVMM_MEM_HUGE_PAGES | CVMM_MEM_NO_DUMP;
	configs[1].flags = CVMM_MEM_NO_HUGE_PAGES | CVMM_MEM_MERGEABLE | CVMM_MEM_NO_FORK;
	mem = must_create(configs, 2);
	assert_int_equal((uintptr_t)region(mem, 0)->host % (2 * MIB), 0);
	assert_int_equal((uintptr_t)region(mem, 1)->host % (2 * MIB), 8 * page_size());
	assert_int_equal(region(mem, 0)->flags, configs[0].flags);
	cvmm_mem_unref(mem);
}

static void a_region_that_is_plugged_in_joins_its_neighbour_if_it_can(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config low = ram_config(page, page), high = ram_config(2 * page, page);
	struct cvmm_mem *mem = must_create(&low, 1), *more = NULL, *less = NULL;
	bool joined;
	size_t count = 0;
	struct iovec iov[2];

	(void)state;
	assert_int_equal(cvmm_mem_insert(mem, &high, &more, NULL), 0);
	joined = region(more, 0)->host + page == region(more, 1)->host;
	assert_int_equal(cvmm_mem_span(more, G(page), 2 * page, CVMM_ACCESS_READ, iov, 2, &count),
			 0);
	assert_int_equal(count, joined ? 1 : 2);
	/* A map without the neighbour must not reach into it. */
	assert_int_equal(cvmm_mem_remove(more, G(2 * page), page, &less, NULL), 0);
	assert_int_equal(cvmm_mem_check(less, G(page), page + 1, CVMM_ACCESS_READ), -EFAULT);
	assert_null(cvmm_mem_ptr(less, G(page), page + 1, CVMM_ACCESS_READ));
	cvmm_mem_unref(mem);
	cvmm_mem_unref(more);
	cvmm_mem_unref(less);
}

static bool all_resident(const struct cvmm_mem_region *r)
{
	size_t pages = r->len_bytes / page_size();
	unsigned char *there = malloc(pages);
	bool all = there && !mincore(r->host, r->len_bytes, there);

	for (size_t i = 0; all && i < pages; i++)
		all = there[i] & 1;
	free(there);
	return all;
}

static void prefaulted_memory_is_there(void **state)
{
	struct cvmm_mem_config config = ram_config(0, 4 * MIB);
	struct cvmm_mem *mem;

	(void)state;
	config.flags = CVMM_MEM_PREFAULT;
	/* More threads than processors, and one that has no page to do. */
	for (unsigned int threads = 0; threads < 8; threads += 3) {
		config.prefault_threads = threads;
		config.kind = threads == 3 ? CVMM_MEM_MEMFD : CVMM_MEM_ANONYMOUS;
		mem = must_create(&config, 1);
		assert_true(all_resident(region(mem, 0)));
		cvmm_mem_unref(mem);
	}
	config.prefault_threads = 3;
	config.len_bytes = page_size();
	mem = must_create(&config, 1);
	assert_true(all_resident(region(mem, 0)));
	cvmm_mem_unref(mem);
}

static void prefaulting_keeps_what_a_file_holds(void **state)
{
	struct cvmm_mem_config config = ram_config(0, page_size());
	FILE *file = tmpfile();
	struct cvmm_mem *mem;
	uint8_t byte = 0;

	(void)state;
	assert_int_equal(ftruncate(fileno(file), (off_t)page_size()), 0);
	assert_int_equal(pwrite(fileno(file), "A", 1, 0), 1);
	config.kind = CVMM_MEM_FILE;
	config.fd = fileno(file);
	config.flags = CVMM_MEM_PREFAULT;
	for (int read_only = 0; read_only < 2; read_only++) {
		config.access = read_only ? CVMM_ACCESS_READ : CVMM_ACCESS_READ_WRITE;
		mem = must_create(&config, 1);
		assert_int_equal(cvmm_mem_read(mem, G(0), &byte, 1), 0);
		assert_int_equal(byte, 'A');
		cvmm_mem_unref(mem);
	}
	fclose(file);
}

static void orders_that_cannot_be_followed_are_errors(void **state)
{
	struct cvmm_mem_config config = ram_config(0, page_size());
	struct cvmm_mem *mem = NULL;
	struct cvmm_error err;

	(void)state;
	config.flags = CVMM_MEM_NUMA_BIND;
	config.numa_node = 1023;
	assert_true(cvmm_mem_create(&config, 1, &mem, &err) < 0);
	assert_non_null(strstr(err.message, "NUMA node 1023"));
	config.numa_node = 1024;
	assert_int_equal(cvmm_mem_create(&config, 1, &mem, &err), -EINVAL);
	config.flags = CVMM_MEM_PREFAULT;
	config.prefault_threads = CVMM_MEM_PREFAULT_THREADS_MAX + 1;
	assert_int_equal(cvmm_mem_create(&config, 1, &mem, &err), -EINVAL);
	assert_null(mem);
}

static void memory_can_be_bound_to_the_first_node(void **state)
{
	struct cvmm_mem_config config = ram_config(0, page_size());
	struct cvmm_mem *mem = NULL;
	struct cvmm_error err;
	int ret;

	(void)state;
	config.flags = CVMM_MEM_NUMA_BIND | CVMM_MEM_PREFAULT;
	ret = cvmm_mem_create(&config, 1, &mem, &err);
	if (ret == -ENOSYS || ret == -EPERM || ret == -ENOTSUP) {
		print_message("SKIP: this system binds no memory: %s\n", err.message);
		skip();
	}
	assert_int_equal(ret, 0);
	cvmm_mem_unref(mem);
}

static void discarded_pages_read_as_zeroes_and_their_neighbours_stay(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config configs[] = { ram_config(0, 4 * page),
					     ram_config(4 * page, 4 * page) };
	struct cvmm_mem *mem;
	uint8_t byte;

	(void)state;
	configs[1].kind = CVMM_MEM_MEMFD;
	mem = must_create(configs, 2);
	if (cvmm_mem_discard(mem, G(0), page) == -ENOTSUP) {
		cvmm_mem_unref(mem);
		print_message("SKIP: this system cannot free pages of a mapping\n");
		skip();
	}
	assert_int_equal(cvmm_mem_fill(mem, G(0), 0xaa, 8 * page), 0);
	/* The half pages at both ends are left alone. */
	assert_int_equal(cvmm_mem_discard(mem, G(page + 8), 5 * page), 0);
	for (uint64_t at = 0; at < 8 * page; at += 8) {
		bool gone = at >= 2 * page && at < 6 * page;

		assert_int_equal(cvmm_mem_read(mem, G(at), &byte, 1), 0);
		assert_int_equal(byte, gone ? 0 : 0xaa);
	}
	assert_int_equal(cvmm_mem_discard(mem, G(7 * page), page + 1), -EFAULT);
	assert_int_equal(cvmm_mem_discard(mem, G(100 * page), 0), 0);
	cvmm_mem_unref(mem);
}

static void memory_of_others_is_not_discarded(void **state)
{
	struct cvmm_mem_config configs[] = { ram_config(0, page_size()),
					     ram_config(page_size(), page_size()) };
	void *host = aligned_alloc(page_size(), page_size());
	struct cvmm_mem *mem;
	uint8_t byte = 0;

	(void)state;
	configs[1].kind = CVMM_MEM_EXTERNAL;
	configs[1].host = host;
	mem = must_create(configs, 2);
	assert_int_equal(cvmm_mem_fill(mem, G(0), 1, 2 * page_size()), 0);
	assert_int_equal(cvmm_mem_discard(mem, G(0), 2 * page_size()), -ENOTSUP);
	assert_int_equal(cvmm_mem_read(mem, G(0), &byte, 1), 0);
	assert_int_equal(byte, 1);
	cvmm_mem_unref(mem);
	free(host);
}

static void a_guest_memfd_is_kept_for_whoever_tells_kvm(void **state)
{
	struct cvmm_mem_config config = ram_config(0, page_size());
	struct cvmm_error err;
	struct cvmm_mem *mem;

	/* A real one needs a protected VM; any descriptor does for keeping it. */
	(void)state;
	config.flags = CVMM_MEM_HAS_GUEST_MEMFD;
	config.guest_memfd = open("/dev/null", O_RDWR | O_CLOEXEC);
	config.guest_memfd_offset = 3 * page_size();
	mem = must_create(&config, 1);
	assert_true(region(mem, 0)->guest_memfd >= 0);
	assert_int_not_equal(region(mem, 0)->guest_memfd, config.guest_memfd);
	assert_int_equal(region(mem, 0)->guest_memfd_offset, 3 * page_size());
	mem = cvmm_mem_unref(mem);
	config.guest_memfd_offset = 1;
	assert_int_equal(cvmm_mem_create(&config, 1, &mem, &err), -EINVAL);
	close(config.guest_memfd);
	config.guest_memfd_offset = 0;
	assert_int_equal(cvmm_mem_create(&config, 1, &mem, &err), -EBADF);
	config.guest_memfd = -1;
	assert_int_equal(cvmm_mem_create(&config, 1, &mem, &err), -EINVAL);
}

static void overlaps_of_files_are_found_under_any_descriptor(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config configs[] = { ram_config(0, 2 * page), ram_config(2 * page, page),
					     ram_config(3 * page, page),
					     ram_config(4 * page, page) };
	FILE *file = tmpfile();
	struct cvmm_mem *mem;

	(void)state;
	assert_int_equal(ftruncate(fileno(file), 4 * (off_t)page), 0);
	for (int i = 0; i < 3; i++) {
		configs[i].kind = CVMM_MEM_FILE;
		configs[i].fd = fileno(file);
	}
	configs[1].fd_offset = page;
	configs[2].fd_offset = 2 * page;
	mem = must_create(configs, 4);
	assert_true(cvmm_mem_region_files_overlap(region(mem, 0), region(mem, 1)));
	assert_true(cvmm_mem_region_files_overlap(region(mem, 1), region(mem, 0)));
	assert_false(cvmm_mem_region_files_overlap(region(mem, 0), region(mem, 2)));
	assert_false(cvmm_mem_region_files_overlap(region(mem, 1), region(mem, 2)));
	assert_false(cvmm_mem_region_files_overlap(region(mem, 0), region(mem, 3)));
	cvmm_mem_unref(mem);
	fclose(file);
}

static void the_last_address_is_that_of_the_last_region(void **state)
{
	struct cvmm_mem_config config = ram_config(-page_size(), page_size());
	struct cvmm_mem *mem = must_create(NULL, 0);
	cvmm_gpa last = G(42);

	(void)state;
	assert_false(cvmm_mem_last(mem, &last));
	assert_int_equal(last.addr, 42);
	cvmm_mem_unref(mem);
	mem = must_create(&config, 1);
	assert_true(cvmm_mem_last(mem, &last));
	assert_int_equal(last.addr, UINT64_MAX);
	assert_int_equal(cvmm_mem_region_last(region(mem, 0)), UINT64_MAX);
	assert_true(cvmm_mem_region_has(region(mem, 0), G(UINT64_MAX)));
	assert_false(cvmm_mem_region_has(region(mem, 0), G(0)));
	cvmm_mem_unref(mem);
}

static void addresses_are_added_with_care(void **state)
{
	cvmm_gpa gpa = G(7);
	uint64_t offset = 7;

	(void)state;
	assert_true(cvmm_gpa_checked_add(G(UINT64_MAX - 1), 1, &gpa) && gpa.addr == UINT64_MAX);
	assert_false(cvmm_gpa_checked_add(G(UINT64_MAX), 1, &gpa));
	assert_true(cvmm_gpa_checked_sub(G(1), 1, &gpa) && gpa.addr == 0);
	assert_false(cvmm_gpa_checked_sub(G(0), 1, &gpa));
	assert_int_equal(gpa.addr, 0);
	assert_true(cvmm_gpa_checked_offset(G(9), G(4), &offset) && offset == 5);
	assert_false(cvmm_gpa_checked_offset(G(4), G(9), &offset));
	assert_true(cvmm_gpa_checked_align_up(G(4097), 4096, &gpa) && gpa.addr == 8192);
	assert_true(cvmm_gpa_checked_align_up(G(4096), 4096, &gpa) && gpa.addr == 4096);
	assert_false(cvmm_gpa_checked_align_up(G(UINT64_MAX), 4096, &gpa));
	assert_false(cvmm_gpa_checked_align_up(G(1), 3, &gpa));
	assert_false(cvmm_gpa_checked_align_up(G(1), 0, &gpa));
	assert_true(cvmm_gpa_compare(G(1), G(2)) < 0 && cvmm_gpa_compare(G(2), G(1)) > 0 &&
		    !cvmm_gpa_compare(G(2), G(2)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(neighbours_in_the_guest_are_neighbours_in_the_host),
		cmocka_unit_test(the_host_address_suits_huge_pages),
		cmocka_unit_test(a_region_that_is_plugged_in_joins_its_neighbour_if_it_can),
		cmocka_unit_test(prefaulted_memory_is_there),
		cmocka_unit_test(prefaulting_keeps_what_a_file_holds),
		cmocka_unit_test(orders_that_cannot_be_followed_are_errors),
		cmocka_unit_test(memory_can_be_bound_to_the_first_node),
		cmocka_unit_test(discarded_pages_read_as_zeroes_and_their_neighbours_stay),
		cmocka_unit_test(memory_of_others_is_not_discarded),
		cmocka_unit_test(a_guest_memfd_is_kept_for_whoever_tells_kvm),
		cmocka_unit_test(overlaps_of_files_are_found_under_any_descriptor),
		cmocka_unit_test(the_last_address_is_that_of_the_last_region),
		cmocka_unit_test(addresses_are_added_with_care),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
