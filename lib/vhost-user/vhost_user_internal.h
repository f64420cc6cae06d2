/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What the connections of this component share: reads and writes of a Unix stream socket, with
 * descriptors.
 */
#ifndef VHOST_USER_INTERNAL_H
#define VHOST_USER_INTERNAL_H

#include <cvmm/vhost-user.h>

/*
 * Whether @fd is a connected Unix stream socket; makes it close-on-exec. Return: 0; -ENOTSOCK or
 * -EINVAL with a message. Owner: @fd stays the caller's.
 */
int cvmm_vhost_user_socket_check(int fd, struct cvmm_error *err);

/**
 * cvmm_vhost_user_socket_read() - one read, which does not block
 * @iov: @iov_count pieces; at least a byte
 * @begins: a message begins here. Only then may descriptors come.
 * @fds: where they go, close-on-exec
 * @ret_fd_count: how many came, also with some failures; not changed if @begins is false. The
 *                caller closes them.
 *
 * Return: bytes, not 0; -EAGAIN without a message; -ECONNRESET if the peer closed the connection;
 * -EPROTO if descriptors came where they must not, or more than there is room for; or what the read
 * failed with.
 */
ssize_t cvmm_vhost_user_socket_read(int fd, struct iovec *iov, size_t iov_count, bool begins,
				    int fds[CVMM_VHOST_USER_FDS_MAX], uint32_t *ret_fd_count,
				    struct cvmm_error *err);

/* One write, which does not block, with @fd_count descriptors. Return: bytes, or negative errno. */
ssize_t cvmm_vhost_user_socket_write(int fd, struct iovec *iov, size_t iov_count, const int *fds,
				     size_t fd_count);

#endif /* VHOST_USER_INTERNAL_H */
