// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * virtio-mmio version 2 (VIRTIO 1.3, 4.2): the register file.
 *
 * Theory of operation: guest accesses arrive on vCPU threads. Identity, interrupt registers and
 * QueueNotify need no lock: what they touch is constant or atomic, so an interrupt handler on one
 * vCPU never waits for a reset on another. Everything else happens under the transport's lock, part
 * of it with the loop's help (virtio_mmio_device.c).
 *
 * A store that the specification forbids in the present state changes nothing and leaves a line in
 * the log; drivers notice by reading back (FEATURES_OK, QueueReady).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "virtio_internal.h"

/* Feature bits 24 to 49 belong to rings and transports, VIRTIO 1.3, 2.2. */
#define RESERVED_FEATURES_FIRST 24
#define RESERVED_FEATURES_END 50
#define RESERVED_FEATURES \
	((UINT64_C(1) << RESERVED_FEATURES_END) - (UINT64_C(1) << RESERVED_FEATURES_FIRST))

#define LOW_HALF UINT64_C(0xffffffff)

static CVMM_PRINTF(2, 3) void complain(struct cvmm_virtio_mmio *mmio, const char *fmt, ...)
{
	char text[128];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	cvmm_log_limited(&mmio->log, &mmio->log_limit, CVMM_LOG_WARN, "virtio-%s: driver %s",
			 mmio->config.ops->name, text);
}

/* ---- creation ------------------------------------------------------------------------------ */

static void reset_queue_regs(struct cvmm_virtio_mmio *mmio, unsigned int queue)
{
	mmio->regs[queue] = (struct mmio_queue_regs){ .num = mmio->queues[queue].max_size };
}

static int init_queues(struct cvmm_virtio_mmio *mmio, struct cvmm_error *err)
{
	const struct cvmm_virtio_device_ops *ops = mmio->config.ops;
	unsigned int count = ops->queue_count(mmio->config.dev);
	int r;

	if (count > CVMM_VIRTIO_QUEUES_MAX)
		return cvmm_fail(err, -EINVAL, "virtio-%s: %u queues, at most %d are supported",
				 ops->name, count, CVMM_VIRTIO_QUEUES_MAX);
	for (unsigned int i = 0; i < count; i++) {
		mmio->kicks[i].mmio = mmio;
		mmio->kicks[i].queue = i;
		mmio->kicks[i].notifier = CVMM_NOTIFIER_NONE;
		r = cvmm_virtq_init(&mmio->queues[i], ops->queue_size_max(mmio->config.dev, i));
		if (r)
			return cvmm_fail(err, r, "virtio-%s: cannot prepare queue %u: %s",
					 ops->name, i, strerror(-r));
		mmio->queue_count = i + 1;
		r = cvmm_notifier_init(&mmio->kicks[i].notifier, CVMM_NOTIFIER_AUTO);
		if (r)
			return cvmm_fail(err, r, "virtio-%s: cannot make a notifier: %s", ops->name,
					 strerror(-r));
		reset_queue_regs(mmio, i);
	}
	return 0;
}

static int check_config(const struct cvmm_virtio_mmio_config *config, struct cvmm_error *err)
{
	if (!config->ops || !config->space || !config->loop || !config->interrupt)
		return cvmm_fail(err, -EINVAL,
				 "virtio-mmio needs a device, memory, a loop and an interrupt");
	if (config->ops->features(config->dev) & RESERVED_FEATURES)
		return cvmm_fail(err, -EINVAL, "virtio-%s offers feature bits of the transport",
				 config->ops->name);
	if ((config->offer | config->withhold) & ~CVMM_VIRTIO_RING_FEATURES_ALL)
		return cvmm_fail(err, -EINVAL, "virtio-%s: feature bits %#llx are not of rings",
				 config->ops->name,
				 (unsigned long long)((config->offer | config->withhold) &
						      ~CVMM_VIRTIO_RING_FEATURES_ALL));
	return 0;
}

/* What kicks carry ends here: that is no matter of the device. */
static uint64_t ring_features_of(const struct cvmm_virtio_mmio_config *config)
{
	uint64_t features = (CVMM_VIRTIO_RING_FEATURES_DEFAULT | config->offer) & ~config->withhold;
	uint64_t possible = UINT64_MAX;

	if (config->ops->ring_features)
		possible = config->ops->ring_features(config->dev) |
			   CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_NOTIFICATION_DATA);
	return features & possible;
}

static uint64_t features_of(const struct cvmm_virtio_mmio_config *config)
{
	uint64_t features = config->ops->features(config->dev) | ring_features_of(config) |
			    CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_VERSION_1);

	/* A queue can be taken from a running device only with the device's help. */
	if (config->ops->queue_stop)
		features |= CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_RING_RESET);
	return features;
}

int cvmm_virtio_mmio_create(const struct cvmm_virtio_mmio_config *config,
			    struct cvmm_virtio_mmio **ret_mmio, struct cvmm_error *err)
{
	struct cvmm_virtio_mmio *mmio;
	int r = check_config(config, err);

	if (r)
		return r;
	mmio = calloc(1, sizeof(*mmio));
	if (!mmio)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	mmio->config = *config;
	mmio->space = config->ops->config_space(config->dev);
	mmio->offered = features_of(config);
	if (config->log)
		mmio->log = *config->log;
	mmio->host.ops = &mmio_host_ops;
	mmio->host.log = config->log;
	r = pthread_mutex_init(&mmio->lock, NULL);
	if (r) {
		free(mmio);
		return cvmm_fail(err, -r, "cannot make a lock: %s", strerror(r));
	}
	r = init_queues(mmio, err);
	if (r) {
		cvmm_virtio_mmio_destroy(mmio);
		return r;
	}
	*ret_mmio = mmio;
	return 0;
}

void cvmm_virtio_mmio_destroy(struct cvmm_virtio_mmio *mmio)
{
	if (!mmio)
		return;
	if (mmio->running)
		mmio_device_stop_on_loop(mmio);
	for (unsigned int i = 0; i < mmio->queue_count; i++) {
		cvmm_notifier_fini(&mmio->kicks[i].notifier);
		cvmm_virtq_fini(&mmio->queues[i]);
	}
	pthread_mutex_destroy(&mmio->lock);
	free(mmio);
}

const struct cvmm_notifier *cvmm_virtio_mmio_kick_notifier(struct cvmm_virtio_mmio *mmio,
							   unsigned int queue)
{
	return queue < mmio->queue_count ? &mmio->kicks[queue].notifier : NULL;
}

uint8_t cvmm_virtio_mmio_status(struct cvmm_virtio_mmio *mmio)
{
	unsigned int status = atomic_load(&mmio->status);

	if (atomic_load(&mmio->needs_reset))
		status |= CVMM_VIRTIO_STATUS_NEEDS_RESET;
	return (uint8_t)status;
}

/* ---- the status machine, VIRTIO 1.3, 2.1 and 3.1.1 ----------------------------------------- */

static bool has_status(struct cvmm_virtio_mmio *mmio, unsigned int bits)
{
	return (atomic_load(&mmio->status) & bits) == bits;
}

static void stop_if_running(struct cvmm_virtio_mmio *mmio)
{
	if (mmio->running)
		mmio_device_stop(mmio);
	mmio->running = false;
}

static void reset(struct cvmm_virtio_mmio *mmio)
{
	stop_if_running(mmio);
	for (unsigned int i = 0; i < mmio->queue_count; i++)
		reset_queue_regs(mmio, i);
	memset(mmio->driver_features, 0, sizeof(mmio->driver_features));
	mmio->driver_features_bad = false;
	mmio->device_features_sel = 0;
	mmio->driver_features_sel = 0;
	mmio->queue_sel = 0;
	atomic_store(&mmio->needs_reset, false);
	atomic_store(&mmio->interrupt_status, 0);
	atomic_store(&mmio->status, 0);
}

static bool features_acceptable(struct cvmm_virtio_mmio *mmio)
{
	uint64_t accepted = mmio_negotiated(mmio);

	if (mmio->driver_features_bad || mmio->driver_features[2] || mmio->driver_features[3] ||
	    accepted & ~mmio->offered) {
		complain(mmio, "accepted features that were not offered: %#llx",
			 (unsigned long long)(accepted & ~mmio->offered));
		return false;
	}
	if (!mmio_has_feature(mmio, CVMM_VIRTIO_F_VERSION_1)) {
		complain(mmio, "did not accept VERSION_1; legacy drivers are not supported");
		return false;
	}
	return true;
}

/* Take one more status bit, whose predecessors are set. Return: whether it is set now. */
static bool take_status_bit(struct cvmm_virtio_mmio *mmio, unsigned int bit)
{
	if (bit == CVMM_VIRTIO_STATUS_FEATURES_OK && !features_acceptable(mmio))
		return false;
	atomic_fetch_or(&mmio->status, bit);
	if (bit == CVMM_VIRTIO_STATUS_DRIVER_OK) {
		if (mmio_device_start(mmio))
			mmio_set_needs_reset(mmio);
		else
			mmio->running = true;
	}
	return true;
}

static void write_status(struct cvmm_virtio_mmio *mmio, uint32_t value)
{
	static const unsigned int order[] = {
		CVMM_VIRTIO_STATUS_ACKNOWLEDGE,
		CVMM_VIRTIO_STATUS_DRIVER,
		CVMM_VIRTIO_STATUS_FEATURES_OK,
		CVMM_VIRTIO_STATUS_DRIVER_OK,
	};
	unsigned int status = atomic_load(&mmio->status);
	size_t i;

	if (!value) {
		reset(mmio);
		return;
	}
	if (status & CVMM_VIRTIO_STATUS_FAILED)
		return; /* only a reset leads out */
	if (value & CVMM_VIRTIO_STATUS_FAILED) {
		/* The driver gave up: nobody expects writes to its memory any more. */
		stop_if_running(mmio);
		atomic_fetch_or(&mmio->status, CVMM_VIRTIO_STATUS_FAILED);
		return;
	}
	if (status & ~value) {
		complain(mmio, "cleared status bits %#x without a reset", status & ~value);
		return;
	}
	for (i = 0; i < CVMM_ARRAY_SIZE(order); i++) {
		if (!(value & order[i]))
			break;
		if (!(status & order[i]) && !take_status_bit(mmio, order[i]))
			return;
	}
	for (; i < CVMM_ARRAY_SIZE(order); i++) {
		if (value & order[i]) {
			complain(mmio, "set status %#x out of order", value);
			return;
		}
	}
}

/* ---- features ------------------------------------------------------------------------------ */

static uint32_t read_device_features(struct cvmm_virtio_mmio *mmio)
{
	switch (mmio->device_features_sel) {
	case 0:
		return (uint32_t)mmio->offered;
	case 1:
		return (uint32_t)(mmio->offered >> 32);
	default:
		return 0;
	}
}

static void write_driver_features(struct cvmm_virtio_mmio *mmio, uint32_t value)
{
	if (!has_status(mmio, CVMM_VIRTIO_STATUS_DRIVER) ||
	    has_status(mmio, CVMM_VIRTIO_STATUS_FEATURES_OK))
		complain(mmio, "wrote features in status %#x", atomic_load(&mmio->status));
	else if (mmio->driver_features_sel < MMIO_FEATURE_WINDOWS)
		mmio->driver_features[mmio->driver_features_sel] = value;
	else if (value)
		mmio->driver_features_bad = true;
}

/* ---- queues -------------------------------------------------------------------------------- */

/* The selected queue's registers, or NULL if there is no such queue. */
static struct mmio_queue_regs *selected(struct cvmm_virtio_mmio *mmio)
{
	return mmio->queue_sel < mmio->queue_count ? &mmio->regs[mmio->queue_sel] : NULL;
}

/*
 * Whether the selected queue may be configured: between FEATURES_OK and DRIVER_OK, or later if
 * queues can be reset one by one; never while the queue is ready (4.2.2.2).
 */
static struct mmio_queue_regs *configurable(struct cvmm_virtio_mmio *mmio)
{
	struct mmio_queue_regs *q = selected(mmio);

	if (!q) {
		complain(mmio, "wrote to queue %u, which does not exist", mmio->queue_sel);
		return NULL;
	}
	if (q->ready || !has_status(mmio, CVMM_VIRTIO_STATUS_FEATURES_OK) ||
	    has_status(mmio, CVMM_VIRTIO_STATUS_FAILED) ||
	    (has_status(mmio, CVMM_VIRTIO_STATUS_DRIVER_OK) &&
	     !(mmio->running && mmio_has_feature(mmio, CVMM_VIRTIO_F_RING_RESET)))) {
		complain(mmio, "configured queue %u in status %#x%s", mmio->queue_sel,
			 atomic_load(&mmio->status), q->ready ? " while it was ready" : "");
		return NULL;
	}
	return q;
}

static bool queue_regs_valid(struct cvmm_virtio_mmio *mmio, const struct mmio_queue_regs *q)
{
	bool packed = mmio_has_feature(mmio, CVMM_VIRTIO_F_RING_PACKED);

	/* VIRTIO 1.3, 2.7 and 2.8.10.1: alignment of the three parts. */
	return q->num && (packed || cvmm_is_pow2(q->num)) &&
	       q->num <= mmio->queues[mmio->queue_sel].max_size && q->desc % 16 == 0 &&
	       q->driver % (packed ? 4 : 2) == 0 && q->device % 4 == 0;
}

static void enable_queue(struct cvmm_virtio_mmio *mmio)
{
	struct mmio_queue_regs *q = selected(mmio);

	if (q && q->ready)
		return;
	q = configurable(mmio);
	if (!q)
		return;
	if (!queue_regs_valid(mmio, q)) {
		complain(mmio, "gave queue %u a size or address that cannot be", mmio->queue_sel);
		return;
	}
	q->ready = !mmio->running || !mmio_queue_start(mmio, mmio->queue_sel);
}

/* Return: whether the selected queue is out of the device's hands. */
static bool disable_queue(struct cvmm_virtio_mmio *mmio)
{
	struct mmio_queue_regs *q = selected(mmio);

	if (!q)
		return false;
	if (q->ready && mmio->running) {
		if (!mmio->config.ops->queue_stop) {
			complain(mmio, "stopped queue %u of a running device", mmio->queue_sel);
			return false;
		}
		mmio_queue_stop(mmio, mmio->queue_sel);
	}
	q->ready = false;
	return true;
}

static void write_queue_ready(struct cvmm_virtio_mmio *mmio, uint32_t value)
{
	if (value == 1)
		enable_queue(mmio);
	else if (value == 0)
		(void)disable_queue(mmio); /* drivers also do it after a reset */
	else
		complain(mmio, "wrote %#x to QueueReady", value);
}

/* VIRTIO 1.3, 2.6.1. Done when the store returns, so the register always reads 0. */
static void write_queue_reset(struct cvmm_virtio_mmio *mmio, uint32_t value)
{
	if (value != 1)
		return;
	if (!has_status(mmio, CVMM_VIRTIO_STATUS_DRIVER_OK) ||
	    !mmio_has_feature(mmio, CVMM_VIRTIO_F_RING_RESET))
		complain(mmio, "reset queue %u without RING_RESET or DRIVER_OK", mmio->queue_sel);
	else if (disable_queue(mmio))
		reset_queue_regs(mmio, mmio->queue_sel);
}

static void write_queue_register(struct cvmm_virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
	struct mmio_queue_regs *q = configurable(mmio);
	uint64_t high = (uint64_t)value << 32;

	if (!q)
		return;
	switch (offset) {
	case MMIO_QUEUE_NUM:
		q->num = value;
		break;
	case MMIO_QUEUE_DESC_LOW:
		q->desc = (q->desc & ~LOW_HALF) | value;
		break;
	case MMIO_QUEUE_DESC_HIGH:
		q->desc = (q->desc & LOW_HALF) | high;
		break;
	case MMIO_QUEUE_DRIVER_LOW:
		q->driver = (q->driver & ~LOW_HALF) | value;
		break;
	case MMIO_QUEUE_DRIVER_HIGH:
		q->driver = (q->driver & LOW_HALF) | high;
		break;
	case MMIO_QUEUE_DEVICE_LOW:
		q->device = (q->device & ~LOW_HALF) | value;
		break;
	default: /* MMIO_QUEUE_DEVICE_HIGH */
		q->device = (q->device & LOW_HALF) | high;
		break;
	}
}

/* ---- loads --------------------------------------------------------------------------------- */

static uint32_t read_locked_register(struct cvmm_virtio_mmio *mmio, uint64_t offset)
{
	const struct mmio_queue_regs *q = selected(mmio);

	switch (offset) {
	case MMIO_DEVICE_FEATURES:
		return read_device_features(mmio);
	case MMIO_QUEUE_NUM_MAX:
		return q ? mmio->queues[mmio->queue_sel].max_size : 0;
	case MMIO_QUEUE_READY:
		return q && q->ready;
	case MMIO_QUEUE_RESET:
		return 0;
	default:
		complain(mmio, "read register %#llx", (unsigned long long)offset);
		return 0;
	}
}

static uint32_t read_register(struct cvmm_virtio_mmio *mmio, uint64_t offset)
{
	uint32_t value;

	switch (offset) {
	case MMIO_MAGIC_VALUE:
		return MMIO_MAGIC;
	case MMIO_VERSION:
		return MMIO_VERSION_2;
	case MMIO_DEVICE_ID:
		return mmio->config.ops->device_id;
	case MMIO_VENDOR_ID:
		return MMIO_VENDOR;
	case MMIO_INTERRUPT_STATUS:
		return atomic_load(&mmio->interrupt_status);
	case MMIO_STATUS:
		return cvmm_virtio_mmio_status(mmio);
	case MMIO_CONFIG_GENERATION:
		return cvmm_virtio_config_space_generation(mmio->space);
	case MMIO_SHM_LEN_LOW:
	case MMIO_SHM_LEN_HIGH:
	case MMIO_SHM_BASE_LOW:
	case MMIO_SHM_BASE_HIGH:
		return MMIO_SHM_ABSENT;
	default:
		break;
	}
	pthread_mutex_lock(&mmio->lock);
	value = read_locked_register(mmio, offset);
	pthread_mutex_unlock(&mmio->lock);
	return value;
}

static void complain_access(struct cvmm_virtio_mmio *mmio, const char *what, uint64_t offset,
			    unsigned int len_bytes)
{
	pthread_mutex_lock(&mmio->lock);
	complain(mmio, "%s %u bytes at %#llx", what, len_bytes, (unsigned long long)offset);
	pthread_mutex_unlock(&mmio->lock);
}

static bool is_width(unsigned int len_bytes)
{
	return len_bytes == 1 || len_bytes == 2 || len_bytes == 4 || len_bytes == 8;
}

/* Registers are 32 bits wide and aligned; configuration space takes any width. VIRTIO 1.3,
 * 4.2.2.2. */
static bool access_allowed(uint64_t offset, unsigned int len_bytes)
{
	if (offset < MMIO_CONFIG)
		return len_bytes == 4 && offset % 4 == 0;
	return is_width(len_bytes) &&
	       cvmm_range_inside(offset, len_bytes, CVMM_VIRTIO_MMIO_LEN_BYTES);
}

void cvmm_virtio_mmio_read(struct cvmm_virtio_mmio *mmio, uint64_t offset, void *data,
			   unsigned int len_bytes)
{
	memset(data, 0, len_bytes);
	if (!access_allowed(offset, len_bytes))
		complain_access(mmio, "read", offset, len_bytes);
	else if (offset >= MMIO_CONFIG)
		cvmm_virtio_config_space_read(mmio->space, offset - MMIO_CONFIG, data, len_bytes);
	else
		cvmm_put_le32(data, read_register(mmio, offset));
}

/* ---- stores -------------------------------------------------------------------------------- */

static void write_config(struct cvmm_virtio_mmio *mmio, uint64_t offset, const void *data,
			 unsigned int len_bytes)
{
	if (!mmio->config.ops->config_written ||
	    !cvmm_range_inside(offset, len_bytes, mmio->space->len_bytes))
		complain(mmio, "wrote %u bytes of configuration at %llu", len_bytes,
			 (unsigned long long)offset);
	else
		mmio_config_write(mmio, offset, data, len_bytes);
}

static void write_locked_register(struct cvmm_virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case MMIO_DEVICE_FEATURES_SEL:
		mmio->device_features_sel = value;
		break;
	case MMIO_DRIVER_FEATURES_SEL:
		mmio->driver_features_sel = value;
		break;
	case MMIO_DRIVER_FEATURES:
		write_driver_features(mmio, value);
		break;
	case MMIO_QUEUE_SEL:
		mmio->queue_sel = value;
		break;
	case MMIO_QUEUE_NUM:
	case MMIO_QUEUE_DESC_LOW:
	case MMIO_QUEUE_DESC_HIGH:
	case MMIO_QUEUE_DRIVER_LOW:
	case MMIO_QUEUE_DRIVER_HIGH:
	case MMIO_QUEUE_DEVICE_LOW:
	case MMIO_QUEUE_DEVICE_HIGH:
		write_queue_register(mmio, offset, value);
		break;
	case MMIO_QUEUE_READY:
		write_queue_ready(mmio, value);
		break;
	case MMIO_QUEUE_RESET:
		write_queue_reset(mmio, value);
		break;
	case MMIO_STATUS:
		write_status(mmio, value);
		break;
	case MMIO_SHM_SEL:
		break; /* no region exists, whichever is selected */
	default:
		complain(mmio, "wrote register %#llx", (unsigned long long)offset);
		break;
	}
}

/* Where the driver is in its ring it says for devices that cannot look: ours do. */
static void kick(struct cvmm_virtio_mmio *mmio, uint32_t value)
{
	bool started = has_status(mmio, CVMM_VIRTIO_STATUS_DRIVER_OK);

	if (started && mmio_has_feature(mmio, CVMM_VIRTIO_F_NOTIFICATION_DATA))
		value = cvmm_virtq_notification_parse(value).queue;
	if (started && value < mmio->queue_count)
		cvmm_notifier_signal(&mmio->kicks[value].notifier);
	else
		complain_access(mmio,
				"kicked without DRIVER_OK or beyond the queues:", MMIO_QUEUE_NOTIFY,
				4);
}

/* Stores that need no lock. Return: whether this was one. */
static bool write_unlocked(struct cvmm_virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
	if (offset == MMIO_QUEUE_NOTIFY) {
		kick(mmio, value);
		return true;
	}
	if (offset == MMIO_INTERRUPT_ACK) {
		atomic_fetch_and(&mmio->interrupt_status, ~value);
		return true;
	}
	return false;
}

void cvmm_virtio_mmio_write(struct cvmm_virtio_mmio *mmio, uint64_t offset, const void *data,
			    unsigned int len_bytes)
{
	if (!access_allowed(offset, len_bytes)) {
		complain_access(mmio, "wrote", offset, len_bytes);
		return;
	}
	if (offset < MMIO_CONFIG && write_unlocked(mmio, offset, cvmm_get_le32(data)))
		return;
	pthread_mutex_lock(&mmio->lock);
	if (offset >= MMIO_CONFIG)
		write_config(mmio, offset - MMIO_CONFIG, data, len_bytes);
	else
		write_locked_register(mmio, offset, cvmm_get_le32(data));
	pthread_mutex_unlock(&mmio->lock);
}
