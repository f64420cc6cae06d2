/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm alloc: who owns which part of a machine's address spaces, and which small number.
 *
 * Two allocators that hand out numbers, never memory:
 *
 *   cvmm_alloc_space   ranges of a 64-bit space: MMIO below and above 4 GiB, port I/O, PCI buses
 *   cvmm_alloc_ids     32-bit numbers: interrupt lines, GSIs, memory slots, CIDs; also runs of
 *                      consecutive aligned numbers, as MSI wants its vectors
 *
 * Ranges name their first and their last member, so that every range up to the whole of 2^64 or
 * 2^32 numbers can be written down. What fails changes nothing, lack of memory included. The order
 * of calls alone decides what comes out: two machines that are set up alike have the same layout.
 *
 * Threads: nothing here locks, and there is no global state. The caller serialises the calls on one
 * object, those that take it as const may run beside each other.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_ALLOC_H
#define CVMM_ALLOC_H

#include <cvmm/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CVMM_ALLOC_NAME_SIZE 32 /* names in messages, with their NUL; longer ones are cut */

/* ---- address spaces -------------------------------------------------------------------------- */

/* Ranges that one space can hold at a time; it bounds what a guest can make the host store. */
#define CVMM_ALLOC_RANGES_MAX (UINT32_C(1) << 22)

/* The addresses from @first to @last, both of them included: never empty. */
struct cvmm_alloc_range {
	uint64_t first;
	uint64_t last;
};

/* A maximal free range, or one range as it was allocated. */
struct cvmm_alloc_extent {
	struct cvmm_alloc_range range;
	bool allocated;
};

enum cvmm_alloc_policy {
	CVMM_ALLOC_FIRST_MATCH, /* the lowest address that fits */
	CVMM_ALLOC_LAST_MATCH,	/* the highest address that fits */
	CVMM_ALLOC_EXACT_MATCH, /* the given address, or none */
};

/**
 * struct cvmm_alloc_request - what is wanted of a space
 * @len_bytes: length, not 0 (may be guest-controlled)
 * @align_bytes: what the first address is to be a multiple of: a power of two, 1 for any
 * @policy: where to look
 * @exact_first: with CVMM_ALLOC_EXACT_MATCH the wanted first address, a multiple of @align_bytes
 */
struct cvmm_alloc_request {
	uint64_t len_bytes;
	uint64_t align_bytes;
	enum cvmm_alloc_policy policy;
	uint64_t exact_first;
};

struct cvmm_alloc_space;

/**
 * cvmm_alloc_space_create() - an address space of which nothing is allocated
 * @name: goes into messages, e.g. "mmio32"; copied
 * @range: the space; [0, UINT64_MAX] is allowed
 * @ret_space: the space; owned by the caller
 *
 * Return: 0, -EINVAL if @range ends before it begins, -ENOMEM.
 */
CVMM_API int cvmm_alloc_space_create(const char *name, struct cvmm_alloc_range range,
				     struct cvmm_alloc_space **ret_space, struct cvmm_error *err);

/* NULL is allowed. Whatever is allocated is forgotten. */
CVMM_API void cvmm_alloc_space_destroy(struct cvmm_alloc_space *space);

/* The space itself: its first and its last address. */
CVMM_API struct cvmm_alloc_range cvmm_alloc_space_range(const struct cvmm_alloc_space *space);

/**
 * cvmm_alloc_space_take() - allocate by size
 * @request: what is wanted; any value may be guest-controlled
 * @ret_range: what was allocated
 *
 * Takes O(log n) steps for n ranges where @align_bytes is 1 or equal to @len_bytes (PCI BARs), and
 * also wherever every gap that is large enough can hold the request (all lengths are multiples of
 * all alignments, say). Otherwise each gap that is long enough, but by less than @align_bytes, and
 * lies in the way costs up to O(log n) steps more. CVMM_ALLOC_EXACT_MATCH takes O(log n).
 *
 * Return: 0; -EINVAL for a request that no space could fulfil; -ENOSPC if no gap is large enough;
 * with CVMM_ALLOC_EXACT_MATCH -ERANGE and -EBUSY as cvmm_alloc_space_reserve(); -ENOMEM. The
 * message tells the largest gap, or what is in the way. On failure nothing has changed.
 */
CVMM_API int cvmm_alloc_space_take(struct cvmm_alloc_space *space,
				   const struct cvmm_alloc_request *request,
				   struct cvmm_alloc_range *ret_range, struct cvmm_error *err);

/**
 * cvmm_alloc_space_reserve() - allocate one given range
 * @range: any free range of the space, even all of it
 *
 * Return: 0, -EINVAL if @range ends before it begins, -ERANGE if it leaves the space, -EBUSY if some
 * of it is allocated, -ENOMEM. O(log n). On failure nothing has changed.
 */
CVMM_API int cvmm_alloc_space_reserve(struct cvmm_alloc_space *space, struct cvmm_alloc_range range,
				      struct cvmm_error *err);

/**
 * cvmm_alloc_space_free() - give back what was allocated
 * @range: exactly one range that was allocated and not yet freed
 *
 * Needs no memory. O(log n).
 *
 * Return: 0, -EINVAL if @range ends before it begins, -ENOENT if there is no such allocation: never
 * made, already freed, or of another extent. On failure nothing has changed.
 */
CVMM_API int cvmm_alloc_space_free(struct cvmm_alloc_space *space, struct cvmm_alloc_range range,
				   struct cvmm_error *err);

/* Free bytes. 2^64 free bytes are reported as UINT64_MAX, because they do not fit. */
CVMM_API uint64_t cvmm_alloc_space_available(const struct cvmm_alloc_space *space);

/* Ranges that are allocated now. */
CVMM_API uint32_t cvmm_alloc_space_count(const struct cvmm_alloc_space *space);

/**
 * cvmm_alloc_space_largest_gap() - the longest free range, the lowest one of several
 *
 * Return: true, or false if nothing is free; then @ret_gap is untouched. O(log n).
 */
CVMM_API bool cvmm_alloc_space_largest_gap(const struct cvmm_alloc_space *space,
					   struct cvmm_alloc_range *ret_gap);

/**
 * cvmm_alloc_space_extent_at() - what an address belongs to
 * @addr: any number
 * @ret_extent: the allocated range, or the maximal free range, that holds @addr
 *
 * The extents cover the space without a hole, so this also walks it: begin at the first address of
 * the space, go on at range.last + 1, end when range.last is the last of the space.
 *
 * Return: true, or false if @addr is not in the space; then @ret_extent is untouched. O(log n).
 */
CVMM_API bool cvmm_alloc_space_extent_at(const struct cvmm_alloc_space *space, uint64_t addr,
					 struct cvmm_alloc_extent *ret_extent);

/* Whether the byte at @addr is allocated; outside of the space nothing is. */
CVMM_API bool cvmm_alloc_space_is_allocated(const struct cvmm_alloc_space *space, uint64_t addr);

#define CVMM_ALLOC_SPACE_STATE_MAGIC UINT32_C(0x61706373) /* "scpa" */
#define CVMM_ALLOC_SPACE_STATE_VERSION 1

/**
 * struct cvmm_alloc_space_state - a saved space: this header, then its ranges
 * @magic: CVMM_ALLOC_SPACE_STATE_MAGIC
 * @version: CVMM_ALLOC_SPACE_STATE_VERSION
 * @first: first address of the space
 * @last: last address of the space
 * @count: how many allocated ranges follow, in ascending order
 *
 * Without padding; equal spaces save equal bytes.
 */
struct cvmm_alloc_space_state {
	cvmm_le32 magic;
	cvmm_le32 version;
	cvmm_le64 first;
	cvmm_le64 last;
	cvmm_le64 count;
	struct cvmm_alloc_range_state {
		cvmm_le64 first;
		cvmm_le64 last;
	} ranges[];
};

/* Bytes that cvmm_alloc_space_save() will write. */
CVMM_API size_t cvmm_alloc_space_state_bytes(const struct cvmm_alloc_space *space);

/**
 * cvmm_alloc_space_save() - write a struct cvmm_alloc_space_state
 * @buf: room for cvmm_alloc_space_state_bytes() bytes, of any alignment
 * @len_bytes: how much room there is
 *
 * Return: 0, or -ENOBUFS if @buf is too short; then nothing was written.
 */
CVMM_API int cvmm_alloc_space_save(const struct cvmm_alloc_space *space, void *buf,
				   size_t len_bytes, struct cvmm_error *err);

/**
 * cvmm_alloc_space_restore() - put a space into a saved state
 * @space: created with the same range as the one that was saved
 * @state: bytes of a struct cvmm_alloc_space_state, of any alignment (file-controlled); each is read
 *         at most once
 * @len_bytes: how many; the state must be exactly so long
 *
 * What was allocated in @space before is forgotten.
 *
 * Return: 0, -EINVAL if the state is malformed or of another space, -ENOMEM. On failure nothing has
 * changed.
 */
CVMM_API int cvmm_alloc_space_restore(struct cvmm_alloc_space *space, const void *state,
				      size_t len_bytes, struct cvmm_error *err);

/* ---- ids ------------------------------------------------------------------------------------- */

/* The ids from @first to @last, both of them included: never empty. */
struct cvmm_alloc_id_range {
	uint32_t first;
	uint32_t last;
};

struct cvmm_alloc_ids;

/**
 * cvmm_alloc_ids_create() - a set of ids, all free
 * @name: goes into messages, e.g. "gsi"; copied
 * @range: the ids; [0, UINT32_MAX] is allowed
 * @ret_ids: the set; owned by the caller
 *
 * Memory is taken here and never later: one bit for each id and a 63rd of that. Pages of it that no
 * id in use falls on are only reserved, not occupied, where the C library gets large zeroed blocks
 * from the kernel.
 *
 * For interrupts use one set for each kind of number, e.g. the pins of the I/O APIC (5 to 23) and
 * the GSIs of MSI routes (24 and up, below KVM_CAP_IRQ_ROUTING): pins are scarce and wanted by
 * legacy devices, routes come in runs.
 *
 * Return: 0, -EINVAL if @range ends before it begins, -ENOMEM.
 */
CVMM_API int cvmm_alloc_ids_create(const char *name, struct cvmm_alloc_id_range range,
				   struct cvmm_alloc_ids **ret_ids, struct cvmm_error *err);

/* NULL is allowed. */
CVMM_API void cvmm_alloc_ids_destroy(struct cvmm_alloc_ids *ids);

/* The set itself: its first and its last id. */
CVMM_API struct cvmm_alloc_id_range cvmm_alloc_ids_range(const struct cvmm_alloc_ids *ids);

/**
 * cvmm_alloc_ids_take() - allocate the smallest free id
 *
 * At most six steps, however many ids there are.
 *
 * Return: 0, or -ENOSPC if all are taken.
 */
CVMM_API int cvmm_alloc_ids_take(struct cvmm_alloc_ids *ids, uint32_t *ret_id,
				 struct cvmm_error *err);

/**
 * cvmm_alloc_ids_take_run() - allocate the lowest run of consecutive ids
 * @count: how many, not 0
 * @align: what the first id is to be a multiple of: a power of two, 1 for any
 * @ret_first: the first id of the run
 *
 * MSI with several vectors wants @count = @align = a power of two, since the device replaces the low
 * bits of the message data. Spec: PCI Local Bus 3.0, 6.8.1.6. Each id of a run can be freed by
 * itself. Linear in the number of ids, 64 at a step.
 *
 * Return: 0, -EINVAL for a @count of 0 or a bad @align, -ENOSPC if there is no such run.
 */
CVMM_API int cvmm_alloc_ids_take_run(struct cvmm_alloc_ids *ids, uint32_t count, uint32_t align,
				     uint32_t *ret_first, struct cvmm_error *err);

/**
 * cvmm_alloc_ids_reserve() - allocate given ids
 * @run: ids that are all free
 *
 * Return: 0, -EINVAL if @run ends before it begins, -ERANGE if it leaves the set, -EBUSY if one of
 * them is taken. On failure nothing has changed.
 */
CVMM_API int cvmm_alloc_ids_reserve(struct cvmm_alloc_ids *ids, struct cvmm_alloc_id_range run,
				    struct cvmm_error *err);

/**
 * cvmm_alloc_ids_free() - give ids back
 * @run: ids that are all taken, by whatever calls
 *
 * Return: 0, -EINVAL if @run ends before it begins, -ENOENT if one of them is free or not of this
 * set. On failure nothing has changed.
 */
CVMM_API int cvmm_alloc_ids_free(struct cvmm_alloc_ids *ids, struct cvmm_alloc_id_range run,
				 struct cvmm_error *err);

/* For functions that want a run, when there is one id. */
static inline struct cvmm_alloc_id_range cvmm_alloc_one_id(uint32_t id)
{
	return (struct cvmm_alloc_id_range){ id, id };
}

/* Whether @id is taken; outside of the set nothing is. */
CVMM_API bool cvmm_alloc_ids_is_allocated(const struct cvmm_alloc_ids *ids, uint32_t id);

/* Free ids: up to 2^32. */
CVMM_API uint64_t cvmm_alloc_ids_available(const struct cvmm_alloc_ids *ids);

/**
 * cvmm_alloc_ids_next_run() - walk the ids that are taken
 * @from: look from this id on
 * @ret_run: the lowest maximal run of taken ids at or above @from, cut at @from
 *
 * Return: true, or false if none is taken from there on; then @ret_run is untouched.
 */
CVMM_API bool cvmm_alloc_ids_next_run(const struct cvmm_alloc_ids *ids, uint32_t from,
				      struct cvmm_alloc_id_range *ret_run);

#define CVMM_ALLOC_IDS_STATE_MAGIC UINT32_C(0x64696363) /* "ccid" */
#define CVMM_ALLOC_IDS_STATE_VERSION 1

/**
 * struct cvmm_alloc_ids_state - saved ids: this header, then the maximal runs of taken ids
 * @magic: CVMM_ALLOC_IDS_STATE_MAGIC
 * @version: CVMM_ALLOC_IDS_STATE_VERSION
 * @first: first id of the set
 * @last: last id of the set
 * @count: how many runs follow, in ascending order; between two of them at least one id is free
 * @reserved: 0
 *
 * Without padding; equal sets save equal bytes.
 */
struct cvmm_alloc_ids_state {
	cvmm_le32 magic;
	cvmm_le32 version;
	cvmm_le32 first;
	cvmm_le32 last;
	cvmm_le32 count;
	cvmm_le32 reserved;
	struct cvmm_alloc_id_run_state {
		cvmm_le32 first;
		cvmm_le32 last;
	} runs[];
};

/* Bytes that cvmm_alloc_ids_save() will write. */
CVMM_API size_t cvmm_alloc_ids_state_bytes(const struct cvmm_alloc_ids *ids);

/* As cvmm_alloc_space_save(), a struct cvmm_alloc_ids_state. */
CVMM_API int cvmm_alloc_ids_save(const struct cvmm_alloc_ids *ids, void *buf, size_t len_bytes,
				 struct cvmm_error *err);

/* As cvmm_alloc_space_restore(), from a struct cvmm_alloc_ids_state. */
CVMM_API int cvmm_alloc_ids_restore(struct cvmm_alloc_ids *ids, const void *state, size_t len_bytes,
				    struct cvmm_error *err);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_ALLOC_H */
