// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The memory of a machine: dirty logs and rings, coalesced stores, slots of newer kinds. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

#include "test_kvm_util.h"

#if defined(__x86_64__)

#define PAGE 4096U

/* ---- a guest that writes to pages ------------------------------------------------------------ */

/* Slot 1: all that real mode reaches above the RAM. */
#define LOG_GPA 0x10000U
#define LOG_PAGES 240U
#define LOG_WORDS 4U

/* Writes to each page from segment @first up to 1 MiB. */
#define WRITER(first)                                                 \
	{                                                             \
		0xb8, (first)&0xff, (first) >> 8, /* mov ax, first */ \
			0x8e, 0xd8,		  /* l: mov ds, ax */ \
			0xa2, 0x00, 0x00,	  /* mov [0], al */   \
			0x05, 0x00, 0x01,	  /* add ax, 0x100 */ \
			0x75, 0xf6,		  /* jnz l */         \
			0xf4,			  /* hlt */           \
	}

static const uint8_t write_all[] = WRITER(0x1000);
static const uint8_t write_last_16[] = WRITER(0xf000);

static uint8_t *add_log_slot(struct guest *guest, uint32_t flags)
{
	uint8_t *host = mmap(NULL, LOG_PAGES * PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(host, MAP_FAILED);
	assert_ok(cvmm_kvm_vm_set_memory(&guest->vm, 1, flags, LOG_GPA, LOG_PAGES * PAGE, host));
	return host;
}

static void must_be_dirty(struct guest *guest, uint64_t last_word)
{
	uint64_t bitmap[LOG_WORDS] = { 1, 1, 1, 1 };

	assert_ok(cvmm_kvm_vm_get_dirty_log(&guest->vm, 1, bitmap, sizeof(bitmap), LOG_PAGES));
	for (size_t i = 0; i < LOG_WORDS - 1; i++)
		assert_true(bitmap[i] == 0);
	assert_true(bitmap[LOG_WORDS - 1] == last_word);
}

static void a_dirty_log_tells_each_page_once(void **state)
{
	struct guest guest;
	uint8_t *host;

	(void)state;
	guest_start(&guest, write_last_16);
	host = add_log_slot(&guest, KVM_MEM_LOG_DIRTY_PAGES);
	must_be_dirty(&guest, 0);
	guest_must_halt(&guest);
	must_be_dirty(&guest, UINT64_C(0xffff) << 32);
	must_be_dirty(&guest, 0);
	guest_set_pc(&guest, CODE);
	guest_must_halt(&guest);
	must_be_dirty(&guest, UINT64_C(0xffff) << 32);
	guest_stop(&guest);
	munmap(host, LOG_PAGES * PAGE);
}

static void with_manual_protection_pages_stay_dirty_until_cleared(void **state)
{
	/* Of the pages from 192 on: eight of those that the guest writes. */
	const uint64_t clear = UINT64_C(0xff) << 32;
	struct guest guest;
	uint8_t *host;

	(void)state;
	guest_start(&guest, write_last_16);
	assert_int_equal(cvmm_kvm_vm_clear_dirty_log(&guest.vm, 1, 192, 48, &clear, 8), -ENOENT);
	SKIP_IF_LACKING(cvmm_kvm_vm_enable_cap(&guest.vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
					       KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE, 0),
			"manual protection");
	host = add_log_slot(&guest, KVM_MEM_LOG_DIRTY_PAGES);
	guest_must_halt(&guest);
	must_be_dirty(&guest, UINT64_C(0xffff) << 32);
	must_be_dirty(&guest, UINT64_C(0xffff) << 32);
	assert_ok(cvmm_kvm_vm_clear_dirty_log(&guest.vm, 1, 192, 48, &clear, 8));
	must_be_dirty(&guest, UINT64_C(0xff00) << 32);
	guest_set_pc(&guest, CODE);
	guest_must_halt(&guest);
	must_be_dirty(&guest, UINT64_C(0xffff) << 32);
	assert_int_equal(cvmm_kvm_vm_clear_dirty_log(&guest.vm, 1, 1, 48, &clear, 8), -EINVAL);
	guest_stop(&guest);
	munmap(host, LOG_PAGES * PAGE);
}

static void bitmaps_that_are_too_small_are_refused(void **state)
{
	struct cvmm_kvm_vm vm = CVMM_KVM_VM_NONE;
	uint64_t bitmap[2] = { 0 };

	(void)state;
	assert_int_equal(cvmm_kvm_vm_get_dirty_log(&vm, 0, bitmap, 0, 1), -ENOBUFS);
	assert_int_equal(cvmm_kvm_vm_get_dirty_log(&vm, 0, bitmap, 15, 65), -ENOBUFS);
	assert_int_equal(cvmm_kvm_vm_get_dirty_log(&vm, 0, bitmap, 16, 129), -ENOBUFS);
	assert_int_equal(cvmm_kvm_vm_get_dirty_log(&vm, 0, bitmap, 16, UINT64_MAX), -ENOBUFS);
	assert_int_equal(cvmm_kvm_vm_get_dirty_log(&vm, 0, bitmap, 16, UINT64_MAX - 63), -ENOBUFS);
	assert_int_equal(cvmm_kvm_vm_clear_dirty_log(&vm, 0, 0, 129, bitmap, 16), -ENOBUFS);
	assert_int_equal(cvmm_kvm_vm_clear_dirty_log(&vm, 0, 0, UINT32_MAX, bitmap, 16), -ENOBUFS);
	/* These fit, and only then the kernel is asked. */
	assert_int_equal(cvmm_kvm_vm_get_dirty_log(&vm, 0, bitmap, 16, 128), -EBADF);
	assert_int_equal(cvmm_kvm_vm_clear_dirty_log(&vm, 0, 0, 128, bitmap, 16), -EBADF);
}

/* ---- dirty rings ----------------------------------------------------------------------------- */

/* The smallest ring that this CPU takes. Return: its bytes. */
static uint32_t enable_dirty_ring(struct guest *guest)
{
	int max = cvmm_kvm_vm_check_extension(&guest->vm, KVM_CAP_DIRTY_LOG_RING_ACQ_REL);

	if (max <= 0)
		max = cvmm_kvm_vm_check_extension(&guest->vm, KVM_CAP_DIRTY_LOG_RING);
	if (max <= 0)
		SKIP("this KVM has no dirty rings");
	for (uint32_t bytes = PAGE; bytes <= (uint32_t)max; bytes *= 2)
		if (!cvmm_kvm_vm_enable_dirty_ring(&guest->vm, bytes))
			return bytes;
	fail_msg("no size of a dirty ring is taken");
	return 0;
}

/* Run to the halt, noting which pages the ring told us of. Return: how often it was full. */
static unsigned int collect_until_halt(struct guest *guest, struct cvmm_kvm_dirty_ring *ring,
				       uint8_t seen[LOG_PAGES])
{
	struct cvmm_kvm_dirty_page pages[64];
	unsigned int full = 0;
	struct cvmm_kvm_exit exit;

	do {
		size_t n, taken = 0;

		exit = guest_run(guest);
		full += exit.type == CVMM_KVM_EXIT_DIRTY_RING_FULL;
		while ((n = cvmm_kvm_dirty_ring_collect(ring, pages, 64)) > 0) {
			taken += n;
			while (n--) {
				assert_int_equal(pages[n].slot, 1);
				assert_true(pages[n].page < LOG_PAGES);
				seen[pages[n].page]++;
			}
		}
		assert_int_equal(cvmm_kvm_vm_reset_dirty_rings(&guest->vm), taken);
	} while (exit.type == CVMM_KVM_EXIT_DIRTY_RING_FULL);
	assert_int_equal(exit.type, CVMM_KVM_EXIT_HLT);
	return full;
}

static void a_dirty_ring_tells_all_pages_and_says_when_it_is_full(void **state)
{
	struct cvmm_kvm_dirty_ring ring = { 0 };
	uint8_t seen[LOG_PAGES] = { 0 };
	uint32_t ring_bytes;
	struct guest guest;
	unsigned int full;
	uint8_t *host;

	(void)state;
	guest_make_vm(&guest);
	ring_bytes = enable_dirty_ring(&guest);
	guest_make_vcpu(&guest, write_all, sizeof(write_all));
	host = add_log_slot(&guest, KVM_MEM_LOG_DIRTY_PAGES);
	assert_ok(cvmm_kvm_vcpu_map_dirty_ring(&guest.vcpu, ring_bytes, &ring));
	assert_int_equal(ring.count, ring_bytes / sizeof(struct kvm_dirty_gfn));
	full = collect_until_halt(&guest, &ring, seen);
	/* A store that a full ring interrupts is done, and told, again. */
	for (size_t i = 0; i < LOG_PAGES; i++)
		assert_true(seen[i] >= 1);
	/* It keeps 64 entries back; software in place of the CPU looks at it too rarely. */
	if (ring.count <= 256 && cvmm_kvm_hardware(NULL, NULL) == CVMM_KVM_HARDWARE)
		assert_true(full > 0);
	/* Reset pages are told again. */
	memset(seen, 0, sizeof(seen));
	guest_set_pc(&guest, CODE);
	collect_until_halt(&guest, &ring, seen);
	for (size_t i = 0; i < LOG_PAGES; i++)
		assert_true(seen[i] >= 1);
	cvmm_kvm_dirty_ring_unmap(&ring);
	assert_null(ring.entries);
	guest_stop(&guest);
	munmap(host, LOG_PAGES * PAGE);
}

static void skip_if_pages_cannot_be_probed(void)
{
	void *page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool can;

	assert_ptr_not_equal(page, MAP_FAILED);
	can = !madvise(page, PAGE, MADV_POPULATE_READ);
	munmap(page, PAGE);
	if (!can)
		SKIP("this kernel does not tell whether a page is there (Linux 5.14)");
}

/* Its entries would raise SIGBUS when they are looked at. */
static void a_dirty_ring_that_was_not_enabled_is_not_mapped(void **state)
{
	static const uint8_t code[] = { 0xf4 /* hlt */ };
	struct cvmm_kvm_dirty_ring ring = { 0 };
	struct guest guest;

	(void)state;
	skip_if_pages_cannot_be_probed();
	guest_start(&guest, code);
	assert_int_equal(cvmm_kvm_vcpu_map_dirty_ring(&guest.vcpu, PAGE, &ring), -ENXIO);
	assert_null(ring.entries);
	guest_stop(&guest);
}

static void a_dirty_ring_of_another_size_is_not_mapped(void **state)
{
	static const uint8_t code[] = { 0xf4 /* hlt */ };
	struct cvmm_kvm_dirty_ring ring = { 0 };
	uint32_t ring_bytes;
	struct guest guest;

	(void)state;
	skip_if_pages_cannot_be_probed();
	guest_make_vm(&guest);
	ring_bytes = enable_dirty_ring(&guest);
	guest_make_vcpu(&guest, code, sizeof(code));
	for (uint32_t bytes = PAGE; bytes <= 4 * ring_bytes; bytes *= 2) {
		int ret = cvmm_kvm_vcpu_map_dirty_ring(&guest.vcpu, bytes, &ring);

		assert_int_equal(ret, bytes == ring_bytes ? 0 : -ENXIO);
	}
	/* All of what was mapped is there, and nothing is dirty. */
	for (uint32_t i = 0; i < ring.count; i++)
		assert_int_equal(ring.entries[i].flags, 0);
	cvmm_kvm_dirty_ring_unmap(&ring);
	guest_stop(&guest);
}

/* ---- coalesced stores ------------------------------------------------------------------------ */

static const uint8_t window_code[] = {
	0xb8, 0x00, 0xd0,		    /* mov ax, WINDOW >> 4 */
	0x8e, 0xd8,			    /* mov ds, ax */
	0xc7, 0x06, 0x10, 0x00, 0x34, 0x12, /* mov word [0x10], 0x1234 */
	0xc6, 0x06, 0x11, 0x00, 0x56,	    /* mov byte [0x11], 0x56 */
	0xe6, 0x50,			    /* out 0x50, al */
	0xf4,				    /* hlt */
};

static struct kvm_coalesced_mmio_ring *coalesced_ring_or_skip(struct guest *guest)
{
	struct kvm_coalesced_mmio_ring *ring =
		cvmm_kvm_vcpu_coalesced_ring(&guest->kvm, &guest->vcpu);

	if (!ring)
		SKIP("this KVM coalesces nothing");
	return ring;
}

static void coalesced_stores_to_memory_wait_in_the_ring(void **state)
{
	struct cvmm_kvm_coalesced_store stores[4];
	struct kvm_coalesced_mmio_ring *ring;
	struct guest guest;

	(void)state;
	guest_start(&guest, window_code);
	ring = coalesced_ring_or_skip(&guest);
	assert_ok(cvmm_kvm_vm_coalesced_add(&guest.vm, WINDOW, PAGE, false));
	/* The port is not coalesced: what came before its exit is in the ring. */
	assert_int_equal(guest_run(&guest).type, CVMM_KVM_EXIT_IO);
	assert_int_equal(cvmm_kvm_coalesced_drain(ring, stores, 4), 2);
	assert_int_equal(stores[0].addr, WINDOW + 0x10);
	assert_int_equal(stores[0].len_bytes, 2);
	assert_int_equal(cvmm_get_le16(stores[0].data), 0x1234);
	assert_int_equal(stores[1].addr, WINDOW + 0x11);
	assert_int_equal(stores[1].data[0], 0x56);
	assert_false(stores[1].is_pio);
	guest_must_halt(&guest);
	assert_int_equal(cvmm_kvm_coalesced_drain(ring, stores, 4), 0);

	assert_ok(cvmm_kvm_vm_coalesced_remove(&guest.vm, WINDOW, PAGE, false));
	guest_set_pc(&guest, CODE);
	assert_int_equal(guest_run(&guest).type, CVMM_KVM_EXIT_MMIO);
	guest_stop(&guest);
}

static void coalesced_stores_to_ports_wait_in_the_ring(void **state)
{
	static const uint8_t code[] = { 0xb0, 0x07, 0xe6, 0x50,
					0xf4 /* mov al,7; out 0x50,al; hlt */ };
	struct cvmm_kvm_coalesced_store store;
	struct kvm_coalesced_mmio_ring *ring;
	struct guest guest;

	(void)state;
	guest_start(&guest, code);
	ring = coalesced_ring_or_skip(&guest);
	if (cvmm_kvm_check_extension(&guest.kvm, KVM_CAP_COALESCED_PIO) <= 0)
		SKIP("this KVM does not coalesce ports");
	assert_ok(cvmm_kvm_vm_coalesced_add(&guest.vm, 0x50, 1, true));
	guest_must_halt(&guest);
	assert_int_equal(cvmm_kvm_coalesced_drain(ring, &store, 1), 1);
	assert_true(store.is_pio);
	assert_int_equal(store.addr, 0x50);
	assert_int_equal(store.len_bytes, 1);
	assert_int_equal(store.data[0], 7);
	guest_stop(&guest);
}

/* ---- newer kinds of memory ------------------------------------------------------------------- */

static void the_second_form_of_a_slot_maps_memory_too(void **state)
{
	struct cvmm_kvm_memory_region2 region = { .slot = 1, .guest_phys_addr = WINDOW };
	struct guest guest;

	(void)state;
	guest_start(&guest, window_code);
	region.memory_size = PAGE;
	region.userspace_addr = (uintptr_t)guest.ram;
	SKIP_IF_LACKING(cvmm_kvm_vm_set_memory2(&guest.vm, &region), "the second form of slots");
	assert_int_equal(guest_run(&guest).type, CVMM_KVM_EXIT_IO);
	assert_int_equal(guest.ram[0x11], 0x56);
	guest_stop(&guest);
}

static void a_guest_memfd_backs_a_slot(void **state)
{
	struct cvmm_kvm_memory_region2 region = {
		.slot = 1,
		.flags = KVM_MEM_GUEST_MEMFD,
		.guest_phys_addr = WINDOW,
		.memory_size = PAGE,
	};
	struct guest guest;
	int fd;

	(void)state;
	guest_make_vm(&guest);
	fd = cvmm_kvm_vm_create_guest_memfd(&guest.vm, PAGE, 0);
	SKIP_IF_LACKING(fd, "guest memory in a file");
	assert_true(fd >= 0);
	assert_int_equal(cvmm_kvm_vm_create_guest_memfd(&guest.vm, PAGE + 1, 0), -EINVAL);
	assert_int_equal(cvmm_kvm_vm_create_guest_memfd(&guest.vm, 0, 0), -EINVAL);
	region.userspace_addr = (uintptr_t)guest.ram;
	region.guest_memfd = (uint32_t)fd;
	region.guest_memfd_offset = PAGE;
	assert_int_equal(cvmm_kvm_vm_set_memory2(&guest.vm, &region), -EINVAL);
	region.guest_memfd_offset = 0;
	SKIP_IF_LACKING(cvmm_kvm_vm_set_memory2(&guest.vm, &region), "a slot of a guest memfd");
	close(fd);
	guest_stop(&guest);
}

/* The kernel leaves that to us. */
static void guest_memory_is_closed_in_programs_we_start(void **state)
{
	struct guest guest;
	int fd;

	(void)state;
	guest_make_vm(&guest);
	fd = cvmm_kvm_vm_create_guest_memfd(&guest.vm, PAGE, 0);
	SKIP_IF_LACKING(fd, "guest memory in a file");
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	guest_stop(&guest);
}

static void guest_memory_that_is_shared_at_first_can_be_mapped(void **state)
{
	const uint64_t flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED;
	struct guest guest;
	uint8_t *host;
	int fd;

	(void)state;
	guest_make_vm(&guest);
	if (((uint64_t)cvmm_kvm_vm_check_extension(&guest.vm, KVM_CAP_GUEST_MEMFD_FLAGS) & flags) !=
	    flags)
		SKIP("guest memory in a file cannot be mapped with this KVM");
	fd = cvmm_kvm_vm_create_guest_memfd(&guest.vm, PAGE, flags);
	assert_true(fd >= 0);
	host = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(host, MAP_FAILED);
	assert_int_equal(host[0], 0);
	host[PAGE - 1] = 1;
	munmap(host, PAGE);
	close(fd);
	guest_stop(&guest);
}

static void memory_attributes_want_whole_pages(void **state)
{
	const uint64_t is_private = UINT64_C(1) << 3;
	struct guest guest;
	int ret;

	(void)state;
	guest_make_vm(&guest);
	ret = cvmm_kvm_vm_check_extension(&guest.vm, KVM_CAP_MEMORY_ATTRIBUTES);
	if (ret <= 0)
		SKIP("this machine has no memory attributes");
	assert_ok(cvmm_kvm_vm_set_memory_attributes(&guest.vm, 0, PAGE, 0));
	assert_int_equal(cvmm_kvm_vm_set_memory_attributes(&guest.vm, 1, PAGE, is_private),
			 -EINVAL);
	guest_stop(&guest);
}

static void memory_may_be_faulted_in_before(void **state)
{
	struct cvmm_kvm_pre_fault_memory range = { .gpa = 0, .size = RAM_BYTES };
	struct guest guest;
	int ret;

	(void)state;
	guest_start(&guest, write_all);
	ret = cvmm_kvm_vcpu_pre_fault_memory(&guest.vcpu, &range);
	if (ret == -EOPNOTSUPP)
		SKIP("pre-faulting: not with this kind of paging");
	SKIP_IF_LACKING(ret, "pre-faulting");
	assert_ok(ret);
	assert_int_equal(range.size, 0);
	assert_int_equal(range.gpa, RAM_BYTES);
	guest_stop(&guest);
}

/* Either form: an exit that names the page, or from older kernels only the error. */
static void memory_that_is_not_there_is_a_memory_fault(void **state)
{
	struct cvmm_kvm_exit exit;
	struct guest guest;
	uint8_t *host;
	int ret;

	(void)state;
	guest_start(&guest, write_last_16);
	if (cvmm_kvm_hardware(NULL, NULL) != CVMM_KVM_HARDWARE)
		SKIP("without hardware, memory that is not there looks like a device");
	host = add_log_slot(&guest, 0);
	assert_ok(mprotect(host, LOG_PAGES * PAGE, PROT_NONE));
	ret = cvmm_kvm_vcpu_run(&guest.vcpu, &exit);
	if (ret) {
		assert_int_equal(ret, -EFAULT);
	} else {
		assert_int_equal(exit.type, CVMM_KVM_EXIT_MEMORY_FAULT);
		assert_int_equal(exit.memory_fault.gpa, 0xf0000);
		assert_int_equal(exit.memory_fault.len_bytes, PAGE);
	}
	guest_stop(&guest);
	munmap(host, LOG_PAGES * PAGE);
}
#endif /* __x86_64__ */

int main(void)
{
#if defined(__x86_64__)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dirty_log_tells_each_page_once),
		cmocka_unit_test(with_manual_protection_pages_stay_dirty_until_cleared),
		cmocka_unit_test(bitmaps_that_are_too_small_are_refused),
		cmocka_unit_test(a_dirty_ring_tells_all_pages_and_says_when_it_is_full),
		cmocka_unit_test(a_dirty_ring_that_was_not_enabled_is_not_mapped),
		cmocka_unit_test(a_dirty_ring_of_another_size_is_not_mapped),
		cmocka_unit_test(coalesced_stores_to_memory_wait_in_the_ring),
		cmocka_unit_test(coalesced_stores_to_ports_wait_in_the_ring),
		cmocka_unit_test(the_second_form_of_a_slot_maps_memory_too),
		cmocka_unit_test(a_guest_memfd_backs_a_slot),
		cmocka_unit_test(guest_memory_is_closed_in_programs_we_start),
		cmocka_unit_test(guest_memory_that_is_shared_at_first_can_be_mapped),
		cmocka_unit_test(memory_attributes_want_whole_pages),
		cmocka_unit_test(memory_may_be_faulted_in_before),
		cmocka_unit_test(memory_that_is_not_there_is_a_memory_fault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
#else
	printf("skipped: the guests are made of x86 instructions\n");
	return 77;
#endif
}
