// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Post-copy, where the system cannot tell of missing pages: it is not offered. */
#include <errno.h>

#include "vhost_user_backend_internal.h"

int vu_postcopy_open(int device, struct cvmm_error *err)
{
	(void)device;
	return cvmm_fail(err, -EOPNOTSUPP, "this system has no userfaultfd");
}

bool vu_postcopy_possible(int device)
{
	(void)device;
	return false;
}

int vu_postcopy_register(struct cvmm_vhost_user_backend *b, const struct vu_region *region,
			 struct cvmm_error *err)
{
	(void)b;
	(void)region;
	return cvmm_fail(err, -EOPNOTSUPP, "this system has no userfaultfd");
}

void vu_postcopy_unregister(struct cvmm_vhost_user_backend *b, const struct vu_region *region)
{
	(void)b;
	(void)region;
}
