/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Copies one descriptor to another on a loop, with back-pressure. */
#ifndef CVMM_RIG_PUMP_H
#define CVMM_RIG_PUMP_H

#include <cvmm/event.h>

struct cvmm_pump;

enum cvmm_pump_end {
	CVMM_PUMP_SOURCE_ENDED,	    /* end of file or error, and everything was written */
	CVMM_PUMP_DESTINATION_GONE, /* a write failed */
};

/**
 * cvmm_pump_create() - start copying
 * @src, @dst: non-blocking where possible; stay the caller's
 * @progress: called on the loop after bytes were written, or NULL
 * @ended: called once on the loop
 */
int cvmm_pump_create(struct cvmm_loop *loop, int src, int dst, void (*progress)(void *ctx),
		     void (*ended)(void *ctx, enum cvmm_pump_end end), void *ctx,
		     struct cvmm_pump **ret_pump);
void cvmm_pump_destroy(struct cvmm_pump *pump);

/* Bytes written to the destination so far. */
uint64_t cvmm_pump_total(const struct cvmm_pump *pump);

#endif /* CVMM_RIG_PUMP_H */
