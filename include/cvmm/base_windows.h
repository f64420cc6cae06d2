/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What <cvmm/base.h> takes from POSIX systems and MinGW-w64 does not have. Included by it, never alone.
 */
#ifndef CVMM_BASE_WINDOWS_H
#define CVMM_BASE_WINDOWS_H

#include <stddef.h>
#include <stdint.h>

/* Which names a DLL exports is said by its version script. */
#define CVMM_API
/* Of MinGW's own printf(), which knows C's conversions: __USE_MINGW_ANSI_STDIO. */
#define CVMM_PRINTF(fmt_index, first_arg) __attribute__((format(gnu_printf, fmt_index, first_arg)))

/* POSIX <sys/uio.h> */
struct iovec {
	void *iov_base;
	size_t iov_len;
};

/* <endian.h>: all processors that Windows runs on are little-endian. */
static inline uint16_t le16toh(uint16_t v)
{
	return v;
}

static inline uint32_t le32toh(uint32_t v)
{
	return v;
}

static inline uint64_t le64toh(uint64_t v)
{
	return v;
}

static inline uint16_t htole16(uint16_t v)
{
	return v;
}

static inline uint32_t htole32(uint32_t v)
{
	return v;
}

static inline uint64_t htole64(uint64_t v)
{
	return v;
}

static inline uint16_t be16toh(uint16_t v)
{
	return __builtin_bswap16(v);
}

static inline uint32_t be32toh(uint32_t v)
{
	return __builtin_bswap32(v);
}

static inline uint64_t be64toh(uint64_t v)
{
	return __builtin_bswap64(v);
}

static inline uint16_t htobe16(uint16_t v)
{
	return __builtin_bswap16(v);
}

static inline uint32_t htobe32(uint32_t v)
{
	return __builtin_bswap32(v);
}

static inline uint64_t htobe64(uint64_t v)
{
	return __builtin_bswap64(v);
}

#endif /* CVMM_BASE_WINDOWS_H */
