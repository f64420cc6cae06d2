// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * How POSIX systems map memory.
 *
 * Theory of operation: private memory is mapped without a reservation: a guest that is given more
 * than it uses costs only what it uses. Huge pages are reserved, because running out of them is a
 * SIGBUS.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "mem_internal.h"

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0 /* then an address is a hint, which may be ignored */
#endif

/* Duplicates stay clear of standard input, output and error. */
#define MEM_FD_MIN 3

/* Huge pages of the usual size: where guest and host agree modulo this, the host can use them. */
#define MEM_PLACE_ALIGN (UINT64_C(2) << 20)

uint64_t cvmm_mem_host_page_bytes(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t cvmm_mem_host_granule_bytes(void)
{
	return cvmm_mem_host_page_bytes();
}

uint64_t cvmm_mem_host_page_bytes_of(const struct cvmm_mem_region *region)
{
	struct stat st;

	/* hugetlbfs tells its page size as the block size. */
	if (region->kind == CVMM_MEM_HUGETLB && !fstat(region->fd, &st))
		return (uint64_t)st.st_blksize;
	return cvmm_mem_host_page_bytes();
}

/* ---- files ---------------------------------------------------------------------------------- */

int cvmm_mem_host_dup(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, MEM_FD_MIN);

	return copy < 0 ? -errno : copy;
}

bool cvmm_mem_host_same_file(int a, int b)
{
	struct stat st_a, st_b;

	return !fstat(a, &st_a) && !fstat(b, &st_b) && st_a.st_dev == st_b.st_dev &&
	       st_a.st_ino == st_b.st_ino;
}

ssize_t cvmm_mem_host_readv(int fd, const struct iovec *iov, int count)
{
	ssize_t n = readv(fd, iov, count);

	return n < 0 ? -errno : n;
}

ssize_t cvmm_mem_host_writev(int fd, const struct iovec *iov, int count)
{
	ssize_t n = writev(fd, iov, count);

	return n < 0 ? -errno : n;
}

/* Pages past the end of a file can be mapped, but touching them is a SIGBUS. */
int cvmm_mem_host_check_file(const struct cvmm_mem_config *config, struct cvmm_error *err)
{
	uint64_t end = config->fd_offset + config->len_bytes;
	struct stat st;

	if (fstat(config->fd, &st))
		return cvmm_fail(err, -errno, "cannot examine the file: %s", strerror(errno));
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < end)
		return cvmm_fail(
			err, -EINVAL,
			"the file has %lld bytes, but the region needs %llu (from 0x%llx); "
			"enlarge the file or make the region smaller",
			(long long)st.st_size, (unsigned long long)end,
			(unsigned long long)config->fd_offset);
	return 0;
}

/* ---- addresses ------------------------------------------------------------------------------ */

bool cvmm_mem_can_reserve(const struct cvmm_mem_config *config)
{
	struct stat st;

	/* Huge pages want their own alignment, which the guest's address may not have. */
	if (config->kind == CVMM_MEM_HUGETLB)
		return config->hugetlb_log2 &&
		       !(config->gpa.addr & ((UINT64_C(1) << config->hugetlb_log2) - 1)) &&
		       UINT64_C(1) << config->hugetlb_log2 <= MEM_PLACE_ALIGN;
	/* So do files of them. */
	if (config->kind == CVMM_MEM_FILE)
		return !fstat(config->fd, &st) && st.st_blksize <= sysconf(_SC_PAGESIZE);
	return config->kind != CVMM_MEM_EXTERNAL && config->kind != CVMM_MEM_ON_DEMAND;
}

int cvmm_mem_reserve(struct cvmm_mem_reservation *ret_room, uint64_t gpa, uint64_t len)
{
	uint64_t total, skip;
	uint8_t *base;

	if (!cvmm_add_u64(len, MEM_PLACE_ALIGN, &total))
		return -ENOMEM;
	base = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return -errno;
	skip = (gpa - (uintptr_t)base) % MEM_PLACE_ALIGN;
	if (skip)
		munmap(base, skip);
	munmap(base + skip + len, MEM_PLACE_ALIGN - skip);
	*ret_room = (struct cvmm_mem_reservation){ base + skip, base + skip + len };
	return 0;
}

void cvmm_mem_unreserve(struct cvmm_mem_reservation *room)
{
	if (room->next != room->end)
		munmap(room->next, (size_t)(room->end - room->next));
	*room = (struct cvmm_mem_reservation){ 0 };
}

/* ---- mapping -------------------------------------------------------------------------------- */

static const char *advice(const struct cvmm_mem_config *config, int code)
{
	if (code == -ENOMEM && config->kind == CVMM_MEM_HUGETLB)
		return "; reserve more huge pages (/sys/kernel/mm/hugepages/*/nr_hugepages) or ask "
		       "for less memory";
	if (code == -ENOMEM)
		return "; ask for less memory, or raise the limits on it (ulimit -v, "
		       "vm.overcommit_memory, vm.max_map_count)";
	if (code == -EACCES && config->kind == CVMM_MEM_FILE)
		return "; open the file for reading and writing, or make the region read-only";
	return "";
}

int cvmm_mem_host_map(const struct cvmm_mem_config *config, enum cvmm_mem_where where, uint8_t *at,
		      struct cvmm_mem_region *region, struct cvmm_error *err)
{
	bool is_private = config->kind == CVMM_MEM_ANONYMOUS;
	int flags = is_private ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
	int protection = PROT_READ | PROT_WRITE;
	char text[MEM_SIZE_TEXT];
	void *host;
	int code;

	/*
	 * `access` is about devices: the VMM itself may write to its ROM. But a file that was
	 * opened for reading only cannot be mapped for writing.
	 */
	if (config->kind == CVMM_MEM_FILE && config->access == CVMM_ACCESS_READ)
		protection = PROT_READ;
	if (where == CVMM_MEM_RESERVED)
		flags |= MAP_FIXED;
	host = MAP_FAILED;
	if (where == CVMM_MEM_TRY)
		host = mmap(at, region->len_bytes, protection, flags | MAP_FIXED_NOREPLACE,
			    region->fd, (off_t)region->fd_offset);
	if (host == MAP_FAILED)
		host = mmap(where == CVMM_MEM_RESERVED ? at : NULL, region->len_bytes, protection,
			    flags, region->fd, (off_t)region->fd_offset);
	if (host == MAP_FAILED) {
		code = -errno;
		return cvmm_fail(err, code, "cannot map %s of memory: %s%s",
				 cvmm_mem_size_text(region->len_bytes, text), strerror(-code),
				 advice(config, code));
	}
	region->host = host;
	return 0;
}

void cvmm_mem_host_unmap(const struct cvmm_mem_region *region)
{
	munmap(region->host, region->len_bytes);
}

void *cvmm_mem_host_alloc(uint64_t bytes, bool usable)
{
	void *host = mmap(NULL, bytes, usable ? PROT_READ | PROT_WRITE : PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return host == MAP_FAILED ? NULL : host;
}

void cvmm_mem_host_free(void *host, uint64_t bytes)
{
	munmap(host, bytes);
}
