/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Builds the initramfs of one run: our init, its orders, modules, and the root if it lies in memory. */
#ifndef CVMM_RUN_INITRAMFS_H
#define CVMM_RUN_INITRAMFS_H

#include "cpio.h"

enum cvmm_root_kind {
	CVMM_ROOT_BUSYBOX, /* Debian's busybox-static and little else */
	CVMM_ROOT_TREE,	   /* a directory of the host, packed */
	CVMM_ROOT_INITRD,  /* what the user's initrd holds */
	CVMM_ROOT_DEVICE,  /* a block device of the guest */
	CVMM_ROOT_9P,	   /* a 9p export, by its tag */
};

/**
 * struct cvmm_initramfs_config - what goes in
 * @root: directory (TREE), device path in the guest (DEVICE) or tag (9P)
 * @root_types: DEVICE: file systems to try, separated by commas
 * @modules_dir: where the kernel's modules are, or NULL if none are wanted
 * @modules: names; all must exist in this kernel, built in or loadable
 * @optional_modules: names that may be missing
 * @env, @args: NULL-terminated lists
 * @tty_mask: bit i: standard stream i is the terminal
 */
struct cvmm_initramfs_config {
	enum cvmm_root_kind root_kind;
	const char *root;
	const char *root_types;
	bool root_read_only;
	const char *kernel_version;
	const char *modules_dir;
	const char *const *modules;
	const char *const *optional_modules;
	const char *const *env;
	const char *const *args;
	const char *workdir;
	unsigned int tty_mask;
	uint16_t rows, cols;
};

/* @cpio: initialised and empty. Return: 0 or negative errno with a message. */
int cvmm_initramfs_build(struct cvmm_cpio *cpio, const struct cvmm_initramfs_config *config,
			 struct cvmm_error *err);

/* The static busybox that CVMM_ROOT_BUSYBOX packs: a constant path. Return: 0, -ENOENT, or another errno. */
int cvmm_initramfs_find_busybox(const char **ret_path);

/*
 * The file system in a disk image, as mount names it, from its superblock. Return: 0; -ENOENT if
 * none is known, with a message that says what was found instead (a partition table, say).
 */
int cvmm_initramfs_sniff_image(int fd, const char **ret_type, struct cvmm_error *err);

#endif /* CVMM_RUN_INITRAMFS_H */
