// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Rings and statistics in made-up memory and files; none of this needs KVM. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <cvmm/kvm.h>

/* ---- coalesced stores ------------------------------------------------------------------------ */

static uint32_t ring_entries(void)
{
	return (uint32_t)(((size_t)sysconf(_SC_PAGESIZE) - sizeof(struct kvm_coalesced_mmio_ring)) /
			  sizeof(struct kvm_coalesced_mmio));
}

static int setup_page(void **state)
{
	*state = calloc(1, (size_t)sysconf(_SC_PAGESIZE));
	return *state ? 0 : -1;
}

static int teardown_page(void **state)
{
	free(*state);
	return 0;
}

static void put_store(struct kvm_coalesced_mmio_ring *ring, uint64_t addr, uint32_t len)
{
	struct kvm_coalesced_mmio *entry = &ring->coalesced_mmio[ring->last];

	*entry = (struct kvm_coalesced_mmio){ .phys_addr = addr, .len = len };
	memset(entry->data, (int)len, sizeof(entry->data));
	ring->last = (ring->last + 1) % ring_entries();
}

static void an_empty_ring_gives_nothing(void **state)
{
	struct cvmm_kvm_coalesced_store store;

	assert_int_equal(cvmm_kvm_coalesced_drain(*state, &store, 1), 0);
}

static void stores_come_oldest_first_with_their_bytes_and_kind(void **state)
{
	static const uint8_t want[8] = { 2, 2 };
	struct kvm_coalesced_mmio_ring *ring = *state;
	struct cvmm_kvm_coalesced_store stores[4];

	put_store(ring, 0x1000, 2);
	put_store(ring, 0x70, 1);
	ring->coalesced_mmio[1].pio = 1;
	assert_int_equal(cvmm_kvm_coalesced_drain(ring, stores, 4), 2);
	assert_int_equal(stores[0].addr, 0x1000);
	assert_int_equal(stores[0].len_bytes, 2);
	assert_false(stores[0].is_pio);
	/* Bytes behind the length are not what the guest left there. */
	assert_memory_equal(stores[0].data, want, sizeof(want));
	assert_true(stores[1].is_pio);
	assert_int_equal(ring->first, 2);
	assert_int_equal(cvmm_kvm_coalesced_drain(ring, stores, 4), 0);
}

static void a_full_ring_is_drained_over_its_end(void **state)
{
	struct kvm_coalesced_mmio_ring *ring = *state;
	struct cvmm_kvm_coalesced_store stores[512];
	uint32_t entries = ring_entries();

	assert_true(entries < CVMM_ARRAY_SIZE(stores));
	ring->first = ring->last = entries - 2;
	for (uint32_t i = 0; i < entries - 1; i++)
		put_store(ring, i, 8);
	assert_int_equal(cvmm_kvm_coalesced_drain(ring, stores, 512), entries - 1);
	for (uint32_t i = 0; i < entries - 1; i++)
		assert_int_equal(stores[i].addr, i);
	assert_int_equal(ring->first, ring->last);
}

static void what_does_not_fit_stays_in_the_ring(void **state)
{
	struct kvm_coalesced_mmio_ring *ring = *state;
	struct cvmm_kvm_coalesced_store stores[2];

	for (uint64_t i = 0; i < 3; i++)
		put_store(ring, i, 4);
	assert_int_equal(cvmm_kvm_coalesced_drain(ring, stores, 0), 0);
	assert_int_equal(cvmm_kvm_coalesced_drain(ring, stores, 2), 2);
	assert_int_equal(cvmm_kvm_coalesced_drain(ring, stores, 2), 1);
	assert_int_equal(stores[0].addr, 2);
}

static void ring_indices_out_of_range_are_refused(void **state)
{
	static const uint32_t huge[] = { 0x1000, UINT32_MAX };
	struct kvm_coalesced_mmio_ring *ring = *state;
	struct cvmm_kvm_coalesced_store store;

	for (size_t i = 0; i < 1 + CVMM_ARRAY_SIZE(huge); i++) {
		uint32_t bad = i ? huge[i - 1] : ring_entries();

		ring->first = 0;
		ring->last = bad;
		assert_int_equal(cvmm_kvm_coalesced_drain(ring, &store, 1), -EPROTO);
		ring->first = bad;
		assert_int_equal(cvmm_kvm_coalesced_drain(ring, &store, 1), -EPROTO);
		ring->last = 0;
		assert_int_equal(cvmm_kvm_coalesced_drain(ring, &store, 1), -EPROTO);
	}
}

static void stores_of_no_or_too_many_bytes_are_refused(void **state)
{
	static const uint32_t bad[] = { 0, 9, UINT32_MAX };
	struct kvm_coalesced_mmio_ring *ring = *state;
	struct cvmm_kvm_coalesced_store store;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		ring->first = ring->last = 0;
		put_store(ring, 0, bad[i]);
		assert_int_equal(cvmm_kvm_coalesced_drain(ring, &store, 1), -EPROTO);
		assert_int_equal(ring->first, 0);
	}
}

static void good_stores_before_a_bad_one_are_not_lost(void **state)
{
	struct kvm_coalesced_mmio_ring *ring = *state;
	struct cvmm_kvm_coalesced_store stores[3];

	put_store(ring, 7, 1);
	put_store(ring, 8, 9);
	assert_int_equal(cvmm_kvm_coalesced_drain(ring, stores, 3), 1);
	assert_int_equal(stores[0].addr, 7);
	assert_int_equal(cvmm_kvm_coalesced_drain(ring, stores, 3), -EPROTO);
}

/* ---- dirtied pages --------------------------------------------------------------------------- */

#define DIRTY_COUNT 4U

static void dirty_pages_are_taken_and_marked(void **state)
{
	struct kvm_dirty_gfn entries[DIRTY_COUNT] = {
		{ .flags = KVM_DIRTY_GFN_F_DIRTY, .slot = 0x10002, .offset = 5 },
		{ .flags = KVM_DIRTY_GFN_F_DIRTY, .slot = 3, .offset = UINT64_MAX },
	};
	struct cvmm_kvm_dirty_ring ring = { entries, DIRTY_COUNT, 0 };
	struct cvmm_kvm_dirty_page pages[DIRTY_COUNT];

	(void)state;
	assert_int_equal(cvmm_kvm_dirty_ring_collect(&ring, pages, DIRTY_COUNT), 2);
	assert_int_equal(pages[0].slot, 0x10002);
	assert_int_equal(pages[0].page, 5);
	assert_true(pages[1].page == UINT64_MAX);
	assert_int_equal(entries[0].flags, KVM_DIRTY_GFN_F_RESET);
	assert_int_equal(entries[2].flags, 0);
	assert_int_equal(cvmm_kvm_dirty_ring_collect(&ring, pages, DIRTY_COUNT), 0);
}

static void dirty_pages_wrap_and_stop_at_the_room_given(void **state)
{
	struct kvm_dirty_gfn entries[DIRTY_COUNT];
	struct cvmm_kvm_dirty_ring ring = { entries, DIRTY_COUNT, UINT32_MAX };
	struct cvmm_kvm_dirty_page pages[2 * DIRTY_COUNT];

	(void)state;
	for (uint32_t i = 0; i < DIRTY_COUNT; i++)
		entries[i] = (struct kvm_dirty_gfn){ KVM_DIRTY_GFN_F_DIRTY, 0, i };
	assert_int_equal(cvmm_kvm_dirty_ring_collect(&ring, pages, 0), 0);
	assert_int_equal(cvmm_kvm_dirty_ring_collect(&ring, pages, 3), 3);
	assert_int_equal(pages[0].page, 3);
	assert_int_equal(pages[1].page, 0);
	assert_int_equal(cvmm_kvm_dirty_ring_collect(&ring, pages, 2 * DIRTY_COUNT), 1);
	assert_int_equal(pages[0].page, 2);
}

static void entries_that_wait_for_their_reset_are_left_alone(void **state)
{
	struct kvm_dirty_gfn entries[DIRTY_COUNT] = {
		{ .flags = KVM_DIRTY_GFN_F_DIRTY | KVM_DIRTY_GFN_F_RESET },
	};
	struct cvmm_kvm_dirty_ring ring = { entries, DIRTY_COUNT, 0 };
	struct cvmm_kvm_dirty_page page;

	(void)state;
	assert_int_equal(cvmm_kvm_dirty_ring_collect(&ring, &page, 1), 0);
	entries[0].flags = KVM_DIRTY_GFN_F_RESET;
	assert_int_equal(cvmm_kvm_dirty_ring_collect(&ring, &page, 1), 0);
	assert_int_equal(ring.next, 0);
}

static void sizes_that_are_no_ring_are_refused(void **state)
{
	static const uint32_t bad[] = { 0, 16, 4095, 4097, 12288, UINT32_MAX };
	struct cvmm_kvm_vcpu vcpu = CVMM_KVM_VCPU_NONE;
	struct cvmm_kvm_dirty_ring ring = { 0 };

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++)
		assert_int_equal(cvmm_kvm_vcpu_map_dirty_ring(&vcpu, bad[i], &ring), -EINVAL);
	assert_int_equal(cvmm_kvm_vcpu_map_dirty_ring(&vcpu, 4096, &ring), -EBADF);
	assert_null(ring.entries);
	cvmm_kvm_dirty_ring_unmap(&ring);
}

#define PAGE_TEST(name) cmocka_unit_test_setup_teardown(name, setup_page, teardown_page)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PAGE_TEST(an_empty_ring_gives_nothing),
		PAGE_TEST(stores_come_oldest_first_with_their_bytes_and_kind),
		PAGE_TEST(a_full_ring_is_drained_over_its_end),
		PAGE_TEST(what_does_not_fit_stays_in_the_ring),
		PAGE_TEST(ring_indices_out_of_range_are_refused),
		PAGE_TEST(stores_of_no_or_too_many_bytes_are_refused),
		PAGE_TEST(good_stores_before_a_bad_one_are_not_lost),
		cmocka_unit_test(dirty_pages_are_taken_and_marked),
		cmocka_unit_test(dirty_pages_wrap_and_stop_at_the_room_given),
		cmocka_unit_test(entries_that_wait_for_their_reset_are_left_alone),
		cmocka_unit_test(sizes_that_are_no_ring_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
