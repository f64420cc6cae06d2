/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm mem: guest memory behind an IOMMU.
 *
 * A map of this kind has I/O virtual addresses, which an IOTLB translates to the guest-physical ones of
 * another map. It is a struct cvmm_mem as any other: devices need not know. Two more results are
 * possible wherever a struct cvmm_mem is accessed:
 *
 *   -EAGAIN   part of the range is not in the IOTLB: it was asked for, try again later
 *   -EACCES   part of the range is, but without the rights that the access needs
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_MEM_IOMMU_H
#define CVMM_MEM_IOMMU_H

#include <cvmm/mem.h>
#include <cvmm/mem_iotlb.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Ranges of each kind that one call of a cvmm_mem_fault_fn tells of. */
#define CVMM_MEM_FAULT_RANGES_MAX 16

/**
 * typedef cvmm_mem_fault_fn - an access could not be translated
 * @ctx: config.fault_ctx
 * @access: what was wanted
 * @misses: @miss_count ranges that are not in the IOTLB
 * @fails: @fail_count ranges that lack rights
 *
 * To send messages (CVMM_IOTLB_MISS, CVMM_IOTLB_ACCESS_FAIL). Not more than
 * CVMM_MEM_FAULT_RANGES_MAX of each are told; others are, when the access is tried again.
 *
 * Context: the thread of the access, which waits, and holds the read lock of the IOTLB only if the
 * caller of the access did.
 */
typedef void (*cvmm_mem_fault_fn)(void *ctx, enum cvmm_access access,
				  const struct cvmm_iotlb_range *misses, size_t miss_count,
				  const struct cvmm_iotlb_range *fails, size_t fail_count);

/**
 * struct cvmm_mem_iommu_config - an IOMMU in front of guest memory
 * @backing: map of guest-physical addresses, all of whose regions are mapped; the new map takes a
 *           reference
 * @iotlb: translates to addresses of @backing; must outlive the new map
 * @dirty: marks writes by their I/O virtual address, or NULL; the new map takes a reference.
 *         @backing's own bitmap, by guest-physical address, is marked as well.
 * @fault: hears of what could not be translated; may be NULL
 * @fault_ctx: for @fault
 */
struct cvmm_mem_iommu_config {
	struct cvmm_mem *backing;
	struct cvmm_iotlb *iotlb;
	struct cvmm_dirty *dirty;
	cvmm_mem_fault_fn fault;
	void *fault_ctx;
};

/**
 * cvmm_mem_create_iommu() - a map of I/O virtual addresses
 * @ret_mem: the new map, with one reference that the caller owns
 *
 * Each access translates all of its range before it touches the first byte, and no translation changes
 * until it is done. Pointers and pieces (cvmm_mem_ptr(), cvmm_mem_span(), cvmm_mem_pin()) outlive that:
 * who uses them holds cvmm_iotlb_read_lock() from before they are made until they are no longer used,
 * or sees to it otherwise that an invalidation is not acknowledged in between.
 *
 * Streams (cvmm_mem_read_from_fd() and the others) hold that lock while they move bytes: descriptors that
 * block would keep invalidations waiting. Of the two meanings of -EAGAIN there, @fault tells them apart.
 * The ..._full_...() ones translate anew for each part, and so may fail after some have moved.
 *
 * To enable or disable the IOMMU, publish this map or its backing one. When the backing map changes,
 * make a new one of this kind.
 *
 * Return: 0; -ENOMEM; -EINVAL if @backing is behind an IOMMU itself; -ENOTSUP if some region of it is
 * mapped on demand.
 */
CVMM_API int cvmm_mem_create_iommu(const struct cvmm_mem_iommu_config *config,
				   struct cvmm_mem **ret_mem, struct cvmm_error *err);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_MEM_IOMMU_H */
