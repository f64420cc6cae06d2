// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * The namespaces are made by an unprivileged process and by root alike: with a user namespace, in
 * which the process keeps its own ids and has no power over anything outside. Root that may not make one
 * does without it. The new root directory is a tmpfs, mounted on a directory that is surely there: /proc,
 * which was needed just before for the maps of ids. It has the directory of the sockets in it, if there
 * are any, without what lies above it.
 *
 * A process cannot move itself into another PID namespace, only its children; and once it has asked for
 * that it can start no threads. Where the daemon has none this is asked for: whoever gets around the
 * filter and forks finds no processes to talk to.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon_internal.h"

#define NEW_ROOT "/proc"
#define SOCKET_DIR "/s"

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return -errno;
	ret = cvmm_write_full(fd, text, strlen(text));
	close(fd);
	return ret;
}

/* Every id but our own becomes nobody. */
static int map_ids(uid_t uid, gid_t gid, struct cvmm_error *err)
{
	char map[64];
	int ret;

	(void)write_file("/proc/self/setgroups", "deny"); /* not there before Linux 3.19 */
	snprintf(map, sizeof(map), "%lu %lu 1\n", (unsigned long)uid, (unsigned long)uid);
	ret = write_file("/proc/self/uid_map", map);
	if (!ret) {
		snprintf(map, sizeof(map), "%lu %lu 1\n", (unsigned long)gid, (unsigned long)gid);
		ret = write_file("/proc/self/gid_map", map);
	}
	return ret ? cvmm_fail(err, ret, "cannot map ids into a user namespace: %s", strerror(-ret))
		   : 0;
}

static int make_namespaces(const struct daemon_sandbox *sandbox, struct cvmm_error *err)
{
	const int others = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
			   CLONE_NEWCGROUP | (sandbox->threads ? 0 : CLONE_NEWPID);
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (unshare(CLONE_NEWUSER | others) == 0)
		return map_ids(uid, gid, err);
	if (unshare(others) == 0)
		return 0;
	return cvmm_fail(err, -errno,
			 "cannot make namespaces: %s (user.max_user_namespaces, or a policy of the "
			 "system or the container, forbids it)",
			 strerror(errno));
}

static int mount_socket_directory(const struct daemon_sandbox *sandbox, struct cvmm_error *err)
{
	const char *at = NEW_ROOT SOCKET_DIR;

	if (!sandbox->address_count)
		return 0;
	if (mkdir(at, 0700))
		return cvmm_fail(err, -errno, "%s: %s", at, strerror(errno));
	/*
	 * The working directory is the one of the sockets. What is mounted below it comes along only
	 * where the kernel refuses to show what it covers.
	 */
	if (mount(".", at, NULL, MS_BIND, NULL) && mount(".", at, NULL, MS_BIND | MS_REC, NULL))
		return cvmm_fail(err, -errno, "cannot mount the directory of the sockets: %s",
				 strerror(errno));
	(void)mount(NULL, at, NULL, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	return 0;
}

static int change_root(const struct daemon_sandbox *sandbox, struct cvmm_error *err)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	int ret;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", NEW_ROOT, "tmpfs", flags, "mode=0500,nr_inodes=8,size=4096"))
		return cvmm_fail(err, -errno, "cannot mount an empty root directory: %s",
				 strerror(errno));
	ret = mount_socket_directory(sandbox, err);
	if (ret)
		return ret;
	if (chdir(NEW_ROOT) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) ||
	    chdir("/") || mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL))
		return cvmm_fail(err, -errno, "cannot change the root directory: %s",
				 strerror(errno));
	return 0;
}

/* From now on they are reached through the new root. */
static int move_addresses(struct daemon_sandbox *sandbox, struct cvmm_error *err)
{
	int dir_fd = -1;
	int ret = 0;

	if (sandbox->address_count)
		dir_fd = open(SOCKET_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (unsigned int i = 0; i < sandbox->address_count && !ret; i++) {
		struct daemon_address *address = sandbox->addresses[i];
		char name[sizeof(address->sun.sun_path)];
		int len;

		if (dir_fd < 0 || dup3(dir_fd, address->dir_fd, O_CLOEXEC) < 0)
			ret = -errno;
		snprintf(name, sizeof(name), "%s", address->name);
		len = snprintf(address->sun.sun_path, sizeof(address->sun.sun_path),
			       SOCKET_DIR "/%s", name);
		address->name = address->sun.sun_path + sizeof(SOCKET_DIR);
		if (len >= (int)sizeof(address->sun.sun_path))
			ret = -ENAMETOOLONG;
	}
	cvmm_close_fd(&dir_fd);
	return ret ? cvmm_fail(err, ret, "cannot reach the directory of the sockets: %s",
			       strerror(-ret))
		   : 0;
}

int daemon_namespace_enter(struct daemon_sandbox *sandbox, struct cvmm_error *err)
{
	int ret;

	if (sandbox->address_count && fchdir(sandbox->addresses[0]->dir_fd))
		return cvmm_fail(err, -errno, "the directory of the sockets: %s", strerror(errno));
	ret = make_namespaces(sandbox, err);
	if (!ret)
		ret = change_root(sandbox, err);
	if (!ret)
		ret = move_addresses(sandbox, err);
	return ret;
}
