/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * cvmm firmware: ACPI tables (x86_64) from one description of the machine.
 *
 * The description says what the machine has, not how a table encodes it, so that other encodings (a
 * device tree) can be made from it. All of it comes from the VMM; a bad one is refused, with a
 * message.
 *
 * To the guest the machine is hardware-reduced: it will use neither PIT nor PM timer, not even to
 * measure the TSC. So it must learn the TSC's frequency elsewhere: kvmclock, CPUID, command line.
 *
 * Unstable (0.x): names and layouts may change between releases.
 */
#ifndef CVMM_FIRMWARE_H
#define CVMM_FIRMWARE_H

#include <cvmm/base.h>
#include <cvmm/mem.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Where x86 guests look for the RSDP when nobody tells them: on 16-byte boundaries of the BIOS
 * area. The E820 map must not call it usable RAM.
 */
#define CVMM_FIRMWARE_ACPI_GPA UINT64_C(0xe0000)
#define CVMM_FIRMWARE_ACPI_AREA_BYTES UINT64_C(0x20000)
#define CVMM_FIRMWARE_ACPI_GPA_ALIGN 16

#define CVMM_FIRMWARE_CPUS_MAX 4096
#define CVMM_FIRMWARE_VIRTIO_MMIO_MAX 4096
#define CVMM_FIRMWARE_SERIAL_MAX 32
#define CVMM_FIRMWARE_IRQ_OVERRIDES_MAX 16
#define CVMM_FIRMWARE_VENDOR_BYTES 8

/*
 * To power off, the guest writes CVMM_FIRMWARE_SLEEP_S5_VALUE to the sleep control port (other bits
 * may be set: look at those of CVMM_FIRMWARE_SLEEP_MASK). Before that it clears the wake bit by
 * writing CVMM_FIRMWARE_SLEEP_WAKE to the status port; reads of that port return 0.
 */
#define CVMM_FIRMWARE_SLEEP_S5_TYPE 5
#define CVMM_FIRMWARE_SLEEP_TYPE_SHIFT 2
#define CVMM_FIRMWARE_SLEEP_ENABLE 0x20
#define CVMM_FIRMWARE_SLEEP_MASK 0x3c
#define CVMM_FIRMWARE_SLEEP_S5_VALUE 0x34
#define CVMM_FIRMWARE_SLEEP_WAKE 0x80

/* What QEMU's pvpanic device uses; any port will do, the guest learns it from the tables. */
#define CVMM_FIRMWARE_PVPANIC_PORT 0x505

enum cvmm_firmware_trigger {
	CVMM_FIRMWARE_EDGE,  /* rising edge */
	CVMM_FIRMWARE_LEVEL, /* active high */
};

/* Legacy parts that a PC guest would otherwise probe for or take for granted. */
enum cvmm_firmware_legacy {
	CVMM_FIRMWARE_HAS_ISA_DEVICES = 1 << 0, /* user-visible devices on an ISA or LPC bus */
	CVMM_FIRMWARE_HAS_I8042 = 1 << 1,	/* keyboard controller that answers probes */
	CVMM_FIRMWARE_HAS_VGA = 1 << 2,
	CVMM_FIRMWARE_HAS_CMOS_RTC = 1 << 3,
	CVMM_FIRMWARE_HAS_PIC = 1 << 4, /* pair of 8259s */
};

#define CVMM_FIRMWARE_LEGACY_ALL 0x1f

/**
 * struct cvmm_firmware_virtio_mmio - a virtio device's register window
 * @gpa: first byte; the window must end at or below 4 GiB
 * @len_bytes: length, not 0
 * @gsi: global system interrupt
 * @trigger: how the VMM drives that interrupt
 */
struct cvmm_firmware_virtio_mmio {
	cvmm_gpa gpa;
	uint32_t len_bytes;
	uint32_t gsi;
	enum cvmm_firmware_trigger trigger;
};

/**
 * struct cvmm_firmware_serial - a 16550A at 8 I/O ports
 * @port: first port, e.g. 0x3f8
 * @gsi: global system interrupt, e.g. 4
 * @trigger: CVMM_FIRMWARE_EDGE is what PC guests expect of an ISA interrupt
 */
struct cvmm_firmware_serial {
	uint16_t port;
	uint32_t gsi;
	enum cvmm_firmware_trigger trigger;
};

/**
 * struct cvmm_firmware_irq_override - an ISA interrupt that is not identity-mapped, edge, high
 * @isa_irq: 0 to 15
 * @gsi: where it is wired to
 * @trigger: how it is driven
 */
struct cvmm_firmware_irq_override {
	uint8_t isa_irq;
	uint32_t gsi;
	enum cvmm_firmware_trigger trigger;
};

/**
 * struct cvmm_firmware_machine - what the guest must be told about the machine
 * @cpu_count: CPUs, 1 to CVMM_FIRMWARE_CPUS_MAX
 * @apic_ids: @cpu_count ids, strictly ascending; NULL: 0, 1, 2 …
 * @lapic_gpa: local APICs' window, below 4 GiB; usually 0xfee00000
 * @ioapic_gpa: IOAPIC's window, below 4 GiB; usually 0xfec00000. 0: no IOAPIC
 * @ioapic_id: its id
 * @ioapic_gsi_base: the GSI of its pin 0
 * @virtio_mmio: @virtio_mmio_count devices, in the order the guest should find them
 * @serial: @serial_count ports, ttyS0 first
 * @irq_overrides: @irq_override_count overrides
 * @legacy: CVMM_FIRMWARE_HAS_… bits; 0 for none
 * @reset_port: byte-wide port that resets the machine, 0: none (i8042: 0x64)
 * @reset_value: what to write there (i8042: 0xfe)
 * @sleep_control_port: byte-wide port, see CVMM_FIRMWARE_SLEEP_S5_VALUE; 0: guest cannot power off
 * @sleep_status_port: byte-wide port; not 0 if @sleep_control_port is not
 * @pvpanic_port: byte-wide panic notification port, 0: none
 * @hypervisor_vendor: identity for the FADT, NUL-padded, not terminated if it is 8 long
 *
 * Zero-initialise, then set what the machine has. The arrays are read during the call only.
 */
struct cvmm_firmware_machine {
	uint32_t cpu_count;
	const uint32_t *apic_ids;
	cvmm_gpa lapic_gpa;
	cvmm_gpa ioapic_gpa;
	uint8_t ioapic_id;
	uint32_t ioapic_gsi_base;
	const struct cvmm_firmware_virtio_mmio *virtio_mmio;
	size_t virtio_mmio_count;
	const struct cvmm_firmware_serial *serial;
	size_t serial_count;
	const struct cvmm_firmware_irq_override *irq_overrides;
	size_t irq_override_count;
	uint32_t legacy;
	uint16_t reset_port;
	uint8_t reset_value;
	uint16_t sleep_control_port;
	uint16_t sleep_status_port;
	uint16_t pvpanic_port;
	char hypervisor_vendor[CVMM_FIRMWARE_VENDOR_BYTES];
};

/**
 * cvmm_firmware_acpi_build() - make the ACPI tables in a host buffer
 * @machine: the description (controlled by the VMM)
 * @buf: @cap_bytes bytes; unspecified content on failure
 * @cap_bytes: room; CVMM_FIRMWARE_ACPI_AREA_BYTES is enough for 1024 CPUs and 256 devices
 * @gpa: where the guest will see @buf, a multiple of CVMM_FIRMWARE_ACPI_GPA_ALIGN
 * @ret_len_bytes: bytes used
 * @ret_rsdp: address of the RSDP; give it to the guest where the boot protocol has a field for it
 * @err: optional
 *
 * The tables: RSDP (revision 2), XSDT, hardware-reduced FADT, MADT and DSDT. No RSDT, no FACS.
 *
 * Return: 0; -EINVAL for a bad description; -ENOSPC if @cap_bytes is too small.
 * Context: any thread; pure. Spec: ACPI 6.5 chapters 4.1, 5.2, 6 and 20.
 */
CVMM_API int cvmm_firmware_acpi_build(const struct cvmm_firmware_machine *machine, void *buf,
				      size_t cap_bytes, cvmm_gpa gpa, size_t *ret_len_bytes,
				      cvmm_gpa *ret_rsdp, struct cvmm_error *err);

/**
 * cvmm_firmware_acpi_write() - make the ACPI tables in guest memory
 * @mem: guest memory, which must have RAM at the whole area
 * @machine: the description
 * @gpa: start of the area, usually cvmm_gpa_from(CVMM_FIRMWARE_ACPI_GPA)
 * @area_bytes: its size, usually CVMM_FIRMWARE_ACPI_AREA_BYTES
 * @ret_rsdp: address of the RSDP
 * @err: optional
 *
 * Only the bytes that the tables need are written. On failure guest memory is unchanged.
 *
 * Return: as cvmm_firmware_acpi_build(), or -EFAULT if the area is not RAM, or -ENOMEM.
 * Context: any thread.
 */
CVMM_API int cvmm_firmware_acpi_write(const struct cvmm_mem *mem,
				      const struct cvmm_firmware_machine *machine, cvmm_gpa gpa,
				      size_t area_bytes, cvmm_gpa *ret_rsdp,
				      struct cvmm_error *err);

#ifdef __cplusplus
}
#endif

#endif /* CVMM_FIRMWARE_H */
