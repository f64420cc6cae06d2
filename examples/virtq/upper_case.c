// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * A device in one page, and a driver that gives it work: the device answers each text with the same in
 * capital letters. Both sides are in this process, on a packed ring.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cvmm/virtq_driver.h>
#include <cvmm/virtq_io.h>

#define PIECES 64 /* per chain; more break the queue */
#define TEXT_GPA UINT64_C(0x8000)
#define TEXT_MAX 64
#define ANSWER_GPA (TEXT_GPA + TEXT_MAX)

static void must(int ret, const struct cvmm_error *err, const char *what)
{
	if (ret) {
		fprintf(stderr, "%s: %s\n", what, err ? err->message : "failed");
		exit(1);
	}
}

/* ---- the device ------------------------------------------------------------------------------ */

/* Return: bytes written. The chain was checked; what is in it may be anything, and change. */
static uint32_t answer(const struct cvmm_virtq_chain *chain)
{
	struct cvmm_virtq_reader reader;
	struct cvmm_virtq_writer writer;
	char c;

	cvmm_virtq_reader_from_chain(&reader, chain);
	cvmm_virtq_writer_from_chain(&writer, chain);
	while (cvmm_virtq_reader_read(&reader, &c, 1)) {
		c = (char)toupper((unsigned char)c);
		if (cvmm_virtq_writer_write_exact(&writer, &c, 1))
			break;
	}
	return (uint32_t)cvmm_virtq_writer_bytes_done(&writer);
}

/* Does all that there is. Return: 1 if the driver wants to be interrupted, 0, or what pop said. */
static int serve(struct cvmm_virtq *vq)
{
	struct iovec iov[PIECES];
	struct cvmm_virtq_chain chain;
	int ret;

	do {
		cvmm_virtq_disable_notifications(vq);
		while ((ret = cvmm_virtq_pop(vq, iov, PIECES, &chain)) == 1)
			cvmm_virtq_push_chain(vq, &chain, answer(&chain));
		if (ret < 0)
			return ret; /* -EPROTO: tell the driver that the device needs a reset */
	} while (cvmm_virtq_enable_notifications(vq));
	return cvmm_virtq_should_notify(vq);
}

/* ---- the driver, in place of a guest --------------------------------------------------------- */

static void ask(struct cvmm_virtq_driver *drv, struct cvmm_virtq *vq, struct cvmm_mem *mem,
		const char *text)
{
	const uint32_t len = (uint32_t)strlen(text);
	const struct cvmm_virtq_segment segments[] = {
		{ cvmm_gpa_from(TEXT_GPA), len },
		{ cvmm_gpa_from(ANSWER_GPA), len },
	};
	char got[TEXT_MAX + 1] = "";
	uint32_t written = 0;
	void *token;
	int ret = 0;

	must(cvmm_mem_write(mem, cvmm_gpa_from(TEXT_GPA), text, len), NULL, "text");
	must(cvmm_virtq_driver_add(drv, segments, 1, 1, NULL), NULL, "add");
	cvmm_virtq_driver_publish(drv);
	if (cvmm_virtq_driver_should_kick(drv))
		ret = serve(vq);
	if (ret != 1 || cvmm_virtq_driver_take(drv, &token, &written) != 1)
		must(-1, NULL, "the device");
	must(cvmm_mem_read(mem, cvmm_gpa_from(ANSWER_GPA), got, written), NULL, "answer");
	printf("%s -> %s\n", text, got);
}

int main(void)
{
	const struct cvmm_mem_config ram = { .len_bytes = 0x10000,
					     .access = CVMM_ACCESS_READ_WRITE };
	struct cvmm_virtq_driver_config ring = { .size = 8, .packed = true, .indirect = true };
	struct cvmm_virtq_config config = { .size = 8, .packed = true, .indirect = true };
	struct cvmm_virtq_driver drv;
	struct cvmm_mem *mem = NULL;
	struct cvmm_error err = { 0 };
	struct cvmm_virtq vq;
	uint64_t bytes;

	must(cvmm_mem_create(&ram, 1, &mem, &err), &err, "memory");
	must(cvmm_virtq_driver_layout(&ring, cvmm_gpa_from(0), &bytes), NULL, "layout");
	must(cvmm_virtq_driver_init(&drv, mem, &ring, &err), &err, "driver");
	/* A transport has these numbers from the guest: all of them are checked. */
	config.desc = ring.desc;
	config.avail = ring.driver_area;
	config.used = ring.device_area;
	must(cvmm_virtq_init(&vq, 256), NULL, "queue");
	must(cvmm_virtq_start(&vq, mem, &config, &err), &err, "start");

	ask(&drv, &vq, mem, "every buffer is checked once");
	ask(&drv, &vq, mem, "and never looked at again");

	cvmm_virtq_fini(&vq);
	cvmm_virtq_driver_fini(&drv);
	cvmm_mem_unref(mem);
	return 0;
}
