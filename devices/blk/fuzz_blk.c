// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Requests of a hostile driver.
 *
 * Input: one byte of options (bit 0: read-only, bit 1: write-through, bits 2 and 3: DISCARD and
 * WRITE_ZEROES not negotiated), then requests: a byte with the number of pieces (1 to 8), a 16-bit
 * word for each (bit 15: writable, rest: length), a byte with the number of bytes to put at the
 * start of the readable part, and these bytes.
 *
 * Checked: every chain with room for a status gets one, no more is claimed written than there is
 * room, the image keeps its size, and a read-only image its bytes.
 */
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../tests/support/descriptors.h"
#include "../../tests/support/device_harness.h"
#include "blk_internal.h"

#define DISK_BYTES 65536U
#define PIECES_MAX 8U
#define PIECE_WRITABLE 0x8000U
#define REQUESTS_MAX 64U
#define UNWRITTEN 0xee
#define IMAGE_BYTE 0x5a

struct input {
	const uint8_t *data;
	size_t size;
};

static bool take(struct input *in, void *dst, size_t len)
{
	if (in->size < len)
		return false;
	memcpy(dst, in->data, len);
	in->data += len;
	in->size -= len;
	return true;
}

struct fuzz {
	struct harness h;
	struct cvmm_blk *blk;
	int fd;
	bool read_only;
	uint64_t area; /* guest memory for all pieces, which lie one behind the other */
};

#define AREA_BYTES (PIECES_MAX * PIECE_WRITABLE)

static void fuzz_init(struct fuzz *f, uint8_t options)
{
	struct cvmm_blk_config config = { .serial = "fuzz", .no_lock = true };
	uint8_t image[DISK_BYTES];
	uint64_t features;

	memset(f, 0, sizeof(*f));
	f->read_only = options & 1;
	f->fd = test_file();
	harness_must(f->fd >= 0);
	memset(image, IMAGE_BYTE, sizeof(image));
	harness_must(!cvmm_pwrite_full(f->fd, image, sizeof(image), 0));
	config.fd = f->fd;
	config.read_only = f->read_only;
	config.write_through = options & 2;
	harness_must(!cvmm_blk_create(&config, &f->blk, NULL));
	features = cvmm_blk_ops.features(f->blk);
	if (options & 4)
		features &= ~CVMM_VIRTIO_FEATURE(BLK_F_DISCARD);
	if (options & 8)
		features &= ~CVMM_VIRTIO_FEATURE(BLK_F_WRITE_ZEROES);
	harness_init(&f->h, &cvmm_blk_ops, f->blk, features);
	harness_must(!harness_start(&f->h));
	f->area = harness_alloc(&f->h, AREA_BYTES, 4096);
}

static void fuzz_fini(struct fuzz *f)
{
	uint8_t image[DISK_BYTES];
	struct stat st;

	harness_fini(&f->h);
	cvmm_blk_destroy(f->blk);
	harness_must(!fstat(f->fd, &st) && st.st_size == DISK_BYTES);
	harness_must(cvmm_pread_full(f->fd, image, sizeof(image), 0) == sizeof(image));
	for (size_t i = 0; f->read_only && i < sizeof(image); i++)
		harness_must(image[i] == IMAGE_BYTE);
	close(f->fd);
}

/* Build a chain from the input. Return: pieces, 0 at the input's end. */
static size_t take_chain(struct fuzz *f, struct input *in, struct harness_buf *bufs)
{
	uint8_t count, content_len, content[UINT8_MAX];
	uint64_t at = f->area;

	if (!take(in, &count, 1))
		return 0;
	count = (uint8_t)(1 + count % PIECES_MAX);
	for (uint8_t i = 0; i < count; i++) {
		uint8_t word[2];
		uint16_t piece;

		if (!take(in, word, sizeof(word)))
			return 0;
		piece = cvmm_get_le16(word);
		bufs[i] = (struct harness_buf){ at, piece & (PIECE_WRITABLE - 1),
						piece & PIECE_WRITABLE };
		at += bufs[i].len;
	}
	if (!take(in, &content_len, 1) || !take(in, content, content_len))
		return 0;
	harness_write(&f->h, f->area, content, content_len);
	return count;
}

/* Send one chain. Return: whether the queue still lives. */
static bool send_chain(struct fuzz *f, const struct harness_buf *bufs, size_t count)
{
	uint64_t status_gpa = bufs[count - 1].gpa + bufs[count - 1].len - 1;
	uint32_t writable = 0, used_len = 0;
	uint8_t status = UNWRITTEN;

	for (size_t i = 0; i < count; i++)
		writable += bufs[i].writable ? bufs[i].len : 0;
	if (writable && bufs[count - 1].len)
		harness_write(&f->h, status_gpa, &status, 1);
	harness_submit(&f->h, 0, bufs, count);
	harness_kick(&f->h, 0);
	if (f->h.resets_needed)
		return false;
	harness_wait_used(&f->h, 0, NULL, &used_len);
	harness_must(used_len <= writable);
	harness_read(&f->h, status_gpa, &status, 1);
	harness_must(status <= BLK_S_UNSUPP);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct harness_buf bufs[PIECES_MAX];
	uint8_t options;
	struct fuzz f;

	if (!take(&in, &options, 1))
		return 0;
	fuzz_init(&f, options);
	for (unsigned int i = 0; i < REQUESTS_MAX; i++) {
		size_t count = take_chain(&f, &in, bufs);

		if (!count || !send_chain(&f, bufs, count))
			break;
	}
	fuzz_fini(&f);
	return 0;
}
