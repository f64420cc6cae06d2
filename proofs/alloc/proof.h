/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What every proof of alloc needs: arbitrary numbers, and stand-ins for what is not proved. */
#ifndef PROOF_H
#define PROOF_H

#include <stdlib.h>

#include <cvmm/base.h>

uint8_t nondet_u8(void);
uint32_t nondet_u32(void);
uint64_t nondet_u64(void);
_Bool nondet_bool(void);

/* Errors are known by their codes here: the messages are not what is proved. */
int cvmm_fail(struct cvmm_error *err, int code, const char *fmt, ...)
{
	(void)err;
	(void)fmt;
	return code;
}

void cvmm_bug(const char *file, int line, const char *what)
{
	(void)file;
	(void)line;
	(void)what;
	__CPROVER_assert(0, "no CVMM_BUG_ON() fires");
	__CPROVER_assume(0);
	abort();
}

#endif /* PROOF_H */
