// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * A block device over vhost-user, for tests with QEMU that need a device whose front-end can migrate, and
 * that writes to a guest's page cache. Images are not locked: both ends of a migration have the same one.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

#include <cvmm/blk.h>
#include <cvmm/daemon.h>

struct blk_daemon {
	const char *image;
	int fd;
	struct cvmm_blk *blk;
};

static int open_image(void *ctx, unsigned int sockets, struct cvmm_error *err)
{
	struct blk_daemon *d = ctx;

	(void)sockets;
	if (!d->image)
		return cvmm_fail(err, -EINVAL, "--image: name one");
	d->fd = open(d->image, O_RDWR | O_CLOEXEC);
	return d->fd < 0 ? cvmm_fail(err, -errno, "%s: %s", d->image, strerror(errno)) : 0;
}

static int create(void *ctx, unsigned int index, struct cvmm_vhost_user_backend_config *config,
		  struct cvmm_error *err)
{
	struct blk_daemon *d = ctx;
	struct cvmm_blk_config blk = {
		.fd = d->fd, .path = d->image, .no_lock = true, .log = config->log
	};
	int r = cvmm_blk_create(&blk, &d->blk, err);

	(void)index;
	config->ops = &cvmm_blk_ops;
	config->dev = d->blk;
	config->offer = CVMM_VIRTIO_RING_FEATURES_ALL;
	return r;
}

static void destroy(void *ctx, unsigned int index)
{
	struct blk_daemon *d = ctx;

	(void)index;
	cvmm_blk_destroy(d->blk);
}

/* What storage needs besides what all daemons do. */
static const long syscalls[] = { SYS_fsync, SYS_fdatasync, SYS_fallocate };

int main(int argc, char **argv)
{
	struct blk_daemon d = { .fd = -1 };
	const struct cvmm_daemon_option options[] = {
		{ .name = "image", .value = "FILE", .text = &d.image, .help = "the disk" },
	};
	const struct cvmm_daemon_program program = {
		.size = sizeof(program),
		.name = "test-blk",
		.version = "0",
		.summary = "Serves a disk image to tests.",
		.type = "block",
		.options = options,
		.option_count = CVMM_ARRAY_SIZE(options),
		.threads = true,
		.syscalls = syscalls,
		.syscall_count = CVMM_ARRAY_SIZE(syscalls),
		.open = open_image,
		.create = create,
		.destroy = destroy,
	};
	int status = cvmm_daemon_main(&program, &d, argc, argv);

	cvmm_close_fd(&d.fd);
	return status;
}
