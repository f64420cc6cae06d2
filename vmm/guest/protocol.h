/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What the host and the guest's init say to each other.
 *
 * Four virtio-console ports carry a session: one for control frames, and one for each of the
 * command's standard streams, whose bytes travel as they are. Streams and control are separate
 * queues with no order between them; so whoever ends a stream says after how many bytes it ends, and
 * the other side waits for them.
 *
 * A frame is a struct cvmm_guest_frame and `len_bytes` bytes of payload, little-endian.
 */
#ifndef CVMM_GUEST_PROTOCOL_H
#define CVMM_GUEST_PROTOCOL_H

#include <stdint.h>

#define CVMM_GUEST_PROTOCOL_VERSION 1

/* Port numbers; port 0 is the kernel's console (hvc0). */
enum cvmm_guest_port {
	CVMM_GUEST_PORT_CONSOLE,
	CVMM_GUEST_PORT_CONTROL,
	CVMM_GUEST_PORT_STDIN,
	CVMM_GUEST_PORT_STDOUT,
	CVMM_GUEST_PORT_STDERR,
	CVMM_GUEST_PORT_COUNT,
};

struct cvmm_guest_frame {
	uint32_t type; /* enum cvmm_guest_frame_type */
	uint32_t len_bytes;
};

#define CVMM_GUEST_FRAME_PAYLOAD_MAX 1024

enum cvmm_guest_frame_type {
	/* guest to host */
	CVMM_GUEST_HELLO = 1,	/* struct cvmm_guest_hello: user space was reached */
	CVMM_GUEST_STARTED = 2, /* no payload: the command was started */
	CVMM_GUEST_EXIT = 3,  /* struct cvmm_guest_exit: the command and all it started are gone */
	CVMM_GUEST_ERROR = 4, /* text without NUL: the command cannot be started, and why */
	/* host to guest */
	CVMM_GUEST_INPUT_END = 16,   /* struct cvmm_guest_stream_end: end of standard input */
	CVMM_GUEST_OUTPUT_GONE = 17, /* struct cvmm_guest_output_gone: nobody reads it any more */
	CVMM_GUEST_WINDOW = 18,	     /* struct cvmm_guest_window: the terminal's size */
	CVMM_GUEST_SIGNAL = 19,	     /* struct cvmm_guest_signal: deliver to the command */
};

struct cvmm_guest_hello {
	uint32_t version;
	uint32_t reserved;
};

struct cvmm_guest_exit {
	uint32_t status; /* as a shell reports it: exit code, or 128 + signal */
	uint32_t reserved;
	uint64_t stdout_bytes;
	uint64_t stderr_bytes;
};

struct cvmm_guest_stream_end {
	uint64_t bytes;
};

struct cvmm_guest_output_gone {
	uint32_t port; /* CVMM_GUEST_PORT_STDOUT or _STDERR */
};

struct cvmm_guest_window {
	uint16_t rows;
	uint16_t cols;
};

struct cvmm_guest_signal {
	uint32_t number; /* of Linux on x86 */
};

/*
 * The init's orders: a file of NUL-terminated records "key=value" in the initramfs.
 *
 *   module=PATH          load this module; records are in load order
 *   root=initramfs       run the command in the initramfs itself
 *   root=DEVICE          mount this block device and run the command in it
 *   root=9p:TAG          mount this 9p export and run the command in it
 *   rootfstype=TYPE      file systems to try, in order (with root=DEVICE)
 *   rootflags=ro|rw
 *   tty=MASK             bit i set: standard stream i is the terminal
 *   window=ROWSxCOLS     its first size
 *   hostname=NAME
 *   workdir=DIR
 *   env=NAME=VALUE
 *   arg=WORD             the command's words, in order
 */
#define CVMM_GUEST_WORDS_MAX 16384 /* arguments, and likewise variables */
#define CVMM_GUEST_DIR "/.cvmm"
#define CVMM_GUEST_INIT_PATH CVMM_GUEST_DIR "/init"
#define CVMM_GUEST_SPEC_PATH CVMM_GUEST_DIR "/spec"
#define CVMM_GUEST_ARCHIVE_DIR ".cvmm" /* in the archive, paths have no leading slash */

#endif /* CVMM_GUEST_PROTOCOL_H */
