/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What Linux calls Landlock: include/uapi/linux/landlock.h, as of Linux 6.12, for builds on older hosts. */
#ifndef CVMM_DAEMON_LANDLOCK_UAPI_H
#define CVMM_DAEMON_LANDLOCK_UAPI_H

#include <stdint.h>

/* The same on all architectures of ours: include/uapi/asm-generic/unistd.h, Linux 5.13. */
#define LANDLOCK_NR_CREATE_RULESET 444
#define LANDLOCK_NR_ADD_RULE 445
#define LANDLOCK_NR_RESTRICT_SELF 446

#define LANDLOCK_GET_ABI_VERSION 1U /* LANDLOCK_CREATE_RULESET_VERSION */
#define LANDLOCK_PATH_BENEATH 1	    /* enum landlock_rule_type */

#define LANDLOCK_FS_REMOVE_FILE (UINT64_C(1) << 5) /* LANDLOCK_ACCESS_FS_REMOVE_FILE */

/* How many rights there are with each version of the interface: all LANDLOCK_ACCESS_FS_*. */
#define LANDLOCK_FS_ALL_1 ((UINT64_C(1) << 13) - 1)
#define LANDLOCK_FS_ALL_2 ((UINT64_C(1) << 14) - 1) /* REFER */
#define LANDLOCK_FS_ALL_3 ((UINT64_C(1) << 15) - 1) /* TRUNCATE */
#define LANDLOCK_FS_ALL_5 ((UINT64_C(1) << 16) - 1) /* IOCTL_DEV */
#define LANDLOCK_NET_ALL_4 UINT64_C(3)		    /* BIND_TCP, CONNECT_TCP */
#define LANDLOCK_SCOPE_ALL_6 UINT64_C(3)	    /* ABSTRACT_UNIX_SOCKET, SIGNAL */

/* struct landlock_ruleset_attr; shorter in older versions, which refuse what they do not know unless it is 0. */
struct landlock_ruleset {
	uint64_t handled_access_fs;
	uint64_t handled_access_net;
	uint64_t scoped;
};

struct landlock_path_beneath {
	uint64_t allowed_access;
	int32_t parent_fd;
} __attribute__((packed));

_Static_assert(sizeof(struct landlock_ruleset) == 24, "Linux 6.12, landlock_ruleset_attr");
_Static_assert(sizeof(struct landlock_path_beneath) == 12, "landlock_path_beneath_attr");

#endif /* CVMM_DAEMON_LANDLOCK_UAPI_H */
