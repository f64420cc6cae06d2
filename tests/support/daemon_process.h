/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Runs a vhost-user daemon for tests: in a directory of its own, with a service manager that waits until it is
 * ready, and with its standard error in a file. The program is $CVMM_DAEMON. Whatever should never fail
 * ends the test program.
 *
 *   struct daemon_process d;
 *
 *   daemon_begin(&d);
 *   daemon_start(&d, "--socket-path", d.socket, NULL);   // waits until it is ready
 *   ...
 *   assert_int_equal(daemon_stop(&d, SIGTERM), 0);       // exit status, or -N for signal N
 *   daemon_end(&d);
 *
 * In programs built with sanitizers --sandbox none is added: a sanitizer needs more system calls than the
 * program that it looks after.
 */
#ifndef CVMM_TESTS_DAEMON_PROCESS_H
#define CVMM_TESTS_DAEMON_PROCESS_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cvmm/base.h>

#define DAEMON_DEADLINE_MS 60000
#define DAEMON_ARGS_MAX 32

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DAEMON_SANITIZED true
#else
#define DAEMON_SANITIZED false
#endif

#define daemon_must(cond)                                                                         \
	do {                                                                                      \
		if (!(cond)) {                                                                    \
			fprintf(stderr, "%s:%d: daemon: not true: %s (%s)\n", __FILE__, __LINE__, \
				#cond, strerror(errno));                                          \
			abort();                                                                  \
		}                                                                                 \
	} while (0)

struct daemon_process {
	char dir[64];
	char socket[96];   /* for --socket-path */
	char log_path[96]; /* standard error */
	char notify_path[96];
	char status[64]; /* the last thing that the service manager was told */
	int notify_fd;
	pid_t pid; /* 0 while it does not run */
	void (*in_child)(void *ctx);
	void *ctx;
};

static inline int daemon_socket(const char *path, int type, bool connects)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	int ret;

	daemon_must(fd >= 0 && strlen(path) < sizeof(sun.sun_path));
	strcpy(sun.sun_path, path);
	ret = connects ? connect(fd, (struct sockaddr *)&sun, sizeof(sun))
		       : bind(fd, (struct sockaddr *)&sun, sizeof(sun));
	if (ret == 0 && !connects && type == SOCK_STREAM)
		ret = listen(fd, 8);
	if (ret)
		close(fd);
	return ret ? -1 : fd;
}

static inline void daemon_begin(struct daemon_process *d)
{
	memset(d, 0, sizeof(*d));
	strcpy(d->dir, "/tmp/cvmm-daemon-XXXXXX");
	daemon_must(mkdtemp(d->dir));
	daemon_must(chmod(d->dir, 0755) == 0);
	snprintf(d->socket, sizeof(d->socket), "%s/sock", d->dir);
	snprintf(d->log_path, sizeof(d->log_path), "%s/log", d->dir);
	snprintf(d->notify_path, sizeof(d->notify_path), "%s/notify", d->dir);
	d->notify_fd = daemon_socket(d->notify_path, SOCK_DGRAM, false);
	daemon_must(d->notify_fd >= 0);
}

/* What is in its log: valid until the next call. */
static inline const char *daemon_log_text(const struct daemon_process *d)
{
	static char text[65536];
	int fd = open(d->log_path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : cvmm_read_full(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = 0;
	if (fd >= 0)
		close(fd);
	return text;
}

/* Wait until it has logged something. */
static inline void daemon_wait_log(const struct daemon_process *d, const char *text)
{
	uint64_t deadline = cvmm_clock_ns() + DAEMON_DEADLINE_MS * CVMM_NS_PER_MS;

	while (!strstr(daemon_log_text(d), text)) {
		daemon_must(cvmm_clock_ns() < deadline);
		poll(NULL, 0, 2);
	}
}

static inline __attribute__((noreturn)) void daemon_exec(struct daemon_process *d, char **argv)
{
	int log = open(d->log_path, O_WRONLY | O_CREAT | O_APPEND, 0644);

	dup2(log, 2);
	if (log > 2)
		close(log);
	setenv("NOTIFY_SOCKET", d->notify_path, 1);
	signal(SIGINT, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	if (d->in_child)
		d->in_child(d->ctx);
	execv(argv[0], argv);
	_exit(127);
}

static inline void daemon_spawn_va(struct daemon_process *d, va_list args)
{
	char *argv[DAEMON_ARGS_MAX + 1] = { getenv("CVMM_DAEMON") };
	int count = 1;
	char *arg;

	daemon_must(argv[0] && !d->pid);
	while ((arg = va_arg(args, char *)) && count < DAEMON_ARGS_MAX - 2)
		argv[count++] = arg;
	if (DAEMON_SANITIZED) {
		argv[count++] = (char[]){ "--sandbox" };
		argv[count++] = (char[]){ "none" };
	}
	d->pid = fork();
	daemon_must(d->pid >= 0);
	if (d->pid == 0)
		daemon_exec(d, argv);
}

/* Start it, and do not wait until it is ready. The list of arguments ends with NULL. */
static inline void daemon_spawn(struct daemon_process *d, ...)
{
	va_list args;

	va_start(args, d);
	daemon_spawn_va(d, args);
	va_end(args);
}

/* Wait until it ends. Return: its exit status, or -N for signal N. */
static inline int daemon_wait(struct daemon_process *d)
{
	uint64_t deadline = cvmm_clock_ns() + DAEMON_DEADLINE_MS * CVMM_NS_PER_MS;
	int status = 0;
	pid_t pid;

	daemon_must(d->pid > 0);
	while ((pid = waitpid(d->pid, &status, WNOHANG)) == 0) {
		daemon_must(cvmm_clock_ns() < deadline);
		poll(NULL, 0, 2);
	}
	daemon_must(pid == d->pid);
	d->pid = 0;
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static inline int daemon_stop(struct daemon_process *d, int number)
{
	daemon_must(kill(d->pid, number) == 0);
	return daemon_wait(d);
}

/* Wait for the next message to the service manager, into d->status. Return: whether one came. */
static inline bool daemon_notified(struct daemon_process *d, int timeout_ms)
{
	struct pollfd p = { .fd = d->notify_fd, .events = POLLIN };
	ssize_t n = 0;

	if (poll(&p, 1, timeout_ms) == 1)
		n = recv(d->notify_fd, d->status, sizeof(d->status) - 1, 0);
	d->status[n > 0 ? n : 0] = 0;
	return n > 0;
}

static inline void daemon_wait_ready(struct daemon_process *d)
{
	uint64_t deadline = cvmm_clock_ns() + DAEMON_DEADLINE_MS * CVMM_NS_PER_MS;

	while (!daemon_notified(d, 10) || strcmp(d->status, "READY=1") != 0) {
		if (waitpid(d->pid, NULL, WNOHANG) != 0 || cvmm_clock_ns() > deadline) {
			fprintf(stderr, "the daemon does not become ready: %s\n",
				daemon_log_text(d));
			abort();
		}
	}
}

/* Start it, and wait until it is ready. The list of arguments ends with NULL. */
static inline void daemon_start(struct daemon_process *d, ...)
{
	va_list args;

	va_start(args, d);
	daemon_spawn_va(d, args);
	va_end(args);
	daemon_wait_ready(d);
}

/* Path of socket @index: valid until the call after the next. */
static inline const char *daemon_path(const struct daemon_process *d, int index)
{
	static char paths[2][128];
	static int which;

	which = !which;
	snprintf(paths[which], sizeof(paths[which]), "%s%d", d->socket, index);
	return paths[which];
}

/* Kills it if it runs, and removes the directory. */
static inline void daemon_end(struct daemon_process *d)
{
	char command[128];

	if (d->pid)
		daemon_stop(d, SIGKILL);
	close(d->notify_fd);
	snprintf(command, sizeof(command), "rm -rf '%s'", d->dir);
	daemon_must(system(command) == 0);
}

#endif /* CVMM_TESTS_DAEMON_PROCESS_H */
