/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The user's terminal: raw while the guest has it, and given back whatever happens. */
#ifndef CVMM_RUN_TERMINAL_H
#define CVMM_RUN_TERMINAL_H

#include <cvmm/base.h>

struct cvmm_terminal {
	int fd; /* -1: not taken */
	int guardian_pipe;
	pid_t guardian;
};

#define CVMM_TERMINAL_NONE ((struct cvmm_terminal){ -1, -1, -1 })

/**
 * cvmm_terminal_take() - make a terminal raw until cvmm_terminal_give_back()
 * @fd: a terminal; stays the caller's
 *
 * Starts a small guardian process that restores the terminal when this process ends in any way,
 * SIGKILL included. Context: before any thread is started.
 */
int cvmm_terminal_take(int fd, struct cvmm_terminal *ret_terminal, struct cvmm_error *err);

/* After a stop: a shell gave the terminal its own settings meanwhile. */
void cvmm_terminal_resume(const struct cvmm_terminal *terminal);
void cvmm_terminal_give_back(struct cvmm_terminal *terminal);

/* The terminal's size; 24 x 80 where it does not say. */
void cvmm_terminal_size(int fd, uint16_t *ret_rows, uint16_t *ret_cols);

#endif /* CVMM_RUN_TERMINAL_H */
