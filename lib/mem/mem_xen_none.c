// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Where there is no Xen. */
#include <errno.h>

#include <cvmm/mem_xen.h>

int cvmm_mem_xen_prepare(const struct cvmm_mem_xen_config *xen, struct cvmm_mem_config *ret_config,
			 struct cvmm_error *err)
{
	(void)xen;
	(void)ret_config;
	return cvmm_fail(err, -ENOTSUP, "memory of Xen domains can be mapped on Linux only");
}

void cvmm_mem_xen_cancel(struct cvmm_mem_config *config)
{
	(void)config;
}
