// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include "modules.h"
#include "test_run.h"

static struct cvmm_modules *open_tables(struct scratch *s, const char *dep, const char *builtin)
{
	struct cvmm_modules *m = NULL;
	struct cvmm_error err = { 0 };

	scratch_text(s, "modules.dep", dep);
	scratch_text(s, "modules.builtin", builtin);
	assert_int_equal(cvmm_modules_open(s->dir, &m, &err), 0);
	return m;
}

static void expect_path(struct scratch *s, const struct cvmm_modules *m, size_t i, const char *name)
{
	char path[PATH_MAX];

	assert_true(i < cvmm_modules_count(m));
	snprintf(path, sizeof(path), "%s/%s", s->dir, name);
	assert_string_equal(cvmm_modules_path(m, i), path);
}

static void what_is_needed_is_loaded_first(void **state)
{
	struct cvmm_modules *m = open_tables(*state,
					     "a/top.ko: a/mid.ko a/low.ko\n"
					     "a/mid.ko: a/low.ko\n"
					     "a/low.ko:\n",
					     "");

	assert_int_equal(cvmm_modules_add(m, "top"), 0);
	assert_int_equal(cvmm_modules_count(m), 3);
	expect_path(*state, m, 0, "a/low.ko");
	expect_path(*state, m, 1, "a/mid.ko");
	expect_path(*state, m, 2, "a/top.ko");
	cvmm_modules_close(m);
}

static void modules_are_added_once(void **state)
{
	struct cvmm_modules *m = open_tables(*state, "a.ko: c.ko\nb.ko: c.ko\nc.ko:\n", "");

	assert_int_equal(cvmm_modules_add(m, "a"), 0);
	assert_int_equal(cvmm_modules_add(m, "b"), 0);
	assert_int_equal(cvmm_modules_add(m, "a"), 0);
	assert_int_equal(cvmm_modules_count(m), 3);
	expect_path(*state, m, 0, "c.ko");
	expect_path(*state, m, 2, "b.ko");
	cvmm_modules_close(m);
}

static void dashes_and_underscores_are_the_same(void **state)
{
	struct cvmm_modules *m = open_tables(*state, "k/crc32c-intel.ko:\nk/virtio_blk.ko:\n", "");

	assert_int_equal(cvmm_modules_add(m, "crc32c_intel"), 0);
	assert_int_equal(cvmm_modules_add(m, "virtio-blk"), 0);
	assert_int_equal(cvmm_modules_count(m), 2);
	cvmm_modules_close(m);
}

static void compressed_modules_are_found(void **state)
{
	struct cvmm_modules *m = open_tables(*state, "k/a.ko.xz: k/b.ko.zst\nk/b.ko.zst:\n", "");

	assert_int_equal(cvmm_modules_add(m, "a"), 0);
	expect_path(*state, m, 0, "k/b.ko.zst");
	expect_path(*state, m, 1, "k/a.ko.xz");
	cvmm_modules_close(m);
}

static void builtin_modules_need_no_loading(void **state)
{
	struct cvmm_modules *m =
		open_tables(*state, "", "kernel/fs/ext4/ext4.ko\nkernel/last-one.ko");

	assert_int_equal(cvmm_modules_add(m, "ext4"), 0);
	assert_int_equal(cvmm_modules_add(m, "last_one"), 0);
	assert_int_equal(cvmm_modules_count(m), 0);
	cvmm_modules_close(m);
}

static void missing_modules_are_told(void **state)
{
	struct cvmm_modules *m =
		open_tables(*state, "k/virtio_blk.ko: k/virtio.ko\n", "k/ext4.ko\n");

	assert_int_equal(cvmm_modules_add(m, "virtio_b"), -ENOENT);
	assert_int_equal(cvmm_modules_add(m, "virtio_blk2"), -ENOENT);
	assert_int_equal(cvmm_modules_add(m, "blk"), -ENOENT);
	assert_int_equal(cvmm_modules_add(m, "k/virtio_blk"), -ENOENT);
	assert_int_equal(cvmm_modules_add(m, "ext"), -ENOENT);
	assert_int_equal(cvmm_modules_add(m, ""), -ENOENT);
	assert_int_equal(cvmm_modules_count(m), 0);
	cvmm_modules_close(m);
}

static void malformed_lines_do_no_harm(void **state)
{
	struct cvmm_modules *m = open_tables(*state,
					     "\n:\n::\n/\nno colon at all\nk/plain.ko\n"
					     "k/tight.ko:k/x.ko\nk/wide.ko:   k/x.ko   k/y.ko  \n"
					     ": k/x.ko\nk/",
					     "\n\n/\n");

	assert_int_equal(cvmm_modules_add(m, "plain"), 0);
	expect_path(*state, m, 0, "k/plain.ko");
	assert_int_equal(cvmm_modules_add(m, "tight"), 0);
	expect_path(*state, m, 1, "k/x.ko");
	expect_path(*state, m, 2, "k/tight.ko");
	assert_int_equal(cvmm_modules_add(m, "wide"), 0);
	expect_path(*state, m, 3, "k/y.ko");
	expect_path(*state, m, 4, "k/wide.ko");
	assert_int_equal(cvmm_modules_count(m), 5);
	cvmm_modules_close(m);
}

static void the_last_line_may_lack_its_newline(void **state)
{
	struct cvmm_modules *m = open_tables(*state, "k/b.ko:\nk/a.ko: k/b.ko", "");

	assert_int_equal(cvmm_modules_add(m, "a"), 0);
	expect_path(*state, m, 0, "k/b.ko");
	expect_path(*state, m, 1, "k/a.ko");
	cvmm_modules_close(m);
}

static void a_nul_ends_a_table(void **state)
{
	struct scratch *s = *state;
	struct cvmm_modules *m;

	scratch_text(s, "modules.builtin", "");
	scratch_write(s, "modules.dep", "a.ko:\n\0b.ko:\n", 13);
	assert_int_equal(cvmm_modules_open(s->dir, &m, NULL), 0);
	assert_int_equal(cvmm_modules_add(m, "a"), 0);
	assert_int_equal(cvmm_modules_add(m, "b"), -ENOENT);
	cvmm_modules_close(m);
}

static void more_modules_than_guests_take_are_refused(void **state)
{
	char table[8192] = "top.ko:";
	struct cvmm_modules *m;
	size_t len;

	for (int i = 0; i < 200; i++) {
		len = strlen(table);
		snprintf(table + len, sizeof(table) - len, " m%d.ko", i);
	}
	m = open_tables(*state, table, "");
	assert_int_equal(cvmm_modules_add(m, "top"), -E2BIG);
	assert_true(cvmm_modules_count(m) <= 128);
	cvmm_modules_close(m);
}

static void paths_that_are_too_long_are_refused(void **state)
{
	static char table[PATH_MAX + 64];
	struct cvmm_modules *m;

	memset(table, 'x', PATH_MAX);
	strcpy(table + PATH_MAX, "/a.ko:\n");
	m = open_tables(*state, table, "");
	assert_int_equal(cvmm_modules_add(m, "a"), -ENAMETOOLONG);
	cvmm_modules_close(m);
}

static void missing_tables_are_named(void **state)
{
	struct scratch *s = *state;
	struct cvmm_modules *m = NULL;
	struct cvmm_error err;

	assert_int_equal(cvmm_modules_open(s->dir, &m, &err), -ENOENT);
	assert_non_null(strstr(err.message, "/modules.dep: "));
	scratch_text(s, "modules.dep", "");
	assert_int_equal(cvmm_modules_open(s->dir, &m, &err), -ENOENT);
	assert_non_null(strstr(err.message, "/modules.builtin: "));
	assert_int_equal(mkfifo(scratch_path(s, "modules.builtin"), 0600), 0);
	assert_int_equal(cvmm_modules_open(s->dir, &m, &err), -EINVAL);
	assert_null(m);
	cvmm_modules_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(what_is_needed_is_loaded_first),
		scratch_test(modules_are_added_once),
		scratch_test(dashes_and_underscores_are_the_same),
		scratch_test(compressed_modules_are_found),
		scratch_test(builtin_modules_need_no_loading),
		scratch_test(missing_modules_are_told),
		scratch_test(malformed_lines_do_no_harm),
		scratch_test(the_last_line_may_lack_its_newline),
		scratch_test(a_nul_ends_a_table),
		scratch_test(more_modules_than_guests_take_are_refused),
		scratch_test(paths_that_are_too_long_are_refused),
		scratch_test(missing_tables_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
