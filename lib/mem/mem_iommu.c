// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a map behind an IOMMU has no regions, so every access takes the slow way, a walk.
 * The walk holds the IOTLB's read lock: first all of the range is translated and what it stands for is
 * checked, then the same is done again, piece by piece, as the access goes on. Nothing can have changed
 * in between.
 *
 * A device that wants several accesses under one lock holds it already; the lock can be taken again.
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

const struct cvmm_mem *cvmm_mem_iommu_backing(const struct mem_iommu *iommu)
{
	return iommu->config.backing;
}

/* Tells of what is missing. */
void cvmm_mem_iommu_report(const struct mem_iommu *iommu, uint64_t iova, uint64_t len,
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
	cvmm_iotlb_read_lock(config->iotlb);
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
	cvmm_iotlb_read_lock(iommu->config.iotlb);
	ret = check_range(iommu, iova, last, access);
	if (ret) {
		cvmm_iotlb_read_unlock(iommu->config.iotlb);
		return ret;
	}
	walk->iommu = iommu;
	walk->iova = iova;
	walk->iova_left = len;
	return 0;
}

/* The next piece, as far as translations go on where the last one ends. Return: 0 or negative errno. */
static int next_stretch(const struct mem_iommu *iommu, uint64_t iova, uint64_t last,
			enum cvmm_access access, struct cvmm_iotlb_piece *ret_piece)
{
	struct cvmm_iotlb_piece more;
	int ret = cvmm_mem_iotlb_next(iommu->config.iotlb, iova, last, access, ret_piece);

	while (!ret && ret_piece->len_bytes - 1 < last - iova) {
		uint64_t end = ret_piece->addr + ret_piece->len_bytes;

		/* Behind the highest address there is nothing, though the sum would say 0. */
		if (!end ||
		    cvmm_mem_iotlb_next(iommu->config.iotlb, iova + ret_piece->len_bytes, last,
					access, &more) ||
		    more.addr != end)
			break;
		ret_piece->len_bytes += more.len_bytes;
	}
	return ret;
}

void cvmm_mem_iommu_walk_next(struct cvmm_mem_walk *walk)
{
	struct cvmm_iotlb_piece piece;
	int ret = next_stretch(walk->iommu, walk->iova, walk->iova + (walk->iova_left - 1),
			       walk->access, &piece);

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

/* Marks what a range stands for now. What is not translated (any more) is passed over. */
static void mark_translated(const struct cvmm_mem_iommu_config *config, uint64_t iova, uint64_t len)
{
	const uint64_t page = UINT64_C(1) << CVMM_DIRTY_PAGE_LOG2_MIN;

	cvmm_iotlb_read_lock(config->iotlb);
	while (len) {
		struct cvmm_iotlb_piece piece;
		uint64_t step = page - (iova & (page - 1));

		if (!cvmm_mem_iotlb_next(config->iotlb, iova, iova + (len - 1),
					 CVMM_IOTLB_NO_ACCESS, &piece)) {
			cvmm_mem_mark_dirty(config->backing, cvmm_gpa_from(piece.addr),
					    piece.len_bytes);
			step = piece.len_bytes;
		}
		step = step < len ? step : len;
		iova += step;
		len -= step;
	}
	cvmm_iotlb_read_unlock(config->iotlb);
}

void cvmm_mem_iommu_mark(struct mem_iommu *iommu, uint64_t iova, uint64_t len)
{
	cvmm_dirty_mark(iommu->config.dirty, iova, len);
	if (iommu->config.backing->fast.dirty)
		mark_translated(&iommu->config, iova, len);
}

/* What was written to lies at these host addresses, whatever the IOTLB says by now. */
void cvmm_mem_iommu_mark_pieces(struct mem_iommu *iommu, uint64_t iova, uint64_t len,
				const struct iovec *iov, size_t count)
{
	const struct cvmm_mem *backing = iommu->config.backing;

	cvmm_dirty_mark(iommu->config.dirty, iova, len);
	for (size_t i = 0; backing->fast.dirty && i < count; i++) {
		for (size_t j = 0; j < backing->count; j++) {
			const struct cvmm_mem_entry *entry = &backing->entries[j];
			uint64_t offset = (uintptr_t)iov[i].iov_base - (uintptr_t)entry->host;

			if (offset < entry->len_bytes)
				cvmm_mem_mark_dirty(backing, cvmm_gpa_from(entry->gpa + offset),
						    iov[i].iov_len);
		}
	}
}
