// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The GPU protocol: its table of messages, and what both ends do alike.
 */
#include <errno.h>

#include "vhost_user_gpu_internal.h"

#define HEADER_SIZE sizeof(struct cvmm_vhost_user_header)

/* ---- the table --------------------------------------------------------------------------------- */

const struct cvmm_vhost_user_gpu_message *cvmm_vhost_user_gpu_message_find(uint32_t id)
{
	static const struct cvmm_vhost_user_gpu_message
		table[CVMM_VHOST_USER_GPU_REQUEST_MAX + 1] = {
#define X(id_, NAME, name_, gate_, form_, fds_max_, answer_)  \
	[id_] = {                                             \
		.id = (id_),                                  \
		.name = #NAME,                                \
		.gate = (gate_),                              \
		.form = CVMM_VHOST_USER_GPU_FORM_##form_,     \
		.fds_max = (fds_max_),                        \
		.answer = CVMM_VHOST_USER_GPU_FORM_##answer_, \
	},
			CVMM_VHOST_USER_GPU_REQUESTS(X)
#undef X
		};

	return id < CVMM_ARRAY_SIZE(table) && table[id].name ? &table[id] : NULL;
}

const char *cvmm_vhost_user_gpu_feature_name(unsigned int bit)
{
	static const char *const names[] = {
#define X(bit_, name) [bit_] = #name,
		CVMM_VHOST_USER_GPU_FEATURES(X)
#undef X
	};

	return bit < CVMM_ARRAY_SIZE(names) ? names[bit] : NULL;
}

const char *cvmm_vhost_user_gpu_form_name(enum cvmm_vhost_user_gpu_form form)
{
	static const char *const names[CVMM_VHOST_USER_GPU_FORM_COUNT] = {
		[CVMM_VHOST_USER_GPU_FORM_NONE] = "none",
		[CVMM_VHOST_USER_GPU_FORM_EMPTY] = "empty",
#define X(NAME, name, type) [CVMM_VHOST_USER_GPU_FORM_##NAME] = name,
		CVMM_VHOST_USER_GPU_FORMS(X)
#undef X
	};

	return (unsigned int)form < CVMM_VHOST_USER_GPU_FORM_COUNT ? names[form] : NULL;
}

uint32_t cvmm_vhost_user_gpu_form_size(enum cvmm_vhost_user_gpu_form form)
{
	static const uint32_t sizes[CVMM_VHOST_USER_GPU_FORM_COUNT] = {
#define X(NAME, name, type) [CVMM_VHOST_USER_GPU_FORM_##NAME] = sizeof(type),
		CVMM_VHOST_USER_GPU_FORMS(X)
#undef X
	};

	return (unsigned int)form < CVMM_VHOST_USER_GPU_FORM_COUNT ? sizes[form] : 0;
}

/* Whether @len_bytes are a region and exactly its pixels. */
static bool pixels_fit(const void *bytes, uint32_t len_bytes)
{
	struct cvmm_vhost_user_gpu_update update;
	uint64_t pixels;

	if (len_bytes < sizeof(update))
		return false;
	memcpy(&update, bytes, sizeof(update));
	/*
	 * A product of two 32-bit numbers; four times that may be too much, a fourth of the rest is
	 * not.
	 */
	pixels = (uint64_t)update.width * update.height;
	len_bytes -= (uint32_t)sizeof(update);
	return len_bytes % CVMM_VHOST_USER_GPU_PIXEL_BYTES == 0 &&
	       pixels == len_bytes / CVMM_VHOST_USER_GPU_PIXEL_BYTES;
}

bool cvmm_vhost_user_gpu_payload_fits(enum cvmm_vhost_user_gpu_form form, const void *bytes,
				      uint32_t len_bytes)
{
	if (form == CVMM_VHOST_USER_GPU_FORM_NONE || form >= CVMM_VHOST_USER_GPU_FORM_COUNT)
		return false;
	if (form == CVMM_VHOST_USER_GPU_FORM_PIXELS)
		return pixels_fit(bytes, len_bytes);
	return len_bytes == cvmm_vhost_user_gpu_form_size(form);
}

/* ---- reading ----------------------------------------------------------------------------------- */

/* Go on reading a part of the message that begins at byte @begin and has @len. */
static int read_part(struct gpu_reader *reader, void *dst, size_t begin, size_t len,
		     struct cvmm_error *err)
{
	while (reader->received < begin + len) {
		size_t at = reader->received - begin;
		struct iovec iov = { (uint8_t *)dst + at, len - at };
		ssize_t n = cvmm_vhost_user_socket_read(reader->fd, &iov, 1, !reader->received,
							reader->fds, &reader->fd_count, err);

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		reader->received += (size_t)n;
	}
	return 1;
}

int cvmm_vhost_user_gpu_read_header(struct gpu_reader *reader, struct cvmm_error *err)
{
	return read_part(reader, &reader->header, 0, HEADER_SIZE, err);
}

int cvmm_vhost_user_gpu_read_payload(struct gpu_reader *reader, size_t len, struct cvmm_error *err)
{
	CVMM_BUG_ON(len > sizeof(reader->payload) || len > reader->header.size);
	return read_part(reader, reader->payload, HEADER_SIZE, len, err);
}

void cvmm_vhost_user_gpu_read_next(struct gpu_reader *reader)
{
	for (uint32_t i = 0; i < reader->fd_count; i++)
		cvmm_close_fd(&reader->fds[i]);
	reader->fd_count = 0;
	reader->received = 0;
}

/* ---- pieces ------------------------------------------------------------------------------------ */

size_t cvmm_vhost_user_gpu_add_piece(struct iovec *iov, size_t count, const void *base, size_t len)
{
	struct iovec *last = count ? &iov[count - 1] : NULL;

	if (!len)
		return count;
	if (last && (const uint8_t *)last->iov_base + last->iov_len == base) {
		last->iov_len += len;
		return count;
	}
	CVMM_BUG_ON(count >= GPU_PIECES_MAX);
	iov[count] = (struct iovec){ (void *)(uintptr_t)base, len };
	return count + 1;
}
