// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The image: opening, and the system calls behind each request. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "blk_internal.h"

#ifndef O_DIRECT
#define O_DIRECT 0 /* then no descriptor has it */
#endif

#define BLOCK_BYTES_MAX 65536U
#define FILE_PHYSICAL_BYTES 4096U /* what file systems allocate in */

/* ---- opening ------------------------------------------------------------------------------- */

static const char *image_name(const struct cvmm_blk_config *config)
{
	return config->path ? config->path : "(unnamed)";
}

/* Size, block size and read-only switch of a block device. */
static int probe_device(struct blk_storage *s, const char *name, uint64_t *ret_bytes,
			struct cvmm_error *err)
{
	struct blk_device device = { 0 };
	int r = blk_host_probe(s->fd, &device);

	if (r)
		return cvmm_fail(err, r, "disk image %s: cannot get its size: %s", name,
				 strerror(-r));
	if (!s->read_only && device.read_only)
		return cvmm_fail(err, -EROFS, "disk image %s is read-only; open it read-only",
				 name);
	if (device.block_bytes < CVMM_BLK_SECTOR_BYTES || device.block_bytes > BLOCK_BYTES_MAX)
		return cvmm_fail(err, -EINVAL, "disk image %s has blocks of %u bytes", name,
				 device.block_bytes);
	*ret_bytes = device.bytes;
	s->block_device = true;
	s->block_bytes = device.block_bytes;
	s->physical_bytes = s->block_bytes;
	if (device.physical_bytes > s->block_bytes && cvmm_is_pow2(device.physical_bytes))
		s->physical_bytes = device.physical_bytes;
	return 0;
}

static int check_access(const struct cvmm_blk_config *config, struct cvmm_error *err)
{
	int flags = fcntl(config->fd, F_GETFL);

	if (flags < 0)
		return cvmm_fail(err, -errno, "disk image %s: %s", image_name(config),
				 strerror(errno));
	if ((flags & O_ACCMODE) == O_WRONLY ||
	    (!config->read_only && (flags & O_ACCMODE) != O_RDWR))
		return cvmm_fail(err, -EINVAL, "disk image %s is not open for reading%s",
				 image_name(config), config->read_only ? "" : " and writing");
	/* Appending ignores offsets; O_DIRECT needs buffers aligned as no guest promises. */
	if (flags & (O_APPEND | O_DIRECT))
		return cvmm_fail(err, -EINVAL, "disk image %s is open with %s", image_name(config),
				 flags & O_APPEND ? "O_APPEND" : "O_DIRECT");
	return 0;
}

static int apply_block_size(struct blk_storage *s, const struct cvmm_blk_config *config,
			    struct cvmm_error *err)
{
	uint32_t wanted = config->block_size_bytes;

	if (!wanted)
		return 0;
	if (!cvmm_is_pow2(wanted) || wanted < CVMM_BLK_SECTOR_BYTES || wanted > BLOCK_BYTES_MAX)
		return cvmm_fail(err, -EINVAL,
				 "disk image %s: block size %u is not a power of two from %u to %u",
				 image_name(config), wanted, CVMM_BLK_SECTOR_BYTES,
				 BLOCK_BYTES_MAX);
	if (wanted < s->block_bytes)
		return cvmm_fail(err, -EINVAL,
				 "disk image %s: block size %u is below the device's own, %u",
				 image_name(config), wanted, s->block_bytes);
	s->block_bytes = wanted;
	if (s->physical_bytes < wanted)
		s->physical_bytes = wanted;
	return 0;
}

static int probe(struct blk_storage *s, const struct cvmm_blk_config *config,
		 struct cvmm_error *err)
{
	uint64_t bytes = 0;
	struct stat st;
	int r = 0;

	if (fstat(s->fd, &st))
		return cvmm_fail(err, -errno, "disk image %s: %s", image_name(config),
				 strerror(errno));
	if (S_ISBLK(st.st_mode)) {
		r = probe_device(s, image_name(config), &bytes, err);
	} else if (S_ISREG(st.st_mode)) {
		bytes = (uint64_t)st.st_size;
		s->block_bytes = CVMM_BLK_SECTOR_BYTES;
		s->physical_bytes = FILE_PHYSICAL_BYTES;
	} else {
		r = cvmm_fail(err, -EINVAL, "disk image %s is neither a file nor a block device",
			      image_name(config));
	}
	if (!r)
		r = apply_block_size(s, config, err);
	if (r)
		return r;
	s->capacity_bytes = bytes - bytes % s->block_bytes;
	if (s->capacity_bytes != bytes)
		cvmm_log(config->log, CVMM_LOG_WARN,
			 "disk image %s: the last %llu bytes are no block of %u and are left out",
			 image_name(config), (unsigned long long)(bytes - s->capacity_bytes),
			 s->block_bytes);
	return 0;
}

/*
 * A lock of the open file description: it holds for all threads, goes when the last descriptor is
 * closed, and two virtual machines in one process exclude each other as well.
 */
static int lock_image(struct blk_storage *s, const struct cvmm_blk_config *config,
		      struct cvmm_error *err)
{
	int r;

	if (config->no_lock)
		return 0;
	r = blk_host_lock(s->fd, !config->read_only);
	if (!r) {
		s->locked = true;
		return 0;
	}
	if (r == -EAGAIN || r == -EWOULDBLOCK || r == -EACCES)
		return cvmm_fail(err, -EBUSY, "disk image %s is in use by another VM",
				 image_name(config));
	/* Some file systems have no locks: going on is what their users expect. */
	cvmm_log(config->log, CVMM_LOG_WARN, "disk image %s cannot be locked: %s",
		 image_name(config), strerror(-r));
	return 0;
}

int blk_storage_open(struct blk_storage *s, const struct cvmm_blk_config *config,
		     struct cvmm_error *err)
{
	int r;

	memset(s, 0, sizeof(*s));
	s->fd = -1;
	s->read_only = config->read_only;
	r = check_access(config, err);
	if (r)
		return r;
	s->fd = fcntl(config->fd, F_DUPFD_CLOEXEC, 0);
	if (s->fd < 0)
		return cvmm_fail(err, -errno, "disk image %s: %s", image_name(config),
				 strerror(errno));
	r = lock_image(s, config, err);
	if (!r)
		r = probe(s, config, err);
	return r;
}

void blk_storage_close(struct blk_storage *s)
{
	/* The caller may still hold a descriptor of the same description, and with it the lock. */
	if (s->locked)
		blk_host_unlock(s->fd);
	s->locked = false;
	cvmm_close_fd(&s->fd);
}

/* ---- transfers ----------------------------------------------------------------------------- */

/* Drop the first @n bytes of a list. Return: the new first piece. */
static struct iovec *advance(struct iovec *iov, size_t *count, size_t n)
{
	while (*count && n >= iov->iov_len) {
		n -= iov->iov_len;
		iov++;
		(*count)--;
	}
	if (*count) {
		iov->iov_base = (uint8_t *)iov->iov_base + n;
		iov->iov_len -= n;
	}
	return iov;
}

typedef ssize_t transfer_fn(int fd, const struct iovec *iov, int count, off_t offset);

static int transfer(int fd, struct iovec *iov, size_t count, uint64_t offset, transfer_fn *fn)
{
	while (count) {
		ssize_t n = fn(fd, iov, (int)count, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO; /* the image became shorter than it was */
		offset += (uint64_t)n;
		iov = advance(iov, &count, (size_t)n);
	}
	return 0;
}

int blk_storage_read(struct blk_storage *s, struct iovec *iov, size_t count, uint64_t offset)
{
	return transfer(s->fd, iov, count, offset, preadv);
}

int blk_storage_write(struct blk_storage *s, struct iovec *iov, size_t count, uint64_t offset)
{
	return transfer(s->fd, iov, count, offset, pwritev);
}

int blk_storage_flush(struct blk_storage *s)
{
	/* Nothing of ours is pending, and some devices refuse fdatasync() on a read-only one. */
	if (s->read_only)
		return 0;
	return fdatasync(s->fd) ? -errno : 0;
}

/* ---- discarding and zeroing ---------------------------------------------------------------- */

static bool unsupported(int r)
{
	return r == -EOPNOTSUPP || r == -ENOSYS || r == -ENOTTY || r == -ENODEV;
}

int blk_storage_discard(struct blk_storage *s, uint64_t offset, uint64_t len_bytes)
{
	int r = s->block_device ? blk_host_discard_device(s->fd, offset, len_bytes)
				: blk_host_punch(s->fd, offset, len_bytes);

	/* A discard is advice: storage that cannot follow it has still done nothing wrong. */
	return unsupported(r) ? 0 : r;
}

#define ZEROES_BYTES 65536U
#define ZEROES_PIECES 16U

static int write_zeroes_slowly(struct blk_storage *s, uint64_t offset, uint64_t len_bytes)
{
	static const uint8_t zeroes[ZEROES_BYTES];

	while (len_bytes) {
		struct iovec iov[ZEROES_PIECES];
		uint64_t chunk = 0;
		size_t count = 0;
		int r;

		if (atomic_load(&s->giving_up))
			return -ECANCELED;
		while (count < ZEROES_PIECES && chunk < len_bytes) {
			uint64_t n = len_bytes - chunk;

			if (n > sizeof(zeroes))
				n = sizeof(zeroes);
			iov[count].iov_base = (void *)(uintptr_t)zeroes;
			iov[count].iov_len = (size_t)n;
			count++;
			chunk += n;
		}
		r = blk_storage_write(s, iov, count, offset);
		if (r)
			return r;
		offset += chunk;
		len_bytes -= chunk;
	}
	return 0;
}

int blk_storage_write_zeroes(struct blk_storage *s, uint64_t offset, uint64_t len_bytes, bool unmap)
{
	int r = -EOPNOTSUPP;

	if (unmap)
		r = blk_host_punch(s->fd, offset, len_bytes);
	if (unsupported(r))
		r = blk_host_zero(s->fd, offset, len_bytes);
	/* EINVAL: a device whose blocks the range does not match. */
	if (unsupported(r) || r == -EINVAL)
		r = write_zeroes_slowly(s, offset, len_bytes);
	return r;
}
