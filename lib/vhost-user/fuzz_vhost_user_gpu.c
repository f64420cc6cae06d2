// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The GPU protocol in both directions: bytes of a hostile back-end to a front-end, those of a
 * hostile front-end to a back-end, and both ends together.
 *
 *   byte 0      which: 0 a front-end, 1 a back-end, 2 both
 *   the rest    steps: an operation of one byte, and what it needs
 *
 * The displays' pixels are heap blocks of exactly their size, so that a sanitizer sees what goes
 * beyond them. Whatever an end sends is held against the table. Descriptors that are sent are
 * duplicates of one end of a pipe: at the end there must be none left.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cvmm/vhost-user_gpu.h>

#define DISPLAYS 3U
#define PIXELS_MAX (1U << 16) /* of a display */
#define ROUNDS_MAX 1000U      /* of the loop, until it has nothing to do */
#define STEPS_MAX 256U
#define WIDTH 37U /* of what a back-end has to show, in pixels */
#define HEIGHT 41U
#define STRIDE (WIDTH + 2)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct display {
	uint32_t width;
	uint32_t height;
	uint32_t *pixels;
	uint32_t *model; /* what they should be */
	bool dmabuf;
	int fd;
};

/**
 * struct stream - what an end sends, and how far it was looked at
 * @at: bytes of the message
 */
struct stream {
	int fd;
	struct cvmm_vhost_user_header header;
	uint8_t payload[sizeof(struct cvmm_vhost_user_gpu_cursor_update)];
	uint64_t at;
};

struct world {
	struct cvmm_loop *loop;
	struct cvmm_vhost_user_gpu_frontend *front;
	struct cvmm_vhost_user_gpu_backend *back;
	struct display displays[DISPLAYS];
	struct stream stream;
	uint32_t *picture;
	int token; /* the end of the pipe that is sent */
	unsigned int begun, ended;
	unsigned int asked, told; /* requests with a callback, and calls of these */
	bool busy, front_closed, back_closed;

	const uint8_t *data;
	size_t size;
};

/* ---- input ------------------------------------------------------------------------------------- */

static uint32_t take(struct world *w, size_t bytes)
{
	uint32_t value = 0;

	for (size_t i = 0; i < bytes && w->size; i++, w->size--)
		value |= (uint32_t)*w->data++ << (8 * i);
	return value;
}

/* ---- displays ---------------------------------------------------------------------------------- */

static void clear_display(struct display *d)
{
	free(d->pixels);
	free(d->model);
	cvmm_close_fd(&d->fd);
	*d = (struct display){ .fd = -1 };
}

static void get_display_info(void *ctx, struct cvmm_vhost_user_gpu_display *displays)
{
	(void)ctx;
	displays[0].enabled = cvmm_le32_from(1);
}

static int get_edid(void *ctx, uint32_t id, uint8_t edid[CVMM_VHOST_USER_GPU_EDID_BYTES_MAX],
		    uint32_t *ret_len_bytes)
{
	(void)ctx;
	if (id == 1)
		return -EIO;
	memset(edid, 1, 256);
	*ret_len_bytes = 256;
	return 0;
}

static void cursor(void *ctx, const struct cvmm_vhost_user_gpu_cursor_pos *pos, bool show)
{
	(void)ctx;
	(void)show;
	CVMM_BUG_ON(pos->scanout_id >= DISPLAYS);
}

static void cursor_define(void *ctx, const struct cvmm_vhost_user_gpu_cursor_update *update)
{
	(void)ctx;
	CVMM_BUG_ON(update->pos.scanout_id >= DISPLAYS);
}

static int scanout(void *ctx, const struct cvmm_vhost_user_gpu_scanout *scanout)
{
	struct world *w = ctx;
	struct display *d = &w->displays[scanout->scanout_id];
	size_t count = (size_t)scanout->width * scanout->height;

	CVMM_BUG_ON(scanout->scanout_id >= DISPLAYS || !scanout->width != !scanout->height);
	clear_display(d);
	if (count > PIXELS_MAX)
		return -ENOMEM;
	if (!count)
		return 0;
	d->width = scanout->width;
	d->height = scanout->height;
	d->pixels = calloc(count, sizeof(*d->pixels));
	d->model = calloc(count, sizeof(*d->model));
	CVMM_BUG_ON(!d->pixels || !d->model);
	return 0;
}

static void check_region(const struct display *d, const struct cvmm_vhost_user_gpu_update *update)
{
	CVMM_BUG_ON(!update->width || !update->height ||
		    !cvmm_range_inside(update->x, update->width, d->width) ||
		    !cvmm_range_inside(update->y, update->height, d->height));
}

static void *update_begin(void *ctx, const struct cvmm_vhost_user_gpu_update *update,
			  size_t *ret_stride_bytes)
{
	struct world *w = ctx;
	struct display *d = &w->displays[update->scanout_id];

	CVMM_BUG_ON(update->scanout_id >= DISPLAYS || d->dmabuf || w->begun != w->ended);
	check_region(d, update);
	w->begun++;
	*ret_stride_bytes = d->width * sizeof(*d->pixels);
	return d->pixels + (size_t)update->y * d->width + update->x;
}

static void update_end(void *ctx, const struct cvmm_vhost_user_gpu_update *update, bool complete)
{
	struct world *w = ctx;

	(void)update;
	w->ended++;
	CVMM_BUG_ON(w->begun != w->ended || (w->back && !complete && !w->back_closed));
}

static int dmabuf_scanout(void *ctx, const struct cvmm_vhost_user_gpu_dmabuf_scanout2 *scanout,
			  int fd)
{
	struct world *w = ctx;
	struct display *d = &w->displays[scanout->scanout.scanout_id];

	CVMM_BUG_ON(scanout->scanout.scanout_id >= DISPLAYS || fd < 0 ||
		    !(fcntl(fd, F_GETFD) & FD_CLOEXEC));
	clear_display(d);
	d->fd = fd;
	if (scanout->modifier == 13) {
		clear_display(d);
		return -EINVAL;
	}
	d->width = scanout->scanout.width;
	d->height = scanout->scanout.height;
	d->dmabuf = true;
	return 0;
}

static void dmabuf_update(void *ctx, const struct cvmm_vhost_user_gpu_update *update)
{
	struct world *w = ctx;
	struct display *d = &w->displays[update->scanout_id];

	CVMM_BUG_ON(update->scanout_id >= DISPLAYS || !d->dmabuf || w->busy);
	check_region(d, update);
	w->busy = true;
	/* Some answer at once. */
	if (update->scanout_id == 0) {
		w->busy = false;
		CVMM_BUG_ON(cvmm_vhost_user_gpu_frontend_updated(w->front));
	}
}

static void front_closed(void *ctx, int reason, const char *message)
{
	struct world *w = ctx;

	CVMM_BUG_ON(w->front_closed || reason > 0 || !message || w->begun != w->ended);
	w->front_closed = true;
}

static void make_front(struct world *w, int fd)
{
	static const struct cvmm_vhost_user_gpu_frontend_ops ops = {
		.size = sizeof(ops),
		.get_display_info = get_display_info,
		.get_edid = get_edid,
		.cursor = cursor,
		.cursor_define = cursor_define,
		.scanout = scanout,
		.update_begin = update_begin,
		.update_end = update_end,
		.dmabuf_scanout = dmabuf_scanout,
		.dmabuf_update = dmabuf_update,
	};
	const struct cvmm_vhost_user_gpu_frontend_config config = {
		.loop = w->loop,
		.ops = &ops,
		.scanout_count = DISPLAYS,
		.closed = front_closed,
		.ctx = w,
	};

	CVMM_BUG_ON(cvmm_vhost_user_gpu_frontend_create(&config, fd, &w->front, NULL));
}

/* ---- the back-end ------------------------------------------------------------------------------ */

static void back_closed(void *ctx, int reason, const char *message)
{
	struct world *w = ctx;

	CVMM_BUG_ON(w->back_closed || reason > 0 || !message);
	w->back_closed = true;
	/* Everybody was told. */
	CVMM_BUG_ON(w->told != w->asked);
}

static void make_back(struct world *w, int fd)
{
	const struct cvmm_vhost_user_gpu_backend_config config = {
		.loop = w->loop,
		.want = CVMM_VHOST_USER_GPU_FEATURES_ALL,
		.closed = back_closed,
		.ctx = w,
	};

	w->picture = malloc(sizeof(*w->picture) * (STRIDE * (HEIGHT - 1) + WIDTH));
	CVMM_BUG_ON(!w->picture);
	for (uint32_t i = 0; i < STRIDE * (HEIGHT - 1) + WIDTH; i++)
		w->picture[i] = i * 2654435761U + 1;
	CVMM_BUG_ON(cvmm_vhost_user_gpu_backend_create(&config, fd, &w->back, NULL));
}

static void done(void *ctx, int error)
{
	struct world *w = ctx;

	(void)error;
	w->told++;
	CVMM_BUG_ON(w->told > w->asked);
}

static void got_info(void *ctx, int error, const struct cvmm_vhost_user_gpu_display_info *info)
{
	CVMM_BUG_ON(!error != !!info);
	done(ctx, error);
}

static void got_edid(void *ctx, int error, const uint8_t *edid, uint32_t len_bytes)
{
	static volatile uint8_t sum;

	CVMM_BUG_ON(!error != !!edid || len_bytes > CVMM_VHOST_USER_GPU_EDID_BYTES_MAX);
	for (uint32_t i = 0; i < len_bytes; i++)
		sum = (uint8_t)(sum + edid[i]);
	done(ctx, error);
}

/* What an update should do to a display, in the simplest way. */
static void paint(struct world *w, const struct cvmm_vhost_user_gpu_update *update)
{
	struct display *d;

	if (!w->front || update->scanout_id >= DISPLAYS)
		return;
	d = &w->displays[update->scanout_id];
	for (uint32_t y = 0; d->model && y < update->height; y++)
		for (uint32_t x = 0; x < update->width; x++)
			if (update->x + x < d->width && update->y + y < d->height)
				d->model[(size_t)(update->y + y) * d->width + update->x + x] =
					w->picture[y * STRIDE + x];
}

static struct cvmm_vhost_user_gpu_update take_region(struct world *w)
{
	struct cvmm_vhost_user_gpu_update update;

	update.scanout_id = take(w, 1) % (DISPLAYS + 1);
	update.x = take(w, 1);
	update.y = take(w, 1);
	update.width = take(w, 1) % (WIDTH + 1);
	update.height = take(w, 1) % (HEIGHT + 1);
	return update;
}

/* ---- what an end sends ------------------------------------------------------------------------- */

static void check_header(const struct world *w, const struct cvmm_vhost_user_header *header)
{
	const struct cvmm_vhost_user_gpu_message *row =
		cvmm_vhost_user_gpu_message_find(header->request);

	CVMM_BUG_ON(!row);
	if (w->front) {
		CVMM_BUG_ON(header->flags != CVMM_VHOST_USER_FLAG_REPLY ||
			    !cvmm_vhost_user_gpu_payload_fits(row->answer, NULL, header->size));
		return;
	}
	CVMM_BUG_ON(header->flags || header->size < cvmm_vhost_user_gpu_form_size(row->form));
}

/*
 * Look at the bytes that are there, @most of them, as messages. Return: whether a whole message was
 * seen.
 */
static bool look(struct world *w, size_t most, bool *ret_whole)
{
	struct stream *s = &w->stream;
	uint8_t bytes[4096];
	size_t want, from = sizeof(s->header);
	ssize_t n;

	*ret_whole = false;
	if (s->at < sizeof(s->header))
		want = sizeof(s->header) - (size_t)s->at;
	else
		want = (size_t)(sizeof(s->header) + s->header.size - s->at);
	if (want > most)
		want = most;
	if (want > sizeof(bytes))
		want = sizeof(bytes);
	n = want ? recv(s->fd, bytes, want, MSG_DONTWAIT) : 0;
	if (want && n <= 0)
		return false;
	for (ssize_t i = 0; i < n; i++, s->at++) {
		if (s->at < from)
			((uint8_t *)&s->header)[s->at] = bytes[i];
		else if (s->at - from < sizeof(s->payload))
			s->payload[s->at - from] = bytes[i];
	}
	if (s->at == from)
		check_header(w, &s->header);
	if (s->at >= from && s->at == from + s->header.size) {
		s->at = 0;
		*ret_whole = true;
	}
	return true;
}

static void spin(struct world *w)
{
	for (unsigned int i = 0; i < ROUNDS_MAX; i++)
		if (cvmm_loop_run_once(w->loop, 0) <= 0)
			return;
}

/* ---- a hostile peer ---------------------------------------------------------------------------- */

static void send_bytes(struct world *w, const void *bytes, size_t len, unsigned int fd_count)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(8 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (!len)
		return;
	if (fd_count) {
		struct cmsghdr *c;

		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		c = CMSG_FIRSTHDR(&hdr);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		for (unsigned int i = 0; i < fd_count; i++)
			memcpy(CMSG_DATA(c) + i * sizeof(int), &w->token, sizeof(int));
	}
	(void)sendmsg(w->stream.fd, &hdr, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/*
 * Bytes of the input; the upper bits of @op say how many descriptors, and of what unit the length
 * is.
 */
static void send_input(struct world *w, uint32_t op)
{
	size_t len = take(w, 1) * (op & 0x80 ? 64U : 1U);

	if (len > w->size)
		len = w->size;
	send_bytes(w, w->data, len, op >> 4 & 7);
	w->data += len;
	w->size -= len;
}

/*
 * A message whose size is right, with payload from the input as far as it goes, and zeroes behind
 * it.
 */
static void send_message(struct world *w, uint32_t op)
{
	const struct cvmm_vhost_user_gpu_message *row;
	struct {
		struct cvmm_vhost_user_header header;
		uint8_t payload[sizeof(struct cvmm_vhost_user_gpu_cursor_update)];
	} message = { 0 };
	size_t len;

	row = cvmm_vhost_user_gpu_message_find(1 + take(w, 1) % CVMM_VHOST_USER_GPU_REQUEST_MAX);
	message.header.request = row->id;
	message.header.flags = w->front ? 0 : CVMM_VHOST_USER_FLAG_REPLY;
	message.header.size = cvmm_vhost_user_gpu_form_size(w->front ? row->form : row->answer);
	len = take(w, 1);
	if (len > message.header.size)
		len = message.header.size;
	if (len > w->size)
		len = w->size;
	memcpy(message.payload, w->data, len);
	w->data += len;
	w->size -= len;
	len = sizeof(message.header) + message.header.size;
	if (row->form == CVMM_VHOST_USER_GPU_FORM_PIXELS && w->front) {
		const struct cvmm_vhost_user_gpu_update *update = (const void *)message.payload;

		message.header.size += update->width * update->height * 4;
	}
	send_bytes(w, &message, len, op >> 4 & 7);
}

/* The answer to what the back-end asked last. */
static void send_answer(struct world *w)
{
	const struct cvmm_vhost_user_gpu_message *row =
		cvmm_vhost_user_gpu_message_find(w->stream.header.request);
	struct {
		struct cvmm_vhost_user_header header;
		uint8_t payload[sizeof(struct cvmm_vhost_user_gpu_edid)];
	} message = { 0 };

	if (!row || row->answer == CVMM_VHOST_USER_GPU_FORM_NONE)
		return;
	memset(message.payload, 1, sizeof(message.payload));
	message.header.request = row->id;
	message.header.flags = CVMM_VHOST_USER_FLAG_REPLY;
	message.header.size = cvmm_vhost_user_gpu_form_size(row->answer);
	send_bytes(w, &message, sizeof(message.header) + message.header.size, 0);
}

/* ---- steps ------------------------------------------------------------------------------------- */

static void call_buffer(struct world *w)
{
	struct cvmm_vhost_user_gpu_dmabuf_scanout buffer = { 0 };
	uint64_t modifier;
	bool with_fd;

	buffer.scanout_id = take(w, 1) % (DISPLAYS + 1);
	buffer.x = take(w, 1);
	buffer.width = take(w, 2);
	buffer.height = take(w, 2);
	buffer.fd_width = take(w, 2);
	buffer.fd_height = buffer.height;
	modifier = take(w, 1);
	with_fd = buffer.width;
	(void)cvmm_vhost_user_gpu_backend_dmabuf_scanout(w->back, &buffer, modifier,
							 with_fd ? w->token : -1);
}

static void call_update(struct world *w)
{
	struct cvmm_vhost_user_gpu_update update = take_region(w);

	/* The model is painted at once: what was asked for before must have arrived. */
	if (w->front)
		spin(w);
	if (w->busy)
		return;
	if (!cvmm_vhost_user_gpu_backend_update(w->back, &update, w->picture,
						STRIDE * sizeof(*w->picture), done, w)) {
		w->asked++;
		paint(w, &update);
	}
}

/* A call of the back-end. */
static void call(struct world *w, uint32_t op)
{
	struct cvmm_vhost_user_gpu_cursor_update cursor_update = { 0 };
	struct cvmm_vhost_user_gpu_scanout size;
	struct cvmm_vhost_user_gpu_update update;

	switch (op & 7) {
	case 0:
		cursor_update.pos.scanout_id = take(w, 1) % (DISPLAYS + 1);
		cursor_update.pos.x = take(w, 4);
		(void)cvmm_vhost_user_gpu_backend_cursor_pos(w->back, &cursor_update.pos, op & 16);
		break;
	case 1:
		cursor_update.pos.scanout_id = take(w, 1) % (DISPLAYS + 1);
		(void)cvmm_vhost_user_gpu_backend_cursor_update(w->back, &cursor_update);
		break;
	case 2:
		size.scanout_id = take(w, 1) % (DISPLAYS + 1);
		size.width = take(w, op & 16 ? 4 : 1);
		size.height = take(w, op & 16 ? 4 : 1);
		(void)cvmm_vhost_user_gpu_backend_scanout(w->back, &size);
		break;
	case 3:
		call_update(w);
		break;
	case 4:
		call_buffer(w);
		break;
	case 5:
		update = take_region(w);
		w->asked += !cvmm_vhost_user_gpu_backend_dmabuf_update(w->back, &update, done, w);
		break;
	case 6:
		w->asked += !cvmm_vhost_user_gpu_backend_get_display_info(w->back, got_info, w);
		break;
	default:
		w->asked += !cvmm_vhost_user_gpu_backend_get_edid(w->back, take(w, 1), got_edid, w);
		break;
	}
}

static void step_peer(struct world *w, uint32_t op)
{
	bool whole;

	switch (op & 7) {
	case 0:
		send_input(w, op);
		break;
	case 1:
		send_message(w, op);
		break;
	case 2:
		look(w, take(w, 1) + 1, &whole);
		break;
	case 3:
		/* One that can be answered is waited for. */
		spin(w);
		for (whole = false; !whole && look(w, SIZE_MAX, &whole); spin(w))
			;
		if (whole && w->back)
			send_answer(w);
		break;
	default:
		/* With the ends that there are. */
		spin(w);
		break;
	}
}

static void step(struct world *w, uint32_t op)
{
	if (op & 8 && w->back)
		call(w, op);
	else if (w->stream.fd >= 0)
		step_peer(w, op);
	if (op & 0x40 && w->busy) {
		w->busy = false;
		if (!w->front_closed)
			CVMM_BUG_ON(cvmm_vhost_user_gpu_frontend_updated(w->front));
	}
	/*
	 * Nobody is told of what was forgotten; pixels that were promised would not be the model's.
	 */
	if (op == 0xff && w->back && !w->front) {
		cvmm_vhost_user_gpu_backend_forget(w->back);
		w->asked = w->told;
	}
	if (op & 0x20)
		spin(w);
}

/* Both ends are well, everything has arrived, and the displays are what they should be. */
static void check_both(struct world *w)
{
	spin(w);
	while (w->busy) {
		w->busy = false;
		CVMM_BUG_ON(cvmm_vhost_user_gpu_frontend_updated(w->front));
		spin(w);
	}
	CVMM_BUG_ON(w->front_closed || w->back_closed || w->asked != w->told);
	for (unsigned int i = 0; i < DISPLAYS; i++) {
		const struct display *d = &w->displays[i];

		CVMM_BUG_ON(d->pixels && memcmp(d->pixels, d->model,
						(size_t)d->width * d->height * sizeof(*d->pixels)));
	}
}

static void check_token(struct world *w, int other_end)
{
	char byte;

	cvmm_close_fd(&w->token);
	CVMM_BUG_ON(read(other_end, &byte, 1) != 0);
	close(other_end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *w = calloc(1, sizeof(*w));
	int fds[2], pipe_fds[2];
	uint32_t which;

	CVMM_BUG_ON(!w || cvmm_loop_create(CVMM_LOOP_POLL, &w->loop) || pipe(pipe_fds) ||
		    cvmm_set_nonblock(pipe_fds[0], true) ||
		    socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	w->data = data;
	w->size = size;
	w->token = pipe_fds[1];
	w->stream.fd = -1;
	for (unsigned int i = 0; i < DISPLAYS; i++)
		w->displays[i].fd = -1;
	which = take(w, 1) % 3;
	if (which != 1)
		make_front(w, fds[0]);
	else
		w->stream.fd = fds[0];
	if (which != 0)
		make_back(w, fds[1]);
	else
		w->stream.fd = fds[1];
	for (unsigned int i = 0; i < STEPS_MAX && w->size; i++)
		step(w, take(w, 1));
	if (which == 2)
		check_both(w);
	/* The peer goes: the other end notices, and tells everybody. */
	cvmm_close_fd(&w->stream.fd);
	spin(w);
	cvmm_vhost_user_gpu_frontend_destroy(w->front);
	cvmm_vhost_user_gpu_backend_destroy(w->back);
	for (unsigned int i = 0; i < DISPLAYS; i++)
		clear_display(&w->displays[i]);
	check_token(w, pipe_fds[0]);
	cvmm_loop_destroy(w->loop);
	free(w->picture);
	free(w);
	return 0;
}
