// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * vhost-net of a real kernel: frames go between rings of ours and a packet socket, over a tap device. Also
 * what all kinds of devices have in common. `tests/vhost/run` starts it in a machine of its own.
 */
#include <fcntl.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <cmocka.h>

#include "guest.h"

#define RX 0U
#define TX 1U
#define SIZE 8U
#define VNET_BYTES 12U /* struct virtio_net_hdr_v1 */
#define FRAME_MAX 1514U
#define ETHERTYPE 0x88b5U /* for experiments */
#define MRG_RXBUF (UINT64_C(1) << 15)
#define LOG_ALL (UINT64_C(1) << VHOST_F_LOG_ALL)

/* Where things are in the guest's memory. */
#define RX_RINGS_AT LOW_AT
#define TX_RINGS_AT (LOW_AT + 0x8000)
#define RX_BUFFERS_AT HIGH_AT
#define TX_BUFFERS_AT (LOW_AT + LOW_BYTES / 2 - 3 * PAGE) /* some lie across the border */
#define BUFFER_BYTES 2048U

struct net {
	struct cvmm_vhost vhost;
	struct cvmm_mem *mem;
	struct guest_queue rx, tx;
	int tap, packet;
	uint8_t mac[ETH_ALEN];
	uint8_t frame[FRAME_MAX]; /* the last one that came or went */
	size_t frame_bytes;
};

/* ---- the world outside ----------------------------------------------------------------------- */

static void ifreq_ioctl(int fd, unsigned long request, struct ifreq *ifr)
{
	if (ioctl(fd, request, ifr))
		fail_msg("network device %s: %s", ifr->ifr_name, strerror(errno));
}

/* A tap device that is up, and a packet socket on it. */
static void make_tap(struct net *net)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int header = VNET_BYTES;
	struct sockaddr_ll addr = { .sll_family = AF_PACKET, .sll_protocol = htobe16(ETHERTYPE) };

	net->tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (net->tap < 0)
		SKIP("no /dev/net/tun");
	ifreq_ioctl(net->tap, TUNSETIFF, &ifr);
	assert_ok(ioctl(net->tap, TUNSETVNETHDRSZ, &header));
	net->packet =
		socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htobe16(ETHERTYPE));
	assert_true(net->packet >= 0);
	ifreq_ioctl(net->packet, SIOCGIFHWADDR, &ifr);
	memcpy(net->mac, ifr.ifr_hwaddr.sa_data, sizeof(net->mac));
	ifreq_ioctl(net->packet, SIOCGIFINDEX, &ifr);
	addr.sll_ifindex = ifr.ifr_ifindex;
	ifr.ifr_flags = IFF_UP | IFF_RUNNING;
	ifreq_ioctl(net->packet, SIOCSIFFLAGS, &ifr);
	assert_ok(bind(net->packet, (struct sockaddr *)&addr, sizeof(addr)));
}

static void make_frame(struct net *net, size_t payload_bytes, uint32_t seed)
{
	const uint16_t type = htobe16(ETHERTYPE);

	memset(net->frame, 0xff, ETH_ALEN);
	memcpy(net->frame + ETH_ALEN, net->mac, ETH_ALEN);
	memcpy(net->frame + 2 * ETH_ALEN, &type, sizeof(type));
	fill(net->frame + ETH_HLEN, payload_bytes, seed);
	net->frame_bytes = ETH_HLEN + payload_bytes;
}

/* The next frame on the wire that is ours. */
static void must_be_on_the_wire(struct net *net)
{
	uint8_t got[FRAME_MAX];
	ssize_t n;

	must_become_readable(net->packet, "a frame of the guest's");
	n = recv(net->packet, got, sizeof(got), 0);
	assert_int_equal(n, net->frame_bytes);
	assert_memory_equal(got, net->frame, net->frame_bytes);
}

/* ---- the guest ------------------------------------------------------------------------------- */

static void net_open(struct net *net)
{
	*net = (struct net){ .tap = -1, .packet = -1 };
	net->vhost = open_or_skip(CVMM_VHOST_NET, NULL);
	make_tap(net);
	net->mem = make_memory();
}

static void net_queues(struct net *net, uint64_t features)
{
	queue_init(&net->rx, net->mem, RX, SIZE, features, RX_RINGS_AT);
	queue_init(&net->tx, net->mem, TX, SIZE, features, TX_RINGS_AT);
}

static void net_start_queue(struct net *net, struct guest_queue *queue)
{
	queue_start(queue, &net->vhost);
	assert_ok(cvmm_vhost_net_set_backend(&net->vhost, queue->q.index, net->tap));
}

static void net_stop_queue(struct net *net, struct guest_queue *queue)
{
	assert_ok(cvmm_vhost_net_set_backend(&net->vhost, queue->q.index, CVMM_VHOST_UNBIND));
	queue_stop(queue, &net->vhost);
}

static void net_start(struct net *net, uint64_t features)
{
	net_open(net);
	assert_ok(cvmm_vhost_set_features(&net->vhost, features));
	set_memory(&net->vhost, net->mem);
	net_queues(net, features);
	net_start_queue(net, &net->rx);
	net_start_queue(net, &net->tx);
}

static void net_end(struct net *net)
{
	queue_is_sound(&net->rx);
	queue_is_sound(&net->tx);
	cvmm_vhost_close(&net->vhost);
	queue_fini(&net->rx);
	queue_fini(&net->tx);
	cvmm_mem_unref(net->mem);
	close(net->packet);
	close(net->tap);
}

static uint64_t buffer_at(const struct guest_queue *queue, uint32_t i)
{
	return (queue->q.index == RX ? RX_BUFFERS_AT : TX_BUFFERS_AT) + i % SIZE * BUFFER_BYTES;
}

/* The guest's frame goes out as header, half and half. */
static void guest_adds_frame(struct net *net, uint32_t i)
{
	const uint8_t header[VNET_BYTES] = { 0 };
	uint32_t half = (uint32_t)net->frame_bytes / 2;
	uint64_t at = buffer_at(&net->tx, i);
	const struct cvmm_virtq_segment segments[] = {
		{ G(at), VNET_BYTES },
		{ G(at + 16), half },
		{ G(at + 16 + half), (uint32_t)net->frame_bytes - half },
	};

	put(net->mem, at, header, sizeof(header));
	put(net->mem, at + 16, net->frame, net->frame_bytes);
	queue_add(&net->tx, segments, 3, 0, &net->tx);
}

static void guest_sends(struct net *net, size_t payload_bytes, uint32_t i)
{
	uint32_t len;

	make_frame(net, payload_bytes, i);
	guest_adds_frame(net, i);
	queue_kick(&net->tx);
	must_be_on_the_wire(net);
	queue_wait(&net->tx, &len);
	assert_int_equal(len, 0);
}

static void guest_offers_buffer(struct net *net, uint32_t i)
{
	const struct cvmm_virtq_segment segment = { G(buffer_at(&net->rx, i)), BUFFER_BYTES };

	queue_add(&net->rx, &segment, 0, 1, (void *)(uintptr_t)(i % SIZE + 1));
	queue_kick(&net->rx);
}

/* Takes one frame; whether it is ours: the kernel sends some of its own. */
static bool guest_takes_frame(struct net *net)
{
	uint8_t got[VNET_BYTES + FRAME_MAX];
	uintptr_t token;
	uint32_t len;

	token = (uintptr_t)queue_wait(&net->rx, &len);
	assert_in_range(len, VNET_BYTES + ETH_HLEN, sizeof(got));
	get(net->mem, buffer_at(&net->rx, (uint32_t)token - 1), got, len);
	if (be16toh(*(uint16_t *)(void *)&got[VNET_BYTES + 2 * ETH_ALEN]) != ETHERTYPE)
		return false;
	assert_int_equal(len, VNET_BYTES + net->frame_bytes);
	assert_memory_equal(got + VNET_BYTES, net->frame, net->frame_bytes);
	return true;
}

static void guest_receives(struct net *net, size_t payload_bytes, uint32_t i)
{
	make_frame(net, payload_bytes, ~i);
	assert_int_equal(send(net->packet, net->frame, net->frame_bytes, 0), net->frame_bytes);
	do
		guest_offers_buffer(net, i++);
	while (!guest_takes_frame(net));
}

/* ---- frames ---------------------------------------------------------------------------------- */

static void frames_go_both_ways_with(uint64_t features)
{
	static const size_t sizes[] = { 46, 1500, 100, 1499, 1000 };
	struct net net;

	net_start(&net, features);
	for (uint32_t i = 0; i < 5 * SIZE; i++) {
		guest_sends(&net, sizes[i % CVMM_ARRAY_SIZE(sizes)], i);
		guest_receives(&net, sizes[i % CVMM_ARRAY_SIZE(sizes)], i);
	}
	net_end(&net);
}

static void frames_go_both_ways(void **state)
{
	(void)state;
	frames_go_both_ways_with(VERSION_1);
}

static void frames_go_both_ways_with_indirect_tables_and_event_indices(void **state)
{
	(void)state;
	frames_go_both_ways_with(VERSION_1 | MRG_RXBUF | INDIRECT_DESC | EVENT_IDX);
}

static void rings_at_the_very_end_of_ram_work(void **state)
{
	/* A descriptor has 16 bytes; a used ring 6, and 8 for each entry, and begins at a multiple of 4. */
	const struct cvmm_virtq_driver_config rx = {
		.size = SIZE,
		.desc = G(RX_RINGS_AT),
		.driver_area = G(RX_RINGS_AT + PAGE),
		.device_area = G(LOW_AT + LOW_BYTES - (6 + 8 * SIZE + 2)),
	};
	const struct cvmm_virtq_driver_config tx = {
		.size = SIZE,
		.desc = G(HIGH_END - 16 * SIZE),
		.driver_area = G(TX_RINGS_AT),
		.device_area = G(TX_RINGS_AT + PAGE),
	};
	struct net net;

	(void)state;
	net_open(&net);
	assert_ok(cvmm_vhost_set_features(&net.vhost, VERSION_1));
	set_memory(&net.vhost, net.mem);
	queue_init_config(&net.rx, net.mem, RX, &rx);
	queue_init_config(&net.tx, net.mem, TX, &tx);
	net_start_queue(&net, &net.rx);
	net_start_queue(&net, &net.tx);
	for (uint32_t i = 0; i < 2 * SIZE; i++) {
		guest_sends(&net, 200, i);
		guest_receives(&net, 200, i);
	}
	net_end(&net);
}

/* ---- life of a queue ------------------------------------------------------------------------- */

/* A frame that is in the ring, but that nobody has told the kernel of, and that it cannot see. */
static void a_kick_that_was_taken_away_kicks_no_more(void **state)
{
	uint32_t num, before;
	struct net net;

	(void)state;
	net_start(&net, VERSION_1);
	guest_sends(&net, 100, 0); /* so that the start is over */
	assert_ok(cvmm_vhost_set_vring_kick(&net.vhost, TX, CVMM_VHOST_UNBIND));
	assert_ok(cvmm_vhost_get_vring_base(&net.vhost, TX, &before));
	assert_int_equal(before, 1);
	make_frame(&net, 100, 1);
	guest_adds_frame(&net, 1);
	queue_kick(&net.tx);
	/* Waits for all that the kernel is about. */
	assert_ok(cvmm_vhost_net_set_backend(&net.vhost, TX, CVMM_VHOST_UNBIND));
	assert_ok(cvmm_vhost_get_vring_base(&net.vhost, TX, &num));
	assert_int_equal(num, before);
	queue_stop(&net.tx, &net.vhost);
	assert_int_equal(net.tx.q.base.next_avail, 1);
	assert_int_equal(net.tx.q.base.next_used, 1);
	net_start_queue(&net, &net.tx);
	must_be_on_the_wire(&net);
	net_end(&net);
}

static void a_call_that_was_taken_away_is_signalled_no_more(void **state)
{
	struct net net;

	(void)state;
	net_start(&net, VERSION_1);
	guest_sends(&net, 100, 0);
	assert_ok(cvmm_vhost_set_vring_call(&net.vhost, TX, CVMM_VHOST_UNBIND));
	assert_ok(cvmm_vhost_set_vring_err(&net.vhost, TX, CVMM_VHOST_UNBIND));
	signals_of(net.tx.q.call_fd);
	make_frame(&net, 100, 1);
	guest_adds_frame(&net, 1);
	queue_kick(&net.tx);
	must_be_on_the_wire(&net);
	net_stop_queue(&net, &net.tx); /* what was to be signalled is */
	assert_int_equal(signals_of(net.tx.q.call_fd), 0);
	assert_int_equal(net.tx.q.base.next_used, 2);
	net_end(&net);
}

/* The kernel tells the available index only. */
static void the_used_index_is_read_from_the_ring(void **state)
{
	struct cvmm_virtq_base base;
	struct net net;

	(void)state;
	net_start(&net, VERSION_1);
	guest_sends(&net, 100, 0);
	net_stop_queue(&net, &net.tx);
	assert_ok(cvmm_vhost_set_vring_base(&net.vhost, TX, 9)); /* as if 8 were in flight */
	assert_ok(cvmm_vhost_queue_stop(&net.vhost, net.mem, &net.tx.q, &base, NULL));
	assert_int_equal(base.next_avail, 9);
	assert_int_equal(base.next_used, 1);
	assert_ok(cvmm_vhost_queue_stop(&net.vhost, NULL, &net.tx.q, &base, NULL));
	assert_int_equal(base.next_used, 9); /* nobody to look it up */
	net.tx.q.ring.used = G(HIGH_END);
	assert_int_equal(cvmm_vhost_queue_stop(&net.vhost, net.mem, &net.tx.q, &base, NULL),
			 -EFAULT);
	net_end(&net);
}

/*
 * The kernel still knows where the ring of a queue is that was stopped: with a backend it looks there once,
 * kicked or not. Nobody hears of that.
 */
static void must_have_no_call(struct net *net, uint32_t next_avail)
{
	uint32_t num = 0;

	signals_of(net->tx.q.call_fd);
	make_frame(net, 100, 1);
	guest_adds_frame(net, 1);
	cvmm_virtq_driver_publish(&net->tx.drv);
	assert_ok(cvmm_vhost_net_set_backend(&net->vhost, TX, net->tap));
	must_be_on_the_wire(net);
	assert_ok(cvmm_vhost_net_set_backend(&net->vhost, TX, CVMM_VHOST_UNBIND));
	assert_ok(cvmm_vhost_get_vring_base(&net->vhost, TX, &num));
	assert_int_equal(num, next_avail);
	assert_int_equal(signals_of(net->tx.q.call_fd), 0);
}

static void a_stopped_queue_has_no_eventfds(void **state)
{
	struct net net;

	(void)state;
	net_start(&net, VERSION_1);
	guest_sends(&net, 100, 0);
	net_stop_queue(&net, &net.tx);
	must_have_no_call(&net, 2);
	net_end(&net);
}

/* What is refused half-way through leaves nothing behind. */
static void a_refused_start_leaves_no_eventfd_bound(void **state)
{
	struct cvmm_error err = { 0 };
	struct net net;
	int good;

	(void)state;
	net_start(&net, VERSION_1);
	guest_sends(&net, 100, 0);
	net_stop_queue(&net, &net.tx);
	good = net.tx.q.kick_fd;
	net.tx.q.kick_fd = net.tap; /* no eventfd; the others are bound before */
	assert_int_equal(cvmm_vhost_queue_start(&net.vhost, net.mem, &net.tx.q, &err), -EINVAL);
	assert_says(&err, "queue 1: its eventfd for kicks");
	net.tx.q.kick_fd = good;
	must_have_no_call(&net, 2);
	net_end(&net);
}

static void a_queue_that_runs_cannot_be_moved(void **state)
{
	struct cvmm_error err = { 0 };
	struct net net;

	(void)state;
	net_start(&net, VERSION_1);
	assert_int_equal(cvmm_vhost_set_vring_num(&net.vhost, TX, SIZE), -EBUSY);
	assert_int_equal(cvmm_vhost_set_vring_base(&net.vhost, TX, 0), -EBUSY);
	assert_int_equal(cvmm_vhost_queue_start(&net.vhost, net.mem, &net.tx.q, &err), -EBUSY);
	assert_says(&err, "its size");
	guest_sends(&net, 100, 0); /* and it still runs */
	guest_receives(&net, 100, 0);
	net_stop_queue(&net, &net.rx);
	net_stop_queue(&net, &net.tx);
	assert_int_equal(cvmm_vhost_set_vring_base(&net.vhost, TX, 0x10000), -EINVAL);
	assert_int_equal(cvmm_vhost_set_vring_num(&net.vhost, 2, SIZE), -ENOBUFS);
	net_end(&net);
}

/* The kernel serves a queue, then our own device's side does, then the kernel again. */
static void a_queue_goes_from_the_kernel_to_us_and_back(void **state)
{
	struct cvmm_virtq_chain chain;
	struct cvmm_error err = { 0 };
	struct iovec iov[8];
	struct cvmm_virtq vq;
	struct net net;
	uint32_t len;

	(void)state;
	net_start(&net, VERSION_1 | EVENT_IDX);
	for (uint32_t i = 0; i < SIZE + 3; i++)
		guest_sends(&net, 100, i);
	net_stop_queue(&net, &net.tx);
	assert_int_equal(net.tx.q.base.next_avail, SIZE + 3);
	assert_int_equal(net.tx.q.base.next_used, SIZE + 3);

	assert_ok(cvmm_virtq_init(&vq, SIZE));
	assert_fine(cvmm_virtq_start_at(&vq, net.mem, &net.tx.q.ring, &net.tx.q.base, &err), &err);
	for (uint32_t i = 0; i < SIZE; i++) {
		make_frame(&net, 100, i);
		guest_adds_frame(&net, i);
		queue_kick(&net.tx);
		assert_int_equal(cvmm_virtq_pop(&vq, iov, CVMM_ARRAY_SIZE(iov), &chain), 1);
		assert_int_equal(chain.readable_bytes, VNET_BYTES + net.frame_bytes);
		assert_ok(cvmm_virtq_push_chain(&vq, &chain, 0));
		queue_wait(&net.tx, &len);
	}
	net.tx.q.base = cvmm_virtq_base(&vq);
	cvmm_virtq_fini(&vq);

	net_start_queue(&net, &net.tx);
	for (uint32_t i = 0; i < SIZE; i++)
		guest_sends(&net, 100, i);
	net_stop_queue(&net, &net.tx);
	assert_int_equal(net.tx.q.base.next_avail, 3 * SIZE + 3);
	net_end(&net);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void memory_of_many_regions_that_touch_is_one_to_the_kernel(void **state)
{
	struct cvmm_mem_config configs[CVMM_MEM_REGIONS_MAX];
	struct cvmm_error err = { 0 };
	struct net net;

	(void)state;
	for (size_t i = 0; i < CVMM_MEM_REGIONS_MAX; i++) {
		configs[i] = shared_ram(i * PAGE, PAGE);
		configs[i].kind = CVMM_MEM_ANONYMOUS;
	}
	net_open(&net);
	cvmm_mem_unref(net.mem);
	net.mem = make_map(configs, CVMM_MEM_REGIONS_MAX);
	set_memory(&net.vhost, net.mem);
	cvmm_mem_unref(net.mem);
	for (size_t i = 0; i < CVMM_MEM_REGIONS_MAX; i++)
		configs[i].gpa = G(2 * i * PAGE);
	net.mem = make_map(configs, CVMM_MEM_REGIONS_MAX);
	assert_int_equal(cvmm_vhost_set_mem_table(&net.vhost, net.mem, &err), -E2BIG);
	assert_says(&err, "max_mem_regions");
	net_queues(&net, VERSION_1);
	net_end(&net);
}

/* The kernel must not write to what the guest's devices must not write to. */
static void memory_that_is_read_only_is_not_written_to(void **state)
{
	struct cvmm_mem_config configs[] = { shared_ram(LOW_AT, LOW_BYTES),
					     shared_ram(HIGH_AT, HIGH_BYTES) };
	const struct cvmm_virtq_segment segment = { G(RX_BUFFERS_AT), BUFFER_BYTES };
	uint8_t got[64], zeroes[64] = { 0 };
	struct net net;

	(void)state;
	net_open(&net);
	cvmm_mem_unref(net.mem);
	configs[1].access = CVMM_ACCESS_READ;
	net.mem = make_map(configs, CVMM_ARRAY_SIZE(configs));
	assert_ok(cvmm_vhost_set_features(&net.vhost, VERSION_1));
	set_memory(&net.vhost, net.mem);
	net_queues(&net, VERSION_1);
	net_start_queue(&net, &net.rx);
	net_start_queue(&net, &net.tx);
	queue_add(&net.rx, &segment, 0, 1, &net);
	queue_kick(&net.rx);
	make_frame(&net, 100, 1);
	assert_int_equal(send(net.packet, net.frame, net.frame_bytes, 0), net.frame_bytes);
	must_become_readable(net.rx.q.err_fd, "an error of the kernel's");
	get(net.mem, RX_BUFFERS_AT, got, sizeof(got));
	assert_memory_equal(got, zeroes, sizeof(got));
	signals_of(net.rx.q.err_fd);
	net_end(&net);
}

static bool is_marked(const uint8_t *log, uint64_t gpa)
{
	return log[gpa / PAGE / 8] >> (gpa / PAGE % 8) & 1;
}

static void writes_are_logged(void **state)
{
	int log_fd = make_eventfd();
	struct net net;
	uint8_t *log;

	(void)state;
	net_open(&net);
	log = calloc(1, cvmm_vhost_log_bytes(net.mem));
	assert_non_null(log);
	set_memory(&net.vhost, net.mem);
	assert_ok(cvmm_vhost_set_log_base(&net.vhost, log));
	assert_ok(cvmm_vhost_set_log_fd(&net.vhost, log_fd));
	assert_ok(cvmm_vhost_set_features(&net.vhost, VERSION_1 | LOG_ALL));
	net_queues(&net, VERSION_1);
	net.rx.q.log_used = true;
	net_start_queue(&net, &net.rx);
	net_start_queue(&net, &net.tx);
	guest_receives(&net, 1000, 0);
	guest_sends(&net, 1000, 0);
	net_stop_queue(&net, &net.rx);
	net_stop_queue(&net, &net.tx);
	assert_true(is_marked(log, buffer_at(&net.rx, 0)));
	assert_true(is_marked(log, net.rx.q.ring.used.addr));
	assert_false(is_marked(log, net.tx.q.ring.used.addr)); /* not asked for */
	assert_false(is_marked(log, TX_BUFFERS_AT));	       /* only read */
	assert_false(is_marked(log, HIGH_END - PAGE));
	assert_true(signals_of(log_fd) > 0);
	assert_ok(cvmm_vhost_set_log_fd(&net.vhost, CVMM_VHOST_UNBIND));
	net_end(&net);
	close(log_fd);
	free(log);
}

/* ---- the IOTLB ------------------------------------------------------------------------------- */

static void translate_page(struct net *net, uint64_t page)
{
	void *host = cvmm_mem_ptr(net->mem, G(page), PAGE, CVMM_ACCESS_READ_WRITE);

	assert_ok(
		cvmm_vhost_iotlb_update(&net->vhost, 0, page, PAGE, host, CVMM_ACCESS_READ_WRITE));
}

/* Answers what the kernel asks for, page by page, until @fd is readable. Return: how many. */
static unsigned int answer_misses_until(struct net *net, int fd, bool is_v2)
{
	unsigned int misses = 0;

	for (;;) {
		struct pollfd fds[] = { { .fd = net->vhost.fd, .events = POLLIN },
					{ .fd = fd, .events = POLLIN } };
		struct cvmm_error err = { 0 };
		struct cvmm_vhost_msg msg;

		if (poll(fds, 2, DEADLINE_MS) <= 0)
			fail_msg("neither a miss nor what it is for comes");
		if (!(fds[0].revents & POLLIN))
			return misses;
		assert_fine(cvmm_vhost_msg_read(&net->vhost, &msg, &err), &err);
		assert_int_equal(msg.op.kind, CVMM_IOTLB_MISS);
		assert_int_equal(msg.is_v2, is_v2);
		assert_int_equal(msg.asid, 0);
		assert_true(msg.op.rights != CVMM_IOTLB_NO_ACCESS);
		translate_page(net, msg.op.iova & ~(PAGE - 1));
		misses++;
	}
}

static unsigned int guest_sends_with_misses(struct net *net, uint32_t i, bool is_v2)
{
	unsigned int misses;
	uint32_t len;

	make_frame(net, 300, i);
	guest_adds_frame(net, i);
	queue_kick(&net->tx);
	misses = answer_misses_until(net, net->packet, is_v2);
	must_be_on_the_wire(net);
	queue_wait(&net->tx, &len);
	return misses;
}

static void misses_are_read_and_answered_with(uint64_t backend_features)
{
	bool is_v2 = backend_features >> VHOST_BACKEND_F_IOTLB_MSG_V2 & 1;
	struct cvmm_vhost_msg msg;
	struct net net;

	net_open(&net);
	assert_ok(cvmm_vhost_set_backend_features(&net.vhost, backend_features));
	assert_ok(cvmm_vhost_set_features(&net.vhost, VERSION_1 | ACCESS_PLATFORM));
	set_memory(&net.vhost, net.mem); /* not used, but the kernel wants one */
	assert_int_equal(cvmm_vhost_msg_read(&net.vhost, &msg, NULL), -EAGAIN);
	net_queues(&net, VERSION_1);
	/* Addresses are I/O virtual ones: nobody here looks them up. */
	net.rx.mem = net.tx.mem = NULL;
	queue_start(&net.rx, &net.vhost);
	assert_int_equal(cvmm_vhost_net_set_backend(&net.vhost, RX, net.tap), -EFAULT);
	assert_true(signals_of(net.rx.q.err_fd) > 0);
	translate_page(&net, net.rx.q.ring.used.addr & ~(PAGE - 1));
	translate_page(&net, net.tx.q.ring.used.addr & ~(PAGE - 1));
	net_start_queue(&net, &net.rx);
	net_start_queue(&net, &net.tx);
	assert_true(guest_sends_with_misses(&net, 0, is_v2) >= 1); /* the buffer */
	assert_int_equal(guest_sends_with_misses(&net, 0, is_v2), 0);
	assert_ok(cvmm_vhost_iotlb_invalidate(&net.vhost, 0, TX_RINGS_AT, PAGE));
	assert_true(guest_sends_with_misses(&net, 0, is_v2) >= 1);
	assert_ok(cvmm_vhost_iotlb_invalidate(&net.vhost, 0, 0, 0));
	assert_true(guest_sends_with_misses(&net, 0, is_v2) >= 2);
	/* What only vDPA has. */
	assert_int_equal(cvmm_vhost_iotlb_batch_begin(&net.vhost, 0), -ENOTSUP);
	assert_int_equal(cvmm_vhost_iotlb_invalidate(&net.vhost, 1, 0, 0), -ENOTSUP);
	/* An address that no process can have. */
	assert_int_equal(cvmm_vhost_iotlb_update(&net.vhost, 0, PAGE << 30, PAGE,
						 (void *)(UINTPTR_MAX - 2 * PAGE + 1),
						 CVMM_ACCESS_READ),
			 -EFAULT);
	net_end(&net);
}

static void misses_are_read_and_answered_in_the_first_form(void **state)
{
	(void)state;
	misses_are_read_and_answered_with(0);
}

static void misses_are_read_and_answered_in_the_second_form(void **state)
{
	(void)state;
	misses_are_read_and_answered_with(UINT64_C(1) << VHOST_BACKEND_F_IOTLB_MSG_V2);
}

static void without_an_iommu_the_kernel_takes_no_translations(void **state)
{
	struct net net;

	(void)state;
	net_start(&net, VERSION_1);
	assert_int_equal(
		cvmm_vhost_iotlb_update(&net.vhost, 0, 0, PAGE,
					cvmm_mem_ptr(net.mem, G(0), PAGE, CVMM_ACCESS_READ),
					CVMM_ACCESS_READ),
		-EFAULT);
	net_end(&net);
}

/* ---- features, owners, workers --------------------------------------------------------------- */

static void features_that_were_not_offered_are_refused(void **state)
{
	struct cvmm_vhost vhost = open_or_skip(CVMM_VHOST_NET, NULL);
	uint64_t offered = 0, backend = 0;

	(void)state;
	assert_ok(cvmm_vhost_get_features(&vhost, &offered));
	assert_true(offered & VERSION_1 && offered & MRG_RXBUF && offered & LOG_ALL);
	assert_ok(cvmm_vhost_set_features(&vhost, VERSION_1));
	assert_int_equal(cvmm_vhost_set_features(&vhost, ~offered), -EOPNOTSUPP);
	assert_ok(cvmm_vhost_get_backend_features(&vhost, &backend));
	assert_true(backend >> VHOST_BACKEND_F_IOTLB_MSG_V2 & 1);
	assert_int_equal(cvmm_vhost_set_backend_features(&vhost, ~backend), -EOPNOTSUPP);
	assert_int_equal(vhost.backend_features, 0);
	assert_ok(cvmm_vhost_set_backend_features(&vhost, backend));
	assert_int_equal(vhost.backend_features, backend);
	cvmm_vhost_close(&vhost);
}

static void arrays_of_features_agree_with_words(void **state)
{
	uint64_t words[CVMM_VHOST_FEATURES_WORDS_MAX], offered = 0;
	struct cvmm_vhost vhost = CVMM_VHOST_NONE;
	struct cvmm_error err = { 0 };
	int ret;

	(void)state;
	if (cvmm_vhost_open(&vhost, CVMM_VHOST_NET, NULL, &err) == -ENOENT)
		SKIP("%s", err.message);
	assert_fine(err.code, &err);
	memset(words, 0x5a, sizeof(words));
	ret = cvmm_vhost_get_features_array(&vhost, words, CVMM_VHOST_FEATURES_WORDS_MAX);
	if (ret == -ENOTTY) {
		assert_ok(cvmm_vhost_set_owner(&vhost)); /* it makes no difference */
		for (size_t i = 0; i < CVMM_VHOST_FEATURES_WORDS_MAX; i++)
			assert_int_equal(words[i], 0x5a5a5a5a5a5a5a5a);
		assert_int_equal(cvmm_vhost_get_features_array(&vhost, words, 1), -ENOTTY);
		assert_int_equal(cvmm_vhost_set_features_array(&vhost, words, 2), -ENOTTY);
		cvmm_vhost_close(&vhost);
		SKIP("arrays of features: this kernel is older than 6.17");
	}
	assert_ok(ret);
	assert_ok(cvmm_vhost_get_features(&vhost, &offered));
	assert_int_equal(words[0], offered);
	assert_int_equal(words[CVMM_VHOST_FEATURES_WORDS_MAX - 1], 0);
	assert_ok(cvmm_vhost_set_features_array(&vhost, (uint64_t[2]){ VERSION_1, 0 }, 2));
	assert_int_equal(cvmm_vhost_set_features_array(&vhost, (uint64_t[3]){ VERSION_1, 0, 1 }, 3),
			 -EOPNOTSUPP);
	cvmm_vhost_close(&vhost);
}

static void a_device_has_one_owner_until_it_is_reset(void **state)
{
	struct cvmm_vhost vhost = open_or_skip(CVMM_VHOST_NET, NULL);
	uint64_t v2 = UINT64_C(1) << VHOST_BACKEND_F_IOTLB_MSG_V2;

	(void)state;
	assert_int_equal(cvmm_vhost_set_owner(&vhost), -EBUSY);
	assert_ok(cvmm_vhost_set_backend_features(&vhost, v2));
	assert_ok(cvmm_vhost_reset_owner(&vhost));
	assert_int_equal(vhost.backend_features, 0);
	assert_int_equal(cvmm_vhost_set_vring_num(&vhost, 0, SIZE), -EPERM);
	assert_ok(cvmm_vhost_set_owner(&vhost));
	assert_ok(cvmm_vhost_set_vring_num(&vhost, 0, SIZE));
	cvmm_vhost_close(&vhost);
}

static void the_kind_of_workers_can_be_chosen(void **state)
{
	struct cvmm_vhost vhost = CVMM_VHOST_NONE;
	struct cvmm_error err = { 0 };
	uint8_t mode = 0xff;
	int ret;

	(void)state;
	if (cvmm_vhost_open(&vhost, CVMM_VHOST_NET, NULL, &err) == -ENOENT)
		SKIP("%s", err.message);
	assert_fine(err.code, &err);
	ret = cvmm_vhost_get_fork_from_owner(&vhost, &mode);
	if (ret == -ENOTTY) {
		assert_int_equal(mode, 0xff);
		assert_int_equal(cvmm_vhost_set_fork_from_owner(&vhost, 1), -ENOTTY);
		assert_ok(cvmm_vhost_set_owner(&vhost));
		assert_int_equal(cvmm_vhost_set_fork_from_owner(&vhost, 1), -ENOTTY);
		cvmm_vhost_close(&vhost);
		SKIP("kinds of workers: this kernel gives no choice");
	}
	assert_ok(ret);
	assert_ok(cvmm_vhost_set_fork_from_owner(&vhost, VHOST_FORK_OWNER_KTHREAD));
	assert_ok(cvmm_vhost_get_fork_from_owner(&vhost, &mode));
	assert_int_equal(mode, VHOST_FORK_OWNER_KTHREAD);
	assert_ok(cvmm_vhost_set_fork_from_owner(&vhost, VHOST_FORK_OWNER_TASK));
	assert_ok(cvmm_vhost_get_fork_from_owner(&vhost, &mode));
	assert_int_equal(mode, VHOST_FORK_OWNER_TASK);
	assert_int_equal(cvmm_vhost_set_fork_from_owner(&vhost, 2), -EINVAL);
	assert_ok(cvmm_vhost_set_owner(&vhost));
	assert_int_equal(cvmm_vhost_set_fork_from_owner(&vhost, 1), -EBUSY); /* too late */
	cvmm_vhost_close(&vhost);
}

static void queues_of_a_network_have_no_workers_of_their_own(void **state)
{
	struct cvmm_vhost vhost = open_or_skip(CVMM_VHOST_NET, NULL);
	uint32_t worker = 42;

	(void)state;
	assert_int_equal(cvmm_vhost_new_worker(&vhost, &worker), -ENOTTY);
	assert_int_equal(cvmm_vhost_free_worker(&vhost, 0), -ENOTTY);
	assert_int_equal(cvmm_vhost_attach_vring_worker(&vhost, TX, 0), -ENOTTY);
	assert_int_equal(cvmm_vhost_get_vring_worker(&vhost, TX, &worker), -ENOTTY);
	assert_int_equal(worker, 42);
	cvmm_vhost_close(&vhost);
}

static void timeouts_of_busy_polling_are_kept(void **state)
{
	uint32_t timeout = 42;
	struct net net;

	(void)state;
	net_start(&net, VERSION_1);
	assert_ok(cvmm_vhost_get_vring_busyloop_timeout(&net.vhost, TX, &timeout));
	assert_int_equal(timeout, 0);
	assert_ok(cvmm_vhost_set_vring_busyloop_timeout(&net.vhost, TX, 50));
	assert_ok(cvmm_vhost_get_vring_busyloop_timeout(&net.vhost, TX, &timeout));
	assert_int_equal(timeout, 50);
	assert_ok(cvmm_vhost_get_vring_busyloop_timeout(&net.vhost, RX, &timeout));
	assert_int_equal(timeout, 0);
	guest_sends(&net, 100, 0);
	net_end(&net);
}

static void byte_orders_of_rings_need_a_kernel_that_knows_them(void **state)
{
	struct cvmm_vhost vhost = open_or_skip(CVMM_VHOST_NET, NULL);
	bool is_big = true;
	int ret = cvmm_vhost_set_vring_endian(&vhost, TX, true);

	(void)state;
	if (ret == -ENOTTY) {
		assert_int_equal(cvmm_vhost_get_vring_endian(&vhost, TX, &is_big), -ENOTTY);
		assert_true(is_big);
		cvmm_vhost_close(&vhost);
		SKIP("byte orders: this kernel lacks CONFIG_VHOST_CROSS_ENDIAN_LEGACY");
	}
	assert_ok(ret);
	assert_ok(cvmm_vhost_get_vring_endian(&vhost, RX, &is_big));
	assert_false(is_big);
	assert_ok(cvmm_vhost_get_vring_endian(&vhost, TX, &is_big));
	assert_true(is_big);
	cvmm_vhost_close(&vhost);
}

static void ioctls_of_other_kinds_are_not_known(void **state)
{
	struct cvmm_vhost vhost = open_or_skip(CVMM_VHOST_NET, NULL);
	struct vhost_vdpa_iova_range range;
	uint32_t u32 = 0x5a5a5a5a;
	uint8_t status = 0x5a;

	(void)state;
	assert_int_equal(cvmm_vhost_vdpa_get_device_id(&vhost, &u32), -ENOTTY);
	assert_int_equal(cvmm_vhost_vdpa_get_status(&vhost, &status), -ENOTTY);
	assert_int_equal(cvmm_vhost_vdpa_get_group_num(&vhost, &u32), -ENOTTY);
	assert_int_equal(cvmm_vhost_vdpa_get_iova_range(&vhost, &range), -ENOTTY);
	assert_int_equal(cvmm_vhost_vdpa_suspend(&vhost), -ENOTTY);
	assert_int_equal(cvmm_vhost_vdpa_resume(&vhost), -ENOTTY);
	assert_int_equal(cvmm_vhost_vsock_set_running(&vhost, false), -ENOTTY);
	assert_int_equal(u32, 0x5a5a5a5a);
	assert_int_equal(status, 0x5a);
	cvmm_vhost_close(&vhost);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_go_both_ways),
		cmocka_unit_test(frames_go_both_ways_with_indirect_tables_and_event_indices),
		cmocka_unit_test(rings_at_the_very_end_of_ram_work),
		cmocka_unit_test(a_kick_that_was_taken_away_kicks_no_more),
		cmocka_unit_test(a_call_that_was_taken_away_is_signalled_no_more),
		cmocka_unit_test(the_used_index_is_read_from_the_ring),
		cmocka_unit_test(a_stopped_queue_has_no_eventfds),
		cmocka_unit_test(a_refused_start_leaves_no_eventfd_bound),
		cmocka_unit_test(a_queue_that_runs_cannot_be_moved),
		cmocka_unit_test(a_queue_goes_from_the_kernel_to_us_and_back),
		cmocka_unit_test(memory_of_many_regions_that_touch_is_one_to_the_kernel),
		cmocka_unit_test(memory_that_is_read_only_is_not_written_to),
		cmocka_unit_test(writes_are_logged),
		cmocka_unit_test(misses_are_read_and_answered_in_the_first_form),
		cmocka_unit_test(misses_are_read_and_answered_in_the_second_form),
		cmocka_unit_test(without_an_iommu_the_kernel_takes_no_translations),
		cmocka_unit_test(features_that_were_not_offered_are_refused),
		cmocka_unit_test(arrays_of_features_agree_with_words),
		cmocka_unit_test(a_device_has_one_owner_until_it_is_reset),
		cmocka_unit_test(the_kind_of_workers_can_be_chosen),
		cmocka_unit_test(queues_of_a_network_have_no_workers_of_their_own),
		cmocka_unit_test(timeouts_of_busy_polling_are_kept),
		cmocka_unit_test(byte_orders_of_rings_need_a_kernel_that_knows_them),
		cmocka_unit_test(ioctls_of_other_kinds_are_not_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
