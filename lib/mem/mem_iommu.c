// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a map behind an IOMMU has no regions, so every access takes the slow way, a walk.
 * The walk holds the IOTLB's read lock: first all of the range is translated and what it stands for is
 * checked, then the same is done again, piece by piece, as the access goes on. Nothing can have changed
 * in between.
 *
 * A device that wants several accesses under one lock holds it already; therefore the lock is taken in
 * the way that can be nested.
 */
#include <errno.h>
#include <stdlib.h>

#include "mem_internal.h"
#include "mem_iotlb_internal.h"

#include <cvmm/mem_iommu.h>

struct mem_iommu {
	struct cvmm_mem_iommu_config config;
};

int cvmm_mem_create_iommu(const struct cvmm_mem_iommu_config *config, struct cvmm_mem **ret_mem,
			  struct cvmm_error *err)
{
	struct mem_iommu *iommu;
	struct cvmm_mem *mem;

	if (config->backing->iommu)
		return cvmm_fail(err, -EINVAL, "the memory is behind an IOMMU already");
	if (config->backing->has_windows)
		return cvmm_fail(err, -ENOTSUP,
				 "memory that is mapped on demand cannot be behind an IOMMU");
	mem = cvmm_mem_alloc_empty();
	iommu = calloc(1, sizeof(*iommu));
	if (!mem || !iommu) {
		cvmm_mem_unref(mem);
		free(iommu);
		return cvmm_fail(err, -ENOMEM, "out of memory");
	}
	iommu->config = *config;
	cvmm_mem_ref(config->backing);
	if (config->dirty)
		cvmm_dirty_ref(config->dirty);
	mem->iommu = iommu;
	*ret_mem = mem;
	return 0;
}

void cvmm_mem_iommu_free(struct mem_iommu *iommu)
{
	if (!iommu)
		return;
	cvmm_mem_unref(iommu->config.backing);
	cvmm_dirty_unref(iommu->config.dirty);
	free(iommu);
}

/* Tells of what is missing. */
static void report(const struct mem_iommu *iommu, uint64_t iova, uint64_t len,
		   enum cvmm_access access)
{
	const struct cvmm_mem_iommu_config *config = &iommu->config;
	struct cvmm_iotlb_range misses[CVMM_MEM_FAULT_RANGES_MAX];
	struct cvmm_iotlb_range fails[CVMM_MEM_FAULT_RANGES_MAX];
	struct cvmm_iotlb_lookup lookup = {
		.misses = misses,
		.miss_max = CVMM_MEM_FAULT_RANGES_MAX,
		.fails = fails,
		.fail_max = CVMM_MEM_FAULT_RANGES_MAX,
	};

	if (!config->fault)
		return;
	cvmm_mem_iotlb_lock_nested(config->iotlb);
	cvmm_iotlb_lookup_locked(config->iotlb, iova, len, access, &lookup);
	cvmm_iotlb_read_unlock(config->iotlb);
	if (lookup.miss_count > lookup.miss_max)
		lookup.miss_count = lookup.miss_max;
	if (lookup.fail_count > lookup.fail_max)
		lookup.fail_count = lookup.fail_max;
	if (lookup.miss_count || lookup.fail_count)
		config->fault(config->fault_ctx, access, misses, lookup.miss_count, fails,
			      lookup.fail_count);
}

/* Translates [iova, last] and checks what it stands for. Under the lock. */
static int check_range(const struct mem_iommu *iommu, uint64_t iova, uint64_t last,
		       enum cvmm_access access)
{
	for (;;) {
		struct cvmm_iotlb_piece piece;
		int ret = cvmm_mem_iotlb_next(iommu->config.iotlb, iova, last, access, &piece);

		if (!ret)
			ret = cvmm_mem_check(iommu->config.backing, cvmm_gpa_from(piece.addr),
					     piece.len_bytes, access);
		if (ret || piece.len_bytes - 1 == last - iova)
			return ret;
		iova += piece.len_bytes;
	}
}

int cvmm_mem_iommu_walk_start(struct cvmm_mem_walk *walk, struct mem_iommu *iommu, uint64_t iova,
			      uint64_t len, enum cvmm_access access)
{
	uint64_t last;
	int ret;

	if (!len)
		return 0;
	if (!cvmm_add_u64(iova, len - 1, &last))
		return -EFAULT;
	cvmm_mem_iotlb_lock_nested(iommu->config.iotlb);
	ret = check_range(iommu, iova, last, access);
	if (ret) {
		cvmm_iotlb_read_unlock(iommu->config.iotlb);
		if (ret == -EAGAIN || ret == -EACCES)
			report(iommu, iova, len, access);
		return ret;
	}
	walk->iommu = iommu;
	walk->iova = iova;
	walk->iova_left = len;
	return 0;
}

void cvmm_mem_iommu_walk_next(struct cvmm_mem_walk *walk)
{
	struct cvmm_iotlb_piece piece;
	int ret = cvmm_mem_iotlb_next(walk->iommu->config.iotlb, walk->iova,
				      walk->iova + (walk->iova_left - 1), walk->access, &piece);

	/* It was checked, and the lock is held. */
	CVMM_BUG_ON(ret);
	walk->iova += piece.len_bytes;
	walk->iova_left -= piece.len_bytes;
	cvmm_mem_walk_go_on(walk, walk->iommu->config.backing, piece.addr, piece.len_bytes);
}

void cvmm_mem_iommu_walk_end(struct cvmm_mem_walk *walk)
{
	cvmm_iotlb_read_unlock(walk->iommu->config.iotlb);
	walk->iommu = NULL;
}

void cvmm_mem_iommu_mark(struct mem_iommu *iommu, uint64_t iova, uint64_t len)
{
	const struct cvmm_mem_iommu_config *config = &iommu->config;
	uint64_t left = len;

	cvmm_dirty_mark(config->dirty, iova, len);
	if (!config->backing->fast.dirty)
		return;
	cvmm_mem_iotlb_lock_nested(config->iotlb);
	while (left) {
		struct cvmm_iotlb_piece piece;

		/* What is no longer translated cannot be told. */
		if (cvmm_mem_iotlb_next(config->iotlb, iova, iova + (left - 1), CVMM_ACCESS_WRITE,
					&piece))
			break;
		cvmm_mem_mark_dirty(config->backing, cvmm_gpa_from(piece.addr), piece.len_bytes);
		iova += piece.len_bytes;
		left -= piece.len_bytes;
	}
	cvmm_iotlb_read_unlock(config->iotlb);
}
