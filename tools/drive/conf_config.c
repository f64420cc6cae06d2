// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* GET_CONFIG and SET_CONFIG. */
#include "conf.h"

#define SPEC_GET "vhost-user, VHOST_USER_GET_CONFIG"
#define SPEC_SET "vhost-user, VHOST_USER_SET_CONFIG"
#define CONFIG CVMM_VHOST_USER_PROTOCOL(CONFIG)

#define CONFIG_BYTES_MAX 256U /* as much as front-ends ask for */
#define LIVE_MIGRATION CVMM_VHOST_USER_CONFIG_LIVE_MIGRATION

struct config {
	struct cvmm_vhost_user_config head;
	uint8_t bytes[CONFIG_BYTES_MAX];
};

/* Ask for [offset, offset + size). Return: bytes that came, 0 for an error. */
static uint32_t get(struct conf *t, uint32_t offset, uint32_t size, uint8_t *dst)
{
	struct config c = { .head = { .offset = offset, .size = size } };
	struct config answer;

	conf_ask(t, CVMM_VHOST_USER_GET_CONFIG, &c, sizeof(c.head) + size);
	if (t->msg->size < sizeof(c.head)) {
		if (t->msg->size)
			conf_fail(t, "GET_CONFIG: the answer has %u bytes", t->msg->size);
		return 0;
	}
	if (t->msg->size > sizeof(answer))
		conf_fail(t, "GET_CONFIG of %u bytes: the answer has %u", size, t->msg->size);
	memcpy(&answer, t->msg->payload, t->msg->size);
	if (t->msg->size == sizeof(c.head) || answer.head.size == 0)
		return 0;
	if (t->msg->size != sizeof(c.head) + size)
		conf_fail(t, "GET_CONFIG of %u bytes: the answer has %u, and not %zu", size,
			  t->msg->size, sizeof(c.head) + size);
	if (answer.head.offset != offset || answer.head.size != size)
		conf_fail(t, "GET_CONFIG of %u bytes at %u: the answer is for %u at %u", size,
			  offset, answer.head.size, answer.head.offset);
	if (dst)
		memcpy(dst, answer.bytes, size);
	return size;
}

/* The size of the configuration space, as far as it shows. */
static uint32_t config_size(struct conf *t)
{
	static const uint32_t sizes[] = { 60, 40, 16, 12, 8, 4, 2, 1 };

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(sizes); i++)
		if (get(t, 0, sizes[i], NULL))
			return sizes[i];
	conf_skip(t, "there is no configuration space");
}

static void sizes(struct conf *t)
{
	uint32_t n = config_size(t);

	for (uint32_t size = 1; size <= n; size++)
		if (!get(t, 0, size, NULL))
			conf_fail(t, "%u bytes can be read, but not the first %u", n, size);
	conf_note(t, "%u bytes or more", n);
}

static void offsets(struct conf *t)
{
	uint32_t n = config_size(t);
	uint8_t whole[CONFIG_BYTES_MAX], byte;

	get(t, 0, n, whole);
	for (uint32_t i = 0; i < n; i++) {
		if (!get(t, i, 1, &byte))
			conf_fail(t, "byte %u cannot be read alone", i);
		if (byte != whole[i])
			conf_fail(t, "byte %u is 0x%02x alone, and 0x%02x among others", i, byte,
				  whole[i]);
	}
}

static void whole_page(struct conf *t)
{
	if (!get(t, 0, CONFIG_BYTES_MAX, NULL))
		conf_note(t, "%u bytes at once are an error", CONFIG_BYTES_MAX);
	conf_must_be_alive(t, "GET_CONFIG of 256 bytes");
}

/* The answer must come, whatever it says. */
static void beyond_the_end(struct conf *t)
{
	static const uint32_t cases[][2] = {
		{ 255, 1 },	{ 250, 6 },	   { 4095, 1 },
		{ 0x10000, 8 }, { UINT32_MAX, 8 }, { UINT32_MAX - 3, 4 },
	};

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(cases); i++) {
		struct config c = { .head = { .offset = cases[i][0], .size = cases[i][1] } };

		conf_send(t, CVMM_VHOST_USER_GET_CONFIG, 0, &c, sizeof(c.head) + cases[i][1], NULL,
			  0);
		if (conf_receive_answer(t, CVMM_VHOST_USER_GET_CONFIG) != CONF_ANSWERED)
			conf_fail(t, "GET_CONFIG of %u bytes at %u is not answered", cases[i][1],
				  cases[i][0]);
	}
}

static void nothing_beyond_the_end(struct conf *t)
{
	uint8_t bytes[8];

	if (get(t, UINT32_MAX - 3, 8, bytes))
		conf_fail(t, "8 bytes at 4294967292 are answered with content");
}

static void size_and_payload_differ(struct conf *t)
{
	static const uint32_t cases[] = { 0, 8, 64, 4096, UINT32_MAX };

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(cases); i++) {
		struct config c = { .head = { .size = cases[i] } };
		uint32_t size = 4;

		conf_reopen(t, CONF_NEGOTIATED);
		conf_send(t, CVMM_VHOST_USER_GET_CONFIG, 0, &c, sizeof(c.head) + size, NULL, 0);
		if (conf_receive(t, t->options->timeout_ms) == CONF_SILENT)
			conf_fail(t,
				  "4 bytes that say they are %u: no answer, and the connection "
				  "is not closed",
				  cases[i]);
		if (t->msg && t->msg->size > sizeof(c.head) + size)
			conf_fail(t, "4 bytes that say they are %u: the answer has %u", cases[i],
				  t->msg->size);
	}
}

static enum conf_verdict set(struct conf *t, uint32_t offset, const uint8_t *bytes, uint32_t size,
			     uint32_t flags)
{
	struct config c = { .head = { .offset = offset, .size = size, .flags = flags } };

	memcpy(c.bytes, bytes, size);
	return conf_try(t, CVMM_VHOST_USER_SET_CONFIG, &c, sizeof(c.head) + size, NULL, 0);
}

static void read_only_stays(struct conf *t)
{
	uint32_t n = t->device->config_read_only;
	uint8_t before[CONFIG_BYTES_MAX], other[CONFIG_BYTES_MAX], after[CONFIG_BYTES_MAX];

	if (!n)
		conf_skip(t, "no read-only field of %s is known", t->device->name);
	if (!get(t, 0, n, before))
		conf_fail(t, "the first %u bytes cannot be read", n);
	for (uint32_t i = 0; i < n; i++)
		other[i] = before[i] ^ 0xff;
	if (set(t, 0, other, n, 0) == CONF_HUNG_UP || !conf_is_alive(t))
		conf_reopen(t, CONF_NEGOTIATED);
	if (!get(t, 0, n, after) || memcmp(before, after, n) != 0)
		conf_fail(t, "the first %u bytes of %s were changed", n, t->device->name);
}

static void read_only_refused(struct conf *t)
{
	uint32_t n = t->device->config_read_only;
	uint8_t bytes[CONFIG_BYTES_MAX] = { 0 };

	if (!n)
		conf_skip(t, "no read-only field of %s is known", t->device->name);
	conf_refused(t, set(t, 0, bytes, n, 0), "SET_CONFIG of read-only fields");
}

static void unknown_flags(struct conf *t)
{
	uint8_t byte = 0;

	conf_refused(t, set(t, 0, &byte, 1, 0x80000002), "SET_CONFIG with unknown flags");
}

static void live_migration(struct conf *t)
{
	uint32_t n = t->device->config_read_only;
	uint8_t bytes[CONFIG_BYTES_MAX];

	if (!n || !get(t, 0, n, bytes))
		conf_skip(t, "no read-only field of %s is known", t->device->name);
	conf_accepted(t, set(t, 0, bytes, n, LIVE_MIGRATION),
		      "SET_CONFIG of read-only fields for migration");
}

static void set_beyond_the_end(struct conf *t)
{
	static const uint32_t at[] = { 4095, 0x10000, UINT32_MAX };
	static const uint8_t bytes[8];

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(at); i++) {
		char what[64];

		if (i)
			conf_reopen(t, CONF_NEGOTIATED);
		snprintf(what, sizeof(what), "SET_CONFIG of 8 bytes at %u", at[i]);
		conf_refused(t, set(t, at[i], bytes, sizeof(bytes), LIVE_MIGRATION), what);
	}
}

static const struct conf_test tests[] = {
	{ "sizes", "The first bytes can be read, as many as are wanted", SPEC_GET, CONF_MUST,
	  CONF_NEGOTIATED, .protocol = CONFIG, .run = sizes },
	{ "offsets", "Each byte can be read alone", SPEC_GET, CONF_MUST, CONF_NEGOTIATED,
	  .protocol = CONFIG, .run = offsets },
	{ "256", "256 bytes at once are answered", SPEC_GET, CONF_MUST, CONF_NEGOTIATED,
	  .protocol = CONFIG, .run = whole_page },
	{ "beyond-end", "GET_CONFIG beyond the end is answered",
	  "vhost-user, VHOST_USER_GET_CONFIG: zero length to indicate an error", CONF_SHOULD,
	  CONF_NEGOTIATED, .protocol = CONFIG, .run = beyond_the_end },
	{ "wraps", "GET_CONFIG whose end is beyond 2^32 is an error", SPEC_GET, CONF_SHOULD,
	  CONF_NEGOTIATED, .protocol = CONFIG, .run = nothing_beyond_the_end },
	{ "size-differs", "GET_CONFIG with another size than its payload has is decided", SPEC_GET,
	  CONF_SHOULD, CONF_NEGOTIATED, .protocol = CONFIG, .run = size_and_payload_differ },
	{ "read-only-stays", "SET_CONFIG does not change read-only fields", SPEC_SET, CONF_MUST,
	  CONF_NEGOTIATED, CONF_NEEDS_DEVICE, .protocol = CONFIG, .run = read_only_stays },
	{ "read-only-refused", "SET_CONFIG of read-only fields is refused", SPEC_SET, CONF_SHOULD,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK | CONF_NEEDS_DEVICE, .protocol = CONFIG,
	  .run = read_only_refused },
	{ "live-migration", "SET_CONFIG of read-only fields for migration is accepted", SPEC_SET,
	  CONF_OPTIONAL, CONF_NEGOTIATED, CONF_NEEDS_ACK | CONF_NEEDS_DEVICE, .protocol = CONFIG,
	  .run = live_migration },
	{ "unknown-flags", "SET_CONFIG with unknown flags is refused", SPEC_SET, CONF_SHOULD,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .protocol = CONFIG, .run = unknown_flags },
	{ "set-beyond-end", "SET_CONFIG beyond the end is refused", SPEC_SET, CONF_SHOULD,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .protocol = CONFIG, .run = set_beyond_the_end },
};

const struct conf_group conf_config = { "config", tests, CVMM_ARRAY_SIZE(tests) };
