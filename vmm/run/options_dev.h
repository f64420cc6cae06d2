/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Devices of the command line: --dev KIND[,NAME=VALUE...]. */
#ifndef CVMM_RUN_OPTIONS_DEV_H
#define CVMM_RUN_OPTIONS_DEV_H

#include <cvmm/base.h>

/**
 * struct cvmm_run_dev - a device that another program serves
 * @device_id: of virtio
 * @module: the guest's driver, or NULL if it is not known
 * @socket: of the program
 * @queues: 0: not given
 * @queue_size: 0: not given
 * @has_config_size: @config_size was given
 * @reconnect_s: how long to wait for another program after one has died
 */
struct cvmm_run_dev {
	uint32_t device_id;
	const char *module;
	const char *socket;
	unsigned int queues;
	uint16_t queue_size;
	bool has_config_size;
	uint32_t config_size;
	unsigned int reconnect_s;
};

/**
 * cvmm_run_dev_parse() - read the value of --dev
 * @value: is cut into pieces, which *ret_dev points to; two commas are one that does not cut
 *
 * Return: 0, or -EINVAL with a message.
 */
int cvmm_run_dev_parse(char *value, struct cvmm_run_dev *ret_dev, struct cvmm_error *err);

#endif /* CVMM_RUN_OPTIONS_DEV_H */
