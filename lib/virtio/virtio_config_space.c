// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>

#include <cvmm/virtio.h>

int cvmm_virtio_config_space_init(struct cvmm_virtio_config_space *space, const void *bytes,
				  size_t len_bytes)
{
	int r;

	if (len_bytes > CVMM_VIRTIO_CONFIG_BYTES_MAX)
		return -EINVAL;
	memset(space, 0, sizeof(*space));
	r = pthread_mutex_init(&space->lock, NULL);
	if (r)
		return -r;
	space->len_bytes = (uint32_t)len_bytes;
	if (len_bytes)
		memcpy(space->bytes, bytes, len_bytes);
	return 0;
}

void cvmm_virtio_config_space_fini(struct cvmm_virtio_config_space *space)
{
	pthread_mutex_destroy(&space->lock);
}

void cvmm_virtio_config_space_update(struct cvmm_virtio_config_space *space, size_t offset,
				     const void *bytes, size_t len_bytes)
{
	/* The device core chose the range: it never comes from a guest. */
	CVMM_BUG_ON(!cvmm_range_inside(offset, len_bytes, space->len_bytes));
	pthread_mutex_lock(&space->lock);
	memcpy(space->bytes + offset, bytes, len_bytes);
	space->generation++;
	pthread_mutex_unlock(&space->lock);
}

void cvmm_virtio_config_space_read(struct cvmm_virtio_config_space *space, size_t offset, void *dst,
				   size_t len_bytes)
{
	uint8_t *to = dst;

	/* Few bytes: a loop that every compiler sees to be in bounds. */
	pthread_mutex_lock(&space->lock);
	for (size_t i = 0; i < len_bytes; i++) {
		bool inside = offset < space->len_bytes && i < space->len_bytes - offset;

		to[i] = inside ? space->bytes[offset + i] : 0;
	}
	pthread_mutex_unlock(&space->lock);
}

uint32_t cvmm_virtio_config_space_generation(struct cvmm_virtio_config_space *space)
{
	uint32_t generation;

	pthread_mutex_lock(&space->lock);
	generation = space->generation;
	pthread_mutex_unlock(&space->lock);
	return generation;
}
