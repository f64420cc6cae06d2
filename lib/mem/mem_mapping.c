// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a mapping is the memory behind one region. It counts the maps that hold it,
 * so that a map with one region more or less than another shares all the rest, and pointers into
 * a region stay valid as long as any map with it is held.
 *
 * How memory is mapped is the system's business: mem_map_posix.c, mem_map_windows.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "mem_internal.h"

#define MEM_HUGETLB_LOG2_MAX 63

#define MEM_NUMA_NODES_MAX 1024

const char *cvmm_mem_size_text(uint64_t bytes, char text[MEM_SIZE_TEXT])
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	size_t unit = 0;

	while (bytes && !(bytes % 1024) && unit + 1 < CVMM_ARRAY_SIZE(units)) {
		bytes /= 1024;
		unit++;
	}
	snprintf(text, MEM_SIZE_TEXT, "%llu %s", (unsigned long long)bytes, units[unit]);
	return text;
}

/* ---- checks -------------------------------------------------------------------------------- */

/* What can be asked of pages that nobody has mapped yet: nothing. */
static int check_page_flags(const struct cvmm_mem_config *config, struct cvmm_error *err)
{
	if (config->flags & (CVMM_MEM_PREFAULT | CVMM_MEM_NUMA_BIND))
		return cvmm_fail(err, -EINVAL,
				 "what is mapped on demand can neither be prefaulted nor bound");
	return 0;
}

static int check_backing(const struct cvmm_mem_config *config, uint64_t page,
			 struct cvmm_error *err)
{
	uint64_t granule = cvmm_mem_host_granule_bytes();

	switch (config->kind) {
	case CVMM_MEM_ANONYMOUS:
	case CVMM_MEM_MEMFD:
		return 0;
	case CVMM_MEM_HUGETLB:
		if (config->hugetlb_log2 > MEM_HUGETLB_LOG2_MAX)
			return cvmm_fail(err, -EINVAL, "huge pages of 2^%u bytes do not exist",
					 config->hugetlb_log2);
		return 0;
	case CVMM_MEM_FILE:
		if (config->fd < 0)
			return cvmm_fail(err, -EINVAL, "no file is given");
		if (config->fd_offset % granule)
			return cvmm_fail(
				err, -EINVAL, "file offset 0x%llx is not a multiple of 0x%llx",
				(unsigned long long)config->fd_offset, (unsigned long long)granule);
		if (!cvmm_range_inside(config->fd_offset, config->len_bytes, INT64_MAX))
			return cvmm_fail(err, -EINVAL, "file offset 0x%llx is too large",
					 (unsigned long long)config->fd_offset);
		return 0;
	case CVMM_MEM_EXTERNAL:
		if (!config->host || (uintptr_t)config->host % page)
			return cvmm_fail(err, -EINVAL, "host address is not that of a page");
		if (config->len_bytes > UINTPTR_MAX - (uintptr_t)config->host)
			return cvmm_fail(err, -EINVAL, "host range wraps around");
		return 0;
	case CVMM_MEM_ON_DEMAND:
		if (!config->ops || !config->ops->map || !config->ops->unmap)
			return cvmm_fail(err, -EINVAL, "no operations to map it with are given");
		return check_page_flags(config, err);
	}
	return cvmm_fail(err, -EINVAL, "unknown kind of memory %d", (int)config->kind);
}

static int check_flags(const struct cvmm_mem_config *config, uint64_t page, struct cvmm_error *err)
{
	if ((config->flags & CVMM_MEM_NUMA_BIND) && config->numa_node >= MEM_NUMA_NODES_MAX)
		return cvmm_fail(err, -EINVAL, "NUMA node %u does not exist", config->numa_node);
	if ((config->flags & CVMM_MEM_PREFAULT) &&
	    config->prefault_threads > CVMM_MEM_PREFAULT_THREADS_MAX)
		return cvmm_fail(err, -EINVAL,
				 "%u threads are too many to prefault with (at most %d)",
				 config->prefault_threads, CVMM_MEM_PREFAULT_THREADS_MAX);
	if (!(config->flags & CVMM_MEM_HAS_GUEST_MEMFD))
		return 0;
	if (config->guest_memfd < 0)
		return cvmm_fail(err, -EINVAL, "no guest_memfd is given");
	if (config->guest_memfd_offset % page ||
	    !cvmm_range_inside(config->guest_memfd_offset, config->len_bytes, INT64_MAX))
		return cvmm_fail(err, -EINVAL,
				 "guest_memfd offset 0x%llx is not a multiple of the page size, or "
				 "too large",
				 (unsigned long long)config->guest_memfd_offset);
	return 0;
}

int cvmm_mem_config_check(const struct cvmm_mem_config *config, struct cvmm_error *err)
{
	uint64_t page = cvmm_mem_host_page_bytes();
	int ret;

	if (!config->len_bytes)
		return cvmm_fail(err, -EINVAL, "size is 0");
	if (config->gpa.addr % page || config->len_bytes % page)
		return cvmm_fail(err, -EINVAL,
				 "address and size must be multiples of the page size, 0x%llx",
				 (unsigned long long)page);
	/* The last byte counts: a region may end at 2^64 exactly. */
	if (config->len_bytes - 1 > UINT64_MAX - config->gpa.addr)
		return cvmm_fail(err, -EINVAL, "region ends above 2^64");
	if (config->access < CVMM_ACCESS_READ || config->access > CVMM_ACCESS_READ_WRITE)
		return cvmm_fail(err, -EINVAL, "access rights %d are not read, write or both",
				 (int)config->access);
	ret = check_flags(config, page, err);
	return ret ? ret : check_backing(config, page, err);
}

/* ---- mapping ------------------------------------------------------------------------------- */

static int open_backing(const struct cvmm_mem_config *config, int *ret_fd, struct cvmm_error *err)
{
	int fd, ret;

	switch (config->kind) {
	case CVMM_MEM_MEMFD:
	case CVMM_MEM_HUGETLB:
		return cvmm_mem_memfd_open(config, ret_fd, err);
	case CVMM_MEM_FILE:
		ret = cvmm_mem_host_check_file(config, err);
		if (ret)
			return ret;
		fd = cvmm_mem_host_dup(config->fd);
		if (fd < 0)
			return cvmm_fail(err, fd, "cannot duplicate the file descriptor: %s",
					 strerror(-fd));
		*ret_fd = fd;
		return 0;
	default:
		*ret_fd = -1;
		return 0;
	}
}

static int open_guest_memfd(const struct cvmm_mem_config *config, struct cvmm_mem_region *region,
			    struct cvmm_error *err)
{
	if (!(config->flags & CVMM_MEM_HAS_GUEST_MEMFD))
		return 0;
	region->guest_memfd = cvmm_mem_host_dup(config->guest_memfd);
	region->guest_memfd_offset = config->guest_memfd_offset;
	return region->guest_memfd >= 0
		       ? 0
		       : cvmm_fail(err, region->guest_memfd, "cannot duplicate the guest_memfd: %s",
				   strerror(-region->guest_memfd));
}

int cvmm_mem_mapping_create(const struct cvmm_mem_config *config, enum cvmm_mem_where where,
			    uint8_t *at, struct cvmm_mem_mapping **ret_mapping,
			    struct cvmm_error *err)
{
	struct cvmm_mem_mapping *mapping = calloc(1, sizeof(*mapping));
	struct cvmm_mem_region *region;
	int ret;

	if (!mapping)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	mapping->refs = 1;
	region = &mapping->region;
	*region = (struct cvmm_mem_region){
		.gpa = config->gpa.addr,
		.len_bytes = config->len_bytes,
		.access = config->access,
		.kind = config->kind,
		.fd = -1,
		.fd_offset = config->kind == CVMM_MEM_FILE ? config->fd_offset : 0,
		.flags = config->flags,
		.guest_memfd = -1,
	};
	ret = open_guest_memfd(config, region, err);
	if (!ret)
		ret = open_backing(config, &region->fd, err);
	if (!ret && config->kind == CVMM_MEM_EXTERNAL) {
		region->host = config->host;
	} else if (!ret && config->kind != CVMM_MEM_ON_DEMAND) {
		ret = cvmm_mem_host_map(config, where, at, region, err);
		mapping->owned = !ret;
	}
	region->page_bytes = cvmm_mem_host_page_bytes_of(region);
	if (!ret && region->host)
		ret = cvmm_mem_apply_flags(config, region, err);
	if (ret) {
		/* What was reserved stays so until its owner gives it back. */
		if (mapping->owned && where == CVMM_MEM_RESERVED)
			mapping->owned = false;
		cvmm_mem_mapping_unref(mapping);
		return ret;
	}
	mapping->ops = config->ops;
	mapping->ops_ctx = config->ops_ctx;
	*ret_mapping = mapping;
	return 0;
}

void cvmm_mem_mapping_ref(struct cvmm_mem_mapping *mapping)
{
	__atomic_fetch_add(&mapping->refs, 1, __ATOMIC_RELAXED);
}

void cvmm_mem_mapping_unref(struct cvmm_mem_mapping *mapping)
{
	/* Acquire and release: what others did to the memory comes before its unmapping. */
	if (__atomic_sub_fetch(&mapping->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (mapping->owned)
		cvmm_mem_host_unmap(&mapping->region);
	cvmm_close_fd(&mapping->region.fd);
	cvmm_close_fd(&mapping->region.guest_memfd);
	if (mapping->ops && mapping->ops->release)
		mapping->ops->release(mapping->ops_ctx);
	free(mapping);
}

bool cvmm_mem_region_files_overlap(const struct cvmm_mem_region *a, const struct cvmm_mem_region *b)
{
	uint64_t apart = a->fd_offset > b->fd_offset ? a->fd_offset - b->fd_offset
						     : b->fd_offset - a->fd_offset;
	const struct cvmm_mem_region *first = a->fd_offset <= b->fd_offset ? a : b;

	return a->fd >= 0 && b->fd >= 0 && apart < first->len_bytes &&
	       cvmm_mem_host_same_file(a->fd, b->fd);
}
