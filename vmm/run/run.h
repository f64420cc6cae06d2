/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_RUN_RUN_H
#define CVMM_RUN_RUN_H

#include <stddef.h>

/* The words after "run", NULL-terminated. Return: the process's exit status. */
int cvmm_run_main(char **argv);

/*
 * Merges @more_count variables into the first @count of @env, where equal names are replaced. There is room
 * for all. Return: the new count.
 */
size_t cvmm_run_merge_env(const char **env, size_t count, const char *const *more,
			  size_t more_count);

#endif /* CVMM_RUN_RUN_H */
