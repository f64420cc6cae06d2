// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <fcntl.h>

#include "test_event.h"

/*
 * cmocka's assertions jump to the test's own frame, so only the test's thread may use them. Other
 * threads record what they saw.
 */

static void start(pthread_t *thread, void *(*fn)(void *ctx), void *ctx)
{
	assert_int_equal(pthread_create(thread, NULL, fn, ctx), 0);
}

static void count_call(void *ctx)
{
	++*(int *)ctx;
}

/* ---- notifiers ----------------------------------------------------------------------------- */

static void signals_collapse_and_are_consumed_together(void **state)
{
	struct fixture *f = *state;

	assert_false(cvmm_notifier_consume(&f->a));
	for (int i = 0; i < 1000; i++)
		assert_int_equal(cvmm_notifier_signal(&f->a), 0);
	assert_true(cvmm_notifier_consume(&f->a));
	assert_false(cvmm_notifier_consume(&f->a));
}

static void signalling_never_blocks(void **state)
{
	struct fixture *f = *state;

	/* More than a pipe holds. */
	for (int i = 0; i < 100000; i++)
		assert_int_equal(cvmm_notifier_signal(&f->a), 0);
	assert_true(cvmm_notifier_consume(&f->a));
	assert_false(cvmm_notifier_consume(&f->a));
}

static void notifiers_are_private_to_the_program_and_non_blocking(void **state)
{
	struct fixture *f = *state;
	int fds[2] = { f->a.read_fd, f->a.write_fd };

	for (int i = 0; i < 2; i++) {
		assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
		assert_true(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
	}
	assert_int_equal(f->a.read_fd == f->a.write_fd, f->kind == CVMM_NOTIFIER_EVENTFD);
}

static void an_empty_notifier_may_be_finished_twice(void **state)
{
	struct cvmm_notifier n = CVMM_NOTIFIER_NONE;
	struct fixture *f = *state;

	cvmm_notifier_fini(&n);
	assert_int_equal(cvmm_notifier_init(&n, f->kind), 0);
	cvmm_notifier_fini(&n);
	cvmm_notifier_fini(&n);
	assert_int_equal(n.read_fd, -1);
	assert_int_equal(n.write_fd, -1);
	assert_int_equal(cvmm_notifier_signal(&n), -EBADF);
	assert_int_equal(cvmm_notifier_consume(&n), -EBADF);
	assert_int_equal(cvmm_notifier_init(&n, CVMM_NOTIFIER_SOCKET), -EINVAL);
	assert_int_equal(cvmm_notifier_init(&n, (enum cvmm_notifier_kind)99), -EINVAL);
}

#define WAKES 20000

struct counter {
	struct cvmm_notifier *n;
	atomic_int value;
	int last_seen;
};

static void *count_and_signal(void *ctx)
{
	struct counter *c = ctx;

	for (int i = 0; i < WAKES; i++) {
		atomic_fetch_add(&c->value, 1);
		cvmm_notifier_signal(c->n);
	}
	return NULL;
}

static void look_at_counter(void *ctx, int fd, unsigned int events)
{
	struct counter *c = ctx;

	(void)fd;
	(void)events;
	cvmm_notifier_consume(c->n);
	c->last_seen = atomic_load(&c->value);
}

static void no_wake_up_is_lost_between_threads(void **state)
{
	struct cvmm_source *source = NULL;
	struct fixture *f = *state;
	struct counter c = { .n = &f->a };
	pthread_t thread;

	assert_int_equal(cvmm_loop_add_fd(f->loop, f->a.read_fd, CVMM_EVENT_READ, look_at_counter,
					  &c, &source),
			 0);
	start(&thread, count_and_signal, &c);
	while (c.last_seen < WAKES)
		assert_true(cvmm_loop_run_once(f->loop, -1) >= 0);
	pthread_join(thread, NULL);
}

/* ---- posting ------------------------------------------------------------------------------- */

#define SENDERS 4
#define LETTERS 5000

struct sender {
	struct cvmm_loop *loop;
	int next; /* written by the owner only */
	int sent;
	int out_of_order;
	int *total;
};

struct letter {
	struct sender *sender;
	int number;
};

static void read_letter(void *ctx)
{
	struct letter *letter = ctx;
	struct sender *s = letter->sender;

	if (letter->number != s->next)
		s->out_of_order++;
	s->next = letter->number + 1;
	++*s->total;
	free(letter);
}

static void *send_letters(void *ctx)
{
	struct sender *s = ctx;

	for (int i = 0; i < LETTERS; i++) {
		struct letter *letter = malloc(sizeof(*letter));

		if (!letter)
			break;
		*letter = (struct letter){ s, i };
		if (cvmm_loop_post(s->loop, read_letter, letter)) {
			free(letter);
			break;
		}
		s->sent++;
	}
	return NULL;
}

static void posts_of_each_thread_run_in_order(void **state)
{
	struct sender senders[SENDERS];
	pthread_t threads[SENDERS];
	struct fixture *f = *state;
	int total = 0;

	for (int i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){ .loop = f->loop, .total = &total };
		start(&threads[i], send_letters, &senders[i]);
	}
	while (total < SENDERS * LETTERS)
		assert_true(cvmm_loop_run_once(f->loop, -1) >= 0);
	for (int i = 0; i < SENDERS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(senders[i].sent, LETTERS);
		assert_int_equal(senders[i].out_of_order, 0);
	}
}

static void a_round_counts_each_posted_function(void **state)
{
	struct fixture *f = *state;
	int calls = 0;

	for (int i = 0; i < 3; i++)
		assert_int_equal(cvmm_loop_post(f->loop, count_call, &calls), 0);
	assert_int_equal(calls, 0);
	assert_int_equal(cvmm_loop_run_once(f->loop, -1), 3);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
	assert_int_equal(calls, 3);
}

struct chain {
	struct cvmm_loop *loop;
	int calls;
};

static void post_again(void *ctx)
{
	struct chain *c = ctx;

	c->calls++;
	cvmm_loop_post(c->loop, post_again, c);
}

static void a_function_that_posts_itself_does_not_hold_the_round(void **state)
{
	struct fixture *f = *state;
	struct chain c = { .loop = f->loop };

	assert_int_equal(cvmm_loop_post(f->loop, post_again, &c), 0);
	for (int i = 1; i <= 3; i++) {
		assert_int_equal(cvmm_loop_run_once(f->loop, -1), 1);
		assert_int_equal(c.calls, i);
	}
	/* The one still posted is dropped with the loop. */
}

/* ---- calling ------------------------------------------------------------------------------- */

struct caller {
	struct cvmm_loop *loop;
	pthread_t ran_on;
	int result;
	int calls;
	bool stop_after;
	atomic_bool finished;
};

static int answer(void *ctx)
{
	struct caller *c = ctx;

	c->calls++;
	c->ran_on = pthread_self();
	if (c->stop_after)
		cvmm_loop_stop(c->loop);
	return -EXDEV; /* any value that nothing else returns */
}

static void *call_answer(void *ctx)
{
	struct caller *c = ctx;

	c->result = cvmm_loop_call(c->loop, answer, c);
	atomic_store(&c->finished, true);
	return NULL;
}

static void a_call_runs_on_the_owner_and_returns_its_result(void **state)
{
	struct fixture *f = *state;
	struct caller c = { .loop = f->loop };
	pthread_t thread;

	start(&thread, call_answer, &c);
	while (!cvmm_loop_run_once(f->loop, -1))
		;
	pthread_join(thread, NULL);
	assert_int_equal(c.result, -EXDEV);
	assert_int_equal(c.calls, 1);
	assert_true(pthread_equal(c.ran_on, pthread_self()));
}

static void a_call_on_the_owner_runs_at_once(void **state)
{
	struct fixture *f = *state;
	struct caller c = { .loop = f->loop };

	assert_int_equal(cvmm_loop_call(f->loop, answer, &c), -EXDEV);
	assert_int_equal(c.calls, 1);
	assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
}

static void call_from_callback(void *ctx, int fd, unsigned int events)
{
	struct caller *c = ctx;

	(void)fd;
	(void)events;
	c->result = cvmm_loop_call(c->loop, answer, c);
}

/* event-manager's call_blocking() deadlocks here. */
static void a_call_from_a_callback_does_not_deadlock(void **state)
{
	struct cvmm_source *source = NULL;
	struct fixture *f = *state;
	struct caller c = { .loop = f->loop };

	assert_int_equal(cvmm_loop_add_fd(f->loop, f->a.read_fd, CVMM_EVENT_READ,
					  call_from_callback, &c, &source),
			 0);
	cvmm_notifier_signal(&f->a);
	assert_int_equal(cvmm_loop_run_once(f->loop, -1), 1);
	assert_int_equal(c.result, -EXDEV);
	assert_int_equal(c.calls, 1);
}

static void destroying_the_loop_cancels_waiting_callers(void **state)
{
	struct fixture *f = *state;
	struct caller c[3];
	pthread_t threads[3];
	int dropped = 0, queued;

	assert_int_equal(cvmm_loop_post(f->loop, count_call, &dropped), 0);
	for (int i = 0; i < 3; i++) {
		c[i] = (struct caller){ .loop = f->loop };
		start(&threads[i], call_answer, &c[i]);
	}
	do {
		usleep(1000);
		queued = 0;
		pthread_mutex_lock(&f->loop->mail_lock);
		for (struct event_mail *mail = f->loop->mail_head; mail; mail = mail->next)
			queued++;
		pthread_mutex_unlock(&f->loop->mail_lock);
	} while (queued < 4);
	cvmm_loop_destroy(f->loop);
	f->loop = NULL;
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(c[i].result, -ECANCELED);
		assert_int_equal(c[i].calls, 0);
	}
	assert_int_equal(dropped, 0);
}

#define RACES 300

/* The caller may still be inside its send when the owner has run the message and goes on. */
static void a_call_may_make_the_owner_destroy_the_loop(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < RACES; i++) {
		struct caller c = { .stop_after = true };
		pthread_t thread;

		assert_int_equal(cvmm_event_create_loop(f->backend, f->kind, &c.loop), 0);
		start(&thread, call_answer, &c);
		assert_int_equal(cvmm_loop_run(c.loop), 0);
		cvmm_loop_destroy(c.loop);
		pthread_join(thread, NULL);
		assert_int_equal(c.result, -EXDEV);
	}
}

/* ---- running, stopping, owning ------------------------------------------------------------- */

static void *stop_loop(void *ctx)
{
	cvmm_loop_stop(ctx);
	return NULL;
}

static void stop_may_be_followed_by_destruction_at_once(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < RACES; i++) {
		struct cvmm_loop *loop = NULL;
		pthread_t thread;

		assert_int_equal(cvmm_event_create_loop(f->backend, f->kind, &loop), 0);
		start(&thread, stop_loop, loop);
		assert_int_equal(cvmm_loop_run(loop), 0);
		cvmm_loop_destroy(loop);
		pthread_join(thread, NULL);
	}
}

static void stop_from_mail(void *ctx)
{
	cvmm_loop_stop(ctx);
}

static void a_stop_before_the_run_is_kept(void **state)
{
	struct fixture *f = *state;
	int calls = 0;

	cvmm_loop_stop(f->loop);
	cvmm_loop_stop(f->loop);
	assert_int_equal(cvmm_loop_post(f->loop, count_call, &calls), 0);
	assert_int_equal(cvmm_loop_run(f->loop), 0);
	assert_int_equal(calls, 0);
	/* The next run is not stopped by it, and finds the post. */
	assert_int_equal(cvmm_loop_post(f->loop, stop_from_mail, f->loop), 0);
	assert_int_equal(cvmm_loop_run(f->loop), 0);
	assert_int_equal(calls, 1);
}

struct runner {
	struct cvmm_loop *loop;
	bool owner_before;
	bool owner_after;
	int result;
};

static void *run_loop(void *ctx)
{
	struct runner *r = ctx;

	r->owner_before = cvmm_loop_is_owner(r->loop);
	r->result = cvmm_loop_run(r->loop);
	r->owner_after = cvmm_loop_is_owner(r->loop);
	return NULL;
}

static void the_running_thread_becomes_the_owner(void **state)
{
	struct fixture *f = *state;
	struct runner r = { .loop = f->loop };
	struct caller c = { .loop = f->loop, .stop_after = true };
	pthread_t thread;

	assert_true(cvmm_loop_is_owner(f->loop));
	cvmm_loop_disown(f->loop);
	assert_false(cvmm_loop_is_owner(f->loop));
	start(&thread, run_loop, &r);
	/* Waits for the new owner, even if that thread has not come to run the loop yet. */
	assert_int_equal(cvmm_loop_call(f->loop, answer, &c), -EXDEV);
	assert_true(pthread_equal(c.ran_on, thread));
	assert_false(cvmm_loop_is_owner(f->loop));
	pthread_join(thread, NULL);
	assert_int_equal(r.result, 0);
	assert_false(r.owner_before);
	assert_true(r.owner_after);
}

static int add_and_remove(void *ctx)
{
	struct fixture *f = ctx;
	struct cvmm_source *source = NULL, *timer = NULL;
	int ret;

	ret = cvmm_loop_add_fd(f->loop, f->a.read_fd, CVMM_EVENT_READ, call_from_callback, NULL,
			       &source);
	if (!ret)
		ret = cvmm_loop_add_timer(f->loop, count_call, NULL, &timer);
	if (!ret)
		ret = cvmm_timer_arm(timer, 1, 1);
	cvmm_source_remove(timer);
	cvmm_source_remove(source);
	return ret;
}

static void other_threads_change_sources_through_calls(void **state)
{
	struct fixture *f = *state;
	struct runner r = { .loop = f->loop };
	pthread_t thread;

	cvmm_loop_disown(f->loop);
	start(&thread, run_loop, &r);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(cvmm_loop_call(f->loop, add_and_remove, f), 0);
	cvmm_loop_stop(f->loop);
	pthread_join(thread, NULL);
	assert_int_equal(f->loop->watch_count, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOOP_TEST(signals_collapse_and_are_consumed_together),
		LOOP_TEST(signalling_never_blocks),
		LOOP_TEST(notifiers_are_private_to_the_program_and_non_blocking),
		LOOP_TEST(an_empty_notifier_may_be_finished_twice),
		LOOP_TEST(no_wake_up_is_lost_between_threads),
		LOOP_TEST(posts_of_each_thread_run_in_order),
		LOOP_TEST(a_round_counts_each_posted_function),
		LOOP_TEST(a_function_that_posts_itself_does_not_hold_the_round),
		LOOP_TEST(a_call_runs_on_the_owner_and_returns_its_result),
		LOOP_TEST(a_call_on_the_owner_runs_at_once),
		LOOP_TEST(a_call_from_a_callback_does_not_deadlock),
		LOOP_TEST(destroying_the_loop_cancels_waiting_callers),
		LOOP_TEST(a_call_may_make_the_owner_destroy_the_loop),
		LOOP_TEST(stop_may_be_followed_by_destruction_at_once),
		LOOP_TEST(a_stop_before_the_run_is_kept),
		LOOP_TEST(the_running_thread_becomes_the_owner),
		LOOP_TEST(other_threads_change_sources_through_calls),
	};

	return RUN_IN_EVERY_CONFIG(tests);
}
