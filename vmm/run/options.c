// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation
 *
 * A table names each option, whether it takes a value, and the function that stores it. Words up to "--"
 * or the first word that is no option are ours; the rest is the command.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include <cvmm/virtio.h>

#include "options.h"

#define DEFAULT_MEMORY_BYTES (UINT64_C(256) << 20)
#define MEMORY_MAX_BYTES (UINT64_C(1) << 40)
#define TIMEOUT_MAX_S (UINT64_C(365) * 24 * 3600)

const char cvmm_run_help[] =
	"usage: cvmm run [OPTION...] [--] COMMAND [ARG...]\n"
	"\n"
	"Boots a Linux kernel in a throwaway virtual machine, runs COMMAND in it, and\n"
	"exits with COMMAND's status. Standard streams are passed through unchanged.\n"
	"\n"
	"  --kernel FILE      bzImage or vmlinux (default: the newest that is found in\n"
	"                     $CVMM_KERNELS, ~/.cache/cvmm/kernels, /boot)\n"
	"  --modules DIR      the kernel's modules (default: beside it, or /lib/modules)\n"
	"  --module NAME      load one more module; may be repeated\n"
	"  --initrd FILE      start from this initramfs and run COMMAND in it\n"
	"  --root DIR         run COMMAND in a copy of this directory\n"
	"  --root IMAGE[,ro]  run COMMAND in this disk image (one file system, no partitions)\n"
	"  --disk PATH[,ro]   attach a raw disk image as /dev/vda, /dev/vdb, ... (after the\n"
	"                     root image); may be repeated\n"
	"  --dev KIND[,...],where=socket:PATH\n"
	"                     attach a device that another program serves over vhost-user on the\n"
	"                     socket PATH; may be repeated. KIND: blk, can, console, crypto, fs, gpio,\n"
	"                     gpu, i2c, input, net, rng (in place of our own), scsi, sound, vsock; or\n"
	"                     vhost-user with id=N, the number of any virtio device. Settings:\n"
	"                     queues=N, queue-size=N, config-size=BYTES, reconnect=SECONDS to wait\n"
	"                     for another program after one has died (default: 30)\n"
	"  --memory SIZE      guest RAM, e.g. 512M or 2G (default: 256M)\n"
	"  --cpus N           virtual CPUs, 1 to 32 (default: 1)\n"
	"  --append ARGS      add to the kernel's command line\n"
	"  --protocol P       boot protocol: auto, linux64 or pvh (default: auto)\n"
	"  --env NAME=VALUE   set a variable for COMMAND; may be repeated\n"
	"  --workdir DIR      run COMMAND in this directory of the guest\n"
	"  --timeout TIME     end the machine after e.g. 30s, 5m, 1h\n"
	"  --virtio LIST      features of all virtqueues: packed, in-order, notification-data,\n"
	"                     no-indirect, no-event-idx (commas between them)\n"
	"  --timing           print a table of boot phases on standard error\n"
	"  --quiet            print nothing of our own but failures\n"
	"  --verbose          print the guest kernel's messages on standard error\n"
	"\n"
	"Exit status: COMMAND's own; 128+N if signal N ended it; 126 or 127 if it cannot be\n"
	"run or found; 125 if cvmm itself failed; 124 after a time-out.\n";

struct parser {
	struct cvmm_run_options *options;
	struct cvmm_error *err;
};

int cvmm_run_parse_size(const char *text, uint64_t *ret_bytes)
{
	static const char units[] = "KMGT";
	uint64_t factor = 1;
	const char *unit;
	uint64_t value;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	if (*end) {
		unit = strchr(units, toupper((unsigned char)*end));
		if (!unit)
			return -EINVAL;
		factor <<= 10 * (unit - units + 1);
		end++;
		if (*end == 'i')
			end++;
		if (*end == 'B' || *end == 'b')
			end++;
	}
	return *end || !cvmm_mul_u64(value, factor, ret_bytes) ? -EINVAL : 0;
}

static int parse_count(const char *text, unsigned int max, unsigned int *ret_count)
{
	unsigned long value;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || value < 1 || value > max)
		return -EINVAL;
	*ret_count = (unsigned int)value;
	return 0;
}

static int parse_time(const char *text, uint64_t *ret_ns)
{
	uint64_t value, unit_s = 1;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (strcmp(end, "m") == 0)
		unit_s = 60;
	else if (strcmp(end, "h") == 0)
		unit_s = 3600;
	else if (*end && strcmp(end, "s") != 0)
		return -EINVAL;
	if (errno || !value || value > TIMEOUT_MAX_S / unit_s)
		return -EINVAL;
	*ret_ns = value * unit_s * CVMM_NS_PER_S;
	return 0;
}

/* Cuts ",ro" off a path. */
static bool cut_read_only(char *path)
{
	char *comma = strrchr(path, ',');

	if (!comma || strcmp(comma, ",ro") != 0)
		return false;
	*comma = 0;
	return true;
}

static int add_to_list(struct parser *p, const char **list, unsigned int *count, const char *value,
		       const char *option)
{
	if (*count == CVMM_RUN_LIST_MAX)
		return cvmm_fail(p->err, -EINVAL, "%s is given more than %d times", option,
				 CVMM_RUN_LIST_MAX);
	list[(*count)++] = value;
	return 0;
}

static int set_kernel(struct parser *p, char *value)
{
	p->options->kernel = value;
	return 0;
}

static int set_modules(struct parser *p, char *value)
{
	p->options->modules_dir = value;
	return 0;
}

static int add_module(struct parser *p, char *value)
{
	return add_to_list(p, p->options->extra_modules, &p->options->extra_module_count, value,
			   "--module");
}

static int set_initrd(struct parser *p, char *value)
{
	p->options->initrd = value;
	return 0;
}

static int set_root(struct parser *p, char *value)
{
	p->options->root_read_only = cut_read_only(value);
	p->options->root = value;
	return 0;
}

static int add_disk(struct parser *p, char *value)
{
	struct cvmm_run_options *o = p->options;

	if (o->disk_count == CVMM_RUN_DISKS_MAX)
		return cvmm_fail(p->err, -EINVAL, "at most %d disks", CVMM_RUN_DISKS_MAX);
	o->disks[o->disk_count].read_only = cut_read_only(value);
	o->disks[o->disk_count++].path = value;
	return 0;
}

static int add_dev(struct parser *p, char *value)
{
	struct cvmm_run_options *o = p->options;

	if (o->dev_count == CVMM_RUN_DEVS_MAX)
		return cvmm_fail(p->err, -EINVAL, "at most %d devices of other programs",
				 CVMM_RUN_DEVS_MAX);
	return cvmm_run_dev_parse(value, &o->devs[o->dev_count++], p->err);
}

static int set_memory(struct parser *p, char *value)
{
	uint64_t bytes;

	if (cvmm_run_parse_size(value, &bytes))
		return cvmm_fail(p->err, -EINVAL, "--memory %s: give a size such as 256M or 2G",
				 value);
	if (bytes < CVMM_RUN_MEMORY_MIN_BYTES || bytes > MEMORY_MAX_BYTES)
		return cvmm_fail(
			p->err, -EINVAL,
			"--memory %s: a Linux guest needs at least 32M, and 1T is the most", value);
	p->options->memory_bytes = bytes & ~UINT64_C(0xfffff);
	return 0;
}

static int set_cpus(struct parser *p, char *value)
{
	if (parse_count(value, CVMM_RUN_CPUS_MAX, &p->options->cpus))
		return cvmm_fail(p->err, -EINVAL, "--cpus %s: give a number from 1 to %d", value,
				 CVMM_RUN_CPUS_MAX);
	return 0;
}

static int set_append(struct parser *p, char *value)
{
	p->options->append = value;
	return 0;
}

static int set_protocol(struct parser *p, char *value)
{
	if (strcmp(value, "auto") == 0)
		p->options->protocol = CVMM_RUN_PROTOCOL_AUTO;
	else if (strcmp(value, "linux64") == 0)
		p->options->protocol = CVMM_RUN_PROTOCOL_LINUX64;
	else if (strcmp(value, "pvh") == 0)
		p->options->protocol = CVMM_RUN_PROTOCOL_PVH;
	else
		return cvmm_fail(p->err, -EINVAL, "--protocol %s: give auto, linux64 or pvh",
				 value);
	return 0;
}

static int add_env(struct parser *p, char *value)
{
	char *equals = strchr(value, '=');

	if (!equals || equals == value)
		return cvmm_fail(p->err, -EINVAL, "--env %s: give NAME=VALUE", value);
	return add_to_list(p, p->options->env, &p->options->env_count, value, "--env");
}

static int set_workdir(struct parser *p, char *value)
{
	p->options->workdir = value;
	return 0;
}

static int set_timeout(struct parser *p, char *value)
{
	if (parse_time(value, &p->options->timeout_ns))
		return cvmm_fail(p->err, -EINVAL, "--timeout %s: give a time such as 30s, 5m or 1h",
				 value);
	return 0;
}

static int set_virtio(struct parser *p, char *value)
{
	static const struct {
		const char *name;
		uint64_t offer;
		uint64_t withhold;
	} known[] = {
		{ "packed", CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_RING_PACKED), 0 },
		{ "in-order", CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_IN_ORDER), 0 },
		{ "notification-data", CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_NOTIFICATION_DATA), 0 },
		{ "no-indirect", 0, CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_INDIRECT_DESC) },
		{ "no-event-idx", 0, CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_EVENT_IDX) },
	};
	size_t len, i;

	for (const char *word = value;; word += len + 1) {
		len = strcspn(word, ",");
		for (i = 0; i < CVMM_ARRAY_SIZE(known); i++)
			if (len == strlen(known[i].name) && !memcmp(word, known[i].name, len))
				break;
		if (i == CVMM_ARRAY_SIZE(known))
			return cvmm_fail(p->err, -EINVAL,
					 "--virtio %s: give packed, in-order, notification-data, "
					 "no-indirect or no-event-idx",
					 value);
		p->options->virtio_offer |= known[i].offer;
		p->options->virtio_withhold |= known[i].withhold;
		if (!word[len])
			return 0;
	}
}

static int set_timing(struct parser *p, char *value)
{
	(void)value;
	p->options->timing = true;
	return 0;
}

static int set_quiet(struct parser *p, char *value)
{
	(void)value;
	p->options->verbosity = CVMM_RUN_QUIET;
	return 0;
}

static int set_verbose(struct parser *p, char *value)
{
	(void)value;
	p->options->verbosity = CVMM_RUN_VERBOSE;
	return 0;
}

static int set_help(struct parser *p, char *value)
{
	(void)value;
	p->options->help = true;
	return 0;
}

static const struct option {
	const char *name;
	bool has_value;
	int (*store)(struct parser *p, char *value);
} option_table[] = {
	{ "--kernel", true, set_kernel },   { "--modules", true, set_modules },
	{ "--module", true, add_module },   { "--initrd", true, set_initrd },
	{ "--root", true, set_root },	    { "--disk", true, add_disk },
	{ "--memory", true, set_memory },   { "--cpus", true, set_cpus },
	{ "--append", true, set_append },   { "--protocol", true, set_protocol },
	{ "--env", true, add_env },	    { "--workdir", true, set_workdir },
	{ "--dev", true, add_dev },	    { "--virtio", true, set_virtio },
	{ "--timeout", true, set_timeout }, { "--timing", false, set_timing },
	{ "--quiet", false, set_quiet },    { "--verbose", false, set_verbose },
	{ "--help", false, set_help },	    { "-h", false, set_help },
};

/* Whether @word is the option, alone or as NAME=VALUE; then *ret_value is the VALUE or NULL. */
static bool is_option(const struct option *o, char *word, char **ret_value)
{
	size_t len = strlen(o->name);

	if (strncmp(word, o->name, len) != 0 || (word[len] && word[len] != '='))
		return false;
	*ret_value = word[len] ? word + len + 1 : NULL;
	return true;
}

/* Handles the option at *argv and moves past it. */
static int parse_option(struct parser *p, char ***argv)
{
	char *word = *(*argv)++;
	char *value = NULL;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(option_table); i++) {
		const struct option *o = &option_table[i];

		if (!is_option(o, word, &value))
			continue;
		if (o->has_value && !value) {
			value = **argv;
			if (!value)
				return cvmm_fail(p->err, -EINVAL, "%s needs a value", word);
			(*argv)++;
		}
		if (!o->has_value && value)
			return cvmm_fail(p->err, -EINVAL, "%s takes no value", o->name);
		return o->store(p, value);
	}
	return cvmm_fail(p->err, -EINVAL, "unknown option %s; cvmm run --help lists them", word);
}

int cvmm_run_options_parse(char **argv, struct cvmm_run_options *ret_options,
			   struct cvmm_error *err)
{
	struct cvmm_run_options o = {
		.memory_bytes = DEFAULT_MEMORY_BYTES,
		.cpus = 1,
		.verbosity = CVMM_RUN_NORMAL,
	};
	struct parser p = { &o, err };

	while (*argv && **argv == '-') {
		int ret;

		if (strcmp(*argv, "--") == 0) {
			argv++;
			break;
		}
		ret = parse_option(&p, &argv);
		if (ret)
			return ret;
	}
	if (!*argv && !o.help)
		return cvmm_fail(err, -EINVAL, "no command: cvmm run [OPTION...] -- COMMAND");
	if (o.initrd && o.root)
		return cvmm_fail(err, -EINVAL, "give --initrd or --root, not both");
	o.command = (const char *const *)argv;
	*ret_options = o;
	return 0;
}
