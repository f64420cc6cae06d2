// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* SET_MEM_TABLE: tables that are valid, and tables that no back-end should take. */
#include <fcntl.h>
#include <unistd.h>

#include "conf.h"

#define SPEC_TABLE "vhost-user, VHOST_USER_SET_MEM_TABLE"
#define SPEC_REGION "vhost-user, Memory region description"
#define SPEC_OVERLAP "vhost-user, Memory region description: regions never overlap"
#define SPEC_ACCESS "vhost-user, Memory access"

#define FAR_GPA (UINT64_C(1) << 36)

static void set_features(struct conf *t)
{
	conf_set_features(t, conf_wanted_features(t));
}

/* Up to the 8 regions of the specification, with holes between them. */
static void one_to_eight(struct conf *t)
{
	struct conf_region regions[8] = { 0 };
	char what[48];

	set_features(t);
	for (size_t n = 1; n <= CVMM_ARRAY_SIZE(regions); n++) {
		for (size_t i = 0; i < n; i++)
			regions[i] = (struct conf_region){ .gpa = i * (UINT64_C(1) << 32),
							   .len_bytes = (i + 1) * CONF_PAGE,
							   .fd = -1 };
		conf_ram_make(t, regions, n);
		snprintf(what, sizeof(what), "SET_MEM_TABLE with %zu regions", n);
		conf_accepted(t, conf_ram_share(t), what);
	}
}

static void unsorted(struct conf *t)
{
	const struct conf_region regions[] = {
		{ .gpa = UINT64_C(3) << 32, .len_bytes = CONF_PAGE, .fd = -1 },
		{ .gpa = 0, .len_bytes = CONF_PAGE, .fd = -1 },
		{ .gpa = UINT64_C(1) << 32, .len_bytes = CONF_PAGE, .fd = -1 },
	};

	set_features(t);
	conf_ram_make(t, regions, CVMM_ARRAY_SIZE(regions));
	conf_accepted(t, conf_ram_share(t), "SET_MEM_TABLE, not in the order of addresses");
}

static void one_file(struct conf *t)
{
	int fd = conf_memfd(t, 4 * CONF_PAGE);
	const struct conf_region regions[] = {
		{ .gpa = 0, .len_bytes = CONF_PAGE, .offset = 3 * CONF_PAGE, .fd = fd },
		{ .gpa = FAR_GPA, .len_bytes = 2 * CONF_PAGE, .offset = CONF_PAGE, .fd = fd },
	};

	set_features(t);
	conf_ram_make(t, regions, CVMM_ARRAY_SIZE(regions));
	conf_accepted(t, conf_ram_share(t), "SET_MEM_TABLE with two parts of one file");
}

static void replaced(struct conf *t)
{
	const struct conf_region regions[] = {
		{ .gpa = FAR_GPA, .len_bytes = 4 * CONF_PAGE, .uva = CONF_PAGE, .fd = -1 },
	};
	int first = t->ram.regions[0].fd;

	conf_ram_make(t, regions, CVMM_ARRAY_SIZE(regions));
	conf_accepted(t, conf_ram_share(t), "a second SET_MEM_TABLE");
	if (!conf_is_unmapped(first))
		conf_fail(t, "the first table's memory is still mapped");
}

/* All numbers are the same, and the files are others. */
static void other_files(struct conf *t)
{
	conf_ram_default(t);
	conf_accepted(t, conf_ram_share(t), "a second SET_MEM_TABLE");
	conf_queues_start(t, true);
	conf_one_request(t, 0);
}

static void changed_while_running(struct conf *t)
{
	struct conf_region regions[3] = { t->ram.regions[0],
					  t->ram.regions[1],
					  { .gpa = FAR_GPA, .len_bytes = CONF_PAGE, .fd = -1 } };
	struct conf_table table;
	int fds[CONF_REGIONS_MAX];

	conf_one_request(t, 0);
	/* The suite's rings stay in the old map, which has the same files. */
	regions[2].fd = conf_memfd(t, CONF_PAGE);
	regions[2].uva = UINT64_C(0x600000000000);
	memcpy(t->ram.regions, regions, sizeof(regions));
	t->ram.count = 3;
	conf_accepted(t,
		      conf_try(t, CVMM_VHOST_USER_SET_MEM_TABLE, &table,
			       conf_ram_table(t, &table, fds), fds, t->ram.count),
		      "SET_MEM_TABLE while a queue runs");
	for (unsigned int i = 1; i < 4; i++)
		conf_one_request(t, i);
}

static void last_of_eight(struct conf *t)
{
	struct conf_region regions[8];
	struct conf_request *r;

	/* Sorted, and rings are in the last. */
	for (size_t i = 1; i < 7; i++)
		regions[i] = (struct conf_region){ .gpa = CONF_RINGS_GPA + ((i - 7) << 24),
						   .len_bytes = CONF_PAGE,
						   .fd = -1 };
	regions[0] = (struct conf_region){ .gpa = CONF_BUFFERS_GPA,
					   .len_bytes = CONF_REGION_BYTES,
					   .fd = -1 };
	regions[7] = (struct conf_region){ .gpa = CONF_RINGS_GPA,
					   .len_bytes = CONF_REGION_BYTES,
					   .fd = -1 };
	set_features(t);
	conf_ram_make(t, regions, CVMM_ARRAY_SIZE(regions));
	conf_accepted(t, conf_ram_share(t), "SET_MEM_TABLE with 8 regions");
	conf_queues_start(t, true);
	r = conf_request(t, 0);
	conf_submit(t, t->queue, r);
	conf_kick(t, t->queue);
	conf_done(t, t->queue, r);
}

/* Two regions that touch are one piece of memory for the guest. */
static void across_regions(struct conf *t)
{
	struct conf_request *r = &t->requests[0];

	set_features(t);
	conf_ram_touching(t);
	conf_accepted(t, conf_ram_share(t), "SET_MEM_TABLE with regions that touch");
	conf_queues_start(t, true);
	/* Its longest segment crosses from one to the other. */
	memset(r, 0, sizeof(*r));
	r->gpa = CONF_BUFFERS_GPA + CONF_REGION_BYTES - 32;
	memset(conf_ptr(t, r->gpa, CONF_REQUEST_BYTES), 0xa5, CONF_REQUEST_BYTES);
	t->device->build(t, r);
	conf_submit(t, t->queue, r);
	conf_kick(t, t->queue);
	conf_done(t, t->queue, r);
}

/* ---- what is no table ---------------------------------------------------------------------------- */

/* One region whose fields are given, and whose file is large enough unless @fd is given. */
static enum conf_verdict try_region(struct conf *t, struct cvmm_vhost_user_mem_region region,
				    int fd)
{
	struct conf_table table = { .head = { .count = 1 }, .regions = { region } };

	if (fd < 0)
		fd = conf_memfd(t, 16 * CONF_PAGE);
	return conf_try(t, CVMM_VHOST_USER_SET_MEM_TABLE, &table,
			sizeof(table.head) + sizeof(region), &fd, 1);
}

static void size_zero(struct conf *t)
{
	conf_refused(t,
		     try_region(t,
				(struct cvmm_vhost_user_mem_region){ .gpa = CONF_PAGE,
								     .user_addr = CONF_PAGE },
				-1),
		     "a region of no bytes");
}

static void wraps(struct conf *t)
{
	static const struct {
		struct cvmm_vhost_user_mem_region region;
		const char *what;
	} cases[] = {
		{ { UINT64_MAX - CONF_PAGE + 1, 2 * CONF_PAGE, CONF_PAGE, 0 },
		  "a region whose guest addresses wrap" },
		{ { 0, 2 * CONF_PAGE, UINT64_MAX - CONF_PAGE + 1, 0 },
		  "a region whose user addresses wrap" },
		{ { 0, 2 * CONF_PAGE, CONF_PAGE, UINT64_MAX - CONF_PAGE + 1 },
		  "a region whose offset and size wrap" },
		{ { CONF_PAGE, UINT64_MAX - CONF_PAGE + 1, CONF_PAGE, 0 },
		  "a region of nearly 2^64 bytes" },
	};

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(cases); i++) {
		if (i)
			conf_reopen(t, CONF_NEGOTIATED);
		conf_refused(t, try_region(t, cases[i].region, -1), cases[i].what);
	}
}

static void overlap(struct conf *t, uint64_t gpa, uint64_t uva, const char *what)
{
	struct conf_table table = {
		.head = { .count = 2 },
		.regions = { { .gpa = 0, .len_bytes = 4 * CONF_PAGE, .user_addr = 0x1000000 },
			     { .gpa = gpa, .len_bytes = 4 * CONF_PAGE, .user_addr = uva } },
	};
	int fds[2] = { conf_memfd(t, 4 * CONF_PAGE), conf_memfd(t, 4 * CONF_PAGE) };

	conf_refused(t,
		     conf_try(t, CVMM_VHOST_USER_SET_MEM_TABLE, &table,
			      sizeof(table.head) + 2 * sizeof(table.regions[0]), fds, 2),
		     what);
}

static void overlap_gpa(struct conf *t)
{
	overlap(t, 3 * CONF_PAGE, 0x2000000, "regions that overlap in the guest");
}

static void overlap_uva(struct conf *t)
{
	overlap(t, FAR_GPA, 0x1000000 + 3 * CONF_PAGE, "regions that overlap in user addresses");
}

static void wrong_descriptors(struct conf *t)
{
	static const struct {
		uint32_t count;
		size_t fds;
		const char *what;
	} cases[] = {
		{ 2, 1, "two regions with one descriptor" },
		{ 1, 2, "one region with two descriptors" },
		{ 1, 0, "a region without a descriptor" },
	};
	const struct conf_region regions[] = {
		{ .gpa = 0, .len_bytes = CONF_PAGE, .fd = -1 },
		{ .gpa = FAR_GPA, .len_bytes = CONF_PAGE, .fd = -1 },
	};

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(cases); i++) {
		struct conf_table table;
		int fds[CONF_REGIONS_MAX];

		if (i)
			conf_reopen(t, CONF_NEGOTIATED);
		conf_ram_make(t, regions, CVMM_ARRAY_SIZE(regions));
		conf_ram_table(t, &table, fds);
		table.head.count = cases[i].count;
		conf_refused(
			t,
			conf_try(t, CVMM_VHOST_USER_SET_MEM_TABLE, &table,
				 sizeof(table.head) + cases[i].count * sizeof(table.regions[0]),
				 fds, cases[i].fds),
			cases[i].what);
	}
}

static void wrong_counts(struct conf *t)
{
	static const uint32_t counts[] = { 9, 255, 0x10000001, UINT32_MAX };

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(counts); i++) {
		struct conf_table table = { 0 };
		int fd = conf_memfd(t, CONF_PAGE);
		char what[64];

		if (i)
			conf_reopen(t, CONF_NEGOTIATED);
		table.head.count = counts[i];
		table.regions[0] =
			(struct cvmm_vhost_user_mem_region){ 0, CONF_PAGE, CONF_PAGE, 0 };
		snprintf(what, sizeof(what), "a table that says %u regions and has one", counts[i]);
		conf_refused(t,
			     conf_try(t, CVMM_VHOST_USER_SET_MEM_TABLE, &table,
				      sizeof(table.head) + sizeof(table.regions[0]), &fd, 1),
			     what);
	}
}

static void short_file(struct conf *t)
{
	const struct cvmm_vhost_user_mem_region region = { 0, 16 * CONF_PAGE, CONF_PAGE, 0 };

	conf_refused(t, try_region(t, region, conf_memfd(t, CONF_PAGE)),
		     "a region that is longer than its file");
}

static void not_mappable(struct conf *t)
{
	const struct cvmm_vhost_user_mem_region region = { 0, CONF_PAGE, CONF_PAGE, 0 };
	int a, b;

	conf_pipe(t, &a, &b);
	conf_refused(t, try_region(t, region, a), "a region in a pipe");
	conf_reopen(t, CONF_NEGOTIATED);
	conf_socketpair(t, &a, &b);
	conf_refused(t, try_region(t, region, a), "a region in a socket");
	conf_reopen(t, CONF_NEGOTIATED);
	conf_refused(t, try_region(t, region, conf_eventfd(t)), "a region in an eventfd");
	conf_reopen(t, CONF_NEGOTIATED);
	a = conf_own(t, open("/dev/null", O_RDONLY | O_CLOEXEC));
	conf_refused(t, try_region(t, region, a), "a region in /dev/null");
}

static void read_only_file(struct conf *t)
{
	const struct cvmm_vhost_user_mem_region region = { 0, CONF_PAGE, CONF_PAGE, 0 };
	char path[64];
	int fd = conf_memfd(t, CONF_PAGE);

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = conf_own(t, open(path, O_RDONLY | O_CLOEXEC));
	conf_refused(t, try_region(t, region, fd), "a region in a file that is open for reading");
}

static void odd_offset(struct conf *t)
{
	const struct cvmm_vhost_user_mem_region region = { 0, CONF_PAGE, CONF_PAGE, 0x800 };

	conf_accepted(t, try_region(t, region, -1), "an offset that is not a multiple of a page");
}

static void empty_table(struct conf *t)
{
	struct cvmm_vhost_user_mem_table table = { 0 };

	conf_try(t, CVMM_VHOST_USER_SET_MEM_TABLE, &table, sizeof(table), NULL, 0);
	conf_connect(t);
}

/* A refused table must not take the memory before it away. */
static void refused_table_keeps_memory(struct conf *t)
{
	enum conf_verdict verdict;

	conf_one_request(t, 0);
	verdict = try_region(t, (struct cvmm_vhost_user_mem_region){ .gpa = FAR_GPA }, -1);
	if (verdict != CONF_NACKED || !conf_is_alive(t))
		conf_skip(t, "a region of no bytes is not refused, or closes the connection");
	conf_one_request(t, 1);
}

static const struct conf_test tests[] = {
	{ "one-to-eight", "Tables of 1 to 8 regions are taken", SPEC_TABLE, CONF_MUST,
	  CONF_NEGOTIATED, .run = one_to_eight },
	{ "unsorted", "Regions may come in any order", SPEC_TABLE, CONF_SHOULD, CONF_NEGOTIATED,
	  .run = unsorted },
	{ "one-file", "Regions may be parts of one file", SPEC_REGION, CONF_MUST, CONF_NEGOTIATED,
	  .run = one_file },
	{ "last-of-eight", "Requests in the last of 8 regions are done", SPEC_ACCESS, CONF_MUST,
	  CONF_NEGOTIATED, CONF_NEEDS_DEVICE, .run = last_of_eight },
	{ "across-regions", "A buffer may cross from one region into the next", SPEC_ACCESS,
	  CONF_MUST, CONF_NEGOTIATED, CONF_NEEDS_DEVICE, .run = across_regions },
	{ "changed-while-running", "The table may change while a queue runs",
	  "vhost-user, Ring states: changing some configuration aspects on the fly", CONF_MUST,
	  CONF_RUNNING, .run = changed_while_running },
	{ "replaced", "A new table's predecessor is unmapped", SPEC_TABLE, CONF_SHOULD, CONF_SHARED,
	  CONF_NEEDS_ACK, .run = replaced },
	{ "other-files", "A new table with the same addresses means its own files", SPEC_TABLE,
	  CONF_MUST, CONF_SHARED, CONF_NEEDS_DEVICE, .run = other_files },
	{ "empty", "A table without regions harms no later connection", SPEC_TABLE, CONF_MUST,
	  CONF_NEGOTIATED, .run = empty_table },
	{ "size-zero", "A region of no bytes is refused", SPEC_REGION, CONF_SHOULD, CONF_NEGOTIATED,
	  CONF_NEEDS_ACK, .run = size_zero },
	{ "wraps", "Regions whose end is beyond 2^64 are refused", SPEC_REGION, CONF_SHOULD,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .run = wraps },
	{ "overlap-gpa", "Regions that overlap in the guest are refused", SPEC_OVERLAP, CONF_SHOULD,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .run = overlap_gpa },
	{ "overlap-uva", "Regions that overlap in user addresses are refused", SPEC_OVERLAP,
	  CONF_SHOULD, CONF_NEGOTIATED, CONF_NEEDS_ACK, .run = overlap_uva },
	{ "wrong-fds", "A table with more or fewer descriptors than regions is refused", SPEC_TABLE,
	  CONF_SHOULD, CONF_NEGOTIATED, CONF_NEEDS_ACK, .run = wrong_descriptors },
	{ "wrong-count", "A table with fewer regions than it says is refused", SPEC_TABLE,
	  CONF_SHOULD, CONF_NEGOTIATED, CONF_NEEDS_ACK, .run = wrong_counts },
	{ "short-file", "A region that is longer than its file is refused", SPEC_REGION,
	  CONF_SHOULD, CONF_NEGOTIATED, CONF_NEEDS_ACK, .run = short_file },
	{ "not-mappable", "A descriptor that cannot be mapped is refused", SPEC_REGION, CONF_SHOULD,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .run = not_mappable },
	{ "read-only-file", "A file that cannot be written to is refused", SPEC_REGION,
	  CONF_OPTIONAL, CONF_NEGOTIATED, CONF_NEEDS_ACK, .run = read_only_file },
	{ "odd-offset", "An offset need not be a multiple of a page", SPEC_REGION, CONF_OPTIONAL,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .run = odd_offset },
	{ "refused-keeps-memory", "A refused table leaves the one before in use", SPEC_TABLE,
	  CONF_OPTIONAL, CONF_RUNNING, CONF_NEEDS_ACK, .run = refused_table_keeps_memory },
};

const struct conf_group conf_memory = { "memory", tests, CVMM_ARRAY_SIZE(tests) };
