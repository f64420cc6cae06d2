// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The memory that a test shares with the back-end, and descriptors of all kinds. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf.h"

/* User addresses are far from anything that is mapped, and their distance is not that of the GPAs. */
#define UVA_BASE UINT64_C(0x550000000000)
#define UVA_STRIDE UINT64_C(0x1000000000)

/* ---- descriptors ------------------------------------------------------------------------------- */

int conf_own(struct conf *t, int fd)
{
	if (fd < 0)
		conf_fail(t, "the suite cannot get a descriptor: %s", strerror(errno));
	if (t->fd_count == CONF_FDS_MAX) {
		close(fd);
		conf_fail(t, "the suite has too many descriptors");
	}
	t->fds[t->fd_count++] = fd;
	return fd;
}

void conf_drop(struct conf *t, int fd)
{
	for (size_t i = 0; i < t->fd_count; i++) {
		if (t->fds[i] != fd)
			continue;
		close(fd);
		t->fds[i] = t->fds[--t->fd_count];
		return;
	}
}

int conf_eventfd(struct conf *t)
{
	return conf_own(t, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

int conf_memfd(struct conf *t, uint64_t len_bytes)
{
	int fd = conf_own(t, memfd_create("cvmm-drive", MFD_CLOEXEC | MFD_ALLOW_SEALING));

	if (ftruncate(fd, (off_t)len_bytes))
		conf_fail(t, "the suite cannot make a file of %llu bytes: %s",
			  (unsigned long long)len_bytes, strerror(errno));
	return fd;
}

void conf_pipe(struct conf *t, int *ret_read, int *ret_write)
{
	int fds[2] = { -1, -1 };

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		conf_fail(t, "the suite cannot make a pipe: %s", strerror(errno));
	*ret_read = conf_own(t, fds[0]);
	*ret_write = conf_own(t, fds[1]);
}

void conf_socketpair(struct conf *t, int *ret_ours, int *ret_theirs)
{
	int fds[2] = { -1, -1 };

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		conf_fail(t, "the suite cannot make a socket pair: %s", strerror(errno));
	*ret_ours = conf_own(t, fds[0]);
	*ret_theirs = conf_own(t, fds[1]);
}

void *conf_map_fd(struct conf *t, int fd, uint64_t offset, uint64_t len_bytes)
{
	void *p;

	CVMM_BUG_ON(t->map_count == CONF_MAPS_MAX);
	p = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
	if (p == MAP_FAILED)
		return NULL;
	t->maps[t->map_count++] = (struct conf_map){ p, len_bytes };
	return p;
}

bool conf_other_end_is_closed(int fd)
{
	uint64_t deadline = cvmm_clock_ns() + CONF_RELEASE_MS * CVMM_NS_PER_MS;

	for (;;) {
		struct pollfd p = { .fd = fd };

		if (poll(&p, 1, 0) == 1 && p.revents & (POLLHUP | POLLERR))
			return true;
		if (cvmm_clock_ns() >= deadline)
			return false;
		conf_sleep_ms(2);
	}
}

bool conf_is_unmapped(int memfd)
{
	uint64_t deadline = cvmm_clock_ns() + CONF_RELEASE_MS * CVMM_NS_PER_MS;

	/* The kernel refuses this seal while anybody has a writable shared mapping. */
	while (fcntl(memfd, F_ADD_SEALS, F_SEAL_WRITE)) {
		if (cvmm_clock_ns() >= deadline)
			return false;
		conf_sleep_ms(2);
	}
	return true;
}

/* ---- memory ------------------------------------------------------------------------------------ */

void conf_ram_fini(struct conf_ram *ram)
{
	cvmm_mem_unref(ram->mem);
	memset(ram, 0, sizeof(*ram));
}

static bool uses_gpa(const struct conf *t)
{
	return t->protocol & CVMM_VHOST_USER_PROTOCOL(GPA_ADDRESSES);
}

void conf_ram_make(struct conf *t, const struct conf_region *regions, size_t count)
{
	struct cvmm_mem_config configs[CONF_REGIONS_MAX] = { 0 };
	struct cvmm_error err = { 0 };

	conf_ram_fini(&t->ram);
	CVMM_BUG_ON(count > CONF_REGIONS_MAX);
	for (size_t i = 0; i < count; i++) {
		struct conf_region *r = &t->ram.regions[i];

		*r = regions[i];
		if (r->fd < 0)
			r->fd = conf_memfd(t, r->offset + r->len_bytes);
		if (uses_gpa(t))
			r->uva = r->gpa;
		else if (!r->uva)
			r->uva = UVA_BASE + i * UVA_STRIDE;
		configs[i].gpa = cvmm_gpa_from(r->gpa);
		configs[i].len_bytes = r->len_bytes;
		configs[i].kind = CVMM_MEM_FILE;
		configs[i].access = CVMM_ACCESS_READ_WRITE;
		configs[i].fd = r->fd;
		configs[i].fd_offset = r->offset;
	}
	if (cvmm_mem_create(configs, count, &t->ram.mem, &err))
		conf_fail(t, "the suite cannot make memory: %s", err.message);
	t->ram.count = count;
}

void conf_ram_default(struct conf *t)
{
	const struct conf_region regions[] = {
		{ .gpa = CONF_BUFFERS_GPA, .len_bytes = CONF_REGION_BYTES, .fd = -1 },
		{ .gpa = CONF_RINGS_GPA, .len_bytes = CONF_REGION_BYTES, .fd = -1 },
	};

	conf_ram_make(t, regions, CVMM_ARRAY_SIZE(regions));
}

void conf_ram_touching(struct conf *t)
{
	const struct conf_region regions[] = {
		{ .gpa = CONF_BUFFERS_GPA, .len_bytes = CONF_REGION_BYTES, .fd = -1 },
		{ .gpa = CONF_BUFFERS_GPA + CONF_REGION_BYTES, .len_bytes = CONF_PAGE, .fd = -1 },
		{ .gpa = CONF_RINGS_GPA, .len_bytes = CONF_REGION_BYTES, .fd = -1 },
	};

	conf_ram_make(t, regions, CVMM_ARRAY_SIZE(regions));
}

static struct cvmm_vhost_user_mem_region on_the_wire(const struct conf_region *r)
{
	return (struct cvmm_vhost_user_mem_region){
		.gpa = r->gpa,
		.len_bytes = r->len_bytes,
		.user_addr = r->uva,
		.mmap_offset = r->offset,
	};
}

size_t conf_ram_table(const struct conf *t, struct conf_table *ret_table, int *ret_fds)
{
	ret_table->head = (struct cvmm_vhost_user_mem_table){ .count = (uint32_t)t->ram.count };
	for (size_t i = 0; i < t->ram.count; i++) {
		ret_table->regions[i] = on_the_wire(&t->ram.regions[i]);
		ret_fds[i] = t->ram.regions[i].fd;
	}
	return sizeof(ret_table->head) + t->ram.count * sizeof(ret_table->regions[0]);
}

enum conf_verdict conf_ram_share(struct conf *t)
{
	struct conf_table table;
	int fds[CONF_REGIONS_MAX];
	size_t size = conf_ram_table(t, &table, fds);

	return conf_try(t, CVMM_VHOST_USER_SET_MEM_TABLE, &table, size, fds, t->ram.count);
}

enum conf_verdict conf_slot(struct conf *t, uint32_t request, const struct conf_region *region,
			    const int *fds, size_t fd_count)
{
	struct cvmm_vhost_user_mem_slot slot = { .region = on_the_wire(region) };

	return conf_try(t, request, &slot, sizeof(slot), fds, fd_count);
}

void *conf_ptr(struct conf *t, uint64_t gpa, uint64_t len_bytes)
{
	void *p = cvmm_mem_ptr(t->ram.mem, cvmm_gpa_from(gpa), len_bytes, CVMM_ACCESS_READ_WRITE);

	CVMM_BUG_ON(!p);
	return p;
}

uint64_t conf_uva(struct conf *t, uint64_t gpa)
{
	if (t->acked & CONF_F_PLATFORM)
		return gpa; /* an IOVA, which the tests choose to be that */
	for (size_t i = 0; i < t->ram.count; i++) {
		const struct conf_region *r = &t->ram.regions[i];

		if (gpa - r->gpa < r->len_bytes)
			return r->uva + (gpa - r->gpa);
	}
	cvmm_bug(__FILE__, __LINE__, "an address of the suite is in its memory");
}
