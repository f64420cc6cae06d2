/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Theory of operation
 *
 * cvmm_loader_load() goes through the boot in the order in which space is taken: low memory for our
 * own structures (loader_space.c), the kernel where it wants to be (loader_bzimage.c, loader_elf.c),
 * the initrd as high as allowed, and last the boot parameters that describe it all (loader_x86.c).
 * The result is built in a local copy, so that a failure leaves the caller's one alone.
 */
#include <errno.h>
#include <inttypes.h>

#include "loader_internal.h"

#define INITRD_ALIGN UINT64_C(4096)
/* Linux takes an uncompressed cpio archive only at such an offset, and skips zeros before it. */
#define INITRD_PIECE_ALIGN UINT64_C(4)

/* ---- initrd ---------------------------------------------------------------------------------- */

static int piece_len(const struct cvmm_loader_piece *piece, size_t i, uint64_t *ret_len,
		     struct cvmm_error *err)
{
	struct loader_file file;
	int r;

	if (piece->data) {
		if (piece->len_bytes > SIZE_MAX / 2)
			return cvmm_fail(err, -EINVAL,
					 "initrd piece %zu: a length is needed for bytes in memory",
					 i);
		*ret_len = piece->len_bytes;
		return 0;
	}
	r = loader_file_open(piece->fd, "initrd file", &file, err);
	if (r < 0)
		return r;
	if (piece->fd_offset <= file.len && piece->len_bytes == CVMM_LOADER_TO_END) {
		*ret_len = file.len - piece->fd_offset;
		return 0;
	}
	if (!cvmm_range_inside(piece->fd_offset, piece->len_bytes, file.len))
		return cvmm_fail(err, -ENODATA,
				 "initrd piece %zu: the file ends at %" PRIu64
				 " bytes, too early for "
				 "offset %" PRIu64,
				 i, file.len, piece->fd_offset);
	*ret_len = piece->len_bytes;
	return 0;
}

static int initrd_sizes(const struct cvmm_loader_config *config, uint64_t *lens,
			uint64_t *ret_total, struct cvmm_error *err)
{
	uint64_t total = 0;
	int r;

	if (config->initrd_count > CVMM_LOADER_INITRD_PIECES_MAX)
		return cvmm_fail(err, -EINVAL, "an initrd of %zu pieces; at most %d are allowed",
				 config->initrd_count, CVMM_LOADER_INITRD_PIECES_MAX);
	for (size_t i = 0; i < config->initrd_count; i++) {
		r = piece_len(&config->initrd[i], i, &lens[i], err);
		if (r < 0)
			return r;
		if (!cvmm_align_up_u64(total, INITRD_PIECE_ALIGN, &total) ||
		    !cvmm_add_u64(total, lens[i], &total))
			return cvmm_fail(err, -ENOMEM, "the initrd's size wraps around");
	}
	*ret_total = total;
	return 0;
}

static int write_piece(const struct cvmm_mem *mem, const struct cvmm_loader_piece *piece,
		       uint64_t len, uint64_t gpa)
{
	if (piece->data)
		return cvmm_mem_write(mem, cvmm_gpa_from(gpa), piece->data, (size_t)len);
	return cvmm_mem_pread(mem, cvmm_gpa_from(gpa), piece->fd, piece->fd_offset, len);
}

static int write_initrd(const struct cvmm_mem *mem, const struct cvmm_loader_config *config,
			const uint64_t *lens, uint64_t gpa, struct cvmm_error *err)
{
	uint64_t end = gpa;
	int r;

	for (size_t i = 0; i < config->initrd_count; i++) {
		uint64_t start = (end + INITRD_PIECE_ALIGN - 1) & ~(INITRD_PIECE_ALIGN - 1);

		r = cvmm_mem_fill(mem, cvmm_gpa_from(end), 0, start - end);
		if (!r)
			r = write_piece(mem, &config->initrd[i], lens[i], start);
		if (r < 0)
			return cvmm_fail(err, r, "cannot load initrd piece %zu: %s", i,
					 strerror(-r));
		end = start + lens[i];
	}
	return 0;
}

static int load_initrd(const struct loader_space *space, const struct cvmm_loader_config *config,
		       const struct loader_image *image, struct cvmm_loader_range *ret_range,
		       struct cvmm_error *err)
{
	uint64_t lens[CVMM_LOADER_INITRD_PIECES_MAX];
	uint64_t limit = image->initrd_limit;
	uint64_t total = 0;
	uint64_t gpa = 0;
	int r;

	r = initrd_sizes(config, lens, &total, err);
	if (r < 0 || !total)
		return r;
	r = loader_space_find_high(space, total, INITRD_ALIGN, limit, &gpa);
	if (r < 0)
		return cvmm_fail(err, r,
				 "the initrd of %" PRIu64 " KiB does not fit: below 0x%" PRIx64
				 " the guest has %" PRIu64
				 " KiB of RAM, and the kernel takes %" PRIu64
				 " KiB; give it more memory",
				 total / 1024, limit, loader_space_ram_below(space, limit) / 1024,
				 image->kernel.len_bytes / 1024);
	r = write_initrd(space->mem, config, lens, gpa, err);
	if (r < 0)
		return r;
	ret_range->gpa = cvmm_gpa_from(gpa);
	ret_range->len_bytes = total;
	return 0;
}

/* ---- kernel and command line ----------------------------------------------------------------- */

static int load_kernel(const struct loader_space *space, const struct cvmm_loader_config *config,
		       struct loader_image *image, enum cvmm_loader_format *format,
		       struct cvmm_error *err)
{
	struct loader_file file;
	int r;

	r = loader_file_open(config->kernel_fd, "kernel file", &file, err);
	if (r < 0)
		return r;
	r = loader_file_sniff(&file, format, err);
	if (r < 0)
		return r;
	switch (*format) {
	case CVMM_LOADER_FORMAT_BZIMAGE:
		return loader_bzimage_load(space, &file, config->protocol, image, err);
	case CVMM_LOADER_FORMAT_ELF64_X86_64:
		return loader_elf_load(space, &file, config->protocol, image, err);
	default:
		return loader_file_refuse(&file, *format, err);
	}
}

static int write_cmdline(const struct cvmm_mem *mem, const char *cmdline, uint64_t max,
			 struct cvmm_loader_range *ret_range, struct cvmm_error *err)
{
	size_t len;
	int r;

	if (max > CVMM_LOADER_CMDLINE_AREA_BYTES - 1)
		max = CVMM_LOADER_CMDLINE_AREA_BYTES - 1;
	if (!cmdline)
		cmdline = "";
	len = strlen(cmdline);
	if (len > max)
		return cvmm_fail(
			err, -E2BIG,
			"the kernel command line has %zu characters, but the kernel takes only "
			"%" PRIu64,
			len, max);
	r = cvmm_mem_write(mem, cvmm_gpa_from(CVMM_LOADER_CMDLINE_GPA), cmdline, len + 1);
	if (r < 0)
		return cvmm_fail(err, r, "cannot write the kernel command line to guest memory: %s",
				 strerror(-r));
	ret_range->gpa = cvmm_gpa_from(CVMM_LOADER_CMDLINE_GPA);
	ret_range->len_bytes = len + 1;
	return 0;
}

static int check_config(const struct cvmm_loader_config *config, struct cvmm_error *err)
{
	if (config->arch != CVMM_LOADER_ARCH_X86_64)
		return cvmm_fail(err, -EINVAL, "cannot load kernels for architecture %d",
				 (int)config->arch);
	switch (config->protocol) {
	case CVMM_LOADER_PROTOCOL_AUTO:
	case CVMM_LOADER_PROTOCOL_LINUX64:
	case CVMM_LOADER_PROTOCOL_PVH:
		return 0;
	}
	return cvmm_fail(err, -EINVAL, "unknown boot protocol %d", (int)config->protocol);
}

int cvmm_loader_load(const struct cvmm_mem *mem, const struct cvmm_loader_config *config,
		     struct cvmm_loader_result *ret, struct cvmm_error *err)
{
	struct cvmm_loader_result result;
	struct loader_image image;
	struct loader_space space;
	int r;

	memset(&result, 0, sizeof(result));
	memset(&image, 0, sizeof(image));
	r = check_config(config, err);
	if (r < 0)
		return r;
	r = loader_space_init(&space, mem, config, err);
	if (r < 0)
		return r;
	r = load_kernel(&space, config, &image, &result.format, err);
	if (r < 0)
		return r;
	loader_space_take(&space, image.kernel.gpa.addr, image.kernel.len_bytes);
	r = write_cmdline(mem, config->cmdline, image.cmdline_max, &result.cmdline, err);
	if (r < 0)
		return r;
	r = load_initrd(&space, config, &image, &result.initrd, err);
	if (r < 0)
		return r;
	r = loader_x86_prepare(mem, config, &image, &result, err);
	if (r < 0)
		return r;
	result.protocol = image.protocol;
	result.kernel = image.kernel;
	result.boot_protocol = image.boot_protocol;
	memcpy(result.kernel_version, image.kernel_version, sizeof(result.kernel_version));
	*ret = result;
	return 0;
}
