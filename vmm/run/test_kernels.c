// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include "kernels.h"
#include "test_run.h"

#define BZIMAGE_BYTES 0x1000
#define VERSION_OFFSET 0x800

/* Only the scratch directory counts: the machine's own kernels must not. */
static int setup(void **state)
{
	struct scratch *s;

	if (scratch_make(state))
		return -1;
	s = *state;
	setenv("CVMM_KERNELS", s->dir, 1);
	setenv("XDG_CACHE_HOME", scratch_path(s, "cache"), 1);
	return 0;
}

static void expect_newest(struct scratch *s, const char *name)
{
	char path[PATH_MAX], *found = NULL;

	snprintf(path, sizeof(path), "%s/%s", s->dir, name);
	assert_int_equal(cvmm_kernels_find_newest(&found, NULL), 0);
	assert_string_equal(found, path);
	free(found);
}

static void the_highest_version_wins(void **state)
{
	scratch_text(*state, "p1/boot/vmlinuz-6.9.0-1-amd64", "");
	scratch_text(*state, "p0/boot/vmlinuz-6.10.0-1-amd64", "");
	scratch_text(*state, "p2/boot/vmlinuz-6.1.0-40-amd64", "");
	expect_newest(*state, "p0/boot/vmlinuz-6.10.0-1-amd64");
	scratch_text(*state, "p2/boot/vmlinuz-6.10.0-10-amd64", "");
	expect_newest(*state, "p2/boot/vmlinuz-6.10.0-10-amd64");
}

static void what_cannot_be_read_is_passed_over(void **state)
{
	struct scratch *s = *state;

	scratch_text(s, "p/boot/vmlinuz-5.1", "");
	assert_int_equal(symlink("nowhere", scratch_path(s, "q/boot/vmlinuz-9.1")), 0);
	scratch_path(s, "r/boot/vmlinuz-9.2/x");
	if (geteuid() != 0)
		chmod(scratch_text(s, "t/boot/vmlinuz-9.3", ""), 0);
	expect_newest(s, "p/boot/vmlinuz-5.1");
}

static void the_first_place_with_a_kernel_wins(void **state)
{
	struct scratch *s = *state;
	char list[512];

	scratch_text(s, "one/p/boot/vmlinuz-5.1", "");
	scratch_text(s, "two/p/boot/vmlinuz-6.1", "");
	snprintf(list, sizeof(list), ":%s/none:%s/one::%s/two", s->dir, s->dir, s->dir);
	setenv("CVMM_KERNELS", list, 1);
	expect_newest(s, "one/p/boot/vmlinuz-5.1");
	setenv("CVMM_KERNELS", "", 1);
	scratch_text(s, "cache/cvmm/kernels/p/boot/vmlinuz-4.1", "");
	expect_newest(s, "cache/cvmm/kernels/p/boot/vmlinuz-4.1");
}

static void directories_are_taken_literally(void **state)
{
	struct scratch *s = *state;
	char list[256];

	scratch_text(s, "a/p/boot/vmlinuz-6.1", "");
	scratch_text(s, "[ab]*/p/boot/vmlinuz-5.1", "");
	snprintf(list, sizeof(list), "%s/[ab]*", s->dir);
	setenv("CVMM_KERNELS", list, 1);
	expect_newest(s, "[ab]*/p/boot/vmlinuz-5.1");
}

static void the_message_says_where_it_looked(void **state)
{
	struct scratch *s = *state;
	struct cvmm_error err;
	char *found = NULL;

	if (cvmm_kernels_find_newest(&found, &err) == 0) {
		print_message("SKIP: /boot has a kernel, %s\n", found);
		free(found);
		skip();
	}
	assert_non_null(strstr(err.message, s->dir));
	assert_non_null(strstr(err.message, "cache/cvmm/kernels or /boot"));
	assert_non_null(strstr(err.message, "--kernel"));
}

static void a_list_that_is_too_long_finds_nothing(void **state)
{
	static char list[PATH_MAX + 64];

	(void)state;
	memset(list, '/', sizeof(list) - 1);
	setenv("CVMM_KERNELS", list, 1);
	scratch_text(*state, "cache/cvmm/kernels/p/boot/vmlinuz-4.1", "");
	expect_newest(*state, "cache/cvmm/kernels/p/boot/vmlinuz-4.1");
}

/* ---- modules ------------------------------------------------------------------------------------- */

static void modules_lie_beside_the_kernel(void **state)
{
	struct scratch *s = *state;
	char kernel[PATH_MAX], *dir = NULL;
	struct stat a, b;

	snprintf(kernel, sizeof(kernel), "%s", scratch_text(s, "p/boot/vmlinuz-1.2-x", ""));
	scratch_text(s, "p/usr/lib/modules/1.2-x/modules.dep", "");
	assert_int_equal(cvmm_kernels_find_modules(kernel, "1.2-x", &dir, NULL), 0);
	assert_int_equal(stat(dir, &a), 0);
	assert_int_equal(stat(scratch_path(s, "p/usr/lib/modules/1.2-x"), &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	free(dir);
	scratch_text(s, "p/lib/modules/1.2-x/modules.dep", "");
	assert_int_equal(cvmm_kernels_find_modules(kernel, "1.2-x", &dir, NULL), 0);
	assert_null(strstr(dir, "/usr/"));
	free(dir);
}

static void missing_modules_are_told(void **state)
{
	struct cvmm_error err;
	char *dir = NULL;

	(void)state;
	assert_int_equal(cvmm_kernels_find_modules("vmlinuz", "1.2-none", &dir, &err), -ENOENT);
	assert_non_null(strstr(err.message, "1.2-none beside vmlinuz"));
	assert_non_null(strstr(err.message, "--modules DIR"));
	assert_null(dir);
}

/* ---- versions ------------------------------------------------------------------------------------ */

static int version_of(struct scratch *s, const void *image, size_t len, char **ret_version)
{
	int fd = open(scratch_write(s, "image", image, len), O_RDONLY | O_CLOEXEC), ret;

	*ret_version = NULL;
	assert_true(fd >= 0);
	ret = cvmm_kernels_version(fd, ret_version);
	close(fd);
	return ret;
}

static void expect_version(struct scratch *s, const void *image, size_t len, const char *wanted)
{
	char *version;

	assert_int_equal(version_of(s, image, len, &version), wanted ? 0 : -ENOENT);
	if (wanted)
		assert_string_equal(version, wanted);
	else
		assert_null(version);
	free(version);
}

static void make_bzimage(char *image, const char *version)
{
	memset(image, 0, BZIMAGE_BYTES);
	memcpy(image + 0x202, "HdrS", 4);
	cvmm_put_le16(image + 0x20e, VERSION_OFFSET - 0x200);
	strcpy(image + VERSION_OFFSET, version);
}

static void a_bzimage_says_its_version(void **state)
{
	char image[BZIMAGE_BYTES];

	make_bzimage(image, "6.1.0-1-amd64 (me@here) #1 SMP");
	expect_version(*state, image, sizeof(image), "6.1.0-1-amd64");
}

static void a_bzimage_may_end_in_its_version(void **state)
{
	char image[BZIMAGE_BYTES];

	make_bzimage(image, "6.1.0-1-amd64");
	expect_version(*state, image, VERSION_OFFSET + 3, "6.1");
	expect_version(*state, image, VERSION_OFFSET, NULL);
	expect_version(*state, image, 0x210, NULL);
	expect_version(*state, image, 0x20f, NULL);
	expect_version(*state, image, 0, NULL);
}

static void a_bzimage_without_a_version_says_none(void **state)
{
	char image[BZIMAGE_BYTES], longest[200];

	make_bzimage(image, "1.0");
	cvmm_put_le16(image + 0x20e, 0);
	expect_version(*state, image, sizeof(image), NULL);
	make_bzimage(image, "1.0");
	cvmm_put_le16(image + 0x20e, 0xffff);
	expect_version(*state, image, sizeof(image), NULL);
	make_bzimage(image, "1.0");
	image[0x202] = 'h';
	expect_version(*state, image, sizeof(image), NULL);
	make_bzimage(image, "");
	expect_version(*state, image, sizeof(image), NULL);
	memset(longest, '1', sizeof(longest));
	longest[sizeof(longest) - 1] = 0;
	make_bzimage(image, longest);
	expect_version(*state, image, sizeof(image), NULL);
}

static void a_version_is_one_harmless_file_name(void **state)
{
	static const char *const bad[] = { "../../etc", "..", "a/b", "/", "\x01", "\xff" };
	char image[BZIMAGE_BYTES];

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		make_bzimage(image, bad[i]);
		expect_version(*state, image, sizeof(image), NULL);
	}
}

static void an_elf_says_its_version_in_its_banner(void **state)
{
	static const char elf[] = "\177ELF Linux version %s (%s) Linux version 6.12.1+x (me) #1";

	expect_version(*state, elf, sizeof(elf), "6.12.1+x");
	expect_version(*state, elf + 1, sizeof(elf) - 1, NULL);
	expect_version(*state, "\177ELF Linux version ", 19, NULL);
	expect_version(*state, "\177ELF nothing", 12, NULL);
}

static void a_banner_is_found_wherever_it_lies(void **state)
{
	static const char banner[] = "Linux version 6.12.1-abcdef (me) #1";
	const size_t piece = 1U << 20;
	/* Around the places where pieces begin and end. */
	const size_t ends[] = { piece, piece / 2, piece * 3 / 2, piece * 2 };
	char *image = calloc(1, 3 * piece);

	assert_non_null(image);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(ends); i++)
		for (size_t back = 0; back <= sizeof(banner); back += 6) {
			memset(image, 0, 3 * piece);
			memcpy(image, "\177ELF", 4);
			memcpy(image + ends[i] - back, banner, sizeof(banner));
			expect_version(*state, image, 3 * piece, "6.12.1-abcdef");
		}
	free(image);
}

static void a_sparse_elf_takes_no_memory(void **state)
{
	const char *path = scratch_write(*state, "sparse", "\177ELF", 4);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char *version = NULL;

	/* Far more than any machine has; reading all of it would take minutes too. */
	assert_int_equal(ftruncate(fd, 1LL << 42), 0);
	assert_int_equal(cvmm_kernels_version(fd, &version), -ENOENT);
	close(fd);
}

static void what_is_no_file_has_no_version(void **state)
{
	struct scratch *s = *state;
	int fd = open(s->dir, O_RDONLY | O_CLOEXEC);
	char *version = NULL;

	assert_int_equal(cvmm_kernels_version(fd, &version), -ENOENT);
	close(fd);
	assert_int_equal(cvmm_kernels_version(-1, &version), -EBADF);
	assert_null(version);
}

#define kernels_test(f) cmocka_unit_test_setup_teardown(f, setup, scratch_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		kernels_test(the_highest_version_wins),
		kernels_test(what_cannot_be_read_is_passed_over),
		kernels_test(the_first_place_with_a_kernel_wins),
		kernels_test(directories_are_taken_literally),
		kernels_test(the_message_says_where_it_looked),
		kernels_test(a_list_that_is_too_long_finds_nothing),
		kernels_test(modules_lie_beside_the_kernel),
		kernels_test(missing_modules_are_told),
		kernels_test(a_bzimage_says_its_version),
		kernels_test(a_bzimage_may_end_in_its_version),
		kernels_test(a_bzimage_without_a_version_says_none),
		kernels_test(a_version_is_one_harmless_file_name),
		kernels_test(an_elf_says_its_version_in_its_banner),
		kernels_test(a_banner_is_found_wherever_it_lies),
		kernels_test(a_sparse_elf_takes_no_memory),
		kernels_test(what_is_no_file_has_no_version),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
