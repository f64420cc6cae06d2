// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * vhost-vsock of a real kernel: sockets of the host's talk to rings of ours, which speak virtio-vsock as a
 * guest would. `tests/vhost/run` starts it in a machine of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <linux/virtio_vsock.h>
#include <linux/vm_sockets.h>
#include <cmocka.h>

#include "guest.h"

#define RX 0U
#define TX 1U
#define SIZE 16U
#define GUEST_CID 4711U
#define GUEST_PORT 1024U
#define HOST_PORT 2048U
#define HOST_PORT_OF_GUEST 1099U
#define CREDIT 65536U /* bytes that the guest takes */
#define PAYLOAD_MAX 3000U

#define RX_RINGS_AT LOW_AT
#define TX_RINGS_AT (LOW_AT + 0x8000)
#define RX_BUFFERS_AT HIGH_AT
#define TX_BUFFER_AT (LOW_AT + LOW_BYTES / 2 - PAGE) /* across the border */
#define BUFFER_BYTES 4096U

struct vsock {
	struct cvmm_vhost vhost;
	struct cvmm_mem *mem;
	struct guest_queue rx, tx;
	uint32_t fwd_count;	     /* bytes that the guest took */
	int listener, host;	     /* sockets */
	struct virtio_vsock_hdr hdr; /* of the last packet that came */
	uint8_t payload[BUFFER_BYTES];
};

/* ---- the guest ------------------------------------------------------------------------------- */

static void guest_offers(struct vsock *v, uint32_t slot)
{
	const struct cvmm_virtq_segment segment = { G(RX_BUFFERS_AT + slot * BUFFER_BYTES),
						    BUFFER_BYTES };

	queue_add(&v->rx, &segment, 0, 1, (void *)(uintptr_t)(slot + 1));
}

/* The next packet for the guest, into hdr and payload. */
static void guest_takes(struct vsock *v)
{
	uint32_t len, slot;

	slot = (uint32_t)(uintptr_t)queue_wait(&v->rx, &len) - 1;
	assert_in_range(len, sizeof(v->hdr), BUFFER_BYTES);
	get(v->mem, RX_BUFFERS_AT + slot * BUFFER_BYTES, &v->hdr, sizeof(v->hdr));
	assert_int_equal(le32toh(v->hdr.len), len - sizeof(v->hdr));
	get(v->mem, RX_BUFFERS_AT + slot * BUFFER_BYTES + sizeof(v->hdr), v->payload,
	    len - sizeof(v->hdr));
	assert_int_equal(le64toh(v->hdr.dst_cid), GUEST_CID);
	assert_int_equal(le64toh(v->hdr.src_cid), VMADDR_CID_HOST);
	v->fwd_count += le32toh(v->hdr.len);
	guest_offers(v, slot);
	queue_kick(&v->rx);
}

static void guest_takes_op(struct vsock *v, uint16_t op)
{
	do
		guest_takes(v);
	while (le16toh(v->hdr.op) == VIRTIO_VSOCK_OP_CREDIT_UPDATE ||
	       le16toh(v->hdr.op) == VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	assert_int_equal(le16toh(v->hdr.op), op);
}

static void guest_sends(struct vsock *v, uint32_t src_port, uint32_t dst_port, uint16_t op,
			const void *payload, uint32_t len)
{
	const struct virtio_vsock_hdr hdr = {
		.src_cid = htole64(GUEST_CID),
		.dst_cid = htole64(VMADDR_CID_HOST),
		.src_port = htole32(src_port),
		.dst_port = htole32(dst_port),
		.len = htole32(len),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
		.op = htole16(op),
		.flags = htole32(op == VIRTIO_VSOCK_OP_SHUTDOWN ? 3 : 0), /* both directions */
		.buf_alloc = htole32(CREDIT),
		.fwd_cnt = htole32(v->fwd_count),
	};
	const struct cvmm_virtq_segment segments[] = {
		{ G(TX_BUFFER_AT), sizeof(hdr) },
		{ G(TX_BUFFER_AT + sizeof(hdr)), len },
	};

	put(v->mem, TX_BUFFER_AT, &hdr, sizeof(hdr));
	if (len)
		put(v->mem, TX_BUFFER_AT + sizeof(hdr), payload, len);
	assert_int_equal(queue_do(&v->tx, segments, len ? 2 : 1, 0), 0);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void vsock_start(struct vsock *v, uint64_t features)
{
	*v = (struct vsock){ .listener = -1, .host = -1 };
	v->vhost = open_or_skip(CVMM_VHOST_VSOCK, NULL);
	v->mem = make_memory();
	assert_ok(cvmm_vhost_set_features(&v->vhost, features));
	set_memory(&v->vhost, v->mem);
	queue_init(&v->rx, v->mem, RX, SIZE, features, RX_RINGS_AT);
	queue_init(&v->tx, v->mem, TX, SIZE, features, TX_RINGS_AT);
	for (uint32_t slot = 0; slot < SIZE; slot++)
		guest_offers(v, slot);
	cvmm_virtq_driver_publish(&v->rx.drv);
	queue_start(&v->rx, &v->vhost);
	queue_start(&v->tx, &v->vhost);
	assert_ok(cvmm_vhost_vsock_set_guest_cid(&v->vhost, GUEST_CID));
	assert_ok(cvmm_vhost_vsock_set_running(&v->vhost, true));
}

static void vsock_end(struct vsock *v)
{
	queue_is_sound(&v->rx);
	queue_is_sound(&v->tx);
	cvmm_close_fd(&v->host);
	cvmm_close_fd(&v->listener);
	cvmm_vhost_close(&v->vhost);
	queue_fini(&v->rx);
	queue_fini(&v->tx);
	cvmm_mem_unref(v->mem);
}

static int host_socket(void)
{
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	return fd;
}

/* The host connects to the guest, whose port is its own. */
static void host_connects(struct vsock *v)
{
	const struct sockaddr_vm to = { .svm_family = AF_VSOCK,
					.svm_cid = GUEST_CID,
					.svm_port = GUEST_PORT };
	const struct sockaddr_vm from = { .svm_family = AF_VSOCK,
					  .svm_cid = VMADDR_CID_ANY,
					  .svm_port = HOST_PORT };
	struct pollfd poll_fd;
	int error = -1;
	socklen_t len = sizeof(error);

	v->host = host_socket();
	assert_ok(bind(v->host, (const struct sockaddr *)&from, sizeof(from)));
	assert_int_equal(connect(v->host, (const struct sockaddr *)&to, sizeof(to)), -1);
	assert_int_equal(errno, EINPROGRESS);
	guest_takes_op(v, VIRTIO_VSOCK_OP_REQUEST);
	assert_int_equal(le32toh(v->hdr.src_port), HOST_PORT);
	assert_int_equal(le32toh(v->hdr.dst_port), GUEST_PORT);
	assert_int_equal(le16toh(v->hdr.type), VIRTIO_VSOCK_TYPE_STREAM);
	guest_sends(v, GUEST_PORT, HOST_PORT, VIRTIO_VSOCK_OP_RESPONSE, NULL, 0);
	poll_fd = (struct pollfd){ .fd = v->host, .events = POLLOUT };
	assert_int_equal(poll(&poll_fd, 1, DEADLINE_MS), 1);
	assert_ok(getsockopt(v->host, SOL_SOCKET, SO_ERROR, &error, &len));
	assert_int_equal(error, 0);
}

/* The guest connects to the host. */
static void guest_connects(struct vsock *v)
{
	const struct sockaddr_vm at = { .svm_family = AF_VSOCK,
					.svm_cid = VMADDR_CID_ANY,
					.svm_port = HOST_PORT };
	struct sockaddr_vm from = { .svm_family = 0 };
	socklen_t len = sizeof(from);

	v->listener = host_socket();
	assert_ok(bind(v->listener, (const struct sockaddr *)&at, sizeof(at)));
	assert_ok(listen(v->listener, 1));
	guest_sends(v, HOST_PORT_OF_GUEST, HOST_PORT, VIRTIO_VSOCK_OP_REQUEST, NULL, 0);
	guest_takes_op(v, VIRTIO_VSOCK_OP_RESPONSE);
	assert_int_equal(le32toh(v->hdr.src_port), HOST_PORT);
	assert_int_equal(le32toh(v->hdr.dst_port), HOST_PORT_OF_GUEST);
	must_become_readable(v->listener, "the guest's connection");
	v->host =
		accept4(v->listener, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(v->host >= 0);
	assert_int_equal(from.svm_cid, GUEST_CID);
	assert_int_equal(from.svm_port, HOST_PORT_OF_GUEST);
}

/* ---- payload --------------------------------------------------------------------------------- */

static void host_to_guest(struct vsock *v, uint32_t len, uint32_t seed)
{
	uint8_t want[PAYLOAD_MAX] = { 0 }, got[PAYLOAD_MAX] = { 0 };
	uint32_t n = 0;

	fill(want, len, seed);
	assert_int_equal(send(v->host, want, len, 0), len);
	while (n < len) {
		guest_takes_op(v, VIRTIO_VSOCK_OP_RW);
		assert_true(le32toh(v->hdr.len) <= len - n);
		memcpy(got + n, v->payload, le32toh(v->hdr.len));
		n += le32toh(v->hdr.len);
	}
	assert_memory_equal(got, want, len);
}

static void guest_to_host(struct vsock *v, uint32_t guest_port, uint32_t len, uint32_t seed)
{
	uint8_t want[PAYLOAD_MAX] = { 0 }, got[PAYLOAD_MAX] = { 0 };
	uint32_t n = 0;

	fill(want, len, seed);
	guest_sends(v, guest_port, HOST_PORT, VIRTIO_VSOCK_OP_RW, want, len);
	while (n < len) {
		ssize_t part;

		must_become_readable(v->host, "the guest's payload");
		part = recv(v->host, got + n, len - n, 0);
		assert_true(part > 0);
		n += (uint32_t)part;
	}
	assert_memory_equal(got, want, len);
}

static void payload_goes_both_ways(struct vsock *v, uint32_t guest_port)
{
	static const uint32_t sizes[] = { 1, 3000, 64, 2999, 1024 };

	for (uint32_t i = 0; i < 3 * SIZE; i++) {
		uint32_t len = sizes[i % CVMM_ARRAY_SIZE(sizes)];

		host_to_guest(v, len, i);
		guest_to_host(v, guest_port, len, ~i);
	}
}

static void the_host_connects_and_talks(void **state)
{
	struct vsock v;

	(void)state;
	vsock_start(&v, VERSION_1);
	host_connects(&v);
	payload_goes_both_ways(&v, GUEST_PORT);
	assert_ok(shutdown(v.host, SHUT_RDWR));
	guest_takes_op(&v, VIRTIO_VSOCK_OP_SHUTDOWN);
	guest_sends(&v, GUEST_PORT, HOST_PORT, VIRTIO_VSOCK_OP_RST, NULL, 0);
	vsock_end(&v);
}

static void the_guest_connects_and_talks(void **state)
{
	uint8_t byte;
	struct vsock v;

	(void)state;
	vsock_start(&v, VERSION_1 | EVENT_IDX | INDIRECT_DESC);
	guest_connects(&v);
	payload_goes_both_ways(&v, HOST_PORT_OF_GUEST);
	guest_sends(&v, HOST_PORT_OF_GUEST, HOST_PORT, VIRTIO_VSOCK_OP_SHUTDOWN, NULL, 0);
	must_become_readable(v.host, "the end of the stream");
	assert_int_equal(recv(v.host, &byte, 1, 0), 0);
	vsock_end(&v);
}

static void nobody_listens_on_other_ports(void **state)
{
	struct vsock v;

	(void)state;
	vsock_start(&v, VERSION_1);
	guest_sends(&v, HOST_PORT_OF_GUEST, 1, VIRTIO_VSOCK_OP_REQUEST, NULL, 0);
	guest_takes_op(&v, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(le32toh(v.hdr.dst_port), HOST_PORT_OF_GUEST);
	vsock_end(&v);
}

/* A connection lives through a stop and a start, as in a snapshot that goes on where it was taken. */
static void a_device_that_was_stopped_goes_on(void **state)
{
	struct vsock v;

	(void)state;
	vsock_start(&v, VERSION_1);
	host_connects(&v);
	host_to_guest(&v, 100, 1);
	guest_to_host(&v, GUEST_PORT, 100, 2);
	assert_ok(cvmm_vhost_vsock_set_running(&v.vhost, false));
	queue_stop(&v.rx, &v.vhost);
	queue_stop(&v.tx, &v.vhost);
	assert_true(v.rx.q.base.next_used >= 2);
	assert_int_equal(v.tx.q.base.next_avail, 2); /* a response, and 100 bytes */
	assert_int_equal(v.tx.q.base.next_used, 2);
	queue_start(&v.rx, &v.vhost);
	queue_start(&v.tx, &v.vhost);
	assert_ok(cvmm_vhost_vsock_set_running(&v.vhost, true));
	payload_goes_both_ways(&v, GUEST_PORT);
	vsock_end(&v);
}

/* ---- addresses ------------------------------------------------------------------------------- */

static void addresses_that_a_guest_cannot_have_are_refused(void **state)
{
	static const uint64_t bad[] = {
		0, 1, VMADDR_CID_HOST, UINT32_MAX, UINT64_C(1) << 32, UINT64_MAX
	};
	struct cvmm_vhost vhost = open_or_skip(CVMM_VHOST_VSOCK, NULL);
	struct cvmm_vhost other = open_or_skip(CVMM_VHOST_VSOCK, NULL);

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++)
		assert_int_equal(cvmm_vhost_vsock_set_guest_cid(&vhost, bad[i]), -EINVAL);
	assert_ok(cvmm_vhost_vsock_set_guest_cid(&vhost, GUEST_CID));
	assert_int_equal(cvmm_vhost_vsock_set_guest_cid(&other, GUEST_CID), -EADDRINUSE);
	assert_ok(cvmm_vhost_vsock_set_guest_cid(&other, GUEST_CID + 1));
	cvmm_vhost_close(&vhost);
	assert_ok(cvmm_vhost_vsock_set_guest_cid(&other, GUEST_CID));
	cvmm_vhost_close(&other);
}

static void a_device_without_queues_does_not_run(void **state)
{
	struct cvmm_vhost vhost = open_or_skip(CVMM_VHOST_VSOCK, NULL);
	uint64_t features = 0;

	(void)state;
	assert_ok(cvmm_vhost_get_features(&vhost, &features));
	assert_true(features & VERSION_1);
	assert_int_equal(cvmm_vhost_vsock_set_running(&vhost, true), -EFAULT);
	assert_ok(cvmm_vhost_vsock_set_running(&vhost, false));
	cvmm_vhost_close(&vhost);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_host_connects_and_talks),
		cmocka_unit_test(the_guest_connects_and_talks),
		cmocka_unit_test(nobody_listens_on_other_ports),
		cmocka_unit_test(a_device_that_was_stopped_goes_on),
		cmocka_unit_test(addresses_that_a_guest_cannot_have_are_refused),
		cmocka_unit_test(a_device_without_queues_does_not_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
