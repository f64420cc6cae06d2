// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The block device behind virtio-mmio, with a loop thread and a driver on a thread of its own. */
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "../../tests/support/descriptors.h"
#include "../../tests/support/device_harness.h"
#include "blk_internal.h"

#define DISK_SECTORS 128U
#define QUEUE_SIZE 64U

/* Registers, VIRTIO 1.3, 4.2.2. */
#define DRIVER_FEATURES 0x020
#define DRIVER_FEATURES_SEL 0x024
#define QUEUE_SEL 0x030
#define QUEUE_NUM 0x038
#define QUEUE_READY 0x044
#define STATUS 0x070
#define QUEUE_DESC 0x080
#define QUEUE_DRIVER 0x090
#define QUEUE_DEVICE 0x0a0
#define QUEUE_RESET 0x0c0
#define STATUS_RUNNING 15U

struct vm {
	int fd;
	struct cvmm_blk *blk;
	struct cvmm_mem *mem;
	struct cvmm_mem_space *space;
	struct cvmm_loop *loop;
	struct cvmm_virtio_mmio *mmio;
	pthread_t thread;
	atomic_uint interrupts;
	struct driver_ring ring;
};

static void on_interrupt(void *ctx)
{
	struct vm *vm = ctx;

	atomic_fetch_add(&vm->interrupts, 1);
}

static void *run_loop(void *arg)
{
	struct vm *vm = arg;

	return (void *)(intptr_t)cvmm_loop_run(vm->loop);
}

static void vm_init(struct vm *vm)
{
	struct cvmm_virtio_mmio_config c = { .ops = &cvmm_blk_ops, .interrupt = on_interrupt };
	struct cvmm_blk_config blk = { 0 };

	memset(vm, 0, sizeof(*vm));
	vm->fd = test_file();
	assert_true(vm->fd >= 0);
	assert_int_equal(ftruncate(vm->fd, DISK_SECTORS * CVMM_BLK_SECTOR_BYTES), 0);
	blk.fd = vm->fd;
	assert_int_equal(cvmm_blk_create(&blk, &vm->blk, NULL), 0);
	vm->mem = harness_make_mem();
	assert_int_equal(cvmm_mem_space_create(vm->mem, &vm->space), 0);
	assert_int_equal(cvmm_loop_create(CVMM_LOOP_AUTO, &vm->loop), 0);
	c.dev = vm->blk;
	c.space = vm->space;
	c.loop = vm->loop;
	c.interrupt_ctx = vm;
	assert_int_equal(cvmm_virtio_mmio_create(&c, &vm->mmio, NULL), 0);
	cvmm_loop_disown(vm->loop); /* calls wait for its thread from now on */
	assert_int_equal(pthread_create(&vm->thread, NULL, run_loop, vm), 0);
}

static void vm_fini(struct vm *vm)
{
	cvmm_loop_stop(vm->loop);
	pthread_join(vm->thread, NULL);
	cvmm_virtio_mmio_destroy(vm->mmio);
	cvmm_blk_destroy(vm->blk);
	cvmm_loop_destroy(vm->loop);
	cvmm_mem_space_destroy(vm->space);
	cvmm_mem_unref(vm->mem);
	close(vm->fd);
}

static void wr(struct vm *vm, uint64_t offset, uint32_t value)
{
	uint8_t data[4];

	cvmm_put_le32(data, value);
	cvmm_virtio_mmio_write(vm->mmio, offset, data, sizeof(data));
}

static void wr64(struct vm *vm, uint64_t offset, uint64_t value)
{
	wr(vm, offset, (uint32_t)value);
	wr(vm, offset + 4, (uint32_t)(value >> 32));
}

static void set_up_queue(struct vm *vm)
{
	driver_ring_init(&vm->ring, vm->mem, HARNESS_MEM_BASE, QUEUE_SIZE);
	wr(vm, QUEUE_SEL, 0);
	wr(vm, QUEUE_NUM, QUEUE_SIZE);
	wr64(vm, QUEUE_DESC, vm->ring.desc);
	wr64(vm, QUEUE_DRIVER, vm->ring.avail);
	wr64(vm, QUEUE_DEVICE, vm->ring.used);
	wr(vm, QUEUE_READY, 1);
}

static void bring_up(struct vm *vm, uint64_t features)
{
	wr(vm, STATUS, 0);
	wr(vm, STATUS, 1);
	wr(vm, STATUS, 3);
	wr(vm, DRIVER_FEATURES_SEL, 0);
	wr(vm, DRIVER_FEATURES, (uint32_t)features);
	wr(vm, DRIVER_FEATURES_SEL, 1);
	wr(vm, DRIVER_FEATURES, (uint32_t)(features >> 32));
	wr(vm, STATUS, 11);
	set_up_queue(vm);
	wr(vm, STATUS, STATUS_RUNNING);
	assert_int_equal(cvmm_virtio_mmio_status(vm->mmio), STATUS_RUNNING);
}

#define FEATURES                                        \
	(CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_VERSION_1) | \
	 CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_RING_RESET) | CVMM_VIRTIO_FEATURE(BLK_F_FLUSH))

/* Guest memory of request @i. */
static uint64_t header_of(unsigned int i)
{
	return HARNESS_MEM_BASE + 0x100000 + i * 0x1000;
}

static void submit(struct vm *vm, unsigned int i, uint32_t type, uint64_t sector)
{
	struct blk_header header = { .type = cvmm_le32_from(type),
				     .sector = cvmm_le64_from(sector) };
	uint64_t at = header_of(i);
	struct harness_buf bufs[3] = {
		{ at, sizeof(header), false },
		{ at + 0x200, CVMM_BLK_SECTOR_BYTES, type == BLK_T_IN },
		{ at + 0x800, 1, true },
	};

	harness_must(!cvmm_mem_write(vm->mem, cvmm_gpa_from(at), &header, sizeof(header)));
	driver_ring_submit(&vm->ring, bufs, 3);
	wr(vm, CVMM_VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

static void wait_used(struct vm *vm)
{
	uint64_t deadline = cvmm_clock_ns() + HARNESS_DEADLINE_NS;

	while (!driver_ring_take_used(&vm->ring, NULL, NULL)) {
		harness_must(cvmm_clock_ns() < deadline);
		sched_yield();
	}
}

static void run_io(struct vm *vm)
{
	uint8_t byte = 0;

	harness_must(!cvmm_mem_fill(vm->mem, cvmm_gpa_from(header_of(0) + 0x200), 0x42,
				    CVMM_BLK_SECTOR_BYTES));
	for (unsigned int sector = 0; sector < DISK_SECTORS; sector++) {
		submit(vm, 0, BLK_T_OUT, sector);
		wait_used(vm);
		submit(vm, 1, BLK_T_IN, sector);
		wait_used(vm);
		harness_must(!cvmm_mem_read(vm->mem, cvmm_gpa_from(header_of(1) + 0x200 + 511),
					    &byte, 1));
		assert_int_equal(byte, 0x42);
		harness_must(
			!cvmm_mem_write(vm->mem, cvmm_gpa_from(header_of(1) + 0x200 + 511), "", 1));
	}
}

static void requests_pass_through_registers_loop_and_worker(void **state)
{
	struct vm vm;

	(void)state;
	vm_init(&vm);
	bring_up(&vm, FEATURES);
	run_io(&vm);
	vm_fini(&vm);
	assert_true(atomic_load(&vm.interrupts) > 0);
}

static void requests_pass_with_event_idx(void **state)
{
	struct vm vm;

	(void)state;
	vm_init(&vm);
	bring_up(&vm, FEATURES | CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_EVENT_IDX) |
			      CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_INDIRECT_DESC));
	run_io(&vm);
	vm_fini(&vm);
}

static void resets_with_requests_in_flight_are_survived(void **state)
{
	struct vm vm;

	(void)state;
	vm_init(&vm);
	for (unsigned int round = 0; round < 50; round++) {
		bring_up(&vm, FEATURES);
		for (unsigned int i = 0; i < QUEUE_SIZE / 3; i++)
			submit(&vm, i, i % 2 ? BLK_T_IN : BLK_T_OUT, i);
		if (round % 2) {
			wr(&vm, QUEUE_RESET, 1);
			set_up_queue(&vm);
			submit(&vm, 0, BLK_T_IN, 0);
			wait_used(&vm);
		}
	}
	wr(&vm, STATUS, 0);
	vm_fini(&vm);
}

static void the_transport_can_go_with_requests_in_flight(void **state)
{
	struct vm vm;

	(void)state;
	for (unsigned int round = 0; round < 10; round++) {
		vm_init(&vm);
		bring_up(&vm, FEATURES);
		for (unsigned int i = 0; i < QUEUE_SIZE / 3; i++)
			submit(&vm, i, BLK_T_OUT, i);
		vm_fini(&vm);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_pass_through_registers_loop_and_worker),
		cmocka_unit_test(requests_pass_with_event_idx),
		cmocka_unit_test(resets_with_requests_in_flight_are_survived),
		cmocka_unit_test(the_transport_can_go_with_requests_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
