// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Writer of AML, the bytecode of ACPI's differentiated description (ACPI 6.5 chapter 20).
 *
 * Theory of operation: terms are appended to a bounded buffer as they are called. A block's length
 * stands in front of its content, in 1 to 4 bytes that count themselves; so a block's begin only
 * notes where the content starts, and its end moves the content up to make room for exactly the
 * length it needs. No tree is built, the encoding is the shortest, and a buffer of exactly the
 * final size is enough.
 *
 * The first failure latches: what follows is ignored, and aml_finish() reports it. So callers write
 * straight on, and check once. No name, however wrong, aborts.
 */
#include <errno.h>

#include "firmware_internal.h"

enum {
	OP_ZERO = 0x00,
	OP_ONE = 0x01,
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_STRING = 0x0d,
	OP_QWORD = 0x0e,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_EXT = 0x5b,
	OP_EXT_DEVICE = 0x82,
	PATH_DUAL = 0x2e,
	PATH_MULTI = 0x2f,
	PATH_NULL = 0x00,
};

enum {
	RES_IO = 0x47, /* small: length in the tag */
	RES_END = 0x79,
	RES_MEMORY32_FIXED = 0x86, /* large: 16-bit length follows */
	RES_INTERRUPT = 0x89,
	RES_END_NO_CHECKSUM = 0,
	RES_MEMORY_WRITABLE = 1,
	RES_IO_DECODE16 = 1,
	RES_IO_ALIGN = 1,
	RES_INTERRUPT_CONSUMER = 1 << 0,
	RES_INTERRUPT_EDGE = 1 << 1,
	RES_MEMORY32_FIXED_BYTES = 9,
	RES_INTERRUPT_BYTES = 6, /* with one interrupt */
};

#define INTEGER_BYTES_MAX 9
#define EISA_ID_CHARS 7

/* ---- bytes ----------------------------------------------------------------------------------- */

void aml_init(struct aml *aml, void *buf, size_t cap)
{
	*aml = (struct aml){ .buf = buf, .cap = cap };
}

int aml_finish(const struct aml *aml)
{
	if (aml->error)
		return aml->error;
	return aml->depth ? -EINVAL : 0;
}

void aml_fail(struct aml *aml, int error)
{
	if (!aml->error)
		aml->error = error;
}

/* Put bytes at @at, moving what is there up. */
static void insert(struct aml *aml, size_t at, const void *bytes, size_t len)
{
	if (aml->error || !len)
		return;
	if (len > aml->cap - aml->len) {
		aml_fail(aml, -ENOSPC);
		return;
	}
	memmove(aml->buf + at + len, aml->buf + at, aml->len - at);
	memcpy(aml->buf + at, bytes, len);
	aml->len += len;
}

void aml_bytes(struct aml *aml, const void *bytes, size_t len)
{
	insert(aml, aml->len, bytes, len);
}

void aml_u8(struct aml *aml, uint8_t v)
{
	aml_bytes(aml, &v, sizeof(v));
}

void aml_u16(struct aml *aml, uint16_t v)
{
	uint8_t bytes[sizeof(v)];

	cvmm_put_le16(bytes, v);
	aml_bytes(aml, bytes, sizeof(bytes));
}

void aml_u32(struct aml *aml, uint32_t v)
{
	uint8_t bytes[sizeof(v)];

	cvmm_put_le32(bytes, v);
	aml_bytes(aml, bytes, sizeof(bytes));
}

void aml_u64(struct aml *aml, uint64_t v)
{
	uint8_t bytes[sizeof(v)];

	cvmm_put_le64(bytes, v);
	aml_bytes(aml, bytes, sizeof(bytes));
}

void aml_zeroes(struct aml *aml, size_t len)
{
	while (len-- && !aml->error)
		aml_u8(aml, 0);
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool is_lead_char(char c)
{
	return (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/*
 * Length of the segment at the start of @text, 0 if there is no valid one. A segment ends at a dot
 * or at the end of the path.
 */
static size_t segment_len(const char *text)
{
	size_t n = 0;

	if (!is_lead_char(text[0]))
		return 0;
	while (is_lead_char(text[n]) || is_digit(text[n]))
		n++;
	if (n > AML_NAME_SEGMENT_BYTES || (text[n] && text[n] != '.'))
		return 0;
	return n;
}

/* Segments of a dotted list, 0 if one of them is bad, or none, or too many. */
static size_t count_segments(const char *text)
{
	size_t count = 0;

	for (;;) {
		size_t n = segment_len(text);

		if (!n || ++count > AML_PATH_SEGMENTS_MAX)
			return 0;
		if (!text[n])
			return count;
		text += n + 1;
	}
}

static void put_segments(struct aml *aml, const char *text, size_t count)
{
	if (count == 2) {
		aml_u8(aml, PATH_DUAL);
	} else if (count > 2) {
		aml_u8(aml, PATH_MULTI);
		aml_u8(aml, (uint8_t)count);
	}
	while (count--) {
		char segment[AML_NAME_SEGMENT_BYTES] = { '_', '_', '_', '_' };
		size_t n = segment_len(text);

		memcpy(segment, text, n);
		aml_bytes(aml, segment, sizeof(segment));
		text += n + 1;
	}
}

void aml_path(struct aml *aml, const char *path)
{
	const char *text = path;
	size_t count;

	if (*text == '\\')
		text++;
	else
		text += strspn(text, "^");
	count = count_segments(text);
	/* A prefix may stand alone, e.g. "\": the root itself. */
	if (!count && (*text || text == path)) {
		aml_fail(aml, -EINVAL);
		return;
	}
	aml_bytes(aml, path, (size_t)(text - path));
	if (count)
		put_segments(aml, text, count);
	else
		aml_u8(aml, PATH_NULL);
}

/* ---- data objects ---------------------------------------------------------------------------- */

static size_t encode_integer(uint64_t v, uint8_t bytes[INTEGER_BYTES_MAX])
{
	if (v <= 1) {
		bytes[0] = v ? OP_ONE : OP_ZERO;
		return 1;
	}
	if (v <= UINT8_MAX) {
		bytes[0] = OP_BYTE;
		bytes[1] = (uint8_t)v;
		return 1 + sizeof(uint8_t);
	}
	if (v <= UINT16_MAX) {
		bytes[0] = OP_WORD;
		cvmm_put_le16(bytes + 1, (uint16_t)v);
		return 1 + sizeof(uint16_t);
	}
	if (v <= UINT32_MAX) {
		bytes[0] = OP_DWORD;
		cvmm_put_le32(bytes + 1, (uint32_t)v);
		return 1 + sizeof(uint32_t);
	}
	bytes[0] = OP_QWORD;
	cvmm_put_le64(bytes + 1, v);
	return 1 + sizeof(uint64_t);
}

void aml_integer(struct aml *aml, uint64_t v)
{
	uint8_t bytes[INTEGER_BYTES_MAX];

	aml_bytes(aml, bytes, encode_integer(v, bytes));
}

void aml_string(struct aml *aml, const char *text)
{
	for (const char *p = text; *p; p++) {
		if ((unsigned char)*p > 0x7f) {
			aml_fail(aml, -EINVAL);
			return;
		}
	}
	aml_u8(aml, OP_STRING);
	aml_bytes(aml, text, strlen(text) + 1);
}

static int hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Three letters of 5 bits, then four hexadecimal digits; stored with the first byte first. */
void aml_eisa_id(struct aml *aml, const char *id)
{
	uint32_t value = 0;

	if (strlen(id) != EISA_ID_CHARS) {
		aml_fail(aml, -EINVAL);
		return;
	}
	for (unsigned int i = 0; i < EISA_ID_CHARS; i++) {
		bool letter = i < 3;
		int v = letter ? id[i] - '@' : hex_value(id[i]);

		if (v < 0 || (letter && (id[i] < 'A' || id[i] > 'Z'))) {
			aml_fail(aml, -EINVAL);
			return;
		}
		value = value << (letter ? 5 : 4) | (uint32_t)v;
	}
	aml_integer(aml, __builtin_bswap32(value));
}

/* ---- blocks ---------------------------------------------------------------------------------- */

size_t aml_pkg_length(size_t content_len, uint8_t bytes[AML_PKG_LENGTH_BYTES_MAX])
{
	/* What 1 to 4 bytes can say: 6 bits, or 4 bits and 8 more for each further byte. */
	static const uint32_t max[AML_PKG_LENGTH_BYTES_MAX] = { (1U << 6) - 1, (1U << 12) - 1,
								(1U << 20) - 1,
								AML_PKG_LENGTH_MAX };

	for (size_t n = 1; n <= AML_PKG_LENGTH_BYTES_MAX; n++) {
		size_t total = content_len + n;

		if (content_len > max[n - 1] || total > max[n - 1])
			continue;
		if (n == 1) {
			bytes[0] = (uint8_t)total;
			return n;
		}
		bytes[0] = (uint8_t)((n - 1) << 6 | (total & 0x0f));
		for (size_t i = 1; i < n; i++)
			bytes[i] = (uint8_t)(total >> (8 * i - 4));
		return n;
	}
	return 0;
}

static void begin(struct aml *aml, enum aml_frame_kind kind)
{
	if (aml->error)
		return;
	if (aml->depth == AML_DEPTH_MAX) {
		aml_fail(aml, -EINVAL);
		return;
	}
	aml->frames[aml->depth].kind = kind;
	aml->frames[aml->depth].start = aml->len;
	aml->depth++;
}

void aml_scope_begin(struct aml *aml, const char *path)
{
	aml_u8(aml, OP_SCOPE);
	begin(aml, AML_FRAME_PACKAGE);
	aml_path(aml, path);
}

void aml_device_begin(struct aml *aml, const char *name)
{
	aml_u8(aml, OP_EXT);
	aml_u8(aml, OP_EXT_DEVICE);
	begin(aml, AML_FRAME_PACKAGE);
	aml_path(aml, name);
}

void aml_package_begin(struct aml *aml, uint8_t elements)
{
	aml_u8(aml, OP_PACKAGE);
	begin(aml, AML_FRAME_PACKAGE);
	aml_u8(aml, elements);
}

void aml_template_begin(struct aml *aml)
{
	aml_u8(aml, OP_BUFFER);
	begin(aml, AML_FRAME_TEMPLATE);
}

void aml_end(struct aml *aml)
{
	uint8_t pkg_length[AML_PKG_LENGTH_BYTES_MAX], size[INTEGER_BYTES_MAX];
	size_t start, n;

	if (aml->error)
		return;
	if (!aml->depth) {
		aml_fail(aml, -EINVAL);
		return;
	}
	aml->depth--;
	start = aml->frames[aml->depth].start;
	if (aml->frames[aml->depth].kind == AML_FRAME_TEMPLATE) {
		aml_u8(aml, RES_END);
		aml_u8(aml, RES_END_NO_CHECKSUM);
		insert(aml, start, size, encode_integer(aml->len - start, size));
	}
	n = aml_pkg_length(aml->len - start, pkg_length);
	if (!n)
		aml_fail(aml, -E2BIG);
	insert(aml, start, pkg_length, n);
}

void aml_name(struct aml *aml, const char *path)
{
	aml_u8(aml, OP_NAME);
	aml_path(aml, path);
}

/* ---- resource descriptors (ACPI 6.5 section 6.4) --------------------------------------------- */

void aml_res_memory32_fixed(struct aml *aml, uint32_t base, uint32_t len)
{
	aml_u8(aml, RES_MEMORY32_FIXED);
	aml_u16(aml, RES_MEMORY32_FIXED_BYTES);
	aml_u8(aml, RES_MEMORY_WRITABLE);
	aml_u32(aml, base);
	aml_u32(aml, len);
}

void aml_res_io(struct aml *aml, uint16_t port, uint8_t len)
{
	aml_u8(aml, RES_IO);
	aml_u8(aml, RES_IO_DECODE16);
	aml_u16(aml, port);
	aml_u16(aml, port);
	aml_u8(aml, RES_IO_ALIGN);
	aml_u8(aml, len);
}

/* Active high, exclusive, no wake: the flags that stay clear. */
void aml_res_interrupt(struct aml *aml, uint32_t gsi, enum cvmm_firmware_trigger trigger)
{
	uint8_t flags = RES_INTERRUPT_CONSUMER;

	if (trigger == CVMM_FIRMWARE_EDGE)
		flags |= RES_INTERRUPT_EDGE;
	aml_u8(aml, RES_INTERRUPT);
	aml_u16(aml, RES_INTERRUPT_BYTES);
	aml_u8(aml, flags);
	aml_u8(aml, 1);
	aml_u32(aml, gsi);
}
