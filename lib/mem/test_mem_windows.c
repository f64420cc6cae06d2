// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* What mem_map_windows.c and its neighbours do. Wine is a Windows as good as any for this. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>
#include <cmocka.h>

#include "test_mem_util.h"

#define GRANULE UINT64_C(0x10000)

static bool is_mapped(const void *host)
{
	MEMORY_BASIC_INFORMATION info;

	return VirtualQuery(host, &info, sizeof(info)) && info.State == MEM_COMMIT;
}

/* A file of @len bytes that goes when it is closed. */
static FILE *make_file(uint64_t len)
{
	FILE *f = tmpfile();

	assert_non_null(f);
	if (len)
		assert_int_equal(cvmm_pwrite_full(fileno(f), "", 1, len - 1), 0);
	return f;
}

static struct cvmm_mem_config file_config(FILE *f, uint64_t offset, uint64_t len)
{
	struct cvmm_mem_config config = ram_config(0x100000, len);

	config.kind = CVMM_MEM_FILE;
	config.fd = fileno(f);
	config.fd_offset = offset;
	return config;
}

static int try_create(const struct cvmm_mem_config *config, struct cvmm_error *err)
{
	struct cvmm_mem *mem = NULL;
	int ret = cvmm_mem_create(config, 1, &mem, err);

	cvmm_mem_unref(mem);
	return ret;
}

static void private_memory_is_zeroed_and_unmapped_with_its_last_map(void **state)
{
	struct cvmm_mem_config config = ram_config(0, 3 * page_size());
	struct cvmm_mem *mem;
	uint64_t value = 1;
	void *host;

	(void)state;
	config.flags = CVMM_MEM_PREFAULT | CVMM_MEM_HUGE_PAGES;
	mem = must_create(&config, 1);
	host = cvmm_mem_ptr(mem, G(0), 3 * page_size(), CVMM_ACCESS_READ_WRITE);
	assert_non_null(host);
	assert_int_equal(cvmm_mem_load_u64(mem, G(page_size()), __ATOMIC_RELAXED, &value), 0);
	assert_int_equal(value, 0);
	assert_true(is_mapped(host));
	cvmm_mem_unref(mem);
	assert_false(is_mapped(host));
}

static void a_file_is_shared_at_its_offset(void **state)
{
	FILE *f = make_file(2 * GRANULE + 1);
	struct cvmm_mem_config config = file_config(f, GRANULE, GRANULE);
	struct cvmm_mem *mem = must_create(&config, 1);
	void *host = cvmm_mem_ptr(mem, config.gpa, GRANULE, CVMM_ACCESS_READ_WRITE);
	const struct cvmm_mem_region *region = cvmm_mem_region_at(mem, 0);
	char text[5] = "";

	(void)state;
	assert_int_equal(cvmm_mem_write(mem, G(0x100003), "word", 4), 0);
	assert_int_equal(cvmm_pread_full(region->fd, text, 4, GRANULE + 3), 4);
	assert_string_equal(text, "word");
	assert_int_equal(cvmm_pwrite_full(fileno(f), "fact", 4, GRANULE + 3), 0);
	assert_int_equal(cvmm_mem_read(mem, G(0x100003), text, 4), 0);
	assert_string_equal(text, "fact");
	assert_true(cvmm_mem_region_files_overlap(region, region));
	fclose(f);
	assert_int_equal(cvmm_pread_full(region->fd, text, 4, GRANULE + 3), 4);
	cvmm_mem_unref(mem);
	assert_false(is_mapped(host));
}

static void files_of_two_names_do_not_overlap(void **state)
{
	FILE *f = make_file(GRANULE), *g = make_file(GRANULE);
	struct cvmm_mem_config configs[] = { file_config(f, 0, GRANULE),
					     file_config(g, 0, GRANULE) };
	struct cvmm_mem *mem;

	(void)state;
	configs[1].gpa = G(0x900000);
	mem = must_create(configs, 2);
	assert_false(cvmm_mem_region_files_overlap(cvmm_mem_region_at(mem, 0),
						   cvmm_mem_region_at(mem, 1)));
	cvmm_mem_unref(mem);
	fclose(f);
	fclose(g);
}

static void bad_files_are_refused_with_a_reason(void **state)
{
	FILE *f = make_file(GRANULE);
	struct cvmm_mem_config config = file_config(f, 0, 2 * GRANULE);
	struct cvmm_error err = { 0 };

	(void)state;
	assert_int_equal(try_create(&config, &err), -EINVAL);
	assert_non_null(strstr(err.message, "enlarge the file"));
	config = file_config(f, page_size(), page_size());
	assert_int_equal(try_create(&config, &err), -EINVAL);
	assert_non_null(strstr(err.message, "multiple of 0x10000"));
	fclose(f);
}

static void what_windows_has_not_is_said(void **state)
{
	struct cvmm_mem_config config = ram_config(0, page_size());
	struct cvmm_error err = { 0 };
	struct cvmm_dirty *dirty = NULL;
	struct cvmm_mem *mem;

	(void)state;
	config.kind = CVMM_MEM_MEMFD;
	assert_int_equal(try_create(&config, &err), -ENOTSUP);
	assert_non_null(strstr(err.message, "memfd"));
	config.kind = CVMM_MEM_ANONYMOUS;
	config.flags = CVMM_MEM_NUMA_BIND;
	assert_int_equal(try_create(&config, &err), -ENOTSUP);
	config.flags = 0;
	config.len_bytes = UINT64_C(1) << 62;
	assert_true(try_create(&config, &err) < 0);
	assert_non_null(strstr(err.message, "cannot map 4 EiB"));
	config.len_bytes = page_size();
	mem = must_create(&config, 1);
	assert_int_equal(cvmm_mem_discard(mem, G(0), page_size()), -ENOTSUP);
	assert_int_equal(cvmm_mem_discard(mem, G(0), 2 * page_size()), -EFAULT);
	cvmm_mem_unref(mem);
	assert_int_equal(cvmm_dirty_create_log(4096, &dirty, NULL), 0);
	assert_int_equal(cvmm_dirty_log_set(dirty, 0, 0, 4096, &err), -ENOTSUP);
	cvmm_dirty_unref(dirty);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(private_memory_is_zeroed_and_unmapped_with_its_last_map),
		cmocka_unit_test(a_file_is_shared_at_its_offset),
		cmocka_unit_test(files_of_two_names_do_not_overlap),
		cmocka_unit_test(bad_files_are_refused_with_a_reason),
		cmocka_unit_test(what_windows_has_not_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
