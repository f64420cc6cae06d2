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
	for (unsigned int i = 0; i < CVMM_RNG_QUEUE_SIZE_MAX; i++)
		harness_submit(&h, 0, (struct harness_buf[]){ { gpa, 16, true } }, 1);
	harness_kick(&h, 0);
	harness_run(&h);
	for (unsigned int i = 0; i < CVMM_RNG_QUEUE_SIZE_MAX; i++)
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
