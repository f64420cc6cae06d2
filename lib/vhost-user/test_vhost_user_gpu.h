/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * For the tests of the GPU protocol: displays that note what they are told, and a socket to be
 * hostile on.
 */
#ifndef CVMM_TEST_VHOST_USER_GPU_H
#define CVMM_TEST_VHOST_USER_GPU_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cvmm/vhost-user_gpu.h>

#include <cmocka.h>

#define DISPLAYS 2U
#define NOT_CLOSED 1 /* no reason is positive */

/**
 * struct display - what one display shows
 * @width: of @pixels, in which rows are @stride apart
 * @buffer: its descriptor, or -1
 */
struct display {
	uint32_t width;
	uint32_t height;
	uint32_t *pixels;
	size_t stride;
	int buffer;
	struct cvmm_vhost_user_gpu_dmabuf_scanout2 buffer_info;
};

/**
 * struct front - a front-end, its displays, and what they were told
 * @fail: operations that can fail do
 * @unwanted: pixels are
 * @later: dmabuf_update is not answered at once
 */
struct front {
	struct cvmm_vhost_user_gpu_frontend *gpu;
	struct display displays[DISPLAYS];
	struct cvmm_vhost_user_gpu_cursor_pos pos;
	struct cvmm_vhost_user_gpu_cursor_update cursor;
	struct cvmm_vhost_user_gpu_update region;
	bool shown;
	bool fail;
	bool unwanted;
	bool later;
	unsigned int begun, ended, cut_off, cursors, moves, buffer_updates, refusals;
	int closed;
	char message[CVMM_ERROR_MESSAGE_SIZE];
};

/* What a back-end was told. */
struct back {
	struct cvmm_vhost_user_gpu_backend *gpu;
	uint64_t features;
	unsigned int ready, done;
	int error;
	int closed;
	char message[CVMM_ERROR_MESSAGE_SIZE];
	bool destroy;
	bool move_when_ready;
};

struct fixture {
	struct cvmm_loop *loop;
	struct front front;
	struct back back;
	struct cvmm_log log;
	int peer; /* of the end that is not there */
	int fds_before;
};

static inline int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* ---- displays ---------------------------------------------------------------------------------- */

static void clear_display(struct display *d)
{
	free(d->pixels);
	cvmm_close_fd(&d->buffer);
	*d = (struct display){ .buffer = -1 };
}

static void get_display_info(void *ctx, struct cvmm_vhost_user_gpu_display *displays)
{
	(void)ctx;
	for (uint32_t i = 0; i < DISPLAYS; i++) {
		displays[i].width = cvmm_le32_from(640 + i);
		displays[i].height = cvmm_le32_from(480 + i);
		displays[i].enabled = cvmm_le32_from(1);
	}
}

static int get_edid(void *ctx, uint32_t id, uint8_t edid[CVMM_VHOST_USER_GPU_EDID_BYTES_MAX],
		    uint32_t *ret_len_bytes)
{
	struct front *front = ctx;

	if (front->fail)
		return -EIO;
	for (unsigned int i = 0; i < 128; i++)
		edid[i] = (uint8_t)(i + id);
	*ret_len_bytes = 128;
	return 0;
}

static void cursor(void *ctx, const struct cvmm_vhost_user_gpu_cursor_pos *pos, bool show)
{
	struct front *front = ctx;

	front->pos = *pos;
	front->shown = show;
	front->moves++;
}

static void cursor_define(void *ctx, const struct cvmm_vhost_user_gpu_cursor_update *update)
{
	struct front *front = ctx;

	front->cursor = *update;
	front->cursors++;
}

static int scanout(void *ctx, const struct cvmm_vhost_user_gpu_scanout *scanout)
{
	struct front *front = ctx;
	struct display *d = &front->displays[scanout->scanout_id];

	assert_true(scanout->scanout_id < DISPLAYS);
	assert_int_equal(!scanout->width, !scanout->height);
	clear_display(d);
	if (front->fail)
		return -ENOMEM;
	d->width = scanout->width;
	d->height = scanout->height;
	/*
	 * Rows are longer than they need to be, and the last one is not: nothing may be written
	 * beyond.
	 */
	d->stride = d->width + 3;
	if (d->width)
		d->pixels = calloc(d->stride * (d->height - 1) + d->width, sizeof(*d->pixels));
	return 0;
}

static void *update_begin(void *ctx, const struct cvmm_vhost_user_gpu_update *update,
			  size_t *ret_stride_bytes)
{
	struct front *front = ctx;
	struct display *d = &front->displays[update->scanout_id];

	assert_true(update->width && update->x + update->width <= d->width);
	assert_true(update->height && update->y + update->height <= d->height);
	assert_int_equal(front->begun, front->ended);
	front->begun++;
	front->region = *update;
	*ret_stride_bytes = d->stride * sizeof(*d->pixels);
	return front->unwanted ? NULL : d->pixels + update->y * d->stride + update->x;
}

static void update_end(void *ctx, const struct cvmm_vhost_user_gpu_update *update, bool complete)
{
	struct front *front = ctx;

	assert_memory_equal(update, &front->region, sizeof(*update));
	front->ended++;
	front->cut_off += !complete;
}

static int dmabuf_scanout(void *ctx, const struct cvmm_vhost_user_gpu_dmabuf_scanout2 *scanout,
			  int fd)
{
	struct front *front = ctx;
	struct display *d = &front->displays[scanout->scanout.scanout_id];

	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	clear_display(d);
	if (front->fail) {
		close(fd);
		return -EINVAL;
	}
	d->width = scanout->scanout.width;
	d->height = scanout->scanout.height;
	d->buffer = fd;
	d->buffer_info = *scanout;
	return 0;
}

static void dmabuf_update(void *ctx, const struct cvmm_vhost_user_gpu_update *update)
{
	struct front *front = ctx;

	front->region = *update;
	front->buffer_updates++;
	if (!front->later)
		assert_int_equal(cvmm_vhost_user_gpu_frontend_updated(front->gpu), 0);
}

static const struct cvmm_vhost_user_gpu_frontend_ops all_ops = {
	.size = sizeof(all_ops),
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

static void front_closed(void *ctx, int reason, const char *message)
{
	struct front *front = ctx;

	assert_int_equal(front->closed, NOT_CLOSED);
	front->closed = reason;
	strncpy(front->message, message, sizeof(front->message) - 1);
}

static void count_refusals(void *ctx, enum cvmm_log_level level, const char *message)
{
	struct front *front = ctx;

	assert_int_equal(level, CVMM_LOG_WARN);
	assert_non_null(strstr(message, "refused"));
	front->refusals++;
}

/* ---- the back-end ------------------------------------------------------------------------------ */

static void ready(void *ctx, uint64_t features)
{
	struct back *back = ctx;
	struct cvmm_vhost_user_gpu_cursor_pos pos = { 0, 1, 2 };

	back->features = features;
	back->ready++;
	if (back->move_when_ready)
		assert_int_equal(cvmm_vhost_user_gpu_backend_cursor_pos(back->gpu, &pos, true), 0);
}

static void back_closed(void *ctx, int reason, const char *message)
{
	struct back *back = ctx;

	assert_int_equal(back->closed, NOT_CLOSED);
	back->closed = reason;
	strncpy(back->message, message, sizeof(back->message) - 1);
	if (back->destroy) {
		cvmm_vhost_user_gpu_backend_destroy(back->gpu);
		back->gpu = NULL;
	}
}

static inline void done(void *ctx, int error)
{
	struct back *back = ctx;

	back->done++;
	back->error = error;
}

/* ---- fixtures ---------------------------------------------------------------------------------- */

static inline void make_front(struct fixture *f, const struct cvmm_vhost_user_gpu_frontend_ops *ops,
			      int fd)
{
	const struct cvmm_vhost_user_gpu_frontend_config config = {
		.loop = f->loop,
		.ops = ops,
		.scanout_count = DISPLAYS,
		.closed = front_closed,
		.ctx = &f->front,
		.log = &f->log,
	};

	f->log = (struct cvmm_log){ count_refusals, &f->front, CVMM_LOG_DEBUG };
	assert_int_equal(cvmm_vhost_user_gpu_frontend_create(&config, fd, &f->front.gpu, NULL), 0);
}

static inline void make_back(struct fixture *f, int fd, uint64_t want, unsigned int timeout_ms)
{
	const struct cvmm_vhost_user_gpu_backend_config config = {
		.loop = f->loop,
		.want = want,
		.timeout_ms = timeout_ms,
		.ready = ready,
		.closed = back_closed,
		.ctx = &f->back,
	};

	assert_int_equal(cvmm_vhost_user_gpu_backend_create(&config, fd, &f->back.gpu, NULL), 0);
}

static inline struct fixture *begin(void **state, int fds[2])
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->fds_before = open_fds();
	f->peer = -1;
	f->front.closed = f->back.closed = NOT_CLOSED;
	for (unsigned int i = 0; i < DISPLAYS; i++)
		f->front.displays[i].buffer = -1;
	assert_int_equal(cvmm_loop_create(CVMM_LOOP_AUTO, &f->loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	*state = f;
	return f;
}

static inline int set_up_front(void **state)
{
	int fds[2];
	struct fixture *f = begin(state, fds);

	make_front(f, &all_ops, fds[0]);
	f->peer = fds[1];
	return 0;
}

static inline int set_up_back(void **state)
{
	int fds[2];
	struct fixture *f = begin(state, fds);

	make_back(f, fds[0], CVMM_VHOST_USER_GPU_FEATURES_ALL, 0);
	f->peer = fds[1];
	return 0;
}

/* Another back-end in place of the one that was set up. */
static inline void change_back(struct fixture *f, uint64_t want, unsigned int timeout_ms)
{
	int fds[2];

	cvmm_vhost_user_gpu_backend_destroy(f->back.gpu);
	cvmm_close_fd(&f->peer);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	make_back(f, fds[0], want, timeout_ms);
	f->peer = fds[1];
}

static inline int set_up_both(void **state)
{
	int fds[2];
	struct fixture *f = begin(state, fds);

	make_front(f, &all_ops, fds[0]);
	make_back(f, fds[1], CVMM_VHOST_USER_GPU_FEATURES_ALL, 0);
	return 0;
}

/* Nothing may be left, whatever a test has done. */
static inline int tear_down(void **state)
{
	struct fixture *f = *state;

	cvmm_vhost_user_gpu_frontend_destroy(f->front.gpu);
	cvmm_vhost_user_gpu_backend_destroy(f->back.gpu);
	cvmm_close_fd(&f->peer);
	for (unsigned int i = 0; i < DISPLAYS; i++)
		clear_display(&f->front.displays[i]);
	cvmm_loop_destroy(f->loop);
	assert_int_equal(open_fds(), f->fds_before);
	free(f);
	return 0;
}

/* Run the loop until nothing happens. */
static inline void spin(struct fixture *f)
{
	while (cvmm_loop_run_once(f->loop, 0) > 0)
		;
}

/* ---- the peer ---------------------------------------------------------------------------------- */

static inline void send_with_fds(int sock, const void *bytes, size_t len, const int *fds,
				 size_t fd_count)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(8 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd_count) {
		struct cmsghdr *c;

		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		c = CMSG_FIRSTHDR(&hdr);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
	}
	assert_int_equal(sendmsg(sock, &hdr, MSG_NOSIGNAL), len);
}

/* Send a message of which all is given, @size included. */
static inline void send_raw(struct fixture *f, uint32_t request, uint32_t flags, uint32_t size,
			    const void *payload, size_t len, const int *fds, size_t fd_count)
{
	struct cvmm_vhost_user_header header = { request, flags, size };
	uint8_t *bytes = malloc(sizeof(header) + len);

	assert_non_null(bytes);
	memcpy(bytes, &header, sizeof(header));
	if (len)
		memcpy(bytes + sizeof(header), payload, len);
	send_with_fds(f->peer, bytes, sizeof(header) + len, fds, fd_count);
	free(bytes);
}

static inline void send_request(struct fixture *f, uint32_t request, const void *payload,
				size_t len)
{
	send_raw(f, request, 0, (uint32_t)len, payload, len, NULL, 0);
}

static inline void send_answer(struct fixture *f, uint32_t request, const void *payload, size_t len)
{
	send_raw(f, request, CVMM_VHOST_USER_FLAG_REPLY, (uint32_t)len, payload, len, NULL, 0);
}

/* Bytes that are there. */
static inline size_t pending(int sock)
{
	uint8_t bytes[65536];
	ssize_t n = recv(sock, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_PEEK);

	return n > 0 ? (size_t)n : 0;
}

/* Receive a message that must be there, and be this one. */
static inline void expect_message(struct fixture *f, uint32_t request, uint32_t flags,
				  void *payload, size_t len)
{
	struct cvmm_vhost_user_header header;

	spin(f);
	assert_int_equal(recv(f->peer, &header, sizeof(header), MSG_DONTWAIT), sizeof(header));
	assert_int_equal(header.request, request);
	assert_int_equal(header.flags, flags);
	assert_int_equal(header.size, len);
	if (len)
		assert_int_equal(recv(f->peer, payload, len, MSG_DONTWAIT), len);
}

#endif /* CVMM_TEST_VHOST_USER_GPU_H */
