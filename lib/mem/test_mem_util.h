/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What the tests of mem share. Include after <cmocka.h>. */
#ifndef CVMM_TEST_MEM_UTIL_H
#define CVMM_TEST_MEM_UTIL_H

#include "mem_internal.h"

#ifdef _WIN32
#include <fcntl.h>
#include <io.h>

/* There is no memfd. */
#define KIND_OF_ANOTHER_REGION CVMM_MEM_ANONYMOUS

static inline int pipe(int ends[2])
{
	return _pipe(ends, 4096, _O_BINARY);
}

/* See mem_map_windows.c. */
#define skip_where_neighbours_are_apart() skip()
#else
#include <unistd.h>

#define KIND_OF_ANOTHER_REGION CVMM_MEM_MEMFD

#define skip_where_neighbours_are_apart()
#endif

#define G(addr) cvmm_gpa_from(addr)

static inline uint64_t page_size(void)
{
	return cvmm_mem_host_page_bytes();
}

static inline struct cvmm_mem_config ram_config(uint64_t gpa, uint64_t len)
{
	return (struct cvmm_mem_config){
		.gpa = G(gpa),
		.len_bytes = len,
		.kind = CVMM_MEM_ANONYMOUS,
		.access = CVMM_ACCESS_READ_WRITE,
		.fd = -1,
	};
}

/* A map of @count regions that must be possible. */
static inline struct cvmm_mem *must_create(const struct cvmm_mem_config *configs, size_t count)
{
	struct cvmm_error err = { 0 };
	struct cvmm_mem *mem = NULL;

	if (cvmm_mem_create(configs, count, &mem, &err))
		fail_msg("%s", err.message);
	return mem;
}

#endif /* CVMM_TEST_MEM_UTIL_H */
