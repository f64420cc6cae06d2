// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * Each line of modules.dep is "PATH: NEEDED NEEDED ..." and lists all that a module needs, directly or
 * not, so that loading the list from its end and then the module itself is right. modules.builtin
 * lists what needs no loading.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "modules.h"

#define WANTED_MAX 128
#define TABLE_BYTES_MAX (64U << 20)

struct cvmm_modules {
	char *dir;
	char *dep;     /* text of modules.dep */
	char *builtin; /* text of modules.builtin */
	char *wanted[WANTED_MAX];
	size_t wanted_count;
};

static int read_table(const char *dir, const char *name, char **ret_text, struct cvmm_error *err)
{
	char path[PATH_MAX];
	struct stat st;
	ssize_t len;
	char *text;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return cvmm_fail(err, -errno, "cannot open %s: %s (depmod makes modules.dep)", path,
				 strerror(errno));
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > TABLE_BYTES_MAX) {
		close(fd);
		return cvmm_fail(err, -EINVAL, "%s is not a table of modules", path);
	}
	text = malloc((size_t)st.st_size + 1);
	len = text ? cvmm_read_full(fd, text, (size_t)st.st_size) : -ENOMEM;
	close(fd);
	if (len < 0) {
		free(text);
		return cvmm_fail(err, (int)len, "cannot read %s: %s", path, strerror((int)-len));
	}
	text[len] = 0;
	*ret_text = text;
	return 0;
}

int cvmm_modules_open(const char *dir, struct cvmm_modules **ret_modules, struct cvmm_error *err)
{
	struct cvmm_modules *m = calloc(1, sizeof(*m));
	int ret;

	if (!m)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	m->dir = strdup(dir);
	ret = m->dir ? read_table(dir, "modules.dep", &m->dep, err) : -ENOMEM;
	if (!ret)
		ret = read_table(dir, "modules.builtin", &m->builtin, err);
	if (ret) {
		cvmm_modules_close(m);
		return ret;
	}
	*ret_modules = m;
	return 0;
}

void cvmm_modules_close(struct cvmm_modules *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->wanted_count; i++)
		free(m->wanted[i]);
	free(m->dep);
	free(m->builtin);
	free(m->dir);
	free(m);
}

/* Whether the path at @path (up to @len bytes) names module @name: kernel/fs/foo-bar.ko.xz is foo_bar. */
static bool names_module(const char *path, size_t len, const char *name)
{
	size_t start = len, i;

	while (start > 0 && path[start - 1] != '/')
		start--;
	path += start;
	len -= start;
	for (i = 0; name[i]; i++) {
		char a = i < len ? path[i] : 0;

		if ((a == '-' ? '_' : a) != (name[i] == '-' ? '_' : name[i]))
			return false;
	}
	return len - i >= 3 && memcmp(path + i, ".ko", 3) == 0;
}

/* The line of @text whose first word (up to @end_mark) names the module, or NULL. */
static const char *find_line(const char *text, char end_mark, const char *name)
{
	for (const char *line = text; *line;) {
		size_t len = strcspn(line, "\n");
		const char *end = memchr(line, end_mark, len);

		if (names_module(line, end ? (size_t)(end - line) : len, name))
			return line;
		line += len + (line[len] == '\n');
	}
	return NULL;
}

static int want_path(struct cvmm_modules *m, const char *path, size_t len)
{
	char full[PATH_MAX];

	if (snprintf(full, sizeof(full), "%s/%.*s", m->dir, (int)len, path) >= (int)sizeof(full))
		return -ENAMETOOLONG;
	for (size_t i = 0; i < m->wanted_count; i++)
		if (strcmp(m->wanted[i], full) == 0)
			return 0;
	if (m->wanted_count == WANTED_MAX)
		return -E2BIG;
	m->wanted[m->wanted_count] = strdup(full);
	if (!m->wanted[m->wanted_count])
		return -ENOMEM;
	m->wanted_count++;
	return 0;
}

int cvmm_modules_add(struct cvmm_modules *m, const char *name)
{
	const char *line = find_line(m->dep, ':', name);
	size_t own_len, end;
	int ret = 0;

	if (!line)
		return find_line(m->builtin, '\n', name) ? 0 : -ENOENT;
	own_len = strcspn(line, ":\n");
	end = strcspn(line, "\n");
	/* What is needed most comes last. */
	while (!ret && end > own_len + 1) {
		size_t start = end;

		while (start > own_len + 1 && line[start - 1] != ' ')
			start--;
		if (end > start)
			ret = want_path(m, line + start, end - start);
		end = start > own_len + 1 ? start - 1 : start;
		if (start == own_len + 1)
			break;
	}
	return ret ? ret : want_path(m, line, own_len);
}

size_t cvmm_modules_count(const struct cvmm_modules *m)
{
	return m->wanted_count;
}

const char *cvmm_modules_path(const struct cvmm_modules *m, size_t i)
{
	return m->wanted[i];
}
