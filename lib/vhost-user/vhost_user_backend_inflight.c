// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The back-end: the region where chains in flight are noted, which outlives this process with the
 * front-end. What is in a queue's part of it is the business of virtq.
 *
 * Spec: vhost-user, "Inflight I/O tracking".
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vhost_user_backend_internal.h"

void vu_inflight_reset(struct cvmm_vhost_user_backend *b)
{
	for (unsigned int i = 0; i < b->queue_count; i++) {
		b->queues[i].inflight = NULL;
		b->queues[i].inflight_bytes = 0;
	}
	if (b->inflight)
		munmap(b->inflight, b->inflight_bytes);
	b->inflight = NULL;
	b->inflight_bytes = 0;
}

/* The description of a region, from either form of the payload, with numbers that can be. */
static int parse(const struct cvmm_vhost_user_backend *b, const struct cvmm_vhost_user_msg *msg,
		 struct cvmm_vhost_user_inflight *ret_inflight, struct cvmm_error *err)
{
	struct cvmm_vhost_user_inflight inflight = { 0 };

	memcpy(&inflight, msg->payload, CVMM_VHOST_USER_INFLIGHT_SIZE_PACKED);
	if (!inflight.queue_count || inflight.queue_count > b->queue_count)
		return cvmm_fail(err, -EINVAL, "there are %u queues, not %u", b->queue_count,
				 inflight.queue_count);
	if (!inflight.queue_size || inflight.queue_size > CVMM_VIRTQ_SIZE_MAX)
		return cvmm_fail(err, -EINVAL, "queues cannot have %u entries",
				 inflight.queue_size);
	*ret_inflight = inflight;
	return 0;
}

static uint64_t part_bytes(const struct cvmm_vhost_user_backend *b,
			   const struct cvmm_vhost_user_inflight *inflight)
{
	return cvmm_virtq_inflight_bytes(inflight->queue_size,
					 vu_has_feature(b, CVMM_VIRTIO_F_RING_PACKED));
}

/* A file of zeroes to share. Whoever maps it here is done with it when this returns. */
static int make_file(uint64_t bytes, int *ret_fd, struct cvmm_error *err)
{
	struct cvmm_mem_config config = { .kind = CVMM_MEM_MEMFD,
					  .access = CVMM_ACCESS_READ_WRITE };
	struct cvmm_mem *mem;
	int r, fd;

	if (!cvmm_align_up_u64(bytes, (uint64_t)sysconf(_SC_PAGESIZE), &config.len_bytes))
		return cvmm_fail(err, -EINVAL, "the region would be too long");
	r = cvmm_mem_create(&config, 1, &mem, err);
	if (r)
		return r;
	fd = fcntl(cvmm_mem_region_at(mem, 0)->fd, F_DUPFD_CLOEXEC, 0);
	r = fd < 0 ? cvmm_fail(err, -errno, "%s", strerror(errno)) : 0;
	cvmm_mem_unref(mem);
	if (!r)
		*ret_fd = fd;
	return r;
}

int vu_get_inflight_fd(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		       struct vu_reply *reply, struct cvmm_error *err)
{
	struct cvmm_vhost_user_inflight inflight;
	int r = parse(b, msg, &inflight, err);

	if (r)
		return r;
	inflight.mmap_offset = 0;
	inflight.mmap_size = inflight.queue_count * part_bytes(b, &inflight);
	r = make_file(inflight.mmap_size, &reply->fd, err);
	if (r)
		return r;
	memcpy(msg->payload, &inflight, sizeof(inflight));
	reply->bytes = msg->payload;
	reply->len_bytes = sizeof(inflight);
	return 0;
}

int vu_set_inflight_fd(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		       struct vu_reply *reply, struct cvmm_error *err)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), part, end;
	struct cvmm_vhost_user_inflight inflight;
	struct stat st;
	void *region;
	int r = parse(b, msg, &inflight, err);

	(void)reply;
	if (r)
		return r;
	part = part_bytes(b, &inflight);
	if (inflight.mmap_size < part * inflight.queue_count ||
	    inflight.mmap_size > (uint64_t)1 << 32 || inflight.mmap_offset % page ||
	    !cvmm_add_u64(inflight.mmap_offset, inflight.mmap_size, &end))
		return cvmm_fail(err, -EINVAL,
				 "a region of %llu bytes at offset %llu cannot be for %u queues "
				 "of %u entries",
				 (unsigned long long)inflight.mmap_size,
				 (unsigned long long)inflight.mmap_offset, inflight.queue_count,
				 inflight.queue_size);
	if (fstat(msg->fds[0], &st) || !S_ISREG(st.st_mode) || (uint64_t)st.st_size < end)
		return cvmm_fail(err, -EINVAL, "the region's file ends before it does");
	for (unsigned int i = 0; i < b->queue_count; i++) {
		if (b->queues[i].running)
			return cvmm_fail(err, -EBUSY, "queue %u runs: stop it first", i);
	}
	region = mmap(NULL, inflight.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, msg->fds[0],
		      (off_t)inflight.mmap_offset);
	if (region == MAP_FAILED)
		return cvmm_fail(err, -errno, "cannot map the region: %s", strerror(errno));
	vu_inflight_reset(b);
	b->inflight = region;
	b->inflight_bytes = inflight.mmap_size;
	for (unsigned int i = 0; i < inflight.queue_count; i++) {
		b->queues[i].inflight = (uint8_t *)region + i * part;
		b->queues[i].inflight_bytes = part;
	}
	return vu_queues_try_run(b, err);
}
