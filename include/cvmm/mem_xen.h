/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm mem: memory of another Xen domain, as regions of a map.
 *
 * Which way memory is mapped is known at run time only: a vhost-user front-end says it for each region.
 * So these are regions like any other, and one map may have all kinds.
 *
 *   foreign   a privileged domain maps the other's memory as it is; all of it at once
 *   grant     the other domain has granted each page; they are mapped all at once, or anew for each
 *             access (CVMM_MEM_XEN_NO_ADVANCE_MAP), so that it may take back what is not in use
 *
 * Linux with Xen only; elsewhere -ENOTSUP. Nothing here needs Xen's own libraries.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_MEM_XEN_H
#define CVMM_MEM_XEN_H

#include <cvmm/mem.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Spec: vhost-user, "Xen mmap description". Values as in the message. */
enum cvmm_mem_xen_flags {
	CVMM_MEM_XEN_UNIX = 0, /* not Xen's: a file, as ever */
	CVMM_MEM_XEN_FOREIGN = 1 << 0,
	CVMM_MEM_XEN_GRANT = 1 << 1,
	CVMM_MEM_XEN_NO_ADVANCE_MAP = 1 << 3, /* with _GRANT only */
};

/* Set in guest addresses that are grants: bits 12 to 62 are the reference of the page's grant. */
#define CVMM_MEM_XEN_GRANT_ADDR (UINT64_C(1) << 63)

/**
 * struct cvmm_mem_xen_config - a region of another domain's memory; all of it may be peer-controlled
 * @gpa: first guest-physical address, or grant address; a multiple of 4096
 * @len_bytes: size, not 0, a multiple of 4096
 * @access: as in struct cvmm_mem_config
 * @flags: enum cvmm_mem_xen_flags
 * @domid: the other domain's number, below 0x7ff0
 * @fd: _FOREIGN: /dev/xen/privcmd; _GRANT: /dev/xen/gntdev; _UNIX: the file. Duplicated.
 * @fd_offset: _UNIX: where in the file; otherwise 0
 */
struct cvmm_mem_xen_config {
	cvmm_gpa gpa;
	uint64_t len_bytes;
	enum cvmm_access access;
	unsigned int flags;
	uint32_t domid;
	int fd;
	uint64_t fd_offset;
};

/**
 * cvmm_mem_xen_prepare() - make a region's config of it
 * @ret_config: for cvmm_mem_create() or cvmm_mem_insert(). If that succeeds, the region owns what is
 *              in it; else it must be given to cvmm_mem_xen_cancel(). With CVMM_MEM_XEN_UNIX it has
 *              @xen->fd, which must stay open until then.
 *
 * Maps the memory, unless it is to be mapped on demand.
 *
 * Return: 0; -EINVAL for flags or numbers that make no sense; -E2BIG for too many grants; -ENOTSUP;
 * or what mapping failed with.
 */
CVMM_API int cvmm_mem_xen_prepare(const struct cvmm_mem_xen_config *xen,
				  struct cvmm_mem_config *ret_config, struct cvmm_error *err);

/* Undo cvmm_mem_xen_prepare() for a config that no map has. */
CVMM_API void cvmm_mem_xen_cancel(struct cvmm_mem_config *config);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_MEM_XEN_H */
