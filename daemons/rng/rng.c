// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* vhost-device-rng: entropy for virtual machines. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <cvmm/daemon.h>
#include <cvmm/rng.h>

struct rng_daemon {
	const char *source;
	uint64_t period_ms;
	uint64_t max_bytes;
	int fd; /* CVMM_RNG_GETRANDOM or the source */
	struct cvmm_rng *devices[CVMM_DAEMON_SOCKETS_MAX];
};

static int open_source(void *ctx, unsigned int sockets, struct cvmm_error *err)
{
	struct rng_daemon *rng = ctx;

	/* What the source can give is for all guests together. */
	if (rng->max_bytes != UINT64_MAX) {
		if (rng->max_bytes < sockets)
			return cvmm_fail(err, -EINVAL,
					 "--max-bytes: %llu is less than a byte for each of %u "
					 "sockets",
					 (unsigned long long)rng->max_bytes, sockets);
		rng->max_bytes /= sockets;
	}
	/* The same source, without a file and without a copy of its state. */
	if (strcmp(rng->source, "/dev/urandom") == 0)
		return 0;
	rng->fd = open(rng->source, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (rng->fd < 0)
		return cvmm_fail(err, -errno, "--rng-source %s: %s", rng->source, strerror(errno));
	return 0;
}

static int create_device(void *ctx, unsigned int index,
			 struct cvmm_vhost_user_backend_config *config, struct cvmm_error *err)
{
	struct rng_daemon *rng = ctx;
	struct cvmm_rng_config device = {
		.fd = rng->fd,
		.max_bytes = rng->max_bytes == UINT64_MAX ? 0 : rng->max_bytes,
		.period_ms = (uint32_t)rng->period_ms,
		.queue_size = CVMM_RNG_QUEUE_SIZE_MAX,
		.log = config->log,
	};

	int ret = cvmm_rng_create(&device, &rng->devices[index], err);

	config->ops = &cvmm_rng_ops;
	config->dev = rng->devices[index];
	/*
	 * There is no configuration space, and QEMU warns of back-ends that could read it. And QEMU's
	 * vhost-user-rng takes a back-end that was started anew for the old one: with memory slots it
	 * would not tell it about memory again, without it always does.
	 */
	config->protocol_withhold =
		CVMM_VHOST_USER_PROTOCOL(CONFIG) | CVMM_VHOST_USER_PROTOCOL(CONFIGURE_MEM_SLOTS);
	return ret;
}

static void destroy_device(void *ctx, unsigned int index)
{
	struct rng_daemon *rng = ctx;

	cvmm_rng_destroy(rng->devices[index]);
	rng->devices[index] = NULL;
}

int main(int argc, char **argv)
{
	struct rng_daemon rng = {
		.source = "/dev/urandom",
		.period_ms = CVMM_RNG_PERIOD_MS_MAX,
		.max_bytes = UINT64_MAX,
		.fd = CVMM_RNG_GETRANDOM,
	};
	const struct cvmm_daemon_option options[] = {
		{ .name = "rng-source",
		  .letter = 'f',
		  .value = "FILE",
		  .text = &rng.source,
		  .help = "where the bytes come from (default:\n"
			  "/dev/urandom); when it ends, the kernel's\n"
			  "generator takes over" },
		{ .name = "max-bytes",
		  .letter = 'm',
		  .value = "N",
		  .number = &rng.max_bytes,
		  .min = 1,
		  .max = UINT64_MAX,
		  .help = "bytes in each period, for all sockets together\n"
			  "(default: no limit)" },
		{ .name = "period",
		  .letter = 'p',
		  .value = "MS",
		  .number = &rng.period_ms,
		  .min = 1,
		  .max = CVMM_RNG_PERIOD_MS_MAX,
		  .help = "milliseconds of a period (default: 65536)" },
	};
	const struct cvmm_daemon_program program = {
		.size = sizeof(program),
		.name = "vhost-device-rng",
		.version = CVMM_VERSION,
		.summary = "Serves entropy to virtual machines, as a vhost-user device.",
		.type = "rng",
		.options = options,
		.option_count = CVMM_ARRAY_SIZE(options),
		.numbered = true,
		.open = open_source,
		.create = create_device,
		.destroy = destroy_device,
	};
	int status = cvmm_daemon_main(&program, &rng, argc, argv);

	cvmm_close_fd(&rng.fd);
	return status;
}
