// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The GPU protocol, the front-end's end.
 *
 * Theory of operation: a message is read up to where its pixels begin, which is never much, held
 * against its row of the table, and handled. Pixels go from the socket to where the display wants
 * them; those that are outside of it, or that nobody wants, go to a buffer that nobody reads. So no
 * size that a peer names is ever allocated.
 *
 * Known back-ends send regions as their guest gave them: of the whole resource where a display
 * shows a part of it, empty ones, from another corner. So regions are cut to what the display has,
 * and a guest that asks for what cannot be has a display that is off, or not new, but not a GPU
 * without displays.
 *
 * Nothing is read while an answer is not written, or the display is busy: a peer that asks and does
 * not read waits.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "vhost_user_gpu_internal.h"

/* Messages that are handled before the loop sees to others. */
#define MESSAGES_AT_ONCE 64

/**
 * struct gpu_scanout - a display
 * @width: 0 if it is off
 * @height: 0 if it is off
 * @dmabuf: it shows a buffer, not pixels
 */
struct gpu_scanout {
	uint32_t width;
	uint32_t height;
	bool dmabuf;
};

/**
 * struct gpu_pixels - pixels that come in
 * @left: bytes that are missing
 * @row_bytes: of a row as it is sent
 * @part: what of the region is in the display
 * @to: where that goes, or NULL
 * @stride: there, from row to row
 * @done: bytes that came
 */
struct gpu_pixels {
	uint64_t left;
	uint64_t row_bytes;
	struct cvmm_vhost_user_gpu_update part;
	uint8_t *to;
	size_t stride;
	uint64_t done;
};

struct cvmm_vhost_user_gpu_frontend {
	struct cvmm_vhost_user_gpu_frontend_config config;
	const struct cvmm_vhost_user_gpu_frontend_ops *ops;
	struct gpu_reader reader; /* its fd is -1 after the end */
	struct cvmm_source *socket;
	uint64_t features; /* offered */
	struct cvmm_log_limit log_limit;

	struct gpu_scanout scanouts[CVMM_VHOST_USER_GPU_SCANOUTS_MAX];
	struct gpu_pixels pixels;
	bool handled;	 /* all but the pixels of what came in */
	bool updating;	 /* update_begin was called, and update_end was not */
	bool busy;	 /* dmabuf_update was called, and is not answered */
	uint64_t budget; /* bytes of pixels, for this time */

	struct {
		struct cvmm_vhost_user_header header;
		uint8_t payload[sizeof(struct cvmm_vhost_user_gpu_edid)];
	} answer;
	size_t answer_len; /* 0 if there is none */
	size_t answer_done;
};

/* ---- small ones -------------------------------------------------------------------------------- */

/* The peer, or its guest, wants what cannot be. */
static CVMM_PRINTF(2, 3) void refuse(struct cvmm_vhost_user_gpu_frontend *gpu, const char *fmt, ...)
{
	char text[160];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	cvmm_log_limited(gpu->config.log, &gpu->log_limit, CVMM_LOG_WARN,
			 "vhost-user GPU: refused: %s", text);
}

static int want_events(struct cvmm_vhost_user_gpu_frontend *gpu)
{
	unsigned int events = 0;

	if (gpu->answer_len)
		events = CVMM_EVENT_WRITE;
	else if (!gpu->busy)
		events = CVMM_EVENT_READ;
	return cvmm_source_set_events(gpu->socket, events);
}

/* The display of a number, or NULL with a line in the log. */
static struct gpu_scanout *find_scanout(struct cvmm_vhost_user_gpu_frontend *gpu, uint32_t id)
{
	if (id < gpu->config.scanout_count)
		return &gpu->scanouts[id];
	refuse(gpu, "%s for display %u of %u",
	       cvmm_vhost_user_gpu_message_find(gpu->reader.header.request)->name, id,
	       gpu->config.scanout_count);
	return NULL;
}

/* ---- answers ----------------------------------------------------------------------------------- */

/* Make the answer to a request, to be written by write_answer(). */
static void answer(struct cvmm_vhost_user_gpu_frontend *gpu, uint32_t request, const void *payload)
{
	uint32_t size =
		cvmm_vhost_user_gpu_form_size(cvmm_vhost_user_gpu_message_find(request)->answer);

	CVMM_BUG_ON(gpu->answer_len || size > sizeof(gpu->answer.payload));
	gpu->answer.header = (struct cvmm_vhost_user_header){
		.request = request,
		.flags = CVMM_VHOST_USER_FLAG_REPLY,
		.size = size,
	};
	if (size)
		memcpy(gpu->answer.payload, payload, size);
	gpu->answer_len = sizeof(gpu->answer.header) + size;
	gpu->answer_done = 0;
}

/* Write what goes of an answer, if there is one. */
static int write_answer(struct cvmm_vhost_user_gpu_frontend *gpu, struct cvmm_error *err)
{
	while (gpu->answer_len) {
		struct iovec iov = { (uint8_t *)&gpu->answer + gpu->answer_done,
				     gpu->answer_len - gpu->answer_done };
		ssize_t n = cvmm_vhost_user_socket_write(gpu->reader.fd, &iov, 1, NULL, 0);

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return cvmm_fail(err, (int)n, "cannot write to the back-end: %s",
					 strerror((int)-n));
		gpu->answer_done += (size_t)n;
		if (gpu->answer_done == gpu->answer_len)
			gpu->answer_len = 0;
	}
	return 0;
}

/* ---- requests ---------------------------------------------------------------------------------- */

static void on_get_protocol_features(struct cvmm_vhost_user_gpu_frontend *gpu, const void *payload)
{
	(void)payload;
	answer(gpu, CVMM_VHOST_USER_GPU_GET_PROTOCOL_FEATURES, &gpu->features);
}

/* Nothing depends on what is set: known back-ends send gated requests and never set anything. */
static void on_set_protocol_features(struct cvmm_vhost_user_gpu_frontend *gpu, const void *payload)
{
	uint64_t excess = *(const uint64_t *)payload & ~gpu->features;

	if (excess)
		refuse(gpu, "SET_PROTOCOL_FEATURES: 0x%llx was not offered",
		       (unsigned long long)excess);
}

static void on_get_display_info(struct cvmm_vhost_user_gpu_frontend *gpu, const void *payload)
{
	struct cvmm_vhost_user_gpu_display_info info = { 0 };

	(void)payload;
	info.hdr.type = cvmm_le32_from(CVMM_VHOST_USER_GPU_RESP_OK_DISPLAY_INFO);
	gpu->ops->get_display_info(gpu->config.ctx, info.displays);
	answer(gpu, CVMM_VHOST_USER_GPU_GET_DISPLAY_INFO, &info);
}

/* Answers always: who asked would wait for ever. */
static void on_get_edid(struct cvmm_vhost_user_gpu_frontend *gpu, const void *payload)
{
	const struct cvmm_vhost_user_gpu_edid_request *request = payload;
	struct cvmm_vhost_user_gpu_edid edid = { 0 };
	uint32_t len = 0, type = CVMM_VHOST_USER_GPU_RESP_OK_EDID;

	if (!find_scanout(gpu, request->scanout_id))
		type = CVMM_VHOST_USER_GPU_RESP_ERR_INVALID_SCANOUT_ID;
	else if (gpu->ops->get_edid(gpu->config.ctx, request->scanout_id, edid.edid, &len))
		type = CVMM_VHOST_USER_GPU_RESP_ERR_UNSPEC;
	CVMM_BUG_ON(len > sizeof(edid.edid));
	edid.hdr.type = cvmm_le32_from(type);
	edid.size_bytes = cvmm_le32_from(len);
	answer(gpu, CVMM_VHOST_USER_GPU_GET_EDID, &edid);
}

static void move_cursor(struct cvmm_vhost_user_gpu_frontend *gpu,
			const struct cvmm_vhost_user_gpu_cursor_pos *pos, bool show)
{
	if (find_scanout(gpu, pos->scanout_id))
		gpu->ops->cursor(gpu->config.ctx, pos, show);
}

static void on_cursor_pos(struct cvmm_vhost_user_gpu_frontend *gpu, const void *payload)
{
	move_cursor(gpu, payload, true);
}

static void on_cursor_pos_hide(struct cvmm_vhost_user_gpu_frontend *gpu, const void *payload)
{
	move_cursor(gpu, payload, false);
}

static void on_cursor_update(struct cvmm_vhost_user_gpu_frontend *gpu, const void *payload)
{
	const struct cvmm_vhost_user_gpu_cursor_update *update = payload;

	if (!find_scanout(gpu, update->pos.scanout_id))
		return;
	gpu->ops->cursor_define(gpu->config.ctx, update);
	gpu->ops->cursor(gpu->config.ctx, &update->pos, true);
}

static void switch_off(struct cvmm_vhost_user_gpu_frontend *gpu, uint32_t id)
{
	struct cvmm_vhost_user_gpu_scanout off = { .scanout_id = id };

	gpu->scanouts[id] = (struct gpu_scanout){ 0 };
	(void)gpu->ops->scanout(gpu->config.ctx, &off);
}

/* Whether a display that is on may have this size. */
static bool size_can_be(uint32_t width, uint32_t height)
{
	return width && height && width <= CVMM_VHOST_USER_GPU_DIMENSION_MAX &&
	       height <= CVMM_VHOST_USER_GPU_DIMENSION_MAX;
}

static void on_scanout(struct cvmm_vhost_user_gpu_frontend *gpu, const void *payload)
{
	const struct cvmm_vhost_user_gpu_scanout *scanout = payload;
	uint32_t width = scanout->width, height = scanout->height;
	struct gpu_scanout *to = find_scanout(gpu, scanout->scanout_id);

	if (!to)
		return;
	if (!size_can_be(width, height)) {
		if (width || height)
			refuse(gpu, "SCANOUT of %u x %u pixels", width, height);
		switch_off(gpu, scanout->scanout_id);
		return;
	}
	*to = (struct gpu_scanout){ width, height, false };
	if (gpu->ops->scanout(gpu->config.ctx, scanout)) {
		refuse(gpu, "SCANOUT: no display of %u x %u pixels", width, height);
		*to = (struct gpu_scanout){ 0 };
	}
}

/* ---- pixels ------------------------------------------------------------------------------------ */

/* What of a region is in a display. Return: false if that is nothing. */
static bool cut(const struct gpu_scanout *scanout, const struct cvmm_vhost_user_gpu_update *update,
		struct cvmm_vhost_user_gpu_update *ret_part)
{
	struct cvmm_vhost_user_gpu_update part = *update;

	if (update->x >= scanout->width || update->y >= scanout->height)
		return false;
	if (part.width > scanout->width - update->x)
		part.width = scanout->width - update->x;
	if (part.height > scanout->height - update->y)
		part.height = scanout->height - update->y;
	*ret_part = part;
	return part.width && part.height;
}

static void on_update(struct cvmm_vhost_user_gpu_frontend *gpu, const void *payload)
{
	const struct cvmm_vhost_user_gpu_update *update = payload;
	struct gpu_scanout *scanout = find_scanout(gpu, update->scanout_id);
	struct gpu_pixels *pixels = &gpu->pixels;

	*pixels = (struct gpu_pixels){
		.left = gpu->reader.header.size - sizeof(*update),
		.row_bytes = (uint64_t)update->width * CVMM_VHOST_USER_GPU_PIXEL_BYTES,
	};
	if (!scanout || !pixels->left)
		return;
	if (scanout->dmabuf || !cut(scanout, update, &pixels->part)) {
		refuse(gpu, "UPDATE of %u x %u pixels at %u, %u: not on display %u", update->width,
		       update->height, update->x, update->y, update->scanout_id);
		pixels->part = (struct cvmm_vhost_user_gpu_update){ 0 };
		return;
	}
	pixels->to = gpu->ops->update_begin(gpu->config.ctx, &pixels->part, &pixels->stride);
	gpu->updating = true;
}

/*
 * Where byte @at of the pixels goes, and how many bytes behind it go to the same place: *@len at
 * most. Those that nobody wants go to what the payload was in.
 */
static uint8_t *place(struct cvmm_vhost_user_gpu_frontend *gpu, uint64_t at, uint64_t *len)
{
	const struct gpu_pixels *pixels = &gpu->pixels;
	uint64_t wanted = (uint64_t)pixels->part.width * CVMM_VHOST_USER_GPU_PIXEL_BYTES;
	uint64_t row = at / pixels->row_bytes, in_row = at % pixels->row_bytes;
	uint64_t most = sizeof(gpu->reader.payload);
	uint8_t *to = (uint8_t *)gpu->reader.payload;

	if (pixels->to && row < pixels->part.height) {
		if (in_row < wanted) {
			most = wanted - in_row;
			to = pixels->to + row * pixels->stride + in_row;
		} else if (most > pixels->row_bytes - in_row) {
			most = pixels->row_bytes - in_row;
		}
	}
	if (*len > most)
		*len = most;
	return to;
}

/* Pieces for the pixels that come next. Return: how many. */
static size_t scatter(struct cvmm_vhost_user_gpu_frontend *gpu, struct iovec *iov)
{
	uint64_t left = gpu->pixels.left < gpu->budget ? gpu->pixels.left : gpu->budget;
	uint64_t at = gpu->pixels.done;
	size_t count = 0;

	while (left && count < GPU_PIECES_MAX) {
		uint64_t len = left;
		uint8_t *to = place(gpu, at, &len);

		count = cvmm_vhost_user_gpu_add_piece(iov, count, to, (size_t)len);
		at += len;
		left -= len;
	}
	return count;
}

/* Return: 1 if all pixels are there. */
static int read_pixels(struct cvmm_vhost_user_gpu_frontend *gpu, struct cvmm_error *err)
{
	struct gpu_pixels *pixels = &gpu->pixels;

	while (pixels->left && gpu->budget) {
		struct iovec iov[GPU_PIECES_MAX];
		size_t count = scatter(gpu, iov);
		ssize_t n = cvmm_vhost_user_socket_read(gpu->reader.fd, iov, count, false, NULL,
							NULL, err);

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		pixels->done += (uint64_t)n;
		pixels->left -= (uint64_t)n;
		gpu->budget -= (uint64_t)n;
	}
	if (pixels->left)
		return 0;
	if (gpu->updating)
		gpu->ops->update_end(gpu->config.ctx, &pixels->part, true);
	gpu->updating = false;
	return 1;
}

/* ---- buffers ----------------------------------------------------------------------------------- */

static bool buffer_can_be(const struct cvmm_vhost_user_gpu_dmabuf_scanout *scanout, int fd)
{
	return fd >= 0 && size_can_be(scanout->width, scanout->height) &&
	       cvmm_range_inside(scanout->x, scanout->width, scanout->fd_width) &&
	       cvmm_range_inside(scanout->y, scanout->height, scanout->fd_height);
}

/* Show what came with the message, or nothing. */
static void show_buffer(struct cvmm_vhost_user_gpu_frontend *gpu,
			const struct cvmm_vhost_user_gpu_dmabuf_scanout2 *buffer)
{
	const struct cvmm_vhost_user_gpu_dmabuf_scanout *scanout = &buffer->scanout;
	int fd = gpu->reader.fd_count ? gpu->reader.fds[0] : -1;
	struct gpu_scanout *to = find_scanout(gpu, scanout->scanout_id);

	if (!to)
		return;
	if (!gpu->ops->dmabuf_scanout || !buffer_can_be(scanout, fd)) {
		if (fd >= 0 || scanout->width || scanout->height)
			refuse(gpu, "%s of %u x %u pixels at %u, %u, %s a buffer of %u x %u",
			       cvmm_vhost_user_gpu_message_find(gpu->reader.header.request)->name,
			       scanout->width, scanout->height, scanout->x, scanout->y,
			       fd < 0 ? "without" : "of", scanout->fd_width, scanout->fd_height);
		switch_off(gpu, scanout->scanout_id);
		return;
	}
	*to = (struct gpu_scanout){ scanout->width, scanout->height, true };
	if (gpu->ops->dmabuf_scanout(gpu->config.ctx, buffer, cvmm_take_fd(&gpu->reader.fds[0]))) {
		refuse(gpu, "the display cannot show a buffer of %u x %u pixels", scanout->fd_width,
		       scanout->fd_height);
		*to = (struct gpu_scanout){ 0 };
	}
}

static void on_dmabuf_scanout(struct cvmm_vhost_user_gpu_frontend *gpu, const void *payload)
{
	struct cvmm_vhost_user_gpu_dmabuf_scanout2 buffer = {
		.modifier = CVMM_VHOST_USER_GPU_MODIFIER_NONE,
	};

	memcpy(&buffer.scanout, payload, sizeof(buffer.scanout));
	show_buffer(gpu, &buffer);
}

static void on_dmabuf_scanout2(struct cvmm_vhost_user_gpu_frontend *gpu, const void *payload)
{
	show_buffer(gpu, payload);
}

static void on_dmabuf_update(struct cvmm_vhost_user_gpu_frontend *gpu, const void *payload)
{
	struct cvmm_vhost_user_gpu_update update =
		*(const struct cvmm_vhost_user_gpu_update *)payload;
	struct gpu_scanout *scanout = find_scanout(gpu, update.scanout_id);

	if (scanout && !scanout->dmabuf)
		refuse(gpu, "DMABUF_UPDATE of display %u, which has no buffer", update.scanout_id);
	if (!scanout || !scanout->dmabuf) {
		answer(gpu, CVMM_VHOST_USER_GPU_DMABUF_UPDATE, NULL);
		return;
	}
	/*
	 * Some count from the corner of the buffer. All of it is new, then: that costs time only.
	 */
	if (!update.width || !update.height ||
	    !cvmm_range_inside(update.x, update.width, scanout->width) ||
	    !cvmm_range_inside(update.y, update.height, scanout->height)) {
		update.x = update.y = 0;
		update.width = scanout->width;
		update.height = scanout->height;
	}
	gpu->busy = true;
	gpu->ops->dmabuf_update(gpu->config.ctx, &update);
}

int cvmm_vhost_user_gpu_frontend_updated(struct cvmm_vhost_user_gpu_frontend *gpu)
{
	if (!gpu->busy)
		return 0;
	gpu->busy = false;
	answer(gpu, CVMM_VHOST_USER_GPU_DMABUF_UPDATE, NULL);
	return want_events(gpu);
}

/* ---- messages ---------------------------------------------------------------------------------- */

static void (*const handlers[])(struct cvmm_vhost_user_gpu_frontend *gpu, const void *payload) = {
#define X(id, NAME, name, ...) [id] = on_##name,
	CVMM_VHOST_USER_GPU_REQUESTS(X)
#undef X
};

/* Hold the header against its row: the payload may be read then. */
static int check_header(const struct cvmm_vhost_user_gpu_frontend *gpu,
			const struct cvmm_vhost_user_gpu_message **ret_row, struct cvmm_error *err)
{
	const struct cvmm_vhost_user_header *header = &gpu->reader.header;
	const struct cvmm_vhost_user_gpu_message *row =
		cvmm_vhost_user_gpu_message_find(header->request);
	uint32_t size;

	if (!row || header->flags)
		return cvmm_fail(err, -EPROTO, "message %u with flags 0x%x is no request",
				 header->request, header->flags);
	size = cvmm_vhost_user_gpu_form_size(row->form);
	if (row->form == CVMM_VHOST_USER_GPU_FORM_PIXELS ? header->size < size
							 : header->size != size)
		return cvmm_fail(err, -EPROTO, "%s: %u bytes are no payload of the form '%s'",
				 row->name, header->size, cvmm_vhost_user_gpu_form_name(row->form));
	if (row->gate & ~gpu->features)
		return cvmm_fail(err, -EPROTO, "%s: %s was not offered", row->name,
				 cvmm_vhost_user_gpu_feature_name((unsigned int)__builtin_ctzll(
					 row->gate & ~gpu->features)));
	if (gpu->reader.fd_count > row->fds_max)
		return cvmm_fail(err, -EPROTO, "%s: came with %u descriptors", row->name,
				 gpu->reader.fd_count);
	*ret_row = row;
	return 0;
}

static int handle(struct cvmm_vhost_user_gpu_frontend *gpu,
		  const struct cvmm_vhost_user_gpu_message *row, struct cvmm_error *err)
{
	if (!cvmm_vhost_user_gpu_payload_fits(row->form, gpu->reader.payload,
					      gpu->reader.header.size))
		return cvmm_fail(err, -EPROTO, "%s: %u bytes are not as many as its pixels",
				 row->name, gpu->reader.header.size);
	handlers[row->id](gpu, gpu->reader.payload);
	return 0;
}

/*
 * Read and handle a message but for its pixels. Return: 1 if that is done, 0 if it is not all
 * there.
 */
static int take_message(struct cvmm_vhost_user_gpu_frontend *gpu, struct cvmm_error *err)
{
	const struct cvmm_vhost_user_gpu_message *row = NULL;
	int r = cvmm_vhost_user_gpu_read_header(&gpu->reader, err);

	if (r != 1)
		return r;
	r = check_header(gpu, &row, err);
	if (r)
		return r;
	r = cvmm_vhost_user_gpu_read_payload(&gpu->reader, cvmm_vhost_user_gpu_form_size(row->form),
					     err);
	if (r != 1)
		return r;
	r = handle(gpu, row, err);
	return r ? r : 1;
}

/* Go on with a message. Return: 1 if all of one was handled, 0 if it is not all there. */
static int step(struct cvmm_vhost_user_gpu_frontend *gpu, struct cvmm_error *err)
{
	int r;

	if (!gpu->handled) {
		r = take_message(gpu, err);
		if (r != 1)
			return r;
		gpu->handled = true;
	}
	r = read_pixels(gpu, err);
	if (r != 1)
		return r;
	gpu->handled = false;
	cvmm_vhost_user_gpu_read_next(&gpu->reader);
	return 1;
}

static int serve(struct cvmm_vhost_user_gpu_frontend *gpu, struct cvmm_error *err)
{
	gpu->budget = GPU_BYTES_AT_ONCE;
	for (unsigned int i = 0; i < MESSAGES_AT_ONCE; i++) {
		int r = write_answer(gpu, err);

		if (r)
			return r;
		if (gpu->answer_len || gpu->busy)
			return 0;
		r = step(gpu, err);
		if (r != 1)
			return r;
	}
	return write_answer(gpu, err);
}

/* ---- life -------------------------------------------------------------------------------------- */

static void let_go(struct cvmm_vhost_user_gpu_frontend *gpu)
{
	cvmm_source_remove(gpu->socket);
	gpu->socket = NULL;
	cvmm_vhost_user_gpu_read_next(&gpu->reader);
	cvmm_close_fd(&gpu->reader.fd);
}

/* The connection is over. Nothing may come after it: the front-end may be gone. */
static void end(struct cvmm_vhost_user_gpu_frontend *gpu, int reason, const char *message)
{
	if (reason == -EPIPE)
		reason = -ECONNRESET;
	if (reason == -ECONNRESET && !gpu->reader.received && !gpu->answer_len)
		reason = 0;
	let_go(gpu);
	gpu->busy = false;
	if (gpu->updating)
		gpu->ops->update_end(gpu->config.ctx, &gpu->pixels.part, false);
	gpu->updating = false;
	if (gpu->config.closed)
		gpu->config.closed(gpu->config.ctx, reason, message);
}

static void on_socket(void *ctx, int fd, unsigned int events)
{
	struct cvmm_vhost_user_gpu_frontend *gpu = ctx;
	struct cvmm_error err = { 0 };
	int r;

	(void)fd;
	(void)events;
	r = serve(gpu, &err);
	if (!r && want_events(gpu))
		r = cvmm_fail(&err, -EIO, "the socket cannot be watched");
	if (r)
		end(gpu, r, err.message);
}

static int check_config(const struct cvmm_vhost_user_gpu_frontend_config *config,
			struct cvmm_error *err)
{
	const struct cvmm_vhost_user_gpu_frontend_ops *ops = config->ops;

	if (!config->scanout_count || config->scanout_count > CVMM_VHOST_USER_GPU_SCANOUTS_MAX)
		return cvmm_fail(err, -EINVAL, "%u displays; 1 to %u can be", config->scanout_count,
				 CVMM_VHOST_USER_GPU_SCANOUTS_MAX);
	if (ops->size < sizeof(*ops) || !ops->get_display_info || !ops->cursor ||
	    !ops->cursor_define || !ops->scanout || !ops->update_begin || !ops->update_end ||
	    (ops->dmabuf_scanout && !ops->dmabuf_update))
		return cvmm_fail(err, -EINVAL, "operations of the displays are missing");
	return 0;
}

static struct cvmm_vhost_user_gpu_frontend *
make_frontend(const struct cvmm_vhost_user_gpu_frontend_config *config, int fd)
{
	struct cvmm_vhost_user_gpu_frontend *gpu = calloc(1, sizeof(*gpu));

	if (!gpu)
		return NULL;
	gpu->config = *config;
	gpu->ops = config->ops;
	gpu->reader.fd = fd;
	if (gpu->ops->get_edid)
		gpu->features |= CVMM_VHOST_USER_GPU_FEATURE(EDID);
	if (gpu->ops->dmabuf_scanout)
		gpu->features |= CVMM_VHOST_USER_GPU_FEATURE(DMABUF2);
	return gpu;
}

int cvmm_vhost_user_gpu_frontend_create(const struct cvmm_vhost_user_gpu_frontend_config *config,
					int fd, struct cvmm_vhost_user_gpu_frontend **ret_gpu,
					struct cvmm_error *err)
{
	struct cvmm_vhost_user_gpu_frontend *gpu = NULL;
	int r = check_config(config, err);

	if (!r)
		r = cvmm_vhost_user_socket_check(fd, err);
	if (!r) {
		gpu = make_frontend(config, fd);
		if (!gpu)
			r = cvmm_fail(err, -ENOMEM, "out of memory");
	}
	if (r) {
		cvmm_close_fd(&fd);
		return r;
	}
	r = cvmm_loop_add_fd(config->loop, fd, CVMM_EVENT_READ, on_socket, gpu, &gpu->socket);
	if (r) {
		cvmm_vhost_user_gpu_frontend_destroy(gpu);
		return cvmm_fail(err, r, "cannot watch the socket of the GPU: %s", strerror(-r));
	}
	*ret_gpu = gpu;
	return 0;
}

void cvmm_vhost_user_gpu_frontend_destroy(struct cvmm_vhost_user_gpu_frontend *gpu)
{
	if (!gpu)
		return;
	let_go(gpu);
	free(gpu);
}
