// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Single requests: those that belong to no larger whole.
 */
#include <stdlib.h>
#include <unistd.h>

#include "vhost_user_frontend_internal.h"

#define CONFIG_BYTES_MAX (CVMM_VHOST_USER_PAYLOAD_MAX - sizeof(struct cvmm_vhost_user_config))

/* A request whose u64 is 0 for success. */
static int ask_success(struct cvmm_vhost_user_frontend *fe, uint32_t request, const void *payload,
		       size_t len, struct cvmm_error *err)
{
	struct cvmm_vhost_user_msg answer;
	uint64_t error;
	int r = frontend_ask(fe, request, payload, len, NULL, 0, &answer, err);

	if (r)
		return r;
	error = answer.payload[0];
	cvmm_vhost_user_msg_fini(&answer);
	if (error)
		return cvmm_fail(
			err, -EREMOTEIO, "%s: the back-end refused (%lld)",
			cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL, request)
				->name,
			(long long)error);
	return 0;
}

static int tell_u64(struct cvmm_vhost_user_frontend *fe, uint32_t request, uint64_t value,
		    struct cvmm_error *err)
{
	return frontend_tell(fe, request, &value, sizeof(value), NULL, 0, err);
}

int cvmm_vhost_user_frontend_get_features(struct cvmm_vhost_user_frontend *fe,
					  uint64_t *ret_features, struct cvmm_error *err)
{
	return frontend_ask_u64(fe, CVMM_VHOST_USER_GET_FEATURES, ret_features, err);
}

/* ---- the configuration space --------------------------------------------------------------------- */

static int check_config_range(const char *name, uint32_t offset, uint32_t len,
			      struct cvmm_error *err)
{
	if (cvmm_range_inside(offset, len, CONFIG_BYTES_MAX))
		return 0;
	return cvmm_fail(err, -EINVAL, "%s: no configuration space has %u bytes at %u", name, len,
			 offset);
}

/* Return: 0; -EREMOTEIO for a refusal. */
static int take_config(struct cvmm_vhost_user_frontend *fe,
		       const struct cvmm_vhost_user_msg *answer, uint32_t offset, void *dst,
		       uint32_t len, struct cvmm_error *err)
{
	struct cvmm_vhost_user_config head = { 0 };

	memcpy(&head, answer->payload, answer->size < sizeof(head) ? answer->size : sizeof(head));
	if (head.size == 0)
		return cvmm_fail(err, -EREMOTEIO, "GET_CONFIG: the back-end has not %u bytes at %u",
				 len, offset);
	if (head.offset != 0 || head.size != offset + len)
		return frontend_violated(
			fe, err,
			"GET_CONFIG: answered with %u bytes at %u instead of %u at the start",
			head.size, head.offset, offset + len);
	memcpy(dst, (const uint8_t *)answer->payload + sizeof(head) + offset, len);
	return 0;
}

/*
 * Some back-ends answer from the start of the space, whatever the offset. So it is always read from there.
 */
int cvmm_vhost_user_frontend_get_config(struct cvmm_vhost_user_frontend *fe, uint32_t offset,
					void *dst, uint32_t len_bytes, struct cvmm_error *err)
{
	uint64_t bytes[CVMM_VHOST_USER_PAYLOAD_MAX / sizeof(uint64_t)];
	struct cvmm_vhost_user_config head = { .size = offset + len_bytes };
	struct cvmm_vhost_user_msg answer;
	int r = check_config_range("GET_CONFIG", offset, len_bytes, err);

	if (r || !len_bytes)
		return r;
	memset(bytes, 0, sizeof(head) + head.size);
	memcpy(bytes, &head, sizeof(head));
	r = frontend_ask(fe, CVMM_VHOST_USER_GET_CONFIG, bytes, sizeof(head) + head.size, NULL, 0,
			 &answer, err);
	if (r)
		return r;
	r = take_config(fe, &answer, offset, dst, len_bytes, err);
	cvmm_vhost_user_msg_fini(&answer);
	return r;
}

int cvmm_vhost_user_frontend_set_config(struct cvmm_vhost_user_frontend *fe, uint32_t offset,
					const void *src, uint32_t len_bytes, uint32_t flags,
					struct cvmm_error *err)
{
	uint64_t bytes[CVMM_VHOST_USER_PAYLOAD_MAX / sizeof(uint64_t)];
	struct cvmm_vhost_user_config head = { .offset = offset,
					       .size = len_bytes,
					       .flags = flags };
	int r = check_config_range("SET_CONFIG", offset, len_bytes, err);

	if (r || !len_bytes)
		return r;
	if (flags != CVMM_VHOST_USER_CONFIG_WRITABLE &&
	    flags != CVMM_VHOST_USER_CONFIG_LIVE_MIGRATION)
		return cvmm_fail(err, -EINVAL, "SET_CONFIG: there are no flags 0x%x", flags);
	memcpy(bytes, &head, sizeof(head));
	memcpy((uint8_t *)bytes + sizeof(head), src, len_bytes);
	return frontend_tell(fe, CVMM_VHOST_USER_SET_CONFIG, bytes, sizeof(head) + len_bytes, NULL,
			     0, err);
}

/* ---- the device ---------------------------------------------------------------------------------- */

int cvmm_vhost_user_frontend_set_status(struct cvmm_vhost_user_frontend *fe, uint8_t status,
					struct cvmm_error *err)
{
	int r = tell_u64(fe, CVMM_VHOST_USER_SET_STATUS, status, err);

	if (r)
		return r;
	fe->status = status;
	fe->status_known = true;
	return 0;
}

int cvmm_vhost_user_frontend_get_status(struct cvmm_vhost_user_frontend *fe, uint8_t *ret_status,
					struct cvmm_error *err)
{
	uint64_t value;
	int r = frontend_ask_u64(fe, CVMM_VHOST_USER_GET_STATUS, &value, err);

	if (r)
		return r;
	if (value > UINT8_MAX)
		return frontend_violated(fe, err, "GET_STATUS: 0x%llx is no status",
					 (unsigned long long)value);
	*ret_status = (uint8_t)value;
	return 0;
}

int cvmm_vhost_user_frontend_reset_device(struct cvmm_vhost_user_frontend *fe,
					  struct cvmm_error *err)
{
	int r = frontend_tell(fe, CVMM_VHOST_USER_RESET_DEVICE, NULL, 0, NULL, 0, err);

	if (!r)
		r = frontend_settle(fe, err);
	if (r)
		return r;
	for (unsigned int i = 0; i < CVMM_VHOST_USER_QUEUES_MAX; i++)
		fe->queues[i] = (struct frontend_queue){ 0 };
	__atomic_store_n(&fe->acked, 0, __ATOMIC_RELAXED);
	fe->features_set = fe->logging = fe->status_known = false;
	cvmm_close_fd(&fe->inflight_fd);
	return 0;
}

int cvmm_vhost_user_frontend_send_rarp(struct cvmm_vhost_user_frontend *fe, const uint8_t mac[6],
				       struct cvmm_error *err)
{
	uint64_t value = 0;

	memcpy(&value, mac, 6);
	return tell_u64(fe, CVMM_VHOST_USER_SEND_RARP, value, err);
}

int cvmm_vhost_user_frontend_set_mtu(struct cvmm_vhost_user_frontend *fe, uint16_t mtu,
				     struct cvmm_error *err)
{
	int r = tell_u64(fe, CVMM_VHOST_USER_NET_SET_MTU, mtu, err);

	if (!r)
		fe->mtu = mtu;
	return r;
}

int cvmm_vhost_user_frontend_set_gpu_socket(struct cvmm_vhost_user_frontend *fe, int fd,
					    struct cvmm_error *err)
{
	return frontend_tell(fe, CVMM_VHOST_USER_GPU_SET_SOCKET, NULL, 0, &fd, 1, err);
}

/* ---- crypto sessions ----------------------------------------------------------------------------- */

int cvmm_vhost_user_frontend_create_crypto_session(struct cvmm_vhost_user_frontend *fe, void *bytes,
						   uint32_t len_bytes, struct cvmm_error *err)
{
	struct cvmm_vhost_user_msg answer;
	int r;

	if (!cvmm_vhost_user_payload_fits(CVMM_VHOST_USER_CRYPTO, bytes, len_bytes, 0))
		return cvmm_fail(err, -EINVAL, "CREATE_CRYPTO_SESSION: %u bytes cannot be",
				 len_bytes);
	r = frontend_ask(fe, CVMM_VHOST_USER_CREATE_CRYPTO_SESSION, bytes, len_bytes, NULL, 0,
			 &answer, err);
	if (r)
		return r;
	if (answer.size == len_bytes)
		memcpy(bytes, answer.payload, len_bytes);
	else
		r = frontend_violated(fe, err,
				      "CREATE_CRYPTO_SESSION: answered with %u bytes instead of %u",
				      answer.size, len_bytes);
	cvmm_vhost_user_msg_fini(&answer);
	return r;
}

int cvmm_vhost_user_frontend_close_crypto_session(struct cvmm_vhost_user_frontend *fe,
						  uint64_t session, struct cvmm_error *err)
{
	return tell_u64(fe, CVMM_VHOST_USER_CLOSE_CRYPTO_SESSION, session, err);
}

/* ---- translations -------------------------------------------------------------------------------- */

int cvmm_vhost_user_frontend_iotlb(struct cvmm_vhost_user_frontend *fe,
				   const struct cvmm_iotlb_op *op, struct cvmm_error *err)
{
	uint8_t bytes[CVMM_IOTLB_MSG_SIZE];

	if ((op->kind != CVMM_IOTLB_UPDATE && op->kind != CVMM_IOTLB_INVALIDATE) ||
	    cvmm_iotlb_msg_format(op, bytes))
		return cvmm_fail(err, -EINVAL,
				 "IOTLB_MSG: not an update or invalidation that a "
				 "message can hold");
	return ask_success(fe, CVMM_VHOST_USER_IOTLB_MSG, bytes, sizeof(bytes), err);
}

/* ---- shared memory and shared objects ------------------------------------------------------------- */

/* Sizes are whole pages, and as many are not 0 as it says. */
static bool shmem_config_is_sane(const struct cvmm_vhost_user_shmem_config *config)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint32_t count = 0;

	for (unsigned int i = 0; i < CVMM_VHOST_USER_SHMEM_REGIONS; i++) {
		if (config->size_bytes[i] % page)
			return false;
		count += config->size_bytes[i] != 0;
	}
	return count == config->count;
}

int cvmm_vhost_user_frontend_get_shmem_config(struct cvmm_vhost_user_frontend *fe,
					      struct cvmm_vhost_user_shmem_config *ret_config,
					      struct cvmm_error *err)
{
	struct cvmm_vhost_user_msg answer;
	struct cvmm_vhost_user_shmem_config config;
	int r = frontend_ask(fe, CVMM_VHOST_USER_GET_SHMEM_CONFIG, NULL, 0, NULL, 0, &answer, err);

	if (r)
		return r;
	memcpy(&config, answer.payload, sizeof(config));
	cvmm_vhost_user_msg_fini(&answer);
	config.padding = 0;
	if (!shmem_config_is_sane(&config))
		return frontend_violated(
			fe, err,
			"GET_SHMEM_CONFIG: %u regions are not what it lists, or have no whole "
			"pages",
			config.count);
	pthread_mutex_lock(&fe->lock);
	fe->shmem = config;
	fe->shmem_known = true;
	pthread_mutex_unlock(&fe->lock);
	*ret_config = config;
	return 0;
}

int cvmm_vhost_user_frontend_get_shared_object(struct cvmm_vhost_user_frontend *fe,
					       const struct cvmm_vhost_user_uuid *uuid, int *ret_fd,
					       struct cvmm_error *err)
{
	struct cvmm_vhost_user_msg answer;
	int fd, r;

	r = frontend_ask(fe, CVMM_VHOST_USER_GET_SHARED_OBJECT, uuid, sizeof(*uuid), NULL, 0,
			 &answer, err);
	if (r)
		return r;
	fd = cvmm_vhost_user_msg_take_fd(&answer, 0);
	cvmm_vhost_user_msg_fini(&answer);
	if (fd < 0)
		return cvmm_fail(err, -EREMOTEIO, "GET_SHARED_OBJECT: the back-end has it not");
	*ret_fd = fd;
	return 0;
}

/* ---- the device's state -------------------------------------------------------------------------- */

/* The answer's number has the error in bits 0 to 7, and says whether there is a descriptor. */
static int take_transfer(struct cvmm_vhost_user_frontend *fe, struct cvmm_vhost_user_msg *answer,
			 int *ret_fd, struct cvmm_error *err)
{
	uint64_t value = answer->payload[0];
	bool no_fd = value & CVMM_VHOST_USER_STATE_NO_FD;
	unsigned int error = value & 0xff;

	if (no_fd == (answer->fd_count == 1) || (error && answer->fd_count))
		return frontend_violated(
			fe, err, "SET_DEVICE_STATE_FD: answered with 0x%llx and %u descriptors",
			(unsigned long long)value, answer->fd_count);
	if (error)
		return cvmm_fail(err, -EREMOTEIO, "SET_DEVICE_STATE_FD: the back-end refused (%u)",
				 error);
	*ret_fd = cvmm_vhost_user_msg_take_fd(answer, 0);
	return 0;
}

int cvmm_vhost_user_frontend_transfer(struct cvmm_vhost_user_frontend *fe,
				      enum cvmm_vhost_user_transfer_direction direction, int fd,
				      int *ret_fd, struct cvmm_error *err)
{
	struct cvmm_vhost_user_transfer transfer = {
		.direction = direction,
		.phase = CVMM_VHOST_USER_TRANSFER_STOPPED,
	};
	struct cvmm_vhost_user_msg answer;
	int r;

	for (unsigned int i = 0; i < CVMM_VHOST_USER_QUEUES_MAX; i++)
		if (fe->queues[i].started)
			return cvmm_fail(err, -EBUSY,
					 "queue %u is started: a device's state is transferred "
					 "while all of them are stopped",
					 i);
	r = frontend_ask(fe, CVMM_VHOST_USER_SET_DEVICE_STATE_FD, &transfer, sizeof(transfer), &fd,
			 1, &answer, err);
	if (r)
		return r;
	r = take_transfer(fe, &answer, ret_fd, err);
	cvmm_vhost_user_msg_fini(&answer);
	return r;
}

int cvmm_vhost_user_frontend_check_device_state(struct cvmm_vhost_user_frontend *fe,
						struct cvmm_error *err)
{
	return ask_success(fe, CVMM_VHOST_USER_CHECK_DEVICE_STATE, NULL, 0, err);
}

/* ---- any request --------------------------------------------------------------------------------- */

/* Whether the table says that there is an answer, asked for or not. */
static bool is_answered(const struct cvmm_vhost_user_frontend *fe,
			const struct cvmm_vhost_user_message *row)
{
	switch (row ? row->reply : CVMM_VHOST_USER_REPLY_ON_DEMAND) {
	case CVMM_VHOST_USER_REPLY_ALWAYS:
		return true;
	case CVMM_VHOST_USER_REPLY_IF_LOG_SHMFD:
		return frontend_has(fe, CVMM_VHOST_USER_PROTOCOL(LOG_SHMFD));
	case CVMM_VHOST_USER_REPLY_IF_POSTCOPY:
		return fe->postcopy_listens;
	case CVMM_VHOST_USER_REPLY_ON_DEMAND:
		return false;
	}
	return false;
}

/* Somewhere to put an answer that the caller may keep until the next one. */
static int prepare_raw_answer(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	if (!fe->raw_answer)
		fe->raw_answer = calloc(1, sizeof(*fe->raw_answer));
	if (!fe->raw_answer)
		return cvmm_fail(err, -ENOMEM, "out of memory");
	cvmm_vhost_user_msg_fini(fe->raw_answer);
	return 0;
}

int cvmm_vhost_user_frontend_raw(struct cvmm_vhost_user_frontend *fe, uint32_t request,
				 bool need_reply, const void *payload, size_t len_bytes,
				 const int *fds, size_t fd_count,
				 struct cvmm_vhost_user_msg **ret_msg, struct cvmm_error *err)
{
	const struct cvmm_vhost_user_message *row =
		cvmm_vhost_user_message_find(CVMM_VHOST_USER_FRONTEND_CHANNEL, request);
	struct iovec iov = { (void *)(uintptr_t)payload, len_bytes };
	bool own = is_answered(fe, row);
	struct frontend_request q = {
		.request = request,
		.flags = need_reply ? CVMM_VHOST_USER_FLAG_NEED_REPLY : 0,
		.has_answer = own || need_reply,
		.payload = &iov,
		.payload_count = len_bytes ? 1 : 0,
		.fds = fds,
		.fd_count = fd_count,
	};
	int r = prepare_raw_answer(fe, err);

	if (!r)
		r = frontend_exchange(fe, &q, fe->raw_answer, err);
	if (r)
		return r;
	if (!own && need_reply && fe->raw_answer->size == sizeof(uint64_t) &&
	    fe->raw_answer->payload[0])
		return cvmm_fail(err, -EREMOTEIO, "%s: the back-end refused (%lld)",
				 row ? row->name : "request",
				 (long long)fe->raw_answer->payload[0]);
	*ret_msg = q.has_answer ? fe->raw_answer : NULL;
	return 0;
}
