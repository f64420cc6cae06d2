// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Sessions, memory and queues for the commands that drive a back-end. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "feature_names.h"
#include "target.h"

/* Parts of the memory begin on pages: buffers of direct I/O must. */
#define PART_ALIGN UINT64_C(4096)

/* Huge pages, where the host has them for shared memory. */
#define MEM_ALIGN (UINT64_C(2) << 20)

static uint64_t round_up(uint64_t bytes, uint64_t align)
{
	return (bytes + align - 1) / align * align;
}

int target_open(struct target *target, const char *socket, unsigned int timeout_ms,
		uint64_t protocol_want, struct cvmm_error *err)
{
	struct cvmm_vhost_user_frontend_config config = {
		.protocol_want = protocol_want,
		.timeout_ms = timeout_ms,
	};
	int fd, r;

	*target = (struct target){ .socket = socket, .timeout_ms = timeout_ms };
	r = cvmm_vhost_user_connect(socket, TARGET_CONNECT_MS, &fd, err);
	if (!r)
		r = cvmm_vhost_user_frontend_create(&config, fd, &target->fe, err);
	if (!r)
		r = cvmm_vhost_user_frontend_negotiate(target->fe, err);
	return r;
}

void target_close(struct target *target)
{
	cvmm_vhost_user_frontend_destroy(target->fe);
	cvmm_mem_unref(target->mem);
	target->fe = NULL;
	target->mem = NULL;
}

int target_share(struct target *target, uint64_t bytes, struct cvmm_error *err)
{
	struct cvmm_mem_config config = {
		.gpa = cvmm_gpa_from(0),
		.len_bytes = round_up(bytes, MEM_ALIGN),
		.kind = CVMM_MEM_MEMFD,
		.access = CVMM_ACCESS_READ_WRITE,
		.flags = CVMM_MEM_PREFAULT | CVMM_MEM_HUGE_PAGES,
	};
	int r = cvmm_mem_create(&config, 1, &target->mem, err);

	if (r)
		return r;
	target->mem_bytes = config.len_bytes;
	return cvmm_vhost_user_frontend_set_mem(target->fe, target->mem, err);
}

int target_set_features(struct target *target, uint64_t wanted, uint64_t needed,
			struct cvmm_error *err)
{
	uint64_t offered = cvmm_vhost_user_frontend_features(target->fe), missing;

	missing = needed & ~offered;
	if (missing)
		return cvmm_fail(err, -EOPNOTSUPP, "the back-end does not offer %s",
				 feature_name(NULL, (unsigned int)__builtin_ctzll(missing)));
	target->features = (wanted | needed) & offered;
	return cvmm_vhost_user_frontend_set_features(target->fe, target->features, err);
}

cvmm_gpa target_alloc(struct target *target, uint64_t bytes)
{
	cvmm_gpa gpa = cvmm_gpa_from(target->used_bytes);

	target->used_bytes += round_up(bytes, PART_ALIGN);
	CVMM_BUG_ON(target->used_bytes > target->mem_bytes);
	return gpa;
}

void *target_ptr(const struct target *target, cvmm_gpa gpa, uint64_t bytes)
{
	void *host = cvmm_mem_ptr(target->mem, gpa, bytes, CVMM_ACCESS_READ_WRITE);

	CVMM_BUG_ON(!host);
	return host;
}

/* ---- queues -------------------------------------------------------------------------------------- */

/* An indirect table of three descriptors: what a request of any kind here needs. */
#define TABLE_ENTRIES 4U

static struct cvmm_virtq_driver_config ring_config(const struct target *target, uint16_t size)
{
	return (struct cvmm_virtq_driver_config){
		.size = size,
		.packed = target_has(target, CVMM_VIRTIO_F_RING_PACKED),
		.event_idx = target_has(target, CVMM_VIRTIO_F_EVENT_IDX),
		.indirect = target_has(target, CVMM_VIRTIO_F_INDIRECT_DESC),
		.in_order = target_has(target, CVMM_VIRTIO_F_IN_ORDER),
		.table_entries = TABLE_ENTRIES,
	};
}

uint64_t target_queue_bytes(uint16_t size)
{
	struct cvmm_virtq_driver_config split = { .size = size,
						  .indirect = true,
						  .table_entries = TABLE_ENTRIES };
	struct cvmm_virtq_driver_config packed = split;
	uint64_t a, b;

	packed.packed = true;
	CVMM_BUG_ON(cvmm_virtq_driver_layout(&split, cvmm_gpa_from(0), &a) ||
		    cvmm_virtq_driver_layout(&packed, cvmm_gpa_from(0), &b));
	return round_up(a > b ? a : b, PART_ALIGN);
}

static int make_rings(struct target_queue *queue, struct cvmm_virtq_driver_config *config,
		      struct cvmm_error *err)
{
	struct target *target = queue->target;
	uint64_t bytes;
	int r = cvmm_virtq_driver_layout(config, cvmm_gpa_from(0), &bytes);

	if (r)
		return cvmm_fail(err, r, "a queue cannot have %u entries", config->size);
	r = cvmm_virtq_driver_layout(config, target_alloc(target, bytes), &bytes);
	CVMM_BUG_ON(r);
	return cvmm_virtq_driver_init(&queue->drv, target->mem, config, err);
}

static int make_fds(struct target_queue *queue, struct cvmm_error *err)
{
	queue->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	queue->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (queue->kick < 0 || queue->call < 0)
		return cvmm_fail(err, -errno, "cannot make an event descriptor: %s",
				 strerror(errno));
	return 0;
}

int target_queue_start(struct target_queue *queue, struct target *target, unsigned int index,
		       uint16_t size, struct cvmm_error *err)
{
	struct cvmm_virtq_driver_config config = ring_config(target, size);
	struct cvmm_vhost_user_queue q = { .index = index,
					   .base = CVMM_VIRTQ_BASE_START,
					   .err_fd = -1 };
	int r;

	*queue = (struct target_queue){
		.target = target, .index = index, .size = size, .kick = -1, .call = -1
	};
	r = make_rings(queue, &config, err);
	if (!r)
		r = make_fds(queue, err);
	if (r)
		return r;
	q.config = (struct cvmm_virtq_config){
		.size = size,
		.desc = config.desc,
		.avail = config.driver_area,
		.used = config.device_area,
		.packed = config.packed,
		.event_idx = config.event_idx,
		.indirect = config.indirect,
		.in_order = config.in_order,
	};
	q.kick_fd = queue->kick;
	q.call_fd = queue->call;
	r = cvmm_vhost_user_frontend_start_queue(target->fe, &q, err);
	queue->started = r == 0;
	return r;
}

void target_queue_stop(struct target_queue *queue)
{
	struct cvmm_virtq_base base;

	if (!queue->target)
		return;
	if (queue->started)
		(void)cvmm_vhost_user_frontend_stop_queue(queue->target->fe, queue->index, false,
							  &base, NULL);
	cvmm_virtq_driver_fini(&queue->drv);
	cvmm_close_fd(&queue->kick);
	cvmm_close_fd(&queue->call);
	queue->target = NULL;
}

void target_queue_kick(struct target_queue *queue)
{
	uint64_t one = 1;

	if (!cvmm_virtq_driver_should_kick(&queue->drv))
		return;
	queue->kicks++;
	/* A counter that is full has been kicked enough. */
	(void)!write(queue->kick, &one, sizeof(one));
}

bool target_queue_wait(struct target_queue *queue, int timeout_ms)
{
	struct pollfd p = { .fd = queue->call, .events = POLLIN };
	uint64_t count;

	if (poll(&p, 1, timeout_ms) <= 0)
		return false;
	return read(queue->call, &count, sizeof(count)) == sizeof(count);
}
