// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * A value is words with commas between them. The first one names a kind of device, the others are
 * settings, each of which a table knows. Where the device is has a setting of its own: what a kind of device
 * wants is the same wherever it is.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include <cvmm/virtio.h>

#include "options_dev.h"

#define RECONNECT_DEFAULT_S 30U
#define RECONNECT_MAX_S (24U * 3600U)
#define ID_MAX 0xffffU
#define ANY_KIND "vhost-user"

/* What Linux calls their drivers. */
static const struct kind {
	const char *name;
	uint32_t device_id;
	const char *module;
} kinds[] = {
	{ "blk", CVMM_VIRTIO_ID_BLOCK, "virtio_blk" },
	{ "can", CVMM_VIRTIO_ID_CAN, "virtio_can" },
	{ "console", CVMM_VIRTIO_ID_CONSOLE, "virtio_console" },
	{ "crypto", CVMM_VIRTIO_ID_CRYPTO, "virtio_crypto" },
	{ "fs", CVMM_VIRTIO_ID_FS, "virtiofs" },
	{ "gpio", CVMM_VIRTIO_ID_GPIO, "gpio_virtio" },
	{ "gpu", CVMM_VIRTIO_ID_GPU, "virtio_gpu" },
	{ "i2c", CVMM_VIRTIO_ID_I2C, "i2c_virtio" },
	{ "input", CVMM_VIRTIO_ID_INPUT, "virtio_input" },
	{ "net", CVMM_VIRTIO_ID_NET, "virtio_net" },
	{ "rng", CVMM_VIRTIO_ID_ENTROPY, "virtio_rng" },
	{ "scsi", CVMM_VIRTIO_ID_SCSI, "virtio_scsi" },
	{ "sound", CVMM_VIRTIO_ID_SOUND, "virtio_snd" },
	{ "vsock", CVMM_VIRTIO_ID_VSOCK, "vmw_vsock_virtio_transport" },
};

/* ---- words --------------------------------------------------------------------------------------- */

/* The word at *rest, cut off in place, or NULL. */
static char *next_word(char **rest)
{
	char *word = *rest, *to = word, *from = word;

	if (!word)
		return NULL;
	*rest = NULL;
	while (*from) {
		if (*from == ',' && from[1] != ',') {
			*rest = from + 1;
			break;
		}
		from += *from == ',';
		*to++ = *from++;
	}
	*to = 0;
	return word;
}

static int parse_number(const char *text, unsigned int min, unsigned int max,
			unsigned int *ret_number)
{
	unsigned long value;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || value < min || value > max)
		return -EINVAL;
	*ret_number = (unsigned int)value;
	return 0;
}

/* ---- settings ------------------------------------------------------------------------------------ */

static int set_where(struct cvmm_run_dev *dev, const char *value, struct cvmm_error *err)
{
	static const char prefix[] = "socket:";

	if (strncmp(value, prefix, sizeof(prefix) - 1) != 0 || !value[sizeof(prefix) - 1])
		return cvmm_fail(err, -EINVAL, "where=%s: give socket:PATH", value);
	dev->socket = value + sizeof(prefix) - 1;
	return 0;
}

static int set_id(struct cvmm_run_dev *dev, const char *value, struct cvmm_error *err)
{
	if (dev->device_id)
		return cvmm_fail(err, -EINVAL, "id=%s: the kind of device says it already", value);
	if (parse_number(value, 1, ID_MAX, &dev->device_id))
		return cvmm_fail(err, -EINVAL,
				 "id=%s: give the virtio device id, a number from 1 to %u", value,
				 ID_MAX);
	return 0;
}

static int set_queues(struct cvmm_run_dev *dev, const char *value, struct cvmm_error *err)
{
	if (parse_number(value, 1, CVMM_VIRTIO_QUEUES_MAX, &dev->queues))
		return cvmm_fail(err, -EINVAL, "queues=%s: give a number from 1 to %d", value,
				 CVMM_VIRTIO_QUEUES_MAX);
	return 0;
}

static int set_queue_size(struct cvmm_run_dev *dev, const char *value, struct cvmm_error *err)
{
	unsigned int size;

	if (parse_number(value, 1, CVMM_VIRTQ_SIZE_MAX, &size) || !cvmm_is_pow2(size))
		return cvmm_fail(err, -EINVAL, "queue-size=%s: give a power of two up to %u", value,
				 CVMM_VIRTQ_SIZE_MAX);
	dev->queue_size = (uint16_t)size;
	return 0;
}

static int set_config_size(struct cvmm_run_dev *dev, const char *value, struct cvmm_error *err)
{
	if (parse_number(value, 0, CVMM_VIRTIO_CONFIG_BYTES_MAX, &dev->config_size))
		return cvmm_fail(err, -EINVAL, "config-size=%s: give a number of bytes up to %d",
				 value, CVMM_VIRTIO_CONFIG_BYTES_MAX);
	dev->has_config_size = true;
	return 0;
}

static int set_reconnect(struct cvmm_run_dev *dev, const char *value, struct cvmm_error *err)
{
	if (parse_number(value, 0, RECONNECT_MAX_S, &dev->reconnect_s))
		return cvmm_fail(err, -EINVAL, "reconnect=%s: give a number of seconds up to %u",
				 value, RECONNECT_MAX_S);
	return 0;
}

static const struct setting {
	const char *name;
	int (*store)(struct cvmm_run_dev *dev, const char *value, struct cvmm_error *err);
} settings[] = {
	{ "where", set_where },
	{ "id", set_id },
	{ "queues", set_queues },
	{ "queue-size", set_queue_size },
	{ "config-size", set_config_size },
	{ "reconnect", set_reconnect },
};

static int store_setting(struct cvmm_run_dev *dev, char *word, struct cvmm_error *err)
{
	size_t len = strcspn(word, "=");

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(settings) && word[len]; i++)
		if (strlen(settings[i].name) == len && !memcmp(word, settings[i].name, len))
			return settings[i].store(dev, word + len + 1, err);
	return cvmm_fail(err, -EINVAL,
			 "'%s' is no setting: give where, id, queues, queue-size, config-size or "
			 "reconnect, with '=' and a value",
			 word);
}

/* ---- the whole ----------------------------------------------------------------------------------- */

static int find_kind(struct cvmm_run_dev *dev, const char *name, struct cvmm_error *err)
{
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(kinds); i++) {
		if (strcmp(name, kinds[i].name) == 0) {
			dev->device_id = kinds[i].device_id;
			dev->module = kinds[i].module;
			return 0;
		}
	}
	if (strcmp(name, ANY_KIND) == 0)
		return 0;
	return cvmm_fail(
		err, -EINVAL,
		"'%s' is no kind of device: give rng, blk, net, ... (see --help), or " ANY_KIND
		" and an id",
		name);
}

int cvmm_run_dev_parse(char *value, struct cvmm_run_dev *ret_dev, struct cvmm_error *err)
{
	struct cvmm_run_dev dev = { .reconnect_s = RECONNECT_DEFAULT_S };
	char *rest = value;
	char *word = next_word(&rest);
	int ret = find_kind(&dev, word, err);

	while (!ret && (word = next_word(&rest)))
		ret = store_setting(&dev, word, err);
	if (!ret && !dev.device_id)
		ret = cvmm_fail(err, -EINVAL, "which device? Give id=N, its virtio device id");
	if (!ret && !dev.socket)
		ret = cvmm_fail(err, -EINVAL, "where is it? Give where=socket:PATH");
	if (ret) {
		(void)cvmm_error_prefix(err, "--dev %s", value);
		return ret;
	}
	*ret_dev = dev;
	return 0;
}
