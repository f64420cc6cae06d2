// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Every right that the kernel knows is taken away, for every path, but one: to remove files in the
 * directory of the sockets. TCP, abstract sockets and signals to processes outside go with them, as far
 * as the kernel knows about these. Descriptors that are open keep what they can.
 */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon_internal.h"
#include "daemon_landlock_uapi.h"

static int make_ruleset(int version)
{
	struct landlock_ruleset rules = { .handled_access_fs = LANDLOCK_FS_ALL_1 };
	int fd;

	if (version >= 2)
		rules.handled_access_fs = LANDLOCK_FS_ALL_2;
	if (version >= 3)
		rules.handled_access_fs = LANDLOCK_FS_ALL_3;
	if (version >= 4)
		rules.handled_access_net = LANDLOCK_NET_ALL_4;
	if (version >= 5)
		rules.handled_access_fs = LANDLOCK_FS_ALL_5;
	if (version >= 6)
		rules.scoped = LANDLOCK_SCOPE_ALL_6;
	fd = (int)syscall(LANDLOCK_NR_CREATE_RULESET, &rules, sizeof(rules), 0U);
	return fd < 0 ? -errno : fd;
}

static int allow_removal(int ruleset, int dir_fd)
{
	struct landlock_path_beneath rule = {
		.allowed_access = LANDLOCK_FS_REMOVE_FILE,
		.parent_fd = dir_fd,
	};

	return syscall(LANDLOCK_NR_ADD_RULE, ruleset, LANDLOCK_PATH_BENEATH, &rule, 0U) ? -errno
											: 0;
}

int daemon_landlock_enter(const struct daemon_sandbox *sandbox, struct cvmm_error *err)
{
	int version =
		(int)syscall(LANDLOCK_NR_CREATE_RULESET, NULL, (size_t)0, LANDLOCK_GET_ABI_VERSION);
	int ruleset, ret = 0;

	if (version < 0)
		return cvmm_fail(err, -errno, "the kernel has no Landlock, or it is off: %s",
				 strerror(errno));
	ruleset = make_ruleset(version);
	if (ruleset < 0)
		return cvmm_fail(err, ruleset, "cannot make rules for Landlock: %s",
				 strerror(-ruleset));
	/* One rule is enough: the addresses share their directory. */
	if (sandbox->address_count && !sandbox->connects)
		ret = allow_removal(ruleset, sandbox->addresses[0]->dir_fd);
	if (!ret && syscall(LANDLOCK_NR_RESTRICT_SELF, ruleset, 0U))
		ret = -errno;
	close(ruleset);
	return ret ? cvmm_fail(err, ret, "cannot apply Landlock: %s", strerror(-ret)) : 0;
}
