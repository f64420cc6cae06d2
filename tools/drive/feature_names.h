/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_DRIVE_FEATURE_NAMES_H
#define CVMM_DRIVE_FEATURE_NAMES_H

/* The name of a feature bit, with the device's own where its kind is known; or NULL. */
const char *feature_name(const char *device, unsigned int bit);

/* Whether it is a kind of device that feature_name() knows. */
int feature_knows_device(const char *device);

#endif /* CVMM_DRIVE_FEATURE_NAMES_H */
