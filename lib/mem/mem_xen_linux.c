// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a region that is mapped at once is memory of the caller's for the map
 * (CVMM_MEM_EXTERNAL), which lets go of it in the end by an operation of ours. One that is mapped on
 * demand has operations for that, too: each window is a mapping of its own of the grants it covers.
 *
 * Foreign memory: reserve addresses by mapping the device, then have the hypervisor put pages there. It
 * tells of each page whether it could. Grants: make the device put some together under an index, then
 * map it from there; the index must be given back when the mapping is gone.
 *
 * Numbers and layouts are those of the kernel's interface (include/uapi/xen/privcmd.h and gntdev.h),
 * the first of which cannot be included without Xen's own headers. Pages are Xen's, always of 4096
 * bytes. Linux only.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem_internal.h"

#include <cvmm/mem_xen.h>

#define XEN_PAGE UINT64_C(4096)
#define XEN_DOMID_END 0x7ff0U /* from here on numbers have special meanings */
#define XEN_FD_MIN 3

/* Pages that one call asks for: bounds what a peer's numbers make us allocate. */
#define BATCH_PAGES 1024U

/* Grants that are mapped at once, which is what gntdev allows by default. */
#define GRANTS_MAX (UINT32_C(1) << 20)

struct privcmd_mmapbatch_v2 {
	unsigned int num;
	uint16_t dom;
	uint64_t addr;
	const unsigned long *arr;
	int *err;
};

#define IOCTL_PRIVCMD_MMAPBATCH_V2 _IOC(_IOC_NONE, 'P', 4, sizeof(struct privcmd_mmapbatch_v2))

struct gntdev_ref {
	uint32_t domid;
	uint32_t ref;
};

struct gntdev_map {
	uint32_t count;
	uint32_t pad;
	uint64_t index;
	struct gntdev_ref refs[];
};

struct gntdev_unmap {
	uint64_t index;
	uint32_t count;
	uint32_t pad;
};

struct gntdev_get_offset {
	uint64_t vaddr;
	uint64_t offset;
	uint32_t count;
	uint32_t pad;
};

/* The kernel counts one reference in the size of the first. */
#define IOCTL_GNTDEV_MAP_GRANT_REF \
	_IOC(_IOC_NONE, 'G', 0, sizeof(struct gntdev_map) + sizeof(struct gntdev_ref))
#define IOCTL_GNTDEV_UNMAP_GRANT_REF _IOC(_IOC_NONE, 'G', 1, sizeof(struct gntdev_unmap))
#define IOCTL_GNTDEV_GET_OFFSET_FOR_VADDR _IOC(_IOC_NONE, 'G', 2, sizeof(struct gntdev_get_offset))

/**
 * struct xen_region - what the operations know of a region
 * @fd: the device; owned
 * @host: where all of it is mapped, or NULL
 */
struct xen_region {
	struct cvmm_mem_xen_config config;
	int fd;
	void *host;
};

static int protection(enum cvmm_access access)
{
	return (access & CVMM_ACCESS_READ ? PROT_READ : 0) |
	       (access & CVMM_ACCESS_WRITE ? PROT_READ | PROT_WRITE : 0);
}

/* ---- foreign memory ---------------------------------------------------------------------------- */

static int map_batch(const struct xen_region *region, uint8_t *host, uint64_t first_page,
		     unsigned int pages)
{
	unsigned long frames[BATCH_PAGES];
	int errors[BATCH_PAGES] = { 0 };
	struct privcmd_mmapbatch_v2 batch = {
		.num = pages,
		.dom = (uint16_t)region->config.domid,
		.addr = (uintptr_t)host,
		.arr = frames,
		.err = errors,
	};

	for (unsigned int i = 0; i < pages; i++)
		frames[i] = (unsigned long)(first_page + i);
	if (ioctl(region->fd, IOCTL_PRIVCMD_MMAPBATCH_V2, &batch))
		return -errno;
	for (unsigned int i = 0; i < pages; i++)
		if (errors[i])
			return errors[i] < 0 ? errors[i] : -errors[i];
	return 0;
}

static int map_foreign(struct xen_region *region)
{
	uint64_t pages = region->config.len_bytes / XEN_PAGE, done = 0;
	uint8_t *host;
	int ret = 0;

	host = mmap(NULL, region->config.len_bytes, protection(region->config.access), MAP_SHARED,
		    region->fd, 0);
	if (host == MAP_FAILED)
		return -errno;
	while (!ret && done < pages) {
		uint64_t left = pages - done;
		unsigned int batch = left < BATCH_PAGES ? (unsigned int)left : BATCH_PAGES;

		ret = map_batch(region, host + done * XEN_PAGE,
				region->config.gpa.addr / XEN_PAGE + done, batch);
		done += batch;
	}
	if (ret)
		munmap(host, region->config.len_bytes);
	else
		region->host = host;
	return ret;
}

/* ---- grants ------------------------------------------------------------------------------------ */

static void drop_index(int fd, uint64_t index, uint32_t pages)
{
	struct gntdev_unmap unmap = { .index = index, .count = pages };

	/* Nothing could be done about a failure; the device drops all of them when it is closed. */
	(void)ioctl(fd, IOCTL_GNTDEV_UNMAP_GRANT_REF, &unmap);
}

/* Maps @pages pages from page @first of the region on. */
static int map_pages(const struct xen_region *region, uint64_t first, uint32_t pages,
		     enum cvmm_access access, void **ret_host)
{
	uint64_t ref = (region->config.gpa.addr & ~CVMM_MEM_XEN_GRANT_ADDR) / XEN_PAGE + first;
	struct gntdev_map *map;
	void *host;
	int ret = 0;

	map = calloc(1, sizeof(*map) + pages * sizeof(map->refs[0]));
	if (!map)
		return -ENOMEM;
	map->count = pages;
	for (uint32_t i = 0; i < pages; i++)
		map->refs[i] = (struct gntdev_ref){ region->config.domid, (uint32_t)(ref + i) };
	if (ioctl(region->fd, IOCTL_GNTDEV_MAP_GRANT_REF, map)) {
		ret = -errno;
	} else {
		host = mmap(NULL, pages * XEN_PAGE, protection(access), MAP_SHARED, region->fd,
			    (off_t)map->index);
		if (host == MAP_FAILED) {
			ret = -errno;
			drop_index(region->fd, map->index, pages);
		} else {
			*ret_host = host;
		}
	}
	free(map);
	return ret;
}

static void unmap_pages(const struct xen_region *region, void *host, uint64_t pages)
{
	struct gntdev_get_offset at = { .vaddr = (uintptr_t)host };
	bool known = !ioctl(region->fd, IOCTL_GNTDEV_GET_OFFSET_FOR_VADDR, &at);

	munmap(host, pages * XEN_PAGE);
	if (known)
		drop_index(region->fd, at.offset, (uint32_t)pages);
}

static int window_map(void *ctx, uint64_t offset, uint64_t len_bytes, enum cvmm_access access,
		      void **ret_host)
{
	const struct xen_region *region = ctx;
	uint64_t first = offset / XEN_PAGE, last = (offset + len_bytes - 1) / XEN_PAGE;
	void *host;
	int ret;

	ret = map_pages(region, first, (uint32_t)(last - first + 1), access, &host);
	if (!ret)
		*ret_host = (uint8_t *)host + offset % XEN_PAGE;
	return ret;
}

static void window_unmap(void *ctx, void *host, uint64_t len_bytes)
{
	uint64_t in_page = (uintptr_t)host % XEN_PAGE;

	unmap_pages(ctx, (uint8_t *)host - in_page,
		    (in_page + len_bytes + XEN_PAGE - 1) / XEN_PAGE);
}

/* ---- regions ----------------------------------------------------------------------------------- */

static void release(void *ctx)
{
	struct xen_region *region = ctx;

	if (region->host && (region->config.flags & CVMM_MEM_XEN_GRANT))
		unmap_pages(region, region->host, region->config.len_bytes / XEN_PAGE);
	else if (region->host)
		munmap(region->host, region->config.len_bytes);
	cvmm_close_fd(&region->fd);
	free(region);
}

static const struct cvmm_mem_ops mapped_ops = { .release = release };
static const struct cvmm_mem_ops window_ops = {
	.map = window_map,
	.unmap = window_unmap,
	.release = release,
};

static int check(const struct cvmm_mem_xen_config *xen, struct cvmm_error *err)
{
	uint64_t last;

	if (xen->flags != CVMM_MEM_XEN_UNIX && xen->flags != CVMM_MEM_XEN_FOREIGN &&
	    (xen->flags & ~(unsigned int)CVMM_MEM_XEN_NO_ADVANCE_MAP) != CVMM_MEM_XEN_GRANT)
		return cvmm_fail(err, -EINVAL,
				 "Xen mapping flags 0x%x are neither 0 (a file), 1 (foreign), 2 "
				 "(grants) nor 0xa (grants, on demand)",
				 xen->flags);
	if (xen->flags == CVMM_MEM_XEN_UNIX)
		return 0;
	if (!xen->len_bytes || xen->len_bytes % XEN_PAGE || xen->gpa.addr % XEN_PAGE ||
	    !cvmm_add_u64(xen->gpa.addr, xen->len_bytes - 1, &last))
		return cvmm_fail(err, -EINVAL,
				 "Xen memory of 0x%llx bytes at 0x%llx is not whole pages below "
				 "2^64",
				 (unsigned long long)xen->len_bytes,
				 (unsigned long long)xen->gpa.addr);
	if (xen->fd_offset)
		return cvmm_fail(err, -EINVAL, "Xen memory has no file offset");
	if (xen->domid >= XEN_DOMID_END)
		return cvmm_fail(err, -EINVAL, "%u is not the number of a Xen domain", xen->domid);
	if (!(xen->flags & CVMM_MEM_XEN_GRANT))
		return 0;
	if (!(xen->gpa.addr & CVMM_MEM_XEN_GRANT_ADDR))
		return cvmm_fail(err, -EINVAL, "0x%llx is not the address of a grant",
				 (unsigned long long)xen->gpa.addr);
	if ((last & ~CVMM_MEM_XEN_GRANT_ADDR) / XEN_PAGE > UINT32_MAX)
		return cvmm_fail(err, -EINVAL, "grants go up to 0x%llx, above 2^32 references",
				 (unsigned long long)last);
	if (!(xen->flags & CVMM_MEM_XEN_NO_ADVANCE_MAP) && xen->len_bytes / XEN_PAGE > GRANTS_MAX)
		return cvmm_fail(err, -E2BIG,
				 "%llu grants are too many to map at once (at most %u); map them "
				 "on demand",
				 (unsigned long long)(xen->len_bytes / XEN_PAGE), GRANTS_MAX);
	return 0;
}

static int map_in_advance(struct xen_region *region)
{
	uint64_t pages = region->config.len_bytes / XEN_PAGE;

	if (region->config.flags & CVMM_MEM_XEN_NO_ADVANCE_MAP)
		return 0;
	if (region->config.flags & CVMM_MEM_XEN_FOREIGN)
		return map_foreign(region);
	return map_pages(region, 0, (uint32_t)pages, region->config.access, &region->host);
}

int cvmm_mem_xen_prepare(const struct cvmm_mem_xen_config *xen, struct cvmm_mem_config *ret_config,
			 struct cvmm_error *err)
{
	bool on_demand = xen->flags & CVMM_MEM_XEN_NO_ADVANCE_MAP;
	struct cvmm_mem_config config = {
		.gpa = xen->gpa,
		.len_bytes = xen->len_bytes,
		.access = xen->access,
		.fd = -1,
	};
	struct xen_region *region;
	int ret = check(xen, err);

	if (ret)
		return ret;
	if (xen->flags == CVMM_MEM_XEN_UNIX) {
		config.kind = CVMM_MEM_FILE;
		config.fd = xen->fd;
		config.fd_offset = xen->fd_offset;
		*ret_config = config;
		return 0;
	}
	region = calloc(1, sizeof(*region));
	if (!region)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	region->config = *xen;
	region->fd = fcntl(xen->fd, F_DUPFD_CLOEXEC, XEN_FD_MIN);
	ret = region->fd < 0 ? -errno : map_in_advance(region);
	if (ret) {
		release(region);
		return cvmm_fail(err, ret,
				 "cannot map memory of Xen domain %u: %s; is this the Xen device, "
				 "and does that domain let us?",
				 xen->domid, strerror(-ret));
	}
	config.kind = on_demand ? CVMM_MEM_ON_DEMAND : CVMM_MEM_EXTERNAL;
	config.host = region->host;
	config.ops = on_demand ? &window_ops : &mapped_ops;
	config.ops_ctx = region;
	*ret_config = config;
	return 0;
}

void cvmm_mem_xen_cancel(struct cvmm_mem_config *config)
{
	if (config->ops)
		config->ops->release(config->ops_ctx);
	config->ops = NULL;
}
