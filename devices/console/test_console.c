// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The console device's rules: who may open, what ends, what is refused, what survives. */
#include <stdlib.h>
#include <termios.h>

#include "test_console_util.h"

#define MULTIPORT CVMM_VIRTIO_FEATURE(CVMM_CONSOLE_F_MULTIPORT)
#define SIZE CVMM_VIRTIO_FEATURE(CVMM_CONSOLE_F_SIZE)

#define NO_FDS .in_fd = -1, .out_fd = -1

/* Port 0 is a console, port 1 a plain port with these two descriptors. */
static void guest_create_plain(struct guest *g, int in_fd, int out_fd)
{
	struct cvmm_console_port ports[] = {
		{ .is_console = true, NO_FDS },
		{ .name = "org.example.data", .in_fd = in_fd, .out_fd = out_fd },
	};

	guest_create(g, ports, 2, MULTIPORT);
}

static void guest_create_console(struct guest *g, int in_fd, int out_fd, uint64_t features)
{
	struct cvmm_console_port port = { .is_console = true, .in_fd = in_fd, .out_fd = out_fd };

	guest_create(g, &port, 1, features);
}

static void close_pipe(struct pipe_ends p)
{
	if (p.read >= 0)
		close(p.read);
	if (p.write >= 0)
		close(p.write);
}

static void expect_read(int fd, const char *text)
{
	char bytes[256];
	ssize_t n = read(fd, bytes, sizeof(bytes));

	assert_int_equal(n, strlen(text));
	assert_memory_equal(bytes, text, strlen(text));
}

static void expect_received(struct guest *g, unsigned int port, const char *text)
{
	char bytes[PIECE_BYTES_MAX];
	int n;

	harness_run(&g->h);
	n = guest_take(g, port, bytes);
	assert_int_equal(n, strlen(text));
	assert_memory_equal(bytes, text, strlen(text));
}

static void expect_nothing_received(struct guest *g, unsigned int port)
{
	char bytes[PIECE_BYTES_MAX];

	harness_run(&g->h);
	assert_int_equal(guest_take(g, port, bytes), -1);
}

/* Fill a pipe to the brim. Return: the bytes it took. */
static size_t fill_pipe(int fd)
{
	static const char bytes[4096];
	size_t total = 0;
	ssize_t n;

	while ((n = write(fd, bytes, sizeof(bytes))) > 0)
		total += (size_t)n;
	return total;
}

static void drain_pipe(int fd, size_t total)
{
	static char bytes[4096];

	while (total) {
		ssize_t n = read(fd, bytes, total < sizeof(bytes) ? total : sizeof(bytes));

		assert_true(n > 0);
		total -= (size_t)n;
	}
}

/* ---- creation ----------------------------------------------------------------------------------- */

static void create_refuses_ports_that_cannot_work(void **state)
{
	struct pipe_ends p = make_pipe();
	char long_name[CVMM_CONSOLE_NAME_BYTES_MAX + 2];
	struct cvmm_console_port port = { .name = "a/b", NO_FDS };
	struct cvmm_console_config config = { .ports = &port };
	struct cvmm_console *console = NULL;
	struct cvmm_error err;

	(void)state;
	assert_int_equal(cvmm_console_create(&config, &console, &err), -EINVAL);
	config.port_count = CVMM_CONSOLE_PORTS_MAX + 1;
	assert_int_equal(cvmm_console_create(&config, &console, &err), -EINVAL);
	config.port_count = 1;
	assert_int_equal(cvmm_console_create(&config, &console, &err), -EINVAL);
	memset(long_name, 'x', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = 0;
	port.name = long_name;
	assert_int_equal(cvmm_console_create(&config, &console, &err), -EINVAL);
	port.name = NULL;
	port.in_fd = p.write;
	assert_int_equal(cvmm_console_create(&config, &console, &err), -EINVAL);
	assert_non_null(strstr(err.message, "not open for reading"));
	close_pipe(p);
	assert_int_equal(cvmm_console_create(&config, &console, &err), -EBADF);
	assert_null(console);
	cvmm_console_destroy(NULL);
}

static void config_space_tells_size_and_ports(void **state)
{
	struct cvmm_virtio_config_space *space;
	static struct guest g;
	uint8_t bytes[12];

	(void)state;
	guest_create_plain(&g, -1, -1);
	space = cvmm_console_ops.config_space(g.console);
	cvmm_virtio_config_space_read(space, 0, bytes, sizeof(bytes));
	assert_int_equal(cvmm_get_le16(bytes), 80);
	assert_int_equal(cvmm_get_le16(bytes + 2), 25);
	assert_int_equal(cvmm_get_le32(bytes + 4), 2);
	assert_int_equal(cvmm_console_ops.queue_count(g.console), 6);
	assert_int_equal(cvmm_console_ops.features(g.console), MULTIPORT | SIZE);
	guest_destroy(&g);
}

/* ---- control ----------------------------------------------------------------------------------- */

static void ports_are_announced_in_the_order_that_linux_needs(void **state)
{
	static struct guest g;
	struct message m = { 0 };

	(void)state;
	guest_create_plain(&g, -1, -1);
	assert_int_equal(harness_start(&g.h), 0);
	guest_offer_control(&g, CONTROL_BUFS);
	guest_expect_no_control(&g);
	guest_control(&g, 0xffffffff, DEVICE_READY, 1); /* its id means nothing */
	guest_expect_control(&g, 0, DEVICE_ADD, 1);
	guest_expect_control(&g, 1, DEVICE_ADD, 1);
	guest_expect_no_control(&g);

	guest_control(&g, 0, PORT_READY, 1);
	guest_expect_control(&g, 0, CONSOLE_PORT, 1);
	guest_expect_control(&g, 0, PORT_OPEN, 1);
	assert_true(guest_control_take(&g, &m));
	assert_int_equal(m.event, RESIZE);
	assert_int_equal(m.extra_len, 4);
	assert_int_equal(cvmm_get_le16(m.extra), 80);
	assert_int_equal(cvmm_get_le16(m.extra + 2), 25);

	/* The name comes after the open: who finds the port by name can read from it. */
	guest_control(&g, 1, PORT_READY, 1);
	guest_expect_control(&g, 1, PORT_OPEN, 1);
	assert_true(guest_control_take(&g, &m));
	assert_int_equal(m.event, PORT_NAME);
	assert_int_equal(m.extra_len, strlen("org.example.data"));
	assert_memory_equal(m.extra, "org.example.data", m.extra_len);
	guest_expect_no_control(&g);
	guest_destroy(&g);
}

static void messages_wait_bounded_for_control_buffers(void **state)
{
	static struct guest g;

	(void)state;
	guest_create_plain(&g, -1, -1);
	assert_int_equal(harness_start(&g.h), 0);
	for (int i = 0; i < 1000; i++) {
		guest_control(&g, 0, DEVICE_READY, 1);
		guest_control(&g, 1, PORT_READY, 1);
	}
	/* Port 1 was said to be ready after it was asked for: it need not be announced again. */
	guest_offer_control(&g, 2);
	guest_expect_control(&g, 0, DEVICE_ADD, 1);
	guest_expect_control(&g, 1, PORT_OPEN, 1);
	guest_expect_control(&g, 1, PORT_NAME, 1);
	guest_expect_no_control(&g);
	guest_destroy(&g);
}

static void bad_control_messages_are_given_back_and_ignored(void **state)
{
	static struct guest g;
	uint8_t bytes[64] = { 0 };

	(void)state;
	guest_create_plain(&g, -1, -1);
	guest_boot(&g);
	for (uint32_t len = 1; len < 8; len++)
		guest_control_raw(&g, bytes, len);
	guest_control(&g, 2, PORT_READY, 1); /* no such port */
	guest_control(&g, 0xffffffff, PORT_OPEN, 1);
	guest_control(&g, 0x80000000, PORT_OPEN, 1);
	guest_control(&g, 1, 2, 1); /* for the other direction, or unknown */
	guest_control(&g, 1, DEVICE_ADD, 1);
	guest_control(&g, 1, RESIZE, 1);
	guest_control(&g, 1, PORT_NAME, 1);
	guest_control(&g, 1, 0xffff, 0xffff);
	guest_control(&g, 1, PORT_READY, 0); /* the guest failed, so it says */
	guest_control(&g, 1, DEVICE_READY, 0);
	guest_post(&g, CONTROL_TX, NULL, 64, true); /* nothing to read in it */
	harness_kick(&g.h, CONTROL_TX);
	assert_true(harness_take_used(&g.h, CONTROL_TX, NULL, NULL));
	guest_expect_no_control(&g);
	assert_int_equal(g.events[1][CVMM_CONSOLE_GUEST_OPENED], 0);
	assert_int_equal(g.h.resets_needed, 0);

	/* Longer than needed is fine. */
	cvmm_put_le32(bytes, 1);
	cvmm_put_le16(bytes + 4, PORT_OPEN);
	cvmm_put_le16(bytes + 6, 1);
	guest_control_raw(&g, bytes, sizeof(bytes));
	assert_int_equal(g.events[1][CVMM_CONSOLE_GUEST_OPENED], 1);
	guest_destroy(&g);
}

static void small_control_buffers_go_back_and_no_message_is_lost(void **state)
{
	static struct guest g;
	uint32_t len = 1;

	(void)state;
	guest_create_plain(&g, -1, -1);
	assert_int_equal(harness_start(&g.h), 0);
	guest_control(&g, 0, DEVICE_READY, 1);
	guest_post(&g, CONTROL_RX, NULL, 7, true);
	guest_post(&g, CONTROL_RX, "no room", 7, false);
	harness_kick(&g.h, CONTROL_RX);
	assert_true(harness_take_used(&g.h, CONTROL_RX, NULL, &len));
	assert_int_equal(len, 0);
	assert_true(harness_take_used(&g.h, CONTROL_RX, NULL, &len));
	assert_int_equal(len, 0);
	guest_offer_control(&g, 4);
	guest_expect_control(&g, 0, DEVICE_ADD, 1);
	guest_expect_control(&g, 1, DEVICE_ADD, 1);
	guest_destroy(&g);
}

static void resize_reaches_a_ready_console_port_and_no_other(void **state)
{
	static struct guest g;
	struct message m = { 0 };

	(void)state;
	guest_create_plain(&g, -1, -1);
	assert_int_equal(cvmm_console_resize(g.console, 0, 100, 30), 0);
	guest_boot(&g);
	assert_int_equal(cvmm_console_resize(g.console, 1, 132, 43), -EINVAL);
	assert_int_equal(cvmm_console_resize(g.console, 2, 132, 43), -EINVAL);
	assert_int_equal(cvmm_console_resize(g.console, 0, 100, 30), 0); /* no change */
	guest_expect_no_control(&g);
	assert_int_equal(cvmm_console_resize(g.console, 0, 132, 43), 0);
	assert_true(guest_control_take(&g, &m));
	assert_int_equal(m.event, RESIZE);
	assert_int_equal(cvmm_get_le16(m.extra), 132);
	assert_int_equal(cvmm_get_le16(m.extra + 2), 43);
	assert_int_equal(g.h.config_changes, 0);
	guest_destroy(&g);
}

/* ---- data --------------------------------------------------------------------------------------- */

static void input_waits_until_the_guest_opens_the_port(void **state)
{
	struct pipe_ends in = make_pipe();
	static struct guest g;

	(void)state;
	guest_create_plain(&g, in.read, -1);
	guest_boot(&g);
	guest_offer(&g, 1, 4, 100);
	assert_int_equal(write(in.write, "early", 5), 5);
	expect_nothing_received(&g, 1);
	guest_open(&g, 1);
	assert_int_equal(g.events[1][CVMM_CONSOLE_GUEST_OPENED], 1);
	expect_received(&g, 1, "early");
	guest_control(&g, 1, PORT_OPEN, 0);
	assert_int_equal(g.events[1][CVMM_CONSOLE_GUEST_CLOSED], 1);
	assert_int_equal(write(in.write, "late", 4), 4);
	expect_nothing_received(&g, 1);
	guest_open(&g, 1);
	expect_received(&g, 1, "late");
	close_pipe(in);
	guest_destroy(&g);
}

static void input_waits_until_the_hosts_open_is_told(void **state)
{
	struct pipe_ends in = make_pipe();
	static struct guest g;

	(void)state;
	guest_create_plain(&g, in.read, -1);
	assert_int_equal(harness_start(&g.h), 0);
	guest_control(&g, 1, PORT_READY, 1);
	guest_open(&g, 1); /* before it offers a buffer for control messages */
	guest_offer(&g, 1, 1, 100);
	assert_int_equal(write(in.write, "data", 4), 4);
	expect_nothing_received(&g, 1);
	guest_offer_control(&g, 4);
	guest_expect_control(&g, 1, PORT_OPEN, 1);
	expect_received(&g, 1, "data");
	close_pipe(in);
	guest_destroy(&g);
}

static void input_without_buffers_stays_in_the_pipe_and_the_loop_sleeps(void **state)
{
	struct pipe_ends in = make_pipe();
	static struct guest g;

	(void)state;
	guest_create_plain(&g, in.read, -1);
	guest_boot(&g);
	guest_open(&g, 1);
	assert_int_equal(write(in.write, "0123456789", 10), 10);
	harness_run(&g.h);
	assert_int_equal(cvmm_loop_run_once(g.h.loop, 0), 0);
	guest_offer(&g, 1, 2, 4);
	expect_received(&g, 1, "0123");
	expect_received(&g, 1, "4567");
	assert_int_equal(cvmm_loop_run_once(g.h.loop, 0), 0);
	guest_offer(&g, 1, 1, 4);
	expect_received(&g, 1, "89");
	close_pipe(in);
	guest_destroy(&g);
}

static void chain_for_which_there_is_no_input_yet_is_not_lost(void **state)
{
	struct pipe_ends in = make_pipe();
	static struct guest g;

	(void)state;
	guest_create_plain(&g, in.read, -1);
	guest_boot(&g);
	guest_open(&g, 1);
	guest_offer(&g, 1, 2, 4);
	assert_int_equal(write(in.write, "0123", 4), 4); /* fills a chain: there may be more */
	expect_received(&g, 1, "0123");
	assert_int_equal(write(in.write, "4567", 4), 4);
	expect_received(&g, 1, "4567");
	close_pipe(in);
	guest_destroy(&g);
}

/* One used element for each chain, whatever arrived: not one for each byte. */
static void one_chain_gets_one_used_element(void **state)
{
	struct pipe_ends in = make_pipe();
	static struct guest g;

	(void)state;
	guest_create_plain(&g, in.read, -1);
	guest_boot(&g);
	guest_open(&g, 1);
	guest_post(&g, rx_queue(1), "readable", 8, false); /* no room at all: goes back */
	guest_offer(&g, 1, 2, 100);
	assert_int_equal(write(in.write, "many bytes", 10), 10);
	harness_run(&g.h);
	{
		uint32_t len = 1;

		assert_true(harness_take_used(&g.h, rx_queue(1), NULL, &len));
		assert_int_equal(len, 0);
	}
	expect_received(&g, 1, "many bytes");
	expect_nothing_received(&g, 1);
	close_pipe(in);
	guest_destroy(&g);
}

static void slow_reader_holds_the_guest_back_and_nothing_is_lost(void **state)
{
	struct pipe_ends out = make_pipe();
	size_t filled = fill_pipe(out.write);
	static struct guest g;

	(void)state;
	guest_create_plain(&g, -1, out.write);
	guest_boot(&g);
	guest_send(&g, 1, "first ", 6);
	guest_send(&g, 1, "second", 6);
	harness_run(&g.h);
	assert_false(harness_take_used(&g.h, tx_queue(1), NULL, NULL));
	assert_int_equal(cvmm_loop_run_once(g.h.loop, 0), 0); /* asleep */
	assert_false(cvmm_console_output_idle(g.console, 1));
	assert_int_equal(g.events[1][CVMM_CONSOLE_OUTPUT_IDLE], 0);
	drain_pipe(out.read, filled);
	harness_run(&g.h);
	assert_int_equal(g.events[1][CVMM_CONSOLE_OUTPUT_IDLE], 1);
	assert_true(cvmm_console_output_idle(g.console, 1));
	assert_true(harness_take_used(&g.h, tx_queue(1), NULL, NULL));
	assert_true(harness_take_used(&g.h, tx_queue(1), NULL, NULL));
	expect_read(out.read, "first second");
	close_pipe(out);
	guest_destroy(&g);
}

static void output_idle_takes_what_was_not_kicked(void **state)
{
	struct pipe_ends out = make_pipe();
	static struct guest g;

	(void)state;
	guest_create_plain(&g, -1, out.write);
	guest_boot(&g);
	guest_post(&g, tx_queue(1), "last words", 10, false);
	assert_true(cvmm_console_output_idle(g.console, 1));
	expect_read(out.read, "last words");
	assert_true(cvmm_console_output_idle(g.console, 99));
	close_pipe(out);
	guest_destroy(&g);
}

static void close_is_told_after_the_output_before_it_was_taken(void **state)
{
	struct pipe_ends out = make_pipe();
	static struct guest g;

	(void)state;
	guest_create_plain(&g, -1, out.write);
	g.passive = true;
	guest_boot(&g);
	guest_open(&g, 1);
	guest_post(&g, tx_queue(1), "before", 6, false);
	guest_control(&g, 1, PORT_OPEN, 0); /* overtakes the kick */
	assert_int_equal(g.events[1][CVMM_CONSOLE_GUEST_CLOSED], 1);
	expect_read(out.read, "before");
	close_pipe(out);
	guest_destroy(&g);
}

static void output_without_descriptor_is_discarded(void **state)
{
	static struct guest g;

	(void)state;
	guest_create_plain(&g, -1, -1);
	guest_boot(&g);
	guest_send(&g, 1, "gone", 4);
	guest_post(&g, tx_queue(1), NULL, 4, true); /* nothing to read in it */
	assert_true(cvmm_console_output_idle(g.console, 1));
	assert_true(harness_take_used(&g.h, tx_queue(1), NULL, NULL));
	assert_true(harness_take_used(&g.h, tx_queue(1), NULL, NULL));
	guest_destroy(&g);
}

static void long_output_leaves_the_loop_its_turn(void **state)
{
	const uint32_t len = UINT32_C(10) << 20;
	int fd = open("/dev/null", O_WRONLY);
	static struct guest g;
	struct harness_buf buf;

	(void)state;
	guest_create_plain(&g, -1, fd);
	guest_boot(&g);
	buf = (struct harness_buf){ harness_alloc(&g.h, len, 4096), len, false };
	harness_submit(&g.h, tx_queue(1), &buf, 1);
	harness_kick(&g.h, tx_queue(1));
	assert_false(harness_take_used(&g.h, tx_queue(1), NULL, NULL));
	harness_run(&g.h);
	assert_true(harness_take_used(&g.h, tx_queue(1), NULL, NULL));
	assert_int_equal(g.events[1][CVMM_CONSOLE_OUTPUT_IDLE], 1);
	close(fd);
	guest_destroy(&g);
}

/* Written to, and read from, in full, though the descriptor may block and nobody reads at first. */
static void terminal_that_may_block_never_holds_the_loop_up(void **state)
{
	struct random_stream source = RANDOM_STREAM, sink = RANDOM_STREAM;
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
	const uint64_t total = UINT64_C(1) << 19;
	uint8_t bytes[PIECE_BYTES_MAX];
	static struct guest g;
	struct termios raw;
	int slave;

	(void)state;
	if (master < 0 || grantpt(master) || unlockpt(master)) {
		print_message("SKIP: no pseudo terminals here\n");
		skip();
	}
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	assert_true(slave >= 0);
	assert_int_equal(tcgetattr(slave, &raw), 0);
	cfmakeraw(&raw);
	assert_int_equal(tcsetattr(slave, TCSANOW, &raw), 0);
	guest_create_plain(&g, slave, slave);
	guest_boot(&g);
	guest_open(&g, 1);
	while (source.position < total) {
		stream_fill(&source, bytes, sizeof(bytes));
		guest_send(&g, 1, bytes, sizeof(bytes));
	}
	harness_run(&g.h);
	assert_false(cvmm_console_output_idle(g.console, 1));
	while (sink.position < total) {
		ssize_t n = read(master, bytes, sizeof(bytes));

		if (n > 0)
			stream_check(&sink, bytes, (size_t)n);
		assert_true(cvmm_loop_run_once(g.h.loop, 0) >= 0);
	}
	assert_true(cvmm_console_output_idle(g.console, 1));
	guest_offer(&g, 1, 1, 100);
	assert_int_equal(write(master, "typed", 5), 5);
	harness_wait_used(&g.h, rx_queue(1), NULL, &(uint32_t){ 0 });
	guest_destroy(&g);
	close(slave);
	close(master);
}

/* ---- ends --------------------------------------------------------------------------------------- */

static void end_of_input_is_told_after_the_last_byte(void **state)
{
	struct pipe_ends in = make_pipe();
	static struct guest g;

	(void)state;
	guest_create_plain(&g, in.read, -1);
	guest_boot(&g);
	guest_open(&g, 1);
	guest_offer(&g, 1, 1, 3);
	assert_int_equal(write(in.write, "abcdef", 6), 6);
	close(in.write);
	in.write = -1;
	expect_received(&g, 1, "abc");
	guest_expect_no_control(&g);
	assert_int_equal(g.events[1][CVMM_CONSOLE_INPUT_ENDED], 0);
	guest_offer(&g, 1, 2, 3);
	expect_received(&g, 1, "def");
	guest_expect_control(&g, 1, PORT_OPEN, 0);
	assert_int_equal(g.events[1][CVMM_CONSOLE_INPUT_ENDED], 1);
	assert_int_equal(cvmm_console_input_bytes(g.console, 1), 6);
	assert_int_equal(cvmm_console_input_bytes(g.console, 99), 0);
	assert_int_equal(cvmm_loop_run_once(g.h.loop, 0), 0); /* does not spin on the end */
	close_pipe(in);
	guest_destroy(&g);
}

static void input_that_ended_before_the_open_is_delivered_then_ended(void **state)
{
	struct pipe_ends in = make_pipe();
	static struct guest g;

	(void)state;
	assert_int_equal(write(in.write, "abc", 3), 3);
	close(in.write);
	in.write = -1;
	guest_create_plain(&g, in.read, -1);
	guest_boot(&g);
	guest_offer(&g, 1, 4, 100);
	guest_expect_no_control(&g);
	guest_open(&g, 1);
	expect_received(&g, 1, "abc");
	guest_expect_control(&g, 1, PORT_OPEN, 0);
	close_pipe(in);
	guest_destroy(&g);
}

static void empty_input_is_opened_then_ended(void **state)
{
	int fd = open("/dev/null", O_RDONLY);
	static struct guest g;

	(void)state;
	guest_create_plain(&g, fd, -1);
	guest_boot(&g);
	guest_offer(&g, 1, 4, 100);
	guest_expect_no_control(&g);
	guest_open(&g, 1);
	expect_nothing_received(&g, 1);
	guest_expect_control(&g, 1, PORT_OPEN, 0);
	assert_int_equal(g.events[1][CVMM_CONSOLE_INPUT_ENDED], 1);
	close(fd);
	guest_destroy(&g);
}

static void input_that_ended_is_ended_again_after_a_restart(void **state)
{
	int fd = open("/dev/null", O_RDONLY);
	static struct guest g;

	(void)state;
	guest_create_plain(&g, fd, -1);
	for (int i = 0; i < 3; i++) {
		guest_boot(&g);
		guest_offer(&g, 1, 4, 100);
		guest_open(&g, 1);
		harness_run(&g.h);
		guest_expect_control(&g, 1, PORT_OPEN, 0);
		harness_stop(&g.h);
	}
	assert_int_equal(g.events[1][CVMM_CONSOLE_INPUT_ENDED], 1);
	assert_int_equal(g.events[1][CVMM_CONSOLE_GUEST_OPENED], 3);
	assert_int_equal(g.events[1][CVMM_CONSOLE_GUEST_CLOSED], 3);
	close(fd);
	guest_destroy(&g);
}

static void ports_that_stay_open_do_not_close_with_their_input(void **state)
{
	int fd = open("/dev/null", O_RDONLY);
	struct cvmm_console_port ports[] = {
		{ .is_console = true, .in_fd = fd, .out_fd = -1 },
		{ .stay_open = true, .in_fd = fd, .out_fd = -1 },
	};
	static struct guest g;

	(void)state;
	guest_create(&g, ports, 2, MULTIPORT);
	guest_boot(&g);
	for (unsigned int i = 0; i < 2; i++) {
		guest_offer(&g, i, 4, 100);
		guest_open(&g, i);
		harness_run(&g.h);
		assert_int_equal(g.events[i][CVMM_CONSOLE_INPUT_ENDED], 1);
	}
	guest_expect_no_control(&g);
	close(fd);
	guest_destroy(&g);
}

static void lost_reader_closes_an_output_port_and_drops_the_rest(void **state)
{
	struct pipe_ends out = make_pipe();
	static struct guest g;

	(void)state;
	guest_create_plain(&g, -1, out.write);
	guest_boot(&g);
	guest_open(&g, 1);
	close(out.read);
	out.read = -1;
	for (int i = 0; i < 3; i++) {
		guest_send(&g, 1, "unheard", 7);
		assert_true(harness_take_used(&g.h, tx_queue(1), NULL, NULL));
	}
	guest_expect_control(&g, 1, PORT_OPEN, 0);
	guest_expect_no_control(&g);
	assert_int_equal(g.events[1][CVMM_CONSOLE_OUTPUT_FAILED], 1);
	assert_true(cvmm_console_output_idle(g.console, 1));
	close_pipe(out);
	guest_destroy(&g);
}

static void reader_lost_while_output_waits_makes_it_idle(void **state)
{
	struct pipe_ends out = make_pipe();
	static struct guest g;

	(void)state;
	fill_pipe(out.write);
	guest_create_plain(&g, -1, out.write);
	guest_boot(&g);
	guest_open(&g, 1);
	guest_send(&g, 1, "unheard", 7);
	assert_false(cvmm_console_output_idle(g.console, 1));
	close(out.read);
	out.read = -1;
	harness_run(&g.h);
	assert_int_equal(g.events[1][CVMM_CONSOLE_OUTPUT_FAILED], 1);
	assert_int_equal(g.events[1][CVMM_CONSOLE_OUTPUT_IDLE], 1);
	guest_expect_control(&g, 1, PORT_OPEN, 0);
	close_pipe(out);
	guest_destroy(&g);
}

static void lost_reader_leaves_a_port_with_input_open(void **state)
{
	struct pipe_ends in = make_pipe(), out = make_pipe();
	static struct guest g;

	(void)state;
	guest_create_plain(&g, in.read, out.write);
	guest_boot(&g);
	guest_open(&g, 1);
	close(out.read);
	out.read = -1;
	guest_send(&g, 1, "unheard", 7);
	assert_int_equal(g.events[1][CVMM_CONSOLE_OUTPUT_FAILED], 1);
	guest_expect_no_control(&g);
	guest_offer(&g, 1, 1, 100);
	assert_int_equal(write(in.write, "still", 5), 5);
	expect_received(&g, 1, "still");
	close_pipe(in);
	close_pipe(out);
	guest_destroy(&g);
}

static void lost_socket_peer_fails_the_output_without_a_signal(void **state)
{
	static struct guest g;
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	guest_create_plain(&g, -1, fds[0]);
	signal(SIGPIPE, SIG_DFL);
	guest_boot(&g);
	close(fds[1]);
	guest_send(&g, 1, "unheard", 7);
	assert_int_equal(g.events[1][CVMM_CONSOLE_OUTPUT_FAILED], 1);
	close(fds[0]);
	guest_destroy(&g);
}

static void input_that_fails_counts_as_ended(void **state)
{
	static struct guest g;
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	guest_create_plain(&g, fds[0], -1);
	guest_boot(&g);
	guest_open(&g, 1);
	guest_offer(&g, 1, 2, 100);
	assert_int_equal(write(fds[0], "unread", 6), 6);
	close(fds[1]); /* with bytes unread: resets the connection */
	expect_nothing_received(&g, 1);
	guest_expect_control(&g, 1, PORT_OPEN, 0);
	assert_int_equal(g.events[1][CVMM_CONSOLE_INPUT_ENDED], 1);
	close(fds[0]);
	guest_destroy(&g);
}

/* ---- reset, broken queues, few features --------------------------------------------------------- */

static void output_that_waits_survives_a_reset(void **state)
{
	struct pipe_ends out = make_pipe();
	size_t filled = fill_pipe(out.write);
	static struct guest g;

	(void)state;
	guest_create_plain(&g, -1, out.write);
	guest_boot(&g);
	guest_open(&g, 1);
	guest_send(&g, 1, "one ", 4);
	guest_send(&g, 1, "two ", 4);
	guest_post(&g, tx_queue(1), "three ", 6, false); /* not kicked */
	harness_stop(&g.h);
	assert_int_equal(g.events[1][CVMM_CONSOLE_GUEST_CLOSED], 1);
	assert_false(cvmm_console_output_idle(g.console, 1));

	/* Goes before what the next driver writes. */
	guest_boot(&g);
	guest_send(&g, 1, "four", 4);
	assert_false(cvmm_console_output_idle(g.console, 1));
	drain_pipe(out.read, filled);
	harness_run(&g.h);
	expect_read(out.read, "one two three four");
	assert_int_equal(g.events[1][CVMM_CONSOLE_OUTPUT_IDLE], 1);
	close_pipe(out);
	guest_destroy(&g);
}

static void output_that_waits_is_written_after_the_device_stopped(void **state)
{
	struct pipe_ends out = make_pipe();
	size_t filled = fill_pipe(out.write);
	static struct guest g;

	(void)state;
	guest_create_plain(&g, -1, out.write);
	guest_boot(&g);
	guest_send(&g, 1, "last words", 10);
	harness_stop(&g.h);
	drain_pipe(out.read, filled);
	harness_run(&g.h);
	assert_int_equal(g.events[1][CVMM_CONSOLE_OUTPUT_IDLE], 1);
	assert_true(cvmm_console_output_idle(g.console, 1));
	expect_read(out.read, "last words");
	close_pipe(out);
	guest_destroy(&g);
}

static void kept_output_of_several_resets_stays_in_order(void **state)
{
	struct random_stream source = RANDOM_STREAM, sink = RANDOM_STREAM;
	struct pipe_ends out = make_pipe();
	uint8_t bytes[PIECE_BYTES_MAX];
	static struct guest g;
	ssize_t n;

	(void)state;
	guest_create_plain(&g, -1, out.write);
	for (int life = 0; life < 4; life++) {
		guest_boot(&g);
		for (int i = 0; i < 30; i++) {
			stream_fill(&source, bytes, sizeof(bytes) - 1);
			guest_send(&g, 1, bytes, sizeof(bytes) - 1);
		}
		harness_stop(&g.h);
		/* The reader takes some, so that a part of what is kept gets out. */
		n = read(out.read, bytes, sizeof(bytes));
		assert_true(n > 0);
		stream_check(&sink, bytes, (size_t)n);
		harness_run(&g.h);
	}
	while ((n = read(out.read, bytes, sizeof(bytes))) > 0) {
		stream_check(&sink, bytes, (size_t)n);
		harness_run(&g.h);
	}
	assert_int_equal(sink.position, source.position);
	close_pipe(out);
	guest_destroy(&g);
}

static void reader_lost_while_output_is_kept_makes_it_idle(void **state)
{
	struct pipe_ends out = make_pipe();
	static struct guest g;

	(void)state;
	fill_pipe(out.write);
	guest_create_plain(&g, -1, out.write);
	guest_boot(&g);
	guest_send(&g, 1, "unheard", 7);
	harness_stop(&g.h);
	close(out.read);
	out.read = -1;
	harness_run(&g.h);
	assert_int_equal(g.events[1][CVMM_CONSOLE_OUTPUT_FAILED], 1);
	assert_int_equal(g.events[1][CVMM_CONSOLE_OUTPUT_IDLE], 1);

	/* The next driver is told when it opens the port. */
	guest_boot(&g);
	guest_open(&g, 1);
	guest_expect_control(&g, 1, PORT_OPEN, 0);
	close_pipe(out);
	guest_destroy(&g);
}

static void output_kept_at_a_reset_is_bounded(void **state)
{
	const uint32_t len = 2 * CVMM_CONSOLE_KEPT_BYTES_MAX;
	struct pipe_ends out = make_pipe();
	size_t filled = fill_pipe(out.write), kept = 0;
	static uint8_t bytes[65536];
	static struct guest g;
	struct harness_buf buf;
	ssize_t n;

	(void)state;
	guest_create_plain(&g, -1, out.write);
	guest_boot(&g);
	buf = (struct harness_buf){ harness_alloc(&g.h, len, 4096), len, false };
	harness_submit(&g.h, tx_queue(1), &buf, 1);
	guest_send(&g, 1, "no room for this", 16);
	harness_stop(&g.h);
	drain_pipe(out.read, filled);
	do {
		harness_run(&g.h);
		n = read(out.read, bytes, sizeof(bytes));
		kept += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	assert_int_equal(kept, CVMM_CONSOLE_KEPT_BYTES_MAX);
	assert_true(cvmm_console_output_idle(g.console, 1));
	close_pipe(out);
	guest_destroy(&g);
}

static void device_starts_again_from_nothing(void **state)
{
	struct pipe_ends in = make_pipe();
	static struct guest g;

	(void)state;
	guest_create_plain(&g, in.read, -1);
	guest_boot(&g);
	guest_open(&g, 1);
	guest_offer(&g, 1, 3, 100);
	harness_run(&g.h);
	harness_stop(&g.h);
	assert_int_equal(write(in.write, "kept", 4), 4);
	harness_run(&g.h);
	guest_boot(&g);
	guest_offer(&g, 1, 3, 100);
	expect_nothing_received(&g, 1); /* closed again */
	guest_open(&g, 1);
	expect_received(&g, 1, "kept");
	close_pipe(in);
	guest_destroy(&g);
}

static void broken_queue_asks_for_a_reset_and_keeps_output(void **state)
{
	struct pipe_ends in = make_pipe(), out = make_pipe();
	size_t filled = fill_pipe(out.write);
	static struct guest g;

	(void)state;
	guest_create_plain(&g, in.read, out.write);
	guest_boot(&g);
	guest_open(&g, 1);
	guest_offer(&g, 1, 3, 100);
	guest_send(&g, 1, "before the bug", 14);
	driver_ring_offer(&g.h.rings[CONTROL_TX], QUEUE_SIZE); /* outside of the table */
	harness_kick(&g.h, CONTROL_TX);
	assert_int_equal(g.h.resets_needed, 1);
	assert_int_equal(write(in.write, "x", 1), 1);
	for (unsigned int q = 0; q < 6; q++)
		harness_kick(&g.h, q);
	expect_nothing_received(&g, 1);
	assert_int_equal(cvmm_loop_run_once(g.h.loop, 0), 0);
	drain_pipe(out.read, filled);
	harness_run(&g.h);
	expect_read(out.read, "before the bug");
	assert_int_equal(g.events[1][CVMM_CONSOLE_OUTPUT_IDLE], 1);
	assert_int_equal(g.h.resets_needed, 1);

	/* The driver resets the device, and all is well. */
	harness_stop(&g.h);
	guest_boot(&g);
	guest_open(&g, 1);
	guest_offer(&g, 1, 1, 100);
	expect_received(&g, 1, "x");
	close_pipe(in);
	close_pipe(out);
	guest_destroy(&g);
}

static void any_broken_queue_is_noticed(void **state)
{
	(void)state;
	for (unsigned int q = 0; q < 6; q++) {
		struct pipe_ends in = make_pipe(), out = make_pipe();
		static struct guest g;

		assert_int_equal(write(in.write, "x", 1), 1);
		guest_create_plain(&g, in.read, out.write);
		if (q == CONTROL_RX)
			assert_int_equal(harness_start(&g.h), 0);
		else
			guest_boot(&g);
		guest_open(&g, 1);
		driver_ring_offer(&g.h.rings[q], QUEUE_SIZE);
		if (q == CONTROL_RX)
			guest_control(&g, 0, DEVICE_READY, 1);
		harness_kick(&g.h, q);
		harness_run(&g.h);
		/* Port 0 has no input: nobody looks into its receive queue. */
		assert_int_equal(g.h.resets_needed, q != rx_queue(0));
		assert_int_equal(cvmm_loop_run_once(g.h.loop, 0), 0);
		guest_destroy(&g);
		close_pipe(in);
		close_pipe(out);
	}
}

/* What is left of the control queue then is for nobody to look at: not now, and not again and again. */
static void a_message_that_breaks_another_queue_leaves_nothing_to_do(void **state)
{
	struct pipe_ends in = make_pipe(), out = make_pipe();
	static struct guest g;

	(void)state;
	guest_create_plain(&g, in.read, out.write);
	guest_boot(&g);
	guest_open(&g, 1);
	driver_ring_offer(&g.h.rings[tx_queue(1)], QUEUE_SIZE);
	guest_control(&g, 1, PORT_OPEN, 0);
	assert_int_equal(g.h.resets_needed, 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(cvmm_loop_run_once(g.h.loop, 0), 0);
	close_pipe(in);
	close_pipe(out);
	guest_destroy(&g);
}

static void driver_without_multiport_gets_port_0(void **state)
{
	struct pipe_ends in = make_pipe(), out = make_pipe();
	static struct guest g;

	(void)state;
	guest_create_console(&g, in.read, out.write, SIZE);
	guest_boot(&g);
	assert_int_equal(g.events[0][CVMM_CONSOLE_GUEST_OPENED], 1);
	guest_offer(&g, 0, 4, 100);
	assert_int_equal(write(in.write, "input", 5), 5);
	expect_received(&g, 0, "input");
	guest_send(&g, 0, "output", 6);
	expect_read(out.read, "output");

	/* No control messages, whatever arrives there; sizes go by the configuration space. */
	guest_offer_control(&g, 4);
	guest_post(&g, CONTROL_TX, "\0\0\0\0\0\0\1\0", 8, false);
	harness_kick(&g.h, CONTROL_TX);
	assert_false(harness_take_used(&g.h, CONTROL_TX, NULL, NULL));
	assert_int_equal(cvmm_console_resize(g.console, 0, 132, 43), 0);
	assert_int_equal(g.h.config_changes, 1);
	close(in.write);
	in.write = -1;
	harness_run(&g.h);
	assert_int_equal(g.events[0][CVMM_CONSOLE_INPUT_ENDED], 1);
	guest_expect_no_control(&g);
	close_pipe(in);
	close_pipe(out);
	guest_destroy(&g);
}

static void emergency_write_needs_no_driver(void **state)
{
	struct pipe_ends out = make_pipe();
	static struct guest g;

	(void)state;
	guest_create_console(&g, -1, out.write, MULTIPORT);
	cvmm_console_ops.config_written(g.console, 8, "A\0\0\0", 4);
	cvmm_console_ops.config_written(g.console, 8, "B", 1);
	cvmm_console_ops.config_written(g.console, 4, "C\0\0\0", 4);
	cvmm_console_ops.config_written(g.console, 0xffffffff, "D\0\0\0", 4);
	expect_read(out.read, "AB");
	close_pipe(out);
	guest_destroy(&g);
}

static void what_is_received_is_marked_dirty(void **state)
{
	struct pipe_ends in = make_pipe();
	static struct guest g;
	struct cvmm_dirty *dirty;
	struct message m = { 0 };
	uint64_t data;

	(void)state;
	guest_create_plain(&g, in.read, -1);
	guest_boot(&g);
	guest_open(&g, 1);
	dirty = harness_log_dirty(&g.h);
	data = g.piece[rx_queue(1)] + (uint64_t)g.h.rings[rx_queue(1)].next_desc * PIECE_BYTES_MAX;
	guest_offer(&g, 1, 1, 5000);
	assert_int_equal(write(in.write, "news", 4), 4);
	harness_clean(dirty);
	harness_run(&g.h);
	assert_true(cvmm_dirty_test(dirty, data));
	expect_received(&g, 1, "news");

	/* Control messages too. */
	harness_clean(dirty);
	assert_int_equal(cvmm_console_resize(g.console, 0, 132, 43), 0);
	assert_true(cvmm_dirty_any(dirty, g.piece[CONTROL_RX], QUEUE_SIZE * PIECE_BYTES_MAX));
	assert_true(guest_control_take(&g, &m));
	close_pipe(in);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_refuses_ports_that_cannot_work),
		cmocka_unit_test(config_space_tells_size_and_ports),
		cmocka_unit_test(ports_are_announced_in_the_order_that_linux_needs),
		cmocka_unit_test(messages_wait_bounded_for_control_buffers),
		cmocka_unit_test(bad_control_messages_are_given_back_and_ignored),
		cmocka_unit_test(small_control_buffers_go_back_and_no_message_is_lost),
		cmocka_unit_test(resize_reaches_a_ready_console_port_and_no_other),
		cmocka_unit_test(input_waits_until_the_guest_opens_the_port),
		cmocka_unit_test(input_waits_until_the_hosts_open_is_told),
		cmocka_unit_test(input_without_buffers_stays_in_the_pipe_and_the_loop_sleeps),
		cmocka_unit_test(chain_for_which_there_is_no_input_yet_is_not_lost),
		cmocka_unit_test(one_chain_gets_one_used_element),
		cmocka_unit_test(slow_reader_holds_the_guest_back_and_nothing_is_lost),
		cmocka_unit_test(output_idle_takes_what_was_not_kicked),
		cmocka_unit_test(close_is_told_after_the_output_before_it_was_taken),
		cmocka_unit_test(output_without_descriptor_is_discarded),
		cmocka_unit_test(long_output_leaves_the_loop_its_turn),
		cmocka_unit_test(terminal_that_may_block_never_holds_the_loop_up),
		cmocka_unit_test(end_of_input_is_told_after_the_last_byte),
		cmocka_unit_test(input_that_ended_before_the_open_is_delivered_then_ended),
		cmocka_unit_test(empty_input_is_opened_then_ended),
		cmocka_unit_test(input_that_ended_is_ended_again_after_a_restart),
		cmocka_unit_test(ports_that_stay_open_do_not_close_with_their_input),
		cmocka_unit_test(lost_reader_closes_an_output_port_and_drops_the_rest),
		cmocka_unit_test(reader_lost_while_output_waits_makes_it_idle),
		cmocka_unit_test(lost_reader_leaves_a_port_with_input_open),
		cmocka_unit_test(lost_socket_peer_fails_the_output_without_a_signal),
		cmocka_unit_test(input_that_fails_counts_as_ended),
		cmocka_unit_test(output_that_waits_survives_a_reset),
		cmocka_unit_test(output_that_waits_is_written_after_the_device_stopped),
		cmocka_unit_test(kept_output_of_several_resets_stays_in_order),
		cmocka_unit_test(reader_lost_while_output_is_kept_makes_it_idle),
		cmocka_unit_test(output_kept_at_a_reset_is_bounded),
		cmocka_unit_test(device_starts_again_from_nothing),
		cmocka_unit_test(broken_queue_asks_for_a_reset_and_keeps_output),
		cmocka_unit_test(any_broken_queue_is_noticed),
		cmocka_unit_test(a_message_that_breaks_another_queue_leaves_nothing_to_do),
		cmocka_unit_test(driver_without_multiport_gets_port_0),
		cmocka_unit_test(emergency_write_needs_no_driver),
		cmocka_unit_test(what_is_received_is_marked_dirty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
