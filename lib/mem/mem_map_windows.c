// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * How Windows maps memory.
 *
 * Theory of operation: private memory is committed at once, so that it cannot run out later; it costs
 * pages only where it is touched. A file is mapped through a section of its own, which the view keeps.
 * Addresses of neighbours are not reserved beforehand: an access that crosses from one region to another
 * is made of two pieces.
 *
 * Descriptors are those of the C library.
 */
#include <errno.h>
#include <io.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <windows.h>

#include "mem_internal.h"

uint64_t cvmm_mem_host_page_bytes(void)
{
	SYSTEM_INFO info;

	GetSystemInfo(&info);
	return info.dwPageSize;
}

uint64_t cvmm_mem_host_granule_bytes(void)
{
	SYSTEM_INFO info;

	GetSystemInfo(&info);
	return info.dwAllocationGranularity;
}

uint64_t cvmm_mem_host_page_bytes_of(const struct cvmm_mem_region *region)
{
	(void)region;
	return cvmm_mem_host_page_bytes();
}

/* ---- files ---------------------------------------------------------------------------------- */

int cvmm_mem_host_dup(int fd)
{
	int copy = _dup(fd);

	if (copy < 0)
		return -errno;
	SetHandleInformation((HANDLE)_get_osfhandle(copy), HANDLE_FLAG_INHERIT, 0);
	return copy;
}

bool cvmm_mem_host_same_file(int a, int b)
{
	BY_HANDLE_FILE_INFORMATION of_a, of_b;

	return GetFileInformationByHandle((HANDLE)_get_osfhandle(a), &of_a) &&
	       GetFileInformationByHandle((HANDLE)_get_osfhandle(b), &of_b) &&
	       of_a.dwVolumeSerialNumber == of_b.dwVolumeSerialNumber &&
	       of_a.nFileIndexHigh == of_b.nFileIndexHigh &&
	       of_a.nFileIndexLow == of_b.nFileIndexLow;
}

static unsigned int call_bytes(const struct iovec *piece)
{
	return (unsigned int)(piece->iov_len < INT_MAX ? piece->iov_len : INT_MAX);
}

ssize_t cvmm_mem_host_readv(int fd, const struct iovec *iov, int count)
{
	int n = count ? _read(fd, iov->iov_base, call_bytes(iov)) : 0;

	return n < 0 ? -errno : n;
}

ssize_t cvmm_mem_host_writev(int fd, const struct iovec *iov, int count)
{
	int n = count ? _write(fd, iov->iov_base, call_bytes(iov)) : 0;

	return n < 0 ? -errno : n;
}

int cvmm_mem_host_check_file(const struct cvmm_mem_config *config, struct cvmm_error *err)
{
	uint64_t end = config->fd_offset + config->len_bytes;
	struct _stat64 st;

	if (_fstat64(config->fd, &st))
		return cvmm_fail(err, -errno, "cannot examine the file: %s", strerror(errno));
	if ((uint64_t)st.st_size < end)
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
	(void)config;
	return false;
}

int cvmm_mem_reserve(struct cvmm_mem_reservation *ret_room, uint64_t gpa, uint64_t len)
{
	(void)ret_room;
	(void)gpa;
	(void)len;
	return -ENOTSUP;
}

void cvmm_mem_unreserve(struct cvmm_mem_reservation *room)
{
	*room = (struct cvmm_mem_reservation){ 0 };
}

/* ---- mapping -------------------------------------------------------------------------------- */

static int last_error(void)
{
	switch (GetLastError()) {
	case ERROR_ACCESS_DENIED:
		return -EACCES;
	case ERROR_INVALID_HANDLE:
		return -EBADF;
	case ERROR_NOT_ENOUGH_MEMORY:
	case ERROR_COMMITMENT_LIMIT:
	case ERROR_NO_SYSTEM_RESOURCES:
		return -ENOMEM;
	default:
		return -EINVAL;
	}
}

/* Return: NULL if it cannot be, with the system's error. */
static void *map_file(const struct cvmm_mem_region *region, void *at)
{
	bool read_only = region->access == CVMM_ACCESS_READ;
	HANDLE section = CreateFileMappingW((HANDLE)_get_osfhandle(region->fd), NULL,
					    read_only ? PAGE_READONLY : PAGE_READWRITE, 0, 0, NULL);
	void *host;
	DWORD code;

	if (!section)
		return NULL;
	host = MapViewOfFileEx(section, read_only ? FILE_MAP_READ : FILE_MAP_WRITE,
			       (DWORD)(region->fd_offset >> 32), (DWORD)region->fd_offset,
			       region->len_bytes, at);
	code = GetLastError();
	CloseHandle(section);
	SetLastError(code);
	return host;
}

static void *map_at(const struct cvmm_mem_region *region, void *at)
{
	if (region->kind == CVMM_MEM_FILE)
		return map_file(region, at);
	return VirtualAlloc(at, region->len_bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

static const char *advice(int code)
{
	if (code == -ENOMEM)
		return "; ask for less memory, or enlarge the paging file";
	if (code == -EACCES)
		return "; open the file for reading and writing, or make the region read-only";
	return "";
}

int cvmm_mem_host_map(const struct cvmm_mem_config *config, enum cvmm_mem_where where, uint8_t *at,
		      struct cvmm_mem_region *region, struct cvmm_error *err)
{
	char text[MEM_SIZE_TEXT];
	void *host = NULL;
	int code;

	(void)config;
	/* Both calls round an address down, which would be one that nobody meant. */
	if (where == CVMM_MEM_TRY && !((uintptr_t)at % cvmm_mem_host_granule_bytes()))
		host = map_at(region, at);
	if (!host)
		host = map_at(region, NULL);
	if (!host) {
		code = last_error();
		return cvmm_fail(err, code, "cannot map %s of memory: %s%s",
				 cvmm_mem_size_text(region->len_bytes, text), strerror(-code),
				 advice(code));
	}
	region->host = host;
	return 0;
}

void cvmm_mem_host_unmap(const struct cvmm_mem_region *region)
{
	if (region->kind == CVMM_MEM_FILE)
		UnmapViewOfFile(region->host);
	else
		VirtualFree(region->host, 0, MEM_RELEASE);
}

void *cvmm_mem_host_alloc(uint64_t bytes, bool usable)
{
	void *host = VirtualAlloc(NULL, bytes, usable ? MEM_RESERVE | MEM_COMMIT : MEM_RESERVE,
				  usable ? PAGE_READWRITE : PAGE_NOACCESS);

	if (!host)
		errno = -last_error();
	return host;
}

void cvmm_mem_host_free(void *host, uint64_t bytes)
{
	(void)bytes;
	VirtualFree(host, 0, MEM_RELEASE);
}
