// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

#include "terminal.h"
#include "test_run.h"

#define STEP_MS 10
#define STEPS_MAX 3000 /* only a hang takes so long */

struct pty {
	int master, slave;
};

static int setup(void **state)
{
	struct pty *p = calloc(1, sizeof(*p));
	char path[64];

	if (!p)
		return -1;
	*state = p;
	p->slave = -1;
	p->master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (p->master < 0 || grantpt(p->master) || unlockpt(p->master) ||
	    ptsname_r(p->master, path, sizeof(path)))
		return 0; /* each test skips */
	p->slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	return 0;
}

static int teardown(void **state)
{
	struct pty *p = *state;

	cvmm_close_fd(&p->slave);
	cvmm_close_fd(&p->master);
	free(p);
	return 0;
}

static struct pty *need_pty(void **state)
{
	struct pty *p = *state;

	if (p->slave < 0) {
		print_message("SKIP: this system gives no pseudo-terminal\n");
		skip();
	}
	return p;
}

static bool is_raw(const struct pty *p)
{
	struct termios t;

	assert_int_equal(tcgetattr(p->slave, &t), 0);
	assert_int_equal(!(t.c_lflag & ICANON), !(t.c_lflag & ECHO));
	return !(t.c_lflag & ICANON);
}

static void expect_cooked_soon(const struct pty *p)
{
	for (int i = 0; is_raw(p); i++) {
		assert_true(i < STEPS_MAX);
		poll(NULL, 0, STEP_MS);
	}
}

static void a_taken_terminal_is_raw_until_given_back(void **state)
{
	struct pty *p = need_pty(state);
	struct cvmm_terminal t = CVMM_TERMINAL_NONE;
	struct termios before, after;

	tcgetattr(p->slave, &before);
	assert_int_equal(cvmm_terminal_take(p->slave, &t, NULL), 0);
	assert_true(is_raw(p));
	assert_int_equal(t.fd, p->slave);
	cvmm_terminal_give_back(&t);
	tcgetattr(p->slave, &after);
	assert_int_equal(before.c_lflag, after.c_lflag);
	assert_int_equal(before.c_iflag, after.c_iflag);
	assert_int_equal(before.c_oflag, after.c_oflag);
	assert_int_equal(t.fd, -1);
	cvmm_terminal_give_back(&t);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no guardian is left */
}

static void signals_are_as_before(void **state)
{
	struct pty *p = need_pty(state);
	struct cvmm_terminal t;
	sigset_t before, during;

	sigprocmask(SIG_BLOCK, NULL, &before);
	assert_int_equal(cvmm_terminal_take(p->slave, &t, NULL), 0);
	sigprocmask(SIG_BLOCK, NULL, &during);
	for (int sig = 1; sig < 32; sig++)
		assert_int_equal(sigismember(&before, sig), sigismember(&during, sig));
	cvmm_terminal_give_back(&t);
}

static const int job_signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGKILL };

/* A process that takes the terminal and then waits for its end; it is alone in its group. */
static pid_t start_taker(struct pty *p)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct cvmm_terminal t;

		/* Who runs the tests may ignore some of these, as nohup does. */
		for (size_t i = 0; i < CVMM_ARRAY_SIZE(job_signals); i++)
			signal(job_signals[i], SIG_DFL);
		setpgid(0, 0);
		close(ready[0]);
		if (cvmm_terminal_take(p->slave, &t, NULL) || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void end_taker(const struct pty *p, pid_t target, pid_t pid, int sig)
{
	int status;

	assert_true(is_raw(p));
	assert_int_equal(kill(target, sig), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	expect_cooked_soon(p);
}

static void the_guardian_restores_after_sigkill(void **state)
{
	struct pty *p = need_pty(state);
	pid_t pid = start_taker(p);

	end_taker(p, pid, pid, SIGKILL);
}

static void the_guardian_survives_what_ends_the_job(void **state)
{
	struct pty *p = need_pty(state);

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(job_signals); i++) {
		pid_t pid = start_taker(p);

		end_taker(p, -pid, pid, job_signals[i]);
	}
}

static void the_guardian_ignores_signals_of_its_own(void **state)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGPIPE, SIGSEGV };
	struct pty *p = need_pty(state);
	struct cvmm_terminal t;

	assert_int_equal(cvmm_terminal_take(p->slave, &t, NULL), 0);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(signals); i++)
		assert_int_equal(kill(t.guardian, signals[i]), 0);
	assert_true(is_raw(p));
	cvmm_terminal_give_back(&t);
	assert_false(is_raw(p));
}

static void the_guardian_holds_nothing_else_open(void **state)
{
	struct pty *p = need_pty(state);
	struct cvmm_terminal t;
	int fds[2], high;
	char byte;

	assert_int_equal(pipe(fds), 0);
	high = fcntl(fds[1], F_DUPFD, 900);
	assert_int_equal(cvmm_terminal_take(p->slave, &t, NULL), 0);
	close(fds[1]);
	cvmm_close_fd(&high);
	assert_int_equal(read(fds[0], &byte, 1), 0); /* else it waits here for ever */
	close(fds[0]);
	cvmm_terminal_give_back(&t);
}

static void a_terminal_that_nobody_reads_is_given_back(void **state)
{
	struct pty *p = need_pty(state);
	struct cvmm_terminal t;
	char text[4096] = { 0 };

	assert_int_equal(cvmm_terminal_take(p->slave, &t, NULL), 0);
	assert_int_equal(cvmm_set_nonblock(p->slave, true), 0);
	for (int i = 0; i < 1000; i++)
		if (write(p->slave, text, sizeof(text)) < 0)
			break;
	assert_int_equal(ioctl(p->slave, TCXONC, TCOOFF), 0);
	cvmm_terminal_give_back(&t);
	assert_int_equal(ioctl(p->slave, TCXONC, TCOON), 0);
	assert_false(is_raw(p));
}

static void what_is_no_terminal_is_refused(void **state)
{
	struct cvmm_terminal t = CVMM_TERMINAL_NONE;
	struct cvmm_error err;
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)state;
	assert_int_equal(cvmm_terminal_take(fd, &t, &err), -ENOTTY);
	assert_non_null(strstr(err.message, "terminal's settings"));
	assert_int_equal(t.fd, -1);
	close(fd);
}

static void sizes_have_a_default(void **state)
{
	const struct winsize size = { .ws_row = 50, .ws_col = 132 };
	struct pty *p = need_pty(state);
	uint16_t rows, cols;

	cvmm_terminal_size(p->slave, &rows, &cols);
	assert_int_equal(rows, 24);
	assert_int_equal(cols, 80);
	assert_int_equal(ioctl(p->master, TIOCSWINSZ, &size), 0);
	cvmm_terminal_size(p->slave, &rows, &cols);
	assert_int_equal(rows, 50);
	assert_int_equal(cols, 132);
	cvmm_terminal_size(-1, &rows, &cols);
	assert_int_equal(rows, 24);
}

#define terminal_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		terminal_test(a_taken_terminal_is_raw_until_given_back),
		terminal_test(signals_are_as_before),
		terminal_test(the_guardian_restores_after_sigkill),
		terminal_test(the_guardian_survives_what_ends_the_job),
		terminal_test(the_guardian_ignores_signals_of_its_own),
		terminal_test(the_guardian_holds_nothing_else_open),
		terminal_test(a_terminal_that_nobody_reads_is_given_back),
		terminal_test(what_is_no_terminal_is_refused),
		terminal_test(sizes_have_a_default),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
