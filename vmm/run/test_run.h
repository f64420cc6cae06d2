/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What the tests of this directory share: a scratch directory, and files in it. */
#ifndef CVMM_RUN_TEST_RUN_H
#define CVMM_RUN_TEST_RUN_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include <cvmm/base.h>

struct scratch {
	char dir[64];
	char path[PATH_MAX]; /* of the last scratch_path() */
};

static inline int scratch_make(void **state)
{
	struct scratch *s = calloc(1, sizeof(*s));

	if (!s)
		return -1;
	strcpy(s->dir, "/tmp/cvmm-test-XXXXXX");
	*state = s;
	return mkdtemp(s->dir) ? 0 : -1;
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int type,
				     struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int scratch_remove(void **state)
{
	struct scratch *s = *state;

	nftw(s->dir, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(s);
	return 0;
}

/* The path of @name in the scratch directory; its parents are made. Valid until the next call. */
static inline const char *scratch_path(struct scratch *s, const char *name)
{
	size_t len = strlen(s->dir) + 1;

	snprintf(s->path, sizeof(s->path), "%s/%s", s->dir, name);
	for (char *slash = s->path + len; (slash = strchr(slash, '/')); slash++) {
		*slash = 0;
		assert_true(mkdir(s->path, 0755) == 0 || errno == EEXIST);
		*slash = '/';
	}
	return s->path;
}

static inline const char *scratch_write(struct scratch *s, const char *name, const void *data,
					size_t len)
{
	const char *path = scratch_path(s, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(cvmm_write_full(fd, data, len), 0);
	close(fd);
	return path;
}

static inline const char *scratch_text(struct scratch *s, const char *name, const char *text)
{
	return scratch_write(s, name, text, strlen(text));
}

#define scratch_test(f) cmocka_unit_test_setup_teardown(f, scratch_make, scratch_remove)

#endif /* CVMM_RUN_TEST_RUN_H */
