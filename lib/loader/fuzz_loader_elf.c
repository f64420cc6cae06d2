/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Fuzz target: the input is a kernel file, an ELF file by its seeds, booted by either protocol. */
#include "fuzz_loader_util.h"

#define INPUT_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > INPUT_MAX)
		return 0;
	fuzz_load(data, size, CVMM_LOADER_PROTOCOL_AUTO);
	fuzz_load(data, size, CVMM_LOADER_PROTOCOL_LINUX64);
	return 0;
}
