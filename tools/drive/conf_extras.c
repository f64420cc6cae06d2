// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Shared memory regions, shared objects. */
#include "conf.h"

#define SPEC_SHMEM "vhost-user, VHOST_USER_GET_SHMEM_CONFIG"
#define SPEC_OBJECT "vhost-user, VHOST_USER_GET_SHARED_OBJECT"
#define SPEC_BITS "vhost-user, Protocol features: SHMEM is bit 22"
#define SHMEM CVMM_VHOST_USER_PROTOCOL(SHMEM)
#define OBJECT CVMM_VHOST_USER_PROTOCOL(SHARED_OBJECT)

static void get_shmem(struct conf *t, struct cvmm_vhost_user_shmem_config *config)
{
	conf_ask(t, CVMM_VHOST_USER_GET_SHMEM_CONFIG, NULL, 0);
	if (t->msg->size != sizeof(*config))
		conf_fail(t, "the answer has %u bytes and not %zu", t->msg->size, sizeof(*config));
	memcpy(config, t->msg->payload, sizeof(*config));
}

static void shmem_config(struct conf *t)
{
	struct cvmm_vhost_user_shmem_config config, again;
	unsigned int n = 0;

	get_shmem(t, &config);
	for (unsigned int i = 0; i < CVMM_VHOST_USER_SHMEM_REGIONS; i++) {
		n += config.size_bytes[i] != 0;
		if (config.size_bytes[i] % CONF_PAGE)
			conf_fail(t, "region %u has %llu bytes, which is no number of pages", i,
				  (unsigned long long)config.size_bytes[i]);
	}
	if (n != config.count)
		conf_fail(t, "%u regions are promised, and %u have a size", config.count, n);
	get_shmem(t, &again);
	if (memcmp(&config, &again, sizeof(config)) != 0)
		conf_fail(t, "asked for again, the answer is another one");
}

/* An early draft had another number for it, which means GPA_ADDRESSES now. */
static void shmem_is_not_bit_21(struct conf *t)
{
	uint64_t bit_21 = CVMM_VHOST_USER_PROTOCOL(GPA_ADDRESSES);

	if (!(t->protocol_offered & bit_21) || t->protocol_offered & SHMEM)
		conf_skip(t, "bit 21 is not offered, or bit 22 is too");
	conf_connect(t);
	conf_set_protocol(t, bit_21);
	conf_send(t, CVMM_VHOST_USER_GET_SHMEM_CONFIG, 0, NULL, 0, NULL, 0);
	if (conf_receive(t, t->options->timeout_ms) == CONF_ANSWERED &&
	    t->msg->size == sizeof(struct cvmm_vhost_user_shmem_config))
		conf_fail(t, "GET_SHMEM_CONFIG is answered with bit 21, which is GPA_ADDRESSES");
}

static void unknown_object(struct conf *t)
{
	struct cvmm_vhost_user_uuid uuid = { { 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 5, 6, 7, 8 } };

	conf_ask(t, CVMM_VHOST_USER_GET_SHARED_OBJECT, &uuid, sizeof(uuid));
	if (t->msg->fd_count)
		conf_fail(t, "a descriptor comes for an object that nobody has");
}

static void odd_uuids(struct conf *t)
{
	struct cvmm_vhost_user_uuid uuid = { { 0 } };

	for (unsigned int i = 0; i < 2; i++) {
		if (i)
			conf_reopen(t, CONF_NEGOTIATED);
		memset(uuid.bytes, i ? 0xff : 0, sizeof(uuid.bytes));
		conf_send(t, CVMM_VHOST_USER_GET_SHARED_OBJECT, 0, &uuid, sizeof(uuid), NULL, 0);
		if (conf_receive(t, t->options->timeout_ms) == CONF_SILENT)
			conf_fail(t,
				  "a UUID of all %s: no answer, and the connection is not closed",
				  i ? "ones" : "zeroes");
		if (t->msg && t->msg->fd_count)
			conf_fail(t, "a descriptor comes for a UUID of all %s",
				  i ? "ones" : "zeroes");
	}
}

static const struct conf_test tests[] = {
	{ "shmem", "GET_SHMEM_CONFIG is answered with 256 sizes", SPEC_SHMEM, CONF_MUST,
	  CONF_NEGOTIATED, .protocol = SHMEM, .run = shmem_config },
	{ "shmem-bit", "SHMEM is bit 22 and not 21", SPEC_BITS, CONF_MUST, CONF_NEGOTIATED,
	  .run = shmem_is_not_bit_21 },
	{ "object", "GET_SHARED_OBJECT of an unknown object is answered without a descriptor",
	  SPEC_OBJECT, CONF_MUST, CONF_NEGOTIATED, .protocol = OBJECT, .run = unknown_object },
	{ "odd-uuids", "GET_SHARED_OBJECT of no object at all is decided", SPEC_OBJECT, CONF_SHOULD,
	  CONF_NEGOTIATED, .protocol = OBJECT, .run = odd_uuids },
};

const struct conf_group conf_extras = { "extras", tests, CVMM_ARRAY_SIZE(tests) };
