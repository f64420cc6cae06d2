// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The GPU protocol, the back-end's end.
 *
 * Theory of operation: requests are a list, and the first one is the one that is being sent, or
 * answered. Calls only put requests on the list; the loop sends them. What a display needs of bytes
 * is not copied: pixels are taken from where they are while the socket takes them, so the list
 * stays small however slowly the front-end reads.
 *
 * Nothing is sent while an answer is missing. Front-ends read nothing either while their display is
 * busy with DMABUF_UPDATE, and QEMU's answers once for several of them, so there is nothing to gain
 * from being ahead.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "vhost_user_gpu_internal.h"

/* Sent in place of pixels that must not be read any more. */
static const uint8_t black[4096];

/**
 * struct gpu_request - a request on the list
 * @row: of the table
 * @header: to be sent; its size includes the pixels
 * @len: bytes of @payload
 * @fd: to be passed with the first byte, or -1
 * @pixels: rows of @row_bytes each, @stride apart; NULL for black ones
 * @row_bytes: 0 if there are no pixels
 * @sent: bytes
 * @total: of header, payload and pixels
 * @done: who is told; which of them depends on the request
 */
struct gpu_request {
	struct gpu_request *next;
	const struct cvmm_vhost_user_gpu_message *row;
	struct cvmm_vhost_user_header header;
	size_t len;
	int fd;
	const uint8_t *pixels;
	size_t stride;
	size_t row_bytes;
	uint64_t sent;
	uint64_t total;
	union {
		cvmm_vhost_user_gpu_done_fn done;
		cvmm_vhost_user_gpu_display_info_fn display_info;
		cvmm_vhost_user_gpu_edid_fn edid;
	};
	void *ctx;
	uint64_t payload[];
};

struct cvmm_vhost_user_gpu_backend {
	struct cvmm_vhost_user_gpu_backend_config config;
	struct gpu_reader reader; /* its fd is -1 after the end */
	struct cvmm_source *socket;
	struct cvmm_source *timer;
	uint64_t features;

	struct gpu_request *first;
	struct gpu_request **last; /* where the next one is linked */
	unsigned int count;
	bool awaiting; /* the first one was sent, and its answer is missing */
};

/* ---- the list ---------------------------------------------------------------------------------- */

static int want_events(struct cvmm_vhost_user_gpu_backend *gpu)
{
	unsigned int events = CVMM_EVENT_READ;

	if (gpu->first && !gpu->awaiting)
		events |= CVMM_EVENT_WRITE;
	return cvmm_source_set_events(gpu->socket, events);
}

static void free_request(struct gpu_request *request)
{
	cvmm_close_fd(&request->fd);
	free(request);
}

/* Take the request out of the list to which @link points. */
static struct gpu_request *unlink_request(struct cvmm_vhost_user_gpu_backend *gpu,
					  struct gpu_request **link)
{
	struct gpu_request *request = *link;

	*link = request->next;
	if (!request->next)
		gpu->last = link;
	gpu->count--;
	return request;
}

static void link_last(struct cvmm_vhost_user_gpu_backend *gpu, struct gpu_request *request)
{
	*gpu->last = request;
	gpu->last = &request->next;
	gpu->count++;
}

static void link_first(struct cvmm_vhost_user_gpu_backend *gpu, struct gpu_request *request)
{
	request->next = gpu->first;
	if (!gpu->first)
		gpu->last = &request->next;
	gpu->first = request;
	gpu->count++;
}

static int new_request(enum cvmm_vhost_user_gpu_request id, const void *payload, size_t len,
		       struct gpu_request **ret_request)
{
	struct gpu_request *request = calloc(1, sizeof(*request) + len);

	if (!request)
		return -ENOMEM;
	request->row = cvmm_vhost_user_gpu_message_find(id);
	CVMM_BUG_ON(len != cvmm_vhost_user_gpu_form_size(request->row->form));
	request->header.request = id;
	request->header.size = (uint32_t)len;
	request->len = len;
	request->fd = -1;
	request->total = sizeof(request->header) + len;
	if (len)
		memcpy(request->payload, payload, len);
	*ret_request = request;
	return 0;
}

static int may_add(const struct cvmm_vhost_user_gpu_backend *gpu)
{
	if (gpu->reader.fd < 0)
		return -ENOTCONN;
	return gpu->count >= CVMM_VHOST_USER_GPU_REQUESTS_MAX ? -ENOBUFS : 0;
}

/* Put a request on the list, or free it. */
static int add(struct cvmm_vhost_user_gpu_backend *gpu, struct gpu_request *request)
{
	struct gpu_request **link = gpu->last;
	int r;

	link_last(gpu, request);
	r = want_events(gpu);
	if (r)
		free_request(unlink_request(gpu, link));
	return r;
}

/* A request of which nothing more is to be said. */
static int add_plain(struct cvmm_vhost_user_gpu_backend *gpu, enum cvmm_vhost_user_gpu_request id,
		     const void *payload, size_t len)
{
	struct gpu_request *request;
	int r = may_add(gpu);

	if (!r)
		r = new_request(id, payload, len, &request);
	return r ? r : add(gpu, request);
}

/* ---- the end ----------------------------------------------------------------------------------- */

/* Tell who waits for a request that there will be no answer, and free it. */
static void fail_request(struct gpu_request *request, int error)
{
	if (!request->done) {
		free_request(request);
		return;
	}
	switch (request->row->id) {
	case CVMM_VHOST_USER_GPU_GET_DISPLAY_INFO:
		request->display_info(request->ctx, error, NULL);
		break;
	case CVMM_VHOST_USER_GPU_GET_EDID:
		request->edid(request->ctx, error, NULL, 0);
		break;
	default:
		request->done(request->ctx, error);
		break;
	}
	free_request(request);
}

static void let_go(struct cvmm_vhost_user_gpu_backend *gpu)
{
	cvmm_source_remove(gpu->socket);
	cvmm_source_remove(gpu->timer);
	gpu->socket = gpu->timer = NULL;
	cvmm_vhost_user_gpu_read_next(&gpu->reader);
	cvmm_close_fd(&gpu->reader.fd);
}

/* The connection is over. Nothing may come after it: the back-end may be gone. */
static void end(struct cvmm_vhost_user_gpu_backend *gpu, int reason, const char *message)
{
	if (reason == -EPIPE)
		reason = -ECONNRESET;
	if (reason == -ECONNRESET && !gpu->first && !gpu->reader.received)
		reason = 0;
	let_go(gpu);
	gpu->awaiting = false;
	while (gpu->first)
		fail_request(unlink_request(gpu, &gpu->first), -ECONNRESET);
	if (gpu->config.closed)
		gpu->config.closed(gpu->config.ctx, reason, message);
}

static void on_timeout(void *ctx)
{
	struct cvmm_vhost_user_gpu_backend *gpu = ctx;
	struct cvmm_error err;

	cvmm_fail(&err, -ETIMEDOUT, "%s: the front-end did not answer", gpu->first->row->name);
	end(gpu, -ETIMEDOUT, err.message);
}

/* ---- sending ----------------------------------------------------------------------------------- */

/* Pieces of what is left to be sent of a request. Return: how many. */
static size_t gather(const struct gpu_request *request, struct iovec *iov, size_t limit)
{
	const struct iovec fixed[] = {
		{ (void *)(uintptr_t)&request->header, sizeof(request->header) },
		{ (void *)(uintptr_t)request->payload, request->len },
	};
	uint64_t at = request->sent, begin = 0, pixels;
	size_t count = 0, sum = 0;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(fixed); begin += fixed[i++].iov_len) {
		size_t skip = at > begin ? (size_t)(at - begin) : 0;

		if (skip >= fixed[i].iov_len)
			continue;
		count = cvmm_vhost_user_gpu_add_piece(iov, count,
						      (const uint8_t *)fixed[i].iov_base + skip,
						      fixed[i].iov_len - skip);
	}
	pixels = at > begin ? at - begin : 0;
	while (begin + pixels < request->total && count < GPU_PIECES_MAX && sum < limit) {
		size_t in_row = (size_t)(pixels % request->row_bytes);
		size_t len = request->row_bytes - in_row;
		const uint8_t *from = black;

		if (request->pixels)
			from = request->pixels + pixels / request->row_bytes * request->stride +
			       in_row;
		else if (len > sizeof(black))
			len = sizeof(black);
		count = cvmm_vhost_user_gpu_add_piece(iov, count, from, len);
		pixels += len;
		sum += len;
	}
	return count;
}

/* All of the first request is out. */
static int finish_sending(struct cvmm_vhost_user_gpu_backend *gpu)
{
	struct gpu_request *request = gpu->first;
	enum cvmm_vhost_user_gpu_form answer = request->row->answer;

	cvmm_close_fd(&request->fd);
	if (answer == CVMM_VHOST_USER_GPU_FORM_NONE) {
		unlink_request(gpu, &gpu->first);
		if (request->done)
			request->done(request->ctx, 0);
		free_request(request);
		return 0;
	}
	gpu->awaiting = true;
	/* An empty answer comes when a display has done its work, and that may take its time. */
	if (answer == CVMM_VHOST_USER_GPU_FORM_EMPTY)
		return 0;
	return cvmm_timer_arm(gpu->timer, gpu->config.timeout_ms * CVMM_NS_PER_MS, 0);
}

static int send_requests(struct cvmm_vhost_user_gpu_backend *gpu, struct cvmm_error *err)
{
	uint64_t budget = GPU_BYTES_AT_ONCE;
	int r = 0;

	while (!r && gpu->first && !gpu->awaiting && budget) {
		struct gpu_request *request = gpu->first;
		struct iovec iov[GPU_PIECES_MAX];
		size_t count = gather(request, iov, (size_t)budget);
		ssize_t n = cvmm_vhost_user_socket_write(gpu->reader.fd, iov, count, &request->fd,
							 !request->sent && request->fd >= 0);

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return cvmm_fail(err, (int)n, "cannot write to the front-end: %s",
					 strerror((int)-n));
		request->sent += (uint64_t)n;
		budget -= (uint64_t)n < budget ? (uint64_t)n : budget;
		if (request->sent == request->total)
			r = finish_sending(gpu);
	}
	return r;
}

/* ---- answers ----------------------------------------------------------------------------------- */

/* What the front-end has is known: say what is used of it, before anything else is sent. */
static int take_features(struct cvmm_vhost_user_gpu_backend *gpu, uint64_t offered,
			 struct cvmm_error *err)
{
	uint64_t features = offered & gpu->config.want & CVMM_VHOST_USER_GPU_FEATURES_ALL;
	struct gpu_request *request;
	int r;

	r = new_request(CVMM_VHOST_USER_GPU_SET_PROTOCOL_FEATURES, &features, sizeof(features),
			&request);
	if (r)
		return cvmm_fail(err, r, "out of memory");
	link_first(gpu, request);
	gpu->features = features;
	if (gpu->config.ready)
		gpu->config.ready(gpu->config.ctx, features);
	return 0;
}

static bool is_error(const struct cvmm_vhost_user_gpu_ctrl_hdr *hdr)
{
	/* Others than errors are not told apart: not all front-ends care to fill them in. */
	return cvmm_le32_get(hdr->type) >> 8 == CVMM_VHOST_USER_GPU_RESP_ERR_UNSPEC >> 8;
}

static int take_display_info(const struct gpu_request *request, const void *payload)
{
	const struct cvmm_vhost_user_gpu_display_info *info = payload;
	bool failed = is_error(&info->hdr);

	if (request->display_info)
		request->display_info(request->ctx, failed ? -EREMOTEIO : 0, failed ? NULL : info);
	return 0;
}

static int take_edid(const struct gpu_request *request, const void *payload, struct cvmm_error *err)
{
	const struct cvmm_vhost_user_gpu_edid *edid = payload;
	uint32_t len = cvmm_le32_get(edid->size_bytes);
	bool failed = is_error(&edid->hdr);

	if (!failed && len > sizeof(edid->edid))
		return cvmm_fail(err, -EPROTO, "GET_EDID: the answer has %u bytes of %zu", len,
				 sizeof(edid->edid));
	if (request->edid)
		request->edid(request->ctx, failed ? -EREMOTEIO : 0, failed ? NULL : edid->edid,
			      failed ? 0 : len);
	return 0;
}

/* An answer that is what its row says. On failure the request is still there, to be told. */
static int dispatch_answer(struct cvmm_vhost_user_gpu_backend *gpu, struct cvmm_error *err)
{
	struct gpu_request *request = gpu->first;
	const void *payload = gpu->reader.payload;
	int r = 0;

	cvmm_timer_disarm(gpu->timer);
	switch (request->row->id) {
	case CVMM_VHOST_USER_GPU_GET_PROTOCOL_FEATURES:
		/* Out of the way of the one that must be the first now. */
		unlink_request(gpu, &gpu->first);
		free_request(request);
		gpu->awaiting = false;
		return take_features(gpu, gpu->reader.payload[0], err);
	case CVMM_VHOST_USER_GPU_GET_DISPLAY_INFO:
		r = take_display_info(request, payload);
		break;
	case CVMM_VHOST_USER_GPU_GET_EDID:
		r = take_edid(request, payload, err);
		break;
	default:
		if (request->done)
			request->done(request->ctx, 0);
		break;
	}
	if (r)
		return r;
	free_request(unlink_request(gpu, &gpu->first));
	gpu->awaiting = false;
	return 0;
}

static int check_answer(const struct cvmm_vhost_user_gpu_backend *gpu, struct cvmm_error *err)
{
	const struct cvmm_vhost_user_header *header = &gpu->reader.header;
	const struct cvmm_vhost_user_gpu_message *row = gpu->first ? gpu->first->row : NULL;

	if (!gpu->awaiting)
		return cvmm_fail(err, -EPROTO, "message %u came, and nothing was asked for",
				 header->request);
	if (header->request != row->id || header->flags != CVMM_VHOST_USER_FLAG_REPLY)
		return cvmm_fail(err, -EPROTO, "message %u with flags 0x%x is no answer to %s",
				 header->request, header->flags, row->name);
	if (!cvmm_vhost_user_gpu_payload_fits(row->answer, gpu->reader.payload, header->size))
		return cvmm_fail(err, -EPROTO, "%s: %u bytes are no answer of the form '%s'",
				 row->name, header->size,
				 cvmm_vhost_user_gpu_form_name(row->answer));
	if (gpu->reader.fd_count)
		return cvmm_fail(err, -EPROTO, "%s: the answer came with descriptors", row->name);
	return 0;
}

static int take_answer(struct cvmm_vhost_user_gpu_backend *gpu, struct cvmm_error *err)
{
	int r = cvmm_vhost_user_gpu_read_header(&gpu->reader, err);

	if (r != 1)
		return r;
	r = check_answer(gpu, err);
	if (r)
		return r;
	r = cvmm_vhost_user_gpu_read_payload(&gpu->reader, gpu->reader.header.size, err);
	if (r != 1)
		return r;
	r = dispatch_answer(gpu, err);
	cvmm_vhost_user_gpu_read_next(&gpu->reader);
	return r;
}

static void on_socket(void *ctx, int fd, unsigned int events)
{
	struct cvmm_vhost_user_gpu_backend *gpu = ctx;
	struct cvmm_error err = { 0 };
	int r = 0;

	(void)fd;
	if (events & ~(unsigned int)CVMM_EVENT_WRITE)
		r = take_answer(gpu, &err);
	if (!r)
		r = send_requests(gpu, &err);
	if (!r && want_events(gpu))
		r = cvmm_fail(&err, -EIO, "the socket cannot be watched");
	if (r)
		end(gpu, r, err.message);
}

/* ---- life -------------------------------------------------------------------------------------- */

static int start(struct cvmm_vhost_user_gpu_backend *gpu)
{
	int r = cvmm_loop_add_timer(gpu->config.loop, on_timeout, gpu, &gpu->timer);

	if (!r)
		r = cvmm_loop_add_fd(gpu->config.loop, gpu->reader.fd, CVMM_EVENT_READ, on_socket,
				     gpu, &gpu->socket);
	if (!r)
		r = add_plain(gpu, CVMM_VHOST_USER_GPU_GET_PROTOCOL_FEATURES, NULL, 0);
	return r;
}

int cvmm_vhost_user_gpu_backend_create(const struct cvmm_vhost_user_gpu_backend_config *config,
				       int fd, struct cvmm_vhost_user_gpu_backend **ret_gpu,
				       struct cvmm_error *err)
{
	struct cvmm_vhost_user_gpu_backend *gpu;
	int r = cvmm_vhost_user_socket_check(fd, err);

	if (r) {
		cvmm_close_fd(&fd);
		return r;
	}
	gpu = calloc(1, sizeof(*gpu));
	if (!gpu) {
		cvmm_close_fd(&fd);
		return cvmm_fail(err, -ENOMEM, "out of memory");
	}
	gpu->config = *config;
	if (!config->timeout_ms)
		gpu->config.timeout_ms = CVMM_VHOST_USER_GPU_TIMEOUT_DEFAULT_MS;
	gpu->reader.fd = fd;
	gpu->last = &gpu->first;
	r = start(gpu);
	if (r) {
		cvmm_vhost_user_gpu_backend_destroy(gpu);
		return cvmm_fail(err, r, "cannot watch the socket of the GPU: %s", strerror(-r));
	}
	*ret_gpu = gpu;
	return 0;
}

void cvmm_vhost_user_gpu_backend_destroy(struct cvmm_vhost_user_gpu_backend *gpu)
{
	if (!gpu)
		return;
	let_go(gpu);
	while (gpu->first)
		free_request(unlink_request(gpu, &gpu->first));
	free(gpu);
}

uint64_t cvmm_vhost_user_gpu_backend_features(const struct cvmm_vhost_user_gpu_backend *gpu)
{
	return gpu->features;
}

void cvmm_vhost_user_gpu_backend_forget(struct cvmm_vhost_user_gpu_backend *gpu)
{
	struct gpu_request **link = &gpu->first;

	while (*link) {
		struct gpu_request *request = *link;

		request->done = NULL;
		request->pixels = NULL;
		if (request->row_bytes && !request->sent)
			free_request(unlink_request(gpu, link));
		else
			link = &request->next;
	}
}

/* ---- requests ---------------------------------------------------------------------------------- */

int cvmm_vhost_user_gpu_backend_get_display_info(struct cvmm_vhost_user_gpu_backend *gpu,
						 cvmm_vhost_user_gpu_display_info_fn answer,
						 void *ctx)
{
	struct gpu_request *request;
	int r = may_add(gpu);

	if (!r)
		r = new_request(CVMM_VHOST_USER_GPU_GET_DISPLAY_INFO, NULL, 0, &request);
	if (r)
		return r;
	request->display_info = answer;
	request->ctx = ctx;
	return add(gpu, request);
}

int cvmm_vhost_user_gpu_backend_get_edid(struct cvmm_vhost_user_gpu_backend *gpu,
					 uint32_t scanout_id, cvmm_vhost_user_gpu_edid_fn answer,
					 void *ctx)
{
	struct cvmm_vhost_user_gpu_edid_request payload = { scanout_id };
	struct gpu_request *request;
	int r = may_add(gpu);

	if (r)
		return r;
	if (scanout_id >= CVMM_VHOST_USER_GPU_SCANOUTS_MAX)
		return -EINVAL;
	if (!(gpu->features & CVMM_VHOST_USER_GPU_FEATURE(EDID)))
		return -EOPNOTSUPP;
	r = new_request(CVMM_VHOST_USER_GPU_GET_EDID, &payload, sizeof(payload), &request);
	if (r)
		return r;
	request->edid = answer;
	request->ctx = ctx;
	return add(gpu, request);
}

/* The last request, if it is a cursor's position that can still be changed. */
static struct gpu_request *waiting_position(struct cvmm_vhost_user_gpu_backend *gpu,
					    uint32_t scanout_id)
{
	const struct cvmm_vhost_user_gpu_cursor_pos *pos;
	struct gpu_request *last;

	if (!gpu->first)
		return NULL;
	last = CVMM_CONTAINER_OF(gpu->last, struct gpu_request, next);
	pos = (const void *)last->payload;
	if (last->sent || last->row->form != CVMM_VHOST_USER_GPU_FORM_CURSOR_POS ||
	    pos->scanout_id != scanout_id)
		return NULL;
	return last;
}

int cvmm_vhost_user_gpu_backend_cursor_pos(struct cvmm_vhost_user_gpu_backend *gpu,
					   const struct cvmm_vhost_user_gpu_cursor_pos *pos,
					   bool show)
{
	enum cvmm_vhost_user_gpu_request id =
		show ? CVMM_VHOST_USER_GPU_CURSOR_POS : CVMM_VHOST_USER_GPU_CURSOR_POS_HIDE;
	struct gpu_request *waiting;

	if (pos->scanout_id >= CVMM_VHOST_USER_GPU_SCANOUTS_MAX)
		return -EINVAL;
	waiting = waiting_position(gpu, pos->scanout_id);
	if (!waiting)
		return add_plain(gpu, id, pos, sizeof(*pos));
	waiting->row = cvmm_vhost_user_gpu_message_find(id);
	waiting->header.request = id;
	memcpy(waiting->payload, pos, sizeof(*pos));
	return 0;
}

int cvmm_vhost_user_gpu_backend_cursor_update(
	struct cvmm_vhost_user_gpu_backend *gpu,
	const struct cvmm_vhost_user_gpu_cursor_update *update)
{
	if (update->pos.scanout_id >= CVMM_VHOST_USER_GPU_SCANOUTS_MAX)
		return -EINVAL;
	return add_plain(gpu, CVMM_VHOST_USER_GPU_CURSOR_UPDATE, update, sizeof(*update));
}

/* Whether a display may have this size; 0, 0 is off. */
static bool size_can_be(uint32_t width, uint32_t height)
{
	return !width == !height && width <= CVMM_VHOST_USER_GPU_DIMENSION_MAX &&
	       height <= CVMM_VHOST_USER_GPU_DIMENSION_MAX;
}

int cvmm_vhost_user_gpu_backend_scanout(struct cvmm_vhost_user_gpu_backend *gpu,
					const struct cvmm_vhost_user_gpu_scanout *scanout)
{
	if (scanout->scanout_id >= CVMM_VHOST_USER_GPU_SCANOUTS_MAX ||
	    !size_can_be(scanout->width, scanout->height))
		return -EINVAL;
	return add_plain(gpu, CVMM_VHOST_USER_GPU_SCANOUT, scanout, sizeof(*scanout));
}

/* Whether a region is one that a display can have. */
static bool region_can_be(const struct cvmm_vhost_user_gpu_update *update)
{
	return update->scanout_id < CVMM_VHOST_USER_GPU_SCANOUTS_MAX && update->width &&
	       update->height &&
	       cvmm_range_inside(update->x, update->width, CVMM_VHOST_USER_GPU_DIMENSION_MAX) &&
	       cvmm_range_inside(update->y, update->height, CVMM_VHOST_USER_GPU_DIMENSION_MAX);
}

int cvmm_vhost_user_gpu_backend_update(struct cvmm_vhost_user_gpu_backend *gpu,
				       const struct cvmm_vhost_user_gpu_update *update,
				       const void *pixels, size_t stride_bytes,
				       cvmm_vhost_user_gpu_done_fn done, void *ctx)
{
	struct gpu_request *request;
	int r = may_add(gpu);

	if (r)
		return r;
	if (!region_can_be(update) || !pixels ||
	    stride_bytes < (size_t)update->width * CVMM_VHOST_USER_GPU_PIXEL_BYTES)
		return -EINVAL;
	r = new_request(CVMM_VHOST_USER_GPU_UPDATE, update, sizeof(*update), &request);
	if (r)
		return r;
	request->pixels = pixels;
	request->stride = stride_bytes;
	request->row_bytes = (size_t)update->width * CVMM_VHOST_USER_GPU_PIXEL_BYTES;
	request->header.size += (uint32_t)request->row_bytes * update->height;
	request->total = sizeof(request->header) + request->header.size;
	request->done = done;
	request->ctx = ctx;
	return add(gpu, request);
}

static bool buffer_can_be(const struct cvmm_vhost_user_gpu_dmabuf_scanout *scanout, int fd)
{
	return scanout->scanout_id < CVMM_VHOST_USER_GPU_SCANOUTS_MAX &&
	       size_can_be(scanout->width, scanout->height) && (fd < 0) == !scanout->width &&
	       cvmm_range_inside(scanout->x, scanout->width, scanout->fd_width) &&
	       cvmm_range_inside(scanout->y, scanout->height, scanout->fd_height);
}

/* A request for a buffer, in the form with a modifier if the front-end knows it. */
static int new_buffer_request(const struct cvmm_vhost_user_gpu_backend *gpu,
			      const struct cvmm_vhost_user_gpu_dmabuf_scanout *scanout,
			      uint64_t modifier, struct gpu_request **ret_request)
{
	struct cvmm_vhost_user_gpu_dmabuf_scanout2 scanout2 = { *scanout, modifier };

	if (gpu->features & CVMM_VHOST_USER_GPU_FEATURE(DMABUF2))
		return new_request(CVMM_VHOST_USER_GPU_DMABUF_SCANOUT2, &scanout2, sizeof(scanout2),
				   ret_request);
	if (modifier && modifier != CVMM_VHOST_USER_GPU_MODIFIER_NONE)
		return -EOPNOTSUPP;
	return new_request(CVMM_VHOST_USER_GPU_DMABUF_SCANOUT, scanout, sizeof(*scanout),
			   ret_request);
}

int cvmm_vhost_user_gpu_backend_dmabuf_scanout(
	struct cvmm_vhost_user_gpu_backend *gpu,
	const struct cvmm_vhost_user_gpu_dmabuf_scanout *scanout, uint64_t modifier, int fd)
{
	struct gpu_request *request;
	int r = may_add(gpu);

	if (r)
		return r;
	if (!buffer_can_be(scanout, fd))
		return -EINVAL;
	r = new_buffer_request(gpu, scanout, modifier, &request);
	if (r)
		return r;
	if (fd >= 0) {
		request->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (request->fd < 0) {
			r = -errno;
			free_request(request);
			return r;
		}
	}
	return add(gpu, request);
}

int cvmm_vhost_user_gpu_backend_dmabuf_update(struct cvmm_vhost_user_gpu_backend *gpu,
					      const struct cvmm_vhost_user_gpu_update *update,
					      cvmm_vhost_user_gpu_done_fn done, void *ctx)
{
	struct gpu_request *request;
	int r = may_add(gpu);

	if (r)
		return r;
	if (!region_can_be(update))
		return -EINVAL;
	r = new_request(CVMM_VHOST_USER_GPU_DMABUF_UPDATE, update, sizeof(*update), &request);
	if (r)
		return r;
	request->done = done;
	request->ctx = ctx;
	return add(gpu, request);
}
