// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Sharing memory.
 *
 * Theory of operation: we keep a list of the regions that the back-end has. A new map makes a new list. With
 * CONFIGURE_MEM_SLOTS the two lists, both in address order, are compared: what is in the old one alone is
 * removed first, because a region may only be added where none is, and then what is in the new one alone
 * is added. The list follows each step, so that it is right after a step that was refused, too.
 *
 * A region is the same if its addresses and its file are. Files are compared by their inode, which is
 * in use for as long as the back-end has the region.
 */
#include <stdlib.h>

#include "vhost_user_frontend_internal.h"

#define TABLE_REGIONS_DEFAULT CVMM_VHOST_USER_TABLE_REGIONS_DEFAULT

/* ---- lists of regions ---------------------------------------------------------------------------- */

static int describe(const struct cvmm_vhost_user_frontend *fe, const struct cvmm_mem_region *region,
		    struct frontend_region *ret, struct cvmm_error *err)
{
	bool gpas = frontend_has(fe, CVMM_VHOST_USER_PROTOCOL(GPA_ADDRESSES));
	struct stat st;

	if (region->fd < 0 || !region->host)
		return cvmm_fail(
			err, -EINVAL,
			"the region at 0x%llx has no descriptor to share; use memory of a memfd, "
			"a file or huge pages",
			(unsigned long long)region->gpa);
	if (fstat(region->fd, &st))
		return cvmm_fail(err, -errno, "the region at 0x%llx: %s",
				 (unsigned long long)region->gpa, strerror(errno));
	ret->wire.gpa = region->gpa;
	ret->wire.len_bytes = region->len_bytes;
	ret->wire.user_addr = gpas ? region->gpa : (uint64_t)(uintptr_t)region->host;
	ret->wire.mmap_offset = region->fd_offset;
	ret->device = st.st_dev;
	ret->inode = st.st_ino;
	return 0;
}

static int describe_all(const struct cvmm_vhost_user_frontend *fe, const struct cvmm_mem *mem,
			struct frontend_region **ret_regions, struct cvmm_error *err)
{
	size_t count = cvmm_mem_region_count(mem);
	struct frontend_region *regions = calloc(count ? count : 1, sizeof(*regions));
	int r = 0;

	if (!regions)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < count && !r; i++)
		r = describe(fe, cvmm_mem_region_at(mem, i), &regions[i], err);
	if (r)
		free(regions);
	else
		*ret_regions = regions;
	return r;
}

static bool is_same(const struct frontend_region *a, const struct frontend_region *b)
{
	return memcmp(&a->wire, &b->wire, sizeof(a->wire)) == 0 && a->device == b->device &&
	       a->inode == b->inode;
}

static int by_gpa(const void *a, const void *b)
{
	const struct frontend_region *x = a, *y = b;

	return (x->wire.gpa > y->wire.gpa) - (x->wire.gpa < y->wire.gpa);
}

/* @regions are in the order of their addresses. */
static bool is_listed(const struct frontend_region *regions, size_t count,
		      const struct frontend_region *wanted)
{
	const struct frontend_region *found = NULL;

	if (count)
		found = bsearch(wanted, regions, count, sizeof(*regions), by_gpa);
	return found && is_same(found, wanted);
}

static void keep(struct cvmm_vhost_user_frontend *fe, struct frontend_region *regions, size_t count)
{
	free(fe->regions);
	fe->regions = regions;
	fe->region_count = count;
}

/* ---- one region after the other ------------------------------------------------------------------ */

static int send_slot(struct cvmm_vhost_user_frontend *fe, uint32_t request,
		     const struct frontend_region *region, int fd, struct cvmm_error *err)
{
	struct cvmm_vhost_user_mem_slot slot = { .region = region->wire };

	return frontend_tell(fe, request, &slot, sizeof(slot), &fd, fd >= 0 ? 1 : 0, err);
}

static int check_slots(struct cvmm_vhost_user_frontend *fe, size_t count, struct cvmm_error *err)
{
	uint64_t slots;
	int r = frontend_ask_u64(fe, CVMM_VHOST_USER_GET_MAX_MEM_SLOTS, &slots, err);

	if (r)
		return r;
	if (count > slots)
		return cvmm_fail(err, -E2BIG,
				 "the map has %zu regions, and the back-end room for %llu", count,
				 (unsigned long long)slots);
	return 0;
}

static int remove_missing(struct cvmm_vhost_user_frontend *fe, const struct frontend_region *wanted,
			  size_t count, struct cvmm_error *err)
{
	size_t i = 0;

	while (i < fe->region_count) {
		int r;

		if (is_listed(wanted, count, &fe->regions[i])) {
			i++;
			continue;
		}
		r = send_slot(fe, CVMM_VHOST_USER_REM_MEM_REG, &fe->regions[i], -1, err);
		if (r)
			return r;
		fe->region_count--;
		memmove(&fe->regions[i], &fe->regions[i + 1],
			(fe->region_count - i) * sizeof(fe->regions[0]));
	}
	return 0;
}

static int add_new(struct cvmm_vhost_user_frontend *fe, const struct cvmm_mem *mem,
		   const struct frontend_region *wanted, size_t count, struct cvmm_error *err)
{
	size_t before = fe->region_count;
	struct frontend_region *grown = realloc(fe->regions, (before + count + 1) * sizeof(*grown));

	if (!grown)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	fe->regions = grown;
	for (size_t i = 0; i < count; i++) {
		int r;

		if (is_listed(fe->regions, before, &wanted[i]))
			continue;
		r = send_slot(fe, CVMM_VHOST_USER_ADD_MEM_REG, &wanted[i],
			      cvmm_mem_region_at(mem, i)->fd, err);
		if (r)
			return r;
		fe->regions[fe->region_count++] = wanted[i];
	}
	return 0;
}

static int send_differences(struct cvmm_vhost_user_frontend *fe, const struct cvmm_mem *mem,
			    const struct frontend_region *wanted, size_t count,
			    struct cvmm_error *err)
{
	int r = check_slots(fe, count, err);

	/* After a step that was refused what was added before it is at the end. */
	if (fe->region_count)
		qsort(fe->regions, fe->region_count, sizeof(*fe->regions), by_gpa);
	if (!r)
		r = remove_missing(fe, wanted, count, err);
	if (!r)
		r = add_new(fe, mem, wanted, count, err);
	return r;
}

/* ---- all at once --------------------------------------------------------------------------------- */

struct table {
	struct cvmm_vhost_user_mem_table head;
	struct cvmm_vhost_user_mem_region regions[CVMM_VHOST_USER_TABLE_REGIONS_MAX];
};

static int send_table(struct cvmm_vhost_user_frontend *fe, const struct cvmm_mem *mem,
		      const struct frontend_region *wanted, size_t count, struct cvmm_error *err)
{
	uint32_t max = fe->config.table_regions ? fe->config.table_regions : TABLE_REGIONS_DEFAULT;
	struct table table = { .head.count = (uint32_t)count };
	size_t len = sizeof(table.head) + count * sizeof(table.regions[0]);
	int fds[CVMM_VHOST_USER_TABLE_REGIONS_MAX];

	if (count > max)
		return cvmm_fail(err, -E2BIG,
				 "the map has %zu regions; %u are as many as all back-ends can do "
				 "with that have no CONFIGURE_MEM_SLOTS",
				 count, max);
	for (size_t i = 0; i < count; i++) {
		table.regions[i] = wanted[i].wire;
		fds[i] = cvmm_mem_region_at(mem, i)->fd;
	}
	if (fe->postcopy_listens)
		return frontend_postcopy_set_table(fe, &table, len, fds, count, err);
	return frontend_tell(fe, CVMM_VHOST_USER_SET_MEM_TABLE, &table, len, fds, count, err);
}

/* ---- what callers see ---------------------------------------------------------------------------- */

/* Bring the back-end from what it has to a map. */
static int send_map(struct cvmm_vhost_user_frontend *fe, struct cvmm_mem *mem,
		    struct cvmm_error *err)
{
	bool slots = frontend_has(fe, CVMM_VHOST_USER_PROTOCOL(CONFIGURE_MEM_SLOTS));
	size_t count = cvmm_mem_region_count(mem);
	struct frontend_region *wanted = NULL;
	int r = describe_all(fe, mem, &wanted, err);

	if (r)
		return r;
	r = slots ? send_differences(fe, mem, wanted, count, err)
		  : send_table(fe, mem, wanted, count, err);
	if (r) {
		free(wanted);
		return r;
	}
	keep(fe, wanted, count);
	return 0;
}

int frontend_send_mem(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	keep(fe, NULL, 0);
	return fe->mem ? send_map(fe, fe->mem, err) : 0;
}

/* What was started, and is logged, must be in the new map as well. */
static int check_map(const struct cvmm_vhost_user_frontend *fe, const struct cvmm_mem *mem,
		     struct cvmm_error *err)
{
	int r = frontend_check_log(fe, mem, err);

	for (unsigned int i = 0; i < CVMM_VHOST_USER_QUEUES_MAX && !r; i++)
		if (fe->queues[i].started)
			r = frontend_queue_check(fe, mem, &fe->queues[i].queue, err);
	return r;
}

int cvmm_vhost_user_frontend_set_mem(struct cvmm_vhost_user_frontend *fe, struct cvmm_mem *mem,
				     struct cvmm_error *err)
{
	int r;

	if (!fe->negotiated)
		return cvmm_fail(err, -EINVAL, "nothing was negotiated yet");
	if (cvmm_mem_has_iommu(mem))
		return cvmm_fail(err, -EINVAL,
				 "this map is behind an IOMMU; share the memory that it is of");
	r = check_map(fe, mem, err);
	if (!r)
		r = send_map(fe, mem, err);
	/* The acknowledgement of post-copy comes first. */
	if (!r && !fe->postcopy_ack_due)
		r = frontend_settle(fe, err);
	if (r)
		return r;
	cvmm_mem_ref(mem);
	cvmm_mem_unref(fe->mem);
	fe->mem = mem;
	return 0;
}

int cvmm_vhost_user_frontend_get_max_mem_slots(struct cvmm_vhost_user_frontend *fe,
					       uint64_t *ret_slots, struct cvmm_error *err)
{
	return frontend_ask_u64(fe, CVMM_VHOST_USER_GET_MAX_MEM_SLOTS, ret_slots, err);
}
