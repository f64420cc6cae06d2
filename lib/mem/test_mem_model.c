// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Property test: random regions, random changes of the map and random accesses, against a model
 * that is nothing but an array of bytes and the rights of each page. Two windows of the address
 * space: one near the start of it, one at its very end. Deterministic: the seed is a constant.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "test_mem_util.h"

#define WINDOW_PAGES 12
#define FILE_PAGES 4
#define MAPS 60
#define ACCESSES_PER_MAP 400
#define SEED UINT64_C(0x2545f4914f6cdd1d)

/**
 * struct model - what guest memory should be
 * @page: size of a page
 * @base: first guest address of the window
 * @size: bytes in the window
 * @bytes: contents; of no meaning where there is no RAM
 * @rights: enum cvmm_access of each page, 0 in a hole
 * @region: number of the region that each page belongs to, to count the pieces of a span
 * @regions: how many there were, ever
 * @mem: what is tested
 * @file: a file with @file_bytes in it
 * @random: state of the generator
 * @buf: room for the largest access
 */
struct model {
	uint64_t page;
	uint64_t base;
	uint64_t size;
	uint8_t *bytes;
	unsigned int rights[WINDOW_PAGES];
	unsigned int region[WINDOW_PAGES];
	unsigned int regions;
	struct cvmm_mem *mem;
	FILE *file;
	uint8_t *file_bytes;
	uint64_t file_size;
	uint64_t random;
	uint8_t *buf;
};

static uint64_t next_random(struct model *m)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return m->random;
}

static uint64_t below(struct model *m, uint64_t limit)
{
	return next_random(m) % limit;
}

static void random_bytes(struct model *m, uint8_t *buf, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		buf[i] = (uint8_t)next_random(m);
}

/* ---- the model's view ---------------------------------------------------------------------- */

static bool model_allows(const struct model *m, uint64_t offset, uint64_t len, unsigned int access)
{
	for (uint64_t i = 0; i < len; i++) {
		if (offset + i >= m->size)
			return false;
		if (access & ~m->rights[(offset + i) / m->page])
			return false;
	}
	return true;
}

/* Whether two neighbouring pages are one piece: in one region, or side by side in the host with equal rights. */
static bool model_joined(const struct model *m, uint64_t page)
{
	const struct cvmm_mem_region *a, *b;

	if (m->region[page] == m->region[page + 1])
		return true;
	a = cvmm_mem_region_find(m->mem, G(m->base + page * m->page));
	b = cvmm_mem_region_find(m->mem, G(m->base + (page + 1) * m->page));
	return a->host + a->len_bytes == b->host && m->rights[page] == m->rights[page + 1];
}

/* Contiguous pieces of an allowed range. */
static size_t model_pieces(const struct model *m, uint64_t offset, uint64_t len)
{
	size_t pieces = len != 0;

	for (uint64_t page = offset / m->page; len && page < (offset + len - 1) / m->page; page++)
		pieces += !model_joined(m, page);
	return pieces;
}

/* ---- the map ------------------------------------------------------------------------------- */

static void plug(struct model *m)
{
	uint64_t first = below(m, WINDOW_PAGES), pages = 1 + below(m, 4);
	struct cvmm_mem_config config;
	struct cvmm_mem *changed = NULL;
	bool clash = false;
	int ret;

	if (pages > WINDOW_PAGES - first)
		pages = WINDOW_PAGES - first;
	config = ram_config(m->base + first * m->page, pages * m->page);
	config.kind = below(m, 2) ? CVMM_MEM_ANONYMOUS : KIND_OF_ANOTHER_REGION;
	config.access = below(m, 4) ? CVMM_ACCESS_READ_WRITE : 1 + (unsigned int)below(m, 3);
	for (uint64_t i = first; i < first + pages; i++)
		clash |= m->rights[i] != 0;
	ret = cvmm_mem_insert(m->mem, &config, &changed, NULL);
	assert_int_equal(ret, clash ? -EEXIST : 0);
	if (ret)
		return;
	cvmm_mem_unref(m->mem);
	m->mem = changed;
	m->regions++;
	for (uint64_t i = first; i < first + pages; i++) {
		m->rights[i] = config.access;
		m->region[i] = m->regions;
	}
	memset(m->bytes + first * m->page, 0, pages * m->page);
}

static void unplug(struct model *m)
{
	uint64_t first = below(m, WINDOW_PAGES), pages = 0;
	struct cvmm_mem *changed = NULL;
	int ret;

	while (first && m->rights[first] && m->region[first - 1] == m->region[first])
		first--;
	while (m->rights[first] && first + pages < WINDOW_PAGES &&
	       m->region[first + pages] == m->region[first])
		pages++;
	ret = cvmm_mem_remove(m->mem, G(m->base + first * m->page), pages * m->page, &changed,
			      NULL);
	assert_int_equal(ret, pages ? 0 : -ENOENT);
	if (ret)
		return;
	cvmm_mem_unref(m->mem);
	m->mem = changed;
	for (uint64_t i = first; i < first + pages; i++)
		m->rights[i] = m->region[i] = 0;
}

/* ---- accesses ------------------------------------------------------------------------------ */

/* Mostly near the edges of pages, where the mistakes are; also partly outside of the window. */
static void random_range(struct model *m, uint64_t *ret_offset, uint64_t *ret_len)
{
	uint64_t offset = below(m, WINDOW_PAGES + 1) * m->page;

	if (below(m, 4))
		offset += below(m, 33) - 16;
	else
		offset += below(m, m->page);
	/* Behind the end of the address space there is the start of it, which is no RAM here. */
	*ret_offset = offset;
	switch (below(m, 4)) {
	case 0:
		*ret_len = UINT64_C(1) << below(m, 4);
		break;
	case 1:
		*ret_len = below(m, 40);
		break;
	case 2:
		*ret_len = below(m, 3) * m->page + below(m, 33);
		break;
	default:
		*ret_len = below(m, 3 * m->page);
		break;
	}
}

static void check_read(struct model *m, uint64_t offset, uint64_t len)
{
	bool fine = model_allows(m, offset, len, CVMM_ACCESS_READ);

	assert_int_equal(cvmm_mem_read(m->mem, G(m->base + offset), m->buf, len),
			 fine ? 0 : -EFAULT);
	if (fine && len)
		assert_memory_equal(m->buf, m->bytes + offset, len);
}

static void check_write(struct model *m, uint64_t offset, uint64_t len)
{
	bool fine = model_allows(m, offset, len, CVMM_ACCESS_WRITE);

	random_bytes(m, m->buf, len);
	assert_int_equal(cvmm_mem_write(m->mem, G(m->base + offset), m->buf, len),
			 fine ? 0 : -EFAULT);
	if (fine && len)
		memcpy(m->bytes + offset, m->buf, len);
}

static void check_fill(struct model *m, uint64_t offset, uint64_t len)
{
	bool fine = model_allows(m, offset, len, CVMM_ACCESS_WRITE);
	uint8_t value = (uint8_t)next_random(m);

	assert_int_equal(cvmm_mem_fill(m->mem, G(m->base + offset), value, len),
			 fine ? 0 : -EFAULT);
	if (fine && len)
		memset(m->bytes + offset, value, len);
}

static void check_pread(struct model *m, uint64_t offset, uint64_t len)
{
	bool fine = model_allows(m, offset, len, CVMM_ACCESS_WRITE);
	uint64_t from = below(m, m->file_size), rest = m->file_size - from;
	int want = !fine ? -EFAULT : len > rest ? -ENODATA : 0;

	/* A file that ends too early leaves the start of the range written; the model follows. */
	assert_int_equal(cvmm_mem_pread(m->mem, G(m->base + offset), fileno(m->file), from, len),
			 want);
	if (fine && len)
		memcpy(m->bytes + offset, m->file_bytes + from, len < rest ? len : rest);
}

static void check_span(struct model *m, uint64_t offset, uint64_t len)
{
	unsigned int access = 1 + (unsigned int)below(m, 3);
	bool fine = model_allows(m, offset, len, access);
	size_t pieces = fine ? model_pieces(m, offset, len) : 0;
	size_t room = below(m, WINDOW_PAGES), count = 42;
	struct iovec iov[WINDOW_PAGES];
	int want = !fine ? -EFAULT : pieces > room ? -ENOBUFS : 0;

	assert_int_equal(cvmm_mem_span(m->mem, G(m->base + offset), len, access, iov, room, &count),
			 want);
	assert_int_equal(count, want ? 42 : pieces);
	if (want || !len)
		return;
	assert_int_equal(cvmm_iov_len(iov, count), len);
	assert_int_equal(cvmm_iov_copy_from(iov, count, 0, m->buf, len), len);
	assert_memory_equal(m->buf, m->bytes + offset, len);
}

static void check_queries(struct model *m, uint64_t offset, uint64_t len)
{
	unsigned int access = 1 + (unsigned int)below(m, 3);
	bool fine = model_allows(m, offset, len, access);
	const uint8_t *host;

	assert_int_equal(cvmm_mem_check(m->mem, G(m->base + offset), len, access),
			 fine ? 0 : -EFAULT);
	assert_true(!!cvmm_mem_region_find(m->mem, G(m->base + offset)) ==
		    (offset < m->size && m->rights[offset / m->page]));
	if (!len)
		return;
	host = cvmm_mem_ptr(m->mem, G(m->base + offset), len, access);
	assert_true(!!host == (fine && model_pieces(m, offset, len) == 1));
	if (host)
		assert_memory_equal(host, m->bytes + offset, len);
}

/* Sizes that the compiler knows take the way in the header. */
#define CHECK_OBJECT(m, offset, size)                                                             \
	do {                                                                                      \
		bool readable = model_allows(m, offset, size, CVMM_ACCESS_READ);                  \
		bool writable = model_allows(m, offset, size, CVMM_ACCESS_WRITE);                 \
		uint8_t object[size];                                                             \
                                                                                                  \
		assert_int_equal(cvmm_mem_read((m)->mem, G((m)->base + (offset)), object, size),  \
				 readable ? 0 : -EFAULT);                                         \
		if (readable)                                                                     \
			assert_memory_equal(object, (m)->bytes + (offset), size);                 \
		memset(object, (int)below(m, 256), size);                                         \
		assert_int_equal(cvmm_mem_write((m)->mem, G((m)->base + (offset)), object, size), \
				 writable ? 0 : -EFAULT);                                         \
		if (writable)                                                                     \
			memcpy((m)->bytes + (offset), object, size);                              \
	} while (0)

static void check_objects(struct model *m, uint64_t offset, uint64_t len)
{
	(void)len;
	CHECK_OBJECT(m, offset, 1);
	CHECK_OBJECT(m, offset & ~UINT64_C(1), 2);
	CHECK_OBJECT(m, offset, 2);
	CHECK_OBJECT(m, offset & ~UINT64_C(3), 4);
	CHECK_OBJECT(m, offset, 4);
	CHECK_OBJECT(m, offset & ~UINT64_C(7), 8);
	CHECK_OBJECT(m, offset, 8);
	CHECK_OBJECT(m, offset, 16);
	CHECK_OBJECT(m, offset, 64);
}

static void check_atomics(struct model *m, uint64_t offset, uint64_t len)
{
	bool aligned = !(offset % 4);
	bool readable = model_allows(m, offset, 4, CVMM_ACCESS_READ);
	bool writable = model_allows(m, offset, 4, CVMM_ACCESS_WRITE);
	uint32_t new = (uint32_t)next_random(m), old = 0;
	cvmm_gpa gpa = G(m->base + offset);

	(void)len;
	assert_int_equal(cvmm_mem_load_u32(m->mem, gpa, __ATOMIC_ACQUIRE, &old), !aligned ? -EINVAL
										 : readable
											 ? 0
											 : -EFAULT);
	if (aligned && readable)
		assert_int_equal(old, cvmm_get_le32(m->bytes + offset));
	assert_int_equal(cvmm_mem_store_u32(m->mem, gpa, __ATOMIC_RELEASE, new), !aligned ? -EINVAL
										 : writable
											 ? 0
											 : -EFAULT);
	if (aligned && writable)
		cvmm_put_le32(m->bytes + offset, new);
}

static void access_at_random(struct model *m)
{
	static void (*const checks[])(struct model *, uint64_t, uint64_t) = {
		check_read, check_write,   check_fill,	  check_pread,
		check_span, check_queries, check_atomics, check_objects,
	};
	uint64_t offset, len;

	random_range(m, &offset, &len);
	checks[below(m, CVMM_ARRAY_SIZE(checks))](m, offset, len);
}

/* Every byte, also of memory that devices may not read: a refused write must not show anywhere. */
static void compare_all(const struct model *m)
{
	for (size_t i = 0; i < cvmm_mem_region_count(m->mem); i++) {
		const struct cvmm_mem_region *region = cvmm_mem_region_at(m->mem, i);

		assert_memory_equal(region->host, m->bytes + (region->gpa - m->base),
				    region->len_bytes);
	}
}

static void run_model(bool at_the_end)
{
	struct model m = { .page = page_size(), .random = SEED };

	m.size = WINDOW_PAGES * m.page;
	m.base = at_the_end ? -m.size : m.page;
	m.bytes = calloc(1, m.size);
	m.buf = calloc(1, m.size);
	m.file_size = FILE_PAGES * m.page - 5;
	m.file_bytes = malloc(m.file_size);
	m.file = tmpfile();
	assert_true(m.bytes && m.buf && m.file_bytes && m.file);
	random_bytes(&m, m.file_bytes, m.file_size);
	assert_int_equal(cvmm_pwrite_full(fileno(m.file), m.file_bytes, m.file_size, 0), 0);
	m.mem = must_create(NULL, 0);
	for (int i = 0; i < MAPS; i++) {
		for (int j = 0; j < 4; j++)
			plug(&m);
		unplug(&m);
		for (int j = 0; j < ACCESSES_PER_MAP; j++)
			access_at_random(&m);
		compare_all(&m);
	}
	cvmm_mem_unref(m.mem);
	fclose(m.file);
	free(m.file_bytes);
	free(m.buf);
	free(m.bytes);
}

static void memory_behaves_as_an_array_with_holes(void **state)
{
	(void)state;
	run_model(false);
}

static void memory_at_the_end_of_the_address_space_does_too(void **state)
{
	(void)state;
	run_model(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_behaves_as_an_array_with_holes),
		cmocka_unit_test(memory_at_the_end_of_the_address_space_does_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
