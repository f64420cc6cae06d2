// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Post-copy: memory that arrives after the back-end has begun to use it.
 *
 * Theory of operation: the back-end makes a userfaultfd for its own mappings and gives it to us. Faults on
 * it name the back-end's addresses, so these come in the answer to SET_MEM_TABLE. The back-end then waits
 * for a second message of that number before it touches the memory: until it has been sent, nothing
 * else may be.
 */
#include <stdlib.h>

#include "vhost_user_frontend_internal.h"

/* The specification: no post-copy with CONFIGURE_MEM_SLOTS. */
static int check_allowed(const struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	int r = frontend_check_gate(fe, CVMM_VHOST_USER_POSTCOPY_ADVISE, err);

	if (r)
		return r;
	if (frontend_has(fe, CVMM_VHOST_USER_PROTOCOL(CONFIGURE_MEM_SLOTS)))
		return cvmm_fail(err, -EOPNOTSUPP,
				 "post-copy is not possible with CONFIGURE_MEM_SLOTS negotiated");
	return 0;
}

int cvmm_vhost_user_frontend_postcopy_advise(struct cvmm_vhost_user_frontend *fe, int *ret_uffd,
					     struct cvmm_error *err)
{
	struct cvmm_vhost_user_msg answer;
	int fd, r = check_allowed(fe, err);

	if (!r)
		r = frontend_ask(fe, CVMM_VHOST_USER_POSTCOPY_ADVISE, NULL, 0, NULL, 0, &answer,
				 err);
	if (r)
		return r;
	fd = cvmm_vhost_user_msg_take_fd(&answer, 0);
	cvmm_vhost_user_msg_fini(&answer);
	if (fd < 0)
		return cvmm_fail(err, -EREMOTEIO,
				 "POSTCOPY_ADVISE: the back-end has no userfaultfd");
	*ret_uffd = fd;
	return 0;
}

int cvmm_vhost_user_frontend_postcopy_listen(struct cvmm_vhost_user_frontend *fe,
					     struct cvmm_error *err)
{
	int r = check_allowed(fe, err);

	if (!r)
		r = frontend_tell(fe, CVMM_VHOST_USER_POSTCOPY_LISTEN, NULL, 0, NULL, 0, err);
	if (!r)
		fe->postcopy_listens = true;
	return r;
}

/* The regions must be ours, in our order, each at another address. */
static int take_addrs(struct cvmm_vhost_user_frontend *fe, const void *sent,
		      const struct cvmm_vhost_user_msg *answer, size_t count,
		      struct cvmm_error *err)
{
	const size_t head = sizeof(struct cvmm_vhost_user_mem_table);
	uint64_t *addrs = calloc(count ? count : 1, sizeof(*addrs));

	if (!addrs)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++) {
		struct cvmm_vhost_user_mem_region ours, theirs;
		uint64_t end;

		memcpy(&ours, (const uint8_t *)sent + head + i * sizeof(ours), sizeof(ours));
		memcpy(&theirs, (const uint8_t *)answer->payload + head + i * sizeof(theirs),
		       sizeof(theirs));
		if (ours.gpa != theirs.gpa || ours.len_bytes != theirs.len_bytes ||
		    !cvmm_add_u64(theirs.user_addr, theirs.len_bytes, &end)) {
			free(addrs);
			return frontend_violated(
				fe, err, "SET_MEM_TABLE: region %zu of the answer is another one",
				i);
		}
		addrs[i] = theirs.user_addr;
	}
	free(fe->postcopy_addrs);
	fe->postcopy_addrs = addrs;
	fe->postcopy_count = count;
	return 0;
}

int frontend_postcopy_set_table(struct cvmm_vhost_user_frontend *fe, const void *payload,
				size_t len, const int *fds, size_t count, struct cvmm_error *err)
{
	struct cvmm_vhost_user_msg answer;
	int r = frontend_ask(fe, CVMM_VHOST_USER_SET_MEM_TABLE, payload, len, fds, count, &answer,
			     err);

	if (r)
		return r;
	if (answer.size == len)
		r = take_addrs(fe, payload, &answer, count, err);
	else
		r = frontend_violated(
			fe, err, "SET_MEM_TABLE: the answer has not the regions of the request");
	cvmm_vhost_user_msg_fini(&answer);
	if (!r)
		fe->postcopy_ack_due = true;
	return r;
}

int cvmm_vhost_user_frontend_postcopy_region(const struct cvmm_vhost_user_frontend *fe, size_t i,
					     uint64_t *ret_backend_addr)
{
	if (i >= fe->postcopy_count)
		return -ENOENT;
	*ret_backend_addr = fe->postcopy_addrs[i];
	return 0;
}

int cvmm_vhost_user_frontend_postcopy_ack(struct cvmm_vhost_user_frontend *fe,
					  struct cvmm_error *err)
{
	uint64_t success = 0;
	struct iovec iov = { &success, sizeof(success) };
	struct frontend_request q = {
		.request = CVMM_VHOST_USER_SET_MEM_TABLE,
		.payload = &iov,
		.payload_count = 1,
	};
	int r;

	if (!fe->postcopy_ack_due)
		return cvmm_fail(err, -EINVAL, "there is nothing to acknowledge");
	fe->postcopy_ack_due = false;
	r = frontend_exchange(fe, &q, NULL, err);
	return r ? r : frontend_settle(fe, err);
}

int cvmm_vhost_user_frontend_postcopy_end(struct cvmm_vhost_user_frontend *fe,
					  struct cvmm_error *err)
{
	uint64_t error;
	int r = check_allowed(fe, err);

	if (!r)
		r = frontend_ask_u64(fe, CVMM_VHOST_USER_POSTCOPY_END, &error, err);
	if (r)
		return r;
	fe->postcopy_listens = false;
	if (error)
		return cvmm_fail(err, -EREMOTEIO, "POSTCOPY_END: the back-end failed (%lld)",
				 (long long)error);
	return 0;
}
