/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* For proofs through virtq.c, of queues without trace and region: what these would do is not there. */
#ifndef PROOF_COMMON_H
#define PROOF_COMMON_H

#include "proof_virtq.h"

#define publish publish_either /* each format has its own */
#include "../../lib/virtq/virtq.c"
#undef publish

#endif /* PROOF_COMMON_H */
