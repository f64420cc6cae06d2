// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* What only one kind of device has: net, vsock, scsi. */
#include "vhost_internal.h"

/* ---- net ------------------------------------------------------------------------------------- */

int cvmm_vhost_net_set_backend(const struct cvmm_vhost *vhost, uint32_t index, int fd)
{
	return vhost_vring_bind(vhost, VHOST_NET_SET_BACKEND, index, fd);
}

/* ---- vsock ----------------------------------------------------------------------------------- */

int cvmm_vhost_vsock_set_guest_cid(const struct cvmm_vhost *vhost, uint64_t cid)
{
	return vhost_ioctl_set(vhost, VHOST_VSOCK_SET_GUEST_CID, &cid, sizeof(cid));
}

int cvmm_vhost_vsock_set_running(const struct cvmm_vhost *vhost, bool on)
{
	int running = on;

	return vhost_ioctl_set(vhost, VHOST_VSOCK_SET_RUNNING, &running, sizeof(running));
}

/* ---- scsi ------------------------------------------------------------------------------------ */

static int endpoint(const struct cvmm_vhost *vhost, unsigned long request, const char *wwpn,
		    uint16_t tpgt)
{
	struct vhost_scsi_target target = {
		.abi_version = VHOST_SCSI_ABI_VERSION,
		.vhost_tpgt = tpgt,
	};
	size_t len = strlen(wwpn);

	if (len >= sizeof(target.vhost_wwpn))
		return -ENAMETOOLONG;
	memcpy(target.vhost_wwpn, wwpn, len);
	return cvmm_vhost_ioctl(vhost->fd, request, &target);
}

int cvmm_vhost_scsi_set_endpoint(const struct cvmm_vhost *vhost, const char *wwpn, uint16_t tpgt)
{
	return endpoint(vhost, VHOST_SCSI_SET_ENDPOINT, wwpn, tpgt);
}

int cvmm_vhost_scsi_clear_endpoint(const struct cvmm_vhost *vhost, const char *wwpn, uint16_t tpgt)
{
	return endpoint(vhost, VHOST_SCSI_CLEAR_ENDPOINT, wwpn, tpgt);
}

int cvmm_vhost_scsi_get_abi_version(const struct cvmm_vhost *vhost, int *ret_version)
{
	return vhost_ioctl_get(vhost, VHOST_SCSI_GET_ABI_VERSION, ret_version,
			       sizeof(*ret_version));
}

int cvmm_vhost_scsi_set_events_missed(const struct cvmm_vhost *vhost, bool missed)
{
	uint32_t value = missed;

	return vhost_ioctl_set(vhost, VHOST_SCSI_SET_EVENTS_MISSED, &value, sizeof(value));
}

int cvmm_vhost_scsi_get_events_missed(const struct cvmm_vhost *vhost, bool *ret_missed)
{
	uint32_t value;
	int ret = vhost_ioctl_get(vhost, VHOST_SCSI_GET_EVENTS_MISSED, &value, sizeof(value));

	if (!ret)
		*ret_missed = value != 0;
	return ret;
}
