// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The back-end: memory of the front-end, and the log of what is written to it.
 *
 * Theory of operation: each region is mapped here, from the last border of a block of its file, as files
 * of huge pages can be mapped at such borders only. The map by guest-physical addresses is made of these
 * mappings, and each lives as long as the last map, or chain in flight, that has it.
 *
 * Ring addresses are the front-end's own (user addresses), guest-physical, or behind an IOMMU. The
 * IOTLB is told user addresses, too. All of them become guest-physical when they come in: so the log, whose bits
 * stand for guest-physical pages, is right whatever is in between. An update that spans regions is cut.
 *
 * Maps have the log from the start, disabled, so that chains that were popped before logging began are
 * logged when they are given back.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vhost_user_backend_internal.h"

/* ---- mappings ---------------------------------------------------------------------------------- */

struct mapping {
	uint8_t *base;
	size_t len;
};

static void release_mapping(void *ctx)
{
	struct mapping *mapping = ctx;

	munmap(mapping->base, mapping->len);
	free(mapping);
}

static const struct cvmm_mem_ops mapping_ops = { .release = release_mapping };

/* The borders at which a file can be mapped. */
static uint64_t file_align(const struct stat *st)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t block = st->st_blksize > 0 ? (uint64_t)st->st_blksize : 0;

	return block > page && cvmm_is_pow2(block) ? block : page;
}

static int map_file(int fd, const struct cvmm_vhost_user_mem_region *wire,
		    struct mapping **ret_mapping, uint8_t **ret_host, struct cvmm_error *err)
{
	uint64_t align, skip, end, len;
	struct mapping *mapping;
	struct stat st;

	if (fstat(fd, &st))
		return cvmm_fail(err, -errno, "memory: %s", strerror(errno));
	/* The sum was checked. Beyond the end of a file there is nothing but SIGBUS. */
	end = wire->mmap_offset + wire->len_bytes;
	if (S_ISREG(st.st_mode) && (st.st_size < 0 || end > (uint64_t)st.st_size))
		return cvmm_fail(
			err, -EINVAL,
			"the file of a memory region has %lld bytes, less than its end %llu",
			(long long)st.st_size, (unsigned long long)end);
	align = file_align(&st);
	skip = wire->mmap_offset & (align - 1);
	if (!cvmm_align_up_u64(skip + wire->len_bytes, align, &len) || len > SIZE_MAX)
		return cvmm_fail(err, -EINVAL, "a memory region is too long");
	mapping = malloc(sizeof(*mapping));
	if (!mapping)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	mapping->len = (size_t)len;
	mapping->base = mmap(NULL, mapping->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			     (off_t)(wire->mmap_offset - skip));
	if (mapping->base == MAP_FAILED) {
		int r = -errno;

		free(mapping);
		return cvmm_fail(err, r,
				 "cannot map %llu bytes at offset %llu of a region's file: %s",
				 (unsigned long long)wire->len_bytes,
				 (unsigned long long)wire->mmap_offset, strerror(-r));
	}
	*ret_mapping = mapping;
	*ret_host = mapping->base + skip;
	return 0;
}

/* ---- the table --------------------------------------------------------------------------------- */

int vu_mem_init(struct vu_mem *mem, struct cvmm_error *err)
{
	return cvmm_dirty_create_log(CVMM_DIRTY_LOG_ROOM_DEFAULT, &mem->log, err);
}

void vu_mem_reset(struct vu_mem *mem)
{
	mem->iommu_map = cvmm_mem_unref(mem->iommu_map);
	mem->map = cvmm_mem_unref(mem->map);
	cvmm_iotlb_destroy(mem->iotlb);
	mem->iotlb = NULL;
	mem->count = 0;
	(void)cvmm_dirty_set_enabled(mem->log, false);
	if (mem->log_set)
		(void)cvmm_dirty_log_unset(mem->log, NULL);
	mem->log_set = false;
}

void vu_mem_fini(struct vu_mem *mem)
{
	if (mem->log)
		vu_mem_reset(mem);
	mem->log = cvmm_dirty_unref(mem->log);
}

static bool overlap(uint64_t a, uint64_t b, uint64_t a_len, uint64_t b_len)
{
	return a <= b ? b - a < a_len : a - b < b_len;
}

int vu_mem_check_region(const struct vu_mem *mem, const struct cvmm_vhost_user_mem_region *wire,
			bool gpa_addresses, struct cvmm_error *err)
{
	uint64_t end;

	if (!wire->len_bytes)
		return cvmm_fail(err, -EINVAL, "a memory region is empty");
	if (!cvmm_add_u64(wire->gpa, wire->len_bytes, &end) ||
	    !cvmm_add_u64(wire->user_addr, wire->len_bytes, &end) ||
	    !cvmm_add_u64(wire->mmap_offset, wire->len_bytes, &end) || end > INT64_MAX)
		return cvmm_fail(err, -EINVAL, "a memory region wraps around");
	if (gpa_addresses && wire->gpa != wire->user_addr)
		return cvmm_fail(err, -EINVAL,
				 "a memory region has two addresses, although GPA_ADDRESSES was "
				 "negotiated");
	for (size_t i = 0; i < mem->count; i++) {
		const struct cvmm_vhost_user_mem_region *other = &mem->regions[i].wire;

		if (overlap(wire->gpa, other->gpa, wire->len_bytes, other->len_bytes) ||
		    overlap(wire->user_addr, other->user_addr, wire->len_bytes, other->len_bytes))
			return cvmm_fail(err, -EEXIST, "memory regions overlap");
	}
	return 0;
}

/*
 * Map a region and put it into a table that has room; its map is replaced. Return: 0 or negative errno
 * with a message, and the table is as it was.
 */
static int add_region(struct vu_mem *mem, const struct cvmm_vhost_user_mem_region *wire, int fd,
		      bool gpa_addresses, struct cvmm_error *err)
{
	struct cvmm_mem_config config = { .gpa = cvmm_gpa_from(wire->gpa),
					  .len_bytes = wire->len_bytes,
					  .kind = CVMM_MEM_EXTERNAL,
					  .access = CVMM_ACCESS_READ_WRITE,
					  .flags = CVMM_MEM_NO_DUMP,
					  .ops = &mapping_ops };
	struct mapping *mapping = NULL;
	struct cvmm_mem *map;
	uint8_t *host = NULL;
	int r = vu_mem_check_region(mem, wire, gpa_addresses, err);

	if (!r)
		r = map_file(fd, wire, &mapping, &host, err);
	if (r)
		return r;
	config.host = host;
	config.ops_ctx = mapping;
	r = cvmm_mem_insert(mem->map, &config, &map, err);
	if (r) {
		release_mapping(mapping);
		return r;
	}
	cvmm_mem_unref(mem->map);
	mem->map = map;
	mem->regions[mem->count++] = (struct vu_region){ *wire, host };
	return 0;
}

/* An empty map with the log. */
static int make_map(struct vu_mem *mem, struct cvmm_mem **ret_map, struct cvmm_error *err)
{
	struct cvmm_mem *empty;
	int r = cvmm_mem_create(NULL, 0, &empty, err);

	if (r)
		return r;
	r = cvmm_mem_with_dirty(empty, mem->log, ret_map, err);
	cvmm_mem_unref(empty);
	return r;
}

/* ---- addresses --------------------------------------------------------------------------------- */

bool vu_mem_find_user(const struct vu_mem *mem, uint64_t user_addr, uint64_t *ret_gpa,
		      uint64_t *ret_room)
{
	for (size_t i = 0; i < mem->count; i++) {
		const struct cvmm_vhost_user_mem_region *wire = &mem->regions[i].wire;
		uint64_t offset = user_addr - wire->user_addr;

		if (user_addr < wire->user_addr || offset >= wire->len_bytes)
			continue;
		*ret_gpa = wire->gpa + offset;
		*ret_room = wire->len_bytes - offset;
		return true;
	}
	return false;
}

static bool behind_iommu(const struct cvmm_vhost_user_backend *b)
{
	return vu_has_feature(b, CVMM_VIRTIO_F_ACCESS_PLATFORM);
}

int vu_translate(const struct cvmm_vhost_user_backend *b, uint64_t addr, cvmm_gpa *ret_gpa)
{
	uint64_t gpa = addr, room;

	if (!behind_iommu(b) && !vu_negotiated(b, CVMM_VHOST_USER_PROTOCOL(GPA_ADDRESSES)) &&
	    !vu_mem_find_user(&b->mem, addr, &gpa, &room))
		return -EFAULT;
	*ret_gpa = cvmm_gpa_from(gpa);
	return 0;
}

struct cvmm_mem *vu_queue_map(struct cvmm_vhost_user_backend *b)
{
	return behind_iommu(b) ? b->mem.iommu_map : b->mem.map;
}

/* ---- the IOMMU --------------------------------------------------------------------------------- */

static void tell_fault(struct cvmm_vhost_user_backend *b, enum cvmm_iotlb_op_kind kind,
		       enum cvmm_access access, const struct cvmm_iotlb_range *range)
{
	struct cvmm_iotlb_op op = { .kind = kind,
				    .iova = range->iova,
				    .last = range->iova + (range->len_bytes - 1),
				    .rights = access };
	uint8_t bytes[CVMM_IOTLB_MSG_SIZE];

	if (!cvmm_iotlb_msg_format(&op, bytes))
		(void)vu_channel_call(b, CVMM_VHOST_USER_BACKEND_IOTLB_MSG, bytes, sizeof(bytes),
				      -1, NULL, NULL);
}

static void on_fault(void *ctx, enum cvmm_access access, const struct cvmm_iotlb_range *misses,
		     size_t miss_count, const struct cvmm_iotlb_range *fails, size_t fail_count)
{
	struct cvmm_vhost_user_backend *b = ctx;

	for (size_t i = 0; i < miss_count; i++)
		tell_fault(b, CVMM_IOTLB_MISS, access, &misses[i]);
	for (size_t i = 0; i < fail_count; i++)
		tell_fault(b, CVMM_IOTLB_ACCESS_FAIL, access, &fails[i]);
}

int vu_mem_update_iommu(struct cvmm_vhost_user_backend *b, struct cvmm_error *err)
{
	struct cvmm_mem_iommu_config config = { .fault = on_fault, .fault_ctx = b };
	struct vu_mem *mem = &b->mem;
	int r = 0;

	mem->iommu_map = cvmm_mem_unref(mem->iommu_map);
	if (!behind_iommu(b)) {
		cvmm_iotlb_destroy(mem->iotlb);
		mem->iotlb = NULL;
		return 0;
	}
	if (!mem->iotlb)
		r = cvmm_iotlb_create(CVMM_IOTLB_CAPACITY_DEFAULT, &mem->iotlb, err);
	if (r || !mem->map)
		return r;
	config.backing = mem->map;
	config.iotlb = mem->iotlb;
	return cvmm_mem_create_iommu(&config, &mem->iommu_map, err);
}

/* An update from user addresses, in pieces of one region each. */
static int iotlb_update(struct cvmm_vhost_user_backend *b, const struct cvmm_iotlb_op *op,
			struct cvmm_error *err)
{
	bool is_gpa = vu_negotiated(b, CVMM_VHOST_USER_PROTOCOL(GPA_ADDRESSES));
	uint64_t len = op->last - op->iova + 1, done = 0;

	/* Nothing is done unless all of it can be. */
	for (int pass = 0; pass < 2; pass++) {
		for (done = 0; done < len;) {
			uint64_t gpa = op->addr + done, room = len - done;

			if (is_gpa) {
				if (cvmm_mem_check(b->mem.map, cvmm_gpa_from(gpa), room,
						   CVMM_ACCESS_READ))
					return cvmm_fail(err, -EFAULT,
							 "0x%llx is in no memory "
							 "region",
							 (unsigned long long)gpa);
			} else if (!vu_mem_find_user(&b->mem, op->addr + done, &gpa, &room)) {
				return cvmm_fail(err, -EFAULT, "0x%llx is in no memory region",
						 (unsigned long long)(op->addr + done));
			}
			if (room > len - done)
				room = len - done;
			if (pass) {
				int r = cvmm_iotlb_set(b->mem.iotlb, op->iova + done, room, gpa,
						       op->rights);

				if (r)
					return cvmm_fail(err, r, "%s", strerror(-r));
			}
			done += room;
		}
	}
	return 0;
}

int vu_iotlb_msg(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		 struct vu_reply *reply, struct cvmm_error *err)
{
	struct cvmm_iotlb_op op;
	int r = cvmm_iotlb_msg_parse(msg->payload, msg->size, &op, err);

	if (r)
		return r;
	if (!behind_iommu(b) || !b->mem.iotlb)
		return cvmm_fail(err, -EOPNOTSUPP, "ACCESS_PLATFORM was not negotiated");
	switch (op.kind) {
	case CVMM_IOTLB_UPDATE:
		/* A range of all addresses cannot be mapped: its length has no number. */
		if (!b->mem.map || (op.iova == 0 && op.last == UINT64_MAX))
			return cvmm_fail(err, -EFAULT, "there is no memory to translate to");
		r = iotlb_update(b, &op, err);
		break;
	case CVMM_IOTLB_INVALIDATE:
		r = cvmm_iotlb_apply(b->mem.iotlb, &op, 1, err);
		break;
	case CVMM_IOTLB_BATCH_BEGIN:
	case CVMM_IOTLB_BATCH_END:
		break;
	default:
		return cvmm_fail(err, -EINVAL, "type %d is for back-ends to send", (int)op.kind);
	}
	if (r)
		return r;
	vu_reply_u64(reply, 0);
	if (op.kind == CVMM_IOTLB_UPDATE) {
		(void)vu_queues_try_run(b, NULL);
		vu_queues_unstall(b);
	}
	return 0;
}

/* ---- SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG --------------------------------------------------- */

/* Queues go on in the memory there is now; those that cannot have failed. */
static void memory_has_changed(struct cvmm_vhost_user_backend *b)
{
	struct cvmm_error err = { 0 };

	/* A ring that had no memory may have it now. */
	for (unsigned int i = 0; i < b->queue_count; i++)
		b->queues[i].failed &= b->queues[i].broken || b->queues[i].running;
	if (vu_mem_update_iommu(b, &err) || vu_queues_try_run(b, &err))
		vu_log(b, CVMM_LOG_WARN, "vhost-user %s: after a change of memory: %s",
		       b->config.ops->name, err.message);
}

/* While post-copy listens regions are watched before anybody can touch them. */
static int watch_regions(struct cvmm_vhost_user_backend *b, size_t first, struct cvmm_error *err)
{
	for (size_t i = first; b->postcopy.listening && i < b->mem.count; i++) {
		int r = vu_postcopy_register(b, &b->mem.regions[i], err);

		if (r)
			return r;
	}
	b->postcopy.wants_ack = b->postcopy.listening;
	return 0;
}

int vu_set_mem_table(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		     struct vu_reply *reply, struct cvmm_error *err)
{
	bool gpa_addresses = vu_negotiated(b, CVMM_VHOST_USER_PROTOCOL(GPA_ADDRESSES));
	struct cvmm_vhost_user_mem_table *table = (void *)msg->payload;
	struct cvmm_vhost_user_mem_region *wire = (void *)(table + 1);
	struct vu_mem *mem = &b->mem, *fresh = malloc(sizeof(*fresh));
	int r = 0;

	if (!fresh)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	fresh->count = 0;
	fresh->log = mem->log;
	r = make_map(fresh, &fresh->map, err);
	if (r) {
		free(fresh);
		return r;
	}
	for (uint32_t i = 0; !r && i < table->count; i++) {
		r = add_region(fresh, &wire[i], msg->fds[i], gpa_addresses, err);
		if (r)
			cvmm_error_prefix(err, "region %u", i);
	}
	if (r) {
		cvmm_mem_unref(fresh->map);
		free(fresh);
		return r;
	}
	vu_queues_halt(b);
	cvmm_mem_unref(mem->map);
	mem->map = fresh->map;
	memcpy(mem->regions, fresh->regions, fresh->count * sizeof(fresh->regions[0]));
	mem->count = fresh->count;
	free(fresh);
	r = watch_regions(b, 0, err);
	if (r)
		return r;
	memory_has_changed(b);
	/* Post-copy: the answer has our addresses in place of the front-end's. */
	for (uint32_t i = 0; b->postcopy.listening && i < table->count; i++)
		wire[i].user_addr = (uintptr_t)mem->regions[i].host;
	reply->bytes = msg->payload;
	reply->len_bytes = msg->size;
	return 0;
}

int vu_add_mem_reg(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		   struct vu_reply *reply, struct cvmm_error *err)
{
	bool gpa_addresses = vu_negotiated(b, CVMM_VHOST_USER_PROTOCOL(GPA_ADDRESSES));
	struct cvmm_vhost_user_mem_slot *slot = (void *)msg->payload;
	struct vu_mem *mem = &b->mem;
	int r = 0;

	if (mem->count == CVMM_VHOST_USER_MEM_SLOTS_MAX)
		return cvmm_fail(err, -E2BIG, "there are %u memory regions already",
				 CVMM_VHOST_USER_MEM_SLOTS_MAX);
	if (!mem->map)
		r = make_map(mem, &mem->map, err);
	if (!r)
		r = add_region(mem, &slot->region, msg->fds[0], gpa_addresses, err);
	if (!r)
		r = watch_regions(b, mem->count - 1, err);
	if (r)
		return r;
	vu_queues_follow(b);
	memory_has_changed(b);
	if (b->postcopy.listening)
		slot->region.user_addr = (uintptr_t)mem->regions[mem->count - 1].host;
	reply->bytes = msg->payload;
	reply->len_bytes = msg->size;
	return 0;
}

int vu_rem_mem_reg(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		   struct vu_reply *reply, struct cvmm_error *err)
{
	const struct cvmm_vhost_user_mem_slot *slot = (const void *)msg->payload;
	struct vu_mem *mem = &b->mem;
	struct cvmm_mem *map;
	size_t i;
	int r;

	(void)reply;
	for (i = 0; i < mem->count; i++) {
		const struct cvmm_vhost_user_mem_region *wire = &mem->regions[i].wire;

		if (wire->gpa == slot->region.gpa && wire->user_addr == slot->region.user_addr &&
		    wire->len_bytes == slot->region.len_bytes)
			break;
	}
	if (i == mem->count)
		return cvmm_fail(err, -ENOENT,
				 "there is no memory region at 0x%llx of 0x%llx bytes with the "
				 "user address 0x%llx",
				 (unsigned long long)slot->region.gpa,
				 (unsigned long long)slot->region.len_bytes,
				 (unsigned long long)slot->region.user_addr);
	r = cvmm_mem_remove(mem->map, cvmm_gpa_from(slot->region.gpa), slot->region.len_bytes, &map,
			    err);
	if (r)
		return r;
	vu_queues_halt(b);
	vu_postcopy_unregister(b, &mem->regions[i]);
	cvmm_mem_unref(mem->map);
	mem->map = map;
	memmove(&mem->regions[i], &mem->regions[i + 1],
		(mem->count - i - 1) * sizeof(mem->regions[0]));
	mem->count--;
	memory_has_changed(b);
	return 0;
}

int vu_get_max_mem_slots(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
			 struct vu_reply *reply, struct cvmm_error *err)
{
	(void)b;
	(void)msg;
	(void)err;
	vu_reply_u64(reply, CVMM_VHOST_USER_MEM_SLOTS_MAX);
	return 0;
}

/* ---- the log ----------------------------------------------------------------------------------- */

int vu_set_log_base(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		    struct vu_reply *reply, struct cvmm_error *err)
{
	const struct cvmm_vhost_user_log *log = (const void *)msg->payload;
	int r;

	if (!vu_negotiated(b, CVMM_VHOST_USER_PROTOCOL(LOG_SHMFD)) || msg->fd_count != 1 ||
	    msg->size != sizeof(*log))
		return cvmm_fail(err, -EOPNOTSUPP,
				 "a log must be a descriptor, with LOG_SHMFD negotiated");
	r = cvmm_dirty_log_set(b->mem.log, msg->fds[0], log->offset, log->size_bytes, err);
	if (r)
		return r;
	b->mem.log_set = true;
	reply->bytes = msg->payload;
	reply->len_bytes = sizeof(*log);
	return 0;
}

int vu_set_log_fd(struct cvmm_vhost_user_backend *b, struct cvmm_vhost_user_msg *msg,
		  struct vu_reply *reply, struct cvmm_error *err)
{
	struct cvmm_notifier log;
	int r = cvmm_notifier_from_fd(cvmm_vhost_user_msg_take_fd(msg, 0), false, &log);

	(void)reply;
	if (r)
		return cvmm_fail(err, r, "the descriptor cannot be signalled: %s", strerror(-r));
	cvmm_notifier_fini(&b->log_notifier);
	b->log_notifier = log;
	return 0;
}
