// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * `cvmm doctor`: what this host can and cannot do, why, and what to do about it.
 *
 * Theory of operation
 *
 * Each probe looks at one topic and prints one line. What no guest can do without is a failure, and any
 * failure makes the exit status 1; what is only missed by some features is a warning. Probes change
 * nothing on the host, and create no virtual machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/kvm.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "doctor.h"
#include "doctor_internal.h"
#include "initramfs.h"
#include "kernels.h"

#define TEXT_BYTES_MAX 512
#define TABLE_BYTES_MAX 16384
#define KVM_API_VERSION_WANTED 12 /* KVM API 4.1: the only one since Linux 2.6.22 */
#define LANDLOCK_VERSION_FLAG 1U  /* linux/landlock.h: LANDLOCK_CREATE_RULESET_VERSION */
#define GUEST_MEMORY_MIN_BYTES (UINT64_C(32) << 20)
#define GUEST_MEMORY_DEFAULT_BYTES (UINT64_C(256) << 20)
#define OVERCOMMIT_NEVER 2
#define FILES_WANTED 256  /* a machine with all its disks and queues */
#define THREADS_WANTED 64 /* a machine with all its CPUs and disks */

static const char help[] =
	"usage: cvmm doctor\n"
	"\n"
	"Says what this host can and cannot do for virtual machines, why, and what to do:\n"
	"one line per topic, that starts with ok, warn or fail.\n"
	"\n"
	"Exit status: 0 if guests can run here, else 1.\n";

void doctor_say(struct doctor *d, enum doctor_level level, const char *topic, const char *advice,
		const char *fmt, ...)
{
	static const char *const names[] = { "ok", "warn", "fail" };
	va_list args;

	if (level == DOCTOR_FAIL)
		d->failures++;
	fprintf(d->to, "%-5s %s: ", names[level], topic);
	va_start(args, fmt);
	vfprintf(d->to, fmt, args);
	va_end(args);
	fprintf(d->to, "%s%s\n", advice ? "  → " : "", advice ? advice : "");
}

/* ---- files --------------------------------------------------------------------------------------- */

/* Reads up to @size - 1 bytes and ends them with NUL. */
static int read_text(const char *path, char *ret_text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t len;

	if (fd < 0)
		return -errno;
	len = cvmm_read_full(fd, ret_text, size - 1);
	close(fd);
	if (len < 0)
		return (int)len;
	ret_text[len] = 0;
	return 0;
}

int doctor_read_number(const char *path, uint64_t *ret_value)
{
	char text[64], *end;
	uint64_t value;

	if (read_text(path, text, sizeof(text)) || text[0] < '0' || text[0] > '9')
		return -ENOENT;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || (*end && *end != '\n'))
		return -ENOENT;
	*ret_value = value;
	return 0;
}

static int read_proc_number(const struct doctor *d, const char *name, uint64_t *ret_value)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", d->proc, name);
	return doctor_read_number(path, ret_value);
}

/* The number after "NAME:" in a table such as /proc/meminfo. */
static int find_number(const char *text, const char *name, uint64_t *ret_value)
{
	size_t len = strlen(name);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, len) == 0 && line[len] == ':') {
			*ret_value = strtoull(line + len + 1, NULL, 10);
			return 0;
		}
	}
	return -ENOENT;
}

bool doctor_cpu_has(const char *cpuinfo, const char *flag)
{
	char text[TABLE_BYTES_MAX];
	size_t len = strlen(flag);
	char *line;

	if (read_text(cpuinfo, text, sizeof(text)))
		return false;
	line = strncmp(text, "flags", 5) == 0 ? text : strstr(text, "\nflags");
	if (!line)
		return false;
	line += *line == '\n';
	line[strcspn(line, "\n")] = 0;
	for (char *at = line; (at = strstr(at, flag)); at += len)
		if (at > line && strchr(" \t:", at[-1]) && (!at[len] || at[len] == ' '))
			return true;
	return false;
}

/* ---- KVM ------------------------------------------------------------------------------------------ */

static bool has_virtualization(const struct doctor *d)
{
#ifdef __x86_64__
	return doctor_cpu_has(d->cpuinfo, "svm") || doctor_cpu_has(d->cpuinfo, "vmx");
#else
	(void)d;
	return true; /* elsewhere KVM has no device file without it */
#endif
}

/* What to do where the device may not be opened: join its group if that has the right. */
static void say_kvm_denied(struct doctor *d)
{
	struct passwd *user = getpwuid(geteuid());
	const char *name = user ? user->pw_name : "$USER";
	char advice[TEXT_BYTES_MAX];
	struct group *group;
	struct stat st;

	if (stat(d->kvm, &st)) {
		doctor_say(d, DOCTOR_FAIL, "kvm", "ask for access to it", "%s: permission denied",
			   d->kvm);
		return;
	}
	group = getgrgid(st.st_gid);
	if (group && st.st_gid && (st.st_mode & 060) == 060)
		snprintf(advice, sizeof(advice),
			 "sudo usermod -aG %s %s, then log in again (or ./x run, without KVM)",
			 group->gr_name, name);
	else
		snprintf(advice, sizeof(advice),
			 "sudo setfacl -m u:%s:rw %s (or ./x run, without KVM)", name, d->kvm);
	doctor_say(d, DOCTOR_FAIL, "kvm", advice,
		   "%s: permission denied for %s (mode %03o, group %s)", d->kvm, name,
		   (unsigned int)st.st_mode & 0777, group ? group->gr_name : "unknown");
}

static void say_kvm_missing(struct doctor *d, int error)
{
	if (error == EACCES || error == EPERM)
		say_kvm_denied(d);
	else if (!has_virtualization(d))
		doctor_say(d, DOCTOR_FAIL, "kvm",
			   "use the rig, which needs no KVM: ./x run; or a host with it",
			   "no %s, and the CPU offers no hardware virtualization", d->kvm);
	else
		doctor_say(
			d, DOCTOR_FAIL, "kvm",
			"sudo modprobe kvm_intel or kvm_amd; in a container: give it the device; "
			"else use the rig: ./x run",
			"cannot open %s: %s", d->kvm, strerror(error));
}

/* What `cvmm run` cannot do without, and what makes it faster. */
static void check_capabilities(struct doctor *d, int fd)
{
	static const struct {
		int number;
		const char *name;
		bool needed;
	} wanted[] = {
		{ KVM_CAP_USER_MEMORY, "user memory", true },
		{ KVM_CAP_IRQFD, "irqfd", true },
		{ KVM_CAP_IOEVENTFD, "ioeventfd", true },
		{ KVM_CAP_IMMEDIATE_EXIT, "immediate exit", true },
#ifdef __x86_64__
		{ KVM_CAP_IRQCHIP, "interrupt controllers", true },
		{ KVM_CAP_EXT_CPUID, "CPUID", true },
		{ KVM_CAP_TSC_DEADLINE_TIMER, "TSC deadline timer", false },
#endif
	};
	char missing[TEXT_BYTES_MAX] = "";
	bool fatal = false;
	size_t len = 0;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(wanted); i++) {
		if (ioctl(fd, KVM_CHECK_EXTENSION, wanted[i].number) > 0)
			continue;
		fatal |= wanted[i].needed;
		len += (size_t)snprintf(missing + len, sizeof(missing) - len, "%s%s",
					len ? ", " : "", wanted[i].name);
	}
	if (len)
		doctor_say(d, fatal ? DOCTOR_FAIL : DOCTOR_WARN, "kvm capabilities",
			   fatal ? "use a newer host kernel, or the rig: ./x run"
				 : "guests use slower timers",
			   "missing: %s", missing);
	else
		doctor_say(d, DOCTOR_OK, "kvm capabilities", NULL,
			   "all that cvmm uses (irqfd, ioeventfd, user memory, timers); "
			   "at most %d virtual CPUs, %d recommended",
			   ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS),
			   ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_VCPUS));
}

void doctor_kvm(struct doctor *d)
{
	int fd = open(d->kvm, O_RDWR | O_CLOEXEC);
	int version;

	if (fd < 0) {
		say_kvm_missing(d, errno);
		return;
	}
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION_WANTED) {
		doctor_say(d, DOCTOR_FAIL, "kvm", "use the rig: ./x run",
			   "%s does not speak version %d of KVM's API", d->kvm,
			   KVM_API_VERSION_WANTED);
		close(fd);
		return;
	}
	if (has_virtualization(d))
		doctor_say(d, DOCTOR_OK, "kvm", NULL, "%s opens, API version %d", d->kvm, version);
	else
		doctor_say(d, DOCTOR_FAIL, "kvm", "use the rig: ./x run",
			   "%s opens (API version %d), but no hardware is behind it: it emulates "
			   "kernel code, and stock kernels do not boot",
			   d->kvm, version);
	check_capabilities(d, fd);
	close(fd);
}

void doctor_cpu(struct doctor *d)
{
#ifdef __x86_64__
	const char *kind = doctor_cpu_has(d->cpuinfo, "svm") ? "AMD SVM" : "Intel VMX";
	bool nested = doctor_cpu_has(d->cpuinfo, "hypervisor");

	if (!has_virtualization(d))
		doctor_say(d, DOCTOR_WARN, "cpu",
			   nested ? "turn on nested virtualization on the machine below"
				  : "turn on virtualization in the firmware's settings",
			   "no svm or vmx among the CPU's flags%s",
			   nested ? "; this is a virtual machine itself" : "");
	else
		doctor_say(d, DOCTOR_OK, "cpu", NULL, "%s%s", kind,
			   nested ? ", nested: this is a virtual machine itself; exits are slow"
				  : "");
#else
	doctor_say(d, DOCTOR_WARN, "cpu", NULL, "cvmm run supports x86_64 hosts only");
#endif
}

/* ---- what guests are made of ------------------------------------------------------------------ */

void doctor_kernel(struct doctor *d)
{
	char *path = NULL, *version = NULL, *modules = NULL;
	struct cvmm_error err = { 0 };
	int fd;

	if (cvmm_kernels_find_newest(&path, &err)) {
		doctor_say(d, DOCTOR_FAIL, "kernel",
			   "sudo apt-get install linux-image-cloud-amd64; or ./x run, which "
			   "fetches one",
			   "%s", err.message);
		return;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || cvmm_kernels_version(fd, &version))
		doctor_say(d, DOCTOR_FAIL, "kernel", "give another one with --kernel FILE",
			   "%s does not say its version: is it a kernel?", path);
	else if (cvmm_kernels_find_modules(path, version, &modules, &err))
		doctor_say(d, DOCTOR_FAIL, "kernel", "install its modules, or run depmod", "%s",
			   err.message);
	else
		doctor_say(d, DOCTOR_OK, "kernel", NULL, "%s, version %s, modules in %s", path,
			   version, modules);
	cvmm_close_fd(&fd);
	free(path);
	free(version);
	free(modules);
}

void doctor_busybox(struct doctor *d, const char *busybox)
{
	if (busybox)
		doctor_say(d, DOCTOR_OK, "busybox", NULL,
			   "%s, static: guests without --root use it", busybox);
	else
		doctor_say(d, DOCTOR_WARN, "busybox",
			   "sudo apt-get install busybox-static, or give each guest a --root",
			   "no static busybox in /bin: guests have no root of their own");
}

/* ---- resources ----------------------------------------------------------------------------------- */

void doctor_memory(struct doctor *d)
{
	uint64_t available_kb, overcommit = 0, pages = 0, page_kb = 0, available;
	char text[TABLE_BYTES_MAX], path[PATH_MAX];
	enum doctor_level level = DOCTOR_OK;
	const char *advice = NULL;

	snprintf(path, sizeof(path), "%s/meminfo", d->proc);
	if (read_text(path, text, sizeof(text)) ||
	    find_number(text, "MemAvailable", &available_kb)) {
		doctor_say(d, DOCTOR_WARN, "memory", "mount procfs", "%s does not say how much",
			   path);
		return;
	}
	available = available_kb << 10;
	(void)find_number(text, "HugePages_Free", &pages);
	(void)find_number(text, "Hugepagesize", &page_kb);
	(void)read_proc_number(d, "sys/vm/overcommit_memory", &overcommit);
	if (available < GUEST_MEMORY_MIN_BYTES) {
		level = DOCTOR_FAIL;
		advice = "end something else";
	} else if (available < GUEST_MEMORY_DEFAULT_BYTES) {
		level = DOCTOR_WARN;
		advice = "give guests less than their default 256M: --memory 64M";
	} else if (overcommit == OVERCOMMIT_NEVER) {
		level = DOCTOR_WARN;
		advice = "guests' whole memory counts as used; sudo sysctl vm.overcommit_memory=0";
	}
	doctor_say(d, level, "memory", advice,
		   "%llu MiB available, overcommit mode %llu, %llu free huge pages of %llu KiB",
		   (unsigned long long)(available >> 20), (unsigned long long)overcommit,
		   (unsigned long long)pages, (unsigned long long)page_kb);
}

void doctor_limits(struct doctor *d)
{
	struct rlimit files = { 0 }, threads = { 0 };
	bool few;

	if (getrlimit(RLIMIT_NOFILE, &files) || getrlimit(RLIMIT_NPROC, &threads)) {
		doctor_say(d, DOCTOR_WARN, "limits", NULL, "unknown: %s", strerror(errno));
		return;
	}
	few = files.rlim_cur < FILES_WANTED || threads.rlim_cur < THREADS_WANTED;
	/* RLIM_INFINITY is the largest number: it is shown as -1. */
	doctor_say(d, few ? DOCTOR_WARN : DOCTOR_OK, "limits",
		   few ? "ulimit -n 1024 -u 1024, or guests with many disks or CPUs fail" : NULL,
		   "%lld open files, %lld processes and threads (-1: no limit)",
		   (long long)files.rlim_cur, (long long)threads.rlim_cur);
}

/* This process's group in the unified hierarchy, e.g. "/user.slice"; "" if it has none. */
static void find_cgroup(const struct doctor *d, char *ret_group, size_t size)
{
	char path[PATH_MAX], text[TABLE_BYTES_MAX], *line;

	*ret_group = 0;
	snprintf(path, sizeof(path), "%s/self/cgroup", d->proc);
	if (read_text(path, text, sizeof(text)))
		return;
	line = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
	if (!line)
		return;
	line += *line == '\n';
	line[strcspn(line, "\n")] = 0;
	snprintf(ret_group, size, "%s", line + strlen("0::"));
}

/* The smallest limit on the way up from a group; UINT64_MAX if there is none. */
static uint64_t smallest_limit(const struct doctor *d, const char *group, const char *name)
{
	char path[PATH_MAX * 2], rest[PATH_MAX];
	uint64_t smallest = UINT64_MAX, value;
	char *slash;

	snprintf(rest, sizeof(rest), "%s", group);
	do {
		snprintf(path, sizeof(path), "%s%s/%s", d->cgroups, rest, name);
		if (!doctor_read_number(path, &value) && value < smallest)
			smallest = value;
		slash = strrchr(rest, '/');
		if (slash)
			*slash = 0;
	} while (slash);
	return smallest;
}

void doctor_cgroup(struct doctor *d)
{
	char group[PATH_MAX], memory_text[64] = "no limit", pids_text[64] = "no limit";
	uint64_t memory, pids;
	bool little;

	find_cgroup(d, group, sizeof(group));
	if (!*group) {
		doctor_say(d, DOCTOR_OK, "cgroup", NULL, "none of the unified hierarchy");
		return;
	}
	memory = smallest_limit(d, group, "memory.max");
	pids = smallest_limit(d, group, "pids.max");
	little = memory < GUEST_MEMORY_DEFAULT_BYTES || pids < THREADS_WANTED;
	if (memory != UINT64_MAX)
		snprintf(memory_text, sizeof(memory_text), "%llu MiB",
			 (unsigned long long)(memory >> 20));
	if (pids != UINT64_MAX)
		snprintf(pids_text, sizeof(pids_text), "%llu", (unsigned long long)pids);
	doctor_say(d, little ? DOCTOR_WARN : DOCTOR_OK, "cgroup",
		   little ? "run in a group with more, or give guests less memory and fewer CPUs"
			  : NULL,
		   "memory: %s, processes and threads: %s", memory_text, pids_text);
}

/* ---- networking and sandboxes -------------------------------------------------------------------- */

void doctor_tun(struct doctor *d)
{
	int fd = open(d->tun, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		doctor_say(d, DOCTOR_OK, "tun", NULL, "%s opens", d->tun);
	else if (errno == EACCES || errno == EPERM)
		doctor_say(d, DOCTOR_WARN, "tun", "sudo chmod 0666 it, or use rootless networking",
			   "%s: permission denied: no tap networking", d->tun);
	else
		doctor_say(d, DOCTOR_WARN, "tun", "sudo modprobe tun, or use rootless networking",
			   "cannot open %s: %s: no tap networking", d->tun, strerror(errno));
	cvmm_close_fd(&fd);
}

void doctor_landlock(struct doctor *d)
{
#ifdef SYS_landlock_create_ruleset
	long version = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_VERSION_FLAG);
#else
	long version = -1;

	errno = ENOSYS;
#endif
	if (version > 0)
		doctor_say(d, DOCTOR_OK, "landlock", NULL, "ABI version %ld", version);
	else
		doctor_say(d, DOCTOR_WARN, "landlock",
			   errno == EOPNOTSUPP ? "boot the host with lsm=landlock,..."
					       : "use a host kernel from 5.13 on that has it",
			   "%s: daemons do without this sandbox",
			   errno == EOPNOTSUPP ? "switched off" : strerror(errno));
}

void doctor_user_namespaces(struct doctor *d)
{
	static const struct {
		const char *sysctl;
		bool bad_if_zero; /* else bad unless zero */
		const char *advice;
	} switches[] = {
		{ "sys/user/max_user_namespaces", true,
		  "sudo sysctl user.max_user_namespaces=1024" },
		{ "sys/kernel/unprivileged_userns_clone", true,
		  "sudo sysctl kernel.unprivileged_userns_clone=1" },
		{ "sys/kernel/apparmor_restrict_unprivileged_userns", false,
		  "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or a profile" },
	};
	uint64_t value;

	if (read_proc_number(d, switches[0].sysctl, &value)) {
		doctor_say(d, DOCTOR_WARN, "user namespaces",
			   "use a host kernel that has them (CONFIG_USER_NS)",
			   "missing: sandboxes need root");
		return;
	}
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(switches); i++) {
		if (read_proc_number(d, switches[i].sysctl, &value) ||
		    (value == 0) != switches[i].bad_if_zero)
			continue;
		doctor_say(d, DOCTOR_WARN, "user namespaces", switches[i].advice,
			   "restricted by /proc/%s: sandboxes may need root", switches[i].sysctl);
		return;
	}
	doctor_say(d, DOCTOR_OK, "user namespaces", NULL, "allowed");
}

/* ---- the command ----------------------------------------------------------------------------------- */

int cvmm_doctor_main(char **argv)
{
	struct doctor d = DOCTOR_DEFAULTS;
	const char *busybox;

	if (*argv && (strcmp(*argv, "--help") == 0 || strcmp(*argv, "-h") == 0)) {
		fputs(help, stdout);
		return 0;
	}
	if (*argv) {
		fprintf(stderr, "cvmm: doctor takes no arguments; cvmm doctor --help\n");
		return 1;
	}
	doctor_cpu(&d);
	doctor_kvm(&d);
	doctor_kernel(&d);
	doctor_busybox(&d, cvmm_initramfs_find_busybox(&busybox) ? NULL : busybox);
	doctor_memory(&d);
	doctor_cgroup(&d);
	doctor_limits(&d);
	doctor_tun(&d);
	doctor_landlock(&d);
	doctor_user_namespaces(&d);
	if (d.failures)
		printf("\nGuests cannot run here as it is; ./x run needs neither KVM nor a kernel.\n");
	else
		printf("\nGuests can run here: cvmm run -- uname -a\n");
	return d.failures ? 1 : 0;
}
