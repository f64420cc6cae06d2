// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* What a daemon does with its process: standard streams, the log, the service manager, signals. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "daemon_internal.h"

/* Run a function in a child, whose status it returns. */
static int in_child(int (*fn)(void *ctx), void *ctx)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fn(ctx));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* ---- standard streams ------------------------------------------------------------------------- */

static int start_without_streams(void *ctx)
{
	(void)ctx;
	for (int fd = 0; fd <= 2; fd++)
		close(fd);
	if (daemon_secure_stdio())
		return 1;
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			return 2;
	/* What is opened next gets none of their numbers. */
	return open("/dev/null", O_RDONLY) > 2 ? 0 : 3;
}

static void streams_that_are_closed_are_opened(void **state)
{
	(void)state;
	assert_int_equal(in_child(start_without_streams, NULL), 0);
}

static int close_the_rest(void *ctx)
{
	int keep[] = { 5, 9 };

	(void)ctx;
	for (int fd = 3; fd < 20; fd++)
		dup2(2, fd);
	daemon_close_inherited(keep, 2);
	for (int fd = 0; fd < 20; fd++)
		if ((fcntl(fd, F_GETFD) >= 0) != (fd <= 2 || fd == 5 || fd == 9))
			return fd + 1;
	return 0;
}

static void descriptors_that_nobody_passed_on_purpose_are_closed(void **state)
{
	(void)state;
	assert_int_equal(in_child(close_the_rest, NULL), 0);
}

/* ---- the log ---------------------------------------------------------------------------------- */

/* A log whose standard error is the given end of something. */
static int saved_stderr;

static void log_to(struct daemon_log *log, int fd, enum cvmm_log_level level)
{
	saved_stderr = fcntl(2, F_DUPFD_CLOEXEC, 3);
	dup2(fd, 2);
	daemon_log_init(log, "prog", level);
}

static void log_fini(struct daemon_log *log)
{
	daemon_log_fini(log);
	dup2(saved_stderr, 2);
	close(saved_stderr);
}

static const char *read_all(int fd, char *buf, size_t size)
{
	ssize_t n = read(fd, buf, size - 1);

	buf[n > 0 ? n : 0] = 0;
	return buf;
}

static void lines_have_the_name_and_what_they_are(void **state)
{
	struct daemon_log log;
	char text[256];
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	log_to(&log, fds[1], CVMM_LOG_INFO);
	cvmm_log(&log.log, CVMM_LOG_ERROR, "e %d", 1);
	cvmm_log(&log.log, CVMM_LOG_WARN, "w");
	cvmm_log(&log.log, CVMM_LOG_INFO, "i");
	cvmm_log(&log.log, CVMM_LOG_DEBUG, "d");
	log_fini(&log);
	assert_string_equal(read_all(fds[0], text, sizeof(text)),
			    "prog: error: e 1\nprog: warning: w\nprog: i\n");
	close(fds[0]);
	close(fds[1]);
}

static void a_message_is_one_line_whatever_is_in_it(void **state)
{
	static char message[2000], text[4000];
	struct daemon_log log;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	log_to(&log, fds[1], CVMM_LOG_INFO);
	cvmm_log(&log.log, CVMM_LOG_INFO, "a\nprog: error: b\033[2J\177");
	log_fini(&log);
	assert_string_equal(read_all(fds[0], text, sizeof(text)), "prog: a?prog: error: b?[2J?\n");
	memset(message, 'x', sizeof(message) - 1);
	log_to(&log, fds[1], CVMM_LOG_INFO);
	log.log.write(log.log.ctx, CVMM_LOG_INFO, message);
	log_fini(&log);
	read_all(fds[0], text, sizeof(text));
	assert_true(strlen(text) < 1024);
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	close(fds[0]);
	close(fds[1]);
}

static void a_reader_that_sleeps_does_not_hold_us_up(int write_end, int read_end)
{
	static char text[1 << 20];
	struct daemon_log log;
	ssize_t n;

	log_to(&log, write_end, CVMM_LOG_INFO);
	for (int i = 0; i < 100000; i++)
		cvmm_log(&log.log, CVMM_LOG_INFO, "line %d, and some more to it", i);
	assert_true(log.dropped > 0);
	assert_true(fcntl(read_end, F_SETFL, O_NONBLOCK) == 0);
	do
		n = read(read_end, text, sizeof(text));
	while (n > 0);
	/* What was lost is told as soon as there is room. */
	cvmm_log(&log.log, CVMM_LOG_INFO, "awake");
	assert_int_equal(log.dropped, 0);
	log_fini(&log);
	read_all(read_end, text, sizeof(text));
	assert_non_null(strstr(text, " lines dropped)\nprog: awake\n"));
	close(read_end);
	close(write_end);
}

static void a_full_pipe_drops_lines_and_counts_them(void **state)
{
	int fds[2];

	(void)state;
	if (access("/proc/self/fd", X_OK)) {
		print_message("SKIP: there is no /proc to open a pipe anew\n");
		skip();
	}
	assert_int_equal(pipe(fds), 0);
	a_reader_that_sleeps_does_not_hold_us_up(fds[1], fds[0]);
}

static void a_full_socket_drops_lines_and_counts_them(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	a_reader_that_sleeps_does_not_hold_us_up(fds[1], fds[0]);
}

/* ---- the service manager ---------------------------------------------------------------------- */

/* A manager that listens at an address; @name is what it puts into the environment. */
static int make_manager(const char *name)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	size_t len = strlen(name);

	memcpy(sun.sun_path, name, len);
	if (name[0] == '@')
		sun.sun_path[0] = 0;
	assert_int_equal(bind(fd, (struct sockaddr *)&sun,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
			 0);
	return fd;
}

static void expect_notified(const char *name)
{
	int manager = make_manager(name), fd = -1;
	struct cvmm_error err = { 0 };
	char text[64];

	if (daemon_notify_open(name, &fd, &err))
		fail_msg("%s", err.message);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	daemon_notify(fd, "READY=1");
	assert_string_equal(read_all(manager, text, sizeof(text)), "READY=1");
	close(manager);
	daemon_notify(fd, "STOPPING=1"); /* nobody is there any more: nothing happens */
	close(fd);
}

static void managers_are_reached_by_path(void **state)
{
	char name[] = "/tmp/cvmm-notify-XXXXXX";

	(void)state;
	assert_non_null(mkdtemp(name));
	assert_int_equal(rmdir(name), 0);
	expect_notified(name);
	assert_int_equal(unlink(name), 0);
}

static void managers_are_reached_by_abstract_names(void **state)
{
	char name[64];

	(void)state;
	snprintf(name, sizeof(name), "@cvmm-notify-%d", (int)getpid());
	expect_notified(name);
}

static void without_a_manager_nobody_is_told(void **state)
{
	struct cvmm_error err = { 0 };
	char name[200];
	int fd = 7;

	(void)state;
	assert_int_equal(daemon_notify_open(NULL, &fd, &err), 0);
	assert_int_equal(fd, -1);
	daemon_notify(fd, "READY=1");
	assert_int_equal(daemon_notify_open("", &fd, &err), -EAFNOSUPPORT);
	assert_int_equal(daemon_notify_open("vsock:2:1234", &fd, &err), -EAFNOSUPPORT);
	assert_int_equal(daemon_notify_open("/no/such/socket", &fd, &err), -ENOENT);
	memset(name, 'x', sizeof(name));
	name[0] = '/';
	name[199] = 0;
	assert_int_equal(daemon_notify_open(name, &fd, &err), -ENAMETOOLONG);
	assert_int_equal(fd, -1);
}

/* ---- signals ---------------------------------------------------------------------------------- */

#define NO_SUCH_SIGNALS 77 /* status of a child: this system has not this way */

struct signal_test {
	enum daemon_signals_kind kind;
	struct cvmm_loop *loop;
	int number;
};

static void on_signal(void *ctx, int number)
{
	struct signal_test *t = ctx;

	t->number = number;
	cvmm_loop_stop(t->loop);
}

static int send_and_wait(struct signal_test *t, int number)
{
	struct daemon_signals *signals;
	int ret = daemon_signals_create(t->kind, t->loop, on_signal, t, &signals);

	if (ret)
		return ret == -ENOTSUP ? NO_SUCH_SIGNALS : 1;
	kill(getpid(), number);
	if (cvmm_loop_run(t->loop) || t->number != number)
		return 2;
	/* The other end of a pipe is gone: an error, and not the end. */
	kill(getpid(), SIGPIPE);
	daemon_signals_destroy(signals);
	return 0;
}

static int receive_signals(void *ctx)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };
	struct signal_test *t = ctx;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(numbers); i++) {
		int ret;

		signal(numbers[i], SIG_DFL);
		if (cvmm_loop_create(CVMM_LOOP_AUTO, &t->loop))
			return 3;
		ret = send_and_wait(t, numbers[i]);
		cvmm_loop_destroy(t->loop);
		if (ret)
			return ret;
	}
	return 0;
}

static void signals_come_through_the_loop_by_a_descriptor(void **state)
{
	struct signal_test t = { .kind = DAEMON_SIGNALS_FD };

	int status;

	(void)state;
	status = in_child(receive_signals, &t);
	if (WIFEXITED(status) && WEXITSTATUS(status) == NO_SUCH_SIGNALS) {
		print_message("SKIP: there is no descriptor for signals here\n");
		skip();
	}
	assert_int_equal(status, 0);
}

static void signals_come_through_the_loop_by_a_thread(void **state)
{
	struct signal_test t = { .kind = DAEMON_SIGNALS_THREAD };

	(void)state;
	assert_int_equal(in_child(receive_signals, &t), 0);
}

/* As nohup does. */
static int receive_ignored(void *ctx)
{
	struct signal_test *t = ctx;
	struct daemon_signals *signals;

	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	if (cvmm_loop_create(CVMM_LOOP_AUTO, &t->loop) ||
	    daemon_signals_create(t->kind, t->loop, on_signal, t, &signals))
		return 1;
	kill(getpid(), SIGHUP);
	kill(getpid(), SIGINT);
	for (int i = 0; i < 5; i++)
		cvmm_loop_run_once(t->loop, 10);
	if (t->number)
		return 2;
	daemon_signals_destroy(signals);
	cvmm_loop_destroy(t->loop);
	return 0;
}

static void signals_that_our_parent_ignores_stay_ignored(void **state)
{
	struct signal_test fd = { .kind = DAEMON_SIGNALS_AUTO };
	struct signal_test thread = { .kind = DAEMON_SIGNALS_THREAD };

	(void)state;
	assert_int_equal(in_child(receive_ignored, &fd), 0);
	assert_int_equal(in_child(receive_ignored, &thread), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_that_are_closed_are_opened),
		cmocka_unit_test(descriptors_that_nobody_passed_on_purpose_are_closed),
		cmocka_unit_test(lines_have_the_name_and_what_they_are),
		cmocka_unit_test(a_message_is_one_line_whatever_is_in_it),
		cmocka_unit_test(a_full_pipe_drops_lines_and_counts_them),
		cmocka_unit_test(a_full_socket_drops_lines_and_counts_them),
		cmocka_unit_test(managers_are_reached_by_path),
		cmocka_unit_test(managers_are_reached_by_abstract_names),
		cmocka_unit_test(without_a_manager_nobody_is_told),
		cmocka_unit_test(signals_come_through_the_loop_by_a_descriptor),
		cmocka_unit_test(signals_come_through_the_loop_by_a_thread),
		cmocka_unit_test(signals_that_our_parent_ignores_stay_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
