/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_VIRTQ_TRACE_INTERNAL_H
#define CVMM_VIRTQ_TRACE_INTERNAL_H

#include <cvmm/virtq_trace.h>

#include "virtq_internal.h"

/* Blocks of pcap-ng: draft-ietf-opsawg-pcapng, section 4. All are multiples of 4 bytes long. */
#define BLOCK_SECTION UINT32_C(0x0a0d0d0a)
#define BLOCK_INTERFACE UINT32_C(1)
#define BLOCK_PACKET UINT32_C(6)
#define BLOCK_HEAD_BYTES 8U /* type and length */
#define BLOCK_TAIL_BYTES 4U /* the length again */
#define BLOCK_ALIGN 4U
#define BYTE_ORDER_MAGIC UINT32_C(0x1a2b3c4d)
#define BYTE_ORDER_MAGIC_OTHER UINT32_C(0x4d3c2b1a)
#define SECTION_BYTES 16U /* of the body, without options */
#define SECTION_MAJOR 1U
#define INTERFACE_BYTES 8U
#define PACKET_BYTES 20U
#define OPTION_HEAD_BYTES 4U
#define OPTION_END 0U
#define OPTION_SECTION_APPLICATION 4U
#define OPTION_INTERFACE_NAME 2U
#define OPTION_INTERFACE_TSRESOL 9U
#define TSRESOL_DEFAULT 6U /* powers of ten: microseconds */
#define TSRESOL_NS 9U
#define TSRESOL_POWER_OF_2 0x80U

/* Where the fields of our header are. */
#define TRACE_AT_VERSION 0U
#define TRACE_AT_KIND 1U
#define TRACE_AT_FLAGS 2U
#define TRACE_AT_VIOLATION 3U
#define TRACE_AT_QUEUE 4U
#define TRACE_AT_HEAD 6U
#define TRACE_AT_READABLE_COUNT 8U
#define TRACE_AT_WRITABLE_COUNT 10U
#define TRACE_AT_READABLE_BYTES 12U
#define TRACE_AT_WRITABLE_BYTES 16U
#define TRACE_AT_WRITTEN_BYTES 20U
#define TRACE_AT_SNAPPED_BYTES 24U
#define TRACE_AT_LISTED 28U
#define TRACE_PIECE_BYTES 4U

/*
 * The hooks of virtq.c, called only with VIRTQ_EXTRA_TRACE. None of them fails.
 *
 * used_hold: before the chain is published, as it is the driver's afterwards; @chain may be NULL. It is
 * recorded only by used_release, once the push has worked.
 */
void cvmm_virtq_trace_available(struct cvmm_virtq *vq, const struct cvmm_virtq_chain *chain);
void cvmm_virtq_trace_used_hold(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
				const struct cvmm_virtq_chain *chain);
void cvmm_virtq_trace_used_release(struct cvmm_virtq *vq);
void cvmm_virtq_trace_used_batch(struct cvmm_virtq *vq, const struct cvmm_virtq_used *used,
				 size_t count);
void cvmm_virtq_trace_rewound(struct cvmm_virtq *vq, uint16_t head);
void cvmm_virtq_trace_violation(struct cvmm_virtq *vq, enum cvmm_virtq_violation violation,
				bool broke);

#endif /* CVMM_VIRTQ_TRACE_INTERNAL_H */
