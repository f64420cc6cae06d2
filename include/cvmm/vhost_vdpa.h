/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm vhost: vDPA devices: hardware, or a stand-in for it, whose data path is virtio.
 *
 * A device of kind CVMM_VHOST_VDPA has all of <cvmm/vhost.h> but memory table and log, and what is
 * here besides. It sees I/O virtual addresses only: memory is mapped for it, in one or more
 * address spaces, each for a group of queues.
 *
 * The usual order: open, set owner, backend features; status ACKNOWLEDGE, DRIVER; features, status
 * FEATURES_OK; map memory; queues; status DRIVER_OK.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_VHOST_VDPA_H
#define CVMM_VHOST_VDPA_H

#include <cvmm/vhost.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the device ------------------------------------------------------------------------------ */

/* VHOST_VDPA_GET_DEVICE_ID: that of virtio: 1 for a network device, 2 for a block device … */
CVMM_API int cvmm_vhost_vdpa_get_device_id(const struct cvmm_vhost *vhost, uint32_t *ret_id);

/* VHOST_VDPA_GET_STATUS. Spec: VIRTIO 1.3, 2.1. */
CVMM_API int cvmm_vhost_vdpa_get_status(const struct cvmm_vhost *vhost, uint8_t *ret_status);
/* VHOST_VDPA_SET_STATUS: 0 resets; -EINVAL if a bit would be taken away otherwise. */
CVMM_API int cvmm_vhost_vdpa_set_status(const struct cvmm_vhost *vhost, uint8_t status);

#define CVMM_VHOST_VDPA_CONFIG_MAX 4096U /* ours; no device's configuration space comes near */

/**
 * cvmm_vhost_vdpa_get_config() - read from the configuration space
 * @offset: in bytes
 * @ret_data: @len_bytes; untouched on failure
 * @len_bytes: 1 to CVMM_VHOST_VDPA_CONFIG_MAX, else -EINVAL
 *
 * VHOST_VDPA_GET_CONFIG. What is not inside of the space is -EINVAL. Spec: VIRTIO 1.3, 2.5.
 */
CVMM_API int cvmm_vhost_vdpa_get_config(const struct cvmm_vhost *vhost, uint32_t offset,
					void *ret_data, uint32_t len_bytes);
/* VHOST_VDPA_SET_CONFIG. As cvmm_vhost_vdpa_get_config(). */
CVMM_API int cvmm_vhost_vdpa_set_config(const struct cvmm_vhost *vhost, uint32_t offset,
					const void *data, uint32_t len_bytes);
/* VHOST_VDPA_GET_CONFIG_SIZE. */
CVMM_API int cvmm_vhost_vdpa_get_config_size(const struct cvmm_vhost *vhost, uint32_t *ret_bytes);

/* VHOST_VDPA_SET_CONFIG_CALL: eventfd for changes of the configuration; or CVMM_VHOST_UNBIND. */
CVMM_API int cvmm_vhost_vdpa_set_config_call(const struct cvmm_vhost *vhost, int fd);

/*
 * VHOST_VDPA_SUSPEND, with VHOST_BACKEND_F_SUSPEND: the device leaves the queues alone when this
 * returns, and keeps its state. -EOPNOTSUPP if it cannot.
 */
CVMM_API int cvmm_vhost_vdpa_suspend(const struct cvmm_vhost *vhost);
/* VHOST_VDPA_RESUME, Linux 6.3, with VHOST_BACKEND_F_RESUME. */
CVMM_API int cvmm_vhost_vdpa_resume(const struct cvmm_vhost *vhost);

/* ---- queues ---------------------------------------------------------------------------------- */

/* VHOST_VDPA_GET_VQS_COUNT. */
CVMM_API int cvmm_vhost_vdpa_get_vqs_count(const struct cvmm_vhost *vhost, uint32_t *ret_count);
/* VHOST_VDPA_GET_VRING_NUM: entries that any queue may have. */
CVMM_API int cvmm_vhost_vdpa_get_vring_num(const struct cvmm_vhost *vhost, uint16_t *ret_num);
/* VHOST_VDPA_GET_VRING_SIZE, Linux 6.9: entries of one queue; -EOPNOTSUPP if the device does not say. */
CVMM_API int cvmm_vhost_vdpa_get_vring_size(const struct cvmm_vhost *vhost, uint32_t index,
					    uint32_t *ret_num);
/* VHOST_VDPA_SET_VRING_ENABLE. cvmm_vhost_queue_start() has done it. */
CVMM_API int cvmm_vhost_vdpa_set_vring_enable(const struct cvmm_vhost *vhost, uint32_t index,
					      bool on);

/* ---- groups of queues, and address spaces ---------------------------------------------------- */

/* VHOST_VDPA_GET_GROUP_NUM, VHOST_VDPA_GET_AS_NUM: how many of each the device has. */
CVMM_API int cvmm_vhost_vdpa_get_group_num(const struct cvmm_vhost *vhost, uint32_t *ret_count);
CVMM_API int cvmm_vhost_vdpa_get_as_num(const struct cvmm_vhost *vhost, uint32_t *ret_count);

/* VHOST_VDPA_GET_VRING_GROUP: the group of a queue; -EOPNOTSUPP if the device has none. */
CVMM_API int cvmm_vhost_vdpa_get_vring_group(const struct cvmm_vhost *vhost, uint32_t index,
					     uint32_t *ret_group);
/* VHOST_VDPA_GET_VRING_DESC_GROUP, Linux 6.7: that of its rings, if it is another one. */
CVMM_API int cvmm_vhost_vdpa_get_vring_desc_group(const struct cvmm_vhost *vhost, uint32_t index,
						  uint32_t *ret_group);
/* VHOST_VDPA_SET_GROUP_ASID: the group's addresses are in this address space from now on. */
CVMM_API int cvmm_vhost_vdpa_set_group_asid(const struct cvmm_vhost *vhost, uint32_t group,
					    uint32_t asid);

/* VHOST_VDPA_GET_IOVA_RANGE: I/O virtual addresses that can be mapped: first and last. */
CVMM_API int cvmm_vhost_vdpa_get_iova_range(const struct cvmm_vhost *vhost,
					    struct vhost_vdpa_iova_range *ret_range);

/**
 * cvmm_vhost_vdpa_dma_map() - let the device use memory of this process
 * @asid: address space; other than 0 only with VHOST_BACKEND_F_IOTLB_ASID
 * @iova: what the device will call it; page-aligned, as is the rest
 * @len_bytes: not 0
 * @host: must stay mapped until it is unmapped for the device, too
 * @access: what the device may do
 *
 * A message, as cvmm_vhost_iotlb_update(): the range must not be mapped. The kernel may want to lock the
 * memory, within RLIMIT_MEMLOCK. Software devices (VDUSE) take shared memory only.
 */
CVMM_API int cvmm_vhost_vdpa_dma_map(const struct cvmm_vhost *vhost, uint32_t asid, uint64_t iova,
				     uint64_t len_bytes, void *host, enum cvmm_access access);
/* The other direction: a message, as cvmm_vhost_iotlb_invalidate(). */
CVMM_API int cvmm_vhost_vdpa_dma_unmap(const struct cvmm_vhost *vhost, uint32_t asid, uint64_t iova,
				       uint64_t len_bytes);

/**
 * cvmm_vhost_vdpa_map_mem() - let the device use all of a guest's memory, at guest-physical addresses
 * @mem: the caller holds a reference until it is unmapped
 *
 * With the rights that each region has; as one batch, with VHOST_BACKEND_F_IOTLB_BATCH.
 *
 * Return: 0; -EINVAL for a map behind an IOMMU; -ENOTSUP for memory that is mapped on demand; -ERANGE
 * for memory outside of the device's I/O virtual addresses; or what the kernel refused; with a message.
 * After a failure nothing of @mem is mapped.
 */
CVMM_API int cvmm_vhost_vdpa_map_mem(const struct cvmm_vhost *vhost, uint32_t asid,
				     const struct cvmm_mem *mem, struct cvmm_error *err);
/* The other direction. Return: 0, or the first error; goes on after it. */
CVMM_API int cvmm_vhost_vdpa_unmap_mem(const struct cvmm_vhost *vhost, uint32_t asid,
				       const struct cvmm_mem *mem);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_VHOST_VDPA_H */
