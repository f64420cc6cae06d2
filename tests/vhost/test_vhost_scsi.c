// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * vhost-scsi of a real kernel: SCSI commands in rings of ours reach a RAM disk of the kernel's target. The
 * target is made by tests/vhost/run, which says its name in CVMM_VHOST_WWPN, or in CVMM_VHOST_NO_SCSI why
 * there is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <linux/virtio_scsi.h>
#include <cmocka.h>

#include "guest.h"

#define CONTROL 0U
#define EVENTS 1U
#define REQUESTS 2U
#define QUEUES 3U
#define SIZE 16U
#define TPGT 1U
#define BLOCK 512U
#define DATA_BYTES (8 * BLOCK)

#define RINGS_AT(index) (LOW_AT + (index)*0x8000)
#define REQUEST_AT HIGH_AT
#define RESPONSE_AT (HIGH_AT + PAGE)
#define DATA_AT (LOW_AT + LOW_BYTES / 2 - DATA_BYTES / 2) /* across the border */

/* SCSI: SPC-4, SBC-3. */
#define INQUIRY 0x12
#define READ_10 0x28
#define WRITE_10 0x2a
#define READ_CAPACITY_10 0x25
#define GOOD 0
#define CHECK_CONDITION 2
#define CHECKS_MAX 3 /* conditions that are told once, e.g. that the target is new */

struct scsi {
	struct cvmm_vhost vhost;
	struct cvmm_mem *mem;
	struct guest_queue queues[QUEUES];
	const char *wwpn;
};

static void scsi_open(struct scsi *s)
{
	const char *why = getenv("CVMM_VHOST_NO_SCSI");

	*s = (struct scsi){ .wwpn = getenv("CVMM_VHOST_WWPN") };
	s->vhost = open_or_skip(CVMM_VHOST_SCSI, NULL);
	if (!s->wwpn)
		SKIP("no SCSI target: %s", why ? why : "CVMM_VHOST_WWPN does not name it");
	s->mem = make_memory();
	assert_ok(cvmm_vhost_set_features(&s->vhost, VERSION_1));
	set_memory(&s->vhost, s->mem);
	for (uint32_t i = 0; i < QUEUES; i++) {
		queue_init(&s->queues[i], s->mem, i, SIZE, VERSION_1, RINGS_AT(i));
		queue_start(&s->queues[i], &s->vhost);
	}
}

static void scsi_start(struct scsi *s)
{
	scsi_open(s);
	assert_ok(cvmm_vhost_scsi_set_endpoint(&s->vhost, s->wwpn, TPGT));
}

static void scsi_end(struct scsi *s)
{
	for (uint32_t i = 0; i < QUEUES; i++)
		queue_is_sound(&s->queues[i]);
	cvmm_vhost_close(&s->vhost);
	for (uint32_t i = 0; i < QUEUES; i++)
		queue_fini(&s->queues[i]);
	cvmm_mem_unref(s->mem);
}

/* ---- commands -------------------------------------------------------------------------------- */

enum direction {
	TO_TARGET,
	FROM_TARGET
};

/* One command, with @len bytes at DATA_AT. Return: its status. */
static uint8_t try_command(struct scsi *s, const uint8_t *cdb, size_t cdb_bytes,
			   enum direction direction, uint32_t len)
{
	struct virtio_scsi_cmd_req request = { .lun = { 1, TPGT, 0x40, 0 }, .tag = htole64(4711) };
	struct virtio_scsi_cmd_resp response;
	const struct cvmm_virtq_segment data = { G(DATA_AT), len };
	struct cvmm_virtq_segment segments[3] = { { G(REQUEST_AT), sizeof(request) } };

	memcpy(request.cdb, cdb, cdb_bytes);
	put(s->mem, REQUEST_AT, &request, sizeof(request));
	memset(&response, 0xff, sizeof(response));
	put(s->mem, RESPONSE_AT, &response, sizeof(response));
	if (direction == TO_TARGET)
		segments[1] = data;
	segments[direction == TO_TARGET ? 2 : 1] =
		(struct cvmm_virtq_segment){ G(RESPONSE_AT), sizeof(response) };
	if (direction == FROM_TARGET)
		segments[2] = data;
	queue_do(&s->queues[REQUESTS], segments, direction == TO_TARGET ? 2 : 1,
		 direction == TO_TARGET ? 1 : 2);
	get(s->mem, RESPONSE_AT, &response, sizeof(response));
	assert_int_equal(response.response, VIRTIO_SCSI_S_OK);
	return response.status;
}

static void command(struct scsi *s, const uint8_t *cdb, size_t cdb_bytes, enum direction direction,
		    uint32_t len)
{
	uint8_t status = CHECK_CONDITION;

	for (int i = 0; i < CHECKS_MAX && status == CHECK_CONDITION; i++)
		status = try_command(s, cdb, cdb_bytes, direction, len);
	assert_int_equal(status, GOOD);
}

static void move_blocks(struct scsi *s, uint8_t operation, uint32_t lba)
{
	const uint8_t cdb[10] = {
		operation,
		0,
		(uint8_t)(lba >> 24),
		(uint8_t)(lba >> 16),
		(uint8_t)(lba >> 8),
		(uint8_t)lba,
		0,
		0,
		DATA_BYTES / BLOCK,
		0,
	};

	command(s, cdb, sizeof(cdb), operation == WRITE_10 ? TO_TARGET : FROM_TARGET, DATA_BYTES);
}

static void write_blocks(struct scsi *s, uint32_t lba, uint32_t seed)
{
	uint8_t data[DATA_BYTES];

	fill(data, sizeof(data), seed);
	put(s->mem, DATA_AT, data, sizeof(data));
	move_blocks(s, WRITE_10, lba);
}

static void must_read_blocks(struct scsi *s, uint32_t lba, uint32_t seed)
{
	uint8_t want[DATA_BYTES], got[DATA_BYTES] = { 0 };

	fill(want, sizeof(want), seed);
	put(s->mem, DATA_AT, got, sizeof(got));
	move_blocks(s, READ_10, lba);
	get(s->mem, DATA_AT, got, sizeof(got));
	assert_memory_equal(got, want, sizeof(want));
}

static void the_target_says_what_it_is(void **state)
{
	const uint8_t inquiry[6] = { INQUIRY, 0, 0, 0, 96 };
	const uint8_t capacity[10] = { READ_CAPACITY_10 };
	uint8_t answer[96];
	struct scsi s;

	(void)state;
	scsi_start(&s);
	command(&s, inquiry, sizeof(inquiry), FROM_TARGET, sizeof(answer));
	get(s.mem, DATA_AT, answer, sizeof(answer));
	assert_int_equal(answer[0] & 0x1f, 0); /* a disk */
	assert_memory_equal(answer + 8, "LIO-ORG ", 8);
	command(&s, capacity, sizeof(capacity), FROM_TARGET, 8);
	get(s.mem, DATA_AT, answer, 8);
	assert_int_equal(be32toh(*(uint32_t *)(void *)&answer[4]), BLOCK);
	scsi_end(&s);
}

static void blocks_that_were_written_are_read(void **state)
{
	struct scsi s;

	(void)state;
	scsi_start(&s);
	for (uint32_t i = 0; i < 2 * SIZE; i++)
		write_blocks(&s, i * DATA_BYTES / BLOCK, i);
	for (uint32_t i = 0; i < 2 * SIZE; i++)
		must_read_blocks(&s, i * DATA_BYTES / BLOCK, i);
	scsi_end(&s);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void endpoints_come_and_go(void **state)
{
	struct scsi s;

	(void)state;
	scsi_open(&s);
	assert_int_equal(cvmm_vhost_scsi_clear_endpoint(&s.vhost, s.wwpn, TPGT), 0);
	assert_int_equal(cvmm_vhost_scsi_set_endpoint(&s.vhost, "naa.0123456789abcdef", TPGT),
			 -ENODEV);
	assert_ok(cvmm_vhost_scsi_set_endpoint(&s.vhost, s.wwpn, TPGT));
	assert_int_equal(cvmm_vhost_scsi_set_endpoint(&s.vhost, s.wwpn, TPGT), -EEXIST);
	write_blocks(&s, 0, 42);
	assert_int_equal(cvmm_vhost_scsi_clear_endpoint(&s.vhost, "naa.0123456789abcdef", TPGT),
			 -EINVAL);
	assert_ok(cvmm_vhost_scsi_clear_endpoint(&s.vhost, s.wwpn, TPGT));
	for (uint32_t i = 0; i < QUEUES; i++)
		queue_stop(&s.queues[i], &s.vhost);
	assert_true(s.queues[REQUESTS].q.base.next_avail >= 1);
	assert_int_equal(s.queues[REQUESTS].q.base.next_avail, s.queues[REQUESTS].q.base.next_used);
	for (uint32_t i = 0; i < QUEUES; i++)
		queue_start(&s.queues[i], &s.vhost);
	assert_ok(cvmm_vhost_scsi_set_endpoint(&s.vhost, s.wwpn, TPGT));
	must_read_blocks(&s, 0, 42);
	scsi_end(&s);
}

static void missed_events_are_kept(void **state)
{
	struct cvmm_vhost vhost = open_or_skip(CVMM_VHOST_SCSI, NULL);
	bool missed = true;
	int version = -1;

	(void)state;
	assert_ok(cvmm_vhost_scsi_get_abi_version(&vhost, &version));
	assert_int_equal(version, VHOST_SCSI_ABI_VERSION);
	assert_ok(cvmm_vhost_scsi_get_events_missed(&vhost, &missed));
	assert_false(missed);
	assert_ok(cvmm_vhost_scsi_set_events_missed(&vhost, true));
	assert_ok(cvmm_vhost_scsi_get_events_missed(&vhost, &missed));
	assert_true(missed);
	cvmm_vhost_close(&vhost);
}

static void queues_can_have_workers_of_their_own(void **state)
{
	uint32_t worker = 0x5a5a5a5a, of_control = 0, of_requests = 0;
	struct scsi s;
	int ret;

	(void)state;
	scsi_start(&s);
	ret = cvmm_vhost_new_worker(&s.vhost, &worker);
	if (ret == -ENOTTY) {
		assert_int_equal(worker, 0x5a5a5a5a);
		assert_int_equal(cvmm_vhost_free_worker(&s.vhost, 0), -ENOTTY);
		scsi_end(&s);
		SKIP("workers: this kernel is older than 6.5");
	}
	assert_ok(ret);
	assert_ok(cvmm_vhost_attach_vring_worker(&s.vhost, REQUESTS, worker));
	assert_ok(cvmm_vhost_get_vring_worker(&s.vhost, CONTROL, &of_control));
	assert_ok(cvmm_vhost_get_vring_worker(&s.vhost, REQUESTS, &of_requests));
	assert_int_equal(of_requests, worker);
	assert_int_not_equal(of_control, worker);
	write_blocks(&s, 8, 1);
	must_read_blocks(&s, 8, 1);
	assert_int_equal(cvmm_vhost_free_worker(&s.vhost, worker), -EBUSY);
	assert_ok(cvmm_vhost_attach_vring_worker(&s.vhost, REQUESTS, of_control));
	assert_ok(cvmm_vhost_free_worker(&s.vhost, worker));
	assert_int_equal(cvmm_vhost_attach_vring_worker(&s.vhost, REQUESTS, worker), -ENODEV);
	must_read_blocks(&s, 8, 1);
	scsi_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_target_says_what_it_is),
		cmocka_unit_test(blocks_that_were_written_are_read),
		cmocka_unit_test(endpoints_come_and_go),
		cmocka_unit_test(missed_events_are_kept),
		cmocka_unit_test(queues_can_have_workers_of_their_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
