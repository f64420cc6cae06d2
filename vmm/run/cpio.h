/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Writes cpio archives of the "newc" kind, which Linux unpacks as its initramfs, into memory. */
#ifndef CVMM_RUN_CPIO_H
#define CVMM_RUN_CPIO_H

#include <sys/stat.h>

#include <cvmm/base.h>

/**
 * struct cvmm_cpio - an archive that grows in memory
 * @data: the archive so far, @len bytes; freed by cvmm_cpio_fini()
 * @error: the first error; entries after it are ignored, and cvmm_cpio_finish() reports it
 */
struct cvmm_cpio {
	char *data;
	size_t len;
	size_t capacity;
	uint32_t next_inode;
	struct cvmm_error error;
};

void cvmm_cpio_init(struct cvmm_cpio *cpio);
void cvmm_cpio_fini(struct cvmm_cpio *cpio);

/* Paths have no leading slash. Parents must be added before what is in them. */
void cvmm_cpio_add_dir(struct cvmm_cpio *cpio, const char *path, mode_t mode);
void cvmm_cpio_add_data(struct cvmm_cpio *cpio, const char *path, mode_t mode, const void *data,
			size_t len);
void cvmm_cpio_add_symlink(struct cvmm_cpio *cpio, const char *path, const char *target);
void cvmm_cpio_add_node(struct cvmm_cpio *cpio, const char *path, mode_t mode, dev_t dev);

/* A file of the host, with the given mode. */
void cvmm_cpio_add_file(struct cvmm_cpio *cpio, const char *path, mode_t mode,
			const char *host_path);

/* Everything below a directory of the host, with owners and modes, as the archive's root. */
void cvmm_cpio_add_tree(struct cvmm_cpio *cpio, const char *host_dir);

/* Write the trailer. Return: 0 or the first error, with its message. */
int cvmm_cpio_finish(struct cvmm_cpio *cpio, struct cvmm_error *err);

#endif /* CVMM_RUN_CPIO_H */
