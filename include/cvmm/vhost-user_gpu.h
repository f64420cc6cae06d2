/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm vhost-user: the GPU protocol, on the socket that VHOST_USER_GPU_SET_SOCKET gives to a GPU's
 * back-end.
 *
 * The back-end renders, the front-end has the displays. The back-end makes requests: what displays
 * are there, show this, this part of it is new, here is the cursor. Each request is a row of
 * CVMM_VHOST_USER_GPU_REQUESTS(): from these rows come the enumeration, the checks of what arrives,
 * the dispatch of handlers and the fuzzers.
 *
 * Messages begin as those of vhost-user do: request, flags, size (struct cvmm_vhost_user_header).
 * But there is no version in the flags, only CVMM_VHOST_USER_FLAG_REPLY, in answers.
 *
 * All numbers are in the byte order of the machine, pixels too; but what comes from VIRTIO's GPU
 * device (displays, EDID) is little-endian. Everything that a peer sends is hostile.
 *
 * Both ends live on a loop, and all I/O and all callbacks happen there: no call waits for the peer,
 * and no call runs a callback. What a peer, or a guest behind it, asks for and cannot have
 * (displays that are not there, impossible sizes) is refused with a line in the log; what is no
 * message of this protocol ends the connection.
 *
 * Spec: QEMU, docs/interop/vhost-user-gpu.rst.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_VHOST_USER_GPU_H
#define CVMM_VHOST_USER_GPU_H

#include <cvmm/event.h>
#include <cvmm/vhost-user.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- limits ------------------------------------------------------------------------------------ */

/* Displays (VIRTIO 1.3, 5.7: VIRTIO_GPU_MAX_SCANOUTS). */
#define CVMM_VHOST_USER_GPU_SCANOUTS_MAX 16U

/* Widest and highest display, in pixels, that a front-end shows. */
#define CVMM_VHOST_USER_GPU_DIMENSION_MAX 16384U

#define CVMM_VHOST_USER_GPU_PIXEL_BYTES 4U

/* A cursor is that many pixels wide, and as high. */
#define CVMM_VHOST_USER_GPU_CURSOR_SIZE 64U

#define CVMM_VHOST_USER_GPU_EDID_BYTES_MAX 1024U

/* Requests of a back-end that wait to be sent. */
#define CVMM_VHOST_USER_GPU_REQUESTS_MAX 256U

/* How long a back-end waits for features, displays and EDIDs. */
#define CVMM_VHOST_USER_GPU_TIMEOUT_DEFAULT_MS 10000U

/* ---- features ---------------------------------------------------------------------------------- */

/* Protocol features: X(bit, name). */
#define CVMM_VHOST_USER_GPU_FEATURES(X) \
	X(0, EDID)                      \
	X(1, DMABUF2)

enum cvmm_vhost_user_gpu_feature {
#define X(bit, name) CVMM_VHOST_USER_GPU_F_##name = bit,
	CVMM_VHOST_USER_GPU_FEATURES(X)
#undef X
};

#define CVMM_VHOST_USER_GPU_FEATURES_ALL UINT64_C(3)

/* The mask of a feature, by the last part of its name: CVMM_VHOST_USER_GPU_FEATURE(EDID). */
#define CVMM_VHOST_USER_GPU_FEATURE(name) (UINT64_C(1) << CVMM_VHOST_USER_GPU_F_##name)

/* The name of a feature, e.g. "EDID", or NULL for a bit that has none. */
CVMM_API const char *cvmm_vhost_user_gpu_feature_name(unsigned int bit);

/* ---- payloads ---------------------------------------------------------------------------------- */

struct cvmm_vhost_user_gpu_cursor_pos {
	uint32_t scanout_id;
	uint32_t x;
	uint32_t y;
};

/* Pixels are a8r8g8b8, in the byte order of the machine. */
struct cvmm_vhost_user_gpu_cursor_update {
	struct cvmm_vhost_user_gpu_cursor_pos pos;
	uint32_t hot_x;
	uint32_t hot_y;
	uint32_t pixels[CVMM_VHOST_USER_GPU_CURSOR_SIZE * CVMM_VHOST_USER_GPU_CURSOR_SIZE];
};

/* A width and a height of 0 switch the display off. */
struct cvmm_vhost_user_gpu_scanout {
	uint32_t scanout_id;
	uint32_t width;
	uint32_t height;
};

/* Begins UPDATE, where x8r8g8b8 pixels follow, row by row; all of DMABUF_UPDATE. */
struct cvmm_vhost_user_gpu_update {
	uint32_t scanout_id;
	uint32_t x;
	uint32_t y;
	uint32_t width;
	uint32_t height;
};

/* In the flags of a buffer: its first row is the lowest one. */
#define CVMM_VHOST_USER_GPU_DMABUF_Y_0_TOP 1U

/* The part at @x, @y of a buffer of @fd_width times @fd_height pixels. */
struct cvmm_vhost_user_gpu_dmabuf_scanout {
	uint32_t scanout_id;
	uint32_t x;
	uint32_t y;
	uint32_t width;
	uint32_t height;
	uint32_t fd_width;
	uint32_t fd_height;
	uint32_t fd_stride;
	uint32_t fd_flags; /* CVMM_VHOST_USER_GPU_DMABUF_* */
	int32_t fd_fourcc; /* DRM_FORMAT_* */
};

/* What a modifier is if the peer did not say; DRM_FORMAT_MOD_INVALID. */
#define CVMM_VHOST_USER_GPU_MODIFIER_NONE UINT64_C(0x00ffffffffffffff)

struct cvmm_vhost_user_gpu_dmabuf_scanout2 {
	struct cvmm_vhost_user_gpu_dmabuf_scanout scanout;
	uint64_t modifier; /* DRM_FORMAT_MOD_* */
};

struct cvmm_vhost_user_gpu_edid_request {
	uint32_t scanout_id;
};

#define CVMM_VHOST_USER_GPU_RESP_OK_DISPLAY_INFO 0x1101U
#define CVMM_VHOST_USER_GPU_RESP_OK_EDID 0x1104U
#define CVMM_VHOST_USER_GPU_RESP_ERR_UNSPEC 0x1200U
#define CVMM_VHOST_USER_GPU_RESP_ERR_INVALID_SCANOUT_ID 0x1202U

/* struct virtio_gpu_ctrl_hdr; only the type means something here. */
struct cvmm_vhost_user_gpu_ctrl_hdr {
	cvmm_le32 type; /* CVMM_VHOST_USER_GPU_RESP_*, or 0 */
	cvmm_le32 flags;
	cvmm_le64 fence_id;
	cvmm_le32 ctx_id;
	uint8_t ring_idx;
	uint8_t padding[3];
};

/* struct virtio_gpu_display_one */
struct cvmm_vhost_user_gpu_display {
	cvmm_le32 x;
	cvmm_le32 y;
	cvmm_le32 width;
	cvmm_le32 height;
	cvmm_le32 enabled;
	cvmm_le32 flags;
};

/* struct virtio_gpu_resp_display_info */
struct cvmm_vhost_user_gpu_display_info {
	struct cvmm_vhost_user_gpu_ctrl_hdr hdr;
	struct cvmm_vhost_user_gpu_display displays[CVMM_VHOST_USER_GPU_SCANOUTS_MAX];
};

/* struct virtio_gpu_resp_edid */
struct cvmm_vhost_user_gpu_edid {
	struct cvmm_vhost_user_gpu_ctrl_hdr hdr;
	cvmm_le32 size_bytes; /* of @edid */
	cvmm_le32 padding;
	uint8_t edid[CVMM_VHOST_USER_GPU_EDID_BYTES_MAX];
};

CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_gpu_cursor_pos) == 12, "GPU, Payload types");
CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_gpu_cursor_update) == 16404, "GPU, Payload types");
CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_gpu_scanout) == 12, "GPU, Payload types");
CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_gpu_update) == 20, "GPU, Payload types");
CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_gpu_dmabuf_scanout) == 40, "GPU, Payload types");
CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_gpu_dmabuf_scanout2) == 48, "GPU, Payload types");
CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_gpu_edid_request) == 4, "GPU, Payload types");
CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_gpu_ctrl_hdr) == 24, "VIRTIO 1.3, 5.7.6.7");
CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_gpu_display_info) == 408, "VIRTIO 1.3, 5.7.6.8");
CVMM_STATIC_ASSERT(sizeof(struct cvmm_vhost_user_gpu_edid) == 1056, "VIRTIO 1.3, 5.7.6.8");

/* The forms of payloads: X(NAME, name, what it begins with). */
#define CVMM_VHOST_USER_GPU_FORMS(X)                                                  \
	X(U64, "u64", uint64_t)                                                       \
	X(CURSOR_POS, "cursor position", struct cvmm_vhost_user_gpu_cursor_pos)       \
	X(CURSOR_UPDATE, "cursor", struct cvmm_vhost_user_gpu_cursor_update)          \
	X(SCANOUT, "scanout", struct cvmm_vhost_user_gpu_scanout)                     \
	X(PIXELS, "region and pixels", struct cvmm_vhost_user_gpu_update)             \
	X(REGION, "region", struct cvmm_vhost_user_gpu_update)                        \
	X(DMABUF, "buffer", struct cvmm_vhost_user_gpu_dmabuf_scanout)                \
	X(DMABUF2, "buffer and modifier", struct cvmm_vhost_user_gpu_dmabuf_scanout2) \
	X(EDID_REQUEST, "EDID request", struct cvmm_vhost_user_gpu_edid_request)      \
	X(DISPLAY_INFO, "displays", struct cvmm_vhost_user_gpu_display_info)          \
	X(EDID, "EDID", struct cvmm_vhost_user_gpu_edid)

enum cvmm_vhost_user_gpu_form {
	CVMM_VHOST_USER_GPU_FORM_NONE, /* no answer, not even an empty one */
	CVMM_VHOST_USER_GPU_FORM_EMPTY,
#define X(NAME, ...) CVMM_VHOST_USER_GPU_FORM_##NAME,
	CVMM_VHOST_USER_GPU_FORMS(X)
#undef X
	CVMM_VHOST_USER_GPU_FORM_COUNT,
};

/* ---- the table --------------------------------------------------------------------------------- */

/*
 * Requests: X(id, NAME, name, gate, form, descriptors, form of the answer). The gate is a mask of
 * features that the front-end must have; at most so many descriptors come with a request, and none
 * with answers.
 */
#define CVMM_VHOST_USER_GPU_REQUESTS(X)                                                           \
	X(1, GET_PROTOCOL_FEATURES, get_protocol_features, 0, EMPTY, 0, U64)                      \
	X(2, SET_PROTOCOL_FEATURES, set_protocol_features, 0, U64, 0, NONE)                       \
	X(3, GET_DISPLAY_INFO, get_display_info, 0, EMPTY, 0, DISPLAY_INFO)                       \
	X(4, CURSOR_POS, cursor_pos, 0, CURSOR_POS, 0, NONE)                                      \
	X(5, CURSOR_POS_HIDE, cursor_pos_hide, 0, CURSOR_POS, 0, NONE)                            \
	X(6, CURSOR_UPDATE, cursor_update, 0, CURSOR_UPDATE, 0, NONE)                             \
	X(7, SCANOUT, scanout, 0, SCANOUT, 0, NONE)                                               \
	X(8, UPDATE, update, 0, PIXELS, 0, NONE)                                                  \
	X(9, DMABUF_SCANOUT, dmabuf_scanout, 0, DMABUF, 1, NONE)                                  \
	X(10, DMABUF_UPDATE, dmabuf_update, 0, REGION, 0, EMPTY)                                  \
	X(11, GET_EDID, get_edid, CVMM_VHOST_USER_GPU_FEATURE(EDID), EDID_REQUEST, 0, EDID)       \
	X(12, DMABUF_SCANOUT2, dmabuf_scanout2, CVMM_VHOST_USER_GPU_FEATURE(DMABUF2), DMABUF2, 1, \
	  NONE)

enum cvmm_vhost_user_gpu_request {
#define X(id, NAME, ...) CVMM_VHOST_USER_GPU_##NAME = id,
	CVMM_VHOST_USER_GPU_REQUESTS(X)
#undef X
};

#define CVMM_VHOST_USER_GPU_REQUEST_MAX 12U

/**
 * struct cvmm_vhost_user_gpu_message - one row of the table
 * @id: request number
 * @name: without its prefix, e.g. "CURSOR_POS"
 * @gate: features that the front-end must have
 * @form: of the request's payload
 * @fds_max: descriptors that may come with it
 * @answer: form of the answer's payload
 */
struct cvmm_vhost_user_gpu_message {
	uint32_t id;
	const char *name;
	uint64_t gate;
	enum cvmm_vhost_user_gpu_form form;
	unsigned int fds_max;
	enum cvmm_vhost_user_gpu_form answer;
};

/* The row of a request, or NULL if there is none. Any thread. */
CVMM_API const struct cvmm_vhost_user_gpu_message *cvmm_vhost_user_gpu_message_find(uint32_t id);

/* Words for listings, e.g. "cursor position". Any thread. */
CVMM_API const char *cvmm_vhost_user_gpu_form_name(enum cvmm_vhost_user_gpu_form form);

/* Bytes of a form, without the pixels of CVMM_VHOST_USER_GPU_FORM_PIXELS. Any thread. */
CVMM_API uint32_t cvmm_vhost_user_gpu_form_size(enum cvmm_vhost_user_gpu_form form);

/**
 * cvmm_vhost_user_gpu_payload_fits() - whether a payload has a form
 * @bytes: from a peer; the first cvmm_vhost_user_gpu_form_size() of them, or @len_bytes if these
 *         are fewer
 * @len_bytes: of all of the payload
 *
 * What the fields mean is not looked at, but for the number of pixels. Any thread.
 */
CVMM_API bool cvmm_vhost_user_gpu_payload_fits(enum cvmm_vhost_user_gpu_form form,
					       const void *bytes, uint32_t len_bytes);

/* ---- the back-end: a GPU's ---------------------------------------------------------------------- */

struct cvmm_vhost_user_gpu_backend;

/**
 * struct cvmm_vhost_user_gpu_backend_config - what a back-end needs
 * @loop: where all of it happens; must outlive the back-end
 * @want: features to use, of those that the front-end has
 * @timeout_ms: for the answers about features, displays and EDIDs; 0 for
 *              CVMM_VHOST_USER_GPU_TIMEOUT_DEFAULT_MS. What is shown may take as long as it likes:
 *              a display that is hidden, or paused, is no fault.
 * @ready: @features are what both have. May be NULL.
 * @closed: the connection ended, after all that waited was told: 0 if the front-end closed it, or
 *          negative errno with a message. It may destroy the back-end, as no other callback may.
 *          May be NULL.
 * @ctx: for both
 */
struct cvmm_vhost_user_gpu_backend_config {
	struct cvmm_loop *loop;
	uint64_t want;
	unsigned int timeout_ms;
	void (*ready)(void *ctx, uint64_t features);
	void (*closed)(void *ctx, int reason, const char *message);
	void *ctx;
};

/**
 * cvmm_vhost_user_gpu_backend_create() - begin on a socket, and ask for the front-end's features
 * @fd: a connected Unix stream socket; taken, also on failure
 *
 * Return: 0; -ENOTSOCK or -EINVAL with a message for what is no such socket; -ENOMEM. Context:
 * owner of the loop. Owner: pair with cvmm_vhost_user_gpu_backend_destroy().
 */
CVMM_API int
cvmm_vhost_user_gpu_backend_create(const struct cvmm_vhost_user_gpu_backend_config *config, int fd,
				   struct cvmm_vhost_user_gpu_backend **ret_gpu,
				   struct cvmm_error *err);

/*
 * Closes the socket; runs no callbacks. Context: owner of the loop, outside of callbacks other than
 * closed(). NULL is allowed.
 */
CVMM_API void cvmm_vhost_user_gpu_backend_destroy(struct cvmm_vhost_user_gpu_backend *gpu);

/* Features in use; 0 until ready() was called. Context: owner of the loop. */
CVMM_API uint64_t
cvmm_vhost_user_gpu_backend_features(const struct cvmm_vhost_user_gpu_backend *gpu);

/*
 * What became of a request: 0; -ECONNRESET if the connection ended first; -EREMOTEIO if the
 * front-end answered that it cannot. What is pointed to is valid until the callback returns.
 */
typedef void (*cvmm_vhost_user_gpu_done_fn)(void *ctx, int error);
typedef void (*cvmm_vhost_user_gpu_display_info_fn)(
	void *ctx, int error, const struct cvmm_vhost_user_gpu_display_info *info);
typedef void (*cvmm_vhost_user_gpu_edid_fn)(void *ctx, int error, const uint8_t *edid,
					    uint32_t len_bytes);

/*
 * Requests, sent in this order. While one waits for its answer the next ones are not sent: a
 * front-end that is busy with a display need not read. Each returns 0 if it will be sent; -EINVAL
 * for numbers that cannot be; -ENOTCONN after the connection ended; -ENOBUFS if
 * CVMM_VHOST_USER_GPU_REQUESTS_MAX wait already; -EOPNOTSUPP if the front-end lacks the feature; or
 * negative errno. Context: owner of the loop. Callbacks may be NULL, and never run inside of a
 * call.
 */
CVMM_API int
cvmm_vhost_user_gpu_backend_get_display_info(struct cvmm_vhost_user_gpu_backend *gpu,
					     cvmm_vhost_user_gpu_display_info_fn answer, void *ctx);
/* Needs the feature EDID. */
CVMM_API int cvmm_vhost_user_gpu_backend_get_edid(struct cvmm_vhost_user_gpu_backend *gpu,
						  uint32_t scanout_id,
						  cvmm_vhost_user_gpu_edid_fn answer, void *ctx);
/* Positions of one display that wait behind each other become one: the last. */
CVMM_API int
cvmm_vhost_user_gpu_backend_cursor_pos(struct cvmm_vhost_user_gpu_backend *gpu,
				       const struct cvmm_vhost_user_gpu_cursor_pos *pos, bool show);
/* Copied. */
CVMM_API int
cvmm_vhost_user_gpu_backend_cursor_update(struct cvmm_vhost_user_gpu_backend *gpu,
					  const struct cvmm_vhost_user_gpu_cursor_update *update);
CVMM_API int cvmm_vhost_user_gpu_backend_scanout(struct cvmm_vhost_user_gpu_backend *gpu,
						 const struct cvmm_vhost_user_gpu_scanout *scanout);

/**
 * cvmm_vhost_user_gpu_backend_update() - send pixels of a display
 * @update: which; its pixels are as many as its width times its height
 * @pixels: the first one. They are read, and may be read piece by piece, until @done is called.
 * @stride_bytes: from row to row
 * @done: all were written to the socket
 */
CVMM_API int cvmm_vhost_user_gpu_backend_update(struct cvmm_vhost_user_gpu_backend *gpu,
						const struct cvmm_vhost_user_gpu_update *update,
						const void *pixels, size_t stride_bytes,
						cvmm_vhost_user_gpu_done_fn done, void *ctx);

/**
 * cvmm_vhost_user_gpu_backend_dmabuf_scanout() - show a buffer
 * @scanout: of which size, and which part of it
 * @modifier: DRM_FORMAT_MOD_*. Without the feature DMABUF2 only 0 (linear) and
 *            CVMM_VHOST_USER_GPU_MODIFIER_NONE.
 * @fd: stays the caller's, who may close it; -1, with a width and a height of 0, to switch the
 *      display off
 */
CVMM_API int
cvmm_vhost_user_gpu_backend_dmabuf_scanout(struct cvmm_vhost_user_gpu_backend *gpu,
					   const struct cvmm_vhost_user_gpu_dmabuf_scanout *scanout,
					   uint64_t modifier, int fd);
/* A part of the buffer is new. @done: the display has taken it over. */
CVMM_API int
cvmm_vhost_user_gpu_backend_dmabuf_update(struct cvmm_vhost_user_gpu_backend *gpu,
					  const struct cvmm_vhost_user_gpu_update *update,
					  cvmm_vhost_user_gpu_done_fn done, void *ctx);

/*
 * Nobody wants to know any more, because the device was reset: no callback of a request made so far
 * will run, and no pixels of theirs will be read; those that were promised already are sent as
 * black ones.
 */
CVMM_API void cvmm_vhost_user_gpu_backend_forget(struct cvmm_vhost_user_gpu_backend *gpu);

/* ---- the front-end: the displays' -------------------------------------------------------------- */

struct cvmm_vhost_user_gpu_frontend;

/**
 * struct cvmm_vhost_user_gpu_frontend_ops - what a front-end can show
 * @size: of this struct, for growth at its end
 * @get_display_info: fill in the first displays, which are zeroes
 * @get_edid: fill in @edid, and its length. Return: 0 or negative errno. May be NULL; with it EDID
 *            is offered.
 * @cursor: move, show or hide a cursor
 * @cursor_define: what it looks like
 * @scanout: the size of a display, or 0, 0: it is off. Its pixels will come with updates. Return:
 *           0, or negative errno: it is off then.
 * @update_begin: pixels of this region, which is in the display, will come. Return: where the first
 *                one goes; rows are *@ret_stride_bytes apart, and all of that stays until
 *                @update_end. NULL: they are not wanted.
 * @update_end: all are there, or, if not @complete, the connection ended first. Comes after each
 *              @update_begin, but not when the front-end is destroyed.
 * @dmabuf_scanout: the display is what a buffer has. @scanout is of the size that @scanout->scanout
 *                  says, and in the buffer; strides, formats and modifiers are the peer's words.
 *                  @fd is moved. Return: 0, or negative errno: it is off then. May be NULL; with it
 *                  DMABUF2 is offered.
 * @dmabuf_update: this region of the buffer, which is in the display, is new. To be answered by
 *                 cvmm_vhost_user_gpu_frontend_updated(), now or later; until then nothing else
 *                 comes.
 *
 * Those without "may be NULL" are needed, @dmabuf_update with @dmabuf_scanout. Numbers of displays
 * are in the configuration's count. Context: the loop.
 */
struct cvmm_vhost_user_gpu_frontend_ops {
	size_t size;
	void (*get_display_info)(void *ctx, struct cvmm_vhost_user_gpu_display *displays);
	int (*get_edid)(void *ctx, uint32_t scanout_id,
			uint8_t edid[CVMM_VHOST_USER_GPU_EDID_BYTES_MAX], uint32_t *ret_len_bytes);
	void (*cursor)(void *ctx, const struct cvmm_vhost_user_gpu_cursor_pos *pos, bool show);
	void (*cursor_define)(void *ctx, const struct cvmm_vhost_user_gpu_cursor_update *update);
	int (*scanout)(void *ctx, const struct cvmm_vhost_user_gpu_scanout *scanout);
	void *(*update_begin)(void *ctx, const struct cvmm_vhost_user_gpu_update *update,
			      size_t *ret_stride_bytes);
	void (*update_end)(void *ctx, const struct cvmm_vhost_user_gpu_update *update,
			   bool complete);
	int (*dmabuf_scanout)(void *ctx, const struct cvmm_vhost_user_gpu_dmabuf_scanout2 *scanout,
			      int fd);
	void (*dmabuf_update)(void *ctx, const struct cvmm_vhost_user_gpu_update *update);
};

/**
 * struct cvmm_vhost_user_gpu_frontend_config - what a front-end needs
 * @loop: where all of it happens; must outlive the front-end
 * @ops: the displays; must outlive the front-end
 * @scanout_count: displays, 1 to CVMM_VHOST_USER_GPU_SCANOUTS_MAX
 * @closed: the connection ended: 0 if the back-end closed it, or negative errno with a message. It
 *          may destroy the front-end, as no other callback may. May be NULL.
 * @ctx: for @ops and @closed
 * @log: where messages go, or NULL
 */
struct cvmm_vhost_user_gpu_frontend_config {
	struct cvmm_loop *loop;
	const struct cvmm_vhost_user_gpu_frontend_ops *ops;
	unsigned int scanout_count;
	void (*closed)(void *ctx, int reason, const char *message);
	void *ctx;
	const struct cvmm_log *log;
};

/**
 * cvmm_vhost_user_gpu_frontend_create() - begin to serve a back-end
 * @fd: a connected Unix stream socket, of whose pair the back-end has got the other one; taken,
 *      also on failure
 *
 * Return: 0; -EINVAL with a message for a configuration that cannot be; -ENOTSOCK or -EINVAL with
 * one for what is no such socket; -ENOMEM. Context: owner of the loop. Owner: pair with
 * cvmm_vhost_user_gpu_frontend_destroy().
 */
CVMM_API int
cvmm_vhost_user_gpu_frontend_create(const struct cvmm_vhost_user_gpu_frontend_config *config,
				    int fd, struct cvmm_vhost_user_gpu_frontend **ret_gpu,
				    struct cvmm_error *err);

/*
 * Closes the socket; runs no callbacks. Context: owner of the loop, outside of callbacks other than
 * closed(). NULL is allowed.
 */
CVMM_API void cvmm_vhost_user_gpu_frontend_destroy(struct cvmm_vhost_user_gpu_frontend *gpu);

/**
 * cvmm_vhost_user_gpu_frontend_updated() - the display has taken over what dmabuf_update told
 *
 * Without effect where nothing waits for it. Return: 0, or negative errno: the connection is of no
 * use any more. Context: owner of the loop.
 */
CVMM_API int cvmm_vhost_user_gpu_frontend_updated(struct cvmm_vhost_user_gpu_frontend *gpu);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_VHOST_USER_GPU_H */
