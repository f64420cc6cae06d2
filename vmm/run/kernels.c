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

static const char *version_in_path(const char *path)
{
	const char *name = strrchr(path, '/');
	const char *version = strstr(name ? name : path, "vmlinuz-");

	return version ? version + strlen("vmlinuz-") : path;
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

		if (access(path, R_OK))
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
	char pattern[PATH_MAX];

	snprintf(pattern, sizeof(pattern), "%s/*/boot/vmlinuz-*", dir);
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
	char dir[PATH_MAX];
	char *found = list ? newest_in_list(list) : NULL;

	if (cache && *cache)
		snprintf(dir, sizeof(dir), "%s/cvmm/kernels", cache);
	else
		snprintf(dir, sizeof(dir), "%s/.cache/cvmm/kernels", home ? home : "");
	if (!found)
		found = newest_below(dir);
	if (!found)
		found = newest_match("/boot/vmlinuz-*");
	if (!found)
		return cvmm_fail(err, -ENOENT,
				 "no readable kernel in %s%s%s or /boot: install one "
				 "(linux-image-cloud-amd64) or give --kernel",
				 list ? list : "", list ? ", " : "", dir);
	*ret_path = found;
	return 0;
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
	if (!end || memchr(text, '/', end))
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

static int version_of_elf(const char *image, size_t len, char **ret_version)
{
	static const char banner[] = "Linux version ";
	const char *found = memmem(image, len, banner, sizeof(banner) - 1);

	if (!found)
		return -ENOENT;
	found += sizeof(banner) - 1;
	return take_version(found, (size_t)(image + len - found), ret_version);
}

static bool is_elf(int fd)
{
	char magic[4];

	return cvmm_pread_full(fd, magic, sizeof(magic), 0) == sizeof(magic) &&
	       memcmp(magic, "\177ELF", sizeof(magic)) == 0;
}

int cvmm_kernels_version(int kernel_fd, char **ret_version)
{
	struct stat st;
	size_t len;
	ssize_t got;
	char *image;
	int ret;

	if (fstat(kernel_fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size <= 0)
		return -ENOENT;
	/* Copied, not mapped: a file that shrinks meanwhile must not be a SIGBUS. */
	len = (size_t)st.st_size;
	if (len > BZIMAGE_HEAD_BYTES && !is_elf(kernel_fd))
		len = BZIMAGE_HEAD_BYTES;
	image = malloc(len);
	if (!image)
		return -ENOMEM;
	got = cvmm_pread_full(kernel_fd, image, len, 0);
	ret = got < 0 ? (int)got : version_of_bzimage(image, (size_t)got, ret_version);
	if (ret == -ENOENT)
		ret = version_of_elf(image, (size_t)got, ret_version);
	free(image);
	return ret;
}
