// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Opening, and what all wrappers have in common. What they do with a device: tests/vhost. */
#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "test_vhost_util.h"

#define NOBODY 65534

/* ---- opening --------------------------------------------------------------------------------- */

static void a_missing_device_is_explained(void **state)
{
	static const char *const modules[] = { "vhost_net", "vhost_vsock", "vhost_scsi",
					       "vhost_vdpa" };
	struct cvmm_vhost vhost = CVMM_VHOST_NONE;
	struct cvmm_error err = { 0 };

	(void)state;
	for (unsigned int kind = 0; kind < CVMM_ARRAY_SIZE(modules); kind++) {
		assert_int_equal(cvmm_vhost_open(&vhost, (enum cvmm_vhost_kind)kind,
						 "/nonexistent/vhost", &err),
				 -ENOENT);
		assert_says(&err, "/nonexistent/vhost");
		assert_says(&err, "modprobe");
		assert_says(&err, modules[kind]);
	}
	assert_says(&err, "vdpa dev add");
	assert_int_equal(vhost.fd, -1);
}

static void a_file_that_is_no_vhost_device_is_named(void **state)
{
	struct cvmm_vhost vhost = CVMM_VHOST_NONE;
	struct cvmm_error err = { 0 };

	(void)state;
	assert_int_equal(cvmm_vhost_open(&vhost, CVMM_VHOST_NET, "/dev/null", &err), -ENOTTY);
	assert_says(&err, "/dev/null is no vhost device");
	assert_int_equal(vhost.fd, -1);
	assert_int_equal(cvmm_vhost_open(&vhost, CVMM_VHOST_VDPA, "/", &err), -EISDIR);
	assert_says(&err, strerror(EISDIR));
}

static void a_vdpa_device_must_be_named_and_a_kind_must_be_one(void **state)
{
	struct cvmm_vhost vhost = CVMM_VHOST_NONE;
	struct cvmm_error err = { 0 };

	(void)state;
	assert_int_equal(cvmm_vhost_open(&vhost, CVMM_VHOST_VDPA, NULL, &err), -EINVAL);
	assert_says(&err, "/dev/vhost-vdpa-0");
	assert_int_equal(cvmm_vhost_open(&vhost, (enum cvmm_vhost_kind)4, NULL, &err), -EINVAL);
	assert_int_equal(cvmm_vhost_open(&vhost, (enum cvmm_vhost_kind) - 1, NULL, &err), -EINVAL);
	assert_int_equal(vhost.fd, -1);
}

static int open_as_nobody(const char *path)
{
	struct cvmm_vhost vhost = CVMM_VHOST_NONE;
	struct cvmm_error err = { 0 };

	if (setgroups(0, NULL) || setegid(NOBODY) || seteuid(NOBODY))
		return 1;
	if (cvmm_vhost_open(&vhost, CVMM_VHOST_NET, path, &err) != -EACCES)
		return 2;
	return strstr(err.message, "setfacl -m u:USER:rw /") && strstr(err.message, path) ? 0 : 3;
}

static void missing_permission_is_explained(void **state)
{
	char path[] = "/tmp/cvmm-test-vhost-XXXXXX";
	int fd, status = -1;
	pid_t child;

	(void)state;
	if (geteuid() != 0)
		SKIP("only root can become somebody without permission");
	fd = mkostemp(path, O_CLOEXEC);
	assert_true(fd >= 0);
	assert_ok(fchmod(fd, 0600));
	child = fork();
	assert_true(child >= 0);
	if (!child)
		_exit(open_as_nobody(path));
	assert_int_equal(waitpid(child, &status, 0), child);
	close(fd);
	unlink(path);
	assert_int_equal(status, 0);
}

static void what_holds_nothing_may_be_closed(void **state)
{
	struct cvmm_vhost vhost = CVMM_VHOST_NONE;

	(void)state;
	cvmm_vhost_close(&vhost);
	cvmm_vhost_close(&vhost);
	assert_int_equal(vhost.fd, -1);
}

/* ---- what has no device behind it ------------------------------------------------------------ */

/* One call of each wrapper; nothing of what they return through pointers may change. */
#define UNTOUCHED 0x5aU

struct results {
	uint64_t u64[CVMM_VHOST_FEATURES_WORDS_MAX];
	uint32_t u32;
	uint16_t u16;
	uint8_t u8;
	int number;
	bool flag;
	struct vhost_vdpa_iova_range range;
};

static int call_features(struct cvmm_vhost *v, struct results *r, unsigned int i)
{
	switch (i) {
	case 0:
		return cvmm_vhost_set_owner(v);
	case 1:
		return cvmm_vhost_reset_owner(v);
	case 2:
		return cvmm_vhost_set_fork_from_owner(v, VHOST_FORK_OWNER_TASK);
	case 3:
		return cvmm_vhost_get_fork_from_owner(v, &r->u8);
	case 4:
		return cvmm_vhost_get_features(v, r->u64);
	case 5:
		return cvmm_vhost_set_features(v, 0);
	case 6:
		return cvmm_vhost_get_features_array(v, r->u64, CVMM_VHOST_FEATURES_WORDS_MAX);
	case 7:
		return cvmm_vhost_set_features_array(v, r->u64, CVMM_VHOST_FEATURES_WORDS_MAX);
	case 8:
		return cvmm_vhost_get_backend_features(v, r->u64);
	case 9:
		return cvmm_vhost_set_backend_features(v, ~UINT64_C(0));
	case 10:
		return cvmm_vhost_set_log_base(v, r);
	case 11:
		return cvmm_vhost_set_log_fd(v, CVMM_VHOST_UNBIND);
	case 12:
		return cvmm_vhost_new_worker(v, &r->u32);
	case 13:
		return cvmm_vhost_free_worker(v, 1);
	case 14:
		return cvmm_vhost_attach_vring_worker(v, 0, 1);
	case 15:
		return cvmm_vhost_get_vring_worker(v, 0, &r->u32);
	default:
		return 1;
	}
}

static int call_vrings(struct cvmm_vhost *v, struct results *r, unsigned int i)
{
	struct vhost_vring_addr addr = { 0 };

	switch (i) {
	case 0:
		return cvmm_vhost_set_vring_num(v, 0, 1);
	case 1:
		return cvmm_vhost_set_vring_addr(v, &addr);
	case 2:
		return cvmm_vhost_set_vring_base(v, 0, 0);
	case 3:
		return cvmm_vhost_get_vring_base(v, 0, &r->u32);
	case 4:
		return cvmm_vhost_set_vring_kick(v, 0, CVMM_VHOST_UNBIND);
	case 5:
		return cvmm_vhost_set_vring_call(v, 0, CVMM_VHOST_UNBIND);
	case 6:
		return cvmm_vhost_set_vring_err(v, 0, CVMM_VHOST_UNBIND);
	case 7:
		return cvmm_vhost_set_vring_endian(v, 0, true);
	case 8:
		return cvmm_vhost_get_vring_endian(v, 0, &r->flag);
	case 9:
		return cvmm_vhost_set_vring_busyloop_timeout(v, 0, 1);
	case 10:
		return cvmm_vhost_get_vring_busyloop_timeout(v, 0, &r->u32);
	default:
		return 1;
	}
}

static int call_kinds(struct cvmm_vhost *v, struct results *r, unsigned int i)
{
	switch (i) {
	case 0:
		return cvmm_vhost_net_set_backend(v, 0, CVMM_VHOST_UNBIND);
	case 1:
		return cvmm_vhost_vsock_set_guest_cid(v, 3);
	case 2:
		return cvmm_vhost_vsock_set_running(v, true);
	case 3:
		return cvmm_vhost_scsi_set_endpoint(v, "naa.0000000000000000", 1);
	case 4:
		return cvmm_vhost_scsi_clear_endpoint(v, "naa.0000000000000000", 1);
	case 5:
		return cvmm_vhost_scsi_get_abi_version(v, &r->number);
	case 6:
		return cvmm_vhost_scsi_set_events_missed(v, true);
	case 7:
		return cvmm_vhost_scsi_get_events_missed(v, &r->flag);
	default:
		return 1;
	}
}

static int call_vdpa(struct cvmm_vhost *v, struct results *r, unsigned int i)
{
	switch (i) {
	case 0:
		return cvmm_vhost_vdpa_get_device_id(v, &r->u32);
	case 1:
		return cvmm_vhost_vdpa_get_status(v, &r->u8);
	case 2:
		return cvmm_vhost_vdpa_set_status(v, 1);
	case 3:
		return cvmm_vhost_vdpa_get_config(v, 0, r->u64, sizeof(r->u64));
	case 4:
		return cvmm_vhost_vdpa_set_config(v, 0, r->u64, sizeof(r->u64));
	case 5:
		return cvmm_vhost_vdpa_get_config_size(v, &r->u32);
	case 6:
		return cvmm_vhost_vdpa_set_config_call(v, CVMM_VHOST_UNBIND);
	case 7:
		return cvmm_vhost_vdpa_suspend(v);
	case 8:
		return cvmm_vhost_vdpa_resume(v);
	case 9:
		return cvmm_vhost_vdpa_get_vqs_count(v, &r->u32);
	case 10:
		return cvmm_vhost_vdpa_get_vring_num(v, &r->u16);
	case 11:
		return cvmm_vhost_vdpa_get_vring_size(v, 0, &r->u32);
	case 12:
		return cvmm_vhost_vdpa_set_vring_enable(v, 0, true);
	case 13:
		return cvmm_vhost_vdpa_get_group_num(v, &r->u32);
	case 14:
		return cvmm_vhost_vdpa_get_as_num(v, &r->u32);
	case 15:
		return cvmm_vhost_vdpa_get_vring_group(v, 0, &r->u32);
	case 16:
		return cvmm_vhost_vdpa_get_vring_desc_group(v, 0, &r->u32);
	case 17:
		return cvmm_vhost_vdpa_set_group_asid(v, 0, 0);
	case 18:
		return cvmm_vhost_vdpa_get_iova_range(v, &r->range);
	default:
		return 1;
	}
}

static void every_wrapper_must_say(struct cvmm_vhost *vhost, int want)
{
	static const struct {
		int (*call)(struct cvmm_vhost *v, struct results *r, unsigned int i);
		unsigned int count;
	} wrappers[] = {
		{ call_features, 16 }, { call_vrings, 11 }, { call_kinds, 8 }, { call_vdpa, 19 }
	};

	for (size_t group = 0; group < CVMM_ARRAY_SIZE(wrappers); group++)
		for (unsigned int i = 0; i < wrappers[group].count; i++) {
			struct results results, before;
			int ret;

			memset(&results, UNTOUCHED, sizeof(results));
			/* A bool that is neither may not be copied by its name. */
			results.flag = i % 2;
			memcpy(&before, &results, sizeof(results));
			ret = wrappers[group].call(vhost, &results, i);
			if (ret != want)
				fail_msg("wrapper %zu.%u: %d, not %d", group, i, ret, want);
			assert_memory_equal(&results, &before, sizeof(results));
			assert_int_equal(vhost->backend_features, 0);
		}
}

static void what_is_closed_is_a_bad_descriptor_to_every_wrapper(void **state)
{
	struct cvmm_vhost vhost = CVMM_VHOST_NONE;

	(void)state;
	every_wrapper_must_say(&vhost, -EBADF);
}

static void what_is_no_device_knows_none_of_the_ioctls(void **state)
{
	struct cvmm_vhost vhost = CVMM_VHOST_NONE;

	(void)state;
	vhost.fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_true(vhost.fd >= 0);
	every_wrapper_must_say(&vhost, -ENOTTY);
	cvmm_vhost_close(&vhost);
}

/* ---- arguments ------------------------------------------------------------------------------- */

static void arrays_of_features_have_a_size(void **state)
{
	struct cvmm_vhost vhost = CVMM_VHOST_NONE;
	uint64_t words[CVMM_VHOST_FEATURES_WORDS_MAX + 1] = { 0 };

	(void)state;
	assert_int_equal(cvmm_vhost_get_features_array(&vhost, words, 0), -EINVAL);
	assert_int_equal(cvmm_vhost_set_features_array(&vhost, words, 0), -EINVAL);
	assert_int_equal(cvmm_vhost_get_features_array(&vhost, words, CVMM_ARRAY_SIZE(words)),
			 -E2BIG);
	assert_int_equal(cvmm_vhost_set_features_array(&vhost, words, CVMM_ARRAY_SIZE(words)),
			 -E2BIG);
}

static void names_of_targets_have_an_end(void **state)
{
	struct cvmm_vhost vhost = CVMM_VHOST_NONE;
	struct vhost_scsi_target target;
	char name[sizeof(target.vhost_wwpn) + 1];

	(void)state;
	memset(name, 'x', sizeof(name));
	name[sizeof(target.vhost_wwpn)] = '\0';
	assert_int_equal(cvmm_vhost_scsi_set_endpoint(&vhost, name, 1), -ENAMETOOLONG);
	assert_int_equal(cvmm_vhost_scsi_clear_endpoint(&vhost, name, 1), -ENAMETOOLONG);
	name[sizeof(target.vhost_wwpn) - 1] = '\0';
	assert_int_equal(cvmm_vhost_scsi_set_endpoint(&vhost, name, 1), -EBADF);
}

static void parts_of_the_configuration_have_a_size(void **state)
{
	struct cvmm_vhost vhost = CVMM_VHOST_NONE;
	uint8_t data[CVMM_VHOST_VDPA_CONFIG_MAX + 1] = { 0 };
	uint32_t max = CVMM_VHOST_VDPA_CONFIG_MAX;

	(void)state;
	assert_int_equal(cvmm_vhost_vdpa_get_config(&vhost, 0, data, 0), -EINVAL);
	assert_int_equal(cvmm_vhost_vdpa_set_config(&vhost, 0, data, 0), -EINVAL);
	assert_int_equal(cvmm_vhost_vdpa_get_config(&vhost, 0, data, max + 1), -EINVAL);
	assert_int_equal(cvmm_vhost_vdpa_set_config(&vhost, 0, data, max + 1), -EINVAL);
	assert_int_equal(cvmm_vhost_vdpa_get_config(&vhost, 0, data, max), -EBADF);
	assert_int_equal(cvmm_vhost_vdpa_set_config(&vhost, 0, data, max), -EBADF);
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* As the ABI of x86, arm64 and riscv has them: direction, size, 0xaf, number. */
#define NUMBER(name, value) CVMM_STATIC_ASSERT((name) == (value), "linux/vhost.h")

#if defined(__x86_64__) || defined(__aarch64__) || defined(__riscv)
NUMBER(VHOST_GET_FEATURES, 0x8008af00);
NUMBER(VHOST_SET_FEATURES, 0x4008af00);
NUMBER(VHOST_SET_OWNER, 0xaf01);
NUMBER(VHOST_RESET_OWNER, 0xaf02);
NUMBER(VHOST_SET_MEM_TABLE, 0x4008af03);
NUMBER(VHOST_SET_LOG_BASE, 0x4008af04);
NUMBER(VHOST_SET_LOG_FD, 0x4004af07);
NUMBER(CVMM_VHOST_NEW_WORKER, 0x8004af08);
NUMBER(CVMM_VHOST_FREE_WORKER, 0x4004af09);
NUMBER(VHOST_SET_VRING_NUM, 0x4008af10);
NUMBER(VHOST_SET_VRING_ADDR, 0x4028af11);
NUMBER(VHOST_SET_VRING_BASE, 0x4008af12);
NUMBER(VHOST_GET_VRING_BASE, 0xc008af12);
NUMBER(VHOST_SET_VRING_ENDIAN, 0x4008af13);
NUMBER(VHOST_GET_VRING_ENDIAN, 0x4008af14);
NUMBER(CVMM_VHOST_ATTACH_VRING_WORKER, 0x4008af15);
NUMBER(CVMM_VHOST_GET_VRING_WORKER, 0xc008af16);
NUMBER(VHOST_SET_VRING_KICK, 0x4008af20);
NUMBER(VHOST_SET_VRING_CALL, 0x4008af21);
NUMBER(VHOST_SET_VRING_ERR, 0x4008af22);
NUMBER(VHOST_SET_VRING_BUSYLOOP_TIMEOUT, 0x4008af23);
NUMBER(VHOST_GET_VRING_BUSYLOOP_TIMEOUT, 0x4008af24);
NUMBER(VHOST_SET_BACKEND_FEATURES, 0x4008af25);
NUMBER(VHOST_GET_BACKEND_FEATURES, 0x8008af26);
NUMBER(VHOST_NET_SET_BACKEND, 0x4008af30);
NUMBER(VHOST_SCSI_SET_ENDPOINT, 0x40e8af40);
NUMBER(VHOST_SCSI_CLEAR_ENDPOINT, 0x40e8af41);
NUMBER(VHOST_SCSI_GET_ABI_VERSION, 0x4004af42);
NUMBER(VHOST_SCSI_SET_EVENTS_MISSED, 0x4004af43);
NUMBER(VHOST_SCSI_GET_EVENTS_MISSED, 0x4004af44);
NUMBER(VHOST_VSOCK_SET_GUEST_CID, 0x4008af60);
NUMBER(VHOST_VSOCK_SET_RUNNING, 0x4004af61);
NUMBER(VHOST_VDPA_GET_DEVICE_ID, 0x8004af70);
NUMBER(VHOST_VDPA_GET_STATUS, 0x8001af71);
NUMBER(VHOST_VDPA_SET_STATUS, 0x4001af72);
NUMBER(VHOST_VDPA_GET_CONFIG, 0x8008af73);
NUMBER(VHOST_VDPA_SET_CONFIG, 0x4008af74);
NUMBER(VHOST_VDPA_SET_VRING_ENABLE, 0x4008af75);
NUMBER(VHOST_VDPA_GET_VRING_NUM, 0x8002af76);
NUMBER(VHOST_VDPA_SET_CONFIG_CALL, 0x4004af77);
NUMBER(VHOST_VDPA_GET_IOVA_RANGE, 0x8010af78);
NUMBER(VHOST_VDPA_GET_CONFIG_SIZE, 0x8004af79);
NUMBER(VHOST_VDPA_GET_AS_NUM, 0x8004af7a);
NUMBER(VHOST_VDPA_GET_VRING_GROUP, 0xc008af7b);
NUMBER(VHOST_VDPA_SET_GROUP_ASID, 0x4008af7c);
NUMBER(VHOST_VDPA_SUSPEND, 0xaf7d);
NUMBER(CVMM_VHOST_VDPA_RESUME, 0xaf7e);
NUMBER(CVMM_VHOST_VDPA_GET_VRING_DESC_GROUP, 0xc008af7f);
NUMBER(VHOST_VDPA_GET_VQS_COUNT, 0x8004af80);
NUMBER(VHOST_VDPA_GET_GROUP_NUM, 0x8004af81);
NUMBER(CVMM_VHOST_VDPA_GET_VRING_SIZE, 0xc008af82);
NUMBER(CVMM_VHOST_GET_FEATURES_ARRAY, 0x8008af83);
NUMBER(CVMM_VHOST_SET_FEATURES_ARRAY, 0x4008af83);
NUMBER(CVMM_VHOST_SET_FORK_FROM_OWNER, 0x4001af84);
NUMBER(CVMM_VHOST_GET_FORK_FROM_OWNER, 0x8001af85);
#endif

/* ---- this host's own devices, where it has them ---------------------------------------------- */

static void what_was_opened_is_closed_in_programs_we_start_and_does_not_block(void **state)
{
	struct cvmm_vhost vhost = CVMM_VHOST_NONE;
	struct cvmm_error err = { 0 };

	(void)state;
	if (cvmm_vhost_open(&vhost, CVMM_VHOST_NET, NULL, &err))
		SKIP("%s", err.message);
	assert_true(fcntl(vhost.fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(vhost.fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(vhost.kind, CVMM_VHOST_NET);
	cvmm_vhost_close(&vhost);
	assert_int_equal(vhost.fd, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_missing_device_is_explained),
		cmocka_unit_test(a_file_that_is_no_vhost_device_is_named),
		cmocka_unit_test(a_vdpa_device_must_be_named_and_a_kind_must_be_one),
		cmocka_unit_test(missing_permission_is_explained),
		cmocka_unit_test(what_holds_nothing_may_be_closed),
		cmocka_unit_test(what_is_closed_is_a_bad_descriptor_to_every_wrapper),
		cmocka_unit_test(what_is_no_device_knows_none_of_the_ioctls),
		cmocka_unit_test(arrays_of_features_have_a_size),
		cmocka_unit_test(names_of_targets_have_an_end),
		cmocka_unit_test(parts_of_the_configuration_have_a_size),
		cmocka_unit_test(what_was_opened_is_closed_in_programs_we_start_and_does_not_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
