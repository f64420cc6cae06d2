// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * A disk behind virtio-mmio and the proxy, whose program is killed over and over again while a driver writes and
 * reads: each request must come back once, and with the right data. The driver looks at its ring when
 * there was an interrupt, and at no other time: one that is lost is a failure, too.
 *
 * QEMU's program has no inflight region and gives back in any order, so that nobody can know what it had:
 * then the device may ask for a reset instead, after which the driver begins anew.
 *
 * The environment names the program: CVMM_TEST_BLK or CVMM_TEST_QSD, which is a qemu-storage-daemon.
 * CVMM_TEST_KILLS is how often it dies in each test.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <cvmm/vhost-user-proxy.h>
#include <cvmm/virtq_driver.h>

#define F(name) CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_##name)

#define RAM_GPA UINT64_C(0x100000)
#define RAM_BYTES (UINT64_C(4) << 20)
#define QUEUE_SIZE 64U
#define SLOTS 20U
#define SLOT_BYTES 0x2000U
#define SLOTS_AT 0x100000U
#define BLOCK_BYTES 4096U
#define BLOCKS 256U
#define KILLS_DEFAULT 8U
#define DEADLINE_MS 120000

/* Registers of virtio-mmio, VIRTIO 1.3, 4.2.2. */
#define DEVICE_FEATURES 0x010
#define DEVICE_FEATURES_SEL 0x014
#define DRIVER_FEATURES 0x020
#define DRIVER_FEATURES_SEL 0x024
#define QUEUE_SEL 0x030
#define QUEUE_NUM 0x038
#define QUEUE_READY 0x044
#define STATUS 0x070
#define QUEUE_DESC 0x080
#define QUEUE_DRIVER 0x090
#define QUEUE_DEVICE 0x0a0

/* struct virtio_blk_req, 5.2.6. */
struct header {
	cvmm_le32 type; /* 0 reads, 1 writes */
	cvmm_le32 reserved;
	cvmm_le64 sector;
};

/* One request, and its place in guest memory: header, status, data. */
struct slot {
	bool in_flight;
	bool is_write;
	unsigned int block;
	uint32_t version;
};

struct vm {
	char dir[64], image[80], socket[80];
	pid_t program;
	struct cvmm_vhost_user_proxy *proxy;
	struct cvmm_mem *mem;
	struct cvmm_mem_space *space;
	uint8_t *ram;
	struct cvmm_loop *loop;
	pthread_t thread;
	struct cvmm_virtio_mmio *mmio;
	struct cvmm_notifier interrupt;
	struct cvmm_virtq_driver drv;
	struct slot slots[SLOTS];
	unsigned int in_flight;
	uint32_t versions[BLOCKS]; /* of what was written last, and came back */
	uint32_t perhaps[BLOCKS];  /* of what was being written at a reset, or 0 */
	bool busy[BLOCKS];
	uint32_t last_version;
	unsigned int completed;
	uint64_t features;
	unsigned int resets;
};

/* ---- the program --------------------------------------------------------------------------------- */

static void exec_ours(const struct vm *vm, const char *program)
{
	execl(program, program, "--image", vm->image, "--socket-path", vm->socket, "--sandbox",
	      "none", "--log-level", "error", NULL);
}

static void exec_qemu(const struct vm *vm, const char *program)
{
	char disk[160], export[240];

	snprintf(disk, sizeof(disk), "driver=file,node-name=disk,locking=off,filename=%s",
		 vm->image);
	snprintf(export, sizeof(export),
		 "type=vhost-user-blk,id=export,node-name=disk,writable=on,addr.type=unix,"
		 "addr.path=%s",
		 vm->socket);
	execl(program, program, "--blockdev", disk, "--export", export, NULL);
}

static void start_program(struct vm *vm)
{
	const char *ours = getenv("CVMM_TEST_BLK"), *qemu = getenv("CVMM_TEST_QSD");

	unlink(vm->socket);
	vm->program = fork();
	assert_true(vm->program >= 0);
	if (vm->program)
		return;
	if (qemu)
		exec_qemu(vm, qemu);
	else
		exec_ours(vm, ours);
	_exit(127);
}

static void kill_program(struct vm *vm)
{
	int status;

	assert_int_equal(kill(vm->program, SIGKILL), 0);
	assert_int_equal(waitpid(vm->program, &status, 0), vm->program);
	/* It must not have ended by itself. */
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	vm->program = 0;
}

/* ---- the machine --------------------------------------------------------------------------------- */

static void raise_interrupt(void *ctx)
{
	(void)cvmm_notifier_signal(&((struct vm *)ctx)->interrupt);
}

static void *run_loop(void *arg)
{
	return (void *)(intptr_t)cvmm_loop_run(((struct vm *)arg)->loop);
}

static void make_files(struct vm *vm)
{
	int fd;

	snprintf(vm->dir, sizeof(vm->dir), "%s/cvmm-kill.XXXXXX",
		 strlen(P_tmpdir) < 32 ? P_tmpdir : ".");
	assert_non_null(mkdtemp(vm->dir));
	snprintf(vm->image, sizeof(vm->image), "%s/image", vm->dir);
	snprintf(vm->socket, sizeof(vm->socket), "%s/socket", vm->dir);
	fd = open(vm->image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)BLOCKS * BLOCK_BYTES), 0);
	close(fd);
}

static void make_memory(struct vm *vm)
{
	struct cvmm_mem_config ram = { .gpa = cvmm_gpa_from(RAM_GPA),
				       .len_bytes = RAM_BYTES,
				       .kind = CVMM_MEM_MEMFD,
				       .access = CVMM_ACCESS_READ_WRITE };

	assert_int_equal(cvmm_mem_create(&ram, 1, &vm->mem, NULL), 0);
	assert_int_equal(cvmm_mem_space_create(vm->mem, &vm->space), 0);
	vm->ram = cvmm_mem_region_at(vm->mem, 0)->host;
}

static void write_log(void *ctx, enum cvmm_log_level level, const char *message)
{
	(void)ctx;
	if (level <= CVMM_LOG_ERROR || getenv("CVMM_TEST_VERBOSE"))
		print_message("%s\n", message);
}

static const struct cvmm_log log_to_stderr = { write_log, NULL, CVMM_LOG_DEBUG };

static int make_vm(void **state)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	struct cvmm_vhost_user_proxy_config config = {
		.device_id = CVMM_VIRTIO_ID_BLOCK,
		.queue_size = QUEUE_SIZE,
		.connect_timeout_ms = DEADLINE_MS,
		.reconnect_timeout_ms = DEADLINE_MS,
		.request_timeout_ms = DEADLINE_MS,
		.log = &log_to_stderr,
	};
	struct cvmm_virtio_mmio_config mmio = {
		.interrupt = raise_interrupt,
		.interrupt_ctx = vm,
		.offer = F(RING_PACKED) | F(IN_ORDER),
		.log = &log_to_stderr,
	};
	struct cvmm_error err = { 0 };

	*state = vm;
	assert_non_null(vm);
	make_files(vm);
	start_program(vm);
	config.path = vm->socket;
	if (cvmm_vhost_user_proxy_create(&config, &vm->proxy, &err))
		fail_msg("%s", err.message);
	make_memory(vm);
	assert_int_equal(cvmm_notifier_init(&vm->interrupt, CVMM_NOTIFIER_AUTO), 0);
	assert_int_equal(cvmm_loop_create(CVMM_LOOP_AUTO, &vm->loop), 0);
	mmio.ops = cvmm_vhost_user_proxy_ops(vm->proxy);
	mmio.dev = vm->proxy;
	mmio.space = vm->space;
	mmio.loop = vm->loop;
	assert_int_equal(cvmm_virtio_mmio_create(&mmio, &vm->mmio, &err), 0);
	cvmm_loop_disown(vm->loop);
	assert_int_equal(pthread_create(&vm->thread, NULL, run_loop, vm), 0);
	return 0;
}

static int free_vm(void **state)
{
	struct vm *vm = *state;

	cvmm_loop_stop(vm->loop);
	pthread_join(vm->thread, NULL);
	cvmm_virtio_mmio_destroy(vm->mmio);
	cvmm_vhost_user_proxy_destroy(vm->proxy);
	if (vm->program > 0) {
		(void)kill(vm->program, SIGKILL);
		(void)waitpid(vm->program, NULL, 0);
	}
	cvmm_virtq_driver_fini(&vm->drv);
	cvmm_notifier_fini(&vm->interrupt);
	cvmm_loop_destroy(vm->loop);
	cvmm_mem_space_destroy(vm->space);
	cvmm_mem_unref(vm->mem);
	unlink(vm->socket);
	unlink(vm->image);
	rmdir(vm->dir);
	free(vm);
	return 0;
}

/* ---- the driver ---------------------------------------------------------------------------------- */

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

static uint32_t rd(struct vm *vm, uint64_t offset)
{
	uint8_t data[4];

	cvmm_virtio_mmio_read(vm->mmio, offset, data, sizeof(data));
	return cvmm_get_le32(data);
}

static bool is_offered(struct vm *vm, uint64_t features)
{
	uint64_t offered;

	wr(vm, DEVICE_FEATURES_SEL, 1);
	offered = (uint64_t)rd(vm, DEVICE_FEATURES) << 32;
	wr(vm, DEVICE_FEATURES_SEL, 0);
	offered |= rd(vm, DEVICE_FEATURES);
	return (offered & features) == features;
}

static void bring_up(struct vm *vm, uint64_t features)
{
	struct cvmm_virtq_driver_config ring = {
		.size = QUEUE_SIZE,
		.packed = features & F(RING_PACKED),
		.event_idx = features & F(EVENT_IDX),
		.indirect = features & F(INDIRECT_DESC),
		.table_entries = 3,
	};
	uint64_t bytes;

	features |= F(VERSION_1);
	wr(vm, STATUS, 0);
	wr(vm, STATUS, 1);
	wr(vm, STATUS, 3);
	wr(vm, DRIVER_FEATURES_SEL, 0);
	wr(vm, DRIVER_FEATURES, (uint32_t)features);
	wr(vm, DRIVER_FEATURES_SEL, 1);
	wr(vm, DRIVER_FEATURES, (uint32_t)(features >> 32));
	wr(vm, STATUS, 11);
	assert_int_equal(cvmm_virtio_mmio_status(vm->mmio), 11);
	assert_int_equal(cvmm_virtq_driver_layout(&ring, cvmm_gpa_from(RAM_GPA), &bytes), 0);
	assert_true(bytes <= SLOTS_AT);
	cvmm_virtq_driver_fini(&vm->drv);
	assert_int_equal(cvmm_virtq_driver_init(&vm->drv, vm->mem, &ring, NULL), 0);
	wr(vm, QUEUE_SEL, 0);
	wr(vm, QUEUE_NUM, QUEUE_SIZE);
	wr64(vm, QUEUE_DESC, ring.desc.addr);
	wr64(vm, QUEUE_DRIVER, ring.driver_area.addr);
	wr64(vm, QUEUE_DEVICE, ring.device_area.addr);
	wr(vm, QUEUE_READY, 1);
	wr(vm, STATUS, 15);
	assert_int_equal(cvmm_virtio_mmio_status(vm->mmio), 15);
}

static uint32_t word_of(unsigned int block, uint32_t version, unsigned int i)
{
	return version ? version * 2654435761U + block * 40503U + i : 0;
}

static bool is_version(const uint8_t *bytes, unsigned int block, uint32_t version)
{
	for (unsigned int i = 0; i < BLOCK_BYTES / 4; i++)
		if (cvmm_get_le32(bytes + 4 * i) != word_of(block, version, i))
			return false;
	return true;
}

static uint8_t *place_of(struct vm *vm, const struct slot *slot)
{
	return vm->ram + SLOTS_AT + (size_t)(slot - vm->slots) * SLOT_BYTES;
}

static void submit(struct vm *vm, struct slot *slot)
{
	uint8_t *at = place_of(vm, slot);
	uint64_t gpa = RAM_GPA + (uint64_t)(at - vm->ram);
	struct header header = {
		.type = cvmm_le32_from(slot->is_write),
		.sector = cvmm_le64_from(slot->block * (uint64_t)(BLOCK_BYTES / 512)),
	};
	const struct cvmm_virtq_segment out = { cvmm_gpa_from(gpa), sizeof(header) },
					data = { cvmm_gpa_from(gpa + 0x1000), BLOCK_BYTES },
					status = { cvmm_gpa_from(gpa + 0x100), 1 };
	const struct cvmm_virtq_segment segments[3] = { out, data, status };

	memcpy(at, &header, sizeof(header));
	at[0x100] = 0xee;
	for (unsigned int i = 0; i < BLOCK_BYTES / 4; i++)
		cvmm_put_le32(at + 0x1000 + 4 * i,
			      slot->is_write ? word_of(slot->block, slot->version, i) : 0xeeeeeeee);
	assert_int_equal(cvmm_virtq_driver_add(&vm->drv, segments, slot->is_write ? 2 : 1,
					       slot->is_write ? 1 : 2, slot),
			 0);
	vm->busy[slot->block] = slot->in_flight = true;
	vm->in_flight++;
}

/* Fill all slots with requests for blocks that no other one is at. */
static void submit_all(struct vm *vm)
{
	for (unsigned int i = 0; i < SLOTS; i++) {
		struct slot *slot = &vm->slots[i];

		if (slot->in_flight)
			continue;
		do
			slot->block = (unsigned int)random() % BLOCKS;
		while (vm->busy[slot->block]);
		slot->is_write = !vm->perhaps[slot->block] && random() % 2;
		slot->version = slot->is_write ? ++vm->last_version : vm->versions[slot->block];
		submit(vm, slot);
	}
	cvmm_virtq_driver_publish(&vm->drv);
	if (cvmm_virtq_driver_should_kick(&vm->drv))
		(void)cvmm_notifier_signal(cvmm_virtio_mmio_kick_notifier(vm->mmio, 0));
}

static void check(struct vm *vm, struct slot *slot)
{
	const uint8_t *at = place_of(vm, slot);

	assert_true(slot->in_flight);
	assert_int_equal(at[0x100], 0);
	if (!slot->is_write && vm->perhaps[slot->block] &&
	    is_version(at + 0x1000, slot->block, vm->perhaps[slot->block]))
		slot->version = vm->perhaps[slot->block];
	if (!is_version(at + 0x1000, slot->block, slot->version))
		fail_msg("%s of block %u: other data", slot->is_write ? "write" : "read",
			 slot->block);
	vm->versions[slot->block] = slot->version;
	vm->perhaps[slot->block] = 0;
	vm->busy[slot->block] = slot->in_flight = false;
	vm->in_flight--;
	vm->completed++;
}

static void take_all(struct vm *vm)
{
	void *token;
	uint32_t len;
	int r;

	do {
		while ((r = cvmm_virtq_driver_take(&vm->drv, &token, &len)) == 1)
			check(vm, token);
		if (r)
			fail_msg("%s", cvmm_virtq_driver_violation_name(
					       cvmm_virtq_driver_violation(&vm->drv)));
	} while (cvmm_virtq_driver_enable_interrupts(&vm->drv));
}

/* What is in flight is nobody's any more. Whether it was written is not known. */
static void reset(struct vm *vm)
{
	wr(vm, STATUS, 0);
	for (unsigned int i = 0; i < SLOTS; i++) {
		struct slot *slot = &vm->slots[i];

		if (slot->in_flight && slot->is_write)
			vm->perhaps[slot->block] = slot->version;
		vm->busy[slot->block] = slot->in_flight = false;
	}
	vm->in_flight = 0;
}

static bool has_inflight_regions(void)
{
	return !getenv("CVMM_TEST_QSD");
}

static void begin(struct vm *vm)
{
	bring_up(vm, vm->features);
	(void)cvmm_virtq_driver_enable_interrupts(&vm->drv);
}

static void begin_anew(struct vm *vm)
{
	assert_false(has_inflight_regions());
	reset(vm);
	begin(vm);
	vm->resets++;
}

static void wait_for_interrupt(struct vm *vm)
{
	struct pollfd p = { .fd = vm->interrupt.read_fd, .events = POLLIN };

	if (poll(&p, 1, DEADLINE_MS) != 1)
		fail_msg("no interrupt, and %u requests in flight after %u", vm->in_flight,
			 vm->completed);
	(void)cvmm_notifier_consume(&vm->interrupt);
	if (cvmm_virtio_mmio_status(vm->mmio) & CVMM_VIRTIO_STATUS_NEEDS_RESET)
		begin_anew(vm);
}

static void serve_until(struct vm *vm, unsigned int completed)
{
	while (vm->completed < completed) {
		submit_all(vm);
		wait_for_interrupt(vm);
		take_all(vm);
	}
}

static void drain(struct vm *vm)
{
	while (vm->in_flight) {
		wait_for_interrupt(vm);
		take_all(vm);
	}
}

static void check_image(struct vm *vm)
{
	uint8_t bytes[BLOCK_BYTES];
	int fd = open(vm->image, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	for (unsigned int i = 0; i < BLOCKS; i++) {
		assert_int_equal(cvmm_read_full(fd, bytes, sizeof(bytes)), sizeof(bytes));
		assert_true(is_version(bytes, i, vm->versions[i]) ||
			    (vm->perhaps[i] && is_version(bytes, i, vm->perhaps[i])));
	}
	close(fd);
}

static unsigned int kills_wanted(void)
{
	const char *text = getenv("CVMM_TEST_KILLS");

	return text ? (unsigned int)atoi(text) : KILLS_DEFAULT;
}

static void survive(struct vm *vm, uint64_t features)
{
	unsigned int kills = kills_wanted();

	if (!is_offered(vm, features)) {
		print_message("SKIP: the program does not offer 0x%llx\n",
			      (unsigned long long)features);
		skip();
	}
	srandom(features ? 7 : 5);
	vm->features = features;
	begin(vm);
	for (unsigned int i = 0; i < kills; i++) {
		serve_until(vm, vm->completed + 1 + (unsigned int)random() % 300);
		submit_all(vm);
		/* At any moment of its work. */
		if (random() % 2)
			usleep((useconds_t)(random() % 2000));
		kill_program(vm);
		start_program(vm);
	}
	serve_until(vm, vm->completed + 100);
	drain(vm);
	check_image(vm);
	print_message("%u requests, %u kills, %u resets\n", vm->completed, kills, vm->resets);
}

static void split_rings_lose_nothing(void **state)
{
	survive(*state, 0);
}

static void split_rings_with_event_index_lose_nothing(void **state)
{
	survive(*state, F(EVENT_IDX) | F(INDIRECT_DESC));
}

static void packed_rings_lose_nothing(void **state)
{
	survive(*state, F(RING_PACKED));
}

static void packed_rings_with_event_index_lose_nothing(void **state)
{
	survive(*state, F(RING_PACKED) | F(EVENT_IDX) | F(INDIRECT_DESC));
}

/*
 * Resets in between, with requests in flight: nothing of the time before comes back. Those of a live program that does
 * not wait for them may: 7.2 of QEMU's writes to queues that it has given up.
 */
static void a_device_that_is_reset_meanwhile_begins_anew(void **state)
{
	struct vm *vm = *state;

	for (unsigned int round = 0; round < 6; round++) {
		vm->features =
			round % 2 && is_offered(vm, F(RING_PACKED)) ? F(RING_PACKED) : F(EVENT_IDX);
		begin(vm);
		serve_until(vm, vm->completed + 50);
		if (!has_inflight_regions())
			drain(vm);
		submit_all(vm);
		if (round % 3 || !has_inflight_regions())
			kill_program(vm);
		reset(vm);
		if (!vm->program)
			start_program(vm);
	}
	check_image(vm);
}

#define VM_TEST(fn) cmocka_unit_test_setup_teardown(fn, make_vm, free_vm)

int main(void)
{
	const struct CMUnitTest tests[] = {
		VM_TEST(split_rings_lose_nothing),
		VM_TEST(split_rings_with_event_index_lose_nothing),
		VM_TEST(packed_rings_lose_nothing),
		VM_TEST(packed_rings_with_event_index_lose_nothing),
		VM_TEST(a_device_that_is_reset_meanwhile_begins_anew),
	};

	if (!getenv("CVMM_TEST_BLK") && !getenv("CVMM_TEST_QSD")) {
		printf("SKIP: neither CVMM_TEST_BLK nor CVMM_TEST_QSD names a program\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
