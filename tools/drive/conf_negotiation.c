// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Features, protocol features, acknowledgements. */
#include "conf.h"

#define SPEC_FEATURES "vhost-user, VHOST_USER_GET_FEATURES"
#define SPEC_PROTOCOL "vhost-user, VHOST_USER_GET_PROTOCOL_FEATURES"
#define SPEC_SET_PROTOCOL "vhost-user, VHOST_USER_SET_PROTOCOL_FEATURES"
#define SPEC_ACK "vhost-user, VHOST_USER_PROTOCOL_F_REPLY_ACK"
#define SPEC_QUEUES "vhost-user, Multiple queue support"

#define UNKNOWN_PROTOCOL_BIT (UINT64_C(1) << 62)

static void need_protocol_features(struct conf *t)
{
	if (!(t->features & CONF_F_PROTOCOL))
		conf_skip(t, "the back-end does not offer PROTOCOL_FEATURES");
}

static void get_features(struct conf *t)
{
	conf_send(t, CVMM_VHOST_USER_GET_FEATURES, 0, NULL, 0, NULL, 0);
	if (conf_receive_answer(t, CVMM_VHOST_USER_GET_FEATURES) != CONF_ANSWERED)
		conf_fail(t, "GET_FEATURES is not answered");
	conf_answer_u64(t);
	if (t->msg->flags != (CVMM_VHOST_USER_VERSION | CVMM_VHOST_USER_FLAG_REPLY))
		conf_fail(t, "the answer's flags are 0x%x and not 0x5", t->msg->flags);
	if (t->msg->fd_count)
		conf_fail(t, "the answer came with descriptors");
}

static void features_stay(struct conf *t)
{
	uint64_t again = conf_ask_u64(t, CVMM_VHOST_USER_GET_FEATURES);

	if (again != t->features)
		conf_fail(t, "they were 0x%llx, and then 0x%llx", (unsigned long long)t->features,
			  (unsigned long long)again);
}

static void protocol_before_features(struct conf *t)
{
	need_protocol_features(t);
	conf_ask_u64(t, CVMM_VHOST_USER_GET_PROTOCOL_FEATURES);
	conf_set_protocol(t, 0);
	conf_must_be_alive(t, "SET_PROTOCOL_FEATURES before SET_FEATURES");
}

static void protocol_features_are_known(struct conf *t)
{
	uint64_t unknown = t->protocol_offered & ~CVMM_VHOST_USER_PROTOCOL_FEATURES_ALL;

	if (!(t->features & CONF_F_PROTOCOL))
		conf_skip(t, "the back-end does not offer PROTOCOL_FEATURES");
	if (unknown)
		conf_fail(t, "the bits 0x%llx mean nothing", (unsigned long long)unknown);
}

static void unknown_protocol_bits(struct conf *t)
{
	conf_refused(t,
		     conf_try_u64(t, CVMM_VHOST_USER_SET_PROTOCOL_FEATURES,
				  t->protocol | UNKNOWN_PROTOCOL_BIT),
		     "a protocol feature that nobody knows");
}

static void protocol_bits_not_offered(struct conf *t)
{
	uint64_t others = CVMM_VHOST_USER_PROTOCOL_FEATURES_ALL & ~t->protocol_offered;
	unsigned int bit;

	/* Such as can be negotiated alone. */
	others &= ~(CVMM_VHOST_USER_PROTOCOL(INBAND_NOTIFICATIONS) |
		    CVMM_VHOST_USER_PROTOCOL(GET_VRING_BASE_SKIP_DRAIN) |
		    CVMM_VHOST_USER_PROTOCOL(XEN_MMAP));
	if (!others)
		conf_skip(t, "the back-end offers all of them");
	bit = (unsigned int)__builtin_ctzll(others);
	conf_note(t, "tried with %s", cvmm_vhost_user_protocol_feature_name(bit));
	conf_refused(t,
		     conf_try_u64(t, CVMM_VHOST_USER_SET_PROTOCOL_FEATURES,
				  t->protocol | UINT64_C(1) << bit),
		     "a protocol feature that was not offered");
}

static void success_is_acknowledged(struct conf *t)
{
	conf_accepted(t, conf_try_u64(t, CVMM_VHOST_USER_SET_FEATURES, conf_wanted_features(t)),
		      "SET_FEATURES with features that are offered");
}

static void nothing_unless_asked(struct conf *t)
{
	uint64_t features = conf_wanted_features(t);

	conf_send(t, CVMM_VHOST_USER_SET_FEATURES, 0, &features, sizeof(features), NULL, 0);
	conf_send(t, CVMM_VHOST_USER_GET_FEATURES, 0, NULL, 0, NULL, 0);
	if (conf_receive(t, t->options->timeout_ms) != CONF_ANSWERED)
		conf_fail(t, "GET_FEATURES is not answered");
	if (t->msg->request == CVMM_VHOST_USER_SET_FEATURES)
		conf_fail(t, "SET_FEATURES without NEED_REPLY was answered");
}

/* One request that any back-end can see is wrong. */
static enum conf_verdict try_nonsense(struct conf *t)
{
	uint64_t others = ~t->features & ~CONF_F_LOG_ALL;

	return conf_try_u64(t, CVMM_VHOST_USER_SET_FEATURES,
			    conf_wanted_features(t) | (others & (~others + 1)));
}

static void features_not_offered(struct conf *t)
{
	conf_refused(t, try_nonsense(t), "a feature that was not offered");
}

static void refusal_is_answered(struct conf *t)
{
	enum conf_verdict verdict = try_nonsense(t);

	if (verdict == CONF_ACKED)
		conf_skip(t, "no request is known that it refuses: not even a feature that was "
			     "not offered");
	if (verdict != CONF_NACKED)
		conf_fail(t, "a refused request with NEED_REPLY was not answered: the connection "
			     "was closed");
}

static void refusal_keeps_connection(struct conf *t)
{
	enum conf_verdict verdict = try_nonsense(t);

	if (verdict == CONF_ACKED)
		conf_skip(t, "no request is known that it refuses: not even a feature that was "
			     "not offered");
	if (verdict != CONF_NACKED || !conf_is_alive(t))
		conf_fail(t, "the connection was closed for a feature that was not offered");
}

static void features_again(struct conf *t)
{
	uint64_t all =
		conf_wanted_features(t) | (t->features & (CONF_F_INDIRECT | CONF_F_EVENT_IDX));

	for (unsigned int i = 0; i < 3; i++)
		conf_set_features(t, all);
	conf_set_features(t, conf_wanted_features(t));
	conf_must_be_alive(t, "SET_FEATURES with fewer bits");
}

static void queue_num(struct conf *t)
{
	uint64_t n = conf_ask_u64(t, CVMM_VHOST_USER_GET_QUEUE_NUM);

	if (n == 0)
		conf_fail(t, "a back-end without queues");
	if (n > CVMM_VHOST_USER_QUEUES_MAX)
		conf_fail(t, "%llu queues, but only 256 can be named", (unsigned long long)n);
	if (t->device && n < t->device->queue_count)
		conf_fail(t, "%llu queues are too few for %s", (unsigned long long)n,
			  t->device->name);
}

static void inband_alone(struct conf *t)
{
	uint64_t inband = CVMM_VHOST_USER_PROTOCOL(INBAND_NOTIFICATIONS);

	need_protocol_features(t);
	if (!(conf_ask_u64(t, CVMM_VHOST_USER_GET_PROTOCOL_FEATURES) & inband))
		conf_skip(t, "the back-end does not offer INBAND_NOTIFICATIONS");
	conf_set_protocol(t, inband);
	if (conf_is_alive(t))
		conf_fail(t, "the connection lives");
}

static void skip_drain_alone(struct conf *t)
{
	uint64_t skip = CVMM_VHOST_USER_PROTOCOL(GET_VRING_BASE_SKIP_DRAIN);

	need_protocol_features(t);
	t->protocol_offered = conf_ask_u64(t, CVMM_VHOST_USER_GET_PROTOCOL_FEATURES);
	if (!(t->protocol_offered & skip))
		conf_skip(t, "the back-end does not offer GET_VRING_BASE_SKIP_DRAIN");
	conf_set_protocol(t, t->protocol_offered & CVMM_VHOST_USER_PROTOCOL(REPLY_ACK));
	conf_refused(t, conf_try_u64(t, CVMM_VHOST_USER_SET_PROTOCOL_FEATURES, t->protocol | skip),
		     "GET_VRING_BASE_SKIP_DRAIN without inflight regions");
}

/* With no protocol feature but REPLY_ACK, each request that has a gate. */
static void gates(struct conf *t)
{
	const uint64_t ack = CVMM_VHOST_USER_PROTOCOL(REPLY_ACK);
	char done[CONF_TEXT_SIZE] = "";

	for (uint32_t id = 1; id <= CVMM_VHOST_USER_FRONTEND_REQUEST_MAX; id++) {
		const struct cvmm_vhost_user_message *row =
			cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL, id);
		struct conf_form form;

		/* Any status may be an answer to GET_STATUS. */
		if (!row || !row->gate || id == CVMM_VHOST_USER_GET_STATUS)
			continue;
		conf_connect(t);
		conf_set_protocol(t, ack);
		conf_form_make(t, row, &form);
		if (conf_form_is_done(t, row, &form, form.size))
			conf_add_word(done, row->name);
	}
	if (*done)
		conf_fail(t, "done though their feature was not negotiated: %s", done);
}

static const struct conf_test tests[] = {
	{ "get-features", "GET_FEATURES is answered with a u64", SPEC_FEATURES, CONF_MUST,
	  .run = get_features },
	{ "features-stay", "Features are the same when asked for again", SPEC_FEATURES, CONF_SHOULD,
	  .run = features_stay },
	{ "protocol-before-features", "Protocol features are negotiated before SET_FEATURES",
	  SPEC_PROTOCOL, CONF_MUST, .run = protocol_before_features },
	{ "protocol-known", "Every protocol feature that is offered has a meaning", SPEC_PROTOCOL,
	  CONF_OPTIONAL, CONF_NEGOTIATED, .run = protocol_features_are_known },
	{ "protocol-unknown", "A protocol feature that nobody knows is refused", SPEC_SET_PROTOCOL,
	  CONF_SHOULD, CONF_NEGOTIATED, CONF_NEEDS_ACK, .run = unknown_protocol_bits },
	{ "protocol-not-offered", "A protocol feature that was not offered is refused",
	  SPEC_SET_PROTOCOL, CONF_SHOULD, CONF_NEGOTIATED, CONF_NEEDS_ACK,
	  .run = protocol_bits_not_offered },
	{ "ack", "A request that was done is acknowledged with 0", SPEC_ACK, CONF_MUST,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .run = success_is_acknowledged },
	{ "no-ack-unless-asked", "A request without NEED_REPLY is not acknowledged", SPEC_ACK,
	  CONF_MUST, CONF_NEGOTIATED, .run = nothing_unless_asked },
	{ "features-not-offered", "A feature that was not offered is refused", "VIRTIO 1.3, 2.2.2",
	  CONF_SHOULD, CONF_NEGOTIATED, CONF_NEEDS_ACK, .run = features_not_offered },
	{ "nack", "A refused request with NEED_REPLY is answered", SPEC_ACK, CONF_SHOULD,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .run = refusal_is_answered },
	{ "nack-lives", "The connection lives on after a refusal",
	  "vhost-user, Communication: closing only in exceptional circumstances", CONF_OPTIONAL,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .run = refusal_keeps_connection },
	{ "features-again", "Features can be set again", "vhost-user, VHOST_USER_SET_FEATURES",
	  CONF_MUST, CONF_NEGOTIATED, .run = features_again },
	{ "queue-num", "GET_QUEUE_NUM is answered with as many queues as can be named", SPEC_QUEUES,
	  CONF_MUST, CONF_NEGOTIATED, .protocol = CVMM_VHOST_USER_PROTOCOL(MQ), .run = queue_num },
	{ "inband-alone",
	  "In-band notifications without REPLY_ACK and BACKEND_REQ end the "
	  "connection",
	  "vhost-user, In-band notifications", CONF_SHOULD, .run = inband_alone },
	{ "skip-drain-alone", "GET_VRING_BASE_SKIP_DRAIN without inflight regions is refused",
	  "vhost-user, VHOST_USER_GET_VRING_BASE_SKIP_DRAIN", CONF_SHOULD,
	  .run = skip_drain_alone },
	{ "gates", "Requests whose protocol feature was not negotiated are refused",
	  "vhost-user, Communication: gated by protocol feature bits", CONF_OPTIONAL,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .run = gates },
};

const struct conf_group conf_negotiation = { "negotiation", tests, CVMM_ARRAY_SIZE(tests) };
