// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The front-end: negotiation, requests and answers. */
#include "test_vhost_user_frontend.h"

#include <sys/un.h>

/* ---- negotiation ---- */

static void negotiation_takes_what_both_sides_want(void **state)
{
	struct session *s = *state;

	s->peer.protocol |= UINT64_C(1) << 60; /* of a later specification */
	s->config.protocol_want = P(REPLY_ACK) | P(MQ) | P(STATUS);
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_protocol(s->fe), P(REPLY_ACK) | P(MQ));
	assert_int_equal(cvmm_vhost_user_frontend_features(s->fe), F_VERSION_1 | F_LOG_ALL);
	assert_int_equal(cvmm_vhost_user_frontend_queue_count(s->fe), 4);
	peer_saw(&s->peer, 0,
		 (uint32_t[]){ CVMM_VHOST_USER_SET_OWNER, CVMM_VHOST_USER_GET_FEATURES,
			       CVMM_VHOST_USER_GET_PROTOCOL_FEATURES,
			       CVMM_VHOST_USER_SET_PROTOCOL_FEATURES,
			       CVMM_VHOST_USER_GET_QUEUE_NUM },
		 5);
	assert_int_equal(peer_protocol(&s->peer, s->fe), P(REPLY_ACK) | P(MQ));
	/* Acknowledgements are asked for from the moment that they were negotiated, and not before. */
	assert_int_equal(peer_nth(&s->peer, CVMM_VHOST_USER_SET_PROTOCOL_FEATURES, 0).flags,
			 CVMM_VHOST_USER_VERSION);
}

static void a_back_end_without_protocol_features_is_not_asked_for_them(void **state)
{
	struct session *s = *state;

	s->peer.features = F_VERSION_1;
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_protocol(s->fe), 0);
	assert_int_equal(cvmm_vhost_user_frontend_queue_count(s->fe), 1);
	peer_saw(&s->peer, 0,
		 (uint32_t[]){ CVMM_VHOST_USER_SET_OWNER, CVMM_VHOST_USER_GET_FEATURES }, 2);
}

static void in_band_notifications_need_a_channel_and_acknowledgements(void **state)
{
	struct session *s = *state;

	s->peer.protocol = P(INBAND_NOTIFICATIONS) | P(BACKEND_REQ);
	session_negotiate(s);
	assert_int_equal(peer_protocol(&s->peer, s->fe), P(BACKEND_REQ));
}

static void skipping_the_drain_needs_an_inflight_region(void **state)
{
	struct session *s = *state;

	s->peer.protocol = P(REPLY_ACK) | P(GET_VRING_BASE_SKIP_DRAIN) | P(INFLIGHT_SHMFD);
	session_negotiate(s);
	assert_int_equal(peer_protocol(&s->peer, s->fe), P(REPLY_ACK) | P(INFLIGHT_SHMFD));
}

static void shared_memory_is_protocol_feature_22(void **state)
{
	struct session *s = *state;

	s->peer.protocol = UINT64_C(1) << 22 | P(BACKEND_REQ) | P(REPLY_ACK);
	session_negotiate(s);
	assert_true(cvmm_vhost_user_frontend_protocol(s->fe) >> 22 & 1);
}

static void memory_of_xen_is_not_negotiated(void **state)
{
	struct session *s = *state;

	s->peer.protocol |= P(XEN_MMAP);
	session_negotiate(s);
	assert_false(cvmm_vhost_user_frontend_protocol(s->fe) & P(XEN_MMAP));
	assert_int_equal(cvmm_vhost_user_frontend_negotiate(s->fe, &s->err), -EBUSY);
}

static void features_set_carry_the_bit_of_protocol_features_where_it_was_offered(void **state)
{
	struct session *s = *state;

	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_set_features(s->fe, F_VERSION_1, &s->err), 0);
	assert_int_equal(peer_last(&s->peer, CVMM_VHOST_USER_SET_FEATURES).payload[0],
			 F_VERSION_1 | F_PROTOCOL);
	assert_int_equal(cvmm_vhost_user_frontend_set_features(s->fe, F_PACKED, &s->err), -EINVAL);
	assert_int_equal(peer_count(&s->peer, CVMM_VHOST_USER_SET_FEATURES), 1);
}

static void requests_before_negotiation_are_refused_here(void **state)
{
	struct session *s = *state;
	struct cvmm_mem *mem = make_mem(1);
	struct cvmm_vhost_user_queue queue = { .kick_fd = -1, .call_fd = -1, .err_fd = -1 };
	uint8_t byte;

	session_connect(s);
	assert_int_equal(cvmm_vhost_user_frontend_set_mem(s->fe, mem, NULL), -EINVAL);
	assert_int_equal(cvmm_vhost_user_frontend_set_features(s->fe, 0, NULL), -EINVAL);
	assert_int_equal(cvmm_vhost_user_frontend_start_queue(s->fe, &queue, NULL), -EINVAL);
	assert_int_equal(cvmm_vhost_user_frontend_get_config(s->fe, 0, &byte, 1, &s->err),
			 -EOPNOTSUPP);
	assert_non_null(strstr(s->err.message, "CONFIG was not negotiated"));
	assert_int_equal(peer_seen_count(&s->peer), 0);
	cvmm_mem_unref(mem);
}

static void more_queues_than_can_be_named_are_not_counted(void **state)
{
	struct session *s = *state;

	s->peer.queue_num = 0x8000;
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_queue_count(s->fe), CVMM_VHOST_USER_QUEUES_MAX);
}

static void an_absurd_number_of_queues_ends_the_connection(void **state)
{
	struct session *s = *state;

	s->peer.queue_num = UINT64_C(1) << 40;
	session_connect(s);
	assert_int_equal(cvmm_vhost_user_frontend_negotiate(s->fe, &s->err), -EPROTO);
	assert_true(cvmm_vhost_user_frontend_is_lost(s->fe));
	assert_int_equal(cvmm_vhost_user_frontend_fd(s->fe), -1);
}

/* ---- acknowledgements ---- */

static void every_request_without_an_answer_of_its_own_is_acknowledged(void **state)
{
	struct session *s = *state;

	session_begin(s, F_VERSION_1);
	pthread_mutex_lock(&s->peer.lock);
	for (unsigned int i = 0; i < s->peer.seen_count; i++) {
		const struct peer_seen *seen = &s->peer.seen[i];
		const struct cvmm_vhost_user_message *row = cvmm_vhost_user_message_find(
			CVMM_VHOST_USER_FRONTEND_CHANNEL, seen->request);

		if (i < 4) /* up to SET_PROTOCOL_FEATURES */
			continue;
		assert_int_equal(!!(seen->flags & CVMM_VHOST_USER_FLAG_NEED_REPLY),
				 row->reply != CVMM_VHOST_USER_REPLY_ALWAYS);
	}
	pthread_mutex_unlock(&s->peer.lock);
}

static void a_refusal_is_told_and_the_connection_lives(void **state)
{
	struct session *s = *state;
	uint64_t features;

	session_negotiate(s);
	s->peer.nacked = CVMM_VHOST_USER_SET_FEATURES;
	assert_int_equal(cvmm_vhost_user_frontend_set_features(s->fe, F_VERSION_1, &s->err),
			 -EREMOTEIO);
	assert_non_null(strstr(s->err.message, "SET_FEATURES"));
	assert_false(cvmm_vhost_user_frontend_is_lost(s->fe));
	assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, NULL), 0);
	s->peer.nacked = 0;
	assert_int_equal(cvmm_vhost_user_frontend_set_features(s->fe, F_VERSION_1, NULL), 0);
}

static void without_acknowledgements_memory_is_settled_by_a_question(void **state)
{
	struct session *s = *state;

	s->peer.protocol = P(MQ);
	session_negotiate(s);
	s->mem = make_mem(2);
	assert_int_equal(cvmm_vhost_user_frontend_set_mem(s->fe, s->mem, &s->err), 0);
	assert_int_equal(peer_nth(&s->peer, CVMM_VHOST_USER_SET_MEM_TABLE, 0).flags,
			 CVMM_VHOST_USER_VERSION);
	peer_saw(&s->peer, 5,
		 (uint32_t[]){ CVMM_VHOST_USER_SET_MEM_TABLE, CVMM_VHOST_USER_GET_FEATURES }, 2);
}

/* ---- answers of hostile and broken back-ends ---- */

static bool answer_another_request(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	if (msg->request != CVMM_VHOST_USER_SET_FEATURES)
		return false;
	peer_answer_u64(peer, CVMM_VHOST_USER_SET_OWNER, 0);
	return true;
}

static void an_answer_to_another_request_ends_the_connection(void **state)
{
	struct session *s = *state;
	uint64_t features;

	s->peer.hook = answer_another_request;
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_set_features(s->fe, F_VERSION_1, &s->err),
			 -EPROTO);
	assert_true(cvmm_vhost_user_frontend_is_lost(s->fe));
	assert_int_equal(cvmm_vhost_user_frontend_fd(s->fe), -1);
	assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, &s->err),
			 -ECONNRESET);
	assert_non_null(strstr(s->err.message, "instead of one to SET_FEATURES"));
}

static bool answer_without_the_flag(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	uint64_t value = 0;
	struct iovec iov = { &value, sizeof(value) };

	if (msg->request != CVMM_VHOST_USER_SET_FEATURES)
		return false;
	(void)cvmm_vhost_user_conn_send(peer->conn, msg->request, 0, &iov, 1, NULL, 0);
	return true;
}

static void an_answer_without_the_reply_flag_ends_the_connection(void **state)
{
	struct session *s = *state;

	s->peer.hook = answer_without_the_flag;
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_set_features(s->fe, F_VERSION_1, &s->err),
			 -EPROTO);
	assert_true(cvmm_vhost_user_frontend_is_lost(s->fe));
}

static bool answer_with_an_fd(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	uint64_t value = 0;
	int fd;

	if (msg->request != *(const uint32_t *)peer->hook_ctx)
		return false;
	fd = test_file();
	peer_answer_fds(peer, msg->request, &value, sizeof(value), &fd, 1);
	close(fd);
	return true;
}

/* That they are closed is what the end of every test looks at. */
static void descriptors_that_no_answer_has_are_closed_and_end_the_connection(void **state)
{
	static uint32_t requests[] = { CVMM_VHOST_USER_SET_FEATURES, CVMM_VHOST_USER_GET_FEATURES };
	struct session *s = *state;
	uint64_t features;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(requests); i++) {
		s->peer.hook = NULL;
		session_negotiate(s);
		s->peer.hook_ctx = &requests[i];
		s->peer.hook = answer_with_an_fd;
		if (i == 0)
			assert_int_equal(
				cvmm_vhost_user_frontend_set_features(s->fe, F_VERSION_1, &s->err),
				-EPROTO);
		else
			assert_int_equal(
				cvmm_vhost_user_frontend_get_features(s->fe, &features, &s->err),
				-EPROTO);
		cvmm_vhost_user_frontend_destroy(s->fe);
		s->fe = NULL;
		peer_stop(&s->peer);
	}
}

static bool answer_with_many_fds(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	int fds[CVMM_VHOST_USER_FDS_MAX];
	uint64_t value = 0;

	if (msg->request != CVMM_VHOST_USER_SET_FEATURES)
		return false;
	for (unsigned int i = 0; i < CVMM_VHOST_USER_FDS_MAX; i++)
		fds[i] = 0;
	peer_answer_fds(peer, msg->request, &value, sizeof(value), fds, CVMM_VHOST_USER_FDS_MAX);
	return true;
}

static void as_many_descriptors_as_a_message_can_have_are_closed(void **state)
{
	struct session *s = *state;

	s->peer.hook = answer_with_many_fds;
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_set_features(s->fe, F_VERSION_1, &s->err),
			 -EPROTO);
}

static bool answer_with_a_long_payload(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	static const uint8_t bytes[CVMM_VHOST_USER_PAYLOAD_MAX];

	if (msg->request != CVMM_VHOST_USER_GET_FEATURES)
		return false;
	peer_answer(peer, msg->request, bytes, sizeof(bytes));
	return true;
}

static void an_answer_that_is_too_long_ends_the_connection(void **state)
{
	struct session *s = *state;

	s->peer.hook = answer_with_a_long_payload;
	session_connect(s);
	assert_int_equal(cvmm_vhost_user_frontend_negotiate(s->fe, &s->err), -EPROTO);
	assert_true(cvmm_vhost_user_frontend_is_lost(s->fe));
}

static bool answer_nothing(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	(void)peer;
	return msg->request == CVMM_VHOST_USER_GET_FEATURES;
}

static void a_back_end_that_does_not_answer_is_given_up(void **state)
{
	struct session *s = *state;
	uint64_t features;

	s->config.timeout_ms = 30;
	s->peer.hook = answer_nothing;
	session_connect(s);
	assert_int_equal(cvmm_vhost_user_frontend_negotiate(s->fe, &s->err), -ETIMEDOUT);
	assert_non_null(strstr(s->err.message, "GET_FEATURES"));
	assert_true(cvmm_vhost_user_frontend_is_lost(s->fe));
	assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, NULL),
			 -ECONNRESET);
}

/* Nobody reads at the other end: at some time a request does not go out any more. */
static void a_back_end_that_does_not_read_is_given_up(void **state)
{
	struct session *s = *state;
	static const uint8_t bytes[CVMM_VHOST_USER_PAYLOAD_MAX];
	struct cvmm_vhost_user_msg *msg;
	int fds[2], r = 0;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	s->config.timeout_ms = 30;
	assert_int_equal(cvmm_vhost_user_frontend_create(&s->config, fds[0], &s->fe, NULL), 0);
	for (unsigned int i = 0; i < 100000 && !r; i++)
		r = cvmm_vhost_user_frontend_raw(s->fe, CVMM_VHOST_USER_SET_OWNER, false, bytes,
						 sizeof(bytes), NULL, 0, &msg, &s->err);
	assert_int_equal(r, -ETIMEDOUT);
	close(fds[1]);
}

/* Without SIGPIPE, which would end this program. */
static void a_back_end_that_is_gone_is_an_error(void **state)
{
	struct session *s = *state;
	uint64_t features;

	session_negotiate(s);
	peer_stop(&s->peer);
	assert_int_equal(cvmm_vhost_user_frontend_get_features(s->fe, &features, &s->err),
			 -ECONNRESET);
	assert_true(cvmm_vhost_user_frontend_is_lost(s->fe));
}

static bool answer_in_pieces(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	struct cvmm_vhost_user_header header = {
		msg->request, CVMM_VHOST_USER_VERSION | CVMM_VHOST_USER_FLAG_REPLY, 8
	};
	uint8_t bytes[sizeof(header) + 8];

	if (msg->request != CVMM_VHOST_USER_GET_FEATURES)
		return false;
	memcpy(bytes, &header, sizeof(header));
	memcpy(bytes + sizeof(header), &peer->features, 8);
	for (size_t i = 0; i < sizeof(bytes); i++)
		if (send(cvmm_vhost_user_conn_fd(peer->conn), bytes + i, 1, MSG_NOSIGNAL) != 1)
			abort();
	return true;
}

static void an_answer_that_comes_byte_by_byte_is_one_answer(void **state)
{
	struct session *s = *state;

	s->peer.hook = answer_in_pieces;
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_features(s->fe), F_VERSION_1 | F_LOG_ALL);
}

/* ---- the configuration space ---- */

static void configuration_is_read_from_the_start_for_those_that_ignore_the_offset(void **state)
{
	struct session *s = *state;
	uint8_t bytes[4];

	session_negotiate(s);
	assert_int_equal(
		cvmm_vhost_user_frontend_get_config(s->fe, 20, bytes, sizeof(bytes), &s->err), 0);
	for (uint8_t i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], 21 + i);
	assert_int_equal(peer_last(&s->peer, CVMM_VHOST_USER_GET_CONFIG).size, 12 + 24);
}

static void a_refused_configuration_is_an_answer_shorter_than_the_request(void **state)
{
	struct session *s = *state;
	uint8_t bytes[PEER_CONFIG_BYTES + 1] = { 0 };

	session_negotiate(s);
	assert_int_equal(
		cvmm_vhost_user_frontend_get_config(s->fe, 0, bytes, sizeof(bytes), &s->err),
		-EREMOTEIO);
	assert_int_equal(bytes[0], 0);
	assert_false(cvmm_vhost_user_frontend_is_lost(s->fe));
	assert_int_equal(cvmm_vhost_user_frontend_get_config(s->fe, 0, bytes, 8, NULL), 0);
	assert_int_equal(bytes[7], 8);
}

static bool answer_half_a_config(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	struct {
		struct cvmm_vhost_user_config head;
		uint8_t bytes[4];
	} half = { .head.size = 4 };

	if (msg->request != CVMM_VHOST_USER_GET_CONFIG)
		return false;
	peer_answer(peer, msg->request, &half, sizeof(half));
	return true;
}

static void half_a_configuration_ends_the_connection(void **state)
{
	struct session *s = *state;
	uint8_t bytes[8];

	s->peer.hook = answer_half_a_config;
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_get_config(s->fe, 0, bytes, 8, &s->err), -EPROTO);
	assert_true(cvmm_vhost_user_frontend_is_lost(s->fe));
}

static void configuration_ranges_are_checked_here(void **state)
{
	struct session *s = *state;
	uint8_t byte = 0;

	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_get_config(s->fe, UINT32_MAX, &byte, 1, NULL),
			 -EINVAL);
	assert_int_equal(cvmm_vhost_user_frontend_get_config(s->fe, 0, &byte, 0x10000, NULL),
			 -EINVAL);
	assert_int_equal(cvmm_vhost_user_frontend_get_config(s->fe, 0, &byte, 0, NULL), 0);
	assert_int_equal(peer_count(&s->peer, CVMM_VHOST_USER_GET_CONFIG), 0);
}

static void configuration_flags_are_0_and_1(void **state)
{
	struct session *s = *state;
	const uint8_t bytes[4] = { 1, 2, 3, 4 };

	session_negotiate(s);
	for (uint32_t flags = 0; flags < 2; flags++) {
		struct peer_seen seen;
		struct cvmm_vhost_user_config head;

		assert_int_equal(
			cvmm_vhost_user_frontend_set_config(s->fe, 8, bytes, 4, flags, &s->err), 0);
		seen = peer_last(&s->peer, CVMM_VHOST_USER_SET_CONFIG);
		memcpy(&head, seen.payload, sizeof(head));
		assert_int_equal(seen.size, 16);
		assert_int_equal(head.offset, 8);
		assert_int_equal(head.flags, flags);
		assert_memory_equal((uint8_t *)seen.payload + 12, bytes, 4);
	}
	assert_int_equal(cvmm_vhost_user_frontend_set_config(s->fe, 8, bytes, 4, 2, NULL), -EINVAL);
}

/* ---- other single requests ---- */

static bool answer_status(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	if (msg->request != CVMM_VHOST_USER_GET_STATUS)
		return false;
	peer_answer_u64(peer, msg->request, *(const uint64_t *)peer->hook_ctx);
	return true;
}

static void a_status_of_more_than_8_bits_ends_the_connection(void **state)
{
	struct session *s = *state;
	uint64_t value = 15;
	uint8_t status = 0;

	s->peer.protocol |= P(STATUS);
	s->peer.hook = answer_status;
	s->peer.hook_ctx = &value;
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_set_status(s->fe, 3, NULL), 0);
	assert_int_equal(peer_last(&s->peer, CVMM_VHOST_USER_SET_STATUS).payload[0], 3);
	assert_int_equal(cvmm_vhost_user_frontend_get_status(s->fe, &status, NULL), 0);
	assert_int_equal(status, 15);
	value = 0x10f;
	assert_int_equal(cvmm_vhost_user_frontend_get_status(s->fe, &status, NULL), -EPROTO);
	assert_int_equal(status, 15);
}

static bool answer_shmem(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	if (msg->request != CVMM_VHOST_USER_GET_SHMEM_CONFIG)
		return false;
	peer_answer(peer, msg->request, peer->hook_ctx,
		    sizeof(struct cvmm_vhost_user_shmem_config));
	return true;
}

static void shared_memory_regions_are_counted(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_shmem_config config = { .count = 2,
						       .size_bytes = { 0, 4096, 1 << 20 } };
	struct cvmm_vhost_user_shmem_config got;

	s->peer.protocol |= P(SHMEM) | P(BACKEND_REQ);
	s->peer.hook = answer_shmem;
	s->peer.hook_ctx = &config;
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_get_shmem_config(s->fe, &got, NULL), 0);
	assert_memory_equal(&got, &config, sizeof(got));
	config.count = 3;
	assert_int_equal(cvmm_vhost_user_frontend_get_shmem_config(s->fe, &got, &s->err), -EPROTO);
}

static void shared_memory_regions_of_no_whole_pages_end_the_connection(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_shmem_config config = { .count = 1, .size_bytes = { 5000 } };
	struct cvmm_vhost_user_shmem_config got;

	s->peer.protocol |= P(SHMEM) | P(BACKEND_REQ);
	s->peer.hook = answer_shmem;
	s->peer.hook_ctx = &config;
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_get_shmem_config(s->fe, &got, &s->err), -EPROTO);
}

static bool answer_object(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	int fd;

	if (msg->request != CVMM_VHOST_USER_GET_SHARED_OBJECT)
		return false;
	if (msg->payload[0] == 0) {
		peer_answer(peer, msg->request, msg->payload, msg->size);
		return true;
	}
	fd = test_file();
	peer_answer_fds(peer, msg->request, msg->payload, msg->size, &fd, 1);
	close(fd);
	return true;
}

static void a_shared_object_is_a_descriptor_or_nothing(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_uuid uuid = { { 1, 2, 3 } };
	int fd = -1;

	s->peer.protocol |= P(SHARED_OBJECT);
	s->peer.hook = answer_object;
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_get_shared_object(s->fe, &uuid, &fd, NULL), 0);
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	cvmm_close_fd(&fd);
	memset(&uuid, 0, sizeof(uuid));
	assert_int_equal(cvmm_vhost_user_frontend_get_shared_object(s->fe, &uuid, &fd, NULL),
			 -EREMOTEIO);
	assert_int_equal(fd, -1);
}

static bool answer_crypto(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	if (msg->request != CVMM_VHOST_USER_CREATE_CRYPTO_SESSION)
		return false;
	msg->payload[0]++;
	peer_answer(peer, msg->request, msg->payload, msg->size > 16 ? 16 : msg->size);
	return true;
}

static void a_crypto_session_is_answered_in_its_own_form(void **state)
{
	struct session *s = *state;
	uint64_t words[4] = { 6, 7, 8, 9 };

	s->peer.protocol |= P(CRYPTO_SESSION);
	s->peer.hook = answer_crypto;
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_create_crypto_session(s->fe, words, 16, NULL), 0);
	assert_int_equal(words[0], 7);
	assert_int_equal(cvmm_vhost_user_frontend_close_crypto_session(s->fe, 7, NULL), 0);
	assert_int_equal(peer_last(&s->peer, CVMM_VHOST_USER_CLOSE_CRYPTO_SESSION).payload[0], 7);
	assert_int_equal(cvmm_vhost_user_frontend_create_crypto_session(s->fe, words, 32, NULL),
			 -EPROTO);
}

static void network_requests_have_their_numbers(void **state)
{
	struct session *s = *state;
	const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };

	s->peer.protocol |= P(RARP) | P(MTU) | P(CROSS_ENDIAN);
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_send_rarp(s->fe, mac, NULL), 0);
	assert_memory_equal(peer_last(&s->peer, CVMM_VHOST_USER_SEND_RARP).payload, mac, 6);
	assert_int_equal(cvmm_vhost_user_frontend_set_mtu(s->fe, 9000, NULL), 0);
	assert_int_equal(peer_last(&s->peer, CVMM_VHOST_USER_NET_SET_MTU).payload[0], 9000);
	assert_int_equal(cvmm_vhost_user_frontend_set_vring_endian(s->fe, 1, true, NULL), 0);
	assert_int_equal(peer_last(&s->peer, CVMM_VHOST_USER_SET_VRING_ENDIAN).payload[0],
			 UINT64_C(1) << 32 | 1);
}

static bool answer_transfer(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	const uint64_t *plan = peer->hook_ctx; /* the number, and whether with a descriptor */
	int fd;

	if (msg->request != CVMM_VHOST_USER_SET_DEVICE_STATE_FD)
		return false;
	if (!plan[1]) {
		peer_answer_u64(peer, msg->request, plan[0]);
		return true;
	}
	fd = test_file();
	peer_answer_fds(peer, msg->request, plan, 8, &fd, 1);
	close(fd);
	return true;
}

static void a_transfer_goes_through_our_pipe_or_the_back_ends_own(void **state)
{
	struct session *s = *state;
	uint64_t plan[2] = { CVMM_VHOST_USER_STATE_NO_FD, 0 };
	int fd = -2;

	s->peer.protocol |= P(DEVICE_STATE);
	s->peer.hook = answer_transfer;
	s->peer.hook_ctx = plan;
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_transfer(s->fe, CVMM_VHOST_USER_TRANSFER_LOAD, 0,
							   &fd, NULL),
			 0);
	assert_int_equal(fd, -1);
	assert_int_equal(peer_last(&s->peer, CVMM_VHOST_USER_SET_DEVICE_STATE_FD).payload[0], 1);
	plan[0] = 0;
	plan[1] = 1;
	assert_int_equal(cvmm_vhost_user_frontend_transfer(s->fe, CVMM_VHOST_USER_TRANSFER_SAVE, 0,
							   &fd, NULL),
			 0);
	assert_true(fd >= 0);
	cvmm_close_fd(&fd);
	plan[0] = CVMM_VHOST_USER_STATE_NO_FD | 1;
	plan[1] = 0;
	assert_int_equal(cvmm_vhost_user_frontend_transfer(s->fe, CVMM_VHOST_USER_TRANSFER_SAVE, 0,
							   &fd, NULL),
			 -EREMOTEIO);
	assert_int_equal(cvmm_vhost_user_frontend_check_device_state(s->fe, NULL), 0);
	plan[0] = 1; /* an error, and a descriptor */
	plan[1] = 1;
	assert_int_equal(cvmm_vhost_user_frontend_transfer(s->fe, CVMM_VHOST_USER_TRANSFER_SAVE, 0,
							   &fd, NULL),
			 -EPROTO);
}

static void a_reset_device_begins_anew(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_queue queue;

	s->peer.protocol |= P(RESET_DEVICE);
	session_begin(s, F_VERSION_1);
	queue = make_queue(s, 0, false);
	assert_int_equal(cvmm_vhost_user_frontend_start_queue(s->fe, &queue, &s->err), 0);
	assert_int_equal(cvmm_vhost_user_frontend_reset_device(s->fe, NULL), 0);
	assert_int_equal(cvmm_vhost_user_frontend_start_queue(s->fe, &queue, &s->err), -EINVAL);
	assert_int_equal(cvmm_vhost_user_frontend_set_features(s->fe, F_VERSION_1, NULL), 0);
	assert_int_equal(cvmm_vhost_user_frontend_start_queue(s->fe, &queue, &s->err), 0);
}

static bool answer_iotlb(struct peer *peer, struct cvmm_vhost_user_msg *msg)
{
	if (msg->request != CVMM_VHOST_USER_IOTLB_MSG)
		return false;
	peer_answer_u64(peer, msg->request, msg->payload[0] == 0x2000);
	return true;
}

/* Some back-ends answer only then. */
static void translations_are_always_answered_and_asked_to_be(void **state)
{
	struct session *s = *state;
	struct cvmm_iotlb_op op = {
		.kind = CVMM_IOTLB_UPDATE,
		.iova = 0x1000,
		.last = 0x1fff,
		.addr = 0x7000,
		.rights = CVMM_ACCESS_READ_WRITE,
	};

	s->peer.features |= F_PLATFORM;
	s->peer.protocol = P(MQ); /* without REPLY_ACK */
	s->peer.hook = answer_iotlb;
	session_negotiate(s);
	assert_int_equal(cvmm_vhost_user_frontend_iotlb(s->fe, &op, &s->err), 0);
	assert_true(peer_last(&s->peer, CVMM_VHOST_USER_IOTLB_MSG).flags &
		    CVMM_VHOST_USER_FLAG_NEED_REPLY);
	op.iova = 0x2000;
	op.last = 0x2fff;
	assert_int_equal(cvmm_vhost_user_frontend_iotlb(s->fe, &op, &s->err), -EREMOTEIO);
	op.kind = CVMM_IOTLB_MISS;
	assert_int_equal(cvmm_vhost_user_frontend_iotlb(s->fe, &op, &s->err), -EINVAL);
	op.kind = CVMM_IOTLB_UPDATE;
	op.iova = 0;
	op.last = UINT64_MAX; /* no message can hold it */
	assert_int_equal(cvmm_vhost_user_frontend_iotlb(s->fe, &op, &s->err), -EINVAL);
}

/* ---- any request ---- */

static void raw_requests_go_out_as_they_are(void **state)
{
	struct session *s = *state;
	struct cvmm_vhost_user_msg *msg = NULL;
	const uint64_t words[2] = { 5, 6 };

	session_negotiate(s);
	/* No such request; no acknowledgement asked for; and one asked for. */
	assert_int_equal(
		cvmm_vhost_user_frontend_raw(s->fe, 77, false, words, 16, NULL, 0, &msg, NULL), 0);
	assert_null(msg);
	assert_int_equal(cvmm_vhost_user_frontend_raw(s->fe, 78, true, words, 3, (int[]){ 0, 1 }, 2,
						      &msg, NULL),
			 0);
	assert_int_equal(msg->request, 78);
	assert_int_equal(msg->payload[0], 0);
	assert_int_equal(peer_last(&s->peer, 78).size, 3);
	assert_int_equal(peer_last(&s->peer, 78).fd_count, 2);
	assert_int_equal(peer_last(&s->peer, 77).size, 16);
	assert_int_equal(cvmm_vhost_user_frontend_raw(s->fe, CVMM_VHOST_USER_GET_FEATURES, false,
						      NULL, 0, NULL, 0, &msg, NULL),
			 0);
	assert_int_equal(msg->payload[0], s->peer.features);
	s->peer.nacked = 79;
	assert_int_equal(
		cvmm_vhost_user_frontend_raw(s->fe, 79, true, NULL, 0, NULL, 0, &msg, NULL),
		-EREMOTEIO);
	assert_int_equal(
		cvmm_vhost_user_frontend_raw(s->fe, 1, false, words, 0x10000, NULL, 0, &msg, NULL),
		-EMSGSIZE);
	assert_false(cvmm_vhost_user_frontend_is_lost(s->fe));
}

/* ---- connecting ---- */

static int listen_at(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void connecting_waits_for_a_socket_and_gives_up(void **state)
{
	char dir[] = "/tmp/cvmm-test-XXXXXX", path[64];
	struct cvmm_error err;
	int fd = -1, listener;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	assert_int_equal(cvmm_vhost_user_connect(path, 20, &fd, &err), -ETIMEDOUT);
	assert_int_equal(fd, -1);
	listener = listen_at(path);
	assert_int_equal(cvmm_vhost_user_connect(path, 0, &fd, &err), 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	close(listener);
	/* The file is there, and nobody listens. */
	assert_int_equal(cvmm_vhost_user_connect(path, 20, &fd, &err), -ETIMEDOUT);
	unlink(path);
	assert_int_equal(cvmm_vhost_user_connect(dir, 20, &fd, &err), -ETIMEDOUT);
	rmdir(dir);
}

static void long_paths_are_reached_through_their_directory(void **state)
{
	char dir[256], path[300];
	int fd = -1, listener, back = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct cvmm_error err;

	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/cvmm-test-%d-%0150d", (int)getpid(), 0);
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(chdir(dir), 0);
	listener = listen_at("s");
	assert_int_equal(fchdir(back), 0);
	close(back);
	snprintf(path, sizeof(path), "%s/s", dir);
	assert_int_equal(cvmm_vhost_user_connect(path, 0, &fd, &err), 0);
	close(fd);
	close(listener);
	unlink(path);
	rmdir(dir);
	snprintf(path, sizeof(path), "/tmp/%0200d", 0);
	assert_int_equal(cvmm_vhost_user_connect(path, 0, &fd, &err), -ENAMETOOLONG);
	assert_int_equal(cvmm_vhost_user_connect(path + 5, 0, &fd, &err), -ENAMETOOLONG);
	snprintf(path, sizeof(path), "/tmp/%0200d/s", 0);
	assert_int_equal(cvmm_vhost_user_connect(path, 0, &fd, &err), -ENOENT);
	assert_int_equal(cvmm_vhost_user_connect("/dev/null/s", 0, &fd, &err), -ENOTDIR);
}

static void what_is_no_socket_is_closed(void **state)
{
	struct session *s = *state;
	int fd = test_file();

	assert_true(fd >= 0);
	assert_int_equal(cvmm_vhost_user_frontend_create(&s->config, fd, &s->fe, &s->err),
			 -ENOTSOCK);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	fd = test_file();
	s->config.table_regions = 254;
	assert_int_equal(cvmm_vhost_user_frontend_create(&s->config, fd, &s->fe, &s->err), -EINVAL);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SESSION_TEST(negotiation_takes_what_both_sides_want),
		SESSION_TEST(a_back_end_without_protocol_features_is_not_asked_for_them),
		SESSION_TEST(in_band_notifications_need_a_channel_and_acknowledgements),
		SESSION_TEST(skipping_the_drain_needs_an_inflight_region),
		SESSION_TEST(shared_memory_is_protocol_feature_22),
		SESSION_TEST(memory_of_xen_is_not_negotiated),
		SESSION_TEST(features_set_carry_the_bit_of_protocol_features_where_it_was_offered),
		SESSION_TEST(requests_before_negotiation_are_refused_here),
		SESSION_TEST(more_queues_than_can_be_named_are_not_counted),
		SESSION_TEST(an_absurd_number_of_queues_ends_the_connection),
		SESSION_TEST(every_request_without_an_answer_of_its_own_is_acknowledged),
		SESSION_TEST(a_refusal_is_told_and_the_connection_lives),
		SESSION_TEST(without_acknowledgements_memory_is_settled_by_a_question),
		SESSION_TEST(an_answer_to_another_request_ends_the_connection),
		SESSION_TEST(an_answer_without_the_reply_flag_ends_the_connection),
		SESSION_TEST(descriptors_that_no_answer_has_are_closed_and_end_the_connection),
		SESSION_TEST(as_many_descriptors_as_a_message_can_have_are_closed),
		SESSION_TEST(an_answer_that_is_too_long_ends_the_connection),
		SESSION_TEST(a_back_end_that_does_not_answer_is_given_up),
		SESSION_TEST(a_back_end_that_does_not_read_is_given_up),
		SESSION_TEST(a_back_end_that_is_gone_is_an_error),
		SESSION_TEST(an_answer_that_comes_byte_by_byte_is_one_answer),
		SESSION_TEST(configuration_is_read_from_the_start_for_those_that_ignore_the_offset),
		SESSION_TEST(a_refused_configuration_is_an_answer_shorter_than_the_request),
		SESSION_TEST(half_a_configuration_ends_the_connection),
		SESSION_TEST(configuration_ranges_are_checked_here),
		SESSION_TEST(configuration_flags_are_0_and_1),
		SESSION_TEST(a_status_of_more_than_8_bits_ends_the_connection),
		SESSION_TEST(shared_memory_regions_are_counted),
		SESSION_TEST(shared_memory_regions_of_no_whole_pages_end_the_connection),
		SESSION_TEST(a_shared_object_is_a_descriptor_or_nothing),
		SESSION_TEST(a_crypto_session_is_answered_in_its_own_form),
		SESSION_TEST(network_requests_have_their_numbers),
		SESSION_TEST(a_transfer_goes_through_our_pipe_or_the_back_ends_own),
		SESSION_TEST(a_reset_device_begins_anew),
		SESSION_TEST(translations_are_always_answered_and_asked_to_be),
		SESSION_TEST(raw_requests_go_out_as_they_are),
		SESSION_TEST(connecting_waits_for_a_socket_and_gives_up),
		SESSION_TEST(long_paths_are_reached_through_their_directory),
		SESSION_TEST(what_is_no_socket_is_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
