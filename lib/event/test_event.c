// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "../../tests/support/descriptors.h"
#include "test_event.h"

/* What a test's source has seen, and what its callback does besides. */
struct watcher {
	struct cvmm_source *source;
	struct cvmm_loop *loop;
	int calls;
	unsigned int events; /* of the last call */
	const struct cvmm_notifier *consume;
	struct watcher *remove;
	struct watcher *pause;
};

static void seen(void *ctx, int fd, unsigned int events)
{
	struct watcher *w = ctx;

	(void)fd;
	w->calls++;
	w->events = events;
	if (w->consume)
		cvmm_notifier_consume(w->consume);
	if (w->pause)
		assert_int_equal(cvmm_source_set_events(w->pause->source, 0), 0);
	if (w->remove) {
		cvmm_source_remove(w->remove->source);
		w->remove->source = NULL;
	}
}

static void watch(struct fixture *f, struct watcher *w, int fd, unsigned int events)
{
	w->loop = f->loop;
	assert_int_equal(cvmm_loop_add_fd(f->loop, fd, events, seen, w, &w->source), 0);
}

static void make_sockets(int sockets[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets), 0);
}

/* ---- descriptors --------------------------------------------------------------------------- */

static void readiness_is_level_triggered(void **state)
{
	struct fixture *f = *state;
	struct watcher w = { 0 };

	watch(f, &w, f->a.read_fd, CVMM_EVENT_READ);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
	cvmm_notifier_signal(&f->a);
	assert_int_equal(cvmm_loop_run_once(f->loop, -1), 1);
	assert_int_equal(w.events, CVMM_EVENT_READ);
	assert_int_equal(cvmm_loop_run_once(f->loop, -1), 1);
	w.consume = &f->a;
	assert_int_equal(cvmm_loop_run_once(f->loop, -1), 1);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
	assert_int_equal(w.calls, 3);
}

static void set_events_changes_what_is_reported(void **state)
{
	struct fixture *f = *state;
	struct watcher w = { 0 };
	int sockets[2];

	make_sockets(sockets);
	watch(f, &w, sockets[0], CVMM_EVENT_READ);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
	assert_int_equal(cvmm_source_set_events(w.source, CVMM_EVENT_READ | CVMM_EVENT_WRITE), 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_int_equal(w.events, CVMM_EVENT_WRITE);
	assert_int_equal(write(sockets[1], "x", 1), 1);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_int_equal(w.events, CVMM_EVENT_READ | CVMM_EVENT_WRITE);
	assert_int_equal(cvmm_source_set_events(w.source, 0), 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
	cvmm_source_remove(w.source);
	close(sockets[0]);
	close(sockets[1]);
}

static void several_sources_share_one_descriptor(void **state)
{
	struct watcher reader = { 0 }, writer = { 0 }, reader2 = { 0 };
	struct fixture *f = *state;
	int sockets[2];

	make_sockets(sockets);
	watch(f, &reader, sockets[0], CVMM_EVENT_READ);
	watch(f, &writer, sockets[0], CVMM_EVENT_WRITE);
	watch(f, &reader2, sockets[0], CVMM_EVENT_READ);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_int_equal(writer.events, CVMM_EVENT_WRITE);
	assert_int_equal(write(sockets[1], "x", 1), 1);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 3);
	assert_int_equal(reader.events, CVMM_EVENT_READ);
	assert_int_equal(writer.events, CVMM_EVENT_WRITE);
	assert_int_equal(reader2.events, CVMM_EVENT_READ);

	cvmm_source_remove(writer.source);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 2);
	cvmm_source_remove(reader.source);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_int_equal(cvmm_source_set_events(reader2.source, 0), 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
	cvmm_source_remove(reader2.source);
	close(sockets[0]);
	close(sockets[1]);
}

static void a_source_may_remove_any_sharer_of_its_descriptor(void **state)
{
	struct watcher w[4] = { { 0 } };
	struct fixture *f = *state;

	for (int i = 0; i < 4; i++)
		watch(f, &w[i], f->a.read_fd, CVMM_EVENT_READ);
	w[0].remove = &w[1]; /* the next one to run */
	w[2].remove = &w[2]; /* itself */
	w[3].remove = &w[0]; /* one that has run */
	cvmm_notifier_signal(&f->a);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 3);
	assert_int_equal(w[1].calls, 0);
	w[3].remove = &w[3];
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_int_equal(w[3].calls, 2);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
}

static void a_removed_source_gets_no_event_already_fetched(void **state)
{
	struct watcher wa = { 0 }, wb = { 0 };
	struct fixture *f = *state;

	watch(f, &wa, f->a.read_fd, CVMM_EVENT_READ);
	watch(f, &wb, f->b.read_fd, CVMM_EVENT_READ);
	wa.remove = &wb;
	wb.remove = &wa;
	cvmm_notifier_signal(&f->a);
	cvmm_notifier_signal(&f->b);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_int_equal(wa.calls + wb.calls, 1);
}

static void a_paused_source_gets_no_event_already_fetched(void **state)
{
	struct watcher wa = { 0 }, wb = { 0 };
	struct fixture *f = *state;

	watch(f, &wa, f->a.read_fd, CVMM_EVENT_READ);
	watch(f, &wb, f->b.read_fd, CVMM_EVENT_READ);
	wa.pause = &wb;
	wb.pause = &wa;
	cvmm_notifier_signal(&f->a);
	cvmm_notifier_signal(&f->b);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_int_equal(wa.calls + wb.calls, 1);
}

struct swapper {
	struct cvmm_loop *loop;
	struct cvmm_source *source;
	int fd;
	int quiet_fd;
	struct swapper *other;
	struct watcher *next_user;
};

/* Gives the other source's number to a quiet file, with a new source on it. */
static void swap_other(void *ctx, int fd, unsigned int events)
{
	struct swapper *s = ctx, *other = s->other;

	(void)fd;
	(void)events;
	cvmm_source_remove(other->source);
	other->source = NULL;
	assert_int_equal(dup2(s->quiet_fd, other->fd), other->fd);
	assert_int_equal(cvmm_loop_add_fd(s->loop, other->fd, CVMM_EVENT_READ, seen, s->next_user,
					  &s->next_user->source),
			 0);
	cvmm_source_remove(s->source);
	s->source = NULL;
}

static void a_number_reused_in_the_same_round_gets_no_stale_event(void **state)
{
	struct watcher next_user = { 0 };
	struct fixture *f = *state;
	struct swapper x, y;
	int quiet[2];

	assert_int_equal(pipe(quiet), 0);
	x = (struct swapper){ .loop = f->loop, .quiet_fd = quiet[0], .next_user = &next_user };
	y = x;
	x.fd = dup(f->a.read_fd);
	y.fd = dup(f->b.read_fd);
	x.other = &y;
	y.other = &x;
	assert_int_equal(
		cvmm_loop_add_fd(f->loop, x.fd, CVMM_EVENT_READ, swap_other, &x, &x.source), 0);
	assert_int_equal(
		cvmm_loop_add_fd(f->loop, y.fd, CVMM_EVENT_READ, swap_other, &y, &y.source), 0);
	cvmm_notifier_signal(&f->a);
	cvmm_notifier_signal(&f->b);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
	assert_int_equal(next_user.calls, 0);
	assert_int_equal(write(quiet[1], "x", 1), 1);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_int_equal(next_user.calls, 1);
	cvmm_source_remove(next_user.source);
	close(x.fd);
	close(y.fd);
	close(quiet[0]);
	close(quiet[1]);
}

struct adder {
	struct cvmm_source *source;
	struct cvmm_loop *loop;
	int other_fd;
	struct watcher *late;
};

static void add_to_other(void *ctx, int fd, unsigned int events)
{
	struct adder *a = ctx;

	(void)fd;
	(void)events;
	if (!a->late->source)
		assert_int_equal(cvmm_loop_add_fd(a->loop, a->other_fd, CVMM_EVENT_READ, seen,
						  a->late, &a->late->source),
				 0);
}

static void a_source_added_in_a_round_gets_no_event_already_fetched(void **state)
{
	struct fixture *f = *state;
	struct watcher late = { 0 };
	struct adder x = { NULL, f->loop, f->b.read_fd, &late };
	struct adder y = { NULL, f->loop, f->a.read_fd, &late };

	assert_int_equal(cvmm_loop_add_fd(f->loop, f->a.read_fd, CVMM_EVENT_READ, add_to_other, &x,
					  &x.source),
			 0);
	assert_int_equal(cvmm_loop_add_fd(f->loop, f->b.read_fd, CVMM_EVENT_READ, add_to_other, &y,
					  &y.source),
			 0);
	cvmm_notifier_signal(&f->a);
	cvmm_notifier_signal(&f->b);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 2);
	assert_int_equal(late.calls, 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 3);
	assert_int_equal(late.calls, 1);
}

static void add_sharer(void *ctx, int fd, unsigned int events)
{
	struct watcher *w = ctx;

	(void)events;
	if (!w->source)
		assert_int_equal(
			cvmm_loop_add_fd(w->loop, fd, CVMM_EVENT_READ, seen, w, &w->source), 0);
}

static void a_source_added_in_a_round_waits_for_the_next(void **state)
{
	struct fixture *f = *state;
	struct watcher w = { .loop = f->loop };
	struct cvmm_source *source = NULL;

	assert_int_equal(
		cvmm_loop_add_fd(f->loop, f->a.read_fd, CVMM_EVENT_READ, add_sharer, &w, &source),
		0);
	cvmm_notifier_signal(&f->a);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_int_equal(w.calls, 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 2);
	assert_int_equal(w.calls, 1);
}

/*
 * Against the contract, but it must not end the process: the caller closes a descriptor before it
 * removes the source, and a duplicate keeps the file in the kernel's set.
 */
static void events_of_unknown_descriptors_are_ignored(void **state)
{
	struct watcher w = { 0 }, quiet = { 0 }, w2 = { 0 };
	struct fixture *f = *state;
	int fd = dup(f->a.read_fd);

	watch(f, &w, fd, CVMM_EVENT_READ);
	close(fd);
	cvmm_source_remove(w.source);
	cvmm_notifier_signal(&f->a);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);

	/* Another file under the number must not get the old one's events. */
	assert_int_equal(dup2(f->b.read_fd, fd), fd);
	watch(f, &quiet, fd, CVMM_EVENT_READ);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
	cvmm_source_remove(quiet.source);

	/* The same file under the same number again: the kernel's set still has it. */
	assert_int_equal(dup2(f->a.read_fd, fd), fd);
	watch(f, &w2, fd, CVMM_EVENT_READ);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_int_equal(w.calls + quiet.calls, 0);
	assert_int_equal(w2.calls, 1);
	cvmm_source_remove(w2.source);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
	close(fd);
}

static void a_number_reused_before_removal_still_works_for_the_new_source(void **state)
{
	struct watcher old = { 0 }, new = { 0 };
	struct fixture *f = *state;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	watch(f, &old, fds[0], CVMM_EVENT_READ);
	close(fds[0]);
	assert_int_equal(dup2(f->a.read_fd, fds[0]), fds[0]);
	watch(f, &new, fds[0], CVMM_EVENT_READ);
	cvmm_source_remove(old.source);
	cvmm_notifier_signal(&f->a);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_int_equal(new.calls, 1);
	cvmm_source_remove(new.source);
	close(fds[0]);
	close(fds[1]);
}

static void a_descriptor_closed_under_its_source_does_not_spin(void **state)
{
	struct fixture *f = *state;
	struct watcher w = { 0 };
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	watch(f, &w, fds[0], CVMM_EVENT_READ);
	close(fds[0]);
	close(fds[1]);
	for (int i = 0; i < 3; i++)
		assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
	assert_int_equal(f->loop->ready_count, 0);
	assert_int_equal(cvmm_source_set_events(w.source, CVMM_EVENT_WRITE), -EBADF);
	cvmm_source_remove(w.source);
}

static void check_always_ready(struct fixture *f, const char *path)
{
	struct watcher w = { 0 }, both = { 0 };
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	watch(f, &w, fd, CVMM_EVENT_READ);
	assert_int_equal(cvmm_loop_run_once(f->loop, -1), 1);
	assert_int_equal(w.events, CVMM_EVENT_READ);
	watch(f, &both, fd, CVMM_EVENT_READ | CVMM_EVENT_WRITE);
	assert_int_equal(cvmm_loop_run_once(f->loop, -1), 2);
	assert_int_equal(w.events, CVMM_EVENT_READ);
	assert_int_equal(both.events, CVMM_EVENT_READ | CVMM_EVENT_WRITE);
	cvmm_source_remove(both.source);
	assert_int_equal(cvmm_source_set_events(w.source, 0), 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
	assert_int_equal(cvmm_source_set_events(w.source, CVMM_EVENT_WRITE), 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, -1), 1);
	assert_int_equal(w.events, CVMM_EVENT_WRITE);
	cvmm_source_remove(w.source);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
	close(fd);
}

static void files_that_cannot_be_polled_are_always_ready(void **state)
{
	char path[] = "/tmp/cvmm-event-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	check_always_ready(*state, path);
	check_always_ready(*state, "/dev/null");
	close(fd);
	unlink(path);
}

static void an_always_ready_file_does_not_starve_others(void **state)
{
	struct watcher file = { 0 }, w = { 0 };
	struct fixture *f = *state;
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	watch(f, &file, fd, CVMM_EVENT_READ);
	watch(f, &w, f->a.read_fd, CVMM_EVENT_READ);
	cvmm_notifier_signal(&f->a);
	assert_int_equal(cvmm_loop_run_once(f->loop, -1), 2);
	assert_int_equal(w.calls, 1);
	cvmm_source_remove(file.source);
	close(fd);
}

static void hang_ups_and_errors_are_reported_unasked(void **state)
{
	struct watcher reader = { 0 }, writer = { 0 };
	struct fixture *f = *state;
	int fds[2], fds2[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(pipe(fds2), 0);
	watch(f, &reader, fds[0], CVMM_EVENT_READ);
	watch(f, &writer, fds2[1], CVMM_EVENT_READ);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
	close(fds[1]);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_true(reader.events & CVMM_EVENT_HANGUP);
	cvmm_source_remove(reader.source);
	close(fds[0]);
	close(fds2[0]);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_true(writer.events & CVMM_EVENT_ERROR);
	cvmm_source_remove(writer.source);
	close(fds2[1]);
}

static void a_paused_source_neither_hears_a_hang_up_nor_spins(void **state)
{
	struct fixture *f = *state;
	struct watcher w = { 0 };
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	watch(f, &w, fds[0], CVMM_EVENT_READ);
	assert_int_equal(cvmm_source_set_events(w.source, 0), 0);
	close(fds[1]);
	for (int i = 0; i < 3; i++)
		assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
	assert_int_equal(f->loop->ready_count, 0); /* the system has stopped telling */
	assert_int_equal(w.calls, 0);
	assert_int_equal(cvmm_source_set_events(w.source, CVMM_EVENT_READ), 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_true(w.events & CVMM_EVENT_HANGUP);
	cvmm_source_remove(w.source);
	close(fds[0]);
}

static void a_paused_source_hears_of_an_error_once(void **state)
{
	struct fixture *f = *state;
	struct watcher w = { 0 };
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	watch(f, &w, fds[1], 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
	close(fds[0]);
	for (int i = 0; i < 3; i++)
		cvmm_loop_run_once(f->loop, 0);
	assert_int_equal(w.calls, 1);
	assert_int_equal(w.events, CVMM_EVENT_ERROR);
	assert_int_equal(f->loop->ready_count, 0);
	assert_int_equal(cvmm_source_set_events(w.source, CVMM_EVENT_WRITE), 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_true(w.events & CVMM_EVENT_ERROR);
	cvmm_source_remove(w.source);
	close(fds[1]);
}

static void a_paused_sharer_leaves_the_others_their_hang_up(void **state)
{
	struct watcher paused = { 0 }, active = { 0 };
	struct fixture *f = *state;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	watch(f, &paused, fds[0], 0);
	watch(f, &active, fds[0], CVMM_EVENT_READ);
	close(fds[1]);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_int_equal(active.calls, 2);
	assert_int_equal(paused.calls, 0);
	cvmm_source_remove(paused.source);
	cvmm_source_remove(active.source);
	close(fds[0]);
}

static void bad_arguments_are_refused(void **state)
{
	struct cvmm_source *timer = NULL;
	struct fixture *f = *state;
	struct watcher w = { 0 };
	int closed_fd = dup(f->a.read_fd);
	struct cvmm_loop *loop = NULL;

	close(closed_fd);
	assert_int_equal(cvmm_loop_add_fd(f->loop, -1, 0, seen, &w, &w.source), -EBADF);
	assert_int_equal(cvmm_loop_add_fd(f->loop, closed_fd, CVMM_EVENT_READ, seen, &w, &w.source),
			 -EBADF);
	assert_int_equal(
		cvmm_loop_add_fd(f->loop, f->a.read_fd, CVMM_EVENT_HANGUP, seen, &w, &w.source),
		-EINVAL);
	assert_int_equal(
		cvmm_loop_add_fd(f->loop, f->a.read_fd, CVMM_EVENT_READ, NULL, &w, &w.source),
		-EINVAL);
	assert_null(w.source);
	assert_int_equal(cvmm_loop_add_timer(f->loop, NULL, NULL, &timer), -EINVAL);
	assert_null(timer);
	assert_int_equal(cvmm_loop_create((enum cvmm_loop_backend)99, &loop), -ENOTSUP);
	assert_null(loop);
	assert_int_equal(f->loop->watch_count, 1); /* the mailbox's */

	watch(f, &w, f->a.read_fd, CVMM_EVENT_READ);
	assert_int_equal(cvmm_source_set_events(w.source, CVMM_EVENT_ERROR), -EINVAL);
	assert_int_equal(cvmm_timer_arm(w.source, 0, 0), -EINVAL);
	cvmm_timer_disarm(w.source);
	cvmm_source_remove(NULL);
	cvmm_loop_destroy(NULL);
}

#define MANY 150

static void many_descriptors_all_get_their_turn(void **state)
{
	struct cvmm_notifier n[MANY];
	struct watcher w[MANY] = { { 0 } };
	struct fixture *f = *state;
	int first_calls = 0;

	for (int i = 0; i < MANY; i++) {
		assert_int_equal(cvmm_notifier_init(&n[i], f->kind), 0);
		watch(f, &w[i], n[i].read_fd, CVMM_EVENT_READ);
		cvmm_notifier_signal(&n[i]);
	}
	/* None is consumed: each stays ready and must not keep the others from their turn. */
	for (int round = 0; round < MANY; round++)
		assert_true(cvmm_loop_run_once(f->loop, 0) > 0);
	for (int i = 0; i < MANY; i++)
		first_calls += w[i].calls > 0;
	assert_int_equal(first_calls, MANY);
	for (int i = 0; i < MANY; i++) {
		cvmm_source_remove(w[i].source);
		cvmm_notifier_fini(&n[i]);
	}
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
}

static void try_nesting(void *ctx, int fd, unsigned int events)
{
	(void)fd;
	(void)events;
	assert_int_equal(cvmm_loop_run_once(ctx, 0), -EBUSY);
	assert_int_equal(cvmm_loop_run(ctx), -EBUSY);
}

static void running_inside_a_callback_is_refused(void **state)
{
	struct cvmm_source *source = NULL;
	struct fixture *f = *state;

	assert_int_equal(cvmm_loop_add_fd(f->loop, f->a.read_fd, CVMM_EVENT_READ, try_nesting,
					  f->loop, &source),
			 0);
	cvmm_notifier_signal(&f->a);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
}

static void ignore_signal(int number)
{
	(void)number;
}

static void a_signal_ends_the_wait_without_an_error(void **state)
{
	struct itimerval every = { { 0, 5000 }, { 0, 5000 } }, none = { { 0, 0 }, { 0, 0 } };
	struct sigaction action = { .sa_handler = ignore_signal }, old;
	struct fixture *f = *state;

	assert_int_equal(sigaction(SIGALRM, &action, &old), 0);
	/* Repeating, because one signal could come before the wait. */
	assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, -1), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &none, NULL), 0);
	assert_int_equal(sigaction(SIGALRM, &old, NULL), 0);
}

/* ---- embedding ----------------------------------------------------------------------------- */

static bool has_work(int fd, int timeout_ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, timeout_ms) == 1;
}

static void do_nothing(void *ctx)
{
	(void)ctx;
}

static void an_embedded_loop_shows_all_its_work(void **state)
{
	struct cvmm_source *timer = NULL, *file = NULL;
	struct fixture *f = *state;
	struct watcher w = { 0 };
	int null_fd, fd;

	assert_int_equal(cvmm_loop_add_timer(f->loop, do_nothing, NULL, &timer), 0);
	assert_int_equal(cvmm_timer_arm(timer, CVMM_NS_PER_MS, 0), 0);
	fd = cvmm_loop_fd(f->loop);
	if (f->backend == CVMM_LOOP_POLL) {
		assert_int_equal(fd, -ENOTSUP);
		return;
	}
	assert_int_equal(cvmm_loop_fd(f->loop), fd);
	assert_true(has_work(fd, -1)); /* a timer armed before */
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_false(has_work(fd, 0));
	assert_int_equal(cvmm_timer_arm(timer, CVMM_NS_PER_MS, CVMM_NS_PER_MS), 0);
	for (int i = 0; i < 3; i++) {
		assert_true(has_work(fd, -1)); /* an interval */
		assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	}
	cvmm_timer_disarm(timer);
	assert_false(has_work(fd, 0));

	assert_int_equal(cvmm_loop_post(f->loop, do_nothing, NULL), 0);
	assert_true(has_work(fd, 0));
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_false(has_work(fd, 0));

	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_true(null_fd >= 0);
	assert_int_equal(cvmm_loop_add_fd(f->loop, null_fd, CVMM_EVENT_READ, seen, &w, &file), 0);
	assert_true(has_work(fd, 0));
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_true(has_work(fd, 0));
	assert_int_equal(cvmm_source_set_events(file, 0), 0);
	assert_false(has_work(fd, 0));
	cvmm_source_remove(file);
	close(null_fd);
}

/* ---- timers -------------------------------------------------------------------------------- */

struct ticker {
	struct cvmm_source *timer;
	int calls;
	int *shared_order; /* counts up at each call of any ticker */
	int order;
	bool rearm_at_once;
	struct cvmm_loop *slow_clock; /* whose clock seems not to have moved since the wait */
	struct ticker *disarm;
	struct ticker *remove;
};

static void tick(void *ctx)
{
	struct ticker *t = ctx;

	t->calls++;
	if (t->shared_order)
		t->order = ++*t->shared_order;
	if (t->slow_clock)
		t->slow_clock->round_now_ns = cvmm_clock_ns() + CVMM_NS_PER_S;
	if (t->rearm_at_once)
		assert_int_equal(cvmm_timer_arm(t->timer, 0, 0), 0);
	if (t->disarm)
		cvmm_timer_disarm(t->disarm->timer);
	if (t->remove) {
		cvmm_source_remove(t->remove->timer);
		t->remove->timer = NULL;
	}
}

static void add_ticker(struct fixture *f, struct ticker *t)
{
	assert_int_equal(cvmm_loop_add_timer(f->loop, tick, t, &t->timer), 0);
}

static void a_timer_fires_once_unless_it_has_an_interval(void **state)
{
	struct fixture *f = *state;
	struct ticker t = { 0 };

	add_ticker(f, &t);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0); /* not armed */
	assert_int_equal(cvmm_timer_arm(t.timer, CVMM_NS_PER_MS, 0), 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, -1), 1);
	assert_int_equal(cvmm_loop_run_once(f->loop, 3), 0);
	assert_int_equal(cvmm_timer_arm(t.timer, 0, CVMM_NS_PER_MS), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(cvmm_loop_run_once(f->loop, -1), 1);
	cvmm_timer_disarm(t.timer);
	assert_int_equal(cvmm_loop_run_once(f->loop, 3), 0);
	assert_int_equal(t.calls, 4);
}

static void missed_periods_collapse_into_one_call(void **state)
{
	struct fixture *f = *state;
	struct ticker t = { 0 };

	add_ticker(f, &t);
	assert_int_equal(cvmm_timer_arm(t.timer, 0, 1000), 0);
	usleep(2000);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_int_equal(t.calls, 1);
	assert_true(t.timer->timer.deadline_ns > f->loop->round_now_ns);
	assert_true(t.timer->timer.deadline_ns - f->loop->round_now_ns <= 1000);
}

static void arming_again_replaces(void **state)
{
	struct fixture *f = *state;
	struct ticker t = { 0 };

	add_ticker(f, &t);
	assert_int_equal(cvmm_timer_arm(t.timer, 0, 1), 0);
	assert_int_equal(cvmm_timer_arm(t.timer, 3600 * CVMM_NS_PER_S, 0), 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, 2), 0);
	assert_int_equal(cvmm_timer_arm(t.timer, 0, 0), 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, -1), 1);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
}

static void rearming_with_no_delay_waits_for_the_next_round(void **state)
{
	struct fixture *f = *state;
	struct ticker t = { .rearm_at_once = true };

	add_ticker(f, &t);
	assert_int_equal(cvmm_timer_arm(t.timer, 0, 0), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(cvmm_loop_run_once(f->loop, -1), 1);
	assert_int_equal(t.calls, 5);

	/* A clock that ticks rarely: the new deadline would be the instant of this round. */
	t.slow_clock = f->loop;
	assert_int_equal(cvmm_loop_run_once(f->loop, -1), 1);
}

static void a_due_timer_that_is_removed_or_disarmed_does_not_fire(void **state)
{
	struct ticker first = { 0 }, removed = { 0 }, disarmed = { 0 };
	struct fixture *f = *state;

	first.remove = &removed;
	first.disarm = &disarmed;
	add_ticker(f, &first);
	add_ticker(f, &removed);
	add_ticker(f, &disarmed);
	assert_int_equal(cvmm_timer_arm(first.timer, 0, 0), 0);
	assert_int_equal(cvmm_timer_arm(removed.timer, 0, 0), 0);
	assert_int_equal(cvmm_timer_arm(disarmed.timer, 0, 0), 0);
	usleep(1000);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 1);
	assert_int_equal(first.calls, 1);
	assert_int_equal(removed.calls + disarmed.calls, 0);
}

static void a_timer_may_remove_itself(void **state)
{
	struct fixture *f = *state;
	struct ticker t = { 0 };

	t.remove = &t;
	add_ticker(f, &t);
	assert_int_equal(cvmm_timer_arm(t.timer, 0, 1), 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, -1), 1);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
}

static void endless_delays_never_fire_and_do_not_overflow(void **state)
{
	struct fixture *f = *state;
	struct ticker t = { 0 }, once = { 0 };

	add_ticker(f, &t);
	add_ticker(f, &once);
	assert_int_equal(cvmm_timer_arm(t.timer, UINT64_MAX, UINT64_MAX), 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, 1), 0);
	assert_true(cvmm_event_timer_timeout(f->loop, -1) > 0);
	assert_int_equal(cvmm_event_timer_timeout(f->loop, 7), 7);
	/* The first period is over, the second never is. */
	assert_int_equal(cvmm_timer_arm(once.timer, 0, UINT64_MAX), 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, -1), 1);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
	assert_int_equal(t.calls, 0);
}

static void timers_fire_in_the_order_of_their_deadlines(void **state)
{
	struct ticker t[64] = { { 0 } };
	struct fixture *f = *state;
	unsigned int random = 1;
	int order = 0, left = 64;

	for (int i = 0; i < 64; i++) {
		random = random * 1103515245 + 12345;
		t[i].shared_order = &order;
		add_ticker(f, &t[i]);
		assert_int_equal(cvmm_timer_arm(t[i].timer, (random >> 16) % 4 * CVMM_NS_PER_MS, 0),
				 0);
	}
	for (int i = 0; i < 64; i += 5) { /* out of the middle of the heap, and back */
		cvmm_timer_disarm(t[i].timer);
		assert_int_equal(cvmm_timer_arm(t[i].timer, CVMM_NS_PER_MS, 0), 0);
	}
	while (left)
		left -= cvmm_loop_run_once(f->loop, -1);
	for (int i = 0; i < 64; i++) {
		for (int j = 0; j < 64; j++) {
			if (t[i].timer->timer.deadline_ns < t[j].timer->timer.deadline_ns)
				assert_true(t[i].order < t[j].order);
		}
	}
}

/* ---- everything at once -------------------------------------------------------------------- */

#define ACTORS 24
#define STEPS 20000

/* The actors remove, add, pause and swap each other from their callbacks, by a fixed dice. */
struct actor {
	struct stage *stage;
	struct cvmm_source *source; /* NULL while off stage */
	struct cvmm_source *timer;
	int fd; /* the reading end of a pipe of this actor's own */
	int write_fd;
	unsigned int asked;
};

struct stage {
	struct fixture *f;
	struct actor actors[ACTORS];
	uint32_t dice;
	int calls;
};

static uint32_t roll(struct stage *stage, uint32_t sides)
{
	stage->dice = stage->dice * 1664525 + 1013904223;
	return (stage->dice >> 8) % sides;
}

static void act(struct stage *stage);

static void actor_ready(void *ctx, int fd, unsigned int events)
{
	struct actor *a = ctx;
	char byte;

	a->stage->calls++;
	assert_non_null(a->source);
	assert_int_equal(fd, a->fd);
	assert_int_equal(events, CVMM_EVENT_READ);
	assert_int_equal(a->asked, CVMM_EVENT_READ);
	assert_int_equal(read(fd, &byte, 1), 1);
	act(a->stage);
	act(a->stage);
}

static void actor_timer(void *ctx)
{
	struct actor *a = ctx;

	a->stage->calls++;
	assert_non_null(a->timer);
	act(a->stage);
}

static void leave(struct actor *a)
{
	cvmm_source_remove(a->source);
	cvmm_source_remove(a->timer);
	a->source = a->timer = NULL;
	close(a->fd);
	close(a->write_fd);
}

static void enter(struct stage *stage, struct actor *a)
{
	int fds[2];

	/* Numbers come back at once: each new pipe takes those of one that has just left. */
	assert_int_equal(test_pipe(fds, true), 0);
	*a = (struct actor){
		.stage = stage, .fd = fds[0], .write_fd = fds[1], .asked = CVMM_EVENT_READ
	};
	assert_int_equal(
		cvmm_loop_add_fd(stage->f->loop, a->fd, a->asked, actor_ready, a, &a->source), 0);
	assert_int_equal(cvmm_loop_add_timer(stage->f->loop, actor_timer, a, &a->timer), 0);
}

static void act(struct stage *stage)
{
	struct actor *a = &stage->actors[roll(stage, ACTORS)];

	if (!a->source) {
		enter(stage, a);
		return;
	}
	switch (roll(stage, 6)) {
	case 0:
		leave(a);
		break;
	case 1:
		a->asked = a->asked ? 0 : CVMM_EVENT_READ;
		assert_int_equal(cvmm_source_set_events(a->source, a->asked), 0);
		break;
	case 2:
		assert_int_equal(cvmm_timer_arm(a->timer, roll(stage, 1000), roll(stage, 2)), 0);
		break;
	case 3:
		cvmm_timer_disarm(a->timer);
		break;
	default:
		assert_int_equal(write(a->write_fd, "x", 1), 1);
	}
}

static void random_changes_in_callbacks_reach_only_live_sources(void **state)
{
	struct stage stage = { .f = *state, .dice = 42 };
	int last;

	for (int i = 0; i < STEPS; i++) {
		last = cvmm_loop_run_once(stage.f->loop, 0);
		assert_true(last >= 0);
		act(&stage);
	}
	assert_true(stage.calls > STEPS / 10);
	for (int i = 0; i < ACTORS; i++)
		if (stage.actors[i].source)
			leave(&stage.actors[i]);
	assert_int_equal(stage.f->loop->watch_count, 1); /* the mailbox's */
	assert_int_equal(cvmm_loop_run_once(stage.f->loop, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOOP_TEST(readiness_is_level_triggered),
		LOOP_TEST(set_events_changes_what_is_reported),
		LOOP_TEST(several_sources_share_one_descriptor),
		LOOP_TEST(a_source_may_remove_any_sharer_of_its_descriptor),
		LOOP_TEST(a_removed_source_gets_no_event_already_fetched),
		LOOP_TEST(a_paused_source_gets_no_event_already_fetched),
		LOOP_TEST(a_number_reused_in_the_same_round_gets_no_stale_event),
		LOOP_TEST(a_source_added_in_a_round_waits_for_the_next),
		LOOP_TEST(a_source_added_in_a_round_gets_no_event_already_fetched),
		LOOP_TEST(events_of_unknown_descriptors_are_ignored),
		LOOP_TEST(a_number_reused_before_removal_still_works_for_the_new_source),
		LOOP_TEST(a_descriptor_closed_under_its_source_does_not_spin),
		LOOP_TEST(files_that_cannot_be_polled_are_always_ready),
		LOOP_TEST(an_always_ready_file_does_not_starve_others),
		LOOP_TEST(hang_ups_and_errors_are_reported_unasked),
		LOOP_TEST(a_paused_source_neither_hears_a_hang_up_nor_spins),
		LOOP_TEST(a_paused_source_hears_of_an_error_once),
		LOOP_TEST(a_paused_sharer_leaves_the_others_their_hang_up),
		LOOP_TEST(bad_arguments_are_refused),
		LOOP_TEST(many_descriptors_all_get_their_turn),
		LOOP_TEST(running_inside_a_callback_is_refused),
		LOOP_TEST(a_signal_ends_the_wait_without_an_error),
		LOOP_TEST(an_embedded_loop_shows_all_its_work),
		LOOP_TEST(a_timer_fires_once_unless_it_has_an_interval),
		LOOP_TEST(missed_periods_collapse_into_one_call),
		LOOP_TEST(arming_again_replaces),
		LOOP_TEST(rearming_with_no_delay_waits_for_the_next_round),
		LOOP_TEST(a_due_timer_that_is_removed_or_disarmed_does_not_fire),
		LOOP_TEST(a_timer_may_remove_itself),
		LOOP_TEST(endless_delays_never_fire_and_do_not_overflow),
		LOOP_TEST(timers_fire_in_the_order_of_their_deadlines),
		LOOP_TEST(random_changes_in_callbacks_reach_only_live_sources),
	};

	return RUN_IN_EVERY_CONFIG(tests);
}
