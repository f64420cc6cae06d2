// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The system, machines and virtual CPUs: what every architecture has. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cvmm/kvm.h>

#include "kvm_internal.h"

#define KVM_PATH "/dev/kvm"
#define KVM_VERSION 12
#define VCPUS_OTHERWISE 4   /* KVM API 4.7 */
#define SLOTS_OTHERWISE 32  /* what KVM had before it told */
#define GROUP_BYTES 4096    /* room for an entry of the groups' database */
#define SIGNAL_MASK_BYTES 8 /* the kernel's sigset_t */

int cvmm_kvm_ioctl(int fd, unsigned long request, void *arg)
{
	int ret;

	do {
		ret = ioctl(fd, request, arg);
	} while (ret < 0 && errno == EINTR && request != KVM_RUN);
	return ret < 0 ? -errno : ret;
}

int kvm_list_new(size_t header_bytes, size_t entry_bytes, uint32_t count, uint32_t max,
		 void **ret_list)
{
	uint64_t bytes;
	void *list;

	if (count > max)
		return -E2BIG;
	if (!cvmm_mul_u64(entry_bytes, count, &bytes) ||
	    !cvmm_add_u64(bytes, header_bytes, &bytes) || bytes > SIZE_MAX)
		return -ENOMEM;
	list = calloc(1, (size_t)bytes);
	if (!list)
		return -ENOMEM;
	*ret_list = list;
	return 0;
}

/* ---- the system ------------------------------------------------------------------------------ */

/* The name of the group that may use a file, if there is such a group and it is not root's. */
static bool group_with_access(const char *path, char *buf, size_t buf_bytes, const char **ret_name)
{
	struct group group, *found = NULL;
	struct stat st;

	if (stat(path, &st) || !(st.st_mode & S_IWGRP) || !st.st_gid)
		return false;
	if (getgrgid_r(st.st_gid, &group, buf, buf_bytes, &found) || !found)
		return false;
	*ret_name = group.gr_name;
	return true;
}

static int explain_open_failure(const char *path, int error, struct cvmm_error *err)
{
	char buf[GROUP_BYTES];
	const char *group;

	/* A node without a driver behind it fails with the latter two. */
	if (error == ENOENT || error == ENODEV || error == ENXIO)
		return cvmm_fail(err, -error,
				 "there is no %s: load kvm-intel or kvm-amd (modprobe), or enable "
				 "virtualization in the firmware (nested, if this is a guest)",
				 path);
	if (error != EACCES && error != EPERM)
		return cvmm_fail(err, -error, "cannot open %s: %s", path, strerror(error));
	if (group_with_access(path, buf, sizeof(buf), &group))
		return cvmm_fail(err, -error,
				 "no permission for %s: join its group (usermod -aG %s USER) and "
				 "log in again",
				 path, group);
	return cvmm_fail(err, -error,
			 "no permission for %s: run as its owner, or let your user in "
			 "(setfacl -m u:USER:rw %s)",
			 path, path);
}

int cvmm_kvm_open(struct cvmm_kvm *ret_kvm, const char *path, struct cvmm_error *err)
{
	struct cvmm_kvm kvm = CVMM_KVM_NONE;
	int ret;

	path = path ? path : KVM_PATH;
	kvm.fd = open(path, O_RDWR | O_CLOEXEC);
	if (kvm.fd < 0)
		return explain_open_failure(path, errno, err);
	ret = cvmm_kvm_ioctl(kvm.fd, KVM_GET_API_VERSION, NULL);
	if (ret != KVM_VERSION) {
		cvmm_kvm_close(&kvm);
		return ret < 0 ? cvmm_fail(err, ret, "%s is not KVM: %s", path, strerror(-ret))
			       : cvmm_fail(err, -ENOTSUP,
					   "%s speaks version %d of the interface, not %d", path,
					   ret, KVM_VERSION);
	}
	ret = cvmm_kvm_ioctl(kvm.fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
	if (ret < (int)sizeof(struct kvm_run)) {
		cvmm_kvm_close(&kvm);
		return cvmm_fail(err, ret < 0 ? ret : -EPROTO, "%s gives no size for CPUs", path);
	}
	kvm.run_bytes = (size_t)ret;
	*ret_kvm = kvm;
	return 0;
}

void cvmm_kvm_close(struct cvmm_kvm *kvm)
{
	cvmm_close_fd(&kvm->fd);
}

void cvmm_kvm_vm_close(struct cvmm_kvm_vm *vm)
{
	cvmm_close_fd(&vm->fd);
}

void cvmm_kvm_device_close(struct cvmm_kvm_device *device)
{
	cvmm_close_fd(&device->fd);
}

static bool cpu_has_virtualization(const char *cpuinfo_path)
{
#if defined(__x86_64__)
	FILE *f = fopen(cpuinfo_path ? cpuinfo_path : "/proc/cpuinfo", "re");
	bool found = false;
	char *line = NULL, *rest = NULL;
	size_t size = 0;

	while (f && !found && getline(&line, &size, f) > 0) {
		if (strncmp(line, "flags", 5) != 0)
			continue;
		for (char *word = strtok_r(line, " \t\n", &rest); word;
		     word = strtok_r(NULL, " \t\n", &rest))
			found |= strcmp(word, "svm") == 0 || strcmp(word, "vmx") == 0;
		break; /* all CPUs have the same */
	}
	free(line);
	if (f)
		fclose(f);
	return found;
#else
	/* Nobody emulates it there: a /dev/kvm has hardware behind it. */
	(void)cpuinfo_path;
	return true;
#endif
}

enum cvmm_kvm_hardware cvmm_kvm_hardware(const char *cpuinfo_path, const char *kvm_path)
{
	struct cvmm_kvm kvm;

	if (cvmm_kvm_open(&kvm, kvm_path, NULL))
		return CVMM_KVM_NO_DEVICE;
	cvmm_kvm_close(&kvm);
	return cpu_has_virtualization(cpuinfo_path) ? CVMM_KVM_HARDWARE : CVMM_KVM_EMULATED;
}

int cvmm_kvm_check_extension(const struct cvmm_kvm *kvm, int capability)
{
	return kvm_ioctl_value(kvm->fd, KVM_CHECK_EXTENSION, (unsigned long)capability);
}

int cvmm_kvm_vm_check_extension(const struct cvmm_kvm_vm *vm, int capability)
{
	return kvm_ioctl_value(vm->fd, KVM_CHECK_EXTENSION, (unsigned long)capability);
}

/* A limit that old kernels do not tell, and then is @otherwise. */
static int get_limit(int fd, int capability, uint32_t otherwise, uint32_t *ret_limit)
{
	int ret = kvm_ioctl_value(fd, KVM_CHECK_EXTENSION, (unsigned long)capability);

	if (ret < 0)
		return ret;
	*ret_limit = ret ? (uint32_t)ret : otherwise;
	return 0;
}

int cvmm_kvm_get_limits(int fd, struct cvmm_kvm_limits *ret_limits)
{
	struct cvmm_kvm_limits limits;
	int ret = get_limit(fd, KVM_CAP_NR_VCPUS, VCPUS_OTHERWISE, &limits.vcpus_recommended);

	if (!ret)
		ret = get_limit(fd, KVM_CAP_MAX_VCPUS, limits.vcpus_recommended, &limits.vcpus_max);
	if (!ret)
		ret = get_limit(fd, KVM_CAP_MAX_VCPU_ID, limits.vcpus_max, &limits.vcpu_ids);
	if (!ret)
		ret = get_limit(fd, KVM_CAP_NR_MEMSLOTS, SLOTS_OTHERWISE, &limits.memory_slots);
	if (!ret)
		ret = get_limit(fd, KVM_CAP_MULTI_ADDRESS_SPACE, 1, &limits.address_spaces);
	if (!ret)
		ret = get_limit(fd, KVM_CAP_IRQ_ROUTING, 0, &limits.routes);
	if (!ret)
		*ret_limits = limits;
	return ret;
}

int cvmm_kvm_create_vm(const struct cvmm_kvm *kvm, unsigned long type, struct cvmm_kvm_vm *ret_vm,
		       struct cvmm_error *err)
{
	int ret = kvm_ioctl_value(kvm->fd, KVM_CREATE_VM, type);

	if (ret < 0)
		return cvmm_fail(err, ret, "KVM cannot make a machine of type %lu: %s", type,
				 strerror(-ret));
	ret_vm->fd = ret;
	return 0;
}

/* ---- interrupts and events ------------------------------------------------------------------- */

int cvmm_kvm_vm_irq_line(const struct cvmm_kvm_vm *vm, uint32_t gsi, bool level)
{
	struct kvm_irq_level line = { .irq = gsi, .level = level };

	return cvmm_kvm_ioctl(vm->fd, KVM_IRQ_LINE, &line);
}

int cvmm_kvm_vm_irqfd(const struct cvmm_kvm_vm *vm, int fd, uint32_t gsi, int resample_fd)
{
	struct kvm_irqfd irqfd = { .fd = (uint32_t)fd, .gsi = gsi };

	if (resample_fd >= 0) {
		irqfd.flags = KVM_IRQFD_FLAG_RESAMPLE;
		irqfd.resamplefd = (uint32_t)resample_fd;
	}
	return cvmm_kvm_ioctl(vm->fd, KVM_IRQFD, &irqfd);
}

int cvmm_kvm_vm_irqfd_remove(const struct cvmm_kvm_vm *vm, int fd, uint32_t gsi)
{
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)fd,
		.gsi = gsi,
		.flags = KVM_IRQFD_FLAG_DEASSIGN,
	};

	return cvmm_kvm_ioctl(vm->fd, KVM_IRQFD, &irqfd);
}

static int ioeventfd(const struct cvmm_kvm_vm *vm, const struct cvmm_kvm_ioeventfd *event,
		     uint32_t flags)
{
	struct kvm_ioeventfd io = {
		.fd = event->fd,
		.addr = event->addr,
		.len = event->len_bytes,
		.datamatch = event->match ? event->value : 0,
		.flags = flags | (event->is_pio ? KVM_IOEVENTFD_FLAG_PIO : 0U) |
			 (event->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0U),
	};

	return cvmm_kvm_ioctl(vm->fd, KVM_IOEVENTFD, &io);
}

int cvmm_kvm_vm_ioeventfd(const struct cvmm_kvm_vm *vm, const struct cvmm_kvm_ioeventfd *event)
{
	return ioeventfd(vm, event, 0);
}

int cvmm_kvm_vm_ioeventfd_remove(const struct cvmm_kvm_vm *vm,
				 const struct cvmm_kvm_ioeventfd *event)
{
	return ioeventfd(vm, event, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

int cvmm_kvm_vm_signal_msi(const struct cvmm_kvm_vm *vm, const struct kvm_msi *msi)
{
	return kvm_ioctl_in(vm->fd, KVM_SIGNAL_MSI, msi);
}

int cvmm_kvm_vm_set_gsi_routing(const struct cvmm_kvm_vm *vm, const struct kvm_irq_routing *routing)
{
	return kvm_ioctl_in(vm->fd, KVM_SET_GSI_ROUTING, routing);
}

int cvmm_kvm_routing_new(uint32_t count, struct kvm_irq_routing **ret_routing)
{
	void *list;
	int ret = kvm_list_new(sizeof(**ret_routing), sizeof((*ret_routing)->entries[0]), count,
			       CVMM_KVM_ROUTES_MAX, &list);

	if (ret)
		return ret;
	*ret_routing = list;
	(*ret_routing)->nr = count;
	return 0;
}

static int enable_cap(int fd, uint32_t capability, uint64_t arg0, uint64_t arg1)
{
	struct kvm_enable_cap cap = { .cap = capability, .args = { arg0, arg1 } };

	return cvmm_kvm_ioctl(fd, KVM_ENABLE_CAP, &cap);
}

int cvmm_kvm_vm_enable_cap(const struct cvmm_kvm_vm *vm, uint32_t capability, uint64_t arg0,
			   uint64_t arg1)
{
	return enable_cap(vm->fd, capability, arg0, arg1);
}

int cvmm_kvm_vcpu_enable_cap(const struct cvmm_kvm_vcpu *vcpu, uint32_t capability, uint64_t arg0,
			     uint64_t arg1)
{
	return enable_cap(vcpu->fd, capability, arg0, arg1);
}

/* ---- devices and attributes ------------------------------------------------------------------ */

int cvmm_kvm_vm_create_device(const struct cvmm_kvm_vm *vm, uint32_t type, uint32_t flags,
			      struct cvmm_kvm_device *ret_device)
{
	struct kvm_create_device create = { .type = type, .flags = flags };
	int ret = cvmm_kvm_ioctl(vm->fd, KVM_CREATE_DEVICE, &create);

	if (ret < 0)
		return ret;
	if (!(flags & KVM_CREATE_DEVICE_TEST))
		ret_device->fd = (int)create.fd;
	return 0;
}

static int attribute(int fd, unsigned long request, uint32_t group, uint64_t attr,
		     const void *value)
{
	struct kvm_device_attr a = {
		.group = group,
		.attr = attr,
		.addr = (uint64_t)(uintptr_t)value,
	};

	return cvmm_kvm_ioctl(fd, request, &a);
}

int cvmm_kvm_has_attr(int fd, uint32_t group, uint64_t attr)
{
	return attribute(fd, KVM_HAS_DEVICE_ATTR, group, attr, NULL);
}

int cvmm_kvm_get_attr(int fd, uint32_t group, uint64_t attr, void *value)
{
	return attribute(fd, KVM_GET_DEVICE_ATTR, group, attr, value);
}

int cvmm_kvm_set_attr(int fd, uint32_t group, uint64_t attr, const void *value)
{
	return attribute(fd, KVM_SET_DEVICE_ATTR, group, attr, value);
}

/* ---- virtual CPUs ---------------------------------------------------------------------------- */

int cvmm_kvm_create_vcpu(const struct cvmm_kvm *kvm, const struct cvmm_kvm_vm *vm, unsigned int id,
			 struct cvmm_kvm_vcpu *ret_vcpu, struct cvmm_error *err)
{
	struct cvmm_kvm_vcpu vcpu = { .run_bytes = kvm->run_bytes };

	vcpu.fd = kvm_ioctl_value(vm->fd, KVM_CREATE_VCPU, id);
	if (vcpu.fd < 0)
		return cvmm_fail(err, vcpu.fd, "KVM cannot make CPU %u: %s", id,
				 strerror(-vcpu.fd));
	vcpu.run = mmap(NULL, vcpu.run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu.fd, 0);
	if (vcpu.run == MAP_FAILED) {
		int ret = -errno;

		close(vcpu.fd);
		return cvmm_fail(err, ret, "cannot map CPU %u: %s", id, strerror(-ret));
	}
	*ret_vcpu = vcpu;
	return 0;
}

void cvmm_kvm_vcpu_close(struct cvmm_kvm_vcpu *vcpu)
{
	if (vcpu->run)
		munmap(vcpu->run, vcpu->run_bytes);
	cvmm_close_fd(&vcpu->fd);
	*vcpu = CVMM_KVM_VCPU_NONE;
}

void cvmm_kvm_vcpu_set_immediate_exit(const struct cvmm_kvm_vcpu *vcpu, bool on)
{
	__atomic_store_n(&vcpu->run->immediate_exit, on, __ATOMIC_RELEASE);
}

int cvmm_kvm_vcpu_set_signal_mask(const struct cvmm_kvm_vcpu *vcpu, const sigset_t *mask)
{
	/* The kernel's struct: its length, and the mask's bytes right behind. */
	struct {
		uint32_t len;
		uint8_t bytes[SIGNAL_MASK_BYTES];
	} arg = { .len = SIGNAL_MASK_BYTES };

	_Static_assert(offsetof(struct kvm_signal_mask, sigset) == sizeof(uint32_t), "linux/kvm.h");
	if (!mask)
		return cvmm_kvm_ioctl(vcpu->fd, KVM_SET_SIGNAL_MASK, NULL);
	memcpy(arg.bytes, mask, SIGNAL_MASK_BYTES);
	return cvmm_kvm_ioctl(vcpu->fd, KVM_SET_SIGNAL_MASK, &arg);
}

int cvmm_kvm_vcpu_get_regs(const struct cvmm_kvm_vcpu *vcpu, struct kvm_regs *ret_regs)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_GET_REGS, ret_regs);
}

int cvmm_kvm_vcpu_set_regs(const struct cvmm_kvm_vcpu *vcpu, const struct kvm_regs *regs)
{
	return kvm_ioctl_in(vcpu->fd, KVM_SET_REGS, regs);
}

int cvmm_kvm_vcpu_get_sregs(const struct cvmm_kvm_vcpu *vcpu, struct kvm_sregs *ret_sregs)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_GET_SREGS, ret_sregs);
}

int cvmm_kvm_vcpu_set_sregs(const struct cvmm_kvm_vcpu *vcpu, const struct kvm_sregs *sregs)
{
	return kvm_ioctl_in(vcpu->fd, KVM_SET_SREGS, sregs);
}

int cvmm_kvm_vcpu_get_fpu(const struct cvmm_kvm_vcpu *vcpu, struct kvm_fpu *ret_fpu)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_GET_FPU, ret_fpu);
}

int cvmm_kvm_vcpu_set_fpu(const struct cvmm_kvm_vcpu *vcpu, const struct kvm_fpu *fpu)
{
	return kvm_ioctl_in(vcpu->fd, KVM_SET_FPU, fpu);
}

int cvmm_kvm_vcpu_get_mp_state(const struct cvmm_kvm_vcpu *vcpu, uint32_t *ret_state)
{
	struct kvm_mp_state state;
	int ret = cvmm_kvm_ioctl(vcpu->fd, KVM_GET_MP_STATE, &state);

	if (!ret)
		*ret_state = state.mp_state;
	return ret;
}

int cvmm_kvm_vcpu_set_mp_state(const struct cvmm_kvm_vcpu *vcpu, uint32_t state)
{
	struct kvm_mp_state arg = { .mp_state = state };

	return cvmm_kvm_ioctl(vcpu->fd, KVM_SET_MP_STATE, &arg);
}

#ifdef __KVM_HAVE_VCPU_EVENTS
int cvmm_kvm_vcpu_get_events(const struct cvmm_kvm_vcpu *vcpu, struct kvm_vcpu_events *ret_events)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, ret_events);
}

int cvmm_kvm_vcpu_set_events(const struct cvmm_kvm_vcpu *vcpu, const struct kvm_vcpu_events *events)
{
	return kvm_ioctl_in(vcpu->fd, KVM_SET_VCPU_EVENTS, events);
}
#endif

int cvmm_kvm_vcpu_translate(const struct cvmm_kvm_vcpu *vcpu, struct kvm_translation *translation)
{
	return cvmm_kvm_ioctl(vcpu->fd, KVM_TRANSLATE, translation);
}

int cvmm_kvm_vcpu_set_guest_debug(const struct cvmm_kvm_vcpu *vcpu,
				  const struct kvm_guest_debug *debug)
{
	return kvm_ioctl_in(vcpu->fd, KVM_SET_GUEST_DEBUG, debug);
}

int cvmm_kvm_vcpu_pre_fault_memory(const struct cvmm_kvm_vcpu *vcpu,
				   struct cvmm_kvm_pre_fault_memory *range)
{
	return cvmm_kvm_ioctl(vcpu->fd, CVMM_KVM_PRE_FAULT_MEMORY, range);
}
