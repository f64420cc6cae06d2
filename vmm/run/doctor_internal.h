/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The probes of `cvmm doctor`, one a topic; with the places they look at, so that tests can move them. */
#ifndef CVMM_RUN_DOCTOR_INTERNAL_H
#define CVMM_RUN_DOCTOR_INTERNAL_H

#include <stdio.h>

#include <cvmm/base.h>

/**
 * struct doctor - one examination
 * @to: where lines go
 * @failures: topics without which no guest can run here
 */
struct doctor {
	FILE *to;
	unsigned int failures;

	const char *kvm;
	const char *cpuinfo;
	const char *tun;
	const char *proc; /* mount point of procfs */
	const char *cgroups;
};

#define DOCTOR_DEFAULTS                               \
	((struct doctor){ .to = stdout,               \
			  .kvm = "/dev/kvm",          \
			  .cpuinfo = "/proc/cpuinfo", \
			  .tun = "/dev/net/tun",      \
			  .proc = "/proc",            \
			  .cgroups = "/sys/fs/cgroup" })

enum doctor_level {
	DOCTOR_OK,
	DOCTOR_WARN, /* guests run, but something will be missing or slow */
	DOCTOR_FAIL, /* no guest can run */
};

/* Print a topic's line; @advice is what to do, or NULL. */
CVMM_PRINTF(5, 6)
void doctor_say(struct doctor *d, enum doctor_level level, const char *topic, const char *advice,
		const char *fmt, ...);

void doctor_kvm(struct doctor *d);
void doctor_cpu(struct doctor *d);
void doctor_kernel(struct doctor *d);
void doctor_busybox(struct doctor *d, const char *busybox);
void doctor_memory(struct doctor *d);
void doctor_tun(struct doctor *d);
void doctor_landlock(struct doctor *d);
void doctor_user_namespaces(struct doctor *d);
void doctor_limits(struct doctor *d);
void doctor_cgroup(struct doctor *d);

/* Whether a word is in the first "flags" line of a cpuinfo. */
bool doctor_cpu_has(const char *cpuinfo, const char *flag);

/* The number in a file of procfs, e.g. "max" lines are -ENOENT too. Return: 0 or -ENOENT. */
int doctor_read_number(const char *path, uint64_t *ret_value);

#endif /* CVMM_RUN_DOCTOR_INTERNAL_H */
