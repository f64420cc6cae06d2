// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The GPU protocol: its table, both ends together, and each end with a hostile peer. */
#include "test_vhost_user_gpu.h"

#define REPLY CVMM_VHOST_USER_FLAG_REPLY

/* ---- the table --------------------------------------------------------------------------------- */

static void the_table_has_the_requests_of_the_specification(void **state)
{
	static const struct {
		const char *name;
		uint32_t id, size, answer_size;
		bool answered;
	} rows[] = {
		{ "GET_PROTOCOL_FEATURES", 1, 0, 8, true },
		{ "SET_PROTOCOL_FEATURES", 2, 8, 0, false },
		{ "GET_DISPLAY_INFO", 3, 0, 408, true },
		{ "CURSOR_POS", 4, 12, 0, false },
		{ "CURSOR_POS_HIDE", 5, 12, 0, false },
		{ "CURSOR_UPDATE", 6, 16404, 0, false },
		{ "SCANOUT", 7, 12, 0, false },
		{ "UPDATE", 8, 20, 0, false },
		{ "DMABUF_SCANOUT", 9, 40, 0, false },
		{ "DMABUF_UPDATE", 10, 20, 0, true },
		{ "GET_EDID", 11, 4, 1056, true },
		{ "DMABUF_SCANOUT2", 12, 48, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(rows); i++) {
		const struct cvmm_vhost_user_gpu_message *row =
			cvmm_vhost_user_gpu_message_find(rows[i].id);

		assert_non_null(row);
		assert_string_equal(row->name, rows[i].name);
		assert_int_equal(cvmm_vhost_user_gpu_form_size(row->form), rows[i].size);
		assert_int_equal(row->answer != CVMM_VHOST_USER_GPU_FORM_NONE, rows[i].answered);
		assert_int_equal(cvmm_vhost_user_gpu_form_size(row->answer), rows[i].answer_size);
		assert_int_equal(row->fds_max, rows[i].id == 9 || rows[i].id == 12);
	}
	assert_int_equal(CVMM_ARRAY_SIZE(rows), CVMM_VHOST_USER_GPU_REQUEST_MAX);
	assert_null(cvmm_vhost_user_gpu_message_find(0));
	assert_null(cvmm_vhost_user_gpu_message_find(13));
	assert_null(cvmm_vhost_user_gpu_message_find(UINT32_MAX));
	assert_int_equal(cvmm_vhost_user_gpu_message_find(11)->gate, 1);
	assert_int_equal(cvmm_vhost_user_gpu_message_find(12)->gate, 2);
}

static void forms_and_features_have_names(void **state)
{
	(void)state;
	assert_string_equal(cvmm_vhost_user_gpu_feature_name(0), "EDID");
	assert_string_equal(cvmm_vhost_user_gpu_feature_name(1), "DMABUF2");
	assert_null(cvmm_vhost_user_gpu_feature_name(2));
	for (int i = 0; i < CVMM_VHOST_USER_GPU_FORM_COUNT; i++)
		assert_non_null(cvmm_vhost_user_gpu_form_name((enum cvmm_vhost_user_gpu_form)i));
	assert_null(cvmm_vhost_user_gpu_form_name(CVMM_VHOST_USER_GPU_FORM_COUNT));
	assert_int_equal(cvmm_vhost_user_gpu_form_size(CVMM_VHOST_USER_GPU_FORM_COUNT), 0);
}

static bool pixels_fit(uint32_t width, uint32_t height, uint32_t len)
{
	struct cvmm_vhost_user_gpu_update update = { .width = width, .height = height };

	return cvmm_vhost_user_gpu_payload_fits(CVMM_VHOST_USER_GPU_FORM_PIXELS, &update, len);
}

static void pixels_are_as_many_as_the_region_has(void **state)
{
	(void)state;
	assert_true(pixels_fit(3, 5, 20 + 60));
	assert_false(pixels_fit(3, 5, 20 + 64));
	assert_false(pixels_fit(3, 5, 20 + 61));
	assert_false(pixels_fit(3, 5, 20));
	assert_false(pixels_fit(0, 0, 19));
	assert_true(pixels_fit(0, UINT32_MAX, 20));
	assert_true(pixels_fit(1, (UINT32_MAX - 20) / 4, UINT32_MAX - 3));
	/* Products that are 0 or small modulo 2^32 or 2^34. */
	assert_false(pixels_fit(0x10000, 0x10000, 20));
	assert_false(pixels_fit(0x8000, 0x8000, 20));
	assert_false(pixels_fit(0x40000001, 1, 24));
	assert_false(pixels_fit(UINT32_MAX, UINT32_MAX, 24));
	assert_false(cvmm_vhost_user_gpu_payload_fits(CVMM_VHOST_USER_GPU_FORM_NONE, NULL, 0));
	assert_true(cvmm_vhost_user_gpu_payload_fits(CVMM_VHOST_USER_GPU_FORM_EMPTY, NULL, 0));
	assert_false(cvmm_vhost_user_gpu_payload_fits(CVMM_VHOST_USER_GPU_FORM_EMPTY, NULL, 1));
	assert_false(cvmm_vhost_user_gpu_payload_fits(CVMM_VHOST_USER_GPU_FORM_COUNT, NULL, 0));
}

/* ---- both ends --------------------------------------------------------------------------------- */

static void both_ends_agree_on_features(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(cvmm_vhost_user_gpu_backend_features(f->back.gpu), 0);
	assert_int_equal(cvmm_vhost_user_gpu_backend_get_edid(f->back.gpu, 0, NULL, NULL),
			 -EOPNOTSUPP);
	assert_int_equal(f->back.ready, 0);
	spin(f);
	assert_int_equal(f->back.ready, 1);
	assert_int_equal(f->back.features, 3);
	assert_int_equal(cvmm_vhost_user_gpu_backend_features(f->back.gpu), 3);
	assert_int_equal(f->front.refusals, 0);
}

static void check_info(void *ctx, int error, const struct cvmm_vhost_user_gpu_display_info *info)
{
	assert_int_equal(error, 0);
	assert_int_equal(cvmm_le32_get(info->hdr.type), 0x1101);
	assert_int_equal(cvmm_le32_get(info->displays[1].width), 641);
	assert_int_equal(cvmm_le32_get(info->displays[1].enabled), 1);
	assert_int_equal(cvmm_le32_get(info->displays[2].enabled), 0);
	done(ctx, error);
}

static void check_edid(void *ctx, int error, const uint8_t *edid, uint32_t len_bytes)
{
	assert_int_equal(error, 0);
	assert_int_equal(len_bytes, 128);
	assert_int_equal(edid[127], 128);
	done(ctx, error);
}

static void edid_failed(void *ctx, int error, const uint8_t *edid, uint32_t len_bytes)
{
	assert_null(edid);
	assert_int_equal(len_bytes, 0);
	done(ctx, error);
}

static void displays_and_edids_are_told(void **state)
{
	struct fixture *f = *state;

	/* Asked for before anything is known of the front-end. */
	assert_int_equal(
		cvmm_vhost_user_gpu_backend_get_display_info(f->back.gpu, check_info, &f->back), 0);
	spin(f);
	assert_int_equal(f->back.done, 1);
	assert_int_equal(cvmm_vhost_user_gpu_backend_get_edid(f->back.gpu, 1, check_edid, &f->back),
			 0);
	spin(f);
	assert_int_equal(f->back.done, 2);
}

static void an_edid_that_there_is_not_is_an_error_and_not_silence(void **state)
{
	struct fixture *f = *state;

	spin(f);
	assert_int_equal(
		cvmm_vhost_user_gpu_backend_get_edid(f->back.gpu, DISPLAYS, edid_failed, &f->back),
		0);
	spin(f);
	assert_int_equal(f->back.done, 1);
	assert_int_equal(f->back.error, -EREMOTEIO);
	f->front.fail = true;
	assert_int_equal(
		cvmm_vhost_user_gpu_backend_get_edid(f->back.gpu, 0, edid_failed, &f->back), 0);
	spin(f);
	assert_int_equal(f->back.done, 2);
	assert_int_equal(f->back.error, -EREMOTEIO);
	assert_int_equal(
		cvmm_vhost_user_gpu_backend_get_edid(f->back.gpu, 16, edid_failed, &f->back),
		-EINVAL);
	assert_int_equal(f->back.closed, NOT_CLOSED);
}

static void cursors_arrive_as_they_were_sent(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_cursor_update update = {
		.pos = { 1, 20, 30 },
		.hot_x = 4,
		.hot_y = 5,
	};
	struct cvmm_vhost_user_gpu_cursor_pos pos = { 1, UINT32_MAX, 7 };

	for (uint32_t i = 0; i < CVMM_ARRAY_SIZE(update.pixels); i++)
		update.pixels[i] = i * 2654435761U;
	assert_int_equal(cvmm_vhost_user_gpu_backend_cursor_update(f->back.gpu, &update), 0);
	spin(f);
	assert_int_equal(f->front.cursors, 1);
	assert_memory_equal(&f->front.cursor, &update, sizeof(update));
	assert_memory_equal(&f->front.pos, &update.pos, sizeof(update.pos));
	assert_true(f->front.shown);
	assert_int_equal(cvmm_vhost_user_gpu_backend_cursor_pos(f->back.gpu, &pos, false), 0);
	spin(f);
	assert_memory_equal(&f->front.pos, &pos, sizeof(pos));
	assert_false(f->front.shown);
	pos.scanout_id = DISPLAYS;
	assert_int_equal(cvmm_vhost_user_gpu_backend_cursor_pos(f->back.gpu, &pos, true), 0);
	spin(f);
	assert_int_equal(f->front.moves, 2);
	assert_int_equal(f->front.refusals, 1);
	pos.scanout_id = CVMM_VHOST_USER_GPU_SCANOUTS_MAX;
	assert_int_equal(cvmm_vhost_user_gpu_backend_cursor_pos(f->back.gpu, &pos, true), -EINVAL);
}

static void positions_that_wait_become_one(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 0; i < 10000; i++) {
		struct cvmm_vhost_user_gpu_cursor_pos pos = { i / 5000, i, i + 1 };

		assert_int_equal(cvmm_vhost_user_gpu_backend_cursor_pos(f->back.gpu, &pos, i % 2),
				 0);
	}
	spin(f);
	assert_int_equal(f->front.moves, 2);
	assert_int_equal(f->front.pos.scanout_id, 1);
	assert_int_equal(f->front.pos.x, 9999);
	assert_true(f->front.shown);
}

static uint32_t pixel(uint32_t x, uint32_t y)
{
	return (x + 1) * 0x10001U ^ (y + 1) * 0x9e3779b1U;
}

static uint32_t *make_picture(uint32_t width, uint32_t height, size_t stride)
{
	uint32_t *picture = calloc(stride * height, sizeof(*picture));

	assert_non_null(picture);
	for (uint32_t y = 0; y < height; y++)
		for (uint32_t x = 0; x < width; x++)
			picture[y * stride + x] = pixel(x, y);
	return picture;
}

static void switch_on(struct fixture *f, uint32_t id, uint32_t width, uint32_t height)
{
	struct cvmm_vhost_user_gpu_scanout scanout = { id, width, height };

	assert_int_equal(cvmm_vhost_user_gpu_backend_scanout(f->back.gpu, &scanout), 0);
}

/* The part of a display at @x, @y is the picture, and the rest is @rest. */
static void check_display(const struct display *d, uint32_t x, uint32_t y, uint32_t width,
			  uint32_t height, uint32_t rest)
{
	for (uint32_t row = 0; row < d->height; row++) {
		for (uint32_t column = 0; column < d->width; column++) {
			bool inside =
				row >= y && row - y < height && column >= x && column - x < width;
			uint32_t want = inside ? pixel(column - x, row - y) : rest;

			if (d->pixels[row * d->stride + column] != want)
				fail_msg("pixel %u, %u is 0x%x, not 0x%x", column, row,
					 d->pixels[row * d->stride + column], want);
		}
	}
}

static void a_picture_larger_than_any_buffer_arrives(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_update update = { 1, 0, 0, 3840, 2160 };
	uint32_t *picture = make_picture(3840, 2160, 3843);

	switch_on(f, 1, 3840, 2160);
	assert_int_equal(cvmm_vhost_user_gpu_backend_update(f->back.gpu, &update, picture, 3843 * 4,
							    done, &f->back),
			 0);
	assert_int_equal(f->back.done, 0);
	spin(f);
	assert_int_equal(f->back.done, 1);
	assert_int_equal(f->back.error, 0);
	assert_int_equal(f->front.ended, 1);
	check_display(&f->front.displays[1], 0, 0, 3840, 2160, 0);
	free(picture);
}

static void regions_go_where_they_belong(void **state)
{
	static const struct cvmm_vhost_user_gpu_update regions[] = {
		{ 0, 0, 0, 1, 1 },    { 0, 99, 49, 1, 1 },  { 0, 0, 0, 100, 50 },
		{ 0, 17, 3, 41, 11 }, { 0, 99, 0, 1, 50 },  { 0, 0, 49, 100, 1 },
		{ 0, 1, 1, 99, 49 },  { 0, 50, 25, 2, 25 },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(regions); i++) {
		const struct cvmm_vhost_user_gpu_update *u = &regions[i];
		/* With and without a gap between rows. */
		size_t stride = u->width + i % 2;
		uint32_t *picture = make_picture(u->width, u->height, stride);

		switch_on(f, 0, 100, 50);
		assert_int_equal(cvmm_vhost_user_gpu_backend_update(f->back.gpu, u, picture,
								    stride * 4, done, &f->back),
				 0);
		spin(f);
		assert_int_equal(f->back.done, i + 1);
		check_display(&f->front.displays[0], u->x, u->y, u->width, u->height, 0);
		free(picture);
	}
	assert_int_equal(f->front.refusals, 0);
}

static void what_of_a_region_is_outside_of_the_display_is_cut_off(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_update update = { 0, 10, 20, 200, 100 };
	uint32_t *picture = make_picture(200, 100, 200);

	switch_on(f, 0, 100, 50);
	assert_int_equal(cvmm_vhost_user_gpu_backend_update(f->back.gpu, &update, picture, 200 * 4,
							    done, &f->back),
			 0);
	spin(f);
	check_display(&f->front.displays[0], 10, 20, 90, 30, 0);
	assert_int_equal(f->front.region.width, 90);
	assert_int_equal(f->front.region.height, 30);
	/* No larger than the display, and not on it as a whole. */
	switch_on(f, 0, 250, 110);
	update.x = 60;
	update.y = 100;
	assert_int_equal(cvmm_vhost_user_gpu_backend_update(f->back.gpu, &update, picture, 200 * 4,
							    done, &f->back),
			 0);
	spin(f);
	check_display(&f->front.displays[0], 60, 100, 190, 10, 0);
	switch_on(f, 0, 100, 50);
	update.y = 20;
	/* Outside altogether: refused, and what comes next is not. */
	update.x = 100;
	assert_int_equal(cvmm_vhost_user_gpu_backend_update(f->back.gpu, &update, picture, 200 * 4,
							    done, &f->back),
			 0);
	update.x = 0;
	update.scanout_id = 1;
	assert_int_equal(cvmm_vhost_user_gpu_backend_update(f->back.gpu, &update, picture, 200 * 4,
							    done, &f->back),
			 0);
	update.scanout_id = 5;
	assert_int_equal(cvmm_vhost_user_gpu_backend_update(f->back.gpu, &update, picture, 200 * 4,
							    done, &f->back),
			 0);
	spin(f);
	assert_int_equal(f->front.refusals, 3);
	assert_int_equal(f->front.begun, 2);
	update = (struct cvmm_vhost_user_gpu_update){ 0, 0, 0, 100, 50 };
	assert_int_equal(cvmm_vhost_user_gpu_backend_update(f->back.gpu, &update, picture, 200 * 4,
							    done, &f->back),
			 0);
	spin(f);
	check_display(&f->front.displays[0], 0, 0, 100, 50, 0);
	assert_int_equal(f->back.done, 6);
	assert_int_equal(f->front.closed, NOT_CLOSED);
	free(picture);
}

static void pixels_that_nobody_wants_are_read_and_dropped(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_update update = { 0, 0, 0, 1000, 500 };
	uint32_t *picture = make_picture(1000, 500, 1000);

	f->front.unwanted = true;
	switch_on(f, 0, 1000, 500);
	assert_int_equal(cvmm_vhost_user_gpu_backend_update(f->back.gpu, &update, picture, 4000,
							    done, &f->back),
			 0);
	spin(f);
	assert_int_equal(f->front.ended, 1);
	assert_int_equal(f->front.cut_off, 0);
	assert_int_equal(f->front.displays[0].pixels[0], 0);
	free(picture);
}

static bool same_file(int a, int b)
{
	struct stat sa, sb;

	return !fstat(a, &sa) && !fstat(b, &sb) && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

static void buffers_are_passed_and_their_updates_answered(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_dmabuf_scanout buffer = {
		.scanout_id = 1,
		.x = 4,
		.y = 8,
		.width = 60,
		.height = 40,
		.fd_width = 64,
		.fd_height = 48,
		.fd_stride = 256,
		.fd_flags = CVMM_VHOST_USER_GPU_DMABUF_Y_0_TOP,
		.fd_fourcc = 0x34325258,
	};
	struct cvmm_vhost_user_gpu_update update = { 1, 1, 2, 3, 4 };
	const struct cvmm_vhost_user_gpu_dmabuf_scanout2 *got = &f->front.displays[1].buffer_info;
	int pipe_fds[2];

	assert_int_equal(pipe(pipe_fds), 0);
	spin(f);
	assert_int_equal(
		cvmm_vhost_user_gpu_backend_dmabuf_scanout(f->back.gpu, &buffer, 77, pipe_fds[0]),
		0);
	assert_int_equal(
		cvmm_vhost_user_gpu_backend_dmabuf_update(f->back.gpu, &update, done, &f->back), 0);
	f->front.later = true;
	spin(f);
	assert_true(same_file(f->front.displays[1].buffer, pipe_fds[0]));
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	assert_memory_equal(&got->scanout, &buffer, sizeof(buffer));
	assert_int_equal(got->modifier, 77);
	assert_int_equal(f->front.buffer_updates, 1);
	assert_memory_equal(&f->front.region, &update, sizeof(update));
	assert_int_equal(f->back.done, 0);
	assert_int_equal(cvmm_vhost_user_gpu_frontend_updated(f->front.gpu), 0);
	assert_int_equal(cvmm_vhost_user_gpu_frontend_updated(f->front.gpu), 0);
	spin(f);
	assert_int_equal(f->back.done, 1);
	assert_int_equal(f->back.error, 0);
	/* Off. */
	buffer = (struct cvmm_vhost_user_gpu_dmabuf_scanout){ .scanout_id = 1 };
	assert_int_equal(cvmm_vhost_user_gpu_backend_dmabuf_scanout(f->back.gpu, &buffer, 0, -1),
			 0);
	spin(f);
	assert_int_equal(f->front.displays[1].buffer, -1);
	assert_int_equal(f->front.refusals, 0);
}

static void nothing_else_comes_while_a_display_is_busy(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_dmabuf_scanout buffer = {
		.width = 6, .height = 4, .fd_width = 6, .fd_height = 4
	};
	struct cvmm_vhost_user_gpu_update update = { 0, 0, 0, 1, 1 };
	struct cvmm_vhost_user_gpu_cursor_pos pos = { 0, 1, 2 };

	f->front.later = true;
	spin(f);
	assert_int_equal(cvmm_vhost_user_gpu_backend_dmabuf_scanout(f->back.gpu, &buffer, 0, 0), 0);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(cvmm_vhost_user_gpu_backend_dmabuf_update(f->back.gpu, &update,
									   done, &f->back),
				 0);
	assert_int_equal(cvmm_vhost_user_gpu_backend_cursor_pos(f->back.gpu, &pos, true), 0);
	for (unsigned int i = 1; i <= 3; i++) {
		spin(f);
		assert_int_equal(f->front.buffer_updates, i);
		assert_int_equal(f->back.done, i - 1);
		assert_int_equal(f->front.moves, 0);
		assert_int_equal(cvmm_vhost_user_gpu_frontend_updated(f->front.gpu), 0);
	}
	spin(f);
	assert_int_equal(f->back.done, 3);
	assert_int_equal(f->front.moves, 1);
}

static void a_region_that_is_not_on_the_buffer_means_all_of_it(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_dmabuf_scanout buffer = {
		.width = 6, .height = 4, .fd_width = 6, .fd_height = 4
	};
	struct cvmm_vhost_user_gpu_update update = { 0, 6, 0, 6, 4 };

	spin(f);
	assert_int_equal(cvmm_vhost_user_gpu_backend_dmabuf_scanout(f->back.gpu, &buffer, 0, 0), 0);
	assert_int_equal(
		cvmm_vhost_user_gpu_backend_dmabuf_update(f->back.gpu, &update, done, &f->back), 0);
	spin(f);
	assert_int_equal(f->back.done, 1);
	update.x = 0;
	assert_memory_equal(&f->front.region, &update, sizeof(update));
	/* No buffer there: answered, and refused. */
	update.scanout_id = 1;
	assert_int_equal(
		cvmm_vhost_user_gpu_backend_dmabuf_update(f->back.gpu, &update, done, &f->back), 0);
	update.scanout_id = 7;
	assert_int_equal(
		cvmm_vhost_user_gpu_backend_dmabuf_update(f->back.gpu, &update, done, &f->back), 0);
	spin(f);
	assert_int_equal(f->back.done, 3);
	assert_int_equal(f->front.buffer_updates, 1);
	assert_int_equal(f->front.refusals, 2);
}

static void numbers_that_cannot_be_are_not_sent(void **state)
{
	struct fixture *f = *state;
	static const uint32_t sizes[][2] = { { 0, 1 }, { 1, 0 }, { 16385, 1 }, { 1, 16385 } };
	static const struct cvmm_vhost_user_gpu_update regions[] = {
		{ 16, 0, 0, 1, 1 },	    { 0, 0, 0, 0, 1 },	   { 0, 0, 0, 1, 0 },
		{ 0, 16384, 0, 1, 1 },	    { 0, 0, 16384, 1, 1 }, { 0, UINT32_MAX, 0, 2, 2 },
		{ 0, 0, UINT32_MAX, 2, 2 }, { 0, 0, 0, 16385, 1 },
	};
	struct cvmm_vhost_user_gpu_dmabuf_scanout buffer = {
		.width = 2, .height = 2, .fd_width = 2, .fd_height = 2
	};
	uint32_t picture = 0;

	spin(f);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(sizes); i++) {
		struct cvmm_vhost_user_gpu_scanout scanout = { 0, sizes[i][0], sizes[i][1] };

		assert_int_equal(cvmm_vhost_user_gpu_backend_scanout(f->back.gpu, &scanout),
				 -EINVAL);
	}
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(regions); i++) {
		assert_int_equal(cvmm_vhost_user_gpu_backend_update(f->back.gpu, &regions[i],
								    &picture, 1 << 20, NULL, NULL),
				 -EINVAL);
		assert_int_equal(cvmm_vhost_user_gpu_backend_dmabuf_update(f->back.gpu, &regions[i],
									   NULL, NULL),
				 -EINVAL);
	}
	assert_int_equal(cvmm_vhost_user_gpu_backend_update(
				 f->back.gpu, &(struct cvmm_vhost_user_gpu_update){ 0, 0, 0, 2, 2 },
				 &picture, 7, NULL, NULL),
			 -EINVAL);
	assert_int_equal(cvmm_vhost_user_gpu_backend_dmabuf_scanout(f->back.gpu, &buffer, 0, -1),
			 -EINVAL);
	buffer.x = 1;
	assert_int_equal(cvmm_vhost_user_gpu_backend_dmabuf_scanout(f->back.gpu, &buffer, 0, 0),
			 -EINVAL);
	buffer = (struct cvmm_vhost_user_gpu_dmabuf_scanout){ 0 };
	assert_int_equal(cvmm_vhost_user_gpu_backend_dmabuf_scanout(f->back.gpu, &buffer, 0, 0),
			 -EINVAL);
	spin(f);
	assert_int_equal(f->front.refusals, 0);
}

static void a_display_that_fails_is_off(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_dmabuf_scanout buffer = {
		.width = 2, .height = 2, .fd_width = 2, .fd_height = 2
	};
	struct cvmm_vhost_user_gpu_update update = { 0, 0, 0, 1, 1 };
	uint32_t picture = 0;

	f->front.fail = true;
	spin(f);
	switch_on(f, 0, 10, 10);
	assert_int_equal(cvmm_vhost_user_gpu_backend_update(f->back.gpu, &update, &picture, 4, done,
							    &f->back),
			 0);
	assert_int_equal(cvmm_vhost_user_gpu_backend_dmabuf_scanout(f->back.gpu, &buffer, 0, 0), 0);
	assert_int_equal(
		cvmm_vhost_user_gpu_backend_dmabuf_update(f->back.gpu, &update, done, &f->back), 0);
	spin(f);
	assert_int_equal(f->front.begun, 0);
	assert_int_equal(f->front.buffer_updates, 0);
	assert_int_equal(f->front.refusals, 4);
	assert_int_equal(f->back.done, 2);
	assert_int_equal(f->front.closed, NOT_CLOSED);
}

static void an_end_that_goes_is_told_to_the_other(void **state)
{
	struct fixture *f = *state;

	spin(f);
	cvmm_vhost_user_gpu_backend_destroy(f->back.gpu);
	f->back.gpu = NULL;
	spin(f);
	assert_int_equal(f->front.closed, 0);
	assert_int_equal(cvmm_vhost_user_gpu_frontend_updated(f->front.gpu), 0);
}

static void requests_that_wait_are_told_of_the_end(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_update update = { 0, 0, 0, 1, 1 };
	uint32_t picture = 0;

	spin(f);
	assert_int_equal(
		cvmm_vhost_user_gpu_backend_get_edid(f->back.gpu, 0, edid_failed, &f->back), 0);
	assert_int_equal(cvmm_vhost_user_gpu_backend_update(f->back.gpu, &update, &picture, 4, done,
							    &f->back),
			 0);
	cvmm_vhost_user_gpu_frontend_destroy(f->front.gpu);
	f->front.gpu = NULL;
	f->back.destroy = true;
	spin(f);
	assert_int_equal(f->back.done, 2);
	assert_int_equal(f->back.error, -ECONNRESET);
	assert_int_equal(f->back.closed, -ECONNRESET);
	assert_null(f->back.gpu);
}

static void calls_after_the_end_are_refused(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_cursor_pos pos = { 0 };
	struct cvmm_vhost_user_gpu_update update = { 0, 0, 0, 1, 1 };

	spin(f);
	cvmm_vhost_user_gpu_frontend_destroy(f->front.gpu);
	f->front.gpu = NULL;
	spin(f);
	assert_int_equal(f->back.closed, 0);
	assert_int_equal(cvmm_vhost_user_gpu_backend_cursor_pos(f->back.gpu, &pos, true),
			 -ENOTCONN);
	assert_int_equal(
		cvmm_vhost_user_gpu_backend_update(f->back.gpu, &update, &pos, 4, done, &f->back),
		-ENOTCONN);
	assert_int_equal(cvmm_vhost_user_gpu_backend_get_display_info(f->back.gpu, NULL, NULL),
			 -ENOTCONN);
	cvmm_vhost_user_gpu_backend_forget(f->back.gpu);
}

/* ---- the front-end and a hostile peer ---------------------------------------------------------- */

static void requests_that_come_byte_by_byte_are_handled(void **state)
{
	struct fixture *f = *state;
	struct {
		struct cvmm_vhost_user_header header;
		struct cvmm_vhost_user_gpu_update update;
		uint32_t pixels[6];
	} message = { { CVMM_VHOST_USER_GPU_UPDATE, 0, 44 }, { 0, 1, 1, 3, 2 }, { 0 } };
	struct cvmm_vhost_user_gpu_scanout scanout = { 0, 10, 10 };

	for (uint32_t i = 0; i < 6; i++)
		message.pixels[i] = pixel(i % 3, i / 3);
	send_request(f, CVMM_VHOST_USER_GPU_SCANOUT, &scanout, sizeof(scanout));
	for (size_t i = 0; i < sizeof(message); i++) {
		spin(f);
		assert_int_equal(f->front.ended, 0);
		send_with_fds(f->peer, (uint8_t *)&message + i, 1, NULL, 0);
	}
	spin(f);
	assert_int_equal(f->front.ended, 1);
	check_display(&f->front.displays[0], 1, 1, 3, 2, 0);
}

static void what_is_no_request_ends_the_connection(void **state)
{
	static const struct {
		uint32_t request, flags, size;
	} bad[] = {
		{ 0, 0, 0 },  { 13, 0, 0 },	    { UINT32_MAX, 0, 0 }, { 1, REPLY, 0 },
		{ 1, 1, 0 },  { 1, 0, 8 },	    { 2, 0, 0 },	  { 2, 0, 9 },
		{ 4, 0, 11 }, { 4, 0, UINT32_MAX }, { 6, 0, 20 },	  { 6, 0, 16405 },
		{ 8, 0, 0 },  { 8, 0, 19 },	    { 10, 0, 24 },	  { 12, 0, 40 },
		{ 11, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		struct fixture *f;
		void *own;

		set_up_front(&own);
		f = own;
		send_raw(f, bad[i].request, bad[i].flags, bad[i].size, NULL, 0, NULL, 0);
		spin(f);
		assert_int_equal(f->front.closed, -EPROTO);
		assert_true(f->front.message[0]);
		tear_down(&own);
	}
}

static void an_update_whose_size_is_not_that_of_its_pixels_ends_the_connection(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_scanout scanout = { 0, 16384, 16384 };
	struct cvmm_vhost_user_gpu_update update = { 0, 0, 0, 0x10000, 0x10000 };

	send_request(f, CVMM_VHOST_USER_GPU_SCANOUT, &scanout, sizeof(scanout));
	send_request(f, CVMM_VHOST_USER_GPU_UPDATE, &update, sizeof(update));
	spin(f);
	assert_int_equal(f->front.closed, -EPROTO);
	assert_int_equal(f->front.begun, 0);
}

static void gigabytes_that_are_promised_cost_nothing(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_update update = { 9, 0, 0, 0x3ffffffa, 1 };
	uint8_t junk[4096] = { 0 };

	send_raw(f, CVMM_VHOST_USER_GPU_UPDATE, 0, 20 + 4 * 0x3ffffffaU, &update, sizeof(update),
		 NULL, 0);
	for (unsigned int i = 0; i < 1000; i++) {
		send_with_fds(f->peer, junk, sizeof(junk), NULL, 0);
		spin(f);
	}
	assert_int_equal(f->front.closed, NOT_CLOSED);
	assert_int_equal(f->front.refusals, 1);
	cvmm_close_fd(&f->peer);
	spin(f);
	assert_int_equal(f->front.closed, -ECONNRESET);
}

static void an_update_that_is_cut_off_is_told(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_scanout scanout = { 0, 100, 100 };
	struct cvmm_vhost_user_gpu_update update = { 0, 0, 0, 100, 100 };

	send_request(f, CVMM_VHOST_USER_GPU_SCANOUT, &scanout, sizeof(scanout));
	send_raw(f, CVMM_VHOST_USER_GPU_UPDATE, 0, 20 + 40000, &update, sizeof(update), NULL, 0);
	spin(f);
	assert_int_equal(f->front.begun, 1);
	cvmm_close_fd(&f->peer);
	spin(f);
	assert_int_equal(f->front.ended, 1);
	assert_int_equal(f->front.cut_off, 1);
	assert_int_equal(f->front.closed, -ECONNRESET);
	assert_non_null(strstr(f->front.message, "middle"));
}

static void sizes_that_cannot_be_switch_the_display_off(void **state)
{
	static const uint32_t sizes[][2] = {
		{ UINT32_MAX, UINT32_MAX }, { 16385, 1 }, { 1, 16385 }, { 0, 1 }, { 1, 0 }
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(sizes); i++) {
		struct cvmm_vhost_user_gpu_scanout on = { 1, 10, 10 };
		struct cvmm_vhost_user_gpu_scanout bad = { 1, sizes[i][0], sizes[i][1] };

		send_request(f, CVMM_VHOST_USER_GPU_SCANOUT, &on, sizeof(on));
		spin(f);
		assert_int_equal(f->front.displays[1].width, 10);
		send_request(f, CVMM_VHOST_USER_GPU_SCANOUT, &bad, sizeof(bad));
		spin(f);
		assert_int_equal(f->front.displays[1].width, 0);
		assert_int_equal(f->front.refusals, i + 1);
	}
	assert_int_equal(f->front.closed, NOT_CLOSED);
}

static void buffers_that_cannot_be_switch_the_display_off(void **state)
{
	static const struct cvmm_vhost_user_gpu_dmabuf_scanout bad[] = {
		{ .width = 8, .height = 8, .fd_width = 7, .fd_height = 8 },
		{ .width = 8, .height = 8, .fd_width = 8, .fd_height = 7 },
		{ .x = UINT32_MAX, .width = 8, .height = 8, .fd_width = 8, .fd_height = 8 },
		{ .y = UINT32_MAX - 7, .width = 8, .height = 8, .fd_width = 8, .fd_height = 8 },
		{ .width = 0, .height = 8, .fd_width = 8, .fd_height = 8 },
		{ .width = 0, .height = 0, .fd_width = 8, .fd_height = 8 },
		{ .width = 16385, .height = 8, .fd_width = 20000, .fd_height = 8 },
	};
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_dmabuf_scanout good = {
		.width = 8, .height = 8, .fd_width = 8, .fd_height = 8
	};
	int fd = 0;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		send_raw(f, CVMM_VHOST_USER_GPU_DMABUF_SCANOUT, 0, 40, &good, 40, &fd, 1);
		spin(f);
		assert_int_equal(f->front.displays[0].width, 8);
		assert_true(f->front.displays[0].buffer >= 0);
		send_raw(f, CVMM_VHOST_USER_GPU_DMABUF_SCANOUT, 0, 40, &bad[i], 40, &fd, 1);
		spin(f);
		assert_int_equal(f->front.displays[0].buffer, -1);
		assert_int_equal(f->front.refusals, i + 1);
	}
	/* One that has a size, and no descriptor. */
	send_raw(f, CVMM_VHOST_USER_GPU_DMABUF_SCANOUT, 0, 40, &good, 40, NULL, 0);
	good.scanout_id = 99;
	send_raw(f, CVMM_VHOST_USER_GPU_DMABUF_SCANOUT, 0, 40, &good, 40, &fd, 1);
	spin(f);
	assert_int_equal(f->front.refusals, CVMM_ARRAY_SIZE(bad) + 2);
	assert_int_equal(f->front.closed, NOT_CLOSED);
}

static void a_modifier_that_was_not_sent_is_none(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_dmabuf_scanout2 buffer = {
		{ .width = 8, .height = 8, .fd_width = 8, .fd_height = 8 }, 0x0123456789abcdef
	};
	int fd = 0;

	send_raw(f, CVMM_VHOST_USER_GPU_DMABUF_SCANOUT, 0, 40, &buffer, 40, &fd, 1);
	spin(f);
	assert_int_equal(f->front.displays[0].buffer_info.modifier,
			 CVMM_VHOST_USER_GPU_MODIFIER_NONE);
	/* Nobody has set the feature: known back-ends never do. */
	send_raw(f, CVMM_VHOST_USER_GPU_DMABUF_SCANOUT2, 0, 48, &buffer, 48, &fd, 1);
	spin(f);
	assert_int_equal(f->front.displays[0].buffer_info.modifier, buffer.modifier);
}

static void descriptors_come_with_buffers_only(void **state)
{
	static const struct {
		uint32_t request, size;
		size_t fds;
	} bad[] = { { 1, 0, 1 }, { 4, 12, 1 }, { 8, 20, 1 }, { 9, 40, 2 }, { 12, 48, 8 } };

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		static const uint8_t payload[64];
		static const int fds[8];
		struct fixture *f;
		void *own;

		set_up_front(&own);
		f = own;
		send_raw(f, bad[i].request, 0, bad[i].size, payload, bad[i].size, fds, bad[i].fds);
		spin(f);
		assert_int_equal(f->front.closed, -EPROTO);
		tear_down(&own);
	}
}

static void descriptors_behind_the_header_end_the_connection(void **state)
{
	static const struct cvmm_vhost_user_gpu_dmabuf_scanout buffer = {
		.width = 8, .height = 8, .fd_width = 8, .fd_height = 8
	};
	static const struct cvmm_vhost_user_header header = { CVMM_VHOST_USER_GPU_DMABUF_SCANOUT, 0,
							      sizeof(buffer) };
	int fd = 0;

	(void)state;
	for (size_t at = sizeof(header); at < sizeof(header) + sizeof(buffer); at++) {
		uint8_t bytes[sizeof(header) + sizeof(buffer)];
		struct fixture *f;
		void *own;

		memcpy(bytes, &header, sizeof(header));
		memcpy(bytes + sizeof(header), &buffer, sizeof(buffer));
		set_up_front(&own);
		f = own;
		send_with_fds(f->peer, bytes, at, NULL, 0);
		send_with_fds(f->peer, bytes + at, sizeof(bytes) - at, &fd, 1);
		spin(f);
		assert_int_equal(f->front.closed, -EPROTO);
		tear_down(&own);
	}
}

static void descriptors_among_pixels_end_the_connection(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_scanout scanout = { 0, 100, 100 };
	struct cvmm_vhost_user_gpu_update update = { 0, 0, 0, 100, 100 };
	int fd = 0;

	send_request(f, CVMM_VHOST_USER_GPU_SCANOUT, &scanout, sizeof(scanout));
	send_raw(f, CVMM_VHOST_USER_GPU_UPDATE, 0, 20 + 40000, &update, sizeof(update), NULL, 0);
	spin(f);
	send_with_fds(f->peer, "pixels", 6, &fd, 1);
	spin(f);
	assert_int_equal(f->front.closed, -EPROTO);
	assert_int_equal(f->front.cut_off, 1);
}

static void requests_of_features_that_are_not_there_end_the_connection(void **state)
{
	struct cvmm_vhost_user_gpu_frontend_ops few = all_ops;
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_dmabuf_scanout buffer = {
		.width = 8, .height = 8, .fd_width = 8, .fd_height = 8
	};
	uint64_t features = 3;
	uint32_t id = 0;
	int fds[2], fd = 0;

	few.get_edid = NULL;
	few.dmabuf_scanout = NULL;
	few.dmabuf_update = NULL;
	cvmm_vhost_user_gpu_frontend_destroy(f->front.gpu);
	cvmm_close_fd(&f->peer);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	make_front(f, &few, fds[0]);
	f->peer = fds[1];
	send_request(f, CVMM_VHOST_USER_GPU_GET_PROTOCOL_FEATURES, NULL, 0);
	expect_message(f, CVMM_VHOST_USER_GPU_GET_PROTOCOL_FEATURES, REPLY, &features, 8);
	assert_int_equal(features, 0);
	features = 1;
	send_request(f, CVMM_VHOST_USER_GPU_SET_PROTOCOL_FEATURES, &features, 8);
	/* The older form needs no feature. */
	send_raw(f, CVMM_VHOST_USER_GPU_DMABUF_SCANOUT, 0, 40, &buffer, 40, &fd, 1);
	spin(f);
	assert_int_equal(f->front.refusals, 2);
	assert_int_equal(f->front.closed, NOT_CLOSED);
	send_request(f, CVMM_VHOST_USER_GPU_GET_EDID, &id, 4);
	spin(f);
	assert_int_equal(f->front.closed, -EPROTO);
	assert_non_null(strstr(f->front.message, "EDID was not offered"));
}

static void a_peer_that_asks_and_does_not_read_waits(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_display_info info;
	struct cvmm_vhost_user_header header = { CVMM_VHOST_USER_GPU_GET_DISPLAY_INFO, 0, 0 };
	unsigned int asked = 0, quiet = 0;

	/* Until neither side takes anything. */
	while (quiet < 2) {
		bool sent = false;

		while (send(f->peer, &header, sizeof(header), MSG_DONTWAIT) ==
		       (ssize_t)sizeof(header)) {
			asked++;
			sent = true;
		}
		spin(f);
		quiet = sent ? 0 : quiet + 1;
		assert_true(asked < 1000000);
	}
	for (unsigned int i = 0; i < asked; i++)
		expect_message(f, CVMM_VHOST_USER_GPU_GET_DISPLAY_INFO, REPLY, &info, sizeof(info));
	assert_int_equal(pending(f->peer), 0);
}

static void a_peer_that_goes_while_the_display_is_busy_is_noticed_later(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_dmabuf_scanout buffer = {
		.width = 8, .height = 8, .fd_width = 8, .fd_height = 8
	};
	struct cvmm_vhost_user_gpu_update update = { 0, 0, 0, 8, 8 };
	int fd = 0;

	f->front.later = true;
	send_raw(f, CVMM_VHOST_USER_GPU_DMABUF_SCANOUT, 0, 40, &buffer, 40, &fd, 1);
	send_request(f, CVMM_VHOST_USER_GPU_DMABUF_UPDATE, &update, sizeof(update));
	spin(f);
	cvmm_close_fd(&f->peer);
	spin(f);
	assert_int_equal(f->front.buffer_updates, 1);
	assert_int_equal(f->front.closed, NOT_CLOSED);
	assert_int_equal(cvmm_vhost_user_gpu_frontend_updated(f->front.gpu), 0);
	spin(f);
	assert_int_equal(f->front.closed, -ECONNRESET);
}

static void a_peer_that_does_not_wait_for_the_display_is_not_read(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_dmabuf_scanout buffer = {
		.width = 8, .height = 8, .fd_width = 8, .fd_height = 8
	};
	struct cvmm_vhost_user_gpu_update update = { 0, 0, 0, 8, 8 };
	int fd = 0;

	f->front.later = true;
	send_raw(f, CVMM_VHOST_USER_GPU_DMABUF_SCANOUT, 0, 40, &buffer, 40, &fd, 1);
	send_request(f, CVMM_VHOST_USER_GPU_DMABUF_UPDATE, &update, sizeof(update));
	send_request(f, CVMM_VHOST_USER_GPU_DMABUF_UPDATE, &update, sizeof(update));
	spin(f);
	assert_int_equal(f->front.buffer_updates, 1);
	assert_int_equal(pending(f->peer), 0);
	assert_int_equal(cvmm_vhost_user_gpu_frontend_updated(f->front.gpu), 0);
	expect_message(f, CVMM_VHOST_USER_GPU_DMABUF_UPDATE, REPLY, NULL, 0);
	assert_int_equal(f->front.buffer_updates, 2);
	assert_int_equal(pending(f->peer), 0);
}

static void pixels_for_a_display_that_shows_a_buffer_are_refused(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_dmabuf_scanout buffer = {
		.width = 8, .height = 8, .fd_width = 8, .fd_height = 8
	};
	struct {
		struct cvmm_vhost_user_gpu_update update;
		uint32_t pixel;
	} update = { { 0, 0, 0, 1, 1 }, 0 };
	int fd = 0;

	send_raw(f, CVMM_VHOST_USER_GPU_DMABUF_SCANOUT, 0, 40, &buffer, 40, &fd, 1);
	send_request(f, CVMM_VHOST_USER_GPU_UPDATE, &update, sizeof(update));
	spin(f);
	assert_int_equal(f->front.begun, 0);
	assert_int_equal(f->front.refusals, 1);
	assert_int_equal(f->front.closed, NOT_CLOSED);
}

static void ends_that_cannot_be_are_refused(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_frontend_ops few = all_ops;
	struct cvmm_vhost_user_gpu_frontend_config config = { .loop = f->loop,
							      .ops = &few,
							      .scanout_count = 1 };
	struct cvmm_vhost_user_gpu_frontend *gpu;
	struct cvmm_vhost_user_gpu_backend *back;
	struct cvmm_error err = { 0 };
	int before = open_fds();

	few.update_end = NULL;
	assert_int_equal(cvmm_vhost_user_gpu_frontend_create(&config, dup(f->peer), &gpu, &err),
			 -EINVAL);
	assert_true(err.message[0]);
	few = all_ops;
	config.scanout_count = 17;
	assert_int_equal(cvmm_vhost_user_gpu_frontend_create(&config, dup(f->peer), &gpu, &err),
			 -EINVAL);
	config.scanout_count = 0;
	assert_int_equal(cvmm_vhost_user_gpu_frontend_create(&config, dup(f->peer), &gpu, &err),
			 -EINVAL);
	config.scanout_count = 1;
	assert_int_equal(
		cvmm_vhost_user_gpu_frontend_create(&config, open("/dev/null", O_RDWR), &gpu, &err),
		-ENOTSOCK);
	assert_int_equal(cvmm_vhost_user_gpu_backend_create(
				 &(struct cvmm_vhost_user_gpu_backend_config){ .loop = f->loop },
				 open("/dev/null", O_RDWR), &back, &err),
			 -ENOTSOCK);
	assert_int_equal(open_fds(), before);
}

/* ---- the back-end and a hostile peer ----------------------------------------------------------- */

/* Answer what every back-end begins with. */
static void negotiate(struct fixture *f, uint64_t offer, uint64_t want)
{
	uint64_t features;

	expect_message(f, CVMM_VHOST_USER_GPU_GET_PROTOCOL_FEATURES, 0, NULL, 0);
	send_answer(f, CVMM_VHOST_USER_GPU_GET_PROTOCOL_FEATURES, &offer, sizeof(offer));
	expect_message(f, CVMM_VHOST_USER_GPU_SET_PROTOCOL_FEATURES, 0, &features, 8);
	assert_int_equal(features, want);
}

static void only_known_features_are_set_and_before_anything_else(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_cursor_pos pos = { 0, 1, 2 }, got;

	assert_int_equal(cvmm_vhost_user_gpu_backend_cursor_pos(f->back.gpu, &pos, true), 0);
	negotiate(f, UINT64_MAX - 1, CVMM_VHOST_USER_GPU_FEATURE(DMABUF2));
	expect_message(f, CVMM_VHOST_USER_GPU_CURSOR_POS, 0, &got, sizeof(got));
	assert_memory_equal(&got, &pos, sizeof(pos));
	assert_int_equal(cvmm_vhost_user_gpu_backend_get_edid(f->back.gpu, 0, NULL, NULL),
			 -EOPNOTSUPP);
}

static void features_that_nobody_wants_are_not_set(void **state)
{
	struct fixture *f = *state;

	change_back(f, CVMM_VHOST_USER_GPU_FEATURE(EDID), 0);
	negotiate(f, UINT64_MAX, CVMM_VHOST_USER_GPU_FEATURE(EDID));
	change_back(f, UINT64_MAX, 0);
	negotiate(f, UINT64_MAX, CVMM_VHOST_USER_GPU_FEATURES_ALL);
}

static void requests_made_when_ready_come_behind_the_features(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_cursor_pos pos;

	f->back.move_when_ready = true;
	negotiate(f, 0, 0);
	expect_message(f, CVMM_VHOST_USER_GPU_CURSOR_POS, 0, &pos, sizeof(pos));
}

static void modifiers_need_their_feature(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_dmabuf_scanout got,
		buffer = { .width = 8, .height = 8, .fd_width = 8, .fd_height = 8 };

	negotiate(f, 0, 0);
	assert_int_equal(cvmm_vhost_user_gpu_backend_dmabuf_scanout(f->back.gpu, &buffer, 5, 0),
			 -EOPNOTSUPP);
	assert_int_equal(cvmm_vhost_user_gpu_backend_dmabuf_scanout(f->back.gpu, &buffer, 0, 0), 0);
	expect_message(f, CVMM_VHOST_USER_GPU_DMABUF_SCANOUT, 0, &got, sizeof(got));
	assert_memory_equal(&got, &buffer, sizeof(got));
}

static void descriptors_go_with_the_first_byte_once(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_dmabuf_scanout buffer = {
		.width = 8, .height = 8, .fd_width = 8, .fd_height = 8
	};
	struct cvmm_vhost_user_gpu_update update = { 0, 0, 0, 1024, 1024 };
	uint32_t *picture = make_picture(1024, 1024, 1024);
	struct cvmm_vhost_user_conn *reader;
	struct cvmm_vhost_user_msg *msg;
	uint8_t bytes[4096];
	size_t left = 1024 * 1024 * 4 + 20;
	int fd = dup(0), before;

	negotiate(f, 0, 0);
	before = open_fds();
	/* The first one fills the socket; the other one waits with its descriptor. */
	assert_int_equal(
		cvmm_vhost_user_gpu_backend_update(f->back.gpu, &update, picture, 4096, NULL, NULL),
		0);
	assert_int_equal(cvmm_vhost_user_gpu_backend_dmabuf_scanout(f->back.gpu, &buffer, 0, fd),
			 0);
	close(fd);
	spin(f);
	for (left += 12; left;) {
		size_t len = left < sizeof(bytes) ? left : sizeof(bytes);
		ssize_t n = recv(f->peer, bytes, len, MSG_DONTWAIT);

		assert_true(n > 0);
		left -= (size_t)n;
		spin(f);
	}
	assert_int_equal(cvmm_vhost_user_conn_create(dup(f->peer), &reader, NULL), 0);
	/* Its version is not vhost-user's, but what came with it is to be seen. */
	assert_int_equal(cvmm_vhost_user_conn_receive(reader, &msg, NULL), -EPROTO);
	/* fd was closed, and the duplicate went: one came in, and one is the reader's. */
	assert_int_equal(open_fds(), before - 1 + 2);
	cvmm_vhost_user_conn_destroy(reader);
	assert_int_equal(open_fds(), before - 1);
	free(picture);
}

static void what_is_no_answer_ends_the_connection(void **state)
{
	static const struct {
		uint32_t request, flags, size;
	} bad[] = {
		{ 1, 0, 8 },
		{ 1, REPLY | 1, 8 },
		{ 3, REPLY, 408 },
		{ 1, REPLY, 0 },
		{ 1, REPLY, 4 },
		{ 1, REPLY, 16 },
		{ 1, REPLY, UINT32_MAX },
		{ 0, REPLY, 8 },
		{ UINT32_MAX, UINT32_MAX, 8 },
	};

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		struct fixture *f;
		void *own;

		set_up_back(&own);
		f = own;
		expect_message(f, CVMM_VHOST_USER_GPU_GET_PROTOCOL_FEATURES, 0, NULL, 0);
		send_raw(f, bad[i].request, bad[i].flags, bad[i].size, NULL, 0, NULL, 0);
		spin(f);
		assert_int_equal(f->back.closed, -EPROTO);
		assert_true(f->back.message[0]);
		assert_int_equal(f->back.ready, 0);
		tear_down(&own);
	}
}

static void answers_that_nobody_waits_for_end_the_connection(void **state)
{
	struct fixture *f = *state;
	uint64_t features = 3;

	negotiate(f, 3, 3);
	send_answer(f, CVMM_VHOST_USER_GPU_GET_PROTOCOL_FEATURES, &features, sizeof(features));
	spin(f);
	assert_int_equal(f->back.closed, -EPROTO);
	assert_int_equal(f->back.ready, 1);
}

static void an_answer_before_the_end_of_its_request_ends_the_connection(void **state)
{
	struct fixture *f = *state;
	uint64_t features = 3;

	/* Before even its first byte was sent. */
	send_answer(f, CVMM_VHOST_USER_GPU_GET_PROTOCOL_FEATURES, &features, sizeof(features));
	spin(f);
	assert_int_equal(f->back.closed, -EPROTO);
	assert_int_equal(f->back.ready, 0);
}

static void answers_with_descriptors_end_the_connection(void **state)
{
	struct fixture *f = *state;
	uint64_t features = 3;
	int fds[3] = { 0, 0, 0 };

	expect_message(f, CVMM_VHOST_USER_GPU_GET_PROTOCOL_FEATURES, 0, NULL, 0);
	send_raw(f, CVMM_VHOST_USER_GPU_GET_PROTOCOL_FEATURES, REPLY, 8, &features, 8, fds, 3);
	spin(f);
	assert_int_equal(f->back.closed, -EPROTO);
}

static void an_edid_longer_than_there_is_room_for_ends_the_connection(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_edid edid = { .size_bytes = cvmm_le32_from(1025) };
	uint32_t id;

	negotiate(f, 3, 3);
	assert_int_equal(
		cvmm_vhost_user_gpu_backend_get_edid(f->back.gpu, 0, edid_failed, &f->back), 0);
	expect_message(f, CVMM_VHOST_USER_GPU_GET_EDID, 0, &id, sizeof(id));
	send_answer(f, CVMM_VHOST_USER_GPU_GET_EDID, &edid, sizeof(edid));
	spin(f);
	assert_int_equal(f->back.done, 1);
	assert_int_equal(f->back.error, -ECONNRESET);
	assert_int_equal(f->back.closed, -EPROTO);
}

static void answers_that_come_byte_by_byte_are_taken(void **state)
{
	struct fixture *f = *state;
	struct {
		struct cvmm_vhost_user_header header;
		uint8_t features[8];
	} message = { { CVMM_VHOST_USER_GPU_GET_PROTOCOL_FEATURES, REPLY, 8 }, { 1 } };

	expect_message(f, CVMM_VHOST_USER_GPU_GET_PROTOCOL_FEATURES, 0, NULL, 0);
	for (size_t i = 0; i < sizeof(message); i++) {
		assert_int_equal(f->back.ready, 0);
		send_with_fds(f->peer, (uint8_t *)&message + i, 1, NULL, 0);
		spin(f);
	}
	assert_int_equal(f->back.ready, 1);
}

static void a_front_end_that_does_not_answer_is_given_up(void **state)
{
	struct fixture *f = *state;

	change_back(f, 0, 1);
	while (f->back.closed == NOT_CLOSED)
		assert_true(cvmm_loop_run_once(f->loop, -1) >= 0);
	assert_int_equal(f->back.closed, -ETIMEDOUT);
	assert_non_null(strstr(f->back.message, "GET_PROTOCOL_FEATURES"));
}

static void a_front_end_that_has_answered_is_not_given_up(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_update update = { 0, 0, 0, 1, 1 };

	change_back(f, 0, 1000);
	negotiate(f, 0, 0);
	/* Nor one whose display takes its time. */
	assert_int_equal(
		cvmm_vhost_user_gpu_backend_dmabuf_update(f->back.gpu, &update, done, &f->back), 0);
	spin(f);
	assert_int_equal(poll(NULL, 0, 1100), 0);
	spin(f);
	assert_int_equal(f->back.closed, NOT_CLOSED);
}

static void a_front_end_that_does_not_read_costs_no_more_than_the_list(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_cursor_update update = { .hot_x = 1 };
	unsigned int n = 0;
	int r;

	negotiate(f, 3, 3);
	do {
		r = cvmm_vhost_user_gpu_backend_cursor_update(f->back.gpu, &update);
		spin(f);
		n += !r;
		assert_true(n < 100000);
	} while (!r);
	assert_int_equal(r, -ENOBUFS);
	assert_true(n >= CVMM_VHOST_USER_GPU_REQUESTS_MAX);
	for (unsigned int i = 0; i < n; i++)
		expect_message(f, CVMM_VHOST_USER_GPU_CURSOR_UPDATE, 0, &update, sizeof(update));
	assert_int_equal(pending(f->peer), 0);
	assert_int_equal(cvmm_vhost_user_gpu_backend_cursor_update(f->back.gpu, &update), 0);
}

static void pixels_that_are_forgotten_are_not_read_any_more(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_update got, update = { 0, 0, 0, 1500, 700 };
	struct cvmm_vhost_user_gpu_cursor_pos pos = { 0, 1, 2 };
	struct cvmm_vhost_user_header header;
	size_t stride = 1503, len = 4 * 1500 * 700;
	uint32_t *picture = make_picture(1500, 700, stride);
	uint32_t *bytes = malloc(len), black = 0;

	assert_non_null(bytes);
	negotiate(f, 3, 3);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(cvmm_vhost_user_gpu_backend_update(f->back.gpu, &update, picture,
								    stride * 4, done, &f->back),
				 0);
	assert_int_equal(cvmm_vhost_user_gpu_backend_cursor_pos(f->back.gpu, &pos, true), 0);
	spin(f);
	cvmm_vhost_user_gpu_backend_forget(f->back.gpu);
	free(picture);
	/* The first one is on its way, and ends black. The other ones are not sent. */
	assert_int_equal(recv(f->peer, &header, sizeof(header), 0), sizeof(header));
	assert_int_equal(header.size, 20 + len);
	assert_int_equal(recv(f->peer, &got, sizeof(got), 0), sizeof(got));
	for (size_t at = 0; at < len;) {
		ssize_t n = recv(f->peer, (uint8_t *)bytes + at, len - at, MSG_DONTWAIT);

		assert_true(n > 0);
		at += (size_t)n;
		spin(f);
	}
	for (uint32_t i = 0; i < len / 4; i++) {
		if (!bytes[i])
			black++;
		else if (black || bytes[i] != pixel(i % 1500, i / 1500))
			fail_msg("pixel %u is 0x%x", i, bytes[i]);
	}
	assert_true(black > 0 && black < len / 4);
	expect_message(f, CVMM_VHOST_USER_GPU_CURSOR_POS, 0, &pos, sizeof(pos));
	assert_int_equal(f->back.done, 0);
	free(bytes);
}

static void who_is_forgotten_is_not_told(void **state)
{
	struct fixture *f = *state;
	struct cvmm_vhost_user_gpu_display_info info = { 0 };

	negotiate(f, 3, 3);
	assert_int_equal(
		cvmm_vhost_user_gpu_backend_get_display_info(f->back.gpu, check_info, &f->back), 0);
	expect_message(f, CVMM_VHOST_USER_GPU_GET_DISPLAY_INFO, 0, NULL, 0);
	cvmm_vhost_user_gpu_backend_forget(f->back.gpu);
	send_answer(f, CVMM_VHOST_USER_GPU_GET_DISPLAY_INFO, &info, sizeof(info));
	spin(f);
	assert_int_equal(f->back.done, 0);
	assert_int_equal(f->back.closed, NOT_CLOSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name, what) cmocka_unit_test_setup_teardown(name, set_up_##what, tear_down)
		cmocka_unit_test(the_table_has_the_requests_of_the_specification),
		cmocka_unit_test(forms_and_features_have_names),
		cmocka_unit_test(pixels_are_as_many_as_the_region_has),
		T(both_ends_agree_on_features, both),
		T(displays_and_edids_are_told, both),
		T(an_edid_that_there_is_not_is_an_error_and_not_silence, both),
		T(cursors_arrive_as_they_were_sent, both),
		T(positions_that_wait_become_one, both),
		T(a_picture_larger_than_any_buffer_arrives, both),
		T(regions_go_where_they_belong, both),
		T(what_of_a_region_is_outside_of_the_display_is_cut_off, both),
		T(pixels_that_nobody_wants_are_read_and_dropped, both),
		T(buffers_are_passed_and_their_updates_answered, both),
		T(nothing_else_comes_while_a_display_is_busy, both),
		T(a_region_that_is_not_on_the_buffer_means_all_of_it, both),
		T(numbers_that_cannot_be_are_not_sent, both),
		T(a_display_that_fails_is_off, both),
		T(an_end_that_goes_is_told_to_the_other, both),
		T(requests_that_wait_are_told_of_the_end, both),
		T(calls_after_the_end_are_refused, both),
		T(requests_that_come_byte_by_byte_are_handled, front),
		cmocka_unit_test(what_is_no_request_ends_the_connection),
		T(an_update_whose_size_is_not_that_of_its_pixels_ends_the_connection, front),
		T(gigabytes_that_are_promised_cost_nothing, front),
		T(an_update_that_is_cut_off_is_told, front),
		T(sizes_that_cannot_be_switch_the_display_off, front),
		T(buffers_that_cannot_be_switch_the_display_off, front),
		T(a_modifier_that_was_not_sent_is_none, front),
		cmocka_unit_test(descriptors_come_with_buffers_only),
		cmocka_unit_test(descriptors_behind_the_header_end_the_connection),
		T(descriptors_among_pixels_end_the_connection, front),
		T(requests_of_features_that_are_not_there_end_the_connection, front),
		T(a_peer_that_asks_and_does_not_read_waits, front),
		T(a_peer_that_goes_while_the_display_is_busy_is_noticed_later, front),
		T(a_peer_that_does_not_wait_for_the_display_is_not_read, front),
		T(pixels_for_a_display_that_shows_a_buffer_are_refused, front),
		T(ends_that_cannot_be_are_refused, front),
		T(only_known_features_are_set_and_before_anything_else, back),
		T(features_that_nobody_wants_are_not_set, back),
		T(requests_made_when_ready_come_behind_the_features, back),
		T(modifiers_need_their_feature, back),
		T(descriptors_go_with_the_first_byte_once, back),
		cmocka_unit_test(what_is_no_answer_ends_the_connection),
		T(answers_that_nobody_waits_for_end_the_connection, back),
		T(an_answer_before_the_end_of_its_request_ends_the_connection, back),
		T(answers_with_descriptors_end_the_connection, back),
		T(an_edid_longer_than_there_is_room_for_ends_the_connection, back),
		T(answers_that_come_byte_by_byte_are_taken, back),
		T(a_front_end_that_does_not_answer_is_given_up, back),
		T(a_front_end_that_has_answered_is_not_given_up, back),
		T(a_front_end_that_does_not_read_costs_no_more_than_the_list, back),
		T(pixels_that_are_forgotten_are_not_read_any_more, back),
		T(who_is_forgotten_is_not_told, back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
