// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: the mailbox is a list under a mutex and a notifier that wakes the owner.
 *
 * The lock is held only to link a message and to signal. The signal is inside on purpose: a message
 * may make the owner destroy the loop, and it must not do so while the sender is about to touch the
 * notifier. For the same reason a waiting caller's condition lives in the message, on the caller's
 * stack: once the message is linked, the caller never touches the loop again.
 *
 * The owner consumes the notifier first and takes the list afterwards. The other way round it could
 * swallow the signal of a message that it did not take.
 */
#include <errno.h>
#include <stdlib.h>

#include "event_internal.h"

struct posted {
	struct event_mail mail;
	void (*fn)(void *ctx);
	void *ctx;
};

struct call {
	struct event_mail mail;
	int (*fn)(void *ctx);
	void *ctx;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool done;
	int result;
};

static void send_mail(struct cvmm_loop *loop, struct event_mail *mail)
{
	pthread_mutex_lock(&loop->mail_lock);
	if (!loop->mail_head)
		cvmm_notifier_signal(&loop->wake);
	mail->next = NULL;
	*loop->mail_tail = mail;
	loop->mail_tail = &mail->next;
	pthread_mutex_unlock(&loop->mail_lock);
}

static struct event_mail *take_all(struct cvmm_loop *loop)
{
	struct event_mail *list;

	pthread_mutex_lock(&loop->mail_lock);
	list = loop->mail_head;
	loop->mail_head = NULL;
	loop->mail_tail = &loop->mail_head;
	pthread_mutex_unlock(&loop->mail_lock);
	return list;
}

/* Runs or cancels a list. The message is gone when its function returns. */
static int deliver(struct event_mail *list, bool cancelled)
{
	int count = 0;

	while (list) {
		struct event_mail *mail = list;

		list = mail->next;
		mail->fn(mail, cancelled);
		count++;
	}
	return count;
}

static void wake_ready(void *ctx, int fd, unsigned int events)
{
	struct cvmm_loop *loop = ctx;

	(void)fd;
	(void)events;
	cvmm_notifier_consume(&loop->wake);
	loop->mail_due = true;
}

int cvmm_event_mail_init(struct cvmm_loop *loop, enum cvmm_notifier_kind wake_kind)
{
	struct cvmm_source *source;
	int ret;

	loop->mail_tail = &loop->mail_head;
	loop->wake = CVMM_NOTIFIER_NONE;
	ret = pthread_mutex_init(&loop->mail_lock, NULL);
	if (ret)
		return -ret;
	ret = cvmm_notifier_init(&loop->wake, wake_kind);
	if (!ret)
		ret = cvmm_loop_add_fd(loop, loop->wake.read_fd, CVMM_EVENT_READ, wake_ready, loop,
				       &source);
	if (ret) {
		cvmm_notifier_fini(&loop->wake);
		pthread_mutex_destroy(&loop->mail_lock);
		return ret;
	}
	source->io.internal = true;
	return 0;
}

int cvmm_event_run_mail(struct cvmm_loop *loop)
{
	if (!loop->mail_due)
		return 0;
	loop->mail_due = false;
	/* What these post arrives in the next round, so they cannot starve the rest of the loop. */
	return deliver(take_all(loop), false);
}

void cvmm_event_mail_fini(struct cvmm_loop *loop)
{
	deliver(take_all(loop), true);
	pthread_mutex_destroy(&loop->mail_lock);
	cvmm_notifier_fini(&loop->wake);
}

static void run_posted(struct event_mail *mail, bool cancelled)
{
	struct posted *posted = CVMM_CONTAINER_OF(mail, struct posted, mail);

	if (!cancelled)
		posted->fn(posted->ctx);
	free(posted);
}

int cvmm_loop_post(struct cvmm_loop *loop, void (*fn)(void *ctx), void *ctx)
{
	struct posted *posted = malloc(sizeof(*posted));

	if (!posted)
		return -ENOMEM;
	*posted = (struct posted){ .mail.fn = run_posted, .fn = fn, .ctx = ctx };
	send_mail(loop, &posted->mail);
	return 0;
}

static void run_call(struct event_mail *mail, bool cancelled)
{
	struct call *call = CVMM_CONTAINER_OF(mail, struct call, mail);
	int result = cancelled ? -ECANCELED : call->fn(call->ctx);

	pthread_mutex_lock(&call->lock);
	call->result = result;
	call->done = true;
	pthread_cond_signal(&call->changed);
	pthread_mutex_unlock(&call->lock);
}

int cvmm_loop_call(struct cvmm_loop *loop, int (*fn)(void *ctx), void *ctx)
{
	struct call call = {
		.mail.fn = run_call,
		.fn = fn,
		.ctx = ctx,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
	};

	if (cvmm_loop_is_owner(loop))
		return fn(ctx);
	send_mail(loop, &call.mail);
	pthread_mutex_lock(&call.lock);
	while (!call.done)
		pthread_cond_wait(&call.changed, &call.lock);
	pthread_mutex_unlock(&call.lock);
	pthread_cond_destroy(&call.changed);
	pthread_mutex_destroy(&call.lock);
	return call.result;
}

void cvmm_loop_stop(struct cvmm_loop *loop)
{
	/* Locked for the same reason as send_mail(): the owner may destroy the loop right after. */
	pthread_mutex_lock(&loop->mail_lock);
	atomic_store(&loop->stop, true);
	cvmm_notifier_signal(&loop->wake);
	pthread_mutex_unlock(&loop->mail_lock);
}
