/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* For the proofs of vhost-user: any numbers, and what bugs and failures are to them. */
#ifndef PROOF_PEER_H
#define PROOF_PEER_H

#include <errno.h>
#include <stdlib.h>

#include <cvmm/vhost-user.h>

_Bool nondet_bool(void);
int nondet_int(void);
uint8_t nondet_u8(void);
uint32_t nondet_u32(void);
uint64_t nondet_u64(void);
size_t nondet_size(void);

void cvmm_bug(const char *file, int line, const char *what)
{
	(void)file;
	(void)line;
	(void)what;
	__CPROVER_assert(0, "no CVMM_BUG_ON() fires");
	__CPROVER_assume(0);
	abort();
}

/* Messages do not matter. */
int cvmm_fail(struct cvmm_error *err, int code, const char *fmt, ...)
{
	(void)err;
	(void)fmt;
	return code;
}

char *strerror(int error)
{
	static char text[1];

	(void)error;
	return text;
}

#endif /* PROOF_PEER_H */
