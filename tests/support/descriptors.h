/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Pipes and files for tests, on any POSIX system; close-on-exec. Return: -1 with errno on failure. */
#ifndef CVMM_TESTS_DESCRIPTORS_H
#define CVMM_TESTS_DESCRIPTORS_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static inline int test_pipe(int ret_fds[2], bool nonblock)
{
	if (pipe(ret_fds))
		return -1;
	for (int i = 0; i < 2; i++)
		if (fcntl(ret_fds[i], F_SETFD, FD_CLOEXEC) ||
		    (nonblock && fcntl(ret_fds[i], F_SETFL, O_NONBLOCK)))
			return -1;
	return 0;
}

/* An empty file without a name: a memfd, which can be sealed, where the system has that. */
static inline int test_file(void)
{
#ifdef MFD_CLOEXEC
	return memfd_create("cvmm-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
#else
	char path[] = "/tmp/cvmm-test-XXXXXX";
	int fd = mkstemp(path);

	if (fd >= 0 && (unlink(path) || fcntl(fd, F_SETFD, FD_CLOEXEC))) {
		close(fd);
		return -1;
	}
	return fd;
#endif
}

#endif /* CVMM_TESTS_DESCRIPTORS_H */
