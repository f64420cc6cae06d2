// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* vDPA devices. */
#include <stdlib.h>

#include "vhost_internal.h"

/* ---- the device ------------------------------------------------------------------------------ */

int cvmm_vhost_vdpa_get_device_id(const struct cvmm_vhost *vhost, uint32_t *ret_id)
{
	return vhost_ioctl_get(vhost, VHOST_VDPA_GET_DEVICE_ID, ret_id, sizeof(*ret_id));
}

int cvmm_vhost_vdpa_get_status(const struct cvmm_vhost *vhost, uint8_t *ret_status)
{
	return vhost_ioctl_get(vhost, VHOST_VDPA_GET_STATUS, ret_status, sizeof(*ret_status));
}

int cvmm_vhost_vdpa_set_status(const struct cvmm_vhost *vhost, uint8_t status)
{
	return vhost_ioctl_set(vhost, VHOST_VDPA_SET_STATUS, &status, sizeof(status));
}

/* struct vhost_vdpa_config with its bytes. */
struct config {
	uint32_t off;
	uint32_t len;
	uint8_t data[CVMM_VHOST_VDPA_CONFIG_MAX];
};

_Static_assert(offsetof(struct config, data) == offsetof(struct vhost_vdpa_config, buf),
	       "linux/vhost_types.h");

int cvmm_vhost_vdpa_get_config(const struct cvmm_vhost *vhost, uint32_t offset, void *ret_data,
			       uint32_t len_bytes)
{
	struct config config = { .off = offset, .len = len_bytes };
	int ret;

	if (!len_bytes || len_bytes > sizeof(config.data))
		return -EINVAL;
	ret = cvmm_vhost_ioctl(vhost->fd, VHOST_VDPA_GET_CONFIG, &config);
	if (ret < 0)
		return ret;
	memcpy(ret_data, config.data, len_bytes);
	return 0;
}

int cvmm_vhost_vdpa_set_config(const struct cvmm_vhost *vhost, uint32_t offset, const void *data,
			       uint32_t len_bytes)
{
	struct config config = { .off = offset, .len = len_bytes };

	if (!len_bytes || len_bytes > sizeof(config.data))
		return -EINVAL;
	memcpy(config.data, data, len_bytes);
	return cvmm_vhost_ioctl(vhost->fd, VHOST_VDPA_SET_CONFIG, &config);
}

int cvmm_vhost_vdpa_get_config_size(const struct cvmm_vhost *vhost, uint32_t *ret_bytes)
{
	return vhost_ioctl_get(vhost, VHOST_VDPA_GET_CONFIG_SIZE, ret_bytes, sizeof(*ret_bytes));
}

int cvmm_vhost_vdpa_set_config_call(const struct cvmm_vhost *vhost, int fd)
{
	return vhost_ioctl_set(vhost, VHOST_VDPA_SET_CONFIG_CALL, &fd, sizeof(fd));
}

int cvmm_vhost_vdpa_suspend(const struct cvmm_vhost *vhost)
{
	return vhost_ioctl_none(vhost, VHOST_VDPA_SUSPEND);
}

int cvmm_vhost_vdpa_resume(const struct cvmm_vhost *vhost)
{
	return vhost_ioctl_none(vhost, CVMM_VHOST_VDPA_RESUME);
}

/* ---- queues ---------------------------------------------------------------------------------- */

int cvmm_vhost_vdpa_get_vqs_count(const struct cvmm_vhost *vhost, uint32_t *ret_count)
{
	return vhost_ioctl_get(vhost, VHOST_VDPA_GET_VQS_COUNT, ret_count, sizeof(*ret_count));
}

int cvmm_vhost_vdpa_get_vring_num(const struct cvmm_vhost *vhost, uint16_t *ret_num)
{
	return vhost_ioctl_get(vhost, VHOST_VDPA_GET_VRING_NUM, ret_num, sizeof(*ret_num));
}

int cvmm_vhost_vdpa_get_vring_size(const struct cvmm_vhost *vhost, uint32_t index,
				   uint32_t *ret_num)
{
	return vhost_vring_get(vhost, CVMM_VHOST_VDPA_GET_VRING_SIZE, index, ret_num);
}

int cvmm_vhost_vdpa_set_vring_enable(const struct cvmm_vhost *vhost, uint32_t index, bool on)
{
	return vhost_vring_set(vhost, VHOST_VDPA_SET_VRING_ENABLE, index, on);
}

/* ---- groups and address spaces --------------------------------------------------------------- */

int cvmm_vhost_vdpa_get_group_num(const struct cvmm_vhost *vhost, uint32_t *ret_count)
{
	return vhost_ioctl_get(vhost, VHOST_VDPA_GET_GROUP_NUM, ret_count, sizeof(*ret_count));
}

int cvmm_vhost_vdpa_get_as_num(const struct cvmm_vhost *vhost, uint32_t *ret_count)
{
	return vhost_ioctl_get(vhost, VHOST_VDPA_GET_AS_NUM, ret_count, sizeof(*ret_count));
}

int cvmm_vhost_vdpa_get_vring_group(const struct cvmm_vhost *vhost, uint32_t index,
				    uint32_t *ret_group)
{
	return vhost_vring_get(vhost, VHOST_VDPA_GET_VRING_GROUP, index, ret_group);
}

int cvmm_vhost_vdpa_get_vring_desc_group(const struct cvmm_vhost *vhost, uint32_t index,
					 uint32_t *ret_group)
{
	return vhost_vring_get(vhost, CVMM_VHOST_VDPA_GET_VRING_DESC_GROUP, index, ret_group);
}

int cvmm_vhost_vdpa_set_group_asid(const struct cvmm_vhost *vhost, uint32_t group, uint32_t asid)
{
	return vhost_vring_set(vhost, VHOST_VDPA_SET_GROUP_ASID, group, asid);
}

/* ---- memory ---------------------------------------------------------------------------------- */

int cvmm_vhost_vdpa_get_iova_range(const struct cvmm_vhost *vhost,
				   struct vhost_vdpa_iova_range *ret_range)
{
	struct vhost_vdpa_iova_range range = { 0 };
	int ret = cvmm_vhost_ioctl(vhost->fd, VHOST_VDPA_GET_IOVA_RANGE, &range);

	if (ret < 0)
		return ret;
	*ret_range = range;
	return 0;
}

int cvmm_vhost_vdpa_dma_map(const struct cvmm_vhost *vhost, uint32_t asid, uint64_t iova,
			    uint64_t len_bytes, void *host, enum cvmm_access access)
{
	return cvmm_vhost_iotlb_update(vhost, asid, iova, len_bytes, host, access);
}

int cvmm_vhost_vdpa_dma_unmap(const struct cvmm_vhost *vhost, uint32_t asid, uint64_t iova,
			      uint64_t len_bytes)
{
	return cvmm_vhost_iotlb_invalidate(vhost, asid, iova, len_bytes);
}

static int check_iova_range(const struct cvmm_vhost *vhost, const struct vhost_region *regions,
			    size_t count, struct cvmm_error *err)
{
	struct vhost_vdpa_iova_range range;
	int ret = cvmm_vhost_vdpa_get_iova_range(vhost, &range);

	if (ret)
		return cvmm_fail(err, ret, "vDPA: the device does not say what it can address: %s",
				 strerror(-ret));
	for (size_t i = 0; i < count; i++) {
		uint64_t last = regions[i].gpa + (regions[i].len_bytes - 1);

		if (regions[i].gpa < range.first || last > range.last)
			return cvmm_fail(
				err, -ERANGE,
				"vDPA: the device can address 0x%llx to 0x%llx, and "
				"memory is at 0x%llx to 0x%llx",
				(unsigned long long)range.first, (unsigned long long)range.last,
				(unsigned long long)regions[i].gpa, (unsigned long long)last);
	}
	return 0;
}

static void unmap_regions(const struct cvmm_vhost *vhost, uint32_t asid,
			  const struct vhost_region *regions, size_t count)
{
	while (count-- > 0)
		cvmm_vhost_vdpa_dma_unmap(vhost, asid, regions[count].gpa,
					  regions[count].len_bytes);
}

static int map_regions(const struct cvmm_vhost *vhost, uint32_t asid,
		       const struct vhost_region *regions, size_t count, struct cvmm_error *err)
{
	for (size_t i = 0; i < count; i++) {
		const struct vhost_region *r = &regions[i];
		int ret = cvmm_vhost_vdpa_dma_map(vhost, asid, r->gpa, r->len_bytes, r->host,
						  r->access);

		if (!ret)
			continue;
		unmap_regions(vhost, asid, regions, i);
		return cvmm_fail(err, ret,
				 "vDPA: the kernel refuses to map 0x%llx bytes at 0x%llx, address "
				 "space %u (%s): mapped already? above the limit of locked memory "
				 "(ulimit -l)?",
				 (unsigned long long)r->len_bytes, (unsigned long long)r->gpa, asid,
				 strerror(-ret));
	}
	return 0;
}

/* All regions; as a batch if the device takes batches. What was begun is ended whatever happens. */
static int map_all(const struct cvmm_vhost *vhost, uint32_t asid,
		   const struct vhost_region *regions, size_t count, struct cvmm_error *err)
{
	bool is_batch = cvmm_vhost_has_backend_feature(vhost, VHOST_BACKEND_F_IOTLB_BATCH);
	int end, ret = is_batch ? cvmm_vhost_iotlb_batch_begin(vhost, asid) : 0;

	if (ret)
		return cvmm_fail(err, ret, "vDPA: the kernel refuses a batch for address space %u",
				 asid);
	ret = map_regions(vhost, asid, regions, count, err);
	end = is_batch ? cvmm_vhost_iotlb_batch_end(vhost, asid) : 0;
	if (ret || !end)
		return ret;
	unmap_regions(vhost, asid, regions, count);
	return cvmm_fail(err, end, "vDPA: the kernel does not end the batch for address space %u",
			 asid);
}

int cvmm_vhost_vdpa_map_mem(const struct cvmm_vhost *vhost, uint32_t asid,
			    const struct cvmm_mem *mem, struct cvmm_error *err)
{
	struct vhost_region *regions = calloc(CVMM_MEM_REGIONS_MAX, sizeof(*regions));
	size_t count;
	int ret;

	if (!regions)
		return cvmm_fail(err, -ENOMEM, "vDPA: no memory for a list of regions");
	ret = vhost_regions_of(mem, regions, &count, err);
	if (!ret)
		ret = check_iova_range(vhost, regions, count, err);
	if (!ret)
		ret = map_all(vhost, asid, regions, count, err);
	free(regions);
	return ret;
}

int cvmm_vhost_vdpa_unmap_mem(const struct cvmm_vhost *vhost, uint32_t asid,
			      const struct cvmm_mem *mem)
{
	int first = 0;

	for (size_t i = 0; i < cvmm_mem_region_count(mem); i++) {
		const struct cvmm_mem_region *region = cvmm_mem_region_at(mem, i);
		int ret = cvmm_vhost_vdpa_dma_unmap(vhost, asid, region->gpa, region->len_bytes);

		if (ret && !first)
			first = ret;
	}
	return first;
}
