// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* What the kernel is told of a guest's memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <cvmm/mem_iommu.h>

#include "test_vhost_util.h"

static struct vhost_region regions[CVMM_MEM_REGIONS_MAX];

static size_t regions_of(const struct cvmm_mem *mem)
{
	size_t count = 0;

	assert_ok(vhost_regions_of(mem, regions, &count, NULL));
	return count;
}

static uint8_t *host_of(const struct cvmm_mem *mem, uint64_t gpa)
{
	return cvmm_mem_ptr(mem, G(gpa), 1, CVMM_ACCESS_READ);
}

static void regions_that_touch_are_one(void **state)
{
	const struct cvmm_mem_config configs[] = {
		ram(0, PAGE),
		ram(PAGE, 2 * PAGE),
		ram(3 * PAGE, PAGE),
		ram(UINT64_C(1) << 32, 4 * PAGE),
	};
	struct cvmm_mem *mem = must_create(configs, CVMM_ARRAY_SIZE(configs));

	(void)state;
	assert_int_equal(regions_of(mem), 2);
	assert_int_equal(regions[0].gpa, 0);
	assert_int_equal(regions[0].len_bytes, 4 * PAGE);
	assert_ptr_equal(regions[0].host, host_of(mem, 0));
	assert_int_equal(regions[1].gpa, UINT64_C(1) << 32);
	assert_int_equal(regions[1].len_bytes, 4 * PAGE);
	assert_ptr_equal(regions[1].host, host_of(mem, UINT64_C(1) << 32));
	cvmm_mem_unref(mem);
}

static void regions_that_are_apart_in_the_host_are_two(void **state)
{
	static uint8_t host[3 * PAGE] __attribute__((aligned(PAGE)));
	struct cvmm_mem_config configs[] = { ram(0, PAGE), ram(PAGE, PAGE) };
	struct cvmm_mem *mem;

	(void)state;
	configs[0].kind = configs[1].kind = CVMM_MEM_EXTERNAL;
	configs[0].host = host;
	configs[1].host = host + 2 * PAGE;
	mem = must_create(configs, CVMM_ARRAY_SIZE(configs));
	assert_int_equal(regions_of(mem), 2);
	assert_ptr_equal(regions[1].host, host + 2 * PAGE);
	cvmm_mem_unref(mem);
}

static void regions_with_other_rights_are_apart(void **state)
{
	struct cvmm_mem_config configs[] = { ram(0, PAGE), ram(PAGE, PAGE), ram(2 * PAGE, PAGE) };
	struct cvmm_mem *mem;

	(void)state;
	configs[1].access = CVMM_ACCESS_READ;
	mem = must_create(configs, CVMM_ARRAY_SIZE(configs));
	assert_int_equal(regions_of(mem), 3);
	assert_int_equal(regions[0].access, CVMM_ACCESS_READ_WRITE);
	assert_int_equal(regions[1].access, CVMM_ACCESS_READ);
	assert_int_equal(regions[2].access, CVMM_ACCESS_READ_WRITE);
	cvmm_mem_unref(mem);
}

static void as_many_regions_as_a_map_can_have_are_told(void **state)
{
	struct cvmm_mem_config configs[CVMM_MEM_REGIONS_MAX];
	struct cvmm_mem *mem;

	(void)state;
	for (size_t i = 0; i < CVMM_MEM_REGIONS_MAX; i++)
		configs[i] = ram(2 * i * PAGE, PAGE);
	mem = must_create(configs, CVMM_MEM_REGIONS_MAX);
	assert_int_equal(regions_of(mem), CVMM_MEM_REGIONS_MAX);
	assert_int_equal(regions[CVMM_MEM_REGIONS_MAX - 1].gpa,
			 2 * (CVMM_MEM_REGIONS_MAX - 1) * PAGE);
	cvmm_mem_unref(mem);
	mem = must_create(NULL, 0);
	assert_int_equal(regions_of(mem), 0);
	cvmm_mem_unref(mem);
}

/* For both kinds of table, before anything reaches the kernel: that would be a bad descriptor. */
static void must_refuse(const struct cvmm_mem *mem, int want, const char *says)
{
	struct cvmm_vhost vhost = CVMM_VHOST_NONE;
	struct cvmm_error err = { 0 };

	assert_int_equal(cvmm_vhost_set_mem_table(&vhost, mem, &err), want);
	assert_says(&err, says);
	assert_int_equal(cvmm_vhost_vdpa_map_mem(&vhost, 0, mem, &err), want);
	assert_says(&err, says);
}

static void memory_that_is_mapped_on_demand_is_refused(void **state)
{
	struct cvmm_mem_config configs[] = { ram(0, PAGE), ram(PAGE, PAGE) };
	struct cvmm_mem *mem;

	(void)state;
	configs[1].kind = CVMM_MEM_ON_DEMAND;
	configs[1].ops = &on_demand_ops;
	mem = must_create(configs, CVMM_ARRAY_SIZE(configs));
	must_refuse(mem, -ENOTSUP, "0x1000 is mapped on demand");
	cvmm_mem_unref(mem);
}

static void a_map_behind_an_iommu_is_refused(void **state)
{
	const struct cvmm_mem_config config = ram(0, PAGE);
	struct cvmm_mem_iommu_config iommu = { .backing = must_create(&config, 1) };
	struct cvmm_mem *mem = NULL;

	(void)state;
	assert_ok(cvmm_iotlb_create(1, &iommu.iotlb, NULL));
	assert_ok(cvmm_mem_create_iommu(&iommu, &mem, NULL));
	must_refuse(mem, -EINVAL, "behind an IOMMU");
	cvmm_mem_unref(mem);
	cvmm_iotlb_destroy(iommu.iotlb);
	cvmm_mem_unref(iommu.backing);
}

static void what_the_kernel_says_is_told(void **state)
{
	const struct cvmm_mem_config config = ram(0, PAGE);
	struct cvmm_mem *mem = must_create(&config, 1);
	struct cvmm_vhost vhost = CVMM_VHOST_NONE;
	struct cvmm_error err = { 0 };

	(void)state;
	assert_int_equal(cvmm_vhost_set_mem_table(&vhost, mem, &err), -EBADF);
	assert_says(&err, "a table of 1 regions");
	assert_int_equal(cvmm_vhost_vdpa_map_mem(&vhost, 0, mem, &err), -EBADF);
	assert_says(&err, "what it can address");
	assert_int_equal(cvmm_vhost_vdpa_unmap_mem(&vhost, 0, mem), -EBADF);
	cvmm_mem_unref(mem);
}

static void a_log_has_a_bit_for_each_page_in_whole_words(void **state)
{
	struct cvmm_mem_config config = ram(0, PAGE);
	struct cvmm_mem *mem = must_create(NULL, 0);

	(void)state;
	assert_int_equal(cvmm_vhost_log_bytes(mem), 0);
	cvmm_mem_unref(mem);
	mem = must_create(&config, 1);
	assert_int_equal(cvmm_vhost_log_bytes(mem), 8);
	cvmm_mem_unref(mem);
	config = ram(63 * PAGE, PAGE);
	mem = must_create(&config, 1);
	assert_int_equal(cvmm_vhost_log_bytes(mem), 8);
	cvmm_mem_unref(mem);
	config = ram(63 * PAGE, 2 * PAGE);
	mem = must_create(&config, 1);
	assert_int_equal(cvmm_vhost_log_bytes(mem), 16);
	cvmm_mem_unref(mem);
	config = ram(UINT64_MAX - PAGE + 1, PAGE);
	mem = must_create(&config, 1);
	assert_int_equal(cvmm_vhost_log_bytes(mem), UINT64_C(1) << (64 - 12 - 3));
	cvmm_mem_unref(mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(regions_that_touch_are_one),
		cmocka_unit_test(regions_that_are_apart_in_the_host_are_two),
		cmocka_unit_test(regions_with_other_rights_are_apart),
		cmocka_unit_test(as_many_regions_as_a_map_can_have_are_told),
		cmocka_unit_test(memory_that_is_mapped_on_demand_is_refused),
		cmocka_unit_test(a_map_behind_an_iommu_is_refused),
		cmocka_unit_test(what_the_kernel_says_is_told),
		cmocka_unit_test(a_log_has_a_bit_for_each_page_in_whole_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
