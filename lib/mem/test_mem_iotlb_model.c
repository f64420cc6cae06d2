// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Property test: random changes of an IOTLB against a model that remembers for each address of a small
 * window what it stands for. Windows are at both ends of the address space. With room for everything the
 * two must agree; with less, the cache may have forgotten, but must not say anything that is not so.
 * Deterministic: the seed is a constant.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "mem_iotlb_internal.h"

#define WINDOW 96u
#define STEPS 30000
#define LISTS WINDOW
#define SEED UINT64_C(0x9e3779b97f4a7c15)
#define UNMAPPED 0xff

/**
 * struct model - what each address stands for
 * @base: first IOVA of the window
 * @addr: by offset in the window
 * @rights: by offset; UNMAPPED where nothing is
 * @forgetful: the cache is too small for the window
 */
struct model {
	struct cvmm_iotlb *tlb;
	uint64_t base;
	uint64_t addr[WINDOW];
	uint8_t rights[WINDOW];
	bool forgetful;
	uint64_t random;
};

static uint64_t below(struct model *m, uint64_t limit)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return m->random % limit;
}

static void random_range(struct model *m, uint64_t *ret_first, uint64_t *ret_len)
{
	*ret_first = below(m, WINDOW);
	*ret_len = 1 + below(m, below(m, 4) ? 8 : WINDOW);
	if (*ret_len > WINDOW - *ret_first)
		*ret_len = WINDOW - *ret_first;
}

static void change(struct model *m, struct cvmm_iotlb_op *op)
{
	uint64_t first, len;

	random_range(m, &first, &len);
	*op = (struct cvmm_iotlb_op){
		.kind = below(m, 3) ? CVMM_IOTLB_UPDATE : CVMM_IOTLB_INVALIDATE,
		.iova = m->base + first,
		.last = m->base + first + (len - 1),
		.rights = (unsigned int)below(m, 4),
	};
	/* Often such that neighbours stand for neighbours; also up to the highest address. */
	op->addr = below(m, 8) ? 0x1000 + first : UINT64_MAX - (len - 1) - below(m, 2);
	for (uint64_t i = first; i < first + len; i++) {
		m->rights[i] = op->kind == CVMM_IOTLB_UPDATE ? (uint8_t)op->rights : UNMAPPED;
		m->addr[i] = op->addr + (i - first);
	}
}

static void change_some(struct model *m)
{
	struct cvmm_iotlb_op ops[3];
	size_t count = 1 + below(m, CVMM_ARRAY_SIZE(ops));

	for (size_t i = 0; i < count; i++)
		change(m, &ops[i]);
	assert_int_equal(cvmm_iotlb_apply(m->tlb, ops, count, NULL), 0);
}

enum what {
	NOTHING,
	PIECE,
	MISS,
	FAIL
};

static void claim(enum what *seen, const struct model *m, uint64_t iova, uint64_t len,
		  enum what what)
{
	for (uint64_t i = 0; i < len; i++) {
		assert_true(iova - m->base + i < WINDOW);
		assert_int_equal(seen[iova - m->base + i], NOTHING);
		seen[iova - m->base + i] = what;
	}
}

static void check_byte(const struct model *m, uint64_t i, enum what what, enum cvmm_access access)
{
	bool mapped = m->rights[i] != UNMAPPED;
	bool allowed = mapped && !(access & ~m->rights[i]);

	if (what == MISS)
		assert_true(m->forgetful || !mapped);
	else
		assert_int_equal(what, allowed ? PIECE : FAIL);
	assert_true(what == MISS || mapped);
}

static void look_up(struct model *m)
{
	struct cvmm_iotlb_piece pieces[LISTS];
	struct cvmm_iotlb_range misses[LISTS], fails[LISTS];
	struct cvmm_iotlb_lookup l = { pieces, LISTS, 0, misses, LISTS, 0, fails, LISTS, 0 };
	enum cvmm_access access = 1 + (enum cvmm_access)below(m, 3);
	enum what seen[WINDOW] = { NOTHING };
	uint64_t first, len;
	int ret;

	random_range(m, &first, &len);
	ret = cvmm_iotlb_lookup(m->tlb, m->base + first, len, access, &l);
	assert_int_equal(ret, l.fail_count ? -EACCES : l.miss_count ? -EAGAIN : 0);
	for (size_t i = 0; i < l.piece_count; i++) {
		claim(seen, m, pieces[i].iova, pieces[i].len_bytes, PIECE);
		for (uint64_t j = 0; j < pieces[i].len_bytes; j++)
			assert_int_equal(pieces[i].addr + j, m->addr[pieces[i].iova - m->base + j]);
	}
	for (size_t i = 0; i < l.miss_count; i++)
		claim(seen, m, misses[i].iova, misses[i].len_bytes, MISS);
	for (size_t i = 0; i < l.fail_count; i++)
		claim(seen, m, fails[i].iova, fails[i].len_bytes, FAIL);
	for (uint64_t i = 0; i < WINDOW; i++) {
		bool inside = i >= first && i < first + len;

		assert_true(inside == (seen[i] != NOTHING));
		if (inside)
			check_byte(m, i, seen[i], access);
	}
}

static void run_model(uint64_t base, size_t capacity)
{
	struct model m = { .base = base, .random = SEED, .forgetful = capacity < WINDOW };

	assert_int_equal(cvmm_iotlb_create(capacity, &m.tlb, NULL), 0);
	memset(m.rights, UNMAPPED, sizeof(m.rights));
	for (int i = 0; i < STEPS; i++) {
		change_some(&m);
		assert_true(cvmm_iotlb_count(m.tlb) <= capacity);
		look_up(&m);
		look_up(&m);
	}
	cvmm_iotlb_destroy(m.tlb);
}

static void a_cache_with_room_for_all_agrees_with_the_model(void **state)
{
	(void)state;
	run_model(0x10000, WINDOW);
	run_model(-(uint64_t)WINDOW, WINDOW);
	run_model(0, WINDOW);
}

static void a_small_cache_forgets_but_never_errs(void **state)
{
	(void)state;
	run_model(0x10000, 1);
	run_model(0x10000, 2);
	run_model(-(uint64_t)WINDOW, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cache_with_room_for_all_agrees_with_the_model),
		cmocka_unit_test(a_small_cache_forgets_but_never_errs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
