// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * The list of system calls becomes a program for the kernel's filter, by hand: what it takes is a
 * comparison for each row, and a library for it would be larger than the rest of a daemon. Rows without a
 * condition come first; where a row has one, a masked argument must have a value, and several rows for
 * a call are alternatives. Any other call, and any call by another interface of the architecture (i386
 * and x32 on x86_64), ends the process.
 *
 * Only what is needed while a device is served is here: no way to open, to execute, to fork, to
 * signal anybody else or to make executable memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon_internal.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#endif

#ifndef SECCOMP_RET_KILL_PROCESS /* Linux 4.14 */
#define SECCOMP_RET_KILL_PROCESS 0x80000000U
#endif
#ifndef USERFAULTFD_IOC_NEW /* Linux 6.1, include/uapi/linux/userfaultfd.h */
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

#ifdef ARCH

/* ---- what is allowed ----------------------------------------------------------------------- */

static const long always[] = {
	/* waiting */
	SYS_epoll_pwait,
	SYS_epoll_ctl,
	SYS_ppoll,
	SYS_timerfd_settime,
	SYS_restart_syscall,
	SYS_clock_gettime,
	SYS_clock_nanosleep,
	SYS_nanosleep,
	/* descriptors that are open */
	SYS_read,
	SYS_write,
	SYS_readv,
	SYS_writev,
	SYS_pread64,
	SYS_pwrite64,
	SYS_preadv,
	SYS_pwritev,
	SYS_preadv2,
	SYS_pwritev2,
	SYS_lseek,
	SYS_close,
	SYS_fstat,
	SYS_fstatfs,
	SYS_ftruncate,
	SYS_fsync,
	SYS_fdatasync,
	SYS_fallocate,
	/* sockets that are open */
	SYS_recvmsg,
	SYS_sendmsg,
	SYS_recvfrom,
	SYS_sendto,
	SYS_accept,
	SYS_shutdown,
	SYS_getsockopt,
	SYS_getsockname,
	SYS_getpeername,
	/* new descriptors that reach nothing outside */
	SYS_eventfd2,
	SYS_timerfd_create,
	SYS_epoll_create1,
	SYS_memfd_create,
	SYS_pipe2,
	SYS_userfaultfd,
	/* memory; what can become executable is below */
	SYS_munmap,
	SYS_mremap,
	SYS_madvise,
	SYS_brk,
	SYS_membarrier,
	/* threads and the end */
	SYS_futex,
	SYS_sched_yield,
	SYS_getpid,
	SYS_gettid,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_rt_sigpending,
	SYS_rt_sigtimedwait,
	SYS_exit,
	SYS_exit_group,
	SYS_getrandom,
/* Older forms, which x86_64 has. */
#ifdef SYS_epoll_wait
	SYS_epoll_wait,
#endif
#ifdef SYS_poll
	SYS_poll,
#endif
};

/* For daemons whose devices start threads. */
static const long for_threads[] = {
	SYS_set_robust_list,
	SYS_sched_getaffinity,
	SYS_rt_sigaction,
	SYS_sigaltstack,
#ifdef SYS_rseq
	SYS_rseq,
#endif
};

struct condition {
	long nr;
	unsigned int arg;
	uint64_t mask;
	uint64_t value;
};

#define WORD UINT64_C(0xffffffff) /* arguments that are ints, of which the kernel sees no more */

static const struct condition conditions[] = {
	{ SYS_mmap, 2, PROT_EXEC, 0 },
	{ SYS_mprotect, 2, PROT_EXEC, 0 },
	/* A file's name in the directory of the sockets is a row of its own, see below. */
	{ SYS_newfstatat, 3, AT_EMPTY_PATH, AT_EMPTY_PATH },
	/* Neither owners nor signals: these would reach other processes. */
	{ SYS_fcntl, 1, WORD, F_DUPFD_CLOEXEC },
	{ SYS_fcntl, 1, WORD, F_GETFD },
	{ SYS_fcntl, 1, WORD, F_SETFD },
	{ SYS_fcntl, 1, WORD, F_GETFL },
	{ SYS_fcntl, 1, WORD, F_SETFL },
	{ SYS_fcntl, 1, WORD, F_ADD_SEALS },
	{ SYS_fcntl, 1, WORD, F_GET_SEALS },
	/* Post-copy. A terminal, for one, has requests that type into it. */
	{ SYS_ioctl, 1, WORD, UFFDIO_API },
	{ SYS_ioctl, 1, WORD, UFFDIO_REGISTER },
	{ SYS_ioctl, 1, WORD, UFFDIO_UNREGISTER },
	{ SYS_ioctl, 1, WORD, UFFDIO_WAKE },
	{ SYS_ioctl, 1, WORD, UFFDIO_COPY },
	{ SYS_ioctl, 1, WORD, UFFDIO_ZEROPAGE },
	{ SYS_ioctl, 1, WORD, USERFAULTFD_IOC_NEW },
};

/* ---- the program of the filter ------------------------------------------------------------- */

#define INSTRUCTIONS_MAX 2048U

struct program {
	struct sock_filter code[INSTRUCTIONS_MAX];
	unsigned int len;
};

static void emit(struct program *p, unsigned int code, unsigned int yes, unsigned int no,
		 uint32_t k)
{
	CVMM_BUG_ON(p->len == INSTRUCTIONS_MAX);
	p->code[p->len++] = (struct sock_filter){ (uint16_t)code, (uint8_t)yes, (uint8_t)no, k };
}

static void emit_return(struct program *p, uint32_t action)
{
	emit(p, BPF_RET | BPF_K, 0, 0, action);
}

static void emit_load(struct program *p, size_t offset)
{
	emit(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

/* Between rows the number of the call is in the accumulator. */
static void emit_rule(struct program *p, long nr, uint32_t action)
{
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)nr);
	emit_return(p, action);
}

static void emit_condition(struct program *p, const struct condition *c)
{
	size_t low = offsetof(struct seccomp_data, args) + 8 * c->arg;

	_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "low words come first");
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 8, (uint32_t)c->nr);
	emit_load(p, low);
	emit(p, BPF_ALU | BPF_AND | BPF_K, 0, 0, (uint32_t)c->mask);
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, (uint32_t)c->value);
	emit_load(p, low + 4);
	emit(p, BPF_ALU | BPF_AND | BPF_K, 0, 0, (uint32_t)(c->mask >> 32));
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)(c->value >> 32));
	emit_return(p, SECCOMP_RET_ALLOW);
	emit_load(p, offsetof(struct seccomp_data, nr));
}

static void emit_int(struct program *p, long nr, unsigned int arg, int value)
{
	emit_condition(p, &(struct condition){ nr, arg, WORD, (uint32_t)value });
}

static void emit_start(struct program *p)
{
	emit_load(p, offsetof(struct seccomp_data, arch));
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, ARCH);
	emit_return(p, SECCOMP_RET_KILL_PROCESS);
	/* Numbers of x32 have a bit that no row has. */
	emit_load(p, offsetof(struct seccomp_data, nr));
}

static void emit_list(struct program *p, const long *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		emit_rule(p, list[i], SECCOMP_RET_ALLOW);
}

static void emit_threads(struct program *p)
{
	const uint64_t thread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;

	emit_list(p, for_threads, CVMM_ARRAY_SIZE(for_threads));
	emit_condition(p, &(struct condition){ SYS_clone, 0, thread, thread });
	emit_int(p, SYS_prctl, 0, PR_SET_NAME);
#ifdef SYS_clone3
	/* What its flags are lies in memory: the C library then takes the one above. */
	emit_rule(p, SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS);
#endif
}

static void emit_addresses(struct program *p, const struct daemon_sandbox *sandbox)
{
	for (unsigned int i = 0; i < sandbox->address_count; i++) {
		if (sandbox->connects)
			continue;
		emit_int(p, SYS_newfstatat, 0, sandbox->addresses[i]->dir_fd);
		emit_int(p, SYS_unlinkat, 0, sandbox->addresses[i]->dir_fd);
	}
	if (sandbox->connects) {
		emit_int(p, SYS_socket, 0, AF_UNIX);
		emit_rule(p, SYS_connect, SECCOMP_RET_ALLOW);
	}
}

static void emit_all(struct program *p, const struct daemon_sandbox *sandbox)
{
	emit_start(p);
	emit_list(p, always, CVMM_ARRAY_SIZE(always));
	emit_list(p, sandbox->syscalls, sandbox->syscall_count);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(conditions); i++)
		emit_condition(p, &conditions[i]);
	for (size_t i = 0; i < sandbox->ioctl_count; i++)
		emit_int(p, SYS_ioctl, 1, (int)sandbox->ioctls[i]);
	/* Post-copy looks for its device, glibc for the number of processors: both can do without. */
	emit_rule(p, SYS_openat, SECCOMP_RET_ERRNO | EACCES);
	/* abort(). */
	emit_int(p, SYS_tgkill, 0, (int)getpid());
	emit_addresses(p, sandbox);
	if (sandbox->threads)
		emit_threads(p);
	emit_return(p, SECCOMP_RET_KILL_PROCESS);
}

int daemon_seccomp_install(const struct daemon_sandbox *sandbox, struct cvmm_error *err)
{
	struct program *p = calloc(1, sizeof(*p));
	struct sock_fprog filter;
	long ret;

	if (!p)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	emit_all(p, sandbox);
	filter = (struct sock_fprog){ .len = (uint16_t)p->len, .filter = p->code };
	ret = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
	if (ret < 0)
		ret = -errno;
	else if (ret > 0)
		ret = -ESRCH; /* the id of a thread that has a filter of its own */
	free(p);
	return ret ? cvmm_fail(err, (int)ret, "cannot filter system calls: %s", strerror((int)-ret))
		   : 0;
}

#else /* an architecture that is not known here */

int daemon_seccomp_install(const struct daemon_sandbox *sandbox, struct cvmm_error *err)
{
	(void)sandbox;
	return cvmm_fail(err, -ENOTSUP, "there is no list of system calls for this architecture");
}

#endif
