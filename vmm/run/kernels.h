/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Finds a kernel to boot, and the directory of its modules. */
#ifndef CVMM_RUN_KERNELS_H
#define CVMM_RUN_KERNELS_H

#include <cvmm/base.h>

/**
 * cvmm_kernels_find_newest() - the newest kernel of this machine
 * @ret_path: path of the image; the caller frees it
 *
 * Looks into the directories of $CVMM_KERNELS (separated by colons), then
 * ${XDG_CACHE_HOME:-$HOME/.cache}/cvmm/kernels, then /boot. The first place that has one wins; in it the
 * highest version. Below the first two a kernel lies as its package unpacks: NAME/boot/vmlinuz-VERSION.
 *
 * Return: 0, or -ENOENT with a message that says where it looked.
 */
int cvmm_kernels_find_newest(char **ret_path, struct cvmm_error *err);

/**
 * cvmm_kernels_find_modules() - the directory of a kernel's modules
 * @kernel_path: path of the image
 * @version: the kernel's version, e.g. "6.1.0-1-amd64"
 * @ret_dir: directory with modules.dep; the caller frees it
 *
 * Looks beside the image (../lib/modules and ../usr/lib/modules), then in /lib/modules.
 */
int cvmm_kernels_find_modules(const char *kernel_path, const char *version, char **ret_dir,
			      struct cvmm_error *err);

/**
 * cvmm_kernels_version() - a kernel image's version
 * @kernel_fd: bzImage (its header says it) or vmlinux ("Linux version ..." in its data)
 * @ret_version: the caller frees it
 *
 * Return: 0, -ENOENT if the image does not say.
 */
int cvmm_kernels_version(int kernel_fd, char **ret_version);

#endif /* CVMM_RUN_KERNELS_H */
