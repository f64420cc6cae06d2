/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * How ioctls are made here. The kernel reads a number of a queue from the argument of any ioctl that it
 * does not know, and then says -ENOBUFS or -EFAULT, if that is none or the argument no address. So each
 * argument has room for more than it needs, with zeroes, and is an address even where none is wanted:
 * then what is not known is -ENOTTY.
 */
#ifndef CVMM_VHOST_INTERNAL_H
#define CVMM_VHOST_INTERNAL_H

#include <errno.h>

#include <cvmm/vhost.h>
#include <cvmm/vhost_vdpa.h>

/* An ioctl without an argument. */
static inline int vhost_ioctl_none(const struct cvmm_vhost *vhost, unsigned long request)
{
	uint64_t room = 0;

	return cvmm_vhost_ioctl(vhost->fd, request, &room);
}

/* An ioctl that reads at most 8 bytes. */
static inline int vhost_ioctl_set(const struct cvmm_vhost *vhost, unsigned long request,
				  const void *value, size_t bytes)
{
	uint64_t room = 0;

	memcpy(&room, value, bytes);
	return cvmm_vhost_ioctl(vhost->fd, request, &room);
}

/* An ioctl that writes at most 8 bytes; *ret_value is untouched on failure. */
static inline int vhost_ioctl_get(const struct cvmm_vhost *vhost, unsigned long request,
				  void *ret_value, size_t bytes)
{
	uint64_t room = 0;
	int ret = cvmm_vhost_ioctl(vhost->fd, request, &room);

	if (ret < 0)
		return ret;
	memcpy(ret_value, &room, bytes);
	return 0;
}

/* An ioctl that says a number of a queue, or of a group. */
static inline int vhost_vring_set(const struct cvmm_vhost *vhost, unsigned long request,
				  uint32_t index, uint32_t num)
{
	struct vhost_vring_state state = { .index = index, .num = num };

	return cvmm_vhost_ioctl(vhost->fd, request, &state);
}

/* An ioctl that asks for one. */
static inline int vhost_vring_get(const struct cvmm_vhost *vhost, unsigned long request,
				  uint32_t index, uint32_t *ret_num)
{
	struct vhost_vring_state state = { .index = index };
	int ret = cvmm_vhost_ioctl(vhost->fd, request, &state);

	if (ret < 0)
		return ret;
	*ret_num = state.num;
	return 0;
}

/* An ioctl that binds a descriptor to a queue. */
static inline int vhost_vring_bind(const struct cvmm_vhost *vhost, unsigned long request,
				   uint32_t index, int fd)
{
	struct vhost_vring_file file = { .index = index, .fd = fd };

	return cvmm_vhost_ioctl(vhost->fd, request, &file);
}

/**
 * struct vhost_region - memory of a guest, as the kernel is to know it
 */
struct vhost_region {
	uint64_t gpa;
	uint64_t len_bytes;
	uint8_t *host;
	enum cvmm_access access;
};

/*
 * The regions of a map, those that touch in guest and host and have the same rights as one. @regions: room
 * for CVMM_MEM_REGIONS_MAX. Return: 0; -EINVAL behind an IOMMU; -ENOTSUP for memory that is mapped on
 * demand; with a message.
 */
int vhost_regions_of(const struct cvmm_mem *mem, struct vhost_region *regions, size_t *ret_count,
		     struct cvmm_error *err);

#endif /* CVMM_VHOST_INTERNAL_H */
