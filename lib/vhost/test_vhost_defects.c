// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * What wrappers of others get wrong, seen from where the kernel is: this program has an ioctl() of its own
 * in place of the C library's, which takes notes and answers as it is told. It is no device, and shows
 * nothing about one: tests/vhost has real ones, but no host need have them. Used only for what cannot be
 * seen without one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <cmocka.h>

#include "test_vhost_util.h"

#define CALLS_MAX 16U
#define FD 1234 /* open nowhere */

/* What was called, and with which first 8 bytes of argument. */
static struct {
	unsigned long request;
	uint32_t words[2];
} calls[CALLS_MAX];
static size_t call_count;

/* What an ioctl writes to its argument, before it fails or not. */
static uint8_t answer[64];
static size_t answer_bytes;
static int answer_errno;
static unsigned int signals; /* that come first */

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (fd != FD || call_count == CALLS_MAX) {
		errno = EBADF;
		return -1;
	}
	if (signals) {
		signals--;
		errno = EINTR;
		return -1;
	}
	calls[call_count].request = request;
	memcpy(calls[call_count].words, arg, sizeof(calls[0].words));
	call_count++;
	memcpy(arg, answer, answer_bytes);
	errno = answer_errno;
	return answer_errno ? -1 : 0;
}

static struct cvmm_vhost stand_in(enum cvmm_vhost_kind kind)
{
	call_count = 0;
	answer_bytes = 0;
	answer_errno = 0;
	signals = 0;
	return (struct cvmm_vhost){ .fd = FD, .kind = kind };
}

static void must_have_called(size_t i, unsigned long request, uint32_t word0, uint32_t word1)
{
	assert_true(i < call_count);
	assert_int_equal(calls[i].request, request);
	assert_int_equal(calls[i].words[0], word0);
	assert_int_equal(calls[i].words[1], word1);
}

/* rust-vmm asks for the group of a queue instead. */
static void set_group_asid_is_ioctl_0x7c(void **state)
{
	struct cvmm_vhost vhost = stand_in(CVMM_VHOST_VDPA);

	(void)state;
	assert_ok(cvmm_vhost_vdpa_set_group_asid(&vhost, 2, 1));
	assert_int_equal(call_count, 1);
	must_have_called(0, 0x4008af7c, 2, 1);
}

/* rust-vmm once asked for something else here, too. */
static void get_vring_group_and_iova_range_are_ioctls_0x7b_and_0x78(void **state)
{
	struct cvmm_vhost vhost = stand_in(CVMM_VHOST_VDPA);
	const uint64_t range[] = { 0x1000, UINT64_MAX };
	struct vhost_vdpa_iova_range got;
	uint32_t group = 42;

	(void)state;
	answer_bytes = 2 * sizeof(uint32_t);
	memcpy(answer, (const uint32_t[]){ 2, 7 }, answer_bytes);
	assert_ok(cvmm_vhost_vdpa_get_vring_group(&vhost, 2, &group));
	assert_int_equal(group, 7);
	must_have_called(0, 0xc008af7b, 2, 0);
	answer_bytes = sizeof(range);
	memcpy(answer, range, sizeof(range));
	assert_ok(cvmm_vhost_vdpa_get_iova_range(&vhost, &got));
	assert_int_equal(got.first, 0x1000);
	assert_int_equal(got.last, UINT64_MAX);
	must_have_called(1, 0x8010af78, 0, 0);
}

/* rust-vmm copies the buffer that the ioctl was to fill, whatever the ioctl says. */
static void get_config_copies_nothing_after_a_failed_ioctl(void **state)
{
	struct cvmm_vhost vhost = stand_in(CVMM_VHOST_VDPA);
	uint8_t data[16];

	(void)state;
	memset(data, 0x5a, sizeof(data));
	memset(answer, 0xee, sizeof(answer)); /* half of it came */
	answer_bytes = 8 + 8;
	answer_errno = EFAULT;
	assert_int_equal(cvmm_vhost_vdpa_get_config(&vhost, 4, data, sizeof(data)), -EFAULT);
	for (size_t i = 0; i < sizeof(data); i++)
		assert_int_equal(data[i], 0x5a);
	must_have_called(0, VHOST_VDPA_GET_CONFIG, 4, sizeof(data));
}

/* In a release build, rust-vmm once told 0. */
static void get_vring_base_tells_what_the_kernel_said(void **state)
{
	struct cvmm_vhost vhost = stand_in(CVMM_VHOST_NET);
	uint32_t num = 42;

	(void)state;
	answer_bytes = 2 * sizeof(uint32_t);
	memcpy(answer, (const uint32_t[]){ 1, 0x1234 }, answer_bytes);
	assert_ok(cvmm_vhost_get_vring_base(&vhost, 1, &num));
	assert_int_equal(num, 0x1234);
	answer_errno = EINVAL;
	num = 42;
	assert_int_equal(cvmm_vhost_get_vring_base(&vhost, 1, &num), -EINVAL);
	assert_int_equal(num, 42);
}

/* rust-vmm can only give other eventfds. */
static void eventfds_can_be_taken_away(void **state)
{
	struct cvmm_vhost vhost = stand_in(CVMM_VHOST_NET);

	(void)state;
	assert_ok(cvmm_vhost_set_vring_kick(&vhost, 1, CVMM_VHOST_UNBIND));
	assert_ok(cvmm_vhost_set_vring_call(&vhost, 2, CVMM_VHOST_UNBIND));
	assert_ok(cvmm_vhost_set_vring_err(&vhost, 3, CVMM_VHOST_UNBIND));
	must_have_called(0, VHOST_SET_VRING_KICK, 1, UINT32_MAX);
	must_have_called(1, VHOST_SET_VRING_CALL, 2, UINT32_MAX);
	must_have_called(2, VHOST_SET_VRING_ERR, 3, UINT32_MAX);
}

/* The kernel takes unknown ioctls for some of a queue, and its number from their argument. */
static void ioctls_have_an_argument_even_where_they_need_none(void **state)
{
	struct cvmm_vhost vhost = stand_in(CVMM_VHOST_VDPA);
	uint8_t mode = 0xff;

	(void)state;
	assert_ok(cvmm_vhost_vdpa_suspend(&vhost));
	must_have_called(0, VHOST_VDPA_SUSPEND, 0, 0);
	assert_ok(cvmm_vhost_vdpa_resume(&vhost));
	must_have_called(1, CVMM_VHOST_VDPA_RESUME, 0, 0);
	assert_ok(cvmm_vhost_set_fork_from_owner(&vhost, 1));
	must_have_called(2, CVMM_VHOST_SET_FORK_FROM_OWNER, htole32(1), 0);
	assert_ok(cvmm_vhost_get_fork_from_owner(&vhost, &mode));
	must_have_called(3, CVMM_VHOST_GET_FORK_FROM_OWNER, 0, 0);
	assert_int_equal(mode, 0);
	answer_errno = ENOBUFS;
	assert_int_equal(cvmm_vhost_get_features_array(&vhost, (uint64_t[2]){ 0 }, 2), -ENOTTY);
}

static void ioctls_are_repeated_after_a_signal(void **state)
{
	struct cvmm_vhost vhost = stand_in(CVMM_VHOST_NET);

	(void)state;
	signals = 3;
	assert_ok(cvmm_vhost_set_owner(&vhost));
	assert_int_equal(signals, 0);
	assert_int_equal(call_count, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_group_asid_is_ioctl_0x7c),
		cmocka_unit_test(get_vring_group_and_iova_range_are_ioctls_0x7b_and_0x78),
		cmocka_unit_test(get_config_copies_nothing_after_a_failed_ioctl),
		cmocka_unit_test(get_vring_base_tells_what_the_kernel_said),
		cmocka_unit_test(eventfds_can_be_taken_away),
		cmocka_unit_test(ioctls_have_an_argument_even_where_they_need_none),
		cmocka_unit_test(ioctls_are_repeated_after_a_signal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
