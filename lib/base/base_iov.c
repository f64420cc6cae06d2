// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <cvmm/base.h>

size_t cvmm_iov_len(const struct iovec *iov, size_t count)
{
	size_t sum = 0;

	for (size_t i = 0; i < count; i++)
		if (__builtin_add_overflow(sum, iov[i].iov_len, &sum))
			return SIZE_MAX;
	return sum;
}

/* Copies between a list and a buffer; the direction is the only difference. */
static size_t iov_copy(const struct iovec *iov, size_t count, size_t offset, char *buf, size_t len,
		       bool to_iov)
{
	size_t done = 0;

	for (size_t i = 0; i < count && done < len; i++) {
		size_t piece = iov[i].iov_len;
		char *base = iov[i].iov_base;

		if (offset >= piece) {
			offset -= piece;
			continue;
		}
		base += offset;
		piece -= offset;
		offset = 0;
		if (piece > len - done)
			piece = len - done;
		if (to_iov)
			memcpy(base, buf + done, piece);
		else
			memcpy(buf + done, base, piece);
		done += piece;
	}
	return done;
}

size_t cvmm_iov_copy_from(const struct iovec *iov, size_t count, size_t offset, void *dst,
			  size_t len)
{
	return iov_copy(iov, count, offset, dst, len, false);
}

size_t cvmm_iov_copy_to(const struct iovec *iov, size_t count, size_t offset, const void *src,
			size_t len)
{
	/* The cast is sound: with to_iov the buffer is only read. */
	return iov_copy(iov, count, offset, (char *)(uintptr_t)src, len, true);
}

size_t cvmm_iov_slice(const struct iovec *src, size_t src_count, size_t offset, size_t len,
		      struct iovec *dst)
{
	size_t n = 0;

	for (size_t i = 0; i < src_count && len; i++) {
		struct iovec piece = src[i];

		if (offset >= piece.iov_len) {
			offset -= piece.iov_len;
			continue;
		}
		piece.iov_base = (char *)piece.iov_base + offset;
		piece.iov_len -= offset;
		offset = 0;
		if (piece.iov_len > len)
			piece.iov_len = len;
		len -= piece.iov_len;
		dst[n++] = piece;
	}
	return n;
}
