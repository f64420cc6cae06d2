// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * A front-end, and the guest behind it, may find a way to run code of their own in a daemon. The sandbox is
 * what this code finds: no files, no network, no other processes, no privileges, and a few system
 * calls. Each kind of sandbox has the layers of those below it:
 *
 *   namespace   namespaces of our own, and a root directory with nothing in it but the directory of
 *               the sockets
 *   landlock    no path may be used, but to remove files in the directory of the sockets
 *   seccomp     no privileges, no core dump; a list of system calls, and death for any other one
 *   none        nothing
 *
 * Landlock is also part of namespace, where the kernel has it. What cannot be had is a failure if the
 * user asked for the kind by name, and a warning if nobody did: a daemon that starts with less is of
 * more use than one that does not, if somebody reads its log.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon_internal.h"

/*
 * Descriptors of one device: those of one message, the regions of memory (each may be kept), those of
 * queues (kick, call, error), and a few of its own.
 */
#define FDS_PER_SOCKET \
	(CVMM_VHOST_USER_FDS_MAX + CVMM_VHOST_USER_MEM_SLOTS_MAX + 3 * CVMM_VIRTIO_QUEUES_MAX + 16)
#define FDS_OF_PROCESS 32U

/* ---- what was inherited -------------------------------------------------------------------- */

static void close_range_of(unsigned int first, unsigned int last)
{
	if (first > last)
		return;
#ifdef SYS_close_range
	if (syscall(SYS_close_range, first, last, 0) == 0)
		return;
#endif
	for (unsigned int fd = first; fd <= last && fd < 65536; fd++)
		close((int)fd);
}

void daemon_close_inherited(const int *keep, unsigned int count)
{
	unsigned int first = 3;

	for (unsigned int i = 0; i < count; i++) {
		if (keep[i] < (int)first)
			continue;
		close_range_of(first, (unsigned int)keep[i] - 1);
		first = (unsigned int)keep[i] + 1;
	}
	close_range_of(first, INT32_MAX);
}

int daemon_userfaultfd_open(void)
{
	return open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
}

/* ---- privileges and limits ----------------------------------------------------------------- */

static void set_limits(unsigned int sockets)
{
	const struct rlimit no_core = { 0, 0 };
	rlim_t wanted = FDS_OF_PROCESS + (rlim_t)sockets * FDS_PER_SOCKET;
	struct rlimit files;

	(void)setrlimit(RLIMIT_CORE, &no_core);
	if (getrlimit(RLIMIT_NOFILE, &files))
		return;
	if (wanted < files.rlim_max)
		files.rlim_max = wanted;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	/* Up to the last one that the kernel knows. Whoever has not the right to do so has none to drop. */
	for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0;)
		cap++;
	return syscall(SYS_capset, &header, none) ? -errno : 0;
}

static int drop_privileges(const struct daemon_sandbox *sandbox, struct cvmm_error *err)
{
	int ret = drop_capabilities();

	if (ret)
		return cvmm_fail(err, ret, "cannot give up capabilities: %s", strerror(-ret));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		return cvmm_fail(err, -errno, "cannot give up privileges: %s", strerror(errno));
	set_limits(sandbox->sockets);
	return 0;
}

/* ---- all of it ----------------------------------------------------------------------------- */

/* A layer is not to be had. Return: 0 if we go on without it. */
static int fall_back(struct daemon_sandbox *sandbox, enum daemon_sandbox_kind kind,
		     const char *name, int error, struct cvmm_error *err)
{
	if (sandbox->named) {
		cvmm_error_prefix(err, "--sandbox");
		return error;
	}
	cvmm_log(sandbox->log, CVMM_LOG_WARN, "the sandbox goes on without %s: %s", name,
		 err->message);
	*err = (struct cvmm_error){ 0 };
	sandbox->kind = kind;
	return 0;
}

int daemon_sandbox_enter(struct daemon_sandbox *sandbox, struct cvmm_error *err)
{
	enum daemon_sandbox_kind wanted = sandbox->kind;
	int ret = 0;

	if (wanted == DAEMON_SANDBOX_NAMESPACE) {
		ret = daemon_namespace_enter(sandbox, err);
		if (ret)
			ret = fall_back(sandbox, DAEMON_SANDBOX_LANDLOCK, "namespaces", ret, err);
	}
	if (!ret && wanted >= DAEMON_SANDBOX_SECCOMP)
		ret = drop_privileges(sandbox, err);
	if (!ret && wanted >= DAEMON_SANDBOX_LANDLOCK) {
		ret = daemon_landlock_enter(sandbox, err);
		if (ret && sandbox->kind == DAEMON_SANDBOX_NAMESPACE) {
			cvmm_log(sandbox->log, CVMM_LOG_DEBUG, "no Landlock: %s", err->message);
			*err = (struct cvmm_error){ 0 };
			ret = 0;
		} else if (ret) {
			ret = fall_back(sandbox, DAEMON_SANDBOX_SECCOMP, "Landlock", ret, err);
		}
	}
	return ret;
}

int daemon_sandbox_filter(struct daemon_sandbox *sandbox, struct cvmm_error *err)
{
	int ret;

	if (sandbox->kind == DAEMON_SANDBOX_NONE)
		return 0;
	ret = daemon_seccomp_install(sandbox, err);
	return ret ? fall_back(sandbox, sandbox->kind, "a filter of system calls", ret, err) : 0;
}
