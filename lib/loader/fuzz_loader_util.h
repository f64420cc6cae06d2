/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What the fuzz targets for kernel files share: load the input as a kernel, check what came out. */
#ifndef CVMM_FUZZ_LOADER_UTIL_H
#define CVMM_FUZZ_LOADER_UTIL_H

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cvmm/loader.h>

/* Small, so that filling a large .bss is quick. */
#define FUZZ_RAM_BYTES (UINT64_C(4) << 20)
#define FUZZ_RAM_HIGH UINT64_C(0x100000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An invariant of the loader, not of the input. */
#define FUZZ_CHECK(cond)         \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

static inline void fuzz_check_result(const struct cvmm_mem *mem,
				     const struct cvmm_loader_result *result)
{
	uint64_t kernel = result->kernel.gpa.addr;
	uint64_t initrd = result->initrd.gpa.addr;

	FUZZ_CHECK(kernel >= CVMM_LOADER_LOW_END);
	FUZZ_CHECK(!cvmm_mem_check(mem, result->kernel.gpa, result->kernel.len_bytes,
				   CVMM_ACCESS_READ_WRITE));
	FUZZ_CHECK(!cvmm_mem_check(mem, result->initrd.gpa, result->initrd.len_bytes,
				   CVMM_ACCESS_READ_WRITE));
	FUZZ_CHECK(initrd >= kernel + result->kernel.len_bytes ||
		   initrd + result->initrd.len_bytes <= kernel);
	FUZZ_CHECK(result->x86.rip - kernel < result->kernel.len_bytes);
	FUZZ_CHECK(result->protocol != CVMM_LOADER_PROTOCOL_AUTO);
	FUZZ_CHECK(memchr(result->kernel_version, 0, sizeof(result->kernel_version)));
}

static inline void fuzz_load(const uint8_t *data, size_t size, enum cvmm_loader_protocol protocol)
{
	const struct cvmm_mem_config ram = {
		.gpa = { 0 },
		.len_bytes = FUZZ_RAM_BYTES,
		.kind = CVMM_MEM_ANONYMOUS,
		.access = CVMM_ACCESS_READ_WRITE,
		.fd = -1,
	};
	const struct cvmm_loader_map_entry map[] = {
		{ { 0 }, 0x9fc00, CVMM_LOADER_MAP_RAM },
		{ { FUZZ_RAM_HIGH }, FUZZ_RAM_BYTES - FUZZ_RAM_HIGH, CVMM_LOADER_MAP_RAM },
	};
	const struct cvmm_loader_piece initrd = { .data = "initrd", .len_bytes = 6 };
	struct cvmm_loader_config config = {
		.kernel_fd = memfd_create("fuzz", MFD_CLOEXEC),
		.protocol = protocol,
		.cmdline = "console=ttyS0",
		.initrd = &initrd,
		.initrd_count = 1,
		.map = map,
		.map_count = CVMM_ARRAY_SIZE(map),
	};
	struct cvmm_loader_result result = { 0 };
	struct cvmm_error err = { 0 };
	struct cvmm_mem *mem = NULL;
	int r;

	if (config.kernel_fd < 0 || cvmm_pwrite_full(config.kernel_fd, data, size, 0) < 0 ||
	    cvmm_mem_create(&ram, 1, &mem, NULL) < 0)
		goto out;
	r = cvmm_loader_load(mem, &config, &result, &err);
	if (r < 0)
		FUZZ_CHECK(err.code == r && err.message[0]);
	else
		fuzz_check_result(mem, &result);
out:
	cvmm_mem_unref(mem);
	cvmm_close_fd(&config.kernel_fd);
}

#endif /* CVMM_FUZZ_LOADER_UTIL_H */
