// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * vhost-device-rng in its sandbox, with a front-end that does what a VMM does: the program is $CVMM_DAEMON.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <cmocka.h>

#include <cvmm/vhost-user_frontend.h>
#include <cvmm/virtio.h>
#include <cvmm/virtq_driver.h>

#include "../../tests/support/daemon_process.h"

#define MEM_BYTES (UINT64_C(1) << 20)
#define BUFFER_GPA UINT64_C(0x80000)
#define QUEUE_SIZE 1024U /* the largest that rust-vmm's has */
#define PROTOCOL(name) CVMM_VHOST_USER_PROTOCOL(name)

#define PROTOCOL_WANT                                                                          \
	(PROTOCOL(MQ) | PROTOCOL(REPLY_ACK) | PROTOCOL(LOG_SHMFD) | PROTOCOL(INFLIGHT_SHMFD) | \
	 PROTOCOL(CONFIGURE_MEM_SLOTS) | PROTOCOL(PAGEFAULT) | PROTOCOL(RESET_DEVICE))

static int set_up(void **state)
{
	struct daemon_process *d = malloc(sizeof(*d));

	daemon_begin(d);
	*state = d;
	return 0;
}

static int tear_down(void **state)
{
	daemon_end(*state);
	free(*state);
	return 0;
}

/* ---- a guest, and its machine -------------------------------------------------------------------- */

struct guest {
	struct cvmm_vhost_user_frontend *fe;
	struct cvmm_mem *mem;
	struct cvmm_virtq_driver driver;
	struct cvmm_vhost_user_queue queue;
	struct cvmm_notifier kick;
	struct cvmm_notifier call;
	struct cvmm_error err;
};

#define must(call)                                                 \
	do {                                                       \
		if (call)                                          \
			fail_msg("%s: %s", #call, g->err.message); \
	} while (0)

static void guest_connect(struct guest *g, const char *path)
{
	struct cvmm_vhost_user_frontend_config config = { .protocol_want = PROTOCOL_WANT };
	int fd;

	memset(g, 0, sizeof(*g));
	must(cvmm_vhost_user_connect(path, DAEMON_DEADLINE_MS, &fd, &g->err));
	must(cvmm_vhost_user_frontend_create(&config, fd, &g->fe, &g->err));
	must(cvmm_vhost_user_frontend_negotiate(g->fe, &g->err));
}

static void guest_make_mem(struct guest *g)
{
	struct cvmm_mem_config config = {
		.len_bytes = MEM_BYTES,
		.kind = CVMM_MEM_MEMFD,
		.access = CVMM_ACCESS_READ_WRITE,
		.fd = -1,
	};

	must(cvmm_mem_create(&config, 1, &g->mem, &g->err));
}

static void guest_make_queue(struct guest *g, uint64_t features)
{
	struct cvmm_virtq_driver_config config = {
		.size = QUEUE_SIZE,
		.event_idx = features >> CVMM_VIRTIO_F_EVENT_IDX & 1,
		.packed = features >> CVMM_VIRTIO_F_RING_PACKED & 1,
	};
	uint64_t bytes;

	must(cvmm_notifier_init(&g->kick, CVMM_NOTIFIER_AUTO));
	must(cvmm_notifier_init(&g->call, CVMM_NOTIFIER_AUTO));
	must(cvmm_virtq_driver_layout(&config, cvmm_gpa_from(0), &bytes));
	must(cvmm_virtq_driver_init(&g->driver, g->mem, &config, &g->err));
	g->queue = (struct cvmm_vhost_user_queue){
		.config = { .size = config.size,
			    .desc = config.desc,
			    .avail = config.driver_area,
			    .used = config.device_area,
			    .packed = config.packed,
			    .event_idx = config.event_idx },
		.base = CVMM_VIRTQ_BASE_START,
		.kick_fd = g->kick.read_fd,
		.call_fd = g->call.write_fd,
		.err_fd = -1,
	};
}

/* All of what a VMM does until the guest's driver runs. */
static void guest_boot(struct guest *g, const char *path, uint64_t features)
{
	features |= CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_VERSION_1);
	guest_connect(g, path);
	features &= cvmm_vhost_user_frontend_features(g->fe);
	guest_make_mem(g);
	must(cvmm_vhost_user_frontend_set_mem(g->fe, g->mem, &g->err));
	must(cvmm_vhost_user_frontend_set_features(g->fe, features, &g->err));
	must(cvmm_vhost_user_frontend_init_inflight(g->fe, 1, QUEUE_SIZE, &g->err));
	guest_make_queue(g, features);
	must(cvmm_vhost_user_frontend_start_queue(g->fe, &g->queue, &g->err));
}

static void guest_end(struct guest *g)
{
	cvmm_vhost_user_frontend_destroy(g->fe);
	cvmm_virtq_driver_fini(&g->driver);
	cvmm_mem_unref(g->mem);
	cvmm_notifier_fini(&g->kick);
	cvmm_notifier_fini(&g->call);
}

static void guest_ask(struct guest *g, uint64_t gpa, uint32_t len)
{
	const struct cvmm_virtq_segment segment = { cvmm_gpa_from(gpa), len };

	must(cvmm_virtq_driver_add(&g->driver, &segment, 0, 1, g));
	cvmm_virtq_driver_publish(&g->driver);
	if (cvmm_virtq_driver_should_kick(&g->driver))
		must(cvmm_notifier_signal(&g->kick));
}

/* Return: whether an answer came within @timeout_ms, with how many bytes. */
static bool guest_answered(struct guest *g, int timeout_ms, uint32_t *ret_len)
{
	uint64_t deadline = cvmm_clock_ns() + (uint64_t)timeout_ms * CVMM_NS_PER_MS;
	struct pollfd p = { .fd = g->call.read_fd, .events = POLLIN };
	void *token;
	int r;

	while (!(r = cvmm_virtq_driver_take(&g->driver, &token, ret_len))) {
		if (cvmm_clock_ns() >= deadline)
			return false;
		if (!cvmm_virtq_driver_enable_interrupts(&g->driver))
			poll(&p, 1, 10);
		cvmm_notifier_consume(&g->call);
	}
	assert_int_equal(r, 1);
	return true;
}

static uint32_t guest_get(struct guest *g, uint64_t gpa, uint32_t len)
{
	uint32_t got = 0;

	guest_ask(g, gpa, len);
	assert_true(guest_answered(g, DAEMON_DEADLINE_MS, &got));
	return got;
}

static bool all_zero(struct guest *g, uint64_t gpa, uint32_t len)
{
	const uint8_t *bytes = cvmm_mem_ptr(g->mem, cvmm_gpa_from(gpa), len, CVMM_ACCESS_READ);

	assert_non_null(bytes);
	for (uint32_t i = 0; i < len; i++)
		if (bytes[i])
			return false;
	return true;
}

static void write_source(const char *path, const char *bytes)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);

	assert_int_equal(cvmm_write_full(fd, bytes, strlen(bytes)), 0);
	close(fd);
}

/* ---- tests ------------------------------------------------------------------------------------------ */

static void a_guest_gets_entropy_with_each_kind_of_queue(void **state)
{
	const uint64_t kinds[] = {
		0,
		CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_EVENT_IDX),
		CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_RING_PACKED),
	};
	struct daemon_process *d = *state;
	struct guest g;

	daemon_start(d, "-s", d->socket, NULL);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(kinds); i++) {
		guest_boot(&g, daemon_path(d, 0), kinds[i]);
		for (int round = 0; round < 100; round++)
			assert_int_equal(guest_get(&g, BUFFER_GPA, 64), 64);
		assert_false(all_zero(&g, BUFFER_GPA, 16));
		assert_int_equal(guest_get(&g, BUFFER_GPA, 200000), 65536);
		assert_false(all_zero(&g, BUFFER_GPA + 65536 - 16, 16));
		assert_true(all_zero(&g, BUFFER_GPA + 65536, 16));
		guest_end(&g);
	}
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
}

static void what_is_offered_is_at_least_what_rust_vmms_offers(void **state)
{
	struct daemon_process *d = *state;
	uint64_t features;
	struct guest g;

	daemon_start(d, "-s", d->socket, NULL);
	guest_connect(&g, daemon_path(d, 0));
	features = cvmm_vhost_user_frontend_features(g.fe);
	assert_true(features >> CVMM_VIRTIO_F_VERSION_1 & 1);
	assert_true(features >> CVMM_VIRTIO_F_INDIRECT_DESC & 1);
	assert_true(features >> CVMM_VIRTIO_F_EVENT_IDX & 1);
	assert_true(features >> CVMM_VHOST_USER_F_LOG_ALL & 1);
	assert_int_equal(cvmm_vhost_user_frontend_queue_count(g.fe), 1);
	assert_true(cvmm_vhost_user_frontend_protocol(g.fe) & PROTOCOL(MQ));
	assert_true(cvmm_vhost_user_frontend_protocol(g.fe) & PROTOCOL(INFLIGHT_SHMFD));
	cvmm_vhost_user_frontend_destroy(g.fe);
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
}

static void the_source_is_shared_and_no_byte_is_given_twice(void **state)
{
	struct daemon_process *d = *state;
	struct guest g[2];
	char source[96], bytes[2][4];

	snprintf(source, sizeof(source), "%s/source", d->dir);
	write_source(source, "abcdefgh");
	daemon_start(d, "-s", d->socket, "-c", "2", "-f", source, NULL);
	for (int i = 0; i < 2; i++) {
		guest_boot(&g[i], daemon_path(d, i), 0);
		assert_int_equal(guest_get(&g[i], BUFFER_GPA, 4), 4);
		assert_int_equal(cvmm_mem_read(g[i].mem, cvmm_gpa_from(BUFFER_GPA), bytes[i], 4),
				 0);
	}
	assert_memory_equal(bytes[0], "abcd", 4);
	assert_memory_equal(bytes[1], "efgh", 4);
	/* The end of the source is not the end of the device. */
	assert_int_equal(guest_get(&g[0], BUFFER_GPA, 64), 64);
	assert_int_equal(guest_get(&g[1], BUFFER_GPA, 64), 64);
	assert_non_null(strstr(daemon_log_text(d), "end of file); using getrandom"));
	guest_end(&g[0]);
	guest_end(&g[1]);
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
}

static void a_source_that_waits_holds_nobody_else_up(void **state)
{
	struct daemon_process *d = *state;
	struct guest g[2];
	char source[96];
	uint32_t len;
	int fifo;

	snprintf(source, sizeof(source), "%s/fifo", d->dir);
	assert_int_equal(mkfifo(source, 0600), 0);
	fifo = open(source, O_RDWR | O_CLOEXEC);
	daemon_start(d, "-s", d->socket, "-c", "2", "--rng-source", source, NULL);
	guest_boot(&g[0], daemon_path(d, 0), 0);
	guest_ask(&g[0], BUFFER_GPA, 16);
	assert_false(guest_answered(&g[0], 50, &len));
	guest_connect(&g[1], daemon_path(d, 1)); /* answered */
	cvmm_vhost_user_frontend_destroy(g[1].fe);
	assert_int_equal(write(fifo, "dice", 4), 4);
	assert_true(guest_answered(&g[0], DAEMON_DEADLINE_MS, &len));
	assert_int_equal(len, 4);
	guest_ask(&g[0], BUFFER_GPA, 16);
	assert_int_equal(daemon_stop(d, SIGTERM), 0); /* at once, though somebody waits */
	guest_end(&g[0]);
	close(fifo);
}

static void a_used_up_limit_holds_nobody_else_up(void **state)
{
	struct daemon_process *d = *state;
	struct guest g[2];
	uint32_t len;

	daemon_start(d, "-s", d->socket, "-c", "2", "-m", "200", "-p", "65536", NULL);
	for (int i = 0; i < 2; i++) {
		guest_boot(&g[i], daemon_path(d, i), 0);
		assert_int_equal(guest_get(&g[i], BUFFER_GPA, 4096), 100); /* its half */
		guest_ask(&g[i], BUFFER_GPA, 4096);
	}
	assert_false(guest_answered(&g[0], 50, &len));
	assert_false(guest_answered(&g[1], 0, &len));
	guest_end(&g[0]);
	guest_end(&g[1]);
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
}

static void a_request_in_flight_survives_kill_9(void **state)
{
	struct daemon_process *d = *state;
	char source[96];
	struct guest guest, *g = &guest;
	uint32_t len;
	int fifo, fd;

	snprintf(source, sizeof(source), "%s/fifo", d->dir);
	assert_int_equal(mkfifo(source, 0600), 0);
	fifo = open(source, O_RDWR | O_CLOEXEC);
	daemon_start(d, "-s", d->socket, "-f", source, NULL);
	guest_boot(g, daemon_path(d, 0), 0);
	guest_ask(g, BUFFER_GPA, 16);
	assert_false(guest_answered(g, 50, &len));
	assert_int_equal(daemon_stop(d, SIGKILL), -SIGKILL);
	daemon_start(d, "-s", d->socket, "-f", source, NULL);
	must(cvmm_vhost_user_connect(daemon_path(d, 0), DAEMON_DEADLINE_MS, &fd, &g->err));
	must(cvmm_vhost_user_frontend_reconnect(g->fe, fd, &g->err));
	assert_int_equal(write(fifo, "dice", 4), 4);
	assert_true(guest_answered(g, DAEMON_DEADLINE_MS, &len));
	assert_int_equal(len, 4);
	guest_end(g);
	close(fifo);
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
}

static void pages_that_are_written_are_logged_for_migration(void **state)
{
	const uint64_t log_bytes = MEM_BYTES / 4096 / 8;
	struct daemon_process *d = *state;
	struct guest guest, *g = &guest;
	char path[96];
	uint8_t *log;
	int log_fd;

	snprintf(path, sizeof(path), "%s/dirty", d->dir);
	log_fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(log_fd, 4096), 0);
	log = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, log_fd, 0);
	assert_ptr_not_equal(log, MAP_FAILED);
	daemon_start(d, "-s", d->socket, NULL);
	guest_boot(g, daemon_path(d, 0), 0);
	must(cvmm_vhost_user_frontend_set_log(g->fe, log_fd, 0, log_bytes, &g->err));
	must(cvmm_vhost_user_frontend_set_logging(g->fe, true, &g->err));
	memset(log, 0, 4096);
	assert_int_equal(guest_get(g, BUFFER_GPA + 4096, 5000), 5000);
	assert_int_equal(log[BUFFER_GPA / 4096 / 8], 0x06);
	guest_end(g);
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
	munmap(log, 4096);
	close(log_fd);
}

static void a_stopped_queue_goes_on_where_it_was(void **state)
{
	struct daemon_process *d = *state;
	struct guest guest, *g = &guest;
	struct cvmm_virtq_base base;

	daemon_start(d, "-s", d->socket, NULL);
	guest_boot(g, daemon_path(d, 0), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(guest_get(g, BUFFER_GPA, 64), 64);
		must(cvmm_vhost_user_frontend_stop_queue(g->fe, 0, false, &base, &g->err));
		assert_int_equal(base.next_avail, i + 1);
		g->queue.base = base;
		g->queue.base.next_used = base.next_avail;
		must(cvmm_vhost_user_frontend_start_queue(g->fe, &g->queue, &g->err));
	}
	guest_end(g);
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
}

/* Whether the system permits it is another matter: the daemon must neither be killed nor hang. */
static void post_copy_is_answered_in_the_sandbox(void **state)
{
	struct daemon_process *d = *state;
	struct guest guest, *g = &guest;
	int uffd = -1, ret;

	daemon_start(d, "-s", d->socket, NULL);
	guest_connect(g, daemon_path(d, 0));
	if (!(cvmm_vhost_user_frontend_protocol(g->fe) & PROTOCOL(PAGEFAULT))) {
		cvmm_vhost_user_frontend_destroy(g->fe);
		print_message("SKIP: the system has no userfaultfd for the daemon\n");
		skip();
	}
	ret = cvmm_vhost_user_frontend_postcopy_advise(g->fe, &uffd, &g->err);
	if (ret) {
		assert_int_equal(ret, -EOPNOTSUPP);
	} else {
		assert_true(uffd >= 0);
		must(cvmm_vhost_user_frontend_postcopy_listen(g->fe, &g->err));
		must(cvmm_vhost_user_frontend_postcopy_end(g->fe, &g->err));
		close(uffd);
	}
	cvmm_vhost_user_frontend_destroy(g->fe);
	guest_boot(g, daemon_path(d, 0), 0);
	assert_int_equal(guest_get(g, BUFFER_GPA, 64), 64);
	guest_end(g);
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
}

static void sources_and_limits_that_cannot_be_are_refused(void **state)
{
	struct daemon_process *d = *state;

	daemon_spawn(d, "-s", d->socket, "-f", "/no/such/source", NULL);
	assert_int_equal(daemon_wait(d), 1);
	assert_non_null(strstr(daemon_log_text(d), "--rng-source /no/such/source: No such file"));
	daemon_spawn(d, "-s", d->socket, "-f", d->dir, NULL);
	assert_int_equal(daemon_wait(d), 1);
	assert_non_null(strstr(daemon_log_text(d), "is a directory"));
	daemon_spawn(d, "-s", d->socket, "-c", "3", "-m", "2", NULL);
	assert_int_equal(daemon_wait(d), 2);
	assert_non_null(strstr(daemon_log_text(d), "2 is less than a byte for each of 3 sockets"));
	daemon_spawn(d, "-s", d->socket, "-p", "65537", NULL);
	assert_int_equal(daemon_wait(d), 2);
	assert_non_null(strstr(daemon_log_text(d), "-p: 65537 is out of range: 1 to 65536"));
	daemon_spawn(d, "-s", d->socket, "-p", "0", NULL);
	assert_int_equal(daemon_wait(d), 2);
	assert_int_equal(access(daemon_path(d, 0), F_OK), -1);
	/* What rust-vmm's has by default may be said. */
	daemon_start(d, "-s", d->socket, "-m", "18446744073709551615", "--period=65536", NULL);
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_guest_gets_entropy_with_each_kind_of_queue),
		TEST(what_is_offered_is_at_least_what_rust_vmms_offers),
		TEST(the_source_is_shared_and_no_byte_is_given_twice),
		TEST(a_source_that_waits_holds_nobody_else_up),
		TEST(a_used_up_limit_holds_nobody_else_up),
		TEST(a_request_in_flight_survives_kill_9),
		TEST(pages_that_are_written_are_logged_for_migration),
		TEST(a_stopped_queue_goes_on_where_it_was),
		TEST(post_copy_is_answered_in_the_sandbox),
		TEST(sources_and_limits_that_cannot_be_are_refused),
	};

	if (!getenv("CVMM_DAEMON")) {
		print_error("CVMM_DAEMON is not set\n");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
