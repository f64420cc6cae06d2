// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * An archive is a row of entries: a header of hexadecimal fields, the path with its NUL, the contents,
 * each padded to four bytes. Errors are latched: the caller adds entries without looking and
 * asks once, at the end.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cpio.h"

#define HEADER_BYTES 110
#define ALIGN_BYTES 4
#define INITIAL_CAPACITY (256U << 10)
#define TREE_DEPTH_MAX 200
#define TRAILER "TRAILER!!!" /* the path that ends an archive */

struct entry {
	const char *path;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	dev_t rdev;
	size_t len;
};

void cvmm_cpio_init(struct cvmm_cpio *cpio)
{
	*cpio = (struct cvmm_cpio){ .next_inode = 1 };
}

void cvmm_cpio_fini(struct cvmm_cpio *cpio)
{
	free(cpio->data);
	cvmm_cpio_init(cpio);
}

/* Latches the first error. */
static CVMM_PRINTF(3, 4) void latch(struct cvmm_cpio *cpio, int code, const char *fmt, ...)
{
	char text[CVMM_ERROR_MESSAGE_SIZE];
	va_list args;

	if (cpio->error.code)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	cvmm_fail(&cpio->error, code, "%s", text);
}

/* Room for @len more bytes, or NULL after an error. */
static char *reserve(struct cvmm_cpio *cpio, size_t len)
{
	size_t wanted, capacity = cpio->capacity ? cpio->capacity : INITIAL_CAPACITY;
	char *data;

	if (cpio->error.code)
		return NULL;
	if (__builtin_add_overflow(cpio->len, len, &wanted) || wanted > SIZE_MAX / 2) {
		latch(cpio, -EFBIG, "the initramfs would be too large");
		return NULL;
	}
	if (wanted > cpio->capacity) {
		while (capacity < wanted)
			capacity *= 2;
		data = realloc(cpio->data, capacity);
		if (!data) {
			latch(cpio, -ENOMEM,
			      "out of memory: an initramfs of %zu bytes does not fit", wanted);
			return NULL;
		}
		cpio->data = data;
		cpio->capacity = capacity;
	}
	return cpio->data + cpio->len;
}

static void append(struct cvmm_cpio *cpio, const void *bytes, size_t len)
{
	char *to = reserve(cpio, len);

	if (!to)
		return;
	if (len)
		memcpy(to, bytes, len);
	cpio->len += len;
}

static void pad(struct cvmm_cpio *cpio)
{
	static const char zeros[ALIGN_BYTES];

	append(cpio, zeros, -cpio->len % ALIGN_BYTES);
}

static void add_header(struct cvmm_cpio *cpio, const struct entry *e)
{
	char header[HEADER_BYTES + 1];

	if (e->len > UINT32_MAX) {
		latch(cpio, -EFBIG,
		      "%s has %zu bytes; files in an initramfs end at 4 GiB: use a disk image",
		      e->path, e->len);
		return;
	}
	/* magic ino mode uid gid nlink mtime filesize dev(2) rdev(2) namesize check */
	snprintf(header, sizeof(header),
		 "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", cpio->next_inode++,
		 (unsigned int)e->mode, (unsigned int)e->uid, (unsigned int)e->gid,
		 S_ISDIR(e->mode) ? 2U : 1U, 0U, (unsigned int)e->len, 0U, 0U, major(e->rdev),
		 minor(e->rdev), (unsigned int)strlen(e->path) + 1, 0U);
	append(cpio, header, HEADER_BYTES);
	append(cpio, e->path, strlen(e->path) + 1);
	pad(cpio);
}

static void add_entry(struct cvmm_cpio *cpio, const struct entry *e, const void *data)
{
	add_header(cpio, e);
	append(cpio, data, e->len);
	pad(cpio);
}

void cvmm_cpio_add_dir(struct cvmm_cpio *cpio, const char *path, mode_t mode)
{
	add_entry(cpio, &(struct entry){ .path = path, .mode = S_IFDIR | mode }, NULL);
}

void cvmm_cpio_add_data(struct cvmm_cpio *cpio, const char *path, mode_t mode, const void *data,
			size_t len)
{
	add_entry(cpio, &(struct entry){ .path = path, .mode = S_IFREG | mode, .len = len }, data);
}

void cvmm_cpio_add_symlink(struct cvmm_cpio *cpio, const char *path, const char *target)
{
	add_entry(cpio,
		  &(struct entry){ .path = path, .mode = S_IFLNK | 0777, .len = strlen(target) },
		  target);
}

void cvmm_cpio_add_node(struct cvmm_cpio *cpio, const char *path, mode_t mode, dev_t dev)
{
	add_entry(cpio, &(struct entry){ .path = path, .mode = mode, .rdev = dev }, NULL);
}

/* Adds the contents of @fd under a header made from @e; closes @fd. */
static void add_fd(struct cvmm_cpio *cpio, struct entry *e, int fd, const char *host_path)
{
	struct stat st;
	ssize_t got;
	char *to;

	if (fstat(fd, &st)) {
		latch(cpio, -errno, "cannot read %s: %s", host_path, strerror(errno));
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		latch(cpio, -EINVAL, "%s is not a regular file", host_path);
		goto out;
	}
	e->len = (size_t)st.st_size;
	add_header(cpio, e);
	to = reserve(cpio, e->len);
	if (!to)
		goto out;
	got = cvmm_pread_full(fd, to, e->len, 0);
	if (got < 0 || (size_t)got != e->len) {
		latch(cpio, got < 0 ? (int)got : -EIO, "cannot read %s: %s", host_path,
		      got < 0 ? strerror((int)-got) : "it became shorter while it was read");
		goto out;
	}
	cpio->len += e->len;
	pad(cpio);
out:
	close(fd);
}

void cvmm_cpio_add_file(struct cvmm_cpio *cpio, const char *path, mode_t mode,
			const char *host_path)
{
	/* Not blocking: where a FIFO lies it is an error, not a wait for its writer. */
	int fd = open(host_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		latch(cpio, -errno, "cannot open %s: %s", host_path, strerror(errno));
		return;
	}
	add_fd(cpio, &(struct entry){ .path = path, .mode = S_IFREG | mode }, fd, host_path);
}

/* ---- trees ------------------------------------------------------------------------------------- */

static void add_tree_level(struct cvmm_cpio *cpio, int dir_fd, const char *prefix,
			   unsigned int depth);

static void add_tree_symlink(struct cvmm_cpio *cpio, struct entry *e, int dir_fd, const char *name)
{
	char target[PATH_MAX];
	ssize_t len = readlinkat(dir_fd, name, target, sizeof(target));

	if (len < 0) {
		latch(cpio, -errno, "cannot read the link %s: %s", e->path, strerror(errno));
		return;
	}
	e->len = (size_t)len;
	add_entry(cpio, e, target);
}

static void add_tree_entry(struct cvmm_cpio *cpio, int dir_fd, const char *path, const char *name,
			   unsigned int depth)
{
	struct entry e = { .path = path };
	struct stat st;
	int fd;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW)) {
		if (errno != ENOENT) /* it went away meanwhile */
			latch(cpio, -errno, "cannot look at %s: %s", path, strerror(errno));
		return;
	}
	e.mode = st.st_mode;
	e.uid = st.st_uid;
	e.gid = st.st_gid;
	if (S_ISLNK(st.st_mode)) {
		add_tree_symlink(cpio, &e, dir_fd, name);
		return;
	}
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
		e.rdev = st.st_rdev;
		add_entry(cpio, &e, NULL);
		return;
	}
	fd = openat(dir_fd, name,
		    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK |
			    (S_ISDIR(st.st_mode) ? O_DIRECTORY : 0));
	if (fd < 0) {
		latch(cpio, -errno, "cannot open %s: %s", path, strerror(errno));
		return;
	}
	if (S_ISREG(st.st_mode)) {
		add_fd(cpio, &e, fd, path);
		return;
	}
	add_entry(cpio, &e, NULL);
	add_tree_level(cpio, fd, path, depth + 1);
}

/* Adds what is in a directory; closes @dir_fd. */
static void add_tree_level(struct cvmm_cpio *cpio, int dir_fd, const char *prefix,
			   unsigned int depth)
{
	DIR *dir = fdopendir(dir_fd);
	char path[PATH_MAX];
	struct dirent *d;

	if (!dir || depth > TREE_DEPTH_MAX) {
		latch(cpio, dir ? -ELOOP : -errno, "cannot read the directory %s: %s", prefix,
		      dir ? "nested too deeply" : strerror(errno));
		if (dir)
			closedir(dir);
		else
			close(dir_fd);
		return;
	}
	for (errno = 0; !cpio->error.code && (d = readdir(dir)); errno = 0) {
		/* A file of that name does not end the archive. */
		const char *in = !*prefix && strcmp(d->d_name, TRAILER) == 0 ? "." : prefix;

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		if (snprintf(path, sizeof(path), "%s%s%s", in, *in ? "/" : "", d->d_name) >=
		    (int)sizeof(path)) {
			latch(cpio, -ENAMETOOLONG, "a path in %s is too long", prefix);
			break;
		}
		add_tree_entry(cpio, dirfd(dir), path, d->d_name, depth);
	}
	/* After the last entry, or an error that is latched already, this does nothing. */
	if (errno)
		latch(cpio, -errno, "cannot read the directory %s: %s", prefix, strerror(errno));
	closedir(dir);
}

void cvmm_cpio_add_tree(struct cvmm_cpio *cpio, const char *host_dir)
{
	int fd = open(host_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (cpio->error.code) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (fd < 0) {
		latch(cpio, -errno, "cannot open the directory %s: %s", host_dir, strerror(errno));
		return;
	}
	add_tree_level(cpio, fd, "", 0);
}

int cvmm_cpio_finish(struct cvmm_cpio *cpio, struct cvmm_error *err)
{
	add_entry(cpio, &(struct entry){ .path = TRAILER }, NULL);
	if (!cpio->error.code)
		return 0;
	if (err)
		*err = cpio->error;
	return cpio->error.code;
}
