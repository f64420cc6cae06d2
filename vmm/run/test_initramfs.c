// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include "../guest/protocol.h"
#include "initramfs.h"
#include "test_cpio_read.h"

static const char *const no_args[] = { "true", NULL };

/* Room for a superblock of every kind. */
#define IMAGE_BYTES 0x11000

static void build(struct cvmm_cpio *cpio, const struct cvmm_initramfs_config *config)
{
	struct cvmm_error err = { 0 };

	cvmm_cpio_init(cpio);
	if (cvmm_initramfs_build(cpio, config, &err))
		fail_msg("%s", err.message);
}

/* Compares the orders with records that are separated by '|'. */
static void expect_orders(const struct cvmm_cpio *cpio, const char *records)
{
	struct cpio_entry e = { 0 };

	assert_true(cpio_find(cpio, ".cvmm/spec", &e));
	assert_int_equal(e.field[CPIO_SIZE], strlen(records));
	for (size_t i = 0; i < e.field[CPIO_SIZE]; i++) {
		char c = e.data[i] ? e.data[i] : '|';

		if (c != records[i])
			fail_msg("the orders differ from \"%s\" at byte %zu", records, i);
	}
}

static void an_initrd_gets_the_init_and_its_orders(void **state)
{
	const struct cvmm_initramfs_config config = { .root_kind = CVMM_ROOT_INITRD,
						      .args = no_args };
	struct cvmm_cpio cpio;
	struct cpio_entry e = { 0 };

	(void)state;
	build(&cpio, &config);
	expect_orders(&cpio, "root=initramfs|rootflags=rw|hostname=cvmm|arg=true|");
	assert_true(cpio_find(&cpio, ".cvmm", &e));
	assert_int_equal(e.field[CPIO_MODE], S_IFDIR | 0700);
	assert_true(cpio_find(&cpio, ".cvmm/init", &e));
	assert_int_equal(e.field[CPIO_MODE], S_IFREG | 0755);
	assert_memory_equal(e.data, "\177ELF", 4);
	assert_false(cpio_find(&cpio, "dev", &e));
	cvmm_cpio_fini(&cpio);
}

static void every_order_is_a_record(void **state)
{
	static const char *const env[] = { "A=1", "B=x y\nz", NULL };
	static const char *const args[] = { "sh", "-c", "", "a=b", NULL };
	const struct cvmm_initramfs_config config = {
		.root_kind = CVMM_ROOT_DEVICE,
		.root = "/dev/vda",
		.root_types = "ext4,xfs",
		.root_read_only = true,
		.env = env,
		.args = args,
		.workdir = "/w",
		.tty_mask = 3,
		.rows = 24,
		.cols = 80,
	};
	struct cvmm_cpio cpio;
	struct cpio_entry e = { 0 };

	(void)state;
	build(&cpio, &config);
	expect_orders(&cpio, "root=/dev/vda|rootfstype=ext4,xfs|rootflags=ro|hostname=cvmm|tty=3|"
			     "window=24x80|workdir=/w|env=A=1|env=B=x y\nz|arg=sh|arg=-c|arg=|"
			     "arg=a=b|");
	assert_true(cpio_find(&cpio, "dev", &e));
	cvmm_cpio_fini(&cpio);
}

static void a_9p_root_is_named_by_its_tag(void **state)
{
	const struct cvmm_initramfs_config config = { .root_kind = CVMM_ROOT_9P,
						      .root = "host",
						      .args = no_args };
	struct cvmm_cpio cpio;

	(void)state;
	build(&cpio, &config);
	expect_orders(&cpio, "root=9p:host|rootflags=rw|hostname=cvmm|arg=true|");
	cvmm_cpio_fini(&cpio);
}

static void a_tree_is_packed_before_the_init(void **state)
{
	struct scratch *s = *state;
	const struct cvmm_initramfs_config config = { .root_kind = CVMM_ROOT_TREE,
						      .root = s->dir,
						      .args = no_args };
	struct cpio_entry mine = { 0 }, ours = { 0 };
	struct cvmm_cpio cpio;

	scratch_text(s, "bin/tool", "tool");
	build(&cpio, &config);
	assert_true(cpio_find(&cpio, "bin/tool", &mine));
	assert_true(cpio_find(&cpio, ".cvmm/init", &ours));
	assert_true(mine.path < ours.path); /* a later entry replaces an earlier one */
	cvmm_cpio_fini(&cpio);
}

static void a_missing_tree_is_named(void **state)
{
	const struct cvmm_initramfs_config config = { .root_kind = CVMM_ROOT_TREE,
						      .root = "/nonexistent/tree",
						      .args = no_args };
	struct cvmm_error err;
	struct cvmm_cpio cpio;

	(void)state;
	cvmm_cpio_init(&cpio);
	assert_int_equal(cvmm_initramfs_build(&cpio, &config, &err), -ENOENT);
	assert_non_null(strstr(err.message, "/nonexistent/tree"));
	cvmm_cpio_fini(&cpio);
}

static void busybox_brings_a_root(void **state)
{
	const struct cvmm_initramfs_config config = { .root_kind = CVMM_ROOT_BUSYBOX,
						      .args = no_args };
	struct cvmm_cpio cpio;
	struct cpio_entry e = { 0 };
	const char *busybox;

	(void)state;
	if (cvmm_initramfs_find_busybox(&busybox)) {
		print_message("SKIP: busybox-static is not installed\n");
		skip();
	}
	build(&cpio, &config);
	assert_true(cpio_find(&cpio, "bin/busybox", &e));
	assert_true(S_ISREG(e.field[CPIO_MODE]) && (e.field[CPIO_MODE] & 0111));
	assert_true(cpio_find(&cpio, "bin/sh", &e));
	assert_int_equal(e.field[CPIO_MODE], S_IFLNK | 0777);
	assert_memory_equal(e.data, "/bin/busybox", 12);
	assert_true(cpio_find(&cpio, "tmp", &e));
	assert_int_equal(e.field[CPIO_MODE], S_IFDIR | 01777);
	assert_true(cpio_find(&cpio, "etc/passwd", &e));
	cvmm_cpio_fini(&cpio);
}

static void modules_are_packed_in_load_order(void **state)
{
	static const char *const wanted[] = { "virtio-blk", NULL };
	static const char *const optional[] = { "absent", "extra", NULL };
	struct scratch *s = *state;
	const struct cvmm_initramfs_config config = { .root_kind = CVMM_ROOT_INITRD,
						      .kernel_version = "1.2",
						      .modules_dir = s->dir,
						      .modules = wanted,
						      .optional_modules = optional,
						      .args = no_args };
	struct cvmm_cpio cpio;
	struct cpio_entry e = { 0 };

	scratch_text(s, "modules.dep", "k/virtio_blk.ko: k/virtio.ko.xz\nk/extra.ko:\n");
	scratch_text(s, "modules.builtin", "");
	scratch_text(s, "k/virtio_blk.ko", "blk");
	scratch_text(s, "k/virtio.ko.xz", "core");
	scratch_text(s, "k/extra.ko", "extra");
	build(&cpio, &config);
	expect_orders(&cpio, "root=initramfs|rootflags=rw|module=/.cvmm/virtio.ko.xz|"
			     "module=/.cvmm/virtio_blk.ko|module=/.cvmm/extra.ko|hostname=cvmm|"
			     "arg=true|");
	assert_true(cpio_find(&cpio, ".cvmm/virtio.ko.xz", &e));
	assert_memory_equal(e.data, "core", 4);
	cvmm_cpio_fini(&cpio);
}

static void a_module_that_is_needed_must_exist(void **state)
{
	static const char *const wanted[] = { "virtio_blk", NULL };
	struct scratch *s = *state;
	const struct cvmm_initramfs_config config = { .root_kind = CVMM_ROOT_INITRD,
						      .kernel_version = "1.2",
						      .modules_dir = s->dir,
						      .modules = wanted,
						      .args = no_args };
	struct cvmm_error err;
	struct cvmm_cpio cpio;

	cvmm_cpio_init(&cpio);
	assert_int_equal(cvmm_initramfs_build(&cpio, &config, &err), -ENOENT);
	assert_non_null(strstr(err.message, "modules.dep"));
	cvmm_cpio_fini(&cpio);
	scratch_text(s, "modules.dep", "");
	scratch_text(s, "modules.builtin", "");
	assert_int_equal(cvmm_initramfs_build(&cpio, &config, &err), -ENOENT);
	assert_string_equal(err.message, "kernel 1.2 has no module virtio_blk, which is needed");
	cvmm_cpio_fini(&cpio);
	scratch_text(s, "modules.dep", "k/virtio_blk.ko:\n"); /* in the table only */
	assert_int_equal(cvmm_initramfs_build(&cpio, &config, &err), -ENOENT);
	assert_non_null(strstr(err.message, "k/virtio_blk.ko"));
	cvmm_cpio_fini(&cpio);
}

static void orders_that_are_too_long_are_refused(void **state)
{
	const size_t len = 1U << 20;
	char *word = malloc(len + 1);
	const char *args[] = { "echo", word, "more", NULL };
	const struct cvmm_initramfs_config config = { .root_kind = CVMM_ROOT_INITRD, .args = args };
	struct cvmm_error err;
	struct cvmm_cpio cpio;

	(void)state;
	assert_non_null(word);
	memset(word, 'x', len);
	word[len] = 0;
	cvmm_cpio_init(&cpio);
	assert_int_equal(cvmm_initramfs_build(&cpio, &config, &err), -E2BIG);
	assert_non_null(strstr(err.message, "exceed 1048576 bytes"));
	cvmm_cpio_fini(&cpio);
	word[len - 200] = 0;
	build(&cpio, &config);
	cvmm_cpio_fini(&cpio);
	free(word);
}

/* ---- images -------------------------------------------------------------------------------------- */

/* Sniffs an image of @len bytes that is zero but for @magic. Returns the message or the type. */
static int sniff(struct scratch *s, size_t len, size_t offset, const char *magic, size_t magic_len,
		 const char **ret_type, struct cvmm_error *err)
{
	char *image = calloc(1, IMAGE_BYTES);
	int fd, ret;

	assert_non_null(image);
	memcpy(image + offset, magic, magic_len);
	fd = open(scratch_write(s, "image", image, len), O_RDONLY | O_CLOEXEC);
	free(image);
	assert_true(fd >= 0);
	ret = cvmm_initramfs_sniff_image(fd, ret_type, err);
	close(fd);
	return ret;
}

static void file_systems_are_known_by_their_superblocks(void **state)
{
	static const struct {
		const char *type;
		size_t offset;
		const char *magic;
	} table[] = {
		{ "ext4", 0x438, "\x53\xef" },		{ "xfs", 0, "XFSB" },
		{ "btrfs", 0x10040, "_BHRfS_M" },	{ "squashfs", 0, "hsqs" },
		{ "erofs", 0x400, "\xe2\xe1\xf5\xe0" }, { "iso9660", 0x8001, "CD001" },
	};

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(table); i++) {
		size_t len = strlen(table[i].magic);
		const char *type = NULL;

		assert_int_equal(sniff(*state, IMAGE_BYTES, table[i].offset, table[i].magic, len,
				       &type, NULL),
				 0);
		assert_string_equal(type, table[i].type);
		/* Cut in the middle of its magic it is nothing. */
		type = NULL;
		assert_int_equal(sniff(*state, table[i].offset + len - 1, table[i].offset,
				       table[i].magic, len, &type, NULL),
				 -ENOENT);
		assert_null(type);
	}
}

static void other_images_are_told_apart(void **state)
{
	const char *type = NULL;
	struct cvmm_error err;

	assert_int_equal(sniff(*state, IMAGE_BYTES, 0, "QFI\xfb", 4, &type, &err), -ENOENT);
	assert_non_null(strstr(err.message, "qcow2"));
	assert_int_equal(sniff(*state, 512, 510, "\x55\xaa", 2, &type, &err), -ENOENT);
	assert_non_null(strstr(err.message, "partition table"));
	assert_int_equal(sniff(*state, 512, 54, "FAT16", 5, &type, &err), -ENOENT);
	assert_non_null(strstr(err.message, "FAT"));
	assert_int_equal(sniff(*state, 512, 82, "FAT32", 5, &type, &err), -ENOENT);
	assert_non_null(strstr(err.message, "FAT"));
	assert_int_equal(sniff(*state, 0, 0, "", 0, &type, &err), -ENOENT);
	assert_non_null(strstr(err.message, "no file system that is known"));
	assert_int_equal(cvmm_initramfs_sniff_image(-1, &type, &err), -EBADF);
	assert_null(type);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_initrd_gets_the_init_and_its_orders),
		cmocka_unit_test(every_order_is_a_record),
		cmocka_unit_test(a_9p_root_is_named_by_its_tag),
		scratch_test(a_tree_is_packed_before_the_init),
		cmocka_unit_test(a_missing_tree_is_named),
		cmocka_unit_test(busybox_brings_a_root),
		scratch_test(modules_are_packed_in_load_order),
		scratch_test(a_module_that_is_needed_must_exist),
		cmocka_unit_test(orders_that_are_too_long_are_refused),
		scratch_test(file_systems_are_known_by_their_superblocks),
		scratch_test(other_images_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
