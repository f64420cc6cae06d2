// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * cvmm-drive probe: what a back-end offers.
 *
 * Some things can only be found by trying, and there are back-ends that end the connection where they should
 * refuse. So whatever is tried begins with a connection that works, and makes another one if it has to.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "drive.h"
#include "feature_names.h"
#include "target.h"

#define TIMEOUT_DEFAULT_MS 2000U
#define TIMEOUT_MAX_MS 600000U
#define CONFIG_BYTES_USUAL 256U
#define CONFIG_BYTES_MAX 4096U
#define QUEUE_SIZE_MAX 32768U
#define INFLIGHT_QUEUE_SIZE 128U

static const char probe_help[] =
	"usage: cvmm-drive probe SOCKET [OPTION...]\n"
	"\n"
	"Says what a back-end offers: features and protocol features by name, the number of\n"
	"queues and how long they can be, the configuration space, slots for memory, shared\n"
	"memory regions, the size of its inflight region. Starts no queue.\n"
	"\n"
	"  --device KIND    name the features of such a device, too: blk, console, fs, gpio,\n"
	"                   gpu, i2c, input, net, rng, scsi, sound or vsock\n"
	"  --timeout-ms N   how long an answer may take (default: 2000)\n"
	"  --json           print JSON in place of text\n"
	"\n"
	"Exit status: 0, or 2 if the back-end could not be asked.\n";

/**
 * struct probe - what is asked, and what was found
 * @has_*: whether it could be found
 */
struct probe {
	const char *socket;
	const char *device;
	unsigned int timeout_ms;
	bool json;
	struct target target;

	uint64_t features;
	uint64_t protocol_offered;
	unsigned int queue_count;
	unsigned int queue_size;
	bool has_queue_size;
	uint8_t config[CONFIG_BYTES_MAX];
	uint32_t config_bytes;
	bool has_config;
	uint64_t mem_slots;
	bool has_mem_slots;
	struct cvmm_vhost_user_shmem_config shmem;
	bool has_shmem;
	struct cvmm_vhost_user_inflight inflight;
	bool has_inflight;
};

/* ---- asking -------------------------------------------------------------------------------------- */

/* A connection that works, the one there is or another. */
static int be_connected(struct probe *p, struct cvmm_error *err)
{
	if (p->target.fe && !cvmm_vhost_user_frontend_is_lost(p->target.fe))
		return 0;
	target_close(&p->target);
	return target_open(&p->target, p->socket, p->timeout_ms,
			   CVMM_VHOST_USER_PROTOCOL_FEATURES_ALL, err);
}

static bool has(const struct probe *p, uint64_t protocol)
{
	return cvmm_vhost_user_frontend_protocol(p->target.fe) & protocol;
}

/* What it offers, and not what was negotiated of it. */
static int ask_protocol_features(struct probe *p, struct cvmm_error *err)
{
	struct cvmm_vhost_user_msg *msg;
	uint64_t features;
	int r = cvmm_vhost_user_frontend_get_features(p->target.fe, &features, err);

	if (r)
		return r;
	p->features = features;
	if (!(features >> CVMM_VHOST_USER_F_PROTOCOL_FEATURES & 1))
		return 0;
	r = cvmm_vhost_user_frontend_raw(p->target.fe, CVMM_VHOST_USER_GET_PROTOCOL_FEATURES, false,
					 NULL, 0, NULL, 0, &msg, err);
	if (!r && msg->size == sizeof(p->protocol_offered))
		p->protocol_offered = msg->payload[0];
	return r;
}

/* Whether the configuration space has so many bytes. */
static bool config_has(struct probe *p, uint32_t bytes, uint8_t *dst)
{
	return be_connected(p, NULL) == 0 &&
	       cvmm_vhost_user_frontend_get_config(p->target.fe, 0, dst, bytes, NULL) == 0;
}

/* As many as it has, by halving. */
static void find_config(struct probe *p)
{
	uint8_t bytes[CONFIG_BYTES_MAX];
	uint32_t has_bytes = 0, lacks = CONFIG_BYTES_USUAL + 1;

	if (!has(p, CVMM_VHOST_USER_PROTOCOL(CONFIG)))
		return;
	p->has_config = true;
	/* There are back-ends that end the connection for more. */
	if (config_has(p, CONFIG_BYTES_USUAL, bytes))
		lacks = CONFIG_BYTES_MAX + 1;
	while (lacks - has_bytes > 1) {
		uint32_t middle = has_bytes + (lacks - has_bytes) / 2;

		if (config_has(p, middle, bytes)) {
			has_bytes = middle;
			memcpy(p->config, bytes, middle);
		} else {
			lacks = middle;
		}
	}
	p->config_bytes = has_bytes;
}

/* Without acknowledgements nobody would see a refusal. */
static void find_queue_size(struct probe *p)
{
	struct cvmm_vhost_user_msg *msg;

	if (!has(p, CVMM_VHOST_USER_PROTOCOL(REPLY_ACK)))
		return;
	for (uint32_t size = QUEUE_SIZE_MAX; size; size /= 2) {
		struct cvmm_vhost_user_vring_state state = { .num = size };

		if (be_connected(p, NULL))
			return;
		if (cvmm_vhost_user_frontend_raw(p->target.fe, CVMM_VHOST_USER_SET_VRING_NUM, true,
						 &state, sizeof(state), NULL, 0, &msg, NULL) == 0) {
			p->queue_size = size;
			p->has_queue_size = true;
			return;
		}
	}
}

static void find_inflight(struct probe *p)
{
	struct cvmm_vhost_user_inflight asked = {
		.queue_count = (uint16_t)p->queue_count,
		.queue_size = INFLIGHT_QUEUE_SIZE,
	};
	struct cvmm_vhost_user_msg *msg;

	if (be_connected(p, NULL) || !has(p, CVMM_VHOST_USER_PROTOCOL(INFLIGHT_SHMFD)))
		return;
	if (cvmm_vhost_user_frontend_raw(p->target.fe, CVMM_VHOST_USER_GET_INFLIGHT_FD, false,
					 &asked, sizeof(asked), NULL, 0, &msg, NULL) ||
	    msg->size < CVMM_VHOST_USER_INFLIGHT_SIZE_PACKED || msg->fd_count != 1)
		return;
	memcpy(&p->inflight, msg->payload, CVMM_VHOST_USER_INFLIGHT_SIZE_PACKED);
	p->has_inflight = true;
}

static int probe_all(struct probe *p, struct cvmm_error *err)
{
	int r = be_connected(p, err);

	if (!r)
		r = ask_protocol_features(p, err);
	if (r)
		return r;
	p->queue_count = cvmm_vhost_user_frontend_queue_count(p->target.fe);
	p->has_mem_slots =
		cvmm_vhost_user_frontend_get_max_mem_slots(p->target.fe, &p->mem_slots, NULL) == 0;
	if (be_connected(p, NULL) == 0)
		p->has_shmem = cvmm_vhost_user_frontend_get_shmem_config(p->target.fe, &p->shmem,
									 NULL) == 0;
	if (be_connected(p, NULL) == 0)
		find_config(p);
	if (be_connected(p, NULL) == 0)
		find_queue_size(p);
	find_inflight(p);
	return 0;
}

/* ---- telling ------------------------------------------------------------------------------------- */

static void print_names(const struct probe *p, bool is_protocol, uint64_t mask)
{
	for (unsigned int bit = 0; bit < 64; bit++) {
		const char *name = is_protocol ? cvmm_vhost_user_protocol_feature_name(bit)
					       : feature_name(p->device, bit);

		if (!(mask >> bit & 1))
			continue;
		printf("  %2u  %s\n", bit, name ? name : "");
	}
}

static void print_config(const struct probe *p)
{
	printf("configuration space: %u bytes", p->config_bytes);
	for (uint32_t i = 0; i < p->config_bytes; i++)
		printf("%s%02x", i % 32 ? " " : "\n  ", p->config[i]);
	putchar('\n');
}

static void print_shmem(const struct probe *p)
{
	printf("shared memory regions: %u\n", p->shmem.count);
	for (unsigned int i = 0; i < CVMM_VHOST_USER_SHMEM_REGIONS; i++)
		if (p->shmem.size_bytes[i])
			printf("  %3u  %llu bytes\n", i,
			       (unsigned long long)p->shmem.size_bytes[i]);
}

static void print_text(const struct probe *p)
{
	printf("features: 0x%llx\n", (unsigned long long)p->features);
	print_names(p, false, p->features);
	printf("protocol features: 0x%llx\n", (unsigned long long)p->protocol_offered);
	print_names(p, true, p->protocol_offered);
	printf("queues: %u%s\n", p->queue_count,
	       has(p, CVMM_VHOST_USER_PROTOCOL(MQ)) ? "" : " (it cannot say)");
	if (p->has_queue_size)
		printf("longest queue that it takes: %u\n", p->queue_size);
	if (p->has_config)
		print_config(p);
	if (p->has_mem_slots)
		printf("slots for memory: %llu\n", (unsigned long long)p->mem_slots);
	if (p->has_shmem)
		print_shmem(p);
	if (p->has_inflight)
		printf("inflight region for %u queues of %u: %llu bytes\n", p->queue_count,
		       INFLIGHT_QUEUE_SIZE, (unsigned long long)p->inflight.mmap_size);
}

static void print_json_names(const struct probe *p, const char *key, bool is_protocol,
			     uint64_t mask)
{
	bool first = true;

	printf("\"%s\": {\"mask\": \"0x%llx\", \"bits\": [", key, (unsigned long long)mask);
	for (unsigned int bit = 0; bit < 64; bit++) {
		const char *name = is_protocol ? cvmm_vhost_user_protocol_feature_name(bit)
					       : feature_name(p->device, bit);

		if (!(mask >> bit & 1))
			continue;
		printf("%s{\"bit\": %u, \"name\": ", first ? "" : ", ", bit);
		if (name)
			drive_print_json_string(stdout, name);
		else
			fputs("null", stdout);
		putchar('}');
		first = false;
	}
	fputs("]}", stdout);
}

static void print_json_shmem(const struct probe *p)
{
	bool first = true;

	fputs(", \"shmem\": [", stdout);
	for (unsigned int i = 0; i < CVMM_VHOST_USER_SHMEM_REGIONS; i++) {
		if (!p->shmem.size_bytes[i])
			continue;
		printf("%s{\"id\": %u, \"bytes\": %llu}", first ? "" : ", ", i,
		       (unsigned long long)p->shmem.size_bytes[i]);
		first = false;
	}
	putchar(']');
}

static void print_json(const struct probe *p)
{
	putchar('{');
	print_json_names(p, "features", false, p->features);
	fputs(", ", stdout);
	print_json_names(p, "protocol_features", true, p->protocol_offered);
	printf(", \"queues\": %u", p->queue_count);
	if (p->has_queue_size)
		printf(", \"queue_size_max\": %u", p->queue_size);
	if (p->has_config) {
		printf(", \"config\": {\"bytes\": %u, \"hex\": \"", p->config_bytes);
		for (uint32_t i = 0; i < p->config_bytes; i++)
			printf("%02x", p->config[i]);
		fputs("\"}", stdout);
	}
	if (p->has_mem_slots)
		printf(", \"mem_slots\": %llu", (unsigned long long)p->mem_slots);
	if (p->has_shmem)
		print_json_shmem(p);
	if (p->has_inflight)
		printf(", \"inflight\": {\"queues\": %u, \"queue_size\": %u, \"bytes\": %llu}",
		       p->queue_count, INFLIGHT_QUEUE_SIZE,
		       (unsigned long long)p->inflight.mmap_size);
	fputs("}\n", stdout);
}

/* ---- the command --------------------------------------------------------------------------------- */

static int take_word(struct probe *p, const char *word, char ***args)
{
	const char *value = NULL;
	uint64_t number;

	if (drive_is_option(word, "--device", &value)) {
		p->device = drive_value(value, args);
		if (!p->device || !feature_knows_device(p->device))
			return drive_usage(&drive_probe, "--device %s is not known",
					   p->device ? p->device : "without a value");
	} else if (drive_is_option(word, "--timeout-ms", &value)) {
		if (drive_number(drive_value(value, args), 1, TIMEOUT_MAX_MS, &number))
			return drive_usage(&drive_probe, "--timeout-ms needs a number up to %u",
					   TIMEOUT_MAX_MS);
		p->timeout_ms = (unsigned int)number;
	} else if (strcmp(word, "--json") == 0) {
		p->json = true;
	} else if (word[0] == '-') {
		return drive_usage(&drive_probe, "unknown option %s", word);
	} else if (p->socket) {
		return drive_usage(&drive_probe, "one SOCKET is enough: %s", word);
	} else {
		p->socket = word;
	}
	return 0;
}

static int probe_main(char **args)
{
	static struct probe p = { .timeout_ms = TIMEOUT_DEFAULT_MS };
	struct cvmm_error err = { 0 };
	int r;

	for (; *args; args++) {
		r = take_word(&p, *args, &args);
		if (r)
			return r;
	}
	if (!p.socket)
		return drive_usage(&drive_probe, "a SOCKET is needed");
	signal(SIGPIPE, SIG_IGN);
	r = probe_all(&p, &err);
	if (!r)
		r = be_connected(&p, &err);
	if (r)
		fprintf(stderr, "cvmm-drive probe: %s\n", err.message);
	else if (p.json)
		print_json(&p);
	else
		print_text(&p);
	target_close(&p.target);
	return r || fflush(stdout) ? DRIVE_USAGE : DRIVE_OK;
}

const struct drive_command drive_probe = {
	.name = "probe",
	.summary = "say what a back-end offers",
	.help = probe_help,
	.run = probe_main,
};
