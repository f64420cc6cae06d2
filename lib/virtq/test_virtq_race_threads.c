// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The library's driver and device on two threads. The honest driver sends messages that the device
 * echoes, and each sleeps only when the other promised to wake it: a lost notification is a wait that
 * ends too late, and fails. The hostile one rewrites the rings, tables included, while the device walks
 * them: every call must end in a defined way, and with pieces that are guest memory.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include <cvmm/mem_iommu.h>
#include <cvmm/virtq_driver.h>

#include "../../tests/support/descriptors.h"
#include "test_driver.h"

#define MESSAGES 50000U /* of a pair, unless more are wanted */
#define SIZE 13U	/* packed; no power of two */
#define SPLIT_SIZE 16U
#define SLOTS 16U
#define SLOT_BYTES 512U /* what is sent in the first half, what comes back in the second */
#define MESSAGE_MAX 200U
#define SLOTS_AT UINT64_C(0x8000)
#define RAM_BYTES UINT64_C(0x10000)
#define LOST_AFTER_MS 30000
#define TABLE_ENTRIES 4U

static uint8_t ram[RAM_BYTES] __attribute__((aligned(TEST_PAGE)));

static struct cvmm_mem *make_memory(void)
{
	const struct cvmm_mem_config config = { .len_bytes = RAM_BYTES,
						.kind = CVMM_MEM_EXTERNAL,
						.access = CVMM_ACCESS_READ_WRITE,
						.host = ram };
	struct cvmm_mem *mem;

	assert_int_equal(cvmm_mem_create(&config, 1, &mem, NULL), 0);
	return mem;
}

/* ---- the honest pair ------------------------------------------------------------------------ */

struct pair {
	struct cvmm_virtq_driver drv;
	struct cvmm_virtq vq;
	struct cvmm_virtq_driver_config config;
	struct cvmm_mem *mem;
	int kick[2];	     /* pipe, driver to device; each byte is a wake-up */
	int call[2];	     /* pipe, device to driver */
	const char *failure; /* atomic; of either side */
	uint32_t messages;
	uint32_t turns; /* of the device */
	uint32_t kicks;
	uint32_t sleeps;
};

static void wake(int fd)
{
	/* A full pipe has wake-ups enough. */
	CVMM_BUG_ON(write(fd, "", 1) != 1 && errno != EAGAIN);
}

/* The other side wakes up and finds it. */
static void *fail_pair(struct pair *p, const char *why)
{
	const char *none = NULL;

	__atomic_compare_exchange_n(&p->failure, &none, why, false, __ATOMIC_ACQ_REL,
				    __ATOMIC_ACQUIRE);
	wake(p->kick[1]);
	wake(p->call[1]);
	return NULL;
}

static bool has_failed(struct pair *p)
{
	return __atomic_load_n(&p->failure, __ATOMIC_ACQUIRE);
}

/* Return: false if nobody came. */
static bool sleep_on(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	char bytes[4096];

	if (poll(&poll_fd, 1, LOST_AFTER_MS) != 1)
		return false;
	CVMM_BUG_ON(read(fd, bytes, sizeof(bytes)) <= 0);
	return true;
}

/* Copies a message back and gives the chain back. */
static int echo(struct cvmm_virtq *vq, const struct cvmm_virtq_chain *chain)
{
	uint8_t message[MESSAGE_MAX];

	if (chain->readable_bytes > sizeof(message) ||
	    chain->writable_bytes != chain->readable_bytes)
		return -EBADMSG;
	cvmm_iov_copy_from(chain->readable, chain->readable_count, 0, message,
			   chain->readable_bytes);
	cvmm_iov_copy_to(chain->writable, chain->writable_count, 0, message, chain->readable_bytes);
	return cvmm_virtq_push_chain(vq, chain, chain->readable_bytes);
}

/* Serves what there is, each group backwards. Return: how many, or negative errno. */
static int serve(struct pair *p)
{
	struct cvmm_virtq_chain chains[5];
	struct iovec iov[4 * SIZE];
	int count, ret, served = 0;

	for (;;) {
		count = cvmm_virtq_pop_batch(&p->vq, iov, CVMM_ARRAY_SIZE(iov), chains,
					     CVMM_ARRAY_SIZE(chains));
		if (count <= 0)
			return count ? count : served;
		served += count;
		/* Sometimes the newest one is taken a second time. */
		if (p->turns++ % 7 == 0) {
			ret = cvmm_virtq_rewind(&p->vq, chains[count - 1].head);
			if (ret)
				return ret;
			count--;
			served--;
		}
		while (count--) {
			ret = echo(&p->vq, &chains[count]);
			if (ret)
				return ret;
		}
	}
}

static void *device_main(void *arg)
{
	struct pair *p = arg;
	uint32_t served = 0;
	int ret;

	while (served < p->messages && !has_failed(p)) {
		cvmm_virtq_disable_notifications(&p->vq);
		ret = serve(p);
		if (ret < 0)
			return fail_pair(p,
					 cvmm_virtq_violation_name(cvmm_virtq_violation(&p->vq)));
		served += (uint32_t)ret;
		if (cvmm_virtq_should_notify(&p->vq))
			wake(p->call[1]);
		if (served == p->messages || cvmm_virtq_enable_notifications(&p->vq))
			continue;
		if (!sleep_on(p->kick[0]))
			return fail_pair(p, "the device was not woken");
	}
	return NULL;
}

static uint8_t *slot_at(uint32_t slot)
{
	return ram + SLOTS_AT + slot * SLOT_BYTES;
}

static int driver_sends(struct pair *p, uint32_t slot, uint32_t number)
{
	uint32_t len = 8 + number % (MESSAGE_MAX - 8), head = number % len;
	const cvmm_gpa out = { SLOTS_AT + slot * SLOT_BYTES };
	const cvmm_gpa in = cvmm_gpa_add(out, SLOT_BYTES / 2);
	const struct cvmm_virtq_segment segments[4] = { { out, head },
							{ cvmm_gpa_add(out, head), len - head },
							{ in, len - head },
							{ cvmm_gpa_add(in, len - head), head } };

	memset(slot_at(slot), (int)(number & 0xff), len);
	cvmm_put_le32(slot_at(slot), len);
	cvmm_put_le32(slot_at(slot) + 4, number);
	/* Some have one segment for each direction. */
	if (number % 3 == 0) {
		const struct cvmm_virtq_segment two[2] = { { out, len }, { in, len } };

		return cvmm_virtq_driver_add(&p->drv, two, 1, 1, slot_at(slot));
	}
	return cvmm_virtq_driver_add(&p->drv, segments, 2, 2, slot_at(slot));
}

/* Takes all answers. Return: how many, or negative. */
static int driver_receives(struct pair *p, uint32_t *free_slots, uint64_t *sum)
{
	uint32_t len;
	int ret, taken = 0;
	void *token;

	while ((ret = cvmm_virtq_driver_take(&p->drv, &token, &len)) > 0) {
		uint8_t *slot = token;

		if (len != cvmm_get_le32(slot) || memcmp(slot, slot + SLOT_BYTES / 2, len) != 0)
			return -EBADMSG;
		*sum += cvmm_get_le32(slot + 4);
		*free_slots |= 1U << ((size_t)(slot - slot_at(0)) / SLOT_BYTES);
		memset(slot + SLOT_BYTES / 2, 0, len);
		taken++;
	}
	return ret ? ret : taken;
}

static const char *driver_main(struct pair *p)
{
	uint32_t free_slots = (1U << SLOTS) - 1, sent = 0, received = 0;
	uint64_t random = 42, sum = 0;

	while (received < p->messages && !has_failed(p)) {
		uint32_t burst = 1 + test_below(&random, SLOTS);
		int ret = 0;

		for (; burst && free_slots && sent < p->messages; burst--) {
			uint32_t slot = (uint32_t)__builtin_ctz(free_slots);

			ret = driver_sends(p, slot, sent);
			if (ret)
				break;
			free_slots &= ~(1U << slot);
			sent++;
		}
		if (ret && ret != -ENOSPC)
			return "the driver could not add";
		cvmm_virtq_driver_publish(&p->drv);
		if (cvmm_virtq_driver_should_kick(&p->drv)) {
			p->kicks++;
			wake(p->kick[1]);
		}
		ret = driver_receives(p, &free_slots, &sum);
		if (ret < 0)
			return "the driver got something else";
		received += (uint32_t)ret;
		if (ret || received == p->messages ||
		    (sent < p->messages && test_below(&random, 2)))
			continue;
		if (!cvmm_virtq_driver_enable_interrupts(&p->drv)) {
			p->sleeps++;
			if (received < sent && !sleep_on(p->call[0]))
				return "the driver was not woken";
		}
		cvmm_virtq_driver_disable_interrupts(&p->drv);
	}
	return sum == (uint64_t)p->messages * (p->messages - 1) / 2 ? NULL : "messages were lost";
}

static void pair_start(struct pair *p)
{
	struct cvmm_virtq_driver_config *c = &p->config;
	struct cvmm_virtq_config config;
	uint64_t bytes;

	assert_int_equal(cvmm_virtq_driver_layout(c, cvmm_gpa_from(0), &bytes), 0);
	assert_true(bytes <= SLOTS_AT);
	p->mem = make_memory();
	assert_int_equal(cvmm_virtq_driver_init(&p->drv, p->mem, c, NULL), 0);
	config = (struct cvmm_virtq_config){
		.size = c->size,
		.desc = c->desc,
		.avail = c->driver_area,
		.used = c->device_area,
		.packed = c->packed,
		.event_idx = c->event_idx,
		.indirect = c->indirect,
		.in_order = c->in_order,
	};
	assert_int_equal(cvmm_virtq_init(&p->vq, SPLIT_SIZE), 0);
	assert_int_equal(cvmm_virtq_start(&p->vq, p->mem, &config, NULL), 0);
	assert_int_equal(test_pipe(p->kick, true), 0);
	assert_int_equal(test_pipe(p->call, true), 0);
}

static void race(struct cvmm_virtq_driver_config config)
{
	struct pair *p = calloc(1, sizeof(*p));
	const char *failure;
	pthread_t device;

	assert_non_null(p);
	config.size = config.packed ? SIZE : SPLIT_SIZE;
	config.table_entries = config.indirect ? TABLE_ENTRIES : 0;
	p->config = config;
	p->messages = test_operations(MESSAGES);
	pair_start(p);
	assert_int_equal(pthread_create(&device, NULL, device_main, p), 0);
	failure = driver_main(p);
	if (failure)
		fail_pair(p, failure);
	pthread_join(device, NULL);
	if (p->failure)
		print_message("%s\n", p->failure);
	assert_null(p->failure);
	print_message("%u kicks and %u sleeps for %u messages\n", p->kicks, p->sleeps, p->messages);
	for (int i = 0; i < 2; i++) {
		close(p->kick[i]);
		close(p->call[i]);
	}
	cvmm_virtq_fini(&p->vq);
	cvmm_virtq_driver_fini(&p->drv);
	cvmm_mem_unref(p->mem);
	free(p);
}

static void messages_cross_split_rings(void **state)
{
	(void)state;
	race((struct cvmm_virtq_driver_config){ .packed = false });
}

static void messages_cross_split_rings_with_event_idx_and_tables(void **state)
{
	(void)state;
	race((struct cvmm_virtq_driver_config){ .event_idx = true, .indirect = true });
}

static void messages_cross_split_rings_in_order(void **state)
{
	(void)state;
	race((struct cvmm_virtq_driver_config){ .event_idx = true, .in_order = true });
}

static void messages_cross_packed_rings(void **state)
{
	(void)state;
	race((struct cvmm_virtq_driver_config){ .packed = true });
}

static void messages_cross_packed_rings_with_event_idx_and_tables(void **state)
{
	(void)state;
	race((struct cvmm_virtq_driver_config){
		.packed = true, .event_idx = true, .indirect = true });
}

static void messages_cross_packed_rings_in_order(void **state)
{
	(void)state;
	race((struct cvmm_virtq_driver_config){
		.packed = true, .event_idx = true, .in_order = true });
}

/* ---- the hostile driver --------------------------------------------------------------------- */

#define SCRIBBLES 1000000U /* times that the driver writes something, unless more are wanted */
#define HOSTILE_SIZE 8U
#define TABLE UINT64_C(0x800)
#define HOSTILE_BYTES UINT64_C(0x1000) /* what it rewrites: rings, and a table */

/*
 * Of races in guest memory, which are what this is about, the thread sanitizer need not tell. What
 * the device keeps for itself the driver cannot reach.
 */
#ifdef __SANITIZE_THREAD__
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#else
#define AnnotateIgnoreReadsBegin(file, line) ((void)0)
#define AnnotateIgnoreWritesBegin(file, line) ((void)0)
#define AnnotateIgnoreReadsEnd(file, line) ((void)0)
#define AnnotateIgnoreWritesEnd(file, line) ((void)0)
#endif

struct hostile {
	struct cvmm_virtq_config config;
	uint32_t wanted;
	uint32_t scribbles; /* atomic */
	uint32_t served;
	uint32_t broken;
};

static void scribble_u16(uint64_t at, uint16_t v)
{
	__atomic_store_n((uint16_t *)(void *)(ram + at), v, __ATOMIC_RELAXED);
}

/* A descriptor that may be good, at once, or half of it. */
static void scribble_desc(bool packed, uint64_t at, uint64_t *random)
{
	uint16_t flags = (uint16_t)test_below(random, 8), id;
	uint64_t addr = test_below(random, RAM_BYTES - 64);
	uint32_t len = test_below(random, 64);

	if (test_below(random, 3))
		flags &= CVMM_VIRTQ_DESC_F_WRITE;
	if (!test_below(random, 16))
		addr = test_random(random);
	if (!test_below(random, 16))
		len = (uint32_t)test_random(random);
	if (flags & CVMM_VIRTQ_DESC_F_INDIRECT && test_below(random, 4)) {
		addr = TABLE;
		len = (1 + test_below(random, 8)) * DESC_SIZE;
	}
	if (packed)
		flags |= test_below(random, 2) ? CVMM_VIRTQ_DESC_F_AVAIL : CVMM_VIRTQ_DESC_F_USED;
	id = (uint16_t)test_below(random, HOSTILE_SIZE + !test_below(random, 16));
	__atomic_store_n((uint64_t *)(void *)(ram + at), addr, __ATOMIC_RELAXED);
	if (test_below(random, 8))
		__atomic_store_n((uint64_t *)(void *)(ram + at + PACKED_REST),
				 len | (uint64_t)id << (packed ? 32 : 48) |
					 (uint64_t)flags << (packed ? 48 : 32),
				 __ATOMIC_RELAXED);
}

static void *hostile_main(void *arg)
{
	struct hostile *h = arg;
	uint64_t random = UINT64_C(0x123456789abcdef), avail = h->config.avail.addr;

	while (__atomic_add_fetch(&h->scribbles, 1, __ATOMIC_RELAXED) < h->wanted) {
		uint64_t table = test_below(&random, 4) ? h->config.desc.addr : TABLE;

		/* Where both have one processor, neither sees much of the other but for this. */
		if (!test_below(&random, 256))
			sched_yield();
		scribble_desc(h->config.packed,
			      table + test_below(&random, HOSTILE_SIZE) * DESC_SIZE, &random);
		if (h->config.packed) {
			scribble_u16(avail + 2 * test_below(&random, 2),
				     (uint16_t)test_random(&random));
			continue;
		}
		scribble_u16(avail_entry_at(test_below(&random, HOSTILE_SIZE + 1)) + avail,
			     (uint16_t)test_below(&random, HOSTILE_SIZE));
		if (test_below(&random, 2))
			scribble_u16(avail + AVAIL_IDX, (uint16_t)test_random(&random) & 15);
		if (!test_below(&random, 16))
			scribble_u16(test_below(&random, HOSTILE_BYTES / 2) * 2,
				     (uint16_t)test_random(&random));
	}
	return NULL;
}

static bool policy_of_some(void *ctx, enum cvmm_virtq_violation violation)
{
	(void)ctx;
	return violation % 2;
}

static bool are_pieces_of_ram(const struct iovec *iov, size_t count, uint32_t bytes)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t at = (uint64_t)((uintptr_t)iov[i].iov_base - (uintptr_t)ram);

		if (!iov[i].iov_len || !cvmm_range_inside(at, iov[i].iov_len, RAM_BYTES))
			return false;
		sum += iov[i].iov_len;
	}
	return sum == bytes;
}

/* One queue from its start until it breaks, or for a while. Return: what went wrong, or NULL. */
static const char *hostile_turn(struct hostile *h, struct cvmm_virtq *vq, struct cvmm_mem *mem,
				uint64_t *random)
{
	struct cvmm_virtq_base base = { .next_avail = (uint16_t)test_below(random, HOSTILE_SIZE),
					.avail_wrap = test_below(random, 2) };
	struct cvmm_virtq_chain chain;
	struct iovec iov[24];
	int ret = 0;

	base.next_used = base.next_avail;
	base.used_wrap = base.avail_wrap;
	if (cvmm_virtq_start_at(vq, mem, &h->config, &base, NULL))
		return "the queue did not start";
	for (uint32_t left = 200; left && ret >= 0; left--) {
		ret = cvmm_virtq_pop(vq, iov, CVMM_ARRAY_SIZE(iov), &chain);
		if (ret != 1)
			continue;
		h->served++;
		if (chain.head >= HOSTILE_SIZE ||
		    !are_pieces_of_ram(chain.readable, chain.readable_count,
				       chain.readable_bytes) ||
		    !are_pieces_of_ram(chain.writable, chain.writable_count, chain.writable_bytes))
			return "a chain was not what it should be";
		if (test_below(random, 8) == 0)
			ret = cvmm_virtq_rewind(vq, chain.head);
		else
			ret = cvmm_virtq_push(vq, chain.head, chain.writable_bytes);
		if (ret)
			return "a chain could not be given back";
		cvmm_virtq_should_notify(vq);
		cvmm_virtq_enable_notifications(vq);
	}
	h->broken += ret < 0;
	if (ret != (cvmm_virtq_violation(vq) ? -EPROTO : 0))
		return "a call failed in another way";
	cvmm_virtq_stop(vq);
	return NULL;
}

/* What the device sees: RAM, or the same behind an IOMMU, which is the slow path. */
static struct cvmm_mem *hostile_memory(bool iommu, struct cvmm_iotlb **ret_tlb)
{
	struct cvmm_mem_iommu_config config = { .backing = make_memory() };
	struct cvmm_mem *mem;

	assert_int_equal(cvmm_iotlb_create(4, ret_tlb, NULL), 0);
	if (!iommu)
		return config.backing;
	/* All addresses are known: nothing is a miss, and what is not RAM is a violation. */
	assert_int_equal(cvmm_iotlb_set(*ret_tlb, 0, RAM_BYTES, 0, CVMM_ACCESS_READ_WRITE), 0);
	assert_int_equal(
		cvmm_iotlb_set(*ret_tlb, RAM_BYTES, 0 - RAM_BYTES, 0, CVMM_IOTLB_NO_ACCESS), 0);
	config.iotlb = *ret_tlb;
	assert_int_equal(cvmm_mem_create_iommu(&config, &mem, NULL), 0);
	cvmm_mem_unref(config.backing);
	return mem;
}

static void attack(bool packed, bool iommu, bool policy)
{
	struct hostile h = { .config = test_config(HOSTILE_SIZE),
			     .wanted = test_operations(SCRIBBLES) };
	uint64_t random = UINT64_C(0x9e3779b97f4a7c15);
	const char *failure = NULL;
	struct cvmm_iotlb *tlb;
	struct cvmm_virtq vq;
	struct cvmm_mem *mem = hostile_memory(iommu, &tlb);
	pthread_t thread;

	h.config.packed = packed;
	h.config.event_idx = true;
	memset(ram, 0, sizeof(ram));
	assert_int_equal(cvmm_virtq_init(&vq, HOSTILE_SIZE), 0);
	if (policy)
		cvmm_virtq_set_policy(&vq, policy_of_some, NULL);
	assert_int_equal(pthread_create(&thread, NULL, hostile_main, &h), 0);
	AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
	AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
	while (__atomic_load_n(&h.scribbles, __ATOMIC_RELAXED) < h.wanted && !failure) {
		failure = hostile_turn(&h, &vq, mem, &random);
		sched_yield();
	}
	AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
	AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
	pthread_join(thread, NULL);
	print_message("%u chains, %u times broken\n", h.served, h.broken);
	if (failure)
		print_message("%s\n", failure);
	assert_null(failure);
	assert_true(h.served > 0 && h.broken > 0);
	cvmm_virtq_fini(&vq);
	cvmm_mem_unref(mem);
	cvmm_iotlb_destroy(tlb);
}

static void split_ring_that_is_rewritten_meanwhile_harms_nobody(void **state)
{
	(void)state;
	attack(false, false, false);
	attack(false, false, true);
}

static void packed_ring_that_is_rewritten_meanwhile_harms_nobody(void **state)
{
	(void)state;
	attack(true, false, false);
	attack(true, false, true);
}

static void split_ring_behind_an_iommu_that_is_rewritten_harms_nobody(void **state)
{
	(void)state;
	attack(false, true, false);
	attack(false, true, true);
}

static void packed_ring_behind_an_iommu_that_is_rewritten_harms_nobody(void **state)
{
	(void)state;
	attack(true, true, false);
	attack(true, true, true);
}

#define TEST(fn) cmocka_unit_test(fn)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(messages_cross_split_rings),
		TEST(messages_cross_split_rings_with_event_idx_and_tables),
		TEST(messages_cross_split_rings_in_order),
		TEST(messages_cross_packed_rings),
		TEST(messages_cross_packed_rings_with_event_idx_and_tables),
		TEST(messages_cross_packed_rings_in_order),
		TEST(split_ring_that_is_rewritten_meanwhile_harms_nobody),
		TEST(packed_ring_that_is_rewritten_meanwhile_harms_nobody),
		TEST(split_ring_behind_an_iommu_that_is_rewritten_harms_nobody),
		TEST(packed_ring_behind_an_iommu_that_is_rewritten_harms_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
