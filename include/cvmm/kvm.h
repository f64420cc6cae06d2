/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm kvm: thin, typed wrappers of the ioctls of Linux KVM, and decoded exits.
 *
 * The kernel's own structs (<linux/kvm.h>) are used as they are; a wrapper adds a type for each
 * kind of descriptor, turns errors into negative errnos, and explains those that users meet. Each
 * function is one ioctl unless its comment says otherwise; "KVM API" below is
 * Documentation/virt/kvm/api.rst.
 *
 * Threads: the functions for the system and for a machine may be called from any thread; those for
 * a virtual CPU only from the thread that runs it, or before it runs. Nothing here blocks but
 * cvmm_kvm_vcpu_run().
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_KVM_H
#define CVMM_KVM_H

#include <signal.h>

#include <linux/kvm.h>

#include <cvmm/base.h>
#include <cvmm/kvm_uapi.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- descriptors ----------------------------------------------------------------------------- */

/* The system: an open /dev/kvm. */
struct cvmm_kvm {
	int fd;
	size_t run_bytes; /* size of a virtual CPU's shared area */
};

/* A machine. */
struct cvmm_kvm_vm {
	int fd;
};

/* A virtual CPU; @run is shared with the kernel. */
struct cvmm_kvm_vcpu {
	int fd;
	struct kvm_run *run;
	size_t run_bytes;
};

/* A device of the kernel's, e.g. an interrupt controller or the VFIO device. */
struct cvmm_kvm_device {
	int fd;
};

#define CVMM_KVM_NONE ((struct cvmm_kvm){ -1, 0 })
#define CVMM_KVM_VM_NONE ((struct cvmm_kvm_vm){ -1 })
#define CVMM_KVM_VCPU_NONE ((struct cvmm_kvm_vcpu){ -1, NULL, 0 })
#define CVMM_KVM_DEVICE_NONE ((struct cvmm_kvm_device){ -1 })

/*
 * Any ioctl on any descriptor, again after a signal; KVM_RUN alone returns -EINTR. Return: what the
 * ioctl returned, or negative errno.
 */
CVMM_API int cvmm_kvm_ioctl(int fd, unsigned long request, void *arg);

/* ---- the system ------------------------------------------------------------------------------ */

/**
 * cvmm_kvm_open() - open KVM and check its version
 * @path: NULL for /dev/kvm
 *
 * Return: 0; -ENOENT, -EACCES …, with a message that says what to do; -ENOTSUP for another version
 * of the interface. Owner: pair with cvmm_kvm_close().
 */
CVMM_API int cvmm_kvm_open(struct cvmm_kvm *ret_kvm, const char *path, struct cvmm_error *err);

/* Close; what holds nothing may be closed too. */
CVMM_API void cvmm_kvm_close(struct cvmm_kvm *kvm);
CVMM_API void cvmm_kvm_vm_close(struct cvmm_kvm_vm *vm);
CVMM_API void cvmm_kvm_vcpu_close(struct cvmm_kvm_vcpu *vcpu);
CVMM_API void cvmm_kvm_device_close(struct cvmm_kvm_device *device);

/* Whether KVM has hardware behind it. */
enum cvmm_kvm_hardware {
	CVMM_KVM_NO_DEVICE, /* no /dev/kvm, or not for this user */
	CVMM_KVM_EMULATED,  /* the CPU has neither SVM nor VMX: stock kernels do not boot */
	CVMM_KVM_HARDWARE,
};

/* @cpuinfo_path, @kvm_path: NULL for /proc/cpuinfo and /dev/kvm. */
CVMM_API enum cvmm_kvm_hardware cvmm_kvm_hardware(const char *cpuinfo_path, const char *kvm_path);

/*
 * KVM API 4.4, KVM_CHECK_EXTENSION. Return: 0 if absent, else a positive number; or negative errno.
 */
CVMM_API int cvmm_kvm_check_extension(const struct cvmm_kvm *kvm, int capability);
CVMM_API int cvmm_kvm_vm_check_extension(const struct cvmm_kvm_vm *vm, int capability);

/**
 * struct cvmm_kvm_limits - how much of each KVM has
 * @vcpus_recommended: virtual CPUs of a machine that this host runs well
 * @vcpus_max: virtual CPUs of a machine
 * @vcpu_ids: numbers of virtual CPUs are below this
 * @memory_slots: in each address space
 * @address_spaces: of a machine; x86 with system management mode has 2
 * @routes: of interrupts, in a table; 0 if there are no tables
 */
struct cvmm_kvm_limits {
	uint32_t vcpus_recommended;
	uint32_t vcpus_max;
	uint32_t vcpu_ids;
	uint32_t memory_slots;
	uint32_t address_spaces;
	uint32_t routes;
};

/*
 * The limits of the system, or of a machine by its descriptor; where an old kernel does not tell
 * one, what is documented to hold then. Spec: KVM API 4.4 and 4.7.
 */
CVMM_API int cvmm_kvm_get_limits(int fd, struct cvmm_kvm_limits *ret_limits);

/* KVM API 4.2, KVM_CREATE_VM. @type: 0 for the usual machine. */
CVMM_API int cvmm_kvm_create_vm(const struct cvmm_kvm *kvm, unsigned long type,
				struct cvmm_kvm_vm *ret_vm, struct cvmm_error *err);

/* ---- memory of a machine --------------------------------------------------------------------- */

/**
 * cvmm_kvm_vm_set_memory() - map host memory into the guest
 * @slot: number of the slot; bits 16–31 name the address space
 * @flags: KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY
 * @len_bytes: page-aligned; 0 removes the slot
 *
 * Spec: KVM API 4.35, KVM_SET_USER_MEMORY_REGION. Owner: @host must stay mapped.
 */
CVMM_API int cvmm_kvm_vm_set_memory(const struct cvmm_kvm_vm *vm, uint32_t slot, uint32_t flags,
				    uint64_t gpa, uint64_t len_bytes, void *host);

/* KVM API 4.140, KVM_SET_USER_MEMORY_REGION2: with a guest_memfd where the flags say so. */
CVMM_API int cvmm_kvm_vm_set_memory2(const struct cvmm_kvm_vm *vm,
				     const struct cvmm_kvm_memory_region2 *region);

/*
 * KVM API 4.142, KVM_CREATE_GUEST_MEMFD. @flags: GUEST_MEMFD_FLAG_..., of those that
 * KVM_CAP_GUEST_MEMFD_FLAGS tells. Return: a descriptor that the caller owns, or negative errno.
 */
CVMM_API int cvmm_kvm_vm_create_guest_memfd(const struct cvmm_kvm_vm *vm, uint64_t len_bytes,
					    uint64_t flags);

/* KVM API 4.141, KVM_SET_MEMORY_ATTRIBUTES. */
CVMM_API int cvmm_kvm_vm_set_memory_attributes(const struct cvmm_kvm_vm *vm, uint64_t gpa,
					       uint64_t len_bytes, uint64_t attributes);

/**
 * cvmm_kvm_vm_get_dirty_log() - the pages of a slot that were written since the last call
 * @bitmap: one bit a page, rounded up to 64 of them
 * @bitmap_bytes: size of @bitmap
 * @slot_pages: pages in the slot
 *
 * Return: 0; -ENOBUFS if the bitmap is too small; or negative errno. Spec: KVM API 4.8.
 */
CVMM_API int cvmm_kvm_vm_get_dirty_log(const struct cvmm_kvm_vm *vm, uint32_t slot, void *bitmap,
				       size_t bitmap_bytes, uint64_t slot_pages);

/*
 * Forget the dirty state of @page_count pages from @first_page (a multiple of 64) whose bit is set,
 * after KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 was enabled. Spec: KVM API 4.117.
 */
CVMM_API int cvmm_kvm_vm_clear_dirty_log(const struct cvmm_kvm_vm *vm, uint32_t slot,
					 uint64_t first_page, uint32_t page_count,
					 const void *bitmap, size_t bitmap_bytes);

/* ---- interrupts and events of a machine ------------------------------------------------------ */

/* KVM API 4.25, KVM_IRQ_LINE: set the level of an input of the interrupt controllers. */
CVMM_API int cvmm_kvm_vm_irq_line(const struct cvmm_kvm_vm *vm, uint32_t gsi, bool level);

/*
 * KVM API 4.75, KVM_IRQFD: an eventfd that raises an interrupt. @resample_fd: signalled when the
 * guest acknowledges a level interrupt, or -1 for an edge.
 */
CVMM_API int cvmm_kvm_vm_irqfd(const struct cvmm_kvm_vm *vm, int fd, uint32_t gsi, int resample_fd);
CVMM_API int cvmm_kvm_vm_irqfd_remove(const struct cvmm_kvm_vm *vm, int fd, uint32_t gsi);

/**
 * struct cvmm_kvm_ioeventfd - a guest store that becomes an eventfd signal
 * @fd: the eventfd
 * @is_pio: @addr is a port, not an address
 * @len_bytes: width of the store: 1, 2, 4 or 8; 0 for any
 * @match: only stores of @value count
 */
struct cvmm_kvm_ioeventfd {
	int fd;
	bool is_pio;
	bool match;
	uint32_t len_bytes;
	uint64_t addr;
	uint64_t value;
};

/* KVM API 4.59, KVM_IOEVENTFD. */
CVMM_API int cvmm_kvm_vm_ioeventfd(const struct cvmm_kvm_vm *vm,
				   const struct cvmm_kvm_ioeventfd *event);
CVMM_API int cvmm_kvm_vm_ioeventfd_remove(const struct cvmm_kvm_vm *vm,
					  const struct cvmm_kvm_ioeventfd *event);

/* KVM API 4.70, KVM_SIGNAL_MSI. Return: 1 delivered, 0 blocked by the guest, or negative errno. */
CVMM_API int cvmm_kvm_vm_signal_msi(const struct cvmm_kvm_vm *vm, const struct kvm_msi *msi);

/* KVM API 4.52, KVM_SET_GSI_ROUTING: replaces the whole table. */
CVMM_API int cvmm_kvm_vm_set_gsi_routing(const struct cvmm_kvm_vm *vm,
					 const struct kvm_irq_routing *routing);

#define CVMM_KVM_ROUTES_MAX 4096U /* KVM_MAX_IRQ_ROUTES, linux/kvm_host.h */

/*
 * A zeroed table with room for, and set to, @count routes. Return: 0; -E2BIG for more than
 * CVMM_KVM_ROUTES_MAX, -ENOMEM. Owner: the caller, who frees it by free().
 */
CVMM_API int cvmm_kvm_routing_new(uint32_t count, struct kvm_irq_routing **ret_routing);

/* KVM API 4.37, KVM_ENABLE_CAP. */
CVMM_API int cvmm_kvm_vm_enable_cap(const struct cvmm_kvm_vm *vm, uint32_t capability,
				    uint64_t arg0, uint64_t arg1);
CVMM_API int cvmm_kvm_vcpu_enable_cap(const struct cvmm_kvm_vcpu *vcpu, uint32_t capability,
				      uint64_t arg0, uint64_t arg1);

/*
 * KVM API 4.116, coalesced stores: to memory or, with @is_pio, to ports. See
 * cvmm_kvm_coalesced_drain().
 */
CVMM_API int cvmm_kvm_vm_coalesced_add(const struct cvmm_kvm_vm *vm, uint64_t addr,
				       uint32_t len_bytes, bool is_pio);
CVMM_API int cvmm_kvm_vm_coalesced_remove(const struct cvmm_kvm_vm *vm, uint64_t addr,
					  uint32_t len_bytes, bool is_pio);

/* ---- devices and attributes ------------------------------------------------------------------ */

/*
 * KVM API 4.79, KVM_CREATE_DEVICE. @flags: KVM_CREATE_DEVICE_TEST only asks (then *ret_device is
 * unset).
 */
CVMM_API int cvmm_kvm_vm_create_device(const struct cvmm_kvm_vm *vm, uint32_t type, uint32_t flags,
				       struct cvmm_kvm_device *ret_device);

/* KVM API 4.80, device attributes; @fd is that of a machine, a virtual CPU or a device. */
CVMM_API int cvmm_kvm_has_attr(int fd, uint32_t group, uint64_t attr);
CVMM_API int cvmm_kvm_get_attr(int fd, uint32_t group, uint64_t attr, void *value);
CVMM_API int cvmm_kvm_set_attr(int fd, uint32_t group, uint64_t attr, const void *value);

/* ---- virtual CPUs ---------------------------------------------------------------------------- */

/* KVM API 4.7, KVM_CREATE_VCPU, and the mapping of the shared area. */
CVMM_API int cvmm_kvm_create_vcpu(const struct cvmm_kvm *kvm, const struct cvmm_kvm_vm *vm,
				  unsigned int id, struct cvmm_kvm_vcpu *ret_vcpu,
				  struct cvmm_error *err);

enum cvmm_kvm_exit_type {
	CVMM_KVM_EXIT_IO,
	CVMM_KVM_EXIT_MMIO,
	CVMM_KVM_EXIT_INTERRUPTED, /* a signal or immediate_exit; run again */
	CVMM_KVM_EXIT_HLT,
	CVMM_KVM_EXIT_SHUTDOWN, /* a triple fault */
	CVMM_KVM_EXIT_SYSTEM_EVENT,
	CVMM_KVM_EXIT_INTERNAL_ERROR,
	CVMM_KVM_EXIT_FAIL_ENTRY,
	CVMM_KVM_EXIT_DEBUG,
	CVMM_KVM_EXIT_HYPERCALL,
	CVMM_KVM_EXIT_RDMSR,
	CVMM_KVM_EXIT_WRMSR,
	CVMM_KVM_EXIT_IRQ_WINDOW,
	CVMM_KVM_EXIT_IOAPIC_EOI,
	CVMM_KVM_EXIT_MEMORY_FAULT,
	CVMM_KVM_EXIT_DIRTY_RING_FULL,
	CVMM_KVM_EXIT_NOTIFY,
	CVMM_KVM_EXIT_BUS_LOCK,
	CVMM_KVM_EXIT_HYPERV,
	CVMM_KVM_EXIT_XEN,
	CVMM_KVM_EXIT_TPR_ACCESS,
	CVMM_KVM_EXIT_SET_TPR, /* see cr8 in the run area */
	CVMM_KVM_EXIT_ARM_NISV,
	CVMM_KVM_EXIT_RISCV_SBI,
	CVMM_KVM_EXIT_UNKNOWN, /* the hardware's reason is one that KVM does not know */
	CVMM_KVM_EXIT_OTHER,   /* see @reason; the payload is in the vCPU's run area */
};

/**
 * struct cvmm_kvm_exit - why a virtual CPU left the guest
 * @type: says which member of the union holds
 * @reason: the kernel's number of it
 * @flags: KVM_RUN_...: what is so besides. A bus lock is told here too, where another reason to
 *         leave came before it
 *
 * Pointers point into the run area: valid until the next cvmm_kvm_vcpu_run(). What a guest stores
 * is guest-controlled.
 */
struct cvmm_kvm_exit {
	enum cvmm_kvm_exit_type type;
	uint32_t reason;
	uint16_t flags;
	union {
		struct {
			uint8_t *data; /* @count values of @size_bytes: to store, or to be filled */
			uint32_t count;
			uint16_t port;
			uint8_t size_bytes;
			bool is_write;
		} io;
		struct {
			uint64_t gpa;
			uint8_t *data;	    /* to store, or to be filled */
			uint32_t len_bytes; /* 1 to 8 */
			bool is_write;
		} mmio;
		struct {
			uint32_t type; /* KVM_SYSTEM_EVENT_... */
			uint32_t data_count;
			const uint64_t *data;
		} system_event;
		struct {
			uint32_t suberror;
			uint32_t data_count;
			const uint64_t *data;
			const uint8_t
				*insn; /* that KVM could not emulate; NULL if it does not say */
			uint8_t insn_bytes; /* at most 15; may be longer than the instruction */
		} internal_error;
		struct {
			uint64_t reason;
			uint32_t cpu;
		} fail_entry;
		const struct kvm_debug_exit_arch *debug;
		struct {
			uint64_t number;
			const uint64_t *args; /* six */
			uint64_t *ret;
		} hypercall;
		struct {
			uint32_t index;
			uint32_t reason;
			uint64_t *data;
			uint8_t *error; /* set to 1 for a #GP in the guest */
		} msr;
		struct {
			uint8_t vector;
		} ioapic_eoi;
		struct {
			uint64_t flags;
			uint64_t gpa;
			uint64_t len_bytes;
		} memory_fault;
		struct {
			uint32_t flags;
		} notify;
		struct kvm_hyperv_exit *hyperv; /* take the result of a call in place */
		struct kvm_xen_exit *xen;	/* likewise */
		struct {
			uint64_t rip;
			bool is_write;
		} tpr_access;
		struct {
			uint64_t esr_iss;
			uint64_t gpa;
		} arm_nisv; /* an access to device memory that KVM cannot decode */
		struct {
			unsigned long extension;
			unsigned long function;
			const unsigned long *args; /* six */
			unsigned long *ret;	   /* two */
		} riscv_sbi;
		struct {
			uint64_t hardware_reason;
		} unknown;
	};
};

/**
 * cvmm_kvm_vcpu_run() - run the guest until it needs us
 * @ret_exit: why it left
 *
 * A signal that ends the run is an exit of type INTERRUPTED, not an error. Return: 0, or negative
 * errno. Context: the virtual CPU's thread; blocks. Spec: KVM API 4.10 and 5.
 */
CVMM_API int cvmm_kvm_vcpu_run(const struct cvmm_kvm_vcpu *vcpu, struct cvmm_kvm_exit *ret_exit);

/**
 * cvmm_kvm_exit_decode() - read an exit out of a run area
 * @run: the area, @run_bytes long
 * @run_errno: what KVM_RUN failed with, negative, or 0: memory faults come with an error
 *
 * Pure. Return: 0; @run_errno where it is no exit; -EPROTO if the area is too small for its struct,
 * or points outside of itself.
 */
CVMM_API int cvmm_kvm_exit_decode(struct kvm_run *run, size_t run_bytes, int run_errno,
				  struct cvmm_kvm_exit *ret_exit);

/*
 * Make the next run return at once; the present one too, if the thread is also kicked by a signal.
 * Stays on until it is switched off: a run that it ended is not to be repeated before.
 * Context: any thread, or a signal handler.
 */
CVMM_API void cvmm_kvm_vcpu_set_immediate_exit(const struct cvmm_kvm_vcpu *vcpu, bool on);

/*
 * KVM API 4.20, KVM_SET_SIGNAL_MASK: the thread's signal mask while the guest runs; NULL for none.
 */
CVMM_API int cvmm_kvm_vcpu_set_signal_mask(const struct cvmm_kvm_vcpu *vcpu, const sigset_t *mask);

/* KVM API 4.3 and on: the state of a virtual CPU that every architecture has. */
CVMM_API int cvmm_kvm_vcpu_get_regs(const struct cvmm_kvm_vcpu *vcpu, struct kvm_regs *ret_regs);
CVMM_API int cvmm_kvm_vcpu_set_regs(const struct cvmm_kvm_vcpu *vcpu, const struct kvm_regs *regs);
CVMM_API int cvmm_kvm_vcpu_get_sregs(const struct cvmm_kvm_vcpu *vcpu, struct kvm_sregs *ret_sregs);
CVMM_API int cvmm_kvm_vcpu_set_sregs(const struct cvmm_kvm_vcpu *vcpu,
				     const struct kvm_sregs *sregs);
CVMM_API int cvmm_kvm_vcpu_get_fpu(const struct cvmm_kvm_vcpu *vcpu, struct kvm_fpu *ret_fpu);
CVMM_API int cvmm_kvm_vcpu_set_fpu(const struct cvmm_kvm_vcpu *vcpu, const struct kvm_fpu *fpu);
CVMM_API int cvmm_kvm_vcpu_get_mp_state(const struct cvmm_kvm_vcpu *vcpu, uint32_t *ret_state);
CVMM_API int cvmm_kvm_vcpu_set_mp_state(const struct cvmm_kvm_vcpu *vcpu, uint32_t state);
#ifdef __KVM_HAVE_VCPU_EVENTS /* x86 and arm64 */
/* KVM API 4.31, 4.32: what is pending, e.g. exceptions and NMIs. */
CVMM_API int cvmm_kvm_vcpu_get_events(const struct cvmm_kvm_vcpu *vcpu,
				      struct kvm_vcpu_events *ret_events);
CVMM_API int cvmm_kvm_vcpu_set_events(const struct cvmm_kvm_vcpu *vcpu,
				      const struct kvm_vcpu_events *events);
#endif

/* The width of a register out of its number; 0 for a number that has none. */
CVMM_API size_t cvmm_kvm_reg_bytes(uint64_t id);

/**
 * cvmm_kvm_vcpu_get_reg() - read a register by its number
 * @id: KVM_REG_...; on x86 since Linux 6.18
 * @value_bytes: size of *@ret_value, which must be the register's width
 *
 * Return: 0; -EINVAL for another width; -ENOENT if there is no such register; or negative errno.
 * Spec: KVM API 4.69.
 */
CVMM_API int cvmm_kvm_vcpu_get_reg(const struct cvmm_kvm_vcpu *vcpu, uint64_t id, void *ret_value,
				   size_t value_bytes);
/* KVM API 4.68. As cvmm_kvm_vcpu_get_reg(). */
CVMM_API int cvmm_kvm_vcpu_set_reg(const struct cvmm_kvm_vcpu *vcpu, uint64_t id, const void *value,
				   size_t value_bytes);
#define CVMM_KVM_REG_LIST_MAX 65536U /* ours; arm64 has some hundreds */

/* As cvmm_kvm_routing_new(). */
CVMM_API int cvmm_kvm_reg_list_new(uint32_t count, struct kvm_reg_list **ret_list);
/* KVM API 4.84. The caller sets .n to its room; -E2BIG says in .n how many there are. */
CVMM_API int cvmm_kvm_vcpu_get_reg_list(const struct cvmm_kvm_vcpu *vcpu,
					struct kvm_reg_list *list);

/* KVM API 4.11, KVM_TRANSLATE: a guest-virtual address; the result says whether it is mapped. */
CVMM_API int cvmm_kvm_vcpu_translate(const struct cvmm_kvm_vcpu *vcpu,
				     struct kvm_translation *translation);

/* KVM API 4.87, KVM_SET_GUEST_DEBUG. */
CVMM_API int cvmm_kvm_vcpu_set_guest_debug(const struct cvmm_kvm_vcpu *vcpu,
					   const struct kvm_guest_debug *debug);

/* KVM API 4.149, KVM_PRE_FAULT_MEMORY. @range: moves forward by what was done. */
CVMM_API int cvmm_kvm_vcpu_pre_fault_memory(const struct cvmm_kvm_vcpu *vcpu,
					    struct cvmm_kvm_pre_fault_memory *range);

/* ---- rings that are shared with the kernel --------------------------------------------------- */

/* A store that was coalesced. */
struct cvmm_kvm_coalesced_store {
	uint64_t addr;
	uint32_t len_bytes;
	bool is_pio;
	uint8_t data[8];
};

/**
 * cvmm_kvm_coalesced_drain() - take coalesced stores, oldest first
 * @ring: the page of the run area that KVM_CAP_COALESCED_MMIO names; see
 *        cvmm_kvm_vcpu_coalesced_ring()
 *
 * Return: how many were put into @stores; -EPROTO if the ring's indices, or the length of its
 * oldest store, make no sense. Context: one thread at a time for each machine, which has one ring.
 */
CVMM_API int cvmm_kvm_coalesced_drain(struct kvm_coalesced_mmio_ring *ring,
				      struct cvmm_kvm_coalesced_store *stores, size_t max);

/* The coalesced ring of a machine, seen through any of its virtual CPUs; NULL if KVM has none. */
CVMM_API struct kvm_coalesced_mmio_ring *
cvmm_kvm_vcpu_coalesced_ring(const struct cvmm_kvm *kvm, const struct cvmm_kvm_vcpu *vcpu);

/* The ring of pages that a virtual CPU has dirtied. */
struct cvmm_kvm_dirty_ring {
	struct kvm_dirty_gfn *entries;
	uint32_t count; /* a power of two */
	uint32_t next;
};

/*
 * KVM API 8.29: log dirtied pages in rings instead of bitmaps. @ring_bytes: a power of two of at
 * least a page, for each virtual CPU. Before the machine has any.
 */
CVMM_API int cvmm_kvm_vm_enable_dirty_ring(const struct cvmm_kvm_vm *vm, uint32_t ring_bytes);

/*
 * Map a virtual CPU's ring, of the size that was enabled. Return: 0; -EINVAL for a size that no
 * ring has; -ENXIO if the machine has no ring, or one of another size; or negative errno.
 */
CVMM_API int cvmm_kvm_vcpu_map_dirty_ring(const struct cvmm_kvm_vcpu *vcpu, uint32_t ring_bytes,
					  struct cvmm_kvm_dirty_ring *ret_ring);
CVMM_API void cvmm_kvm_dirty_ring_unmap(struct cvmm_kvm_dirty_ring *ring);

/* A dirtied page: its slot and its number in the slot. */
struct cvmm_kvm_dirty_page {
	uint32_t slot;
	uint64_t page;
};

/*
 * Take dirtied pages, oldest first, and mark them as taken; a page may come more than once. Slots
 * and pages are as the kernel says: hold them against your own before use.
 * Return: how many, at most @max. Context: one thread at a time for each ring; others may run the
 * virtual CPU meanwhile.
 */
CVMM_API size_t cvmm_kvm_dirty_ring_collect(struct cvmm_kvm_dirty_ring *ring,
					    struct cvmm_kvm_dirty_page *pages, size_t max);

/*
 * KVM API 8.29, KVM_RESET_DIRTY_RINGS: protect taken pages again. Return: how many, or negative
 * errno.
 */
CVMM_API int cvmm_kvm_vm_reset_dirty_rings(const struct cvmm_kvm_vm *vm);

/* ---- statistics ------------------------------------------------------------------------------ */

/*
 * KVM API 4.133, KVM_GET_STATS_FD, of a machine's or virtual CPU's descriptor. Return: a
 * descriptor that the caller owns, or negative errno.
 */
CVMM_API int cvmm_kvm_get_stats_fd(int fd);

#define CVMM_KVM_STATS_NAME_BYTES 64

/**
 * struct cvmm_kvm_stat - a statistic
 * @name: cut to its room, always terminated
 * @flags: KVM_STATS_TYPE_..., _UNIT_..., _BASE_...
 * @exponent: the unit is the base (2 or 10) to this power of the unit that the flags name
 * @value_count: how many values it has; histograms have many
 * @bucket_size: of a linear histogram
 * @value: the first value
 * @file_offset: where its values are in the file
 */
struct cvmm_kvm_stat {
	char name[CVMM_KVM_STATS_NAME_BYTES];
	uint32_t flags;
	int16_t exponent;
	uint16_t value_count;
	uint32_t bucket_size;
	uint64_t value;
	uint64_t file_offset;
};

/**
 * cvmm_kvm_stats_read() - read all statistics of a descriptor
 * @stats_fd: from cvmm_kvm_get_stats_fd(), or any file of that format (its contents are checked)
 * @stats: room for @max of them
 *
 * Return: how many there are, of which at most @max were stored; -EPROTO for nonsense; or negative
 * errno.
 */
CVMM_API int cvmm_kvm_stats_read(int stats_fd, struct cvmm_kvm_stat *stats, size_t max);

/**
 * cvmm_kvm_stats_read_values() - read the values of one statistic, by one read
 * @stat: as cvmm_kvm_stats_read() filled it; also to read it again later
 * @ret_values: room for @max of them; undefined on failure
 *
 * Return: how many were read, at most @max; -EPROTO if they lie outside of the file; or negative
 * errno.
 */
CVMM_API int cvmm_kvm_stats_read_values(int stats_fd, const struct cvmm_kvm_stat *stat,
					uint64_t *ret_values, size_t max);

#if defined(__x86_64__)
/* ---- x86 ------------------------------------------------------------------------------------- */

#define CVMM_KVM_CPUID_MAX 256U	    /* KVM_MAX_CPUID_ENTRIES, asm/kvm_host.h: no call takes more */
#define CVMM_KVM_MSRS_MAX 255U	    /* below MAX_IO_MSRS, arch/x86/kvm/x86.c: likewise */
#define CVMM_KVM_MSR_LIST_MAX 4096U /* ours; KVM has some hundreds */

/*
 * Lists of CPUID entries, MSRs and MSR indices are the kernel's structs with a flexible array at
 * their end. The caller sets the count to its room; -E2BIG means that more is needed.
 *
 * Those below are zeroed, with room for, and their count set to, @count entries. Return: 0; -E2BIG
 * for more than the limit, -ENOMEM. Owner: the caller, who frees it by free().
 */
CVMM_API int cvmm_kvm_cpuid_new(uint32_t count, struct kvm_cpuid2 **ret_cpuid);
CVMM_API int cvmm_kvm_msrs_new(uint32_t count, struct kvm_msrs **ret_msrs);
CVMM_API int cvmm_kvm_msr_list_new(uint32_t count, struct kvm_msr_list **ret_list);

/* KVM API 4.46, 4.88, 4.3 and on: what this KVM can give to a guest. */
CVMM_API int cvmm_kvm_get_supported_cpuid(const struct cvmm_kvm *kvm, struct kvm_cpuid2 *cpuid);
CVMM_API int cvmm_kvm_get_emulated_cpuid(const struct cvmm_kvm *kvm, struct kvm_cpuid2 *cpuid);
CVMM_API int cvmm_kvm_get_msr_index_list(const struct cvmm_kvm *kvm, struct kvm_msr_list *list);
CVMM_API int cvmm_kvm_get_msr_feature_index_list(const struct cvmm_kvm *kvm,
						 struct kvm_msr_list *list);
/* Feature MSRs. Return: how many were read, or negative errno. */
CVMM_API int cvmm_kvm_get_msrs(const struct cvmm_kvm *kvm, struct kvm_msrs *msrs);

/*
 * The machine's interrupt controllers, timer and clock. KVM API 4.24, 4.26, 4.27, 4.71, 4.72, 4.29,
 * 4.30.
 */
CVMM_API int cvmm_kvm_vm_set_tss_addr(const struct cvmm_kvm_vm *vm, uint64_t gpa);
CVMM_API int cvmm_kvm_vm_set_identity_map_addr(const struct cvmm_kvm_vm *vm, uint64_t gpa);
CVMM_API int cvmm_kvm_vm_create_irqchip(const struct cvmm_kvm_vm *vm);
CVMM_API int cvmm_kvm_vm_enable_split_irqchip(const struct cvmm_kvm_vm *vm, uint32_t ioapic_pins);
CVMM_API int cvmm_kvm_vm_get_irqchip(const struct cvmm_kvm_vm *vm, struct kvm_irqchip *chip);
CVMM_API int cvmm_kvm_vm_set_irqchip(const struct cvmm_kvm_vm *vm, const struct kvm_irqchip *chip);
CVMM_API int cvmm_kvm_vm_create_pit2(const struct cvmm_kvm_vm *vm,
				     const struct kvm_pit_config *config);
CVMM_API int cvmm_kvm_vm_get_pit2(const struct cvmm_kvm_vm *vm, struct kvm_pit_state2 *ret_state);
CVMM_API int cvmm_kvm_vm_set_pit2(const struct cvmm_kvm_vm *vm, const struct kvm_pit_state2 *state);
CVMM_API int cvmm_kvm_vm_get_clock(const struct cvmm_kvm_vm *vm, struct kvm_clock_data *ret_clock);
CVMM_API int cvmm_kvm_vm_set_clock(const struct cvmm_kvm_vm *vm,
				   const struct kvm_clock_data *clock);
CVMM_API int cvmm_kvm_vm_set_msr_filter(const struct cvmm_kvm_vm *vm,
					const struct kvm_msr_filter *filter);
/* KVM API 4.41, KVM_SET_BOOT_CPU_ID: before the machine has a virtual CPU. */
CVMM_API int cvmm_kvm_vm_set_boot_cpu(const struct cvmm_kvm_vm *vm, unsigned int id);
/* KVM API 4.120. @filter: with a flexible array at its end. */
CVMM_API int cvmm_kvm_vm_set_pmu_event_filter(const struct cvmm_kvm_vm *vm,
					      const struct kvm_pmu_event_filter *filter);

/* The state of a virtual CPU. MSR functions return how many were handled, or negative errno. */
CVMM_API int cvmm_kvm_vcpu_set_cpuid2(const struct cvmm_kvm_vcpu *vcpu,
				      const struct kvm_cpuid2 *cpuid);
/* Zero the room before: older kernels (6.1) leave the count as it was where all entries fit. */
CVMM_API int cvmm_kvm_vcpu_get_cpuid2(const struct cvmm_kvm_vcpu *vcpu, struct kvm_cpuid2 *cpuid);
CVMM_API int cvmm_kvm_vcpu_get_msrs(const struct cvmm_kvm_vcpu *vcpu, struct kvm_msrs *msrs);
CVMM_API int cvmm_kvm_vcpu_set_msrs(const struct cvmm_kvm_vcpu *vcpu, const struct kvm_msrs *msrs);
CVMM_API int cvmm_kvm_vcpu_get_sregs2(const struct cvmm_kvm_vcpu *vcpu,
				      struct kvm_sregs2 *ret_sregs);
CVMM_API int cvmm_kvm_vcpu_set_sregs2(const struct cvmm_kvm_vcpu *vcpu,
				      const struct kvm_sregs2 *sregs);
CVMM_API int cvmm_kvm_vcpu_get_lapic(const struct cvmm_kvm_vcpu *vcpu,
				     struct kvm_lapic_state *ret_lapic);
CVMM_API int cvmm_kvm_vcpu_set_lapic(const struct cvmm_kvm_vcpu *vcpu,
				     const struct kvm_lapic_state *lapic);
CVMM_API int cvmm_kvm_vcpu_get_xsave(const struct cvmm_kvm_vcpu *vcpu, struct kvm_xsave *ret_xsave);
/* How many bytes that of a virtual CPU of this machine takes, or negative errno. */
CVMM_API int cvmm_kvm_vm_xsave_bytes(const struct cvmm_kvm_vm *vm);
/* @area: at least cvmm_kvm_vm_xsave_bytes(). */
CVMM_API int cvmm_kvm_vcpu_get_xsave2(const struct cvmm_kvm_vcpu *vcpu, void *area);
/* @area: as get_xsave2 filled it; the kernel reads as many bytes as that takes. */
CVMM_API int cvmm_kvm_vcpu_set_xsave(const struct cvmm_kvm_vcpu *vcpu, const void *area);
CVMM_API int cvmm_kvm_vcpu_get_xcrs(const struct cvmm_kvm_vcpu *vcpu, struct kvm_xcrs *ret_xcrs);
CVMM_API int cvmm_kvm_vcpu_set_xcrs(const struct cvmm_kvm_vcpu *vcpu, const struct kvm_xcrs *xcrs);
CVMM_API int cvmm_kvm_vcpu_get_debugregs(const struct cvmm_kvm_vcpu *vcpu,
					 struct kvm_debugregs *ret_regs);
CVMM_API int cvmm_kvm_vcpu_set_debugregs(const struct cvmm_kvm_vcpu *vcpu,
					 const struct kvm_debugregs *regs);
/* Return: kHz, or negative errno. */
CVMM_API int cvmm_kvm_vcpu_get_tsc_khz(const struct cvmm_kvm_vcpu *vcpu);
CVMM_API int cvmm_kvm_vcpu_set_tsc_khz(const struct cvmm_kvm_vcpu *vcpu, uint32_t khz);
CVMM_API int cvmm_kvm_vcpu_kvmclock_ctrl(const struct cvmm_kvm_vcpu *vcpu);
/*
 * KVM API 4.16: inject an external interrupt, where the interrupt controllers are not the kernel's.
 */
CVMM_API int cvmm_kvm_vcpu_interrupt(const struct cvmm_kvm_vcpu *vcpu, uint32_t vector);
CVMM_API int cvmm_kvm_vcpu_nmi(const struct cvmm_kvm_vcpu *vcpu);
CVMM_API int cvmm_kvm_vcpu_smi(const struct cvmm_kvm_vcpu *vcpu);
/* KVM API 4.114. The caller sets .size to its room. */
CVMM_API int cvmm_kvm_vcpu_get_nested_state(const struct cvmm_kvm_vcpu *vcpu,
					    struct kvm_nested_state *state);
CVMM_API int cvmm_kvm_vcpu_set_nested_state(const struct cvmm_kvm_vcpu *vcpu,
					    const struct kvm_nested_state *state);

/* ---- x86: Hyper-V, Xen, encrypted memory ----------------------------------------------------- */

/*
 * KVM API 4.118: the CPUID leaves of Hyper-V, of the system or as a virtual CPU has them enabled.
 */
CVMM_API int cvmm_kvm_get_supported_hv_cpuid(const struct cvmm_kvm *kvm, struct kvm_cpuid2 *cpuid);
CVMM_API int cvmm_kvm_vcpu_get_supported_hv_cpuid(const struct cvmm_kvm_vcpu *vcpu,
						  struct kvm_cpuid2 *cpuid);
/*
 * KVM API 4.113, KVM_HYPERV_EVENTFD: an eventfd for the signals of a connection (a number of 24
 * bits).
 */
CVMM_API int cvmm_kvm_vm_hyperv_eventfd(const struct cvmm_kvm_vm *vm, uint32_t connection, int fd);
CVMM_API int cvmm_kvm_vm_hyperv_eventfd_remove(const struct cvmm_kvm_vm *vm, uint32_t connection);

/* KVM API 4.42, KVM_XEN_HVM_CONFIG. */
CVMM_API int cvmm_kvm_vm_set_xen_config(const struct cvmm_kvm_vm *vm,
					const struct kvm_xen_hvm_config *config);
/* KVM API 4.126 to 4.129. The caller of a get sets .type. */
CVMM_API int cvmm_kvm_vm_get_xen_attr(const struct cvmm_kvm_vm *vm, struct kvm_xen_hvm_attr *attr);
CVMM_API int cvmm_kvm_vm_set_xen_attr(const struct cvmm_kvm_vm *vm,
				      const struct kvm_xen_hvm_attr *attr);
CVMM_API int cvmm_kvm_vcpu_get_xen_attr(const struct cvmm_kvm_vcpu *vcpu,
					struct kvm_xen_vcpu_attr *attr);
CVMM_API int cvmm_kvm_vcpu_set_xen_attr(const struct cvmm_kvm_vcpu *vcpu,
					const struct kvm_xen_vcpu_attr *attr);

/* KVM API 4.110: a command of SEV (struct kvm_sev_cmd) or TDX; an answer is written into it. */
CVMM_API int cvmm_kvm_vm_encrypt_op(const struct cvmm_kvm_vm *vm, void *command);
CVMM_API int cvmm_kvm_vcpu_encrypt_op(const struct cvmm_kvm_vcpu *vcpu, void *command);
/*
 * KVM API 4.111 and 4.112: memory that the guest may encrypt, which pins it. Owner: stays the
 * caller's.
 */
CVMM_API int cvmm_kvm_vm_encrypt_add(const struct cvmm_kvm_vm *vm, const void *host,
				     uint64_t len_bytes);
CVMM_API int cvmm_kvm_vm_encrypt_remove(const struct cvmm_kvm_vm *vm, const void *host,
					uint64_t len_bytes);
#endif /* __x86_64__ */

#if defined(__aarch64__)
/* ---- arm64 ----------------------------------------------------------------------------------- */

/*
 * KVM API 4.83 and 4.82: what CPU suits this host, and making a virtual CPU be one (again: a
 * reset).
 */
CVMM_API int cvmm_kvm_vm_get_preferred_target(const struct cvmm_kvm_vm *vm,
					      struct kvm_vcpu_init *ret_init);
CVMM_API int cvmm_kvm_vcpu_init(const struct cvmm_kvm_vcpu *vcpu, const struct kvm_vcpu_init *init);
/* KVM API 4.119. @feature: KVM_ARM_VCPU_SVE. */
CVMM_API int cvmm_kvm_vcpu_finalize(const struct cvmm_kvm_vcpu *vcpu, int feature);
#endif /* __aarch64__ */

#ifdef __cplusplus
}
#endif

#endif /* CVMM_KVM_H */
