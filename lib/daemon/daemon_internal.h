/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What the files of the frame share. All of it belongs to the thread of main(). */
#ifndef CVMM_DAEMON_INTERNAL_H
#define CVMM_DAEMON_INTERNAL_H

#include <sys/stat.h>
#include <sys/un.h>

#include <cvmm/daemon.h>

/* ---- the log, daemon_log.c ----------------------------------------------------------------- */

/**
 * struct daemon_log - lines on standard error
 * @log: what everybody gets
 * @name: of the program, in front of each line
 * @fd: of our own, which does not block: a reader that sleeps must not hold up guests
 * @dropped: lines that did not fit
 */
struct daemon_log {
	struct cvmm_log log;
	const char *name;
	int fd;
	unsigned int dropped;
};

/* Make sure that 0, 1 and 2 are open, so that no other file gets their numbers. Return: 0 or negative errno. */
int daemon_secure_stdio(void);

void daemon_log_init(struct daemon_log *log, const char *name, enum cvmm_log_level max_level);
void daemon_log_fini(struct daemon_log *log);

/* ---- options, daemon_options.c ------------------------------------------------------------- */

struct daemon_option_group {
	const char *title;
	const struct cvmm_daemon_option *options;
	size_t count;
};

/* What a setter returns if nothing else is to be looked at. */
#define DAEMON_OPTIONS_STOP 1

/* Return: 0; DAEMON_OPTIONS_STOP; or -EINVAL with a message that says what to do. */
int daemon_options_parse(const struct daemon_option_group *groups, size_t group_count, int argc,
			 char **argv, struct cvmm_error *err);

/* The text of --help, to be freed, or NULL. */
char *daemon_options_help(const struct cvmm_daemon_program *program,
			  const struct daemon_option_group *groups, size_t group_count);

/* ---- options of all daemons, daemon_settings.c --------------------------------------------- */

enum daemon_sandbox_kind {
	DAEMON_SANDBOX_NONE,
	DAEMON_SANDBOX_SECCOMP,
	DAEMON_SANDBOX_LANDLOCK,
	DAEMON_SANDBOX_NAMESPACE,
};

enum daemon_action {
	DAEMON_RUN,
	DAEMON_HELP,
	DAEMON_VERSION,
	DAEMON_CAPABILITIES
};

#define DAEMON_MODE_UNSET 07777U

struct daemon_settings {
	enum daemon_action action;
	const char *socket_path;
	uint64_t socket_count; /* 0: not said */
	int fds[CVMM_DAEMON_SOCKETS_MAX];
	unsigned int fd_count;
	bool client;
	unsigned int socket_mode;
	bool socket_group_set;
	gid_t socket_group;
	enum cvmm_log_level log_level;
	enum daemon_sandbox_kind sandbox;
	bool sandbox_named; /* by the user: not to be replaced by less */
};

#define DAEMON_COMMON_OPTIONS_MAX 16U

void daemon_settings_init(struct daemon_settings *settings);

/* Fill @options with those of all daemons. Return: how many. */
size_t daemon_settings_options(struct daemon_settings *settings, bool numbered,
			       struct cvmm_daemon_option options[DAEMON_COMMON_OPTIONS_MAX]);

/* Whether the options fit together. Return: 0 or -EINVAL with a message. */
int daemon_settings_check(const struct daemon_settings *settings, struct cvmm_error *err);

/* ---- sockets, daemon_socket.c -------------------------------------------------------------- */

/**
 * struct daemon_address - a path of a Unix socket, and its directory
 * @sun: the path as the kernel takes it
 * @dir_fd: the directory, or -1 without a path; the same in and out of the sandbox
 * @name: in that directory
 */
struct daemon_address {
	struct sockaddr_un sun;
	int dir_fd;
	const char *name; /* in @sun */
};

/* @index is put behind the path unless it is negative. Return: 0 or negative errno with a message. */
int daemon_address_init(struct daemon_address *address, const char *path, int index,
			struct cvmm_error *err);
void daemon_address_fini(struct daemon_address *address);

/**
 * struct daemon_listener - a listening socket
 * @fd: does not block
 * @address: where it is; unused (dir_fd -1) for a socket that was passed
 * @dev: of the file that our bind() made, with @ino
 */
struct daemon_listener {
	int fd;
	struct daemon_address address;
	dev_t dev;
	ino_t ino;
};

/*
 * Listen at a path. A socket that nobody listens on any more is replaced; anything else that is there is
 * left alone. @address is taken, also on failure. Return: 0; -EADDRINUSE, -EEXIST, ... with a message.
 */
int daemon_listener_init(struct daemon_listener *listener, struct daemon_address *address,
			 const struct daemon_settings *settings, struct cvmm_error *err);

/* Close it, and remove the file if it is still the one that we made. Also for a zeroed one with fd -1. */
void daemon_listener_fini(struct daemon_listener *listener);

/*
 * Look at a descriptor that somebody passed, and make it ours. Return: 1 if it listens, 0 if it is
 * connected; or negative errno with a message.
 */
int daemon_passed_check(int fd, struct cvmm_error *err);

/* How many sockets a service manager passed to this process, from @DAEMON_ACTIVATION_FIRST on; 0 if none. */
#define DAEMON_ACTIVATION_FIRST 3
unsigned int daemon_activation_count(const char *listen_pid, const char *listen_fds);

/* Accept without waiting. Return: a descriptor, or negative errno. */
int daemon_accept(int fd);

/* Connect without waiting. Return: a descriptor, or negative errno. */
int daemon_connect(const struct daemon_address *address);

/* ---- the service manager, daemon_notify.c -------------------------------------------------- */

/* Connect to $NOTIFY_SOCKET, @path. Return: 0 with a descriptor, -1 where @path is NULL; or negative errno
 * with a message. */
int daemon_notify_open(const char *path, int *ret_fd, struct cvmm_error *err);

/* Send; a manager that does not listen is not our problem. -1 is allowed. */
void daemon_notify(int fd, const char *state);

/* ---- signals, daemon_signals*.c ------------------------------------------------------------- */

enum daemon_signals_kind {
	DAEMON_SIGNALS_AUTO,
	DAEMON_SIGNALS_FD,     /* signalfd(2): Linux */
	DAEMON_SIGNALS_THREAD, /* sigwait(3) in a thread: everywhere */
};

struct daemon_signals;

/* Call @fn on @loop for each SIGTERM, SIGINT and SIGHUP; ignore SIGPIPE. Return: 0 or negative errno. */
int daemon_signals_create(enum daemon_signals_kind kind, struct cvmm_loop *loop,
			  void (*fn)(void *ctx, int number), void *ctx,
			  struct daemon_signals **ret_signals);
void daemon_signals_destroy(struct daemon_signals *signals);

/* ---- the sandbox, daemon_sandbox_*.c ------------------------------------------------------- */

/**
 * struct daemon_sandbox - how the process is confined
 * @kind: what is asked for
 * @named: by the user; otherwise as much of it as the system permits will do, with a warning
 * @threads: the process will start threads
 * @connects: @addresses are connected to; otherwise their files are to be removed at the end
 * @addresses: @address_count of them, in one directory; they are changed to what reaches it from inside
 * @sockets: devices, for the limit of descriptors
 * @syscalls: @syscall_count more that are allowed
 * @ioctls: @ioctl_count more requests that are allowed
 */
struct daemon_sandbox {
	enum daemon_sandbox_kind kind;
	bool named;
	bool threads;
	bool connects;
	struct daemon_address *addresses[CVMM_DAEMON_SOCKETS_MAX];
	unsigned int address_count;
	unsigned int sockets;
	const long *syscalls;
	size_t syscall_count;
	const unsigned long *ioctls;
	size_t ioctl_count;
	const struct cvmm_log *log;
};

/* Close what was inherited besides 0, 1, 2 and @keep, which are @count in ascending order. */
void daemon_close_inherited(const int *keep, unsigned int count);

/*
 * Take away paths, the network, privileges. Before threads are started. @sandbox's kind becomes what was
 * reached. Return: 0; or negative errno with a message.
 */
int daemon_sandbox_enter(struct daemon_sandbox *sandbox, struct cvmm_error *err);

/* Allow no system calls but those that are needed from now on, in all threads. Return: as enter. */
int daemon_sandbox_filter(struct daemon_sandbox *sandbox, struct cvmm_error *err);

/* What post-copy needs, and cannot open in the sandbox. Return: a descriptor, or -1. */
int daemon_userfaultfd_open(void);

/* The parts of it. Return: 0; or negative errno with a message that says what the system refused. */
int daemon_namespace_enter(struct daemon_sandbox *sandbox, struct cvmm_error *err);
int daemon_landlock_enter(const struct daemon_sandbox *sandbox, struct cvmm_error *err);
int daemon_seccomp_install(const struct daemon_sandbox *sandbox, struct cvmm_error *err);

/* ---- ports, daemon_port.c ------------------------------------------------------------------ */

enum daemon_port_kind {
	DAEMON_PORT_LISTEN,  /* serve one connection after the other */
	DAEMON_PORT_CONNECT, /* keep connecting */
	DAEMON_PORT_ONCE,    /* there is one connection, and no other */
};

/* Between attempts to connect: doubles from the first to the second. */
#define DAEMON_BACK_OFF_FIRST_NS (UINT64_C(100) * CVMM_NS_PER_MS)
#define DAEMON_BACK_OFF_MAX_NS (UINT64_C(5) * CVMM_NS_PER_S)

/**
 * struct daemon_port - a device and the way in which front-ends come to it
 * @connected: DAEMON_PORT_ONCE: the connection, until it is attached
 * @ended: called when a port of the kind ONCE has served
 */
struct daemon_port {
	enum daemon_port_kind kind;
	unsigned int index;
	struct daemon_listener listener;
	struct daemon_address address;
	int connected;
	struct cvmm_loop *loop;
	const struct cvmm_log *log;
	struct cvmm_log_limit log_limit;
	struct cvmm_vhost_user_backend *backend;
	struct cvmm_source *source;
	struct cvmm_source *timer;
	uint64_t back_off_ns;
	int last_error;
	void (*ended)(void *ctx);
	void *ended_ctx;
};

void daemon_port_init(struct daemon_port *port, unsigned int index);

/* Make the back-end; nothing is accepted before daemon_port_start(). @config's closed is the port's own. */
int daemon_port_create(struct daemon_port *port, struct cvmm_vhost_user_backend_config *config,
		       struct cvmm_error *err);
int daemon_port_start(struct daemon_port *port, struct cvmm_error *err);

/* End the connection and the back-end; the listener stays. */
void daemon_port_stop(struct daemon_port *port);
void daemon_port_fini(struct daemon_port *port);

#endif /* CVMM_DAEMON_INTERNAL_H */
