// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a bitmap is an array of words at an address that stays the same for as long
 * as the bitmap lives. Markers read one word of state (how many pages there are, 0 if none are to
 * be marked) and set a bit. They take no lock and no reference, so nobody may wait for them, nor
 * take the array away from under them; mem_dirty_log_posix.c says how logs are replaced all the same.
 *
 * Order of data and mark. A marker writes data, then looks whether the bit is set, and sets it if
 * not. A harvester takes the bit, then reads the data.
 *
 *  - The marker set the bit. That is a release, taking it an acquire: who takes the bit sees the
 *    data. Who took the bit before finds it set again the next time.
 *  - The marker found the bit set, and somebody takes it at that moment. If the processor may look
 *    at the bit before its write to the data is visible (and every processor may), the harvester
 *    could take the bit and read old data, and the mark would be lost. A full fence between data
 *    and look would help, but it costs as much as setting the bit. The harvester pays for both:
 *    between taking bits and reading data it has every thread of the process pass a full barrier
 *    (membarrier(2)). A marker that looked before that barrier has written its data before it, too;
 *    one that looks after it finds the bit clear.
 *  - The same holds for the state: a marker that found the bitmap disabled has written its data
 *    before the barrier in cvmm_dirty_set_enabled(), so that who copies all of memory after that
 *    gets it.
 *
 * A vhost log is harvested by another process, which makes no barrier for us: there the bit is set
 * even where it is set already (CVMM_DIRTY_STATE_ALWAYS). Where the system has no membarrier, that
 * is done for all bitmaps, and markers have a fence before they read the state (..._STATE_SLOW).
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "mem_dirty_internal.h"
#include "mem_internal.h"

#define WORD_BITS ((uint64_t)CVMM_DIRTY_WORD_BITS)
#define WORD_BYTES ((uint64_t)sizeof(uint64_t))

/* Words that a harvest takes at a time: one barrier for each 16384 pages, 2 KiB of stack. */
#define CHUNK_WORDS 256U

/* So that a run's length in bytes fits its type. */
#define RUN_LOG2_MAX 63U

_Static_assert(__atomic_always_lock_free(sizeof(uint64_t), 0), "marks must be one instruction");
_Static_assert(sizeof(struct cvmm_dirty) == 64, "markers load one cache line");

/* ---- making them --------------------------------------------------------------------------- */

void cvmm_mem_dirty_publish(struct dirty_bitmap *bitmap, uint64_t pages, bool enabled)
{
	uint64_t state = 0;
	bool quick = enabled && !bitmap->is_log && !bitmap->symmetric &&
		     bitmap->front.page_log2 == CVMM_DIRTY_PAGE_LOG2_MIN;

	if (enabled)
		state = CVMM_DIRTY_STATE_ENABLED | pages << CVMM_DIRTY_STATE_SHIFT;
	if (enabled && bitmap->is_log)
		state |= CVMM_DIRTY_STATE_ALWAYS;
	if (bitmap->symmetric)
		state |= CVMM_DIRTY_STATE_SLOW | CVMM_DIRTY_STATE_ALWAYS;
	bitmap->enabled = enabled;
	__atomic_store_n(&bitmap->pages, pages, __ATOMIC_RELEASE);
	__atomic_store_n(&bitmap->front.state, state, __ATOMIC_RELEASE);
	__atomic_store_n(&bitmap->front.quick_pages, quick ? pages : 0, __ATOMIC_RELEASE);
}

int cvmm_mem_dirty_fence(const struct dirty_bitmap *bitmap)
{
	dirty_full_fence();
	return bitmap->symmetric ? 0 : cvmm_mem_dirty_barrier();
}

/* A bitmap with @bytes of address space for words, which may be touched if they are @usable. */
static int bitmap_alloc(uint64_t bytes, bool usable, struct dirty_bitmap **ret_bitmap,
			struct cvmm_error *err)
{
	uint64_t page = cvmm_mem_host_page_bytes();
	struct dirty_bitmap *bitmap =
		cvmm_mem_aligned_alloc(_Alignof(struct dirty_bitmap), sizeof(*bitmap));
	void *words;
	int ret;

	if (!bitmap)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	memset(bitmap, 0, sizeof(*bitmap));
	bitmap->refs = 1;
	bitmap->mapped_bytes = (bytes + page - 1) & ~(page - 1);
	ret = -pthread_mutex_init(&bitmap->lock, NULL);
	if (ret) {
		cvmm_mem_aligned_free(bitmap);
		return cvmm_fail(err, ret, "cannot make a mutex: %s", strerror(-ret));
	}
	words = cvmm_mem_host_alloc(bitmap->mapped_bytes, usable);
	if (!words) {
		ret = -errno;
		pthread_mutex_destroy(&bitmap->lock);
		cvmm_mem_aligned_free(bitmap);
		return cvmm_fail(err, ret, "no room for a dirty bitmap of %llu bytes: %s",
				 (unsigned long long)bytes, strerror(-ret));
	}
	bitmap->front.words = words;
	bitmap->symmetric = cvmm_mem_dirty_barrier_prepare() != 0;
	*ret_bitmap = bitmap;
	return 0;
}

int cvmm_dirty_create(uint64_t base, uint64_t len_bytes, unsigned int page_log2,
		      struct cvmm_dirty **ret_dirty, struct cvmm_error *err)
{
	struct dirty_bitmap *bitmap;
	uint64_t pages, words;
	int ret;

	if (page_log2 < CVMM_DIRTY_PAGE_LOG2_MIN || page_log2 > CVMM_DIRTY_PAGE_LOG2_MAX)
		return cvmm_fail(err, -EINVAL,
				 "dirty bitmap: pages of 2^%u bytes; must be 2^%u to 2^%u",
				 page_log2, CVMM_DIRTY_PAGE_LOG2_MIN, CVMM_DIRTY_PAGE_LOG2_MAX);
	if (base & ((UINT64_C(1) << page_log2) - 1))
		return cvmm_fail(err, -EINVAL,
				 "dirty bitmap: base 0x%llx is not a multiple of 2^%u",
				 (unsigned long long)base, page_log2);
	if (!len_bytes || len_bytes - 1 > UINT64_MAX - base)
		return cvmm_fail(err, -EINVAL,
				 "dirty bitmap: length 0x%llx from 0x%llx is 0 or ends above 2^64",
				 (unsigned long long)len_bytes, (unsigned long long)base);
	pages = ((len_bytes - 1) >> page_log2) + 1;
	words = (pages + WORD_BITS - 1) / WORD_BITS;
	ret = bitmap_alloc(words * WORD_BYTES, true, &bitmap, err);
	if (ret)
		return ret;
	bitmap->front.base = base;
	bitmap->front.page_log2 = page_log2;
	cvmm_mem_dirty_publish(bitmap, pages, true);
	*ret_dirty = &bitmap->front;
	return 0;
}

int cvmm_dirty_create_log(uint64_t room_bytes, struct cvmm_dirty **ret_dirty,
			  struct cvmm_error *err)
{
	struct dirty_bitmap *bitmap;
	int ret;

	if (!room_bytes || room_bytes > CVMM_DIRTY_LOG_ROOM_MAX)
		return cvmm_fail(err, -EINVAL,
				 "room for a dirty log of %llu bytes: must be 1 to %llu",
				 (unsigned long long)room_bytes,
				 (unsigned long long)CVMM_DIRTY_LOG_ROOM_MAX);
	ret = bitmap_alloc(room_bytes, false, &bitmap, err);
	if (ret)
		return ret;
	bitmap->front.page_log2 = CVMM_DIRTY_LOG_PAGE_LOG2;
	bitmap->is_log = true;
	cvmm_mem_dirty_publish(bitmap, 0, false);
	*ret_dirty = &bitmap->front;
	return 0;
}

struct cvmm_dirty *cvmm_dirty_ref(struct cvmm_dirty *dirty)
{
	unsigned int before =
		__atomic_fetch_add(&dirty_bitmap_of(dirty)->refs, 1, __ATOMIC_RELAXED);

	/* From 0: the caller held none. Too many: somebody loses them, and a wrap would free. */
	CVMM_BUG_ON(before == 0 || before >= INT_MAX);
	return dirty;
}

struct cvmm_dirty *cvmm_dirty_unref(struct cvmm_dirty *dirty)
{
	struct dirty_bitmap *bitmap;

	if (!dirty)
		return NULL;
	bitmap = dirty_bitmap_of(dirty);
	if (__atomic_sub_fetch(&bitmap->refs, 1, __ATOMIC_ACQ_REL))
		return NULL;
	cvmm_mem_host_free(bitmap->front.words, bitmap->mapped_bytes);
	pthread_mutex_destroy(&bitmap->lock);
	cvmm_mem_aligned_free(bitmap);
	return NULL;
}

int cvmm_dirty_enlarge(const struct cvmm_dirty *dirty, uint64_t len_bytes,
		       struct cvmm_dirty **ret_dirty, struct cvmm_error *err)
{
	struct cvmm_dirty *larger;
	int ret;

	ret = cvmm_dirty_create(dirty->base, len_bytes, (unsigned int)dirty->page_log2, &larger,
				err);
	if (ret)
		return ret;
	if (cvmm_dirty_pages(larger) < cvmm_dirty_pages(dirty)) {
		cvmm_dirty_unref(larger);
		return cvmm_fail(err, -EINVAL,
				 "dirty bitmap: 0x%llx bytes are less than it has now",
				 (unsigned long long)len_bytes);
	}
	cvmm_dirty_merge(larger, dirty);
	*ret_dirty = larger;
	return 0;
}

int cvmm_dirty_clone(const struct cvmm_dirty *dirty, struct cvmm_dirty **ret_dirty,
		     struct cvmm_error *err)
{
	uint64_t pages = dirty_pages(dirty), len = UINT64_MAX;

	if (!pages)
		return cvmm_fail(err, -EINVAL, "dirty bitmap: no log is set");
	/* All of the address space does not fit, but a byte less has as many pages. */
	if (pages <= UINT64_MAX >> dirty->page_log2)
		len = pages << dirty->page_log2;
	return cvmm_dirty_enlarge(dirty, len, ret_dirty, err);
}

int cvmm_dirty_set_enabled(struct cvmm_dirty *dirty, bool enabled)
{
	struct dirty_bitmap *bitmap = dirty_bitmap_of(dirty);
	bool before;
	int ret;

	pthread_mutex_lock(&bitmap->lock);
	before = bitmap->enabled;
	cvmm_mem_dirty_publish(bitmap, bitmap->pages, enabled);
	ret = enabled ? cvmm_mem_dirty_fence(bitmap) : 0;
	if (ret)
		cvmm_mem_dirty_publish(bitmap, bitmap->pages, before);
	pthread_mutex_unlock(&bitmap->lock);
	return ret;
}

/* ---- ranges of pages ----------------------------------------------------------------------- */

/**
 * struct span - pages [first, first + count) of a bitmap
 * @outside: whether the range that it was made of has bytes outside of the bitmap
 */
struct span {
	uint64_t first;
	uint64_t count;
	bool outside;
};

/* The pages that [addr, addr + len) touches, of @pages that there are. */
static struct span span_of(const struct cvmm_dirty *dirty, uint64_t pages, uint64_t addr,
			   uint64_t len)
{
	struct span span = { 0 };
	uint64_t last;

	if (!len)
		return span;
	last = len - 1 > UINT64_MAX - addr ? UINT64_MAX : addr + (len - 1);
	if (addr < dirty->base) {
		span.outside = true;
		addr = dirty->base;
		if (last < addr)
			return span;
	}
	span.first = (addr - dirty->base) >> dirty->page_log2;
	last = (last - dirty->base) >> dirty->page_log2;
	if (last >= pages) {
		span.outside = true;
		if (span.first >= pages)
			return span;
		last = pages - 1;
	}
	span.count = last - span.first + 1;
	return span;
}

/* Word of the span's first page, and how many words the span touches. */
static uint64_t span_first_word(const struct span *span)
{
	return span->first / WORD_BITS;
}

static uint64_t span_words(const struct span *span)
{
	if (!span->count)
		return 0;
	return (span->first + (span->count - 1)) / WORD_BITS - span_first_word(span) + 1;
}

/* The span's bits in word @i of the bitmap, one of those it touches; in the host's order. */
static uint64_t span_mask(const struct span *span, uint64_t i)
{
	uint64_t start = i * WORD_BITS, last = span->first + (span->count - 1);
	uint64_t mask = UINT64_MAX;

	if (span->first > start)
		mask <<= span->first - start;
	if (last - start < WORD_BITS - 1)
		mask &= UINT64_MAX >> (WORD_BITS - 1 - (last - start));
	return mask;
}

/* Index of the next bit at or behind @from that is @set; @count * 64 if there is none. */
static uint64_t next_bit(const uint64_t *words, size_t count, uint64_t from, bool set)
{
	uint64_t i = from / WORD_BITS, word;

	if (i >= count)
		return count * WORD_BITS;
	word = (set ? words[i] : ~words[i]) & UINT64_MAX << from % WORD_BITS;
	while (!word) {
		if (++i == count)
			return count * WORD_BITS;
		word = set ? words[i] : ~words[i];
	}
	return i * WORD_BITS + (uint64_t)__builtin_ctzll(word);
}

/* ---- marking ------------------------------------------------------------------------------- */

static void set_bits(uint64_t *word, uint64_t mask, bool always)
{
	mask = htole64(mask);
	if (always || (__atomic_load_n(word, __ATOMIC_RELAXED) & mask) != mask)
		__atomic_fetch_or(word, mask, __ATOMIC_RELEASE);
}

static void count_dropped(struct cvmm_dirty *dirty)
{
	__atomic_fetch_add(&dirty_bitmap_of(dirty)->dropped, 1, __ATOMIC_RELAXED);
}

void cvmm_dirty_mark_slow(struct cvmm_dirty *dirty, uint64_t addr, uint64_t len)
{
	uint64_t state = __atomic_load_n(&dirty->state, __ATOMIC_RELAXED);
	uint64_t first, words;
	struct span span;

	if (state & CVMM_DIRTY_STATE_SLOW) {
		dirty_full_fence();
		state = __atomic_load_n(&dirty->state, __ATOMIC_RELAXED);
	}
	if (!(state & CVMM_DIRTY_STATE_ENABLED))
		return;
	span = span_of(dirty, state >> CVMM_DIRTY_STATE_SHIFT, addr, len);
	if (span.outside)
		count_dropped(dirty);
	first = span_first_word(&span);
	words = span_words(&span);
	for (uint64_t i = first; i - first < words; i++)
		set_bits(&dirty->words[i], span_mask(&span, i), state & CVMM_DIRTY_STATE_ALWAYS);
}

/* ---- looking ------------------------------------------------------------------------------- */

static uint64_t peek(const struct cvmm_dirty *dirty, uint64_t i)
{
	return le64toh(__atomic_load_n(&dirty->words[i], __ATOMIC_ACQUIRE));
}

bool cvmm_dirty_any(const struct cvmm_dirty *dirty, uint64_t addr, uint64_t len)
{
	struct span span = span_of(dirty, dirty_pages(dirty), addr, len);
	uint64_t first = span_first_word(&span), words = span_words(&span);

	for (uint64_t i = first; i - first < words; i++)
		if (peek(dirty, i) & span_mask(&span, i))
			return true;
	return false;
}

bool cvmm_dirty_test(const struct cvmm_dirty *dirty, uint64_t addr)
{
	return cvmm_dirty_any(dirty, addr, 1);
}

/* A span of all pages. */
static struct span span_all(const struct cvmm_dirty *dirty)
{
	return (struct span){ .count = dirty_pages(dirty) };
}

uint64_t cvmm_dirty_count(const struct cvmm_dirty *dirty)
{
	struct span all = span_all(dirty);
	uint64_t words = span_words(&all), sum = 0;

	/* The mask, because in the last word of a log there may be bits that are not ours. */
	for (uint64_t i = 0; i < words; i++)
		sum += (uint64_t)__builtin_popcountll(peek(dirty, i) & span_mask(&all, i));
	return sum;
}

uint64_t cvmm_dirty_pages(const struct cvmm_dirty *dirty)
{
	return dirty_pages(dirty);
}

uint64_t cvmm_dirty_word_count(const struct cvmm_dirty *dirty)
{
	struct span all = span_all(dirty);

	return span_words(&all);
}

uint64_t cvmm_dirty_base(const struct cvmm_dirty *dirty)
{
	return dirty->base;
}

unsigned int cvmm_dirty_page_log2(const struct cvmm_dirty *dirty)
{
	return (unsigned int)dirty->page_log2;
}

uint64_t cvmm_dirty_dropped(const struct cvmm_dirty *dirty)
{
	return __atomic_load_n(&dirty_bitmap_of(dirty)->dropped, __ATOMIC_RELAXED);
}

/* ---- harvesting ---------------------------------------------------------------------------- */

static uint64_t take_bits(uint64_t *word, uint64_t mask)
{
	if (!(le64toh(__atomic_load_n(word, __ATOMIC_RELAXED)) & mask))
		return 0;
	if (mask == UINT64_MAX)
		return le64toh(__atomic_exchange_n(word, 0, __ATOMIC_ACQ_REL));
	return le64toh(__atomic_fetch_and(word, htole64(~mask), __ATOMIC_ACQ_REL)) & mask;
}

/* Marks what is in @words again. */
static void put_back(struct cvmm_dirty *dirty, uint64_t first, const uint64_t *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (words[i])
			__atomic_fetch_or(&dirty->words[first + i], htole64(words[i]),
					  __ATOMIC_RELEASE);
}

/* Takes the span's bits out of @count words from @first on, which the span touches. */
static int take(struct cvmm_dirty *dirty, const struct span *span, uint64_t first, uint64_t *words,
		size_t count)
{
	uint64_t any = 0;
	int ret;

	for (size_t i = 0; i < count; i++) {
		words[i] = take_bits(&dirty->words[first + i], span_mask(span, first + i));
		any |= words[i];
	}
	if (!any)
		return 0;
	ret = cvmm_mem_dirty_fence(dirty_bitmap_of(dirty));
	if (ret)
		put_back(dirty, first, words, count);
	return ret;
}

int cvmm_dirty_get_and_reset(struct cvmm_dirty *dirty, uint64_t first_word, uint64_t *words,
			     size_t count)
{
	struct span all = span_all(dirty);

	if (!cvmm_range_inside(first_word, count, span_words(&all)))
		return -ERANGE;
	return take(dirty, &all, first_word, words, count);
}

/* Passes the runs of set bits in @words on; bit 0 is page @page. Bits passed on are cleared. */
static int report(const struct cvmm_dirty *dirty, uint64_t page, uint64_t *words, size_t count,
		  cvmm_dirty_run_fn run, void *ctx)
{
	uint64_t run_max = UINT64_C(1) << (RUN_LOG2_MAX - dirty->page_log2);
	uint64_t start = 0, end, bits = count * WORD_BITS;

	for (;;) {
		struct span done;
		int ret;

		start = next_bit(words, count, start, true);
		if (start == bits)
			return 0;
		end = next_bit(words, count, start, false);
		if (end - start > run_max)
			end = start + run_max;
		ret = run(ctx, dirty->base + ((page + start) << dirty->page_log2),
			  (end - start) << dirty->page_log2);
		if (ret)
			return ret;
		done = (struct span){ .first = start, .count = end - start };
		for (uint64_t i = start / WORD_BITS; i <= (end - 1) / WORD_BITS; i++)
			words[i] &= ~span_mask(&done, i);
		start = end;
	}
}

int cvmm_dirty_harvest(struct cvmm_dirty *dirty, uint64_t addr, uint64_t len, cvmm_dirty_run_fn run,
		       void *ctx)
{
	struct span span = span_of(dirty, dirty_pages(dirty), addr, len);
	uint64_t at = span_first_word(&span), left = span_words(&span);
	uint64_t words[CHUNK_WORDS];

	while (left) {
		size_t count = left < CHUNK_WORDS ? (size_t)left : CHUNK_WORDS;
		int ret = take(dirty, &span, at, words, count);

		if (ret)
			return ret;
		ret = report(dirty, at * WORD_BITS, words, count, run, ctx);
		if (ret) {
			put_back(dirty, at, words, count);
			return ret;
		}
		at += count;
		left -= count;
	}
	return 0;
}

static int ignore_run(void *ctx, uint64_t addr, uint64_t len_bytes)
{
	(void)ctx;
	(void)addr;
	(void)len_bytes;
	return 0;
}

int cvmm_dirty_clear(struct cvmm_dirty *dirty, uint64_t addr, uint64_t len)
{
	return cvmm_dirty_harvest(dirty, addr, len, ignore_run, NULL);
}

/* ---- combining ----------------------------------------------------------------------------- */

static int mark_run(void *ctx, uint64_t addr, uint64_t len_bytes)
{
	cvmm_dirty_mark(ctx, addr, len_bytes);
	return 0;
}

void cvmm_dirty_merge(struct cvmm_dirty *to, const struct cvmm_dirty *from)
{
	struct span all = span_all(from);
	uint64_t words[CHUNK_WORDS], total = span_words(&all);

	for (uint64_t at = 0; at < total; at += CHUNK_WORDS) {
		size_t count = total - at < CHUNK_WORDS ? (size_t)(total - at) : CHUNK_WORDS;

		for (size_t i = 0; i < count; i++)
			words[i] = peek(from, at + i) & span_mask(&all, at + i);
		report(from, at * WORD_BITS, words, count, mark_run, to);
	}
}

int cvmm_dirty_merge_words(struct cvmm_dirty *dirty, uint64_t addr, const uint64_t *words,
			   size_t count)
{
	uint64_t log2 = dirty->page_log2, start = 0, end, run_max = UINT64_MAX >> log2;

	if ((addr - dirty->base) & ((UINT64_C(1) << log2) - 1))
		return -EINVAL;
	for (;; start = end) {
		start = next_bit(words, count, start, true);
		if (start == count * WORD_BITS)
			return 0;
		/* Above 2^64, as are all that follow. */
		if (start > (UINT64_MAX - addr) >> log2)
			return 0;
		end = next_bit(words, count, start, false);
		cvmm_dirty_mark(dirty, addr + (start << log2),
				end - start > run_max ? UINT64_MAX : (end - start) << log2);
	}
}
