// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * vhost-vdpa of a real kernel, in front of the kernel's own simulated devices: a disk (CVMM_VDPA_BLK) and a
 * network device that gives frames back (CVMM_VDPA_NET), made by tests/vhost/run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <linux/if_ether.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_net.h>
#include <cmocka.h>

#include "guest.h"
#include "vdpa.h"

#define SIZE 16U
#define SECTOR 512U

/* ---- the disk -------------------------------------------------------------------------------- */

#define DISK_ID 2U
#define DATA_BYTES (4 * SECTOR)
#define RINGS_AT LOW_AT
#define HEADER_AT HIGH_AT
#define STATUS_AT (HIGH_END - 1)
#define DATA_AT (LOW_AT + LOW_BYTES / 2 - DATA_BYTES / 2) /* across the border */
#define DISK_FEATURES (VERSION_1 | ACCESS_PLATFORM)

struct disk {
	struct cvmm_vhost vhost;
	struct cvmm_mem *mem;
	struct guest_queue queue;
};

static void disk_open(struct disk *d)
{
	d->vhost = vdpa_open("CVMM_VDPA_BLK");
	d->mem = make_memory();
	vdpa_negotiate(&d->vhost, DISK_FEATURES);
	queue_init(&d->queue, d->mem, 0, SIZE, DISK_FEATURES, RINGS_AT);
}

static void disk_start(struct disk *d)
{
	disk_open(d);
	vdpa_map(&d->vhost, 0, d->mem);
	queue_start(&d->queue, &d->vhost);
	vdpa_go(&d->vhost);
}

static void disk_end(struct disk *d)
{
	queue_is_sound(&d->queue);
	cvmm_vhost_close(&d->vhost);
	queue_fini(&d->queue);
	cvmm_mem_unref(d->mem);
}

static void disk_add(struct disk *d, uint32_t type, uint64_t sector)
{
	const struct virtio_blk_outhdr header = { .type = htole32(type),
						  .sector = htole64(sector) };
	const struct cvmm_virtq_segment segments[] = { { G(HEADER_AT), sizeof(header) },
						       { G(DATA_AT), DATA_BYTES },
						       { G(STATUS_AT), 1 } };
	const uint8_t none = 0xff;

	put(d->mem, HEADER_AT, &header, sizeof(header));
	put(d->mem, STATUS_AT, &none, 1);
	queue_add(&d->queue, segments, type == VIRTIO_BLK_T_OUT ? 2 : 1,
		  type == VIRTIO_BLK_T_OUT ? 1 : 2, d);
	queue_kick(&d->queue);
}

static void disk_wait(struct disk *d)
{
	uint8_t status;
	uint32_t len;

	assert_ptr_equal(queue_wait(&d->queue, &len), d);
	get(d->mem, STATUS_AT, &status, 1);
	assert_int_equal(status, VIRTIO_BLK_S_OK);
}

static void disk_write(struct disk *d, uint64_t sector, uint32_t seed)
{
	uint8_t data[DATA_BYTES];

	fill(data, sizeof(data), seed);
	put(d->mem, DATA_AT, data, sizeof(data));
	disk_add(d, VIRTIO_BLK_T_OUT, sector);
	disk_wait(d);
}

static void disk_must_have(struct disk *d, uint64_t sector, uint32_t seed)
{
	uint8_t want[DATA_BYTES], got[DATA_BYTES] = { 0 };

	fill(want, sizeof(want), seed);
	put(d->mem, DATA_AT, got, sizeof(got));
	disk_add(d, VIRTIO_BLK_T_IN, sector);
	disk_wait(d);
	get(d->mem, DATA_AT, got, sizeof(got));
	assert_memory_equal(got, want, sizeof(want));
}

static void sectors_that_were_written_are_read(void **state)
{
	struct disk d;

	(void)state;
	disk_start(&d);
	for (uint32_t i = 0; i < 2 * SIZE; i++)
		disk_write(&d, i * DATA_BYTES / SECTOR, i);
	for (uint32_t i = 0; i < 2 * SIZE; i++)
		disk_must_have(&d, i * DATA_BYTES / SECTOR, i);
	disk_end(&d);
}

static void the_disk_says_what_it_is(void **state)
{
	struct vhost_vdpa_iova_range range = { 1, 2 };
	uint32_t id = 0, bytes = 0, queues = 0, size = 0;
	uint64_t capacity = 0;
	uint16_t num = 0;
	struct disk d;
	int ret;

	(void)state;
	disk_open(&d);
	assert_ok(cvmm_vhost_vdpa_get_device_id(&d.vhost, &id));
	assert_int_equal(id, DISK_ID);
	assert_ok(cvmm_vhost_vdpa_get_config_size(&d.vhost, &bytes));
	assert_true(bytes >= offsetof(struct virtio_blk_config, wce));
	assert_ok(cvmm_vhost_vdpa_get_config(&d.vhost, 0, &capacity, sizeof(capacity)));
	assert_int_equal(le64toh(capacity), 0x40000);
	assert_ok(cvmm_vhost_vdpa_get_vqs_count(&d.vhost, &queues));
	assert_int_equal(queues, 1);
	assert_ok(cvmm_vhost_vdpa_get_vring_num(&d.vhost, &num));
	assert_int_equal(num, 256);
	ret = cvmm_vhost_vdpa_get_vring_size(&d.vhost, 0, &size);
	assert_true(ret == -EOPNOTSUPP || ret == -ENOTTY || (!ret && size == SIZE));
	assert_ok(cvmm_vhost_vdpa_get_iova_range(&d.vhost, &range));
	assert_int_equal(range.first, 0);
	assert_int_equal(range.last, UINT64_MAX);
	disk_end(&d);
}

static void parts_of_the_configuration_are_read_or_refused(void **state)
{
	uint8_t config[CVMM_VHOST_VDPA_CONFIG_MAX], part[4] = { 0x5a, 0x5a, 0x5a, 0x5a };
	uint32_t bytes = 0;
	struct disk d;

	(void)state;
	disk_open(&d);
	assert_ok(cvmm_vhost_vdpa_get_config_size(&d.vhost, &bytes));
	assert_in_range(bytes, sizeof(part), sizeof(config));
	assert_ok(cvmm_vhost_vdpa_get_config(&d.vhost, 0, config, bytes));
	for (uint32_t i = 0; i + sizeof(part) <= bytes; i++) {
		assert_ok(cvmm_vhost_vdpa_get_config(&d.vhost, i, part, sizeof(part)));
		assert_memory_equal(part, config + i, sizeof(part));
	}
	memset(part, 0x5a, sizeof(part));
	assert_int_equal(cvmm_vhost_vdpa_get_config(&d.vhost, bytes - 3, part, 4), -EINVAL);
	assert_int_equal(cvmm_vhost_vdpa_get_config(&d.vhost, UINT32_MAX, part, 4), -EINVAL);
	assert_int_equal(cvmm_vhost_vdpa_set_config(&d.vhost, bytes, part, 4), -EINVAL);
	for (size_t i = 0; i < sizeof(part); i++)
		assert_int_equal(part[i], 0x5a);
	disk_end(&d);
}

static void bits_of_the_status_are_not_taken_away(void **state)
{
	uint8_t status = 0;
	struct disk d;

	(void)state;
	disk_start(&d);
	assert_int_equal(cvmm_vhost_vdpa_set_status(&d.vhost, ACKNOWLEDGE), -EINVAL);
	assert_ok(cvmm_vhost_vdpa_get_status(&d.vhost, &status));
	assert_int_equal(status, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
	assert_int_equal(cvmm_vhost_set_features(&d.vhost, DISK_FEATURES), -EBUSY);
	disk_end(&d);
}

static void a_device_is_one_programs_at_a_time(void **state)
{
	struct cvmm_vhost other = CVMM_VHOST_NONE;
	struct cvmm_error err = { 0 };
	struct disk d;

	(void)state;
	disk_open(&d);
	assert_int_equal(cvmm_vhost_open(&other, CVMM_VHOST_VDPA, getenv("CVMM_VDPA_BLK"), &err),
			 -EBUSY);
	assert_says(&err, "in use");
	/* There are no memory tables, no logs, and no messages to read. */
	assert_int_equal(cvmm_vhost_set_log_base(&d.vhost, &d), -ENOTTY);
	assert_int_equal(cvmm_vhost_msg_read(&d.vhost, &(struct cvmm_vhost_msg){ .asid = 0 }, NULL),
			 -EINVAL);
	disk_end(&d);
}

/* ---- suspending ------------------------------------------------------------------------------ */

static void a_suspended_device_leaves_its_queue_alone_until_it_is_resumed(void **state)
{
	uint32_t before = 0, num = 0;
	struct disk d;

	(void)state;
	disk_start(&d);
	if (!cvmm_vhost_has_backend_feature(&d.vhost, VHOST_BACKEND_F_SUSPEND))
		SKIP("this simulator cannot be suspended");
	disk_write(&d, 0, 1);
	assert_ok(cvmm_vhost_vdpa_suspend(&d.vhost));
	assert_ok(cvmm_vhost_get_vring_base(&d.vhost, 0, &before));
	assert_int_equal(before, 1);
	disk_add(&d, VIRTIO_BLK_T_IN, 0);
	assert_ok(cvmm_vhost_get_vring_base(&d.vhost, 0, &num));
	assert_int_equal(num, before);
	assert_int_equal(cvmm_virtq_driver_take(&d.queue.drv, &(void *){ NULL }, &num), 0);
	if (!cvmm_vhost_has_backend_feature(&d.vhost, VHOST_BACKEND_F_RESUME)) {
		assert_true(cvmm_vhost_vdpa_resume(&d.vhost) < 0);
		disk_end(&d);
		SKIP("this kernel cannot resume (older than 6.3)");
	}
	assert_ok(cvmm_vhost_vdpa_resume(&d.vhost));
	disk_wait(&d);
	disk_must_have(&d, 0, 1);
	disk_end(&d);
}

/* As a migration does it: suspend, take the queue, reset, and go on where it was. */
static void a_queue_goes_on_after_a_reset(void **state)
{
	struct disk d;

	(void)state;
	disk_start(&d);
	for (uint32_t i = 0; i < SIZE + 3; i++)
		disk_write(&d, i * DATA_BYTES / SECTOR, i);
	if (cvmm_vhost_has_backend_feature(&d.vhost, VHOST_BACKEND_F_SUSPEND))
		assert_ok(cvmm_vhost_vdpa_suspend(&d.vhost));
	queue_stop(&d.queue, &d.vhost);
	assert_int_equal(d.queue.q.base.next_avail, SIZE + 3);
	assert_int_equal(d.queue.q.base.next_used, SIZE + 3);
	vdpa_negotiate(&d.vhost, DISK_FEATURES);
	/* Mappings may be gone, or not: say it anew. */
	cvmm_vhost_vdpa_unmap_mem(&d.vhost, 0, d.mem);
	vdpa_map(&d.vhost, 0, d.mem);
	queue_start(&d.queue, &d.vhost);
	vdpa_go(&d.vhost);
	for (uint32_t i = 0; i < SIZE + 3; i++)
		disk_must_have(&d, i * DATA_BYTES / SECTOR, i);
	disk_end(&d);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void what_is_mapped_is_not_mapped_again(void **state)
{
	struct cvmm_error err = { 0 };
	struct disk d;

	(void)state;
	disk_start(&d);
	assert_int_equal(cvmm_vhost_vdpa_map_mem(&d.vhost, 0, d.mem, &err), -EFAULT);
	assert_says(&err, "mapped already?");
	/* And what was mapped before still is. */
	disk_write(&d, 0, 1);
	assert_ok(cvmm_vhost_vdpa_unmap_mem(&d.vhost, 0, d.mem));
	vdpa_map(&d.vhost, 0, d.mem);
	disk_must_have(&d, 0, 1);
	disk_end(&d);
}

/* The second region is taken: the first one must be free again afterwards. */
static void a_mapping_that_fails_half_way_leaves_nothing(void **state)
{
	struct cvmm_error err = { 0 };
	struct disk d;

	(void)state;
	for (unsigned int batch = 0; batch < 2; batch++) {
		disk_open(&d);
		if (!batch)
			d.vhost.backend_features &= ~BACKEND(IOTLB_BATCH);
		assert_ok(cvmm_vhost_vdpa_dma_map(&d.vhost, 0, HIGH_END - PAGE, PAGE,
						  cvmm_mem_ptr(d.mem, G(0), PAGE, CVMM_ACCESS_READ),
						  CVMM_ACCESS_READ));
		assert_int_equal(cvmm_vhost_vdpa_map_mem(&d.vhost, 0, d.mem, &err), -EFAULT);
		assert_ok(cvmm_vhost_vdpa_dma_unmap(&d.vhost, 0, HIGH_END - PAGE, PAGE));
		vdpa_map(&d.vhost, 0, d.mem);
		queue_start(&d.queue, &d.vhost);
		vdpa_go(&d.vhost);
		disk_write(&d, 0, batch);
		disk_must_have(&d, 0, batch);
		disk_end(&d);
	}
}

static void a_device_cannot_read_what_is_not_mapped_for_it(void **state)
{
	uint8_t status = 0;
	uint32_t len;
	struct disk d;

	(void)state;
	disk_start(&d);
	disk_write(&d, 0, 1);
	/* All but the data, which the last two pages of the lower half begin. */
	assert_ok(cvmm_vhost_vdpa_unmap_mem(&d.vhost, 0, d.mem));
	assert_ok(cvmm_vhost_vdpa_dma_map(
		&d.vhost, 0, LOW_AT, LOW_BYTES / 4,
		cvmm_mem_ptr(d.mem, G(LOW_AT), LOW_BYTES / 4, CVMM_ACCESS_READ_WRITE),
		CVMM_ACCESS_READ_WRITE));
	assert_ok(cvmm_vhost_vdpa_dma_map(
		&d.vhost, 0, HIGH_AT, HIGH_BYTES,
		cvmm_mem_ptr(d.mem, G(HIGH_AT), HIGH_BYTES, CVMM_ACCESS_READ_WRITE),
		CVMM_ACCESS_READ_WRITE));
	disk_add(&d, VIRTIO_BLK_T_OUT, 0);
	assert_ptr_equal(queue_wait(&d.queue, &len), &d);
	get(d.mem, STATUS_AT, &status, 1);
	assert_int_equal(status, VIRTIO_BLK_S_IOERR);
	disk_end(&d);
}

static void a_ring_that_is_not_in_ram_does_not_reach_the_device(void **state)
{
	struct cvmm_error err = { 0 };
	struct disk d;

	(void)state;
	disk_open(&d);
	vdpa_map(&d.vhost, 0, d.mem);
	d.queue.q.ring.desc = G(HIGH_END - PAGE);
	d.queue.q.ring.size = 512;
	assert_int_equal(cvmm_vhost_queue_start(&d.vhost, d.mem, &d.queue.q, &err), -EINVAL);
	assert_says(&err, "descriptor area");
	disk_end(&d);
}

/* ---- the network device: two groups, two address spaces -------------------------------------- */

#define NET_ID 1U
#define RX 0U
#define TX 1U
#define CONTROL 2U
#define QUEUES 3U
#define VNET_BYTES 12U
#define FRAME_BYTES 512U
#define NET_FEATURES                                                     \
	(VERSION_1 | ACCESS_PLATFORM | UINT64_C(1) << VIRTIO_NET_F_MAC | \
	 UINT64_C(1) << VIRTIO_NET_F_CTRL_VQ | UINT64_C(1) << VIRTIO_NET_F_CTRL_MAC_ADDR)

#define NET_RINGS_AT(index) (LOW_AT + (index)*0x8000)
#define RX_BUFFER_AT HIGH_AT
#define TX_BUFFER_AT (HIGH_AT + PAGE)
#define COMMAND_AT (HIGH_AT + 2 * PAGE)
#define ACK_AT (HIGH_AT + 3 * PAGE)

/* Memory of the control queue, at the same addresses as that of the others, but in another place. */
struct netdev {
	struct cvmm_vhost vhost;
	struct cvmm_mem *mem, *control_mem;
	struct guest_queue queues[QUEUES];
};

/* @control_asid: address space of the control queue. */
static void netdev_start(struct netdev *n, uint32_t control_asid)
{
	uint32_t groups = 0, spaces = 0, group = 0;

	n->vhost = vdpa_open("CVMM_VDPA_NET");
	n->mem = make_memory();
	n->control_mem = control_asid ? make_memory() : cvmm_mem_ref(n->mem);
	vdpa_negotiate(&n->vhost, NET_FEATURES);
	assert_ok(cvmm_vhost_vdpa_get_group_num(&n->vhost, &groups));
	assert_ok(cvmm_vhost_vdpa_get_as_num(&n->vhost, &spaces));
	assert_int_equal(groups, 2);
	assert_int_equal(spaces, 2);
	assert_ok(cvmm_vhost_vdpa_get_vring_group(&n->vhost, CONTROL, &group));
	assert_ok(cvmm_vhost_vdpa_set_group_asid(&n->vhost, group, control_asid));
	vdpa_map(&n->vhost, 0, n->mem);
	if (control_asid)
		vdpa_map(&n->vhost, control_asid, n->control_mem);
	for (uint32_t i = 0; i < QUEUES; i++) {
		queue_init(&n->queues[i], i == CONTROL ? n->control_mem : n->mem, i, SIZE,
			   NET_FEATURES, NET_RINGS_AT(i));
		queue_start(&n->queues[i], &n->vhost);
	}
	vdpa_go(&n->vhost);
}

static void netdev_end(struct netdev *n)
{
	for (uint32_t i = 0; i < QUEUES; i++)
		queue_is_sound(&n->queues[i]);
	cvmm_vhost_close(&n->vhost);
	for (uint32_t i = 0; i < QUEUES; i++)
		queue_fini(&n->queues[i]);
	cvmm_mem_unref(n->mem);
	cvmm_mem_unref(n->control_mem);
}

static void a_frame_comes_back(struct netdev *n, uint32_t seed)
{
	const struct cvmm_virtq_segment rx = { G(RX_BUFFER_AT), VNET_BYTES + FRAME_BYTES };
	const struct cvmm_virtq_segment tx = { G(TX_BUFFER_AT), VNET_BYTES + FRAME_BYTES };
	uint8_t frame[VNET_BYTES + FRAME_BYTES], got[VNET_BYTES + FRAME_BYTES] = { 0 };
	uint32_t len = 0;

	fill(frame, sizeof(frame), seed);
	memset(frame, 0, VNET_BYTES);
	memset(frame + VNET_BYTES, 0xff, ETH_ALEN); /* to all */
	put(n->mem, TX_BUFFER_AT, frame, sizeof(frame));
	put(n->mem, RX_BUFFER_AT, got, sizeof(got));
	queue_add(&n->queues[RX], &rx, 0, 1, n);
	queue_kick(&n->queues[RX]);
	queue_do(&n->queues[TX], &tx, 1, 0);
	assert_ptr_equal(queue_wait(&n->queues[RX], &len), n);
	assert_int_equal(len, sizeof(frame));
	get(n->mem, RX_BUFFER_AT, got, sizeof(got));
	assert_memory_equal(got, frame, sizeof(frame));
}

/* By the control queue. */
static void set_mac(struct netdev *n, const uint8_t mac[ETH_ALEN])
{
	const uint8_t command[2] = { VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET };
	const struct cvmm_virtq_segment segments[] = { { G(COMMAND_AT), sizeof(command) },
						       { G(COMMAND_AT + 64), ETH_ALEN },
						       { G(ACK_AT), 1 } };
	uint8_t ack = 0xff;

	put(n->control_mem, COMMAND_AT, command, sizeof(command));
	put(n->control_mem, COMMAND_AT + 64, mac, ETH_ALEN);
	put(n->control_mem, ACK_AT, &ack, 1);
	queue_do(&n->queues[CONTROL], segments, 2, 1);
	get(n->control_mem, ACK_AT, &ack, 1);
	assert_int_equal(ack, VIRTIO_NET_OK);
}

static void frames_come_back(void **state)
{
	struct netdev n;

	(void)state;
	netdev_start(&n, 0);
	for (uint32_t i = 0; i < 2 * SIZE; i++)
		a_frame_comes_back(&n, i);
	netdev_end(&n);
}

/* The device finds the control queue in address space 1 only: in 0, other memory is at its addresses. */
static void a_group_of_queues_has_an_address_space_of_its_own(void **state)
{
	const uint8_t macs[][ETH_ALEN] = { { 2, 1, 2, 3, 4, 5 }, { 2, 6, 7, 8, 9, 10 } };
	uint8_t got[ETH_ALEN];
	struct netdev n;

	(void)state;
	netdev_start(&n, 1);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(macs); i++) {
		set_mac(&n, macs[i]);
		assert_ok(cvmm_vhost_vdpa_get_config(&n.vhost, 0, got, sizeof(got)));
		assert_memory_equal(got, macs[i], sizeof(got));
		a_frame_comes_back(&n, (uint32_t)i);
	}
	assert_ok(cvmm_vhost_vdpa_unmap_mem(&n.vhost, 1, n.control_mem));
	a_frame_comes_back(&n, 42);
	netdev_end(&n);
}

static void groups_and_address_spaces_have_limits(void **state)
{
	uint32_t id = 0, rx = 42, tx = 42, control = 42, group = 42;
	struct cvmm_vhost vhost = vdpa_open("CVMM_VDPA_NET");
	int ret;

	(void)state;
	assert_ok(cvmm_vhost_vdpa_get_device_id(&vhost, &id));
	assert_int_equal(id, NET_ID);
	assert_ok(cvmm_vhost_vdpa_get_vring_group(&vhost, RX, &rx));
	assert_ok(cvmm_vhost_vdpa_get_vring_group(&vhost, TX, &tx));
	assert_ok(cvmm_vhost_vdpa_get_vring_group(&vhost, CONTROL, &control));
	assert_int_equal(rx, tx);
	assert_int_not_equal(rx, control);
	assert_int_equal(cvmm_vhost_vdpa_get_vring_group(&vhost, QUEUES, &group), -ENOBUFS);
	ret = cvmm_vhost_vdpa_get_vring_desc_group(&vhost, RX, &group);
	assert_true(ret == -EOPNOTSUPP || ret == -ENOTTY);
	assert_int_equal(group, 42);
	assert_ok(cvmm_vhost_vdpa_set_group_asid(&vhost, control, 1));
	assert_int_equal(cvmm_vhost_vdpa_set_group_asid(&vhost, control, 2), -EINVAL);
	assert_int_equal(cvmm_vhost_vdpa_set_group_asid(&vhost, 2, 0), -EINVAL);
	assert_int_equal(cvmm_vhost_vdpa_dma_map(&vhost, 2, 0, PAGE, &vhost, CVMM_ACCESS_READ),
			 -EFAULT);
	cvmm_vhost_close(&vhost);
}

static void a_configuration_that_can_be_written_is(void **state)
{
	const uint8_t mac[ETH_ALEN] = { 2, 9, 8, 7, 6, 5 };
	uint8_t got[ETH_ALEN] = { 0 };
	struct cvmm_vhost vhost = vdpa_open("CVMM_VDPA_NET");

	(void)state;
	vdpa_negotiate(&vhost, NET_FEATURES);
	assert_ok(cvmm_vhost_vdpa_set_config(&vhost, 0, mac, sizeof(mac)));
	assert_ok(cvmm_vhost_vdpa_get_config(&vhost, 0, got, sizeof(got)));
	assert_memory_equal(got, mac, sizeof(mac));
	cvmm_vhost_close(&vhost);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sectors_that_were_written_are_read),
		cmocka_unit_test(the_disk_says_what_it_is),
		cmocka_unit_test(parts_of_the_configuration_are_read_or_refused),
		cmocka_unit_test(bits_of_the_status_are_not_taken_away),
		cmocka_unit_test(a_device_is_one_programs_at_a_time),
		cmocka_unit_test(a_suspended_device_leaves_its_queue_alone_until_it_is_resumed),
		cmocka_unit_test(a_queue_goes_on_after_a_reset),
		cmocka_unit_test(what_is_mapped_is_not_mapped_again),
		cmocka_unit_test(a_mapping_that_fails_half_way_leaves_nothing),
		cmocka_unit_test(a_device_cannot_read_what_is_not_mapped_for_it),
		cmocka_unit_test(a_ring_that_is_not_in_ram_does_not_reach_the_device),
		cmocka_unit_test(frames_come_back),
		cmocka_unit_test(a_group_of_queues_has_an_address_space_of_its_own),
		cmocka_unit_test(groups_and_address_spaces_have_limits),
		cmocka_unit_test(a_configuration_that_can_be_written_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
