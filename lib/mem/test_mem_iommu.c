// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Guest memory behind an IOMMU: every access, against a model; and what is told of faults. */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "test_mem_util.h"

#include <cvmm/mem_iommu.h>

#define RAM_BASE 0x100000u
#define RAM_BYTES 0x8000u /* two regions of it, of which the second can only be read */
#define RW CVMM_ACCESS_READ_WRITE
#define RO CVMM_ACCESS_READ

/**
 * struct fixture - memory, an IOTLB in front of it, and what was told of faults
 * @mem: behind the IOMMU
 * @by_iova: marks of @mem
 * @by_gpa: marks of @ram
 */
struct fixture {
	struct cvmm_mem *ram, *mem;
	struct cvmm_iotlb *tlb;
	struct cvmm_dirty *by_iova, *by_gpa;
	unsigned int calls;
	enum cvmm_access access;
	struct cvmm_iotlb_range miss, fail;
	size_t misses, fails;
};

static void on_fault(void *ctx, enum cvmm_access access, const struct cvmm_iotlb_range *misses,
		     size_t miss_count, const struct cvmm_iotlb_range *fails, size_t fail_count)
{
	struct fixture *f = ctx;

	f->calls++;
	f->access = access;
	f->misses = miss_count;
	f->fails = fail_count;
	if (miss_count)
		f->miss = misses[0];
	if (fail_count)
		f->fail = fails[0];
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct cvmm_mem_config configs[2];
	struct cvmm_mem_iommu_config config = { 0 };
	struct cvmm_mem *plain;

	assert_non_null(f);
	configs[0] = ram_config(RAM_BASE, RAM_BYTES / 2);
	configs[1] = ram_config(RAM_BASE + RAM_BYTES / 2, RAM_BYTES / 2);
	configs[1].access = RO;
	plain = must_create(configs, 2);
	assert_int_equal(cvmm_dirty_create(0, UINT64_C(1) << 32, 12, &f->by_gpa, NULL), 0);
	assert_int_equal(cvmm_dirty_create(0, UINT64_C(1) << 32, 12, &f->by_iova, NULL), 0);
	assert_int_equal(cvmm_mem_with_dirty(plain, f->by_gpa, &f->ram, NULL), 0);
	cvmm_mem_unref(plain);
	assert_int_equal(cvmm_iotlb_create(64, &f->tlb, NULL), 0);
	config.backing = f->ram;
	config.iotlb = f->tlb;
	config.dirty = f->by_iova;
	config.fault = on_fault;
	config.fault_ctx = f;
	assert_int_equal(cvmm_mem_create_iommu(&config, &f->mem, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	cvmm_mem_unref(f->mem);
	cvmm_mem_unref(f->ram);
	cvmm_dirty_unref(f->by_iova);
	cvmm_dirty_unref(f->by_gpa);
	cvmm_iotlb_destroy(f->tlb);
	free(f);
	return 0;
}

static void map(struct fixture *f, uint64_t iova, uint64_t len, uint64_t gpa, unsigned int rights)
{
	assert_int_equal(cvmm_iotlb_set(f->tlb, iova, len, gpa, rights), 0);
}

static void accesses_go_where_the_iotlb_says(void **state)
{
	struct fixture *f = *state;
	uint64_t v = 0x1122334455667788, got = 0;
	uint32_t word = 0;

	map(f, 0x5000, 0x1000, RAM_BASE + 0x1000, RW);
	assert_int_equal(cvmm_mem_write(f->mem, G(0x5010), &v, sizeof(v)), 0);
	assert_int_equal(cvmm_mem_read(f->ram, G(RAM_BASE + 0x1010), &got, sizeof(got)), 0);
	assert_int_equal(got, v);
	got = 0;
	assert_int_equal(cvmm_mem_read(f->mem, G(0x5010), &got, sizeof(got)), 0);
	assert_int_equal(got, v);
	assert_int_equal(cvmm_mem_load_u32(f->mem, G(0x5010), __ATOMIC_ACQUIRE, &word), 0);
	assert_int_equal(word, 0x55667788);
	assert_int_equal(cvmm_mem_store_u32(f->mem, G(0x5014), __ATOMIC_RELEASE, 7), 0);
	assert_int_equal(cvmm_mem_load_u32(f->ram, G(RAM_BASE + 0x1014), __ATOMIC_ACQUIRE, &word),
			 0);
	assert_int_equal(word, 7);
	assert_ptr_equal(cvmm_mem_ptr(f->mem, G(0x5010), 8, RW),
			 cvmm_mem_ptr(f->ram, G(RAM_BASE + 0x1010), 8, RW));
	assert_int_equal(cvmm_mem_check(f->mem, G(0x5000), 0x1000, RW), 0);
	assert_int_equal(f->calls, 0);
}

static void ranges_may_be_scattered(void **state)
{
	struct fixture *f = *state;
	uint8_t in[300], out[300] = { 0 };
	struct iovec iov[4];
	size_t count;

	for (int i = 0; i < 300; i++)
		in[i] = (uint8_t)(i * 7);
	map(f, 0x5000, 100, RAM_BASE + 0x2000, RW);
	map(f, 0x5064, 100, RAM_BASE + 0x100, RW);
	map(f, 0x50c8, 100, RAM_BASE + 0x1234, RW);
	assert_int_equal(cvmm_mem_write(f->mem, G(0x5000), in, 300), 0);
	assert_int_equal(cvmm_mem_read(f->ram, G(RAM_BASE + 0x100), out, 100), 0);
	assert_memory_equal(out, in + 100, 100);
	assert_int_equal(cvmm_mem_span(f->mem, G(0x5000), 300, RW, iov, 4, &count), 0);
	assert_int_equal(count, 3);
	assert_int_equal(cvmm_mem_span(f->mem, G(0x5000), 300, RW, iov, 2, &count), -ENOBUFS);
	assert_null(cvmm_mem_ptr(f->mem, G(0x5000), 101, RW));
	/* An atomic access must be in one piece, and aligned where it ends up. */
	assert_int_equal(cvmm_mem_store_u64(f->mem, G(0x5060), __ATOMIC_RELEASE, 1), -EFAULT);
	map(f, 0x6000, 100, RAM_BASE + 0x2001, RW);
	assert_int_equal(cvmm_mem_store_u64(f->mem, G(0x6000), __ATOMIC_RELEASE, 1), -EFAULT);
}

static void a_miss_is_told_and_changes_nothing(void **state)
{
	struct fixture *f = *state;
	uint8_t in[0x2000], got = 0;

	memset(in, 0xaa, sizeof(in));
	map(f, 0x5000, 0x1000, RAM_BASE, RW);
	assert_int_equal(cvmm_mem_write(f->mem, G(0x5000), in, sizeof(in)), -EAGAIN);
	assert_int_equal(f->calls, 1);
	assert_int_equal(f->access, CVMM_ACCESS_WRITE);
	assert_int_equal(f->misses, 1);
	assert_int_equal(f->fails, 0);
	assert_int_equal(f->miss.iova, 0x6000);
	assert_int_equal(f->miss.len_bytes, 0x1000);
	assert_int_equal(cvmm_mem_read(f->ram, G(RAM_BASE), &got, 1), 0);
	assert_int_equal(got, 0);
	/* When it is known, the same succeeds. */
	map(f, 0x6000, 0x1000, RAM_BASE + 0x3000, RW);
	assert_int_equal(cvmm_mem_write(f->mem, G(0x5000), in, sizeof(in)), 0);
}

static void a_lack_of_rights_is_told(void **state)
{
	struct fixture *f = *state;
	uint32_t v = 0;

	map(f, 0x5000, 0x1000, RAM_BASE, RO);
	assert_int_equal(cvmm_mem_write(f->mem, G(0x5000), &v, sizeof(v)), -EACCES);
	assert_int_equal(f->fails, 1);
	assert_int_equal(f->fail.iova, 0x5000);
	assert_int_equal(f->fail.len_bytes, 4);
	assert_int_equal(cvmm_mem_read(f->mem, G(0x5000), &v, sizeof(v)), 0);
	assert_int_equal(cvmm_mem_store_u32(f->mem, G(0x5000), __ATOMIC_RELEASE, 1), -EACCES);
	assert_null(cvmm_mem_ptr(f->mem, G(0x5000), 4, RW));
}

static void what_is_behind_must_be_ram_with_the_right(void **state)
{
	struct fixture *f = *state;
	uint32_t v = 0;

	map(f, 0x5000, 0x1000, 0x10, RW);		      /* a hole */
	map(f, 0x6000, 0x1000, RAM_BASE + RAM_BYTES / 2, RW); /* may be read only */
	assert_int_equal(cvmm_mem_read(f->mem, G(0x5000), &v, sizeof(v)), -EFAULT);
	assert_int_equal(cvmm_mem_read(f->mem, G(0x6000), &v, sizeof(v)), 0);
	assert_int_equal(cvmm_mem_write(f->mem, G(0x6000), &v, sizeof(v)), -EFAULT);
	assert_int_equal(f->calls, 0);
}

static void odd_ranges_have_results(void **state)
{
	struct fixture *f = *state;
	uint8_t v[16] = { 0 };

	assert_int_equal(cvmm_mem_read(f->mem, G(0x5000), v, 0), 0);
	assert_int_equal(cvmm_mem_check(f->mem, G(UINT64_MAX), 0, RW), 0);
	assert_int_equal(cvmm_mem_read(f->mem, G(UINT64_MAX - 3), v, 8), -EFAULT);
	map(f, UINT64_MAX - 7, 8, RAM_BASE, RW);
	assert_int_equal(cvmm_mem_write(f->mem, G(UINT64_MAX - 7), v, 8), 0);
	assert_int_equal(cvmm_mem_discard(f->mem, G(UINT64_MAX - 7), 8), -ENOTSUP);
}

static void writes_are_marked_by_both_addresses(void **state)
{
	struct fixture *f = *state;
	uint64_t v = 1;

	map(f, 0x5000, 0x1000, RAM_BASE + 0x3000, RW);
	assert_int_equal(cvmm_mem_read(f->mem, G(0x5000), &v, sizeof(v)), 0);
	assert_int_equal(cvmm_dirty_count(f->by_iova) + cvmm_dirty_count(f->by_gpa), 0);
	assert_int_equal(cvmm_mem_write(f->mem, G(0x5000), &v, sizeof(v)), 0);
	assert_true(cvmm_dirty_test(f->by_iova, 0x5000));
	assert_true(cvmm_dirty_test(f->by_gpa, RAM_BASE + 0x3000));
	assert_int_equal(cvmm_dirty_count(f->by_iova), 1);
	assert_int_equal(cvmm_dirty_count(f->by_gpa), 1);
}

static void a_batch_of_accesses_is_done_under_one_lock(void **state)
{
	struct fixture *f = *state;
	uint64_t v = 1;
	struct cvmm_mem_pin pin;
	struct iovec iov;

	map(f, 0x5000, 0x1000, RAM_BASE, RW);
	cvmm_iotlb_read_lock(f->tlb);
	assert_int_equal(cvmm_mem_write(f->mem, G(0x5000), &v, sizeof(v)), 0);
	assert_int_equal(cvmm_mem_copy(f->mem, G(0x5100), f->mem, G(0x5000), 8), 0);
	assert_int_equal(cvmm_mem_pin(f->mem, G(0x5000), 8, RW, &iov, 1, &pin), 0);
	assert_int_equal(cvmm_mem_read(f->mem, G(0x9000), &v, sizeof(v)), -EAGAIN);
	cvmm_mem_unpin(&pin);
	cvmm_iotlb_read_unlock(f->tlb);
}

static void it_can_be_neither_changed_nor_nested(void **state)
{
	struct fixture *f = *state;
	struct cvmm_mem_config ram = ram_config(0x900000, page_size());
	struct cvmm_mem_iommu_config config = { .backing = f->mem, .iotlb = f->tlb };
	struct cvmm_mem *mem = NULL;
	struct cvmm_error err;

	assert_int_equal(cvmm_mem_insert(f->mem, &ram, &mem, &err), -EINVAL);
	assert_int_equal(cvmm_mem_remove(f->mem, G(RAM_BASE), RAM_BYTES / 2, &mem, &err), -ENOENT);
	assert_int_equal(cvmm_mem_with_dirty(f->mem, NULL, &mem, &err), -EINVAL);
	assert_int_equal(cvmm_mem_create_iommu(&config, &mem, &err), -EINVAL);
	assert_int_equal(cvmm_mem_region_count(f->mem), 0);
	assert_null(mem);
}

static void translations_that_touch_are_one_stretch(void **state)
{
	struct fixture *f = *state;
	uint8_t in[0x3000], out[0x3000];
	struct iovec iov[4];
	size_t count = 0;

	for (unsigned int i = 0; i < 4; i++)
		map(f, i * 0x1000, 0x1000, RAM_BASE + i * 0x1000, RW);
	memset(in, 1, 0x1000);
	memset(in + 0x1000, 2, 0x1000);
	memset(in + 0x2000, 3, 0x1000);
	assert_int_equal(cvmm_mem_write(f->mem, G(0), in, sizeof(in)), 0);
	assert_int_equal(cvmm_mem_span(f->mem, G(0), 0x4000, RW, iov, 4, &count), 0);
	assert_int_equal(count, 1);
	assert_non_null(cvmm_mem_ptr(f->mem, G(0x800), 0x1000, RW));
	assert_int_equal(cvmm_mem_copy(f->mem, G(0x1000), f->mem, G(0), 0x3000), 0);
	assert_int_equal(cvmm_mem_read(f->mem, G(0x1000), out, sizeof(out)), 0);
	assert_memory_equal(out, in, sizeof(out));
}

static void resolve_fault(void *ctx, enum cvmm_access access, const struct cvmm_iotlb_range *misses,
			  size_t miss_count, const struct cvmm_iotlb_range *fails,
			  size_t fail_count)
{
	struct fixture *f = ctx;

	(void)access;
	(void)fails;
	(void)fail_count;
	assert_int_equal(miss_count, 1);
	map(f, misses[0].iova, misses[0].len_bytes, RAM_BASE + 0x1000, RW);
}

/* It would wait for ever if the access still held the lock for its other half. */
static void a_fault_can_be_resolved_where_it_is_told(void **state)
{
	struct fixture *f = *state;
	struct cvmm_mem_iommu_config config = { f->ram, f->tlb, NULL, resolve_fault, f };
	struct cvmm_mem *mem;

	assert_int_equal(cvmm_mem_create_iommu(&config, &mem, NULL), 0);
	map(f, 0x5000, 0x1000, RAM_BASE, RW);
	assert_int_equal(cvmm_mem_copy(mem, G(0x5000), mem, G(0x9000), 8), -EAGAIN);
	assert_int_equal(cvmm_mem_copy(mem, G(0x5000), mem, G(0x9000), 8), 0);
	cvmm_mem_unref(mem);
}

static void a_pin_marks_what_it_wrote_though_it_is_no_longer_translated(void **state)
{
	struct fixture *f = *state;
	struct cvmm_mem_pin pin;
	struct iovec iov;

	map(f, 0x5000, 0x1000, RAM_BASE + 0x2000, RW);
	assert_int_equal(cvmm_mem_pin(f->mem, G(0x5000), 8, CVMM_ACCESS_WRITE, &iov, 1, &pin), 0);
	cvmm_iotlb_invalidate_all(f->tlb);
	cvmm_mem_unpin(&pin);
	assert_true(cvmm_dirty_test(f->by_gpa, RAM_BASE + 0x2000));
	assert_true(cvmm_dirty_test(f->by_iova, 0x5000));
	assert_int_equal(cvmm_dirty_count(f->by_gpa), 1);
}

/* ---- against a model ----------------------------------------------------------------------- */

#define WINDOW 0x3000u /* of I/O virtual addresses */
#define STEPS 20000

static uint64_t below(uint64_t *random, uint64_t limit)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random % limit;
}

/* What an address stands for: an offset in RAM, or -1; and the rights. */
struct model {
	int target[WINDOW];
	uint8_t rights[WINDOW];
	uint8_t ram[RAM_BYTES];
	uint64_t random;
};

static void remap(struct fixture *f, struct model *m)
{
	uint64_t iova = below(&m->random, WINDOW), len = 1 + below(&m->random, 700);
	uint64_t to = below(&m->random, RAM_BYTES - 700);
	uint8_t rights = (uint8_t)below(&m->random, 4);
	bool gone = !below(&m->random, 4);

	if (len > WINDOW - iova)
		len = WINDOW - iova;
	if (gone)
		assert_int_equal(cvmm_iotlb_invalidate(f->tlb, iova, len), 0);
	else
		map(f, iova, len, RAM_BASE + to, rights);
	for (uint64_t i = 0; i < len; i++) {
		m->target[iova + i] = gone ? -1 : (int)(to + i);
		m->rights[iova + i] = rights;
	}
}

/* The order of what is found wrong is that of the addresses. */
static int expected(const struct model *m, uint64_t iova, uint64_t len, unsigned int access)
{
	for (uint64_t i = iova; i < iova + len; i++) {
		if (m->target[i] < 0)
			return -EAGAIN;
		if (access & ~m->rights[i])
			return -EACCES;
		if ((access & CVMM_ACCESS_WRITE) && m->target[i] >= (int)(RAM_BYTES / 2))
			return -EFAULT;
	}
	return 0;
}

static void read_and_write(struct fixture *f, struct model *m)
{
	uint64_t iova = below(&m->random, WINDOW), len = below(&m->random, 900);
	uint8_t data[900];
	bool is_write = below(&m->random, 2);
	int want, got;

	if (len > WINDOW - iova)
		len = WINDOW - iova;
	want = expected(m, iova, len, is_write ? CVMM_ACCESS_WRITE : CVMM_ACCESS_READ);
	for (uint64_t i = 0; i < len; i++)
		data[i] = (uint8_t)below(&m->random, 256);
	got = is_write ? cvmm_mem_write(f->mem, G(iova), data, len)
		       : cvmm_mem_read(f->mem, G(iova), data, len);
	/* What is behind is checked piece by piece, where the model looks byte by byte. */
	if (want == -EFAULT || got == -EFAULT) {
		assert_int_not_equal(got, 0);
		assert_int_not_equal(want, 0);
		return;
	}
	assert_int_equal(got, want);
	for (uint64_t i = 0; !got && i < len; i++) {
		if (is_write)
			m->ram[m->target[iova + i]] = data[i];
		else
			assert_int_equal(data[i], m->ram[m->target[iova + i]]);
	}
}

static void memory_behind_an_iommu_behaves_as_the_model(void **state)
{
	struct fixture *f = *state;
	struct model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->random = UINT64_C(0x2545f4914f6cdd1d);
	cvmm_iotlb_destroy(f->tlb);
	cvmm_mem_unref(f->mem);
	assert_int_equal(cvmm_iotlb_create(CVMM_IOTLB_CAPACITY_DEFAULT, &f->tlb, NULL), 0);
	assert_int_equal(
		cvmm_mem_create_iommu(
			&(struct cvmm_mem_iommu_config){ f->ram, f->tlb, f->by_iova, on_fault, f },
			&f->mem, NULL),
		0);
	memset(m->target, 0xff, sizeof(m->target));
	for (int i = 0; i < STEPS; i++) {
		if (i % 3 == 0)
			remap(f, m);
		read_and_write(f, m);
	}
	/* Where writes overlap themselves the order of bytes is open, so all was compared above. */
	free(m);
}

#define iommu_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		iommu_test(accesses_go_where_the_iotlb_says),
		iommu_test(ranges_may_be_scattered),
		iommu_test(a_miss_is_told_and_changes_nothing),
		iommu_test(a_lack_of_rights_is_told),
		iommu_test(what_is_behind_must_be_ram_with_the_right),
		iommu_test(odd_ranges_have_results),
		iommu_test(writes_are_marked_by_both_addresses),
		iommu_test(a_batch_of_accesses_is_done_under_one_lock),
		iommu_test(it_can_be_neither_changed_nor_nested),
		iommu_test(translations_that_touch_are_one_stretch),
		iommu_test(a_fault_can_be_resolved_where_it_is_told),
		iommu_test(a_pin_marks_what_it_wrote_though_it_is_no_longer_translated),
		iommu_test(memory_behind_an_iommu_behaves_as_the_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
