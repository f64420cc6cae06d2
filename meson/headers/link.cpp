// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
// A C++ program that has all public headers at once, expands their macros and inline functions, and links
// a function of each.
#include <cstdio>

#include <cvmm/alloc.h>
#include <cvmm/base.h>
#include <cvmm/blk.h>
#include <cvmm/console.h>
#include <cvmm/event.h>
#include <cvmm/firmware.h>
#include <cvmm/kvm.h>
#include <cvmm/loader.h>
#include <cvmm/mem.h>
#include <cvmm/mem_dirty.h>
#include <cvmm/mem_iommu.h>
#include <cvmm/mem_iotlb.h>
#include <cvmm/mem_xen.h>
#include <cvmm/rng.h>
#include <cvmm/superio.h>
#include <cvmm/vhost.h>
#include <cvmm/vhost_uapi.h>
#include <cvmm/vhost_vdpa.h>
#include <cvmm/virtio.h>
#include <cvmm/virtq.h>
#include <cvmm/virtq_driver.h>
#include <cvmm/virtq_io.h>
#include <cvmm/virtq_trace.h>
#include <cvmm/vmm.h>

namespace
{

using function = void (*)();

// One of each header that declares any, but the VMM's: its library is not a component.
const function functions[] = {
	reinterpret_cast<function>(cvmm_alloc_space_create),
	reinterpret_cast<function>(cvmm_fail),
	reinterpret_cast<function>(cvmm_blk_destroy),
	reinterpret_cast<function>(cvmm_console_destroy),
	reinterpret_cast<function>(cvmm_loop_create),
	reinterpret_cast<function>(cvmm_firmware_acpi_build),
	reinterpret_cast<function>(cvmm_kvm_open),
	reinterpret_cast<function>(cvmm_loader_load),
	reinterpret_cast<function>(cvmm_mem_create),
	reinterpret_cast<function>(cvmm_dirty_create),
	reinterpret_cast<function>(cvmm_mem_create_iommu),
	reinterpret_cast<function>(cvmm_iotlb_create),
	reinterpret_cast<function>(cvmm_mem_xen_prepare),
	reinterpret_cast<function>(cvmm_rng_destroy),
	reinterpret_cast<function>(cvmm_serial_destroy),
	reinterpret_cast<function>(cvmm_vhost_open),
	reinterpret_cast<function>(cvmm_vhost_vdpa_map_mem),
	reinterpret_cast<function>(cvmm_virtio_mmio_destroy),
	reinterpret_cast<function>(cvmm_virtq_pop),
	reinterpret_cast<function>(cvmm_virtq_driver_add),
	reinterpret_cast<function>(cvmm_virtq_reader_init),
	reinterpret_cast<function>(cvmm_virtq_capture_create),
};

bool macros_expand()
{
	struct cvmm_notifier notifier = CVMM_NOTIFIER_NONE;
	struct cvmm_kvm kvm = CVMM_KVM_NONE;
	struct cvmm_kvm_vm vm = CVMM_KVM_VM_NONE;
	struct cvmm_kvm_vcpu vcpu = CVMM_KVM_VCPU_NONE;
	struct cvmm_kvm_device device = CVMM_KVM_DEVICE_NONE;
	struct cvmm_vhost vhost = CVMM_VHOST_NONE;
	struct cvmm_virtq_base base = CVMM_VIRTQ_BASE_START;
	struct cvmm_virtq_notification kick = cvmm_virtq_notification_parse(0x80050002);

	(void)notifier, (void)kvm, (void)vm, (void)vcpu, (void)device, (void)vhost;
	CVMM_BUG_ON(CVMM_ARRAY_SIZE(functions) == 0);
	return base.avail_wrap && kick.queue == 2 && kick.next_off == 5 && kick.next_wrap;
}

// Inline functions that go into the library for what is rare.
bool memory_works()
{
	struct cvmm_mem_config config = {};
	struct cvmm_error err = {};
	struct cvmm_mem *mem = nullptr;
	cvmm_gpa place = cvmm_gpa_from(8);
	uint32_t put = 0x12345678, got = 0;

	config.len_bytes = 0x10000;
	config.kind = CVMM_MEM_ANONYMOUS;
	config.access = CVMM_ACCESS_READ_WRITE;
	if (cvmm_mem_create(&config, 1, &mem, &err))
		return std::fprintf(stderr, "%s\n", err.message), false;
	bool fine = !cvmm_mem_write(mem, place, &put, sizeof(put)) &&
		    !cvmm_mem_load_u32(mem, place, __ATOMIC_ACQUIRE, &got) && got == put &&
		    cvmm_mem_read(mem, cvmm_gpa_add(place, 1 << 20), &got, sizeof(got)) != 0;
	cvmm_mem_unref(mem);
	return fine;
}

} // namespace

int main()
{
	for (function f : functions)
		if (!f)
			return 1;
	return macros_expand() && memory_works() ? 0 : 1;
}
