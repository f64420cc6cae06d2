// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Property test: random marks, looks and harvests against a model that is an array of one flag for
 * each page. Bitmaps at the start, in the middle and at the very end of the address space, and
 * a log. Deterministic: the seed is a constant.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include <cvmm/mem_dirty.h>

#define PAGES_MAX 700U
#define STEPS 20000U
#define ROUNDS 12U
#define SEED UINT64_C(0x9e3779b97f4a7c15)

/**
 * struct model - what the bitmap should be
 * @flags: whether each page is dirty
 * @dropped: marks with pages outside
 * @at: end of the last run that a harvest gave, in pages
 */
struct model {
	struct cvmm_dirty *dirty;
	uint64_t base;
	uint64_t pages;
	unsigned int log2;
	bool flags[PAGES_MAX];
	bool enabled;
	uint64_t dropped;
	uint64_t at;
	uint64_t random;
};

static uint64_t below(struct model *m, uint64_t limit)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return m->random % limit;
}

/* Mostly at the edges of pages, of words and of the bitmap, where the mistakes are. */
static uint64_t random_addr(struct model *m)
{
	uint64_t page = below(m, m->pages + 4) - 2, size = UINT64_C(1) << m->log2;
	uint64_t offset = below(m, 2) ? below(m, size) : below(m, 2) ? 0 : size - 1;

	if (!below(m, 8))
		return below(m, 2) ? below(m, 3) : UINT64_MAX - below(m, 3);
	if (!below(m, 3))
		page = (page & ~UINT64_C(63)) - 1 + below(m, 3);
	return m->base + (page << m->log2) + offset;
}

static uint64_t random_len(struct model *m)
{
	uint64_t size = UINT64_C(1) << m->log2;

	switch (below(m, 6)) {
	case 0:
		return below(m, 3);
	case 1:
		return size - 1 + below(m, 3);
	case 2:
		return UINT64_MAX - below(m, 3);
	case 3:
		return below(m, 200) << m->log2;
	default:
		return 1 + below(m, 16);
	}
}

/* First and last page of a range that are in the bitmap. Return: whether there is one. */
static bool model_cut(const struct model *m, uint64_t addr, uint64_t len, uint64_t *first,
		      uint64_t *last, bool *outside)
{
	uint64_t end = len && len - 1 > UINT64_MAX - addr ? UINT64_MAX : addr + len - 1;
	uint64_t bitmap_end = m->base + ((m->pages << m->log2) - 1);

	*outside = false;
	if (!len)
		return false;
	*outside = addr < m->base || end > bitmap_end;
	if (end < m->base || addr > bitmap_end)
		return false;
	*first = addr < m->base ? 0 : (addr - m->base) >> m->log2;
	*last = end > bitmap_end ? m->pages - 1 : (end - m->base) >> m->log2;
	return true;
}

static void mark(struct model *m)
{
	uint64_t addr = random_addr(m), len = random_len(m), first, last;
	bool outside, some = model_cut(m, addr, len, &first, &last, &outside);

	cvmm_dirty_mark(m->dirty, addr, len);
	if (!m->enabled)
		return;
	m->dropped += outside;
	for (uint64_t i = first; some && i <= last; i++)
		m->flags[i] = true;
}

static void look(struct model *m)
{
	uint64_t addr = random_addr(m), len = random_len(m), first, last;
	bool outside, some = model_cut(m, addr, len, &first, &last, &outside), any = false;

	for (uint64_t i = first; some && i <= last; i++)
		any |= m->flags[i];
	assert_int_equal(cvmm_dirty_any(m->dirty, addr, len), any);
	some = model_cut(m, addr, 1, &first, &last, &outside);
	assert_int_equal(cvmm_dirty_test(m->dirty, addr), some && m->flags[first]);
}

static int check_run(void *ctx, uint64_t addr, uint64_t len_bytes)
{
	struct model *m = ctx;
	uint64_t first = (addr - m->base) >> m->log2, count = len_bytes >> m->log2;

	assert_true(first >= m->at && count && first + count <= m->pages);
	for (uint64_t i = 0; i < count; i++) {
		assert_true(m->flags[first + i]);
		m->flags[first + i] = false;
	}
	m->at = first + count;
	return 0;
}

static void harvest(struct model *m)
{
	uint64_t addr = random_addr(m), len = random_len(m), first, last;
	bool outside, some = model_cut(m, addr, len, &first, &last, &outside);

	m->at = 0;
	assert_int_equal(cvmm_dirty_harvest(m->dirty, addr, len, check_run, m), 0);
	for (uint64_t i = first; some && i <= last; i++)
		assert_false(m->flags[i]);
}

static void take_words(struct model *m)
{
	uint64_t total = cvmm_dirty_word_count(m->dirty), words[PAGES_MAX / 64 + 1];
	uint64_t first = below(m, total), count = 1 + below(m, total - first);

	assert_int_equal(cvmm_dirty_get_and_reset(m->dirty, first, words, count), 0);
	for (uint64_t i = first * 64; i < (first + count) * 64; i++) {
		bool set = words[i / 64 - first] >> i % 64 & 1;

		assert_int_equal(set, i < m->pages && m->flags[i]);
		if (i < m->pages)
			m->flags[i] = false;
	}
}

static void merge_words(struct model *m)
{
	uint64_t words[3], page = below(m, m->pages), mask = UINT64_MAX;
	unsigned int outside = 0;

	for (int i = 0; i < 3; i++)
		words[i] = below(m, 3) ? below(m, UINT64_MAX) & below(m, UINT64_MAX) : mask;
	assert_int_equal(cvmm_dirty_merge_words(m->dirty, m->base + (page << m->log2), words, 3),
			 0);
	for (uint64_t i = 0; i < 3 * 64; i++)
		if (m->enabled && (words[i / 64] >> i % 64 & 1)) {
			if (page + i < m->pages)
				m->flags[page + i] = true;
			else
				outside++;
		}
	/* How runs are cut is not the model's business: only whether something was dropped. */
	if (m->base + (m->pages << m->log2) == 0)
		outside = 0;
	assert_int_equal(cvmm_dirty_dropped(m->dirty) > m->dropped, outside != 0);
	m->dropped = cvmm_dirty_dropped(m->dirty);
}

static void copy_and_merge(struct model *m)
{
	struct cvmm_dirty *clone = NULL;

	assert_int_equal(cvmm_dirty_clone(m->dirty, &clone, NULL), 0);
	assert_int_equal(cvmm_dirty_count(clone), cvmm_dirty_count(m->dirty));
	assert_int_equal(cvmm_dirty_clear(m->dirty, 0, UINT64_MAX), 0);
	if (m->enabled)
		cvmm_dirty_merge(m->dirty, clone);
	else
		memset(m->flags, 0, sizeof(m->flags));
	assert_int_equal(cvmm_dirty_dropped(clone), 0);
	cvmm_dirty_unref(clone);
}

static void one_step(struct model *m)
{
	uint64_t what = below(m, 200);

	if (what < 90)
		mark(m);
	else if (what < 140)
		look(m);
	else if (what < 170)
		harvest(m);
	else if (what < 180)
		take_words(m);
	else if (what < 190)
		merge_words(m);
	else if (what < 195)
		copy_and_merge(m);
	else
		assert_int_equal(cvmm_dirty_set_enabled(m->dirty, (m->enabled = below(m, 4) != 0)),
				 0);
}

static void run_model(struct model *m)
{
	m->enabled = true;
	for (unsigned int i = 0; i < STEPS; i++) {
		uint64_t sum = 0;

		one_step(m);
		for (uint64_t p = 0; p < m->pages; p++)
			sum += m->flags[p];
		assert_int_equal(cvmm_dirty_count(m->dirty), sum);
		assert_int_equal(cvmm_dirty_dropped(m->dirty), m->dropped);
	}
	cvmm_dirty_unref(m->dirty);
}

static void bitmaps_behave_as_arrays_of_flags(void **state)
{
	uint64_t random = SEED;

	(void)state;
	for (unsigned int round = 0; round < ROUNDS; round++) {
		struct model m = { .random = random };

		m.pages = 1 + below(&m, PAGES_MAX - 1);
		m.log2 = 12 + (unsigned int)below(&m, 40);
		m.base = below(&m, 100) << m.log2;
		if (round % 3 == 0)
			m.base = 0;
		if (round % 3 == 1)
			m.base = 0 - (m.pages << m.log2);
		assert_int_equal(
			cvmm_dirty_create(m.base, m.pages << m.log2, m.log2, &m.dirty, NULL), 0);
		run_model(&m);
		random = m.random;
	}
}

static void a_log_behaves_as_an_array_of_flags(void **state)
{
	uint64_t host_page = (uint64_t)sysconf(_SC_PAGESIZE), random = SEED;
	FILE *file = tmpfile();

	(void)state;
	assert_non_null(file);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		struct model m = { .random = random, .log2 = 12 };
		uint64_t size = 1 + below(&m, PAGES_MAX / 8);

		m.pages = size * 8;
		assert_int_equal(ftruncate(fileno(file), 0), 0);
		assert_int_equal(ftruncate(fileno(file), (off_t)(2 * host_page)), 0);
		assert_int_equal(cvmm_dirty_create_log(PAGES_MAX, &m.dirty, NULL), 0);
		assert_int_equal(cvmm_dirty_log_set(m.dirty, fileno(file), host_page, size, NULL),
				 0);
		assert_int_equal(cvmm_dirty_set_enabled(m.dirty, true), 0);
		run_model(&m);
		random = m.random;
		for (uint64_t i = 0; i < 2 * host_page; i++) {
			uint8_t byte = 0;

			if (i < host_page || i >= host_page + size)
				assert_int_equal(cvmm_pread_full(fileno(file), &byte, 1, i), 1);
			assert_int_equal(byte, 0);
		}
	}
	fclose(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bitmaps_behave_as_arrays_of_flags),
		cmocka_unit_test(a_log_behaves_as_an_array_of_flags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
