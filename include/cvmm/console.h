/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm console: the console device (VIRTIO 1.3, 5.3), with several ports.
 *
 * Each port joins a stream in the guest with up to two host descriptors: one that is read for the
 * guest, one that gets what the guest writes. Bytes go between descriptor and guest buffer with no
 * copy in between, in order, with back-pressure both ways, and the loop never waits for either side.
 *
 * Ports that are no console need a driver that negotiates MULTIPORT. One that does not gets port 0.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_CONSOLE_H
#define CVMM_CONSOLE_H

#include <cvmm/virtio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Feature bit numbers, VIRTIO 1.3, 5.3.3. */
#define CVMM_CONSOLE_F_SIZE 0
#define CVMM_CONSOLE_F_MULTIPORT 1
#define CVMM_CONSOLE_F_EMERG_WRITE 2

/* Two queues for each port and two for control must fit into CVMM_VIRTIO_QUEUES_MAX. */
#define CVMM_CONSOLE_PORTS_MAX 31U

#define CVMM_CONSOLE_QUEUE_SIZE_MAX 128U

/* Longest port name in bytes, without the NUL. */
#define CVMM_CONSOLE_NAME_BYTES_MAX 64U

/*
 * The most bytes of a port that are kept when the driver resets the device while the port's output
 * waits for its descriptor. They are written as soon as that can take them.
 */
#define CVMM_CONSOLE_KEPT_BYTES_MAX (UINT32_C(4) << 20)

/**
 * struct cvmm_console_port - one port
 * @name: what the guest finds in /dev/virtio-ports, at most CVMM_CONSOLE_NAME_BYTES_MAX bytes; NULL
 *      for none. Copied
 * @is_console: the guest makes a terminal of it (hvc0 ...), not a plain stream
 * @stay_open: the end of input does not close the port. A closed port ends the guest's reads, but stops
 *      its writes too: virtio cannot close one direction. So use one port for each direction, or
 *      this. Console ports always stay open: terminals have no end of input
 * @in_fd: where bytes for the guest come from, -1 for none
 * @out_fd: where bytes from the guest go, -1 to discard them
 *
 * The descriptors stay the caller's and must outlive the console; the same one may be given twice. They
 * may be pipes, sockets, terminals, regular files (read from, and written at, their current position)
 * or any device that can be polled. Make them non-blocking where possible, see
 * cvmm_reopen_nonblock(); sockets need not be. Those that may block are asked for readiness
 * before each small transfer, but may still hold up the loop if another process uses them too.
 *
 * The writing of pipes raises SIGPIPE when nobody reads them: the caller ignores that signal, or blocks
 * it on the loop's thread.
 *
 * A Linux guest spins with its interrupts off while the output of a console port waits. Where the
 * reader may pause for long, put something between that never does, or use a plain port.
 */
struct cvmm_console_port {
	const char *name;
	bool is_console;
	bool stay_open;
	int in_fd;
	int out_fd;
};

enum cvmm_console_event {
	/* The guest opened the port (without MULTIPORT: the driver started). */
	CVMM_CONSOLE_GUEST_OPENED,
	/* The guest closed the port, or reset the device. What it wrote before may still wait: see
	 * cvmm_console_output_idle(). */
	CVMM_CONSOLE_GUEST_CLOSED,
	/* in_fd is at its end (or failed), and the guest has got every byte. Once for each port. */
	CVMM_CONSOLE_INPUT_ENDED,
	/* out_fd failed for good; the port's further output is dropped. Once for each port. */
	CVMM_CONSOLE_OUTPUT_FAILED,
	/* Nothing waits any more. Follows each time that cvmm_console_output_idle() was false. */
	CVMM_CONSOLE_OUTPUT_IDLE,
};

/**
 * struct cvmm_console_config - what a console device needs
 * @ports: @port_count ports, 1 to CVMM_CONSOLE_PORTS_MAX; copied
 * @cols: width of the consoles in characters, 0 if not known
 * @rows: height of the consoles in characters, 0 if not known
 * @log: where messages go, or NULL
 * @port_event: called on the loop's thread, or NULL. It may call the functions below, but not destroy the
 *      console or its transport
 * @ctx: passed to @port_event
 */
struct cvmm_console_config {
	const struct cvmm_console_port *ports;
	unsigned int port_count;
	uint16_t cols;
	uint16_t rows;
	const struct cvmm_log *log;
	void (*port_event)(void *ctx, unsigned int port, enum cvmm_console_event event);
	void *ctx;
};

struct cvmm_console;

/**
 * cvmm_console_create() - make a console device
 * @ret_console: the device; give it to a transport together with cvmm_console_ops
 *
 * Return: 0; -EINVAL for ports that cannot work; -EBADF for a descriptor that is not open; or -ENOMEM,
 * with a message. Context: any thread. Owner: pair with cvmm_console_destroy().
 */
CVMM_API int cvmm_console_create(const struct cvmm_console_config *config,
				 struct cvmm_console **ret_console, struct cvmm_error *err);

/*
 * After the transport that drives the device was destroyed, before its loop is. Output that still waits
 * for its descriptor is lost: see cvmm_console_output_idle(). NULL is allowed. Context: owner of the
 * loop.
 */
CVMM_API void cvmm_console_destroy(struct cvmm_console *console);

/**
 * cvmm_console_resize() - tell the guest that a console has a new size
 * @port: index of a console port
 *
 * Sizes that the guest has no time to take are passed over; the last one counts. Before the device
 * runs it sets the size that the guest will find.
 *
 * Return: 0, or -EINVAL if @port is no console port. Context: owner of the loop.
 * Spec: VIRTIO 1.3, 5.3.4 and 5.3.6.2.
 */
CVMM_API int cvmm_console_resize(struct cvmm_console *console, unsigned int port, uint16_t cols,
				 uint16_t rows);

/**
 * cvmm_console_output_idle() - whether everything that the guest wrote to a port is in its out_fd
 * @port: index of the port
 *
 * Takes what the guest made available up to now, kicked or not, and writes as much as out_fd accepts.
 * Where the result is false, CVMM_CONSOLE_OUTPUT_IDLE will follow, provided that the loop runs and that
 * somebody reads. Ask again then, while the guest still runs.
 *
 * Return: true if nothing waits (also: output is discarded, or no such port). Context: owner of
 * the loop; also after the device was stopped.
 */
CVMM_API bool cvmm_console_output_idle(struct cvmm_console *console, unsigned int port);

/**
 * cvmm_console_output_error() - what a port's out_fd failed with
 * @port: index of the port
 *
 * After CVMM_CONSOLE_OUTPUT_FAILED: -EPIPE where the reader went away, -ENOSPC on a full disk.
 *
 * Return: negative errno; 0 if it did not fail, or no such port. Context: owner of the loop.
 */
CVMM_API int cvmm_console_output_error(const struct cvmm_console *console, unsigned int port);

/**
 * cvmm_console_input_bytes() - how many bytes of in_fd a port has given to the guest
 * @port: index of the port
 *
 * At CVMM_CONSOLE_INPUT_ENDED this is the length of the input: a guest that is told can wait for all of it,
 * whatever way the news of the end takes. Return: bytes since the console was made; 0 for no such port.
 * Context: owner of the loop.
 */
CVMM_API uint64_t cvmm_console_input_bytes(const struct cvmm_console *console, unsigned int port);

/* The device core; its state is a struct cvmm_console. */
CVMM_API extern const struct cvmm_virtio_device_ops cvmm_console_ops;

#ifdef __cplusplus
}
#endif

#endif /* CVMM_CONSOLE_H */
