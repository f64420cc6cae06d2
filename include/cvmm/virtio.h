/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm virtio: the contract between a device core and whatever carries it, and the virtio-mmio
 * (version 2) transport.
 *
 * A device core is a const ops table and a state struct. It sees a host interface and does not know
 * whether a register file, a PCI function or a vhost-user connection is behind it.
 *
 * Threads: all operations of a device run on the thread that owns its event loop, except for those
 * whose comment says otherwise. A transport takes care of that.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_VIRTIO_H
#define CVMM_VIRTIO_H

#include <pthread.h>

#include <cvmm/event.h>
#include <cvmm/mem.h>
#include <cvmm/virtq.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Device status bits, VIRTIO 1.3, 2.1. */
#define CVMM_VIRTIO_STATUS_ACKNOWLEDGE 1U
#define CVMM_VIRTIO_STATUS_DRIVER 2U
#define CVMM_VIRTIO_STATUS_DRIVER_OK 4U
#define CVMM_VIRTIO_STATUS_FEATURES_OK 8U
#define CVMM_VIRTIO_STATUS_NEEDS_RESET 64U
#define CVMM_VIRTIO_STATUS_FAILED 128U

/* Feature bit numbers that belong to rings and transports, VIRTIO 1.3, 6. */
#define CVMM_VIRTIO_F_INDIRECT_DESC 28
#define CVMM_VIRTIO_F_EVENT_IDX 29
#define CVMM_VIRTIO_F_VERSION_1 32
#define CVMM_VIRTIO_F_ACCESS_PLATFORM 33
#define CVMM_VIRTIO_F_RING_PACKED 34
#define CVMM_VIRTIO_F_IN_ORDER 35
#define CVMM_VIRTIO_F_ORDER_PLATFORM 36
#define CVMM_VIRTIO_F_SR_IOV 37
#define CVMM_VIRTIO_F_NOTIFICATION_DATA 38
#define CVMM_VIRTIO_F_NOTIF_CONFIG_DATA 39
#define CVMM_VIRTIO_F_RING_RESET 40

#define CVMM_VIRTIO_FEATURE(bit) (UINT64_C(1) << (bit))

/* Device ids, VIRTIO 1.3, 5. */
#define CVMM_VIRTIO_ID_NET 1
#define CVMM_VIRTIO_ID_BLOCK 2
#define CVMM_VIRTIO_ID_CONSOLE 3
#define CVMM_VIRTIO_ID_ENTROPY 4
#define CVMM_VIRTIO_ID_SCSI 8
#define CVMM_VIRTIO_ID_9P 9
#define CVMM_VIRTIO_ID_GPU 16
#define CVMM_VIRTIO_ID_INPUT 18
#define CVMM_VIRTIO_ID_VSOCK 19
#define CVMM_VIRTIO_ID_CRYPTO 20
#define CVMM_VIRTIO_ID_SOUND 25
#define CVMM_VIRTIO_ID_FS 26
#define CVMM_VIRTIO_ID_RPMB 28
#define CVMM_VIRTIO_ID_SCMI 32
#define CVMM_VIRTIO_ID_I2C 34
#define CVMM_VIRTIO_ID_CAN 36
#define CVMM_VIRTIO_ID_GPIO 41

#define CVMM_VIRTIO_QUEUES_MAX 64
#define CVMM_VIRTIO_CONFIG_BYTES_MAX 256

/* ---- configuration space --------------------------------------------------------------------- */

/**
 * struct cvmm_virtio_config_space - a device's configuration bytes, readable from any thread
 *
 * Every device embeds one; transports read it on vCPU threads while the device changes it on the
 * loop. The generation changes with every update, so that a driver can see that two reads belong
 * together (VIRTIO 1.3, 2.5.1).
 */
struct cvmm_virtio_config_space {
	pthread_mutex_t lock; /* a leaf: nothing is called while it is held */
	uint32_t generation;
	uint32_t len_bytes;
	uint8_t bytes[CVMM_VIRTIO_CONFIG_BYTES_MAX];
};

/*
 * Begin with @len_bytes bytes, at most CVMM_VIRTIO_CONFIG_BYTES_MAX. Return: 0, -EINVAL or negative errno. Pair
 * with fini, which nobody may race.
 */
CVMM_API int cvmm_virtio_config_space_init(struct cvmm_virtio_config_space *space,
					   const void *bytes, size_t len_bytes);
CVMM_API void cvmm_virtio_config_space_fini(struct cvmm_virtio_config_space *space);

/* Change bytes and the generation. The device then calls its host's config_changed(). Any
 * thread. */
CVMM_API void cvmm_virtio_config_space_update(struct cvmm_virtio_config_space *space, size_t offset,
					      const void *bytes, size_t len_bytes);

/* Copy out; bytes beyond the space read as 0. Any thread. */
CVMM_API void cvmm_virtio_config_space_read(struct cvmm_virtio_config_space *space, size_t offset,
					    void *dst, size_t len_bytes);
CVMM_API uint32_t cvmm_virtio_config_space_generation(struct cvmm_virtio_config_space *space);

/* ---- what a device sees of its host ---------------------------------------------------------- */

struct cvmm_virtio_host;

/* Implemented by transports. A device may call these from its loop thread only. */
struct cvmm_virtio_host_ops {
	size_t size; /* of this struct, for growth at its end */
	/* Send a used buffer notification for a queue. */
	void (*notify)(struct cvmm_virtio_host *host, unsigned int queue);
	/* Tell the driver that the configuration space changed. */
	void (*config_changed)(struct cvmm_virtio_host *host);
	/* A queue is broken or the device cannot go on: set NEEDS_RESET and tell the driver. */
	void (*needs_reset)(struct cvmm_virtio_host *host);
	/* Optional: give the device the notifier that a queue's kicks come through, to wait for it
	 * itself, or to pass it on to whoever serves the queue. From now until stop returns, kick() is not
	 * called for that queue. Return: the notifier, valid as long, or NULL if there is none. */
	const struct cvmm_notifier *(*take_kick)(struct cvmm_virtio_host *host, unsigned int queue);
};

struct cvmm_virtio_host {
	const struct cvmm_virtio_host_ops *ops;
	const struct cvmm_log *log; /* may be NULL */
};

/* ---- what a host sees of a device ------------------------------------------------------------ */

/**
 * struct cvmm_virtio_start - what a device gets when the driver is ready
 * @host: for notifications; valid until stop returns
 * @loop: the loop that the device runs on
 * @mem: the guest's memory; the device needs no reference of its own while it is started
 * @queues: @queue_count queues, started where the driver enabled them (see cvmm_virtq_is_started())
 * @features: what was negotiated
 */
struct cvmm_virtio_start {
	struct cvmm_virtio_host *host;
	struct cvmm_loop *loop;
	struct cvmm_mem *mem;
	struct cvmm_virtq *queues;
	unsigned int queue_count;
	uint64_t features;
};

/**
 * struct cvmm_virtio_device_ops - a device core
 *
 * Optional operations may be NULL.
 */
struct cvmm_virtio_device_ops {
	size_t size;	    /* of this struct, for growth at its end */
	const char *name;   /* for logs, e.g. "blk" */
	uint32_t device_id; /* VIRTIO 1.3, 5 */

	/* Identity; constant after creation, any thread. */
	unsigned int (*queue_count)(void *dev);
	uint16_t (*queue_size_max)(void *dev, unsigned int queue);
	/* Device-specific feature bits (0–23, 50–127). The transport adds those of rings and
	 * transports. */
	uint64_t (*features)(void *dev);
	struct cvmm_virtio_config_space *(*config_space)(void *dev);

	/* The driver set DRIVER_OK. An error makes the transport set NEEDS_RESET. */
	int (*start)(void *dev, const struct cvmm_virtio_start *start, struct cvmm_error *err);
	/* The driver made buffers available in a queue. Also called once for every queue after
	 * start. */
	void (*kick)(void *dev, unsigned int queue);
	/* Let go of the queues: after return the device touches neither them nor guest memory. What
	 * is in flight is completed or dropped (the driver has reset the device, or the machine
	 * stops). */
	void (*stop)(void *dev);
	/* Optional: one queue was reset (RING_RESET) or enabled again while the device runs. Around
	 * them as around stop and start: after queue_stop the device touches nothing of the queue;
	 * after queue_start comes a kick. Without queue_stop, RING_RESET is not offered. */
	void (*queue_stop)(void *dev, unsigned int queue);
	void (*queue_start)(void *dev, unsigned int queue);
	/* Optional: the driver wrote configuration space bytes, which lie inside the space but are
	 * not yet in it. Also while the device is not started. */
	void (*config_written)(void *dev, size_t offset, const void *bytes, size_t len_bytes);
	/* Optional: as queue_stop, but at once: what is in flight is given up, and stays in flight for
	 * whoever has the queue next. */
	void (*queue_suspend)(void *dev, unsigned int queue);
	/* Optional, both or neither: what the device knows besides its queues and configuration, for
	 * the same device elsewhere. Only while the device is stopped. save() makes a block for the
	 * caller to free(); load() gets bytes that may come from anywhere, checks them all, and
	 * changes nothing if they are wrong. Return: 0 or negative errno. */
	int (*save)(void *dev, void **ret_bytes, size_t *ret_len_bytes);
	int (*load)(void *dev, const void *bytes, size_t len_bytes, struct cvmm_error *err);
	/* Optional: of the features of rings that this device can have (CVMM_VIRTIO_RING_FEATURES_ALL),
	 * for those whose queues are served by somebody else; constant after creation, any thread. NULL:
	 * all of them. */
	uint64_t (*ring_features)(void *dev);
};

/* ---- virtio-mmio, version 2 (VIRTIO 1.3, 4.2) ----------------------------------------------- */

#define CVMM_VIRTIO_MMIO_LEN_BYTES 0x1000
#define CVMM_VIRTIO_MMIO_QUEUE_NOTIFY 0x050 /* register for ioeventfd: 32 bits, datamatch = queue */

/*
 * Features of rings and of the transport that a transport may offer for any device. The first two are
 * offered unless they are withheld, the others only where they are asked for.
 */
#define CVMM_VIRTIO_RING_FEATURES_DEFAULT                   \
	(CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_INDIRECT_DESC) | \
	 CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_EVENT_IDX))
#define CVMM_VIRTIO_RING_FEATURES_ALL                                                         \
	(CVMM_VIRTIO_RING_FEATURES_DEFAULT | CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_RING_PACKED) | \
	 CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_IN_ORDER) |                                        \
	 CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_NOTIFICATION_DATA))

/**
 * struct cvmm_virtio_mmio_config - what a virtio-mmio transport needs
 * @ops: the device core
 * @dev: its state; must outlive the transport
 * @space: the guest's memory
 * @loop: owner of the device; must outlive the transport
 * @interrupt: raise the transport's interrupt (edge); called on any thread, must not block
 * @interrupt_ctx: passed to @interrupt
 * @offer: of CVMM_VIRTIO_RING_FEATURES_ALL, what to offer besides the default. With NOTIFICATION_DATA
 *         kicks are values that ioeventfds do not match: they come through cvmm_virtio_mmio_write().
 * @withhold: of CVMM_VIRTIO_RING_FEATURES_DEFAULT, what not to offer
 */
struct cvmm_virtio_mmio_config {
	const struct cvmm_virtio_device_ops *ops;
	void *dev;
	struct cvmm_mem_space *space;
	struct cvmm_loop *loop;
	void (*interrupt)(void *ctx);
	void *interrupt_ctx;
	const struct cvmm_log *log;
	uint64_t offer;
	uint64_t withhold;
};

struct cvmm_virtio_mmio;

/* Context: owner of the loop. */
CVMM_API int cvmm_virtio_mmio_create(const struct cvmm_virtio_mmio_config *config,
				     struct cvmm_virtio_mmio **ret_mmio, struct cvmm_error *err);
/* Stops the device if it runs. Context: owner of the loop, no vCPU may still access it. NULL
 * allowed. */
CVMM_API void cvmm_virtio_mmio_destroy(struct cvmm_virtio_mmio *mmio);

/**
 * cvmm_virtio_mmio_read() - a guest's load from the register file
 * @offset: from the start of the register file (guest-controlled)
 * @len_bytes: 1, 2, 4 or 8 (guest-controlled)
 *
 * What the specification does not allow reads as 0. Context: any thread (a vCPU's) but the loop's.
 */
CVMM_API void cvmm_virtio_mmio_read(struct cvmm_virtio_mmio *mmio, uint64_t offset, void *data,
				    unsigned int len_bytes);

/* A guest's store. May wait for the loop thread (device start, reset). */
CVMM_API void cvmm_virtio_mmio_write(struct cvmm_virtio_mmio *mmio, uint64_t offset,
				     const void *data, unsigned int len_bytes);

/*
 * The notifier that stands for a kick of a queue: register its read_fd as an ioeventfd on
 * QUEUE_NOTIFY, or let guest stores reach cvmm_virtio_mmio_write(). NULL beyond the last queue.
 */
CVMM_API const struct cvmm_notifier *cvmm_virtio_mmio_kick_notifier(struct cvmm_virtio_mmio *mmio,
								    unsigned int queue);

/* The device's status register, for tests and diagnosis. Any thread. */
CVMM_API uint8_t cvmm_virtio_mmio_status(struct cvmm_virtio_mmio *mmio);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_VIRTIO_H */
