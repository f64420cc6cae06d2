// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * cvmm-rig: runs a command in a first-level virtual machine of QEMU, for machines that have no
 * hardware virtualization. The command sees the files of this machine (over 9p, at the same
 * paths), and a /dev/kvm with emulated SVM behind it. Streams, terminal, signals and exit status pass
 * through unchanged.
 *
 *   cvmm-rig [--kernel FILE] [--memory SIZE] [--cpus N] [--verbose] -- COMMAND [ARG...]
 *
 * Theory of operation
 *
 * The guest's init is that of `cvmm run`, and the conversation with it is the same: only the carrier is
 * QEMU's virtio-serial instead of our console device. QEMU gets one end of a socket pair for each
 * port. A boot that does not reach user space in time is tried once more; nothing of standard
 * input was read by then.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../vmm/guest/protocol.h"
#include "../../vmm/run/initramfs.h"
#include "../../vmm/run/kernels.h"
#include "../../vmm/run/session.h"
#include "../../vmm/run/terminal.h"
#include "pump.h"

#define STATUS_FAILED 125
#define BOOT_DEADLINE_NS (UINT64_C(90) * CVMM_NS_PER_S)
#define BOOT_TRIES 2
#define SIGNAL_GRACE_NS (UINT64_C(15) * CVMM_NS_PER_S)
#define ENV_MAX 900
#define QEMU_ARGS_MAX 96
#define FIRST_PORT CVMM_GUEST_PORT_CONTROL

struct rig {
	const char *kernel, *memory, *cpus;
	bool verbose;
	char **command;

	struct cvmm_loop *loop;
	struct cvmm_session *session;
	struct cvmm_source *signal_source, *deadline, *grace;
	struct cvmm_pump *pumps[3];
	struct cvmm_terminal terminal;
	char *kernel_path;
	int initramfs_fd, signal_fd, log_fd;
	int ports[CVMM_GUEST_PORT_COUNT]; /* our ends */
	int stdio[3];
	unsigned int tty_mask;
	pid_t pid; /* our own */
	pid_t qemu;

	bool booted, ended, must_retry;
	uint64_t wanted_bytes[3]; /* of output, once the command has ended */
	bool output_over[3];	  /* nothing more comes, or nobody takes it */
	int signal_received;
	int status;
	struct cvmm_error error;
};

static void fail_now(struct rig *r, int status, const char *message)
{
	if (!r->ended)
		cvmm_fail(&r->error, -EIO, "%s", message);
	r->ended = true;
	r->status = status;
	cvmm_loop_stop(r->loop);
}

/* ---- streams ----------------------------------------------------------------------------------- */

static bool is_written(const struct rig *r, unsigned int stream)
{
	return !r->pumps[stream] || r->output_over[stream] ||
	       cvmm_pump_total(r->pumps[stream]) >= r->wanted_bytes[stream];
}

static void stop_if_output_is_written(void *ctx)
{
	struct rig *r = ctx;

	if (r->ended && is_written(r, 1) && is_written(r, 2))
		cvmm_loop_stop(r->loop);
}

static void on_input_end(void *ctx, enum cvmm_pump_end end)
{
	struct rig *r = ctx;

	(void)end;
	cvmm_session_input_end(r->session, cvmm_pump_total(r->pumps[0]));
}

static void output_end(struct rig *r, unsigned int stream, enum cvmm_pump_end end)
{
	if (end == CVMM_PUMP_DESTINATION_GONE)
		cvmm_session_output_gone(r->session, CVMM_GUEST_PORT_STDIN + stream);
	r->output_over[stream] = true;
	stop_if_output_is_written(r);
}

static void on_stdout_end(void *ctx, enum cvmm_pump_end end)
{
	output_end(ctx, 1, end);
}

static void on_stderr_end(void *ctx, enum cvmm_pump_end end)
{
	output_end(ctx, 2, end);
}

static int start_pumps(struct rig *r)
{
	int in = r->ports[CVMM_GUEST_PORT_STDIN];
	int out = r->ports[CVMM_GUEST_PORT_STDOUT];
	int err = r->ports[CVMM_GUEST_PORT_STDERR];
	int ret;

	ret = cvmm_pump_create(r->loop, r->stdio[0], in, NULL, on_input_end, r, &r->pumps[0]);
	if (!ret)
		ret = cvmm_pump_create(r->loop, out, r->stdio[1], stop_if_output_is_written,
				       on_stdout_end, r, &r->pumps[1]);
	if (!ret)
		ret = cvmm_pump_create(r->loop, err, r->stdio[2], stop_if_output_is_written,
				       on_stderr_end, r, &r->pumps[2]);
	return ret;
}

/* ---- what the guest says ------------------------------------------------------------------------ */

static void on_hello(void *ctx)
{
	struct rig *r = ctx;

	r->booted = true;
	cvmm_timer_disarm(r->deadline);
}

static void on_started(void *ctx)
{
	struct rig *r = ctx;

	if (start_pumps(r))
		fail_now(r, STATUS_FAILED, "cannot relay the standard streams");
}

static void on_exited(void *ctx, unsigned int status, uint64_t stdout_bytes, uint64_t stderr_bytes)
{
	struct rig *r = ctx;

	r->ended = true;
	r->status = (int)status;
	r->wanted_bytes[1] = stdout_bytes;
	r->wanted_bytes[2] = stderr_bytes;
	stop_if_output_is_written(r);
}

static void on_failed(void *ctx, const char *message)
{
	fail_now(ctx, STATUS_FAILED, message);
}

static void on_deadline(void *ctx)
{
	struct rig *r = ctx;

	r->must_retry = true;
	fail_now(r, STATUS_FAILED, "the first-level machine did not boot in time");
}

static void on_grace_over(void *ctx)
{
	struct rig *r = ctx;

	fail_now(r, 128 + r->signal_received, "ended by a signal");
	r->error.code = 0;
}

static void qemu_ended(struct rig *r)
{
	int status;

	if (waitpid(r->qemu, &status, WNOHANG) != r->qemu)
		return;
	r->qemu = -1;
	if (!r->ended)
		fail_now(r, STATUS_FAILED, "the first-level machine ended before the command did");
	else
		cvmm_loop_stop(r->loop);
}

static void on_signal(void *ctx, int fd, unsigned int events)
{
	struct signalfd_siginfo info;
	struct rig *r = ctx;
	uint16_t rows, cols;

	(void)events;
	while (read(fd, &info, sizeof(info)) == sizeof(info)) {
		int number = (int)info.ssi_signo;

		if (number == SIGCHLD) {
			qemu_ended(r);
		} else if (number == SIGWINCH || number == SIGCONT) {
			cvmm_terminal_resume(&r->terminal);
			cvmm_terminal_size(0, &rows, &cols);
			cvmm_session_window(r->session, rows, cols);
		} else if (r->signal_received || !r->booted) {
			r->signal_received = number;
			on_grace_over(r);
		} else {
			r->signal_received = number;
			cvmm_session_signal(r->session, number);
			cvmm_timer_arm(r->grace, SIGNAL_GRACE_NS, 0);
		}
	}
}

/* ---- QEMU -------------------------------------------------------------------------------------- */

static void add_arg(char **argv, size_t *count, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void add_arg(char **argv, size_t *count, const char *fmt, ...)
{
	va_list args;

	CVMM_BUG_ON(*count + 1 >= QEMU_ARGS_MAX);
	va_start(args, fmt);
	if (vasprintf(&argv[*count], fmt, args) < 0)
		abort();
	va_end(args);
	argv[++*count] = NULL;
}

static void add_port(char **argv, size_t *n, unsigned int port, int fd)
{
	static const char *const names[] = { NULL, "control", "stdin", "stdout", "stderr" };

	add_arg(argv, n, "-chardev");
	add_arg(argv, n, "socket,id=%s,fd=%d", names[port], fd);
	add_arg(argv, n, "-device");
	add_arg(argv, n, "virtserialport,nr=%u,chardev=%s,name=cvmm.%s", port, names[port],
		names[port]);
}

static __attribute__((noreturn)) void exec_qemu(struct rig *r, const int theirs[])
{
	char *argv[QEMU_ARGS_MAX] = { NULL };
	sigset_t none;
	size_t n = 0;

	add_arg(argv, &n, "qemu-system-x86_64");
	add_arg(argv, &n, "-nodefaults");
	add_arg(argv, &n, "-no-user-config");
	add_arg(argv, &n, "-no-reboot");
	add_arg(argv, &n, "-display");
	add_arg(argv, &n, "none");
	add_arg(argv, &n, "-machine");
	add_arg(argv, &n, "q35,accel=tcg");
	add_arg(argv, &n, "-cpu");
	/*
	 * With SVM. Two things that TCG gets wrong are hidden: cmpxchg16b leaves garbage in the flags
	 * (seen with 7.2), so that an interrupt right after it crashes a kernel; and XSETBV does not
	 * leave a nested guest, so that KVM does not learn what the guest enabled.
	 */
	add_arg(argv, &n, "max,-cx16,-xsave");
	add_arg(argv, &n, "-smp");
	add_arg(argv, &n, "%s", r->cpus);
	add_arg(argv, &n, "-m");
	add_arg(argv, &n, "%s", r->memory);
	add_arg(argv, &n, "-kernel");
	add_arg(argv, &n, "%s", r->kernel_path);
	add_arg(argv, &n, "-initrd");
	add_arg(argv, &n, "/proc/self/fd/%d", r->initramfs_fd);
	add_arg(argv, &n, "-append");
	add_arg(argv, &n, "console=ttyS0 %s panic=-1 rdinit=" CVMM_GUEST_INIT_PATH,
		r->verbose ? "" : "quiet");
	add_arg(argv, &n, "-chardev");
	add_arg(argv, &n, r->verbose ? "file,id=log,path=/dev/stderr,append=on" : "null,id=log");
	add_arg(argv, &n, "-serial");
	add_arg(argv, &n, "chardev:log");
	add_arg(argv, &n, "-fsdev");
	add_arg(argv, &n, "local,id=host,path=/,security_model=none,multidevs=remap");
	add_arg(argv, &n, "-device");
	add_arg(argv, &n, "virtio-9p-pci,fsdev=host,mount_tag=host");
	add_arg(argv, &n, "-device");
	add_arg(argv, &n, "virtio-rng-pci");
	add_arg(argv, &n, "-device");
	add_arg(argv, &n, "virtio-serial-pci,max_ports=%d", CVMM_GUEST_PORT_COUNT);
	for (unsigned int port = FIRST_PORT; port < CVMM_GUEST_PORT_COUNT; port++)
		add_port(argv, &n, port, theirs[port]);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* No machine outlives its rig, and the terminal's signals are the rig's business. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != r->pid) /* it died before that */
		_exit(127);
	setpgid(0, 0);
	fcntl(r->initramfs_fd, F_SETFD, 0);
	for (unsigned int port = FIRST_PORT; port < CVMM_GUEST_PORT_COUNT; port++)
		fcntl(theirs[port], F_SETFD, 0);
	dup2(r->log_fd, 0);
	dup2(r->verbose ? 2 : r->log_fd, 1);
	if (!r->verbose)
		dup2(r->log_fd, 2);
	execvp(argv[0], argv);
	_exit(127);
}

static int start_qemu(struct rig *r)
{
	int theirs[CVMM_GUEST_PORT_COUNT] = { -1, -1, -1, -1, -1 };
	int ret = 0;

	for (unsigned int port = FIRST_PORT; port < CVMM_GUEST_PORT_COUNT; port++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
			return cvmm_fail(&r->error, -errno, "cannot make a socket pair: %s",
					 strerror(errno));
		r->ports[port] = pair[0];
		theirs[port] = pair[1];
		cvmm_set_nonblock(pair[0], true);
	}
	r->pid = getpid();
	r->qemu = fork();
	if (r->qemu == 0)
		exec_qemu(r, theirs);
	if (r->qemu < 0)
		ret = cvmm_fail(&r->error, -errno, "cannot start QEMU: %s", strerror(errno));
	for (unsigned int port = FIRST_PORT; port < CVMM_GUEST_PORT_COUNT; port++)
		cvmm_close_fd(&theirs[port]);
	return ret;
}

static void stop_qemu(struct rig *r)
{
	if (r->qemu > 0) {
		kill(r->qemu, SIGKILL);
		while (waitpid(r->qemu, NULL, 0) < 0 && errno == EINTR)
			;
	}
	r->qemu = -1;
	for (unsigned int port = FIRST_PORT; port < CVMM_GUEST_PORT_COUNT; port++)
		cvmm_close_fd(&r->ports[port]);
}

/* ---- set-up ------------------------------------------------------------------------------------ */

static int write_initramfs(struct rig *r, const struct cvmm_initramfs_config *config)
{
	struct cvmm_cpio cpio;
	int ret;

	cvmm_cpio_init(&cpio);
	ret = cvmm_initramfs_build(&cpio, config, &r->error);
	if (!ret) {
		r->initramfs_fd = memfd_create("initramfs", MFD_CLOEXEC);
		ret = r->initramfs_fd < 0 ? -errno
					  : cvmm_write_full(r->initramfs_fd, cpio.data, cpio.len);
		if (ret)
			cvmm_fail(&r->error, ret, "cannot write the initramfs: %s", strerror(-ret));
	}
	cvmm_cpio_fini(&cpio);
	return ret;
}

static int make_initramfs(struct rig *r)
{
	static const char *const modules[] = { "virtio_pci", "virtio_console", "9pnet_virtio", "9p",
					       NULL };
	static const char *const optional[] = { "ccp", "kvm",	      "kvm-amd", "virtio_rng",
						"tun", "vhost_vsock", "loop",	 NULL };
	struct cvmm_initramfs_config config = {
		.root_kind = CVMM_ROOT_9P,
		.root = "host",
		.modules = modules,
		.optional_modules = optional,
		.args = (const char *const *)r->command,
		.tty_mask = r->tty_mask,
	};
	const char *env[ENV_MAX + 1];
	char cwd[4096], *version = NULL, *modules_dir = NULL;
	size_t count = 0;
	int fd, ret;

	for (char **e = environ; *e && count < ENV_MAX; e++)
		env[count++] = *e;
	env[count] = NULL;
	config.env = env;
	config.workdir = getcwd(cwd, sizeof(cwd));
	cvmm_terminal_size(0, &config.rows, &config.cols);
	fd = open(r->kernel_path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return cvmm_fail(&r->error, -errno, "cannot open the kernel %s: %s", r->kernel_path,
				 strerror(errno));
	ret = cvmm_kernels_version(fd, &version);
	close(fd);
	if (ret)
		return cvmm_fail(&r->error, ret, "%s is no kernel image", r->kernel_path);
	config.kernel_version = version;
	ret = cvmm_kernels_find_modules(r->kernel_path, version, &modules_dir, &r->error);
	config.modules_dir = modules_dir;
	if (!ret)
		ret = write_initramfs(r, &config);
	free(version);
	free(modules_dir);
	return ret;
}

static int watch_signals(struct rig *r)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGCONT);
	sigaddset(&set, SIGCHLD);
	r->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	sigaddset(&set, SIGPIPE);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return r->signal_fd < 0 ? -errno : 0;
}

/* Else the signal descriptor would take a closed stream's number, and be read as it. */
static int open_closed_streams(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_WRONLY : O_RDONLY) != fd)
			return -EBADF;
	return 0;
}

static int open_all(struct rig *r)
{
	int ret = open_closed_streams();

	if (!ret)
		ret = watch_signals(r);
	for (int i = 0; !ret && i < 3; i++)
		ret = cvmm_reopen_nonblock(i, i ? O_WRONLY : O_RDONLY, &r->stdio[i]);
	r->log_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (!ret)
		ret = cvmm_loop_create(CVMM_LOOP_AUTO, &r->loop);
	if (!ret)
		ret = cvmm_loop_add_fd(r->loop, r->signal_fd, CVMM_EVENT_READ, on_signal, r,
				       &r->signal_source);
	if (!ret)
		ret = cvmm_loop_add_timer(r->loop, on_deadline, r, &r->deadline);
	if (!ret)
		ret = cvmm_loop_add_timer(r->loop, on_grace_over, r, &r->grace);
	if (ret)
		return cvmm_fail(&r->error, ret, "cannot set up: %s", strerror(-ret));
	if (isatty(0) && isatty(1))
		r->tty_mask = isatty(2) ? 7U : 3U;
	if (r->kernel)
		r->kernel_path = strdup(r->kernel);
	else
		ret = cvmm_kernels_find_newest(&r->kernel_path, &r->error);
	return ret ? ret : make_initramfs(r);
}

/* One boot and one run of the command. */
static int try_once(struct rig *r)
{
	const struct cvmm_session_events events = {
		.hello = on_hello,
		.started = on_started,
		.exited = on_exited,
		.failed = on_failed,
		.ctx = r,
	};
	int ret;

	r->ended = r->booted = r->must_retry = false;
	memset(r->output_over, 0, sizeof(r->output_over));
	r->error.code = 0;
	ret = start_qemu(r);
	if (!ret)
		ret = cvmm_session_create(r->loop, r->ports[CVMM_GUEST_PORT_CONTROL], &events,
					  &r->session);
	if (!ret)
		ret = cvmm_timer_arm(r->deadline, BOOT_DEADLINE_NS, 0);
	if (!ret)
		ret = cvmm_loop_run(r->loop);
	for (int i = 0; i < 3; i++) {
		cvmm_pump_destroy(r->pumps[i]);
		r->pumps[i] = NULL;
	}
	cvmm_session_destroy(r->session);
	r->session = NULL;
	stop_qemu(r);
	return ret;
}

static int run(struct rig *r)
{
	int ret = open_all(r);

	if (!ret && r->tty_mask)
		ret = cvmm_terminal_take(0, &r->terminal, &r->error);
	for (int i = 0; !ret && i < BOOT_TRIES; i++) {
		ret = try_once(r);
		if (!r->must_retry)
			break;
	}
	cvmm_terminal_give_back(&r->terminal);
	return ret;
}

static int parse(struct rig *r, char **argv)
{
	for (argv++; *argv && **argv == '-'; argv++) {
		if (strcmp(*argv, "--") == 0) {
			argv++;
			break;
		}
		if (strcmp(*argv, "--verbose") == 0)
			r->verbose = true;
		else if (strcmp(*argv, "--kernel") == 0 && argv[1])
			r->kernel = *++argv;
		else if (strcmp(*argv, "--memory") == 0 && argv[1])
			r->memory = *++argv;
		else if (strcmp(*argv, "--cpus") == 0 && argv[1])
			r->cpus = *++argv;
		else
			return -EINVAL;
	}
	r->command = argv;
	return *argv ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	struct rig r = {
		.memory = "2048",
		/* With two, QEMU's nested SVM now and then lets a second-level guest triple-fault. */
		.cpus = "1",
		.initramfs_fd = -1,
		.signal_fd = -1,
		.log_fd = -1,
		.ports = { -1, -1, -1, -1, -1 },
		.stdio = { -1, -1, -1 },
		.terminal = CVMM_TERMINAL_NONE,
		.qemu = -1,
		.status = STATUS_FAILED,
	};

	(void)argc;
	if (parse(&r, argv)) {
		fprintf(stderr, "usage: cvmm-rig [--kernel FILE] [--memory MB] [--cpus N] "
				"[--verbose] -- COMMAND [ARG...]\n");
		return STATUS_FAILED;
	}
	if (run(&r))
		r.status = STATUS_FAILED;
	if (r.error.code)
		fprintf(stderr, "cvmm-rig: %s\n", r.error.message);
	return r.status;
}
