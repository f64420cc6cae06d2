// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <cvmm/rng.h>

#include "../../tests/support/descriptors.h"
#include "../../tests/support/device_harness.h"
#include "rng_internal.h"

static struct cvmm_rng *make_rng(int fd)
{
	struct cvmm_rng_config config = { .fd = fd };
	struct cvmm_error err = { 0 };
	struct cvmm_rng *rng = NULL;

	if (cvmm_rng_create(&config, &rng, &err))
		fail_msg("%s", err.message);
	return rng;
}

static int make_file(const void *bytes, size_t len)
{
	int fd = test_file();

	assert_true(fd >= 0);
	assert_int_equal(cvmm_pwrite_full(fd, bytes, len, 0), 0);
	return fd;
}

static bool all_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i])
			return false;
	}
	return true;
}

static void identity_is_that_of_an_entropy_device(void **state)
{
	struct cvmm_rng *rng = make_rng(CVMM_RNG_GETRANDOM);

	(void)state;
	assert_int_equal(cvmm_rng_ops.device_id, 4);
	assert_int_equal(cvmm_rng_ops.queue_count(rng), 1);
	assert_true(cvmm_rng_ops.features(rng) == 0);
	assert_int_equal(cvmm_rng_ops.config_space(rng)->len_bytes, 0);
	cvmm_rng_destroy(rng);
	cvmm_rng_destroy(NULL);
}

static void a_buffer_is_filled_with_random_bytes(void **state)
{
	struct cvmm_rng *rng = make_rng(CVMM_RNG_GETRANDOM);
	uint8_t bytes[64];
	struct harness h;
	uint32_t len;
	uint64_t gpa;

	(void)state;
	harness_init(&h, &cvmm_rng_ops, rng, 0);
	assert_int_equal(harness_start(&h), 0);
	gpa = harness_alloc(&h, sizeof(bytes), 1);
	harness_submit(&h, 0, (struct harness_buf[]){ { gpa, sizeof(bytes), true } }, 1);
	harness_kick(&h, 0);
	harness_wait_used(&h, 0, NULL, &len);
	assert_int_equal(len, sizeof(bytes));
	harness_read(&h, gpa, bytes, sizeof(bytes));
	assert_false(all_zero(bytes, 32));
	assert_false(all_zero(bytes + 32, 32));
	assert_int_equal(h.notifications[0], 1);
	harness_fini(&h);
	cvmm_rng_destroy(rng);
}

static void a_file_fills_buffers_in_order_across_pieces(void **state)
{
	int fd = make_file("abcdefghij", 10);
	struct cvmm_rng *rng = make_rng(fd);
	struct harness h;
	uint8_t bytes[8];
	uint32_t len;
	uint64_t gpa;

	(void)state;
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	close(fd); /* the device has its own */
	harness_init(&h, &cvmm_rng_ops, rng, 0);
	assert_int_equal(harness_start(&h), 0);
	gpa = harness_alloc(&h, 16, 1);
	harness_submit(&h, 0, (struct harness_buf[]){ { gpa, 3, true }, { gpa + 8, 5, true } }, 2);
	harness_kick(&h, 0);
	harness_wait_used(&h, 0, NULL, &len);
	assert_int_equal(len, 8);
	harness_read(&h, gpa, bytes, 3);
	assert_memory_equal(bytes, "abc", 3);
	harness_read(&h, gpa + 8, bytes, 5);
	assert_memory_equal(bytes, "defgh", 5);
	harness_fini(&h);
	cvmm_rng_destroy(rng);
}

static void one_request_is_bounded(void **state)
{
	struct cvmm_rng *rng = make_rng(CVMM_RNG_GETRANDOM);
	uint32_t len, huge = 8U << 20;
	uint8_t bytes[16];
	struct harness h;
	uint64_t gpa;

	(void)state;
	harness_init(&h, &cvmm_rng_ops, rng, 0);
	assert_int_equal(harness_start(&h), 0);
	gpa = harness_alloc(&h, huge, 1);
	harness_submit(&h, 0,
		       (struct harness_buf[]){ { gpa, huge / 2, true },
					       { gpa + huge / 2, huge / 2, true } },
		       2);
	harness_kick(&h, 0);
	harness_wait_used(&h, 0, NULL, &len);
	assert_int_equal(len, CVMM_RNG_REQUEST_BYTES_MAX);
	harness_read(&h, gpa + CVMM_RNG_REQUEST_BYTES_MAX, bytes, sizeof(bytes));
	assert_true(all_zero(bytes, sizeof(bytes)));
	harness_fini(&h);
	cvmm_rng_destroy(rng);
}

static void readable_pieces_are_left_alone(void **state)
{
	struct cvmm_rng *rng = make_rng(CVMM_RNG_GETRANDOM);
	uint8_t bytes[32];
	struct harness h;
	uint32_t len;
	uint64_t gpa;

	(void)state;
	harness_init(&h, &cvmm_rng_ops, rng, 0);
	assert_int_equal(harness_start(&h), 0);
	gpa = harness_alloc(&h, 64, 1);
	harness_submit(&h, 0, (struct harness_buf[]){ { gpa, 32, false }, { gpa + 32, 32, true } },
		       2);
	harness_submit(&h, 0, (struct harness_buf[]){ { gpa, 32, false } }, 1);
	harness_kick(&h, 0);
	harness_wait_used(&h, 0, NULL, &len);
	assert_int_equal(len, 32);
	harness_wait_used(&h, 0, NULL, &len);
	assert_int_equal(len, 0);
	harness_read(&h, gpa, bytes, 32);
	assert_true(all_zero(bytes, 32));
	assert_int_equal(h.resets_needed, 0);
	harness_fini(&h);
	cvmm_rng_destroy(rng);
}

static void a_dry_pipe_delays_the_request_but_not_the_loop(void **state)
{
	struct cvmm_rng *rng;
	struct harness h;
	uint8_t bytes[4];
	int pipe_fds[2];
	uint32_t len;
	uint64_t gpa;

	(void)state;
	assert_int_equal(test_pipe(pipe_fds, false), 0); /* blocking: the device must not care */
	rng = make_rng(pipe_fds[0]);
	harness_init(&h, &cvmm_rng_ops, rng, 0);
	assert_int_equal(harness_start(&h), 0);
	gpa = harness_alloc(&h, 16, 1);
	harness_submit(&h, 0, (struct harness_buf[]){ { gpa, 16, true } }, 1);
	harness_kick(&h, 0);
	harness_kick(&h, 0);
	harness_run(&h);
	assert_false(harness_take_used(&h, 0, NULL, NULL));
	assert_int_equal(cvmm_write_full(pipe_fds[1], "dice", 4), 0);
	harness_wait_used(&h, 0, NULL, &len);
	assert_int_equal(len, 4);
	harness_read(&h, gpa, bytes, 4);
	assert_memory_equal(bytes, "dice", 4);
	harness_fini(&h);
	cvmm_rng_destroy(rng);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void a_device_that_waits_for_bytes_can_be_stopped(void **state)
{
	struct cvmm_rng *rng;
	struct harness h;
	int pipe_fds[2];
	uint64_t gpa;

	(void)state;
	assert_int_equal(test_pipe(pipe_fds, false), 0);
	rng = make_rng(pipe_fds[0]);
	harness_init(&h, &cvmm_rng_ops, rng, 0);
	assert_int_equal(harness_start(&h), 0);
	gpa = harness_alloc(&h, 16, 1);
	harness_submit(&h, 0, (struct harness_buf[]){ { gpa, 16, true } }, 1);
	harness_kick(&h, 0);
	harness_run(&h);
	harness_stop(&h);
	assert_int_equal(cvmm_write_full(pipe_fds[1], "late", 4), 0);
	harness_run(&h);
	assert_int_equal(harness_start(&h), 0);
	harness_submit(&h, 0, (struct harness_buf[]){ { gpa, 16, true } }, 1);
	harness_kick(&h, 0);
	harness_wait_used(&h, 0, NULL, NULL);
	harness_fini(&h);
	cvmm_rng_destroy(rng);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void a_queue_reset_forgets_the_chain_that_waited(void **state)
{
	struct cvmm_rng *rng;
	struct harness h;
	int pipe_fds[2];
	uint64_t gpa;

	(void)state;
	assert_int_equal(test_pipe(pipe_fds, false), 0);
	rng = make_rng(pipe_fds[0]);
	harness_init(&h, &cvmm_rng_ops, rng, 0);
	assert_int_equal(harness_start(&h), 0);
	gpa = harness_alloc(&h, 16, 1);
	harness_submit(&h, 0, (struct harness_buf[]){ { gpa, 16, true } }, 1);
	harness_kick(&h, 0);
	cvmm_rng_ops.queue_stop(rng, 0);
	cvmm_virtq_stop(&h.queues[0]);
	assert_int_equal(cvmm_write_full(pipe_fds[1], "late", 4), 0);
	harness_run(&h);
	harness_start_queue(&h, 0);
	cvmm_rng_ops.queue_start(rng, 0);
	harness_kick(&h, 0);
	harness_run(&h);
	assert_false(harness_take_used(&h, 0, NULL, NULL));
	harness_submit(&h, 0, (struct harness_buf[]){ { gpa, 16, true } }, 1);
	harness_kick(&h, 0);
	harness_wait_used(&h, 0, NULL, NULL);
	harness_fini(&h);
	cvmm_rng_destroy(rng);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void a_source_that_ends_is_replaced_by_getrandom(void **state)
{
	int fd = make_file("", 0);
	struct cvmm_rng *rng = make_rng(fd);
	uint8_t bytes[64];
	struct harness h;
	uint32_t len;
	uint64_t gpa;

	(void)state;
	harness_init(&h, &cvmm_rng_ops, rng, 0);
	assert_int_equal(harness_start(&h), 0);
	gpa = harness_alloc(&h, sizeof(bytes), 1);
	harness_submit(&h, 0, (struct harness_buf[]){ { gpa, sizeof(bytes), true } }, 1);
	harness_kick(&h, 0);
	harness_wait_used(&h, 0, NULL, &len);
	assert_int_equal(len, sizeof(bytes));
	harness_read(&h, gpa, bytes, sizeof(bytes));
	assert_false(all_zero(bytes, sizeof(bytes)));
	harness_fini(&h);
	cvmm_rng_destroy(rng);
	close(fd);
}

static void a_full_queue_is_served_and_notified_once(void **state)
{
	struct cvmm_rng *rng = make_rng(CVMM_RNG_GETRANDOM);
	struct harness h;
	uint64_t gpa;

	(void)state;
	harness_init(&h, &cvmm_rng_ops, rng, 0);
	assert_int_equal(harness_start(&h), 0);
	gpa = harness_alloc(&h, 16, 1);
	for (unsigned int i = 0; i < CVMM_RNG_QUEUE_SIZE_DEFAULT; i++)
		harness_submit(&h, 0, (struct harness_buf[]){ { gpa, 16, true } }, 1);
	harness_kick(&h, 0);
	harness_run(&h);
	for (unsigned int i = 0; i < CVMM_RNG_QUEUE_SIZE_DEFAULT; i++)
		assert_true(harness_take_used(&h, 0, NULL, NULL));
	assert_int_equal(h.notifications[0], 1);
	harness_fini(&h);
	cvmm_rng_destroy(rng);
}

static void a_malformed_chain_needs_a_reset(void **state)
{
	struct cvmm_rng *rng = make_rng(CVMM_RNG_GETRANDOM);
	struct harness h;

	(void)state;
	harness_init(&h, &cvmm_rng_ops, rng, 0);
	assert_int_equal(harness_start(&h), 0);
	harness_submit(&h, 0, (struct harness_buf[]){ { UINT64_MAX - 4, 16, true } }, 1);
	harness_kick(&h, 0);
	harness_run(&h);
	assert_int_equal(h.resets_needed, 1);
	assert_false(harness_take_used(&h, 0, NULL, NULL));
	harness_fini(&h);
	cvmm_rng_destroy(rng);
}

static void sources_that_cannot_be_read_are_refused(void **state)
{
	struct cvmm_rng_config config = { .fd = 0 };
	struct cvmm_error err = { 0 };
	struct cvmm_rng *rng = NULL;

	(void)state;
	config.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	assert_int_equal(cvmm_rng_create(&config, &rng, &err), -EBADF);
	close(config.fd);
	assert_int_equal(cvmm_rng_create(&config, &rng, &err), -EBADF);
	config.fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(cvmm_rng_create(&config, &rng, &err), -EINVAL);
	close(config.fd);
	assert_null(rng);
	assert_true(err.message[0]);
}

/* ---- limits of the rate -------------------------------------------------------------------------- */

#define MS CVMM_NS_PER_MS

static void a_bucket_begins_full_and_is_refilled_evenly(void **state)
{
	struct rng_rate rate;

	(void)state;
	rng_rate_init(&rate, 1000, 1000, 5 * MS);
	assert_int_equal(rng_rate_wait_ns(&rate, 1000, 5 * MS), 0);
	assert_int_equal(rng_rate_available(&rate, 400), 400);
	assert_int_equal(rng_rate_available(&rate, 5000), 1000);
	rng_rate_take(&rate, 1000);
	assert_int_equal(rng_rate_wait_ns(&rate, 64, 5 * MS), 64 * MS);
	assert_int_equal(rng_rate_wait_ns(&rate, 64, 68 * MS), 1 * MS);
	assert_int_equal(rng_rate_wait_ns(&rate, 64, 69 * MS), 0);
	assert_int_equal(rng_rate_available(&rate, 100), 64);
	/* It never has more than fits, however long nobody takes. */
	assert_int_equal(rng_rate_wait_ns(&rate, 1, 100000 * MS), 0);
	assert_int_equal(rng_rate_available(&rate, 5000), 1000);
	/* Whoever asks for more than fits gets what fits. */
	rng_rate_take(&rate, 1000);
	assert_int_equal(rng_rate_wait_ns(&rate, 5000, 100000 * MS), 1000 * MS);
}

static void asking_often_gives_no_more_than_the_limit(void **state)
{
	uint64_t now = 0, taken = 0;
	struct rng_rate rate;

	(void)state;
	/* Odd numbers, whose quotients are rounded at each step. */
	rng_rate_init(&rate, 997, 1009, now);
	while (now < 100 * 1009 * MS) {
		now += 1237;
		if (!rng_rate_wait_ns(&rate, 1, now)) {
			size_t n = rng_rate_available(&rate, 3);

			rng_rate_take(&rate, n);
			taken += n;
		}
	}
	assert_true(taken <= 997 * 101);
	assert_true(taken >= 997 * 99); /* and hardly less */
}

static void the_ends_of_the_scale_do_not_overflow(void **state)
{
	struct rng_rate rate;

	(void)state;
	rng_rate_init(&rate, RNG_RATE_BYTES_MAX, CVMM_RNG_PERIOD_MS_MAX, 0);
	rng_rate_take(&rate, rng_rate_available(&rate, SIZE_MAX));
	assert_int_equal(rng_rate_wait_ns(&rate, UINT64_MAX, 0), CVMM_RNG_PERIOD_MS_MAX * MS);
	assert_int_equal(rng_rate_wait_ns(&rate, UINT64_MAX, CVMM_RNG_PERIOD_MS_MAX * MS), 0);
	rng_rate_init(&rate, 1, CVMM_RNG_PERIOD_MS_MAX, UINT64_MAX - MS);
	rng_rate_take(&rate, 1);
	assert_int_equal(rng_rate_wait_ns(&rate, 1, UINT64_MAX - MS), CVMM_RNG_PERIOD_MS_MAX * MS);
	rng_rate_init(&rate, UINT64_MAX, 1, 0);
	assert_int_equal(rng_rate_available(&rate, SIZE_MAX), SIZE_MAX);
	assert_int_equal(rng_rate_wait_ns(&rate, UINT64_MAX, 0), 0);
}

static struct cvmm_rng *make_limited_rng(uint64_t max_bytes, uint32_t period_ms)
{
	struct cvmm_rng_config config = {
		.fd = CVMM_RNG_GETRANDOM,
		.max_bytes = max_bytes,
		.period_ms = period_ms,
	};
	struct cvmm_rng *rng = NULL;

	assert_int_equal(cvmm_rng_create(&config, &rng, NULL), 0);
	return rng;
}

static void a_used_up_limit_delays_the_request_but_not_the_loop(void **state)
{
	struct cvmm_rng *rng = make_limited_rng(100, CVMM_RNG_PERIOD_MS_MAX);
	struct harness h;
	uint32_t len;
	uint64_t gpa;

	(void)state;
	harness_init(&h, &cvmm_rng_ops, rng, 0);
	assert_int_equal(harness_start(&h), 0);
	gpa = harness_alloc(&h, 256, 1);
	/* As much of the first request as there is; the second has to wait for its 64 bytes. */
	harness_submit(&h, 0, (struct harness_buf[]){ { gpa, 256, true } }, 1);
	harness_submit(&h, 0, (struct harness_buf[]){ { gpa, 256, true } }, 1);
	harness_kick(&h, 0);
	assert_true(harness_take_used(&h, 0, NULL, &len));
	assert_int_equal(len, 100);
	for (int i = 0; i < 100; i++) {
		harness_kick(&h, 0); /* nothing comes sooner for that, and nothing is polled */
		assert_int_equal(cvmm_loop_run_once(h.loop, 0), 0);
	}
	assert_false(harness_take_used(&h, 0, NULL, NULL));
	assert_int_equal(h.notifications[0], 1);
	harness_fini(&h); /* at once: nobody sleeps until the period ends */
	cvmm_rng_destroy(rng);
}

static void a_request_that_waited_for_the_limit_is_served_by_the_timer(void **state)
{
	struct cvmm_rng *rng = make_limited_rng(64, 20);
	uint64_t before = cvmm_clock_ns();
	struct harness h;
	uint32_t len;
	uint64_t gpa;

	(void)state;
	harness_init(&h, &cvmm_rng_ops, rng, 0);
	assert_int_equal(harness_start(&h), 0);
	gpa = harness_alloc(&h, 64, 1);
	for (int i = 0; i < 4; i++)
		harness_submit(&h, 0, (struct harness_buf[]){ { gpa, 64, true } }, 1);
	harness_kick(&h, 0);
	for (int i = 0; i < 4; i++) {
		harness_wait_used(&h, 0, NULL, &len);
		assert_int_equal(len, 64);
	}
	assert_true(cvmm_clock_ns() - before >= 3 * 20 * MS);
	harness_fini(&h);
	cvmm_rng_destroy(rng);
}

static void numbers_that_cannot_be_are_refused(void **state)
{
	struct cvmm_rng_config config = { .fd = CVMM_RNG_GETRANDOM, .max_bytes = 1 };
	struct cvmm_error err = { 0 };
	struct cvmm_rng *rng = NULL;

	(void)state;
	assert_int_equal(cvmm_rng_create(&config, &rng, &err), -EINVAL);
	config.period_ms = CVMM_RNG_PERIOD_MS_MAX + 1;
	assert_int_equal(cvmm_rng_create(&config, &rng, &err), -EINVAL);
	config.period_ms = 1;
	config.queue_size = 2 * CVMM_RNG_QUEUE_SIZE_MAX;
	assert_int_equal(cvmm_rng_create(&config, &rng, &err), -EINVAL);
	config.queue_size = 48;
	assert_int_equal(cvmm_rng_create(&config, &rng, &err), -EINVAL);
	assert_true(err.message[0]);
	config.queue_size = CVMM_RNG_QUEUE_SIZE_MAX;
	assert_int_equal(cvmm_rng_create(&config, &rng, &err), 0);
	assert_int_equal(cvmm_rng_ops.queue_size_max(rng, 0), CVMM_RNG_QUEUE_SIZE_MAX);
	cvmm_rng_destroy(rng);
}

/* ---- where others fail --------------------------------------------------------------------------- */

static void a_chain_of_three_pieces_is_filled_and_the_queue_lives(void **state)
{
	struct cvmm_rng *rng = make_rng(CVMM_RNG_GETRANDOM);
	uint8_t bytes[32];
	struct harness h;
	uint32_t len;
	uint64_t gpa;

	(void)state;
	harness_init(&h, &cvmm_rng_ops, rng, 0);
	assert_int_equal(harness_start(&h), 0);
	gpa = harness_alloc(&h, 3 * 6000, 1);
	for (int i = 0; i < 2; i++) {
		harness_submit(&h, 0,
			       (struct harness_buf[]){ { gpa, 6000, true },
						       { gpa + 6000, 6000, true },
						       { gpa + 12000, 6000, true } },
			       3);
		harness_kick(&h, 0);
		harness_wait_used(&h, 0, NULL, &len);
		assert_int_equal(len, 18000);
	}
	for (int i = 0; i < 3; i++) {
		harness_read(&h, gpa + (uint64_t)i * 6000 + 6000 - sizeof(bytes), bytes,
			     sizeof(bytes));
		assert_false(all_zero(bytes, sizeof(bytes)));
	}
	harness_fini(&h);
	cvmm_rng_destroy(rng);
}

static void a_source_that_fails_is_replaced_and_the_queue_lives(void **state)
{
	int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC); /* its first byte cannot be read */
	struct cvmm_rng *rng;
	struct harness h;
	uint32_t len;
	uint64_t gpa;

	(void)state;
	if (fd < 0) {
		print_message("SKIP: there is no /proc/self/mem to fail\n");
		skip();
	}
	rng = make_rng(fd);
	harness_init(&h, &cvmm_rng_ops, rng, 0);
	assert_int_equal(harness_start(&h), 0);
	gpa = harness_alloc(&h, 64, 1);
	harness_submit(&h, 0, (struct harness_buf[]){ { gpa, 64, true } }, 1);
	harness_kick(&h, 0);
	harness_wait_used(&h, 0, NULL, &len);
	assert_int_equal(len, 64);
	assert_int_equal(h.resets_needed, 0);
	harness_fini(&h);
	cvmm_rng_destroy(rng);
	close(fd);
}

static void two_devices_on_one_source_never_get_the_same_bytes(void **state)
{
	int fd = make_file("abcdefgh", 8);
	struct cvmm_rng *rng[2] = { make_rng(fd), make_rng(fd) };
	struct harness h[2];
	uint8_t bytes[4];

	(void)state;
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	for (int i = 0; i < 2; i++) {
		uint64_t gpa;

		harness_init(&h[i], &cvmm_rng_ops, rng[i], 0);
		assert_int_equal(harness_start(&h[i]), 0);
		gpa = harness_alloc(&h[i], 4, 1);
		harness_submit(&h[i], 0, (struct harness_buf[]){ { gpa, 4, true } }, 1);
		harness_kick(&h[i], 0);
		harness_wait_used(&h[i], 0, NULL, NULL);
		harness_read(&h[i], gpa, bytes, 4);
		assert_memory_equal(bytes, i ? "efgh" : "abcd", 4);
	}
	for (int i = 0; i < 2; i++) {
		harness_fini(&h[i]);
		cvmm_rng_destroy(rng[i]);
	}
	close(fd);
}

static void what_is_filled_is_marked_dirty(void **state)
{
	struct cvmm_rng *rng = make_rng(CVMM_RNG_GETRANDOM);
	struct cvmm_dirty *dirty;
	struct harness h;
	uint64_t gpa;

	(void)state;
	harness_init(&h, &cvmm_rng_ops, rng, 0);
	dirty = harness_log_dirty(&h);
	assert_int_equal(harness_start(&h), 0);
	gpa = harness_alloc(&h, 4 * 4096, 4096);
	harness_submit(&h, 0,
		       (struct harness_buf[]){ { gpa, 16, true }, { gpa + 8192, 5000, true } }, 2);
	harness_clean(dirty);
	harness_kick(&h, 0);
	harness_wait_used(&h, 0, NULL, NULL);
	assert_true(cvmm_dirty_test(dirty, gpa));
	assert_false(cvmm_dirty_test(dirty, gpa + 4096));
	assert_true(cvmm_dirty_test(dirty, gpa + 8192));
	assert_true(cvmm_dirty_test(dirty, gpa + 3 * 4096));
	harness_fini(&h);
	cvmm_rng_destroy(rng);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identity_is_that_of_an_entropy_device),
		cmocka_unit_test(a_buffer_is_filled_with_random_bytes),
		cmocka_unit_test(a_file_fills_buffers_in_order_across_pieces),
		cmocka_unit_test(one_request_is_bounded),
		cmocka_unit_test(readable_pieces_are_left_alone),
		cmocka_unit_test(a_dry_pipe_delays_the_request_but_not_the_loop),
		cmocka_unit_test(a_device_that_waits_for_bytes_can_be_stopped),
		cmocka_unit_test(a_queue_reset_forgets_the_chain_that_waited),
		cmocka_unit_test(a_source_that_ends_is_replaced_by_getrandom),
		cmocka_unit_test(a_full_queue_is_served_and_notified_once),
		cmocka_unit_test(a_malformed_chain_needs_a_reset),
		cmocka_unit_test(sources_that_cannot_be_read_are_refused),
		cmocka_unit_test(a_bucket_begins_full_and_is_refilled_evenly),
		cmocka_unit_test(asking_often_gives_no_more_than_the_limit),
		cmocka_unit_test(the_ends_of_the_scale_do_not_overflow),
		cmocka_unit_test(a_used_up_limit_delays_the_request_but_not_the_loop),
		cmocka_unit_test(a_request_that_waited_for_the_limit_is_served_by_the_timer),
		cmocka_unit_test(numbers_that_cannot_be_are_refused),
		cmocka_unit_test(a_chain_of_three_pieces_is_filled_and_the_queue_lives),
		cmocka_unit_test(a_source_that_fails_is_replaced_and_the_queue_lives),
		cmocka_unit_test(two_devices_on_one_source_never_get_the_same_bytes),
		cmocka_unit_test(what_is_filled_is_marked_dirty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
