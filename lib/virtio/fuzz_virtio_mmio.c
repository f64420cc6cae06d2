// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Register accesses by a hostile guest, against a device that echoes chains.
 *
 * The input is a list of steps: one byte of what to do (bit 7: load or store; bits 0-1: width; bit
 * 6: store into guest memory instead; bit 5: offset and value from the usual sequence), two bytes
 * of offset, and four of value where something is stored.
 */
#include "../../tests/support/device_harness.h"
#include "virtio_internal.h"

#define QUEUES 2U
#define QUEUE_SIZE 8U
#define STEPS_MAX 2000U
#define RING_BYTES 0x400U

struct echo {
	struct cvmm_virtio_config_space space;
	struct cvmm_virtio_start started;
	bool running;
};

static unsigned int echo_queue_count(void *dev)
{
	(void)dev;
	return QUEUES;
}

static uint16_t echo_queue_size_max(void *dev, unsigned int queue)
{
	(void)dev;
	(void)queue;
	return QUEUE_SIZE;
}

static uint64_t echo_features(void *dev)
{
	(void)dev;
	return 0xff;
}

static struct cvmm_virtio_config_space *echo_config_space(void *dev)
{
	struct echo *e = dev;

	return &e->space;
}

static int echo_start(void *dev, const struct cvmm_virtio_start *start, struct cvmm_error *err)
{
	struct echo *e = dev;

	(void)err;
	harness_must(!e->running);
	e->started = *start;
	e->running = true;
	return 0;
}

static void echo_kick(void *dev, unsigned int queue)
{
	struct cvmm_virtq_chain chain;
	struct echo *e = dev;
	struct cvmm_virtq *vq = &e->started.queues[queue];
	struct iovec iov[2 * QUEUE_SIZE];
	int r;

	harness_must(e->running && cvmm_virtq_is_started(vq));
	while ((r = cvmm_virtq_pop(vq, iov, 2 * QUEUE_SIZE, &chain)) == 1)
		harness_must(!cvmm_virtq_push(vq, chain.head, 0));
	if (r < 0)
		e->started.host->ops->needs_reset(e->started.host);
	else if (cvmm_virtq_should_notify(vq))
		e->started.host->ops->notify(e->started.host, queue);
}

static void echo_stop(void *dev)
{
	struct echo *e = dev;

	harness_must(e->running);
	e->running = false;
}

static void echo_queue_change(void *dev, unsigned int queue)
{
	struct echo *e = dev;

	harness_must(e->running && cvmm_virtq_is_started(&e->started.queues[queue]));
}

static void echo_config_written(void *dev, size_t offset, const void *bytes, size_t len_bytes)
{
	struct echo *e = dev;

	harness_must(cvmm_range_inside(offset, len_bytes, e->space.len_bytes));
	cvmm_virtio_config_space_update(&e->space, offset, bytes, len_bytes);
}

static const struct cvmm_virtio_device_ops echo_ops = {
	.size = sizeof(echo_ops),
	.name = "echo",
	.device_id = 42,
	.queue_count = echo_queue_count,
	.queue_size_max = echo_queue_size_max,
	.features = echo_features,
	.config_space = echo_config_space,
	.start = echo_start,
	.kick = echo_kick,
	.stop = echo_stop,
	.queue_stop = echo_queue_change,
	.queue_start = echo_queue_change,
	.config_written = echo_config_written,
};

static void interrupt(void *ctx)
{
	(void)ctx;
}

struct fuzz {
	struct echo echo;
	struct cvmm_mem *mem;
	struct cvmm_mem_space *space;
	struct cvmm_loop *loop;
	struct cvmm_virtio_mmio *mmio;
};

static void fuzz_init(struct fuzz *f)
{
	struct cvmm_mem_config region = {
		.gpa = { 0 },
		.len_bytes = 0x10000,
		.kind = CVMM_MEM_ANONYMOUS,
		.access = CVMM_ACCESS_READ_WRITE,
		.fd = -1,
	};
	struct cvmm_virtio_mmio_config c = {
		.ops = &echo_ops,
		.interrupt = interrupt,
	};

	memset(f, 0, sizeof(*f));
	c.dev = &f->echo;
	harness_must(!cvmm_virtio_config_space_init(&f->echo.space, "0123456789", 10));
	harness_must(!cvmm_mem_create(&region, 1, &f->mem, NULL));
	harness_must(!cvmm_mem_space_create(f->mem, &f->space));
	harness_must(!cvmm_loop_create(CVMM_LOOP_AUTO, &f->loop));
	c.space = f->space;
	c.loop = f->loop;
	harness_must(!cvmm_virtio_mmio_create(&c, &f->mmio, NULL));
}

static void fuzz_fini(struct fuzz *f)
{
	cvmm_virtio_mmio_destroy(f->mmio);
	harness_must(!f->echo.running);
	cvmm_loop_destroy(f->loop);
	cvmm_mem_space_destroy(f->space);
	cvmm_mem_unref(f->mem);
	cvmm_virtio_config_space_fini(&f->echo.space);
}

/* What a driver does to come up, so that inputs get behind the status machine soon. */
static void usual(struct fuzz *f, unsigned int step)
{
	static const struct {
		uint16_t offset;
		uint32_t value;
	} sequence[] = {
		{ MMIO_STATUS, 0 },
		{ MMIO_STATUS, 1 },
		{ MMIO_STATUS, 3 },
		{ MMIO_DRIVER_FEATURES_SEL, 0 },
		{ MMIO_DRIVER_FEATURES, 3U << 28 },
		{ MMIO_DRIVER_FEATURES_SEL, 1 },
		{ MMIO_DRIVER_FEATURES, 0x101 },
		{ MMIO_STATUS, 11 },
		{ MMIO_QUEUE_SEL, 0 },
		{ MMIO_QUEUE_DESC_LOW, 0x100 },
		{ MMIO_QUEUE_DRIVER_LOW, 0x200 },
		{ MMIO_QUEUE_DEVICE_LOW, 0x300 },
		{ MMIO_QUEUE_READY, 1 },
		{ MMIO_STATUS, 15 },
		{ MMIO_QUEUE_NOTIFY, 0 },
		{ MMIO_QUEUE_RESET, 1 },
	};
	uint8_t data[4];

	step %= CVMM_ARRAY_SIZE(sequence);
	cvmm_put_le32(data, sequence[step].value);
	cvmm_virtio_mmio_write(f->mmio, sequence[step].offset, data, sizeof(data));
}

static void step(struct fuzz *f, uint8_t what, uint16_t offset, uint32_t value)
{
	unsigned int width = 1U << (what & 3);
	uint8_t data[8];

	cvmm_put_le32(data, value);
	cvmm_put_le32(data + 4, ~value);
	if (what & 0x20)
		usual(f, offset);
	else if (what & 0x40)
		(void)cvmm_mem_write(f->mem, cvmm_gpa_from(offset % RING_BYTES), data, width);
	else if (what & 0x80)
		cvmm_virtio_mmio_read(f->mmio, offset, data, width);
	else
		cvmm_virtio_mmio_write(f->mmio, offset, data, width);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f;
	size_t at = 0;

	fuzz_init(&f);
	for (unsigned int i = 0; i < STEPS_MAX && size - at >= 7; i++) {
		step(&f, data[at], cvmm_get_le16(data + at + 1), cvmm_get_le32(data + at + 3));
		at += 7;
		while (cvmm_loop_run_once(f.loop, 0) > 0)
			continue;
	}
	fuzz_fini(&f);
	return 0;
}
