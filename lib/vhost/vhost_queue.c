// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Queues.
 *
 * Theory of operation: the kernel uses a ring where it is told to, and looks only whether that is in the
 * address space of the process. Whether the guest may have it there is checked here: every byte of
 * each area through the door of the map, so that a hole in the middle is seen, and a ring that ends with
 * RAM is fine. The address that the kernel gets is the one that was checked.
 */
#include "vhost_internal.h"

/* VIRTIO 1.3, 2.7 and 2.8. */
#define DESC_SIZE 16U
#define AVAIL_HEADER_SIZE 4U
#define AVAIL_ENTRY_SIZE 2U
#define USED_HEADER_SIZE 4U
#define USED_ENTRY_SIZE 8U
#define USED_IDX_AT 2U
#define RING_EVENT_SIZE 2U
#define PACKED_EVENT_SIZE 4U
#define DESC_ALIGN 16U
#define AVAIL_ALIGN 2U
#define USED_ALIGN 4U
#define PACKED_EVENT_ALIGN 4U

#define SPLIT_BASE_MAX 0xffffU
#define PACKED_PLACE 0x7fffU
#define PACKED_WRAP 0x8000U

/* ---- ioctls ---------------------------------------------------------------------------------- */

int cvmm_vhost_set_vring_num(const struct cvmm_vhost *vhost, uint32_t index, uint32_t num)
{
	return vhost_vring_set(vhost, VHOST_SET_VRING_NUM, index, num);
}

int cvmm_vhost_set_vring_addr(const struct cvmm_vhost *vhost, const struct vhost_vring_addr *addr)
{
	struct vhost_vring_addr copy = *addr;

	return cvmm_vhost_ioctl(vhost->fd, VHOST_SET_VRING_ADDR, &copy);
}

int cvmm_vhost_set_vring_base(const struct cvmm_vhost *vhost, uint32_t index, uint32_t num)
{
	return vhost_vring_set(vhost, VHOST_SET_VRING_BASE, index, num);
}

int cvmm_vhost_get_vring_base(const struct cvmm_vhost *vhost, uint32_t index, uint32_t *ret_num)
{
	return vhost_vring_get(vhost, VHOST_GET_VRING_BASE, index, ret_num);
}

int cvmm_vhost_set_vring_kick(const struct cvmm_vhost *vhost, uint32_t index, int fd)
{
	return vhost_vring_bind(vhost, VHOST_SET_VRING_KICK, index, fd);
}

int cvmm_vhost_set_vring_call(const struct cvmm_vhost *vhost, uint32_t index, int fd)
{
	return vhost_vring_bind(vhost, VHOST_SET_VRING_CALL, index, fd);
}

int cvmm_vhost_set_vring_err(const struct cvmm_vhost *vhost, uint32_t index, int fd)
{
	return vhost_vring_bind(vhost, VHOST_SET_VRING_ERR, index, fd);
}

int cvmm_vhost_set_vring_endian(const struct cvmm_vhost *vhost, uint32_t index, bool is_big)
{
	return vhost_vring_set(vhost, VHOST_SET_VRING_ENDIAN, index,
			       is_big ? VHOST_VRING_BIG_ENDIAN : VHOST_VRING_LITTLE_ENDIAN);
}

int cvmm_vhost_get_vring_endian(const struct cvmm_vhost *vhost, uint32_t index, bool *ret_is_big)
{
	uint32_t num;
	int ret = vhost_vring_get(vhost, VHOST_GET_VRING_ENDIAN, index, &num);

	if (!ret)
		*ret_is_big = num == VHOST_VRING_BIG_ENDIAN;
	return ret;
}

int cvmm_vhost_set_vring_busyloop_timeout(const struct cvmm_vhost *vhost, uint32_t index,
					  uint32_t timeout_us)
{
	return vhost_vring_set(vhost, VHOST_SET_VRING_BUSYLOOP_TIMEOUT, index, timeout_us);
}

int cvmm_vhost_get_vring_busyloop_timeout(const struct cvmm_vhost *vhost, uint32_t index,
					  uint32_t *ret_timeout_us)
{
	return vhost_vring_get(vhost, VHOST_GET_VRING_BUSYLOOP_TIMEOUT, index, ret_timeout_us);
}

/* Workers: their arguments have the shape of a struct vhost_vring_state, or of its first half. */
int cvmm_vhost_new_worker(const struct cvmm_vhost *vhost, uint32_t *ret_id)
{
	return vhost_ioctl_get(vhost, CVMM_VHOST_NEW_WORKER, ret_id, sizeof(*ret_id));
}

int cvmm_vhost_free_worker(const struct cvmm_vhost *vhost, uint32_t id)
{
	return vhost_ioctl_set(vhost, CVMM_VHOST_FREE_WORKER, &id, sizeof(id));
}

int cvmm_vhost_attach_vring_worker(const struct cvmm_vhost *vhost, uint32_t index, uint32_t id)
{
	return vhost_vring_set(vhost, CVMM_VHOST_ATTACH_VRING_WORKER, index, id);
}

int cvmm_vhost_get_vring_worker(const struct cvmm_vhost *vhost, uint32_t index, uint32_t *ret_id)
{
	return vhost_vring_get(vhost, CVMM_VHOST_GET_VRING_WORKER, index, ret_id);
}

/* ---- bases ----------------------------------------------------------------------------------- */

static uint32_t packed_half(uint16_t place, bool wrap)
{
	return (place & PACKED_PLACE) | (wrap ? PACKED_WRAP : 0U);
}

uint32_t cvmm_vhost_base_encode(const struct cvmm_virtq_base *base, bool packed)
{
	if (!packed)
		return base->next_avail;
	return packed_half(base->next_avail, base->avail_wrap) |
	       packed_half(base->next_used, base->used_wrap) << 16;
}

int cvmm_vhost_base_decode(uint32_t num, bool packed, struct cvmm_virtq_base *ret_base)
{
	struct cvmm_virtq_base base = CVMM_VIRTQ_BASE_START;

	if (!packed) {
		if (num > SPLIT_BASE_MAX)
			return -EPROTO;
		base.next_avail = base.next_used = (uint16_t)num;
	} else {
		base.next_avail = (uint16_t)(num & PACKED_PLACE);
		base.avail_wrap = num & PACKED_WRAP;
		base.next_used = (uint16_t)(num >> 16 & PACKED_PLACE);
		base.used_wrap = num >> 16 & PACKED_WRAP;
	}
	*ret_base = base;
	return 0;
}

/* ---- checks ---------------------------------------------------------------------------------- */

/**
 * struct area - one of the three parts of a queue
 */
struct area {
	const char *name;
	cvmm_gpa gpa;
	uint64_t len;
	uint64_t align;
	enum cvmm_access access;
	uint64_t *ret_addr; /* where the kernel will find it */
};

static int area_check(const struct area *area, const struct cvmm_mem *mem, bool wants_host,
		      struct cvmm_error *err)
{
	unsigned long long gpa = area->gpa.addr, len = area->len;
	void *host;

	if (area->gpa.addr % area->align)
		return cvmm_fail(err, -EINVAL, "vhost: %s at 0x%llx is not aligned to %llu",
				 area->name, gpa, (unsigned long long)area->align);
	if (area->len - 1 > UINT64_MAX - area->gpa.addr)
		return cvmm_fail(err, -EINVAL, "vhost: %s of %llu bytes at 0x%llx ends above 2^64",
				 area->name, len, gpa);
	*area->ret_addr = area->gpa.addr;
	if (!mem || cvmm_mem_has_iommu(mem))
		return 0;
	if (cvmm_mem_check(mem, area->gpa, area->len, area->access))
		return cvmm_fail(err, -EINVAL, "vhost: %s of %llu bytes at 0x%llx is not in RAM",
				 area->name, len, gpa);
	if (!wants_host)
		return 0;
	host = cvmm_mem_ptr(mem, area->gpa, area->len, area->access);
	if (!host)
		return cvmm_fail(err, -ENOTSUP,
				 "vhost: %s of %llu bytes at 0x%llx crosses regions that are apart "
				 "in the host, or is mapped on demand",
				 area->name, len, gpa);
	*area->ret_addr = (uint64_t)(uintptr_t)host;
	return 0;
}

static int size_check(const struct cvmm_vhost_queue *queue, struct cvmm_error *err)
{
	const struct cvmm_virtq_config *ring = &queue->ring;
	uint32_t max = queue->max_size ? queue->max_size : CVMM_VIRTQ_SIZE_MAX;

	if (!ring->size || ring->size > max || ring->size > CVMM_VIRTQ_SIZE_MAX)
		return cvmm_fail(err, -EINVAL, "vhost: size %u of queue %u is not from 1 to %u",
				 ring->size, queue->index, max);
	if (!ring->packed && !cvmm_is_pow2(ring->size))
		return cvmm_fail(err, -EINVAL,
				 "vhost: size %u of queue %u is not a power of two, which split "
				 "rings need",
				 ring->size, queue->index);
	if (ring->packed &&
	    (queue->base.next_avail >= ring->size || queue->base.next_used >= ring->size))
		return cvmm_fail(err, -EINVAL,
				 "vhost: places %u and %u are not inside a packed ring of %u",
				 queue->base.next_avail, queue->base.next_used, ring->size);
	return 0;
}

int cvmm_vhost_queue_check(enum cvmm_vhost_kind kind, const struct cvmm_mem *mem,
			   const struct cvmm_vhost_queue *queue, struct vhost_vring_addr *ret_addr,
			   struct cvmm_error *err)
{
	const struct cvmm_virtq_config *ring = &queue->ring;
	uint64_t n = ring->size, desc = 0, avail = 0, used = 0;
	/* The kernel reads the used index, too. */
	const struct area areas[] = {
		{ "descriptor area", ring->desc, n * DESC_SIZE, DESC_ALIGN,
		  ring->packed ? CVMM_ACCESS_READ_WRITE : CVMM_ACCESS_READ, &desc },
		{ "driver area", ring->avail,
		  ring->packed ? PACKED_EVENT_SIZE
			       : AVAIL_HEADER_SIZE + n * AVAIL_ENTRY_SIZE + RING_EVENT_SIZE,
		  ring->packed ? PACKED_EVENT_ALIGN : AVAIL_ALIGN, CVMM_ACCESS_READ, &avail },
		{ "device area", ring->used,
		  ring->packed ? PACKED_EVENT_SIZE
			       : USED_HEADER_SIZE + n * USED_ENTRY_SIZE + RING_EVENT_SIZE,
		  ring->packed ? PACKED_EVENT_ALIGN : USED_ALIGN, CVMM_ACCESS_READ_WRITE, &used },
	};
	int ret = size_check(queue, err);

	for (size_t i = 0; !ret && i < CVMM_ARRAY_SIZE(areas); i++)
		ret = area_check(&areas[i], mem, kind != CVMM_VHOST_VDPA, err);
	if (ret)
		return ret;
	*ret_addr = (struct vhost_vring_addr){
		.index = queue->index,
		.flags = queue->log_used ? 1U << VHOST_VRING_F_LOG : 0,
		.desc_user_addr = desc,
		.used_user_addr = used,
		.avail_user_addr = avail,
		.log_guest_addr = queue->log_used ? ring->used.addr : 0,
	};
	return 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

/* Lets go of all eventfds. Return: 0, or the first error. */
static int unbind(const struct cvmm_vhost *vhost, uint32_t index)
{
	int kick = cvmm_vhost_set_vring_kick(vhost, index, CVMM_VHOST_UNBIND);
	int call = cvmm_vhost_set_vring_call(vhost, index, CVMM_VHOST_UNBIND);
	int error = cvmm_vhost_set_vring_err(vhost, index, CVMM_VHOST_UNBIND);

	return kick ? kick : call ? call : error;
}

/* What cannot be changed while the queue runs. */
static int tell_places(const struct cvmm_vhost *vhost, const struct cvmm_vhost_queue *queue,
		       const struct vhost_vring_addr *addr, const char **ret_step)
{
	uint32_t base = cvmm_vhost_base_encode(&queue->base, queue->ring.packed);
	int ret;

	*ret_step = "its size";
	ret = cvmm_vhost_set_vring_num(vhost, queue->index, queue->ring.size);
	if (ret)
		return ret;
	*ret_step = "where it is in its rings";
	ret = cvmm_vhost_set_vring_base(vhost, queue->index, base);
	if (ret)
		return ret;
	*ret_step = "its addresses";
	return cvmm_vhost_set_vring_addr(vhost, addr);
}

/* The eventfds, that of kicks last: with it the kernel may begin. */
static int bind_all(const struct cvmm_vhost *vhost, const struct cvmm_vhost_queue *queue,
		    const char **ret_step)
{
	int ret;

	*ret_step = "its eventfd for interrupts";
	ret = cvmm_vhost_set_vring_call(vhost, queue->index, queue->call_fd);
	if (ret)
		return ret;
	*ret_step = "its eventfd for errors";
	ret = cvmm_vhost_set_vring_err(vhost, queue->index, queue->err_fd);
	if (ret)
		return ret;
	*ret_step = "its eventfd for kicks";
	return cvmm_vhost_set_vring_kick(vhost, queue->index, queue->kick_fd);
}

static int bind_and_enable(const struct cvmm_vhost *vhost, const struct cvmm_vhost_queue *queue,
			   const char **ret_step)
{
	int ret = bind_all(vhost, queue, ret_step);

	if (!ret && vhost->kind == CVMM_VHOST_VDPA) {
		*ret_step = "that it is enabled";
		ret = cvmm_vhost_vdpa_set_vring_enable(vhost, queue->index, true);
	}
	if (ret)
		unbind(vhost, queue->index);
	return ret;
}

int cvmm_vhost_queue_start(const struct cvmm_vhost *vhost, const struct cvmm_mem *mem,
			   const struct cvmm_vhost_queue *queue, struct cvmm_error *err)
{
	const struct cvmm_vhost_queue q = *queue;
	struct vhost_vring_addr addr;
	const char *step;
	int ret = cvmm_vhost_queue_check(vhost->kind, mem, &q, &addr, err);

	if (ret)
		return ret;
	ret = tell_places(vhost, &q, &addr, &step);
	if (!ret)
		ret = bind_and_enable(vhost, &q, &step);
	if (!ret)
		return 0;
	return cvmm_fail(err, ret, "vhost: the kernel refuses queue %u: %s: %s", q.index, step,
			 strerror(-ret));
}

static int read_base(const struct cvmm_vhost *vhost, const struct cvmm_mem *mem,
		     const struct cvmm_vhost_queue *queue, struct cvmm_virtq_base *ret_base,
		     struct cvmm_error *err)
{
	const struct cvmm_virtq_config *ring = &queue->ring;
	struct cvmm_virtq_base base;
	uint32_t num;
	int ret = cvmm_vhost_get_vring_base(vhost, queue->index, &num);

	if (ret)
		return cvmm_fail(err, ret, "vhost: the kernel does not say where queue %u is: %s",
				 queue->index, strerror(-ret));
	ret = cvmm_vhost_base_decode(num, ring->packed, &base);
	if (!ret && ring->packed && (base.next_avail >= ring->size || base.next_used >= ring->size))
		ret = -EPROTO;
	if (ret)
		return cvmm_fail(err, ret, "vhost: the kernel says that queue %u is at 0x%x",
				 queue->index, num);
	if (!ring->packed && mem) {
		ret = cvmm_mem_load_u16(mem, cvmm_gpa_add(ring->used, USED_IDX_AT),
					__ATOMIC_ACQUIRE, &base.next_used);
		if (ret)
			return cvmm_fail(err, ret,
					 "vhost: the used index of queue %u cannot be read: %s",
					 queue->index, strerror(-ret));
	}
	*ret_base = base;
	return 0;
}

int cvmm_vhost_queue_stop(const struct cvmm_vhost *vhost, const struct cvmm_mem *mem,
			  const struct cvmm_vhost_queue *queue, struct cvmm_virtq_base *ret_base,
			  struct cvmm_error *err)
{
	struct cvmm_virtq_base base;
	int ret = read_base(vhost, mem, queue, &base, err);
	int unbound = unbind(vhost, queue->index);

	if (ret)
		return ret;
	if (unbound)
		return cvmm_fail(err, unbound, "vhost: the kernel keeps eventfds of queue %u: %s",
				 queue->index, strerror(-unbound));
	*ret_base = base;
	return 0;
}
