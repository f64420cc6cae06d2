/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Theory of operation
 *
 * A bzImage is a boot sector, (setup_sects) sectors of real-mode code with the setup header in their
 * midst, and syssize paragraphs of protected-mode code: a decompressor with the kernel proper inside.
 * We never run the real-mode code. The protected-mode part goes to a place where init_size bytes are
 * free, and is entered at its 64-bit entry, 0x200 behind its start, with the setup header in the zero
 * page. It unpacks and relocates itself.
 *
 * A relocatable kernel that starts below pref_address would move itself there, over whatever it finds;
 * so the search for a place begins at pref_address.
 *
 * The setup header is copied out of the file once, and only the copy is looked at.
 */
#include <errno.h>
#include <inttypes.h>

#include "loader_internal.h"

#define PARAGRAPH_BYTES 16
#define PRINTABLE_FIRST 0x20
#define PRINTABLE_LAST 0x7e

struct bzimage {
	uint64_t
		setup_bytes; /* boot sector and real-mode code: offset of the payload in the file */
	uint64_t payload_bytes;
	uint64_t init_bytes;
	uint64_t pref_gpa;
	uint64_t align;
	bool relocatable;
};

static int read_header(const struct loader_file *file, struct loader_setup_header *hdr,
		       struct cvmm_error *err)
{
	size_t len;
	int r;

	memset(hdr, 0, sizeof(*hdr));
	r = loader_file_read(file, LOADER_SETUP_HEADER_OFFSET, hdr, LOADER_SETUP_HEADER_MIN_BYTES,
			     "the setup header", err);
	if (r < 0)
		return r;
	if (cvmm_le16_get(hdr->boot_flag) != LOADER_SETUP_BOOT_FLAG ||
	    cvmm_le32_get(hdr->header) != LOADER_SETUP_MAGIC ||
	    hdr->jump_opcode != LOADER_SETUP_JUMP_SHORT || hdr->jump_offset > LOADER_SETUP_JUMP_MAX)
		return cvmm_fail(
			err, -EBADMSG,
			"the kernel file is a malformed bzImage: no boot sector signature, or no "
			"jump over the setup header");
	if (cvmm_le16_get(hdr->version) < LOADER_SETUP_PROTOCOL_MIN)
		return cvmm_fail(
			err, -ENOTSUP,
			"the bzImage speaks boot protocol 0x%04x; 0x%04x (Linux 3.8) or newer is "
			"needed",
			cvmm_le16_get(hdr->version), LOADER_SETUP_PROTOCOL_MIN);
	len = (size_t)LOADER_SETUP_JUMP_ORIGIN + hdr->jump_offset - LOADER_SETUP_HEADER_OFFSET;
	if (len < LOADER_SETUP_HEADER_MIN_BYTES)
		return cvmm_fail(
			err, -EBADMSG,
			"the kernel file is a malformed bzImage: its setup header has %zu bytes, "
			"protocol 0x%04x needs at least %zu",
			len, cvmm_le16_get(hdr->version), LOADER_SETUP_HEADER_MIN_BYTES);
	/* Only the rest: what was checked above must not be read twice. */
	return loader_file_read(file, LOADER_SETUP_HEADER_OFFSET + LOADER_SETUP_HEADER_MIN_BYTES,
				(uint8_t *)hdr + LOADER_SETUP_HEADER_MIN_BYTES,
				len - LOADER_SETUP_HEADER_MIN_BYTES, "the setup header", err);
}

static int check_kind(const struct loader_setup_header *hdr, struct cvmm_error *err)
{
	if (!(hdr->loadflags & LOADER_SETUP_LOADFLAG_HIGH))
		return cvmm_fail(
			err, -ENOTSUP,
			"the kernel is a zImage that wants to be loaded below 1 MiB; build a "
			"bzImage");
	if (!(cvmm_le16_get(hdr->xloadflags) & LOADER_SETUP_XLF_KERNEL_64))
		return cvmm_fail(
			err, -ENOTSUP,
			"the bzImage has no 64-bit entry: it is a 32-bit kernel; use one for "
			"x86_64");
	return 0;
}

static int check_sizes(const struct loader_file *file, const struct loader_setup_header *hdr,
		       struct bzimage *image, struct cvmm_error *err)
{
	unsigned int sects = hdr->setup_sects ? hdr->setup_sects : LOADER_SETUP_SECTS_DEFAULT;
	uint64_t compressed_end =
		(uint64_t)cvmm_le32_get(hdr->payload_offset) + cvmm_le32_get(hdr->payload_length);

	image->setup_bytes = (uint64_t)(sects + 1) * LOADER_BOOT_SECTOR_BYTES;
	image->payload_bytes = (uint64_t)cvmm_le32_get(hdr->syssize) * PARAGRAPH_BYTES;
	image->init_bytes = cvmm_le32_get(hdr->init_size);
	if (file->len < image->setup_bytes || file->len - image->setup_bytes < image->payload_bytes)
		return cvmm_fail(err, -ENODATA,
				 "the kernel file is truncated: its header tells of %" PRIu64
				 " bytes, but the file has %" PRIu64,
				 image->setup_bytes + image->payload_bytes, file->len);
	if (image->payload_bytes <= LOADER_SETUP_ENTRY_64 ||
	    compressed_end > image->payload_bytes || image->init_bytes < image->payload_bytes)
		return cvmm_fail(err, -EBADMSG,
				 "the kernel file is a malformed bzImage: %" PRIu64
				 " bytes of code, "
				 "compressed kernel up to %" PRIu64 ", %" PRIu64 " bytes to unpack",
				 image->payload_bytes, compressed_end, image->init_bytes);
	image->relocatable = hdr->relocatable_kernel;
	image->pref_gpa = cvmm_le64_get(hdr->pref_address);
	image->align = cvmm_le32_get(hdr->kernel_alignment);
	if (!cvmm_is_pow2(image->align) || image->pref_gpa < LOADER_IMAGE_MIN)
		return cvmm_fail(err, -EBADMSG,
				 "the kernel file is a malformed bzImage: alignment 0x%" PRIx64
				 ", preferred address 0x%" PRIx64,
				 image->align, image->pref_gpa);
	return 0;
}

/* For people; a byte that could upset a terminal becomes '?'. */
static int read_version(const struct loader_file *file, const struct loader_setup_header *hdr,
			uint64_t setup_bytes, char version[CVMM_LOADER_VERSION_SIZE],
			struct cvmm_error *err)
{
	uint64_t offset = cvmm_le16_get(hdr->kernel_version);
	size_t room = CVMM_LOADER_VERSION_SIZE - 1;
	int r;

	memset(version, 0, CVMM_LOADER_VERSION_SIZE);
	if (!offset)
		return 0;
	offset += LOADER_SETUP_VERSION_ORIGIN;
	if (offset >= setup_bytes)
		return cvmm_fail(
			err, -EBADMSG,
			"the kernel file is a malformed bzImage: its version text is at %" PRIu64
			", behind the set-up code of %" PRIu64 " bytes",
			offset, setup_bytes);
	if (room > setup_bytes - offset)
		room = (size_t)(setup_bytes - offset);
	r = loader_file_read(file, offset, version, room, "the version text", err);
	if (r < 0)
		return r;
	for (char *p = version; *p; p++) {
		if ((unsigned char)*p < PRINTABLE_FIRST || (unsigned char)*p > PRINTABLE_LAST)
			*p = '?';
	}
	return 0;
}

static int place(const struct loader_space *space, const struct bzimage *image, uint64_t *ret_gpa,
		 struct cvmm_error *err)
{
	uint64_t gpa;
	int r;

	if (image->relocatable) {
		r = loader_space_find_low(space, image->init_bytes, image->align, image->pref_gpa,
					  CVMM_LOADER_IDENTITY_MAP_END, &gpa);
	} else {
		gpa = image->pref_gpa;
		r = cvmm_range_inside(gpa, image->init_bytes, CVMM_LOADER_IDENTITY_MAP_END)
			    ? loader_space_check(space, gpa, image->init_bytes)
			    : -ENOMEM;
	}
	if (r < 0)
		return cvmm_fail(
			err, r,
			"the kernel needs %" PRIu64 " KiB of free RAM %s 0x%" PRIx64
			", and the guest has %" PRIu64 " KiB of RAM below 4 GiB in all; give "
			"it more memory",
			image->init_bytes / 1024, image->relocatable ? "above" : "at",
			image->pref_gpa,
			loader_space_ram_below(space, CVMM_LOADER_IDENTITY_MAP_END) / 1024);
	*ret_gpa = gpa;
	return 0;
}

static void fill_image(const struct loader_setup_header *hdr, const struct bzimage *bzimage,
		       uint64_t gpa, struct loader_image *image)
{
	image->protocol = CVMM_LOADER_PROTOCOL_LINUX64;
	image->kernel.gpa = cvmm_gpa_from(gpa);
	image->kernel.len_bytes = bzimage->init_bytes;
	image->entry = gpa + LOADER_SETUP_ENTRY_64;
	image->cmdline_max = cvmm_le32_get(hdr->cmdline_size);
	image->initrd_limit = (uint64_t)cvmm_le32_get(hdr->initrd_addr_max) + 1;
	image->boot_protocol = cvmm_le16_get(hdr->version);
	image->setup = *hdr;
	/* Whatever the file says of these, it has no say in them. */
	image->setup.setup_data = cvmm_le64_from(0);
	image->setup.heap_end_ptr = cvmm_le16_from(0);
	image->setup.ext_loader_ver = 0;
	image->setup.ext_loader_type = 0;
	image->setup.code32_start = cvmm_le32_from((uint32_t)gpa);
}

int loader_bzimage_load(const struct loader_space *space, const struct loader_file *file,
			enum cvmm_loader_protocol protocol, struct loader_image *image,
			struct cvmm_error *err)
{
	struct loader_setup_header hdr;
	struct bzimage bzimage = { 0 };
	uint64_t gpa = 0;
	int r;

	if (protocol == CVMM_LOADER_PROTOCOL_PVH)
		return cvmm_fail(
			err, -ENOTSUP,
			"a bzImage cannot be started with PVH; extract the vmlinux inside it "
			"(scripts/extract-vmlinux of the Linux source), or leave the protocol "
			"to be chosen automatically");
	r = read_header(file, &hdr, err);
	if (r < 0)
		return r;
	r = check_kind(&hdr, err);
	if (r < 0)
		return r;
	r = check_sizes(file, &hdr, &bzimage, err);
	if (r < 0)
		return r;
	r = read_version(file, &hdr, bzimage.setup_bytes, image->kernel_version, err);
	if (r < 0)
		return r;
	r = place(space, &bzimage, &gpa, err);
	if (r < 0)
		return r;
	r = loader_file_load(file, bzimage.setup_bytes, space->mem, gpa, bzimage.payload_bytes,
			     err);
	if (r < 0)
		return r;
	fill_image(&hdr, &bzimage, gpa, image);
	return 0;
}
