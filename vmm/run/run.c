// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * `cvmm run`: one command in one throwaway machine.
 *
 * Theory of operation
 *
 * Everything but the virtual CPUs and the disks' I/O happens on one loop. A run ends in one of these ways, whichever
 * comes first, and the loop stops when the end is known and what the guest wrote is written out:
 *
 *   - the guest's init reports the command's exit status, after all of its output;
 *   - the init, the machine or this program fails: 125;
 *   - the time is up: 124, or 125 if the command was never started;
 *   - a signal: it goes to the command first; a second one, or SIGNAL_GRACE_NS without an end, ends the
 *     machine, and the status is 128 + the signal.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cvmm/blk.h>
#include <cvmm/console.h>
#include <cvmm/rng.h>
#include <cvmm/vhost-user-proxy.h>
#include <cvmm/vmm.h>

#include "../guest/protocol.h"
#include "initramfs.h"
#include "kernels.h"
#include "options.h"
#include "run.h"
#include "session.h"
#include "terminal.h"
#include "timing.h"

#define STATUS_TIMEOUT 124
#define STATUS_FAILED 125
#define SIGNAL_GRACE_NS (UINT64_C(5) * CVMM_NS_PER_S)
#define KERNEL_LOG_BYTES 8192
#define KERNEL_LOG_LINES_SHOWN 12
#define CMDLINE_CAPACITY 4096
#define STDERR_WAIT_MS 20
#define DEV_CONNECT_MS 5000U /* for programs that are started together with us */
#define STDERR_BYTES_MAX 256 /* a pipe or terminal that is ready has room for them */

/* The end of what the guest's kernel said, for the case that it fails. */
struct kernel_log {
	pthread_mutex_t lock;
	bool copy_to_stderr;
	atomic_bool is_over; /* copying ends, even in the midst of a wait for the reader */
	uint64_t total;
	char bytes[KERNEL_LOG_BYTES];
};

struct run {
	struct cvmm_run_options options;
	struct cvmm_loop *loop;
	struct cvmm_machine *machine;
	struct cvmm_session *session;
	struct cvmm_console *console;
	struct cvmm_rng *rng;
	struct cvmm_blk *disks[CVMM_RUN_DISKS_MAX + 1];
	unsigned int disk_count;
	struct cvmm_vhost_user_proxy *devs[CVMM_RUN_DEVS_MAX];
	struct cvmm_cpio initramfs;
	struct cvmm_terminal terminal;
	struct cvmm_timing timing;
	struct kernel_log kernel_log;
	struct cvmm_log log;
	struct cvmm_source *signal_source, *timeout, *grace;

	char *kernel_path;
	char *kernel_version;
	char *modules_dir;
	const char *root_type;
	int kernel_fd, initrd_fd, signal_fd;
	int control[2]; /* ours, the console's */
	int stdio[3];	/* non-blocking where that is possible */
	unsigned int tty_mask;
	sigset_t watched_signals, old_signals;

	bool command_started;
	bool ended;		/* the command's end is known; output may still wait */
	bool output_lost;	/* and the command may not have noticed */
	bool kernel_log_wanted; /* the end is one that the kernel's messages explain */
	int signal_received;
	int status;
	struct cvmm_error error; /* why the status is STATUS_FAILED */
};

/* ---- messages ---------------------------------------------------------------------------------- */

static void print_message(struct run *r, const char *message)
{
	/* A raw terminal needs the carriage return. */
	fprintf(stderr, "cvmm: %s%s\n", message, r->terminal.fd >= 0 ? "\r" : "");
}

/* Whether standard error, or a failure of it, is ready; else a reader that is stuck would hold us up. */
static bool can_write_stderr(int timeout_ms)
{
	struct pollfd p = { .fd = 2, .events = POLLOUT };

	return poll(&p, 1, timeout_ms) > 0;
}

/* Where nobody takes it a line is dropped: the loop and the virtual CPUs must go on. */
static void write_log(void *ctx, enum cvmm_log_level level, const char *message)
{
	(void)level;
	if (can_write_stderr(0))
		print_message(ctx, message);
}

/* On a virtual CPU's thread, in which no signal ends a write(): so it waits in small steps. */
static void copy_to_stderr(struct kernel_log *log, const char *bytes, size_t len)
{
	while (len && !atomic_load(&log->is_over)) {
		ssize_t n = 0;

		if (can_write_stderr(STDERR_WAIT_MS))
			n = write(2, bytes, len < STDERR_BYTES_MAX ? len : STDERR_BYTES_MAX);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return;
		bytes += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
}

static void on_serial_output(void *ctx, const void *bytes, size_t len)
{
	struct run *r = ctx;
	struct kernel_log *log = &r->kernel_log;
	const char *text = bytes;

	pthread_mutex_lock(&log->lock);
	for (size_t i = 0; i < len; i++)
		log->bytes[log->total++ % KERNEL_LOG_BYTES] = text[i];
	pthread_mutex_unlock(&log->lock);
	if (log->copy_to_stderr)
		copy_to_stderr(log, bytes, len);
}

/* Where the interesting part of @text begins: at the panic, else a few lines before the end. */
static size_t find_last_messages(const char *text, size_t len)
{
	static const char panic[] = "Kernel panic";
	const char *found = memmem(text, len, panic, sizeof(panic) - 1);
	size_t start = found ? (size_t)(found - text) : len;
	size_t lines = found ? KERNEL_LOG_LINES_SHOWN - 1 : 0;

	for (; start > 0; start--)
		if (text[start - 1] == '\n' && ++lines >= KERNEL_LOG_LINES_SHOWN)
			break;
	return start;
}

/* The last of the kernel's messages: what a user needs to see when a guest dies. */
static void print_kernel_log(struct run *r)
{
	struct kernel_log *log = &r->kernel_log;
	char text[KERNEL_LOG_BYTES];
	size_t have, start, end;

	pthread_mutex_lock(&log->lock);
	have = log->total < KERNEL_LOG_BYTES ? (size_t)log->total : KERNEL_LOG_BYTES;
	for (size_t i = 0; i < have; i++) {
		char c = log->bytes[(log->total - have + i) % KERNEL_LOG_BYTES];

		/* Guest-controlled: no escape sequences on the user's terminal. */
		text[i] = c == '\n' || c == '\t' || (c >= ' ' && c < 127) ? c : ' ';
	}
	pthread_mutex_unlock(&log->lock);
	while (have && (text[have - 1] == '\n' || text[have - 1] == ' '))
		have--;
	start = end = find_last_messages(text, have);
	for (size_t lines = 0; end < have; end++)
		if (text[end] == '\n' && ++lines == KERNEL_LOG_LINES_SHOWN)
			break;
	if (have)
		fprintf(stderr, "cvmm: the guest kernel's messages:\n%.*s\n", (int)(end - start),
			text + start);
}

/* ---- the end of a run -------------------------------------------------------------------------- */

static void stop_if_output_is_written(struct run *r)
{
	if (!r->ended)
		return;
	if (cvmm_console_output_idle(r->console, CVMM_GUEST_PORT_STDOUT) &&
	    cvmm_console_output_idle(r->console, CVMM_GUEST_PORT_STDERR))
		cvmm_loop_stop(r->loop);
}

static void end_with(struct run *r, int status)
{
	if (r->ended)
		return;
	r->ended = true;
	r->status = status;
	cvmm_timing_mark(&r->timing, CVMM_TIMING_COMMAND);
	stop_if_output_is_written(r);
}

static CVMM_PRINTF(3, 4) void fail_with(struct run *r, int status, const char *fmt, ...)
{
	char text[CVMM_ERROR_MESSAGE_SIZE];
	va_list args;

	if (r->ended)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	cvmm_fail(&r->error, -EIO, "%s", text);
	end_with(r, status);
}

static void on_hello(void *ctx)
{
	struct run *r = ctx;

	cvmm_timing_mark(&r->timing, CVMM_TIMING_KERNEL);
}

static void on_started(void *ctx)
{
	struct run *r = ctx;

	r->command_started = true;
	cvmm_timing_mark(&r->timing, CVMM_TIMING_INIT);
}

static void on_exited(void *ctx, unsigned int status, uint64_t stdout_bytes, uint64_t stderr_bytes)
{
	/* All bytes lie in the console's rings already: the counts are for other carriers. */
	(void)stdout_bytes;
	(void)stderr_bytes;
	end_with(ctx, (int)status);
}

static void on_session_failed(void *ctx, const char *message)
{
	fail_with(ctx, STATUS_FAILED, "%s", message);
}

static void on_stopped(void *ctx, enum cvmm_machine_stop reason, const char *message)
{
	static const char *const what[] = {
		[CVMM_MACHINE_POWERED_OFF] = "the guest powered off before the command ended",
		[CVMM_MACHINE_RESET] = "the guest rebooted or panicked before the command ended",
		[CVMM_MACHINE_PANICKED] = "the guest's kernel panicked",
		[CVMM_MACHINE_TRIPLE_FAULT] = "the guest crashed with a triple fault",
		[CVMM_MACHINE_FAILED] = "the virtual machine failed",
	};
	struct run *r = ctx;

	if (r->ended) {
		/* Its rings are still in memory: what waits in them is written out first. */
		stop_if_output_is_written(r);
		return;
	}
	r->kernel_log_wanted = reason != CVMM_MACHINE_POWERED_OFF;
	fail_with(r, STATUS_FAILED, "%s%s%s", what[reason], *message ? ": " : "", message);
}

static void on_timeout(void *ctx)
{
	struct run *r = ctx;

	if (r->ended) {
		cvmm_loop_stop(r->loop); /* nobody takes the output */
		return;
	}
	if (r->command_started) {
		fail_with(r, STATUS_TIMEOUT, "the time is up: the command was ended");
	} else {
		r->kernel_log_wanted = true;
		fail_with(r, STATUS_FAILED, "the time is up, and the command was never started");
	}
	cvmm_loop_stop(r->loop);
}

/* ---- signals ----------------------------------------------------------------------------------- */

static void end_by_signal(void *ctx)
{
	struct run *r = ctx;

	end_with(r, 128 + r->signal_received);
	cvmm_loop_stop(r->loop);
}

static void handle_signal(struct run *r, int number)
{
	uint16_t rows, cols;

	if (number == SIGCONT)
		cvmm_terminal_resume(&r->terminal);
	if (number == SIGWINCH || number == SIGCONT) {
		if (r->tty_mask) {
			cvmm_terminal_size(0, &rows, &cols);
			cvmm_session_window(r->session, rows, cols);
		}
		return;
	}
	if (r->signal_received || !r->command_started) {
		r->signal_received = number;
		end_by_signal(r);
		return;
	}
	r->signal_received = number;
	cvmm_session_signal(r->session, number);
	cvmm_timer_arm(r->grace, SIGNAL_GRACE_NS, 0);
}

static void on_signal(void *ctx, int fd, unsigned int events)
{
	struct signalfd_siginfo info;
	struct run *r = ctx;

	(void)events;
	while (read(fd, &info, sizeof(info)) == sizeof(info))
		handle_signal(r, (int)info.ssi_signo);
}

/* Before any thread is started, so that all threads have them blocked. */
static int watch_signals(struct run *r)
{
	static const int watched[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGCONT };
	struct sigaction action;
	sigset_t set;

	sigemptyset(&set);
	/* A signalfd gets ignored signals too: what nohup or a shell ignores for us must stay so. */
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(watched); i++)
		if (!sigaction(watched[i], NULL, &action) && action.sa_handler != SIG_IGN)
			sigaddset(&set, watched[i]);
	r->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (r->signal_fd < 0)
		return cvmm_fail(&r->error, -errno, "cannot watch signals: %s", strerror(errno));
	r->watched_signals = set;
	sigaddset(&set, SIGPIPE); /* a broken pipe is an errno here */
	pthread_sigmask(SIG_BLOCK, &set, &r->old_signals);
	return 0;
}

/* What came too late for the run is forgotten. From now on a signal ends us, even in a wait for a reader. */
static void unwatch_signals(struct run *r)
{
	const struct timespec at_once = { 0 };

	if (r->signal_fd < 0)
		return;
	cvmm_close_fd(&r->signal_fd);
	while (sigtimedwait(&r->watched_signals, NULL, &at_once) > 0)
		;
	sigaddset(&r->old_signals, SIGPIPE);
	pthread_sigmask(SIG_SETMASK, &r->old_signals, NULL);
}

/* ---- streams ----------------------------------------------------------------------------------- */

static void on_port_event(void *ctx, unsigned int port, enum cvmm_console_event event)
{
	struct run *r = ctx;

	if (event == CVMM_CONSOLE_INPUT_ENDED && port == CVMM_GUEST_PORT_STDIN) {
		cvmm_session_input_end(r->session, cvmm_console_input_bytes(r->console, port));
	} else if (event == CVMM_CONSOLE_OUTPUT_FAILED && port >= CVMM_GUEST_PORT_STDOUT) {
		int error = cvmm_console_output_error(r->console, port);

		/* A reader that has enough is no failure; a full disk is one. */
		if (error != -EPIPE && error != -ECONNRESET)
			r->output_lost = true;
		cvmm_session_output_gone(r->session, port);
	}
	if (event == CVMM_CONSOLE_OUTPUT_IDLE || event == CVMM_CONSOLE_OUTPUT_FAILED)
		stop_if_output_is_written(r);
}

/*
 * The command gets a terminal if both standard input and output are one: then it can be used
 * interactively. Standard error joins it if it is one too.
 */
static unsigned int find_terminals(void)
{
	if (!isatty(0) || !isatty(1))
		return 0;
	return isatty(2) ? 7U : 3U;
}

/* Before anything else is opened: that would take a closed standard stream's number, and be taken for it. */
static int open_closed_streams(struct run *r)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_WRONLY : O_RDONLY) != fd)
			return cvmm_fail(&r->error, -EBADF, "standard stream %d is closed", fd);
	return 0;
}

static int open_streams(struct run *r)
{
	int ret;

	for (int i = 0; i < 3; i++) {
		ret = cvmm_reopen_nonblock(i, i ? O_WRONLY : O_RDONLY, &r->stdio[i]);
		if (ret)
			return cvmm_fail(&r->error, ret, "cannot use standard stream %d: %s", i,
					 strerror(-ret));
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, r->control))
		return cvmm_fail(&r->error, -errno, "cannot make a socket pair: %s",
				 strerror(errno));
	r->tty_mask = find_terminals();
	return 0;
}

static int make_console(struct run *r)
{
	const struct cvmm_console_port ports[CVMM_GUEST_PORT_COUNT] = {
		[CVMM_GUEST_PORT_CONSOLE] = { .is_console = true, .in_fd = -1, .out_fd = -1 },
		[CVMM_GUEST_PORT_CONTROL] = { .name = "cvmm.control",
					      .stay_open = true,
					      .in_fd = r->control[1],
					      .out_fd = r->control[1] },
		[CVMM_GUEST_PORT_STDIN] = { .name = "cvmm.stdin",
					    .in_fd = r->stdio[0],
					    .out_fd = -1 },
		[CVMM_GUEST_PORT_STDOUT] = { .name = "cvmm.stdout",
					     .in_fd = -1,
					     .out_fd = r->stdio[1] },
		[CVMM_GUEST_PORT_STDERR] = { .name = "cvmm.stderr",
					     .in_fd = -1,
					     .out_fd = r->stdio[2] },
	};
	const struct cvmm_console_config config = {
		.ports = ports,
		.port_count = CVMM_GUEST_PORT_COUNT,
		.log = &r->log,
		.port_event = on_port_event,
		.ctx = r,
	};

	return cvmm_console_create(&config, &r->console, &r->error);
}

/* ---- kernel and root --------------------------------------------------------------------------- */

static int open_file(struct run *r, const char *path, const char *what, int *ret_fd)
{
	struct stat st;

	/* Not blocking: where a FIFO lies it is an error, not a wait for its writer. */
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (*ret_fd < 0)
		return cvmm_fail(&r->error, -errno, "cannot open the %s %s: %s", what, path,
				 strerror(errno));
	if (fstat(*ret_fd, &st) || !S_ISREG(st.st_mode))
		return cvmm_fail(&r->error, -EINVAL, "the %s %s is not a regular file", what, path);
	return 0;
}

static int open_kernel(struct run *r)
{
	const struct cvmm_run_options *o = &r->options;
	enum cvmm_loader_format format;
	int ret = 0;

	if (o->kernel)
		r->kernel_path = strdup(o->kernel);
	else
		ret = cvmm_kernels_find_newest(&r->kernel_path, &r->error);
	if (ret)
		return ret;
	ret = open_file(r, r->kernel_path, "kernel", &r->kernel_fd);
	if (ret)
		return ret;
	ret = cvmm_loader_sniff(r->kernel_fd, &format, &r->error);
	if (ret)
		return cvmm_error_prefix(&r->error, "the kernel %s", r->kernel_path);
	/* Before its modules are looked for, so that the first mistake is the one that is told. */
	if (format != CVMM_LOADER_FORMAT_BZIMAGE && format != CVMM_LOADER_FORMAT_ELF64_X86_64)
		return 0;
	if (o->modules_dir) {
		r->modules_dir = strdup(o->modules_dir);
		r->kernel_version = strdup(o->modules_dir);
		return r->modules_dir && r->kernel_version ? 0 : -ENOMEM;
	}
	if (cvmm_kernels_version(r->kernel_fd, &r->kernel_version))
		return 0; /* the loader will say what is wrong with the file */
	return cvmm_kernels_find_modules(r->kernel_path, r->kernel_version, &r->modules_dir,
					 &r->error);
}

static int add_disk(struct run *r, const char *path, bool read_only, bool is_root)
{
	struct cvmm_blk_config config = { .path = path, .log = &r->log, .read_only = read_only };
	int fd, ret;

	/* As in open_file(); the flag itself is not for the image's I/O. */
	fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return cvmm_fail(&r->error, -errno, "cannot open the disk %s%s: %s", path,
				 read_only ? "" : " for writing", strerror(errno));
	(void)cvmm_set_nonblock(fd, false);
	config.fd = fd;
	ret = is_root ? cvmm_initramfs_sniff_image(fd, &r->root_type, &r->error) : 0;
	if (ret)
		cvmm_error_prefix(&r->error, "the root image %s", path);
	else
		ret = cvmm_blk_create(&config, &r->disks[r->disk_count], &r->error);
	if (!ret)
		r->disk_count++;
	close(fd);
	return ret;
}

static int add_disks(struct run *r, enum cvmm_root_kind *ret_root)
{
	const struct cvmm_run_options *o = &r->options;
	struct stat st;
	int ret = 0;

	*ret_root = o->initrd ? CVMM_ROOT_INITRD : CVMM_ROOT_BUSYBOX;
	if (o->root && stat(o->root, &st))
		return cvmm_fail(&r->error, -errno, "cannot open the root %s: %s", o->root,
				 strerror(errno));
	if (o->root && S_ISDIR(st.st_mode)) {
		*ret_root = CVMM_ROOT_TREE;
	} else if (o->root) {
		*ret_root = CVMM_ROOT_DEVICE;
		ret = add_disk(r, o->root, o->root_read_only, true);
	}
	for (unsigned int i = 0; !ret && i < o->disk_count; i++)
		ret = add_disk(r, o->disks[i].path, o->disks[i].read_only, false);
	return ret;
}

/* ---- devices of other programs ----------------------------------------------------------------- */

static int make_dev(struct run *r, const struct cvmm_run_dev *dev,
		    struct cvmm_vhost_user_proxy **ret_proxy)
{
	const struct cvmm_vhost_user_proxy_config config = {
		.device_id = dev->device_id,
		.path = dev->socket,
		.queue_count = dev->queues,
		.queue_size = dev->queue_size,
		.config_bytes = dev->has_config_size && !dev->config_size
					? CVMM_VHOST_USER_PROXY_NO_CONFIG
					: dev->config_size,
		.connect_timeout_ms = DEV_CONNECT_MS,
		.reconnect_timeout_ms = dev->reconnect_s * 1000,
		.log = &r->log,
	};
	int ret = cvmm_vhost_user_proxy_create(&config, ret_proxy, &r->error);

	if (ret)
		cvmm_error_prefix(&r->error, "the device at %s", dev->socket);
	return ret;
}

static int make_devs(struct run *r)
{
	int ret = 0;

	for (unsigned int i = 0; !ret && i < r->options.dev_count; i++)
		ret = make_dev(r, &r->options.devs[i], &r->devs[i]);
	return ret;
}

static bool has_dev(const struct run *r, uint32_t device_id)
{
	for (unsigned int i = 0; i < r->options.dev_count; i++)
		if (r->options.devs[i].device_id == device_id)
			return true;
	return false;
}

/* ---- the initramfs ------------------------------------------------------------------------------ */

static int build_initramfs(struct run *r, enum cvmm_root_kind root_kind)
{
	static const char path[] =
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	const struct cvmm_run_options *o = &r->options;
	const char *modules[CVMM_RUN_LIST_MAX + CVMM_RUN_DEVS_MAX + 8];
	const char *optional[] = { "virtio_rng", "crc32c_generic", "crc32c_intel", NULL };
	const char *env[CVMM_RUN_LIST_MAX + 8];
	struct cvmm_initramfs_config config = {
		.root_kind = root_kind,
		.root = root_kind == CVMM_ROOT_DEVICE ? "/dev/vda" : o->root,
		.root_types = r->root_type,
		.root_read_only = o->root_read_only,
		.kernel_version = r->kernel_version,
		.modules_dir = r->modules_dir,
		.modules = modules,
		.optional_modules = optional,
		.env = env,
		.args = o->command,
		.workdir = o->workdir,
		.tty_mask = r->tty_mask,
	};
	char term[256];
	size_t n = 0;

	modules[n++] = "virtio_mmio";
	modules[n++] = "virtio_console";
	if (r->disk_count)
		modules[n++] = "virtio_blk";
	for (unsigned int i = 0; i < o->dev_count; i++)
		if (o->devs[i].module)
			modules[n++] = o->devs[i].module;
	if (r->root_type)
		modules[n++] = r->root_type;
	else
		optional[1] = NULL;
	memcpy(modules + n, o->extra_modules, (o->extra_module_count + 1) * sizeof(*modules));

	/* Ours first: the last of two equal names wins in no shell, so the user's replace ours. */
	n = 0;
	env[n++] = path;
	env[n++] = "HOME=/root";
	if (r->tty_mask && getenv("TERM")) {
		snprintf(term, sizeof(term), "TERM=%s", getenv("TERM"));
		env[n++] = term;
	}
	n = cvmm_run_merge_env(env, n, o->env, o->env_count);
	env[n] = NULL;

	cvmm_terminal_size(0, &config.rows, &config.cols);
	cvmm_cpio_init(&r->initramfs);
	return cvmm_initramfs_build(&r->initramfs, &config, &r->error);
}

size_t cvmm_run_merge_env(const char **env, size_t count, const char *const *more,
			  size_t more_count)
{
	for (size_t i = 0; i < more_count; i++) {
		size_t name_len = (size_t)(strchr(more[i], '=') - more[i]) + 1;
		size_t at = 0;

		while (at < count && strncmp(env[at], more[i], name_len) != 0)
			at++;
		env[at] = more[i];
		if (at == count)
			count++;
	}
	return count;
}

/* ---- the machine ------------------------------------------------------------------------------- */

static int make_cmdline(struct run *r, struct cvmm_loader_cmdline **ret)
{
	/*
	 * panic=-1: a panic is a reset at once, and the serial port has its message. reboot=acpi:
	 * with hardware-reduced ACPI, Linux would try EFI, which is not there, and then hang in
	 * real mode. A quiet guest leaves the serial port to what matters: each byte is an exit.
	 */
	const char *fixed = "console=ttyS0 panic=-1 reboot=acpi rdinit=" CVMM_GUEST_INIT_PATH
			    " 8250.nr_uarts=1 no_timer_check tsc=reliable random.trust_cpu=on";
	int err;

	err = cvmm_loader_cmdline_create(CMDLINE_CAPACITY, ret, &r->error);
	if (!err)
		err = cvmm_loader_cmdline_insert_str(*ret, fixed, &r->error);
	if (!err && r->options.verbosity != CVMM_RUN_VERBOSE)
		err = cvmm_loader_cmdline_insert_str(*ret, "quiet", &r->error);
	if (!err && r->options.append) {
		err = cvmm_loader_cmdline_insert_str(*ret, r->options.append, &r->error);
		if (err)
			cvmm_error_prefix(&r->error, "--append");
	}
	return err;
}

static int load_kernel(struct run *r)
{
	struct cvmm_loader_cmdline *cmdline = NULL;
	struct cvmm_loader_piece pieces[2];
	struct cvmm_machine_kernel kernel = { .fd = r->kernel_fd, .initrd = pieces };
	struct cvmm_loader_result result;
	int ret;

	if (r->initrd_fd >= 0)
		pieces[kernel.initrd_count++] =
			(struct cvmm_loader_piece){ .fd = r->initrd_fd,
						    .len_bytes = CVMM_LOADER_TO_END };
	pieces[kernel.initrd_count++] = (struct cvmm_loader_piece){ .data = r->initramfs.data,
								    .len_bytes = r->initramfs.len };
	if (r->options.protocol == CVMM_RUN_PROTOCOL_LINUX64)
		kernel.protocol = CVMM_LOADER_PROTOCOL_LINUX64;
	else if (r->options.protocol == CVMM_RUN_PROTOCOL_PVH)
		kernel.protocol = CVMM_LOADER_PROTOCOL_PVH;
	ret = make_cmdline(r, &cmdline);
	if (!ret) {
		kernel.cmdline = cvmm_loader_cmdline_text(cmdline);
		ret = cvmm_machine_load(r->machine, &kernel, &result, &r->error);
		if (ret)
			cvmm_error_prefix(&r->error, "cannot load the kernel %s", r->kernel_path);
	}
	cvmm_loader_cmdline_destroy(cmdline);
	cvmm_cpio_fini(&r->initramfs); /* it lies in the guest now */
	return ret;
}

static int add_rng(struct run *r)
{
	const struct cvmm_rng_config rng = { .fd = CVMM_RNG_GETRANDOM, .log = &r->log };
	int ret = cvmm_rng_create(&rng, &r->rng, &r->error);

	return ret ? ret : cvmm_machine_add_device(r->machine, &cvmm_rng_ops, r->rng, &r->error);
}

static int make_machine(struct run *r)
{
	const struct cvmm_machine_config config = {
		.memory_bytes = r->options.memory_bytes,
		.cpu_count = r->options.cpus,
		.loop = r->loop,
		.stopped = on_stopped,
		.serial_output = on_serial_output,
		.ctx = r,
		.log = &r->log,
		.virtio_offer = r->options.virtio_offer,
		.virtio_withhold = r->options.virtio_withhold,
		.shared_memory = r->options.dev_count > 0,
	};
	int ret;

	ret = cvmm_machine_create(&config, &r->machine, &r->error);
	if (!ret)
		ret = cvmm_machine_add_device(r->machine, &cvmm_console_ops, r->console, &r->error);
	if (!ret && !has_dev(r, CVMM_VIRTIO_ID_ENTROPY))
		ret = add_rng(r);
	for (unsigned int i = 0; !ret && i < r->disk_count; i++)
		ret = cvmm_machine_add_device(r->machine, &cvmm_blk_ops, r->disks[i], &r->error);
	for (unsigned int i = 0; !ret && i < r->options.dev_count; i++)
		ret = cvmm_machine_add_device(r->machine, cvmm_vhost_user_proxy_ops(r->devs[i]),
					      r->devs[i], &r->error);
	cvmm_timing_mark(&r->timing, CVMM_TIMING_SETUP);
	return ret;
}

static int make_loop(struct run *r)
{
	const struct cvmm_session_events events = {
		.hello = on_hello,
		.started = on_started,
		.exited = on_exited,
		.failed = on_session_failed,
		.ctx = r,
	};
	int ret = cvmm_loop_create(CVMM_LOOP_AUTO, &r->loop);

	if (!ret)
		ret = cvmm_session_create(r->loop, r->control[0], &events, &r->session);
	if (!ret)
		ret = cvmm_loop_add_fd(r->loop, r->signal_fd, CVMM_EVENT_READ, on_signal, r,
				       &r->signal_source);
	if (!ret)
		ret = cvmm_loop_add_timer(r->loop, on_timeout, r, &r->timeout);
	if (!ret)
		ret = cvmm_loop_add_timer(r->loop, end_by_signal, r, &r->grace);
	if (!ret && r->options.timeout_ns)
		ret = cvmm_timer_arm(r->timeout, r->options.timeout_ns, 0);
	return ret ? cvmm_fail(&r->error, ret, "cannot make the event loop: %s", strerror(-ret))
		   : 0;
}

static int run_machine(struct run *r)
{
	int ret;

	ret = make_machine(r);
	if (!ret)
		ret = load_kernel(r);
	cvmm_timing_mark(&r->timing, CVMM_TIMING_LOAD);
	if (!ret)
		ret = cvmm_machine_start(r->machine, &r->error);
	if (ret)
		return ret;
	ret = cvmm_loop_run(r->loop);
	if (ret)
		cvmm_fail(&r->error, ret, "the event loop failed: %s", strerror(-ret));
	return ret;
}

static int run(struct run *r)
{
	enum cvmm_root_kind root_kind;
	int ret;

	ret = open_closed_streams(r);
	if (!ret)
		ret = watch_signals(r);
	if (!ret)
		ret = open_streams(r);
	if (!ret)
		ret = open_kernel(r);
	if (!ret && r->options.initrd)
		ret = open_file(r, r->options.initrd, "initrd", &r->initrd_fd);
	/* Its guardian is forked: before threads are started, and memory is mapped. */
	if (!ret && r->tty_mask)
		ret = cvmm_terminal_take(0, &r->terminal, &r->error);
	if (!ret)
		ret = add_disks(r, &root_kind);
	if (!ret)
		ret = make_devs(r);
	if (!ret)
		ret = build_initramfs(r, root_kind);
	if (!ret)
		ret = make_loop(r);
	if (!ret)
		ret = make_console(r);
	return ret ? ret : run_machine(r);
}

/* In reverse; everything may be missing. */
static void tear_down(struct run *r)
{
	atomic_store(&r->kernel_log.is_over, true);
	cvmm_machine_destroy(r->machine);
	cvmm_terminal_give_back(&r->terminal);
	cvmm_console_destroy(r->console);
	cvmm_rng_destroy(r->rng);
	for (unsigned int i = 0; i < r->disk_count; i++)
		cvmm_blk_destroy(r->disks[i]);
	for (unsigned int i = 0; i < r->options.dev_count; i++)
		cvmm_vhost_user_proxy_destroy(r->devs[i]);
	cvmm_session_destroy(r->session);
	cvmm_source_remove(r->signal_source);
	cvmm_source_remove(r->timeout);
	cvmm_source_remove(r->grace);
	cvmm_loop_destroy(r->loop);
	cvmm_cpio_fini(&r->initramfs);
	free(r->kernel_path);
	free(r->kernel_version);
	free(r->modules_dir);
	cvmm_close_fd(&r->kernel_fd);
	cvmm_close_fd(&r->initrd_fd);
	unwatch_signals(r);
	cvmm_close_fd(&r->control[0]);
	cvmm_close_fd(&r->control[1]);
	for (int i = 0; i < 3; i++)
		cvmm_close_fd(&r->stdio[i]);
	pthread_mutex_destroy(&r->kernel_log.lock);
}

int cvmm_run_main(char **argv)
{
	struct run r = {
		.kernel_fd = -1,
		.initrd_fd = -1,
		.signal_fd = -1,
		.control = { -1, -1 },
		.stdio = { -1, -1, -1 },
		.terminal = CVMM_TERMINAL_NONE,
	};

	cvmm_timing_start(&r.timing);
	if (cvmm_run_options_parse(argv, &r.options, &r.error)) {
		fprintf(stderr, "cvmm: %s\n", r.error.message);
		return STATUS_FAILED;
	}
	if (r.options.help) {
		fputs(cvmm_run_help, stdout);
		return 0;
	}
	pthread_mutex_init(&r.kernel_log.lock, NULL);
	r.kernel_log.copy_to_stderr = r.options.verbosity == CVMM_RUN_VERBOSE;
	r.log = (struct cvmm_log){ write_log, &r,
				   r.options.verbosity == CVMM_RUN_QUIET ? CVMM_LOG_ERROR
									 : CVMM_LOG_WARN };
	if (run(&r) || (r.output_lost && !r.status))
		r.status = STATUS_FAILED;
	tear_down(&r);
	if (r.kernel_log_wanted && r.options.verbosity != CVMM_RUN_VERBOSE)
		print_kernel_log(&r);
	if (r.error.code)
		fprintf(stderr, "cvmm: %s\n", r.error.message);
	cvmm_timing_mark(&r.timing, CVMM_TIMING_END);
	if (r.options.timing)
		cvmm_timing_print(&r.timing, stderr);
	return r.status;
}
