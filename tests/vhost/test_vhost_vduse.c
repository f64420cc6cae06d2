// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * vhost-vdpa of a real kernel, in front of a device in user space: a driver's ring, split or packed, on one
 * side, and the device's side of virtq on the other. `tests/vhost/run` starts it in a machine of its own.
 */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "guest.h"
#include "vdpa.h"
#include "vduse.h"

#define SIZE 16U
#define RINGS_AT LOW_AT
#define FEATURES (VERSION_1 | ACCESS_PLATFORM)
#define DATA_BYTES 1000U
#define DATA_AT (LOW_AT + LOW_BYTES / 2 - DATA_BYTES / 2) /* across the border */
#define ANSWER_AT HIGH_AT
#define DESCS_OF_REQUEST 2U

struct pair {
	struct vduse device;
	struct cvmm_vhost vhost;
	struct cvmm_mem *mem;
	struct guest_queue queue;
};

/* Finds the device among those of vhost-vdpa. */
static struct cvmm_vhost open_front_end(void)
{
	static const char where[] = "/sys/bus/vdpa/devices/" VDUSE_NAME "/vhost-vdpa-*";
	struct cvmm_vhost vhost;
	char path[64];
	glob_t found;

	assert_ok(glob(where, 0, NULL, &found));
	snprintf(path, sizeof(path), "/dev/%s", strrchr(found.gl_pathv[0], '/') + 1);
	globfree(&found);
	setenv("CVMM_VDPA_VDUSE", path, 1);
	vhost = vdpa_open("CVMM_VDPA_VDUSE");
	return vhost;
}

static void pair_open(struct pair *p, uint64_t features)
{
	vduse_create(&p->device, features, SIZE);
	p->vhost = open_front_end();
	p->mem = make_memory();
	vdpa_negotiate(&p->vhost, features);
	queue_init(&p->queue, p->mem, 0, SIZE, features, RINGS_AT);
}

static void pair_start(struct pair *p, uint64_t features)
{
	pair_open(p, features);
	vdpa_map(&p->vhost, 0, p->mem);
	queue_start(&p->queue, &p->vhost);
	vdpa_go(&p->vhost);
}

static void pair_end(struct pair *p)
{
	queue_is_sound(&p->queue);
	cvmm_vhost_close(&p->vhost);
	queue_fini(&p->queue);
	cvmm_mem_unref(p->mem);
	vduse_destroy(&p->device);
}

static void an_answer_comes(struct pair *p, uint32_t seed)
{
	const struct cvmm_virtq_segment segments[] = { { G(DATA_AT), DATA_BYTES },
						       { G(ANSWER_AT), DATA_BYTES } };
	uint8_t data[DATA_BYTES], got[DATA_BYTES] = { 0 };

	fill(data, sizeof(data), seed);
	put(p->mem, DATA_AT, data, sizeof(data));
	put(p->mem, ANSWER_AT, got, sizeof(got));
	assert_int_equal(queue_do(&p->queue, segments, 1, 1), DATA_BYTES);
	get(p->mem, ANSWER_AT, got, sizeof(got));
	for (size_t i = 0; i < sizeof(data); i++)
		assert_int_equal(got[i], (uint8_t)~data[i]);
}

/* ---- queues ---------------------------------------------------------------------------------- */

static void must_be_at(const struct cvmm_virtq_base *base, uint32_t requests, bool packed)
{
	uint32_t descs = requests * DESCS_OF_REQUEST;

	assert_int_equal(base->next_avail, packed ? descs % SIZE : requests);
	assert_int_equal(base->next_used, packed ? descs % SIZE : requests);
	if (packed) {
		assert_int_equal(base->avail_wrap, descs / SIZE % 2 == 0);
		assert_int_equal(base->used_wrap, descs / SIZE % 2 == 0);
	}
}

/* Goes on after each reset, at ever other places of the ring, and with both wrap counters. */
static void a_queue_goes_on_after_resets(uint64_t features)
{
	static const uint32_t rounds[] = { 1, SIZE / DESCS_OF_REQUEST - 1, 3, SIZE + 5, 1 };
	uint32_t requests = 0;
	struct pair p;

	pair_start(&p, features);
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(rounds); i++) {
		for (uint32_t j = 0; j < rounds[i]; j++)
			an_answer_comes(&p, requests++);
		queue_stop(&p.queue, &p.vhost);
		must_be_at(&p.queue.q.base, requests, features & RING_PACKED);
		vdpa_negotiate(&p.vhost, features);
		cvmm_vhost_vdpa_unmap_mem(&p.vhost, 0, p.mem);
		vdpa_map(&p.vhost, 0, p.mem);
		queue_start(&p.queue, &p.vhost);
		vdpa_go(&p.vhost);
	}
	an_answer_comes(&p, requests);
	pair_end(&p);
}

static void a_split_queue_goes_on_after_resets(void **state)
{
	(void)state;
	a_queue_goes_on_after_resets(FEATURES);
}

static void a_packed_queue_goes_on_after_resets(void **state)
{
	(void)state;
	a_queue_goes_on_after_resets(FEATURES | RING_PACKED);
}

/* The kernel's own limits show where the checks of ours do not. */
static void a_packed_queue_of_another_size_is_refused_by_the_kernel(void **state)
{
	struct cvmm_error err = { 0 };
	struct pair p;

	(void)state;
	pair_open(&p, FEATURES | RING_PACKED);
	p.queue.q.ring.size = SIZE - 1;
	assert_int_equal(cvmm_vhost_queue_start(&p.vhost, p.mem, &p.queue.q, &err), -EINVAL);
	assert_says(&err, "its size");
	pair_end(&p);
}

static void the_device_says_what_it_is(void **state)
{
	uint32_t count = 0, num = 0;
	uint16_t max = 0;
	struct pair p;
	int ret;

	(void)state;
	pair_start(&p, FEATURES);
	assert_ok(cvmm_vhost_vdpa_get_vqs_count(&p.vhost, &count));
	assert_int_equal(count, 1);
	assert_ok(cvmm_vhost_vdpa_get_vring_num(&p.vhost, &max));
	assert_int_equal(max, SIZE);
	ret = cvmm_vhost_vdpa_get_vring_size(&p.vhost, 0, &num);
	if (ret)
		assert_int_equal(ret, -ENOTTY); /* a kernel before 6.9 */
	else
		assert_int_equal(num, SIZE);
	assert_ok(cvmm_vhost_vdpa_get_config_size(&p.vhost, &count));
	assert_int_equal(count, VDUSE_CONFIG_BYTES);
	/* What it has no function for. */
	assert_int_equal(cvmm_vhost_vdpa_suspend(&p.vhost), -EOPNOTSUPP);
	ret = cvmm_vhost_vdpa_resume(&p.vhost);
	assert_true(ret == -EOPNOTSUPP || ret == -ENOTTY);
	pair_end(&p);
}

/* ---- the configuration ----------------------------------------------------------------------- */

static void changes_of_the_configuration_are_told(void **state)
{
	int first = make_eventfd(), second = make_eventfd();
	uint8_t config[VDUSE_CONFIG_BYTES], got[VDUSE_CONFIG_BYTES] = { 0 };
	struct pair p;

	(void)state;
	pair_start(&p, FEATURES);
	assert_ok(cvmm_vhost_vdpa_set_config_call(&p.vhost, first));
	fill(config, sizeof(config), 1);
	vduse_change_config(&p.device, config);
	must_become_readable(first, "a change of the configuration");
	assert_int_equal(signals_of(first), 1);
	assert_ok(cvmm_vhost_vdpa_get_config(&p.vhost, 0, got, sizeof(got)));
	assert_memory_equal(got, config, sizeof(got));

	/* Taken away: what comes then is for nobody, and what comes later for another. */
	assert_ok(cvmm_vhost_vdpa_set_config_call(&p.vhost, CVMM_VHOST_UNBIND));
	vduse_change_config(&p.device, config);
	assert_ok(cvmm_vhost_vdpa_set_config_call(&p.vhost, second));
	vduse_change_config(&p.device, config);
	must_become_readable(second, "a change of the configuration");
	assert_int_equal(signals_of(first), 0);
	assert_int_equal(cvmm_vhost_vdpa_set_config_call(&p.vhost, 1 << 20), -EBADF);
	pair_end(&p);
	close(first);
	close(second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_split_queue_goes_on_after_resets),
		cmocka_unit_test(a_packed_queue_goes_on_after_resets),
		cmocka_unit_test(a_packed_queue_of_another_size_is_refused_by_the_kernel),
		cmocka_unit_test(the_device_says_what_it_is),
		cmocka_unit_test(changes_of_the_configuration_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
