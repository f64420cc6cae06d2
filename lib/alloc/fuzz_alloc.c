// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The input is a sequence of operations, done to a space or to ids and to their model beside. The
 * first byte chooses the object and where it lies; each operation takes four bytes.
 */
#include "alloc_model.h"

#define STEP_BYTES 4
#define STEPS_MAX 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run_space(uint64_t base, unsigned int shift, const uint8_t *data, size_t size)
{
	struct model_space m;

	model_space_open(&m, base, shift);
	for (unsigned int i = 0; i < STEPS_MAX && size >= STEP_BYTES; i++) {
		model_space_step(&m, data[0], data[1], data[2], data[3]);
		model_space_compare(&m);
		data += STEP_BYTES;
		size -= STEP_BYTES;
	}
	model_space_close(&m);
}

static void run_ids(uint32_t base, uint32_t count, const uint8_t *data, size_t size)
{
	struct model_ids m;

	model_ids_open(&m, base, count);
	for (unsigned int i = 0; i < STEPS_MAX && size >= STEP_BYTES; i++) {
		model_ids_step(&m, data[0], data[1], data[2], data[3]);
		model_ids_compare(&m);
		data += STEP_BYTES;
		size -= STEP_BYTES;
	}
	model_ids_close(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t bases[] = { 0, 1, UINT64_MAX - 255, UINT64_MAX - 256 };
	uint8_t choice;

	if (!size)
		return 0;
	choice = *data++;
	size--;
	if (choice & 1)
		run_ids(choice & 2 ? UINT32_MAX - choice : 0, 1 + choice, data, size);
	else if (choice & 2)
		run_space(0, 56, data, size);
	else
		run_space(bases[choice >> 2 & 3], 0, data, size);
	return 0;
}
