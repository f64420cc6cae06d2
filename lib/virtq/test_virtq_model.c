// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Random drivers against the queue. The honest one keeps to the rules, and a naive model says what
 * every call must give. The hostile one writes nonsense, and every call must end in a defined way.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "test_driver.h"

#define HONEST_OPERATIONS 200000U
#define HOSTILE_ROUNDS 40000U
#define ROUND_OPERATIONS 10U /* about; for long runs */
#define MODEL_SIZE_MAX 64U
#define CHAIN_DESCS_MAX 12U
#define PIECES_MAX (2U * CHAIN_DESCS_MAX)
#define TABLES UINT64_C(0x180000) /* an indirect table for each head */
#define TABLE_STRIDE 512U

static int set_up(void **state)
{
	struct test_driver *d = calloc(1, sizeof(*d));

	CVMM_BUG_ON(!d);
	test_driver_init(d, 8);
	*state = d;
	return 0;
}

static int tear_down(void **state)
{
	test_driver_fini(*state);
	free(*state);
	return 0;
}

/* ---- the honest driver --------------------------------------------------------------------- */

/* What a chain must come out as. */
struct expected {
	struct iovec pieces[PIECES_MAX];
	size_t readable;
	size_t writable;
	uint16_t descs[CHAIN_DESCS_MAX]; /* of the ring, to free when it is used */
	size_t desc_count;
};

/* A used element that the driver will find. */
struct given_back {
	uint16_t head;
	uint32_t len;
};

struct model {
	struct test_driver *d;
	uint64_t random;
	uint16_t size;
	bool event_idx;
	bool desc_taken[MODEL_SIZE_MAX];
	size_t descs_free;
	struct expected chains[MODEL_SIZE_MAX]; /* by head */
	uint16_t ready[MODEL_SIZE_MAX];		/* written in the ring, not published */
	size_t ready_count;
	uint16_t avail[MODEL_SIZE_MAX]; /* published, not popped; oldest first */
	size_t avail_count;
	uint16_t popped[MODEL_SIZE_MAX]; /* in flight; newest last */
	size_t popped_count;
	size_t rewindable;			/* how many of the newest are the last pops */
	struct given_back used[MODEL_SIZE_MAX]; /* not yet taken by the driver; oldest first */
	size_t used_count;
	uint16_t used_idx;
	bool must_notify; /* a push since the last decision hit the event, as 2.7.7.2 says it */
	bool pushed;
	uint16_t event;
	uint16_t avail_flags;
	uint16_t popped_idx; /* avail.idx of the next pop */
	uint32_t served;     /* chains given back, in all */
};

static uint16_t take_desc(struct model *m, struct expected *e)
{
	uint16_t i = (uint16_t)test_below(&m->random, m->size);

	while (m->desc_taken[i])
		i = (uint16_t)((i + 1) % m->size);
	m->desc_taken[i] = true;
	m->descs_free--;
	e->descs[e->desc_count++] = i;
	return i;
}

static void expect_piece(struct model *m, struct expected *e, uint64_t gpa, uint32_t len,
			 bool writable)
{
	if (!len)
		return;
	if (gpa < TEST_SEAM && gpa + len > TEST_SEAM) {
		uint32_t first = (uint32_t)(TEST_SEAM - gpa);

		expect_piece(m, e, gpa, first, writable);
		expect_piece(m, e, TEST_SEAM, len - first, writable);
		return;
	}
	e->pieces[e->readable + e->writable] =
		(struct iovec){ .iov_base = test_host(m->d, gpa, len), .iov_len = len };
	if (writable)
		e->writable++;
	else
		e->readable++;
}

static void random_buffer(struct model *m, uint64_t *ret_gpa, uint32_t *ret_len)
{
	switch (test_below(&m->random, 8)) {
	case 0:
		*ret_len = 0;
		*ret_gpa = test_random(&m->random);
		break;
	case 1:
		*ret_len = 1 + test_below(&m->random, 5000);
		*ret_gpa = TEST_SEAM - test_below(&m->random, 5000);
		break;
	default:
		*ret_len = 1 + test_below(&m->random, 100000);
		*ret_gpa = TEST_DATA + test_below(&m->random, 0x400000);
		break;
	}
}

/* Makes one chain of @direct descriptors in the ring and @indirect in a table. */
static uint16_t make_chain(struct model *m, size_t direct, size_t indirect)
{
	size_t count = direct + indirect;
	size_t first_writable = test_below(&m->random, (uint32_t)count + 1);
	struct expected e = { .readable = 0 };
	uint16_t at, next = 0, head;
	uint8_t *table = NULL;

	at = head = take_desc(m, &e);
	for (size_t i = 0; i < count; i++) {
		uint16_t flags = i >= first_writable ? CVMM_VIRTQ_DESC_F_WRITE : 0;
		uint64_t gpa;
		uint32_t len;

		random_buffer(m, &gpa, &len);
		expect_piece(m, &e, gpa, len, flags);
		if (i + 1 < count)
			flags |= CVMM_VIRTQ_DESC_F_NEXT;
		if (i == direct) {
			uint64_t where = TABLES + head * TABLE_STRIDE + test_below(&m->random, 9);
			uint32_t bytes = (uint32_t)indirect * DESC_SIZE;

			test_desc(m->d, at, where, bytes, CVMM_VIRTQ_DESC_F_INDIRECT, 0xffff);
			table = test_host(m->d, where, bytes);
		}
		if (table) {
			test_desc_put(table, (uint32_t)(i - direct), gpa, len, flags,
				      (uint16_t)(i - direct + 1));
			continue;
		}
		if (flags & CVMM_VIRTQ_DESC_F_NEXT)
			next = take_desc(m, &e);
		test_desc(m->d, at, gpa, len, flags, next);
		at = next;
	}
	m->chains[head] = e;
	return head;
}

static void driver_adds_chain(struct model *m)
{
	size_t direct = test_below(&m->random, 5), indirect = 0;
	uint16_t head;

	if (!m->d->config.indirect || test_below(&m->random, 2))
		direct++;
	else
		indirect = 1 + test_below(&m->random, 7);
	if (direct + (indirect ? 1 : 0) > m->descs_free)
		return;
	head = make_chain(m, direct, indirect);
	test_avail_put(m->d, (uint16_t)m->ready_count, head);
	m->ready[m->ready_count++] = head;
}

static void driver_publishes(struct model *m)
{
	test_avail_publish(m->d, (uint16_t)m->ready_count);
	for (size_t i = 0; i < m->ready_count; i++)
		m->avail[m->avail_count++] = m->ready[i];
	m->ready_count = 0;
}

static void driver_takes_used(struct model *m)
{
	uint32_t id, len;

	while (test_take_used(m->d, &id, &len)) {
		struct expected *e = &m->chains[m->used[0].head];

		assert_true(m->used_count > 0);
		assert_int_equal(id, m->used[0].head);
		assert_int_equal(len, m->used[0].len);
		for (size_t i = 0; i < e->desc_count; i++)
			m->desc_taken[e->descs[i]] = false;
		m->descs_free += e->desc_count;
		memmove(m->used, m->used + 1, --m->used_count * sizeof(m->used[0]));
		if (!test_below(&m->random, 4))
			return;
	}
}

static void driver_changes_its_mind(struct model *m)
{
	m->event = (uint16_t)(m->used_idx + test_below(&m->random, 6) - 2);
	m->avail_flags = test_below(&m->random, 2) ? CVMM_VIRTQ_AVAIL_F_NO_INTERRUPT : 0;
	/* The model decides at each push, so that the event must not move between two. */
	if (m->pushed)
		return;
	test_set_used_event(m->d, m->event);
	ring_store(m->d->avail, AVAIL_FLAGS, m->avail_flags, __ATOMIC_RELAXED);
}

static void device_pops(struct model *m)
{
	struct iovec iov[PIECES_MAX];
	struct cvmm_virtq_chain chain;
	const struct expected *e;
	int ret = cvmm_virtq_pop(&m->d->vq, iov, PIECES_MAX, &chain);

	assert_int_equal(ret, m->avail_count > 0);
	if (!ret)
		return;
	e = &m->chains[m->avail[0]];
	assert_int_equal(chain.head, m->avail[0]);
	assert_int_equal(chain.readable_count, e->readable);
	assert_int_equal(chain.writable_count, e->writable);
	assert_memory_equal(iov, e->pieces, (e->readable + e->writable) * sizeof(iov[0]));
	assert_int_equal(chain.readable_bytes, cvmm_iov_len(e->pieces, e->readable));
	assert_int_equal(chain.writable_bytes, cvmm_iov_len(e->pieces + e->readable, e->writable));
	memmove(m->avail, m->avail + 1, --m->avail_count * sizeof(m->avail[0]));
	m->popped[m->popped_count++] = chain.head;
	m->rewindable++;
	m->popped_idx++;
}

/* Moves chain @i of those in flight to the used ones. */
static struct cvmm_virtq_used model_push(struct model *m, size_t i)
{
	const struct expected *e = &m->chains[m->popped[i]];
	uint32_t writable = (uint32_t)cvmm_iov_len(e->pieces + e->readable, e->writable);
	struct given_back back = { m->popped[i], test_below(&m->random, writable + 1) };

	m->used[m->used_count++] = back;
	memmove(m->popped + i, m->popped + i + 1, (--m->popped_count - i) * sizeof(m->popped[0]));
	if (m->rewindable > m->popped_count - i)
		m->rewindable = m->popped_count - i;
	if (m->used_idx == ring_load(m->d->avail, avail_entry_at(m->size), __ATOMIC_RELAXED))
		m->must_notify = true;
	m->used_idx++;
	m->served++;
	m->pushed = true;
	return (struct cvmm_virtq_used){ back.head, back.len };
}

static void device_pushes(struct model *m)
{
	struct cvmm_virtq_used used[3];
	size_t count = test_below(&m->random, 4);

	if (count > m->popped_count)
		count = m->popped_count;
	if (!count)
		return;
	for (size_t i = 0; i < count; i++)
		used[i] = model_push(m, test_below(&m->random, (uint32_t)m->popped_count));
	if (count == 1)
		assert_int_equal(cvmm_virtq_push(&m->d->vq, used[0].head, used[0].len_bytes), 0);
	else
		assert_int_equal(cvmm_virtq_push_batch(&m->d->vq, used, count), 0);
	assert_int_equal(ring_load(m->d->used, USED_IDX, __ATOMIC_RELAXED), m->used_idx);
}

static void device_rewinds(struct model *m)
{
	uint16_t head = m->popped_count ? m->popped[m->popped_count - 1] : 0;
	int ret = cvmm_virtq_rewind(&m->d->vq, head);

	if (!m->rewindable) {
		assert_int_equal(ret, -EINVAL);
		return;
	}
	assert_int_equal(ret, 0);
	memmove(m->avail + 1, m->avail, m->avail_count++ * sizeof(m->avail[0]));
	m->avail[0] = head;
	m->popped_count--;
	m->rewindable--;
	m->popped_idx--;
}

static void device_decides_to_notify(struct model *m)
{
	bool flag = ring_load(m->d->avail, AVAIL_FLAGS, __ATOMIC_RELAXED);
	bool want = m->event_idx ? m->must_notify : m->pushed && !flag;

	assert_int_equal(cvmm_virtq_should_notify(&m->d->vq), want);
	m->must_notify = false;
	m->pushed = false;
}

static void device_switches_kicks(struct model *m)
{
	cvmm_virtq_disable_notifications(&m->d->vq);
	assert_int_equal(ring_load(m->d->used, USED_FLAGS, __ATOMIC_RELAXED), !m->event_idx);
	assert_int_equal(cvmm_virtq_enable_notifications(&m->d->vq), m->avail_count > 0);
	assert_int_equal(ring_load(m->d->used, USED_FLAGS, __ATOMIC_RELAXED), 0);
	if (m->event_idx)
		assert_int_equal(test_avail_event(m->d), m->popped_idx);
}

/* Return: chains served. */
static uint32_t run_honest(struct test_driver *d, uint16_t size, bool event_idx, bool indirect,
			   uint32_t operations)
{
	static void (*const operation[])(struct model *) = {
		driver_adds_chain, driver_adds_chain,	  driver_publishes,
		driver_takes_used, driver_takes_used,	  driver_changes_its_mind,
		device_pops,	   device_pops,		  device_pops,
		device_pushes,	   device_rewinds,	  device_decides_to_notify,
		device_pushes,	   device_switches_kicks,
	};
	struct model *m = calloc(1, sizeof(*m));
	uint32_t served;
	struct cvmm_virtq_config config = test_config(size);

	assert_non_null(m);
	config.event_idx = event_idx;
	config.indirect = indirect;
	test_driver_start(d, &config);
	m->d = d;
	m->random = UINT64_C(0x9e3779b97f4a7c15) + size * 4U + event_idx * 2U + indirect;
	m->size = size;
	m->descs_free = size;
	m->event_idx = event_idx;
	for (uint32_t i = 0; i < operations; i++)
		operation[test_below(&m->random, CVMM_ARRAY_SIZE(operation))](m);
	assert_int_equal(cvmm_virtq_violation(&d->vq), CVMM_VIRTQ_OK);
	served = m->served;
	free(m);
	return served;
}

static void honest_driver_is_served_as_the_model_says(void **state)
{
	static const uint16_t sizes[] = { 1, 2, 4, 16, MODEL_SIZE_MAX };
	uint32_t operations = test_operations(HONEST_OPERATIONS) / (CVMM_ARRAY_SIZE(sizes) * 4);

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(sizes); i++) {
		for (unsigned int features = 0; features < 4; features++)
			assert_true(run_honest(*state, sizes[i], features & 1, features & 2,
					       operations) > operations / 100);
	}
}

/* Long enough for the indices to wrap several times. */
static void honest_driver_is_served_across_wraps(void **state)
{
	assert_true(run_honest(*state, MODEL_SIZE_MAX, true, true, 5 * HONEST_OPERATIONS) >
		    2 * UINT16_MAX);
}

/* ---- the hostile driver -------------------------------------------------------------------- */

static uint64_t hostile_addr(uint64_t *random)
{
	static const uint64_t odd[] = { 0,	  TEST_SEAM - 8, TEST_RAM_END - 8, TEST_RAM_END,
					TEST_ROM, UINT64_MAX,	 UINT64_MAX - 15 };

	if (test_below(random, 12))
		return test_below(random, TEST_RAM_END - 4096);
	return odd[test_below(random, CVMM_ARRAY_SIZE(odd))];
}

static uint32_t hostile_len(uint64_t *random, uint16_t flags)
{
	static const uint32_t odd[] = { 0,     1,	    8,		24,
					65536, 0x80000000U, UINT32_MAX, 65536 * DESC_SIZE };

	if (!test_below(random, 16))
		return odd[test_below(random, CVMM_ARRAY_SIZE(odd))];
	if (flags & CVMM_VIRTQ_DESC_F_INDIRECT)
		return (1 + test_below(random, 16)) * DESC_SIZE;
	return test_below(random, 4096);
}

static void hostile_desc(uint8_t *table, uint32_t i, uint32_t entries, uint64_t *random)
{
	uint16_t flags = 0;

	if (test_below(random, 4))
		flags |= CVMM_VIRTQ_DESC_F_NEXT;
	if (test_below(random, 2))
		flags |= CVMM_VIRTQ_DESC_F_WRITE;
	if (!test_below(random, 6)) {
		flags |= CVMM_VIRTQ_DESC_F_INDIRECT;
		if (test_below(random, 3))
			flags &= (uint16_t)~CVMM_VIRTQ_DESC_F_NEXT;
	}
	if (!test_below(random, 50))
		flags = (uint16_t)test_random(random);
	test_desc_put(table, i, hostile_addr(random), hostile_len(random, flags), flags,
		      (uint16_t)test_below(random, entries + !test_below(random, 40)));
}

/* Fills rings and a table with what looks like chains, more or less. */
static void hostile_memory(struct test_driver *d, uint64_t *random)
{
	uint16_t size = d->config.size;
	uint16_t ahead = (uint16_t)test_below(random, size + 1U + !test_below(random, 20));
	uint8_t *table = test_host(d, TABLES, 16 * DESC_SIZE);

	for (uint32_t i = 0; i < 16; i++)
		hostile_desc(table, i, 16, random);
	for (uint32_t i = 0; i < size; i++) {
		hostile_desc(d->desc, i, size, random);
		if (!test_below(random, 5))
			test_desc(d, i, TABLES + test_below(random, 2) * DESC_SIZE, 8 * DESC_SIZE,
				  CVMM_VIRTQ_DESC_F_INDIRECT, 0);
		test_avail_put(
			d, (uint16_t)i,
			(uint16_t)test_below(random, size + (test_below(random, 20) ? 0U : 1U)));
	}
	test_avail_publish(d, ahead);
}

static void hostile_round(struct test_driver *d, uint64_t *random, unsigned int *seen)
{
	struct iovec iov[64];
	size_t iov_max = 1 + test_below(random, CVMM_ARRAY_SIZE(iov));
	struct cvmm_virtq_chain chain;
	uint32_t left = 4U * d->config.size;
	int ret = 1;

	hostile_memory(d, random);
	while (left-- && ret == 1) {
		ret = cvmm_virtq_pop(&d->vq, iov, iov_max, &chain);
		if (ret != 1)
			break;
		assert_true(chain.head < d->config.size);
		assert_true((size_t)chain.readable_count + chain.writable_count <= iov_max);
		assert_true(cvmm_iov_len(chain.readable, chain.readable_count) ==
			    chain.readable_bytes);
		assert_true(cvmm_iov_len(chain.writable, chain.writable_count) ==
			    chain.writable_bytes);
		if (test_below(random, 2))
			assert_int_equal(cvmm_virtq_push(&d->vq, chain.head, chain.writable_bytes),
					 0);
		cvmm_virtq_should_notify(&d->vq);
		cvmm_virtq_enable_notifications(&d->vq);
	}
	assert_true(ret == 0 || ret == -EPROTO);
	assert_int_equal(ret == -EPROTO, cvmm_virtq_violation(&d->vq) != CVMM_VIRTQ_OK);
	seen[cvmm_virtq_violation(&d->vq)]++;
}

static void hostile_driver_only_breaks_its_queue(void **state)
{
	uint32_t rounds = test_operations(HOSTILE_ROUNDS * ROUND_OPERATIONS) / ROUND_OPERATIONS;
	unsigned int seen[CVMM_VIRTQ_VIOLATION_COUNT] = { 0 };
	uint64_t random = UINT64_C(0x2545f4914f6cdd1d);
	struct test_driver *d = *state;

	for (uint32_t i = 0; i < rounds; i++) {
		struct cvmm_virtq_config config =
			test_config((uint16_t)(1U << test_below(&random, 6)));

		config.event_idx = test_below(&random, 2);
		config.indirect = test_below(&random, 8);
		test_driver_start(d, &config);
		hostile_round(d, &random, seen);
	}
	/*
	 * The rounds are worth something only if they reach what they are to reach. TOO_LONG they
	 * cannot: as many pieces of this memory as fit the list are not 4 GiB. The others are of packed
	 * rings, or of memory that goes.
	 */
	for (unsigned int i = 0; i < CVMM_VIRTQ_VIOLATION_COUNT; i++) {
		if (i == CVMM_VIRTQ_TOO_LONG || i == CVMM_VIRTQ_OVERRUN ||
		    i == CVMM_VIRTQ_INDIRECT_IN_CHAIN || i == CVMM_VIRTQ_BAD_AREA)
			continue;
		if (!seen[i])
			print_message("never seen: %s\n",
				      cvmm_virtq_violation_name((enum cvmm_virtq_violation)i));
		assert_true(seen[i]);
	}
}

/* Not even the shape of a ring: every byte of the three areas is random. */
static void random_bytes_only_break_the_queue(void **state)
{
	unsigned int seen[CVMM_VIRTQ_VIOLATION_COUNT] = { 0 };
	uint64_t random = UINT64_C(0x1234567890abcdef);
	struct test_driver *d = *state;
	struct iovec iov[32];
	struct cvmm_virtq_chain chain;
	int ret;

	for (uint32_t i = 0; i < HOSTILE_ROUNDS; i++) {
		struct cvmm_virtq_config config =
			test_config((uint16_t)(1U << test_below(&random, 8)));
		uint8_t *areas;

		test_driver_start(d, &config);
		areas = test_host(d, 0, config.used.addr);
		for (uint64_t at = 0; at < config.used.addr; at++)
			areas[at] = (uint8_t)(test_random(&random) >> 56);
		if (test_below(&random, 4))
			ring_store(d->avail, AVAIL_IDX, config.size, __ATOMIC_RELEASE);
		do {
			ret = cvmm_virtq_pop(&d->vq, iov, CVMM_ARRAY_SIZE(iov), &chain);
		} while (ret == 1);
		assert_true(ret == 0 || ret == -EPROTO);
		seen[cvmm_virtq_violation(&d->vq)]++;
	}
	assert_true(seen[CVMM_VIRTQ_BAD_AVAIL_INDEX] && seen[CVMM_VIRTQ_BAD_HEAD]);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(honest_driver_is_served_as_the_model_says),
		TEST(honest_driver_is_served_across_wraps),
		TEST(hostile_driver_only_breaks_its_queue),
		TEST(random_bytes_only_break_the_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
