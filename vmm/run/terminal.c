// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "terminal.h"

#define DEFAULT_ROWS 24
#define DEFAULT_COLS 80
#define FDS_CLOSED_MAX 65536 /* where the kernel cannot close a range */

/*
 * Waits until the other end of the pipe is closed, by intent or by death, and restores the terminal.
 * All signals are blocked in it, so that it survives what a terminal or a user sends to the whole job;
 * SIGTTOU among them: it may set the terminal. It ends when its parent does.
 */
static __attribute__((noreturn)) void guard(int fd, int pipe_fd, const struct termios *saved)
{
	char byte;

	while (read(pipe_fd, &byte, 1) < 0 && errno == EINTR)
		;
	/* At once: what was written went through the old settings, and a full terminal may never drain. */
	tcsetattr(fd, TCSANOW, saved);
	_exit(0);
}

/* Holds nothing open but the terminal and its pipe: others wait for the end of our streams. */
static void close_all_but(int a, int b)
{
	unsigned int low = (unsigned int)(a < b ? a : b), high = (unsigned int)(a < b ? b : a);
	long max = sysconf(_SC_OPEN_MAX);

#ifdef SYS_close_range
	if ((!low || syscall(SYS_close_range, 0U, low - 1, 0U) == 0) &&
	    (high - low < 2 || syscall(SYS_close_range, low + 1, high - 1, 0U) == 0) &&
	    syscall(SYS_close_range, high + 1, ~0U, 0U) == 0)
		return;
#endif
	for (int fd = 0; fd < (max > 0 && max < FDS_CLOSED_MAX ? (int)max : FDS_CLOSED_MAX); fd++)
		if (fd != a && fd != b)
			close(fd);
}

static int start_guardian(int fd, const struct termios *saved, struct cvmm_terminal *t)
{
	sigset_t all, before;
	int pipe_fds[2], ret;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC))
		return -errno;
	/* Blocked before it exists: no signal finds it unprepared. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fork();
	ret = pid < 0 ? -errno : 0;
	if (pid == 0) {
		close(pipe_fds[1]);
		setpgid(0, 0);
		close_all_but(fd, pipe_fds[0]);
		guard(fd, pipe_fds[0], saved);
	}
	/* Here too: from now on SIGKILL for our group spares it, whoever of us runs first. */
	if (pid > 0)
		setpgid(pid, pid);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	close(pipe_fds[0]);
	if (ret) {
		close(pipe_fds[1]);
		return ret;
	}
	t->guardian_pipe = pipe_fds[1];
	t->guardian = pid;
	return 0;
}

int cvmm_terminal_take(int fd, struct cvmm_terminal *ret_terminal, struct cvmm_error *err)
{
	struct cvmm_terminal t = { .fd = fd, .guardian_pipe = -1, .guardian = -1 };
	struct termios saved, raw;
	int ret;

	if (tcgetattr(fd, &saved))
		return cvmm_fail(err, -errno, "cannot read the terminal's settings: %s",
				 strerror(errno));
	ret = start_guardian(fd, &saved, &t);
	if (ret)
		return cvmm_fail(err, ret, "cannot start the terminal's guardian: %s",
				 strerror(-ret));
	raw = saved;
	cfmakeraw(&raw);
	if (tcsetattr(fd, TCSANOW, &raw)) {
		ret = cvmm_fail(err, -errno, "cannot make the terminal raw: %s", strerror(errno));
		cvmm_terminal_give_back(&t);
		return ret;
	}
	*ret_terminal = t;
	return 0;
}

void cvmm_terminal_resume(const struct cvmm_terminal *t)
{
	struct termios settings;

	/* Continued in the background it is not ours, and setting it would stop us again. */
	if (t->fd < 0 || tcgetpgrp(t->fd) != getpgrp() || tcgetattr(t->fd, &settings))
		return;
	cfmakeraw(&settings);
	tcsetattr(t->fd, TCSANOW, &settings);
}

void cvmm_terminal_give_back(struct cvmm_terminal *t)
{
	if (t->fd < 0)
		return;
	cvmm_close_fd(&t->guardian_pipe);
	while (waitpid(t->guardian, NULL, 0) < 0 && errno == EINTR)
		;
	*t = CVMM_TERMINAL_NONE;
}

void cvmm_terminal_size(int fd, uint16_t *ret_rows, uint16_t *ret_cols)
{
	struct winsize size = { 0 };

	if (ioctl(fd, TIOCGWINSZ, &size) || !size.ws_row || !size.ws_col) {
		size.ws_row = DEFAULT_ROWS;
		size.ws_col = DEFAULT_COLS;
	}
	*ret_rows = size.ws_row;
	*ret_cols = size.ws_col;
}
