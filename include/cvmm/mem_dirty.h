/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm mem: the dirty bitmap, which says what pages were written since somebody last asked.
 *
 * One struct cvmm_dirty, one way to mark, two kinds of storage:
 *
 *  - in-process, for a VMM that migrates or snapshots its own guest;
 *  - the vhost log: memory of a peer's (fd, offset, size), in the format that vhost-user gives it
 *    (bit n % 8 of byte n / 8 stands for page n of 4 KiB, counted from address 0). It can be set,
 *    replaced, taken away, enabled and disabled while other threads mark, at no cost to them.
 *
 * Addresses here are plain numbers, because what they number is the caller's choice: guest-physical
 * addresses mostly, I/O virtual ones where a vhost-user log is indexed by them. A bitmap covers
 * [base, base + len) of that space. There are no views with an offset of their own (as vm-memory
 * has for its region-relative slices): whoever holds an address marks with that address, and a
 * structure at a fixed place, like a used ring with its log address, adds its offset to it.
 *
 * Memory order. Write the data first, then mark. Who harvests (cvmm_dirty_harvest(),
 * cvmm_dirty_get_and_reset(), cvmm_dirty_clear()) and then copies the page gets the data, or finds
 * the page dirty the next time; never neither. mem_dirty.c says how and why.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_MEM_DIRTY_H
#define CVMM_MEM_DIRTY_H

#include <cvmm/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Page of the vhost log (vhost-user, "Migration"), and the smallest that a bitmap can have. */
#define CVMM_DIRTY_PAGE_LOG2_MIN 12U
#define CVMM_DIRTY_PAGE_LOG2_MAX 63U
#define CVMM_DIRTY_LOG_PAGE_LOG2 12U

/* Room for a log of all guest addresses below 4 TiB: enough for most, 128 MiB of address space. */
#define CVMM_DIRTY_LOG_ROOM_DEFAULT (UINT64_C(128) << 20)
#define CVMM_DIRTY_LOG_ROOM_MAX (UINT64_C(1) << 40)

/* Pages that one word of the bitmap stands for. */
#define CVMM_DIRTY_WORD_BITS 64U

/*
 * What a marker must know besides what never changes, in one word, so that one load gets it whole:
 * the number of pages that can be marked now, and how. 0 is a bitmap that is not enabled.
 */
#define CVMM_DIRTY_STATE_SLOW UINT64_C(1)    /* a fence is needed before the state is looked at */
#define CVMM_DIRTY_STATE_ALWAYS UINT64_C(2)  /* set the bit even where it is set already */
#define CVMM_DIRTY_STATE_ENABLED UINT64_C(4) /* without it there are no pages to mark */
#define CVMM_DIRTY_STATE_SHIFT 3U

/* The fast path is for accesses up to this size: it is the smallest page. */
#define CVMM_DIRTY_FAST_LEN_MAX (UINT64_C(1) << CVMM_DIRTY_PAGE_LOG2_MIN)

/**
 * struct cvmm_dirty - a dirty bitmap; its members are for the inline functions below only
 * @state: see CVMM_DIRTY_STATE_SLOW and the following; atomic
 * @quick_pages: how many pages need not be marked where their bit is found set; 0 unless the bitmap is
 *               enabled, in-process and of pages of the smallest size; atomic, changes with @state
 * @base: first address, the start of a page
 * @words: bits, page 64 * i + b in bit b of word i *as little-endian*, which makes bytes of them
 *         those of the vhost log on any host. Mapped as long as the bitmap lives.
 * @page_log2: log2 of the page size
 *
 * Layout: one cache line that nobody writes to while threads mark. What else there is to a bitmap
 * follows behind it, in the library's own storage.
 */
struct cvmm_dirty {
	uint64_t state;
	uint64_t quick_pages;
	uint64_t base;
	uint64_t *words;
	uint64_t page_log2;
} __attribute__((aligned(64)));

/* ---- making them --------------------------------------------------------------------------- */

/**
 * cvmm_dirty_create() - an in-process bitmap, clean and enabled
 * @base: first address, a multiple of the page size
 * @len_bytes: length, not 0, rounded up to whole pages; may reach up to 2^64 but not above.
 *             UINT64_MAX with @base 0 covers all addresses.
 * @page_log2: log2 of the page size, CVMM_DIRTY_PAGE_LOG2_MIN to CVMM_DIRTY_PAGE_LOG2_MAX
 * @ret_dirty: the new bitmap, with one reference that the caller owns
 *
 * Memory is used only where pages are marked.
 *
 * Return: 0; -EINVAL for a bad range or page size; -ENOMEM.
 */
CVMM_API int cvmm_dirty_create(uint64_t base, uint64_t len_bytes, unsigned int page_log2,
			       struct cvmm_dirty **ret_dirty, struct cvmm_error *err);

/**
 * cvmm_dirty_create_log() - a bitmap that will mark in a peer's vhost log; has none yet, disabled
 * @room_bytes: size of the largest log it can take, CVMM_DIRTY_LOG_ROOM_DEFAULT or what the guest's
 *              highest address needs (highest address / 4096 / 8 + 1). Costs address space only.
 *
 * Make it once and keep it: logs come and go with cvmm_dirty_log_set().
 *
 * Return: 0; -EINVAL for @room_bytes 0 or too large; -ENOMEM.
 */
CVMM_API int cvmm_dirty_create_log(uint64_t room_bytes, struct cvmm_dirty **ret_dirty,
				   struct cvmm_error *err);

/* Any thread. The last unref frees. NULL is allowed for unref, which returns NULL. */
CVMM_API struct cvmm_dirty *cvmm_dirty_ref(struct cvmm_dirty *dirty);
CVMM_API struct cvmm_dirty *cvmm_dirty_unref(struct cvmm_dirty *dirty);

/**
 * cvmm_dirty_enlarge() - an in-process copy that covers more
 * @dirty: unchanged; any kind
 * @len_bytes: length of the copy, from the same base; not less than what @dirty covers
 * @ret_dirty: the copy, enabled, with the marks that @dirty had
 *
 * Threads that still mark in @dirty do not mark in the copy. To switch without losing a page: make
 * the copy, publish it, wait until nobody uses @dirty any more, then cvmm_dirty_merge() it into the
 * copy.
 *
 * Return: 0; -EINVAL if @len_bytes is too small or ends above 2^64; -ENOMEM.
 */
CVMM_API int cvmm_dirty_enlarge(const struct cvmm_dirty *dirty, uint64_t len_bytes,
				struct cvmm_dirty **ret_dirty, struct cvmm_error *err);

/* An in-process copy of the same size, as cvmm_dirty_enlarge(). -EINVAL for a log not yet set. */
CVMM_API int cvmm_dirty_clone(const struct cvmm_dirty *dirty, struct cvmm_dirty **ret_dirty,
			      struct cvmm_error *err);

/**
 * cvmm_dirty_set_enabled() - start or stop marking, in all threads
 *
 * When this returns, every write whose mark came too early to count is visible to the caller: copy
 * all of memory after enabling, not before. Bits stay as they are. A log bitmap may be enabled
 * before it has a log. Enabling again after disabling needs no new log.
 *
 * Return: 0; or negative errno if the system refuses the process-wide barrier (membarrier(2), which
 * a sandbox must allow); then the bitmap is as it was. Context: any thread; may take microseconds.
 */
CVMM_API int cvmm_dirty_set_enabled(struct cvmm_dirty *dirty, bool enabled);

/**
 * cvmm_dirty_log_set() - mark in this log from now on
 * @dirty: of cvmm_dirty_create_log()
 * @fd: regular file or memfd, open for reading and writing (peer-controlled). Stays the caller's
 *      and may be closed afterwards.
 * @offset: where in the file the log starts, a multiple of the host's page size (peer-controlled)
 * @size_bytes: bytes of log (peer-controlled). It covers addresses below @size_bytes * 8 * 4096;
 *              marks above are dropped and counted.
 *
 * Replaces the log there was, while threads mark: each mark is in the old log or in the new one,
 * never lost, and when this returns all marks go to the new one. Does not enable; a bitmap that is
 * enabled stays so. The peer must not make the file shorter while the log is set: that would be
 * a SIGBUS here, as it would be with guest memory itself.
 *
 * Return: 0; -EINVAL for a bitmap of the other kind, no regular file, an offset or size that is bad
 * or reaches beyond the end of the file, or a log that replaces a longer one and ends in the middle
 * of a page of a file that goes on behind it (a late mark might fall there); -E2BIG above the
 * bitmap's room; or what mapping it failed with. On failure the log is the one it was; only if the
 * kernel runs out of memory in the last step there may be none.
 * Spec: vhost-user, VHOST_USER_SET_LOG_BASE and "Migration".
 */
CVMM_API int cvmm_dirty_log_set(struct cvmm_dirty *dirty, int fd, uint64_t offset,
				uint64_t size_bytes, struct cvmm_error *err);

/* Let go of the log, if there is one. Marks are then dropped and counted, if enabled. */
CVMM_API int cvmm_dirty_log_unset(struct cvmm_dirty *dirty, struct cvmm_error *err);

/* ---- marking ------------------------------------------------------------------------------- */

/* Everything but a page that was found marked already. */
CVMM_API void cvmm_dirty_mark_slow(struct cvmm_dirty *dirty, uint64_t addr, uint64_t len);

/* Whether the bit of a page of the bitmap is set. Private. */
static inline __attribute__((always_inline)) bool cvmm_dirty_is_set_(const struct cvmm_dirty *dirty,
								     uint64_t page)
{
	const uint64_t *word = &dirty->words[page / CVMM_DIRTY_WORD_BITS];

	return le64toh(__atomic_load_n(word, __ATOMIC_RELAXED)) >> page % CVMM_DIRTY_WORD_BITS & 1;
}

/*
 * What most marks come to: the page is dirty already, or both are. @in_one_page: the caller knows that
 * the range, which is not empty, does not cross a border of pages. Private.
 */
static inline __attribute__((always_inline)) void
cvmm_dirty_mark_(struct cvmm_dirty *dirty, uint64_t addr, uint64_t len, bool in_one_page)
{
	uint64_t page, last, quick;

	/* Keeps the compiler from looking before it wrote; for the processor see mem_dirty.c. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	quick = __atomic_load_n(&dirty->quick_pages, __ATOMIC_RELAXED);
	page = (addr - dirty->base) >> CVMM_DIRTY_PAGE_LOG2_MIN;
	if (CVMM_LIKELY(page < quick && cvmm_dirty_is_set_(dirty, page))) {
		if (in_one_page)
			return;
		/* @len 0 wraps and is too long; a sum that wraps is below the first page. */
		last = (addr - dirty->base + (len - 1)) >> CVMM_DIRTY_PAGE_LOG2_MIN;
		if (len - 1 < CVMM_DIRTY_FAST_LEN_MAX &&
		    (last == page ||
		     (last > page && last < quick && cvmm_dirty_is_set_(dirty, last))))
			return;
	}
	if (__atomic_load_n(&dirty->state, __ATOMIC_RELAXED))
		cvmm_dirty_mark_slow(dirty, addr, len);
}

/**
 * cvmm_dirty_mark() - mark the pages of a range that was just written to
 * @dirty: bitmap, or NULL, which costs a compare
 * @addr: first address written to (guest-controlled)
 * @len: bytes; 0 marks nothing. A range that passes the end of the address space ends there.
 *
 * Pages outside of the bitmap are dropped and counted, see cvmm_dirty_dropped(). Disabled, this is
 * two relaxed loads. Context: any thread, never blocks (page faults aside).
 */
static inline void cvmm_dirty_mark(struct cvmm_dirty *dirty, uint64_t addr, uint64_t len)
{
	if (dirty)
		cvmm_dirty_mark_(dirty, addr, len, false);
}

/* ---- looking ------------------------------------------------------------------------------- */

/* Whether the page of @addr is dirty; false outside of the bitmap. Any thread. */
CVMM_API bool cvmm_dirty_test(const struct cvmm_dirty *dirty, uint64_t addr);

/* Whether any page that the range touches is dirty; the range is cut as by cvmm_dirty_mark(). */
CVMM_API bool cvmm_dirty_any(const struct cvmm_dirty *dirty, uint64_t addr, uint64_t len);

/* Dirty pages. */
CVMM_API uint64_t cvmm_dirty_count(const struct cvmm_dirty *dirty);

/* Pages that the bitmap covers; 0 for a log that is not set. */
CVMM_API uint64_t cvmm_dirty_pages(const struct cvmm_dirty *dirty);

/* Words that cvmm_dirty_get_and_reset() can give: pages / 64, rounded up. */
CVMM_API uint64_t cvmm_dirty_word_count(const struct cvmm_dirty *dirty);

/* The first address that it covers. */
CVMM_API uint64_t cvmm_dirty_base(const struct cvmm_dirty *dirty);

/* log2 of the page size. */
CVMM_API unsigned int cvmm_dirty_page_log2(const struct cvmm_dirty *dirty);

/*
 * Marks, since the bitmap was made, that touched at least one page outside of it while it was
 * enabled. Anything but 0 means that the log, or the bitmap, is too small for the memory.
 */
CVMM_API uint64_t cvmm_dirty_dropped(const struct cvmm_dirty *dirty);

/* ---- harvesting ---------------------------------------------------------------------------- */

/**
 * cvmm_dirty_get_and_reset() - take words out of the bitmap and leave them clean
 * @first_word: index of the first word; page 64 * @first_word counted from the base
 * @words: room for @count words, in the host's byte order; bit b of word i is page 64 * i + b
 *
 * Each word is exchanged in one step: a page marked at the same time is in @words or stays dirty.
 * Copy the pages after this returns. Threads may harvest at the same time; each page goes to one.
 *
 * Return: 0; -ERANGE if there are fewer words; or negative errno if the system refuses the
 * process-wide barrier (membarrier(2)): then the pages are dirty again.
 */
CVMM_API int cvmm_dirty_get_and_reset(struct cvmm_dirty *dirty, uint64_t first_word,
				      uint64_t *words, size_t count);

/**
 * typedef cvmm_dirty_run_fn - gets a run of dirty pages
 * @addr: start of the first page
 * @len_bytes: whole pages, at most 2^63 bytes
 *
 * Return: 0, or anything else to end the harvest.
 */
typedef int (*cvmm_dirty_run_fn)(void *ctx, uint64_t addr, uint64_t len_bytes);

/**
 * cvmm_dirty_harvest() - clean a range and hear of what was dirty, in address order
 * @addr: start of the range
 * @len: bytes; the range is cut as by cvmm_dirty_mark(), and widened to whole pages
 * @run: called for each run of pages that were dirty, after they are marked clean. A long run may
 *       come in parts.
 *
 * When @run fails, its pages and all that come after are dirty as they were.
 *
 * Return: 0; what @run returned; or negative errno as cvmm_dirty_get_and_reset().
 */
CVMM_API int cvmm_dirty_harvest(struct cvmm_dirty *dirty, uint64_t addr, uint64_t len,
				cvmm_dirty_run_fn run, void *ctx);

/* Clean a range, widened to whole pages. Return: as cvmm_dirty_get_and_reset(). */
CVMM_API int cvmm_dirty_clear(struct cvmm_dirty *dirty, uint64_t addr, uint64_t len);

/* ---- combining ----------------------------------------------------------------------------- */

/**
 * cvmm_dirty_merge() - mark in @to what is dirty in @from
 *
 * Bases and page sizes may differ. @from stays as it is. What @to does not cover is dropped and
 * counted there; a @to that is disabled takes nothing.
 */
CVMM_API void cvmm_dirty_merge(struct cvmm_dirty *to, const struct cvmm_dirty *from);

/**
 * cvmm_dirty_merge_words() - mark what is set in an array of words
 * @addr: address that bit 0 of the first word stands for, the start of a page of @dirty
 * @words: as cvmm_dirty_get_and_reset() gives them. KVM's dirty log is of this form, on a
 *         little-endian host with pages of the same size.
 *
 * Pages outside of @dirty are dropped and counted, except that bits above 2^64 are ignored.
 * Return: 0; -EINVAL if @addr is inside of a page.
 */
CVMM_API int cvmm_dirty_merge_words(struct cvmm_dirty *dirty, uint64_t addr, const uint64_t *words,
				    size_t count);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_MEM_DIRTY_H */
