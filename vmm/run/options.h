/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The command line of `cvmm run`. */
#ifndef CVMM_RUN_OPTIONS_H
#define CVMM_RUN_OPTIONS_H

#include <cvmm/base.h>

#include "options_dev.h"

#define CVMM_RUN_DISKS_MAX 16
#define CVMM_RUN_DEVS_MAX 16
#define CVMM_RUN_LIST_MAX 256
#define CVMM_RUN_CPUS_MAX 32
#define CVMM_RUN_MEMORY_MIN_BYTES (UINT64_C(32) << 20)

struct cvmm_run_disk {
	const char *path;
	bool read_only;
};

enum cvmm_run_verbosity {
	CVMM_RUN_QUIET,	  /* nothing but the command's output and our failures */
	CVMM_RUN_NORMAL,  /* also warnings */
	CVMM_RUN_VERBOSE, /* also the kernel's messages */
};

enum cvmm_run_protocol {
	CVMM_RUN_PROTOCOL_AUTO,
	CVMM_RUN_PROTOCOL_LINUX64,
	CVMM_RUN_PROTOCOL_PVH,
};

/* Pointers point into argv. */
struct cvmm_run_options {
	const char *kernel;
	const char *initrd;
	const char *modules_dir;
	const char *root;
	bool root_read_only;
	uint64_t memory_bytes;
	unsigned int cpus;
	struct cvmm_run_disk disks[CVMM_RUN_DISKS_MAX];
	unsigned int disk_count;
	struct cvmm_run_dev devs[CVMM_RUN_DEVS_MAX];
	unsigned int dev_count;
	const char *append;
	const char *env[CVMM_RUN_LIST_MAX + 1]; /* NULL-terminated, as all lists here */
	unsigned int env_count;
	const char *extra_modules[CVMM_RUN_LIST_MAX + 1];
	unsigned int extra_module_count;
	const char *workdir;
	uint64_t timeout_ns; /* 0: none */
	enum cvmm_run_verbosity verbosity;
	enum cvmm_run_protocol protocol;
	bool timing;
	uint64_t virtio_offer; /* ring features, as in struct cvmm_machine_config */
	uint64_t virtio_withhold;
	const char *const *command;
	bool help;
};

/**
 * cvmm_run_options_parse() - read `cvmm run`'s arguments
 * @argv: NULL-terminated words after "run"; entries with commas are cut in place
 *
 * Return: 0, or -EINVAL with a message.
 */
int cvmm_run_options_parse(char **argv, struct cvmm_run_options *ret_options,
			   struct cvmm_error *err);

/* A size as "256M", "1G", "65536K" or bytes. Return: 0 or -EINVAL. */
int cvmm_run_parse_size(const char *text, uint64_t *ret_bytes);

extern const char cvmm_run_help[];

#endif /* CVMM_RUN_OPTIONS_H */
