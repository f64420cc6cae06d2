// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * The machine's parts are made in an order in which each may use those before it, and unmade in
 * reverse; every part may be missing when that begins. Virtual CPUs never touch the loop: a reason
 * to stop is stored under a lock, and the loop is told by a notifier.
 *
 * While the virtual CPUs are stopped the loop must go on, because one of them may be waiting for a
 * device operation on it (cvmm_virtio_mmio_write()): the join runs the loop between looks.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "machine_internal.h"

#define MEMORY_GRANULE UINT64_C(0x100000)

/* ---- stopping ----------------------------------------------------------------------------------- */

static void tell_owner(void *ctx, int fd, unsigned int events)
{
	struct cvmm_machine *m = ctx;

	(void)fd;
	(void)events;
	if (cvmm_notifier_consume(&m->stop_notifier) > 0 && m->config.stopped)
		m->config.stopped(m->config.ctx, m->stop_reason, m->stop_message);
}

void cvmm_machine_report_stop(struct cvmm_machine *m, enum cvmm_machine_stop reason,
			      const char *fmt, ...)
{
	va_list args;
	bool first;

	pthread_mutex_lock(&m->stop_lock);
	first = !m->stop_reported;
	m->stop_reported = true;
	if (first) {
		m->stop_reason = reason;
		va_start(args, fmt);
		vsnprintf(m->stop_message, sizeof(m->stop_message), fmt, args);
		va_end(args);
	}
	pthread_mutex_unlock(&m->stop_lock);
	atomic_store(&m->stopping, true);
	if (first)
		cvmm_notifier_signal(&m->stop_notifier);
}

void cvmm_machine_stop(struct cvmm_machine *m)
{
	atomic_store(&m->stopping, true);
	cvmm_machine_join_vcpus(m);
}

/* ---- memory ------------------------------------------------------------------------------------- */

static int create_memory(struct cvmm_machine *m, struct cvmm_error *err)
{
	uint64_t low = m->config.memory_bytes;
	uint64_t high = 0;
	struct cvmm_mem_config regions[2];
	int ret;

	if (low > MMIO_HOLE_START) {
		high = low - MMIO_HOLE_START;
		low = MMIO_HOLE_START;
	}
	for (int i = 0; i < 2; i++)
		regions[i] = (struct cvmm_mem_config){
			.gpa = cvmm_gpa_from(i ? MMIO_HOLE_END : 0),
			.len_bytes = i ? high : low,
			.kind = m->config.shared_memory ? CVMM_MEM_MEMFD : CVMM_MEM_ANONYMOUS,
			.access = CVMM_ACCESS_READ_WRITE,
			.flags =
				CVMM_MEM_HUGE_PAGES, /* fewer faults, for the loader and the guest */
		};
	ret = cvmm_mem_create(regions, high ? 2 : 1, &m->mem, err);
	if (ret)
		return ret;
	ret = cvmm_mem_space_create(m->mem, &m->space);
	for (size_t i = 0; !ret && i < cvmm_mem_region_count(m->mem); i++) {
		const struct cvmm_mem_region *region = cvmm_mem_region_at(m->mem, i);

		ret = cvmm_kvm_vm_set_memory(&m->vm, (uint32_t)i, 0, region->gpa, region->len_bytes,
					     region->host);
	}
	return ret ? cvmm_fail(err, ret, "cannot give the guest its memory: %s", strerror(-ret))
		   : 0;
}

/* ---- life -------------------------------------------------------------------------------------- */

static int create_parts(struct cvmm_machine *m, struct cvmm_error *err)
{
	int ret;

	ret = cvmm_notifier_init(&m->stop_notifier, CVMM_NOTIFIER_AUTO);
	if (!ret)
		ret = cvmm_loop_add_fd(m->config.loop, m->stop_notifier.read_fd, CVMM_EVENT_READ,
				       tell_owner, m, &m->stop_source);
	if (ret)
		return cvmm_fail(err, ret, "cannot make a notifier: %s", strerror(-ret));
	ret = cvmm_kvm_open(&m->kvm, NULL, err);
	if (!ret)
		ret = cvmm_kvm_create_vm(&m->kvm, 0, &m->vm, err);
	if (!ret)
		ret = create_memory(m, err);
	if (!ret)
		ret = cvmm_machine_init_arch(m, err);
	if (!ret)
		ret = cvmm_machine_init_legacy(m, err);
	return ret;
}

int cvmm_machine_create(const struct cvmm_machine_config *config, struct cvmm_machine **ret_machine,
			struct cvmm_error *err)
{
	struct cvmm_machine *m;
	int ret;

	if (!config->cpu_count || config->cpu_count > CVMM_MACHINE_CPUS_MAX)
		return cvmm_fail(err, -EINVAL, "%u CPUs: a machine has 1 to %d", config->cpu_count,
				 CVMM_MACHINE_CPUS_MAX);
	if (!config->memory_bytes || config->memory_bytes % MEMORY_GRANULE)
		return cvmm_fail(err, -EINVAL, "memory must be a multiple of 1 MiB, and not none");
	m = calloc(1, sizeof(*m));
	if (!m)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	m->config = *config;
	m->kvm = CVMM_KVM_NONE;
	m->vm = CVMM_KVM_VM_NONE;
	m->stop_notifier = CVMM_NOTIFIER_NONE;
	pthread_mutex_init(&m->stop_lock, NULL);
	ret = create_parts(m, err);
	if (ret) {
		cvmm_machine_destroy(m);
		return ret;
	}
	*ret_machine = m;
	return 0;
}

void cvmm_machine_destroy(struct cvmm_machine *m)
{
	if (!m)
		return;
	cvmm_machine_stop(m);
	for (unsigned int i = 0; i < m->slot_count; i++) {
		cvmm_virtio_mmio_destroy(m->slots[i].mmio);
		cvmm_notifier_fini(&m->slots[i].interrupt);
	}
	for (unsigned int i = 0; i < m->vcpu_count; i++)
		cvmm_kvm_vcpu_close(&m->vcpus[i].kvm);
	cvmm_machine_fini_legacy(m);
	cvmm_kvm_vm_close(&m->vm);
	cvmm_kvm_close(&m->kvm);
	cvmm_mem_space_destroy(m->space);
	cvmm_mem_unref(m->mem);
	cvmm_source_remove(m->stop_source);
	cvmm_notifier_fini(&m->stop_notifier);
	pthread_mutex_destroy(&m->stop_lock);
	free(m);
}

struct cvmm_mem *cvmm_machine_mem(struct cvmm_machine *m)
{
	return m->mem;
}

/* ---- devices ------------------------------------------------------------------------------------ */

static void raise_interrupt(void *ctx)
{
	struct slot *slot = ctx;

	cvmm_notifier_signal(&slot->interrupt);
}

/* Kicks become eventfd signals in the kernel, and interrupts eventfd writes. */
static int wire_device(struct cvmm_machine *m, struct slot *slot)
{
	int ret;

	ret = cvmm_kvm_vm_irqfd(&m->vm, slot->interrupt.read_fd, slot->gsi, -1);
	for (unsigned int q = 0; !ret && q < slot->queue_count; q++) {
		const struct cvmm_kvm_ioeventfd kick = {
			.fd = cvmm_virtio_mmio_kick_notifier(slot->mmio, q)->read_fd,
			.addr = slot->gpa + CVMM_VIRTIO_MMIO_QUEUE_NOTIFY,
			.len_bytes = sizeof(uint32_t),
			.match = true,
			.value = q,
		};

		ret = cvmm_kvm_vm_ioeventfd(&m->vm, &kick);
	}
	return ret;
}

int cvmm_machine_add_device(struct cvmm_machine *m, const struct cvmm_virtio_device_ops *ops,
			    void *dev, struct cvmm_error *err)
{
	struct slot *slot = &m->slots[m->slot_count];
	struct cvmm_virtio_mmio_config config = {
		.ops = ops,
		.dev = dev,
		.space = m->space,
		.loop = m->config.loop,
		.interrupt = raise_interrupt,
		.interrupt_ctx = slot,
		.log = m->config.log,
		.offer = m->config.virtio_offer,
		.withhold = m->config.virtio_withhold,
	};
	int ret;

	if (m->slot_count == CVMM_MACHINE_DEVICES_MAX)
		return cvmm_fail(err, -ENOSPC, "a machine has room for %d devices",
				 CVMM_MACHINE_DEVICES_MAX);
	if (m->loaded)
		return cvmm_fail(err, -EBUSY, "the machine's tables are already written");
	*slot = (struct slot){
		.machine = m,
		.gpa = VIRTIO_MMIO_BASE + m->slot_count * (uint64_t)CVMM_VIRTIO_MMIO_LEN_BYTES,
		.gsi = FIRST_VIRTIO_GSI + m->slot_count,
		.queue_count = ops->queue_count(dev),
	};
	ret = cvmm_notifier_init(&slot->interrupt, CVMM_NOTIFIER_EVENTFD);
	if (ret)
		return cvmm_fail(err, ret, "cannot make an eventfd: %s", strerror(-ret));
	ret = cvmm_virtio_mmio_create(&config, &slot->mmio, err);
	if (!ret) {
		ret = wire_device(m, slot);
		if (ret)
			cvmm_fail(err, ret, "cannot wire the %s device: %s", ops->name,
				  strerror(-ret));
	}
	if (ret) {
		cvmm_virtio_mmio_destroy(slot->mmio);
		cvmm_notifier_fini(&slot->interrupt);
		return ret;
	}
	m->slot_count++;
	return 0;
}

/* ---- boot --------------------------------------------------------------------------------------- */

int cvmm_machine_load(struct cvmm_machine *m, const struct cvmm_machine_kernel *kernel,
		      struct cvmm_loader_result *ret_result, struct cvmm_error *err)
{
	struct cvmm_loader_map_entry map[CVMM_LOADER_MAP_MAX];
	struct cvmm_loader_config config = {
		.arch = CVMM_LOADER_ARCH_X86_64,
		.kernel_fd = kernel->fd,
		.protocol = kernel->protocol,
		.cmdline = kernel->cmdline,
		.initrd = kernel->initrd,
		.initrd_count = kernel->initrd_count,
		.map = map,
	};
	struct cvmm_loader_result result;
	cvmm_gpa rsdp;
	int ret;

	ret = cvmm_machine_write_firmware(m, &rsdp, err);
	if (ret)
		return ret;
	config.rsdp_gpa = rsdp.addr;
	config.map_count = cvmm_machine_memory_map(m, map);
	ret = cvmm_loader_load(m->mem, &config, &result, err);
	if (ret)
		return ret;
	m->boot_state = result.x86;
	m->loaded = true;
	*ret_result = result;
	return 0;
}

int cvmm_machine_start(struct cvmm_machine *m, struct cvmm_error *err)
{
	if (!m->loaded)
		return cvmm_fail(err, -EINVAL, "the machine has no kernel");
	return cvmm_machine_start_vcpus(m, err);
}
