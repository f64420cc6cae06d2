/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm daemon: the frame of a program that serves vhost-user devices.
 *
 * A program says what it is called, which options it has and how its device is made;
 * cvmm_daemon_main() does the rest: options, --help, listening or connecting, socket activation,
 * readiness, signals, logs, the sandbox, and the end. It is the one component that prints, and that
 * looks at the environment and the signals of the process: it is called from main().
 *
 * Spec: vhost-user, "Backend program conventions"; systemd, sd_notify(3), sd_listen_fds(3).
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_DAEMON_H
#define CVMM_DAEMON_H

#include <cvmm/vhost-user_backend.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Devices, each with a socket of its own, that one process serves. */
#define CVMM_DAEMON_SOCKETS_MAX 64U

/* Exit statuses besides 0. */
#define CVMM_DAEMON_FAILED 1
#define CVMM_DAEMON_USAGE 2

/* ---- options ----------------------------------------------------------------------------------- */

/**
 * struct cvmm_daemon_option - an option of a program
 * @name: without the dashes
 * @letter: its short form, or 0
 * @value: what help calls the value, e.g. "FILE"; NULL for an option without one
 * @help: what it does, and its default; lines of at most 50 columns
 * @flag: set to true; or
 * @text: set to the value; or
 * @number: set to the value, of @min to @max; or
 * @set: called with the value. Return: 0, or -EINVAL with a message that names no option.
 * @ctx: for @set
 *
 * One of the four says where the value goes. An option that is given again replaces its value.
 */
struct cvmm_daemon_option {
	const char *name;
	char letter;
	const char *value;
	const char *help;
	bool *flag;
	const char **text;
	uint64_t *number;
	uint64_t min;
	uint64_t max;
	int (*set)(void *ctx, const char *value, struct cvmm_error *err);
	void *ctx;
};

/**
 * cvmm_daemon_parse_number() - a decimal number of an option
 * @text: from the user
 * @min: smallest value
 * @max: largest value
 *
 * Return: 0, or -EINVAL with a message that says what is allowed.
 */
CVMM_API int cvmm_daemon_parse_number(const char *text, uint64_t min, uint64_t max,
				      uint64_t *ret_number, struct cvmm_error *err);

/* ---- the program ------------------------------------------------------------------------------- */

/**
 * struct cvmm_daemon_program - a program and its device
 * @size: of this struct, for growth at its end
 * @name: of the program, e.g. "vhost-device-rng"
 * @version: of the program
 * @summary: what it does, for help: a sentence
 * @type: of the device, as vhost-user.json names it, e.g. "rng"
 * @features: of --print-capabilities, ends with NULL; NULL if there are none
 * @options: @option_count options besides those that all daemons have
 * @numbered: sockets are named PATH0, PATH1, ... and --socket-count says how many there are; otherwise
 *            there is one, named PATH
 * @threads: the device starts threads while it runs
 * @syscalls: @syscall_count numbers of system calls that the device needs besides those of the frame
 * @ioctls: @ioctl_count requests of ioctl(2) that it needs
 * @open: check the options together, and open all that needs a path: no file can be opened later.
 *        @sockets is how many devices there will be. Return: 0; -EINVAL with a message for a usage
 *        that cannot be; or negative errno with a message. May be NULL.
 * @create: make device number @index. Fills @config's ops, dev, and what else it wants; loop and log are
 *          there. Called in the sandbox, but before system calls are filtered. Return: 0, or
 *          negative errno with a message.
 * @destroy: undo @create; also called for devices that were not made
 *
 * All are called on the thread of main(), with the ctx given to cvmm_daemon_main().
 */
struct cvmm_daemon_program {
	size_t size;
	const char *name;
	const char *version;
	const char *summary;
	const char *type;
	const char *const *features;
	const struct cvmm_daemon_option *options;
	size_t option_count;
	bool numbered;
	bool threads;
	const long *syscalls;
	size_t syscall_count;
	const unsigned long *ioctls;
	size_t ioctl_count;
	int (*open)(void *ctx, unsigned int sockets, struct cvmm_error *err);
	int (*create)(void *ctx, unsigned int index, struct cvmm_vhost_user_backend_config *config,
		      struct cvmm_error *err);
	void (*destroy)(void *ctx, unsigned int index);
};

/**
 * cvmm_daemon_main() - be that program
 * @ctx: for the calls of @program
 * @argc: as main() got it
 * @argv: as main() got it; must stay
 *
 * Changes the process for good: signals, sandbox, limits. Call it once, from main(), while there are no
 * other threads, and return what it returns.
 *
 * Return: 0 after a signal that asks to end, or when the connection of --fd ended;
 * CVMM_DAEMON_USAGE; CVMM_DAEMON_FAILED. What was wrong is on standard error.
 */
CVMM_API int cvmm_daemon_main(const struct cvmm_daemon_program *program, void *ctx, int argc,
			      char **argv);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_DAEMON_H */
