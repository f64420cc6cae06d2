/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm event: notifiers and the event loop.
 *
 * A loop belongs to one thread, its owner: the thread that runs it (before the first run: the one
 * that created it). Only the owner adds, changes and removes sources. Every other thread reaches it
 * through the mailbox: cvmm_loop_post() and cvmm_loop_call().
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_EVENT_H
#define CVMM_EVENT_H

#include <cvmm/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- notifiers: a wake-up that can cross threads, processes and the kernel --------------------- */

enum cvmm_notifier_kind {
	CVMM_NOTIFIER_AUTO, /* eventfd where the system has it, else a pipe */
	CVMM_NOTIFIER_EVENTFD,
	CVMM_NOTIFIER_PIPE,
	CVMM_NOTIFIER_SOCKET, /* only from a peer: cvmm_notifier_from_fd() */
};

/**
 * struct cvmm_notifier - a wake-up; visible so that it can live in the caller's storage
 * @read_fd: poll this; KVM's ioeventfd and irqfd take it where it is an eventfd. -1 where only the
 *           other end is ours.
 * @write_fd: the same descriptor for an eventfd of ours, the other end for a pipe. -1 where only the
 *            reading end is ours.
 * @kind: what they are; private
 */
struct cvmm_notifier {
	int read_fd;
	int write_fd;
	enum cvmm_notifier_kind kind;
};

#define CVMM_NOTIFIER_NONE ((struct cvmm_notifier){ -1, -1, CVMM_NOTIFIER_AUTO })

/* Non-blocking, close-on-exec. Return: 0 or negative errno. */
CVMM_API int cvmm_notifier_init(struct cvmm_notifier *n, enum cvmm_notifier_kind kind);
CVMM_API void cvmm_notifier_fini(struct cvmm_notifier *n); /* also for CVMM_NOTIFIER_NONE */

/**
 * cvmm_notifier_from_fd() - make a notifier of one descriptor that a peer has sent
 * @fd: an eventfd, the fitting end of a pipe, or a local socket (peer-controlled)
 * @we_read: whether we are the one who is woken (a kick, for a back-end) and not the one who wakes
 *           (a call)
 * @ret: the notifier, with one descriptor: what it does not have is -1
 *
 * Whatever cannot be waited for, such as files, directories and devices, is refused, and so is the
 * wrong end of a pipe. The descriptor becomes close-on-exec and non-blocking. A peer shares that last
 * flag and may take it back; so pipes are opened anew where the system can do that, and eventfds
 * and sockets are read, and sockets written, in ways that do not depend on it. What is left: a peer
 * that takes back the flag of an eventfd, and fills it up, blocks the thread that signals it. Peers
 * that must not hold up each other are not served by one thread.
 *
 * Return: 0; -EINVAL for what is no such thing; or another negative errno. Owner: @fd is taken in
 * any case, and closed on failure; the caller owns *ret until cvmm_notifier_fini(). Context: any
 * thread, does not block. Spec: vhost-user, VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_CALL and
 * VHOST_USER_SET_VRING_ERR: 8 bytes are read and written, and their value means nothing.
 */
CVMM_API int cvmm_notifier_from_fd(int fd, bool we_read, struct cvmm_notifier *ret);

/**
 * cvmm_notifier_signal() - wake the reader
 *
 * Signals before the reader consumes collapse into one; where there is no room for more, one is
 * there already, and that is success. A peer that has closed its end is no reason for a SIGPIPE:
 * the signal is held back and taken in the calling thread, without a handler.
 *
 * Return: 0; -EPIPE if nobody can read it any more; or another negative errno. Context: any thread,
 * does not block; no signal handler.
 */
CVMM_API int cvmm_notifier_signal(const struct cvmm_notifier *n);

/**
 * cvmm_notifier_consume() - take back all signals so far
 *
 * What a peer keeps on writing is read in a bounded number of steps: the rest is another signal.
 *
 * Return: 1 if there was a signal, 0 if not; -EPIPE if the peer has closed its end, or another
 * negative errno: then there will be none any more, but the descriptor may remain ready for ever, so
 * the source that watches it must be removed. Context: any thread, does not block.
 */
CVMM_API int cvmm_notifier_consume(const struct cvmm_notifier *n);

/* ---- the loop ---------------------------------------------------------------------------------- */

enum cvmm_loop_backend {
	CVMM_LOOP_AUTO, /* epoll on Linux, else poll */
	CVMM_LOOP_EPOLL,
	CVMM_LOOP_POLL,
};

/* Readiness, as a mask. Errors and hang-ups are reported whether asked for or not. */
enum cvmm_event_mask {
	CVMM_EVENT_READ = 1,
	CVMM_EVENT_WRITE = 2,
	CVMM_EVENT_HANGUP = 4,
	CVMM_EVENT_ERROR = 8,
};

struct cvmm_loop;
struct cvmm_source;

/**
 * cvmm_loop_create() - make an empty loop, owned by the calling thread
 *
 * Return: 0 or negative errno; -ENOTSUP for a back-end that this system lacks. Owner: the caller
 * owns *ret_loop until cvmm_loop_destroy().
 */
CVMM_API int cvmm_loop_create(enum cvmm_loop_backend backend, struct cvmm_loop **ret_loop);

/*
 * Frees the loop with all its sources. Posted functions that did not run are dropped; callers that
 * still wait in cvmm_loop_call() get -ECANCELED. NULL is allowed.
 */
CVMM_API void cvmm_loop_destroy(struct cvmm_loop *loop);

/**
 * cvmm_loop_run() - dispatch events until cvmm_loop_stop()
 *
 * Return: 0 after a stop, or the negative errno of the poll call. Context: makes the calling thread
 * the owner. -EBUSY inside a callback of this loop.
 */
CVMM_API int cvmm_loop_run(struct cvmm_loop *loop);

/**
 * cvmm_loop_run_once() - wait for events once and dispatch them
 * @timeout_ms: -1 waits for ever, 0 only looks
 *
 * Return: number of callbacks run (fds, timers, mail), or negative errno (-EBUSY inside a callback
 * of this loop). 0 after a time-out, and also when a signal, cvmm_loop_stop() or a wake-up without
 * work ended the wait early. Context: makes the calling thread the owner.
 */
CVMM_API int cvmm_loop_run_once(struct cvmm_loop *loop, int timeout_ms);

/*
 * Make cvmm_loop_run() return after the callbacks of this round; sticky until run returns. To stop
 * only after what was posted before, post a function that calls it. Context: any thread, but no
 * signal handler.
 */
CVMM_API void cvmm_loop_stop(struct cvmm_loop *loop);

/*
 * A descriptor for embedding this loop in another one: readable when run_once(loop, 0) has work,
 * timers included. Return: the loop's descriptor, or negative errno; -ENOTSUP for the poll back-end.
 * Context: owner.
 */
CVMM_API int cvmm_loop_fd(struct cvmm_loop *loop);

/**
 * cvmm_loop_add_fd() - watch a descriptor
 * @fd: stays the caller's; must outlive the source. The same fd may have several sources. Files
 *	that the system cannot poll (regular files) count as always ready.
 * @events: CVMM_EVENT_READ | CVMM_EVENT_WRITE, or 0 to wait for an error only (see
 *	cvmm_source_set_events())
 * @fn: called on the owner with the events that are ready. Level-triggered.
 * @ret_source: handle for changes
 *
 * Return: 0 or negative errno. Context: owner, also inside callbacks.
 */
CVMM_API int cvmm_loop_add_fd(struct cvmm_loop *loop, int fd, unsigned int events,
			      void (*fn)(void *ctx, int fd, unsigned int events), void *ctx,
			      struct cvmm_source **ret_source);

/*
 * Change what an fd source waits for. With 0 a peer's hang-up is not reported either until events are
 * asked for again, and an error once only, so that a source that is paused cannot spin. Return: 0 or
 * negative errno. Context: owner.
 */
CVMM_API int cvmm_source_set_events(struct cvmm_source *source, unsigned int events);

/**
 * cvmm_loop_add_timer() - make a timer, not armed
 * @fn: called on the owner after expiry
 */
CVMM_API int cvmm_loop_add_timer(struct cvmm_loop *loop, void (*fn)(void *ctx), void *ctx,
				 struct cvmm_source **ret_source);

/*
 * Arm a timer @delay_ns from now, then every @interval_ns (0: once). Missed periods collapse into
 * one call. delay 0 fires in the next round. Arming again replaces. Delays are waited for in whole
 * milliseconds, rounded up. Return: 0, or -EINVAL for a source that is no timer. Context: owner.
 */
CVMM_API int cvmm_timer_arm(struct cvmm_source *timer, uint64_t delay_ns, uint64_t interval_ns);
CVMM_API void cvmm_timer_disarm(struct cvmm_source *timer);

/*
 * Remove a source of either kind. Its callback never runs again, not even for an event that was
 * already fetched in this round; safe inside any callback, its own included. NULL is allowed.
 */
CVMM_API void cvmm_source_remove(struct cvmm_source *source);

/* ---- mailbox --------------------------------------------------------------------------------- */

/**
 * cvmm_loop_post() - run a function on the owner, later
 *
 * Functions from one thread run in the order in which they were posted. Return: 0 or -ENOMEM.
 * Context: any thread, never waits.
 */
CVMM_API int cvmm_loop_post(struct cvmm_loop *loop, void (*fn)(void *ctx), void *ctx);

/**
 * cvmm_loop_call() - run a function on the owner and wait for its result
 *
 * On the owner itself it runs at once, so it cannot deadlock there. From another thread it waits
 * until the owner's loop runs it: the caller must hold no lock that a callback of the loop takes.
 * Return: what @fn returned, or -ECANCELED if the loop was destroyed first. Context: any thread.
 */
CVMM_API int cvmm_loop_call(struct cvmm_loop *loop, int (*fn)(void *ctx), void *ctx);

/* Whether the calling thread owns the loop. */
CVMM_API bool cvmm_loop_is_owner(const struct cvmm_loop *loop);

/**
 * cvmm_loop_disown() - give up ownership, before another thread is started to run the loop
 *
 * Until that thread runs it, nobody owns the loop: cvmm_loop_call() waits for the new owner, where
 * it would still run its function at once in the thread that created the loop. Context: owner.
 */
CVMM_API void cvmm_loop_disown(struct cvmm_loop *loop);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_EVENT_H */
