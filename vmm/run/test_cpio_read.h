/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Reads archives back, strictly: what tests of archives share. */
#ifndef CVMM_RUN_TEST_CPIO_READ_H
#define CVMM_RUN_TEST_CPIO_READ_H

#include "cpio.h"
#include "test_run.h"

#define CPIO_FIELDS 13

enum cpio_field {
	CPIO_INO,
	CPIO_MODE,
	CPIO_UID,
	CPIO_GID,
	CPIO_NLINK,
	CPIO_MTIME,
	CPIO_SIZE,
	CPIO_DEV_MAJOR,
	CPIO_DEV_MINOR,
	CPIO_RDEV_MAJOR,
	CPIO_RDEV_MINOR,
	CPIO_NAME_SIZE,
	CPIO_CHECK,
};

struct cpio_entry {
	uint32_t field[CPIO_FIELDS];
	const char *path;
	const char *data;
};

/* Reads the entry at @at and returns where the next one begins. */
static inline size_t cpio_next(const struct cvmm_cpio *cpio, size_t at, struct cpio_entry *e)
{
	const size_t header = 6 + 8 * CPIO_FIELDS;
	size_t data;

	assert_int_equal(at % 4, 0);
	assert_true(cvmm_range_inside(at, header, cpio->len));
	assert_memory_equal(cpio->data + at, "070701", 6);
	for (size_t i = 0; i < CPIO_FIELDS; i++) {
		char digits[9] = { 0 }, *end;

		memcpy(digits, cpio->data + at + 6 + 8 * i, 8);
		e->field[i] = (uint32_t)strtoul(digits, &end, 16);
		assert_ptr_equal(end, digits + 8);
	}
	assert_true(e->field[CPIO_NAME_SIZE] > 1);
	assert_true(cvmm_range_inside(at + header, e->field[CPIO_NAME_SIZE], cpio->len));
	e->path = cpio->data + at + header;
	assert_int_equal(strnlen(e->path, e->field[CPIO_NAME_SIZE]), e->field[CPIO_NAME_SIZE] - 1);
	data = (at + header + e->field[CPIO_NAME_SIZE] + 3) & ~(size_t)3;
	assert_true(cvmm_range_inside(data, e->field[CPIO_SIZE], cpio->len));
	e->data = cpio->data + data;
	return (data + e->field[CPIO_SIZE] + 3) & ~(size_t)3;
}

/* Whether the archive has @path; the first match is in *e. Checks the whole archive meanwhile. */
static inline bool cpio_find(const struct cvmm_cpio *cpio, const char *path, struct cpio_entry *e)
{
	struct cpio_entry one = { 0 };
	bool found = false;

	*e = one;
	for (size_t at = 0; at < cpio->len;) {
		at = cpio_next(cpio, at, &one);
		if (!found && strcmp(one.path, path) == 0) {
			*e = one;
			found = true;
		}
	}
	assert_string_equal(one.path, "TRAILER!!!");
	return found;
}

#endif /* CVMM_RUN_TEST_CPIO_READ_H */
