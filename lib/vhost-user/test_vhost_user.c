// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The table of messages and connections. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <cvmm/vhost-user.h>

struct pair {
	struct cvmm_vhost_user_conn *conn;
	int peer;
};

static int set_up(void **state)
{
	static struct pair p;
	int fds[2];
	int size = 1 << 20;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	assert_int_equal(cvmm_vhost_user_conn_create(fds[0], &p.conn, NULL), 0);
	p.peer = fds[1];
	*state = &p;
	return 0;
}

static int tear_down(void **state)
{
	struct pair *p = *state;

	cvmm_vhost_user_conn_destroy(p->conn);
	cvmm_close_fd(&p->peer);
	return 0;
}

static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void send_with_fds(int sock, const void *bytes, size_t len, const int *fds, size_t fd_count)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(CVMM_VHOST_USER_FDS_MAX * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd_count) {
		struct cmsghdr *c;

		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		c = CMSG_FIRSTHDR(&hdr);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
	}
	assert_int_equal(sendmsg(sock, &hdr, 0), len);
}

static size_t message(void *buf, uint32_t request, const void *payload, uint32_t size)
{
	struct cvmm_vhost_user_header header = { request, CVMM_VHOST_USER_VERSION, size };

	memcpy(buf, &header, sizeof(header));
	if (size)
		memcpy((uint8_t *)buf + sizeof(header), payload, size);
	return sizeof(header) + size;
}

/* ---- the table ---- */

static void the_table_has_every_request_of_the_specification(void **state)
{
	unsigned int n = 0;

	(void)state;
	for (uint32_t id = 1; id <= CVMM_VHOST_USER_FRONTEND_REQUEST_MAX; id++) {
		const struct cvmm_vhost_user_message *row =
			cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL, id);

		assert_non_null(row);
		assert_int_equal(row->id, id);
		assert_non_null(cvmm_vhost_user_payload_name(row->payload));
		assert_non_null(cvmm_vhost_user_payload_name(row->reply_payload));
		n++;
	}
	assert_int_equal(n, 45);
	for (uint32_t id = 1; id <= CVMM_VHOST_USER_BACKEND_REQUEST_MAX; id++)
		assert_non_null(cvmm_vhost_user_message_find(CVMM_VHOST_USER_BACKEND_CHANNEL, id));
	assert_null(cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL, 0));
	assert_null(cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL, 46));
	assert_null(cvmm_vhost_user_message_find(CVMM_VHOST_USER_BACKEND_CHANNEL, 11));
	assert_null(cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL, UINT32_MAX));
}

static void protocol_features_have_the_numbers_of_the_specification(void **state)
{
	(void)state;
	assert_int_equal(CVMM_VHOST_USER_PROTOCOL_F_SHMEM, 22); /* not 21, as once elsewhere */
	assert_int_equal(CVMM_VHOST_USER_PROTOCOL_F_GPA_ADDRESSES, 21);
	assert_int_equal(CVMM_VHOST_USER_PROTOCOL_F_GET_VRING_BASE_SKIP_DRAIN, 23);
	assert_int_equal(CVMM_VHOST_USER_CONFIG_WRITABLE, 0);
	assert_int_equal(CVMM_VHOST_USER_CONFIG_LIVE_MIGRATION, 1);
	assert_string_equal(cvmm_vhost_user_protocol_feature_name(3), "REPLY_ACK");
	assert_null(cvmm_vhost_user_protocol_feature_name(24));
}

static void payloads_have_their_sizes_and_no_others(void **state)
{
	uint64_t bytes[512] = { 0 };
	struct cvmm_vhost_user_mem_table table = { .count = 2 };
	struct cvmm_vhost_user_config config = { .size = 5 };

	(void)state;
	assert_true(cvmm_vhost_user_payload_fits(CVMM_VHOST_USER_EMPTY, bytes, 0, 0));
	assert_false(cvmm_vhost_user_payload_fits(CVMM_VHOST_USER_EMPTY, bytes, 8, 0));
	assert_true(cvmm_vhost_user_payload_fits(CVMM_VHOST_USER_U64, bytes, 8, 0));
	assert_false(cvmm_vhost_user_payload_fits(CVMM_VHOST_USER_U64, bytes, 4, 0));
	memcpy(bytes, &table, sizeof(table));
	assert_true(cvmm_vhost_user_payload_fits(CVMM_VHOST_USER_MEM_TABLE, bytes, 8 + 64, 0));
	assert_false(cvmm_vhost_user_payload_fits(CVMM_VHOST_USER_MEM_TABLE, bytes, 8 + 63, 0));
	assert_false(cvmm_vhost_user_payload_fits(CVMM_VHOST_USER_MEM_TABLE, bytes, 7, 0));
	assert_true(cvmm_vhost_user_payload_fits(CVMM_VHOST_USER_MEM_TABLE, bytes, 8 + 80,
						 CVMM_VHOST_USER_PROTOCOL(XEN_MMAP)));
	table.count = UINT32_MAX;
	memcpy(bytes, &table, sizeof(table));
	assert_false(cvmm_vhost_user_payload_fits(CVMM_VHOST_USER_MEM_TABLE, bytes, 8, 0));
	memcpy(bytes, &config, sizeof(config));
	/* The size is in bytes 4 to 7. */
	assert_true(cvmm_vhost_user_payload_fits(CVMM_VHOST_USER_CONFIG, bytes, 17, 0));
	assert_false(cvmm_vhost_user_payload_fits(CVMM_VHOST_USER_CONFIG, bytes, 18, 0));
	assert_true(cvmm_vhost_user_payload_fits(CVMM_VHOST_USER_INFLIGHT, bytes, 20, 0));
	assert_true(cvmm_vhost_user_payload_fits(CVMM_VHOST_USER_INFLIGHT, bytes, 24, 0));
	assert_false(cvmm_vhost_user_payload_fits(CVMM_VHOST_USER_INFLIGHT, bytes, 22, 0));
	assert_false(cvmm_vhost_user_payload_fits(CVMM_VHOST_USER_PAYLOAD_COUNT, bytes, 0, 0));
}

/* ---- connections ---- */

static void a_message_that_comes_byte_by_byte_is_one_message(void **state)
{
	struct pair *p = *state;
	struct cvmm_vhost_user_msg *msg = NULL;
	uint64_t value = 0x1122334455667788;
	uint8_t buf[64];
	size_t len = message(buf, CVMM_VHOST_USER_SET_LOG_FD, &value, sizeof(value));
	int fd = dup(0);

	for (size_t i = 0; i < len; i++) {
		assert_int_equal(cvmm_vhost_user_conn_receive(p->conn, &msg, NULL), 0);
		send_with_fds(p->peer, buf + i, 1, &fd, i == 0);
	}
	assert_int_equal(cvmm_vhost_user_conn_receive(p->conn, &msg, NULL), 1);
	assert_int_equal(msg->size, 8);
	assert_int_equal(msg->payload[0], value);
	assert_int_equal(msg->fd_count, 1);
	assert_true(fcntl(msg->fds[0], F_GETFD) & FD_CLOEXEC);
	close(fd);
}

static void messages_that_come_at_once_are_told_apart(void **state)
{
	struct pair *p = *state;
	struct cvmm_vhost_user_msg *msg = NULL;
	uint8_t buf[256];
	size_t len = 0;

	for (uint32_t i = 1; i <= 5; i++) {
		uint64_t value = i;

		len += message(buf + len, i, &value, i % 2 ? sizeof(value) : 0);
	}
	assert_int_equal(write(p->peer, buf, len), len);
	for (uint32_t i = 1; i <= 5; i++) {
		assert_int_equal(cvmm_vhost_user_conn_receive(p->conn, &msg, NULL), 1);
		assert_int_equal(msg->request, i);
		assert_int_equal(msg->size, i % 2 ? 8 : 0);
		if (i % 2)
			assert_int_equal(msg->payload[0], i);
	}
	assert_int_equal(cvmm_vhost_user_conn_receive(p->conn, &msg, NULL), 0);
}

static void descriptors_go_with_the_message_whose_first_byte_they_came_with(void **state)
{
	struct pair *p = *state;
	struct cvmm_vhost_user_msg *msg = NULL;
	uint8_t buf[64];
	size_t len = message(buf, 1, NULL, 0);
	int fds[3] = { 0, 0, 0 }, before;

	before = open_fds();
	send_with_fds(p->peer, buf, len, NULL, 0);
	send_with_fds(p->peer, buf, len, fds, 3);
	send_with_fds(p->peer, buf, len, fds, 1);
	assert_int_equal(cvmm_vhost_user_conn_receive(p->conn, &msg, NULL), 1);
	assert_int_equal(msg->fd_count, 0);
	assert_int_equal(cvmm_vhost_user_conn_receive(p->conn, &msg, NULL), 1);
	assert_int_equal(msg->fd_count, 3);
	assert_int_equal(open_fds(), before + 3);
	assert_int_equal(cvmm_vhost_user_conn_receive(p->conn, &msg, NULL), 1);
	assert_int_equal(msg->fd_count, 1);
	assert_int_equal(open_fds(), before + 1);
	assert_int_equal(cvmm_vhost_user_conn_receive(p->conn, &msg, NULL), 0);
	assert_int_equal(open_fds(), before);
}

static void as_many_descriptors_as_the_kernel_passes_arrive(void **state)
{
	struct pair *p = *state;
	struct cvmm_vhost_user_msg *msg = NULL;
	int fds[CVMM_VHOST_USER_FDS_MAX] = { 0 };
	uint8_t buf[64];
	int before = open_fds();

	send_with_fds(p->peer, buf, message(buf, 5, NULL, 0), fds, CVMM_VHOST_USER_FDS_MAX);
	assert_int_equal(cvmm_vhost_user_conn_receive(p->conn, &msg, NULL), 1);
	assert_int_equal(msg->fd_count, CVMM_VHOST_USER_FDS_MAX);
	assert_int_equal(open_fds(), before + (int)CVMM_VHOST_USER_FDS_MAX);
	cvmm_vhost_user_msg_fini(msg);
	assert_int_equal(open_fds(), before);
}

static void descriptors_in_the_middle_of_a_message_end_the_connection(void **state)
{
	struct pair *p = *state;
	struct cvmm_vhost_user_msg *msg = NULL;
	struct cvmm_error err = { 0 };
	uint64_t value = 1;
	uint8_t buf[64];
	size_t len = message(buf, 2, &value, sizeof(value));
	int fd = 0, before = open_fds();

	send_with_fds(p->peer, buf, 14, NULL, 0);
	send_with_fds(p->peer, buf + 14, len - 14, &fd, 1);
	assert_int_equal(cvmm_vhost_user_conn_receive(p->conn, &msg, &err), -EPROTO);
	assert_non_null(strstr(err.message, "middle"));
	assert_int_equal(open_fds(), before);
}

static void descriptors_that_do_not_fit_the_limit_end_the_connection(void **state)
{
	struct pair *p = *state;
	struct cvmm_vhost_user_msg *msg = NULL;
	int fds[8] = { 0 }, before = open_fds(), lowest = dup(0);
	struct rlimit limit, less;
	uint8_t buf[64];

	assert_true(lowest >= 0);
	close(lowest);
	send_with_fds(p->peer, buf, message(buf, 5, NULL, 0), fds, 8);
	/* Room for three: the kernel passes those, and drops the others. */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	less = limit;
	less.rlim_cur = (rlim_t)lowest + 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
	assert_int_equal(cvmm_vhost_user_conn_receive(p->conn, &msg, NULL), -EPROTO);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cvmm_vhost_user_conn_destroy(p->conn);
	p->conn = NULL;
	assert_int_equal(open_fds(), before - 1);
}

static void headers_that_cannot_be_end_the_connection(void **state)
{
	static const struct cvmm_vhost_user_header bad[] = {
		{ 1, 0, 0 },	/* version 0 */
		{ 1, 2, 0 },	/* version 2 */
		{ 1, 0x11, 0 }, /* an unknown flag */
		{ 1, 1, CVMM_VHOST_USER_PAYLOAD_MAX + 1 },
		{ 1, 1, UINT32_MAX },
	};
	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		struct cvmm_vhost_user_msg *msg = NULL;
		struct cvmm_error err = { 0 };
		void *pair;
		struct pair *p;

		set_up(&pair);
		p = pair;
		assert_int_equal(write(p->peer, &bad[i], sizeof(bad[i])), sizeof(bad[i]));
		assert_int_equal(cvmm_vhost_user_conn_receive(p->conn, &msg, &err), -EPROTO);
		assert_true(err.message[0]);
		tear_down(&pair);
	}
}

static void an_end_in_the_middle_of_a_message_is_told(void **state)
{
	struct pair *p = *state;
	struct cvmm_vhost_user_msg *msg = NULL;
	struct cvmm_error err = { 0 };

	assert_int_equal(write(p->peer, "abc", 3), 3);
	cvmm_close_fd(&p->peer);
	assert_int_equal(cvmm_vhost_user_conn_receive(p->conn, &msg, &err), -ECONNRESET);
	assert_non_null(strstr(err.message, "middle"));
}

static void a_message_to_a_peer_that_does_not_read_waits_and_arrives_whole(void **state)
{
	struct pair *p = *state;
	uint8_t payload[CVMM_VHOST_USER_PAYLOAD_MAX], got[CVMM_VHOST_USER_PAYLOAD_MAX];
	struct iovec iov = { payload, sizeof(payload) };
	struct cvmm_vhost_user_conn *reader;
	struct cvmm_vhost_user_msg *msg = NULL;
	unsigned int sent = 0, seen = 0;
	int fd = 0, before, r;

	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 7);
	before = open_fds();
	do {
		assert_int_equal(cvmm_vhost_user_conn_send(p->conn, 24, CVMM_VHOST_USER_FLAG_REPLY,
							   &iov, 1, &fd, 1),
				 0);
		sent++;
		assert_true(sent < 10000);
	} while (!cvmm_vhost_user_conn_wants_write(p->conn));
	assert_int_equal(cvmm_vhost_user_conn_send(p->conn, 1, 0, NULL, 0, NULL, 0), -EBUSY);
	assert_int_equal(cvmm_vhost_user_conn_wait(p->conn, true, 0), -ETIMEDOUT);
	assert_int_equal(cvmm_vhost_user_conn_create(dup(p->peer), &reader, NULL), 0);
	while (seen < sent) {
		r = cvmm_vhost_user_conn_receive(reader, &msg, NULL);
		assert_true(r >= 0);
		if (!r) {
			assert_true(cvmm_vhost_user_conn_flush(p->conn) >= 0);
			continue;
		}
		assert_int_equal(msg->size, sizeof(payload));
		assert_int_equal(msg->fd_count, 1);
		memcpy(got, msg->payload, sizeof(got));
		assert_memory_equal(got, payload, sizeof(got));
		seen++;
	}
	assert_false(cvmm_vhost_user_conn_wants_write(p->conn));
	cvmm_vhost_user_conn_destroy(reader);
	assert_int_equal(open_fds(), before);
}

static void sending_to_a_peer_that_is_gone_fails_and_kills_nobody(void **state)
{
	struct pair *p = *state;

	cvmm_close_fd(&p->peer);
	assert_int_equal(cvmm_vhost_user_conn_send(p->conn, 1, 0, NULL, 0, NULL, 0), -EPIPE);
}

static void what_is_no_stream_socket_is_refused_and_closed(void **state)
{
	struct cvmm_vhost_user_conn *conn;
	int before = open_fds();
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(cvmm_vhost_user_conn_create(fds[0], &conn, NULL), -ENOTSOCK);
	close(fds[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
	assert_int_equal(cvmm_vhost_user_conn_create(fds[0], &conn, NULL), -EINVAL);
	close(fds[1]);
	assert_int_equal(cvmm_vhost_user_conn_create(socket(AF_UNIX, SOCK_STREAM, 0), &conn, NULL),
			 -EINVAL);
	assert_int_equal(open_fds(), before);
}

static void requests_are_held_against_their_row(void **state)
{
	const struct cvmm_vhost_user_message *row;
	static struct cvmm_vhost_user_msg msg;
	struct cvmm_error err = { 0 };

	(void)state;
	row = cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL,
					   CVMM_VHOST_USER_SET_VRING_KICK);
	msg = (struct cvmm_vhost_user_msg){ .size = 8, .payload = { 3 } };
	assert_int_equal(cvmm_vhost_user_msg_check(row, &msg, 0, &err), -EPROTO);
	msg.payload[0] |= CVMM_VHOST_USER_VRING_NO_FD;
	assert_int_equal(cvmm_vhost_user_msg_check(row, &msg, 0, &err), 0);
	msg.fd_count = 1;
	assert_int_equal(cvmm_vhost_user_msg_check(row, &msg, 0, &err), -EPROTO);
	row = cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL,
					   CVMM_VHOST_USER_GET_MAX_MEM_SLOTS);
	msg = (struct cvmm_vhost_user_msg){ 0 };
	assert_int_equal(cvmm_vhost_user_msg_check(row, &msg, 0, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.message, "CONFIGURE_MEM_SLOTS"));
	assert_int_equal(cvmm_vhost_user_msg_check(row, &msg, row->gate, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		cmocka_unit_test(the_table_has_every_request_of_the_specification),
		cmocka_unit_test(protocol_features_have_the_numbers_of_the_specification),
		cmocka_unit_test(payloads_have_their_sizes_and_no_others),
		cmocka_unit_test(requests_are_held_against_their_row),
		cmocka_unit_test(headers_that_cannot_be_end_the_connection),
		cmocka_unit_test(what_is_no_stream_socket_is_refused_and_closed),
		T(a_message_that_comes_byte_by_byte_is_one_message),
		T(messages_that_come_at_once_are_told_apart),
		T(descriptors_go_with_the_message_whose_first_byte_they_came_with),
		T(as_many_descriptors_as_the_kernel_passes_arrive),
		T(descriptors_in_the_middle_of_a_message_end_the_connection),
		T(descriptors_that_do_not_fit_the_limit_end_the_connection),
		T(an_end_in_the_middle_of_a_message_is_told),
		T(a_message_to_a_peer_that_does_not_read_waits_and_arrives_whole),
		T(sending_to_a_peer_that_is_gone_fails_and_kills_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
