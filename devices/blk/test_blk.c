// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/loop.h>
#endif
#include <cmocka.h>

#include "../../tests/support/descriptors.h"
#include "../../tests/support/device_harness.h"
#include "blk_internal.h"

#define SECTOR CVMM_BLK_SECTOR_BYTES
#define DISK_SECTORS 64U
#define DISK_BYTES (DISK_SECTORS * SECTOR)
#define UNWRITTEN 0xee /* what buffers and the status byte hold before a request */

/* ---- a disk and a driver for it -------------------------------------------------------------- */

struct disk {
	int fd;
	struct cvmm_blk *blk;
	struct harness h;
	uint64_t header, data, status; /* guest addresses */
};

static int make_image(uint64_t len_bytes)
{
	int fd = test_file();

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)len_bytes), 0);
	return fd;
}

/* Byte @at of a fresh image. */
static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at / SECTOR + at % 251);
}

static void fill_image(int fd, uint64_t len_bytes)
{
	uint8_t *bytes = malloc(len_bytes);

	assert_non_null(bytes);
	for (uint64_t i = 0; i < len_bytes; i++)
		bytes[i] = pattern(i);
	assert_int_equal(cvmm_pwrite_full(fd, bytes, len_bytes, 0), 0);
	free(bytes);
}

/* Everything that the device offers is negotiated, except the features in @without. */
static void disk_init_config(struct disk *d, struct cvmm_blk_config *config, uint64_t without)
{
	struct cvmm_error err = { 0 };

	memset(d, 0, sizeof(*d));
	if (!config->fd) {
		config->fd = make_image(DISK_BYTES);
		fill_image(config->fd, DISK_BYTES);
	}
	d->fd = config->fd;
	if (cvmm_blk_create(config, &d->blk, &err))
		fail_msg("%s", err.message);
	harness_init(&d->h, &cvmm_blk_ops, d->blk, cvmm_blk_ops.features(d->blk) & ~without);
	assert_int_equal(harness_start(&d->h), 0);
	d->header = harness_alloc(&d->h, sizeof(struct blk_header), 16);
	d->data = harness_alloc(&d->h, 1U << 20, 4096);
	d->status = harness_alloc(&d->h, 1, 1);
}

static void disk_init(struct disk *d)
{
	struct cvmm_blk_config config = { .serial = "serial-0123456789xyz" };

	disk_init_config(d, &config, 0);
}

static void disk_init_read_only(struct disk *d)
{
	struct cvmm_blk_config config = { .read_only = true, .serial = "ro" };

	disk_init_config(d, &config, 0);
}

static void disk_fini(struct disk *d)
{
	harness_fini(&d->h);
	cvmm_blk_destroy(d->blk);
	close(d->fd);
}

static void put_header(struct disk *d, uint32_t type, uint64_t sector)
{
	struct blk_header header = {
		.type = cvmm_le32_from(type),
		.sector = cvmm_le64_from(sector),
	};
	uint8_t unwritten = UNWRITTEN;

	harness_write(&d->h, d->header, &header, sizeof(header));
	harness_write(&d->h, d->status, &unwritten, 1);
}

static uint8_t get_byte(struct disk *d, uint64_t gpa)
{
	uint8_t byte;

	harness_read(&d->h, gpa, &byte, 1);
	return byte;
}

/* Send a chain and wait. Return: the byte at @status_gpa. */
static uint8_t send_chain(struct disk *d, const struct harness_buf *bufs, size_t count,
			  uint64_t status_gpa, uint32_t *ret_len)
{
	uint16_t head = harness_submit(&d->h, 0, bufs, count), used_head;

	harness_kick(&d->h, 0);
	harness_wait_used(&d->h, 0, &used_head, ret_len);
	assert_int_equal(used_head, head);
	return get_byte(d, status_gpa);
}

/* The usual layout: header, data (if any), status. */
static uint8_t request(struct disk *d, uint32_t type, uint64_t sector, uint32_t data_bytes,
		       bool data_writable, uint32_t *ret_len)
{
	struct harness_buf bufs[3] = { { d->header, sizeof(struct blk_header), false } };
	size_t count = 1;

	put_header(d, type, sector);
	if (data_bytes)
		bufs[count++] = (struct harness_buf){ d->data, data_bytes, data_writable };
	bufs[count++] = (struct harness_buf){ d->status, 1, true };
	return send_chain(d, bufs, count, d->status, ret_len);
}

static uint8_t read_sectors(struct disk *d, uint64_t sector, uint32_t data_bytes)
{
	return request(d, BLK_T_IN, sector, data_bytes, true, NULL);
}

static uint8_t write_sectors(struct disk *d, uint64_t sector, uint32_t data_bytes)
{
	return request(d, BLK_T_OUT, sector, data_bytes, false, NULL);
}

static void set_data(struct disk *d, uint8_t value, uint64_t len)
{
	harness_must(!cvmm_mem_fill(d->h.mem, cvmm_gpa_from(d->data), value, len));
}

static void assert_data_is_image(struct disk *d, uint64_t gpa, uint64_t image_at, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		assert_int_equal(get_byte(d, gpa + i), pattern(image_at + i));
}

static uint8_t image_byte(struct disk *d, uint64_t at)
{
	uint8_t byte = 0;

	assert_int_equal(cvmm_pread_full(d->fd, &byte, 1, at), 1);
	return byte;
}

static void assert_image_is(struct disk *d, uint64_t at, uint64_t len, uint8_t value)
{
	for (uint64_t i = 0; i < len; i++)
		assert_int_equal(image_byte(d, at + i), value);
}

static void assert_image_unchanged(struct disk *d)
{
	for (uint64_t i = 0; i < DISK_BYTES; i += 37)
		assert_int_equal(image_byte(d, i), pattern(i));
}

/* Run a request that consists of @count ranges. */
static uint8_t range_request(struct disk *d, uint32_t type, const struct blk_segment *segments,
			     size_t count)
{
	harness_write(&d->h, d->data, segments, count * sizeof(*segments));
	return request(d, type, 0, (uint32_t)(count * sizeof(*segments)), false, NULL);
}

static struct blk_segment segment(uint64_t sector, uint32_t sectors, uint32_t flags)
{
	return (struct blk_segment){ cvmm_le64_from(sector), cvmm_le32_from(sectors),
				     cvmm_le32_from(flags) };
}

static uint8_t one_range(struct disk *d, uint32_t type, uint64_t sector, uint32_t sectors,
			 uint32_t flags)
{
	struct blk_segment s = segment(sector, sectors, flags);

	return range_request(d, type, &s, 1);
}

/* ---- identity ------------------------------------------------------------------------------ */

static void the_configuration_space_describes_the_disk(void **state)
{
	struct blk_config_space c;
	struct disk d;

	(void)state;
	disk_init(&d);
	cvmm_virtio_config_space_read(cvmm_blk_ops.config_space(d.blk), 0, &c, sizeof(c));
	assert_int_equal(cvmm_le64_get(c.capacity), DISK_SECTORS);
	assert_int_equal(cvmm_blk_capacity_sectors(d.blk), DISK_SECTORS);
	assert_int_equal(cvmm_le32_get(c.seg_max), CVMM_BLK_SEGMENTS_MAX);
	assert_int_equal(cvmm_le32_get(c.blk_size), 512);
	assert_int_equal(c.physical_block_exp, 3);
	assert_int_equal(c.writeback, 1);
	assert_int_equal(cvmm_le32_get(c.max_discard_seg), CVMM_BLK_DISCARD_SEGMENTS_MAX);
	assert_int_equal(cvmm_le32_get(c.max_discard_sectors), CVMM_BLK_DISCARD_SECTORS_MAX);
	assert_int_equal(c.write_zeroes_may_unmap, 1);
	assert_int_equal(cvmm_blk_ops.device_id, 2);
	disk_fini(&d);
}

static void a_read_only_disk_offers_ro_and_nothing_that_writes(void **state)
{
	uint64_t features;
	struct disk d;

	(void)state;
	disk_init_read_only(&d);
	features = cvmm_blk_ops.features(d.blk);
	assert_true(features & CVMM_VIRTIO_FEATURE(BLK_F_RO));
	assert_true(features & CVMM_VIRTIO_FEATURE(BLK_F_FLUSH));
	assert_false(features & CVMM_VIRTIO_FEATURE(BLK_F_DISCARD));
	assert_false(features & CVMM_VIRTIO_FEATURE(BLK_F_WRITE_ZEROES));
	disk_fini(&d);
}

static void count_line(void *ctx, enum cvmm_log_level level, const char *message)
{
	(void)level;
	(void)message;
	++*(unsigned int *)ctx;
}

static void a_tail_shorter_than_a_block_is_left_out_with_a_log_line(void **state)
{
	unsigned int lines = 0;
	struct cvmm_log log = { count_line, &lines, CVMM_LOG_WARN };
	struct cvmm_blk_config config = { .fd = make_image(5 * SECTOR + 100), .log = &log };
	struct cvmm_blk *blk = NULL;

	(void)state;
	assert_int_equal(cvmm_blk_create(&config, &blk, NULL), 0);
	assert_int_equal(cvmm_blk_capacity_sectors(blk), 5);
	assert_int_equal(lines, 1);
	cvmm_blk_destroy(blk);
	config.block_size_bytes = 2048;
	assert_int_equal(cvmm_blk_create(&config, &blk, NULL), 0);
	assert_int_equal(cvmm_blk_capacity_sectors(blk), 4);
	cvmm_blk_destroy(blk);
	close(config.fd);
}

static void get_id_returns_all_20_bytes_of_the_serial(void **state)
{
	char serial[CVMM_BLK_SERIAL_BYTES];
	struct disk d;
	uint32_t len;

	(void)state;
	disk_init(&d);
	/* A sector beyond the disk does not matter to a request that has none. */
	assert_int_equal(request(&d, BLK_T_GET_ID, UINT64_MAX, CVMM_BLK_SERIAL_BYTES, true, &len),
			 BLK_S_OK);
	assert_int_equal(len, CVMM_BLK_SERIAL_BYTES + 1);
	harness_read(&d.h, d.data, serial, sizeof(serial));
	assert_memory_equal(serial, "serial-0123456789xyz", sizeof(serial));
	assert_int_equal(request(&d, BLK_T_GET_ID, 0, CVMM_BLK_SERIAL_BYTES - 1, true, NULL),
			 BLK_S_IOERR);
	assert_int_equal(request(&d, BLK_T_GET_ID, 0, CVMM_BLK_SERIAL_BYTES, false, NULL),
			 BLK_S_IOERR);
	disk_fini(&d);
}

/* ---- reading and writing ------------------------------------------------------------------- */

static void reading_returns_the_image_and_its_length(void **state)
{
	struct disk d;
	uint32_t len;

	(void)state;
	disk_init(&d);
	assert_int_equal(request(&d, BLK_T_IN, 3, 2 * SECTOR, true, &len), BLK_S_OK);
	assert_int_equal(len, 2 * SECTOR + 1);
	assert_data_is_image(&d, d.data, 3 * SECTOR, 2 * SECTOR);
	assert_true(d.h.notifications[0] >= 1);
	disk_fini(&d);
}

static void writing_changes_the_image_and_nothing_around_it(void **state)
{
	struct disk d;
	uint32_t len;

	(void)state;
	disk_init(&d);
	set_data(&d, 0xa5, 2 * SECTOR);
	assert_int_equal(request(&d, BLK_T_OUT, 7, 2 * SECTOR, false, &len), BLK_S_OK);
	assert_int_equal(len, 1);
	assert_image_is(&d, 7 * SECTOR, 2 * SECTOR, 0xa5);
	assert_int_equal(image_byte(&d, 7 * SECTOR - 1), pattern(7 * SECTOR - 1));
	assert_int_equal(image_byte(&d, 9 * SECTOR), pattern(9 * SECTOR));
	disk_fini(&d);
}

static void a_header_may_be_split_over_descriptors(void **state)
{
	struct disk d;

	(void)state;
	disk_init(&d);
	put_header(&d, BLK_T_IN, 1);
	assert_int_equal(send_chain(&d,
				    (struct harness_buf[]){ { d.header, 1, false },
							    { d.header + 1, 10, false },
							    { d.header + 11, 5, false },
							    { d.data, SECTOR, true },
							    { d.status, 1, true } },
				    5, d.status, NULL),
			 BLK_S_OK);
	assert_data_is_image(&d, d.data, SECTOR, SECTOR);
	disk_fini(&d);
}

static void header_and_data_may_share_a_descriptor(void **state)
{
	uint8_t bytes[SECTOR];
	struct disk d;

	(void)state;
	disk_init(&d);
	put_header(&d, BLK_T_OUT, 2);
	/* The data follow the header in guest memory. */
	d.header = d.data;
	put_header(&d, BLK_T_OUT, 2);
	memset(bytes, 0x3c, sizeof(bytes));
	harness_write(&d.h, d.header + 16, bytes, sizeof(bytes));
	assert_int_equal(send_chain(&d,
				    (struct harness_buf[]){ { d.header, 16 + 100, false },
							    { d.header + 116, SECTOR - 100, false },
							    { d.status, 1, true } },
				    3, d.status, NULL),
			 BLK_S_OK);
	assert_image_is(&d, 2 * SECTOR, SECTOR, 0x3c);
	disk_fini(&d);
}

static void the_status_may_share_a_descriptor_with_data(void **state)
{
	uint8_t unwritten = UNWRITTEN;
	struct disk d;

	(void)state;
	disk_init(&d);
	put_header(&d, BLK_T_IN, 4);
	harness_write(&d.h, d.data + SECTOR, &unwritten, 1);
	assert_int_equal(send_chain(&d,
				    (struct harness_buf[]){ { d.header, 16, false },
							    { d.data, SECTOR + 1, true } },
				    2, d.data + SECTOR, NULL),
			 BLK_S_OK);
	assert_data_is_image(&d, d.data, 4 * SECTOR, SECTOR);
	disk_fini(&d);
}

static void the_status_is_the_last_writable_byte(void **state)
{
	struct disk d;

	(void)state;
	disk_init(&d);
	put_header(&d, BLK_T_GET_ID, 0);
	set_data(&d, UNWRITTEN, 64);
	/* 20 bytes of identity; the status in a last descriptor of two bytes. */
	assert_int_equal(send_chain(&d,
				    (struct harness_buf[]){ { d.header, 16, false },
							    { d.data, 19, true },
							    { d.data + 32, 2, true } },
				    3, d.data + 33, NULL),
			 BLK_S_OK);
	assert_int_equal(get_byte(&d, d.data + 32), 'z');
	disk_fini(&d);
}

static void data_in_many_uneven_pieces_are_one_transfer(void **state)
{
	struct harness_buf bufs[66] = { { 0 } };
	struct disk d;
	size_t n = 0;

	(void)state;
	disk_init(&d);
	put_header(&d, BLK_T_IN, 8);
	bufs[n++] = (struct harness_buf){ d.header, 16, false };
	for (uint32_t i = 0; i < 64; i++)
		bufs[n++] = (struct harness_buf){ d.data + 1000 * i, i % 2 ? 1 : 31, true };
	bufs[n++] = (struct harness_buf){ d.status, 1, true };
	assert_int_equal(send_chain(&d, bufs, n, d.status, NULL), BLK_S_OK);
	for (uint32_t i = 0, at = 8 * SECTOR; i < 64; i++) {
		assert_data_is_image(&d, d.data + 1000 * i, at, i % 2 ? 1 : 31);
		at += i % 2 ? 1 : 31;
	}
	disk_fini(&d);
}

static void the_last_sector_is_reachable_and_the_next_is_not(void **state)
{
	struct disk d;

	(void)state;
	disk_init(&d);
	assert_int_equal(read_sectors(&d, DISK_SECTORS - 1, SECTOR), BLK_S_OK);
	assert_int_equal(read_sectors(&d, DISK_SECTORS, SECTOR), BLK_S_IOERR);
	assert_int_equal(read_sectors(&d, DISK_SECTORS - 1, 2 * SECTOR), BLK_S_IOERR);
	assert_int_equal(write_sectors(&d, DISK_SECTORS, SECTOR), BLK_S_IOERR);
	assert_int_equal(write_sectors(&d, DISK_SECTORS - 1, 2 * SECTOR), BLK_S_IOERR);
	assert_image_unchanged(&d);
	disk_fini(&d);
}

static void sectors_whose_bytes_overflow_are_refused(void **state)
{
	static const uint64_t sectors[] = {
		UINT64_MAX,	   UINT64_MAX / SECTOR, UINT64_MAX / SECTOR + 1,
		UINT64_C(1) << 55, UINT64_C(1) << 63,	INT64_MAX
	};
	struct disk d;

	(void)state;
	disk_init(&d);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(sectors); i++) {
		assert_int_equal(read_sectors(&d, sectors[i], SECTOR), BLK_S_IOERR);
		assert_int_equal(write_sectors(&d, sectors[i], SECTOR), BLK_S_IOERR);
	}
	assert_image_unchanged(&d);
	disk_fini(&d);
}

static void data_that_are_no_whole_sectors_are_refused(void **state)
{
	struct disk d;

	(void)state;
	disk_init(&d);
	assert_int_equal(read_sectors(&d, 0, SECTOR - 1), BLK_S_IOERR);
	assert_int_equal(read_sectors(&d, 0, SECTOR + 1), BLK_S_IOERR);
	assert_int_equal(write_sectors(&d, 0, 1), BLK_S_IOERR);
	assert_image_unchanged(&d);
	disk_fini(&d);
}

static void a_read_into_readable_memory_is_refused(void **state)
{
	struct disk d;

	(void)state;
	disk_init(&d);
	set_data(&d, UNWRITTEN, SECTOR);
	assert_int_equal(request(&d, BLK_T_IN, 0, SECTOR, false, NULL), BLK_S_IOERR);
	assert_int_equal(get_byte(&d, d.data), UNWRITTEN);
	disk_fini(&d);
}

static void a_write_from_writable_memory_is_refused(void **state)
{
	struct disk d;
	uint32_t len;

	(void)state;
	disk_init(&d);
	assert_int_equal(request(&d, BLK_T_OUT, 0, SECTOR, true, &len), BLK_S_IOERR);
	assert_int_equal(len, 0); /* the first writable byte was not written */
	assert_image_unchanged(&d);
	disk_fini(&d);
}

static void a_short_header_fails_the_request_only(void **state)
{
	struct disk d;

	(void)state;
	disk_init(&d);
	put_header(&d, BLK_T_FLUSH, 0);
	assert_int_equal(
		send_chain(&d,
			   (struct harness_buf[]){ { d.header, 15, false }, { d.status, 1, true } },
			   2, d.status, NULL),
		BLK_S_IOERR);
	put_header(&d, BLK_T_FLUSH, 0);
	assert_int_equal(
		send_chain(&d, (struct harness_buf[]){ { d.status, 1, true } }, 1, d.status, NULL),
		BLK_S_IOERR);
	assert_int_equal(d.h.resets_needed, 0);
	assert_int_equal(read_sectors(&d, 0, SECTOR), BLK_S_OK);
	disk_fini(&d);
}

static void an_unknown_type_is_unsupported(void **state)
{
	static const uint32_t types[] = { 2, 3, 5, 7, 9, 10, 12, 14, 15, 0x80000000, UINT32_MAX };
	struct disk d;

	(void)state;
	disk_init(&d);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(types); i++)
		assert_int_equal(request(&d, types[i], 0, 0, false, NULL), BLK_S_UNSUPP);
	assert_int_equal(request(&d, 99, UINT64_MAX, SECTOR, true, NULL), BLK_S_UNSUPP);
	disk_fini(&d);
}

static void a_chain_without_room_for_a_status_breaks_the_queue(void **state)
{
	struct disk d;

	(void)state;
	disk_init(&d);
	put_header(&d, BLK_T_OUT, 0);
	harness_submit(&d.h, 0,
		       (struct harness_buf[]){ { d.header, 16, false }, { d.data, SECTOR, false } },
		       2);
	harness_kick(&d.h, 0);
	harness_kick(&d.h, 0);
	harness_run(&d.h);
	assert_int_equal(d.h.resets_needed, 1);
	assert_false(harness_take_used(&d.h, 0, NULL, NULL));
	assert_image_unchanged(&d);
	/* A reset heals it. */
	harness_stop(&d.h);
	assert_int_equal(harness_start(&d.h), 0);
	assert_int_equal(read_sectors(&d, 0, SECTOR), BLK_S_OK);
	disk_fini(&d);
}

static void a_malformed_chain_breaks_the_queue(void **state)
{
	struct disk d;

	(void)state;
	disk_init(&d);
	driver_ring_offer(&d.h.rings[0], CVMM_BLK_QUEUE_SIZE_MAX);
	harness_kick(&d.h, 0);
	harness_run(&d.h);
	assert_int_equal(d.h.resets_needed, 1);
	disk_fini(&d);
}

/* ---- read-only ----------------------------------------------------------------------------- */

static void a_read_only_disk_serves_reads_flush_and_identity(void **state)
{
	struct disk d;

	(void)state;
	disk_init_read_only(&d);
	assert_int_equal(read_sectors(&d, 1, SECTOR), BLK_S_OK);
	assert_data_is_image(&d, d.data, SECTOR, SECTOR);
	assert_int_equal(request(&d, BLK_T_FLUSH, 0, 0, false, NULL), BLK_S_OK);
	assert_int_equal(request(&d, BLK_T_GET_ID, 0, CVMM_BLK_SERIAL_BYTES, true, NULL), BLK_S_OK);
	disk_fini(&d);
}

static void a_read_only_disk_refuses_every_change(void **state)
{
	struct disk d;

	(void)state;
	disk_init_read_only(&d);
	assert_int_equal(write_sectors(&d, 0, SECTOR), BLK_S_IOERR);
	assert_int_equal(one_range(&d, BLK_T_DISCARD, 0, 1, 0), BLK_S_IOERR);
	assert_int_equal(one_range(&d, BLK_T_WRITE_ZEROES, 0, 1, 0), BLK_S_IOERR);
	assert_image_unchanged(&d);
	disk_fini(&d);
}

/* ---- flush and cache mode ------------------------------------------------------------------ */

static void flush_succeeds_whatever_its_sector(void **state)
{
	struct disk d;
	uint32_t len;

	(void)state;
	disk_init(&d);
	assert_int_equal(request(&d, BLK_T_FLUSH, 0, 0, false, &len), BLK_S_OK);
	assert_int_equal(len, 1);
	assert_int_equal(request(&d, BLK_T_FLUSH, UINT64_MAX, 0, false, NULL), BLK_S_OK);
	disk_fini(&d);
}

static uint8_t writeback_byte(struct disk *d)
{
	uint8_t byte;

	cvmm_virtio_config_space_read(cvmm_blk_ops.config_space(d->blk), 32, &byte, 1);
	return byte;
}

static void the_driver_can_switch_the_cache_mode(void **state)
{
	static const uint8_t off, on = 1, wrong = 2;
	struct disk d;

	(void)state;
	disk_init(&d);
	cvmm_blk_ops.config_written(d.blk, 32, &off, 1);
	assert_int_equal(writeback_byte(&d), 0);
	assert_int_equal(write_sectors(&d, 0, SECTOR), BLK_S_OK);
	cvmm_blk_ops.config_written(d.blk, 32, &wrong, 1);
	cvmm_blk_ops.config_written(d.blk, 0, "\1\1\1\1", 4);
	assert_int_equal(writeback_byte(&d), 0);
	cvmm_blk_ops.config_written(d.blk, 32, &on, 1);
	assert_int_equal(writeback_byte(&d), 1);
	cvmm_blk_ops.config_written(d.blk, 32, &off, 1);
	harness_stop(&d.h); /* a reset goes back to what the user chose */
	assert_int_equal(writeback_byte(&d), 1);
	disk_fini(&d);
}

static void the_cache_mode_stays_without_the_feature(void **state)
{
	struct cvmm_blk_config config = { .write_through = true };
	static const uint8_t on = 1;
	struct disk d;

	(void)state;
	disk_init_config(&d, &config, CVMM_VIRTIO_FEATURE(BLK_F_CONFIG_WCE));
	assert_int_equal(writeback_byte(&d), 0);
	cvmm_blk_ops.config_written(d.blk, 32, &on, 1);
	assert_int_equal(writeback_byte(&d), 0);
	disk_fini(&d);
}

/* ---- discard and write zeroes -------------------------------------------------------------- */

static void write_zeroes_zeroes_every_range(void **state)
{
	struct blk_segment s[3] = { segment(1, 2, 0), segment(10, 1, BLK_SEGMENT_F_UNMAP),
				    segment(DISK_SECTORS - 1, 1, 0) };
	struct disk d;

	(void)state;
	disk_init(&d);
	assert_int_equal(range_request(&d, BLK_T_WRITE_ZEROES, s, 3), BLK_S_OK);
	assert_image_is(&d, SECTOR, 2 * SECTOR, 0);
	assert_image_is(&d, 10 * SECTOR, SECTOR, 0);
	assert_image_is(&d, (DISK_SECTORS - 1) * SECTOR, SECTOR, 0);
	assert_int_equal(image_byte(&d, 3 * SECTOR), pattern(3 * SECTOR));
	assert_int_equal(image_byte(&d, SECTOR - 1), pattern(SECTOR - 1));
	disk_fini(&d);
}

static void discard_frees_space_and_keeps_the_size(void **state)
{
	struct stat before, after;
	struct disk d;

	(void)state;
	disk_init(&d);
	assert_int_equal(fstat(d.fd, &before), 0);
	assert_int_equal(one_range(&d, BLK_T_DISCARD, 0, DISK_SECTORS, 0), BLK_S_OK);
	if (blk_host_punch(d.fd, 0, SECTOR) == -EOPNOTSUPP) {
		disk_fini(&d);
		print_message("SKIP: this system cannot free the space of files\n");
		skip();
	}
	assert_int_equal(fstat(d.fd, &after), 0);
	assert_true(after.st_size == before.st_size);
	assert_true(after.st_blocks < before.st_blocks);
	disk_fini(&d);
}

static void ranges_beyond_the_disk_are_refused_before_anything_happens(void **state)
{
	struct blk_segment s[2] = { segment(0, 4, 0), segment(DISK_SECTORS - 1, 2, 0) };
	struct disk d;

	(void)state;
	disk_init(&d);
	assert_int_equal(range_request(&d, BLK_T_WRITE_ZEROES, s, 2), BLK_S_IOERR);
	assert_int_equal(range_request(&d, BLK_T_DISCARD, s, 2), BLK_S_IOERR);
	assert_int_equal(one_range(&d, BLK_T_WRITE_ZEROES, UINT64_MAX, 1, 0), BLK_S_IOERR);
	assert_int_equal(one_range(&d, BLK_T_WRITE_ZEROES, UINT64_C(1) << 55, 1, 0), BLK_S_IOERR);
	assert_int_equal(one_range(&d, BLK_T_DISCARD, UINT64_MAX / SECTOR, UINT32_MAX, 0),
			 BLK_S_IOERR);
	assert_image_unchanged(&d);
	disk_fini(&d);
}

static void unknown_range_flags_are_unsupported(void **state)
{
	struct disk d;

	(void)state;
	disk_init(&d);
	assert_int_equal(one_range(&d, BLK_T_WRITE_ZEROES, 0, 1, 2), BLK_S_UNSUPP);
	assert_int_equal(one_range(&d, BLK_T_WRITE_ZEROES, 0, 1, 0x80000001), BLK_S_UNSUPP);
	assert_int_equal(one_range(&d, BLK_T_DISCARD, 0, 1, BLK_SEGMENT_F_UNMAP), BLK_S_UNSUPP);
	assert_image_unchanged(&d);
	disk_fini(&d);
}

static void the_number_of_ranges_is_bounded(void **state)
{
	struct blk_segment s[CVMM_BLK_DISCARD_SEGMENTS_MAX + 1];
	struct disk d;

	(void)state;
	disk_init(&d);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(s); i++)
		s[i] = segment(i, 1, 0);
	assert_int_equal(range_request(&d, BLK_T_DISCARD, s, CVMM_ARRAY_SIZE(s)), BLK_S_IOERR);
	assert_image_unchanged(&d);
	assert_int_equal(range_request(&d, BLK_T_DISCARD, s, CVMM_ARRAY_SIZE(s) - 1), BLK_S_OK);
	disk_fini(&d);
}

static void ranges_longer_than_offered_are_refused(void **state)
{
	uint64_t sectors = UINT64_C(2) * CVMM_BLK_DISCARD_SECTORS_MAX;
	struct cvmm_blk_config config = { .fd = make_image(sectors * SECTOR) };
	struct disk d;

	(void)state;
	disk_init_config(&d, &config, 0);
	assert_int_equal(one_range(&d, BLK_T_DISCARD, 0, CVMM_BLK_DISCARD_SECTORS_MAX + 1, 0),
			 BLK_S_IOERR);
	assert_int_equal(one_range(&d, BLK_T_DISCARD, 0, CVMM_BLK_DISCARD_SECTORS_MAX, 0),
			 BLK_S_OK);
	disk_fini(&d);
}

static void fractions_of_a_range_are_refused(void **state)
{
	struct disk d;

	(void)state;
	disk_init(&d);
	set_data(&d, 0, 64);
	assert_int_equal(request(&d, BLK_T_DISCARD, 0, 15, false, NULL), BLK_S_IOERR);
	assert_int_equal(request(&d, BLK_T_DISCARD, 0, 17, false, NULL), BLK_S_IOERR);
	assert_int_equal(request(&d, BLK_T_DISCARD, 0, 0, false, NULL), BLK_S_IOERR);
	assert_int_equal(request(&d, BLK_T_DISCARD, 0, 16, true, NULL), BLK_S_IOERR);
	disk_fini(&d);
}

static void ranges_are_unsupported_if_not_negotiated(void **state)
{
	struct cvmm_blk_config config = { 0 };
	struct disk d;

	(void)state;
	disk_init_config(&d, &config,
			 CVMM_VIRTIO_FEATURE(BLK_F_DISCARD) |
				 CVMM_VIRTIO_FEATURE(BLK_F_WRITE_ZEROES));
	assert_int_equal(one_range(&d, BLK_T_DISCARD, 0, 1, 0), BLK_S_UNSUPP);
	assert_int_equal(one_range(&d, BLK_T_WRITE_ZEROES, 0, 1, 0), BLK_S_UNSUPP);
	assert_image_unchanged(&d);
	disk_fini(&d);
}

static void zeroes_can_be_written_without_help_of_the_file_system(void **state)
{
	uint64_t len = (UINT64_C(3) << 20) + SECTOR;
	struct blk_storage s = { .fd = make_image(len + SECTOR) };
	uint8_t byte = 1;

	(void)state;
	fill_image(s.fd, len + SECTOR);
	/* memfd knows no ZERO_RANGE, which makes this the slow path. */
	assert_int_equal(blk_storage_write_zeroes(&s, 0, len, false), 0);
	for (uint64_t at = 0; at < len; at += 4093) {
		assert_int_equal(cvmm_pread_full(s.fd, &byte, 1, at), 1);
		assert_int_equal(byte, 0);
	}
	assert_int_equal(cvmm_pread_full(s.fd, &byte, 1, len), 1);
	assert_int_equal(byte, pattern(len));
	close(s.fd);
}

/*
 * A loop device on the file, with blocks of @block_bytes; it goes when its last descriptor is
 * closed. Return: -1 where there is none to be had.
 */
static int open_loop_device(int file, uint32_t block_bytes)
{
#ifdef __linux__
	struct loop_config config = {
		.fd = (uint32_t)file,
		.block_size = block_bytes,
		.info = { .lo_flags = LO_FLAGS_AUTOCLEAR },
	};
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), fd = -1;
	char path[32];

	/* Somebody else may take the free device first. */
	for (int attempt = 0; control >= 0 && attempt < 5; attempt++) {
		snprintf(path, sizeof(path), "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd >= 0 && !ioctl(fd, LOOP_CONFIGURE, &config))
			break;
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	if (control >= 0)
		close(control);
	return fd;
#else
	(void)file;
	(void)block_bytes;
	return -1;
#endif
}

/* Takes the file. */
static int make_block_device(int file, uint32_t block_bytes)
{
	int fd = open_loop_device(file, block_bytes);
	struct blk_device device;

	close(file);
	if (fd < 0) {
		print_message("SKIP: no loop device can be had here\n");
		skip();
	}
	if (blk_host_probe(fd, &device) || device.block_bytes != block_bytes) {
		close(fd);
		print_message("SKIP: the blocks of devices are not known here\n");
		skip();
	}
	return fd;
}

static void a_block_device_gives_its_size_and_block_size(void **state)
{
	int file = make_image(DISK_BYTES);
	struct cvmm_blk_config config;
	struct blk_config_space c;
	struct cvmm_blk *blk;
	struct disk d;

	(void)state;
	fill_image(file, DISK_BYTES);
	config = (struct cvmm_blk_config){ .fd = make_block_device(file, 4096) };
	disk_init_config(&d, &config, 0);
	assert_int_equal(cvmm_blk_capacity_sectors(d.blk), DISK_SECTORS);
	cvmm_virtio_config_space_read(cvmm_blk_ops.config_space(d.blk), 0, &c, sizeof(c));
	assert_int_equal(cvmm_le32_get(c.blk_size), 4096);
	assert_int_equal(cvmm_le32_get(c.discard_sector_alignment), 8);
	assert_int_equal(read_sectors(&d, 8, 4096), BLK_S_OK);
	assert_data_is_image(&d, d.data, 4096, 4096);
	set_data(&d, 0x99, 4096);
	assert_int_equal(write_sectors(&d, 16, 4096), BLK_S_OK);
	assert_int_equal(request(&d, BLK_T_FLUSH, 0, 0, false, NULL), BLK_S_OK);
	assert_image_is(&d, 16 * SECTOR, 4096, 0x99);
	/* The driver's blocks may not be smaller than the device's. */
	config.block_size_bytes = 512;
	config.no_lock = true;
	assert_int_equal(cvmm_blk_create(&config, &blk, NULL), -EINVAL);
	disk_fini(&d);
}

static void a_block_device_is_discarded_and_zeroed(void **state)
{
	int file = make_image(DISK_BYTES);
	struct cvmm_blk_config config;
	struct disk d;

	(void)state;
	fill_image(file, DISK_BYTES);
	config = (struct cvmm_blk_config){ .fd = make_block_device(file, 512) };
	disk_init_config(&d, &config, 0);
	assert_int_equal(one_range(&d, BLK_T_WRITE_ZEROES, 8, 8, 0), BLK_S_OK);
	assert_int_equal(one_range(&d, BLK_T_WRITE_ZEROES, 32, 8, BLK_SEGMENT_F_UNMAP), BLK_S_OK);
	assert_int_equal(one_range(&d, BLK_T_WRITE_ZEROES, 51, 1, 0), BLK_S_OK);
	assert_image_is(&d, 8 * SECTOR, 8 * SECTOR, 0);
	assert_image_is(&d, 32 * SECTOR, 8 * SECTOR, 0);
	assert_image_is(&d, 51 * SECTOR, SECTOR, 0);
	assert_int_equal(image_byte(&d, 52 * SECTOR), pattern(52 * SECTOR));
	assert_int_equal(one_range(&d, BLK_T_DISCARD, 0, DISK_SECTORS, 0), BLK_S_OK);
	disk_fini(&d);
}

/* ---- storage that fails -------------------------------------------------------------------- */

static void an_image_that_shrank_fails_requests_only(void **state)
{
	struct disk d;

	(void)state;
	disk_init(&d);
	assert_int_equal(ftruncate(d.fd, SECTOR), 0);
	assert_int_equal(read_sectors(&d, 8, SECTOR), BLK_S_IOERR);
	assert_int_equal(read_sectors(&d, 0, SECTOR), BLK_S_OK);
	assert_int_equal(d.h.resets_needed, 0);
	disk_fini(&d);
}

/* Makes all writes fail, for good. Return: false if the system cannot. */
static bool seal(int fd)
{
#ifdef F_ADD_SEALS
	return !fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE);
#else
	(void)fd;
	return false;
#endif
}

static void storage_that_refuses_writes_fails_requests_only(void **state)
{
	struct disk d;

	(void)state;
	disk_init(&d);
	if (!seal(d.fd)) {
		disk_fini(&d);
		print_message("SKIP: the system's files cannot be sealed\n");
		skip();
	}
	assert_int_equal(write_sectors(&d, 0, SECTOR), BLK_S_IOERR);
	assert_int_equal(one_range(&d, BLK_T_WRITE_ZEROES, 0, 1, 0), BLK_S_IOERR);
	assert_int_equal(read_sectors(&d, 0, SECTOR), BLK_S_OK);
	assert_int_equal(d.h.resets_needed, 0);
	disk_fini(&d);
}

/* ---- many requests, stop, queue reset ------------------------------------------------------ */

static void submit_write(struct disk *d, uint64_t sector, uint64_t header, uint64_t status)
{
	struct blk_header h = { .type = cvmm_le32_from(BLK_T_OUT),
				.sector = cvmm_le64_from(sector) };

	harness_write(&d->h, header, &h, sizeof(h));
	harness_submit(&d->h, 0,
		       (struct harness_buf[]){ { header, sizeof(h), false },
					       { d->data, SECTOR, false },
					       { status, 1, true } },
		       3);
}

static void submit_writes(struct disk *d, unsigned int count)
{
	uint64_t headers = harness_alloc(&d->h, 16 * DISK_SECTORS, 16);
	uint64_t statuses = harness_alloc(&d->h, DISK_SECTORS, 1);

	set_data(d, 0x77, SECTOR);
	for (unsigned int i = 0; i < count; i++)
		submit_write(d, i, headers + 16 * i, statuses + i);
}

static void many_requests_in_flight_all_complete(void **state)
{
	struct disk d;

	(void)state;
	disk_init(&d);
	submit_writes(&d, DISK_SECTORS);
	harness_kick(&d.h, 0);
	for (unsigned int i = 0; i < DISK_SECTORS; i++)
		harness_wait_used(&d.h, 0, NULL, NULL);
	assert_image_is(&d, 0, DISK_BYTES, 0x77);
	disk_fini(&d);
}

static void stopping_waits_for_what_is_in_flight(void **state)
{
	struct disk d;

	(void)state;
	disk_init(&d);
	submit_writes(&d, DISK_SECTORS);
	harness_kick(&d.h, 0);
	cvmm_blk_ops.stop(d.blk);
	d.h.started = false;
	assert_image_is(&d, 0, DISK_BYTES, 0x77);
	for (unsigned int i = 0; i < DISK_SECTORS; i++)
		assert_true(harness_take_used(&d.h, 0, NULL, NULL));
	harness_stop(&d.h);
	assert_int_equal(harness_start(&d.h), 0);
	assert_int_equal(read_sectors(&d, 0, SECTOR), BLK_S_OK);
	disk_fini(&d);
}

static void a_queue_reset_drains_the_queue_and_it_starts_again(void **state)
{
	struct disk d;

	(void)state;
	disk_init(&d);
	submit_writes(&d, DISK_SECTORS);
	harness_kick(&d.h, 0);
	cvmm_blk_ops.queue_stop(d.blk, 0);
	cvmm_virtq_stop(&d.h.queues[0]);
	harness_run(&d.h);
	assert_image_is(&d, 0, DISK_BYTES, 0x77);
	harness_start_queue(&d.h, 0);
	cvmm_blk_ops.queue_start(d.blk, 0);
	harness_kick(&d.h, 0);
	assert_int_equal(read_sectors(&d, 0, SECTOR), BLK_S_OK);
	disk_fini(&d);
}

static void destroying_right_after_creation_ends_the_thread(void **state)
{
	struct cvmm_blk_config config = { .fd = make_image(DISK_BYTES) };
	struct cvmm_blk *blk = NULL;

	(void)state;
	for (int i = 0; i < 20; i++) {
		assert_int_equal(cvmm_blk_create(&config, &blk, NULL), 0);
		cvmm_blk_destroy(blk);
	}
	cvmm_blk_destroy(NULL);
	close(config.fd);
}

/* ---- opening and locking ------------------------------------------------------------------- */

struct image_file {
	char path[64];
	int fd;
};

static void image_file_make(struct image_file *f)
{
	strcpy(f->path, "/tmp/cvmm-test-blk-XXXXXX");
	f->fd = mkstemp(f->path);
	assert_true(f->fd >= 0);
	assert_int_equal(ftruncate(f->fd, DISK_BYTES), 0);
}

static void image_file_remove(struct image_file *f)
{
	unlink(f->path);
	close(f->fd);
}

static int reopen(const struct image_file *f, int flags)
{
	int fd = open(f->path, flags | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void an_image_in_use_by_another_vm_is_refused_by_name(void **state)
{
	struct cvmm_blk *first = NULL, *second = NULL;
	struct cvmm_error err = { 0 };
	struct cvmm_blk_config config;
	struct image_file f;

	(void)state;
	image_file_make(&f);
	config = (struct cvmm_blk_config){ .fd = f.fd, .path = "root.img" };
	assert_int_equal(cvmm_blk_create(&config, &first, NULL), 0);
	config.fd = reopen(&f, O_RDWR);
	assert_int_equal(cvmm_blk_create(&config, &second, &err), -EBUSY);
	assert_string_equal(err.message, "disk image root.img is in use by another VM");
	assert_null(second);
	config.read_only = true;
	assert_int_equal(cvmm_blk_create(&config, &second, &err), -EBUSY);
	config.no_lock = true;
	assert_int_equal(cvmm_blk_create(&config, &second, &err), 0);
	cvmm_blk_destroy(second);
	config.no_lock = false;
	cvmm_blk_destroy(first); /* unlocks, although f.fd stays open */
	assert_int_equal(cvmm_blk_create(&config, &second, &err), 0);
	cvmm_blk_destroy(second);
	close(config.fd);
	image_file_remove(&f);
}

static void readers_share_an_image(void **state)
{
	struct cvmm_blk *first = NULL, *second = NULL, *writer = NULL;
	struct cvmm_blk_config config = { .read_only = true };
	struct image_file f;
	int fds[2];

	(void)state;
	image_file_make(&f);
	fds[0] = reopen(&f, O_RDONLY);
	fds[1] = reopen(&f, O_RDONLY);
	config.fd = fds[0];
	assert_int_equal(cvmm_blk_create(&config, &first, NULL), 0);
	config.fd = fds[1];
	assert_int_equal(cvmm_blk_create(&config, &second, NULL), 0);
	config = (struct cvmm_blk_config){ .fd = f.fd };
	assert_int_equal(cvmm_blk_create(&config, &writer, NULL), -EBUSY);
	cvmm_blk_destroy(first);
	cvmm_blk_destroy(second);
	close(fds[0]);
	close(fds[1]);
	image_file_remove(&f);
}

static void assert_refused(struct cvmm_blk_config *config, int code)
{
	struct cvmm_error err = { 0 };
	struct cvmm_blk *blk = NULL;

	assert_int_equal(cvmm_blk_create(config, &blk, &err), code);
	assert_int_equal(err.code, code);
	assert_true(err.message[0]);
	assert_null(blk);
}

static void descriptors_that_cannot_work_are_refused(void **state)
{
	struct cvmm_blk_config config = { 0 };
	struct image_file f;
	int pipe_fds[2];

	(void)state;
	image_file_make(&f);
	config.fd = reopen(&f, O_RDONLY);
	assert_refused(&config, -EINVAL); /* to be written */
	close(config.fd);
	assert_refused(&config, -EBADF);
	config.fd = reopen(&f, O_WRONLY);
	config.read_only = true;
	assert_refused(&config, -EINVAL);
	close(config.fd);
	config.read_only = false;
	config.fd = reopen(&f, O_RDWR | O_APPEND);
	assert_refused(&config, -EINVAL);
	close(config.fd);
	assert_int_equal(test_pipe(pipe_fds, false), 0);
	config = (struct cvmm_blk_config){ .fd = pipe_fds[0], .read_only = true };
	assert_refused(&config, -EINVAL);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	image_file_remove(&f);
}

static void options_that_cannot_work_are_refused(void **state)
{
	struct cvmm_blk_config config = { .fd = make_image(DISK_BYTES) };

	(void)state;
	config.serial = "one-character-too-lon";
	assert_refused(&config, -EINVAL);
	config.serial = NULL;
	config.block_size_bytes = 1000;
	assert_refused(&config, -EINVAL);
	config.block_size_bytes = 256;
	assert_refused(&config, -EINVAL);
	config.block_size_bytes = 1U << 17;
	assert_refused(&config, -EINVAL);
	close(config.fd);
}

static void what_a_request_writes_is_marked_dirty(void **state)
{
	struct cvmm_dirty *dirty;
	struct harness_buf bufs[4];
	struct disk d;

	(void)state;
	disk_init(&d);
	dirty = harness_log_dirty(&d.h);
	bufs[0] = (struct harness_buf){ d.header, sizeof(struct blk_header), false };
	bufs[1] = (struct harness_buf){ d.data, 4096, true };
	bufs[2] = (struct harness_buf){ d.data + 3 * 4096, SECTOR, true };
	bufs[3] = (struct harness_buf){ d.status, 1, true };
	put_header(&d, BLK_T_IN, 1);
	harness_clean(dirty);
	assert_int_equal(send_chain(&d, bufs, 4, d.status, NULL), BLK_S_OK);
	assert_true(cvmm_dirty_test(dirty, d.data));
	assert_false(cvmm_dirty_any(dirty, d.data + 4096, 2 * 4096));
	assert_true(cvmm_dirty_test(dirty, d.data + 3 * 4096));
	assert_true(cvmm_dirty_test(dirty, d.status));

	/* A write to the disk reads memory, and writes no more than its status. */
	bufs[1].writable = false;
	bufs[2].writable = false;
	put_header(&d, BLK_T_OUT, 1);
	harness_clean(dirty);
	assert_int_equal(send_chain(&d, bufs, 4, d.status, NULL), BLK_S_OK);
	assert_false(cvmm_dirty_any(dirty, d.data, 4 * 4096));
	assert_true(cvmm_dirty_test(dirty, d.status));
	disk_fini(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_configuration_space_describes_the_disk),
		cmocka_unit_test(a_read_only_disk_offers_ro_and_nothing_that_writes),
		cmocka_unit_test(a_tail_shorter_than_a_block_is_left_out_with_a_log_line),
		cmocka_unit_test(get_id_returns_all_20_bytes_of_the_serial),
		cmocka_unit_test(reading_returns_the_image_and_its_length),
		cmocka_unit_test(writing_changes_the_image_and_nothing_around_it),
		cmocka_unit_test(a_header_may_be_split_over_descriptors),
		cmocka_unit_test(header_and_data_may_share_a_descriptor),
		cmocka_unit_test(the_status_may_share_a_descriptor_with_data),
		cmocka_unit_test(the_status_is_the_last_writable_byte),
		cmocka_unit_test(data_in_many_uneven_pieces_are_one_transfer),
		cmocka_unit_test(the_last_sector_is_reachable_and_the_next_is_not),
		cmocka_unit_test(sectors_whose_bytes_overflow_are_refused),
		cmocka_unit_test(data_that_are_no_whole_sectors_are_refused),
		cmocka_unit_test(a_read_into_readable_memory_is_refused),
		cmocka_unit_test(a_write_from_writable_memory_is_refused),
		cmocka_unit_test(a_short_header_fails_the_request_only),
		cmocka_unit_test(an_unknown_type_is_unsupported),
		cmocka_unit_test(a_chain_without_room_for_a_status_breaks_the_queue),
		cmocka_unit_test(a_malformed_chain_breaks_the_queue),
		cmocka_unit_test(a_read_only_disk_serves_reads_flush_and_identity),
		cmocka_unit_test(a_read_only_disk_refuses_every_change),
		cmocka_unit_test(flush_succeeds_whatever_its_sector),
		cmocka_unit_test(the_driver_can_switch_the_cache_mode),
		cmocka_unit_test(the_cache_mode_stays_without_the_feature),
		cmocka_unit_test(write_zeroes_zeroes_every_range),
		cmocka_unit_test(discard_frees_space_and_keeps_the_size),
		cmocka_unit_test(ranges_beyond_the_disk_are_refused_before_anything_happens),
		cmocka_unit_test(unknown_range_flags_are_unsupported),
		cmocka_unit_test(the_number_of_ranges_is_bounded),
		cmocka_unit_test(ranges_longer_than_offered_are_refused),
		cmocka_unit_test(fractions_of_a_range_are_refused),
		cmocka_unit_test(ranges_are_unsupported_if_not_negotiated),
		cmocka_unit_test(zeroes_can_be_written_without_help_of_the_file_system),
		cmocka_unit_test(a_block_device_gives_its_size_and_block_size),
		cmocka_unit_test(a_block_device_is_discarded_and_zeroed),
		cmocka_unit_test(an_image_that_shrank_fails_requests_only),
		cmocka_unit_test(storage_that_refuses_writes_fails_requests_only),
		cmocka_unit_test(many_requests_in_flight_all_complete),
		cmocka_unit_test(stopping_waits_for_what_is_in_flight),
		cmocka_unit_test(a_queue_reset_drains_the_queue_and_it_starts_again),
		cmocka_unit_test(destroying_right_after_creation_ends_the_thread),
		cmocka_unit_test(an_image_in_use_by_another_vm_is_refused_by_name),
		cmocka_unit_test(readers_share_an_image),
		cmocka_unit_test(descriptors_that_cannot_work_are_refused),
		cmocka_unit_test(options_that_cannot_work_are_refused),
		cmocka_unit_test(what_a_request_writes_is_marked_dirty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
