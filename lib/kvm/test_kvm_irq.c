// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The kernel's interrupt controllers: lines, irqfds, MSIs and the routes between them. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "test_kvm_util.h"

#if defined(__x86_64__)

#define GSI 4U
#define TIMEOUT_MS 20000 /* not a measure: when to call it lost */

#define APIC_SPURIOUS 0xf0U
#define APIC_ENABLE 0x100U
#define APIC_IRR 0x200U
#define MSI_ADDRESS 0xfee00000U

/* Interrupt GSI arrives at vector GSI, for nobody set up the controllers: a handler at SCRATCH. */
static const uint8_t wait_code[] = {
	0xfb,			      /* sti */
	0x80, 0x3e, 0x00, 0x30, 0x00, /* l: cmp byte [0x3000], 0 */
	0x74, 0xf9,		      /* jz l */
	0xe6, 0x50,		      /* out 0x50, al */
	0xf4,			      /* hlt */
};

static const uint8_t handler_code[] = {
	0xfe, 0x06, 0x00, 0x30, /* inc byte [0x3000] */
	0xb0, 0x20,		/* mov al, 0x20 */
	0xe6, 0x20,		/* out 0x20, al: end of interrupt */
	0xcf,			/* iret */
};

static int make_event(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

static uint64_t signals_of(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == (ssize_t)sizeof(n) ? n : 0;
}

static void start_with_irqchip(struct guest *guest)
{
	guest_make_vm(guest);
	assert_ok(cvmm_kvm_vm_create_irqchip(&guest->vm));
	guest_make_vcpu(guest, wait_code, sizeof(wait_code));
	memcpy(guest->ram + SCRATCH, handler_code, sizeof(handler_code));
	cvmm_put_le16(guest->ram + GSI * 4, SCRATCH);
}

static void must_be_interrupted_once(struct guest *guest)
{
	struct cvmm_kvm_exit exit = guest_run(guest);

	assert_int_equal(exit.type, CVMM_KVM_EXIT_IO);
	assert_int_equal(exit.io.port, 0x50);
	assert_int_equal(guest->ram[0x3000], 1);
}

/* What waits at the first of the two old controllers. */
static uint8_t waiting_at_pic(struct guest *guest)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_PIC_MASTER };

	assert_ok(cvmm_kvm_vm_get_irqchip(&guest->vm, &chip));
	return chip.chip.pic.irr;
}

static void a_line_interrupts_the_guest(void **state)
{
	struct guest guest;

	(void)state;
	start_with_irqchip(&guest);
	assert_ok(cvmm_kvm_vm_irq_line(&guest.vm, GSI, true));
	assert_int_equal(waiting_at_pic(&guest), 1U << GSI);
	assert_ok(cvmm_kvm_vm_irq_line(&guest.vm, GSI, false));
	must_be_interrupted_once(&guest);
	assert_int_equal(waiting_at_pic(&guest), 0);
	guest_stop(&guest);
}

static void a_line_without_controllers_is_refused(void **state)
{
	struct guest guest;

	(void)state;
	guest_make_vm(&guest);
	assert_int_equal(cvmm_kvm_vm_irq_line(&guest.vm, GSI, true), -ENXIO);
	guest_stop(&guest);
}

static void an_irqfd_interrupts_the_guest(void **state)
{
	struct guest guest;
	int fd = make_event();

	(void)state;
	start_with_irqchip(&guest);
	assert_ok(cvmm_kvm_vm_irqfd(&guest.vm, fd, GSI, -1));
	assert_int_equal(cvmm_kvm_vm_irqfd(&guest.vm, fd, GSI, -1), -EBUSY);
	assert_ok(eventfd_write(fd, 1));
	must_be_interrupted_once(&guest);
	guest_stop(&guest);
	close(fd);
}

static void a_removed_irqfd_does_nothing(void **state)
{
	struct guest guest;
	int fd = make_event();

	(void)state;
	start_with_irqchip(&guest);
	assert_ok(cvmm_kvm_vm_irqfd(&guest.vm, fd, GSI, -1));
	assert_ok(cvmm_kvm_vm_irqfd_remove(&guest.vm, fd, GSI));
	assert_ok(eventfd_write(fd, 1));
	assert_int_equal(waiting_at_pic(&guest), 0);
	/* KVM would have taken the signal. */
	assert_int_equal(signals_of(fd), 1);
	guest_stop(&guest);
	close(fd);
}

static void an_irqfd_that_is_no_eventfd_is_refused(void **state)
{
	struct guest guest;

	(void)state;
	start_with_irqchip(&guest);
	assert_int_equal(cvmm_kvm_vm_irqfd(&guest.vm, guest.vm.fd, GSI, -1), -EINVAL);
	assert_int_equal(cvmm_kvm_vm_irqfd(&guest.vm, -1, GSI, -1), -EBADF);
	guest_stop(&guest);
}

static void the_end_of_a_level_interrupt_signals_resampling(void **state)
{
	struct pollfd resample = { .fd = make_event(), .events = POLLIN };
	struct guest guest;
	int fd = make_event();

	(void)state;
	start_with_irqchip(&guest);
	if (cvmm_kvm_vm_check_extension(&guest.vm, KVM_CAP_IRQFD_RESAMPLE) <= 0)
		SKIP("this KVM does not resample");
	assert_ok(cvmm_kvm_vm_irqfd(&guest.vm, fd, GSI, resample.fd));
	assert_ok(eventfd_write(fd, 1));
	assert_int_equal(signals_of(resample.fd), 0);
	must_be_interrupted_once(&guest);
	assert_int_equal(poll(&resample, 1, TIMEOUT_MS), 1);
	assert_int_equal(signals_of(resample.fd), 1);
	assert_ok(cvmm_kvm_vm_irqfd_remove(&guest.vm, fd, GSI));
	guest_stop(&guest);
	close(fd);
	close(resample.fd);
}

/* ---- messages -------------------------------------------------------------------------------- */

static uint32_t lapic_register(struct guest *guest, uint32_t offset)
{
	struct kvm_lapic_state lapic;

	assert_ok(cvmm_kvm_vcpu_get_lapic(&guest->vcpu, &lapic));
	return cvmm_get_le32(lapic.regs + offset);
}

static bool vector_waits(struct guest *guest, uint32_t vector)
{
	return lapic_register(guest, APIC_IRR + vector / 32 * 16) >> vector % 32 & 1;
}

static void enable_lapic(struct guest *guest)
{
	struct kvm_lapic_state lapic;

	assert_ok(cvmm_kvm_vcpu_get_lapic(&guest->vcpu, &lapic));
	cvmm_put_le32(lapic.regs + APIC_SPURIOUS, APIC_ENABLE | 0xff);
	assert_ok(cvmm_kvm_vcpu_set_lapic(&guest->vcpu, &lapic));
	assert_int_equal(lapic_register(guest, APIC_SPURIOUS), APIC_ENABLE | 0xff);
}

static void a_message_waits_at_its_vector(void **state)
{
	struct kvm_msi msi = { .address_lo = MSI_ADDRESS, .data = 0x45 };
	struct guest guest;

	(void)state;
	start_with_irqchip(&guest);
	/* The guest has its controller off. */
	assert_int_equal(cvmm_kvm_vm_signal_msi(&guest.vm, &msi), 0);
	enable_lapic(&guest);
	assert_int_equal(cvmm_kvm_vm_signal_msi(&guest.vm, &msi), 1);
	assert_true(vector_waits(&guest, 0x45));
	assert_false(vector_waits(&guest, 0x46));
	guest_stop(&guest);
}

/* A table of one route. */
union routes {
	struct kvm_irq_routing table;
	uint8_t bytes[sizeof(struct kvm_irq_routing) + sizeof(struct kvm_irq_routing_entry)];
};

static void route_to_msi(struct guest *guest, uint32_t gsi, uint32_t vector)
{
	union routes routes = { .table = { .nr = 1 } };

	routes.table.entries[0] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi = { .address_lo = MSI_ADDRESS, .data = vector },
	};
	assert_ok(cvmm_kvm_vm_set_gsi_routing(&guest->vm, &routes.table));
}

static void a_route_replaces_all_others(void **state)
{
	struct guest guest;

	(void)state;
	start_with_irqchip(&guest);
	enable_lapic(&guest);
	route_to_msi(&guest, 200, 0x51);
	assert_ok(cvmm_kvm_vm_irq_line(&guest.vm, GSI, true));
	assert_int_equal(waiting_at_pic(&guest), 0);
	assert_ok(cvmm_kvm_vm_irq_line(&guest.vm, 200, true));
	assert_true(vector_waits(&guest, 0x51));
	route_to_msi(&guest, 200, 0x52);
	assert_ok(cvmm_kvm_vm_irq_line(&guest.vm, 200, true));
	assert_true(vector_waits(&guest, 0x52));
	guest_stop(&guest);
}

static void routes_that_make_no_sense_are_refused(void **state)
{
	union routes routes = { .table = { .nr = 1 } };
	struct guest guest;

	(void)state;
	start_with_irqchip(&guest);
	routes.table.entries[0] = (struct kvm_irq_routing_entry){ .type = 4711 };
	assert_int_equal(cvmm_kvm_vm_set_gsi_routing(&guest.vm, &routes.table), -EINVAL);
	routes.table.entries[0] = (struct kvm_irq_routing_entry){
		.gsi = 1U << 20,
		.type = KVM_IRQ_ROUTING_MSI,
	};
	assert_int_equal(cvmm_kvm_vm_set_gsi_routing(&guest.vm, &routes.table), -EINVAL);
	routes.table.nr = UINT32_MAX;
	assert_int_equal(cvmm_kvm_vm_set_gsi_routing(&guest.vm, &routes.table), -EINVAL);
	guest_stop(&guest);
}

/* ---- the controllers and the timer ----------------------------------------------------------- */

static void controllers_keep_what_is_set(void **state)
{
	static const uint32_t chips[] = {
		KVM_IRQCHIP_PIC_MASTER,
		KVM_IRQCHIP_PIC_SLAVE,
		KVM_IRQCHIP_IOAPIC,
	};
	/* KVM fills only as much of the union as the chip has. */
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_PIC_MASTER }, got = { 0 };
	struct guest guest;

	(void)state;
	start_with_irqchip(&guest);
	assert_ok(cvmm_kvm_vm_get_irqchip(&guest.vm, &chip));
	chip.chip.pic.imr = 0x5a;
	assert_ok(cvmm_kvm_vm_set_irqchip(&guest.vm, &chip));
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(chips); i++) {
		memset(&chip, 0, sizeof(chip));
		memset(&got, 0, sizeof(got));
		chip.chip_id = got.chip_id = chips[i];
		assert_ok(cvmm_kvm_vm_get_irqchip(&guest.vm, &chip));
		assert_ok(cvmm_kvm_vm_set_irqchip(&guest.vm, &chip));
		assert_ok(cvmm_kvm_vm_get_irqchip(&guest.vm, &got));
		assert_memory_equal(&chip.chip, &got.chip, sizeof(chip.chip));
		if (chips[i] == KVM_IRQCHIP_PIC_MASTER)
			assert_int_equal(got.chip.pic.imr, 0x5a);
	}
	chip.chip_id = 4711;
	assert_int_equal(cvmm_kvm_vm_get_irqchip(&guest.vm, &chip), -EINVAL);
	guest_stop(&guest);
}

static void controllers_are_made_once_and_before_cpus(void **state)
{
	struct guest guest;

	(void)state;
	start_with_irqchip(&guest);
	assert_int_equal(cvmm_kvm_vm_create_irqchip(&guest.vm), -EEXIST);
	guest_stop(&guest);
	guest_start(&guest, wait_code);
	assert_int_equal(cvmm_kvm_vm_create_irqchip(&guest.vm), -EINVAL);
	guest_stop(&guest);
}

static void split_controllers_leave_the_lapic_in_the_kernel(void **state)
{
	struct kvm_msi msi = { .address_lo = MSI_ADDRESS, .data = 0x45 };
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
	struct guest guest;

	(void)state;
	guest_make_vm(&guest);
	assert_ok(cvmm_kvm_vm_enable_split_irqchip(&guest.vm, 24));
	assert_int_equal(cvmm_kvm_vm_create_irqchip(&guest.vm), -EEXIST);
	assert_int_equal(cvmm_kvm_vm_get_irqchip(&guest.vm, &chip), -ENXIO);
	guest_make_vcpu(&guest, wait_code, sizeof(wait_code));
	enable_lapic(&guest);
	assert_int_equal(cvmm_kvm_vm_signal_msi(&guest.vm, &msi), 1);
	assert_true(vector_waits(&guest, 0x45));
	guest_stop(&guest);
}

static void the_timer_keeps_what_is_set(void **state)
{
	const struct kvm_pit_config config = { 0 };
	struct kvm_pit_state2 pit, got;
	struct guest guest;

	(void)state;
	guest_make_vm(&guest);
	assert_ok(cvmm_kvm_vm_create_irqchip(&guest.vm));
	assert_int_equal(cvmm_kvm_vm_get_pit2(&guest.vm, &pit), -ENXIO);
	assert_ok(cvmm_kvm_vm_create_pit2(&guest.vm, &config));
	assert_ok(cvmm_kvm_vm_get_pit2(&guest.vm, &pit));
	pit.channels[2].count = 0x1234;
	pit.channels[2].mode = 3;
	assert_ok(cvmm_kvm_vm_set_pit2(&guest.vm, &pit));
	assert_ok(cvmm_kvm_vm_get_pit2(&guest.vm, &got));
	assert_int_equal(got.channels[2].count, 0x1234);
	assert_int_equal(got.channels[2].mode, 3);
	guest_stop(&guest);
}
#endif /* __x86_64__ */

int main(void)
{
#if defined(__x86_64__)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_interrupts_the_guest),
		cmocka_unit_test(a_line_without_controllers_is_refused),
		cmocka_unit_test(an_irqfd_interrupts_the_guest),
		cmocka_unit_test(a_removed_irqfd_does_nothing),
		cmocka_unit_test(an_irqfd_that_is_no_eventfd_is_refused),
		cmocka_unit_test(the_end_of_a_level_interrupt_signals_resampling),
		cmocka_unit_test(a_message_waits_at_its_vector),
		cmocka_unit_test(a_route_replaces_all_others),
		cmocka_unit_test(routes_that_make_no_sense_are_refused),
		cmocka_unit_test(controllers_keep_what_is_set),
		cmocka_unit_test(controllers_are_made_once_and_before_cpus),
		cmocka_unit_test(split_controllers_leave_the_lapic_in_the_kernel),
		cmocka_unit_test(the_timer_keeps_what_is_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
#else
	printf("skipped: the guests are made of x86 instructions\n");
	return 77;
#endif
}
