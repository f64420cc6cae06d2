// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include <cvmm/base.h>

static void full_reads_and_writes_survive_short_ones(void **state)
{
	char path[] = "/tmp/cvmm-base-XXXXXX";
	char buf[16] = { 0 };
	int fd = mkstemp(path);
	int pipe_fds[2];

	(void)state;
	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(cvmm_pwrite_full(fd, "0123456789", 10, 5), 0);
	assert_int_equal(cvmm_pread_full(fd, buf, sizeof(buf), 5), 10);
	assert_memory_equal(buf, "0123456789", 10);
	assert_int_equal(cvmm_pread_full(fd, buf, 1, UINT64_MAX), -EOVERFLOW);
	assert_int_equal(cvmm_pwrite_full(fd, buf, 2, INT64_MAX - 1), -EOVERFLOW);
	cvmm_close_fd(&fd);
	assert_int_equal(fd, -1);
	cvmm_close_fd(&fd);

	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(cvmm_write_full(pipe_fds[1], "abc", 3), 0);
	close(pipe_fds[1]);
	assert_int_equal(cvmm_read_full(pipe_fds[0], buf, sizeof(buf)), 3);
	close(pipe_fds[0]);
}

static void reopened_pipe_leaves_the_original_blocking(void **state)
{
	int pipe_fds[2], sockets[2];
	int fd = -1;

	(void)state;
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(cvmm_reopen_nonblock(pipe_fds[0], O_RDONLY, &fd), 0);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_false(fcntl(pipe_fds[0], F_GETFL) & O_NONBLOCK);
	close(fd);
	close(pipe_fds[0]);
	close(pipe_fds[1]);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	assert_int_equal(cvmm_reopen_nonblock(sockets[0], O_RDONLY, &fd), 0);
	assert_false(fcntl(sockets[0], F_GETFL) & O_NONBLOCK);
	close(fd);
	close(sockets[0]);
	close(sockets[1]);
	assert_int_equal(cvmm_reopen_nonblock(-1, O_RDONLY, &fd), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_reads_and_writes_survive_short_ones),
		cmocka_unit_test(reopened_pipe_leaves_the_original_blocking),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
