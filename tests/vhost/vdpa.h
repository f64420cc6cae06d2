/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What the tests of vDPA devices share. Include after "guest.h". */
#ifndef CVMM_TESTS_VHOST_VDPA_H
#define CVMM_TESTS_VHOST_VDPA_H

/* VIRTIO 1.3, 2.1 */
#define ACKNOWLEDGE 1U
#define DRIVER 2U
#define DRIVER_OK 4U
#define FEATURES_OK 8U

#define BACKEND(name) (UINT64_C(1) << VHOST_BACKEND_F_##name)

/*
 * The device whose path is in the variable @variable, with all of its backend features; or a skipped test, for
 * the reason in CVMM_VHOST_NO_VDPA.
 */
static inline struct cvmm_vhost vdpa_open(const char *variable)
{
	const char *path = getenv(variable), *why = getenv("CVMM_VHOST_NO_VDPA");
	struct cvmm_vhost vhost;
	uint64_t features;

	if (!path)
		SKIP("no vDPA device: %s", why ? why : "nobody made one");
	vhost = open_or_skip(CVMM_VHOST_VDPA, path);
	assert_ok(cvmm_vhost_get_backend_features(&vhost, &features));
	assert_ok(cvmm_vhost_set_backend_features(&vhost, features));
	return vhost;
}

/* Up to the features, of which those in @wanted must be there. */
static inline void vdpa_negotiate(const struct cvmm_vhost *vhost, uint64_t wanted)
{
	uint64_t offered = 0;
	uint8_t status = 0xff;

	assert_ok(cvmm_vhost_vdpa_set_status(vhost, 0));
	assert_ok(cvmm_vhost_vdpa_get_status(vhost, &status));
	assert_int_equal(status, 0);
	assert_ok(cvmm_vhost_vdpa_set_status(vhost, ACKNOWLEDGE | DRIVER));
	assert_ok(cvmm_vhost_get_features(vhost, &offered));
	assert_int_equal(wanted & ~offered, 0);
	assert_ok(cvmm_vhost_set_features(vhost, wanted));
	assert_ok(cvmm_vhost_vdpa_set_status(vhost, ACKNOWLEDGE | DRIVER | FEATURES_OK));
	assert_ok(cvmm_vhost_vdpa_get_status(vhost, &status));
	assert_int_equal(status, ACKNOWLEDGE | DRIVER | FEATURES_OK);
}

static inline void vdpa_go(const struct cvmm_vhost *vhost)
{
	assert_ok(
		cvmm_vhost_vdpa_set_status(vhost, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK));
}

static inline void vdpa_map(const struct cvmm_vhost *vhost, uint32_t asid, struct cvmm_mem *mem)
{
	struct cvmm_error err = { 0 };

	assert_fine(cvmm_vhost_vdpa_map_mem(vhost, asid, mem, &err), &err);
}

#endif /* CVMM_TESTS_VHOST_VDPA_H */
