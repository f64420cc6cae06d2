// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The thread that waits for storage.
 *
 * Theory of operation: two lists under one lock. The loop appends to `todo`; the thread takes from
 * it, executes without the lock and appends to `done`; the loop is woken through a notifier when
 * `done` stops being empty. In between a request, guest buffers included, belongs to the thread.
 * One thread and first-in-first-out order make a flush cover every write that was completed before
 * it.
 */
#include <errno.h>
#include <signal.h>

#include "blk_internal.h"

static int execute_segments(struct blk_storage *storage, const struct blk_request *request)
{
	for (unsigned int i = 0; i < request->segment_count; i++) {
		const struct blk_segment *s = &request->segments[i];
		uint64_t offset = cvmm_le64_get(s->sector) * CVMM_BLK_SECTOR_BYTES;
		uint64_t len = (uint64_t)cvmm_le32_get(s->num_sectors) * CVMM_BLK_SECTOR_BYTES;
		bool unmap = cvmm_le32_get(s->flags) & BLK_SEGMENT_F_UNMAP;
		int r = 0;

		if (!len)
			continue;
		if (request->type == BLK_T_DISCARD)
			r = blk_storage_discard(storage, offset, len);
		else
			r = blk_storage_write_zeroes(storage, offset, len, unmap);
		if (r)
			return r;
	}
	return 0;
}

static int execute(struct blk_worker *w, struct blk_request *request)
{
	bool sync = atomic_load(&w->write_through);
	int r;

	switch (request->type) {
	case BLK_T_IN:
		return blk_storage_read(w->storage, request->data, request->data_count,
					request->offset);
	case BLK_T_OUT:
		r = blk_storage_write(w->storage, request->data, request->data_count,
				      request->offset);
		break;
	case BLK_T_FLUSH:
		return blk_storage_flush(w->storage);
	case BLK_T_DISCARD:
		return execute_segments(w->storage, request);
	case BLK_T_WRITE_ZEROES:
		r = execute_segments(w->storage, request);
		break;
	default:
		return -EINVAL;
	}
	return !r && sync ? blk_storage_flush(w->storage) : r;
}

static void *run(void *arg)
{
	struct blk_worker *w = arg;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		struct blk_request *request = blk_list_take(&w->todo);
		bool first;

		if (!request) {
			w->busy = false;
			pthread_cond_broadcast(&w->idle);
			if (w->quit)
				break;
			pthread_cond_wait(&w->work, &w->lock);
			continue;
		}
		w->busy = true;
		pthread_mutex_unlock(&w->lock);
		request->error = execute(w, request);
		request->status = request->error ? BLK_S_IOERR : BLK_S_OK;
		pthread_mutex_lock(&w->lock);
		first = !w->done.first;
		blk_list_append(&w->done, request);
		if (first)
			cvmm_notifier_signal(&w->done_notifier);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Signals are the program's business: they must not end up on a thread that it does not know of. */
static int start_thread(struct blk_worker *w)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	r = pthread_sigmask(SIG_SETMASK, &all, &old);
	if (r)
		return -r;
	r = pthread_create(&w->thread, NULL, run, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return -r;
	w->has_thread = true;
	blk_host_name_thread(w->thread, "cvmm-blk");
	return 0;
}

int blk_worker_init(struct blk_worker *w, struct blk_storage *storage)
{
	int r;

	memset(w, 0, sizeof(*w));
	w->storage = storage;
	w->done_notifier = CVMM_NOTIFIER_NONE;
	blk_list_init(&w->todo);
	blk_list_init(&w->done);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->work, NULL);
	pthread_cond_init(&w->idle, NULL);
	r = cvmm_notifier_init(&w->done_notifier, CVMM_NOTIFIER_AUTO);
	if (!r)
		r = start_thread(w);
	if (r)
		blk_worker_fini(w);
	return r;
}

void blk_worker_fini(struct blk_worker *w)
{
	if (w->has_thread) {
		pthread_mutex_lock(&w->lock);
		w->quit = true;
		pthread_cond_signal(&w->work);
		pthread_mutex_unlock(&w->lock);
		pthread_join(w->thread, NULL);
		w->has_thread = false;
	}
	cvmm_notifier_fini(&w->done_notifier);
	pthread_cond_destroy(&w->idle);
	pthread_cond_destroy(&w->work);
	pthread_mutex_destroy(&w->lock);
}

void blk_worker_submit(struct blk_worker *w, struct blk_request *request)
{
	pthread_mutex_lock(&w->lock);
	blk_list_append(&w->todo, request);
	w->busy = true;
	pthread_cond_signal(&w->work);
	pthread_mutex_unlock(&w->lock);
}

struct blk_request *blk_worker_take_done(struct blk_worker *w)
{
	struct blk_request *request;

	pthread_mutex_lock(&w->lock);
	request = blk_list_take(&w->done);
	pthread_mutex_unlock(&w->lock);
	return request;
}

void blk_worker_drain(struct blk_worker *w)
{
	atomic_store(&w->storage->giving_up, true);
	pthread_mutex_lock(&w->lock);
	while (w->busy)
		pthread_cond_wait(&w->idle, &w->lock);
	pthread_mutex_unlock(&w->lock);
	atomic_store(&w->storage->giving_up, false);
}
