// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The input is a saved state: as it is, and with a good header in front that claims as many entries
 * as there are bytes for, so that mutated entries reach the checks behind. What is refused must
 * change nothing; what is accepted must be in order, and must be saved as it was.
 */
#include <stdlib.h>

#include "alloc_check.h"

#define SPACE_FIRST UINT64_C(0xfffffffffffff000)
#define SPACE_LAST UINT64_MAX
#define IDS_FIRST (UINT32_MAX - 4999)
#define IDS_LAST UINT32_MAX
#define ENTRIES_MAX 512
#define DEPTH_MAX 40

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

/* A space that has something to lose. */
static struct cvmm_alloc_space *new_space(void)
{
	struct cvmm_alloc_range all = { SPACE_FIRST, SPACE_LAST },
				held = { SPACE_LAST, SPACE_LAST };
	struct cvmm_alloc_space *space;

	require(!cvmm_alloc_space_create("fuzz", all, &space, NULL));
	require(!cvmm_alloc_space_reserve(space, held, NULL));
	return space;
}

static void restore_space(const void *state, size_t len)
{
	struct cvmm_alloc_space *space = new_space();
	struct cvmm_alloc_range gap;
	uint8_t *saved;

	if (cvmm_alloc_space_restore(space, state, len, NULL) < 0) {
		require(cvmm_alloc_space_count(space) == 1);
		require(cvmm_alloc_space_is_allocated(space, SPACE_LAST));
		require(!cvmm_alloc_space_is_allocated(space, SPACE_LAST - 1));
	} else {
		require(cvmm_alloc_space_state_bytes(space) == len);
		saved = malloc(len);
		require(saved && !cvmm_alloc_space_save(space, saved, len, NULL));
		require(!memcmp(saved, state, len));
		free(saved);
		if (cvmm_alloc_space_largest_gap(space, &gap))
			require(!cvmm_alloc_space_reserve(space, gap, NULL));
	}
	require(check_space(space, DEPTH_MAX));
	cvmm_alloc_space_destroy(space);
}

static void restore_ids(const void *state, size_t len)
{
	struct cvmm_alloc_id_range all = { IDS_FIRST, IDS_LAST };
	struct cvmm_alloc_ids *ids;
	uint8_t *saved;
	uint32_t id;

	require(!cvmm_alloc_ids_create("fuzz", all, &ids, NULL));
	require(!cvmm_alloc_ids_reserve(ids, cvmm_alloc_one_id(IDS_LAST), NULL));
	if (cvmm_alloc_ids_restore(ids, state, len, NULL) < 0) {
		require(cvmm_alloc_ids_available(ids) == IDS_LAST - IDS_FIRST);
		require(cvmm_alloc_ids_is_allocated(ids, IDS_LAST));
	} else {
		require(cvmm_alloc_ids_state_bytes(ids) == len);
		saved = malloc(len);
		require(saved && !cvmm_alloc_ids_save(ids, saved, len, NULL));
		require(!memcmp(saved, state, len));
		free(saved);
		require(cvmm_alloc_ids_take(ids, &id, NULL) == 0 || !cvmm_alloc_ids_available(ids));
	}
	require(check_ids(ids));
	cvmm_alloc_ids_destroy(ids);
}

static void restore_with_space_head(const uint8_t *data, size_t size)
{
	struct cvmm_alloc_space_state head = {
		.magic = cvmm_le32_from(CVMM_ALLOC_SPACE_STATE_MAGIC),
		.version = cvmm_le32_from(CVMM_ALLOC_SPACE_STATE_VERSION),
		.first = cvmm_le64_from(SPACE_FIRST),
		.last = cvmm_le64_from(SPACE_LAST),
	};
	uint8_t state[sizeof(head) + ENTRIES_MAX * sizeof(struct cvmm_alloc_range_state)];
	size_t count = size / sizeof(struct cvmm_alloc_range_state), len;

	if (count > ENTRIES_MAX)
		count = ENTRIES_MAX;
	len = count * sizeof(struct cvmm_alloc_range_state);
	head.count = cvmm_le64_from(count);
	memcpy(state, &head, sizeof(head));
	memcpy(state + sizeof(head), data, len);
	/* Most numbers of 64 bits lie outside: once more with their high bits put right. */
	restore_space(state, sizeof(head) + len);
	for (size_t i = 0; i < 2 * count; i++) {
		uint8_t *number = state + sizeof(head) + i * sizeof(cvmm_le64);

		cvmm_put_le64(number, cvmm_get_le64(number) | SPACE_FIRST);
	}
	restore_space(state, sizeof(head) + len);
}

static void restore_with_ids_head(const uint8_t *data, size_t size)
{
	struct cvmm_alloc_ids_state head = {
		.magic = cvmm_le32_from(CVMM_ALLOC_IDS_STATE_MAGIC),
		.version = cvmm_le32_from(CVMM_ALLOC_IDS_STATE_VERSION),
		.first = cvmm_le32_from(IDS_FIRST),
		.last = cvmm_le32_from(IDS_LAST),
	};
	uint8_t state[sizeof(head) + ENTRIES_MAX * sizeof(struct cvmm_alloc_id_run_state)];
	size_t count = size / sizeof(struct cvmm_alloc_id_run_state), len;

	if (count > ENTRIES_MAX)
		count = ENTRIES_MAX;
	len = count * sizeof(struct cvmm_alloc_id_run_state);
	head.count = cvmm_le32_from((uint32_t)count);
	memcpy(state, &head, sizeof(head));
	memcpy(state + sizeof(head), data, len);
	restore_ids(state, sizeof(head) + len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	restore_space(data, size);
	restore_ids(data, size);
	restore_with_space_head(data, size);
	restore_with_ids_head(data, size);
	return 0;
}
