// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Each test runs one thing in a child that has gone into a sandbox, or into one part of it, and looks at
 * how the child ended: "denied" is an errno that it got, or the signal that killed it.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <cmocka.h>

#include "daemon_internal.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

#define CHILD_FAILED 99 /* exit status: it did not even come to what it should try */
#define CHILD_LACKS 98	/* this system lacks what the test needs */

/* ---- children in sandboxes -------------------------------------------------------------------- */

struct child {
	struct daemon_sandbox sandbox;
	struct daemon_address address;
	char path[96]; /* of a socket, whose directory is the one of the sandbox */
	bool listens;
	int listener; /* of the test's own, for children that connect */
	struct cvmm_error err;
	int (*enter)(struct child *c);
	int (*fn)(struct child *c); /* Return: 0 if it was allowed, or a positive errno */
};

static int set_up(void **state)
{
	struct child *c = calloc(1, sizeof(*c));

	if (!c)
		return -1;
	strcpy(c->path, "/tmp/cvmm-sandbox-XXXXXX");
	if (!mkdtemp(c->path))
		return -1;
	strcat(c->path, "/sock");
	c->listener = -1;
	if (daemon_address_init(&c->address, c->path, -1, NULL))
		return -1;
	c->sandbox.addresses[0] = &c->address;
	c->sandbox.address_count = 1;
	c->sandbox.sockets = 1;
	c->sandbox.named = true;
	*state = c;
	return 0;
}

static int tear_down(void **state)
{
	struct child *c = *state;

	cvmm_close_fd(&c->listener);
	daemon_address_fini(&c->address);
	unlink(c->path);
	*strrchr(c->path, '/') = 0;
	rmdir(c->path);
	free(c);
	return 0;
}

static int enter_all(struct child *c)
{
	int ret = daemon_sandbox_enter(&c->sandbox, &c->err);

	return ret ? ret : daemon_sandbox_filter(&c->sandbox, &c->err);
}

static int enter_namespace(struct child *c)
{
	return daemon_namespace_enter(&c->sandbox, &c->err);
}

static int enter_landlock(struct child *c)
{
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return daemon_landlock_enter(&c->sandbox, &c->err);
}

static int enter_seccomp(struct child *c)
{
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return daemon_seccomp_install(&c->sandbox, &c->err);
}

/* Without what a sanitizer does in exit() and _exit(), for which it needs system calls of its own. */
static __attribute__((noreturn)) void leave(int status)
{
	syscall(SYS_exit_group, status);
	__builtin_unreachable();
}

/* Return: its status, as of waitpid(). Skips the test where the sandbox cannot be had. */
static int run_child(struct child *c, int (*enter)(struct child *c), int (*fn)(struct child *c))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int ret = enter(c);

		if (ret) {
			dprintf(1, "SKIP: %s\n", c->err.message);
			leave(CHILD_LACKS);
		}
		leave(fn(c));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_LACKS)
		skip();
	return status;
}

static void expect_errno(struct child *c, int (*enter)(struct child *c), int (*fn)(struct child *c),
			 int error)
{
	int status = run_child(c, enter, fn);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), error);
}

static void expect_allowed(struct child *c, int (*enter)(struct child *c),
			   int (*fn)(struct child *c))
{
	expect_errno(c, enter, fn, 0);
}

static void expect_killed(struct child *c, int (*fn)(struct child *c))
{
	int status = run_child(c, enter_seccomp, fn);

	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
		fail_msg("the child was not killed: status 0x%x", status);
}

static int result(long ret)
{
	return ret < 0 ? errno : 0;
}

/* ---- things to try ------------------------------------------------------------------------------ */

static int try_open(struct child *c)
{
	(void)c;
	return result(open("/etc/passwd", O_RDONLY));
}

static int try_create(struct child *c)
{
	char path[128];

	snprintf(path, sizeof(path), "%s-too", c->path);
	return result(open(path, O_WRONLY | O_CREAT, 0600));
}

static int try_unlink_socket(struct child *c)
{
	return result(unlinkat(c->address.dir_fd, c->address.name, 0));
}

static int try_unlink_outside(struct child *c)
{
	/* A name that is there, so that nothing but the sandbox can object. */
	return result(unlinkat(c->address.dir_fd, "../cvmm-sandbox-victim", 0));
}

static int try_parent(struct child *c)
{
	struct stat st;

	return result(fstatat(c->address.dir_fd, "../etc/passwd", &st, 0) &&
				      fstatat(c->address.dir_fd, "../../etc/passwd", &st, 0)
			      ? -1
			      : 0);
}

static int try_network(struct child *c)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(9) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	(void)c;
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return result(fd < 0 ? -1 : connect(fd, (struct sockaddr *)&in, sizeof(in)));
}

static int try_connect(struct child *c)
{
	return result(daemon_connect(&c->address) < 0 ? -1 : 0);
}

static int try_inet_socket(struct child *c)
{
	(void)c;
	return result(socket(AF_INET, SOCK_STREAM, 0));
}

static int try_unix_socket(struct child *c)
{
	(void)c;
	return result(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int try_exec(struct child *c)
{
	char *argv[] = { "true", NULL };

	(void)c;
	return result(execv("/bin/true", argv));
}

static int try_fork(struct child *c)
{
	(void)c;
	return result(fork());
}

static int try_kill(struct child *c)
{
	(void)c;
	return result(kill(getppid(), 0));
}

static int try_signal_parent(struct child *c)
{
	(void)c;
	return result(syscall(SYS_tgkill, getpid() - 1, getpid() - 1, 0));
}

static int try_executable_memory(struct child *c)
{
	(void)c;
	return result(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
				      MAP_FAILED
			      ? -1
			      : 0);
}

static int try_make_executable(struct child *c)
{
	(void)c;
	return result(mprotect((void *)((uintptr_t)&errno & ~UINT64_C(4095)), 4096,
			       PROT_READ | PROT_WRITE | PROT_EXEC));
}

static int try_owner(struct child *c)
{
	return result(fcntl(c->address.dir_fd, F_SETOWN, 1));
}

static int try_type_into_terminal(struct child *c)
{
	(void)c;
	return result(ioctl(0, TIOCSTI, "x"));
}

static int try_ptrace(struct child *c)
{
	(void)c;
	return result(syscall(SYS_ptrace, 0, 0, 0, 0));
}

static int try_unlink_elsewhere(struct child *c)
{
	(void)c;
	return result(unlinkat(AT_FDCWD, "/tmp/cvmm-no-such-file", 0));
}

static void *name_itself(void *ctx)
{
	prctl(PR_SET_NAME, "worker");
	return malloc(100 + (size_t)(ctx == NULL));
}

static int try_thread(struct child *c)
{
	pthread_t thread;
	int error;

	error = pthread_create(&thread, NULL, name_itself, c);
	return error ? error : pthread_join(thread, NULL);
}

static int try_abort(struct child *c)
{
	(void)c;
	abort();
}

#ifdef __x86_64__
/* getpid by the interface of i386: another table of numbers. */
static int try_i386(struct child *c)
{
	long ret;

	(void)c;
	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(20) : "memory");
	return ret < 0 ? (int)-ret : 0;
}

static int try_x32(struct child *c)
{
	(void)c;
	return result(syscall(0x40000000 | SYS_getpid));
}
#endif

/* ---- one part at a time ------------------------------------------------------------------------- */

static void namespaces_have_no_files(void **state)
{
	expect_errno(*state, enter_namespace, try_open, ENOENT);
	expect_errno(*state, enter_namespace, try_parent, ENOENT);
}

static void namespaces_have_no_network(void **state)
{
	expect_errno(*state, enter_namespace, try_network, ENETUNREACH);
}

static void leave_socket(struct child *c)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	strcpy(sun.sun_path, c->path);
	c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(c->listener, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(c->listener, 8), 0);
}

static void sockets_can_be_removed_from_each_sandbox(void **state)
{
	static int (*const enters[])(struct child *) = { enter_namespace, enter_landlock,
							 enter_seccomp, enter_all };
	struct child *c = *state;

	c->sandbox.kind = DAEMON_SANDBOX_NAMESPACE;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(enters); i++) {
		leave_socket(c);
		expect_allowed(c, enters[i], try_unlink_socket);
		assert_int_equal(access(c->path, F_OK), -1);
		cvmm_close_fd(&c->listener);
	}
}

static void clients_can_connect_from_each_sandbox(void **state)
{
	static int (*const enters[])(struct child *) = { enter_namespace, enter_landlock,
							 enter_seccomp, enter_all };
	struct child *c = *state;

	c->sandbox.kind = DAEMON_SANDBOX_NAMESPACE;
	c->sandbox.connects = true;
	leave_socket(c);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(enters); i++)
		expect_allowed(c, enters[i], try_connect);
}

static void landlock_has_no_files(void **state)
{
	expect_errno(*state, enter_landlock, try_open, EACCES);
	expect_errno(*state, enter_landlock, try_create, EACCES);
	expect_errno(*state, enter_landlock, try_exec, EACCES);
}

static void what_is_beside_the_directory_of_the_sockets_cannot_be_removed(void **state)
{
	const char *victim = "/tmp/cvmm-sandbox-victim";
	int fd = open(victim, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	struct child *c = *state;

	assert_true(fd >= 0);
	close(fd);
	expect_errno(c, enter_landlock, try_unlink_outside, EACCES);
	expect_errno(c, enter_namespace, try_unlink_outside, EROFS);
	assert_int_equal(unlink(victim), 0);
}

static void the_filter_kills_whoever_calls_what_is_not_needed(void **state)
{
	expect_killed(*state, try_inet_socket);
	expect_killed(*state, try_unix_socket);
	expect_killed(*state, try_exec);
	expect_killed(*state, try_fork);
	expect_killed(*state, try_kill);
	expect_killed(*state, try_signal_parent);
	expect_killed(*state, try_executable_memory);
	expect_killed(*state, try_make_executable);
	expect_killed(*state, try_owner);
	expect_killed(*state, try_type_into_terminal);
	expect_killed(*state, try_ptrace);
	expect_killed(*state, try_unlink_elsewhere);
	expect_killed(*state, try_thread);
	expect_errno(*state, enter_seccomp, try_open, EACCES);
}

static void clients_may_make_unix_sockets_and_no_others(void **state)
{
	struct child *c = *state;

	c->sandbox.connects = true;
	expect_allowed(c, enter_seccomp, try_unix_socket);
	expect_killed(c, try_inet_socket);
	expect_killed(c, try_unlink_socket);
}

static void the_filter_knows_one_interface_of_the_kernel(void **state)
{
#ifdef __x86_64__
	expect_killed(*state, try_i386);
	expect_killed(*state, try_x32);
#else
	(void)state;
	print_message("SKIP: this architecture has no other interface\n");
	skip();
#endif
}

static void threads_start_where_they_are_asked_for(void **state)
{
	struct child *c = *state;

	if (SANITIZED) {
		print_message("SKIP: threads of a sanitizer call more than others\n");
		skip();
	}
	c->sandbox.threads = true;
	expect_allowed(c, enter_seccomp, try_thread);
	expect_killed(c, try_fork);
	c->sandbox.kind = DAEMON_SANDBOX_NAMESPACE;
	expect_allowed(c, enter_all, try_thread);
}

static void a_bug_of_our_own_still_ends_as_one(void **state)
{
	int status;

	if (SANITIZED) {
		print_message("SKIP: a sanitizer has its own way to abort\n");
		skip();
	}
	status = run_child(*state, enter_seccomp, try_abort);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static int try_own_call(struct child *c)
{
	(void)c;
	return result(syscall(SYS_sync));
}

static int try_own_ioctl(struct child *c)
{
	int bytes;

	return ioctl(c->address.dir_fd, FIONREAD, &bytes) && errno != ENOTTY ? errno : 0;
}

static void programs_add_calls_and_requests_of_their_own(void **state)
{
	const long calls[] = { SYS_sync };
	const unsigned long requests[] = { FIONREAD };
	struct child *c = *state;

	expect_killed(c, try_own_call);
	expect_killed(c, try_own_ioctl);
	c->sandbox.syscalls = calls;
	c->sandbox.syscall_count = 1;
	c->sandbox.ioctls = requests;
	c->sandbox.ioctl_count = 1;
	expect_allowed(c, enter_seccomp, try_own_call);
	expect_allowed(c, enter_seccomp, try_own_ioctl);
}

/* ---- what is needed ------------------------------------------------------------------------------ */

/* What devices and the back-end do, a little of each. */
static int do_the_work(struct child *c)
{
	struct cvmm_notifier notifier;
	struct cvmm_loop *loop;
	struct cvmm_source *timer;
	void *memory, *heap;
	uint8_t bytes[16];
	int memfd, pair[2];

	memfd = memfd_create("inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memfd < 0 || ftruncate(memfd, 65536) || fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK))
		return 1;
	memory = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	if (memory == MAP_FAILED || madvise(memory, 65536, MADV_DONTNEED) || munmap(memory, 65536))
		return 2;
	heap = malloc(8 << 20);
	if (!heap)
		return 3;
	heap = realloc(heap, 32 << 20);
	free(heap);
	if (cvmm_loop_create(CVMM_LOOP_AUTO, &loop) ||
	    cvmm_loop_add_timer(loop, (void (*)(void *))free, NULL, &timer) ||
	    cvmm_timer_arm(timer, 1000, 0) || cvmm_loop_run_once(loop, 1000) != 1 ||
	    cvmm_loop_fd(loop) < 0)
		return 4;
	if (cvmm_notifier_init(&notifier, CVMM_NOTIFIER_EVENTFD) ||
	    cvmm_notifier_signal(&notifier) || !cvmm_notifier_consume(&notifier))
		return 5;
	cvmm_notifier_fini(&notifier);
	if (cvmm_notifier_init(&notifier, CVMM_NOTIFIER_PIPE) || cvmm_notifier_signal(&notifier))
		return 6;
	cvmm_notifier_fini(&notifier);
	if (syscall(SYS_getrandom, bytes, sizeof(bytes), 0) != sizeof(bytes))
		return 7;
	memfd = daemon_accept(c->address.dir_fd);
	if (memfd != -ENOTSOCK && memfd != -EBADF)
		return 8;
	if (pipe2(pair, O_CLOEXEC) || write(pair[1], "x", 1) != 1 || read(pair[0], bytes, 1) != 1)
		return 9;
	/* May be forbidden by the system: then with an errno. */
	(void)!syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1);
	cvmm_loop_destroy(loop);
	return cvmm_clock_ns() ? 0 : 10;
}

static void what_a_daemon_does_is_allowed_in_each_sandbox(void **state)
{
	struct child *c = *state;

	for (c->sandbox.kind = DAEMON_SANDBOX_NONE; c->sandbox.kind <= DAEMON_SANDBOX_NAMESPACE;
	     c->sandbox.kind++)
		expect_allowed(c, enter_all, do_the_work);
}

static int look_at_limits(struct child *c)
{
	struct rlimit core, files;

	(void)c;
	if (getrlimit(RLIMIT_CORE, &core) || core.rlim_max)
		return 1;
	if (getrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur != files.rlim_max ||
	    files.rlim_cur < 64)
		return 2;
	if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 3;
	/* No privilege is left, even where this process is root. */
	if (syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL) == 0 || errno != EPERM)
		return 4;
	return prctl(PR_CAPBSET_READ, 21 /* SYS_ADMIN */, 0, 0, 0) > 0 && geteuid() == 0 ? 5 : 0;
}

static int enter_only(struct child *c)
{
	return daemon_sandbox_enter(&c->sandbox, &c->err);
}

static void privileges_are_gone_in_each_sandbox(void **state)
{
	struct child *c = *state;

	for (c->sandbox.kind = DAEMON_SANDBOX_SECCOMP; c->sandbox.kind <= DAEMON_SANDBOX_NAMESPACE;
	     c->sandbox.kind++)
		expect_allowed(c, enter_only, look_at_limits);
}

static int files_for_many(struct child *c)
{
	struct rlimit files;

	(void)c;
	if (getrlimit(RLIMIT_NOFILE, &files))
		return 1;
	/* All regions of memory, of all devices, and a message full of descriptors. */
	return files.rlim_cur >= 4U * (CVMM_VHOST_USER_MEM_SLOTS_MAX + CVMM_VHOST_USER_FDS_MAX) ? 0
												: 2;
}

static void there_are_descriptors_for_all_devices(void **state)
{
	struct child *c = *state;
	struct rlimit files;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	if (files.rlim_max < 8192) {
		print_message("SKIP: the limit here is %lu\n", (unsigned long)files.rlim_max);
		skip();
	}
	c->sandbox.kind = DAEMON_SANDBOX_SECCOMP;
	c->sandbox.sockets = 4;
	expect_allowed(c, enter_only, files_for_many);
}

/* ---- systems that permit less ---------------------------------------------------------------------- */

/* As a container's policy does: the call fails from now on. */
static int forbid(long nr, int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { CVMM_ARRAY_SIZE(code), code };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) ? -1 : 0;
}

static void collect(void *ctx, enum cvmm_log_level level, const char *message)
{
	char *lines = ctx;

	if (level == CVMM_LOG_WARN) {
		strncat(lines, message, 1000);
		strcat(lines, "\n");
	}
}

/* Return: 0 if the sandbox became @wanted with warnings about @what. */
static int go_on_with(struct child *c, enum daemon_sandbox_kind wanted, const char *what)
{
	char lines[4096] = "";
	struct cvmm_log log = { .write = collect, .ctx = lines, .max_level = CVMM_LOG_WARN };

	c->sandbox.kind = DAEMON_SANDBOX_NAMESPACE;
	c->sandbox.named = false;
	c->sandbox.log = &log;
	if (enter_all(c))
		return 1;
	if (c->sandbox.kind != wanted)
		return 2;
	return strstr(lines, what) ? 0 : 3;
}

static int without_namespaces(struct child *c)
{
	return forbid(SYS_unshare, EPERM)
		       ? CHILD_FAILED
		       : go_on_with(
				 c, DAEMON_SANDBOX_LANDLOCK,
				 "goes on without namespaces: cannot make namespaces: Operation");
}

static int without_mounts(struct child *c)
{
	return forbid(SYS_mount, EACCES) ? CHILD_FAILED
					 : go_on_with(c, DAEMON_SANDBOX_LANDLOCK,
						      "goes on without namespaces: cannot");
}

static int without_both(struct child *c)
{
	return forbid(SYS_unshare, EPERM) || forbid(444 /* landlock_create_ruleset */, ENOSYS)
		       ? CHILD_FAILED
		       : go_on_with(c, DAEMON_SANDBOX_SECCOMP,
				    "goes on without Landlock: the kernel has no Landlock");
}

static int without_landlock(struct child *c)
{
	return forbid(444, EOPNOTSUPP) ? CHILD_FAILED : go_on_with(c, DAEMON_SANDBOX_NAMESPACE, "");
}

static int without_filter(struct child *c)
{
	/* The filter that forbids filters has to let itself in. */
	return forbid(SYS_seccomp, EINVAL)
		       ? CHILD_FAILED
		       : go_on_with(c, DAEMON_SANDBOX_NAMESPACE,
				    "goes on without a filter of system calls: cannot filter");
}

static int named_without_namespaces(struct child *c)
{
	if (forbid(SYS_unshare, EPERM))
		return CHILD_FAILED;
	c->sandbox.kind = DAEMON_SANDBOX_NAMESPACE;
	if (enter_all(c) != -EPERM)
		return 1;
	return strncmp(c->err.message, "--sandbox: cannot make namespaces", 33) ? 2 : 0;
}

static int named_without_landlock(struct child *c)
{
	if (forbid(444, ENOSYS))
		return CHILD_FAILED;
	c->sandbox.kind = DAEMON_SANDBOX_LANDLOCK;
	return enter_all(c) == -ENOSYS ? 0 : 1;
}

static int named_without_filter(struct child *c)
{
	if (forbid(SYS_seccomp, EINVAL))
		return CHILD_FAILED;
	c->sandbox.kind = DAEMON_SANDBOX_SECCOMP;
	return enter_all(c) == -EINVAL ? 0 : 1;
}

static int enter_nothing(struct child *c)
{
	(void)c;
	return 0;
}

static void what_the_system_does_not_permit_is_left_away_with_a_warning(void **state)
{
	expect_allowed(*state, enter_nothing, without_namespaces);
	expect_allowed(*state, enter_nothing, without_mounts);
	expect_allowed(*state, enter_nothing, without_both);
	expect_allowed(*state, enter_nothing, without_landlock);
	expect_allowed(*state, enter_nothing, without_filter);
}

static void a_sandbox_that_was_named_fails_instead(void **state)
{
	expect_allowed(*state, enter_nothing, named_without_namespaces);
	expect_allowed(*state, enter_nothing, named_without_landlock);
	expect_allowed(*state, enter_nothing, named_without_filter);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(namespaces_have_no_files),
		TEST(namespaces_have_no_network),
		TEST(sockets_can_be_removed_from_each_sandbox),
		TEST(clients_can_connect_from_each_sandbox),
		TEST(landlock_has_no_files),
		TEST(what_is_beside_the_directory_of_the_sockets_cannot_be_removed),
		TEST(the_filter_kills_whoever_calls_what_is_not_needed),
		TEST(clients_may_make_unix_sockets_and_no_others),
		TEST(the_filter_knows_one_interface_of_the_kernel),
		TEST(threads_start_where_they_are_asked_for),
		TEST(a_bug_of_our_own_still_ends_as_one),
		TEST(programs_add_calls_and_requests_of_their_own),
		TEST(what_a_daemon_does_is_allowed_in_each_sandbox),
		TEST(privileges_are_gone_in_each_sandbox),
		TEST(there_are_descriptors_for_all_devices),
		TEST(what_the_system_does_not_permit_is_left_away_with_a_warning),
		TEST(a_sandbox_that_was_named_fails_instead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
