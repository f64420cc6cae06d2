// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "../../tests/support/device_harness.h"
#include "virtio_internal.h"

/* ---- a device that remembers what happened to it ------------------------------------------- */

#define DUMMY_QUEUES 2U
#define DUMMY_QUEUE_SIZE 8U
#define DUMMY_FEATURE 5
#define DUMMY_CONFIG_BYTES 12U

struct dummy {
	struct cvmm_virtio_config_space space;
	struct cvmm_virtio_start started;
	bool running;
	int start_result;
	unsigned int starts, stops, queue_stops, queue_starts, config_writes;
	unsigned int kicks[DUMMY_QUEUES];
	bool takes_kicks; /* of queue 1 */
	const struct cvmm_notifier *taken;
	size_t written_offset, written_len;
	uint8_t written[8];
	uint64_t features;
};

static unsigned int dummy_queue_count(void *dev)
{
	(void)dev;
	return DUMMY_QUEUES;
}

static uint16_t dummy_queue_size_max(void *dev, unsigned int queue)
{
	(void)dev;
	(void)queue;
	return DUMMY_QUEUE_SIZE;
}

static uint64_t dummy_features(void *dev)
{
	struct dummy *d = dev;

	return d->features;
}

static struct cvmm_virtio_config_space *dummy_config_space(void *dev)
{
	struct dummy *d = dev;

	return &d->space;
}

static int dummy_start(void *dev, const struct cvmm_virtio_start *start, struct cvmm_error *err)
{
	struct dummy *d = dev;

	(void)err;
	harness_must(!d->running && cvmm_loop_is_owner(start->loop));
	d->starts++;
	d->started = *start;
	d->running = !d->start_result;
	if (d->takes_kicks)
		d->taken = start->host->ops->take_kick(start->host, 1);
	return d->start_result;
}

/* Echoes every chain back unused; a broken queue asks for a reset. */
static void dummy_kick(void *dev, unsigned int queue)
{
	struct cvmm_virtq_chain chain;
	struct dummy *d = dev;
	struct iovec iov[16];
	int r;

	harness_must(d->running && cvmm_loop_is_owner(d->started.loop));
	d->kicks[queue]++;
	while ((r = cvmm_virtq_pop(&d->started.queues[queue], iov, 16, &chain)) == 1)
		cvmm_virtq_push(&d->started.queues[queue], chain.head, 0);
	if (r < 0)
		d->started.host->ops->needs_reset(d->started.host);
	else if (cvmm_virtq_should_notify(&d->started.queues[queue]))
		d->started.host->ops->notify(d->started.host, queue);
}

static void dummy_stop(void *dev)
{
	struct dummy *d = dev;

	harness_must(d->running);
	d->running = false;
	d->stops++;
}

static void dummy_queue_stop(void *dev, unsigned int queue)
{
	struct dummy *d = dev;

	harness_must(d->running && cvmm_virtq_is_started(&d->started.queues[queue]));
	d->queue_stops++;
}

static void dummy_queue_start(void *dev, unsigned int queue)
{
	struct dummy *d = dev;

	harness_must(d->running && cvmm_virtq_is_started(&d->started.queues[queue]));
	d->queue_starts++;
}

static void dummy_config_written(void *dev, size_t offset, const void *bytes, size_t len_bytes)
{
	struct dummy *d = dev;

	d->config_writes++;
	d->written_offset = offset;
	d->written_len = len_bytes;
	harness_must(len_bytes <= sizeof(d->written));
	memcpy(d->written, bytes, len_bytes);
}

static const struct cvmm_virtio_device_ops dummy_ops = {
	.size = sizeof(dummy_ops),
	.name = "dummy",
	.device_id = 42,
	.queue_count = dummy_queue_count,
	.queue_size_max = dummy_queue_size_max,
	.features = dummy_features,
	.config_space = dummy_config_space,
	.start = dummy_start,
	.kick = dummy_kick,
	.stop = dummy_stop,
	.queue_stop = dummy_queue_stop,
	.queue_start = dummy_queue_start,
	.config_written = dummy_config_written,
};

/* ---- a machine of one transport ------------------------------------------------------------ */

struct machine {
	struct dummy dummy;
	struct cvmm_mem *mem;
	struct cvmm_mem_space *space;
	struct cvmm_loop *loop;
	struct cvmm_virtio_mmio *mmio;
	struct driver_ring rings[DUMMY_QUEUES];
	atomic_uint interrupts;
};

static void count_interrupt(void *ctx)
{
	struct machine *m = ctx;

	atomic_fetch_add(&m->interrupts, 1);
}

static void machine_init_with(struct machine *m, const struct cvmm_virtio_device_ops *ops)
{
	static const uint8_t config[DUMMY_CONFIG_BYTES] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
	struct cvmm_virtio_mmio_config c = {
		.ops = ops,
		.dev = &m->dummy,
		.interrupt = count_interrupt,
		.interrupt_ctx = m,
	};

	memset(m, 0, sizeof(*m));
	m->dummy.features = CVMM_VIRTIO_FEATURE(DUMMY_FEATURE);
	assert_int_equal(cvmm_virtio_config_space_init(&m->dummy.space, config, sizeof(config)), 0);
	m->mem = harness_make_mem();
	assert_int_equal(cvmm_mem_space_create(m->mem, &m->space), 0);
	assert_int_equal(cvmm_loop_create(CVMM_LOOP_AUTO, &m->loop), 0);
	c.space = m->space;
	c.loop = m->loop;
	assert_int_equal(cvmm_virtio_mmio_create(&c, &m->mmio, NULL), 0);
	for (unsigned int i = 0; i < DUMMY_QUEUES; i++)
		driver_ring_init(&m->rings[i], m->mem, HARNESS_MEM_BASE + i * 0x10000,
				 DUMMY_QUEUE_SIZE);
}

static void machine_init(struct machine *m)
{
	machine_init_with(m, &dummy_ops);
}

static void machine_fini(struct machine *m)
{
	cvmm_virtio_mmio_destroy(m->mmio);
	cvmm_loop_destroy(m->loop);
	cvmm_mem_space_destroy(m->space);
	cvmm_mem_unref(m->mem);
	cvmm_virtio_config_space_fini(&m->dummy.space);
}

static void run(struct machine *m)
{
	while (cvmm_loop_run_once(m->loop, 0) > 0)
		continue;
}

static void wr(struct machine *m, uint64_t offset, uint32_t value)
{
	uint8_t data[4];

	cvmm_put_le32(data, value);
	cvmm_virtio_mmio_write(m->mmio, offset, data, sizeof(data));
}

static uint32_t rd(struct machine *m, uint64_t offset)
{
	uint8_t data[4] = { 0xee, 0xee, 0xee, 0xee };

	cvmm_virtio_mmio_read(m->mmio, offset, data, sizeof(data));
	return cvmm_get_le32(data);
}

#define ACK CVMM_VIRTIO_STATUS_ACKNOWLEDGE
#define DRIVER CVMM_VIRTIO_STATUS_DRIVER
#define FEATURES_OK CVMM_VIRTIO_STATUS_FEATURES_OK
#define DRIVER_OK CVMM_VIRTIO_STATUS_DRIVER_OK
#define FAILED CVMM_VIRTIO_STATUS_FAILED
#define NEEDS_RESET CVMM_VIRTIO_STATUS_NEEDS_RESET

static void accept_features(struct machine *m, uint64_t features)
{
	wr(m, MMIO_DRIVER_FEATURES_SEL, 0);
	wr(m, MMIO_DRIVER_FEATURES, (uint32_t)features);
	wr(m, MMIO_DRIVER_FEATURES_SEL, 1);
	wr(m, MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
}

#define BASIC_FEATURES CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_VERSION_1)
#define RESET_FEATURES (BASIC_FEATURES | CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_RING_RESET))

static void negotiate(struct machine *m, uint64_t features)
{
	wr(m, MMIO_STATUS, ACK);
	wr(m, MMIO_STATUS, ACK | DRIVER);
	accept_features(m, features);
	wr(m, MMIO_STATUS, ACK | DRIVER | FEATURES_OK);
	assert_int_equal(rd(m, MMIO_STATUS), ACK | DRIVER | FEATURES_OK);
}

static void set_up_queue(struct machine *m, unsigned int queue)
{
	struct driver_ring *ring = &m->rings[queue];

	driver_ring_init(ring, m->mem, ring->desc, DUMMY_QUEUE_SIZE);
	wr(m, MMIO_QUEUE_SEL, queue);
	wr(m, MMIO_QUEUE_NUM, DUMMY_QUEUE_SIZE);
	wr(m, MMIO_QUEUE_DESC_LOW, (uint32_t)ring->desc);
	wr(m, MMIO_QUEUE_DESC_HIGH, (uint32_t)(ring->desc >> 32));
	wr(m, MMIO_QUEUE_DRIVER_LOW, (uint32_t)ring->avail);
	wr(m, MMIO_QUEUE_DRIVER_HIGH, (uint32_t)(ring->avail >> 32));
	wr(m, MMIO_QUEUE_DEVICE_LOW, (uint32_t)ring->used);
	wr(m, MMIO_QUEUE_DEVICE_HIGH, (uint32_t)(ring->used >> 32));
	wr(m, MMIO_QUEUE_READY, 1);
}

static void bring_up(struct machine *m, uint64_t features)
{
	negotiate(m, features);
	set_up_queue(m, 0);
	set_up_queue(m, 1);
	wr(m, MMIO_STATUS, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
}

static void submit_one(struct machine *m, unsigned int queue)
{
	struct harness_buf buf = { HARNESS_MEM_BASE + 0x100000, 64, true };

	driver_ring_submit(&m->rings[queue], &buf, 1);
}

/* ---- configuration space ------------------------------------------------------------------- */

static void config_space_reads_zero_beyond_its_end(void **state)
{
	struct cvmm_virtio_config_space s;
	uint8_t out[8];

	(void)state;
	assert_int_equal(cvmm_virtio_config_space_init(&s, "abcdef", 6), 0);
	memset(out, 0xff, sizeof(out));
	cvmm_virtio_config_space_read(&s, 4, out, 4);
	assert_memory_equal(out, "ef\0\0", 4);
	cvmm_virtio_config_space_read(&s, 6, out, 8);
	assert_memory_equal(out, "\0\0\0\0\0\0\0\0", 8);
	cvmm_virtio_config_space_read(&s, SIZE_MAX, out, 8);
	assert_memory_equal(out, "\0\0\0\0\0\0\0\0", 8);
	cvmm_virtio_config_space_fini(&s);
	assert_int_equal(cvmm_virtio_config_space_init(&s, out, CVMM_VIRTIO_CONFIG_BYTES_MAX + 1),
			 -EINVAL);
}

static void config_space_update_changes_the_generation(void **state)
{
	struct cvmm_virtio_config_space s;
	uint32_t before;
	uint8_t out[3];

	(void)state;
	assert_int_equal(cvmm_virtio_config_space_init(&s, "abc", 3), 0);
	before = cvmm_virtio_config_space_generation(&s);
	cvmm_virtio_config_space_update(&s, 1, "X", 1);
	assert_int_not_equal(cvmm_virtio_config_space_generation(&s), before);
	cvmm_virtio_config_space_read(&s, 0, out, 3);
	assert_memory_equal(out, "aXc", 3);
	cvmm_virtio_config_space_fini(&s);
}

/* ---- registers ----------------------------------------------------------------------------- */

static void identity_registers_read_as_specified(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	assert_int_equal(rd(&m, MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(rd(&m, MMIO_VERSION), 2);
	assert_int_equal(rd(&m, MMIO_DEVICE_ID), 42);
	assert_int_not_equal(rd(&m, MMIO_VENDOR_ID), 0);
	assert_int_equal(rd(&m, MMIO_STATUS), 0);
	machine_fini(&m);
}

static void features_are_offered_in_two_windows(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	assert_int_equal(rd(&m, MMIO_DEVICE_FEATURES), 1U << DUMMY_FEATURE | 3U << 28);
	wr(&m, MMIO_DEVICE_FEATURES_SEL, 1);
	assert_int_equal(rd(&m, MMIO_DEVICE_FEATURES), 1U << 0 | 1U << 8);
	wr(&m, MMIO_DEVICE_FEATURES_SEL, 2);
	assert_int_equal(rd(&m, MMIO_DEVICE_FEATURES), 0);
	wr(&m, MMIO_DEVICE_FEATURES_SEL, UINT32_MAX);
	assert_int_equal(rd(&m, MMIO_DEVICE_FEATURES), 0);
	machine_fini(&m);
}

static uint64_t only_event_idx(void *dev)
{
	(void)dev;
	return CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_EVENT_IDX);
}

static void ring_features_that_a_device_cannot_have_are_not_offered(void **state)
{
	struct cvmm_virtio_device_ops ops = dummy_ops;
	struct machine m;

	(void)state;
	ops.ring_features = only_event_idx;
	machine_init_with(&m, &ops);
	assert_int_equal(rd(&m, MMIO_DEVICE_FEATURES),
			 1U << DUMMY_FEATURE | 1U << CVMM_VIRTIO_F_EVENT_IDX);
	machine_fini(&m);
}

static void a_device_that_offers_transport_features_is_refused(void **state)
{
	struct cvmm_virtio_mmio_config c;
	struct cvmm_virtio_mmio *mmio = NULL;
	struct cvmm_error err = { 0 };
	struct machine m;

	(void)state;
	machine_init(&m);
	m.dummy.features |= CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_RING_PACKED);
	c = m.mmio->config;
	assert_int_equal(cvmm_virtio_mmio_create(&c, &mmio, &err), -EINVAL);
	assert_null(mmio);
	assert_non_null(strstr(err.message, "dummy"));
	machine_fini(&m);
}

static void absent_shared_memory_has_a_length_of_all_ones(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	wr(&m, MMIO_SHM_SEL, 1);
	assert_int_equal(rd(&m, MMIO_SHM_LEN_LOW), UINT32_MAX);
	assert_int_equal(rd(&m, MMIO_SHM_LEN_HIGH), UINT32_MAX);
	assert_int_equal(rd(&m, MMIO_SHM_BASE_LOW), UINT32_MAX);
	assert_int_equal(rd(&m, MMIO_SHM_BASE_HIGH), UINT32_MAX);
	machine_fini(&m);
}

static void registers_take_only_aligned_accesses_of_32_bits(void **state)
{
	uint8_t data[8];
	struct machine m;

	(void)state;
	machine_init(&m);
	for (unsigned int len = 1; len <= 8; len *= 2) {
		memset(data, 0xff, sizeof(data));
		cvmm_virtio_mmio_read(m.mmio, len == 4 ? 2 : 0, data, len);
		assert_memory_equal(data, "\0\0\0\0\0\0\0\0", len);
	}
	memset(data, ACK, sizeof(data));
	cvmm_virtio_mmio_write(m.mmio, MMIO_STATUS, data, 1);
	cvmm_virtio_mmio_write(m.mmio, MMIO_STATUS, data, 8);
	cvmm_virtio_mmio_write(m.mmio, MMIO_STATUS - 2, data, 4);
	assert_int_equal(rd(&m, MMIO_STATUS), 0);
	machine_fini(&m);
}

static void accesses_outside_the_file_read_zero_and_change_nothing(void **state)
{
	static const uint64_t offsets[] = {
		0x1000, 0xffd, UINT64_MAX - 3, UINT64_MAX, 0x0d0, 0x0f8
	};
	uint8_t data[4];
	struct machine m;

	(void)state;
	machine_init(&m);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(offsets); i++) {
		memset(data, 0xff, sizeof(data));
		cvmm_virtio_mmio_write(m.mmio, offsets[i], data, 4);
		cvmm_virtio_mmio_read(m.mmio, offsets[i], data, 4);
		assert_memory_equal(data, "\0\0\0\0", 4);
	}
	assert_int_equal(m.dummy.config_writes, 0);
	machine_fini(&m);
}

static void configuration_reads_take_any_width_and_end_in_zeroes(void **state)
{
	uint8_t data[8] = { 0 };
	struct machine m;

	(void)state;
	machine_init(&m);
	cvmm_virtio_mmio_read(m.mmio, MMIO_CONFIG + 3, data, 1);
	assert_int_equal(data[0], 4);
	cvmm_virtio_mmio_read(m.mmio, MMIO_CONFIG + 1, data, 2);
	assert_memory_equal(data, "\2\3", 2);
	cvmm_virtio_mmio_read(m.mmio, MMIO_CONFIG, data, 8);
	assert_memory_equal(data, "\1\2\3\4\5\6\7\10", 8);
	cvmm_virtio_mmio_read(m.mmio, MMIO_CONFIG + 8, data, 8);
	assert_memory_equal(data, "\11\12\13\14\0\0\0\0", 8);
	cvmm_virtio_mmio_read(m.mmio, MMIO_CONFIG, data, 3);
	assert_memory_equal(data, "\0\0\0", 3);
	machine_fini(&m);
}

static void configuration_writes_reach_the_device_if_they_are_inside(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	wr(&m, MMIO_CONFIG + 8, 0x04030201);
	assert_int_equal(m.dummy.config_writes, 1);
	assert_int_equal(m.dummy.written_offset, 8);
	assert_int_equal(m.dummy.written_len, 4);
	assert_memory_equal(m.dummy.written, "\1\2\3\4", 4);
	wr(&m, MMIO_CONFIG + 9, 0);
	wr(&m, MMIO_CONFIG + DUMMY_CONFIG_BYTES, 0);
	assert_int_equal(m.dummy.config_writes, 1);
	machine_fini(&m);
}

static void the_generation_register_follows_updates(void **state)
{
	struct machine m;
	uint32_t before;

	(void)state;
	machine_init(&m);
	before = rd(&m, MMIO_CONFIG_GENERATION);
	cvmm_virtio_config_space_update(&m.dummy.space, 0, "x", 1);
	assert_int_not_equal(rd(&m, MMIO_CONFIG_GENERATION), before);
	machine_fini(&m);
}

/* ---- status -------------------------------------------------------------------------------- */

static void the_status_sequence_starts_the_device_once(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	bring_up(&m, BASIC_FEATURES | CVMM_VIRTIO_FEATURE(DUMMY_FEATURE));
	assert_int_equal(rd(&m, MMIO_STATUS), ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	assert_int_equal(m.dummy.starts, 1);
	assert_true(m.dummy.started.features ==
		    (BASIC_FEATURES | CVMM_VIRTIO_FEATURE(DUMMY_FEATURE)));
	assert_int_equal(m.dummy.started.queue_count, DUMMY_QUEUES);
	wr(&m, MMIO_STATUS, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	assert_int_equal(m.dummy.starts, 1);
	machine_fini(&m);
	assert_int_equal(m.dummy.stops, 1);
}

static void status_bits_out_of_order_are_refused(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	wr(&m, MMIO_STATUS, DRIVER);
	assert_int_equal(rd(&m, MMIO_STATUS), 0);
	wr(&m, MMIO_STATUS, DRIVER_OK);
	assert_int_equal(rd(&m, MMIO_STATUS), 0);
	wr(&m, MMIO_STATUS, ACK);
	wr(&m, MMIO_STATUS, ACK | FEATURES_OK);
	assert_int_equal(rd(&m, MMIO_STATUS), ACK);
	wr(&m, MMIO_STATUS, ACK | DRIVER);
	accept_features(&m, BASIC_FEATURES);
	wr(&m, MMIO_STATUS, ACK | DRIVER | DRIVER_OK);
	assert_int_equal(rd(&m, MMIO_STATUS), ACK | DRIVER);
	assert_int_equal(m.dummy.starts, 0);
	machine_fini(&m);
}

static void status_bits_cannot_be_cleared_one_by_one(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	negotiate(&m, BASIC_FEATURES);
	wr(&m, MMIO_STATUS, ACK);
	assert_int_equal(rd(&m, MMIO_STATUS), ACK | DRIVER | FEATURES_OK);
	machine_fini(&m);
}

static void unknown_status_bits_are_not_kept(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	wr(&m, MMIO_STATUS, ACK | 0x30 | NEEDS_RESET | 0xff00);
	assert_int_equal(rd(&m, MMIO_STATUS), ACK);
	machine_fini(&m);
}

static void features_ok_is_refused_without_version_1(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	wr(&m, MMIO_STATUS, ACK);
	wr(&m, MMIO_STATUS, ACK | DRIVER);
	accept_features(&m, CVMM_VIRTIO_FEATURE(DUMMY_FEATURE));
	wr(&m, MMIO_STATUS, ACK | DRIVER | FEATURES_OK);
	assert_int_equal(rd(&m, MMIO_STATUS), ACK | DRIVER);
	/* The driver may try again with other features. */
	accept_features(&m, BASIC_FEATURES);
	wr(&m, MMIO_STATUS, ACK | DRIVER | FEATURES_OK);
	assert_int_equal(rd(&m, MMIO_STATUS), ACK | DRIVER | FEATURES_OK);
	machine_fini(&m);
}

static void features_ok_is_refused_for_a_bit_that_was_not_offered(void **state)
{
	struct machine m;

	(void)state;
	for (uint32_t window = 0; window < 6; window++) {
		machine_init(&m);
		wr(&m, MMIO_STATUS, ACK);
		wr(&m, MMIO_STATUS, ACK | DRIVER);
		accept_features(&m, BASIC_FEATURES);
		wr(&m, MMIO_DRIVER_FEATURES_SEL, window);
		wr(&m, MMIO_DRIVER_FEATURES, window == 1 ? 3 : 1);
		wr(&m, MMIO_STATUS, ACK | DRIVER | FEATURES_OK);
		assert_int_equal(rd(&m, MMIO_STATUS), ACK | DRIVER);
		machine_fini(&m);
	}
}

static void features_are_frozen_by_features_ok(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	wr(&m, MMIO_DRIVER_FEATURES, UINT32_MAX); /* before DRIVER: ignored */
	negotiate(&m, BASIC_FEATURES);
	wr(&m, MMIO_DRIVER_FEATURES_SEL, 0);
	wr(&m, MMIO_DRIVER_FEATURES, 1U << DUMMY_FEATURE);
	wr(&m, MMIO_STATUS, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	assert_true(m.dummy.started.features == BASIC_FEATURES);
	machine_fini(&m);
}

static void failed_stops_the_device_and_only_a_reset_leads_out(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	bring_up(&m, BASIC_FEATURES);
	wr(&m, MMIO_STATUS, rd(&m, MMIO_STATUS) | FAILED);
	assert_int_equal(rd(&m, MMIO_STATUS), ACK | DRIVER | FEATURES_OK | DRIVER_OK | FAILED);
	assert_int_equal(m.dummy.stops, 1);
	wr(&m, MMIO_STATUS, ACK);
	assert_true(rd(&m, MMIO_STATUS) & FAILED);
	wr(&m, MMIO_STATUS, 0);
	assert_int_equal(rd(&m, MMIO_STATUS), 0);
	assert_int_equal(m.dummy.stops, 1);
	machine_fini(&m);
}

static void a_reset_stops_the_device_and_clears_everything(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	bring_up(&m, BASIC_FEATURES);
	m.dummy.started.host->ops->config_changed(m.dummy.started.host);
	wr(&m, MMIO_STATUS, 0);
	assert_int_equal(m.dummy.stops, 1);
	assert_int_equal(rd(&m, MMIO_STATUS), 0);
	assert_int_equal(rd(&m, MMIO_INTERRUPT_STATUS), 0);
	for (unsigned int i = 0; i < DUMMY_QUEUES; i++) {
		wr(&m, MMIO_QUEUE_SEL, i);
		assert_int_equal(rd(&m, MMIO_QUEUE_READY), 0);
	}
	bring_up(&m, BASIC_FEATURES);
	assert_int_equal(m.dummy.starts, 2);
	machine_fini(&m);
}

static void a_device_that_cannot_start_needs_reset(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	m.dummy.start_result = -EIO;
	bring_up(&m, BASIC_FEATURES);
	assert_true(rd(&m, MMIO_STATUS) & NEEDS_RESET);
	assert_int_equal(rd(&m, MMIO_INTERRUPT_STATUS), MMIO_INT_CONFIG_CHANGE);
	assert_int_equal(m.interrupts, 1);
	wr(&m, MMIO_QUEUE_NOTIFY, 0);
	run(&m);
	assert_int_equal(m.dummy.kicks[0], 0);
	wr(&m, MMIO_STATUS, 0);
	assert_int_equal(m.dummy.stops, 0);
	m.dummy.start_result = 0;
	bring_up(&m, BASIC_FEATURES);
	assert_int_equal(rd(&m, MMIO_STATUS), ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	machine_fini(&m);
}

static void rings_outside_ram_make_the_device_need_reset(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	negotiate(&m, BASIC_FEATURES);
	set_up_queue(&m, 0);
	wr(&m, MMIO_QUEUE_READY, 0);
	wr(&m, MMIO_QUEUE_DESC_HIGH, 0x7fff);
	wr(&m, MMIO_QUEUE_READY, 1);
	wr(&m, MMIO_STATUS, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	assert_true(rd(&m, MMIO_STATUS) & NEEDS_RESET);
	assert_int_equal(m.dummy.starts, 0);
	machine_fini(&m);
}

/* ---- queues -------------------------------------------------------------------------------- */

static void queue_registers_belong_to_the_selected_queue(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	negotiate(&m, BASIC_FEATURES);
	set_up_queue(&m, 1);
	assert_int_equal(rd(&m, MMIO_QUEUE_READY), 1);
	assert_int_equal(rd(&m, MMIO_QUEUE_NUM_MAX), DUMMY_QUEUE_SIZE);
	wr(&m, MMIO_QUEUE_SEL, 0);
	assert_int_equal(rd(&m, MMIO_QUEUE_READY), 0);
	wr(&m, MMIO_STATUS, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	assert_false(cvmm_virtq_is_started(&m.dummy.started.queues[0]));
	assert_true(cvmm_virtq_is_started(&m.dummy.started.queues[1]));
	machine_fini(&m);
}

static void a_queue_that_does_not_exist_has_no_size(void **state)
{
	/* 65536 is queue 0 for a register file that cuts the selector to 16 bits. */
	static const uint32_t queues[] = { DUMMY_QUEUES, 65536, UINT32_MAX };
	struct machine m;

	(void)state;
	machine_init(&m);
	negotiate(&m, BASIC_FEATURES);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(queues); i++) {
		wr(&m, MMIO_QUEUE_SEL, queues[i]);
		assert_int_equal(rd(&m, MMIO_QUEUE_NUM_MAX), 0);
		wr(&m, MMIO_QUEUE_NUM, 8);
		wr(&m, MMIO_QUEUE_READY, 1);
		wr(&m, MMIO_QUEUE_RESET, 1);
		assert_int_equal(rd(&m, MMIO_QUEUE_READY), 0);
	}
	machine_fini(&m);
}

static void a_queue_of_an_impossible_size_does_not_become_ready(void **state)
{
	static const uint32_t sizes[] = { 0, 3, 16, 65536 + 8, UINT32_MAX };
	struct machine m;

	(void)state;
	machine_init(&m);
	negotiate(&m, BASIC_FEATURES);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(sizes); i++) {
		wr(&m, MMIO_QUEUE_NUM, sizes[i]);
		wr(&m, MMIO_QUEUE_READY, 1);
		assert_int_equal(rd(&m, MMIO_QUEUE_READY), 0);
	}
	machine_fini(&m);
}

static void a_misaligned_ring_does_not_become_ready(void **state)
{
	static const uint64_t registers[] = { MMIO_QUEUE_DESC_LOW, MMIO_QUEUE_DRIVER_LOW,
					      MMIO_QUEUE_DEVICE_LOW };
	struct machine m;

	(void)state;
	machine_init(&m);
	negotiate(&m, BASIC_FEATURES);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(registers); i++) {
		wr(&m, registers[i], 0x100001);
		wr(&m, MMIO_QUEUE_READY, 1);
		assert_int_equal(rd(&m, MMIO_QUEUE_READY), 0);
		wr(&m, registers[i], 0);
	}
	machine_fini(&m);
}

static void queues_are_configured_only_between_features_ok_and_driver_ok(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	set_up_queue(&m, 0);
	assert_int_equal(rd(&m, MMIO_QUEUE_READY), 0);
	negotiate(&m, BASIC_FEATURES);
	wr(&m, MMIO_STATUS, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	set_up_queue(&m, 0);
	assert_int_equal(rd(&m, MMIO_QUEUE_READY), 0);
	machine_fini(&m);
}

static void a_ready_queue_keeps_its_addresses(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	negotiate(&m, BASIC_FEATURES);
	set_up_queue(&m, 0);
	wr(&m, MMIO_QUEUE_DESC_LOW, 0x10);
	wr(&m, MMIO_QUEUE_NUM, 2);
	assert_true(m.mmio->regs[0].desc == m.rings[0].desc);
	assert_int_equal(m.mmio->regs[0].num, DUMMY_QUEUE_SIZE);
	machine_fini(&m);
}

static void write_only_registers_read_as_zero(void **state)
{
	static const uint64_t registers[] = { MMIO_QUEUE_NUM,	     MMIO_QUEUE_SEL,
					      MMIO_QUEUE_DESC_LOW,   MMIO_QUEUE_DESC_HIGH,
					      MMIO_QUEUE_DRIVER_LOW, MMIO_QUEUE_DEVICE_HIGH,
					      MMIO_QUEUE_NOTIFY,     MMIO_INTERRUPT_ACK,
					      MMIO_DRIVER_FEATURES,  MMIO_SHM_SEL };
	struct machine m;

	(void)state;
	machine_init(&m);
	negotiate(&m, BASIC_FEATURES);
	set_up_queue(&m, 1);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(registers); i++)
		assert_int_equal(rd(&m, registers[i]), 0);
	machine_fini(&m);
}

/* ---- kicks and interrupts ------------------------------------------------------------------ */

static void every_enabled_queue_is_kicked_once_after_the_start(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	negotiate(&m, BASIC_FEATURES);
	set_up_queue(&m, 1);
	submit_one(&m, 1); /* before DRIVER_OK, with no kick to come */
	wr(&m, MMIO_STATUS, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	run(&m);
	assert_int_equal(m.dummy.kicks[0], 0);
	assert_int_equal(m.dummy.kicks[1], 1);
	assert_true(driver_ring_take_used(&m.rings[1], NULL, NULL));
	machine_fini(&m);
}

static void a_kick_reaches_the_device_and_an_interrupt_comes_back(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	bring_up(&m, BASIC_FEATURES);
	run(&m);
	m.interrupts = 0;
	wr(&m, MMIO_INTERRUPT_ACK, UINT32_MAX);
	submit_one(&m, 0);
	wr(&m, MMIO_QUEUE_NOTIFY, 0);
	run(&m);
	assert_true(driver_ring_take_used(&m.rings[0], NULL, NULL));
	assert_int_equal(m.interrupts, 1);
	assert_int_equal(rd(&m, MMIO_INTERRUPT_STATUS), MMIO_INT_USED_BUFFER);
	wr(&m, MMIO_INTERRUPT_ACK, MMIO_INT_USED_BUFFER);
	assert_int_equal(rd(&m, MMIO_INTERRUPT_STATUS), 0);
	machine_fini(&m);
}

static void the_kick_notifier_works_without_the_register(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	assert_null(cvmm_virtio_mmio_kick_notifier(m.mmio, DUMMY_QUEUES));
	bring_up(&m, BASIC_FEATURES);
	run(&m);
	cvmm_notifier_signal(cvmm_virtio_mmio_kick_notifier(m.mmio, 1));
	run(&m);
	assert_int_equal(m.dummy.kicks[1], 2);
	machine_fini(&m);
}

static void a_device_can_take_the_kicks_of_a_queue_until_it_is_stopped(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	m.dummy.takes_kicks = true;
	bring_up(&m, BASIC_FEATURES);
	run(&m);
	assert_ptr_equal(m.dummy.taken, cvmm_virtio_mmio_kick_notifier(m.mmio, 1));
	wr(&m, MMIO_QUEUE_NOTIFY, 0);
	wr(&m, MMIO_QUEUE_NOTIFY, 1);
	run(&m);
	assert_int_equal(m.dummy.kicks[0], 2);
	assert_int_equal(m.dummy.kicks[1], 0);
	assert_int_equal(cvmm_notifier_consume(m.dummy.taken), 1);

	m.dummy.takes_kicks = false;
	wr(&m, MMIO_STATUS, 0);
	bring_up(&m, BASIC_FEATURES);
	run(&m);
	assert_int_equal(m.dummy.kicks[1], 1);
	machine_fini(&m);
}

static void kicks_before_driver_ok_or_beyond_the_queues_are_ignored(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	wr(&m, MMIO_QUEUE_NOTIFY, 0);
	run(&m);
	bring_up(&m, BASIC_FEATURES);
	run(&m);
	wr(&m, MMIO_QUEUE_NOTIFY, DUMMY_QUEUES);
	wr(&m, MMIO_QUEUE_NOTIFY, 0x10000);
	wr(&m, MMIO_QUEUE_NOTIFY, UINT32_MAX);
	run(&m);
	assert_int_equal(m.dummy.kicks[0], 1);
	assert_int_equal(m.dummy.kicks[1], 1);
	wr(&m, MMIO_STATUS, 0);
	wr(&m, MMIO_QUEUE_NOTIFY, 0);
	run(&m);
	assert_int_equal(m.dummy.kicks[0], 1);
	machine_fini(&m);
}

static void acknowledging_clears_only_the_bits_written(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	bring_up(&m, BASIC_FEATURES);
	m.dummy.started.host->ops->config_changed(m.dummy.started.host);
	m.dummy.started.host->ops->notify(m.dummy.started.host, 0);
	assert_int_equal(rd(&m, MMIO_INTERRUPT_STATUS), 3);
	wr(&m, MMIO_INTERRUPT_ACK, MMIO_INT_CONFIG_CHANGE);
	assert_int_equal(rd(&m, MMIO_INTERRUPT_STATUS), MMIO_INT_USED_BUFFER);
	/* Not a byte-wide register. */
	wr(&m, MMIO_INTERRUPT_ACK, 0x100);
	assert_int_equal(rd(&m, MMIO_INTERRUPT_STATUS), MMIO_INT_USED_BUFFER);
	machine_fini(&m);
}

static void a_broken_queue_sets_needs_reset_and_interrupts_once(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	bring_up(&m, BASIC_FEATURES);
	run(&m);
	m.interrupts = 0;
	driver_ring_offer(&m.rings[0], DUMMY_QUEUE_SIZE); /* a head outside the table */
	for (int i = 0; i < 5; i++) {
		wr(&m, MMIO_QUEUE_NOTIFY, 0);
		run(&m);
	}
	assert_true(rd(&m, MMIO_STATUS) & NEEDS_RESET);
	assert_true(cvmm_virtio_mmio_status(m.mmio) & NEEDS_RESET);
	assert_true(rd(&m, MMIO_INTERRUPT_STATUS) & MMIO_INT_CONFIG_CHANGE);
	assert_int_equal(m.interrupts, 1);
	/* The other queue goes on. */
	submit_one(&m, 1);
	wr(&m, MMIO_QUEUE_NOTIFY, 1);
	run(&m);
	assert_true(driver_ring_take_used(&m.rings[1], NULL, NULL));
	wr(&m, MMIO_STATUS, 0);
	assert_int_equal(rd(&m, MMIO_STATUS), 0);
	machine_fini(&m);
}

/* ---- queue reset --------------------------------------------------------------------------- */

static void a_queue_can_be_reset_and_enabled_again(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	bring_up(&m, RESET_FEATURES);
	run(&m);
	wr(&m, MMIO_QUEUE_SEL, 0);
	wr(&m, MMIO_QUEUE_RESET, 1);
	assert_int_equal(rd(&m, MMIO_QUEUE_RESET), 0);
	assert_int_equal(rd(&m, MMIO_QUEUE_READY), 0);
	assert_int_equal(m.dummy.queue_stops, 1);
	wr(&m, MMIO_QUEUE_NOTIFY, 0);
	run(&m);
	assert_int_equal(m.dummy.kicks[0], 1);
	set_up_queue(&m, 0);
	assert_int_equal(rd(&m, MMIO_QUEUE_READY), 1);
	assert_int_equal(m.dummy.queue_starts, 1);
	submit_one(&m, 0);
	wr(&m, MMIO_QUEUE_NOTIFY, 0);
	run(&m);
	assert_true(driver_ring_take_used(&m.rings[0], NULL, NULL));
	assert_int_equal(m.dummy.starts, 1);
	machine_fini(&m);
}

static void a_queue_reset_puts_the_registers_back(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	bring_up(&m, RESET_FEATURES);
	wr(&m, MMIO_QUEUE_RESET, 1);
	assert_int_equal(m.mmio->regs[1].num, DUMMY_QUEUE_SIZE);
	assert_true(m.mmio->regs[1].desc == 0);
	assert_true(m.mmio->regs[0].desc != 0);
	machine_fini(&m);
}

static void a_queue_reset_needs_the_feature_and_driver_ok(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	bring_up(&m, BASIC_FEATURES);
	wr(&m, MMIO_QUEUE_RESET, 1);
	assert_int_equal(rd(&m, MMIO_QUEUE_READY), 1);
	wr(&m, MMIO_STATUS, 0);
	negotiate(&m, RESET_FEATURES);
	set_up_queue(&m, 0);
	wr(&m, MMIO_QUEUE_RESET, 1);
	assert_int_equal(rd(&m, MMIO_QUEUE_READY), 1);
	assert_int_equal(m.dummy.queue_stops, 0);
	machine_fini(&m);
}

static void a_queue_enabled_again_outside_ram_stays_off(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	bring_up(&m, RESET_FEATURES);
	wr(&m, MMIO_QUEUE_SEL, 0);
	wr(&m, MMIO_QUEUE_RESET, 1);
	wr(&m, MMIO_QUEUE_DESC_HIGH, 0x7fff);
	wr(&m, MMIO_QUEUE_READY, 1);
	assert_int_equal(rd(&m, MMIO_QUEUE_READY), 0);
	assert_int_equal(m.dummy.queue_starts, 0);
	machine_fini(&m);
}

static void ring_reset_is_offered_only_if_the_device_can_let_go_of_a_queue(void **state)
{
	struct cvmm_virtio_device_ops ops = dummy_ops;
	struct machine m;

	(void)state;
	ops.queue_stop = NULL;
	ops.queue_start = NULL;
	machine_init_with(&m, &ops);
	wr(&m, MMIO_DEVICE_FEATURES_SEL, 1);
	assert_int_equal(rd(&m, MMIO_DEVICE_FEATURES), 1);
	bring_up(&m, BASIC_FEATURES);
	wr(&m, MMIO_QUEUE_READY, 0);
	assert_int_equal(rd(&m, MMIO_QUEUE_READY), 1);
	machine_fini(&m);
}

static void clearing_queue_ready_takes_the_queue_from_a_running_device(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m);
	bring_up(&m, BASIC_FEATURES);
	wr(&m, MMIO_QUEUE_READY, 0);
	assert_int_equal(rd(&m, MMIO_QUEUE_READY), 0);
	assert_int_equal(m.dummy.queue_stops, 1);
	assert_false(cvmm_virtq_is_started(&m.dummy.started.queues[1]));
	machine_fini(&m);
}

/* ---- threads ------------------------------------------------------------------------------- */

#define VCPU_ROUNDS 200

static void *run_loop(void *arg)
{
	struct machine *m = arg;

	return (void *)(intptr_t)cvmm_loop_run(m->loop);
}

/* A second vCPU that reads, acknowledges and kicks while the first one resets and restarts. */
static void *busy_vcpu(void *arg)
{
	struct machine *m = arg;

	for (int i = 0; i < 10 * VCPU_ROUNDS; i++) {
		(void)rd(m, MMIO_STATUS);
		wr(m, MMIO_INTERRUPT_ACK, rd(m, MMIO_INTERRUPT_STATUS));
		wr(m, MMIO_QUEUE_NOTIFY, (uint32_t)i % (DUMMY_QUEUES + 1));
		(void)rd(m, MMIO_CONFIG);
		(void)rd(m, MMIO_CONFIG_GENERATION);
		(void)rd(m, MMIO_QUEUE_NUM_MAX);
	}
	return NULL;
}

static void two_vcpus_and_the_loop_share_the_registers(void **state)
{
	pthread_t loop, other;
	struct machine m;
	void *result;

	(void)state;
	machine_init(&m);
	cvmm_loop_disown(m.loop); /* calls wait for its thread from now on */
	assert_int_equal(pthread_create(&loop, NULL, run_loop, &m), 0);
	assert_int_equal(pthread_create(&other, NULL, busy_vcpu, &m), 0);
	for (int i = 0; i < VCPU_ROUNDS; i++) {
		bring_up(&m, RESET_FEATURES);
		submit_one(&m, 0);
		wr(&m, MMIO_QUEUE_NOTIFY, 0);
		wr(&m, MMIO_QUEUE_SEL, 1);
		wr(&m, MMIO_QUEUE_RESET, 1);
		wr(&m, MMIO_CONFIG, 1);
		wr(&m, MMIO_STATUS, 0);
	}
	pthread_join(other, NULL);
	cvmm_loop_stop(m.loop);
	pthread_join(loop, &result);
	assert_ptr_equal(result, NULL);
	assert_int_equal(m.dummy.starts, VCPU_ROUNDS);
	assert_int_equal(m.dummy.stops, VCPU_ROUNDS);
	assert_int_equal(m.dummy.queue_stops, VCPU_ROUNDS);
	machine_fini(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(config_space_reads_zero_beyond_its_end),
		cmocka_unit_test(config_space_update_changes_the_generation),
		cmocka_unit_test(identity_registers_read_as_specified),
		cmocka_unit_test(features_are_offered_in_two_windows),
		cmocka_unit_test(ring_features_that_a_device_cannot_have_are_not_offered),
		cmocka_unit_test(a_device_that_offers_transport_features_is_refused),
		cmocka_unit_test(absent_shared_memory_has_a_length_of_all_ones),
		cmocka_unit_test(registers_take_only_aligned_accesses_of_32_bits),
		cmocka_unit_test(accesses_outside_the_file_read_zero_and_change_nothing),
		cmocka_unit_test(configuration_reads_take_any_width_and_end_in_zeroes),
		cmocka_unit_test(configuration_writes_reach_the_device_if_they_are_inside),
		cmocka_unit_test(the_generation_register_follows_updates),
		cmocka_unit_test(the_status_sequence_starts_the_device_once),
		cmocka_unit_test(status_bits_out_of_order_are_refused),
		cmocka_unit_test(status_bits_cannot_be_cleared_one_by_one),
		cmocka_unit_test(unknown_status_bits_are_not_kept),
		cmocka_unit_test(features_ok_is_refused_without_version_1),
		cmocka_unit_test(features_ok_is_refused_for_a_bit_that_was_not_offered),
		cmocka_unit_test(features_are_frozen_by_features_ok),
		cmocka_unit_test(failed_stops_the_device_and_only_a_reset_leads_out),
		cmocka_unit_test(a_reset_stops_the_device_and_clears_everything),
		cmocka_unit_test(a_device_that_cannot_start_needs_reset),
		cmocka_unit_test(rings_outside_ram_make_the_device_need_reset),
		cmocka_unit_test(queue_registers_belong_to_the_selected_queue),
		cmocka_unit_test(a_queue_that_does_not_exist_has_no_size),
		cmocka_unit_test(a_queue_of_an_impossible_size_does_not_become_ready),
		cmocka_unit_test(a_misaligned_ring_does_not_become_ready),
		cmocka_unit_test(queues_are_configured_only_between_features_ok_and_driver_ok),
		cmocka_unit_test(a_ready_queue_keeps_its_addresses),
		cmocka_unit_test(write_only_registers_read_as_zero),
		cmocka_unit_test(every_enabled_queue_is_kicked_once_after_the_start),
		cmocka_unit_test(a_kick_reaches_the_device_and_an_interrupt_comes_back),
		cmocka_unit_test(the_kick_notifier_works_without_the_register),
		cmocka_unit_test(a_device_can_take_the_kicks_of_a_queue_until_it_is_stopped),
		cmocka_unit_test(kicks_before_driver_ok_or_beyond_the_queues_are_ignored),
		cmocka_unit_test(acknowledging_clears_only_the_bits_written),
		cmocka_unit_test(a_broken_queue_sets_needs_reset_and_interrupts_once),
		cmocka_unit_test(a_queue_can_be_reset_and_enabled_again),
		cmocka_unit_test(a_queue_reset_puts_the_registers_back),
		cmocka_unit_test(a_queue_reset_needs_the_feature_and_driver_ok),
		cmocka_unit_test(a_queue_enabled_again_outside_ram_stays_off),
		cmocka_unit_test(ring_reset_is_offered_only_if_the_device_can_let_go_of_a_queue),
		cmocka_unit_test(clearing_queue_ready_takes_the_queue_from_a_running_device),
		cmocka_unit_test(two_vcpus_and_the_loop_share_the_registers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
