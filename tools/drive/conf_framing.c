// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * How messages lie in the stream: a Unix stream socket has no borders between them, so a message may
 * arrive in any number of pieces, and several at once.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "conf.h"

#define SPEC_STREAM "vhost-user, Message Specification; a stream socket keeps no borders"
#define SPEC_HEADER "vhost-user, Header"
#define SPEC_FDS "vhost-user, Communication: descriptors come with the first byte of the header"
#define SPEC_ACK "vhost-user, VHOST_USER_PROTOCOL_F_REPLY_ACK"
#define SPEC_ROBUST "a back-end outlives its front-end"

#define HEADER_SIZE sizeof(struct cvmm_vhost_user_header)
#define PIECE_PAUSE_MS 3U
#define FLOOD 150U

static void send_in_pieces(struct conf *t, const uint8_t *bytes, size_t len, size_t piece,
			   const int *fds, size_t fd_count)
{
	conf_trace(t, "> %zu bytes of a message, %zu at a time", len, piece);
	for (size_t at = 0; at < len; at += piece) {
		conf_raw(t, bytes + at, len - at < piece ? len - at : piece, fds,
			 at ? 0 : fd_count);
		conf_sleep_ms(PIECE_PAUSE_MS);
	}
}

/* The acknowledgement, or a sign of life. */
static void must_be_done(struct conf *t, uint32_t request, const char *how)
{
	if (!(t->protocol & CVMM_VHOST_USER_PROTOCOL(REPLY_ACK))) {
		conf_must_be_alive(t, how);
		return;
	}
	if (conf_receive_answer(t, request) != CONF_ANSWERED)
		conf_fail(t, "%s is not answered", how);
	if (conf_answer_u64(t))
		conf_fail(t, "%s was refused", how);
}

static uint32_t ack_flag(const struct conf *t)
{
	return t->protocol & CVMM_VHOST_USER_PROTOCOL(REPLY_ACK) ? CVMM_VHOST_USER_FLAG_NEED_REPLY
								 : 0;
}

/* ---- pieces ------------------------------------------------------------------------------------ */

static void header_in_bytes(struct conf *t)
{
	uint8_t buf[HEADER_SIZE];
	size_t len = conf_message(buf, CVMM_VHOST_USER_GET_FEATURES, 0, NULL, 0);

	send_in_pieces(t, buf, len, 1, NULL, 0);
	if (conf_receive_answer(t, CVMM_VHOST_USER_GET_FEATURES) != CONF_ANSWERED)
		conf_fail(t, "GET_FEATURES, a byte at a time, is not answered");
}

static void header_in_halves(struct conf *t)
{
	uint64_t features = conf_wanted_features(t);
	uint8_t buf[HEADER_SIZE + sizeof(features)];

	conf_message(buf, CVMM_VHOST_USER_SET_FEATURES, ack_flag(t), &features, sizeof(features));
	conf_raw(t, buf, 6, NULL, 0);
	conf_sleep_ms(20);
	conf_raw(t, buf + 6, sizeof(buf) - 6, NULL, 0);
	must_be_done(t, CVMM_VHOST_USER_SET_FEATURES, "SET_FEATURES with its header in halves");
}

static void payload_apart(struct conf *t)
{
	uint64_t features = conf_wanted_features(t);
	uint8_t buf[HEADER_SIZE + sizeof(features)];

	conf_message(buf, CVMM_VHOST_USER_SET_FEATURES, ack_flag(t), &features, sizeof(features));
	conf_raw(t, buf, HEADER_SIZE, NULL, 0);
	conf_sleep_ms(20);
	conf_raw(t, buf + HEADER_SIZE, sizeof(features), NULL, 0);
	must_be_done(t, CVMM_VHOST_USER_SET_FEATURES, "SET_FEATURES with its payload later");
}

static void payload_in_two(struct conf *t)
{
	uint64_t features = conf_wanted_features(t);
	uint8_t buf[HEADER_SIZE + sizeof(features)];

	conf_message(buf, CVMM_VHOST_USER_SET_FEATURES, ack_flag(t), &features, sizeof(features));
	conf_raw(t, buf, HEADER_SIZE + 4, NULL, 0);
	conf_sleep_ms(20);
	conf_raw(t, buf + HEADER_SIZE + 4, 4, NULL, 0);
	must_be_done(t, CVMM_VHOST_USER_SET_FEATURES, "SET_FEATURES with its payload in two");
}

static void payload_in_bytes(struct conf *t)
{
	struct conf_table table;
	int fds[CONF_REGIONS_MAX];
	uint8_t buf[HEADER_SIZE + sizeof(table)];
	size_t size;

	conf_set_features(t, conf_wanted_features(t));
	conf_ram_default(t);
	size = conf_ram_table(t, &table, fds);
	size = conf_message(buf, CVMM_VHOST_USER_SET_MEM_TABLE, ack_flag(t), &table, size);
	send_in_pieces(t, buf, size, 1, fds, t->ram.count);
	must_be_done(t, CVMM_VHOST_USER_SET_MEM_TABLE,
		     "SET_MEM_TABLE, a byte at a time with the descriptors on the first");
}

static void several_at_once(struct conf *t)
{
	uint8_t buf[4 * HEADER_SIZE];
	size_t len = 0;

	for (unsigned int i = 0; i < 4; i++)
		len += conf_message(buf + len, CVMM_VHOST_USER_GET_FEATURES, 0, NULL, 0);
	conf_trace(t, "> GET_FEATURES four times in one write");
	conf_raw(t, buf, len, NULL, 0);
	for (unsigned int i = 0; i < 4; i++)
		if (conf_receive_answer(t, CVMM_VHOST_USER_GET_FEATURES) != CONF_ANSWERED)
			conf_fail(t, "of four requests in one write, only %u are answered", i);
}

static void next_header_along(struct conf *t)
{
	uint64_t features = conf_wanted_features(t);
	uint8_t buf[3 * HEADER_SIZE + sizeof(features)];
	size_t len = conf_message(buf, CVMM_VHOST_USER_SET_FEATURES, ack_flag(t), &features,
				  sizeof(features));

	/* The whole of one message, and the first half of the next one's header. */
	conf_message(buf + len, CVMM_VHOST_USER_GET_FEATURES, 0, NULL, 0);
	conf_raw(t, buf, len + 5, NULL, 0);
	conf_sleep_ms(20);
	conf_raw(t, buf + len + 5, HEADER_SIZE - 5, NULL, 0);
	if (ack_flag(t))
		must_be_done(t, CVMM_VHOST_USER_SET_FEATURES, "SET_FEATURES");
	if (conf_receive_answer(t, CVMM_VHOST_USER_GET_FEATURES) != CONF_ANSWERED)
		conf_fail(t, "GET_FEATURES, half of it along with the request before, is not "
			     "answered");
}

static void descriptors_back_to_back(struct conf *t)
{
	struct conf_queue *q;

	q = conf_queue_make(t, 0, CONF_QUEUE_SIZE);
	conf_queue_send_num(t, q);
	for (unsigned int i = 0; i < 3; i++) {
		uint64_t queue = 0;

		conf_send(t, CVMM_VHOST_USER_SET_VRING_CALL, 0, &queue, sizeof(queue), &q->call, 1);
		conf_send(t, CVMM_VHOST_USER_SET_VRING_ERR, 0, &queue, sizeof(queue), &q->err, 1);
	}
	conf_must_be_alive(t, "six messages with descriptors, one right after the other");
}

static void flood(struct conf *t)
{
	uint8_t buf[HEADER_SIZE];
	size_t len = conf_message(buf, CVMM_VHOST_USER_GET_FEATURES, 0, NULL, 0);

	conf_trace(t, "> GET_FEATURES %u times, without reading answers", FLOOD);
	for (unsigned int i = 0; i < FLOOD; i++)
		conf_raw(t, buf, len, NULL, 0);
	for (unsigned int i = 0; i < FLOOD; i++)
		if (conf_receive_answer(t, CVMM_VHOST_USER_GET_FEATURES) != CONF_ANSWERED)
			conf_fail(t, "of %u requests only %u are answered", FLOOD, i);
}

static void half_closed(struct conf *t)
{
	conf_send(t, CVMM_VHOST_USER_GET_FEATURES, 0, NULL, 0, NULL, 0);
	shutdown(cvmm_vhost_user_conn_fd(t->conn), SHUT_WR);
	if (conf_receive_answer(t, CVMM_VHOST_USER_GET_FEATURES) != CONF_ANSWERED)
		conf_fail(t, "a request before a half-close is not answered");
}

/* ---- bad headers ------------------------------------------------------------------------------- */

/* Send a header as it is, and see whether it is taken for GET_FEATURES. */
static void try_header(struct conf *t, struct cvmm_vhost_user_header header, const char *what)
{
	conf_trace(t, "> header: request %u, flags 0x%x, size %u", header.request, header.flags,
		   header.size);
	conf_raw(t, &header, sizeof(header), NULL, 0);
	switch (conf_receive(t, t->options->timeout_ms)) {
	case CONF_ANSWERED:
		if (t->msg->request == CVMM_VHOST_USER_GET_FEATURES && t->msg->size == 8 &&
		    conf_answer_u64(t) == t->features)
			conf_fail(t, "%s was answered as if nothing was wrong", what);
		return;
	case CONF_SILENT:
		conf_note(t, "%s: ignored, and the connection stays open", what);
		return;
	default:
		return;
	}
}

static void bad_versions(struct conf *t)
{
	for (uint32_t version = 0; version <= 3; version++) {
		char what[32];

		if (version == CVMM_VHOST_USER_VERSION)
			continue;
		conf_connect(t);
		snprintf(what, sizeof(what), "version %u", version);
		try_header(
			t,
			(struct cvmm_vhost_user_header){ CVMM_VHOST_USER_GET_FEATURES, version, 0 },
			what);
	}
}

static void unknown_flags(struct conf *t)
{
	try_header(t,
		   (struct cvmm_vhost_user_header){ CVMM_VHOST_USER_GET_FEATURES,
						    CVMM_VHOST_USER_VERSION | 0x80000010U, 0 },
		   "a header with unknown flags");
}

static void reply_flag(struct conf *t)
{
	try_header(t,
		   (struct cvmm_vhost_user_header){
			   CVMM_VHOST_USER_GET_FEATURES,
			   CVMM_VHOST_USER_VERSION | CVMM_VHOST_USER_FLAG_REPLY, 0 },
		   "a request with the reply flag");
}

static void oversize(struct conf *t)
{
	static const uint32_t sizes[] = { UINT32_MAX, INT32_MAX, UINT32_C(1) << 20,
					  UINT32_MAX - 11 };

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(sizes); i++) {
		const struct cvmm_vhost_user_header header = { CVMM_VHOST_USER_SET_FEATURES,
							       CVMM_VHOST_USER_VERSION, sizes[i] };

		conf_connect(t);
		conf_trace(t, "> header with size %u", sizes[i]);
		conf_raw(t, &header, sizeof(header), NULL, 0);
		if (conf_receive(t, t->options->timeout_ms) == CONF_SILENT)
			conf_fail(t, "it waits for a payload of %u bytes", sizes[i]);
	}
}

/* ---- wrong sizes ------------------------------------------------------------------------------- */

/* Protocol features that have no conditions, so that most requests are open. */
static uint64_t plain_protocol(const struct conf *t)
{
	return t->protocol_offered &
	       ~(CVMM_VHOST_USER_PROTOCOL(INBAND_NOTIFICATIONS) |
		 CVMM_VHOST_USER_PROTOCOL(XEN_MMAP) | CVMM_VHOST_USER_PROTOCOL(GPA_ADDRESSES) |
		 CVMM_VHOST_USER_PROTOCOL(GET_VRING_BASE_SKIP_DRAIN) |
		 CVMM_VHOST_USER_PROTOCOL(PAGEFAULT));
}

static void wrong_sizes(struct conf *t, bool longer)
{
	char done[CONF_TEXT_SIZE] = "";

	for (uint32_t id = 1; id <= CVMM_VHOST_USER_FRONTEND_REQUEST_MAX; id++) {
		const struct cvmm_vhost_user_message *row =
			cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL, id);
		struct conf_form form;
		size_t size;

		if (!row || row->gate & ~plain_protocol(t) ||
		    row->payload == CVMM_VHOST_USER_CRYPTO)
			continue;
		conf_reopen(t, CONF_CONNECTED);
		conf_set_protocol(t, plain_protocol(t));
		conf_form_make(t, row, &form);
		size = longer ? form.size + 4 : form.size / 2;
		if (size == form.size ||
		    cvmm_vhost_user_payload_fits(row->payload, form.payload, size, 0))
			continue;
		if (conf_form_is_done(t, row, &form, size))
			conf_add_word(done, row->name);
	}
	if (*done)
		conf_fail(t, "done: %s", done);
}

static void short_payloads(struct conf *t)
{
	wrong_sizes(t, false);
}

static void long_payloads(struct conf *t)
{
	wrong_sizes(t, true);
}

/* ---- the end in the middle ----------------------------------------------------------------------- */

static void truncated_header(struct conf *t)
{
	uint8_t buf[HEADER_SIZE];

	for (size_t len = 1; len < HEADER_SIZE; len += 5) {
		conf_connect(t);
		conf_message(buf, CVMM_VHOST_USER_GET_FEATURES, 0, NULL, 0);
		conf_raw(t, buf, len, NULL, 0);
		conf_close(t);
	}
	conf_connect(t);
}

static void truncated_payload(struct conf *t)
{
	struct conf_table table;
	int fds[CONF_REGIONS_MAX];
	uint8_t buf[HEADER_SIZE + sizeof(table)];
	size_t size;

	conf_ram_default(t);
	size = conf_ram_table(t, &table, fds);
	size = conf_message(buf, CVMM_VHOST_USER_SET_MEM_TABLE, 0, &table, size);
	conf_raw(t, buf, HEADER_SIZE + 3, fds, t->ram.count);
	conf_close(t);
	conf_connect(t);
}

static void closed_at_once(struct conf *t)
{
	for (unsigned int i = 0; i < 5; i++) {
		conf_close(t);
		conf_connect(t);
	}
}

static void closed_unread(struct conf *t)
{
	uint8_t buf[HEADER_SIZE];
	size_t len = conf_message(buf, CVMM_VHOST_USER_GET_FEATURES, 0, NULL, 0);

	/* So that the answers meet a socket that is gone. */
	for (unsigned int i = 0; i < 20; i++)
		conf_raw(t, buf, len, NULL, 0);
	conf_close(t);
	conf_connect(t);
}

/* ---- descriptors ------------------------------------------------------------------------------- */

static void stray_descriptors(struct conf *t)
{
	static const size_t counts[] = { 1, 2, 8, 9, 32, 33, 64, CVMM_VHOST_USER_FDS_MAX };
	char leaks[CONF_TEXT_SIZE] = "";

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(counts); i++) {
		int fds[CVMM_VHOST_USER_FDS_MAX], read_end, write_end;
		char count[16];

		conf_connect(t);
		conf_pipe(t, &read_end, &write_end);
		for (size_t k = 0; k < counts[i]; k++)
			fds[k] = write_end;
		conf_send(t, CVMM_VHOST_USER_GET_FEATURES, 0, NULL, 0, fds, counts[i]);
		conf_receive(t, CONF_RELEASE_MS);
		conf_close(t);
		conf_drop(t, write_end);
		snprintf(count, sizeof(count), "%zu", counts[i]);
		if (!conf_other_end_is_closed(read_end))
			conf_add_word(leaks, count);
	}
	if (*leaks)
		conf_fail(t,
			  "still open after the connection ended, of so many that came with "
			  "GET_FEATURES: %s",
			  leaks);
}

/*
 * More descriptors than a back-end has room for: the kernel throws the rest away. Whoever then reads the
 * header again waits for bytes that it has had already, and is out of step from there on.
 */
static void too_many_descriptors(struct conf *t)
{
	static const size_t counts[] = { 9, 33, 65, CVMM_VHOST_USER_FDS_MAX };
	int fds[CVMM_VHOST_USER_FDS_MAX];

	for (size_t k = 0; k < CVMM_VHOST_USER_FDS_MAX; k++)
		fds[k] = k ? fds[0] : conf_eventfd(t);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(counts); i++) {
		conf_connect(t);
		conf_send(t, CVMM_VHOST_USER_GET_FEATURES, 0, NULL, 0, fds, counts[i]);
		if (conf_receive(t, t->options->timeout_ms) == CONF_SILENT)
			conf_fail(t,
				  "GET_FEATURES with %zu descriptors: no answer, and the "
				  "connection is not closed",
				  counts[i]);
	}
}

static void descriptors_close_early(struct conf *t)
{
	int read_end, write_end;

	conf_pipe(t, &read_end, &write_end);
	conf_send(t, CVMM_VHOST_USER_GET_FEATURES, 0, NULL, 0, &write_end, 1);
	conf_receive(t, t->options->timeout_ms);
	conf_drop(t, write_end);
	if (!conf_other_end_is_closed(read_end))
		conf_fail(t, "a descriptor that GET_FEATURES has no use for stays open");
}

/* A line "NAME: NUMBER" of a file in /proc. Return: whether it is there. */
static bool read_proc(const char *path, const char *name, int base, unsigned long *ret_value)
{
	char line[256];
	size_t len = strlen(name);
	FILE *f = fopen(path, "re");
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		found = strncmp(line, name, len) == 0 && line[len] == ':';
		if (found)
			*ret_value = strtoul(line + len + 1, NULL, base);
	}
	if (f)
		fclose(f);
	return found;
}

/* The flags that the process which serves has for an eventfd of ours, looked up by its kernel's number. */
static bool find_flags(struct conf *t, int fd, unsigned long *ret_flags)
{
	unsigned long id, other;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	if (!conf_peer_pid(t->peer) || !read_proc(path, "eventfd-id", 10, &id))
		return false;
	for (unsigned int i = 0; i < 1024; i++) {
		snprintf(path, sizeof(path), "/proc/%d/fdinfo/%u", conf_peer_pid(t->peer), i);
		if (read_proc(path, "eventfd-id", 10, &other) && other == id)
			return read_proc(path, "flags", 8, ret_flags);
	}
	return false;
}

static void close_on_exec(struct conf *t)
{
	int fd = conf_eventfd(t);
	unsigned long flags = 0;

	conf_accepted(t, conf_try_fd(t, CVMM_VHOST_USER_SET_VRING_CALL, 0, fd), "SET_VRING_CALL");
	if (!find_flags(t, fd, &flags))
		conf_skip(t, "/proc/PID/fdinfo of the back-end does not show it");
	if (!(flags & O_CLOEXEC))
		conf_fail(t, "a child of the back-end would have it");
}

static void descriptors_with_payload(struct conf *t)
{
	uint64_t features = t->features & CONF_F_PROTOCOL;
	uint8_t buf[HEADER_SIZE + sizeof(features)];
	int read_end, write_end;

	conf_pipe(t, &read_end, &write_end);
	conf_message(buf, CVMM_VHOST_USER_SET_FEATURES, 0, &features, sizeof(features));
	conf_trace(t, "> SET_FEATURES with a descriptor on the payload");
	conf_raw(t, buf, HEADER_SIZE, NULL, 0);
	conf_sleep_ms(20);
	conf_raw(t, buf + HEADER_SIZE, sizeof(features), &write_end, 1);
	if (conf_is_alive(t))
		conf_note(t, "the connection lives");
	conf_close(t);
	conf_drop(t, write_end);
	if (!conf_other_end_is_closed(read_end))
		conf_fail(t, "the descriptor stays open after the connection ended");
}

/* ---- unknown requests ---------------------------------------------------------------------------- */

static const uint32_t unknown_requests[] = { 0, CVMM_VHOST_USER_FRONTEND_REQUEST_MAX + 1, 1000,
					     UINT32_MAX };

static void unknown_with_need_reply(struct conf *t)
{
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(unknown_requests); i++) {
		char what[32];

		if (i)
			conf_reopen(t, CONF_NEGOTIATED);
		snprintf(what, sizeof(what), "request %u", unknown_requests[i]);
		conf_refused(t, conf_try(t, unknown_requests[i], NULL, 0, NULL, 0), what);
	}
}

static void unknown_without_need_reply(struct conf *t)
{
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(unknown_requests); i++) {
		conf_connect(t);
		conf_send(t, unknown_requests[i], 0, NULL, 0, NULL, 0);
		if (!conf_is_alive(t))
			conf_note(t, "request %u closes the connection", unknown_requests[i]);
	}
	conf_connect(t);
}

static const struct conf_test tests[] = {
	{ "header-in-bytes", "A header that comes a byte at a time is read", SPEC_STREAM, CONF_MUST,
	  .run = header_in_bytes },
	{ "header-in-halves", "A header that comes in two pieces is read", SPEC_STREAM, CONF_MUST,
	  CONF_NEGOTIATED, .run = header_in_halves },
	{ "payload-apart", "A payload that comes later than its header is read", SPEC_STREAM,
	  CONF_MUST, CONF_NEGOTIATED, .run = payload_apart },
	{ "payload-in-two", "A payload that comes in two pieces is read", SPEC_STREAM, CONF_MUST,
	  CONF_NEGOTIATED, .run = payload_in_two },
	{ "fds-on-first-byte",
	  "Descriptors on the first byte of a message that comes a byte at a "
	  "time are its own",
	  SPEC_FDS, CONF_MUST, CONF_NEGOTIATED, .run = payload_in_bytes },
	{ "several-at-once", "Several messages in one write are all answered", SPEC_STREAM,
	  CONF_MUST, .run = several_at_once },
	{ "next-header-along", "A message and half of the next one in one write are told apart",
	  SPEC_STREAM, CONF_MUST, CONF_NEGOTIATED, .run = next_header_along },
	{ "fds-back-to-back", "Messages with descriptors may follow each other at once", SPEC_FDS,
	  CONF_MUST, CONF_SHARED, .run = descriptors_back_to_back },
	{ "flood", "Many requests whose answers nobody reads yet are all answered", SPEC_STREAM,
	  CONF_SHOULD, .run = flood },
	{ "half-closed", "A request before a half-close is answered", SPEC_STREAM, CONF_OPTIONAL,
	  .run = half_closed },
	{ "bad-version", "A header of another version is refused", SPEC_HEADER, CONF_SHOULD,
	  .run = bad_versions },
	{ "unknown-flags", "A header with unknown flags is refused", SPEC_HEADER, CONF_OPTIONAL,
	  .run = unknown_flags },
	{ "reply-flag", "A request with the reply flag is refused", SPEC_HEADER, CONF_OPTIONAL,
	  .run = reply_flag },
	{ "oversize", "A header that promises a huge payload is refused", SPEC_HEADER, CONF_SHOULD,
	  .run = oversize },
	{ "short-payload", "A payload that is too short is refused", "vhost-user, Payload",
	  CONF_SHOULD, CONF_NEGOTIATED, CONF_NEEDS_ACK, .run = short_payloads },
	{ "long-payload", "A payload that is too long is refused", "vhost-user, Payload",
	  CONF_OPTIONAL, CONF_NEGOTIATED, CONF_NEEDS_ACK, .run = long_payloads },
	{ "truncated-header", "A connection that ends in a header harms no later one", SPEC_ROBUST,
	  CONF_MUST, .run = truncated_header },
	{ "truncated-payload", "A connection that ends in a payload harms no later one",
	  SPEC_ROBUST, CONF_MUST, .run = truncated_payload },
	{ "closed-at-once", "Connections that say little harm no later one", SPEC_ROBUST, CONF_MUST,
	  .run = closed_at_once },
	{ "closed-unread", "A connection that ends before the answers harms no later one",
	  SPEC_ROBUST, CONF_MUST, .run = closed_unread },
	{ "stray-fds", "Up to 253 descriptors that a request has no use for are closed", SPEC_FDS,
	  CONF_SHOULD, .run = stray_descriptors },
	{ "too-many-fds", "A message with too many descriptors is answered, or ends the connection",
	  SPEC_FDS, CONF_SHOULD, .run = too_many_descriptors },
	{ "stray-fd-early", "A descriptor that a request has no use for is closed at once",
	  SPEC_FDS, CONF_OPTIONAL, .run = descriptors_close_early },
	{ "close-on-exec", "Descriptors that were received are closed on exec", SPEC_FDS,
	  CONF_OPTIONAL, CONF_SHARED, .run = close_on_exec },
	{ "fds-with-payload", "A descriptor that comes with a payload is closed", SPEC_FDS,
	  CONF_SHOULD, .run = descriptors_with_payload },
	{ "unknown-request", "Unknown requests are refused", SPEC_ACK, CONF_SHOULD, CONF_NEGOTIATED,
	  CONF_NEEDS_ACK, .run = unknown_with_need_reply },
	{ "unknown-request-unasked", "Unknown requests harm no later connection", SPEC_ROBUST,
	  CONF_MUST, .run = unknown_without_need_reply },
};

const struct conf_group conf_framing = { "framing", tests, CVMM_ARRAY_SIZE(tests) };
