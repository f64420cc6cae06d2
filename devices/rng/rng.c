// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The entropy device, VIRTIO 1.3, 5.4.
 *
 * Theory of operation: everything runs on the loop. A kick serves a bounded number of chains, each
 * with a bounded number of bytes; where more is left a timer of no delay continues in the next
 * round, so that other devices get their turn. When a source is dry or the limit of the rate is
 * reached, the chain is put back and the device waits for the descriptor or a timer instead of
 * blocking.
 *
 * Bytes pass through a buffer of ours: while a machine migrates by post-copy, a page of the guest may
 * be missing, and only an access in user mode may be allowed to wait for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rng_internal.h"

#define RNG_QUEUES 1U
#define RNG_CHAINS_PER_ROUND 64U
#define RNG_RETRY_NS (UINT64_C(100) * CVMM_NS_PER_MS)
#define RNG_BUFFER_BYTES 4096U

struct cvmm_rng {
	/* constant after creation */
	struct cvmm_virtio_config_space space; /* of no bytes */
	uint16_t queue_size;
	size_t iov_max;
	int fd; /* -1: getrandom() */
	const struct cvmm_log *log;

	/* loop */
	struct cvmm_virtio_host *host; /* NULL while not started */
	struct cvmm_loop *loop;
	struct cvmm_virtq *vq;
	struct cvmm_source *again; /* timer: continue in a later round */
	struct cvmm_source *dry;   /* fd source: wait for random bytes, or NULL */
	bool fd_ended;		   /* the descriptor gave its last byte; getrandom() took over */
	bool waiting;		   /* for the timer, which a kick does not shorten */
	uint64_t wait_ns; /* how long it is worth to wait; 0: until the descriptor is ready */
	struct rng_rate rate;
	struct cvmm_log_limit log_limit;
	struct iovec iov[]; /* @iov_max: some buffers may touch two regions of memory */
};

static void serve(struct cvmm_rng *rng);

/* ---- sources of bytes ---------------------------------------------------------------------- */

/* Up to @len bytes, at least one. -EAGAIN if there are none now. */
static ssize_t read_fd(struct cvmm_rng *rng, void *buf, size_t len)
{
	struct pollfd p = { .fd = rng->fd, .events = POLLIN };
	ssize_t n;

	/* A descriptor that somebody else may have left in blocking mode. */
	rng->wait_ns = 0;
	if (poll(&p, 1, 0) == 0)
		return -EAGAIN;
	do
		n = read(rng->fd, buf, len);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return -ENODATA;
	/* Devices that cannot be polled count as ready: /dev/hwrng. */
	if (n < 0 && errno == EAGAIN)
		rng->wait_ns = RNG_RETRY_NS;
	return n < 0 ? -errno : n;
}

static ssize_t read_random(struct cvmm_rng *rng, void *buf, size_t len)
{
	ssize_t n;

	rng->wait_ns = RNG_RETRY_NS;
	if (rng->fd < 0 || rng->fd_ended)
		return rng_host_read(buf, len);
	n = read_fd(rng, buf, len);
	if (n > 0 || n == -EAGAIN)
		return n;
	/* A guest that waits for entropy for ever is worse than another good source. */
	cvmm_log(rng->log, CVMM_LOG_ERROR, "rng: entropy source failed (%s); using getrandom",
		 n == -ENODATA ? "end of file" : strerror((int)-n));
	rng->fd_ended = true;
	rng->wait_ns = RNG_RETRY_NS;
	return rng_host_read(buf, len);
}

/* Fill the chain's first @len bytes. Return: how many, or -EAGAIN if not even one. */
static ssize_t fill(struct cvmm_rng *rng, const struct cvmm_virtq_chain *chain, size_t len)
{
	uint8_t bytes[RNG_BUFFER_BYTES];
	ssize_t n = 0;
	size_t done = 0;

	while (done < len) {
		n = read_random(rng, bytes,
				len - done < sizeof(bytes) ? len - done : sizeof(bytes));
		if (n < 0)
			break;
		done += cvmm_iov_copy_to(chain->writable, chain->writable_count, done, bytes,
					 (size_t)n);
	}
	/* What a guest makes keys of stays in no other place. */
	explicit_bzero(bytes, sizeof(bytes));
	return done || !len ? (ssize_t)done : n;
}

/* How many of the bytes that a request wants it gets now. Return: them, or -EAGAIN. */
static ssize_t limit(struct cvmm_rng *rng, size_t wanted)
{
	uint64_t now_ns = cvmm_clock_ns();
	size_t grant = wanted < CVMM_RNG_GRANT_BYTES ? wanted : CVMM_RNG_GRANT_BYTES;

	rng->wait_ns = rng_rate_wait_ns(&rng->rate, grant, now_ns);
	if (rng->wait_ns)
		return -EAGAIN;
	return (ssize_t)rng_rate_available(&rng->rate, wanted);
}

/* ---- the queue ----------------------------------------------------------------------------- */

static void stop_waiting(struct cvmm_rng *rng)
{
	cvmm_source_remove(rng->dry);
	rng->dry = NULL;
	rng->waiting = false;
	if (rng->again)
		cvmm_timer_disarm(rng->again);
}

static void on_again(void *ctx)
{
	serve(ctx);
}

static void on_random_bytes(void *ctx, int fd, unsigned int events)
{
	(void)fd;
	(void)events;
	serve(ctx);
}

static void wait_for_bytes(struct cvmm_rng *rng)
{
	if (!rng->wait_ns &&
	    !cvmm_loop_add_fd(rng->loop, rng->fd, CVMM_EVENT_READ, on_random_bytes, rng, &rng->dry))
		return;
	rng->waiting = true;
	cvmm_timer_arm(rng->again, rng->wait_ns ? rng->wait_ns : RNG_RETRY_NS, 0);
}

static void break_queue(struct cvmm_rng *rng)
{
	cvmm_log_limited(rng->log, &rng->log_limit, CVMM_LOG_WARN, "rng: queue is broken: %s",
			 cvmm_virtq_violation_name(cvmm_virtq_violation(rng->vq)));
	rng->host->ops->needs_reset(rng->host);
}

/*
 * Serve one chain. Readable pieces, which a driver must not add (5.4.6.1), are ignored. Return: 1
 * if a chain was given back, 0 if there was none, -EAGAIN if it has to wait, -EBUSY if it is not
 * translated yet, -EPROTO.
 */
static int serve_one(struct cvmm_rng *rng)
{
	struct cvmm_virtq_chain chain;
	int r = cvmm_virtq_pop(rng->vq, rng->iov, rng->iov_max, &chain);
	ssize_t len;

	if (r != 1)
		return r == -EAGAIN ? -EBUSY : r;
	len = limit(rng, chain.writable_bytes < CVMM_RNG_REQUEST_BYTES_MAX
				 ? chain.writable_bytes
				 : CVMM_RNG_REQUEST_BYTES_MAX);
	if (len >= 0)
		len = fill(rng, &chain, (size_t)len);
	if (len < 0) {
		r = cvmm_virtq_rewind(rng->vq, chain.head);
		return r ? r : -EAGAIN;
	}
	rng_rate_take(&rng->rate, (size_t)len);
	r = cvmm_virtq_push_chain(rng->vq, &chain, (uint32_t)len);
	return r ? r : 1;
}

/* Return: as serve_one(), for the call that ended the round. */
static int serve_round(struct cvmm_rng *rng)
{
	unsigned int served = 0;
	int r;

	cvmm_virtq_disable_notifications(rng->vq);
	do {
		r = serve_one(rng);
		served += r == 1;
		if (r == 0 && cvmm_virtq_enable_notifications(rng->vq)) {
			cvmm_virtq_disable_notifications(rng->vq);
			r = 1;
		}
	} while (r == 1 && served < RNG_CHAINS_PER_ROUND);
	if (served && cvmm_virtq_should_notify(rng->vq))
		rng->host->ops->notify(rng->host, 0);
	return r;
}

static void serve(struct cvmm_rng *rng)
{
	int r;

	stop_waiting(rng);
	if (!cvmm_virtq_is_started(rng->vq))
		return;
	r = serve_round(rng);
	if (r == 1)
		cvmm_timer_arm(rng->again, 0, 0);
	else if (r == -EAGAIN)
		wait_for_bytes(rng);
	else if (r && r != -EBUSY) /* the translation comes with a kick */
		break_queue(rng);
}

/* ---- the device ---------------------------------------------------------------------------- */

static unsigned int rng_queue_count(void *dev)
{
	(void)dev;
	return RNG_QUEUES;
}

static uint16_t rng_queue_size_max(void *dev, unsigned int queue)
{
	const struct cvmm_rng *rng = dev;

	(void)queue;
	return rng->queue_size;
}

static uint64_t rng_features(void *dev)
{
	(void)dev;
	return 0;
}

static struct cvmm_virtio_config_space *rng_config_space(void *dev)
{
	struct cvmm_rng *rng = dev;

	return &rng->space;
}

static int rng_start(void *dev, const struct cvmm_virtio_start *start, struct cvmm_error *err)
{
	struct cvmm_rng *rng = dev;
	int r = cvmm_loop_add_timer(start->loop, on_again, rng, &rng->again);

	if (r)
		return cvmm_fail(err, r, "rng: cannot make a timer: %s", strerror(-r));
	rng->host = start->host;
	rng->loop = start->loop;
	rng->vq = &start->queues[0];
	return 0;
}

static void rng_kick(void *dev, unsigned int queue)
{
	struct cvmm_rng *rng = dev;

	/* While the device waits the wait goes on: a guest cannot make us poll by kicking. */
	if (queue < RNG_QUEUES && rng->host && !rng->dry && !rng->waiting)
		serve(rng);
}

static void rng_stop(void *dev)
{
	struct cvmm_rng *rng = dev;

	stop_waiting(rng);
	cvmm_source_remove(rng->again);
	rng->again = NULL;
	rng->host = NULL;
	rng->loop = NULL;
	rng->vq = NULL;
}

static void rng_queue_stop(void *dev, unsigned int queue)
{
	(void)queue;
	stop_waiting(dev);
}

static void rng_queue_start(void *dev, unsigned int queue)
{
	(void)dev; /* nothing is kept between chains */
	(void)queue;
}

const struct cvmm_virtio_device_ops cvmm_rng_ops = {
	.size = sizeof(cvmm_rng_ops),
	.name = "rng",
	.device_id = CVMM_VIRTIO_ID_ENTROPY,
	.queue_count = rng_queue_count,
	.queue_size_max = rng_queue_size_max,
	.features = rng_features,
	.config_space = rng_config_space,
	.start = rng_start,
	.kick = rng_kick,
	.stop = rng_stop,
	.queue_stop = rng_queue_stop,
	.queue_start = rng_queue_start,
};

/* ---- creation ------------------------------------------------------------------------------ */

static int take_source(struct cvmm_rng *rng, int fd, struct cvmm_error *err)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat st;

	if (flags < 0 || fstat(fd, &st))
		return cvmm_fail(err, -errno, "entropy source: %s", strerror(errno));
	if ((flags & O_ACCMODE) == O_WRONLY)
		return cvmm_fail(err, -EBADF, "entropy source is not open for reading");
	if (S_ISDIR(st.st_mode))
		return cvmm_fail(err, -EINVAL, "entropy source is a directory");
	rng->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (rng->fd < 0)
		return cvmm_fail(err, -errno, "entropy source: %s", strerror(errno));
	return 0;
}

static int check_config(const struct cvmm_rng_config *config, struct cvmm_error *err)
{
	if (config->max_bytes && (!config->period_ms || config->period_ms > CVMM_RNG_PERIOD_MS_MAX))
		return cvmm_fail(err, -EINVAL, "rng: a period of %u ms is not from 1 to %u",
				 config->period_ms, CVMM_RNG_PERIOD_MS_MAX);
	if (config->queue_size &&
	    (!cvmm_is_pow2(config->queue_size) || config->queue_size > CVMM_RNG_QUEUE_SIZE_MAX))
		return cvmm_fail(err, -EINVAL, "rng: a queue of %u is no power of two up to %u",
				 config->queue_size, CVMM_RNG_QUEUE_SIZE_MAX);
	return 0;
}

int cvmm_rng_create(const struct cvmm_rng_config *config, struct cvmm_rng **ret_rng,
		    struct cvmm_error *err)
{
	uint16_t size = config->queue_size ? config->queue_size : CVMM_RNG_QUEUE_SIZE_DEFAULT;
	size_t iov_max = 2 * (size_t)size;
	int r = check_config(config, err);
	struct cvmm_rng *rng;

	if (r)
		return r;
	rng = calloc(1, sizeof(*rng) + iov_max * sizeof(rng->iov[0]));
	if (!rng)
		return cvmm_fail(err, -ENOMEM, "rng: out of memory");
	rng->queue_size = size;
	rng->iov_max = iov_max;
	rng->fd = -1;
	rng_rate_init(&rng->rate, config->max_bytes, config->period_ms, cvmm_clock_ns());
	rng->log = config->log;
	r = cvmm_virtio_config_space_init(&rng->space, NULL, 0);
	if (r) {
		free(rng);
		return cvmm_fail(err, r, "rng: %s", strerror(-r));
	}
	if (config->fd >= 0) {
		r = take_source(rng, config->fd, err);
		if (r) {
			cvmm_rng_destroy(rng);
			return r;
		}
	}
	*ret_rng = rng;
	return 0;
}

void cvmm_rng_destroy(struct cvmm_rng *rng)
{
	if (!rng)
		return;
	cvmm_close_fd(&rng->fd);
	cvmm_virtio_config_space_fini(&rng->space);
	free(rng);
}
