// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a log bitmap reserves address space for the largest log that it takes, and
 * keeps it. A log is mapped over the start of it, in place of what was there (MAP_FIXED): the kernel
 * does that in one step as seen by other threads, whose accesses go to the old memory, or wait and
 * go to the new. So a marker that was stopped between reading the state and setting its bit, for
 * however long, finds memory to set it in, and if it belongs to a log, to the current one. There is
 * nothing to count, and nobody to wait for.
 *
 * Such a late marker may believe in a longer log than there is. Therefore
 *  - what ever belonged to a log remains writable: behind the current log there is private memory,
 *    which takes late marks that are of no use to anybody;
 *  - a shorter log must not end within a page of a file that has more to it.
 *
 * Logs start where pages of the host do. Every front-end gives offset 0.
 *
 * Whatever a peer can be the cause of (a sealed or read-only file, a device that cannot be mapped) is
 * found before anything changes, by mapping the log elsewhere first. That mapping is then moved into
 * place, so that a peer that changes its mind in between comes too late.
 *
 * One thing cannot be mended: where the kernel, out of memory for its own structures, removes the
 * old mapping and then fails to move the new one, a marker at that moment finds a hole.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem_dirty_internal.h"

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

#define LOG_PAGES_PER_BYTE 8U

/**
 * struct log_file - a log that a peer offers
 * @mapped_bytes: @size_bytes in whole pages of the host
 * @has_more: the file goes on behind the log within the log's last page
 */
struct log_file {
	int fd;
	uint64_t offset;
	uint64_t size_bytes;
	uint64_t mapped_bytes;
	bool has_more;
};

static int check_file(const struct dirty_bitmap *bitmap, struct log_file *file,
		      struct cvmm_error *err)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), end;
	struct stat st;

	if (!file->size_bytes)
		return cvmm_fail(err, -EINVAL, "size is 0");
	if (file->size_bytes > bitmap->mapped_bytes)
		return cvmm_fail(err, -E2BIG, "size of %llu bytes is above the limit of %llu",
				 (unsigned long long)file->size_bytes,
				 (unsigned long long)bitmap->mapped_bytes);
	if (file->offset % page)
		return cvmm_fail(err, -EINVAL,
				 "offset 0x%llx is not a multiple of the page size, 0x%llx",
				 (unsigned long long)file->offset, (unsigned long long)page);
	if (fstat(file->fd, &st))
		return cvmm_fail(err, -errno, "cannot examine the file: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return cvmm_fail(err, -EINVAL, "is neither a regular file nor a memfd");
	if (cvmm_mem_dirty_host_is_huge(file->fd))
		return cvmm_fail(err, -EINVAL,
				 "is made of huge pages; a log must be of usual ones");
	/* Pages behind the end of a file can be mapped, but touching them is a SIGBUS. */
	if (!cvmm_range_inside(file->offset, file->size_bytes, (uint64_t)st.st_size))
		return cvmm_fail(err, -EINVAL,
				 "%llu bytes at 0x%llx reach beyond the file's end at 0x%llx",
				 (unsigned long long)file->size_bytes,
				 (unsigned long long)file->offset, (unsigned long long)st.st_size);
	end = file->offset + file->size_bytes;
	file->mapped_bytes = (file->size_bytes + page - 1) & ~(page - 1);
	file->has_more = end % page && (uint64_t)st.st_size > end;
	return 0;
}

/* Maps the file where it harms nobody. Owner: the caller unmaps *ret_tried, or moves it. */
static int try_file(const struct log_file *file, void **ret_tried, struct cvmm_error *err)
{
	void *tried = cvmm_mem_dirty_host_map(NULL, file->mapped_bytes, MAP_SHARED, file->fd,
					      file->offset);
	int code = -errno;

	if (tried == MAP_FAILED)
		return cvmm_fail(err, code, "cannot be mapped for reading and writing: %s",
				 strerror(-code));
	*ret_tried = tried;
	return 0;
}

/* The mapping of try_file() in place of what is at the start of the words. Return: 0 or negative errno. */
static int put_in_place(struct dirty_bitmap *bitmap, const struct log_file *file, void **tried)
{
	return cvmm_mem_dirty_host_put(bitmap->front.words, tried, file->mapped_bytes, file->fd,
				       file->offset);
}

/* Private memory in place of what is mapped in [from, to) of the words. */
static int replace_by_nothing(struct dirty_bitmap *bitmap, uint64_t from, uint64_t to)
{
	uint8_t *start = (uint8_t *)bitmap->front.words;

	if (from >= to)
		return 0;
	if (cvmm_mem_dirty_host_map(start + from, to - from,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
				    0) == MAP_FAILED)
		return -errno;
	return 0;
}

static int replace_by_file(struct dirty_bitmap *bitmap, const struct log_file *file, void **tried,
			   struct cvmm_error *err)
{
	uint64_t pages = file->size_bytes * LOG_PAGES_PER_BYTE;
	int ret;

	/* Nobody new may mark what the two logs do not both have. */
	cvmm_mem_dirty_publish(bitmap, bitmap->pages < pages ? bitmap->pages : pages,
			       bitmap->enabled);
	ret = put_in_place(bitmap, file, tried);
	if (!ret)
		ret = replace_by_nothing(bitmap, file->mapped_bytes, bitmap->touched_bytes);
	if (file->mapped_bytes > bitmap->touched_bytes)
		bitmap->touched_bytes = file->mapped_bytes;
	if (ret) {
		cvmm_mem_dirty_publish(bitmap, 0, bitmap->enabled);
		replace_by_nothing(bitmap, 0, bitmap->touched_bytes);
		return cvmm_fail(err, ret, "cannot be mapped in place of the one before: %s",
				 strerror(-ret));
	}
	if (pages > bitmap->log_pages_max)
		bitmap->log_pages_max = pages;
	cvmm_mem_dirty_publish(bitmap, pages, bitmap->enabled);
	/* For those who found no log, as in cvmm_dirty_set_enabled(). Worked a moment ago. */
	(void)cvmm_mem_dirty_fence(bitmap);
	return 0;
}

static int log_replace(struct dirty_bitmap *bitmap, const struct log_file *file, void **tried,
		       struct cvmm_error *err)
{
	int ret;

	pthread_mutex_lock(&bitmap->lock);
	if (file->has_more && file->size_bytes * LOG_PAGES_PER_BYTE < bitmap->log_pages_max)
		ret = cvmm_fail(err, -EINVAL,
				"is shorter than one before; then it must end with a page of the "
				"host or with its file");
	else
		ret = replace_by_file(bitmap, file, tried, err);
	pthread_mutex_unlock(&bitmap->lock);
	return ret;
}

static int log_set(struct dirty_bitmap *bitmap, struct log_file *file, struct cvmm_error *err)
{
	void *tried = NULL;
	int ret;

	if (!bitmap->is_log)
		return cvmm_fail(err, -EINVAL, "the bitmap is not made for logs");
	ret = check_file(bitmap, file, err);
	if (!ret)
		ret = try_file(file, &tried, err);
	if (ret)
		return ret;
	ret = cvmm_mem_dirty_fence(bitmap);
	if (ret)
		cvmm_fail(err, ret, "membarrier(2): %s; the sandbox must allow it", strerror(-ret));
	else
		ret = log_replace(bitmap, file, &tried, err);
	if (tried)
		munmap(tried, file->mapped_bytes);
	return ret;
}

int cvmm_dirty_log_set(struct cvmm_dirty *dirty, int fd, uint64_t offset, uint64_t size_bytes,
		       struct cvmm_error *err)
{
	struct log_file file = { .fd = fd, .offset = offset, .size_bytes = size_bytes };
	int ret = log_set(dirty_bitmap_of(dirty), &file, err);

	if (ret)
		cvmm_error_prefix(err, "dirty log");
	return ret;
}

int cvmm_dirty_log_unset(struct cvmm_dirty *dirty, struct cvmm_error *err)
{
	struct dirty_bitmap *bitmap = dirty_bitmap_of(dirty);
	int ret;

	if (!bitmap->is_log)
		return cvmm_fail(err, -EINVAL, "dirty log: the bitmap is not made for logs");
	pthread_mutex_lock(&bitmap->lock);
	cvmm_mem_dirty_publish(bitmap, 0, bitmap->enabled);
	ret = replace_by_nothing(bitmap, 0, bitmap->touched_bytes);
	pthread_mutex_unlock(&bitmap->lock);
	if (ret)
		return cvmm_fail(err, ret, "dirty log: cannot be unmapped: %s", strerror(-ret));
	return 0;
}
