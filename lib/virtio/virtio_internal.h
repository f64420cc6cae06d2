/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_VIRTIO_INTERNAL_H
#define CVMM_VIRTIO_INTERNAL_H

#include <stdatomic.h>

#include <cvmm/virtio.h>

/* Registers of virtio-mmio version 2; VIRTIO 1.3, 4.2.2. */
enum mmio_register {
	MMIO_MAGIC_VALUE = 0x000,
	MMIO_VERSION = 0x004,
	MMIO_DEVICE_ID = 0x008,
	MMIO_VENDOR_ID = 0x00c,
	MMIO_DEVICE_FEATURES = 0x010,
	MMIO_DEVICE_FEATURES_SEL = 0x014,
	MMIO_DRIVER_FEATURES = 0x020,
	MMIO_DRIVER_FEATURES_SEL = 0x024,
	MMIO_QUEUE_SEL = 0x030,
	MMIO_QUEUE_NUM_MAX = 0x034,
	MMIO_QUEUE_NUM = 0x038,
	MMIO_QUEUE_READY = 0x044,
	MMIO_QUEUE_NOTIFY = CVMM_VIRTIO_MMIO_QUEUE_NOTIFY,
	MMIO_INTERRUPT_STATUS = 0x060,
	MMIO_INTERRUPT_ACK = 0x064,
	MMIO_STATUS = 0x070,
	MMIO_QUEUE_DESC_LOW = 0x080,
	MMIO_QUEUE_DESC_HIGH = 0x084,
	MMIO_QUEUE_DRIVER_LOW = 0x090,
	MMIO_QUEUE_DRIVER_HIGH = 0x094,
	MMIO_QUEUE_DEVICE_LOW = 0x0a0,
	MMIO_QUEUE_DEVICE_HIGH = 0x0a4,
	MMIO_SHM_SEL = 0x0ac,
	MMIO_SHM_LEN_LOW = 0x0b0,
	MMIO_SHM_LEN_HIGH = 0x0b4,
	MMIO_SHM_BASE_LOW = 0x0b8,
	MMIO_SHM_BASE_HIGH = 0x0bc,
	MMIO_QUEUE_RESET = 0x0c0,
	MMIO_CONFIG_GENERATION = 0x0fc,
	MMIO_CONFIG = 0x100,
};

#define MMIO_MAGIC 0x74726976U /* "virt" */
#define MMIO_VERSION_2 2U
#define MMIO_VENDOR 0x6d6d7663U /* "cvmm" */
#define MMIO_SHM_ABSENT UINT32_MAX

#define MMIO_INT_USED_BUFFER 1U
#define MMIO_INT_CONFIG_CHANGE 2U

/* Windows of 32 feature bits that the driver may write; only the first two can be offered. */
#define MMIO_FEATURE_WINDOWS 4U

/* One queue's registers, guarded by the transport's lock. */
struct mmio_queue_regs {
	uint32_t num;
	uint64_t desc;
	uint64_t driver;
	uint64_t device;
	bool ready;
};

struct mmio_kick {
	struct cvmm_virtio_mmio *mmio;
	unsigned int queue;
	struct cvmm_notifier notifier; /* constant after creation */
	struct cvmm_source *source;    /* loop only, while the device runs and has not taken it */
};

/*
 * Three kinds of state. What vCPU threads write is guarded by `lock`. What the loop thread writes
 * while the device runs belongs to the loop. What both need is atomic, because the loop must never
 * take `lock`: a vCPU thread may hold it while it waits for the loop.
 */
struct cvmm_virtio_mmio {
	/* constant after creation */
	struct cvmm_virtio_mmio_config config;
	struct cvmm_virtio_config_space *space;
	uint64_t offered;
	unsigned int queue_count;
	struct cvmm_virtio_host host;
	struct cvmm_log log; /* the host's, or silence */

	/* atomic */
	atomic_uint status; /* without NEEDS_RESET; written with the lock held */
	atomic_uint interrupt_status;
	atomic_bool needs_reset;

	/* guarded by lock */
	pthread_mutex_t lock;
	struct cvmm_log_limit log_limit;
	uint32_t device_features_sel;
	uint32_t driver_features_sel;
	uint32_t driver_features[MMIO_FEATURE_WINDOWS];
	bool driver_features_bad; /* a bit beyond the windows was accepted */
	uint32_t queue_sel;
	bool running; /* the device was started and not stopped */
	struct mmio_queue_regs regs[CVMM_VIRTIO_QUEUES_MAX];

	/* loop; also read by the vCPU thread that waits for the loop */
	struct cvmm_mem *mem;
	struct cvmm_virtq queues[CVMM_VIRTIO_QUEUES_MAX];
	struct mmio_kick kicks[CVMM_VIRTIO_QUEUES_MAX];
};

/* The loop's side, virtio_mmio_device.c. Each is called with the lock held and waits for the
 * loop. */
int mmio_device_start(struct cvmm_virtio_mmio *mmio);
void mmio_device_stop(struct cvmm_virtio_mmio *mmio);
int mmio_queue_start(struct cvmm_virtio_mmio *mmio, unsigned int queue);
void mmio_queue_stop(struct cvmm_virtio_mmio *mmio, unsigned int queue);
void mmio_config_write(struct cvmm_virtio_mmio *mmio, size_t offset, const void *bytes,
		       size_t len_bytes);

/* As mmio_device_stop(), for a caller that owns the loop. */
void mmio_device_stop_on_loop(struct cvmm_virtio_mmio *mmio);

/* Set NEEDS_RESET and tell the driver, once. Any thread. */
void mmio_set_needs_reset(struct cvmm_virtio_mmio *mmio);

extern const struct cvmm_virtio_host_ops mmio_host_ops;

/* What the driver accepted. */
static inline uint64_t mmio_negotiated(const struct cvmm_virtio_mmio *mmio)
{
	return mmio->driver_features[0] | (uint64_t)mmio->driver_features[1] << 32;
}

static inline bool mmio_has_feature(const struct cvmm_virtio_mmio *mmio, unsigned int bit)
{
	return mmio_negotiated(mmio) & CVMM_VIRTIO_FEATURE(bit);
}

#endif /* CVMM_VIRTIO_INTERNAL_H */
