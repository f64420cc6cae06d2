// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The back-end's process and its socket.
 *
 * Theory of operation: a back-end serves one connection after the other, and some of them unlink and bind
 * their socket between two, or end with their connection. So connecting is tried again until a deadline, and where
 * there is a command to start the back-end with, it is started whenever its process is gone. How the
 * process ended is looked at: one that was ended by a signal has crashed, and so has one with the status that a
 * panic leaves.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conf.h"

#define RETRY_MS 5U
#define GRACE_MS 2000U
#define START_MS 20000U /* until the socket of what was just started is there */
#define VAIN_STARTS_MAX 10U
#define PANIC_STATUS 101 /* of a Rust program */
#define SHELL_SIGNAL_STATUS 128
#define TAIL_BYTES 600U

struct conf_peer {
	struct sockaddr_un addr;
	char *command; /* NULL: somebody else started it */
	pid_t pid;     /* of what we started; 0: nothing */
	int log_fd;    /* what it prints */
	int input[2];  /* a pipe that nobody writes to: for programs that end with their input */
	int server;    /* pid of who listens, 0 if unknown */
	unsigned int vain_starts; /* since the last connection */
	uint64_t started_ns;
	int status;  /* of the process that ended last */
	bool killed; /* by us, so that the signal is none of its own */
	bool crashed;
	char how[64];
	char last_words[CONF_TEXT_SIZE];
};

int conf_peer_create(const char *socket, const char *command, struct conf_peer **ret_peer)
{
	struct conf_peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return -ENOMEM;
	peer->log_fd = peer->input[0] = peer->input[1] = -1;
	peer->addr.sun_family = AF_UNIX;
	if (strlen(socket) >= sizeof(peer->addr.sun_path)) {
		free(peer);
		return -ENAMETOOLONG;
	}
	memcpy(peer->addr.sun_path, socket, strlen(socket));
	if (command && asprintf(&peer->command, "exec %s", command) < 0) {
		free(peer);
		return -ENOMEM;
	}
	if (command) {
		peer->log_fd = memfd_create("cvmm-drive-log", MFD_CLOEXEC);
		if (pipe2(peer->input, O_CLOEXEC))
			peer->input[0] = peer->input[1] = -1;
	}
	*ret_peer = peer;
	return 0;
}

/* ---- the process ------------------------------------------------------------------------------- */

static void look_at_status(struct conf_peer *peer, int status)
{
	if (peer->killed)
		return;
	if (WIFSIGNALED(status)) {
		peer->crashed = true;
		snprintf(peer->how, sizeof(peer->how), "it was ended by signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	} else if (WEXITSTATUS(status) == PANIC_STATUS ||
		   WEXITSTATUS(status) > SHELL_SIGNAL_STATUS) {
		peer->crashed = true;
		snprintf(peer->how, sizeof(peer->how), "it ended with status %d%s",
			 WEXITSTATUS(status),
			 WEXITSTATUS(status) == PANIC_STATUS ? " (a panic)" : "");
	}
}

/* The last lines that the process printed, into CONF_TEXT_SIZE bytes. */
static void get_output(const struct conf_peer *peer, char *text)
{
	off_t end = peer->log_fd < 0 ? 0 : lseek(peer->log_fd, 0, SEEK_END);
	off_t from = end > (off_t)TAIL_BYTES ? end - (off_t)TAIL_BYTES : 0;
	ssize_t n = end > 0 ? pread(peer->log_fd, text, TAIL_BYTES, from) : 0;

	while (n > 0 && text[n - 1] == '\n')
		n--;
	text[n > 0 ? n : 0] = '\0';
	for (char *p = text; *p; p++)
		if (*p == '\n')
			*p = '|';
}

/* Whether what we started runs. */
static bool is_running(struct conf_peer *peer)
{
	int status;

	if (!peer->pid)
		return false;
	if (waitpid(peer->pid, &status, WNOHANG) != peer->pid)
		return true;
	look_at_status(peer, status);
	if (peer->crashed)
		get_output(peer, peer->last_words);
	peer->status = status;
	peer->pid = 0;
	return false;
}

static _Noreturn void be_the_command(const struct conf_peer *peer)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	dup2(peer->input[0], STDIN_FILENO);
	dup2(peer->log_fd, STDOUT_FILENO);
	dup2(peer->log_fd, STDERR_FILENO);
	signal(SIGPIPE, SIG_DFL);
	execl("/bin/sh", "sh", "-c", peer->command, (char *)NULL);
	_exit(127);
}

static int start(struct conf_peer *peer, struct cvmm_error *err)
{
	pid_t pid;

	if (peer->vain_starts++ == VAIN_STARTS_MAX) {
		char output[CONF_TEXT_SIZE];

		get_output(peer, output);
		return cvmm_fail(err, -ENOEXEC,
				 "the command ends before it can be connected to, with status "
				 "%d: %.400s",
				 WIFEXITED(peer->status) ? WEXITSTATUS(peer->status) : -1, output);
	}
	peer->started_ns = cvmm_clock_ns();
	(void)!ftruncate(peer->log_fd, 0);
	lseek(peer->log_fd, 0, SEEK_SET);
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return cvmm_fail(err, -errno, "cannot fork: %s", strerror(errno));
	if (pid == 0)
		be_the_command(peer);
	peer->pid = pid;
	peer->killed = false;
	return 0;
}

bool conf_peer_kill(struct conf_peer *peer)
{
	int status;

	if (!is_running(peer))
		return false;
	peer->killed = true;
	kill(-peer->pid, SIGTERM);
	for (unsigned int ms = 0; ms < GRACE_MS && is_running(peer); ms += RETRY_MS)
		conf_sleep_ms(RETRY_MS);
	if (peer->pid) {
		kill(-peer->pid, SIGKILL);
		waitpid(peer->pid, &status, 0);
		peer->pid = 0;
	}
	return true;
}

bool conf_peer_crashed(struct conf_peer *peer, char *how, char *output)
{
	is_running(peer);
	if (!peer->crashed)
		return false;
	peer->crashed = false;
	snprintf(how, CONF_TEXT_SIZE, "%s", peer->how);
	snprintf(output, CONF_TEXT_SIZE, "%s", peer->last_words);
	return true;
}

int conf_peer_pid(const struct conf_peer *peer)
{
	return peer->server;
}

void conf_peer_destroy(struct conf_peer *peer)
{
	if (!peer)
		return;
	conf_peer_kill(peer);
	cvmm_close_fd(&peer->log_fd);
	cvmm_close_fd(&peer->input[0]);
	cvmm_close_fd(&peer->input[1]);
	free(peer->command);
	free(peer);
}

/* ---- connecting -------------------------------------------------------------------------------- */

static void remember_server(struct conf_peer *peer, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	peer->server = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) ? 0 : cred.pid;
}

static int try_to_connect(struct conf_peer *peer)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&peer->addr, sizeof(peer->addr)) == 0) {
		remember_server(peer, fd);
		return fd;
	}
	r = -errno;
	close(fd);
	return r;
}

int conf_peer_connect(struct conf_peer *peer, uint64_t deadline_ns, struct cvmm_error *err)
{
	for (;;) {
		int r = 0;

		if (peer->command && !is_running(peer))
			r = start(peer, err);
		if (r)
			return r;
		r = try_to_connect(peer);
		if (r >= 0) {
			peer->vain_starts = 0;
			return r;
		}
		if (cvmm_clock_ns() >= deadline_ns &&
		    (!peer->pid || cvmm_clock_ns() - peer->started_ns > START_MS * CVMM_NS_PER_MS))
			return cvmm_fail(err, r, "cannot connect to %s: %s", peer->addr.sun_path,
					 strerror(-r));
		conf_sleep_ms(RETRY_MS);
	}
}

void conf_sleep_ms(unsigned int ms)
{
	poll(NULL, 0, (int)ms);
}
