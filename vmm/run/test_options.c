// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <cvmm/virtio.h>

#include "options.h"
#include "test_run.h"

#define WORDS_MAX 600

/* Arguments that may be cut in place. */
struct words {
	char *argv[WORDS_MAX];
	size_t count;
	struct cvmm_run_options o;
	struct cvmm_error err;
};

static int make_words(void **state)
{
	*state = calloc(1, sizeof(struct words));
	return *state ? 0 : -1;
}

static void clear(struct words *w)
{
	for (size_t i = 0; i < w->count; i++)
		free(w->argv[i]);
	memset(w, 0, sizeof(*w));
}

static int free_words(void **state)
{
	clear(*state);
	free(*state);
	return 0;
}

static void add(struct words *w, const char *word)
{
	assert_true(w->count < WORDS_MAX - 1);
	w->argv[w->count++] = strdup(word);
}

/* Parses words that are separated by single spaces, after those added before. */
static int parse(struct words *w, const char *text)
{
	char *copy = strdup(text), *rest = NULL;

	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		add(w, word);
	free(copy);
	return cvmm_run_options_parse(w->argv, &w->o, &w->err);
}

static void expect_error(struct words *w, const char *text, const char *message)
{
	clear(w);
	w->o.cpus = 77;
	assert_int_equal(parse(w, text), -EINVAL);
	assert_int_equal(w->err.code, -EINVAL);
	if (!strstr(w->err.message, message))
		fail_msg("\"%s\" gave \"%s\", not \"%s\"", text, w->err.message, message);
	assert_int_equal(w->o.cpus, 77);
}

static void a_command_alone_gets_the_defaults(void **state)
{
	struct words *w = *state;

	assert_int_equal(parse(w, "ls -l --kernel"), 0);
	assert_string_equal(w->o.command[0], "ls");
	assert_string_equal(w->o.command[1], "-l");
	assert_string_equal(w->o.command[2], "--kernel");
	assert_null(w->o.command[3]);
	assert_null(w->o.kernel);
	assert_int_equal(w->o.memory_bytes, 256U << 20);
	assert_int_equal(w->o.cpus, 1);
	assert_int_equal(w->o.timeout_ns, 0);
	assert_int_equal(w->o.verbosity, CVMM_RUN_NORMAL);
	assert_int_equal(w->o.protocol, CVMM_RUN_PROTOCOL_AUTO);
}

static void every_option_is_stored(void **state)
{
	struct words *w = *state;

	assert_int_equal(parse(w, "--kernel k --modules m --module a --module b --root r,ro "
				  "--disk d1 --disk d2,ro --memory 1G --cpus 4 --append x=y "
				  "--protocol pvh --env A=1 --env B= --workdir /w --timeout 5m "
				  "--timing --verbose -- cmd"),
			 0);
	assert_string_equal(w->o.kernel, "k");
	assert_string_equal(w->o.modules_dir, "m");
	assert_int_equal(w->o.extra_module_count, 2);
	assert_string_equal(w->o.extra_modules[1], "b");
	assert_null(w->o.extra_modules[2]);
	assert_string_equal(w->o.root, "r");
	assert_true(w->o.root_read_only);
	assert_int_equal(w->o.disk_count, 2);
	assert_string_equal(w->o.disks[0].path, "d1");
	assert_false(w->o.disks[0].read_only);
	assert_string_equal(w->o.disks[1].path, "d2");
	assert_true(w->o.disks[1].read_only);
	assert_int_equal(w->o.memory_bytes, 1U << 30);
	assert_int_equal(w->o.cpus, 4);
	assert_string_equal(w->o.append, "x=y");
	assert_int_equal(w->o.protocol, CVMM_RUN_PROTOCOL_PVH);
	assert_int_equal(w->o.env_count, 2);
	assert_string_equal(w->o.env[0], "A=1");
	assert_string_equal(w->o.env[1], "B=");
	assert_null(w->o.env[2]);
	assert_string_equal(w->o.workdir, "/w");
	assert_true(w->o.timeout_ns == 300 * CVMM_NS_PER_S);
	assert_true(w->o.timing);
	assert_int_equal(w->o.verbosity, CVMM_RUN_VERBOSE);
	assert_string_equal(w->o.command[0], "cmd");
	clear(w);
	assert_int_equal(parse(w, "--initrd i --protocol linux64 --quiet c"), 0);
	assert_string_equal(w->o.initrd, "i");
	assert_int_equal(w->o.protocol, CVMM_RUN_PROTOCOL_LINUX64);
	assert_int_equal(w->o.verbosity, CVMM_RUN_QUIET);
	clear(w);
	assert_int_equal(parse(w, "--protocol pvh --protocol auto c"), 0);
	assert_int_equal(w->o.protocol, CVMM_RUN_PROTOCOL_AUTO);
}

static void features_of_virtqueues_are_a_list(void **state)
{
	struct words *w = *state;

	assert_int_equal(parse(w, "--virtio packed,no-event-idx --virtio in-order c"), 0);
	assert_true(w->o.virtio_offer == (CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_RING_PACKED) |
					  CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_IN_ORDER)));
	assert_true(w->o.virtio_withhold == CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_EVENT_IDX));
	clear(w);
	assert_int_equal(parse(w, "--virtio packed, c"), -EINVAL);
	clear(w);
	assert_int_equal(parse(w, "--virtio pack c"), -EINVAL);
	clear(w);
	assert_int_equal(parse(w, "--virtio= c"), -EINVAL);
}

static void devices_of_other_programs_have_settings(void **state)
{
	struct words *w = *state;

	assert_int_equal(parse(w, "--dev rng,where=socket:/a=b "
				  "--dev=blk,queues=4,queue-size=256,reconnect=0,where=socket:x,,y "
				  "--dev vhost-user,where=socket:z,id=99,config-size=0 c"),
			 0);
	assert_int_equal(w->o.dev_count, 3);
	assert_int_equal(w->o.devs[0].device_id, CVMM_VIRTIO_ID_ENTROPY);
	assert_string_equal(w->o.devs[0].module, "virtio_rng");
	assert_string_equal(w->o.devs[0].socket, "/a=b");
	assert_int_equal(w->o.devs[0].queues, 0);
	assert_int_equal(w->o.devs[0].queue_size, 0);
	assert_false(w->o.devs[0].has_config_size);
	assert_int_equal(w->o.devs[0].reconnect_s, 30);
	assert_int_equal(w->o.devs[1].device_id, CVMM_VIRTIO_ID_BLOCK);
	assert_string_equal(w->o.devs[1].socket, "x,y");
	assert_int_equal(w->o.devs[1].queues, 4);
	assert_int_equal(w->o.devs[1].queue_size, 256);
	assert_int_equal(w->o.devs[1].reconnect_s, 0);
	assert_int_equal(w->o.devs[2].device_id, 99);
	assert_null(w->o.devs[2].module);
	assert_true(w->o.devs[2].has_config_size);
	assert_int_equal(w->o.devs[2].config_size, 0);
}

static void values_may_follow_an_equals_sign(void **state)
{
	struct words *w = *state;

	assert_int_equal(
		parse(w, "--kernel=/k=1 --env=A=b=c --memory=64M --disk=,x,ro --append= c"), 0);
	assert_string_equal(w->o.kernel, "/k=1");
	assert_string_equal(w->o.env[0], "A=b=c");
	assert_int_equal(w->o.memory_bytes, 64U << 20);
	assert_string_equal(w->o.disks[0].path, ",x");
	assert_true(w->o.disks[0].read_only);
	assert_string_equal(w->o.append, "");
}

static void two_dashes_end_the_options(void **state)
{
	struct words *w = *state;

	assert_int_equal(parse(w, "--cpus 2 -- --cpus 3 -- x"), 0);
	assert_int_equal(w->o.cpus, 2);
	assert_string_equal(w->o.command[0], "--cpus");
	assert_string_equal(w->o.command[2], "--");
}

static void only_a_last_ro_is_cut_off_paths(void **state)
{
	struct words *w = *state;

	assert_int_equal(parse(w, "--disk a,ro,b --disk a,rox --disk a,ro,ro --root b,rw c"), 0);
	assert_string_equal(w->o.disks[0].path, "a,ro,b");
	assert_false(w->o.disks[0].read_only);
	assert_string_equal(w->o.disks[1].path, "a,rox");
	assert_string_equal(w->o.disks[2].path, "a,ro");
	assert_true(w->o.disks[2].read_only);
	assert_string_equal(w->o.root, "b,rw");
	assert_false(w->o.root_read_only);
}

static void help_needs_no_command(void **state)
{
	struct words *w = *state;

	assert_int_equal(parse(w, "--help"), 0);
	assert_true(w->o.help);
	clear(w);
	assert_int_equal(parse(w, "--cpus 2 -h"), 0);
	assert_true(w->o.help);
	assert_non_null(strstr(cvmm_run_help, "--timeout"));
}

static void mistakes_are_named(void **state)
{
	static const char *const table[][2] = {
		{ "", "no command" },
		{ "--", "no command" },
		{ "--cpus 2", "no command" },
		{ "--nonsense c", "unknown option --nonsense" },
		{ "--kernels x c", "unknown option --kernels" },
		{ "- c", "unknown option -" },
		{ "--kernel", "--kernel needs a value" },
		{ "--quiet=1 c", "--quiet takes no value" },
		{ "-h=1", "-h takes no value" },
		{ "--memory x c", "--memory x: give a size" },
		{ "--memory 31M c", "at least 32M" },
		{ "--memory 2T c", "1T is the most" },
		{ "--cpus 0 c", "--cpus 0: give a number from 1 to 32" },
		{ "--cpus 33 c", "--cpus 33" },
		{ "--cpus -1 c", "--cpus -1" },
		{ "--cpus 2x c", "--cpus 2x" },
		{ "--cpus 99999999999999999999 c", "give a number" },
		{ "--protocol efi c", "give auto, linux64 or pvh" },
		{ "--env A c", "--env A: give NAME=VALUE" },
		{ "--env =A c", "--env =A: give NAME=VALUE" },
		{ "--timeout 0 c", "--timeout 0: give a time" },
		{ "--timeout 5d c", "--timeout 5d: give a time" },
		{ "--initrd a --root b c", "--initrd or --root, not both" },
		{ "--dev rngs,where=socket:a c", "--dev rngs: 'rngs' is no kind" },
		{ "--dev= c", "'' is no kind" },
		{ "--dev rng c", "--dev rng: where is it" },
		{ "--dev rng,where=a c", "give socket:PATH" },
		{ "--dev rng,where=socket: c", "give socket:PATH" },
		{ "--dev rng,where=socket:a, c", "'' is no setting" },
		{ "--dev rng,where c", "'where' is no setting" },
		{ "--dev rng,wher=socket:a c", "no setting" },
		{ "--dev rng,id=4,where=socket:a c", "the kind of device says it" },
		{ "--dev vhost-user,where=socket:a c", "Give id=N" },
		{ "--dev vhost-user,id=0 c", "id=0: give" },
		{ "--dev vhost-user,id=65536 c", "id=65536: give" },
		{ "--dev vhost-user,id=4,id=5 c", "id=5" },
		{ "--dev rng,queues=0 c", "from 1 to 64" },
		{ "--dev rng,queues=65 c", "from 1 to 64" },
		{ "--dev rng,queue-size=12 c", "a power of two" },
		{ "--dev rng,queue-size=65536 c", "a power of two" },
		{ "--dev rng,config-size=257 c", "up to 256" },
		{ "--dev rng,reconnect=-1 c", "reconnect=-1: give" },
	};

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(table); i++)
		expect_error(*state, table[i][0], table[i][1]);
}

static void an_error_may_go_unread(void **state)
{
	struct words *w = *state;

	add(w, "--bogus");
	assert_int_equal(cvmm_run_options_parse(w->argv, &w->o, NULL), -EINVAL);
}

static void lists_have_an_end(void **state)
{
	struct words *w = *state;

	for (int i = 0; i < CVMM_RUN_LIST_MAX; i++)
		add(w, "--env=A=1");
	assert_int_equal(parse(w, "c"), 0);
	assert_int_equal(w->o.env_count, CVMM_RUN_LIST_MAX);
	assert_null(w->o.env[CVMM_RUN_LIST_MAX]);
	clear(w);
	for (int i = 0; i <= CVMM_RUN_LIST_MAX; i++)
		add(w, "--module=m");
	assert_int_equal(parse(w, "c"), -EINVAL);
	assert_string_equal(w->err.message, "--module is given more than 256 times");
	clear(w);
	for (int i = 0; i <= CVMM_RUN_DISKS_MAX; i++)
		add(w, "--disk=d");
	assert_int_equal(parse(w, "c"), -EINVAL);
	assert_string_equal(w->err.message, "at most 16 disks");
	clear(w);
	for (int i = 0; i <= CVMM_RUN_DEVS_MAX; i++)
		add(w, "--dev=rng,where=socket:a");
	assert_int_equal(parse(w, "c"), -EINVAL);
	assert_string_equal(w->err.message, "at most 16 devices of other programs");
}

static void sizes_have_units(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "0", 0 },
		{ "65536K", 64U << 20 },
		{ "1k", 1024 },
		{ "3m", 3U << 20 },
		{ "2GiB", UINT64_C(2) << 30 },
		{ "1GB", 1U << 30 },
		{ "1T", UINT64_C(1) << 40 },
		{ "18446744073709551615", UINT64_MAX },
	};
	static const char *const bad[] = { "",
					   "-1",
					   " 1",
					   "M",
					   "1 M",
					   "1X",
					   "1B",
					   "1MM",
					   "0x10",
					   "1.5G",
					   "18446744073709551616",
					   "16777216T" };
	uint64_t bytes;

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(good); i++) {
		assert_int_equal(cvmm_run_parse_size(good[i].text, &bytes), 0);
		assert_true(bytes == good[i].bytes);
	}
	bytes = 42;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++)
		assert_int_equal(cvmm_run_parse_size(bad[i], &bytes), -EINVAL);
	assert_int_equal(bytes, 42);
}

static void memory_is_whole_mebibytes(void **state)
{
	struct words *w = *state;

	assert_int_equal(parse(w, "--memory 70000000 c"), 0);
	assert_int_equal(w->o.memory_bytes, 66U << 20);
	clear(w);
	assert_int_equal(parse(w, "--memory 32M c"), 0);
	assert_int_equal(w->o.memory_bytes, CVMM_RUN_MEMORY_MIN_BYTES);
	clear(w);
	assert_int_equal(parse(w, "--memory 1T c"), 0);
}

static void times_have_units(void **state)
{
	static const struct {
		const char *text;
		uint64_t seconds; /* 0: refused */
	} table[] = {
		{ "--timeout=7 c", 7 },
		{ "--timeout=30s c", 30 },
		{ "--timeout=2m c", 120 },
		{ "--timeout=1h c", 3600 },
		{ "--timeout=8760h c", 31536000 },
		{ "--timeout=8761h c", 0 },
		{ "--timeout=1ms c", 0 },
		{ "--timeout=-1 c", 0 },
		{ "--timeout=1.5s c", 0 },
		{ "--timeout=s c", 0 },
		{ "--timeout= c", 0 },
		{ "--timeout=99999999999999999999 c", 0 },
	};
	struct words *w = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(table); i++) {
		clear(w);
		assert_int_equal(parse(w, table[i].text), table[i].seconds ? 0 : -EINVAL);
		assert_true(w->o.timeout_ns == table[i].seconds * CVMM_NS_PER_S);
	}
}

#define words_test(f) cmocka_unit_test_setup_teardown(f, make_words, free_words)

int main(void)
{
	const struct CMUnitTest tests[] = {
		words_test(a_command_alone_gets_the_defaults),
		words_test(every_option_is_stored),
		words_test(features_of_virtqueues_are_a_list),
		words_test(devices_of_other_programs_have_settings),
		words_test(values_may_follow_an_equals_sign),
		words_test(two_dashes_end_the_options),
		words_test(only_a_last_ro_is_cut_off_paths),
		words_test(help_needs_no_command),
		words_test(mistakes_are_named),
		words_test(an_error_may_go_unread),
		words_test(lists_have_an_end),
		cmocka_unit_test(sizes_have_units),
		words_test(memory_is_whole_mebibytes),
		words_test(times_have_units),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
