/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * <linux/vhost.h>, and what that of newer kernels has and that of Linux 6.1 lacks. The structs have
 * names of our own, so that both can be there. Source of each: include/uapi/linux/vhost.h and
 * vhost_types.h of the kernel version named.
 */
#ifndef CVMM_VHOST_UAPI_H
#define CVMM_VHOST_UAPI_H

#include <stddef.h>
#include <stdint.h>

/* <linux/virtio_ring.h>, which comes along, has functions of old that are not C++. */
#if defined(__cplusplus) && !defined(VIRTIO_RING_NO_LEGACY)
#define VIRTIO_RING_NO_LEGACY
#endif
#include <linux/vhost.h>

#include <cvmm/base.h>

/* What our code relies on of the structs that are in every header. */
CVMM_STATIC_ASSERT(sizeof(struct vhost_vring_state) == 8, "linux/vhost_types.h");
CVMM_STATIC_ASSERT(sizeof(struct vhost_vring_file) == 8, "linux/vhost_types.h");
CVMM_STATIC_ASSERT(sizeof(struct vhost_vring_addr) == 40, "linux/vhost_types.h");
CVMM_STATIC_ASSERT(sizeof(struct vhost_memory_region) == 32, "linux/vhost_types.h");
CVMM_STATIC_ASSERT(offsetof(struct vhost_memory, regions) == 8, "linux/vhost_types.h");
CVMM_STATIC_ASSERT(sizeof(struct vhost_scsi_target) == 232, "linux/vhost_types.h");
CVMM_STATIC_ASSERT(offsetof(struct vhost_vdpa_config, buf) == 8, "linux/vhost_types.h");
CVMM_STATIC_ASSERT(sizeof(struct vhost_vdpa_iova_range) == 16, "linux/vhost_types.h");
CVMM_STATIC_ASSERT(sizeof(struct vhost_msg_v2) == 72, "linux/vhost_types.h");
CVMM_STATIC_ASSERT(offsetof(struct vhost_msg_v2, iotlb) == 8, "linux/vhost_types.h");
CVMM_STATIC_ASSERT(sizeof(struct vhost_msg) <= sizeof(struct vhost_msg_v2), "linux/vhost_types.h");
CVMM_STATIC_ASSERT(offsetof(struct vhost_iotlb_msg, type) == 25, "linux/vhost_types.h");

/* Numbers of bits of the backend features; Linux 6.3, 6.6, 6.7 and 6.7. */
#ifndef VHOST_BACKEND_F_RESUME
#define VHOST_BACKEND_F_RESUME 0x5
#endif
#ifndef VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK
#define VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK 0x6
#endif
#ifndef VHOST_BACKEND_F_DESC_ASID
#define VHOST_BACKEND_F_DESC_ASID 0x7
#endif
#ifndef VHOST_BACKEND_F_IOTLB_PERSIST
#define VHOST_BACKEND_F_IOTLB_PERSIST 0x8
#endif

/* Linux 6.17, and long-term kernels from 6.12 on. */
#ifndef VHOST_FORK_OWNER_KTHREAD
#define VHOST_FORK_OWNER_KTHREAD 0
#endif
#ifndef VHOST_FORK_OWNER_TASK
#define VHOST_FORK_OWNER_TASK 1
#endif

/* struct vhost_worker_state, Linux 6.5 */
struct cvmm_vhost_worker_state {
	uint32_t worker_id;
};

CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_worker_state) == 4, "linux/vhost_types.h, 6.5");

/* struct vhost_vring_worker, Linux 6.5 */
struct cvmm_vhost_vring_worker {
	uint32_t index;
	uint32_t worker_id;
};

CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_vring_worker) == 8, "linux/vhost_types.h, 6.5");
CVMM_STATIC_ASSERT(offsetof(struct cvmm_vhost_vring_worker, worker_id) == 4,
		   "linux/vhost_types.h, 6.5");

/* struct vhost_features_array, Linux 6.17: @count words follow. */
struct cvmm_vhost_features_array {
	uint64_t count;
};

CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_features_array) == 8, "linux/vhost_types.h, 6.17");

/* Linux 6.5 */
#define CVMM_VHOST_NEW_WORKER _IOR(VHOST_VIRTIO, 0x08, struct cvmm_vhost_worker_state)
#define CVMM_VHOST_FREE_WORKER _IOW(VHOST_VIRTIO, 0x09, struct cvmm_vhost_worker_state)
#define CVMM_VHOST_ATTACH_VRING_WORKER _IOW(VHOST_VIRTIO, 0x15, struct cvmm_vhost_vring_worker)
#define CVMM_VHOST_GET_VRING_WORKER _IOWR(VHOST_VIRTIO, 0x16, struct cvmm_vhost_vring_worker)
/* Linux 6.3 */
#define CVMM_VHOST_VDPA_RESUME _IO(VHOST_VIRTIO, 0x7e)
/* Linux 6.7 */
#define CVMM_VHOST_VDPA_GET_VRING_DESC_GROUP _IOWR(VHOST_VIRTIO, 0x7f, struct vhost_vring_state)
/* Linux 6.9 */
#define CVMM_VHOST_VDPA_GET_VRING_SIZE _IOWR(VHOST_VIRTIO, 0x82, struct vhost_vring_state)
/* Linux 6.17 */
#define CVMM_VHOST_GET_FEATURES_ARRAY _IOR(VHOST_VIRTIO, 0x83, struct cvmm_vhost_features_array)
#define CVMM_VHOST_SET_FEATURES_ARRAY _IOW(VHOST_VIRTIO, 0x83, struct cvmm_vhost_features_array)
#define CVMM_VHOST_SET_FORK_FROM_OWNER _IOW(VHOST_VIRTIO, 0x84, uint8_t)
#define CVMM_VHOST_GET_FORK_FROM_OWNER _IOR(VHOST_VIRTIO, 0x85, uint8_t)

/* Where the build host's header has them, it must agree: the numbers carry the structs' sizes. */
#ifdef VHOST_NEW_WORKER
CVMM_STATIC_ASSERT(VHOST_NEW_WORKER == CVMM_VHOST_NEW_WORKER, "linux/vhost.h");
CVMM_STATIC_ASSERT(VHOST_FREE_WORKER == CVMM_VHOST_FREE_WORKER, "linux/vhost.h");
CVMM_STATIC_ASSERT(VHOST_ATTACH_VRING_WORKER == CVMM_VHOST_ATTACH_VRING_WORKER, "linux/vhost.h");
CVMM_STATIC_ASSERT(VHOST_GET_VRING_WORKER == CVMM_VHOST_GET_VRING_WORKER, "linux/vhost.h");
CVMM_STATIC_ASSERT(offsetof(struct vhost_vring_worker, worker_id) ==
			   offsetof(struct cvmm_vhost_vring_worker, worker_id),
		   "linux/vhost_types.h");
#endif
#ifdef VHOST_VDPA_RESUME
CVMM_STATIC_ASSERT(VHOST_VDPA_RESUME == CVMM_VHOST_VDPA_RESUME, "linux/vhost.h");
#endif
#ifdef VHOST_VDPA_GET_VRING_DESC_GROUP
CVMM_STATIC_ASSERT(VHOST_VDPA_GET_VRING_DESC_GROUP == CVMM_VHOST_VDPA_GET_VRING_DESC_GROUP,
		   "linux/vhost.h");
#endif
#ifdef VHOST_VDPA_GET_VRING_SIZE
CVMM_STATIC_ASSERT(VHOST_VDPA_GET_VRING_SIZE == CVMM_VHOST_VDPA_GET_VRING_SIZE, "linux/vhost.h");
#endif
#ifdef VHOST_GET_FEATURES_ARRAY
CVMM_STATIC_ASSERT(VHOST_GET_FEATURES_ARRAY == CVMM_VHOST_GET_FEATURES_ARRAY, "linux/vhost.h");
CVMM_STATIC_ASSERT(VHOST_SET_FEATURES_ARRAY == CVMM_VHOST_SET_FEATURES_ARRAY, "linux/vhost.h");
CVMM_STATIC_ASSERT(offsetof(struct vhost_features_array, features) ==
			   sizeof(struct cvmm_vhost_features_array),
		   "linux/vhost_types.h");
#endif
#ifdef VHOST_SET_FORK_FROM_OWNER
CVMM_STATIC_ASSERT(VHOST_SET_FORK_FROM_OWNER == CVMM_VHOST_SET_FORK_FROM_OWNER, "linux/vhost.h");
CVMM_STATIC_ASSERT(VHOST_GET_FORK_FROM_OWNER == CVMM_VHOST_GET_FORK_FROM_OWNER, "linux/vhost.h");
#endif

#endif /* CVMM_VHOST_UAPI_H */
