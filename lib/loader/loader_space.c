/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Theory of operation
 *
 * The space knows two lists: runs of RAM (from the memory map, each run backed by guest memory as a
 * whole) and ranges that are taken. A range is free if it lies in one run and touches nothing taken.
 * No end of a range wraps: that is checked once, when the range comes in, and [0, 2^64) never has to
 * be represented because a range that ends at 2^64 is refused.
 */
#include <errno.h>
#include <inttypes.h>

#include "loader_internal.h"

static uint64_t range_end(const struct cvmm_loader_range *range)
{
	return range->gpa.addr + range->len_bytes;
}

static bool overlaps(const struct cvmm_loader_range *range, uint64_t gpa, uint64_t len)
{
	return len && range->len_bytes && gpa < range_end(range) && range->gpa.addr < gpa + len;
}

static const struct cvmm_loader_range *find_taken(const struct loader_space *space, uint64_t gpa,
						  uint64_t len)
{
	for (size_t i = 0; i < space->taken_count; i++) {
		if (overlaps(&space->taken[i], gpa, len))
			return &space->taken[i];
	}
	return NULL;
}

static void add_ram(struct loader_space *space, const struct cvmm_loader_map_entry *entry)
{
	struct cvmm_loader_range *last = &space->ram[space->ram_count];

	if (space->ram_count && range_end(last - 1) == entry->gpa.addr) {
		last[-1].len_bytes += entry->len_bytes;
		return;
	}
	last->gpa = entry->gpa;
	last->len_bytes = entry->len_bytes;
	space->ram_count++;
}

static int add_map(struct loader_space *space, const struct cvmm_loader_config *config,
		   struct cvmm_error *err)
{
	uint64_t end = 0;

	if (!config->map_count || config->map_count > CVMM_LOADER_MAP_MAX)
		return cvmm_fail(err, -EINVAL, "a memory map has 1 to %d entries, not %zu",
				 CVMM_LOADER_MAP_MAX, config->map_count);
	for (size_t i = 0; i < config->map_count; i++) {
		const struct cvmm_loader_map_entry *entry = &config->map[i];

		if (!entry->len_bytes || entry->gpa.addr < end ||
		    !cvmm_add_u64(entry->gpa.addr, entry->len_bytes, &end))
			return cvmm_fail(err, -EINVAL,
					 "entry %zu of the memory map (0x%" PRIx64 ", %" PRIu64
					 " bytes) is empty, wraps, or is not above the one before",
					 i, entry->gpa.addr, entry->len_bytes);
		if (entry->type != CVMM_LOADER_MAP_RAM)
			continue;
		if (cvmm_mem_check(space->mem, entry->gpa, entry->len_bytes,
				   CVMM_ACCESS_READ_WRITE) < 0)
			return cvmm_fail(err, -EINVAL,
					 "entry %zu of the memory map calls 0x%" PRIx64
					 " to 0x%" PRIx64 " RAM, but the guest has no memory there",
					 i, entry->gpa.addr, end);
		add_ram(space, entry);
	}
	return 0;
}

static int add_reserved(struct loader_space *space, const struct cvmm_loader_config *config,
			struct cvmm_error *err)
{
	if (config->reserved_count > CVMM_LOADER_RESERVED_MAX)
		return cvmm_fail(err, -EINVAL, "at most %d reserved ranges are allowed, not %zu",
				 CVMM_LOADER_RESERVED_MAX, config->reserved_count);
	for (size_t i = 0; i < config->reserved_count; i++) {
		const struct cvmm_loader_range *range = &config->reserved[i];
		uint64_t end;

		if (!cvmm_add_u64(range->gpa.addr, range->len_bytes, &end))
			return cvmm_fail(err, -EINVAL,
					 "reserved range %zu (0x%" PRIx64 ", %" PRIu64
					 " bytes) wraps around",
					 i, range->gpa.addr, range->len_bytes);
		loader_space_take(space, range->gpa.addr, range->len_bytes);
	}
	return 0;
}

int loader_space_init(struct loader_space *space, const struct cvmm_mem *mem,
		      const struct cvmm_loader_config *config, struct cvmm_error *err)
{
	int r;

	memset(space, 0, sizeof(*space));
	space->mem = mem;
	r = add_map(space, config, err);
	if (r < 0)
		return r;
	r = add_reserved(space, config, err);
	if (r < 0)
		return r;
	r = loader_space_check(space, 0, CVMM_LOADER_LOW_END);
	if (r < 0)
		return cvmm_fail(err, -EFAULT,
				 "guest memory from 0 to 0x%" PRIx64 " must be %s: boot parameters "
				 "and command line go there",
				 CVMM_LOADER_LOW_END, r == -ENOMEM ? "RAM" : "free");
	loader_space_take(space, 0, CVMM_LOADER_LOW_END);
	return 0;
}

void loader_space_take(struct loader_space *space, uint64_t gpa, uint64_t len)
{
	CVMM_BUG_ON(space->taken_count == LOADER_TAKEN_MAX);
	CVMM_BUG_ON(len > UINT64_MAX - gpa);
	space->taken[space->taken_count++] = (struct cvmm_loader_range){ cvmm_gpa_from(gpa), len };
}

int loader_space_check(const struct loader_space *space, uint64_t gpa, uint64_t len)
{
	for (size_t i = 0; i < space->ram_count; i++) {
		const struct cvmm_loader_range *run = &space->ram[i];

		if (gpa >= run->gpa.addr &&
		    cvmm_range_inside(gpa - run->gpa.addr, len, run->len_bytes))
			return find_taken(space, gpa, len) ? -EFAULT : 0;
	}
	return -ENOMEM;
}

/* Each round either ends or moves behind one more taken range, so there are few of them. */
static bool find_low_in_run(const struct loader_space *space, const struct cvmm_loader_range *run,
			    uint64_t len, uint64_t align, uint64_t min, uint64_t limit,
			    uint64_t *ret_gpa)
{
	uint64_t pos = run->gpa.addr > min ? run->gpa.addr : min;
	uint64_t end = range_end(run) < limit ? range_end(run) : limit;

	for (;;) {
		const struct cvmm_loader_range *taken;

		if (!cvmm_align_up_u64(pos, align, &pos) || !cvmm_range_inside(pos, len, end))
			return false;
		taken = find_taken(space, pos, len);
		if (!taken) {
			*ret_gpa = pos;
			return true;
		}
		pos = range_end(taken);
	}
}

int loader_space_find_low(const struct loader_space *space, uint64_t len, uint64_t align,
			  uint64_t min, uint64_t limit, uint64_t *ret_gpa)
{
	for (size_t i = 0; i < space->ram_count; i++) {
		if (find_low_in_run(space, &space->ram[i], len, align, min, limit, ret_gpa))
			return 0;
	}
	return -ENOMEM;
}

static bool find_high_in_run(const struct loader_space *space, const struct cvmm_loader_range *run,
			     uint64_t len, uint64_t align, uint64_t limit, uint64_t *ret_gpa)
{
	uint64_t min = run->gpa.addr > LOADER_IMAGE_MIN ? run->gpa.addr : LOADER_IMAGE_MIN;
	uint64_t end = range_end(run) < limit ? range_end(run) : limit;

	for (;;) {
		const struct cvmm_loader_range *taken;
		uint64_t pos;

		if (end < len)
			return false;
		pos = (end - len) & ~(align - 1);
		if (pos < min)
			return false;
		taken = find_taken(space, pos, len);
		if (!taken) {
			*ret_gpa = pos;
			return true;
		}
		end = taken->gpa.addr;
	}
}

int loader_space_find_high(const struct loader_space *space, uint64_t len, uint64_t align,
			   uint64_t limit, uint64_t *ret_gpa)
{
	for (size_t i = space->ram_count; i-- > 0;) {
		if (find_high_in_run(space, &space->ram[i], len, align, limit, ret_gpa))
			return 0;
	}
	return -ENOMEM;
}

uint64_t loader_space_ram_below(const struct loader_space *space, uint64_t limit)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < space->ram_count; i++) {
		const struct cvmm_loader_range *run = &space->ram[i];
		uint64_t end = range_end(run) < limit ? range_end(run) : limit;

		if (end > run->gpa.addr)
			sum += end - run->gpa.addr;
	}
	return sum;
}
