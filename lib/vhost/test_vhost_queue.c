// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* What a driver configured, checked and translated; and where queues are in their rings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <cvmm/mem_iommu.h>

#include "test_vhost_util.h"

#define SIZE 256U
#define DESC_BYTES (16 * SIZE)
#define AVAIL_BYTES (6 + 2 * SIZE)
#define USED_BYTES (6 + 8 * SIZE)
#define RAM_PAGES 16U
#define RAM_BYTES (RAM_PAGES * PAGE)

#define HOST_KIND CVMM_VHOST_NET

static struct cvmm_vhost_queue split_queue(uint64_t desc, uint64_t avail, uint64_t used)
{
	return (struct cvmm_vhost_queue){
		.index = 1,
		.ring = { .size = SIZE, .desc = G(desc), .avail = G(avail), .used = G(used) },
		.base = CVMM_VIRTQ_BASE_START,
		.kick_fd = CVMM_VHOST_UNBIND,
		.call_fd = CVMM_VHOST_UNBIND,
		.err_fd = CVMM_VHOST_UNBIND,
	};
}

static struct cvmm_vhost_queue good_queue(void)
{
	return split_queue(0, 2 * PAGE, 4 * PAGE);
}

static int check(enum cvmm_vhost_kind kind, const struct cvmm_mem *mem,
		 const struct cvmm_vhost_queue *queue, const char *says)
{
	struct vhost_vring_addr addr, before;
	struct cvmm_error err = { 0 };
	int ret;

	memset(&addr, 0x5a, sizeof(addr));
	memcpy(&before, &addr, sizeof(addr));
	ret = cvmm_vhost_queue_check(kind, mem, queue, &addr, &err);
	assert_int_equal(ret, err.code);
	if (ret) {
		assert_memory_equal(&addr, &before, sizeof(addr));
		assert_says(&err, says);
	} else {
		assert_int_equal(addr.index, queue->index);
	}
	return ret;
}

static uint64_t host_of(const struct cvmm_mem *mem, uint64_t gpa)
{
	return (uint64_t)(uintptr_t)cvmm_mem_ptr(mem, G(gpa), 1, CVMM_ACCESS_READ);
}

/* ---- translation ----------------------------------------------------------------------------- */

static void addresses_become_those_of_this_process(void **state)
{
	const struct cvmm_mem_config config = ram(0x40000000, RAM_BYTES);
	struct cvmm_mem *mem = must_create(&config, 1);
	struct cvmm_vhost_queue q = split_queue(0x40000000, 0x40002002, 0x40004004);
	struct vhost_vring_addr addr;

	(void)state;
	for (unsigned int kind = CVMM_VHOST_NET; kind <= CVMM_VHOST_SCSI; kind++) {
		assert_ok(cvmm_vhost_queue_check((enum cvmm_vhost_kind)kind, mem, &q, &addr, NULL));
		assert_int_equal(addr.desc_user_addr, host_of(mem, 0x40000000));
		assert_int_equal(addr.avail_user_addr, host_of(mem, 0x40002002));
		assert_int_equal(addr.used_user_addr, host_of(mem, 0x40004004));
		assert_int_equal(addr.flags, 0);
		assert_int_equal(addr.log_guest_addr, 0);
	}
	cvmm_mem_unref(mem);
}

static void the_log_address_is_that_of_the_guest(void **state)
{
	const struct cvmm_mem_config config = ram(0x40000000, RAM_BYTES);
	struct cvmm_mem *mem = must_create(&config, 1);
	struct cvmm_vhost_queue q = split_queue(0x40000000, 0x40002000, 0x40004000);
	struct vhost_vring_addr addr;

	(void)state;
	q.log_used = true;
	assert_ok(cvmm_vhost_queue_check(HOST_KIND, mem, &q, &addr, NULL));
	assert_int_equal(addr.flags, 1U << VHOST_VRING_F_LOG);
	assert_int_equal(addr.log_guest_addr, 0x40004000);
	cvmm_mem_unref(mem);
}

static void must_be_left_as_they_are(enum cvmm_vhost_kind kind, const struct cvmm_mem *mem,
				     const struct cvmm_vhost_queue *q)
{
	struct vhost_vring_addr addr;

	assert_ok(cvmm_vhost_queue_check(kind, mem, q, &addr, NULL));
	assert_int_equal(addr.desc_user_addr, q->ring.desc.addr);
	assert_int_equal(addr.avail_user_addr, q->ring.avail.addr);
	assert_int_equal(addr.used_user_addr, q->ring.used.addr);
}

static void vdpa_has_io_virtual_addresses_that_are_checked_all_the_same(void **state)
{
	const struct cvmm_mem_config config = ram(0x40000000, RAM_BYTES);
	struct cvmm_mem *mem = must_create(&config, 1);
	struct cvmm_vhost_queue q = split_queue(0x40000000, 0x40002000, 0x40004000);

	(void)state;
	must_be_left_as_they_are(CVMM_VHOST_VDPA, mem, &q);
	q.ring.used = G(0x40000000 + RAM_BYTES - USED_BYTES + 2);
	assert_int_equal(check(CVMM_VHOST_VDPA, mem, &q, "device area"), -EINVAL);
	cvmm_mem_unref(mem);
}

static void behind_an_iommu_addresses_are_left_as_they_are(void **state)
{
	const struct cvmm_mem_config config = ram(0, RAM_BYTES);
	struct cvmm_mem_iommu_config iommu = { .backing = must_create(&config, 1) };
	struct cvmm_vhost_queue q = split_queue(PAGE << 40, PAGE << 41, PAGE << 42);
	struct cvmm_mem *mem = NULL;

	(void)state;
	assert_ok(cvmm_iotlb_create(1, &iommu.iotlb, NULL));
	assert_ok(cvmm_mem_create_iommu(&iommu, &mem, NULL));
	must_be_left_as_they_are(HOST_KIND, mem, &q);
	must_be_left_as_they_are(CVMM_VHOST_VDPA, mem, &q);
	must_be_left_as_they_are(HOST_KIND, NULL, &q); /* nobody to look them up */
	cvmm_mem_unref(mem);
	cvmm_iotlb_destroy(iommu.iotlb);
	cvmm_mem_unref(iommu.backing);
}

/* ---- ranges ---------------------------------------------------------------------------------- */

/* rust-vmm looks at the address one past the end, and refuses this. */
static void rings_that_end_exactly_at_the_end_of_ram_are_fine(void **state)
{
	const struct cvmm_mem_config config = ram(0, RAM_BYTES);
	struct cvmm_mem *mem = must_create(&config, 1);
	struct cvmm_vhost_queue q;

	(void)state;
	q = split_queue(RAM_BYTES - DESC_BYTES, 0, 2 * PAGE);
	assert_ok(check(HOST_KIND, mem, &q, NULL));
	q = split_queue(0, RAM_BYTES - AVAIL_BYTES, 2 * PAGE);
	assert_ok(check(HOST_KIND, mem, &q, NULL));
	/* The largest multiple of 4 that leaves room: 2 bytes less than none are left. */
	q = split_queue(0, 2 * PAGE, (RAM_BYTES - USED_BYTES) & ~UINT64_C(3));
	assert_ok(check(HOST_KIND, mem, &q, NULL));
	q = split_queue(RAM_BYTES - 16, RAM_BYTES - 24, RAM_BYTES - 16);
	q.ring.size = 1; /* 16, 8 and 14 bytes */
	assert_ok(check(HOST_KIND, mem, &q, NULL));
	cvmm_mem_unref(mem);
}

static void rings_that_end_at_the_end_of_the_address_space_are_fine(void **state)
{
	const uint64_t start = UINT64_MAX - RAM_BYTES + 1;
	const struct cvmm_mem_config config = ram(start, RAM_BYTES);
	struct cvmm_mem *mem = must_create(&config, 1);
	struct cvmm_vhost_queue q = split_queue(UINT64_MAX - DESC_BYTES + 1, start, start + PAGE);

	(void)state;
	assert_ok(check(HOST_KIND, mem, &q, NULL));
	must_be_left_as_they_are(HOST_KIND, NULL, &q);
	q.ring.desc = G(UINT64_MAX - DESC_BYTES + 1 + 16);
	assert_int_equal(check(HOST_KIND, mem, &q, "ends above 2^64"), -EINVAL);
	assert_int_equal(check(HOST_KIND, NULL, &q, "ends above 2^64"), -EINVAL);
	cvmm_mem_unref(mem);
}

static void rings_that_end_beyond_ram_are_refused(void **state)
{
	const struct cvmm_mem_config config = ram(0, RAM_BYTES);
	struct cvmm_mem *mem = must_create(&config, 1);
	struct cvmm_vhost_queue q;

	(void)state;
	q = split_queue(RAM_BYTES - DESC_BYTES + 16, 0, 2 * PAGE);
	assert_int_equal(check(HOST_KIND, mem, &q, "descriptor area"), -EINVAL);
	q = split_queue(0, RAM_BYTES - AVAIL_BYTES + 2, 2 * PAGE);
	assert_int_equal(check(HOST_KIND, mem, &q, "driver area"), -EINVAL);
	q = split_queue(0, 2 * PAGE, (RAM_BYTES - USED_BYTES + 4) & ~UINT64_C(3));
	assert_int_equal(check(HOST_KIND, mem, &q, "device area"), -EINVAL);
	q = split_queue(RAM_BYTES, 0, 2 * PAGE);
	assert_int_equal(check(HOST_KIND, mem, &q, "descriptor area"), -EINVAL);
	cvmm_mem_unref(mem);
}

/* rust-vmm looks at the first and the last address only. */
static void holes_in_the_middle_of_rings_are_seen(void **state)
{
	const struct cvmm_mem_config configs[] = { ram(0, PAGE), ram(2 * PAGE, PAGE),
						   ram(8 * PAGE, 4 * PAGE) };
	struct cvmm_mem *mem = must_create(configs, CVMM_ARRAY_SIZE(configs));
	struct cvmm_vhost_queue q = split_queue(0, 8 * PAGE, 10 * PAGE);

	(void)state;
	/* From the middle of page 0 to that of page 2: both ends are RAM. */
	q.ring.size = 512;
	q.ring.desc = G(PAGE / 2);
	assert_int_equal(check(HOST_KIND, mem, &q, "descriptor area"), -EINVAL);
	assert_int_equal(check(CVMM_VHOST_VDPA, mem, &q, "descriptor area"), -EINVAL);
	q.ring.size = 1024;
	q.ring.desc = G(8 * PAGE);
	q.ring.used = G(PAGE / 2);
	assert_int_equal(check(HOST_KIND, mem, &q, "device area"), -EINVAL);
	cvmm_mem_unref(mem);
}

static void rings_across_regions_must_be_contiguous_in_the_host(void **state)
{
	static uint8_t host[4 * PAGE] __attribute__((aligned(PAGE)));
	struct cvmm_mem_config configs[] = { ram(0, PAGE), ram(PAGE, PAGE), ram(2 * PAGE, PAGE) };
	struct cvmm_vhost_queue q = split_queue(PAGE / 2, 0, 2 * PAGE);
	struct cvmm_mem *mem;

	(void)state;
	q.ring.size = SIZE / 2;
	mem = must_create(configs, CVMM_ARRAY_SIZE(configs)); /* touch in the host, too */
	q.ring.desc = G(PAGE - 16);
	assert_ok(check(HOST_KIND, mem, &q, NULL));
	cvmm_mem_unref(mem);

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(configs); i++) {
		configs[i].kind = CVMM_MEM_EXTERNAL;
		configs[i].host = host + (i ^ 1) * PAGE;
	}
	mem = must_create(configs, CVMM_ARRAY_SIZE(configs));
	assert_int_equal(check(HOST_KIND, mem, &q, "descriptor area"), -ENOTSUP);
	/* The mapping of a vDPA device puts them together. */
	assert_ok(check(CVMM_VHOST_VDPA, mem, &q, NULL));
	cvmm_mem_unref(mem);
}

static void rings_in_memory_that_is_mapped_on_demand_are_refused(void **state)
{
	struct cvmm_mem_config config = ram(0, RAM_BYTES);
	struct cvmm_vhost_queue q = good_queue();
	struct cvmm_mem *mem;

	(void)state;
	config.kind = CVMM_MEM_ON_DEMAND;
	config.ops = &on_demand_ops;
	mem = must_create(&config, 1);
	assert_int_equal(check(HOST_KIND, mem, &q, "on demand"), -ENOTSUP);
	cvmm_mem_unref(mem);
}

static void areas_need_the_rights_that_the_kernel_uses(void **state)
{
	struct cvmm_mem_config configs[] = { ram(0, RAM_BYTES), ram(RAM_BYTES, RAM_BYTES) };
	struct cvmm_vhost_queue q = good_queue();
	struct cvmm_mem *mem;

	(void)state;
	configs[1].access = CVMM_ACCESS_READ;
	mem = must_create(configs, CVMM_ARRAY_SIZE(configs));
	q.ring.desc.addr += RAM_BYTES;
	q.ring.avail.addr += RAM_BYTES;
	assert_ok(check(HOST_KIND, mem, &q, NULL));
	q.ring.used.addr += RAM_BYTES;
	assert_int_equal(check(HOST_KIND, mem, &q, "device area"), -EINVAL);
	/* Packed: used descriptors are written where the available ones are. */
	q.ring.packed = true;
	q.ring.used.addr -= RAM_BYTES;
	assert_int_equal(check(HOST_KIND, mem, &q, "descriptor area"), -EINVAL);
	cvmm_mem_unref(mem);
}

/* ---- sizes and alignment --------------------------------------------------------------------- */

static void sizes_that_a_queue_cannot_have_are_refused(void **state)
{
	static const uint16_t bad[] = { 0, 3, 255, 257, 32769, 65535 };
	const struct cvmm_mem_config config = ram(0, UINT64_C(1) << 21);
	struct cvmm_mem *mem = must_create(&config, 1);
	struct cvmm_vhost_queue q = split_queue(0, 0x100000, 0x180000);

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		q.ring.size = bad[i];
		assert_int_equal(check(HOST_KIND, mem, &q, "size"), -EINVAL);
	}
	for (unsigned int size = 1; size <= CVMM_VIRTQ_SIZE_MAX; size *= 2) {
		q.ring.size = (uint16_t)size;
		assert_ok(check(HOST_KIND, mem, &q, NULL));
	}
	q.max_size = 128;
	q.ring.size = 128;
	assert_ok(check(HOST_KIND, mem, &q, NULL));
	q.ring.size = 256;
	assert_int_equal(check(HOST_KIND, mem, &q, "from 1 to 128"), -EINVAL);
	q.max_size = UINT32_MAX;
	q.ring.size = 65535;
	q.ring.packed = true;
	assert_int_equal(check(HOST_KIND, mem, &q, "size"), -EINVAL);
	q.ring.size = 255;
	assert_ok(check(HOST_KIND, mem, &q, NULL));
	cvmm_mem_unref(mem);
}

static void misaligned_areas_are_refused_for_every_kind(void **state)
{
	const struct cvmm_mem_config config = ram(0, RAM_BYTES);
	struct cvmm_mem *mem = must_create(&config, 1);

	(void)state;
	for (unsigned int kind = CVMM_VHOST_NET; kind <= CVMM_VHOST_VDPA; kind++)
		for (uint64_t off = 0; off < 16; off++) {
			enum cvmm_vhost_kind k = (enum cvmm_vhost_kind)kind;
			struct cvmm_vhost_queue q = good_queue();

			q.ring.desc.addr += off;
			assert_int_equal(check(k, mem, &q, "aligned to 16"), off ? -EINVAL : 0);
			q = good_queue();
			q.ring.avail.addr += off;
			assert_int_equal(check(k, mem, &q, "aligned to 2"), off % 2 ? -EINVAL : 0);
			q = good_queue();
			q.ring.used.addr += off;
			assert_int_equal(check(k, NULL, &q, "aligned to 4"), off % 4 ? -EINVAL : 0);
			q = good_queue();
			q.ring.packed = true;
			q.ring.avail.addr += off;
			assert_int_equal(check(k, mem, &q, "aligned to 4"), off % 4 ? -EINVAL : 0);
		}
	cvmm_mem_unref(mem);
}

static void packed_rings_have_other_areas(void **state)
{
	const struct cvmm_mem_config config = ram(0, RAM_BYTES);
	struct cvmm_mem *mem = must_create(&config, 1);
	struct cvmm_vhost_queue q =
		split_queue(RAM_BYTES - DESC_BYTES, RAM_BYTES - 4, RAM_BYTES - 4);

	(void)state;
	q.ring.packed = true;
	assert_ok(check(HOST_KIND, mem, &q, NULL));
	q.ring.avail = G(RAM_BYTES);
	assert_int_equal(check(HOST_KIND, mem, &q, "driver area of 4 bytes"), -EINVAL);
	q.ring.avail = G(0);
	q.ring.used = G(RAM_BYTES);
	assert_int_equal(check(HOST_KIND, mem, &q, "device area of 4 bytes"), -EINVAL);
	cvmm_mem_unref(mem);
}

static void places_outside_of_a_packed_ring_are_refused(void **state)
{
	const struct cvmm_mem_config config = ram(0, RAM_BYTES);
	struct cvmm_mem *mem = must_create(&config, 1);
	struct cvmm_vhost_queue q = good_queue();

	(void)state;
	q.base.next_avail = SIZE;
	assert_ok(check(HOST_KIND, mem, &q, NULL)); /* an index, in a split ring */
	q.ring.packed = true;
	assert_int_equal(check(HOST_KIND, mem, &q, "places"), -EINVAL);
	q.base.next_avail = SIZE - 1;
	assert_ok(check(HOST_KIND, mem, &q, NULL));
	q.base.next_used = SIZE;
	assert_int_equal(check(HOST_KIND, mem, &q, "places"), -EINVAL);
	cvmm_mem_unref(mem);
}

static void a_queue_that_is_refused_does_not_reach_the_kernel(void **state)
{
	struct cvmm_vhost vhost = CVMM_VHOST_NONE;
	struct cvmm_vhost_queue q = good_queue();
	struct cvmm_error err = { 0 };

	(void)state;
	/* Else this would be a bad descriptor. */
	q.ring.size = 3;
	assert_int_equal(cvmm_vhost_queue_start(&vhost, NULL, &q, &err), -EINVAL);
	q.ring.size = 4;
	assert_int_equal(cvmm_vhost_queue_start(&vhost, NULL, &q, &err), -EBADF);
	assert_says(&err, "queue 1: its size");
}

/* ---- bases ----------------------------------------------------------------------------------- */

static void bases_of_split_rings_are_an_index(void **state)
{
	struct cvmm_virtq_base base = { 0x1234, 0x5678, true, true };

	(void)state;
	assert_int_equal(cvmm_vhost_base_encode(&base, false), 0x1234);
	assert_ok(cvmm_vhost_base_decode(0xffff, false, &base));
	assert_int_equal(base.next_avail, 0xffff);
	assert_int_equal(base.next_used, 0xffff);
	assert_int_equal(cvmm_vhost_base_decode(0x10000, false, &base), -EPROTO);
	assert_int_equal(cvmm_vhost_base_decode(UINT32_MAX, false, &base), -EPROTO);
	assert_int_equal(base.next_avail, 0xffff);
}

static void bases_of_packed_rings_have_both_places_and_both_wrap_counters(void **state)
{
	struct cvmm_virtq_base base;

	(void)state;
	base = CVMM_VIRTQ_BASE_START;
	assert_int_equal(cvmm_vhost_base_encode(&base, true), 0x80008000);
	base = (struct cvmm_virtq_base){ 0x1234, 0x5678, false, true };
	assert_int_equal(cvmm_vhost_base_encode(&base, true), 0xd6781234);
	assert_ok(cvmm_vhost_base_decode(0x7fff8001, true, &base));
	assert_int_equal(base.next_avail, 1);
	assert_true(base.avail_wrap);
	assert_int_equal(base.next_used, 0x7fff);
	assert_false(base.used_wrap);
	for (uint32_t i = 0; i < 32; i++) {
		assert_ok(cvmm_vhost_base_decode(UINT32_C(1) << i, true, &base));
		assert_int_equal(cvmm_vhost_base_encode(&base, true), UINT32_C(1) << i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_become_those_of_this_process),
		cmocka_unit_test(the_log_address_is_that_of_the_guest),
		cmocka_unit_test(vdpa_has_io_virtual_addresses_that_are_checked_all_the_same),
		cmocka_unit_test(behind_an_iommu_addresses_are_left_as_they_are),
		cmocka_unit_test(rings_that_end_exactly_at_the_end_of_ram_are_fine),
		cmocka_unit_test(rings_that_end_at_the_end_of_the_address_space_are_fine),
		cmocka_unit_test(rings_that_end_beyond_ram_are_refused),
		cmocka_unit_test(holes_in_the_middle_of_rings_are_seen),
		cmocka_unit_test(rings_across_regions_must_be_contiguous_in_the_host),
		cmocka_unit_test(rings_in_memory_that_is_mapped_on_demand_are_refused),
		cmocka_unit_test(areas_need_the_rights_that_the_kernel_uses),
		cmocka_unit_test(sizes_that_a_queue_cannot_have_are_refused),
		cmocka_unit_test(misaligned_areas_are_refused_for_every_kind),
		cmocka_unit_test(packed_rings_have_other_areas),
		cmocka_unit_test(places_outside_of_a_packed_ring_are_refused),
		cmocka_unit_test(a_queue_that_is_refused_does_not_reach_the_kernel),
		cmocka_unit_test(bases_of_split_rings_are_an_index),
		cmocka_unit_test(bases_of_packed_rings_have_both_places_and_both_wrap_counters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
