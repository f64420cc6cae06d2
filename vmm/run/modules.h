/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Finds kernel modules and what they need, from the tables that depmod makes. */
#ifndef CVMM_RUN_MODULES_H
#define CVMM_RUN_MODULES_H

#include <cvmm/base.h>

struct cvmm_modules;

/**
 * cvmm_modules_open() - read the tables of one kernel's modules
 * @dir: the kernel's directory of modules, e.g. /lib/modules/6.1.0-1-amd64
 */
int cvmm_modules_open(const char *dir, struct cvmm_modules **ret_modules, struct cvmm_error *err);
void cvmm_modules_close(struct cvmm_modules *modules);

/**
 * cvmm_modules_add() - want a module, after all that it needs
 * @name: as modprobe takes it; '-' and '_' are the same
 *
 * Return: 0, also if the kernel has it built in or it was added before; -ENOENT if this kernel has no such
 * module.
 */
int cvmm_modules_add(struct cvmm_modules *modules, const char *name);

/* The wanted modules in load order: paths on the host. */
size_t cvmm_modules_count(const struct cvmm_modules *modules);
const char *cvmm_modules_path(const struct cvmm_modules *modules, size_t i);

#endif /* CVMM_RUN_MODULES_H */
