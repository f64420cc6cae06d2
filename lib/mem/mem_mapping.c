// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a mapping is the memory behind one region. It counts the maps that hold it,
 * so that a map with one region more or less than another shares all the rest, and pointers into
 * a region stay valid as long as any map with it is held.
 *
 * Private memory is mapped without a reservation: a guest that is given more than it uses costs
 * only what it uses. Huge pages are reserved, because running out of them is a SIGBUS.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem_internal.h"

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

/* Duplicates stay clear of standard input, output and error. */
#define MEM_FD_MIN 3

#define MEM_HUGETLB_LOG2_MAX 63

/* Huge pages of the usual size: where guest and host agree modulo this, the host can use them. */
#define MEM_PLACE_ALIGN (UINT64_C(2) << 20)

#define MEM_NUMA_NODES_MAX 1024

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0 /* then an address is a hint, which may be ignored */
#endif

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
		if (config->fd_offset % page)
			return cvmm_fail(err, -EINVAL,
					 "file offset 0x%llx is not a multiple of the page size",
					 (unsigned long long)config->fd_offset);
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
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
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

/* Pages past the end of a file can be mapped, but touching them is a SIGBUS. */
static int check_file_len(const struct cvmm_mem_config *config, struct cvmm_error *err)
{
	uint64_t end = config->fd_offset + config->len_bytes;
	struct stat st;

	if (fstat(config->fd, &st))
		return cvmm_fail(err, -errno, "cannot examine the file: %s", strerror(errno));
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < end)
		return cvmm_fail(
			err, -EINVAL,
			"the file has %lld bytes, but the region needs %llu (from 0x%llx); "
			"enlarge the file or make the region smaller",
			(long long)st.st_size, (unsigned long long)end,
			(unsigned long long)config->fd_offset);
	return 0;
}

/* ---- addresses ------------------------------------------------------------------------------ */

bool cvmm_mem_can_reserve(const struct cvmm_mem_config *config)
{
	struct stat st;

	/* Huge pages want their own alignment, which the guest's address may not have. */
	if (config->kind == CVMM_MEM_HUGETLB)
		return config->hugetlb_log2 &&
		       !(config->gpa.addr & ((UINT64_C(1) << config->hugetlb_log2) - 1)) &&
		       UINT64_C(1) << config->hugetlb_log2 <= MEM_PLACE_ALIGN;
	/* So do files of them. */
	if (config->kind == CVMM_MEM_FILE)
		return !fstat(config->fd, &st) && st.st_blksize <= sysconf(_SC_PAGESIZE);
	return config->kind != CVMM_MEM_EXTERNAL && config->kind != CVMM_MEM_ON_DEMAND;
}

int cvmm_mem_reserve(struct cvmm_mem_reservation *ret_room, uint64_t gpa, uint64_t len)
{
	uint64_t total, skip;
	uint8_t *base;

	if (!cvmm_add_u64(len, MEM_PLACE_ALIGN, &total))
		return -ENOMEM;
	base = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return -errno;
	skip = (gpa - (uintptr_t)base) % MEM_PLACE_ALIGN;
	if (skip)
		munmap(base, skip);
	munmap(base + skip + len, MEM_PLACE_ALIGN - skip);
	*ret_room = (struct cvmm_mem_reservation){ base + skip, base + skip + len };
	return 0;
}

void cvmm_mem_unreserve(struct cvmm_mem_reservation *room)
{
	if (room->next != room->end)
		munmap(room->next, (size_t)(room->end - room->next));
	*room = (struct cvmm_mem_reservation){ 0 };
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
		ret = check_file_len(config, err);
		if (ret)
			return ret;
		fd = fcntl(config->fd, F_DUPFD_CLOEXEC, MEM_FD_MIN);
		if (fd < 0)
			return cvmm_fail(err, -errno, "cannot duplicate the file descriptor: %s",
					 strerror(errno));
		*ret_fd = fd;
		return 0;
	default:
		*ret_fd = -1;
		return 0;
	}
}

static const char *advice(const struct cvmm_mem_config *config, int code)
{
	if (code == -ENOMEM && config->kind == CVMM_MEM_HUGETLB)
		return "; reserve more huge pages (/sys/kernel/mm/hugepages/*/nr_hugepages) or ask "
		       "for less memory";
	if (code == -ENOMEM)
		return "; ask for less memory, or raise the limits on it (ulimit -v, "
		       "vm.overcommit_memory, vm.max_map_count)";
	if (code == -EACCES && config->kind == CVMM_MEM_FILE)
		return "; open the file for reading and writing, or make the region read-only";
	return "";
}

static int map_memory(const struct cvmm_mem_config *config, enum cvmm_mem_where where, uint8_t *at,
		      struct cvmm_mem_region *region, struct cvmm_error *err)
{
	bool is_private = config->kind == CVMM_MEM_ANONYMOUS;
	int flags = is_private ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
	int protection = PROT_READ | PROT_WRITE;
	char text[MEM_SIZE_TEXT];
	void *host;
	int code;

	/*
	 * `access` is about devices: the VMM itself may write to its ROM. But a file that was
	 * opened for reading only cannot be mapped for writing.
	 */
	if (config->kind == CVMM_MEM_FILE && config->access == CVMM_ACCESS_READ)
		protection = PROT_READ;
	if (where == CVMM_MEM_RESERVED)
		flags |= MAP_FIXED;
	host = MAP_FAILED;
	if (where == CVMM_MEM_TRY)
		host = mmap(at, region->len_bytes, protection, flags | MAP_FIXED_NOREPLACE,
			    region->fd, (off_t)region->fd_offset);
	if (host == MAP_FAILED)
		host = mmap(where == CVMM_MEM_RESERVED ? at : NULL, region->len_bytes, protection,
			    flags, region->fd, (off_t)region->fd_offset);
	if (host == MAP_FAILED) {
		code = -errno;
		return cvmm_fail(err, code, "cannot map %s of memory: %s%s",
				 cvmm_mem_size_text(region->len_bytes, text), strerror(-code),
				 advice(config, code));
	}
	region->host = host;
	return 0;
}

static uint64_t find_page_bytes(const struct cvmm_mem_config *config, int fd)
{
	struct stat st;

	/* hugetlbfs tells its page size as the block size. */
	if (config->kind == CVMM_MEM_HUGETLB && !fstat(fd, &st))
		return (uint64_t)st.st_blksize;
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

static int open_guest_memfd(const struct cvmm_mem_config *config, struct cvmm_mem_region *region,
			    struct cvmm_error *err)
{
	if (!(config->flags & CVMM_MEM_HAS_GUEST_MEMFD))
		return 0;
	region->guest_memfd = fcntl(config->guest_memfd, F_DUPFD_CLOEXEC, MEM_FD_MIN);
	region->guest_memfd_offset = config->guest_memfd_offset;
	return region->guest_memfd >= 0
		       ? 0
		       : cvmm_fail(err, -errno, "cannot duplicate the guest_memfd: %s",
				   strerror(errno));
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
		ret = map_memory(config, where, at, region, err);
		mapping->owned = !ret;
	}
	region->page_bytes = find_page_bytes(config, region->fd);
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
		munmap(mapping->region.host, mapping->region.len_bytes);
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
	struct stat st_a, st_b;

	return a->fd >= 0 && b->fd >= 0 && !fstat(a->fd, &st_a) && !fstat(b->fd, &st_b) &&
	       st_a.st_dev == st_b.st_dev && st_a.st_ino == st_b.st_ino && apart < first->len_bytes;
}
