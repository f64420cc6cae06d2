/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_RUN_DOCTOR_H
#define CVMM_RUN_DOCTOR_H

/* `cvmm doctor`: what this host can do. Return: 0 if guests can run here, else 1. */
int cvmm_doctor_main(char **argv);

#endif /* CVMM_RUN_DOCTOR_H */
