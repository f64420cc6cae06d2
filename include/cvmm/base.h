/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm base: errors, endian types, checked arithmetic, descriptors, iovecs, clocks, logging.
 *
 * Unstable (0.x): names and layouts may change between releases.
 *
 * Everything here is thread-safe unless its comment says otherwise, and nothing here keeps global
 * state. Functions return 0 or a negative errno; `errno` itself is never an output.
 */
#ifndef CVMM_BASE_H
#define CVMM_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#ifdef _WIN32
#include <cvmm/base_windows.h>
#else
#if __has_include(<endian.h>)
#include <endian.h>
#else
#include <sys/endian.h>
#endif
#include <sys/uio.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

#ifndef _WIN32
#define CVMM_API __attribute__((visibility("default")))
#define CVMM_PRINTF(fmt_index, first_arg) __attribute__((format(printf, fmt_index, first_arg)))
#endif
#define CVMM_MUST_CHECK __attribute__((warn_unused_result))
#define CVMM_LIKELY(x) __builtin_expect(!!(x), 1)
#define CVMM_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define CVMM_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define CVMM_CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
/* For public headers: C and C++ have different words for it. */
#ifdef __cplusplus
#define CVMM_STATIC_ASSERT(cond, why) static_assert(cond, why)
#else
#define CVMM_STATIC_ASSERT(cond, why) _Static_assert(cond, why)
#endif

/* ---- our own bugs -------------------------------------------------------------------------- */

/**
 * cvmm_bug() - report a broken invariant of this library and abort
 * @file: source file of the check
 * @line: source line of the check
 * @what: the condition that should never hold
 *
 * Never called because of what a guest, a peer or a user did: those are errors, not bugs.
 */
CVMM_API __attribute__((noreturn, cold)) void cvmm_bug(const char *file, int line,
						       const char *what);

/* Active in release builds too: running on with a broken invariant helps only an attacker. */
#define CVMM_BUG_ON(cond)                                    \
	do {                                                 \
		if (CVMM_UNLIKELY(cond))                     \
			cvmm_bug(__FILE__, __LINE__, #cond); \
	} while (0)

/* ---- errors -------------------------------------------------------------------------------- */

#define CVMM_ERROR_MESSAGE_SIZE 512

/**
 * struct cvmm_error - a message that a user can act on, in the caller's storage
 * @code: the negative errno that the failing function returned, 0 while nothing failed
 * @message: NUL-terminated text; cut with "..." where it would not fit
 */
struct cvmm_error {
	int code;
	char message[CVMM_ERROR_MESSAGE_SIZE];
};

/**
 * cvmm_fail() - fill an error and return its code
 * @err: where to write, or NULL if the caller wants only the code
 * @code: negative errno
 * @fmt: printf format of the message: what was wrong and what to do
 *
 * Return: @code, so that `return cvmm_fail(err, -EINVAL, "...")` reads as one step.
 */
CVMM_API CVMM_PRINTF(3, 4) int cvmm_fail(struct cvmm_error *err, int code, const char *fmt, ...);

/**
 * cvmm_error_prefix() - put context in front of an error's message
 * @err: an error filled before, or NULL
 * @fmt: printf format of the text that goes in front of ": "
 *
 * Return: the error's code (0 if @err is NULL).
 */
CVMM_API CVMM_PRINTF(2, 3) int cvmm_error_prefix(struct cvmm_error *err, const char *fmt, ...);

/* ---- checked arithmetic -------------------------------------------------------------------- */

/* Each returns true and sets *ret if the result fits; otherwise false and *ret is untouched. */
static inline bool CVMM_MUST_CHECK cvmm_add_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
	uint64_t sum;

	if (__builtin_add_overflow(a, b, &sum))
		return false;
	*ret = sum;
	return true;
}

static inline bool CVMM_MUST_CHECK cvmm_mul_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
	uint64_t product;

	if (__builtin_mul_overflow(a, b, &product))
		return false;
	*ret = product;
	return true;
}

/* Round @a up to a multiple of @align, a power of two. */
static inline bool CVMM_MUST_CHECK cvmm_align_up_u64(uint64_t a, uint64_t align, uint64_t *ret)
{
	uint64_t sum;

	if (!cvmm_add_u64(a, align - 1, &sum))
		return false;
	*ret = sum & ~(align - 1);
	return true;
}

static inline bool cvmm_is_pow2(uint64_t a)
{
	return a && !(a & (a - 1));
}

/*
 * Whether [start, start + len) lies inside [0, limit). Cannot overflow for any arguments; an empty
 * range is inside if start <= limit.
 */
static inline bool cvmm_range_inside(uint64_t start, uint64_t len, uint64_t limit)
{
	return start <= limit && len <= limit - start;
}

/* ---- endian types -------------------------------------------------------------------------- */

/*
 * Structs, so that arithmetic on a wire value does not compile. memcpy-safe, no padding.
 */
#define CVMM_DEFINE_ENDIAN(order, ORDER_fn, bits)                                    \
	typedef struct {                                                             \
		uint##bits##_t raw;                                                  \
	} cvmm_##order##bits;                                                        \
	static inline uint##bits##_t cvmm_##order##bits##_get(cvmm_##order##bits v)  \
	{                                                                            \
		return order##bits##toh(v.raw);                                      \
	}                                                                            \
	static inline cvmm_##order##bits cvmm_##order##bits##_from(uint##bits##_t v) \
	{                                                                            \
		return (cvmm_##order##bits){ hto##order##bits(v) };                  \
	}

CVMM_DEFINE_ENDIAN(le, LE, 16)
CVMM_DEFINE_ENDIAN(le, LE, 32)
CVMM_DEFINE_ENDIAN(le, LE, 64)
CVMM_DEFINE_ENDIAN(be, BE, 16)
CVMM_DEFINE_ENDIAN(be, BE, 32)
CVMM_DEFINE_ENDIAN(be, BE, 64)
#undef CVMM_DEFINE_ENDIAN

/* Unaligned little-endian access to a byte buffer of at least the value's size. */
static inline uint16_t cvmm_get_le16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static inline uint32_t cvmm_get_le32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static inline uint64_t cvmm_get_le64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static inline void cvmm_put_le16(void *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void cvmm_put_le32(void *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void cvmm_put_le64(void *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

/* ---- ownership helpers --------------------------------------------------------------------- */

/**
 * cvmm_take_fd() - move a descriptor out of a variable
 * @fd: variable that owns the descriptor; becomes -1
 *
 * Return: the descriptor, now owned by the caller.
 */
static inline int cvmm_take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/**
 * cvmm_close_fd() - close the descriptor in a variable, if there is one
 * @fd: variable that owns the descriptor, or holds a negative number; becomes -1
 */
CVMM_API void cvmm_close_fd(int *fd);

/* For use as `int fd cvmm_cleanup(cvmm_close_fd) = ...;` */
#define cvmm_cleanup(fn) __attribute__((cleanup(fn)))

/* Frees the heap block that a pointer variable owns; for `cvmm_cleanup(cvmm_free_ptr)`. */
CVMM_API void cvmm_free_ptr(void *pointer_variable);

/* ---- descriptors --------------------------------------------------------------------------- */

/**
 * cvmm_read_full() - read until the buffer is full, or the end of file
 * @fd: a blocking descriptor
 * @buf: destination, @len bytes
 * @len: bytes wanted
 *
 * Retries EINTR. Return: bytes read (less than @len only at the end of file), or negative errno.
 */
CVMM_API ssize_t cvmm_read_full(int fd, void *buf, size_t len);

/**
 * cvmm_write_full() - write the whole buffer to a blocking descriptor
 *
 * Retries EINTR and short writes. Return: 0 or negative errno (some bytes may have been written).
 */
CVMM_API int cvmm_write_full(int fd, const void *buf, size_t len);

/**
 * cvmm_pread_full() - read from an offset until the buffer is full, or the end of file
 *
 * Does not move the descriptor's position. Return: as cvmm_read_full().
 */
CVMM_API ssize_t cvmm_pread_full(int fd, void *buf, size_t len, uint64_t offset);

/**
 * cvmm_pwrite_full() - write the whole buffer at an offset
 *
 * Return: as cvmm_write_full().
 */
CVMM_API int cvmm_pwrite_full(int fd, const void *buf, size_t len, uint64_t offset);

/**
 * cvmm_set_nonblock() - set or clear O_NONBLOCK
 *
 * The flag belongs to the open file description: whoever shares it (a parent shell, say) sees the
 * change. For descriptors that were inherited use cvmm_reopen_nonblock() first.
 *
 * Return: 0 or negative errno.
 */
CVMM_API int cvmm_set_nonblock(int fd, bool nonblock);

/**
 * cvmm_reopen_nonblock() - a non-blocking descriptor for an inherited stream, leaving others' alone
 * @fd: an inherited descriptor, e.g. 0 or 1; stays open and unchanged
 * @flags: O_RDONLY or O_WRONLY
 * @ret_fd: a new close-on-exec descriptor
 *
 * Pipes, FIFOs and terminals are opened anew, so that O_NONBLOCK stays private. Regular files,
 * block devices and directories never block, and keep their shared position: they are
 * duplicated. Sockets cannot be opened anew: they are duplicated too, and the caller must use
 * MSG_DONTWAIT on them. Where opening anew is not possible the duplicate may block.
 *
 * Return: 0 or negative errno. Owner: the caller owns *ret_fd.
 */
CVMM_API int cvmm_reopen_nonblock(int fd, int flags, int *ret_fd);

/* ---- iovecs -------------------------------------------------------------------------------- */

/* Sum of the lengths; saturates at SIZE_MAX. */
CVMM_API size_t cvmm_iov_len(const struct iovec *iov, size_t count);

/**
 * cvmm_iov_copy_from() - copy bytes out of an iovec list into a buffer
 * @iov: list of @count pieces
 * @offset: bytes of the list to skip
 *
 * Return: bytes copied: less than @len only where the list ends.
 */
CVMM_API size_t cvmm_iov_copy_from(const struct iovec *iov, size_t count, size_t offset, void *dst,
				   size_t len);

/* As cvmm_iov_copy_from(), from the buffer into the list. */
CVMM_API size_t cvmm_iov_copy_to(const struct iovec *iov, size_t count, size_t offset,
				 const void *src, size_t len);

/**
 * cvmm_iov_slice() - the part [offset, offset + len) of a list, as a list
 * @src: list of @src_count pieces
 * @dst: room for @src_count pieces; may be @src itself
 *
 * Return: pieces written to @dst; the part ends early where @src ends.
 */
CVMM_API size_t cvmm_iov_slice(const struct iovec *src, size_t src_count, size_t offset, size_t len,
			       struct iovec *dst);

/* ---- clock --------------------------------------------------------------------------------- */

#define CVMM_NS_PER_S UINT64_C(1000000000)
#define CVMM_NS_PER_MS UINT64_C(1000000)

/* Monotonic time in nanoseconds. */
CVMM_API uint64_t cvmm_clock_ns(void);

/* ---- logging ------------------------------------------------------------------------------- */

enum cvmm_log_level {
	CVMM_LOG_ERROR,
	CVMM_LOG_WARN,
	CVMM_LOG_INFO,
	CVMM_LOG_DEBUG,
};

/**
 * struct cvmm_log - where a context's messages go; libraries never print by themselves
 * @write: called with one finished line without its newline; may be called from any thread
 * @ctx: passed to @write
 * @max_level: messages above it are dropped before they are formatted
 *
 * A NULL `struct cvmm_log *` is valid everywhere and means silence.
 */
struct cvmm_log {
	void (*write)(void *ctx, enum cvmm_log_level level, const char *message);
	void *ctx;
	enum cvmm_log_level max_level;
};

/* Send one message, if anybody wants its level. Any thread. */
CVMM_API CVMM_PRINTF(3, 4) void cvmm_log(const struct cvmm_log *log, enum cvmm_log_level level,
					 const char *fmt, ...);

/**
 * struct cvmm_log_limit - budget for messages that a guest or peer can trigger
 *
 * Zero-initialise. At most CVMM_LOG_LIMIT_BURST messages in CVMM_LOG_LIMIT_PERIOD_NS; the first one
 * after a quiet period says how many were dropped. Not thread-safe: one per thread of control.
 */
struct cvmm_log_limit {
	uint64_t period_start_ns;
	uint32_t used;
	uint32_t dropped;
};

#define CVMM_LOG_LIMIT_BURST 10
#define CVMM_LOG_LIMIT_PERIOD_NS (UINT64_C(5) * CVMM_NS_PER_S)

/* As cvmm_log(), within the budget of @limit; for what a guest or peer can cause at will. */
CVMM_API CVMM_PRINTF(4, 5) void cvmm_log_limited(const struct cvmm_log *log,
						 struct cvmm_log_limit *limit,
						 enum cvmm_log_level level, const char *fmt, ...);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_BASE_H */
