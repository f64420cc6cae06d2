// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Rings that the kernel fills: coalesced stores and dirtied pages.
 *
 * The kernel publishes an entry by a release of the ring's index, or of the entry's flags, and we
 * take it with an acquire; we give it back the other way round. Indices are checked as if anybody
 * had written them.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm_internal.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14, asm-generic/mman-common.h */
#endif

#define STORE_BYTES_MAX 8U

static size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* ---- coalesced stores ------------------------------------------------------------------------ */

int cvmm_kvm_coalesced_drain(struct kvm_coalesced_mmio_ring *ring,
			     struct cvmm_kvm_coalesced_store *stores, size_t max)
{
	uint32_t entries =
		(uint32_t)((page_bytes() - sizeof(*ring)) / sizeof(struct kvm_coalesced_mmio));
	uint32_t first = ring->first;
	size_t n = 0;

	while (n < max) {
		uint32_t last = __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);
		struct kvm_coalesced_mmio entry;

		/* Those taken so far are good, and gone from the ring: the next call fails. */
		if (first >= entries || last >= entries)
			return n ? (int)n : -EPROTO;
		if (first == last)
			break;
		entry = ring->coalesced_mmio[first];
		if (!entry.len || entry.len > STORE_BYTES_MAX)
			return n ? (int)n : -EPROTO;
		stores[n] = (struct cvmm_kvm_coalesced_store){
			.addr = entry.phys_addr,
			.len_bytes = entry.len,
			.is_pio = entry.pio != 0,
		};
		memcpy(stores[n++].data, entry.data, entry.len);
		first = (first + 1) % entries;
		__atomic_store_n(&ring->first, first, __ATOMIC_RELEASE);
	}
	return (int)n;
}

struct kvm_coalesced_mmio_ring *cvmm_kvm_vcpu_coalesced_ring(const struct cvmm_kvm *kvm,
							     const struct cvmm_kvm_vcpu *vcpu)
{
	int page = cvmm_kvm_check_extension(kvm, KVM_CAP_COALESCED_MMIO);

	if (page <= 0 || ((size_t)page + 1) * page_bytes() > vcpu->run_bytes)
		return NULL;
	return (void *)((char *)vcpu->run + (size_t)page * page_bytes());
}

static int coalesced_zone(const struct cvmm_kvm_vm *vm, unsigned long request, uint64_t addr,
			  uint32_t len_bytes, bool is_pio)
{
	struct kvm_coalesced_mmio_zone zone = { .addr = addr, .size = len_bytes, .pio = is_pio };

	return cvmm_kvm_ioctl(vm->fd, request, &zone);
}

int cvmm_kvm_vm_coalesced_add(const struct cvmm_kvm_vm *vm, uint64_t addr, uint32_t len_bytes,
			      bool is_pio)
{
	return coalesced_zone(vm, KVM_REGISTER_COALESCED_MMIO, addr, len_bytes, is_pio);
}

int cvmm_kvm_vm_coalesced_remove(const struct cvmm_kvm_vm *vm, uint64_t addr, uint32_t len_bytes,
				 bool is_pio)
{
	return coalesced_zone(vm, KVM_UNREGISTER_COALESCED_MMIO, addr, len_bytes, is_pio);
}

/* ---- dirtied pages --------------------------------------------------------------------------- */

int cvmm_kvm_vm_enable_dirty_ring(const struct cvmm_kvm_vm *vm, uint32_t ring_bytes)
{
	/* The same to us, who use acquire and release; but arm64 has only the newer of the two. */
	uint32_t capability = cvmm_kvm_vm_check_extension(vm, KVM_CAP_DIRTY_LOG_RING_ACQ_REL) > 0
				      ? KVM_CAP_DIRTY_LOG_RING_ACQ_REL
				      : KVM_CAP_DIRTY_LOG_RING;

	return cvmm_kvm_vm_enable_cap(vm, capability, ring_bytes, 0);
}

/*
 * KVM maps any range of a virtual CPU, and answers an access to what is not there by SIGBUS.
 * Return: 0 if all pages are there, -EFAULT if not, -EINVAL where the kernel cannot tell (before
 * Linux 5.14).
 */
static int probe_pages(void *start, size_t len_bytes)
{
	return madvise(start, len_bytes, MADV_POPULATE_READ) ? -errno : 0;
}

int cvmm_kvm_vcpu_map_dirty_ring(const struct cvmm_kvm_vcpu *vcpu, uint32_t ring_bytes,
				 struct cvmm_kvm_dirty_ring *ret_ring)
{
	off_t offset = (off_t)(CVMM_KVM_DIRTY_LOG_PAGE_OFFSET * page_bytes());
	size_t map_bytes = (size_t)ring_bytes + page_bytes();
	char *entries;

	if (!cvmm_is_pow2(ring_bytes) || ring_bytes < page_bytes())
		return -EINVAL;
	entries = mmap(NULL, map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, offset);
	if (entries == MAP_FAILED)
		return -errno;
	if (probe_pages(entries, ring_bytes) == -EFAULT ||
	    probe_pages(entries + ring_bytes, page_bytes()) == 0) {
		munmap(entries, map_bytes);
		return -ENXIO;
	}
	munmap(entries + ring_bytes, page_bytes());
	*ret_ring = (struct cvmm_kvm_dirty_ring){
		.entries = (void *)entries,
		.count = ring_bytes / (uint32_t)sizeof(struct kvm_dirty_gfn),
	};
	return 0;
}

void cvmm_kvm_dirty_ring_unmap(struct cvmm_kvm_dirty_ring *ring)
{
	if (ring->entries)
		munmap(ring->entries, ring->count * sizeof(struct kvm_dirty_gfn));
	*ring = (struct cvmm_kvm_dirty_ring){ 0 };
}

size_t cvmm_kvm_dirty_ring_collect(struct cvmm_kvm_dirty_ring *ring,
				   struct cvmm_kvm_dirty_page *pages, size_t max)
{
	size_t n = 0;

	while (n < max && n < ring->count) {
		struct kvm_dirty_gfn *entry = &ring->entries[ring->next & (ring->count - 1)];
		uint32_t flags = __atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE);

		if (!(flags & KVM_DIRTY_GFN_F_DIRTY) || flags & KVM_DIRTY_GFN_F_RESET)
			break;
		pages[n++] = (struct cvmm_kvm_dirty_page){ entry->slot, entry->offset };
		__atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
		ring->next++;
	}
	return n;
}

int cvmm_kvm_vm_reset_dirty_rings(const struct cvmm_kvm_vm *vm)
{
	return cvmm_kvm_ioctl(vm->fd, KVM_RESET_DIRTY_RINGS, NULL);
}
