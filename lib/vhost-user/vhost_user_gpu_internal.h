/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What both ends of the GPU protocol share. */
#ifndef VHOST_USER_GPU_INTERNAL_H
#define VHOST_USER_GPU_INTERNAL_H

#include <cvmm/vhost-user_gpu.h>

#include "vhost_user_internal.h"

/* So much is read or written before the loop sees to others. */
#define GPU_BYTES_AT_ONCE (UINT64_C(1) << 20)

/* Pieces of one read or write. */
#define GPU_PIECES_MAX 64

/**
 * struct gpu_reader - a message that comes in, up to where its pixels begin
 * @fd: the socket
 * @received: bytes of @header and @payload
 * @header: as it was received
 * @fd_count: descriptors in @fds, owned by the reader
 * @payload: for 8-byte fields
 */
struct gpu_reader {
	int fd;
	size_t received;
	struct cvmm_vhost_user_header header;
	uint32_t fd_count;
	int fds[CVMM_VHOST_USER_FDS_MAX];
	uint64_t payload[(sizeof(struct cvmm_vhost_user_gpu_cursor_update) + 7) / 8];
};

/*
 * Read up to the end of the header. Return: 1 if it is there, 0 if not yet, or as
 * cvmm_vhost_user_socket_read().
 */
int cvmm_vhost_user_gpu_read_header(struct gpu_reader *reader, struct cvmm_error *err);

/*
 * The same up to the first @len bytes of the payload, which must be in the message, and have room.
 */
int cvmm_vhost_user_gpu_read_payload(struct gpu_reader *reader, size_t len, struct cvmm_error *err);

/* Begin with the next message; closes descriptors that nobody took. */
void cvmm_vhost_user_gpu_read_next(struct gpu_reader *reader);

/* Add a piece behind @count others, or lengthen the last one. Return: how many there are now. */
size_t cvmm_vhost_user_gpu_add_piece(struct iovec *iov, size_t count, const void *base, size_t len);

#endif /* VHOST_USER_GPU_INTERNAL_H */
