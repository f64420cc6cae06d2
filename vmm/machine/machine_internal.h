/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_MACHINE_INTERNAL_H
#define CVMM_MACHINE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <cvmm/kvm.h>
#include <cvmm/superio.h>
#include <cvmm/vmm.h>

/* ---- where things are (x86_64) -------------------------------------------------------------------- */

/* RAM lies below the hole that ends at 4 GiB, and what does not fit there above 4 GiB. */
#define MMIO_HOLE_START UINT64_C(0xc0000000)
#define MMIO_HOLE_END UINT64_C(0x100000000)
#define VIRTIO_MMIO_BASE UINT64_C(0xd0000000)
#define IOAPIC_GPA UINT64_C(0xfec00000)
#define LAPIC_GPA UINT64_C(0xfee00000)
#define TSS_GPA UINT64_C(0xfffbd000) /* three pages that Intel hosts need */
#define IDENTITY_MAP_GPA UINT64_C(0xfffbc000)
#define EBDA_START UINT64_C(0x9fc00)
#define BIOS_AREA_START UINT64_C(0xe0000)
#define BIOS_AREA_END UINT64_C(0x100000)

#define SERIAL_PORT 0x3f8
#define SERIAL_PORTS 8
#define SERIAL_GSI 4
#define FIRST_VIRTIO_GSI 5
#define SLEEP_CONTROL_PORT 0x600
#define SLEEP_STATUS_PORT 0x601
#define RESET_PORT 0x602
#define RESET_VALUE 1

struct vcpu {
	struct cvmm_machine *machine;
	struct cvmm_kvm_vcpu kvm;
	unsigned int index;
	pthread_t thread;
	bool thread_started;
	atomic_bool ended; /* its thread has left the guest for good */
};

struct slot {
	struct cvmm_virtio_mmio *mmio;
	struct cvmm_machine *machine;
	struct cvmm_notifier interrupt; /* an irqfd */
	unsigned int queue_count;
	uint64_t gpa;
	uint32_t gsi;
};

struct cvmm_machine {
	struct cvmm_machine_config config;
	struct cvmm_kvm kvm;
	struct cvmm_kvm_vm vm;
	struct cvmm_mem *mem;
	struct cvmm_mem_space *space;

	struct slot slots[CVMM_MACHINE_DEVICES_MAX];
	unsigned int slot_count;

	pthread_mutex_t legacy_lock; /* serial port and i8042 */
	struct cvmm_serial *serial;
	struct cvmm_i8042 i8042;

	struct vcpu vcpus[CVMM_MACHINE_CPUS_MAX];
	unsigned int vcpu_count; /* created */
	struct cvmm_loader_x86_state boot_state;
	bool loaded;

	atomic_bool stopping;		    /* the virtual CPUs shall leave the guest */
	struct cvmm_notifier stop_notifier; /* a reason to stop is there */
	struct cvmm_source *stop_source;
	pthread_mutex_t stop_lock;
	bool stop_reported; /* the first reason counts */
	enum cvmm_machine_stop stop_reason;
	char stop_message[CVMM_ERROR_MESSAGE_SIZE];
};

/* Any thread: stop all virtual CPUs and tell the owner once. */
CVMM_PRINTF(3, 4)
void cvmm_machine_report_stop(struct cvmm_machine *m, enum cvmm_machine_stop reason,
			      const char *fmt, ...);

/* io.c: guest accesses that KVM hands out. Called on a vCPU's thread. */
int cvmm_machine_init_legacy(struct cvmm_machine *m, struct cvmm_error *err);
void cvmm_machine_fini_legacy(struct cvmm_machine *m);
void cvmm_machine_pio(struct cvmm_machine *m, bool is_write, uint16_t port, unsigned int size,
		      uint32_t count, void *data);
void cvmm_machine_mmio(struct cvmm_machine *m, bool is_write, uint64_t gpa, void *data,
		       unsigned int len);

/* vcpu.c */
int cvmm_machine_start_vcpus(struct cvmm_machine *m, struct cvmm_error *err);
void cvmm_machine_join_vcpus(struct cvmm_machine *m);

/* x86_64.c: what is particular to the architecture. */
int cvmm_machine_init_arch(struct cvmm_machine *m, struct cvmm_error *err);
int cvmm_machine_init_vcpu(struct vcpu *vcpu, struct cvmm_error *err);
int cvmm_machine_write_firmware(struct cvmm_machine *m, cvmm_gpa *ret_rsdp, struct cvmm_error *err);
size_t cvmm_machine_memory_map(const struct cvmm_machine *m, struct cvmm_loader_map_entry *map);

#endif /* CVMM_MACHINE_INTERNAL_H */
