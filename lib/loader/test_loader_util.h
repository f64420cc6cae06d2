/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What the tests of the loader share: a small machine, and files made of bytes. Include after <cmocka.h>. */
#ifndef CVMM_TEST_LOADER_UTIL_H
#define CVMM_TEST_LOADER_UTIL_H

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "loader_internal.h"

#define G(addr) cvmm_gpa_from(addr)
#define TEST_RAM_BYTES (UINT64_C(16) << 20)
#define TEST_LOW_RAM_END UINT64_C(0x9fc00)
#define TEST_POISON 0xa5

/* A machine with 16 MiB, and the configuration of a boot on it. */
struct machine {
	struct cvmm_mem *mem;
	struct cvmm_loader_map_entry map[CVMM_LOADER_MAP_MAX];
	struct cvmm_loader_range reserved[CVMM_LOADER_RESERVED_MAX];
	struct cvmm_loader_config config;
	struct cvmm_loader_result result;
	struct cvmm_error err;
};

static inline int machine_create(void **state)
{
	const struct cvmm_mem_config ram = {
		.gpa = { 0 },
		.len_bytes = TEST_RAM_BYTES,
		.kind = CVMM_MEM_ANONYMOUS,
		.access = CVMM_ACCESS_READ_WRITE,
		.fd = -1,
	};
	struct machine *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	assert_int_equal(cvmm_mem_create(&ram, 1, &m->mem, NULL), 0);
	m->map[0] = (struct cvmm_loader_map_entry){ G(0), TEST_LOW_RAM_END, CVMM_LOADER_MAP_RAM };
	m->map[1] =
		(struct cvmm_loader_map_entry){ G(TEST_LOW_RAM_END), LOADER_MIB - TEST_LOW_RAM_END,
						CVMM_LOADER_MAP_RESERVED };
	m->map[2] = (struct cvmm_loader_map_entry){ G(LOADER_MIB), TEST_RAM_BYTES - LOADER_MIB,
						    CVMM_LOADER_MAP_RAM };
	m->config.kernel_fd = -1;
	m->config.map = m->map;
	m->config.map_count = 3;
	m->config.reserved = m->reserved;
	*state = m;
	return 0;
}

static inline int machine_destroy(void **state)
{
	struct machine *m = *state;

	cvmm_close_fd(&m->config.kernel_fd);
	cvmm_mem_unref(m->mem);
	free(m);
	return 0;
}

/* A descriptor that the caller closes. */
static inline int file_of(const void *data, size_t len)
{
	int fd = memfd_create("loader-test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(cvmm_pwrite_full(fd, data, len, 0), 0);
	return fd;
}

/* Boot this as the kernel. */
static inline int machine_load(struct machine *m, const void *kernel, size_t len)
{
	cvmm_close_fd(&m->config.kernel_fd);
	m->config.kernel_fd = file_of(kernel, len);
	memset(&m->err, 0, sizeof(m->err));
	return cvmm_loader_load(m->mem, &m->config, &m->result, &m->err);
}

/* The load must fail with this code, and this text in its message, and leave the result alone. */
static inline void assert_refused(struct machine *m, const void *kernel, size_t len, int code,
				  const char *text)
{
	struct cvmm_loader_result before;

	memset(&m->result, TEST_POISON, sizeof(m->result));
	before = m->result;
	assert_int_equal(machine_load(m, kernel, len), code);
	assert_int_equal(m->err.code, code);
	if (!strstr(m->err.message, text))
		fail_msg("'%s' is not in '%s'", text, m->err.message);
	assert_memory_equal(&m->result, &before, sizeof(before));
}

static inline void assert_loads(struct machine *m, const void *kernel, size_t len)
{
	if (machine_load(m, kernel, len) < 0)
		fail_msg("%s", m->err.message);
}

static inline void read_guest(const struct machine *m, uint64_t gpa, void *dst, size_t len)
{
	assert_int_equal(cvmm_mem_read(m->mem, G(gpa), dst, len), 0);
}

static inline void assert_guest_bytes(const struct machine *m, uint64_t gpa, const void *expected,
				      size_t len)
{
	uint8_t *got = malloc(len);

	assert_non_null(got);
	read_guest(m, gpa, got, len);
	assert_memory_equal(got, expected, len);
	free(got);
}

static inline void assert_guest_fill(const struct machine *m, uint64_t gpa, uint8_t value,
				     size_t len)
{
	uint8_t *expected = malloc(len);

	assert_non_null(expected);
	memset(expected, value, len);
	assert_guest_bytes(m, gpa, expected, len);
	free(expected);
}

/* ---- a synthetic bzImage --------------------------------------------------------------------- */

#define BZ_SETUP_BYTES 1024 /* boot sector and one more */
#define BZ_PAYLOAD_BYTES 2048
#define BZ_PREF_GPA UINT64_C(0x400000)
#define BZ_INIT_BYTES UINT32_C(0x100000)
#define BZ_VERSION "6.1.0-test (cc) #1"
#define BZ_VERSION_OFFSET 0x300

struct bzimage_file {
	uint8_t bytes[BZ_SETUP_BYTES + BZ_PAYLOAD_BYTES];
};

static inline struct loader_setup_header *bz_header(struct bzimage_file *file)
{
	return (struct loader_setup_header *)(file->bytes + LOADER_SETUP_HEADER_OFFSET);
}

static inline struct bzimage_file bz_file(void)
{
	struct bzimage_file file = { { 'M', 'Z' } };
	struct loader_setup_header *hdr = bz_header(&file);

	hdr->setup_sects = BZ_SETUP_BYTES / 512 - 1;
	hdr->syssize = cvmm_le32_from(BZ_PAYLOAD_BYTES / 16);
	hdr->boot_flag = cvmm_le16_from(0xaa55);
	hdr->jump_opcode = 0xeb;
	hdr->jump_offset = 0x6a;
	hdr->header = cvmm_le32_from(0x53726448);
	hdr->version = cvmm_le16_from(0x020f);
	hdr->kernel_version = cvmm_le16_from(BZ_VERSION_OFFSET - 0x200);
	hdr->loadflags = 1;
	hdr->code32_start = cvmm_le32_from(0x100000);
	hdr->initrd_addr_max = cvmm_le32_from(0x7fffffff);
	hdr->kernel_alignment = cvmm_le32_from(0x200000);
	hdr->relocatable_kernel = 1;
	hdr->min_alignment = 21;
	hdr->xloadflags = cvmm_le16_from(0x7f);
	hdr->cmdline_size = cvmm_le32_from(2047);
	hdr->payload_offset = cvmm_le32_from(0x300);
	hdr->payload_length = cvmm_le32_from(0x400);
	hdr->pref_address = cvmm_le64_from(BZ_PREF_GPA);
	hdr->init_size = cvmm_le32_from(BZ_INIT_BYTES);
	hdr->handover_offset = cvmm_le32_from(0x11223344);
	memcpy(file.bytes + BZ_VERSION_OFFSET, BZ_VERSION, sizeof(BZ_VERSION));
	for (size_t i = 0; i < BZ_PAYLOAD_BYTES; i++)
		file.bytes[BZ_SETUP_BYTES + i] = (uint8_t)(i * 7 + 1);
	return file;
}

#endif /* CVMM_TEST_LOADER_UTIL_H */
