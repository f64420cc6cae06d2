/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What the tests of vhost share. Include after <cmocka.h>. */
#ifndef CVMM_TEST_VHOST_UTIL_H
#define CVMM_TEST_VHOST_UTIL_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "vhost_internal.h"

/* Mark the running test as skipped, and say why. */
#define SKIP(...)                                \
	do {                                     \
		printf("skipped: " __VA_ARGS__); \
		printf("\n");                    \
		skip();                          \
	} while (0)

#define assert_ok(expression) assert_int_equal(expression, 0)
#define assert_says(err, text)                                                      \
	do {                                                                        \
		if (!strstr((err)->message, text))                                  \
			fail_msg("'%s' does not say '%s'", (err)->message, (text)); \
	} while (0)

#define G(addr) cvmm_gpa_from(addr)
#define PAGE UINT64_C(0x1000)

static inline struct cvmm_mem_config ram(uint64_t gpa, uint64_t len)
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

/* Memory that is mapped on demand, and that nobody maps. */
static inline int nobody_maps(void *ctx, uint64_t offset, uint64_t len_bytes,
			      enum cvmm_access access, void **ret_host)
{
	(void)ctx;
	(void)offset;
	(void)len_bytes;
	(void)access;
	(void)ret_host;
	return -EIO;
}

static inline void nobody_unmaps(void *ctx, void *host, uint64_t len_bytes)
{
	(void)ctx;
	(void)host;
	(void)len_bytes;
}

static const struct cvmm_mem_ops on_demand_ops = { .map = nobody_maps, .unmap = nobody_unmaps };

#endif /* CVMM_TEST_VHOST_UTIL_H */
