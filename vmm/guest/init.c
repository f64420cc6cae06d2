// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The guest's first process: loads modules, mounts the root, runs one command and relays its
 * streams to the host.
 *
 * Theory of operation
 *
 * The command gets pipes, or a pseudo-terminal for those streams that are a terminal on the host,
 * and this process copies between them and the virtio-console ports. The ports themselves are not
 * given to the command: a port can be opened only once, so that a script's `> /dev/stderr` would
 * fail on it.
 *
 * A port polls as hung up both before the host connects and after it left, so hang-ups mean nothing
 * here: the host says on the control port when a stream ends (see protocol.h).
 *
 * When the command ends, everything else in the guest is killed, which closes the pipes; what they
 * still hold is copied; file systems are flushed and unmounted; and then the exit status goes to the
 * host, which ends the virtual machine.
 *
 * Static, built against musl, and small: it is part of every boot.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "protocol.h"

#define MODULES_MAX 128
#define STREAM_BUFFER_BYTES 65536
#define PORT_WAIT_MS 10000
#define ROOT_WAIT_MS 10000
#define RETRY_MS 1
#define MOUNTS_STEP_BYTES 65536
#define MODULE_INIT_COMPRESSED_FILE 4 /* linux/module.h */
#define NEW_ROOT CVMM_GUEST_DIR "/root"

struct spec {
	char *modules[MODULES_MAX];
	size_t module_count;
	char *args[CVMM_GUEST_WORDS_MAX + 1];
	size_t arg_count;
	char *env[CVMM_GUEST_WORDS_MAX + 1];
	size_t env_count;
	const char *root;
	const char *root_types;
	bool root_read_only;
	const char *workdir;
	const char *hostname;
	unsigned int tty_mask;
	struct winsize window;
};

/* One direction of one stream: from src to dst, through a buffer. */
struct stream {
	int src;	      /* -1: ended */
	int dst;	      /* -1: nobody reads it: bytes are dropped */
	size_t start, end;    /* what the buffer holds */
	uint64_t total_bytes; /* written to dst, or dropped */
	char *buffer;
};

struct session {
	struct spec spec;
	int control;
	int signals;
	int pty; /* master, or -1 */
	pid_t command;
	bool command_ended;
	int reboot_how; /* 0, or how the guest wants to end before its command did */
	uint32_t status;
	struct stream in, out, err;
	uint64_t input_total; /* bytes of standard input, once the host has said so */
	bool input_total_known;
	char frame[sizeof(struct cvmm_guest_frame) + CVMM_GUEST_FRAME_PAYLOAD_MAX];
	size_t frame_len;
};

/* ---- failing ----------------------------------------------------------------------------------- */

static void sleep_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

/* To the kernel's log, which reaches the host's copy of the console. */
static void say(const char *text)
{
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	dprintf(fd, "<3>cvmm-init: %s\n", text);
	close(fd);
}

static int send_frame(int control, uint32_t type, const void *payload, size_t len)
{
	char buf[sizeof(struct cvmm_guest_frame) + CVMM_GUEST_FRAME_PAYLOAD_MAX];
	struct cvmm_guest_frame frame = { type, (uint32_t)len };
	size_t done = 0, total = sizeof(frame) + len;

	memcpy(buf, &frame, sizeof(frame));
	if (len)
		memcpy(buf + sizeof(frame), payload, len);
	while (done < total) {
		ssize_t n = write(control, buf + done, total - done);

		if (n > 0)
			done += (size_t)n;
		else if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -1;
		else
			sleep_ms(RETRY_MS);
	}
	return 0;
}

static __attribute__((noreturn)) void wait_for_the_end(void)
{
	/* The host ends the machine when it has read everything. */
	for (;;)
		pause();
}

static __attribute__((noreturn, format(printf, 2, 3))) void give_up(int control, const char *fmt,
								    ...)
{
	char text[CVMM_GUEST_FRAME_PAYLOAD_MAX];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	say(text);
	sync();
	if (control >= 0 && !send_frame(control, CVMM_GUEST_ERROR, text, strlen(text)))
		wait_for_the_end();
	reboot(RB_POWER_OFF);
	wait_for_the_end();
}

/* ---- orders ------------------------------------------------------------------------------------ */

static const char *value_of(const char *record, const char *key)
{
	size_t len = strlen(key);

	return strncmp(record, key, len) == 0 && record[len] == '=' ? record + len + 1 : NULL;
}

static void push(char **list, size_t *count, size_t max, const char *value, const char *what)
{
	if (*count == max)
		give_up(-1, "too many %s in the orders (at most %zu)", what, max);
	list[(*count)++] = (char *)value;
}

static void parse_window(const char *text, struct winsize *ret_size)
{
	char *cols;

	ret_size->ws_row = (unsigned short)strtoul(text, &cols, 10);
	if (*cols == 'x')
		ret_size->ws_col = (unsigned short)strtoul(cols + 1, NULL, 10);
}

static void parse_record(struct spec *spec, const char *record)
{
	const char *v;

	if ((v = value_of(record, "module")))
		push(spec->modules, &spec->module_count, MODULES_MAX, v, "modules");
	else if ((v = value_of(record, "arg")))
		push(spec->args, &spec->arg_count, CVMM_GUEST_WORDS_MAX, v, "arguments");
	else if ((v = value_of(record, "env")))
		push(spec->env, &spec->env_count, CVMM_GUEST_WORDS_MAX, v, "environment variables");
	else if ((v = value_of(record, "root")))
		spec->root = v;
	else if ((v = value_of(record, "rootfstype")))
		spec->root_types = v;
	else if ((v = value_of(record, "rootflags")))
		spec->root_read_only = strcmp(v, "ro") == 0;
	else if ((v = value_of(record, "workdir")))
		spec->workdir = v;
	else if ((v = value_of(record, "hostname")))
		spec->hostname = v;
	else if ((v = value_of(record, "tty")))
		spec->tty_mask = (unsigned int)strtoul(v, NULL, 10);
	else if ((v = value_of(record, "window")))
		parse_window(v, &spec->window);
	else
		give_up(-1, "unknown order: %s", record);
}

static char *read_whole(const char *path, size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	size_t done = 0;
	char *text;

	if (fd < 0 || fstat(fd, &st))
		give_up(-1, "cannot open %s: %s", path, strerror(errno));
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		give_up(-1, "out of memory reading %s", path);
	while (done < (size_t)st.st_size) {
		ssize_t n = read(fd, text + done, (size_t)st.st_size - done);

		if (n <= 0)
			give_up(-1, "cannot read %s: %s", path, n ? strerror(errno) : "cut short");
		done += (size_t)n;
	}
	close(fd);
	text[done] = 0;
	*ret_len = done;
	return text;
}

static void read_spec(struct spec *spec)
{
	size_t len;
	char *text = read_whole(CVMM_GUEST_SPEC_PATH, &len);

	for (char *p = text; p < text + len; p += strlen(p) + 1)
		parse_record(spec, p);
	if (!spec->arg_count)
		give_up(-1, "the orders name no command");
}

/* ---- making the guest ------------------------------------------------------------------------ */

static void mount_at(const char *type, const char *dir, unsigned long flags, const char *data)
{
	mkdir(dir, 0755);
	/* EBUSY: the kernel or an earlier step mounted it already. */
	if (mount(type, dir, type, flags, data) && errno != EBUSY)
		say(dir);
}

static void mount_kernel_file_systems(void)
{
	mount_at("devtmpfs", "/dev", MS_NOSUID, NULL);
	mount_at("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount_at("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

static void make_dev_complete(void)
{
	mount_at("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "ptmxmode=0666,mode=0620,gid=5");
	mount_at("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
}

static void load_modules(const struct spec *spec)
{
	char text[512];

	for (size_t i = 0; i < spec->module_count; i++) {
		const char *path = spec->modules[i];
		size_t len = strlen(path);
		int compressed = len > 3 && strcmp(path + len - 3, ".ko") != 0;
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || (syscall(SYS_finit_module, fd, "",
				       compressed ? MODULE_INIT_COMPRESSED_FILE : 0) &&
			       errno != EEXIST)) {
			/* Not the end: if it mattered, a device will be missing, and that is said. */
			snprintf(text, sizeof(text), "cannot load %s: %s", path, strerror(errno));
			say(text);
		}
		if (fd >= 0)
			close(fd);
		unlink(path);
	}
}

/* Opens /dev/vport<device>p<port> of whichever device the kernel numbered how. */
static int try_port(unsigned int port)
{
	char suffix[16], path[300];
	DIR *dir = opendir("/sys/class/virtio-ports");
	struct dirent *d;
	int fd = -1;

	if (!dir)
		return -1;
	snprintf(suffix, sizeof(suffix), "p%u", port);
	while (fd < 0 && (d = readdir(dir))) {
		const char *p = strrchr(d->d_name, 'p');

		if (!p || strcmp(p, suffix) != 0)
			continue;
		snprintf(path, sizeof(path), "/dev/%s", d->d_name);
		fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	}
	closedir(dir);
	return fd;
}

static int open_port(unsigned int port)
{
	for (int ms = 0; ms < PORT_WAIT_MS; ms += RETRY_MS) {
		int fd = try_port(port);

		if (fd >= 0)
			return fd;
		sleep_ms(RETRY_MS);
	}
	give_up(-1, "no port %u: the console device's driver is missing or does not work", port);
}

static void bring_up_loopback(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	ioctl(fd, SIOCSIFFLAGS, &ifr);
	close(fd);
}

static int try_types(const struct spec *spec, unsigned long flags, int last_error)
{
	char *types = strdup(spec->root_types ? spec->root_types : "ext4");

	if (!types)
		return ENOMEM;
	for (char *type = strtok(types, ","); type; type = strtok(NULL, ",")) {
		if (mount(spec->root, NEW_ROOT, type, flags, NULL) == 0) {
			last_error = 0;
			break;
		}
		/* EINVAL: another file system. Anything else is worth telling. */
		if (errno != EINVAL && errno != ENODEV)
			last_error = errno;
	}
	free(types);
	return last_error;
}

static void mount_root(struct session *s)
{
	const struct spec *spec = &s->spec;
	unsigned long flags = spec->root_read_only ? MS_RDONLY : 0;
	int error = EINVAL;

	mkdir(NEW_ROOT, 0755);
	if (strncmp(spec->root, "9p:", 3) == 0) {
		if (mount(spec->root + 3, NEW_ROOT, "9p", flags,
			  "trans=virtio,version=9p2000.L,msize=524288,cache=mmap") == 0)
			return;
		give_up(s->control, "cannot mount the host's files: %s", strerror(errno));
	}
	for (int ms = 0; ms < ROOT_WAIT_MS && access(spec->root, F_OK); ms += RETRY_MS)
		sleep_ms(RETRY_MS);
	error = try_types(spec, flags, error);
	if (error == EACCES || error == EROFS)
		error = try_types(spec, flags | MS_RDONLY, error);
	if (error)
		give_up(s->control, "cannot mount the root image %s (tried %s): %s", spec->root,
			spec->root_types ? spec->root_types : "ext4",
			error == EINVAL ? "no known file system in it" : strerror(error));
}

static void enter_root(struct session *s)
{
	static const char *const moved[] = { "/dev", "/proc", "/sys" };
	char to[64];

	if (!s->spec.root || strcmp(s->spec.root, "initramfs") == 0)
		return;
	mount_root(s);
	for (size_t i = 0; i < sizeof(moved) / sizeof(moved[0]); i++) {
		snprintf(to, sizeof(to), NEW_ROOT "%s", moved[i]);
		mkdir(to, 0755); /* fails on a read-only root that has it already: fine */
		if (mount(moved[i], to, NULL, MS_MOVE, NULL))
			give_up(s->control,
				"the root has no directory %s, and none can be made: %s", moved[i],
				strerror(errno));
	}
	if (chdir(NEW_ROOT) || mount(NEW_ROOT, "/", NULL, MS_MOVE, NULL) || chroot(".") ||
	    chdir("/"))
		give_up(s->control, "cannot enter the root: %s", strerror(errno));
}

/* ---- the command ------------------------------------------------------------------------------- */

static __attribute__((noreturn)) void run_command(const struct session *s, const int fds[3])
{
	const struct spec *spec = &s->spec;
	sigset_t none;

	setsid();
	if (spec->tty_mask)
		ioctl(fds[0], TIOCSCTTY, 0);
	for (int i = 0; i < 3; i++)
		dup2(fds[i], i);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (spec->workdir && chdir(spec->workdir)) {
		dprintf(2, "cvmm: cannot change to %s: %s\n", spec->workdir, strerror(errno));
		_exit(126);
	}
	environ = (char **)spec->env;
	execvp(spec->args[0], (char *const *)spec->args);
	dprintf(2, "cvmm: cannot run %s: %s\n", spec->args[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static void open_terminal(struct session *s, int *ret_slave)
{
	char path[32];
	int unlock = 0;
	unsigned int number;

	s->pty = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (s->pty < 0 || ioctl(s->pty, TIOCSPTLCK, &unlock) ||
	    ioctl(s->pty, (int)TIOCGPTN, &number))
		give_up(s->control, "cannot make a terminal: %s", strerror(errno));
	ioctl(s->pty, TIOCSWINSZ, &s->spec.window);
	snprintf(path, sizeof(path), "/dev/pts/%u", number);
	*ret_slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*ret_slave < 0)
		give_up(s->control, "cannot open %s: %s", path, strerror(errno));
}

/* Makes a pipe for stream @i unless it is the terminal; returns our end of it. */
static int open_stream(struct session *s, int i, int slave, int *ret_theirs)
{
	int fds[2];

	if (s->spec.tty_mask & (1U << i)) {
		*ret_theirs = slave;
		return s->pty;
	}
	if (pipe2(fds, O_CLOEXEC))
		give_up(s->control, "cannot make a pipe: %s", strerror(errno));
	*ret_theirs = fds[i ? 1 : 0];
	fcntl(fds[i ? 0 : 1], F_SETFL, O_NONBLOCK);
	return fds[i ? 0 : 1];
}

static void start_command(struct session *s)
{
	int ports[3], theirs[3], ours[3], slave = -1;

	for (int i = 0; i < 3; i++)
		ports[i] = open_port((unsigned int)(CVMM_GUEST_PORT_STDIN + i));
	if (s->spec.tty_mask)
		open_terminal(s, &slave);
	for (int i = 0; i < 3; i++)
		ours[i] = open_stream(s, i, slave, &theirs[i]);
	s->in.src = ports[0];
	s->in.dst = ours[0];
	s->out.src = ours[1];
	s->out.dst = ports[1];
	s->err.src = s->spec.tty_mask & 4 ? -1 : ours[2]; /* the terminal is read once */
	s->err.dst = ports[2];
	s->command = fork();
	if (s->command < 0)
		give_up(s->control, "cannot start a process: %s", strerror(errno));
	if (s->command == 0)
		run_command(s, theirs);
	for (int i = 0; i < 3; i++)
		if (theirs[i] != slave)
			close(theirs[i]);
	if (slave >= 0)
		close(slave);
	send_frame(s->control, CVMM_GUEST_STARTED, NULL, 0);
}

/* ---- streams ----------------------------------------------------------------------------------- */

static bool is_port(const struct session *s, int fd)
{
	return fd == s->in.src || fd == s->out.dst || fd == s->err.dst;
}

static void end_source(struct session *s, struct stream *t)
{
	if (t->src >= 0 && t->src != s->pty)
		close(t->src);
	t->src = -1;
}

static void drop_destination(struct session *s, struct stream *t)
{
	if (t->dst >= 0 && t->dst != s->pty)
		close(t->dst);
	t->dst = -1;
}

static bool would_block(void)
{
	return errno == EAGAIN || errno == EINTR;
}

/* Moves what can be moved without waiting. Returns whether something moved. */
static bool pump(struct session *s, struct stream *t)
{
	bool moved = false;
	ssize_t n;

	if (t->src >= 0 && t->start == t->end) {
		n = read(t->src, t->buffer, STREAM_BUFFER_BYTES);
		if (n > 0) {
			t->start = 0;
			t->end = (size_t)n;
			moved = true;
		} else if (!is_port(s, t->src) && (n == 0 || !would_block())) {
			/* EIO is how a terminal says that its last user is gone. */
			end_source(s, t);
		}
	}
	if (t->start == t->end)
		return moved;
	if (t->dst < 0) {
		t->total_bytes += t->end - t->start;
		t->start = t->end;
		return true;
	}
	n = write(t->dst, t->buffer + t->start, t->end - t->start);
	if (n > 0) {
		t->start += (size_t)n;
		t->total_bytes += (uint64_t)n;
		return true;
	}
	if (n < 0 && !would_block() && !is_port(s, t->dst)) {
		drop_destination(s, t); /* the command closed its standard input */
		return true;
	}
	return moved;
}

static void end_input_when_complete(struct session *s)
{
	struct stream *in = &s->in;

	if (!s->input_total_known || in->src < 0 || in->start != in->end ||
	    in->total_bytes < s->input_total)
		return;
	end_source(s, in);
	drop_destination(s, in);
}

/* ---- frames from the host -------------------------------------------------------------------- */

static void output_gone(struct session *s, uint32_t port)
{
	struct stream *t = port == CVMM_GUEST_PORT_STDOUT ? &s->out : &s->err;

	/* The writer in the guest must see it too: a broken pipe, as outside, or a hung-up terminal. */
	if (t->src >= 0 && t->src == s->pty) {
		end_source(s, &s->in);
		drop_destination(s, &s->in);
		s->in.start = s->in.end;
		close(s->pty);
		s->pty = -1;
		t->src = -1;
	}
	end_source(s, t);
	t->total_bytes += t->end - t->start;
	t->start = t->end;
}

static void handle_frame(struct session *s, uint32_t type, const char *payload, size_t len)
{
	union {
		struct cvmm_guest_stream_end end;
		struct cvmm_guest_output_gone gone;
		struct cvmm_guest_window window;
		struct cvmm_guest_signal signal;
	} u = { 0 };

	memcpy(&u, payload, len < sizeof(u) ? len : sizeof(u));
	if (type == CVMM_GUEST_INPUT_END) {
		s->input_total = u.end.bytes;
		s->input_total_known = true;
	} else if (type == CVMM_GUEST_OUTPUT_GONE) {
		output_gone(s, u.gone.port);
	} else if (type == CVMM_GUEST_WINDOW && s->pty >= 0) {
		struct winsize size = { .ws_row = u.window.rows, .ws_col = u.window.cols };

		ioctl(s->pty, TIOCSWINSZ, &size);
	} else if (type == CVMM_GUEST_SIGNAL && !s->command_ended) {
		/* To all of its job; to itself, if it has not made its session yet. */
		if (kill(-s->command, (int)u.signal.number))
			kill(s->command, (int)u.signal.number);
	}
}

static void read_control(struct session *s)
{
	struct cvmm_guest_frame frame;
	ssize_t n = read(s->control, s->frame + s->frame_len, sizeof(s->frame) - s->frame_len);

	if (n <= 0)
		return;
	s->frame_len += (size_t)n;
	while (s->frame_len >= sizeof(frame)) {
		size_t total;

		memcpy(&frame, s->frame, sizeof(frame));
		if (frame.len_bytes > CVMM_GUEST_FRAME_PAYLOAD_MAX)
			give_up(s->control, "the host sent a frame of %u bytes", frame.len_bytes);
		total = sizeof(frame) + frame.len_bytes;
		if (s->frame_len < total)
			break;
		handle_frame(s, frame.type, s->frame + sizeof(frame), frame.len_bytes);
		s->frame_len -= total;
		memmove(s->frame, s->frame + total, s->frame_len);
	}
}

/* ---- signals and the end ------------------------------------------------------------------------ */

static void reap(struct session *s)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != s->command)
			continue;
		s->command_ended = true;
		s->status = WIFSIGNALED(status) ? 128U + (uint32_t)WTERMSIG(status)
						: (uint32_t)WEXITSTATUS(status);
		/* The session ends with its command: what is left would hold the pipes open. */
		kill(-1, SIGKILL);
	}
}

/* What the command wrote before is relayed first, as if it had ended by itself. */
static void end_guest(struct session *s, int how)
{
	if (s->reboot_how)
		return;
	s->reboot_how = how;
	kill(-1, SIGKILL);
}

static void handle_signals(struct session *s)
{
	struct signalfd_siginfo info;

	while (read(s->signals, &info, sizeof(info)) == sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGCHLD:
			reap(s);
			break;
		case SIGUSR1: /* busybox halt */
		case SIGUSR2: /* busybox poweroff */
			end_guest(s, RB_POWER_OFF);
			break;
		default: /* SIGTERM: busybox reboot; SIGINT: Ctrl-Alt-Del */
			end_guest(s, RB_AUTOBOOT);
			break;
		}
	}
}

static int watch_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGPIPE);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigdelset(&set, SIGPIPE);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* Return: the text of all mounts, which the kernel gives a page at a time, or NULL. */
static char *read_mounts(void)
{
	int fd = open("/proc/self/mounts", O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	char *text = NULL;
	ssize_t n = fd < 0 ? -1 : 1;

	while (n > 0) {
		char *grown = realloc(text, len + MOUNTS_STEP_BYTES + 1);

		n = grown ? read(fd, grown + len, MOUNTS_STEP_BYTES) : -1;
		text = grown ? grown : text;
		len += n > 0 ? (size_t)n : 0;
	}
	if (fd >= 0)
		close(fd);
	if (text)
		text[len] = 0;
	return text;
}

/* In place: a space in a path is written \040, and so on. */
static void decode_octal(char *path)
{
	char *to = path;

	for (const char *from = path; *from; to++) {
		bool coded = from[0] == '\\' && from[1] && from[2] && from[3];

		*to = coded ? (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'))
			    : *from;
		from += coded ? 4 : 1;
	}
	*to = 0;
}

/* Latest mounts first; what cannot be unmounted is made read-only, which flushes it too. */
static void unmount_all(void)
{
	char *text = read_mounts();

	sync();
	while (text && *text) {
		char *newline = strrchr(text, '\n');
		char *line, *point, *end;

		if (newline)
			*newline = 0;
		line = strrchr(text, '\n');
		line = line ? line + 1 : text;
		point = strchr(line, ' ');
		end = point ? strchr(point + 1, ' ') : NULL;
		if (end && strncmp(line, "/dev/", 5) == 0) {
			*end = 0;
			decode_octal(++point);
			if (umount(point))
				mount(NULL, point, NULL, MS_REMOUNT | MS_RDONLY, NULL);
		}
		if (line == text)
			break;
		line[0] = 0;
	}
	free(text);
}

static bool stream_done(const struct stream *t)
{
	return t->src < 0 && t->start == t->end;
}

static void add_poll(struct pollfd *fds, nfds_t *count, int fd, short events)
{
	if (fd >= 0)
		fds[(*count)++] = (struct pollfd){ fd, events, 0 };
}

static void add_stream(struct pollfd *fds, nfds_t *count, const struct stream *t)
{
	if (t->start != t->end)
		add_poll(fds, count, t->dst, POLLOUT);
	else
		add_poll(fds, count, t->src, POLLIN);
}

/* Waits for something to do. A hung-up port would make poll() spin, so then the wait is timed. */
static void wait_for_events(struct session *s)
{
	struct pollfd fds[5];
	nfds_t count = 0;
	bool hung_up = false;

	add_poll(fds, &count, s->signals, POLLIN);
	add_poll(fds, &count, s->control, POLLIN);
	add_stream(fds, &count, &s->in);
	add_stream(fds, &count, &s->out);
	add_stream(fds, &count, &s->err);
	if (poll(fds, count, -1) <= 0)
		return;
	for (nfds_t i = 0; i < count; i++)
		if (fds[i].revents && !(fds[i].revents & ~(POLLHUP | POLLERR)))
			hung_up = true;
		else if (fds[i].revents)
			return;
	if (hung_up)
		sleep_ms(RETRY_MS);
}

static void relay(struct session *s)
{
	for (;;) {
		bool moved;

		handle_signals(s);
		read_control(s);
		moved = pump(s, &s->in);
		moved |= pump(s, &s->out);
		moved |= pump(s, &s->err);
		end_input_when_complete(s);
		if (s->command_ended && stream_done(&s->out) && stream_done(&s->err))
			return;
		if (!moved)
			wait_for_events(s);
	}
}

static void report_exit(struct session *s)
{
	struct cvmm_guest_exit payload = {
		.status = s->status,
		.stdout_bytes = s->out.total_bytes,
		.stderr_bytes = s->err.total_bytes,
	};

	send_frame(s->control, CVMM_GUEST_EXIT, &payload, sizeof(payload));
}

int main(void)
{
	static char buffers[3][STREAM_BUFFER_BYTES];
	static struct session s; /* no initialiser: it stays out of the file */
	struct cvmm_guest_hello hello = { CVMM_GUEST_PROTOCOL_VERSION, 0 };

	if (getpid() != 1) {
		fprintf(stderr, "this is the first process of a cvmm guest, not a command\n");
		return 1;
	}
	s.control = s.pty = -1;
	s.in = (struct stream){ .src = -1, .dst = -1, .buffer = buffers[0] };
	s.out = (struct stream){ .src = -1, .dst = -1, .buffer = buffers[1] };
	s.err = (struct stream){ .src = -1, .dst = -1, .buffer = buffers[2] };
	umask(022);
	mount_kernel_file_systems();
	read_spec(&s.spec);
	load_modules(&s.spec);
	s.control = open_port(CVMM_GUEST_PORT_CONTROL);
	send_frame(s.control, CVMM_GUEST_HELLO, &hello, sizeof(hello));
	s.signals = watch_signals();
	enter_root(&s);
	make_dev_complete();
	bring_up_loopback();
	if (s.spec.hostname)
		sethostname(s.spec.hostname, strlen(s.spec.hostname));
	start_command(&s);
	relay(&s);
	unmount_all();
	if (s.reboot_how)
		reboot(s.reboot_how);
	report_exit(&s);
	wait_for_the_end();
}
