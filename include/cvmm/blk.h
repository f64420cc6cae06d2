/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm blk: the block device (VIRTIO 1.3, 5.2), on raw image files and block devices.
 *
 * Requests run one after the other on a thread of the device, so that slow storage holds up neither
 * the event loop nor other devices. What goes wrong with the storage fails the request that met it.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_BLK_H
#define CVMM_BLK_H

#include <cvmm/virtio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CVMM_BLK_SECTOR_BYTES 512U
#define CVMM_BLK_QUEUE_SIZE_MAX 256U

/* Length of the identity that the driver can ask for; not NUL-terminated when full. */
#define CVMM_BLK_SERIAL_BYTES 20U

/* Limits that the device offers to the driver. */
#define CVMM_BLK_SEGMENTS_MAX 126U	       /* data pieces of one request */
#define CVMM_BLK_DISCARD_SEGMENTS_MAX 32U      /* ranges of one DISCARD or WRITE_ZEROES request */
#define CVMM_BLK_DISCARD_SECTORS_MAX 0x400000U /* sectors of one such range: 2 GiB */

/**
 * struct cvmm_blk_config - what a block device needs
 * @fd: a regular file or a block device, readable, and writable unless @read_only. The device keeps
 *      a duplicate; the caller may close its own
 * @path: what to call the image in messages, or NULL
 * @read_only: refuse all changes and tell the driver so
 * @write_through: make every write durable before it is completed; otherwise the driver flushes.
 *      Where the driver negotiates CONFIG_WCE it can switch this
 * @no_lock: do not lock the image. By default it is locked (exclusively if writable, else shared)
 *      and creation fails with -EBUSY while another VM uses it
 * @serial: identity to report, at most CVMM_BLK_SERIAL_BYTES characters; NULL for none
 * @block_size_bytes: logical block size to report, a power of two from 512 to 65536; 0: what a
 *      block device says, 512 for a file
 * @log: where messages go, or NULL
 */
struct cvmm_blk_config {
	int fd;
	const char *path;
	bool read_only;
	bool write_through;
	bool no_lock;
	const char *serial;
	uint32_t block_size_bytes;
	const struct cvmm_log *log;
};

struct cvmm_blk;

/**
 * cvmm_blk_create() - make a block device
 * @ret_blk: the device; give it to a transport together with cvmm_blk_ops
 *
 * The size is taken now; a tail shorter than a sector is left out, with a log line. Starts the
 * device's I/O thread, which has all signals blocked.
 *
 * Return: 0; -EINVAL for a descriptor or option that cannot work; -EBUSY if the image is in use by
 * another VM; -ENOMEM, or what a system call failed with; always with a message.
 * Context: any thread. Owner: pair with cvmm_blk_destroy().
 */
CVMM_API int cvmm_blk_create(const struct cvmm_blk_config *config, struct cvmm_blk **ret_blk,
			     struct cvmm_error *err);

/* After the transport that drives the device was destroyed. Ends the thread, unlocks the image.
 * NULL is allowed. */
CVMM_API void cvmm_blk_destroy(struct cvmm_blk *blk);

/* Size in sectors of 512 bytes. Any thread. */
CVMM_API uint64_t cvmm_blk_capacity_sectors(struct cvmm_blk *blk);

/* The device core; its state is a struct cvmm_blk. */
CVMM_API extern const struct cvmm_virtio_device_ops cvmm_blk_ops;

#ifdef __cplusplus
}
#endif

#endif /* CVMM_BLK_H */
