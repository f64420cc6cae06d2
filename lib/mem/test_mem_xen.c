// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Memory of other Xen domains. MOCKED: no machine that runs these tests is a Xen domain, so ioctl() is
 * replaced by one that does what privcmd and gntdev do, as their interface says, with a memfd for the
 * other domain's memory. Mappings, and what lies in them, are real.
 */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "test_mem_util.h"

#include <cvmm/mem_xen.h>

#define PAGE 4096u
#define DOMAIN_PAGES 4096u /* more than one batch */
#define DOMID 7

/* As in the kernel's headers, which cannot be included without Xen's. */
struct batch {
	unsigned int num;
	uint16_t dom;
	uint64_t addr;
	const unsigned long *arr;
	int *err;
};

struct grant_map {
	uint32_t count, pad;
	uint64_t index;
	struct {
		uint32_t domid, ref;
	} refs[];
};

struct grant_unmap {
	uint64_t index;
	uint32_t count, pad;
};

struct grant_offset {
	uint64_t vaddr, offset;
	uint32_t count, pad;
};

#define MMAPBATCH_V2 0x5004u
#define MAP_GRANT_REF 0x4700u
#define UNMAP_GRANT_REF 0x4701u
#define GET_OFFSET 0x4702u
#define IOCTL_NUMBER(request) ((request)&0xffffu)

/* The other domain: its memory, grants that are mapped, and the frame or grant that is refused. */
static struct {
	int fd;
	int grants;
	unsigned long refused;
	uint64_t last_index;
	uint64_t last_vaddr;
} domain;

static int map_batch(struct batch *batch)
{
	assert_int_equal(batch->dom, DOMID);
	for (unsigned int i = 0; i < batch->num; i++) {
		void *at = (void *)(uintptr_t)(batch->addr + (uint64_t)i * PAGE);

		batch->err[i] = batch->arr[i] == domain.refused ? -EPERM : 0;
		if (!batch->err[i])
			assert_ptr_equal(mmap(at, PAGE, PROT_READ | PROT_WRITE,
					      MAP_SHARED | MAP_FIXED, domain.fd,
					      (off_t)(batch->arr[i] * PAGE)),
					 at);
	}
	return 0;
}

/* An index is where in the memfd the pages lie, so that mapping it maps them. */
static int map_grants(struct grant_map *map)
{
	for (uint32_t i = 0; i < map->count; i++) {
		assert_int_equal(map->refs[i].domid, DOMID);
		assert_int_equal(map->refs[i].ref, map->refs[0].ref + i);
		if (map->refs[i].ref == domain.refused) {
			errno = EACCES;
			return -1;
		}
	}
	domain.grants += (int)map->count;
	map->index = (uint64_t)map->refs[0].ref * PAGE;
	domain.last_index = map->index;
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	(void)fd;
	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	switch (IOCTL_NUMBER(request)) {
	case MMAPBATCH_V2:
		return map_batch(arg);
	case MAP_GRANT_REF:
		assert_int_equal(request >> 16, 24); /* the size with one reference */
		return map_grants(arg);
	case UNMAP_GRANT_REF:
		domain.grants -= (int)((struct grant_unmap *)arg)->count;
		return 0;
	case GET_OFFSET:
		((struct grant_offset *)arg)->offset = domain.last_index;
		domain.last_vaddr = ((struct grant_offset *)arg)->vaddr;
		assert_int_equal(domain.last_vaddr % PAGE, 0);
		return 0;
	}
	errno = ENOTTY;
	return -1;
}

static int setup(void **state)
{
	(void)state;
	domain.fd = memfd_create("domain", MFD_CLOEXEC);
	domain.grants = 0;
	domain.refused = ULONG_MAX;
	assert_true(domain.fd >= 0);
	return ftruncate(domain.fd, (off_t)DOMAIN_PAGES * PAGE);
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(domain.grants, 0);
	return close(domain.fd);
}

static struct cvmm_mem_xen_config xen_config(unsigned int flags, uint64_t gpa, uint64_t pages)
{
	return (struct cvmm_mem_xen_config){
		.gpa = G(gpa),
		.len_bytes = pages * PAGE,
		.access = CVMM_ACCESS_READ_WRITE,
		.flags = flags,
		.domid = DOMID,
		.fd = domain.fd,
	};
}

static int prepare(struct cvmm_mem_xen_config xen, struct cvmm_mem_config *ret)
{
	struct cvmm_error err;

	return cvmm_mem_xen_prepare(&xen, ret, &err);
}

static struct cvmm_mem *must_map(struct cvmm_mem_xen_config xen)
{
	struct cvmm_mem_config config;

	assert_int_equal(prepare(xen, &config), 0);
	return must_create(&config, 1);
}

/* A word written through @mem is where it should be in the domain's memory. */
static void expect_at(struct cvmm_mem *mem, uint64_t gpa, uint64_t where)
{
	uint64_t v = 0x0123456789abcdef + where, got = 0;

	assert_int_equal(cvmm_mem_write(mem, G(gpa), &v, sizeof(v)), 0);
	assert_int_equal(pread(domain.fd, &got, sizeof(got), (off_t)where), sizeof(got));
	assert_int_equal(got, v);
}

static void foreign_memory_is_mapped_as_a_whole(void **state)
{
	struct cvmm_mem *mem = must_map(xen_config(CVMM_MEM_XEN_FOREIGN, 16 * PAGE, 2000));

	(void)state;
	expect_at(mem, 16 * PAGE, 16 * PAGE);
	expect_at(mem, 1500 * PAGE + 8, 1500 * PAGE + 8); /* of the second batch */
	assert_non_null(cvmm_mem_ptr(mem, G(16 * PAGE), 2000 * PAGE, CVMM_ACCESS_READ_WRITE));
	cvmm_mem_unref(mem);
}

/* One error for the whole batch is what rust-vmm's foreign mapping has room for. */
static void each_foreign_page_can_be_refused(void **state)
{
	struct cvmm_mem_config config = { .fd = -5 };

	(void)state;
	domain.refused = 1700;
	assert_int_equal(prepare(xen_config(CVMM_MEM_XEN_FOREIGN, 0, 2000), &config), -EPERM);
	assert_int_equal(config.fd, -5);
}

static void grants_are_mapped_in_advance(void **state)
{
	uint64_t base = CVMM_MEM_XEN_GRANT_ADDR | 100 * PAGE;
	struct cvmm_mem *mem = must_map(xen_config(CVMM_MEM_XEN_GRANT, base, 3));

	(void)state;
	assert_int_equal(domain.grants, 3);
	expect_at(mem, base + 2 * PAGE, 102 * PAGE);
	assert_int_equal(domain.grants, 3);
	cvmm_mem_unref(mem);
}

static void grants_are_mapped_on_demand(void **state)
{
	uint64_t base = CVMM_MEM_XEN_GRANT_ADDR | 100 * PAGE;
	struct cvmm_mem *mem =
		must_map(xen_config(CVMM_MEM_XEN_GRANT | CVMM_MEM_XEN_NO_ADVANCE_MAP, base, 300));
	struct cvmm_mem_pin pin;
	struct iovec iov;

	(void)state;
	assert_int_equal(domain.grants, 0);
	expect_at(mem, base + 2 * PAGE + 8, 102 * PAGE + 8);
	assert_int_equal(domain.grants, 0);
	/* Across a border of pages: two of them, no more. */
	assert_int_equal(cvmm_mem_pin(mem, G(base + PAGE - 1), 2, CVMM_ACCESS_READ, &iov, 1, &pin),
			 0);
	assert_int_equal(domain.grants, 2);
	cvmm_mem_unpin(&pin);
	assert_int_equal(domain.grants, 0);
	cvmm_mem_unref(mem);
}

static void a_grant_that_is_refused_fails_the_access(void **state)
{
	uint64_t base = CVMM_MEM_XEN_GRANT_ADDR | 100 * PAGE;
	struct cvmm_mem_config config;
	struct cvmm_mem *mem =
		must_map(xen_config(CVMM_MEM_XEN_GRANT | CVMM_MEM_XEN_NO_ADVANCE_MAP, base, 3));
	uint8_t v = 0;

	(void)state;
	domain.refused = 101;
	assert_int_equal(cvmm_mem_read(mem, G(base + PAGE), &v, 1), -EACCES);
	assert_int_equal(cvmm_mem_read(mem, G(base), &v, 1), 0);
	assert_int_equal(prepare(xen_config(CVMM_MEM_XEN_GRANT, base, 3), &config), -EACCES);
	cvmm_mem_unref(mem);
}

static void one_map_has_all_kinds(void **state)
{
	uint64_t base = CVMM_MEM_XEN_GRANT_ADDR | 200 * PAGE;
	struct cvmm_mem_config configs[3];
	struct cvmm_mem *mem;

	(void)state;
	assert_int_equal(prepare(xen_config(CVMM_MEM_XEN_UNIX, 8 * PAGE, 2), &configs[0]), 0);
	assert_int_equal(prepare(xen_config(CVMM_MEM_XEN_FOREIGN, 16 * PAGE, 2), &configs[1]), 0);
	assert_int_equal(
		prepare(xen_config(CVMM_MEM_XEN_GRANT | CVMM_MEM_XEN_NO_ADVANCE_MAP, base, 2),
			&configs[2]),
		0);
	mem = must_create(configs, 3);
	expect_at(mem, 8 * PAGE, 0);
	expect_at(mem, 16 * PAGE, 16 * PAGE);
	expect_at(mem, base, 200 * PAGE);
	cvmm_mem_unref(mem);
}

static void what_no_map_took_can_be_cancelled(void **state)
{
	uint64_t base = CVMM_MEM_XEN_GRANT_ADDR | 200 * PAGE;
	struct cvmm_mem_config configs[2];
	struct cvmm_mem *mem = NULL;

	(void)state;
	assert_int_equal(prepare(xen_config(CVMM_MEM_XEN_GRANT, base, 2), &configs[0]), 0);
	assert_int_equal(prepare(xen_config(CVMM_MEM_XEN_GRANT, base, 2), &configs[1]), 0);
	assert_int_equal(cvmm_mem_create(configs, 2, &mem, NULL), -EEXIST);
	assert_int_equal(domain.grants, 4);
	cvmm_mem_xen_cancel(&configs[0]);
	cvmm_mem_xen_cancel(&configs[1]);
	assert_int_equal(domain.grants, 0);
}

static void senseless_numbers_are_refused(void **state)
{
	uint64_t grant = CVMM_MEM_XEN_GRANT_ADDR;
	struct cvmm_mem_xen_config bad[] = {
		xen_config(CVMM_MEM_XEN_FOREIGN | CVMM_MEM_XEN_GRANT, grant, 1),
		xen_config(CVMM_MEM_XEN_NO_ADVANCE_MAP, 0, 1),
		xen_config(CVMM_MEM_XEN_FOREIGN | CVMM_MEM_XEN_NO_ADVANCE_MAP, 0, 1),
		xen_config(1 << 2, 0, 1),
		xen_config(1 << 4, 0, 1),
		xen_config(CVMM_MEM_XEN_FOREIGN, 1, 1),
		xen_config(CVMM_MEM_XEN_FOREIGN, 0, 0),
		xen_config(CVMM_MEM_XEN_FOREIGN, UINT64_MAX - PAGE + 1, 2),
		xen_config(CVMM_MEM_XEN_GRANT, 0x1000, 1),
		xen_config(CVMM_MEM_XEN_GRANT | CVMM_MEM_XEN_NO_ADVANCE_MAP,
			   grant | (UINT64_C(0xffffffff) << 12), 2),
		xen_config(CVMM_MEM_XEN_FOREIGN, 0, 1),
		xen_config(CVMM_MEM_XEN_FOREIGN, 0, 1),
	};
	struct cvmm_mem_config config;

	(void)state;
	bad[10].domid = 0x7ff0;
	bad[11].fd_offset = PAGE;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++)
		assert_int_equal(prepare(bad[i], &config), -EINVAL);
	assert_int_equal(prepare(xen_config(CVMM_MEM_XEN_GRANT, grant, 1 << 21), &config), -E2BIG);
}

#define xen_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		xen_test(foreign_memory_is_mapped_as_a_whole),
		xen_test(each_foreign_page_can_be_refused),
		xen_test(grants_are_mapped_in_advance),
		xen_test(grants_are_mapped_on_demand),
		xen_test(a_grant_that_is_refused_fails_the_access),
		xen_test(one_map_has_all_kinds),
		xen_test(what_no_map_took_can_be_cancelled),
		xen_test(senseless_numbers_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
