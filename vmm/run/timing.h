/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* When the phases of a run ended, and how long each took. */
#ifndef CVMM_RUN_TIMING_H
#define CVMM_RUN_TIMING_H

#include <stdio.h>

#include <cvmm/base.h>

enum cvmm_timing_phase {
	CVMM_TIMING_SETUP,   /* options, files, initramfs, KVM, devices */
	CVMM_TIMING_LOAD,    /* kernel, initrd and tables into guest memory */
	CVMM_TIMING_KERNEL,  /* first guest instruction to the first one of user space */
	CVMM_TIMING_INIT,    /* modules, mounts, start of the command */
	CVMM_TIMING_COMMAND, /* until the command has ended */
	CVMM_TIMING_END,     /* output written, machine gone */
	CVMM_TIMING_PHASES,
};

struct cvmm_timing {
	uint64_t start_ns;
	uint64_t end_ns[CVMM_TIMING_PHASES]; /* 0: not reached */
};

void cvmm_timing_start(struct cvmm_timing *timing);

/* The phase ended now; only the first mark of a phase counts. */
void cvmm_timing_mark(struct cvmm_timing *timing, enum cvmm_timing_phase phase);
void cvmm_timing_print(const struct cvmm_timing *timing, FILE *to);

#endif /* CVMM_RUN_TIMING_H */
