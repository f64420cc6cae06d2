// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Notifiers of descriptors that a peer has sent, well-meant and other ones. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#if __has_include(<sys/eventfd.h>)
#include <sys/eventfd.h>
#endif

#include "test_event.h"

/* What we get, and what the peer keeps: the other end, or a duplicate of the same. */
struct pair {
	struct cvmm_notifier n;
	int peer_fd;
};

static struct cvmm_notifier must_take(int fd, bool we_read)
{
	struct cvmm_notifier n = CVMM_NOTIFIER_NONE;

	assert_int_equal(cvmm_notifier_from_fd(fd, we_read, &n), 0);
	assert_int_equal(n.read_fd < 0, !we_read);
	assert_int_equal(n.write_fd < 0, we_read);
	return n;
}

/* The peer's descriptors are blocking ones, which its children inherit. */
static struct pair pipe_pair(bool we_read)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	return (struct pair){ must_take(fds[we_read ? 0 : 1], we_read), fds[we_read ? 1 : 0] };
}

static struct pair socket_pair(int type, bool we_read)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, type, 0, fds), 0);
	return (struct pair){ must_take(fds[0], we_read), fds[1] };
}

/* A peer may have eventfds though we, as we are built, make none ourselves. */
static int peers_eventfd(void)
{
#ifdef EFD_SEMAPHORE
	return eventfd(0, 0);
#else
	return -1;
#endif
}

static struct pair eventfd_pair(bool we_read)
{
	int fd = peers_eventfd();
	struct pair p;

	if (fd < 0) {
		print_message("SKIP: this system has no eventfd\n");
		skip();
	}
	p.peer_fd = dup(fd);
	p.n = must_take(fd, we_read);
	return p;
}

static void end_pair(struct pair *p)
{
	cvmm_notifier_fini(&p->n);
	cvmm_close_fd(&p->peer_fd);
}

static void peer_writes(const struct pair *p)
{
	const uint64_t value = 0x1234;

	assert_int_equal(write(p->peer_fd, &value, sizeof(value)), sizeof(value));
}

static void peer_reads(const struct pair *p)
{
	uint64_t value;

	assert_int_equal(read(p->peer_fd, &value, sizeof(value)), sizeof(value));
}

static bool is_ready(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, 0) == 1;
}

static void expect_kicks(struct pair p)
{
	assert_int_equal(cvmm_notifier_consume(&p.n), 0);
	peer_writes(&p);
	peer_writes(&p);
	assert_int_equal(cvmm_notifier_consume(&p.n), 1);
	assert_int_equal(cvmm_notifier_consume(&p.n), 0);
	peer_writes(&p);
	assert_int_equal(cvmm_notifier_consume(&p.n), 1);
	/* The other direction is not ours. */
	assert_int_equal(cvmm_notifier_signal(&p.n), -EBADF);
	end_pair(&p);
}

static void expect_calls(struct pair p)
{
	assert_false(is_ready(p.peer_fd, POLLIN));
	assert_int_equal(cvmm_notifier_signal(&p.n), 0);
	assert_true(is_ready(p.peer_fd, POLLIN));
	peer_reads(&p);
	assert_false(is_ready(p.peer_fd, POLLIN));
	assert_int_equal(cvmm_notifier_consume(&p.n), -EBADF);
	end_pair(&p);
}

static void an_eventfd_of_a_peer_works_in_both_directions(void **state)
{
	(void)state;
	expect_kicks(eventfd_pair(true));
	expect_calls(eventfd_pair(false));
}

static void each_end_of_a_pipe_of_a_peer_works(void **state)
{
	(void)state;
	expect_kicks(pipe_pair(true));
	expect_calls(pipe_pair(false));
}

static void sockets_of_a_peer_work_in_both_directions(void **state)
{
	const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(types); i++) {
		expect_kicks(socket_pair(types[i], true));
		expect_calls(socket_pair(types[i], false));
	}
}

static void a_pipe_may_have_any_number_of_bytes(void **state)
{
	struct pair p = pipe_pair(true);
	char many[10000] = "";

	(void)state;
	assert_int_equal(write(p.peer_fd, many, 1), 1);
	assert_int_equal(cvmm_notifier_consume(&p.n), 1);
	assert_int_equal(write(p.peer_fd, many, sizeof(many)), sizeof(many));
	assert_int_equal(cvmm_notifier_consume(&p.n), 1);
	assert_int_equal(cvmm_notifier_consume(&p.n), 0);
	end_pair(&p);
}

static void what_a_peer_left_blocking_becomes_ours(void **state)
{
	struct pair pairs[] = { pipe_pair(true), pipe_pair(false), socket_pair(SOCK_STREAM, true),
				socket_pair(SOCK_STREAM, false) };

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(pairs); i++) {
		struct cvmm_notifier *n = &pairs[i].n;
		int fd = n->read_fd < 0 ? n->write_fd : n->read_fd;

		assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
		end_pair(&pairs[i]);
		assert_int_equal(n->read_fd, -1);
		assert_int_equal(n->write_fd, -1);
	}
}

/* ---- what is refused ----------------------------------------------------------------------- */

static void expect_refused(int fd, bool we_read, int code)
{
	struct cvmm_notifier n = { 100, 101, CVMM_NOTIFIER_PIPE };

	assert_true(fd >= 0);
	assert_int_equal(cvmm_notifier_from_fd(fd, we_read, &n), code);
	/* Closed all the same. */
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(n.read_fd, 100);
	assert_int_equal(n.write_fd, 101);
	assert_int_equal(n.kind, CVMM_NOTIFIER_PIPE);
}

static void what_is_always_ready_is_refused(void **state)
{
	char path[] = "/tmp/cvmm-event-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	unlink(path);
	expect_refused(dup(fd), true, -EINVAL);
	expect_refused(fd, false, -EINVAL);
	expect_refused(open("/tmp", O_RDONLY), true, -EINVAL);
	expect_refused(open("/dev/null", O_RDWR), true, -EINVAL);
	expect_refused(open("/dev/zero", O_RDWR), false, -EINVAL);
}

static void the_wrong_end_of_a_pipe_is_refused(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	expect_refused(fds[1], true, -EINVAL);
	expect_refused(fds[0], false, -EINVAL);
}

static void sockets_of_the_network_are_refused(void **state)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	if (fd < 0) {
		print_message("SKIP: there is no network here\n");
		skip();
	}
	expect_refused(fd, true, -EINVAL);
}

static void descriptors_that_are_closed_are_refused(void **state)
{
	struct cvmm_notifier n;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(cvmm_notifier_from_fd(fds[0], true, &n), -EBADF);
	assert_int_equal(cvmm_notifier_from_fd(-1, true, &n), -EBADF);
}

static void descriptors_without_rights_are_refused(void **state)
{
#ifdef O_PATH
	char dir[] = "/tmp/cvmm-event-XXXXXX", path[sizeof(dir) + 8];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	expect_refused(open(path, O_PATH), true, -EBADF);
	unlink(path);
	rmdir(dir);
#else
	(void)state;
	print_message("SKIP: this system has no O_PATH\n");
	skip();
#endif
}

/* ---- signals that cannot be delivered ------------------------------------------------------ */

/* Until not even one byte more has room. */
static void fill(int fd)
{
	assert_int_equal(cvmm_set_nonblock(fd, true), 0);
	while (write(fd, "x", 1) == 1)
		;
	assert_int_equal(errno, EAGAIN);
}

static void a_full_pipe_or_socket_is_no_error(void **state)
{
	struct pair pairs[] = { pipe_pair(false), socket_pair(SOCK_STREAM, false),
				socket_pair(SOCK_DGRAM, false) };

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(pairs); i++) {
		fill(pairs[i].n.write_fd);
		assert_int_equal(cvmm_notifier_signal(&pairs[i].n), 0);
		assert_true(is_ready(pairs[i].peer_fd, POLLIN));
		end_pair(&pairs[i]);
	}
}

static void a_saturated_eventfd_is_no_error(void **state)
{
	struct pair p = eventfd_pair(false);
	const uint64_t most = UINT64_MAX - 1;

	(void)state;
	assert_int_equal(write(p.peer_fd, &most, sizeof(most)), sizeof(most));
	assert_int_equal(cvmm_notifier_signal(&p.n), 0);
	assert_true(is_ready(p.peer_fd, POLLIN));
	end_pair(&p);
}

static bool sigpipe_is(int (*query)(sigset_t *set))
{
	sigset_t set;

	assert_int_equal(query(&set), 0);
	return sigismember(&set, SIGPIPE) == 1;
}

static int blocked_signals(sigset_t *set)
{
	return pthread_sigmask(SIG_SETMASK, NULL, set);
}

static void set_sigpipe_blocked(bool blocked)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	assert_int_equal(pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL), 0);
}

static void take_sigpipe(void)
{
	sigset_t set;
	int taken = 0;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	assert_int_equal(sigwait(&set, &taken), 0);
	assert_int_equal(taken, SIGPIPE);
}

static void set_sigpipe_action(void (*handler)(int number))
{
	struct sigaction action = { .sa_handler = handler };

	assert_int_equal(sigaction(SIGPIPE, &action, NULL), 0);
}

static void a_peer_that_reads_no_more_is_reported_and_kills_nobody(void **state)
{
	struct pair pairs[] = { pipe_pair(false), socket_pair(SOCK_STREAM, false) };

	(void)state;
	set_sigpipe_action(SIG_DFL); /* death */
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(pairs); i++) {
		assert_int_equal(cvmm_notifier_signal(&pairs[i].n), 0);
		cvmm_close_fd(&pairs[i].peer_fd);
		for (int j = 0; j < 3; j++)
			assert_int_equal(cvmm_notifier_signal(&pairs[i].n), -EPIPE);
		assert_false(sigpipe_is(sigpending));
		assert_false(sigpipe_is(blocked_signals));
		end_pair(&pairs[i]);
	}
}

static void a_pipe_of_ours_without_its_reader_kills_nobody(void **state)
{
	struct cvmm_notifier n;

	(void)state;
	set_sigpipe_action(SIG_DFL);
	assert_int_equal(cvmm_notifier_init(&n, CVMM_NOTIFIER_PIPE), 0);
	cvmm_close_fd(&n.read_fd); /* moved to a peer, which has closed it */
	assert_int_equal(cvmm_notifier_signal(&n), -EPIPE);
	assert_false(sigpipe_is(sigpending));
	cvmm_notifier_fini(&n);
}

static atomic_int handled;

static void count_handled(int number)
{
	(void)number;
	atomic_fetch_add(&handled, 1);
}

static void a_handler_of_the_program_sees_nothing_of_it(void **state)
{
	struct pair p = pipe_pair(false);

	(void)state;
	atomic_store(&handled, 0);
	set_sigpipe_action(count_handled);
	cvmm_close_fd(&p.peer_fd);
	assert_int_equal(cvmm_notifier_signal(&p.n), -EPIPE);
	assert_int_equal(atomic_load(&handled), 0);
	/* And is still there for others. */
	assert_int_equal(raise(SIGPIPE), 0);
	assert_int_equal(atomic_load(&handled), 1);
	set_sigpipe_action(SIG_DFL);
	end_pair(&p);
}

static void a_blocked_sigpipe_stays_as_the_caller_has_it(void **state)
{
	struct pair p = pipe_pair(false);

	(void)state;
	set_sigpipe_action(SIG_DFL);
	set_sigpipe_blocked(true);
	cvmm_close_fd(&p.peer_fd);
	assert_int_equal(cvmm_notifier_signal(&p.n), -EPIPE);
	assert_false(sigpipe_is(sigpending));
	assert_true(sigpipe_is(blocked_signals));
	/* One that waits for the caller is not taken from it. */
	assert_int_equal(raise(SIGPIPE), 0);
	assert_int_equal(cvmm_notifier_signal(&p.n), -EPIPE);
	assert_true(sigpipe_is(sigpending));
	take_sigpipe();
	assert_false(sigpipe_is(sigpending));
	set_sigpipe_blocked(false);
	end_pair(&p);
}

static void an_ignored_sigpipe_is_no_reason_to_wait(void **state)
{
	struct pair p = pipe_pair(false);

	(void)state;
	set_sigpipe_action(SIG_IGN);
	cvmm_close_fd(&p.peer_fd);
	assert_int_equal(cvmm_notifier_signal(&p.n), -EPIPE);
	set_sigpipe_blocked(true);
	assert_int_equal(cvmm_notifier_signal(&p.n), -EPIPE);
	set_sigpipe_blocked(false);
	set_sigpipe_action(SIG_DFL);
	end_pair(&p);
}

/* ---- peers that mean no good --------------------------------------------------------------- */

static void a_peer_that_writes_no_more_is_reported_after_its_last_signal(void **state)
{
	struct pair pairs[] = { pipe_pair(true), socket_pair(SOCK_STREAM, true) };

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(pairs); i++) {
		peer_writes(&pairs[i]);
		cvmm_close_fd(&pairs[i].peer_fd);
		assert_int_equal(cvmm_notifier_consume(&pairs[i].n), 1);
		assert_int_equal(cvmm_notifier_consume(&pairs[i].n), -EPIPE);
		assert_int_equal(cvmm_notifier_consume(&pairs[i].n), -EPIPE);
		end_pair(&pairs[i]);
	}
}

/* Packets, of which a read takes one: more of them than a round reads. */
static void a_peer_that_floods_us_is_read_in_bounded_steps(void **state)
{
	struct pair p = socket_pair(SOCK_SEQPACKET, true);
	int room = 4 << 20, sent = 0, rounds = 0;

	(void)state;
	assert_int_equal(setsockopt(p.peer_fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
	while (sent < 3 * EVENT_CONSUME_MAX_READS &&
	       send(p.peer_fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1)
		sent++;
	if (sent <= EVENT_CONSUME_MAX_READS) {
		print_message("SKIP: this system's sockets hold %d packets only\n", sent);
		end_pair(&p);
		skip();
	}
	while (cvmm_notifier_consume(&p.n) == 1) {
		rounds++;
		assert_int_equal(is_ready(p.n.read_fd, POLLIN),
				 sent > rounds * EVENT_CONSUME_MAX_READS);
	}
	assert_int_equal(rounds, (sent + EVENT_CONSUME_MAX_READS - 1) / EVENT_CONSUME_MAX_READS);
	end_pair(&p);
}

/* The peer keeps what it has sent, and takes back the flag that keeps us from blocking. */
static struct pair blocking_pair(int sent, bool we_read)
{
	struct pair p = { .peer_fd = dup(sent) };

	p.n = must_take(sent, we_read);
	assert_int_equal(cvmm_set_nonblock(p.peer_fd, false), 0);
	return p;
}

/* Where this fails it never ends. */
static void expect_no_blocking(int reader, int writer)
{
	struct pair kick = blocking_pair(dup(reader), true);
	struct pair call = blocking_pair(dup(writer), false);

	assert_int_equal(cvmm_notifier_consume(&kick.n), 0);
	assert_int_equal(cvmm_notifier_signal(&call.n), 0);
	assert_int_equal(cvmm_notifier_consume(&kick.n), 1);
	assert_int_equal(cvmm_notifier_consume(&kick.n), 0);
	if (call.n.kind != CVMM_NOTIFIER_EVENTFD) {
		fill(writer);
		assert_int_equal(cvmm_set_nonblock(writer, false), 0);
		assert_int_equal(cvmm_notifier_signal(&call.n), 0);
	}
	end_pair(&kick);
	end_pair(&call);
}

static void a_peer_cannot_make_us_block_on_its_socket(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	expect_no_blocking(fds[0], fds[1]);
	close(fds[0]);
	close(fds[1]);
}

static void a_peer_cannot_make_us_block_on_its_pipe(void **state)
{
	int fds[2], own = -1;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(cvmm_reopen_nonblock(fds[0], O_RDONLY, &own), 0);
	if (!(fcntl(own, F_GETFL) & O_NONBLOCK)) {
		close(own);
		print_message("SKIP: this system cannot open pipes anew\n");
		skip();
	}
	close(own);
	expect_no_blocking(fds[0], fds[1]);
	close(fds[0]);
	close(fds[1]);
}

/* Whether empty eventfds can be read without blocking, whatever their flag. */
static bool can_read_eventfds_now(int fd)
{
#ifdef RWF_NOWAIT
	uint64_t value;
	struct iovec iov = { &value, sizeof(value) };

	return preadv2(fd, &iov, 1, -1, RWF_NOWAIT) < 0 && errno == EAGAIN;
#else
	(void)fd;
	return false;
#endif
}

static void a_peer_cannot_make_us_block_on_its_eventfd(void **state)
{
	int fd = peers_eventfd();

	(void)state;
	if (fd < 0 || !can_read_eventfds_now(fd)) {
		cvmm_close_fd(&fd);
		print_message("SKIP: this system has no such way to read eventfds\n");
		skip();
	}
	expect_no_blocking(fd, fd);
	close(fd);
}

/* ---- in a loop ----------------------------------------------------------------------------- */

struct watched {
	const struct cvmm_notifier *n;
	struct cvmm_source *source;
	int signals;
	int end;
};

static void consume_until_the_end(void *ctx, int fd, unsigned int events)
{
	struct watched *w = ctx;
	int ret = cvmm_notifier_consume(w->n);

	(void)fd;
	(void)events;
	if (ret > 0)
		w->signals++;
	if (ret >= 0)
		return;
	w->end = ret;
	cvmm_source_remove(w->source);
	w->source = NULL;
}

static void a_loop_hears_each_kick_and_the_end_of_a_peer(void **state)
{
	struct pair pairs[] = { pipe_pair(true), socket_pair(SOCK_STREAM, true) };
	struct fixture *f = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(pairs); i++) {
		struct watched w = { .n = &pairs[i].n };

		assert_int_equal(cvmm_loop_add_fd(f->loop, w.n->read_fd, CVMM_EVENT_READ,
						  consume_until_the_end, &w, &w.source),
				 0);
		assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
		for (int j = 1; j <= 3; j++) {
			peer_writes(&pairs[i]);
			assert_int_equal(cvmm_loop_run_once(f->loop, -1), 1);
			assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
			assert_int_equal(w.signals, j);
		}
		cvmm_close_fd(&pairs[i].peer_fd);
		assert_int_equal(cvmm_loop_run_once(f->loop, -1), 1);
		assert_int_equal(w.signals, 3);
		assert_int_equal(w.end, -EPIPE);
		/* It does not spin. */
		assert_null(w.source);
		assert_int_equal(cvmm_loop_run_once(f->loop, 0), 0);
		end_pair(&pairs[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_eventfd_of_a_peer_works_in_both_directions),
		cmocka_unit_test(each_end_of_a_pipe_of_a_peer_works),
		cmocka_unit_test(sockets_of_a_peer_work_in_both_directions),
		cmocka_unit_test(a_pipe_may_have_any_number_of_bytes),
		cmocka_unit_test(what_a_peer_left_blocking_becomes_ours),
		cmocka_unit_test(what_is_always_ready_is_refused),
		cmocka_unit_test(the_wrong_end_of_a_pipe_is_refused),
		cmocka_unit_test(sockets_of_the_network_are_refused),
		cmocka_unit_test(descriptors_that_are_closed_are_refused),
		cmocka_unit_test(descriptors_without_rights_are_refused),
		cmocka_unit_test(a_full_pipe_or_socket_is_no_error),
		cmocka_unit_test(a_saturated_eventfd_is_no_error),
		cmocka_unit_test(a_peer_that_reads_no_more_is_reported_and_kills_nobody),
		cmocka_unit_test(a_pipe_of_ours_without_its_reader_kills_nobody),
		cmocka_unit_test(a_handler_of_the_program_sees_nothing_of_it),
		cmocka_unit_test(a_blocked_sigpipe_stays_as_the_caller_has_it),
		cmocka_unit_test(an_ignored_sigpipe_is_no_reason_to_wait),
		cmocka_unit_test(a_peer_that_writes_no_more_is_reported_after_its_last_signal),
		cmocka_unit_test(a_peer_that_floods_us_is_read_in_bounded_steps),
		cmocka_unit_test(a_peer_cannot_make_us_block_on_its_socket),
		cmocka_unit_test(a_peer_cannot_make_us_block_on_its_pipe),
		cmocka_unit_test(a_peer_cannot_make_us_block_on_its_eventfd),
	};
	const struct CMUnitTest loop_tests[] = {
		LOOP_TEST(a_loop_hears_each_kick_and_the_end_of_a_peer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_IN_EVERY_CONFIG(loop_tests);
}
