/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Fuzz target: the input is a bzImage. The magic is put in, so that mutations spend themselves on what
 * is behind it; sniffing is fuzzed by fuzz_loader_elf, which leaves its input alone.
 */
#include "fuzz_loader_util.h"

#define MAGIC_OFFSET 0x202
#define MAGIC "HdrS"
#define INPUT_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	if (size < MAGIC_OFFSET + sizeof(MAGIC) || size > INPUT_MAX)
		return 0;
	copy = malloc(size);
	if (!copy)
		return 0;
	memcpy(copy, data, size);
	memcpy(copy + MAGIC_OFFSET, MAGIC, sizeof(MAGIC) - 1);
	fuzz_load(copy, size, CVMM_LOADER_PROTOCOL_AUTO);
	free(copy);
	return 0;
}
