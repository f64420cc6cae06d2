// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels.h"

/* Documentation/arch/x86/boot.rst: the setup header. */
#define BZIMAGE_MAGIC_OFFSET 0x202
#define BZIMAGE_VERSION_POINTER_OFFSET 0x20e
#define BZIMAGE_VERSION_BASE 0x200
#define VERSION_BYTES_MAX 128
#define BZIMAGE_HEAD_BYTES 0x20000 /* the version lies below 0x200 + 0xffff */

#define ELF_PIECE_BYTES (1U << 20)
#define ELF_BYTES_MAX (UINT64_C(256) << 20) /* no kernel's banner lies further in */

static const char *version_in_path(const char *path)
{
	const char *name = strrchr(path, '/');
	const char *version = strstr(name ? name : path, "vmlinuz-");

	return version ? version + strlen("vmlinuz-") : path;
}

static bool is_readable_file(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, R_OK) == 0;
}

/* The readable match of @pattern with the highest version, or NULL. */
static char *newest_match(const char *pattern)
{
	char *best = NULL;
	glob_t found;

	if (glob(pattern, 0, NULL, &found))
		return NULL;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		const char *path = found.gl_pathv[i];

		if (!is_readable_file(path))
			continue;
		if (best && strverscmp(version_in_path(path), version_in_path(best)) <= 0)
			continue;
		free(best);
		best = strdup(path);
	}
	globfree(&found);
	return best;
}

static char *newest_below(const char *dir)
{
	static const char below[] = "/*/boot/vmlinuz-*";
	char pattern[PATH_MAX];
	size_t len = 0;

	/* The directory stands for itself, whatever characters it has. */
	for (; *dir && len + 2 + sizeof(below) < sizeof(pattern); dir++) {
		if (strchr("*?[\\", *dir))
			pattern[len++] = '\\';
		pattern[len++] = *dir;
	}
	if (*dir)
		return NULL;
	memcpy(pattern + len, below, sizeof(below));
	return newest_match(pattern);
}

static char *newest_in_list(const char *list)
{
	char *copy = strdup(list), *found = NULL, *rest = NULL;

	for (char *dir = copy ? strtok_r(copy, ":", &rest) : NULL; dir && !found;
	     dir = strtok_r(NULL, ":", &rest))
		found = newest_below(dir);
	free(copy);
	return found;
}

int cvmm_kernels_find_newest(char **ret_path, struct cvmm_error *err)
{
	const char *list = getenv("CVMM_KERNELS");
	const char *cache = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");
	char *found, *dir;
	int ret;

	if (list && !*list)
		list = NULL;
	if (cache && *cache)
		ret = asprintf(&dir, "%s/cvmm/kernels", cache);
	else
		ret = asprintf(&dir, "%s/.cache/cvmm/kernels", home ? home : "");
	if (ret < 0)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	found = list ? newest_in_list(list) : NULL;
	if (!found)
		found = newest_below(dir);
	if (!found)
		found = newest_match("/boot/vmlinuz-*");
	ret = 0;
	if (found)
		*ret_path = found;
	else
		ret = cvmm_fail(err, -ENOENT,
				"no readable kernel in %s%s%s or /boot: install one "
				"(linux-image-cloud-amd64) or give --kernel",
				list ? list : "", list ? ", " : "", dir);
	free(dir);
	return ret;
}

static bool has_modules(const char *dir)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/modules.dep", dir) >= (int)sizeof(path))
		return false;
	return access(path, R_OK) == 0;
}

int cvmm_kernels_find_modules(const char *kernel_path, const char *version, char **ret_dir,
			      struct cvmm_error *err)
{
	const char *slash = strrchr(kernel_path, '/');
	int dir_len = slash ? (int)(slash - kernel_path) : 1;
	const char *dir = slash ? kernel_path : ".";
	char path[PATH_MAX];
	static const char *const beside[] = { "lib/modules", "usr/lib/modules" };

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(beside); i++) {
		snprintf(path, sizeof(path), "%.*s/../%s/%s", dir_len, dir, beside[i], version);
		if (has_modules(path))
			goto found;
	}
	snprintf(path, sizeof(path), "/lib/modules/%s", version);
	if (!has_modules(path))
		return cvmm_fail(err, -ENOENT,
				 "no modules of kernel %s beside %s or in /lib/modules "
				 "(modules.dep is looked for; depmod makes it): give --modules DIR",
				 version, kernel_path);
found:
	*ret_dir = strdup(path);
	return *ret_dir ? 0 : cvmm_fail(err, -ENOMEM, "out of memory");
}

/* Copies the word at @text: versions are followed by a space. */
static int take_version(const char *text, size_t len, char **ret_version)
{
	size_t end = 0;

	while (end < len && end < VERSION_BYTES_MAX && text[end] > ' ' && text[end] < 127)
		end++;
	/* The first two are no file names; a version that is cut would name another kernel. */
	if (!end || text[0] == '.' || memchr(text, '/', end) || end == VERSION_BYTES_MAX)
		return -ENOENT;
	*ret_version = strndup(text, end);
	return *ret_version ? 0 : -ENOMEM;
}

static int version_of_bzimage(const char *image, size_t len, char **ret_version)
{
	size_t at;

	if (len < BZIMAGE_VERSION_POINTER_OFFSET + 2 ||
	    memcmp(image + BZIMAGE_MAGIC_OFFSET, "HdrS", 4) != 0)
		return -ENOENT;
	at = cvmm_get_le16(image + BZIMAGE_VERSION_POINTER_OFFSET) + (size_t)BZIMAGE_VERSION_BASE;
	if (at == BZIMAGE_VERSION_BASE || at >= len)
		return -ENOENT;
	return take_version(image + at, len - at, ret_version);
}

/*
 * The version after a banner in @bytes; other texts that begin alike are passed over. Unless these are
 * the @last bytes, one that may be cut at their end is left for the next piece.
 */
static int version_after_banner(const char *bytes, size_t len, bool last, char **ret_version)
{
	static const char banner[] = "Linux version ";
	const char *end = bytes + len;

	while ((bytes = memmem(bytes, (size_t)(end - bytes), banner, sizeof(banner) - 1))) {
		bytes += sizeof(banner) - 1;
		if (!last && end - bytes < VERSION_BYTES_MAX)
			return -ENOENT;
		if (bytes < end && *bytes >= '0' && *bytes <= '9')
			return take_version(bytes, (size_t)(end - bytes), ret_version);
	}
	return -ENOENT;
}

/*
 * Piece by piece: an image with its debug information is large, and a sparse file may claim any size.
 * Pieces overlap, so that a banner is whole in one of them.
 */
static int version_of_elf(int fd, char *piece, char **ret_version)
{
	const size_t step = ELF_PIECE_BYTES / 2;
	int ret = -ENOENT;

	for (uint64_t at = 0; ret == -ENOENT && at < ELF_BYTES_MAX; at += step) {
		ssize_t got = cvmm_pread_full(fd, piece, ELF_PIECE_BYTES, at);
		bool last;

		if (got <= 0)
			return got < 0 ? (int)got : -ENOENT;
		last = (size_t)got < ELF_PIECE_BYTES;
		ret = version_after_banner(piece, (size_t)got, last, ret_version);
		if (last)
			break;
	}
	return ret;
}

int cvmm_kernels_version(int kernel_fd, char **ret_version)
{
	struct stat st;
	ssize_t got;
	char *piece;
	int ret;

	if (fstat(kernel_fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOENT;
	/* Copied, not mapped: a file that shrinks meanwhile must not be a SIGBUS. */
	piece = malloc(ELF_PIECE_BYTES);
	if (!piece)
		return -ENOMEM;
	got = cvmm_pread_full(kernel_fd, piece, BZIMAGE_HEAD_BYTES, 0);
	if (got < 0)
		ret = (int)got;
	else if (got >= 4 && memcmp(piece, "\177ELF", 4) == 0)
		ret = version_of_elf(kernel_fd, piece, ret_version);
	else
		ret = version_of_bzimage(piece, (size_t)got, ret_version);
	free(piece);
	return ret;
}
