/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm rng: the entropy device (VIRTIO 1.3, 5.4).
 *
 * One queue. Every writable buffer is filled with random bytes, at most CVMM_RNG_REQUEST_BYTES_MAX
 * for each; the driver is told how many it got. A limit of the rate delays requests, never the loop.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_RNG_H
#define CVMM_RNG_H

#include <cvmm/virtio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CVMM_RNG_QUEUE_SIZE_DEFAULT 64U
#define CVMM_RNG_QUEUE_SIZE_MAX 1024U

/* The most random bytes that one request gets, however long its buffer is. */
#define CVMM_RNG_REQUEST_BYTES_MAX 65536U

/* The longest period of a limit. */
#define CVMM_RNG_PERIOD_MS_MAX 65536U

/* With a limit a request waits until it can have so many bytes, or all if it asks for less. */
#define CVMM_RNG_GRANT_BYTES 64U

/* In cvmm_rng_config.fd: take the bytes from getrandom(). */
#define CVMM_RNG_GETRANDOM (-1)

/**
 * struct cvmm_rng_config - what an entropy device needs
 * @fd: where the bytes come from: CVMM_RNG_GETRANDOM, or a readable file or device, of which the
 *      device keeps a duplicate. While it has no bytes the device waits without holding up the
 *      loop; when it ends or fails, getrandom() takes over, with a log line. Devices whose
 *      descriptors are duplicates of one another never get the same bytes.
 * @max_bytes: how many bytes the driver gets in @period_ms, as a bucket of so many that is refilled
 *             evenly; 0 for no limit
 * @period_ms: from 1 to CVMM_RNG_PERIOD_MS_MAX; unused without a limit
 * @queue_size: largest queue that a driver may have, a power of two up to CVMM_RNG_QUEUE_SIZE_MAX; 0
 *              for CVMM_RNG_QUEUE_SIZE_DEFAULT
 * @log: where messages go, or NULL
 */
struct cvmm_rng_config {
	int fd;
	const struct cvmm_log *log;
	uint64_t max_bytes;
	uint32_t period_ms;
	uint16_t queue_size;
};

struct cvmm_rng;

/**
 * cvmm_rng_create() - make an entropy device
 * @ret_rng: the device; give it to a transport together with cvmm_rng_ops
 *
 * Return: 0, -EBADF or -EINVAL for a source that cannot be read or numbers that cannot be, or -ENOMEM,
 * with a message.
 * Context: any thread. Owner: pair with cvmm_rng_destroy().
 */
CVMM_API int cvmm_rng_create(const struct cvmm_rng_config *config, struct cvmm_rng **ret_rng,
			     struct cvmm_error *err);

/* After the transport that drives the device was destroyed. NULL is allowed. */
CVMM_API void cvmm_rng_destroy(struct cvmm_rng *rng);

/* The device core; its state is a struct cvmm_rng. */
CVMM_API extern const struct cvmm_virtio_device_ops cvmm_rng_ops;

#ifdef __cplusplus
}
#endif

#endif /* CVMM_RNG_H */
