// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <pthread.h>
#include <sys/sysmacros.h>

#include "test_cpio_read.h"

static void expect_entry(const struct cvmm_cpio *cpio, const char *path, mode_t mode,
			 const char *data)
{
	struct cpio_entry e = { 0 };

	if (!cpio_find(cpio, path, &e))
		fail_msg("the archive has no %s", path);
	assert_int_equal(e.field[CPIO_MODE], mode);
	assert_int_equal(e.field[CPIO_SIZE], strlen(data));
	assert_memory_equal(e.data, data, strlen(data));
}

static void an_archive_reads_back(void **state)
{
	struct cvmm_cpio cpio;
	struct cpio_entry e = { 0 };

	(void)state;
	cvmm_cpio_init(&cpio);
	cvmm_cpio_add_dir(&cpio, "d", 01777);
	cvmm_cpio_add_data(&cpio, "d/f", 0640, "hello", 5);
	cvmm_cpio_add_data(&cpio, "empty", 0600, NULL, 0);
	cvmm_cpio_add_symlink(&cpio, "l", "d/f");
	cvmm_cpio_add_node(&cpio, "null", S_IFCHR | 0666, makedev(1, 300));
	assert_int_equal(cvmm_cpio_finish(&cpio, NULL), 0);
	expect_entry(&cpio, "d", S_IFDIR | 01777, "");
	expect_entry(&cpio, "d/f", S_IFREG | 0640, "hello");
	expect_entry(&cpio, "empty", S_IFREG | 0600, "");
	expect_entry(&cpio, "l", S_IFLNK | 0777, "d/f");
	assert_true(cpio_find(&cpio, "null", &e));
	assert_int_equal(e.field[CPIO_RDEV_MAJOR], 1);
	assert_int_equal(e.field[CPIO_RDEV_MINOR], 300);
	cvmm_cpio_fini(&cpio);
}

static void inodes_differ_so_that_nothing_is_a_hard_link(void **state)
{
	struct cvmm_cpio cpio;
	struct cpio_entry a = { 0 }, b = { 0 };

	(void)state;
	cvmm_cpio_init(&cpio);
	cvmm_cpio_add_data(&cpio, "a", 0600, "1", 1);
	cvmm_cpio_add_data(&cpio, "b", 0600, "2", 1);
	assert_int_equal(cvmm_cpio_finish(&cpio, NULL), 0);
	assert_true(cpio_find(&cpio, "a", &a) && cpio_find(&cpio, "b", &b));
	assert_int_not_equal(a.field[CPIO_INO], b.field[CPIO_INO]);
	assert_int_equal(a.field[CPIO_NLINK], 1);
	cvmm_cpio_fini(&cpio);
}

static void all_lengths_are_padded_with_zeros(void **state)
{
	static const char *const names[] = { "a", "ab", "abc", "abcd" };
	struct cpio_entry e = { 0 };

	(void)state;
	for (size_t n = 0; n < CVMM_ARRAY_SIZE(names); n++)
		for (size_t len = 0; len < 9; len++) {
			struct cvmm_cpio cpio;

			cvmm_cpio_init(&cpio);
			cvmm_cpio_add_data(&cpio, names[n], 0600, "xxxxxxxxx", len);
			assert_int_equal(cvmm_cpio_finish(&cpio, NULL), 0);
			assert_int_equal(cpio.len % 4, 0);
			assert_true(cpio_find(&cpio, names[n], &e));
			for (size_t i = len; i % 4; i++)
				assert_int_equal(e.data[i], 0);
			cvmm_cpio_fini(&cpio);
		}
}

static void archives_grow(void **state)
{
	const size_t len = 3U << 20;
	struct cvmm_cpio cpio;
	struct cpio_entry e = { 0 };
	char *data = malloc(len);

	(void)state;
	assert_non_null(data);
	memset(data, 'z', len);
	cvmm_cpio_init(&cpio);
	cvmm_cpio_add_data(&cpio, "small", 0600, "s", 1);
	cvmm_cpio_add_data(&cpio, "large", 0600, data, len);
	assert_int_equal(cvmm_cpio_finish(&cpio, NULL), 0);
	assert_true(cpio_find(&cpio, "large", &e));
	assert_memory_equal(e.data, data, len);
	cvmm_cpio_fini(&cpio);
	free(data);
}

static void files_from_4_gib_on_are_refused(void **state)
{
	struct cvmm_cpio cpio;
	struct cvmm_error err;

	(void)state;
	cvmm_cpio_init(&cpio);
	/* Refused by its length: the data is not touched. */
	cvmm_cpio_add_data(&cpio, "huge", 0600, "", (size_t)UINT32_MAX + 1);
	assert_int_equal(cvmm_cpio_finish(&cpio, &err), -EFBIG);
	assert_non_null(strstr(err.message, "huge has 4294967296 bytes"));
	assert_int_equal(cpio.len, 0);
	cvmm_cpio_fini(&cpio);
}

static void a_sparse_file_of_4_gib_is_refused(void **state)
{
	char path[PATH_MAX];
	struct cvmm_cpio cpio;

	snprintf(path, sizeof(path), "%s", scratch_text(*state, "sparse", ""));
	if (truncate(path, (off_t)UINT32_MAX + 1)) {
		print_message("SKIP: the file system has no large files\n");
		skip();
	}
	cvmm_cpio_init(&cpio);
	cvmm_cpio_add_file(&cpio, "sparse", 0600, path);
	assert_int_equal(cvmm_cpio_finish(&cpio, NULL), -EFBIG);
	cvmm_cpio_fini(&cpio);
}

static void the_first_error_is_reported(void **state)
{
	struct cvmm_cpio cpio;
	struct cvmm_error err;

	(void)state;
	cvmm_cpio_init(&cpio);
	cvmm_cpio_add_file(&cpio, "a", 0600, "/nonexistent/first");
	cvmm_cpio_add_file(&cpio, "b", 0600, "/nonexistent/second");
	cvmm_cpio_add_data(&cpio, "c", 0600, "", (size_t)UINT32_MAX + 1);
	cvmm_cpio_add_data(&cpio, "d", 0600, "x", 1);
	cvmm_cpio_add_tree(&cpio, "/nonexistent/third");
	assert_int_equal(cvmm_cpio_finish(&cpio, &err), -ENOENT);
	assert_non_null(strstr(err.message, "/nonexistent/first"));
	assert_int_equal(cpio.len, 0);
	cvmm_cpio_fini(&cpio);
}

/* ---- files and trees of the host ----------------------------------------------------------------- */

static void only_files_are_files(void **state)
{
	struct scratch *s = *state;
	struct cvmm_cpio cpio;

	cvmm_cpio_init(&cpio);
	cvmm_cpio_add_file(&cpio, "d", 0600, s->dir);
	assert_int_equal(cvmm_cpio_finish(&cpio, NULL), -EINVAL);
	cvmm_cpio_fini(&cpio);
	assert_int_equal(mkfifo(scratch_path(s, "fifo"), 0600), 0);
	cvmm_cpio_add_file(&cpio, "fifo", 0600, s->path); /* does not wait for a writer */
	assert_int_equal(cvmm_cpio_finish(&cpio, NULL), -EINVAL);
	cvmm_cpio_fini(&cpio);
}

static void pack(struct scratch *s, struct cvmm_cpio *cpio)
{
	struct cvmm_error err = { 0 };

	cvmm_cpio_init(cpio);
	cvmm_cpio_add_tree(cpio, s->dir);
	if (cvmm_cpio_finish(cpio, &err))
		fail_msg("%s", err.message);
}

static void a_tree_keeps_its_modes_links_and_owners(void **state)
{
	struct scratch *s = *state;
	struct cvmm_cpio cpio;
	struct cpio_entry e = { 0 };

	scratch_text(s, "a/b/file", "text");
	assert_int_equal(chmod(s->path, 04751), 0);
	assert_int_equal(symlink("/outside", scratch_path(s, "a/absolute")), 0);
	assert_int_equal(symlink("..", scratch_path(s, "a/b/loop")), 0);
	assert_int_equal(mkfifo(scratch_path(s, "fifo"), 0622), 0);
	pack(s, &cpio);
	expect_entry(&cpio, "a", S_IFDIR | 0755, "");
	expect_entry(&cpio, "a/b/file", S_IFREG | 04751, "text");
	expect_entry(&cpio, "a/absolute", S_IFLNK | 0777, "/outside");
	expect_entry(&cpio, "a/b/loop", S_IFLNK | 0777, "..");
	assert_true(cpio_find(&cpio, "fifo", &e));
	assert_true(S_ISFIFO(e.field[CPIO_MODE]));
	assert_int_equal(e.field[CPIO_UID], geteuid());
	assert_false(cpio_find(&cpio, "a/b/loop/b", &e));
	cvmm_cpio_fini(&cpio);
}

static void a_file_named_like_the_end_does_not_end_the_archive(void **state)
{
	struct scratch *s = *state;
	struct cvmm_cpio cpio;

	scratch_text(s, "TRAILER!!!", "text");
	scratch_text(s, "other", "more");
	pack(s, &cpio);
	expect_entry(&cpio, "./TRAILER!!!", S_IFREG | 0644, "text");
	expect_entry(&cpio, "other", S_IFREG | 0644, "more");
	cvmm_cpio_fini(&cpio);
}

static void parents_precede_what_is_in_them(void **state)
{
	struct scratch *s = *state;
	struct cpio_entry dir = { 0 }, file = { 0 };
	struct cvmm_cpio cpio;

	scratch_text(s, "x/y/z", "");
	pack(s, &cpio);
	assert_true(cpio_find(&cpio, "x/y", &dir) && cpio_find(&cpio, "x/y/z", &file));
	assert_true(dir.path < file.path);
	cvmm_cpio_fini(&cpio);
}

static void a_tree_keeps_its_devices(void **state)
{
	struct scratch *s = *state;
	struct cvmm_cpio cpio;
	struct cpio_entry e = { 0 };

	if (mknod(scratch_path(s, "zero"), S_IFCHR | 0666, makedev(1, 5))) {
		print_message("SKIP: cannot make a device: %s\n", strerror(errno));
		skip();
	}
	pack(s, &cpio);
	assert_true(cpio_find(&cpio, "zero", &e));
	assert_true(S_ISCHR(e.field[CPIO_MODE]));
	assert_int_equal(e.field[CPIO_RDEV_MAJOR], 1);
	assert_int_equal(e.field[CPIO_RDEV_MINOR], 5);
	assert_int_equal(e.field[CPIO_SIZE], 0);
	cvmm_cpio_fini(&cpio);
}

static void an_unreadable_directory_is_named(void **state)
{
	struct scratch *s = *state;
	struct cvmm_cpio cpio;
	struct cvmm_error err;

	if (geteuid() == 0) {
		print_message("SKIP: root can read every directory\n");
		skip();
	}
	scratch_text(s, "locked/file", "");
	assert_int_equal(chmod(scratch_path(s, "locked"), 0), 0);
	cvmm_cpio_init(&cpio);
	cvmm_cpio_add_tree(&cpio, s->dir);
	assert_int_equal(cvmm_cpio_finish(&cpio, &err), -EACCES);
	assert_non_null(strstr(err.message, "locked"));
	chmod(scratch_path(s, "locked"), 0700);
	cvmm_cpio_fini(&cpio);
}

static void a_missing_directory_is_named(void **state)
{
	struct scratch *s = *state;
	struct cvmm_cpio cpio;
	struct cvmm_error err;

	cvmm_cpio_init(&cpio);
	cvmm_cpio_add_tree(&cpio, scratch_path(s, "none"));
	assert_int_equal(cvmm_cpio_finish(&cpio, &err), -ENOENT);
	assert_non_null(strstr(err.message, "/none"));
	cvmm_cpio_fini(&cpio);
	cvmm_cpio_add_tree(&cpio, scratch_text(s, "file", ""));
	assert_int_equal(cvmm_cpio_finish(&cpio, NULL), -ENOTDIR);
	cvmm_cpio_fini(&cpio);
}

static void trees_that_are_too_deep_are_refused(void **state)
{
	struct scratch *s = *state;
	struct cvmm_cpio cpio;
	char name[1024] = "";

	for (int i = 0; i < 205; i++)
		strcat(name, "d/");
	scratch_path(s, name);
	cvmm_cpio_init(&cpio);
	cvmm_cpio_add_tree(&cpio, s->dir);
	assert_int_equal(cvmm_cpio_finish(&cpio, NULL), -ELOOP);
	cvmm_cpio_fini(&cpio);
}

/* Changes a file's length over and over until told to stop. */
struct changer {
	int fd;
	bool stop;
};

static void *change_length(void *arg)
{
	struct changer *c = arg;

	while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED)) {
		(void)!ftruncate(c->fd, 1 << 20);
		(void)!ftruncate(c->fd, 10);
	}
	return NULL;
}

static void a_file_that_shrinks_meanwhile_is_an_error_or_whole(void **state)
{
	struct scratch *s = *state;
	struct changer c = { .stop = false };
	pthread_t thread;

	scratch_text(s, "moving", "0123456789");
	c.fd = open(s->path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pthread_create(&thread, NULL, change_length, &c), 0);
	for (int i = 0; i < 300; i++) {
		struct cvmm_error err = { 0 };
		struct cvmm_cpio cpio;
		struct cpio_entry e = { 0 };

		cvmm_cpio_init(&cpio);
		cvmm_cpio_add_tree(&cpio, s->dir);
		if (cvmm_cpio_finish(&cpio, &err) == 0) {
			assert_true(cpio_find(&cpio, "moving", &e));
			assert_memory_equal(e.data, "0123456789", 10);
		} else {
			assert_int_equal(err.code, -EIO);
			assert_non_null(strstr(err.message, "became shorter"));
		}
		cvmm_cpio_fini(&cpio);
	}
	__atomic_store_n(&c.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	close(c.fd);
}

/* A file whose size says more than it holds: the same, every time. */
static void a_file_shorter_than_its_size_is_an_error(void **state)
{
	static const char path[] = "/sys/kernel/uevent_seqnum"; /* st_size says 4096 */
	struct cvmm_error err = { 0 };
	struct cvmm_cpio cpio;
	struct stat st;

	(void)state;
	if (stat(path, &st) || st.st_size < 64) {
		print_message("SKIP: no %s whose size is made up\n", path);
		skip();
	}
	cvmm_cpio_init(&cpio);
	cvmm_cpio_add_file(&cpio, "short", 0600, path);
	assert_int_equal(cvmm_cpio_finish(&cpio, &err), -EIO);
	assert_non_null(strstr(err.message, "became shorter"));
	cvmm_cpio_fini(&cpio);
}

static void the_systems_cpio_unpacks_it(void **state)
{
	struct scratch *s = *state;
	char command[1024], text[64] = { 0 };
	struct cvmm_cpio cpio;
	struct stat st;
	int fd;

	if (system("cpio --version >/dev/null 2>&1") != 0) {
		print_message("SKIP: cpio is not installed\n");
		skip();
	}
	cvmm_cpio_init(&cpio);
	cvmm_cpio_add_dir(&cpio, "dir", 0755);
	cvmm_cpio_add_data(&cpio, "dir/odd", 0640, "seven b", 7);
	cvmm_cpio_add_symlink(&cpio, "dir/link", "odd");
	assert_int_equal(cvmm_cpio_finish(&cpio, NULL), 0);
	scratch_write(s, "a.cpio", cpio.data, cpio.len);
	cvmm_cpio_fini(&cpio);
	snprintf(command, sizeof(command),
		 "cd %s && test \"$(cpio -t --quiet <a.cpio | tr '\\n' ' ')\" = "
		 "'dir dir/odd dir/link ' && mkdir out && cd out && cpio -i --quiet <../a.cpio",
		 s->dir);
	assert_int_equal(system(command), 0);
	fd = open(scratch_path(s, "out/dir/link"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(cvmm_read_full(fd, text, sizeof(text)), 7);
	assert_string_equal(text, "seven b");
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_archive_reads_back),
		cmocka_unit_test(inodes_differ_so_that_nothing_is_a_hard_link),
		cmocka_unit_test(all_lengths_are_padded_with_zeros),
		cmocka_unit_test(archives_grow),
		cmocka_unit_test(files_from_4_gib_on_are_refused),
		scratch_test(a_sparse_file_of_4_gib_is_refused),
		cmocka_unit_test(the_first_error_is_reported),
		scratch_test(only_files_are_files),
		scratch_test(a_tree_keeps_its_modes_links_and_owners),
		scratch_test(a_file_named_like_the_end_does_not_end_the_archive),
		scratch_test(parents_precede_what_is_in_them),
		scratch_test(a_tree_keeps_its_devices),
		scratch_test(an_unreadable_directory_is_named),
		scratch_test(a_missing_directory_is_named),
		scratch_test(trees_that_are_too_deep_are_refused),
		scratch_test(a_file_that_shrinks_meanwhile_is_an_error_or_whole),
		cmocka_unit_test(a_file_shorter_than_its_size_is_an_error),
		scratch_test(the_systems_cpio_unpacks_it),
	};

	umask(022);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
