// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../guest/protocol.h"
#include "initramfs.h"
#include "modules.h"

extern char **environ;

/* The guest's init, linked in by init_blob.S. */
extern const char cvmm_guest_init_start[], cvmm_guest_init_end[];

#define APPLET_LIST_BYTES_MAX 32768
#define SPEC_BYTES_MAX (1U << 20)

/* ---- the init's orders ------------------------------------------------------------------------- */

struct spec {
	char *text;
	size_t len;
	bool full;
};

static CVMM_PRINTF(2, 3) void order(struct spec *spec, const char *fmt, ...)
{
	size_t room = SPEC_BYTES_MAX - spec->len;
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(spec->text + spec->len, room, fmt, args);
	va_end(args);
	if (len < 0 || (size_t)len >= room)
		spec->full = true;
	else
		spec->len += (size_t)len + 1;
}

static void order_root(struct spec *spec, const struct cvmm_initramfs_config *c)
{
	if (c->root_kind == CVMM_ROOT_DEVICE)
		order(spec, "root=%s", c->root);
	else if (c->root_kind == CVMM_ROOT_9P)
		order(spec, "root=9p:%s", c->root);
	else
		order(spec, "root=initramfs");
	if (c->root_types)
		order(spec, "rootfstype=%s", c->root_types);
	order(spec, "rootflags=%s", c->root_read_only ? "ro" : "rw");
}

/* Return: entries of a NULL-terminated list. */
static size_t count_words(const char *const *list)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	return n;
}

static void order_command(struct spec *spec, const struct cvmm_initramfs_config *c)
{
	if (count_words(c->args) > CVMM_GUEST_WORDS_MAX ||
	    count_words(c->env) > CVMM_GUEST_WORDS_MAX)
		spec->full = true;
	order(spec, "hostname=cvmm");
	if (c->tty_mask) {
		order(spec, "tty=%u", c->tty_mask);
		order(spec, "window=%ux%u", c->rows, c->cols);
	}
	if (c->workdir)
		order(spec, "workdir=%s", c->workdir);
	for (size_t i = 0; c->env && c->env[i]; i++)
		order(spec, "env=%s", c->env[i]);
	for (size_t i = 0; c->args[i]; i++)
		order(spec, "arg=%s", c->args[i]);
}

/* ---- modules ----------------------------------------------------------------------------------- */

static int want_modules(struct cvmm_modules *m, const struct cvmm_initramfs_config *c,
			struct cvmm_error *err)
{
	for (size_t i = 0; c->modules && c->modules[i]; i++) {
		int ret = cvmm_modules_add(m, c->modules[i]);

		if (ret == -ENOENT)
			return cvmm_fail(err, ret, "kernel %s has no module %s, which is needed",
					 c->kernel_version, c->modules[i]);
		if (ret)
			return cvmm_fail(err, ret, "cannot resolve module %s: %s", c->modules[i],
					 strerror(-ret));
	}
	for (size_t i = 0; c->optional_modules && c->optional_modules[i]; i++)
		(void)cvmm_modules_add(m, c->optional_modules[i]);
	return 0;
}

static int add_modules(struct cvmm_cpio *cpio, struct spec *spec,
		       const struct cvmm_initramfs_config *c, struct cvmm_error *err)
{
	struct cvmm_modules *m;
	char path[PATH_MAX];
	int ret;

	if (!c->modules_dir)
		return 0;
	ret = cvmm_modules_open(c->modules_dir, &m, err);
	if (ret)
		return ret;
	ret = want_modules(m, c, err);
	for (size_t i = 0; !ret && i < cvmm_modules_count(m); i++) {
		const char *host_path = cvmm_modules_path(m, i);

		snprintf(path, sizeof(path), "%s/%s", CVMM_GUEST_ARCHIVE_DIR,
			 strrchr(host_path, '/') + 1);
		cvmm_cpio_add_file(cpio, path, 0600, host_path);
		order(spec, "module=/%s", path);
	}
	cvmm_modules_close(m);
	return ret;
}

/* ---- the root of busybox -------------------------------------------------------------------------- */

/* Return: 1 if the file is an ELF program that needs no dynamic loader, 0 if not, or a negative errno. */
static int is_static(int fd)
{
	Elf64_Ehdr eh;
	ssize_t n = cvmm_pread_full(fd, &eh, sizeof(eh), 0);

	if (n < 0)
		return (int)n;
	if (n != sizeof(eh) || memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 ||
	    eh.e_phentsize != sizeof(Elf64_Phdr))
		return 0;
	for (unsigned int i = 0; i < eh.e_phnum; i++) {
		Elf64_Phdr ph;

		n = cvmm_pread_full(fd, &ph, sizeof(ph), eh.e_phoff + i * sizeof(ph));
		if (n != sizeof(ph) || ph.p_type == PT_INTERP)
			return n < 0 ? (int)n : 0;
	}
	return eh.e_phnum > 0;
}

int cvmm_initramfs_find_busybox(const char **ret_path)
{
	static const char *const paths[] = { "/bin/busybox", "/usr/bin/busybox" };
	int ret = 0;

	for (size_t i = 0; ret <= 0 && i < CVMM_ARRAY_SIZE(paths); i++) {
		int fd = open(paths[i], O_RDONLY | O_CLOEXEC);

		*ret_path = paths[i];
		ret = fd < 0 ? -errno : is_static(fd);
		if (fd >= 0)
			close(fd);
		if (ret < 0 && ret != -ENOENT)
			return ret;
	}
	return ret > 0 ? 0 : -ENOENT;
}

/*
 * What `busybox --list-full` prints, NUL-terminated: one path a line. It writes each word on its own:
 * into a file that costs little, where a pipe would switch to us and back a thousand times.
 */
static int list_applets(const char *busybox, char *ret_text, size_t size, struct cvmm_error *err)
{
	char *const argv[] = { (char *)busybox, (char *)"--list-full", NULL };
	posix_spawn_file_actions_t actions;
	int fd, ret, status;
	ssize_t len;
	pid_t pid;

	fd = memfd_create("applets", MFD_CLOEXEC);
	if (fd < 0)
		return cvmm_fail(err, -errno, "cannot make a memfd: %s", strerror(errno));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fd, 1);
	ret = posix_spawn(&pid, busybox, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (ret) {
		close(fd);
		return cvmm_fail(err, -ret, "cannot run %s: %s", busybox, strerror(ret));
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	len = cvmm_pread_full(fd, ret_text, size - 1, 0);
	close(fd);
	ret_text[len > 0 ? len : 0] = 0;
	if (len <= 0 || !WIFEXITED(status) || WEXITSTATUS(status))
		return cvmm_fail(err, -EIO, "%s --list-full failed", busybox);
	return 0;
}

static void add_standard_dirs(struct cvmm_cpio *cpio)
{
	static const struct {
		const char *path;
		mode_t mode;
	} dirs[] = {
		{ "bin", 0755 },      { "sbin", 0755 }, { "usr", 0755 },      { "usr/bin", 0755 },
		{ "usr/sbin", 0755 }, { "dev", 0755 },	{ "proc", 0555 },     { "sys", 0555 },
		{ "etc", 0755 },      { "mnt", 0755 },	{ "root", 0700 },     { "tmp", 01777 },
		{ "run", 0755 },      { "var", 0755 },	{ "var/tmp", 01777 }, { "lib", 0755 },
		{ "lib64", 0755 },
	};

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(dirs); i++)
		cvmm_cpio_add_dir(cpio, dirs[i].path, dirs[i].mode);
}

static int add_busybox_root(struct cvmm_cpio *cpio, struct cvmm_error *err)
{
	static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n";
	static const char group[] = "root:x:0:\ntty:x:5:\n";
	static const char hosts[] = "127.0.0.1 localhost cvmm\n::1 localhost\n";
	char applets[APPLET_LIST_BYTES_MAX], *rest = NULL;
	const char *busybox;
	int ret = cvmm_initramfs_find_busybox(&busybox);

	if (ret == -ENOENT)
		return cvmm_fail(err, ret,
				 "no static busybox in /bin: install busybox-static, or give the "
				 "guest a root with --root DIR or --root IMAGE");
	if (ret)
		return cvmm_fail(err, ret, "cannot read %s: %s", busybox, strerror(-ret));
	ret = list_applets(busybox, applets, sizeof(applets), err);
	if (ret)
		return ret;
	add_standard_dirs(cpio);
	cvmm_cpio_add_file(cpio, "bin/busybox", 0755, busybox);
	for (char *path = strtok_r(applets, "\n", &rest); path; path = strtok_r(NULL, "\n", &rest))
		if (strcmp(path, "bin/busybox") != 0)
			cvmm_cpio_add_symlink(cpio, path, "/bin/busybox");
	cvmm_cpio_add_data(cpio, "etc/passwd", 0644, passwd, sizeof(passwd) - 1);
	cvmm_cpio_add_data(cpio, "etc/group", 0644, group, sizeof(group) - 1);
	cvmm_cpio_add_data(cpio, "etc/hosts", 0644, hosts, sizeof(hosts) - 1);
	return 0;
}

/* ---- the whole --------------------------------------------------------------------------------- */

static int add_root(struct cvmm_cpio *cpio, const struct cvmm_initramfs_config *c,
		    struct cvmm_error *err)
{
	if (c->root_kind == CVMM_ROOT_BUSYBOX)
		return add_busybox_root(cpio, err);
	if (c->root_kind == CVMM_ROOT_TREE)
		cvmm_cpio_add_tree(cpio, c->root);
	/* Devices must exist before devtmpfs is mounted; the others bring what they need. */
	if (c->root_kind == CVMM_ROOT_DEVICE || c->root_kind == CVMM_ROOT_9P)
		cvmm_cpio_add_dir(cpio, "dev", 0755);
	return 0;
}

int cvmm_initramfs_build(struct cvmm_cpio *cpio, const struct cvmm_initramfs_config *c,
			 struct cvmm_error *err)
{
	struct spec spec = { .text = malloc(SPEC_BYTES_MAX) };
	int ret;

	if (!spec.text)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	ret = add_root(cpio, c, err);
	cvmm_cpio_add_dir(cpio, CVMM_GUEST_ARCHIVE_DIR, 0700);
	cvmm_cpio_add_data(cpio, CVMM_GUEST_ARCHIVE_DIR "/init", 0755, cvmm_guest_init_start,
			   (size_t)(cvmm_guest_init_end - cvmm_guest_init_start));
	order_root(&spec, c);
	if (!ret)
		ret = add_modules(cpio, &spec, c, err);
	order_command(&spec, c);
	if (!ret && spec.full)
		ret = cvmm_fail(err, -E2BIG,
				"the command and its environment exceed %u bytes, or "
				"%d words",
				SPEC_BYTES_MAX, CVMM_GUEST_WORDS_MAX);
	cvmm_cpio_add_data(cpio, CVMM_GUEST_ARCHIVE_DIR "/spec", 0600, spec.text, spec.len);
	free(spec.text);
	return ret ? ret : cvmm_cpio_finish(cpio, err);
}

/* ---- disk images ------------------------------------------------------------------------------- */

/* Its boot sector ends like a partition table does. */
static bool is_fat(int fd)
{
	char text[3];

	return (cvmm_pread_full(fd, text, 3, 54) == 3 && memcmp(text, "FAT", 3) == 0) ||
	       (cvmm_pread_full(fd, text, 3, 82) == 3 && memcmp(text, "FAT", 3) == 0);
}

int cvmm_initramfs_sniff_image(int fd, const char **ret_type, struct cvmm_error *err)
{
	static const struct {
		const char *type;
		uint64_t offset;
		const char *magic;
		size_t len;
	} known[] = {
		{ "ext4", 0x438, "\x53\xef", 2 },	   { "xfs", 0, "XFSB", 4 },
		{ "btrfs", 0x10040, "_BHRfS_M", 8 },	   { "squashfs", 0, "hsqs", 4 },
		{ "erofs", 0x400, "\xe2\xe1\xf5\xe0", 4 }, { "iso9660", 0x8001, "CD001", 5 },
	};
	char bytes[8];

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(known); i++) {
		ssize_t n = cvmm_pread_full(fd, bytes, known[i].len, known[i].offset);

		if (n < 0)
			return cvmm_fail(err, (int)n, "cannot read it: %s", strerror((int)-n));
		if ((size_t)n == known[i].len && memcmp(bytes, known[i].magic, known[i].len) == 0) {
			*ret_type = known[i].type;
			return 0;
		}
	}
	if (cvmm_pread_full(fd, bytes, 4, 0) == 4 && memcmp(bytes, "QFI\xfb", 4) == 0)
		return cvmm_fail(err, -ENOENT,
				 "it is a qcow2 image; convert it: qemu-img convert -O raw");
	if (is_fat(fd))
		return cvmm_fail(err, -ENOENT,
				 "it is a FAT file system, which knows no owners, modes or links; "
				 "a root needs ext4, xfs, btrfs, squashfs, erofs or iso9660");
	if (cvmm_pread_full(fd, bytes, 2, 510) == 2 && memcmp(bytes, "\x55\xaa", 2) == 0)
		return cvmm_fail(err, -ENOENT,
				 "it has a partition table; a root image is one bare file system");
	return cvmm_fail(err, -ENOENT,
			 "it holds no file system that is known "
			 "(ext4, xfs, btrfs, squashfs, erofs, iso9660)");
}
