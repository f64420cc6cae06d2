// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Starting and stopping queues.
 *
 * Theory of operation: the order of the requests is one that all known back-ends can do with: size, base
 * (some make the queue's structures here, and need them for an inflight region), addresses (some read the
 * used ring here), call and error descriptors, and then the kick descriptor, which starts the queue.
 * Enabling follows. A kick is written at the end, for back-ends that start at the first one.
 *
 * A queue is stopped before it is disabled: a queue that runs and is disabled has its requests thrown away.
 */
#include <poll.h>
#include <unistd.h>

#include <cvmm/virtio.h>

#include "vhost_user_frontend_internal.h"

#define DESC_BYTES 16U
#define SPLIT_DRIVER_BYTES(size) (6 + 2 * (uint64_t)(size))
#define SPLIT_DEVICE_BYTES(size) (6 + 8 * (uint64_t)(size))
#define PACKED_EVENT_BYTES 4U

#define SPLIT_USED_INDEX_AT 2U

#define PACKED_INDEX_MASK 0x7fffU
#define PACKED_WRAP 0x8000U

/* ---- addresses ----------------------------------------------------------------------------------- */

/* One of the three parts of a queue. */
struct area {
	const char *name;
	cvmm_gpa gpa;
	uint64_t len_bytes;
	uint64_t align;
	enum cvmm_access access;
};

static void areas_of(const struct cvmm_virtq_config *config, struct area ret[3])
{
	bool packed = config->packed;
	uint16_t size = config->size;

	ret[0] = (struct area){ packed ? "descriptor ring" : "descriptor table", config->desc,
				DESC_BYTES * (uint64_t)size, 16,
				packed ? CVMM_ACCESS_READ_WRITE : CVMM_ACCESS_READ };
	ret[1] = (struct area){ packed ? "driver area" : "available ring", config->avail,
				packed ? PACKED_EVENT_BYTES : SPLIT_DRIVER_BYTES(size),
				packed ? 4 : 2, CVMM_ACCESS_READ };
	ret[2] = (struct area){ packed ? "device area" : "used ring", config->used,
				packed ? PACKED_EVENT_BYTES : SPLIT_DEVICE_BYTES(size), 4,
				CVMM_ACCESS_WRITE };
}

/*
 * What the back-end calls the address of an area: an I/O virtual address behind an IOMMU, which it asks
 * for when it needs it; a guest-physical one; or one of this process.
 */
static int area_address(const struct cvmm_vhost_user_frontend *fe, const struct cvmm_mem *mem,
			const struct area *area, uint64_t *ret_addr, struct cvmm_error *err)
{
	uint64_t end;
	void *host;

	if (area->gpa.addr & (area->align - 1))
		return cvmm_fail(err, -EINVAL, "the %s at 0x%llx is not a multiple of %llu",
				 area->name, (unsigned long long)area->gpa.addr,
				 (unsigned long long)area->align);
	if (frontend_acked(fe, CVMM_VIRTIO_F_ACCESS_PLATFORM)) {
		if (!cvmm_add_u64(area->gpa.addr, area->len_bytes - 1, &end))
			return cvmm_fail(err, -EINVAL, "the %s would end above 2^64", area->name);
		*ret_addr = area->gpa.addr;
		return 0;
	}
	host = mem ? cvmm_mem_ptr(mem, area->gpa, area->len_bytes, area->access) : NULL;
	if (!host)
		return cvmm_fail(err, -EINVAL,
				 "the %s, %llu bytes at 0x%llx, is not in the memory shared",
				 area->name, (unsigned long long)area->len_bytes,
				 (unsigned long long)area->gpa.addr);
	*ret_addr = frontend_has(fe, CVMM_VHOST_USER_PROTOCOL(GPA_ADDRESSES))
			    ? area->gpa.addr
			    : (uint64_t)(uintptr_t)host;
	return 0;
}

static int check_base(const struct cvmm_vhost_user_queue *queue, struct cvmm_error *err)
{
	const struct cvmm_virtq_base *base = &queue->base;

	if (queue->config.packed &&
	    (base->next_avail >= queue->config.size || base->next_used >= queue->config.size))
		return cvmm_fail(err, -EINVAL, "queue %u: it cannot begin at %u and %u of %u",
				 queue->index, base->next_avail, base->next_used,
				 queue->config.size);
	return 0;
}

int frontend_queue_check(const struct cvmm_vhost_user_frontend *fe, const struct cvmm_mem *mem,
			 const struct cvmm_vhost_user_queue *queue, struct cvmm_error *err)
{
	const struct cvmm_virtq_config *config = &queue->config;
	struct area areas[3];
	uint64_t ignored;
	int r;

	if (!config->size || config->size > CVMM_VIRTQ_SIZE_MAX ||
	    (!config->packed && !cvmm_is_pow2(config->size)))
		return cvmm_fail(err, -EINVAL, "queue %u: %u entries are no size of a %s queue",
				 queue->index, config->size, config->packed ? "packed" : "split");
	if (config->packed != frontend_acked(fe, CVMM_VIRTIO_F_RING_PACKED))
		return cvmm_fail(err, -EINVAL,
				 "queue %u is %s, which is not what the driver acknowledged",
				 queue->index, config->packed ? "packed" : "split");
	r = check_base(queue, err);
	areas_of(config, areas);
	for (unsigned int i = 0; i < 3 && !r; i++) {
		r = area_address(fe, mem, &areas[i], &ignored, err);
		if (r)
			(void)cvmm_error_prefix(err, "queue %u", queue->index);
	}
	return r;
}

int frontend_queue_send_addr(struct cvmm_vhost_user_frontend *fe,
			     const struct cvmm_vhost_user_queue *queue, struct cvmm_error *err)
{
	struct cvmm_vhost_user_vring_addr addr = {
		.index = queue->index,
		.flags = fe->logging ? CVMM_VHOST_USER_VRING_F_LOG : 0,
		.log = queue->config.used.addr,
	};
	struct area areas[3];
	int r;

	areas_of(&queue->config, areas);
	r = area_address(fe, fe->mem, &areas[0], &addr.desc, err);
	if (!r)
		r = area_address(fe, fe->mem, &areas[1], &addr.avail, err);
	if (!r)
		r = area_address(fe, fe->mem, &areas[2], &addr.used, err);
	if (r)
		return r;
	return frontend_tell(fe, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0, err);
}

/* ---- bases --------------------------------------------------------------------------------------- */

static uint32_t encode_base(const struct cvmm_virtq_base *base, bool packed)
{
	uint32_t avail, used;

	if (!packed)
		return base->next_avail;
	avail = base->next_avail | (base->avail_wrap ? PACKED_WRAP : 0);
	used = base->next_used | (base->used_wrap ? PACKED_WRAP : 0);
	return avail | used << 16;
}

static void decode_packed_half(uint32_t half, uint16_t *ret_index, bool *ret_wrap)
{
	*ret_index = (uint16_t)(half & PACKED_INDEX_MASK);
	*ret_wrap = half & PACKED_WRAP;
}

/*
 * What GET_VRING_BASE told. Some back-ends tell the first half only of a packed queue's base: where nothing
 * is in flight the second is the same. Return: false for what cannot be.
 */
static bool decode_base(uint32_t num, const struct cvmm_virtq_config *config, bool drained,
			struct cvmm_virtq_base *ret_base)
{
	struct cvmm_virtq_base base = { 0 };

	if (!config->packed) {
		base.next_avail = base.next_used = (uint16_t)num;
		*ret_base = base;
		return num <= UINT16_MAX;
	}
	if (drained && !(num >> 16))
		num |= num << 16;
	decode_packed_half(num & 0xffff, &base.next_avail, &base.avail_wrap);
	decode_packed_half(num >> 16, &base.next_used, &base.used_wrap);
	*ret_base = base;
	return base.next_avail < config->size && base.next_used < config->size;
}

bool frontend_queue_used_index(const struct cvmm_vhost_user_frontend *fe,
			       const struct cvmm_vhost_user_queue *queue, uint16_t *ret_used)
{
	return !queue->config.packed && !frontend_acked(fe, CVMM_VIRTIO_F_ACCESS_PLATFORM) &&
	       fe->mem &&
	       cvmm_mem_load_u16(fe->mem, cvmm_gpa_add(queue->config.used, SPLIT_USED_INDEX_AT),
				 __ATOMIC_ACQUIRE, ret_used) == 0;
}

int frontend_queue_send_base(struct cvmm_vhost_user_frontend *fe, unsigned int index,
			     const struct cvmm_virtq_base *base, struct cvmm_error *err)
{
	struct cvmm_vhost_user_vring_state state = {
		.index = index,
		.num = encode_base(base, frontend_acked(fe, CVMM_VIRTIO_F_RING_PACKED)),
	};

	return frontend_tell(fe, CVMM_VHOST_USER_SET_VRING_BASE, &state, sizeof(state), NULL, 0,
			     err);
}

static int get_base(struct cvmm_vhost_user_frontend *fe, const struct cvmm_vhost_user_queue *queue,
		    bool skip_drain, struct cvmm_virtq_base *ret_base, struct cvmm_error *err)
{
	uint32_t request = skip_drain ? CVMM_VHOST_USER_GET_VRING_BASE_SKIP_DRAIN
				      : CVMM_VHOST_USER_GET_VRING_BASE;
	struct cvmm_vhost_user_vring_state state = { .index = queue->index };
	struct cvmm_vhost_user_msg answer;
	int r = frontend_ask(fe, request, &state, sizeof(state), NULL, 0, &answer, err);

	if (r)
		return r;
	memcpy(&state, answer.payload, sizeof(state));
	cvmm_vhost_user_msg_fini(&answer);
	if (state.index != queue->index)
		return frontend_violated(fe, err, "GET_VRING_BASE: told of queue %u instead of %u",
					 state.index, queue->index);
	if (!decode_base(state.num, &queue->config, !skip_drain, ret_base))
		return frontend_violated(fe, err, "GET_VRING_BASE: queue %u cannot be at 0x%x",
					 queue->index, state.num);
	return 0;
}

/* ---- starting ------------------------------------------------------------------------------------ */

static int tell_state(struct cvmm_vhost_user_frontend *fe, uint32_t request, unsigned int index,
		      uint32_t num, struct cvmm_error *err)
{
	struct cvmm_vhost_user_vring_state state = { .index = index, .num = num };

	return frontend_tell(fe, request, &state, sizeof(state), NULL, 0, err);
}

int frontend_queue_send_place(struct cvmm_vhost_user_frontend *fe,
			      const struct cvmm_vhost_user_queue *queue, struct cvmm_error *err)
{
	const struct frontend_queue *known = &fe->queues[queue->index];
	int r = tell_state(fe, CVMM_VHOST_USER_SET_VRING_NUM, queue->index, queue->config.size,
			   err);

	if (!r)
		r = frontend_queue_send_base(fe, queue->index, &queue->base, err);
	if (!r && known->endian_known)
		r = tell_state(fe, CVMM_VHOST_USER_SET_VRING_ENDIAN, queue->index, known->big, err);
	if (!r)
		r = frontend_queue_send_addr(fe, queue, err);
	return r;
}

/* A descriptor of a queue, or that there is none. */
static int tell_fd(struct cvmm_vhost_user_frontend *fe, uint32_t request, unsigned int index,
		   int fd, struct cvmm_error *err)
{
	uint64_t value = index | (fd < 0 ? CVMM_VHOST_USER_VRING_NO_FD : 0);

	return frontend_tell(fe, request, &value, sizeof(value), &fd, fd < 0 ? 0 : 1, err);
}

static int tell_err_fd(struct cvmm_vhost_user_frontend *fe,
		       const struct cvmm_vhost_user_queue *queue, struct cvmm_error *err)
{
	struct frontend_queue *known = &fe->queues[queue->index];
	int r;

	if (queue->err_fd < 0 && !known->has_err_fd)
		return 0;
	r = tell_fd(fe, CVMM_VHOST_USER_SET_VRING_ERR, queue->index, queue->err_fd, err);
	if (!r)
		known->has_err_fd = queue->err_fd >= 0;
	return r;
}

static bool can_enable(const struct cvmm_vhost_user_frontend *fe)
{
	return fe->offered >> CVMM_VHOST_USER_F_PROTOCOL_FEATURES & 1;
}

/*
 * The first kick. A peer shares the counter and could fill it, so that a write would wait for it: then
 * it has been kicked enough. What is no eventfd and cannot be written to is the reading end of a pipe,
 * which the caller kicks at the other end.
 */
static void kick(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	uint64_t one = 1;

	if (poll(&p, 1, 0) == 1 && p.revents & POLLOUT)
		(void)!write(fd, &one, sizeof(one));
}

int frontend_queue_send_start(struct cvmm_vhost_user_frontend *fe,
			      const struct cvmm_vhost_user_queue *queue, bool enable,
			      struct cvmm_error *err)
{
	bool inband = frontend_has(fe, CVMM_VHOST_USER_PROTOCOL(INBAND_NOTIFICATIONS));
	int r = 0;

	if (queue->call_fd >= 0 || !inband)
		r = tell_fd(fe, CVMM_VHOST_USER_SET_VRING_CALL, queue->index, queue->call_fd, err);
	if (!r)
		r = tell_err_fd(fe, queue, err);
	if (!r && (queue->kick_fd >= 0 || !inband))
		r = tell_fd(fe, CVMM_VHOST_USER_SET_VRING_KICK, queue->index, queue->kick_fd, err);
	if (!r && can_enable(fe))
		r = tell_state(fe, CVMM_VHOST_USER_SET_VRING_ENABLE, queue->index, enable, err);
	if (!r && queue->kick_fd < 0 && inband)
		r = tell_state(fe, CVMM_VHOST_USER_VRING_KICK, queue->index, 0, err);
	if (!r)
		r = frontend_settle(fe, err);
	if (!r && queue->kick_fd >= 0)
		kick(queue->kick_fd);
	return r;
}

/* Numbers above this do not fit the messages that descriptors come with: they would be another queue's. */
static int check_index(unsigned int index, struct cvmm_error *err)
{
	if (index < CVMM_VHOST_USER_QUEUES_MAX)
		return 0;
	return cvmm_fail(err, -EINVAL, "queue %u: the last one can be %u", index,
			 CVMM_VHOST_USER_QUEUES_MAX - 1);
}

/* A queue of which the back-end refused a part must not be left running. */
static int place_and_start(struct cvmm_vhost_user_frontend *fe,
			   const struct cvmm_vhost_user_queue *queue, struct cvmm_error *err)
{
	struct cvmm_virtq_base ignored;
	int r = frontend_queue_send_place(fe, queue, err);

	if (r)
		return r;
	r = frontend_queue_send_start(fe, queue, true, err);
	if (r == -EREMOTEIO)
		(void)get_base(fe, queue, false, &ignored, NULL);
	return r;
}

/*
 * The number is not held against that of GET_QUEUE_NUM, which for some back-ends is one of pairs of
 * queues.
 */
int cvmm_vhost_user_frontend_start_queue(struct cvmm_vhost_user_frontend *fe,
					 const struct cvmm_vhost_user_queue *queue,
					 struct cvmm_error *err)
{
	struct frontend_queue *known;
	int r = check_index(queue->index, err);

	if (r)
		return r;
	known = &fe->queues[queue->index];
	if (known->started)
		return cvmm_fail(err, -EBUSY, "queue %u is started already", queue->index);
	if (!fe->features_set)
		return cvmm_fail(err, -EINVAL, "queue %u: no features were set yet", queue->index);
	r = frontend_queue_check(fe, fe->mem, queue, err);
	if (r)
		return r;
	r = place_and_start(fe, queue, err);
	/* A back-end that died meanwhile may have served some of it. */
	if (r && !cvmm_vhost_user_frontend_is_lost(fe))
		return r;
	known->queue = *queue;
	known->started = known->enabled = true;
	return r;
}

/* ---- stopping ------------------------------------------------------------------------------------ */

int cvmm_vhost_user_frontend_stop_queue(struct cvmm_vhost_user_frontend *fe, unsigned int index,
					bool skip_drain, struct cvmm_virtq_base *ret_base,
					struct cvmm_error *err)
{
	struct frontend_queue *known;
	struct cvmm_virtq_base base;
	struct cvmm_error why = { 0 };
	int r = check_index(index, err);

	if (r)
		return r;
	known = &fe->queues[index];
	if (!known->started)
		return cvmm_fail(err, -EINVAL, "queue %u is not started", index);
	r = get_base(fe, &known->queue, skip_drain, &base, err);
	if (r)
		return r;
	(void)frontend_queue_used_index(fe, &known->queue, &base.next_used);
	known->started = false;
	/* It is stopped: what becomes of this one does not change that. */
	if (can_enable(fe) && tell_state(fe, CVMM_VHOST_USER_SET_VRING_ENABLE, index, 0, &why))
		cvmm_log(fe->config.log, CVMM_LOG_WARN, "vhost-user: queue %u: %s", index,
			 why.message);
	known->enabled = false;
	*ret_base = base;
	return 0;
}

/* ---- single requests about queues ---------------------------------------------------------------- */

int cvmm_vhost_user_frontend_set_enable(struct cvmm_vhost_user_frontend *fe, unsigned int queue,
					bool enable, struct cvmm_error *err)
{
	int r = check_index(queue, err);

	if (r)
		return r;
	if (!can_enable(fe))
		return cvmm_fail(err, -EOPNOTSUPP,
				 "SET_VRING_ENABLE: the back-end has no protocol features");
	r = tell_state(fe, CVMM_VHOST_USER_SET_VRING_ENABLE, queue, enable, err);
	if (!r)
		fe->queues[queue].enabled = enable;
	return r;
}

int cvmm_vhost_user_frontend_kick(struct cvmm_vhost_user_frontend *fe, unsigned int queue,
				  struct cvmm_error *err)
{
	int r = check_index(queue, err);

	return r ? r : tell_state(fe, CVMM_VHOST_USER_VRING_KICK, queue, 0, err);
}

int cvmm_vhost_user_frontend_set_vring_endian(struct cvmm_vhost_user_frontend *fe,
					      unsigned int queue, bool big, struct cvmm_error *err)
{
	int r = check_index(queue, err);

	if (!r)
		r = tell_state(fe, CVMM_VHOST_USER_SET_VRING_ENDIAN, queue, big, err);
	if (r)
		return r;
	fe->queues[queue].endian_known = true;
	fe->queues[queue].big = big;
	return 0;
}
