// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a shared memory object is what POSIX has for a memfd. It needs a name for as long
 * as it takes to open it: one that nobody guesses, so that nobody can be in the way.
 *
 * Its size cannot be sealed: a peer that is given the descriptor, and makes the object shorter, kills
 * this process with SIGBUS at the next access.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem_internal.h"

#define NAME_SIZE 32
#define NAME_TRIES 16

static int random_name(char name[NAME_SIZE])
{
	uint64_t number;

	if (getentropy(&number, sizeof(number)))
		return -errno;
	snprintf(name, NAME_SIZE, "/cvmm-%016llx", (unsigned long long)number);
	return 0;
}

/* Return: the object's only descriptor, which is close-on-exec; or negative errno. */
static int open_nameless(void)
{
	char name[NAME_SIZE];
	int fd, ret;

	for (int i = 0; i < NAME_TRIES; i++) {
		ret = random_name(name);
		if (ret)
			return ret;
		fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, S_IRUSR | S_IWUSR);
		if (fd >= 0) {
			shm_unlink(name);
			return fd;
		}
		if (errno != EEXIST && errno != EINTR)
			return -errno;
	}
	return -EEXIST;
}

int cvmm_mem_memfd_open(const struct cvmm_mem_config *config, int *ret_fd, struct cvmm_error *err)
{
	int fd cvmm_cleanup(cvmm_close_fd) = -1;

	if (config->kind == CVMM_MEM_HUGETLB)
		return cvmm_fail(err, -ENOTSUP,
				 "this system has no memory files of huge pages; use "
				 "transparent ones");
	if (config->len_bytes > INT64_MAX)
		return cvmm_fail(err, -EFBIG, "no file can be that large; ask for less memory");
	fd = open_nameless();
	if (fd < 0)
		return cvmm_fail(err, fd, "cannot create a shared memory object: %s",
				 strerror(-fd));
	if (ftruncate(fd, (off_t)config->len_bytes))
		return cvmm_fail(err, -errno, "cannot set the size of the memory file: %s",
				 strerror(errno));
	*ret_fd = cvmm_take_fd(&fd);
	return 0;
}
