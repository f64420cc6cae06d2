/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * libcvmm: a small virtual machine, made of the components of this tree.
 *
 * A machine is created, gets its devices, is started once and destroyed. It calls no exit(), installs no
 * signal handler and has no global state: many machines live in one process. It starts one thread
 * for each virtual CPU; all else happens on the caller's loop.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_VMM_H
#define CVMM_VMM_H

#include <cvmm/event.h>
#include <cvmm/loader.h>
#include <cvmm/virtio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CVMM_MACHINE_CPUS_MAX 32
#define CVMM_MACHINE_DEVICES_MAX 19 /* pins of the I/O APIC that are free */

struct cvmm_machine;

/* Why a machine stopped by itself. */
enum cvmm_machine_stop {
	CVMM_MACHINE_POWERED_OFF, /* the guest entered ACPI state S5 */
	CVMM_MACHINE_RESET,    /* the guest asked for a reset: a reboot, or a panic with panic=-1 */
	CVMM_MACHINE_PANICKED, /* the guest's kernel reported a panic through pvpanic */
	CVMM_MACHINE_TRIPLE_FAULT, /* a virtual CPU shut down */
	CVMM_MACHINE_FAILED,	   /* KVM could not go on; the message says why */
};

/**
 * struct cvmm_machine_config - what a machine is made of
 * @memory_bytes: guest RAM, a multiple of 1 MiB
 * @cpu_count: 1 to CVMM_MACHINE_CPUS_MAX
 * @loop: owner of all devices; must outlive the machine
 * @stopped: called on the loop, once, when the machine stops by itself; @message may be empty
 * @serial_output: gets what the guest writes to its first serial port; called on a vCPU's thread,
 *                 which waits for it
 * @ctx: passed to both
 * @log: where messages go, or NULL
 * @virtio_offer: ring features to offer besides the default, see struct cvmm_virtio_mmio_config
 * @virtio_withhold: ring features not to offer
 * @shared_memory: guest RAM is in files that devices may share with other processes, as the proxy of
 *                 <cvmm/vhost-user-proxy.h> does; else nobody but this process can map it
 */
struct cvmm_machine_config {
	uint64_t memory_bytes;
	unsigned int cpu_count;
	struct cvmm_loop *loop;
	void (*stopped)(void *ctx, enum cvmm_machine_stop reason, const char *message);
	void (*serial_output)(void *ctx, const void *bytes, size_t len);
	void *ctx;
	const struct cvmm_log *log;
	uint64_t virtio_offer;
	uint64_t virtio_withhold;
	bool shared_memory;
};

/**
 * cvmm_machine_create() - open KVM and make a machine without devices
 *
 * Return: 0 or negative errno with a message. Context: owner of the loop.
 */
CVMM_API int cvmm_machine_create(const struct cvmm_machine_config *config,
				 struct cvmm_machine **ret_machine, struct cvmm_error *err);

/*
 * Stops the virtual CPUs and the devices, and frees all. NULL is allowed. Context: owner of the loop, but
 * not inside one of its callbacks: the loop is run until no virtual CPU waits for it.
 */
CVMM_API void cvmm_machine_destroy(struct cvmm_machine *machine);

/**
 * cvmm_machine_add_device() - put a device on the machine's virtio-mmio bus
 * @ops: the device core
 * @dev: its state; stays the caller's and must outlive the machine
 *
 * Only before the start. Return: 0; -ENOSPC above CVMM_MACHINE_DEVICES_MAX; or negative errno.
 */
CVMM_API int cvmm_machine_add_device(struct cvmm_machine *machine,
				     const struct cvmm_virtio_device_ops *ops, void *dev,
				     struct cvmm_error *err);

/**
 * struct cvmm_machine_kernel - what to boot; see struct cvmm_loader_config for the fields
 */
struct cvmm_machine_kernel {
	int fd;
	enum cvmm_loader_protocol protocol;
	const char *cmdline;
	const struct cvmm_loader_piece *initrd;
	size_t initrd_count;
};

/* Put kernel, initrd and firmware tables into guest memory. Once, before the start. */
CVMM_API int cvmm_machine_load(struct cvmm_machine *machine,
			       const struct cvmm_machine_kernel *kernel,
			       struct cvmm_loader_result *ret_result, struct cvmm_error *err);

/* Start the virtual CPUs. Once. */
CVMM_API int cvmm_machine_start(struct cvmm_machine *machine, struct cvmm_error *err);

/* Stop the virtual CPUs and wait until none runs. Devices stay. Context: as for destroy. */
CVMM_API void cvmm_machine_stop(struct cvmm_machine *machine);

/* The guest's memory, for tests and tools; valid while the machine lives. */
CVMM_API struct cvmm_mem *cvmm_machine_mem(struct cvmm_machine *machine);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_VMM_H */
