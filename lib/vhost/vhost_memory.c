// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The memory of the guest, and the log of writes to it. */
#include <stdlib.h>

#include "vhost_internal.h"

#define LOG_PAGES_PER_WORD 64U /* the kernel sets bits in whole words */

/* ---- regions --------------------------------------------------------------------------------- */

static bool touches(const struct vhost_region *before, const struct cvmm_mem_region *region)
{
	return before->gpa + before->len_bytes == region->gpa &&
	       before->host + before->len_bytes == region->host && before->access == region->access;
}

int vhost_regions_of(const struct cvmm_mem *mem, struct vhost_region *regions, size_t *ret_count,
		     struct cvmm_error *err)
{
	size_t n = 0;

	if (cvmm_mem_has_iommu(mem))
		return cvmm_fail(
			err, -EINVAL,
			"vhost: a map behind an IOMMU has no regions; give the one behind");
	for (size_t i = 0; i < cvmm_mem_region_count(mem); i++) {
		const struct cvmm_mem_region *region = cvmm_mem_region_at(mem, i);

		if (!region->host)
			return cvmm_fail(err, -ENOTSUP,
					 "vhost: memory at 0x%llx is mapped on demand, so that the "
					 "kernel cannot reach it",
					 (unsigned long long)region->gpa);
		if (n && touches(&regions[n - 1], region)) {
			regions[n - 1].len_bytes += region->len_bytes;
			continue;
		}
		regions[n++] = (struct vhost_region){
			.gpa = region->gpa,
			.len_bytes = region->len_bytes,
			.host = region->host,
			.access = region->access,
		};
	}
	*ret_count = n;
	return 0;
}

/* ---- the memory table ------------------------------------------------------------------------ */

static int set_table(const struct cvmm_vhost *vhost, const struct vhost_region *regions,
		     size_t count, struct cvmm_error *err)
{
	struct vhost_memory *table = calloc(1, sizeof(*table) + count * sizeof(table->regions[0]));
	int ret;

	if (!table)
		return cvmm_fail(err, -ENOMEM, "vhost: no memory for a table of %zu regions",
				 count);
	for (size_t i = 0; i < count; i++) {
		if (regions[i].access != CVMM_ACCESS_READ_WRITE)
			continue;
		table->regions[table->nregions++] = (struct vhost_memory_region){
			.guest_phys_addr = regions[i].gpa,
			.memory_size = regions[i].len_bytes,
			.userspace_addr = (uint64_t)(uintptr_t)regions[i].host,
		};
	}
	ret = cvmm_vhost_ioctl(vhost->fd, VHOST_SET_MEM_TABLE, table);
	if (ret == -E2BIG)
		cvmm_fail(err, ret,
			  "vhost: the kernel takes fewer than %u regions of memory: see the "
			  "parameter max_mem_regions of its module vhost",
			  table->nregions);
	else if (ret < 0)
		cvmm_fail(err, ret, "vhost: the kernel refuses a table of %u regions: %s",
			  table->nregions, strerror(-ret));
	free(table);
	return ret;
}

int cvmm_vhost_set_mem_table(const struct cvmm_vhost *vhost, const struct cvmm_mem *mem,
			     struct cvmm_error *err)
{
	struct vhost_region *regions = calloc(CVMM_MEM_REGIONS_MAX, sizeof(*regions));
	size_t count;
	int ret;

	if (!regions)
		return cvmm_fail(err, -ENOMEM, "vhost: no memory for a list of regions");
	ret = vhost_regions_of(mem, regions, &count, err);
	if (!ret)
		ret = set_table(vhost, regions, count, err);
	free(regions);
	return ret;
}

/* ---- the log --------------------------------------------------------------------------------- */

uint64_t cvmm_vhost_log_bytes(const struct cvmm_mem *mem)
{
	cvmm_gpa last;

	if (!cvmm_mem_last(mem, &last))
		return 0;
	return (last.addr / VHOST_PAGE_SIZE / LOG_PAGES_PER_WORD + 1) * sizeof(uint64_t);
}

int cvmm_vhost_set_log_base(const struct cvmm_vhost *vhost, void *bitmap)
{
	uint64_t addr = (uint64_t)(uintptr_t)bitmap;

	return vhost_ioctl_set(vhost, VHOST_SET_LOG_BASE, &addr, sizeof(addr));
}

int cvmm_vhost_set_log_fd(const struct cvmm_vhost *vhost, int fd)
{
	return vhost_ioctl_set(vhost, VHOST_SET_LOG_FD, &fd, sizeof(fd));
}
