// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Devices: opening, ownership, features. */
#include <fcntl.h>
#include <sys/ioctl.h>

#include "vhost_internal.h"

int cvmm_vhost_ioctl(int fd, unsigned long request, void *arg)
{
	int ret;

	do {
		ret = ioctl(fd, request, arg);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : ret;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* What there is to know of a kind of device before it is opened. */
struct kind {
	const char *path;
	const char *module;
};

static const struct kind kinds[] = {
	[CVMM_VHOST_NET] = { "/dev/vhost-net", "vhost_net" },
	[CVMM_VHOST_VSOCK] = { "/dev/vhost-vsock", "vhost_vsock" },
	[CVMM_VHOST_SCSI] = { "/dev/vhost-scsi", "vhost_scsi" },
	[CVMM_VHOST_VDPA] = { NULL, "vhost_vdpa" },
};

static int explain_open_failure(enum cvmm_vhost_kind kind, const char *path, int error,
				struct cvmm_error *err)
{
	/* A node without a driver behind it fails with the latter two. */
	if (error == ENOENT || error == ENODEV || error == ENXIO)
		return cvmm_fail(err, -error, "there is no %s: load %s (modprobe)%s", path,
				 kinds[kind].module,
				 kind == CVMM_VHOST_VDPA
					 ? ", and make a device (vdpa dev add) if there is none"
					 : "");
	if (error == EACCES || error == EPERM)
		return cvmm_fail(err, -error,
				 "no permission for %s: run as its owner, or let your user in "
				 "(setfacl -m u:USER:rw %s)",
				 path, path);
	if (error == EBUSY)
		return cvmm_fail(err, -error,
				 "%s is in use: only one program at a time can have it", path);
	return cvmm_fail(err, -error, "cannot open %s: %s", path, strerror(error));
}

/* All kinds tell their features at any time, and nothing else answers this ioctl. */
static int check_opened(const struct cvmm_vhost *vhost, const char *path, struct cvmm_error *err)
{
	uint64_t features;
	int version, ret = cvmm_vhost_get_features(vhost, &features);

	if (ret)
		return cvmm_fail(err, ret, "%s is no vhost device: %s", path, strerror(-ret));
	if (vhost->kind != CVMM_VHOST_SCSI)
		return 0;
	ret = cvmm_vhost_scsi_get_abi_version(vhost, &version);
	if (ret)
		return cvmm_fail(err, ret, "%s is no vhost-scsi: %s", path, strerror(-ret));
	if (version > VHOST_SCSI_ABI_VERSION)
		return cvmm_fail(err, -ENOTSUP, "%s speaks version %d of the interface, not %d",
				 path, version, VHOST_SCSI_ABI_VERSION);
	return 0;
}

int cvmm_vhost_open(struct cvmm_vhost *ret_vhost, enum cvmm_vhost_kind kind, const char *path,
		    struct cvmm_error *err)
{
	struct cvmm_vhost vhost = { .kind = kind };
	int ret;

	if ((unsigned int)kind >= CVMM_ARRAY_SIZE(kinds))
		return cvmm_fail(err, -EINVAL, "vhost: there is no kind %d of device", (int)kind);
	path = path ? path : kinds[kind].path;
	if (!path)
		return cvmm_fail(err, -EINVAL,
				 "vhost: name the vDPA device, e.g. /dev/vhost-vdpa-0");
	vhost.fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (vhost.fd < 0)
		return explain_open_failure(kind, path, errno, err);
	ret = check_opened(&vhost, path, err);
	if (ret) {
		cvmm_vhost_close(&vhost);
		return ret;
	}
	*ret_vhost = vhost;
	return 0;
}

void cvmm_vhost_close(struct cvmm_vhost *vhost)
{
	cvmm_close_fd(&vhost->fd);
	*vhost = CVMM_VHOST_NONE;
}

/* ---- ownership ------------------------------------------------------------------------------- */

/*
 * For ioctls that need no owner: a kernel that does not know them takes them for some that do, and
 * says that this process is not.
 */
static int if_known(int ret)
{
	return ret == -EPERM ? -ENOTTY : ret;
}

int cvmm_vhost_set_owner(const struct cvmm_vhost *vhost)
{
	return vhost_ioctl_none(vhost, VHOST_SET_OWNER);
}

int cvmm_vhost_reset_owner(struct cvmm_vhost *vhost)
{
	int ret = vhost_ioctl_none(vhost, VHOST_RESET_OWNER);

	if (!ret)
		vhost->backend_features = 0;
	return ret;
}

int cvmm_vhost_set_fork_from_owner(const struct cvmm_vhost *vhost, uint8_t mode)
{
	return if_known(
		vhost_ioctl_set(vhost, CVMM_VHOST_SET_FORK_FROM_OWNER, &mode, sizeof(mode)));
}

int cvmm_vhost_get_fork_from_owner(const struct cvmm_vhost *vhost, uint8_t *ret_mode)
{
	return if_known(vhost_ioctl_get(vhost, CVMM_VHOST_GET_FORK_FROM_OWNER, ret_mode,
					sizeof(*ret_mode)));
}

/* ---- features -------------------------------------------------------------------------------- */

int cvmm_vhost_get_features(const struct cvmm_vhost *vhost, uint64_t *ret_features)
{
	return vhost_ioctl_get(vhost, VHOST_GET_FEATURES, ret_features, sizeof(*ret_features));
}

int cvmm_vhost_set_features(const struct cvmm_vhost *vhost, uint64_t features)
{
	return vhost_ioctl_set(vhost, VHOST_SET_FEATURES, &features, sizeof(features));
}

/* struct vhost_features_array with its words. */
struct features_array {
	struct cvmm_vhost_features_array header;
	uint64_t words[CVMM_VHOST_FEATURES_WORDS_MAX];
};

static int features_ioctl(const struct cvmm_vhost *vhost, unsigned long request,
			  struct features_array *array, size_t count)
{
	int ret;

	if (!count)
		return -EINVAL;
	if (count > CVMM_VHOST_FEATURES_WORDS_MAX)
		return -E2BIG;
	array->header.count = count;
	ret = if_known(cvmm_vhost_ioctl(vhost->fd, request, array));
	/* A kernel that does not know it takes the count for the number of a queue. */
	return ret == -ENOBUFS ? -ENOTTY : ret;
}

int cvmm_vhost_get_features_array(const struct cvmm_vhost *vhost, uint64_t *ret_words, size_t count)
{
	struct features_array array = { 0 };
	int ret = features_ioctl(vhost, CVMM_VHOST_GET_FEATURES_ARRAY, &array, count);

	if (ret < 0)
		return ret;
	memcpy(ret_words, array.words, count * sizeof(*ret_words));
	return 0;
}

int cvmm_vhost_set_features_array(const struct cvmm_vhost *vhost, const uint64_t *words,
				  size_t count)
{
	struct features_array array = { 0 };

	if (count <= CVMM_VHOST_FEATURES_WORDS_MAX)
		memcpy(array.words, words, count * sizeof(*words));
	return features_ioctl(vhost, CVMM_VHOST_SET_FEATURES_ARRAY, &array, count);
}

int cvmm_vhost_get_backend_features(const struct cvmm_vhost *vhost, uint64_t *ret_features)
{
	return vhost_ioctl_get(vhost, VHOST_GET_BACKEND_FEATURES, ret_features,
			       sizeof(*ret_features));
}

int cvmm_vhost_set_backend_features(struct cvmm_vhost *vhost, uint64_t features)
{
	int ret = vhost_ioctl_set(vhost, VHOST_SET_BACKEND_FEATURES, &features, sizeof(features));

	if (!ret)
		vhost->backend_features = features;
	return ret;
}
