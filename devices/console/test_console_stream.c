// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Much data, in chains of every shape, through descriptors of several kinds, in both directions. */
#include "test_console_util.h"

#define PORT 1U
#define BULK_BYTES (UINT64_C(64) << 20)
#define SMALL_BYTES (UINT64_C(4) << 20)
#define PIECES_MAX 6U

/* Chains between submission and use, oldest first: they come back in order. */
struct flow {
	unsigned int queue;
	uint64_t state; /* of the generator of sizes */
	unsigned int pieces_out;
	unsigned int first, count;
	struct {
		struct harness_buf bufs[PIECES_MAX];
		unsigned int pieces;
	} chains[QUEUE_SIZE];
};

/* Submit a chain of random pieces, if the ring has room. Return: its bytes, or 0. */
static size_t flow_submit(struct guest *g, struct flow *f, struct random_stream *source,
			  uint64_t bytes_max)
{
	static uint8_t bytes[PIECE_BYTES_MAX];
	struct driver_ring *ring = &g->h.rings[f->queue];
	unsigned int pieces = 1 + (unsigned int)(random_next(&f->state) % PIECES_MAX);
	unsigned int slot = (f->first + f->count) % QUEUE_SIZE;
	struct harness_buf *bufs = f->chains[slot].bufs;
	size_t total = 0;
	unsigned int i;

	if (f->pieces_out + pieces > QUEUE_SIZE)
		return 0;
	for (i = 0; i < pieces && total < bytes_max; i++) {
		uint64_t index = (ring->next_desc + i) % QUEUE_SIZE;
		uint64_t limit = random_next(&f->state) & 1 ? 16 : PIECE_BYTES_MAX;
		uint64_t len = 1 + random_next(&f->state) % limit;

		if (len > bytes_max - total)
			len = bytes_max - total;
		bufs[i] = (struct harness_buf){ g->piece[f->queue] + index * PIECE_BYTES_MAX,
						(uint32_t)len, !source };
		if (source) {
			stream_fill(source, bytes, len);
			harness_write(&g->h, bufs[i].gpa, bytes, len);
		}
		total += len;
	}
	if (!i)
		return 0;
	f->chains[slot].pieces = i;
	harness_submit(&g->h, f->queue, bufs, i);
	f->pieces_out += i;
	f->count++;
	return total;
}

/* Take a used chain back, and check its bytes if it is a receive buffer. */
static bool flow_reap(struct guest *g, struct flow *f, struct random_stream *sink)
{
	static uint8_t bytes[PIECE_BYTES_MAX];
	unsigned int slot = f->first;
	uint32_t len;

	if (!harness_take_used(&g->h, f->queue, NULL, &len))
		return false;
	for (unsigned int i = 0; sink && i < f->chains[slot].pieces; i++) {
		const struct harness_buf *buf = &f->chains[slot].bufs[i];
		uint32_t part = len < buf->len ? len : buf->len;

		harness_read(&g->h, buf->gpa, bytes, part);
		stream_check(sink, bytes, part);
		len -= part;
	}
	assert_int_equal(len, 0);
	f->pieces_out -= f->chains[slot].pieces;
	f->first = (f->first + 1) % QUEUE_SIZE;
	f->count--;
	return true;
}

static void host_read(int fd, struct random_stream *sink, size_t len)
{
	static uint8_t bytes[65536];
	ssize_t n;

	n = read(fd, bytes, len < sizeof(bytes) ? len : sizeof(bytes));
	if (n > 0)
		stream_check(sink, bytes, (size_t)n);
	else
		assert_true(n < 0 && errno == EAGAIN);
}

/* Write some of the stream; what the descriptor does not take is offered again next time. */
static void host_write(int fd, struct random_stream *source, uint64_t total)
{
	static uint8_t bytes[65536];
	struct random_stream before = *source;
	size_t len = (size_t)(random_next(&before.state) % sizeof(bytes)) + 1;
	ssize_t n;

	before = *source;
	if (len > total - source->position)
		len = (size_t)(total - source->position);
	if (!len)
		return;
	stream_fill(source, bytes, len);
	n = write(fd, bytes, len);
	assert_true(n > 0 || errno == EAGAIN);
	*source = before;
	stream_fill(source, bytes, n > 0 ? (size_t)n : 0);
}

/* Both directions at once; the far ends are @host_in and @host_out. */
static void exchange(struct cvmm_console_port port, int host_in, int host_out, uint64_t features,
		     uint64_t total)
{
	struct cvmm_console_port ports[] = { { .in_fd = -1, .out_fd = -1, .is_console = true },
					     port };
	struct random_stream to_guest = RANDOM_STREAM, at_guest = RANDOM_STREAM;
	struct random_stream to_host = RANDOM_STREAM, at_host = RANDOM_STREAM;
	struct flow tx = { .queue = tx_queue(PORT), .state = 0x1234567 };
	struct flow rx = { .queue = rx_queue(PORT), .state = 0x7654321 };
	static struct guest g;

	to_guest.state = at_guest.state = 0x9e3779b97f4a7c15;
	guest_create(&g, ports, 2, features | CVMM_VIRTIO_FEATURE(CVMM_CONSOLE_F_MULTIPORT));
	guest_boot(&g);
	guest_open(&g, PORT);
	while (at_guest.position < total || at_host.position < total) {
		while (to_host.position < total &&
		       flow_submit(&g, &tx, &to_host, total - to_host.position))
			continue;
		while (flow_submit(&g, &rx, NULL, SIZE_MAX))
			continue;
		harness_kick(&g.h, tx.queue);
		harness_kick(&g.h, rx.queue);
		host_write(host_in, &to_guest, total);
		assert_true(cvmm_loop_run_once(g.h.loop, 0) >= 0);
		host_read(host_out, &at_host, 1 + (size_t)(random_next(&tx.state) % 65536));
		while (flow_reap(&g, &tx, NULL) || flow_reap(&g, &rx, &at_guest))
			continue;
	}
	while (flow_reap(&g, &tx, NULL))
		continue;
	assert_int_equal(tx.count, 0);
	assert_true(cvmm_console_output_idle(g.console, PORT));
	assert_int_equal(g.h.resets_needed, 0);
	guest_destroy(&g);
}

static void bulk_passes_pipes_unchanged_both_ways(void **state)
{
	struct pipe_ends in = make_pipe(), out = make_pipe();

	(void)state;
	exchange((struct cvmm_console_port){ .in_fd = in.read, .out_fd = out.write }, in.write,
		 out.read, CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_EVENT_IDX), BULK_BYTES);
	close(in.read);
	close(in.write);
	close(out.read);
	close(out.write);
}

static void bulk_passes_pipes_that_block(void **state)
{
	struct pipe_ends in = make_pipe(), out = make_pipe();

	(void)state;
	cvmm_set_nonblock(in.read, false);
	cvmm_set_nonblock(out.write, false);
	exchange((struct cvmm_console_port){ .in_fd = in.read, .out_fd = out.write }, in.write,
		 out.read, 0, SMALL_BYTES);
	close(in.read);
	close(in.write);
	close(out.read);
	close(out.write);
}

static void bulk_passes_a_socket_that_blocks(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	cvmm_set_nonblock(fds[1], true);
	exchange((struct cvmm_console_port){ .in_fd = fds[0], .out_fd = fds[0] }, fds[1], fds[1], 0,
		 SMALL_BYTES);
	close(fds[0]);
	close(fds[1]);
}

static void regular_files_are_read_to_their_end_and_written(void **state)
{
	struct cvmm_console_port ports[2] = { { .in_fd = -1, .out_fd = -1 } };
	struct random_stream source = RANDOM_STREAM, sink = RANDOM_STREAM;
	struct flow rx = { .queue = rx_queue(PORT), .state = 0x7654321 };
	static uint8_t bytes[1 << 20];
	static struct guest g;
	char in_name[] = "/tmp/cvmm-console-XXXXXX", out_name[] = "/tmp/cvmm-console-XXXXXX";

	(void)state;
	ports[1].in_fd = mkstemp(in_name);
	ports[1].out_fd = mkstemp(out_name);
	unlink(in_name);
	unlink(out_name);
	stream_fill(&source, bytes, sizeof(bytes));
	assert_int_equal(cvmm_write_full(ports[1].in_fd, bytes, sizeof(bytes)), 0);
	assert_int_equal(lseek(ports[1].in_fd, 0, SEEK_SET), 0);
	guest_create(&g, ports, 2, CVMM_VIRTIO_FEATURE(CVMM_CONSOLE_F_MULTIPORT));
	guest_boot(&g);
	guest_open(&g, PORT);
	while (!g.events[PORT][CVMM_CONSOLE_INPUT_ENDED]) {
		while (flow_submit(&g, &rx, NULL, SIZE_MAX))
			continue;
		harness_kick(&g.h, rx.queue);
		assert_true(cvmm_loop_run_once(g.h.loop, 100) >= 0);
		while (flow_reap(&g, &rx, &sink))
			continue;
	}
	while (flow_reap(&g, &rx, &sink))
		continue;
	assert_int_equal(sink.position, sizeof(bytes));
	guest_expect_control(&g, PORT, PORT_OPEN, 0);

	/* Written after the end of input: the host takes it all the same. */
	guest_send(&g, PORT, "to the file", 11);
	assert_true(cvmm_console_output_idle(g.console, PORT));
	assert_int_equal(cvmm_pread_full(ports[1].out_fd, bytes, 100, 0), 11);
	assert_memory_equal(bytes, "to the file", 11);
	guest_destroy(&g);
	close(ports[1].in_fd);
	close(ports[1].out_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bulk_passes_pipes_unchanged_both_ways),
		cmocka_unit_test(bulk_passes_pipes_that_block),
		cmocka_unit_test(bulk_passes_a_socket_that_blocks),
		cmocka_unit_test(regular_files_are_read_to_their_end_and_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
