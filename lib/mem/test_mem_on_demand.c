// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Regions that are mapped only for as long as an access takes. The memory behind them is a memfd, of
 * which each window is a mapping of its own.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "../../tests/support/descriptors.h"
#include "test_mem_util.h"

#define BASE 0x10000000u
#define PAGES 128u /* two windows, and more */

/**
 * struct backing - what stands for memory elsewhere
 * @open: windows that are mapped now
 * @maps: windows that ever were
 * @fail_at: the map() call that fails, counted from 1; 0 for none
 * @released: whether the last map is gone
 */
struct backing {
	int fd;
	int open;
	int maps;
	int fail_at;
	bool released;
	struct cvmm_mem *mem;
};

static int window_map(void *ctx, uint64_t offset, uint64_t len, enum cvmm_access access, void **ret)
{
	struct backing *b = ctx;
	uint64_t start = offset / page_size() * page_size();
	int prot = access == CVMM_ACCESS_READ ? PROT_READ : PROT_READ | PROT_WRITE;
	uint8_t *host;

	assert_true(len > 0 && len <= CVMM_MEM_WINDOW_BYTES_MAX);
	assert_true(offset + len <= PAGES * page_size());
	if (++b->maps == b->fail_at)
		return -EIO;
	host = mmap(NULL, offset + len - start, prot, MAP_SHARED, b->fd, (off_t)start);
	assert_true(host != MAP_FAILED);
	b->open++;
	*ret = host + (offset - start);
	return 0;
}

static void window_unmap(void *ctx, void *host, uint64_t len)
{
	struct backing *b = ctx;
	uint64_t in_page = (uintptr_t)host % page_size();

	assert_int_equal(munmap((uint8_t *)host - in_page, in_page + len), 0);
	b->open--;
}

static void release(void *ctx)
{
	((struct backing *)ctx)->released = true;
}

static const struct cvmm_mem_ops ops = {
	.map = window_map,
	.unmap = window_unmap,
	.release = release,
};

static struct cvmm_mem_config on_demand_config(struct backing *b)
{
	struct cvmm_mem_config config = ram_config(BASE, PAGES * page_size());

	config.kind = CVMM_MEM_ON_DEMAND;
	config.ops = &ops;
	config.ops_ctx = b;
	return config;
}

/* A page of RAM, the region on demand, and a page of RAM. */
static int setup(void **state)
{
	struct backing *b = calloc(1, sizeof(*b));
	struct cvmm_mem_config configs[3];

	assert_non_null(b);
	b->fd = test_file();
	assert_true(b->fd >= 0);
	assert_int_equal(ftruncate(b->fd, (off_t)(PAGES * page_size())), 0);
	configs[0] = ram_config(BASE - page_size(), page_size());
	configs[1] = on_demand_config(b);
	configs[2] = ram_config(BASE + PAGES * page_size(), page_size());
	b->mem = must_create(configs, 3);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct backing *b = *state;

	cvmm_mem_unref(b->mem);
	assert_true(b->released);
	assert_int_equal(b->open, 0);
	close(b->fd);
	free(b);
	return 0;
}

static void objects_are_read_and_written_through_windows(void **state)
{
	struct backing *b = *state;
	uint64_t v = 0x1122334455667788, got = 0;

	assert_int_equal(cvmm_mem_write(b->mem, G(BASE + 24), &v, sizeof(v)), 0);
	assert_int_equal(pread(b->fd, &got, sizeof(got), 24), sizeof(got));
	assert_int_equal(got, v);
	got = 0;
	assert_int_equal(cvmm_mem_read(b->mem, G(BASE + 24), &got, sizeof(got)), 0);
	assert_int_equal(got, v);
	assert_int_equal(b->maps, 2);
	assert_int_equal(b->open, 0);
}

static void atomics_work_in_windows(void **state)
{
	struct backing *b = *state;
	uint32_t got = 0;

	assert_int_equal(cvmm_mem_store_u32(b->mem, G(BASE + 8), __ATOMIC_RELEASE, 77), 0);
	assert_int_equal(cvmm_mem_load_u32(b->mem, G(BASE + 8), __ATOMIC_ACQUIRE, &got), 0);
	assert_int_equal(got, 77);
	assert_int_equal(cvmm_mem_load_u32(b->mem, G(BASE + 6), __ATOMIC_ACQUIRE, &got), -EINVAL);
	assert_int_equal(b->open, 0);
}

static void long_ranges_across_all_regions_are_copied(void **state)
{
	struct backing *b = *state;
	size_t len = (size_t)((PAGES + 1) * page_size());
	uint64_t start = BASE - page_size() / 2;
	uint8_t *in = malloc(len), *out = calloc(1, len);

	assert_true(in && out);
	for (size_t i = 0; i < len; i++)
		in[i] = (uint8_t)(i * 31 + i / 256);
	assert_int_equal(cvmm_mem_write(b->mem, G(start), in, len), 0);
	assert_int_equal(cvmm_mem_read(b->mem, G(start), out, len), 0);
	assert_memory_equal(in, out, len);
	/* From one window to another, of the same region. */
	assert_int_equal(cvmm_mem_copy(b->mem, G(BASE), b->mem, G(BASE + 64 * page_size()), 5000),
			 0);
	assert_int_equal(cvmm_mem_read(b->mem, G(BASE), out, 5000), 0);
	assert_memory_equal(out, in + 64 * page_size() + page_size() / 2, 5000);
	assert_int_equal(cvmm_mem_fill(b->mem, G(BASE), 9, len / 2), 0);
	assert_int_equal(b->open, 0);
	free(in);
	free(out);
}

static void streams_go_through_one_window_at_a_time(void **state)
{
	struct backing *b = *state;
	uint8_t out[3000] = { 0 };
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(cvmm_mem_fill(b->mem, G(BASE - 1000), 5, 3000), 0);
	assert_int_equal(cvmm_mem_write_full_to_fd(b->mem, G(BASE - 1000), fds[1], 3000), 0);
	assert_int_equal(cvmm_mem_read_full_from_fd(b->mem, G(BASE + 70000), fds[0], 3000), 0);
	assert_int_equal(cvmm_mem_read(b->mem, G(BASE + 70000), out, 3000), 0);
	for (int i = 0; i < 3000; i++)
		assert_int_equal(out[i], 5);
	assert_int_equal(cvmm_mem_pwrite(b->mem, G(BASE), b->fd, 8192, 100), 0);
	assert_int_equal(cvmm_mem_pread(b->mem, G(BASE), b->fd, 8192, 100), 0);
	close(fds[0]);
	close(fds[1]);
}

static void pointers_and_spans_are_refused(void **state)
{
	struct backing *b = *state;
	struct iovec iov[4];
	size_t count = 42;

	assert_null(cvmm_mem_ptr(b->mem, G(BASE), 8, CVMM_ACCESS_READ));
	assert_int_equal(cvmm_mem_span(b->mem, G(BASE), 8, CVMM_ACCESS_READ, iov, 4, &count),
			 -ENOTSUP);
	assert_int_equal(cvmm_mem_span(b->mem, G(BASE - 8), 16, CVMM_ACCESS_READ, iov, 4, &count),
			 -ENOTSUP);
	assert_int_equal(count, 42);
	/* RAM beside it is as ever. */
	assert_int_equal(cvmm_mem_span(b->mem, G(BASE - 8), 8, CVMM_ACCESS_READ, iov, 4, &count),
			 0);
	assert_int_equal(count, 1);
	assert_int_equal(cvmm_mem_check(b->mem, G(BASE - 8), 16, CVMM_ACCESS_READ), 0);
	assert_int_equal(cvmm_mem_discard(b->mem, G(BASE), page_size()), -ENOTSUP);
}

static void a_pin_keeps_windows_until_its_end(void **state)
{
	struct backing *b = *state;
	struct cvmm_mem_pin pin;
	struct iovec iov[8];
	uint8_t got = 0;

	/* RAM, two windows (one is not long enough), RAM. */
	assert_int_equal(cvmm_mem_pin(b->mem, G(BASE - 16), PAGES * page_size() + 32,
				      CVMM_ACCESS_READ_WRITE, iov, 8, &pin),
			 0);
	assert_int_equal(pin.count, 4);
	assert_int_equal(b->open, 2);
	((uint8_t *)iov[1].iov_base)[0] = 0xab;
	cvmm_mem_unpin(&pin);
	assert_int_equal(b->open, 0);
	assert_int_equal(pread(b->fd, &got, 1, 0), 1);
	assert_int_equal(got, 0xab);
}

static void a_pin_that_fails_leaves_nothing_mapped(void **state)
{
	struct backing *b = *state;
	struct cvmm_mem_pin pin;
	struct iovec iov[8];

	assert_int_equal(
		cvmm_mem_pin(b->mem, G(BASE), PAGES * page_size(), CVMM_ACCESS_READ, iov, 1, &pin),
		-ENOBUFS);
	assert_int_equal(b->open, 0);
	b->fail_at = b->maps + 2;
	assert_int_equal(
		cvmm_mem_pin(b->mem, G(BASE), PAGES * page_size(), CVMM_ACCESS_READ, iov, 8, &pin),
		-EIO);
	assert_int_equal(b->open, 0);
}

static void what_map_fails_with_is_what_the_access_fails_with(void **state)
{
	struct backing *b = *state;
	uint32_t v = 1;
	uint8_t big[64];

	b->fail_at = b->maps + 1;
	assert_int_equal(cvmm_mem_read(b->mem, G(BASE), &v, sizeof(v)), -EIO);
	b->fail_at = b->maps + 1;
	assert_int_equal(cvmm_mem_write(b->mem, G(BASE - 32), big, sizeof(big)), -EIO);
	b->fail_at = b->maps + 1;
	assert_int_equal(cvmm_mem_load_u32(b->mem, G(BASE), __ATOMIC_RELAXED, &v), -EIO);
	b->fail_at = b->maps + 1;
	assert_int_equal(cvmm_mem_fill(b->mem, G(BASE), 0, 10), -EIO);
	b->fail_at = b->maps + 1;
	assert_int_equal(cvmm_mem_copy(b->mem, G(BASE), b->mem, G(BASE + 100), 10), -EIO);
	b->fail_at = b->maps + 1;
	assert_int_equal(cvmm_mem_read_from_fd(b->mem, G(BASE), b->fd, 10), -EIO);
	assert_int_equal(b->open, 0);
}

static void changed_maps_share_the_region(void **state)
{
	struct backing *b = *state;
	struct cvmm_mem *less = NULL;
	uint64_t v = 5, got = 0;

	assert_int_equal(cvmm_mem_write(b->mem, G(BASE), &v, sizeof(v)), 0);
	assert_int_equal(cvmm_mem_remove(b->mem, G(BASE - page_size()), page_size(), &less, NULL),
			 0);
	cvmm_mem_unref(b->mem);
	b->mem = less;
	assert_false(b->released);
	assert_int_equal(cvmm_mem_read(b->mem, G(BASE), &got, sizeof(got)), 0);
	assert_int_equal(got, 5);
}

static void bad_configs_are_refused_and_not_released(void **state)
{
	struct backing *b = *state, other = { .fd = -1 };
	struct cvmm_mem_config config = on_demand_config(&other), pair[2];
	struct cvmm_mem *mem = NULL;
	struct cvmm_error err;

	config.ops = NULL;
	assert_int_equal(cvmm_mem_create(&config, 1, &mem, &err), -EINVAL);
	config = on_demand_config(&other);
	config.flags = CVMM_MEM_PREFAULT;
	assert_int_equal(cvmm_mem_create(&config, 1, &mem, &err), -EINVAL);
	/* The second fails after the first was made. */
	pair[0] = on_demand_config(&other);
	pair[1] = ram_config(BASE + 2 * PAGES * page_size(), page_size());
	pair[1].kind = CVMM_MEM_FILE;
	pair[1].fd = b->fd;
	pair[1].fd_offset = PAGES * page_size();
	assert_int_equal(cvmm_mem_create(pair, 2, &mem, &err), -EINVAL);
	assert_false(other.released);
	assert_null(mem);
}

static void memory_of_the_callers_is_released_with_the_last_map(void **state)
{
	static const struct cvmm_mem_ops release_only = { .release = release };
	struct backing *b = *state, other = { .fd = -1 };
	struct cvmm_mem_config config = ram_config(4 * BASE, page_size());
	struct cvmm_mem *one = NULL, *two = NULL;

	(void)b;
	config.kind = CVMM_MEM_EXTERNAL;
	config.host = aligned_alloc(page_size(), page_size());
	config.ops = &release_only;
	config.ops_ctx = &other;
	one = must_create(&config, 1);
	config = ram_config(8 * BASE, page_size());
	assert_int_equal(cvmm_mem_insert(one, &config, &two, NULL), 0);
	config.host = (void *)cvmm_mem_region_at(one, 0)->host;
	cvmm_mem_unref(one);
	assert_false(other.released);
	cvmm_mem_unref(two);
	assert_true(other.released);
	free(config.host);
}

/* Where memory lies in the host is not for the length of a neighbour to say. */
static void memory_beside_it_is_anywhere(void **state)
{
	struct backing *b = *state;
	struct cvmm_mem_config ram = ram_config(BASE + (PAGES + 1) * page_size(), page_size());
	struct cvmm_mem *less = NULL, *more = NULL;

	assert_int_equal(
		cvmm_mem_remove(b->mem, G(BASE + PAGES * page_size()), page_size(), &less, NULL),
		0);
	ram.gpa = G(BASE + PAGES * page_size());
	assert_int_equal(cvmm_mem_insert(less, &ram, &more, NULL), 0);
	assert_true((uintptr_t)cvmm_mem_region_find(more, ram.gpa)->host != PAGES * page_size());
	cvmm_mem_unref(less);
	cvmm_mem_unref(more);
}

#define on_demand_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		on_demand_test(objects_are_read_and_written_through_windows),
		on_demand_test(atomics_work_in_windows),
		on_demand_test(long_ranges_across_all_regions_are_copied),
		on_demand_test(streams_go_through_one_window_at_a_time),
		on_demand_test(pointers_and_spans_are_refused),
		on_demand_test(a_pin_keeps_windows_until_its_end),
		on_demand_test(a_pin_that_fails_leaves_nothing_mapped),
		on_demand_test(what_map_fails_with_is_what_the_access_fails_with),
		on_demand_test(changed_maps_share_the_region),
		on_demand_test(bad_configs_are_refused_and_not_released),
		on_demand_test(memory_beside_it_is_anywhere),
		on_demand_test(memory_of_the_callers_is_released_with_the_last_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
