// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * The bus is as small as the machine: a few fixed ports, and one row of equal windows for virtio-mmio
 * devices, so that finding a device is a division. What nobody owns reads as ones, and ignores writes,
 * as on a PC.
 */
#include <cvmm/firmware.h>

#include "machine_internal.h"

/* ---- legacy devices ------------------------------------------------------------------------------ */

static size_t serial_write(void *ctx, const uint8_t *bytes, size_t len)
{
	struct cvmm_machine *m = ctx;

	if (m->config.serial_output)
		m->config.serial_output(m->config.ctx, bytes, len);
	return len;
}

static void serial_set_irq(void *ctx, bool level)
{
	struct cvmm_machine *m = ctx;

	(void)cvmm_kvm_vm_irq_line(&m->vm, SERIAL_GSI, level);
}

static void i8042_reset(void *ctx)
{
	cvmm_machine_report_stop(ctx, CVMM_MACHINE_RESET, "%s", "");
}

int cvmm_machine_init_legacy(struct cvmm_machine *m, struct cvmm_error *err)
{
	static const struct cvmm_serial_ops ops = {
		.size = sizeof(ops),
		.write = serial_write,
		.set_irq = serial_set_irq,
	};

	pthread_mutex_init(&m->legacy_lock, NULL);
	cvmm_i8042_init(&m->i8042, i8042_reset, m);
	return cvmm_serial_create(&ops, m, &m->serial, err);
}

void cvmm_machine_fini_legacy(struct cvmm_machine *m)
{
	cvmm_serial_destroy(m->serial);
	pthread_mutex_destroy(&m->legacy_lock);
}

/* ---- ports --------------------------------------------------------------------------------------- */

static void write_port(struct cvmm_machine *m, uint16_t port, uint8_t value)
{
	if (port == SLEEP_CONTROL_PORT) {
		if ((value & CVMM_FIRMWARE_SLEEP_MASK) == CVMM_FIRMWARE_SLEEP_S5_VALUE)
			cvmm_machine_report_stop(m, CVMM_MACHINE_POWERED_OFF, "%s", "");
	} else if (port == RESET_PORT) {
		if (value == RESET_VALUE)
			cvmm_machine_report_stop(m, CVMM_MACHINE_RESET, "%s", "");
	} else if (port == CVMM_FIRMWARE_PVPANIC_PORT) {
		if (value & 1)
			cvmm_machine_report_stop(m, CVMM_MACHINE_PANICKED, "%s", "");
	}
}

static uint8_t read_port(uint16_t port)
{
	if (port == SLEEP_STATUS_PORT || port == SLEEP_CONTROL_PORT)
		return 0;
	if (port == CVMM_FIRMWARE_PVPANIC_PORT)
		return 1; /* panic events are understood */
	return 0xff;
}

static bool is_serial(uint16_t port)
{
	return port >= SERIAL_PORT && port < SERIAL_PORT + SERIAL_PORTS;
}

static bool is_i8042(uint16_t port)
{
	return port == CVMM_I8042_BASE_PORT + CVMM_I8042_DATA ||
	       port == CVMM_I8042_BASE_PORT + CVMM_I8042_COMMAND;
}

static uint8_t access_byte(struct cvmm_machine *m, bool is_write, uint16_t port, uint8_t value)
{
	if (is_serial(port)) {
		pthread_mutex_lock(&m->legacy_lock);
		if (is_write)
			cvmm_serial_write(m->serial, port - SERIAL_PORT, value);
		else
			value = cvmm_serial_read(m->serial, port - SERIAL_PORT);
		pthread_mutex_unlock(&m->legacy_lock);
	} else if (is_i8042(port)) {
		pthread_mutex_lock(&m->legacy_lock);
		if (is_write)
			cvmm_i8042_write(&m->i8042, port - CVMM_I8042_BASE_PORT, value);
		else
			value = cvmm_i8042_read(&m->i8042, port - CVMM_I8042_BASE_PORT);
		pthread_mutex_unlock(&m->legacy_lock);
	} else if (is_write) {
		write_port(m, port, value);
	} else {
		value = read_port(port);
	}
	return value;
}

void cvmm_machine_pio(struct cvmm_machine *m, bool is_write, uint16_t port, unsigned int size,
		      uint32_t count, void *data)
{
	uint8_t *bytes = data;

	/* All our ports are a byte wide: a wider access is a row of bytes, at neighbouring ports. */
	for (uint32_t i = 0; i < count; i++, bytes += size)
		for (unsigned int b = 0; b < size; b++)
			bytes[b] = access_byte(m, is_write, (uint16_t)(port + b), bytes[b]);
}

/* ---- memory-mapped I/O ---------------------------------------------------------------------------- */

void cvmm_machine_mmio(struct cvmm_machine *m, bool is_write, uint64_t gpa, void *data,
		       unsigned int len)
{
	uint64_t offset = gpa - VIRTIO_MMIO_BASE;
	uint64_t index = offset / CVMM_VIRTIO_MMIO_LEN_BYTES;

	if (gpa < VIRTIO_MMIO_BASE || index >= m->slot_count) {
		if (!is_write)
			memset(data, 0xff, len);
		return;
	}
	offset %= CVMM_VIRTIO_MMIO_LEN_BYTES;
	if (is_write)
		cvmm_virtio_mmio_write(m->slots[index].mmio, offset, data, len);
	else
		cvmm_virtio_mmio_read(m->slots[index].mmio, offset, data, len);
}
