// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * What the host does with the pages of a region: huge ones, merging, dumps, NUMA, prefaulting, and
 * giving them back.
 *
 * Theory of operation: prefaulting is done by writing to each page without changing it, which any
 * kernel and any kind of memory understands; where the kernel can populate a range itself, it is asked
 * to. The work is cut into as many equal parts as there are threads: the faults of different parts do
 * not wait for each other, and zeroing pages is what takes the time.
 *
 * Linux only.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mem_internal.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14, asm-generic/mman-common.h */
#endif

#define NUMA_NODES_MAX 1024
#define LONG_BITS (8 * sizeof(unsigned long))

/* ---- wishes: a host that cannot is no error ----------------------------------------------------- */

static void advise(const struct cvmm_mem_region *region)
{
	static const struct {
		unsigned int flag;
		int advice;
	} all[] = {
		{ CVMM_MEM_HUGE_PAGES, MADV_HUGEPAGE }, { CVMM_MEM_NO_HUGE_PAGES, MADV_NOHUGEPAGE },
		{ CVMM_MEM_MERGEABLE, MADV_MERGEABLE }, { CVMM_MEM_NO_DUMP, MADV_DONTDUMP },
		{ CVMM_MEM_NO_FORK, MADV_DONTFORK },
	};

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(all); i++)
		if (region->flags & all[i].flag)
			(void)madvise(region->host, region->len_bytes, all[i].advice);
}

/* ---- NUMA ---------------------------------------------------------------------------------------- */

static int bind_to_node(const struct cvmm_mem_config *config, const struct cvmm_mem_region *region,
			struct cvmm_error *err)
{
	unsigned long nodes[NUMA_NODES_MAX / LONG_BITS] = { 0 };

	nodes[config->numa_node / LONG_BITS] = 1UL << config->numa_node % LONG_BITS;
	if (!syscall(SYS_mbind, region->host, region->len_bytes, MPOL_BIND, nodes,
		     (unsigned long)NUMA_NODES_MAX + 1, 0U))
		return 0;
	return cvmm_fail(err, -errno,
			 "cannot bind it to NUMA node %u: %s; see the nodes in "
			 "/sys/devices/system/node/online",
			 config->numa_node, strerror(errno));
}

/* ---- prefaulting ------------------------------------------------------------------------------- */

struct part {
	uint8_t *start;
	uint64_t len;
	uint64_t page_bytes;
	bool read_only;
	int ret;
	pthread_t thread;
};

static void *prefault_part(void *arg)
{
	struct part *part = arg;

	part->ret = 0;
	if (!part->len || !madvise(part->start, part->len, MADV_POPULATE_WRITE))
		return NULL;
	if (errno != EINVAL) {
		part->ret = -errno;
		return NULL;
	}
	/* An older kernel, or memory that may only be read. */
	for (uint64_t at = 0; at < part->len; at += part->page_bytes)
		if (part->read_only)
			(void)__atomic_load_n(&part->start[at], __ATOMIC_RELAXED);
		else
			__atomic_fetch_or(&part->start[at], 0, __ATOMIC_RELAXED);
	return NULL;
}

static int prefault(const struct cvmm_mem_config *config, const struct cvmm_mem_region *region,
		    struct cvmm_error *err)
{
	uint64_t pages = region->len_bytes / region->page_bytes;
	unsigned int threads = config->prefault_threads ? config->prefault_threads : 1;
	struct part parts[CVMM_MEM_PREFAULT_THREADS_MAX];
	unsigned int started = 1;
	char text[MEM_SIZE_TEXT];
	int ret;

	for (unsigned int i = 0; i < threads; i++) {
		uint64_t first = pages * i / threads, end = pages * (i + 1) / threads;

		parts[i] = (struct part){
			.start = region->host + first * region->page_bytes,
			.len = (end - first) * region->page_bytes,
			.page_bytes = region->page_bytes,
			.read_only =
				region->kind == CVMM_MEM_FILE && region->access == CVMM_ACCESS_READ,
		};
	}
	while (started < threads &&
	       !pthread_create(&parts[started].thread, NULL, prefault_part, &parts[started]))
		started++;
	/* This thread does the first part, and those for which there is no other. */
	prefault_part(&parts[0]);
	for (unsigned int i = started; i < threads; i++)
		prefault_part(&parts[i]);
	for (unsigned int i = 1; i < started; i++)
		pthread_join(parts[i].thread, NULL);
	ret = 0;
	for (unsigned int i = 0; !ret && i < threads; i++)
		ret = parts[i].ret;
	if (!ret)
		return 0;
	return cvmm_fail(err, ret,
			 "cannot prefault %s: %s; ask for less memory, or do not prefault",
			 cvmm_mem_size_text(region->len_bytes, text), strerror(-ret));
}

int cvmm_mem_apply_flags(const struct cvmm_mem_config *config, const struct cvmm_mem_region *region,
			 struct cvmm_error *err)
{
	int ret = 0;

	advise(region);
	/* Before the pages are there. */
	if (config->flags & CVMM_MEM_NUMA_BIND)
		ret = bind_to_node(config, region, err);
	if (!ret && (config->flags & CVMM_MEM_PREFAULT))
		ret = prefault(config, region, err);
	return ret;
}

/* ---- giving back ------------------------------------------------------------------------------- */

static int discard_piece(const struct cvmm_mem_region *region, uint64_t offset, uint64_t len)
{
	if (region->kind == CVMM_MEM_ANONYMOUS)
		return madvise(region->host + offset, len, MADV_DONTNEED) ? -errno : 0;
	return fallocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
			 (off_t)len)
		       ? -errno
		       : 0;
}

int cvmm_mem_discard(const struct cvmm_mem *mem, cvmm_gpa gpa, uint64_t len)
{
	const struct cvmm_mem_entry *first, *entry;
	uint64_t last;
	int ret;

	ret = cvmm_mem_check(mem, gpa, len, CVMM_ACCESS_WRITE);
	if (ret || !len)
		return ret;
	last = gpa.addr + (len - 1);
	first = cvmm_mem_entry_find(mem, gpa.addr);
	for (entry = first; entry < mem->entries + mem->count && entry->gpa <= last; entry++)
		if (entry->mapping->region.kind == CVMM_MEM_FILE ||
		    entry->mapping->region.kind == CVMM_MEM_EXTERNAL)
			return -ENOTSUP;
	for (entry = first; !ret && entry < mem->entries + mem->count && entry->gpa <= last;
	     entry++) {
		const struct cvmm_mem_region *region = &entry->mapping->region;
		uint64_t page = region->page_bytes;
		uint64_t from = gpa.addr > entry->gpa ? gpa.addr - entry->gpa : 0;
		uint64_t to = last - entry->gpa < entry->len_bytes ? last - entry->gpa + 1
								   : entry->len_bytes;

		from = (from + page - 1) / page * page;
		to = to / page * page;
		if (from < to)
			ret = discard_piece(region, from, to - from);
	}
	return ret;
}
