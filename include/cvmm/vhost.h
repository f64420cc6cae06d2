/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm vhost: thin, typed wrappers of the ioctls of Linux vhost (net, vsock, scsi; vDPA is in
 * <cvmm/vhost_vdpa.h>), its IOTLB messages, and the start of a queue with all checks.
 *
 * The kernel serves the queues of a guest: it is told where the guest's memory is, where the rings
 * are in it, and what eventfds stand for kicks and interrupts. Its own structs (<linux/vhost.h>) are
 * used as they are. Each function is one ioctl, of the name that its comment gives, unless the
 * comment says otherwise; and returns 0 or a negative errno. What a kernel does not know is -ENOTTY. Before
 * there is an owner, and for others than the owner, all but the first steps is -EPERM.
 *
 * The usual order: open, set owner, features, backend features, memory table, queues; then what
 * starts the device: cvmm_vhost_net_set_backend(), cvmm_vhost_vsock_set_running(),
 * cvmm_vhost_scsi_set_endpoint(), or the status of a vDPA device.
 *
 * Threads: any thread of the process that is the owner; the kernel locks. Nothing here waits for a
 * guest, but what stops a queue waits for requests that the kernel is about to end.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_VHOST_H
#define CVMM_VHOST_H

#include <cvmm/base.h>
#include <cvmm/mem.h>
#include <cvmm/mem_iotlb.h>
#include <cvmm/vhost_uapi.h>
#include <cvmm/virtq.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- descriptors ----------------------------------------------------------------------------- */

enum cvmm_vhost_kind {
	CVMM_VHOST_NET,
	CVMM_VHOST_VSOCK,
	CVMM_VHOST_SCSI,
	CVMM_VHOST_VDPA,
};

/**
 * struct cvmm_vhost - an open device of the kernel's
 * @fd: from cvmm_vhost_open(), or given by whoever started this program
 * @kind: what kind of device @fd is
 * @backend_features: those that cvmm_vhost_set_backend_features() set: they say which messages the
 *                    kernel understands. To be filled in by whoever fills in @fd.
 */
struct cvmm_vhost {
	int fd;
	enum cvmm_vhost_kind kind;
	uint64_t backend_features;
};

#define CVMM_VHOST_NONE ((struct cvmm_vhost){ -1, CVMM_VHOST_NET, 0 })

/* For eventfds and backends: none. The kernel lets go of the one that it had. */
#define CVMM_VHOST_UNBIND VHOST_FILE_UNBIND

/* Any ioctl, again after a signal. Return: what the ioctl returned, or negative errno. */
CVMM_API int cvmm_vhost_ioctl(int fd, unsigned long request, void *arg);

/**
 * cvmm_vhost_open() - open a device and see that it is one
 * @kind: what @path is
 * @path: NULL for /dev/vhost-net, /dev/vhost-vsock, /dev/vhost-scsi; must be given for vDPA, whose
 *        devices have numbers: /dev/vhost-vdpa-0 …
 *
 * Each opening of net, vsock and scsi is a new device; a vDPA device can be opened once at a time.
 * Reading messages of what was opened here does not block.
 *
 * Return: 0; -ENOENT, -EACCES, -EBUSY …, with a message that says what to do; -ENOTTY for what is no
 * vhost device; -ENOTSUP for another version of vhost-scsi's interface.
 * Owner: pair with cvmm_vhost_close().
 */
CVMM_API int cvmm_vhost_open(struct cvmm_vhost *ret_vhost, enum cvmm_vhost_kind kind,
			     const char *path, struct cvmm_error *err);

/* Stops the device if it runs. What holds nothing may be closed too. */
CVMM_API void cvmm_vhost_close(struct cvmm_vhost *vhost);

/* ---- ownership and features ------------------------------------------------------------------ */

/* VHOST_SET_OWNER: the guest is this process. -EBUSY if the device has an owner. */
CVMM_API int cvmm_vhost_set_owner(const struct cvmm_vhost *vhost);

/* VHOST_RESET_OWNER: no owner, and all as it was after opening. Net only, in today's kernels. */
CVMM_API int cvmm_vhost_reset_owner(struct cvmm_vhost *vhost);

/**
 * cvmm_vhost_set_fork_from_owner() - who the kernel's workers are
 * @mode: VHOST_FORK_OWNER_TASK: tasks that count as this process's; VHOST_FORK_OWNER_KTHREAD: kernel
 *        threads, as before Linux 6.4
 *
 * VHOST_SET_FORK_FROM_OWNER, Linux 6.17; before the owner is set. -ENOTTY where the kernel gives no
 * choice.
 */
CVMM_API int cvmm_vhost_set_fork_from_owner(const struct cvmm_vhost *vhost, uint8_t mode);
/* VHOST_GET_FORK_FROM_OWNER. */
CVMM_API int cvmm_vhost_get_fork_from_owner(const struct cvmm_vhost *vhost, uint8_t *ret_mode);

/* VHOST_GET_FEATURES: those of virtio that the kernel, or the vDPA device, can do; and VHOST_F_... */
CVMM_API int cvmm_vhost_get_features(const struct cvmm_vhost *vhost, uint64_t *ret_features);
/* VHOST_SET_FEATURES: those that the guest took. -EOPNOTSUPP for one that was not offered. */
CVMM_API int cvmm_vhost_set_features(const struct cvmm_vhost *vhost, uint64_t features);

#define CVMM_VHOST_FEATURES_WORDS_MAX 16U /* ours; Linux 6.17 has 2 */

/*
 * VHOST_GET_FEATURES_ARRAY, Linux 6.17: @count words, feature n in bit n % 64 of word n / 64; 0 where
 * the kernel has no so many. -E2BIG for more than CVMM_VHOST_FEATURES_WORDS_MAX, -EINVAL for none.
 */
CVMM_API int cvmm_vhost_get_features_array(const struct cvmm_vhost *vhost, uint64_t *ret_words,
					   size_t count);
/* VHOST_SET_FEATURES_ARRAY. As cvmm_vhost_get_features_array(). */
CVMM_API int cvmm_vhost_set_features_array(const struct cvmm_vhost *vhost, const uint64_t *words,
					   size_t count);

/* VHOST_GET_BACKEND_FEATURES: bits 1 << VHOST_BACKEND_F_... */
CVMM_API int cvmm_vhost_get_backend_features(const struct cvmm_vhost *vhost,
					     uint64_t *ret_features);
/* VHOST_SET_BACKEND_FEATURES; kept in @vhost, too. */
CVMM_API int cvmm_vhost_set_backend_features(struct cvmm_vhost *vhost, uint64_t features);

/* Whether a backend feature, VHOST_BACKEND_F_..., was set. */
static inline bool cvmm_vhost_has_backend_feature(const struct cvmm_vhost *vhost, unsigned int bit)
{
	return vhost->backend_features >> bit & 1;
}

/* ---- memory of the guest, and the log of writes to it ---------------------------------------- */

/**
 * cvmm_vhost_set_mem_table() - tell where guest memory is in this process
 * @mem: the caller holds a reference for as long as the device runs
 *
 * VHOST_SET_MEM_TABLE. Regions that touch both in the guest and in the host are told as one. Those
 * that devices must not write to are left out: the table has no rights, and the kernel would write.
 * Writes by the kernel are not marked in @mem's dirty bitmap; see cvmm_vhost_set_log_base().
 *
 * Return: 0; -EINVAL for a map behind an IOMMU; -ENOTSUP for memory that is mapped on demand; -E2BIG
 * for more regions than the kernel takes; with a message.
 */
CVMM_API int cvmm_vhost_set_mem_table(const struct cvmm_vhost *vhost, const struct cvmm_mem *mem,
				      struct cvmm_error *err);

/* Bytes that a log must have for all of @mem: a bit for each VHOST_PAGE_SIZE bytes, from address 0. */
CVMM_API uint64_t cvmm_vhost_log_bytes(const struct cvmm_mem *mem);

/*
 * VHOST_SET_LOG_BASE: where the kernel marks pages that it writes to, while VHOST_F_LOG_ALL is among
 * the features. Not vDPA. Owner: @bitmap, of cvmm_vhost_log_bytes(), must stay mapped.
 */
CVMM_API int cvmm_vhost_set_log_base(const struct cvmm_vhost *vhost, void *bitmap);

/* VHOST_SET_LOG_FD: an eventfd that is signalled when a page is marked; or CVMM_VHOST_UNBIND. */
CVMM_API int cvmm_vhost_set_log_fd(const struct cvmm_vhost *vhost, int fd);

/* ---- queues, ioctl by ioctl ------------------------------------------------------------------ */

/* VHOST_SET_VRING_NUM: how many entries; a power of two. */
CVMM_API int cvmm_vhost_set_vring_num(const struct cvmm_vhost *vhost, uint32_t index, uint32_t num);

/* VHOST_SET_VRING_ADDR: addresses in this process, or I/O virtual ones. */
CVMM_API int cvmm_vhost_set_vring_addr(const struct cvmm_vhost *vhost,
				       const struct vhost_vring_addr *addr);

/* VHOST_SET_VRING_BASE, VHOST_GET_VRING_BASE: see cvmm_vhost_base_encode() for what @num is. */
CVMM_API int cvmm_vhost_set_vring_base(const struct cvmm_vhost *vhost, uint32_t index,
				       uint32_t num);
CVMM_API int cvmm_vhost_get_vring_base(const struct cvmm_vhost *vhost, uint32_t index,
				       uint32_t *ret_num);

/*
 * Where a queue is, as the kernel's number: split: the next available index, and no more: it finds the
 * used one in the ring; packed: places with their wrap counters in bit 15, available in the low half,
 * used in the high one.
 */
CVMM_API uint32_t cvmm_vhost_base_encode(const struct cvmm_virtq_base *base, bool packed);

/*
 * The other direction. Split: next_used is next_avail, which is so once all buffers have come back. Return:
 * 0; -EPROTO for a number that no queue of this kind has: split: above 65535.
 */
CVMM_API int cvmm_vhost_base_decode(uint32_t num, bool packed, struct cvmm_virtq_base *ret_base);

/*
 * VHOST_SET_VRING_KICK, _CALL and _ERR: eventfds: by which the guest says that there are buffers; by
 * which it is told that some came back; for errors. CVMM_VHOST_UNBIND takes the one away that is there.
 * The kernel has its own reference: @fd stays the caller's.
 */
CVMM_API int cvmm_vhost_set_vring_kick(const struct cvmm_vhost *vhost, uint32_t index, int fd);
CVMM_API int cvmm_vhost_set_vring_call(const struct cvmm_vhost *vhost, uint32_t index, int fd);
CVMM_API int cvmm_vhost_set_vring_err(const struct cvmm_vhost *vhost, uint32_t index, int fd);

/*
 * VHOST_SET_VRING_ENDIAN, VHOST_GET_VRING_ENDIAN: byte order of the rings of a guest that has not
 * VIRTIO_F_VERSION_1. -ENOTTY unless the kernel has CONFIG_VHOST_CROSS_ENDIAN_LEGACY.
 */
CVMM_API int cvmm_vhost_set_vring_endian(const struct cvmm_vhost *vhost, uint32_t index,
					 bool is_big);
CVMM_API int cvmm_vhost_get_vring_endian(const struct cvmm_vhost *vhost, uint32_t index,
					 bool *ret_is_big);

/* VHOST_SET_VRING_BUSYLOOP_TIMEOUT, _GET_: how long vhost-net polls before it sleeps; 0 for not. */
CVMM_API int cvmm_vhost_set_vring_busyloop_timeout(const struct cvmm_vhost *vhost, uint32_t index,
						   uint32_t timeout_us);
CVMM_API int cvmm_vhost_get_vring_busyloop_timeout(const struct cvmm_vhost *vhost, uint32_t index,
						   uint32_t *ret_timeout_us);

/*
 * VHOST_NEW_WORKER, Linux 6.5: one more thread of the kernel's that serves queues of this device, which
 * must be vhost-scsi in today's kernels.
 */
CVMM_API int cvmm_vhost_new_worker(const struct cvmm_vhost *vhost, uint32_t *ret_id);
/* VHOST_FREE_WORKER. -EBUSY while queues are attached to it. */
CVMM_API int cvmm_vhost_free_worker(const struct cvmm_vhost *vhost, uint32_t id);
/* VHOST_ATTACH_VRING_WORKER: this worker serves the queue from now on. */
CVMM_API int cvmm_vhost_attach_vring_worker(const struct cvmm_vhost *vhost, uint32_t index,
					    uint32_t id);
/* VHOST_GET_VRING_WORKER. */
CVMM_API int cvmm_vhost_get_vring_worker(const struct cvmm_vhost *vhost, uint32_t index,
					 uint32_t *ret_id);

/* ---- queues, with all checks ----------------------------------------------------------------- */

/**
 * struct cvmm_vhost_queue - a queue to be started
 * @index: its number
 * @max_size: entries that it may have at most; 0 for CVMM_VIRTQ_SIZE_MAX
 * @ring: what the driver configured (guest-controlled)
 * @base: where the queue is in its rings: CVMM_VIRTQ_BASE_START for a new one
 * @log_used: writes to the used ring are logged, too, if anything is
 * @kick_fd: eventfds, or CVMM_VHOST_UNBIND; they stay the caller's
 * @call_fd: as @kick_fd
 * @err_fd: as @kick_fd
 */
struct cvmm_vhost_queue {
	uint32_t index;
	uint32_t max_size;
	struct cvmm_virtq_config ring;
	struct cvmm_virtq_base base;
	bool log_used;
	int kick_fd;
	int call_fd;
	int err_fd;
};

/**
 * cvmm_vhost_queue_check() - check what the driver configured, and translate its addresses
 * @kind: of the device: vDPA wants I/O virtual addresses, the others those of this process
 * @mem: what the addresses are in. Behind an IOMMU they are I/O virtual ones, which are left as they are
 *       for any kind. NULL for I/O virtual addresses that nobody here can look up.
 *
 * Size; alignment; no area may pass 2^64; and unless @mem is NULL or behind an IOMMU, every byte of
 * each area is RAM with the rights that the device needs, and, for others than vDPA, contiguous in
 * the host. Pure.
 *
 * Return: 0; -EINVAL with a message for what is wrong with the driver's configuration; -ENOTSUP for an
 * area that is not contiguous in the host, which the kernel cannot use.
 */
CVMM_API int cvmm_vhost_queue_check(enum cvmm_vhost_kind kind, const struct cvmm_mem *mem,
				    const struct cvmm_vhost_queue *queue,
				    struct vhost_vring_addr *ret_addr, struct cvmm_error *err);

/**
 * cvmm_vhost_queue_start() - check a queue and tell the kernel all about it
 * @mem: as for cvmm_vhost_queue_check()
 *
 * Size, base, addresses, eventfds; the queue of a vDPA device is enabled, too. The features must be set
 * before. Eventfds that were bound before and are not wanted are let go.
 *
 * Return: 0; what cvmm_vhost_queue_check() returns; or what the kernel refused, with a message: -EBUSY
 * for a queue that runs, which goes on as it was. After any other failure none of @queue's eventfds is
 * bound.
 */
CVMM_API int cvmm_vhost_queue_start(const struct cvmm_vhost *vhost, const struct cvmm_mem *mem,
				    const struct cvmm_vhost_queue *queue, struct cvmm_error *err);

/**
 * cvmm_vhost_queue_stop() - take a queue back
 * @mem: as for cvmm_vhost_queue_start(). Split: where next_used is read, as the kernel does not tell it;
 *       NULL: it is next_avail.
 * @queue: as it was started
 * @ret_base: where to go on: cvmm_virtq_start_at() takes it, and so does another start
 *
 * After the device was stopped: no backend, not running, no endpoint, or suspended. All eventfds are
 * let go, whatever fails.
 *
 * Return: 0; -EPROTO if the kernel says a base that this queue cannot have; or negative errno, with a
 * message.
 */
CVMM_API int cvmm_vhost_queue_stop(const struct cvmm_vhost *vhost, const struct cvmm_mem *mem,
				   const struct cvmm_vhost_queue *queue,
				   struct cvmm_virtq_base *ret_base, struct cvmm_error *err);

/* ---- IOTLB messages -------------------------------------------------------------------------- */

/**
 * struct cvmm_vhost_msg - a message, decoded
 * @op: what it says. Of a CVMM_IOTLB_MISS of the kernel's only the start of the range is known: its
 *      first address is the last, too.
 * @asid: number of the address space; 0 unless @is_v2
 * @is_v2: whether it is a struct vhost_msg_v2, or a struct vhost_msg
 */
struct cvmm_vhost_msg {
	struct cvmm_iotlb_op op;
	uint32_t asid;
	bool is_v2;
};

#define CVMM_VHOST_MSG_BYTES ((size_t)72) /* struct vhost_msg_v2; struct vhost_msg is no larger */

/**
 * cvmm_vhost_msg_parse() - decode a message
 * @data: @size bytes, any alignment
 * @size: exactly that of the struct that the message says it is
 *
 * Whether a kind of message may come from this side is for the caller to say. Pure.
 *
 * Return: 0; -EMSGSIZE; -EINVAL for an unknown type, or contents that cvmm_iotlb_msg_parse() refuses;
 * with a message.
 */
CVMM_API int cvmm_vhost_msg_parse(const void *data, size_t size, struct cvmm_vhost_msg *ret_msg,
				  struct cvmm_error *err);

/*
 * The other direction, with padding of zeroes. Return: the message's size; -EINVAL for an address space in
 * what is no struct vhost_msg_v2, or as cvmm_iotlb_msg_format().
 */
CVMM_API int cvmm_vhost_msg_format(const struct cvmm_vhost_msg *msg,
				   uint8_t ret_data[CVMM_VHOST_MSG_BYTES]);

/**
 * cvmm_vhost_msg_read() - the next message of the kernel's
 *
 * With VIRTIO_F_ACCESS_PLATFORM among the features, vhost-net and vhost-vsock ask for translations:
 * CVMM_IOTLB_MISS, to be answered by cvmm_vhost_iotlb_update(). The descriptor polls as readable.
 *
 * Return: 0; -EAGAIN if there is none, unless the descriptor is one that blocks; -EPROTO with a message
 * for one that makes no sense; or negative errno.
 */
CVMM_API int cvmm_vhost_msg_read(const struct cvmm_vhost *vhost, struct cvmm_vhost_msg *ret_msg,
				 struct cvmm_error *err);

/**
 * cvmm_vhost_iotlb_send() - send an operation, in the form that the backend features say
 * @asid: number of the address space
 * @op: CVMM_IOTLB_UPDATE, with an address of this process; _INVALIDATE, _BATCH_BEGIN, _BATCH_END
 *
 * Return: 0; -EINVAL for an operation of another kind, or one that no message can hold; -ENOTSUP for
 * an address space other than 0, or a batch, without the backend feature for it: the kernel would take
 * address space 0 instead. -EFAULT is all that the kernel says about what it refuses.
 */
CVMM_API int cvmm_vhost_iotlb_send(const struct cvmm_vhost *vhost, uint32_t asid,
				   const struct cvmm_iotlb_op *op);

/**
 * cvmm_vhost_iotlb_update() - I/O virtual addresses stand for memory of this process
 * @len_bytes: not 0
 * @host: must stay mapped until the range is invalidated
 *
 * As cvmm_vhost_iotlb_send(); -EINVAL also for a range that ends above 2^64.
 */
CVMM_API int cvmm_vhost_iotlb_update(const struct cvmm_vhost *vhost, uint32_t asid, uint64_t iova,
				     uint64_t len_bytes, void *host, enum cvmm_access access);

/* They no longer do. 0 bytes at address 0 are all addresses. As cvmm_vhost_iotlb_update(). */
CVMM_API int cvmm_vhost_iotlb_invalidate(const struct cvmm_vhost *vhost, uint32_t asid,
					 uint64_t iova, uint64_t len_bytes);

/* vDPA: what is sent in between reaches the device at once, at the end. */
CVMM_API int cvmm_vhost_iotlb_batch_begin(const struct cvmm_vhost *vhost, uint32_t asid);
CVMM_API int cvmm_vhost_iotlb_batch_end(const struct cvmm_vhost *vhost, uint32_t asid);

/* ---- what only one kind has ------------------------------------------------------------------ */

/*
 * VHOST_NET_SET_BACKEND: serve the queue, 0 for what the guest receives and 1 for what it sends, from a
 * tap device or a packet socket; or CVMM_VHOST_UNBIND to stop it. The kernel has its own reference.
 * -EFAULT without a memory table, or for a queue whose rings are not in this process; behind an IOMMU,
 * without a translation of the used ring: this once, it is not asked for.
 */
CVMM_API int cvmm_vhost_net_set_backend(const struct cvmm_vhost *vhost, uint32_t index, int fd);

/* VHOST_VSOCK_SET_GUEST_CID: above 2 and below 2^32 - 1; -EADDRINUSE if another guest has it. */
CVMM_API int cvmm_vhost_vsock_set_guest_cid(const struct cvmm_vhost *vhost, uint64_t cid);
/* VHOST_VSOCK_SET_RUNNING. */
CVMM_API int cvmm_vhost_vsock_set_running(const struct cvmm_vhost *vhost, bool on);

/**
 * cvmm_vhost_scsi_set_endpoint() - serve the queues from a target of the kernel's
 * @wwpn: its name, as in configfs below target/vhost: "naa." and 16 hexadecimal digits
 * @tpgt: ignored by the kernel since version 1 of the interface
 *
 * VHOST_SCSI_SET_ENDPOINT. Return: 0; -ENAMETOOLONG; -ENODEV if there is no such target; -EEXIST if this
 * device has one; -EFAULT without a memory table.
 */
CVMM_API int cvmm_vhost_scsi_set_endpoint(const struct cvmm_vhost *vhost, const char *wwpn,
					  uint16_t tpgt);
/* VHOST_SCSI_CLEAR_ENDPOINT. */
CVMM_API int cvmm_vhost_scsi_clear_endpoint(const struct cvmm_vhost *vhost, const char *wwpn,
					    uint16_t tpgt);
/* VHOST_SCSI_GET_ABI_VERSION. cvmm_vhost_open() has compared it with VHOST_SCSI_ABI_VERSION. */
CVMM_API int cvmm_vhost_scsi_get_abi_version(const struct cvmm_vhost *vhost, int *ret_version);
/* VHOST_SCSI_SET_EVENTS_MISSED, VHOST_SCSI_GET_EVENTS_MISSED: to be saved with the guest. */
CVMM_API int cvmm_vhost_scsi_set_events_missed(const struct cvmm_vhost *vhost, bool missed);
CVMM_API int cvmm_vhost_scsi_get_events_missed(const struct cvmm_vhost *vhost, bool *ret_missed);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_VHOST_H */
