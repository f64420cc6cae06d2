/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_FIRMWARE_INTERNAL_H
#define CVMM_FIRMWARE_INTERNAL_H

#include <cvmm/firmware.h>

/* ---- description of the machine -------------------------------------------------------------- */

/* Whether a description makes sense, for any encoding of it. Return: 0 or -EINVAL. */
int fw_machine_check(const struct cvmm_firmware_machine *machine, struct cvmm_error *err);

/* The APIC id of CPU @i. */
static inline uint32_t fw_machine_apic_id(const struct cvmm_firmware_machine *machine, uint32_t i)
{
	return machine->apic_ids ? machine->apic_ids[i] : i;
}

/* ---- AML writer ------------------------------------------------------------------------------ */

#define AML_DEPTH_MAX 8
#define AML_PKG_LENGTH_BYTES_MAX 4
#define AML_PKG_LENGTH_MAX ((1U << 28) - 1)
#define AML_NAME_SEGMENT_BYTES 4
#define AML_PATH_SEGMENTS_MAX 255

enum aml_frame_kind {
	AML_FRAME_PACKAGE,  /* PkgLength in front of the content */
	AML_FRAME_TEMPLATE, /* PkgLength and buffer size in front, end tag behind */
};

/**
 * struct aml - a bounded writer of bytes, AML terms and resource descriptors
 * @buf: @cap bytes, of which @len are used
 * @error: first failure; once set, nothing more is written
 * @frames: the @depth blocks that have begun and not ended
 */
struct aml {
	uint8_t *buf;
	size_t cap;
	size_t len;
	int error;
	unsigned int depth;
	struct {
		enum aml_frame_kind kind;
		size_t start;
	} frames[AML_DEPTH_MAX];
};

void aml_init(struct aml *aml, void *buf, size_t cap);

/* Return: 0; -ENOSPC, -EINVAL (bad name, or a block still open), -E2BIG (block too long). */
int aml_finish(const struct aml *aml);

/* Make the writer fail with @error, unless it did before. */
void aml_fail(struct aml *aml, int error);

void aml_bytes(struct aml *aml, const void *bytes, size_t len);
void aml_u8(struct aml *aml, uint8_t v);
void aml_u16(struct aml *aml, uint16_t v);
void aml_u32(struct aml *aml, uint32_t v);
void aml_u64(struct aml *aml, uint64_t v);
void aml_zeroes(struct aml *aml, size_t len);

/*
 * A PkgLength for @content_len bytes that follow it, counting itself.
 * Return: its 1 to 4 bytes in @bytes; 0 if the content is too long.
 */
size_t aml_pkg_length(size_t content_len, uint8_t bytes[AML_PKG_LENGTH_BYTES_MAX]);

/* A path as in ASL: "_UID", "\\_SB", "^^COM1", "\\_SB.C000"; segments are padded with '_'. */
void aml_path(struct aml *aml, const char *path);

/* Data objects, in their shortest encoding. */
void aml_integer(struct aml *aml, uint64_t v);
void aml_string(struct aml *aml, const char *text);
void aml_eisa_id(struct aml *aml, const char *id); /* "PNP0501" */

/* Blocks; each is ended by aml_end(). */
void aml_scope_begin(struct aml *aml, const char *path);
void aml_device_begin(struct aml *aml, const char *name);
void aml_package_begin(struct aml *aml, uint8_t elements);
void aml_template_begin(struct aml *aml); /* resource descriptors go in */
void aml_end(struct aml *aml);

/* Name (path, …): the object follows. */
void aml_name(struct aml *aml, const char *path);

/* Resource descriptors. */
void aml_res_memory32_fixed(struct aml *aml, uint32_t base, uint32_t len);
void aml_res_io(struct aml *aml, uint16_t port, uint8_t len);
void aml_res_interrupt(struct aml *aml, uint32_t gsi, enum cvmm_firmware_trigger trigger);

#endif /* CVMM_FIRMWARE_INTERNAL_H */
