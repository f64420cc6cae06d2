/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* A small device of any kind that the suite knows, for test_backend.c. */
#ifndef CVMM_DRIVE_TEST_DEVICE_H
#define CVMM_DRIVE_TEST_DEVICE_H

#include <stdbool.h>

#include <cvmm/vhost-user_backend.h>
#include <cvmm/virtio.h>

struct test_device;

extern const struct cvmm_virtio_device_ops test_device_ops;
extern const struct cvmm_vhost_user_backend_ops test_device_extra;

/* @flags: D_ODD_LENGTH, D_BROKEN_DEVICE, D_SCRIBBLE. Aborts if it cannot. */
struct test_device *test_device_create(const char *kind, uint32_t flags);

#endif /* CVMM_DRIVE_TEST_DEVICE_H */
