// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include "timing.h"

static const char *const phase_names[CVMM_TIMING_PHASES] = {
	[CVMM_TIMING_SETUP] = "set-up",	   [CVMM_TIMING_LOAD] = "load",
	[CVMM_TIMING_KERNEL] = "kernel",   [CVMM_TIMING_INIT] = "init",
	[CVMM_TIMING_COMMAND] = "command", [CVMM_TIMING_END] = "tear-down",
};

void cvmm_timing_start(struct cvmm_timing *timing)
{
	*timing = (struct cvmm_timing){ .start_ns = cvmm_clock_ns() };
}

void cvmm_timing_mark(struct cvmm_timing *timing, enum cvmm_timing_phase phase)
{
	if (!timing->end_ns[phase])
		timing->end_ns[phase] = cvmm_clock_ns();
}

void cvmm_timing_print(const struct cvmm_timing *timing, FILE *to)
{
	uint64_t before_ns = timing->start_ns;

	fprintf(to, "%-10s %12s %12s\n", "phase", "ms", "until ms");
	for (int i = 0; i < CVMM_TIMING_PHASES; i++) {
		uint64_t end_ns = timing->end_ns[i];

		if (!end_ns || end_ns < before_ns) {
			fprintf(to, "%-10s %12s %12s\n", phase_names[i], "-", "-");
			continue;
		}
		fprintf(to, "%-10s %12.3f %12.3f\n", phase_names[i],
			(double)(end_ns - before_ns) / 1e6,
			(double)(end_ns - timing->start_ns) / 1e6);
		before_ns = end_ns;
	}
}
